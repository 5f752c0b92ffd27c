/* buffer.c - growth of the byte buffer. */
#include "base/buffer.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/checked.h"
#include "walkerdb.h"

/* The first allocation; small ones would be followed by more at once. */
#define CAPACITY_MIN 64

void wdb_buffer_release(struct wdb_buffer *b)
{
    free(b->data);
    wdb_buffer_init(b);
}

int wdb_buffer_reserve(struct wdb_buffer *b, size_t extra)
{
    wdb_debug_assert(b->size <= b->capacity);
    if (extra <= b->capacity - b->size) {
        return 0;
    }
    size_t needed;
    if (WDB_ADD_OVERFLOWS(b->size, extra, &needed) || needed > PTRDIFF_MAX) {
        return WALKERDB_ENOMEM;
    }
    size_t capacity = b->capacity < CAPACITY_MIN ? CAPACITY_MIN : b->capacity;
    while (capacity < needed) {
        capacity = capacity > PTRDIFF_MAX / 2 ? PTRDIFF_MAX : capacity * 2;
    }
    uint8_t *data = realloc(b->data, capacity);
    if (data == NULL) {
        return WALKERDB_ENOMEM;
    }
    b->data = data;
    b->capacity = capacity;
    return 0;
}

int wdb_buffer_append(struct wdb_buffer *b, const void *data, size_t size)
{
    if (size == 0) {
        return 0;
    }
    int error = wdb_buffer_reserve(b, size);
    if (error != 0) {
        return error;
    }
    memcpy(b->data + b->size, data, size);
    b->size += size;
    return 0;
}

int wdb_buffer_printf(struct wdb_buffer *b, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    /* Most lines fit here; the second pass is for those that do not. */
    char text[256];
    int length = vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    wdb_assert(length >= 0);
    size_t size = (size_t)length;
    if (size < sizeof(text)) {
        return wdb_buffer_append(b, text, size);
    }
    int error = wdb_buffer_reserve(b, size + 1);
    if (error != 0) {
        return error;
    }
    va_start(arguments, format);
    length = vsnprintf((char *)b->data + b->size, size + 1, format, arguments);
    va_end(arguments);
    wdb_assert(length >= 0 && (size_t)length == size);
    b->size += size;
    return 0;
}

void wdb_buffer_consume(struct wdb_buffer *b, size_t n)
{
    wdb_assert(n <= b->size);
    b->size -= n;
    if (n != 0 && b->size != 0) {
        memmove(b->data, b->data + n, b->size);
    }
}
