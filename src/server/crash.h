/* crash.h - a last report when the program dies of a fatal signal. */
#ifndef WDB_SERVER_CRASH_H
#define WDB_SERVER_CRASH_H

#include "server/log_file.h"

/*
 * Install handlers for SIGSEGV, SIGBUS, SIGFPE, SIGILL and SIGABRT: they write
 * what happened and where to the log, and let the signal end the process. To
 * be called before the first database is opened, whose own handler of SIGBUS
 * then comes first. Once in a process.
 */
void wdb_crash_install(struct wdb_log_file *file);

#endif
