/*
 * raft.c - a node: life, the turn of the raft thread, and failure.
 *
 * A turn takes things in the order in which they gain most: what workers
 * appended goes to the peers first, then what became durable here, then what
 * that commits.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/least.h"
#include "raft/raft_internal.h"

#define RETAINED_OF_DISK 8 /* a part of it, at most */

void wdb_raft_options_init(struct wdb_raft_options *options)
{
    memset(options, 0, sizeof(*options));
    options->election_timeout_ms = WDB_RAFT_ELECTION_TIMEOUT_MS;
    options->uncommitted_size_max = (uint64_t)64 << 20;
    options->retained_size = (uint64_t)1 << 30;
}

const char *wdb_raft_role_name(enum wdb_raft_role role)
{
    static const char *const names[] = {"unjoined", "follower", "candidate",
                                        "leader", "removed"};
    return names[role];
}

/* --- failure, small things -------------------------------------------------- */

void wdb_raft_say(const struct wdb_raft *raft, enum wdb_log_level level,
                  const char *format, ...)
{
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    wdb_logger_print(raft->options.logger, level, "raft: %s", text);
}

int wdb_raft_fail(struct wdb_raft *raft, int code, const char *format, ...)
{
    char text[512];
    va_list arguments;
    if (raft->failed) {
        return code;
    }
    raft->failed = true;
    raft->failure = code;
    atomic_store(&raft->gate.serves, false);
    wdb_log_hold(raft->log, true);
    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    if (raft->options.on_failure != NULL && !raft->starting) {
        raft->options.on_failure(raft->options.context, code, text);
    }
    return code;
}

void wdb_raft_check(struct wdb_raft *raft, int code, const char *what)
{
    if (code == WALKERDB_EABORTED) {
        wdb_raft_fail(raft, code,
                      "%s: another member's log contradicts what is committed "
                      "here; this node stops before it does harm. Compare the "
                      "nodes' `RAFT STATUS`, then replace this one",
                      what);
    } else if (code != 0) {
        wdb_raft_fail(raft, code, "%s: %s", what, walkerdb_strerror(code));
    }
}

void wdb_raft_want_turn(struct wdb_raft *raft)
{
    if (raft->options.on_work != NULL) {
        raft->options.on_work(raft->options.context);
    }
}

void wdb_raft_tell_gate(struct wdb_raft *raft)
{
    if (raft->options.on_gate != NULL && !raft->starting) {
        raft->options.on_gate(raft->options.context);
    }
}

struct wdb_raft_peer *wdb_raft_peer_of(struct wdb_raft *raft, wdb_node_id id)
{
    for (size_t i = 0; i < WDB_COUNT(raft->peers); i++) {
        if (raft->peers[i].id == id && id != 0) {
            return &raft->peers[i];
        }
    }
    return NULL;
}

bool wdb_raft_send(struct wdb_raft *raft, wdb_node_id to,
                   enum wdb_peer_channel channel, struct wdb_message *message)
{
    message->to = to;
    return raft->options.peers->ops->send(raft->options.peers->context, to,
                                          channel, message);
}

/* --- life -------------------------------------------------------------------- */

static const struct wdb_core_callbacks callbacks = {
    .store_vote = wdb_raft_store_vote,
    .role_changed = wdb_raft_role_changed,
    .append = wdb_raft_core_append,
    .append_barrier = wdb_raft_append_barrier,
    .send = wdb_raft_core_send,
    .committed = wdb_raft_core_committed,
};

/* On a small disk less is kept for peers. */
static void fit_retained(struct wdb_raft *raft)
{
    struct wdb_log_stats stats;
    wdb_log_stats(raft->log, &stats);
    const uint64_t part =
        (stats.bytes_allocated + wdb_log_room(raft->log)) / RETAINED_OF_DISK;
    if (part != 0 && part < raft->options.retained_size) {
        raft->options.retained_size = part;
        wdb_raft_say(raft, WDB_LOG_NOTICE,
                     "the disk is small: %llu MB of log are kept for peers",
                     (unsigned long long)(part >> 20));
    }
}

static int make_core(struct wdb_raft *raft)
{
    uint32_t seed;
    raft->env->ops->random(raft->env, &seed, sizeof(seed));
    const struct wdb_core_options options = {
        .self = raft->self,
        .election_timeout_ms = raft->options.election_timeout_ms,
        .heartbeat_ms = raft->options.heartbeat_ms,
        .seed = seed & INT32_MAX,
        .now_ms = wdb_raft_now_ms(raft),
        .callbacks = &callbacks,
        .context = raft,
#ifdef WDB_MUTATIONS
        .mutations = raft->options.mutations,
#endif
    };
    return wdb_core_new(&options, &raft->core);
}

static void init(struct wdb_raft *raft, const struct wdb_raft_options *options)
{
    uint64_t seed;
    raft->options = *options;
    if (raft->options.election_timeout_ms == 0) {
        raft->options.election_timeout_ms = WDB_RAFT_ELECTION_TIMEOUT_MS;
    }
    if (raft->options.heartbeat_ms == 0) {
        raft->options.heartbeat_ms = raft->options.election_timeout_ms / 4;
    }
    raft->db = options->db;
    raft->store = wdb_db_store(options->db);
    raft->log = wdb_db_log(options->db);
    raft->env = options->env;
    raft->identity = options->identity;
    raft->self = options->identity->id;
    if (WDB_RAFT_MUTATED(raft, WDB_MUTATION_VOTE_FORGOTTEN)) {
        raft->identity->voted_for = 0;
    }
    raft->executed_from = UINT64_MAX;
    raft->starting = true;
    raft->gate.self = raft->self;
    atomic_store(&raft->gate.round, 1);
    atomic_store(&raft->gate.leader_seen_ns, wdb_raft_now_ns(raft));
    wdb_members_init(&raft->members);
    wdb_members_init(&raft->members_committed);
    wdb_members_init(&raft->members_shown);
    wdb_members_init(&raft->base.members);
    pthread_mutex_init(&raft->request_lock, NULL);
    pthread_mutex_init(&raft->status_lock, NULL);
    raft->env->ops->random(raft->env, &seed, sizeof(seed));
    wdb_random_seed(&raft->random, seed);
}

int wdb_raft_new(const struct wdb_raft_options *options, struct wdb_raft **out,
                 char **message_out)
{
    struct wdb_raft *raft = calloc(1, sizeof(*raft));
    *message_out = NULL;
    if (raft == NULL) {
        return WALKERDB_ENOMEM;
    }
    init(raft, options);
    fit_retained(raft);
    wdb_log_hold(raft->log, true);
    wdb_db_expire_stop(raft->db, true);
    raft->scratch = malloc(WDB_RAFT_MESSAGE_SIZE_MAX);
    int code = raft->scratch == NULL ? WALKERDB_ENOMEM : 0;
    code = code == 0 ? make_core(raft) : code;
    code = code == 0 ? wdb_raft_begin(raft, message_out) : code;
    if (code == 0 && raft->failed) {
        code = raft->failure;
    }
    /* Last: its end would be a job that outlives a node that does not start. */
    code = code == 0 ? wdb_raft_catch_up_init(raft) : code;
    raft->starting = false;
    if (code != 0) {
        wdb_raft_free(raft);
        return code;
    }
    wdb_raft_apply_members(raft);
    wdb_raft_show_leader(raft);
    wdb_raft_publish(raft);
    *out = raft;
    return 0;
}

void wdb_raft_stop(struct wdb_raft *raft)
{
    if (raft->stopped) {
        return;
    }
    raft->stopped = raft->failed = true;
    atomic_store(&raft->gate.serves, false);
    wdb_log_hold(raft->log, true);
    wdb_raft_change_release(raft);
    wdb_raft_catch_up_release(raft);
}

void wdb_raft_free(struct wdb_raft *raft)
{
    if (raft == NULL) {
        return;
    }
    wdb_raft_stop(raft);
    wdb_assert(raft->jobs == NULL); /* every probe was told */
    wdb_core_free(raft->core);
    wdb_members_release(&raft->members);
    wdb_members_release(&raft->members_committed);
    wdb_members_release(&raft->members_shown);
    wdb_raft_base_release(&raft->base);
    pthread_mutex_destroy(&raft->request_lock);
    pthread_mutex_destroy(&raft->status_lock);
    free(raft->scratch);
    free(raft);
}

void *wdb_raft_owner(const struct wdb_raft *raft)
{
    return raft->options.context;
}

/* --- the turn ------------------------------------------------------------------ */

/* How much of the log the core may count on. */
static uint64_t durable_index(struct wdb_raft *raft)
{
    const uint64_t durable = wdb_log_durable(raft->log);
    if (WDB_RAFT_MUTATED(raft, WDB_MUTATION_PERSISTED_EARLY)) {
        return wdb_log_appended(raft->log);
    }
#ifdef WDB_MUTATIONS
    raft->durable_max =
        durable > raft->durable_max ? durable : raft->durable_max;
    if (WDB_RAFT_MUTATED(raft, WDB_MUTATION_PERSISTED_STALE)) {
        return raft->durable_max;
    }
#endif
    return durable;
}

uint64_t wdb_raft_run(struct wdb_raft *raft)
{
    bool more = false;
    uint64_t wanted = UINT64_MAX;
    if (raft->failed) {
        return UINT64_MAX;
    }
    wdb_raft_check(raft, wdb_core_tick(raft->core, wdb_raft_now_ms(raft)),
                   "the clock");
    if (!raft->failed) {
        wdb_raft_office_turn(raft);
        wdb_raft_submit_turn(raft);
    }
    if (!raft->failed) {
        wdb_raft_round_turn(raft);
        wdb_raft_check(raft,
                       wdb_core_persisted(raft->core, wdb_raft_now_ms(raft),
                                          durable_index(raft)),
                       "durable entries");
    }
    if (!raft->failed) {
        more = wdb_raft_commit_turn(raft);
        wdb_raft_office_turn(raft);
        wdb_raft_change_turn(raft);
    }
    if (!raft->failed) {
        wdb_raft_base_turn(raft);
        wanted = wdb_raft_catch_up_turn(raft);
    }
    if (raft->failed) {
        return UINT64_MAX;
    }
    wdb_raft_show_leader(raft);
    const uint64_t now_ns = wdb_raft_now_ns(raft);
    if (raft->publish || now_ns - raft->published_ns >= WDB_RAFT_PUBLISH_NS) {
        wdb_raft_publish(raft);
    }
    if (more) {
        return now_ns;
    }
    wanted = wdb_least(wanted, wdb_raft_change_deadline(raft));
    return wdb_least(wanted, (wdb_core_deadline_ms(raft->core) - 1) *
                                 (uint64_t)WDB_NS_PER_MS);
}

/* --- what its owner tells ------------------------------------------------------- */

void wdb_raft_connected(struct wdb_raft *raft, wdb_node_id id,
                        bool is_connected)
{
    struct wdb_raft_peer *peer = wdb_raft_peer_of(raft, id);
    if (peer != NULL && peer->is_connected != is_connected) {
        peer->is_connected = is_connected;
        raft->publish = true;
    }
}

bool wdb_raft_is_removed(const struct wdb_raft *raft, wdb_node_id id)
{
    return wdb_members_is_removed(&raft->members_committed, id);
}

void wdb_raft_told_removed(struct wdb_raft *raft, wdb_node_id by)
{
    if (raft->removed || raft->failed ||
        wdb_members_find(&raft->members, raft->self) == NULL) {
        return;
    }
    raft->removed = true;
    raft->identity->removed = true;
    raft->publish = true;
    (void)wdb_raft_store_vote(raft, raft->identity->term,
                              raft->identity->voted_for);
    wdb_raft_say(raft, WDB_LOG_WARNING,
                 "node %016llx says that this node was removed from the "
                 "cluster: it serves no more, and may not come back under its "
                 "id",
                 (unsigned long long)by);
}

void wdb_raft_told_other_cluster(struct wdb_raft *raft, wdb_node_id by,
                                 uint64_t cluster_id)
{
    if (raft->removed || raft->failed || raft->members.count != 1 ||
        raft->members.members[0].id != raft->self) {
        return;
    }
    raft->removed = true;
    raft->identity->removed = true; /* else it serves after each start, a bit */
    if (wdb_raft_store_vote(raft, raft->identity->term,
                            raft->identity->voted_for) != 0) {
        return;
    }
    wdb_raft_fail(raft, WALKERDB_EMISMATCH,
                  "this address is that of a member of cluster %016llx, says "
                  "node %016llx of it; but this node is alone in a cluster of "
                  "its own, %016llx: its disk was lost or replaced. What was "
                  "written to it since is not in that cluster. RAFT REMOVE the "
                  "old node there, then start with empty -dir and -raftdir, "
                  "-join and a new -id",
                  (unsigned long long)cluster_id, (unsigned long long)by,
                  (unsigned long long)raft->identity->cluster_id);
}

void wdb_raft_writable(struct wdb_raft *raft, wdb_node_id id,
                       enum wdb_peer_channel channel)
{
    struct wdb_raft_peer *peer = wdb_raft_peer_of(raft, id);
    if (peer == NULL || raft->failed) {
        return;
    }
    if (channel == WDB_CHANNEL_ENTRIES) {
        wdb_raft_pump(raft, peer);
    } else if (channel == WDB_CHANNEL_TRANSFER) {
        wdb_raft_want_turn(raft);
    }
}

/* --- messages -------------------------------------------------------------------------- */

/* Whom do we listen to? False: the message is dropped. */
static bool is_welcome(struct wdb_raft *raft, wdb_node_id from,
                       const struct wdb_message *message)
{
    if (message->to != raft->self || from == raft->self || from == 0 ||
        wdb_raft_is_removed(raft, from)) {
        return false;
    }
    if (raft->members.count == 0 ||
        wdb_members_find(&raft->members, from) != NULL) {
        return true;
    }
    /* A member that our configuration does not know of yet may ask for a vote,
     * or be the leader. */
    return message->kind == WDB_MESSAGE_VOTE ||
           message->kind == WDB_MESSAGE_APPEND ||
           message->kind == WDB_MESSAGE_TIMEOUT_NOW ||
           message->kind == WDB_MESSAGE_OFFER ||
           message->kind == WDB_MESSAGE_PIECE ||
           message->kind == WDB_MESSAGE_ROUND;
}

static void receive_core(struct wdb_raft *raft, wdb_node_id from,
                         const struct wdb_message *message)
{
    const char *why = NULL;
    raft->receiving = message;
    raft->receiving_from = from;
    const int code = wdb_core_receive(raft->core, wdb_raft_now_ms(raft), from,
                                      message, &why);
    raft->receiving = NULL;
    if (why != NULL) {
        wdb_raft_say(raft, WDB_LOG_VERBOSE,
                     "a message of node %016llx was dropped: %s",
                     (unsigned long long)from, why);
    }
    wdb_raft_check(raft, code, "a message of a peer");
}

/* Only with entries that find room: the core has them before the log does. */
static void receive_append(struct wdb_raft *raft, wdb_node_id from,
                           const struct wdb_message *message)
{
    struct wdb_message fitting = *message;
    if (message->append.entry_count > 0) {
        const int code = wdb_raft_fit(raft, &fitting);
        if (code != 0) {
            wdb_raft_check(raft, code, "room for entries");
            return;
        }
    }
    receive_core(raft, from, &fitting);
}

void wdb_raft_receive(struct wdb_raft *raft, wdb_node_id from,
                      const struct wdb_message *message)
{
    if (raft->failed || !is_welcome(raft, from, message)) {
        return;
    }
    struct wdb_raft_peer *peer = wdb_raft_peer_of(raft, from);
    if (peer != NULL) {
        peer->heard_ns = wdb_raft_now_ns(raft);
    }
    switch (message->kind) {
    case WDB_MESSAGE_VOTE:
    case WDB_MESSAGE_VOTE_RESULT:
    case WDB_MESSAGE_APPEND_RESULT:
    case WDB_MESSAGE_TIMEOUT_NOW:
        receive_core(raft, from, message);
        break;
    case WDB_MESSAGE_APPEND:
        if (raft->removed) {
            break;
        }
        receive_append(raft, from, message);
        if (!raft->failed && message->append.hash_index != 0) {
            wdb_raft_compare_hash(raft, from, message->append.hash_index,
                                  message->append.hash);
        }
        break;
    case WDB_MESSAGE_ROUND:
    case WDB_MESSAGE_ROUND_RESULT:
        wdb_raft_round_receive(raft, from, message);
        break;
    case WDB_MESSAGE_OFFER:
    case WDB_MESSAGE_FETCH:
    case WDB_MESSAGE_PIECE:
    case WDB_MESSAGE_FETCH_FAILED:
        wdb_raft_transfer_receive(raft, from, message);
        break;
    }
    wdb_raft_show_leader(raft);
}
