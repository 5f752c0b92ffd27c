/* expire.c - commands on the time that a key has left. */
#include "cmd/handlers.h"

enum condition {
    ONLY_WITHOUT = 1 << 0, /* NX: if the key has no expiry */
    ONLY_WITH = 1 << 1,    /* XX */
    ONLY_LATER = 1 << 2,   /* GT: if the new one is later; none is never */
    ONLY_EARLIER = 1 << 3, /* LT */
};

/* False: answered. */
static bool parse_conditions(struct wdb_call *call, uint32_t *out)
{
    static const char *const words[] = {"NX", "XX", "GT", "LT"};
    uint32_t found = 0;
    for (uint32_t i = 3; i < call->argc; i++) {
        uint32_t word = 0;
        while (word < WDB_COUNT(words) && !wdb_call_is(call, i, words[word])) {
            word++;
        }
        if (word == WDB_COUNT(words)) {
            wdb_call_error(call, "ERR Unsupported option %.*s",
                           call->argv[i].size < 128 ? (int)call->argv[i].size
                                                    : 128,
                           (const char *)call->argv[i].data);
            return false;
        }
        found |= 1u << word;
    }
    if ((found & ONLY_WITHOUT) != 0 && found != ONLY_WITHOUT) {
        wdb_call_error(call, "ERR NX and XX, GT or LT options at the same time "
                             "are not compatible");
        return false;
    }
    if ((found & ONLY_LATER) != 0 && (found & ONLY_EARLIER) != 0) {
        wdb_call_error(call, "ERR GT and LT options at the same time are not "
                             "compatible");
        return false;
    }
    *out = found;
    return true;
}

static bool conditions_hold(uint32_t conditions, const struct wdb_item *item,
                            int64_t when)
{
    const bool has = item->expiry_ms != 0;
    const int64_t current = (int64_t)item->expiry_ms;
    return !((conditions & ONLY_WITHOUT) != 0 && has) &&
           !((conditions & ONLY_WITH) != 0 && !has) &&
           !((conditions & ONLY_LATER) != 0 && (!has || when <= current)) &&
           !((conditions & ONLY_EARLIER) != 0 && has && when >= current);
}

/* The time in argument 2, in units of unit_ms from base_ms on, may be in the
 * past: that deletes the key. */
static void expire_key(struct wdb_call *call, int64_t base_ms, int64_t unit_ms)
{
    uint32_t conditions;
    int64_t when;
    if (!parse_conditions(call, &conditions) ||
        !wdb_call_int64(call, 2, &when)) {
        return;
    }
    if (__builtin_mul_overflow(when, unit_ms, &when) ||
        when > INT64_MAX - base_ms) {
        wdb_call_error(call, "ERR invalid expire time in '%s' command",
                       call->command->name);
        return;
    }
    when += base_ms;
    const struct wdb_key *key = &call->keys[0];
    struct wdb_item item;
    if (!wdb_db_find(call->txn, key, WDB_FIND_WRITE, &item) ||
        !conditions_hold(conditions, &item, when)) {
        wdb_reply_integer(call->reply, 0);
        return;
    }
    const int code = when <= (int64_t)call->txn->now_ms
                         ? wdb_db_delete(call->txn, key)
                         : wdb_db_expire(call->txn, key, (uint64_t)when);
    if (!wdb_call_failed(call, code)) {
        wdb_reply_integer(call->reply, 1);
    }
}

void wdb_cmd_expire(struct wdb_call *call)
{
    expire_key(call, (int64_t)call->txn->now_ms, 1000);
}

void wdb_cmd_pexpire(struct wdb_call *call)
{
    expire_key(call, (int64_t)call->txn->now_ms, 1);
}

void wdb_cmd_expireat(struct wdb_call *call)
{
    expire_key(call, 0, 1000);
}

void wdb_cmd_pexpireat(struct wdb_call *call)
{
    expire_key(call, 0, 1);
}

void wdb_cmd_persist(struct wdb_call *call)
{
    const struct wdb_key *key = &call->keys[0];
    struct wdb_item item;
    if (!wdb_db_find(call->txn, key, WDB_FIND_WRITE, &item) ||
        item.expiry_ms == 0) {
        wdb_reply_integer(call->reply, 0);
        return;
    }
    if (!wdb_call_failed(call, wdb_db_expire(call->txn, key, 0))) {
        wdb_reply_integer(call->reply, 1);
    }
}

/* -2: no such key, -1: it does not expire. */
static void reply_time(struct wdb_call *call, bool absolute, bool seconds)
{
    struct wdb_item item;
    int64_t time = -2;
    if (wdb_db_find(call->txn, &call->keys[0], WDB_FIND_COUNT, &item)) {
        time = -1;
        if (item.expiry_ms != 0) {
            uint64_t ms = item.expiry_ms - (absolute ? 0 : call->txn->now_ms);
            time = (int64_t)(seconds ? (ms + 500) / 1000 : ms);
        }
    }
    wdb_reply_integer(call->reply, time);
}

void wdb_cmd_ttl(struct wdb_call *call)
{
    reply_time(call, false, true);
}

void wdb_cmd_pttl(struct wdb_call *call)
{
    reply_time(call, false, false);
}

void wdb_cmd_expiretime(struct wdb_call *call)
{
    reply_time(call, true, true);
}

void wdb_cmd_pexpiretime(struct wdb_call *call)
{
    reply_time(call, true, false);
}
