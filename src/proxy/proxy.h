/*
 * proxy.h - the follower's end of forwarding: requests of clients go to the
 * leader, replies come back, each exactly once and in order.
 *
 *   client ─ session ─ route ─┐                       ┌─ channel ─ session
 *   client ─ session ─ route ─┼─ upstream ══════ acceptor ─ channel ─ session
 *   client ─ session ─ route ─┘  (connection)         └─ channel ─ session
 *
 * One proxy for each worker; all of it is called on that worker's thread. It
 * knows no sockets and no clock: the transport is a table, time is told to it.
 *
 * A route keeps each request of its client until it is answered. When the
 * leader is lost, or refuses,
 *   - what was never handed to the connection, and what was refused, was not
 *     done: it is tried again with the next leader, in order;
 *   - a write that was handed over may have been done: -UNKNOWN, at once;
 *   - a read is tried again, unless a write that was sent stands behind it (it
 *     could see what that one did): then it is answered -TRYAGAIN;
 *   - a client that has got a part of a reply is disconnected.
 * What waits longer than the hold time for a leader is answered -CLUSTERDOWN:
 * it was not done.
 *
 * Watched keys are watched by the channel's session at the leader. If the
 * channel is lost they count as changed: the next EXEC answers null.
 *
 * Order: a route's requests are all sent over one connection; those that are
 * tried elsewhere begin with the oldest, when nothing else of the route is
 * under way. A leader that refuses one refuses all behind it.
 */
#ifndef WDB_PROXY_PROXY_H
#define WDB_PROXY_PROXY_H

#include "proxy/frame.h"
#include "resp/output.h"

/* Request bytes of one client that are under way, if they are more than one. */
#define WDB_PROXY_ROUTE_SENT_MAX ((size_t)1 << 20)
/* Request bytes of one client that are kept, if they are more than one ... */
#define WDB_PROXY_ROUTE_KEPT_MAX ((size_t)1 << 20)
/* ... and of all clients of a worker, by which one more may exceed it. */
#define WDB_PROXY_KEPT_MAX ((size_t)64 << 20)
/* Replies to one client that have not gone on to it. */
#define WDB_CHANNEL_WINDOW ((size_t)1 << 20)
/* Encoded ahead of what the connection takes. */
#define WDB_UPSTREAM_AHEAD ((size_t)256 << 10)

struct wdb_proxy;
struct wdb_proxy_route;
struct wdb_upstream;

/* What is asked of the client's side. None may call back into the proxy. */
struct wdb_proxy_route_ops {
    /* The oldest unanswered request is answered: bytes as they are; none with
     * count 0 (it was silent). */
    void (*answer)(void *owner, struct wdb_slice bytes, uint32_t count);
    /* Bytes of its reply; more follow. */
    void (*part)(void *owner, struct wdb_slice bytes);
    /* Bytes that answer nothing. */
    void (*push)(void *owner, struct wdb_slice bytes);
    /* Disconnect the client, when it has been sent what it was answered if
     * `after_replies`. Nothing more is told to it. */
    void (*close)(void *owner, bool after_replies);
    /* Bytes that wait to be sent to the client. */
    size_t (*backlog)(const void *owner);
};

struct wdb_proxy_target {
    uint64_t node; /* 0: no leader is known */
    bool is_self;
    char address[288]; /* of its raft port */
};

/* The connections. None may call back into the proxy. */
struct wdb_proxy_transport {
    /* Begin to connect; wdb_upstream_up or wdb_upstream_broken tell how it
     * went. *link_out is the transport's own. ENOMEM, EIO: not now. */
    int (*connect)(void *context, struct wdb_upstream *upstream,
                   const struct wdb_proxy_target *target, void **link_out);
    /* Hang up; the upstream is gone when this returns. */
    void (*close)(void *context, void *link);
    /* wdb_upstream_output has bytes: write them in this turn. */
    void (*flush)(void *context, void *link);
};

struct wdb_proxy_options {
    const struct wdb_proxy_transport *transport;
    void *transport_context;
    struct wdb_output_cache *cache; /* may be NULL */
    uint64_t hold_ns;               /* for a leader, then -CLUSTERDOWN */
    uint64_t drain_ns; /* for the last replies of a leader that is not it any
                          more */
};

struct wdb_proxy_stats {
    uint64_t requests, answered, refused, unknown, tried_again, timed_out,
        dialed, lost; /* connections */
};

WDB_MUST_CHECK int wdb_proxy_new(const struct wdb_proxy_options *options,
                                 struct wdb_proxy **out);
/* All routes must be gone. Hangs up. */
void wdb_proxy_free(struct wdb_proxy *proxy);
void wdb_proxy_set_hold(struct wdb_proxy *proxy, uint64_t hold_ns);
/* Who leads now. */
void wdb_proxy_set_target(struct wdb_proxy *proxy,
                          const struct wdb_proxy_target *target,
                          uint64_t now_ns);
/* Send what can be sent, dial, give up what waited too long. Returns when to
 * call again at the latest; UINT64_MAX: never. */
uint64_t wdb_proxy_run(struct wdb_proxy *proxy, uint64_t now_ns);
/* Something waits that wdb_proxy_run would do something about at once. */
bool wdb_proxy_has_work(const struct wdb_proxy *proxy);
const struct wdb_proxy_stats *wdb_proxy_stats(const struct wdb_proxy *proxy);
/* Every request of every route is where it should be (asserts). */
void wdb_proxy_check(const struct wdb_proxy *proxy);

/* --- routes: one for each client that has requests forwarded ----------------- */

WDB_MUST_CHECK int wdb_proxy_route_new(struct wdb_proxy *proxy,
                                       const struct wdb_proxy_route_ops *ops,
                                       void *owner,
                                       struct wdb_proxy_route **out);
/* The client has gone: forget its requests, close its channel. */
void wdb_proxy_route_free(struct wdb_proxy_route *route);

enum wdb_proxy_request_flag {
    WDB_PROXY_REQUEST_WRITES = 1 << 0,
    WDB_PROXY_REQUEST_SILENT = 1 << 1,
    WDB_PROXY_REQUEST_WATCHES = 1 << 2, /* WATCH */
    WDB_PROXY_REQUEST_EXEC = 1 << 3, /* MULTI ... EXEC: watches end with it */
    WDB_PROXY_REQUEST_LAST = 1 << 4, /* it changes the channel's session: the
                                        channel ends with it, and nothing may
                                        be queued behind it */
};

/* A request on its way. */
struct wdb_proxy_request {
    struct wdb_proxy_request *next;
    uint64_t time_ns; /* when it came */
    uint64_t end;     /* of its last frame in all that the upstream was given */
    uint32_t flags;   /* enum wdb_proxy_request_flag */
    uint32_t count;   /* of requests in the bytes */
    uint8_t read_level;
    uint8_t tries; /* leaders that were lost with it */
    size_t size;
    uint8_t bytes[];
};

/* Room for a request of so many bytes; the caller fills in bytes, flags, count,
 * read_level, and gives it to wdb_proxy_route_send. EBUSY: too much is kept; try
 * again when some of it was answered. ENOMEM. */
WDB_MUST_CHECK int wdb_proxy_route_request(struct wdb_proxy_route *route,
                                           size_t size,
                                           struct wdb_proxy_request **out);
/* Queue it. state: of the session, as of this request; its read_level is
 * ignored. */
void wdb_proxy_route_send(struct wdb_proxy_route *route,
                          struct wdb_proxy_request *request,
                          const struct wdb_channel_state *state,
                          uint64_t now_ns);
/* Forget what is watched. Nothing may be unanswered. */
void wdb_proxy_route_unwatch(struct wdb_proxy_route *route);
uint32_t wdb_proxy_route_waiting(const struct wdb_proxy_route *route);

/* --- for the transport --------------------------------------------------------- */

/* The connection stands. */
void wdb_upstream_up(struct wdb_upstream *upstream, uint64_t now_ns);
/* It broke, or could not be made; the transport has forgotten it. The upstream
 * is gone when this returns. */
void wdb_upstream_broken(struct wdb_upstream *upstream, uint64_t now_ns);
/* Where received bytes go; NULL: no memory, it is to be broken. */
uint8_t *wdb_upstream_room(struct wdb_upstream *upstream, size_t *size_out);
/* So many bytes were received there. ECORRUPT, ENOMEM: the caller closes its
 * end and calls wdb_upstream_broken. */
WDB_MUST_CHECK int wdb_upstream_received(struct wdb_upstream *upstream,
                                         size_t size, uint64_t now_ns);
/* What is to be sent; the transport peeks, and consumes what is sent. */
struct wdb_output *wdb_upstream_output(struct wdb_upstream *upstream);
/* So many more bytes of it were handed to the system: they may arrive. Before
 * or when they are. */
void wdb_upstream_handed(struct wdb_upstream *upstream, size_t size);

#endif
