/* check_peers_internal.h - what the files of --check-peers share. */
#ifndef WDB_SERVER_CHECK_PEERS_INTERNAL_H
#define WDB_SERVER_CHECK_PEERS_INTERNAL_H

#include <stdio.h>

#include "net/peer_address.h"
#include "net/peer_handshake.h"
#include "server/check_peers.h"

#define WDB_CHECK_ADDRESSES_MAX 8
#define WDB_CHECK_TEXT_SIZE     768
/* Clocks that differ by more are reported as wrong. */
#define WDB_CHECK_CLOCK_MS 500

/* One port of a node. */
struct wdb_check_port {
    char address[WDB_MEMBER_ADDRESS_MAX + 1]; /* as given; "": not known */
    bool is_resolved;
    int resolved_count;
    char resolved[WDB_CHECK_ADDRESSES_MAX][64];
    bool is_reached;                 /* somebody accepted a connection */
    bool is_good;                    /* and answered as it should */
    char error[WDB_CHECK_TEXT_SIZE]; /* "" if it is good */
};

struct wdb_check_node {
    /* In: */
    struct wdb_env *env;
    const struct wdb_handshake_options *handshake; /* nonce drawn anew */
    /* Out: */
    struct wdb_check_port raft, tcp;
    bool is_known; /* id, cluster, clock were read; proved if raft.is_good */
    struct wdb_handshake_party party;
    int64_t clock_difference_ms; /* there minus here */
    int64_t round_trip_ms;
};

/* What is wrong in all, one text each. */
struct wdb_check_result {
    int count;
    struct wdb_check_node *nodes;
    int problem_count;
    char problems[3 * WDB_CHECK_PEERS_MAX][WDB_CHECK_TEXT_SIZE];
};

/* Ask one node; waits. Any thread, one for each node. */
void wdb_check_peers_ask(struct wdb_check_node *node);
void wdb_check_peers_print(const struct wdb_check_result *result, FILE *out);
void wdb_check_peers_print_json(const struct wdb_check_result *result,
                                FILE *out);

#endif
