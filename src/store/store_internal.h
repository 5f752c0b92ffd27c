/*
 * store_internal.h - what the files of store/ share and nobody else sees.
 *
 * Locks, in the order in which they are taken:
 *   merge.mutex   one merge at a time
 *   bury          a step of the graveyards
 *   stripes       ascending; all of them for what may touch any key
 *   shard         of the registry of objects, for a look-up
 *   databases     making a keydir
 *   undo          the queue of undo blocks
 *   background    wake-ups of the background thread, the graveyard
 * Nothing waits for the disk while it holds any of these but the first.
 */
#ifndef WDB_STORE_STORE_INTERNAL_H
#define WDB_STORE_STORE_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/assert.h"
#include "base/siphash.h"
#include "store/database.h"
#include "store/expiry.h"
#include "store/mutations.h"
#include "store/object.h"
#include "store/store.h"
#include "store/undo.h"

#define WDB_STRIPE_COUNT_DEFAULT 64
/* Staged positions: slots from WDB_SLOT_STAGED on, one for each context.
 * Context 0 is for batches that are staged and committed in one go: nobody
 * reads at their positions. */
#define WDB_CONTEXT_COUNT 256
static_assert(WDB_SLOT_STAGED + WDB_CONTEXT_COUNT == WDB_SLOT_COUNT_MAX,
              "every context has a slot");

struct wdb_stripe {
    pthread_mutex_t mutex;
    _Atomic uint64_t last_write;
    _Atomic uint64_t next_expiry;
    _Atomic(struct wdb_expiry_heap *) heap; /* statistics have no lock */
    uint32_t expiry_adds;                   /* to the heap, ever */
    uint64_t expiry_live;       /* keys with an expiry, as counted last */
    struct wdb_undo_ring undos; /* of plain records, not committed */
    struct wdb_links headers;   /* objects whose key is of this stripe */
#ifdef WDB_DEBUG
    bool held;
#endif
} WDB_ALIGN_CACHE;

struct wdb_merge;
struct wdb_background;

struct wdb_store {
    struct wdb_store_options options;
    struct wdb_log *log;
    struct wdb_env *env;
    struct wdb_siphash_key hash_key;
    uint32_t stripe_count;
    bool loading;
    struct wdb_stripe *stripes;
    struct wdb_databases databases;
    struct wdb_registry objects;
    struct wdb_ordered *ordered; /* NULL: not wanted */
    uint32_t ordered_database;   /* the id whose keys it has */
    _Atomic(struct wdb_batch *) contexts[WDB_CONTEXT_COUNT];

    pthread_mutex_t undo_mutex;
    struct wdb_undo_block *undo_oldest, *undo_newest;
    _Atomic uint64_t undo_memory;
    /* For entries that are committed when they are applied: kept for the next
     * one. */
    _Atomic(struct wdb_undo_block *) follow_block;
    pthread_mutex_t reserve_mutex;
    void *reserve; /* memory for an undo that finds none */
    /* Undone entries of this process: truncations, reverts. And what of the
     * log is not in the keydirs (wdb_store_clean_index). They change while all
     * stripes are held; `applied`, which is the last entry that was applied
     * from the log, also without. */
    _Atomic uint64_t revert_count;
    _Atomic uint64_t index_reverted; /* the last that was taken back, or 0 */
    _Atomic uint64_t applied;

    struct wdb_merge *merge;
    struct wdb_background *background;
    _Atomic uint64_t load_duration_ms, load_hint_count, load_scan_count;
    /* Instead of the option's, while a snapshot is being loaded; or NULL. */
    void (*load_progress)(void *context, uint64_t done);
    void *load_context;
    _Atomic uint64_t cold_read_count, cold_read_ns;
};

static inline bool wdb_position_is_staged(wdb_position position)
{
    return wdb_position_slot(position) >= WDB_SLOT_STAGED;
}

static inline void wdb_stripe_check_held(const struct wdb_store *store,
                                         uint64_t hash)
{
#ifdef WDB_DEBUG
    wdb_assert(store->stripes[wdb_stripe_of(hash, store->stripe_count)].held);
#else
    (void)store;
    (void)hash;
#endif
}

static inline void wdb_store_touch(struct wdb_store *store,
                                   enum wdb_touch_kind kind, uint32_t database,
                                   uint64_t hash, struct wdb_slice key)
{
    if (WDB_UNLIKELY(store->options.on_touch != NULL && !store->loading)) {
        store->options.on_touch(store->options.touch_context, kind, database,
                                hash, key);
    }
}

/* End of what a segment holds so far. */
static inline uint64_t wdb_segment_used(const struct wdb_segment *segment)
{
    return atomic_load_explicit(&segment->sealed, memory_order_acquire)
               ? segment->size_used
               : atomic_load_explicit(&segment->written, memory_order_relaxed);
}

/* Something may have become possible in the background. Any thread. */
void wdb_store_wake(struct wdb_store *store);
/* `size` bytes at `position` are garbage from now on, or (negative) needed
 * again. Nothing for staged positions. Inside the epoch, or with a stripe held
 * that keeps the segment in the table. */
void wdb_store_account(struct wdb_store *store, wdb_position position,
                       int64_t size);

/* The same for a record that is garbage, or will be, by what it is: a tombstone,
 * an expiry in a log segment. */
void wdb_store_account_kind(struct wdb_store *store, enum wdb_record_kind kind,
                            wdb_position position, uint64_t size);

/* Something of the stripe of this hash (held) was written by that entry. */
static inline void wdb_store_note_write(struct wdb_store *store, uint64_t hash,
                                        uint64_t index)
{
    struct wdb_stripe *stripe =
        &store->stripes[wdb_stripe_of(hash, store->stripe_count)];
    atomic_store_explicit(&stripe->last_write, index, memory_order_relaxed);
}

/*
 * Apply one record that lies at `position` (the only way in which anything
 * changes). *undo is filled in for wdb_undo_revert. The stripe of the key
 * (DATABASES: all) is held. The watch hook is called. ENOMEM: then nothing
 * changed.
 */
WDB_MUST_CHECK int wdb_store_apply(struct wdb_store *store,
                                   const struct wdb_record *record,
                                   wdb_position position, uint64_t size,
                                   uint64_t hash, struct wdb_undo *undo);

/* Raised whenever entries were undone: what was found out about garbage before
 * may be wrong. */
static inline uint64_t wdb_store_generation(const struct wdb_store *store)
{
    return atomic_load(&store->revert_count) + wdb_log_generation(store->log);
}

/*
 * All entries up to this one are in the keydirs, and in the file. That is not
 * the log's end if it has entries that are not applied yet, or not any more.
 * *generation_out: when that was so. Takes a stripe.
 */
uint64_t wdb_store_clean_index(struct wdb_store *store,
                               uint64_t *generation_out);

/* Rebuild everything from the log (load.c): one caller, before any other.
 * *message_out (may be NULL) as in wdb_store_open. */
WDB_MUST_CHECK int wdb_store_load(struct wdb_store *store, char **message_out);

#endif
