/*
 * transaction.c - MULTI, EXEC, DISCARD, WATCH, UNWATCH.
 *
 * MULTI and DISCARD never fail for reasons of the server's state, so that a
 * connection's state is always what its client thinks it is; whatever is wrong
 * comes out at EXEC.
 */
#include "cmd/transaction.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/checked.h"
#include "cmd/dispatch.h"
#include "cmd/executor.h"
#include "cmd/forward.h"

void wdb_multi_free(struct wdb_multi *multi)
{
    if (multi == NULL) {
        return;
    }
    for (uint32_t i = 0; i < multi->count; i++) {
        free(multi->commands[i].argv);
    }
    free(multi->commands);
    free(multi);
}

/* One block: slices, keys, then the bytes of the arguments. */
static int copy_request(struct wdb_multi_command *out,
                        const struct wdb_call *call, size_t *size_out)
{
    size_t bytes = 0;
    for (uint32_t i = 0; i < call->argc; i++) {
        if (WDB_ADD_OVERFLOWS(bytes, call->argv[i].size, &bytes)) {
            return WALKERDB_ETOOBIG;
        }
    }
    size_t slices = call->argc * sizeof(struct wdb_slice);
    size_t keys = call->key_count * sizeof(struct wdb_key);
    size_t total;
    if (WDB_ADD_OVERFLOWS(bytes, slices + keys, &total)) {
        return WALKERDB_ETOOBIG;
    }
    uint8_t *block = malloc(total);
    if (block == NULL) {
        return WALKERDB_ENOMEM;
    }
    out->argv = (struct wdb_slice *)(void *)block;
    out->keys = (struct wdb_key *)(void *)(block + slices);
    uint8_t *to = block + slices + keys;
    for (uint32_t i = 0; i < call->argc; i++) {
        if (call->argv[i].size > 0) {
            memcpy(to, call->argv[i].data, call->argv[i].size);
        }
        out->argv[i] = wdb_slice(to, call->argv[i].size);
        to += call->argv[i].size;
        for (uint32_t k = 0; k < call->key_count; k++) {
            if (call->keys[k].name.data == call->argv[i].data) {
                out->keys[k].name = out->argv[i];
                out->keys[k].hash = call->keys[k].hash;
            }
        }
    }
    out->command = call->command;
    out->argc = call->argc;
    out->key_count = call->key_count;
    *size_out = total;
    return 0;
}

int wdb_multi_queue(struct wdb_session *session, const struct wdb_call *call)
{
    struct wdb_multi *multi = session->multi;
    const uint64_t size_max =
        wdb_config_u64(session->context->config,
                       WDB_CONFIG_CLIENT_QUERY_BUFFER_LIMIT);
    if (multi->count >= WDB_MULTI_COUNT_MAX || multi->size > size_max) {
        return WALKERDB_ETOOBIG;
    }
    if (multi->count == multi->capacity) {
        uint32_t capacity = multi->capacity == 0 ? 8 : multi->capacity * 2;
        struct wdb_multi_command *grown =
            realloc(multi->commands, capacity * sizeof(*grown));
        if (grown == NULL) {
            return WALKERDB_ENOMEM;
        }
        multi->commands = grown;
        multi->capacity = capacity;
    }
    size_t size = 0;
    int code = copy_request(&multi->commands[multi->count], call, &size);
    if (code != 0) {
        return code;
    }
    multi->count++;
    multi->size += size;
    multi->all_stripes |=
        (call->command->flags & (WDB_CMD_ALL_STRIPES | WDB_CMD_SCANS)) != 0;
    multi->writes |= (call->command->flags & WDB_CMD_WRITE) != 0;
    multi->reads |=
        (call->command->flags & (WDB_CMD_READONLY | WDB_CMD_SCANS)) != 0;
    multi->leader |= (call->command->flags & WDB_CMD_LEADER) != 0;
    multi->changes_session |= (call->command->flags & WDB_CMD_SESSION) != 0;
    multi->deny_oom |= (call->command->flags & WDB_CMD_DENYOOM) != 0;
    atomic_store_explicit(&session->multi_count_shown, multi->count,
                          memory_order_relaxed);
    return 0;
}

/* Back to the state without MULTI; watches go, too. */
static void end_multi(struct wdb_session *session)
{
    wdb_multi_free(session->multi);
    session->multi = NULL;
    session->flags &= ~(uint32_t)(WDB_SESSION_MULTI | WDB_SESSION_MULTI_ERROR);
    atomic_store_explicit(&session->multi_count_shown, 0, memory_order_relaxed);
}

void wdb_session_unwatch(struct wdb_session *session)
{
    if (WDB_UNLIKELY(session->forward_watches)) {
        const struct wdb_forward *forward = session->context->forward;
        session->forward_watches = false;
        forward->ops->unwatch(forward->context, session);
    }
    if (session->watcher != NULL) {
        wdb_watcher_clear(session->watcher);
    }
    atomic_store_explicit(&session->watch_count_shown, 0, memory_order_relaxed);
}

void wdb_cmd_multi(struct wdb_call *call)
{
    struct wdb_session *session = call->session;
    if (session->flags & WDB_SESSION_MULTI) {
        wdb_call_error(call, "ERR MULTI calls can not be nested");
        return;
    }
    session->multi = calloc(1, sizeof(*session->multi));
    if (session->multi == NULL) {
        (void)wdb_call_failed(call, WALKERDB_ENOMEM);
        return;
    }
    session->flags |= WDB_SESSION_MULTI;
    wdb_reply_ok(call->reply);
}

void wdb_cmd_discard(struct wdb_call *call)
{
    if (!(call->session->flags & WDB_SESSION_MULTI)) {
        wdb_call_error(call, "ERR DISCARD without MULTI");
        return;
    }
    end_multi(call->session);
    wdb_session_unwatch(call->session);
    wdb_reply_ok(call->reply);
}

void wdb_cmd_watch(struct wdb_call *call)
{
    struct wdb_session *session = call->session;
    if (session->flags & WDB_SESSION_MULTI) {
        wdb_call_error(call, "ERR WATCH inside MULTI is not allowed");
        return;
    }
    if (session->watcher == NULL) {
        int code = wdb_watcher_new(call->context->db, &session->watcher);
        if (code != 0) {
            (void)wdb_call_failed(call, code);
            return;
        }
    }
    for (uint32_t i = 0; i < call->key_count; i++) {
        int code = wdb_watcher_add(session->watcher, call->txn, &call->keys[i]);
        if (code != 0) {
            (void)wdb_call_failed(call, code);
            return;
        }
    }
    atomic_store_explicit(&session->watch_count_shown,
                          wdb_watcher_count(session->watcher),
                          memory_order_relaxed);
    wdb_reply_ok(call->reply);
}

void wdb_cmd_unwatch(struct wdb_call *call)
{
    /* Inside MULTI it is queued, and then EXEC has cleared them anyway. */
    if (!call->in_exec) {
        wdb_session_unwatch(call->session);
    }
    wdb_reply_ok(call->reply);
}

void wdb_exec_stripes(const struct wdb_session *session,
                      const struct wdb_store *store, struct wdb_stripe_set *set)
{
    uint32_t stripe_count = wdb_store_stripe_count(store);
    for (uint32_t i = 0; i < session->multi->count; i++) {
        const struct wdb_multi_command *queued = &session->multi->commands[i];
        for (uint32_t k = 0; k < queued->key_count; k++) {
            uint32_t s = wdb_stripe_of(queued->keys[k].hash, stripe_count);
            set->bits[s / 64] |= UINT64_C(1) << (s % 64);
        }
    }
    if (session->watcher != NULL) {
        wdb_watcher_stripes(session->watcher, set);
    }
}

/* Run one queued command; false if the whole transaction must be retried
 * (a value is cold) or has failed. */
static bool run_queued(struct wdb_call *exec,
                       const struct wdb_multi_command *queued)
{
    struct wdb_call call = {
        .context = exec->context,
        .session = exec->session,
        .command = queued->command,
        .argc = queued->argc,
        .argv = queued->argv,
        .key_count = queued->key_count,
        .keys = queued->keys,
        .txn = exec->txn,
        .reply = exec->reply,
        .mark = wdb_output_mark(exec->reply->output),
        .in_exec = true,
    };
    exec->txn->database = exec->session->database;
    uint32_t staged = exec->txn->batch.count;
    uint64_t errors = exec->reply->error_count;
    wdb_dispatch_handler(&call);
    if (exec->txn->cold) {
        return false;
    }
    if (exec->reply->error_count > errors) {
        wdb_stats_error(wdb_executor_stats(exec->session->executor),
                        wdb_slice_str(exec->reply->error_prefix));
        exec->reply->error_noted = exec->reply->error_count;
    }
    if (WDB_UNLIKELY(call.not_leader)) {
        (void)wdb_call_failed(exec, WALKERDB_ENOTLEADER);
        return false;
    }
    if (call.failed) {
        /* Its error is its reply; what it had staged must not happen. */
        wdb_batch_truncate(&exec->txn->batch, staged);
    }
    int code = wdb_txn_stage(exec->txn);
    if (code != 0) {
        (void)wdb_call_failed(exec, code);
        return false;
    }
    return true;
}

void wdb_cmd_exec(struct wdb_call *call)
{
    struct wdb_session *session = call->session;
    if (!(session->flags & WDB_SESSION_MULTI)) {
        wdb_call_error(call, "ERR EXEC without MULTI");
        return;
    }
    if (session->flags & WDB_SESSION_MULTI_ERROR) {
        session->exec_done = true;
        wdb_call_error(call, "EXECABORT Transaction discarded because of "
                             "previous errors.");
        return;
    }
    if (session->watcher != NULL &&
        (wdb_watcher_touched(session->watcher) ||
         wdb_watcher_expired(session->watcher, call->txn))) {
        session->exec_done = true;
        wdb_reply_null_array(call->reply);
        return;
    }
    uint32_t database = session->database;
    session->multi->begun = true;
    wdb_reply_array(call->reply, session->multi->count);
    for (uint32_t i = 0; i < session->multi->count; i++) {
        if (!run_queued(call, &session->multi->commands[i])) {
            session->database = database;
            return;
        }
    }
    session->exec_done = true;
}

void wdb_exec_finish(struct wdb_session *session)
{
    end_multi(session);
    wdb_session_unwatch(session);
    session->exec_done = false;
}

/* --- EXEC at the leader --------------------------------------------------------- */

void wdb_exec_sent(struct wdb_session *session, bool silent)
{
    if (session->multi->changes_session) {
        wdb_assert(session->multi_sent == NULL);
        session->multi_sent = session->multi;
        session->multi_sent->silent = silent;
        session->multi = NULL;
    }
    wdb_exec_finish(session);
}

bool wdb_exec_part(struct wdb_session *session, struct wdb_slice bytes)
{
    struct wdb_multi *multi = session->multi_sent;
    for (size_t i = 0;
         i < bytes.size && multi->answer_size < sizeof(multi->answer); i++) {
        multi->answer[multi->answer_size++] = bytes.data[i];
    }
    return !multi->silent;
}

/* What the leader did to its session is done to this one. */
static void change_session(struct wdb_session *session,
                           const struct wdb_multi *multi)
{
    struct wdb_output output; /* the leader has replied */
    wdb_output_init(&output);
    for (uint32_t i = 0; i < multi->count; i++) {
        const struct wdb_multi_command *queued = &multi->commands[i];
        struct wdb_reply reply = {.output = &output,
                                  .protocol = session->protocol};
        struct wdb_call call = {
            .context = session->context,
            .session = session,
            .command = queued->command,
            .argc = queued->argc,
            .argv = queued->argv,
            .reply = &reply,
            .mark = wdb_output_mark(&output),
            .in_exec = true,
        };
        if (queued->command->flags & WDB_CMD_SESSION) {
            queued->command->handler(&call);
        }
    }
    wdb_output_release(&output);
}

bool wdb_exec_answered(struct wdb_session *session, struct wdb_slice bytes)
{
    struct wdb_multi *multi = session->multi_sent;
    const bool is_shown = wdb_exec_part(session, bytes);
    session->multi_sent = NULL;
    if (multi->answer[0] == '*' && multi->answer[1] != '-') {
        change_session(session, multi);
    }
    wdb_multi_free(multi);
    return is_shown;
}
