/*
 * worker.c - a thread with an event loop, its connections and its executor.
 *
 * A turn: libuv polls and the read callbacks fill the sessions; then the check
 * callback runs the executor, has the log written, and sends what the gate lets
 * pass. So everything that arrived in one poll shares one write to the log,
 * and each connection gets one send.
 */
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/assert.h"
#include "net/net_internal.h"

#define TICK_MS        100
#define TICKS_PER_LOOK 10 /* at every connection */
#define TICK_END_MS    1
/* How often replies are looked at that wait for what moves no gate (WAIT). */
#define TICK_WAIT_MS 5

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

static const struct wdb_net_part_ops *part_ops(const struct wdb_worker *worker)
{
    return worker->net->options.part;
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
    if (worker->part != NULL) {
        part_ops(worker)->close_killed(worker->part);
    }
}

static void show_monitors(struct wdb_worker *worker,
                          const struct wdb_mail *mail)
{
    struct wdb_list *next;
    for (struct wdb_list *node = worker->connections.next;
         node != &worker->connections; node = next) {
        struct wdb_connection *connection =
            WDB_LIST_ENTRY(node, struct wdb_connection, node);
        struct wdb_session *session = connection->session;
        next = node->next;
        if ((session->flags & WDB_SESSION_MONITOR) && !connection->closing &&
            !wdb_connection_limit(connection)) {
            wdb_session_push(session, wdb_slice(mail->text, mail->size),
                             mail->index);
            wdb_connection_mark(connection);
        }
    }
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
        if (mail->kind == WDB_MAIL_CALL) {
            mail->fn(worker->part, mail->arg);
        } else if (mail->kind == WDB_MAIL_MONITOR) {
            show_monitors(worker, mail);
        } else if (worker->phase_reached == WDB_PHASE_SERVE) {
            wdb_connection_open(worker, mail->fd, mail->is_unix);
        } else {
            close(mail->fd);
        }
        free(mail);
        mail = next;
    }
    if (atomic_exchange(&worker->has_killed, false)) {
        close_killed(worker);
    }
}

/* --- the end ---------------------------------------------------------------------- */

static void quiet_all(struct wdb_worker *worker)
{
    WDB_LIST_FOREACH(node, &worker->connections)
    {
        wdb_connection_quiet(WDB_LIST_ENTRY(node, struct wdb_connection, node));
    }
}

static void close_all(struct wdb_worker *worker)
{
    struct wdb_list *next;
    for (struct wdb_list *node = worker->connections.next;
         node != &worker->connections; node = next) {
        next = node->next;
        wdb_connection_close(WDB_LIST_ENTRY(node, struct wdb_connection, node));
    }
    uv_idle_stop(&worker->idle);
    /* Handles are closed after this turn: have another one soon. */
    uv_timer_set_repeat(&worker->timer, TICK_END_MS);
    uv_timer_again(&worker->timer);
}

/* Go one step on the way that the main thread wants, behind a turn in which
 * everything was sent that could be. */
static void follow_phase(struct wdb_worker *worker)
{
    int wanted = atomic_load(&worker->phase_wanted);
    if (wanted > worker->phase_reached) {
        if (wanted == WDB_PHASE_QUIET) {
            quiet_all(worker);
            if (worker->part != NULL) {
                part_ops(worker)->quiet(worker->part);
            }
        } else {
            close_all(worker);
        }
        atomic_store(&worker->phase_reached, wanted);
    }
    if (worker->phase_reached == WDB_PHASE_END && worker->jobs == 0 &&
        wdb_list_empty(&worker->connections) &&
        (worker->part == NULL || part_ops(worker)->is_done(worker->part))) {
        if (worker->part != NULL) {
            part_ops(worker)->stop(worker->part);
        }
        uv_stop(&worker->loop);
    }
}

void wdb_worker_phase(struct wdb_worker *worker, enum wdb_worker_phase phase)
{
    atomic_store(&worker->phase_wanted, phase);
    wdb_worker_wake(worker);
}

/* --- the turn ------------------------------------------------------------------- */

static void on_idle(uv_idle_t *idle)
{
    (void)idle; /* being active keeps the loop from sleeping */
}

/* Send to those on the list what the gate lets pass; whether anything waits at
 * the gate then. */
static bool send_listed(struct wdb_worker *worker, struct wdb_gate gate)
{
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
    const bool waits =
        worker->part != NULL && part_ops(worker)->send(worker->part, gate);
    return waits || !wdb_list_empty(&worker->sending);
}

static void send_all(struct wdb_worker *worker)
{
    /* A failed write has poisoned the log; the gate does not move then, and
     * the server is told by the log itself. */
    if (wdb_executor_needs_flush(worker->executor)) {
        (void)!wdb_log_flush(wdb_db_log(worker->context->db));
    }
    struct wdb_gate gate = wdb_executor_gate(worker->executor);
    bool waits = send_listed(worker, gate);
    /* What is on the list again waits at the gate. The gate may have moved
     * before has_gated was set, and then nobody wakes us: look again. */
    while (waits) {
        atomic_store(&worker->has_gated, true);
        const struct wdb_gate now = wdb_executor_gate(worker->executor);
        if (now.index == gate.index && now.round == gate.round) {
            return;
        }
        gate = now;
        waits = send_listed(worker, gate);
    }
}

static void on_wait(uv_timer_t *timer)
{
    (void)timer; /* the check callback does the rest */
}

/* Requests that wait for a leader: a change wakes us, unless it has come
 * before has_gated was set. Whether another turn is due for them. */
static bool is_awaited(struct wdb_worker *worker)
{
    bool due;
    if (!wdb_executor_waits_for_cluster(worker->executor, &due) || due) {
        return due;
    }
    atomic_store(&worker->has_gated, true);
    uv_timer_start(&worker->wait_timer, on_wait, TICK_WAIT_MS, 0);
    (void)wdb_executor_waits_for_cluster(worker->executor, &due);
    return due;
}

/* Whether the part has something to send, after its half of the turn. */
static bool run_part(struct wdb_worker *worker)
{
    if (worker->part == NULL) {
        return false;
    }
    part_ops(worker)->run(worker->part);
    return part_ops(worker)->wants_to_send(worker->part);
}

/* Another turn is due at once. */
static bool is_due(const struct wdb_worker *worker)
{
    return wdb_executor_has_work(worker->executor) ||
           (worker->part != NULL && part_ops(worker)->is_due(worker->part));
}

static void on_check(uv_check_t *check)
{
    struct wdb_worker *worker = check->data;
    bool serves = worker->phase_reached == WDB_PHASE_SERVE;
    bool awaited = false;
    if (worker->part != NULL) {
        part_ops(worker)->begin(worker->part);
    }
    if (WDB_LIKELY(serves)) {
        (void)wdb_executor_run(worker->executor);
        awaited = worker->context->cluster != NULL && is_awaited(worker);
    }
    if (run_part(worker) || !wdb_list_empty(&worker->sending)) {
        send_all(worker);
    }
    if (WDB_UNLIKELY(worker->phase_wanted != WDB_PHASE_SERVE)) {
        follow_phase(worker);
    } else if (awaited || is_due(worker)) {
        uv_idle_start(&worker->idle, on_idle);
    } else {
        uv_idle_stop(&worker->idle);
    }
}

static void on_wake(uv_async_t *wake)
{
    read_mail(wake->data); /* the check callback does the rest */
}

/* Each tick is a turn, so that what CLIENT PAUSE held goes on in time. */
static void on_tick(uv_timer_t *timer)
{
    struct wdb_worker *worker = timer->data;
    struct wdb_list *next;
    if (++worker->tick_count % TICKS_PER_LOOK != 0) {
        return;
    }
    for (struct wdb_list *node = worker->connections.next;
         node != &worker->connections; node = next) {
        next = node->next;
        wdb_connection_tick(WDB_LIST_ENTRY(node, struct wdb_connection, node));
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

/* Threads of the pool wake up often and for moments; as batch threads they do
 * not take the processor from a worker each time. */
static void be_modest(void)
{
#ifdef SCHED_BATCH
    const struct sched_param param = {0};
    if (sched_getscheduler(0) == SCHED_OTHER) {
        (void)sched_setscheduler(0, SCHED_BATCH, &param);
    }
#endif
}

static void job_work(uv_work_t *request)
{
    struct job *job = request->data;
    be_modest();
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

static void init_handles(struct wdb_worker *worker)
{
    uv_async_init(&worker->loop, &worker->wake, on_wake);
    uv_check_init(&worker->loop, &worker->check);
    uv_idle_init(&worker->loop, &worker->idle);
    uv_timer_init(&worker->loop, &worker->timer);
    uv_timer_init(&worker->loop, &worker->wait_timer);
    worker->wake.data = worker->check.data = worker->idle.data =
        worker->timer.data = worker;
}

static int attach_part(struct wdb_worker *worker)
{
    const struct wdb_net_worker about = {
        .number = worker->number,
        .loop = &worker->loop,
        .executor = worker->executor,
        .cache = &worker->cache,
    };
    return part_ops(worker) == NULL
               ? 0
               : part_ops(worker)->attach(worker->net->options.part_context,
                                          &about, &worker->part);
}

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
    wdb_output_cache_init(&worker->cache, WDB_OUTPUT_CACHE_COUNT);
    pthread_mutex_init(&worker->mail_lock, NULL);
    int rc = wdb_executor_new(net->context, worker, worker->stats,
                              &worker->executor);
    if (rc == 0 && uv_loop_init(&worker->loop) != 0) {
        rc = WALKERDB_EIO;
    }
    if (rc != 0) {
        wdb_executor_free(worker->executor);
        pthread_mutex_destroy(&worker->mail_lock);
        free(worker);
        return rc;
    }
    init_handles(worker);
    rc = attach_part(worker);
    if (rc != 0) {
        wdb_worker_free(worker);
        return rc;
    }
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
    worker->phase_reached = WDB_PHASE_END;
    read_mail(worker);
    uv_close((uv_handle_t *)&worker->wake, NULL);
    uv_close((uv_handle_t *)&worker->check, NULL);
    uv_close((uv_handle_t *)&worker->idle, NULL);
    uv_close((uv_handle_t *)&worker->timer, NULL);
    uv_close((uv_handle_t *)&worker->wait_timer, NULL);
    if (worker->part != NULL) {
        part_ops(worker)->stop(worker->part);
    }
    uv_run(&worker->loop, UV_RUN_DEFAULT);
    uv_loop_close(&worker->loop);
    if (worker->part != NULL) {
        part_ops(worker)->detach(worker->part);
    }
    wdb_executor_free(worker->executor);
    wdb_output_cache_release(&worker->cache);
    pthread_mutex_destroy(&worker->mail_lock);
    free(worker);
}
