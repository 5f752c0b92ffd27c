/* bitmap.c - counts, finds and combines bits, eight bytes at a time. */
#include "type/bitmap.h"

#include "base/bytes.h"

/* Written once, compiled with and without the processor's instruction. */
static inline __attribute__((always_inline)) uint64_t count_words(
    const uint8_t *data, size_t size)
{
    uint64_t a = 0, b = 0, c = 0, d = 0;
    size_t i = 0;
    for (; i + 32 <= size; i += 32) {
        a += (uint64_t)__builtin_popcountll(wdb_load64(data + i));
        b += (uint64_t)__builtin_popcountll(wdb_load64(data + i + 8));
        c += (uint64_t)__builtin_popcountll(wdb_load64(data + i + 16));
        d += (uint64_t)__builtin_popcountll(wdb_load64(data + i + 24));
    }
    for (; i + 8 <= size; i += 8) {
        a += (uint64_t)__builtin_popcountll(wdb_load64(data + i));
    }
    for (; i < size; i++) {
        a += (uint64_t)__builtin_popcount(data[i]);
    }
    return a + b + c + d;
}

#if defined(__x86_64__)
__attribute__((target("popcnt"))) static uint64_t count_fast(
    const uint8_t *data, size_t size)
{
    return count_words(data, size);
}
#endif

uint64_t wdb_bits_count(struct wdb_slice bytes)
{
#if defined(__x86_64__)
    if (__builtin_cpu_supports("popcnt")) {
        return count_fast(bytes.data, bytes.size);
    }
#endif
    return count_words(bytes.data, bytes.size);
}

int64_t wdb_bits_find(struct wdb_slice bytes, bool bit)
{
    /* Look for a one in what is turned over if a zero is asked for. */
    const uint64_t flip = bit ? 0 : UINT64_MAX;
    size_t i = 0;
    for (; i + 8 <= bytes.size; i += 8) {
        const uint64_t word = wdb_load64(bytes.data + i) ^ flip;
        if (word != 0) {
            return (int64_t)(i * 8) + __builtin_clzll(__builtin_bswap64(word));
        }
    }
    for (; i < bytes.size; i++) {
        const unsigned byte = bytes.data[i] ^ (unsigned)(flip & 0xff);
        if (byte != 0) {
            return (int64_t)(i * 8) + __builtin_clz(byte << 24);
        }
    }
    return -1;
}

#define COMBINE(target, bytes, operator)                                       \
    do {                                                                       \
        size_t i = 0;                                                          \
        for (; i + 8 <= (bytes).size; i += 8) {                                \
            wdb_store64((target) + i,                                          \
                        wdb_load64((target) + i) operator wdb_load64(          \
                            (bytes).data + i));                                \
        }                                                                      \
        for (; i < (bytes).size; i++) {                                        \
            (target)[i] = (uint8_t)((target)[i] operator(bytes).data[i]);      \
        }                                                                      \
    } while (0)

void wdb_bits_combine(enum wdb_bit_operation operation, uint8_t *target,
                      struct wdb_slice bytes)
{
    switch (operation) {
    case WDB_BITS_AND:
        COMBINE(target, bytes, &);
        break;
    case WDB_BITS_OR:
        COMBINE(target, bytes, |);
        break;
    case WDB_BITS_XOR:
        COMBINE(target, bytes, ^);
        break;
    }
}

void wdb_bits_invert(uint8_t *target, size_t size)
{
    size_t i = 0;
    for (; i + 8 <= size; i += 8) {
        wdb_store64(target + i, ~wdb_load64(target + i));
    }
    for (; i < size; i++) {
        target[i] = (uint8_t)~target[i];
    }
}

uint64_t wdb_bits_get_field(const uint8_t window[WDB_BITS_WINDOW],
                            unsigned first, unsigned bits)
{
    const uint64_t high = __builtin_bswap64(wdb_load64(window));
    const unsigned __int128 all = (unsigned __int128)high << 8 | window[8];
    const unsigned __int128 shifted = all >> (72 - first - bits);
    return bits == 64 ? (uint64_t)shifted
                      : (uint64_t)shifted & ((UINT64_C(1) << bits) - 1);
}

void wdb_bits_set_field(uint8_t window[WDB_BITS_WINDOW], unsigned first,
                        unsigned bits, uint64_t value)
{
    const uint64_t mask = bits == 64 ? UINT64_MAX : (UINT64_C(1) << bits) - 1;
    const unsigned shift = 72 - first - bits;
    const uint64_t high = __builtin_bswap64(wdb_load64(window));
    unsigned __int128 all = (unsigned __int128)high << 8 | window[8];
    all &= ~((unsigned __int128)mask << shift);
    all |= (unsigned __int128)(value & mask) << shift;
    wdb_store64(window, __builtin_bswap64((uint64_t)(all >> 8)));
    window[8] = (uint8_t)all;
}
