/* peer_address.c - "HOST:PORT" taken apart. */
#include "net/peer_address.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <uv.h>

#include "base/number.h"
#include "walkerdb.h"

static bool is_plain(const char *text)
{
    for (; *text != '\0'; text++) {
        if (*text <= ' ' || *text > '~') {
            return false;
        }
    }
    return true;
}

int wdb_peer_address_parse(const char *text, bool zero_port,
                           struct wdb_peer_address *out)
{
    struct wdb_peer_address address = {.host = ""};
    const char *colon = strrchr(text, ':');
    uint64_t port;
    if (colon == NULL || strlen(text) > WDB_MEMBER_ADDRESS_MAX ||
        !is_plain(text) || !wdb_parse_uint64(wdb_slice_str(colon + 1), &port) ||
        port > UINT16_MAX || (port == 0 && !zero_port)) {
        return WALKERDB_EINVALID;
    }
    const char *host = text;
    size_t size = (size_t)(colon - text);
    if (host[0] == '[') {
        if (size < 3 || host[size - 1] != ']') {
            return WALKERDB_EINVALID;
        }
        host++;
        size -= 2;
    } else if (memchr(host, ':', size) != NULL) {
        return WALKERDB_EINVALID; /* IPv6 without brackets */
    }
    if (size == 0 || memchr(host, '[', size) != NULL ||
        memchr(host, ']', size) != NULL) {
        return WALKERDB_EINVALID;
    }
    memcpy(address.host, host, size);
    address.port_number = (uint16_t)port;
    snprintf(address.port, sizeof(address.port), "%u", (unsigned)port);
    *out = address;
    return 0;
}

bool wdb_peer_address_is_wildcard(const struct wdb_peer_address *address)
{
    struct sockaddr_storage numeric;
    if (strcmp(address->host, "*") == 0) {
        return true;
    }
    if (!wdb_peer_address_is_numeric(address, &numeric)) {
        return false;
    }
    if (numeric.ss_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)&numeric;
        return IN6_IS_ADDR_UNSPECIFIED(&in6->sin6_addr);
    }
    const struct sockaddr_in *in = (const struct sockaddr_in *)&numeric;
    return in->sin_addr.s_addr == htonl(INADDR_ANY);
}

bool wdb_peer_address_is_numeric(const struct wdb_peer_address *address,
                                 struct sockaddr_storage *out)
{
    int port = address->port_number;
    memset(out, 0, sizeof(*out));
    return uv_ip4_addr(address->host, port, (struct sockaddr_in *)out) == 0 ||
           uv_ip6_addr(address->host, port, (struct sockaddr_in6 *)out) == 0;
}

void wdb_peer_address_format(const struct sockaddr *address, char *out,
                             size_t size)
{
    char host[INET6_ADDRSTRLEN];
    if (address->sa_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)address;
        (void)uv_ip6_name(in6, host, sizeof(host));
        snprintf(out, size, "[%s]:%u", host, ntohs(in6->sin6_port));
    } else if (address->sa_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)address;
        (void)uv_ip4_name(in, host, sizeof(host));
        snprintf(out, size, "%s:%u", host, ntohs(in->sin_port));
    } else {
        snprintf(out, size, "unknown");
    }
}

bool wdb_peer_address_is_loopback(const struct sockaddr *address)
{
    if (address->sa_family == AF_INET6) {
        const struct in6_addr *ip =
            &((const struct sockaddr_in6 *)address)->sin6_addr;
        return IN6_IS_ADDR_LOOPBACK(ip) ||
               (IN6_IS_ADDR_V4MAPPED(ip) && ip->s6_addr[12] == 127);
    }
    return address->sa_family == AF_INET &&
           ntohl(((const struct sockaddr_in *)address)->sin_addr.s_addr) >>
                   24 ==
               127;
}
