/*
 * epoch.c - deferred reclamation with one word per reader.
 *
 * `now` counts retirements. A reader writes the `now` it saw into a free slot
 * (0 means free) and only then loads shared pointers; leaving clears the slot.
 * A retired node carries the `now` of its retirement, which it moves on by
 * one. It may be freed when no slot holds a number <= its own:
 *
 *   - A reader with a greater number saw `now` after it was moved on, so it
 *     also sees that the pointer was unpublished before.
 *   - A slot that was found free was found so by a read-modify-write. A
 *     reader that takes it later synchronises with that one, and so cannot
 *     load the old pointer, whatever number it brings. (A plain load would
 *     not do: the reader's store might still be in its processor's buffer.)
 *   - A slot that holds a greater number: whoever takes it after that reader
 *     comes after its exit, hence after its entry.
 *
 * So each step orders the next by acquire and release on a single word, with
 * no fences; the thread sanitizer understands all of it.
 */
#include "base/epoch.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/assert.h"
#include "walkerdb.h"

/* Retirements between two looks at the slots. */
#define RECLAIM_INTERVAL 8

struct slot {
    WDB_ALIGN_CACHE _Atomic uint64_t entered; /* 0: free */
};

struct wdb_epoch {
    struct slot slots[WDB_EPOCH_SLOTS];
    WDB_ALIGN_CACHE _Atomic uint64_t now; /* from 1 on */
    atomic_uint next_hint;                /* spreads threads over the slots */

    WDB_ALIGN_CACHE pthread_mutex_t lock; /* for what follows */
    struct wdb_epoch_retired *oldest;     /* a queue, epochs rise */
    struct wdb_epoch_retired **newest_next;
    size_t waiting_count;
    size_t reclaim_at; /* look at the slots when so many wait */
};

/* The slot this thread used last, plus 1: likely free and in its cache. Only
 * a hint, so it does no harm that all instances share it. */
static _Thread_local unsigned slot_hint;

int wdb_epoch_new(struct wdb_epoch **out)
{
    struct wdb_epoch *epoch = aligned_alloc(WDB_CACHE_LINE, sizeof(*epoch));
    if (epoch == NULL) {
        return WALKERDB_ENOMEM;
    }
    if (pthread_mutex_init(&epoch->lock, NULL) != 0) {
        free(epoch);
        return WALKERDB_ENOMEM;
    }
    for (int i = 0; i < WDB_EPOCH_SLOTS; i++) {
        atomic_init(&epoch->slots[i].entered, 0);
    }
    atomic_init(&epoch->now, 1);
    atomic_init(&epoch->next_hint, 0);
    epoch->oldest = NULL;
    epoch->newest_next = &epoch->oldest;
    epoch->waiting_count = 0;
    epoch->reclaim_at = RECLAIM_INTERVAL;
    *out = epoch;
    return 0;
}

void wdb_epoch_free(struct wdb_epoch *epoch)
{
    if (epoch == NULL) {
        return;
    }
    for (int i = 0; i < WDB_EPOCH_SLOTS; i++) {
        wdb_assert(atomic_load(&epoch->slots[i].entered) == 0);
    }
    /* Freeing a node may retire others. */
    while (wdb_epoch_reclaim(epoch) > 0) {
    }
    pthread_mutex_destroy(&epoch->lock);
    free(epoch);
}

/* Where this thread starts to look for a free slot. */
static unsigned first_slot(struct wdb_epoch *epoch)
{
    if (slot_hint != 0) {
        return slot_hint - 1;
    }
    return atomic_fetch_add_explicit(&epoch->next_hint, 1,
                                     memory_order_relaxed) %
           WDB_EPOCH_SLOTS;
}

int wdb_epoch_enter(struct wdb_epoch *epoch)
{
    uint64_t now = atomic_load_explicit(&epoch->now, memory_order_acquire);
    unsigned first = first_slot(epoch);
    for (unsigned i = first;;) {
        uint64_t expected = 0;
        if (WDB_LIKELY(atomic_compare_exchange_strong_explicit(
                &epoch->slots[i].entered, &expected, now, memory_order_acq_rel,
                memory_order_relaxed))) {
            slot_hint = i + 1;
            return (int)i;
        }
        i = (i + 1) % WDB_EPOCH_SLOTS;
        if (i == first) {
            sched_yield();
        }
    }
}

void wdb_epoch_exit(struct wdb_epoch *epoch, int slot)
{
    wdb_assert(slot >= 0 && slot < WDB_EPOCH_SLOTS);
    struct slot *s = &epoch->slots[slot];
    wdb_debug_assert(atomic_load(&s->entered) != 0);
    atomic_store_explicit(&s->entered, 0, memory_order_release);
}

/* The least number that a reader inside holds; UINT64_MAX if there is none. */
static uint64_t oldest_reader(struct wdb_epoch *epoch)
{
    uint64_t oldest = UINT64_MAX;
    for (int i = 0; i < WDB_EPOCH_SLOTS; i++) {
        _Atomic uint64_t *word = &epoch->slots[i].entered;
        uint64_t entered = atomic_load_explicit(word, memory_order_acquire);
        if (entered == 0) {
            /* Adds nothing; it is the read-modify-write told of above. */
            entered = atomic_fetch_add_explicit(word, 0, memory_order_acq_rel);
        }
        if (entered != 0 && entered < oldest) {
            oldest = entered;
        }
    }
    return oldest;
}

/* Cut off the nodes that may be freed. Called with the lock held. */
static struct wdb_epoch_retired *take_free_nodes(struct wdb_epoch *epoch)
{
    struct wdb_epoch_retired *first = epoch->oldest;
    if (first == NULL) {
        return NULL;
    }
    uint64_t bound = oldest_reader(epoch);
    struct wdb_epoch_retired **end = &epoch->oldest;
    while (*end != NULL && (*end)->epoch < bound) {
        end = &(*end)->next;
        epoch->waiting_count--;
    }
    epoch->reclaim_at = epoch->waiting_count + RECLAIM_INTERVAL;
    if (end == &epoch->oldest) {
        return NULL;
    }
    epoch->oldest = *end;
    *end = NULL;
    if (epoch->oldest == NULL) {
        epoch->newest_next = &epoch->oldest;
    }
    return first;
}

/* Called without the lock: a node's free may retire again. */
static void free_nodes(struct wdb_epoch_retired *node)
{
    while (node != NULL) {
        struct wdb_epoch_retired *next = node->next;
        node->free(node);
        node = next;
    }
}

void wdb_epoch_retire(struct wdb_epoch *epoch, struct wdb_epoch_retired *node,
                      void (*free_node)(struct wdb_epoch_retired *))
{
    node->next = NULL;
    node->free = free_node;
    struct wdb_epoch_retired *freeable = NULL;

    pthread_mutex_lock(&epoch->lock);
    node->epoch =
        atomic_fetch_add_explicit(&epoch->now, 1, memory_order_acq_rel);
    *epoch->newest_next = node;
    epoch->newest_next = &node->next;
    epoch->waiting_count++;
    if (epoch->waiting_count >= epoch->reclaim_at) {
        freeable = take_free_nodes(epoch);
    }
    pthread_mutex_unlock(&epoch->lock);

    free_nodes(freeable);
}

size_t wdb_epoch_reclaim(struct wdb_epoch *epoch)
{
    pthread_mutex_lock(&epoch->lock);
    struct wdb_epoch_retired *freeable = take_free_nodes(epoch);
    pthread_mutex_unlock(&epoch->lock);

    free_nodes(freeable);

    pthread_mutex_lock(&epoch->lock);
    size_t waiting_count = epoch->waiting_count;
    pthread_mutex_unlock(&epoch->lock);
    return waiting_count;
}

void wdb_epoch_wait(struct wdb_epoch *epoch)
{
    const uint64_t before =
        atomic_fetch_add_explicit(&epoch->now, 1, memory_order_acq_rel);
    while (oldest_reader(epoch) <= before) {
        sched_yield();
    }
}
