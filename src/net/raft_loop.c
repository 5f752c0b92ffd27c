/*
 * raft_loop.c - the raft thread and its turns.
 *
 * The turn is in the check callback, which libuv calls behind the sockets. A
 * timer is no reason for libuv to call it, so the timer's callback has a turn
 * itself.
 */
#include "net/raft_loop.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/time.h"
#include "walkerdb.h"

struct call {
    struct call *next;
    void (*fn)(void *);
    void *arg;
};

struct wdb_raft_loop {
    struct wdb_raft_loop_options options;
    struct wdb_env *env;
    uv_loop_t loop;
    uv_async_t wake;
    uv_check_t check;
    uv_timer_t timer;
    struct wdb_raft_loop_client clients[WDB_RAFT_LOOP_CLIENTS_MAX];
    uint32_t client_count;
    bool stopping; /* on the thread */
    pthread_mutex_t lock;
    struct call *calls, **calls_end; /* under lock */
    bool is_over; /* under lock: nobody reads the calls any more */
    _Atomic bool stop_wanted;
    pthread_t thread;
    _Atomic bool has_thread;
};

/* --- calls ------------------------------------------------------------------------ */

static struct call *take_calls(struct wdb_raft_loop *loop)
{
    pthread_mutex_lock(&loop->lock);
    struct call *calls = loop->calls;
    loop->calls = NULL;
    loop->calls_end = &loop->calls;
    pthread_mutex_unlock(&loop->lock);
    return calls;
}

static void run_calls(struct wdb_raft_loop *loop)
{
    struct call *call = take_calls(loop);
    while (call != NULL) {
        struct call *next = call->next;
        call->fn(call->arg);
        free(call);
        call = next;
    }
}

int wdb_raft_loop_post(struct wdb_raft_loop *loop, void (*fn)(void *),
                       void *arg)
{
    struct call *call = malloc(sizeof(*call));
    if (call == NULL) {
        return WALKERDB_ENOMEM;
    }
    *call = (struct call){.fn = fn, .arg = arg};
    pthread_mutex_lock(&loop->lock);
    bool is_over = loop->is_over;
    if (!is_over) {
        *loop->calls_end = call;
        loop->calls_end = &call->next;
    }
    pthread_mutex_unlock(&loop->lock);
    if (is_over) {
        free(call);
        fn(arg);
    } else {
        wdb_raft_loop_wake(loop);
    }
    return 0;
}

struct waiting_call {
    void (*fn)(void *);
    void *arg;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool is_done;
};

static void call_and_tell(void *context)
{
    struct waiting_call *call = context;
    call->fn(call->arg);
    pthread_mutex_lock(&call->lock);
    call->is_done = true;
    pthread_cond_signal(&call->changed);
    pthread_mutex_unlock(&call->lock);
}

void wdb_raft_loop_call(struct wdb_raft_loop *loop, void (*fn)(void *),
                        void *arg)
{
    struct waiting_call call = {.fn = fn, .arg = arg};
    if (!atomic_load(&loop->has_thread)) {
        fn(arg);
        return;
    }
    wdb_assert(!wdb_raft_loop_is_here(loop));
    pthread_mutex_init(&call.lock, NULL);
    pthread_cond_init(&call.changed, NULL);
    while (wdb_raft_loop_post(loop, call_and_tell, &call) != 0) {
        uv_sleep(1); /* without memory for a call: there will be some */
    }
    pthread_mutex_lock(&call.lock);
    while (!call.is_done) {
        pthread_cond_wait(&call.changed, &call.lock);
    }
    pthread_mutex_unlock(&call.lock);
    pthread_cond_destroy(&call.changed);
    pthread_mutex_destroy(&call.lock);
}

void wdb_raft_loop_wake(struct wdb_raft_loop *loop)
{
    uv_async_send(&loop->wake);
}

/* --- the turn ----------------------------------------------------------------------- */

static void on_timer(uv_timer_t *timer);

static void set_timer(struct wdb_raft_loop *loop, uint64_t until_ns)
{
    uint64_t now = loop->env->ops->monotonic_ns(loop->env);
    uint64_t wait_ms = 0;
    if (until_ns > now) {
        wait_ms = (until_ns - now - 1) / WDB_NS_PER_MS + 1;
    }
    uv_update_time(&loop->loop); /* run may have taken long */
    uv_timer_start(&loop->timer, on_timer, wait_ms, 0);
}

static void stop_clients(struct wdb_raft_loop *loop)
{
    loop->stopping = true;
    for (uint32_t i = 0; i < loop->client_count; i++) {
        loop->clients[i].stop(loop->clients[i].context);
    }
    uv_check_stop(&loop->check);
    uv_timer_stop(&loop->timer);
}

static void turn(struct wdb_raft_loop *loop)
{
    if (atomic_load(&loop->stop_wanted)) {
        stop_clients(loop);
        return;
    }
    for (uint32_t i = 0; i < loop->client_count; i++) {
        loop->clients[i].before(loop->clients[i].context);
    }
    if (loop->options.run != NULL) {
        uint64_t next = loop->options.run(loop->options.context);
        set_timer(loop, next);
    }
    for (uint32_t i = 0; i < loop->client_count; i++) {
        loop->clients[i].behind(loop->clients[i].context);
    }
}

static void on_check(uv_check_t *check)
{
    turn(check->data);
}

static void on_timer(uv_timer_t *timer)
{
    turn(timer->data);
}

static void on_wake(uv_async_t *wake)
{
    run_calls(wake->data); /* the check callback does the rest */
}

/* --- jobs off the loop ------------------------------------------------------------------ */

struct job {
    uv_work_t request;
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
    job->done(job->arg);
    free(job);
}

void wdb_raft_loop_run_off_loop(void *context, void (*work)(void *),
                                void (*done)(void *), void *arg)
{
    struct wdb_raft_loop *loop = context;
    struct job *job = malloc(sizeof(*job));
    wdb_assert(wdb_raft_loop_is_here(loop));
    if (job != NULL) {
        *job = (struct job){.work = work, .done = done, .arg = arg};
        job->request.data = job;
        if (uv_queue_work(&loop->loop, &job->request, job_work, job_done) ==
            0) {
            return;
        }
        free(job);
    }
    work(arg);
    done(arg);
}

/* --- life --------------------------------------------------------------------------------- */

uv_loop_t *wdb_raft_loop_uv(struct wdb_raft_loop *loop)
{
    return &loop->loop;
}

struct wdb_env *wdb_raft_loop_env(struct wdb_raft_loop *loop)
{
    return loop->env;
}

bool wdb_raft_loop_is_here(const struct wdb_raft_loop *loop)
{
    return !atomic_load(&loop->has_thread) ||
           pthread_equal(loop->thread, pthread_self());
}

void wdb_raft_loop_add_client(struct wdb_raft_loop *loop,
                              const struct wdb_raft_loop_client *client)
{
    wdb_assert(loop->client_count < WDB_RAFT_LOOP_CLIENTS_MAX);
    loop->clients[loop->client_count++] = *client;
}

int wdb_raft_loop_new(const struct wdb_raft_loop_options *options,
                      struct wdb_raft_loop **out)
{
    struct wdb_raft_loop *loop = calloc(1, sizeof(*loop));
    if (loop == NULL) {
        return WALKERDB_ENOMEM;
    }
    loop->options = *options;
    loop->env = options->env;
    loop->calls_end = &loop->calls;
    if (uv_loop_init(&loop->loop) != 0) {
        free(loop);
        return WALKERDB_EIO;
    }
    if (uv_async_init(&loop->loop, &loop->wake, on_wake) != 0) {
        uv_loop_close(&loop->loop);
        free(loop);
        return WALKERDB_EIO;
    }
    /* The loop ends when all else is closed; others may still wake it. */
    uv_unref((uv_handle_t *)&loop->wake);
    uv_check_init(&loop->loop, &loop->check);
    uv_timer_init(&loop->loop, &loop->timer);
    loop->wake.data = loop->check.data = loop->timer.data = loop;
    pthread_mutex_init(&loop->lock, NULL);
    *out = loop;
    return 0;
}

static void *run_thread(void *context)
{
    struct wdb_raft_loop *loop = context;
    pthread_mutex_lock(&loop->lock); /* see wdb_raft_loop_start */
    pthread_mutex_unlock(&loop->lock);
    uv_check_start(&loop->check, on_check);
    uv_timer_start(&loop->timer, on_timer, 0, 0); /* the first turn */
    uv_run(&loop->loop, UV_RUN_DEFAULT);
    return NULL;
}

int wdb_raft_loop_start(struct wdb_raft_loop *loop)
{
    /* The lock holds the thread back until it is known that it is there. */
    pthread_mutex_lock(&loop->lock);
    int rc = pthread_create(&loop->thread, NULL, run_thread, loop);
    if (rc == 0) {
        atomic_store(&loop->has_thread, true);
    }
    pthread_mutex_unlock(&loop->lock);
    return rc == 0 ? 0 : WALKERDB_ENOMEM;
}

void wdb_raft_loop_stop(struct wdb_raft_loop *loop)
{
    if (atomic_load(&loop->has_thread)) {
        atomic_store(&loop->stop_wanted, true);
        wdb_raft_loop_wake(loop);
        pthread_join(loop->thread, NULL);
        atomic_store(&loop->has_thread, false);
    } else if (!loop->stopping) {
        stop_clients(loop);
        uv_run(&loop->loop, UV_RUN_DEFAULT);
    }
    pthread_mutex_lock(&loop->lock);
    loop->is_over = true;
    pthread_mutex_unlock(&loop->lock);
    run_calls(loop);
}

void wdb_raft_loop_free(struct wdb_raft_loop *loop)
{
    if (loop == NULL) {
        return;
    }
    wdb_raft_loop_stop(loop);
    uv_close((uv_handle_t *)&loop->wake, NULL);
    uv_close((uv_handle_t *)&loop->check, NULL);
    uv_close((uv_handle_t *)&loop->timer, NULL);
    uv_run(&loop->loop, UV_RUN_DEFAULT);
    int rc = uv_loop_close(&loop->loop);
    wdb_assert(rc == 0);
    pthread_mutex_destroy(&loop->lock);
    free(loop);
}
