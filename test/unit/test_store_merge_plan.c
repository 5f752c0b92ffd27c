/* test_store_merge_plan.c - which runs of segments are chosen. */
#include "lib/test.h"
#include "store/merge_plan.h"

#define NO_LIMIT UINT64_MAX

static const struct wdb_merge_limits *limits(double ratio, uint64_t size_max,
                                             uint64_t cost_max)
{
    static struct wdb_merge_limits out;
    out = (struct wdb_merge_limits){.ratio = ratio,
                                    .size_max = size_max,
                                    .cost_max = cost_max,
                                    .small_size = 10,
                                    .small_count = 3};
    return &out;
}

static struct wdb_merge_candidate segment(uint64_t size, uint64_t dead)
{
    return (struct wdb_merge_candidate){.eligible = true,
                                        .size = size,
                                        .dead = dead};
}

/* The one with most garbage, and neighbours that have half of the ratio. */
TEST(merge_plan_takes_neighbours_along)
{
    const struct wdb_merge_candidate list[] = {
        segment(100, 10), segment(100, 30), segment(100, 60), segment(100, 26),
        segment(100, 0)};
    struct wdb_merge_run run =
        wdb_merge_plan(list, 5, limits(0.5, 800, NO_LIMIT));
    CHECK_EQ(run.first, 1);
    CHECK_EQ(run.count, 3);
    run = wdb_merge_plan(list, 5, limits(0.7, 800, NO_LIMIT));
    CHECK_EQ(run.count, 0);
    run = wdb_merge_plan(list, 5, limits(0.5, 200, NO_LIMIT));
    CHECK_EQ(run.first, 1);
    CHECK_EQ(run.count, 2);
}

/* No run costs more than there is space for: first fewer neighbours, then
 * another segment, then none. */
TEST(merge_plan_keeps_to_the_space)
{
    const struct wdb_merge_candidate list[] = {segment(80, 75), segment(100, 0),
                                               segment(300, 200),
                                               segment(100, 40)};
    CHECK_EQ(wdb_merge_plan_cost(&list[2]), 112);
    struct wdb_merge_run run =
        wdb_merge_plan(list, 4, limits(0.5, 800, NO_LIMIT));
    CHECK_EQ(run.first, 2);
    CHECK_EQ(run.count, 2);
    run = wdb_merge_plan(list, 4, limits(0.5, 800, 150));
    CHECK_EQ(run.first, 2);
    CHECK_EQ(run.count, 1);
    run = wdb_merge_plan(list, 4, limits(0.5, 800, 100));
    CHECK_EQ(run.first, 0);
    CHECK_EQ(run.count, 1);
    run = wdb_merge_plan(list, 4, limits(0.5, 800, 4));
    CHECK_EQ(run.count, 0);
    run = wdb_merge_plan_sweep(list, 4, 1, limits(0.5, 800, 230));
    CHECK_EQ(run.first, 1);
    CHECK_EQ(run.count, 2);
    run = wdb_merge_plan_sweep(list, 4, 1, limits(0.5, 800, 1));
    CHECK_EQ(run.count, 1);
}

/* Small neighbours in a row are worth a merge, as far as there is space. */
TEST(merge_plan_small_segments)
{
    const struct wdb_merge_candidate list[] = {
        segment(100, 0), segment(8, 0), segment(8, 0),
        segment(8, 0),   segment(8, 0), segment(100, 0)};
    struct wdb_merge_run run =
        wdb_merge_plan(list, 6, limits(0.5, 800, NO_LIMIT));
    CHECK_EQ(run.first, 1);
    CHECK_EQ(run.count, 4);
    run = wdb_merge_plan(list, 6, limits(0.5, 800, 27));
    CHECK_EQ(run.first, 1);
    CHECK_EQ(run.count, 3);
    run = wdb_merge_plan(list, 6, limits(0.5, 800, 20));
    CHECK_EQ(run.count, 0);
}
