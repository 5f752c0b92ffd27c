/*
 * room.c - how much of the disk the log may take.
 *
 * A merge needs space for what it copies before it gives anything back. So the
 * log takes no new segment if less than that would be left: writes are refused
 * while a merge is still possible, and it is the merge that lets them go on.
 * On a small disk segments are smaller, so that what is left unused is a small
 * part of it.
 */
#include "log/log_internal.h"

/* So many segments fit on the disk, or they are made smaller. */
#define SEGMENTS_MIN 16

/* The live part of a segment, with the sequences that its records get, and a
 * hint. */
static uint64_t room_for_merge(const struct wdb_log *log)
{
    return log->options.segment_size + log->options.segment_size / 2;
}

int wdb_room_check(struct wdb_log *log, uint64_t size)
{
    uint64_t bytes;
    if (!log->options.leave_room ||
        log->env->ops->free_space(log->env, log->dir, &bytes) != 0) {
        return 0;
    }
    return bytes < size + room_for_merge(log) ? WALKERDB_ENOSPACE : 0;
}

void wdb_room_fit(struct wdb_log *log)
{
    uint64_t total;
    uint64_t size = log->options.segment_size;
    if (!log->options.leave_room || log->options.read_only ||
        log->env->ops->free_space(log->env, log->dir, &total) != 0) {
        return;
    }
    for (size_t i = 0; i < log->manifest.segment_count; i++) {
        total += log->manifest.segments[i].size;
    }
    while (size > total / SEGMENTS_MIN && size / 2 >= WDB_SEGMENT_SIZE_MIN) {
        size = size / 2 & ~(uint64_t)4095;
    }
    if (size != log->options.segment_size) {
        wdb_logger_print(log->options.logger, WDB_LOG_NOTICE,
                         "There is space for %llu MiB in %s: segments have "
                         "%llu KiB instead of %llu",
                         (unsigned long long)(total >> 20), log->dir,
                         (unsigned long long)(size >> 10),
                         (unsigned long long)(log->options.segment_size >> 10));
        log->options.segment_size = size;
    }
}

uint64_t wdb_log_segment_size(const struct wdb_log *log)
{
    return log->options.segment_size;
}

bool wdb_log_is_full(const struct wdb_log *log)
{
    return atomic_load_explicit(&log->full, memory_order_relaxed);
}

uint64_t wdb_log_room(struct wdb_log *log)
{
    uint64_t bytes;
    if (log->env->ops->free_space(log->env, log->dir, &bytes) != 0) {
        return 0;
    }
    const uint64_t size = log->options.segment_size;
    if (log->options.leave_room && bytes >= size + room_for_merge(log)) {
        bytes -= size; /* the log may take its next segment meanwhile */
    }
    return bytes;
}
