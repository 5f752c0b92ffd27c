/*
 * sequencer.c - gives batches their place in the log.
 *
 * A batch is copied behind the one before it, into the open entry; that is
 * all. The entry's headers are filled in when it closes: their place was
 * left free when it was opened. Everything here runs under the sequencer,
 * which is let go of before anything waits.
 */
#include <string.h>

#include "base/least.h"
#include "log/log_internal.h"

/* Of the reserve, what deletes leave to the deletion of whole databases. */
#define RESERVE_LAST_MAX ((uint64_t)64 << 10)

/* End of what batches may use of the open segment: without a successor its
 * last part is kept for deletes. */
static uint64_t limit_of(const struct wdb_log *log,
                         enum wdb_log_reserve reserve)
{
    const uint64_t size = log->current->size;
    if (reserve == WDB_RESERVE_LAST || log->next != NULL) {
        return size;
    }
    if (reserve == WDB_RESERVE_DELETES) {
        return size - wdb_least(RESERVE_LAST_MAX, size / 64);
    }
    return size - wdb_least(log->options.reserve_size, size / 8);
}

void wdb_sequencer_close_entry(struct wdb_log *log)
{
    struct wdb_open_entry *open = &log->entry;
    if (!open->is_open) {
        return;
    }
    const uint64_t index =
        atomic_load_explicit(&log->index_last, memory_order_relaxed);
    struct wdb_frame frame = {
        .previous_crc = log->last_crc,
        .offset = open->offset,
        .index_durable =
            atomic_load_explicit(&log->durable, memory_order_acquire),
        .index_committed = wdb_log_committed(log),
        .salt = log->current->header.salt,
    };
    const struct wdb_entry_header entry = {
        .index = index,
        .term = log->term,
        .time_ms = wdb_log_time_ms(log),
        .payload_size = open->payload_size,
        .record_count = open->record_count,
        .payload_crc = open->payload_crc,
        .type = WDB_ENTRY_COMMAND,
    };
    wdb_debug_assert(frame.index_durable < index);
    wdb_entry_encode(&frame, &entry, open->headers);
    wdb_segment_mark(log->current, index, open->offset);
    log->last_crc = frame.crc;
    log->index_closed = index;
    log->entry_count++;
    open->is_open = false;
}

void wdb_sequencer_roll(struct wdb_log *log)
{
    struct wdb_segment *full = log->current;
    struct wdb_segment *next = log->next;
    wdb_sequencer_close_entry(log);
    full->size_used = log->head;
    full->index_last = log->index_closed;
    full->last_crc = log->last_crc;
    next->index_first = log->index_closed + 1;
    next->first_previous_crc = log->last_crc;
    atomic_fetch_add_explicit(&log->unsealed_count, 1, memory_order_relaxed);
    atomic_store_explicit(&full->finished, true, memory_order_release);
    log->current = next;
    log->next = NULL;
    log->head = WDB_SEGMENT_HEADER_SIZE;
}

/* Bytes that `size` more take; headers if they begin an entry. */
static uint64_t need_of(const struct wdb_log *log, uint64_t size)
{
    return log->entry.is_open ? size : size + WDB_ENTRY_OVERHEAD;
}

static bool fits(const struct wdb_log *log, uint64_t size,
                 enum wdb_log_reserve reserve)
{
    return need_of(log, size) + log->head <= limit_of(log, reserve);
}

/*
 * The segment has no room: let the next one take over. Lets go of the
 * sequencer to prepare it if it is not there, or to have older ones synced if
 * too many are not; so everything may have changed on return.
 */
static int make_room(struct wdb_log *log, uint64_t size,
                     enum wdb_log_reserve reserve)
{
    const uint64_t least = size + WDB_ENTRY_OVERHEAD + WDB_SEGMENT_HEADER_SIZE;
    for (;;) {
        int rc = wdb_log_appendable(log);
        if (rc != 0 || fits(log, size, reserve)) {
            return rc;
        }
        const bool crowded =
            atomic_load_explicit(&log->unsealed_count, memory_order_relaxed) >=
            WDB_UNSEALED_MAX;
        if (log->next != NULL && log->next->size >= least && !crowded) {
            wdb_sequencer_roll(log);
            wdb_sync_wake(log);
            continue;
        }
        pthread_mutex_unlock(&log->sequencer);
        rc = crowded ? wdb_sync_settle(log, WDB_UNSEALED_MAX - 1)
                     : wdb_catalog_prepare(log, least, false);
        pthread_mutex_lock(&log->sequencer);
        if (rc != 0) {
            return rc;
        }
    }
}

/* Begin an entry in this block, which has room. */
static void open_entry(struct wdb_log *log, struct wdb_block *block)
{
    log->entry = (struct wdb_open_entry){
        .is_open = true,
        .headers = block->data + block->used,
        .offset = log->head,
    };
    block->used += WDB_ENTRY_OVERHEAD;
    log->head += WDB_ENTRY_OVERHEAD;
    atomic_store_explicit(&log->index_last, log->index_closed + 1,
                          memory_order_release);
}

/* Gathered more than the limit: the appender pays for a write first. */
static int hold_back(struct wdb_log *log)
{
    const uint64_t gathered =
        atomic_load_explicit(&log->bytes_gathered, memory_order_relaxed);
    const uint64_t written =
        atomic_load_explicit(&log->bytes_written, memory_order_relaxed);
    if (WDB_LIKELY(gathered <= written + log->options.unwritten_size_max)) {
        return 0;
    }
    return wdb_log_flush(log);
}

static void count_gathered(struct wdb_log *log, uint64_t size)
{
    atomic_store_explicit(
        &log->bytes_gathered,
        atomic_load_explicit(&log->bytes_gathered, memory_order_relaxed) + size,
        memory_order_relaxed);
}

/* Under the sequencer. */
static int append(struct wdb_log *log, const uint8_t *records, size_t size,
                  uint32_t record_count, struct wdb_log_place *out)
{
    struct wdb_block *block;
    struct wdb_open_entry *entry = &log->entry;
    const uint64_t need = need_of(log, size);
    int rc = wdb_gather_room(log, need, &block);
    if (WDB_UNLIKELY(rc != 0)) {
        return rc;
    }
    if (!entry->is_open) {
        open_entry(log, block);
    }
    memcpy(block->data + block->used, records, size);
    out->index = atomic_load_explicit(&log->index_last, memory_order_relaxed);
    out->place = entry->record_count;
    out->position = wdb_position_make(log->current->slot, log->head);
    entry->payload_crc = wdb_payload_crc(entry->payload_crc, records, size);
    entry->payload_size += size;
    entry->record_count += record_count;
    block->used += size;
    log->head += size;
    log->batch_count++;
    count_gathered(log, need);
    return 0;
}

/* As wdb_log_appendable, for batches, which may be held. Under sequencer. */
static int batch_appendable(const struct wdb_log *log)
{
    const int rc = wdb_log_appendable(log);
    if (WDB_LIKELY(rc == 0) &&
        WDB_UNLIKELY(atomic_load_explicit(&log->held, memory_order_relaxed)) &&
        !WDB_LOG_MUTATED(log, WDB_MUTATION_IGNORE_HOLD)) {
        return WALKERDB_ENOTLEADER;
    }
    return rc;
}

int wdb_log_append(struct wdb_log *log, const uint8_t *records, size_t size,
                   uint32_t record_count, enum wdb_log_reserve reserve,
                   struct wdb_log_place *out)
{
    if (WDB_UNLIKELY(size > log->options.batch_size_max)) {
        return WALKERDB_ETOOBIG;
    }
    wdb_assert(size != 0 && size % 8 == 0 && record_count != 0);
    int rc = hold_back(log);
    if (WDB_UNLIKELY(rc != 0)) {
        return rc;
    }
    pthread_mutex_lock(&log->sequencer);
    rc = batch_appendable(log);
    if (WDB_UNLIKELY(rc != 0)) {
        goto out;
    }
    if (log->entry.is_open &&
        log->entry.payload_size + size > WDB_ENTRY_PAYLOAD_SOFT_MAX) {
        wdb_sequencer_close_entry(log);
    }
    if (WDB_UNLIKELY(!fits(log, size, reserve))) {
        rc = make_room(log, size, reserve);
        if (rc == 0) {
            rc = batch_appendable(log); /* held while it waited? */
        }
    }
    if (WDB_LIKELY(rc == 0)) {
        rc = append(log, records, size, record_count, out);
    }
out:
    pthread_mutex_unlock(&log->sequencer);
    return rc == 0 ? 0 : wdb_log_tell_failure(log, rc);
}

/* An entry as it is, behind the last one. Under the sequencer. */
static int append_entry(struct wdb_log *log,
                        const struct wdb_entry_header *entry,
                        const uint8_t *payload, struct wdb_log_place *out)
{
    struct wdb_block *block;
    const uint64_t need = entry->payload_size + WDB_ENTRY_OVERHEAD;
    int rc = wdb_gather_room(log, need, &block);
    if (rc != 0) {
        return rc;
    }
    struct wdb_frame frame = {
        .previous_crc = log->last_crc,
        .offset = log->head,
        .index_durable =
            atomic_load_explicit(&log->durable, memory_order_acquire),
        .index_committed = wdb_log_committed(log),
        .salt = log->current->header.salt,
    };
    wdb_entry_encode(&frame, entry, block->data + block->used);
    if (entry->payload_size != 0) {
        memcpy(block->data + block->used + WDB_ENTRY_OVERHEAD, payload,
               entry->payload_size);
    }
    wdb_segment_mark(log->current, entry->index, log->head);
    out->index = entry->index;
    out->place = 0;
    out->position =
        wdb_position_make(log->current->slot, log->head + WDB_ENTRY_OVERHEAD);
    block->used += need;
    log->head += need;
    log->last_crc = frame.crc;
    log->index_closed = entry->index;
    if (entry->type == WDB_ENTRY_COMMAND) {
        atomic_store_explicit(&log->index_foreign, entry->index,
                              memory_order_release);
    }
    atomic_store_explicit(&log->index_last, entry->index, memory_order_release);
    log->term = entry->term;
    log->entry_count++;
    count_gathered(log, need);
    return 0;
}

/* Fill in what a local entry leaves open; check what a leader's says. */
static int complete_entry(struct wdb_log *log,
                          const struct wdb_entry_header *from,
                          const uint8_t *payload, struct wdb_entry_header *out)
{
    *out = *from;
    if (out->index == 0) {
        out->index = log->index_closed + 1;
        out->term = log->term;
        out->time_ms = wdb_log_time_ms(log);
        if (out->type != WDB_ENTRY_COMMAND) {
            out->payload_crc = wdb_crc32c(0, payload, out->payload_size);
        } else {
            out->payload_crc = wdb_payload_crc(0, payload, out->payload_size);
        }
    } else if (out->index != log->index_closed + 1 || out->term == 0) {
        /* Its term may be below the log's: ours led in a later one, or had
         * entries of it that were truncated. */
        return WALKERDB_EINVALID;
    }
    wdb_debug_assert(wdb_entry_verify_payload(out, payload) == 0);
    return 0;
}

int wdb_log_entry_room(struct wdb_log *log, uint64_t all, uint64_t largest,
                       uint64_t room_out[2])
{
    const uint64_t heads = WDB_ENTRY_OVERHEAD + WDB_SEGMENT_HEADER_SIZE;
    bool again = true;
    for (;;) {
        pthread_mutex_lock(&log->sequencer);
        const struct wdb_segment *next = log->next;
        const uint64_t end = limit_of(log, WDB_RESERVE_LAST);
        int rc = wdb_log_appendable(log);
        room_out[0] = end > log->head ? end - log->head : 0;
        room_out[1] = next == NULL ? 0 : next->size - WDB_SEGMENT_HEADER_SIZE;
        pthread_mutex_unlock(&log->sequencer);
        if (rc != 0 || all <= room_out[0] || largest <= room_out[1] || !again) {
            return rc;
        }
        again = false;
        rc = wdb_catalog_prepare(log, largest + heads, false);
        if (rc != 0 && rc != WALKERDB_ENOSPACE) {
            return rc;
        }
    }
}

int wdb_log_append_entry(struct wdb_log *log,
                         const struct wdb_entry_header *entry,
                         const uint8_t *payload, struct wdb_log_place *out)
{
    struct wdb_entry_header complete;
    if (entry->payload_size >
        log->options.batch_size_max + WDB_ENTRY_PAYLOAD_SOFT_MAX) {
        return WALKERDB_ETOOBIG;
    }
    if (entry->payload_size % 8 != 0 || entry->type == WDB_ENTRY_MERGED) {
        return WALKERDB_EINVALID;
    }
    int rc = hold_back(log);
    if (rc != 0) {
        return rc;
    }
    pthread_mutex_lock(&log->sequencer);
    rc = wdb_log_appendable(log);
    while (rc == 0) {
        /* Again after each wait: others may have opened one meanwhile. */
        wdb_sequencer_close_entry(log);
        if (fits(log, entry->payload_size, WDB_RESERVE_LAST)) {
            break;
        }
        rc = make_room(log, entry->payload_size, WDB_RESERVE_LAST);
    }
    if (rc == 0) {
        rc = complete_entry(log, entry, payload, &complete);
    }
    if (rc == 0) {
        uint64_t seen = atomic_load(&log->time_ms);
        while (seen < complete.time_ms &&
               !atomic_compare_exchange_weak(&log->time_ms, &seen,
                                             complete.time_ms)) {
        }
        rc = append_entry(log, &complete, payload, out);
    }
    pthread_mutex_unlock(&log->sequencer);
    return rc == 0 ? 0 : wdb_log_tell_failure(log, rc);
}

int wdb_log_admit(struct wdb_log *log, size_t size)
{
    if (WDB_UNLIKELY(log->options.read_only)) {
        return WALKERDB_EREADONLY;
    }
    if (WDB_UNLIKELY(wdb_log_failure(log) != 0)) {
        return WALKERDB_EIO;
    }
    if (WDB_LIKELY(!atomic_load_explicit(&log->full, memory_order_relaxed))) {
        return 0;
    }
    pthread_mutex_lock(&log->sequencer);
    int rc = wdb_log_appendable(log);
    if (rc == 0 && !fits(log, size, WDB_RESERVE_NONE)) {
        rc = WALKERDB_ENOSPACE;
    }
    pthread_mutex_unlock(&log->sequencer);
    return rc;
}

void wdb_log_set_term(struct wdb_log *log, uint64_t term)
{
    pthread_mutex_lock(&log->sequencer);
    wdb_sequencer_close_entry(log);
    log->term = term;
    pthread_mutex_unlock(&log->sequencer);
}

uint64_t wdb_log_term(struct wdb_log *log)
{
    pthread_mutex_lock(&log->sequencer);
    const uint64_t term = log->term;
    pthread_mutex_unlock(&log->sequencer);
    return term;
}

void wdb_log_hold(struct wdb_log *log, bool hold)
{
    pthread_mutex_lock(&log->sequencer);
    if (hold) {
        wdb_sequencer_close_entry(log);
    }
    atomic_store_explicit(&log->held, hold, memory_order_release);
    pthread_mutex_unlock(&log->sequencer);
}

bool wdb_log_is_held(const struct wdb_log *log)
{
    return atomic_load_explicit(&log->held, memory_order_acquire);
}
