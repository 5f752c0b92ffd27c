/*
 * lcs.c - LCS: the longest common subsequence of two strings.
 *
 * The usual table: length[i][j] is that of the first i and j bytes. Walking it
 * back from its end gives the subsequence, and where runs of it lie. Which of
 * several longest ones that is follows from the order of the comparisons, which
 * is that of Redis.
 */
#include <stdlib.h>

#include "base/buffer.h"
#include "cmd/handlers.h"
#include "cmd/value.h"
#include "walkerdb.h"

struct options {
    bool ranges; /* IDX */
    bool length; /* LEN */
    bool with_length;
    int64_t length_min;
};

/* A run that both strings have: first bytes and how many. */
struct match {
    uint32_t a, b, size;
};

struct table {
    struct wdb_slice a, b;
    uint32_t *cells; /* (a.size + 1) rows of (b.size + 1) */
};

static uint32_t *cell(const struct table *table, size_t i, size_t j)
{
    return &table->cells[i * (table->b.size + 1) + j];
}

static bool parse(struct wdb_call *call, struct options *out)
{
    *out = (struct options){0};
    for (uint32_t i = 3; i < call->argc; i++) {
        if (wdb_call_is(call, i, "IDX")) {
            out->ranges = true;
        } else if (wdb_call_is(call, i, "LEN")) {
            out->length = true;
        } else if (wdb_call_is(call, i, "WITHMATCHLEN")) {
            out->with_length = true;
        } else if (wdb_call_is(call, i, "MINMATCHLEN") && i + 1 < call->argc) {
            if (!wdb_call_int64(call, ++i, &out->length_min)) {
                return false;
            }
        } else {
            wdb_call_syntax_error(call);
            return false;
        }
    }
    if (out->ranges && out->length) {
        wdb_call_error(call, "ERR If you want both the length and indexes, "
                             "please just use IDX.");
        return false;
    }
    return true;
}

/* The table, filled. False: answered. */
static bool fill(struct wdb_call *call, struct table *table)
{
    const uint64_t limit =
        wdb_config_u64(call->context->config, WDB_CONFIG_PROTO_MAX_BULK_LEN);
    const size_t rows = table->a.size + 1, columns = table->b.size + 1;
    if (rows >= UINT32_MAX || columns >= UINT32_MAX) {
        wdb_call_error(call, "ERR String too long for LCS");
        return false;
    }
    if (rows > limit / sizeof(*table->cells) / columns) {
        wdb_call_error(call, "ERR Insufficient memory, transient memory for "
                             "LCS exceeds proto-max-bulk-len");
        return false;
    }
    table->cells = malloc(rows * columns * sizeof(*table->cells));
    if (table->cells == NULL) {
        wdb_call_error(call, "ERR Insufficient memory, failed allocating "
                             "transient memory for LCS");
        return false;
    }
    memset(table->cells, 0, columns * sizeof(*table->cells));
    for (size_t i = 1; i < rows; i++) {
        const uint32_t *above = cell(table, i - 1, 0);
        uint32_t *row = cell(table, i, 0);
        const uint8_t byte = table->a.data[i - 1];
        row[0] = 0;
        for (size_t j = 1; j < columns; j++) {
            const uint32_t best = above[j] > row[j - 1] ? above[j] : row[j - 1];
            row[j] = byte == table->b.data[j - 1] ? above[j - 1] + 1 : best;
        }
    }
    return true;
}

/* Walk back from (*i, *j) to before the run that ends next; false: there is
 * none. The bytes of the subsequence go to `out`, if there is one. */
static bool next_match(const struct table *table, size_t *i, size_t *j,
                       uint8_t *out, struct match *match)
{
    while (*i > 0 && *j > 0 && table->a.data[*i - 1] != table->b.data[*j - 1]) {
        if (*cell(table, *i - 1, *j) > *cell(table, *i, *j - 1)) {
            --*i;
        } else {
            --*j;
        }
    }
    uint32_t size = 0;
    while (*i > 0 && *j > 0 && table->a.data[*i - 1] == table->b.data[*j - 1]) {
        if (out != NULL) {
            out[*cell(table, *i, *j) - 1] = table->a.data[*i - 1];
        }
        --*i;
        --*j;
        size++;
    }
    *match = (struct match){(uint32_t)*i, (uint32_t)*j, size};
    return size > 0;
}

static void reply_subsequence(struct wdb_call *call, const struct table *table)
{
    size_t i = table->a.size, j = table->b.size;
    const uint32_t size = *cell(table, i, j);
    uint8_t *bytes = malloc(size > 0 ? size : 1);
    if (wdb_call_failed(call, bytes == NULL ? WALKERDB_ENOMEM : 0)) {
        return;
    }
    struct match match;
    while (next_match(table, &i, &j, bytes, &match)) {
    }
    wdb_reply_bulk(call->reply, wdb_slice(bytes, size));
    free(bytes);
}

static void reply_match(struct wdb_call *call, const struct match *match,
                        bool with_length)
{
    struct wdb_reply *reply = call->reply;
    wdb_reply_array(reply, with_length ? 3 : 2);
    wdb_reply_array(reply, 2);
    wdb_reply_integer(reply, match->a);
    wdb_reply_integer(reply, (int64_t)match->a + match->size - 1);
    wdb_reply_array(reply, 2);
    wdb_reply_integer(reply, match->b);
    wdb_reply_integer(reply, (int64_t)match->b + match->size - 1);
    if (with_length) {
        wdb_reply_integer(reply, match->size);
    }
}

static void reply_ranges(struct wdb_call *call, const struct table *table,
                         const struct options *options)
{
    struct wdb_buffer found = WDB_BUFFER_INIT;
    size_t i = table->a.size, j = table->b.size, count = 0;
    int code = 0;
    struct match match;
    while (code == 0 && next_match(table, &i, &j, NULL, &match)) {
        if (options->length_min <= (int64_t)match.size) {
            code = wdb_buffer_append(&found, &match, sizeof(match));
            count++;
        }
    }
    if (!wdb_call_failed(call, code)) {
        wdb_reply_map(call->reply, 2);
        wdb_reply_bulk_str(call->reply, "matches");
        wdb_reply_array(call->reply, count);
        for (size_t n = 0; n < count; n++) {
            memcpy(&match, found.data + n * sizeof(match), sizeof(match));
            reply_match(call, &match, options->with_length);
        }
        wdb_reply_bulk_str(call->reply, "len");
        wdb_reply_integer(call->reply,
                          *cell(table, table->a.size, table->b.size));
    }
    wdb_buffer_release(&found);
}

static void reply_lcs(struct wdb_call *call, struct table *table,
                      const struct options *options)
{
    if (!fill(call, table)) {
        return;
    }
    if (options->ranges) {
        reply_ranges(call, table, options);
    } else if (options->length) {
        wdb_reply_integer(call->reply,
                          *cell(table, table->a.size, table->b.size));
    } else {
        reply_subsequence(call, table);
    }
}

/* Both are found before one is read. False: answered. */
static bool find_both(struct wdb_call *call, struct wdb_call_string strings[2])
{
    for (uint32_t i = 0; i < 2; i++) {
        struct wdb_item item;
        if (wdb_db_find(call->txn, &call->keys[i], WDB_FIND_PEEK, &item) &&
            !wdb_item_is_string(&item)) {
            wdb_call_error(call,
                           "ERR The specified keys must contain string values");
            return false;
        }
        if (!wdb_call_find_string(call, i, WDB_FIND_READ, &strings[i])) {
            return false;
        }
    }
    return true;
}

void wdb_cmd_lcs(struct wdb_call *call)
{
    struct options options;
    struct wdb_call_string strings[2];
    if (!find_both(call, strings) || !parse(call, &options)) {
        return;
    }
    struct table table = {.cells = NULL};
    uint8_t *memory[2] = {NULL, NULL};
    if (wdb_call_open_string(call, &strings[0]) &&
        wdb_call_open_string(call, &strings[1]) &&
        wdb_call_whole_string(call, &strings[0], &table.a, &memory[0]) &&
        wdb_call_whole_string(call, &strings[1], &table.b, &memory[1])) {
        reply_lcs(call, &table, &options);
    }
    free(table.cells);
    free(memory[0]);
    free(memory[1]);
}
