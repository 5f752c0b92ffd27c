/* config.c - CONFIG: read, change and write back settings. */
#include "cmd/config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin/process.h"
#include "cmd/client.h"
#include "cmd/collect.h"
#include "cmd/handlers.h"

#define ERROR_SIZE 512

bool wdb_session_is_local(const struct wdb_session *session)
{
    static const char *const hosts[] = {"127.", "::1", "[::1]"};
    if (session->flags & WDB_SESSION_UNIX_SOCKET) {
        return true;
    }
    for (size_t i = 0; i < WDB_COUNT(hosts); i++) {
        if (strncmp(session->about.address, hosts[i], strlen(hosts[i])) == 0) {
            return true;
        }
    }
    return false;
}

void wdb_context_check_memory(struct wdb_context *context)
{
    const uint64_t limit =
        wdb_config_u64(context->config, WDB_CONFIG_MAXMEMORY);
    atomic_store_explicit(&context->over_memory,
                          limit > 0 && wdb_memory_used() > limit,
                          memory_order_relaxed);
}

static enum wdb_sync_policy sync_policy(const struct wdb_config *config)
{
    switch (wdb_config_i64(config, WDB_CONFIG_APPENDFSYNC)) {
    case WDB_FSYNC_ALWAYS:
        return WDB_SYNC_ALWAYS;
    case WDB_FSYNC_NO:
        return WDB_SYNC_NEVER;
    default:
        return WDB_SYNC_INTERVAL;
    }
}

int wdb_context_apply(void *context, enum wdb_config_id id, char *error,
                      size_t error_size)
{
    struct wdb_context *c = context;
    (void)error;
    (void)error_size;
    switch (id) {
    case WDB_CONFIG_APPENDFSYNC:
        wdb_log_set_sync_policy(wdb_db_log(c->db), sync_policy(c->config));
        break;
    case WDB_CONFIG_STORE_MERGE:
        wdb_store_merge_pause(wdb_db_store(c->db),
                              !wdb_config_bool(c->config,
                                               WDB_CONFIG_STORE_MERGE));
        break;
    case WDB_CONFIG_MAXMEMORY:
        wdb_context_check_memory(c);
        break;
    default:
        break;
    }
    c->hooks->config_changed(c->hooks_context, wdb_config_name(id));
    return 0;
}

/* --- GET ------------------------------------------------------------------------- */

static void add_pair(void *context, const char *name, struct wdb_slice value)
{
    struct wdb_collect *pairs = context;
    wdb_reply_bulk_str(&pairs->reply, name);
    wdb_reply_bulk(&pairs->reply, value);
    pairs->count++;
}

void wdb_cmd_config_get(struct wdb_call *call)
{
    struct wdb_collect pairs;
    wdb_collect_begin(&pairs, call);
    int code = wdb_config_get(call->context->config, call->argv + 2,
                              call->argc - 2, add_pair, &pairs);
    if (wdb_call_failed(call, code)) {
        wdb_collect_drop(&pairs);
    } else {
        wdb_collect_map(&pairs, call);
    }
}

/* --- SET, RESETSTAT, HELP ----------------------------------------------------------- */

void wdb_cmd_config_set(struct wdb_call *call)
{
    if (call->argc % 2 != 0) {
        wdb_call_syntax_error(call);
        return;
    }
    char error[ERROR_SIZE] = "";
    int code = wdb_config_set(call->context->config, call->argv + 2,
                              (call->argc - 2) / 2,
                              wdb_session_is_local(call->session), error,
                              sizeof(error));
    if (code == WALKERDB_EINVALID) {
        wdb_call_error(call, "ERR %s", error);
    } else if (!wdb_call_failed(call, code)) {
        wdb_reply_ok(call->reply);
    }
}

void wdb_cmd_config_resetstat(struct wdb_call *call)
{
    struct wdb_context *context = call->context;
    if (wdb_call_failed(call, wdb_stats_reset(context->stats))) {
        return;
    }
    atomic_store_explicit(&context->expired_base,
                          wdb_db_expired_count(context->db),
                          memory_order_relaxed);
    wdb_reply_ok(call->reply);
}

void wdb_cmd_config_help(struct wdb_call *call)
{
    static const char *const lines[] = {
        "GET <pattern> [<pattern> ...]",
        "    The settings whose names match a pattern, and their values.",
        "SET <name> <value> [<name> <value> ...]",
        "    Change settings, all of them or none.",
        "RESETSTAT",
        "    Set the counters that INFO shows to zero.",
        "REWRITE",
        "    Write the settings to the configuration file.",
        NULL};
    wdb_call_help(call, "CONFIG", lines);
}

/* --- REWRITE: off the loop, it waits for the disk ------------------------------------ */

struct rewrite_job {
    struct wdb_config *config;
    int code;
    char error[ERROR_SIZE];
};

static void rewrite_work(void *arg)
{
    struct rewrite_job *job = arg;
    job->code = wdb_config_rewrite(job->config, job->error, sizeof(job->error));
}

static void rewrite_done(struct wdb_session *session, struct wdb_reply *reply,
                         void *arg)
{
    struct rewrite_job *job = arg;
    (void)session;
    if (job->code == 0) {
        wdb_reply_ok(reply);
    } else {
        wdb_reply_error(reply, "ERR %s",
                        job->error[0] != '\0' ? job->error
                                              : walkerdb_strerror(job->code));
    }
    free(job);
}

void wdb_cmd_config_rewrite(struct wdb_call *call)
{
    struct rewrite_job *job = calloc(1, sizeof(*job));
    if (job == NULL) {
        (void)wdb_call_failed(call, WALKERDB_ENOMEM);
        return;
    }
    job->config = call->context->config;
    wdb_call_park(call, rewrite_work, rewrite_done, job);
}
