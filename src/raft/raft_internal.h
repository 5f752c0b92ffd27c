/*
 * raft_internal.h - the parts of a node, for the files of raft/ only.
 *
 *   raft.c        life, the turn of the raft thread, failure
 *   start.c       what the log and the identity say when it begins
 *   role.c        taking and losing office
 *   replicate.c   entries in: from peers; out: to peers; submitting
 *   commit.c      the committed index, applying, the state hash, the base
 *   rounds.c      who still believes that we lead
 *   change.c      requests: members, leadership
 *   catch_up.c    snapshots to and from peers
 *   status.c      what others may look at
 *
 * Indexes, each at most the one before it:
 *   log's last >= appended >= submitted >= durable? (leader: submitted is what
 *   the core knows of; durable may be beyond it) >= committed >= applied.
 */
#ifndef WDB_RAFT_INTERNAL_H
#define WDB_RAFT_INTERNAL_H

#include <pthread.h>

#include "base/assert.h"
#include "base/random.h"
#include "base/time.h"
#include "raft/core.h"
#include "raft/message.h"
#include "raft/mutations.h"
#include "raft/pace.h"
#include "raft/raft.h"
#include "raft/transfer_sink.h"
#include "raft/transfer_source.h"
#include "walkerdb.h"

/* Recent state hashes, by index; and as many more, this many entries apart. */
#define WDB_RAFT_HASHES    4096
#define WDB_RAFT_HASH_STEP 1024
/* Entries that are kept for peers, whatever their size: a start takes some 64
 * bytes of memory for each, for a moment. */
#define WDB_RAFT_RETAINED_MAX ((uint64_t)4 << 20)
/* What one turn applies at most, then messages get their turn. */
#define WDB_RAFT_APPLY_ENTRIES_MAX 256
#define WDB_RAFT_APPLY_SIZE_MAX    ((uint64_t)2 << 20)
#define WDB_RAFT_SUBMIT_MAX        1024
#define WDB_RAFT_REQUESTS_MAX      64
#define WDB_RAFT_CHECKPOINTS       16
/* A standby becomes a voter when it is so close to what is committed. */
#define WDB_RAFT_PROMOTE_LAG 512
#define WDB_RAFT_PUBLISH_NS  ((uint64_t)20 * (uint64_t)WDB_NS_PER_MS)

struct wdb_raft_peer {
    wdb_node_id id; /* 0: free */
    bool is_connected;
    uint64_t heard_ns; /* last message; 0: never */
    /* Entries that the core wants sent: [next, until]. */
    uint64_t next, until;
    uint64_t sent_ns; /* when the last of them were */
    uint64_t round_answered;
    struct wdb_transfer_source *source; /* a snapshot for it */
    void *source_end;                   /* its owner: catch_up.c */
    uint64_t offered_ns;
    uint64_t pinned_bytes; /* bytes_committed when the source was made */
    uint64_t snapshot_size;
    bool pinned; /* it has its snapshot, and lacks what came since */
};

/* A place where the log may be cut, once it is long enough behind it. */
struct wdb_raft_checkpoint {
    uint64_t index, term, state_hash, bytes;
};

struct wdb_raft_hash {
    uint64_t index, hash;
};

struct wdb_raft {
    struct wdb_raft_options options;
    struct wdb_db *db;
    struct wdb_store *store;
    struct wdb_log *log;
    struct wdb_env *env;
    struct wdb_identity *identity;
    struct wdb_core *core;
    struct wdb_raft_gate gate;
    wdb_node_id self;
    bool starting; /* inside wdb_raft_new */
    bool failed;   /* or stopped: nothing is done any more */
    bool stopped;
    int failure;

    /* --- office ------------------------------------------------------------ */
    uint64_t submitted; /* the core knows the log up to here */
    uint64_t own_first; /* leader: the first entry of the term, 0: none yet */
    uint64_t executed_from; /* entries from here on were executed when they were
                               appended; UINT64_MAX: none */
    uint64_t terms_led, elections, leader_changes, truncations;
    wdb_node_id leader_shown;
    uint64_t leader_term_shown;

    /* --- progress ------------------------------------------------------------ */
    uint64_t core_base; /* the core's snapshot index */
    uint64_t
        core_committed; /* what the core says; ours is min(that, durable) */
    uint64_t committed, applied;
    uint64_t state_hash; /* over all entries up to committed */
    struct wdb_raft_hash hashes[WDB_RAFT_HASHES];
    struct wdb_raft_hash hashes_far[WDB_RAFT_HASHES];
    uint64_t bytes_submitted, bytes_committed; /* of entries, in the log */
    _Atomic uint64_t uncommitted_size;
    struct wdb_raft_base base;
    struct wdb_raft_checkpoint checkpoints[WDB_RAFT_CHECKPOINTS];
    uint32_t checkpoint_count;
    uint64_t bytes_checked; /* bytes_committed at the last checkpoint */
    uint64_t index_checked;
    uint64_t full_told_ns; /* when the log last said that the disk is full */

    /* --- members --------------------------------------------------------------- */
    struct wdb_members members; /* in effect: the last one in the log */
    uint64_t members_index;
    struct wdb_members members_committed;
    uint64_t members_committed_index;
    bool removed;
    struct wdb_raft_peer peers[WDB_MEMBERS_MAX + 1];

    /* --- receiving ---------------------------------------------------------------- */
    const struct wdb_message *receiving;
    wdb_node_id receiving_from;
    uint8_t *scratch; /* of WDB_RAFT_MESSAGE_SIZE_MAX: entries to be sent */

    /* --- rounds ------------------------------------------------------------------- */
    _Atomic bool round_asked;
    uint64_t round_active; /* 0: none */
    uint64_t round_sent_ns;
    uint64_t round_count;

    /* --- requests ----------------------------------------------------------------- */
    pthread_mutex_t request_lock;
    struct wdb_raft_request *inbox; /* newest first */
    uint32_t inbox_count;
    struct wdb_raft_job *jobs; /* under way */
    uint64_t change_index;     /* our own CHANGE that is not submitted yet */
    struct wdb_raft_job *transfer; /* of leadership */
    uint64_t probe_count;
    uint64_t promoted_ns;

    /* --- snapshots ---------------------------------------------------------------- */
    struct wdb_transfer_sink *sink;
    void *sink_end;     /* its owner: catch_up.c */
    uint32_t ends_open; /* sources and the sink whose `gone` has not come */
    uint64_t pinned; /* entries behind this are kept for a transfer; 0: none */
    uint64_t snapshots_sent, snapshots_installed;
    uint32_t sources; /* that send something */
    struct wdb_pace pace;
    struct wdb_random random;
#ifdef WDB_MUTATIONS
    uint64_t durable_max; /* ever */
#endif

    /* --- shown to others ------------------------------------------------------------ */
    pthread_mutex_t status_lock;
    struct wdb_raft_status status;
    struct wdb_members members_shown;
    uint64_t published_ns;
    bool publish; /* at the end of this turn */
};

/* --- raft.c ---------------------------------------------------------------------- */

static inline uint64_t wdb_raft_now_ns(const struct wdb_raft *raft)
{
    return raft->env->ops->monotonic_ns(raft->env);
}
static inline uint64_t wdb_raft_now_ms(const struct wdb_raft *raft)
{
    return wdb_raft_now_ns(raft) / (uint64_t)WDB_NS_PER_MS + 1;
}
void wdb_raft_say(const struct wdb_raft *raft, enum wdb_log_level level,
                  const char *format, ...) WDB_PRINTF(3, 4);
/* The node cannot go on. Only the first call counts; returns code. */
int wdb_raft_fail(struct wdb_raft *raft, int code, const char *format, ...)
    WDB_PRINTF(3, 4);
/* Code of a call of the core: fails the node if it is not 0. */
void wdb_raft_check(struct wdb_raft *raft, int code, const char *what);
void wdb_raft_want_turn(struct wdb_raft *raft);
void wdb_raft_tell_gate(struct wdb_raft *raft);
static inline bool wdb_raft_is_leader(const struct wdb_raft *raft)
{
    return wdb_core_role(raft->core) == WDB_CORE_LEADER;
}
/* The peer with this id, NULL if there is none. */
struct wdb_raft_peer *wdb_raft_peer_of(struct wdb_raft *raft, wdb_node_id id);
bool wdb_raft_send(struct wdb_raft *raft, wdb_node_id to,
                   enum wdb_peer_channel channel, struct wdb_message *message);

/* --- start.c ---------------------------------------------------------------------- */

/* Read what there is, start the core. */
WDB_MUST_CHECK int wdb_raft_begin(struct wdb_raft *raft, char **message_out);
/* Members, with their index, become those in effect. ENOMEM. */
WDB_MUST_CHECK int wdb_raft_use_members(struct wdb_raft *raft,
                                        const struct wdb_members *members,
                                        uint64_t index);
/* The entry of the configuration in effect was truncated. */
WDB_MUST_CHECK int wdb_raft_forget_members(struct wdb_raft *raft,
                                           uint64_t from);
/* Tell the transport, after a change; drop peers that are gone. */
void wdb_raft_apply_members(struct wdb_raft *raft);

/* --- role.c ------------------------------------------------------------------------ */

void wdb_raft_role_changed(void *context, enum wdb_core_role from,
                           enum wdb_core_role to);
int wdb_raft_store_vote(void *context, uint64_t term, wdb_node_id voted_for);
int wdb_raft_append_barrier(void *context, uint64_t index);
/* Leader: append a barrier if the core did not; serve if that may begin. */
void wdb_raft_office_turn(struct wdb_raft *raft);
/* Hold appends while leadership is being handed over, or go on. */
void wdb_raft_hold(struct wdb_raft *raft, bool hold);
/* Who leads may have changed: show it. */
void wdb_raft_show_leader(struct wdb_raft *raft);

/* --- replicate.c --------------------------------------------------------------------- */

void wdb_raft_core_send(void *context, wdb_node_id to,
                        const struct wdb_message *message);
int wdb_raft_core_append(void *context, uint64_t index, uint32_t count);
/* Leave only the entries in an APPEND that find room in the log: on a full disk
 * perhaps none. */
WDB_MUST_CHECK int wdb_raft_fit(struct wdb_raft *raft,
                                struct wdb_message *message);
/* Be a member of this cluster from now on. EABORTED: it is one of another. */
WDB_MUST_CHECK int wdb_raft_adopt(struct wdb_raft *raft, uint64_t cluster_id);
/* Leader: tell the core of what was appended. */
void wdb_raft_submit_turn(struct wdb_raft *raft);
/* Send what the core wants sent, as far as the channel takes it. */
void wdb_raft_pump(struct wdb_raft *raft, struct wdb_raft_peer *peer);
/* Term of the entry, 0 if that is not known any more. */
uint64_t wdb_raft_term_at(struct wdb_raft *raft, uint64_t index);

/* --- commit.c ------------------------------------------------------------------------- */

void wdb_raft_core_committed(void *context, uint64_t index);
/* Move the committed index, apply. True if there is more to do at once. */
bool wdb_raft_commit_turn(struct wdb_raft *raft);
uint64_t wdb_raft_hash_entry(uint64_t hash,
                             const struct wdb_entry_header *entry);
/* The state hash at the committed index. */
void wdb_raft_note_hash(struct wdb_raft *raft, uint64_t index);
/* The hash at an index from the base to the committed one: a step of reading at
 * most, unless it is some million entries ago. ENOTFOUND, EIO, ECORRUPT. */
WDB_MUST_CHECK int wdb_raft_hash_at(struct wdb_raft *raft, uint64_t index,
                                    uint64_t *hash_out);
/* What it takes of the log. */
static inline uint64_t wdb_raft_entry_size(const struct wdb_entry_header *entry)
{
    return entry->payload_size + WDB_ENTRY_OVERHEAD;
}
/* A peer says what its hash is at that index. */
void wdb_raft_compare_hash(struct wdb_raft *raft, wdb_node_id from,
                           uint64_t index, uint64_t hash);
/* Give up a part of the log, if it is long enough. */
void wdb_raft_base_turn(struct wdb_raft *raft);
void wdb_raft_checkpoint(struct wdb_raft *raft, uint64_t term);

/* --- rounds.c --------------------------------------------------------------------------- */

void wdb_raft_round_turn(struct wdb_raft *raft);
void wdb_raft_round_receive(struct wdb_raft *raft, wdb_node_id from,
                            const struct wdb_message *message);
void wdb_raft_round_end(struct wdb_raft *raft);

/* --- change.c ---------------------------------------------------------------------------- */

void wdb_raft_change_turn(struct wdb_raft *raft);
/* Office was lost: requests that were under way are unknown. */
void wdb_raft_change_lost(struct wdb_raft *raft);
void wdb_raft_change_release(struct wdb_raft *raft);
/* Time (ns) at which it wants a turn. */
uint64_t wdb_raft_change_deadline(const struct wdb_raft *raft);

/* --- catch_up.c --------------------------------------------------------------------------- */

/* The core thinks that this peer needs a snapshot. */
void wdb_raft_offer(struct wdb_raft *raft, wdb_node_id to);
void wdb_raft_transfer_receive(struct wdb_raft *raft, wdb_node_id from,
                               const struct wdb_message *message);
/* Returns when it wants its next turn. */
uint64_t wdb_raft_catch_up_turn(struct wdb_raft *raft);
void wdb_raft_catch_up_lost(struct wdb_raft *raft);
void wdb_raft_catch_up_stop_peer(struct wdb_raft *raft,
                                 struct wdb_raft_peer *peer);
WDB_MUST_CHECK int wdb_raft_catch_up_init(struct wdb_raft *raft);
void wdb_raft_catch_up_release(struct wdb_raft *raft);

/* --- status.c -------------------------------------------------------------------------------- */

void wdb_raft_publish(struct wdb_raft *raft);

#endif
