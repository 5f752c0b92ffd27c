/* generic.c - commands on keys, whatever their values are. */
#include <stdlib.h>

#include "base/number.h"
#include "cmd/database.h"
#include "cmd/handlers.h"
#include "cmd/value.h"
#include "walkerdb.h"

/* --- keys that are named twice ---------------------------------------------- */

/* A command does not see what it staged itself: so DEL must know which keys it
 * has had. Few keys are compared with each other, many go through a table. */
#define SEEN_DIRECT_MAX 32

struct seen {
    const struct wdb_key *keys;
    uint32_t *slots; /* number of a key + 1, by hash; NULL: compare directly */
    uint32_t mask;
};

static int seen_init(struct seen *seen, const struct wdb_key *keys,
                     uint32_t count)
{
    *seen = (struct seen){.keys = keys};
    if (count <= SEEN_DIRECT_MAX) {
        return 0;
    }
    uint32_t size = 64;
    while (size < count * 2) {
        size *= 2;
    }
    seen->slots = calloc(size, sizeof(*seen->slots));
    seen->mask = size - 1;
    return seen->slots == NULL ? WALKERDB_ENOMEM : 0;
}

static bool same_key(const struct wdb_key *a, const struct wdb_key *b)
{
    return a->hash == b->hash && wdb_slice_equal(a->name, b->name);
}

/* Whether key i equals one before it, all of which were asked for, too. */
static bool seen_before(struct seen *seen, uint32_t i)
{
    const struct wdb_key *key = &seen->keys[i];
    if (seen->slots == NULL) {
        for (uint32_t k = 0; k < i; k++) {
            if (same_key(&seen->keys[k], key)) {
                return true;
            }
        }
        return false;
    }
    uint32_t at = (uint32_t)(key->hash >> 16) & seen->mask;
    for (; seen->slots[at] != 0; at = (at + 1) & seen->mask) {
        if (same_key(&seen->keys[seen->slots[at] - 1], key)) {
            return true;
        }
    }
    seen->slots[at] = i + 1;
    return false;
}

/* --- deleting, counting ------------------------------------------------------ */

void wdb_cmd_del(struct wdb_call *call)
{
    struct seen seen;
    if (wdb_call_failed(call, seen_init(&seen, call->keys, call->key_count))) {
        return;
    }
    int64_t deleted = 0;
    int code = 0;
    for (uint32_t i = 0; code == 0 && i < call->key_count; i++) {
        const struct wdb_key *key = &call->keys[i];
        struct wdb_item item;
        if (wdb_db_find(call->txn, key, WDB_FIND_PEEK, &item) &&
            !seen_before(&seen, i)) {
            code = wdb_db_delete(call->txn, key);
            deleted++;
        }
    }
    free(seen.slots);
    if (!wdb_call_failed(call, code)) {
        wdb_reply_integer(call->reply, deleted);
    }
}

void wdb_cmd_unlink(struct wdb_call *call)
{
    wdb_cmd_del(call);
}

static void count_keys(struct wdb_call *call, enum wdb_find_mode mode)
{
    int64_t found = 0;
    for (uint32_t i = 0; i < call->key_count; i++) {
        struct wdb_item item;
        found += wdb_db_find(call->txn, &call->keys[i], mode, &item);
    }
    wdb_reply_integer(call->reply, found);
}

void wdb_cmd_exists(struct wdb_call *call)
{
    count_keys(call, WDB_FIND_COUNT);
}

void wdb_cmd_touch(struct wdb_call *call)
{
    count_keys(call, WDB_FIND_READ);
}

void wdb_cmd_type(struct wdb_call *call)
{
    struct wdb_item item;
    const bool found =
        wdb_db_find(call->txn, &call->keys[0], WDB_FIND_COUNT, &item);
    wdb_reply_simple(call->reply,
                     found ? wdb_type_name(wdb_item_type(&item)) : "none");
}

/* --- moving and copying ------------------------------------------------------ */

/* Where a value goes. */
struct target {
    const struct wdb_key *key;
    uint32_t database;
};

static bool exists_at(struct wdb_call *call, const struct target *target)
{
    struct wdb_item item;
    const uint32_t selected = call->txn->database;
    call->txn->database = target->database;
    const bool found =
        wdb_db_find(call->txn, target->key, WDB_FIND_WRITE, &item);
    call->txn->database = selected;
    return found;
}

static int put_at(struct wdb_call *call, const struct target *target,
                  const struct wdb_record *record)
{
    const uint32_t selected = call->txn->database;
    call->txn->database = target->database;
    const int code = wdb_db_put_record(call->txn, target->key, record);
    call->txn->database = selected;
    return code;
}

/* The record as it is, an object's header included, under another key. What is
 * staged moves when a record is added, so it is copied first. */
static int put_record(struct wdb_call *call, const struct target *target,
                      const struct wdb_value *value, uint64_t expiry_ms)
{
    struct wdb_record record = value->record;
    record.key = target->key->name;
    record.flags &= WDB_RECORD_OBJECT;
    record.flags |= expiry_ms != 0 ? WDB_RECORD_EXPIRY : 0;
    record.expiry_ms = expiry_ms;
    uint8_t *copy = NULL;
    if (value->segment == NULL && record.value.size > 0) {
        copy = malloc(record.value.size);
        if (copy == NULL) {
            return WALKERDB_ENOMEM;
        }
        memcpy(copy, record.value.data, record.value.size);
        record.value.data = copy;
    }
    const int code = put_at(call, target, &record);
    free(copy);
    return code;
}

/* Key 0 becomes what target says. False: answered, or not in memory. */
static bool move_key(struct wdb_call *call, const struct wdb_item *item,
                     const struct target *target)
{
    struct wdb_value value;
    int code = wdb_db_read(call->txn, item, &value);
    if (code == 0) {
        code = put_record(call, target, &value, item->expiry_ms);
    }
    if (code == 0) {
        code = wdb_db_delete(call->txn, &call->keys[0]);
    }
    return !wdb_call_failed(call, code);
}

static void rename_key(struct wdb_call *call, bool only_new)
{
    struct wdb_item item;
    if (!wdb_db_find(call->txn, &call->keys[0], WDB_FIND_WRITE, &item)) {
        wdb_call_error(call, "ERR no such key");
        return;
    }
    const struct target target = {&call->keys[1], call->txn->database};
    const bool same = same_key(&call->keys[0], &call->keys[1]);
    if (only_new && (same || exists_at(call, &target))) {
        wdb_reply_integer(call->reply, 0);
        return;
    }
    if (!same && !move_key(call, &item, &target)) {
        return;
    }
    if (only_new) {
        wdb_reply_integer(call->reply, 1);
    } else {
        wdb_reply_ok(call->reply);
    }
}

void wdb_cmd_rename(struct wdb_call *call)
{
    rename_key(call, false);
}

void wdb_cmd_renamenx(struct wdb_call *call)
{
    rename_key(call, true);
}

void wdb_cmd_move(struct wdb_call *call)
{
    uint32_t database;
    if (!wdb_call_database(call, 2, NULL, &database)) {
        return;
    }
    if (database == call->txn->database) {
        wdb_call_error(call, "ERR source and destination objects are the same");
        return;
    }
    const struct target target = {&call->keys[0], database};
    struct wdb_item item;
    if (!wdb_db_find(call->txn, &call->keys[0], WDB_FIND_WRITE, &item) ||
        exists_at(call, &target)) {
        wdb_reply_integer(call->reply, 0);
        return;
    }
    if (move_key(call, &item, &target)) {
        wdb_reply_integer(call->reply, 1);
    }
}

/* Elements belong to one object: the copy gets its own. */
static int copy_object(struct wdb_call *call, const struct target *target,
                       const struct wdb_value *value, uint64_t expiry_ms)
{
    struct wdb_string string;
    int code = wdb_string_open(value, &string);
    if (code != 0) {
        return code;
    }
    struct wdb_db_access access = {call->txn, target->key};
    struct wdb_value_io io;
    wdb_db_value_io(&access, &io);
    const uint32_t selected = call->txn->database;
    call->txn->database = target->database;
    code = wdb_string_duplicate(&io, &string, expiry_ms);
    call->txn->database = selected;
    return code;
}

static bool parse_copy(struct wdb_call *call, uint32_t *database_out,
                       bool *replace_out)
{
    *database_out = call->txn->database;
    *replace_out = false;
    for (uint32_t i = 3; i < call->argc; i++) {
        if (wdb_call_is(call, i, "REPLACE")) {
            *replace_out = true;
        } else if (wdb_call_is(call, i, "DB") && i + 1 < call->argc) {
            if (!wdb_call_database(call, ++i, NULL, database_out)) {
                return false;
            }
        } else {
            wdb_call_syntax_error(call);
            return false;
        }
    }
    return true;
}

void wdb_cmd_copy(struct wdb_call *call)
{
    uint32_t database;
    bool replace;
    if (!parse_copy(call, &database, &replace)) {
        return;
    }
    const struct target target = {&call->keys[1], database};
    if (database == call->txn->database &&
        same_key(&call->keys[0], &call->keys[1])) {
        wdb_call_error(call, "ERR source and destination objects are the same");
        return;
    }
    struct wdb_item item;
    if (!wdb_db_find(call->txn, &call->keys[0], WDB_FIND_READ, &item) ||
        (exists_at(call, &target) && !replace)) {
        wdb_reply_integer(call->reply, 0);
        return;
    }
    struct wdb_value value;
    int code = wdb_db_read(call->txn, &item, &value);
    if (code == 0) {
        code = (item.flags & WDB_ITEM_OBJECT) != 0
                   ? copy_object(call, &target, &value, item.expiry_ms)
                   : put_record(call, &target, &value, item.expiry_ms);
    }
    if (!wdb_call_failed(call, code)) {
        wdb_reply_integer(call->reply, 1);
    }
}

/* --- looking inside ----------------------------------------------------------- */

/* Longest string that Redis keeps together with its head. */
#define EMBSTR_SIZE_MAX 44
/* Integers from 0 to below this are shared by all who have them. */
#define SHARED_INTEGERS 10000

struct wdb_representation wdb_represent(const struct wdb_item *item,
                                        struct wdb_slice value)
{
    struct wdb_representation out = {"raw", 1};
    const enum wdb_type type = wdb_item_type(item);
    int64_t integer;
    if (type == WDB_TYPE_STRING && value.size <= WDB_INT64_TEXT_MAX &&
        wdb_parse_int64(value, &integer)) {
        out.encoding = "int";
        if (integer >= 0 && integer < SHARED_INTEGERS) {
            out.references = INT32_MAX;
        }
    } else if ((type == WDB_TYPE_STRING || type == WDB_TYPE_STRING_TEXT) &&
               value.size <= EMBSTR_SIZE_MAX) {
        out.encoding = "embstr";
    }
    return out;
}

/* False: answered (null if there is no such key), or not in memory. */
static bool look_inside(struct wdb_call *call, struct wdb_representation *out)
{
    struct wdb_item item;
    if (!wdb_db_find(call->txn, &call->keys[0], WDB_FIND_PEEK, &item)) {
        wdb_reply_null(call->reply);
        return false;
    }
    struct wdb_value value;
    if (wdb_call_failed(call, wdb_db_read(call->txn, &item, &value))) {
        return false;
    }
    *out = wdb_represent(&item, value.record.value);
    return true;
}

void wdb_cmd_object_encoding(struct wdb_call *call)
{
    struct wdb_representation inside;
    if (look_inside(call, &inside)) {
        wdb_reply_bulk_str(call->reply, inside.encoding);
    }
}

void wdb_cmd_object_refcount(struct wdb_call *call)
{
    struct wdb_representation inside;
    if (look_inside(call, &inside)) {
        wdb_reply_integer(call->reply, inside.references);
    }
}

void wdb_cmd_object_idletime(struct wdb_call *call)
{
    struct wdb_item item;
    if (!wdb_db_find(call->txn, &call->keys[0], WDB_FIND_PEEK, &item)) {
        wdb_reply_null(call->reply);
        return;
    }
    wdb_reply_integer(call->reply,
                      (int64_t)wdb_db_idle_s(call->txn, &call->keys[0]));
}

void wdb_cmd_object_freq(struct wdb_call *call)
{
    struct wdb_item item;
    if (!wdb_db_find(call->txn, &call->keys[0], WDB_FIND_PEEK, &item)) {
        wdb_reply_null(call->reply);
        return;
    }
    wdb_call_error(call, "ERR An LFU maxmemory policy is not selected, access "
                         "frequency not tracked. Please note that when "
                         "switching between policies at runtime LRU and LFU "
                         "data will take some time to adjust.");
}
