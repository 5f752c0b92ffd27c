/*
 * peer_address.h - "HOST:PORT" taken apart: a name, an IPv4 address, or an IPv6
 * address in brackets.
 */
#ifndef WDB_NET_PEER_ADDRESS_H
#define WDB_NET_PEER_ADDRESS_H

#include <netdb.h>

#include "base/attributes.h"
#include "raft/members.h"

struct wdb_peer_address {
    char host[WDB_MEMBER_ADDRESS_MAX + 1]; /* without brackets */
    char port[8];                          /* as digits */
    uint16_t port_number;
};

/* EINVALID: no host, no port (0 is one only if zero_port), other than printable
 * characters without blanks. */
WDB_MUST_CHECK int wdb_peer_address_parse(const char *text, bool zero_port,
                                          struct wdb_peer_address *out);
/* True if it stands for every address of a machine (0.0.0.0, ::, *), so that
 * others can't dial it. */
bool wdb_peer_address_is_wildcard(const struct wdb_peer_address *address);
/* True if host is a number, not a name; *out gets it with its port. */
bool wdb_peer_address_is_numeric(const struct wdb_peer_address *address,
                                 struct sockaddr_storage *out);
/* "address:port" of a socket address, for people; at least 64 bytes. */
void wdb_peer_address_format(const struct sockaddr *address, char *out,
                             size_t size);
bool wdb_peer_address_is_loopback(const struct sockaddr *address);

#endif
