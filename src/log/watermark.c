/*
 * watermark.c - how far the log is: watermarks, time, statistics.
 */
#include "log/log_internal.h"

uint64_t wdb_log_index_last(const struct wdb_log *log)
{
    return atomic_load_explicit(&log->index_last, memory_order_acquire);
}

uint64_t wdb_log_index_foreign(const struct wdb_log *log)
{
    return atomic_load_explicit(&log->index_foreign, memory_order_acquire);
}

uint64_t wdb_log_appended(const struct wdb_log *log)
{
    return atomic_load_explicit(&log->appended, memory_order_acquire);
}

uint64_t wdb_log_durable(const struct wdb_log *log)
{
    return atomic_load_explicit(&log->durable, memory_order_acquire);
}

uint64_t wdb_log_committed(const struct wdb_log *log)
{
    return log->options.manual_commit
               ? atomic_load_explicit(&log->committed, memory_order_acquire)
               : wdb_log_appended(log);
}

uint64_t wdb_log_retained(const struct wdb_log *log)
{
    return atomic_load_explicit(&log->retained, memory_order_acquire);
}

/* Move a watermark up, never down. */
static void raise_to(_Atomic uint64_t *mark, uint64_t index)
{
    uint64_t seen = atomic_load_explicit(mark, memory_order_relaxed);
    while (seen < index &&
           !atomic_compare_exchange_weak_explicit(mark, &seen, index,
                                                  memory_order_release,
                                                  memory_order_relaxed)) {
    }
}

void wdb_log_set_committed(struct wdb_log *log, uint64_t index)
{
    raise_to(&log->committed, index);
}

void wdb_log_set_retained(struct wdb_log *log, uint64_t index)
{
    raise_to(&log->retained, index);
}

uint64_t wdb_log_time_ms(struct wdb_log *log)
{
    raise_to(&log->time_ms, log->env->ops->time_ms(log->env));
    return atomic_load_explicit(&log->time_ms, memory_order_relaxed);
}

int wdb_log_set_sync_policy(struct wdb_log *log, enum wdb_sync_policy policy)
{
    atomic_store(&log->policy, (int)policy);
    wdb_sync_wake(log);
    return 0;
}

uint64_t wdb_log_generation(const struct wdb_log *log)
{
    return atomic_load_explicit(&log->generation, memory_order_acquire);
}

struct wdb_epoch *wdb_log_epoch(struct wdb_log *log)
{
    return log->epoch;
}

uint64_t wdb_log_object_counter(const struct wdb_log *log)
{
    return atomic_load_explicit(&log->object_counter, memory_order_acquire);
}

uint64_t wdb_log_nonce(const struct wdb_log *log)
{
    return log->nonce;
}

const char *wdb_log_dir(const struct wdb_log *log)
{
    return log->dir;
}

/* --- statistics ------------------------------------------------------------ */

void wdb_log_stats(struct wdb_log *log, struct wdb_log_stats *out)
{
    struct wdb_log_stats s = {
        .sync_count = atomic_load(&log->sync_count),
        .sync_ns_total = atomic_load(&log->sync_ns_total),
        .sync_ns_last = atomic_load(&log->sync_ns_last),
        .sync_ns_max = atomic_load(&log->sync_ns_max),
        .flush_count = atomic_load(&log->flush_count),
        .full = atomic_load(&log->full),
    };
    pthread_mutex_lock(&log->sequencer);
    s.entry_count = log->entry_count;
    s.batch_count = log->batch_count;
    s.bytes_appended = atomic_load(&log->bytes_gathered);
    const uint64_t written = atomic_load(&log->bytes_written);
    s.bytes_unwritten =
        s.bytes_appended > written ? s.bytes_appended - written : 0;
    pthread_mutex_lock(&log->table);
    s.segment_count = log->order_count;
    for (size_t i = 0; i < log->order_count; i++) {
        const struct wdb_segment *segment = log->order[i];
        const bool finished = atomic_load(&segment->finished);
        const uint64_t used =
            finished ? segment->size_used : atomic_load(&segment->written);
        s.bytes_used += used;
        s.bytes_allocated += finished ? used : segment->size;
        s.bytes_dead += atomic_load(&segment->bytes_dead);
    }
    pthread_mutex_unlock(&log->table);
    pthread_mutex_unlock(&log->sequencer);
    *out = s;
}
