/* test_resp_reply.c - every kind of reply in both protocols. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/test.h"
#include "resp/reply.h"

static struct wdb_output output;

/* What was written since the last call, as a string. */
static const char *written(void)
{
    static char text[100000];
    struct iovec vector[64];
    int count = wdb_output_peek(&output, vector, 64, sizeof(text) - 1);
    size_t size = 0;
    for (int i = 0; i < count; i++) {
        memcpy(text + size, vector[i].iov_base, vector[i].iov_len);
        size += vector[i].iov_len;
    }
    text[size] = 0;
    wdb_output_consume(&output, output.size);
    return text;
}

static struct wdb_reply reply(int protocol)
{
    return (struct wdb_reply){.output = &output, .protocol = protocol};
}

#define CHECK_BOTH(call, resp2, resp3)                                         \
    do {                                                                       \
        struct wdb_reply two = reply(2), three = reply(3);                     \
        struct wdb_reply *r = &two;                                            \
        call;                                                                  \
        CHECK_STR(written(), resp2);                                           \
        r = &three;                                                            \
        call;                                                                  \
        CHECK_STR(written(), resp3);                                           \
    } while (0)

/* Each kind has the form of its protocol. */
TEST(all_kinds)
{
    CHECK_BOTH(wdb_reply_ok(r), "+OK\r\n", "+OK\r\n");
    CHECK_BOTH(wdb_reply_simple(r, "PONG"), "+PONG\r\n", "+PONG\r\n");
    CHECK_BOTH(wdb_reply_bulk_str(r, "ab"), "$2\r\nab\r\n", "$2\r\nab\r\n");
    CHECK_BOTH(wdb_reply_bulk(r, wdb_slice(NULL, 0)), "$0\r\n\r\n",
               "$0\r\n\r\n");
    CHECK_BOTH(wdb_reply_null(r), "$-1\r\n", "_\r\n");
    CHECK_BOTH(wdb_reply_null_array(r), "*-1\r\n", "_\r\n");
    CHECK_BOTH(wdb_reply_array(r, 3), "*3\r\n", "*3\r\n");
    CHECK_BOTH(wdb_reply_map(r, 3), "*6\r\n", "%3\r\n");
    CHECK_BOTH(wdb_reply_set(r, 12), "*12\r\n", "~12\r\n");
    CHECK_BOTH(wdb_reply_push(r, 2), "*2\r\n", ">2\r\n");
    CHECK_BOTH(wdb_reply_bool(r, true), ":1\r\n", "#t\r\n");
    CHECK_BOTH(wdb_reply_bool(r, false), ":0\r\n", "#f\r\n");
    CHECK_BOTH(wdb_reply_double(r, 1.5), "$3\r\n1.5\r\n", ",1.5\r\n");
    CHECK_BOTH(wdb_reply_double(r, -INFINITY), "$4\r\n-inf\r\n", ",-inf\r\n");
    CHECK_BOTH(wdb_reply_verbatim(r, "txt", wdb_slice_str("hey")),
               "$3\r\nhey\r\n", "=7\r\ntxt:hey\r\n");
    CHECK_BOTH(wdb_reply_big_number(r, "123456789012345678901234567890"),
               "$30\r\n123456789012345678901234567890\r\n",
               "(123456789012345678901234567890\r\n");
    wdb_output_release(&output);
}

/* Integers of every length, with both signs and the extremes. */
TEST(integers)
{
    char expected[64];
    struct wdb_reply r = reply(2);
    int64_t value = 1;
    for (int digits = 0; digits < 19; digits++, value *= 10) {
        for (int64_t delta = -2; delta <= 2; delta++) {
            for (int sign = -1; sign <= 1; sign += 2) {
                int64_t number = sign * (value + delta);
                snprintf(expected, sizeof(expected), ":%lld\r\n",
                         (long long)number);
                wdb_reply_integer(&r, number);
                CHECK_STR(written(), expected);
                int size = snprintf(NULL, 0, "%lld", (long long)number);
                snprintf(expected, sizeof(expected), "$%d\r\n%lld\r\n", size,
                         (long long)number);
                wdb_reply_bulk_integer(&r, number);
                CHECK_STR(written(), expected);
            }
        }
        if (digits == 18) {
            break;
        }
    }
    wdb_reply_integer(&r, INT64_MIN);
    CHECK_STR(written(), ":-9223372036854775808\r\n");
    wdb_reply_integer(&r, INT64_MAX);
    CHECK_STR(written(), ":9223372036854775807\r\n");
    wdb_reply_array(&r, SIZE_MAX);
    CHECK_STR(written(), "*18446744073709551615\r\n");
    wdb_output_release(&output);
}

/* An error is one line and is counted; a long one is cut. */
TEST(errors)
{
    struct wdb_reply r = reply(2);
    wdb_reply_error(&r, "ERR bad '%s' and %d", "a\r\nb", 5);
    CHECK_STR(written(), "-ERR bad 'a  b' and 5\r\n");
    CHECK_EQ(r.error_count, 1);
    char *text = malloc(10001);
    memset(text, 'x', 10000);
    text[10000] = 0;
    wdb_reply_error(&r, "ERR %s", text);
    const char *line = written();
    CHECK(strlen(line) > 3000 && strlen(line) < 4096);
    CHECK(memcmp(line, "-ERR xxx", 8) == 0);
    CHECK(strcmp(line + strlen(line) - 3, "x\r\n") == 0);
    free(text);
    wdb_output_release(&output);
}

static void set_flag(void *context)
{
    *(bool *)context = true;
}

/* Bulks of sizes around the limits of blocks, copied and borrowed. */
TEST(bulks_of_any_size)
{
    static uint8_t value[70000];
    char head[32];
    memset(value, 'v', sizeof(value));
    for (size_t size = 0; size < sizeof(value); size = size * 5 / 4 + 1) {
        struct wdb_reply r = reply(2);
        bool released = false;
        int head_size = snprintf(head, sizeof(head), "$%zu\r\n", size);
        for (int borrowed = 0; borrowed < 2; borrowed++) {
            if (borrowed) {
                wdb_reply_bulk_borrowed(&r, wdb_slice(value, size), set_flag,
                                        &released);
            } else {
                wdb_reply_bulk(&r, wdb_slice(value, size));
            }
            REQUIRE_EQ(output.size, (size_t)head_size + size + 2);
            const char *text = written();
            CHECK_MEM(text, (size_t)head_size, head, (size_t)head_size);
            CHECK_MEM(text + head_size, size, value, size);
            CHECK_STR(text + head_size + size, "\r\n");
        }
        CHECK(released);
    }
    wdb_output_release(&output);
}
