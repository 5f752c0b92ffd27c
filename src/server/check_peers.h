/*
 * check_peers.h - walkerdb --check-peers HOST:RAFTPORT[,HOST:TCPPORT]...: can
 * this machine talk to those nodes, and do they agree?
 *
 * For each: does the name resolve, does somebody answer at both ports, is it a
 * node that knows the same secret, of which cluster, and what time is it there.
 */
#ifndef WDB_SERVER_CHECK_PEERS_H
#define WDB_SERVER_CHECK_PEERS_H

#include "admin/config.h"

#define WDB_CHECK_PEERS_MAX 64

struct wdb_check_peers {
    bool is_wanted;
    bool as_json;
    int count;
    const char *words[WDB_CHECK_PEERS_MAX]; /* of argv */
};

/* Take the option and its words out of the command line, so that the settings
 * know the rest of it. EINVALID; *message_out is static. Main thread. */
WDB_MUST_CHECK int wdb_check_peers_take(int *argc, char **argv,
                                        struct wdb_check_peers *out,
                                        const char **message_out);
/* Ask all (in parallel, some seconds at most), print to standard output; the
 * exit code: 0 if nothing is wrong. */
int wdb_check_peers_run(const struct wdb_check_peers *check,
                        struct wdb_env *env, const struct wdb_config *config);

#endif
