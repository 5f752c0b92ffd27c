/*
 * number.c - numbers as Redis reads and writes them.
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
#include "base/checked.h"

/* A longer text is no number to Redis (5 KiB hold every long double). */
#define REAL_TEXT_MAX 5120

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

/* ---- integers ---- */

bool wdb_parse_uint64(struct wdb_slice text, uint64_t *out)
{
    if (text.size == 0 || text.size > WDB_INT64_TEXT_MAX ||
        (text.data[0] == '0' && text.size > 1)) {
        return false;
    }
    uint64_t value = 0;
    for (size_t i = 0; i < text.size; i++) {
        if (!is_digit(text.data[i]) ||
            WDB_MUL_OVERFLOWS(value, (uint64_t)10, &value) ||
            WDB_ADD_OVERFLOWS(value, (uint64_t)(text.data[i] - '0'), &value)) {
            return false;
        }
    }
    *out = value;
    return true;
}

bool wdb_parse_int64(struct wdb_slice text, int64_t *out)
{
    bool negative = text.size > 0 && text.data[0] == '-';
    if (negative) {
        text = wdb_slice(text.data + 1, text.size - 1);
    }
    uint64_t magnitude;
    if (!wdb_parse_uint64(text, &magnitude) ||
        magnitude > (uint64_t)INT64_MAX + negative ||
        (negative && magnitude == 0)) {
        return false;
    }
    *out = (int64_t)(negative ? -magnitude : magnitude);
    return true;
}

/* The letters of a unit and what it stands for. */
struct unit {
    const char *name;
    uint64_t factor;
};

static const struct unit units[] = {
    {"", 1},
    {"b", 1},
    {"k", 1000},
    {"kb", 1024},
    {"m", 1000 * 1000},
    {"mb", 1024 * 1024},
    {"g", 1000 * 1000 * 1000},
    {"gb", 1024 * 1024 * 1024},
};

static bool equals_ignoring_case(struct wdb_slice text, const char *lower)
{
    if (text.size != strlen(lower)) {
        return false;
    }
    for (size_t i = 0; i < text.size; i++) {
        if ((text.data[i] | 0x20) != (uint8_t)lower[i]) {
            return false;
        }
    }
    return true;
}

bool wdb_parse_size(struct wdb_slice text, uint64_t *out)
{
    size_t digits = 0;
    uint64_t value = 0;
    for (; digits < text.size && is_digit(text.data[digits]); digits++) {
        uint64_t digit = (uint64_t)(text.data[digits] - '0');
        if (WDB_MUL_OVERFLOWS(value, (uint64_t)10, &value) ||
            WDB_ADD_OVERFLOWS(value, digit, &value)) {
            return false;
        }
    }
    if (digits == 0) {
        return false;
    }
    struct wdb_slice unit = wdb_slice(text.data + digits, text.size - digits);
    for (size_t i = 0; i < WDB_COUNT(units); i++) {
        if (equals_ignoring_case(unit, units[i].name)) {
            if (WDB_MUL_OVERFLOWS(value, units[i].factor, &value)) {
                return false;
            }
            *out = value;
            return true;
        }
    }
    return false;
}

size_t wdb_format_uint64(char *out, uint64_t value)
{
    char digits[WDB_INT64_TEXT_MAX];
    size_t at = sizeof(digits);
    do {
        digits[--at] = (char)('0' + value % 10);
        value /= 10;
    } while (value != 0);
    memcpy(out, digits + at, sizeof(digits) - at);
    return sizeof(digits) - at;
}

size_t wdb_format_int64(char *out, int64_t value)
{
    if (value >= 0) {
        return wdb_format_uint64(out, (uint64_t)value);
    }
    out[0] = '-';
    return 1 + wdb_format_uint64(out + 1, -(uint64_t)value);
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

/* The sign and the decimal digits of a double: 0.DIGITS times 10^point. */
struct decimal {
    char digits[20];
    size_t count; /* without trailing zeros, at least 1 */
    int point;
};

/* If a positive value is a decimal of at most 15 digits with few of them
 * behind the point, those digits: no shorter ones would be read as it. */
static bool short_decimal(double value, struct decimal *out)
{
    for (int places = 0; places <= 9; places++) {
        double scaled = value * powers_of_ten[places];
        if (scaled >= 1e15) {
            return false;
        }
        /* The product may be off by one in its last place: round it. */
        uint64_t integer = (uint64_t)(scaled + 0.5);
        if (integer != 0 && (double)integer / powers_of_ten[places] == value) {
            out->count = wdb_format_uint64(out->digits, integer);
            out->point = (int)out->count - places;
            return true;
        }
    }
    return false;
}

/* The fewest digits that strtod reads as the same positive value. */
static void shortest_decimal(double value, struct decimal *out)
{
    if (short_decimal(value, out)) {
        return;
    }
    char text[32];
    /* Subnormals have fewer digits to give; 15 always suffice to tell two
     * decimals apart that are normal doubles. */
    for (int precision = value < 2.3e-308 ? 1 : 15; precision <= 17;
         precision++) {
        snprintf(text, sizeof(text), "%.*e", precision - 1, value);
        if (strtod(text, NULL) == value) {
            break;
        }
    }
    char *exponent = strchr(text, 'e');
    wdb_assert(exponent != NULL);
    out->point = atoi(exponent + 1) + 1;
    out->count = 0;
    for (const char *c = text; c < exponent; c++) {
        if (is_digit((uint8_t)*c)) {
            out->digits[out->count++] = *c;
        }
    }
}

static size_t put_zeros(char *out, size_t count)
{
    memset(out, '0', count);
    return count;
}

/* Lay out the digits as Redis does: plain for what is not much longer so. */
static size_t layout_decimal(char *out, const struct decimal *d)
{
    char *start = out;
    int trailing = d->point - (int)d->count; /* zeros behind the digits */
    int exponent = d->point - 1;
    if (trailing >= 0 && exponent < (int)d->count + 7) {
        memcpy(out, d->digits, d->count);
        out += d->count;
        out += put_zeros(out, (size_t)trailing);
        return (size_t)(out - start);
    }
    if (trailing < 0 && (trailing > -7 || abs(exponent) < 4)) {
        size_t whole = d->point > 0 ? (size_t)d->point : 0;
        if (whole == 0) {
            *out++ = '0';
        }
        memcpy(out, d->digits, whole);
        out += whole;
        *out++ = '.';
        if (d->point < 0) {
            out += put_zeros(out, (size_t)-d->point);
        }
        memcpy(out, d->digits + whole, d->count - whole);
        return (size_t)(out + d->count - whole - start);
    }
    *out++ = d->digits[0];
    if (d->count > 1) {
        *out++ = '.';
        memcpy(out, d->digits + 1, d->count - 1);
        out += d->count - 1;
    }
    *out++ = 'e';
    *out++ = exponent < 0 ? '-' : '+';
    out += wdb_format_uint64(out, (uint64_t)abs(exponent));
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
    double limit = (double)((uint64_t)1 << 52);
    if (value >= -limit && value <= limit && value == (double)(int64_t)value) {
        return wdb_format_int64(out, (int64_t)value);
    }
    size_t sign = value < 0;
    if (sign != 0) {
        out[0] = '-';
    }
    struct decimal decimal;
    shortest_decimal(sign != 0 ? -value : value, &decimal);
    while (decimal.count > 1 && decimal.digits[decimal.count - 1] == '0') {
        decimal.count--;
    }
    return sign + layout_decimal(out + sign, &decimal);
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
