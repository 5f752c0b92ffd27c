/*
 * stats.c - counters by worker, summed when somebody looks.
 *
 * What RESETSTAT remembers is guarded by `lock`; the workers never take it
 * except for the first error reply of a kind. An error name once in the table
 * stays there, so looking one up needs no lock: its slot is published by the
 * count, which only grows.
 */
#include "admin/stats.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/time.h"
#include "walkerdb.h"

#define ERROR_NAME_SIZE 32
#define OVERFLOW_NAME   "ERRORSTATS_OVERFLOW"

struct error_name {
    char name[ERROR_NAME_SIZE];
    _Atomic uint64_t count;
    uint64_t base; /* at the last reset */
};

struct command_base {
    struct wdb_stats_command_sum sum; /* usec holds nanoseconds here */
    struct wdb_histogram_sum *histogram;
};

/* The figures of the moment of one rate. */
struct rate {
    uint64_t last; /* sum at the last sample */
    uint64_t samples[WDB_STATS_SAMPLES];
};

struct wdb_stats {
    uint32_t worker_count;
    size_t command_count;
    struct wdb_stats_worker *workers;
    pthread_mutex_t lock;
    uint64_t base[WDB_STATS_COUNTER_COUNT];
    struct command_base *command_base;
    struct error_name errors[WDB_STATS_ERROR_NAMES_MAX + 1];
    _Atomic uint32_t error_count;
    struct rate rates[WDB_RATE_COUNT];
    uint32_t sample_index;
    uint64_t sample_ms;
    _Atomic uint64_t memory_peak;
};

static uint64_t load(const _Atomic uint64_t *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

/* --- life ------------------------------------------------------------------------ */

int wdb_stats_new(uint32_t worker_count, size_t command_count,
                  struct wdb_stats **out)
{
    struct wdb_stats *stats = calloc(1, sizeof(*stats));
    if (stats == NULL) {
        return WALKERDB_ENOMEM;
    }
    pthread_mutex_init(&stats->lock, NULL);
    stats->command_count = command_count;
    stats->command_base =
        calloc(command_count + 1, sizeof(*stats->command_base));
    void *workers = NULL;
    size_t size = worker_count * sizeof(*stats->workers);
    if (stats->command_base == NULL ||
        posix_memalign(&workers, WDB_CACHE_LINE, size) != 0) {
        wdb_stats_free(stats);
        return WALKERDB_ENOMEM;
    }
    memset(workers, 0, size);
    stats->workers = workers;
    stats->worker_count = worker_count;
    for (uint32_t i = 0; i < worker_count; i++) {
        struct wdb_stats_worker *worker = &stats->workers[i];
        worker->stats = stats;
        worker->commands = calloc(command_count + 1, sizeof(*worker->commands));
        if (worker->commands == NULL) {
            wdb_stats_free(stats);
            return WALKERDB_ENOMEM;
        }
    }
    *out = stats;
    return 0;
}

void wdb_stats_free(struct wdb_stats *stats)
{
    if (stats == NULL) {
        return;
    }
    for (uint32_t i = 0; i < stats->worker_count; i++) {
        struct wdb_stats_command *commands = stats->workers[i].commands;
        for (size_t j = 0; commands != NULL && j < stats->command_count; j++) {
            free(commands[j].histogram);
        }
        free(commands);
    }
    for (size_t j = 0; stats->command_base != NULL && j < stats->command_count;
         j++) {
        free(stats->command_base[j].histogram);
    }
    free(stats->command_base);
    free(stats->workers);
    pthread_mutex_destroy(&stats->lock);
    free(stats);
}

/* --- counting --------------------------------------------------------------------- */

struct wdb_stats_worker *wdb_stats_worker(struct wdb_stats *stats,
                                          uint32_t worker)
{
    wdb_assert(worker < stats->worker_count);
    return &stats->workers[worker];
}

void wdb_stats_latency(struct wdb_stats_worker *worker, uint16_t command_id,
                       uint64_t duration_ns)
{
    struct wdb_stats_command *command = &worker->commands[command_id];
    struct wdb_histogram *histogram =
        atomic_load_explicit(&command->histogram, memory_order_relaxed);
    if (WDB_UNLIKELY(histogram == NULL)) {
        histogram = calloc(1, sizeof(*histogram));
        if (histogram == NULL) {
            return;
        }
        atomic_store_explicit(&command->histogram, histogram,
                              memory_order_release);
    }
    wdb_stats_bump(&histogram->counts[wdb_histogram_bucket(duration_ns)], 1);
}

static size_t first_word(struct wdb_slice text, char out[ERROR_NAME_SIZE])
{
    size_t size = 0;
    while (size < text.size && size < ERROR_NAME_SIZE - 1 &&
           text.data[size] > ' ' && text.data[size] < 127) {
        out[size] = (char)text.data[size];
        size++;
    }
    out[size] = 0;
    return size;
}

static struct error_name *find_error(struct wdb_stats *stats, const char *name)
{
    uint32_t count =
        atomic_load_explicit(&stats->error_count, memory_order_acquire);
    for (uint32_t i = 0; i < count; i++) {
        if (strcmp(stats->errors[i].name, name) == 0) {
            return &stats->errors[i];
        }
    }
    return NULL;
}

static struct error_name *add_error(struct wdb_stats *stats, const char *name)
{
    pthread_mutex_lock(&stats->lock);
    struct error_name *error = find_error(stats, name);
    uint32_t count = stats->error_count;
    if (error == NULL) {
        if (count >= WDB_STATS_ERROR_NAMES_MAX) {
            name = OVERFLOW_NAME;
            error = find_error(stats, name);
        }
        if (error == NULL) {
            error = &stats->errors[count];
            memcpy(error->name, name, strlen(name) + 1);
            atomic_store_explicit(&stats->error_count, count + 1,
                                  memory_order_release);
        }
    }
    pthread_mutex_unlock(&stats->lock);
    return error;
}

void wdb_stats_error(struct wdb_stats_worker *worker, struct wdb_slice text)
{
    struct wdb_stats *stats = worker->stats;
    char name[ERROR_NAME_SIZE];
    wdb_stats_add(worker, WDB_STATS_ERRORS, 1);
    if (first_word(text, name) == 0) {
        return;
    }
    struct error_name *error = find_error(stats, name);
    if (error == NULL) {
        error = add_error(stats, name);
    }
    atomic_fetch_add_explicit(&error->count, 1, memory_order_relaxed);
}

/* --- reading ----------------------------------------------------------------------- */

static uint64_t sum_ever(const struct wdb_stats *stats,
                         enum wdb_stats_counter counter)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < stats->worker_count; i++) {
        sum += load(&stats->workers[i].counters[counter]);
    }
    return sum;
}

/* A lock in something that is only read: the mutex is no part of its state. */
static void lock_stats(const struct wdb_stats *stats)
{
    pthread_mutex_lock((pthread_mutex_t *)(uintptr_t)&stats->lock);
}

static void unlock_stats(const struct wdb_stats *stats)
{
    pthread_mutex_unlock((pthread_mutex_t *)(uintptr_t)&stats->lock);
}

uint64_t wdb_stats_sum(const struct wdb_stats *stats,
                       enum wdb_stats_counter counter)
{
    lock_stats(stats);
    uint64_t base = stats->base[counter];
    unlock_stats(stats);
    return sum_ever(stats, counter) - base;
}

/* Since the start; usec in nanoseconds. */
static void command_ever(const struct wdb_stats *stats, uint16_t command_id,
                         struct wdb_stats_command_sum *out)
{
    struct wdb_stats_command_sum sum = {0};
    for (uint32_t i = 0; i < stats->worker_count; i++) {
        const struct wdb_stats_command *command =
            &stats->workers[i].commands[command_id];
        sum.calls += load(&command->calls);
        sum.usec += load(&command->ns);
        sum.rejected += load(&command->rejected);
        sum.failed += load(&command->failed);
    }
    *out = sum;
}

void wdb_stats_command_sum(const struct wdb_stats *stats, uint16_t command_id,
                           struct wdb_stats_command_sum *out)
{
    wdb_assert(command_id < stats->command_count);
    lock_stats(stats);
    struct wdb_stats_command_sum base = stats->command_base[command_id].sum;
    unlock_stats(stats);
    command_ever(stats, command_id, out);
    out->calls -= base.calls;
    out->usec = (out->usec - base.usec) / (uint64_t)WDB_NS_PER_US;
    out->rejected -= base.rejected;
    out->failed -= base.failed;
}

void wdb_stats_errors(const struct wdb_stats *stats,
                      void (*callback)(void *context, const char *name,
                                       uint64_t count),
                      void *context)
{
    uint32_t count =
        atomic_load_explicit(&stats->error_count, memory_order_acquire);
    for (uint32_t i = 0; i < count; i++) {
        lock_stats(stats);
        uint64_t since = load(&stats->errors[i].count) - stats->errors[i].base;
        unlock_stats(stats);
        if (since > 0) {
            callback(context, stats->errors[i].name, since);
        }
    }
}

static bool histogram_ever(const struct wdb_stats *stats, uint16_t command_id,
                           struct wdb_histogram_sum *out)
{
    memset(out, 0, sizeof(*out));
    for (uint32_t i = 0; i < stats->worker_count; i++) {
        struct wdb_histogram *histogram = atomic_load_explicit(
            &stats->workers[i].commands[command_id].histogram,
            memory_order_acquire);
        if (histogram == NULL) {
            continue;
        }
        for (size_t j = 0; j < WDB_HISTOGRAM_BUCKETS; j++) {
            uint64_t count = load(&histogram->counts[j]);
            out->counts[j] += count;
            out->total += count;
        }
    }
    return out->total > 0;
}

bool wdb_stats_histogram(const struct wdb_stats *stats, uint16_t command_id,
                         struct wdb_histogram_sum *out)
{
    wdb_assert(command_id < stats->command_count);
    lock_stats(stats);
    bool found = histogram_ever(stats, command_id, out);
    const struct wdb_histogram_sum *base =
        stats->command_base[command_id].histogram;
    if (found && base != NULL) {
        for (size_t j = 0; j < WDB_HISTOGRAM_BUCKETS; j++) {
            out->counts[j] -= base->counts[j];
        }
        out->total -= base->total;
    }
    unlock_stats(stats);
    return found && out->total > 0;
}

static int reset_commands(struct wdb_stats *stats)
{
    struct wdb_histogram_sum *sum = malloc(sizeof(*sum));
    int code = sum == NULL ? WALKERDB_ENOMEM : 0;
    for (size_t id = 0; id < stats->command_count; id++) {
        struct command_base *base = &stats->command_base[id];
        command_ever(stats, (uint16_t)id, &base->sum);
        if (sum == NULL || !histogram_ever(stats, (uint16_t)id, sum)) {
            continue;
        }
        if (base->histogram == NULL) {
            base->histogram = malloc(sizeof(*base->histogram));
        }
        if (base->histogram == NULL) {
            code = WALKERDB_ENOMEM;
        } else {
            *base->histogram = *sum;
        }
    }
    free(sum);
    return code;
}

int wdb_stats_reset(struct wdb_stats *stats)
{
    pthread_mutex_lock(&stats->lock);
    for (int i = 0; i < WDB_STATS_COUNTER_COUNT; i++) {
        if (i != WDB_STATS_DIRTY) {
            stats->base[i] = sum_ever(stats, i);
        }
    }
    for (uint32_t i = 0; i < stats->error_count; i++) {
        stats->errors[i].base = load(&stats->errors[i].count);
    }
    int code = reset_commands(stats);
    pthread_mutex_unlock(&stats->lock);
    return code;
}

/* --- histograms --------------------------------------------------------------------- */

size_t wdb_histogram_bucket(uint64_t duration_ns)
{
    if (duration_ns < 32) {
        return duration_ns;
    }
    unsigned power = 63 - (unsigned)__builtin_clzll(duration_ns);
    size_t bucket = (power - 4) * 32 + ((duration_ns >> (power - 5)) & 31);
    return bucket < WDB_HISTOGRAM_BUCKETS ? bucket : WDB_HISTOGRAM_BUCKETS - 1;
}

uint64_t wdb_histogram_bucket_max(size_t bucket)
{
    if (bucket < 32) {
        return bucket;
    }
    unsigned shift = (unsigned)(bucket / 32) - 1;
    return ((32 + bucket % 32 + 1) << shift) - 1;
}

uint64_t wdb_histogram_percentile(const struct wdb_histogram_sum *sum,
                                  double percentile)
{
    /* The rank is rounded to the nearest, at least 1: as HdrHistogram. */
    double exact = percentile / 100.0 * (double)sum->total + 0.5;
    uint64_t rank = exact < 1 ? 1 : (uint64_t)exact;
    uint64_t seen = 0;
    for (size_t i = 0; i < WDB_HISTOGRAM_BUCKETS; i++) {
        seen += sum->counts[i];
        if (seen >= rank && sum->counts[i] > 0) {
            return wdb_histogram_bucket_max(i);
        }
    }
    return 0;
}

uint64_t wdb_histogram_count_below(const struct wdb_histogram_sum *sum,
                                   uint64_t limit_ns)
{
    uint64_t count = 0;
    for (size_t i = 0;
         i < WDB_HISTOGRAM_BUCKETS && wdb_histogram_bucket_max(i) <= limit_ns;
         i++) {
        count += sum->counts[i];
    }
    return count;
}

/* --- figures of the moment ------------------------------------------------------------- */

void wdb_stats_memory_note(struct wdb_stats *stats, uint64_t memory_used)
{
    uint64_t peak = load(&stats->memory_peak);
    while (memory_used > peak && !atomic_compare_exchange_weak(
                                     &stats->memory_peak, &peak, memory_used)) {
    }
}

void wdb_stats_sample(struct wdb_stats *stats, uint64_t monotonic_ms,
                      uint64_t memory_used)
{
    static const enum wdb_stats_counter counters[WDB_RATE_COUNT] = {
        [WDB_RATE_COMMANDS] = WDB_STATS_COMMANDS,
        [WDB_RATE_NET_INPUT] = WDB_STATS_NET_INPUT,
        [WDB_RATE_NET_OUTPUT] = WDB_STATS_NET_OUTPUT,
    };
    wdb_stats_memory_note(stats, memory_used);
    pthread_mutex_lock(&stats->lock);
    uint64_t elapsed = monotonic_ms - stats->sample_ms;
    bool first = stats->sample_ms == 0;
    for (int i = 0; i < WDB_RATE_COUNT && (first || elapsed > 0); i++) {
        struct rate *rate = &stats->rates[i];
        uint64_t now = sum_ever(stats, counters[i]);
        if (!first) {
            rate->samples[stats->sample_index] =
                (now - rate->last) * 1000 / elapsed;
        }
        rate->last = now;
    }
    if (!first && elapsed > 0) {
        stats->sample_index = (stats->sample_index + 1) % WDB_STATS_SAMPLES;
    }
    stats->sample_ms = monotonic_ms;
    pthread_mutex_unlock(&stats->lock);
}

uint64_t wdb_stats_rate(const struct wdb_stats *stats, enum wdb_stats_rate rate)
{
    uint64_t sum = 0;
    lock_stats(stats);
    for (size_t i = 0; i < WDB_STATS_SAMPLES; i++) {
        sum += stats->rates[rate].samples[i];
    }
    unlock_stats(stats);
    return sum / WDB_STATS_SAMPLES;
}

uint64_t wdb_stats_memory_peak(const struct wdb_stats *stats)
{
    return load(&stats->memory_peak);
}
