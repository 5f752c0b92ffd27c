/*
 * raft_loop.h - the raft thread: a thread with an event loop of its own, which
 * runs the node once for each turn.
 *
 *   turn:  timers, posted calls, sockets (messages are received)
 *          -> before(context)  peers tell what happened to connections
 *          -> run(context)     once, for all that the turn brought
 *          -> behind(context)  peers send what run and the messages asked for
 *
 * So messages that arrive together are answered together, in one write for each
 * connection. A turn happens when a socket is ready, when somebody wakes the
 * loop, and at the time that run returned.
 *
 * Handles may be added to wdb_raft_loop_uv by the thread itself, and before it
 * is started by whoever will start it.
 */
#ifndef WDB_NET_RAFT_LOOP_H
#define WDB_NET_RAFT_LOOP_H

#include <uv.h>

#include "base/attributes.h"
#include "env/env.h"

struct wdb_raft_loop;

struct wdb_raft_loop_options {
    struct wdb_env *env; /* clock; borrowed */
    /* Once for each turn; returns the monotonic time (ns) at which to call again
     * at the latest. On the thread. May be NULL (a loop without a node). */
    uint64_t (*run)(void *context);
    void *context;
};

/* The thread is not there yet: wdb_raft_loop_start. ENOMEM, EIO. */
WDB_MUST_CHECK int wdb_raft_loop_new(
    const struct wdb_raft_loop_options *options, struct wdb_raft_loop **out);
/* Run the thread. Calls and wakes of the time before are not lost. ENOMEM. */
WDB_MUST_CHECK int wdb_raft_loop_start(struct wdb_raft_loop *loop);
/*
 * run is not called any more; what add_behind registered is told to stop (its
 * handles are closed), jobs off the loop end and their done is called; then the
 * thread ends, and what was posted until now, and is posted later, is called at
 * once by the caller of this or of post. Waits. Harmless without a thread.
 */
void wdb_raft_loop_stop(struct wdb_raft_loop *loop);
/* Stopped, and nobody wakes it any more. */
void wdb_raft_loop_free(struct wdb_raft_loop *loop);

/* Have a turn soon. Any thread, cheap, never blocks. */
void wdb_raft_loop_wake(struct wdb_raft_loop *loop);
/* Call fn(arg) on the thread, in the order of the calls. Any thread. ENOMEM. */
WDB_MUST_CHECK int wdb_raft_loop_post(struct wdb_raft_loop *loop,
                                      void (*fn)(void *arg), void *arg);
/* The same, and wait until it has been done; not on the thread itself, and not
 * by whom that thread waits for. Without a thread: here and now. */
void wdb_raft_loop_call(struct wdb_raft_loop *loop, void (*fn)(void *arg),
                        void *arg);
/* Run work(arg) on a thread that may wait for the disk, then done(arg) on the
 * raft thread. [raft] (without memory for it: here and now). `context` is the
 * loop, so that this fits struct wdb_peers_ops. */
void wdb_raft_loop_run_off_loop(void *context, void (*work)(void *arg),
                                void (*done)(void *arg), void *arg);

/* --- for what lives on the loop: [raft], or before it is started -------------- */

uv_loop_t *wdb_raft_loop_uv(struct wdb_raft_loop *loop);
struct wdb_env *wdb_raft_loop_env(struct wdb_raft_loop *loop);
/* True on the raft thread, and while there is none. */
bool wdb_raft_loop_is_here(const struct wdb_raft_loop *loop);
/* Somebody that has something to do around each run, and at the end. */
struct wdb_raft_loop_client {
    void (*before)(void *context);
    void (*behind)(void *context);
    void (*stop)(void *context); /* close all handles */
    void *context;
};
#define WDB_RAFT_LOOP_CLIENTS_MAX 4
void wdb_raft_loop_add_client(struct wdb_raft_loop *loop,
                              const struct wdb_raft_loop_client *client);

#endif
