/*
 * gather.c - the blocks of memory that hold what is not in the file yet.
 *
 *   oldest                                             newest
 *   +------------+  newer  +------------+  newer  +------------+
 *   | written    | ------> | not yet    | ------> | takes more |
 *   +------------+ <------ +------------+ <------ +------------+
 *                   older                 older
 *
 * There is always at least one block. Appenders add at the newest end under
 * the sequencer, the writer takes away at the oldest under its own lock.
 *
 * A reader, inside the epoch, walks from the newest to the older ones, without
 * a lock, until it comes to the block that its position is in. If it does not
 * find it, the block was written and taken away meanwhile, and the segment's
 * `written`, which was moved before that, now covers the position.
 */
#include <stdlib.h>

#include "log/log_internal.h"

/* Blocks kept for later; more than that go back to the allocator. */
static size_t pool_count_max(const struct wdb_log *log)
{
    return 2 + (size_t)(log->options.unwritten_size_max / WDB_BLOCK_SIZE);
}

static struct wdb_block *pool_take(struct wdb_log *log)
{
    pthread_mutex_lock(&log->pool_lock);
    struct wdb_block *block = log->pool;
    if (block != NULL) {
        log->pool = block->pool_next;
        log->pool_count--;
    }
    pthread_mutex_unlock(&log->pool_lock);
    return block;
}

/* Called through the epoch: nobody reads the block any more. */
static void pool_give(struct wdb_epoch_retired *retired)
{
    struct wdb_block *block =
        WDB_CONTAINER_OF(retired, struct wdb_block, retired);
    struct wdb_log *log = block->log;
    if (block->capacity == WDB_BLOCK_SIZE) {
        pthread_mutex_lock(&log->pool_lock);
        if (log->pool_count < pool_count_max(log)) {
            block->pool_next = log->pool;
            log->pool = block;
            log->pool_count++;
            block = NULL;
        }
        pthread_mutex_unlock(&log->pool_lock);
    }
    free(block);
}

/* A block for `size` bytes at head. */
static struct wdb_block *block_new(struct wdb_log *log, size_t size)
{
    struct wdb_block *block = NULL;
    const size_t capacity = size > WDB_BLOCK_SIZE ? size : WDB_BLOCK_SIZE;
    if (capacity == WDB_BLOCK_SIZE) {
        block = pool_take(log);
    }
    if (block == NULL) {
        block = malloc(sizeof(*block) + capacity);
    }
    if (block == NULL) {
        return NULL;
    }
    block->segment = log->current;
    block->offset = log->head;
    block->used = 0;
    block->written = 0;
    block->capacity = capacity;
    block->newer = NULL;
    atomic_init(&block->older, NULL);
    block->log = log;
    return block;
}

int wdb_gather_room(struct wdb_log *log, size_t size, struct wdb_block **out)
{
    struct wdb_block *newest =
        atomic_load_explicit(&log->newest, memory_order_relaxed);
    if (WDB_LIKELY(newest->segment == log->current &&
                   newest->offset + newest->used == log->head &&
                   newest->capacity - newest->used >= size)) {
        *out = newest;
        return 0;
    }
    struct wdb_block *block = block_new(log, size);
    if (block == NULL) {
        return WALKERDB_ENOMEM;
    }
    atomic_store_explicit(&block->older, newest, memory_order_relaxed);
    newest->newer = block;
    atomic_store_explicit(&log->newest, block, memory_order_release);
    *out = block;
    return 0;
}

int wdb_gather_init(struct wdb_log *log)
{
    struct wdb_block *block = block_new(log, 0);
    if (block == NULL) {
        return WALKERDB_ENOMEM;
    }
    log->oldest = block;
    atomic_store_explicit(&log->newest, block, memory_order_release);
    return 0;
}

void wdb_gather_release(struct wdb_log *log)
{
    for (struct wdb_block *block = log->oldest; block != NULL;) {
        struct wdb_block *newer = block->newer;
        free(block);
        block = newer;
    }
    log->oldest = NULL;
    for (struct wdb_block *block = log->pool; block != NULL;) {
        struct wdb_block *next = block->pool_next;
        free(block);
        block = next;
    }
    log->pool = NULL;
}

void wdb_gather_retire(struct wdb_log *log, struct wdb_block *last)
{
    while (log->oldest != last) {
        struct wdb_block *block = log->oldest;
        log->oldest = block->newer;
        atomic_store_explicit(&log->oldest->older, NULL, memory_order_release);
        wdb_epoch_retire(log->epoch, &block->retired, pool_give);
    }
}

/* The bytes of a position that is not in the file, or NULL. */
static const uint8_t *find(struct wdb_log *log,
                           const struct wdb_segment *segment, uint64_t offset)
{
    struct wdb_block *block =
        atomic_load_explicit(&log->newest, memory_order_acquire);
    while (block != NULL) {
        /* Blocks are in order, so the first that begins at or before the
         * offset is the one. */
        if (block->segment == segment && block->offset <= offset) {
            return block->data + (offset - block->offset);
        }
        block = atomic_load_explicit(&block->older, memory_order_acquire);
    }
    return NULL;
}

const uint8_t *wdb_log_resolve(struct wdb_log *log, wdb_position position,
                               struct wdb_segment **segment_out)
{
    struct wdb_segment *segment =
        wdb_slots_get(log, wdb_position_slot(position));
    const uint64_t offset = wdb_position_offset(position);
    wdb_assert(segment != NULL);
    for (;;) {
        if (WDB_LIKELY(offset < atomic_load_explicit(&segment->written,
                                                     memory_order_acquire))) {
            if (segment_out != NULL) {
                *segment_out = segment;
            }
            return segment->map + offset;
        }
        const uint8_t *data = find(log, segment, offset);
        if (data != NULL) {
            if (segment_out != NULL) {
                *segment_out = NULL;
            }
            return data;
        }
        /* Written meanwhile. */
        wdb_assert(offset < atomic_load_explicit(&segment->written,
                                                 memory_order_acquire));
    }
}

const void *wdb_log_peek(struct wdb_log *log, wdb_position position)
{
    struct wdb_segment *segment =
        wdb_slots_get(log, wdb_position_slot(position));
    const uint64_t offset = wdb_position_offset(position);
    if (segment == NULL ||
        offset >=
            atomic_load_explicit(&segment->written, memory_order_acquire)) {
        return NULL;
    }
    return segment->map + offset;
}
