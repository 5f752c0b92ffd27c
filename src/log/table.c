/*
 * table.c - the segments that are open: by slot, and in order.
 *
 * A slot's reference goes through the epoch when the segment leaves the table:
 * whoever found it there before may still take a reference of its own.
 */
#include <stdlib.h>

#include "log/log_internal.h"

/* The leaf of this slot, NULL without memory. Under table. */
static struct wdb_slots *leaf_of(struct wdb_log *log, uint32_t slot)
{
    _Atomic(struct wdb_slots *) *root = &log->slots[slot / WDB_SLOTS_SIZE];
    struct wdb_slots *leaf = atomic_load_explicit(root, memory_order_relaxed);
    if (leaf == NULL) {
        leaf = calloc(1, sizeof(*leaf));
        atomic_store_explicit(root, leaf, memory_order_release);
    }
    return leaf;
}

/* Slots are used in turn, so that a stale position finds an empty one rather
 * than another segment; but as long as half of a leaf is free, no other leaf
 * is begun. */
static uint32_t slot_after(uint32_t slot, uint32_t passed)
{
    const uint32_t next = slot + 1;
    if (next % WDB_SLOTS_SIZE == 0 && passed < WDB_SLOTS_SIZE / 2) {
        return next - WDB_SLOTS_SIZE;
    }
    return next;
}

int wdb_slots_add(struct wdb_log *log, struct wdb_segment *segment)
{
    const uint32_t slot_count = WDB_SLOT_STAGED;
    int rc = WALKERDB_EBUSY;
    pthread_mutex_lock(&log->table);
    for (uint32_t i = 0; i < slot_count && rc == WALKERDB_EBUSY; i++) {
        const uint32_t slot = (log->slot_hint + i) % slot_count;
        struct wdb_slots *leaf = leaf_of(log, slot);
        if (leaf == NULL) {
            rc = WALKERDB_ENOMEM;
        } else if (wdb_slots_get(log, slot) == NULL) {
            segment->slot = slot;
            atomic_store_explicit(&leaf->items[slot % WDB_SLOTS_SIZE], segment,
                                  memory_order_release);
            log->slot_hint = slot_after(slot, i);
            rc = 0;
        }
    }
    pthread_mutex_unlock(&log->table);
    return rc;
}

static void drop_after_readers(struct wdb_epoch_retired *retired)
{
    wdb_segment_drop(WDB_CONTAINER_OF(retired, struct wdb_segment, retired));
}

void wdb_slots_remove(struct wdb_log *log, struct wdb_segment *segment)
{
    pthread_mutex_lock(&log->table);
    struct wdb_slots *leaf = leaf_of(log, segment->slot);
    wdb_assert(wdb_slots_get(log, segment->slot) == segment);
    atomic_store_explicit(&leaf->items[segment->slot % WDB_SLOTS_SIZE], NULL,
                          memory_order_release);
    pthread_mutex_unlock(&log->table);
    wdb_epoch_retire(log->epoch, &segment->retired, drop_after_readers);
}

int wdb_slots_reserve(struct wdb_log *log, size_t extra)
{
    int rc = 0;
    pthread_mutex_lock(&log->table);
    if (log->order_count + extra > log->order_capacity) {
        const size_t capacity = (log->order_count + extra) * 2 + 8;
        struct wdb_segment **order =
            realloc(log->order, capacity * sizeof(struct wdb_segment *));
        if (order == NULL) {
            rc = WALKERDB_ENOMEM;
        } else {
            log->order = order;
            log->order_capacity = capacity;
        }
    }
    pthread_mutex_unlock(&log->table);
    return rc;
}

void wdb_slots_splice(struct wdb_log *log, size_t at, size_t old_count,
                      struct wdb_segment *const *with, size_t count)
{
    pthread_mutex_lock(&log->table);
    wdb_assert(at + old_count <= log->order_count);
    wdb_assert(log->order_count - old_count + count <= log->order_capacity);
    memmove(log->order + at + count, log->order + at + old_count,
            (log->order_count - at - old_count) * sizeof(struct wdb_segment *));
    if (count != 0) {
        memcpy(log->order + at, with, count * sizeof(struct wdb_segment *));
    }
    log->order_count = log->order_count - old_count + count;
    pthread_mutex_unlock(&log->table);
}

struct wdb_segment *wdb_log_segment(struct wdb_log *log, uint32_t slot)
{
    return slot < WDB_SLOT_STAGED ? wdb_slots_get(log, slot) : NULL;
}

int wdb_log_segments(struct wdb_log *log, struct wdb_segment ***out,
                     size_t *count_out)
{
    /* The prepared one has no entries: it is left out. */
    pthread_mutex_lock(&log->sequencer);
    const struct wdb_segment *prepared = log->next;
    pthread_mutex_lock(&log->table);
    pthread_mutex_unlock(&log->sequencer);
    struct wdb_segment **list =
        malloc((log->order_count + 1) * sizeof(struct wdb_segment *));
    size_t count = 0;
    for (size_t i = 0; list != NULL && i < log->order_count; i++) {
        if (log->order[i] != prepared) {
            wdb_segment_acquire(log->order[i]);
            list[count++] = log->order[i];
        }
    }
    pthread_mutex_unlock(&log->table);
    if (list == NULL) {
        return WALKERDB_ENOMEM;
    }
    *out = list;
    *count_out = count;
    return 0;
}

void wdb_log_segment_retire(struct wdb_log *log, struct wdb_segment *segment)
{
    atomic_store(&segment->doomed, true);
    wdb_slots_remove(log, segment);
}
