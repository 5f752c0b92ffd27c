/* check_peers_ask.c - asking one node at both of its ports. */
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/time.h"
#include "server/check_peers_internal.h"

#define CONNECT_MS 2000
#define ANSWER_MS  2000

static uint64_t now_ms(const struct wdb_check_node *node)
{
    return node->env->ops->monotonic_ns(node->env) / WDB_NS_PER_MS;
}

/* Wait until the socket is ready, or the time is over. */
static bool wait_for(const struct wdb_check_node *node, int fd, short events,
                     uint64_t until_ms)
{
    struct pollfd waiting = {.fd = fd, .events = events};
    for (;;) {
        uint64_t now = now_ms(node);
        int rc = poll(&waiting, 1, now >= until_ms ? 0 : (int)(until_ms - now));
        if (rc >= 0 || errno != EINTR) {
            return rc > 0;
        }
    }
}

/* 0, or an errno. */
static int connect_to(const struct wdb_check_node *node,
                      const struct addrinfo *address, int *fd_out)
{
    int error = 0;
    socklen_t size = sizeof(error);
    int fd = socket(address->ai_family,
                    SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return errno;
    }
    if (connect(fd, address->ai_addr, address->ai_addrlen) != 0) {
        error = errno;
        if (error == EINPROGRESS) {
            error = 0;
            if (!wait_for(node, fd, POLLOUT, now_ms(node) + CONNECT_MS)) {
                error = ETIMEDOUT;
            } else if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) !=
                       0) {
                error = errno;
            }
        }
    }
    if (error != 0) {
        close(fd);
        return error;
    }
    *fd_out = fd;
    return 0;
}

/* Resolve and connect, to the first address that takes it; -1, error says why. */
static int open_port(const struct wdb_check_node *node,
                     struct wdb_check_port *port, bool *is_local_out)
{
    struct wdb_peer_address address;
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    int fd = -1;
    if (wdb_peer_address_parse(port->address, false, &address) != 0) {
        snprintf(port->error, sizeof(port->error),
                 "'%s' is not HOST:PORT (IPv6 in brackets)", port->address);
        return -1;
    }
    int rc = getaddrinfo(address.host, address.port, &hints, &found);
    if (rc != 0) {
        snprintf(port->error, sizeof(port->error), "can't resolve %s: %s",
                 address.host, gai_strerror(rc));
        return -1;
    }
    port->is_resolved = true;
    for (const struct addrinfo *a = found; a != NULL; a = a->ai_next) {
        if (port->resolved_count == WDB_CHECK_ADDRESSES_MAX) {
            break;
        }
        char *text = port->resolved[port->resolved_count++];
        wdb_peer_address_format(a->ai_addr, text, sizeof(port->resolved[0]));
        if (fd < 0) {
            rc = connect_to(node, a, &fd);
            *is_local_out = wdb_peer_address_is_loopback(a->ai_addr);
            if (rc != 0) {
                snprintf(port->error, sizeof(port->error),
                         "can't connect to %s: %s%s", text, strerror(rc),
                         rc == ECONNREFUSED ? " (is it started?)" : "");
            }
        }
    }
    freeaddrinfo(found);
    if (fd >= 0) {
        port->is_reached = true;
        port->error[0] = '\0';
    }
    return fd;
}

/* --- the raft port ------------------------------------------------------------- */

static void fail(struct wdb_check_port *port, const char *why)
{
    snprintf(port->error, sizeof(port->error), "%s: %s", port->address, why);
}

static bool send_output(struct wdb_handshake *handshake, int fd)
{
    size_t size = handshake->output_size;
    handshake->output_size = 0;
    return size == 0 ||
           send(fd, handshake->output, size, MSG_NOSIGNAL) == (ssize_t)size;
}

/* The challenge came: what time is it there, in the middle of the way. */
static void note_clock(struct wdb_check_node *node,
                       const struct wdb_handshake *handshake, uint64_t began_ms)
{
    node->round_trip_ms = (int64_t)(now_ms(node) - began_ms);
    node->clock_difference_ms = (int64_t)(handshake->peer_clock_ms -
                                          node->env->ops->time_ms(node->env)) +
                                node->round_trip_ms / 2;
    node->is_known = true;
}

static void shake_hands(struct wdb_check_node *node, int fd, bool is_local)
{
    struct wdb_handshake handshake;
    struct wdb_handshake_options options = *node->handshake;
    uint64_t began = now_ms(node), until = began + ANSWER_MS;
    uint8_t bytes[WDB_HANDSHAKE_SIZE_MAX];
    node->env->ops->random(node->env, options.nonce, sizeof(options.nonce));
    options.is_loopback = is_local;
    wdb_handshake_init_initiator(&handshake, &options);
    while (handshake.state != WDB_HANDSHAKE_DONE &&
           handshake.state != WDB_HANDSHAKE_FAILED) {
        size_t used;
        if (!send_output(&handshake, fd) ||
            !wait_for(node, fd, POLLIN, until)) {
            fail(&node->raft, "no answer to the handshake of nodes");
            return;
        }
        ssize_t size = recv(fd, bytes, sizeof(bytes), 0);
        if (size <= 0) {
            fail(&node->raft, "closed the connection (is this the raft port "
                              "of a node, or has it another secret?)");
            return;
        }
        wdb_handshake_feed(&handshake, bytes, (size_t)size, &used);
        if (handshake.has_peer && !node->is_known) {
            note_clock(node, &handshake, began);
        }
    }
    node->party = handshake.peer;
    if (handshake.state == WDB_HANDSHAKE_DONE) {
        node->raft.is_good = true;
    } else {
        fail(&node->raft, handshake.message);
    }
}

/* --- the port of clients ---------------------------------------------------------- */

static void say_ping(struct wdb_check_node *node, int fd)
{
    static const char ping[] = "*1\r\n$4\r\nPING\r\n";
    struct wdb_check_port *port = &node->tcp;
    char answer[128] = "";
    size_t size = 0;
    uint64_t until = now_ms(node) + ANSWER_MS;
    if (send(fd, ping, sizeof(ping) - 1, MSG_NOSIGNAL) < 0) {
        fail(port, strerror(errno));
        return;
    }
    while (strchr(answer, '\n') == NULL && size < sizeof(answer) - 1 &&
           wait_for(node, fd, POLLIN, until)) {
        ssize_t count = recv(fd, answer + size, sizeof(answer) - 1 - size, 0);
        if (count <= 0) {
            break;
        }
        size += (size_t)count;
        answer[size] = '\0';
    }
    answer[strcspn(answer, "\r\n")] = '\0';
    /* A password, or a state in which it serves nobody yet, is no trouble. */
    port->is_good = strncmp(answer, "+PONG", 5) == 0 ||
                    strncmp(answer, "-NOAUTH", 7) == 0 ||
                    strncmp(answer, "-LOADING", 8) == 0 ||
                    strncmp(answer, "-CLUSTERDOWN", 12) == 0;
    if (!port->is_good) {
        snprintf(port->error, sizeof(port->error), "%s answers PING with '%s'",
                 port->address, answer);
    }
}

void wdb_check_peers_ask(struct wdb_check_node *node)
{
    bool is_local = false;
    int fd = open_port(node, &node->raft, &is_local);
    if (fd >= 0) {
        shake_hands(node, fd, is_local);
        close(fd);
    }
    if (node->tcp.address[0] == '\0' && node->raft.is_good) {
        memcpy(node->tcp.address, node->party.tcp_address,
               sizeof(node->tcp.address));
    }
    if (node->tcp.address[0] == '\0') {
        return;
    }
    fd = open_port(node, &node->tcp, &is_local);
    if (fd >= 0) {
        say_ping(node, fd);
        close(fd);
    }
}
