/*
 * undo.h - what applied records replaced, so that they can be taken back.
 *
 * Every record that is applied yields one undo, kept in a block. While a batch
 * is staged the block hangs off the batch; when it is committed to the log
 * and the log's committed index follows by itself (a standalone server), the
 * block is reused at once. With manual_commit it waits in the store's queue,
 * oldest first, until wdb_store_set_committed frees it or wdb_store_truncate
 * uses it.
 *
 * An undo does not copy the key: it is in the record, which the log keeps
 * (nothing uncommitted is ever merged).
 */
#ifndef WDB_STORE_UNDO_H
#define WDB_STORE_UNDO_H

#include "store/keydir.h"

/* Memory that is kept for an undo that finds none. */
#define WDB_UNDO_RESERVE_SIZE ((size_t)64 << 10)

struct wdb_store;
struct wdb_batch;
struct wdb_mapping;
struct wdb_object;
struct wdb_object_name;

struct wdb_undo {
    wdb_position position; /* of the record that made the change */
    uint64_t hash;
    struct wdb_item old; /* what was there before, if existed */
    union {
        struct wdb_mapping *mapping; /* DATABASES: the one before */
        struct wdb_object *object;   /* the object that the key headed */
    };
    struct wdb_object_name *name; /* a header: the name before this one */
    uint8_t kind;                 /* enum wdb_record_kind */
    bool existed;
    bool created;  /* a header: its record made the object */
    bool attached; /* a header: the object had no key before */
    bool applied;  /* an element: its object was there */
};

struct wdb_undo_block {
    struct wdb_undo_block *older, *newer; /* in the store's queue */
    uint64_t index;                       /* entry of all of these */
    uint32_t count, capacity;
    struct wdb_undo items[];
};

/* An empty block for so many; NULL without memory. */
struct wdb_undo_block *wdb_undo_block_new(uint32_t capacity);
/* Make room for one more in *block (NULL at first). ENOMEM. */
WDB_MUST_CHECK int wdb_undo_reserve(struct wdb_undo_block **block);
/*
 * Take back what one record did. `record` is that record. Never fails. The
 * stripe of its key (DATABASES: all) is held; the watch hook is called.
 */
void wdb_undo_revert(struct wdb_store *store, struct wdb_undo *undo,
                     const struct wdb_record *record);
/* The same for a record that is in the log; the garbage that it made is none
 * any more. Inside the epoch. */
void wdb_undo_revert_logged(struct wdb_store *store, struct wdb_undo *undo);
/* What the undo holds is never needed again: free it (dropped databases go to
 * the graveyard). */
void wdb_undo_settle(struct wdb_store *store, struct wdb_undo *undo);
/* The part of it that concerns keydirs and objects: no watch, no index. */
void wdb_undo_revert_key(struct wdb_store *store, struct wdb_undo *undo,
                         const struct wdb_record *record);
/* Put an item back into a keydir. Out of memory is met with the store's reserve;
 * without that, too, the process stops: half an undo would be a lie. */
void wdb_undo_restore(struct wdb_store *store, struct wdb_keydir *keydir,
                      uint64_t hash, struct wdb_slice key,
                      const struct wdb_item *item);
/* Hand a block over to the queue, or settle it if its entry is committed
 * already. Stripes of its keys are held. */
void wdb_undo_keep(struct wdb_store *store, struct wdb_undo_block *block,
                   uint64_t index);
/* Settle everything in the queue: at close. No stripe is held. */
void wdb_undo_release(struct wdb_store *store);

#endif
