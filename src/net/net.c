/* net.c - the workers as a whole, and what commands ask of them. */
#include "net/net.h"

#include <stdlib.h>
#include <unistd.h>

#include "base/assert.h"
#include "cmd/cluster.h"
#include "net/listener.h"
#include "net/net_internal.h"

#define WORKERS_DEFAULT_MAX 8
#define PHASE_POLL_US       1000

uint32_t wdb_net_worker_count(const struct wdb_config *config)
{
    uint64_t count = wdb_config_u64(config, WDB_CONFIG_IO_THREADS);
    if (count == 0) {
        uv_cpu_info_t *cpus = NULL;
        int found = 0;
        if (uv_cpu_info(&cpus, &found) == 0) {
            uv_free_cpu_info(cpus, found);
        }
        count = found < 1                     ? 1
                : found > WORKERS_DEFAULT_MAX ? WORKERS_DEFAULT_MAX
                                              : (uint64_t)found;
    }
    return (uint32_t)count;
}

/* --- hooks ------------------------------------------------------------------- */

static void session_ready(void *context, struct wdb_session *session)
{
    (void)context;
    wdb_connection_mark(session->owner);
}

static void session_wake(void *context, struct wdb_session *session)
{
    (void)context;
    struct wdb_worker *worker = wdb_executor_worker(session->executor);
    atomic_store(&worker->has_killed, true);
    wdb_worker_wake(worker);
}

static void ask_shutdown(void *context, bool save)
{
    const struct wdb_net *net = context;
    net->options.on_shutdown(net->options.owner, save);
}

static void monitor(void *context, const char *line, size_t size,
                    uint64_t index)
{
    const struct wdb_net *net = context;
    for (uint32_t i = 0; i < net->worker_count; i++) {
        struct wdb_mail *mail = wdb_mail_new(WDB_MAIL_MONITOR, line, size);
        if (mail != NULL) {
            mail->index = index;
            wdb_worker_post(net->workers[i], mail);
        }
    }
}

static void config_changed(void *context, const char *name)
{
    (void)name;
    wdb_net_wake_all(context);
}

/* --- life ---------------------------------------------------------------------- */

int wdb_net_new(const struct wdb_net_options *options, struct wdb_net **out)
{
    struct wdb_net *net = calloc(1, sizeof(*net));
    if (net == NULL) {
        return WALKERDB_ENOMEM;
    }
    net->options = *options;
    net->context = options->context;
    pthread_mutex_init(&net->listen_lock, NULL);
    net->hooks = (struct wdb_context_hooks){
        .run_off_loop = wdb_worker_run_off_loop,
        .session_ready = session_ready,
        .session_wake = session_wake,
        .shutdown = ask_shutdown,
        .monitor = monitor,
        .config_changed = config_changed,
    };
    net->context->hooks = &net->hooks;
    net->context->hooks_context = net;
    net->workers = calloc(options->worker_count, sizeof(struct wdb_worker *));
    int rc = net->workers == NULL ? WALKERDB_ENOMEM : 0;
    while (rc == 0 && net->worker_count < options->worker_count) {
        rc = wdb_worker_new(net, net->worker_count,
                            &net->workers[net->worker_count]);
        net->worker_count += rc == 0;
    }
    if (rc != 0) {
        wdb_net_free(net);
        return rc;
    }
    *out = net;
    return 0;
}

int wdb_net_listen(struct wdb_net *net, char **message_out)
{
    return wdb_listener_open_all(net, message_out);
}

int wdb_net_change_port(struct wdb_net *net, char *error, size_t error_size)
{
    return wdb_listener_change_port(net, error, error_size);
}

int wdb_net_start(struct wdb_net *net)
{
    for (uint32_t i = 0; i < net->worker_count; i++) {
        int rc = wdb_worker_start(net->workers[i]);
        if (rc != 0) {
            return rc;
        }
    }
    return 0;
}

/* All workers go to that phase; wait until they are there. */
static void set_phase(struct wdb_net *net, enum wdb_worker_phase phase)
{
    for (uint32_t i = 0; i < net->worker_count; i++) {
        wdb_worker_phase(net->workers[i], phase);
    }
    for (uint32_t i = 0; i < net->worker_count; i++) {
        struct wdb_worker *worker = net->workers[i];
        while (worker->has_thread &&
               atomic_load(&worker->phase_reached) < (int)phase) {
            usleep(PHASE_POLL_US);
        }
    }
}

void wdb_net_stop(struct wdb_net *net)
{
    wdb_listener_close_all(net);
    set_phase(net, WDB_PHASE_QUIET);
    /* With appendfsync always the last replies wait for this. */
    (void)!wdb_log_sync(wdb_db_log(net->context->db));
    set_phase(net, WDB_PHASE_END);
    for (uint32_t i = 0; i < net->worker_count; i++) {
        wdb_worker_join(net->workers[i]);
    }
}

void wdb_net_free(struct wdb_net *net)
{
    if (net != NULL) {
        for (uint32_t i = 0; i < net->worker_count; i++) {
            wdb_worker_free(net->workers[i]);
        }
        free(net->workers);
        pthread_mutex_destroy(&net->listen_lock);
        free(net);
    }
}

void wdb_net_wake_all(struct wdb_net *net)
{
    for (uint32_t i = 0; i < net->worker_count; i++) {
        wdb_worker_wake(net->workers[i]);
    }
}

/* Everybody looks for the leader when it is another one. */
static bool wake_for_leader(struct wdb_net *net)
{
    const struct wdb_cluster *cluster = net->context->cluster;
    if (cluster == NULL || net->options.part == NULL) {
        return false;
    }
    const uint64_t version = atomic_load(&cluster->gate->leader_version);
    if (WDB_LIKELY(atomic_load(&net->leader_version) == version)) {
        return false;
    }
    atomic_store(&net->leader_version, version);
    wdb_net_wake_all(net);
    return true;
}

int wdb_net_call(struct wdb_net *net, uint32_t worker,
                 void (*fn)(void *part, void *arg), void *arg)
{
    wdb_assert(worker < net->worker_count);
    struct wdb_mail *mail = wdb_mail_new(WDB_MAIL_CALL, NULL, 0);
    if (mail == NULL) {
        return WALKERDB_ENOMEM;
    }
    mail->fn = fn;
    mail->arg = arg;
    wdb_worker_post(net->workers[worker], mail);
    return 0;
}

void wdb_net_wake_gated(struct wdb_net *net)
{
    /* The watermark was stored before; see send_all for the other half. */
    atomic_thread_fence(memory_order_seq_cst);
    if (wake_for_leader(net)) {
        return;
    }
    for (uint32_t i = 0; i < net->worker_count; i++) {
        if (atomic_load(&net->workers[i]->has_gated) &&
            atomic_exchange(&net->workers[i]->has_gated, false)) {
            wdb_worker_wake(net->workers[i]);
        }
    }
}
