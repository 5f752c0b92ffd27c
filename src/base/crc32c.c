/*
 * crc32c.c - CRC32C three ways: SSE4.2, ARMv8, table.
 *
 * A crc32 instruction takes 8 bytes, but its result is ready only 3 cycles
 * later. So a large block is cut in three streams of equal size whose sums
 * run side by side and are joined at the end: the sum of A||B is the sum of
 * A, moved on by |B| zero bytes, xor the sum of B. Moving on by n bytes is a
 * multiplication by x^(8n) modulo the polynomial: one carry-less multiply by
 * a constant, reduced by one more crc32 instruction.
 */
#include "base/crc32c.h"

#include "base/attributes.h"
#include "base/bytes.h"

/* ---- the table version: slicing by 8 (Kounavis and Berry, 2005) ---- */

/*
 * A table is linear: the entry of a byte is the xor of the entries of its bits.
 * So eight constants make one of 256 entries, while compiling. The constant of
 * bit i in table k is 1 moved on by 8 * (k + 1) - i bits.
 */
#define ENTRY(n, a, b, c, d, e, f, g, h)                                       \
    (((n)&1 ? (h) : 0u) ^ ((n)&2 ? (g) : 0u) ^ ((n)&4 ? (f) : 0u) ^            \
     ((n)&8 ? (e) : 0u) ^ ((n)&16 ? (d) : 0u) ^ ((n)&32 ? (c) : 0u) ^          \
     ((n)&64 ? (b) : 0u) ^ ((n)&128 ? (a) : 0u))
#define ENTRIES4(n, ...)                                                       \
    ENTRY(n, __VA_ARGS__), ENTRY((n) + 1, __VA_ARGS__),                        \
        ENTRY((n) + 2, __VA_ARGS__), ENTRY((n) + 3, __VA_ARGS__)
#define ENTRIES16(n, ...)                                                      \
    ENTRIES4(n, __VA_ARGS__), ENTRIES4((n) + 4, __VA_ARGS__),                  \
        ENTRIES4((n) + 8, __VA_ARGS__), ENTRIES4((n) + 12, __VA_ARGS__)
#define ENTRIES64(n, ...)                                                      \
    ENTRIES16(n, __VA_ARGS__), ENTRIES16((n) + 16, __VA_ARGS__),               \
        ENTRIES16((n) + 32, __VA_ARGS__), ENTRIES16((n) + 48, __VA_ARGS__)
#define TABLE(...)                                                             \
    {                                                                          \
        ENTRIES64(0, __VA_ARGS__), ENTRIES64(64, __VA_ARGS__),                 \
            ENTRIES64(128, __VA_ARGS__), ENTRIES64(192, __VA_ARGS__)           \
    }

static const uint32_t table[8][256] = {
    TABLE(0x82f63b78, 0x417b1dbc, 0x20bd8ede, 0x105ec76f, 0x8ad958cf,
          0xc79a971f, 0xe13b70f7, 0xf26b8303),
    TABLE(0xfbc3faf9, 0xff17c604, 0x7f8be302, 0x3fc5f181, 0x9d14c3b8,
          0x4e8a61dc, 0x274530ee, 0x13a29877),
    TABLE(0x8b277743, 0xc76580d9, 0xe144fb14, 0x70a27d8a, 0x38513ec5,
          0x9edea41a, 0x4f6f520d, 0xa541927e),
    TABLE(0x52a0c93f, 0xaba65fe7, 0xd725148b, 0xe964b13d, 0xf64463e6,
          0x7b2231f3, 0xbf672381, 0xdd45aab8),
    TABLE(0x6ea2d55c, 0x37516aae, 0x1ba8b557, 0x8f2261d3, 0xc5670b91,
          0xe045beb0, 0x7022df58, 0x38116fac),
    TABLE(0x1c08b7d6, 0x0e045beb, 0x85f4168d, 0xc00c303e, 0x6006181f,
          0xb2f53777, 0xdb8ca0c3, 0xef306b19),
    TABLE(0xf56e0ef4, 0x7ab7077a, 0x3d5b83bd, 0x9c5bfaa6, 0x4e2dfd53,
          0xa5e0c5d1, 0xd0065990, 0x68032cc8),
    TABLE(0x34019664, 0x1a00cb32, 0x0d006599, 0x847609b4, 0x423b04da,
          0x211d826d, 0x9278fa4e, 0x493c7d27),
};

uint32_t wdb_crc32c_portable(uint32_t crc, const void *data, size_t size)
{
    const uint8_t *p = data;
    uint32_t sum = ~crc;
    for (; size >= 8; size -= 8, p += 8) {
        uint64_t v = wdb_load64(p) ^ sum;
        sum = table[7][v & 0xff] ^ table[6][v >> 8 & 0xff] ^
              table[5][v >> 16 & 0xff] ^ table[4][v >> 24 & 0xff] ^
              table[3][v >> 32 & 0xff] ^ table[2][v >> 40 & 0xff] ^
              table[1][v >> 48 & 0xff] ^ table[0][v >> 56];
    }
    for (; size > 0; size--, p++) {
        sum = sum >> 8 ^ table[0][(sum ^ *p) & 0xff];
    }
    return ~sum;
}

#if defined(__x86_64__)

#include <nmmintrin.h>
#include <wmmintrin.h>

#define TARGET __attribute__((target("sse4.2,pclmul")))

/*
 * Three streams of `stream` bytes each (a multiple of 8) from p on. factor_1
 * and factor_2 move a sum on by one and by two streams: x^(8 * bytes - 33)
 * modulo the polynomial, bits reversed (the 33 are what reversed
 * multiplication and reduction add).
 */
TARGET static inline __attribute__((always_inline)) uint64_t three_streams(
    uint64_t sum, const uint8_t *p, size_t stream, uint32_t factor_1,
    uint32_t factor_2)
{
    uint64_t a = sum;
    uint64_t b = 0;
    uint64_t c = 0;
    for (size_t i = 0; i < stream; i += 8) {
        a = _mm_crc32_u64(a, wdb_load64(p + i));
        b = _mm_crc32_u64(b, wdb_load64(p + stream + i));
        c = _mm_crc32_u64(c, wdb_load64(p + 2 * stream + i));
    }
    __m128i a_moved = _mm_clmulepi64_si128(_mm_cvtsi64_si128((long long)a),
                                           _mm_cvtsi32_si128((int)factor_2), 0);
    __m128i b_moved = _mm_clmulepi64_si128(_mm_cvtsi64_si128((long long)b),
                                           _mm_cvtsi32_si128((int)factor_1), 0);
    uint64_t moved =
        (uint64_t)_mm_cvtsi128_si64(_mm_xor_si128(a_moved, b_moved));
    return c ^ _mm_crc32_u64(0, moved);
}

TARGET static uint32_t crc32c_sse42(uint32_t crc, const uint8_t *p, size_t size)
{
    uint64_t sum = (uint32_t)~crc;
    for (; size >= 3 * 1024; size -= 3 * 1024, p += 3 * 1024) {
        sum = three_streams(sum, p, 1024, 0x170076fa, 0xa51b6135);
    }
    for (; size >= 3 * 256; size -= 3 * 256, p += 3 * 256) {
        sum = three_streams(sum, p, 256, 0xb9e02b86, 0xdd7e3b0c);
    }
    for (; size >= 3 * 64; size -= 3 * 64, p += 3 * 64) {
        sum = three_streams(sum, p, 64, 0x9e4addf8, 0x0d3b6092);
    }
    for (; size >= 8; size -= 8, p += 8) {
        sum = _mm_crc32_u64(sum, wdb_load64(p));
    }
    uint32_t rest = (uint32_t)sum;
    if (size & 4) {
        rest = _mm_crc32_u32(rest, wdb_load32(p));
        p += 4;
    }
    if (size & 2) {
        rest = _mm_crc32_u16(rest, wdb_load16(p));
        p += 2;
    }
    if (size & 1) {
        rest = _mm_crc32_u8(rest, *p);
    }
    return ~rest;
}

/* The compiler's runtime asks the processor once; this reads two words. */
uint32_t wdb_crc32c(uint32_t crc, const void *data, size_t size)
{
    if (WDB_LIKELY(__builtin_cpu_supports("sse4.2") &&
                   __builtin_cpu_supports("pclmul"))) {
        return crc32c_sse42(crc, data, size);
    }
    return wdb_crc32c_portable(crc, data, size);
}

#elif defined(__aarch64__) && defined(__ARM_FEATURE_CRC32)

#include <arm_acle.h>

/* Compiled for a processor with the instruction (all of ARMv8.1 have it). */
uint32_t wdb_crc32c(uint32_t crc, const void *data, size_t size)
{
    const uint8_t *p = data;
    uint32_t sum = ~crc;
    for (; size >= 8; size -= 8, p += 8) {
        sum = __crc32cd(sum, wdb_load64(p));
    }
    for (; size > 0; size--, p++) {
        sum = __crc32cb(sum, *p);
    }
    return ~sum;
}

#else

uint32_t wdb_crc32c(uint32_t crc, const void *data, size_t size)
{
    return wdb_crc32c_portable(crc, data, size);
}

#endif
