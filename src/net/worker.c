/*
 * worker.c - a thread with an event loop, its connections and its executor.
 *
 * A turn: libuv polls and the read callbacks fill the sessions; then the check
 * callback runs the executor, has the log written, and sends what the gate lets
 * pass. So everything that arrived in one poll shares one write to the log,
 * and each connection gets one send.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/assert.h"
#include "net/net_internal.h"

#define TICK_MS 100

/* --- mail -------------------------------------------------------------------- */

struct wdb_mail *wdb_mail_new(enum wdb_mail_kind kind, const char *text,
                              size_t size)
{
    struct wdb_mail *mail = malloc(sizeof(*mail) + size);
    if (mail != NULL) {
        *mail = (struct wdb_mail){.kind = kind, .fd = -1, .size = size};
        if (size > 0) {
            memcpy(mail->text, text, size);
        }
    }
    return mail;
}

void wdb_worker_wake(struct wdb_worker *worker)
{
    uv_async_send(&worker->wake);
}

void wdb_worker_post(struct wdb_worker *worker, struct wdb_mail *mail)
{
    pthread_mutex_lock(&worker->mail_lock);
    mail->next = NULL;
    *worker->mail_end = mail;
    worker->mail_end = &mail->next;
    pthread_mutex_unlock(&worker->mail_lock);
    wdb_worker_wake(worker);
}

/* Close whom CLIENT KILL asked to be closed. */
static void close_killed(struct wdb_worker *worker)
{
    struct wdb_list *next;
    for (struct wdb_list *node = worker->connections.next;
         node != &worker->connections; node = next) {
        struct wdb_connection *connection =
            WDB_LIST_ENTRY(node, struct wdb_connection, node);
        next = node->next;
        if (atomic_load_explicit(&connection->session->kill,
                                 memory_order_acquire)) {
            wdb_connection_close(connection);
        }
    }
}

static void show_monitors(struct wdb_worker *worker,
                          const struct wdb_mail *mail)
{
    WDB_LIST_FOREACH(node, &worker->connections)
    {
        struct wdb_connection *connection =
            WDB_LIST_ENTRY(node, struct wdb_connection, node);
        struct wdb_session *session = connection->session;
        if ((session->flags & WDB_SESSION_MONITOR) && !connection->closing) {
            wdb_output_append(&session->output, mail->text, mail->size);
            if (session->depends < mail->index) {
                session->depends = mail->index;
            }
            wdb_session_mark(session);
            wdb_connection_mark(connection);
        }
    }
}

static void stop(struct wdb_worker *worker)
{
    struct wdb_list *next;
    worker->stopping = true;
    for (struct wdb_list *node = worker->connections.next;
         node != &worker->connections; node = next) {
        next = node->next;
        wdb_connection_close(WDB_LIST_ENTRY(node, struct wdb_connection, node));
    }
    uv_timer_stop(&worker->timer);
    uv_idle_stop(&worker->idle);
}

static void read_mail(struct wdb_worker *worker)
{
    pthread_mutex_lock(&worker->mail_lock);
    struct wdb_mail *mail = worker->mail;
    worker->mail = NULL;
    worker->mail_end = &worker->mail;
    pthread_mutex_unlock(&worker->mail_lock);
    while (mail != NULL) {
        struct wdb_mail *next = mail->next;
        switch (mail->kind) {
        case WDB_MAIL_SOCKET:
            if (worker->stopping) {
                close(mail->fd);
            } else {
                wdb_connection_open(worker, mail->fd, mail->is_unix);
            }
            break;
        case WDB_MAIL_KILL:
            close_killed(worker);
            break;
        case WDB_MAIL_MONITOR:
            show_monitors(worker, mail);
            break;
        case WDB_MAIL_STOP:
            stop(worker);
            break;
        }
        free(mail);
        mail = next;
    }
}

/* --- the turn ------------------------------------------------------------------- */

static void on_idle(uv_idle_t *idle)
{
    (void)idle; /* being active keeps the loop from sleeping */
}

static void send_all(struct wdb_worker *worker)
{
    /* A failed write has poisoned the log; the gate does not move then, and
     * the server is told by the log itself. */
    if (wdb_executor_needs_flush(worker->executor)) {
        (void)!wdb_log_flush(wdb_db_log(worker->context->db));
    }
    const uint64_t gate = wdb_context_gate(worker->context);
    struct wdb_list list;
    wdb_list_init(&list);
    while (!wdb_list_empty(&worker->sending)) {
        struct wdb_list *node = worker->sending.next;
        wdb_list_remove(node);
        wdb_list_append(&list, node);
    }
    while (!wdb_list_empty(&list)) {
        wdb_connection_send(
            WDB_LIST_ENTRY(list.next, struct wdb_connection, send_node), gate);
    }
}

static bool has_work(const struct wdb_worker *worker)
{
    return wdb_executor_has_work(worker->executor);
}

static void on_check(uv_check_t *check)
{
    struct wdb_worker *worker = check->data;
    if (!worker->stopping) {
        (void)wdb_executor_run(worker->executor);
    }
    if (!wdb_list_empty(&worker->sending)) {
        send_all(worker);
    }
    if (!worker->stopping && has_work(worker)) {
        uv_idle_start(&worker->idle, on_idle);
    } else {
        uv_idle_stop(&worker->idle);
    }
    if (worker->stopping && worker->jobs == 0 &&
        wdb_list_empty(&worker->connections)) {
        uv_stop(&worker->loop);
    }
}

static void on_wake(uv_async_t *wake)
{
    read_mail(wake->data); /* the check callback does the rest */
}

static void on_tick(uv_timer_t *timer)
{
    struct wdb_worker *worker = timer->data;
    struct wdb_env *env = worker->context->env;
    const uint64_t now_ms = env->ops->time_ms(env);
    struct wdb_list *next;
    for (struct wdb_list *node = worker->connections.next;
         node != &worker->connections; node = next) {
        next = node->next;
        wdb_connection_tick(WDB_LIST_ENTRY(node, struct wdb_connection, node),
                            now_ms);
    }
}

/* --- jobs off the loop ------------------------------------------------------------ */

struct job {
    uv_work_t request;
    struct wdb_worker *worker;
    void (*work)(void *);
    void (*done)(void *);
    void *arg;
};

static void job_work(uv_work_t *request)
{
    struct job *job = request->data;
    job->work(job->arg);
}

static void job_done(uv_work_t *request, int status)
{
    struct job *job = request->data;
    (void)status;
    job->worker->jobs--;
    job->done(job->arg);
    free(job);
}

void wdb_worker_run_off_loop(void *context, struct wdb_executor *executor,
                             void (*work)(void *), void (*done)(void *),
                             void *arg)
{
    struct wdb_worker *worker = wdb_executor_worker(executor);
    (void)context;
    struct job *job = malloc(sizeof(*job));
    if (job != NULL) {
        *job = (struct job){
            .worker = worker, .work = work, .done = done, .arg = arg};
        job->request.data = job;
        worker->jobs++;
        if (uv_queue_work(&worker->loop, &job->request, job_work, job_done) ==
            0) {
            return;
        }
        worker->jobs--;
        free(job);
    }
    work(arg); /* no memory for a job: here, and now */
    done(arg);
}

/* --- life --------------------------------------------------------------------------- */

int wdb_worker_new(struct wdb_net *net, uint32_t number,
                   struct wdb_worker **out)
{
    struct wdb_worker *worker = calloc(1, sizeof(*worker));
    if (worker == NULL) {
        return WALKERDB_ENOMEM;
    }
    worker->net = net;
    worker->context = net->context;
    worker->number = number;
    worker->stats = wdb_stats_worker(net->context->stats, number);
    worker->mail_end = &worker->mail;
    wdb_list_init(&worker->connections);
    wdb_list_init(&worker->sending);
    pthread_mutex_init(&worker->mail_lock, NULL);
    int rc = wdb_executor_new(net->context, worker, worker->stats,
                              &worker->executor);
    if (rc == 0 && uv_loop_init(&worker->loop) != 0) {
        rc = WALKERDB_EIO;
    }
    if (rc != 0) {
        wdb_executor_free(worker->executor);
        free(worker);
        return rc;
    }
    uv_async_init(&worker->loop, &worker->wake, on_wake);
    uv_check_init(&worker->loop, &worker->check);
    uv_idle_init(&worker->loop, &worker->idle);
    uv_timer_init(&worker->loop, &worker->timer);
    worker->wake.data = worker->check.data = worker->idle.data =
        worker->timer.data = worker;
    *out = worker;
    return 0;
}

static void *run(void *context)
{
    struct wdb_worker *worker = context;
    uv_check_start(&worker->check, on_check);
    uv_timer_start(&worker->timer, on_tick, TICK_MS, TICK_MS);
    uv_run(&worker->loop, UV_RUN_DEFAULT);
    return NULL;
}

int wdb_worker_start(struct wdb_worker *worker)
{
    if (pthread_create(&worker->thread, NULL, run, worker) != 0) {
        return WALKERDB_ENOMEM;
    }
    worker->has_thread = true;
    return 0;
}

void wdb_worker_join(struct wdb_worker *worker)
{
    if (worker->has_thread) {
        pthread_join(worker->thread, NULL);
        worker->has_thread = false;
    }
}

void wdb_worker_free(struct wdb_worker *worker)
{
    if (worker == NULL) {
        return;
    }
    wdb_assert(!worker->has_thread);
    worker->stopping = true;
    read_mail(worker);
    uv_close((uv_handle_t *)&worker->wake, NULL);
    uv_close((uv_handle_t *)&worker->check, NULL);
    uv_close((uv_handle_t *)&worker->idle, NULL);
    uv_close((uv_handle_t *)&worker->timer, NULL);
    uv_run(&worker->loop, UV_RUN_DEFAULT);
    uv_loop_close(&worker->loop);
    wdb_executor_free(worker->executor);
    pthread_mutex_destroy(&worker->mail_lock);
    free(worker);
}
