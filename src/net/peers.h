/*
 * peers.h - the transport between nodes over TCP: struct wdb_peers (raft/peer.h)
 * with sockets.
 *
 *   peer_net ── peer (id, address) ── dial × channel ──► outbound connection
 *      │             └─ inbound connection × channel (the newest)
 *      └─ listeners ──► inbound connections that have not proved who they are
 *
 * A connection carries messages one way, from whom dialed it; so two members
 * have two for each channel. A member is dialed as long as it is one, at once
 * and then after 20 ms to 1 s; or when it has dialed us. Whoever proves to know
 * the secret may send, member or not (a leader that our configuration does not
 * know yet), and is dialed when there is something to say to it; the node
 * decides what counts.
 *
 * All callbacks are called on the raft thread, from read callbacks or behind
 * run, never inside of a call of the operations.
 *
 * To be called by the server, in this order:
 *   wdb_peer_secret_load or _make, wdb_identity_open
 *   wdb_raft_loop_new                    run = wdb_raft_run of its node
 *   wdb_peer_net_new, wdb_peer_net_listen
 *   wdb_raft_new with wdb_peer_net_peers
 *   wdb_raft_loop_start
 *   ...
 *   wdb_raft_loop_stop                   closes all connections
 *   wdb_raft_free, wdb_peer_net_free, wdb_raft_loop_free
 */
#ifndef WDB_NET_PEERS_H
#define WDB_NET_PEERS_H

#include "base/logger.h"
#include "net/peer_secret.h"
#include "net/raft_loop.h"
#include "raft/identity.h"
#include "raft/peer.h"

struct wdb_peer_net;

/* [raft]; each may be NULL. */
struct wdb_peer_net_callbacks {
    /* wdb_raft_receive, wdb_raft_writable, wdb_raft_connected. */
    void (*on_message)(void *context, wdb_node_id from,
                       const struct wdb_message *message);
    void (*on_writable)(void *context, wdb_node_id peer,
                        enum wdb_peer_channel channel);
    void (*on_connected)(void *context, wdb_node_id peer, bool is_connected);
    /* Was this node removed from the cluster (wdb_members_is_removed)? */
    bool (*is_removed)(void *context, wdb_node_id id);
    /* A member (proved) says that we were removed. Maybe often. */
    void (*on_removed)(void *context, wdb_node_id by);
    /* A node (proved) of that cluster looks for another one of its members at
     * our address. Maybe often. */
    void (*on_other_cluster)(void *context, wdb_node_id by,
                             uint64_t cluster_id);
    /* A connection for clients' requests, from this node: the socket is the
     * callee's now; it is non-blocking. NULL: such connections are closed. */
    void (*on_forward)(void *context, int fd, wdb_node_id peer);
    void *context;
};

struct wdb_peer_net_options {
    struct wdb_raft_loop *loop;
    const struct wdb_logger *logger;
    /* Read at each handshake, on the raft thread; borrowed. */
    const struct wdb_identity *identity;
    struct wdb_peer_secret secret; /* copied */
    const char *secret_dir;        /* for texts; copied */
    const char *raft_address;      /* HOST:PORT for others; copied */
    const char *tcp_address;
    int backlog; /* 0: the system's */
    struct wdb_peer_net_callbacks callbacks;
};

/* ENOMEM, EINVALID (an address), EIO. [raft] or before the thread is there. */
WDB_MUST_CHECK int wdb_peer_net_new(const struct wdb_peer_net_options *options,
                                    struct wdb_peer_net **out);
/* Listen at all addresses that the host of raft_address means here (the call
 * may wait for the name service). EIO, EINVALID; *message_out: malloc'ed text.
 * Before the thread is started. */
WDB_MUST_CHECK int wdb_peer_net_listen(struct wdb_peer_net *net,
                                       char **message_out);
/* The port that it listens at; 0: none. */
uint16_t wdb_peer_net_port(const struct wdb_peer_net *net);
/* For struct wdb_raft_options; valid until free. */
const struct wdb_peers *wdb_peer_net_peers(struct wdb_peer_net *net);
/* The loop was stopped. */
void wdb_peer_net_free(struct wdb_peer_net *net);

/* --- any thread --------------------------------------------------------------- */

/*
 * Dial a node (id 0: whoever answers) for clients' requests. done is called
 * once, on the raft thread, within some seconds: code 0 and a non-blocking
 * socket, which is the callee's; or a code, -1 and a text. ENOMEM: not at all.
 */
typedef void (*wdb_peer_forward_done)(void *arg, int code, int fd,
                                      const char *message);
WDB_MUST_CHECK int wdb_peer_net_forward(struct wdb_peer_net *net,
                                        wdb_node_id id,
                                        const char *raft_address,
                                        wdb_peer_forward_done done, void *arg);

struct wdb_peer_net_stats {
    uint32_t inbound, outbound, pending;               /* connections now */
    uint64_t accepted, dialed, authenticated, refused; /* ever */
    uint64_t messages_in, messages_out, bytes_in, bytes_out;
    uint64_t dropped; /* messages that send refused */
};
void wdb_peer_net_stats(const struct wdb_peer_net *net,
                        struct wdb_peer_net_stats *out);

#endif
