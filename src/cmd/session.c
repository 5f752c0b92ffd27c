/*
 * session.c - one client: its input, its output behind the gate, its flags.
 *
 * The gate. Every reply depends on a log index: the last write to anything
 * that the command read or wrote. Replies leave in order, so it is enough to
 * remember, for growing positions in the output, the highest index so far: the
 * marks. Most of the time there is one mark or none.
 */
#include "cmd/session.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "cmd/cluster.h"
#include "cmd/context.h"
#include "cmd/executor_internal.h"
#include "cmd/forward.h"
#include "cmd/mutations.h"
#include "cmd/transaction.h"
#include "walkerdb.h"

#define INPUT_ROOM_MIN ((size_t)16 << 10)
#define INPUT_KEEP_MAX ((size_t)64 << 10)
/* Of lines, behind a reply that comes in parts. */
#define PUSHED_KEEP_MAX ((size_t)1 << 20)

static void copy_text(char *out, size_t size, const char *text)
{
    size_t length = text == NULL ? 0 : strlen(text);
    if (length >= size) {
        length = size - 1;
    }
    memcpy(out, text == NULL ? "" : text, length);
    out[length] = '\0';
}

int wdb_session_new(struct wdb_context *context, struct wdb_executor *executor,
                    const struct wdb_session_info *info,
                    struct wdb_session **out)
{
    struct wdb_session *session = calloc(1, sizeof(*session));
    if (session == NULL) {
        return WALKERDB_ENOMEM;
    }
    session->context = context;
    session->executor = executor;
    session->id = atomic_fetch_add_explicit(&context->session_id_next, 1,
                                            memory_order_relaxed) +
                  1;
    session->owner = info->owner;
    session->on_ready = info->on_ready;
    atomic_store_explicit(&session->last_command_id, UINT32_MAX,
                          memory_order_relaxed);
    session->fd = info->fd;
    session->created_ms = context->env->ops->time_ms(context->env);
    atomic_store_explicit(&session->last_active_ms, session->created_ms,
                          memory_order_relaxed);
    pthread_mutex_init(&session->about_lock, NULL);
    copy_text(session->about.address, sizeof(session->about.address),
              info->address);
    copy_text(session->about.local_address,
              sizeof(session->about.local_address), info->local_address);
    wdb_parser_init(&session->parser);
    wdb_buffer_init(&session->input);
    wdb_buffer_init(&session->kept);
    wdb_output_init(&session->output);
    wdb_list_init(&session->ready_node);
    wdb_list_init(&session->executor_node);
    wdb_list_init(&session->registry_node);
    wdb_session_reset(session);
    session->flags |= (info->unix_socket ? WDB_SESSION_UNIX_SOCKET : 0) |
                      (info->channel ? WDB_SESSION_CHANNEL : 0);
    wdb_list_append(wdb_executor_sessions(executor), &session->executor_node);
    pthread_mutex_lock(&context->registry_lock);
    wdb_list_append(&context->sessions, &session->registry_node);
    pthread_mutex_unlock(&context->registry_lock);
    atomic_fetch_add_explicit(&context->session_count, 1, memory_order_relaxed);
    *out = session;
    return 0;
}

void wdb_session_free(struct wdb_session *session)
{
    struct wdb_context *context = session->context;
    wdb_assert(wdb_list_empty(&session->ready_node));
    if (session->forward != NULL) {
        context->forward->ops->leave(context->forward->context, session);
    }
    wdb_hold_forget(session);
    wdb_list_remove(&session->executor_node);
    pthread_mutex_lock(&context->registry_lock);
    wdb_list_remove(&session->registry_node);
    pthread_mutex_unlock(&context->registry_lock);
    atomic_fetch_sub_explicit(&context->session_count, 1, memory_order_relaxed);
    if (session->flags & WDB_SESSION_MONITOR) {
        atomic_fetch_sub_explicit(&context->monitor_count, 1,
                                  memory_order_relaxed);
    }
    wdb_multi_free(session->multi);
    wdb_multi_free(session->multi_sent);
    wdb_watcher_free(session->watcher);
    wdb_parser_release(&session->parser);
    wdb_buffer_release(&session->input);
    wdb_buffer_release(&session->kept);
    wdb_output_release(&session->output);
    free(session->marks);
    pthread_mutex_destroy(&session->about_lock);
    free(session);
}

void wdb_session_reset(struct wdb_session *session)
{
    struct wdb_context *context = session->context;
    uint32_t kept =
        session->flags & (WDB_SESSION_UNIX_SOCKET | WDB_SESSION_CHANNEL |
                          WDB_SESSION_CLOSE_AFTER_REPLY | WDB_SESSION_CLOSING);
    if (session->flags & WDB_SESSION_MONITOR) {
        atomic_fetch_sub_explicit(&context->monitor_count, 1,
                                  memory_order_relaxed);
    }
    wdb_multi_free(session->multi);
    session->multi = NULL;
    session->flags = kept;
    if (wdb_config_matches(context->config, WDB_CONFIG_REQUIREPASS,
                           wdb_slice("", 0))) {
        session->flags |= WDB_SESSION_AUTHENTICATED;
    }
    wdb_session_unwatch(session);
    session->protocol = 2;
    session->database = 0;
    session->level = WDB_READ_DEFAULT;
    pthread_mutex_lock(&session->about_lock);
    session->about.name[0] = '\0';
    copy_text(session->about.user, sizeof(session->about.user), "default");
    pthread_mutex_unlock(&session->about_lock);
}

/* Drop what was executed; give back memory that one big request needed. */
static void compact_input(struct wdb_session *session)
{
    struct wdb_buffer *input = &session->input;
    if (session->input_used == 0) {
        return;
    }
    if (session->input_used == input->size) {
        input->size = 0;
        if (input->capacity > INPUT_KEEP_MAX) {
            wdb_buffer_release(input);
        }
    } else {
        wdb_buffer_consume(input, session->input_used);
    }
    session->input_used = 0;
}

uint8_t *wdb_session_input_room(struct wdb_session *session, size_t *size_out)
{
    struct wdb_buffer *input = &session->input;
    compact_input(session);
    uint64_t limit = wdb_config_u64(session->context->config,
                                    WDB_CONFIG_CLIENT_QUERY_BUFFER_LIMIT);
    if (input->size >= limit) {
        return NULL;
    }
    size_t room = INPUT_ROOM_MIN;
    if (session->parser.bulk_size > 0 &&
        (uint64_t)session->parser.bulk_size > room) {
        /* A large argument: have room for all of it at once. */
        size_t end = session->parser.offset + (size_t)session->parser.bulk_size;
        room = end + 2 > input->size + room ? end + 2 - input->size : room;
    }
    if (wdb_buffer_reserve(input, room) != 0) {
        return NULL;
    }
    *size_out = input->capacity - input->size;
    return input->data + input->size;
}

void wdb_session_input_add(struct wdb_session *session, size_t size)
{
    wdb_assert(size <= session->input.capacity - session->input.size);
    session->input.size += size;
    atomic_store_explicit(&session->input_size_shown,
                          session->input.size - session->input_used,
                          memory_order_relaxed);
}

/* Let the ring of marks have room for one more. */
static int grow_marks(struct wdb_session *session)
{
    uint32_t capacity =
        session->mark_capacity == 0 ? 4 : session->mark_capacity * 2;
    struct wdb_gate_mark *marks = malloc(capacity * sizeof(*marks));
    if (marks == NULL) {
        return WALKERDB_ENOMEM;
    }
    for (uint32_t i = 0; i < session->mark_count; i++) {
        marks[i] =
            session->marks[(session->mark_first + i) % session->mark_capacity];
    }
    free(session->marks);
    session->marks = marks;
    session->mark_first = 0;
    session->mark_capacity = capacity;
    return 0;
}

void wdb_session_mark(struct wdb_session *session)
{
    uint64_t end = session->output_sent + session->output.size;
    if (WDB_UNLIKELY(session->round_wanted)) {
        session->round_wanted = false;
        session->round = wdb_executor_next_round(session->executor);
    }
    if (end == session->output_total) {
        return;
    }
    session->output_total = end;
    if (session->mark_count > 0) {
        uint32_t last = (session->mark_first + session->mark_count - 1) %
                        session->mark_capacity;
        if (session->marks[last].gate.index >= session->depends &&
            session->marks[last].gate.round >= session->round) {
            session->marks[last].end = end;
            session->marks[last].replies = session->replies;
            return;
        }
    }
    if (session->mark_count == session->mark_capacity &&
        grow_marks(session) != 0) {
        session->output.failed = true; /* the connection is closed */
        return;
    }
    uint32_t next =
        (session->mark_first + session->mark_count) % session->mark_capacity;
    session->marks[next] = (struct wdb_gate_mark){
        end, {session->depends, session->round}, session->replies};
    session->mark_count++;
}

size_t wdb_session_sendable(struct wdb_session *session, struct wdb_gate gate)
{
    wdb_session_mark(session);
    uint64_t released = session->output_released;
    while (session->mark_count > 0) {
        const struct wdb_gate_mark *mark = &session->marks[session->mark_first];
        if (mark->gate.index > gate.index || mark->gate.round > gate.round) {
            break;
        }
        released = mark->end;
        session->replies_released = mark->replies;
        session->mark_first =
            (session->mark_first + 1) % session->mark_capacity;
        session->mark_count--;
    }
    session->output_released = released;
    return (size_t)(released - session->output_sent);
}

#define UNKNOWN_TEXT                                                           \
    "-UNKNOWN leadership was lost before the outcome was known: the command "  \
    "may or may not have been done\r\n"

struct wdb_slice wdb_reply_unknown(void)
{
    return wdb_slice(UNKNOWN_TEXT, sizeof(UNKNOWN_TEXT) - 1);
}

uint64_t wdb_session_lose(struct wdb_session *session, struct wdb_gate passed)
{
    size_t kept = wdb_session_sendable(session, passed);
    const uint64_t lost = session->replies - session->replies_released;
    const bool dropped = kept < session->output.size;
    session->depends = session->round = 0;
    session->write_index = 0;
    session->replies_released = session->replies;
    session->mark_count = 0;
    if (!dropped) {
        return 0;
    }
    wdb_output_truncate(&session->output, kept);
    session->output_total = session->output_released;
    if (session->flags & WDB_SESSION_CHANNEL) {
        const struct wdb_forward *forward = session->context->forward;
        forward->ops->lost(forward->context, session, session->output_released);
        return lost;
    }
    const struct wdb_slice text =
        WDB_CMD_MUTATED(session->context, WDB_MUTATION_UNKNOWN_AS_FAILED)
            ? wdb_slice_str("-CLUSTERDOWN nothing was done\r\n")
            : wdb_reply_unknown();
    for (uint64_t i = 0; i < lost; i++) {
        wdb_output_append(&session->output, text.data, text.size);
        wdb_stats_error(wdb_executor_stats(session->executor),
                        wdb_slice_str("UNKNOWN"));
    }
    return lost;
}

void wdb_session_ready(struct wdb_session *session)
{
    const struct wdb_context *context = session->context;
    if (session->on_ready != NULL) {
        session->on_ready(session);
    } else {
        context->hooks->session_ready(context->hooks_context, session);
    }
}

uint64_t wdb_session_output_end(const struct wdb_session *session)
{
    return session->output_sent + session->output.size;
}

static void add_pushed(struct wdb_session *session, struct wdb_slice bytes,
                       uint64_t depends)
{
    wdb_output_append(&session->output, bytes.data, bytes.size);
    session->depends = session->depends < depends ? depends : session->depends;
    wdb_session_mark(session);
}

void wdb_session_push(struct wdb_session *session, struct wdb_slice bytes,
                      uint64_t depends)
{
    if (WDB_LIKELY(!session->answer_begun)) {
        add_pushed(session, bytes, depends);
    } else if (session->kept.size < PUSHED_KEEP_MAX &&
               wdb_buffer_append(&session->kept, bytes.data, bytes.size) == 0 &&
               session->kept_depends < depends) {
        session->kept_depends = depends;
    }
}

static void end_answer(struct wdb_session *session)
{
    session->answer_begun = false;
    if (WDB_UNLIKELY(session->kept.size > 0)) {
        add_pushed(session, wdb_buffer_slice(&session->kept),
                   session->kept_depends);
        wdb_buffer_release(&session->kept);
        session->kept_depends = 0;
    }
}

void wdb_session_answer_part(struct wdb_session *session,
                             struct wdb_slice bytes)
{
    wdb_assert(session->forwarded > 0);
    if (session->multi_sent != NULL && !wdb_exec_part(session, bytes)) {
        return;
    }
    session->answer_begun = true;
    wdb_output_append(&session->output, bytes.data, bytes.size);
    wdb_session_mark(session);
    wdb_session_ready(session);
}

void wdb_session_answer(struct wdb_session *session, struct wdb_slice bytes,
                        uint32_t count)
{
    wdb_assert(session->forwarded > 0);
    session->forwarded--;
    if (session->multi_sent != NULL && !wdb_exec_answered(session, bytes)) {
        count = 0;
    }
    if (count > 0) {
        wdb_output_append(&session->output, bytes.data, bytes.size);
        session->replies += count;
    }
    wdb_session_mark(session);
    end_answer(session);
    if (session->forwarded == 0) {
        wdb_executor_resume(session->executor, session, WDB_HOLD_ANSWERS);
    }
    wdb_session_ready(session);
}

void wdb_session_sent(struct wdb_session *session, size_t size)
{
    wdb_assert(size <= session->output_released - session->output_sent);
    wdb_output_consume(&session->output, size);
    session->output_sent += size;
    atomic_store_explicit(&session->output_size_shown, session->output.size,
                          memory_order_relaxed);
}

uint64_t wdb_context_gate(const struct wdb_context *context)
{
    const struct wdb_log *log = wdb_db_log(context->db);
    if (context->cluster != NULL &&
        !WDB_CMD_MUTATED(context, WDB_MUTATION_GATE_DURABLE)) {
        return wdb_log_committed(log);
    }
    if (wdb_config_u64(context->config, WDB_CONFIG_APPENDFSYNC) ==
        WDB_FSYNC_ALWAYS) {
        return wdb_log_durable(log);
    }
    return wdb_log_appended(log);
}
