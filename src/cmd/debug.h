/*
 * debug.h - DEBUG: tools for tests, behind enable-debug-command.
 *
 *   debug.c       subcommands that answer at once
 *   debug_keys.c  those that read or make keys, off the loop
 */
#ifndef WDB_CMD_DEBUG_H
#define WDB_CMD_DEBUG_H

#include "cmd/call.h"

/* Handlers of subcommands; the number of arguments has been checked. */
void wdb_debug_object(struct wdb_call *call);
void wdb_debug_digest(struct wdb_call *call);
void wdb_debug_digest_value(struct wdb_call *call);
void wdb_debug_populate(struct wdb_call *call);
void wdb_debug_reload(struct wdb_call *call);

#endif
