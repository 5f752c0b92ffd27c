/*
 * number_real.c - reals as Redis reads and writes them.
 *
 * strtod and printf are used where nothing simpler is exact. They obey the
 * locale of the process, which is the library user's: its radix character is
 * put in before and taken out after.
 */
#include "base/number.h"

#include <errno.h>
#include <langinfo.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"

/* A longer text is no number to Redis (5 KiB hold every long double). */
#define REAL_TEXT_MAX 5120

/* What the caller of wdb_format_double makes room for. */
#define DOUBLE_TEXT_MAX 128

/* Doubles hold every integer up to here, and its powers of ten exactly. */
#define EXACT_INTEGER_MAX ((uint64_t)1 << 53)
#define EXACT_POWER_MAX   22

static const double powers_of_ten[EXACT_POWER_MAX + 1] = {
    1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
    1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
};

static bool is_digit(uint8_t c)
{
    return c >= '0' && c <= '9';
}

/* ---- the locale ---- */

/*
 * The radix character of this thread's locale where it is another than '.';
 * else 0. (Locales whose radix is several bytes long keep the C one here;
 * there is none in glibc that is not also a Unicode comma.)
 */
static char foreign_radix(void)
{
    const char *radix = nl_langinfo(RADIXCHAR);
    return radix[0] != '.' && radix[0] != '\0' && radix[1] == '\0' ? radix[0]
                                                                   : 0;
}

static void replace_radix(char *text, char from, char to)
{
    char *at = strchr(text, from);
    if (at != NULL) {
        *at = to;
    }
}

/* ---- reals, read ---- */

/*
 * Copy text to buffer (REAL_TEXT_MAX bytes) with a terminator, as the strto
 * functions want it. False if it cannot be a number.
 */
static bool copy_real(struct wdb_slice text, char *buffer)
{
    if (text.size == 0 || text.size >= REAL_TEXT_MAX) {
        return false;
    }
    uint8_t first = text.data[0];
    if (first == ' ' || (first >= '\t' && first <= '\r')) {
        return false; /* strtod would skip it */
    }
    memcpy(buffer, text.data, text.size);
    buffer[text.size] = '\0';
    char radix = foreign_radix();
    if (radix != 0) {
        if (memchr(buffer, radix, text.size) != NULL) {
            return false;
        }
        replace_radix(buffer, '.', radix);
    }
    return true;
}

/*
 * The common case by hand: at most 19 digits, a point somewhere, no exponent.
 * If the digits make an integer that a double holds, one division by an exact
 * power of ten rounds once, so the result is that of strtod (Clinger, How to
 * read floating point numbers accurately, 1990).
 */
static bool parse_plain_decimal(struct wdb_slice text, double *out)
{
    size_t i = text.size > 0 && text.data[0] == '-';
    bool negative = i == 1;
    if (text.size - i == 0 || text.size - i > 20) {
        return false;
    }
    uint64_t integer = 0;
    size_t digit_count = 0;
    size_t fraction_count = 0;
    bool in_fraction = false;
    for (; i < text.size; i++) {
        if (is_digit(text.data[i])) {
            integer = integer * 10 + (uint64_t)(text.data[i] - '0');
            digit_count++;
            fraction_count += in_fraction;
        } else if (text.data[i] == '.' && !in_fraction) {
            in_fraction = true;
        } else {
            return false;
        }
    }
    if (digit_count == 0 || digit_count > 19 || integer > EXACT_INTEGER_MAX) {
        return false;
    }
    double value = (double)integer / powers_of_ten[fraction_count];
    *out = negative ? -value : value;
    return true;
}

bool wdb_parse_double(struct wdb_slice text, double *out)
{
    if (parse_plain_decimal(text, out)) {
        return true;
    }
    char buffer[REAL_TEXT_MAX];
    if (!copy_real(text, buffer)) {
        return false;
    }
    char *end;
    errno = 0;
    double value = strtod(buffer, &end);
    if (end != buffer + text.size || isnan(value) ||
        (errno == ERANGE && (isinf(value) || value == 0))) {
        return false;
    }
    *out = value;
    return true;
}

bool wdb_parse_long_double(struct wdb_slice text, long double *out)
{
    char buffer[REAL_TEXT_MAX];
    if (!copy_real(text, buffer)) {
        return false;
    }
    char *end;
    errno = 0;
    long double value = strtold(buffer, &end);
    if (end != buffer + text.size || isnan(value) ||
        (errno == ERANGE && (isinf(value) || value == 0))) {
        return false;
    }
    *out = value;
    return true;
}

/* ---- reals, written ---- */

/* What "%.17g" prints without an exponent starts at this power of ten. */
#define PLAIN_EXPONENT_MIN -4
#define SIGNIFICANT_COUNT  17

/* The parts of a double as bits. */
#define MANTISSA_BITS 52
#define MANTISSA_UNIT ((uint64_t)1 << MANTISSA_BITS)
#define EXPONENT_BIAS 1075 /* the mantissa taken as an integer */

/* From the power of ten at PLAIN_EXPONENT_MIN + 1 on. */
static const double next_powers[] = {
    1e-3, 1e-2, 1e-1, 1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,
    1e7,  1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16,
};

static const uint64_t integer_powers[] = {
    1,
    10,
    100,
    1000,
    10000,
    100000,
    1000000,
    10000000,
    100000000,
    1000000000,
    10000000000,
    100000000000,
    1000000000000,
    10000000000000,
    100000000000000,
    1000000000000000,
    10000000000000000,
    100000000000000000,
    1000000000000000000,
    10000000000000000000u,
};

/*
 * The first 17 digits of value as an integer, and the power of ten of the
 * first of them. For 1e-4 <= value < 2^52 this is exact in 128 bits (53 of
 * the mantissa and 67 of 10^20), so it rounds as printf does: to nearest, a
 * tie to even.
 */
static uint64_t significant_digits(double value, int *exponent_out)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof(bits));
    uint64_t mantissa = (bits & (MANTISSA_UNIT - 1)) | MANTISSA_UNIT;
    unsigned shift = EXPONENT_BIAS - (unsigned)(bits >> MANTISSA_BITS);

    size_t exponent = 0; /* counted from PLAIN_EXPONENT_MIN */
    while (value >= next_powers[exponent]) {
        exponent++;
    }
    size_t places = SIGNIFICANT_COUNT - 1 - PLAIN_EXPONENT_MIN - exponent;
    unsigned __int128 product = mantissa;
    if (places == WDB_COUNT(integer_powers)) {
        product *= 10;
        places--;
    }
    product *= integer_powers[places];

    uint64_t digits = (uint64_t)(product >> shift);
    unsigned __int128 half = (unsigned __int128)1 << (shift - 1);
    unsigned __int128 rest = product & (2 * half - 1);
    digits += rest > half || (rest == half && (digits & 1) != 0);
    if (digits == integer_powers[SIGNIFICANT_COUNT]) {
        digits = integer_powers[SIGNIFICANT_COUNT - 1];
        exponent++;
    }
    wdb_assert(digits >= integer_powers[SIGNIFICANT_COUNT - 1] &&
               digits < integer_powers[SIGNIFICANT_COUNT]);
    *exponent_out = (int)exponent + PLAIN_EXPONENT_MIN;
    return digits;
}

/* "%.17g" by hand for 1e-4 <= value < 2^52, ten times as fast. */
static size_t format_plain(char *out, double value)
{
    int exponent;
    char digits[WDB_INT64_TEXT_MAX];
    uint64_t significant = significant_digits(value, &exponent);
    size_t count = wdb_format_uint64(digits, significant);
    size_t whole = exponent >= 0 ? (size_t)exponent + 1 : 0;
    while (count > whole && digits[count - 1] == '0') {
        count--;
    }
    char *start = out;
    if (whole == 0) {
        *out++ = '0';
    }
    memcpy(out, digits, whole);
    out += whole;
    if (count > whole) {
        *out++ = '.';
        for (int i = exponent + 1; i < 0; i++) {
            *out++ = '0';
        }
        memcpy(out, digits + whole, count - whole);
        out += count - whole;
    }
    return (size_t)(out - start);
}

static size_t put_text(char *out, const char *text)
{
    size_t size = strlen(text);
    memcpy(out, text, size);
    return size;
}

size_t wdb_format_double(char *out, double value)
{
    if (isnan(value)) {
        return put_text(out, "nan");
    }
    if (isinf(value)) {
        return put_text(out, value < 0 ? "-inf" : "inf");
    }
    if (value == 0) {
        return put_text(out, signbit(value) ? "-0" : "0");
    }
    double magnitude = value < 0 ? -value : value;
    size_t sign = value < 0;
    if (magnitude < (double)MANTISSA_UNIT && magnitude >= 1e-4) {
        if (value == (double)(int64_t)value) {
            return wdb_format_int64(out, (int64_t)value);
        }
        out[0] = '-';
        return sign + format_plain(out + sign, magnitude);
    }
    int length = snprintf(out, DOUBLE_TEXT_MAX, "%.17g", value);
    wdb_assert(length > 0 && length < DOUBLE_TEXT_MAX);
    char radix = foreign_radix();
    if (radix != 0) {
        replace_radix(out, radix, '.');
    }
    return (size_t)length;
}

size_t wdb_format_long_double(char *out, long double value)
{
    wdb_assert(!isnan(value));
    if (isinf(value)) {
        return put_text(out, value < 0 ? "-inf" : "inf");
    }
    int length = snprintf(out, REAL_TEXT_MAX, "%.17Lf", value);
    wdb_assert(length > 0 && length < REAL_TEXT_MAX);
    char radix = foreign_radix();
    if (radix != 0) {
        replace_radix(out, radix, '.');
    }
    size_t size = (size_t)length;
    while (out[size - 1] == '0') {
        size--; /* stops at the point: there are 17 places */
    }
    if (out[size - 1] == '.') {
        size--;
    }
    if (size == 2 && out[0] == '-' && out[1] == '0') {
        return put_text(out, "0");
    }
    return size;
}
