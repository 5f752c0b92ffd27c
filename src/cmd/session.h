/*
 * session.h - one client as the commands see it: no socket, no loop. The
 * connection in net/ owns one; the simulator makes them directly.
 *
 * A session belongs to one worker thread. Other threads may only look at what
 * is atomic here, or at `about` under its mutex (CLIENT LIST, CLIENT KILL).
 */
#ifndef WDB_CMD_SESSION_H
#define WDB_CMD_SESSION_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/buffer.h"
#include "base/list.h"
#include "resp/output.h"
#include "resp/parser.h"

struct wdb_context;
struct wdb_executor;
struct wdb_session;
struct wdb_multi; /* queued commands of MULTI: cmd/transaction.c */
struct wdb_watcher;

enum wdb_session_flag {
    WDB_SESSION_AUTHENTICATED = 1 << 0,
    WDB_SESSION_MULTI = 1 << 1,       /* between MULTI and EXEC */
    WDB_SESSION_MULTI_ERROR = 1 << 2, /* a queued command was refused */
    WDB_SESSION_CLOSE_AFTER_REPLY = 1 << 3,
    WDB_SESSION_CLOSING = 1 << 4, /* executes nothing more */
    WDB_SESSION_PARKED = 1 << 5,  /* waits for a job off the loop, or a pause */
    WDB_SESSION_MONITOR = 1 << 6,
    WDB_SESSION_REPLY_OFF = 1 << 7,
    WDB_SESSION_REPLY_SKIP_NEXT = 1 << 8,
    WDB_SESSION_REPLY_SKIP = 1 << 9,
    WDB_SESSION_NO_EVICT = 1 << 10,
    WDB_SESSION_NO_TOUCH = 1 << 11,
    WDB_SESSION_READONLY = 1 << 12,
    WDB_SESSION_UNIX_SOCKET = 1 << 13,
    WDB_SESSION_PAUSED = 1 << 14,
    WDB_SESSION_CHANNEL = 1 << 15, /* of another node's client: cmd/forward.h */
};

/* How fresh a read must be (read-consistency; the numbers are the setting's). */
enum wdb_read_level {
    WDB_READ_LEADER,     /* by the leader, as far as it knows */
    WDB_READ_STALE,      /* committed state of this node */
    WDB_READ_CONSISTENT, /* by the leader, confirmed by a majority */
    WDB_READ_DEFAULT,    /* of a session: as the setting says */
};

/* What a request that was set aside waits for, when its session is PAUSED. */
enum wdb_session_hold {
    WDB_HOLD_PAUSE,   /* the end of CLIENT PAUSE, or held_until_ns */
    WDB_HOLD_LEADER,  /* another state of the cluster */
    WDB_HOLD_ROOM,    /* room for writes, or for forwarded requests */
    WDB_HOLD_ANSWERS, /* the answers to what was forwarded before */
    WDB_HOLD_REPLY,   /* its own reply: session->waiter */
};

struct wdb_reply;
/* A command that answers later: see wdb_call_wait. */
struct wdb_waiter {
    bool (*poll)(struct wdb_session *session, struct wdb_reply *reply,
                 void *arg);
    void (*release)(void *arg);
    void *arg;
};

/* How far replies may go out: everything up to an entry of the log is safe (or
 * committed), and a round of confirmations has been made. */
struct wdb_gate {
    uint64_t index;
    uint64_t round; /* 0 on a single node */
};

/* Replies up to byte `end` of all output ever may go out once the gate has
 * passed. */
struct wdb_gate_mark {
    uint64_t end;
    struct wdb_gate gate;
    uint64_t replies; /* of all replies ever, up to there */
};

struct wdb_session {
    struct wdb_context *context;
    struct wdb_executor *executor; /* of its worker */
    uint64_t id;
    uint32_t flags; /* enum wdb_session_flag; own thread only */
    int protocol;   /* 2 or 3 */
    uint32_t database;
    struct wdb_parser parser;
    struct wdb_buffer input; /* bytes from the client ... */
    size_t input_used;       /* ... executed up to here */
    struct wdb_output output;
    uint64_t output_total;       /* bytes ever put into output (after a turn) */
    uint64_t output_sent;        /* bytes ever consumed from it */
    uint64_t output_released;    /* bytes that the gate has let pass */
    uint64_t depends;            /* highest index a reply so far depended on */
    uint64_t round;              /* and the highest round */
    bool round_wanted;           /* a read since then waits for the next one */
    uint64_t replies;            /* ever put into output ... */
    uint64_t replies_released;   /* ... and let pass by the gate */
    struct wdb_gate_mark *marks; /* ring, oldest first */
    uint32_t mark_first, mark_count, mark_capacity;
    struct wdb_multi *multi;
    struct wdb_multi *multi_sent; /* of an unanswered EXEC that changes it */
    struct wdb_watcher *watcher;
    void *owner;      /* the connection in net/, or the simulator's client */
    bool exec_done;   /* EXEC ran to its end: the dispatcher ends the MULTI */
    bool output_full; /* more input was not looked at, for its output */
    uint32_t cold_count;    /* times that the request at the head was parked */
    uint32_t auth_failures; /* wrong passwords in a row */
    uint32_t hold_ms;       /* nothing more is executed for so long ... */
    uint64_t held_until_ns; /* ... which is until then; 0: not held */
    enum wdb_session_hold hold;
    struct wdb_waiter waiter;  /* of HOLD_REPLY */
    uint64_t hold_version;     /* the cluster's state when it was set aside */
    uint64_t hold_since_ns;    /* when the request at the head first was; 0 */
    enum wdb_read_level level; /* of its reads */
    uint64_t write_index;      /* the entry of its last write, for WAIT */
    uint32_t forwarded;        /* requests that the leader has not answered */
    bool forward_watches;      /* it watches keys at the leader */
    bool answer_begun;         /* a part of the oldest one's reply came */
    struct wdb_buffer kept;    /* lines that wait for the rest of it ... */
    uint64_t kept_depends;     /* ... and what they depend on */
    void *forward;             /* what proxy/ keeps for it; NULL: nothing */
    void (*on_ready)(struct wdb_session *session); /* instead of the hook */
    struct wdb_list ready_node;    /* executor's list of those with work */
    struct wdb_list executor_node; /* executor's list of all its sessions */
    struct wdb_list registry_node; /* context's list of all, under its mutex */

    /* What others may look at. */
    _Atomic uint64_t last_active_ms;
    _Atomic uint64_t command_count;
    _Atomic uint32_t last_command_id;
    _Atomic uint32_t flags_shown;    /* copy of flags, database, protocol for */
    _Atomic uint32_t database_shown; /* CLIENT LIST of other workers */
    _Atomic uint32_t protocol_shown;
    _Atomic uint64_t input_size_shown, output_size_shown, multi_count_shown,
        watch_count_shown;
    _Atomic bool kill; /* somebody else asks to close it */
    uint64_t created_ms;
    int fd; /* to show only */
    pthread_mutex_t about_lock;
    struct {
        char address[128]; /* "127.0.0.1:1234" */
        char local_address[128];
        char name[256];
        char library_name[128];
        char library_version[64];
        char user[64];
    } about;
};

struct wdb_session_info {
    const char *address, *local_address;
    int fd;
    bool unix_socket;
    bool channel; /* WDB_SESSION_CHANNEL */
    void *owner;
    /* Called when there is output to be looked at, instead of the hook
     * session_ready; NULL: the hook. */
    void (*on_ready)(struct wdb_session *session);
};
/* Make and register. ENOMEM. */
WDB_MUST_CHECK int wdb_session_new(struct wdb_context *context,
                                   struct wdb_executor *executor,
                                   const struct wdb_session_info *info,
                                   struct wdb_session **out);
/* Unregister, forget watches and queued commands, free. */
void wdb_session_free(struct wdb_session *session);
/* RESET and connection start: everything but identity and address as new. */
void wdb_session_reset(struct wdb_session *session);
/* Room to read input into, at least 16 KiB or what a big argument still needs
 * (so large values are read straight to their place). NULL: ENOMEM or the
 * query buffer limit. */
uint8_t *wdb_session_input_room(struct wdb_session *session, size_t *size_out);
void wdb_session_input_add(struct wdb_session *session, size_t size);
/* The output as it is now depends on session->depends and round; called by the
 * executor behind a run of commands, and by sendable. */
void wdb_session_mark(struct wdb_session *session);
/* Bytes of output that may be sent, given the gate. */
size_t wdb_session_sendable(struct wdb_session *session, struct wdb_gate gate);
/*
 * Office was lost: nothing beyond `passed` may go out any more. All that is not
 * released is dropped; the client gets an error for each reply, which says that
 * nobody knows what became of the command. What comes depends on nothing.
 * Returns how many replies were lost.
 */
uint64_t wdb_session_lose(struct wdb_session *session, struct wdb_gate passed);
/* Put what answers no request into the output, or, while a reply is there in
 * part, behind that. It depends on this index of the log. Without memory, or if
 * the reply takes long, it is missing. */
void wdb_session_push(struct wdb_session *session, struct wdb_slice bytes,
                      uint64_t depends);
/* There is output, or it is to be closed: tell its owner. */
void wdb_session_ready(struct wdb_session *session);
/* The connection sent this many bytes of the output's head. */
void wdb_session_sent(struct wdb_session *session, size_t size);

/* Of a client of another node, which forwards. */
static inline bool wdb_session_is_channel(const struct wdb_session *session)
{
    return session->on_ready != NULL;
}

#endif
