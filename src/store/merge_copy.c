/* merge_copy.c - which records of a run are live, and their copies. */
#include "store/merge.h"

/* Of one step. */
#define COPY_BYTES ((uint64_t)256 << 10)
#define COPY_COUNT 512

/* Nothing that is older than the run can still hold what a tombstone of this
 * entry hides. */
static bool tombstone_may_go(const struct wdb_merge *merge, uint64_t index)
{
    return index <= merge->older_clean ||
           WDB_STORE_MUTATED(merge->store, WDB_MUTATION_TOMBSTONE_DROP_ALWAYS);
}

static bool in_run(const struct wdb_merge *merge, wdb_position position)
{
    for (size_t i = 0; i < merge->run_count; i++) {
        if (merge->run[i]->slot == wdb_position_slot(position)) {
            return true;
        }
    }
    return false;
}

/* Is the EXPIRE record perhaps what gave the key its expiry? */
static bool expire_is_live(const struct wdb_merge *merge,
                           const struct wdb_record *record,
                           const struct wdb_item *item)
{
    if (WDB_STORE_MUTATED(merge->store, WDB_MUTATION_EXPIRE_DROP_ALWAYS)) {
        return false;
    }
    return (item->flags & WDB_ITEM_EXPIRY_LOGGED) != 0 &&
           item->expiry_ms == record->expiry_ms &&
           !in_run(merge, item->position); /* else folded into the put */
}

/* The stripe of the key is held. A put that is live may get another expiry. */
static bool key_is_live(const struct wdb_merge *merge,
                        struct wdb_record *record, wdb_position position,
                        uint64_t hash)
{
    struct wdb_store *store = merge->store;
    if (!wdb_databases_mapped(store, record->database)) {
        return false;
    }
    struct wdb_item item;
    const bool found =
        wdb_store_find(store, record->database, hash, record->key, &item);
    if (record->kind == WDB_RECORD_DELETE) {
        return !found && !tombstone_may_go(merge, record->index);
    }
    if (!found) {
        return false;
    }
    if (record->kind == WDB_RECORD_EXPIRE) {
        return expire_is_live(merge, record, &item);
    }
    if (item.position != position) {
        return false;
    }
    if ((item.flags & WDB_ITEM_EXPIRY_LOGGED) != 0 &&
        !WDB_STORE_MUTATED(store, WDB_MUTATION_EXPIRE_SKIP_FOLD)) {
        record->flags &= (uint8_t)~WDB_RECORD_EXPIRY;
        record->expiry_ms = item.expiry_ms;
        if ((item.flags & WDB_ITEM_EXPIRY) != 0) {
            record->flags |= WDB_RECORD_EXPIRY;
        }
    }
    return true;
}

/* The stripe of the object's key is held. */
static bool element_is_live(const struct wdb_merge *merge,
                            const struct wdb_record *record,
                            wdb_position position)
{
    struct wdb_store *store = merge->store;
    const struct wdb_object *object =
        wdb_registry_find(store, record->object_id);
    if (object == NULL || !object->attached ||
        !wdb_databases_mapped(store, object->name->database)) {
        return false;
    }
    struct wdb_item item;
    const bool found =
        object->elements != NULL &&
        wdb_keydir_get(object->elements, wdb_store_hash(store, record->key),
                       record->key, &item);
    if (record->kind == WDB_RECORD_ELEMENT_DELETE) {
        return !found && !tombstone_may_go(merge, record->index) &&
               !WDB_STORE_MUTATED(store, WDB_MUTATION_ELEMENT_DROP_ALWAYS);
    }
    return found && item.position == position;
}

static bool check_element(const struct wdb_merge *merge,
                          const struct wdb_record *record,
                          wdb_position position)
{
    struct wdb_store *store = merge->store;
    uint64_t hash;
    while (wdb_registry_locate(store, record->object_id, &hash)) {
        const uint32_t stripe = wdb_stripe_of(hash, store->stripe_count);
        uint64_t hash_now;
        wdb_store_lock_one(store, stripe);
        /* It may have been renamed before we had the lock. */
        const bool stays =
            wdb_registry_locate(store, record->object_id, &hash_now) &&
            hash_now == hash;
        const bool live = stays && element_is_live(merge, record, position);
        wdb_store_unlock_one(store, stripe);
        if (stays) {
            return live;
        }
    }
    return false;
}

static bool is_live(const struct wdb_merge *merge, struct wdb_record *record,
                    wdb_position position)
{
    struct wdb_store *store = merge->store;
    uint64_t hash;
    uint32_t stripe;
    bool live;
    switch (record->kind) {
    case WDB_RECORD_ELEMENT_PUT:
    case WDB_RECORD_ELEMENT_DELETE:
        return check_element(merge, record, position);
    case WDB_RECORD_DATABASES:
        wdb_store_lock_one(store, 0);
        live = atomic_load(&store->databases.position) == position &&
               !WDB_STORE_MUTATED(store, WDB_MUTATION_DATABASES_DROP);
        wdb_store_unlock_one(store, 0);
        return live;
    case WDB_RECORD_PUT:
    case WDB_RECORD_DELETE:
    case WDB_RECORD_EXPIRE:
        break;
    }
    hash = wdb_store_hash(store, record->key);
    stripe = wdb_stripe_of(hash, store->stripe_count);
    wdb_store_lock_one(store, stripe);
    live = key_is_live(merge, record, position, hash);
    wdb_store_unlock_one(store, stripe);
    return live;
}

int wdb_merge_hint_live_only(struct wdb_store *store,
                             struct wdb_segment *segment)
{
    struct wdb_merge merge = {.store = store, .older_clean = UINT64_MAX};
    struct wdb_hint_identity identity;
    struct wdb_hint_writer *hint;
    int rc = wdb_hint_writer_open(store->env, wdb_log_dir(store->log),
                                  segment->id, segment->header.salt, &hint);
    wdb_merge_reader_init(&merge.reader, store->env, segment, true);
    while (rc == 0) {
        struct wdb_record record;
        wdb_position position;
        uint64_t size;
        rc = wdb_merge_reader_next(&merge.reader, &record, &position, &size);
        if (rc == 0 && is_live(&merge, &record, position)) {
            rc = wdb_hint_writer_add(hint, &record,
                                     wdb_position_offset(position), size);
        }
    }
    if (rc != WALKERDB_ENOTFOUND) {
        return rc;
    }
    wdb_hint_identify(segment, &identity);
    return wdb_hint_writer_finish(hint, &identity);
}

int wdb_merge_copy_some(struct wdb_merge *merge)
{
    uint64_t bytes = 0;
    for (int i = 0; i < COPY_COUNT && bytes < COPY_BYTES; i++) {
        struct wdb_record record;
        wdb_position position;
        uint64_t size;
        int rc =
            wdb_merge_reader_next(&merge->reader, &record, &position, &size);
        if (rc == WALKERDB_ENOTFOUND && ++merge->run_at < merge->run_count) {
            wdb_merge_reader_init(&merge->reader, merge->store->env,
                                  merge->run[merge->run_at], true);
            continue;
        }
        if (rc != 0) {
            merge->read_failed = rc != WALKERDB_ENOTFOUND;
            return rc;
        }
        bytes += size;
        atomic_fetch_add_explicit(&merge->done_bytes, size,
                                  memory_order_relaxed);
        if (is_live(merge, &record, position)) {
            rc = wdb_merge_writer_add(&merge->writer, &record,
                                      merge->reader.entry.time_ms, position);
            if (rc != 0) {
                return rc;
            }
        }
    }
    return 0;
}
