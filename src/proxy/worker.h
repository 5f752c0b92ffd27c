/*
 * worker.h - forwarding in a running server: both ends on each worker's loop,
 * with sockets.
 *
 *   worker's turn:  begin   look who leads; end channels of an era that is over
 *                   execute (net/)        requests are queued on routes
 *                   run     dial, send queued requests: one write for each
 *                           connection
 *                   send    (log flushed) replies of channels: one write for
 *                           each connection
 *
 * Connections to other nodes are made and authenticated on the raft thread
 * (net/peers.h), and handed over as sockets, both those that are dialed and
 * those that are accepted. A node that has just become the leader itself
 * executes what still waits through a connection that is only memory.
 *
 * The server calls, in this order:
 *   wdb_proxy_workers_new       before wdb_net_new, with the cluster's peers
 *   context->forward = wdb_proxy_workers_hook
 *   wdb_net_new                 with wdb_proxy_workers_part, context = this
 *   wdb_proxy_workers_set_net   before the raft thread and the workers start
 *   wdb_proxy_workers_accept    whenever a peer's connection was accepted
 *   wdb_net_stop, wdb_raft_loop_stop, wdb_net_free
 *   wdb_proxy_workers_free
 */
#ifndef WDB_PROXY_WORKER_H
#define WDB_PROXY_WORKER_H

#include "cmd/forward.h"
#include "net/net.h"
#include "net/peers.h"
#include "proxy/acceptor.h"
#include "proxy/proxy.h"

struct wdb_proxy_workers;

/* context has db, config and cluster. peers: for dialing; may be NULL, then
 * nothing is forwarded. ENOMEM. */
WDB_MUST_CHECK int wdb_proxy_workers_new(struct wdb_context *context,
                                         struct wdb_peer_net *peers,
                                         struct wdb_proxy_workers **out);
const struct wdb_forward *wdb_proxy_workers_hook(
    struct wdb_proxy_workers *workers);
/* For struct wdb_net_options, whose part_context is the object. */
const struct wdb_net_part_ops *wdb_proxy_workers_part(void);
void wdb_proxy_workers_set_net(struct wdb_proxy_workers *workers,
                               struct wdb_net *net);
/* A connection for the clients of another node; the socket is taken over. Any
 * thread. */
void wdb_proxy_workers_accept(struct wdb_proxy_workers *workers, int fd,
                              wdb_node_id peer);
/* The net is gone. */
void wdb_proxy_workers_free(struct wdb_proxy_workers *workers);

struct wdb_proxy_workers_stats {
    struct wdb_proxy_stats proxy;
    struct wdb_acceptor_stats acceptor;
};
/* The sum over the workers, nearly as of now. Any thread. */
void wdb_proxy_workers_stats(const struct wdb_proxy_workers *workers,
                             struct wdb_proxy_workers_stats *out);

#endif
