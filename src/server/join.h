/*
 * join.h - asks a member of a cluster to take this node in, until it is in.
 *
 * A thread of its own: it dials any member's port for clients, says who it is
 * (AUTH first if there is a password), and asks again with growing pauses. The
 * leader then comes by itself: the log arrives from it.
 */
#ifndef WDB_SERVER_JOIN_H
#define WDB_SERVER_JOIN_H

#include "base/logger.h"
#include "base/slice.h"
#include "raft/members.h"

struct wdb_join;

struct wdb_join_options {
    const struct wdb_logger *logger;
    char address[1024]; /* HOST:PORT of a member, or several with blanks */
    char password[1024];
    struct wdb_member self;
    bool wants_secret;
    const char *secret_dir; /* for texts; borrowed */
    /* Is this node a member, at these addresses? Any thread. */
    bool (*is_member)(void *context);
    /* The cluster's secret came. */
    int (*keep_secret)(void *context, struct wdb_slice text);
    void *context;
};

/* ENOMEM. */
WDB_MUST_CHECK int wdb_join_start(const struct wdb_join_options *options,
                                  struct wdb_join **out);
/* End the thread; waits, at most a second or two. NULL is fine. */
void wdb_join_stop(struct wdb_join *join);

#endif
