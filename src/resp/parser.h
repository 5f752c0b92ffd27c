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

struct wdb_parser {
    int64_t remaining; /* arguments of a multibulk still to come; 0 = start */
    size_t offset;     /* parsed bytes of the request so far */
    int64_t bulk_size; /* of the argument being read, -1 = its header */
    uint64_t *parts;   /* offset and size of each argument so far */
    uint32_t part_count, part_capacity;
    char error[128]; /* "Protocol error: ..." with the text Redis uses */
};

void wdb_parser_init(struct wdb_parser *parser);
void wdb_parser_release(struct wdb_parser *parser);
/*
 * Try to read one request from the start of data (which begins where the last
 * consumed request ended; a rest that was INCOMPLETE must come again, longer).
 * On REQUEST the arguments are given by wdb_parser_argument until the next
 * call. size_hint_out (may be NULL): how many bytes the rest of a big argument
 * still needs, 0 if unknown.
 */
enum wdb_parse_result wdb_parser_next(struct wdb_parser *parser,
                                      const struct wdb_parser_limits *limits,
                                      const uint8_t *data, size_t size,
                                      size_t *consumed_out,
                                      size_t *size_hint_out);
/* After REQUEST: number of arguments, and one of them (inline ones with quotes
 * live in memory of the parser until the next call). */
uint32_t wdb_parser_argument_count(const struct wdb_parser *parser);
struct wdb_slice wdb_parser_argument(const struct wdb_parser *parser,
                                     const uint8_t *data, uint32_t i);

#endif
