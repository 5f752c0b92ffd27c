/*
 * undo.h - what applied records replaced, so that they can be taken back.
 *
 * Every record that is applied yields one undo, kept in a block. While a batch
 * is staged the block hangs off the batch; when it is committed to the log
 * and the log's committed index follows by itself (a standalone server), the
 * block is reused at once. With manual_commit it waits in the store's queue,
 * oldest first, until wdb_store_set_committed frees it or wdb_store_truncate
 * or wdb_store_revert uses it. Undos of plain records, which stand for
 * themselves, wait in a ring of their stripe.
 *
 * An undo does not copy the key: it is in the record, which the log keeps
 * (nothing uncommitted is ever merged).
 */
#ifndef WDB_STORE_UNDO_H
#define WDB_STORE_UNDO_H

#include <stdatomic.h>

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
    uint64_t index;                       /* entry of all of these, */
    uint32_t place;                       /* the first one's place in it */
    uint32_t count, capacity;
    struct wdb_undo items[];
};

/* A put or delete of a key that was, and is, a string or nothing. */
struct wdb_undo_plain {
    uint64_t index;
    wdb_position position;
    uint64_t hash;
    struct wdb_item old;
    uint32_t place;
    uint8_t kind;
    bool existed;
};

struct wdb_undo_ring {
    struct wdb_undo_plain *items; /* malloc'ed; capacity is a power of two */
    uint32_t head, capacity;
    _Atomic uint32_t count;
};

/* Rings: their stripe is held. Forget what is committed; then make room for one
 * more. ENOMEM. */
void wdb_undo_ring_pass(struct wdb_undo_ring *ring, uint64_t committed);
WDB_MUST_CHECK int wdb_undo_ring_reserve(struct wdb_undo_ring *ring,
                                         uint64_t committed);
/* The one more, to be filled in. */
struct wdb_undo_plain *wdb_undo_ring_add(struct wdb_undo_ring *ring);
/* Take back, newest first, what lies at or behind this place of the log. */
void wdb_undo_ring_revert(struct wdb_store *store, struct wdb_undo_ring *ring,
                          uint64_t index, uint32_t place);
void wdb_undo_ring_release(struct wdb_undo_ring *ring);
/* Of what is in all rings, more or less. No stripe is needed. */
uint64_t wdb_undo_ring_memory(const struct wdb_store *store);

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
/* Hand a block over to the queue: the undos of a batch that begins at this
 * place of the log. Stripes of its keys are held. */
void wdb_undo_keep(struct wdb_store *store, struct wdb_undo_block *block,
                   uint64_t index, uint32_t place);
/* Settle everything in the queue: at close. No stripe is held. */
void wdb_undo_release(struct wdb_store *store);

#endif
