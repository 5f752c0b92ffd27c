/*
 * sync.c - makes durable what was written, and the thread that does it.
 *
 * Group commit: one sync covers whatever was written before it began; those
 * who wait for the lock find it done, or do the next one for all. Segments are
 * synced in order, so the durable watermark never passes over a gap.
 *
 * The background thread runs wdb_log_step until there is nothing to do, then
 * sleeps until it is woken or something falls due.
 */
#include <errno.h>
#include <signal.h>
#include <time.h>

#include "log/log_internal.h"

/* Finished ones, the open one, the prepared one, and one in between. */
#define UNSEALED_LIST_MAX (WDB_UNSEALED_MAX + 4)
#define NS_PER_MS         UINT64_C(1000000)
/* When no segment could be made: time between attempts of the background. */
#define PREPARE_RETRY_NS (250 * NS_PER_MS)
/* And how often it looks whether a merge has given some back. */
#define FULL_SLEEP_NS (25 * NS_PER_MS)
/*
 * With ALWAYS, a sync that released a crowd holds the next one back for as long
 * as it took, and no longer than this: meanwhile those who got their replies
 * append again and share it. Half as many syncs cost half as much processor,
 * which the crowd's own work has then (PostgreSQL's commit_delay with
 * commit_siblings is the same idea). Few writers wait for nobody; nor does a
 * member of a cluster: there the way to the majority makes the crowd.
 */
#define CROWD_BATCHES_MIN 8
#define HOLD_NS_MAX       (3 * NS_PER_MS / 10)
/* Longest sleep: disposal and reclamation are looked after so often. */
#define SLEEP_NS_MAX (1000 * NS_PER_MS)

static enum wdb_sync_policy policy_of(const struct wdb_log *log)
{
    return (enum wdb_sync_policy)atomic_load_explicit(&log->policy,
                                                      memory_order_relaxed);
}

static uint64_t now_ns(const struct wdb_log *log)
{
    return log->env->ops->monotonic_ns(log->env);
}

/* The unsealed segments in order, each with a reference. */
static size_t collect(struct wdb_log *log,
                      struct wdb_segment *list[UNSEALED_LIST_MAX],
                      bool finished_only)
{
    size_t count = 0;
    pthread_mutex_lock(&log->table);
    size_t first = log->order_count;
    while (first > 0 && !atomic_load_explicit(&log->order[first - 1]->sealed,
                                              memory_order_acquire)) {
        first--;
    }
    for (size_t i = first; i < log->order_count; i++) {
        struct wdb_segment *segment = log->order[i];
        if (finished_only &&
            !atomic_load_explicit(&segment->finished, memory_order_acquire)) {
            break;
        }
        wdb_assert(count < UNSEALED_LIST_MAX);
        wdb_segment_acquire(segment);
        list[count++] = segment;
    }
    pthread_mutex_unlock(&log->table);
    return count;
}

static int sync_segment(struct wdb_log *log, struct wdb_segment *segment,
                        bool is_last)
{
    const uint64_t written =
        atomic_load_explicit(&segment->written, memory_order_acquire);
    if (written <=
        atomic_load_explicit(&segment->synced, memory_order_relaxed)) {
        return 0;
    }
    if (!WDB_LOG_MUTATED(log, WDB_MUTATION_SKIP_SYNC) &&
        (is_last || !WDB_LOG_MUTATED(log, WDB_MUTATION_SYNC_LAST_ONLY))) {
        int rc = log->env->ops->sync(segment->file);
        if (rc != 0 && WDB_LOG_MUTATED(log, WDB_MUTATION_RETRY_SYNC)) {
            rc = log->env->ops->sync(segment->file);
        }
        if (rc != 0) {
            return wdb_log_fail(log, rc, "sync", segment);
        }
    }
    atomic_store_explicit(&segment->synced, written, memory_order_release);
    return 0;
}

static void count_sync(struct wdb_log *log, uint64_t ns)
{
    atomic_fetch_add_explicit(&log->sync_count, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&log->sync_ns_total, ns, memory_order_relaxed);
    atomic_store_explicit(&log->sync_ns_last, ns, memory_order_relaxed);
    if (ns > atomic_load_explicit(&log->sync_ns_max, memory_order_relaxed)) {
        atomic_store_explicit(&log->sync_ns_max, ns, memory_order_relaxed);
    }
}

/* Under syncing. *durable_out is set if the watermark moved. */
static int sync_locked(struct wdb_log *log, bool finished_only,
                       uint64_t *durable_out)
{
    struct wdb_segment *list[UNSEALED_LIST_MAX];
    int rc = wdb_log_failure(log);
    if (rc != 0) {
        return rc;
    }
    const uint64_t begin_ns = now_ns(log);
    const uint64_t bytes =
        atomic_load_explicit(&log->bytes_written, memory_order_relaxed);
    const uint64_t durable =
        atomic_load_explicit(&log->durable, memory_order_relaxed);
    /* Loaded before the segments are listed: all entries up to it are in
     * segments that are listed, below their `written`. */
    uint64_t target =
        finished_only
            ? durable
            : atomic_load_explicit(&log->appended, memory_order_acquire);
    if (WDB_LOG_MUTATED(log, WDB_MUTATION_DURABLE_EARLY)) {
        atomic_store(&log->durable, target);
    }
    const size_t count = collect(log, list, finished_only);
    for (size_t i = 0; i < count && rc == 0; i++) {
        rc = sync_segment(log, list[i],
                          i + 1 == count ||
                              !atomic_load(&list[i + 1]->finished));
        if (finished_only && rc == 0 &&
            atomic_load(&list[i]->synced) >= list[i]->size_used &&
            list[i]->index_last > target) {
            target = list[i]->index_last;
        }
    }
    for (size_t i = 0; i < count; i++) {
        wdb_segment_drop(list[i]);
    }
    if (rc == 0) {
        rc = wdb_log_failure(log);
    }
    if (rc != 0) {
        return rc;
    }
    count_sync(log, now_ns(log) - begin_ns);
    if (!finished_only) {
        atomic_store_explicit(&log->last_sync_ns, begin_ns,
                              memory_order_relaxed);
        atomic_store_explicit(&log->bytes_synced, bytes, memory_order_relaxed);
    }
    if (target > durable) {
        atomic_store_explicit(&log->durable, target, memory_order_release);
        *durable_out = target;
    }
    return 0;
}

/* Sync unless `wanted` is durable by then. */
static int sync_up_to(struct wdb_log *log, uint64_t wanted, bool finished_only)
{
    uint64_t moved = 0;
    int rc = 0;
    pthread_mutex_lock(&log->syncing);
    if (wanted > atomic_load_explicit(&log->durable, memory_order_relaxed)) {
        rc = sync_locked(log, finished_only, &moved);
    }
    pthread_mutex_unlock(&log->syncing);
    if (moved != 0 && log->options.on_durable != NULL) {
        log->options.on_durable(log->options.context, moved);
    }
    return wdb_log_tell_failure(log, rc);
}

int wdb_sync_run(struct wdb_log *log, bool finished_only)
{
    return sync_up_to(log, UINT64_MAX, finished_only);
}

int wdb_log_sync(struct wdb_log *log)
{
    const uint64_t wanted = wdb_log_index_last(log);
    int rc = wdb_log_flush(log);
    return rc == 0 ? sync_up_to(log, wanted, false) : rc;
}

int wdb_sync_settle(struct wdb_log *log, uint32_t unsealed)
{
    int rc = 0;
    while (rc == 0 && atomic_load(&log->unsealed_count) > unsealed) {
        rc = wdb_log_flush(log);
        if (rc == 0) {
            rc = wdb_sync_run(log, true);
        }
        if (rc == 0) {
            rc = wdb_catalog_seal(log);
        }
    }
    return rc;
}

/* --- what is due ----------------------------------------------------------- */

static bool sync_is_due(struct wdb_log *log)
{
    /* Sequentially consistent, against the check of `sleeping` in
     * wdb_sync_wake_after_flush: one of the two sees the other. */
    const uint64_t appended = atomic_load(&log->appended);
    if (appended <= atomic_load(&log->durable)) {
        return false;
    }
    switch (policy_of(log)) {
    case WDB_SYNC_ALWAYS:
        return now_ns(log) >= atomic_load(&log->hold_until_ns);
    case WDB_SYNC_INTERVAL:
        if (log->options.sync_bytes != 0 &&
            atomic_load(&log->bytes_written) -
                    atomic_load(&log->bytes_synced) >=
                log->options.sync_bytes) {
            return true;
        }
        return now_ns(log) - atomic_load(&log->last_sync_ns) >=
               log->options.sync_interval_ms * NS_PER_MS;
    case WDB_SYNC_NEVER:
        return false;
    }
    return false;
}

/* Half of the open segment is used and there is no successor. */
static bool prepare_is_due(struct wdb_log *log)
{
    pthread_mutex_lock(&log->sequencer);
    const bool due = log->next == NULL && !log->stopping &&
                     log->head > log->current->size / 2;
    pthread_mutex_unlock(&log->sequencer);
    if (!due) {
        return false;
    }
    return !atomic_load(&log->full) ||
           now_ns(log) - atomic_load(&log->prepare_failed_ns) >=
               PREPARE_RETRY_NS;
}

/* The sync that is due; says until when the next one waits for company. Only
 * here, where whoever sleeps next knows of it: those who ask for a sync by
 * themselves hold nobody back. */
static bool run_due_sync(struct wdb_log *log)
{
    const uint64_t batches =
        atomic_load_explicit(&log->batches_written, memory_order_relaxed);
    const uint64_t begin_ns = now_ns(log);
    if (wdb_sync_run(log, false) != 0) {
        return false;
    }
    const uint64_t end_ns = now_ns(log);
    const uint64_t took = end_ns - begin_ns;
    const bool crowd = !log->options.manual_commit &&
                       batches - log->batches_synced >= CROWD_BATCHES_MIN;
    log->batches_synced = batches;
    atomic_store(&log->hold_until_ns,
                 crowd ? end_ns + (took < HOLD_NS_MAX ? took : HOLD_NS_MAX)
                       : 0);
    return true;
}

bool wdb_log_step(struct wdb_log *log)
{
    wdb_epoch_reclaim(log->epoch);
    wdb_residency_clock_tick(&log->residency_clock, now_ns(log));
    bool any = wdb_log_dispose(log);
    if (any) {
        atomic_store(&log->prepare_failed_ns, 0); /* there may be space now */
    }
    if (log->options.read_only || wdb_log_failure(log) != 0) {
        return any;
    }
    if (sync_is_due(log)) {
        any |= run_due_sync(log);
    }
    if (prepare_is_due(log)) {
        any |= wdb_catalog_prepare(log, 0, true) == 0;
    }
    const uint32_t unsealed = atomic_load(&log->unsealed_count);
    if (unsealed != 0) {
        int rc = policy_of(log) == WDB_SYNC_NEVER ? wdb_sync_run(log, true) : 0;
        if (rc == 0) {
            rc = wdb_catalog_seal(log);
        }
        any |= rc == 0 && atomic_load(&log->unsealed_count) < unsealed;
    }
    any |= wdb_flush_prefill(log);
    return any;
}

/* --- the thread ------------------------------------------------------------ */

void wdb_sync_wake(struct wdb_log *log)
{
    pthread_mutex_lock(&log->wake_lock);
    log->wake_asked = true;
    pthread_cond_signal(&log->wake);
    pthread_mutex_unlock(&log->wake_lock);
}

void wdb_sync_wake_after_flush(struct wdb_log *log)
{
    if (atomic_load(&log->sleeping) && sync_is_due(log)) {
        wdb_sync_wake(log);
    }
}

/* How long the thread may sleep. */
static uint64_t sleep_ns(struct wdb_log *log)
{
    uint64_t ns = SLEEP_NS_MAX;
    if (atomic_load(&log->full)) {
        ns = FULL_SLEEP_NS;
    }
    if (policy_of(log) == WDB_SYNC_ALWAYS) {
        const uint64_t until = atomic_load(&log->hold_until_ns);
        const uint64_t now = now_ns(log);
        if (now < until && until - now < ns) {
            ns = until - now;
        }
    }
    if (policy_of(log) == WDB_SYNC_INTERVAL) {
        const uint64_t interval = log->options.sync_interval_ms * NS_PER_MS;
        const uint64_t passed = now_ns(log) - atomic_load(&log->last_sync_ns);
        const uint64_t left = passed < interval ? interval - passed : interval;
        ns = left < ns ? left : ns;
    }
    return ns;
}

static void wait_until_woken(struct wdb_log *log)
{
    struct timespec until;
    const uint64_t ns = sleep_ns(log);
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += (time_t)(ns / 1000000000);
    until.tv_nsec += (long)(ns % 1000000000);
    if (until.tv_nsec >= 1000000000) {
        until.tv_nsec -= 1000000000;
        until.tv_sec++;
    }
    atomic_store(&log->sleeping, true);
    if (!sync_is_due(log) || wdb_log_failure(log) != 0) {
        int rc = 0;
        while (!log->wake_asked && rc != ETIMEDOUT) {
            rc = pthread_cond_timedwait(&log->wake, &log->wake_lock, &until);
        }
    }
    atomic_store(&log->sleeping, false);
    log->wake_asked = false;
}

static void *run_thread(void *context)
{
    struct wdb_log *log = context;
    pthread_setname_np(pthread_self(), "wdb-log");
    pthread_mutex_lock(&log->wake_lock);
    while (!log->thread_stop) {
        pthread_mutex_unlock(&log->wake_lock);
        const bool any = wdb_log_step(log);
        pthread_mutex_lock(&log->wake_lock);
        if (!any && !log->thread_stop) {
            wait_until_woken(log);
        }
    }
    pthread_mutex_unlock(&log->wake_lock);
    return NULL;
}

int wdb_sync_start_thread(struct wdb_log *log)
{
    /* The process's handlers shall not run here; what a fault of this thread
     * itself raises must. */
    sigset_t blocked, before;
    sigfillset(&blocked);
    sigdelset(&blocked, SIGBUS);
    sigdelset(&blocked, SIGSEGV);
    sigdelset(&blocked, SIGFPE);
    sigdelset(&blocked, SIGILL);
    sigdelset(&blocked, SIGABRT);
    pthread_sigmask(SIG_SETMASK, &blocked, &before);
    const int error = pthread_create(&log->thread, NULL, run_thread, log);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error != 0) {
        return WALKERDB_ENOMEM;
    }
    log->thread_runs = true;
    return 0;
}

void wdb_sync_stop_thread(struct wdb_log *log)
{
    if (!log->thread_runs) {
        return;
    }
    pthread_mutex_lock(&log->wake_lock);
    log->thread_stop = true;
    log->wake_asked = true;
    pthread_cond_signal(&log->wake);
    pthread_mutex_unlock(&log->wake_lock);
    pthread_join(log->thread, NULL);
    log->thread_runs = false;
}
