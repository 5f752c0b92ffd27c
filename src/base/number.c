/* number.c - integers and sizes as Redis reads and writes them. */
#include "base/number.h"

#include "base/attributes.h"
#include "base/checked.h"

static bool is_digit(uint8_t c)
{
    return c >= '0' && c <= '9';
}

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

static const char digit_pairs[] = "00010203040506070809"
                                  "10111213141516171819"
                                  "20212223242526272829"
                                  "30313233343536373839"
                                  "40414243444546474849"
                                  "50515253545556575859"
                                  "60616263646566676869"
                                  "70717273747576777879"
                                  "80818283848586878889"
                                  "90919293949596979899";

size_t wdb_format_uint64(char *out, uint64_t value)
{
    char digits[WDB_INT64_TEXT_MAX];
    size_t at = sizeof(digits);
    for (; value >= 100; value /= 100) {
        at -= 2;
        memcpy(digits + at, digit_pairs + 2 * (value % 100), 2);
    }
    if (value >= 10) {
        at -= 2;
        memcpy(digits + at, digit_pairs + 2 * value, 2);
    } else {
        digits[--at] = (char)('0' + value);
    }
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
