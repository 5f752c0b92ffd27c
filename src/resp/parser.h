/*
 * parser.h - requests out of a stream of bytes: multibulk and inline.
 *
 * The parser keeps no bytes; it remembers how far it got in the request at the
 * start of the caller's buffer, so that a long request that arrives in many
 * pieces is not parsed again each time.
 */
#ifndef WDB_RESP_PARSER_H
#define WDB_RESP_PARSER_H

#include "base/attributes.h"
#include "base/slice.h"

#define WDB_PARSER_ARGUMENTS_MAX   ((int64_t)INT32_MAX)
#define WDB_PARSER_INLINE_SIZE_MAX ((size_t)64 << 10)
/* Arguments that need no memory beside the parser. */
#define WDB_PARSER_PARTS_BUILT_IN 8

struct wdb_parser_limits {
    int64_t argument_count_max; /* 2^31-1; before AUTH 10 */
    uint64_t bulk_size_max;     /* proto-max-bulk-len; before AUTH 16 KiB */
    size_t inline_size_max;     /* 64 KiB */
};

enum wdb_parse_result {
    WDB_PARSE_REQUEST,    /* one whole request; *consumed_out bytes are it */
    WDB_PARSE_INCOMPLETE, /* more bytes are needed */
    WDB_PARSE_EMPTY,      /* an empty line or *0: skip *consumed_out bytes */
    WDB_PARSE_ERROR,      /* protocol error: answer, then close */
};

struct wdb_parser_part {
    uint64_t offset, size;
};

struct wdb_parser {
    int64_t remaining; /* arguments of a multibulk still to come; 0 = start */
    size_t offset;     /* parsed (or at the start: searched) bytes so far */
    int64_t bulk_size; /* of the argument being read, -1 = its header */
    struct wdb_parser_part *parts; /* of each argument so far */
    uint32_t part_count, part_capacity;
    struct wdb_parser_part built_in[WDB_PARSER_PARTS_BUILT_IN];
    uint8_t *quoted; /* arguments of an inline request with quotes */
    size_t quoted_capacity;
    bool is_quoted;  /* parts are in `quoted`, not in the caller's data */
    char error[128]; /* "Protocol error: ..." with the text Redis uses */
};

/* The parser must not be copied or moved afterwards. */
void wdb_parser_init(struct wdb_parser *parser);
void wdb_parser_release(struct wdb_parser *parser);
/*
 * Try to read one request from the start of data (which begins where the last
 * consumed request ended; a rest that was INCOMPLETE must come again, longer).
 * On REQUEST the arguments are given by wdb_parser_argument until the next
 * call. size_hint_out (may be NULL): how many bytes the rest of a big argument
 * still needs, 0 if unknown. Without memory: ERROR.
 */
enum wdb_parse_result wdb_parser_next(struct wdb_parser *parser,
                                      const struct wdb_parser_limits *limits,
                                      const uint8_t *data, size_t size,
                                      size_t *consumed_out,
                                      size_t *size_hint_out);
/* Forget how far it got: the next call gets the start of a request that was
 * parsed (wholly or in part) before. */
void wdb_parser_restart(struct wdb_parser *parser);
/* After REQUEST: number of arguments, and one of them. Those of an inline
 * request with quotes live in memory of the parser until the next call
 * (parser->is_quoted), all others in data. */
static inline uint32_t wdb_parser_argument_count(
    const struct wdb_parser *parser)
{
    return parser->part_count;
}
static inline struct wdb_slice wdb_parser_argument(
    const struct wdb_parser *parser, const uint8_t *data, uint32_t i)
{
    const struct wdb_parser_part *part = &parser->parts[i];
    const uint8_t *base = parser->is_quoted ? parser->quoted : data;
    return wdb_slice(base + part->offset, part->size);
}

#endif
