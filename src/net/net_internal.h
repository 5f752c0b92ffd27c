/* net_internal.h - what the files of net/ share. */
#ifndef WDB_NET_INTERNAL_H
#define WDB_NET_INTERNAL_H

#include <pthread.h>

#include "base/list.h"
#include "cmd/executor.h"
#include "net/net.h"
#include "net/sockets.h"

/* A session that has so much to be sent gets nothing executed, and so much
 * unexecuted input is not added to, until it has less. */
#define WDB_INPUT_HOLD_SIZE ((size_t)256 << 10)
/* Unsent output of a client that has not said its password. */
#define WDB_STRANGER_OUTPUT_MAX ((size_t)64 << 10)
/* Blocks of output that a worker keeps for its connections. */
#define WDB_OUTPUT_CACHE_COUNT 128
#define WDB_SEND_VECTORS       64
#define WDB_SEND_SIZE_MAX      ((size_t)1 << 20)
#define WDB_LISTENER_MAX       (WDB_SOCKETS_MAX + 1)
#define WDB_ACCEPT_BURST       1000

/* One socket and its session. Worker thread only. */
struct wdb_connection {
    struct wdb_worker *worker;
    struct wdb_session *session;
    union {
        uv_handle_t handle;
        uv_stream_t stream;
        uv_tcp_t tcp;
        uv_pipe_t pipe;
    } uv;
    uv_write_t write;
    size_t write_size; /* bytes of the write under way, 0 = none */
    bool reading;
    bool ended;         /* the client sends nothing more: answer, then close */
    bool closing;       /* uv_close was called */
    bool closed;        /* and is done: freed when the session is not parked */
    uint64_t active_ms; /* loop's time of the last byte in or out */
    uint64_t soft_since_ms;    /* output over the soft limit since, 0 = not */
    struct wdb_list node;      /* in worker->connections */
    struct wdb_list send_node; /* in worker->sending */
};

enum wdb_mail_kind {
    WDB_MAIL_SOCKET,  /* a new connection: fd, is_unix */
    WDB_MAIL_MONITOR, /* a line for monitors, behind index */
    WDB_MAIL_CALL,    /* fn(part, arg) */
};

/* How far a worker is to go; the main thread says so, in this order. */
enum wdb_worker_phase {
    WDB_PHASE_SERVE,
    WDB_PHASE_QUIET, /* read and execute nothing more; answer what was */
    WDB_PHASE_END,   /* close all connections, end the loop */
};

struct wdb_mail {
    struct wdb_mail *next;
    enum wdb_mail_kind kind;
    int fd;
    bool is_unix;
    uint64_t index;
    void (*fn)(void *part, void *arg);
    void *arg;
    size_t size;
    char text[];
};

struct wdb_worker {
    struct wdb_net *net;
    struct wdb_context *context;
    uint32_t number;
    uv_loop_t loop;
    uv_async_t wake;
    uv_check_t check;
    uv_idle_t idle; /* runs while input is left: the loop does not sleep */
    uv_timer_t timer;
    uv_timer_t wait_timer; /* runs while requests wait for the cluster */
    struct wdb_executor *executor;
    struct wdb_stats_worker *stats;
    struct wdb_list connections;
    struct wdb_list sending; /* those with something to look at */
    pthread_mutex_t mail_lock;
    struct wdb_mail *mail, **mail_end;
    struct wdb_output_cache cache;
    void *part;    /* of net->options.part; NULL: none */
    uint32_t jobs; /* off the loop */
    uint32_t tick_count;
    _Atomic bool has_gated;    /* replies wait at the gate: wake on sync */
    _Atomic bool has_killed;   /* look for sessions with `kill` set */
    _Atomic int phase_wanted;  /* enum wdb_worker_phase */
    _Atomic int phase_reached; /* by the loop; for the main thread */
    pthread_t thread;
    bool has_thread;
};

struct wdb_listener {
    uv_poll_t poll;
    int fd;
    bool is_unix;
    struct wdb_net *net;
};

struct wdb_net {
    struct wdb_net_options options;
    struct wdb_context *context;
    struct wdb_listener *listeners[WDB_LISTENER_MAX]; /* main thread */
    uint32_t listener_count;
    pthread_mutex_t listen_lock; /* of the following */
    bool listening;              /* from open_all to close_all */
    int port;                    /* that the listeners have */
    bool has_next;               /* sockets to take instead */
    int next_port;
    struct wdb_sockets next;
    uv_async_t port_change; /* to the main loop: look at `next` */
    uint32_t next_worker;
    struct wdb_worker **workers;
    uint32_t worker_count;
    struct wdb_context_hooks hooks;
    _Atomic uint64_t leader_version; /* as of the last wake-up */
};

/* worker.c */
WDB_MUST_CHECK int wdb_worker_new(struct wdb_net *net, uint32_t number,
                                  struct wdb_worker **out);
WDB_MUST_CHECK int wdb_worker_start(struct wdb_worker *worker);
void wdb_worker_join(struct wdb_worker *worker);
void wdb_worker_free(struct wdb_worker *worker);
/* Hand over a letter (malloc'ed; taken). Any thread. */
void wdb_worker_post(struct wdb_worker *worker, struct wdb_mail *mail);
/* A new letter with this text; NULL without memory. */
struct wdb_mail *wdb_mail_new(enum wdb_mail_kind kind, const char *text,
                              size_t size);
void wdb_worker_wake(struct wdb_worker *worker);
/* Main thread: go on to this phase; phase_reached tells when it is there. */
void wdb_worker_phase(struct wdb_worker *worker, enum wdb_worker_phase phase);
/* The hook run_off_loop. */
void wdb_worker_run_off_loop(void *context, struct wdb_executor *executor,
                             void (*work)(void *), void (*done)(void *),
                             void *arg);

/* connection.c */
/* Take over a socket; closes it if that fails. */
void wdb_connection_open(struct wdb_worker *worker, int fd, bool is_unix);
void wdb_connection_close(struct wdb_connection *connection);
/* Send what the gate lets pass; close if that is what is left to do. */
void wdb_connection_send(struct wdb_connection *connection,
                         struct wdb_gate gate);
/* Once a second: limits of idle time and of unsent output; memory that an idle
 * connection needs not. */
void wdb_connection_tick(struct wdb_connection *connection);
/* More unsent output than its class may have: it is closed. */
bool wdb_connection_limit(struct wdb_connection *connection);
/* Read nothing more. */
void wdb_connection_quiet(struct wdb_connection *connection);
/* Forget a closed connection once its session is not parked. */
void wdb_connection_reap(struct wdb_connection *connection);
/* Put it on the worker's list of those to look at. */
void wdb_connection_mark(struct wdb_connection *connection);

#endif
