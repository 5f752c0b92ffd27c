/*
 * merge.h - takes the garbage out of sealed segments.
 *
 *   choose   a run of neighbouring sealed segments, all of it committed
 *   copy     what is live, in the order of sequences, into merged segments
 *   settle   sync them; wait until everything that made the rest garbage is
 *            durable and committed. Truncated meanwhile: give up
 *   switch   the manifest names the outputs instead of the run
 *   move     keys that still point at an original point at its copy
 *   wait     until no undo holds an original: what was applied by then is
 *            committed. Truncated meanwhile: move again
 *   retire   unlink the originals when their last reader is gone
 *
 * Liveness. A put is live if the keydir points at it (looked up under its
 * stripe's lock, held for one record at a time). What is judged garbage because
 * of something not yet committed is right, too: the merge waits for the commit,
 * and gives up if it does not come. That is why positions that an undo holds
 * need no extra look: by `switch`, everything that was applied while the run
 * was copied is committed, so that no undo of it is left.
 *
 * Expiry. A live put whose expiry was changed by an EXPIRE record is copied
 * with the expiry that it has by now; then EXPIRE records for it inside the
 * run are not needed. Those in other segments stay: an EXPIRE record is garbage
 * only if its key is gone, or was put again later, or has another expiry. The
 * keydir goes on saying that the expiry was logged apart, so a later merge of
 * those segments keeps them. Keys that are past their time are merged like any
 * other: the leader logs their deletion (active expiry); merge judges nothing
 * by a clock.
 *
 * Tombstones. A merged segment has a clean index: all records that were dead
 * at that log index are absent. A tombstone of entry s may go if every segment
 * older than the run has a clean index of at least s: nothing is left that it
 * hides. (It is garbage at once if its key was put again.) A sweep, runs from
 * the oldest segment to the newest, drops all tombstones before it.
 *
 * Threads. Steps are serialised by merge->mutex; the background thread calls
 * wdb_merge_step, or whoever waits in wdb_store_merge does.
 */
#ifndef WDB_STORE_MERGE_H
#define WDB_STORE_MERGE_H

#include "store/merge_plan.h"
#include "store/merge_reader.h"
#include "store/merge_writer.h"
#include "store/mutations.h"
#include "store/store_internal.h"

enum wdb_merge_phase {
    WDB_MERGE_IDLE,
    WDB_MERGE_COPY,
    WDB_MERGE_SETTLE,
    WDB_MERGE_MOVE,
    WDB_MERGE_WAIT,
    WDB_MERGE_STUCK, /* outputs could not be read back: no merges any more */
};

struct wdb_merge {
    struct wdb_store *store;
    pthread_mutex_t mutex;
    enum wdb_merge_phase phase;
    atomic_bool paused;
    bool on_demand; /* somebody waits in wdb_store_merge */
    bool barred;    /* everything is being replaced: no merges */

    struct wdb_segment **run; /* referenced */
    size_t run_count, run_at;
    uint64_t older_clean;  /* lowest clean index of what is older */
    uint64_t index_copied; /* last entry when copying had ended */
    uint64_t index_moved;  /* the same for moving */
    uint64_t generation;   /* of the store, when the run was chosen */
    uint64_t generation_moved;
    struct wdb_merge_reader reader;
    struct wdb_merge_writer writer;
    struct wdb_merge_origins origins;
    bool moved_before; /* the outputs are walked for the second time */
    bool read_failed;  /* it was the run that could not be read */

    uint64_t *sweep; /* ids of segments to go through; malloc'ed */
    size_t sweep_count, sweep_at;
    uint64_t tombstones_known; /* what the last sweep left */

    uint64_t ready_ns; /* rate limit: not before */
    uint64_t retry_ns; /* after a failure: not before */
    _Atomic uint64_t begin_ns;

    /* statistics; any thread */
    _Atomic bool running;
    _Atomic uint64_t count, done_bytes, total_bytes;
    _Atomic uint64_t last_ms, last_duration_ms, last_freed;
    atomic_int last_error;
};

WDB_MUST_CHECK int wdb_merge_new(struct wdb_store *store);
/* A run that is not switched in yet is given up; the files that the manifest
 * does not name are removed. */
void wdb_merge_free(struct wdb_store *store);
/* Stop where it is, until this is taken back: all segments are about to be
 * replaced. Whoever waits for a merge gets EABORTED. */
void wdb_merge_bar(struct wdb_store *store, bool barred);
/* They were: forget the run. Barred. */
void wdb_merge_forget(struct wdb_store *store);
void wdb_merge_stats(struct wdb_store *store, struct wdb_store_stats *out);
/* A small step. True if something was done; *wait_ns_out (may be NULL): time
 * until the next may be due. */
bool wdb_merge_step(struct wdb_store *store, uint64_t *wait_ns_out);

/* --- merge_copy.c ----------------------------------------------------------
 */
/* Copy some records. ENOTFOUND: the run is through. Otherwise as
 * wdb_merge_writer_add and wdb_merge_reader_next. */
WDB_MUST_CHECK int wdb_merge_copy_some(struct wdb_merge *merge);
/* --- merge_move.c ----------------------------------------------------------
 */
void wdb_merge_move_begin(struct wdb_merge *merge);
/* Move some keys. ENOTFOUND: all are moved. */
WDB_MUST_CHECK int wdb_merge_move_some(struct wdb_merge *merge);
/* Broken rule, for tests: the hint of a segment without its garbage. */
WDB_MUST_CHECK int wdb_merge_hint_live_only(struct wdb_store *store,
                                            struct wdb_segment *segment);
/* --- merge_choose.c --------------------------------------------------------
 */
/* Find a run and begin with it. ENOTFOUND: nothing is worth it. ENOSPACE,
 * ENOMEM, EIO. */
WDB_MUST_CHECK int wdb_merge_choose(struct wdb_merge *merge);
/* Go through all sealed segments, oldest first, with the next runs. ENOMEM. */
WDB_MUST_CHECK int wdb_merge_begin_sweep(struct wdb_merge *merge);

#endif
