/* peer_listener.c - listening at the raft address. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "net/peer_internal.h"
#include "walkerdb.h"

static int fail(char **message_out, int code, const char *format, ...)
    WDB_PRINTF(3, 4);

static int fail(char **message_out, int code, const char *format, ...)
{
    va_list arguments;
    free(*message_out);
    va_start(arguments, format);
    if (vasprintf(message_out, format, arguments) < 0) {
        *message_out = NULL;
    }
    va_end(arguments);
    return code;
}

static void on_connection(uv_stream_t *server, int status)
{
    struct wdb_peer_net *net = server->data;
    if (status == 0) {
        wdb_peer_connection_accept(net, server);
    } else {
        wdb_peer_net_complain(net, "can't accept a node's connection: %s",
                              uv_strerror(status));
    }
}

static void on_closed(uv_handle_t *handle)
{
    free(handle);
}

/* Listen at one address; an error of libuv. */
static int listen_at(struct wdb_peer_net *net, const struct sockaddr *address)
{
    uv_tcp_t *tcp = malloc(sizeof(*tcp));
    if (tcp == NULL) {
        return UV_ENOMEM;
    }
    int rc = uv_tcp_init(net->uv, tcp);
    if (rc != 0) {
        free(tcp);
        return rc;
    }
    tcp->data = net;
    rc = uv_tcp_bind(tcp, address,
                     address->sa_family == AF_INET6 ? UV_TCP_IPV6ONLY : 0);
    if (rc == 0) {
        rc = uv_listen((uv_stream_t *)tcp,
                       net->backlog > 0 ? net->backlog : SOMAXCONN,
                       on_connection);
    }
    if (rc != 0) {
        uv_close((uv_handle_t *)tcp, on_closed);
        return rc;
    }
    net->listeners[net->listener_count++] = tcp;
    return 0;
}

static bool was_seen(const struct addrinfo *first, const struct addrinfo *this)
{
    for (const struct addrinfo *a = first; a != this; a = a->ai_next) {
        if (a->ai_addrlen == this->ai_addrlen &&
            memcmp(a->ai_addr, this->ai_addr, a->ai_addrlen) == 0) {
            return true;
        }
    }
    return false;
}

static void note_port(struct wdb_peer_net *net)
{
    struct sockaddr_storage name;
    int size = sizeof(name);
    if (uv_tcp_getsockname(net->listeners[0], (struct sockaddr *)&name,
                           &size) == 0) {
        net->port = name.ss_family == AF_INET6
                        ? ntohs(((struct sockaddr_in6 *)&name)->sin6_port)
                        : ntohs(((struct sockaddr_in *)&name)->sin_port);
    }
}

/* Replace the port 0 of a test by the one that the system chose. */
static void name_port(struct wdb_peer_net *net,
                      const struct wdb_peer_address *address)
{
    bool is_ipv6 = strchr(address->host, ':') != NULL;
    snprintf(net->raft_address, sizeof(net->raft_address),
             is_ipv6 ? "[%.200s]:%u" : "%.200s:%u", address->host,
             (unsigned)net->port);
}

int wdb_peer_net_listen(struct wdb_peer_net *net, char **message_out)
{
    struct wdb_peer_address address;
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
                             .ai_flags = AI_PASSIVE};
    struct addrinfo *found = NULL;
    int code = 0;
    *message_out = NULL;
    if (wdb_peer_address_parse(net->raft_address, true, &address) != 0) {
        return fail(message_out, WALKERDB_EINVALID,
                    "raft-address '%s' is not HOST:PORT (IPv6 in brackets)",
                    net->raft_address);
    }
    if (wdb_peer_address_is_wildcard(&address)) {
        return fail(message_out, WALKERDB_EINVALID,
                    "raft-address '%s' stands for every address: give the one "
                    "that the other nodes dial",
                    net->raft_address);
    }
    int rc = getaddrinfo(address.host, address.port, &hints, &found);
    if (rc != 0) {
        return fail(message_out, WALKERDB_EIO,
                    "can't resolve the host of raft-address '%s': %s",
                    net->raft_address, gai_strerror(rc));
    }
    for (struct addrinfo *a = found; a != NULL; a = a->ai_next) {
        if (was_seen(found, a) ||
            net->listener_count == WDB_PEER_LISTENERS_MAX ||
            (address.port_number == 0 && net->listener_count > 0)) {
            continue;
        }
        rc = listen_at(net, a->ai_addr);
        /* A name may mean addresses that are not there (IPv6 switched off):
         * one is enough. An address that is taken is an error always. */
        if (rc != 0 && (code == 0 || rc == UV_EADDRINUSE)) {
            char text[64];
            wdb_peer_address_format(a->ai_addr, text, sizeof(text));
            code = fail(message_out, WALKERDB_EIO,
                        "can't listen at raft-address %s (%s): %s",
                        net->raft_address, text,
                        rc == UV_EADDRNOTAVAIL
                            ? "it is not an address of this machine"
                            : uv_strerror(rc));
            if (rc == UV_EADDRINUSE) {
                wdb_peer_listener_close_all(net);
                break;
            }
        }
    }
    freeaddrinfo(found);
    if (net->listener_count == 0) {
        return code != 0 ? code
                         : fail(message_out, WALKERDB_EIO,
                                "the host of raft-address '%s' has no address",
                                net->raft_address);
    }
    free(*message_out);
    *message_out = NULL;
    note_port(net);
    if (address.port_number == 0) {
        name_port(net, &address);
    }
    return 0;
}

uint16_t wdb_peer_net_port(const struct wdb_peer_net *net)
{
    return net->port;
}

void wdb_peer_listener_close_all(struct wdb_peer_net *net)
{
    while (net->listener_count > 0) {
        uv_close((uv_handle_t *)net->listeners[--net->listener_count],
                 on_closed);
    }
}

void wdb_peer_listener_accept_again(struct wdb_peer_net *net)
{
    net->accept_failed = false;
    for (uint32_t i = 0; i < net->listener_count; i++) {
        wdb_peer_connection_accept(net, (uv_stream_t *)net->listeners[i]);
    }
}
