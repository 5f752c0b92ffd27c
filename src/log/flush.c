/*
 * flush.c - writes gathered blocks to the files, and zeros ahead of them.
 *
 * Whoever gets the writer lock writes for all who wait for it; they find their
 * work done. Zeros are written ahead of the data, while no lock is held, into
 * a range that no block covers yet: [prefill_from, prefill_to) of one segment.
 * A write that comes to it waits, so zeros never land on data: prefill_lock is
 * held as long as they are being written.
 */
#include "log/log_internal.h"

#define VECTOR_MAX 64
/*
 * Zeros are written in aligned chunks, to stay so far ahead of the data. Linux
 * keeps a chunk in one piece of memory, which makes the writes of the data
 * cheaper (no pages to allocate). But each write into a piece looks at all its
 * blocks, and waits while zeros are written: so it is not larger than this.
 */
#define PREFILL_CHUNK ((uint64_t)256 << 10)
#define PREFILL_AHEAD ((uint64_t)4 << 20)
#define ZEROS_SIZE    ((size_t)64 << 10)

static const uint8_t zeros[ZEROS_SIZE];

/* A run of neighbouring bytes of one segment, to be written at once. */
struct run {
    struct wdb_segment *segment;
    uint64_t offset;
    uint64_t size;
    struct iovec vector[VECTOR_MAX];
    int count;
};

/* The writer lock stays held: the blocks are half-way through a write. */
static void wait_for_prefill(struct wdb_log *log, const struct run *run)
{
    if (log->prefilling == run->segment && run->offset < log->prefill_to &&
        run->offset + run->size > log->prefill_from) {
        pthread_mutex_lock(&log->prefill_lock);
        pthread_mutex_unlock(&log->prefill_lock);
    }
}

static int write_run(struct wdb_log *log, struct run *run)
{
    if (run->count == 0) {
        return 0;
    }
    struct wdb_segment *segment = run->segment;
    const uint64_t end = run->offset + run->size;
    wdb_assert(run->offset ==
               atomic_load_explicit(&segment->written, memory_order_relaxed));
    wdb_assert(end <= segment->size);
    wait_for_prefill(log, run);
    int rc = wdb_log_failure(log);
    if (rc != 0) {
        return rc;
    }
    if (WDB_LOG_MUTATED(log, WDB_MUTATION_SHORT_WRITE) && run->size > 512) {
        run->vector[run->count - 1].iov_len -= 8;
    }
    rc = log->env->ops->pwritev(segment->file, run->vector, run->count,
                                run->offset);
    if (rc != 0) {
        return wdb_log_fail(log, rc, "write", segment);
    }
    wdb_residency_mark(segment->residency, run->offset, run->size);
    if (segment->prefilled < end) {
        segment->prefilled = end;
    }
    atomic_store_explicit(&segment->written, end, memory_order_release);
    atomic_fetch_add_explicit(&log->bytes_written, run->size,
                              memory_order_relaxed);
    run->count = 0;
    return 0;
}

/* Add the unwritten bytes of a block, the run before being written if they do
 * not follow it. */
static int add_block(struct wdb_log *log, struct run *run,
                     struct wdb_block *block, size_t used)
{
    const uint64_t offset = block->offset + block->written;
    const size_t size = used - block->written;
    if (size == 0) {
        return 0;
    }
    if (run->count == VECTOR_MAX ||
        (run->count > 0 && (run->segment != block->segment ||
                            run->offset + run->size != offset))) {
        int rc = write_run(log, run);
        if (rc != 0) {
            return rc;
        }
    }
    if (run->count == 0) {
        run->segment = block->segment;
        run->offset = offset;
        run->size = 0;
    }
    run->vector[run->count++] =
        (struct iovec){.iov_base = block->data + block->written,
                       .iov_len = size};
    run->size += size;
    block->written = used;
    return 0;
}

int wdb_flush_locked(struct wdb_log *log)
{
    int rc = wdb_log_failure(log);
    if (rc != 0) {
        return rc;
    }
    pthread_mutex_lock(&log->sequencer);
    wdb_sequencer_close_entry(log);
    struct wdb_block *last =
        atomic_load_explicit(&log->newest, memory_order_relaxed);
    const size_t last_used = last->used;
    const uint64_t index = log->index_closed;
    const uint64_t batches = log->batch_count;
    const bool half_full =
        log->next == NULL && log->head > log->current->size / 2;
    pthread_mutex_unlock(&log->sequencer);
    if (half_full && atomic_load(&log->sleeping) && !atomic_load(&log->full)) {
        wdb_sync_wake(log); /* to prepare the next one */
    }

    /* Blocks before the last are final, and so are their links. */
    struct run run = {0};
    struct wdb_block *block = log->oldest;
    while (rc == 0) {
        rc = add_block(log, &run, block,
                       block == last ? last_used : block->used);
        if (block == last) {
            break;
        }
        block = block->newer;
    }
    if (rc == 0) {
        rc = write_run(log, &run);
    }
    if (rc != 0) {
        return rc;
    }
    atomic_store_explicit(&log->batches_written, batches, memory_order_relaxed);
    atomic_store_explicit(&log->appended, index, memory_order_release);
    atomic_fetch_add_explicit(&log->flush_count, 1, memory_order_relaxed);
    wdb_gather_retire(log, last);
    return 0;
}

bool wdb_log_dirty(const struct wdb_log *log)
{
    return atomic_load_explicit(&log->index_last, memory_order_acquire) !=
           atomic_load_explicit(&log->appended, memory_order_acquire);
}

int wdb_log_flush(struct wdb_log *log)
{
    const uint64_t wanted =
        atomic_load_explicit(&log->index_last, memory_order_acquire);
    if (wanted <= atomic_load_explicit(&log->appended, memory_order_acquire)) {
        return wdb_log_failure(log);
    }
    int rc = 0;
    uint64_t moved = 0;
    pthread_mutex_lock(&log->writer);
    if (wanted > atomic_load_explicit(&log->appended, memory_order_relaxed)) {
        rc = wdb_flush_locked(log);
        moved = atomic_load_explicit(&log->appended, memory_order_relaxed);
    }
    pthread_mutex_unlock(&log->writer);
    if (rc != 0) {
        return wdb_log_tell_failure(log, rc);
    }
    wdb_sync_wake_after_flush(log);
    if (log->options.on_appended != NULL && moved != 0) {
        log->options.on_appended(log->options.context, moved);
    }
    return 0;
}

/* --- zeros ahead ----------------------------------------------------------- */

static bool prefill_is_wanted(const struct wdb_log *log)
{
    return log->options.prefill ||
           atomic_load_explicit(&log->policy, memory_order_relaxed) ==
               WDB_SYNC_ALWAYS;
}

/* Choose a range ahead of all that was given out. Under writer. */
static struct wdb_segment *prefill_begin(struct wdb_log *log)
{
    pthread_mutex_lock(&log->sequencer);
    struct wdb_segment *segment = log->current;
    const uint64_t head = log->head;
    pthread_mutex_unlock(&log->sequencer);
    uint64_t from = (head + 4095) & ~(uint64_t)4095;
    if (from < segment->prefilled) {
        from = segment->prefilled;
    }
    /* Half of the distance must be used up before the next chunk. */
    if (from >= segment->size || from >= head + PREFILL_AHEAD / 2) {
        return NULL;
    }
    const uint64_t to = (from & ~(PREFILL_CHUNK - 1)) + PREFILL_CHUNK;
    log->prefill_from = from;
    log->prefill_to = to < segment->size ? to : segment->size;
    log->prefilling = segment;
    /* Free, since others take it only while they hold the writer lock. */
    pthread_mutex_lock(&log->prefill_lock);
    wdb_segment_acquire(segment);
    return segment;
}

static int write_zeros(struct wdb_segment *segment, uint64_t from, uint64_t to)
{
    struct iovec vector[PREFILL_CHUNK / ZEROS_SIZE + 1];
    int count = 0;
    for (uint64_t at = from; at < to; at += ZEROS_SIZE) {
        vector[count++] =
            (struct iovec){.iov_base = (void *)(uintptr_t)zeros,
                           .iov_len =
                               to - at < ZEROS_SIZE ? to - at : ZEROS_SIZE};
    }
    return segment->file->env->ops->pwritev(segment->file, vector, count, from);
}

bool wdb_flush_prefill(struct wdb_log *log)
{
    if (!prefill_is_wanted(log) || wdb_log_failure(log) != 0) {
        return false;
    }
    pthread_mutex_lock(&log->writer);
    struct wdb_segment *segment =
        log->prefilling == NULL ? prefill_begin(log) : NULL;
    pthread_mutex_unlock(&log->writer);
    if (segment == NULL) {
        return false;
    }
    int rc = write_zeros(segment, log->prefill_from, log->prefill_to);
    if (rc == WALKERDB_ENOSPACE) {
        /* Its unused end was cut off meanwhile: zeros are not needed. */
    } else if (rc != 0) {
        rc = wdb_log_fail(log, rc, "write", segment);
    }
    pthread_mutex_unlock(&log->prefill_lock);
    pthread_mutex_lock(&log->writer);
    if (rc == 0 && segment->prefilled < log->prefill_to) {
        segment->prefilled = log->prefill_to;
    }
    log->prefilling = NULL;
    pthread_mutex_unlock(&log->writer);
    wdb_segment_drop(segment);
    (void)wdb_log_tell_failure(log, rc);
    return rc == 0;
}
