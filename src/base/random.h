/* random.h - a small seeded generator (xoshiro256**, Blackman and Vigna 2018);
 * not for secrets: those come from env. */
#ifndef WDB_BASE_RANDOM_H
#define WDB_BASE_RANDOM_H

#include <stdint.h>

struct wdb_random {
    uint64_t s[4];
};

void wdb_random_seed(struct wdb_random *r, uint64_t seed);
uint64_t wdb_random_next(struct wdb_random *r);
/* Uniform in [0, bound); bound > 0. */
uint64_t wdb_random_below(struct wdb_random *r, uint64_t bound);

#endif
