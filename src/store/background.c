/* background.c - steps of background work, and the thread that takes them. */
#include "store/background.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "base/time.h"
#include "store/merge.h"
#include "store/store_internal.h"

/* Segments become worth merging without anybody saying so. */
#define SLEEP_NS_MAX  ((uint64_t)250 * (uint64_t)WDB_NS_PER_MS)
#define SLEEP_NS_FULL ((uint64_t)25 * (uint64_t)WDB_NS_PER_MS)
#define SLEEP_NS_MIN  ((uint64_t)WDB_NS_PER_MS)
#define HINT_RETRY_NS ((uint64_t)10 * (uint64_t)WDB_NS_PER_S)

/* --- hints -----------------------------------------------------------------
 */

static bool wants_hint(const struct wdb_store *store,
                       const struct wdb_segment *segment)
{
    return atomic_load(&segment->sealed) && !atomic_load(&segment->hinted) &&
           !atomic_load(&segment->damaged) &&
           segment->index_last <= wdb_log_committed(store->log);
}

static int build_hint(struct wdb_store *store, struct wdb_segment *segment)
{
    if (WDB_STORE_MUTATED(store, WDB_MUTATION_HINT_LIVE_ONLY)) {
        return wdb_merge_hint_live_only(store, segment);
    }
    return wdb_hint_build(store->log, segment);
}

/* Write one hint that is missing. */
static bool step_hints(struct wdb_store *store)
{
    struct wdb_background *background = store->background;
    const uint64_t now = store->env->ops->monotonic_ns(store->env);
    if (!store->options.hints || store->options.log.read_only ||
        now < background->hint_retry_ns) {
        return false;
    }
    struct wdb_segment **segments;
    size_t count;
    if (wdb_log_segments(store->log, &segments, &count) != 0) {
        return false;
    }
    bool done = false;
    for (size_t i = 0; i < count; i++) {
        if (!done && wants_hint(store, segments[i])) {
            const int rc = build_hint(store, segments[i]);
            if (rc == 0) {
                atomic_store(&segments[i]->hinted, true);
            } else if (rc == WALKERDB_ECORRUPT) {
                atomic_store(&segments[i]->damaged, true);
            } else {
                background->hint_retry_ns = now + HINT_RETRY_NS;
            }
            done = true;
        }
        wdb_segment_drop(segments[i]);
    }
    free(segments);
    return done;
}

/* --- steps -----------------------------------------------------------------
 */

static bool step(struct wdb_store *store, uint64_t *wait_ns_out)
{
    bool done = wdb_databases_bury(store);
    done |= wdb_objects_bury(store);
    done |= wdb_objects_stock(store);
    done |= step_hints(store);
    done |= wdb_merge_step(store, wait_ns_out);
    return done;
}

bool wdb_store_step(struct wdb_store *store)
{
    return wdb_log_failure(store->log) == 0 && step(store, NULL);
}

/* --- the thread ------------------------------------------------------------
 */

void wdb_background_wait(struct wdb_store *store, uint64_t wait_ns)
{
    struct wdb_background *background = store->background;
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    const uint64_t ns = (uint64_t)until.tv_nsec + wait_ns;
    until.tv_sec += (time_t)(ns / (uint64_t)WDB_NS_PER_S);
    until.tv_nsec = (long)(ns % (uint64_t)WDB_NS_PER_S);
    pthread_mutex_lock(&background->mutex);
    while (!background->woken && !background->stopping &&
           pthread_cond_timedwait(&background->wake, &background->mutex,
                                  &until) != ETIMEDOUT) {
    }
    background->woken = false;
    pthread_mutex_unlock(&background->mutex);
}

void wdb_store_wake(struct wdb_store *store)
{
    struct wdb_background *background = store->background;
    if (background == NULL || !background->running) {
        return;
    }
    pthread_mutex_lock(&background->mutex);
    background->woken = true;
    pthread_cond_broadcast(&background->wake);
    pthread_mutex_unlock(&background->mutex);
}

static bool is_stopping(struct wdb_background *background)
{
    pthread_mutex_lock(&background->mutex);
    const bool stopping = background->stopping;
    pthread_mutex_unlock(&background->mutex);
    return stopping;
}

static void *run(void *argument)
{
    struct wdb_store *store = argument;
    while (!is_stopping(store->background)) {
        uint64_t wait_ns = 0;
        if (wdb_log_failure(store->log) == 0 && step(store, &wait_ns)) {
            continue;
        }
        const uint64_t most =
            wdb_log_is_full(store->log) ? SLEEP_NS_FULL : SLEEP_NS_MAX;
        if (wait_ns == 0 || wait_ns > most) {
            wait_ns = most;
        }
        wdb_background_wait(store,
                            wait_ns < SLEEP_NS_MIN ? SLEEP_NS_MIN : wait_ns);
    }
    return NULL;
}

int wdb_background_start(struct wdb_store *store)
{
    struct wdb_background *background = calloc(1, sizeof(*background));
    if (background == NULL) {
        return WALKERDB_ENOMEM;
    }
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&background->wake, &attributes);
    pthread_condattr_destroy(&attributes);
    pthread_mutex_init(&background->mutex, NULL);
    store->background = background;
    if (!store->options.log.background_thread) {
        return 0;
    }
    background->running =
        pthread_create(&background->thread, NULL, run, store) == 0;
    if (!background->running) {
        wdb_background_stop(store);
        return WALKERDB_ENOMEM;
    }
    return 0;
}

void wdb_background_stop(struct wdb_store *store)
{
    struct wdb_background *background = store->background;
    if (background == NULL) {
        return;
    }
    if (background->running) {
        pthread_mutex_lock(&background->mutex);
        background->stopping = true;
        pthread_cond_broadcast(&background->wake);
        pthread_mutex_unlock(&background->mutex);
        pthread_join(background->thread, NULL);
    }
    pthread_cond_destroy(&background->wake);
    pthread_mutex_destroy(&background->mutex);
    free(background);
    store->background = NULL;
}
