/* info_stats.c - INFO: counters, replication, CPU, commands, errors. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "cmd/info.h"

#define PERCENTILES_MAX 32

static uint64_t sum(const struct wdb_info *info, enum wdb_stats_counter counter)
{
    return wdb_stats_sum(info->context->stats, counter);
}

static double rate_kib(const struct wdb_info *info, enum wdb_stats_rate rate)
{
    return (double)wdb_stats_rate(info->context->stats, rate) / 1024;
}

/* --- stats ------------------------------------------------------------------------ */

static void connections(struct wdb_info *info)
{
    wdb_info_line(info, "total_connections_received:%" PRIu64,
                  sum(info, WDB_STATS_CONNECTIONS));
    wdb_info_line(info, "total_commands_processed:%" PRIu64,
                  sum(info, WDB_STATS_COMMANDS));
    wdb_info_line(info, "instantaneous_ops_per_sec:%" PRIu64,
                  wdb_stats_rate(info->context->stats, WDB_RATE_COMMANDS));
    wdb_info_line(info, "total_net_input_bytes:%" PRIu64,
                  sum(info, WDB_STATS_NET_INPUT));
    wdb_info_line(info, "total_net_output_bytes:%" PRIu64,
                  sum(info, WDB_STATS_NET_OUTPUT));
    wdb_info_line(info, "total_net_repl_input_bytes:0");
    wdb_info_line(info, "total_net_repl_output_bytes:0");
    wdb_info_line(info, "instantaneous_input_kbps:%.2f",
                  rate_kib(info, WDB_RATE_NET_INPUT));
    wdb_info_line(info, "instantaneous_output_kbps:%.2f",
                  rate_kib(info, WDB_RATE_NET_OUTPUT));
    wdb_info_line(info, "instantaneous_input_repl_kbps:0.00");
    wdb_info_line(info, "instantaneous_output_repl_kbps:0.00");
    wdb_info_line(info, "rejected_connections:%" PRIu64,
                  sum(info, WDB_STATS_CONNECTIONS_REJECTED));
    wdb_info_line(info, "sync_full:0");
    wdb_info_line(info, "sync_partial_ok:0");
    wdb_info_line(info, "sync_partial_err:0");
}

static void keys(struct wdb_info *info)
{
    struct wdb_context *context = info->context;
    const uint64_t expired =
        wdb_db_expired_count(context->db) -
        atomic_load_explicit(&context->expired_base, memory_order_relaxed);
    wdb_info_line(info, "expired_keys:%" PRIu64, expired);
    wdb_info_line(info, "expired_stale_perc:0.00");
    wdb_info_line(info, "expired_time_cap_reached_count:0");
    wdb_info_line(info, "expire_cycle_cpu_milliseconds:0");
    wdb_info_line(info, "evicted_keys:0");
    wdb_info_line(info, "evicted_clients:0");
    wdb_info_line(info, "total_eviction_exceeded_time:0");
    wdb_info_line(info, "current_eviction_exceeded_time:0");
    wdb_info_line(info, "keyspace_hits:%" PRIu64, sum(info, WDB_STATS_HITS));
    wdb_info_line(info, "keyspace_misses:%" PRIu64,
                  sum(info, WDB_STATS_MISSES));
}

/* What does not exist here. */
static void zeros(struct wdb_info *info)
{
    static const char *const names[] = {"pubsub_channels",
                                        "pubsub_patterns",
                                        "pubsubshard_channels",
                                        "latest_fork_usec",
                                        "total_forks",
                                        "migrate_cached_sockets",
                                        "slave_expires_tracked_keys",
                                        "active_defrag_hits",
                                        "active_defrag_misses",
                                        "active_defrag_key_hits",
                                        "active_defrag_key_misses",
                                        "total_active_defrag_time",
                                        "current_active_defrag_time",
                                        "tracking_total_keys",
                                        "tracking_total_items",
                                        "tracking_total_prefixes",
                                        "unexpected_error_replies"};
    for (size_t i = 0; i < WDB_COUNT(names); i++) {
        wdb_info_line(info, "%s:0", names[i]);
    }
}

void wdb_info_stats(struct wdb_info *info)
{
    const bool threads =
        wdb_config_u64(info->context->config, WDB_CONFIG_IO_THREADS) > 1;
    const uint64_t reads = sum(info, WDB_STATS_READS_PROCESSED);
    const uint64_t writes = sum(info, WDB_STATS_WRITES_PROCESSED);
    connections(info);
    keys(info);
    zeros(info);
    wdb_info_line(info, "total_error_replies:%" PRIu64,
                  sum(info, WDB_STATS_ERRORS));
    wdb_info_line(info, "dump_payload_sanitizations:0");
    wdb_info_line(info, "total_reads_processed:%" PRIu64, reads);
    wdb_info_line(info, "total_writes_processed:%" PRIu64, writes);
    wdb_info_line(info, "io_threaded_reads_processed:%" PRIu64,
                  threads ? reads : 0);
    wdb_info_line(info, "io_threaded_writes_processed:%" PRIu64,
                  threads ? writes : 0);
    wdb_info_line(info, "reply_buffer_shrinks:0");
    wdb_info_line(info, "reply_buffer_expands:0");
    /* Names of 7.2. */
    wdb_info_line(info, "client_query_buffer_limit_disconnections:%" PRIu64,
                  sum(info, WDB_STATS_QUERY_BUFFER_LIMIT_CLOSED));
    wdb_info_line(info, "client_output_buffer_limit_disconnections:%" PRIu64,
                  sum(info, WDB_STATS_OUTPUT_BUFFER_LIMIT_CLOSED));
    wdb_info_line(info, "acl_access_denied_auth:%" PRIu64,
                  sum(info, WDB_STATS_AUTH_FAILED));
    /* Ours. */
    wdb_info_line(info, "requests_held:%" PRIu64, sum(info, WDB_STATS_HELD));
    wdb_info_line(info, "requests_forwarded:%" PRIu64,
                  sum(info, WDB_STATS_FORWARDED));
    wdb_info_line(info, "replies_lost:%" PRIu64, sum(info, WDB_STATS_LOST));
    wdb_info_line(info, "client_timeout_disconnections:%" PRIu64,
                  sum(info, WDB_STATS_TIMEOUT_CLOSED));
    wdb_info_line(info, "protocol_errors:%" PRIu64,
                  sum(info, WDB_STATS_PROTOCOL_ERRORS));
}

/* --- CPU, modules ---------------------------------------------------------------------- */

static void cpu_line(struct wdb_info *info, const char *name, uint64_t us)
{
    wdb_info_line(info, "%s:%" PRIu64 ".%06" PRIu64, name, us / 1000000,
                  us % 1000000);
}

void wdb_info_cpu(struct wdb_info *info)
{
    struct wdb_cpu_time process, thread;
    wdb_cpu_time(false, &process);
    wdb_cpu_time(true, &thread);
    cpu_line(info, "used_cpu_sys", process.system_us);
    cpu_line(info, "used_cpu_user", process.user_us);
    cpu_line(info, "used_cpu_sys_children", 0);
    cpu_line(info, "used_cpu_user_children", 0);
    cpu_line(info, "used_cpu_sys_main_thread", thread.system_us);
    cpu_line(info, "used_cpu_user_main_thread", thread.user_us);
}

void wdb_info_modules(struct wdb_info *info)
{
    (void)info; /* there are none */
}

/* --- commands, errors, latencies ------------------------------------------------------- */

void wdb_info_commandstats(struct wdb_info *info)
{
    for (size_t id = 0; id < wdb_command_id_count(); id++) {
        struct wdb_stats_command_sum s;
        wdb_stats_command_sum(info->context->stats, (uint16_t)id, &s);
        if (s.calls == 0 && s.rejected == 0 && s.failed == 0) {
            continue;
        }
        wdb_info_line(info,
                      "cmdstat_%s:calls=%" PRIu64 ",usec=%" PRIu64
                      ",usec_per_call=%.2f,rejected_calls=%" PRIu64
                      ",failed_calls=%" PRIu64,
                      wdb_command_by_id((uint16_t)id)->name, s.calls, s.usec,
                      s.calls == 0 ? 0 : (double)s.usec / (double)s.calls,
                      s.rejected, s.failed);
    }
}

static void error_line(void *context, const char *name, uint64_t count)
{
    wdb_info_line(context, "errorstat_%s:count=%" PRIu64, name, count);
}

void wdb_info_errorstats(struct wdb_info *info)
{
    wdb_stats_errors(info->context->stats, error_line, info);
}

void wdb_info_latencystats(struct wdb_info *info)
{
    const struct wdb_context *context = info->context;
    double percentiles[PERCENTILES_MAX];
    const size_t count =
        wdb_config_percentiles(context->config, percentiles, PERCENTILES_MAX);
    struct wdb_histogram_sum *histogram = malloc(sizeof(*histogram));
    if (histogram == NULL) {
        info->code = WALKERDB_ENOMEM;
        return;
    }
    for (size_t id = 0; id < wdb_command_id_count() && count > 0; id++) {
        if (!wdb_stats_histogram(context->stats, (uint16_t)id, histogram)) {
            continue;
        }
        char line[PERCENTILES_MAX * 48];
        size_t size = 0;
        for (size_t i = 0; i < count; i++) {
            const uint64_t ns =
                wdb_histogram_percentile(histogram, percentiles[i]);
            size += (size_t)snprintf(line + size, sizeof(line) - size,
                                     "%sp%.10g=%.3f", i == 0 ? "" : ",",
                                     percentiles[i], (double)ns / 1000);
        }
        wdb_info_line(info, "latency_percentiles_usec_%s:%s",
                      wdb_command_by_id((uint16_t)id)->name, line);
    }
    free(histogram);
}
