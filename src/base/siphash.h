/*
 * siphash.h - SipHash-1-3 (Aumasson and Bernstein, 2012), a keyed hash: who
 * does not know the key cannot choose keys that collide.
 *
 * All of it is inline, because hashing a key stands on the path of every
 * command and most keys are 16 to 32 bytes long.
 */
#ifndef WDB_BASE_SIPHASH_H
#define WDB_BASE_SIPHASH_H

#include "base/attributes.h"
#include "base/bytes.h"
#include "base/slice.h"

struct wdb_siphash_key {
    uint64_t k0, k1;
};

static inline uint64_t wdb_siphash_rotate(uint64_t x, unsigned bits)
{
    return (x << bits) | (x >> (64 - bits));
}

static inline void wdb_siphash_round(uint64_t v[4])
{
    v[0] += v[1];
    v[2] += v[3];
    v[1] = wdb_siphash_rotate(v[1], 13) ^ v[0];
    v[3] = wdb_siphash_rotate(v[3], 16) ^ v[2];
    v[0] = wdb_siphash_rotate(v[0], 32);
    v[2] += v[1];
    v[0] += v[3];
    v[1] = wdb_siphash_rotate(v[1], 17) ^ v[2];
    v[3] = wdb_siphash_rotate(v[3], 21) ^ v[0];
    v[2] = wdb_siphash_rotate(v[2], 32);
}

static inline void wdb_siphash_absorb(uint64_t v[4], uint64_t word)
{
    v[3] ^= word;
    wdb_siphash_round(v);
    v[0] ^= word;
}

/*
 * The last size % 8 bytes as a little-endian number, without a loop: where
 * eight bytes exist they are loaded and the ones already absorbed shifted out;
 * else two or three loads overlap, on equal bits.
 */
static inline uint64_t wdb_siphash_tail(const uint8_t *data, size_t size)
{
    unsigned left = size & 7;
    if (left == 0) {
        return 0;
    }
    if (size > 8) {
        return wdb_load64(data + size - 8) >> (64 - 8 * left);
    }
    if (left >= 4) {
        return wdb_load32(data) | (uint64_t)wdb_load32(data + left - 4)
                                      << (8 * (left - 4));
    }
    return data[0] | (uint64_t)data[left / 2] << (8 * (left / 2)) |
           (uint64_t)data[left - 1] << (8 * (left - 1));
}

/* The hash of data under key. Thread: any. */
static inline uint64_t wdb_siphash13(const struct wdb_siphash_key *key,
                                     struct wdb_slice data)
{
    uint64_t v[4] = {
        key->k0 ^ 0x736f6d6570736575,
        key->k1 ^ 0x646f72616e646f6d,
        key->k0 ^ 0x6c7967656e657261,
        key->k1 ^ 0x7465646279746573,
    };
    size_t words = data.size / 8;
    for (size_t i = 0; i < words; i++) {
        wdb_siphash_absorb(v, wdb_load64(data.data + 8 * i));
    }
    wdb_siphash_absorb(v, (uint64_t)data.size << 56 |
                              wdb_siphash_tail(data.data, data.size));
    v[2] ^= 0xff;
    wdb_siphash_round(v);
    wdb_siphash_round(v);
    wdb_siphash_round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

#endif
