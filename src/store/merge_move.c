/* merge_move.c - points keys at the copies that merge made. */
#include "store/merge.h"

#define MOVE_COUNT 512

/* A record that was copied. */
struct copy {
    struct wdb_record record;
    wdb_position from, to;
    uint64_t size;
};

static bool move_item(struct wdb_merge *merge, struct wdb_keydir *keydir,
                      uint64_t hash, const struct copy *copy)
{
    struct wdb_item item;
    if (keydir == NULL ||
        !wdb_keydir_get(keydir, hash, copy->record.key, &item)) {
        return false;
    }
    if (item.position != copy->from &&
        !WDB_STORE_MUTATED(merge->store, WDB_MUTATION_MERGE_MOVE_BLINDLY)) {
        return false; /* written again meanwhile: the newer one wins */
    }
    item.position = copy->to;
    item.record_size = copy->size;
    const int rc =
        wdb_keydir_put(keydir, hash, copy->record.key, &item, NULL, NULL);
    wdb_assert(rc == 0); /* nothing changes its size */
    return true;
}

static bool move_key(struct wdb_merge *merge, const struct copy *copy)
{
    struct wdb_store *store = merge->store;
    const uint64_t hash = wdb_store_hash(store, copy->record.key);
    const uint32_t stripe = wdb_stripe_of(hash, store->stripe_count);
    wdb_store_lock_one(store, stripe);
    const bool moved =
        move_item(merge, wdb_store_keydir(store, copy->record.database), hash,
                  copy);
    wdb_store_unlock_one(store, stripe);
    return moved;
}

static bool move_element(struct wdb_merge *merge, const struct copy *copy)
{
    struct wdb_store *store = merge->store;
    const struct wdb_object_id id = copy->record.object_id;
    uint64_t hash;
    while (wdb_registry_locate(store, id, &hash)) {
        const uint32_t stripe = wdb_stripe_of(hash, store->stripe_count);
        uint64_t hash_now;
        bool moved = false;
        wdb_store_lock_one(store, stripe);
        const bool stays =
            wdb_registry_locate(store, id, &hash_now) && hash_now == hash;
        if (stays) {
            const struct wdb_object *object = wdb_registry_find(store, id);
            moved = move_item(merge, object->elements,
                              wdb_store_hash(store, copy->record.key), copy);
        }
        wdb_store_unlock_one(store, stripe);
        if (stays) {
            return moved;
        }
    }
    return false;
}

/* How the copy counts, if not as live. */
static void count(struct wdb_merge *merge, struct wdb_segment *segment,
                  const struct copy *copy, bool moved)
{
    switch (copy->record.kind) {
    case WDB_RECORD_DELETE:
    case WDB_RECORD_ELEMENT_DELETE:
    case WDB_RECORD_EXPIRE:
        if (!merge->moved_before) {
            atomic_fetch_add(&segment->bytes_tombstone, copy->size);
        }
        return;
    case WDB_RECORD_PUT:
    case WDB_RECORD_ELEMENT_PUT:
    case WDB_RECORD_DATABASES:
        break;
    }
    if (merge->moved_before && moved) {
        atomic_fetch_sub(&segment->bytes_dead, copy->size);
    } else if (!merge->moved_before && !moved) {
        atomic_fetch_add(&segment->bytes_dead, copy->size);
    }
}

static bool move_one(struct wdb_merge *merge, const struct copy *copy)
{
    struct wdb_store *store = merge->store;
    if (WDB_STORE_MUTATED(store, WDB_MUTATION_MERGE_SKIP_MOVE)) {
        return false;
    }
    bool moved;
    switch (copy->record.kind) {
    case WDB_RECORD_PUT:
        return move_key(merge, copy);
    case WDB_RECORD_ELEMENT_PUT:
        return move_element(merge, copy);
    case WDB_RECORD_DATABASES:
        wdb_store_lock_one(store, 0);
        moved = wdb_databases_move(store, copy->from, copy->to, copy->size);
        wdb_store_unlock_one(store, 0);
        return moved;
    case WDB_RECORD_DELETE:
    case WDB_RECORD_ELEMENT_DELETE:
    case WDB_RECORD_EXPIRE:
        break;
    }
    return false;
}

static void read_output(struct wdb_merge *merge)
{
    wdb_merge_reader_init(&merge->reader, merge->store->env,
                          merge->writer.segments[merge->run_at], false);
}

void wdb_merge_move_begin(struct wdb_merge *merge)
{
    merge->run_at = 0;
    merge->origins = (struct wdb_merge_origins){.writer = &merge->writer};
    merge->generation_moved = wdb_store_generation(merge->store);
    if (merge->writer.segment_count > 0) {
        read_output(merge);
    }
}

int wdb_merge_move_some(struct wdb_merge *merge)
{
    if (merge->writer.segment_count == 0) {
        return WALKERDB_ENOTFOUND;
    }
    for (int i = 0; i < MOVE_COUNT; i++) {
        struct copy copy;
        const int rc = wdb_merge_reader_next(&merge->reader, &copy.record,
                                             &copy.to, &copy.size);
        if (rc == WALKERDB_ENOTFOUND &&
            ++merge->run_at < merge->writer.segment_count) {
            read_output(merge);
            continue;
        }
        if (rc != 0) {
            return rc;
        }
        copy.from = wdb_merge_origins_next(&merge->origins);
        count(merge, merge->writer.segments[merge->run_at], &copy,
              move_one(merge, &copy));
    }
    return 0;
}
