/* info_store.c - INFO: the engine, and the databases. */
#include <inttypes.h>
#include <stdio.h>

#include "cmd/info.h"

void wdb_info_keyspace(struct wdb_info *info)
{
    const struct wdb_db *db = info->context->db;
    for (uint32_t n = 0; n < WDB_DATABASE_COUNT; n++) {
        const uint64_t size = wdb_db_size(db, n);
        if (size == 0) {
            continue;
        }
        /* The average locks stripes; inside of EXEC some are held. */
        wdb_info_line(info,
                      "db%u:keys=%" PRIu64 ",expires=%" PRIu64
                      ",avg_ttl=%" PRIu64,
                      n, size, wdb_db_expires(db, n),
                      info->in_exec ? 0 : wdb_db_average_ttl(db, n));
    }
}

static void size_line(struct wdb_info *info, const char *name, uint64_t value)
{
    wdb_info_line(info, "store_%s:%" PRIu64, name, value);
}

static uint64_t average(uint64_t total, uint64_t count)
{
    return count == 0 ? 0 : total / count;
}

static void space(struct wdb_info *info)
{
    const struct wdb_store_stats *s = &info->store;
    const uint64_t bytes = s->bytes_live + s->bytes_dead;
    size_line(info, "segments", s->log.segment_count);
    size_line(info, "disk_bytes", s->log.bytes_allocated);
    size_line(info, "used_bytes", s->log.bytes_used);
    size_line(info, "live_bytes", s->bytes_live);
    size_line(info, "dead_bytes", s->bytes_dead);
    size_line(info, "reclaimable_bytes", s->bytes_reclaimable);
    wdb_info_line(info, "store_garbage_ratio:%.4f",
                  bytes == 0 ? 0 : (double)s->bytes_dead / (double)bytes);
    size_line(info, "full", s->log.full);
    size_line(info, "keys", s->key_count);
    size_line(info, "keys_with_expiry", s->expiry_count);
    size_line(info, "keydir_bytes", s->keydir_memory);
    size_line(info, "expiry_heap_bytes", s->heap_memory);
    size_line(info, "undo_bytes", s->undo_memory);
    size_line(info, "ordered_bytes", s->ordered_memory);
}

static void writes(struct wdb_info *info)
{
    const struct wdb_log_stats *l = &info->store.log;
    const struct wdb_log *log = wdb_db_log(info->context->db);
    char policy[16];
    wdb_config_text(info->context->config, WDB_CONFIG_APPENDFSYNC, policy,
                    sizeof(policy));
    const int failure = wdb_log_failure(log);
    wdb_info_line(info, "store_status:%s",
                  failure == 0 ? "ok" : walkerdb_strerror(failure));
    size_line(info, "index_appended", wdb_log_appended(log));
    size_line(info, "index_durable", wdb_log_durable(log));
    size_line(info, "index_committed", wdb_log_committed(log));
    size_line(info, "entries", l->entry_count);
    size_line(info, "batches", l->batch_count);
    size_line(info, "appended_bytes", l->bytes_appended);
    size_line(info, "unwritten_bytes", l->bytes_unwritten);
    size_line(info, "flushes", l->flush_count);
    wdb_info_line(info, "store_sync_policy:%s", policy);
    size_line(info, "syncs", l->sync_count);
    size_line(info, "sync_usec_total", l->sync_ns_total / 1000);
    size_line(info, "sync_usec_last", l->sync_ns_last / 1000);
    size_line(info, "sync_usec_average",
              average(l->sync_ns_total, l->sync_count) / 1000);
    size_line(info, "sync_usec_max", l->sync_ns_max / 1000);
}

static void merge(struct wdb_info *info)
{
    const struct wdb_store_stats *s = &info->store;
    const uint64_t done = s->merge_running ? s->merge_done_bytes : 0;
    const uint64_t total = s->merge_running ? s->merge_total_bytes : 0;
    const uint64_t ms = s->merge_duration_ms;
    const uint64_t rate = ms == 0 ? 0 : done * 1000 / ms;
    const bool known = rate > 0 && total > done;
    size_line(info, "merge_running", s->merge_running);
    size_line(info, "merge_paused", s->merge_paused);
    size_line(info, "merges", s->merge_count);
    size_line(info, "merge_done_bytes", done);
    size_line(info, "merge_total_bytes", total);
    wdb_info_line(info, "store_merge_progress_perc:%.2f",
                  total == 0 ? 0 : 100 * (double)done / (double)total);
    size_line(info, "merge_bytes_per_sec", rate);
    wdb_info_line(info, "store_merge_seconds_left:%" PRId64,
                  known ? (int64_t)((total - done) / rate)
                        : (s->merge_running ? -1 : 0));
    size_line(info, "merge_last_time", s->merge_last_ms / 1000);
    size_line(info, "merge_last_duration_ms", s->merge_last_duration_ms);
    size_line(info, "merge_last_freed_bytes", s->merge_last_freed);
    wdb_info_line(info, "store_merge_last_status:%s",
                  s->merge_last_error == 0
                      ? "ok"
                      : walkerdb_strerror(s->merge_last_error));
}

void wdb_info_store(struct wdb_info *info)
{
    const struct wdb_store_stats *s = &info->store;
    space(info);
    writes(info);
    merge(info);
    size_line(info, "backup_done_bytes", info->backup.done);
    size_line(info, "backup_total_bytes", info->backup.total);
    size_line(info, "cold_reads", s->cold_read_count);
    size_line(info, "cold_read_usec_total", s->cold_read_ns / 1000);
    size_line(info, "cold_read_usec_average",
              average(s->cold_read_ns, s->cold_read_count) / 1000);
    size_line(info, "load_ms", s->load_duration_ms);
    size_line(info, "load_hinted_segments", s->load_hint_count);
    size_line(info, "load_scanned_segments", s->load_scan_count);
}
