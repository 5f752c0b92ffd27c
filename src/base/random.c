/* random.c - xoshiro256**, seeded through splitmix64 as its authors advise. */
#include "base/random.h"

#include "base/assert.h"

static uint64_t rotate(uint64_t x, unsigned bits)
{
    return (x << bits) | (x >> (64 - bits));
}

/* splitmix64 (Steele, Lea and Flood, 2014): spreads a seed of few bits. */
static uint64_t split_mix(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
}

void wdb_random_seed(struct wdb_random *r, uint64_t seed)
{
    /* Never all zero: splitmix64 is a bijection of distinct states. */
    for (int i = 0; i < 4; i++) {
        r->s[i] = split_mix(&seed);
    }
}

uint64_t wdb_random_next(struct wdb_random *r)
{
    uint64_t *s = r->s;
    uint64_t result = rotate(s[1] * 5, 7) * 9;
    uint64_t t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotate(s[3], 45);
    return result;
}

/* Lemire, Fast random integer generation in an interval, 2019: the high half
 * of a product, and again where the low half falls into the uneven rest. */
uint64_t wdb_random_below(struct wdb_random *r, uint64_t bound)
{
    wdb_assert(bound > 0);
    unsigned __int128 product = (unsigned __int128)wdb_random_next(r) * bound;
    if ((uint64_t)product < bound) {
        uint64_t rest = -bound % bound;
        while ((uint64_t)product < rest) {
            product = (unsigned __int128)wdb_random_next(r) * bound;
        }
    }
    return (uint64_t)(product >> 64);
}
