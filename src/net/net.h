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
#include "cmd/session.h"

struct wdb_net;

/* A worker as its part sees it. */
struct wdb_net_worker {
    uint32_t number; /* from 0 */
    uv_loop_t *loop;
    struct wdb_executor *executor;
    struct wdb_output_cache *cache;
};

/*
 * What a layer above adds to each worker: something that takes part in its
 * turns. All but attach and detach are called on the worker's thread.
 */
struct wdb_net_part_ops {
    /* Before the thread is started. ENOMEM, EIO. */
    int (*attach)(void *context, const struct wdb_net_worker *worker,
                  void **part_out);
    /* A turn: begin, requests are executed, run, replies are sent. */
    void (*begin)(void *part);
    void (*run)(void *part);
    /* There is something for `send`. */
    bool (*wants_to_send)(void *part);
    /* Send what the gate lets pass; true: something waits at the gate. */
    bool (*send)(void *part, struct wdb_gate gate);
    /* Another turn is due now. */
    bool (*is_due)(void *part);
    /* Sessions of it may have been asked to be closed (session->kill). */
    void (*close_killed)(void *part);
    /* Nothing more is executed from now on; what was is still sent. */
    void (*quiet)(void *part);
    /* All connections may be closed, as far as the part is concerned. */
    bool (*is_done)(void *part);
    /* The end: close all handles; no session and no job is left. Maybe twice. */
    void (*stop)(void *part);
    /* The loop has ended; free. */
    void (*detach)(void *part);
};

struct wdb_net_options {
    struct wdb_context *context;
    uv_loop_t *loop; /* the main loop, of the calling thread */
    uint32_t worker_count;
    /* Called on some worker's thread: SHUTDOWN was asked for. */
    void (*on_shutdown)(void *owner, bool save);
    void *owner;
    const struct wdb_net_part_ops *part; /* NULL: none */
    void *part_context;
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
/* Call fn(part, arg) on a worker's thread, with its part; by wdb_net_free at the
 * latest. Any thread. ENOMEM: never. */
WDB_MUST_CHECK int wdb_net_call(struct wdb_net *net, uint32_t worker,
                                void (*fn)(void *part, void *arg), void *arg);
/* All workers have a turn. Any thread. */
void wdb_net_wake_all(struct wdb_net *net);
/* Number of workers by the setting io-threads: 0 = the cores, at most 8. */
uint32_t wdb_net_worker_count(const struct wdb_config *config);

#endif
