/*
 * merge_plan.h - which neighbouring segments are worth merging. No state, no
 * I/O: numbers in, a run out.
 */
#ifndef WDB_STORE_MERGE_PLAN_H
#define WDB_STORE_MERGE_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A segment, in the order of sequences. */
struct wdb_merge_candidate {
    bool eligible; /* sealed, committed, durable, not needed by peers */
    uint64_t size; /* bytes of entries */
    uint64_t dead;
    uint64_t tombstones;
};

struct wdb_merge_limits {
    double ratio;        /* of garbage, from which on a segment is merged */
    uint64_t size_max;   /* of a run; one segment may exceed it */
    uint64_t cost_max;   /* of a run: the disk space that its outputs take */
    uint64_t small_size; /* a segment below it is cheap to take along */
    size_t small_count;  /* so many small neighbours are worth a merge */
};

struct wdb_merge_run {
    size_t first, count; /* count 0: nothing is worth it */
};

/* Disk space that the output of a segment may take, about. */
uint64_t wdb_merge_plan_cost(const struct wdb_merge_candidate *candidate);

/*
 * The best run. It begins at the eligible segment with most garbage whose ratio
 * reaches the limit and takes neighbours along that have at least half of it,
 * or are small; one small clean segment may be bridged that way. Without
 * such a segment: many small neighbours in a row.
 */
struct wdb_merge_run wdb_merge_plan(
    const struct wdb_merge_candidate *candidates, size_t count,
    const struct wdb_merge_limits *limits);
/* The run that begins at `first`, whatever that one costs, and holds as many
 * eligible neighbours as may be, for a sweep. */
struct wdb_merge_run wdb_merge_plan_sweep(
    const struct wdb_merge_candidate *candidates, size_t count, size_t first,
    const struct wdb_merge_limits *limits);
/*
 * True if kept tombstones are more than a tenth of what is live: time for a
 * sweep from the oldest segment on, which drops them. `known` is what the last
 * sweep could not drop.
 */
bool wdb_merge_plan_wants_sweep(const struct wdb_merge_candidate *candidates,
                                size_t count, uint64_t known,
                                uint64_t size_min);

#endif
