/* sha1.c - SHA-1, as FIPS 180-4 says it. */
#include "base/sha1.h"

#include <string.h>

#define BLOCK_SIZE 64

static uint32_t rotate(uint32_t x, unsigned bits)
{
    return x << bits | x >> (32 - bits);
}

static uint32_t load_big(const uint8_t *at)
{
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 |
           (uint32_t)at[2] << 8 | at[3];
}

static void store_big(uint8_t *at, uint32_t value)
{
    at[0] = (uint8_t)(value >> 24);
    at[1] = (uint8_t)(value >> 16);
    at[2] = (uint8_t)(value >> 8);
    at[3] = (uint8_t)value;
}

/* The function and the constant of a round. */
static uint32_t mix(unsigned round, uint32_t b, uint32_t c, uint32_t d)
{
    if (round < 20) {
        return ((b & c) | (~b & d)) + 0x5a827999;
    }
    if (round < 40) {
        return (b ^ c ^ d) + 0x6ed9eba1;
    }
    if (round < 60) {
        return ((b & c) | (b & d) | (c & d)) + 0x8f1bbcdc;
    }
    return (b ^ c ^ d) + 0xca62c1d6;
}

static void add_block(uint32_t state[5], const uint8_t *block)
{
    uint32_t words[80];
    for (unsigned i = 0; i < 16; i++) {
        words[i] = load_big(block + (size_t)4 * i);
    }
    for (unsigned i = 16; i < 80; i++) {
        words[i] =
            rotate(words[i - 3] ^ words[i - 8] ^ words[i - 14] ^ words[i - 16],
                   1);
    }
    uint32_t a = state[0], b = state[1], c = state[2], d = state[3],
             e = state[4];
    for (unsigned i = 0; i < 80; i++) {
        const uint32_t next = rotate(a, 5) + mix(i, b, c, d) + e + words[i];
        e = d;
        d = c;
        c = rotate(b, 30);
        b = a;
        a = next;
    }
    state[0] += a;
    state[1] += b;
    state[2] += c;
    state[3] += d;
    state[4] += e;
}

void wdb_sha1(const void *data, size_t size, uint8_t out[WDB_SHA1_SIZE])
{
    uint32_t state[5] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476,
                         0xc3d2e1f0};
    const uint8_t *at = data;
    size_t rest = size;
    for (; rest >= BLOCK_SIZE; at += BLOCK_SIZE, rest -= BLOCK_SIZE) {
        add_block(state, at);
    }
    /* The rest, one bit, zeros, and the length in bits: one block or two. */
    uint8_t tail[2 * BLOCK_SIZE] = {0};
    if (rest > 0) {
        memcpy(tail, at, rest);
    }
    tail[rest] = 0x80;
    const size_t end = rest + 9 <= BLOCK_SIZE ? BLOCK_SIZE : 2 * BLOCK_SIZE;
    store_big(tail + end - 8, (uint32_t)((uint64_t)size >> 29));
    store_big(tail + end - 4, (uint32_t)((uint64_t)size << 3));
    for (size_t i = 0; i < end; i += BLOCK_SIZE) {
        add_block(state, tail + i);
    }
    for (unsigned i = 0; i < 5; i++) {
        store_big(out + (size_t)4 * i, state[i]);
    }
}
