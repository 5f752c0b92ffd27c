/*
 * apply.c - the only mutator: what one record does to keydirs, mapping and
 * objects, for commits, followers and the load alike.
 */
#include "store/expiry.h"
#include "store/store_internal.h"

static struct wdb_item item_of(const struct wdb_record *record,
                               wdb_position position, uint64_t size)
{
    uint8_t flags = (uint8_t)((record->type & 0xf) << WDB_ITEM_TYPE_SHIFT);
    if ((record->flags & WDB_RECORD_EXPIRY) != 0) {
        flags |= WDB_ITEM_EXPIRY;
    }
    if ((record->flags & WDB_RECORD_OBJECT) != 0) {
        flags |= WDB_ITEM_OBJECT;
    }
    return (struct wdb_item){
        .position = position,
        .record_size = size,
        .expiry_ms = record->expiry_ms,
        .flags = flags,
    };
}

/* The key does not head an object any more, unless `record` says so again. */
static void drop_object(struct wdb_store *store,
                        const struct wdb_record *record, struct wdb_undo *undo)
{
    struct wdb_object *object =
        wdb_object_of_key(store, record->database, undo->hash, record->key);
    if (object != NULL) {
        wdb_object_drop(store, object, undo);
    }
}

static bool same_object(const struct wdb_object *object,
                        const struct wdb_record *record)
{
    return (record->flags & WDB_RECORD_OBJECT) != 0 &&
           object->id.term == record->object_id.term &&
           object->id.counter == record->object_id.counter;
}

/* A put that makes or replaces a header: rare, so apart. */
static int put_header(struct wdb_store *store, struct wdb_keydir *keydir,
                      const struct wdb_record *record,
                      const struct wdb_item *item, struct wdb_undo *undo)
{
    struct wdb_object *before =
        wdb_object_of_key(store, record->database, undo->hash, record->key);
    int rc = wdb_keydir_put(keydir, undo->hash, record->key, item, &undo->old,
                            &undo->existed);
    if (rc != 0) {
        return rc;
    }
    if (before != NULL && !same_object(before, record)) {
        wdb_object_drop(store, before, undo);
    }
    if ((record->flags & WDB_RECORD_OBJECT) == 0) {
        return 0;
    }
    rc = wdb_object_attach(store, record, undo->hash, undo);
    if (rc == 0) {
        return 0;
    }
    if (undo->object != NULL) {
        wdb_object_drop_undo(store, undo);
    }
    if (undo->existed) {
        wdb_undo_restore(store, keydir, undo->hash, record->key, &undo->old);
    } else {
        wdb_keydir_delete(keydir, undo->hash, record->key, NULL);
    }
    return rc;
}

/* The ordered index gets a key that is new. On failure the put is undone. */
static int add_ordered(struct wdb_store *store, const struct wdb_record *record,
                       struct wdb_undo *undo)
{
    if (undo->existed || record->database != store->ordered_database) {
        return 0;
    }
    const int rc = wdb_ordered_insert(store->ordered, record->key);
    if (rc != 0) {
        wdb_undo_revert_key(store, undo, record);
    }
    return rc;
}

static int apply_put(struct wdb_store *store, const struct wdb_record *record,
                     wdb_position position, uint64_t size,
                     struct wdb_undo *undo)
{
    struct wdb_keydir *keydir;
    int rc = wdb_databases_make(store, record->database, &keydir);
    if (rc != 0) {
        return rc;
    }
    const struct wdb_item item = item_of(record, position, size);
    if (WDB_UNLIKELY((item.flags & WDB_ITEM_EXPIRY) != 0)) {
        rc =
            wdb_expiry_add(store, undo->hash, record->database, item.expiry_ms);
        if (rc != 0) {
            return rc;
        }
    }
    if (WDB_UNLIKELY((item.flags & WDB_ITEM_OBJECT) != 0 && !store->loading)) {
        rc = put_header(store, keydir, record, &item, undo);
    } else {
        rc = wdb_keydir_put(keydir, undo->hash, record->key, &item, &undo->old,
                            &undo->existed);
        if (WDB_UNLIKELY(rc == 0 && undo->existed &&
                         (undo->old.flags & WDB_ITEM_OBJECT) != 0)) {
            drop_object(store, record, undo);
        }
    }
    if (WDB_UNLIKELY(store->ordered != NULL) && rc == 0 && !store->loading) {
        rc = add_ordered(store, record, undo);
    }
    return rc;
}

static void apply_delete(struct wdb_store *store,
                         const struct wdb_record *record, struct wdb_undo *undo)
{
    struct wdb_keydir *keydir = wdb_store_keydir(store, record->database);
    undo->existed =
        keydir != NULL &&
        wdb_keydir_delete(keydir, undo->hash, record->key, &undo->old);
    if (undo->existed && (undo->old.flags & WDB_ITEM_OBJECT) != 0) {
        drop_object(store, record, undo);
    }
    if (WDB_UNLIKELY(store->ordered != NULL) && undo->existed &&
        !store->loading && record->database == store->ordered_database) {
        wdb_ordered_delete(store->ordered, record->key);
    }
}

static int apply_expire(struct wdb_store *store,
                        const struct wdb_record *record, struct wdb_undo *undo)
{
    struct wdb_keydir *keydir = wdb_store_keydir(store, record->database);
    struct wdb_item item;
    if (keydir == NULL ||
        !wdb_keydir_get(keydir, undo->hash, record->key, &item)) {
        return 0; /* an expiry of nothing */
    }
    item.expiry_ms = record->expiry_ms;
    item.flags |= WDB_ITEM_EXPIRY_LOGGED;
    if ((record->flags & WDB_RECORD_EXPIRY) != 0) {
        item.flags |= WDB_ITEM_EXPIRY;
        const int rc =
            wdb_expiry_add(store, undo->hash, record->database, item.expiry_ms);
        if (rc != 0) {
            return rc;
        }
    } else {
        item.flags &= (uint8_t)~WDB_ITEM_EXPIRY;
    }
    return wdb_keydir_put(keydir, undo->hash, record->key, &item, &undo->old,
                          &undo->existed);
}

int wdb_store_apply(struct wdb_store *store, const struct wdb_record *record,
                    wdb_position position, uint64_t size, uint64_t hash,
                    struct wdb_undo *undo)
{
    *undo = (struct wdb_undo){
        .position = position,
        .hash = hash,
        .kind = (uint8_t)record->kind,
    };
    int rc = 0;
    switch (record->kind) {
    case WDB_RECORD_PUT:
        wdb_stripe_check_held(store, hash);
        rc = apply_put(store, record, position, size, undo);
        break;
    case WDB_RECORD_DELETE:
        wdb_stripe_check_held(store, hash);
        apply_delete(store, record, undo);
        break;
    case WDB_RECORD_EXPIRE:
        wdb_stripe_check_held(store, hash);
        rc = apply_expire(store, record, undo);
        break;
    case WDB_RECORD_DATABASES:
        if (store->ordered != NULL) {
            return WALKERDB_EUNSUPPORTED;
        }
        rc = wdb_databases_apply(store, record, position, size, &undo->mapping);
        if (rc == 0) {
            wdb_store_touch(store, WDB_TOUCH_DATABASES, 0, 0,
                            wdb_slice(NULL, 0));
        }
        return rc;
    case WDB_RECORD_ELEMENT_PUT:
    case WDB_RECORD_ELEMENT_DELETE:
        return wdb_object_apply(store, record, position, size, undo);
    }
    if (rc == 0) {
        wdb_store_touch(store, WDB_TOUCH_KEY, record->database, hash,
                        record->key);
    }
    return rc;
}
