/*
 * route.h - in a cluster: is a request executed here, by the leader, later, or
 * not at all?
 */
#ifndef WDB_CMD_ROUTE_H
#define WDB_CMD_ROUTE_H

#include "cmd/call.h"
#include "cmd/cluster.h"

enum wdb_route {
    WDB_ROUTE_HERE,
    WDB_ROUTE_ANSWERED,  /* an error, mostly: nothing was done */
    WDB_ROUTE_HELD,      /* call->hold says what it waits for */
    WDB_ROUTE_FORWARDED, /* the leader answers */
    WDB_ROUTE_REFUSED,   /* a channel session's: back to where it came from */
};

/* Only if call->context->cluster is not NULL. The request has passed all checks
 * of its form. */
enum wdb_route wdb_route(struct wdb_call *call);
/* A request that comes behind forwarded ones, which are not answered yet: would
 * it be forwarded, too? Else it has to wait for those answers. */
bool wdb_route_may_follow(const struct wdb_call *call);

/* Changes when there may be another answer than to hold a request. */
static inline uint64_t wdb_route_version(const struct wdb_cluster *cluster)
{
    return atomic_load(&cluster->gate->leader_version) +
           atomic_load(&cluster->gate->era);
}

/* A request that was set aside at since_ns (monotonic) has waited for long
 * enough. */
bool wdb_route_waited(const struct wdb_context *context, uint64_t since_ns,
                      uint64_t now_ns);

/* Host and port of an address "host:port" or "[host]:port"; without brackets,
 * as Redis shows them. The port is 0 if there is none. */
void wdb_address_split(const char *address, char *host, size_t host_size,
                       uint32_t *port_out);

#endif
