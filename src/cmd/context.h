/*
 * context.h - what all sessions of one server share, as far as commands need
 * it: the database, the settings, counters, and a few hooks into the loops.
 */
#ifndef WDB_CMD_CONTEXT_H
#define WDB_CMD_CONTEXT_H

#include <pthread.h>
#include <stdatomic.h>

#include "admin/config.h"
#include "admin/latency.h"
#include "admin/slowlog.h"
#include "admin/stats.h"
#include "base/list.h"
#include "base/logger.h"
#include "db/db.h"

struct wdb_cluster;
struct wdb_executor;
struct wdb_forward;
struct wdb_session;

/* What commands ask of the loops; net/ implements it, the simulator, too. */
struct wdb_context_hooks {
    /* Run `work` where it may wait, then `done` on the executor's own thread.
     */
    void (*run_off_loop)(void *context, struct wdb_executor *executor,
                         void (*work)(void *), void (*done)(void *), void *arg);
    /* The session has output or work again: look at it this turn. */
    void (*session_ready)(void *context, struct wdb_session *session);
    /* From any thread: make that session's worker notice session->kill. */
    void (*session_wake)(void *context, struct wdb_session *session);
    /* Begin an orderly stop (SHUTDOWN); save: a backup first. */
    void (*shutdown)(void *context, bool save);
    /* Hand a MONITOR line ("+...", line end included: as it is sent) to every
     * monitoring session, gated by index. Called by any worker. */
    void (*monitor)(void *context, const char *line, size_t size,
                    uint64_t index);
    /* A setting changed that the loops must know (port limits, timeouts). */
    void (*config_changed)(void *context, const char *name);
};

#define WDB_CLIENT_PAUSE_NONE  0
#define WDB_CLIENT_PAUSE_WRITE 1
#define WDB_CLIENT_PAUSE_ALL   2

struct wdb_context {
    struct wdb_db *db;
    struct wdb_env *env;
    struct wdb_config *config;
    struct wdb_stats *stats;
    struct wdb_slowlog *slowlog;
    struct wdb_latency *latency;
    const struct wdb_logger *logger;
    const struct wdb_context_hooks *hooks;
    void *hooks_context;
    const struct wdb_cluster *cluster; /* cmd/cluster.h; NULL: a single node */
    const struct wdb_forward *forward; /* cmd/forward.h; NULL: there is none */
    char run_id[41];
    uint64_t started_ms;
    _Atomic uint64_t session_id_next;
    _Atomic uint32_t monitor_count;
    _Atomic int pause_kind;          /* WDB_CLIENT_PAUSE_... */
    _Atomic uint64_t pause_until_ms; /* real clock */
    _Atomic bool stopping;
    _Atomic bool over_memory; /* used memory > maxmemory, kept by a timer */
    pthread_mutex_t registry_lock;
    struct wdb_list sessions; /* all, by registry_node */
    _Atomic uint32_t session_count;
    struct wdb_background_save *save; /* cmd/backup.h */
    uint64_t memory_startup; /* wdb_memory_used before the first session */
    _Atomic uint64_t expired_base; /* expired keys at CONFIG RESETSTAT */
#ifdef WDB_MUTATIONS
    uint32_t mutations; /* rules to break: cmd/mutations.h */
#endif
};

/* Compare used memory with maxmemory, for over_memory. For the timer of the
 * main loop, some ten times a second. Thread: any. */
void wdb_context_check_memory(struct wdb_context *context);

/* The index that replies wait for, by the settings: appended, durable or (in a
 * cluster) committed. */
uint64_t wdb_context_gate(const struct wdb_context *context);

#endif
