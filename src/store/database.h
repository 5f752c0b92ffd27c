/*
 * database.h - which database id stands behind each of the 16 logical
 * databases, and the keydir of each id.
 *
 * Flushing and swapping change this mapping, whatever the number of keys: a
 * DATABASES record logs the new one. Ids are never used again. A keydir whose
 * id is not mapped any more waits until the record that dropped it is settled
 * (committed), then lies in the graveyard: the background thread counts its
 * records as garbage, segment by segment, and frees it.
 *
 * Value of a DATABASES record, little-endian u32s:
 *   0     4                   64     68
 *   +-----+-------+-     -+------+------+
 *   | id of 0     |  ...  | of 15| next |   next: first id never used
 *   +-----+-------+-     -+------+------+
 *
 * Threads: the mapping changes only while all stripes are held, so whoever
 * holds one may read it. Inside the epoch one may read it, too, as a hint.
 */
#ifndef WDB_STORE_DATABASE_H
#define WDB_STORE_DATABASE_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/epoch.h"
#include "store/keydir.h"
#include "store/store.h"

#define WDB_DATABASES_VALUE_SIZE ((WDB_DATABASE_COUNT + 1) * 4)

/* A mapping that was replaced: for undo, then for the graveyard. */
struct wdb_mapping {
    struct wdb_mapping *next; /* in the graveyard */
    uint32_t ids[WDB_DATABASE_COUNT];
    struct wdb_keydir *keydirs[WDB_DATABASE_COUNT]; /* NULL: none was made */
    wdb_position position; /* of its record; 0: the initial mapping */
    uint64_t record_size;
    uint64_t index;
    uint32_t dropped; /* a bit for each id that its successor lacks */
    /* In the graveyard: the keydir whose garbage is counted, and how far; then
     * the wait for readers that prefetch from it without a lock. */
    uint32_t counting;
    uint64_t cursor;
    bool retiring;
    atomic_bool retired;
    struct wdb_epoch_retired retired_node;
};

struct wdb_databases {
    _Atomic uint32_t ids[WDB_DATABASE_COUNT];
    _Atomic(struct wdb_keydir *) keydirs[WDB_DATABASE_COUNT];
    uint32_t id_next;
    _Atomic wdb_position position; /* of the record of this mapping */
    uint64_t record_size;
    _Atomic uint64_t index;     /* entry of that record */
    pthread_mutex_t mutex;      /* for making keydirs */
    pthread_mutex_t bury_mutex; /* counting and freeing, a step at a time */
    pthread_mutex_t grave_mutex;
    struct wdb_mapping *grave; /* first to be counted */
    _Atomic uint32_t grave_count;
    uint64_t count_hints[WDB_DATABASE_COUNT]; /* keys that the load expects */
};

/* The initial mapping: number n has id n. */
void wdb_databases_init(struct wdb_store *store);
/* Free all keydirs, those in the graveyard included. */
void wdb_databases_release(struct wdb_store *store);
/* The keydir of a mapped id, made if there is none. ENOMEM. */
WDB_MUST_CHECK int wdb_databases_make(struct wdb_store *store, uint32_t id,
                                      struct wdb_keydir **out);
/* Apply a DATABASES record; *old_out is what it replaced. ENOMEM, ECORRUPT.
 * All stripes are held, as for revert. */
WDB_MUST_CHECK int wdb_databases_apply(struct wdb_store *store,
                                       const struct wdb_record *record,
                                       wdb_position position, uint64_t size,
                                       struct wdb_mapping **old_out);
/* Back to `old`, which is freed; keydirs that it does not know are freed in
 * the background. */
void wdb_databases_revert(struct wdb_store *store, struct wdb_mapping *old);
/* What replaced `old` is committed: its dropped keydirs may go. */
void wdb_databases_settle(struct wdb_store *store, struct wdb_mapping *old);
/* The record behind the mapping moved (it was staged; merge copied it). */
bool wdb_databases_move(struct wdb_store *store, wdb_position from,
                        wdb_position to, uint64_t size);
/* True if a logical database has this id now. */
bool wdb_databases_mapped(const struct wdb_store *store, uint32_t id);
/* graveyard.c: free a mapping with those of its keydirs whose bits are set; put
 * it into the graveyard with those that it drops. */
void wdb_mapping_free(struct wdb_mapping *mapping, uint32_t keydirs);
void wdb_mapping_bury(struct wdb_databases *databases,
                      struct wdb_mapping *mapping);
/* Count some garbage of, or free, what lies in the graveyard. True if there
 * was something to do. No stripe is held. */
bool wdb_databases_bury(struct wdb_store *store);
/* Back to the initial mapping: everything is about to be loaded anew. The old
 * keydirs, and what lies in the graveyard, are not counted any more, but freed
 * when no reader is left. `memory` is zeros, and is taken over. All stripes and
 * bury_mutex are held. */
void wdb_databases_clear(struct wdb_store *store, struct wdb_mapping *memory);
/* The same for a mapping that was found by the load: nothing is replaced. */
WDB_MUST_CHECK int wdb_databases_load(struct wdb_store *store,
                                      const struct wdb_record *record,
                                      wdb_position position, uint64_t size);

#endif
