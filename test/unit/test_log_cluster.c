/*
 * test_log_cluster.c - what a node of a cluster asks of its log: holding
 * batches back, the watermark's callback, Raft's base in the manifest, and
 * which entries are there to be read.
 */
#include <stdlib.h>

#include "lib/fault_alloc.h"
#include "lib/log_place.h"

struct watched {
    uint64_t appended, calls;
};

static void on_appended(void *context, uint64_t index)
{
    struct watched *watched = context;
    CHECK(index > watched->appended);
    watched->appended = index;
    watched->calls++;
}

static struct wdb_log *open_log(struct log_place *place,
                                struct watched *watched)
{
    struct wdb_log_options options;
    struct wdb_log *log = NULL;
    log_fixture_options(&options, place->env, place->dir);
    options.manual_commit = true;
    if (watched != NULL) {
        options.on_appended = on_appended;
        options.context = watched;
    }
    CHECK_EQ(wdb_log_open(&options, &log, NULL), 0);
    return log;
}

static void fill(struct wdb_log *log, uint64_t first, int count, size_t size)
{
    for (int i = 0; i < count; i++) {
        REQUIRE_EQ(log_fixture_append(log, first + (uint64_t)i, 1, size, NULL),
                   0);
        REQUIRE_EQ(wdb_log_flush(log), 0);
    }
}

/* --- hold ------------------------------------------------------------------ */

/* A log that is held takes no batch, and does nothing; entries of their own it
 * takes. The entry that was open is closed with the old term. */
TEST(log_hold_refuses_batches)
{
    struct log_place place = log_place_sim();
    struct wdb_log *log = open_log(&place, NULL);
    struct wdb_log_place out;
    struct wdb_entry_header header;
    REQUIRE(log != NULL);
    CHECK(!wdb_log_is_held(log));
    REQUIRE_EQ(log_fixture_append(log, 1, 2, 50, &out), 0);
    wdb_log_hold(log, true);
    CHECK(wdb_log_is_held(log));
    CHECK_EQ(log_fixture_append(log, 3, 1, 50, &out), WALKERDB_ENOTLEADER);
    CHECK_EQ(wdb_log_index_last(log), 1);
    CHECK_EQ(wdb_log_admit(log, 100), 0);
    const struct wdb_entry_header barrier = {.type = WDB_ENTRY_BARRIER};
    REQUIRE_EQ(wdb_log_append_entry(log, &barrier, NULL, &out), 0);
    CHECK_EQ(out.index, 2);
    wdb_log_set_term(log, 7);
    wdb_log_hold(log, false);
    CHECK(!wdb_log_is_held(log));
    REQUIRE_EQ(log_fixture_append(log, 3, 1, 50, &out), 0);
    CHECK_EQ(out.index, 3);
    REQUIRE_EQ(wdb_log_flush(log), 0);
    REQUIRE_EQ(wdb_log_entry_header(log, 1, &header), 0);
    CHECK_EQ(header.term, 1);
    CHECK_EQ(header.record_count, 2);
    REQUIRE_EQ(wdb_log_entry_header(log, 3, &header), 0);
    CHECK_EQ(header.term, 7);
    const struct log_fixture_found found = log_fixture_scan(log);
    CHECK_EQ(found.count, 3);
    CHECK(found.in_order);
    wdb_log_close(log);
    log_place_leave(&place);
}

/* --- appended -------------------------------------------------------------- */

/* The callback tells every move of the watermark, once. */
TEST(log_on_appended)
{
    struct log_place place = log_place_sim();
    struct watched watched = {0};
    struct wdb_log *log = open_log(&place, &watched);
    REQUIRE(log != NULL);
    for (uint64_t i = 1; i <= 50; i++) {
        REQUIRE_EQ(log_fixture_append(log, i, 1, 1000, NULL), 0);
        CHECK_EQ(watched.calls, i - 1);
        REQUIRE_EQ(i % 2 == 0 ? wdb_log_flush(log) : wdb_log_sync(log), 0);
        CHECK_EQ(watched.calls, i);
        CHECK_EQ(watched.appended, wdb_log_appended(log));
        REQUIRE_EQ(wdb_log_flush(log), 0);
        CHECK_EQ(watched.calls, i);
    }
    wdb_log_close(log);
    log_place_leave(&place);
}

/* --- base ------------------------------------------------------------------ */

static void expect_base(const struct wdb_log *log, const char *text,
                        bool cluster)
{
    const struct wdb_slice base = wdb_log_base(log);
    CHECK(wdb_slice_equal(base, wdb_slice(text, strlen(text))));
    CHECK_EQ(wdb_log_is_cluster(log), cluster);
}

static int set_base(struct wdb_log *log, bool cluster, const char *text,
                    uint64_t retained)
{
    return wdb_log_set_base(log, cluster, wdb_slice(text, strlen(text)),
                            retained);
}

/* What was set is there after a power cut, with the lower bound of what is
 * kept; other changes of the manifest carry it along. */
TEST(log_base_is_durable)
{
    struct log_place place = log_place_sim();
    struct wdb_log *log = open_log(&place, NULL);
    REQUIRE(log != NULL);
    expect_base(log, "", false);
    CHECK_EQ(wdb_log_retained(log), 0);
    fill(log, 1, 30, 500);
    REQUIRE_EQ(set_base(log, true, "the first", 5), 0);
    expect_base(log, "the first", true);
    CHECK_EQ(wdb_log_retained(log), 5);
    const struct wdb_slice base = wdb_log_base(log);
    fill(log, 31, 300, 1000); /* through some segments */
    while (wdb_log_step(log)) {
    }
    CHECK(wdb_log_base(log).data == base.data);
    wdb_log_set_retained(log, 20); /* not durable by itself */
    REQUIRE_EQ(wdb_log_sync(log), 0);
    wdb_log_abandon(log);
    log_place_crash(&place, SIM_CRASH_REORDER_512, 1);

    log = open_log(&place, NULL);
    REQUIRE(log != NULL);
    expect_base(log, "the first", true);
    CHECK(wdb_log_retained(log) >= 5 && wdb_log_retained(log) <= 20);
    wdb_log_set_retained(log, 60);
    /* Never lowered. */
    REQUIRE_EQ(set_base(log, true, "the second one is longer", 40), 0);
    CHECK_EQ(wdb_log_retained(log), 60);
    wdb_log_abandon(log);
    log_place_crash(&place, SIM_CRASH_REORDER_512, 2);

    log = open_log(&place, NULL);
    REQUIRE(log != NULL);
    expect_base(log, "the second one is longer", true);
    CHECK_EQ(wdb_log_retained(log), 60);
    REQUIRE_EQ(set_base(log, false, "", 0), 0);
    expect_base(log, "", false);
    wdb_log_close(log);
    log = open_log(&place, NULL);
    REQUIRE(log != NULL);
    expect_base(log, "", false);
    CHECK_EQ(wdb_log_retained(log), 60);
    wdb_log_close(log);
    log_place_leave(&place);
}

/* A base that could not be stored is not there, in memory either, nor is the
 * bound that it was to raise. */
TEST(log_base_fails_whole)
{
    struct log_place place = log_place_sim();
    struct wdb_log *log = open_log(&place, NULL);
    REQUIRE(log != NULL);
    fill(log, 1, 3, 50);
    REQUIRE_EQ(set_base(log, true, "old", 1), 0);
    for (uint64_t nth = 1; nth <= 2; nth++) {
        sim_env_fail(place.sim,
                     (struct sim_fault){.op = nth == 1 ? SIM_OP_CREATE
                                                       : SIM_OP_WRITE,
                                        .nth = 1,
                                        .error = WALKERDB_ENOSPACE});
        CHECK_EQ(set_base(log, false, "new", 3), WALKERDB_ENOSPACE);
        sim_env_clear_faults(place.sim);
        expect_base(log, "old", true);
        CHECK_EQ(wdb_log_retained(log), 1);
    }
    uint64_t nth = 1;
    for (bool failed = true; failed; nth++) {
        fault_alloc_arm(nth);
        const int rc = set_base(log, false, "new", 3);
        failed = fault_alloc_disarm();
        CHECK_EQ(rc, failed ? WALKERDB_ENOMEM : 0);
        expect_base(log, failed ? "old" : "new", failed);
        CHECK_EQ(wdb_log_retained(log), failed ? 1 : 3);
    }
    CHECK(nth > 3);
    /* What is not known to be either poisons the log. */
    sim_env_fail(place.sim, (struct sim_fault){.op = SIM_OP_SYNC_DIR,
                                               .nth = 1,
                                               .error = WALKERDB_EIO});
    CHECK_EQ(set_base(log, true, "never", 3), WALKERDB_EIO);
    CHECK_EQ(wdb_log_failure(log), WALKERDB_EIO);
    wdb_log_close(log);
    log_place_leave(&place);
}

/* --- reading --------------------------------------------------------------- */

/* The header alone is what the whole entry has. */
TEST(log_entry_header)
{
    struct log_place place = log_place_sim();
    struct wdb_log *log = open_log(&place, NULL);
    struct wdb_entry_header header, entry;
    REQUIRE(log != NULL);
    CHECK_EQ(wdb_log_entry_header(log, 0, &header), WALKERDB_ENOTFOUND);
    CHECK_EQ(wdb_log_entry_header(log, 1, &header), WALKERDB_ENOTFOUND);
    fill(log, 1, 200, 900);
    for (uint64_t i = 1; i <= 200; i++) {
        struct wdb_segment *segment;
        const uint8_t *payload;
        REQUIRE_EQ(wdb_log_entry_header(log, i, &header), 0);
        REQUIRE_EQ(wdb_log_entry(log, i, &entry, &payload, &segment), 0);
        wdb_segment_drop(segment);
        CHECK_MEM(&header, sizeof(header), &entry, sizeof(entry));
    }
    CHECK_EQ(wdb_log_entry_header(log, 201, &header), WALKERDB_ENOTFOUND);
    wdb_log_close(log);
    log_place_leave(&place);
}

/* Take the segments before this one out of the order, as a merge that found
 * nothing but garbage in them. */
static void give_up(struct wdb_log *log, size_t first, size_t count)
{
    struct wdb_segment **segments;
    size_t all;
    REQUIRE_EQ(wdb_log_segments(log, &segments, &all), 0);
    REQUIRE(first + count <= all);
    REQUIRE_EQ(wdb_log_replace(log, segments + first, count, NULL, 0), 0);
    for (size_t i = first; i < first + count; i++) {
        wdb_log_segment_retire(log, segments[i]);
    }
    for (size_t i = 0; i < all; i++) {
        wdb_segment_drop(segments[i]);
    }
    free(segments);
}

/* The first index from which on everything can be read, whatever merge took,
 * in the middle, too. */
TEST(log_index_first)
{
    struct log_place place = log_place_sim();
    struct wdb_log *log = open_log(&place, NULL);
    struct wdb_entry_header header;
    REQUIRE(log != NULL);
    CHECK_EQ(wdb_log_index_first(log), 1);
    for (uint64_t i = 0; i < 5; i++) {
        fill(log, i * 10 + 1, 10, 100);
        CHECK_EQ(wdb_log_index_first(log), 1);
        REQUIRE_EQ(wdb_log_roll(log), 0);
        CHECK_EQ(wdb_log_index_first(log), 1);
    }
    give_up(log, 0, 1);
    CHECK_EQ(wdb_log_index_first(log), 11);
    give_up(log, 1, 1); /* 21 to 30: a hole */
    CHECK_EQ(wdb_log_index_first(log), 31);
    CHECK_EQ(wdb_log_entry_header(log, 25, &header), WALKERDB_ENOTFOUND);
    CHECK_EQ(wdb_log_entry_header(log, 15, &header), 0);
    REQUIRE_EQ(log_fixture_append(log, 51, 1, 10, NULL), 0);
    CHECK_EQ(wdb_log_index_first(log), 31);
    REQUIRE_EQ(wdb_log_flush(log), 0);
    for (uint64_t i = wdb_log_index_first(log); i <= 51; i++) {
        CHECK_EQ(wdb_log_entry_header(log, i, &header), 0);
    }
    REQUIRE_EQ(wdb_log_truncate(log, 45), 0);
    CHECK_EQ(wdb_log_index_first(log), 31);
    wdb_log_close(log);
    log = open_log(&place, NULL);
    REQUIRE(log != NULL);
    CHECK_EQ(wdb_log_index_first(log), 31);
    CHECK_EQ(wdb_log_index_last(log), 44);
    REQUIRE_EQ(wdb_log_roll(log), 0);
    give_up(log, 1, 2);
    CHECK_EQ(wdb_log_index_first(log), 45);
    wdb_log_close(log);
    log = open_log(&place, NULL);
    REQUIRE(log != NULL);
    CHECK_EQ(wdb_log_index_first(log), 45);
    CHECK_EQ(wdb_log_index_last(log), 44);
    wdb_log_close(log);
    log_place_leave(&place);
}
