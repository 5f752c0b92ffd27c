/*
 * server.c - the server as a whole.
 *
 * Start: database (recovery with progress), then what commands share, then
 * workers and listeners; only then is READY said. Release is the reverse, and
 * takes what a failed start left.
 */
#include "server/server.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "admin/process.h"
#include "cmd/backup.h"
#include "cmd/command.h"
#include "cmd/config.h"
#include "cmd/version.h"
#include "server/options.h"
#include "server/process.h"
#include "walkerdb.h"

/* How long a leader that ends answers followers that have not heard of it. */
#define FAREWELL_MS      1000
#define FAREWELL_STEP_MS 5

static const struct wdb_logger *logger_of(const struct wdb_server *server)
{
    return &server->log_file.logger;
}

static int fail(char **message_out, int code, const char *what, const char *why)
{
    if (asprintf(message_out, "%s: %s", what, why) < 0) {
        *message_out = NULL;
    }
    return code;
}

/* --- the database --------------------------------------------------------------------- */

static void on_durable(void *context, uint64_t index)
{
    struct wdb_server *server = context;
    (void)index;
    pthread_mutex_lock(&server->net_lock);
    if (server->net != NULL) {
        wdb_net_wake_gated(server->net);
    }
    pthread_mutex_unlock(&server->net_lock);
}

static void set_net(struct wdb_server *server, struct wdb_net *net)
{
    pthread_mutex_lock(&server->net_lock);
    server->net = net;
    pthread_mutex_unlock(&server->net_lock);
}

/* Nothing can be written any more: the rule is to stop, and to say why. */
static void on_failure(void *context, int error, const char *message)
{
    struct wdb_server *server = context;
    wdb_logger_print(logger_of(server), WDB_LOG_WARNING,
                     "FATAL: %s (%s). A failed write or sync is never retried: "
                     "the server ends. Check the disk, then start again; "
                     "recovery decides what is there",
                     message == NULL ? "the log failed" : message,
                     walkerdb_strerror(error));
    atomic_store(&server->exit_code, 1);
    wdb_server_ask_stop(server, WDB_STOP_FAILED);
}

static void on_progress(void *context, uint64_t done, uint64_t total)
{
    struct wdb_server *server = context;
    wdb_progress_update(&server->progress, done, total);
}

/* Keys are hashed by the secret, and what has a hash (a queued transaction, a
 * held request) keeps it: so it is not changed while the server runs. */
static void on_secret(void *context)
{
    wdb_server_ask_stop(context, WDB_STOP_ANEW);
}

/* Another node hands over a connection for its clients. */
static void on_forward(void *context, int fd, wdb_node_id peer)
{
    struct wdb_server *server = context;
    wdb_proxy_workers_accept(server->proxy, fd, peer);
}

/* Is this a member of a cluster, or to be one? */
static int find_cluster(struct wdb_server *server,
                        struct wdb_db_options *options, char **message_out)
{
    const struct wdb_server_cluster_options cluster = {
        .env = server->env,
        .config = server->config,
        .logger = logger_of(server),
        .dir = server->dir,
        .on_failure = on_failure,
        .on_progress = on_progress,
        .on_secret = on_secret,
        .on_forward = on_forward,
        .context = server,
    };
    const int code = wdb_server_cluster_new(&cluster, options, &server->cluster,
                                            message_out);
    if (code == 0 && server->cluster != NULL) {
        wdb_server_cluster_db_options(server->cluster, options);
    }
    return code;
}

int wdb_server_force(struct wdb_server *server, bool yes)
{
    struct wdb_db_options options;
    wdb_server_options(server->config, server->env, server->dir, &options);
    const struct wdb_server_cluster_options cluster = {
        .env = server->env,
        .config = server->config,
        .dir = server->dir,
    };
    return wdb_server_cluster_force(&cluster, &options, yes);
}

static int open_database(struct wdb_server *server, char **message_out)
{
    struct wdb_db_options options;
    struct wdb_env *env = server->env;
    wdb_server_options(server->config, env, server->dir, &options);
    if (wdb_env_posix_make_dirs(server->dir) != 0) {
        char what[WDB_PATH_SIZE_MAX + 64];
        snprintf(what, sizeof(what), "can't make the directory %s",
                 server->dir);
        return fail(message_out, WALKERDB_EIO, what, strerror(errno));
    }
    options.store.log.logger = logger_of(server);
    options.store.log.on_durable = on_durable;
    options.store.log.on_failure = on_failure;
    options.store.log.on_progress = on_progress;
    options.store.log.context = server;
    int code = find_cluster(server, &options, message_out);
    if (code != 0) {
        return code;
    }
    wdb_progress_begin(&server->progress, env, logger_of(server));
    code = wdb_db_open(&options, &server->context.db, message_out);
    wdb_progress_end(&server->progress);
    if (code != 0) {
        return *message_out != NULL ? code
                                    : fail(message_out, code, server->dir,
                                           walkerdb_strerror(code));
    }
    struct wdb_store_stats stats;
    wdb_store_stats(wdb_db_store(server->context.db), &stats);
    wdb_logger_print(logger_of(server), WDB_LOG_NOTICE,
                     "Database %s: %llu keys in %llu segments, loaded in "
                     "%llu ms",
                     server->dir, (unsigned long long)stats.key_count,
                     (unsigned long long)stats.log.segment_count,
                     (unsigned long long)stats.load_duration_ms);
    if (!wdb_config_bool(server->config, WDB_CONFIG_STORE_MERGE)) {
        wdb_store_merge_pause(wdb_db_store(server->context.db), true);
    }
    return 0;
}

/* --- what commands share ----------------------------------------------------------------- */

/* After CONFIG SET, on some worker's thread. */
static int on_apply(void *argument, enum wdb_config_id id, char *error,
                    size_t error_size)
{
    struct wdb_server *server = argument;
    uint64_t number = wdb_config_u64(server->config, id);
    if (id == WDB_CONFIG_MAXCLIENTS &&
        wdb_process_reserve_files(number) < number) {
        snprintf(error, error_size,
                 "The operating system is not able to handle the specified "
                 "number of clients");
        return WALKERDB_EINVALID;
    }
    if (id == WDB_CONFIG_PORT &&
        wdb_net_change_port(server->net, error, error_size) != 0) {
        return WALKERDB_EINVALID;
    }
    if (id == WDB_CONFIG_LOGLEVEL) {
        server->log_file.logger.level_min = (enum wdb_log_level)number;
    }
    return wdb_context_apply(&server->context, id, error, error_size);
}

static void make_run_id(struct wdb_server *server)
{
    uint8_t bytes[20];
    server->env->ops->random(server->env, bytes, sizeof(bytes));
    for (size_t i = 0; i < sizeof(bytes); i++) {
        snprintf(server->context.run_id + 2 * i, 3, "%02x", bytes[i]);
    }
}

static int init_context(struct wdb_server *server, uint32_t worker_count)
{
    struct wdb_context *context = &server->context;
    context->env = server->env;
    context->config = server->config;
    context->logger = logger_of(server);
    context->started_ms = server->env->ops->time_ms(server->env);
    pthread_mutex_init(&context->registry_lock, NULL);
    wdb_list_init(&context->sessions);
    server->has_context = true;
    make_run_id(server);
    int code =
        wdb_stats_new(worker_count, wdb_command_id_count(), &context->stats);
    code = code == 0 ? wdb_slowlog_new(&context->slowlog) : code;
    code = code == 0 ? wdb_latency_new(&context->latency) : code;
    code = code == 0 ? wdb_backup_new(&context->save) : code;
    if (code == 0) {
        wdb_config_on_apply(server->config, on_apply, server);
        context->memory_startup = wdb_memory_used();
    }
    return code;
}

/* --- start ---------------------------------------------------------------------------------- */

static void on_shutdown(void *owner, bool save)
{
    wdb_server_ask_stop(owner, save ? WDB_STOP_SAVE : WDB_STOP_PLAIN);
}

static int reserve_files(struct wdb_server *server)
{
    uint64_t wanted = wdb_config_u64(server->config, WDB_CONFIG_MAXCLIENTS);
    uint64_t possible = wdb_process_reserve_files(wanted);
    char text[32], error[128];
    if (possible == wanted) {
        return 0;
    }
    wdb_logger_print(logger_of(server), WDB_LOG_WARNING,
                     "maxclients is %llu, but the limit of open files allows "
                     "%llu: that is maxclients now (ulimit -n, LimitNOFILE)",
                     (unsigned long long)wanted, (unsigned long long)possible);
    snprintf(text, sizeof(text), "%llu", (unsigned long long)possible);
    return wdb_config_force(server->config, WDB_CONFIG_MAXCLIENTS, text, error,
                            sizeof(error));
}

static void log_start(struct wdb_server *server)
{
    struct wdb_buffer idle = WDB_BUFFER_INIT;
    const struct wdb_logger *logger = logger_of(server);
    const char *file = wdb_config_file(server->config);
    wdb_logger_print(logger, WDB_LOG_NOTICE,
                     "walkerdb %s is starting (it behaves like Redis %s), "
                     "pid %d, %s%s",
                     WALKERDB_VERSION, WDB_REDIS_VERSION, (int)getpid(),
                     file[0] == '\0' ? "no configuration file"
                                     : "configuration ",
                     file);
    if (wdb_config_idle_names(server->config, &idle) == 0 && idle.size > 0) {
        wdb_logger_print(logger, WDB_LOG_NOTICE,
                         "Settings that change nothing here: %.*s",
                         (int)idle.size, (const char *)idle.data);
    }
    wdb_buffer_release(&idle);
    wdb_process_warn(server->config, logger);
}

/* A member forwards what it must not answer itself. */
static int make_proxy(struct wdb_server *server)
{
    if (server->cluster == NULL) {
        return 0;
    }
    const int code =
        wdb_proxy_workers_new(&server->context,
                              wdb_server_cluster_peers(server->cluster),
                              &server->proxy);
    if (code == 0) {
        server->context.forward = wdb_proxy_workers_hook(server->proxy);
    }
    return code;
}

static int start_net(struct wdb_server *server, uint32_t worker_count,
                     char **message_out)
{
    struct wdb_net_options options = {
        .context = &server->context,
        .loop = &server->loop,
        .worker_count = worker_count,
        .on_shutdown = on_shutdown,
        .owner = server,
    };
    struct wdb_net *net;
    int code = make_proxy(server);
    if (server->proxy != NULL) {
        options.part = wdb_proxy_workers_part();
        options.part_context = server->proxy;
    }
    code = code == 0 ? wdb_net_new(&options, &net) : code;
    if (code != 0) {
        return fail(message_out, code, "can't start", walkerdb_strerror(code));
    }
    set_net(server, net);
    if (server->proxy != NULL) {
        wdb_proxy_workers_set_net(server->proxy, net);
    }
    code = wdb_net_listen(net, message_out);
    if (code != 0) {
        return code;
    }
    code = wdb_net_start(net);
    return code == 0 ? 0
                     : fail(message_out, code, "can't start threads",
                            walkerdb_strerror(code));
}

static void log_ready(struct wdb_server *server)
{
    char bind[512], path[256];
    const struct wdb_logger *logger = logger_of(server);
    int port = (int)wdb_config_i64(server->config, WDB_CONFIG_PORT);
    wdb_config_text(server->config, WDB_CONFIG_BIND, bind, sizeof(bind));
    wdb_config_text(server->config, WDB_CONFIG_UNIXSOCKET, path, sizeof(path));
    if (port != 0) {
        wdb_logger_print(logger, WDB_LOG_NOTICE, "Listening on %s, port %d",
                         bind, port);
    }
    if (path[0] != '\0') {
        wdb_logger_print(logger, WDB_LOG_NOTICE, "Listening on %s", path);
    }
    wdb_logger_print(logger, WDB_LOG_NOTICE, "Ready to accept connections");
    wdb_process_notify("STATUS=Ready to accept connections\nREADY=1");
}

static int write_pidfile(struct wdb_server *server)
{
    char path[WDB_PATH_SIZE_MAX];
    wdb_config_text(server->config, WDB_CONFIG_PIDFILE, path, sizeof(path));
    if (path[0] == '\0') {
        return 0;
    }
    int code = wdb_process_write_pid(path);
    if (code == 0) {
        memcpy(server->pidfile, path, sizeof(path));
    } else {
        wdb_logger_print(logger_of(server), WDB_LOG_WARNING,
                         "can't write the pid to %s: %s", path,
                         strerror(errno));
    }
    return 0; /* as in Redis: not worth dying for */
}

int wdb_server_start(struct wdb_server *server, char **message_out)
{
    uint32_t worker_count = wdb_net_worker_count(server->config);
    *message_out = NULL;
    pthread_mutex_init(&server->net_lock, NULL);
    log_start(server);
    int code = reserve_files(server);
    code = code == 0 ? wdb_server_loop_init(server) : code;
    code = code == 0 ? write_pidfile(server) : code;
    if (code == 0) {
        code = open_database(server, message_out);
    }
    code = code == 0 ? init_context(server, worker_count) : code;
    if (code == 0 && server->cluster != NULL) {
        code = wdb_server_cluster_open(server->cluster, server->context.db,
                                       message_out);
        server->context.cluster = wdb_server_cluster_of(server->cluster);
    }
    if (code == 0) {
        code = start_net(server, worker_count, message_out);
    }
    if (code == 0 && server->cluster != NULL) {
        code =
            wdb_server_cluster_start(server->cluster, server->net, message_out);
    }
    if (code == 0) {
        log_ready(server);
    } else if (*message_out == NULL) {
        (void)fail(message_out, code, "can't start", walkerdb_strerror(code));
    }
    return code;
}

/* --- the end -------------------------------------------------------------------------------- */

static void release_context(struct wdb_server *server)
{
    struct wdb_context *context = &server->context;
    if (!server->has_context) {
        return;
    }
    wdb_config_on_apply(server->config, NULL, NULL);
    wdb_stats_free(context->stats);
    wdb_slowlog_free(context->slowlog);
    wdb_latency_free(context->latency);
    wdb_backup_free(context->save);
    pthread_mutex_destroy(&context->registry_lock);
    server->has_context = false;
}

/*
 * Followers that do not know of the new leader yet go on sending their clients'
 * requests here, where they are refused, and so tried again there. If we hung up
 * before, nobody could tell that they were not done.
 */
static void wait_for_followers(struct wdb_server *server)
{
    const struct timespec step = {.tv_nsec = FAREWELL_STEP_MS * 1000000L};
    struct wdb_proxy_workers_stats stats;
    for (int ms = 0; ms < FAREWELL_MS; ms += FAREWELL_STEP_MS) {
        wdb_proxy_workers_stats(server->proxy, &stats);
        if (stats.acceptor.channels_now == 0) {
            return;
        }
        nanosleep(&step, NULL);
    }
}

void wdb_server_release(struct wdb_server *server)
{
    struct wdb_context *context = &server->context;
    struct wdb_net *net = server->net;
    wdb_server_begin_release(server);
    atomic_store(&context->stopping, true);
    if (net != NULL && server->cluster != NULL) {
        wdb_server_cluster_resign(server->cluster);
        wait_for_followers(server);
    }
    if (net != NULL) {
        wdb_backup_stop(context);
        wdb_net_stop(net);
    }
    if (server->cluster != NULL) {
        wdb_server_cluster_stop(server->cluster);
    }
    wdb_server_loop_release(server);
    /* The log's thread may still wake the workers until it has ended. */
    struct wdb_db *db = context->db;
    if (net != NULL) {
        set_net(server, NULL);
        wdb_net_free(net);
    }
    context->forward = NULL;
    wdb_proxy_workers_free(server->proxy);
    if (db != NULL) {
        wdb_db_close(db);
        context->db = NULL;
        wdb_logger_print(logger_of(server), WDB_LOG_WARNING,
                         "walkerdb is now ready to exit, bye bye...");
    }
    context->cluster = NULL;
    wdb_server_cluster_free(server->cluster);
    release_context(server);
    pthread_mutex_destroy(&server->net_lock);
    if (server->pidfile[0] != '\0') {
        unlink(server->pidfile);
    }
}

bool wdb_server_is_renewed(struct wdb_server *server)
{
    if (atomic_load(&server->stop_kind) != WDB_STOP_ANEW) {
        return false;
    }
    const size_t kept = offsetof(struct wdb_server, dir);
    memset((char *)server + kept, 0, sizeof(*server) - kept);
    return true;
}
