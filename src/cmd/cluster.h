/*
 * cluster.h - what commands need of Raft, as a small table of functions, so
 * that they can be tested without it. context->cluster is NULL on a single
 * node. The server fills it by wdb_cluster_of_raft.
 *
 * What is asked at each command is loaded from `gate` without a call; all else
 * goes through ops. Any thread.
 */
#ifndef WDB_CMD_CLUSTER_H
#define WDB_CMD_CLUSTER_H

#include "raft/gate.h"
#include "raft/raft.h"

struct wdb_context;

struct wdb_cluster_ops {
    int (*admit)(void *context, size_t size); /* wdb_raft_admit */
    void (*ask_round)(void *context);
    void (*leader)(void *context, struct wdb_raft_leader *out);
    void (*status)(void *context, struct wdb_raft_status *out);
    uint32_t (*count_match)(void *context, uint64_t index);
    int (*ask)(void *context, const struct wdb_raft_request *request);
    /* The cluster's secret as text, for a node that JOINs over a connection
     * that has authenticated itself; 0: there is none. May be NULL. */
    size_t (*secret)(void *context, char *out, size_t size);
};

struct wdb_cluster {
    const struct wdb_cluster_ops *ops;
    void *context;
    const struct wdb_raft_gate *gate;
};

struct wdb_call;
/* False: the node is not in a cluster, which was answered in Redis's words. */
bool wdb_call_needs_cluster(struct wdb_call *call);
/*
 * Is this a cluster for clients, too: redis_mode, cluster_enabled? Only with
 * cluster-redirect. Without, every node serves everything by itself, as a single
 * one would, with all its databases, and clients and tools that switch to a
 * cluster mode by these fields would lose them. CLUSTER answers in either case.
 */
bool wdb_cluster_is_shown(const struct wdb_context *context);
/* A single node, or the one that leads. */
bool wdb_cluster_leads(const struct wdb_context *context);
/* How many other voters are connected, on a leader: for
 * min-replicas-to-write. */
uint32_t wdb_cluster_replicas(const struct wdb_context *context);
/* The table over the real object. */
void wdb_cluster_of_raft(struct wdb_raft *raft, struct wdb_cluster *out);

#endif
