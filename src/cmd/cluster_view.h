/*
 * cluster_view.h - the cluster as Redis Cluster's clients see it: one shard,
 * whose master is the leader, which has all slots; the other voters are its
 * replicas. Nodes that are joining are not shown.
 */
#ifndef WDB_CMD_CLUSTER_VIEW_H
#define WDB_CMD_CLUSTER_VIEW_H

#include "cmd/cluster.h"

#define WDB_CLUSTER_ID_SIZE 41 /* 40 hex digits */

struct wdb_cluster_node {
    const struct wdb_raft_peer_status *peer;
    char id[WDB_CLUSTER_ID_SIZE];
    char host[WDB_MEMBER_ADDRESS_MAX + 1]; /* as it was given, no brackets */
    uint32_t port, raft_port;
    uint64_t offset; /* index up to which it has the log; 0: not known here */
    bool is_leader;
};

struct wdb_cluster_view {
    struct wdb_raft_status status;
    uint32_t count;
    struct wdb_cluster_node nodes[WDB_MEMBERS_MAX]; /* the leader first */
};

/* As it is now. Large: not for deep stacks. */
void wdb_cluster_look(const struct wdb_cluster *cluster,
                      struct wdb_cluster_view *out);
/* The 40 hex digits of a node. */
void wdb_cluster_node_id(const struct wdb_raft_status *status, wdb_node_id id,
                         char out[WDB_CLUSTER_ID_SIZE]);
/* "leader", "voter" or "standby". */
const char *wdb_cluster_role(const struct wdb_raft_status *status,
                             const struct wdb_raft_peer_status *peer);

#endif
