/*
 * dispatch.c - one request from its name to its reply.
 *
 * The order of the checks is that of Redis (processCommand): unknown, arity,
 * authentication, queueing, memory, space. What a handler staged is committed
 * while its stripes are still held; a failing commit takes the reply back and
 * answers the error instead, so an "OK" is never sent for what is not in the
 * log.
 */
#include "cmd/dispatch.h"

#include <stdarg.h>
#include <stdio.h>
#include <strings.h>

#include "base/assert.h"
#include "base/number.h"
#include "base/ticks.h"
#include "cmd/executor.h"
#include "cmd/handlers.h"
#include "cmd/monitor.h"
#include "cmd/mutations.h"
#include "cmd/route.h"
#include "cmd/transaction.h"

/* Out of the way of what is executed for each request. */
#define COLD __attribute__((cold, noinline))
/* A value at least this large is sent from the mapping, not copied. */
#define BORROW_SIZE_MIN ((size_t)16 << 10)
/* What a write may need beyond its arguments, for the check of free space. */
#define ADMIT_SLACK ((size_t)64 << 10)

void wdb_call_error(struct wdb_call *call, const char *format, ...)
{
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    call->failed = true;
    wdb_output_rollback(call->reply->output, call->mark);
    wdb_reply_error(call->reply, "%s", text);
}

void wdb_call_syntax_error(struct wdb_call *call)
{
    wdb_call_error(call, "ERR syntax error");
}

void wdb_call_wrong_type(struct wdb_call *call)
{
    wdb_call_error(call, "WRONGTYPE Operation against a key holding the wrong "
                         "kind of value");
}

static void answer_code(struct wdb_call *call, int code)
{
    switch (code) {
    case WALKERDB_ENOTLEADER: /* it is dispatched again */
        call->failed = call->not_leader = true;
        wdb_output_rollback(call->reply->output, call->mark);
        break;
    case WALKERDB_ENOMEM:
        wdb_call_error(call, "OOM out of memory, the command was not done");
        break;
    case WALKERDB_ENOSPACE:
        wdb_call_error(call, "MISCONF No space left on the device: the write "
                             "was not done; reads and deletes go on");
        break;
    case WALKERDB_ETOOBIG:
        wdb_call_error(call, "ERR the value or the batch exceeds a size limit");
        break;
    case WALKERDB_EIO:
    case WALKERDB_ECORRUPT:
        wdb_call_error(call, "IOERR %s; see the log and run walkerdb-check",
                       walkerdb_strerror(code));
        break;
    default:
        wdb_call_error(call, "ERR %s", walkerdb_strerror(code));
        break;
    }
}

bool wdb_call_failed(struct wdb_call *call, int code)
{
    if (WDB_LIKELY(code == 0)) {
        return false;
    }
    if (code != WALKERDB_EAGAIN) {
        answer_code(call, code);
    }
    return true;
}

bool wdb_call_int64(struct wdb_call *call, uint32_t i, int64_t *out)
{
    if (!wdb_parse_int64(call->argv[i], out)) {
        wdb_call_error(call, "ERR value is not an integer or out of range");
        return false;
    }
    return true;
}

bool wdb_call_is(const struct wdb_call *call, uint32_t i, const char *word)
{
    size_t size = strlen(word);
    return call->argv[i].size == size &&
           strncasecmp((const char *)call->argv[i].data, word, size) == 0;
}

static void release_segment(void *segment)
{
    wdb_segment_drop(segment);
}

void wdb_call_reply_value(struct wdb_call *call, const struct wdb_value *value)
{
    struct wdb_slice bytes = value->record.value;
    if (value->segment != NULL && bytes.size >= BORROW_SIZE_MIN) {
        wdb_segment_acquire(value->segment);
        wdb_reply_bulk_borrowed(call->reply, bytes, release_segment,
                                value->segment);
        return;
    }
    wdb_reply_bulk(call->reply, bytes);
}

void wdb_dispatch_handler(struct wdb_call *call)
{
    uint64_t errors = call->reply->error_count;
    uint64_t start = wdb_ticks();
    call->command->handler(call);
    if (WDB_UNLIKELY(call->txn->cold)) {
        return;
    }
    /* The errors inside of an EXEC are those of its commands. */
    bool failed = call->command->handler == wdb_cmd_exec
                      ? call->failed
                      : call->reply->error_count != errors;
    wdb_executor_count(call, wdb_ticks() - start, failed);
}

/* Refuse a request; inside MULTI the transaction is then aborted at EXEC. EXEC
 * itself discards it, whatever was wrong with the request. */
static void reject(struct wdb_call *call, const char *text)
{
    if (call->session->flags & WDB_SESSION_MULTI) {
        call->session->flags |= WDB_SESSION_MULTI_ERROR;
    }
    if (call->command != NULL) {
        wdb_stats_reject(wdb_executor_stats(call->session->executor),
                         call->command->id);
        if (call->command->handler == wdb_cmd_exec) {
            wdb_exec_finish(call->session);
            wdb_reply_error(call->reply,
                            "EXECABORT Transaction discarded because of: %s",
                            strncmp(text, "ERR ", 4) == 0 ? text + 4 : text);
            return;
        }
    }
    wdb_reply_error(call->reply, "%s", text);
}

static void reject_unknown(struct wdb_call *call)
{
    /* Redis shows the first 128 bytes of the name and of the arguments. */
    char text[512];
    int length =
        snprintf(text, sizeof(text),
                 "ERR unknown command '%.*s', with args beginning "
                 "with: ",
                 (int)(call->argv[0].size < 128 ? call->argv[0].size : 128),
                 (const char *)call->argv[0].data);
    size_t shown = 0;
    for (uint32_t i = 1; i < call->argc && shown < 128; i++) {
        size_t part = call->argv[i].size;
        part = part < 128 - shown ? part : 128 - shown;
        length +=
            snprintf(text + length, sizeof(text) - (size_t)length, "'%.*s' ",
                     (int)part, (const char *)call->argv[i].data);
        shown += part + 3;
    }
    reject(call, text);
}

/* The command is a container and the second word names the subcommand. */
static bool resolve_subcommand(struct wdb_call *call)
{
    if (call->command->subcommands == NULL || call->argc < 2) {
        return true;
    }
    const struct wdb_command *sub =
        wdb_command_find_sub(call->command, call->argv[1]);
    if (sub == NULL) {
        char text[256];
        char upper[32];
        size_t n = strlen(call->command->name);
        for (size_t i = 0; i < n && i < sizeof(upper) - 1; i++) {
            char c = call->command->name[i];
            upper[i] = (char)(c >= 'a' && c <= 'z' ? c - 32 : c);
        }
        upper[n < sizeof(upper) ? n : sizeof(upper) - 1] = '\0';
        snprintf(text, sizeof(text),
                 "ERR unknown subcommand '%.*s'. Try %s HELP.",
                 (int)(call->argv[1].size < 128 ? call->argv[1].size : 128),
                 (const char *)call->argv[1].data, upper);
        reject(call, text);
        return false;
    }
    call->command = sub;
    return true;
}

/* Everything that is checked before any lock. False: answered. */
static bool check(struct wdb_call *call)
{
    const struct wdb_session *session = call->session;
    if (call->command == NULL) {
        reject_unknown(call);
        return false;
    }
    if (!resolve_subcommand(call)) {
        return false;
    }
    const struct wdb_command *command = call->command;
    if ((command->arity > 0 && call->argc != (uint32_t)command->arity) ||
        (command->arity < 0 && call->argc < (uint32_t)-command->arity)) {
        char text[128];
        snprintf(text, sizeof(text),
                 "ERR wrong number of arguments for '%s' command",
                 command->name);
        reject(call, text);
        return false;
    }
    if (!(session->flags & WDB_SESSION_AUTHENTICATED) &&
        !(command->flags & WDB_CMD_NO_AUTH)) {
        reject(call, "NOAUTH Authentication required.");
        return false;
    }
    return true;
}

/* Writes are asked to wait for replicas, and there are too few. In a cluster
 * that is judged where they are executed, so not when they are queued. */
static bool lacks_replicas(const struct wdb_call *call)
{
    const struct wdb_config *config = call->context->config;
    const uint64_t wanted =
        wdb_config_u64(config, WDB_CONFIG_MIN_REPLICAS_TO_WRITE);
    if (WDB_LIKELY(wanted == 0) ||
        wdb_config_u64(config, WDB_CONFIG_MIN_REPLICAS_MAX_LAG) == 0) {
        return false;
    }
    if (call->context->cluster == NULL) {
        return true;
    }
    return (call->session->flags & WDB_SESSION_MULTI) == 0 ||
                   call->command->handler == wdb_cmd_exec
               ? wdb_cluster_replicas(call->context) < wanted
               : false;
}

/* Room in memory and on disk for what this command may write. False:
 * answered. For EXEC the flags are those of the queued commands. */
static bool check_room(struct wdb_call *call)
{
    uint32_t flags = call->command->flags;
    const struct wdb_multi *multi = call->session->multi;
    bool exec = call->command->handler == wdb_cmd_exec && multi != NULL;
    if (exec) {
        flags |= multi->deny_oom ? WDB_CMD_DENYOOM : 0;
        flags |= multi->writes ? WDB_CMD_WRITE : 0;
    }
    if (WDB_LIKELY(!(flags & (WDB_CMD_WRITE | WDB_CMD_DENYOOM)))) {
        return true;
    }
    if ((flags & WDB_CMD_DENYOOM) &&
        WDB_UNLIKELY(atomic_load_explicit(&call->context->over_memory,
                                          memory_order_relaxed))) {
        reject(call, "OOM command not allowed when used memory > 'maxmemory'.");
        return false;
    }
    if ((flags & WDB_CMD_WRITE) && WDB_UNLIKELY(lacks_replicas(call))) {
        reject(call, "NOREPLICAS Not enough good replicas to write.");
        return false;
    }
    if ((flags & WDB_CMD_DENYOOM) == 0) {
        return true; /* deletes have the log's reserve */
    }
    size_t size = ADMIT_SLACK;
    for (uint32_t i = 0; i < call->argc; i++) {
        size += call->argv[i].size;
    }
    int code = wdb_log_admit(wdb_db_log(call->context->db), size);
    if (WDB_UNLIKELY(code != 0)) {
        wdb_stats_reject(wdb_executor_stats(call->session->executor),
                         call->command->id);
        answer_code(call, code);
        return false;
    }
    return true;
}

/* CLIENT PAUSE holds this request. */
static bool held_by_pause(struct wdb_call *call)
{
    int kind =
        atomic_load_explicit(&call->context->pause_kind, memory_order_relaxed);
    if (WDB_LIKELY(kind == WDB_CLIENT_PAUSE_NONE)) {
        return false;
    }
    struct wdb_env *env = call->context->env;
    if (env->ops->time_ms(env) >=
        atomic_load_explicit(&call->context->pause_until_ms,
                             memory_order_relaxed)) {
        return false;
    }
    uint32_t flags = call->command->flags;
    if (flags & WDB_CMD_WHILE_PAUSED) {
        return false;
    }
    if (kind == WDB_CLIENT_PAUSE_ALL) {
        return true;
    }
    struct wdb_multi *multi = call->session->multi;
    bool writes = (flags & (WDB_CMD_WRITE | WDB_CMD_MAY_REPLICATE)) != 0;
    if (call->command->handler == wdb_cmd_exec && multi != NULL) {
        writes = multi->writes;
    }
    return writes;
}

/* Take the locks that the command needs. */
static void begin(struct wdb_call *call)
{
    struct wdb_txn *txn = call->txn;
    struct wdb_session *session = call->session;
    const struct wdb_store *store = wdb_db_store(call->context->db);
    txn->database = session->database;
    txn->no_touch = (session->flags & WDB_SESSION_NO_TOUCH) != 0 &&
                    call->command->handler != wdb_cmd_touch;
    bool exec = call->command->handler == wdb_cmd_exec;
    if ((call->command->flags & WDB_CMD_ALL_STRIPES) ||
        (exec && session->multi != NULL && session->multi->all_stripes)) {
        wdb_txn_begin_all(txn);
        return;
    }
    if (call->key_count == 1) {
        wdb_txn_begin_one(txn, call->keys[0].hash);
        return;
    }
    struct wdb_stripe_set set = {{0}};
    if (exec && session->multi != NULL) {
        wdb_exec_stripes(session, store, &set);
    } else {
        uint32_t count = wdb_store_stripe_count(store);
        for (uint32_t i = 0; i < call->key_count; i++) {
            uint32_t s = wdb_stripe_of(call->keys[i].hash, count);
            set.bits[s / 64] |= UINT64_C(1) << (s % 64);
        }
    }
    wdb_txn_begin(txn, &set);
}

/* A value was not in memory: ask for those of all keys of the command at once,
 * so that it is parked once. */
static void collect_cold(struct wdb_call *call)
{
    for (uint32_t i = 0; i < call->key_count; i++) {
        wdb_txn_want(call->txn, &call->keys[i]);
    }
    struct wdb_multi *multi = call->session->multi;
    if (call->command->handler == wdb_cmd_exec && multi != NULL) {
        for (uint32_t i = 0; i < multi->count; i++) {
            for (uint32_t k = 0; k < multi->commands[i].key_count; k++) {
                wdb_txn_want(call->txn, &multi->commands[i].keys[k]);
            }
        }
    }
}

/* What the command did to the keyspace, for INFO. */
static void count_effects(const struct wdb_call *call)
{
    const struct wdb_txn *txn = call->txn;
    struct wdb_stats_worker *stats =
        wdb_executor_stats(call->session->executor);
    if (txn->hits > 0) {
        wdb_stats_add(stats, WDB_STATS_HITS, txn->hits);
    }
    if (txn->misses > 0) {
        wdb_stats_add(stats, WDB_STATS_MISSES, txn->misses);
    }
    if (txn->dirty > 0 && !call->failed) {
        wdb_stats_add(stats, WDB_STATS_DIRTY, txn->dirty);
    }
}

static void feed_monitors(struct wdb_call *call)
{
    if (WDB_UNLIKELY(atomic_load_explicit(&call->context->monitor_count,
                                          memory_order_relaxed) > 0)) {
        wdb_monitor_feed(call);
    }
}

/* The log refused to take it, because office was lost in this moment: as if it
 * came only now. */
static COLD enum wdb_dispatch_result dispatch_again(struct wdb_call *call,
                                                    uint64_t errors)
{
    struct wdb_session *session = call->session;
    call->reply->error_count = errors;
    session->exec_done = false;
    session->hold_version = UINT64_MAX; /* due at once */
    if (session->hold_since_ns == 0) {
        struct wdb_env *env = call->context->env;
        session->hold_since_ns = env->ops->monotonic_ns(env);
    }
    call->hold = WDB_HOLD_LEADER;
    return WDB_DISPATCH_HELD;
}

/* Where the leader is elsewhere only what is committed is applied; the numbers
 * of entries that were taken back may still be remembered. A leader that hands
 * over does not serve, but has executed more. */
static bool read_committed_only(const struct wdb_call *call)
{
    const struct wdb_raft_gate *gate = call->context->cluster->gate;
    return call->stale && !wdb_raft_gate_serves(gate) &&
           atomic_load(&gate->leader) != gate->self &&
           wdb_raft_gate_era(gate) == call->era;
}

/* For tests that break the rule: this reply does not wait. */
static bool is_ungated(const struct wdb_call *call, bool wrote)
{
    return (WDB_CMD_MUTATED(call->context, WDB_MUTATION_GATE_WRITES_ONLY) &&
            !wrote) ||
           (WDB_CMD_MUTATED(call->context, WDB_MUTATION_GATE_FOUND_ONLY) &&
            !wrote && call->txn->hits == 0);
}

static void note_cluster_gate(struct wdb_call *call, bool wrote)
{
    struct wdb_session *session = call->session;
    if (is_ungated(call, wrote)) {
        return;
    }
    if (session->depends < call->txn->depends && !read_committed_only(call)) {
        session->depends = call->txn->depends;
    }
    if (wrote) {
        session->write_index = call->txn->depends;
    } else if (call->confirm &&
               !WDB_CMD_MUTATED(call->context, WDB_MUTATION_READ_UNCONFIRMED)) {
        session->round_wanted = true;
    }
}

/* What its reply has to wait for. */
static void note_gate(struct wdb_call *call, bool wrote)
{
    struct wdb_session *session = call->session;
    if (WDB_UNLIKELY(call->context->cluster != NULL)) {
        note_cluster_gate(call, wrote);
    } else if (session->depends < call->txn->depends) {
        session->depends = call->txn->depends;
    }
}

/* Locks, handler, commit. */
static enum wdb_dispatch_result execute(struct wdb_call *call)
{
    struct wdb_session *session = call->session;
    struct wdb_txn *txn = call->txn;
    uint64_t errors = call->reply->error_count;
    bool exec = call->command->handler == wdb_cmd_exec;
    bool wrote = false;
    const uint32_t database = session->database;
    begin(call);
    wdb_dispatch_handler(call);
    if (WDB_UNLIKELY(txn->cold)) {
        collect_cold(call);
        wdb_txn_abort(txn);
        wdb_output_rollback(call->reply->output, call->mark);
        call->reply->error_count = errors;
        return WDB_DISPATCH_COLD;
    }
    if (WDB_UNLIKELY(call->failed)) {
        wdb_txn_abort(txn);
    } else {
        wrote = txn->batch.count > 0;
        int code = wdb_txn_commit(txn);
        if (WDB_UNLIKELY(code != 0)) {
            wrote = false;
            session->database = database; /* of an EXEC that was not done */
            answer_code(call, code);
        }
    }
    if (WDB_UNLIKELY(call->failed) && call->not_leader) {
        return dispatch_again(call, errors);
    }
    count_effects(call);
    note_gate(call, wrote);
    feed_monitors(call);
    if (exec && (session->flags & WDB_SESSION_MULTI) != 0 &&
        (session->exec_done || call->failed)) {
        wdb_exec_finish(session);
    }
    return WDB_DISPATCH_DONE;
}

/* Between MULTI and EXEC. */
static COLD void queue(struct wdb_call *call)
{
    struct wdb_session *session = call->session;
    if (call->command->flags & WDB_CMD_NO_MULTI) {
        reject(call, "ERR Command not allowed inside a transaction");
        return;
    }
    if (!check_room(call)) {
        session->flags |= WDB_SESSION_MULTI_ERROR;
        return;
    }
    int code = wdb_multi_queue(session, call);
    if (code != 0) {
        session->flags |= WDB_SESSION_MULTI_ERROR;
        answer_code(call, code);
    } else {
        wdb_reply_simple(call->reply, "QUEUED");
    }
}

/* Commands that take no lock, or lock by themselves. */
static enum wdb_dispatch_result execute_unlocked(struct wdb_call *call)
{
    uint64_t errors = call->reply->error_count;
    call->txn->database = call->session->database;
    call->txn->depends = 0;
    wdb_dispatch_handler(call);
    if (WDB_UNLIKELY(call->failed) && call->not_leader) {
        return dispatch_again(call, errors);
    }
    note_gate(call, false);
    feed_monitors(call);
    return call->parked ? WDB_DISPATCH_PARKED : WDB_DISPATCH_DONE;
}

/* In a cluster; false: *result_out is what becomes of it. */
static bool is_for_here(struct wdb_call *call,
                        enum wdb_dispatch_result *result_out)
{
    static const enum wdb_dispatch_result results[] = {
        [WDB_ROUTE_ANSWERED] = WDB_DISPATCH_DONE,
        [WDB_ROUTE_HELD] = WDB_DISPATCH_HELD,
        [WDB_ROUTE_FORWARDED] = WDB_DISPATCH_FORWARDED,
        [WDB_ROUTE_REFUSED] = WDB_DISPATCH_REFUSED,
    };
    const enum wdb_route route = wdb_route(call);
    *result_out = results[route];
    return route == WDB_ROUTE_HERE;
}

enum wdb_dispatch_result wdb_dispatch(struct wdb_call *call)
{
    struct wdb_session *session = call->session;
    enum wdb_dispatch_result result;
    call->mark = wdb_output_mark(call->reply->output);
    if (WDB_UNLIKELY(session->forwarded > 0) && !wdb_route_may_follow(call)) {
        call->hold = WDB_HOLD_ANSWERS;
        return WDB_DISPATCH_HELD;
    }
    if (!check(call)) {
        return WDB_DISPATCH_DONE;
    }
    const struct wdb_command *command = call->command;
    if (WDB_UNLIKELY(session->flags & WDB_SESSION_MULTI) &&
        !(command->flags & WDB_CMD_IN_MULTI)) {
        queue(call);
        return WDB_DISPATCH_DONE;
    }
    if (held_by_pause(call)) {
        call->hold = WDB_HOLD_PAUSE;
        return WDB_DISPATCH_HELD;
    }
    if (WDB_UNLIKELY(call->context->cluster != NULL) &&
        !is_for_here(call, &result)) {
        return result;
    }
    if (!check_room(call)) {
        if (command->handler == wdb_cmd_exec && session->multi != NULL) {
            wdb_exec_finish(session);
        }
        return WDB_DISPATCH_DONE;
    }
    return command->flags & WDB_CMD_NO_TXN ? execute_unlocked(call)
                                           : execute(call);
}
