/* test_admin_stats.c - counters, histograms, slow log, latency events. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "admin/latency.h"
#include "admin/slowlog.h"
#include "admin/stats.h"
#include "lib/fault_alloc.h"
#include "lib/test.h"
#include "walkerdb.h"

static struct wdb_stats *new_stats(uint32_t workers)
{
    struct wdb_stats *stats = NULL;
    if (wdb_stats_new(workers, 10, &stats) != 0) {
        abort();
    }
    return stats;
}

/* What all workers counted is summed, and a reset makes it 0. */
TEST(sums_and_reset)
{
    struct wdb_stats *stats = new_stats(3);
    struct wdb_stats_command_sum sum;
    for (uint32_t i = 0; i < 3; i++) {
        struct wdb_stats_worker *worker = wdb_stats_worker(stats, i);
        CHECK_EQ((uintptr_t)worker % WDB_CACHE_LINE, 0);
        wdb_stats_add(worker, WDB_STATS_HITS, 5);
        wdb_stats_add(worker, WDB_STATS_DIRTY, 1);
        wdb_stats_call(worker, 4, 1500, i == 0, true);
        wdb_stats_reject(worker, 4);
    }
    CHECK_EQ(wdb_stats_sum(stats, WDB_STATS_HITS), 15);
    CHECK_EQ(wdb_stats_sum(stats, WDB_STATS_COMMANDS), 3);
    wdb_stats_command_sum(stats, 4, &sum);
    CHECK_EQ(sum.calls, 3);
    CHECK_EQ(sum.usec, 4);
    CHECK_EQ(sum.failed, 1);
    CHECK_EQ(sum.rejected, 3);
    CHECK_EQ(wdb_stats_reset(stats), 0);
    CHECK_EQ(wdb_stats_sum(stats, WDB_STATS_HITS), 0);
    CHECK_EQ(wdb_stats_sum(stats, WDB_STATS_DIRTY), 3);
    wdb_stats_command_sum(stats, 4, &sum);
    CHECK_EQ(sum.calls + sum.usec + sum.failed + sum.rejected, 0);
    struct wdb_histogram_sum *histogram = malloc(sizeof(*histogram));
    CHECK(!wdb_stats_histogram(stats, 4, histogram));
    wdb_stats_call(wdb_stats_worker(stats, 1), 4, 1000000, false, true);
    CHECK(wdb_stats_histogram(stats, 4, histogram));
    CHECK_EQ(histogram->total, 1);
    free(histogram);
    wdb_stats_free(stats);
}

/* Buckets cover every duration, in order, at most 1/32 wide. */
TEST(buckets)
{
    size_t last = 0;
    for (uint64_t ns = 0; ns < (uint64_t)1 << 37; ns += ns / 100 + 1) {
        size_t bucket = wdb_histogram_bucket(ns);
        REQUIRE(bucket < WDB_HISTOGRAM_BUCKETS && bucket >= last);
        last = bucket;
        uint64_t max = wdb_histogram_bucket_max(bucket);
        if (bucket < WDB_HISTOGRAM_BUCKETS - 1) {
            REQUIRE(ns <= max && max - ns <= ns / 32 + 1);
            REQUIRE_EQ(wdb_histogram_bucket(max), bucket);
            REQUIRE_EQ(wdb_histogram_bucket(max + 1), bucket + 1);
        }
    }
    CHECK_EQ(wdb_histogram_bucket(UINT64_MAX), WDB_HISTOGRAM_BUCKETS - 1);
}

/* Percentiles of 1..1000 us. */
TEST(percentiles)
{
    struct wdb_stats *stats = new_stats(2);
    struct wdb_histogram_sum *sum = malloc(sizeof(*sum));
    for (uint64_t us = 1; us <= 1000; us++) {
        wdb_stats_latency(wdb_stats_worker(stats, us % 2), 1, us * 1000);
    }
    CHECK(wdb_stats_histogram(stats, 1, sum));
    CHECK_EQ(sum->total, 1000);
    static const struct {
        double percentile;
        uint64_t us;
    } cases[] = {{0, 1}, {50, 500}, {99, 990}, {99.9, 999}, {100, 1000}};
    for (size_t i = 0; i < WDB_COUNT(cases); i++) {
        uint64_t us = wdb_histogram_percentile(sum, cases[i].percentile) / 1000;
        CHECK(us >= cases[i].us && us <= cases[i].us + cases[i].us / 32 + 1);
    }
    uint64_t below = wdb_histogram_count_below(sum, 512000);
    CHECK(below >= 480 && below <= 512);
    CHECK_EQ(wdb_histogram_count_below(sum, UINT64_MAX), 1000);
    free(sum);
    wdb_stats_free(stats);
}

struct errors {
    uint64_t count, total;
    uint64_t overflow;
};

static void count_error(void *context, const char *name, uint64_t count)
{
    struct errors *errors = context;
    errors->count++;
    errors->total += count;
    if (strcmp(name, "ERRORSTATS_OVERFLOW") == 0) {
        errors->overflow = count;
    }
}

/* Errors count by their first word; the number of words is bounded. */
TEST(error_names)
{
    struct wdb_stats *stats = new_stats(1);
    struct wdb_stats_worker *worker = wdb_stats_worker(stats, 0);
    struct errors errors = {0};
    wdb_stats_error(worker, wdb_slice_str("ERR one"));
    wdb_stats_error(worker, wdb_slice_str("ERR"));
    wdb_stats_error(worker, wdb_slice_str("WRONGTYPE x"));
    wdb_stats_error(worker, wdb_slice_str(""));
    wdb_stats_errors(stats, count_error, &errors);
    CHECK_EQ(errors.count, 2);
    CHECK_EQ(errors.total, 3);
    CHECK_EQ(wdb_stats_sum(stats, WDB_STATS_ERRORS), 4);
    for (int i = 0; i < 300; i++) {
        char text[64];
        int size = snprintf(text, sizeof(text), "E%03d%050d x", i, i);
        wdb_stats_error(worker, wdb_slice(text, (size_t)size));
    }
    errors = (struct errors){0};
    wdb_stats_errors(stats, count_error, &errors);
    CHECK_EQ(errors.count, WDB_STATS_ERROR_NAMES_MAX + 1);
    CHECK_EQ(errors.total, 303);
    CHECK_EQ(errors.overflow, 300 - (WDB_STATS_ERROR_NAMES_MAX - 2));
    CHECK_EQ(wdb_stats_reset(stats), 0);
    errors = (struct errors){0};
    wdb_stats_errors(stats, count_error, &errors);
    CHECK_EQ(errors.count, 0);
    wdb_stats_free(stats);
}

/* A steady rate is what is shown after 16 samples. */
TEST(rates)
{
    struct wdb_stats *stats = new_stats(1);
    struct wdb_stats_worker *worker = wdb_stats_worker(stats, 0);
    for (uint64_t i = 1; i <= 17; i++) {
        wdb_stats_sample(stats, i * 100, i * 10);
        wdb_stats_add(worker, WDB_STATS_COMMANDS, 50);
    }
    CHECK_EQ(wdb_stats_rate(stats, WDB_RATE_COMMANDS), 500);
    CHECK_EQ(wdb_stats_rate(stats, WDB_RATE_NET_INPUT), 0);
    wdb_stats_sample(stats, 1700, 5); /* no time has passed */
    CHECK_EQ(wdb_stats_rate(stats, WDB_RATE_COMMANDS), 500);
    CHECK_EQ(wdb_stats_memory_peak(stats), 170);
    wdb_stats_free(stats);
}

static void *count_much(void *argument)
{
    struct wdb_stats_worker *worker = argument;
    for (int i = 0; i < 100000; i++) {
        wdb_stats_call(worker, (uint16_t)(i % 10), 100, false, true);
        if (i % 100 == 0) {
            char text[16];
            snprintf(text, sizeof(text), "E%d", i % 1000);
            wdb_stats_error(worker, wdb_slice_str(text));
        }
    }
    return NULL;
}

/* Workers count while others look. */
TEST(stats_threads)
{
    struct wdb_stats *stats = new_stats(2);
    struct wdb_histogram_sum *sum = malloc(sizeof(*sum));
    struct errors errors = {0};
    pthread_t threads[2];
    for (uint32_t i = 0; i < 2; i++) {
        pthread_create(&threads[i], NULL, count_much,
                       wdb_stats_worker(stats, i));
    }
    for (int i = 0; i < 100; i++) {
        wdb_stats_histogram(stats, (uint16_t)(i % 10), sum);
        wdb_stats_errors(stats, count_error, &errors);
        wdb_stats_sample(stats, (uint64_t)i + 1, 1);
    }
    for (int i = 0; i < 2; i++) {
        pthread_join(threads[i], NULL);
    }
    CHECK_EQ(wdb_stats_sum(stats, WDB_STATS_COMMANDS), 200000);
    CHECK_EQ(wdb_stats_sum(stats, WDB_STATS_ERRORS), 2000);
    errors = (struct errors){0};
    wdb_stats_errors(stats, count_error, &errors);
    CHECK_EQ(errors.count, 10);
    CHECK_EQ(errors.total, 2000);
    free(sum);
    wdb_stats_free(stats);
}

/* --- slow log ---------------------------------------------------------------------- */

static uint64_t announced;

static void begin(void *context, uint64_t count)
{
    (void)context;
    announced = count;
}

static void show_entry(void *context, const struct wdb_slowlog_entry *entry)
{
    char *text = context;
    size_t at = strlen(text);
    at += (size_t)snprintf(text + at, 16384 - at,
                           "%llu:", (unsigned long long)entry->id);
    for (uint32_t i = 0; i < entry->argument_count; i++) {
        at += (size_t)snprintf(text + at, 16384 - at, "[%.*s]",
                               (int)entry->arguments[i].size,
                               (const char *)entry->arguments[i].data);
    }
    snprintf(text + at, 16384 - at, " %s %s;", entry->address, entry->name);
}

static void add_entry(struct wdb_slowlog *slowlog, uint32_t count,
                      const struct wdb_slice *arguments, uint64_t max)
{
    struct wdb_slowlog_entry entry = {.argument_count = count,
                                      .arguments = arguments,
                                      .address = "1.2.3.4:5",
                                      .name = "me"};
    wdb_slowlog_add(slowlog, &entry, max);
}

static const char *entries(struct wdb_slowlog *slowlog, uint64_t count)
{
    static char text[16384];
    text[0] = 0;
    wdb_slowlog_visit(slowlog, count, begin, show_entry, text);
    return text;
}

/* Newest first, at most as many as asked for, ids go on after a reset. */
TEST(slowlog_order)
{
    struct wdb_slowlog *slowlog;
    struct wdb_slice argument = wdb_slice_str("x");
    REQUIRE_EQ(wdb_slowlog_new(&slowlog), 0);
    for (int i = 0; i < 5; i++) {
        add_entry(slowlog, 1, &argument, 3);
    }
    CHECK_EQ(wdb_slowlog_length(slowlog), 3);
    CHECK_STR(entries(slowlog, 2), "4:[x] 1.2.3.4:5 me;3:[x] 1.2.3.4:5 me;");
    CHECK_EQ(announced, 2);
    wdb_slowlog_reset(slowlog);
    CHECK_EQ(wdb_slowlog_length(slowlog), 0);
    add_entry(slowlog, 0, NULL, 3);
    CHECK_STR(entries(slowlog, 99), "5: 1.2.3.4:5 me;");
    add_entry(slowlog, 1, &argument, 0);
    CHECK_STR(entries(slowlog, 99), "");
    wdb_slowlog_free(slowlog);
}

/* Long arguments and many of them are cut as in Redis. */
TEST(slowlog_cuts)
{
    struct wdb_slowlog *slowlog;
    char big[300];
    struct wdb_slice arguments[40];
    REQUIRE_EQ(wdb_slowlog_new(&slowlog), 0);
    memset(big, 'A', sizeof(big));
    arguments[0] = wdb_slice(big, 128);
    arguments[1] = wdb_slice(big, 129);
    arguments[2] = wdb_slice(NULL, 0);
    add_entry(slowlog, 3, arguments, 10);
    CHECK(strstr(entries(slowlog, 1), "AAA... (1 more bytes)][] ") != NULL);
    for (int i = 0; i < 40; i++) {
        arguments[i] = wdb_slice_str("b");
    }
    add_entry(slowlog, 32, arguments, 10);
    CHECK(strstr(entries(slowlog, 1), "more") == NULL);
    add_entry(slowlog, 40, arguments, 10);
    const char *text = entries(slowlog, 1);
    CHECK(strstr(text, "[b][... (9 more arguments)] ") != NULL);
    fault_alloc_arm(1);
    add_entry(slowlog, 40, arguments, 10);
    CHECK(fault_alloc_disarm());
    CHECK_EQ(wdb_slowlog_length(slowlog), 3);
    wdb_slowlog_free(slowlog);
}

/* --- latency events ------------------------------------------------------------------ */

/* One sample a second, the higher of two; 160 are kept; reset by name. */
TEST(latency_events)
{
    struct wdb_latency *latency;
    struct wdb_latency_event event;
    REQUIRE_EQ(wdb_latency_new(&latency), 0);
    CHECK(!wdb_latency_event(latency, 0, &event));
    wdb_latency_add(latency, "command", 100, 5);
    wdb_latency_add(latency, "command", 100, 9);
    wdb_latency_add(latency, "command", 100, 7);
    wdb_latency_add(latency, "expire-cycle", 101, 1);
    CHECK_EQ(wdb_latency_count(latency), 2);
    REQUIRE(wdb_latency_find(latency, wdb_slice_str("command"), &event));
    CHECK_EQ(event.count, 1);
    CHECK_EQ(event.samples[0].latency_ms, 9);
    CHECK_EQ(event.max_ms, 9);
    for (uint64_t i = 0; i < 200; i++) {
        wdb_latency_add(latency, "command", 200 + i, i);
    }
    REQUIRE(wdb_latency_event(latency, 0, &event));
    CHECK_EQ(event.count, WDB_LATENCY_SAMPLES);
    CHECK_EQ(event.samples[0].latency_ms, 40);
    CHECK_EQ(event.samples[WDB_LATENCY_SAMPLES - 1].latency_ms, 199);
    CHECK_EQ(wdb_latency_reset(latency, wdb_slice_str("nothing")), 0);
    CHECK_EQ(wdb_latency_reset(latency, wdb_slice_str("command")), 1);
    CHECK_EQ(wdb_latency_count(latency), 1);
    for (int i = 0; i < 200; i++) {
        char name[32];
        snprintf(name, sizeof(name), "event%d", i);
        wdb_latency_add(latency, name, 1, 1);
    }
    CHECK_EQ(wdb_latency_count(latency), WDB_LATENCY_EVENTS_MAX);
    CHECK_EQ(wdb_latency_reset(latency, wdb_slice(NULL, 0)),
             WDB_LATENCY_EVENTS_MAX);
    wdb_latency_free(latency);
}
