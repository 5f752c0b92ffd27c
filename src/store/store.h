/*
 * store.h - the Bitcask engine: keydirs over a log, one mutator, merge, hints,
 * backup.
 *
 * Whoever reads or writes a key holds its stripe. A stripe's number is
 * wdb_store_stripe(hash). Several stripes are locked in ascending order, with
 * wdb_store_lock. wdb_store_commit appends a batch to the log and applies it:
 * the stripes of all its keys must be held. Nothing waits for the disk while it
 * holds a stripe.
 */
#ifndef WDB_STORE_STORE_H
#define WDB_STORE_STORE_H

#include "log/log.h"
#include "store/batch.h"
#include "store/keydir.h"
#include "store/ordered.h"

#define WDB_DATABASE_COUNT       16 /* logical databases */
#define WDB_STRIPE_COUNT_MAX     1024
#define WDB_STRIPE_COUNT_DEFAULT 64

struct wdb_store;

/* Non-zero ends the work with EABORTED. */
typedef int (*wdb_progress_cb)(void *context, uint64_t done, uint64_t total);

enum wdb_touch_kind {
    WDB_TOUCH_KEY,
    WDB_TOUCH_DATABASES, /* the mapping (all stripes held) */
    WDB_TOUCH_ALL,       /* everything is another state (all stripes held) */
};

struct wdb_store_options {
    struct wdb_log_options log;
    /* Of keys, secret; with it cursors of SCAN hold on every node that has the
     * same (and the same stripe_count). Without: drawn anew at each open. */
    bool has_hash_key;
    uint8_t hash_key[16];
    uint32_t stripe_count; /* power of two, 0 = 64 */
    uint32_t load_threads; /* of recovery, 0 = cores, at most 16 */
    bool verify_on_read;
    bool ordered;        /* keep a B+ tree beside the hash, of logical
                               database 0, which cannot be flushed then */
    bool merge_enabled;  /* in the background */
    double merge_ratio;  /* garbage that starts a merge of a segment: 0.5 */
    uint64_t merge_rate; /* bytes a second read + written, 0 = unlimited */
    uint64_t merge_free_space_min; /* merge earlier below this much free disk */
    bool hints;                    /* write and use hint files */
#ifdef WDB_MUTATIONS
    uint32_t mutations; /* enum wdb_store_mutation: rules broken for a test */
#endif
    /* Somebody's write (or an undo, or an expiry) touched this key; called
     * with its stripe held. For WATCH and notifications. May be NULL. */
    void (*on_touch)(void *context, enum wdb_touch_kind kind, uint32_t database,
                     uint64_t hash, struct wdb_slice key);
    void *touch_context;
};

void wdb_store_options_init(struct wdb_store_options *options);
/* Open and rebuild the keydirs (hints in parallel, then the log's tail). Errors
 * and message as wdb_log_open. */
WDB_MUST_CHECK int wdb_store_open(const struct wdb_store_options *options,
                                  struct wdb_store **out, char **message_out);
void wdb_store_close(struct wdb_store *store);
void wdb_store_abandon(struct wdb_store *store); /* as a crash would; tests */
struct wdb_log *wdb_store_log(struct wdb_store *store);
struct wdb_env *wdb_store_env(struct wdb_store *store);

/* --- hashing and locking --------------------------------------------------- */
uint64_t wdb_store_hash(const struct wdb_store *store, struct wdb_slice key);
uint32_t wdb_store_stripe_count(const struct wdb_store *store);
static inline uint32_t wdb_stripe_of(uint64_t hash, uint32_t stripe_count)
{
    return (uint32_t)hash & (stripe_count - 1);
}
void wdb_store_lock_one(struct wdb_store *store, uint32_t stripe);
void wdb_store_unlock_one(struct wdb_store *store, uint32_t stripe);
/* A set of stripes: a bit each. */
struct wdb_stripe_set {
    uint64_t bits[WDB_STRIPE_COUNT_MAX / 64];
};
void wdb_store_lock(struct wdb_store *store, const struct wdb_stripe_set *set);
void wdb_store_unlock(struct wdb_store *store,
                      const struct wdb_stripe_set *set);
void wdb_store_lock_all(struct wdb_store *store);
void wdb_store_unlock_all(struct wdb_store *store);
/* Entry index of the last write to anything in this stripe (stripe held): what
 * a reply that read it depends on. */
uint64_t wdb_store_last_write(const struct wdb_store *store, uint32_t stripe);
/* The same for the mapping of databases (any stripe held). */
uint64_t wdb_store_last_mapping(const struct wdb_store *store);

/* --- databases -------------------------------------------------------------- */
/* Id behind a logical number now (any stripe held, or inside a command). */
uint32_t wdb_store_database(const struct wdb_store *store, uint32_t number);
/* Keydir of an id; NULL while nothing was ever written to it. Valid inside the
 * epoch or while a stripe is held. */
struct wdb_keydir *wdb_store_keydir(const struct wdb_store *store, uint32_t id);
/* Emit a DATABASES record that maps number -> a fresh id for each bit of
 * `flush` (all stripes held when it is committed); or swaps two. */
WDB_MUST_CHECK int wdb_store_stage_flush(struct wdb_store *store,
                                         struct wdb_batch *batch,
                                         uint32_t flush_bits);
WDB_MUST_CHECK int wdb_store_stage_swap(struct wdb_store *store,
                                        struct wdb_batch *batch, uint32_t a,
                                        uint32_t b);

/* --- reading (stripe held) ---------------------------------------------------- */
/* What the keydir knows; expired keys are there like any other (db/ judges). */
bool wdb_store_find(const struct wdb_store *store, uint32_t database,
                    uint64_t hash, struct wdb_slice key, struct wdb_item *out);

struct wdb_value {
    struct wdb_record record;    /* slices point into log or staging memory */
    struct wdb_segment *segment; /* NULL: in memory that moves; copy it */
};
/*
 * The record behind an item, verified. The slices are valid while the stripe
 * is held and the caller is inside the log's epoch; to keep them longer, take
 * a reference on value->segment if there is one, else copy.
 * EAGAIN: not in memory, wdb_store_fetch it without the stripe, then again.
 * ECORRUPT, EIO.
 */
WDB_MUST_CHECK int wdb_store_read(struct wdb_store *store,
                                  const struct wdb_item *item,
                                  struct wdb_value *out);
/* As read, but waits for the disk if need be: for threads that may. */
WDB_MUST_CHECK int wdb_store_read_wait(struct wdb_store *store,
                                       const struct wdb_item *item,
                                       struct wdb_value *out);
struct wdb_fetch {               /* what to fetch, kept across unlocking */
    struct wdb_segment *segment; /* referenced */
    uint64_t offset;
    size_t size;
};
/* Note what an EAGAIN asks for (stripe held). False if it is in memory. */
bool wdb_store_fetch_begin(struct wdb_store *store, const struct wdb_item *item,
                           struct wdb_fetch *out);
/* Read it into the page cache; drops the reference. May wait. EIO. */
WDB_MUST_CHECK int wdb_store_fetch(struct wdb_store *store,
                                   struct wdb_fetch *fetch);
/* Position of item i of a batch that was applied while staged: reads through
 * wdb_store_read find staged records by this registration: one staging buffer
 * a thread at a time. */

/* The keys of logical database 0 in order, NULL without options.ordered: any
 * thread, no lock. What belongs to a key is asked of the store. */
struct wdb_ordered *wdb_store_ordered(const struct wdb_store *store);

/* --- collections (the stripe of the header's key is held) ------------------- */
/* Where the record of a member of an object is; read it like any other. */
bool wdb_store_find_element(struct wdb_store *store, struct wdb_object_id id,
                            struct wdb_slice member, struct wdb_item *out);
uint64_t wdb_store_element_count(struct wdb_store *store,
                                 struct wdb_object_id id);
/* Visit a bucket of elements, as wdb_keydir_scan; cursor 0 begins and ends. */
uint64_t wdb_store_scan_elements(struct wdb_store *store,
                                 struct wdb_object_id id, uint64_t cursor,
                                 wdb_keydir_cb callback, void *context);
/*
 * An id for a new object, never given out before, not even by a process that
 * crashed. Seldom waits for the disk (the background keeps ids in stock). EIO,
 * ENOSPACE.
 *
 * In a batch the header (PUT with WDB_RECORD_OBJECT) stands before the elements
 * of a new object; to rename one, put the header under the new key first, then
 * delete the old key. Overwriting or deleting a header drops all elements.
 */
WDB_MUST_CHECK int wdb_store_new_object(struct wdb_store *store,
                                        struct wdb_object_id *out);

/* --- writing ------------------------------------------------------------------ */
/*
 * Append the batch as one, apply what is not applied yet, fix up what is.
 * *index_out: the entry that replies depend on. On failure everything of it
 * that was applied is undone. ENOSPACE, ETOOBIG, ENOMEM, EIO (poisoned).
 */
WDB_MUST_CHECK int wdb_store_commit(struct wdb_store *store,
                                    struct wdb_batch *batch,
                                    uint64_t *index_out);
/* Apply the batch's new records at staged positions, so that the next command
 * of a transaction sees them; undone by wdb_store_rollback or a failing commit.
 * All stripes of the transaction stay held until then. ENOMEM. */
WDB_MUST_CHECK int wdb_store_stage(struct wdb_store *store,
                                   struct wdb_batch *batch);
void wdb_store_rollback(struct wdb_store *store, struct wdb_batch *batch);

/*
 * The follower's path: apply the records of the entry with this index, which is
 * in the log's file. One thread, entry after entry, none twice (unless it was
 * reverted). The entry takes effect as a whole: nobody who holds a stripe sees
 * half of it. Barriers and changes are applied as nothing, but not passed over:
 * until all that was found at open, or came from a leader, is applied, merge
 * leaves what lies behind alone.
 *
 * An entry should be committed before it is applied (wdb_store_set_committed,
 * then this): then nothing is kept to take it back. The other order is right,
 * too, and costs an undo until the commit.
 *
 * ENOTFOUND; ECORRUPT, EIO (its bytes are damaged), ENOMEM: nothing was applied.
 */
WDB_MUST_CHECK int wdb_store_apply_entry(struct wdb_store *store,
                                         uint64_t index);
/* Undo and give up everything from entry `from` on (all stripes are taken
 * inside). Watches are touched. As wdb_log_truncate. */
WDB_MUST_CHECK int wdb_store_truncate(struct wdb_store *store, uint64_t from);
/* Take back the effects of everything from entry `from` on, but leave the
 * entries in the log: a leader that lost office. What is applied is then what
 * was before `from`; apply_entry goes on from there. All stripes are taken
 * inside; watches are touched. EINVALID if from <= committed. */
WDB_MUST_CHECK int wdb_store_revert(struct wdb_store *store, uint64_t from);
/*
 * Put a snapshot in the place of everything: the follower's end of a transfer.
 * dir is a directory that wdb_store_backup made elsewhere, whose files (all
 * durable) were fetched into a directory of our own, on the same file system.
 * Its segments get new ids and our nonce, and become ours by one replacement of
 * the manifest, which also says `base`; the old ones are deleted behind. Then
 * the keydirs are built anew. Nobody reads or writes meanwhile (the caller sees
 * to it; stripes are taken, too). The log goes on behind the snapshot's last
 * entry, everything up to there committed and durable; its generation is raised.
 * Crash: the old state or the new one, as a whole.
 *
 * The log is held and flushed; what is not committed was truncated or reverted.
 * index is at least the committed one. The files are taken out of dir, and
 * changed, whatever comes of it; what is left of dir is the caller's to remove
 * (the next open does it, too). progress: bytes that were checked, then loaded;
 * non-zero from it ends the checking with EABORTED. Not for event loops: all of
 * the snapshot is read.
 *
 * EINVALID, ECORRUPT (refused), EVERSION, ENOSPACE, ENOMEM, EIO, EBUSY: nothing
 * has changed. But if afterwards the log has failed (wdb_log_failure), which it
 * was may be told only by the next start, which finds the old state or loads
 * the new one.
 */
WDB_MUST_CHECK int wdb_store_install(struct wdb_store *store, const char *dir,
                                     uint64_t index, uint64_t term,
                                     struct wdb_slice base,
                                     wdb_progress_cb progress, void *context);
/*
 * The same in two steps. check: any thread, and the store goes on meanwhile;
 * takes the files and reads them, so it takes most of the time. switch: as
 * install, what is left of it; takes the installation over. Or drop it; before
 * the store is closed. NULL is dropped, too. The context of `progress` must live
 * until the switch is done.
 */
struct wdb_installation;
WDB_MUST_CHECK int wdb_store_install_check(
    struct wdb_store *store, const char *dir, uint64_t index, uint64_t term,
    wdb_progress_cb progress, void *context, struct wdb_installation **out);
WDB_MUST_CHECK int wdb_store_install_switch(struct wdb_installation *install,
                                            struct wdb_slice base);
void wdb_store_install_drop(struct wdb_installation *install);
/* Entries up to here are committed: their undo is freed. */
void wdb_store_set_committed(struct wdb_store *store, uint64_t index);

/* --- expiry ---------------------------------------------------------------------
 */
typedef void (*wdb_store_expired_cb)(void *context, uint32_t database,
                                     uint64_t hash, struct wdb_slice key);
/* Visit up to `limit` keys of this stripe (held) whose expiry is <= now_ms; the
 * caller stages their deletion after the visit. Returns how many. */
uint32_t wdb_store_expired(struct wdb_store *store, uint32_t stripe,
                           uint64_t now_ms, uint32_t limit,
                           wdb_store_expired_cb callback, void *context);
/* Earliest expiry of the stripe, UINT64_MAX if none (relaxed, no lock). */
uint64_t wdb_store_next_expiry(const struct wdb_store *store, uint32_t stripe);

/* --- background, merge, backup, statistics ---------------------------------- */
/* Background work as steps: (seal and sync are the log's;) hints of sealed
 * segments, merge, freeing of dropped keydirs. True if something was done.
 * Called by the store's own thread when options.log.background_thread. */
bool wdb_store_step(struct wdb_store *store);
/* Merge everything that has garbage now, to the end; waits. EBUSY if a merge
 * runs, EABORTED if paused or truncated meanwhile, ENOSPACE, EIO. */
WDB_MUST_CHECK int wdb_store_merge(struct wdb_store *store);
void wdb_store_merge_pause(struct wdb_store *store, bool paused);
/*
 * A consistent copy in a new directory, itself openable: rolls the open
 * segment, then links (or copies) sealed segments and hints, writes a manifest,
 * which says nothing of nodes and clusters. Stops at a committed index: all of
 * the log, or (with commits by hand, and if that does not come soon) what is
 * committed of it. progress may be NULL; non-zero from it aborts. EEXISTS,
 * ENOSPACE, EIO, EABORTED (also if the log is truncated meanwhile; may be tried
 * again): then the directory is removed again. Waits for the disk.
 */
WDB_MUST_CHECK int wdb_store_backup(struct wdb_store *store, const char *dir,
                                    wdb_progress_cb progress, void *context);
/* The same; *index_out (may be NULL) is the last entry that it holds. */
WDB_MUST_CHECK int wdb_store_backup_to(struct wdb_store *store, const char *dir,
                                       wdb_progress_cb progress, void *context,
                                       uint64_t *index_out);

struct wdb_store_stats {
    struct wdb_log_stats log;
    uint64_t key_count, expiry_count;
    uint64_t keydir_memory, heap_memory, undo_memory, ordered_memory;
    uint64_t bytes_live, bytes_dead, bytes_reclaimable;
    bool merge_running, merge_paused;
    uint64_t merge_count, merge_done_bytes, merge_total_bytes;
    uint64_t merge_duration_ms; /* of the one that runs, so far */
    uint64_t merge_last_ms, merge_last_duration_ms, merge_last_freed;
    int merge_last_error;
    uint64_t load_duration_ms, load_hint_count, load_scan_count;
    uint64_t cold_read_count, cold_read_ns;
};
void wdb_store_stats(struct wdb_store *store, struct wdb_store_stats *out);

#endif
