/* process.c - the server as a process of the system. */
#include "server/process.h"

#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "walkerdb.h"

#define FILES_RESERVED 4096 /* beside clients: segments, listeners, loops */
#define BACKTRACE_MAX  64

int wdb_process_daemonize(void)
{
    pid_t pid = fork();
    if (pid < 0) {
        return WALKERDB_EIO;
    }
    if (pid > 0) {
        _exit(0);
    }
    setsid();
    int fd = open("/dev/null", O_RDWR);
    if (fd < 0) {
        return WALKERDB_EIO;
    }
    dup2(fd, 0);
    dup2(fd, 1);
    dup2(fd, 2);
    if (fd > 2) {
        close(fd);
    }
    return 0;
}

static const char *pid_path(const struct wdb_config *config, char *out,
                            size_t size)
{
    wdb_config_text(config, WDB_CONFIG_PIDFILE, out, size);
    if (out[0] == '\0' && wdb_config_bool(config, WDB_CONFIG_DAEMONIZE)) {
        snprintf(out, size, "/var/run/walkerdb.pid");
    }
    return out[0] == '\0' ? NULL : out;
}

void wdb_process_write_pid(const struct wdb_config *config,
                           const struct wdb_logger *logger)
{
    char path[1024];
    if (pid_path(config, path, sizeof(path)) == NULL) {
        return;
    }
    FILE *file = fopen(path, "we");
    if (file == NULL) {
        wdb_logger_print(logger, WDB_LOG_WARNING,
                         "cannot write the pid file %s: %s", path,
                         strerror(errno));
        return;
    }
    fprintf(file, "%d\n", (int)getpid());
    fclose(file);
}

void wdb_process_remove_pid(const struct wdb_config *config)
{
    char path[1024];
    if (pid_path(config, path, sizeof(path)) != NULL) {
        unlink(path);
    }
}

void wdb_process_notify(const struct wdb_config *config, const char *state)
{
    int64_t supervised = wdb_config_i64(config, WDB_CONFIG_SUPERVISED);
    const char *path = getenv("NOTIFY_SOCKET");
    if (path == NULL || path[0] == '\0' ||
        (supervised != WDB_SUPERVISED_SYSTEMD &&
         supervised != WDB_SUPERVISED_AUTO)) {
        return;
    }
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t length = strlen(path);
    if (length >= sizeof(address.sun_path)) {
        return;
    }
    memcpy(address.sun_path, path, length);
    if (path[0] == '@') {
        address.sun_path[0] = '\0'; /* an abstract name */
    }
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd >= 0) {
        ssize_t rc = sendto(
            fd, state, strlen(state), MSG_NOSIGNAL, (struct sockaddr *)&address,
            (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length));
        (void)rc;
        close(fd);
    }
}

void wdb_process_raise_limits(const struct wdb_config *config,
                              const struct wdb_logger *logger)
{
    struct rlimit limit;
    rlim_t want =
        (rlim_t)wdb_config_u64(config, WDB_CONFIG_MAXCLIENTS) + FILES_RESERVED;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= want) {
        return;
    }
    struct rlimit raised = limit;
    raised.rlim_cur = want;
    if (raised.rlim_max < want) {
        raised.rlim_max = want;
    }
    if (setrlimit(RLIMIT_NOFILE, &raised) == 0) {
        return;
    }
    raised = limit;
    raised.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &raised);
    wdb_logger_print(logger, WDB_LOG_WARNING,
                     "only %llu files can be open, %llu are wanted for "
                     "maxclients; raise the limit (ulimit -n, LimitNOFILE)",
                     (unsigned long long)limit.rlim_max,
                     (unsigned long long)want);
}

static void on_crash(int number)
{
    static const char text[] =
        "\n=== walkerdb has crashed; please report this with what is below "
        "===\n";
    void *frames[BACKTRACE_MAX];
    ssize_t rc = write(2, text, sizeof(text) - 1);
    (void)rc;
    backtrace_symbols_fd(frames, backtrace(frames, BACKTRACE_MAX), 2);
    signal(number, SIG_DFL);
    raise(number);
}

void wdb_process_set_signals(const struct wdb_config *config)
{
    signal(SIGPIPE, SIG_IGN);
    if (!wdb_config_bool(config, WDB_CONFIG_CRASH_LOG_ENABLED)) {
        return;
    }
    /* The first call loads a library; in the handler it must not. */
    void *frame;
    backtrace(&frame, 1);
    const int numbers[] = {SIGSEGV, SIGFPE, SIGILL, SIGABRT};
    for (size_t i = 0; i < WDB_COUNT(numbers); i++) {
        struct sigaction action = {.sa_handler = on_crash,
                                   .sa_flags = (int)SA_RESETHAND};
        sigemptyset(&action.sa_mask);
        sigaction(numbers[i], &action, NULL);
    }
}
