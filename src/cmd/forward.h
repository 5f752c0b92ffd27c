/*
 * forward.h - requests that this node must not answer itself go to the leader:
 * what commands ask of proxy/, and what proxy/ may do to a session.
 *
 * Two ends:
 *
 *   client --- session (here) --- proxy ==== proxy --- channel session (leader)
 *
 * Here: the dispatcher has checked the request (name, arity, authentication)
 * and hands it over by `request`. More of them may follow at once; whatever is
 * to be executed here waits until none is left unanswered, so the replies of a
 * session keep their order. The proxy answers with wdb_session_answer, in order.
 *
 * At the leader: a channel session is a session like any other, made by
 * wdb_session_new with `channel` set, fed by wdb_session_input_add and
 * wdb_executor_add. What it must not execute (the node does not lead) is neither
 * held nor forwarded again, but refused: `executed` says so.
 */
#ifndef WDB_CMD_FORWARD_H
#define WDB_CMD_FORWARD_H

#include "cmd/call.h"
#include "cmd/cluster.h"

/* What a request was answered with by a channel session's executor. */
enum wdb_channel_outcome {
    WDB_CHANNEL_ANSWERED, /* its reply is in the output, behind the gate */
    WDB_CHANNEL_REFUSED,  /* nothing was done, nothing was replied */
};

struct wdb_forward_request {
    struct wdb_call *call; /* command, argc, argv; valid during the call. The
                              session has database, protocol, level. EXEC: the
                              queue is session->multi, and what follows is
                              MULTI, the queue, EXEC; if it
                              changes the session, nothing follows
                              before the answer, and the channel's
                              session, which it has changed, is not
                              used again */
    enum wdb_read_level level; /* that reads of this request have */
    bool writes;               /* may change something: after a broken
                                  connection its outcome is unknown */
    bool silent;               /* CLIENT REPLY OFF or SKIP: the reply is to be
                                  dropped (answer with count 0); not of an
                                  EXEC that changes the session, which has to
                                  see it */
};

/* All on the session's worker thread. */
struct wdb_forward_ops {
    /*
     * Take over the request: copy what is needed, answer later. 0: done, the
     * caller counts it in session->forwarded. EBUSY: not now (too much waits,
     * or no connection can be had at the moment): it is held and tried again,
     * or answered by an error when it was held for long. ENOMEM.
     */
    int (*request)(void *context, const struct wdb_forward_request *request);
    /* DISCARD, UNWATCH, RESET, an EXEC that fails here: what the session
     * watches at the leader is to be forgotten. Called only if
     * session->forward_watches. */
    void (*unwatch)(void *context, struct wdb_session *session);
    /* The session goes away, with session->forward still set: forget it, drop
     * answers that come. */
    void (*leave)(void *context, struct wdb_session *session);

    /* --- for channel sessions, at the leader ------------------------------- */

    /* One request was executed, in order. ANSWERED: its reply ends at byte
     * wdb_session_output_end(session) of all output ever. */
    void (*executed)(void *context, struct wdb_session *session,
                     enum wdb_channel_outcome outcome);
    /* Office was lost: all output behind byte `end` of all output ever is
     * dropped (no error is written: the proxy knows whose replies these were,
     * and tells that their outcome is unknown). */
    void (*lost)(void *context, struct wdb_session *session, uint64_t end);
};

struct wdb_forward {
    const struct wdb_forward_ops *ops;
    void *context;
};

/* --- what proxy/ may do: on the session's worker thread ----------------------- */

/*
 * Answer the oldest unanswered request: bytes go to the output as they are
 * (none with count 0), `count` is of replies in them that the client sees (0 or
 * 1). The session goes on with what waited for it. An error of the proxy's own
 * is answered the same way, as a whole line ("-UNKNOWN ...\r\n").
 */
void wdb_session_answer(struct wdb_session *session, struct wdb_slice bytes,
                        uint32_t count);
/* Bytes of its reply; more follow, and then wdb_session_answer with the last. */
void wdb_session_answer_part(struct wdb_session *session,
                             struct wdb_slice bytes);
/* The end of all output ever, sent or not. */
uint64_t wdb_session_output_end(const struct wdb_session *session);
/* "-UNKNOWN ...\r\n": the outcome of a command is unknown. */
struct wdb_slice wdb_reply_unknown(void);

#endif
