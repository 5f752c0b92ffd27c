/* cmd_cluster.c - a cluster without other nodes, for tests of commands. */
#include "lib/cmd_cluster.h"

#include <stdio.h>
#include <stdlib.h>

#include "cmd/transaction.h"
#include "walkerdb.h"

static void must(bool holds, const char *what)
{
    if (!holds) {
        fprintf(stderr, "cmd_cluster: %s\n", what);
        abort();
    }
}

/* --- Raft ------------------------------------------------------------------------ */

static int admit(void *context, size_t size)
{
    const struct cmd_cluster *cluster = context;
    (void)size;
    return cluster->full ? WALKERDB_EBUSY : 0;
}

static void ask_round(void *context)
{
    struct cmd_cluster *cluster = context;
    cluster->asked++;
}

static void leader(void *context, struct wdb_raft_leader *out)
{
    const struct cmd_cluster *cluster = context;
    *out = cluster->leader;
}

static void status(void *context, struct wdb_raft_status *out)
{
    const struct cmd_cluster *cluster = context;
    *out = cluster->status;
    out->leader = cluster->leader;
    out->serves = atomic_load(&cluster->gate.serves);
}

static uint32_t count_match(void *context, uint64_t index)
{
    const struct cmd_cluster *cluster = context;
    const struct wdb_log *log =
        wdb_db_log(cmd_world_context(cluster->world)->db);
    return index <= wdb_log_committed(log) ? cluster->match : 1;
}

static int ask(void *context, const struct wdb_raft_request *request)
{
    struct cmd_cluster *cluster = context;
    cluster->request = *request;
    cluster->request_count++;
    if (!cluster->is_slow) {
        cmd_cluster_request_done(cluster);
    }
    return 0;
}

void cmd_cluster_request_done(struct cmd_cluster *cluster)
{
    const struct wdb_raft_request *request = &cluster->request;
    request->done(request->context, cluster->request_code,
                  cluster->request_code == 0 ? "done" : "it was not done");
}

static size_t secret(void *context, char *out, size_t size)
{
    (void)context;
    return (size_t)snprintf(out, size, "5ec3e7");
}

/* --- forwarding -------------------------------------------------------------------- */

static void note(struct cmd_cluster *cluster, uint32_t argc,
                 const struct wdb_slice *argv)
{
    int rc = 0;
    for (uint32_t i = 0; i < argc && rc == 0; i++) {
        rc = wdb_buffer_printf(&cluster->forwarded, "%s%.*s", i == 0 ? "" : " ",
                               (int)argv[i].size, (const char *)argv[i].data);
    }
    must(rc == 0 && wdb_buffer_append(&cluster->forwarded, "|", 1) == 0,
         "no memory");
}

static int forward_request(void *context,
                           const struct wdb_forward_request *request)
{
    struct cmd_cluster *cluster = context;
    const struct wdb_call *call = request->call;
    const struct wdb_multi *multi = call->session->multi;
    if (cluster->forward_code != 0) {
        return cluster->forward_code;
    }
    for (uint32_t i = 0; multi != NULL && i < multi->count; i++) {
        note(cluster, multi->commands[i].argc, multi->commands[i].argv);
    }
    note(cluster, call->argc, call->argv);
    cluster->forward_session = call->session;
    call->session->forward = cluster;
    return 0;
}

static void forward_unwatch(void *context, struct wdb_session *session)
{
    struct cmd_cluster *cluster = context;
    (void)session;
    cluster->unwatched++;
}

static void forward_leave(void *context, struct wdb_session *session)
{
    struct cmd_cluster *cluster = context;
    (void)session;
    cluster->left++;
}

static void forward_executed(void *context, struct wdb_session *session,
                             enum wdb_channel_outcome outcome)
{
    struct cmd_cluster *cluster = context;
    (void)session;
    cluster->executed += outcome == WDB_CHANNEL_ANSWERED;
    cluster->refused += outcome == WDB_CHANNEL_REFUSED;
}

static void forward_lost(void *context, struct wdb_session *session,
                         uint64_t end)
{
    struct cmd_cluster *cluster = context;
    (void)session;
    cluster->lost_end = end;
}

/* --- the test's side ------------------------------------------------------------------ */

static void add_peer(struct cmd_cluster *cluster, uint64_t id)
{
    struct wdb_raft_peer_status *peer =
        &cluster->status.peers[cluster->status.peer_count++];
    *peer = (struct wdb_raft_peer_status){
        .member = {.id = id, .role = WDB_MEMBER_VOTER},
        .is_self = id == 1,
        .is_connected = id != 1,
        .match_index = id == 1 ? 0 : 7,
        .last_contact_ms = id == 1 ? 0 : 40,
    };
    struct wdb_member *member = &peer->member;
    snprintf(member->name, sizeof(member->name), "node%02d", (int)id);
    snprintf(member->raft_address, sizeof(member->raft_address),
             "127.0.0.1:800%d", (int)id);
    snprintf(member->tcp_address, sizeof(member->tcp_address), "host%d:700%d",
             (int)id, (int)id);
}

struct cmd_cluster *cmd_cluster_new(struct cmd_world *world)
{
    static const struct wdb_cluster_ops ops = {
        .admit = admit,
        .ask_round = ask_round,
        .leader = leader,
        .status = status,
        .count_match = count_match,
        .ask = ask,
        .secret = secret,
    };
    struct cmd_cluster *cluster = calloc(1, sizeof(*cluster));
    must(cluster != NULL, "no memory");
    cluster->world = world;
    cluster->gate.self = 1;
    atomic_store(&cluster->gate.round, 1);
    cluster->cluster = (struct wdb_cluster){.ops = &ops,
                                            .context = cluster,
                                            .gate = &cluster->gate};
    cluster->status.self = 1;
    cluster->status.cluster_id = 42;
    for (uint64_t id = 1; id <= 3; id++) {
        add_peer(cluster, id);
    }
    cmd_world_context(world)->cluster = &cluster->cluster;
    cmd_cluster_serve(cluster);
    return cluster;
}

void cmd_cluster_free(struct cmd_cluster *cluster)
{
    cmd_world_context(cluster->world)->cluster = NULL;
    cmd_world_context(cluster->world)->forward = NULL;
    wdb_buffer_release(&cluster->forwarded);
    free(cluster);
}

void cmd_cluster_commit(struct cmd_cluster *cluster)
{
    struct wdb_db *db = cmd_world_context(cluster->world)->db;
    must(wdb_log_flush(wdb_db_log(db)) == 0, "flush");
    wdb_store_set_committed(wdb_db_store(db), wdb_log_appended(wdb_db_log(db)));
}

void cmd_cluster_confirm(struct cmd_cluster *cluster)
{
    const uint64_t round = atomic_fetch_add(&cluster->gate.round, 1);
    atomic_store(&cluster->gate.round_done, round);
}

void cmd_cluster_lose(struct cmd_cluster *cluster)
{
    struct wdb_db *db = cmd_world_context(cluster->world)->db;
    struct wdb_log *log = wdb_db_log(db);
    wdb_log_hold(log, true);
    must(wdb_log_flush(log) == 0, "flush");
    wdb_raft_gate_lose(&cluster->gate);
    if (wdb_log_index_last(log) > wdb_log_committed(log)) {
        must(wdb_store_revert(wdb_db_store(db), wdb_log_committed(log) + 1) ==
                 0,
             "revert");
    }
    wdb_raft_gate_undone(&cluster->gate);
    cmd_cluster_follow(cluster, 0);
}

static void set_leader(struct cmd_cluster *cluster, uint64_t id)
{
    cluster->leader = (struct wdb_raft_leader){.id = id,
                                               .is_self = id == 1,
                                               .term = ++cluster->status.term};
    if (id != 0) {
        const struct wdb_member *member = &cluster->status.peers[id - 1].member;
        memcpy(cluster->leader.name, member->name, sizeof(member->name));
        memcpy(cluster->leader.raft_address, member->raft_address,
               sizeof(member->raft_address));
        memcpy(cluster->leader.tcp_address, member->tcp_address,
               sizeof(member->tcp_address));
    }
    atomic_store(&cluster->gate.leader, id);
    atomic_fetch_add(&cluster->gate.leader_version, 1);
}

void cmd_cluster_serve(struct cmd_cluster *cluster)
{
    struct wdb_db *db = cmd_world_context(cluster->world)->db;
    set_leader(cluster, 1);
    cluster->status.role = WDB_RAFT_LEADER;
    wdb_log_hold(wdb_db_log(db), false);
    atomic_store(&cluster->gate.serves, true);
    atomic_fetch_add(&cluster->gate.leader_version, 1);
}

void cmd_cluster_follow(struct cmd_cluster *cluster, uint64_t id)
{
    struct wdb_db *db = cmd_world_context(cluster->world)->db;
    wdb_log_hold(wdb_db_log(db), true);
    atomic_store(&cluster->gate.serves, false);
    cluster->status.role = WDB_RAFT_FOLLOWER;
    set_leader(cluster, id);
}

void cmd_cluster_forward(struct cmd_cluster *cluster)
{
    static const struct wdb_forward_ops ops = {
        .request = forward_request,
        .unwatch = forward_unwatch,
        .leave = forward_leave,
        .executed = forward_executed,
        .lost = forward_lost,
    };
    cluster->forward = (struct wdb_forward){&ops, cluster};
    cmd_world_context(cluster->world)->forward = &cluster->forward;
}

const char *cmd_cluster_forwarded(struct cmd_cluster *cluster)
{
    static char text[1024];
    snprintf(text, sizeof(text), "%.*s", (int)cluster->forwarded.size,
             (const char *)cluster->forwarded.data);
    cluster->forwarded.size = 0;
    return text;
}

void cmd_cluster_answer(struct cmd_cluster *cluster, const char *reply)
{
    wdb_session_answer(cluster->forward_session, wdb_slice_str(reply), 1);
}
