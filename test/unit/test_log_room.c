/* test_log_room.c - what the log leaves of the disk to merges and deletes. */
#include <string.h>

#include "lib/log_place.h"
#include "lib/test.h"
#include "walkerdb.h"

#define SEGMENT_SIZE ((uint64_t)1 << 20)

static int open_with_room(struct log_place *place, uint64_t capacity,
                          struct wdb_log **out)
{
    struct wdb_log_options options;
    log_fixture_options(&options, place->env, place->dir);
    options.segment_size = SEGMENT_SIZE;
    options.reserve_size = SEGMENT_SIZE;
    options.leave_room = true;
    sim_disk_set_capacity(place->disk, capacity);
    return wdb_log_open(&options, out, NULL);
}

/* Append until it says no; how many. */
static uint64_t fill(struct wdb_log *log, uint64_t number)
{
    uint64_t count = 0;
    while (count < 100000 &&
           log_fixture_append(log, number + count, 1, 10000, NULL) == 0) {
        CHECK_EQ(wdb_log_sync(log), 0);
        wdb_log_step(log);
        count++;
    }
    return count;
}

static int delete (struct wdb_log *log, enum wdb_log_reserve reserve)
{
    uint8_t bytes[64];
    struct wdb_log_place where;
    const struct wdb_record record = {.kind = WDB_RECORD_DELETE,
                                      .key = wdb_slice_str("k1")};
    wdb_record_encode(&record, bytes);
    int rc = wdb_log_append(log, bytes, wdb_record_size(&record), 1, reserve,
                            &where);
    return rc == 0 ? wdb_log_flush(log) : rc;
}

/* Writes are refused while a segment and a half are still free; a merge may
 * take that, and the log does not. */
TEST(log_room_is_left_for_a_merge)
{
    struct log_place place = log_place_sim();
    struct wdb_log *log;
    struct wdb_segment *merged;
    REQUIRE_EQ(open_with_room(&place, 32 * SEGMENT_SIZE, &log), 0);
    CHECK_EQ(wdb_log_segment_size(log), SEGMENT_SIZE);
    CHECK(wdb_log_room(log) < 31 * SEGMENT_SIZE); /* less the next segment */
    const uint64_t count = fill(log, 1);
    CHECK(count > 2800 && count < 3100); /* of 29 or 30 segments */
    CHECK(wdb_log_is_full(log));
    CHECK(wdb_log_room(log) > SEGMENT_SIZE * 3 / 2 - 65536);
    REQUIRE_EQ(wdb_log_segment_create(log, SEGMENT_SIZE, &merged), 0);
    sim_env_advance_ms(place.sim, 1000);
    wdb_log_step(log);
    CHECK(wdb_log_is_full(log));
    wdb_log_segment_discard(log, merged);
    sim_disk_set_capacity(place.disk, 64 * SEGMENT_SIZE);
    sim_env_advance_ms(place.sim, 1000);
    wdb_log_step(log);
    CHECK(!wdb_log_is_full(log));
    CHECK_EQ(log_fixture_append(log, count + 1, 1, 10000, NULL), 0);
    wdb_log_close(log);
    log_place_leave(&place);
}

/* Deletes have a part of the last segment, and leave the end of it to the
 * deletion of whole databases. */
TEST(log_room_reserves)
{
    struct log_place place = log_place_sim();
    struct wdb_log *log;
    uint64_t deletes = 0, last = 0;
    REQUIRE_EQ(open_with_room(&place, 16 * SEGMENT_SIZE, &log), 0);
    fill(log, 1);
    while (deletes < 100000 && delete (log, WDB_RESERVE_DELETES) == 0) {
        deletes++;
    }
    CHECK(deletes > 500 && deletes < 5000);
    CHECK_EQ(delete (log, WDB_RESERVE_DELETES), WALKERDB_ENOSPACE);
    while (last < 100000 && delete (log, WDB_RESERVE_LAST) == 0) {
        last++;
    }
    CHECK(last > 50 && last < deletes);
    CHECK_EQ(delete (log, WDB_RESERVE_LAST), WALKERDB_ENOSPACE);
    wdb_log_close(log);
    REQUIRE_EQ(open_with_room(&place, 16 * SEGMENT_SIZE, &log), 0);
    CHECK_EQ(log_fixture_append(log, 1, 1, 10000, NULL), WALKERDB_ENOSPACE);
    wdb_log_close(log);
    log_place_leave(&place);
}

/* On a small disk segments are small: one sixteenth of what there is. */
TEST(log_room_small_disk)
{
    struct log_place place = log_place_sim();
    struct wdb_log *log;
    REQUIRE_EQ(open_with_room(&place, 5 * SEGMENT_SIZE, &log), 0);
    CHECK_EQ(wdb_log_segment_size(log), SEGMENT_SIZE / 4);
    const uint64_t count = fill(log, 1);
    CHECK(count > 400);
    wdb_log_close(log);
    /* What the log itself has counts as space. */
    REQUIRE_EQ(open_with_room(&place, 5 * SEGMENT_SIZE, &log), 0);
    CHECK_EQ(wdb_log_segment_size(log), SEGMENT_SIZE / 4);
    wdb_log_close(log);
    REQUIRE_EQ(open_with_room(&place, 0, &log), 0);
    CHECK_EQ(wdb_log_segment_size(log), SEGMENT_SIZE);
    wdb_log_close(log);
    log_place_leave(&place);
}
