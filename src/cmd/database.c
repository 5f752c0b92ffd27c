/* database.c - commands on whole databases, and WAIT. */
#include "cmd/database.h"

#include "base/number.h"
#include "cmd/client.h"
#include "cmd/handlers.h"

/* An int that may be a database's number or not. */
static bool parse_index(struct wdb_call *call, uint32_t i, const char *error,
                        int64_t *out)
{
    if (error == NULL && !wdb_parse_int64(call->argv[i], out)) {
        wdb_call_error(call, "ERR value is not an integer or out of range");
        return false;
    }
    if (error != NULL && (!wdb_parse_int64(call->argv[i], out) ||
                          *out < INT32_MIN || *out > INT32_MAX)) {
        wdb_call_error(call, "ERR %s", error);
        return false;
    }
    if (*out < INT32_MIN || *out > INT32_MAX) {
        wdb_call_error(call,
                       "ERR value is out of range, value must between %d and "
                       "%d",
                       INT32_MIN, INT32_MAX);
        return false;
    }
    return true;
}

static bool check_index(struct wdb_call *call, int64_t index, uint32_t *out)
{
    const uint64_t count =
        wdb_config_u64(call->context->config, WDB_CONFIG_DATABASES);
    if (index < 0 || index >= WDB_DATABASE_COUNT || (uint64_t)index >= count) {
        wdb_call_error(call, "ERR DB index is out of range");
        return false;
    }
    *out = (uint32_t)index;
    return true;
}

bool wdb_call_database(struct wdb_call *call, uint32_t i, const char *error,
                       uint32_t *out)
{
    int64_t index;
    return parse_index(call, i, error, &index) && check_index(call, index, out);
}

void wdb_cmd_select(struct wdb_call *call)
{
    uint32_t database;
    if (wdb_call_database(call, 1, NULL, &database)) {
        call->session->database = database;
        wdb_reply_ok(call->reply);
    }
}

void wdb_cmd_swapdb(struct wdb_call *call)
{
    int64_t first, second;
    uint32_t a, b;
    if (!parse_index(call, 1, "invalid first DB index", &first) ||
        !parse_index(call, 2, "invalid second DB index", &second) ||
        !check_index(call, first, &a) || !check_index(call, second, &b)) {
        return;
    }
    const int code = a == b ? 0 : wdb_db_swap(call->txn, a, b);
    if (!wdb_call_failed(call, code)) {
        wdb_reply_ok(call->reply);
    }
}

/* Both ways cost the same here: the keys are forgotten at once and freed in the
 * background. */
static void flush(struct wdb_call *call, uint32_t bits)
{
    if (call->argc > 2 || (call->argc == 2 && !wdb_call_is(call, 1, "SYNC") &&
                           !wdb_call_is(call, 1, "ASYNC"))) {
        wdb_call_syntax_error(call);
        return;
    }
    if (!wdb_call_failed(call, wdb_db_flush(call->txn, bits))) {
        wdb_reply_ok(call->reply);
    }
}

void wdb_cmd_flushdb(struct wdb_call *call)
{
    flush(call, UINT32_C(1) << call->txn->database);
}

void wdb_cmd_flushall(struct wdb_call *call)
{
    flush(call, (UINT32_C(1) << WDB_DATABASE_COUNT) - 1);
}

void wdb_cmd_dbsize(struct wdb_call *call)
{
    struct wdb_txn *txn = call->txn;
    const uint64_t last = wdb_log_index_last(wdb_store_log(txn->store));
    txn->depends = last > txn->depends ? last : txn->depends;
    wdb_reply_integer(call->reply,
                      (int64_t)wdb_db_size(txn->db, txn->database));
}

void wdb_cmd_object_help(struct wdb_call *call)
{
    static const char *const lines[] = {
        "ENCODING <key>",
        "    Name the representation of the value.",
        "FREQ <key>",
        "    How often the key is used; needs an LFU policy, so always an "
        "error.",
        "IDLETIME <key>",
        "    Seconds since the key was used, at least.",
        "REFCOUNT <key>",
        "    Number of references of the value.",
        NULL,
    };
    wdb_call_help(call, "OBJECT", lines);
}
