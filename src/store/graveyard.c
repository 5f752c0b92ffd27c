/*
 * graveyard.c - dropped databases: their records are counted as garbage, some
 * buckets at a time; then their keydirs are freed, when nobody can be
 * prefetching from them any more.
 */
#include <stdlib.h>

#include "store/store_internal.h"

/* Buckets whose garbage is counted in one step of the graveyard. */
#define BURY_STEP_COUNT 64

void wdb_mapping_free(struct wdb_mapping *mapping, uint32_t keydirs)
{
    for (uint32_t n = 0; n < WDB_DATABASE_COUNT; n++) {
        if ((keydirs >> n & 1) != 0) {
            wdb_keydir_free(mapping->keydirs[n]);
        }
    }
    free(mapping);
}

void wdb_mapping_bury(struct wdb_databases *databases,
                      struct wdb_mapping *mapping)
{
    mapping->next = NULL;
    pthread_mutex_lock(&databases->grave_mutex);
    struct wdb_mapping **end = &databases->grave;
    while (*end != NULL) {
        end = &(*end)->next;
    }
    *end = mapping;
    atomic_fetch_add(&databases->grave_count, 1);
    pthread_mutex_unlock(&databases->grave_mutex);
}

struct burial {
    struct wdb_store *store;
    uint32_t database;
};

static void count_garbage(void *context, struct wdb_slice key, uint64_t hash,
                          const struct wdb_item *item)
{
    const struct burial *burial = context;
    wdb_store_account(burial->store, item->position,
                      (int64_t)item->record_size);
    if (WDB_UNLIKELY((item->flags & WDB_ITEM_OBJECT) != 0)) {
        wdb_object_forget(burial->store, burial->database, hash, key);
    }
}

/* Count the garbage of some buckets; false when all is counted. */
static bool count_step(struct wdb_store *store, struct wdb_mapping *mapping)
{
    while (mapping->counting < WDB_DATABASE_COUNT &&
           (mapping->dropped >> mapping->counting & 1) == 0) {
        mapping->counting++;
    }
    if (mapping->counting == WDB_DATABASE_COUNT) {
        return false;
    }
    struct wdb_epoch *epoch = wdb_log_epoch(store->log);
    struct burial burial = {store, mapping->ids[mapping->counting]};
    const int slot = wdb_epoch_enter(epoch);
    for (int i = 0; i < BURY_STEP_COUNT; i++) {
        mapping->cursor =
            wdb_keydir_scan(mapping->keydirs[mapping->counting],
                            mapping->cursor, count_garbage, &burial);
        if (mapping->cursor == 0) {
            mapping->counting++;
            break;
        }
    }
    wdb_epoch_exit(epoch, slot);
    return true;
}

/* Runs on whatever thread reclaims, perhaps a worker: only notes it. */
static void note_retired(struct wdb_epoch_retired *node)
{
    struct wdb_mapping *mapping =
        WDB_CONTAINER_OF(node, struct wdb_mapping, retired_node);
    atomic_store_explicit(&mapping->retired, true, memory_order_release);
}

/* Under bury_mutex. */
static bool bury(struct wdb_store *store)
{
    struct wdb_databases *databases = &store->databases;
    pthread_mutex_lock(&databases->grave_mutex);
    struct wdb_mapping *mapping = databases->grave;
    pthread_mutex_unlock(&databases->grave_mutex);
    if (mapping == NULL || count_step(store, mapping)) {
        return mapping != NULL;
    }
    struct wdb_epoch *epoch = wdb_log_epoch(store->log);
    if (!mapping->retiring) {
        mapping->retiring = true;
        wdb_epoch_retire(epoch, &mapping->retired_node, note_retired);
    }
    if (!atomic_load_explicit(&mapping->retired, memory_order_acquire)) {
        wdb_epoch_reclaim(epoch);
        return atomic_load(&mapping->retired);
    }
    pthread_mutex_lock(&databases->grave_mutex);
    databases->grave = mapping->next;
    pthread_mutex_unlock(&databases->grave_mutex);
    wdb_mapping_free(mapping, mapping->dropped);
    atomic_fetch_sub(&databases->grave_count, 1);
    return true;
}

bool wdb_databases_bury(struct wdb_store *store)
{
    struct wdb_databases *databases = &store->databases;
    if (atomic_load_explicit(&databases->grave_count, memory_order_acquire) ==
        0) {
        return false;
    }
    pthread_mutex_lock(&databases->bury_mutex);
    const bool done = bury(store);
    pthread_mutex_unlock(&databases->bury_mutex);
    return done;
}
