/*
 * parser.c - requests out of a stream of bytes.
 *
 * The usual request, a whole multibulk of short arguments, takes one pass: a
 * header is a byte, at most nine digits and a line end, read by the inline
 * path of read_header(); whatever looks different goes to read_header_slow(),
 * which has the rules and the limits. As in Redis, the byte behind a carriage
 * return and the two behind an argument are skipped, not checked.
 */
#include "resp/parser.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/number.h"
#include "base/split.h"

/* Digits that the fast path reads; their value can't overflow. */
#define FAST_DIGITS 9
/* Big enough that reading it straight to its place is worth a hint. */
#define SIZE_HINT_MIN ((uint64_t)16 << 10)

enum header_result {
    HEADER_OK,
    HEADER_INCOMPLETE,
    HEADER_TOO_LONG,
    HEADER_BAD
};

void wdb_parser_init(struct wdb_parser *parser)
{
    *parser = (struct wdb_parser){
        .bulk_size = -1,
        .part_capacity = WDB_PARSER_PARTS_BUILT_IN,
    };
    parser->parts = parser->built_in;
}

void wdb_parser_release(struct wdb_parser *parser)
{
    if (parser->parts != parser->built_in) {
        free(parser->parts);
    }
    free(parser->quoted);
    wdb_parser_init(parser);
}

void wdb_parser_restart(struct wdb_parser *parser)
{
    parser->remaining = 0;
    parser->offset = 0;
    parser->bulk_size = -1;
}

static enum wdb_parse_result fail(struct wdb_parser *parser, const char *text)
{
    snprintf(parser->error, sizeof(parser->error), "Protocol error: %s", text);
    return WDB_PARSE_ERROR;
}

/* --- arguments so far ------------------------------------------------------------ */

WDB_MUST_CHECK static bool grow_parts(struct wdb_parser *parser)
{
    if (parser->part_capacity > UINT32_MAX / 2) {
        return false;
    }
    uint32_t capacity = parser->part_capacity * 2;
    bool built_in = parser->parts == parser->built_in;
    struct wdb_parser_part *parts =
        realloc(built_in ? NULL : parser->parts, capacity * sizeof(*parts));
    if (parts == NULL) {
        return false;
    }
    if (built_in) {
        memcpy(parts, parser->built_in, sizeof(parser->built_in));
    }
    parser->parts = parts;
    parser->part_capacity = capacity;
    return true;
}

WDB_MUST_CHECK static inline bool add_part(struct wdb_parser *parser,
                                           uint64_t offset, uint64_t size)
{
    if (WDB_UNLIKELY(parser->part_count == parser->part_capacity) &&
        !grow_parts(parser)) {
        return false;
    }
    parser->parts[parser->part_count++] =
        (struct wdb_parser_part){.offset = offset, .size = size};
    return true;
}

/* Give back what a request with very many arguments needed. */
static void forget_parts(struct wdb_parser *parser)
{
    if (WDB_UNLIKELY(parser->part_capacity > 1024)) {
        free(parser->parts);
        parser->parts = parser->built_in;
        parser->part_capacity = WDB_PARSER_PARTS_BUILT_IN;
    }
    parser->part_count = 0;
    parser->is_quoted = false;
}

/* --- headers: "*3\r\n", "$16\r\n" ---------------------------------------------------- */

static enum header_result read_header_slow(const uint8_t *data, size_t size,
                                           size_t line_max, int64_t *value_out,
                                           size_t *size_out)
{
    const uint8_t *end = memchr(data, '\r', size);
    if (end == NULL) {
        return size > line_max ? HEADER_TOO_LONG : HEADER_INCOMPLETE;
    }
    size_t line = (size_t)(end - data);
    if (line + 2 > size) {
        return HEADER_INCOMPLETE;
    }
    *size_out = line + 2;
    return wdb_parse_int64(wdb_slice(data + 1, line - 1), value_out)
               ? HEADER_OK
               : HEADER_BAD;
}

/* The number between a type byte and the line end at data; size > 0. */
static enum header_result read_header(const uint8_t *data, size_t size,
                                      size_t line_max, int64_t *value_out,
                                      size_t *size_out)
{
    if (WDB_LIKELY(size >= FAST_DIGITS + 3)) {
        unsigned digit = (unsigned)data[1] - '0';
        uint32_t value = digit;
        size_t at = 2;
        if (WDB_LIKELY(digit <= 9)) {
            while (at <= FAST_DIGITS &&
                   (digit = data[at] - (unsigned)'0') <= 9) {
                value = value * 10 + digit;
                at++;
            }
            if (WDB_LIKELY(data[at] == '\r' && (data[1] != '0' || at == 2))) {
                *value_out = value;
                *size_out = at + 2;
                return HEADER_OK;
            }
        }
    }
    return read_header_slow(data, size, line_max, value_out, size_out);
}

/* --- multibulk -------------------------------------------------------------------------- */

static enum wdb_parse_result refuse_count(struct wdb_parser *parser,
                                          enum header_result header,
                                          int64_t count)
{
    if (header == HEADER_TOO_LONG) {
        return fail(parser, "too big mbulk count string");
    }
    if (header == HEADER_BAD || count > WDB_PARSER_ARGUMENTS_MAX) {
        return fail(parser, "invalid multibulk length");
    }
    return fail(parser, "unauthenticated multibulk length");
}

static enum wdb_parse_result refuse_bulk(struct wdb_parser *parser,
                                         const struct wdb_parser_limits *limits,
                                         enum header_result header,
                                         uint8_t type, int64_t size)
{
    if (header == HEADER_TOO_LONG) {
        return fail(parser, "too big bulk count string");
    }
    if (type != '$') {
        snprintf(parser->error, sizeof(parser->error),
                 "Protocol error: expected '$', got '%c'", type);
        return WDB_PARSE_ERROR;
    }
    bool strict = limits->argument_count_max < WDB_PARSER_ARGUMENTS_MAX;
    if (header == HEADER_BAD || size < 0 || !strict) {
        return fail(parser, "invalid bulk length");
    }
    return fail(parser, "unauthenticated bulk length");
}

/*
 * The head of a short argument, "$N\r\n" or "$NN\r\n", which nearly all are;
 * returns its size, 0 if it looks different. There are at least 5 bytes.
 */
static inline size_t read_short_header(const uint8_t *data, int64_t *size_out)
{
    unsigned first = (unsigned)data[1] - '0';
    unsigned second = (unsigned)data[2] - '0';
    if (WDB_UNLIKELY(data[0] != '$' || first > 9)) {
        return 0;
    }
    if (data[2] == '\r') {
        *size_out = first;
        return 4;
    }
    if (WDB_LIKELY(data[3] == '\r' && second <= 9 && first != 0)) {
        *size_out = first * 10 + second;
        return 5;
    }
    return 0;
}

/* The loop over arguments; its state is in registers until it stops. */
static enum wdb_parse_result next_arguments(
    struct wdb_parser *parser, const struct wdb_parser_limits *limits,
    const uint8_t *data, size_t size, size_t *size_hint_out)
{
    size_t offset = parser->offset;
    int64_t remaining = parser->remaining;
    int64_t bulk_size = parser->bulk_size;
    const uint64_t bulk_size_max = limits->bulk_size_max;
    while (remaining > 0) {
        if (WDB_LIKELY(bulk_size < 0)) {
            size_t header_size = 0;
            if (WDB_LIKELY(size - offset >= 5)) {
                header_size = read_short_header(data + offset, &bulk_size);
            } else if (offset == size) {
                break;
            }
            if (WDB_UNLIKELY(header_size == 0)) {
                /* Redis looks for the line end before it looks at the type. */
                enum header_result header =
                    read_header(data + offset, size - offset,
                                limits->inline_size_max, &bulk_size,
                                &header_size);
                if (header == HEADER_INCOMPLETE) {
                    break;
                }
                if (data[offset] != '$' || header != HEADER_OK ||
                    bulk_size < 0) {
                    return refuse_bulk(parser, limits, header, data[offset],
                                       bulk_size);
                }
            }
            if (WDB_UNLIKELY((uint64_t)bulk_size > bulk_size_max)) {
                return refuse_bulk(parser, limits, HEADER_OK, '$', bulk_size);
            }
            offset += header_size;
        }
        if (WDB_UNLIKELY(size - offset < (uint64_t)bulk_size + 2)) {
            if ((uint64_t)bulk_size >= SIZE_HINT_MIN) {
                *size_hint_out = (uint64_t)bulk_size + 2 - (size - offset);
            }
            break;
        }
        if (WDB_UNLIKELY(!add_part(parser, offset, (uint64_t)bulk_size))) {
            return fail(parser, "out of memory");
        }
        offset += (uint64_t)bulk_size + 2;
        bulk_size = -1;
        remaining--;
    }
    parser->offset = offset;
    parser->remaining = remaining;
    parser->bulk_size = bulk_size;
    return remaining == 0 ? WDB_PARSE_REQUEST : WDB_PARSE_INCOMPLETE;
}

/* --- inline -------------------------------------------------------------------------------- */

WDB_MUST_CHECK static bool reserve_quoted(struct wdb_parser *parser,
                                          size_t size)
{
    if (size > parser->quoted_capacity) {
        uint8_t *memory = realloc(parser->quoted, size);
        if (memory == NULL) {
            return false;
        }
        parser->quoted = memory;
        parser->quoted_capacity = size;
    }
    return true;
}

static enum wdb_parse_result split_quoted(struct wdb_parser *parser,
                                          struct wdb_slice line)
{
    size_t position = 0, used = 0;
    if (!reserve_quoted(parser, line.size)) {
        return fail(parser, "out of memory");
    }
    parser->is_quoted = true;
    for (;;) {
        size_t size = 0;
        enum wdb_split_result split =
            wdb_split_next(line, &position, parser->quoted + used, &size);
        if (split == WDB_SPLIT_UNBALANCED) {
            return fail(parser, "unbalanced quotes in request");
        }
        if (split == WDB_SPLIT_END) {
            return WDB_PARSE_REQUEST;
        }
        if (!add_part(parser, used, size)) {
            return fail(parser, "out of memory");
        }
        used += size;
    }
}

static bool ends_word(uint8_t byte)
{
    return byte == ' ' || byte == '\t' || byte == '\r' || byte == 0;
}

static bool is_blank(uint8_t byte)
{
    return byte == ' ' || (byte >= '\t' && byte <= '\r');
}

static enum wdb_parse_result split_plain(struct wdb_parser *parser,
                                         struct wdb_slice line)
{
    size_t at = 0;
    for (;;) {
        while (at < line.size && is_blank(line.data[at])) {
            at++;
        }
        if (at >= line.size || line.data[at] == 0) {
            return WDB_PARSE_REQUEST;
        }
        size_t start = at;
        while (at < line.size && !ends_word(line.data[at])) {
            at++;
        }
        if (!add_part(parser, start, at - start)) {
            return fail(parser, "out of memory");
        }
    }
}

static enum wdb_parse_result next_inline(struct wdb_parser *parser,
                                         const struct wdb_parser_limits *limits,
                                         const uint8_t *data, size_t size,
                                         size_t *consumed_out)
{
    size_t from = parser->offset < size ? parser->offset : size;
    const uint8_t *end = memchr(data + from, '\n', size - from);
    if (end == NULL) {
        if (size > limits->inline_size_max) {
            return fail(parser, "too big inline request");
        }
        parser->offset = size;
        return WDB_PARSE_INCOMPLETE;
    }
    size_t line_size = (size_t)(end - data);
    *consumed_out = line_size + 1;
    if (line_size > 0 && data[line_size - 1] == '\r') {
        line_size--;
    }
    struct wdb_slice line = wdb_slice(data, line_size);
    bool quotes = line_size > 0 && (memchr(data, '"', line_size) != NULL ||
                                    memchr(data, '\'', line_size) != NULL);
    enum wdb_parse_result result =
        quotes ? split_quoted(parser, line) : split_plain(parser, line);
    if (result != WDB_PARSE_REQUEST) {
        return result;
    }
    parser->offset = 0;
    return parser->part_count == 0 ? WDB_PARSE_EMPTY : WDB_PARSE_REQUEST;
}

/* --- entry --------------------------------------------------------------------------------- */

enum wdb_parse_result wdb_parser_next(struct wdb_parser *parser,
                                      const struct wdb_parser_limits *limits,
                                      const uint8_t *data, size_t size,
                                      size_t *consumed_out,
                                      size_t *size_hint_out)
{
    size_t no_hint;
    if (size_hint_out == NULL) {
        size_hint_out = &no_hint;
    }
    *size_hint_out = 0;
    *consumed_out = 0;
    if (parser->remaining == 0) {
        forget_parts(parser);
        if (size == 0) {
            return WDB_PARSE_INCOMPLETE;
        }
        if (data[0] != '*') {
            return next_inline(parser, limits, data, size, consumed_out);
        }
        int64_t count = 0;
        size_t header_size = 4;
        enum header_result header = HEADER_OK;
        if (WDB_LIKELY(size >= 4 && data[2] == '\r' && data[1] >= '0' &&
                       data[1] <= '9')) {
            count = data[1] - '0';
        } else {
            header = read_header(data, size, limits->inline_size_max, &count,
                                 &header_size);
        }
        if (WDB_UNLIKELY(header != HEADER_OK ||
                         count > limits->argument_count_max)) {
            return header == HEADER_INCOMPLETE
                       ? WDB_PARSE_INCOMPLETE
                       : refuse_count(parser, header, count);
        }
        if (count <= 0) {
            *consumed_out = header_size;
            return WDB_PARSE_EMPTY;
        }
        parser->remaining = count;
        parser->offset = header_size;
        parser->bulk_size = -1;
    }
    wdb_assert(parser->offset <= size);
    enum wdb_parse_result result =
        next_arguments(parser, limits, data, size, size_hint_out);
    if (result == WDB_PARSE_REQUEST) {
        *consumed_out = parser->offset;
        parser->offset = 0;
    }
    return result;
}
