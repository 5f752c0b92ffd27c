/* cluster_net.c - connections, and messages on their way. */
#include "sim/cluster_net.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "walkerdb.h"

#define MILLION 1000000
#define NO_NODE UINT32_MAX

struct cluster_flight {
    struct cluster_net *net;
    struct cluster_flight *next; /* held */
    uint32_t from, to;
    enum wdb_peer_channel channel;
    wdb_node_id from_id;
    uint64_t epoch, life; /* of the connection; of the receiver */
    bool is_ghost;        /* comes even if its connection broke */
    bool is_counted;      /* in the link's size and count */
    bool is_damaged;
    size_t size;
    uint8_t *data;
};

struct probe {
    struct cluster_net *net;
    struct probe *next; /* of the endpoint's */
    uint32_t from;
    char address[WDB_MEMBER_ADDRESS_MAX + 1];
    void (*done)(void *arg, int code, const char *message,
                 const struct wdb_member *member, uint64_t cluster_id);
    void *arg;
    bool is_told;
};

/* Something to tell a node of a peer. */
struct note {
    struct cluster_net *net;
    uint32_t node;
    uint64_t life;
    wdb_node_id peer;
    enum wdb_peer_channel channel;
    bool is_writable; /* else: connected */
    bool is_connected;
};

static void *made(size_t size)
{
    void *memory = calloc(1, size);
    wdb_assert(memory != NULL);
    return memory;
}

static bool chance(struct cluster_net *net, uint32_t in_a_million)
{
    return in_a_million > 0 &&
           wdb_random_below(&net->random, MILLION) < in_a_million;
}

static uint64_t delay(struct cluster_net *net, size_t size)
{
    const struct cluster_net_faults *faults = &net->faults;
    return faults->delay_min_ns +
           wdb_random_below(&net->random,
                            faults->delay_max_ns - faults->delay_min_ns + 1) +
           size * faults->ns_per_kib / 1024;
}

static uint32_t number_of(const struct cluster_net *net, wdb_node_id id)
{
    for (uint32_t i = 0; i < net->count; i++) {
        if (net->endpoints[i].id == id && id != 0) {
            return i;
        }
    }
    return NO_NODE;
}

/* --- notes ----------------------------------------------------------------- */

static void tell(void *context, void *arg, bool happens)
{
    struct cluster_net *net = context;
    struct note *note = arg;
    const struct cluster_endpoint *end = &net->endpoints[note->node];
    if (happens && end->is_up && end->life == note->life) {
        if (note->is_writable) {
            net->callbacks.writable(net->callbacks.context, note->node,
                                    note->peer, note->channel);
        } else {
            net->callbacks.connected(net->callbacks.context, note->node,
                                     note->peer, note->is_connected);
        }
    }
    free(note);
}

static struct note *note_new(struct cluster_net *net, uint32_t node,
                             wdb_node_id peer)
{
    struct note *note = made(sizeof(*note));
    note->net = net;
    note->node = node;
    note->life = net->endpoints[node].life;
    note->peer = peer;
    return note;
}

static void tell_connected(struct cluster_net *net, uint32_t node,
                           wdb_node_id peer, bool is_connected)
{
    if (net->endpoints[node].is_up) {
        struct note *note = note_new(net, node, peer);
        note->is_connected = is_connected;
        cluster_events_add(net->events, *net->now_ns + 1, tell, net, note);
    }
}

static void tell_writable(struct cluster_net *net, uint32_t from, uint32_t to,
                          enum wdb_peer_channel channel)
{
    struct cluster_link *link = &net->endpoints[from].links[to][channel];
    if (link->is_refused && link->is_open &&
        link->size < net->faults.buffer_size) {
        struct note *note = note_new(net, from, net->endpoints[to].id);
        link->is_refused = false;
        note->is_writable = true;
        note->channel = channel;
        cluster_events_add(net->events, *net->now_ns + 1, tell, net, note);
    }
}

/* --- connections ------------------------------------------------------------- */

static void flight_free(struct cluster_flight *flight)
{
    free(flight->data);
    free(flight);
}

static void dial_later(struct cluster_net *net, uint32_t from);

static void close_link(struct cluster_net *net, uint32_t from, uint32_t to,
                       enum wdb_peer_channel channel)
{
    struct cluster_link *link = &net->endpoints[from].links[to][channel];
    while (link->held != NULL) {
        struct cluster_flight *flight = link->held;
        link->held = flight->next;
        flight_free(flight);
    }
    link->held_end = &link->held;
    link->is_open = false;
    link->epoch++;
    link->size = link->count = 0;
}

static bool is_open(const struct cluster_net *net, uint32_t from, uint32_t to)
{
    return net->endpoints[from].links[to][WDB_CHANNEL_CONTROL].is_open;
}

void cluster_net_break(struct cluster_net *net, uint32_t from, uint32_t to)
{
    if (!is_open(net, from, to)) {
        return;
    }
    net->counters.breaks++;
    for (int channel = 0; channel < WDB_CHANNEL_COUNT; channel++) {
        close_link(net, from, to, (enum wdb_peer_channel)channel);
    }
    tell_connected(net, from, net->endpoints[to].id, false);
    if (!is_open(net, to, from)) {
        tell_connected(net, to, net->endpoints[from].id, false);
    }
    dial_later(net, from);
}

static void open_links(struct cluster_net *net, uint32_t from, uint32_t to)
{
    struct cluster_endpoint *end = &net->endpoints[from];
    for (int channel = 0; channel < WDB_CHANNEL_COUNT; channel++) {
        struct cluster_link *link = &end->links[to][channel];
        link->is_open = true;
        link->last_ns = *net->now_ns;
        tell_writable(net, from, to, (enum wdb_peer_channel)channel);
    }
    tell_connected(net, from, net->endpoints[to].id, true);
    if (!is_open(net, to, from)) {
        tell_connected(net, to, end->id, true);
    }
}

static void dial(void *context, void *arg, bool happens)
{
    struct cluster_net *net = context;
    struct cluster_endpoint *end = arg;
    bool again = false;
    if (!happens) {
        return;
    }
    end->is_dialing = false;
    for (uint32_t to = 0; end->is_up && to < net->count; to++) {
        const struct cluster_endpoint *other = &net->endpoints[to];
        if (!end->wanted[to] || is_open(net, end->number, to)) {
            continue;
        }
        if (other->is_up && !other->is_paused && !end->is_paused &&
            !end->is_blocked[to] && !other->is_blocked[end->number]) {
            open_links(net, end->number, to);
        } else {
            again = true;
        }
    }
    if (again) {
        dial_later(net, end->number);
    }
}

static void dial_later(struct cluster_net *net, uint32_t from)
{
    struct cluster_endpoint *end = &net->endpoints[from];
    if (end->is_up && !end->is_dialing) {
        end->is_dialing = true;
        cluster_events_add(net->events,
                           *net->now_ns + 2 * delay(net, 0) +
                               wdb_random_below(&net->random, 40000000),
                           dial, net, end);
    }
}

/* --- the operations ------------------------------------------------------------ */

/* Whom it knows by the configuration; ids may not live anywhere any more. */
static void set_members(void *context, const struct wdb_member *members,
                        uint32_t count)
{
    struct cluster_endpoint *end = context;
    struct cluster_net *net = end->net;
    memset(end->wanted, 0, sizeof(end->wanted));
    for (uint32_t i = 0; i < count; i++) {
        const uint32_t number = number_of(net, members[i].id);
        if (number != NO_NODE && number != end->number) {
            end->wanted[number] = true;
        }
        net->wanted_members[end->number][i] = members[i];
    }
    net->wanted_count[end->number] = count;
    for (uint32_t to = 0; to < net->count; to++) {
        if (!end->wanted[to]) {
            cluster_net_break(net, end->number, to);
        }
    }
    dial_later(net, end->number);
}

/* A node has got a new id: who waits for that? */
static void look_for(struct cluster_net *net, wdb_node_id id, uint32_t number)
{
    for (uint32_t i = 0; i < net->count; i++) {
        for (uint32_t j = 0; j < net->wanted_count[i]; j++) {
            if (net->wanted_members[i][j].id == id && i != number) {
                net->endpoints[i].wanted[number] = true;
                dial_later(net, i);
            }
        }
    }
}

/* If not, whoever asks is told when it is. */
static bool is_writable(void *context, wdb_node_id peer,
                        enum wdb_peer_channel channel)
{
    struct cluster_endpoint *end = context;
    const uint32_t to = number_of(end->net, peer);
    if (to == NO_NODE) {
        return false;
    }
    struct cluster_link *link = &end->links[to][channel];
    const bool has_room =
        link->is_open && link->size < end->net->faults.buffer_size;
    link->is_refused |= !has_room;
    return has_room;
}

static void arrive(void *context, void *arg, bool happens);

static struct cluster_flight *flight_new(struct cluster_endpoint *end,
                                         uint32_t to,
                                         enum wdb_peer_channel channel,
                                         const struct wdb_message *message)
{
    uint8_t head[WDB_MESSAGE_HEAD_SIZE + WDB_MESSAGE_FIXED_MAX];
    struct cluster_flight *flight = made(sizeof(*flight));
    const size_t head_size = wdb_message_encode(message, head);
    const struct wdb_slice payload = wdb_message_payload(message);
    *flight = (struct cluster_flight){
        .net = end->net,
        .from = end->number,
        .to = to,
        .channel = channel,
        .from_id = end->id,
        .epoch = end->links[to][channel].epoch,
        .life = end->net->endpoints[to].life,
        .size = head_size + payload.size,
        .data = made(head_size + payload.size),
    };
    memcpy(flight->data, head, head_size);
    if (payload.size > 0) {
        memcpy(flight->data + head_size, payload.data, payload.size);
    }
    return flight;
}

static void send_again_later(struct cluster_net *net,
                             const struct cluster_flight *flight)
{
    struct cluster_flight *copy = made(sizeof(*copy));
    *copy = *flight;
    copy->is_counted = false;
    copy->is_ghost = true;
    copy->data = made(flight->size);
    memcpy(copy->data, flight->data, flight->size);
    net->counters.duplicated++;
    const uint64_t extra =
        wdb_random_below(&net->random, 8) == 0 ? 2000000000 : 50000000;
    cluster_events_add(net->events,
                       *net->now_ns + delay(net, flight->size) +
                           wdb_random_below(&net->random, extra),
                       arrive, net, copy);
}

static bool send_message(void *context, wdb_node_id peer,
                         enum wdb_peer_channel channel,
                         const struct wdb_message *message)
{
    struct cluster_endpoint *end = context;
    struct cluster_net *net = end->net;
    const uint32_t to = number_of(net, peer);
    if (!end->is_up || to == NO_NODE) {
        return false;
    }
    struct cluster_link *link = &end->links[to][channel];
    if (!link->is_open) {
        if (!end->wanted[to]) { /* not a member; but it is to be told */
            end->wanted[to] = true;
            dial_later(net, end->number);
        }
        link->is_refused = true;
        return false;
    }
    if (channel == WDB_CHANNEL_CONTROL
            ? link->count >= WDB_PEER_CONTROL_MAX &&
                  link->size >= net->faults.buffer_size
            : link->size >= net->faults.buffer_size) {
        link->is_refused = true;
        net->counters.refused++;
        return false;
    }
    struct cluster_flight *flight = flight_new(end, to, channel, message);
    net->counters.sent++;
    net->counters.kinds[message->kind]++;
    flight->is_ghost = chance(net, net->faults.ghost);
    flight->is_damaged = chance(net, net->faults.damage);
    if (chance(net, net->faults.duplicate)) {
        send_again_later(net, flight);
    }
    if (chance(net, net->faults.loss)) {
        net->counters.lost++;
        flight_free(flight);
        return true;
    }
    uint64_t time = *net->now_ns + delay(net, flight->size) + end->slow_ns[to];
    time = time > link->last_ns ? time : link->last_ns + 1;
    link->last_ns = time;
    link->size += flight->size;
    link->count++;
    flight->is_counted = true;
    cluster_events_add(net->events, time, arrive, net, flight);
    if (chance(net, net->faults.connection_break)) {
        cluster_net_break(net, end->number, to);
    }
    return true;
}

static void run_off_loop(void *context, void (*work)(void *arg),
                         void (*done)(void *arg), void *arg)
{
    struct cluster_endpoint *end = context;
    struct cluster_net *net = end->net;
    net->callbacks.run_off_loop(net->callbacks.context, end->number, work, done,
                                arg);
}

/* No member: it failed. */
static void tell_probe(struct probe *probe, const char *message,
                       const struct wdb_member *member, uint64_t cluster_id)
{
    struct probe **link = &probe->net->endpoints[probe->from].probes;
    while (*link != probe) {
        link = &(*link)->next;
    }
    *link = probe->next;
    probe->is_told = true;
    probe->done(probe->arg, member == NULL ? WALKERDB_EIO : 0, message, member,
                cluster_id);
}

static void probe_arrives(void *context, void *arg, bool happens)
{
    struct cluster_net *net = context;
    struct probe *probe = arg;
    const struct cluster_endpoint *from = &net->endpoints[probe->from];
    if (happens && !probe->is_told) {
        const struct cluster_endpoint *found = NULL;
        for (uint32_t i = 0; i < net->count; i++) {
            const struct cluster_endpoint *end = &net->endpoints[i];
            if (end->is_up && !end->is_paused &&
                strcmp(end->address, probe->address) == 0 &&
                !from->is_blocked[i] && !end->is_blocked[probe->from]) {
                found = end;
            }
        }
        if (found == NULL) {
            tell_probe(probe, "nobody answers", NULL, 0);
        } else {
            struct wdb_member member;
            uint64_t cluster_id;
            net->callbacks.describe(net->callbacks.context, found->number,
                                    &member, &cluster_id);
            tell_probe(probe, "", &member, cluster_id);
        }
    }
    free(probe);
}

static void probe_begin(void *context, const char *raft_address,
                        void (*done)(void *arg, int code, const char *message,
                                     const struct wdb_member *member,
                                     uint64_t cluster_id),
                        void *arg)
{
    struct cluster_endpoint *end = context;
    struct cluster_net *net = end->net;
    struct probe *probe = made(sizeof(*probe));
    probe->net = net;
    probe->from = end->number;
    probe->next = end->probes;
    end->probes = probe;
    probe->done = done;
    probe->arg = arg;
    snprintf(probe->address, sizeof(probe->address), "%s", raft_address);
    net->counters.probes++;
    cluster_events_add(net->events, *net->now_ns + 2 * delay(net, 0) + 1,
                       probe_arrives, net, probe);
}

static const struct wdb_peers_ops ops = {
    .set_members = set_members,
    .send = send_message,
    .is_writable = is_writable,
    .run_off_loop = run_off_loop,
    .probe = probe_begin,
};

/* --- arriving --------------------------------------------------------------------- */

static void damage(struct cluster_net *net, struct cluster_flight *flight)
{
    struct wdb_message message;
    net->counters.damaged++;
    if (wdb_random_below(&net->random, 4) == 0) {
        flight->size -= 1 + wdb_random_below(&net->random, flight->size);
    } else {
        const size_t at = wdb_random_below(&net->random, flight->size);
        flight->data[at] ^= (uint8_t)(1 << wdb_random_below(&net->random, 8));
    }
    uint64_t size = 0;
    if (flight->size >= WDB_MESSAGE_HEAD_SIZE &&
        wdb_message_size(flight->data, &size) == 0 && size == flight->size &&
        wdb_message_decode(flight->data, flight->size, &message) == 0) {
        net->callbacks.accepted_damage(net->callbacks.context, &message);
    }
}

/* It waits for the end of a partition or of a pause. */
static bool hold(struct cluster_net *net, struct cluster_flight *flight)
{
    struct cluster_endpoint *from = &net->endpoints[flight->from];
    const struct cluster_endpoint *to = &net->endpoints[flight->to];
    if (from->is_blocked[flight->to] && !net->partition_holds) {
        net->counters.partition_drops++;
        return false;
    }
    if (!from->is_blocked[flight->to] && !to->is_paused) {
        return false;
    }
    struct cluster_link *link = &from->links[flight->to][flight->channel];
    net->counters.partition_holds++;
    flight->next = NULL;
    *link->held_end = flight;
    link->held_end = &flight->next;
    return true;
}

static void deliver(struct cluster_net *net, struct cluster_flight *flight)
{
    struct wdb_message message;
    if (flight->is_damaged) {
        damage(net, flight);
        cluster_net_break(net, flight->from, flight->to);
        return;
    }
    if (wdb_message_decode(flight->data, flight->size, &message) != 0) {
        net->callbacks.refused(net->callbacks.context, flight->from);
        cluster_net_break(net, flight->from, flight->to);
        return;
    }
    net->counters.delivered++;
    net->callbacks.message(net->callbacks.context, flight->to, flight->from_id,
                           &message);
}

static void arrive(void *context, void *arg, bool happens)
{
    struct cluster_net *net = context;
    struct cluster_flight *flight = arg;
    struct cluster_link *link =
        &net->endpoints[flight->from].links[flight->to][flight->channel];
    const struct cluster_endpoint *to = &net->endpoints[flight->to];
    if (!happens || !to->is_up || to->life != flight->life) {
        flight_free(flight);
        return;
    }
    const bool is_old = flight->epoch != link->epoch;
    if ((!is_old || flight->is_ghost) && hold(net, flight)) {
        return;
    }
    if (flight->is_counted && !is_old) {
        link->size -= flight->size;
        link->count--;
        flight->is_counted = false;
        tell_writable(net, flight->from, flight->to, flight->channel);
    }
    const bool is_dropped =
        net->endpoints[flight->from].is_blocked[flight->to] ||
        (is_old && !flight->is_ghost);
    net->counters.ghosts += is_old && !is_dropped;
    if (!is_dropped) {
        deliver(net, flight);
    }
    flight_free(flight);
}

/* What waited comes now, in order. */
static void release_held(struct cluster_net *net, uint32_t from, uint32_t to)
{
    for (int channel = 0; channel < WDB_CHANNEL_COUNT; channel++) {
        struct cluster_link *link = &net->endpoints[from].links[to][channel];
        struct cluster_flight *flight = link->held;
        link->held = NULL;
        link->held_end = &link->held;
        uint64_t time = *net->now_ns + delay(net, 0);
        while (flight != NULL) {
            struct cluster_flight *next = flight->next;
            cluster_events_add(net->events, time++, arrive, net, flight);
            flight = next;
        }
        link->last_ns = link->last_ns > time ? link->last_ns : time;
    }
}

/* --- the net ------------------------------------------------------------------------ */

void cluster_net_init(struct cluster_net *net, uint32_t count, uint64_t seed,
                      struct cluster_events *events, const uint64_t *now_ns)
{
    *net = (struct cluster_net){.events = events,
                                .now_ns = now_ns,
                                .count = count};
    wdb_random_seed(&net->random, seed);
    for (uint32_t i = 0; i < count; i++) {
        struct cluster_endpoint *end = &net->endpoints[i];
        end->net = net;
        end->number = i;
        end->peers = (struct wdb_peers){&ops, end};
        for (uint32_t j = 0; j < count; j++) {
            for (int channel = 0; channel < WDB_CHANNEL_COUNT; channel++) {
                end->links[j][channel].held_end = &end->links[j][channel].held;
            }
        }
    }
    cluster_net_calm(net);
}

void cluster_net_release(struct cluster_net *net)
{
    for (uint32_t i = 0; i < net->count; i++) {
        for (uint32_t j = 0; j < net->count; j++) {
            for (int channel = 0; channel < WDB_CHANNEL_COUNT; channel++) {
                close_link(net, i, j, (enum wdb_peer_channel)channel);
            }
        }
    }
}

void cluster_net_calm(struct cluster_net *net)
{
    net->faults = (struct cluster_net_faults){
        .delay_min_ns = 100000,
        .delay_max_ns = 1000000,
        .ns_per_kib = 1000,
        .buffer_size = WDB_PEER_BUFFER_SIZE,
    };
}

void cluster_net_up(struct cluster_net *net, uint32_t node, wdb_node_id id,
                    const char *address)
{
    struct cluster_endpoint *end = &net->endpoints[node];
    wdb_assert(!end->is_up && id != 0);
    end->is_up = true;
    end->is_paused = false;
    end->is_dialing = false;
    end->life++;
    end->id = id;
    snprintf(end->address, sizeof(end->address), "%s", address);
    memset(end->wanted, 0, sizeof(end->wanted));
    net->wanted_count[node] = 0;
    look_for(net, id, node);
}

void cluster_net_down(struct cluster_net *net, uint32_t node)
{
    struct cluster_endpoint *end = &net->endpoints[node];
    if (!end->is_up) {
        return;
    }
    end->is_up = false;
    end->life++;
    net->wanted_count[node] = 0;
    for (uint32_t i = 0; i < net->count; i++) {
        cluster_net_break(net, node, i);
        cluster_net_break(net, i, node);
    }
}

void cluster_net_stop(struct cluster_net *net, uint32_t node)
{
    struct cluster_endpoint *end = &net->endpoints[node];
    while (end->probes != NULL) {
        tell_probe(end->probes, "the node stops", NULL, 0);
    }
}

const struct wdb_peers *cluster_net_peers(struct cluster_net *net,
                                          uint32_t node)
{
    return &net->endpoints[node].peers;
}

void cluster_net_pause(struct cluster_net *net, uint32_t node, bool is_paused)
{
    net->endpoints[node].is_paused = is_paused;
    for (uint32_t from = 0; !is_paused && from < net->count; from++) {
        release_held(net, from, node);
    }
}

void cluster_net_block(struct cluster_net *net, uint32_t from, uint32_t to,
                       bool is_blocked)
{
    net->endpoints[from].is_blocked[to] = is_blocked;
    if (!is_blocked) {
        release_held(net, from, to);
    }
}

void cluster_net_heal(struct cluster_net *net)
{
    for (uint32_t from = 0; from < net->count; from++) {
        for (uint32_t to = 0; to < net->count; to++) {
            net->endpoints[from].slow_ns[to] = 0;
            if (net->endpoints[from].is_blocked[to]) {
                cluster_net_block(net, from, to, false);
            }
        }
    }
}
