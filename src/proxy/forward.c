/*
 * forward.c - a session's requests become those of a route, and its answers the
 * session's replies.
 */
#include "proxy/forward.h"

#include <stdio.h>

#include "base/assert.h"
#include "base/time.h"
#include "cmd/context.h"
#include "cmd/handlers.h"
#include "cmd/transaction.h"
#include "proxy/acceptor.h"
#include "walkerdb.h"

/* Flags of a session that its channel has, too. */
#define FLAGS_PASSED ((uint32_t)(WDB_SESSION_NO_TOUCH | WDB_SESSION_NO_EVICT))

/* --- what the route tells ---------------------------------------------------------- */

static void on_answer(void *owner, struct wdb_slice bytes, uint32_t count)
{
    wdb_session_answer(owner, bytes, count);
}

static void on_push(void *owner, struct wdb_slice bytes)
{
    struct wdb_session *session = owner;
    wdb_output_append(&session->output, bytes.data, bytes.size);
    wdb_session_mark(session);
    wdb_session_ready(session);
}

static void on_part(void *owner, struct wdb_slice bytes)
{
    wdb_session_answer_part(owner, bytes);
}

static void on_close(void *owner, bool after_replies)
{
    struct wdb_session *session = owner;
    session->flags |= WDB_SESSION_CLOSING;
    if (after_replies) {
        session->flags |= WDB_SESSION_CLOSE_AFTER_REPLY;
    }
    wdb_session_ready(session);
}

static size_t get_backlog(const void *owner)
{
    const struct wdb_session *session = owner;
    return session->output.size;
}

static const struct wdb_proxy_route_ops route_ops = {
    .answer = on_answer,
    .part = on_part,
    .push = on_push,
    .close = on_close,
    .backlog = get_backlog,
};

/* --- requests as bytes ----------------------------------------------------------------- */

static size_t header_size(uint64_t number)
{
    size_t size = 4; /* "*1\r\n" */
    while (number >= 10) {
        number /= 10;
        size++;
    }
    return size;
}

static size_t words_size(uint32_t argc, const struct wdb_slice *argv)
{
    size_t size = header_size(argc);
    for (uint32_t i = 0; i < argc; i++) {
        size += header_size(argv[i].size) + argv[i].size + 2;
    }
    return size;
}

static uint8_t *put_header(uint8_t *to, char kind, uint64_t number)
{
    const size_t size = header_size(number);
    to[0] = (uint8_t)kind;
    for (size_t i = size - 3; i >= 1; i--) {
        to[i] = (uint8_t)('0' + number % 10);
        number /= 10;
    }
    to[size - 2] = '\r';
    to[size - 1] = '\n';
    return to + size;
}

static uint8_t *put_words(uint8_t *to, uint32_t argc,
                          const struct wdb_slice *argv)
{
    to = put_header(to, '*', argc);
    for (uint32_t i = 0; i < argc; i++) {
        to = put_header(to, '$', argv[i].size);
        if (argv[i].size > 0) {
            memcpy(to, argv[i].data, argv[i].size);
        }
        to += argv[i].size;
        *to++ = '\r';
        *to++ = '\n';
    }
    return to;
}

static int encode_one(struct wdb_proxy_route *route,
                      const struct wdb_call *call,
                      struct wdb_proxy_request **out)
{
    const size_t size = words_size(call->argc, call->argv);
    const int rc = wdb_proxy_route_request(route, size, out);
    if (rc == 0) {
        const uint8_t *end = put_words((*out)->bytes, call->argc, call->argv);
        wdb_assert(end == (*out)->bytes + size);
    }
    return rc;
}

/* MULTI, what was queued, EXEC. */
static int encode_exec(struct wdb_proxy_route *route,
                       const struct wdb_call *call,
                       struct wdb_proxy_request **out)
{
    const struct wdb_multi *multi = call->session->multi;
    const struct wdb_slice begin = wdb_slice_str("MULTI");
    size_t size = words_size(1, &begin) + words_size(call->argc, call->argv);
    for (uint32_t i = 0; i < multi->count; i++) {
        size += words_size(multi->commands[i].argc, multi->commands[i].argv);
    }
    const int rc = wdb_proxy_route_request(route, size, out);
    if (rc != 0) {
        return rc;
    }
    uint8_t *to = put_words((*out)->bytes, 1, &begin);
    for (uint32_t i = 0; i < multi->count; i++) {
        to = put_words(to, multi->commands[i].argc, multi->commands[i].argv);
    }
    to = put_words(to, call->argc, call->argv);
    wdb_assert(to == (*out)->bytes + size);
    (*out)->count = multi->count + 2;
    (*out)->flags = WDB_PROXY_REQUEST_EXEC;
    if (multi->changes_session) {
        (*out)->flags |= WDB_PROXY_REQUEST_LAST;
    }
    return 0;
}

/* --- the hook ------------------------------------------------------------------------- */

static struct wdb_proxy *find_proxy(const struct wdb_forwarder *forwarder,
                                    const struct wdb_executor *executor)
{
    for (uint32_t i = 0; i < forwarder->part_count; i++) {
        if (forwarder->parts[i].executor == executor) {
            return forwarder->parts[i].proxy;
        }
    }
    return NULL;
}

static int find_route(const struct wdb_forwarder *forwarder,
                      struct wdb_session *session, struct wdb_proxy_route **out)
{
    if (session->forward == NULL) {
        struct wdb_proxy *proxy = find_proxy(forwarder, session->executor);
        struct wdb_proxy_route *route;
        if (proxy == NULL) {
            return WALKERDB_EBUSY;
        }
        const int rc = wdb_proxy_route_new(proxy, &route_ops, session, &route);
        if (rc != 0) {
            return rc;
        }
        session->forward = route;
    }
    *out = session->forward;
    return 0;
}

static void describe(const struct wdb_session *session,
                     struct wdb_channel_state *out)
{
    out->database = session->database;
    out->flags = session->flags & FLAGS_PASSED;
    out->protocol = (uint8_t)session->protocol;
    out->read_level = 0;
    out->client_id = session->id;
    /* Others change these under a lock, but only on this thread. */
    static_assert(sizeof(out->address) == sizeof(session->about.address) &&
                      sizeof(out->name) == sizeof(session->about.name),
                  "the same limits");
    memcpy(out->address, session->about.address, sizeof(out->address));
    memcpy(out->name, session->about.name, sizeof(out->name));
}

static int take_request(void *context,
                        const struct wdb_forward_request *forward)
{
    const struct wdb_forwarder *forwarder = context;
    const struct wdb_call *call = forward->call;
    struct wdb_session *session = call->session;
    struct wdb_proxy_route *route;
    struct wdb_proxy_request *request;
    int rc = find_route(forwarder, session, &route);
    if (rc != 0) {
        return rc;
    }
    rc = call->command->handler == wdb_cmd_exec
             ? encode_exec(route, call, &request)
             : encode_one(route, call, &request);
    if (rc != 0) {
        return rc;
    }
    const bool is_last = (request->flags & WDB_PROXY_REQUEST_LAST) != 0;
    request->flags |=
        (forward->writes ? WDB_PROXY_REQUEST_WRITES : 0u) |
        (forward->silent && !is_last ? WDB_PROXY_REQUEST_SILENT : 0u);
    if (call->command->handler == wdb_cmd_watch) {
        /* Nothing is changed by it: it can be tried again. */
        request->flags &= ~(uint32_t)WDB_PROXY_REQUEST_WRITES;
        request->flags |= WDB_PROXY_REQUEST_WATCHES;
    }
    request->read_level = (uint8_t)forward->level;
    struct wdb_channel_state state;
    describe(session, &state);
    struct wdb_env *env = session->context->env;
    wdb_proxy_route_send(route, request, &state, env->ops->monotonic_ns(env));
    return 0;
}

static void unwatch(void *context, struct wdb_session *session)
{
    (void)context;
    if (session->forward != NULL) {
        wdb_proxy_route_unwatch(session->forward);
    }
}

static void leave(void *context, struct wdb_session *session)
{
    (void)context;
    if (session->forward != NULL) {
        wdb_proxy_route_free(session->forward);
        session->forward = NULL;
    }
}

static void executed(void *context, struct wdb_session *session,
                     enum wdb_channel_outcome outcome)
{
    (void)context;
    wdb_acceptor_executed(session, outcome);
}

static void lost(void *context, struct wdb_session *session, uint64_t end)
{
    (void)context;
    wdb_acceptor_lost(session, end);
}

static const struct wdb_forward_ops forward_ops = {
    .request = take_request,
    .unwatch = unwatch,
    .leave = leave,
    .executed = executed,
    .lost = lost,
};

void wdb_forwarder_init(struct wdb_forwarder *forwarder)
{
    *forwarder = (struct wdb_forwarder){.hook = {&forward_ops, forwarder}};
}

int wdb_forwarder_add(struct wdb_forwarder *forwarder,
                      const struct wdb_executor *executor,
                      struct wdb_proxy *proxy)
{
    if (forwarder->part_count == WDB_FORWARDER_PARTS_MAX) {
        return WALKERDB_ETOOBIG;
    }
    forwarder->parts[forwarder->part_count].executor = executor;
    forwarder->parts[forwarder->part_count].proxy = proxy;
    forwarder->part_count++;
    return 0;
}

uint64_t wdb_forwarder_hold_ns(const struct wdb_config *config)
{
    uint64_t ms = wdb_config_u64(config, WDB_CONFIG_RAFT_HOLD_TIMEOUT);
    if (ms == 0) {
        ms = 3 * wdb_config_u64(config, WDB_CONFIG_RAFT_ELECTION_TIMEOUT);
    }
    return ms * WDB_NS_PER_MS;
}
