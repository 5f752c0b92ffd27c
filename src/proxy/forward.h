/*
 * forward.h - sessions and routes: what cmd/forward.h asks for.
 *
 * One object for the process; each worker's proxy and hub are told to it before
 * the threads start. The functions of the hook find the worker's by the
 * session's executor.
 */
#ifndef WDB_PROXY_FORWARD_H
#define WDB_PROXY_FORWARD_H

#include "cmd/executor.h"
#include "cmd/forward.h"
#include "proxy/proxy.h"

#define WDB_FORWARDER_PARTS_MAX WDB_IO_THREADS_MAX

struct wdb_forwarder {
    struct wdb_forward hook; /* for context->forward */
    struct {
        const struct wdb_executor *executor;
        struct wdb_proxy *proxy;
    } parts[WDB_FORWARDER_PARTS_MAX];
    uint32_t part_count;
};

void wdb_forwarder_init(struct wdb_forwarder *forwarder);
/* ETOOBIG. Before the executor's thread runs. */
WDB_MUST_CHECK int wdb_forwarder_add(struct wdb_forwarder *forwarder,
                                     const struct wdb_executor *executor,
                                     struct wdb_proxy *proxy);
/* How long requests wait for a leader, by the settings. */
uint64_t wdb_forwarder_hold_ns(const struct wdb_config *config);

#endif
