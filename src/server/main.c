/* main.c - the program walkerdb. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/check_peers.h"
#include "server/crash.h"
#include "server/help.h"
#include "server/process.h"
#include "server/server.h"
#include "walkerdb.h"

#ifdef WDB_HAVE_JEMALLOC
/* Read by jemalloc before main(): give memory back soon, off our threads; and
 * ask for huge pages, because a random key costs more in misses of the TLB than
 * in misses of the cache: with them a pipelined GET takes 15 to 28 % less. */
__attribute__((visibility("default"))) const char *malloc_conf =
    "background_thread:true,dirty_decay_ms:2000,muzzy_decay_ms:0,"
    "thp:always,metadata_thp:auto";
#endif

static int complain(const char *message)
{
    fprintf(stderr, "walkerdb: %s\n",
            message == NULL ? "out of memory" : message);
    return 1;
}

/* Before a log file is there: go to the background, open it. */
static int prepare(struct wdb_server *server)
{
    const struct wdb_config *config = server->config;
    int64_t supervised = wdb_config_i64(config, WDB_CONFIG_SUPERVISED);
    bool notifies =
        supervised == WDB_SUPERVISED_SYSTEMD ||
        (supervised == WDB_SUPERVISED_AUTO && getenv("NOTIFY_SOCKET") != NULL);
    if (!notifies) {
        unsetenv("NOTIFY_SOCKET");
    }
    if (wdb_config_bool(config, WDB_CONFIG_DAEMONIZE) && !notifies &&
        wdb_process_daemonize() != 0) {
        return complain("can't go into the background");
    }
    wdb_process_prepare(config);
    if (wdb_log_file_open(&server->log_file, config) != 0) {
        char path[WDB_PATH_SIZE_MAX], text[WDB_PATH_SIZE_MAX + 128];
        wdb_config_text(config, WDB_CONFIG_LOGFILE, path, sizeof(path));
        snprintf(text, sizeof(text), "can't open the log file %s: %s", path,
                 strerror(errno));
        return complain(text);
    }
    server->has_log_file = true;
    if (wdb_config_bool(config, WDB_CONFIG_CRASH_LOG_ENABLED)) {
        wdb_crash_install(&server->log_file);
    }
    return 0;
}

/* From start to release; the exit code. */
static int serve_once(struct wdb_server *server)
{
    char *message = NULL;
    if (wdb_server_start(server, &message) == 0) {
        wdb_server_run(server);
    } else {
        wdb_logger_print(&server->log_file.logger, WDB_LOG_WARNING, "%s",
                         message == NULL ? "out of memory" : message);
        /* Also where somebody looks who keeps the log elsewhere. */
        if (server->log_file.path[0] != '\0') {
            complain(message);
        }
        atomic_store(&server->exit_code, 1);
    }
    free(message);
    wdb_server_release(server);
    return atomic_load(&server->exit_code);
}

static int serve(struct wdb_server *server)
{
    int exit_code = prepare(server);
    if (exit_code != 0) {
        return exit_code;
    }
    do {
        exit_code = serve_once(server);
    } while (exit_code == 0 && wdb_server_is_renewed(server));
    return exit_code;
}

static int run(struct wdb_server *server, int argc, char **argv)
{
    enum wdb_config_action action = WDB_CONFIG_RUN;
    struct wdb_check_peers check;
    const char *trouble = NULL;
    char *message = NULL;
    int exit_code = 0;
    if (wdb_check_peers_take(&argc, argv, &check, &trouble) != 0) {
        return complain(trouble);
    }
    if (wdb_env_posix_new(&server->env) != 0 ||
        wdb_config_new(server->env, &server->config) != 0) {
        return complain(NULL);
    }
    if (wdb_config_load(server->config, argc, argv, &action, &message) != 0) {
        exit_code = complain(message);
        free(message);
        return exit_code;
    }
    switch (action) {
    case WDB_CONFIG_SHOW_HELP:
        wdb_help_print();
        return 0;
    case WDB_CONFIG_SHOW_VERSION:
        wdb_version_print();
        return 0;
    case WDB_CONFIG_CHECK_ONLY:
        puts("The configuration is good.");
        return 0;
    case WDB_CONFIG_FORCE_ASK:
    case WDB_CONFIG_FORCE:
        return wdb_server_force(server, action == WDB_CONFIG_FORCE);
    case WDB_CONFIG_RUN:
        break;
    }
    if (check.is_wanted) {
        return wdb_check_peers_run(&check, server->env, server->config);
    }
    return serve(server);
}

int main(int argc, char **argv)
{
    struct wdb_server *server = calloc(1, sizeof(*server));
    if (server == NULL) {
        return complain(NULL);
    }
    int exit_code = run(server, argc, argv);
    if (server->has_log_file) {
        wdb_log_file_close(&server->log_file);
    }
    wdb_config_free(server->config);
    wdb_env_posix_free(server->env);
    free(server);
    return exit_code;
}
