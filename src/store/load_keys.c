/*
 * load_keys.c - one worker of the load: the keys of its stripes.
 *
 * Keys come in the order of the log, that is at random places of the keydir,
 * and what that costs is not so much the cache as the translation of addresses:
 * the tables have many more pages than the processor remembers. So records
 * are copied to a queue for each stripe first, and applied when that is full: a
 * stripe's buckets are in few pages. Records of one stripe stay in order.
 */
#include <stdlib.h>

#include "store/load.h"

#define QUEUE_SIZE ((uint32_t)64 << 10)
/* Items whose buckets are on their way into the cache. */
#define GROUP_SIZE 32

/* What a record needs of its hint item; the key follows, padded to 8. */
struct pending {
    uint64_t hash;
    wdb_position position;
    uint64_t expiry_ms;
    uint32_t key_size;
    uint32_t size; /* / 8 */
    uint32_t database;
    uint8_t kind, flags, type;
    uint8_t key[];
};

struct queue {
    uint8_t *data; /* QUEUE_SIZE bytes */
    uint32_t used;
};

static uint32_t pending_size(uint64_t key_size)
{
    return (uint32_t)wdb_align8(sizeof(struct pending) + key_size);
}

static void queue_add(struct queue *queue, const struct wdb_hint_item *item,
                      wdb_position position, uint64_t hash)
{
    struct pending *pending = (struct pending *)(queue->data + queue->used);
    *pending = (struct pending){
        .hash = hash,
        .position = position,
        .expiry_ms = item->expiry_ms,
        .key_size = (uint32_t)item->key.size,
        .size = (uint32_t)(item->size / 8),
        .database = item->database,
        .kind = (uint8_t)item->kind,
        .flags = item->flags,
        .type = item->type,
    };
    if (item->key.size > 0) {
        memcpy(pending->key, item->key.data, item->key.size);
    }
    queue->used += pending_size(item->key.size);
}

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
                       const struct wdb_hint_item *item, wdb_position position,
                       uint64_t hash)
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
    record_of(item, &header->record);
    header->position = position;
    header->hash = hash;
    return 0;
}

static int apply_key(struct wdb_store *store, const struct wdb_record *record,
                     wdb_position position, uint64_t size, uint64_t hash)
{
    struct wdb_undo undo;
    const int rc = wdb_store_apply(store, record, position, size, hash, &undo);
    if (rc == 0 && undo.existed && record->kind != WDB_RECORD_EXPIRE) {
        wdb_store_account(store, undo.old.position,
                          (int64_t)undo.old.record_size);
    }
    return rc;
}

static int apply_pending(struct wdb_store *store, const struct pending *pending)
{
    const struct wdb_record record = {
        .kind = (enum wdb_record_kind)pending->kind,
        .flags = pending->flags,
        .type = pending->type,
        .database = pending->database,
        .expiry_ms = pending->expiry_ms,
        .key = wdb_slice(pending->key, pending->key_size),
    };
    return apply_key(store, &record, pending->position,
                     (uint64_t)pending->size * 8, pending->hash);
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

/* Apply up to GROUP_SIZE records of the queue from *at on. */
static int apply_group(struct wdb_store *store, const struct queue *queue,
                       uint32_t *at)
{
    const struct pending *group[GROUP_SIZE];
    struct wdb_keydir_probe probes[GROUP_SIZE];
    uint32_t count = 0;
    while (count < GROUP_SIZE && *at < queue->used) {
        const struct pending *pending =
            (const struct pending *)(queue->data + *at);
        const struct wdb_keydir *keydir =
            wdb_store_keydir(store, pending->database);
        probes[count].bucket = NULL;
        if (keydir != NULL) {
            wdb_keydir_probe_bucket(keydir, pending->hash, &probes[count]);
        }
        group[count++] = pending;
        *at += pending_size(pending->key_size);
    }
    for (uint32_t i = 0; i < count; i++) {
        wdb_keydir_probe_entry(&probes[i]);
    }
    int rc = 0;
    for (uint32_t i = 0; i < count && rc == 0; i++) {
        rc = apply_pending(store, group[i]);
    }
    return rc;
}

static int apply_queue(struct wdb_store *store, struct queue *queue)
{
    uint32_t at = 0;
    int rc = 0;
    while (at < queue->used && rc == 0) {
        rc = apply_group(store, queue, &at);
    }
    queue->used = 0;
    return rc;
}

/* A record of one of the worker's stripes. */
static int take_key(struct wdb_load_worker *worker, struct queue *queues,
                    const struct wdb_hint_item *item, wdb_position position,
                    uint64_t hash)
{
    struct wdb_store *store = worker->load->store;
    struct queue *queue = &queues[wdb_stripe_of(hash, store->stripe_count)];
    int rc = 0;
    if (item->key.size > QUEUE_SIZE / 8 ||
        queue->used + pending_size(item->key.size) > QUEUE_SIZE) {
        rc = apply_queue(store, queue);
    }
    if (rc == 0 && item->key.size > QUEUE_SIZE / 8) {
        struct wdb_record record;
        record_of(item, &record);
        rc = apply_key(store, &record, position, item->size, hash);
    } else if (rc == 0) {
        queue_add(queue, item, position, hash);
    }
    if (rc == 0 && item->kind == WDB_RECORD_PUT &&
        (item->flags & WDB_RECORD_OBJECT) != 0) {
        rc = note_header(worker, item, position, hash);
    }
    return rc;
}

/* One record of a source. */
static int take_item(struct wdb_load_worker *worker, struct queue *queues,
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
    return take_key(worker, queues, item, position, hash);
}

static int load_source(struct wdb_load_worker *worker, struct queue *queues,
                       const struct wdb_load_source *source)
{
    struct wdb_hint_cursor cursor;
    struct wdb_hint_item item;
    int rc;
    wdb_hint_begin(&source->hint, &cursor);
    while ((rc = wdb_hint_next(&cursor, &item)) == 0) {
        rc = take_item(worker, queues, &item,
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

/* A queue for each stripe of the worker; NULL without memory. */
static struct queue *queues_new(const struct wdb_load_worker *worker)
{
    const struct wdb_store *store = worker->load->store;
    struct queue *queues = calloc(store->stripe_count, sizeof(*queues));
    uint8_t *data = malloc((size_t)QUEUE_SIZE * store->stripe_count);
    if (queues == NULL || data == NULL) {
        free(queues);
        free(data);
        return NULL;
    }
    for (uint32_t i = 0; i < store->stripe_count; i++) {
        queues[i].data = data + (size_t)QUEUE_SIZE * i;
    }
    return queues;
}

int wdb_load_keys(struct wdb_load_worker *worker)
{
    struct wdb_load *load = worker->load;
    struct wdb_store *store = load->store;
    struct queue *queues = queues_new(worker);
    int rc = queues == NULL ? WALKERDB_ENOMEM : 0;
    if (rc != 0) {
        return rc;
    }
    lock_mine(worker, true);
    for (size_t i = 0; i < load->source_count && rc == 0; i++) {
        rc = atomic_load(&load->error);
        if (rc == 0) {
            rc = load_source(worker, queues, &load->sources[i]);
        }
    }
    for (uint32_t i = 0; i < store->stripe_count && rc == 0; i++) {
        rc = apply_queue(store, &queues[i]);
    }
    lock_mine(worker, false);
    free(queues[0].data);
    free(queues);
    return rc;
}
