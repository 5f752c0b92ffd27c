/*
 * bitmap.h - strings as arrays of bits. Bit 0 is the highest bit of the first
 * byte, so a field of several bits reads like a big-endian number.
 */
#ifndef WDB_TYPE_BITMAP_H
#define WDB_TYPE_BITMAP_H

#include "base/slice.h"

/* How many bits are set. */
uint64_t wdb_bits_count(struct wdb_slice bytes);
/* Position of the first bit that is `bit`; -1 if there is none. */
int64_t wdb_bits_find(struct wdb_slice bytes, bool bit);

enum wdb_bit_operation {
    WDB_BITS_AND,
    WDB_BITS_OR,
    WDB_BITS_XOR
};
/* target = target operation bytes, for as many as there are. */
void wdb_bits_combine(enum wdb_bit_operation operation, uint8_t *target,
                      struct wdb_slice bytes);
void wdb_bits_invert(uint8_t *target, size_t size);

/* A field of 1 to 64 bits that begins at bit `first` (0 to 7) of a window. */
#define WDB_BITS_WINDOW 9
uint64_t wdb_bits_get_field(const uint8_t window[WDB_BITS_WINDOW],
                            unsigned first, unsigned bits);
void wdb_bits_set_field(uint8_t window[WDB_BITS_WINDOW], unsigned first,
                        unsigned bits, uint64_t value);

#endif
