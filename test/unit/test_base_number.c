/* test_base_number.c - numbers, as Redis 7.0 reads and writes them. */
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/number.h"
#include "lib/test.h"

/* ---- integers ---- */

static void check_int64(const char *text, bool valid, int64_t expected)
{
    int64_t value = 4711;
    CHECK_EQ(wdb_parse_int64(wdb_slice_str(text), &value), valid);
    CHECK_EQ(value, valid ? expected : 4711);
    if (valid) {
        char out[WDB_INT64_TEXT_MAX];
        size_t size = wdb_format_int64(out, value);
        CHECK_MEM(out, size, text, strlen(text));
    }
}

/* The canonical form and only that, up to both ends of the range. */
TEST(number_int64)
{
    check_int64("0", true, 0);
    check_int64("7", true, 7);
    check_int64("-1", true, -1);
    check_int64("9223372036854775807", true, INT64_MAX);
    check_int64("-9223372036854775808", true, INT64_MIN);
    static const char *const invalid[] = {
        "",
        "-",
        "+1",
        "-0",
        "00",
        "01",
        "-01",
        " 1",
        "1 ",
        "1a",
        "a",
        "1.0",
        "0x1",
        "--1",
        "1e3",
        "\t1",
        "1\n",
        "9223372036854775808",
        "-9223372036854775809",
        "18446744073709551616",
        "99999999999999999999",
        "999999999999999999999999",
        "-99999999999999999999",
    };
    for (size_t i = 0; i < sizeof(invalid) / sizeof(invalid[0]); i++) {
        check_int64(invalid[i], false, 0);
    }
    int64_t value;
    CHECK(!wdb_parse_int64(wdb_slice("1\0", 2), &value));
    CHECK(!wdb_parse_int64(wdb_slice(NULL, 0), &value));
}

/* The same for numbers without a sign. */
TEST(number_uint64)
{
    uint64_t value = 0;
    CHECK(wdb_parse_uint64(wdb_slice_str("18446744073709551615"), &value));
    CHECK(value == UINT64_MAX);
    char out[WDB_INT64_TEXT_MAX];
    CHECK_MEM(out, wdb_format_uint64(out, UINT64_MAX), "18446744073709551615",
              20);
    CHECK(!wdb_parse_uint64(wdb_slice_str("18446744073709551616"), &value));
    CHECK(!wdb_parse_uint64(wdb_slice_str("-1"), &value));
    CHECK(!wdb_parse_uint64(wdb_slice_str("-0"), &value));
    CHECK(!wdb_parse_uint64(wdb_slice_str(""), &value));
    CHECK(value == UINT64_MAX);
}

/* Every count of digits is written and read back. */
TEST(number_int64_round_trip)
{
    struct test_random random = {1};
    for (int i = 0; i < 20000; i++) {
        int64_t value = (int64_t)test_random_next(&random) >>
                        test_random_below(&random, 64);
        char out[32];
        char expected[32];
        out[wdb_format_int64(out, value)] = '\0';
        snprintf(expected, sizeof(expected), "%lld", (long long)value);
        CHECK_STR(out, expected);
        int64_t again = 0;
        CHECK(wdb_parse_int64(wdb_slice_str(out), &again));
        CHECK_EQ(again, value);
    }
}

static void check_size(const char *text, uint64_t expected)
{
    uint64_t value = 0;
    CHECK(wdb_parse_size(wdb_slice_str(text), &value));
    CHECK_EQ(value, expected);
}

/* Units as in redis.conf, in either case. */
TEST(number_size)
{
    check_size("0", 0);
    check_size("1024", 1024);
    check_size("5b", 5);
    check_size("1k", 1000);
    check_size("1kb", 1024);
    check_size("2M", 2000000);
    check_size("2mB", 2 << 20);
    check_size("3g", 3000000000);
    check_size("3GB", (uint64_t)3 << 30);
    check_size("007k", 7000);
    check_size("18446744073709551615", UINT64_MAX);
    static const char *const invalid[] = {
        "",
        "k",
        "-1",
        "1 k",
        "1kk",
        "1tb",
        "1.5g",
        "+1",
        " 1",
        "1k ",
        "0x1",
        "1\x0b",
        "18446744073709551616",
        "18446744073709551615k",
        "17179869184gb",
    };
    uint64_t value = 4711;
    for (size_t i = 0; i < sizeof(invalid) / sizeof(invalid[0]); i++) {
        CHECK(!wdb_parse_size(wdb_slice_str(invalid[i]), &value));
    }
    CHECK_EQ(value, 4711);
}

/* ---- reals, read ---- */

/* What Redis refuses as "not a valid float"; both types agree on these. */
TEST(number_real_invalid)
{
    static const char *const invalid[] = {
        "",     " ",   " 1",  "1 ",     "\t1",     "\n1",     "1\n",
        "\v1",  "nan", "NaN", "-nan",   "nan(1)",  "abc",     "1a",
        "1,5",  "1_0", ".",   "-",      "+",       "-.",      "e5",
        "1e",   "1e+", "--1", "+-1",    "1.2.3",   "in",      "infinit",
        "infx", "0x",  "1p3", "1e5000", "-1e5000", "1e-5000",
    };
    double number = 4711;
    long double long_number = 4711;
    for (size_t i = 0; i < sizeof(invalid) / sizeof(invalid[0]); i++) {
        struct wdb_slice text = wdb_slice_str(invalid[i]);
        CHECK(!wdb_parse_double(text, &number));
        CHECK(!wdb_parse_long_double(text, &long_number));
    }
    CHECK(!wdb_parse_double(wdb_slice("1\0", 2), &number));
    CHECK(!wdb_parse_long_double(wdb_slice("1\0", 2), &long_number));
    CHECK(!wdb_parse_double(wdb_slice(NULL, 0), &number));
    CHECK(number == 4711 && long_number == 4711);
}

/* What it takes, hexadecimal and infinite ones too. */
TEST(number_real_valid)
{
    static const struct {
        const char *text;
        double expected;
    } valid[] = {
        {"0", 0},
        {"5", 5},
        {"+5", 5},
        {"-5", -5},
        {"5.", 5},
        {".5", 0.5},
        {"-.5", -0.5},
        {"00012", 12},
        {"1.1", 1.1},
        {"0.1", 0.1},
        {"-0.25", -0.25},
        {"3.0e3", 3000},
        {"1E5", 1e5},
        {"+.5e1", 5},
        {"0x10", 16},
        {"0X1.8P-3", 0.1875},
        {"0x.8", 0.5},
        {"inf", INFINITY},
        {"+INF", INFINITY},
        {"-infinity", -INFINITY},
        {"9007199254740993", 9007199254740992},
        {"9007199254740995", 9007199254740996},
        {"0.10000000000000001", 0.1},
        {"123456789012345678", 123456789012345680},
    };
    for (size_t i = 0; i < sizeof(valid) / sizeof(valid[0]); i++) {
        struct wdb_slice text = wdb_slice_str(valid[i].text);
        double number = 4711;
        long double long_number = 4711;
        CHECK(wdb_parse_double(text, &number));
        CHECK(number == valid[i].expected);
        CHECK(wdb_parse_long_double(text, &long_number));
        CHECK((double)long_number == valid[i].expected);
    }
    double number = 1;
    CHECK(wdb_parse_double(wdb_slice_str("-0"), &number));
    CHECK(number == 0 && signbit(number));
}

/* The ends of the range: too large and too small fail, subnormal is fine. */
TEST(number_real_range)
{
    double number = 4711;
    CHECK(!wdb_parse_double(wdb_slice_str("1e400"), &number));
    CHECK(!wdb_parse_double(wdb_slice_str("-1e400"), &number));
    CHECK(!wdb_parse_double(wdb_slice_str("1e-400"), &number));
    CHECK(number == 4711);
    CHECK(wdb_parse_double(wdb_slice_str("1.7976931348623157e308"), &number));
    CHECK(number == 1.7976931348623157e308);
    CHECK(wdb_parse_double(wdb_slice_str("5e-324"), &number));
    CHECK(number == 5e-324);
#if __LDBL_MAX_EXP__ > __DBL_MAX_EXP__
    long double long_number = 0;
    CHECK(wdb_parse_long_double(wdb_slice_str("1e400"), &long_number));
    CHECK(long_number == 1e400L);
#endif
}

/* Texts of up to 5,119 bytes are numbers, longer ones are not. */
TEST(number_real_long_text)
{
    static char text[5121];
    memset(text, '0', sizeof(text));
    text[5118] = '7';
    double number = 0;
    CHECK(wdb_parse_double(wdb_slice(text, 5119), &number));
    CHECK(number == 7);
    CHECK(!wdb_parse_double(wdb_slice(text, 5120), &number));
    long double long_number = 0;
    CHECK(wdb_parse_long_double(wdb_slice(text, 5119), &long_number));
    CHECK(long_number == 7);
    CHECK(!wdb_parse_long_double(wdb_slice(text, 5120), &long_number));
}

/* ---- reals, written ---- */

static void check_double(double value, const char *expected)
{
    char out[128 + 1];
    size_t size = wdb_format_double(out, value);
    CHECK(size <= 128);
    out[size] = '\0';
    CHECK_STR(out, expected);
}

/* Scores as Redis 7.0 prints them. */
TEST(number_format_double)
{
    check_double(0.0, "0");
    check_double(-0.0, "-0");
    check_double(1, "1");
    check_double(-3, "-3");
    check_double(1.5, "1.5");
    check_double(-2.25, "-2.25");
    check_double(0.1, "0.10000000000000001");
    check_double(-0.1, "-0.10000000000000001");
    check_double(3.1415926535897931, "3.1415926535897931");
    check_double(1e15, "1000000000000000");
    check_double(1e16, "10000000000000000");
    check_double(1e17, "1e+17");
    check_double(4503599627370495.5, "4503599627370495.5");
    check_double(4503599627370497, "4503599627370497");
    check_double(123456789012345680, "1.2345678901234568e+17");
    check_double(1e-4, "0.0001");
    check_double(9.9999e-5, "9.9999000000000003e-05");
    check_double(1e100, "1e+100");
    check_double(5e-324, "4.9406564584124654e-324");
    check_double(1.7976931348623157e308, "1.7976931348623157e+308");
    check_double(INFINITY, "inf");
    check_double(-INFINITY, "-inf");
    check_double(NAN, "nan");
}

/* A double of any size, and many of those that have the fast way. */
static double random_double(struct test_random *random)
{
    uint64_t bits = test_random_next(random);
    double value;
    switch (test_random_below(random, 3)) {
    case 0:
        break;
    case 1: /* exponents from 2^-16 to 2^54 */
        bits = (bits & (((uint64_t)1 << 52) - 1)) |
               (1023 - 16 + test_random_below(random, 70)) << 52;
        break;
    default: /* few decimals */
        return (double)(int64_t)(bits >> test_random_below(random, 64)) /
               (double)(1 + 9 * test_random_below(random, 12));
    }
    memcpy(&value, &bits, sizeof(value));
    return value;
}

/* What is written equals printf's form, and reads back as the same number;
 * shorter forms are read as strtod reads them. */
TEST(number_double_round_trip)
{
    struct test_random random = {test_number("WDB_TEST_SEED", 1)};
    uint64_t rounds = test_number("WDB_TEST_ROUNDS", 100000);
    for (uint64_t i = 0; i < rounds; i++) {
        double value = random_double(&random);
        if (!isfinite(value)) {
            continue;
        }
        char text[128];
        snprintf(text, sizeof(text), "%.17g", value);
        check_double(value, text);
        double again = 0;
        CHECK(wdb_parse_double(wdb_slice_str(text), &again));
        CHECK(again == value);

        int precision = (int)test_random_below(&random, 18);
        snprintf(text, sizeof(text), "%.*g", precision, value);
        double expected = strtod(text, NULL);
        if (isfinite(expected)) {
            CHECK(wdb_parse_double(wdb_slice_str(text), &again));
            CHECK(again == expected);
        }
    }
}

static void check_sum(const char *left, const char *right, const char *expected)
{
    long double a = 0;
    long double b = 0;
    CHECK(wdb_parse_long_double(wdb_slice_str(left), &a));
    CHECK(wdb_parse_long_double(wdb_slice_str(right), &b));
    char out[5120 + 1];
    out[wdb_format_long_double(out, a + b)] = '\0';
    CHECK_STR(out, expected);
}

/* INCRBYFLOAT: seventeen places without trailing zeros, never "-0". */
TEST(number_format_long_double)
{
    check_sum("0", "0", "0");
    check_sum("-0", "-0", "0");
    check_sum("1", "-1", "0");
    check_sum("3", "1.1", "4.1");
    check_sum("10.50", "0.1", "10.6");
    check_sum("5.0e3", "2.0e2", "5200");
    check_sum("1", "-1.1", "-0.1");
    check_sum("100", "0", "100");
    check_sum("1e-20", "0", "0");
    check_sum("-1e-20", "0", "0");
    check_sum("inf", "1", "inf");
    check_sum("-inf", "1", "-inf");
#if __LDBL_MANT_DIG__ >= 64
    check_sum("17179869184", "1.5", "17179869185.5");
    check_sum("1e30", "0", "1000000000000000000024696061952");
#endif
}

/* The longest long double has room. */
TEST(number_format_long_double_max)
{
    static char out[5120];
    size_t size = wdb_format_long_double(out, -__LDBL_MAX__);
    CHECK(size > 300 && size < sizeof(out));
    CHECK(out[0] == '-' && out[1] == '1');
    CHECK(memchr(out, '.', size) == NULL);
}

/* A process in a locale with another radix character reads and writes the
 * same. (Where none is installed there is nothing to show.) */
TEST(number_foreign_locale)
{
    static const char *const names[] = {"de_DE", "de_DE.UTF-8", "fr_FR.UTF-8",
                                        "es_ES.UTF-8"};
    bool found = false;
    for (size_t i = 0; i < 4 && !found; i++) {
        found = setlocale(LC_NUMERIC, names[i]) != NULL;
    }
    double number = 0;
    CHECK(wdb_parse_double(wdb_slice_str("1.5e0"), &number));
    CHECK(number == 1.5);
    CHECK(!wdb_parse_double(wdb_slice_str("1,5"), &number));
    check_double(1.25e-7, "1.2499999999999999e-07");
    check_sum("3", "1.1", "4.1");
    setlocale(LC_NUMERIC, "C");
}
