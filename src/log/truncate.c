/*
 * truncate.c - ends the open segment early: to seal it, or to give up the
 * entries of an abandoned suffix.
 *
 *   before   [ sealed ][ sealed .. from .. ][ finished ][ open ]  (prepared)
 *   after    [ sealed ][ sealed .. |        ]                     [ open ]
 *
 * What lies behind the new end of the segment stays in the file: the manifest
 * says where it ends, and the entries that take its place are in another
 * segment, with another salt.
 */
#include <stdlib.h>

#include "log/log_internal.h"

/* Finish the open segment if it has entries; *out gets it, with a reference,
 * or NULL. EBUSY: the prepared segment is gone, try again. Not while another
 * thread truncates: it has plans for both of them. */
static int finish(struct wdb_log *log, struct wdb_segment **out)
{
    pthread_mutex_lock(&log->catalog);
    pthread_mutex_lock(&log->sequencer);
    int rc = wdb_log_appendable(log);
    *out = NULL;
    if (rc == 0 && log->head != WDB_SEGMENT_HEADER_SIZE) {
        if (log->next == NULL ||
            atomic_load(&log->unsealed_count) >= WDB_UNSEALED_MAX) {
            rc = WALKERDB_EBUSY;
        } else {
            *out = log->current;
            wdb_segment_acquire(*out);
            wdb_sequencer_roll(log);
        }
    }
    pthread_mutex_unlock(&log->sequencer);
    pthread_mutex_unlock(&log->catalog);
    return rc;
}

int wdb_log_roll(struct wdb_log *log)
{
    struct wdb_segment *segment = NULL;
    int rc = WALKERDB_EBUSY;
    if (log->options.read_only) {
        return WALKERDB_EREADONLY;
    }
    while (rc == WALKERDB_EBUSY) {
        rc = wdb_sync_settle(log, WDB_UNSEALED_MAX - 1);
        if (rc == 0) {
            rc = wdb_catalog_prepare(log, 0, true);
        }
        if (rc == 0) {
            rc = finish(log, &segment);
        }
    }
    if (rc == 0 && segment == NULL) {
        /* Nothing is open; but what somebody else, or a roll that failed,
         * has finished may not be sealed yet. */
        rc = wdb_sync_settle(log, 0);
    }
    /* A truncation may have taken it away altogether. */
    while (rc == 0 && segment != NULL && !atomic_load(&segment->sealed) &&
           !atomic_load(&segment->doomed)) {
        rc = wdb_sync_settle(log, 0);
    }
    if (segment != NULL) {
        wdb_segment_drop(segment);
    }
    return rc;
}

/* --- truncation ------------------------------------------------------------ */

/* What is to be done, found before anything changes. */
struct plan {
    uint64_t from;
    size_t at;       /* in order: the segment that holds `from` */
    uint64_t offset; /* of `from` in it */
    uint32_t previous_crc;
    struct wdb_segment *replacement; /* becomes the open one */
    bool is_new; /* it was made for this, and is not in the order yet */
};

/* Under catalog. */
static int find(struct wdb_log *log, struct plan *plan)
{
    size_t at = log->order_count;
    while (at > 0) {
        const struct wdb_segment *segment = log->order[--at];
        if (segment->index_first != 0 && segment->index_first <= plan->from &&
            segment != log->next) {
            break;
        }
    }
    struct wdb_segment *segment = log->order[at];
    if (segment->kind != WDB_SEGMENT_LOG) {
        return WALKERDB_EINVALID;
    }
    plan->at = at;
    return wdb_scan_find(log, segment, plan->from, &plan->offset,
                         &plan->previous_crc);
}

/* The prepared segment, or a new one. */
static int find_replacement(struct wdb_log *log, struct wdb_manifest *changed,
                            struct plan *plan)
{
    plan->replacement = log->next;
    plan->is_new = log->next == NULL;
    if (!plan->is_new) {
        return 0;
    }
    /* A smaller one will do if there is no space. */
    uint64_t size = log->options.segment_size;
    int rc = wdb_catalog_create(log, changed, WDB_SEGMENT_LOG, size,
                                &plan->replacement);
    while (rc == WALKERDB_ENOSPACE && size / 2 >= WDB_SEGMENT_SIZE_MIN) {
        size = size / 2 & ~(uint64_t)4095;
        rc = wdb_catalog_create(log, changed, WDB_SEGMENT_LOG, size,
                                &plan->replacement);
    }
    return rc;
}

/* Write the plan into a copy of the manifest. */
static int edit(struct wdb_log *log, struct wdb_manifest *changed,
                const struct plan *plan)
{
    struct wdb_manifest_segment list[2];
    size_t count = 0;
    if (plan->offset != WDB_SEGMENT_HEADER_SIZE) {
        struct wdb_manifest_segment *m = &list[count++];
        *m = changed->segments[plan->at];
        m->sealed = true;
        m->size_used = plan->offset;
        m->index_first = log->order[plan->at]->index_first;
        m->first_previous_crc = log->order[plan->at]->first_previous_crc;
        m->index_last = plan->from - 1;
        m->last_crc = plan->previous_crc;
    }
    list[count] = wdb_catalog_describe(plan->replacement);
    list[count].index_first = plan->from;
    list[count].first_previous_crc = plan->previous_crc;
    count++;
    changed->truncation_index = plan->from;
    changed->truncation_count++;
    return wdb_catalog_insert(changed, plan->at,
                              changed->segment_count - plan->at, list, count);
}

/* Forget the marks of entries that are given up. */
static void cut_marks(struct wdb_log *log, struct wdb_segment *segment,
                      uint64_t from)
{
    pthread_mutex_lock(&log->lookup);
    uint32_t count = atomic_load(&segment->mark_count);
    while (count > 0 && segment->marks[count - 1].index >= from) {
        count--;
    }
    atomic_store(&segment->mark_count, count);
    memset(segment->recent, 0, sizeof(segment->recent));
    pthread_mutex_unlock(&log->lookup);
}

/* The manifest is durable: do the same in memory. */
static void take_over(struct wdb_log *log, const struct plan *plan)
{
    struct wdb_segment *cut = log->order[plan->at];
    size_t first_gone = plan->at;
    if (plan->offset != WDB_SEGMENT_HEADER_SIZE) {
        cut->size_used = plan->offset;
        cut->index_last = plan->from - 1;
        cut->last_crc = plan->previous_crc;
        cut_marks(log, cut, plan->from);
        atomic_store(&cut->finished, true);
        atomic_store(&cut->sealed, true);
        first_gone++;
    }
    pthread_mutex_lock(&log->sequencer);
    plan->replacement->index_first = plan->from;
    plan->replacement->first_previous_crc = plan->previous_crc;
    log->current = plan->replacement;
    log->next = NULL;
    log->head = WDB_SEGMENT_HEADER_SIZE;
    log->index_closed = plan->from - 1;
    log->last_crc = plan->previous_crc;
    atomic_store(&log->index_last, plan->from - 1);
    if (atomic_load(&log->index_foreign) >= plan->from) {
        atomic_store(&log->index_foreign, plan->from - 1);
    }
    atomic_store(&log->appended, plan->from - 1);
    atomic_fetch_add(&log->generation, 1);
    pthread_mutex_unlock(&log->sequencer);
    atomic_store(&log->unsealed_count, 0);
    /* Inside the epoch none of them loses its last reference while it is still
     * in the order, where others find it. */
    const int slot = wdb_epoch_enter(log->epoch);
    for (size_t i = first_gone; i < log->order_count; i++) {
        if (log->order[i] != plan->replacement) {
            wdb_log_segment_retire(log, log->order[i]);
        }
    }
    wdb_slots_splice(log, first_gone, log->order_count - first_gone,
                     &plan->replacement, 1);
    wdb_epoch_exit(log->epoch, slot);
}

/* Under syncing and catalog; everything is synced. */
static int truncate_locked(struct wdb_log *log, uint64_t from)
{
    struct plan plan = {.from = from};
    struct wdb_manifest changed;
    const uint64_t durable = atomic_load(&log->durable);
    if (from > wdb_log_index_last(log)) {
        return 0;
    }
    int rc = find(log, &plan);
    if (rc == 0) {
        rc = wdb_slots_reserve(log, 1);
    }
    if (rc == 0) {
        rc = wdb_manifest_copy(&log->manifest, &changed);
    }
    if (rc != 0) {
        return rc;
    }
    rc = find_replacement(log, &changed, &plan);
    if (rc == 0) {
        rc = edit(log, &changed, &plan);
    } else {
        plan.is_new = false;
    }
    if (rc == 0) {
        /* Before the manifest is written, which takes it along. */
        atomic_store(&log->durable, from - 1);
    }
    if (rc != 0) {
        wdb_manifest_release(&changed);
    } else if (WDB_LOG_MUTATED(log, WDB_MUTATION_SKIP_TRUNCATION)) {
        wdb_manifest_release(&log->manifest);
        log->manifest = changed;
    } else {
        rc = wdb_catalog_store(log, &changed);
    }
    if (rc != 0) {
        atomic_store(&log->durable, durable);
        if (plan.is_new) {
            wdb_catalog_give_up(log, plan.replacement);
        }
        return rc;
    }
    take_over(log, &plan);
    return 0;
}

int wdb_log_truncate(struct wdb_log *log, uint64_t from)
{
    if (log->options.read_only) {
        return WALKERDB_EREADONLY;
    }
    if (from == 0 || from <= wdb_log_committed(log)) {
        return WALKERDB_EINVALID;
    }
    int rc = wdb_log_sync(log);
    if (rc == 0) {
        rc = wdb_sync_settle(log, 0);
    }
    if (rc != 0) {
        return rc;
    }
    pthread_mutex_lock(&log->syncing);
    pthread_mutex_lock(&log->catalog);
    rc = truncate_locked(log, from);
    pthread_mutex_unlock(&log->catalog);
    pthread_mutex_unlock(&log->syncing);
    return wdb_log_tell_failure(log, rc);
}
