/* cluster_session.c - what a connection says about its reads. */
#include "cmd/cluster.h"
#include "cmd/handlers.h"

static const char *const levels[] = {
    [WDB_READ_LEADER] = "leader",
    [WDB_READ_STALE] = "stale",
    [WDB_READ_CONSISTENT] = "consistent",
    [WDB_READ_DEFAULT] = "default",
};

bool wdb_call_needs_cluster(struct wdb_call *call)
{
    if (call->context->cluster == NULL) {
        wdb_call_error(call, "ERR This instance has cluster support disabled");
        return false;
    }
    return true;
}

void wdb_cmd_asking(struct wdb_call *call)
{
    if (wdb_call_needs_cluster(call)) {
        wdb_reply_ok(call->reply);
    }
}

void wdb_cmd_readonly(struct wdb_call *call)
{
    if (wdb_call_needs_cluster(call)) {
        call->session->flags |= WDB_SESSION_READONLY;
        wdb_reply_ok(call->reply);
    }
}

void wdb_cmd_readwrite(struct wdb_call *call)
{
    if (wdb_call_needs_cluster(call)) {
        call->session->flags &= ~(uint32_t)WDB_SESSION_READONLY;
        wdb_reply_ok(call->reply);
    }
}

/* The last word counts: READONLY before it is undone. */
void wdb_cmd_client_read_consistency(struct wdb_call *call)
{
    struct wdb_session *session = call->session;
    if (call->argc > 3) {
        wdb_call_syntax_error(call);
        return;
    }
    if (call->argc == 2) {
        uint64_t level = (uint64_t)session->level;
        if (session->level == WDB_READ_DEFAULT) {
            level = wdb_config_u64(call->context->config,
                                   WDB_CONFIG_READ_CONSISTENCY);
        }
        wdb_reply_bulk_str(call->reply, levels[level]);
        return;
    }
    for (size_t i = 0; i < WDB_COUNT(levels); i++) {
        if (wdb_call_is(call, 2, levels[i])) {
            session->level = (enum wdb_read_level)i;
            session->flags &= ~(uint32_t)WDB_SESSION_READONLY;
            wdb_reply_ok(call->reply);
            return;
        }
    }
    wdb_call_error(call, "ERR the level is leader, stale, consistent or "
                         "default");
}
