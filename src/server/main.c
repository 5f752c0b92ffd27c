/* main.c - the program walkerdb: read the settings, run the server. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin/config.h"
#include "cmd/version.h"
#include "env/env.h"
#include "server/server.h"
#include "walkerdb.h"

static void print_help(void)
{
    printf(
        "usage: walkerdb [PATH] [--OPTION VALUE ...]\n\n"
        "PATH is a configuration file, or a directory for what the options do "
        "not place.\n\n"
        "  --port N              TCP port (default 6379)\n"
        "  --bind ADDRESS ...    addresses (default 127.0.0.1)\n"
        "  -tcp HOST:PORT        both at once\n"
        "  --dir DIR             the database's directory (default .)\n"
        "  --appendfsync always|everysec|no\n"
        "                        when a write is acknowledged: synced, or "
        "written (default everysec)\n"
        "  --io-threads N        workers (default: the cores, at most 8)\n"
        "  --maxmemory BYTES     limit of keys and buffers\n"
        "  --requirepass WORD    password\n"
        "  --config FILE         the configuration file, - for standard input\n"
        "  --check-config        read the settings, and stop\n"
        "  --version, --help\n\n"
        "Every option of walkerdb.conf(5) can be given like this; one dash is "
        "as good as two.\n");
}

/* Clusters are asked for by these; this version cannot run them. */
static bool wants_cluster(const struct wdb_config *config)
{
    return wdb_config_bool(config, WDB_CONFIG_RAFT_BOOTSTRAP) ||
           wdb_config_bool(config, WDB_CONFIG_RAFT_JOIN);
}

static int run(struct wdb_env *env, struct wdb_config *config, int argc,
               char **argv)
{
    enum wdb_config_action action = WDB_CONFIG_RUN;
    char *message = NULL;
    int rc = wdb_config_load(config, argc, argv, &action, &message);
    if (rc != 0) {
        fprintf(stderr, "walkerdb: %s\n",
                message != NULL ? message : walkerdb_strerror(rc));
        free(message);
        return 1;
    }
    switch (action) {
    case WDB_CONFIG_SHOW_HELP:
        print_help();
        return 0;
    case WDB_CONFIG_SHOW_VERSION:
        printf("walkerdb %s (behaves as Redis %s)\n", walkerdb_version(),
               WDB_REDIS_VERSION);
        return 0;
    case WDB_CONFIG_CHECK_ONLY:
        printf("the settings are valid\n");
        return 0;
    case WDB_CONFIG_RUN:
        break;
    }
    if (wants_cluster(config)) {
        fprintf(stderr,
                "walkerdb: this version does not run clusters yet; start a "
                "standalone server with -bootstrap false and without -join\n");
        return 1;
    }
    return wdb_server_run(env, config);
}

int main(int argc, char **argv)
{
    struct wdb_env *env = NULL;
    struct wdb_config *config = NULL;
    int status = 1;
    if (wdb_env_posix_new(&env) == 0 && wdb_config_new(env, &config) == 0) {
        status = run(env, config, argc, argv);
        wdb_config_free(config);
    } else {
        fprintf(stderr, "walkerdb: out of memory\n");
    }
    if (env != NULL) {
        wdb_env_posix_free(env);
    }
    return status;
}
