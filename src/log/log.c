/*
 * log.c - opens and closes a log; what poisons it.
 */
#include "log/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "log/log_internal.h"
#include "log/names.h"

void wdb_log_options_init(struct wdb_log_options *options)
{
    *options = (struct wdb_log_options){
        .background_thread = true,
        .segment_size = (uint64_t)256 << 20,
        .batch_size_max = WDB_BATCH_SIZE_MAX,
        .unwritten_size_max = (uint64_t)4 << 20,
        .reserve_size = (uint64_t)32 << 20,
        .sync_policy = WDB_SYNC_INTERVAL,
        .sync_interval_ms = 1000,
    };
}

/* --- memory ---------------------------------------------------------------- */

static void init_locks(struct wdb_log *log)
{
    pthread_condattr_t monotonic;
    pthread_mutexattr_t spinning;
    /* Held for some tens of nanoseconds: worth a short wait before sleeping. */
    pthread_mutexattr_init(&spinning);
    pthread_mutexattr_settype(&spinning, PTHREAD_MUTEX_ADAPTIVE_NP);
    pthread_mutex_init(&log->sequencer, &spinning);
    pthread_mutexattr_destroy(&spinning);
    pthread_mutex_init(&log->writer, NULL);
    pthread_mutex_init(&log->prefill_lock, NULL);
    pthread_mutex_init(&log->syncing, NULL);
    pthread_mutex_init(&log->catalog, NULL);
    pthread_mutex_init(&log->table, NULL);
    pthread_mutex_init(&log->pool_lock, NULL);
    pthread_mutex_init(&log->disposal_lock, NULL);
    pthread_mutex_init(&log->lookup, NULL);
    pthread_mutex_init(&log->wake_lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&log->wake, &monotonic);
    pthread_condattr_destroy(&monotonic);
}

static void release_locks(struct wdb_log *log)
{
    pthread_mutex_destroy(&log->sequencer);
    pthread_mutex_destroy(&log->writer);
    pthread_mutex_destroy(&log->prefill_lock);
    pthread_mutex_destroy(&log->syncing);
    pthread_mutex_destroy(&log->catalog);
    pthread_mutex_destroy(&log->table);
    pthread_mutex_destroy(&log->pool_lock);
    pthread_mutex_destroy(&log->disposal_lock);
    pthread_mutex_destroy(&log->lookup);
    pthread_mutex_destroy(&log->wake_lock);
    pthread_cond_destroy(&log->wake);
}

static bool options_are_valid(const struct wdb_log_options *o)
{
    return o->env != NULL && o->dir != NULL && o->dir[0] != '\0' &&
           o->segment_size >= WDB_SEGMENT_SIZE_MIN &&
           o->segment_size <= WDB_SEGMENT_SIZE_MAX &&
           o->segment_size % 4096 == 0 &&
           o->batch_size_max <= WDB_BATCH_SIZE_MAX;
}

static int log_new(const struct wdb_log_options *options, struct wdb_log **out)
{
    struct wdb_log *log =
        aligned_alloc(WDB_CACHE_LINE, (sizeof(*log) + WDB_CACHE_LINE - 1) &
                                          ~(size_t)(WDB_CACHE_LINE - 1));
    if (log == NULL) {
        return WALKERDB_ENOMEM;
    }
    memset(log, 0, sizeof(*log));
    log->options = *options;
    log->env = options->env;
    atomic_init(&log->policy, (int)options->sync_policy);
    init_locks(log);
    wdb_residency_clock_init(&log->residency_clock,
                             log->env->ops->monotonic_ns(log->env));
    log->dir = strdup(options->dir);
    int rc = log->dir == NULL ? WALKERDB_ENOMEM : 0;
    if (rc == 0) {
        rc = wdb_epoch_new(&log->epoch);
    }
    if (rc != 0) {
        free(log->dir);
        release_locks(log);
        free(log);
        return rc;
    }
    log->options.dir = log->dir;
    *out = log;
    return 0;
}

/* Everything but the thread, which has ended. */
static void log_free(struct wdb_log *log)
{
    for (size_t i = 0; i < log->order_count; i++) {
        wdb_slots_remove(log, log->order[i]);
    }
    wdb_epoch_free(log->epoch); /* no reader is inside */
    wdb_log_dispose(log);
    /* Who still had a reference would be left with a dangling one. */
    wdb_assert(atomic_load(&log->segments_open) == 0);
    wdb_gather_release(log);
    if (log->lock_file != NULL) {
        log->env->ops->unlock(log->lock_file);
    }
    wdb_manifest_release(&log->manifest);
    free((void *)(uintptr_t)log->base.data);
    free(log->order);
    for (size_t i = 0; i < WDB_COUNT(log->slots); i++) {
        free(atomic_load(&log->slots[i]));
    }
    free(log->dir);
    release_locks(log);
    free(log);
}

/* --- opening --------------------------------------------------------------- */

static void say(char **message_out, const char *format, ...) WDB_PRINTF(2, 3);
static void say(char **message_out, const char *format, ...)
{
    va_list args;
    char *text = NULL;
    if (message_out == NULL || *message_out != NULL) {
        return;
    }
    va_start(args, format);
    if (vasprintf(&text, format, args) >= 0) {
        *message_out = text;
    }
    va_end(args);
}

/* The directory, and its name in the one above. */
static int make_dir(struct wdb_log *log)
{
    char parent[WDB_PATH_SIZE_MAX];
    const struct wdb_env_ops *ops = log->env->ops;
    int rc = ops->mkdir(log->env, log->dir);
    if (rc != 0) {
        return rc == WALKERDB_EEXISTS ? 0 : rc;
    }
    size_t size = strlen(log->dir);
    if (size >= sizeof(parent)) {
        return WALKERDB_ETOOBIG;
    }
    memcpy(parent, log->dir, size + 1);
    while (size > 0 && parent[size - 1] == '/') {
        size--;
    }
    while (size > 0 && parent[size - 1] != '/') {
        size--;
    }
    if (size == 0) {
        memcpy(parent, ".", 2);
    } else {
        parent[size > 1 ? size - 1 : 1] = '\0';
    }
    return ops->sync_dir(log->env, parent);
}

static int take_lock(struct wdb_log *log, char **message_out)
{
    char path[WDB_PATH_SIZE_MAX];
    int64_t holder = 0;
    int rc = wdb_env_join(path, log->dir, WDB_NAME_LOCK);
    if (rc != 0) {
        return rc;
    }
    if (log->options.read_only) {
        /* Without a LOCK nobody can have it open, and nothing is made. */
        struct wdb_file *file;
        rc = log->env->ops->open(log->env, path, WDB_OPEN_READ, &file);
        if (rc != 0) {
            return rc == WALKERDB_ENOTFOUND ? 0 : rc;
        }
        log->env->ops->close(file);
    }
    rc = log->env->ops->lock(log->env, path, &log->lock_file, &holder);
    if (rc == WALKERDB_ELOCKED) {
        say(message_out, "%s is in use by process %lld", log->dir,
            (long long)holder);
    } else if (rc != 0 && log->options.read_only) {
        rc = 0; /* a medium that cannot be written to: nobody else does */
    } else if (rc != 0) {
        say(message_out, "%s: cannot be locked: %s", path,
            walkerdb_strerror(rc));
    }
    return rc;
}

static int find_segment_name(void *context, const char *text)
{
    struct wdb_name name;
    bool *found = context;
    wdb_name_parse(text, &name);
    if ((name.kind == WDB_NAME_KIND_LOG || name.kind == WDB_NAME_KIND_MERGED) &&
        !name.temporary) {
        *found = true;
    }
    return 0;
}

/* There is no manifest: begin with an empty one, or refuse. */
static int make_manifest(struct wdb_log *log, char **message_out)
{
    bool has_segments = false;
    uint64_t nonce;
    int rc = log->env->ops->list(log->env, log->dir, find_segment_name,
                                 &has_segments);
    if (rc != 0) {
        return rc;
    }
    if (has_segments) {
        say(message_out,
            "%s has segments, but no %s; walkerdb-check %s tells more",
            log->dir, WDB_NAME_MANIFEST, log->dir);
        return WALKERDB_ECORRUPT;
    }
    if (!log->options.create || log->options.read_only) {
        say(message_out, "%s holds no database", log->dir);
        return WALKERDB_ENOTFOUND;
    }
    log->env->ops->random(log->env, &nonce, sizeof(nonce));
    wdb_manifest_init(&log->manifest, nonce);
    log->manifest.generation = 1;
    return wdb_manifest_store(log->env, log->dir, &log->manifest);
}

/* Entries of a member of a cluster count only when the cluster says so. Who
 * only reads sees what is known to. */
static int check_cluster(struct wdb_log *log, char **message_out)
{
    if (!log->manifest.cluster || log->options.manual_commit) {
        return 0;
    }
    if (log->options.read_only) {
        log->options.manual_commit = true;
        return 0;
    }
    say(message_out,
        "%s belongs to a member of a cluster, and does not open by itself: "
        "start the server as that member (-bootstrap true or -join), or open a "
        "backup of it",
        log->dir);
    return WALKERDB_EMISMATCH;
}

static int load_manifest(struct wdb_log *log, char **message_out)
{
    int rc = wdb_manifest_load(log->env, log->dir, &log->manifest);
    if (rc == WALKERDB_ENOTFOUND) {
        rc = make_manifest(log, message_out);
    } else if (rc == WALKERDB_ECORRUPT) {
        say(message_out, "%s/%s is damaged; walkerdb-check %s tells more",
            log->dir, WDB_NAME_MANIFEST, log->dir);
    } else if (rc == WALKERDB_EVERSION) {
        say(message_out, "%s was written by a newer version", log->dir);
    }
    log->nonce = log->manifest.nonce;
    return rc == 0 ? check_cluster(log, message_out) : rc;
}

static int open_files(struct wdb_log *log, char **message_out)
{
    int rc = 0;
    if (log->options.create && !log->options.read_only) {
        rc = make_dir(log);
        if (rc != 0) {
            say(message_out, "%s: cannot be made: %s", log->dir,
                walkerdb_strerror(rc));
            return rc;
        }
    }
    rc = take_lock(log, message_out);
    if (rc == 0) {
        rc = load_manifest(log, message_out);
    }
    if (rc == 0) {
        wdb_room_fit(log);
        rc = wdb_recovery_run(log, message_out);
    }
    if (rc == 0 && !log->options.read_only) {
        rc = wdb_gather_init(log);
    }
    return rc;
}

int wdb_log_open(const struct wdb_log_options *options, struct wdb_log **out,
                 char **message_out)
{
    struct wdb_log *log;
    if (message_out != NULL) {
        *message_out = NULL;
    }
    if (!options_are_valid(options)) {
        return WALKERDB_EINVALID;
    }
    int rc = log_new(options, &log);
    if (rc != 0) {
        return rc;
    }
    rc = open_files(log, message_out);
    if (rc == 0) {
        atomic_store(&log->last_sync_ns, log->env->ops->monotonic_ns(log->env));
        if (options->background_thread && !options->read_only) {
            rc = wdb_sync_start_thread(log);
        }
    }
    if (rc != 0) {
        say(message_out, "%s: %s", log->dir, walkerdb_strerror(rc));
        log_free(log);
        return rc;
    }
    *out = log;
    return 0;
}

/* --- closing --------------------------------------------------------------- */

static void stop_appends(struct wdb_log *log)
{
    pthread_mutex_lock(&log->sequencer);
    log->stopping = true;
    pthread_mutex_unlock(&log->sequencer);
}

/* Say in the manifest up to where the entries are durable: what is missing
 * below that, next time, is damage. And what of them is committed. */
static void note_clean_end(struct wdb_log *log)
{
    struct wdb_manifest changed;
    pthread_mutex_lock(&log->catalog);
    if ((log->manifest.index_durable != atomic_load(&log->durable) ||
         (log->options.manual_commit &&
          log->manifest.index_committed != wdb_log_committed(log)) ||
         log->manifest.index_retained != atomic_load(&log->retained)) &&
        wdb_manifest_copy(&log->manifest, &changed) == 0 &&
        wdb_catalog_store(log, &changed) != 0) {
        wdb_logger_print(log->options.logger, WDB_LOG_WARNING,
                         "%s/%s could not be replaced at the end", log->dir,
                         WDB_NAME_MANIFEST);
    }
    pthread_mutex_unlock(&log->catalog);
}

void wdb_log_close(struct wdb_log *log)
{
    if (log == NULL) {
        return;
    }
    wdb_sync_stop_thread(log);
    if (!log->options.read_only) {
        stop_appends(log);
        int rc = atomic_load(&log->policy) == WDB_SYNC_NEVER
                     ? wdb_log_flush(log)
                     : wdb_log_sync(log);
        if (rc == 0) {
            rc = wdb_catalog_seal(log);
        }
        if (rc == 0) {
            note_clean_end(log);
        }
    }
    log_free(log);
}

void wdb_log_abandon(struct wdb_log *log)
{
    if (log == NULL) {
        return;
    }
    wdb_sync_stop_thread(log);
    log_free(log);
}

/* --- failure --------------------------------------------------------------- */

int wdb_log_fail(struct wdb_log *log, int error, const char *what,
                 const struct wdb_segment *segment)
{
    int none = 0;
    if (WDB_LOG_MUTATED(log, WDB_MUTATION_RETRY_SYNC) ||
        !atomic_compare_exchange_strong(&log->failure_state, &none, 1)) {
        return WALKERDB_EIO;
    }
    char name[WDB_NAME_SIZE_MAX + 1] = "/";
    if (segment != NULL) {
        wdb_name_segment(name + 1, segment->id, segment->kind);
    }
    snprintf(log->failure_message, sizeof(log->failure_message),
             "%s %s %s%s failed: %s", what, segment != NULL ? "of" : "in",
             log->dir, segment != NULL ? name : "", walkerdb_strerror(error));
    atomic_store(&log->failure, WALKERDB_EIO);
    atomic_store(&log->failure_state, 2);
    wdb_logger_print(log->options.logger, WDB_LOG_WARNING,
                     "%s: nothing is written any more", log->failure_message);
    return WALKERDB_EIO;
}

int wdb_log_tell_failure(struct wdb_log *log, int rc)
{
    int to_tell = 2;
    if (rc == WALKERDB_EIO &&
        atomic_compare_exchange_strong(&log->failure_state, &to_tell, 3) &&
        log->options.on_failure != NULL) {
        log->options.on_failure(log->options.context, WALKERDB_EIO,
                                log->failure_message);
    }
    return rc;
}

int wdb_log_failure(const struct wdb_log *log)
{
    return atomic_load_explicit(&log->failure, memory_order_acquire);
}

int wdb_log_appendable(const struct wdb_log *log)
{
    const int failure = wdb_log_failure(log);
    if (WDB_UNLIKELY(failure != 0)) {
        return failure;
    }
    if (WDB_UNLIKELY(log->current == NULL)) {
        return WALKERDB_EREADONLY;
    }
    return WDB_UNLIKELY(log->stopping) ? WALKERDB_ECLOSED : 0;
}
