/*
 * cmd_cluster.h - a cluster for tests of commands, without any other node: the
 * test says who leads, what is committed, and when a round is done.
 *
 *     struct cmd_cluster *cluster = cmd_cluster_new(world);
 *     CHECK_REPLY(client, "SET key value", "");
 *     cmd_cluster_commit(cluster);
 *     CHECK_REPLY(client, "", "+OK");
 *
 * The world must have been opened with manual_commit. The node has the id 1,
 * and serves. There are the members 1 (node01), 2 and 3.
 */
#ifndef WDB_TEST_LIB_CMD_CLUSTER_H
#define WDB_TEST_LIB_CMD_CLUSTER_H

#include "cmd/cluster.h"
#include "cmd/forward.h"
#include "lib/cmd_client.h"

struct cmd_cluster {
    struct cmd_world *world;
    struct wdb_cluster cluster;
    struct wdb_raft_gate gate;
    struct wdb_raft_leader leader;
    struct wdb_raft_status status;
    bool full;                       /* admit says EBUSY */
    uint32_t asked;                  /* rounds */
    uint32_t match;                  /* what count_match says */
    struct wdb_raft_request request; /* the last one */
    uint32_t request_count;
    int request_code; /* it is done with */
    bool is_slow;     /* it is done by cmd_cluster_request_done only */

    /* Forwarding. */
    struct wdb_forward forward;
    struct wdb_buffer forwarded; /* "GET a|SET b 1|", as they came */
    struct wdb_session *forward_session;
    int forward_code; /* what request returns */
    uint32_t unwatched, left, refused, executed;
    uint64_t lost_end;
};

struct cmd_cluster *cmd_cluster_new(struct cmd_world *world);
void cmd_cluster_free(struct cmd_cluster *cluster);
/* The last request is done. */
void cmd_cluster_request_done(struct cmd_cluster *cluster);
/* Everything written is committed. */
void cmd_cluster_commit(struct cmd_cluster *cluster);
/* The round that has begun, or would next, is done. */
void cmd_cluster_confirm(struct cmd_cluster *cluster);
/* Lose office: what is not committed is taken back. */
void cmd_cluster_lose(struct cmd_cluster *cluster);
void cmd_cluster_serve(struct cmd_cluster *cluster);
/* Member `id` leads (0: nobody). */
void cmd_cluster_follow(struct cmd_cluster *cluster, uint64_t id);
/* Forwarding is possible from now on. */
void cmd_cluster_forward(struct cmd_cluster *cluster);
/* What was forwarded since the last call. */
const char *cmd_cluster_forwarded(struct cmd_cluster *cluster);
/* The leader answers the oldest request. */
void cmd_cluster_answer(struct cmd_cluster *cluster, const char *reply);

#endif
