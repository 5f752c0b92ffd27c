/*
 * object.h - collections: a header under a key, elements under the object's id.
 *
 * An object comes into being with the first header (a PUT with
 * WDB_RECORD_OBJECT) of its id. It belongs to the key of its latest header:
 * that key's stripe guards it, and a rename only moves the header (put the new
 * one before the old key is deleted, in one batch). When its key is
 * overwritten or deleted, all its elements are garbage at once: the object
 * leaves the key, waits until that is settled, and is counted and freed by the
 * background thread. Ids are never used twice.
 *
 * Element records carry the id, not the key. So objects are found by id
 * in a registry of shards with locks of their own, which are held only for the
 * look-up. The load fills the tables of elements shard by shard (a shard
 * belongs to one thread), before it is known which headers are live; objects
 * without one are dropped afterwards.
 *
 * The elements of an object are a keydir of one stripe: member -> position.
 */
#ifndef WDB_STORE_OBJECT_H
#define WDB_STORE_OBJECT_H

#include <pthread.h>

#include "store/keydir.h"
#include "store/links.h"
#include "store/store.h"
#include "store/undo.h"

#define WDB_OBJECT_SHARD_COUNT 64

/* The key that heads an object. */
struct wdb_object_name {
    uint64_t hash;
    uint32_t database;
    uint32_t size;
    uint8_t bytes[];
};

struct wdb_object {
    struct wdb_link by_id;  /* in a shard of the registry */
    struct wdb_link by_key; /* in the table of its key's stripe, if attached */
    struct wdb_object_id id;
    struct wdb_object_name *name; /* changes under stripe and shard; NULL: no
                                     header was seen yet (load) */
    struct wdb_keydir *elements;  /* NULL until there is one */
    uint32_t drops;               /* undos that hold it as dropped */
    bool attached;
    uint64_t cursor;         /* graveyard: how far garbage is counted */
    struct wdb_object *next; /* graveyard */
};

struct wdb_registry {
    struct wdb_object_shard {
        pthread_mutex_t mutex;
        struct wdb_links by_id;
    } shards[WDB_OBJECT_SHARD_COUNT];
    pthread_mutex_t grave_mutex;
    struct wdb_object *grave;
    _Atomic uint32_t grave_count;
    _Atomic uint64_t count;
    pthread_mutex_t id_mutex;
    uint64_t id_next, id_end; /* ids that may be given out */
};

void wdb_registry_init(struct wdb_store *store);
/* Frees all objects. The stripes' tables are released here, too. */
void wdb_registry_release(struct wdb_store *store);
/* Forget all objects: everything is about to be loaded anew. All stripes and
 * the graveyard's bury_mutex are held. Ids go on behind the log's counter. */
void wdb_registry_clear(struct wdb_store *store);
/* Shard that an id is in. */
uint32_t wdb_registry_shard(struct wdb_object_id id);
/* The object of this id, NULL if there is none. It stays while its stripe is
 * held. */
struct wdb_object *wdb_registry_find(struct wdb_store *store,
                                     struct wdb_object_id id);
/* Hash of the key that heads the object, to lock its stripe (and then look
 * again). False if there is no such object or it is dropped. */
bool wdb_registry_locate(struct wdb_store *store, struct wdb_object_id id,
                         uint64_t *hash_out);
/* For object.c and element.c. A new object in the registry, nobody's yet; NULL
 * without memory. Out of the registry; memory. */
struct wdb_object *wdb_object_new(struct wdb_store *store,
                                  struct wdb_object_id id);
void wdb_registry_remove(struct wdb_store *store, struct wdb_object *object);
void wdb_object_free(struct wdb_object *object);
/* Out of the registry, to be counted and freed in the background. */
void wdb_object_bury(struct wdb_store *store, struct wdb_object *object);
/* Change the name, which others look at with the shard's lock alone. */
void wdb_object_set_name(struct wdb_store *store, struct wdb_object *object,
                         struct wdb_object_name *name);
static inline struct wdb_slice wdb_object_key(
    const struct wdb_object_name *name)
{
    return wdb_slice(name->bytes, name->size);
}

/* The attached object that this key heads (stripe held), or NULL. */
struct wdb_object *wdb_object_of_key(struct wdb_store *store, uint32_t database,
                                     uint64_t hash, struct wdb_slice key);

/*
 * A header record was put: make its object, or let it follow to this key.
 * undo->name, undo->created say what changed. ENOMEM.
 */
WDB_MUST_CHECK int wdb_object_attach(struct wdb_store *store,
                                     const struct wdb_record *record,
                                     uint64_t hash, struct wdb_undo *undo);
void wdb_object_detach_undo(struct wdb_store *store, struct wdb_undo *undo,
                            const struct wdb_record *record);
/* The key that headed it was overwritten or deleted; undo->object holds it. */
void wdb_object_drop(struct wdb_store *store, struct wdb_object *object,
                     struct wdb_undo *undo);
void wdb_object_drop_undo(struct wdb_store *store, struct wdb_undo *undo);
/* The key's whole database is gone for good (graveyard): so is the object that
 * it headed, if it still does. Takes the stripe itself. */
void wdb_object_forget(struct wdb_store *store, uint32_t database,
                       uint64_t hash, struct wdb_slice key);
/* undo->object and undo->name are not needed any more. */
void wdb_object_settle(struct wdb_store *store, struct wdb_undo *undo);

/* Apply an element record; undo->hash becomes that of the header's key. */
WDB_MUST_CHECK int wdb_object_apply(struct wdb_store *store,
                                    const struct wdb_record *record,
                                    wdb_position position, uint64_t size,
                                    struct wdb_undo *undo);
void wdb_object_revert(struct wdb_store *store, struct wdb_undo *undo,
                       const struct wdb_record *record);

/*
 * The load. An element of an object whose header is perhaps still to come: by
 * the thread that has the shard. As the keydir's put and delete: *old_out is
 * what was there.
 */
WDB_MUST_CHECK int wdb_object_load(struct wdb_store *store,
                                   const struct wdb_record *record,
                                   wdb_position position, uint64_t size,
                                   struct wdb_item *old_out, bool *existed_out);
/* A header turned out to be live. One thread. ENOMEM. */
WDB_MUST_CHECK int wdb_object_load_header(struct wdb_store *store,
                                          const struct wdb_record *record,
                                          uint64_t hash);
/* All headers are known: drop the objects without one. One thread. */
void wdb_objects_loaded(struct wdb_store *store);

/* Keep ids in stock, so that nobody has to wait for them. True if more were
 * reserved. Background thread. */
bool wdb_objects_stock(struct wdb_store *store);
/* Count some garbage of, or free, a dropped object. True if there was any. No
 * stripe is held. */
bool wdb_objects_bury(struct wdb_store *store);

#endif
