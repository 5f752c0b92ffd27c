/* log_file.h - where the server's log lines go. */
#ifndef WDB_SERVER_LOG_FILE_H
#define WDB_SERVER_LOG_FILE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>

#include "admin/config.h"
#include "base/logger.h"

struct wdb_log_file {
    struct wdb_logger logger; /* hand this out */
    pthread_mutex_t mutex;
    FILE *stream; /* stdout, or the file that logfile names */
    bool is_file;
    bool to_syslog;
    char path[1024];
};

/* Open as the settings say. EIO: the text is in error. */
WDB_MUST_CHECK int wdb_log_file_open(struct wdb_log_file *log,
                                     const struct wdb_config *config,
                                     char *error, size_t error_size);
/* The file was moved away (log rotation): open it anew. */
void wdb_log_file_reopen(struct wdb_log_file *log);
void wdb_log_file_close(struct wdb_log_file *log);

#endif
