/* worker.c - forwarding's part in the turns of workers. */
#include "proxy/worker.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/time.h"
#include "cmd/cluster.h"
#include "cmd/context.h"
#include "proxy/worker_internal.h"
#include "walkerdb.h"

/* Workers have a turn so often anyway. */
#define TICK_NS (UINT64_C(100) * WDB_NS_PER_MS)

uint64_t wdb_proxy_part_now(const struct wdb_proxy_part *part)
{
    struct wdb_env *env = part->workers->context->env;
    return env->ops->monotonic_ns(env);
}

/* --- one worker -------------------------------------------------------------------- */

static int part_attach(void *context, const struct wdb_net_worker *worker,
                       void **part_out)
{
    struct wdb_proxy_workers *workers = context;
    struct wdb_proxy_part *part = calloc(1, sizeof(*part));
    if (part == NULL) {
        return WALKERDB_ENOMEM;
    }
    part->workers = workers;
    part->number = worker->number;
    part->loop = worker->loop;
    part->cache = worker->cache;
    part->leader_version = UINT64_MAX;
    wdb_list_init(&part->links);
    wdb_list_init(&part->dials);
    const struct wdb_proxy_options options = {
        .transport = &wdb_proxy_link_transport,
        .transport_context = part,
        .cache = worker->cache,
        .hold_ns = wdb_forwarder_hold_ns(workers->context->config),
        .drain_ns = WDB_PROXY_DRAIN_MS * (uint64_t)WDB_NS_PER_MS,
    };
    const struct wdb_acceptor_hub_options hub_options = {
        .context = workers->context,
        .executor = worker->executor,
        .cache = worker->cache,
    };
    int rc = wdb_proxy_new(&options, &part->proxy);
    if (rc == 0) {
        rc = wdb_acceptor_hub_new(&hub_options, &part->hub);
    }
    if (rc == 0) {
        rc = wdb_forwarder_add(&workers->forwarder, worker->executor,
                               part->proxy);
    }
    if (rc != 0) {
        wdb_acceptor_hub_free(part->hub);
        wdb_proxy_free(part->proxy);
        free(part);
        return rc;
    }
    uv_timer_init(part->loop, &part->timer);
    part->timer.data = part;
    workers->parts[workers->part_count++] = part;
    *part_out = part;
    return 0;
}

/* Who leads, and serves if it is this node. */
static void look_for_leader(struct wdb_proxy_part *part)
{
    const struct wdb_cluster *cluster = part->workers->context->cluster;
    const uint64_t version = atomic_load(&cluster->gate->leader_version);
    if (WDB_LIKELY(version == part->leader_version)) {
        return;
    }
    struct wdb_raft_leader leader;
    struct wdb_proxy_target target = {0};
    cluster->ops->leader(cluster->context, &leader);
    if (!leader.is_self || wdb_raft_gate_serves(cluster->gate)) {
        target.node = leader.id;
        target.is_self = leader.is_self;
        static_assert(sizeof(target.address) >= sizeof(leader.raft_address),
                      "room for an address");
        memcpy(target.address, leader.raft_address,
               sizeof(leader.raft_address));
    }
    part->leader_version = version;
    wdb_proxy_set_target(part->proxy, &target, wdb_proxy_part_now(part));
}

static void part_begin(void *context)
{
    struct wdb_proxy_part *part = context;
    if (part->is_stopped) {
        return;
    }
    part->is_due = false;
    if (WDB_LIKELY(part->workers->context->cluster != NULL)) {
        look_for_leader(part);
    }
    wdb_acceptor_hub_begin(part->hub);
}

/* Each turn of the worker does what there is to do. */
static void on_timer(uv_timer_t *timer)
{
    struct wdb_proxy_part *part = timer->data;
    part->timer_ns = 0;
}

static void set_timer(struct wdb_proxy_part *part, uint64_t at_ns,
                      uint64_t now_ns)
{
    if (at_ns >= now_ns + TICK_NS ||
        (part->timer_ns != 0 && part->timer_ns <= at_ns)) {
        return;
    }
    const uint64_t wait_ns = at_ns > now_ns ? at_ns - now_ns : 0;
    part->timer_ns = at_ns > 0 ? at_ns : 1;
    uv_timer_start(&part->timer, on_timer,
                   (wait_ns + WDB_NS_PER_MS - 1) / WDB_NS_PER_MS, 0);
}

static void show_stats(struct wdb_proxy_part *part)
{
    const struct wdb_proxy_stats *proxy = wdb_proxy_stats(part->proxy);
    const struct wdb_acceptor_stats *acceptor =
        wdb_acceptor_hub_stats(part->hub);
    const uint64_t values[WDB_PROXY_SHOWN_COUNT] = {
        proxy->requests,    proxy->answered,
        proxy->refused,     proxy->unknown,
        proxy->tried_again, proxy->timed_out,
        proxy->dialed,      proxy->lost,
        acceptor->channels, acceptor->requests,
        acceptor->replies,  acceptor->refused,
        acceptor->lost,     acceptor->channels_now,
    };
    for (uint32_t i = 0; i < WDB_PROXY_SHOWN_COUNT; i++) {
        atomic_store_explicit(&part->shown[i], values[i], memory_order_relaxed);
    }
}

static void part_run(void *context)
{
    struct wdb_proxy_part *part = context;
    if (part->is_stopped) {
        return;
    }
    const uint64_t now_ns = wdb_proxy_part_now(part);
    const uint64_t next_ns = wdb_proxy_run(part->proxy, now_ns);
    struct wdb_list *next;
    for (struct wdb_list *node = part->links.next; node != &part->links;
         node = next) {
        struct wdb_proxy_link *link =
            WDB_LIST_ENTRY(node, struct wdb_proxy_link, node);
        next = node->next;
        if (link->is_loopback && !link->closing) {
            part->is_due |= wdb_proxy_link_carry(link, now_ns);
        } else if (link->wants_flush) {
            link->wants_flush = false;
            wdb_proxy_link_send(link);
        }
    }
    if (now_ns >= part->tick_ns) {
        part->tick_ns = now_ns + WDB_NS_PER_S;
        wdb_acceptor_hub_tick(part->hub);
        wdb_proxy_set_hold(part->proxy, wdb_forwarder_hold_ns(
                                            part->workers->context->config));
    }
    if (next_ns != UINT64_MAX) {
        set_timer(part, next_ns, now_ns);
    }
    show_stats(part);
}

static bool part_wants_to_send(void *context)
{
    const struct wdb_proxy_part *part = context;
    return !part->is_stopped &&
           (wdb_acceptor_hub_has_work(part->hub) || part->done_ns != 0);
}

static bool part_send(void *context, struct wdb_gate gate)
{
    struct wdb_proxy_part *part = context;
    if (part->is_stopped) {
        return false;
    }
    const bool waits = wdb_acceptor_hub_send(part->hub, gate);
    struct wdb_list *next;
    for (struct wdb_list *node = part->links.next; node != &part->links;
         node = next) {
        struct wdb_proxy_link *link =
            WDB_LIST_ENTRY(node, struct wdb_proxy_link, node);
        next = node->next;
        if (link->acceptor == NULL || link->closing) {
            continue;
        }
        if (!link->is_loopback) {
            wdb_proxy_link_send(link);
        } else if (wdb_acceptor_output(link->acceptor)->size > 0) {
            part->is_due = true; /* its clients' replies in the next turn */
        }
    }
    return waits;
}

static bool part_is_due(void *context)
{
    const struct wdb_proxy_part *part = context;
    return !part->is_stopped &&
           (part->is_due || wdb_proxy_has_work(part->proxy));
}

static void part_close_killed(void *context)
{
    struct wdb_proxy_part *part = context;
    if (!part->is_stopped) {
        wdb_acceptor_hub_close_killed(part->hub);
    }
}

static void part_quiet(void *context)
{
    struct wdb_proxy_part *part = context;
    if (!part->is_stopped && part->done_ns == 0) {
        part->done_ns = wdb_proxy_part_now(part) +
                        WDB_PROXY_LEAVE_MS * (uint64_t)WDB_NS_PER_MS;
        part->is_due = true;
        wdb_acceptor_hub_leave(part->hub);
    }
}

/* Followers hang up when all that they sent is answered, or refused: so nobody
 * has to wonder what became of it. */
static bool part_is_done(void *context)
{
    const struct wdb_proxy_part *part = context;
    if (part->is_stopped || wdb_proxy_part_now(part) >= part->done_ns) {
        return true;
    }
    WDB_LIST_FOREACH(node, &part->links)
    {
        const struct wdb_proxy_link *link =
            WDB_LIST_ENTRY(node, struct wdb_proxy_link, node);
        if (link->acceptor != NULL && !link->is_loopback) {
            return false;
        }
    }
    return true;
}

static void part_stop(void *context)
{
    struct wdb_proxy_part *part = context;
    if (part->is_stopped) {
        return;
    }
    show_stats(part);
    part->is_stopped = true;
    uv_close((uv_handle_t *)&part->timer, NULL);
    wdb_proxy_free(part->proxy);
    part->proxy = NULL;
    struct wdb_list *next;
    for (struct wdb_list *node = part->links.next; node != &part->links;
         node = next) {
        struct wdb_proxy_link *link =
            WDB_LIST_ENTRY(node, struct wdb_proxy_link, node);
        next = node->next;
        if (!link->closing) {
            wdb_proxy_link_break(link);
        }
    }
}

static void part_detach(void *context)
{
    struct wdb_proxy_part *part = context;
    wdb_assert(part->is_stopped && wdb_list_empty(&part->links));
    while (!wdb_list_empty(&part->dials)) {
        struct wdb_proxy_dial *dial =
            WDB_LIST_ENTRY(part->dials.next, struct wdb_proxy_dial, node);
        wdb_list_remove(&dial->node);
        free(dial);
    }
    wdb_acceptor_hub_free(part->hub);
    part->workers->parts[part->number] = NULL;
    free(part);
}

const struct wdb_net_part_ops *wdb_proxy_workers_part(void)
{
    static const struct wdb_net_part_ops ops = {
        .attach = part_attach,
        .begin = part_begin,
        .run = part_run,
        .wants_to_send = part_wants_to_send,
        .send = part_send,
        .is_due = part_is_due,
        .close_killed = part_close_killed,
        .quiet = part_quiet,
        .is_done = part_is_done,
        .stop = part_stop,
        .detach = part_detach,
    };
    return &ops;
}

/* --- all workers ---------------------------------------------------------------------- */

int wdb_proxy_workers_new(struct wdb_context *context,
                          struct wdb_peer_net *peers,
                          struct wdb_proxy_workers **out)
{
    struct wdb_proxy_workers *workers = calloc(1, sizeof(*workers));
    if (workers == NULL) {
        return WALKERDB_ENOMEM;
    }
    workers->context = context;
    workers->peers = peers;
    wdb_forwarder_init(&workers->forwarder);
    *out = workers;
    return 0;
}

const struct wdb_forward *wdb_proxy_workers_hook(
    struct wdb_proxy_workers *workers)
{
    return &workers->forwarder.hook;
}

void wdb_proxy_workers_set_net(struct wdb_proxy_workers *workers,
                               struct wdb_net *net)
{
    workers->net = net;
}

struct accepted {
    int fd;
};

static void on_accepted(void *part, void *arg)
{
    struct accepted *accepted = arg;
    wdb_proxy_link_accept(part, accepted->fd);
    free(accepted);
}

void wdb_proxy_workers_accept(struct wdb_proxy_workers *workers, int fd,
                              wdb_node_id peer)
{
    (void)peer; /* it has proved that it may */
    struct accepted *accepted = malloc(sizeof(*accepted));
    if (accepted != NULL && workers->part_count > 0) {
        accepted->fd = fd;
        const uint32_t number =
            atomic_fetch_add(&workers->next, 1) % workers->part_count;
        if (wdb_net_call(workers->net, number, on_accepted, accepted) == 0) {
            return;
        }
    }
    free(accepted);
    close(fd);
}

void wdb_proxy_workers_free(struct wdb_proxy_workers *workers)
{
    free(workers);
}

void wdb_proxy_workers_stats(const struct wdb_proxy_workers *workers,
                             struct wdb_proxy_workers_stats *out)
{
    uint64_t sums[WDB_PROXY_SHOWN_COUNT] = {0};
    for (uint32_t i = 0; i < workers->part_count; i++) {
        const struct wdb_proxy_part *part = workers->parts[i];
        for (uint32_t k = 0; part != NULL && k < WDB_PROXY_SHOWN_COUNT; k++) {
            sums[k] +=
                atomic_load_explicit(&part->shown[k], memory_order_relaxed);
        }
    }
    *out = (struct wdb_proxy_workers_stats){
        .proxy = {sums[0], sums[1], sums[2], sums[3], sums[4], sums[5], sums[6],
                  sums[7]},
        .acceptor = {sums[8], sums[9], sums[10], sums[11], sums[12],
                     (uint32_t)sums[13]},
    };
}
