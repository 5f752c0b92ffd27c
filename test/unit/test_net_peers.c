/* test_net_peers.c - transports of several nodes on loopback, each with its raft
 * thread and a sink in place of the node. Uses pthread_ mutexes. */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/crc32c.h"
#include "lib/fault_alloc.h"
#include "lib/test.h"
#include "net/peer_handshake.h"
#include "net/peers.h"
#include "raft/message.h"
#include "walkerdb.h"

#define CLUSTER    77u
#define WAIT_MS    15000
#define PIECE_SIZE ((size_t)200 << 10)

/* One node: what its sink saw is under the lock. */
struct node {
    struct wdb_env *env;
    struct wdb_logger logger;
    struct wdb_identity identity;
    struct wdb_raft_loop *loop;
    struct wdb_peer_net *net;
    char address[64];
    wdb_node_id removed; /* its is_removed says so */
    pthread_mutex_t lock;
    uint64_t messages, rounds, pieces, piece_bytes, last_round;
    bool out_of_order, bad_piece;
    wdb_node_id from;
    uint32_t connects, breaks, writables, removals, turns;
    uint32_t other_clusters; /* by node 1 of cluster 77 */
    int forward_fd;
    wdb_node_id forward_peer;
    char log[8192];
    /* A flood of pieces, sent as there is room. */
    wdb_node_id flood_to;
    uint32_t flood_left, flood_sent;
    uint64_t probe_cluster;
    int probe_code, forward_code;
    uint32_t probes, forwards;
    char probe_text[512];
    struct wdb_member probe_member;
    struct wdb_member members[3]; /* for set_members on the thread */
    uint32_t member_count;
};

static void lock(struct node *node)
{
    pthread_mutex_lock(&node->lock);
}

static void unlock(struct node *node)
{
    pthread_mutex_unlock(&node->lock);
}

/* --- the sink ------------------------------------------------------------------ */

static void fill(uint8_t *data, size_t size, uint64_t number)
{
    for (size_t i = 0; i < size; i++) {
        data[i] = (uint8_t)(number * 31 + i * 7);
    }
}

static void flood(struct node *node)
{
    const struct wdb_peers *peers = wdb_peer_net_peers(node->net);
    static const size_t size = PIECE_SIZE + 3; /* odd on purpose */
    uint8_t *data = malloc(size);
    if (data == NULL) {
        return;
    }
    while (node->flood_left > 0) {
        fill(data, size, node->flood_sent);
        struct wdb_message message = {.kind = WDB_MESSAGE_PIECE,
                                      .to = node->flood_to,
                                      .term = 1};
        message.piece.snapshot = 1;
        message.piece.offset = node->flood_sent;
        message.piece.file = 1;
        message.piece.data = data;
        message.piece.size = size;
        message.piece.crc = wdb_crc32c(0, data, size);
        if (!peers->ops->send(peers->context, node->flood_to,
                              WDB_CHANNEL_TRANSFER, &message)) {
            break;
        }
        node->flood_left--;
        node->flood_sent++;
    }
    free(data);
}

static void on_message(void *context, wdb_node_id from,
                       const struct wdb_message *message)
{
    struct node *node = context;
    if (message->kind == WDB_MESSAGE_PIECE && message->piece.offset == 0) {
        usleep(300000); /* so that the sender has to wait */
    }
    lock(node);
    node->messages++;
    node->from = from;
    if (message->kind == WDB_MESSAGE_ROUND) {
        node->rounds++;
        node->out_of_order |= message->round.round <= node->last_round;
        node->last_round = message->round.round;
    } else if (message->kind == WDB_MESSAGE_PIECE) {
        uint8_t first[64];
        fill(first, sizeof(first), message->piece.offset);
        node->bad_piece |= message->piece.offset != node->pieces ||
                           ((uintptr_t)message->piece.data & 7) != 0 ||
                           memcmp(first, message->piece.data, 64) != 0;
        node->pieces++;
        node->piece_bytes += message->piece.size;
    }
    unlock(node);
}

static void on_writable(void *context, wdb_node_id peer,
                        enum wdb_peer_channel channel)
{
    struct node *node = context;
    (void)peer;
    lock(node);
    node->writables++;
    unlock(node);
    if (channel == WDB_CHANNEL_TRANSFER) {
        flood(node);
    }
}

static void on_connected(void *context, wdb_node_id peer, bool is_connected)
{
    struct node *node = context;
    (void)peer;
    lock(node);
    node->connects += is_connected;
    node->breaks += !is_connected;
    unlock(node);
}

static bool is_removed(void *context, wdb_node_id id)
{
    const struct node *node = context;
    return node->removed == id;
}

static void on_removed(void *context, wdb_node_id by)
{
    struct node *node = context;
    (void)by;
    lock(node);
    node->removals++;
    unlock(node);
}

static void on_other_cluster(void *context, wdb_node_id by, uint64_t cluster_id)
{
    struct node *node = context;
    lock(node);
    node->other_clusters += by == 1 && cluster_id == CLUSTER;
    unlock(node);
}

static void on_forward(void *context, int fd, wdb_node_id peer)
{
    struct node *node = context;
    lock(node);
    node->forward_fd = fd;
    node->forward_peer = peer;
    unlock(node);
}

static uint64_t on_run(void *context)
{
    struct node *node = context;
    lock(node);
    node->turns++;
    unlock(node);
    return UINT64_MAX;
}

static void on_log(void *context, enum wdb_log_level level, const char *line)
{
    struct node *node = context;
    (void)level;
    lock(node);
    size_t used = strlen(node->log);
    snprintf(node->log + used, sizeof(node->log) - used, "%s\n", line);
    unlock(node);
}

/* --- nodes ------------------------------------------------------------------------- */

static void open_node(struct node *node, wdb_node_id id, const char *address,
                      const struct wdb_peer_secret *secret)
{
    struct wdb_raft_loop_options loop_options = {.run = on_run,
                                                 .context = node};
    char *message = NULL;
    memset(node, 0, sizeof(*node));
    pthread_mutex_init(&node->lock, NULL);
    node->forward_fd = -1;
    node->logger.sink = on_log;
    node->logger.context = node;
    CHECK_EQ(wdb_env_posix_new(&node->env), 0);
    node->identity.id = id;
    node->identity.cluster_id = CLUSTER;
    snprintf(node->identity.name, sizeof(node->identity.name), "n%d", (int)id);
    loop_options.env = node->env;
    CHECK_EQ(wdb_raft_loop_new(&loop_options, &node->loop), 0);
    struct wdb_peer_net_options options = {
        .loop = node->loop,
        .logger = &node->logger,
        .identity = &node->identity,
        .secret = *secret,
        .secret_dir = "/path",
        .raft_address = address,
        .tcp_address = "127.0.0.1:6379",
        .callbacks = {.on_message = on_message,
                      .on_writable = on_writable,
                      .on_connected = on_connected,
                      .is_removed = is_removed,
                      .on_removed = on_removed,
                      .on_other_cluster = on_other_cluster,
                      .on_forward = on_forward,
                      .context = node},
    };
    CHECK_EQ(wdb_peer_net_new(&options, &node->net), 0);
    CHECK_EQ(wdb_peer_net_listen(node->net, &message), 0);
    free(message);
    snprintf(node->address, sizeof(node->address), "127.0.0.1:%u",
             (unsigned)wdb_peer_net_port(node->net));
}

static void start_node(struct node *node)
{
    CHECK_EQ(wdb_raft_loop_start(node->loop), 0);
}

static void close_node(struct node *node)
{
    wdb_raft_loop_stop(node->loop);
    struct wdb_peer_net_stats stats;
    wdb_peer_net_stats(node->net, &stats);
    CHECK_EQ(stats.inbound, 0);
    CHECK_EQ(stats.outbound, 0);
    CHECK_EQ(stats.pending, 0);
    wdb_peer_net_free(node->net);
    wdb_raft_loop_free(node->loop);
    wdb_env_posix_free(node->env);
    if (node->forward_fd >= 0) {
        close(node->forward_fd);
    }
    pthread_mutex_destroy(&node->lock);
}

static const struct wdb_peer_secret *secret_of(uint8_t byte)
{
    static struct wdb_peer_secret secrets[256];
    secrets[byte].is_set = byte != 0;
    memset(secrets[byte].key, byte, sizeof(secrets[byte].key));
    return &secrets[byte];
}

static void do_set_members(void *context)
{
    struct node *node = context;
    const struct wdb_peers *peers = wdb_peer_net_peers(node->net);
    peers->ops->set_members(peers->context, node->members, node->member_count);
}

static void set_members(struct node *node, const struct node *a,
                        const struct node *b)
{
    node->member_count = 0;
    for (int i = 0; i < 2; i++) {
        const struct node *other = i == 0 ? a : b;
        if (other != NULL) {
            struct wdb_member *m = &node->members[node->member_count++];
            memset(m, 0, sizeof(*m));
            m->id = other->identity.id;
            memcpy(m->name, other->identity.name, sizeof(m->name));
            snprintf(m->raft_address, sizeof(m->raft_address), "%s",
                     other->address);
        }
    }
    wdb_raft_loop_call(node->loop, do_set_members, node);
}

struct sending {
    struct node *node;
    wdb_node_id to;
    uint64_t first;
    uint32_t count, sent;
};

static void do_send(void *context)
{
    struct sending *sending = context;
    const struct wdb_peers *peers = wdb_peer_net_peers(sending->node->net);
    for (uint32_t i = 0; i < sending->count; i++) {
        struct wdb_message message = {.kind = WDB_MESSAGE_ROUND,
                                      .to = sending->to,
                                      .term = 1};
        message.round.round = sending->first + i;
        sending->sent += peers->ops->send(peers->context, sending->to,
                                          WDB_CHANNEL_CONTROL, &message);
    }
}

static uint32_t send_rounds(struct node *node, const struct node *to,
                            uint64_t first, uint32_t count)
{
    struct sending sending = {node, to->identity.id, first, count, 0};
    wdb_raft_loop_call(node->loop, do_send, &sending);
    return sending.sent;
}

/* Wait until a condition holds that is looked at under the node's lock. */
#define WAIT(node, condition)                                                  \
    do {                                                                       \
        bool holds = false;                                                    \
        for (int waited = 0; waited < WAIT_MS && !holds; waited++) {           \
            lock(node);                                                        \
            holds = (condition);                                               \
            unlock(node);                                                      \
            if (!holds) {                                                      \
                usleep(1000);                                                  \
            }                                                                  \
        }                                                                      \
        CHECK(holds &&#condition);                                             \
    } while (0)

static bool log_has(struct node *node, const char *text)
{
    return strstr(node->log, text) != NULL;
}

/* --- tests ----------------------------------------------------------------------------- */

/* Three members find each other, and each message comes once and in order. */
TEST(three_nodes)
{
    struct node nodes[3];
    for (int i = 0; i < 3; i++) {
        open_node(&nodes[i], (wdb_node_id)i + 1, "127.0.0.1:0", secret_of(1));
    }
    for (int i = 0; i < 3; i++) {
        start_node(&nodes[i]);
        set_members(&nodes[i], &nodes[(i + 1) % 3], &nodes[(i + 2) % 3]);
    }
    for (int i = 0; i < 3; i++) {
        WAIT(&nodes[i], nodes[i].connects == 2);
    }
    for (uint64_t round = 1; round < 1000; round += 100) {
        for (int i = 0; i < 3; i++) {
            CHECK_EQ(send_rounds(&nodes[i], &nodes[(i + 1) % 3], round, 100),
                     100);
            WAIT(&nodes[(i + 1) % 3], nodes[(i + 1) % 3].rounds == round + 99);
        }
    }
    for (int i = 0; i < 3; i++) {
        CHECK(!nodes[i].out_of_order);
        CHECK_EQ(nodes[i].from, (i + 2) % 3 + 1);
        close_node(&nodes[i]);
    }
}

static void do_flood(void *context)
{
    flood(context);
}

/* Much more than the buffers hold goes through, at the receiver's pace, and the
 * control channel is not behind it. */
TEST(bulk_and_backpressure)
{
    struct node a, b;
    open_node(&a, 1, "127.0.0.1:0", secret_of(1));
    open_node(&b, 2, "127.0.0.1:0", secret_of(1));
    start_node(&a);
    start_node(&b);
    set_members(&a, &b, NULL);
    set_members(&b, &a, NULL);
    WAIT(&a, a.connects == 1);
    const uint32_t count = 400; /* 80 MB */
    a.flood_to = 2;
    a.flood_left = count;
    wdb_raft_loop_call(a.loop, do_flood, &a);
    for (uint64_t round = 1; round <= 20; round++) {
        send_rounds(&a, &b, round, 1);
        WAIT(&b, b.rounds == round);
    }
    WAIT(&b, b.pieces == count);
    CHECK(!b.bad_piece && !b.out_of_order);
    CHECK_EQ(b.piece_bytes, count * (PIECE_SIZE + 3));
    CHECK(a.writables > 1);
    struct wdb_peer_net_stats stats;
    wdb_peer_net_stats(a.net, &stats);
    CHECK(stats.dropped > 1);
    CHECK_EQ(stats.messages_out, count + 20);
    CHECK(stats.bytes_out > b.piece_bytes);
    close_node(&a);
    close_node(&b);
}

/* A node that dies and comes back is found again soon, and both are told. */
TEST(reconnects)
{
    struct node a, b;
    char address[64];
    open_node(&a, 1, "127.0.0.1:0", secret_of(1));
    open_node(&b, 2, "127.0.0.1:0", secret_of(1));
    start_node(&a);
    start_node(&b);
    set_members(&a, &b, NULL);
    for (int i = 0; i < 3; i++) {
        WAIT(&a, a.connects == (uint32_t)i + 1);
        memcpy(address, b.address, sizeof(address));
        CHECK_EQ(send_rounds(&a, &b, 1, 1), 1);
        close_node(&b);
        WAIT(&a, a.breaks == (uint32_t)i + 1);
        CHECK_EQ(send_rounds(&a, &b, 1, 1), 0);
        open_node(&b, 2, address, secret_of(1));
        start_node(&b);
        if (i == 1) {
            /* It dials first: then it is dialed at once. */
            set_members(&b, &a, NULL);
        }
    }
    WAIT(&a, a.connects == 4);
    WAIT(&a, log_has(&a, "broke"));
    close_node(&a);
    close_node(&b);
}

/* A node that nobody was told of (a leader that our configuration does not know
 * yet) is heard, and can be answered at the address that it said. */
TEST(stranger_is_answered)
{
    struct node a, b;
    open_node(&a, 1, "127.0.0.1:0", secret_of(1));
    open_node(&b, 2, "127.0.0.1:0", secret_of(1));
    b.identity.cluster_id = 0; /* waits to be taken in */
    start_node(&a);
    start_node(&b);
    set_members(&a, &b, NULL);
    WAIT(&a, a.connects == 1);
    CHECK_EQ(send_rounds(&a, &b, 1, 1), 1);
    WAIT(&b, b.rounds == 1);
    WAIT(&b, b.connects == 1);
    CHECK_EQ(send_rounds(&b, &a, 1, 1), 1);
    WAIT(&a, a.rounds == 1);
    set_members(&a, NULL, NULL); /* hangs up */
    WAIT(&b, b.breaks >= 1);     /* on a slow machine maybe again */
    close_node(&a);
    close_node(&b);
}

/* Members of different clusters do not talk; the log names both. */
TEST(other_cluster)
{
    struct node a, b;
    open_node(&a, 1, "127.0.0.1:0", secret_of(1));
    open_node(&b, 2, "127.0.0.1:0", secret_of(1));
    b.identity.cluster_id = 78;
    start_node(&a);
    start_node(&b);
    set_members(&a, &b, NULL);
    WAIT(&a, log_has(&a, "cluster 000000000000004e"));
    WAIT(&b, log_has(&b, "cluster 000000000000004d"));
    CHECK_EQ(a.connects, 0);
    CHECK_EQ(b.other_clusters, 0); /* it is whom they want */
    close_node(&a);
    close_node(&b);
}

/* What was made anew at the address of a member is told so, if both have the
 * secret. */
TEST(other_cluster_at_address)
{
    struct node a, b, c;
    struct node old_b = {.identity = {.id = 20, .name = "b"}};
    struct node old_c = {.identity = {.id = 30, .name = "c"}};
    open_node(&a, 1, "127.0.0.1:0", secret_of(1));
    open_node(&b, 2, "127.0.0.1:0", secret_of(1));
    open_node(&c, 3, "127.0.0.1:0", secret_of(2));
    b.identity.cluster_id = c.identity.cluster_id = 78;
    memcpy(old_b.address, b.address, sizeof(b.address));
    memcpy(old_c.address, c.address, sizeof(c.address));
    start_node(&a);
    start_node(&b);
    start_node(&c);
    set_members(&a, &old_b, &old_c);
    WAIT(&b, b.other_clusters > 0);
    WAIT(&a, log_has(&a, "another secret"));
    CHECK_EQ(c.other_clusters, 0);
    CHECK_EQ(a.connects, 0);
    close_node(&a);
    close_node(&b);
    close_node(&c);
}

/* The same node anew, with this secret. */
static void reopen_node(struct node *node, const struct wdb_peer_secret *secret)
{
    char address[64];
    const wdb_node_id id = node->identity.id;
    const uint64_t cluster_id = node->identity.cluster_id;
    memcpy(address, node->address, sizeof(address));
    close_node(node);
    open_node(node, id, address, secret);
    node->identity.cluster_id = cluster_id;
    start_node(node);
}

/* Another secret: nobody gets in, and the file is named; with the right one they
 * find each other. */
TEST(other_secret)
{
    struct node a, b;
    open_node(&a, 1, "127.0.0.1:0", secret_of(1));
    open_node(&b, 2, "127.0.0.1:0", secret_of(2));
    start_node(&a);
    start_node(&b);
    set_members(&a, &b, NULL);
    WAIT(&a, log_has(&a, "/path/cluster-secret"));
    CHECK_EQ(a.connects, 0);
    reopen_node(&b, secret_of(1));
    WAIT(&a, a.connects == 1);
    close_node(&a);
    close_node(&b);
}

/* Without any secret nodes of one machine talk. */
TEST(loopback_without_secret)
{
    struct node a, b;
    open_node(&a, 1, "127.0.0.1:0", secret_of(0));
    open_node(&b, 2, "127.0.0.1:0", secret_of(0));
    start_node(&a);
    start_node(&b);
    set_members(&a, &b, NULL);
    WAIT(&a, a.connects == 1);
    close_node(&a);
    close_node(&b);
}

/* A removed node is told so by whom it dials, and not let in. */
TEST(removed)
{
    struct node a, b;
    open_node(&a, 1, "127.0.0.1:0", secret_of(1));
    open_node(&b, 2, "127.0.0.1:0", secret_of(1));
    b.removed = 1;
    start_node(&a);
    start_node(&b);
    set_members(&a, &b, NULL);
    WAIT(&a, a.removals > 0);
    WAIT(&b, log_has(&b, "was removed"));
    CHECK_EQ(a.connects, 0);
    close_node(&a);
    close_node(&b);
}

/* Another node at the address of a member is not taken for it. */
TEST(other_node_at_address)
{
    struct node a, b, c;
    open_node(&a, 1, "127.0.0.1:0", secret_of(1));
    open_node(&b, 2, "127.0.0.1:0", secret_of(1));
    open_node(&c, 3, "127.0.0.1:0", secret_of(1));
    start_node(&a);
    start_node(&b);
    start_node(&c);
    memcpy(b.address, c.address, sizeof(b.address));
    set_members(&a, &b, NULL);
    WAIT(&a, log_has(&a, "was expected at this address"));
    CHECK_EQ(a.connects, 0);
    /* The member itself says where it is. */
    set_members(&b, &a, NULL);
    WAIT(&a, a.connects == 1);
    CHECK_EQ(send_rounds(&a, &b, 1, 1), 1);
    WAIT(&b, b.rounds == 1);
    close_node(&a);
    close_node(&b);
    close_node(&c);
}

/* --- once ------------------------------------------------------------------------------ */

static void on_probed(void *arg, int code, const char *message,
                      const struct wdb_member *member, uint64_t cluster_id)
{
    struct node *node = arg;
    lock(node);
    node->probes++;
    node->probe_code = code;
    node->probe_cluster = cluster_id;
    snprintf(node->probe_text, sizeof(node->probe_text), "%s", message);
    if (member != NULL) {
        node->probe_member = *member;
    }
    unlock(node);
}

static void do_probe(void *context)
{
    struct node *node = context;
    const struct wdb_peers *peers = wdb_peer_net_peers(node->net);
    uint32_t before = node->probes;
    peers->ops->probe(peers->context, node->members[0].raft_address, on_probed,
                      node);
    CHECK_EQ(node->probes, before); /* not inside of the call */
}

static void probe(struct node *node, const char *address)
{
    uint32_t before = node->probes;
    snprintf(node->members[0].raft_address,
             sizeof(node->members[0].raft_address), "%s", address);
    wdb_raft_loop_call(node->loop, do_probe, node);
    WAIT(node, node->probes == before + 1);
}

/* Who answers at an address; nobody; something else; no address. */
TEST(probes)
{
    struct node a, b;
    char closed[64];
    open_node(&a, 1, "127.0.0.1:0", secret_of(1));
    open_node(&b, 2, "127.0.0.1:0", secret_of(1));
    b.identity.cluster_id = 99;
    b.removed = 1; /* it may ask all the same */
    start_node(&a);
    start_node(&b);
    probe(&a, b.address);
    CHECK_EQ(a.probe_code, 0);
    CHECK_EQ(a.probe_cluster, 99);
    CHECK_EQ(a.probe_member.id, 2);
    CHECK_STR(a.probe_member.name, "n2");
    CHECK_STR(a.probe_member.raft_address, b.address);
    CHECK_STR(a.probe_member.tcp_address, "127.0.0.1:6379");
    snprintf(closed, sizeof(closed), "localhost:%u",
             (unsigned)wdb_peer_net_port(b.net));
    probe(&a, closed); /* by name, where IPv6 may be refused */
    CHECK_EQ(a.probe_code, 0);
    probe(&a, "no address");
    CHECK_EQ(a.probe_code, WALKERDB_EINVALID);
    CHECK(strstr(a.probe_text, "HOST:PORT") != NULL);
    reopen_node(&b, secret_of(2));
    probe(&a, b.address);
    CHECK_EQ(a.probe_code, WALKERDB_EIO);
    CHECK(strstr(a.probe_text, "secret") != NULL);
    close_node(&b);
    probe(&a, closed);
    CHECK_EQ(a.probe_code, WALKERDB_EIO);
    CHECK(a.probe_text[0] != '\0');
    close_node(&a);
}

static void on_forwarded(void *arg, int code, int fd, const char *message)
{
    struct node *node = arg;
    lock(node);
    node->forwards++;
    node->forward_code = code;
    node->forward_fd = fd;
    snprintf(node->probe_text, sizeof(node->probe_text), "%s", message);
    unlock(node);
}

static bool read_text(int fd, char *out, size_t size)
{
    size_t at = 0;
    struct pollfd waiting = {.fd = fd, .events = POLLIN};
    while (at < size && poll(&waiting, 1, WAIT_MS) > 0) {
        ssize_t count = read(fd, out + at, size - at);
        if (count <= 0) {
            return false;
        }
        at += (size_t)count;
    }
    return at == size;
}

/* Both ends of a connection for clients' requests get a socket that works. */
TEST(forward)
{
    struct node a, b;
    char text[6] = "";
    open_node(&a, 1, "127.0.0.1:0", secret_of(1));
    open_node(&b, 2, "127.0.0.1:0", secret_of(1));
    start_node(&a);
    start_node(&b);
    CHECK_EQ(wdb_peer_net_forward(a.net, 2, b.address, on_forwarded, &a), 0);
    WAIT(&a, a.forwards == 1);
    WAIT(&b, b.forward_fd >= 0);
    CHECK_EQ(a.forward_code, 0);
    CHECK_EQ(b.forward_peer, 1);
    REQUIRE(a.forward_fd >= 0);
    CHECK_EQ(write(a.forward_fd, "hello", 5), 5);
    CHECK(read_text(b.forward_fd, text, 5));
    CHECK_STR(text, "hello");
    CHECK_EQ(write(b.forward_fd, "howdy", 5), 5);
    CHECK(read_text(a.forward_fd, text, 5));
    CHECK_STR(text, "howdy");
    struct wdb_peer_net_stats stats;
    wdb_peer_net_stats(b.net, &stats);
    CHECK_EQ(stats.inbound, 0);
    close(a.forward_fd);
    a.forward_fd = -1;
    /* Not the one who is wanted. */
    CHECK_EQ(wdb_peer_net_forward(a.net, 3, b.address, on_forwarded, &a), 0);
    WAIT(&a, a.forwards == 2);
    CHECK(a.forward_code != 0 && a.forward_fd == -1);
    CHECK(strstr(a.probe_text, "expected") != NULL);
    /* One that is under way when all ends. */
    close_node(&b);
    CHECK_EQ(wdb_peer_net_forward(a.net, 2, b.address, on_forwarded, &a), 0);
    close_node(&a);
    CHECK_EQ(a.forwards, 3);
    CHECK_EQ(a.forward_code, WALKERDB_ECLOSED);
}

/* --- strangers ------------------------------------------------------------------------- */

static int dial_raw(const struct node *node)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    address.sin_port = htons(wdb_peer_net_port(node->net));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK_EQ(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    return fd;
}

/* True if the other end hangs up. */
static bool is_hung_up(int fd)
{
    char bytes[2048];
    struct pollfd waiting = {.fd = fd, .events = POLLIN};
    while (poll(&waiting, 1, WAIT_MS) > 0) {
        ssize_t size = read(fd, bytes, sizeof(bytes));
        if (size <= 0) {
            return size == 0 || errno == ECONNRESET;
        }
    }
    return false;
}

/* Connections that say nothing, or rubbish, are hung up; many of them do not
 * keep a peer out; the log stays short. */
TEST(strangers)
{
    struct node a, b;
    int fds[200];
    open_node(&a, 1, "127.0.0.1:0", secret_of(1));
    open_node(&b, 2, "127.0.0.1:0", secret_of(1));
    start_node(&a);
    start_node(&b);
    for (int i = 0; i < 200; i++) {
        fds[i] = dial_raw(&b);
        if (i % 4 == 0) {
            CHECK(write(fds[i], "GET / HTTP/1.0\r\n\r\n", 18) > 0);
        }
    }
    set_members(&a, &b, NULL);
    WAIT(&a, a.connects == 1);
    for (int i = 0; i < 200; i++) {
        CHECK(is_hung_up(fds[i]));
        close(fds[i]);
    }
    lock(&b);
    uint32_t lines = 0;
    for (const char *c = b.log; *c != '\0'; c++) {
        lines += *c == '\n';
    }
    unlock(&b);
    CHECK(lines > 0 && lines < 16);
    close_node(&a);
    close_node(&b);
}

/* A node that knows the secret, by hand. Returns the socket. */
static int dial_as(const struct node *node, wdb_node_id id,
                   enum wdb_handshake_purpose purpose)
{
    struct wdb_handshake handshake;
    struct wdb_handshake_options options = {.secret = *secret_of(1),
                                            .purpose = purpose,
                                            .is_loopback = true};
    size_t used;
    uint8_t byte;
    options.self.id = id;
    options.self.cluster_id = CLUSTER;
    memcpy(options.self.name, "raw", 4);
    int fd = dial_raw(node);
    wdb_handshake_init_initiator(&handshake, &options);
    do {
        if (handshake.output_size > 0) {
            CHECK_EQ(write(fd, handshake.output, handshake.output_size),
                     handshake.output_size);
            handshake.output_size = 0;
        }
        if (!read_text(fd, (char *)&byte, 1)) {
            break;
        }
        wdb_handshake_feed(&handshake, &byte, 1, &used);
    } while (handshake.state != WDB_HANDSHAKE_DONE &&
             handshake.state != WDB_HANDSHAKE_FAILED);
    CHECK_EQ(handshake.state, WDB_HANDSHAKE_DONE);
    return fd;
}

/* A peer that sends rubbish, or announces an absurd size, is hung up; messages
 * in pieces are put together; the newest connection counts. */
TEST(bad_peers)
{
    struct node b;
    uint8_t bytes[WDB_MESSAGE_HEAD_SIZE + WDB_MESSAGE_FIXED_MAX];
    struct wdb_message message = {
        .kind = WDB_MESSAGE_ROUND, .to = 2, .term = 1, .round = {.round = 1}};
    size_t size = wdb_message_encode(&message, bytes);
    open_node(&b, 2, "127.0.0.1:0", secret_of(1));
    start_node(&b);
    int fd = dial_as(&b, 9, WDB_PURPOSE_CONTROL);
    for (size_t i = 0; i < size; i++) {
        CHECK_EQ(write(fd, bytes + i, 1), 1);
        usleep(200);
    }
    WAIT(&b, b.rounds == 1);
    int newer = dial_as(&b, 9, WDB_PURPOSE_CONTROL);
    CHECK(is_hung_up(fd));
    close(fd);
    bytes[20] ^= 1; /* the checksum does not fit */
    CHECK_EQ(write(newer, bytes, size), size);
    CHECK(is_hung_up(newer));
    close(newer);
    fd = dial_as(&b, 9, WDB_PURPOSE_CONTROL);
    uint8_t head[WDB_MESSAGE_HEAD_SIZE];
    memcpy(head, bytes, sizeof(head));
    wdb_store32(head, 1 << 20); /* too large for control */
    CHECK_EQ(write(fd, head, sizeof(head)), sizeof(head));
    CHECK(is_hung_up(fd));
    close(fd);
    fd = dial_as(&b, 9, WDB_PURPOSE_ENTRIES);
    memset(head, 0xff, sizeof(head));
    CHECK_EQ(write(fd, head, sizeof(head)), sizeof(head));
    CHECK(is_hung_up(fd));
    close(fd);
    CHECK_EQ(b.messages, 1);
    close_node(&b);
}

/* More nodes than can be members are not taken. */
TEST(too_many_strangers)
{
    struct node b;
    int fds[40];
    uint32_t hung_up = 0;
    open_node(&b, 2, "127.0.0.1:0", secret_of(1));
    start_node(&b);
    for (int i = 0; i < 40; i++) {
        fds[i] = dial_as(&b, 100 + (wdb_node_id)i, WDB_PURPOSE_ENTRIES);
    }
    for (int i = 0; i < 40; i++) {
        struct pollfd waiting = {.fd = fds[i], .events = POLLIN};
        hung_up += poll(&waiting, 1, i < 32 ? 0 : WAIT_MS) == 1;
        close(fds[i]);
    }
    CHECK_EQ(hung_up, 8);
    close_node(&b);
}

/* Whatever allocation fails while two nodes find each other, they do in the end,
 * and what was sent arrives or was refused. */
TEST(without_memory)
{
    for (uint64_t n = 1; n <= 40; n++) {
        struct node a, b;
        uint64_t round = 0;
        open_node(&a, 1, "127.0.0.1:0", secret_of(1));
        open_node(&b, 2, "127.0.0.1:0", secret_of(1));
        start_node(&a);
        start_node(&b);
        fault_alloc_arm(n);
        set_members(&a, &b, NULL);
        for (int i = 0; i < 20; i++) {
            usleep(500);
            send_rounds(&a, &b, ++round, 1);
        }
        bool was_hit = fault_alloc_disarm();
        WAIT(&a, a.connects > a.breaks);
        for (int i = 0; i < WAIT_MS && send_rounds(&a, &b, ++round, 1) == 0;
             i++) {
            usleep(1000);
        }
        WAIT(&b, b.last_round == round);
        CHECK(!b.out_of_order);
        close_node(&a);
        close_node(&b);
        if (!was_hit) {
            break;
        }
    }
}

/* --- listening --------------------------------------------------------------------------- */

/* Addresses at which one can't listen, or that others can't dial. */
TEST(bad_addresses)
{
    static const struct {
        const char *address, *says;
    } cases[] = {
        {"0.0.0.0:0", "every address"},
        {"[::]:8001", "every address"},
        {"nowhere", "HOST:PORT"},
        {"192.0.2.1:8001", "not an address of this machine"},
        {"no-such-host.invalid:8001", "can't resolve"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct node node;
        char *message = NULL;
        open_node(&node, 1, "127.0.0.1:0", secret_of(1));
        struct wdb_peer_net_options options = {
            .loop = node.loop,
            .identity = &node.identity,
            .secret_dir = "",
            .raft_address = cases[i].address,
            .tcp_address = "",
        };
        struct wdb_peer_net *net;
        REQUIRE_EQ(wdb_peer_net_new(&options, &net), 0);
        CHECK(wdb_peer_net_listen(net, &message) != 0);
        CHECK(message != NULL && strstr(message, cases[i].says) != NULL);
        free(message);
        close_node(&node);
        wdb_peer_net_free(net);
    }
    /* Taken by somebody. */
    struct node node, other;
    char *message = NULL;
    open_node(&node, 1, "127.0.0.1:0", secret_of(1));
    open_node(&other, 2, "127.0.0.1:0", secret_of(1));
    struct wdb_peer_net_options options = {
        .loop = other.loop,
        .identity = &other.identity,
        .secret_dir = "",
        .raft_address = node.address,
        .tcp_address = "",
    };
    struct wdb_peer_net *net;
    REQUIRE_EQ(wdb_peer_net_new(&options, &net), 0);
    CHECK_EQ(wdb_peer_net_listen(net, &message), WALKERDB_EIO);
    CHECK(message != NULL && strstr(message, "in use") != NULL);
    free(message);
    close_node(&other);
    wdb_peer_net_free(net);
    close_node(&node);
}
