/* bytes.h - little-endian loads and stores at any alignment. */
#ifndef WDB_BASE_BYTES_H
#define WDB_BASE_BYTES_H

#include <stdint.h>
#include <string.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "walkerDb's files are little-endian; big-endian hosts are unsupported"
#endif

static inline uint16_t wdb_load16(const void *p)
{
    uint16_t v;
    memcpy(&v, p, sizeof(v));
    return v;
}
static inline uint32_t wdb_load32(const void *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof(v));
    return v;
}
static inline uint64_t wdb_load64(const void *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof(v));
    return v;
}
static inline void wdb_store16(void *p, uint16_t v)
{
    memcpy(p, &v, sizeof(v));
}
static inline void wdb_store32(void *p, uint32_t v)
{
    memcpy(p, &v, sizeof(v));
}
static inline void wdb_store64(void *p, uint64_t v)
{
    memcpy(p, &v, sizeof(v));
}

/* Round up to a multiple of 8 (records and entries are 8-byte aligned). */
static inline size_t wdb_align8(size_t size)
{
    return (size + 7) & ~(size_t)7;
}

#endif
