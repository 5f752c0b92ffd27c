/*
 * peer_timer.c - one timer for all deadlines of the transport: there are few,
 * and they seldom change.
 */
#include "net/peer_internal.h"

#define ACCEPT_AGAIN_NS (100 * (uint64_t)WDB_NS_PER_MS)

/* When a dial wants to be looked at; 0: never. */
static uint64_t dial_deadline(const struct wdb_peer_dial *dial)
{
    uint64_t least = dial->peer == NULL ? dial->deadline_ns : UINT64_MAX;
    if (dial->state == WDB_DIAL_WAITING && dial->next_ns < least) {
        least = dial->next_ns;
    }
    return least == UINT64_MAX ? 0 : least;
}

/* One thing that is due by then; false if there is none. */
static bool expire_one(struct wdb_peer_net *net, uint64_t now)
{
    WDB_LIST_FOREACH(node, &net->connections)
    {
        struct wdb_peer_connection *c =
            WDB_LIST_ENTRY(node, struct wdb_peer_connection, node);
        if (c->deadline_ns != 0 && c->deadline_ns <= now) {
            wdb_peer_connection_expire(c);
            return true;
        }
    }
    WDB_LIST_FOREACH(node, &net->dials)
    {
        struct wdb_peer_dial *dial =
            WDB_LIST_ENTRY(node, struct wdb_peer_dial, node);
        uint64_t deadline = dial_deadline(dial);
        if (deadline != 0 && deadline <= now) {
            wdb_peer_dial_expire(dial, now);
            return true;
        }
    }
    return false;
}

static void on_timer(uv_timer_t *timer)
{
    struct wdb_peer_net *net = timer->data;
    uint64_t now = wdb_peer_net_now(net);
    if (net->accept_failed) {
        wdb_peer_listener_accept_again(net);
    }
    while (!net->is_stopped && expire_one(net, now)) {
    }
    wdb_peer_net_set_timer(net);
    wdb_raft_loop_wake(net->loop); /* a timer makes no turn by itself */
}

void wdb_peer_net_set_timer(struct wdb_peer_net *net)
{
    uint64_t least = UINT64_MAX, now = wdb_peer_net_now(net);
    if (net->is_stopped) {
        return;
    }
    WDB_LIST_FOREACH(node, &net->connections)
    {
        const struct wdb_peer_connection *c =
            WDB_LIST_ENTRY(node, struct wdb_peer_connection, node);
        if (c->deadline_ns != 0 && c->deadline_ns < least) {
            least = c->deadline_ns;
        }
    }
    WDB_LIST_FOREACH(node, &net->dials)
    {
        uint64_t deadline =
            dial_deadline(WDB_LIST_ENTRY(node, struct wdb_peer_dial, node));
        if (deadline != 0 && deadline < least) {
            least = deadline;
        }
    }
    if (net->accept_failed && least > now + ACCEPT_AGAIN_NS) {
        least = now + ACCEPT_AGAIN_NS;
    }
    if (least == UINT64_MAX) {
        uv_timer_stop(&net->timer);
        return;
    }
    uint64_t wait_ms = least <= now ? 0 : (least - now - 1) / WDB_NS_PER_MS + 1;
    uv_timer_start(&net->timer, on_timer, wait_ms, 0);
}

void wdb_peer_timer_init(struct wdb_peer_net *net)
{
    uv_timer_init(net->uv, &net->timer);
    net->timer.data = net;
}
