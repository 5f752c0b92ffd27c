/* merge_plan.c - chooses what to merge. */
#include "store/merge_plan.h"

static double ratio_of(const struct wdb_merge_candidate *c)
{
    return c->size == 0 ? 1.0 : (double)c->dead / (double)c->size;
}

uint64_t wdb_merge_plan_cost(const struct wdb_merge_candidate *candidate)
{
    const uint64_t live = candidate->size - candidate->dead;
    return live + live / 8;
}

/* Worth taking along when a neighbour is merged. */
static bool joins(const struct wdb_merge_candidate *c,
                  const struct wdb_merge_limits *limits)
{
    return c->eligible &&
           (ratio_of(c) >= limits->ratio / 2 || c->size <= limits->small_size);
}

/* Of a run that is being put together. */
struct sum {
    uint64_t size, cost;
};

static bool sum_fits(const struct sum *sum, const struct wdb_merge_candidate *c,
                     const struct wdb_merge_limits *limits)
{
    return sum->size + c->size <= limits->size_max &&
           sum->cost + wdb_merge_plan_cost(c) <= limits->cost_max;
}

static void sum_add(struct sum *sum, const struct wdb_merge_candidate *c)
{
    sum->size += c->size;
    sum->cost += wdb_merge_plan_cost(c);
}

static struct wdb_merge_run extend(const struct wdb_merge_candidate *candidates,
                                   size_t count, size_t seed,
                                   const struct wdb_merge_limits *limits)
{
    size_t first = seed, end = seed + 1;
    struct sum sum = {candidates[seed].size,
                      wdb_merge_plan_cost(&candidates[seed])};
    for (;;) {
        const bool left = first > 0 && joins(&candidates[first - 1], limits) &&
                          sum_fits(&sum, &candidates[first - 1], limits);
        const bool right = end < count && joins(&candidates[end], limits) &&
                           sum_fits(&sum, &candidates[end], limits);
        if (left) {
            sum_add(&sum, &candidates[--first]);
        } else if (right) {
            sum_add(&sum, &candidates[end++]);
        } else {
            return (struct wdb_merge_run){first, end - first};
        }
    }
}

/* The first row of enough small neighbours. */
static struct wdb_merge_run find_small(
    const struct wdb_merge_candidate *candidates, size_t count,
    const struct wdb_merge_limits *limits)
{
    size_t first = 0;
    struct sum sum = {0, 0};
    for (size_t i = 0; i <= count; i++) {
        const bool small = i < count && candidates[i].eligible &&
                           candidates[i].size <= limits->small_size &&
                           sum_fits(&sum, &candidates[i], limits);
        if (small) {
            sum_add(&sum, &candidates[i]);
            continue;
        }
        if (i - first >= limits->small_count) {
            return (struct wdb_merge_run){first, i - first};
        }
        first = i + 1;
        sum = (struct sum){0, 0};
    }
    return (struct wdb_merge_run){0, 0};
}

struct wdb_merge_run wdb_merge_plan(
    const struct wdb_merge_candidate *candidates, size_t count,
    const struct wdb_merge_limits *limits)
{
    size_t seed = count;
    for (size_t i = 0; i < count; i++) {
        const struct wdb_merge_candidate *c = &candidates[i];
        if (c->eligible && ratio_of(c) >= limits->ratio &&
            wdb_merge_plan_cost(c) <= limits->cost_max &&
            (seed == count || c->dead > candidates[seed].dead)) {
            seed = i;
        }
    }
    return seed == count ? find_small(candidates, count, limits)
                         : extend(candidates, count, seed, limits);
}

struct wdb_merge_run wdb_merge_plan_sweep(
    const struct wdb_merge_candidate *candidates, size_t count, size_t first,
    const struct wdb_merge_limits *limits)
{
    size_t end = first;
    struct sum sum = {0, 0};
    while (end < count && candidates[end].eligible &&
           (end == first || sum_fits(&sum, &candidates[end], limits))) {
        sum_add(&sum, &candidates[end++]);
    }
    return (struct wdb_merge_run){first, end - first};
}

bool wdb_merge_plan_wants_sweep(const struct wdb_merge_candidate *candidates,
                                size_t count, uint64_t known, uint64_t size_min)
{
    uint64_t tombstones = 0, live = 0;
    for (size_t i = 0; i < count && candidates[i].eligible; i++) {
        const struct wdb_merge_candidate *c = &candidates[i];
        const uint64_t other = c->dead + c->tombstones;
        tombstones += c->tombstones;
        live += c->size > other ? c->size - other : 0;
    }
    return tombstones > known && tombstones - known > size_min &&
           tombstones - known > live / 10;
}
