/*
 * undo_ring.c - the undos of plain records: one put or delete of a string, what
 * a leader commits most. Each stripe has a ring of them, oldest first, so that
 * to keep one costs no allocation and no other lock. They hold nothing that has
 * to be freed: those that are committed are passed over when the stripe is
 * written next.
 */
#include <stdlib.h>

#include "store/store_internal.h"

#define CAPACITY_MIN 8
/* A ring that has become empty is kept up to this size. */
#define CAPACITY_KEPT 256

/* The count is looked at by others, without the stripe. */
static uint32_t count_of(const struct wdb_undo_ring *ring)
{
    return atomic_load_explicit(&ring->count, memory_order_relaxed);
}

static void set_count(struct wdb_undo_ring *ring, uint32_t count)
{
    atomic_store_explicit(&ring->count, count, memory_order_relaxed);
}

static struct wdb_undo_plain *item_at(const struct wdb_undo_ring *ring,
                                      uint32_t i)
{
    return &ring->items[(ring->head + i) & (ring->capacity - 1)];
}

static int grow(struct wdb_undo_ring *ring)
{
    if (ring->capacity > UINT32_MAX / 2) {
        return WALKERDB_ENOMEM;
    }
    const uint32_t capacity =
        ring->capacity == 0 ? CAPACITY_MIN : ring->capacity * 2;
    struct wdb_undo_plain *items = malloc(capacity * sizeof(*items));
    if (items == NULL) {
        return WALKERDB_ENOMEM;
    }
    for (uint32_t i = 0; i < count_of(ring); i++) {
        items[i] = *item_at(ring, i);
    }
    free(ring->items);
    ring->items = items;
    ring->head = 0;
    ring->capacity = capacity;
    return 0;
}

void wdb_undo_ring_release(struct wdb_undo_ring *ring)
{
    free(ring->items);
    ring->items = NULL;
    ring->head = ring->capacity = 0;
    set_count(ring, 0);
}

void wdb_undo_ring_pass(struct wdb_undo_ring *ring, uint64_t committed)
{
    uint32_t count = count_of(ring);
    while (count > 0 && item_at(ring, 0)->index <= committed) {
        ring->head = (ring->head + 1) & (ring->capacity - 1);
        count--;
    }
    set_count(ring, count);
    if (WDB_UNLIKELY(count == 0 && ring->capacity > CAPACITY_KEPT)) {
        wdb_undo_ring_release(ring);
    }
}

int wdb_undo_ring_reserve(struct wdb_undo_ring *ring, uint64_t committed)
{
    wdb_undo_ring_pass(ring, committed);
    return WDB_LIKELY(count_of(ring) < ring->capacity) ? 0 : grow(ring);
}

struct wdb_undo_plain *wdb_undo_ring_add(struct wdb_undo_ring *ring)
{
    const uint32_t count = count_of(ring);
    wdb_assert(count < ring->capacity);
    set_count(ring, count + 1);
    return item_at(ring, count);
}

void wdb_undo_ring_revert(struct wdb_store *store, struct wdb_undo_ring *ring,
                          uint64_t index, uint32_t place)
{
    for (uint32_t count = count_of(ring); count > 0; count--) {
        const struct wdb_undo_plain *plain = item_at(ring, count - 1);
        if (plain->index < index ||
            (plain->index == index && plain->place < place)) {
            return;
        }
        struct wdb_undo undo = {
            .position = plain->position,
            .hash = plain->hash,
            .old = plain->old,
            .kind = plain->kind,
            .existed = plain->existed,
        };
        wdb_undo_revert_logged(store, &undo);
        set_count(ring, count - 1);
    }
}

uint64_t wdb_undo_ring_memory(const struct wdb_store *store)
{
    uint64_t count = 0;
    if (wdb_log_committed(store->log) >= wdb_log_index_last(store->log)) {
        return 0; /* what is there is only not passed over yet */
    }
    for (uint32_t i = 0; i < store->stripe_count; i++) {
        count += atomic_load_explicit(&store->stripes[i].undos.count,
                                      memory_order_relaxed);
    }
    return count * sizeof(struct wdb_undo_plain);
}
