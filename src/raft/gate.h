/*
 * gate.h - what workers must know of Raft at each command: a few atomics that
 * the raft thread stores and workers load, without a call.
 *
 * The struct is part of struct wdb_raft (wdb_raft_gate). Only the raft thread
 * stores, all with at least release order, the era sequentially consistent.
 * With the log's committed index it answers the three questions of a worker:
 *
 *   may I execute a command that needs the leader?   serves
 *   may this reply go out?                           committed, round_done, era
 *   where is the leader, if not here?                leader, leader_version
 */
#ifndef WDB_RAFT_GATE_H
#define WDB_RAFT_GATE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/attributes.h"

struct wdb_raft_gate {
    /* --- these change with leaders only ---------------------------------- */

    /* Leader, its own term's entry is applied, nothing is held: commands may be
     * executed here. Stored false before the era is raised. */
    WDB_ALIGN_CACHE _Atomic bool serves;
    /* A snapshot is about to be, or being, switched in. A worker loads it inside
     * of the log's epoch, and touches no key if it is set; so once the epoch was
     * left by all who were in it when it was set, nobody does. */
    _Atomic bool is_loading;
    /*
     * Raised when the node loses office, before what is not committed is taken
     * back, and raised again when that is done: odd meanwhile. Replies that were
     * executed in another era than the one in which they could go out are lost.
     * In an odd era nothing is read here.
     */
    _Atomic uint64_t era;
    /* Who leads, 0: nobody that is known. May be this node before it serves. */
    _Atomic uint64_t leader;
    /* Raised when what wdb_raft_leader tells has changed, or serves has. */
    _Atomic uint64_t leader_version;
    /* When a leader that could serve was last known (monotonic ns); 0: one is
     * known. When the node starts: that time. */
    _Atomic uint64_t leader_seen_ns;
    /* This node; constant. */
    uint64_t self;

    /* --- these change all the time --------------------------------------- */

    /* The number of a round that begins after this load: the reply of a read
     * that was executed before may go out once round_done is at least that. */
    WDB_ALIGN_CACHE _Atomic uint64_t round;
    _Atomic uint64_t round_done;
};

static inline bool wdb_raft_gate_serves(const struct wdb_raft_gate *gate)
{
    return atomic_load_explicit(&gate->serves, memory_order_acquire);
}

static inline uint64_t wdb_raft_gate_era(const struct wdb_raft_gate *gate)
{
    return atomic_load_explicit(&gate->era, memory_order_seq_cst);
}

/* What is not committed is being taken back: nothing may be read. */
static inline bool wdb_raft_era_is_undoing(uint64_t era)
{
    return (era & 1) != 0;
}

/* Raft thread: the node loses office; appends are held already. */
static inline void wdb_raft_gate_lose(struct wdb_raft_gate *gate)
{
    atomic_store(&gate->serves, false);
    atomic_fetch_add(&gate->era, 1);
}

/* Raft thread: what was not committed is taken back. */
static inline void wdb_raft_gate_undone(struct wdb_raft_gate *gate)
{
    atomic_fetch_add(&gate->era, 1);
}

#endif
