/*
 * base.c - what the manifest keeps for Raft, and from where entries are kept.
 *
 * The bytes are opaque here. They are in memory of their own beside the
 * manifest, which is replaced at any time by other threads.
 */
#include <stdlib.h>

#include "log/log_internal.h"

struct wdb_slice wdb_log_base(const struct wdb_log *log)
{
    return log->base;
}

bool wdb_log_is_cluster(const struct wdb_log *log)
{
    return atomic_load_explicit(&log->cluster, memory_order_acquire);
}

int wdb_base_copy(struct wdb_slice base, struct wdb_slice *out)
{
    uint8_t *copy = NULL;
    if (base.size != 0) {
        copy = malloc(base.size);
        if (copy == NULL) {
            return WALKERDB_ENOMEM;
        }
        memcpy(copy, base.data, base.size);
    }
    *out = wdb_slice(copy, base.size);
    return 0;
}

void wdb_base_take_over(struct wdb_log *log, struct wdb_slice copy)
{
    free((void *)(uintptr_t)log->base.data);
    log->base = copy;
    atomic_store_explicit(&log->cluster, log->manifest.cluster,
                          memory_order_release);
    wdb_log_set_retained(log, log->manifest.index_retained);
}

int wdb_base_edit(struct wdb_manifest *changed, bool cluster,
                  struct wdb_slice base, uint64_t retained)
{
    struct wdb_slice copy;
    const int rc = wdb_base_copy(base, &copy);
    if (rc != 0) {
        return rc;
    }
    free((void *)(uintptr_t)changed->raft.data);
    changed->raft = copy;
    changed->cluster = cluster;
    if (changed->index_retained < retained) {
        changed->index_retained = retained;
    }
    return 0;
}

/* Under catalog. */
static int set_base(struct wdb_log *log, bool cluster, struct wdb_slice base,
                    uint64_t retained)
{
    struct wdb_manifest changed;
    struct wdb_slice copy;
    int rc = wdb_base_copy(base, &copy);
    if (rc == 0) {
        rc = wdb_manifest_copy(&log->manifest, &changed);
        if (rc == 0) {
            rc = wdb_base_edit(&changed, cluster, base, retained);
            if (rc != 0) {
                wdb_manifest_release(&changed);
            }
        }
        if (rc == 0 && WDB_LOG_MUTATED(log, WDB_MUTATION_SKIP_BASE)) {
            wdb_manifest_release(&log->manifest);
            log->manifest = changed;
        } else if (rc == 0) {
            rc = wdb_catalog_store(log, &changed);
        }
        if (rc == 0) {
            wdb_base_take_over(log, copy);
        } else {
            free((void *)(uintptr_t)copy.data);
        }
    }
    return rc;
}

int wdb_log_set_base(struct wdb_log *log, bool cluster, struct wdb_slice base,
                     uint64_t retained)
{
    if (log->options.read_only) {
        return WALKERDB_EREADONLY;
    }
    pthread_mutex_lock(&log->catalog);
    const int rc = set_base(log, cluster, base, retained);
    pthread_mutex_unlock(&log->catalog);
    return wdb_log_tell_failure(log, rc);
}
