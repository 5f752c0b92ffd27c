/* cluster_view.c - the cluster as Redis Cluster's clients see it. */
#include "cmd/cluster_view.h"

#include <inttypes.h>
#include <stdio.h>

#include "cmd/route.h"

void wdb_cluster_node_id(const struct wdb_raft_status *status, wdb_node_id id,
                         char out[WDB_CLUSTER_ID_SIZE])
{
    snprintf(out, WDB_CLUSTER_ID_SIZE, "%016" PRIx64 "%016" PRIx64 "%08x", id,
             status->cluster_id, 0u);
}

const char *wdb_cluster_role(const struct wdb_raft_status *status,
                             const struct wdb_raft_peer_status *peer)
{
    return peer->member.id == status->leader.id    ? "leader"
           : peer->member.role == WDB_MEMBER_VOTER ? "voter"
                                                   : "standby";
}

static void describe(const struct wdb_raft_status *status,
                     const struct wdb_raft_peer_status *peer,
                     struct wdb_cluster_node *out)
{
    char host[WDB_MEMBER_ADDRESS_MAX + 1];
    out->peer = peer;
    wdb_cluster_node_id(status, peer->member.id, out->id);
    wdb_address_split(peer->member.raft_address, host, sizeof(host),
                      &out->raft_port);
    wdb_address_split(peer->member.tcp_address, out->host, sizeof(out->host),
                      &out->port);
    out->is_leader = peer->member.id == status->leader.id;
    out->offset = peer->is_self    ? status->index_applied
                  : out->is_leader ? status->index_committed
                                   : peer->match_index;
}

void wdb_cluster_look(const struct wdb_cluster *cluster,
                      struct wdb_cluster_view *out)
{
    out->count = 0;
    cluster->ops->status(cluster->context, &out->status);
    /* The leader first: clients take it for the master. */
    for (int pass = 0; pass < 2; pass++) {
        for (uint32_t i = 0; i < out->status.peer_count; i++) {
            const struct wdb_raft_peer_status *peer = &out->status.peers[i];
            const bool leads = peer->member.id == out->status.leader.id;
            if (leads == (pass == 0) && peer->member.role == WDB_MEMBER_VOTER) {
                describe(&out->status, peer, &out->nodes[out->count++]);
            }
        }
    }
}
