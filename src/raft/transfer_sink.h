/*
 * transfer_sink.h - the follower's end of a snapshot transfer.
 *
 *          OFFER                          durable, checked
 *   IDLE ─────────► LISTING ──► FETCHING ─────────────► DONE ── reset ──► IDLE
 *     ▲                │            │
 *     │                ▼            ▼
 *     └── OFFER ◄── FAILED (ENOSPACE, EIO, ECORRUPT)
 *
 * Pieces are fetched in the order of files and offsets, up to
 * WDB_TRANSFER_OUTSTANDING at a time, checked, and written by jobs to
 * `<dir>/incoming/`. A piece that does not come is asked for again: after a
 * timeout, whatever became of the connection. OFFERs of the same snapshot change
 * nothing; another one starts afresh. Nothing of it survives the process: the
 * next open of the database deletes the directory.
 *
 * Owner's thread, all of it.
 */
#ifndef WDB_RAFT_TRANSFER_SINK_H
#define WDB_RAFT_TRANSFER_SINK_H

#include "base/logger.h"
#include "env/env.h"
#include "raft/transfer.h"
#include "store/store.h"

struct wdb_transfer_sink;

enum wdb_transfer_sink_state {
    WDB_SINK_IDLE,
    WDB_SINK_CLEARING, /* what an earlier transfer left is being removed */
    WDB_SINK_LISTING,
    WDB_SINK_FETCHING,
    WDB_SINK_SYNCING,  /* all is there */
    WDB_SINK_CHECKING, /* and durable: a job reads all of it */
    WDB_SINK_DONE,     /* to be installed, then reset */
    WDB_SINK_FAILED,   /* see its error; OFFERs some seconds later try again */
};

struct wdb_transfer_sink_options {
    struct wdb_transfer_owner owner; /* copied */
    struct wdb_env *env;
    const char *dir; /* of the database */
    /* Which is to hold the snapshot; stays open until `gone` is called. NULL: it
     * is not checked here. */
    struct wdb_store *store;
    const struct wdb_logger *logger;
    uint32_t timeout_ms; /* until a FETCH is repeated; 0: 2,000 */
#ifdef WDB_MUTATIONS
    uint32_t mutations; /* rules to break: raft/mutations.h */
#endif
};

/* ENOMEM, ETOOBIG. */
WDB_MUST_CHECK int wdb_transfer_sink_new(
    const struct wdb_transfer_sink_options *options,
    struct wdb_transfer_sink **out);
/* As wdb_transfer_source_stop; the directory is removed, too. */
void wdb_transfer_sink_stop(struct wdb_transfer_sink *sink,
                            void (*gone)(void *context), void *context);

/* OFFER, PIECE or FETCH_FAILED, from this peer, the leader as far as the owner
 * knows. What does not belong to the transfer is dropped. An OFFER is ignored
 * while another snapshot is DONE (being installed). FETCH_FAILED ends the
 * transfer: IDLE. */
void wdb_transfer_sink_receive(struct wdb_transfer_sink *sink, wdb_node_id from,
                               const struct wdb_message *message);
/* As wdb_transfer_source_run. */
uint64_t wdb_transfer_sink_run(struct wdb_transfer_sink *sink);

enum wdb_transfer_sink_state wdb_transfer_sink_state(
    const struct wdb_transfer_sink *sink);
/* Why it FAILED: ENOSPACE, EIO, ECORRUPT, ENOMEM. */
int wdb_transfer_sink_error(const struct wdb_transfer_sink *sink);

/* What was offered: valid from the OFFER (state LISTING) until reset; base from
 * FETCHING on. */
struct wdb_transfer_snapshot {
    wdb_node_id from;
    uint64_t number;
    uint64_t index, term;  /* of the last entry in it */
    const char *dir;       /* where it is: for wdb_store_install */
    struct wdb_slice base; /* what the source's owner said of it */
};
void wdb_transfer_sink_snapshot(const struct wdb_transfer_sink *sink,
                                struct wdb_transfer_snapshot *out);
/* DONE, with a store: what was checked, for wdb_store_install_switch (or drop);
 * it is the caller's then. NULL if it was taken already. */
struct wdb_installation *wdb_transfer_sink_take(struct wdb_transfer_sink *sink);
/* It is installed, or not wanted: remove what is left of it; IDLE. */
void wdb_transfer_sink_reset(struct wdb_transfer_sink *sink);
void wdb_transfer_sink_progress(const struct wdb_transfer_sink *sink,
                                struct wdb_transfer_progress *out);

#endif
