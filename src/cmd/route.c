/*
 * route.c - where a request of a cluster's client is executed.
 *
 * What touches keys needs the leader, except for reads that may be stale. A node
 * that does not serve forwards them, or tells the client where to go. While
 * nobody is known to lead they are held for a time, because an election is
 * shorter than what most clients do on an error. Everything that is answered
 * here with an error was definitely not done.
 */
#include "cmd/route.h"

#include <stdio.h>

#include "base/number.h"
#include "base/time.h"
#include "cmd/executor.h"
#include "cmd/forward.h"
#include "cmd/handlers.h"
#include "cmd/monitor.h"
#include "cmd/mutations.h"
#include "cmd/slot.h"
#include "cmd/transaction.h"

enum need {
    NEED_NOTHING, /* any node */
    NEED_READ,    /* the leader, or committed state */
    NEED_LEADER,
    NEED_WRITE,
};

static bool is_exec(const struct wdb_call *call)
{
    return call->command->handler == wdb_cmd_exec;
}

static bool watches_here(const struct wdb_session *session)
{
    return session->watcher != NULL && wdb_watcher_count(session->watcher) > 0;
}

static enum need need_of_exec(const struct wdb_session *session)
{
    const struct wdb_multi *multi = session->multi;
    if (multi == NULL || (session->flags & WDB_SESSION_MULTI_ERROR) != 0) {
        return NEED_NOTHING; /* it is answered with an error */
    }
    if (multi->writes) {
        return NEED_WRITE;
    }
    if (multi->leader || session->forward_watches || watches_here(session)) {
        return NEED_LEADER;
    }
    return multi->reads ? NEED_READ : NEED_NOTHING;
}

static enum need need_of(const struct wdb_call *call)
{
    const uint32_t flags = call->command->flags;
    if (is_exec(call)) {
        return need_of_exec(call->session);
    }
    if (call->session->flags & WDB_SESSION_MULTI) {
        return NEED_NOTHING; /* WATCH is an error there; the rest is queued */
    }
    return flags & WDB_CMD_WRITE                        ? NEED_WRITE
           : flags & WDB_CMD_LEADER                     ? NEED_LEADER
           : flags & (WDB_CMD_READONLY | WDB_CMD_SCANS) ? NEED_READ
                                                        : NEED_NOTHING;
}

/* The level of the reads of this request, at a node that serves or not. */
static enum wdb_read_level level_of(const struct wdb_call *call, bool serves)
{
    const struct wdb_session *session = call->session;
    if (call->command->handler == wdb_cmd_levelget && call->argc == 3 &&
        call->argv[2].size == 1) {
        switch (call->argv[2].data[0]) {
        case '0':
            return WDB_READ_LEADER;
        case '1':
            return WDB_READ_STALE;
        case '2':
            return WDB_READ_CONSISTENT;
        default:
            break; /* an error, wherever it is executed */
        }
    }
    if ((session->flags & WDB_SESSION_READONLY) && !serves) {
        return WDB_READ_STALE;
    }
    if (session->level != WDB_READ_DEFAULT) {
        return session->level;
    }
    return (enum wdb_read_level)wdb_config_u64(call->context->config,
                                               WDB_CONFIG_READ_CONSISTENCY);
}

static bool leads_elsewhere(const struct wdb_raft_gate *gate)
{
    const uint64_t leader = atomic_load(&gate->leader);
    return leader != 0 && leader != gate->self;
}

static bool redirects(const struct wdb_call *call)
{
    return call->context->forward == NULL ||
           (wdb_config_bool(call->context->config,
                            WDB_CONFIG_CLUSTER_REDIRECT) &&
            (call->command->flags & WDB_CMD_ALWAYS_FORWARD) == 0);
}

/* By itself: the longest time until somebody stands for election, and then a
 * whole one. */
static uint64_t hold_timeout_ns(const struct wdb_config *config)
{
    uint64_t ms = wdb_config_u64(config, WDB_CONFIG_RAFT_HOLD_TIMEOUT);
    if (ms == 0) {
        ms = 3 * wdb_config_u64(config, WDB_CONFIG_RAFT_ELECTION_TIMEOUT);
    }
    return ms * WDB_NS_PER_MS;
}

bool wdb_route_waited(const struct wdb_context *context, uint64_t since_ns,
                      uint64_t now_ns)
{
    const uint64_t timeout_ns = hold_timeout_ns(context->config);
    const uint64_t seen_ns =
        atomic_load(&context->cluster->gate->leader_seen_ns);
    return now_ns - since_ns >= timeout_ns ||
           (seen_ns != 0 && now_ns > seen_ns && now_ns - seen_ns >= timeout_ns);
}

/* --- what becomes of it ------------------------------------------------------------ */

/* Answer with an error: nothing was done. A transaction is over. */
static enum wdb_route refuse(struct wdb_call *call, const char *text)
{
    wdb_stats_reject(wdb_executor_stats(call->session->executor),
                     call->command->id);
    if (is_exec(call) && call->session->multi != NULL) {
        wdb_exec_finish(call->session);
    }
    wdb_reply_error(call->reply, "%s", text);
    return WDB_ROUTE_ANSWERED;
}

/* Set it aside, or if it has waited for long enough say the error. */
static enum wdb_route hold(struct wdb_call *call, enum wdb_session_hold why,
                           const char *text)
{
    struct wdb_session *session = call->session;
    struct wdb_env *env = call->context->env;
    const uint64_t now_ns = env->ops->monotonic_ns(env);
    if (session->hold_since_ns == 0) {
        session->hold_since_ns = now_ns;
        wdb_stats_add(wdb_executor_stats(session->executor), WDB_STATS_HELD, 1);
    }
    if (wdb_route_waited(call->context, session->hold_since_ns, now_ns)) {
        return refuse(call, text);
    }
    call->hold = why;
    return WDB_ROUTE_HELD;
}

static enum wdb_route hold_for_leader(struct wdb_call *call, uint64_t version)
{
    call->session->hold_version = version;
    return hold(call, WDB_HOLD_LEADER,
                "CLUSTERDOWN no leader is known: nothing was done, try again");
}

/* The slot of the first key, of EXEC that of the first queued one. */
static uint32_t slot_of(const struct wdb_call *call)
{
    if (call->key_count > 0) {
        return wdb_key_slot(call->keys[0].name);
    }
    const struct wdb_multi *multi = is_exec(call) ? call->session->multi : NULL;
    for (uint32_t i = 0; multi != NULL && i < multi->count; i++) {
        if (multi->commands[i].key_count > 0) {
            return wdb_key_slot(multi->commands[i].keys[0].name);
        }
    }
    return 0;
}

void wdb_address_split(const char *address, char *host, size_t host_size,
                       uint32_t *port_out)
{
    const char *colon = strrchr(address, ':');
    size_t size = colon == NULL ? strlen(address) : (size_t)(colon - address);
    uint64_t port = 0;
    if (colon != NULL) {
        (void)wdb_parse_uint64(wdb_slice_str(colon + 1), &port);
    }
    if (size >= 2 && address[0] == '[' && address[size - 1] == ']') {
        address++;
        size -= 2;
    }
    size = size < host_size ? size : host_size - 1;
    memcpy(host, address, size);
    host[size] = '\0';
    *port_out = port <= UINT16_MAX ? (uint32_t)port : 0;
}

static enum wdb_route redirect(struct wdb_call *call, uint64_t version)
{
    const struct wdb_cluster *cluster = call->context->cluster;
    struct wdb_raft_leader leader;
    char host[WDB_MEMBER_ADDRESS_MAX + 1], text[WDB_MEMBER_ADDRESS_MAX + 64];
    uint32_t port;
    cluster->ops->leader(cluster->context, &leader);
    if (leader.id == 0 || leader.is_self) {
        return hold_for_leader(call, version); /* it has changed just now */
    }
    wdb_address_split(leader.tcp_address, host, sizeof(host), &port);
    snprintf(text, sizeof(text), "MOVED %u %s:%u", slot_of(call), host, port);
    return refuse(call, text);
}

/* Whoever may talk to us without a password gets no secret from a leader that
 * may have one: it is not asked for. */
static bool asks_for_secret(const struct wdb_call *call)
{
    return call->command->handler == wdb_cmd_join && call->argc > 5 &&
           wdb_config_matches(call->context->config, WDB_CONFIG_REQUIREPASS,
                              wdb_slice("", 0));
}

/* It counts as a call of this node, of the time that it took here: none. */
static void note_forwarded(struct wdb_call *call)
{
    struct wdb_multi *multi = call->session->multi;
    if (is_exec(call) && multi != NULL) {
        multi->begun = true;
        for (uint32_t i = 0; i < multi->count; i++) {
            struct wdb_call queued = *call;
            queued.command = multi->commands[i].command;
            queued.argc = multi->commands[i].argc;
            queued.argv = multi->commands[i].argv;
            wdb_executor_count(&queued, 0, false);
        }
    }
    wdb_executor_count(call, 0, false);
    if (WDB_UNLIKELY(atomic_load_explicit(&call->context->monitor_count,
                                          memory_order_relaxed) > 0)) {
        wdb_monitor_feed(call);
    }
}

static enum wdb_route forward(struct wdb_call *call, enum need need)
{
    struct wdb_session *session = call->session;
    struct wdb_call plain = *call;
    if (WDB_UNLIKELY(asks_for_secret(call))) {
        plain.argc--;
    }
    const struct wdb_forward *hook = call->context->forward;
    const struct wdb_forward_request request = {
        .call = &plain,
        .level = level_of(call, true),
        .writes = need == NEED_WRITE || need == NEED_LEADER,
        .silent = (session->flags &
                   (WDB_SESSION_REPLY_OFF | WDB_SESSION_REPLY_SKIP)) != 0,
    };
    const int code = hook->ops->request(hook->context, &request);
    if (code != 0 && session->forwarded > 0) {
        /* Too much of its own is under way, however long that takes: its client
         * may be slow to read. And an error would come before its answers. */
        call->hold = WDB_HOLD_ANSWERS;
        return WDB_ROUTE_HELD;
    }
    if (code == WALKERDB_EBUSY) {
        return hold(call, WDB_HOLD_ROOM,
                    "CLUSTERDOWN the leader cannot be reached: nothing was "
                    "done, try again");
    }
    if (code != 0) {
        return refuse(call, "OOM out of memory, the command was not done");
    }
    session->forwarded++;
    note_forwarded(call);
    wdb_stats_add(wdb_executor_stats(session->executor), WDB_STATS_FORWARDED,
                  1);
    if (call->command->handler == wdb_cmd_watch) {
        session->forward_watches = true;
    } else if (is_exec(call)) {
        session->forward_watches = false; /* the leader has forgotten them */
        wdb_exec_sent(session, request.silent);
    }
    return WDB_ROUTE_FORWARDED;
}

/* What was watched at one node cannot be judged by another: then, as if it had
 * been written to. */
static enum wdb_route give_up_watches(struct wdb_call *call)
{
    wdb_exec_finish(call->session);
    wdb_reply_null_array(call->reply);
    return WDB_ROUTE_ANSWERED;
}

static enum wdb_route elsewhere(struct wdb_call *call, enum need need,
                                uint64_t version)
{
    const struct wdb_raft_gate *gate = call->context->cluster->gate;
    if (call->session->flags & WDB_SESSION_CHANNEL) {
        if (is_exec(call)) {
            wdb_exec_finish(call->session);
        }
        return WDB_ROUTE_REFUSED;
    }
    if (is_exec(call) && watches_here(call->session)) {
        return give_up_watches(call);
    }
    if (!leads_elsewhere(gate)) {
        return hold_for_leader(call, version);
    }
    return redirects(call) ? redirect(call, version) : forward(call, need);
}

/* A read that may be stale, at a node that does not serve. */
static enum wdb_route stale_here(struct wdb_call *call, uint64_t version)
{
    const struct wdb_raft_gate *gate = call->context->cluster->gate;
    if (wdb_executor_is_loading(call->session->executor)) {
        return refuse(call, "LOADING walkerDb is loading a snapshot");
    }
    const uint64_t era = wdb_raft_gate_era(gate);
    if (wdb_raft_era_is_undoing(era)) {
        return hold_for_leader(call, version);
    }
    call->stale = true;
    call->era = era;
    return WDB_ROUTE_HERE;
}

static size_t size_of(const struct wdb_call *call)
{
    if (is_exec(call)) {
        return call->session->multi->size;
    }
    size_t size = 0;
    for (uint32_t i = 0; i < call->argc; i++) {
        size += call->argv[i].size;
    }
    return size;
}

/* At the node that leads. */
static enum wdb_route here(struct wdb_call *call, enum need need)
{
    const struct wdb_cluster *cluster = call->context->cluster;
    if (need == NEED_WRITE &&
        WDB_UNLIKELY(cluster->ops->admit(cluster->context, size_of(call)) ==
                     WALKERDB_EBUSY)) {
        return hold(call, WDB_HOLD_ROOM,
                    "TRYAGAIN too much waits to be committed: nothing was "
                    "done, try again");
    }
    if (is_exec(call) && call->session->forward_watches) {
        return give_up_watches(call);
    }
    call->confirm = level_of(call, true) == WDB_READ_CONSISTENT;
    return WDB_ROUTE_HERE;
}

enum wdb_route wdb_route(struct wdb_call *call)
{
    const struct wdb_cluster *cluster = call->context->cluster;
    const enum need need = need_of(call);
    if (need == NEED_NOTHING) {
        return WDB_ROUTE_HERE;
    }
    if (WDB_UNLIKELY(call->session->forwarded > 0)) {
        return forward(call, need); /* whatever has changed: in order */
    }
    const uint64_t version = wdb_route_version(cluster);
    if (WDB_LIKELY(wdb_raft_gate_serves(cluster->gate)) ||
        (need == NEED_READ &&
         WDB_CMD_MUTATED(call->context, WDB_MUTATION_EXECUTE_ANYWHERE))) {
        return here(call, need);
    }
    if (need == NEED_READ && level_of(call, false) == WDB_READ_STALE) {
        return stale_here(call, version);
    }
    return elsewhere(call, need, version);
}

bool wdb_route_may_follow(const struct wdb_call *call)
{
    const struct wdb_command *command = call->command;
    const struct wdb_session *session = call->session;
    const struct wdb_cluster *cluster = call->context->cluster;
    if (command == NULL || cluster == NULL || command->handler == NULL ||
        (session->flags & (WDB_SESSION_MULTI | WDB_SESSION_AUTHENTICATED)) !=
            WDB_SESSION_AUTHENTICATED ||
        session->multi_sent != NULL) {
        return false;
    }
    if ((command->arity > 0 && call->argc != (uint32_t)command->arity) ||
        (command->arity < 0 && call->argc < (uint32_t)-command->arity) ||
        wdb_raft_gate_serves(cluster->gate) ||
        !leads_elsewhere(cluster->gate) || redirects(call)) {
        return false;
    }
    const enum need need = need_of(call);
    return need == NEED_WRITE || need == NEED_LEADER ||
           (need == NEED_READ && level_of(call, false) != WDB_READ_STALE);
}
