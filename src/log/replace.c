/*
 * replace.c - what merge does to the log: makes merged segments and lets them
 * take the place of the run that they were made from.
 */
#include <stdlib.h>

#include "log/log_internal.h"

int wdb_log_segment_create(struct wdb_log *log, uint64_t size,
                           struct wdb_segment **out)
{
    if (log->options.read_only) {
        return WALKERDB_EREADONLY;
    }
    if (size < WDB_SEGMENT_HEADER_SIZE || size > (uint64_t)8 << 32) {
        return WALKERDB_ETOOBIG;
    }
    struct wdb_segment *segment = NULL;
    pthread_mutex_lock(&log->catalog);
    int rc = wdb_log_failure(log);
    if (rc == 0) {
        /* The number is used up even if the manifest does not say so yet: a
         * file that a crash leaves behind is found by recovery. */
        rc = wdb_catalog_create(log, &log->manifest, WDB_SEGMENT_MERGED, size,
                                &segment);
    }
    pthread_mutex_unlock(&log->catalog);
    if (rc != 0) {
        return wdb_log_tell_failure(log, rc);
    }
    wdb_segment_acquire(segment);
    *out = segment;
    return 0;
}

void wdb_log_segment_discard(struct wdb_log *log, struct wdb_segment *segment)
{
    wdb_catalog_give_up(log, segment);
    wdb_segment_drop(segment);
}

/* Where the run is in the order; order_count if it is not one. */
static size_t find_run(const struct wdb_log *log,
                       struct wdb_segment *const *old, size_t count)
{
    size_t at = 0;
    while (at < log->order_count && log->order[at] != old[0]) {
        at++;
    }
    if (at + count > log->order_count) {
        return log->order_count;
    }
    for (size_t i = 0; i < count; i++) {
        if (log->order[at + i] != old[i] || !atomic_load(&old[i]->sealed)) {
            return log->order_count;
        }
    }
    return at;
}

static struct wdb_manifest_segment describe(const struct wdb_segment *segment)
{
    struct wdb_manifest_segment m = wdb_catalog_describe(segment);
    m.sealed = true;
    m.size_used = segment->size_used;
    m.index_last = segment->index_last;
    m.last_crc = segment->last_crc;
    m.clean_index = segment->clean_index;
    m.record_count = segment->record_count;
    return m;
}

/* Under catalog. */
static int replace(struct wdb_log *log, size_t at, size_t old_count,
                   struct wdb_segment *const *merged, size_t merged_count)
{
    struct wdb_manifest changed;
    struct wdb_manifest_segment *list =
        malloc((merged_count + 1) * sizeof(struct wdb_manifest_segment));
    int rc =
        list == NULL ? WALKERDB_ENOMEM : wdb_slots_reserve(log, merged_count);
    if (rc == 0) {
        rc = wdb_manifest_copy(&log->manifest, &changed);
    }
    if (rc != 0) {
        free(list);
        return rc;
    }
    for (size_t i = 0; i < merged_count; i++) {
        list[i] = describe(merged[i]);
    }
    rc = wdb_catalog_insert(&changed, at, old_count, list, merged_count);
    free(list);
    if (rc != 0) {
        wdb_manifest_release(&changed);
        return rc;
    }
    rc = wdb_catalog_store(log, &changed);
    if (rc != 0) {
        return rc;
    }
    for (size_t i = 0; i < merged_count; i++) {
        atomic_store_explicit(&merged[i]->finished, true, memory_order_release);
        atomic_store_explicit(&merged[i]->sealed, true, memory_order_release);
    }
    wdb_slots_splice(log, at, old_count, merged, merged_count);
    return 0;
}

int wdb_log_replace(struct wdb_log *log, struct wdb_segment *const *old,
                    size_t old_count, struct wdb_segment *const *merged,
                    size_t merged_count)
{
    wdb_assert(old_count != 0);
    pthread_mutex_lock(&log->catalog);
    const size_t at = find_run(log, old, old_count);
    int rc = at == log->order_count
                 ? WALKERDB_EINVALID
                 : replace(log, at, old_count, merged, merged_count);
    pthread_mutex_unlock(&log->catalog);
    return wdb_log_tell_failure(log, rc);
}

int wdb_log_reserve_objects(struct wdb_log *log, uint64_t counter)
{
    struct wdb_manifest changed;
    int rc = log->options.read_only ? WALKERDB_EREADONLY : 0;
    pthread_mutex_lock(&log->catalog);
    if (rc == 0 && counter > log->manifest.object_counter) {
        rc = wdb_manifest_copy(&log->manifest, &changed);
        if (rc == 0) {
            changed.object_counter = counter;
            rc = wdb_catalog_store(log, &changed);
        }
        if (rc == 0) {
            atomic_store(&log->object_counter, counter);
        }
    }
    pthread_mutex_unlock(&log->catalog);
    return wdb_log_tell_failure(log, rc);
}
