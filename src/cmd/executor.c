/*
 * executor.c - parse ahead, prefetch, execute in order.
 *
 * With pipelining, and with many connections, the price of a request is its
 * cache misses: the keydir's bucket, the entry with the key, the record. So
 * requests are taken in groups, over all sessions that have input, and each
 * group goes through passes: (1) parse, look the command up, hash the key,
 * prefetch the bucket; (2) read the bucket, prefetch the entry; (3) read the
 * entry, prefetch the record; (4) execute in order. By then the lines are
 * there. Passes 2 and 3 read without locks inside the log's epoch; what they
 * see may be stale, and costs at most a useless prefetch.
 *
 * A request that cannot be executed now (its value is cold, or CLIENT PAUSE
 * holds it) parks its session: its bytes stay in the input and are parsed again
 * later, and the requests behind it in the group are skipped.
 */
#include "cmd/executor_internal.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/time.h"
#include "cmd/cluster.h"
#include "cmd/dispatch.h"
#include "cmd/forward.h"
#include "cmd/redact.h"
#include "walkerdb.h"

/* Out of the way of what is executed for each request. */
#define COLD                  __attribute__((cold, noinline))
#define ARGUMENT_POOL_INITIAL 1024
/* A command that took so long makes the group's frozen time old. */
#define TIME_STALE_NS  1000000
#define COLD_RETRY_MAX 8

/* A cold value's way to memory: freed by its `done`. */
struct cold_job {
    struct wdb_executor *executor;
    struct wdb_session *session;
    struct wdb_store *store;
    struct wdb_fetch *fetches;
    uint32_t fetch_count;
};

int wdb_executor_new(struct wdb_context *context, void *worker,
                     struct wdb_stats_worker *stats, struct wdb_executor **out)
{
    struct wdb_executor *executor = calloc(1, sizeof(*executor));
    if (executor == NULL) {
        return WALKERDB_ENOMEM;
    }
    executor->arguments =
        malloc(ARGUMENT_POOL_INITIAL * sizeof(*executor->arguments));
    executor->keys = malloc(ARGUMENT_POOL_INITIAL * sizeof(*executor->keys));
    if (executor->arguments == NULL || executor->keys == NULL) {
        free(executor->arguments);
        free(executor->keys);
        free(executor);
        return WALKERDB_ENOMEM;
    }
    executor->argument_capacity = ARGUMENT_POOL_INITIAL;
    executor->key_capacity = ARGUMENT_POOL_INITIAL;
    executor->context = context;
    executor->worker = worker;
    executor->stats = stats;
    wdb_tick_scale_init(&executor->tick_scale);
    executor->store = wdb_db_store(context->db);
    executor->log = wdb_db_log(context->db);
    wdb_list_init(&executor->ready);
    wdb_list_init(&executor->paused);
    wdb_list_init(&executor->sessions);
    if (context->cluster != NULL) {
        executor->era = wdb_raft_gate_era(context->cluster->gate);
    }
    wdb_txn_init(&executor->txn, context->db);
    *out = executor;
    return 0;
}

void wdb_executor_free(struct wdb_executor *executor)
{
    if (executor == NULL) {
        return;
    }
    wdb_txn_release(&executor->txn);
    free(executor->arguments);
    free(executor->keys);
    free(executor->key_indexes);
    free(executor);
}

void *wdb_executor_worker(const struct wdb_executor *executor)
{
    return executor->worker;
}

struct wdb_stats_worker *wdb_executor_stats(const struct wdb_executor *executor)
{
    return executor->stats;
}

struct wdb_list *wdb_executor_sessions(struct wdb_executor *executor)
{
    return &executor->sessions;
}

bool wdb_executor_is_loading(const struct wdb_executor *executor)
{
    return executor->is_loading;
}

/* The request goes to the slow log, and to the latency monitor. */
static void note_slow(const struct wdb_call *call, uint64_t duration_us)
{
    struct wdb_context *context = call->context;
    if (call->command->flags & WDB_CMD_SKIP_SLOWLOG) {
        return;
    }
    /* Those that are shown, without passwords. */
    struct wdb_slice shown[WDB_SLOWLOG_ARGUMENTS_MAX];
    for (uint32_t i = 0; i < call->argc && i < WDB_COUNT(shown); i++) {
        shown[i] =
            wdb_argument_is_secret(call->command, call->argc, call->argv, i)
                ? wdb_slice_str(WDB_REDACTED)
                : call->argv[i];
    }
    struct wdb_slowlog_entry entry = {
        .time_s = context->env->ops->time_ms(context->env) / 1000,
        .duration_us = duration_us,
        .argument_count = call->argc,
        .arguments = shown,
        .address = call->session->about.address,
        .name = call->session->about.name,
    };
    wdb_slowlog_add(context->slowlog, &entry,
                    wdb_config_u64(context->config,
                                   WDB_CONFIG_SLOWLOG_MAX_LEN));
}

void wdb_executor_count(const struct wdb_call *call, uint64_t ticks,
                        bool failed)
{
    struct wdb_executor *executor = call->session->executor;
    uint64_t ns = wdb_ticks_to_ns(&executor->tick_scale, ticks);
    wdb_stats_call(executor->stats, call->command->id, ns, failed,
                   wdb_config_bool(call->context->config,
                                   WDB_CONFIG_LATENCY_TRACKING));
    const int64_t slow_us = wdb_config_i64(call->context->config,
                                           WDB_CONFIG_SLOWLOG_LOG_SLOWER_THAN);
    if (WDB_UNLIKELY(slow_us >= 0 && ns / 1000 >= (uint64_t)slow_us)) {
        note_slow(call, ns / 1000);
    }
    if (WDB_UNLIKELY(ns >= TIME_STALE_NS)) {
        executor->txn.turn_ms = wdb_log_time_ms(executor->log);
    }
    uint64_t threshold_ms =
        wdb_config_u64(call->context->config,
                       WDB_CONFIG_LATENCY_MONITOR_THRESHOLD);
    if (WDB_UNLIKELY(threshold_ms > 0 && ns / 1000000 >= threshold_ms)) {
        wdb_latency_add(
            call->context->latency,
            call->command->flags & WDB_CMD_FAST ? "fast-command" : "command",
            call->context->env->ops->time_ms(call->context->env) / 1000,
            ns / 1000000);
    }
}

void wdb_executor_add(struct wdb_executor *executor,
                      struct wdb_session *session)
{
    if ((session->flags & (WDB_SESSION_PARKED | WDB_SESSION_CLOSING)) == 0 &&
        wdb_list_empty(&session->ready_node)) {
        wdb_list_append(&executor->ready, &session->ready_node);
    }
}

void wdb_executor_remove(struct wdb_executor *executor,
                         struct wdb_session *session)
{
    (void)executor;
    wdb_list_remove(&session->ready_node);
}

bool wdb_executor_has_work(const struct wdb_executor *executor)
{
    return !wdb_list_empty(&executor->ready);
}

bool wdb_executor_needs_flush(struct wdb_executor *executor)
{
    return wdb_log_dirty(executor->log);
}

/* --- pass 1: parse ------------------------------------------------------- */

/* Before AUTH a stranger gets little: see the limits. */
static struct wdb_parser_limits parser_limits(struct wdb_session *session)
{
    if (WDB_UNLIKELY(!(session->flags & WDB_SESSION_AUTHENTICATED))) {
        return (struct wdb_parser_limits){10, (uint64_t)16 << 10,
                                          (size_t)64 << 10};
    }
    return (struct wdb_parser_limits){
        INT32_MAX,
        wdb_config_u64(session->context->config, WDB_CONFIG_PROTO_MAX_BULK_LEN),
        (size_t)64 << 10};
}

static int reserve_pools(struct wdb_executor *executor, uint32_t argc)
{
    uint32_t need = executor->argument_count + argc;
    if (need > executor->argument_capacity) {
        uint32_t capacity = need * 2;
        struct wdb_slice *grown =
            realloc(executor->arguments, capacity * sizeof(*grown));
        if (grown == NULL) {
            return WALKERDB_ENOMEM;
        }
        executor->arguments = grown;
        executor->argument_capacity = capacity;
    }
    need = executor->key_count + argc;
    if (need > executor->key_capacity) {
        uint32_t capacity = need * 2;
        struct wdb_key *grown =
            realloc(executor->keys, capacity * sizeof(*grown));
        if (grown == NULL) {
            return WALKERDB_ENOMEM;
        }
        executor->keys = grown;
        executor->key_capacity = capacity;
    }
    return 0;
}

/* Find and hash the keys; prefetch the bucket of the first. */
static int find_keys(struct wdb_executor *executor,
                     struct wdb_executor_slot *slot)
{
    const struct wdb_command *command = slot->command;
    const struct wdb_slice *argv = executor->arguments + slot->argument_first;
    slot->key_first = executor->key_count;
    slot->key_count = 0;
    if (command == NULL || command->key_spec_count == 0) {
        return 0;
    }
    if (slot->argc > executor->key_index_capacity) {
        uint32_t capacity = slot->argc + 64;
        uint32_t *grown =
            realloc(executor->key_indexes, capacity * sizeof(*grown));
        if (grown == NULL) {
            return WALKERDB_ENOMEM;
        }
        executor->key_indexes = grown;
        executor->key_index_capacity = capacity;
    }
    int count =
        wdb_command_keys(command, slot->argc, argv, executor->key_indexes,
                         executor->key_index_capacity);
    for (int i = 0; i < count; i++) {
        executor->keys[executor->key_count++] =
            wdb_key(executor->store, argv[executor->key_indexes[i]]);
    }
    if (count > 0) {
        slot->key_count = (uint32_t)count;
    }
    if (count > 0 && WDB_LIKELY(!executor->is_loading)) {
        const struct wdb_keydir *keydir =
            wdb_store_keydir(executor->store,
                             wdb_store_database(executor->store,
                                                slot->session->database));
        if (keydir != NULL) {
            wdb_keydir_probe_bucket(keydir,
                                    executor->keys[slot->key_first].hash,
                                    &slot->probe);
        }
    }
    return 0;
}

/* The container's subcommand decides which arguments are keys. */
static const struct wdb_command *look_up(const struct wdb_slice *argv,
                                         uint32_t argc)
{
    const struct wdb_command *command = wdb_command_find(argv[0]);
    if (command != NULL && command->subcommands != NULL && argc > 1) {
        const struct wdb_command *sub = wdb_command_find_sub(command, argv[1]);
        return sub != NULL ? sub : command;
    }
    return command;
}

static void protocol_error(struct wdb_session *session, const char *text)
{
    struct wdb_reply reply = {.output = &session->output,
                              .protocol = session->protocol};
    wdb_reply_error(&reply, "ERR %s", text);
    session->replies++;
    wdb_logger_print(session->context->logger, WDB_LOG_VERBOSE,
                     "Protocol error from client %s: %s",
                     session->about.address, text);
    session->flags |= WDB_SESSION_CLOSE_AFTER_REPLY | WDB_SESSION_CLOSING;
    session->input_used = session->input.size;
}

/* Somebody made a browser talk to us (cross-protocol attack). */
static bool foreign_protocol(const struct wdb_slice name)
{
    return (name.size == 4 && memcmp(name.data, "POST", 4) == 0) ||
           (name.size == 5 &&
            strncasecmp((const char *)name.data, "host:", 5) == 0);
}

/* Parse one request of the session at *at; true if there was one (a slot was
 * filled) or something was skipped. */
static bool parse_one(struct wdb_executor *executor,
                      struct wdb_session *session, size_t *at, bool *inline_out)
{
    const struct wdb_parser_limits limits = parser_limits(session);
    const uint8_t *data = session->input.data + *at;
    size_t consumed = 0;
    enum wdb_parse_result result =
        wdb_parser_next(&session->parser, &limits, data,
                        session->input.size - *at, &consumed, NULL);
    if (result == WDB_PARSE_INCOMPLETE) {
        return false;
    }
    if (result == WDB_PARSE_EMPTY) {
        *at += consumed;
        if (executor->slot_count == 0 ||
            executor->slots[executor->slot_count - 1].session != session) {
            session->input_used = *at;
        } else {
            executor->slots[executor->slot_count - 1].input_end = *at;
        }
        return true;
    }
    struct wdb_executor_slot *slot = &executor->slots[executor->slot_count];
    *slot = (struct wdb_executor_slot){.session = session};
    if (result == WDB_PARSE_ERROR) {
        slot->argc = 0; /* executed in its turn: behind what came before */
        slot->input_end = session->input.size;
        executor->slot_count++;
        *inline_out = true;
        return true;
    }
    uint32_t argc = wdb_parser_argument_count(&session->parser);
    if (reserve_pools(executor, argc) != 0) {
        session->output.failed = true;
        return false;
    }
    slot->argument_first = executor->argument_count;
    slot->argc = argc;
    struct wdb_slice *argv = executor->arguments + slot->argument_first;
    for (uint32_t i = 0; i < argc; i++) {
        argv[i] = wdb_parser_argument(&session->parser, data, i);
    }
    executor->argument_count += argc;
    *inline_out = data[0] != '*'; /* lives in the parser until its next call */
    *at += consumed;
    slot->input_end = *at;
    slot->command = look_up(argv, argc);
    if (find_keys(executor, slot) != 0) {
        session->output.failed = true;
        return false;
    }
    executor->slot_count++;
    return true;
}

/* Fill the group from one session; false: nothing more to parse in it now. */
static bool parse_session(struct wdb_executor *executor,
                          struct wdb_session *session)
{
    size_t at = session->input_used;
    bool last = false;
    session->output_full = session->output.size >= WDB_OUTPUT_HOLD_SIZE &&
                           at < session->input.size;
    if (session->output_full) {
        return false; /* it is added again when it has read its replies */
    }
    while (executor->slot_count < WDB_EXECUTOR_GROUP && !last &&
           at < session->input.size) {
        if (!parse_one(executor, session, &at, &last)) {
            return false;
        }
        /* AUTH and HELLO change the limits, RESET and QUIT end things: what
         * follows them is parsed when they have been executed. */
        if (!(session->flags & WDB_SESSION_AUTHENTICATED)) {
            last = true;
        }
    }
    return at < session->input.size;
}

/* --- passes 2 and 3 ---------------------------------------------------------
 */

static void prefetch(struct wdb_executor *executor)
{
    for (uint32_t i = 0; i < executor->slot_count; i++) {
        wdb_keydir_probe_entry(&executor->slots[i].probe);
    }
    for (uint32_t i = 0; i < executor->slot_count; i++) {
        const struct wdb_executor_slot *slot = &executor->slots[i];
        const wdb_position position = wdb_keydir_probe_position(&slot->probe);
        if (position == 0 || !(slot->command->flags & WDB_CMD_READONLY)) {
            continue;
        }
        const uint8_t *record = wdb_log_peek(executor->log, position);
        if (record != NULL) {
            WDB_PREFETCH(record);
            WDB_PREFETCH(record + WDB_CACHE_LINE);
        }
    }
}

/* --- pass 4: execute -------------------------------------------------------- */

/* An error comes out when the command reads the value again. */
static void fetch_all(struct wdb_store *store, struct wdb_fetch *fetches,
                      uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        int code = wdb_store_fetch(store, &fetches[i]);
        (void)code;
    }
}

static void cold_work(void *arg)
{
    struct cold_job *job = arg;
    fetch_all(job->store, job->fetches, job->fetch_count);
}

static void cold_done(void *arg)
{
    struct cold_job *job = arg;
    struct wdb_session *session = job->session;
    session->flags &= ~(uint32_t)WDB_SESSION_PARKED;
    wdb_executor_add(job->executor, session);
    wdb_session_ready(session);
    free(job->fetches);
    free(job);
}

/* Park the session until its values are in memory. */
static void park_cold(struct wdb_executor *executor,
                      struct wdb_session *session)
{
    struct cold_job *job = malloc(sizeof(*job));
    struct wdb_fetch *fetches = NULL;
    uint32_t count = 0;
    wdb_txn_take_fetches(&executor->txn, &fetches, &count);
    session->cold_count++;
    if (job == NULL) {
        fetch_all(executor->store, fetches, count);
        free(fetches);
        wdb_executor_add(executor, session);
        return;
    }
    *job =
        (struct cold_job){executor, session, executor->store, fetches, count};
    session->flags |= WDB_SESSION_PARKED;
    const struct wdb_context *context = executor->context;
    context->hooks->run_off_loop(context->hooks_context, executor, cold_work,
                                 cold_done, job);
}

/* The request is executed another time: CLIENT REPLY SKIP is still ahead. */
static void restore_skip(struct wdb_session *session)
{
    if (session->flags & WDB_SESSION_REPLY_SKIP) {
        session->flags |= WDB_SESSION_REPLY_SKIP_NEXT;
    }
}

/* CLIENT REPLY OFF and SKIP: nothing of this reply is sent. */
static bool reply_suppressed(struct wdb_session *session)
{
    return (session->flags &
            (WDB_SESSION_REPLY_OFF | WDB_SESSION_REPLY_SKIP)) != 0;
}

static COLD void note_executed(struct wdb_session *session,
                               enum wdb_channel_outcome outcome)
{
    const struct wdb_forward *forward = session->context->forward;
    forward->ops->executed(forward->context, session, outcome);
}

void wdb_executor_replied(struct wdb_session *session, size_t size_before)
{
    session->replies += session->output.size > size_before;
    if (WDB_UNLIKELY(session->flags & WDB_SESSION_CHANNEL)) {
        note_executed(session, WDB_CHANNEL_ANSWERED);
    }
}

/* The request was not simply executed. True: it is behind us all the same. */
static COLD bool is_taken(struct wdb_executor *executor,
                          const struct wdb_call *call,
                          enum wdb_dispatch_result result)
{
    struct wdb_session *session = call->session;
    switch (result) {
    case WDB_DISPATCH_COLD:
        restore_skip(session);
        wdb_parser_restart(&session->parser);
        park_cold(executor, session);
        return false;
    case WDB_DISPATCH_HELD:
        restore_skip(session);
        wdb_hold_session(executor, session, call->hold);
        return false;
    case WDB_DISPATCH_PARKED:
        /* What was parsed ahead is skipped, and parsed again later. */
        wdb_parser_restart(&session->parser);
        session->flags |= WDB_SESSION_PARKED;
        break;
    case WDB_DISPATCH_REFUSED:
        note_executed(session, WDB_CHANNEL_REFUSED);
        break;
    case WDB_DISPATCH_DONE:
    case WDB_DISPATCH_FORWARDED:
        break;
    }
    return true;
}

static void execute_request(struct wdb_executor *executor,
                            struct wdb_executor_slot *slot)
{
    struct wdb_session *session = slot->session;
    struct wdb_reply reply = {.output = &session->output,
                              .protocol = session->protocol};
    struct wdb_call call = {
        .context = executor->context,
        .session = session,
        .command = slot->command,
        .argc = slot->argc,
        .argv = executor->arguments + slot->argument_first,
        .key_count = slot->key_count,
        .keys = executor->keys + slot->key_first,
        .txn = &executor->txn,
        .reply = &reply,
    };
    /* A container whose subcommand was found: dispatch starts from it. */
    executor->txn.wait = session->cold_count > COLD_RETRY_MAX;
    session->flags &= ~(uint32_t)WDB_SESSION_REPLY_SKIP;
    if (WDB_UNLIKELY(session->flags & WDB_SESSION_REPLY_SKIP_NEXT)) {
        session->flags &= ~(uint32_t)WDB_SESSION_REPLY_SKIP_NEXT;
        session->flags |= WDB_SESSION_REPLY_SKIP;
    }
    bool was_suppressed = reply_suppressed(session);
    const enum wdb_dispatch_result result = wdb_dispatch(&call);
    if (WDB_UNLIKELY(result != WDB_DISPATCH_DONE) &&
        !is_taken(executor, &call, result)) {
        return;
    }
    if (WDB_UNLIKELY(was_suppressed && reply_suppressed(session))) {
        wdb_output_rollback(&session->output, call.mark);
    }
    if (WDB_LIKELY(result == WDB_DISPATCH_DONE)) {
        wdb_executor_replied(session, call.mark.size);
    }
    session->hold_since_ns = 0;
    if (WDB_UNLIKELY(session->hold_ms > 0)) {
        struct wdb_env *env = executor->context->env;
        session->held_until_ns = env->ops->monotonic_ns(env) +
                                 (uint64_t)session->hold_ms * WDB_NS_PER_MS;
        session->hold_ms = 0;
        wdb_hold_session(executor, session, WDB_HOLD_PAUSE);
    }
    session->cold_count = 0;
    session->input_used = slot->input_end;
    if (WDB_LIKELY(call.command != NULL)) {
        atomic_store_explicit(&session->last_command_id, call.command->id,
                              memory_order_relaxed);
    }
    if (WDB_UNLIKELY(reply.error_count > reply.error_noted)) {
        wdb_stats_error(executor->stats, wdb_slice_str(reply.error_prefix));
    }
}

static void execute_slot(struct wdb_executor *executor,
                         struct wdb_executor_slot *slot)
{
    struct wdb_session *session = slot->session;
    if (session->flags & (WDB_SESSION_PARKED | WDB_SESSION_CLOSING)) {
        return;
    }
    if (WDB_UNLIKELY(
            session->output.failed ||
            atomic_load_explicit(&session->kill, memory_order_relaxed))) {
        session->flags |= WDB_SESSION_CLOSING;
        return;
    }
    if (WDB_UNLIKELY(slot->argc == 0)) {
        if (session->forwarded > 0) {
            wdb_hold_session(executor, session, WDB_HOLD_ANSWERS);
            return;
        }
        protocol_error(session, session->parser.error);
        return;
    }
    const struct wdb_slice *argv = executor->arguments + slot->argument_first;
    if (WDB_UNLIKELY(slot->command == NULL && foreign_protocol(argv[0]))) {
        wdb_logger_print(executor->context->logger, WDB_LOG_WARNING,
                         "Possible cross-protocol attack from %s: an HTTP "
                         "request was sent here; the connection is closed",
                         session->about.address);
        session->flags |= WDB_SESSION_CLOSING;
        return;
    }
    execute_request(executor, slot);
    if (session->flags & WDB_SESSION_CLOSE_AFTER_REPLY) {
        session->flags |= WDB_SESSION_CLOSING;
    }
}

/* What a run of commands of one session leaves behind for others to see. */
static void show_session(struct wdb_session *session, uint64_t now_ms,
                         uint32_t commands)
{
    atomic_store_explicit(&session->last_active_ms, now_ms,
                          memory_order_relaxed);
    atomic_fetch_add_explicit(&session->command_count, commands,
                              memory_order_relaxed);
    atomic_store_explicit(&session->flags_shown, session->flags,
                          memory_order_relaxed);
    atomic_store_explicit(&session->database_shown, session->database,
                          memory_order_relaxed);
    atomic_store_explicit(&session->protocol_shown, (uint32_t)session->protocol,
                          memory_order_relaxed);
    atomic_store_explicit(&session->input_size_shown,
                          session->input.size - session->input_used,
                          memory_order_relaxed);
    atomic_store_explicit(&session->output_size_shown, session->output.size,
                          memory_order_relaxed);
}

/* One group: parse, prefetch, execute. False if there was nothing. */
static bool run_group(struct wdb_executor *executor, uint64_t now_ms)
{
    executor->slot_count = 0;
    executor->argument_count = 0;
    executor->key_count = 0;
    executor->txn.turn_ms = wdb_log_time_ms(executor->log);
    struct wdb_session *left = NULL; /* has more input than fits the group */
    while (!wdb_list_empty(&executor->ready) &&
           executor->slot_count < WDB_EXECUTOR_GROUP) {
        struct wdb_session *session =
            WDB_LIST_ENTRY(executor->ready.next, struct wdb_session,
                           ready_node);
        wdb_list_remove(&session->ready_node);
        const bool was_full = session->output_full;
        if (parse_session(executor, session)) {
            left = session;
            break;
        }
        if (executor->slot_count == 0 ||
            executor->slots[executor->slot_count - 1].session != session) {
            /* Nothing whole in it; an error may still have to be shown, or the
             * connection waits to be closed. */
            if (session->output.failed || was_full) {
                wdb_session_ready(session);
            }
        }
    }
    if (executor->slot_count == 0 && left == NULL) {
        return false;
    }
    prefetch(executor);
    uint32_t first = 0;
    for (uint32_t i = 0; i < executor->slot_count; i++) {
        struct wdb_session *session = executor->slots[i].session;
        execute_slot(executor, &executor->slots[i]);
        if (i + 1 == executor->slot_count ||
            executor->slots[i + 1].session != session) {
            wdb_session_mark(session);
            show_session(session, now_ms, i + 1 - first);
            wdb_session_ready(session);
            first = i + 1;
        }
    }
    if (left != NULL) {
        wdb_executor_add(executor, left);
    }
    return true;
}

bool wdb_executor_run(struct wdb_executor *executor)
{
    wdb_gate_begin_turn(executor);
    wdb_hold_resume_all(executor);
    if (wdb_list_empty(&executor->ready)) {
        return false;
    }
    struct wdb_env *env = executor->context->env;
    uint64_t now_ms = env->ops->time_ms(env);
    wdb_tick_scale_update(&executor->tick_scale);
    int slot = wdb_epoch_enter(wdb_log_epoch(executor->log));
    executor->txn.epoch_slot = -1;
    executor->is_loading =
        executor->context->cluster != NULL &&
        atomic_load(&executor->context->cluster->gate->is_loading);
    uint32_t executed = 0;
    while (executed < WDB_EXECUTOR_TURN_MAX && run_group(executor, now_ms)) {
        executed += executor->slot_count;
    }
    wdb_epoch_exit(wdb_log_epoch(executor->log), slot);
    wdb_gate_end_turn(executor);
    return !wdb_list_empty(&executor->ready);
}
