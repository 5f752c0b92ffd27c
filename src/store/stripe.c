/* stripe.c - the locks of the keyspace. */
#include "store/store_internal.h"

uint64_t wdb_store_hash(const struct wdb_store *store, struct wdb_slice key)
{
    return wdb_siphash13(&store->hash_key, key);
}

uint32_t wdb_store_stripe_count(const struct wdb_store *store)
{
    return store->stripe_count;
}

static void lock_stripe(struct wdb_stripe *stripe)
{
    pthread_mutex_lock(&stripe->mutex);
#ifdef WDB_DEBUG
    wdb_assert(!stripe->held);
    stripe->held = true;
#endif
}

static void unlock_stripe(struct wdb_stripe *stripe)
{
#ifdef WDB_DEBUG
    wdb_assert(stripe->held);
    stripe->held = false;
#endif
    pthread_mutex_unlock(&stripe->mutex);
}

void wdb_store_lock_one(struct wdb_store *store, uint32_t stripe)
{
    lock_stripe(&store->stripes[stripe]);
}

void wdb_store_unlock_one(struct wdb_store *store, uint32_t stripe)
{
    unlock_stripe(&store->stripes[stripe]);
}

void wdb_store_lock(struct wdb_store *store, const struct wdb_stripe_set *set)
{
    for (uint32_t word = 0; word * 64 < store->stripe_count; word++) {
        for (uint64_t bits = set->bits[word]; bits != 0; bits &= bits - 1) {
            lock_stripe(
                &store->stripes[word * 64 + (uint32_t)__builtin_ctzll(bits)]);
        }
    }
}

void wdb_store_unlock(struct wdb_store *store, const struct wdb_stripe_set *set)
{
    for (uint32_t word = 0; word * 64 < store->stripe_count; word++) {
        for (uint64_t bits = set->bits[word]; bits != 0; bits &= bits - 1) {
            unlock_stripe(
                &store->stripes[word * 64 + (uint32_t)__builtin_ctzll(bits)]);
        }
    }
}

void wdb_store_lock_all(struct wdb_store *store)
{
    for (uint32_t i = 0; i < store->stripe_count; i++) {
        lock_stripe(&store->stripes[i]);
    }
}

void wdb_store_unlock_all(struct wdb_store *store)
{
    for (uint32_t i = 0; i < store->stripe_count; i++) {
        unlock_stripe(&store->stripes[i]);
    }
}

uint64_t wdb_store_last_write(const struct wdb_store *store, uint32_t stripe)
{
    return atomic_load_explicit(&store->stripes[stripe].last_write,
                                memory_order_relaxed);
}
