/* object.c - the headers of collections: which key an object belongs to. */
#include "store/object.h"

#include <stdlib.h>

#include "store/store_internal.h"

static struct wdb_links *headers_of(struct wdb_store *store, uint64_t hash)
{
    return &store->stripes[wdb_stripe_of(hash, store->stripe_count)].headers;
}

struct wdb_object *wdb_object_of_key(struct wdb_store *store, uint32_t database,
                                     uint64_t hash, struct wdb_slice key)
{
    struct wdb_link *link = wdb_links_find(headers_of(store, hash), hash);
    for (; link != NULL; link = wdb_links_find_next(link)) {
        struct wdb_object *object =
            WDB_CONTAINER_OF(link, struct wdb_object, by_key);
        if (object->name->database == database &&
            wdb_slice_equal(wdb_object_key(object->name), key)) {
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
           wdb_slice_equal(wdb_object_key(object->name), key);
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
        object = wdb_object_new(store, record->object_id);
        if (object == NULL) {
            free(name);
            return WALKERDB_ENOMEM;
        }
        undo->created = true;
    }
    undo->attached = !object->attached;
    unlink_key(store, object);
    undo->name = object->name;
    wdb_object_set_name(store, object, name);
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
        wdb_registry_remove(store, object);
        wdb_object_free(object);
        return;
    }
    free(object->name);
    wdb_object_set_name(store, object, undo->name);
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
        wdb_object_bury(store, object);
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
            wdb_object_bury(store, object);
        }
    }
    wdb_store_unlock_one(store, stripe);
}

int wdb_object_load_header(struct wdb_store *store,
                           const struct wdb_record *record, uint64_t hash)
{
    struct wdb_undo undo = {0};
    const int rc = wdb_object_attach(store, record, hash, &undo);
    free(undo.name);
    return rc;
}
