/* load_keys.c - one worker of the load: the keys of its stripes. */
#include <stdlib.h>

#include "store/load.h"

/* Items whose buckets are on their way into the cache. */
#define GROUP_SIZE 32

struct pending {
    struct wdb_hint_item item;
    wdb_position position;
    uint64_t hash;
};

struct group {
    struct pending pending[GROUP_SIZE];
    uint32_t count;
};

static void record_of(const struct wdb_hint_item *item, struct wdb_record *out)
{
    *out = (struct wdb_record){
        .kind = item->kind,
        .flags = item->flags,
        .type = item->type,
        .database = item->database,
        .expiry_ms = item->expiry_ms,
        .object_id = item->object_id,
        .key = item->key,
    };
}

static int note_header(struct wdb_load_worker *worker,
                       const struct pending *pending)
{
    if (worker->header_count == worker->header_capacity) {
        const size_t capacity = worker->header_capacity * 2 + 64;
        struct wdb_load_header *headers =
            realloc(worker->headers, capacity * sizeof(*headers));
        if (headers == NULL) {
            return WALKERDB_ENOMEM;
        }
        worker->headers = headers;
        worker->header_capacity = capacity;
    }
    struct wdb_load_header *header = &worker->headers[worker->header_count++];
    record_of(&pending->item, &header->record);
    header->position = pending->position;
    header->hash = pending->hash;
    return 0;
}

static int apply_key(struct wdb_load_worker *worker,
                     const struct pending *pending)
{
    struct wdb_store *store = worker->load->store;
    struct wdb_record record;
    struct wdb_undo undo;
    record_of(&pending->item, &record);
    int rc = wdb_store_apply(store, &record, pending->position,
                             pending->item.size, pending->hash, &undo);
    if (rc != 0) {
        return rc;
    }
    if (undo.existed && record.kind != WDB_RECORD_EXPIRE) {
        wdb_store_account(store, undo.old.position,
                          (int64_t)undo.old.record_size);
    }
    if (record.kind == WDB_RECORD_PUT &&
        (record.flags & WDB_RECORD_OBJECT) != 0) {
        rc = note_header(worker, pending);
    }
    return rc;
}

static int apply_element(struct wdb_load_worker *worker,
                         const struct wdb_hint_item *item,
                         wdb_position position)
{
    struct wdb_store *store = worker->load->store;
    if (wdb_registry_shard(item->object_id) % worker->load->thread_count !=
        worker->number) {
        return 0;
    }
    struct wdb_record record;
    struct wdb_item old;
    bool existed;
    record_of(item, &record);
    const int rc =
        wdb_object_load(store, &record, position, item->size, &old, &existed);
    if (rc == 0 && existed) {
        wdb_store_account(store, old.position, (int64_t)old.record_size);
    }
    return rc;
}

static int apply_group(struct wdb_load_worker *worker, struct group *group)
{
    const struct wdb_store *store = worker->load->store;
    for (uint32_t i = 0; i < group->count; i++) {
        const struct pending *pending = &group->pending[i];
        const struct wdb_keydir *keydir =
            wdb_store_keydir(store, pending->item.database);
        if (keydir != NULL) {
            wdb_keydir_prefetch_entry(keydir, pending->hash);
        }
    }
    int rc = 0;
    for (uint32_t i = 0; i < group->count && rc == 0; i++) {
        rc = apply_key(worker, &group->pending[i]);
    }
    group->count = 0;
    return rc;
}

/* One record of a source; keys gather in the group. */
static int take_item(struct wdb_load_worker *worker, struct group *group,
                     const struct wdb_hint_item *item, wdb_position position)
{
    struct wdb_store *store = worker->load->store;
    if (item->kind == WDB_RECORD_ELEMENT_PUT ||
        item->kind == WDB_RECORD_ELEMENT_DELETE) {
        return apply_element(worker, item, position);
    }
    const uint64_t hash = wdb_store_hash(store, item->key);
    if (item->kind == WDB_RECORD_DATABASES ||
        wdb_stripe_of(hash, store->stripe_count) % worker->load->thread_count !=
            worker->number) {
        return 0;
    }
    if (!wdb_databases_mapped(store, item->database)) {
        if (item->kind == WDB_RECORD_PUT) {
            wdb_store_account(store, position, (int64_t)item->size);
        }
        return 0;
    }
    group->pending[group->count++] = (struct pending){*item, position, hash};
    const struct wdb_keydir *keydir = wdb_store_keydir(store, item->database);
    if (keydir != NULL) {
        wdb_keydir_prefetch_bucket(keydir, hash);
    }
    return group->count == GROUP_SIZE ? apply_group(worker, group) : 0;
}

static int load_source(struct wdb_load_worker *worker, struct group *group,
                       const struct wdb_load_source *source)
{
    struct wdb_hint_cursor cursor;
    struct wdb_hint_item item;
    int rc;
    wdb_hint_begin(&source->hint, &cursor);
    while ((rc = wdb_hint_next(&cursor, &item)) == 0) {
        rc = take_item(worker, group, &item,
                       wdb_position_make(source->segment->slot, item.offset));
        if (rc != 0) {
            return rc;
        }
    }
    return rc == WALKERDB_ENOTFOUND ? 0 : rc;
}

static void lock_mine(struct wdb_load_worker *worker, bool lock)
{
    struct wdb_store *store = worker->load->store;
    for (uint32_t i = worker->number; i < store->stripe_count;
         i += worker->load->thread_count) {
        (lock ? wdb_store_lock_one : wdb_store_unlock_one)(store, i);
    }
}

int wdb_load_keys(struct wdb_load_worker *worker)
{
    struct wdb_load *load = worker->load;
    struct group group = {.count = 0};
    int rc = 0;
    lock_mine(worker, true);
    for (size_t i = 0; i < load->source_count && rc == 0; i++) {
        rc = atomic_load(&load->error);
        if (rc == 0) {
            rc = load_source(worker, &group, &load->sources[i]);
        }
    }
    if (rc == 0) {
        rc = apply_group(worker, &group);
    }
    lock_mine(worker, false);
    return rc;
}
