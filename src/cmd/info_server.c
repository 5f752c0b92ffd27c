/* info_server.c - INFO: server, clients, memory, persistence. */
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "cmd/cluster.h"
#include "cmd/info.h"
#include "cmd/version.h"

static uint64_t setting(const struct wdb_info *info, enum wdb_config_id id)
{
    return wdb_config_u64(info->context->config, id);
}

static double ratio(uint64_t a, uint64_t b)
{
    return b == 0 ? 0 : (double)a / (double)b;
}

static uint64_t minus(uint64_t a, uint64_t b)
{
    return a > b ? a - b : 0;
}

/* --- server ----------------------------------------------------------------------- */

void wdb_info_server(struct wdb_info *info)
{
    const struct wdb_context *context = info->context;
    char text[WDB_PATH_SIZE_MAX];
    const uint64_t uptime_s = minus(info->now_ms, context->started_ms) / 1000;
    wdb_info_line(info, "redis_version:" WDB_REDIS_VERSION);
    wdb_info_line(info, "redis_git_sha1:00000000");
    wdb_info_line(info, "redis_git_dirty:0");
    wdb_info_line(info, "redis_build_id:0000000000000000");
    wdb_info_line(info, "redis_mode:%s",
                  wdb_cluster_is_shown(context) ? "cluster" : "standalone");
    wdb_machine_name(text, sizeof(text));
    wdb_info_line(info, "os:%s", text);
    wdb_info_line(info, "arch_bits:%d", (int)(8 * sizeof(void *)));
    wdb_info_line(info, "monotonic_clock:POSIX clock_gettime");
    wdb_info_line(info, "multiplexing_api:epoll");
    wdb_info_line(info, "atomicvar_api:c11-builtin");
    wdb_info_line(info, "gcc_version:%d.%d.%d", __GNUC__, __GNUC_MINOR__,
                  __GNUC_PATCHLEVEL__);
    wdb_info_line(info, "process_id:%d", (int)getpid());
    wdb_config_text(context->config, WDB_CONFIG_SUPERVISED, text, sizeof(text));
    wdb_info_line(info, "process_supervised:%s", text);
    wdb_info_line(info, "run_id:%s", context->run_id);
    wdb_info_line(info, "tcp_port:%" PRIu64, setting(info, WDB_CONFIG_PORT));
    wdb_info_line(info, "server_time_usec:%" PRIu64, wdb_clock_us());
    wdb_info_line(info, "uptime_in_seconds:%" PRIu64, uptime_s);
    wdb_info_line(info, "uptime_in_days:%" PRIu64, uptime_s / (24 * 3600));
    wdb_info_line(info, "hz:%" PRIu64, setting(info, WDB_CONFIG_HZ));
    wdb_info_line(info, "configured_hz:%" PRIu64, setting(info, WDB_CONFIG_HZ));
    wdb_info_line(info, "lru_clock:%" PRIu64,
                  info->now_ms / 1000 & ((1 << 24) - 1));
    wdb_program_path(text, sizeof(text));
    wdb_info_line(info, "executable:%s", text);
    wdb_info_line(info, "config_file:%s", wdb_config_file(context->config));
    wdb_info_line(info, "io_threads_active:%d",
                  setting(info, WDB_CONFIG_IO_THREADS) > 1);
    wdb_info_line(info, "walkerdb_version:" WALKERDB_VERSION);
}

void wdb_info_clients(struct wdb_info *info)
{
    wdb_info_line(info, "connected_clients:%" PRIu64, info->clients.count);
    wdb_info_line(info, "cluster_connections:0");
    wdb_info_line(info, "maxclients:%" PRIu64,
                  setting(info, WDB_CONFIG_MAXCLIENTS));
    wdb_info_line(info, "client_recent_max_input_buffer:%" PRIu64,
                  info->clients.input_max);
    wdb_info_line(info, "client_recent_max_output_buffer:%" PRIu64,
                  info->clients.output_max);
    wdb_info_line(info, "blocked_clients:%" PRIu64, info->clients.paused);
    wdb_info_line(info, "tracking_clients:0");
    wdb_info_line(info, "clients_in_timeout_table:0");
}

/* --- memory ----------------------------------------------------------------------- */

static void used_memory(struct wdb_info *info)
{
    const uint64_t used = info->memory.used;
    const uint64_t peak = wdb_stats_memory_peak(info->context->stats);
    const uint64_t startup = info->context->memory_startup;
    uint64_t overhead = wdb_info_overhead(info);
    overhead = overhead < used ? overhead : used;
    wdb_info_size(info, "used_memory", used);
    wdb_info_size(info, "used_memory_rss", info->memory.anonymous);
    wdb_info_size(info, "used_memory_peak", peak);
    wdb_info_line(info, "used_memory_peak_perc:%.2f%%",
                  100 * ratio(used, peak));
    wdb_info_line(info, "used_memory_overhead:%" PRIu64, overhead);
    wdb_info_line(info, "used_memory_startup:%" PRIu64, startup);
    wdb_info_line(info, "used_memory_dataset:%" PRIu64, used - overhead);
    wdb_info_line(info, "used_memory_dataset_perc:%.2f%%",
                  100 * ratio(used - overhead, minus(used, startup)));
}

/* Scripts: there are none yet. */
static void script_memory(struct wdb_info *info)
{
    static const char *const lines[] = {
        "used_memory_lua:0",           "used_memory_vm_eval:0",
        "used_memory_lua_human:0B",    "used_memory_scripts_eval:0",
        "number_of_cached_scripts:0",  "number_of_functions:0",
        "number_of_libraries:0",       "used_memory_vm_functions:0",
        "used_memory_vm_total:0",      "used_memory_vm_total_human:0B",
        "used_memory_functions:0",     "used_memory_scripts:0",
        "used_memory_scripts_human:0B"};
    for (size_t i = 0; i < WDB_COUNT(lines); i++) {
        wdb_info_line(info, "%s", lines[i]);
    }
}

static void fragmentation(struct wdb_info *info)
{
    const struct wdb_memory *m = &info->memory;
    const uint64_t allocated = m->has_allocator ? m->allocated : m->used;
    const uint64_t active = m->has_allocator ? m->active : allocated;
    const uint64_t resident = m->has_allocator ? m->resident : active;
    wdb_info_line(info, "allocator_frag_ratio:%.2f", ratio(active, allocated));
    wdb_info_line(info, "allocator_frag_bytes:%" PRIu64,
                  minus(active, allocated));
    wdb_info_line(info, "allocator_rss_ratio:%.2f", ratio(resident, active));
    wdb_info_line(info, "allocator_rss_bytes:%" PRIu64,
                  minus(resident, active));
    wdb_info_line(info, "rss_overhead_ratio:%.2f",
                  ratio(m->anonymous, resident));
    wdb_info_line(info, "rss_overhead_bytes:%" PRId64,
                  (int64_t)(m->anonymous - resident));
    wdb_info_line(info, "mem_fragmentation_ratio:%.2f",
                  ratio(m->anonymous, m->used));
    wdb_info_line(info, "mem_fragmentation_bytes:%" PRId64,
                  (int64_t)(m->anonymous - m->used));
}

void wdb_info_memory(struct wdb_info *info)
{
    const struct wdb_memory *m = &info->memory;
    const struct wdb_store_stats *store = &info->store;
    char text[64];
    used_memory(info);
    wdb_info_line(info, "allocator_allocated:%" PRIu64,
                  m->has_allocator ? m->allocated : m->used);
    wdb_info_line(info, "allocator_active:%" PRIu64,
                  m->has_allocator ? m->active : m->used);
    wdb_info_line(info, "allocator_resident:%" PRIu64,
                  m->has_allocator ? m->resident : m->used);
    wdb_info_size(info, "total_system_memory", wdb_memory_total());
    script_memory(info);
    wdb_info_size(info, "maxmemory", setting(info, WDB_CONFIG_MAXMEMORY));
    wdb_config_text(info->context->config, WDB_CONFIG_MAXMEMORY_POLICY, text,
                    sizeof(text));
    wdb_info_line(info, "maxmemory_policy:%s", text);
    fragmentation(info);
    wdb_info_line(info, "mem_not_counted_for_evict:0");
    wdb_info_line(info, "mem_replication_backlog:0");
    wdb_info_line(info, "mem_total_replication_buffers:0");
    wdb_info_line(info, "mem_clients_slaves:0");
    wdb_info_line(info, "mem_clients_normal:%" PRIu64, info->clients.memory);
    wdb_info_line(info, "mem_cluster_links:0");
    wdb_info_line(info, "mem_aof_buffer:%" PRIu64, store->log.bytes_unwritten);
    wdb_memory_allocator(text, sizeof(text));
    wdb_info_line(info, "mem_allocator:%s", text);
    wdb_info_line(info, "active_defrag_running:0");
    wdb_info_line(info, "lazyfree_pending_objects:0");
    wdb_info_line(info, "lazyfreed_objects:0");
    wdb_info_line(info, "used_memory_keydir:%" PRIu64, store->keydir_memory);
    wdb_info_line(info, "used_memory_expires:%" PRIu64, store->heap_memory);
    wdb_info_line(info, "used_memory_undo:%" PRIu64, store->undo_memory);
    wdb_info_line(info, "used_memory_mapped:%" PRIu64, m->mapped);
}

/* --- persistence ------------------------------------------------------------------ */

static const char *ok_or_err(bool ok)
{
    return ok ? "ok" : "err";
}

/* The names of RDB tell of backups. */
static void backups(struct wdb_info *info)
{
    const struct wdb_backup_stats *backup = &info->backup;
    wdb_info_line(info, "rdb_changes_since_last_save:%" PRIu64,
                  backup->changes);
    wdb_info_line(info, "rdb_bgsave_in_progress:%d", backup->running);
    wdb_info_line(info, "rdb_last_save_time:%" PRIu64, backup->last_s);
    wdb_info_line(info, "rdb_last_bgsave_status:%s",
                  ok_or_err(backup->last_ok));
    wdb_info_line(info, "rdb_last_bgsave_time_sec:%" PRId64,
                  backup->last_duration_s);
    wdb_info_line(info, "rdb_current_bgsave_time_sec:%" PRId64,
                  backup->duration_s);
    wdb_info_line(info, "rdb_saves:%" PRIu64, backup->count);
    wdb_info_line(info, "rdb_last_cow_size:0");
    wdb_info_line(info, "rdb_last_load_keys_expired:0");
    wdb_info_line(info, "rdb_last_load_keys_loaded:0");
}

/* Those of AOF tell of the log, and its rewrite is a merge. */
static void log_and_merge(struct wdb_info *info)
{
    const struct wdb_store_stats *store = &info->store;
    const struct wdb_backup_stats *backup = &info->backup;
    const struct wdb_log *log = wdb_db_log(info->context->db);
    const bool write_ok = wdb_log_failure(log) == 0 && !store->log.full;
    wdb_info_line(info, "aof_enabled:1");
    /* From the reply of BGREWRITEAOF on, so that who waits for its end can. */
    wdb_info_line(info, "aof_rewrite_in_progress:%d",
                  backup->merge_running || store->merge_running);
    wdb_info_line(info, "aof_rewrite_scheduled:0");
    wdb_info_line(info, "aof_last_rewrite_time_sec:%" PRId64,
                  store->merge_last_ms == 0
                      ? -1
                      : (int64_t)store->merge_last_duration_ms / 1000);
    wdb_info_line(info, "aof_current_rewrite_time_sec:%" PRId64,
                  store->merge_running
                      ? (int64_t)store->merge_duration_ms / 1000
                      : -1);
    wdb_info_line(info, "aof_last_bgrewrite_status:%s",
                  ok_or_err(store->merge_last_error == 0 &&
                            backup->merge_last_ok));
    wdb_info_line(info, "aof_rewrites:%" PRIu64, store->merge_count);
    wdb_info_line(info, "aof_rewrites_consecutive_failures:0");
    wdb_info_line(info, "aof_last_write_status:%s", ok_or_err(write_ok));
    wdb_info_line(info, "aof_last_cow_size:0");
    wdb_info_line(info, "module_fork_in_progress:0");
    wdb_info_line(info, "module_fork_last_cow_size:0");
    wdb_info_line(info, "aof_current_size:%" PRIu64, store->log.bytes_used);
    wdb_info_line(info, "aof_base_size:%" PRIu64, store->bytes_live);
    wdb_info_line(info, "aof_pending_rewrite:0");
    wdb_info_line(info, "aof_buffer_length:%" PRIu64,
                  store->log.bytes_unwritten);
    wdb_info_line(info, "aof_pending_bio_fsync:%d",
                  wdb_log_appended(log) > wdb_log_durable(log));
    wdb_info_line(info, "aof_delayed_fsync:0");
}

void wdb_info_persistence(struct wdb_info *info)
{
    const struct wdb_cluster *cluster = info->context->cluster;
    wdb_info_line(info, "loading:%d",
                  cluster != NULL && atomic_load(&cluster->gate->is_loading));
    wdb_info_line(info, "async_loading:0");
    wdb_info_line(info, "current_cow_peak:0");
    wdb_info_line(info, "current_cow_size:0");
    wdb_info_line(info, "current_cow_size_age:0");
    wdb_info_line(info, "current_fork_perc:0.00");
    wdb_info_line(info, "current_save_keys_processed:0");
    wdb_info_line(info, "current_save_keys_total:0");
    backups(info);
    log_and_merge(info);
}
