/*
 * peers.c - the peers as a whole: who is dialed, who has come, what the node is
 * told.
 *
 * What happens to connections is noted at the peer and told before the next run
 * (tell_all), so that the node is never called inside of a call of its own.
 */
#include "net/peers.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "net/peer_internal.h"
#include "walkerdb.h"

#define LOG_WINDOW_NS (10 * (uint64_t)WDB_NS_PER_S)
#define LOG_LINES     5

uint64_t wdb_peer_net_now(const struct wdb_peer_net *net)
{
    return net->env->ops->monotonic_ns(net->env);
}

void wdb_peer_net_complain(struct wdb_peer_net *net, const char *format, ...)
{
    char line[768];
    va_list arguments;
    uint64_t now = wdb_peer_net_now(net);
    if (net->log_count == 0 || now - net->log_window_ns > LOG_WINDOW_NS) {
        if (net->log_suppressed > 0) {
            wdb_logger_print(net->logger, WDB_LOG_WARNING,
                             "%" PRIu32 " more lines about the raft port were "
                             "left out",
                             net->log_suppressed);
        }
        net->log_window_ns = now;
        net->log_count = net->log_suppressed = 0;
    }
    if (++net->log_count > LOG_LINES) {
        net->log_suppressed++;
        return;
    }
    va_start(arguments, format);
    vsnprintf(line, sizeof(line), format, arguments);
    va_end(arguments);
    wdb_logger_print(net->logger, WDB_LOG_WARNING, "%s", line);
}

void wdb_peer_net_handshake_options(struct wdb_peer_net *net,
                                    struct wdb_handshake_options *out)
{
    const struct wdb_identity *identity = net->identity;
    memset(out, 0, sizeof(*out));
    out->self.id = identity->id;
    out->self.cluster_id = identity->cluster_id;
    memcpy(out->self.name, identity->name, sizeof(out->self.name));
    memcpy(out->self.raft_address, net->raft_address,
           sizeof(out->self.raft_address));
    memcpy(out->self.tcp_address, net->tcp_address,
           sizeof(out->self.tcp_address));
    out->secret = net->secret;
    out->secret_dir = net->secret_dir;
    out->is_removed = net->callbacks.is_removed;
    out->context = net->callbacks.context;
    net->env->ops->random(net->env, out->nonce, sizeof(out->nonce));
}

/* --- peers ------------------------------------------------------------------------ */

static struct wdb_peer *find_peer(struct wdb_peer_net *net, wdb_node_id id)
{
    WDB_LIST_FOREACH(node, &net->peer_list)
    {
        struct wdb_peer *peer = WDB_LIST_ENTRY(node, struct wdb_peer, node);
        if (peer->id == id) {
            return peer;
        }
    }
    return NULL;
}

static struct wdb_peer *new_peer(struct wdb_peer_net *net, wdb_node_id id)
{
    struct wdb_peer *peer = calloc(1, sizeof(*peer));
    if (peer != NULL) {
        peer->net = net;
        peer->id = id;
        wdb_list_append(&net->peer_list, &peer->node);
        net->stranger_count++;
    }
    return peer;
}

static void set_member(struct wdb_peer *peer, bool is_member)
{
    if (peer->is_member != is_member) {
        peer->is_member = is_member;
        peer->net->stranger_count += is_member ? -1u : 1u;
    }
}

static void hang_up_dials(struct wdb_peer *peer)
{
    for (int i = 0; i < WDB_CHANNEL_COUNT; i++) {
        if (peer->dials[i] != NULL) {
            wdb_peer_dial_free(peer->dials[i]);
            peer->dials[i] = NULL;
        }
    }
}

static void free_peer(struct wdb_peer *peer)
{
    hang_up_dials(peer);
    for (int i = 0; i < WDB_CHANNEL_COUNT; i++) {
        if (peer->inbound[i] != NULL) {
            wdb_peer_connection_drop(peer->inbound[i]);
        }
    }
    set_member(peer, false);
    peer->net->stranger_count--;
    wdb_list_remove(&peer->node);
    free(peer);
}

static void dial_peer(struct wdb_peer *peer, enum wdb_peer_channel channel)
{
    if (peer->dials[channel] == NULL && peer->address[0] != '\0') {
        int code = wdb_peer_dial_new(peer->net, peer, peer->id,
                                     (enum wdb_handshake_purpose)channel,
                                     peer->address, &peer->dials[channel]);
        if (code == WALKERDB_EINVALID) {
            wdb_peer_net_complain(peer->net,
                                  "node %016" PRIx64 " (%s) has a raft address "
                                  "that is none: '%s'",
                                  peer->id, peer->name, peer->address);
        }
    }
}

/* Dial there from now on. */
static void set_address(struct wdb_peer *peer, const char *address)
{
    if (strcmp(peer->address, address) != 0) {
        snprintf(peer->address, sizeof(peer->address), "%s", address);
        hang_up_dials(peer);
    }
}

/* Forget those that are no members any more. */
static void drop_others(struct wdb_peer_net *net)
{
    struct wdb_list *next;
    for (struct wdb_list *node = net->peer_list.next; node != &net->peer_list;
         node = next) {
        struct wdb_peer *peer = WDB_LIST_ENTRY(node, struct wdb_peer, node);
        uint32_t i = 0;
        next = node->next;
        while (i < net->member_count && net->members[i].id != peer->id) {
            i++;
        }
        if (i == net->member_count && peer->is_member) {
            free_peer(peer);
        }
    }
}

static bool is_connected(const struct wdb_peer *peer)
{
    const struct wdb_peer_dial *dial = peer->dials[WDB_CHANNEL_CONTROL];
    return dial != NULL && dial->state == WDB_DIAL_UP;
}

static void apply_members(struct wdb_peer_net *net)
{
    net->members_wait = false;
    for (uint32_t i = 0; i < net->member_count; i++) {
        const struct wdb_member *member = &net->members[i];
        struct wdb_peer *peer = find_peer(net, member->id);
        if (peer == NULL) {
            peer = new_peer(net, member->id);
        }
        if (peer == NULL) {
            net->members_wait = true; /* no memory: again in the next turn */
            continue;
        }
        if (!peer->is_member && is_connected(peer)) {
            peer->was_connected = false; /* the node had no such peer: again */
        }
        set_member(peer, true);
        memcpy(peer->name, member->name, sizeof(peer->name));
        if (strcmp(peer->configured, member->raft_address) != 0) {
            memcpy(peer->configured, member->raft_address,
                   sizeof(peer->configured));
            set_address(peer, peer->configured);
        }
        dial_peer(peer, WDB_CHANNEL_CONTROL);
        dial_peer(peer, WDB_CHANNEL_ENTRIES);
    }
}

static void set_members(void *context, const struct wdb_member *members,
                        uint32_t count)
{
    struct wdb_peer_net *net = context;
    wdb_assert(count <= WDB_MEMBERS_MAX);
    if (net->is_stopped) {
        return;
    }
    if (count > 0) {
        memcpy(net->members, members, count * sizeof(*members));
    }
    net->member_count = count;
    drop_others(net);
    apply_members(net);
}

/* --- connections ----------------------------------------------------------------------- */

bool wdb_peer_net_came(struct wdb_peer_net *net, struct wdb_peer_connection *c,
                       const struct wdb_handshake_party *party)
{
    struct wdb_peer *peer = find_peer(net, c->id);
    struct wdb_peer_address address;
    if (c->id == net->identity->id) {
        return false; /* our own address is not a peer's */
    }
    if (peer == NULL) {
        if (net->stranger_count >= WDB_PEER_STRANGERS_MAX) {
            return false;
        }
        peer = new_peer(net, c->id);
        if (peer == NULL) {
            return false;
        }
        memcpy(peer->name, party->name, sizeof(peer->name));
    }
    if (wdb_peer_address_parse(party->raft_address, false, &address) == 0 &&
        !wdb_peer_address_is_wildcard(&address)) {
        set_address(peer, party->raft_address);
    }
    struct wdb_peer_connection *older = peer->inbound[c->purpose];
    if (older != NULL) {
        wdb_peer_connection_drop(older);
    }
    peer->inbound[c->purpose] = c;
    c->peer = peer;
    dial_peer(peer, WDB_CHANNEL_CONTROL);
    for (int i = 0; i < WDB_CHANNEL_COUNT; i++) {
        if (peer->dials[i] != NULL) {
            wdb_peer_dial_hurry(peer->dials[i]);
        }
    }
    return true;
}

void wdb_peer_net_left(struct wdb_peer_connection *c)
{
    if (c->peer->inbound[c->purpose] == c) {
        c->peer->inbound[c->purpose] = NULL;
    }
}

void wdb_peer_net_has_room(struct wdb_peer *peer, enum wdb_peer_channel channel)
{
    if (peer->wants_room[channel]) {
        peer->wants_room[channel] = false;
        peer->tell_writable[channel] = true;
    }
}

/* Tell one thing to the node, which may do anything then. */
static bool tell(struct wdb_peer *peer)
{
    const struct wdb_peer_net_callbacks *callbacks = &peer->net->callbacks;
    bool now = is_connected(peer);
    if (peer->was_connected != now) {
        peer->was_connected = now;
        if (!now) {
            wdb_logger_print(peer->net->logger, WDB_LOG_NOTICE,
                             "the connection to node %s (%016" PRIx64 ") broke",
                             peer->name, peer->id);
        }
        if (callbacks->on_connected != NULL) {
            callbacks->on_connected(callbacks->context, peer->id, now);
        }
        return true;
    }
    for (int i = 0; i < WDB_CHANNEL_COUNT; i++) {
        if (peer->tell_writable[i]) {
            peer->tell_writable[i] = false;
            if (callbacks->on_writable != NULL) {
                callbacks->on_writable(callbacks->context, peer->id,
                                       (enum wdb_peer_channel)i);
            }
            return true;
        }
    }
    return false;
}

/* A node that came by itself and has left. */
static bool is_gone(const struct wdb_peer *peer)
{
    bool has_inbound = false;
    for (int i = 0; i < WDB_CHANNEL_COUNT; i++) {
        has_inbound |= peer->inbound[i] != NULL;
    }
    return !peer->is_member && !has_inbound;
}

static bool tell_next(struct wdb_peer_net *net)
{
    WDB_LIST_FOREACH(node, &net->peer_list)
    {
        struct wdb_peer *peer = WDB_LIST_ENTRY(node, struct wdb_peer, node);
        if (tell(peer)) {
            return true;
        }
        if (is_gone(peer)) {
            if (peer->was_connected) {
                hang_up_dials(peer); /* the node is told first */
            } else {
                free_peer(peer);
            }
            return true;
        }
    }
    return false;
}

/* Before each run. */
static void tell_all(void *context)
{
    struct wdb_peer_net *net = context;
    if (net->members_wait) {
        apply_members(net);
    }
    while (tell_next(net)) {
    }
}

/* Behind each run: one write for each connection. */
static void flush_all(void *context)
{
    struct wdb_peer_net *net = context;
    WDB_LIST_FOREACH(node, &net->dials)
    {
        struct wdb_peer_dial *dial =
            WDB_LIST_ENTRY(node, struct wdb_peer_dial, node);
        if (dial->state == WDB_DIAL_UP && dial->connection != NULL) {
            wdb_peer_connection_flush(dial->connection);
        }
    }
    /* A write that failed: it is told in the next turn. */
    WDB_LIST_FOREACH(node, &net->peer_list)
    {
        const struct wdb_peer *peer =
            WDB_LIST_ENTRY(node, struct wdb_peer, node);
        if (peer->was_connected != is_connected(peer)) {
            wdb_raft_loop_wake(net->loop);
        }
    }
}

/* --- sending ------------------------------------------------------------------------------ */

/* The connection on which to send; NULL if there is none (yet). */
static struct wdb_peer_connection *outbound(struct wdb_peer *peer,
                                            enum wdb_peer_channel channel)
{
    dial_peer(peer, channel); /* what is not always there comes when needed */
    struct wdb_peer_dial *dial = peer->dials[channel];
    return dial != NULL && dial->state == WDB_DIAL_UP ? dial->connection : NULL;
}

static bool is_writable(void *context, wdb_node_id id,
                        enum wdb_peer_channel channel)
{
    struct wdb_peer *peer = find_peer(context, id);
    if (peer == NULL) {
        return false;
    }
    struct wdb_peer_connection *c = outbound(peer, channel);
    bool has_room = c != NULL && wdb_peer_connection_has_room(c);
    peer->wants_room[channel] |= !has_room;
    return has_room;
}

static bool send_message(void *context, wdb_node_id id,
                         enum wdb_peer_channel channel,
                         const struct wdb_message *message)
{
    struct wdb_peer_net *net = context;
    struct wdb_peer *peer = find_peer(net, id);
    if (is_writable(net, id, channel) &&
        wdb_peer_connection_put(peer->dials[channel]->connection, message)) {
        return true;
    }
    if (peer != NULL) {
        peer->wants_room[channel] = true;
    }
    wdb_peer_count(&net->stats.dropped, 1);
    return false;
}

/* --- life --------------------------------------------------------------------------------------- */

static void run_off_loop(void *context, void (*work)(void *),
                         void (*done)(void *), void *arg)
{
    struct wdb_peer_net *net = context;
    wdb_raft_loop_run_off_loop(net->loop, work, done, arg);
}

static const struct wdb_peers_ops operations = {
    .set_members = set_members,
    .send = send_message,
    .is_writable = is_writable,
    .probe = wdb_peer_once_probe,
    .run_off_loop = run_off_loop,
};

/* The loop ends: close all. */
static void stop(void *context)
{
    struct wdb_peer_net *net = context;
    net->is_stopped = true;
    wdb_peer_listener_close_all(net);
    while (!wdb_list_empty(&net->peer_list)) {
        free_peer(WDB_LIST_ENTRY(net->peer_list.next, struct wdb_peer, node));
    }
    while (!wdb_list_empty(&net->dials)) {
        wdb_peer_dial_fail(WDB_LIST_ENTRY(net->dials.next, struct wdb_peer_dial,
                                          node),
                           WALKERDB_ECLOSED, "the server stops");
    }
    while (!wdb_list_empty(&net->connections)) {
        wdb_peer_connection_drop(WDB_LIST_ENTRY(
            net->connections.next, struct wdb_peer_connection, node));
    }
    uv_close((uv_handle_t *)&net->timer, NULL);
}

static bool copy_text(char *out, size_t size, const char *text)
{
    int written = snprintf(out, size, "%s", text);
    return written >= 0 && (size_t)written < size;
}

int wdb_peer_net_new(const struct wdb_peer_net_options *options,
                     struct wdb_peer_net **out)
{
    struct wdb_peer_net *net = calloc(1, sizeof(*net));
    uint64_t seed;
    if (net == NULL) {
        return WALKERDB_ENOMEM;
    }
    net->loop = options->loop;
    net->env = wdb_raft_loop_env(options->loop);
    net->uv = wdb_raft_loop_uv(options->loop);
    net->logger = options->logger;
    net->identity = options->identity;
    net->callbacks = options->callbacks;
    net->secret = options->secret;
    net->backlog = options->backlog;
    wdb_list_init(&net->peer_list);
    wdb_list_init(&net->connections);
    wdb_list_init(&net->dials);
    net->env->ops->random(net->env, &seed, sizeof(seed));
    wdb_random_seed(&net->random, seed);
    net->secret_dir = strdup(options->secret_dir);
    int code = net->secret_dir == NULL ? WALKERDB_ENOMEM : 0;
    if (code == 0 && (!copy_text(net->raft_address, sizeof(net->raft_address),
                                 options->raft_address) ||
                      !copy_text(net->tcp_address, sizeof(net->tcp_address),
                                 options->tcp_address))) {
        code = WALKERDB_EINVALID;
    }
    if (code != 0) {
        free(net->secret_dir);
        free(net);
        return code;
    }
    wdb_peer_timer_init(net);
    net->peers = (struct wdb_peers){.ops = &operations, .context = net};
    const struct wdb_raft_loop_client client = {
        .before = tell_all, .behind = flush_all, .stop = stop, .context = net};
    wdb_raft_loop_add_client(net->loop, &client);
    *out = net;
    return 0;
}

const struct wdb_peers *wdb_peer_net_peers(struct wdb_peer_net *net)
{
    return &net->peers;
}

void wdb_peer_net_free(struct wdb_peer_net *net)
{
    if (net != NULL) {
        wdb_assert(net->is_stopped);
        wdb_buffer_release(&net->aligned);
        free(net->secret_dir);
        memset(&net->secret, 0, sizeof(net->secret));
        free(net);
    }
}

void wdb_peer_net_stats(const struct wdb_peer_net *net,
                        struct wdb_peer_net_stats *out)
{
    *out = (struct wdb_peer_net_stats){
        .inbound = atomic_load(&net->stats.inbound),
        .outbound = atomic_load(&net->stats.outbound),
        .pending = atomic_load(&net->stats.pending),
        .accepted = atomic_load(&net->stats.accepted),
        .dialed = atomic_load(&net->stats.dialed),
        .authenticated = atomic_load(&net->stats.authenticated),
        .refused = atomic_load(&net->stats.refused),
        .messages_in = atomic_load(&net->stats.messages_in),
        .messages_out = atomic_load(&net->stats.messages_out),
        .bytes_in = atomic_load(&net->stats.bytes_in),
        .bytes_out = atomic_load(&net->stats.bytes_out),
        .dropped = atomic_load(&net->stats.dropped),
    };
}
