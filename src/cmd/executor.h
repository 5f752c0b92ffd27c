/*
 * executor.h - runs requests of the sessions of one worker: parse ahead,
 * prefetch, execute in order, gate.
 *
 * A turn of the worker's loop:
 *   1. read callbacks put bytes into sessions and call wdb_executor_add;
 *   2. wdb_executor_run parses up to WDB_EXECUTOR_GROUP requests over all ready
 *      sessions, prefetches their buckets, then entries, then records, then
 *      executes them; repeated while there is input (bounded by
 *      WDB_EXECUTOR_TURN_MAX, so that the loop gets its turn);
 *   3. the worker flushes the log and sends what the gate lets pass.
 */
#ifndef WDB_CMD_EXECUTOR_H
#define WDB_CMD_EXECUTOR_H

#include "cmd/call.h"

#define WDB_EXECUTOR_GROUP    16
#define WDB_EXECUTOR_TURN_MAX 4096
/* Nothing more is executed for a session with so much unsent output. */
#define WDB_OUTPUT_HOLD_SIZE ((size_t)1 << 20)

struct wdb_executor;

/* One for each worker; `worker` is what the hooks get to know it by, stats its
 * own counters. ENOMEM. */
WDB_MUST_CHECK int wdb_executor_new(struct wdb_context *context, void *worker,
                                    struct wdb_stats_worker *stats,
                                    struct wdb_executor **out);
void wdb_executor_free(struct wdb_executor *executor);
void *wdb_executor_worker(const struct wdb_executor *executor);
struct wdb_stats_worker *wdb_executor_stats(
    const struct wdb_executor *executor);
/* Count a command that was executed; slow ones go to the slow log. */
void wdb_executor_count(const struct wdb_call *call, uint64_t ticks,
                        bool failed);
/* The session has input to look at. Idempotent. */
void wdb_executor_add(struct wdb_executor *executor,
                      struct wdb_session *session);
/* Forget a session that goes away. */
void wdb_executor_remove(struct wdb_executor *executor,
                         struct wdb_session *session);
/* Execute; returns true if input is left (call again next turn). Every session
 * that got output or wants to be closed is told through hooks->session_ready.
 */
bool wdb_executor_run(struct wdb_executor *executor);
/* Input is left that could be executed now: do not sleep. */
bool wdb_executor_has_work(const struct wdb_executor *executor);
/* Whether anything was written to the log that needs a flush: then the worker
 * calls wdb_log_flush before it sends. */
bool wdb_executor_needs_flush(struct wdb_executor *executor);

#endif
