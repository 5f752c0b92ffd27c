/* test_log_sync.c - when what is synced, and many threads at once. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include "lib/log_place.h"

static void open_with(struct log_place *place, struct wdb_log_options *options,
                      enum wdb_sync_policy policy, struct wdb_log **out)
{
    log_fixture_options(options, place->env, place->dir);
    options->sync_policy = policy;
    CHECK_EQ(wdb_log_open(options, out, NULL), 0);
}

static void put(struct wdb_log *log, uint64_t number, size_t size)
{
    CHECK_EQ(log_fixture_append(log, number, 1, size, NULL), 0);
    CHECK_EQ(wdb_log_flush(log), 0);
}

/* Under INTERVAL a step syncs when the time has come, and not before; the
 * limit in bytes brings it forward. */
TEST(log_sync_interval)
{
    struct log_place place = log_place_sim();
    struct wdb_log_options options;
    struct wdb_log *log;
    log_fixture_options(&options, place.env, place.dir);
    options.sync_bytes = 5000;
    REQUIRE_EQ(wdb_log_open(&options, &log, NULL), 0);
    sim_env_advance_ms(place.sim, 600);
    put(log, 1, 100);
    CHECK(!wdb_log_step(log));
    CHECK_EQ(wdb_log_durable(log), 0);
    sim_env_advance_ms(place.sim, 500);
    CHECK(wdb_log_step(log));
    CHECK_EQ(wdb_log_durable(log), 1);
    sim_env_advance_ms(place.sim, 5000);
    CHECK(!wdb_log_step(log)); /* nothing to do */
    put(log, 2, 100);
    CHECK(wdb_log_step(log)); /* long ago */
    put(log, 3, 4000);
    CHECK(!wdb_log_step(log));
    put(log, 4, 4000);
    CHECK(wdb_log_step(log));
    CHECK_EQ(wdb_log_durable(log), 4);
    wdb_log_close(log);
    log_place_leave(&place);
}

/* Under ALWAYS a step syncs whatever is written; under NEVER only what is
 * finished, so that it can be sealed. The policy may change at any time. */
TEST(log_sync_always_and_never)
{
    struct log_place place = log_place_sim();
    struct wdb_log_options options;
    struct wdb_log *log;
    open_with(&place, &options, WDB_SYNC_ALWAYS, &log);
    put(log, 1, 100);
    CHECK(wdb_log_step(log));
    CHECK_EQ(wdb_log_durable(log), 1);
    while (wdb_log_step(log)) {
    }
    CHECK_EQ(wdb_log_set_sync_policy(log, WDB_SYNC_NEVER), 0);
    put(log, 2, 100);
    sim_env_advance_ms(place.sim, 60000);
    CHECK(!wdb_log_step(log));
    CHECK_EQ(wdb_log_durable(log), 1);
    for (uint64_t i = 3; i < 16; i++) {
        put(log, i, 5000);
    }
    while (wdb_log_step(log)) {
    }
    CHECK(wdb_log_durable(log) > 10); /* the first segment */
    CHECK(wdb_log_durable(log) < 15);
    CHECK_EQ(wdb_log_sync(log), 0); /* who asks gets it */
    CHECK_EQ(wdb_log_durable(log), 15);
    wdb_log_close(log);
    log_place_leave(&place);
}

/* One sync covers all that was written before it. */
TEST(log_sync_is_shared)
{
    struct log_place place = log_place_sim();
    struct wdb_log_options options;
    struct wdb_log *log;
    struct wdb_log_stats stats;
    open_with(&place, &options, WDB_SYNC_ALWAYS, &log);
    for (uint64_t i = 1; i <= 50; i++) {
        put(log, i, 100);
    }
    CHECK(wdb_log_step(log));
    wdb_log_stats(log, &stats);
    CHECK_EQ(stats.sync_count, 1);
    CHECK_EQ(wdb_log_durable(log), 50);
    CHECK_EQ(wdb_log_sync(log), 0);
    wdb_log_stats(log, &stats);
    CHECK_EQ(stats.sync_count, 1); /* there was nothing left to sync */
    wdb_log_close(log);
    log_place_leave(&place);
}

/* Appends wait for the sync of older segments when too many are not synced;
 * the sealed ones are in the manifest. */
TEST(log_sync_bounds_unsynced_segments)
{
    struct log_place place = log_place_sim();
    struct wdb_log_options options;
    struct wdb_log *log;
    open_with(&place, &options, WDB_SYNC_NEVER, &log);
    for (uint64_t i = 1; i <= 300; i++) {
        REQUIRE_EQ(log_fixture_append(log, i, 1, 5000, NULL), 0);
    }
    struct wdb_segment **segments;
    size_t count, unsealed = 0;
    REQUIRE_EQ(wdb_log_segments(log, &segments, &count), 0);
    CHECK(count > 20);
    for (size_t i = 0; i < count; i++) {
        unsealed += !atomic_load(&segments[i]->sealed);
        wdb_segment_drop(segments[i]);
    }
    free(segments);
    CHECK(unsealed <= 5);
    wdb_log_close(log);
    log_place_leave(&place);
}

/* Zeros are written ahead of the data, never onto it. */
TEST(log_sync_prefill)
{
    struct log_place place = log_place_sim();
    struct wdb_log_options options;
    struct wdb_log *log;
    log_fixture_options(&options, place.env, place.dir);
    options.segment_size = 8 << 20;
    options.prefill = true;
    REQUIRE_EQ(wdb_log_open(&options, &log, NULL), 0);
    for (uint64_t i = 1; i <= 6000; i++) {
        REQUIRE_EQ(log_fixture_append(log, i, 1, 3000, NULL), 0);
        if (i % 20 == 0) {
            REQUIRE_EQ(wdb_log_flush(log), 0);
            wdb_log_step(log);
        }
    }
    wdb_log_close(log);
    REQUIRE_EQ(wdb_log_open(&options, &log, NULL), 0);
    struct log_fixture_found found = log_fixture_scan(log);
    CHECK_EQ(found.count, 6000);
    CHECK(found.in_order);
    wdb_log_close(log);
    log_place_leave(&place);
}

/* A sync that somebody asked for holds the due one behind it back never: who
 * sleeps until the next is due does not know of it. */
TEST(log_sync_asked_holds_nobody)
{
    struct log_place place = log_place_posix();
    struct wdb_log_options options;
    struct wdb_log_place at;
    struct wdb_log *log;
    log_fixture_options(&options, place.env, place.dir);
    options.background_thread = false;
    options.sync_policy = WDB_SYNC_ALWAYS;
    REQUIRE_EQ(wdb_log_open(&options, &log, NULL), 0);
    for (uint64_t i = 0; i < 100; i++) {
        CHECK_EQ(log_fixture_append(log, i, 1, 100, &at), 0);
    }
    CHECK_EQ(wdb_log_sync(log), 0);
    CHECK_EQ(log_fixture_append(log, 100, 1, 100, &at), 0);
    CHECK_EQ(wdb_log_flush(log), 0);
    (void)wdb_log_step(log);
    CHECK(wdb_log_durable(log) >= at.index);
    wdb_log_close(log);
    log_place_leave(&place);
}

/* --- threads --------------------------------------------------------------- */

enum {
    THREADS = 4,
    WINDOW = 64
};

struct crowd {
    struct wdb_log *log;
    _Atomic uint64_t durable_told;
    atomic_uint errors;
    uint64_t per_thread;
};

struct member {
    struct crowd *crowd;
    uint64_t first; /* number of its first record */
    pthread_t thread;
};

static void note_durable(void *context, uint64_t index)
{
    struct crowd *crowd = context;
    uint64_t seen = atomic_load(&crowd->durable_told);
    while (seen < index &&
           !atomic_compare_exchange_weak(&crowd->durable_told, &seen, index)) {
    }
}

/* Append, flush now and then, and read back what was appended lately: from
 * the file, or from memory while others write it. */
static void *run_member(void *context)
{
    struct member *member = context;
    struct crowd *crowd = member->crowd;
    struct wdb_log_place places[WINDOW];
    struct test_random random = {member->first};
    for (uint64_t i = 0; i < crowd->per_thread; i++) {
        const size_t size = 50 + (size_t)(i * 37 % 900);
        struct wdb_log_place *place = &places[i % WINDOW];
        if (log_fixture_append(crowd->log, member->first + i, 1, size, place) !=
            0) {
            atomic_fetch_add(&crowd->errors, 1);
            return NULL;
        }
        const uint64_t back = test_random_below(&random, WINDOW);
        const uint64_t j = i < back ? 0 : i - back;
        if (!log_fixture_resolves(crowd->log, places[j % WINDOW].position,
                                  member->first + j,
                                  50 + (size_t)(j * 37 % 900))) {
            atomic_fetch_add(&crowd->errors, 1);
        }
        if (i % 5 == 0) {
            if (wdb_log_flush(crowd->log) != 0 ||
                wdb_log_appended(crowd->log) < place->index) {
                atomic_fetch_add(&crowd->errors, 1);
            }
        }
        if (i % 500 == 0 && (wdb_log_sync(crowd->log) != 0 ||
                             wdb_log_durable(crowd->log) < place->index)) {
            atomic_fetch_add(&crowd->errors, 1);
        }
    }
    return NULL;
}

static int count_record(void *context, const struct wdb_record *record,
                        wdb_position position, uint64_t size)
{
    (void)record;
    (void)position;
    (void)size;
    (*(uint64_t *)context)++;
    return 0;
}

/* Records in all segments. */
static uint64_t count_records(struct wdb_log *log)
{
    struct wdb_segment **segments;
    size_t count;
    uint64_t records = 0;
    CHECK_EQ(wdb_log_segments(log, &segments, &count), 0);
    for (size_t i = 0; i < count; i++) {
        CHECK_EQ(wdb_log_scan(log, segments[i], count_record, &records, NULL),
                 0);
        wdb_segment_drop(segments[i]);
    }
    free(segments);
    return records;
}

static void crowd_on(enum wdb_sync_policy policy, bool prefill)
{
    struct log_place place = log_place_posix();
    struct wdb_log_options options;
    struct crowd crowd = {.per_thread =
                              test_number("WDB_TEST_ROUNDS", 1) * 3000};
    struct member members[THREADS];
    struct wdb_log_stats stats;
    log_fixture_options(&options, place.env, place.dir);
    options.background_thread = true;
    options.sync_policy = policy;
    options.sync_interval_ms = 20;
    options.prefill = prefill;
    options.segment_size = 256 << 10;
    options.unwritten_size_max = 100 << 10;
    options.on_durable = note_durable;
    options.context = &crowd;
    REQUIRE_EQ(wdb_log_open(&options, &crowd.log, NULL), 0);
    for (uint64_t i = 0; i < THREADS; i++) {
        members[i] = (struct member){.crowd = &crowd, .first = i * 1000000};
        REQUIRE_EQ(pthread_create(&members[i].thread, NULL, run_member,
                                  &members[i]),
                   0);
    }
    for (int i = 0; i < 20; i++) {
        wdb_log_stats(crowd.log, &stats);
        CHECK(stats.bytes_used <= stats.bytes_allocated);
        (void)count_records(crowd.log);
        usleep(1000);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(members[i].thread, NULL);
    }
    CHECK_EQ(atomic_load(&crowd.errors), 0);
    CHECK_EQ(wdb_log_sync(crowd.log), 0);
    CHECK_EQ(count_records(crowd.log), THREADS * crowd.per_thread);
    const uint64_t durable = wdb_log_durable(crowd.log);
    wdb_log_close(crowd.log);
    /* The background thread tells after it moved the watermark, so only when
     * it has ended is everything told. */
    CHECK(atomic_load(&crowd.durable_told) >= durable);
    REQUIRE_EQ(wdb_log_open(&options, &crowd.log, NULL), 0);
    CHECK_EQ(count_records(crowd.log), THREADS * crowd.per_thread);
    wdb_log_close(crowd.log);
    log_place_leave(&place);
}

/* Several threads append, flush, sync and read at once, while segments roll
 * and are sealed in the background. */
TEST(log_threads_interval)
{
    crowd_on(WDB_SYNC_INTERVAL, false);
}
TEST(log_threads_always_prefill)
{
    crowd_on(WDB_SYNC_ALWAYS, true);
}
TEST(log_threads_never)
{
    crowd_on(WDB_SYNC_NEVER, false);
}

/* Under ALWAYS the thread syncs by itself after a flush. */
TEST(log_threads_group_commit)
{
    struct log_place place = log_place_posix();
    struct wdb_log_options options;
    struct wdb_log *log;
    log_fixture_options(&options, place.env, place.dir);
    options.background_thread = true;
    options.sync_policy = WDB_SYNC_ALWAYS;
    options.segment_size = 1 << 20;
    REQUIRE_EQ(wdb_log_open(&options, &log, NULL), 0);
    for (uint64_t i = 1; i <= 50; i++) {
        put(log, i, 100);
        const uint64_t begin = test_now_ns();
        while (wdb_log_durable(log) < i &&
               test_now_ns() - begin < UINT64_C(5000000000)) {
            usleep(50);
        }
        CHECK_EQ(wdb_log_durable(log), i);
    }
    wdb_log_close(log);
    log_place_leave(&place);
}
