/*
 * pace.h - how fast snapshots may be sent beside clients' writes.
 *
 * While nobody writes, as fast as it goes. Otherwise the time that entries take
 * to be committed decides: if it grows beyond what it was before the transfer,
 * the rate is halved, else raised by a step (additive increase, multiplicative
 * decrease: Chiu and Jain 1989). So what is left of disks, network and
 * processors is used, and clients come first.
 *
 * A snapshot must come faster than the log behind it grows, or it comes for ever:
 * after each that was too slow the least rate is twice as high.
 *
 * Raft thread.
 */
#ifndef WDB_RAFT_PACE_H
#define WDB_RAFT_PACE_H

#include <stdbool.h>
#include <stdint.h>

#define WDB_PACE_RATE_FIRST  ((uint64_t)16 << 20) /* bytes a second */
#define WDB_PACE_RATE_MIN    ((uint64_t)8 << 20)
#define WDB_PACE_RATE_STEP   ((uint64_t)1 << 20)
#define WDB_PACE_URGENCY_MAX 10

struct wdb_pace {
    uint64_t sample_index, sample_ns; /* the entry that is being timed */
    uint64_t submitted_ns;            /* when anything was submitted last */
    uint64_t usual_ns;                /* of a commit, without transfers; 0: ? */
    uint64_t now_ns;                  /* the same, with */
    uint64_t adjusted_ns;
    uint64_t rate;    /* bytes a second; 0: no limit */
    uint32_t urgency; /* transfers that were too slow, one after the other */
};

/* Entries up to index were submitted. */
void wdb_pace_submitted(struct wdb_pace *pace, uint64_t index, uint64_t at_ns);
/* Entries up to index are committed. */
void wdb_pace_committed(struct wdb_pace *pace, uint64_t index, uint64_t at_ns,
                        bool transfers);
/* A transfer has ended: was it given up because it was too slow? */
void wdb_pace_ended(struct wdb_pace *pace, bool too_slow);
/* The rate for now: all transfers share it. To be called often while there are
 * any. */
uint64_t wdb_pace_rate(struct wdb_pace *pace, uint64_t at_ns);

#endif
