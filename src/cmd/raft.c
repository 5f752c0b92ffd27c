/*
 * raft.c - JOIN, RAFT: look at the cluster's nodes, and change who they are.
 *
 * What changes something is executed by the leader; other nodes forward it.
 */
#include <stdio.h>

#include "cmd/client.h"
#include "cmd/cluster_view.h"
#include "cmd/fields.h"
#include "cmd/handlers.h"
#include "cmd/request.h"
#include "cmd/route.h"

#define CHANGE_TIMEOUT_MS   10000
#define TRANSFER_TIMEOUT_MS 5000
#define NODE_PAIRS          13
#define STATUS_PAIRS        34

static bool needs_raft(struct wdb_call *call)
{
    if (call->context->cluster == NULL) {
        wdb_call_error(call, "ERR this node is not in a cluster: start it with "
                             "-raft and -bootstrap true, or -join");
        return false;
    }
    return true;
}

/* --- looking ----------------------------------------------------------------- */

static void node(struct wdb_fields *f, const struct wdb_raft_status *status,
                 const struct wdb_raft_peer_status *peer)
{
    wdb_fields_map(f, NULL, NODE_PAIRS);
    wdb_fields_text(f, "id", peer->member.name);
    wdb_fields_id(f, "node-id", peer->member.id);
    wdb_fields_text(f, "role", wdb_cluster_role(status, peer));
    wdb_fields_text(f, "raft-address", peer->member.raft_address);
    wdb_fields_text(f, "tcp-address", peer->member.tcp_address);
    wdb_fields_flag(f, "self", peer->is_self);
    wdb_fields_flag(f, "connected", peer->is_self || peer->is_connected);
    wdb_fields_integer(f, "match-index", (int64_t)peer->match_index);
    wdb_fields_integer(f, "lag", (int64_t)peer->lag);
    wdb_fields_integer(f, "last-contact-ms", peer->last_contact_ms);
    wdb_fields_integer(f, "transfer-done",
                       peer->transfer_running ? (int64_t)peer->transfer_done
                                              : -1);
    wdb_fields_integer(f, "transfer-total", (int64_t)peer->transfer_total);
    wdb_fields_integer(f, "transfer-rate", (int64_t)peer->transfer_rate);
    wdb_fields_map_end(f);
}

static void nodes(struct wdb_fields *f, const char *name,
                  const struct wdb_raft_status *status)
{
    wdb_fields_array(f, name, status->peer_count);
    for (uint32_t i = 0; i < status->peer_count; i++) {
        node(f, status, &status->peers[i]);
    }
    wdb_fields_array_end(f);
}

static void numbers(struct wdb_fields *f, const struct wdb_raft_status *s)
{
    const struct {
        const char *name;
        uint64_t value;
    } values[] = {
        {"index-last", s->index_last},
        {"index-durable", s->index_durable},
        {"index-committed", s->index_committed},
        {"index-applied", s->index_applied},
        {"index-retained", s->index_retained},
        {"snapshot-index", s->snapshot_index},
        {"uncommitted-bytes", s->uncommitted_size},
        {"configuration-index", s->configuration_index},
        {"elections", s->elections},
        {"terms-led", s->terms_led},
        {"leader-changes", s->leader_changes},
        {"rounds", s->rounds},
        {"truncations", s->truncations},
        {"snapshots-sent", s->snapshots_sent},
        {"snapshots-installed", s->snapshots_installed},
        {"election-timeout-ms", s->election_timeout_ms},
        {"heartbeat-ms", s->heartbeat_ms},
    };
    for (size_t i = 0; i < WDB_COUNT(values); i++) {
        wdb_fields_integer(f, values[i].name, (int64_t)values[i].value);
    }
}

static const char *name_of(const struct wdb_raft_status *status, uint64_t id)
{
    for (uint32_t i = 0; i < status->peer_count; i++) {
        if (status->peers[i].member.id == id) {
            return status->peers[i].member.name;
        }
    }
    return "";
}

static void put_status(struct wdb_fields *f, const struct wdb_raft_status *s)
{
    char hash[32];
    snprintf(hash, sizeof(hash), "%016llx", (unsigned long long)s->state_hash);
    wdb_fields_map(f, NULL, STATUS_PAIRS);
    wdb_fields_text(f, "id", name_of(s, s->self));
    wdb_fields_id(f, "node-id", s->self);
    wdb_fields_id(f, "cluster-id", s->cluster_id);
    wdb_fields_text(f, "role", wdb_raft_role_name(s->role));
    wdb_fields_integer(f, "term", (int64_t)s->term);
    wdb_fields_text(f, "voted-for", name_of(s, s->voted_for));
    wdb_fields_text(f, "leader", s->leader.name);
    wdb_fields_id(f, "leader-node-id", s->leader.id);
    wdb_fields_text(f, "leader-raft-address", s->leader.raft_address);
    wdb_fields_text(f, "leader-tcp-address", s->leader.tcp_address);
    wdb_fields_flag(f, "serves", s->serves);
    wdb_fields_flag(f, "loading", s->is_loading);
    wdb_fields_flag(f, "transferring", s->is_transferring);
    wdb_fields_flag(f, "configuration-pending", s->configuration_pending);
    wdb_fields_integer(f, "era", (int64_t)s->era);
    numbers(f, s);
    wdb_fields_text(f, "state-hash", hash);
    nodes(f, "nodes", s);
    wdb_fields_map_end(f);
}

void wdb_cmd_raft_nodes(struct wdb_call *call)
{
    if (!needs_raft(call)) {
        return;
    }
    const struct wdb_cluster *cluster = call->context->cluster;
    struct wdb_raft_status status;
    struct wdb_fields fields = {.reply = call->reply};
    cluster->ops->status(cluster->context, &status);
    nodes(&fields, NULL, &status);
}

void wdb_cmd_raft_status(struct wdb_call *call)
{
    if (!needs_raft(call)) {
        return;
    }
    const struct wdb_cluster *cluster = call->context->cluster;
    struct wdb_raft_status status;
    const bool json = call->argc == 3 && wdb_call_is(call, 2, "JSON");
    if (call->argc > 3 || (call->argc == 3 && !json)) {
        wdb_call_syntax_error(call);
        return;
    }
    cluster->ops->status(cluster->context, &status);
    struct wdb_fields fields = {.reply = json ? NULL : call->reply};
    put_status(&fields, &status);
    if (json && !wdb_call_failed(call, fields.code)) {
        wdb_reply_bulk(call->reply, wdb_buffer_slice(&fields.text));
    }
    wdb_buffer_release(&fields.text);
}

void wdb_cmd_raft_help(struct wdb_call *call)
{
    static const char *const lines[] = {
        "ADDRESS <id> <raft-address> <tcp-address>",
        "    A node that moved: where it is reached from now on.",
        "NODES",
        "    The nodes: role, addresses, indexes, lag, last contact, "
        "transfers.",
        "REMOVE <id>",
        "    Take a node out of the cluster. It never comes back by this id.",
        "STATUS [JSON]",
        "    This node's view: role, term, leader, indexes, counters, nodes.",
        "TRANSFER [<id>]",
        "    Let another node lead: this one, or the one that is best.",
        NULL};
    wdb_call_help(call, "RAFT", lines);
}

/* --- changing ------------------------------------------------------------------ */

/* Up to 16 hex digits. */
static bool parse_id(struct wdb_slice text, uint64_t *out)
{
    uint64_t id = 0;
    for (size_t i = 0; i < text.size; i++) {
        const uint8_t c = text.data[i];
        const int digit = c >= '0' && c <= '9'   ? c - '0'
                          : c >= 'a' && c <= 'f' ? c - 'a' + 10
                          : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                                 : -1;
        if (digit < 0 || i >= 16) {
            return false;
        }
        id = id << 4 | (uint64_t)digit;
    }
    *out = id;
    return text.size > 0;
}

/* JOIN id raft-address tcp-address [node-id [SECRET]] */
void wdb_cmd_join(struct wdb_call *call)
{
    struct wdb_raft_request request = {
        .kind = WDB_RAFT_JOIN,
        .timeout_ms = CHANGE_TIMEOUT_MS,
        .member = {.role = WDB_MEMBER_STANDBY},
    };
    struct wdb_member *member = &request.member;
    if (!needs_raft(call)) {
        return;
    }
    if (call->argc > 6 ||
        (call->argc == 6 && !wdb_call_is(call, 5, "SECRET"))) {
        wdb_call_syntax_error(call);
        return;
    }
    if (call->argc > 4 && !parse_id(call->argv[4], &member->id)) {
        wdb_call_error(call, "ERR the node id is not a number of up to 16 hex "
                             "digits");
        return;
    }
    if (wdb_call_text(call, 1, member->name, sizeof(member->name)) &&
        wdb_call_text(call, 2, member->raft_address,
                      sizeof(member->raft_address)) &&
        wdb_call_text(call, 3, member->tcp_address,
                      sizeof(member->tcp_address))) {
        wdb_call_request(call, &request, call->argc == 6);
    }
}

void wdb_cmd_raft_remove(struct wdb_call *call)
{
    struct wdb_raft_request request = {.kind = WDB_RAFT_REMOVE,
                                       .timeout_ms = CHANGE_TIMEOUT_MS};
    if (needs_raft(call) && wdb_call_member(call, 2, &request.member)) {
        wdb_call_request(call, &request, false);
    }
}

void wdb_cmd_raft_transfer(struct wdb_call *call)
{
    struct wdb_raft_request request = {.kind = WDB_RAFT_TRANSFER,
                                       .timeout_ms = TRANSFER_TIMEOUT_MS};
    if (call->argc > 3) {
        wdb_call_syntax_error(call);
        return;
    }
    if (needs_raft(call) &&
        (call->argc == 2 || wdb_call_member(call, 2, &request.member))) {
        wdb_call_request(call, &request, false);
    }
}

void wdb_cmd_raft_address(struct wdb_call *call)
{
    struct wdb_raft_request request = {.kind = WDB_RAFT_MOVE,
                                       .timeout_ms = CHANGE_TIMEOUT_MS};
    struct wdb_member *member = &request.member;
    if (needs_raft(call) && wdb_call_member(call, 2, member) &&
        wdb_call_text(call, 3, member->raft_address,
                      sizeof(member->raft_address)) &&
        wdb_call_text(call, 4, member->tcp_address,
                      sizeof(member->tcp_address))) {
        wdb_call_request(call, &request, false);
    }
}

/* --- FAILOVER ---------------------------------------------------------------- */

/* The member that clients reach at this host and port. */
static bool find_by_address(struct wdb_call *call, struct wdb_slice host,
                            int64_t port, struct wdb_member *out)
{
    const struct wdb_cluster *cluster = call->context->cluster;
    struct wdb_raft_status status;
    cluster->ops->status(cluster->context, &status);
    for (uint32_t i = 0; i < status.peer_count; i++) {
        char its_host[WDB_MEMBER_ADDRESS_MAX + 1];
        uint32_t its_port;
        wdb_address_split(status.peers[i].member.tcp_address, its_host,
                          sizeof(its_host), &its_port);
        if (its_port == port &&
            wdb_slice_equal(host, wdb_slice_str(its_host))) {
            *out = status.peers[i].member;
            return true;
        }
    }
    wdb_call_error(call, "ERR FAILOVER target HOST and PORT is not a replica.");
    return false;
}

/* TO host port [FORCE], TIMEOUT ms, in any order. It is never forced: entries
 * could be lost. False: that was answered. */
static bool parse_failover(struct wdb_call *call, struct wdb_slice *host,
                           int64_t *port, int64_t *timeout_ms)
{
    for (uint32_t i = 1; i < call->argc; i++) {
        const uint32_t more = call->argc - 1 - i;
        if (wdb_call_is(call, i, "TO") && more >= 2 && host->data == NULL) {
            *host = call->argv[i + 1];
            if (!wdb_call_int64(call, i + 2, port)) {
                return false;
            }
            i += more >= 3 && wdb_call_is(call, i + 3, "FORCE") ? 3 : 2;
        } else if (wdb_call_is(call, i, "TIMEOUT") && more >= 1) {
            if (!wdb_call_int64(call, ++i, timeout_ms)) {
                return false;
            }
        } else {
            wdb_call_syntax_error(call);
            return false;
        }
    }
    if (*timeout_ms <= 0) {
        wdb_call_error(call, "ERR FAILOVER timeout must be greater than 0");
    }
    return *timeout_ms > 0;
}

void wdb_cmd_failover(struct wdb_call *call)
{
    struct wdb_raft_request request = {.kind = WDB_RAFT_TRANSFER};
    struct wdb_slice host = {0};
    int64_t port = 0, timeout_ms = TRANSFER_TIMEOUT_MS;
    if (!needs_raft(call)) {
        return;
    }
    if (call->argc == 2 && wdb_call_is(call, 1, "ABORT")) {
        wdb_call_error(call, "ERR No failover in progress.");
        return;
    }
    if (!parse_failover(call, &host, &port, &timeout_ms)) {
        return;
    }
    request.timeout_ms = (uint64_t)timeout_ms;
    if (host.data == NULL ||
        find_by_address(call, host, port, &request.member)) {
        wdb_call_request(call, &request, false);
    }
}
