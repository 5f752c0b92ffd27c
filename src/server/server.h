/*
 * server.h - the parts of one server, put together: the only place that knows
 * them all.
 *
 * Threads: everything here runs on the main thread, but for the callbacks that
 * say otherwise.
 */
#ifndef WDB_SERVER_SERVER_H
#define WDB_SERVER_SERVER_H

#include "admin/config.h"
#include "base/attributes.h"

/*
 * Run a server with these settings until it is told to stop (a signal,
 * SHUTDOWN, or a failed write to the log). Returns the exit status: 0 if it
 * stopped in order.
 */
int wdb_server_run(struct wdb_env *env, struct wdb_config *config);

#endif
