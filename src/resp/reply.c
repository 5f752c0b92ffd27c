/*
 * reply.c - write RESP2 or RESP3 values.
 *
 * Short replies are put together by hand in the room at the output's tail;
 * printf is for errors and doubles only.
 */
#include "resp/reply.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/number.h"

/* Type byte, number, line end. */
#define HEADER_SIZE_MAX (WDB_INT64_TEXT_MAX + 3)
/* Up to here head, bytes and line end go into one room. */
#define SHORT_BULK_MAX (WDB_OUTPUT_ROOM_MAX - 64)

static uint8_t *put_line_end(uint8_t *at)
{
    at[0] = '\r';
    at[1] = '\n';
    return at + 2;
}

/* Decimal digits of value; numbers below 1,000 are what lengths mostly are. */
static inline uint8_t *put_number(uint8_t *at, uint64_t value)
{
    if (WDB_LIKELY(value < 10)) {
        *at = (uint8_t)('0' + value);
        return at + 1;
    }
    if (WDB_LIKELY(value < 100)) {
        at[0] = (uint8_t)('0' + value / 10);
        at[1] = (uint8_t)('0' + value % 10);
        return at + 2;
    }
    uint8_t digits[WDB_INT64_TEXT_MAX];
    size_t count = 0;
    do {
        digits[count++] = (uint8_t)('0' + value % 10);
        value /= 10;
    } while (value != 0);
    while (count > 0) {
        *at++ = digits[--count];
    }
    return at;
}

static uint8_t *put_signed(uint8_t *at, int64_t value)
{
    if (value < 0) {
        *at++ = '-';
        return put_number(at, 0 - (uint64_t)value);
    }
    return put_number(at, (uint64_t)value);
}

static inline void advance_to(struct wdb_reply *r, const uint8_t *start,
                              const uint8_t *end)
{
    wdb_output_advance(r->output, (size_t)(end - start));
}

static void write_header(struct wdb_reply *r, char type, uint64_t number)
{
    uint8_t *start = wdb_output_room(r->output, HEADER_SIZE_MAX);
    if (start != NULL) {
        start[0] = (uint8_t)type;
        advance_to(r, start, put_line_end(put_number(start + 1, number)));
    }
}

/* A whole reply that is known when this is compiled. */
static inline void write_fixed(struct wdb_reply *r, const char *bytes,
                               size_t size)
{
    uint8_t *room = wdb_output_room(r->output, size);
    if (room != NULL) {
        memcpy(room, bytes, size);
        wdb_output_advance(r->output, size);
    }
}
#define WRITE_FIXED(r, text) write_fixed((r), "" text, sizeof(text) - 1)

/* type, text, line end; the text has no line end and is of any size. */
static void write_line(struct wdb_reply *r, char type, const char *text,
                       size_t size)
{
    wdb_output_append(r->output, &type, 1);
    wdb_output_append(r->output, text, size);
    WRITE_FIXED(r, "\r\n");
}

void wdb_reply_ok(struct wdb_reply *r)
{
    WRITE_FIXED(r, "+OK\r\n");
}

void wdb_reply_simple(struct wdb_reply *r, const char *text)
{
    write_line(r, '+', text, strlen(text));
}

void wdb_reply_error(struct wdb_reply *r, const char *format, ...)
{
    char text[WDB_OUTPUT_ROOM_MAX - 64];
    va_list args;
    va_start(args, format);
    int size = vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    if (size < 0) {
        size = 0;
    } else if ((size_t)size >= sizeof(text)) {
        size = sizeof(text) - 1;
    }
    for (int i = 0; i < size; i++) {
        if (text[i] == '\r' || text[i] == '\n') {
            text[i] = ' ';
        }
    }
    write_line(r, '-', text, (size_t)size);
    r->error_count++;
    size_t word = strcspn(text, " ");
    if (word >= sizeof(r->error_prefix)) {
        word = sizeof(r->error_prefix) - 1;
    }
    memcpy(r->error_prefix, text, word);
    r->error_prefix[word] = '\0';
}

void wdb_reply_integer(struct wdb_reply *r, int64_t value)
{
    uint8_t *start = wdb_output_room(r->output, HEADER_SIZE_MAX);
    if (start != NULL) {
        start[0] = ':';
        advance_to(r, start, put_line_end(put_signed(start + 1, value)));
    }
}

/* prefix (of prefix_size) is counted and stands before the value. */
static void write_bulk(struct wdb_reply *r, char type, const char *prefix,
                       size_t prefix_size, struct wdb_slice value)
{
    size_t size = prefix_size + value.size;
    if (WDB_LIKELY(size <= SHORT_BULK_MAX)) {
        uint8_t *start = wdb_output_room(r->output, size + HEADER_SIZE_MAX + 2);
        if (start == NULL) {
            return;
        }
        start[0] = (uint8_t)type;
        uint8_t *at = put_line_end(put_number(start + 1, size));
        if (prefix_size > 0) {
            memcpy(at, prefix, prefix_size);
            at += prefix_size;
        }
        if (value.size > 0) {
            memcpy(at, value.data, value.size);
            at += value.size;
        }
        advance_to(r, start, put_line_end(at));
        return;
    }
    write_header(r, type, size);
    wdb_output_append(r->output, prefix, prefix_size);
    wdb_output_append(r->output, value.data, value.size);
    WRITE_FIXED(r, "\r\n");
}

void wdb_reply_bulk(struct wdb_reply *r, struct wdb_slice value)
{
    write_bulk(r, '$', "", 0, value);
}

void wdb_reply_bulk_str(struct wdb_reply *r, const char *text)
{
    write_bulk(r, '$', "", 0, wdb_slice_str(text));
}

void wdb_reply_bulk_integer(struct wdb_reply *r, int64_t value)
{
    uint8_t text[WDB_INT64_TEXT_MAX + 1];
    size_t size = (size_t)(put_signed(text, value) - text);
    write_bulk(r, '$', "", 0, wdb_slice(text, size));
}

void wdb_reply_bulk_borrowed(struct wdb_reply *r, struct wdb_slice value,
                             void (*release)(void *), void *context)
{
    write_header(r, '$', value.size);
    wdb_output_borrow(r->output, value, release, context);
    WRITE_FIXED(r, "\r\n");
}

void wdb_reply_bulk_begin(struct wdb_reply *r, uint64_t size)
{
    write_header(r, '$', size);
}

void wdb_reply_bulk_end(struct wdb_reply *r)
{
    WRITE_FIXED(r, "\r\n");
}

void wdb_reply_null(struct wdb_reply *r)
{
    if (r->protocol >= 3) {
        WRITE_FIXED(r, "_\r\n");
    } else {
        WRITE_FIXED(r, "$-1\r\n");
    }
}

void wdb_reply_null_array(struct wdb_reply *r)
{
    if (r->protocol >= 3) {
        WRITE_FIXED(r, "_\r\n");
    } else {
        WRITE_FIXED(r, "*-1\r\n");
    }
}

void wdb_reply_array(struct wdb_reply *r, size_t count)
{
    write_header(r, '*', count);
}

void wdb_reply_map(struct wdb_reply *r, size_t pair_count)
{
    if (r->protocol >= 3) {
        write_header(r, '%', pair_count);
    } else {
        write_header(r, '*', 2 * pair_count);
    }
}

void wdb_reply_set(struct wdb_reply *r, size_t count)
{
    write_header(r, r->protocol >= 3 ? '~' : '*', count);
}

void wdb_reply_push(struct wdb_reply *r, size_t count)
{
    write_header(r, r->protocol >= 3 ? '>' : '*', count);
}

void wdb_reply_double(struct wdb_reply *r, double value)
{
    char text[128];
    size_t size = wdb_format_double(text, value);
    if (r->protocol >= 3) {
        write_line(r, ',', text, size);
    } else {
        write_bulk(r, '$', "", 0, wdb_slice(text, size));
    }
}

void wdb_reply_bool(struct wdb_reply *r, bool value)
{
    if (r->protocol >= 3) {
        write_fixed(r, value ? "#t\r\n" : "#f\r\n", 4);
    } else {
        write_fixed(r, value ? ":1\r\n" : ":0\r\n", 4);
    }
}

void wdb_reply_verbatim(struct wdb_reply *r, const char format[4],
                        struct wdb_slice text)
{
    if (r->protocol >= 3) {
        char prefix[4] = {format[0], format[1], format[2], ':'};
        write_bulk(r, '=', prefix, sizeof(prefix), text);
    } else {
        write_bulk(r, '$', "", 0, text);
    }
}

void wdb_reply_big_number(struct wdb_reply *r, const char *digits)
{
    if (r->protocol >= 3) {
        write_line(r, '(', digits, strlen(digits));
    } else {
        wdb_reply_bulk_str(r, digits);
    }
}
