/* proxy_internal.h - what the files of the follower's end share. */
#ifndef WDB_PROXY_INTERNAL_H
#define WDB_PROXY_INTERNAL_H

#include "base/list.h"
#include "proxy/proxy.h"

enum wdb_upstream_phase {
    WDB_UPSTREAM_DIALING,
    WDB_UPSTREAM_UP,
    WDB_UPSTREAM_DRAINING, /* nothing more is sent; replies are welcome */
};

/* A channel's place in its upstream; its number has the place in its lower
 * half, and how often any was given out in the upper one. */
struct wdb_upstream_slot {
    struct wdb_proxy_route *route; /* NULL: free */
    uint64_t channel;
    uint32_t next_free;
};

/* A connection to a leader. */
struct wdb_upstream {
    struct wdb_proxy *proxy;
    struct wdb_list node; /* in proxy->draining */
    struct wdb_proxy_target target;
    enum wdb_upstream_phase phase;
    void *link;
    uint64_t dialed_ns, drain_until_ns;
    struct wdb_output output;
    uint64_t given, handed; /* bytes ever put into output; to the system */
    struct wdb_proxy_frame_decoder decoder;
    struct wdb_upstream_slot *slots;
    uint32_t slot_count, slot_capacity, slot_free; /* index + 1; 0: none */
    uint32_t channel_count;
    uint32_t generation;
    bool flushing; /* output was added since the last flush */
};

struct wdb_proxy_route {
    struct wdb_proxy *proxy;
    const struct wdb_proxy_route_ops *ops;
    void *owner;
    struct wdb_list node;         /* in proxy->routes */
    struct wdb_list ready;        /* in proxy->ready, or alone */
    struct wdb_list delayed;      /* in proxy->delayed, or alone */
    struct wdb_list unacked_node; /* in proxy->unacked, or alone */

    /* Requests, oldest first: sent ones, perhaps one in the middle of being
     * sent, others. */
    struct wdb_proxy_request *head, **tail;
    struct wdb_proxy_request
        *unsent;          /* the first that was not wholly encoded */
    size_t unsent_offset; /* bytes of it that were */
    uint32_t count, sent_count;
    size_t kept, sent; /* bytes of all; of those encoded wholly */

    /* The channel. */
    struct wdb_upstream *upstream; /* NULL: there is none */
    uint64_t channel;
    uint64_t answered; /* sequence of the last answer over this channel */
    bool part_came;    /* of the reply to the head */
    struct wdb_channel_state state;      /* of the client */
    struct wdb_channel_state state_told; /* to the leader */
    size_t unacked; /* bytes of replies that came and are not acknowledged */

    bool watching;          /* the channel's session watches something */
    bool watch_lost;        /* what was watched is gone: EXEC answers null */
    bool dead;              /* the client is being disconnected */
    uint32_t refused_count; /* in a row */
    uint64_t retry_ns;      /* not before */
    uint64_t held_ns; /* since when it waits for a leader; 0: it does not */
    uint64_t request_total, answer_total;
};

struct wdb_proxy {
    struct wdb_proxy_options options;
    struct wdb_proxy_target target;
    struct wdb_upstream *current; /* to the target, or dialing; may be NULL */
    struct wdb_list draining;     /* others */
    struct wdb_list routes, ready, delayed, unacked;
    size_t kept;         /* of all routes */
    uint64_t now_ns;     /* as last told */
    uint64_t dial_ns;    /* not before */
    uint32_t dial_count; /* failed ones in a row */
    uint64_t hold_check_ns;
    uint64_t suspended_ns; /* no leader is known since; 0: one is */
    struct wdb_proxy_stats stats;
};

/* proxy.c */
/* The upstream is no part of the proxy any more; its routes were told. */
void wdb_proxy_forget_upstream(struct wdb_proxy *proxy,
                               struct wdb_upstream *upstream);

/* Its node ends: nothing more is sent there. */
void wdb_proxy_upstream_leaves(struct wdb_proxy *proxy,
                               struct wdb_upstream *upstream);

/* upstream.c */
WDB_MUST_CHECK int wdb_upstream_new(struct wdb_proxy *proxy,
                                    const struct wdb_proxy_target *target,
                                    struct wdb_upstream **out);
/* Tell the routes that their channels are lost, free. The link is the caller's.
 */
void wdb_upstream_free(struct wdb_upstream *upstream);
/* Nothing more is sent over it: routes that wait for nothing leave it. */
void wdb_upstream_drain(struct wdb_upstream *upstream, uint64_t until_ns);
bool wdb_upstream_has_unanswered(const struct wdb_upstream *upstream);
/* Encode what the route can send, up to about `budget` bytes. */
void wdb_upstream_send(struct wdb_upstream *upstream,
                       struct wdb_proxy_route *route, size_t budget);
/* Tell the leader that the client has taken replies, if that is worth a frame;
 * else it is looked at again later. */
void wdb_upstream_acknowledge(struct wdb_upstream *upstream,
                              struct wdb_proxy_route *route);
/* The channel is no more; if `tell`, the leader is told. */
void wdb_upstream_detach(struct wdb_upstream *upstream,
                         struct wdb_proxy_route *route, bool tell);

/* route.c */
/* Put the route on the lists that it belongs on. */
void wdb_proxy_route_update(struct wdb_proxy_route *route);
/* Something of it could be sent over the current upstream now. */
bool wdb_proxy_route_can_send(const struct wdb_proxy_route *route);
/* The head is answered with these bytes. */
void wdb_proxy_route_answer(struct wdb_proxy_route *route,
                            struct wdb_slice bytes);
/* Its channel is gone (and detached). Of what is unanswered, that which ends
 * within the first `handed` bytes of the connection may have been done; with 0
 * nothing was, for the leader said so. */
void wdb_proxy_route_lost(struct wdb_proxy_route *route, uint64_t handed);
/* The leader has refused: try again, but not at once. */
void wdb_proxy_route_delay(struct wdb_proxy_route *route);
/* Disconnect the client; forget its requests. */
void wdb_proxy_route_kill(struct wdb_proxy_route *route, bool after_replies);
/* Answer what has waited for a leader since before `before_ns`. */
void wdb_proxy_route_expire(struct wdb_proxy_route *route, uint64_t before_ns);
/* The EXEC at the head finds that what was watched is lost. */
void wdb_proxy_route_answer_null(struct wdb_proxy_route *route);
void wdb_proxy_route_check(const struct wdb_proxy_route *route);

#endif
