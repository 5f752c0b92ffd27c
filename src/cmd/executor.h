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
 * that got output or wants to be closed is told by wdb_session_ready.
 */
bool wdb_executor_run(struct wdb_executor *executor);
/* Input is left that could be executed now: do not sleep. */
bool wdb_executor_has_work(const struct wdb_executor *executor);
/* All its sessions, by executor_node. */
struct wdb_list *wdb_executor_sessions(struct wdb_executor *executor);
/*
 * How far replies may go out now. In a cluster: if the node has lost office
 * since they were executed, those that have not passed before are lost, which
 * their clients are told (gate.c). Called before anything is sent.
 */
struct wdb_gate wdb_executor_gate(struct wdb_executor *executor);
/* The round that a read, executed until now, has to wait for. It is asked for
 * at the end of the turn. */
uint64_t wdb_executor_next_round(struct wdb_executor *executor);
/* A snapshot is being switched in: in this turn no key may be touched. */
bool wdb_executor_is_loading(const struct wdb_executor *executor);
/* Let the request that was set aside for this reason go on. */
void wdb_executor_resume(struct wdb_executor *executor,
                         struct wdb_session *session,
                         enum wdb_session_hold hold);
/* Whether requests or replies wait for a change in the cluster; and whether there is one
 * already, so that another turn is due. */
bool wdb_executor_waits_for_cluster(const struct wdb_executor *executor,
                                    bool *due_out);
/* A request was executed, and its reply (if any) is behind size_before bytes of
 * the output. */
void wdb_executor_replied(struct wdb_session *session, size_t size_before);
/* Whether anything was written to the log that needs a flush: then the worker
 * calls wdb_log_flush before it sends. */
bool wdb_executor_needs_flush(struct wdb_executor *executor);

#endif
