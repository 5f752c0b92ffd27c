/*
 * raft.h - one node of a cluster: consensus (libraft) over the database's log.
 *
 *   workers ── append, flush ──► log ──► on_appended ─┐
 *   log's thread ── sync ──────────────► on_durable ──┤ wake
 *   peers (net/) ── messages ──────────────────────┐  │
 *                                                  ▼  ▼
 *                                            the raft thread: this object
 *                                                  │
 *       log: entries, truncation ◄─────────────────┤
 *       store: apply, revert, committed ◄──────────┤
 *       gate: on_gate ◄────────────────────────────┘
 *
 * One thread, the raft thread, owns the object; functions marked [raft] are
 * called by it alone. Those marked [any] read atomics, or copy under a small
 * lock. The simulator is the raft thread of all its nodes.
 *
 * While the node is leader and serves (wdb_raft_serves), commands are executed
 * at once and appended to the log by any worker; what they wrote is
 * uncommitted until the gate says so. A leader that loses office:
 *   1. forbids appends (wdb_log_hold), so serves is false;
 *   2. raises the era: replies that wait at the gate are lost from now on, and
 *      are answered with an error that says "unknown";
 *   3. gives up what the core never saw, and takes the effects of all that is
 *      not committed back (the entries stay: the next leader decides).
 * Only then is any message of another leader looked at. So whoever reads the
 * committed index and then finds the era unchanged may trust it.
 */
#ifndef WDB_RAFT_RAFT_H
#define WDB_RAFT_RAFT_H

#include "base/logger.h"
#include "db/db.h"
#include "raft/gate.h"
#include "raft/identity.h"
#include "raft/members.h"
#include "raft/peer.h"

struct wdb_raft;

enum wdb_raft_role {
    WDB_RAFT_UNJOINED, /* no cluster yet: waits to be taken in */
    WDB_RAFT_FOLLOWER,
    WDB_RAFT_CANDIDATE,
    WDB_RAFT_LEADER,
    WDB_RAFT_REMOVED, /* was a member once, and never will be again */
};
const char *wdb_raft_role_name(enum wdb_raft_role role);

#define WDB_RAFT_ELECTION_TIMEOUT_MS 400
#define WDB_RAFT_INFLIGHT_ENTRIES    4096
/* One message of entries holds at most so much, unless one entry is larger. */
#define WDB_RAFT_MESSAGE_SIZE_MAX ((size_t)1 << 20)

struct wdb_raft_options {
    struct wdb_db *db; /* opened with manual_commit; WDB_SYNC_ALWAYS */
    struct wdb_env *env;
    const struct wdb_logger *logger;
    struct wdb_identity *identity; /* who we are, term and vote; borrowed */
    const struct wdb_peers *peers; /* the transport */
    uint32_t election_timeout_ms;  /* 1 to 2 times that, drawn */
    uint32_t heartbeat_ms;         /* 0: a quarter of it */
    uint64_t uncommitted_size_max; /* more is held back, then refused */
    uint64_t retained_size;        /* log kept for peers that lag */
    uint64_t transfer_rate;        /* of snapshots under load; 0: by itself */
#ifdef WDB_MUTATIONS
    uint32_t mutations; /* rules to break: raft/mutations.h */
#endif
    /* There is work for the raft thread: let it call wdb_raft_run soon. Any
     * thread, also inside calls of this file; must not call back. */
    void (*on_work)(void *context);
    /* Replies may be able to go out, or have to be failed: the committed index,
     * the round or the era has moved, or serves has changed. Raft thread. */
    void (*on_gate)(void *context);
    /* The node cannot go on (a failed write, another history than its peers');
     * called once. Raft thread. */
    void (*on_failure)(void *context, int error, const char *message);
    void *context;
};

void wdb_raft_options_init(struct wdb_raft_options *options);

/*
 * Make the node of a database that was opened and loaded. If the log holds a
 * configuration (its raft metadata), the node takes part at once, as what it
 * was; else it waits to be taken in (UNJOINED). ENOMEM, ECORRUPT (log and
 * identity do not belong together; text for people in *message_out, malloc'ed),
 * EIO. [raft]
 */
WDB_MUST_CHECK int wdb_raft_new(const struct wdb_raft_options *options,
                                struct wdb_raft **out, char **message_out);
/* Take part no more: requests are answered, transfers end. What the transport
 * still delivers is dropped. Jobs off the loop may still end afterwards, and the
 * transport tells of each probe that is under way; free comes behind them.
 * [raft] */
void wdb_raft_stop(struct wdb_raft *raft);
/* The database is closed by its owner, afterwards. [raft], all others quiet. */
void wdb_raft_free(struct wdb_raft *raft);
/* The context of its options. */
void *wdb_raft_owner(const struct wdb_raft *raft);

/*
 * Turn a database without a cluster, empty or not, into the only member of a
 * new one: before wdb_raft_new. Writes a configuration entry and the raft
 * metadata, durably; a crash in between leaves it standalone. EEXISTS (belongs
 * to a cluster), EIO, ENOSPACE, ENOMEM.
 */
WDB_MUST_CHECK int wdb_raft_found(struct wdb_db *db,
                                  struct wdb_identity *identity,
                                  const struct wdb_member *self);

/*
 * The way back from the loss of a majority: what this node has becomes a new
 * cluster with it as the only member; the others may not come back. Entries
 * that were never committed may become so, and what only the others had is
 * lost. The database is open as a member's (manual_commit), but has no node.
 * May be repeated after a crash. ENOTFOUND (no member's), EMISMATCH (log and
 * identity), EIO, ENOSPACE, ENOMEM.
 */
WDB_MUST_CHECK int wdb_raft_force(struct wdb_db *db,
                                  struct wdb_identity *identity,
                                  const struct wdb_member *self);

/* --- [raft] ----------------------------------------------------------------- */

/* Do what there is to do; returns the monotonic time (ns) at which to call
 * again at the latest. Call after on_work, and when that time has come. */
uint64_t wdb_raft_run(struct wdb_raft *raft);
/* A message came from a peer that proved to be `from` (and to know the
 * cluster's secret). Its payload is valid during the call. Bad ones are
 * dropped, and logged. */
void wdb_raft_receive(struct wdb_raft *raft, wdb_node_id from,
                      const struct wdb_message *message);
/* The peer can take messages of this channel again. */
void wdb_raft_writable(struct wdb_raft *raft, wdb_node_id peer,
                       enum wdb_peer_channel channel);
/* A connection to or from the peer came up or broke. */
void wdb_raft_connected(struct wdb_raft *raft, wdb_node_id peer,
                        bool is_connected);
/* Has the cluster removed this node, by a configuration that is committed? */
bool wdb_raft_is_removed(const struct wdb_raft *raft, wdb_node_id id);
/* A peer that proved to know the secret says that we were removed: the entry
 * itself may never reach us. */
void wdb_raft_told_removed(struct wdb_raft *raft, wdb_node_id by);
/* A node of another cluster, with our secret, has our address in its list of
 * members, for a node that was here before. Alone in our own cluster we are what
 * was made of an emptied disk: fails the node, for good. */
void wdb_raft_told_other_cluster(struct wdb_raft *raft, wdb_node_id by,
                                 uint64_t cluster_id);

/* --- executing and the gate: [any] --------------------------------------------- */

/* What the functions below load, for who asks at each command: gate.h. Constant
 * as long as the object lives. */
struct wdb_raft_gate *wdb_raft_gate(struct wdb_raft *raft);
/* True: leader, its own term's entry is applied, nothing held: commands may be
 * executed here. May be false by the time they append; then the append says
 * ENOTLEADER, and nothing was done. */
bool wdb_raft_serves(const struct wdb_raft *raft);
/* Raised each time that the node loses office. Load it AFTER the committed
 * index (wdb_log_committed) and the round; if it has changed since the replies
 * were executed, they are lost. */
uint64_t wdb_raft_era(const struct wdb_raft *raft);
/* Number of the round that will tell a read executed until now that no other
 * leader was there when it was: the reply waits until round_done is at least
 * that. Cheap; the round itself is begun by the next wdb_raft_run, which the
 * caller asks for with wdb_raft_ask_round behind a run of commands. */
uint64_t wdb_raft_round(const struct wdb_raft *raft);
uint64_t wdb_raft_round_done(const struct wdb_raft *raft);
void wdb_raft_ask_round(struct wdb_raft *raft);
/* May a write of about `size` bytes begin? 0; EBUSY: too much is uncommitted,
 * hold it. */
int wdb_raft_admit(const struct wdb_raft *raft, size_t size);
/* A snapshot is being switched in: nothing may be read here (LOADING). */
bool wdb_raft_is_loading(const struct wdb_raft *raft);
/* When the node last knew of a leader that could serve (monotonic ns), now if
 * there is one: how long requests have been held. */
uint64_t wdb_raft_leader_seen_ns(const struct wdb_raft *raft);

/* --- status: [any] ----------------------------------------------------------------- */

struct wdb_raft_leader {
    wdb_node_id id; /* 0: none is known */
    bool is_self;
    uint64_t term;
    char name[WDB_MEMBER_NAME_MAX + 1];
    char raft_address[WDB_MEMBER_ADDRESS_MAX + 1];
    char tcp_address[WDB_MEMBER_ADDRESS_MAX + 1];
};
/* Changes with wdb_raft_leader_version, which is cheap to poll. */
void wdb_raft_leader(const struct wdb_raft *raft, struct wdb_raft_leader *out);
uint64_t wdb_raft_leader_version(const struct wdb_raft *raft);

struct wdb_raft_peer_status {
    struct wdb_member member;
    bool is_self, is_connected;
    uint64_t match_index;    /* leader only; 0: unknown */
    uint64_t lag;            /* entries behind the last one; leader only */
    int64_t last_contact_ms; /* ago; -1: never */
    bool transfer_running;   /* of a snapshot to (or, self: by) it */
    uint64_t transfer_done, transfer_total; /* bytes */
    uint64_t transfer_rate;                 /* bytes a second */
};

struct wdb_raft_status {
    enum wdb_raft_role role;
    bool serves, is_loading, is_transferring; /* leadership */
    uint64_t term, era;
    wdb_node_id self, voted_for;
    uint64_t cluster_id;
    uint64_t index_last, index_durable, index_committed, index_applied;
    uint64_t index_retained, snapshot_index;
    uint64_t state_hash; /* over the committed entries up to index_committed */
    uint64_t uncommitted_size;
    uint64_t elections, terms_led, rounds, leader_changes;
    uint64_t truncations, snapshots_sent, snapshots_installed;
    uint64_t configuration_index;
    bool configuration_pending;
    uint32_t election_timeout_ms, heartbeat_ms;
    struct wdb_raft_leader leader;
    uint32_t peer_count; /* with self, in the order of the configuration */
    struct wdb_raft_peer_status peers[WDB_MEMBERS_MAX];
};
void wdb_raft_status(struct wdb_raft *raft, struct wdb_raft_status *out);
/* The configuration in effect, and whether these tell each other apart. */
void wdb_raft_members(struct wdb_raft *raft, struct wdb_members *out);
/* How many voters (with self) are known to hold everything up to index
 * durably: for WAIT. Leader only, else 0. */
uint32_t wdb_raft_count_match(struct wdb_raft *raft, uint64_t index);

/* --- requests: [any] ------------------------------------------------------------------ */

enum wdb_raft_request_kind {
    WDB_RAFT_JOIN,     /* member (id may be 0: then it is asked for at its
                          address) becomes a standby, then a voter by itself;
                          done when it is a standby, or is a member already */
    WDB_RAFT_REMOVE,   /* name */
    WDB_RAFT_TRANSFER, /* name, or "": the best one */
    WDB_RAFT_MOVE,     /* name gets member's addresses */
};

struct wdb_raft_request {
    enum wdb_raft_request_kind kind;
    struct wdb_member member;
    uint64_t timeout_ms;
    /* [raft]; once. 0: done and committed. ENOTLEADER, EBUSY (another change
     * is under way), EEXISTS, ENOTFOUND, EINVALID, EABORTED (unknown: office was
     * lost meanwhile). message: what to do, for people, never NULL. */
    void (*done)(void *context, int code, const char *message);
    void *context;
    struct wdb_raft_request *next; /* for the raft thread */
};
/* The request is copied. ENOMEM. */
WDB_MUST_CHECK int wdb_raft_ask(struct wdb_raft *raft,
                                const struct wdb_raft_request *request);

#endif
