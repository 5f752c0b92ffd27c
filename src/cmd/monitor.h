/* monitor.h - MONITOR: a line for every command, to those who watch. */
#ifndef WDB_CMD_MONITOR_H
#define WDB_CMD_MONITOR_H

#include "cmd/call.h"

/* The session becomes a monitor. Handler of MONITOR. */
void wdb_cmd_monitor(struct wdb_call *call);
/* Format this request as Redis does and hand it to hooks->monitor, behind the
 * gate of what it depends on. Leaves out what carries passwords and what has
 * the skip_monitor flag. */
void wdb_monitor_feed(struct wdb_call *call);

#endif
