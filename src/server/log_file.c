/* log_file.c - where the log lines of the process go. */
#include "server/log_file.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#include "walkerdb.h"

#define FILE_MODE 0640

static const char level_marks[] = {'.', '-', '*', '#'};
static const int syslog_levels[] = {LOG_DEBUG, LOG_INFO, LOG_NOTICE,
                                    LOG_WARNING};

/* Date and time, with milliseconds. */
static void format_time(char *out, size_t size)
{
    struct timespec now;
    struct tm local;
    char date[32];
    clock_gettime(CLOCK_REALTIME, &now);
    localtime_r(&now.tv_sec, &local);
    strftime(date, sizeof(date), "%d %b %Y %H:%M:%S", &local);
    snprintf(out, size, "%s.%03d", date, (int)(now.tv_nsec / 1000000));
}

static void write_line(void *context, enum wdb_log_level level,
                       const char *line)
{
    struct wdb_log_file *file = context;
    char when[64], text[1200];
    format_time(when, sizeof(when));
    int size = snprintf(text, sizeof(text), "%d:M %s %c %s\n", (int)getpid(),
                        when, level_marks[level], line);
    if (size >= (int)sizeof(text)) {
        size = sizeof(text) - 1;
    }
    pthread_mutex_lock(&file->lock);
    ssize_t written = write(file->fd, text, (size_t)size);
    (void)written; /* there is nobody left to tell */
    if (file->use_syslog) {
        syslog(syslog_levels[level], "%s", line);
    }
    pthread_mutex_unlock(&file->lock);
}

static int open_path(const char *path)
{
    if (path[0] == '\0') {
        return STDOUT_FILENO;
    }
    return open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, FILE_MODE);
}

static void open_syslog(struct wdb_log_file *file,
                        const struct wdb_config *config)
{
    static const int facilities[] = {LOG_USER,   LOG_LOCAL0, LOG_LOCAL1,
                                     LOG_LOCAL2, LOG_LOCAL3, LOG_LOCAL4,
                                     LOG_LOCAL5, LOG_LOCAL6, LOG_LOCAL7};
    static char ident[128]; /* openlog keeps the pointer */
    file->use_syslog = wdb_config_bool(config, WDB_CONFIG_SYSLOG_ENABLED);
    if (file->use_syslog) {
        wdb_config_text(config, WDB_CONFIG_SYSLOG_IDENT, ident, sizeof(ident));
        openlog(ident, LOG_PID | LOG_NDELAY | LOG_NOWAIT,
                facilities[wdb_config_i64(config, WDB_CONFIG_SYSLOG_FACILITY)]);
    }
}

int wdb_log_file_open(struct wdb_log_file *file,
                      const struct wdb_config *config)
{
    memset(file, 0, sizeof(*file));
    wdb_config_text(config, WDB_CONFIG_LOGFILE, file->path, sizeof(file->path));
    file->fd = open_path(file->path);
    if (file->fd < 0) {
        return WALKERDB_EIO;
    }
    pthread_mutex_init(&file->lock, NULL);
    file->logger.sink = write_line;
    file->logger.context = file;
    file->logger.level_min =
        (enum wdb_log_level)wdb_config_i64(config, WDB_CONFIG_LOGLEVEL);
    open_syslog(file, config);
    return 0;
}

void wdb_log_file_reopen(struct wdb_log_file *file)
{
    if (file->path[0] == '\0') {
        return;
    }
    int fd = open_path(file->path);
    if (fd < 0) {
        wdb_logger_print(&file->logger, WDB_LOG_WARNING,
                         "can't open the log file %s again: going on in the "
                         "old one",
                         file->path);
        return;
    }
    pthread_mutex_lock(&file->lock);
    int old = file->fd;
    file->fd = fd;
    pthread_mutex_unlock(&file->lock);
    close(old);
}

void wdb_log_file_close(struct wdb_log_file *file)
{
    if (file->path[0] != '\0') {
        close(file->fd);
    }
    if (file->use_syslog) {
        closelog();
    }
    pthread_mutex_destroy(&file->lock);
}
