/* request.c - a request to Raft that a connection waits for. */
#include "cmd/request.h"

#include <stdio.h>
#include <stdlib.h>

#define MESSAGE_SIZE 256
#define SECRET_SIZE  256

/* Of the connection that waits and of the raft thread; the last one frees. */
struct ticket {
    _Atomic uint32_t references;
    _Atomic bool done;
    bool with_secret;
    int code;
    char message[MESSAGE_SIZE];
};

static void ticket_drop(void *arg)
{
    struct ticket *ticket = arg;
    if (atomic_fetch_sub(&ticket->references, 1) == 1) {
        free(ticket);
    }
}

/* On the raft thread. */
static void on_done(void *context, int code, const char *message)
{
    struct ticket *ticket = context;
    ticket->code = code;
    snprintf(ticket->message, sizeof(ticket->message), "%s",
             message == NULL ? walkerdb_strerror(code) : message);
    atomic_store(&ticket->done, true);
    ticket_drop(ticket);
}

static const char *prefix_of(int code)
{
    switch (code) {
    case WALKERDB_ENOTLEADER:
        return "NOLEADER";
    case WALKERDB_EBUSY:
        return "TRYAGAIN";
    case WALKERDB_EABORTED:
        return "UNKNOWN";
    default:
        return "ERR";
    }
}

/* Only who has said a password gets it. */
static bool may_have_secret(const struct wdb_session *session)
{
    return (session->flags & WDB_SESSION_AUTHENTICATED) != 0 &&
           !wdb_config_matches(session->context->config, WDB_CONFIG_REQUIREPASS,
                               wdb_slice("", 0));
}

static void reply_secret(const struct wdb_session *session,
                         struct wdb_reply *reply)
{
    const struct wdb_cluster *cluster = session->context->cluster;
    char secret[SECRET_SIZE];
    size_t size = 0;
    if (may_have_secret(session) && cluster->ops->secret != NULL) {
        size = cluster->ops->secret(cluster->context, secret, sizeof(secret));
    }
    wdb_reply_array(reply, 2);
    wdb_reply_simple(reply, "OK");
    if (size > 0) {
        wdb_reply_bulk(reply, wdb_slice(secret, size));
    } else {
        wdb_reply_null(reply);
    }
}

static bool poll_ticket(struct wdb_session *session, struct wdb_reply *reply,
                        void *arg)
{
    const struct ticket *ticket = arg;
    if (!atomic_load(&ticket->done)) {
        return false;
    }
    if (ticket->code != 0) {
        wdb_reply_error(reply, "%s %s", prefix_of(ticket->code),
                        ticket->message);
    } else if (ticket->with_secret) {
        reply_secret(session, reply);
    } else {
        wdb_reply_ok(reply);
    }
    return true;
}

void wdb_call_request(struct wdb_call *call,
                      const struct wdb_raft_request *request, bool with_secret)
{
    const struct wdb_cluster *cluster = call->context->cluster;
    if (call->in_exec) {
        wdb_call_error(call, "ERR the nodes are not changed inside a "
                             "transaction");
        return;
    }
    struct ticket *ticket = calloc(1, sizeof(*ticket));
    if (ticket == NULL) {
        (void)wdb_call_failed(call, WALKERDB_ENOMEM);
        return;
    }
    atomic_init(&ticket->references, 2);
    ticket->with_secret = with_secret;
    struct wdb_raft_request asked = *request;
    asked.done = on_done;
    asked.context = ticket;
    const int code = cluster->ops->ask(cluster->context, &asked);
    if (code != 0) {
        free(ticket);
        if (code == WALKERDB_EBUSY) {
            wdb_call_error(call, "TRYAGAIN too many requests wait: nothing was "
                                 "done");
        } else {
            (void)wdb_call_failed(call, code);
        }
        return;
    }
    if (poll_ticket(call->session, call->reply, ticket)) {
        ticket_drop(ticket);
        return;
    }
    const struct wdb_waiter waiter = {poll_ticket, ticket_drop, ticket};
    wdb_call_wait(call, &waiter);
}

bool wdb_call_text(struct wdb_call *call, uint32_t i, char *out, size_t size)
{
    const struct wdb_slice text = call->argv[i];
    if (text.size == 0 || text.size >= size ||
        memchr(text.data, '\0', text.size) != NULL) {
        wdb_call_error(call, "ERR '%.*s' is empty or too long",
                       (int)(text.size < 128 ? text.size : 128),
                       (const char *)text.data);
        return false;
    }
    memcpy(out, text.data, text.size);
    out[text.size] = '\0';
    return true;
}

bool wdb_call_member(struct wdb_call *call, uint32_t i, struct wdb_member *out)
{
    const struct wdb_cluster *cluster = call->context->cluster;
    struct wdb_raft_status status;
    cluster->ops->status(cluster->context, &status);
    for (uint32_t p = 0; p < status.peer_count; p++) {
        const struct wdb_member *member = &status.peers[p].member;
        if (wdb_slice_equal(call->argv[i], wdb_slice_str(member->name))) {
            *out = *member;
            return true;
        }
    }
    wdb_call_error(call, "ERR no node has the id '%.*s'; RAFT NODES shows them",
                   (int)(call->argv[i].size < 128 ? call->argv[i].size : 128),
                   (const char *)call->argv[i].data);
    return false;
}
