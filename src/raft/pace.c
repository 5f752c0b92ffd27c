/* pace.c - the controller of transfers; see pace.h. */
#include "raft/pace.h"

#include "base/time.h"

#define ADJUST_NS ((uint64_t)50 * (uint64_t)WDB_NS_PER_MS)
#define IDLE_NS   ((uint64_t)300 * (uint64_t)WDB_NS_PER_MS)
/* Until it is known how long a commit takes; and less is not worth a delay. */
#define USUAL_NS_MIN ((uint64_t)1 * (uint64_t)WDB_NS_PER_MS)

void wdb_pace_submitted(struct wdb_pace *pace, uint64_t index, uint64_t at_ns)
{
    pace->submitted_ns = at_ns;
    if (pace->sample_index == 0) {
        pace->sample_index = index;
        pace->sample_ns = at_ns;
    }
}

void wdb_pace_committed(struct wdb_pace *pace, uint64_t index, uint64_t at_ns,
                        bool transfers)
{
    if (pace->sample_index == 0 || index < pace->sample_index) {
        return;
    }
    /* It rises fast and falls slowly: near what the slowest tenth takes. */
    const uint64_t took = at_ns - pace->sample_ns;
    uint64_t *slow = transfers ? &pace->now_ns : &pace->usual_ns;
    if (took > *slow) {
        *slow += (took - *slow) / 4;
    } else {
        *slow -= (*slow - took) / 32;
    }
    pace->sample_index = 0;
}

static uint64_t usual(const struct wdb_pace *pace)
{
    return pace->usual_ns < USUAL_NS_MIN ? USUAL_NS_MIN : pace->usual_ns;
}

void wdb_pace_ended(struct wdb_pace *pace, bool too_slow)
{
    if (!too_slow) {
        pace->urgency = 0;
    } else if (pace->urgency < WDB_PACE_URGENCY_MAX) {
        pace->urgency++;
    }
}

uint64_t wdb_pace_rate(struct wdb_pace *pace, uint64_t at_ns)
{
    /* An entry that is still not committed counts for what it took so far. */
    const uint64_t waits =
        pace->sample_index != 0 ? at_ns - pace->sample_ns : 0;
    const uint64_t takes = waits > pace->now_ns ? waits : pace->now_ns;
    if (at_ns - pace->submitted_ns > IDLE_NS && pace->sample_index == 0) {
        pace->now_ns = 0;
        pace->rate = 0;
        return 0;
    }
    if (at_ns - pace->adjusted_ns < ADJUST_NS) {
        return pace->rate;
    }
    pace->adjusted_ns = at_ns;
    const uint64_t least = WDB_PACE_RATE_MIN << pace->urgency;
    if (pace->rate == 0) {
        pace->rate = WDB_PACE_RATE_FIRST;
    } else if (takes > usual(pace) + usual(pace) / 2) {
        pace->rate /= 2;
    } else {
        pace->rate += WDB_PACE_RATE_STEP;
    }
    if (pace->rate < least) {
        pace->rate = least;
    }
    return pace->rate;
}
