/* server.c - TIME, LOLWUT, and MODULE and FUNCTION of a server that has
 * none. */
#include "admin/process.h"
#include "cmd/client.h"
#include "cmd/handlers.h"
#include "cmd/version.h"

void wdb_cmd_time(struct wdb_call *call)
{
    const uint64_t now_us = wdb_clock_us();
    wdb_reply_array(call->reply, 2);
    wdb_reply_bulk_integer(call->reply, (int64_t)(now_us / 1000000));
    wdb_reply_bulk_integer(call->reply, (int64_t)(now_us % 1000000));
}

/* --- LOLWUT ------------------------------------------------------------------------ */

void wdb_cmd_lolwut(struct wdb_call *call)
{
    int64_t version;
    if (call->argc >= 3 && wdb_call_is(call, 1, "VERSION") &&
        !wdb_call_int64(call, 2, &version)) {
        return;
    }
    static const char text[] =
        "   o     o      o\n"
        "  /|\\   /|\\_   /|\\_\n"
        "  / \\    |\\    / >\n"
        "_/___\\__/__\\__/__/_______\n"
        "walkerDb " WALKERDB_VERSION ", Redis ver. " WDB_REDIS_VERSION "\n";
    wdb_reply_verbatim(call->reply, "txt", wdb_slice_str(text));
}

/* --- MODULE -------------------------------------------------------------------------- */

void wdb_cmd_module_list(struct wdb_call *call)
{
    wdb_reply_array(call->reply, 0);
}

void wdb_cmd_module_help(struct wdb_call *call)
{
    static const char *const lines[] = {
        "LIST", "    The loaded modules: none, there are no modules here.",
        NULL};
    wdb_call_help(call, "MODULE", lines);
}

/* --- FUNCTION ------------------------------------------------------------------------ */

void wdb_cmd_function_flush(struct wdb_call *call)
{
    if (call->argc > 3) {
        wdb_call_subcommand_error(call);
    } else if (call->argc == 3 && !wdb_call_is(call, 2, "SYNC") &&
               !wdb_call_is(call, 2, "ASYNC")) {
        wdb_call_error(call, "ERR FUNCTION FLUSH only supports SYNC|ASYNC "
                             "option");
    } else {
        wdb_reply_ok(call->reply);
    }
}

void wdb_cmd_function_list(struct wdb_call *call)
{
    bool code = false, name = false;
    for (uint32_t i = 2; i < call->argc; i++) {
        if (!code && wdb_call_is(call, i, "WITHCODE")) {
            code = true;
        } else if (!name && wdb_call_is(call, i, "LIBRARYNAME")) {
            name = true;
            if (++i == call->argc) {
                wdb_call_error(call, "ERR library name argument was not given");
                return;
            }
        } else {
            wdb_call_error(call, "ERR Unknown argument %.*s",
                           (int)(call->argv[i].size < 128 ? call->argv[i].size
                                                          : 128),
                           (const char *)call->argv[i].data);
            return;
        }
    }
    wdb_reply_array(call->reply, 0);
}

void wdb_cmd_function_help(struct wdb_call *call)
{
    static const char *const lines[] = {
        "FLUSH [ASYNC|SYNC]", "    Delete all libraries: there are none.",
        "LIST [LIBRARYNAME <pattern>] [WITHCODE]", "    The libraries: none.",
        NULL};
    wdb_call_help(call, "FUNCTION", lines);
}
