/*
 * check_append.h - are transactions over lists strictly serializable?
 *
 * A list is a string that grows by "a12,", so whoever reads it sees every
 * append to it in their order. From that follows who came before whom: writers
 * of neighbouring elements (ww), who wrote what somebody saw (wr), who saw what
 * somebody then changed (rw), and who had ended before another began. A cycle
 * among transactions is a violation; its kind is named after Adya: G0 of ww
 * alone, G1c with wr, G2 with rw, and "-realtime" if it needs the clock.
 * Besides: reads of what was refused (G1a), of the middle of a transaction
 * (G1b), of unknown, doubled or reordered elements, and transactions that do
 * not see their own appends (internal). A lost update shows as one of these.
 */
#ifndef WDB_TEST_SIM_CHECK_APPEND_H
#define WDB_TEST_SIM_CHECK_APPEND_H

#include "sim/history.h"

/* Judge all keys that appends use, as one: adds 1 to passed or failed, nothing
 * if there are none. Adds texts (elements) to the history. */
void check_append(struct history *history, struct history_report *report);

#endif
