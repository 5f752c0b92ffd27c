/* cluster.c - what several commands compute from the cluster's state. */
#include "cmd/cluster.h"

#include "cmd/context.h"

bool wdb_cluster_is_shown(const struct wdb_context *context)
{
    return context->cluster != NULL &&
           wdb_config_bool(context->config, WDB_CONFIG_CLUSTER_REDIRECT);
}

bool wdb_cluster_leads(const struct wdb_context *context)
{
    const struct wdb_cluster *cluster = context->cluster;
    return cluster == NULL ||
           atomic_load(&cluster->gate->leader) == cluster->gate->self;
}

uint32_t wdb_cluster_replicas(const struct wdb_context *context)
{
    const struct wdb_cluster *cluster = context->cluster;
    struct wdb_raft_status status;
    uint32_t count = 0;
    cluster->ops->status(cluster->context, &status);
    for (uint32_t i = 0; i < status.peer_count; i++) {
        const struct wdb_raft_peer_status *peer = &status.peers[i];
        count += !peer->is_self && peer->is_connected &&
                 peer->member.role == WDB_MEMBER_VOTER;
    }
    return count;
}
