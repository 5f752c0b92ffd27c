/* undo.c - takes back applied records; the queue of what may be taken back. */
#include "store/undo.h"

#include <stdlib.h>

#include "store/store_internal.h"

struct wdb_undo_block *wdb_undo_block_new(uint32_t capacity)
{
    struct wdb_undo_block *block =
        malloc(sizeof(*block) + capacity * sizeof(block->items[0]));
    if (block != NULL) {
        block->count = 0;
        block->capacity = capacity;
    }
    return block;
}

int wdb_undo_reserve(struct wdb_undo_block **block)
{
    struct wdb_undo_block *old = *block;
    if (old != NULL && old->count < old->capacity) {
        return 0;
    }
    const uint32_t capacity = old == NULL ? 4 : old->capacity * 2;
    struct wdb_undo_block *grown =
        realloc(old, sizeof(*grown) + capacity * sizeof(grown->items[0]));
    if (grown == NULL) {
        return WALKERDB_ENOMEM;
    }
    if (old == NULL) {
        grown->count = 0;
    }
    grown->capacity = capacity;
    *block = grown;
    return 0;
}

/* --- one undo --------------------------------------------------------------
 */

/* There is no memory: give up the reserve for what must not fail now. */
static void open_reserve(struct wdb_store *store)
{
    pthread_mutex_lock(&store->reserve_mutex);
    free(store->reserve);
    store->reserve = NULL;
}

static void close_reserve(struct wdb_store *store)
{
    store->reserve = malloc(WDB_UNDO_RESERVE_SIZE);
    pthread_mutex_unlock(&store->reserve_mutex);
}

void wdb_undo_restore(struct wdb_store *store, struct wdb_keydir *keydir,
                      uint64_t hash, struct wdb_slice key,
                      const struct wdb_item *item)
{
    if (wdb_keydir_put(keydir, hash, key, item, NULL, NULL) == 0) {
        return;
    }
    open_reserve(store);
    const int rc = wdb_keydir_put(keydir, hash, key, item, NULL, NULL);
    wdb_assert(rc == 0);
    close_reserve(store);
}

void wdb_undo_revert_key(struct wdb_store *store, struct wdb_undo *undo,
                         const struct wdb_record *record)
{
    struct wdb_keydir *keydir = wdb_store_keydir(store, record->database);
    if (record->kind == WDB_RECORD_PUT &&
        (record->flags & WDB_RECORD_OBJECT) != 0) {
        wdb_object_detach_undo(store, undo, record);
    }
    if (undo->existed) {
        wdb_undo_restore(store, keydir, undo->hash, record->key, &undo->old);
        if ((undo->old.flags & WDB_ITEM_EXPIRY) != 0) {
            /* Without memory the key expires when it is next looked at. */
            (void)!wdb_expiry_add(store, undo->hash, record->database,
                                  undo->old.expiry_ms);
        }
    } else if (record->kind == WDB_RECORD_PUT) {
        wdb_keydir_delete(keydir, undo->hash, record->key, NULL);
    }
    if (undo->object != NULL) {
        wdb_object_drop_undo(store, undo);
    }
}

static void revert_ordered(struct wdb_store *store, const struct wdb_undo *undo,
                           const struct wdb_record *record)
{
    if (record->database != store->ordered_database) {
        return;
    }
    if (record->kind == WDB_RECORD_PUT && !undo->existed) {
        wdb_ordered_delete(store->ordered, record->key);
    } else if (record->kind == WDB_RECORD_DELETE && undo->existed &&
               wdb_ordered_insert(store->ordered, record->key) != 0) {
        open_reserve(store);
        const int rc = wdb_ordered_insert(store->ordered, record->key);
        wdb_assert(rc == 0);
        close_reserve(store);
    }
}

static void revert_key(struct wdb_store *store, struct wdb_undo *undo,
                       const struct wdb_record *record)
{
    if (WDB_STORE_MUTATED(store, WDB_MUTATION_UNDO_SKIP_EXPIRY) &&
        record->kind == WDB_RECORD_EXPIRE) {
        return;
    }
    wdb_undo_revert_key(store, undo, record);
    if (store->ordered != NULL) {
        revert_ordered(store, undo, record);
    }
    wdb_store_touch(store, WDB_TOUCH_KEY, record->database, undo->hash,
                    record->key);
}

void wdb_undo_revert(struct wdb_store *store, struct wdb_undo *undo,
                     const struct wdb_record *record)
{
    switch (record->kind) {
    case WDB_RECORD_PUT:
    case WDB_RECORD_DELETE:
    case WDB_RECORD_EXPIRE:
        revert_key(store, undo, record);
        break;
    case WDB_RECORD_DATABASES:
        if (WDB_STORE_MUTATED(store, WDB_MUTATION_UNDO_SKIP_DATABASES)) {
            wdb_undo_settle(store, undo);
            break;
        }
        wdb_databases_revert(store, undo->mapping);
        wdb_store_touch(store, WDB_TOUCH_DATABASES, 0, 0, wdb_slice(NULL, 0));
        break;
    case WDB_RECORD_ELEMENT_PUT:
    case WDB_RECORD_ELEMENT_DELETE:
        wdb_object_revert(store, undo, record);
        break;
    }
}

void wdb_undo_settle(struct wdb_store *store, struct wdb_undo *undo)
{
    if (undo->kind == WDB_RECORD_DATABASES) {
        wdb_databases_settle(store, undo->mapping);
    } else if (undo->object != NULL || undo->name != NULL) {
        wdb_object_settle(store, undo);
    }
}

/* --- the queue -------------------------------------------------------------
 */

static size_t block_memory(const struct wdb_undo_block *block)
{
    return sizeof(*block) + block->capacity * sizeof(block->items[0]);
}

/* No stripe is held. */
static void settle_block(struct wdb_store *store, struct wdb_undo_block *block)
{
    for (uint32_t i = 0; i < block->count; i++) {
        struct wdb_undo *undo = &block->items[i];
        if (undo->kind == WDB_RECORD_DATABASES || undo->object == NULL) {
            wdb_undo_settle(store, undo);
            continue;
        }
        /* Merge may be looking at the object, under this lock. */
        const uint32_t stripe =
            wdb_stripe_of(undo->object->name->hash, store->stripe_count);
        wdb_store_lock_one(store, stripe);
        wdb_undo_settle(store, undo);
        wdb_store_unlock_one(store, stripe);
    }
    free(block);
}

static bool is_newer(const struct wdb_undo_block *a,
                     const struct wdb_undo_block *b)
{
    return a->index > b->index || (a->index == b->index && a->place > b->place);
}

/* The queue is in the order of the log: others, with other stripes, may have
 * been quicker with batches that came later. */
void wdb_undo_keep(struct wdb_store *store, struct wdb_undo_block *block,
                   uint64_t index, uint32_t place)
{
    block->index = index;
    block->place = place;
    atomic_fetch_add_explicit(&store->undo_memory, block_memory(block),
                              memory_order_relaxed);
    pthread_mutex_lock(&store->undo_mutex);
    struct wdb_undo_block *newer = NULL;
    struct wdb_undo_block *older = store->undo_newest;
    while (older != NULL && is_newer(older, block)) {
        newer = older;
        older = older->older;
    }
    block->older = older;
    block->newer = newer;
    *(older == NULL ? &store->undo_oldest : &older->newer) = block;
    *(newer == NULL ? &store->undo_newest : &newer->older) = block;
    pthread_mutex_unlock(&store->undo_mutex);
}

/* Under undo_mutex. */
static void take_out(struct wdb_store *store, struct wdb_undo_block *block)
{
    if (block->older == NULL) {
        store->undo_oldest = block->newer;
    } else {
        block->older->newer = block->newer;
    }
    if (block->newer == NULL) {
        store->undo_newest = block->older;
    } else {
        block->newer->older = block->older;
    }
    atomic_fetch_sub_explicit(&store->undo_memory, block_memory(block),
                              memory_order_relaxed);
}

/* Settle all blocks of entries up to `index`. No stripe is held. */
static void settle_up_to(struct wdb_store *store, uint64_t index)
{
    size_t memory = 0;
    pthread_mutex_lock(&store->undo_mutex);
    struct wdb_undo_block *first = store->undo_oldest;
    struct wdb_undo_block *rest = first;
    while (rest != NULL && rest->index <= index) {
        memory += block_memory(rest);
        rest = rest->newer;
    }
    if (rest == NULL) {
        store->undo_newest = NULL;
    } else {
        rest->older = NULL;
    }
    store->undo_oldest = rest;
    pthread_mutex_unlock(&store->undo_mutex);
    atomic_fetch_sub_explicit(&store->undo_memory, memory,
                              memory_order_relaxed);
    while (first != rest) {
        struct wdb_undo_block *next = first->newer;
        settle_block(store, first);
        first = next;
    }
}

void wdb_store_set_committed(struct wdb_store *store, uint64_t index)
{
    wdb_log_set_committed(store->log, index);
    const int slot = wdb_epoch_enter(wdb_log_epoch(store->log));
    settle_up_to(store, index);
    wdb_epoch_exit(wdb_log_epoch(store->log), slot);
    wdb_store_wake(store);
}

void wdb_undo_release(struct wdb_store *store)
{
    settle_up_to(store, UINT64_MAX);
    for (uint32_t i = 0; i < store->stripe_count; i++) {
        wdb_undo_ring_release(&store->stripes[i].undos);
    }
}

/* --- truncation ------------------------------------------------------------
 */

/* What is there now for the key or member of the record. */
static bool find_item(struct wdb_store *store, const struct wdb_undo *undo,
                      const struct wdb_record *record, struct wdb_item *out)
{
    if (record->kind == WDB_RECORD_ELEMENT_PUT) {
        return undo->applied && wdb_store_find_element(store, record->object_id,
                                                       record->key, out);
    }
    const struct wdb_keydir *keydir = wdb_store_keydir(store, record->database);
    return keydir != NULL &&
           wdb_keydir_get(keydir, undo->hash, record->key, out);
}

/* The garbage that the record made, or is, is none any more. */
static void account_revert(struct wdb_store *store, struct wdb_undo *undo,
                           const struct wdb_record *record, uint64_t size)
{
    struct wdb_item item;
    struct wdb_segment *segment =
        wdb_log_segment(store->log, wdb_position_slot(undo->position));
    if (undo->existed && record->kind != WDB_RECORD_EXPIRE) {
        wdb_store_account(store, undo->old.position,
                          -(int64_t)undo->old.record_size);
    }
    switch (record->kind) {
    case WDB_RECORD_PUT:
    case WDB_RECORD_ELEMENT_PUT:
        /* A later record of the same batch took its key, so it was garbage when
         * the batch was made final. That one is reverted by now, and the staged
         * position is back. */
        if (find_item(store, undo, record, &item) &&
            wdb_position_is_staged(item.position)) {
            wdb_store_account(store, undo->position, -(int64_t)size);
        }
        break;
    case WDB_RECORD_DELETE:
    case WDB_RECORD_ELEMENT_DELETE:
        atomic_fetch_sub_explicit(&segment->bytes_tombstone, size,
                                  memory_order_relaxed);
        break;
    case WDB_RECORD_EXPIRE:
        wdb_store_account(store, undo->position, -(int64_t)size);
        /* Its put may have been staged then, and is not any more. */
        if (undo->existed && find_item(store, undo, record, &item)) {
            undo->old.position = item.position;
            undo->old.record_size = item.record_size;
        }
        break;
    case WDB_RECORD_DATABASES:
        break;
    }
}

void wdb_undo_revert_logged(struct wdb_store *store, struct wdb_undo *undo)
{
    struct wdb_record record;
    uint64_t size;
    const uint8_t *data = wdb_log_resolve(store->log, undo->position, NULL);
    wdb_assert(data != NULL);
    const int rc =
        wdb_record_decode(data, UINT64_MAX >> 1, false, &record, &size);
    wdb_assert(rc == 0);
    account_revert(store, undo, &record, size);
    wdb_undo_revert(store, undo, &record);
}

static void revert_block(struct wdb_store *store, struct wdb_undo_block *block)
{
    const bool forward = WDB_STORE_MUTATED(store, WDB_MUTATION_UNDO_FORWARD);
    for (uint32_t i = block->count; i-- > 0;) {
        wdb_undo_revert_logged(
            store, &block->items[forward ? block->count - 1 - i : i]);
    }
    pthread_mutex_lock(&store->undo_mutex);
    take_out(store, block);
    pthread_mutex_unlock(&store->undo_mutex);
    free(block);
}

/* The plain ones behind this place of the log: those of different stripes have
 * nothing to do with each other. */
static void revert_rings(struct wdb_store *store, uint64_t index,
                         uint32_t place)
{
    for (uint32_t i = 0; i < store->stripe_count; i++) {
        wdb_undo_ring_revert(store, &store->stripes[i].undos, index, place);
    }
}

/* All stripes are held. */
static void revert_blocks(struct wdb_store *store, uint64_t from)
{
    struct wdb_undo_block *block = store->undo_newest;
    if (WDB_STORE_MUTATED(store, WDB_MUTATION_UNDO_PLAIN_FIRST)) {
        revert_rings(store, from, 0);
    }
    while (block != NULL && block->index >= from) {
        struct wdb_undo_block *older = block->older;
        revert_rings(store, block->index, block->place);
        revert_block(store, block);
        block = older;
    }
    revert_rings(store, from, 0);
    for (uint32_t i = 0; i < store->stripe_count; i++) {
        struct wdb_stripe *stripe = &store->stripes[i];
        if (atomic_load(&stripe->last_write) >= from) {
            atomic_store(&stripe->last_write, from - 1);
        }
    }
}

/* The last entry that may not be in the keydirs. */
static uint64_t index_unapplied(const struct wdb_store *store)
{
    const uint64_t reverted = atomic_load(&store->index_reverted);
    const uint64_t foreign = wdb_log_index_foreign(store->log);
    return foreign > reverted ? foreign : reverted;
}

/* All stripes are held. Nothing is left to undo if it was done before. */
static void revert_from(struct wdb_store *store, uint64_t from)
{
    const uint64_t applied = atomic_load(&store->applied);
    const uint64_t last = wdb_log_index_last(store->log);
    const bool complete = applied >= index_unapplied(store);
    if (!WDB_STORE_MUTATED(store, WDB_MUTATION_REVERT_IN_SECRET)) {
        atomic_fetch_add(&store->revert_count, 1);
    }
    revert_blocks(store, from);
    if (complete || applied >= from) {
        atomic_store(&store->applied, from - 1 < last ? from - 1 : last);
    }
    atomic_store(&store->index_reverted, last);
}

uint64_t wdb_store_clean_index(struct wdb_store *store,
                               uint64_t *generation_out)
{
    wdb_store_lock_one(store, 0);
    *generation_out = wdb_store_generation(store);
    uint64_t index = wdb_log_appended(store->log);
    const uint64_t applied = atomic_load(&store->applied);
    if (applied < index && applied < index_unapplied(store) &&
        !WDB_STORE_MUTATED(store, WDB_MUTATION_CLEAN_UNAPPLIED)) {
        index = applied;
    }
    wdb_store_unlock_one(store, 0);
    return index;
}

int wdb_store_revert(struct wdb_store *store, uint64_t from)
{
    if (from <= wdb_log_committed(store->log)) {
        return WALKERDB_EINVALID;
    }
    const int slot = wdb_epoch_enter(wdb_log_epoch(store->log));
    wdb_store_lock_all(store);
    revert_from(store, from);
    wdb_store_unlock_all(store);
    wdb_epoch_exit(wdb_log_epoch(store->log), slot);
    wdb_store_wake(store);
    return 0;
}

int wdb_store_truncate(struct wdb_store *store, uint64_t from)
{
    if (from <= wdb_log_committed(store->log)) {
        return WALKERDB_EINVALID;
    }
    /* Batches wait for the stripes, unless they are held back anyway: then
     * nobody else has to wait for the disk. */
    const bool held = wdb_log_is_held(store->log);
    const int slot = wdb_epoch_enter(wdb_log_epoch(store->log));
    wdb_store_lock_all(store);
    revert_from(store, from);
    if (held) {
        wdb_store_unlock_all(store);
        wdb_epoch_exit(wdb_log_epoch(store->log), slot);
    }
    const int rc = wdb_log_truncate(store->log, from);
    if (rc == 0) {
        /* `applied` is below: what was reverted above `from` is gone. */
        atomic_store(&store->index_reverted, from - 1);
    }
    if (!held) {
        wdb_store_unlock_all(store);
        wdb_epoch_exit(wdb_log_epoch(store->log), slot);
    }
    return rc;
}
