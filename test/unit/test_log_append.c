/* test_log_append.c - append, flush, resolve, roll, close and open again, on
 * the real environment and on the simulated one. */
#include "lib/log_place.h"

static void write_and_read(struct log_place place)
{
    struct wdb_log_options options;
    struct wdb_log *log;
    struct wdb_log_place a, b, c;
    log_fixture_options(&options, place.env, place.dir);
    REQUIRE_EQ(wdb_log_open(&options, &log, NULL), 0);
    CHECK_EQ(wdb_log_index_last(log), 0);
    CHECK(!wdb_log_dirty(log));
    REQUIRE_EQ(log_fixture_append(log, 1, 1, 100, &a), 0);
    REQUIRE_EQ(log_fixture_append(log, 2, 2, 100, &b), 0);
    CHECK_EQ(a.index, 1);
    CHECK_EQ(a.place, 0);
    CHECK_EQ(b.index, 1);
    CHECK_EQ(b.place, 1);
    CHECK(wdb_log_dirty(log));
    CHECK_EQ(wdb_log_appended(log), 0);
    CHECK(log_fixture_resolves(log, a.position, 1, 100));
    CHECK(log_fixture_resolves(log, b.position, 2, 100));
    CHECK_EQ(wdb_log_flush(log), 0);
    CHECK(!wdb_log_dirty(log));
    CHECK_EQ(wdb_log_appended(log), 1);
    CHECK_EQ(wdb_log_committed(log), 1);
    CHECK_EQ(wdb_log_durable(log), 0);
    REQUIRE_EQ(log_fixture_append(log, 4, 1, 5000, &c), 0);
    CHECK_EQ(c.index, 2);
    CHECK(log_fixture_resolves(log, a.position, 1, 100));
    CHECK(log_fixture_resolves(log, c.position, 4, 5000));
    CHECK_EQ(wdb_log_sync(log), 0);
    CHECK_EQ(wdb_log_durable(log), 2);
    CHECK(log_fixture_resolves(log, c.position, 4, 5000));
    wdb_log_close(log);

    REQUIRE_EQ(wdb_log_open(&options, &log, NULL), 0);
    CHECK_EQ(wdb_log_index_last(log), 2);
    CHECK_EQ(wdb_log_durable(log), 2);
    struct log_fixture_found found = log_fixture_scan(log);
    CHECK_EQ(found.error, 0);
    CHECK_EQ(found.count, 4);
    CHECK(found.in_order);
    wdb_log_close(log);
    log_place_leave(&place);
}

/* What was appended is readable at once, after the flush, after the sync, and
 * when the log was opened again. */
TEST(log_write_and_read_posix)
{
    write_and_read(log_place_posix());
}
TEST(log_write_and_read_sim)
{
    write_and_read(log_place_sim());
}

static void many_segments(struct log_place place, enum wdb_sync_policy policy)
{
    enum {
        COUNT = 3000,
        SIZE = 300
    };
    struct wdb_log_options options;
    struct wdb_log *log;
    static struct wdb_log_place places[COUNT];
    log_fixture_options(&options, place.env, place.dir);
    options.sync_policy = policy;
    REQUIRE_EQ(wdb_log_open(&options, &log, NULL), 0);
    for (int i = 0; i < COUNT; i++) {
        REQUIRE_EQ(log_fixture_append(log, (uint64_t)i, 1, SIZE, &places[i]),
                   0);
        if (i % 7 == 0) {
            REQUIRE_EQ(wdb_log_flush(log), 0);
        }
        if (i % 50 == 0) {
            wdb_log_step(log);
        }
    }
    for (int i = 0; i < COUNT; i++) {
        CHECK(log_fixture_resolves(log, places[i].position, (uint64_t)i, SIZE));
    }
    struct wdb_log_stats stats;
    wdb_log_stats(log, &stats);
    CHECK(stats.segment_count > 10);
    CHECK_EQ(stats.batch_count, COUNT);
    wdb_log_close(log);
    for (int round = 0; round < 3; round++) {
        REQUIRE_EQ(wdb_log_open(&options, &log, NULL), 0);
        struct log_fixture_found found = log_fixture_scan(log);
        CHECK_EQ(found.error, 0);
        CHECK_EQ(found.count, COUNT);
        CHECK(found.in_order);
        wdb_log_stats(log, &stats);
        wdb_log_close(log);
    }
    log_place_leave(&place);
}

/* Segments follow each other without a gap, under each policy. */
TEST(log_many_segments_posix)
{
    many_segments(log_place_posix(), WDB_SYNC_INTERVAL);
}
TEST(log_many_segments_sim_never)
{
    many_segments(log_place_sim(), WDB_SYNC_NEVER);
}
TEST(log_many_segments_sim_interval)
{
    many_segments(log_place_sim(), WDB_SYNC_INTERVAL);
}
TEST(log_many_segments_sim_always)
{
    many_segments(log_place_sim(), WDB_SYNC_ALWAYS);
}

/* A batch that is larger than a segment gets one of its own. */
TEST(log_batch_larger_than_a_segment)
{
    struct log_place place = log_place_sim();
    struct wdb_log_options options;
    struct wdb_log *log;
    struct wdb_log_place big, small, second;
    log_fixture_options(&options, place.env, place.dir);
    options.batch_size_max = (size_t)1 << 20;
    REQUIRE_EQ(wdb_log_open(&options, &log, NULL), 0);
    REQUIRE_EQ(log_fixture_append(log, 1, 1, 700000, &big), 0);
    CHECK_EQ(log_fixture_append(log, 2, 1, 1100000, NULL), WALKERDB_ETOOBIG);
    REQUIRE_EQ(log_fixture_append(log, 2, 1, 10, &small), 0);
    REQUIRE_EQ(log_fixture_append(log, 3, 1, 900000, &second), 0);
    CHECK(log_fixture_resolves(log, big.position, 1, 700000));
    CHECK(log_fixture_resolves(log, second.position, 3, 900000));
    CHECK_EQ(wdb_log_sync(log), 0);
    while (wdb_log_step(log)) {
    }
    CHECK(log_fixture_resolves(log, big.position, 1, 700000));
    CHECK(log_fixture_resolves(log, small.position, 2, 10));
    CHECK(log_fixture_resolves(log, second.position, 3, 900000));
    wdb_log_close(log);
    REQUIRE_EQ(wdb_log_open(&options, &log, NULL), 0);
    struct log_fixture_found found = log_fixture_scan(log);
    CHECK_EQ(found.count, 3);
    CHECK(found.in_order);
    wdb_log_close(log);
    log_place_leave(&place);
}
