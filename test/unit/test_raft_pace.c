/* test_raft_pace.c - the rate of snapshots beside clients' writes. */
#include "base/time.h"
#include "lib/test.h"
#include "raft/pace.h"

#define MS ((uint64_t)WDB_NS_PER_MS)

/* One entry a millisecond, each committed after `takes` ns. */
static uint64_t write_for(struct wdb_pace *pace, uint64_t *now, int ms,
                          uint64_t takes, bool transfers)
{
    static uint64_t index;
    uint64_t rate = 0;
    for (int i = 0; i < ms; i++) {
        *now += MS;
        wdb_pace_submitted(pace, ++index, *now);
        wdb_pace_committed(pace, index, *now + takes, transfers);
        if (transfers) {
            rate = wdb_pace_rate(pace, *now);
        }
    }
    return rate;
}

/* While nobody writes there is no limit; with writers there is one at once. */
TEST(pace_idle)
{
    struct wdb_pace pace = {0};
    uint64_t now = 1000 * MS;
    CHECK_EQ(wdb_pace_rate(&pace, now), 0);
    CHECK(write_for(&pace, &now, 10, 2 * MS, true) != 0);
    now += 1000 * MS;
    CHECK_EQ(wdb_pace_rate(&pace, now), 0);
}

/* Commits as fast as before let it grow, slower ones cut it down to a minimum,
 * and it recovers. */
TEST(pace_follows_commits)
{
    struct wdb_pace pace = {0};
    uint64_t now = 1000 * MS;
    (void)write_for(&pace, &now, 500, 2 * MS, false);
    const uint64_t first = write_for(&pace, &now, 100, 2 * MS, true);
    const uint64_t grown = write_for(&pace, &now, 2000, 2 * MS, true);
    CHECK(grown > first);
    CHECK_EQ(write_for(&pace, &now, 2000, 8 * MS, true), WDB_PACE_RATE_MIN);
    CHECK(write_for(&pace, &now, 2000, 2 * MS, true) > WDB_PACE_RATE_MIN);
}

/* A commit that does not come at all is noticed while it does not. */
TEST(pace_stuck_commit)
{
    struct wdb_pace pace = {0};
    uint64_t now = 1000 * MS;
    (void)write_for(&pace, &now, 500, 2 * MS, false);
    (void)write_for(&pace, &now, 1000, 2 * MS, true);
    wdb_pace_submitted(&pace, 1000000, now);
    uint64_t rate = 0;
    for (int i = 0; i < 1000; i++) {
        now += MS;
        rate = wdb_pace_rate(&pace, now);
    }
    CHECK_EQ(rate, WDB_PACE_RATE_MIN);
}

/* After each transfer that was too slow the least rate is twice as high, up to a
 * limit, and the usual one again after one that came through. */
TEST(pace_urgency)
{
    struct wdb_pace pace = {0};
    uint64_t now = 1000 * MS;
    (void)write_for(&pace, &now, 500, 2 * MS, false);
    (void)write_for(&pace, &now, 2000, 8 * MS, true);
    for (int i = 1; i <= 3; i++) {
        wdb_pace_ended(&pace, true);
        CHECK_EQ(write_for(&pace, &now, 1000, 8 * MS, true),
                 WDB_PACE_RATE_MIN << i);
    }
    for (int i = 0; i < 100; i++) {
        wdb_pace_ended(&pace, true);
    }
    CHECK_EQ(write_for(&pace, &now, 1000, 8 * MS, true),
             WDB_PACE_RATE_MIN << WDB_PACE_URGENCY_MAX);
    wdb_pace_ended(&pace, false);
    CHECK_EQ(write_for(&pace, &now, 3000, 8 * MS, true), WDB_PACE_RATE_MIN);
}
