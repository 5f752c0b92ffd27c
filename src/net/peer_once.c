/*
 * peer_once.c - what is asked of the transport now and then: who answers at an
 * address, a connection for clients' requests.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "net/peer_internal.h"
#include "walkerdb.h"

typedef void (*probe_done)(void *arg, int code, const char *message,
                           const struct wdb_member *member,
                           uint64_t cluster_id);

/* A dial that could not begin is told behind the call. */
struct failed_probe {
    probe_done done;
    void *arg;
    int code;
};

static const char *text_of(int code)
{
    return code == WALKERDB_EINVALID
               ? "this is not HOST:PORT (IPv6 in brackets)"
               : walkerdb_strerror(code);
}

static void tell_failed_probe(void *context)
{
    struct failed_probe *failed = context;
    failed->done(failed->arg, failed->code, text_of(failed->code), NULL, 0);
    free(failed);
}

void wdb_peer_once_probe(void *context, const char *raft_address,
                         probe_done done, void *arg)
{
    struct wdb_peer_net *net = context;
    struct wdb_peer_dial *dial;
    int code = WALKERDB_ECLOSED;
    if (!net->is_stopped) {
        code = wdb_peer_dial_new(net, NULL, 0, WDB_PURPOSE_PROBE, raft_address,
                                 &dial);
    }
    if (code == 0) {
        dial->probed = done;
        dial->arg = arg;
        return;
    }
    struct failed_probe *failed = malloc(sizeof(*failed));
    if (failed != NULL) {
        *failed = (struct failed_probe){done, arg, code};
        if (wdb_raft_loop_post(net->loop, tell_failed_probe, failed) == 0) {
            return;
        }
        free(failed);
    }
    done(arg, code, text_of(code), NULL, 0);
}

struct forward_request {
    struct wdb_peer_net *net;
    wdb_node_id id;
    wdb_peer_forward_done done;
    void *arg;
    char address[WDB_MEMBER_ADDRESS_MAX + 1];
};

static void start_forward(void *context)
{
    struct forward_request *request = context;
    struct wdb_peer_net *net = request->net;
    struct wdb_peer_dial *dial;
    int code = WALKERDB_ECLOSED;
    if (!net->is_stopped) {
        code = wdb_peer_dial_new(net, NULL, request->id, WDB_PURPOSE_FORWARD,
                                 request->address, &dial);
    }
    if (code == 0) {
        dial->forwarded = request->done;
        dial->arg = request->arg;
    } else {
        request->done(request->arg, code, -1, text_of(code));
    }
    free(request);
}

int wdb_peer_net_forward(struct wdb_peer_net *net, wdb_node_id id,
                         const char *raft_address, wdb_peer_forward_done done,
                         void *arg)
{
    struct forward_request *request = malloc(sizeof(*request));
    if (request == NULL) {
        return WALKERDB_ENOMEM;
    }
    *request = (struct forward_request){
        .net = net, .id = id, .done = done, .arg = arg};
    snprintf(request->address, sizeof(request->address), "%s", raft_address);
    int code = wdb_raft_loop_post(net->loop, start_forward, request);
    if (code != 0) {
        free(request);
    }
    return code;
}
