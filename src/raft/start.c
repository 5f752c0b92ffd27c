/*
 * start.c - what a node finds when it begins: the base in the manifest, the
 * entries behind it, term and vote; and the founding of a cluster.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "raft/raft_internal.h"

/* --- members ------------------------------------------------------------------ */

int wdb_raft_use_members(struct wdb_raft *raft,
                         const struct wdb_members *members, uint64_t index)
{
    int code = 0;
    /* A leader logs a change when the one before is committed. */
    if (index > raft->members_index) {
        code = wdb_members_copy(&raft->members, &raft->members_committed);
        raft->members_committed_index = raft->members_index;
    }
    if (code == 0) {
        code = wdb_members_copy(members, &raft->members);
    }
    if (code == 0) {
        raft->members_index = index;
    }
    return code;
}

int wdb_raft_forget_members(struct wdb_raft *raft, uint64_t from)
{
    if (raft->members_index < from || raft->members_index == 0) {
        return 0;
    }
    raft->members_index = raft->members_committed_index;
    return wdb_members_copy(&raft->members_committed, &raft->members);
}

/* Is this peer still one? */
static void drop_gone(struct wdb_raft *raft)
{
    for (size_t i = 0; i < WDB_COUNT(raft->peers); i++) {
        struct wdb_raft_peer *peer = &raft->peers[i];
        if (peer->id != 0 &&
            wdb_members_find(&raft->members, peer->id) == NULL) {
            wdb_raft_catch_up_stop_peer(raft, peer);
            *peer = (struct wdb_raft_peer){0};
        }
    }
}

static void add_peer(struct wdb_raft *raft, wdb_node_id id)
{
    if (wdb_raft_peer_of(raft, id) != NULL) {
        return;
    }
    for (size_t i = 0; i < WDB_COUNT(raft->peers); i++) {
        if (raft->peers[i].id == 0) {
            raft->peers[i] = (struct wdb_raft_peer){.id = id, .next = 1};
            return;
        }
    }
}

void wdb_raft_apply_members(struct wdb_raft *raft)
{
    struct wdb_member others[WDB_MEMBERS_MAX];
    uint32_t count = 0;
    if (raft->starting) {
        return;
    }
    drop_gone(raft);
    for (uint32_t i = 0; i < raft->members.count; i++) {
        const struct wdb_member *member = &raft->members.members[i];
        if (member->id != raft->self) {
            add_peer(raft, member->id);
            others[count++] = *member;
        }
    }
    raft->options.peers->ops->set_members(raft->options.peers->context, others,
                                          count);
    raft->publish = true;
    atomic_fetch_add(&raft->gate.leader_version, 1);
}

/* --- beginning ------------------------------------------------------------------ */

struct beginning {
    struct wdb_raft *raft;
    struct wdb_core_entry *entries;
    uint32_t count, capacity;
    struct wdb_members *members; /* of CHANGE entries, by entry */
    uint32_t members_count, members_capacity;
    uint32_t *members_entry; /* which entry each belongs to */
};

static int refuse(char **message_out, int code, const char *text)
{
    *message_out = strdup(text);
    return code;
}

static int load_base(struct wdb_raft *raft, char **message_out)
{
    const struct wdb_slice bytes = wdb_log_base(raft->log);
    if (bytes.size == 0) {
        return 0;
    }
    const int code = wdb_raft_base_decode(bytes.data, bytes.size, &raft->base);
    if (code != 0) {
        return refuse(message_out, code,
                      "the manifest's part for the cluster can't be read: run "
                      "walkerdb-check on -dir");
    }
    int rc = wdb_members_copy(&raft->base.members, &raft->members);
    if (rc == 0) {
        rc = wdb_members_copy(&raft->base.members, &raft->members_committed);
    }
    raft->members_index = raft->members_committed_index =
        raft->base.members_index;
    raft->state_hash = raft->base.state_hash;
    raft->index_checked = raft->base.index;
    return rc;
}

/* Do the log and the identity belong together? */
static int check_pair(struct wdb_raft *raft, char **message_out)
{
    const struct wdb_identity *identity = raft->identity;
    const bool cluster = wdb_log_is_cluster(raft->log);
    if (identity->removed) {
        return refuse(message_out, WALKERDB_EINVALID,
                      "this node was removed from its cluster (or its address "
                      "is another cluster's) and may not come back under its "
                      "id: start with empty -dir and -raftdir "
                      "and a new -id");
    }
    if (!cluster && (identity->log_nonce == 0 ||
                     identity->log_nonce == wdb_log_nonce(raft->log))) {
        return 0; /* never was in, or died on the way in */
    }
    if (!cluster) {
        return refuse(message_out, WALKERDB_EMISMATCH,
                      "-raftdir belongs to a member of a cluster, but -dir is "
                      "another database, or an empty one: a member whose disk "
                      "is lost may not come back under its id. Remove it from "
                      "the cluster (RAFT REMOVE), then start with empty "
                      "directories and a new -id");
    }
    if (identity->log_nonce != wdb_log_nonce(raft->log)) {
        return refuse(message_out, WALKERDB_EMISMATCH,
                      "-dir and -raftdir do not belong together: one of them "
                      "is of another node, or was restored. Give both of one "
                      "node, or remove the node and join with empty ones under "
                      "a new -id");
    }
    return 0;
}

static int note_change(struct beginning *b, uint64_t index)
{
    struct wdb_entry_header header;
    const uint8_t *payload;
    struct wdb_segment *segment;
    if (b->members_count == b->members_capacity) {
        const uint32_t capacity = b->members_capacity * 2 + 8;
        struct wdb_members *grown =
            realloc(b->members, capacity * sizeof(*grown));
        if (grown == NULL) {
            return WALKERDB_ENOMEM;
        }
        b->members = grown;
        uint32_t *places =
            realloc(b->members_entry, capacity * sizeof(*places));
        if (places == NULL) {
            return WALKERDB_ENOMEM;
        }
        b->members_entry = places;
        b->members_capacity = capacity;
    }
    int code = wdb_log_entry(b->raft->log, index, &header, &payload, &segment);
    if (code != 0) {
        return code;
    }
    struct wdb_members *members = &b->members[b->members_count];
    wdb_members_init(members);
    code = wdb_members_decode(payload, header.payload_size, members);
    wdb_segment_drop(segment);
    if (code == 0) {
        b->members_entry[b->members_count++] = b->count;
    }
    return code;
}

static int note_entry(struct beginning *b, const struct wdb_entry_header *entry)
{
    int code = 0;
    if (b->count == b->capacity) {
        const uint32_t capacity = b->capacity * 2 + 1024;
        struct wdb_core_entry *grown =
            realloc(b->entries, capacity * sizeof(*grown));
        if (grown == NULL) {
            return WALKERDB_ENOMEM;
        }
        b->entries = grown;
        b->capacity = capacity;
    }
    if (entry->type == WDB_ENTRY_CHANGE) {
        code = note_change(b, entry->index);
    }
    b->entries[b->count++] =
        (struct wdb_core_entry){.term = entry->term,
                                .type = (enum wdb_entry_type)entry->type};
    return code;
}

/* One entry of the log behind the base. */
static int take_entry(struct beginning *b, uint64_t index)
{
    struct wdb_raft *raft = b->raft;
    struct wdb_entry_header entry;
    int code = wdb_log_entry_header(raft->log, index, &entry);
    if (code == 0) {
        code = note_entry(b, &entry);
    }
    if (code != 0) {
        return code;
    }
    if (entry.type == WDB_ENTRY_CHANGE) {
        code = wdb_raft_use_members(raft, &b->members[b->members_count - 1],
                                    index);
    }
    if (code == 0 && index <= raft->core_committed) {
        raft->state_hash = wdb_raft_hash_entry(raft->state_hash, &entry);
        wdb_raft_note_hash(raft, index);
        raft->bytes_committed += wdb_raft_entry_size(&entry);
        raft->committed = index;
        wdb_raft_checkpoint(raft, entry.term);
    }
    return code;
}

static int take_entries(struct beginning *b)
{
    struct wdb_raft *raft = b->raft;
    const uint64_t last = wdb_log_index_last(raft->log);
    int code = 0;
    for (uint64_t i = raft->base.index + 1; i <= last && code == 0; i++) {
        code = take_entry(b, i);
    }
    uint32_t k = 0;
    for (uint32_t i = 0; code == 0 && i < b->count; i++) {
        if (k < b->members_count && b->members_entry[k] == i) {
            b->entries[i].members = &b->members[k++];
        }
    }
    return code;
}

static int start_core(struct beginning *b, char **message_out)
{
    struct wdb_raft *raft = b->raft;
    const struct wdb_identity *identity = raft->identity;
    const bool settled = raft->members_index <= raft->committed;
    struct wdb_core_start start = {
        .term = identity->term,
        .voted_for = identity->voted_for,
        .base_index = raft->committed,
        .base_term =
            raft->committed > raft->base.index
                ? b->entries[raft->committed - raft->base.index - 1].term
                : raft->base.term,
        .members_index =
            settled ? raft->members_index : raft->members_committed_index,
        .members = settled ? &raft->members : &raft->members_committed,
        .first_index = raft->base.index + 1,
        .entry_count = b->count,
        .entries = b->entries,
    };
    const uint64_t last_term =
        b->count > 0 ? b->entries[b->count - 1].term : raft->base.term;
    if (last_term > identity->term) {
        return refuse(message_out, WALKERDB_EMISMATCH,
                      "the log is of a later term than -raftdir knows: "
                      "-raftdir is an old copy. A node must never forget its "
                      "vote: remove it from the cluster and join with empty "
                      "directories under a new -id");
    }
    if (raft->base.index == 0 && b->count > 0 &&
        b->entries[0].type != WDB_ENTRY_CHANGE) {
        return refuse(message_out, WALKERDB_ECORRUPT,
                      "the log does not begin with a configuration");
    }
    raft->submitted = wdb_log_index_last(raft->log);
    raft->bytes_submitted = raft->bytes_committed;
    raft->core_base = raft->committed;
    return wdb_core_start(raft->core, &start);
}

int wdb_raft_begin(struct wdb_raft *raft, char **message_out)
{
    struct beginning b = {.raft = raft};
    int code = check_pair(raft, message_out);
    if (code != 0) {
        return code;
    }
    if (!wdb_log_is_cluster(raft->log) && wdb_log_index_last(raft->log) != 0) {
        return refuse(message_out, WALKERDB_EEXISTS,
                      "-dir has data of a standalone server; -join takes an "
                      "empty directory. To found a cluster on this data, start "
                      "it with -bootstrap true and without -join");
    }
    code = load_base(raft, message_out);
    if (code == 0) {
        raft->core_committed = wdb_log_committed(raft->log);
        raft->committed = raft->base.index;
        code = raft->core_committed >= raft->base.index
                   ? take_entries(&b)
                   : refuse(message_out, WALKERDB_ECORRUPT,
                            "the log ends before what the manifest says was "
                            "committed and given up by the cluster: a part of "
                            "it is missing. Run walkerdb-check on -dir; the "
                            "node has to be removed (RAFT REMOVE) and to join "
                            "with empty directories under a new -id");
    }
    raft->applied = raft->committed;
    if (code == 0 && raft->members.count > 0 &&
        raft->members.cluster_id != raft->identity->cluster_id) {
        code = refuse(message_out, WALKERDB_EMISMATCH,
                      "-raftdir says another cluster than -dir: a walkerdb "
                      "--force-new-cluster was interrupted (run it again), or "
                      "one of them is of another node");
    }
    if (code == 0) {
        code = start_core(&b, message_out);
    }
    for (uint32_t i = 0; i < b.members_count; i++) {
        wdb_members_release(&b.members[i]);
    }
    free(b.members);
    free(b.members_entry);
    free(b.entries);
    if (code != 0 && *message_out == NULL) {
        (void)refuse(message_out, code, walkerdb_strerror(code));
    }
    return code;
}

/* --- founding ------------------------------------------------------------------- */

static int append_first_change(struct wdb_log *log,
                               const struct wdb_members *members,
                               struct wdb_entry_header *entry_out)
{
    struct wdb_buffer payload;
    struct wdb_log_place place;
    struct wdb_entry_header entry = {.type = WDB_ENTRY_CHANGE};
    wdb_buffer_init(&payload);
    int code = wdb_members_encode(members, &payload);
    entry.payload_size = payload.size;
    if (code == 0) {
        code = wdb_log_append_entry(log, &entry, payload.data, &place);
    }
    if (code == 0) {
        code = wdb_log_sync(log);
    }
    if (code == 0) {
        code = wdb_log_entry_header(log, place.index, entry_out);
    }
    wdb_buffer_release(&payload);
    return code;
}

/* The hash of a standalone history is that of its length: nobody else has it. */
static int store_base(struct wdb_log *log, const struct wdb_members *members,
                      const struct wdb_entry_header *change)
{
    if (change->index == 1) {
        /* A new log: all of it is there. (libraft takes a base at 1 for the
         * entry itself, and would never send it to anybody.) */
        return wdb_log_set_base(log, true, wdb_slice(NULL, 0), 1);
    }
    struct wdb_buffer bytes;
    struct wdb_raft_base base = {
        .index = change->index,
        .term = change->term,
        .state_hash = wdb_raft_hash_entry(0, change),
        .members_index = change->index,
    };
    base.members = *members;
    wdb_buffer_init(&bytes);
    int code = wdb_raft_base_encode(&base, &bytes);
    if (code == 0) {
        code = wdb_log_set_base(log, true, wdb_slice(bytes.data, bytes.size),
                                change->index + 1);
    }
    wdb_buffer_release(&bytes);
    return code;
}

int wdb_raft_found(struct wdb_db *db, struct wdb_identity *identity,
                   const struct wdb_member *self)
{
    struct wdb_log *log = wdb_db_log(db);
    struct wdb_members members;
    struct wdb_entry_header change;
    if (wdb_log_is_cluster(log)) {
        return WALKERDB_EEXISTS;
    }
    wdb_members_init(&members);
    struct wdb_member first = *self;
    first.id = identity->id;
    first.role = WDB_MEMBER_VOTER;
    struct wdb_env *env = identity->env;
    while (members.cluster_id == 0) {
        env->ops->random(env, &members.cluster_id, sizeof(members.cluster_id));
    }
    int code = wdb_members_add(&members, &first);
    if (code == 0) {
        code = append_first_change(log, &members, &change);
    }
    if (code == 0) {
        wdb_store_set_committed(wdb_db_store(db), change.index);
        /* Term and pairing first: a log that is a cluster's has an identity. */
        identity->cluster_id = members.cluster_id;
        identity->log_nonce = wdb_log_nonce(log);
        identity->term =
            change.term > identity->term ? change.term : identity->term;
        code = wdb_identity_store(identity);
    }
    if (code == 0) {
        code = store_base(log, &members, &change);
    }
    wdb_members_release(&members);
    return code;
}
