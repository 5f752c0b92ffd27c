/* config_value.c - the values of settings: from text and to text. */
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "admin/config_internal.h"
#include "base/assert.h"
#include "base/number.h"
#include "walkerdb.h"

static bool is_word(struct wdb_slice text, const char *word)
{
    return text.size == strlen(word) &&
           strncasecmp((const char *)text.data, word, text.size) == 0;
}

static int parse_flag(struct wdb_slice given, int64_t *out,
                      const char **error_out)
{
    if (is_word(given, "yes")) {
        *out = 1;
    } else if (is_word(given, "no")) {
        *out = 0;
    } else {
        *error_out = "argument must be 'yes' or 'no'";
        return WALKERDB_EINVALID;
    }
    return 0;
}

static int parse_choice(const struct wdb_config_row *row,
                        struct wdb_slice given, int64_t *out,
                        const char **error_out, char *room)
{
    for (int i = 0; row->choices[i] != NULL; i++) {
        if (is_word(given, row->choices[i])) {
            *out = i;
            return 0;
        }
    }
    int size = snprintf(room, WDB_CONFIG_ERROR_MAX,
                        "argument(s) must be one of the following: ");
    for (int i = 0; row->choices[i] != NULL; i++) {
        size +=
            snprintf(room + size, (size_t)(WDB_CONFIG_ERROR_MAX - size), "%s%s",
                     row->choices[i], row->choices[i + 1] == NULL ? "" : ", ");
    }
    *error_out = room;
    return WALKERDB_EINVALID;
}

static bool parse_octal(struct wdb_slice given, int64_t *out)
{
    int64_t value = 0;
    for (size_t i = 0; i < given.size; i++) {
        if (given.data[i] < '0' || given.data[i] > '7' || value > 077777777) {
            return false;
        }
        value = value * 8 + (given.data[i] - '0');
    }
    *out = value;
    return given.size > 0;
}

/* Bytes with a unit, or a percentage as its negative. */
static const char *read_bytes(const struct wdb_config_row *row,
                              struct wdb_slice given, int64_t *out)
{
    bool percent = (row->flags & WDB_CONFIG_PERCENT) != 0;
    if (percent && given.size > 1 && given.data[given.size - 1] == '%') {
        struct wdb_slice digits = wdb_slice(given.data, given.size - 1);
        if (wdb_parse_int64(digits, out) && *out >= 0) {
            *out = -*out;
            return NULL;
        }
    } else {
        uint64_t value;
        if (wdb_parse_size(given, &value)) {
            *out = value > INT64_MAX ? INT64_MAX : (int64_t)value;
            return NULL;
        }
    }
    return percent ? "argument must be a memory or percent value"
                   : "argument must be a memory value";
}

static const char *read_number(const struct wdb_config_row *row,
                               struct wdb_slice given, int64_t *out)
{
    if (row->kind == WDB_KIND_BYTES) {
        return read_bytes(row, given, out);
    }
    if ((row->flags & WDB_CONFIG_OCTAL) != 0) {
        return parse_octal(given, out)
                   ? NULL
                   : "argument couldn't be parsed as an octal number";
    }
    return wdb_parse_int64(given, out)
               ? NULL
               : "argument couldn't be parsed into an integer";
}

static int parse_number(const struct wdb_config_row *row,
                        struct wdb_slice given, int64_t *out,
                        const char **error_out, char *room)
{
    int64_t value = 0;
    *error_out = read_number(row, given, &value);
    if (*error_out != NULL) {
        return WALKERDB_EINVALID;
    }
    if (value < row->min || value > row->max) {
        bool octal = (row->flags & WDB_CONFIG_OCTAL) != 0;
        *error_out = room;
        if (value < 0 && (row->flags & WDB_CONFIG_PERCENT) != 0) {
            snprintf(room, WDB_CONFIG_ERROR_MAX,
                     "percentage argument must be less or equal to %lld",
                     -(long long)row->min);
        } else {
            snprintf(room, WDB_CONFIG_ERROR_MAX,
                     octal ? "argument must be between %llo and %llo inclusive"
                           : "argument must be between %lld and %lld inclusive",
                     (long long)row->min, (long long)row->max);
        }
        return WALKERDB_EINVALID;
    }
    *out = value;
    return 0;
}

/* Why nothing but the default is possible. */
static const char *refusal(const struct wdb_config_row *row)
{
    if (row == &wdb_config_rows[WDB_CONFIG_MAXMEMORY_POLICY]) {
        return "only noeviction is supported: keys are never evicted";
    }
    if (row == &wdb_config_rows[WDB_CONFIG_ACTIVEDEFRAG]) {
        return "Active defragmentation cannot be enabled: it requires a Redis "
               "server compiled with a modified Jemalloc like the one shipped "
               "by default with the Redis source distribution";
    }
    return "Redis Cluster is not supported";
}

int wdb_config_value_parse(const struct wdb_config_row *row,
                           const struct wdb_config_value *old,
                           struct wdb_slice given, bool loading,
                           struct wdb_config_value *out, const char **error_out,
                           char *room)
{
    struct wdb_config_value value = {0};
    int code = 0;
    if (given.size > 0 && memchr(given.data, 0, given.size) != NULL) {
        *error_out = "argument must not contain a zero byte";
        return WALKERDB_EINVALID;
    }
    switch (row->kind) {
    case WDB_KIND_FLAG:
        code = parse_flag(given, &value.number, error_out);
        break;
    case WDB_KIND_NUMBER:
    case WDB_KIND_BYTES:
        code = parse_number(row, given, &value.number, error_out, room);
        break;
    case WDB_KIND_CHOICE:
        code = parse_choice(row, given, &value.number, error_out, room);
        break;
    case WDB_KIND_TEXT:
        code =
            wdb_config_shape_parse(row, old, given, loading, &value, error_out);
        break;
    }
    if (code == 0 && (row->flags & WDB_CONFIG_REFUSED) != 0 &&
        value.number != row->number) {
        *error_out = refusal(row);
        return WALKERDB_EINVALID;
    }
    if (code == 0) {
        *out = value;
    }
    return code;
}

int wdb_config_value_print(const struct wdb_config_row *row, int64_t number,
                           const char *text, struct wdb_buffer *out)
{
    switch (row->kind) {
    case WDB_KIND_FLAG:
        return wdb_buffer_printf(out, "%s", number != 0 ? "yes" : "no");
    case WDB_KIND_CHOICE:
        return wdb_buffer_printf(out, "%s", row->choices[number]);
    case WDB_KIND_TEXT:
        return wdb_buffer_append(out, text, strlen(text));
    case WDB_KIND_NUMBER:
    case WDB_KIND_BYTES:
        break;
    }
    if ((row->flags & WDB_CONFIG_OCTAL) != 0) {
        return wdb_buffer_printf(out, "%llo", (unsigned long long)number);
    }
    if ((row->flags & WDB_CONFIG_PERCENT) != 0 && number < 0) {
        return wdb_buffer_printf(out, "%lld%%", -(long long)number);
    }
    return wdb_buffer_printf(out, "%lld", (long long)number);
}
