/*
 * monitor.c - MONITOR: a line for every command, in the form of Redis:
 *
 *     +1339518083.107412 [0 127.0.0.1:60866] "keys" "*"
 *
 * Commands are shown when they have been executed, what EXEC ran before EXEC
 * itself. Administrative ones and passwords are left out.
 */
#include "cmd/monitor.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>

#include "admin/process.h"
#include "cmd/handlers.h"
#include "cmd/redact.h"
#include "cmd/transaction.h"

/* Arguments are shown up to so many bytes of a line; more are counted. */
#define LINE_SIZE_MAX ((size_t)1 << 20)

/* The bytes of an argument in quotes, what is not printable escaped. */
static int append_quoted(struct wdb_buffer *out, struct wdb_slice text)
{
    static const char hex[] = "0123456789abcdef";
    static const char named[] = "\n\r\t\a\b";
    static const char letters[] = "nrtab";
    int code = wdb_buffer_reserve(out, 2 + 4 * text.size);
    if (code != 0) {
        return code;
    }
    uint8_t *at = out->data + out->size;
    *at++ = '"';
    for (size_t i = 0; i < text.size; i++) {
        const uint8_t byte = text.data[i];
        const char *name = byte == 0 ? NULL : strchr(named, byte);
        if (byte == '\\' || byte == '"') {
            *at++ = '\\';
            *at++ = byte;
        } else if (name != NULL) {
            *at++ = '\\';
            *at++ = (uint8_t)letters[name - named];
        } else if (byte >= ' ' && byte <= '~') {
            *at++ = byte;
        } else {
            *at++ = '\\';
            *at++ = 'x';
            *at++ = (uint8_t)hex[byte >> 4];
            *at++ = (uint8_t)hex[byte & 15];
        }
    }
    *at++ = '"';
    out->size = (size_t)(at - out->data);
    return 0;
}

static int append_argument(struct wdb_buffer *out, struct wdb_slice text)
{
    const size_t room =
        out->size < LINE_SIZE_MAX ? LINE_SIZE_MAX - out->size : 0;
    int code = wdb_buffer_append(out, " ", 1);
    if (code != 0 || text.size <= room) {
        return code != 0 ? code : append_quoted(out, text);
    }
    code = append_quoted(out, wdb_slice(text.data, room));
    return code != 0 ? code
                     : wdb_buffer_printf(out, "... (%zu more bytes)",
                                         text.size - room);
}

static void feed(const struct wdb_call *call, const struct wdb_command *command,
                 uint32_t argc, const struct wdb_slice *argv)
{
    if (command->flags & (WDB_CMD_ADMIN | WDB_CMD_SKIP_MONITOR)) {
        return;
    }
    const struct wdb_session *session = call->session;
    const uint64_t now_us = wdb_clock_us();
    struct wdb_buffer line = WDB_BUFFER_INIT;
    int code = wdb_buffer_printf(&line, "+%" PRIu64 ".%06" PRIu64 " [%u %s]",
                                 now_us / 1000000, now_us % 1000000,
                                 session->database, session->about.address);
    for (uint32_t i = 0; i < argc && code == 0; i++) {
        bool secret = wdb_argument_is_secret(command, argc, argv, i);
        code = append_argument(&line,
                               secret ? wdb_slice_str(WDB_REDACTED) : argv[i]);
    }
    if (code == 0) {
        code = wdb_buffer_append(&line, "\r\n", 2);
    }
    if (code == 0) { /* without memory the line is missing */
        const struct wdb_context *context = call->context;
        context->hooks->monitor(context->hooks_context, (const char *)line.data,
                                line.size, session->depends);
    }
    wdb_buffer_release(&line);
}

void wdb_monitor_feed(struct wdb_call *call)
{
    const struct wdb_multi *multi = call->session->multi;
    if (call->command->handler == wdb_cmd_exec && multi != NULL &&
        multi->begun) {
        for (uint32_t i = 0; i < multi->count; i++) {
            const struct wdb_multi_command *queued = &multi->commands[i];
            feed(call, queued->command, queued->argc, queued->argv);
        }
    }
    feed(call, call->command, call->argc, call->argv);
}

void wdb_cmd_monitor(struct wdb_call *call)
{
    struct wdb_session *session = call->session;
    if (call->in_exec) {
        wdb_call_error(call,
                       "ERR MONITOR isn't allowed for DENY BLOCKING client");
        return;
    }
    if (!(session->flags & WDB_SESSION_MONITOR)) {
        session->flags |= WDB_SESSION_MONITOR;
        atomic_fetch_add_explicit(&call->context->monitor_count, 1,
                                  memory_order_relaxed);
    }
    wdb_reply_ok(call->reply);
}
