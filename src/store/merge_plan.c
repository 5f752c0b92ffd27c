/* merge_plan.c - chooses what to merge. */
#include "store/merge_plan.h"

static double ratio_of(const struct wdb_merge_candidate *c)
{
    return c->size == 0 ? 1.0 : (double)c->dead / (double)c->size;
}

/* Worth taking along when a neighbour is merged. */
static bool joins(const struct wdb_merge_candidate *c,
                  const struct wdb_merge_limits *limits)
{
    return c->eligible &&
           (ratio_of(c) >= limits->ratio / 2 || c->size <= limits->small_size);
}

static struct wdb_merge_run extend(const struct wdb_merge_candidate *candidates,
                                   size_t count, size_t seed,
                                   const struct wdb_merge_limits *limits)
{
    size_t first = seed, end = seed + 1;
    uint64_t size = candidates[seed].size;
    for (;;) {
        const bool left = first > 0 && joins(&candidates[first - 1], limits) &&
                          size + candidates[first - 1].size <= limits->size_max;
        const bool right = end < count && joins(&candidates[end], limits) &&
                           size + candidates[end].size <= limits->size_max;
        if (left) {
            size += candidates[--first].size;
        } else if (right) {
            size += candidates[end++].size;
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
    uint64_t size = 0;
    for (size_t i = 0; i <= count; i++) {
        const bool small = i < count && candidates[i].eligible &&
                           candidates[i].size <= limits->small_size &&
                           size + candidates[i].size <= limits->size_max;
        if (small) {
            size += candidates[i].size;
            continue;
        }
        if (i - first >= limits->small_count) {
            return (struct wdb_merge_run){first, i - first};
        }
        first = i + 1;
        size = 0;
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
    uint64_t size = 0;
    while (end < count && candidates[end].eligible &&
           (end == first || size + candidates[end].size <= limits->size_max)) {
        size += candidates[end++].size;
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
