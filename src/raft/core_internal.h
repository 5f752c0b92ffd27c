/*
 * core_internal.h - what core.c and core_receive.c share. No other file knows
 * libraft. Errors are those of core.h; after one the core is failed.
 */
#ifndef WDB_RAFT_CORE_INTERNAL_H
#define WDB_RAFT_CORE_INTERNAL_H

#include <raft.h>

#include "raft/core.h"

/* G4: in 0.23 and later the core copies what it is given, so both files must be
 * looked at again. */
static_assert(RAFT_VERSION_NUMBER >= 2200 && RAFT_VERSION_NUMBER < 2300,
              "libraft 0.22: see G4");

/* The address that the core knows a server by: it is never dialed. */
#define WDB_CORE_ADDRESS_SIZE 17

struct wdb_core {
    struct raft raft;
    struct wdb_core_options options;
    uint64_t now_ms;
    uint64_t heard_ms; /* entries or a heartbeat of a leader: G12 */
    bool failed;
};

void wdb_core_make_address(wdb_node_id id, char out[WDB_CORE_ADDRESS_SIZE]);
/* The bytes in which the core wants a configuration; raft_free() them. ENOMEM. */
WDB_MUST_CHECK int wdb_core_encode_configuration(
    const struct wdb_members *members, struct raft_buffer *out);
enum raft_entry_type wdb_core_entry_type(enum wdb_entry_type type);
/* Entries with their configurations; any pointer may be NULL. */
void wdb_core_free_entries(struct raft_entry *entries, uint32_t count,
                           void *batch);
/* Time goes on; never back. */
void wdb_core_set_now(struct wdb_core *core, uint64_t now_ms);
/* Marks it failed; returns code. */
int wdb_core_fail(struct wdb_core *core, int code);
/* Through the callback; sets message->to. */
void wdb_core_send(struct wdb_core *core, wdb_node_id to,
                   struct wdb_message *message);
/* A step that must succeed, and all that follows from it. request_term: that of
 * the message that is answered. */
WDB_MUST_CHECK int wdb_core_must_step(struct wdb_core *core,
                                      struct raft_event *event,
                                      uint64_t request_term);
/* The last configuration is committed, whatever the core knows of it. */
WDB_MUST_CHECK int wdb_core_settle(struct wdb_core *core);
bool wdb_core_is_only_voter(const struct wdb_core *core);

#endif
