/* test_resp_parser.c - requests whole, in pieces, and malformed. */
#include <stdio.h>
#include <stdlib.h>

#include "base/split.h"
#include "lib/fault_alloc.h"
#include "lib/test.h"
#include "resp/parser.h"

static const struct wdb_parser_limits normal_limits = {
    .argument_count_max = WDB_PARSER_ARGUMENTS_MAX,
    .bulk_size_max = (uint64_t)512 << 20,
    .inline_size_max = WDB_PARSER_INLINE_SIZE_MAX,
};
static const struct wdb_parser_limits strict_limits = {
    .argument_count_max = 10,
    .bulk_size_max = 16384,
    .inline_size_max = WDB_PARSER_INLINE_SIZE_MAX,
};

/* The arguments in brackets, "[SET][a]", or "error: TEXT", "empty", "more". */
static const char *describe(enum wdb_parse_result result,
                            const struct wdb_parser *parser,
                            const uint8_t *data)
{
    static char text[4096];
    size_t at = 0;
    switch (result) {
    case WDB_PARSE_INCOMPLETE:
        return "more";
    case WDB_PARSE_EMPTY:
        return "empty";
    case WDB_PARSE_ERROR:
        snprintf(text, sizeof(text), "error: %s", parser->error);
        return text;
    case WDB_PARSE_REQUEST:
        break;
    }
    text[0] = 0;
    for (uint32_t i = 0; i < wdb_parser_argument_count(parser); i++) {
        struct wdb_slice argument = wdb_parser_argument(parser, data, i);
        at += (size_t)snprintf(text + at, sizeof(text) - at, "[%.*s]",
                               (int)argument.size, (const char *)argument.data);
    }
    return text;
}

static const char *parse_with(const struct wdb_parser_limits *limits,
                              const char *input, size_t size)
{
    static struct wdb_parser parser;
    size_t consumed;
    /* A copy without a byte behind it, so that reading too far is noticed. */
    uint8_t *data = malloc(size == 0 ? 1 : size);
    memcpy(data, input, size);
    wdb_parser_init(&parser);
    enum wdb_parse_result result =
        wdb_parser_next(&parser, limits, data, size, &consumed, NULL);
    const char *text = describe(result, &parser, data);
    if (result == WDB_PARSE_REQUEST || result == WDB_PARSE_EMPTY) {
        CHECK(consumed > 0 && consumed <= size);
    }
    wdb_parser_release(&parser);
    free(data);
    return text;
}

#define PARSE(text)  parse_with(&normal_limits, (text), sizeof(text) - 1)
#define STRICT(text) parse_with(&strict_limits, (text), sizeof(text) - 1)

/* Multibulk requests, empty ones, and arguments with any bytes. */
TEST(multibulk)
{
    CHECK_STR(PARSE("*1\r\n$4\r\nPING\r\n"), "[PING]");
    CHECK_STR(PARSE("*3\r\n$3\r\nSET\r\n$1\r\na\r\n$0\r\n\r\n"), "[SET][a][]");
    CHECK_STR(PARSE("*2\r\n$3\r\nGET\r\n$4\r\n\r\n$1\r\n"), "[GET][\r\n$1]");
    CHECK_STR(PARSE("*0\r\n"), "empty");
    CHECK_STR(PARSE("*-1\r\n"), "empty");
    CHECK_STR(PARSE("*-2147483648\r\n"), "empty");
    CHECK_STR(PARSE("\r\n"), "empty");
    CHECK_STR(PARSE("\n"), "empty");
    CHECK_STR(PARSE("   \t \r\n"), "empty");
    /* As in Redis, the bytes behind an argument are not looked at. */
    CHECK_STR(PARSE("*1\rx$4\r\nPINGab"), "[PING]");
}

/* Incomplete input is no error. */
TEST(incomplete)
{
    CHECK_STR(PARSE(""), "more");
    CHECK_STR(PARSE("*"), "more");
    CHECK_STR(PARSE("*1"), "more");
    CHECK_STR(PARSE("*1\r"), "more");
    CHECK_STR(PARSE("*1\r\n$"), "more");
    CHECK_STR(PARSE("*1\r\n$4\r\nPING\r"), "more");
    CHECK_STR(PARSE("PING\r"), "more");
    CHECK_STR(PARSE("*1\r\nxyz"), "more");
}

/* The texts that clients and Redis's own tests look for. */
TEST(errors)
{
    CHECK_STR(PARSE("*x\r\n"),
              "error: Protocol error: invalid multibulk length");
    CHECK_STR(PARSE("*\r\n"),
              "error: Protocol error: invalid multibulk length");
    CHECK_STR(PARSE("*3000000000\r\n"),
              "error: Protocol error: invalid multibulk length");
    CHECK_STR(PARSE("*20000000000000000000\r\n"),
              "error: Protocol error: invalid multibulk length");
    CHECK_STR(PARSE("*01\r\n$4\r\nPING\r\n"),
              "error: Protocol error: invalid multibulk length");
    CHECK_STR(PARSE("*+1\r\n"),
              "error: Protocol error: invalid multibulk length");
    CHECK_STR(PARSE("*1\r\n:4\r\nPING\r\n"),
              "error: Protocol error: expected '$', got ':'");
    CHECK_STR(PARSE("*3\r\n$3\r\nSET\r\n$1\r\nx\r\nfooz\r\n"),
              "error: Protocol error: expected '$', got 'f'");
    CHECK_STR(PARSE("*1\r\n$-1\r\n"),
              "error: Protocol error: invalid bulk length");
    CHECK_STR(PARSE("*3\r\n$3\r\nSET\r\n$1\r\nx\r\n$-10\r\n"),
              "error: Protocol error: invalid bulk length");
    CHECK_STR(PARSE("*3\r\n$3\r\nSET\r\n$1\r\nx\r\n$2000000000\r\n"),
              "error: Protocol error: invalid bulk length");
    CHECK_STR(PARSE("*1\r\n$9223372036854775807\r\n"),
              "error: Protocol error: invalid bulk length");
    CHECK_STR(PARSE("*1\r\n$x1\r\nPING\r\n"),
              "error: Protocol error: invalid bulk length");
    CHECK_STR(PARSE("*1\r\n$04\r\nPING\r\n"),
              "error: Protocol error: invalid bulk length");
    CHECK_STR(PARSE("PING \"a\r\n"),
              "error: Protocol error: unbalanced quotes in request");
    CHECK_STR(PARSE("\"a\"b\r\n"),
              "error: Protocol error: unbalanced quotes in request");
}

/* Endless headers and lines end with an error, as in Redis. */
TEST(too_long_lines)
{
    size_t size = WDB_PARSER_INLINE_SIZE_MAX + 100;
    char *data = malloc(size);
    memset(data, '1', size);
    CHECK_STR(parse_with(&normal_limits, data, size),
              "error: Protocol error: too big inline request");
    CHECK_STR(parse_with(&normal_limits, data, WDB_PARSER_INLINE_SIZE_MAX),
              "more");
    data[0] = '*';
    CHECK_STR(parse_with(&normal_limits, data, size),
              "error: Protocol error: too big mbulk count string");
    memcpy(data, "*1\r\n$", 5);
    CHECK_STR(parse_with(&normal_limits, data, size),
              "error: Protocol error: too big bulk count string");
    memcpy(data, "*1\r\nx", 5);
    CHECK_STR(parse_with(&normal_limits, data, size),
              "error: Protocol error: too big bulk count string");
    /* A whole line may be longer than what is waited for. */
    memset(data, 'x', size);
    data[size - 1] = '\n';
    struct wdb_parser parser;
    size_t consumed;
    wdb_parser_init(&parser);
    CHECK(wdb_parser_next(&parser, &normal_limits, (uint8_t *)data, size,
                          &consumed, NULL) == WDB_PARSE_REQUEST);
    CHECK_EQ(consumed, size);
    wdb_parser_release(&parser);
    free(data);
}

/* Before AUTH a request has few and short arguments. */
TEST(before_auth)
{
    CHECK_STR(STRICT("*10\r\n"), "more");
    CHECK_STR(STRICT("*11\r\n"),
              "error: Protocol error: unauthenticated multibulk length");
    CHECK_STR(STRICT("*3000000000\r\n"),
              "error: Protocol error: invalid multibulk length");
    CHECK_STR(STRICT("*1\r\n$16384\r\n"), "more");
    CHECK_STR(STRICT("*1\r\n$16385\r\n"),
              "error: Protocol error: unauthenticated bulk length");
    CHECK_STR(STRICT("*1\r\n$-5\r\n"),
              "error: Protocol error: invalid bulk length");
}

/* Inline requests: blanks, both quotes, escapes. */
TEST(inline_requests)
{
    CHECK_STR(PARSE("PING\r\n"), "[PING]");
    CHECK_STR(PARSE("PING\n"), "[PING]");
    CHECK_STR(PARSE("  set  a\tb \r\n"), "[set][a][b]");
    CHECK_STR(PARSE("set a \"b c\"\r\n"), "[set][a][b c]");
    CHECK_STR(PARSE("set a 'b \"c'\r\n"), "[set][a][b \"c]");
    CHECK_STR(PARSE("set a \"\\x41\\n\\t\\\"\\q\\xZZ\"\r\n"),
              "[set][a][A\n\t\"qxZZ]");
    CHECK_STR(PARSE("set a 'it\\'s \\n'\r\n"), "[set][a][it's \\n]");
    CHECK_STR(PARSE("set a \"\"\r\n"), "[set][a][]");
    CHECK_STR(PARSE("set ab\"cd e\"\r\n"), "[set][abcd e]");
    CHECK_STR(PARSE("a\0b c\r\n"), "[a]");
    CHECK_STR(PARSE("\"a\"\0 c\r\n"), "[a]");
    CHECK_STR(PARSE("\0\r\n"), "empty");
}

/* Quoting against a table of what sdssplitargs does. */
TEST(split_arguments)
{
    static const struct {
        const char *line, *expected;
    } cases[] = {
        {"Testing one two three", "[Testing][one][two][three]"},
        {"", ""},
        {"\"Testing split strings\" 'Another split string'",
         "[Testing split strings][Another split string]"},
        {"\"Hello\" ", "[Hello]"},
        {"\v\fa\vb c", "[a\vb][c]"},
        {"'a\\\\' b", "!"},
        {"\"a\\\\\" b", "[a\\][b]"},
        {"\"\\\"", "!"},
        {"'\\'", "!"},
        {"a'b'c", "!"},
        {"\"a\\", "!"},
        {"a\\b", "[a\\b]"},
        {"\"\\x4\" x", "[x4][x]"},
        {"\"\\a\\b\\r\"", "[\a\b\r]"},
    };
    for (size_t i = 0; i < WDB_COUNT(cases); i++) {
        char text[256] = "";
        uint8_t out[256];
        size_t position = 0, size = 0, at = 0;
        for (;;) {
            enum wdb_split_result split =
                wdb_split_next(wdb_slice_str(cases[i].line), &position, out,
                               &size);
            if (split == WDB_SPLIT_END) {
                break;
            }
            if (split == WDB_SPLIT_UNBALANCED) {
                snprintf(text, sizeof(text), "!");
                break;
            }
            at += (size_t)snprintf(text + at, sizeof(text) - at, "[%.*s]",
                                   (int)size, out);
        }
        CHECK_STR(text, cases[i].expected);
    }
}

/* Feed `input` cut at every pair of positions: the same requests come out, and
 * a byte more is never asked for than there is. */
TEST(every_split)
{
    static const char input[] =
        "*3\r\n$3\r\nSET\r\n$5\r\nk\r\ney\r\n$12\r\nhello, world\r\n"
        "PING \"a b\" c\r\n\r\n*0\r\n"
        "*1\r\n$4\r\nQUIT\r\nlast one\n*2\r\n$1\r\nx\r\n$0\r\n\r\n";
    static const char expected[] = "[SET][k\r\ney][hello, world];[PING][a b][c]"
                                   ";;;[QUIT];[last][one];[x][];";
    const size_t size = sizeof(input) - 1;
    for (size_t first = 0; first <= size; first++) {
        for (size_t second = first; second <= size; second += 3) {
            size_t ends[3] = {first, second, size};
            struct wdb_parser parser;
            char text[512] = "";
            size_t start = 0, at = 0;
            wdb_parser_init(&parser);
            for (int i = 0; i < 3; i++) {
                size_t piece = ends[i] - start;
                uint8_t *data = malloc(piece + 1);
                size_t used = 0, consumed;
                memcpy(data, input + start, piece);
                for (;;) {
                    enum wdb_parse_result result =
                        wdb_parser_next(&parser, &normal_limits, data + used,
                                        piece - used, &consumed, NULL);
                    if (result == WDB_PARSE_INCOMPLETE) {
                        break;
                    }
                    CHECK(result != WDB_PARSE_ERROR);
                    at += (size_t)snprintf(text + at, sizeof(text) - at, "%s;",
                                           result == WDB_PARSE_EMPTY
                                               ? ""
                                               : describe(result, &parser,
                                                          data + used));
                    used += consumed;
                }
                start += used;
                free(data);
            }
            CHECK_EQ(start, size);
            CHECK_STR(text, expected);
            wdb_parser_release(&parser);
            if (test_has_failed()) {
                return;
            }
        }
    }
}

/* A big argument says how much of it is missing; nothing is parsed twice. */
TEST(size_hint)
{
    static const char head[] = "*2\r\n$4\r\nECHO\r\n$1000000\r\n";
    size_t head_size = sizeof(head) - 1, size = head_size + 1000002;
    uint8_t *data = calloc(1, size);
    struct wdb_parser parser;
    size_t consumed, hint = 1;
    memcpy(data, head, head_size);
    wdb_parser_init(&parser);
    CHECK(wdb_parser_next(&parser, &normal_limits, data, 10, &consumed,
                          &hint) == WDB_PARSE_INCOMPLETE);
    CHECK_EQ(hint, 0);
    CHECK(wdb_parser_next(&parser, &normal_limits, data, head_size, &consumed,
                          &hint) == WDB_PARSE_INCOMPLETE);
    CHECK_EQ(hint, 1000002);
    CHECK(wdb_parser_next(&parser, &normal_limits, data, size - 1, &consumed,
                          &hint) == WDB_PARSE_INCOMPLETE);
    CHECK_EQ(hint, 1);
    CHECK(wdb_parser_next(&parser, &normal_limits, data, size, &consumed,
                          &hint) == WDB_PARSE_REQUEST);
    CHECK_EQ(hint, 0);
    CHECK_EQ(consumed, size);
    CHECK_EQ(wdb_parser_argument(&parser, data, 1).size, 1000000);
    wdb_parser_release(&parser);
    free(data);
}

/* After a restart the same bytes are parsed from their start again. */
TEST(restart)
{
    static const char input[] =
        "*1\r\n$4\r\nPING\r\n*2\r\n$4\r\nECHO\r\n$9\r\nab";
    const uint8_t *data = (const uint8_t *)input;
    struct wdb_parser parser;
    size_t consumed;
    wdb_parser_init(&parser);
    for (int i = 0; i < 2; i++) {
        CHECK(wdb_parser_next(&parser, &normal_limits, data, sizeof(input) - 1,
                              &consumed, NULL) == WDB_PARSE_REQUEST);
        CHECK_STR(describe(WDB_PARSE_REQUEST, &parser, data), "[PING]");
        CHECK(wdb_parser_next(&parser, &normal_limits, data + consumed,
                              sizeof(input) - 1 - consumed, &consumed,
                              NULL) == WDB_PARSE_INCOMPLETE);
        wdb_parser_restart(&parser);
    }
    wdb_parser_release(&parser);
}

/* Very many arguments; their memory is given back with the next request. */
TEST(many_arguments)
{
    enum {
        COUNT = 200000
    };
    uint8_t *data = malloc((size_t)COUNT * 7 + 32);
    size_t size = (size_t)snprintf((char *)data, 32, "*%d\r\n", COUNT);
    for (int i = 0; i < COUNT; i++) {
        memcpy(data + size, "$1\r\nx\r\n", 7);
        data[size + 4] = (uint8_t)('a' + i % 26);
        size += 7;
    }
    struct wdb_parser parser;
    size_t consumed;
    wdb_parser_init(&parser);
    for (size_t part = 0; part < size; part += 1000) {
        CHECK(wdb_parser_next(&parser, &normal_limits, data, part, &consumed,
                              NULL) == WDB_PARSE_INCOMPLETE);
    }
    CHECK(wdb_parser_next(&parser, &normal_limits, data, size, &consumed,
                          NULL) == WDB_PARSE_REQUEST);
    CHECK_EQ(wdb_parser_argument_count(&parser), COUNT);
    CHECK_EQ(*wdb_parser_argument(&parser, data, 27).data, 'b');
    CHECK(wdb_parser_next(&parser, &normal_limits, (const uint8_t *)"PING\r\n",
                          6, &consumed, NULL) == WDB_PARSE_REQUEST);
    CHECK(parser.parts == parser.built_in);
    wdb_parser_release(&parser);
    free(data);
}

/* Without memory a request is refused, not half read. */
#define A "$1\r\na\r\n"
TEST(out_of_memory)
{
    static const char *const inputs[] = {
        "\"a\"\r\n",
        "a b c d e f g h i j\r\n",
        ("*9\r\n" A A A A A A A A A),
    };
    for (size_t i = 0; i < WDB_COUNT(inputs); i++) {
        struct wdb_parser parser;
        size_t consumed;
        wdb_parser_init(&parser);
        fault_alloc_arm(1);
        enum wdb_parse_result result =
            wdb_parser_next(&parser, &normal_limits, (const uint8_t *)inputs[i],
                            strlen(inputs[i]), &consumed, NULL);
        CHECK(fault_alloc_disarm());
        CHECK(result == WDB_PARSE_ERROR);
        CHECK_STR(parser.error, "Protocol error: out of memory");
        wdb_parser_release(&parser);
    }
}

/* How long a pipelined SET takes to parse; printed, not judged. */
TEST(speed)
{
    enum {
        COUNT = 64
    };
    static uint8_t data[COUNT * 64];
    size_t size = 0;
    for (int i = 0; i < COUNT; i++) {
        size += (size_t)snprintf((char *)data + size, sizeof(data) - size,
                                 "*3\r\n$3\r\nSET\r\n$16\r\nkey:%012d\r\n$"
                                 "16\r\nxxxxxxxxxxxxxxxx\r\n",
                                 i);
    }
    struct wdb_parser parser;
    uint64_t rounds = test_number("WDB_TEST_ROUNDS", 1000), total = 0;
    wdb_parser_init(&parser);
    uint64_t start = test_now_ns();
    for (uint64_t round = 0; round < rounds; round++) {
        size_t used = 0, consumed;
        while (wdb_parser_next(&parser, &normal_limits, data + used,
                               size - used, &consumed,
                               NULL) == WDB_PARSE_REQUEST) {
            total += wdb_parser_argument(&parser, data + used, 1).size;
            used += consumed;
        }
    }
    uint64_t elapsed = test_now_ns() - start;
    CHECK_EQ(total, rounds * COUNT * 16);
    printf("SET of 16 bytes: %.1f ns a request\n",
           (double)elapsed / (double)(rounds * COUNT));
    wdb_parser_release(&parser);
}
