/*
 * loop.c - the main loop: signals, the timer, requests to stop.
 *
 * Ten times a second the timer deletes expired keys, takes samples of the
 * counters, compares memory with maxmemory and pats the watchdog. A stop goes:
 * (a backup, off the loop,) then the loop ends, and wdb_server_release takes
 * everything apart.
 */
#include <signal.h>
#include <unistd.h>

#include "admin/process.h"
#include "cmd/backup.h"
#include "server/process.h"
#include "server/server.h"
#include "walkerdb.h"

#define TICK_MS          100
#define EXPIRE_BUDGET_US 5000 /* of each tick, times active-expire-effort */

/* --- stopping ------------------------------------------------------------------------ */

/* Nothing that waits at the gate may go out, and nothing that is gathered may be
 * written: the files stay as they are. */
static _Noreturn void end_failed(const struct wdb_server *server)
{
    unlink(server->pidfile);
    _exit(1);
}

void wdb_server_ask_stop(struct wdb_server *server, enum wdb_stop_kind kind)
{
    int now = atomic_load(&server->stop_kind);
    while (now < (int)kind &&
           !atomic_compare_exchange_weak(&server->stop_kind, &now, kind)) {
    }
    if (!atomic_load(&server->releasing)) {
        uv_async_send(&server->stop_request);
    } else if (kind == WDB_STOP_FAILED) {
        end_failed(server); /* there is no loop that hears it */
    }
}

void wdb_server_begin_release(struct wdb_server *server)
{
    atomic_store(&server->releasing, true);
    if (atomic_load(&server->stop_kind) == WDB_STOP_FAILED) {
        end_failed(server); /* behind the end of the loop, before that */
    }
    for (size_t i = 0; server->has_loop && i < WDB_COUNT(server->signals);
         i++) {
        if (server->signals[i].signum != SIGHUP) {
            uv_signal_stop(&server->signals[i]); /* the default is back */
        }
    }
}

static void end_loop(struct wdb_server *server)
{
    if (atomic_load(&server->stop_kind) == WDB_STOP_FAILED) {
        end_failed(server);
    }
    if (atomic_load(&server->stop_kind) == WDB_STOP_ANEW) {
        wdb_logger_print(&server->log_file.logger, WDB_LOG_NOTICE,
                         "The cluster's secret came: starting anew with it");
    } else {
        wdb_logger_print(&server->log_file.logger, WDB_LOG_WARNING,
                         "User requested shutdown...");
        wdb_process_notify("STOPPING=1");
    }
    uv_stop(&server->loop);
}

static void save_work(uv_work_t *job)
{
    struct wdb_server *server = job->data;
    server->save_failed = wdb_backup_run(&server->context, server->save_error,
                                         sizeof(server->save_error)) != 0;
}

static void save_done(uv_work_t *job, int status)
{
    struct wdb_server *server = job->data;
    (void)status;
    int kind = atomic_load(&server->stop_kind);
    if (server->save_failed) {
        wdb_logger_print(&server->log_file.logger, WDB_LOG_WARNING,
                         "The backup before the end failed: %s",
                         server->save_error);
    }
    if (server->save_failed && kind == WDB_STOP_SAVE) {
        wdb_logger_print(&server->log_file.logger, WDB_LOG_WARNING,
                         "Going on; SHUTDOWN NOSAVE or FORCE ends the server");
        server->stopping = false;
        atomic_store(&server->stop_kind, WDB_STOP_NONE);
        return;
    }
    end_loop(server);
}

static void on_stop_request(uv_async_t *request)
{
    struct wdb_server *server = request->data;
    int kind = atomic_load(&server->stop_kind);
    if (kind == WDB_STOP_NONE ||
        (server->stopping && kind != WDB_STOP_FAILED)) {
        return;
    }
    if (!server->stopping &&
        (kind == WDB_STOP_SAVE || kind == WDB_STOP_SAVE_FORCE)) {
        server->stopping = true;
        server->save_job.data = server;
        if (uv_queue_work(&server->loop, &server->save_job, save_work,
                          save_done) == 0) {
            return;
        }
    }
    server->stopping = true;
    end_loop(server);
}

/* --- signals --------------------------------------------------------------------------- */

/* What shutdown-on-sigint and -sigterm say. */
static enum wdb_stop_kind kind_of_signal(const struct wdb_server *server,
                                         int number)
{
    int64_t bits =
        wdb_config_i64(server->config, number == SIGINT
                                           ? WDB_CONFIG_SHUTDOWN_ON_SIGINT
                                           : WDB_CONFIG_SHUTDOWN_ON_SIGTERM);
    const bool save = (bits & 1) != 0, force = (bits & 8) != 0;
    if (!save) {
        return WDB_STOP_PLAIN;
    }
    return force ? WDB_STOP_SAVE_FORCE : WDB_STOP_SAVE;
}

static void on_signal(uv_signal_t *handle, int number)
{
    struct wdb_server *server = handle->data;
    const struct wdb_logger *logger = &server->log_file.logger;
    if (number == SIGHUP) {
        wdb_log_file_reopen(&server->log_file);
        wdb_logger_print(logger, WDB_LOG_NOTICE,
                         "SIGHUP: the log file was opened again");
        return;
    }
    if (server->stopping) {
        wdb_logger_print(logger, WDB_LOG_WARNING,
                         "A second signal: ending at once");
        _exit(1);
    }
    wdb_logger_print(logger, WDB_LOG_WARNING,
                     "Received %s scheduling shutdown...",
                     number == SIGINT ? "SIGINT" : "SIGTERM");
    wdb_server_ask_stop(server, kind_of_signal(server, number));
}

/* --- the timer --------------------------------------------------------------------------- */

static void expire_keys(struct wdb_server *server)
{
    struct wdb_context *context = &server->context;
    struct wdb_env *env = server->env;
    uint64_t effort =
        wdb_config_u64(server->config, WDB_CONFIG_ACTIVE_EXPIRE_EFFORT);
    uint64_t start_ns = env->ops->monotonic_ns(env);
    uint64_t expired =
        wdb_db_expire_step(context->db, EXPIRE_BUDGET_US * effort);
    if (expired == 0) {
        return;
    }
    struct wdb_log *log = wdb_db_log(context->db);
    if (wdb_log_dirty(log)) {
        (void)!wdb_log_flush(log); /* a failure stops us through the log */
    }
    uint64_t took_ms = (env->ops->monotonic_ns(env) - start_ns) / 1000000;
    uint64_t threshold =
        wdb_config_u64(server->config, WDB_CONFIG_LATENCY_MONITOR_THRESHOLD);
    if (threshold > 0 && took_ms >= threshold) {
        wdb_latency_add(context->latency, "expire-cycle",
                        env->ops->time_ms(env) / 1000, took_ms);
    }
}

static void pat_watchdog(struct wdb_server *server, uint64_t now_ms)
{
    if (server->watchdog_ms != 0 &&
        now_ms - server->watchdog_last_ms >= server->watchdog_ms) {
        server->watchdog_last_ms = now_ms;
        wdb_process_notify("WATCHDOG=1");
    }
}

static void on_tick(uv_timer_t *timer)
{
    struct wdb_server *server = timer->data;
    struct wdb_env *env = server->env;
    uint64_t now_ms = env->ops->monotonic_ns(env) / 1000000;
    expire_keys(server);
    wdb_stats_sample(server->context.stats, now_ms, wdb_memory_used());
    wdb_context_check_memory(&server->context);
    pat_watchdog(server, now_ms);
}

/* --- life --------------------------------------------------------------------------------- */

int wdb_server_loop_init(struct wdb_server *server)
{
    static const int numbers[] = {SIGINT, SIGTERM, SIGHUP};
    if (uv_loop_init(&server->loop) != 0) {
        return WALKERDB_EIO;
    }
    server->has_loop = true;
    uv_async_init(&server->loop, &server->stop_request, on_stop_request);
    server->stop_request.data = server;
    uv_timer_init(&server->loop, &server->timer);
    server->timer.data = server;
    for (size_t i = 0; i < WDB_COUNT(numbers); i++) {
        uv_signal_init(&server->loop, &server->signals[i]);
        server->signals[i].data = server;
        uv_signal_start(&server->signals[i], on_signal, numbers[i]);
    }
    server->watchdog_ms = wdb_process_watchdog_us() / 2000;
    return 0;
}

void wdb_server_run(struct wdb_server *server)
{
    uv_timer_start(&server->timer, on_tick, TICK_MS, TICK_MS);
    /* Somebody may have asked before the loop began. */
    uv_async_send(&server->stop_request);
    uv_run(&server->loop, UV_RUN_DEFAULT);
}

static void close_handle(uv_handle_t *handle, void *context)
{
    (void)context;
    if (!uv_is_closing(handle)) {
        uv_close(handle, NULL);
    }
}

void wdb_server_loop_release(struct wdb_server *server)
{
    if (server->has_loop) {
        uv_walk(&server->loop, close_handle, NULL);
        uv_run(&server->loop, UV_RUN_DEFAULT);
        uv_loop_close(&server->loop);
        server->has_loop = false;
    }
}
