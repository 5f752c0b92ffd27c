/*
 * install.c - a snapshot takes the place of everything.
 *
 *   check    take the files in; read all of them, which makes their hints
 *   switch   under all stripes: no merge, no keydirs; the manifest names the
 *            new files
 *   load     as at open, from the hints
 *
 * Up to the switch nothing has changed, and a failure leaves nothing behind.
 * After it the old state is gone: if the load fails (for want of memory), the log
 * is poisoned, and the next start loads what was installed.
 *
 * Memory: the old keydirs are freed before the new ones are made, unless some
 * reader is inside the epoch just then: they go when it leaves.
 */
#include "log/install.h"

#include <stdlib.h>

#include "base/time.h"
#include "store/hint.h"
#include "store/merge.h"

/* So often the log says how far it is. */
#define TELL_NS ((uint64_t)5 * (uint64_t)WDB_NS_PER_S)

struct wdb_installation {
    struct wdb_store *store;
    struct wdb_log_install log;
    struct wdb_mapping *memory; /* for the old mapping on its way out */
    uint64_t index, size;
    uint64_t done; /* bytes that were checked, and (again) loaded */
    uint64_t begin_ns, told_ns;
    wdb_progress_cb progress;
    void *context;
};

/* --- progress --------------------------------------------------------------
 */

/* Everything is read twice: as it is, then its hints. */
static uint64_t total_of(const struct wdb_installation *install)
{
    return install->size * 2;
}

static void tell(struct wdb_installation *install)
{
    struct wdb_store *store = install->store;
    const uint64_t now = store->env->ops->monotonic_ns(store->env);
    if (now - install->told_ns < TELL_NS || install->size == 0) {
        return;
    }
    install->told_ns = now;
    const double seconds =
        (double)(now - install->begin_ns) / (double)WDB_NS_PER_S;
    const double total = (double)total_of(install);
    const double done = (double)install->done;
    wdb_logger_print(store->options.log.logger, WDB_LOG_NOTICE,
                     "Installing a snapshot: %.1f %%, %.0f MB/s, %.0f s left",
                     100.0 * done / total, done / 1e6 / seconds,
                     done > 0 ? seconds * (total - done) / done : 0.0);
}

/* Non-zero if it shall end. */
static int advance(struct wdb_installation *install, uint64_t done)
{
    install->done = done;
    tell(install);
    return install->progress == NULL
               ? 0
               : install->progress(install->context, done, total_of(install));
}

/* By the load, under its lock: too late to end it. */
static void on_load_progress(void *context, uint64_t done)
{
    struct wdb_installation *install = context;
    (void)advance(install, install->size + done);
}

/* --- check -----------------------------------------------------------------
 */

static int skip_record(void *context, const struct wdb_record *record,
                       wdb_position position, uint64_t size)
{
    (void)context;
    (void)record;
    (void)position;
    (void)size;
    return 0;
}

/* Read a segment from end to end; with its hint if there are to be any. */
static int check_segment(struct wdb_installation *install, size_t number)
{
    struct wdb_store *store = install->store;
    struct wdb_segment *segment = install->log.segments[number];
    uint64_t offset = 0;
    int rc = store->options.hints ? wdb_hint_build(store->log, segment)
                                  : wdb_log_scan(store->log, segment,
                                                 skip_record, NULL, &offset);
    if (rc == 0) {
        atomic_store(&segment->hinted, store->options.hints);
        rc = wdb_log_install_verify(&install->log, number, &offset);
    }
    if (rc == WALKERDB_ECORRUPT || rc == WALKERDB_EIO) {
        wdb_logger_print(store->options.log.logger, WDB_LOG_WARNING,
                         "The snapshot is refused: its segment %zu of %zu: %s "
                         "at offset %llu",
                         number + 1, install->log.count, walkerdb_strerror(rc),
                         (unsigned long long)offset);
    }
    return rc;
}

static int check(struct wdb_installation *install)
{
    int rc = 0;
    for (size_t i = 0; i < install->log.count && rc == 0; i++) {
        rc = check_segment(install, i);
        if (rc == 0 &&
            advance(install,
                    install->done + install->log.segments[i]->size_used) != 0) {
            rc = WALKERDB_EABORTED;
        }
    }
    return rc;
}

/* --- switch ----------------------------------------------------------------
 */

/* Everything in memory goes. All stripes and bury_mutex are held. */
static void clear(struct wdb_installation *install)
{
    struct wdb_store *store = install->store;
    wdb_databases_clear(store, install->memory);
    install->memory = NULL;
    wdb_registry_clear(store);
    for (uint32_t i = 0; i < store->stripe_count; i++) {
        wdb_expiry_clear(&store->stripes[i]);
        wdb_undo_ring_release(&store->stripes[i].undos);
        atomic_store(&store->stripes[i].last_write, install->index);
    }
    atomic_store(&store->index_reverted, 0);
    atomic_fetch_add(&store->revert_count, 1);
    store->load_hint_count = store->load_scan_count = 0;
    wdb_store_touch(store, WDB_TOUCH_ALL, 0, 0, wdb_slice(NULL, 0));
}

static int switch_over(struct wdb_installation *install, struct wdb_slice base)
{
    struct wdb_store *store = install->store;
    struct wdb_databases *databases = &store->databases;
    pthread_mutex_lock(&databases->bury_mutex);
    wdb_store_lock_all(store);
    const int rc = wdb_log_install_finish(&install->log, base);
    if (rc == 0) {
        clear(install);
    }
    wdb_store_unlock_all(store);
    pthread_mutex_unlock(&databases->bury_mutex);
    return rc;
}

/* --- load ------------------------------------------------------------------
 */

static int load(struct wdb_installation *install)
{
    struct wdb_store *store = install->store;
    char *message = NULL;
    while (wdb_databases_bury(store)) {
    }
    int rc = store->ordered == NULL ? 0 : wdb_ordered_clear(store->ordered);
    if (rc == 0) {
        store->load_progress = on_load_progress;
        store->load_context = install;
        rc = wdb_store_load(store, &message);
        store->load_progress = NULL;
    }
    if (rc != 0) {
        wdb_logger_print(store->options.log.logger, WDB_LOG_WARNING,
                         "A snapshot was installed, but it cannot be loaded: "
                         "%s. The next start loads it",
                         message != NULL ? message : walkerdb_strerror(rc));
        rc = wdb_log_install_lost(store->log, rc);
    }
    free(message);
    return rc;
}

/* --- the whole -------------------------------------------------------------
 */

/* Undo of what is committed may go; of more there must be none. */
static int settle(struct wdb_store *store)
{
    const uint64_t committed = wdb_log_committed(store->log);
    wdb_store_set_committed(store, committed);
    pthread_mutex_lock(&store->undo_mutex);
    bool any = store->undo_oldest != NULL;
    pthread_mutex_unlock(&store->undo_mutex);
    for (uint32_t i = 0; i < store->stripe_count; i++) {
        struct wdb_undo_ring *ring = &store->stripes[i].undos;
        wdb_store_lock_one(store, i);
        wdb_undo_ring_pass(ring, committed);
        any |= atomic_load(&ring->count) > 0;
        wdb_store_unlock_one(store, i);
    }
    return any ? WALKERDB_EINVALID : 0;
}

static void release(struct wdb_installation *install)
{
    free(install->memory);
    free(install);
}

int wdb_store_install_check(struct wdb_store *store, const char *dir,
                            uint64_t index, uint64_t term,
                            wdb_progress_cb progress, void *context,
                            struct wdb_installation **out)
{
    if (store->options.log.read_only) {
        return WALKERDB_EREADONLY;
    }
    struct wdb_installation *install = calloc(1, sizeof(*install));
    struct wdb_mapping *memory = calloc(1, sizeof(*memory));
    int rc = install == NULL || memory == NULL ? WALKERDB_ENOMEM : 0;
    if (rc == 0) {
        *install = (struct wdb_installation){
            .store = store,
            .memory = memory,
            .index = index,
            .progress = progress,
            .context = context,
        };
        rc = wdb_log_install_begin(store->log, dir, index, term, &install->log);
    }
    if (rc != 0) {
        free(memory);
        free(install);
        return rc;
    }
    install->size = install->log.size;
    install->begin_ns = install->told_ns =
        store->env->ops->monotonic_ns(store->env);
    rc = check(install);
    if (rc != 0) {
        wdb_store_install_drop(install);
        return rc;
    }
    *out = install;
    return 0;
}

void wdb_store_install_drop(struct wdb_installation *install)
{
    if (install != NULL) {
        wdb_log_install_abort(&install->log);
        release(install);
    }
}

int wdb_store_install_switch(struct wdb_installation *install,
                             struct wdb_slice base)
{
    struct wdb_store *store = install->store;
    int rc = settle(store);
    if (rc != 0) {
        wdb_store_install_drop(install);
        return rc;
    }
    wdb_merge_bar(store, true);
    rc = switch_over(install, base);
    if (rc == 0) {
        wdb_merge_forget(store);
        rc = load(install);
    }
    wdb_merge_bar(store, false);
    wdb_store_wake(store);
    release(install);
    return rc;
}

int wdb_store_install(struct wdb_store *store, const char *dir, uint64_t index,
                      uint64_t term, struct wdb_slice base,
                      wdb_progress_cb progress, void *context)
{
    struct wdb_installation *install;
    int rc = index < wdb_log_committed(store->log) ? WALKERDB_EINVALID
                                                   : settle(store);
    if (rc == 0) {
        rc = wdb_store_install_check(store, dir, index, term, progress, context,
                                     &install);
    }
    return rc == 0 ? wdb_store_install_switch(install, base) : rc;
}
