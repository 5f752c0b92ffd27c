/* monitor.h - MONITOR: a line for every command, to those who watch. */
#ifndef WDB_CMD_MONITOR_H
#define WDB_CMD_MONITOR_H

#include "cmd/call.h"

/* The session becomes a monitor. Handler of MONITOR. */
void wdb_cmd_monitor(struct wdb_call *call);
/* Format this request, which was executed, as Redis does and hand it to
 * hooks->monitor, behind the gate of what its session depends on; EXEC with
 * what it ran. Passwords are not shown, nor commands with the flags
 * skip_monitor or admin. */
void wdb_monitor_feed(struct wdb_call *call);

#endif
