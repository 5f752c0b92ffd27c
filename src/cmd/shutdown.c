/*
 * shutdown.c - SHUTDOWN: an orderly stop.
 *
 * There is no reply: the client sees its connection go when the server is gone.
 * The log is written and synced in any case, so NOSAVE loses nothing; SAVE makes
 * a backup first, and without FORCE the server goes on if that fails.
 */
#include <stdio.h>
#include <stdlib.h>

#include "cmd/backup.h"
#include "cmd/handlers.h"

enum {
    SAVE = 1 << 0,
    NOSAVE = 1 << 1,
    NOW = 1 << 2,
    FORCE = 1 << 3,
    ABORT = 1 << 4
};

static bool read_options(struct wdb_call *call, unsigned *out)
{
    static const struct {
        const char *word;
        unsigned option;
    } words[] = {{"SAVE", SAVE},
                 {"NOSAVE", NOSAVE},
                 {"NOW", NOW},
                 {"FORCE", FORCE},
                 {"ABORT", ABORT}};
    unsigned options = 0;
    for (uint32_t i = 1; i < call->argc; i++) {
        unsigned option = 0;
        for (size_t k = 0; k < WDB_COUNT(words); k++) {
            if (wdb_call_is(call, i, words[k].word)) {
                option = words[k].option;
            }
        }
        if (option == 0) {
            wdb_call_syntax_error(call);
            return false;
        }
        options |= option;
    }
    if ((options & (SAVE | NOSAVE)) == (SAVE | NOSAVE) ||
        ((options & ABORT) && options != ABORT)) {
        wdb_call_syntax_error(call);
        return false;
    }
    *out = options;
    return true;
}

/* Begin to stop; nothing more of this session is executed. */
static void stop(struct wdb_session *session)
{
    const struct wdb_context *context = session->context;
    session->input_used = session->input.size;
    context->hooks->shutdown(context->hooks_context, false);
}

struct shutdown_job {
    struct wdb_context *context;
    bool force;
    int code;
    char error[300];
};

static void save_work(void *arg)
{
    struct shutdown_job *job = arg;
    job->code = wdb_backup_run(job->context, job->error, sizeof(job->error));
}

static void save_done(struct wdb_session *session, struct wdb_reply *reply,
                      void *arg)
{
    struct shutdown_job *job = arg;
    if (job->code == 0 || job->force) {
        stop(session);
    } else {
        wdb_reply_error(reply, "ERR Errors trying to SHUTDOWN. Check logs.");
    }
    free(job);
}

void wdb_cmd_shutdown(struct wdb_call *call)
{
    unsigned options;
    if (!read_options(call, &options)) {
        return;
    }
    if (options & ABORT) {
        /* A stop takes no time in which it could be taken back. */
        wdb_call_error(call, "ERR No shutdown in progress.");
        return;
    }
    if (options & SAVE) {
        struct shutdown_job *job = calloc(1, sizeof(*job));
        if (job == NULL) {
            (void)wdb_call_failed(call, WALKERDB_ENOMEM);
            return;
        }
        job->context = call->context;
        job->force = (options & FORCE) != 0;
        wdb_call_park(call, save_work, save_done, job);
        return;
    }
    /* The session waits for the end, as one that CLIENT PAUSE holds. */
    call->session->flags |= WDB_SESSION_PAUSED;
    call->parked = true;
    stop(call->session);
}
