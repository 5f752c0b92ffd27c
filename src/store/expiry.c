/*
 * expiry.c - which keys of a stripe expire next.
 *
 * Each key with an expiry has an item in its stripe's heap at or before that
 * time (expiry_heap.h). When an item comes up, the keydir says what is really
 * there: keys past their time are reported, a later expiry moves the item, and
 * an item of nothing is dropped.
 */
#include "store/expiry.h"

#include "store/expiry_heap.h"
#include "store/store_internal.h"

/* A key that was reported comes up again so much later, in case that its
 * deletion failed. */
#define RETRY_MS 1000
/* The number of keys that expire, which tells how much of the heap is dead, is
 * counted anew so often. */
#define COUNT_INTERVAL 256

struct lookup {
    uint64_t now_ms;
    uint64_t
        later_ms; /* earliest expiry that is still to come, or UINT64_MAX */
    uint32_t expired;
    uint32_t database;
    wdb_store_expired_cb callback;
    void *context;
};

static void look(void *context, struct wdb_slice key, uint64_t hash,
                 const struct wdb_item *item)
{
    struct lookup *lookup = context;
    if ((item->flags & WDB_ITEM_EXPIRY) == 0) {
        return;
    }
    if (item->expiry_ms > lookup->now_ms) {
        if (item->expiry_ms < lookup->later_ms) {
            lookup->later_ms = item->expiry_ms;
        }
        return;
    }
    lookup->expired++;
    lookup->callback(lookup->context, lookup->database, hash, key);
}

struct liveness {
    uint64_t from_ms;
    bool live;
};

static void find_live(void *context, struct wdb_slice key, uint64_t hash,
                      const struct wdb_item *item)
{
    struct liveness *liveness = context;
    (void)key;
    (void)hash;
    liveness->live |= (item->flags & WDB_ITEM_EXPIRY) != 0 &&
                      item->expiry_ms >= liveness->from_ms;
}

/* A database that is not mapped now may be mapped again by an undo. */
static bool may_come_back(const struct wdb_store *store)
{
    return atomic_load_explicit(&store->undo_memory, memory_order_relaxed) > 0;
}

static bool is_live(void *context, const struct wdb_expiry_item *item)
{
    const struct wdb_store *store = context;
    const struct wdb_keydir *keydir = wdb_store_keydir(store, item->database);
    struct liveness liveness = {.from_ms = item->expiry_ms};
    if (keydir == NULL) {
        return may_come_back(store);
    }
    wdb_keydir_find_hash(keydir, item->hash, WDB_EXPIRY_HASH_MASK, find_live,
                         &liveness);
    return liveness.live;
}

/* Keys with an expiry that this stripe has, more or less. */
static uint64_t live_count(const struct wdb_store *store)
{
    uint64_t count = 0;
    for (uint32_t i = 0; i < WDB_DATABASE_COUNT; i++) {
        const struct wdb_keydir *keydir =
            wdb_store_keydir(store, wdb_store_database(store, i));
        count += keydir == NULL ? 0 : wdb_keydir_expiry_count(keydir);
    }
    return count / store->stripe_count;
}

static void show_next(struct wdb_stripe *stripe)
{
    struct wdb_expiry_item first;
    const bool any = wdb_expiry_heap_peek(stripe->heap, &first);
    atomic_store_explicit(&stripe->next_expiry,
                          any ? first.expiry_ms : UINT64_MAX,
                          memory_order_relaxed);
}

int wdb_expiry_add(struct wdb_store *store, uint64_t hash, uint32_t database,
                   uint64_t expiry_ms)
{
    struct wdb_stripe *stripe =
        &store->stripes[wdb_stripe_of(hash, store->stripe_count)];
    if (stripe->heap == NULL) {
        struct wdb_expiry_heap *heap;
        const int rc = wdb_expiry_heap_new(&heap);
        if (rc != 0) {
            return rc;
        }
        atomic_store(&stripe->heap, heap);
    }
    /* Before the new item, which the keydir does not know yet. */
    if (!store->loading) {
        if (stripe->expiry_adds++ % COUNT_INTERVAL == 0) {
            stripe->expiry_live = live_count(store);
        }
        wdb_expiry_heap_clean(stripe->heap, stripe->expiry_live, is_live,
                              store);
    }
    const struct wdb_expiry_item item = {
        .expiry_ms =
            expiry_ms < WDB_EXPIRY_TIME_MAX ? expiry_ms : WDB_EXPIRY_TIME_MAX,
        .hash = hash & WDB_EXPIRY_HASH_MASK,
        .database = database,
    };
    const int rc = wdb_expiry_heap_push(stripe->heap, &item);
    if (rc != 0) {
        return rc;
    }
    show_next(stripe);
    return 0;
}

uint32_t wdb_store_expired(struct wdb_store *store, uint32_t number,
                           uint64_t now_ms, uint32_t limit,
                           wdb_store_expired_cb callback, void *context)
{
    struct wdb_stripe *stripe = &store->stripes[number];
    struct wdb_expiry_item item;
    uint32_t expired = 0;
    if (stripe->heap == NULL) {
        atomic_store_explicit(&stripe->next_expiry, UINT64_MAX,
                              memory_order_relaxed);
        return 0;
    }
    for (uint32_t looked = 0;
         looked < 2 * limit && expired < limit &&
         wdb_expiry_heap_peek(stripe->heap, &item) && item.expiry_ms <= now_ms;
         looked++) {
        const struct wdb_keydir *keydir =
            wdb_store_keydir(store, item.database);
        struct lookup lookup = {now_ms,        UINT64_MAX, 0,
                                item.database, callback,   context};
        if (keydir != NULL) {
            wdb_keydir_find_hash(keydir, item.hash, WDB_EXPIRY_HASH_MASK, look,
                                 &lookup);
        } else if (may_come_back(store)) {
            lookup.later_ms = now_ms + RETRY_MS;
        }
        expired += lookup.expired;
        if (lookup.expired > 0 && lookup.later_ms > now_ms + RETRY_MS) {
            lookup.later_ms = now_ms + RETRY_MS;
        }
        if (lookup.later_ms == UINT64_MAX) {
            wdb_expiry_heap_pop(stripe->heap);
        } else {
            item.expiry_ms = lookup.later_ms < WDB_EXPIRY_TIME_MAX
                                 ? lookup.later_ms
                                 : WDB_EXPIRY_TIME_MAX;
            wdb_expiry_heap_replace(stripe->heap, &item);
        }
    }
    show_next(stripe);
    return expired;
}

uint64_t wdb_store_next_expiry(const struct wdb_store *store, uint32_t number)
{
    return atomic_load_explicit(&store->stripes[number].next_expiry,
                                memory_order_relaxed);
}

void wdb_expiry_release(struct wdb_stripe *stripe)
{
    wdb_expiry_heap_free(stripe->heap);
    stripe->heap = NULL;
}

void wdb_expiry_clear(struct wdb_stripe *stripe)
{
    if (stripe->heap != NULL) {
        wdb_expiry_heap_clear(stripe->heap);
    }
    stripe->expiry_adds = 0;
    stripe->expiry_live = 0;
    atomic_store_explicit(&stripe->next_expiry, UINT64_MAX,
                          memory_order_relaxed);
}

uint64_t wdb_expiry_memory(const struct wdb_stripe *stripe)
{
    const struct wdb_expiry_heap *heap = atomic_load(&stripe->heap);
    return heap == NULL ? 0 : wdb_expiry_heap_memory(heap);
}
