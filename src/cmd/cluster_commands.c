/*
 * cluster_commands.c - CLUSTER: what the cluster modes of clients ask for.
 *
 * Everything has one slot range, and it is the leader's. While nobody leads,
 * the cluster's state is "fail", and the nodes are shown as replicas.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/number.h"
#include "cmd/client.h"
#include "cmd/cluster_view.h"
#include "cmd/handlers.h"
#include "cmd/slot.h"

#define SLOT_LAST (WDB_SLOT_COUNT - 1)
#define NODE_LINE 1024

/* NULL: that was answered. To be freed. */
static struct wdb_cluster_view *look(struct wdb_call *call)
{
    if (!wdb_call_needs_cluster(call)) {
        return NULL;
    }
    struct wdb_cluster_view *view = malloc(sizeof(*view));
    if (view == NULL) {
        (void)wdb_call_failed(call, WALKERDB_ENOMEM);
        return NULL;
    }
    wdb_cluster_look(call->context->cluster, view);
    return view;
}

static bool has_leader(const struct wdb_cluster_view *view)
{
    return view->count > 0 && view->nodes[0].is_leader;
}

/* --- SLOTS, SHARDS ------------------------------------------------------------ */

void wdb_cmd_cluster_slots(struct wdb_call *call)
{
    struct wdb_cluster_view *view = look(call);
    struct wdb_reply *reply = call->reply;
    if (view == NULL) {
        return;
    }
    wdb_reply_array(reply, 1);
    wdb_reply_array(reply, 2 + view->count);
    wdb_reply_integer(reply, 0);
    wdb_reply_integer(reply, SLOT_LAST);
    for (uint32_t i = 0; i < view->count; i++) {
        const struct wdb_cluster_node *node = &view->nodes[i];
        wdb_reply_array(reply, 4);
        wdb_reply_bulk_str(reply, node->host);
        wdb_reply_integer(reply, node->port);
        wdb_reply_bulk_str(reply, node->id);
        wdb_reply_map(reply, 0);
    }
    free(view);
}

static void reply_pair(struct wdb_reply *reply, const char *name,
                       const char *value)
{
    wdb_reply_bulk_str(reply, name);
    wdb_reply_bulk_str(reply, value);
}

void wdb_cmd_cluster_shards(struct wdb_call *call)
{
    struct wdb_cluster_view *view = look(call);
    struct wdb_reply *reply = call->reply;
    if (view == NULL) {
        return;
    }
    wdb_reply_array(reply, 1);
    wdb_reply_map(reply, 2);
    wdb_reply_bulk_str(reply, "slots");
    wdb_reply_array(reply, 2);
    wdb_reply_integer(reply, 0);
    wdb_reply_integer(reply, SLOT_LAST);
    wdb_reply_bulk_str(reply, "nodes");
    wdb_reply_array(reply, view->count);
    for (uint32_t i = 0; i < view->count; i++) {
        const struct wdb_cluster_node *node = &view->nodes[i];
        const bool up = node->peer->is_self || node->peer->is_connected ||
                        !view->status.leader.is_self;
        wdb_reply_map(reply, 7);
        reply_pair(reply, "id", node->id);
        wdb_reply_bulk_str(reply, "port");
        wdb_reply_integer(reply, node->port);
        reply_pair(reply, "ip", node->host);
        reply_pair(reply, "endpoint", node->host);
        reply_pair(reply, "role", node->is_leader ? "master" : "replica");
        wdb_reply_bulk_str(reply, "replication-offset");
        wdb_reply_integer(reply, (int64_t)node->offset);
        reply_pair(reply, "health", up ? "online" : "fail");
    }
    free(view);
}

/* --- NODES, REPLICAS ---------------------------------------------------------- */

static int node_line(const struct wdb_call *call,
                     const struct wdb_cluster_view *view,
                     const struct wdb_cluster_node *node, char *out)
{
    struct wdb_env *env = call->context->env;
    const uint64_t now_ms = env->ops->time_ms(env);
    const int64_t ago = node->peer->last_contact_ms;
    const uint64_t heard =
        node->peer->is_self || ago < 0 || (uint64_t)ago > now_ms
            ? 0
            : now_ms - (uint64_t)ago;
    const bool linked = node->peer->is_self || node->peer->is_connected;
    const char *master =
        node->is_leader || !has_leader(view) ? "-" : view->nodes[0].id;
    return snprintf(out, NODE_LINE,
                    "%s %s:%u@%u %s%s %s 0 %" PRIu64 " %" PRIu64 " %s%s",
                    node->id, node->host, node->port, node->raft_port,
                    node->peer->is_self ? "myself," : "",
                    node->is_leader ? "master" : "slave", master, heard,
                    view->status.term, linked ? "connected" : "disconnected",
                    node->is_leader ? " 0-16383" : "");
}

void wdb_cmd_cluster_nodes(struct wdb_call *call)
{
    struct wdb_cluster_view *view = look(call);
    struct wdb_buffer text = WDB_BUFFER_INIT;
    char line[NODE_LINE];
    int code = 0;
    if (view == NULL) {
        return;
    }
    for (uint32_t i = 0; i < view->count && code == 0; i++) {
        node_line(call, view, &view->nodes[i], line);
        code = wdb_buffer_printf(&text, "%s\n", line);
    }
    if (!wdb_call_failed(call, code)) {
        wdb_reply_verbatim(call->reply, "txt", wdb_buffer_slice(&text));
    }
    wdb_buffer_release(&text);
    free(view);
}

void wdb_cmd_cluster_replicas(struct wdb_call *call)
{
    struct wdb_cluster_view *view = look(call);
    char line[NODE_LINE];
    const struct wdb_cluster_node *found = NULL;
    if (view == NULL) {
        return;
    }
    for (uint32_t i = 0; i < view->count; i++) {
        if (wdb_slice_equal(call->argv[2], wdb_slice_str(view->nodes[i].id))) {
            found = &view->nodes[i];
        }
    }
    if (found == NULL) {
        wdb_call_error(call, "ERR Unknown node %.*s",
                       (int)(call->argv[2].size < 64 ? call->argv[2].size : 64),
                       (const char *)call->argv[2].data);
    } else if (!found->is_leader) {
        wdb_call_error(call, "ERR The specified node is not a master");
    } else {
        wdb_reply_array(call->reply, view->count - 1);
        for (uint32_t i = 1; i < view->count; i++) {
            node_line(call, view, &view->nodes[i], line);
            wdb_reply_bulk_str(call->reply, line);
        }
    }
    free(view);
}

/* --- the rest -------------------------------------------------------------------- */

void wdb_cmd_cluster_info(struct wdb_call *call)
{
    struct wdb_cluster_view *view = look(call);
    struct wdb_buffer text = WDB_BUFFER_INIT;
    if (view == NULL) {
        return;
    }
    const bool ok = has_leader(view);
    const int slots = ok ? WDB_SLOT_COUNT : 0;
    const int code =
        wdb_buffer_printf(&text,
                          "cluster_state:%s\r\n"
                          "cluster_slots_assigned:%d\r\n"
                          "cluster_slots_ok:%d\r\n"
                          "cluster_slots_pfail:0\r\n"
                          "cluster_slots_fail:%d\r\n"
                          "cluster_known_nodes:%u\r\n"
                          "cluster_size:1\r\n"
                          "cluster_current_epoch:%" PRIu64 "\r\n"
                          "cluster_my_epoch:%" PRIu64 "\r\n"
                          "cluster_stats_messages_sent:0\r\n"
                          "cluster_stats_messages_received:0\r\n"
                          "total_cluster_links_buffer_limit_exceeded:0\r\n",
                          ok ? "ok" : "fail", WDB_SLOT_COUNT, slots,
                          WDB_SLOT_COUNT - slots, view->count,
                          view->status.term, view->status.term);
    if (!wdb_call_failed(call, code)) {
        wdb_reply_verbatim(call->reply, "txt", wdb_buffer_slice(&text));
    }
    wdb_buffer_release(&text);
    free(view);
}

void wdb_cmd_cluster_myid(struct wdb_call *call)
{
    struct wdb_cluster_view *view = look(call);
    char id[WDB_CLUSTER_ID_SIZE];
    if (view != NULL) {
        wdb_cluster_node_id(&view->status, view->status.self, id);
        wdb_reply_bulk_str(call->reply, id);
        free(view);
    }
}

void wdb_cmd_cluster_keyslot(struct wdb_call *call)
{
    if (wdb_call_needs_cluster(call)) {
        wdb_reply_integer(call->reply, wdb_key_slot(call->argv[2]));
    }
}

void wdb_cmd_cluster_links(struct wdb_call *call)
{
    if (wdb_call_needs_cluster(call)) {
        wdb_reply_array(call->reply, 0);
    }
}

void wdb_cmd_cluster_help(struct wdb_call *call)
{
    static const char *const lines[] = {
        "COUNTKEYSINSLOT <slot>",
        "    How many keys of database 0 hash to the slot: looks at all keys.",
        "INFO",
        "    The state of the cluster.",
        "KEYSLOT <key>",
        "    The hash slot of the key.",
        "LINKS",
        "    None: nodes are linked otherwise; see RAFT NODES.",
        "MYID",
        "    The id of this node.",
        "NODES",
        "    A line for each node.",
        "REPLICAS <node-id>",
        "    The lines of the nodes that follow the leader.",
        "SHARDS",
        "    The one shard, and its nodes.",
        "SLOTS",
        "    The one range of slots, and its nodes, the leader first.",
        NULL};
    if (wdb_call_needs_cluster(call)) {
        wdb_call_help(call, "CLUSTER", lines);
    }
}

/* --- COUNTKEYSINSLOT ---------------------------------------------------------------- */

#define COUNT_RUN 1024

struct count {
    uint32_t slot;
    uint64_t keys;
};

static void count_key(void *context, struct wdb_slice key,
                      const struct wdb_item *item)
{
    struct count *count = context;
    (void)item;
    count->keys += wdb_key_slot(key) == count->slot;
}

void wdb_cmd_cluster_countkeysinslot(struct wdb_call *call)
{
    struct count count = {0};
    int64_t slot;
    if (!wdb_call_needs_cluster(call) || !wdb_call_int64(call, 2, &slot)) {
        return;
    }
    if (slot < 0 || slot >= WDB_SLOT_COUNT) {
        wdb_call_error(call, "ERR Invalid slot");
        return;
    }
    count.slot = (uint32_t)slot;
    uint64_t cursor = 0;
    do {
        uint64_t depends = 0;
        cursor = wdb_db_scan(call->txn, cursor, COUNT_RUN, count_key, &count,
                             &depends);
        if (call->txn->depends < depends) {
            call->txn->depends = depends;
        }
    } while (cursor != 0);
    wdb_reply_integer(call->reply, (int64_t)count.keys);
}
