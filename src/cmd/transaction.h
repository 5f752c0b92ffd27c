/*
 * transaction.h - MULTI: commands that are queued, and run by EXEC as one
 * batch: all stripes of all their keys are held from the first to the last, and
 * what they wrote reaches the log as one.
 */
#ifndef WDB_CMD_TRANSACTION_H
#define WDB_CMD_TRANSACTION_H

#include "cmd/call.h"

#define WDB_MULTI_COUNT_MAX ((uint32_t)1 << 20)

struct wdb_multi_command {
    const struct wdb_command *command;
    uint32_t argc;
    struct wdb_slice *argv; /* one block with the bytes behind it */
    struct wdb_key *keys;   /* in that block, too */
    uint32_t key_count;
};

struct wdb_multi {
    struct wdb_multi_command *commands;
    uint32_t count, capacity;
    size_t size; /* bytes of all arguments */
    bool all_stripes;
    bool writes, reads;
    bool leader; /* something that the leader has to execute */
    bool deny_oom;
    bool changes_session; /* something queued has WDB_CMD_SESSION */
    bool begun;           /* EXEC runs, or ran, what is queued */
    /* Of one whose EXEC was forwarded. */
    bool silent;       /* its reply is not wanted */
    uint8_t answer[2]; /* the first bytes of it */
    uint8_t answer_size;
};

void wdb_multi_free(struct wdb_multi *multi);
/* Copy the request to the queue. ENOMEM; ETOOBIG: there are too many, or they
 * are more than client-query-buffer-limit allows. */
WDB_MUST_CHECK int wdb_multi_queue(struct wdb_session *session,
                                   const struct wdb_call *call);

/* Handlers. */
void wdb_cmd_multi(struct wdb_call *call);
void wdb_cmd_discard(struct wdb_call *call);
void wdb_cmd_watch(struct wdb_call *call);
void wdb_cmd_unwatch(struct wdb_call *call);
/* EXEC is run by the dispatcher, which gives it a transaction over everything
 * that the queue touches. */
void wdb_cmd_exec(struct wdb_call *call);
/* Forget the session's watches, here and at the leader. */
void wdb_session_unwatch(struct wdb_session *session);
/* After EXEC's commit, without stripes: forget the queue and the watches. */
void wdb_exec_finish(struct wdb_session *session);
/* EXEC was forwarded; if the queue changes the session, it is kept until it is
 * answered, and nothing may follow. */
void wdb_exec_sent(struct wdb_session *session, bool silent);
/* Bytes of its answer; with the last ones the session is changed as the leader's
 * was, if it was done. True: the client sees them. Only with multi_sent. */
bool wdb_exec_part(struct wdb_session *session, struct wdb_slice bytes);
bool wdb_exec_answered(struct wdb_session *session, struct wdb_slice bytes);
/* Stripes of all queued and watched keys. */
void wdb_exec_stripes(const struct wdb_session *session,
                      const struct wdb_store *store,
                      struct wdb_stripe_set *set);

#endif
