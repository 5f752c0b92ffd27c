/*
 * acceptor.h - the leader's end of forwarding: channels of other nodes' clients
 * are sessions here, executed and gated like any other.
 *
 *   connection ══ acceptor ─┬─ channel ── session ─┐
 *                           ├─ channel ── session ─┼─ executor of the worker
 *   connection ══ acceptor ─┴─ channel ── session ─┘
 *
 * A hub for each worker has its acceptors; all of it is called on that worker's
 * thread, and knows no sockets. What a channel is not allowed to do here,
 * because the node does not lead, is refused, with all that is behind it, and
 * the channel is closed: it is never sent on to a third node.
 *
 * Memory: a channel's unanswered requests are limited by the follower (a
 * session's input by its query buffer limit), its unsent replies by the window
 * and by what the executor leaves unsent of any session.
 */
#ifndef WDB_PROXY_ACCEPTOR_H
#define WDB_PROXY_ACCEPTOR_H

#include "cmd/executor.h"
#include "cmd/forward.h"
#include "proxy/frame.h"

struct wdb_acceptor;
struct wdb_acceptor_hub;

struct wdb_acceptor_hub_options {
    struct wdb_context *context;
    struct wdb_executor *executor;
    struct wdb_output_cache *cache; /* may be NULL */
};

struct wdb_acceptor_stats {
    uint64_t channels, requests, replies, refused, lost; /* ever */
    uint32_t channels_now;
};

WDB_MUST_CHECK int wdb_acceptor_hub_new(
    const struct wdb_acceptor_hub_options *options,
    struct wdb_acceptor_hub **out);
/* All acceptors must be gone, and no job off the loop under way. */
void wdb_acceptor_hub_free(struct wdb_acceptor_hub *hub);
/*
 * Once for each turn, before anything is executed. If the node has lost office
 * since the last one, all channels end: what they had not executed then is
 * refused, even if the node leads again. So nothing that a follower has given up
 * is done much later.
 */
void wdb_acceptor_hub_begin(struct wdb_acceptor_hub *hub);
/* The node ends: nothing more is executed, and the followers are told so; they
 * hang up when everything is answered. */
void wdb_acceptor_hub_leave(struct wdb_acceptor_hub *hub);
/* Put what the gate lets pass into the outputs of the acceptors; once for each
 * turn, behind wdb_log_flush. True: something waits at the gate. */
bool wdb_acceptor_hub_send(struct wdb_acceptor_hub *hub, struct wdb_gate gate);
/* Something waits for wdb_acceptor_hub_send. */
bool wdb_acceptor_hub_has_work(const struct wdb_acceptor_hub *hub);
/* Close channels whose session somebody wants killed. */
void wdb_acceptor_hub_close_killed(struct wdb_acceptor_hub *hub);
/* About once a second: give back memory that idle channels do not need. */
void wdb_acceptor_hub_tick(struct wdb_acceptor_hub *hub);
const struct wdb_acceptor_stats *wdb_acceptor_hub_stats(
    const struct wdb_acceptor_hub *hub);
/* For struct wdb_forward_ops. */
void wdb_acceptor_executed(struct wdb_session *session,
                           enum wdb_channel_outcome outcome);
void wdb_acceptor_lost(struct wdb_session *session, uint64_t end);

/* --- one connection --------------------------------------------------------------- */

/* address: of the other end, as CLIENT LIST shows it as laddr. ENOMEM. */
WDB_MUST_CHECK int wdb_acceptor_new(struct wdb_acceptor_hub *hub,
                                    const char *address,
                                    struct wdb_acceptor **out);
/* The connection is gone: so are its channels, whatever they were doing. */
void wdb_acceptor_free(struct wdb_acceptor *acceptor);
/* Where received bytes go; NULL: no memory. */
uint8_t *wdb_acceptor_room(struct wdb_acceptor *acceptor, size_t *size_out);
/* So many bytes came there. ECORRUPT, ENOMEM: hang up. */
WDB_MUST_CHECK int wdb_acceptor_received(struct wdb_acceptor *acceptor,
                                         size_t size);
/* What is to be sent; the transport consumes it, then says so. True: there is
 * more for wdb_acceptor_hub_send, which waited for room. */
struct wdb_output *wdb_acceptor_output(struct wdb_acceptor *acceptor);
bool wdb_acceptor_sent(struct wdb_acceptor *acceptor);
uint32_t wdb_acceptor_channel_count(const struct wdb_acceptor *acceptor);

#endif
