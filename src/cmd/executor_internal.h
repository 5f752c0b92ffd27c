/* executor_internal.h - what the files of the executor share. */
#ifndef WDB_CMD_EXECUTOR_INTERNAL_H
#define WDB_CMD_EXECUTOR_INTERNAL_H

#include "base/ticks.h"
#include "cmd/executor.h"

struct wdb_executor_slot {
    struct wdb_session *session;
    const struct wdb_command *command;
    struct wdb_keydir_probe probe; /* prefetches for its first key */
    uint32_t argument_first;       /* in the pool */
    uint32_t argc;
    uint32_t key_first, key_count;
    size_t input_end; /* session->input_used once it is executed */
};

struct wdb_executor {
    struct wdb_context *context;
    struct wdb_store *store;
    struct wdb_log *log;
    void *worker;
    struct wdb_stats_worker *stats;
    struct wdb_tick_scale tick_scale;
    struct wdb_list ready;    /* sessions with input to look at */
    struct wdb_list paused;   /* their next request was set aside: hold.c */
    struct wdb_list sessions; /* all of them */
    uint64_t era;             /* in which what is not sent was executed */
    struct wdb_gate passed;   /* as it was when the era was looked at */
    bool round_asked;         /* a reply waits for a round to begin */
    bool is_loading;          /* in this turn: no key may be touched */
    struct wdb_executor_slot slots[WDB_EXECUTOR_GROUP];
    uint32_t slot_count;
    struct wdb_slice *arguments;
    uint32_t argument_count, argument_capacity;
    struct wdb_key *keys;
    uint32_t key_count, key_capacity;
    uint32_t *key_indexes; /* scratch of wdb_command_keys */
    uint32_t key_index_capacity;
    struct wdb_txn txn;
};

/* --- hold.c: requests that are set aside ----------------------------------- */

/* The request at the head of the session's input is executed later. */
void wdb_hold_session(struct wdb_executor *executor,
                      struct wdb_session *session, enum wdb_session_hold hold);
/* The session does not wait for a reply any more. */
void wdb_hold_forget(struct wdb_session *session);
/* Those whose time has come. */
void wdb_hold_resume_all(struct wdb_executor *executor);

/* --- gate.c ----------------------------------------------------------------- */

/* Look at the era before anything is executed. */
void wdb_gate_begin_turn(struct wdb_executor *executor);
/* Ask for a round, if replies wait for one. */
void wdb_gate_end_turn(struct wdb_executor *executor);

#endif
