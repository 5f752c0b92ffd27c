/*
 * log.h - the append-only log: sequencer, gather buffer, sync, watermarks.
 *
 * One lock, the sequencer, owns (term, next index, open entry). Whoever has a
 * batch appends it to the open entry in memory and learns its position; the
 * entry closes when somebody flushes, which also writes it to the file. A
 * background thread (wdb_log_step in the simulator) syncs, prepares segments
 * ahead and seals them.
 *
 * Watermarks are entry indexes and only grow (truncation excepted):
 *   appended   written to the file; survives the death of the process
 *   durable    synced; survives the death of the machine
 *   committed  the cluster's majority has it; standalone: = appended
 *   retained   entries from here on must stay readable for peers
 *
 * Threads: any, unless said otherwise. Nothing here calls upwards except the
 * callbacks of the options, which must not call back into the log.
 */
#ifndef WDB_LOG_LOG_H
#define WDB_LOG_LOG_H

#include "base/logger.h"
#include "log/manifest.h"
#include "log/segment.h"

enum wdb_sync_policy {
    WDB_SYNC_NEVER,    /* the system decides */
    WDB_SYNC_INTERVAL, /* every sync_interval_ms, or after sync_bytes */
    WDB_SYNC_ALWAYS,   /* group commit: as soon as something is written */
};

struct wdb_log;

struct wdb_log_options {
    struct wdb_env *env;
    const char *dir; /* must exist unless create */
    const struct wdb_logger *logger;
    bool create; /* make an empty database if there is none */
    /* Nothing on the disk changes; appends say EREADONLY. If there is a LOCK
     * file it is taken all the same (and shows our pid): a writer would change
     * what is being read. Without one, or on a medium that cannot be written
     * to, there is no lock. */
    bool read_only;
    bool background_thread; /* false: the owner calls wdb_log_step */
    bool manual_commit;     /* committed moves only by wdb_log_set_committed */
    bool prefill;           /* write zeros ahead even without ALWAYS */
    uint64_t segment_size;
    uint64_t batch_size_max;
    uint64_t unwritten_size_max; /* gathered bytes before append flushes */
    uint64_t reserve_size; /* of the last segment, for deletes when full */
    bool leave_room; /* for merges, and smaller segments on a small disk */
    enum wdb_sync_policy sync_policy;
    uint32_t sync_interval_ms;
    uint64_t sync_bytes; /* 0 = no limit */
#ifdef WDB_MUTATIONS
    uint32_t mutations; /* rules to break: log/mutations.h */
#endif
    /* Called by the thread that moved it, holding no lock. May be NULL. */
    void (*on_durable)(void *context, uint64_t index);
    /* The same for `appended`: whoever flushed (it may hold locks of its own,
     * stripes among them). Calls of two threads may come in any order: the
     * highest counts, up to wdb_log_appended. May be NULL. */
    void (*on_appended)(void *context, uint64_t index);
    /* A write or sync failed; the log is poisoned. Called once. May be NULL */
    void (*on_failure)(void *context, int error, const char *message);
    /* Progress of recovery (bytes done, bytes in all). May be NULL. */
    void (*on_progress)(void *context, uint64_t done, uint64_t total);
    void *context;
};

/* Defaults: 256 MiB segments, INTERVAL of 1,000 ms, thread on. */
void wdb_log_options_init(struct wdb_log_options *options);

/*
 * Open, lock and recover: read the manifest, delete leftovers, check the
 * unsealed segments' entries (frames, chain, payloads), cut what is torn above
 * the highest durable mark, sync what was accepted. Afterwards the caller
 * replays (wdb_log_scan) and appends.
 * A directory that belongs to a cluster opens with manual_commit only, or
 * read_only, which implies it there (EMISMATCH). What `committed` begins with is
 * the highest mark that a frame, or the manifest, holds.
 * ELOCKED (message names the pid), ECORRUPT (message names file and offset),
 * EVERSION, ENOTFOUND (no database and not create), EIO, ENOSPACE, ENOMEM.
 * message_out: malloc'ed text for people or NULL; free() it. May be NULL.
 */
WDB_MUST_CHECK int wdb_log_open(const struct wdb_log_options *options,
                                struct wdb_log **out, char **message_out);
/* Flush, sync (unless NEVER or poisoned), stop the thread, free. Nobody is in
 * the epoch or has a reference on a segment any more (asserted). */
void wdb_log_close(struct wdb_log *log);
/* Stop without flushing or syncing, as a crash would: for tests. */
void wdb_log_abandon(struct wdb_log *log);

/* --- append ---------------------------------------------------------------- */

struct wdb_log_place {
    uint64_t index;        /* of the entry that it is in */
    uint32_t place;        /* of its first record in the entry */
    wdb_position position; /* of its first record; the others follow it */
};

/* What of the end of the last segment a batch may use. */
enum wdb_log_reserve {
    WDB_RESERVE_NONE,
    WDB_RESERVE_DELETES, /* it gives back more than it takes */
    WDB_RESERVE_LAST,    /* and at once: the deletion of a whole database */
};

/*
 * Append one batch: size bytes of encoded records (without sequences),
 * record_count of them. Nothing is in the file before a flush. When the open
 * segment has no room, the next one takes over.
 * ENOSPACE (no segment could be made: definitely not done, may be tried
 * again), ETOOBIG, ENOMEM, ENOTLEADER (held; not done either), EIO (poisoned),
 * ECLOSED.
 */
WDB_MUST_CHECK int wdb_log_append(struct wdb_log *log, const uint8_t *records,
                                  size_t size, uint32_t record_count,
                                  enum wdb_log_reserve reserve,
                                  struct wdb_log_place *out);
/*
 * Append an entry of its own. The open entry is closed first. Either a local
 * one, a barrier or a configuration change, whose index is 0: index, term, time
 * and checksum are filled in. Or a whole entry that came from a leader: its
 * index must be the next one; its term becomes the log's (the caller sees to it
 * that terms do not fall from one entry to the next).
 * The payload's size is a multiple of 8. Position of the payload in *out. It may
 * use the reserve: what a leader took must be followed.
 * EINVALID; others as for append.
 */
WDB_MUST_CHECK int wdb_log_append_entry(struct wdb_log *log,
                                        const struct wdb_entry_header *entry,
                                        const uint8_t *payload,
                                        struct wdb_log_place *out);
/*
 * Room for entries of so many bytes in all, headers included, the largest of
 * that size: in the open segment, and in the next one, which is made if it is
 * needed. On a full disk it may be less. Whoever appends alone can count on it.
 * Errors as for append, but not ENOSPACE.
 */
WDB_MUST_CHECK int wdb_log_entry_room(struct wdb_log *log, uint64_t all,
                                      uint64_t largest, uint64_t room_out[2]);
/* May a write of about `size` bytes begin? 0, ENOSPACE, EIO, ECLOSED. Cheap:
 * two loads. Whether batches are held is not asked. */
int wdb_log_admit(struct wdb_log *log, size_t size);
/* Close the open entry and write all closed ones to the file; concurrent
 * callers share the work. On return appended >= every index that was given
 * out before the call. EIO: the log is poisoned. */
WDB_MUST_CHECK int wdb_log_flush(struct wdb_log *log);
/* Flush and sync now; on return durable covers all that was appended before
 * the call. */
WDB_MUST_CHECK int wdb_log_sync(struct wdb_log *log);
/* True if something was appended that no flush has written yet. */
bool wdb_log_dirty(const struct wdb_log *log);

/* --- watermarks, time, term --------------------------------------------------
 */
uint64_t wdb_log_index_last(const struct wdb_log *log); /* incl. open entry */
/* The last entry of records that is not from wdb_log_append: found at open, or
 * a leader's. Whoever appends batches has applied them; these may not be. Loaded
 * after `appended`, it covers what that does. */
uint64_t wdb_log_index_foreign(const struct wdb_log *log);
uint64_t wdb_log_appended(const struct wdb_log *log);
uint64_t wdb_log_durable(const struct wdb_log *log);
uint64_t wdb_log_committed(const struct wdb_log *log);
uint64_t wdb_log_retained(const struct wdb_log *log);
void wdb_log_set_committed(struct wdb_log *log, uint64_t index);
/* Entries below may be given up to merge. Only ever raised; in memory, stored
 * with the next manifest: after a crash it may be lower again. Every entry from
 * `retained` on can be read (unless it was given up before: index_first). */
void wdb_log_set_retained(struct wdb_log *log, uint64_t index);
/* Close the open entry and use this term from now on. */
void wdb_log_set_term(struct wdb_log *log, uint64_t term);
uint64_t wdb_log_term(struct wdb_log *log);
/* max(clock, last logged time): leader time, frozen by the caller per batch */
uint64_t wdb_log_time_ms(struct wdb_log *log);
int wdb_log_set_sync_policy(struct wdb_log *log, enum wdb_sync_policy policy);
/* 0, or the error that poisoned it. */
int wdb_log_failure(const struct wdb_log *log);

/*
 * Cluster: only a leader that serves may append batches. hold(true) closes the
 * open entry; from its return on wdb_log_append says ENOTLEADER (nothing was
 * done) until hold(false). Entries of their own (append_entry) are not held.
 */
void wdb_log_hold(struct wdb_log *log, bool hold);
bool wdb_log_is_held(const struct wdb_log *log);

/*
 * What the manifest keeps for Raft (opaque here; empty: none), and whether the
 * directory belongs to a cluster. The slice is valid until the next set_base or
 * install. set_base is durable on return; it also raises `retained` to at least
 * the given index, in the same manifest, so that merge never takes what the
 * base does not stand for. EIO, ENOSPACE, ENOMEM.
 */
struct wdb_slice wdb_log_base(const struct wdb_log *log);
bool wdb_log_is_cluster(const struct wdb_log *log);
WDB_MUST_CHECK int wdb_log_set_base(struct wdb_log *log, bool cluster,
                                    struct wdb_slice base, uint64_t retained);

/*
 * Give up all entries from `from` on (an abandoned Raft suffix). The caller has
 * undone their effects; nobody appends meanwhile. Durable in the manifest on
 * return; the generation of the log is raised, so late completions of syncs
 * are told apart. EINVALID if from <= committed; EIO.
 */
WDB_MUST_CHECK int wdb_log_truncate(struct wdb_log *log, uint64_t from);
uint64_t wdb_log_generation(const struct wdb_log *log);

/* --- reading ------------------------------------------------------------------
 */
/*
 * The bytes at a position, at least as many as the record there has: in the
 * segment's mapping, or in the gather buffer. Valid while the caller holds the
 * stripe lock of a key that points there AND is inside the epoch
 * (wdb_log_epoch). *segment_out (may be NULL) is the segment if the bytes are
 * in its mapping, else NULL: they must be copied, not referenced.
 * Never NULL for a position that this log gave out and that is still live.
 */
const uint8_t *wdb_log_resolve(struct wdb_log *log, wdb_position position,
                               struct wdb_segment **segment_out);
/* Only a hint for prefetching: NULL if unknown. Needs the epoch, no lock. */
const void *wdb_log_peek(struct wdb_log *log, wdb_position position);
/* Segment in this slot, NULL if none; valid inside the epoch. */
struct wdb_segment *wdb_log_segment(struct wdb_log *log, uint32_t slot);
struct wdb_epoch *wdb_log_epoch(struct wdb_log *log);
/* True if the `size` bytes at the position can be read without the disk (see
 * residency.h). Cheap when it was asked lately. */
bool wdb_log_is_resident(struct wdb_log *log, wdb_position position,
                         size_t size);
/* Read them from the file into the page cache (and mark them resident); for a
 * thread that may wait. The caller holds a reference on the segment. EIO. */
WDB_MUST_CHECK int wdb_log_fetch(struct wdb_log *log,
                                 struct wdb_segment *segment, uint64_t offset,
                                 size_t size);

/* Called per record in order; record->index and place are set. Non-zero ends
 * the scan and is returned. */
typedef int (*wdb_log_record_cb)(void *context, const struct wdb_record *record,
                                 wdb_position position, uint64_t size);
/* The owner has read what it reads from end to end: from now on reads are at
 * random places, and the system shall not read ahead. */
void wdb_log_loaded(struct wdb_log *log);
/* All records of one segment, verified, from its first entry to its end.
 * ECORRUPT: *offset_out (may be NULL) is the bad place. */
WDB_MUST_CHECK int wdb_log_scan(struct wdb_log *log,
                                struct wdb_segment *segment,
                                wdb_log_record_cb callback, void *context,
                                uint64_t *offset_out);
/* The entry at `index` for a peer: its header and a pointer to its payload in
 * a mapping; *segment_out has a reference to drop. ENOTFOUND if it was given
 * up or is not written yet. To read one after the other is cheap. */
WDB_MUST_CHECK int wdb_log_entry(struct wdb_log *log, uint64_t index,
                                 struct wdb_entry_header *entry_out,
                                 const uint8_t **payload_out,
                                 struct wdb_segment **segment_out);
/* The same without a look at the payload: for who verifies each record of it
 * anyway. Sound are the headers. */
WDB_MUST_CHECK int wdb_log_entry_unverified(struct wdb_log *log, uint64_t index,
                                            struct wdb_entry_header *entry_out,
                                            const uint8_t **payload_out,
                                            struct wdb_segment **segment_out);

/* Its header alone: as cheap as finding it. ENOTFOUND, ECORRUPT. */
WDB_MUST_CHECK int wdb_log_entry_header(struct wdb_log *log, uint64_t index,
                                        struct wdb_entry_header *entry_out);
/* The lowest index from which on all entries are there to be read (merge took
 * those below); index_last + 1 if there is none. */
uint64_t wdb_log_index_first(struct wdb_log *log);

/* --- segments and manifest, for merge and backup --------------------------- */

/* All live segments in sequence order, each with a reference to drop; the array
 * is malloc'ed. ENOMEM. */
WDB_MUST_CHECK int wdb_log_segments(struct wdb_log *log,
                                    struct wdb_segment ***out,
                                    size_t *count_out);
/* A new merged segment to write to, `size` bytes allocated, not in the
 * manifest yet, in the table (so positions into it resolve), one reference for
 * the caller. ENOSPACE, EIO, ENOMEM, EBUSY (no slot left). */
WDB_MUST_CHECK int wdb_log_segment_create(struct wdb_log *log, uint64_t size,
                                          struct wdb_segment **out);
/* Give up a segment made above that is not in the manifest, and the caller's
 * reference. */
void wdb_log_segment_discard(struct wdb_log *log, struct wdb_segment *segment);
/*
 * Replace a run of neighbouring sealed segments by merged ones (synced, sealed
 * fields set, sorted), durably. The old ones stay mapped and in the table
 * until wdb_log_segment_retire. EIO, ENOSPACE: nothing changed.
 */
WDB_MUST_CHECK int wdb_log_replace(struct wdb_log *log,
                                   struct wdb_segment *const *old,
                                   size_t old_count,
                                   struct wdb_segment *const *merged,
                                   size_t merged_count);
/* Nothing points into it any more: out of the table, unlinked (with its hint)
 * by the background when the last reference goes. */
void wdb_log_segment_retire(struct wdb_log *log, struct wdb_segment *segment);
/* Close the open segment for entries, so that merge and backup can take it;
 * appends go on in the next one. Returns when it is sealed (synced and in the
 * manifest). Blocks: not for event loops. ENOSPACE, EIO. */
WDB_MUST_CHECK int wdb_log_roll(struct wdb_log *log);
/* Raise the durable high-water mark of object ids to at least `counter`. */
WDB_MUST_CHECK int wdb_log_reserve_objects(struct wdb_log *log,
                                           uint64_t counter);
uint64_t wdb_log_object_counter(const struct wdb_log *log);
/* What new segments have: the option, or less on a small disk. */
uint64_t wdb_log_segment_size(const struct wdb_log *log);
/* No space for the next segment: writes are refused until a merge made some. */
bool wdb_log_is_full(const struct wdb_log *log);
/* Bytes of the disk that a merge may take now: the log does not take them. */
uint64_t wdb_log_room(struct wdb_log *log);
uint64_t wdb_log_nonce(const struct wdb_log *log);
const char *wdb_log_dir(const struct wdb_log *log);

/* Run what the background thread would do next (sync if due, prepare the next
 * segment, seal, close retired ones). True if something was done. Only without
 * the thread. */
bool wdb_log_step(struct wdb_log *log);

struct wdb_log_stats {
    uint64_t segment_count, bytes_allocated, bytes_used, bytes_dead;
    uint64_t sync_count, sync_ns_total, sync_ns_last, sync_ns_max;
    uint64_t entry_count, batch_count, bytes_appended, flush_count;
    uint64_t bytes_unwritten;
    bool full; /* no room for a new segment */
};
void wdb_log_stats(struct wdb_log *log, struct wdb_log_stats *out);

#endif
