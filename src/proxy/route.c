/*
 * route.c - the requests of one client on their way to the leader and back.
 *
 *   head ──► sent ──► sent ──► unsent (a part is encoded) ──► ... ──► tail
 *            └── sent_count ──┘
 *
 * The sent ones have the sequences answered + 1, answered + 2, ... of the
 * channel; a new channel begins again with 1.
 */
#include <stdlib.h>

#include "base/assert.h"
#include "base/time.h"
#include "proxy/proxy_internal.h"
#include "walkerdb.h"

#define RETRY_MIN_NS (UINT64_C(5) * WDB_NS_PER_MS)
#define RETRY_MAX_NS (UINT64_C(50) * WDB_NS_PER_MS)
/* So often a read is tried that loses its leader: it may be the reason. */
#define TRIES_MAX 3

#define UNKNOWN_TEXT                                                           \
    "-UNKNOWN leadership was lost before the outcome was known: the command "  \
    "may or may not have been done\r\n"
#define TRYAGAIN_TEXT                                                          \
    "-TRYAGAIN the leader was lost before this was answered: it had no "       \
    "effect\r\n"
#define DOWN_TEXT                                                              \
    "-CLUSTERDOWN no leader is known: nothing was done, try again\r\n"

/* --- life ------------------------------------------------------------------------ */

int wdb_proxy_route_new(struct wdb_proxy *proxy,
                        const struct wdb_proxy_route_ops *ops, void *owner,
                        struct wdb_proxy_route **out)
{
    struct wdb_proxy_route *route = calloc(1, sizeof(*route));
    if (route == NULL) {
        return WALKERDB_ENOMEM;
    }
    route->proxy = proxy;
    route->ops = ops;
    route->owner = owner;
    route->tail = &route->head;
    wdb_list_append(&proxy->routes, &route->node);
    wdb_list_init(&route->ready);
    wdb_list_init(&route->delayed);
    wdb_list_init(&route->unacked_node);
    *out = route;
    return 0;
}

static void drop_requests(struct wdb_proxy_route *route)
{
    while (route->head != NULL) {
        struct wdb_proxy_request *request = route->head;
        route->head = request->next;
        free(request);
    }
    route->proxy->kept -= route->kept;
    route->tail = &route->head;
    route->unsent = NULL;
    route->unsent_offset = 0;
    route->count = route->sent_count = 0;
    route->kept = route->sent = 0;
    route->answer_total = route->request_total;
}

void wdb_proxy_route_free(struct wdb_proxy_route *route)
{
    if (route->upstream != NULL) {
        wdb_upstream_detach(route->upstream, route, true);
    }
    drop_requests(route);
    wdb_list_remove(&route->node);
    wdb_list_remove(&route->ready);
    wdb_list_remove(&route->delayed);
    wdb_list_remove(&route->unacked_node);
    free(route);
}

void wdb_proxy_route_kill(struct wdb_proxy_route *route, bool after_replies)
{
    if (route->upstream != NULL) {
        wdb_upstream_detach(route->upstream, route, true);
    }
    drop_requests(route);
    route->dead = true;
    wdb_proxy_route_update(route);
    route->ops->close(route->owner, after_replies);
}

/* --- queueing ---------------------------------------------------------------------- */

int wdb_proxy_route_request(struct wdb_proxy_route *route, size_t size,
                            struct wdb_proxy_request **out)
{
    struct wdb_proxy *proxy = route->proxy;
    wdb_assert(size > 0);
    if (route->dead ||
        (route->count > 0 && route->kept + size > WDB_PROXY_ROUTE_KEPT_MAX) ||
        proxy->kept >= WDB_PROXY_KEPT_MAX) {
        return WALKERDB_EBUSY;
    }
    struct wdb_proxy_request *request = malloc(sizeof(*request) + size);
    if (request == NULL) {
        return WALKERDB_ENOMEM;
    }
    *request = (struct wdb_proxy_request){.count = 1, .size = size};
    *out = request;
    return 0;
}

void wdb_proxy_route_send(struct wdb_proxy_route *route,
                          struct wdb_proxy_request *request,
                          const struct wdb_channel_state *state,
                          uint64_t now_ns)
{
    wdb_assert(request->count > 0 && !route->dead);
    /* Whatever changes a session waits until nothing is unanswered. */
    if (route->count == 0) {
        route->state = *state;
    }
    request->next = NULL;
    request->time_ns = now_ns;
    *route->tail = request;
    route->tail = &request->next;
    if (route->unsent == NULL) {
        route->unsent = request;
    }
    route->count++;
    route->kept += request->size;
    route->proxy->kept += request->size;
    route->request_total++;
    route->proxy->stats.requests++;
    route->proxy->now_ns = now_ns;
    wdb_proxy_route_update(route);
}

uint32_t wdb_proxy_route_waiting(const struct wdb_proxy_route *route)
{
    return route->count;
}

bool wdb_proxy_route_can_send(const struct wdb_proxy_route *route)
{
    const struct wdb_proxy *proxy = route->proxy;
    const struct wdb_upstream *current = proxy->current;
    if (route->unsent == NULL || route->dead || route->retry_ns != 0 ||
        current == NULL || current->phase != WDB_UPSTREAM_UP ||
        proxy->target.node == 0) {
        return false;
    }
    if (route->upstream != NULL && route->upstream != current) {
        return false; /* when the others are answered */
    }
    if (route->watch_lost && (route->unsent->flags & WDB_PROXY_REQUEST_EXEC)) {
        return false; /* answered here, when it is the oldest */
    }
    if (route->unsent_offset == 0 && route->sent_count > 0 &&
        route->unsent->read_level != route->state_told.read_level) {
        return false; /* the leader may not have executed what was sent */
    }
    return route->unsent_offset > 0 || route->sent_count == 0 ||
           route->sent + route->unsent->size <= WDB_PROXY_ROUTE_SENT_MAX;
}

/* The EXEC at the head is answered without asking anybody. */
static bool is_null_exec(const struct wdb_proxy_route *route)
{
    return route->watch_lost && route->head != NULL &&
           route->head == route->unsent && route->unsent_offset == 0 &&
           (route->head->flags & WDB_PROXY_REQUEST_EXEC) != 0;
}

void wdb_proxy_route_update(struct wdb_proxy_route *route)
{
    const bool ready = wdb_proxy_route_can_send(route) || is_null_exec(route);
    if (route->head == NULL) {
        route->held_ns = route->retry_ns = 0;
    } else if (!ready && route->sent_count == 0 && route->held_ns == 0) {
        route->held_ns = route->proxy->now_ns;
    }
    if (ready && wdb_list_empty(&route->ready)) {
        wdb_list_append(&route->proxy->ready, &route->ready);
    } else if (!ready) {
        wdb_list_remove(&route->ready);
    }
    if (route->retry_ns == 0) {
        wdb_list_remove(&route->delayed);
    } else if (wdb_list_empty(&route->delayed)) {
        wdb_list_append(&route->proxy->delayed, &route->delayed);
    }
}

/* --- answers ------------------------------------------------------------------------ */

void wdb_proxy_route_answer(struct wdb_proxy_route *route,
                            struct wdb_slice bytes)
{
    struct wdb_proxy_request *request = route->head;
    wdb_assert(request != NULL);
    const bool was_unsent = request == route->unsent;
    if (was_unsent) {
        wdb_assert(route->unsent_offset == 0);
        route->unsent = request->next;
    } else {
        route->sent_count--;
        route->sent -= request->size;
    }
    route->head = request->next;
    if (route->head == NULL) {
        route->tail = &route->head;
    }
    route->count--;
    route->kept -= request->size;
    route->proxy->kept -= request->size;
    route->part_came = false;
    route->answer_total++;
    route->proxy->stats.answered++;
    if (request->flags & WDB_PROXY_REQUEST_EXEC) {
        if (was_unsent && route->watching) {
            /* The leader has not heard of it, and would watch on. */
            wdb_upstream_detach(route->upstream, route, true);
        }
        route->watching = route->watch_lost = false;
    }
    if (request->flags & WDB_PROXY_REQUEST_SILENT) {
        route->ops->answer(route->owner, wdb_slice(NULL, 0), 0);
    } else {
        route->ops->answer(route->owner, bytes, 1);
    }
    free(request);
}

void wdb_proxy_route_answer_null(struct wdb_proxy_route *route)
{
    if (!is_null_exec(route)) {
        return;
    }
    wdb_proxy_route_answer(
        route, wdb_slice_str(route->state.protocol == 3 ? "_\r\n" : "*-1\r\n"));
    wdb_proxy_route_update(route);
}

/* Those up to the last write that may have been done. */
static void give_up(struct wdb_proxy_route *route,
                    const struct wdb_proxy_request *last)
{
    const struct wdb_proxy_request *request;
    do {
        request = route->head;
        const bool writes = (request->flags & WDB_PROXY_REQUEST_WRITES) != 0;
        route->proxy->stats.unknown += writes;
        const bool is_last = request == last;
        wdb_proxy_route_answer(route, wdb_slice_str(writes ? UNKNOWN_TEXT
                                                           : TRYAGAIN_TEXT));
        if (is_last) {
            return;
        }
    } while (route->head != NULL);
}

/* The last of those handed over that cannot be tried again. */
static const struct wdb_proxy_request *find_last(
    const struct wdb_proxy_route *route, uint64_t handed)
{
    const struct wdb_proxy_request *last = NULL;
    struct wdb_proxy_request *request = route->head;
    for (uint32_t i = 0; i < route->sent_count; i++) {
        if (request->end <= handed) {
            request->tries++;
            if ((request->flags & WDB_PROXY_REQUEST_WRITES) != 0 ||
                request->tries >= TRIES_MAX) {
                last = request;
            }
        }
        request = request->next;
    }
    return last;
}

void wdb_proxy_route_lost(struct wdb_proxy_route *route, uint64_t handed)
{
    wdb_assert(route->upstream == NULL);
    route->answered = 0;
    if (route->watching) {
        route->watching = false;
        route->watch_lost = true;
    }
    if (route->part_came) {
        wdb_proxy_route_kill(route, false);
        return;
    }
    /* Half of it is nothing: the leader executes whole ones only. */
    route->unsent_offset = 0;
    const struct wdb_proxy_request *last = find_last(route, handed);
    if (last != NULL) {
        give_up(route, last);
    }
    route->proxy->stats.tried_again += route->sent_count;
    route->sent_count = 0;
    route->sent = 0;
    route->unsent = route->head;
    if (handed > 0) {
        route->held_ns = 0; /* it was not held until now */
    }
    wdb_proxy_route_update(route);
}

void wdb_proxy_route_delay(struct wdb_proxy_route *route)
{
    const uint32_t shift = route->refused_count < 4 ? route->refused_count : 4;
    const uint64_t delay_ns = RETRY_MIN_NS << shift;
    route->refused_count++;
    if (route->head != NULL) {
        route->retry_ns = route->proxy->now_ns +
                          (delay_ns < RETRY_MAX_NS ? delay_ns : RETRY_MAX_NS);
    }
    wdb_proxy_route_update(route);
}

void wdb_proxy_route_expire(struct wdb_proxy_route *route, uint64_t before_ns)
{
    while (route->held_ns != 0 && route->held_ns <= before_ns &&
           route->head != NULL && route->sent_count == 0 &&
           route->unsent_offset == 0 && route->head->time_ns <= before_ns) {
        route->proxy->stats.timed_out++;
        wdb_proxy_route_answer(route, wdb_slice_str(DOWN_TEXT));
    }
    wdb_proxy_route_update(route);
}

void wdb_proxy_route_unwatch(struct wdb_proxy_route *route)
{
    wdb_assert(route->count == 0);
    if (route->watching && route->upstream != NULL) {
        wdb_upstream_detach(route->upstream, route, true);
    }
    route->watching = route->watch_lost = false;
    wdb_proxy_route_update(route);
}

/* --- invariants ---------------------------------------------------------------------- */

void wdb_proxy_route_check(const struct wdb_proxy_route *route)
{
    uint32_t count = 0, sent_count = 0;
    size_t kept = 0, sent = 0;
    bool is_sent = true;
    for (const struct wdb_proxy_request *r = route->head; r != NULL;
         r = r->next) {
        is_sent = is_sent && r != route->unsent;
        count++;
        kept += r->size;
        sent_count += is_sent;
        sent += is_sent ? r->size : 0;
    }
    wdb_assert(count == route->count && kept == route->kept);
    wdb_assert(sent_count == route->sent_count && sent == route->sent);
    wdb_assert(route->request_total - route->answer_total == count);
    wdb_assert(route->upstream != NULL ||
               (route->sent_count == 0 && route->unsent_offset == 0 &&
                !route->watching));
    wdb_assert(!route->dead || count == 0);
    wdb_assert((route->unsent == NULL) == (count == sent_count));
}
