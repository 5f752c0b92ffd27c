/* history.c - operations and texts of a history. */
#include "sim/history.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"

static void *grown(void *array, size_t count, size_t *capacity, size_t size)
{
    if (count < *capacity) {
        return array;
    }
    *capacity = *capacity == 0 ? 64 : *capacity * 2;
    array = realloc(array, *capacity * size);
    wdb_assert(array != NULL);
    return array;
}

void history_init(struct history *history)
{
    *history = (struct history){0};
}

void history_release(struct history *history)
{
    free(history->ops);
    free(history->parts);
    free(history->texts);
    free(history->table);
    wdb_buffer_release(&history->bytes);
    *history = (struct history){0};
}

static uint64_t hash_of(const uint8_t *data, size_t size)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325) ^ size;
    for (size_t i = 0; i < size; i++) {
        hash = (hash ^ data[i]) * UINT64_C(0x100000001b3);
    }
    return hash ^ hash >> 29;
}

static void rehash(struct history *history)
{
    history->table_size =
        history->table_size == 0 ? 256 : history->table_size * 2;
    free(history->table);
    history->table = calloc(history->table_size, sizeof(uint32_t));
    wdb_assert(history->table != NULL);
    for (uint32_t i = 0; i < history->text_count; i++) {
        uint64_t at = history->texts[i].hash & (history->table_size - 1);
        while (history->table[at] != 0) {
            at = (at + 1) & (history->table_size - 1);
        }
        history->table[at] = i + 1;
    }
}

uint32_t history_text(struct history *history, const void *data, size_t size)
{
    if (data == NULL) {
        return 0;
    }
    if (history->text_count * 2 >= history->table_size) {
        rehash(history);
    }
    const uint64_t hash = hash_of(data, size);
    uint64_t at = hash & (history->table_size - 1);
    for (; history->table[at] != 0; at = (at + 1) & (history->table_size - 1)) {
        const struct history_text *text =
            &history->texts[history->table[at] - 1];
        if (text->hash == hash && text->size == size &&
            memcmp(history->bytes.data + text->offset, data, size) == 0) {
            return history->table[at];
        }
    }
    size_t capacity = history->text_capacity;
    history->texts = grown(history->texts, history->text_count, &capacity,
                           sizeof(*history->texts));
    history->text_capacity = (uint32_t)capacity;
    history->texts[history->text_count] = (struct history_text){
        .offset = history->bytes.size, .size = (uint32_t)size, .hash = hash};
    /* One byte more, so that a text without bytes has a place, too. */
    const int rc = size == 0 ? wdb_buffer_append(&history->bytes, "", 1)
                             : wdb_buffer_append(&history->bytes, data, size);
    wdb_assert(rc == 0);
    history->table[at] = ++history->text_count;
    return history->text_count;
}

uint32_t history_text_str(struct history *history, const char *text)
{
    return history_text(history, text, text == NULL ? 0 : strlen(text));
}

struct wdb_slice history_slice(const struct history *history, uint32_t text)
{
    if (text == 0) {
        return wdb_slice(NULL, 0);
    }
    wdb_assert(text <= history->text_count);
    const struct history_text *found = &history->texts[text - 1];
    return wdb_slice(history->bytes.data + found->offset, found->size);
}

struct history_op *history_add(struct history *history)
{
    history->ops = grown(history->ops, history->count, &history->capacity,
                         sizeof(*history->ops));
    struct history_op *op = &history->ops[history->count++];
    *op = (struct history_op){.part_first = (uint32_t)history->part_count};
    return op;
}

struct history_part *history_add_part(struct history *history)
{
    history->parts = grown(history->parts, history->part_count,
                           &history->part_capacity, sizeof(*history->parts));
    history->ops[history->count - 1].part_count++;
    struct history_part *part = &history->parts[history->part_count++];
    *part = (struct history_part){0};
    return part;
}

static const char *const kind_names[HISTORY_KIND_COUNT] = {
    "get",  "set", "getset", "setnx",  "cas",
    "incr", "del", "flush",  "append", "txn"};

const char *history_kind_name(enum history_kind kind)
{
    return kind_names[kind];
}

static void print(struct wdb_buffer *out, const char *format, ...)
    WDB_PRINTF(2, 3);

static void print(struct wdb_buffer *out, const char *format, ...)
{
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    const int size = vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    const int rc = wdb_buffer_append(
        out, text, size < (int)sizeof(text) ? (size_t)size : sizeof(text) - 1);
    wdb_assert(rc == 0);
}

static void print_text(const struct history *history, const char *name,
                       uint32_t text, struct wdb_buffer *out)
{
    const struct wdb_slice slice = history_slice(history, text);
    if (text == 0) {
        print(out, ",\"%s\":null", name);
        return;
    }
    print(out, ",\"%s\":\"", name);
    for (size_t i = 0; i < slice.size; i++) {
        const uint8_t byte = slice.data[i];
        if (byte < ' ' || byte >= 0x7f || byte == '"' || byte == '\\') {
            print(out, "\\u%04x", byte);
        } else {
            print(out, "%c", byte);
        }
    }
    print(out, "\"");
}

static void print_parts(const struct history *history,
                        const struct history_op *op, struct wdb_buffer *out)
{
    print(out, ",\"ops\":[");
    for (uint32_t i = 0; i < op->part_count; i++) {
        const struct history_part *part = &history->parts[op->part_first + i];
        print(out, "%s{\"op\":\"%s\"", i == 0 ? "" : ",",
              history_kind_name(part->kind));
        print_text(history, "key", part->key, out);
        if (part->kind == HISTORY_APPEND) {
            print_text(history, "value", part->value, out);
        } else if (op->status == HISTORY_OK) {
            print_text(history, "result", part->result, out);
        }
        print(out, "}");
    }
    print(out, "]");
}

static void print_result(const struct history *history,
                         const struct history_op *op, struct wdb_buffer *out)
{
    switch (op->kind) {
    case HISTORY_GET:
    case HISTORY_GETSET:
        print_text(history, "result", op->result, out);
        break;
    case HISTORY_INCR:
        print(out, ",\"result\":%.*s",
              (int)history_slice(history, op->result).size,
              (const char *)history_slice(history, op->result).data);
        break;
    case HISTORY_SETNX:
    case HISTORY_DEL:
        if (op->has_result) {
            print(out, ",\"result\":%s", op->flag ? "true" : "false");
        }
        break;
    default:
        break;
    }
}

void history_print(const struct history *history, const struct history_op *op,
                   struct wdb_buffer *out)
{
    static const char *const statuses[] = {"ok", "fail", "unknown"};
    static const char *const levels[] = {"consistent", "leader", "stale"};
    print(out, "{\"client\":%" PRIu64 ",\"op\":\"%s\"", op->client,
          history_kind_name(op->kind));
    if (op->key != 0) {
        print_text(history, "key", op->key, out);
    }
    if (op->kind == HISTORY_CAS) {
        print_text(history, "expect", op->expect, out);
    }
    if (op->value != 0) {
        print_text(history, "value", op->value, out);
    }
    if (op->may_expire) {
        print(out, ",\"ttl\":true");
    }
    if (op->kind == HISTORY_INCR) {
        print(out, ",\"by\":%" PRId64, op->by);
    }
    if (op->kind == HISTORY_TXN) {
        print_parts(history, op, out);
    }
    if (op->status == HISTORY_OK) {
        print_result(history, op, out);
    }
    if (op->level != HISTORY_CONSISTENT) {
        print(out, ",\"level\":\"%s\"", levels[op->level]);
    }
    print(out, ",\"start\":%" PRIu64, op->start);
    if (op->end != HISTORY_NEVER) {
        print(out, ",\"end\":%" PRIu64, op->end);
    }
    print(out, ",\"status\":\"%s\"}", statuses[op->status]);
}

void history_report_release(struct history_report *report)
{
    wdb_buffer_release(&report->text);
    *report = (struct history_report){0};
}

void history_complain(struct history_report *report, const char *format, ...)
{
    char text[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    print(&report->text, "%s", text);
    print(&report->text, "\n");
}

void history_show(struct history_report *report, const struct history *history,
                  const struct history_op *op)
{
    print(&report->text, "  ");
    history_print(history, op, &report->text);
    print(&report->text, "\n");
}
