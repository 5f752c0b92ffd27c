/*
 * info_cluster.c - INFO: replication, Raft, cluster.
 *
 * The leader is the master, the other voters are its replicas, an offset is the
 * index of an entry: so what watches the replication of Redis watches this.
 */
#include <inttypes.h>
#include <stdlib.h>

#include "base/time.h"
#include "cmd/cluster_view.h"
#include "cmd/info.h"

#define LINE(info, name, value)                                                \
    wdb_info_line((info), name ":%" PRIu64, (uint64_t)(value))

/* To be freed. NULL without memory, or without a cluster. */
static struct wdb_cluster_view *look(struct wdb_info *info)
{
    if (info->context->cluster == NULL) {
        return NULL;
    }
    struct wdb_cluster_view *view = malloc(sizeof(*view));
    if (view == NULL) {
        info->code = WALKERDB_ENOMEM;
        return NULL;
    }
    wdb_cluster_look(info->context->cluster, view);
    return view;
}

/* --- replication ----------------------------------------------------------------- */

static int64_t seconds_since(const struct wdb_raft_peer_status *peer)
{
    return peer->last_contact_ms < 0 ? -1
                                     : peer->last_contact_ms / WDB_MS_PER_S;
}

static void replicas(struct wdb_info *info, const struct wdb_cluster_view *view)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < view->count; i++) {
        const struct wdb_cluster_node *node = &view->nodes[i];
        count += !node->is_leader && node->peer->is_connected;
    }
    wdb_info_line(info, "connected_slaves:%u", count);
    count = 0;
    for (uint32_t i = 0; i < view->count; i++) {
        const struct wdb_cluster_node *node = &view->nodes[i];
        if (node->is_leader || !node->peer->is_connected) {
            continue;
        }
        const int64_t lag = seconds_since(node->peer);
        wdb_info_line(info,
                      "slave%u:ip=%s,port=%u,state=%s,offset=%" PRIu64
                      ",lag=%" PRId64,
                      count++, node->host, node->port,
                      node->peer->transfer_running ? "send_bulk" : "online",
                      node->offset, lag < 0 ? 0 : lag);
    }
}

/* For how long nobody has led, as far as this node knows. */
static uint64_t down_seconds(const struct wdb_info *info)
{
    const struct wdb_context *context = info->context;
    const uint64_t now_ns = context->env->ops->monotonic_ns(context->env);
    const uint64_t seen_ns =
        atomic_load(&context->cluster->gate->leader_seen_ns);
    return seen_ns == 0 || seen_ns > now_ns
               ? 0
               : (now_ns - seen_ns) / (uint64_t)WDB_NS_PER_S;
}

static void master(struct wdb_info *info, const struct wdb_cluster_view *view)
{
    const struct wdb_raft_status *status = &view->status;
    const struct wdb_cluster_node *leader =
        view->count > 0 && view->nodes[0].is_leader ? &view->nodes[0] : NULL;
    wdb_info_line(info, "master_host:%s", leader == NULL ? "" : leader->host);
    wdb_info_line(info, "master_port:%u", leader == NULL ? 0 : leader->port);
    wdb_info_line(info, "master_link_status:%s",
                  leader == NULL ? "down" : "up");
    wdb_info_line(info, "master_last_io_seconds_ago:%" PRId64,
                  leader == NULL ? -1 : seconds_since(leader->peer));
    wdb_info_line(info, "master_sync_in_progress:%d", status->is_loading);
    LINE(info, "slave_read_repl_offset", status->index_last);
    LINE(info, "slave_repl_offset", status->index_applied);
    if (leader == NULL) {
        LINE(info, "master_link_down_since_seconds", down_seconds(info));
    }
    wdb_info_line(info, "slave_priority:100");
    wdb_info_line(info, "slave_read_only:1");
    wdb_info_line(info, "replica_announced:1");
}

/* Its first lines; returns the offset. */
static uint64_t roles(struct wdb_info *info)
{
    struct wdb_cluster_view *view = look(info);
    if (view == NULL) {
        wdb_info_line(info, "role:master");
        wdb_info_line(info, "connected_slaves:0");
        wdb_info_line(info, "master_failover_state:no-failover");
        wdb_info_line(info, "master_replid:%s", info->context->run_id);
        return wdb_log_appended(wdb_db_log(info->context->db));
    }
    const struct wdb_raft_status *status = &view->status;
    const bool leads = status->leader.is_self;
    const uint64_t offset = leads ? status->index_last : status->index_applied;
    char id[WDB_CLUSTER_ID_SIZE];
    wdb_info_line(info, "role:%s", leads ? "master" : "slave");
    if (leads) {
        replicas(info, view);
    } else {
        master(info, view);
        wdb_info_line(info, "connected_slaves:0");
    }
    wdb_info_line(info, "master_failover_state:%s",
                  status->is_transferring ? "failover-in-progress"
                                          : "no-failover");
    wdb_cluster_node_id(status, 0, id); /* of the cluster */
    wdb_info_line(info, "master_replid:%s", id);
    free(view);
    return offset;
}

void wdb_info_replication(struct wdb_info *info)
{
    const struct wdb_context *context = info->context;
    const uint64_t offset = roles(info);
    wdb_info_line(info,
                  "master_replid2:0000000000000000000000000000000000000000");
    LINE(info, "master_repl_offset", offset);
    wdb_info_line(info, "second_repl_offset:-1");
    wdb_info_line(info, "repl_backlog_active:0");
    LINE(info, "repl_backlog_size",
         wdb_config_u64(context->config, WDB_CONFIG_REPL_BACKLOG_SIZE));
    wdb_info_line(info, "repl_backlog_first_byte_offset:0");
    wdb_info_line(info, "repl_backlog_histlen:0");
}

/* --- Raft ---------------------------------------------------------------------------- */

static void state(struct wdb_info *info, const struct wdb_raft_status *s)
{
    wdb_info_line(info, "raft_role:%s", wdb_raft_role_name(s->role));
    wdb_info_line(info, "raft_node_id:%016" PRIx64, s->self);
    wdb_info_line(info, "raft_cluster_id:%016" PRIx64, s->cluster_id);
    LINE(info, "raft_term", s->term);
    wdb_info_line(info, "raft_leader:%s", s->leader.name);
    wdb_info_line(info, "raft_leader_address:%s", s->leader.tcp_address);
    LINE(info, "raft_serves", s->serves);
    LINE(info, "raft_loading", s->is_loading);
    LINE(info, "raft_transferring", s->is_transferring);
    LINE(info, "raft_era", s->era);
    wdb_info_line(info, "raft_state_hash:%016" PRIx64, s->state_hash);
    LINE(info, "raft_configuration_pending", s->configuration_pending);
    LINE(info, "raft_nodes", s->peer_count);
}

static void numbers(struct wdb_info *info, const struct wdb_raft_status *s)
{
    LINE(info, "raft_last_log_index", s->index_last);
    LINE(info, "raft_durable_index", s->index_durable);
    LINE(info, "raft_commit_index", s->index_committed);
    LINE(info, "raft_applied_index", s->index_applied);
    LINE(info, "raft_retained_index", s->index_retained);
    LINE(info, "raft_snapshot_index", s->snapshot_index);
    LINE(info, "raft_configuration_index", s->configuration_index);
    LINE(info, "raft_uncommitted_bytes", s->uncommitted_size);
    LINE(info, "raft_elections", s->elections);
    LINE(info, "raft_terms_led", s->terms_led);
    LINE(info, "raft_leader_changes", s->leader_changes);
    LINE(info, "raft_rounds", s->rounds);
    LINE(info, "raft_truncations", s->truncations);
    LINE(info, "raft_snapshots_sent", s->snapshots_sent);
    LINE(info, "raft_snapshots_installed", s->snapshots_installed);
    LINE(info, "raft_election_timeout_ms", s->election_timeout_ms);
    LINE(info, "raft_heartbeat_ms", s->heartbeat_ms);
}

void wdb_info_raft(struct wdb_info *info)
{
    struct wdb_cluster_view *view = look(info);
    if (view == NULL) {
        return;
    }
    const struct wdb_raft_status *status = &view->status;
    state(info, status);
    numbers(info, status);
    for (uint32_t i = 0; i < status->peer_count; i++) {
        const struct wdb_raft_peer_status *peer = &status->peers[i];
        wdb_info_line(info,
                      "raft_node%u:id=%s,role=%s,raft=%s,tcp=%s,connected=%d,"
                      "match=%" PRIu64 ",lag=%" PRIu64
                      ",last_contact_ms=%" PRId64
                      ",transfer=%d,transfer_done=%" PRIu64
                      ",transfer_total=%" PRIu64 ",transfer_rate=%" PRIu64,
                      i, peer->member.name, wdb_cluster_role(status, peer),
                      peer->member.raft_address, peer->member.tcp_address,
                      peer->is_self || peer->is_connected, peer->match_index,
                      peer->lag, peer->last_contact_ms, peer->transfer_running,
                      peer->transfer_done, peer->transfer_total,
                      peer->transfer_rate);
    }
    free(view);
}

/* --- cluster -------------------------------------------------------------------------- */

void wdb_info_cluster(struct wdb_info *info)
{
    wdb_info_line(info, "cluster_enabled:%d",
                  wdb_cluster_is_shown(info->context));
}
