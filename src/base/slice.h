/* slice.h - a borrowed run of bytes; the memory belongs to somebody else. */
#ifndef WDB_BASE_SLICE_H
#define WDB_BASE_SLICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct wdb_slice {
    const uint8_t *data; /* may be NULL if size is 0 */
    size_t size;
};

/* A slice over size bytes at data. */
static inline struct wdb_slice wdb_slice(const void *data, size_t size)
{
    return (struct wdb_slice){.data = (const uint8_t *)data, .size = size};
}

/* A slice over a C string, without its terminator. */
static inline struct wdb_slice wdb_slice_str(const char *text)
{
    return wdb_slice(text, strlen(text));
}

static inline bool wdb_slice_equal(struct wdb_slice a, struct wdb_slice b)
{
    return a.size == b.size &&
           (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}

/* Order by unsigned bytes, a prefix first; <0, 0, >0 as memcmp. */
static inline int wdb_slice_compare(struct wdb_slice a, struct wdb_slice b)
{
    size_t common = a.size < b.size ? a.size : b.size;
    int order = common == 0 ? 0 : memcmp(a.data, b.data, common);
    if (order != 0) {
        return order;
    }
    return a.size < b.size ? -1 : a.size > b.size;
}

#endif
