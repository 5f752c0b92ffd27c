/* history_json.c - lines of JSON as operations. */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "sim/history.h"
#include "walkerdb.h"

#define FIELDS_MAX 32

/* A value of an object, where it is in the line. */
struct field {
    struct wdb_slice name; /* without quotes; escapes are not for names */
    const char *value, *end;
};

struct object {
    struct field fields[FIELDS_MAX];
    size_t count;
};

static const char *skip_blanks(const char *at, const char *end)
{
    while (at < end && (*at == ' ' || *at == '\t' || *at == '\r')) {
        at++;
    }
    return at;
}

/* The end of the value at `at`, or NULL. */
static const char *skip_value(const char *at, const char *end)
{
    int depth = 0;
    bool in_text = false;
    for (; at < end; at++) {
        if (in_text) {
            if (*at == '\\') {
                at++;
            } else if (*at == '"') {
                in_text = false;
            }
            continue;
        }
        if (*at == '"') {
            in_text = true;
        } else if (*at == '{' || *at == '[') {
            depth++;
        } else if (depth > 0 && (*at == '}' || *at == ']')) {
            depth--;
        } else if (depth == 0 && (*at == ',' || *at == '}' || *at == ']')) {
            return at;
        }
    }
    return NULL;
}

/* Split an object; *at is behind it then. */
static bool split(const char **at, const char *end, struct object *out)
{
    out->count = 0;
    const char *p = skip_blanks(*at, end);
    if (p == end || *p++ != '{') {
        return false;
    }
    for (;;) {
        p = skip_blanks(p, end);
        if (p < end && *p == '}') {
            *at = p + 1;
            return true;
        }
        if (p == end || *p != '"' || out->count == FIELDS_MAX) {
            return false;
        }
        const char *quote = memchr(p + 1, '"', (size_t)(end - p - 1));
        if (quote == NULL) {
            return false;
        }
        struct field *field = &out->fields[out->count++];
        field->name = wdb_slice(p + 1, (size_t)(quote - p - 1));
        p = skip_blanks(quote + 1, end);
        if (p == end || *p != ':') {
            return false;
        }
        field->value = skip_blanks(p + 1, end);
        field->end = skip_value(field->value, end);
        if (field->end == NULL) {
            return false;
        }
        p = field->end;
        while (field->end > field->value && field->end[-1] == ' ') {
            field->end--;
        }
        p += *p == ',';
    }
}

static const struct field *find(const struct object *object, const char *name)
{
    for (size_t i = 0; i < object->count; i++) {
        const struct field *field = &object->fields[i];
        if (field->name.size == strlen(name) &&
            memcmp(field->name.data, name, field->name.size) == 0) {
            const size_t size = (size_t)(field->end - field->value);
            return size == 4 && memcmp(field->value, "null", 4) == 0 ? NULL
                                                                     : field;
        }
    }
    return NULL;
}

static bool says(const struct field *field, const char *what)
{
    return field != NULL &&
           strlen(what) == (size_t)(field->end - field->value) &&
           memcmp(field->value, what, strlen(what)) == 0;
}

static unsigned hex(const char *at)
{
    char digits[5] = {at[0], at[1], at[2], at[3], 0};
    return (unsigned)strtoul(digits, NULL, 16);
}

/* A text, or whatever it is as it stands (numbers). 0 if it is null. */
static uint32_t text_of(struct history *history, const struct field *field)
{
    if (field == NULL) {
        return 0;
    }
    if (*field->value != '"') {
        return history_text(history, field->value,
                            (size_t)(field->end - field->value));
    }
    char *text = malloc((size_t)(field->end - field->value) + 1);
    wdb_assert(text != NULL);
    size_t size = 0;
    for (const char *p = field->value + 1; p < field->end - 1; p++) {
        if (*p != '\\') {
            text[size++] = *p;
            continue;
        }
        p++;
        if (*p == 'u' && field->end - p > 4) {
            text[size++] = (char)hex(p + 1); /* one byte is enough here */
            p += 4;
        } else {
            text[size++] = *p == 'n'   ? '\n'
                           : *p == 'r' ? '\r'
                           : *p == 't' ? '\t'
                                       : *p;
        }
    }
    const uint32_t number = history_text(history, text, size);
    free(text);
    return number;
}

static uint64_t number_of(const struct field *field, uint64_t otherwise)
{
    return field == NULL ? otherwise : strtoull(field->value, NULL, 10);
}

static bool parse_kind(const struct field *field, enum history_kind *out)
{
    char name[16];
    for (int kind = 0; kind < HISTORY_KIND_COUNT; kind++) {
        snprintf(name, sizeof(name), "\"%s\"",
                 history_kind_name((enum history_kind)kind));
        if (says(field, name)) {
            *out = (enum history_kind)kind;
            return true;
        }
    }
    return false;
}

static const char *parse_parts(struct history *history,
                               const struct field *field)
{
    if (field == NULL || *field->value != '[') {
        return "a txn needs ops";
    }
    const char *at = field->value + 1;
    for (;;) {
        struct object object;
        at = skip_blanks(at, field->end);
        if (*at == ']') {
            return NULL;
        }
        struct history_part *part = history_add_part(history);
        if (!split(&at, field->end, &object) ||
            !parse_kind(find(&object, "op"), &part->kind) ||
            (part->kind != HISTORY_GET && part->kind != HISTORY_APPEND)) {
            return "bad ops";
        }
        part->key = text_of(history, find(&object, "key"));
        part->value = text_of(history, find(&object, "value"));
        part->result = text_of(history, find(&object, "result"));
        if (part->key == 0 ||
            (part->kind == HISTORY_APPEND && part->value == 0)) {
            return "ops need a key, and append a value";
        }
        at = skip_blanks(at, field->end);
        at += *at == ',';
    }
}

static const char *parse_status(const struct object *object,
                                struct history_op *op)
{
    const struct field *status = find(object, "status");
    if (says(status, "\"ok\"")) {
        op->status = HISTORY_OK;
    } else if (says(status, "\"fail\"")) {
        op->status = HISTORY_FAIL;
    } else if (says(status, "\"unknown\"") || says(status, "\"info\"")) {
        op->status = HISTORY_UNKNOWN;
    } else {
        return "status is ok, fail or unknown";
    }
    const struct field *level = find(object, "level");
    op->level = says(level, "\"stale\"")    ? HISTORY_STALE
                : says(level, "\"leader\"") ? HISTORY_LEADER
                                            : HISTORY_CONSISTENT;
    op->start = number_of(find(object, "start"), HISTORY_NEVER);
    op->end = number_of(find(object, "end"), HISTORY_NEVER);
    if (op->start == HISTORY_NEVER ||
        (op->status != HISTORY_UNKNOWN && op->end == HISTORY_NEVER)) {
        return "start or end is missing";
    }
    return op->end < op->start ? "it ends before it starts" : NULL;
}

static const char *parse_op(struct history *history, const char *line,
                            const char *end)
{
    struct object object;
    if (!split(&line, end, &object)) {
        return "no JSON object";
    }
    /* Texts move nothing in ops, so `op` stays valid. */
    struct history_op *op = history_add(history);
    if (!parse_kind(find(&object, "op"), &op->kind)) {
        return "unknown op";
    }
    const char *error = parse_status(&object, op);
    if (error != NULL) {
        return error;
    }
    op->client = number_of(find(&object, "client"), 0);
    op->key = text_of(history, find(&object, "key"));
    op->value = text_of(history, find(&object, "value"));
    op->expect = text_of(history, find(&object, "expect"));
    op->may_expire = says(find(&object, "ttl"), "true");
    const struct field *by = find(&object, "by");
    op->by = by == NULL ? 1 : strtoll(by->value, NULL, 10);
    const struct field *result = find(&object, "result");
    if (op->kind == HISTORY_DEL || op->kind == HISTORY_SETNX) {
        op->has_result = result != NULL;
        op->flag = says(result, "true");
    } else {
        op->has_result = true;
        op->result = text_of(history, result);
    }
    if (op->kind == HISTORY_SETNX && op->status == HISTORY_OK &&
        !op->has_result) {
        return "setnx needs a result";
    }
    const bool writes = op->kind == HISTORY_SET || op->kind == HISTORY_GETSET ||
                        op->kind == HISTORY_SETNX || op->kind == HISTORY_CAS ||
                        op->kind == HISTORY_APPEND;
    if ((writes && op->value == 0) ||
        (op->key == 0 && op->kind != HISTORY_TXN &&
         op->kind != HISTORY_FLUSH)) {
        return "key or value is missing";
    }
    return op->kind == HISTORY_TXN ? parse_parts(history, find(&object, "ops"))
                                   : NULL;
}

int history_parse(struct history *history, const char *line, size_t size,
                  const char **error_out)
{
    const size_t count = history->count, part_count = history->part_count;
    *error_out = parse_op(history, line, line + size);
    if (*error_out != NULL) {
        history->count = count;
        history->part_count = part_count;
        return WALKERDB_EINVALID;
    }
    return 0;
}
