/*
 * call.h - one request being executed: what a handler gets.
 *
 * A handler reads its arguments from argv, reads and writes keys through
 * call->txn (its keys' stripes are held, call->keys has their hashes), and
 * writes exactly one reply to call->reply (or an error, and then stages
 * nothing). It never waits. If a db function returns EAGAIN, it returns at
 * once: the dispatcher takes everything back, fetches, and calls it again.
 * wdb_call_failed() does that check and answers other errors:
 *
 *     int code = wdb_db_get(call->txn, &call->keys[0], &item, &value);
 *     if (code == WALKERDB_ENOTFOUND) { wdb_reply_null(call->reply); return; }
 *     if (wdb_call_failed(call, code)) return;
 */
#ifndef WDB_CMD_CALL_H
#define WDB_CMD_CALL_H

#include "cmd/command.h"
#include "cmd/context.h"
#include "cmd/session.h"
#include "resp/reply.h"

struct wdb_call {
    struct wdb_context *context;
    struct wdb_session *session;
    const struct wdb_command *command;
    uint32_t argc;
    const struct wdb_slice *argv;
    uint32_t key_count;
    const struct wdb_key *keys; /* in the order of wdb_command_keys */
    struct wdb_txn *txn;        /* with WDB_CMD_NO_TXN not active, but
                                         its database is set */
    struct wdb_reply *reply;
    struct wdb_output_mark mark; /* where its reply begins: an error takes the
                                    place of what was written before */
    bool in_exec;
    bool parked; /* the handler handed the session to a job: no reply yet */
    bool failed; /* an error was answered: nothing may be committed */
    /* In a cluster. */
    bool stale;      /* it reads here although the leader is elsewhere ... */
    uint64_t era;    /* ... in this era */
    bool confirm;    /* if it wrote nothing, its reply waits for a round */
    bool not_leader; /* the log refused it: nothing was done or answered */
    enum wdb_session_hold hold; /* why the dispatcher set it aside */
};

/* 0 → false. EAGAIN → true, nothing answered. Else answers the error in the
 * words of Redis where there are such, marks the call failed → true. */
bool wdb_call_failed(struct wdb_call *call, int code);
/* Answer an error, instead of what was replied so far, and mark the call
 * failed. */
void wdb_call_error(struct wdb_call *call, const char *format, ...)
    WDB_PRINTF(2, 3);
void wdb_call_syntax_error(struct wdb_call *call);
void wdb_call_wrong_type(struct wdb_call *call);
/* The argument as an int64; false: the error is answered. */
bool wdb_call_int64(struct wdb_call *call, uint32_t i, int64_t *out);
/* argv[i] equals word, any case. */
bool wdb_call_is(const struct wdb_call *call, uint32_t i, const char *word);
/* Reply the value as a bulk: borrowed if it is large and in a segment. */
void wdb_call_reply_value(struct wdb_call *call, const struct wdb_value *value);
/* From a handler with NO_TXN: park the session while work(arg) runs off the
 * loop; then done(session, reply, arg) writes the reply on its worker. */
void wdb_call_park(struct wdb_call *call, void (*work)(void *arg),
                   void (*done)(struct wdb_session *session,
                                struct wdb_reply *reply, void *arg),
                   void *arg);
/*
 * From a handler with NO_TXN, outside of EXEC: the reply comes later. poll is
 * called on the session's worker when the gate has moved, and some times a
 * second; it replies and returns true, or returns false. At the end, or when
 * the session goes away, release(arg) is called.
 */
void wdb_call_wait(struct wdb_call *call, const struct wdb_waiter *waiter);

#endif
