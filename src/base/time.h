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

#endif
