/*
 * replication.c - ROLE, WAIT: Redis's words for who has the data. An offset is
 * the index of an entry of the log.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/number.h"
#include "base/time.h"
#include "cmd/cluster_view.h"
#include "cmd/handlers.h"
#include "cmd/route.h"

/* --- ROLE ------------------------------------------------------------------------ */

static void reply_leader(struct wdb_reply *reply,
                         const struct wdb_cluster_view *view)
{
    char offset[32];
    uint32_t replicas = 0;
    for (uint32_t i = 0; i < view->count; i++) {
        replicas +=
            !view->nodes[i].is_leader && view->nodes[i].peer->is_connected;
    }
    wdb_reply_array(reply, 3);
    wdb_reply_bulk_str(reply, "master");
    wdb_reply_integer(reply, (int64_t)view->status.index_last);
    wdb_reply_array(reply, replicas);
    for (uint32_t i = 0; i < view->count; i++) {
        const struct wdb_cluster_node *node = &view->nodes[i];
        if (node->is_leader || !node->peer->is_connected) {
            continue;
        }
        wdb_reply_array(reply, 3);
        wdb_reply_bulk_str(reply, node->host);
        snprintf(offset, sizeof(offset), "%u", node->port);
        wdb_reply_bulk_str(reply, offset);
        snprintf(offset, sizeof(offset), "%" PRIu64, node->offset);
        wdb_reply_bulk_str(reply, offset);
    }
}

static void reply_follower(struct wdb_reply *reply,
                           const struct wdb_cluster_view *view)
{
    const bool known = view->count > 0 && view->nodes[0].is_leader;
    wdb_reply_array(reply, 5);
    wdb_reply_bulk_str(reply, "slave");
    wdb_reply_bulk_str(reply, known ? view->nodes[0].host : "");
    wdb_reply_integer(reply, known ? view->nodes[0].port : 0);
    wdb_reply_bulk_str(reply, view->status.is_loading ? "sync"
                              : known                 ? "connected"
                                                      : "connect");
    wdb_reply_integer(reply, (int64_t)view->status.index_applied);
}

void wdb_cmd_role(struct wdb_call *call)
{
    const struct wdb_context *context = call->context;
    if (context->cluster == NULL) {
        wdb_reply_array(call->reply, 3);
        wdb_reply_bulk_str(call->reply, "master");
        wdb_reply_integer(call->reply,
                          (int64_t)wdb_log_appended(wdb_db_log(context->db)));
        wdb_reply_array(call->reply, 0);
        return;
    }
    struct wdb_cluster_view *view = malloc(sizeof(*view));
    if (view == NULL) {
        (void)wdb_call_failed(call, WALKERDB_ENOMEM);
        return;
    }
    wdb_cluster_look(context->cluster, view);
    if (view->status.leader.is_self) {
        reply_leader(call->reply, view);
    } else {
        reply_follower(call->reply, view);
    }
    free(view);
}

/* --- WAIT ------------------------------------------------------------------------ */

struct wait {
    uint64_t index; /* of the connection's last write, or of anybody's */
    int64_t replicas;
    uint64_t until_ns; /* 0: without end */
    uint64_t era;
};

/* How many other nodes have it on their disks. */
static int64_t count_others(const struct wdb_context *context, uint64_t index)
{
    const struct wdb_cluster *cluster = context->cluster;
    const struct wdb_log *log = wdb_db_log(context->db);
    const bool here = wdb_log_durable(log) >= index;
    const uint32_t count = cluster->ops->count_match(cluster->context, index);
    return (int64_t)count - (count > 0 && here);
}

static bool poll_wait(struct wdb_session *session, struct wdb_reply *reply,
                      void *arg)
{
    const struct wait *wait = arg;
    struct wdb_env *env = session->context->env;
    const struct wdb_raft_gate *gate = session->context->cluster->gate;
    if (wdb_raft_gate_era(gate) != wait->era) {
        wdb_reply_error(reply,
                        "UNBLOCKED leadership was lost while waiting: it is "
                        "not known which nodes have the write");
        return true;
    }
    const int64_t others = count_others(session->context, wait->index);
    if (others < wait->replicas &&
        (wait->until_ns == 0 || env->ops->monotonic_ns(env) < wait->until_ns)) {
        return false;
    }
    wdb_reply_integer(reply, others);
    return true;
}

static void wait_for_others(struct wdb_call *call, int64_t replicas,
                            int64_t timeout_ms)
{
    struct wdb_env *env = call->context->env;
    struct wait wait = {
        .index = call->session->write_index,
        .replicas = replicas,
        .era = wdb_raft_gate_era(call->context->cluster->gate),
    };
    if (wait.index == 0) {
        /* None that is known here: another session may have written for this
         * client. */
        wait.index = wdb_log_index_last(wdb_db_log(call->context->db));
    }
    if (timeout_ms > 0) {
        wait.until_ns =
            wdb_deadline_ns(env->ops->monotonic_ns(env), (uint64_t)timeout_ms);
    }
    const int64_t others = count_others(call->context, wait.index);
    if (call->in_exec || others >= replicas) {
        wdb_reply_integer(call->reply, others);
        return;
    }
    struct wait *copy = malloc(sizeof(*copy));
    if (copy == NULL) {
        (void)wdb_call_failed(call, WALKERDB_ENOMEM);
        return;
    }
    *copy = wait;
    const struct wdb_waiter waiter = {poll_wait, free, copy};
    wdb_call_wait(call, &waiter);
}

/* Nobody copies from a single node: whatever the client would wait for, there
 * are none, and it is told so at once. */
void wdb_cmd_wait(struct wdb_call *call)
{
    int64_t replicas, timeout_ms;
    if (!wdb_call_int64(call, 1, &replicas)) {
        return;
    }
    if (!wdb_parse_int64(call->argv[2], &timeout_ms)) {
        wdb_call_error(call, "ERR timeout is not an integer or out of range");
        return;
    }
    if (timeout_ms < 0) {
        wdb_call_error(call, "ERR timeout is negative");
        return;
    }
    if (call->context->cluster == NULL) {
        wdb_reply_integer(call->reply, 0);
        return;
    }
    wait_for_others(call, replicas, timeout_ms);
}
