/* process.h - what a Unix service does besides its work: background, pidfile,
 * limits, telling systemd. Main thread, unless said otherwise. */
#ifndef WDB_SERVER_PROCESS_H
#define WDB_SERVER_PROCESS_H

#include "admin/config.h"
#include "base/logger.h"

/* Go into the background: the parent exits. Before any thread is started.
 * EIO. */
WDB_MUST_CHECK int wdb_process_daemonize(void);
/* Write our pid to a file; EIO. */
WDB_MUST_CHECK int wdb_process_write_pid(const char *path);
/*
 * Raise the limit of open files so that `clients` connections fit beside the
 * database's own files. Returns how many clients do fit, at most `clients`.
 * Thread: any.
 */
uint64_t wdb_process_reserve_files(uint64_t clients);
/* Tell the service manager ("READY=1"), if there is one: a datagram to
 * $NOTIFY_SOCKET. Thread: any. True if it was sent. */
bool wdb_process_notify(const char *state);
/* Microseconds within which systemd wants to hear WATCHDOG=1; 0: not at all. */
uint64_t wdb_process_watchdog_us(void);
/* Settings of the process that are inherited by nothing: huge pages, SIGPIPE
 * ignored, the signals that the main loop handles blocked elsewhere. */
void wdb_process_prepare(const struct wdb_config *config);
/* Warn about settings of the machine that hurt. */
void wdb_process_warn(const struct wdb_config *config,
                      const struct wdb_logger *logger);

#endif
