/* connection.c - AUTH, HELLO, PING, ECHO, QUIT, RESET. */
#include "base/number.h"
#include "cmd/client.h"
#include "cmd/cluster.h"
#include "cmd/executor.h"
#include "cmd/handlers.h"
#include "cmd/version.h"

#define DEFAULT_USER     "default"
#define AUTH_HOLD_MS     100
#define AUTH_HOLD_MS_MAX 1000

static bool has_password(const struct wdb_call *call)
{
    return !wdb_config_matches(call->context->config, WDB_CONFIG_REQUIREPASS,
                               wdb_slice("", 0));
}

/* Who guesses has to wait, longer each time. */
static void hold_back(struct wdb_session *session)
{
    if (session->auth_failures < AUTH_HOLD_MS_MAX / AUTH_HOLD_MS) {
        session->auth_failures++;
    }
    session->hold_ms = session->auth_failures * AUTH_HOLD_MS;
}

/* Check a name and a password, and log in. */
static bool log_in(struct wdb_call *call, struct wdb_slice user,
                   struct wdb_slice password)
{
    bool known = wdb_slice_equal(user, wdb_slice_str(DEFAULT_USER));
    bool matches = !has_password(call) ||
                   wdb_config_matches(call->context->config,
                                      WDB_CONFIG_REQUIREPASS, password);
    if (!known || !matches) {
        wdb_stats_add(wdb_executor_stats(call->session->executor),
                      WDB_STATS_AUTH_FAILED, 1);
        hold_back(call->session);
        wdb_call_error(call, "WRONGPASS invalid username-password pair or user "
                             "is disabled.");
        return false;
    }
    call->session->auth_failures = 0;
    call->session->flags |= WDB_SESSION_AUTHENTICATED;
    return true;
}

void wdb_cmd_auth(struct wdb_call *call)
{
    if (call->argc > 3) {
        wdb_call_syntax_error(call);
        return;
    }
    if (call->argc == 2 && !has_password(call)) {
        wdb_call_error(call, "ERR AUTH <password> called without any password "
                             "configured for the default user. Are you sure "
                             "your configuration is correct?");
        return;
    }
    struct wdb_slice user =
        call->argc == 3 ? call->argv[1] : wdb_slice_str(DEFAULT_USER);
    if (log_in(call, user, call->argv[call->argc - 1])) {
        wdb_reply_ok(call->reply);
    }
}

/* HELLO's options behind the version: AUTH user password, SETNAME name. */
static bool read_hello_options(struct wdb_call *call,
                               struct wdb_slice *name_out)
{
    for (uint32_t i = 2; i < call->argc; i++) {
        uint32_t more = call->argc - 1 - i;
        if (wdb_call_is(call, i, "AUTH") && more >= 2) {
            if (!log_in(call, call->argv[i + 1], call->argv[i + 2])) {
                return false;
            }
            i += 2;
        } else if (wdb_call_is(call, i, "SETNAME") && more >= 1) {
            *name_out = call->argv[i + 1];
            if (!wdb_client_name_valid(*name_out)) {
                wdb_call_error(call, "ERR Client names cannot contain spaces, "
                                     "newlines or special characters.");
                return false;
            }
            i++;
        } else {
            wdb_call_error(call, "ERR Syntax error in HELLO option '%.*s'",
                           (int)(call->argv[i].size < 128 ? call->argv[i].size
                                                          : 128),
                           (const char *)call->argv[i].data);
            return false;
        }
    }
    return true;
}

void wdb_cmd_hello(struct wdb_call *call)
{
    struct wdb_session *session = call->session;
    int64_t version = session->protocol;
    if (call->argc >= 2) {
        if (!wdb_parse_int64(call->argv[1], &version)) {
            wdb_call_error(call, "ERR Protocol version is not an integer or "
                                 "out of range");
            return;
        }
        if (version < 2 || version > 3) {
            wdb_call_error(call, "NOPROTO unsupported protocol version");
            return;
        }
    }
    struct wdb_slice name = {0};
    if (!read_hello_options(call, &name)) {
        return;
    }
    if (!(session->flags & WDB_SESSION_AUTHENTICATED)) {
        wdb_call_error(call,
                       "NOAUTH HELLO must be called with the client already "
                       "authenticated, otherwise the HELLO <proto> AUTH <user> "
                       "<pass> option can be used to authenticate the client "
                       "and select the RESP protocol version at the same time");
        return;
    }
    if (name.data != NULL) {
        wdb_client_set_name(session, name);
    }
    session->protocol = (int)version;
    struct wdb_reply *reply = call->reply;
    reply->protocol = (int)version;
    wdb_reply_map(reply, 7);
    wdb_reply_bulk_str(reply, "server");
    wdb_reply_bulk_str(reply, "redis");
    wdb_reply_bulk_str(reply, "version");
    wdb_reply_bulk_str(reply, WDB_REDIS_VERSION);
    wdb_reply_bulk_str(reply, "proto");
    wdb_reply_integer(reply, version);
    wdb_reply_bulk_str(reply, "id");
    wdb_reply_integer(reply, (int64_t)session->id);
    wdb_reply_bulk_str(reply, "mode");
    wdb_reply_bulk_str(reply, wdb_cluster_is_shown(call->context)
                                  ? "cluster"
                                  : "standalone");
    wdb_reply_bulk_str(reply, "role");
    wdb_reply_bulk_str(reply,
                       wdb_cluster_leads(call->context) ? "master" : "replica");
    wdb_reply_bulk_str(reply, "modules");
    wdb_reply_array(reply, 0);
}

void wdb_cmd_ping(struct wdb_call *call)
{
    if (call->argc > 2) {
        wdb_call_error(call,
                       "ERR wrong number of arguments for 'ping' command");
    } else if (call->argc == 2) {
        wdb_reply_bulk(call->reply, call->argv[1]);
    } else {
        wdb_reply_simple(call->reply, "PONG");
    }
}

void wdb_cmd_echo(struct wdb_call *call)
{
    wdb_reply_bulk(call->reply, call->argv[1]);
}

void wdb_cmd_quit(struct wdb_call *call)
{
    wdb_reply_ok(call->reply);
    call->session->flags |= WDB_SESSION_CLOSE_AFTER_REPLY;
}

void wdb_cmd_reset(struct wdb_call *call)
{
    wdb_session_reset(call->session);
    call->reply->protocol = call->session->protocol;
    wdb_reply_simple(call->reply, "RESET");
}
