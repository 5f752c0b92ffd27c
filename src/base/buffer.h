/* buffer.h - a growable run of bytes that the caller owns. */
#ifndef WDB_BASE_BUFFER_H
#define WDB_BASE_BUFFER_H

#include "base/attributes.h"
#include "base/slice.h"

struct wdb_buffer {
    uint8_t *data; /* malloc'ed, or NULL while capacity is 0 */
    size_t size;
    size_t capacity;
};

#define WDB_BUFFER_INIT                                                        \
    {                                                                          \
        0                                                                      \
    }

static inline void wdb_buffer_init(struct wdb_buffer *b)
{
    *b = (struct wdb_buffer){0};
}
/* Free the memory; the buffer is empty and usable again. */
void wdb_buffer_release(struct wdb_buffer *b);
/* Make room for `extra` more bytes (amortised doubling). WALKERDB_ENOMEM. */
WDB_MUST_CHECK int wdb_buffer_reserve(struct wdb_buffer *b, size_t extra);
/* Append a copy. WALKERDB_ENOMEM; then nothing was appended. */
WDB_MUST_CHECK int wdb_buffer_append(struct wdb_buffer *b, const void *data,
                                     size_t size);
/* Append formatted text without its terminator. WALKERDB_ENOMEM. */
WDB_MUST_CHECK int wdb_buffer_printf(struct wdb_buffer *b, const char *format,
                                     ...) WDB_PRINTF(2, 3);
/* Forget the first n bytes (memmove). */
void wdb_buffer_consume(struct wdb_buffer *b, size_t n);
static inline void wdb_buffer_clear(struct wdb_buffer *b)
{
    b->size = 0;
}
static inline struct wdb_slice wdb_buffer_slice(const struct wdb_buffer *b)
{
    return wdb_slice(b->data, b->size);
}

#endif
