/* string.c - commands on strings. */
#include <math.h>

#include "base/number.h"
#include "cmd/cluster.h"
#include "cmd/handlers.h"
#include "cmd/value.h"
#include "walkerdb.h"

/* --- options of SET and GETEX ---------------------------------------------- */

enum option {
    OPTION_NX = 1 << 0,
    OPTION_XX = 1 << 1,
    OPTION_GET = 1 << 2,
    OPTION_KEEPTTL = 1 << 3,
    OPTION_PERSIST = 1 << 4,
    OPTION_EX = 1 << 5,
    OPTION_PX = 1 << 6,
    OPTION_EXAT = 1 << 7,
    OPTION_PXAT = 1 << 8,
};
#define OPTIONS_TIME (OPTION_EX | OPTION_PX | OPTION_EXAT | OPTION_PXAT)

struct options {
    uint32_t flags;
    uint32_t time_index; /* of the argument with the time */
};

/* An option's word, what excludes it (an option may be repeated), and whether
 * SET or GETEX knows it. */
static const struct option_row {
    const char *word;
    uint32_t flag;
    uint32_t excluded_by;
    bool set, getex;
} option_rows[] = {
    {"NX", OPTION_NX, OPTION_XX, true, false},
    {"XX", OPTION_XX, OPTION_NX, true, false},
    {"GET", OPTION_GET, 0, true, false},
    {"KEEPTTL", OPTION_KEEPTTL, OPTIONS_TIME, true, false},
    {"PERSIST", OPTION_PERSIST, OPTIONS_TIME, false, true},
    {"EX", OPTION_EX, OPTION_KEEPTTL | OPTION_PERSIST | OPTIONS_TIME, true,
     true},
    {"PX", OPTION_PX, OPTION_KEEPTTL | OPTION_PERSIST | OPTIONS_TIME, true,
     true},
    {"EXAT", OPTION_EXAT, OPTION_KEEPTTL | OPTION_PERSIST | OPTIONS_TIME, true,
     true},
    {"PXAT", OPTION_PXAT, OPTION_KEEPTTL | OPTION_PERSIST | OPTIONS_TIME, true,
     true},
};

static const struct option_row *find_option(const struct wdb_call *call,
                                            uint32_t i, bool set)
{
    for (size_t row = 0; row < WDB_COUNT(option_rows); row++) {
        const struct option_row *option = &option_rows[row];
        if ((set ? option->set : option->getex) &&
            wdb_call_is(call, i, option->word)) {
            return option;
        }
    }
    return NULL;
}

/* From argument `first` on. False: a syntax error was answered. */
static bool parse_options(struct wdb_call *call, uint32_t first, bool set,
                          struct options *out)
{
    *out = (struct options){0};
    for (uint32_t i = first; i < call->argc; i++) {
        const struct option_row *option = find_option(call, i, set);
        if (option == NULL ||
            (out->flags & option->excluded_by & ~option->flag) != 0) {
            wdb_call_syntax_error(call);
            return false;
        }
        out->flags |= option->flag;
        if ((option->flag & OPTIONS_TIME) != 0) {
            if (++i == call->argc) {
                wdb_call_syntax_error(call);
                return false;
            }
            out->time_index = i;
        }
    }
    return true;
}

/* The time in argument i as an absolute one. False: answered. */
static bool parse_expiry(struct wdb_call *call, uint32_t i, uint32_t flags,
                         uint64_t *out)
{
    int64_t time;
    if (!wdb_call_int64(call, i, &time)) {
        return false;
    }
    const bool seconds = (flags & (OPTION_EX | OPTION_EXAT)) != 0;
    const bool relative = (flags & (OPTION_EX | OPTION_PX)) != 0;
    const int64_t base = relative ? (int64_t)call->txn->now_ms : 0;
    if (time <= 0 || (seconds && time > INT64_MAX / 1000) ||
        (seconds ? time * 1000 : time) > INT64_MAX - base) {
        wdb_call_error(call, "ERR invalid expire time in '%s' command",
                       call->command->name);
        return false;
    }
    *out = (uint64_t)((seconds ? time * 1000 : time) + base);
    return true;
}

/* --- reading ---------------------------------------------------------------- */

/* Reply the string at key i, or null; false: answered, or not in memory. */
static bool reply_string(struct wdb_call *call, struct wdb_call_string *s,
                         uint32_t i, enum wdb_find_mode mode)
{
    if (!wdb_call_string(call, i, mode, s)) {
        return false;
    }
    if (!s->found) {
        wdb_reply_null(call->reply);
        return true;
    }
    wdb_call_reply_range(call, s, 0, s->string.size);
    return !call->failed && !call->txn->cold;
}

void wdb_cmd_get(struct wdb_call *call)
{
    struct wdb_item item;
    struct wdb_value value;
    const int code = wdb_db_get(call->txn, &call->keys[0], &item, &value);
    if (WDB_LIKELY(code == 0 && wdb_item_type(&item) <= WDB_TYPE_STRING_TEXT)) {
        wdb_call_reply_value(call, &value);
        return;
    }
    if (code == WALKERDB_ENOTFOUND) {
        wdb_reply_null(call->reply);
        return;
    }
    if (wdb_call_failed(call, code)) {
        return;
    }
    struct wdb_call_string s; /* in chunks, or no string */
    (void)reply_string(call, &s, 0, WDB_FIND_PEEK);
}

void wdb_cmd_levelget(struct wdb_call *call)
{
    const struct wdb_slice level = call->argv[2];
    if (level.size != 1 || level.data[0] < '0' || level.data[0] > '2') {
        wdb_call_error(call, "ERR level must be 0 (leader), 1 (stale) or 2 "
                             "(consistent)");
        return;
    }
    /* On its own it was routed by its level; in a transaction, by that of the
     * connection. A single node is the leader, and a majority. */
    const struct wdb_cluster *cluster = call->context->cluster;
    if (cluster != NULL && level.data[0] != '1' &&
        !wdb_raft_gate_serves(cluster->gate)) {
        wdb_call_error(call, "NOLEADER this node does not lead: nothing was "
                             "read");
        return;
    }
    call->session->round_wanted |= cluster != NULL && level.data[0] == '2';
    wdb_cmd_get(call);
}

void wdb_cmd_getdel(struct wdb_call *call)
{
    struct wdb_call_string s;
    if (reply_string(call, &s, 0, WDB_FIND_READ) && s.found) {
        (void)wdb_call_failed(call, wdb_db_delete(call->txn, &call->keys[0]));
    }
}

void wdb_cmd_getex(struct wdb_call *call)
{
    struct options options;
    struct wdb_call_string s;
    if (!parse_options(call, 2, false, &options) ||
        !wdb_call_find_string(call, 0, WDB_FIND_READ, &s)) {
        return;
    }
    uint64_t expiry_ms = 0;
    if (s.found && options.time_index != 0 &&
        !parse_expiry(call, options.time_index, options.flags, &expiry_ms)) {
        return;
    }
    if (!reply_string(call, &s, 0, WDB_FIND_PEEK) || !s.found) {
        return;
    }
    const struct wdb_key *key = &call->keys[0];
    int code = 0;
    if (expiry_ms != 0 && expiry_ms <= call->txn->now_ms) {
        code = wdb_db_delete(call->txn, key);
    } else if (expiry_ms != 0) {
        code = wdb_db_expire(call->txn, key, expiry_ms);
    } else if ((options.flags & OPTION_PERSIST) != 0 && s.item.expiry_ms != 0) {
        code = wdb_db_expire(call->txn, key, 0);
    }
    (void)wdb_call_failed(call, code);
}

void wdb_cmd_mget(struct wdb_call *call)
{
    wdb_reply_array(call->reply, call->key_count);
    for (uint32_t i = 0; i < call->key_count; i++) {
        struct wdb_item item;
        struct wdb_value value;
        const int code = wdb_db_get(call->txn, &call->keys[i], &item, &value);
        if (code == WALKERDB_ENOTFOUND ||
            (code == 0 && !wdb_item_is_string(&item))) {
            wdb_reply_null(call->reply);
            continue;
        }
        if (wdb_call_failed(call, code)) {
            return;
        }
        struct wdb_call_string s;
        if (WDB_LIKELY(wdb_item_type(&item) <= WDB_TYPE_STRING_TEXT)) {
            wdb_call_reply_value(call, &value);
        } else if (!reply_string(call, &s, i, WDB_FIND_PEEK)) {
            return;
        }
    }
}

void wdb_cmd_strlen(struct wdb_call *call)
{
    struct wdb_call_string s;
    if (wdb_call_string(call, 0, WDB_FIND_READ, &s)) {
        wdb_reply_integer(call->reply, (int64_t)s.string.size);
    }
}

void wdb_cmd_getrange(struct wdb_call *call)
{
    int64_t start, end;
    struct wdb_call_string s;
    if (!wdb_call_int64(call, 2, &start) || !wdb_call_int64(call, 3, &end) ||
        !wdb_call_string(call, 0, WDB_FIND_READ, &s)) {
        return;
    }
    const int64_t size = (int64_t)s.string.size;
    const bool empty = start < 0 && end < 0 && start > end;
    start = start < 0 ? start + size : start;
    end = end < 0 ? end + size : end;
    start = start < 0 ? 0 : start;
    end = end < 0 ? 0 : end;
    end = end >= size ? size - 1 : end;
    if (empty || start > end) {
        wdb_reply_bulk(call->reply, wdb_slice("", 0));
        return;
    }
    wdb_call_reply_range(call, &s, (uint64_t)start,
                         (uint64_t)(end - start) + 1);
}

void wdb_cmd_substr(struct wdb_call *call)
{
    wdb_cmd_getrange(call);
}

/* --- writing ---------------------------------------------------------------- */

/* SET with options, and its older forms: the value is argument value_index. */
static void set_string(struct wdb_call *call, const struct options *options,
                       uint32_t value_index)
{
    const uint32_t flags = options->flags;
    const bool get = (flags & OPTION_GET) != 0;
    uint64_t expiry_ms = 0;
    if (options->time_index != 0 &&
        !parse_expiry(call, options->time_index, flags, &expiry_ms)) {
        return;
    }
    struct wdb_call_string s;
    if (get) {
        if (!reply_string(call, &s, 0, WDB_FIND_READ)) {
            return;
        }
    } else {
        s.found =
            wdb_db_find(call->txn, &call->keys[0], WDB_FIND_WRITE, &s.item);
    }
    if (((flags & OPTION_NX) != 0 && s.found) ||
        ((flags & OPTION_XX) != 0 && !s.found)) {
        if (!get) {
            wdb_reply_null(call->reply);
        }
        return;
    }
    if ((flags & OPTION_KEEPTTL) != 0 && s.found) {
        expiry_ms = s.item.expiry_ms;
    }
    const int code = wdb_db_put(call->txn, &call->keys[0],
                                call->argv[value_index], expiry_ms);
    if (!wdb_call_failed(call, code) && !get) {
        wdb_reply_ok(call->reply);
    }
}

void wdb_cmd_set(struct wdb_call *call)
{
    if (WDB_LIKELY(call->argc == 3)) {
        const int code =
            wdb_db_put(call->txn, &call->keys[0], call->argv[2], 0);
        if (!wdb_call_failed(call, code)) {
            wdb_reply_ok(call->reply);
        }
        return;
    }
    struct options options;
    if (parse_options(call, 3, true, &options)) {
        set_string(call, &options, 2);
    }
}

void wdb_cmd_setnx(struct wdb_call *call)
{
    struct wdb_item item;
    if (wdb_db_find(call->txn, &call->keys[0], WDB_FIND_WRITE, &item)) {
        wdb_reply_integer(call->reply, 0);
        return;
    }
    const int code = wdb_db_put(call->txn, &call->keys[0], call->argv[2], 0);
    if (!wdb_call_failed(call, code)) {
        wdb_reply_integer(call->reply, 1);
    }
}

void wdb_cmd_setex(struct wdb_call *call)
{
    const struct options options = {.flags = OPTION_EX, .time_index = 2};
    set_string(call, &options, 3);
}

void wdb_cmd_psetex(struct wdb_call *call)
{
    const struct options options = {.flags = OPTION_PX, .time_index = 2};
    set_string(call, &options, 3);
}

void wdb_cmd_getset(struct wdb_call *call)
{
    const struct options options = {.flags = OPTION_GET};
    set_string(call, &options, 2);
}

static bool put_pairs(struct wdb_call *call)
{
    for (uint32_t i = 0; i < call->key_count; i++) {
        const int code =
            wdb_db_put(call->txn, &call->keys[i], call->argv[2 * i + 2], 0);
        if (wdb_call_failed(call, code)) {
            return false;
        }
    }
    return true;
}

static bool check_pairs(struct wdb_call *call)
{
    if (call->argc % 2 == 0) {
        wdb_call_error(call, "ERR wrong number of arguments for '%s' command",
                       call->command->name);
        return false;
    }
    return true;
}

void wdb_cmd_mset(struct wdb_call *call)
{
    if (check_pairs(call) && put_pairs(call)) {
        wdb_reply_ok(call->reply);
    }
}

void wdb_cmd_msetnx(struct wdb_call *call)
{
    if (!check_pairs(call)) {
        return;
    }
    for (uint32_t i = 0; i < call->key_count; i++) {
        struct wdb_item item;
        if (wdb_db_find(call->txn, &call->keys[i], WDB_FIND_WRITE, &item)) {
            wdb_reply_integer(call->reply, 0);
            return;
        }
    }
    if (put_pairs(call)) {
        wdb_reply_integer(call->reply, 1);
    }
}

void wdb_cmd_append(struct wdb_call *call)
{
    struct wdb_call_string s;
    if (!wdb_call_string(call, 0, WDB_FIND_WRITE, &s)) {
        return;
    }
    const struct wdb_slice more = call->argv[2];
    if (!s.found) {
        const int code = wdb_db_put(call->txn, &call->keys[0], more, 0);
        if (!wdb_call_failed(call, code)) {
            wdb_reply_integer(call->reply, (int64_t)more.size);
        }
        return;
    }
    const uint64_t size = s.string.size;
    if (wdb_call_check_size(call, size, more.size) &&
        wdb_call_write_string(call, &s, size, more)) {
        wdb_reply_integer(call->reply, (int64_t)(size + more.size));
    }
}

void wdb_cmd_setrange(struct wdb_call *call)
{
    int64_t offset;
    if (!wdb_call_int64(call, 2, &offset)) {
        return;
    }
    if (offset < 0) {
        wdb_call_error(call, "ERR offset is out of range");
        return;
    }
    struct wdb_call_string s;
    if (!wdb_call_string(call, 0, WDB_FIND_WRITE, &s)) {
        return;
    }
    const struct wdb_slice bytes = call->argv[3];
    uint64_t size = s.string.size;
    if (bytes.size > 0) {
        if (!wdb_call_check_size(call, (uint64_t)offset, bytes.size) ||
            !wdb_call_write_string(call, &s, (uint64_t)offset, bytes)) {
            return;
        }
        const uint64_t end = (uint64_t)offset + bytes.size;
        size = end > size ? end : size;
    }
    wdb_reply_integer(call->reply, (int64_t)size);
}

/* --- numbers ---------------------------------------------------------------- */

/* The string of a number, read for change. False: answered. */
static bool open_number(struct wdb_call *call, struct wdb_call_string *s)
{
    return wdb_call_string(call, 0, WDB_FIND_WRITE, s);
}

static void add_integer(struct wdb_call *call, int64_t amount)
{
    struct wdb_call_string s;
    if (!open_number(call, &s)) {
        return;
    }
    int64_t value = 0;
    if (s.found && (s.string.chunk_size != 0 ||
                    !wdb_parse_int64(s.string.value.record.value, &value))) {
        wdb_call_error(call, "ERR value is not an integer or out of range");
        return;
    }
    if (__builtin_add_overflow(value, amount, &value)) {
        wdb_call_error(call, "ERR increment or decrement would overflow");
        return;
    }
    char text[WDB_INT64_TEXT_MAX];
    const size_t size = wdb_format_int64(text, value);
    const int code =
        wdb_db_put(call->txn, &call->keys[0], wdb_slice(text, size),
                   s.found ? s.item.expiry_ms : 0);
    if (!wdb_call_failed(call, code)) {
        wdb_reply_integer(call->reply, value);
    }
}

void wdb_cmd_incr(struct wdb_call *call)
{
    add_integer(call, 1);
}

void wdb_cmd_decr(struct wdb_call *call)
{
    add_integer(call, -1);
}

void wdb_cmd_incrby(struct wdb_call *call)
{
    int64_t amount;
    if (wdb_call_int64(call, 2, &amount)) {
        add_integer(call, amount);
    }
}

void wdb_cmd_decrby(struct wdb_call *call)
{
    int64_t amount;
    if (!wdb_call_int64(call, 2, &amount)) {
        return;
    }
    if (amount == INT64_MIN) {
        wdb_call_error(call, "ERR decrement would overflow");
        return;
    }
    add_integer(call, -amount);
}

void wdb_cmd_incrbyfloat(struct wdb_call *call)
{
    struct wdb_call_string s;
    if (!open_number(call, &s)) {
        return;
    }
    long double value = 0, amount;
    if ((s.found &&
         (s.string.chunk_size != 0 ||
          !wdb_parse_long_double(s.string.value.record.value, &value))) ||
        !wdb_parse_long_double(call->argv[2], &amount)) {
        wdb_call_error(call, "ERR value is not a valid float");
        return;
    }
    value += amount;
    if (isnan(value) || isinf(value)) {
        wdb_call_error(call, "ERR increment would produce NaN or Infinity");
        return;
    }
    char text[5 * 1024];
    const struct wdb_slice result =
        wdb_slice(text, wdb_format_long_double(text, value));
    const uint64_t expiry_ms = s.found ? s.item.expiry_ms : 0;
    int64_t integer;
    const struct wdb_record record = {
        .kind = WDB_RECORD_PUT,
        .flags = expiry_ms != 0 ? WDB_RECORD_EXPIRY : 0,
        .type = wdb_parse_int64(result, &integer) ? WDB_TYPE_STRING_TEXT
                                                  : WDB_TYPE_STRING,
        .expiry_ms = expiry_ms,
        .key = call->keys[0].name,
        .value = result,
    };
    const int code = wdb_db_put_record(call->txn, &call->keys[0], &record);
    if (!wdb_call_failed(call, code)) {
        wdb_reply_bulk(call->reply, result);
    }
}
