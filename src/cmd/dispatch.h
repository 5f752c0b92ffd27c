/*
 * dispatch.h - one request from its name to its reply: checks, locks, handler,
 * commit.
 */
#ifndef WDB_CMD_DISPATCH_H
#define WDB_CMD_DISPATCH_H

#include "cmd/call.h"

enum wdb_dispatch_result {
    WDB_DISPATCH_DONE,      /* a reply was written (or is to be skipped) */
    WDB_DISPATCH_PARKED,    /* handed to a job, which answers later */
    WDB_DISPATCH_COLD,      /* nothing happened: fetch call->txn's, try again */
    WDB_DISPATCH_HELD,      /* nothing happened: set it aside, call->hold */
    WDB_DISPATCH_FORWARDED, /* the leader answers it */
    WDB_DISPATCH_REFUSED,   /* nothing happened: a channel's, back to it */
};

/* Execute the request. call has session, argc, argv, command (NULL if
 * unknown), keys and txn (idle); the rest is filled in. */
enum wdb_dispatch_result wdb_dispatch(struct wdb_call *call);
/* Call the handler of a command whose locks are held; counts it, and its
 * duration. For wdb_dispatch and EXEC. */
void wdb_dispatch_handler(struct wdb_call *call);

#endif
