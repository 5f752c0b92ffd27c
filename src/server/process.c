/* process.c - what a Unix service does besides its work. */
#include "server/process.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/number.h"
#include "walkerdb.h"

/* Files that are open besides clients' sockets: segments, hints, loops. */
#define OWN_FILES 4096

int wdb_process_daemonize(void)
{
    pid_t child = fork();
    if (child < 0) {
        return WALKERDB_EIO;
    }
    if (child > 0) {
        _exit(0);
    }
    setsid();
    int null = open("/dev/null", O_RDWR);
    if (null < 0) {
        return WALKERDB_EIO;
    }
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
        if (dup2(null, fd) < 0) {
            return WALKERDB_EIO;
        }
    }
    if (null > STDERR_FILENO) {
        close(null);
    }
    return 0;
}

int wdb_process_write_pid(const char *path)
{
    FILE *file = fopen(path, "we");
    if (file == NULL) {
        return WALKERDB_EIO;
    }
    bool good = fprintf(file, "%d\n", (int)getpid()) > 0;
    good = fclose(file) == 0 && good;
    return good ? 0 : WALKERDB_EIO;
}

uint64_t wdb_process_reserve_files(uint64_t clients)
{
    struct rlimit limit;
    const uint64_t wanted = clients + OWN_FILES;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) {
        return clients;
    }
    if (limit.rlim_cur < wanted) {
        struct rlimit raised = {.rlim_cur = wanted, .rlim_max = limit.rlim_max};
        if (raised.rlim_max != RLIM_INFINITY && raised.rlim_max < wanted) {
            raised.rlim_max = wanted; /* root may */
        }
        if (setrlimit(RLIMIT_NOFILE, &raised) != 0) {
            raised.rlim_cur = raised.rlim_max = limit.rlim_max;
            if (setrlimit(RLIMIT_NOFILE, &raised) != 0) {
                raised = limit;
            }
        }
        limit = raised;
    }
    if (limit.rlim_cur >= wanted) {
        return clients;
    }
    return limit.rlim_cur > OWN_FILES ? limit.rlim_cur - OWN_FILES : 1;
}

/* --- systemd ------------------------------------------------------------------------ */

bool wdb_process_notify(const char *state)
{
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (path == NULL || (path[0] != '/' && path[0] != '@') ||
        strlen(path) >= sizeof(address.sun_path)) {
        return false;
    }
    size_t size = strlen(path);
    memcpy(address.sun_path, path, size);
    if (path[0] == '@') {
        address.sun_path[0] = '\0'; /* a name that is no file */
    }
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return false;
    }
    socklen_t length =
        (socklen_t)(offsetof(struct sockaddr_un, sun_path) + size);
    ssize_t sent = sendto(fd, state, strlen(state), MSG_NOSIGNAL,
                          (struct sockaddr *)&address, length);
    close(fd);
    return sent >= 0;
}

uint64_t wdb_process_watchdog_us(void)
{
    const char *text = getenv("WATCHDOG_USEC");
    const char *pid = getenv("WATCHDOG_PID");
    uint64_t interval, meant;
    if (text == NULL || !wdb_parse_uint64(wdb_slice_str(text), &interval)) {
        return 0;
    }
    if (pid != NULL && (!wdb_parse_uint64(wdb_slice_str(pid), &meant) ||
                        meant != (uint64_t)getpid())) {
        return 0;
    }
    return interval;
}

/* --- the machine ---------------------------------------------------------------------- */

void wdb_process_prepare(const struct wdb_config *config)
{
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    sigaction(SIGPIPE, &ignore, NULL);
    if (wdb_config_bool(config, WDB_CONFIG_DISABLE_THP)) {
        prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
    }
    /* Cold reads wait for the disk on these threads: more than a disk has
     * heads, and than libuv's 4. */
    setenv("UV_THREADPOOL_SIZE", "16", 0);
}

static bool read_number(const char *path, long *out)
{
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        return false;
    }
    bool good = fscanf(file, "%ld", out) == 1;
    fclose(file);
    return good;
}

void wdb_process_warn(const struct wdb_config *config,
                      const struct wdb_logger *logger)
{
    long somaxconn;
    long backlog = (long)wdb_config_i64(config, WDB_CONFIG_TCP_BACKLOG);
    if (read_number("/proc/sys/net/core/somaxconn", &somaxconn) &&
        somaxconn < backlog) {
        wdb_logger_print(logger, WDB_LOG_WARNING,
                         "tcp-backlog is %ld, but the system cuts it to %ld "
                         "(net.core.somaxconn)",
                         backlog, somaxconn);
    }
}
