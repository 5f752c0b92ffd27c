/*
 * hold.c - requests that are set aside: by CLIENT PAUSE, after a wrong password,
 * and in a cluster until there is a leader, room, or the answer to what was
 * forwarded before. Their bytes stay in the session's input, and are parsed
 * again.
 */
#include "base/assert.h"
#include "cmd/executor_internal.h"
#include "cmd/route.h"

void wdb_hold_session(struct wdb_executor *executor,
                      struct wdb_session *session, enum wdb_session_hold hold)
{
    wdb_parser_restart(&session->parser);
    session->hold = hold;
    session->flags |= WDB_SESSION_PARKED | WDB_SESSION_PAUSED;
    wdb_list_remove(&session->ready_node);
    wdb_list_append(&executor->paused, &session->ready_node);
}

static void resume(struct wdb_executor *executor, struct wdb_session *session)
{
    session->held_until_ns = 0;
    wdb_list_remove(&session->ready_node);
    session->flags &= ~(uint32_t)(WDB_SESSION_PARKED | WDB_SESSION_PAUSED);
    wdb_executor_add(executor, session);
}

void wdb_executor_resume(struct wdb_executor *executor,
                         struct wdb_session *session,
                         enum wdb_session_hold hold)
{
    if ((session->flags & WDB_SESSION_PAUSED) && session->hold == hold) {
        resume(executor, session);
    }
}

/* --- replies that come later -------------------------------------------------- */

void wdb_call_wait(struct wdb_call *call, const struct wdb_waiter *waiter)
{
    wdb_assert(!call->in_exec && !call->parked);
    call->parked = true;
    call->session->waiter = *waiter;
    wdb_hold_session(call->session->executor, call->session, WDB_HOLD_REPLY);
}

void wdb_hold_forget(struct wdb_session *session)
{
    if (session->waiter.release != NULL) {
        session->waiter.release(session->waiter.arg);
    }
    session->waiter = (struct wdb_waiter){0};
}

/* True: the command that waits has replied. */
static bool poll_waiter(struct wdb_session *session)
{
    struct wdb_reply reply = {.output = &session->output,
                              .protocol = session->protocol};
    const struct wdb_output_mark mark = wdb_output_mark(&session->output);
    if (!session->waiter.poll(session, &reply, session->waiter.arg)) {
        return false;
    }
    wdb_hold_forget(session);
    if (reply.error_count > 0) {
        wdb_stats_error(wdb_executor_stats(session->executor),
                        wdb_slice_str(reply.error_prefix));
    }
    if (session->flags & (WDB_SESSION_REPLY_OFF | WDB_SESSION_REPLY_SKIP)) {
        wdb_output_rollback(&session->output, mark);
    }
    wdb_executor_replied(session, mark.size);
    wdb_session_ready(session);
    return true;
}

/* --- who goes on ---------------------------------------------------------------- */

/* What those who wait want to know, asked once for all. */
struct state {
    bool pause_is_over, has_room;
    uint64_t version, now_ns;
};

static bool pause_is_over(const struct wdb_context *context)
{
    return atomic_load_explicit(&context->pause_kind, memory_order_relaxed) ==
               WDB_CLIENT_PAUSE_NONE ||
           context->env->ops->time_ms(context->env) >=
               atomic_load_explicit(&context->pause_until_ms,
                                    memory_order_relaxed);
}

static struct state look(const struct wdb_context *context)
{
    const struct wdb_cluster *cluster = context->cluster;
    struct wdb_env *env = context->env;
    struct state state = {
        .pause_is_over = pause_is_over(context),
        .now_ns = env->ops->monotonic_ns(env),
    };
    if (cluster != NULL) {
        state.version = wdb_route_version(cluster);
        state.has_room = cluster->ops->admit(cluster->context, 0) == 0;
    }
    return state;
}

static bool is_due(struct wdb_session *session, const struct state *state)
{
    switch (session->hold) {
    case WDB_HOLD_PAUSE:
        return session->held_until_ns == 0
                   ? state->pause_is_over
                   : state->now_ns >= session->held_until_ns;
    case WDB_HOLD_LEADER:
        return state->version != session->hold_version ||
               wdb_route_waited(session->context, session->hold_since_ns,
                                state->now_ns);
    case WDB_HOLD_ROOM:
        return state->has_room ||
               wdb_route_waited(session->context, session->hold_since_ns,
                                state->now_ns);
    case WDB_HOLD_ANSWERS:
        return session->forwarded == 0;
    case WDB_HOLD_REPLY:
        return poll_waiter(session);
    }
    return true;
}

void wdb_hold_resume_all(struct wdb_executor *executor)
{
    if (WDB_LIKELY(wdb_list_empty(&executor->paused))) {
        return;
    }
    const struct state state = look(executor->context);
    struct wdb_list *next;
    for (struct wdb_list *node = executor->paused.next;
         node != &executor->paused; node = next) {
        struct wdb_session *session =
            WDB_LIST_ENTRY(node, struct wdb_session, ready_node);
        next = node->next;
        if (is_due(session, &state)) {
            resume(executor, session);
        }
    }
}

bool wdb_executor_waits_for_cluster(const struct wdb_executor *executor,
                                    bool *due_out)
{
    bool waits = false;
    *due_out = false;
    if (executor->context->cluster == NULL ||
        wdb_list_empty(&executor->paused)) {
        return false;
    }
    const struct state state = look(executor->context);
    WDB_LIST_FOREACH(node, &executor->paused)
    {
        struct wdb_session *session =
            WDB_LIST_ENTRY(node, struct wdb_session, ready_node);
        if (session->hold == WDB_HOLD_REPLY || session->hold == WDB_HOLD_ROOM) {
            waits = true; /* looked at again in a moment */
        } else if (session->hold == WDB_HOLD_LEADER) {
            waits = true;
            *due_out |= is_due(session, &state);
        }
    }
    return waits;
}
