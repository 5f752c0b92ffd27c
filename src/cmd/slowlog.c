/* slowlog.c - SLOWLOG: the last commands that took long. */
#include "cmd/client.h"
#include "cmd/handlers.h"

#include "base/number.h"

#define COUNT_DEFAULT 10

static void begin_entries(void *context, uint64_t count)
{
    wdb_reply_array(context, count);
}

static void show_entry(void *context, const struct wdb_slowlog_entry *entry)
{
    struct wdb_reply *reply = context;
    wdb_reply_array(reply, 6);
    wdb_reply_integer(reply, (int64_t)entry->id);
    wdb_reply_integer(reply, (int64_t)entry->time_s);
    wdb_reply_integer(reply, (int64_t)entry->duration_us);
    wdb_reply_array(reply, entry->argument_count);
    for (uint32_t i = 0; i < entry->argument_count; i++) {
        wdb_reply_bulk(reply, entry->arguments[i]);
    }
    wdb_reply_bulk_str(reply, entry->address);
    wdb_reply_bulk_str(reply, entry->name);
}

void wdb_cmd_slowlog_get(struct wdb_call *call)
{
    int64_t count = COUNT_DEFAULT;
    if (call->argc > 3) {
        wdb_call_subcommand_error(call);
        return;
    }
    if (call->argc == 3 &&
        (!wdb_parse_int64(call->argv[2], &count) || count < -1)) {
        wdb_call_error(call, "ERR count should be greater than or equal to -1");
        return;
    }
    /* -1, all of them, is the highest number as an unsigned one. */
    wdb_slowlog_visit(call->context->slowlog, (uint64_t)count, begin_entries,
                      show_entry, call->reply);
}

void wdb_cmd_slowlog_len(struct wdb_call *call)
{
    wdb_reply_integer(call->reply,
                      (int64_t)wdb_slowlog_length(call->context->slowlog));
}

void wdb_cmd_slowlog_reset(struct wdb_call *call)
{
    wdb_slowlog_reset(call->context->slowlog);
    wdb_reply_ok(call->reply);
}

void wdb_cmd_slowlog_help(struct wdb_call *call)
{
    static const char *const lines[] = {
        "GET [<count>]",
        "    The newest entries (10; -1: all). Each is: id, time, duration in",
        "    microseconds, arguments, the client's address and name.",
        "LEN",
        "    The number of entries.",
        "RESET",
        "    Forget all entries.",
        NULL};
    wdb_call_help(call, "SLOWLOG", lines);
}
