/*
 * net.h - the event loops of the server: listeners on the main loop, workers
 * with their connections on threads of their own.
 *
 *   main loop                     worker 0..n-1 (a thread and a loop each)
 *   +------------+  mailbox       +-------------------------------------+
 *   | listeners  |--- fd -------->| connections: read -> executor        |
 *   | timer      |<-- stop -------| check: run, flush the log, send      |
 *   +------------+                +-------------------------------------+
 *
 * The listeners accept and hand the sockets out in turn. A connection belongs
 * to one worker from then on. What other threads want of a worker goes through
 * its mailbox: a locked list and a wake-up.
 */
#ifndef WDB_NET_NET_H
#define WDB_NET_NET_H

#include <uv.h>

#include "cmd/context.h"

struct wdb_net;

struct wdb_net_options {
    struct wdb_context *context;
    uv_loop_t *loop; /* the main loop, of the calling thread */
    uint32_t worker_count;
    /* Called on some worker's thread: SHUTDOWN was asked for. */
    void (*on_shutdown)(void *owner, bool save);
    void *owner;
};

/* Make the workers (not running yet) and set context->hooks. ENOMEM, EIO. */
WDB_MUST_CHECK int wdb_net_new(const struct wdb_net_options *options,
                               struct wdb_net **out);
/* Listen as the settings bind, port, unixsocket say. EIO; *message_out is a
 * text for people, to be freed. */
WDB_MUST_CHECK int wdb_net_listen(struct wdb_net *net, char **message_out);
/* The setting `port` changed: listen there instead. EIO, text in error: nothing
 * changed. Any thread, one at a time. */
WDB_MUST_CHECK int wdb_net_change_port(struct wdb_net *net, char *error,
                                       size_t error_size);
/* Start the workers' threads. ENOMEM. */
WDB_MUST_CHECK int wdb_net_start(struct wdb_net *net);
/* Close the listeners, let the workers finish their turn, sync the log, send the
 * replies that waited for it, close all connections, wait for the threads. Main
 * thread; waits. */
void wdb_net_stop(struct wdb_net *net);
void wdb_net_free(struct wdb_net *net);
/* The gate has moved: the log made something durable, or (in a cluster, where
 * that is raft's on_gate instead) something is committed, a round is done, the
 * leader or the era is another one. Workers that have replies waiting at the
 * gate, or requests waiting for a leader, look at them. Any thread. */
void wdb_net_wake_gated(struct wdb_net *net);
/* All workers have a turn. Any thread. */
void wdb_net_wake_all(struct wdb_net *net);
/* Number of workers by the setting io-threads: 0 = the cores, at most 8. */
uint32_t wdb_net_worker_count(const struct wdb_config *config);

#endif
