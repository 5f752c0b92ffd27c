/*
 * log_file.h - where the log lines of the process go: a file, standard output,
 * syslog. Lines look as Redis users know them:
 *
 *     1234:M 22 Nov 2026 12:50:29.123 * Ready to accept connections
 */
#ifndef WDB_SERVER_LOG_FILE_H
#define WDB_SERVER_LOG_FILE_H

#include <pthread.h>

#include "admin/config.h"
#include "base/logger.h"

struct wdb_log_file {
    struct wdb_logger logger; /* what others get; its context is this struct */
    pthread_mutex_t lock;
    int fd;
    char path[WDB_PATH_SIZE_MAX]; /* "": standard output */
    bool use_syslog;
};

/* As the settings logfile, loglevel, syslog-* say. EIO: the file can't be
 * opened; errno says why. */
WDB_MUST_CHECK int wdb_log_file_open(struct wdb_log_file *file,
                                     const struct wdb_config *config);
/* After the file was renamed (SIGHUP): go on in a new one. If that cannot be
 * made, go on in the old one. Thread: any. */
void wdb_log_file_reopen(struct wdb_log_file *file);
void wdb_log_file_close(struct wdb_log_file *file);

#endif
