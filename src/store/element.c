/* element.c - the elements of collections. */
#include "store/object.h"

#include "store/store_internal.h"

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
                        object->name->hash, wdb_object_key(object->name));
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
        object = wdb_object_new(store, record->object_id);
        if (object == NULL) {
            return WALKERDB_ENOMEM;
        }
    }
    const struct wdb_item item = item_of(record, position, size);
    return change(store, object, record, &item, old_out, existed_out);
}
