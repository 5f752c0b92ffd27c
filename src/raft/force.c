/*
 * force.c - a new cluster out of what one node has: the way back from the loss
 * of a majority. It decides alone, so it may lose what only the lost nodes had,
 * and may keep what they never agreed to.
 *
 * The order makes it safe to repeat: first the identity says which cluster the
 * node is in now; the log, whose configuration is still of another, is then
 * refused by a normal start until this was run to its end.
 */
#include <string.h>

#include "raft/raft_internal.h"

/* What is in effect at the end of the log, and the hash of all of it. */
struct end_state {
    struct wdb_members members;
    uint64_t term, state_hash;
};

static int take_entry(struct wdb_db *db, uint64_t index,
                      struct end_state *state)
{
    struct wdb_log *log = wdb_db_log(db);
    struct wdb_entry_header entry;
    const uint8_t *payload;
    struct wdb_segment *segment;
    int code = wdb_log_entry(log, index, &entry, &payload, &segment);
    if (code != 0) {
        return code;
    }
    if (entry.type == WDB_ENTRY_CHANGE) {
        struct wdb_members members;
        code = wdb_members_decode(payload, entry.payload_size, &members);
        if (code == 0) {
            wdb_members_release(&state->members);
            state->members = members;
        }
    }
    wdb_segment_drop(segment);
    state->term = entry.term;
    state->state_hash = wdb_raft_hash_entry(state->state_hash, &entry);
    if (code == 0 && index > wdb_log_committed(log)) {
        code = wdb_store_apply_entry(wdb_db_store(db), index);
        wdb_store_set_committed(wdb_db_store(db), index);
    }
    return code;
}

static int read_end(struct wdb_db *db, struct end_state *state)
{
    struct wdb_log *log = wdb_db_log(db);
    const struct wdb_slice bytes = wdb_log_base(log);
    struct wdb_raft_base base = {0};
    int code = 0;
    wdb_members_init(&base.members);
    if (bytes.size > 0) {
        code = wdb_raft_base_decode(bytes.data, bytes.size, &base);
    }
    if (code == 0) {
        code = wdb_members_copy(&base.members, &state->members);
        state->term = base.term;
        state->state_hash = base.state_hash;
    }
    const uint64_t last = wdb_log_index_last(log);
    for (uint64_t i = base.index + 1; i <= last && code == 0; i++) {
        code = take_entry(db, i, state);
    }
    wdb_raft_base_release(&base);
    return code;
}

/* The others may not come back: their history is another. */
static int keep_only(struct wdb_members *members, const struct wdb_member *self)
{
    int code = 0;
    for (uint32_t i = members->count; i-- > 0 && code == 0;) {
        if (members->members[i].id != self->id) {
            code = wdb_members_remove(members, members->members[i].id);
        }
    }
    if (code != 0) {
        return code;
    }
    members->count = 0;
    struct wdb_member first = *self;
    first.role = WDB_MEMBER_VOTER;
    return wdb_members_add(members, &first);
}

static int write_end(struct wdb_db *db, const struct wdb_identity *identity,
                     struct end_state *state)
{
    struct wdb_log *log = wdb_db_log(db);
    struct wdb_buffer payload, bytes;
    struct wdb_log_place place;
    struct wdb_entry_header entry = {.type = WDB_ENTRY_CHANGE};
    wdb_buffer_init(&payload);
    wdb_buffer_init(&bytes);
    wdb_log_set_term(log, identity->term);
    int code = wdb_members_encode(&state->members, &payload);
    entry.payload_size = payload.size;
    code = code == 0 ? wdb_log_append_entry(log, &entry, payload.data, &place)
                     : code;
    code = code == 0 ? wdb_log_sync(log) : code;
    code = code == 0 ? wdb_log_entry_header(log, place.index, &entry) : code;
    if (code == 0) {
        wdb_store_set_committed(wdb_db_store(db), place.index);
        const struct wdb_raft_base base = {
            .index = entry.index,
            .term = entry.term,
            .state_hash = wdb_raft_hash_entry(state->state_hash, &entry),
            .members_index = entry.index,
            .members = state->members,
        };
        code = wdb_raft_base_encode(&base, &bytes);
    }
    if (code == 0) {
        code = wdb_log_set_base(log, true, wdb_slice(bytes.data, bytes.size),
                                entry.index + 1);
    }
    wdb_buffer_release(&payload);
    wdb_buffer_release(&bytes);
    return code;
}

int wdb_raft_force(struct wdb_db *db, struct wdb_identity *identity,
                   const struct wdb_member *self)
{
    struct end_state state = {0};
    struct wdb_env *env = identity->env;
    if (!wdb_log_is_cluster(wdb_db_log(db))) {
        return WALKERDB_ENOTFOUND;
    }
    if (identity->log_nonce != wdb_log_nonce(wdb_db_log(db))) {
        return WALKERDB_EMISMATCH;
    }
    wdb_members_init(&state.members);
    int code = read_end(db, &state);
    if (code == 0) {
        struct wdb_member own = *self;
        own.id = identity->id;
        code = keep_only(&state.members, &own);
    }
    if (code == 0) {
        do {
            env->ops->random(env, &state.members.cluster_id,
                             sizeof(state.members.cluster_id));
        } while (state.members.cluster_id == 0);
        identity->cluster_id = state.members.cluster_id;
        identity->term =
            (state.term > identity->term ? state.term : identity->term) + 1;
        identity->voted_for = identity->id;
        identity->removed = false;
        code = wdb_identity_store(identity);
    }
    if (code == 0) {
        code = write_end(db, identity, &state);
    }
    wdb_members_release(&state.members);
    return code;
}
