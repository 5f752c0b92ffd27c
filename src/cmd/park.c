/* park.c - a session waits while a job runs off its worker's loop. */
#include <stdlib.h>

#include "cmd/executor.h"
#include "walkerdb.h"

struct park_job {
    struct wdb_session *session;
    void (*work)(void *arg);
    void (*done)(struct wdb_session *session, struct wdb_reply *reply,
                 void *arg);
    void *arg;
};

static void park_work(void *arg)
{
    struct park_job *job = arg;
    job->work(job->arg);
}

static void park_done(void *arg)
{
    struct park_job *job = arg;
    struct wdb_session *session = job->session;
    struct wdb_reply reply = {.output = &session->output,
                              .protocol = session->protocol};
    struct wdb_output_mark mark = wdb_output_mark(&session->output);
    job->done(session, &reply, job->arg);
    if (reply.error_count > 0) {
        wdb_stats_error(wdb_executor_stats(session->executor),
                        wdb_slice_str(reply.error_prefix));
    }
    if (session->flags & (WDB_SESSION_REPLY_OFF | WDB_SESSION_REPLY_SKIP)) {
        wdb_output_rollback(&session->output, mark);
    }
    wdb_executor_replied(session, mark.size);
    session->flags &= ~(uint32_t)WDB_SESSION_PARKED;
    wdb_executor_add(session->executor, session);
    wdb_session_ready(session);
    free(job);
}

void wdb_call_park(struct wdb_call *call, void (*work)(void *arg),
                   void (*done)(struct wdb_session *session,
                                struct wdb_reply *reply, void *arg),
                   void *arg)
{
    const struct wdb_context *context = call->context;
    struct park_job *job = call->in_exec ? NULL : malloc(sizeof(*job));
    if (job == NULL) {
        work(arg); /* inside EXEC, or without memory: here, and now */
        done(call->session, call->reply, arg);
        return;
    }
    struct wdb_session *session = call->session;
    *job = (struct park_job){session, work, done, arg};
    session->flags |= WDB_SESSION_PARKED;
    context->hooks->run_off_loop(context->hooks_context, session->executor,
                                 park_work, park_done, job);
    /* Without memory for a thread's job it has been done already. */
    call->parked = (session->flags & WDB_SESSION_PARKED) != 0;
}
