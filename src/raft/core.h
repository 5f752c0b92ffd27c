/*
 * core.h - the consensus core: libraft's raft_step behind a small interface.
 *
 * core.c and core_receive.c alone know libraft; what they guard against is
 * numbered in core.c. The core holds no entries: only which term each index has.
 * It decides; the owner (raft.c) stores, sends and applies, through the callbacks
 * below, which come in this order for one event:
 *
 *   1. store_vote     term and vote must be durable before all that follows
 *   2. role_changed
 *   3. append, or append_barrier
 *   4. send           messages
 *   5. committed
 *
 * Callbacks must not call back into the core. One thread at a time. Times are
 * milliseconds of a monotonic clock.
 */
#ifndef WDB_RAFT_CORE_H
#define WDB_RAFT_CORE_H

#include "raft/peer.h"

struct wdb_core;

enum wdb_core_role {
    WDB_CORE_FOLLOWER,
    WDB_CORE_CANDIDATE,
    WDB_CORE_LEADER,
};

/* An entry as the core sees it. */
struct wdb_core_entry {
    uint64_t term;
    enum wdb_entry_type type;
    const struct wdb_members *members; /* of a CHANGE */
};

struct wdb_core_callbacks {
    /* Make it durable. Non-zero: the core must not be used any more. */
    int (*store_vote)(void *context, uint64_t term, wdb_node_id voted_for);
    void (*role_changed)(void *context, enum wdb_core_role from,
                         enum wdb_core_role to);
    /*
     * A follower took entries of the message that is being received: those from
     * `index` on, `count` of them. Truncate the log at index if it is longer,
     * then append. Non-zero as above.
     */
    int (*append)(void *context, uint64_t index, uint32_t count);
    /* A new leader's first entry, of the current term. Non-zero as above. */
    int (*append_barrier)(void *context, uint64_t index);
    /* An APPEND has no payload yet: entry_count entries behind previous_index
     * are to be sent. message->term is set. */
    void (*send)(void *context, wdb_node_id to,
                 const struct wdb_message *message);
    void (*committed)(void *context, uint64_t index);
};

struct wdb_core_options {
    wdb_node_id self;
    uint32_t election_timeout_ms, heartbeat_ms;
    uint32_t seed;
    uint64_t now_ms;
    const struct wdb_core_callbacks *callbacks;
    void *context;
#ifdef WDB_MUTATIONS
    uint32_t mutations;
#endif
};

/* What a node that was a member before begins with. */
struct wdb_core_start {
    uint64_t term;
    wdb_node_id voted_for;
    /* Committed up to here; index 0: nothing (a node that never was in a
     * cluster), then there are no entries. */
    uint64_t base_index, base_term, members_index;
    const struct wdb_members *members;
    /* All entries of the log from first_index (<= base_index + 1) on. */
    uint64_t first_index;
    uint32_t entry_count;
    const struct wdb_core_entry *entries;
};

/* ENOMEM. */
WDB_MUST_CHECK int wdb_core_new(const struct wdb_core_options *options,
                                struct wdb_core **out);
void wdb_core_free(struct wdb_core *core);
/* First event. A sole voter is leader at once, in a new term. Errors here and
 * below: ENOMEM, EIO (a callback failed), EABORTED (the history of a peer
 * contradicts what is committed here): the core must not be used any more. */
WDB_MUST_CHECK int wdb_core_start(struct wdb_core *core,
                                  const struct wdb_core_start *start);
/* When to call tick at the latest. */
uint64_t wdb_core_deadline_ms(const struct wdb_core *core);
WDB_MUST_CHECK int wdb_core_tick(struct wdb_core *core, uint64_t now_ms);
/* A message of kind VOTE .. TIMEOUT_NOW from a peer; others are not for the
 * core. Whatever could do harm is dropped; *why_out then says why (static
 * text; else NULL). */
WDB_MUST_CHECK int wdb_core_receive(struct wdb_core *core, uint64_t now_ms,
                                    wdb_node_id from,
                                    const struct wdb_message *message,
                                    const char **why_out);
/* Entries up to index are durable; nothing if that is known, or if the core has
 * not so many. */
WDB_MUST_CHECK int wdb_core_persisted(struct wdb_core *core, uint64_t now_ms,
                                      uint64_t index);
/* Leader: count entries behind the last one are in the log: all COMMANDs of the
 * current term, or one CHANGE or BARRIER. */
WDB_MUST_CHECK int wdb_core_submit(struct wdb_core *core, uint64_t now_ms,
                                   uint32_t count,
                                   const struct wdb_core_entry *entry);
/* Up to index (committed, with that term) nothing needs the log any more, but
 * `trailing` entries before that are still there for peers. */
WDB_MUST_CHECK int wdb_core_compacted(struct wdb_core *core, uint64_t now_ms,
                                      const struct wdb_raft_base *base,
                                      uint32_t trailing);
/* A snapshot from this leader is installed: the log now begins behind it. */
WDB_MUST_CHECK int wdb_core_installed(struct wdb_core *core, uint64_t now_ms,
                                      wdb_node_id leader,
                                      const struct wdb_raft_base *base);
/* Hand leadership over (0: to whom seems best). EBUSY, ENOTLEADER, ENOTFOUND
 * are harmless. */
WDB_MUST_CHECK int wdb_core_transfer(struct wdb_core *core, uint64_t now_ms,
                                     wdb_node_id to);

enum wdb_core_role wdb_core_role(const struct wdb_core *core);
uint64_t wdb_core_term(const struct wdb_core *core);
wdb_node_id wdb_core_voted_for(const struct wdb_core *core);
/* Whom it believes to be the leader, 0: nobody. */
wdb_node_id wdb_core_leader(const struct wdb_core *core);
uint64_t wdb_core_index_last(const struct wdb_core *core);
uint64_t wdb_core_index_committed(const struct wdb_core *core);
uint64_t wdb_core_index_stored(const struct wdb_core *core);
/* Of the CHANGE that is in effect, as the core sees it. */
uint64_t wdb_core_index_members(const struct wdb_core *core);
/* Leader: up to where this member is known to have the log; 0: unknown. */
uint64_t wdb_core_match(const struct wdb_core *core, wdb_node_id id);
bool wdb_core_can_change(const struct wdb_core *core);
bool wdb_core_is_transferring(const struct wdb_core *core);
/* Are we a voter by the configuration in effect? */
bool wdb_core_is_voter(const struct wdb_core *core);

#endif
