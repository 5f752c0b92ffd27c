/*
 * catalog.c - what the manifest says: prepares segments, seals them.
 *
 * log->manifest is what is on disk. A change is made on a copy, stored, and
 * only then taken over, so on failure everything is as it was. Its segments
 * and log->order are parallel; both change under the catalog lock.
 */
#include <stdlib.h>

#include "log/log_internal.h"

/* An inline attempt to prepare is not repeated within this time. */
#define PREPARE_HOLD_NS UINT64_C(100000000)
/* A sealed segment gives back its unused end if it is this part of it. */
#define UNUSED_PART_MIN 16

struct wdb_manifest_segment wdb_catalog_describe(
    const struct wdb_segment *segment)
{
    return (struct wdb_manifest_segment){
        .id = segment->id,
        .kind = (uint8_t)segment->kind,
        .size = segment->size,
        .index_first = segment->index_first,
        .first_previous_crc = segment->first_previous_crc,
    };
}

/* Bring up to date what the manifest carries along. */
static void refresh(struct wdb_log *log, struct wdb_manifest *m)
{
    m->generation = log->manifest.generation + 1;
    const uint64_t retained = atomic_load(&log->retained);
    /* The change itself may raise it; it counts when that is durable. */
    m->index_retained =
        m->index_retained < retained ? retained : m->index_retained;
    m->index_durable = atomic_load(&log->durable);
    m->index_committed = wdb_log_committed(log);
    m->time_ms = atomic_load(&log->time_ms);
    pthread_mutex_lock(&log->sequencer);
    m->term = log->term > m->term ? log->term : m->term;
    pthread_mutex_lock(&log->table);
    for (size_t i = 0, j = 0; i < m->segment_count; i++) {
        struct wdb_manifest_segment *to = &m->segments[i];
        /* The copy may have lost or got some: find it by its id. */
        size_t at = j;
        while (at < log->order_count && log->order[at]->id != to->id) {
            at++;
        }
        if (at == log->order_count) {
            continue;
        }
        const struct wdb_segment *segment = log->order[at];
        to->bytes_dead_hint = atomic_load(&segment->bytes_dead);
        if (!to->sealed) {
            to->index_first = segment->index_first;
            to->first_previous_crc = segment->first_previous_crc;
        }
        j = at + 1;
    }
    pthread_mutex_unlock(&log->table);
    pthread_mutex_unlock(&log->sequencer);
}

int wdb_catalog_store(struct wdb_log *log, struct wdb_manifest *changed)
{
    int rc = wdb_log_failure(log);
    if (rc == 0) {
        refresh(log, changed);
        rc = wdb_manifest_store(log->env, log->dir, changed);
        if (rc == WALKERDB_EIO) {
            /* The old one may stand, or the new one. */
            rc = wdb_log_fail(log, rc, "replacement of the manifest", NULL);
        }
    }
    if (rc != 0) {
        wdb_manifest_release(changed);
        return rc;
    }
    wdb_manifest_release(&log->manifest);
    log->manifest = *changed;
    return 0;
}

int wdb_catalog_insert(struct wdb_manifest *m, size_t at, size_t old_count,
                       const struct wdb_manifest_segment *with, size_t count)
{
    wdb_assert(at + old_count <= m->segment_count);
    const size_t total = m->segment_count - old_count + count;
    const size_t tail = m->segment_count - at - old_count;
    struct wdb_manifest_segment *list =
        malloc((total + 1) * sizeof(struct wdb_manifest_segment));
    if (list == NULL) {
        return WALKERDB_ENOMEM;
    }
    if (at != 0) {
        memcpy(list, m->segments, at * sizeof(*list));
    }
    if (count != 0) {
        memcpy(list + at, with, count * sizeof(*list));
    }
    if (tail != 0) {
        memcpy(list + at + count, m->segments + at + old_count,
               tail * sizeof(*list));
    }
    free(m->segments);
    m->segments = list;
    m->segment_count = total;
    return 0;
}

/* --- the next segment ------------------------------------------------------ */

static void set_full(struct wdb_log *log, int rc)
{
    const bool full = rc == WALKERDB_ENOSPACE;
    if (rc != 0 && !full) {
        return;
    }
    if (full) {
        atomic_store(&log->prepare_failed_ns,
                     log->env->ops->monotonic_ns(log->env));
    }
    if (atomic_exchange(&log->full, full) != full) {
        wdb_logger_print(
            log->options.logger, full ? WDB_LOG_WARNING : WDB_LOG_NOTICE,
            full ? "No space for another log segment in %s: writes are refused "
                   "until there is"
                 : "There is space for log segments in %s again",
            log->dir);
    }
}

void wdb_catalog_give_up(struct wdb_log *log, struct wdb_segment *segment)
{
    if (wdb_log_failure(log) == 0) {
        atomic_store(&segment->doomed, true);
    }
    wdb_slots_remove(log, segment);
}

/* Make a segment file with a fresh id; *m has a higher segment_id_next. */
int wdb_catalog_create(struct wdb_log *log, struct wdb_manifest *m,
                       enum wdb_segment_kind kind, uint64_t size,
                       struct wdb_segment **out)
{
    struct wdb_segment *segment;
    const uint64_t id = m->segment_id_next;
    int rc = wdb_segment_create(log, id, kind, size, &segment);
    if (rc == WALKERDB_EIO) {
        return wdb_log_fail(log, rc, "creation of a segment", NULL);
    }
    if (rc != 0) {
        return rc;
    }
    rc = wdb_slots_add(log, segment);
    if (rc != 0) {
        atomic_store(&segment->doomed, true);
        wdb_segment_close(segment);
        return rc;
    }
    m->segment_id_next = id + 1;
    /* It is used up even if *m never becomes the log's: a file that is given
     * up is unlinked by its name, later. */
    if (log->manifest.segment_id_next <= id) {
        log->manifest.segment_id_next = id + 1;
    }
    *out = segment;
    return 0;
}

/* Take away the prepared segment, which is too small for what comes. */
static struct wdb_segment *take_next(struct wdb_log *log)
{
    pthread_mutex_lock(&log->sequencer);
    struct wdb_segment *next = log->next;
    log->next = NULL;
    pthread_mutex_unlock(&log->sequencer);
    return next;
}

static void put_next(struct wdb_log *log, struct wdb_segment *next,
                     size_t replaced_count)
{
    pthread_mutex_lock(&log->sequencer);
    wdb_assert(log->next == NULL);
    if (replaced_count != 0 || log->order_count == 0 ||
        log->order[log->order_count - 1] != next) {
        wdb_slots_splice(log, log->order_count - replaced_count, replaced_count,
                         &next, 1);
    }
    log->next = next;
    pthread_mutex_unlock(&log->sequencer);
}

/* Under catalog: make a segment of this size, after the open one. */
static int prepare(struct wdb_log *log, uint64_t size)
{
    struct wdb_manifest changed;
    struct wdb_segment *segment = NULL;
    int rc = wdb_room_check(log, size);
    if (rc == 0) {
        rc = wdb_slots_reserve(log, 1);
    }
    if (rc == 0) {
        rc = wdb_manifest_copy(&log->manifest, &changed);
    }
    if (rc != 0) {
        return rc;
    }
    rc = wdb_catalog_create(log, &changed, WDB_SEGMENT_LOG, size, &segment);
    if (rc != 0) {
        wdb_manifest_release(&changed);
        return rc;
    }
    struct wdb_segment *small = take_next(log);
    const size_t replaced = small == NULL ? 0 : 1;
    const struct wdb_manifest_segment m = wdb_catalog_describe(segment);
    rc = wdb_catalog_insert(&changed, changed.segment_count - replaced,
                            replaced, &m, 1);
    if (rc != 0) {
        wdb_manifest_release(&changed);
    } else if (!WDB_LOG_MUTATED(log, WDB_MUTATION_SKIP_MANIFEST)) {
        rc = wdb_catalog_store(log, &changed);
    } else {
        wdb_manifest_release(&log->manifest);
        log->manifest = changed;
    }
    if (rc != 0) {
        wdb_catalog_give_up(log, segment);
        if (small != NULL) {
            put_next(log, small, 0);
        }
        return rc;
    }
    put_next(log, segment, replaced);
    if (small != NULL) {
        wdb_log_segment_retire(log, small);
    }
    return 0;
}

static uint64_t prepared_size(struct wdb_log *log)
{
    pthread_mutex_lock(&log->sequencer);
    const uint64_t size = log->next == NULL ? 0 : log->next->size;
    pthread_mutex_unlock(&log->sequencer);
    return size;
}

int wdb_catalog_prepare(struct wdb_log *log, uint64_t size, bool again)
{
    pthread_mutex_lock(&log->catalog);
    int rc = wdb_log_failure(log);
    const uint64_t prepared = prepared_size(log);
    if (rc != 0 || (prepared != 0 && prepared >= size)) {
        goto out;
    }
    if (!again && atomic_load(&log->full) &&
        log->env->ops->monotonic_ns(log->env) -
                atomic_load(&log->prepare_failed_ns) <
            PREPARE_HOLD_NS) {
        rc = WALKERDB_ENOSPACE;
        goto out;
    }
    if (size > log->options.segment_size) {
        /* One of its own, where it fits in front of the reserve, too. If there
         * is no space for it, there may be for smaller ones. */
        const uint64_t reserve = log->options.reserve_size;
        size += reserve < size / 7 ? reserve : size / 7;
        size = (size + 8191) & ~(uint64_t)4095;
        rc = prepare(log, size);
    } else {
        rc = prepare(log, log->options.segment_size);
        set_full(log, rc);
    }
out:
    pthread_mutex_unlock(&log->catalog);
    return wdb_log_tell_failure(log, rc);
}

/* --- sealing --------------------------------------------------------------- */

static bool is_sealable(const struct wdb_log *log,
                        const struct wdb_segment *segment)
{
    if (!atomic_load_explicit(&segment->finished, memory_order_acquire)) {
        return false;
    }
    if (WDB_LOG_MUTATED(log, WDB_MUTATION_SKIP_SYNC_BEFORE_SEAL)) {
        return atomic_load(&segment->written) >= segment->size_used;
    }
    return atomic_load_explicit(&segment->synced, memory_order_acquire) >=
           segment->size_used;
}

static bool is_empty(const struct wdb_segment *segment)
{
    return segment->size_used == WDB_SEGMENT_HEADER_SIZE;
}

void wdb_catalog_seal_entry(struct wdb_manifest_segment *m,
                            const struct wdb_segment *segment)
{
    m->sealed = true;
    m->size_used = segment->size_used;
    m->index_first = segment->index_first;
    m->index_last = segment->index_last;
    m->first_previous_crc = segment->first_previous_crc;
    m->last_crc = segment->last_crc;
    if (m->size - m->size_used > m->size / UNUSED_PART_MIN) {
        m->size = m->size_used;
    }
}

/* Give back what lies behind the last entry, if the manifest says so. Nobody
 * reads there, so the mapping may stay as it is. */
static void cut_unused(struct wdb_log *log, struct wdb_segment *segment,
                       uint64_t size)
{
    if (size < segment->size &&
        log->env->ops->truncate(segment->file, size) != 0) {
        wdb_logger_print(log->options.logger, WDB_LOG_WARNING,
                         "The unused end of segment %016llx was not given back",
                         (unsigned long long)segment->id);
    }
}

/* Those from order[first] to order[first + count - 1] are in the manifest as
 * sealed, or were empty and are not in it any more. */
static void take_over_sealed(struct wdb_log *log, size_t first, size_t count)
{
    size_t at = first;
    for (size_t i = 0; i < count; i++) {
        struct wdb_segment *segment = log->order[at];
        if (is_empty(segment)) {
            wdb_slots_splice(log, at, 1, NULL, 0);
            wdb_log_segment_retire(log, segment);
        } else {
            cut_unused(log, segment, log->manifest.segments[at].size);
            atomic_store_explicit(&segment->sealed, true, memory_order_release);
            at++;
        }
        atomic_fetch_sub(&log->unsealed_count, 1);
    }
}

/* Under catalog. */
static int seal(struct wdb_log *log, size_t first, size_t count)
{
    struct wdb_manifest changed;
    int rc = wdb_manifest_copy(&log->manifest, &changed);
    if (rc != 0) {
        return rc;
    }
    size_t at = first;
    for (size_t i = first; i < first + count && rc == 0; i++) {
        if (is_empty(log->order[i])) {
            rc = wdb_catalog_insert(&changed, at, 1, NULL, 0);
        } else {
            wdb_catalog_seal_entry(&changed.segments[at], log->order[i]);
            at++;
        }
    }
    if (rc != 0) {
        wdb_manifest_release(&changed);
        return rc;
    }
    rc = wdb_catalog_store(log, &changed);
    if (rc == 0) {
        take_over_sealed(log, first, count);
    }
    return rc;
}

int wdb_catalog_seal(struct wdb_log *log)
{
    int rc = 0;
    pthread_mutex_lock(&log->catalog);
    size_t first = log->order_count;
    while (first > 0 && !atomic_load(&log->order[first - 1]->sealed)) {
        first--;
    }
    size_t count = 0;
    while (first + count < log->order_count &&
           is_sealable(log, log->order[first + count])) {
        count++;
    }
    if (count != 0) {
        rc = seal(log, first, count);
    }
    pthread_mutex_unlock(&log->catalog);
    return wdb_log_tell_failure(log, rc);
}
