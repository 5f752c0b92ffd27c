/*
 * transfer_source.h - the leader's end of a snapshot transfer to one peer.
 *
 *   MAKING ──► MADE ── set_base ──► READY ── receive(FETCH) ... ── stop ──► gone
 *      │                              │
 *      └──────────► FAILED ◄──────────┘
 *
 * A new source makes `<dir>/.transfer-<number>` by a backup: links to sealed
 * segments, so it costs no space as long as merge leaves these alone, and keeps
 * them alive by itself, whatever merge does. Then the owner says what of Raft
 * belongs to that index (base), and OFFERs it, again and again until the peer's
 * match passes it or the sink says something: an OFFER that is lost is not
 * repeated by the source.
 *
 * Owner's thread, all of it.
 */
#ifndef WDB_RAFT_TRANSFER_SOURCE_H
#define WDB_RAFT_TRANSFER_SOURCE_H

#include "base/logger.h"
#include "raft/transfer.h"
#include "store/store.h"

struct wdb_transfer_source;

enum wdb_transfer_source_state {
    WDB_SOURCE_MAKING, /* a job makes the directory */
    WDB_SOURCE_MADE,   /* waits for set_base */
    WDB_SOURCE_READY,  /* serves FETCHes */
    WDB_SOURCE_FAILED, /* see its error; to be stopped */
};

struct wdb_transfer_source_options {
    struct wdb_transfer_owner owner; /* copied */
    struct wdb_store *store;         /* stays open until `gone` is called */
    const struct wdb_logger *logger;
    /* Of the snapshot. Unlike all others that the sink may have heard of: let
     * it be random, or hold the term. */
    uint64_t number;
    uint64_t rate; /* bytes a second; 0: no limit */
};

/* Begins with the first job at once. ENOMEM. */
WDB_MUST_CHECK int wdb_transfer_source_new(
    const struct wdb_transfer_source_options *options,
    struct wdb_transfer_source **out);
/*
 * No FETCH is answered any more; when the last job is through, the directory is
 * removed, the memory freed, and gone(context) called (it may be NULL). Not
 * inside of this call.
 */
void wdb_transfer_source_stop(struct wdb_transfer_source *source,
                              void (*gone)(void *context), void *context);

enum wdb_transfer_source_state wdb_transfer_source_state(
    const struct wdb_transfer_source *source);
/* Why it FAILED: EABORTED (the log was truncated, or a commit did not come: try
 * again), ENOSPACE, EIO, ENOMEM. */
int wdb_transfer_source_error(const struct wdb_transfer_source *source);
uint64_t wdb_transfer_source_number(const struct wdb_transfer_source *source);
/* From MADE on: the last entry that the snapshot has, and its term. The log
 * from the entry behind it on should be retained until the peer has it. */
uint64_t wdb_transfer_source_index(const struct wdb_transfer_source *source);
uint64_t wdb_transfer_source_term(const struct wdb_transfer_source *source);
/* MADE: what the sink's owner needs to know of that index (its configuration,
 * state hash...), opaque here; then it is READY. ENOMEM, ETOOBIG. */
WDB_MUST_CHECK int wdb_transfer_source_set_base(
    struct wdb_transfer_source *source, struct wdb_slice base);
/* READY: the OFFER that speaks of it; `to` and `term` are the owner's. */
void wdb_transfer_source_offer(const struct wdb_transfer_source *source,
                               struct wdb_message *out);

/*
 * A FETCH from the peer. Another snapshot's, or one in another state than READY,
 * is answered with FETCH_FAILED; the owner does that itself, with
 * wdb_transfer_refuse, when it has no source at all.
 */
void wdb_transfer_source_receive(struct wdb_transfer_source *source,
                                 const struct wdb_message *fetch);
/* The FETCH_FAILED that answers this FETCH. */
void wdb_transfer_refuse(const struct wdb_message *fetch,
                         struct wdb_message *out);
/* Send what is ready and may go out now. Call when on_work was called, when
 * the channel is writable again, and at the time (ns) that it returns;
 * UINT64_MAX: nothing is due. */
uint64_t wdb_transfer_source_run(struct wdb_transfer_source *source);
/* Bytes a second from now on; 0: no limit. */
void wdb_transfer_source_set_rate(struct wdb_transfer_source *source,
                                  uint64_t rate);
void wdb_transfer_source_progress(const struct wdb_transfer_source *source,
                                  struct wdb_transfer_progress *out);
/* When the last FETCH came (ns), or it became READY: a peer that has been silent
 * for long may be given up. */
uint64_t wdb_transfer_source_heard_ns(const struct wdb_transfer_source *source);

#endif
