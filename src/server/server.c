/*
 * server.c - opens the database, starts the workers, waits, stops in order.
 *
 * The stop: no new connections; the workers finish their turn and close theirs;
 * what is in the log is written and synced; the files are closed. A failed
 * write or sync of the log stops the server at once, with status 1: nothing is
 * acknowledged any more, and the next start decides what is there.
 */
#include "server/server.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <uv.h>

#include "admin/process.h"
#include "base/assert.h"
#include "base/time.h"
#include "cmd/backup.h"
#include "cmd/config.h"
#include "net/net.h"
#include "server/log_file.h"
#include "server/process.h"
#include "server/progress.h"

#define TICK_MS          100
#define EXPIRE_BUDGET_US 2500 /* of each tick: at most a fortieth of a core */

struct wdb_server {
    struct wdb_env *env;
    struct wdb_config *config;
    struct wdb_log_file log_file;
    const struct wdb_logger *logger;
    struct wdb_context context;
    struct wdb_net *net;
    struct wdb_progress progress;
    uv_loop_t loop;
    uv_timer_t timer;
    uv_signal_t signals[3];
    uv_async_t stop; /* from any thread */
    _Atomic bool stop_save;
    _Atomic bool failed; /* the log cannot be written any more */
    bool stopping;
};

/* --- stopping ----------------------------------------------------------------- */

static void begin_stop(struct wdb_server *server)
{
    if (!server->stopping) {
        server->stopping = true;
        atomic_store(&server->context.stopping, true);
        uv_stop(&server->loop);
    }
}

/* Any thread. */
static void on_shutdown(void *owner, bool save)
{
    struct wdb_server *server = owner;
    if (save) {
        atomic_store(&server->stop_save, true);
    }
    uv_async_send(&server->stop);
}

static void on_stop(uv_async_t *stop)
{
    begin_stop(stop->data);
}

static void on_signal(uv_signal_t *handle, int number)
{
    struct wdb_server *server = handle->data;
    if (number == SIGHUP) {
        wdb_log_file_reopen(&server->log_file);
        return;
    }
    if (server->stopping) {
        _exit(1); /* asked twice */
    }
    wdb_logger_print(server->logger, WDB_LOG_WARNING,
                     "received %s: stopping in order",
                     number == SIGINT ? "SIGINT" : "SIGTERM");
    begin_stop(server);
}

/* A write or sync of the log failed. Any thread; nothing is acknowledged any
 * more. */
static void on_log_failure(void *context, int error, const char *message)
{
    struct wdb_server *server = context;
    wdb_logger_print(server->logger, WDB_LOG_WARNING,
                     "FATAL: %s (%s). The server stops: a failed write or sync "
                     "is never retried. Check the disk, then start again; "
                     "recovery decides what is there.",
                     message, walkerdb_strerror(error));
    atomic_store(&server->failed, true);
    uv_async_send(&server->stop);
}

/* Any thread. */
static void on_durable(void *context, uint64_t index)
{
    struct wdb_server *server = context;
    (void)index;
    if (server->net != NULL &&
        wdb_config_i64(server->config, WDB_CONFIG_APPENDFSYNC) ==
            WDB_FSYNC_ALWAYS) {
        wdb_net_wake_all(server->net);
    }
}

/* --- the timer ----------------------------------------------------------------- */

static void on_tick(uv_timer_t *timer)
{
    struct wdb_server *server = timer->data;
    struct wdb_log *log = wdb_db_log(server->context.db);
    wdb_db_expire_step(server->context.db, EXPIRE_BUDGET_US);
    if (wdb_log_dirty(log)) {
        (void)!wdb_log_flush(log); /* a failure comes through the callback */
    }
    wdb_context_check_memory(&server->context);
    wdb_stats_sample(server->context.stats,
                     server->env->ops->monotonic_ns(server->env) / 1000000,
                     wdb_memory_used());
}

/* Any thread. */
static void on_progress(void *context, uint64_t done, uint64_t total)
{
    struct wdb_server *server = context;
    wdb_progress_update(&server->progress, done, total);
}

/* --- opening the database --------------------------------------------------------- */

static enum wdb_sync_policy sync_policy(const struct wdb_config *config)
{
    switch (wdb_config_i64(config, WDB_CONFIG_APPENDFSYNC)) {
    case WDB_FSYNC_ALWAYS:
        return WDB_SYNC_ALWAYS;
    case WDB_FSYNC_NO:
        return WDB_SYNC_NEVER;
    default:
        return WDB_SYNC_INTERVAL;
    }
}

static uint32_t stripe_count(const struct wdb_config *config)
{
    uint32_t wanted =
        (uint32_t)wdb_config_u64(config, WDB_CONFIG_STORE_STRIPES);
    uint32_t count = WDB_STRIPE_COUNT_DEFAULT;
    if (wanted == 0) {
        wanted = 16 * wdb_net_worker_count(config);
    }
    while (count < wanted && count < WDB_STRIPE_COUNT_MAX) {
        count *= 2;
    }
    return count;
}

static void fill_options(struct wdb_server *server, const char *dir,
                         struct wdb_db_options *out)
{
    const struct wdb_config *c = server->config;
    *out = (struct wdb_db_options){0};
    struct wdb_store_options *store = &out->store;
    wdb_store_options_init(store);
    store->log.env = server->env;
    store->log.dir = dir;
    store->log.logger = server->logger;
    store->log.create = true;
    store->log.segment_size = wdb_config_u64(c, WDB_CONFIG_STORE_SEGMENT_SIZE);
    store->log.batch_size_max =
        wdb_config_u64(c, WDB_CONFIG_STORE_BATCH_SIZE_MAX);
    store->log.reserve_size = wdb_config_u64(c, WDB_CONFIG_STORE_RESERVE_SIZE);
    store->log.sync_policy = sync_policy(c);
    store->log.sync_interval_ms =
        (uint32_t)wdb_config_u64(c, WDB_CONFIG_STORE_SYNC_INTERVAL);
    store->log.sync_bytes = wdb_config_u64(c, WDB_CONFIG_STORE_SYNC_BYTES);
    store->log.on_durable = on_durable;
    store->log.on_failure = on_log_failure;
    store->log.on_progress = on_progress;
    store->log.context = server;
    store->stripe_count = stripe_count(c);
    store->load_threads =
        (uint32_t)wdb_config_u64(c, WDB_CONFIG_STORE_LOAD_THREADS);
    store->verify_on_read = wdb_config_bool(c, WDB_CONFIG_STORE_VERIFY_ON_READ);
    store->hints = wdb_config_bool(c, WDB_CONFIG_STORE_HINTS);
    store->merge_enabled = wdb_config_bool(c, WDB_CONFIG_STORE_MERGE);
    store->merge_ratio =
        (double)wdb_config_u64(c, WDB_CONFIG_STORE_MERGE_PERCENTAGE) / 100;
    store->merge_rate = wdb_config_u64(c, WDB_CONFIG_STORE_MERGE_RATE);
    store->merge_free_space_min =
        wdb_config_u64(c, WDB_CONFIG_STORE_MERGE_FREE_SPACE_MIN);
}

/* mkdir -p. */
static int make_directory(const char *path)
{
    char part[WDB_PATH_SIZE_MAX];
    size_t size = strlen(path);
    if (size == 0 || size >= sizeof(part)) {
        return ENAMETOOLONG;
    }
    for (size_t i = 1; i <= size; i++) {
        if (path[i] == '/' || path[i] == '\0') {
            memcpy(part, path, i);
            part[i] = '\0';
            if (mkdir(part, 0700) != 0 && errno != EEXIST) {
                return errno;
            }
        }
    }
    return 0;
}

static int open_database(struct wdb_server *server)
{
    char dir[WDB_PATH_SIZE_MAX];
    struct wdb_db_options options;
    char *message = NULL;
    wdb_config_text(server->config, WDB_CONFIG_DIR, dir, sizeof(dir));
    int error = make_directory(dir);
    if (error != 0) {
        wdb_logger_print(server->logger, WDB_LOG_WARNING,
                         "cannot make the directory %s: %s", dir,
                         strerror(error));
        return WALKERDB_EIO;
    }
    fill_options(server, dir, &options);
    wdb_progress_begin(&server->progress, server->env, server->logger);
    int rc = wdb_db_open(&options, &server->context.db, &message);
    wdb_progress_end(&server->progress);
    if (rc != 0) {
        wdb_logger_print(server->logger, WDB_LOG_WARNING,
                         "cannot open the database in %s: %s", dir,
                         message != NULL ? message : walkerdb_strerror(rc));
        free(message);
        return rc;
    }
    free(message);
    struct wdb_store_stats stats;
    wdb_store_stats(wdb_db_store(server->context.db), &stats);
    wdb_logger_print(server->logger, WDB_LOG_NOTICE,
                     "database %s: %" PRIu64 " keys in %" PRIu64
                     " segments, loaded in %" PRIu64 " ms",
                     dir, stats.key_count, stats.log.segment_count,
                     stats.load_duration_ms);
    return 0;
}

/* --- the shared context ----------------------------------------------------------- */

static int init_context(struct wdb_server *server)
{
    struct wdb_context *context = &server->context;
    uint8_t random[20];
    context->env = server->env;
    context->config = server->config;
    context->logger = server->logger;
    context->started_ms = server->env->ops->time_ms(server->env);
    pthread_mutex_init(&context->registry_lock, NULL);
    wdb_list_init(&context->sessions);
    server->env->ops->random(server->env, random, sizeof(random));
    for (size_t i = 0; i < sizeof(random); i++) {
        snprintf(context->run_id + 2 * i, 3, "%02x", random[i]);
    }
    int rc = wdb_stats_new(wdb_net_worker_count(server->config),
                           wdb_command_id_count(), &context->stats);
    rc = rc != 0 ? rc : wdb_slowlog_new(&context->slowlog);
    rc = rc != 0 ? rc : wdb_latency_new(&context->latency);
    rc = rc != 0 ? rc : wdb_backup_new(&context->save);
    wdb_config_on_apply(server->config, wdb_context_apply, context);
    return rc;
}

static void release_context(struct wdb_server *server)
{
    struct wdb_context *context = &server->context;
    wdb_backup_free(context->save);
    wdb_db_close(context->db);
    wdb_latency_free(context->latency);
    wdb_slowlog_free(context->slowlog);
    wdb_stats_free(context->stats);
    pthread_mutex_destroy(&context->registry_lock);
}

/* --- run ------------------------------------------------------------------------------ */

static int start_net(struct wdb_server *server)
{
    const struct wdb_net_options options = {
        .context = &server->context,
        .loop = &server->loop,
        .worker_count = wdb_net_worker_count(server->config),
        .on_shutdown = on_shutdown,
        .owner = server,
    };
    char *message = NULL;
    int rc = wdb_net_new(&options, &server->net);
    if (rc == 0) {
        rc = wdb_net_listen(server->net, &message);
        if (rc != 0) {
            wdb_logger_print(server->logger, WDB_LOG_WARNING, "%s",
                             message != NULL ? message : walkerdb_strerror(rc));
            free(message);
        }
    }
    return rc != 0 ? rc : wdb_net_start(server->net);
}

static void start_main_loop(struct wdb_server *server)
{
    static const int numbers[] = {SIGTERM, SIGINT, SIGHUP};
    uv_timer_init(&server->loop, &server->timer);
    server->timer.data = server;
    uv_timer_start(&server->timer, on_tick, TICK_MS, TICK_MS);
    for (size_t i = 0; i < WDB_COUNT(numbers); i++) {
        uv_signal_init(&server->loop, &server->signals[i]);
        server->signals[i].data = server;
        uv_signal_start(&server->signals[i], on_signal, numbers[i]);
    }
}

static void close_handle(uv_handle_t *handle, void *arg)
{
    (void)arg;
    if (!uv_is_closing(handle)) {
        uv_close(handle, NULL);
    }
}

/* From the first signal to stop to the last file. */
static void stop(struct wdb_server *server)
{
    wdb_process_notify(server->config, "STOPPING=1");
    if (atomic_load(&server->failed)) {
        /* Nothing that waits at the gate may go out, and nothing that is
         * gathered may be written: the files stay as they are. */
        wdb_process_remove_pid(server->config);
        _exit(1);
    }
    if (server->net != NULL) {
        wdb_net_stop(server->net);
    }
    if (server->context.save != NULL && server->context.db != NULL) {
        char error[512];
        wdb_backup_stop(&server->context);
        if (atomic_load(&server->stop_save) &&
            wdb_backup_run(&server->context, error, sizeof(error)) != 0) {
            wdb_logger_print(server->logger, WDB_LOG_WARNING,
                             "the backup at shutdown failed: %s", error);
        }
    }
}

static int run(struct wdb_server *server)
{
    int rc = init_context(server);
    rc = rc != 0 ? rc : open_database(server);
    if (rc == 0) {
        server->context.memory_startup = wdb_memory_used();
        rc = start_net(server);
    }
    if (rc == 0) {
        start_main_loop(server);
        wdb_logger_print(server->logger, WDB_LOG_NOTICE,
                         "ready to accept connections on port %" PRId64
                         " with %u workers",
                         wdb_config_i64(server->config, WDB_CONFIG_PORT),
                         wdb_net_worker_count(server->config));
        wdb_process_notify(server->config, "READY=1");
        if (!atomic_load(&server->failed)) {
            uv_run(&server->loop, UV_RUN_DEFAULT);
        }
        stop(server);
    }
    return rc;
}

int wdb_server_run(struct wdb_env *env, struct wdb_config *config)
{
    static struct wdb_server server; /* large; there is one */
    char error[512];
    server = (struct wdb_server){.env = env, .config = config};
    if (wdb_config_bool(config, WDB_CONFIG_DAEMONIZE) &&
        wdb_process_daemonize() != 0) {
        fprintf(stderr, "walkerdb: cannot go to the background: %s\n",
                strerror(errno));
        return 1;
    }
    if (wdb_log_file_open(&server.log_file, config, error, sizeof(error)) !=
        0) {
        fprintf(stderr, "walkerdb: %s\n", error);
        return 1;
    }
    server.logger = &server.log_file.logger;
    wdb_logger_print(server.logger, WDB_LOG_NOTICE,
                     "walkerdb %s starts, pid %d", walkerdb_version(),
                     (int)getpid());
    wdb_process_set_signals(config);
    wdb_process_raise_limits(config, server.logger);
    wdb_process_write_pid(config, server.logger);
    uv_loop_init(&server.loop);
    uv_async_init(&server.loop, &server.stop, on_stop);
    server.stop.data = &server;
    int rc = run(&server);
    uv_walk(&server.loop, close_handle, NULL);
    uv_run(&server.loop, UV_RUN_DEFAULT);
    release_context(&server);
    wdb_net_free(server.net);
    uv_loop_close(&server.loop);
    wdb_process_remove_pid(config);
    wdb_logger_print(server.logger, WDB_LOG_NOTICE, "bye");
    wdb_log_file_close(&server.log_file);
    return rc == 0 ? 0 : 1;
}
