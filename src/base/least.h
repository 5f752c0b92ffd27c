/* least.h - the smaller of two sizes, positions or times. */
#ifndef WDB_BASE_LEAST_H
#define WDB_BASE_LEAST_H

#include <stdint.h>

static inline uint64_t wdb_least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

#endif
