/* acceptor_internal.h - what the files of the leader's end share. */
#ifndef WDB_PROXY_ACCEPTOR_INTERNAL_H
#define WDB_PROXY_ACCEPTOR_INTERNAL_H

#include "base/list.h"
#include "proxy/acceptor.h"
#include "proxy/proxy.h"
#include "proxy/ring.h"

/* A request of the channel that was not wholly executed. */
struct wdb_channel_request {
    uint32_t left; /* of the requests that it consists of */
    bool silent;
};

/* What an executed request left in the session's output. */
struct wdb_channel_reply {
    uint64_t end;   /* byte of all output ever */
    bool muted;     /* these bytes are nobody's: silent, or of a MULTI */
    bool completes; /* a request of the channel is answered with it */
    bool unknown;   /* the bytes were dropped: office was lost */
};

struct wdb_channel {
    struct wdb_acceptor *acceptor; /* NULL: its connection is gone */
    struct wdb_acceptor_hub *hub;
    struct wdb_session *session;
    uint64_t id;
    struct wdb_list node;  /* in hub->channels, or hub->orphans */
    struct wdb_list ready; /* in hub->ready, or hub->stalled, or alone */
    WDB_RING(struct wdb_channel_request) requests;
    WDB_RING(struct wdb_channel_reply) replies;
    uint64_t fed;      /* sequence of the last request that began to come */
    bool feeding;      /* more parts of it follow */
    uint64_t answered; /* sequence of the last one that was answered */
    size_t window;     /* bytes of replies that may be sent */
    bool refused;      /* the request behind the last reply was */
    bool broken;       /* a rule was broken: it is closed */
};

struct wdb_acceptor {
    struct wdb_acceptor_hub *hub;
    struct wdb_list node; /* in hub->acceptors */
    struct wdb_proxy_frame_decoder decoder;
    struct wdb_output output;
    struct wdb_channel **channels; /* by the lower half of their number */
    uint32_t slot_count, channel_count;
    char address[128];
};

struct wdb_acceptor_hub {
    struct wdb_acceptor_hub_options options;
    struct wdb_list acceptors, channels;
    struct wdb_list ready;   /* channels with something to look at */
    struct wdb_list stalled; /* their connection's output is full */
    struct wdb_list orphans; /* channels whose session a job still has */
    uint64_t era;            /* of the node, as of this turn */
    bool leaving;            /* the node ends */
    struct wdb_acceptor_stats stats;
};

/* channel.c */
/* A session for the channel. ENOMEM. */
WDB_MUST_CHECK int wdb_channel_new(struct wdb_acceptor *acceptor, uint64_t id,
                                   const struct wdb_channel_state *state,
                                   struct wdb_channel **out);
/* Forget it; the session goes when no job has it any more. */
void wdb_channel_free(struct wdb_channel *channel);
/* Without such a database the channel is broken. ECORRUPT: no such level. */
WDB_MUST_CHECK int wdb_channel_set_state(struct wdb_channel *channel,
                                         const struct wdb_channel_state *state);
/* Bytes of a request. ECORRUPT: against the rules. Without memory, or beyond
 * the limit, the channel is broken. */
WDB_MUST_CHECK int wdb_channel_feed(struct wdb_channel *channel,
                                    const struct wdb_proxy_frame *frame);
/* The client has taken so many bytes. ECORRUPT: more than it was sent. */
WDB_MUST_CHECK int wdb_channel_widen(struct wdb_channel *channel,
                                     uint64_t size);
/* Nothing more is executed; it ends behind its last reply. */
void wdb_channel_refuse(struct wdb_channel *channel);
/* Have a look at it in this turn. */
void wdb_channel_mark(struct wdb_channel *channel);
/* Cut what the gate lets pass into frames. The channel may be gone afterwards.
 */
void wdb_channel_send(struct wdb_channel *channel, struct wdb_gate gate);

/* acceptor.c */
void wdb_acceptor_put(struct wdb_acceptor *acceptor,
                      const struct wdb_proxy_frame *frame);
/* A frame whose payload is the head of the channel session's output. */
void wdb_acceptor_put_output(struct wdb_acceptor *acceptor,
                             const struct wdb_proxy_frame *frame,
                             const struct wdb_output *from, size_t size);
/* The channel's number means nothing any more. */
void wdb_acceptor_forget(struct wdb_acceptor *acceptor,
                         struct wdb_channel *channel);

#endif
