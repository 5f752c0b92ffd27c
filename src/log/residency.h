/*
 * residency.h - what of a segment's mapping is probably in memory.
 *
 * A read through the mapping of a page that is not in memory stops the whole
 * worker for a disk access. The system tells what is in memory (mincore), but
 * asking costs about a microsecond, so its answers are remembered: a bit per
 * page in each of two generations, the new one and the old one.
 *
 *   check:  bit in new or in old   -> resident
 *           else ask for the whole window of 256 KiB, note what is there
 *   tick:   a generation ends: old is forgotten, new becomes old
 *
 * So an answer is used for one to two intervals. The interval is one second
 * while reads meet cold pages, and doubles up to 16 s for each one in which
 * none did: a machine with memory to spare hardly ever asks. When a window is
 * asked for again, remembered answers are held against the new ones: if more
 * than a few of a hundred are outdated, memory is so short that pages go within
 * the interval, and it is halved, down to 1/16 s. An answer may be outdated all
 * the same: then the read waits for the disk, and is right.
 *
 * The clock that ends generations is shared by all segments of a log; a
 * segment follows when it is used next, so idle ones cost nothing.
 *
 * Memory: 2 bits for a page of 4 KiB (16 KiB for 256 MiB), in pieces that are
 * made when something in them is first asked for.
 *
 * Threads: any; relaxed atomics throughout, because every answer is a hint.
 */
#ifndef WDB_LOG_RESIDENCY_H
#define WDB_LOG_RESIDENCY_H

#include <stdatomic.h>

#include "env/env.h"

/* One for a log; init before the first segment. */
struct wdb_residency_clock {
    _Atomic uint64_t generation;
    _Atomic uint64_t begun_ns;    /* when this generation began */
    _Atomic uint64_t interval_ns; /* how long it lasts */
    _Atomic bool cold;            /* a read met a cold page in it */
    _Atomic uint64_t asked;       /* questions in it, and answers remembered */
    _Atomic uint64_t kept, gone;  /* that were still right, or outdated */
};
struct wdb_residency;

void wdb_residency_clock_init(struct wdb_residency_clock *clock,
                              uint64_t now_ns);
/* End the generation if it is time; true if it was. To be called about every
 * second by whatever runs in the background. */
bool wdb_residency_clock_tick(struct wdb_residency_clock *clock,
                              uint64_t now_ns);

/* For a mapping of `size` bytes, nothing known. The clock outlives it.
 * ENOMEM. */
WDB_MUST_CHECK int wdb_residency_new(struct wdb_residency_clock *clock,
                                     uint64_t size, struct wdb_residency **out);
/* NULL is fine. Nobody may be inside. */
void wdb_residency_free(struct wdb_residency *residency);
/*
 * True if the bytes [offset, offset + size) of the mapping at `map` can
 * probably be read without the disk. What lies behind the mapping's end, and
 * what cannot be asked for (no memory for the bits, or the system refuses),
 * counts as resident: the read then waits.
 */
bool wdb_residency_check(struct wdb_residency *residency, struct wdb_env *env,
                         const void *map, uint64_t offset, uint64_t size);
/* The bytes [offset, offset + size) have just been written or fetched. */
void wdb_residency_mark(struct wdb_residency *residency, uint64_t offset,
                        uint64_t size);

#endif
