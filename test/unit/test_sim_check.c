/* test_sim_check.c - the checkers know good histories from bad ones. */
#include <stdio.h>

#include "lib/test.h"
#include "sim/check_append.h"
#include "sim/check_linear.h"
#include "walkerdb.h"

struct verdict {
    uint64_t passed, failed, undecided;
    char text[4000];
};

/* Lines: "CLIENT START END STATUS REST", END - for none, REST as JSON. */
static struct verdict judge(const char *lines)
{
    struct history history;
    struct history_report report = {0};
    struct verdict verdict = {0};
    history_init(&history);
    while (*lines != '\0') {
        char line[1000], status[16], end[32], rest[800];
        unsigned client;
        unsigned long long start;
        int used = 0;
        if (sscanf(lines, " %u %llu %31s %15s %799[^\n]%n", &client, &start,
                   end, status, rest, &used) < 5) {
            test_fail(__FILE__, __LINE__, "bad line: %s", lines);
            break;
        }
        lines += used;
        lines += strspn(lines, " \n");
        snprintf(line, sizeof(line),
                 "{\"client\":%u,\"start\":%llu,\"end\":%s,\"status\":\"%s\","
                 "%s}",
                 client, start, end[0] == '-' ? "null" : end, status, rest);
        const char *error;
        const int rc = history_parse(&history, line, strlen(line), &error);
        if (rc != 0) {
            test_fail(__FILE__, __LINE__, "%s: %s", error, line);
        }
    }
    check_linear(&history, 1000000, &report);
    check_append(&history, &report);
    verdict.passed = report.passed;
    verdict.failed = report.failed;
    verdict.undecided = report.undecided;
    snprintf(verdict.text, sizeof(verdict.text), "%.*s", (int)report.text.size,
             report.text.size == 0 ? "" : (const char *)report.text.data);
    history_report_release(&report);
    history_release(&history);
    return verdict;
}

static void check_good(const char *lines, int line)
{
    const struct verdict v = judge(lines);
    if (v.failed != 0 || v.passed == 0 || v.undecided != 0) {
        test_fail(__FILE__, line, "%llu passed, %llu failed: %s",
                  (unsigned long long)v.passed, (unsigned long long)v.failed,
                  v.text);
    }
}

static void check_bad(const char *lines, const char *why, int line)
{
    const struct verdict v = judge(lines);
    if (v.failed == 0 || strstr(v.text, why) == NULL) {
        test_fail(__FILE__, line, "expected \"%s\", got \"%s\"", why, v.text);
    }
}

#define GOOD(lines)     check_good((lines), __LINE__)
#define BAD(lines, why) check_bad((lines), (why), __LINE__)

#define K       "\"key\":\"k\""
#define SET(v)  "\"op\":\"set\"," K ",\"value\":\"" v "\"\n"
#define GET(v)  "\"op\":\"get\"," K ",\"result\":\"" v "\"\n"
#define GET_NIL "\"op\":\"get\"," K ",\"result\":null\n"
#define INCR(v) "\"op\":\"incr\"," K ",\"result\":" v "\n"
#define CAS(e, v)                                                              \
    "\"op\":\"cas\"," K ",\"expect\":\"" e "\",\"value\":\"" v "\"\n"
#define SETNX(v, r)                                                            \
    "\"op\":\"setnx\"," K ",\"value\":\"" v "\",\"result\":" r "\n"
#define GETSET(v, r)                                                           \
    "\"op\":\"getset\"," K ",\"value\":\"" v "\",\"result\":" r "\n"
#define DEL "\"op\":\"del\"," K "\n"

/* One after the other. */
TEST(linear_sequential)
{
    GOOD("1 0 1 ok " GET_NIL "1 2 3 ok " SET("a") "1 4 5 ok " GET(
        "a") "2 6 7 ok " DEL "2 8 9 ok " GET_NIL);
}

/* Reads beside a write may see either, but not first the new, then the old. */
TEST(linear_concurrent)
{
    GOOD("1 0 1 ok " SET("a") "1 10 50 ok " SET("b") "2 11 20 ok " GET(
        "a") "3 12 30 ok " GET("b") "2 31 32 ok " GET("b"));
    BAD("1 0 1 ok " SET("a") "1 10 50 ok " SET("b") "2 11 20 ok " GET(
            "b") "3 21 30 ok " GET("a"),
        "not linearizable");
}

/* A read of what was overwritten before it began. */
TEST(linear_stale_read)
{
    BAD("1 0 1 ok " SET("a") "1 2 3 ok " SET("b") "2 4 5 ok " GET("a"),
        "not linearizable");
    BAD("1 0 1 ok " SET("a") "2 4 5 ok " GET_NIL, "not linearizable");
    GOOD("1 0 1 ok " SET("a") "1 2 3 ok " SET(
        "b") "2 4 5 ok \"level\":\"stale\"," GET("a"));
    BAD("1 0 1 ok " SET("a") "2 4 5 ok \"level\":\"stale\"," GET("c"),
        "nobody wrote");
    BAD("1 0 1 fail " SET("a") "2 4 5 ok \"level\":\"leader\"," GET("a"),
        "nobody wrote");
}

/* What was refused must never be seen; what is unknown may, at any time. */
TEST(linear_unknown)
{
    BAD("1 0 1 fail " SET("a") "2 2 3 ok " GET("a"), "not linearizable");
    GOOD("1 0 - unknown " SET("a") "2 2 3 ok " GET_NIL "2 8 9 ok " GET("a"));
    BAD("1 0 - unknown " SET("a") "2 2 3 ok " GET("a") "2 4 5 ok " GET_NIL,
        "not linearizable");
    BAD("1 10 - unknown " SET("a") "2 2 3 ok " GET("a"), "not linearizable");
    GOOD("1 0 - unknown " SET("a") "2 2 3 ok " SET("b") "2 4 5 ok " GET("a"));
    BAD("1 0 - unknown " SET("a") "2 2 3 ok " GET("a") "2 4 5 ok " SET(
            "b") "2 6 7 ok " GET("a"),
        "not linearizable");
}

/* Counters: each number once. */
TEST(linear_counter)
{
    GOOD("1 0 9 ok " INCR("2") "2 1 8 ok " INCR("1") "3 2 7 ok " INCR("3"));
    BAD("1 0 9 ok " INCR("1") "2 1 8 ok " INCR("1"), "not linearizable");
    GOOD("1 0 - unknown " INCR("0") "2 1 8 ok " INCR("2"));
    BAD("1 0 - unknown " INCR("0") "2 1 8 ok " INCR("3"), "not linearizable");
    BAD("1 0 9 fail " INCR("0") "2 11 18 ok " INCR("2"), "it");
}

/* Two that saw the same and both wrote: a lost update. */
TEST(linear_compare_and_set)
{
    GOOD("1 0 1 ok " SET("a") "1 2 9 ok " CAS("a", "b") "2 3 8 fail " CAS(
        "a", "c") "1 10 11 ok " GET("b"));
    BAD("1 0 1 ok " SET("a") "1 2 9 ok " CAS("a", "b") "2 3 8 ok " CAS("a",
                                                                       "c"),
        "not linearizable");
    GOOD("1 0 9 ok " SETNX("a", "true") "2 1 8 ok " SETNX(
        "b", "false") "2 10 11 ok " GET("a"));
    BAD("1 0 9 ok " SETNX("a", "true") "2 1 8 ok " SETNX("b", "true"),
        "not linearizable");
    GOOD("1 0 9 ok " GETSET("a", "null") "2 1 8 ok " GETSET("b", "\"a\""));
    BAD("1 0 9 ok " GETSET("a", "null") "2 1 8 ok " GETSET("b", "null"),
        "not linearizable");
}

/* Keys with a time to live go once, and stay away. */
TEST(linear_expiry)
{
    GOOD("1 0 1 ok \"ttl\":true," SET("a") "1 2 3 ok " GET(
        "a") "1 4 5 ok " GET_NIL "1 6 7 ok " GET_NIL);
    BAD("1 0 1 ok \"ttl\":true," SET("a") "1 4 5 ok " GET_NIL
                                          "1 6 7 ok " GET("a"),
        "not linearizable");
    BAD("1 0 1 ok \"ttl\":true," SET("a") "1 2 3 ok " SET(
            "b") "1 4 5 ok " GET_NIL,
        "not linearizable");
}

/* A flush is a deletion of each key. */
TEST(linear_flush)
{
    GOOD("1 0 1 ok " SET("a") "1 2 3 ok \"op\":\"flush\"\n"
                              "1 4 5 ok " GET_NIL);
    BAD("1 0 1 ok " SET("a") "1 2 3 ok \"op\":\"flush\"\n"
                             "1 4 5 ok " GET("a"),
        "not linearizable");
}

/* Many unknown operations of the same kind do not blow the search up. */
TEST(linear_many_unknown)
{
    static char text[100000];
    size_t size = 0;
    for (int i = 0; i < 60; i++) {
        size += (size_t)snprintf(text + size, sizeof(text) - size,
                                 "%d %d - unknown " INCR("0"), i, i);
    }
    for (int i = 0; i < 100; i++) {
        size += (size_t)snprintf(text + size, sizeof(text) - size,
                                 "1000 %d %d ok \"op\":\"incr\"," K
                                 ",\"result\":%d\n",
                                 1000 + 2 * i, 1001 + 2 * i, 2 + i + i / 4);
    }
    GOOD(text);
}

/* A random register with many clients: what really happened is accepted, and
 * with one read changed it is not. */
TEST(linear_random)
{
    struct test_random random = {7};
    static char text[100000];
    for (int round = 0; round < 30; round++) {
        size_t size = 0;
        int value = 0;
        for (int i = 0; i < 200; i++) {
            /* Takes effect at 10 i; lasts from before to behind it. */
            const int start =
                10 * i + 1000 - (int)test_random_below(&random, 60);
            const int end = 10 * i + 1001 + (int)test_random_below(&random, 60);
            if (i == 0 || test_random_below(&random, 2) == 0) {
                value = i + 1;
                size += (size_t)snprintf(text + size, sizeof(text) - size,
                                         "%d %d %d ok \"op\":\"set\"," K
                                         ",\"value\":\"%d\"\n",
                                         i, start, end, value);
            } else {
                size += (size_t)snprintf(text + size, sizeof(text) - size,
                                         "%d %d %d ok \"op\":\"get\"," K
                                         ",\"result\":\"%d\"\n",
                                         i, start, end, value);
            }
        }
        GOOD(text);
        snprintf(text + size, sizeof(text) - size,
                 "999 9000 9001 ok \"op\":\"get\"," K ",\"result\":\"1\"\n");
        BAD(text, "not linearizable");
    }
}

/* --- appends --------------------------------------------------------------- */

#define APPEND(k, v) "{\"op\":\"append\",\"key\":\"" k "\",\"value\":\"" v "\"}"
#define READ(k, v)   "{\"op\":\"get\",\"key\":\"" k "\",\"result\":\"" v "\"}"
#define READ_NIL(k)  "{\"op\":\"get\",\"key\":\"" k "\",\"result\":null}"
#define TXN(ops)     "\"op\":\"txn\",\"ops\":[" ops "]\n"

/* Transactions one after the other. */
TEST(append_good)
{
    GOOD("1 0 1 ok " TXN(APPEND("x", "a") "," APPEND("y", "b")) "2 2 3 ok " TXN(
        READ("x", "a,") "," APPEND("x", "c") "," READ(
            "y",
            "b,")) "1 4 5 ok " TXN(READ("x",
                                        "a,c,")) "1 6 7 ok "
                                                 "\"op\":\"append\",\"key\":"
                                                 "\"x\",\"value\":\"d\"\n"
                                                 "1 8 9 ok "
                                                 "\"op\":\"get\",\"key\":\"x\","
                                                 "\"result\":\"a,c,d,\"\n");
    GOOD("1 0 9 ok " TXN(APPEND("x", "a") "," READ("x", "a,")) "2 0 9 ok " TXN(
        READ("x", "a,") "," APPEND("x", "b") "," READ("x", "a,b,")));
}

/* G0: two transactions' appends are in different orders. */
TEST(append_write_cycle)
{
    BAD("1 0 9 ok " TXN(APPEND("x", "a") "," APPEND("y", "a")) "2 0 9 ok " TXN(
            APPEND("x", "b") "," APPEND(
                "y", "b")) "1 10 19 ok " TXN(READ("x",
                                                  "a,b,") "," READ("y",
                                                                   "b,a,")),
        "G0");
}

/* G1a: what was refused is seen. */
TEST(append_aborted_read)
{
    BAD("1 0 1 fail " TXN(APPEND("x", "a")) "2 2 3 ok " TXN(READ("x", "a,")),
        "G1a");
}

/* G1b: half of a transaction is seen. */
TEST(append_intermediate_read)
{
    BAD("1 0 9 ok " TXN(APPEND("x", "a") "," APPEND("x", "b")) "2 0 9 ok " TXN(
            READ("x", "a,")) "1 10 11 ok " TXN(READ("x", "a,b,")),
        "G1b");
}

/* G1c: each saw the other's append. */
TEST(append_circular)
{
    BAD("1 0 9 ok " TXN(APPEND("x", "a") "," READ("y", "b,")) "2 0 9 ok " TXN(
            APPEND("y", "b") "," READ("x", "a,")),
        "G1c");
}

/* G2: neither saw the other's append (write skew, lost update). */
TEST(append_skew)
{
    BAD("1 0 9 ok " TXN(READ_NIL("x") "," APPEND("y", "b")) "2 0 9 ok " TXN(
            READ_NIL("y") "," APPEND(
                "x", "a")) "1 10 19 ok " TXN(READ("x", "a,") "," READ("y",
                                                                      "b,")),
        "G2");
    BAD("1 0 9 ok " TXN(READ_NIL("x") "," APPEND("x", "b")) "2 0 9 ok " TXN(
            READ_NIL("x") "," APPEND("x", "a")) "1 10 19 ok " TXN(READ("x",
                                                                       "a,b,")),
        "G2");
}

/* An acknowledged append that nobody sees any more is lost. */
TEST(append_lost)
{
    BAD("1 0 1 ok " TXN(APPEND("x", "a")) "2 2 3 ok " TXN(READ_NIL("x")),
        "realtime");
    BAD("1 0 1 ok " TXN(APPEND("x", "a")) "1 2 3 ok " TXN(
            APPEND("x", "b")) "2 4 5 ok " TXN(READ("x", "b,")),
        "realtime");
    GOOD("1 0 - unknown " TXN(APPEND("x", "a")) "1 2 3 ok " TXN(
        APPEND("x", "b")) "2 4 5 ok " TXN(READ("x", "b,")));
}

/* An unknown transaction took effect whole or not at all. */
TEST(append_half)
{
    BAD("1 0 - unknown " TXN(APPEND("x", "a") "," APPEND(
            "y", "b")) "2 2 3 ok " TXN(READ("x", "a,") "," READ_NIL("y")),
        "G2");
    GOOD("1 0 - unknown " TXN(APPEND("x", "a") "," APPEND(
        "y", "b")) "2 2 3 ok " TXN(READ("x", "a,") "," READ("y", "b,")));
}

/* Orders that differ, elements from nowhere or doubled, no own append. */
TEST(append_order)
{
    BAD("1 0 9 ok " TXN(APPEND("x", "a")) "2 0 9 ok " TXN(APPEND(
            "x",
            "b")) "1 10 11 ok " TXN(READ("x",
                                         "a,b,")) "1 12 13 ok " TXN(READ("x",
                                                                         "b,"
                                                                         "a,")),
        "different orders");
    BAD("1 10 11 ok " TXN(READ("x", "a,")), "nobody appended");
    BAD("1 0 9 ok " TXN(APPEND("x", "a")) "1 10 11 ok " TXN(READ("x", "a,a,")),
        "twice");
    BAD("1 0 9 ok " TXN(APPEND("x", "a") "," READ_NIL("x")), "internal");
}

/* A read of an old state after a newer one was seen or written. */
TEST(append_stale_read)
{
    BAD("1 0 1 ok " TXN(APPEND("x", "a")) "1 2 3 ok " TXN(APPEND(
            "x",
            "b")) "2 4 5 ok " TXN(READ("x",
                                       "a,")) "2 6 7 ok " TXN(READ("x",
                                                                   "a,b,")),
        "realtime");
    GOOD("1 0 1 ok " TXN(APPEND("x", "a")) "1 2 3 ok " TXN(APPEND(
        "x", "b")) "2 4 5 ok \"level\":\"stale\",\"op\":\"get\",\"key\":\"x\","
                   "\"result\":\"a,\"\n"
                   "2 6 7 ok " TXN(READ("x", "a,b,")));
}

/* What is printed is read again as it was. */
TEST(json_round_trip)
{
    static const char *const lines[] = {
        "{\"client\":3,\"op\":\"set\",\"key\":\"r\",\"value\":\"a\\u0022b\","
        "\"ttl\":true,\"start\":1,\"end\":2,\"status\":\"ok\"}",
        "{\"client\":3,\"op\":\"get\",\"key\":\"r\",\"result\":null,"
        "\"level\":\"stale\",\"start\":1,\"end\":2,\"status\":\"ok\"}",
        "{\"client\":3,\"op\":\"cas\",\"key\":\"r\",\"expect\":null,"
        "\"value\":\"x\",\"start\":1,\"status\":\"unknown\"}",
        "{\"client\":3,\"op\":\"incr\",\"key\":\"r\",\"by\":-2,\"result\":7,"
        "\"start\":1,\"end\":2,\"status\":\"ok\"}",
        "{\"client\":3,\"op\":\"txn\",\"ops\":[{\"op\":\"append\","
        "\"key\":\"x\",\"value\":\"a\"},{\"op\":\"get\",\"key\":\"x\","
        "\"result\":\"a,\"}],\"start\":1,\"end\":2,\"status\":\"ok\"}",
    };
    for (size_t i = 0; i < WDB_COUNT(lines); i++) {
        struct history history;
        struct wdb_buffer out = WDB_BUFFER_INIT;
        const char *error = NULL;
        history_init(&history);
        CHECK_EQ(history_parse(&history, lines[i], strlen(lines[i]), &error),
                 0);
        REQUIRE(error == NULL);
        history_print(&history, &history.ops[0], &out);
        CHECK_MEM(out.data, out.size, lines[i], strlen(lines[i]));
        wdb_buffer_release(&out);
        history_release(&history);
    }
}

/* Lines that are not in order are refused with a reason. */
TEST(json_errors)
{
    static const char *const lines[] = {
        "",
        "[]",
        "{",
        "{\"op\":\"get\"",
        "{\"op\":\"jump\"}",
        "{\"op\":\"get\",\"key\":\"k\",\"start\":1,\"end\":2}",
        "{\"op\":\"get\",\"key\":\"k\",\"start\":1,\"status\":\"ok\"}",
        "{\"op\":\"get\",\"key\":\"k\",\"start\":3,\"end\":2,"
        "\"status\":\"ok\"}",
        "{\"op\":\"set\",\"key\":\"k\",\"start\":1,\"end\":2,"
        "\"status\":\"ok\"}",
        "{\"op\":\"txn\",\"ops\":[{\"op\":\"set\",\"key\":\"k\"}],\"start\":1,"
        "\"end\":2,\"status\":\"ok\"}",
    };
    for (size_t i = 0; i < WDB_COUNT(lines); i++) {
        struct history history;
        const char *error = NULL;
        history_init(&history);
        CHECK_EQ(history_parse(&history, lines[i], strlen(lines[i]), &error),
                 WALKERDB_EINVALID);
        CHECK(error != NULL);
        CHECK_EQ(history.count, 0);
        history_release(&history);
    }
}
