/*
 * client.c - CLIENT: look at connections, name them, end them, hold them.
 *
 * Other workers' sessions are seen through what they show (atomics and `about`)
 * while the registry's lock keeps them from going away.
 */
#include "cmd/client.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/number.h"
#include "cmd/executor.h"
#include "cmd/handlers.h"

bool wdb_client_name_valid(struct wdb_slice name)
{
    for (size_t i = 0; i < name.size; i++) {
        if (name.data[i] < '!' || name.data[i] > '~') {
            return false;
        }
    }
    return name.size < sizeof(((struct wdb_session *)0)->about.name);
}

static void set_text(struct wdb_session *session, char *field, size_t capacity,
                     struct wdb_slice text)
{
    pthread_mutex_lock(&session->about_lock);
    size_t size = text.size < capacity ? text.size : capacity - 1;
    if (size > 0) {
        memcpy(field, text.data, size);
    }
    field[size] = '\0';
    pthread_mutex_unlock(&session->about_lock);
}

void wdb_client_set_name(struct wdb_session *session, struct wdb_slice name)
{
    set_text(session, session->about.name, sizeof(session->about.name), name);
}

void wdb_call_help(struct wdb_call *call, const char *command,
                   const char *const *lines)
{
    size_t count = 0;
    while (lines[count] != NULL) {
        count++;
    }
    char title[128];
    snprintf(title, sizeof(title),
             "%s <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
             command);
    wdb_reply_array(call->reply, count + 3);
    wdb_reply_simple(call->reply, title);
    for (size_t i = 0; i < count; i++) {
        wdb_reply_simple(call->reply, lines[i]);
    }
    wdb_reply_simple(call->reply, "HELP");
    wdb_reply_simple(call->reply, "    Prints this help.");
}

void wdb_call_subcommand_error(struct wdb_call *call)
{
    char container[32];
    size_t size = 0;
    const char *name = call->command->name;
    while (name[size] != '\0' && name[size] != '|' &&
           size < sizeof(container) - 1) {
        container[size] = (char)toupper((unsigned char)name[size]);
        size++;
    }
    container[size] = '\0';
    wdb_call_error(call,
                   "ERR unknown subcommand or wrong number of arguments for "
                   "'%.*s'. Try %s HELP.",
                   (int)(call->argv[1].size < 128 ? call->argv[1].size : 128),
                   (const char *)call->argv[1].data, container);
}

void wdb_cmd_client_help(struct wdb_call *call)
{
    static const char *const lines[] = {
        "GETNAME",
        "    The name of this connection.",
        "ID",
        "    The ID of this connection.",
        "INFO",
        "    What is known about this connection.",
        "KILL <ip:port>",
        "    Close the connection from that address.",
        "KILL <option> <value> [<option> <value> [...]]",
        "    Close connections that match: ID, TYPE, USER, ADDR, LADDR, "
        "SKIPME.",
        "LIST [TYPE <type>] [ID <id> ...]",
        "    A line for each connection.",
        "NO-EVICT (ON|OFF)",
        "    Protect this connection from eviction.",
        "NO-TOUCH (ON|OFF)",
        "    Commands of this connection do not count as use of a key.",
        "PAUSE <timeout> [WRITE|ALL]",
        "    Hold all commands, or all writes, for so many milliseconds.",
        "READ-CONSISTENCY [LEADER|STALE|CONSISTENT|DEFAULT]",
        "    How fresh reads of this connection are, in a cluster.",
        "REPLY (ON|OFF|SKIP)",
        "    Whether this connection gets replies.",
        "SETINFO <LIB-NAME|LIB-VER> <value>",
        "    Tell the client library's name or version.",
        "SETNAME <name>",
        "    Name this connection.",
        "UNBLOCK <id> [TIMEOUT|ERROR]",
        "    End the wait of a blocked connection.",
        "UNPAUSE",
        "    End a pause.",
        NULL};
    wdb_call_help(call, "CLIENT", lines);
}

void wdb_cmd_client_id(struct wdb_call *call)
{
    wdb_reply_integer(call->reply, (int64_t)call->session->id);
}

void wdb_cmd_client_getname(struct wdb_call *call)
{
    const char *name = call->session->about.name; /* only we change it */
    if (name[0] == '\0') {
        wdb_reply_null(call->reply);
    } else {
        wdb_reply_bulk_str(call->reply, name);
    }
}

void wdb_cmd_client_setname(struct wdb_call *call)
{
    if (!wdb_client_name_valid(call->argv[2])) {
        wdb_call_error(call, "ERR Client names cannot contain spaces, newlines "
                             "or special characters.");
        return;
    }
    wdb_client_set_name(call->session, call->argv[2]);
    wdb_reply_ok(call->reply);
}

void wdb_cmd_client_setinfo(struct wdb_call *call)
{
    struct wdb_session *session = call->session;
    bool name = wdb_call_is(call, 2, "lib-name");
    if (!name && !wdb_call_is(call, 2, "lib-ver")) {
        wdb_call_error(call, "ERR Unrecognized option '%.*s'",
                       (int)(call->argv[2].size < 128 ? call->argv[2].size
                                                      : 128),
                       (const char *)call->argv[2].data);
        return;
    }
    if (!wdb_client_name_valid(call->argv[3])) {
        wdb_call_error(call,
                       "ERR %s cannot contain spaces, newlines or "
                       "special characters.",
                       name ? "lib-name" : "lib-ver");
        return;
    }
    if (name) {
        set_text(session, session->about.library_name,
                 sizeof(session->about.library_name), call->argv[3]);
    } else {
        set_text(session, session->about.library_version,
                 sizeof(session->about.library_version), call->argv[3]);
    }
    wdb_reply_ok(call->reply);
}

/* --- LIST and INFO --------------------------------------------------------- */

static void flag_letters(uint32_t flags, char out[16])
{
    static const struct {
        uint32_t flag;
        char letter;
    } letters[] = {
        {WDB_SESSION_MONITOR, 'O'},           {WDB_SESSION_MULTI, 'x'},
        {WDB_SESSION_CLOSE_AFTER_REPLY, 'c'}, {WDB_SESSION_CLOSING, 'A'},
        {WDB_SESSION_READONLY, 'r'},          {WDB_SESSION_UNIX_SOCKET, 'U'},
        {WDB_SESSION_NO_EVICT, 'e'},          {WDB_SESSION_NO_TOUCH, 'T'},
    };
    size_t n = 0;
    for (size_t i = 0; i < WDB_COUNT(letters); i++) {
        if (flags & letters[i].flag) {
            out[n++] = letters[i].letter;
        }
    }
    if (n == 0) {
        out[n++] = 'N';
    }
    out[n] = '\0';
}

static uint64_t shown(const _Atomic uint64_t *value)
{
    return atomic_load_explicit(value, memory_order_relaxed);
}

/* Append the line of one session; the registry is locked, or it is our own. */
static int describe(const struct wdb_call *call, struct wdb_session *session,
                    struct wdb_buffer *out)
{
    bool own = session == call->session;
    uint64_t now = call->context->env->ops->time_ms(call->context->env) / 1000;
    uint64_t created = session->created_ms / 1000;
    uint64_t active = shown(&session->last_active_ms) / 1000;
    uint64_t query = own ? session->input.size - session->input_used
                         : shown(&session->input_size_shown);
    uint64_t multi = shown(&session->multi_count_shown);
    uint32_t flags =
        own ? session->flags
            : atomic_load_explicit(&session->flags_shown, memory_order_relaxed);
    uint32_t database = own ? session->database
                            : atomic_load_explicit(&session->database_shown,
                                                   memory_order_relaxed);
    uint32_t protocol = own ? (uint32_t)session->protocol
                            : atomic_load_explicit(&session->protocol_shown,
                                                   memory_order_relaxed);
    uint32_t last =
        atomic_load_explicit(&session->last_command_id, memory_order_relaxed);
    const char *command = own ? call->command->name
                          : last < wdb_command_id_count()
                              ? wdb_command_by_id((uint16_t)last)->name
                              : "NULL";
    uint64_t output = shown(&session->output_size_shown);
    char letters[16];
    flag_letters(flags, letters);
    pthread_mutex_lock(&session->about_lock);
    int code = wdb_buffer_printf(
        out,
        "id=%" PRIu64 " addr=%s laddr=%s fd=%d name=%s age=%" PRIu64
        " idle=%" PRIu64 " flags=%s db=%u sub=0 psub=0 ssub=0 multi=%" PRId64
        " qbuf=%" PRIu64 " qbuf-free=%" PRIu64
        " argv-mem=0 multi-mem=0 rbs=16384 rbp=0 obl=0 oll=0 omem=%" PRIu64
        " tot-mem=%" PRIu64
        " events=r cmd=%s user=%s redir=-1 resp=%u lib-name=%s lib-ver=%s\n",
        session->id, session->about.address, session->about.local_address,
        session->fd, session->about.name, now > created ? now - created : 0,
        now > active ? now - active : 0, letters, database,
        flags & WDB_SESSION_MULTI ? (int64_t)multi : INT64_C(-1), query,
        query < 16384 ? 16384 - query : 0, output,
        output + 16384 + sizeof(*session), command, session->about.user,
        protocol, session->about.library_name, session->about.library_version);
    pthread_mutex_unlock(&session->about_lock);
    return code;
}

void wdb_cmd_client_info(struct wdb_call *call)
{
    struct wdb_buffer text = WDB_BUFFER_INIT;
    if (!wdb_call_failed(call, describe(call, call->session, &text))) {
        wdb_reply_verbatim(call->reply, "txt", wdb_buffer_slice(&text));
    }
    wdb_buffer_release(&text);
}

/* Type names: all clients are normal ones for now; false: no such type. */
static bool type_matches_all(struct wdb_call *call, uint32_t i,
                             bool *normal_out)
{
    static const char *const others[] = {"master", "replica", "slave",
                                         "pubsub"};
    *normal_out = wdb_call_is(call, i, "normal");
    bool known = *normal_out;
    for (size_t k = 0; k < WDB_COUNT(others); k++) {
        known |= wdb_call_is(call, i, others[k]);
    }
    if (!known) {
        wdb_call_error(call, "ERR Unknown client type '%.*s'",
                       (int)(call->argv[i].size < 128 ? call->argv[i].size
                                                      : 128),
                       (const char *)call->argv[i].data);
    }
    return known;
}

/* The session is one of argv[from...], all of which are numbers. */
static bool id_listed(const struct wdb_call *call, uint32_t from, uint64_t id)
{
    for (uint32_t i = from; i < call->argc; i++) {
        int64_t wanted;
        if (wdb_parse_int64(call->argv[i], &wanted) && (uint64_t)wanted == id) {
            return true;
        }
    }
    return false;
}

void wdb_cmd_client_list(struct wdb_call *call)
{
    bool normal = true;
    uint32_t ids_from = 0;
    if (call->argc == 4 && wdb_call_is(call, 2, "TYPE")) {
        if (!type_matches_all(call, 3, &normal)) {
            return;
        }
    } else if (call->argc >= 4 && wdb_call_is(call, 2, "ID")) {
        ids_from = 3;
        for (uint32_t i = 3; i < call->argc; i++) {
            int64_t id;
            if (!wdb_parse_int64(call->argv[i], &id) || id <= 0) {
                wdb_call_error(call, "ERR Invalid client ID");
                return;
            }
        }
    } else if (call->argc != 2) {
        wdb_call_syntax_error(call);
        return;
    }
    struct wdb_buffer text = WDB_BUFFER_INIT;
    int code = 0;
    pthread_mutex_lock(&call->context->registry_lock);
    WDB_LIST_FOREACH(node, &call->context->sessions)
    {
        struct wdb_session *session =
            WDB_LIST_ENTRY(node, struct wdb_session, registry_node);
        if (code == 0 && normal &&
            (ids_from == 0 || id_listed(call, ids_from, session->id))) {
            code = describe(call, session, &text);
        }
    }
    pthread_mutex_unlock(&call->context->registry_lock);
    if (!wdb_call_failed(call, code)) {
        wdb_reply_verbatim(call->reply, "txt", wdb_buffer_slice(&text));
    }
    wdb_buffer_release(&text);
}

/* --- KILL ------------------------------------------------------------------- */

struct kill_filter {
    uint64_t id;
    struct wdb_slice address, local_address;
    bool none; /* a filter that no session can match */
    bool skip_me;
};

static bool read_kill_filter(struct wdb_call *call, struct kill_filter *out)
{
    *out = (struct kill_filter){.skip_me = true};
    if (call->argc % 2 != 0) {
        wdb_call_syntax_error(call);
        return false;
    }
    for (uint32_t i = 2; i < call->argc; i += 2) {
        int64_t id;
        bool normal = true;
        if (wdb_call_is(call, i, "ID")) {
            if (!wdb_parse_int64(call->argv[i + 1], &id) || id <= 0) {
                wdb_call_error(call, "ERR client-id should be greater than 0");
                return false;
            }
            out->id = (uint64_t)id;
        } else if (wdb_call_is(call, i, "TYPE")) {
            if (!type_matches_all(call, i + 1, &normal)) {
                return false;
            }
            out->none |= !normal;
        } else if (wdb_call_is(call, i, "ADDR")) {
            out->address = call->argv[i + 1];
        } else if (wdb_call_is(call, i, "LADDR")) {
            out->local_address = call->argv[i + 1];
        } else if (wdb_call_is(call, i, "USER")) {
            if (!wdb_slice_equal(call->argv[i + 1], wdb_slice_str("default"))) {
                wdb_call_error(call, "ERR No such user '%.*s'",
                               (int)(call->argv[i + 1].size < 128
                                         ? call->argv[i + 1].size
                                         : 128),
                               (const char *)call->argv[i + 1].data);
                return false;
            }
        } else if (wdb_call_is(call, i, "SKIPME") &&
                   (wdb_call_is(call, i + 1, "yes") ||
                    wdb_call_is(call, i + 1, "no"))) {
            out->skip_me = wdb_call_is(call, i + 1, "yes");
        } else {
            wdb_call_syntax_error(call);
            return false;
        }
    }
    return true;
}

static bool text_differs(struct wdb_slice wanted, const char *text)
{
    return wanted.data != NULL && !wdb_slice_equal(wanted, wdb_slice_str(text));
}

/* Ask all that match to close; how many. */
static int64_t kill_matching(struct wdb_call *call,
                             const struct kill_filter *filter)
{
    struct wdb_context *context = call->context;
    int64_t killed = 0;
    pthread_mutex_lock(&context->registry_lock);
    WDB_LIST_FOREACH(node, &context->sessions)
    {
        struct wdb_session *session =
            WDB_LIST_ENTRY(node, struct wdb_session, registry_node);
        bool own = session == call->session;
        if (filter->none || (own && filter->skip_me) ||
            (filter->id != 0 && filter->id != session->id) ||
            text_differs(filter->address, session->about.address) ||
            text_differs(filter->local_address, session->about.local_address)) {
            continue;
        }
        killed++;
        if (own) {
            session->flags |= WDB_SESSION_CLOSE_AFTER_REPLY;
        } else {
            atomic_store_explicit(&session->kill, true, memory_order_release);
            context->hooks->session_wake(context->hooks_context, session);
        }
    }
    pthread_mutex_unlock(&context->registry_lock);
    return killed;
}

void wdb_cmd_client_kill(struct wdb_call *call)
{
    struct kill_filter filter;
    if (call->argc == 3) {
        filter = (struct kill_filter){.address = call->argv[2]};
        if (kill_matching(call, &filter) == 0) {
            wdb_call_error(call, "ERR No such client");
        } else {
            wdb_reply_ok(call->reply);
        }
        return;
    }
    if (read_kill_filter(call, &filter)) {
        wdb_reply_integer(call->reply, kill_matching(call, &filter));
    }
}

/* --- PAUSE, REPLY, switches ---------------------------------------------------- */

void wdb_cmd_client_pause(struct wdb_call *call)
{
    int64_t timeout_ms;
    int kind = WDB_CLIENT_PAUSE_ALL;
    if (call->argc == 4) {
        if (wdb_call_is(call, 3, "WRITE")) {
            kind = WDB_CLIENT_PAUSE_WRITE;
        } else if (!wdb_call_is(call, 3, "ALL")) {
            wdb_call_error(call, "ERR CLIENT PAUSE mode must be WRITE or ALL");
            return;
        }
    }
    if (!wdb_parse_int64(call->argv[2], &timeout_ms)) {
        wdb_call_error(call, "ERR timeout is not an integer or out of range");
        return;
    }
    if (timeout_ms < 0) {
        wdb_call_error(call, "ERR timeout is negative");
        return;
    }
    if (wdb_session_is_channel(call->session)) {
        wdb_reply_ok(call->reply); /* it is the other node's clients' */
        return;
    }
    struct wdb_context *context = call->context;
    uint64_t now = context->env->ops->time_ms(context->env);
    uint64_t until = now + (uint64_t)timeout_ms;
    pthread_mutex_lock(&context->registry_lock);
    bool paused = atomic_load(&context->pause_kind) != WDB_CLIENT_PAUSE_NONE &&
                  atomic_load(&context->pause_until_ms) > now;
    if (!paused || until > atomic_load(&context->pause_until_ms)) {
        atomic_store(&context->pause_until_ms, until);
    }
    if (!paused || kind > atomic_load(&context->pause_kind)) {
        atomic_store(&context->pause_kind, kind);
    }
    /* While writes are held nothing expires. */
    wdb_db_expire_hold(context->db, atomic_load(&context->pause_until_ms));
    pthread_mutex_unlock(&context->registry_lock);
    wdb_reply_ok(call->reply);
}

void wdb_cmd_client_unpause(struct wdb_call *call)
{
    struct wdb_context *context = call->context;
    if (wdb_session_is_channel(call->session)) {
        wdb_reply_ok(call->reply);
        return;
    }
    atomic_store(&context->pause_kind, WDB_CLIENT_PAUSE_NONE);
    wdb_db_expire_hold(context->db, 0);
    pthread_mutex_lock(&context->registry_lock);
    WDB_LIST_FOREACH(node, &context->sessions)
    {
        struct wdb_session *session =
            WDB_LIST_ENTRY(node, struct wdb_session, registry_node);
        if (session != call->session) {
            context->hooks->session_wake(context->hooks_context, session);
        }
    }
    pthread_mutex_unlock(&context->registry_lock);
    wdb_reply_ok(call->reply);
}

void wdb_cmd_client_reply(struct wdb_call *call)
{
    struct wdb_session *session = call->session;
    if (wdb_call_is(call, 2, "ON")) {
        session->flags &=
            ~(uint32_t)(WDB_SESSION_REPLY_OFF | WDB_SESSION_REPLY_SKIP);
        wdb_reply_ok(call->reply);
    } else if (wdb_call_is(call, 2, "OFF")) {
        session->flags |= WDB_SESSION_REPLY_OFF;
    } else if (wdb_call_is(call, 2, "SKIP")) {
        if (!(session->flags & WDB_SESSION_REPLY_OFF)) {
            session->flags |= WDB_SESSION_REPLY_SKIP_NEXT;
        }
    } else {
        wdb_call_syntax_error(call);
    }
}

static void set_switch(struct wdb_call *call, uint32_t flag)
{
    if (wdb_call_is(call, 2, "ON")) {
        call->session->flags |= flag;
    } else if (wdb_call_is(call, 2, "OFF")) {
        call->session->flags &= ~flag;
    } else {
        wdb_call_syntax_error(call);
        return;
    }
    wdb_reply_ok(call->reply);
}

void wdb_cmd_client_no_evict(struct wdb_call *call)
{
    set_switch(call, WDB_SESSION_NO_EVICT);
}

void wdb_cmd_client_no_touch(struct wdb_call *call)
{
    set_switch(call, WDB_SESSION_NO_TOUCH);
}

void wdb_cmd_client_unblock(struct wdb_call *call)
{
    int64_t id;
    if (call->argc == 4 && !wdb_call_is(call, 3, "TIMEOUT") &&
        !wdb_call_is(call, 3, "ERROR")) {
        wdb_call_error(call, "ERR CLIENT UNBLOCK reason should be TIMEOUT or "
                             "ERROR");
        return;
    }
    if (wdb_call_int64(call, 2, &id)) {
        wdb_reply_integer(call->reply, 0); /* no command blocks yet */
    }
}
