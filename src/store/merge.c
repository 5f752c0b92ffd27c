/* merge.c - the steps of a merge, one after the other, and what can stop it. */
#include "store/merge.h"

#include <stdlib.h>

#include "base/time.h"
#include "store/background.h"

/* After a merge that failed for want of space or memory. Looking for a run is
 * cheap, and garbage may have come. */
#define RETRY_NS ((uint64_t)WDB_NS_PER_S)
/* While somebody waits for a merge that waits for a commit. */
#define DEMAND_WAIT_NS ((uint64_t)WDB_NS_PER_MS)

int wdb_merge_new(struct wdb_store *store)
{
    struct wdb_merge *merge = calloc(1, sizeof(*merge));
    if (merge == NULL) {
        return WALKERDB_ENOMEM;
    }
    merge->store = store;
    pthread_mutex_init(&merge->mutex, NULL);
    store->merge = merge;
    return 0;
}

static uint64_t now_ns(const struct wdb_merge *merge)
{
    return merge->store->env->ops->monotonic_ns(merge->store->env);
}

static void release_run(struct wdb_merge *merge, bool retire)
{
    for (size_t i = 0; i < merge->run_count; i++) {
        if (retire) {
            wdb_log_segment_retire(merge->store->log, merge->run[i]);
        }
        wdb_segment_drop(merge->run[i]);
    }
    free(merge->run);
    merge->run = NULL;
    merge->run_count = 0;
    merge->phase = WDB_MERGE_IDLE;
    atomic_store(&merge->running, false);
}

/* End the run where it is. Its originals go if its outputs are switched in. */
static void drop_run(struct wdb_merge *merge)
{
    const bool switched = merge->phase == WDB_MERGE_MOVE ||
                          merge->phase == WDB_MERGE_WAIT ||
                          merge->phase == WDB_MERGE_STUCK;
    if (merge->phase != WDB_MERGE_IDLE) {
        if (switched) {
            wdb_merge_writer_release(&merge->writer);
        } else {
            wdb_merge_writer_discard(&merge->writer);
        }
        release_run(merge, switched);
    }
    free(merge->sweep);
    merge->sweep = NULL;
    merge->sweep_count = merge->sweep_at = 0;
}

void wdb_merge_free(struct wdb_store *store)
{
    struct wdb_merge *merge = store->merge;
    if (merge == NULL) {
        return;
    }
    drop_run(merge);
    pthread_mutex_destroy(&merge->mutex);
    free(merge);
    store->merge = NULL;
}

/* --- phases ----------------------------------------------------------------
 */

static void report_damage(struct wdb_merge *merge)
{
    struct wdb_store *store = merge->store;
    struct wdb_segment *bad = merge->run[merge->run_at];
    atomic_store(&bad->damaged, true);
    wdb_logger_print(store->options.log.logger, WDB_LOG_WARNING,
                     "merge: segment %016llx in %s is damaged at offset %llu; "
                     "it is left alone, run walkerdb-check on a copy of the "
                     "directory",
                     (unsigned long long)bad->id, wdb_log_dir(store->log),
                     (unsigned long long)merge->reader.offset);
}

/* The run cannot be finished; nothing has changed. */
static void give_up(struct wdb_merge *merge, int rc)
{
    if (merge->read_failed) {
        report_damage(merge);
    } else if (rc != WALKERDB_EABORTED) {
        merge->retry_ns = now_ns(merge) + RETRY_NS;
    }
    atomic_store(&merge->last_error, rc);
    wdb_merge_writer_discard(&merge->writer);
    release_run(merge, false);
}

static bool truncated_since(const struct wdb_merge *merge, uint64_t generation)
{
    return wdb_store_generation(merge->store) != generation &&
           !WDB_STORE_MUTATED(merge->store,
                              WDB_MUTATION_MERGE_IGNORE_TRUNCATION);
}

static int step_idle(struct wdb_merge *merge)
{
    const int rc = wdb_merge_choose(merge);
    if (rc == 0) {
        merge->phase = WDB_MERGE_COPY;
    } else if (rc != WALKERDB_ENOTFOUND) {
        merge->retry_ns = now_ns(merge) + RETRY_NS;
        atomic_store(&merge->last_error, rc);
    }
    return rc;
}

/* Let time pass for the bytes that were read and written. */
static void limit_rate(struct wdb_merge *merge, uint64_t bytes)
{
    const uint64_t rate = merge->store->options.merge_rate;
    if (rate == 0 || merge->on_demand || wdb_log_is_full(merge->store->log)) {
        return; /* somebody waits for it */
    }
    const uint64_t now = now_ns(merge);
    const uint64_t from = merge->ready_ns > now ? merge->ready_ns : now;
    merge->ready_ns =
        from + (uint64_t)((double)bytes * (double)WDB_NS_PER_S / (double)rate);
}

static int step_copy(struct wdb_merge *merge)
{
    const uint64_t before =
        atomic_load(&merge->done_bytes) + merge->writer.bytes_written;
    int rc = wdb_merge_copy_some(merge);
    limit_rate(merge, atomic_load(&merge->done_bytes) +
                          merge->writer.bytes_written - before);
    if (rc != WALKERDB_ENOTFOUND) {
        return rc;
    }
    rc = wdb_merge_writer_finish(&merge->writer);
    if (rc == 0) {
        merge->index_copied = wdb_log_index_last(merge->store->log);
        merge->phase = WDB_MERGE_SETTLE;
    }
    return rc;
}

#ifdef WDB_MUTATIONS
static void unlink_early(struct wdb_merge *merge)
{
    struct wdb_store *store = merge->store;
    for (size_t i = 0; i < merge->run_count; i++) {
        char name[WDB_NAME_SIZE_MAX], path[WDB_PATH_SIZE_MAX];
        wdb_name_segment(name, merge->run[i]->id, merge->run[i]->kind);
        if (wdb_env_join(path, wdb_log_dir(store->log), name) == 0) {
            (void)store->env->ops->unlink(store->env, path);
        }
    }
}
#endif

/* EAGAIN: the commit is to be waited for. */
static int step_settle(struct wdb_merge *merge)
{
    struct wdb_store *store = merge->store;
    if (truncated_since(merge, merge->generation)) {
        return WALKERDB_EABORTED;
    }
    int rc = 0;
    if (wdb_log_durable(store->log) < merge->index_copied &&
        !WDB_STORE_MUTATED(store, WDB_MUTATION_MERGE_SKIP_DURABLE)) {
        rc = wdb_log_sync(store->log);
    }
    if (rc != 0) {
        return rc;
    }
    if (wdb_log_committed(store->log) < merge->index_copied &&
        !WDB_STORE_MUTATED(store, WDB_MUTATION_MERGE_SKIP_DURABLE) &&
        !WDB_STORE_MUTATED(store, WDB_MUTATION_MERGE_SKIP_COMMITTED)) {
        return WALKERDB_EAGAIN;
    }
    /* Again, now that it is committed: from here on nothing that was applied
     * by then can be undone. */
    if (truncated_since(merge, merge->generation)) {
        return WALKERDB_EABORTED;
    }
#ifdef WDB_MUTATIONS
    if (WDB_STORE_MUTATED(store, WDB_MUTATION_MERGE_UNLINK_EARLY)) {
        unlink_early(merge);
    }
#endif
    rc = wdb_log_replace(store->log, merge->run, merge->run_count,
                         merge->writer.segments, merge->writer.segment_count);
    if (rc == 0) {
        merge->phase = WDB_MERGE_MOVE;
        wdb_merge_move_begin(merge);
    }
    return rc;
}

static int step_move(struct wdb_merge *merge)
{
    const int rc = wdb_merge_move_some(merge);
    if (rc == WALKERDB_ENOTFOUND) {
        merge->index_moved = wdb_log_index_last(merge->store->log);
        merge->phase = WDB_MERGE_WAIT;
        return 0;
    }
    return rc;
}

static void finish(struct wdb_merge *merge)
{
    struct wdb_store *store = merge->store;
    uint64_t before = 0, after = 0;
    for (size_t i = 0; i < merge->run_count; i++) {
        before += merge->run[i]->size;
    }
    for (size_t i = 0; i < merge->writer.segment_count; i++) {
        after += merge->writer.segments[i]->size_used;
    }
    wdb_merge_writer_release(&merge->writer);
    release_run(merge, true);
    atomic_store(&merge->last_error, 0);
    atomic_store(&merge->last_freed, before > after ? before - after : 0);
    atomic_store(&merge->last_ms, store->env->ops->time_ms(store->env));
    atomic_store(&merge->last_duration_ms,
                 (now_ns(merge) - merge->begin_ns) / (uint64_t)WDB_NS_PER_MS);
    atomic_fetch_add(&merge->count, 1);
}

static int step_wait(struct wdb_merge *merge)
{
    struct wdb_store *store = merge->store;
    if (store->options.log.manual_commit) {
        /* In this order: what was undone was not committed before. */
        const bool committed =
            wdb_log_committed(store->log) >= merge->index_moved ||
            WDB_STORE_MUTATED(store, WDB_MUTATION_MERGE_SKIP_COMMITTED);
        if (truncated_since(merge, merge->generation_moved)) {
            merge->moved_before = true;
            merge->phase = WDB_MERGE_MOVE;
            wdb_merge_move_begin(merge);
            return 0;
        }
        if (!committed) {
            return WALKERDB_EAGAIN;
        }
    }
    finish(merge);
    return 0;
}

/* 0: something was done. EAGAIN, ENOTFOUND: nothing to do now. Others: the run
 * was given up. */
static int step(struct wdb_merge *merge)
{
    int rc = 0;
    switch (merge->phase) {
    case WDB_MERGE_IDLE:
        return step_idle(merge);
    case WDB_MERGE_COPY:
        rc = step_copy(merge);
        break;
    case WDB_MERGE_SETTLE:
        rc = step_settle(merge);
        break;
    case WDB_MERGE_MOVE:
        /* The outputs were written a moment ago; if they cannot be read, keys
         * stay with the originals, which stay open until the end. */
        rc = step_move(merge);
        if (rc != 0) {
            atomic_store(&merge->last_error, rc);
            merge->phase = WDB_MERGE_STUCK;
        }
        return rc;
    case WDB_MERGE_WAIT:
        return step_wait(merge);
    case WDB_MERGE_STUCK:
        return WALKERDB_ENOTFOUND;
    }
    if (rc != 0 && rc != WALKERDB_EAGAIN) {
        give_up(merge, rc);
    }
    return rc;
}

/* --- who drives it ---------------------------------------------------------
 */

void wdb_merge_bar(struct wdb_store *store, bool barred)
{
    struct wdb_merge *merge = store->merge;
    pthread_mutex_lock(&merge->mutex);
    merge->barred = barred;
    pthread_mutex_unlock(&merge->mutex);
}

void wdb_merge_forget(struct wdb_store *store)
{
    struct wdb_merge *merge = store->merge;
    pthread_mutex_lock(&merge->mutex);
    wdb_assert(merge->barred);
    drop_run(merge);
    merge->tombstones_known = 0;
    pthread_mutex_unlock(&merge->mutex);
}

bool wdb_merge_step(struct wdb_store *store, uint64_t *wait_ns_out)
{
    struct wdb_merge *merge = store->merge;
    bool done = false;
    pthread_mutex_lock(&merge->mutex);
    const uint64_t now = now_ns(merge);
    uint64_t ready = merge->ready_ns;
    if (merge->phase == WDB_MERGE_IDLE && merge->retry_ns > ready) {
        ready = merge->retry_ns;
    }
    const bool idle = merge->phase == WDB_MERGE_IDLE;
    if (!merge->on_demand && !merge->paused && !merge->barred && ready <= now &&
        (store->options.merge_enabled || !idle) &&
        !store->options.log.read_only) {
        const int rc = step(merge);
        done = rc != WALKERDB_ENOTFOUND && rc != WALKERDB_EAGAIN;
        ready = merge->ready_ns;
    }
    if (wait_ns_out != NULL) {
        *wait_ns_out = ready > now ? ready - now : 0;
    }
    pthread_mutex_unlock(&merge->mutex);
    return done;
}

void wdb_store_merge_pause(struct wdb_store *store, bool paused)
{
    struct wdb_merge *merge = store->merge;
    pthread_mutex_lock(&merge->mutex);
    atomic_store(&merge->paused, paused);
    pthread_mutex_unlock(&merge->mutex);
    wdb_store_wake(store);
}

/* Step until nothing is left of the run, or (sweep) of the sweep. */
static int drive(struct wdb_merge *merge, bool sweep)
{
    for (;;) {
        pthread_mutex_lock(&merge->mutex);
        const bool idle = merge->phase == WDB_MERGE_IDLE;
        int rc = WALKERDB_ENOTFOUND;
        if (atomic_load(&merge->paused) || merge->barred) {
            rc = WALKERDB_EABORTED;
        } else if (merge->phase == WDB_MERGE_STUCK) {
            rc = atomic_load(&merge->last_error);
        } else if (!idle || (sweep && merge->sweep != NULL)) {
            rc = step(merge);
        }
        const bool is_through = !sweep || merge->sweep == NULL;
        pthread_mutex_unlock(&merge->mutex);
        if (rc == WALKERDB_ENOTFOUND) {
            if (is_through) {
                return 0;
            }
        } else if (rc == WALKERDB_EAGAIN) {
            if (!merge->store->options.log.background_thread) {
                return WALKERDB_EABORTED; /* nobody else would commit */
            }
            wdb_background_wait(merge->store, DEMAND_WAIT_NS);
        } else if (rc != 0) {
            return rc;
        }
    }
}

int wdb_store_merge(struct wdb_store *store)
{
    struct wdb_merge *merge = store->merge;
    pthread_mutex_lock(&merge->mutex);
    int rc = store->options.log.read_only ? WALKERDB_EREADONLY
             : merge->on_demand           ? WALKERDB_EBUSY
             : merge->paused              ? WALKERDB_EABORTED
             : merge->barred              ? WALKERDB_EABORTED
                                          : 0;
    if (rc == 0) {
        merge->on_demand = true;
    }
    pthread_mutex_unlock(&merge->mutex);
    if (rc != 0) {
        return rc;
    }
    while (wdb_databases_bury(store) || wdb_objects_bury(store)) {
    }
    rc = drive(merge, false); /* what the background has begun */
    if (rc == 0) {
        rc = wdb_log_roll(store->log);
    }
    if (rc == 0) {
        pthread_mutex_lock(&merge->mutex);
        rc = merge->barred ? WALKERDB_EABORTED : wdb_merge_begin_sweep(merge);
        pthread_mutex_unlock(&merge->mutex);
    }
    if (rc == 0) {
        rc = drive(merge, true);
    }
    pthread_mutex_lock(&merge->mutex);
    merge->on_demand = false;
    if (rc != 0) {
        free(merge->sweep);
        merge->sweep = NULL;
        merge->sweep_count = merge->sweep_at = 0;
    }
    pthread_mutex_unlock(&merge->mutex);
    return rc;
}

void wdb_merge_stats(struct wdb_store *store, struct wdb_store_stats *out)
{
    const struct wdb_merge *merge = store->merge;
    out->merge_running = atomic_load(&merge->running);
    const uint64_t begin_ns = atomic_load(&merge->begin_ns);
    const uint64_t time_ns = now_ns(merge);
    out->merge_duration_ms = out->merge_running && time_ns > begin_ns
                                 ? (time_ns - begin_ns) / WDB_NS_PER_MS
                                 : 0;
    out->merge_paused = atomic_load(&merge->paused);
    out->merge_count = atomic_load(&merge->count);
    out->merge_done_bytes = atomic_load(&merge->done_bytes);
    out->merge_total_bytes = atomic_load(&merge->total_bytes);
    out->merge_last_ms = atomic_load(&merge->last_ms);
    out->merge_last_duration_ms = atomic_load(&merge->last_duration_ms);
    out->merge_last_freed = atomic_load(&merge->last_freed);
    out->merge_last_error = atomic_load(&merge->last_error);
}
