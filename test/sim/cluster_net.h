/*
 * cluster_net.h - the network between simulated nodes: struct wdb_peers for each
 * of them, over messages that are events.
 *
 * Messages are encoded and decoded as on the wire. What can happen to one: it
 * is delayed, lost, doubled (the second one later, behind others), or arrives
 * with a bit changed, and then must not be accepted. Within one channel of one
 * connection the order is kept. A connection can break: what was on its way is
 * lost, or (an old connection that nobody has closed yet) comes late, among what
 * the next one carries. Between two nodes, each direction for itself, there can
 * be a partition: messages are lost, or wait for its end.
 *
 * Nodes are numbered; a number is a machine with its addresses. Which node id
 * lives there is told by cluster_net_up.
 */
#ifndef WDB_TEST_SIM_CLUSTER_NET_H
#define WDB_TEST_SIM_CLUSTER_NET_H

#include "base/random.h"
#include "raft/message.h"
#include "raft/peer.h"
#include "sim/cluster_events.h"

#define CLUSTER_NODES_MAX 8

/* What the net asks of the nodes. Never called inside of an operation. */
struct cluster_net_callbacks {
    void (*message)(void *context, uint32_t node, wdb_node_id from,
                    const struct wdb_message *message);
    void (*writable)(void *context, uint32_t node, wdb_node_id peer,
                     enum wdb_peer_channel channel);
    void (*connected)(void *context, uint32_t node, wdb_node_id peer,
                      bool is_connected);
    /* Who lives there: as a probe is answered. */
    void (*describe)(void *context, uint32_t node, struct wdb_member *out,
                     uint64_t *cluster_id_out);
    /* Run it later, as the node's own (not if it has died by then). */
    void (*run_off_loop)(void *context, uint32_t node, void (*work)(void *arg),
                         void (*done)(void *arg), void *arg);
    /* A message that was not damaged on its way cannot be decoded. */
    void (*refused)(void *context, uint32_t from);
    /* A message that was damaged on its way was accepted. */
    void (*accepted_damage)(void *context, const struct wdb_message *message);
    void *context;
};

struct cluster_net_faults {
    uint64_t delay_min_ns, delay_max_ns;
    uint64_t ns_per_kib; /* bandwidth */
    /* Of a million messages. */
    uint32_t loss, duplicate, damage, connection_break;
    uint32_t ghost; /* of those on a broken connection, how many still come */
    size_t buffer_size;
};

struct cluster_net_counters {
    uint64_t sent, delivered, lost, duplicated, damaged, breaks, ghosts,
        partition_drops, partition_holds, refused, probes;
    uint64_t kinds[WDB_MESSAGE_KIND_LAST + 1];
};

struct cluster_flight;

/* One direction of one channel. */
struct cluster_link {
    bool is_open;
    bool is_refused;    /* whoever sends waits to be told of room */
    uint64_t epoch;     /* of the connection */
    uint64_t last_ns;   /* when the last message on it arrives */
    size_t size, count; /* on its way */
    struct cluster_flight *held, **held_end; /* by a partition or a pause */
};

struct cluster_endpoint {
    struct cluster_net *net;
    uint32_t number;
    bool is_up, is_paused;
    bool is_dialing; /* an event is on its way */
    uint64_t life;   /* raised by up and down */
    wdb_node_id id;
    char address[WDB_MEMBER_ADDRESS_MAX + 1];
    bool wanted[CLUSTER_NODES_MAX]; /* to be dialed */
    struct wdb_peers peers;
    struct probe *probes; /* that were not told */
    struct cluster_link links[CLUSTER_NODES_MAX][WDB_CHANNEL_COUNT];
    bool is_blocked[CLUSTER_NODES_MAX];  /* towards */
    uint64_t slow_ns[CLUSTER_NODES_MAX]; /* towards: so much later */
};

struct cluster_net {
    struct cluster_events *events;
    const uint64_t *now_ns;
    struct wdb_random random;
    struct cluster_net_callbacks callbacks;
    struct cluster_net_faults faults;
    bool partition_holds;
    uint32_t count;
    struct cluster_endpoint endpoints[CLUSTER_NODES_MAX];
    struct cluster_net_counters counters;
    struct wdb_member wanted_members[CLUSTER_NODES_MAX][WDB_MEMBERS_MAX];
    uint32_t wanted_count[CLUSTER_NODES_MAX];
};

/* now_ns is the clock that the events follow. */
void cluster_net_init(struct cluster_net *net, uint32_t count, uint64_t seed,
                      struct cluster_events *events, const uint64_t *now_ns);
/* Behind cluster_events_release. */
void cluster_net_release(struct cluster_net *net);
/* No faults, moderate delays. */
void cluster_net_calm(struct cluster_net *net);

/* A process is there, as this node, at this address. */
void cluster_net_up(struct cluster_net *net, uint32_t node, wdb_node_id id,
                    const char *address);
/* It is gone: its connections break. */
void cluster_net_down(struct cluster_net *net, uint32_t node);
/* Its loop ends: the probes that are under way are told. */
void cluster_net_stop(struct cluster_net *net, uint32_t node);
const struct wdb_peers *cluster_net_peers(struct cluster_net *net,
                                          uint32_t node);
/* A node that is paused takes nothing; it waits. */
void cluster_net_pause(struct cluster_net *net, uint32_t node, bool is_paused);
/* Messages from one to the other do not arrive, or do again. */
void cluster_net_block(struct cluster_net *net, uint32_t from, uint32_t to,
                       bool is_blocked);
void cluster_net_heal(struct cluster_net *net);
/* All connections from one to the other break. */
void cluster_net_break(struct cluster_net *net, uint32_t from, uint32_t to);

#endif
