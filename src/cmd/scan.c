/*
 * scan.c - commands that walk the keys of a database: KEYS, SCAN, RANDOMKEY.
 *
 * They hold one stripe at a time, so others go on meanwhile. The keys are put
 * together as replies on the way, because their number stands in front.
 */
#include <errno.h>
#include <stdlib.h>
#include <strings.h>

#include "base/buffer.h"
#include "base/glob.h"
#include "base/number.h"
#include "cmd/handlers.h"
#include "type/type.h"
#include "walkerdb.h"

/* Buckets are visited in runs of about this many keys. */
#define KEYS_RUN 1024

struct filter {
    struct wdb_slice pattern;
    bool any_name;
    struct wdb_slice type; /* data NULL: any */
    struct wdb_buffer replies;
    size_t count;
    bool failed; /* no memory */
};

static bool wanted(const struct filter *filter, struct wdb_slice key,
                   const struct wdb_item *item)
{
    if (!filter->any_name && !wdb_glob_match(filter->pattern, key, false)) {
        return false;
    }
    if (filter->type.data == NULL) {
        return true;
    }
    const char *name = wdb_type_name(wdb_item_type(item));
    return strlen(name) == filter->type.size &&
           strncasecmp(name, (const char *)filter->type.data,
                       filter->type.size) == 0;
}

/* Append the key as a bulk string. */
static void collect(void *context, struct wdb_slice key,
                    const struct wdb_item *item)
{
    struct filter *filter = context;
    if (filter->failed || !wanted(filter, key, item)) {
        return;
    }
    char head[WDB_INT64_TEXT_MAX + 3] = "$";
    size_t size = 1 + wdb_format_uint64(head + 1, key.size);
    head[size++] = '\r';
    head[size++] = '\n';
    if (wdb_buffer_reserve(&filter->replies, size + key.size + 2) != 0) {
        filter->failed = true;
        return;
    }
    uint8_t *out = filter->replies.data + filter->replies.size;
    memcpy(out, head, size);
    if (key.size > 0) {
        memcpy(out + size, key.data, key.size);
    }
    memcpy(out + size + key.size, "\r\n", 2);
    filter->replies.size += size + key.size + 2;
    filter->count++;
}

static void set_pattern(struct filter *filter, struct wdb_slice pattern)
{
    filter->pattern = pattern;
    filter->any_name = pattern.size == 1 && pattern.data[0] == '*';
}

static uint64_t walk(struct wdb_call *call, uint64_t cursor, uint64_t count,
                     struct filter *filter)
{
    uint64_t depends = 0;
    cursor = wdb_db_scan(call->txn, cursor, count, collect, filter, &depends);
    if (depends > call->txn->depends) {
        call->txn->depends = depends;
    }
    return cursor;
}

static void reply_collected(struct wdb_call *call, struct filter *filter)
{
    wdb_reply_array(call->reply, filter->count);
    wdb_output_append(call->reply->output, filter->replies.data,
                      filter->replies.size);
}

void wdb_cmd_keys(struct wdb_call *call)
{
    struct filter filter = {.count = 0};
    set_pattern(&filter, call->argv[1]);
    uint64_t cursor = 0;
    do {
        cursor = walk(call, cursor, KEYS_RUN, &filter);
    } while (cursor != 0 && !filter.failed);
    if (!wdb_call_failed(call, filter.failed ? WALKERDB_ENOMEM : 0)) {
        reply_collected(call, &filter);
    }
    wdb_buffer_release(&filter.replies);
}

/* As strtoul reads it, which lets signs pass. */
static bool parse_cursor(struct wdb_call *call, uint64_t *out)
{
    char text[32] = "";
    const struct wdb_slice argument = call->argv[1];
    if (argument.size < sizeof(text)) {
        memcpy(text, argument.data, argument.size);
        char *end;
        errno = 0;
        const unsigned long long cursor = strtoull(text, &end, 10);
        if (errno == 0 && end == text + argument.size &&
            (argument.size == 0 || (unsigned char)text[0] > ' ')) {
            *out = cursor & ((UINT64_C(1) << 48) - 1);
            return true;
        }
    }
    wdb_call_error(call, "ERR invalid cursor");
    return false;
}

static bool parse_scan(struct wdb_call *call, struct filter *filter,
                       int64_t *count_out)
{
    *filter = (struct filter){.any_name = true};
    *count_out = 10;
    for (uint32_t i = 2; i < call->argc; i += 2) {
        const bool has_value = i + 1 < call->argc;
        if (has_value && wdb_call_is(call, i, "COUNT")) {
            if (!wdb_call_int64(call, i + 1, count_out)) {
                return false;
            }
            if (*count_out >= 1) {
                continue;
            }
        } else if (has_value && wdb_call_is(call, i, "MATCH")) {
            set_pattern(filter, call->argv[i + 1]);
            continue;
        } else if (has_value && wdb_call_is(call, i, "TYPE")) {
            filter->type = call->argv[i + 1];
            continue;
        }
        wdb_call_syntax_error(call);
        return false;
    }
    return true;
}

void wdb_cmd_scan(struct wdb_call *call)
{
    uint64_t cursor;
    int64_t count;
    struct filter filter;
    if (!parse_cursor(call, &cursor) || !parse_scan(call, &filter, &count)) {
        return;
    }
    cursor = walk(call, cursor, (uint64_t)count, &filter);
    if (!wdb_call_failed(call, filter.failed ? WALKERDB_ENOMEM : 0)) {
        wdb_reply_array(call->reply, 2);
        char text[WDB_INT64_TEXT_MAX];
        wdb_reply_bulk(call->reply,
                       wdb_slice(text, wdb_format_uint64(text, cursor)));
        reply_collected(call, &filter);
    }
    wdb_buffer_release(&filter.replies);
}

void wdb_cmd_randomkey(struct wdb_call *call)
{
    uint64_t random;
    call->context->env->ops->random(call->context->env, &random,
                                    sizeof(random));
    struct wdb_buffer key = WDB_BUFFER_INIT;
    if (wdb_db_random(call->txn, random, &key)) {
        wdb_reply_bulk(call->reply, wdb_buffer_slice(&key));
    } else {
        wdb_reply_null(call->reply);
    }
    wdb_buffer_release(&key);
}
