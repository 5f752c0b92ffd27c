/*
 * fuzz_resp.c - the parser of requests, fed in pieces.
 *
 * The first byte chooses the limits, and the bytes of the input choose where
 * it is cut: what comes out in pieces must be what comes out in one run.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "resp/parser.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct digest {
    uint64_t hash;
    uint64_t requests;
    bool failed;
};

static void add(struct digest *digest, const void *data, size_t size)
{
    const uint8_t *bytes = data;
    for (size_t i = 0; i < size; i++) {
        digest->hash = (digest->hash ^ bytes[i]) * 0x100000001b3;
    }
}

static void add_request(struct digest *digest, const struct wdb_parser *parser,
                        const uint8_t *data, size_t consumed)
{
    uint32_t count = wdb_parser_argument_count(parser);
    wdb_assert(count > 0);
    digest->requests++;
    add(digest, &count, sizeof(count));
    for (uint32_t i = 0; i < count; i++) {
        struct wdb_slice argument = wdb_parser_argument(parser, data, i);
        wdb_assert(parser->is_quoted ||
                   (argument.data >= data &&
                    argument.data + argument.size <= data + consumed));
        add(digest, &argument.size, sizeof(argument.size));
        add(digest, argument.data, argument.size);
    }
}

/* Parse all that data holds; returns how much was consumed. */
static size_t drain(struct wdb_parser *parser,
                    const struct wdb_parser_limits *limits, const uint8_t *data,
                    size_t size, struct digest *digest)
{
    size_t used = 0;
    while (!digest->failed) {
        size_t consumed, hint;
        enum wdb_parse_result result =
            wdb_parser_next(parser, limits, data + used, size - used, &consumed,
                            &hint);
        if (result == WDB_PARSE_INCOMPLETE) {
            break;
        }
        if (result == WDB_PARSE_ERROR) {
            wdb_assert(memcmp(parser->error, "Protocol error: ", 16) == 0);
            digest->failed = true;
            add(digest, parser->error, strlen(parser->error));
            break;
        }
        wdb_assert(consumed > 0 && consumed <= size - used);
        wdb_assert(hint == 0);
        if (result == WDB_PARSE_REQUEST) {
            add_request(digest, parser, data + used, consumed);
        }
        used += consumed;
    }
    return used;
}

static struct digest parse_whole(const struct wdb_parser_limits *limits,
                                 const uint8_t *data, size_t size)
{
    struct digest digest = {.hash = 0xcbf29ce484222325};
    struct wdb_parser parser;
    wdb_parser_init(&parser);
    drain(&parser, limits, data, size, &digest);
    wdb_parser_release(&parser);
    return digest;
}

static struct digest parse_pieces(const struct wdb_parser_limits *limits,
                                  const uint8_t *data, size_t size)
{
    struct digest digest = {.hash = 0xcbf29ce484222325};
    struct wdb_parser parser;
    size_t start = 0, end = 0, step = 0;
    wdb_parser_init(&parser);
    while (end < size && !digest.failed) {
        size_t piece = 1 + data[step++ % size] % 13;
        end = piece > size - end ? size : end + piece;
        /* Another place each time, and nothing readable behind the end. */
        uint8_t *copy = malloc(end - start);
        wdb_assert(copy != NULL);
        memcpy(copy, data + start, end - start);
        start += drain(&parser, limits, copy, end - start, &digest);
        free(copy);
    }
    wdb_parser_release(&parser);
    return digest;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct wdb_parser_limits limits = {
        .argument_count_max = WDB_PARSER_ARGUMENTS_MAX,
        .bulk_size_max = (uint64_t)512 << 20,
        .inline_size_max = WDB_PARSER_INLINE_SIZE_MAX,
    };
    if (size == 0) {
        return 0;
    }
    if (data[0] & 1) {
        limits.argument_count_max = 10;
        limits.bulk_size_max = 100;
    }
    if (data[0] & 2) {
        limits.inline_size_max = 40;
    }
    struct digest whole = parse_whole(&limits, data + 1, size - 1);
    struct digest pieces = parse_pieces(&limits, data + 1, size - 1);
    /* A line that is longer than allowed but whole passes in one piece only. */
    if ((data[0] & 2) == 0 || (!whole.failed && !pieces.failed)) {
        wdb_assert(whole.requests == pieces.requests);
        wdb_assert(whole.hash == pieces.hash);
    }
    return 0;
}
