/* registry.c - objects by their ids; ids; the graveyard of dropped objects. */
#include "store/object.h"

#include <stdlib.h>

#include "store/store_internal.h"

/* Buckets whose garbage is counted in one step of the graveyard. */
#define BURY_STEP_COUNT 64

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

void wdb_object_free(struct wdb_object *object)
{
    wdb_keydir_free(object->elements);
    free(object->name);
    free(object);
}

/* Free all objects of a shard, and those in the graveyard. */
static void free_shard(struct wdb_object_shard *shard)
{
    struct wdb_link *link = wdb_links_take_all(&shard->by_id);
    while (link != NULL) {
        struct wdb_link *next = link->next;
        wdb_object_free(WDB_CONTAINER_OF(link, struct wdb_object, by_id));
        link = next;
    }
}

static void free_grave(struct wdb_registry *registry)
{
    while (registry->grave != NULL) {
        struct wdb_object *object = registry->grave;
        registry->grave = object->next;
        wdb_object_free(object);
    }
    atomic_store(&registry->grave_count, 0);
}

void wdb_registry_clear(struct wdb_store *store)
{
    struct wdb_registry *registry = &store->objects;
    for (uint32_t i = 0; i < store->stripe_count; i++) {
        (void)wdb_links_take_all(&store->stripes[i].headers);
    }
    for (uint32_t i = 0; i < WDB_OBJECT_SHARD_COUNT; i++) {
        pthread_mutex_lock(&registry->shards[i].mutex);
        free_shard(&registry->shards[i]);
        pthread_mutex_unlock(&registry->shards[i].mutex);
    }
    pthread_mutex_lock(&registry->grave_mutex);
    free_grave(registry);
    pthread_mutex_unlock(&registry->grave_mutex);
    atomic_store(&registry->count, 0);
    pthread_mutex_lock(&registry->id_mutex);
    registry->id_next = registry->id_end = 0;
    pthread_mutex_unlock(&registry->id_mutex);
}

void wdb_registry_release(struct wdb_store *store)
{
    struct wdb_registry *registry = &store->objects;
    for (uint32_t i = 0; i < store->stripe_count; i++) {
        wdb_links_release(&store->stripes[i].headers);
    }
    for (uint32_t i = 0; i < WDB_OBJECT_SHARD_COUNT; i++) {
        free_shard(&registry->shards[i]);
        wdb_links_release(&registry->shards[i].by_id);
        pthread_mutex_destroy(&registry->shards[i].mutex);
    }
    free_grave(registry);
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

void wdb_object_set_name(struct wdb_store *store, struct wdb_object *object,
                         struct wdb_object_name *name)
{
    struct wdb_object_shard *shard = shard_of(store, object->id);
    pthread_mutex_lock(&shard->mutex);
    object->name = name;
    pthread_mutex_unlock(&shard->mutex);
}

/* A new object in the registry, nobody's yet; NULL without memory. */
struct wdb_object *wdb_object_new(struct wdb_store *store,
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

void wdb_registry_remove(struct wdb_store *store, struct wdb_object *object)
{
    struct wdb_object_shard *shard = shard_of(store, object->id);
    pthread_mutex_lock(&shard->mutex);
    wdb_links_remove(&shard->by_id, &object->by_id);
    pthread_mutex_unlock(&shard->mutex);
    atomic_fetch_sub_explicit(&store->objects.count, 1, memory_order_relaxed);
}

void wdb_object_bury(struct wdb_store *store, struct wdb_object *object)
{
    struct wdb_registry *registry = &store->objects;
    wdb_registry_remove(store, object);
    pthread_mutex_lock(&registry->grave_mutex);
    object->next = registry->grave;
    registry->grave = object;
    atomic_fetch_add(&registry->grave_count, 1);
    pthread_mutex_unlock(&registry->grave_mutex);
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
                wdb_object_bury(store, object);
            }
            link = next;
        }
    }
}

/* --- ids -------------------------------------------------------------------
 */

/* Ids that are reserved at a time, and stock at which more are. */
#define ID_RESERVE_COUNT ((uint64_t)1 << 16)

/* How far ids may be given out after another reservation. Under id_mutex. */
static uint64_t next_end(struct wdb_store *store)
{
    struct wdb_registry *registry = &store->objects;
    if (registry->id_end == 0) {
        registry->id_next = registry->id_end =
            wdb_log_object_counter(store->log) + 1;
    }
    return registry->id_end + ID_RESERVE_COUNT;
}

int wdb_store_new_object(struct wdb_store *store, struct wdb_object_id *out)
{
    struct wdb_registry *registry = &store->objects;
    int rc = 0;
    pthread_mutex_lock(&registry->id_mutex);
    const uint64_t end = next_end(store);
    if (registry->id_next == registry->id_end) {
        rc = wdb_log_reserve_objects(store->log, end - 1);
        registry->id_end = rc == 0 ? end : registry->id_end;
    }
    if (rc == 0) {
        /* A term has one leader, and each node counts for itself. */
        *out = (struct wdb_object_id){
            .term = wdb_log_term(store->log),
            .counter = registry->id_next++,
        };
    }
    pthread_mutex_unlock(&registry->id_mutex);
    return rc;
}

bool wdb_objects_stock(struct wdb_store *store)
{
    struct wdb_registry *registry = &store->objects;
    pthread_mutex_lock(&registry->id_mutex);
    /* Nothing before the first object is made. */
    const bool low =
        registry->id_end != 0 &&
        registry->id_end - registry->id_next < ID_RESERVE_COUNT / 2;
    const uint64_t end = low ? next_end(store) : 0;
    pthread_mutex_unlock(&registry->id_mutex);
    if (!low || wdb_log_reserve_objects(store->log, end - 1) != 0) {
        return false;
    }
    pthread_mutex_lock(&registry->id_mutex);
    /* Whoever ran out meanwhile may have reserved as far. */
    registry->id_end = end > registry->id_end ? end : registry->id_end;
    pthread_mutex_unlock(&registry->id_mutex);
    return true;
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

/* Under bury_mutex. */
static bool bury(struct wdb_store *store)
{
    struct wdb_registry *registry = &store->objects;
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
        wdb_object_free(object);
        atomic_fetch_sub(&registry->grave_count, 1);
        return true;
    }
    pthread_mutex_lock(&registry->grave_mutex);
    object->next = registry->grave;
    registry->grave = object;
    pthread_mutex_unlock(&registry->grave_mutex);
    return true;
}

bool wdb_objects_bury(struct wdb_store *store)
{
    if (atomic_load_explicit(&store->objects.grave_count,
                             memory_order_acquire) == 0) {
        return false;
    }
    pthread_mutex_lock(&store->databases.bury_mutex);
    const bool done = bury(store);
    pthread_mutex_unlock(&store->databases.bury_mutex);
    return done;
}
