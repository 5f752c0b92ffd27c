/* log_file.c - log lines in the form that Redis's have:
 * "pid:M 22 Nov 2026 12:00:00.123 * text". */
#include "server/log_file.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#include "walkerdb.h"

static void print_line(void *context, enum wdb_log_level level,
                       const char *line)
{
    static const char marks[] = ".-*#";
    static const int priorities[] = {LOG_DEBUG, LOG_INFO, LOG_NOTICE,
                                     LOG_WARNING};
    struct wdb_log_file *log = context;
    struct timeval now;
    struct tm local;
    char date[64];
    gettimeofday(&now, NULL);
    localtime_r(&now.tv_sec, &local);
    strftime(date, sizeof(date), "%d %b %Y %H:%M:%S", &local);
    pthread_mutex_lock(&log->mutex);
    if (log->stream != NULL) {
        fprintf(log->stream, "%d:M %s.%03d %c %s\n", (int)getpid(), date,
                (int)(now.tv_usec / 1000), marks[level], line);
        fflush(log->stream);
    }
    pthread_mutex_unlock(&log->mutex);
    if (log->to_syslog) {
        syslog(priorities[level], "%s", line);
    }
}

int wdb_log_file_open(struct wdb_log_file *log, const struct wdb_config *config,
                      char *error, size_t error_size)
{
    *log = (struct wdb_log_file){.stream = stdout};
    pthread_mutex_init(&log->mutex, NULL);
    log->logger = (struct wdb_logger){
        .sink = print_line,
        .context = log,
        .level_min =
            (enum wdb_log_level)wdb_config_i64(config, WDB_CONFIG_LOGLEVEL),
    };
    wdb_config_text(config, WDB_CONFIG_LOGFILE, log->path, sizeof(log->path));
    if (log->path[0] != '\0') {
        log->stream = fopen(log->path, "ae");
        if (log->stream == NULL) {
            snprintf(error, error_size, "cannot open the log file %s: %s",
                     log->path, strerror(errno));
            return WALKERDB_EIO;
        }
        log->is_file = true;
    } else if (wdb_config_bool(config, WDB_CONFIG_DAEMONIZE)) {
        log->stream = NULL;
    }
    if (wdb_config_bool(config, WDB_CONFIG_SYSLOG_ENABLED)) {
        log->to_syslog = true;
        openlog("walkerdb", LOG_PID | LOG_NDELAY, LOG_LOCAL0);
    }
    return 0;
}

void wdb_log_file_reopen(struct wdb_log_file *log)
{
    if (!log->is_file) {
        return;
    }
    pthread_mutex_lock(&log->mutex);
    FILE *stream = fopen(log->path, "ae");
    if (stream != NULL) { /* else the old one goes on */
        fclose(log->stream);
        log->stream = stream;
    }
    pthread_mutex_unlock(&log->mutex);
}

void wdb_log_file_close(struct wdb_log_file *log)
{
    if (log->is_file) {
        fclose(log->stream);
    }
    if (log->to_syslog) {
        closelog();
    }
    pthread_mutex_destroy(&log->mutex);
}
