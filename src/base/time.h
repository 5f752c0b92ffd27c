/* time.h - units of time; clocks are in env/. */
#ifndef WDB_BASE_TIME_H
#define WDB_BASE_TIME_H

#include <stdint.h>

#define WDB_US_PER_MS ((int64_t)1000)
#define WDB_MS_PER_S  ((int64_t)1000)
#define WDB_US_PER_S  ((int64_t)1000000)
#define WDB_NS_PER_US ((int64_t)1000)
#define WDB_NS_PER_MS ((int64_t)1000000)
#define WDB_NS_PER_S  ((int64_t)1000000000)

/* So many milliseconds from now, or UINT64_MAX if that is beyond all time. */
static inline uint64_t wdb_deadline_ns(uint64_t now_ns, uint64_t timeout_ms)
{
    const uint64_t left_ms = (UINT64_MAX - now_ns) / (uint64_t)WDB_NS_PER_MS;
    return timeout_ms < left_ms ? now_ns + timeout_ms * (uint64_t)WDB_NS_PER_MS
                                : UINT64_MAX;
}

#endif
