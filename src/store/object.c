/* object.c - collections: registry, headers, elements. */
#include "store/object.h"

#include <stdlib.h>

#include "store/store_internal.h"

/* Buckets whose garbage is counted in one step of the graveyard. */
#define BURY_STEP_COUNT 64

/* --- the registry ----------------------------------------------------------
 */

void wdb_registry_init(struct wdb_store *store)
{
    struct wdb_registry *registry = &store->objects;
    for (uint32_t i = 0; i < WDB_OBJECT_SHARD_COUNT; i++) {
        pthread_mutex_init(&registry->shards[i].mutex, NULL);
        wdb_links_init(&registry->shards[i].by_id);
    }
    pthread_mutex_init(&registry->grave_mutex, NULL);
    pthread_mutex_init(&registry->id_mutex, NULL);
    atomic_init(&registry->grave_count, 0);
    atomic_init(&registry->count, 0);
}

static void object_free(struct wdb_object *object)
{
    wdb_keydir_free(object->elements);
    free(object->name);
    free(object);
}

void wdb_registry_release(struct wdb_store *store)
{
    struct wdb_registry *registry = &store->objects;
    for (uint32_t i = 0; i < store->stripe_count; i++) {
        wdb_links_release(&store->stripes[i].headers);
    }
    for (uint32_t i = 0; i < WDB_OBJECT_SHARD_COUNT; i++) {
        struct wdb_links *by_id = &registry->shards[i].by_id;
        struct wdb_link *link = wdb_links_take_all(by_id);
        while (link != NULL) {
            struct wdb_link *next = link->next;
            object_free(WDB_CONTAINER_OF(link, struct wdb_object, by_id));
            link = next;
        }
        wdb_links_release(by_id);
        pthread_mutex_destroy(&registry->shards[i].mutex);
    }
    while (registry->grave != NULL) {
        struct wdb_object *object = registry->grave;
        registry->grave = object->next;
        object_free(object);
    }
    pthread_mutex_destroy(&registry->grave_mutex);
    pthread_mutex_destroy(&registry->id_mutex);
}

static uint64_t id_hash(struct wdb_object_id id)
{
    uint64_t x = id.counter + id.term * UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ x >> 32) * UINT64_C(0xd6e8feb86659fd93);
    return x ^ x >> 32;
}

uint32_t wdb_registry_shard(struct wdb_object_id id)
{
    return (uint32_t)(id_hash(id) >> 58) % WDB_OBJECT_SHARD_COUNT;
}

static struct wdb_object_shard *shard_of(struct wdb_store *store,
                                         struct wdb_object_id id)
{
    return &store->objects.shards[wdb_registry_shard(id)];
}

static struct wdb_object *find_in(const struct wdb_object_shard *shard,
                                  struct wdb_object_id id)
{
    struct wdb_link *link = wdb_links_find(&shard->by_id, id_hash(id));
    for (; link != NULL; link = wdb_links_find_next(link)) {
        struct wdb_object *object =
            WDB_CONTAINER_OF(link, struct wdb_object, by_id);
        if (object->id.term == id.term && object->id.counter == id.counter) {
            return object;
        }
    }
    return NULL;
}

struct wdb_object *wdb_registry_find(struct wdb_store *store,
                                     struct wdb_object_id id)
{
    struct wdb_object_shard *shard = shard_of(store, id);
    pthread_mutex_lock(&shard->mutex);
    struct wdb_object *object = find_in(shard, id);
    pthread_mutex_unlock(&shard->mutex);
    return object;
}

bool wdb_registry_locate(struct wdb_store *store, struct wdb_object_id id,
                         uint64_t *hash_out)
{
    struct wdb_object_shard *shard = shard_of(store, id);
    pthread_mutex_lock(&shard->mutex);
    const struct wdb_object *object = find_in(shard, id);
    const bool located = object != NULL && object->name != NULL;
    if (located) {
        *hash_out = object->name->hash;
    }
    pthread_mutex_unlock(&shard->mutex);
    return located;
}

static void set_name(struct wdb_store *store, struct wdb_object *object,
                     struct wdb_object_name *name)
{
    struct wdb_object_shard *shard = shard_of(store, object->id);
    pthread_mutex_lock(&shard->mutex);
    object->name = name;
    pthread_mutex_unlock(&shard->mutex);
}

/* A new object in the registry, nobody's yet; NULL without memory. */
static struct wdb_object *object_new(struct wdb_store *store,
                                     struct wdb_object_id id)
{
    struct wdb_object *object = calloc(1, sizeof(*object));
    if (object == NULL) {
        return NULL;
    }
    object->id = id;
    struct wdb_object_shard *shard = shard_of(store, id);
    pthread_mutex_lock(&shard->mutex);
    wdb_links_insert(&shard->by_id, &object->by_id, id_hash(id));
    pthread_mutex_unlock(&shard->mutex);
    atomic_fetch_add_explicit(&store->objects.count, 1, memory_order_relaxed);
    return object;
}

static void unregister(struct wdb_store *store, struct wdb_object *object)
{
    struct wdb_object_shard *shard = shard_of(store, object->id);
    pthread_mutex_lock(&shard->mutex);
    wdb_links_remove(&shard->by_id, &object->by_id);
    pthread_mutex_unlock(&shard->mutex);
    atomic_fetch_sub_explicit(&store->objects.count, 1, memory_order_relaxed);
}

static void bury(struct wdb_store *store, struct wdb_object *object)
{
    struct wdb_registry *registry = &store->objects;
    unregister(store, object);
    pthread_mutex_lock(&registry->grave_mutex);
    object->next = registry->grave;
    registry->grave = object;
    atomic_fetch_add(&registry->grave_count, 1);
    pthread_mutex_unlock(&registry->grave_mutex);
}

/* --- headers ---------------------------------------------------------------
 */

static struct wdb_links *headers_of(struct wdb_store *store, uint64_t hash)
{
    return &store->stripes[wdb_stripe_of(hash, store->stripe_count)].headers;
}

static struct wdb_slice name_key(const struct wdb_object_name *name)
{
    return wdb_slice(name->bytes, name->size);
}

struct wdb_object *wdb_object_of_key(struct wdb_store *store, uint32_t database,
                                     uint64_t hash, struct wdb_slice key)
{
    struct wdb_link *link = wdb_links_find(headers_of(store, hash), hash);
    for (; link != NULL; link = wdb_links_find_next(link)) {
        struct wdb_object *object =
            WDB_CONTAINER_OF(link, struct wdb_object, by_key);
        if (object->name->database == database &&
            wdb_slice_equal(name_key(object->name), key)) {
            return object;
        }
    }
    return NULL;
}

static void link_key(struct wdb_store *store, struct wdb_object *object)
{
    wdb_assert(!object->attached);
    wdb_links_insert(headers_of(store, object->name->hash), &object->by_key,
                     object->name->hash);
    object->attached = true;
}

static void unlink_key(struct wdb_store *store, struct wdb_object *object)
{
    if (object->attached) {
        wdb_links_remove(headers_of(store, object->name->hash),
                         &object->by_key);
        object->attached = false;
    }
}

static struct wdb_object_name *name_new(uint32_t database, uint64_t hash,
                                        struct wdb_slice key)
{
    struct wdb_object_name *name = malloc(sizeof(*name) + key.size);
    if (name != NULL) {
        name->hash = hash;
        name->database = database;
        name->size = (uint32_t)key.size;
        if (key.size > 0) {
            memcpy(name->bytes, key.data, key.size);
        }
    }
    return name;
}

static bool has_name(const struct wdb_object *object, uint32_t database,
                     struct wdb_slice key)
{
    return object->name != NULL && object->name->database == database &&
           wdb_slice_equal(name_key(object->name), key);
}

int wdb_object_attach(struct wdb_store *store, const struct wdb_record *record,
                      uint64_t hash, struct wdb_undo *undo)
{
    struct wdb_object *object = wdb_registry_find(store, record->object_id);
    if (object != NULL && has_name(object, record->database, record->key)) {
        if (!object->attached) {
            link_key(store, object);
            undo->attached = true;
        }
        return 0;
    }
    struct wdb_object_name *name =
        name_new(record->database, hash, record->key);
    if (name == NULL) {
        return WALKERDB_ENOMEM;
    }
    if (object == NULL) {
        object = object_new(store, record->object_id);
        if (object == NULL) {
            free(name);
            return WALKERDB_ENOMEM;
        }
        undo->created = true;
    }
    undo->attached = !object->attached;
    unlink_key(store, object);
    undo->name = object->name;
    set_name(store, object, name);
    link_key(store, object);
    return 0;
}

void wdb_object_detach_undo(struct wdb_store *store, struct wdb_undo *undo,
                            const struct wdb_record *record)
{
    struct wdb_object *object = wdb_registry_find(store, record->object_id);
    wdb_assert(object != NULL);
    if (undo->name == NULL && !undo->created) {
        if (undo->attached) {
            unlink_key(store, object);
        }
        return;
    }
    unlink_key(store, object);
    if (undo->created) {
        wdb_assert(object->drops == 0);
        unregister(store, object);
        object_free(object);
        return;
    }
    free(object->name);
    set_name(store, object, undo->name);
    undo->name = NULL;
    if (!undo->attached) {
        link_key(store, object);
    }
}

void wdb_object_drop(struct wdb_store *store, struct wdb_object *object,
                     struct wdb_undo *undo)
{
    unlink_key(store, object);
    object->drops++;
    undo->object = object;
}

void wdb_object_drop_undo(struct wdb_store *store, struct wdb_undo *undo)
{
    undo->object->drops--;
    link_key(store, undo->object);
    undo->object = NULL;
}

void wdb_object_settle(struct wdb_store *store, struct wdb_undo *undo)
{
    free(undo->name);
    undo->name = NULL;
    struct wdb_object *object = undo->object;
    undo->object = NULL;
    if (object != NULL && --object->drops == 0 && !object->attached) {
        bury(store, object);
    }
}

void wdb_object_forget(struct wdb_store *store, uint32_t database,
                       uint64_t hash, struct wdb_slice key)
{
    const uint32_t stripe = wdb_stripe_of(hash, store->stripe_count);
    wdb_store_lock_one(store, stripe);
    struct wdb_object *object = wdb_object_of_key(store, database, hash, key);
    if (object != NULL) {
        unlink_key(store, object);
        if (object->drops == 0) {
            bury(store, object);
        }
    }
    wdb_store_unlock_one(store, stripe);
}

/* --- elements --------------------------------------------------------------
 */

static int make_elements(struct wdb_store *store, struct wdb_object *object)
{
    if (object->elements != NULL) {
        return 0;
    }
    const struct wdb_keydir_options options = {
        .stripe_count = 1,
        .hash_key = &store->hash_key,
    };
    return wdb_keydir_new(&options, &object->elements);
}

static struct wdb_item item_of(const struct wdb_record *record,
                               wdb_position position, uint64_t size)
{
    return (struct wdb_item){
        .position = position,
        .record_size = size,
        .flags = (uint8_t)((record->type & 0xf) << WDB_ITEM_TYPE_SHIFT),
    };
}

static int change(struct wdb_store *store, struct wdb_object *object,
                  const struct wdb_record *record, const struct wdb_item *item,
                  struct wdb_item *old_out, bool *existed_out)
{
    const uint64_t hash = wdb_store_hash(store, record->key);
    if (record->kind == WDB_RECORD_ELEMENT_PUT) {
        const int rc = make_elements(store, object);
        return rc != 0 ? rc
                       : wdb_keydir_put(object->elements, hash, record->key,
                                        item, old_out, existed_out);
    }
    *existed_out =
        object->elements != NULL &&
        wdb_keydir_delete(object->elements, hash, record->key, old_out);
    return 0;
}

static void touch(struct wdb_store *store, const struct wdb_object *object)
{
    if (object->name != NULL) {
        wdb_store_touch(store, WDB_TOUCH_KEY, object->name->database,
                        object->name->hash, name_key(object->name));
    }
}

int wdb_object_apply(struct wdb_store *store, const struct wdb_record *record,
                     wdb_position position, uint64_t size,
                     struct wdb_undo *undo)
{
    struct wdb_object *object = wdb_registry_find(store, record->object_id);
    if (object == NULL) {
        return 0; /* dropped before: nobody will miss it */
    }
    const struct wdb_item item = item_of(record, position, size);
    const int rc =
        change(store, object, record, &item, &undo->old, &undo->existed);
    if (rc == 0) {
        undo->hash = object->name->hash;
        undo->applied = true;
        touch(store, object);
    }
    return rc;
}

void wdb_object_revert(struct wdb_store *store, struct wdb_undo *undo,
                       const struct wdb_record *record)
{
    if (!undo->applied) {
        return;
    }
    struct wdb_object *object = wdb_registry_find(store, record->object_id);
    wdb_assert(object != NULL);
    const uint64_t hash = wdb_store_hash(store, record->key);
    if (undo->existed) {
        wdb_undo_restore(store, object->elements, hash, record->key,
                         &undo->old);
    } else {
        wdb_keydir_delete(object->elements, hash, record->key, NULL);
    }
    touch(store, object);
}

bool wdb_store_find_element(struct wdb_store *store, struct wdb_object_id id,
                            struct wdb_slice member, struct wdb_item *out)
{
    const struct wdb_object *object = wdb_registry_find(store, id);
    return object != NULL && object->elements != NULL &&
           wdb_keydir_get(object->elements, wdb_store_hash(store, member),
                          member, out);
}

uint64_t wdb_store_element_count(struct wdb_store *store,
                                 struct wdb_object_id id)
{
    const struct wdb_object *object = wdb_registry_find(store, id);
    return object == NULL || object->elements == NULL
               ? 0
               : wdb_keydir_count(object->elements);
}

uint64_t wdb_store_scan_elements(struct wdb_store *store,
                                 struct wdb_object_id id, uint64_t cursor,
                                 wdb_keydir_cb callback, void *context)
{
    const struct wdb_object *object = wdb_registry_find(store, id);
    return object == NULL || object->elements == NULL
               ? 0
               : wdb_keydir_scan(object->elements, cursor, callback, context);
}

/* --- ids -------------------------------------------------------------------
 */

/* Ids that are reserved at a time, and stock at which more are. */
#define ID_RESERVE_COUNT ((uint64_t)1 << 16)

/* Reserve ids until the stock is at least `count`. Under id_mutex. */
static int stock_ids(struct wdb_store *store, uint64_t count)
{
    struct wdb_registry *registry = &store->objects;
    if (registry->id_end == 0) {
        registry->id_next = registry->id_end =
            wdb_log_object_counter(store->log) + 1;
    }
    if (registry->id_end - registry->id_next >= count) {
        return 0;
    }
    const uint64_t end = registry->id_end + ID_RESERVE_COUNT;
    const int rc = wdb_log_reserve_objects(store->log, end - 1);
    if (rc == 0) {
        registry->id_end = end;
    }
    return rc;
}

int wdb_store_new_object(struct wdb_store *store, struct wdb_object_id *out)
{
    struct wdb_registry *registry = &store->objects;
    pthread_mutex_lock(&registry->id_mutex);
    const int rc = stock_ids(store, 1);
    if (rc == 0) {
        *out = (struct wdb_object_id){
            .term = 1,
            .counter = registry->id_next++,
        };
    }
    pthread_mutex_unlock(&registry->id_mutex);
    return rc;
}

bool wdb_objects_stock(struct wdb_store *store)
{
    struct wdb_registry *registry = &store->objects;
    bool done = false;
    pthread_mutex_lock(&registry->id_mutex);
    /* Nothing before the first object is made. */
    if (registry->id_end != 0 &&
        registry->id_end - registry->id_next < ID_RESERVE_COUNT / 2) {
        done = stock_ids(store, ID_RESERVE_COUNT / 2) == 0;
    }
    pthread_mutex_unlock(&registry->id_mutex);
    return done;
}

/* --- load ------------------------------------------------------------------
 */

int wdb_object_load(struct wdb_store *store, const struct wdb_record *record,
                    wdb_position position, uint64_t size,
                    struct wdb_item *old_out, bool *existed_out)
{
    struct wdb_object *object = wdb_registry_find(store, record->object_id);
    *existed_out = false;
    if (object == NULL) {
        if (record->kind == WDB_RECORD_ELEMENT_DELETE) {
            return 0;
        }
        object = object_new(store, record->object_id);
        if (object == NULL) {
            return WALKERDB_ENOMEM;
        }
    }
    const struct wdb_item item = item_of(record, position, size);
    return change(store, object, record, &item, old_out, existed_out);
}

int wdb_object_load_header(struct wdb_store *store,
                           const struct wdb_record *record, uint64_t hash)
{
    struct wdb_undo undo = {0};
    const int rc = wdb_object_attach(store, record, hash, &undo);
    free(undo.name);
    return rc;
}

void wdb_objects_loaded(struct wdb_store *store)
{
    for (uint32_t i = 0; i < WDB_OBJECT_SHARD_COUNT; i++) {
        struct wdb_links *by_id = &store->objects.shards[i].by_id;
        struct wdb_link *link = wdb_links_take_all(by_id);
        while (link != NULL) {
            struct wdb_link *next = link->next;
            struct wdb_object *object =
                WDB_CONTAINER_OF(link, struct wdb_object, by_id);
            wdb_links_insert(by_id, link, link->hash);
            if (!object->attached) {
                bury(store, object);
            }
            link = next;
        }
    }
}

/* --- the graveyard ---------------------------------------------------------
 */

static void count_garbage(void *context, struct wdb_slice key, uint64_t hash,
                          const struct wdb_item *item)
{
    (void)key;
    (void)hash;
    wdb_store_account(context, item->position, (int64_t)item->record_size);
}

bool wdb_objects_bury(struct wdb_store *store)
{
    struct wdb_registry *registry = &store->objects;
    if (atomic_load_explicit(&registry->grave_count, memory_order_acquire) ==
        0) {
        return false;
    }
    pthread_mutex_lock(&registry->grave_mutex);
    struct wdb_object *object = registry->grave;
    if (object != NULL) {
        registry->grave = object->next;
    }
    pthread_mutex_unlock(&registry->grave_mutex);
    if (object == NULL) {
        return false;
    }
    bool counting = object->elements != NULL;
    const int slot = wdb_epoch_enter(wdb_log_epoch(store->log));
    for (int i = 0; counting && i < BURY_STEP_COUNT; i++) {
        object->cursor = wdb_keydir_scan(object->elements, object->cursor,
                                         count_garbage, store);
        counting = object->cursor != 0;
    }
    wdb_epoch_exit(wdb_log_epoch(store->log), slot);
    if (!counting) {
        object_free(object);
        atomic_fetch_sub(&registry->grave_count, 1);
        return true;
    }
    pthread_mutex_lock(&registry->grave_mutex);
    object->next = registry->grave;
    registry->grave = object;
    pthread_mutex_unlock(&registry->grave_mutex);
    return true;
}
