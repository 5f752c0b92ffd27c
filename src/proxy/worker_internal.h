/* worker_internal.h - what the files of forwarding's sockets share. */
#ifndef WDB_PROXY_WORKER_INTERNAL_H
#define WDB_PROXY_WORKER_INTERNAL_H

#include "base/list.h"
#include "proxy/forward.h"
#include "proxy/worker.h"

#define WDB_PROXY_DRAIN_MS 250
/* So long a node that ends waits for followers to hang up. */
#define WDB_PROXY_LEAVE_MS    300
#define WDB_PROXY_SHOWN_COUNT 14

struct wdb_proxy_part;
struct wdb_proxy_dial;

/*
 * A connection: to a leader (upstream), of another node (acceptor), or both,
 * without a socket.
 */
struct wdb_proxy_link {
    struct wdb_proxy_part *part;
    struct wdb_list node;          /* in part->links */
    struct wdb_upstream *upstream; /* NULL: not, or not any more */
    struct wdb_acceptor *acceptor; /* NULL: not, or not any more */
    struct wdb_proxy_dial *dial;   /* under way */
    bool is_loopback, is_up;
    bool wants_flush; /* the upstream has output */
    bool closing;
    bool has_socket;
    uv_tcp_t tcp;
    uv_write_t write;
    size_t write_size; /* bytes of the write under way, 0: none */
};

/* A socket is being made on the raft thread; the worker's afterwards. */
struct wdb_proxy_dial {
    struct wdb_proxy_part *part;
    struct wdb_list node;        /* in part->dials */
    struct wdb_proxy_link *link; /* NULL: not wanted any more */
    int code, fd;
};

/* Of one worker. */
struct wdb_proxy_part {
    struct wdb_proxy_workers *workers;
    uint32_t number;
    uv_loop_t *loop;
    uv_timer_t timer;
    struct wdb_output_cache *cache;
    struct wdb_proxy *proxy;
    struct wdb_acceptor_hub *hub;
    struct wdb_list links, dials;
    uint64_t leader_version;
    uint64_t timer_ns; /* when the timer is set to; 0: it is not */
    uint64_t tick_ns;  /* the next look at idle channels */
    bool is_due;       /* another turn, at once */
    bool is_stopped;
    uint64_t done_ns; /* when it ends at the latest; 0: it does not end */
    _Atomic uint64_t shown[WDB_PROXY_SHOWN_COUNT]; /* for the statistics */
};

struct wdb_proxy_workers {
    struct wdb_context *context;
    struct wdb_peer_net *peers;
    struct wdb_net *net;
    struct wdb_forwarder forwarder;
    struct wdb_proxy_part *parts[WDB_FORWARDER_PARTS_MAX];
    uint32_t part_count;
    _Atomic uint32_t next; /* for accepted connections */
};

/* link.c */
extern const struct wdb_proxy_transport wdb_proxy_link_transport;
/* Take over an accepted socket. */
void wdb_proxy_link_accept(struct wdb_proxy_part *part, int fd);
/* Write what the acceptor has to send, if there is a socket. */
void wdb_proxy_link_send(struct wdb_proxy_link *link);
/* Carry bytes between both ends of a connection to itself; true: there were
 * some. */
bool wdb_proxy_link_carry(struct wdb_proxy_link *link, uint64_t now_ns);
/* The connection is no good; both ends learn it. */
void wdb_proxy_link_break(struct wdb_proxy_link *link);
uint64_t wdb_proxy_part_now(const struct wdb_proxy_part *part);

#endif
