/* db_internal.h - what the files of db/ share. */
#ifndef WDB_DB_INTERNAL_H
#define WDB_DB_INTERNAL_H

#include <stdatomic.h>

#include "db/db.h"

#define WDB_USED_COUNT ((uint32_t)1 << 12)

struct wdb_watch_table; /* watch.c */

struct wdb_db {
    struct wdb_store *store;
    struct wdb_log *log;
    struct wdb_db_options options;
    struct wdb_watch_table *watches;
    _Atomic uint32_t expire_stripe; /* where the last expire step ended */
    _Atomic bool expire_enabled;
    _Atomic uint64_t expire_hold_ms; /* before that nothing is deleted */
    _Atomic bool expire_stopped;     /* nor while this is set */
    _Atomic uint64_t expired_count;
    uint32_t started_s;
    /* When a key was used last, in seconds, by some bits of its hash. */
    _Atomic uint32_t used_s[WDB_USED_COUNT];
};

/* Stripes of all watchers, one list head each. ENOMEM. */
WDB_MUST_CHECK int wdb_watch_table_new(uint32_t stripe_count,
                                       struct wdb_watch_table **out);
void wdb_watch_table_free(struct wdb_watch_table *table);
/* The store's on_touch: flag whoever watches this key (stripe held), or, for a
 * change of the mapping, everybody (all stripes held). */
void wdb_watch_touch(void *context, enum wdb_touch_kind kind, uint32_t database,
                     uint64_t hash, struct wdb_slice key);

/* Before a flush (bits; a == b) or a swap of two is committed, all stripes held:
 * flag the watched keys of these databases that it makes appear or vanish; the
 * touch that follows then only notes the new mapping. */
void wdb_watch_judge(struct wdb_db *db, uint32_t bits, uint32_t a, uint32_t b);
/* The transaction with all stripes ends, whatever became of it. */
void wdb_watch_judged_end(struct wdb_db *db);

/* CLIENT PAUSE holds writes, and so what expiry would write; who does not lead a
 * cluster writes nothing by itself. */
static inline bool wdb_db_expire_held(const struct wdb_db *db, uint64_t now_ms)
{
    return now_ms < atomic_load_explicit(&db->expire_hold_ms,
                                         memory_order_relaxed) ||
           atomic_load_explicit(&db->expire_stopped, memory_order_relaxed);
}

/* A read found this item's value cold: remember to fetch it. */
void wdb_txn_note_cold(struct wdb_txn *txn, const struct wdb_item *item);

#endif
