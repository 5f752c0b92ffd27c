/*
 * proxy.c - the follower's end of one worker: which leader, what is sent when,
 * what has waited too long.
 */
#include "proxy/proxy.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/time.h"
#include "proxy/proxy_internal.h"
#include "walkerdb.h"

#define DIAL_MIN_NS   (UINT64_C(10) * WDB_NS_PER_MS)
#define DIAL_MAX_NS   (UINT64_C(200) * WDB_NS_PER_MS)
#define HOLD_CHECK_NS (UINT64_C(20) * WDB_NS_PER_MS)
/* A node that ends is not asked again for so long, as long as no other leads. */
#define LEAVING_NS (UINT64_C(50) * WDB_NS_PER_MS)
/* The transport tells sooner than that. */
#define DIAL_TIMEOUT_NS (UINT64_C(5) * WDB_NS_PER_S)
/* Of one route, before the next one has its turn. */
#define SEND_BUDGET WDB_PROXY_FRAME_PART_SIZE

int wdb_proxy_new(const struct wdb_proxy_options *options,
                  struct wdb_proxy **out)
{
    struct wdb_proxy *proxy = calloc(1, sizeof(*proxy));
    if (proxy == NULL) {
        return WALKERDB_ENOMEM;
    }
    proxy->options = *options;
    wdb_list_init(&proxy->draining);
    wdb_list_init(&proxy->routes);
    wdb_list_init(&proxy->ready);
    wdb_list_init(&proxy->delayed);
    wdb_list_init(&proxy->unacked);
    *out = proxy;
    return 0;
}

static void hang_up(struct wdb_proxy *proxy, struct wdb_upstream *upstream)
{
    proxy->options.transport->close(proxy->options.transport_context,
                                    upstream->link);
    wdb_proxy_forget_upstream(proxy, upstream);
    wdb_upstream_free(upstream);
}

void wdb_proxy_free(struct wdb_proxy *proxy)
{
    if (proxy == NULL) {
        return;
    }
    wdb_assert(wdb_list_empty(&proxy->routes) && proxy->kept == 0);
    if (proxy->current != NULL) {
        hang_up(proxy, proxy->current);
    }
    while (!wdb_list_empty(&proxy->draining)) {
        hang_up(proxy, WDB_LIST_ENTRY(proxy->draining.next, struct wdb_upstream,
                                      node));
    }
    free(proxy);
}

void wdb_proxy_set_hold(struct wdb_proxy *proxy, uint64_t hold_ns)
{
    proxy->options.hold_ns = hold_ns;
}

const struct wdb_proxy_stats *wdb_proxy_stats(const struct wdb_proxy *proxy)
{
    return &proxy->stats;
}

static void update_all(struct wdb_proxy *proxy)
{
    WDB_LIST_FOREACH(node, &proxy->routes)
    {
        wdb_proxy_route_update(
            WDB_LIST_ENTRY(node, struct wdb_proxy_route, node));
    }
}

/* --- which leader ---------------------------------------------------------------- */

void wdb_proxy_forget_upstream(struct wdb_proxy *proxy,
                               struct wdb_upstream *upstream)
{
    if (proxy->current == upstream) {
        proxy->current = NULL;
    }
    wdb_list_remove(&upstream->node);
}

/* The current one is not to be used any more. */
static void retire_current(struct wdb_proxy *proxy)
{
    struct wdb_upstream *upstream = proxy->current;
    if (upstream == NULL) {
        return;
    }
    if (upstream->phase == WDB_UPSTREAM_DIALING) {
        hang_up(proxy, upstream);
        return;
    }
    proxy->current = NULL;
    wdb_list_append(&proxy->draining, &upstream->node);
    wdb_upstream_drain(upstream, proxy->now_ns + proxy->options.drain_ns);
}

void wdb_proxy_upstream_leaves(struct wdb_proxy *proxy,
                               struct wdb_upstream *upstream)
{
    if (upstream == proxy->current) {
        proxy->dial_ns = proxy->now_ns + LEAVING_NS;
        retire_current(proxy);
    }
}

static bool is_same(const struct wdb_proxy_target *a,
                    const struct wdb_proxy_target *b)
{
    return a->node == b->node && a->is_self == b->is_self &&
           strcmp(a->address, b->address) == 0;
}

/* What was refused is tried at once: something has changed. */
static void end_delays(struct wdb_proxy *proxy, uint64_t until_ns)
{
    struct wdb_list *next;
    for (struct wdb_list *node = proxy->delayed.next; node != &proxy->delayed;
         node = next) {
        struct wdb_proxy_route *route =
            WDB_LIST_ENTRY(node, struct wdb_proxy_route, delayed);
        next = node->next;
        if (route->retry_ns <= until_ns) {
            route->retry_ns = 0;
            wdb_proxy_route_update(route);
        }
    }
}

void wdb_proxy_set_target(struct wdb_proxy *proxy,
                          const struct wdb_proxy_target *target,
                          uint64_t now_ns)
{
    proxy->now_ns = now_ns;
    if (target->node == 0) {
        /* Whoever led may lead again, or still does: keep the connection for a
         * while. */
        if (proxy->target.node != 0) {
            proxy->suspended_ns = now_ns;
        }
    } else {
        proxy->suspended_ns = 0;
        proxy->dial_ns = now_ns;
        proxy->dial_count = 0;
        if (proxy->current != NULL &&
            !is_same(&proxy->current->target, target)) {
            retire_current(proxy);
        }
    }
    proxy->target = *target;
    end_delays(proxy, UINT64_MAX);
    update_all(proxy);
}

void wdb_upstream_up(struct wdb_upstream *upstream, uint64_t now_ns)
{
    struct wdb_proxy *proxy = upstream->proxy;
    proxy->now_ns = now_ns;
    wdb_assert(upstream == proxy->current &&
               upstream->phase == WDB_UPSTREAM_DIALING);
    upstream->phase = WDB_UPSTREAM_UP;
    proxy->dial_count = 0;
    update_all(proxy);
}

void wdb_upstream_broken(struct wdb_upstream *upstream, uint64_t now_ns)
{
    struct wdb_proxy *proxy = upstream->proxy;
    proxy->now_ns = now_ns;
    proxy->stats.lost++;
    if (upstream == proxy->current) {
        uint64_t delay_ns = 0;
        if (upstream->phase == WDB_UPSTREAM_DIALING) {
            delay_ns = DIAL_MIN_NS
                       << (proxy->dial_count < 5 ? proxy->dial_count : 5);
            delay_ns = delay_ns < DIAL_MAX_NS ? delay_ns : DIAL_MAX_NS;
            proxy->dial_count++;
        }
        proxy->dial_ns = now_ns + delay_ns;
    }
    wdb_proxy_forget_upstream(proxy, upstream);
    wdb_upstream_free(upstream);
}

/* --- the turn ----------------------------------------------------------------------- */

static void end_draining(struct wdb_proxy *proxy)
{
    struct wdb_list *next;
    for (struct wdb_list *node = proxy->draining.next; node != &proxy->draining;
         node = next) {
        struct wdb_upstream *upstream =
            WDB_LIST_ENTRY(node, struct wdb_upstream, node);
        next = node->next;
        if (proxy->now_ns >= upstream->drain_until_ns ||
            upstream->output.failed || !wdb_upstream_has_unanswered(upstream)) {
            hang_up(proxy, upstream);
        }
    }
    if (proxy->current != NULL &&
        (proxy->current->output.failed ||
         (proxy->current->phase == WDB_UPSTREAM_DIALING &&
          proxy->now_ns >= proxy->current->dialed_ns + DIAL_TIMEOUT_NS) ||
         (proxy->suspended_ns != 0 &&
          proxy->now_ns >= proxy->suspended_ns + 2 * proxy->options.hold_ns))) {
        hang_up(proxy, proxy->current);
    }
}

/* Another node's connection is made ahead; to itself when it is needed. */
static bool wants_to_dial(const struct wdb_proxy *proxy)
{
    return proxy->current == NULL && proxy->target.node != 0 &&
           (!proxy->target.is_self || proxy->kept > 0);
}

static void dial(struct wdb_proxy *proxy)
{
    if (!wants_to_dial(proxy) || proxy->now_ns < proxy->dial_ns) {
        return;
    }
    struct wdb_upstream *upstream;
    proxy->dial_ns = proxy->now_ns + DIAL_MIN_NS;
    if (wdb_upstream_new(proxy, &proxy->target, &upstream) != 0) {
        return;
    }
    if (proxy->options.transport->connect(proxy->options.transport_context,
                                          upstream, &proxy->target,
                                          &upstream->link) != 0) {
        wdb_upstream_free(upstream);
        return;
    }
    upstream->dialed_ns = proxy->now_ns;
    proxy->current = upstream;
    proxy->stats.dialed++;
}

/* The connection has enough to do for now. */
static bool is_full(const struct wdb_upstream *upstream)
{
    return upstream != NULL && (upstream->output.size >= WDB_UPSTREAM_AHEAD ||
                                upstream->output.failed);
}

static void send_ready(struct wdb_proxy *proxy)
{
    while (!wdb_list_empty(&proxy->ready) && !is_full(proxy->current)) {
        struct wdb_proxy_route *route =
            WDB_LIST_ENTRY(proxy->ready.next, struct wdb_proxy_route, ready);
        wdb_list_remove(&route->ready);
        if (wdb_proxy_route_can_send(route)) {
            /* To the end of the list, if there is more. */
            wdb_upstream_send(proxy->current, route, SEND_BUDGET);
        } else {
            wdb_proxy_route_answer_null(route);
            wdb_proxy_route_update(route); /* or it is held from now on */
        }
    }
}

static void acknowledge(struct wdb_proxy *proxy)
{
    struct wdb_list *next;
    for (struct wdb_list *node = proxy->unacked.next; node != &proxy->unacked;
         node = next) {
        struct wdb_proxy_route *route =
            WDB_LIST_ENTRY(node, struct wdb_proxy_route, unacked_node);
        next = node->next;
        wdb_upstream_acknowledge(route->upstream, route);
    }
}

static void expire(struct wdb_proxy *proxy)
{
    if (proxy->kept == 0 || proxy->now_ns < proxy->hold_check_ns) {
        return;
    }
    proxy->hold_check_ns = proxy->now_ns + HOLD_CHECK_NS;
    if (proxy->now_ns < proxy->options.hold_ns) {
        return;
    }
    const uint64_t before_ns = proxy->now_ns - proxy->options.hold_ns;
    WDB_LIST_FOREACH(node, &proxy->routes)
    {
        struct wdb_proxy_route *route =
            WDB_LIST_ENTRY(node, struct wdb_proxy_route, node);
        if (route->held_ns != 0) {
            wdb_proxy_route_expire(route, before_ns);
        }
    }
}

static void flush(struct wdb_proxy *proxy, struct wdb_upstream *upstream)
{
    if (upstream->flushing && upstream->phase != WDB_UPSTREAM_DIALING) {
        upstream->flushing = false;
        proxy->options.transport->flush(proxy->options.transport_context,
                                        upstream->link);
    }
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t next_time(const struct wdb_proxy *proxy)
{
    uint64_t at = UINT64_MAX;
    if (proxy->kept > 0 &&
        (proxy->current == NULL || proxy->current->phase != WDB_UPSTREAM_UP ||
         !wdb_list_empty(&proxy->delayed) || proxy->suspended_ns != 0)) {
        at = earlier(at, proxy->hold_check_ns);
    }
    if (wants_to_dial(proxy)) {
        at = earlier(at, proxy->dial_ns);
    }
    if (proxy->suspended_ns != 0 && proxy->current != NULL) {
        at = earlier(at, proxy->suspended_ns + 2 * proxy->options.hold_ns);
    }
    WDB_LIST_FOREACH(node, &proxy->draining)
    {
        at = earlier(
            at,
            WDB_LIST_ENTRY(node, struct wdb_upstream, node)->drain_until_ns);
    }
    WDB_LIST_FOREACH(node, &proxy->delayed)
    {
        at = earlier(
            at,
            WDB_LIST_ENTRY(node, struct wdb_proxy_route, delayed)->retry_ns);
    }
    return at;
}

uint64_t wdb_proxy_run(struct wdb_proxy *proxy, uint64_t now_ns)
{
    proxy->now_ns = now_ns;
    end_draining(proxy);
    dial(proxy);
    end_delays(proxy, now_ns);
    send_ready(proxy);
    acknowledge(proxy);
    expire(proxy);
    if (proxy->current != NULL) {
        flush(proxy, proxy->current);
    }
    WDB_LIST_FOREACH(node, &proxy->draining)
    {
        flush(proxy, WDB_LIST_ENTRY(node, struct wdb_upstream, node));
    }
#ifdef WDB_DEBUG
    wdb_proxy_check(proxy);
#endif
    return next_time(proxy);
}

/* A client has read what it was sent, and the leader waits to hear it. */
static bool can_acknowledge(const struct wdb_proxy *proxy)
{
    WDB_LIST_FOREACH(node, &proxy->unacked)
    {
        const struct wdb_proxy_route *route =
            WDB_LIST_ENTRY(node, struct wdb_proxy_route, unacked_node);
        if (route->ops->backlog(route->owner) < WDB_CHANNEL_WINDOW / 2) {
            return true;
        }
    }
    return false;
}

bool wdb_proxy_has_work(const struct wdb_proxy *proxy)
{
    return (!wdb_list_empty(&proxy->ready) && !is_full(proxy->current)) ||
           can_acknowledge(proxy);
}

void wdb_proxy_check(const struct wdb_proxy *proxy)
{
    size_t kept = 0;
    WDB_LIST_FOREACH(node, &proxy->routes)
    {
        const struct wdb_proxy_route *route =
            WDB_LIST_ENTRY(node, struct wdb_proxy_route, node);
        wdb_proxy_route_check(route);
        kept += route->kept;
    }
    wdb_assert(kept == proxy->kept);
}
