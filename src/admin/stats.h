/*
 * stats.h - counters of the server: one block for each worker, summed when
 * somebody looks.
 *
 * A worker's block is written by that worker alone, with plain loads and
 * stores (relaxed atomics without a lock prefix), and lies on cache lines of
 * its own. RESETSTAT does not write to the blocks: it remembers what they said,
 * and readers subtract that. Worker number 0 is the main loop.
 */
#ifndef WDB_ADMIN_STATS_H
#define WDB_ADMIN_STATS_H

#include <stdatomic.h>

#include "base/attributes.h"
#include "base/slice.h"

#define WDB_STATS_ERROR_NAMES_MAX 128 /* different prefixes that are counted */
#define WDB_STATS_SAMPLES         16 /* of instantaneous figures, as in Redis */

#define WDB_STATS_COUNTERS(X)                                                  \
    X(COMMANDS)             /* executed */                                     \
    X(NET_INPUT)            /* bytes */                                        \
    X(NET_OUTPUT)           /* bytes */                                        \
    X(CONNECTIONS)          /* accepted */                                     \
    X(CONNECTIONS_REJECTED) /* by maxclients */                                \
    X(HITS)                                                                    \
    X(MISSES)                                                                  \
    X(EXPIRED)         /* keys deleted because their time came */              \
    X(ERRORS)          /* error replies */                                     \
    X(DIRTY)           /* changes of keys, never reset */                      \
    X(READS_PROCESSED) /* read events */                                       \
    X(WRITES_PROCESSED)                                                        \
    X(AUTH_FAILED)                                                             \
    X(PROTOCOL_ERRORS)                                                         \
    X(QUERY_BUFFER_LIMIT_CLOSED)                                               \
    X(OUTPUT_BUFFER_LIMIT_CLOSED)                                              \
    X(TIMEOUT_CLOSED)                                                          \
    X(HELD)      /* requests that waited for a leader, or for room */          \
    X(FORWARDED) /* to the leader */                                           \
    X(LOST)      /* replies: office was lost before they could go out */

enum wdb_stats_counter {
#define WDB_X(name) WDB_STATS_##name,
    WDB_STATS_COUNTERS(WDB_X)
#undef WDB_X
    WDB_STATS_COUNTER_COUNT,
};

struct wdb_stats_command {
    _Atomic uint64_t calls, ns, rejected, failed;
    _Atomic(struct wdb_histogram *) histogram; /* NULL before the first */
};

struct wdb_stats_worker {
    _Atomic uint64_t counters[WDB_STATS_COUNTER_COUNT];
    struct wdb_stats_command *commands; /* by command id */
    struct wdb_stats *stats;
} WDB_ALIGN_CACHE;

struct wdb_stats;

/* Blocks for worker_count workers and commands with ids below command_count.
 * ENOMEM. */
WDB_MUST_CHECK int wdb_stats_new(uint32_t worker_count, size_t command_count,
                                 struct wdb_stats **out);
void wdb_stats_free(struct wdb_stats *stats);

/* --- counting: the worker's own thread ------------------------------------------ */
struct wdb_stats_worker *wdb_stats_worker(struct wdb_stats *stats,
                                          uint32_t worker);
static inline void wdb_stats_bump(_Atomic uint64_t *counter, uint64_t by)
{
    atomic_store_explicit(counter,
                          atomic_load_explicit(counter, memory_order_relaxed) +
                              by,
                          memory_order_relaxed);
}
static inline void wdb_stats_add(struct wdb_stats_worker *worker,
                                 enum wdb_stats_counter counter, uint64_t by)
{
    wdb_stats_bump(&worker->counters[counter], by);
}
/* Put a duration into the command's histogram (latency-tracking). */
void wdb_stats_latency(struct wdb_stats_worker *worker, uint16_t command_id,
                       uint64_t duration_ns);
/* A command was executed and took duration_ns; failed: it answered an error.
 * `latency`: into its histogram, too. About 2 ns. */
static inline void wdb_stats_call(struct wdb_stats_worker *worker,
                                  uint16_t command_id, uint64_t duration_ns,
                                  bool failed, bool latency)
{
    struct wdb_stats_command *command = &worker->commands[command_id];
    wdb_stats_bump(&command->calls, 1);
    wdb_stats_bump(&command->ns, duration_ns);
    wdb_stats_add(worker, WDB_STATS_COMMANDS, 1);
    if (WDB_UNLIKELY(failed)) {
        wdb_stats_bump(&command->failed, 1);
    }
    if (latency) {
        wdb_stats_latency(worker, command_id, duration_ns);
    }
}
static inline void wdb_stats_reject(struct wdb_stats_worker *worker,
                                    uint16_t command_id)
{
    wdb_stats_bump(&worker->commands[command_id].rejected, 1);
}
/* Count an error reply by the first word of its text ("ERR", "WRONGTYPE", at
 * most 31 bytes). Names past the limit count as ERRORSTATS_OVERFLOW. */
void wdb_stats_error(struct wdb_stats_worker *worker, struct wdb_slice text);

/* --- reading: any thread --------------------------------------------------------- */
uint64_t wdb_stats_sum(const struct wdb_stats *stats,
                       enum wdb_stats_counter counter);
struct wdb_stats_command_sum {
    uint64_t calls, usec, rejected, failed;
};
void wdb_stats_command_sum(const struct wdb_stats *stats, uint16_t command_id,
                           struct wdb_stats_command_sum *out);
/* Visit every counted error name. */
void wdb_stats_errors(const struct wdb_stats *stats,
                      void (*callback)(void *context, const char *name,
                                       uint64_t count),
                      void *context);
/* CONFIG RESETSTAT: from now on everything but DIRTY counts from 0. ENOMEM:
 * histograms were left as they are. */
int wdb_stats_reset(struct wdb_stats *stats);

/* --- latency histograms ------------------------------------------------------------ */
/* Durations in ns in log-linear buckets: 32 for each power of two, so that a
 * bucket is at most 3 % wide; up to 2^36 ns. */
#define WDB_HISTOGRAM_BUCKETS 1024
struct wdb_histogram {
    _Atomic uint64_t counts[WDB_HISTOGRAM_BUCKETS];
};
/* Sum of all workers' histograms of a command since the last reset. */
struct wdb_histogram_sum {
    uint64_t total;
    uint64_t counts[WDB_HISTOGRAM_BUCKETS];
};
/* False if nothing was counted. */
bool wdb_stats_histogram(const struct wdb_stats *stats, uint16_t command_id,
                         struct wdb_histogram_sum *out);
/* LATENCY RESET has no business here; LATENCY HISTOGRAM's are forgotten by
 * wdb_stats_reset. The highest duration of the bucket that the percentile
 * (0..100) falls into, in ns. */
uint64_t wdb_histogram_percentile(const struct wdb_histogram_sum *sum,
                                  double percentile);
/* How many durations are at most `limit_ns` (in whole buckets). */
uint64_t wdb_histogram_count_below(const struct wdb_histogram_sum *sum,
                                   uint64_t limit_ns);
/* Bucket of a duration, and the highest duration of a bucket. */
size_t wdb_histogram_bucket(uint64_t duration_ns);
uint64_t wdb_histogram_bucket_max(size_t bucket);

/* --- figures of the moment ----------------------------------------------------------- */
enum wdb_stats_rate {
    WDB_RATE_COMMANDS,
    WDB_RATE_NET_INPUT,
    WDB_RATE_NET_OUTPUT,
    WDB_RATE_COUNT,
};
/* Take a sample; the main loop's timer, about ten times a second. memory_used:
 * for the peak. */
void wdb_stats_sample(struct wdb_stats *stats, uint64_t monotonic_ms,
                      uint64_t memory_used);
/* Per second, over the last samples. */
uint64_t wdb_stats_rate(const struct wdb_stats *stats,
                        enum wdb_stats_rate rate);
uint64_t wdb_stats_memory_peak(const struct wdb_stats *stats);
void wdb_stats_memory_note(struct wdb_stats *stats, uint64_t memory_used);

#endif
