/*
 * cluster.h - a server that is a member of a cluster: identity, secret, the
 * raft thread with its node, joining, and leaving office in order.
 *
 *   settings              -dir holds          what happens
 *   no -raft              a member's          refused
 *                         else                not here: a single node
 *   -bootstrap, no -join  nothing             founds a cluster
 *                         a standalone's      founds one on this data
 *                         a member's          goes on
 *   -join                 nothing             asks to be taken in, until it is
 *                         a standalone's      refused
 *                         a member's          goes on (tells a new address)
 *   neither, with -raft   nothing             waits for a JOIN sent to a member
 *                         a standalone's      refused
 *                         a member's          goes on
 */
#ifndef WDB_SERVER_CLUSTER_H
#define WDB_SERVER_CLUSTER_H

#include "admin/config.h"
#include "cmd/cluster.h"
#include "db/db.h"
#include "net/net.h"
#include "net/peers.h"

struct wdb_server_cluster;

/* What the settings and the directory ask for. */
enum wdb_cluster_mode {
    WDB_CLUSTER_NONE, /* a single node */
    WDB_CLUSTER_FOUND,
    WDB_CLUSTER_JOIN,
    WDB_CLUSTER_MEMBER,
};

struct wdb_server_cluster_options {
    struct wdb_env *env;
    struct wdb_config *config;
    const struct wdb_logger *logger;
    const char *dir; /* of the database; made already */
    /* The node cannot go on. Any thread. */
    void (*on_failure)(void *context, int error, const char *message);
    void (*on_progress)(void *context, uint64_t done, uint64_t total);
    /* The cluster's secret came, and is in its file: start anew, since nothing
     * here has it. Any thread, maybe more than once. */
    void (*on_secret)(void *context);
    /* A socket for clients' requests, from another node; the callee's. On the
     * raft thread. */
    void (*on_forward)(void *context, int fd, wdb_node_id peer);
    void *context;
};

/*
 * Look at settings and directory; with WDB_CLUSTER_NONE *out is NULL. Else
 * identity and secret are there, and a founder's directory is a member's now.
 * On failure *message_out is malloc'ed text. Before the database is opened.
 */
WDB_MUST_CHECK int wdb_server_cluster_new(
    const struct wdb_server_cluster_options *options,
    const struct wdb_db_options *db_options, struct wdb_server_cluster **out,
    char **message_out);
/* Change the options of the database to those of a member. */
void wdb_server_cluster_db_options(struct wdb_server_cluster *cluster,
                                   struct wdb_db_options *options);
/* The database is open: make the node, listen for peers. */
WDB_MUST_CHECK int wdb_server_cluster_open(struct wdb_server_cluster *cluster,
                                           struct wdb_db *db,
                                           char **message_out);
/* For context->cluster; valid until free. */
const struct wdb_cluster *wdb_server_cluster_of(
    struct wdb_server_cluster *cluster);
struct wdb_peer_net *wdb_server_cluster_peers(
    struct wdb_server_cluster *cluster);
struct wdb_raft *wdb_server_cluster_raft(struct wdb_server_cluster *cluster);
/* Start the raft thread, and ask to be taken in if need be. net gets to know
 * when the gate has moved. */
WDB_MUST_CHECK int wdb_server_cluster_start(struct wdb_server_cluster *cluster,
                                            struct wdb_net *net,
                                            char **message_out);
/* Hand leadership over, if this node leads; waits, at most some seconds. */
void wdb_server_cluster_resign(struct wdb_server_cluster *cluster);
/* End the raft thread; the workers may still run. */
void wdb_server_cluster_stop(struct wdb_server_cluster *cluster);
/* The log's thread has ended, too (the database is closed). */
void wdb_server_cluster_free(struct wdb_server_cluster *cluster);

/*
 * walkerdb --force-new-cluster: say what it may lose; with `yes`, do it. The
 * exit code; what is to be said goes to standard output and error.
 */
int wdb_server_cluster_force(const struct wdb_server_cluster_options *options,
                             const struct wdb_db_options *db_options, bool yes);

#endif
