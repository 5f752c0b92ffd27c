/*
 * server.h - the server as a whole: made from settings, run, taken apart.
 *
 * The main thread makes it and runs the main loop. Of the rest only
 * wdb_server_ask_stop may be called by others.
 */
#ifndef WDB_SERVER_SERVER_H
#define WDB_SERVER_SERVER_H

#include <uv.h>

#include "net/net.h"
#include "proxy/worker.h"
#include "server/cluster.h"
#include "server/log_file.h"
#include "server/progress.h"

struct wdb_server {
    struct wdb_env *env;
    struct wdb_config *config;
    struct wdb_log_file log_file;
    bool has_log_file;
    /* From here on: of one run, zeros before it. */
    char dir[WDB_PATH_SIZE_MAX];
    char pidfile[WDB_PATH_SIZE_MAX]; /* "" if none was written */
    struct wdb_context context;
    bool has_context;
    pthread_mutex_t net_lock; /* the log's thread looks at net */
    struct wdb_net *net;
    struct wdb_server_cluster *cluster; /* NULL: a single node */
    struct wdb_proxy_workers *proxy;    /* of a member */
    uv_loop_t loop;
    bool has_loop;
    uv_signal_t signals[3];
    uv_timer_t timer;
    uv_async_t stop_request;
    uv_work_t save_job;
    bool save_failed;
    char save_error[256];
    bool stopping;          /* main thread: the stop is under way */
    _Atomic bool releasing; /* the main loop is no more */
    _Atomic int stop_kind;  /* enum wdb_stop_kind, the strongest asked for */
    _Atomic int exit_code;
    uint64_t watchdog_ms, watchdog_last_ms;
    struct wdb_progress progress;
};

enum wdb_stop_kind {
    WDB_STOP_NONE,
    WDB_STOP_ANEW, /* the cluster's secret came: start again with it */
    WDB_STOP_PLAIN,
    WDB_STOP_SAVE, /* a backup first; if it fails, go on serving */
    WDB_STOP_SAVE_FORCE,
    WDB_STOP_FAILED, /* the log is poisoned: at once, exit code 1 */
};

/* Everything up to serving. 0; or not, and then *message_out (malloc'ed)
 * says why. In any case wdb_server_release afterwards. */
WDB_MUST_CHECK int wdb_server_start(struct wdb_server *server,
                                    char **message_out);
/* Offline: walkerdb --force-new-cluster; returns the exit code. */
int wdb_server_force(struct wdb_server *server, bool yes);
/* Serve until somebody asks to stop. */
void wdb_server_run(struct wdb_server *server);
/* Stop what runs, in order: connections, log, database. May take seconds; SIGINT
 * and SIGTERM end the process at once then. What fails meanwhile ends it, too,
 * with 1. */
void wdb_server_release(struct wdb_server *server);
/* It was released: shall it be started anew? Then it is ready for that. */
bool wdb_server_is_renewed(struct wdb_server *server);
/* Any thread. */
void wdb_server_ask_stop(struct wdb_server *server, enum wdb_stop_kind kind);

/* loop.c: signals, timer and stop requests on the main loop. */
WDB_MUST_CHECK int wdb_server_loop_init(struct wdb_server *server);
/* The loop has ended. */
void wdb_server_begin_release(struct wdb_server *server);
/* Close what the loop has, and run it until that is done. */
void wdb_server_loop_release(struct wdb_server *server);

#endif
