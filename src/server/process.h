/* process.h - the server as a process of the system: background, pid file,
 * supervisor, limits, crash report. */
#ifndef WDB_SERVER_PROCESS_H
#define WDB_SERVER_PROCESS_H

#include "admin/config.h"
#include "base/logger.h"

/* Go to the background (setting daemonize): the caller's process ends. Before
 * any thread. EIO. */
WDB_MUST_CHECK int wdb_process_daemonize(void);
/* Write and remove the pid file; a failure is only logged. */
void wdb_process_write_pid(const struct wdb_config *config,
                           const struct wdb_logger *logger);
void wdb_process_remove_pid(const struct wdb_config *config);
/* Tell systemd, if it asked to be told (NOTIFY_SOCKET) and the setting
 * supervised allows: "READY=1", "STOPPING=1", "STATUS=...". */
void wdb_process_notify(const struct wdb_config *config, const char *state);
/* Have as many open files as maxclients needs, if the system lets us. */
void wdb_process_raise_limits(const struct wdb_config *config,
                              const struct wdb_logger *logger);
/* On a crash, print a backtrace before the process dies (SIGSEGV, SIGFPE,
 * SIGILL, SIGABRT). SIGPIPE is ignored. */
void wdb_process_set_signals(const struct wdb_config *config);

#endif
