/*
 * check_linear.h - is each key's history linearizable?
 *
 * For each key that appends do not use: is there an order of its operations,
 * each at a moment between its start and its end, that explains every result?
 * The search is Wing and Gong's with Lowe's cache, as in porcupine. What cannot
 * end, because it is unknown, may come at any time after its start, or never.
 *
 * A value with a time to live may be found absent at any time (leaders' clocks
 * jump); from then on it is.
 *
 * Reads of the levels `leader` and `stale` are not part of it: they must have
 * seen what somebody wrote, before they ended, and not what was refused.
 */
#ifndef WDB_TEST_SIM_CHECK_LINEAR_H
#define WDB_TEST_SIM_CHECK_LINEAR_H

#include "sim/history.h"

/* Steps of a search that take about a second. */
#define CHECK_LINEAR_STEPS_A_SECOND UINT64_C(5000000)

/* Judge all keys; a key whose search takes more than steps_max is undecided.
 * Adds texts (sums of counters) to the history. */
void check_linear(struct history *history, uint64_t steps_max,
                  struct history_report *report);

#endif
