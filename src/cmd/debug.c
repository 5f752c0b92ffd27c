/* debug.c - DEBUG: tools for tests, behind enable-debug-command. */
#include "cmd/debug.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/assert.h"
#include "base/glob.h"
#include "cmd/client.h"
#include "cmd/config.h"
#include "cmd/handlers.h"

#define SLEEP_MAX_S 3600.0

/* An argument as a C string, cut. */
static void copy_text(struct wdb_slice text, char *out, size_t capacity)
{
    size_t size = text.size < capacity ? text.size : capacity - 1;
    if (size > 0) {
        memcpy(out, text.data, size);
    }
    out[size] = '\0';
}

/* --- at once ---------------------------------------------------------------------- */

static void answer_ok(struct wdb_call *call)
{
    wdb_reply_ok(call->reply);
}

/* Stop this worker, with all its clients: that is what it is for, so the one
 * place where a loop sleeps. */
static void sleep_here(struct wdb_call *call)
{
    char text[64];
    copy_text(call->argv[2], text, sizeof(text));
    double seconds = strtod(text, NULL);
    if (!(seconds > 0)) {
        seconds = 0;
    } else if (seconds > SLEEP_MAX_S) {
        seconds = SLEEP_MAX_S;
    }
    struct timespec left = {.tv_sec = (time_t)seconds};
    left.tv_nsec = (long)((seconds - (double)left.tv_sec) * 1e9);
    while (nanosleep(&left, &left) != 0) {
    }
    wdb_reply_ok(call->reply);
}

static void set_active_expire(struct wdb_call *call)
{
    char text[32];
    copy_text(call->argv[2], text, sizeof(text));
    wdb_db_expire_enable(call->context->db, strtol(text, NULL, 10) != 0);
    wdb_reply_ok(call->reply);
}

static void log_message(struct wdb_call *call)
{
    char text[512];
    copy_text(call->argv[2], text, sizeof(text));
    wdb_logger_print(call->context->logger, WDB_LOG_WARNING, "DEBUG LOG: %s",
                     text);
    wdb_reply_ok(call->reply);
}

static void reply_given_error(struct wdb_call *call)
{
    char text[512];
    copy_text(call->argv[2], text, sizeof(text));
    wdb_call_error(call, "%s", text);
}

static void match_glob(struct wdb_call *call)
{
    wdb_reply_integer(call->reply,
                      wdb_glob_match(call->argv[3], call->argv[2], false));
}

static void crash(struct wdb_call *call)
{
    (void)call;
    raise(SIGSEGV);
}

static void fail_assertion(struct wdb_call *call)
{
    wdb_assert(call == NULL);
}

/* --- PROTOCOL ----------------------------------------------------------------------- */

static void reply_numbers(struct wdb_reply *reply)
{
    for (int i = 0; i < 3; i++) {
        wdb_reply_integer(reply, i);
    }
}

static void reply_array(struct wdb_reply *reply)
{
    wdb_reply_array(reply, 3);
    reply_numbers(reply);
}

static void reply_set(struct wdb_reply *reply)
{
    wdb_reply_set(reply, 3);
    reply_numbers(reply);
}

static void reply_map(struct wdb_reply *reply)
{
    wdb_reply_map(reply, 3);
    for (int i = 0; i < 3; i++) {
        wdb_reply_integer(reply, i);
        wdb_reply_bool(reply, i == 1);
    }
}

static void reply_attribute(struct wdb_reply *reply)
{
    static const char attribute[] = "|1\r\n$14\r\nkey-popularity\r\n"
                                    "*2\r\n$7\r\nkey:123\r\n:90\r\n";
    if (reply->protocol >= 3) {
        wdb_output_append(reply->output, attribute, sizeof(attribute) - 1);
    }
    wdb_reply_bulk_str(reply, "Some real reply following the attribute");
}

static void reply_push(struct wdb_reply *reply)
{
    wdb_reply_push(reply, 2);
    wdb_reply_bulk_str(reply, "server-cpu-usage");
    wdb_reply_integer(reply, 42);
}

static void reply_string(struct wdb_reply *reply)
{
    wdb_reply_bulk_str(reply, "Hello World");
}

static void reply_integer(struct wdb_reply *reply)
{
    wdb_reply_integer(reply, 12345);
}

static void reply_double(struct wdb_reply *reply)
{
    wdb_reply_double(reply, 3.141);
}

static void reply_big(struct wdb_reply *reply)
{
    wdb_reply_big_number(reply, "1234567999999999999999999999999999999");
}

static void reply_true(struct wdb_reply *reply)
{
    wdb_reply_bool(reply, true);
}

static void reply_false(struct wdb_reply *reply)
{
    wdb_reply_bool(reply, false);
}

static void reply_verbatim(struct wdb_reply *reply)
{
    wdb_reply_verbatim(reply, "txt",
                       wdb_slice_str("This is a verbatim\nstring"));
}

static void show_protocol(struct wdb_call *call)
{
    static const struct {
        const char *name;
        void (*write)(struct wdb_reply *reply);
    } types[] = {
        {"string", reply_string},     {"integer", reply_integer},
        {"double", reply_double},     {"bignum", reply_big},
        {"null", wdb_reply_null},     {"array", reply_array},
        {"set", reply_set},           {"map", reply_map},
        {"attrib", reply_attribute},  {"push", reply_push},
        {"verbatim", reply_verbatim}, {"true", reply_true},
        {"false", reply_false},
    };
    for (size_t i = 0; i < WDB_COUNT(types); i++) {
        if (!wdb_call_is(call, 2, types[i].name)) {
            continue;
        }
        if (types[i].write == reply_push && call->reply->protocol < 3) {
            wdb_call_error(call, "ERR RESP2 is not supported by this command");
        } else {
            types[i].write(call->reply);
        }
        return;
    }
    wdb_call_error(call, "ERR Wrong protocol type name. Please use one of the "
                         "following: string|integer|double|bignum|null|array|"
                         "set|map|attrib|push|verbatim|true|false");
}

/* --- the command -------------------------------------------------------------------- */

static void show_help(struct wdb_call *call)
{
    static const char *const lines[] = {
        "ASSERT",
        "    End the process by a failed assertion.",
        "CHANGE-REPL-ID",
        "    Accepted; there is no replication.",
        "DIGEST",
        "    A hash over all keys and values, equal to that of Redis.",
        "DIGEST-VALUE <key> [<key> ...]",
        "    The same of the values of some keys.",
        "ERROR <string>",
        "    Reply that error.",
        "LOADAOF",
        "    As RELOAD.",
        "LOG <message>",
        "    Write a line to the log.",
        "OBJECT <key>",
        "    What is known about a key.",
        "POPULATE <count> [<prefix>] [<size>]",
        "    Make that many strings, where there are none yet.",
        "PROTOCOL <type>",
        "    Reply a value of that type of the protocol.",
        "RELOAD [<option> ...]",
        "    Write and sync everything, and read every value back from its "
        "file.",
        "SEGFAULT",
        "    End the process by a signal.",
        "SET-ACTIVE-EXPIRE <0|1>",
        "    Whether expired keys are deleted although nobody uses them.",
        "SLEEP <seconds>",
        "    Stop this worker and its clients.",
        "STRINGMATCH-LEN <string> <pattern>",
        "    Whether the pattern matches.",
        "AOF-FLUSH-SLEEP, PAUSE-CRON, QUICKLIST-PACKED-THRESHOLD, REPLYBUFFER,",
        "SET-DISABLE-DENY-SCRIPTS, SET-SKIP-CHECKSUM-VALIDATION",
        "    Accepted; they have no meaning here.",
        NULL};
    wdb_call_help(call, "DEBUG", lines);
}

static const struct subcommand {
    const char *name;
    uint32_t argc_min, argc_max; /* with the command and its own name */
    void (*run)(struct wdb_call *call);
} subcommands[] = {
    {"AOF-FLUSH-SLEEP", 3, 3, answer_ok},
    {"ASSERT", 2, 2, fail_assertion},
    {"CHANGE-REPL-ID", 2, 2, answer_ok},
    {"DIGEST", 2, 2, wdb_debug_digest},
    {"DIGEST-VALUE", 2, UINT32_MAX, wdb_debug_digest_value},
    {"ERROR", 3, 3, reply_given_error},
    {"HELP", 2, 2, show_help},
    {"LOADAOF", 2, 2, wdb_debug_reload},
    {"LOG", 3, 3, log_message},
    {"OBJECT", 3, 3, wdb_debug_object},
    {"PAUSE-CRON", 3, 3, answer_ok},
    {"POPULATE", 3, 5, wdb_debug_populate},
    {"PROTOCOL", 3, 3, show_protocol},
    {"QUICKLIST-PACKED-THRESHOLD", 3, 3, answer_ok},
    {"RELOAD", 2, UINT32_MAX, wdb_debug_reload},
    {"REPLYBUFFER", 4, 4, answer_ok},
    {"SEGFAULT", 2, 2, crash},
    {"SET-ACTIVE-EXPIRE", 3, 3, set_active_expire},
    {"SET-DISABLE-DENY-SCRIPTS", 3, 3, answer_ok},
    {"SET-SKIP-CHECKSUM-VALIDATION", 3, 3, answer_ok},
    {"SLEEP", 3, 3, sleep_here},
    {"STRINGMATCH-LEN", 4, 4, match_glob},
};

static bool is_allowed(const struct wdb_call *call)
{
    switch (wdb_config_i64(call->context->config,
                           WDB_CONFIG_ENABLE_DEBUG_COMMAND)) {
    case WDB_GUARD_YES:
        return true;
    case WDB_GUARD_LOCAL:
        return wdb_session_is_local(call->session);
    default:
        return false;
    }
}

void wdb_cmd_debug(struct wdb_call *call)
{
    if (!is_allowed(call)) {
        wdb_call_error(call,
                       "ERR DEBUG command not allowed. If the "
                       "enable-debug-command option is set to \"local\", you "
                       "can run it from a local connection, otherwise you need "
                       "to set this option in the configuration file, and then "
                       "restart the server.");
        return;
    }
    for (size_t i = 0; i < WDB_COUNT(subcommands); i++) {
        const struct subcommand *sub = &subcommands[i];
        if (wdb_call_is(call, 1, sub->name) && call->argc >= sub->argc_min &&
            call->argc <= sub->argc_max) {
            sub->run(call);
            return;
        }
    }
    wdb_call_subcommand_error(call);
}
