/*
 * log_internal.h - the parts of an open log, for the files of log/ only.
 *
 * Who may touch what, and the order in which locks are taken:
 *
 *   syncing    one sync at a time; segments' `synced`, the durable watermark
 *   catalog    the manifest and what changes it: waits for the disk
 *   writer     one write of gathered blocks at a time; segments' `written`
 *   sequencer  the hot one: open entry, head, term, next index, newest block;
 *              never held while anything waits
 *   table      the array of segments in order; the table of slots
 *   pool, disposal, lookup, wake   leaves, each for one small thing
 *
 * A segment's life:
 *   prepared   in the manifest (unsealed), empty, log->next
 *   open       log->current: takes entries
 *   finished   takes none any more; size_used, index_last, last_crc are set
 *   sealed     synced, and the manifest says where it ends
 *   retired    out of the table; unlinked when the last reference goes
 */
#ifndef WDB_LOG_LOG_INTERNAL_H
#define WDB_LOG_LOG_INTERNAL_H

#include <pthread.h>

#include "base/assert.h"
#include "log/log.h"
#include "log/mutations.h"
#include "log/residency.h"

#define WDB_BLOCK_SIZE ((size_t)256 << 10)
/* An entry closes when its payload reaches this, so that peers get messages
 * of a bounded size. One batch may be larger. */
#define WDB_ENTRY_PAYLOAD_SOFT_MAX ((uint64_t)1 << 20)
/* Finished segments that may wait for their sync before appends wait. */
#define WDB_UNSEALED_MAX     4
#define WDB_LOG_FAILURE_SIZE 512

/* Memory that covers a run of the log's bytes, [offset, offset + used) of a
 * segment. Blocks follow each other without gaps. */
struct wdb_block {
    struct wdb_segment *segment;
    uint64_t offset;
    size_t used;     /* under sequencer; final once there is a newer block */
    size_t written;  /* under writer: bytes of it that are in the file */
    size_t capacity; /* of data */
    struct wdb_block *newer;           /* under sequencer */
    _Atomic(struct wdb_block *) older; /* NULL: all before it is written */
    struct wdb_epoch_retired retired;
    struct wdb_log *log;
    struct wdb_block *pool_next;
    uint8_t data[] __attribute__((aligned(16)));
};

/* The entry that takes batches now. Its headers' place is reserved. */
struct wdb_open_entry {
    bool is_open;
    uint8_t *headers; /* in a block */
    uint64_t offset;  /* of the frame in its segment */
    uint64_t payload_size;
    uint32_t record_count;
    uint32_t payload_crc;
};

/* A leaf of the table of slots. */
#define WDB_SLOTS_SIZE 1024
struct wdb_slots {
    _Atomic(struct wdb_segment *) items[WDB_SLOTS_SIZE];
};

struct wdb_log {
    struct wdb_log_options options;
    struct wdb_env *env;
    char *dir;
    struct wdb_epoch *epoch;
    struct wdb_file *lock_file; /* NULL: read-only without a LOCK */
    uint64_t nonce;
    struct wdb_residency_clock residency_clock;

    /* --- sequencer ------------------------------------------------------- */
    WDB_ALIGN_CACHE pthread_mutex_t sequencer;
    struct wdb_segment *current; /* NULL: read-only */
    uint64_t head;               /* end of what was given out in current */
    struct wdb_open_entry entry;
    uint32_t last_crc; /* of the last closed frame */
    uint64_t term;
    uint64_t index_closed;
    struct wdb_segment *next; /* prepared, or NULL */
    bool stopping;            /* no appends any more */
    _Atomic bool held;        /* no batches for now: changes under sequencer */
    uint64_t entry_count, batch_count;
    _Atomic(struct wdb_block *) newest;
    _Atomic uint64_t index_last;     /* with the open entry */
    _Atomic uint64_t index_foreign;  /* wdb_log_index_foreign */
    _Atomic uint64_t bytes_gathered; /* ever; blocks' used in all */

    /* --- writer ---------------------------------------------------------- */
    WDB_ALIGN_CACHE pthread_mutex_t writer;
    pthread_mutex_t prefill_lock; /* held while zeros are being written */
    struct wdb_block *oldest;
    struct wdb_segment *prefilling; /* zeros are being written to this one, */
    uint64_t prefill_from, prefill_to; /* here: writes must wait */
    _Atomic uint64_t flush_count;
    _Atomic uint64_t bytes_written; /* of bytes_gathered */
    _Atomic uint64_t batches_written;
    _Atomic uint64_t appended;

    /* --- watermarks and state, any thread -------------------------------- */
    WDB_ALIGN_CACHE _Atomic uint64_t durable;
    _Atomic uint64_t committed; /* with manual_commit */
    _Atomic uint64_t retained;
    _Atomic uint64_t time_ms; /* last logged or given out */
    _Atomic uint64_t generation;
    _Atomic int failure;
    atomic_int failure_state; /* 0: none, 1: being set, 2: to tell, 3: told */
    char failure_message[WDB_LOG_FAILURE_SIZE];
    _Atomic bool full;
    _Atomic uint64_t prepare_failed_ns;
    _Atomic int policy;              /* enum wdb_sync_policy */
    _Atomic uint32_t unsealed_count; /* finished, not sealed */

    /* --- syncing --------------------------------------------------------- */
    pthread_mutex_t syncing;
    _Atomic uint64_t last_sync_ns;  /* when it began */
    _Atomic uint64_t bytes_synced;  /* bytes_written then */
    uint64_t batches_synced;        /* batches_written then; step's own */
    _Atomic uint64_t hold_until_ns; /* with ALWAYS: the next waits until then */
    _Atomic uint64_t sync_count, sync_ns_total, sync_ns_last, sync_ns_max;

    /* --- catalog --------------------------------------------------------- */
    pthread_mutex_t catalog;
    struct wdb_manifest manifest; /* as on disk; segments as in `order` */
    _Atomic uint64_t object_counter;
    struct wdb_slice base; /* a copy of manifest.raft; malloc'ed */
    _Atomic bool cluster;  /* manifest.cluster */

    /* --- table ----------------------------------------------------------- */
    pthread_mutex_t table;
    struct wdb_segment **order; /* in the manifest's order */
    size_t order_count, order_capacity;
    uint32_t slot_hint;
    /* By slot: leaves are made when needed, and stay. */
    _Atomic(struct wdb_slots *) slots[WDB_SLOT_COUNT_MAX / WDB_SLOTS_SIZE];

    pthread_mutex_t pool_lock;
    struct wdb_block *pool;
    size_t pool_count;

    pthread_mutex_t disposal_lock;
    struct wdb_segment *disposed; /* no references left; to be closed */
    atomic_size_t segments_open;

    pthread_mutex_t lookup; /* segments' marks */

    /* --- background thread ------------------------------------------------ */
    pthread_mutex_t wake_lock;
    pthread_cond_t wake;
    atomic_bool sleeping;
    bool wake_asked, thread_stop, thread_runs;
    pthread_t thread;
};

/* --- log.c ----------------------------------------------------------------- */

/* Poison the log: `what` failed with `error` on this segment's file (or the
 * manifest, if NULL). Only the first call counts. Always returns EIO. */
int wdb_log_fail(struct wdb_log *log, int error, const char *what,
                 const struct wdb_segment *segment);
/* Call on_failure if it was not told yet; the caller holds no lock. Returns
 * rc. */
int wdb_log_tell_failure(struct wdb_log *log, int rc);
/* 0, EIO, ECLOSED, EREADONLY: may anything be appended? Under sequencer. */
int wdb_log_appendable(const struct wdb_log *log);

/* --- segment.c ------------------------------------------------------------- */

/* "dir/<name>" of a segment's file; ETOOBIG. */
int wdb_segment_path(const struct wdb_log *log, uint64_t id,
                     enum wdb_segment_kind kind, char out[WDB_PATH_SIZE_MAX]);
/* Make the file: allocate, write and sync header and name, map. No slot yet.
 * On failure no file is left. ENOSPACE, EIO, ENOMEM. */
WDB_MUST_CHECK int wdb_segment_create(struct wdb_log *log, uint64_t id,
                                      enum wdb_segment_kind kind, uint64_t size,
                                      struct wdb_segment **out);
/* Open and map the file that the manifest describes. ECORRUPT (*text_out is a
 * static text that says why), ENOTFOUND, EIO, EVERSION, ENOMEM. */
WDB_MUST_CHECK int wdb_segment_open(struct wdb_log *log,
                                    const struct wdb_manifest_segment *m,
                                    struct wdb_segment **out,
                                    const char **text_out);
/* Unmap, close, unlink if doomed, free. Nobody looks at it any more. */
void wdb_segment_close(struct wdb_segment *segment);
/* Close all segments that lost their last reference. True if any. */
bool wdb_log_dispose(struct wdb_log *log);
/* Note that an entry begins here, for lookups. Entries come in order. */
void wdb_segment_mark(struct wdb_segment *segment, uint64_t index,
                      uint64_t offset);

/* --- gather.c -------------------------------------------------------------- */

/* The newest block with room for `size` bytes at head; a new one if need be.
 * ENOMEM. Under sequencer. */
WDB_MUST_CHECK int wdb_gather_room(struct wdb_log *log, size_t size,
                                   struct wdb_block **out);
/* Make the first block, at head of current. */
WDB_MUST_CHECK int wdb_gather_init(struct wdb_log *log);
/* Free all blocks; no reader is left. */
void wdb_gather_release(struct wdb_log *log);
/* Retire blocks older than `last`, all of which are written. Under writer. */
void wdb_gather_retire(struct wdb_log *log, struct wdb_block *last);

/* --- sequencer.c ----------------------------------------------------------- */

/* Close the open entry, if there is one. Under sequencer. */
void wdb_sequencer_close_entry(struct wdb_log *log);
/* Let the prepared segment take over; the open one is finished. Under
 * sequencer; log->next is there. */
void wdb_sequencer_roll(struct wdb_log *log);

/* --- flush.c --------------------------------------------------------------- */

/* Close the open entry and write everything. Under writer. EIO. */
WDB_MUST_CHECK int wdb_flush_locked(struct wdb_log *log);
/* Write zeros ahead of the write position, if wanted. True if any. */
bool wdb_flush_prefill(struct wdb_log *log);

/* --- sync.c ---------------------------------------------------------------- */

/* Sync what is written; with `finished_only` not the open segment. EIO. */
WDB_MUST_CHECK int wdb_sync_run(struct wdb_log *log, bool finished_only);
/* Sync and seal finished segments until at most `unsealed` are left. */
WDB_MUST_CHECK int wdb_sync_settle(struct wdb_log *log, uint32_t unsealed);
/* Something may have to be done: wake the background thread. */
void wdb_sync_wake(struct wdb_log *log);
/* The same after a flush: only if the policy wants it now. */
void wdb_sync_wake_after_flush(struct wdb_log *log);
WDB_MUST_CHECK int wdb_sync_start_thread(struct wdb_log *log);
void wdb_sync_stop_thread(struct wdb_log *log);

/* --- table.c --------------------------------------------------------------- */

/* The segment in this slot, NULL if there is none. Inside the epoch. */
static inline struct wdb_segment *wdb_slots_get(struct wdb_log *log,
                                                uint32_t slot)
{
    struct wdb_slots *leaf =
        atomic_load_explicit(&log->slots[slot / WDB_SLOTS_SIZE],
                             memory_order_acquire);
    return WDB_LIKELY(leaf != NULL)
               ? atomic_load_explicit(&leaf->items[slot % WDB_SLOTS_SIZE],
                                      memory_order_acquire)
               : NULL;
}

/* Give the segment a slot. EBUSY: none is left; ENOMEM. */
WDB_MUST_CHECK int wdb_slots_add(struct wdb_log *log,
                                 struct wdb_segment *segment);
/* Empty its slot; its reference is dropped once no reader can have it. */
void wdb_slots_remove(struct wdb_log *log, struct wdb_segment *segment);
/* Make room for `extra` more segments in `order`. Under catalog. ENOMEM. */
WDB_MUST_CHECK int wdb_slots_reserve(struct wdb_log *log, size_t extra);
/* Replace old_count segments of `order` from `at` on; there is room. Under
 * catalog. */
void wdb_slots_splice(struct wdb_log *log, size_t at, size_t old_count,
                      struct wdb_segment *const *with, size_t count);

/* --- catalog.c ------------------------------------------------------------- */

/* Make sure that a next segment with room for `size` bytes is prepared. With
 * `again`, even if it failed for want of space just now. ENOSPACE, EIO... */
WDB_MUST_CHECK int wdb_catalog_prepare(struct wdb_log *log, uint64_t size,
                                       bool again);
/* Mark what is finished and synced as sealed, durably. EIO, ENOSPACE. */
WDB_MUST_CHECK int wdb_catalog_seal(struct wdb_log *log);
/* Store a changed copy of the manifest and make it the log's. On failure the
 * copy is released and nothing changed; EIO poisons. Under catalog. */
WDB_MUST_CHECK int wdb_catalog_store(struct wdb_log *log,
                                     struct wdb_manifest *changed);
/* Replace old_count segments of this manifest from `at` on. ENOMEM: it is as
 * before. */
WDB_MUST_CHECK int wdb_catalog_insert(struct wdb_manifest *m, size_t at,
                                      size_t old_count,
                                      const struct wdb_manifest_segment *with,
                                      size_t count);
/* Make a segment file and give it a slot; its id is m->segment_id_next, which
 * moves on. ENOSPACE, ENOMEM, EBUSY; EIO poisons. */
WDB_MUST_CHECK int wdb_catalog_create(struct wdb_log *log,
                                      struct wdb_manifest *m,
                                      enum wdb_segment_kind kind, uint64_t size,
                                      struct wdb_segment **out);
/* Let go of a segment that was made but is not in the order. Its file stays if
 * the manifest on disk might name it. */
void wdb_catalog_give_up(struct wdb_log *log, struct wdb_segment *segment);
/* Say in the manifest that this segment, which is finished, is sealed. */
void wdb_catalog_seal_entry(struct wdb_manifest_segment *m,
                            const struct wdb_segment *segment);
/* What the manifest should say of a new, empty, unsealed log segment. */
struct wdb_manifest_segment wdb_catalog_describe(
    const struct wdb_segment *segment);

/* --- base.c ---------------------------------------------------------------- */

/* A copy in memory of its own; NULL for an empty one. ENOMEM. */
WDB_MUST_CHECK int wdb_base_copy(struct wdb_slice base, struct wdb_slice *out);
/* Say in a copy of the manifest what set_base says. ENOMEM: it is as before. */
WDB_MUST_CHECK int wdb_base_edit(struct wdb_manifest *changed, bool cluster,
                                 struct wdb_slice base, uint64_t retained);
/* The manifest has it now: let it be the log's. `copy` is of manifest.raft, and
 * becomes the log's memory. Under catalog, or at open. */
void wdb_base_take_over(struct wdb_log *log, struct wdb_slice copy);

/* --- room.c ---------------------------------------------------------------- */

/* May the log take so many bytes of the disk? 0 or ENOSPACE. */
int wdb_room_check(struct wdb_log *log, uint64_t size);
/* Make segments smaller if the disk is small; before recovery. */
void wdb_room_fit(struct wdb_log *log);

/* --- recovery.c ------------------------------------------------------------ */

/* Read the manifest, open all segments, check and cut the tail; fills the
 * log's state. On failure *message_out may be set (malloc'ed). */
WDB_MUST_CHECK int wdb_recovery_run(struct wdb_log *log, char **message_out);

/* --- cut.c ----------------------------------------------------------------- */

/* --- scan.c ---------------------------------------------------------------- */

/* Offset of the entry with this index in a log segment, and of the one before
 * it its frame's crc (*previous_crc_out). ENOTFOUND, ECORRUPT, ENOMEM. */
WDB_MUST_CHECK int wdb_scan_find(struct wdb_log *log,
                                 struct wdb_segment *segment, uint64_t index,
                                 uint64_t *offset_out,
                                 uint32_t *previous_crc_out);

#endif
