/*
 * commit.c - how far the cluster agrees: the committed index, what follows from
 * it, and how much of the log is kept.
 *
 * On every node the committed index is min(what the core says, what is durable
 * here). A follower applies an entry when it is committed; until then merge leaves
 * it alone (store/): it must not take a record for garbage that was never
 * applied. A leader that serves has executed already.
 */
#include <string.h>

#include "raft/raft_internal.h"

void wdb_raft_core_committed(void *context, uint64_t index)
{
    struct wdb_raft *raft = context;
    if (index > raft->core_committed) {
        raft->core_committed = index;
    }
}

/* --- the state hash ------------------------------------------------------------ */

uint64_t wdb_raft_hash_entry(uint64_t hash,
                             const struct wdb_entry_header *entry)
{
    const uint64_t parts[] = {
        entry->index,        entry->term, entry->time_ms,
        entry->payload_size, entry->type, entry->payload_crc,
    };
    for (size_t i = 0; i < WDB_COUNT(parts); i++) {
        hash = (hash ^ parts[i]) * UINT64_C(0x9e3779b97f4a7c15);
        hash ^= hash >> 32;
    }
    return hash;
}

void wdb_raft_note_hash(struct wdb_raft *raft, uint64_t index)
{
    const struct wdb_raft_hash hash = {index, raft->state_hash};
    raft->hashes[index % WDB_RAFT_HASHES] = hash;
    if (index % WDB_RAFT_HASH_STEP == 0) {
        raft->hashes_far[index / WDB_RAFT_HASH_STEP % WDB_RAFT_HASHES] = hash;
    }
}

/* The nearest at or before this index that is known. */
static struct wdb_raft_hash find_hash(const struct wdb_raft *raft,
                                      uint64_t index)
{
    const uint64_t far = index - index % WDB_RAFT_HASH_STEP;
    const struct wdb_raft_hash known[] = {
        raft->hashes[index % WDB_RAFT_HASHES],
        raft->hashes_far[far / WDB_RAFT_HASH_STEP % WDB_RAFT_HASHES],
    };
    if (known[0].index == index && index != 0) {
        return known[0];
    }
    if (known[1].index == far && far > raft->base.index) {
        return known[1];
    }
    return (struct wdb_raft_hash){raft->base.index, raft->base.state_hash};
}

int wdb_raft_hash_at(struct wdb_raft *raft, uint64_t index, uint64_t *hash_out)
{
    struct wdb_raft_hash hash = find_hash(raft, index);
    while (hash.index < index) {
        struct wdb_entry_header entry;
        const int code =
            wdb_log_entry_header(raft->log, hash.index + 1, &entry);
        if (code != 0) {
            return code;
        }
        hash.hash = wdb_raft_hash_entry(hash.hash, &entry);
        hash.index++;
    }
    *hash_out = hash.hash;
    return 0;
}

void wdb_raft_compare_hash(struct wdb_raft *raft, wdb_node_id from,
                           uint64_t index, uint64_t hash)
{
    const struct wdb_raft_hash *ours = &raft->hashes[index % WDB_RAFT_HASHES];
    if (ours->index != index || ours->hash == hash) {
        return;
    }
    wdb_raft_fail(raft, WALKERDB_EABORTED,
                  "this node and node %016llx have different histories up to "
                  "entry %llu (state hash %016llx here, %016llx there): one of "
                  "them is damaged. It stops; compare `RAFT STATUS` of all "
                  "nodes and replace the one that differs from the others",
                  (unsigned long long)from, (unsigned long long)index,
                  (unsigned long long)ours->hash, (unsigned long long)hash);
}

/* --- moving --------------------------------------------------------------------- */

/* The configuration at `index` is committed: are we still in it? */
static void note_members_committed(struct wdb_raft *raft)
{
    if (raft->members_index == 0 || raft->members_index > raft->committed ||
        raft->members_committed_index == raft->members_index) {
        return;
    }
    if (wdb_members_copy(&raft->members, &raft->members_committed) != 0) {
        return; /* tried again with the next entry */
    }
    raft->members_committed_index = raft->members_index;
    raft->publish = true;
    if (wdb_members_is_removed(&raft->members, raft->self)) {
        raft->removed = true;
        raft->identity->removed = true;
        (void)wdb_raft_store_vote(raft, raft->identity->term,
                                  raft->identity->voted_for);
        wdb_raft_say(raft, WDB_LOG_WARNING,
                     "this node was removed from the cluster; it serves no "
                     "more, and may not come back under its id");
    } else if (wdb_members_voters(&raft->members) == 2) {
        wdb_raft_say(raft, WDB_LOG_WARNING,
                     "two nodes vote now: the death of either stops writes, "
                     "until a third joins");
    }
}

static int commit_entry(struct wdb_raft *raft, uint64_t index,
                        struct wdb_entry_header *entry)
{
    int code = wdb_log_entry_header(raft->log, index, entry);
    if (code == 0 && index > raft->applied && index < raft->executed_from) {
        /* In this order nothing is kept to undo it. */
        wdb_store_set_committed(raft->store, index);
        code = wdb_store_apply_entry(raft->store, index);
        raft->applied = index;
    }
    if (code != 0) {
        return wdb_raft_fail(raft, code, "entry %llu could not be applied: %s",
                             (unsigned long long)index,
                             walkerdb_strerror(code));
    }
    raft->state_hash = wdb_raft_hash_entry(raft->state_hash, entry);
    wdb_raft_note_hash(raft, index);
    raft->bytes_committed += wdb_raft_entry_size(entry);
    raft->committed = index;
    return 0;
}

bool wdb_raft_commit_turn(struct wdb_raft *raft)
{
    const uint64_t durable = wdb_log_durable(raft->log);
    uint64_t limit = raft->core_committed;
    if (limit > durable &&
        !WDB_RAFT_MUTATED(raft, WDB_MUTATION_APPLY_UNPERSISTED)) {
        limit = durable;
    }
    if (WDB_RAFT_MUTATED(raft, WDB_MUTATION_APPLY_UNCOMMITTED) &&
        raft->executed_from == UINT64_MAX) {
        limit = durable;
    }
    if (limit <= raft->committed) {
        return false;
    }
    const uint64_t before = raft->bytes_committed;
    uint32_t count = 0;
    struct wdb_entry_header entry = {0};
    while (raft->committed < limit && count < WDB_RAFT_APPLY_ENTRIES_MAX &&
           raft->bytes_committed - before < WDB_RAFT_APPLY_SIZE_MAX) {
        if (commit_entry(raft, raft->committed + 1, &entry) != 0) {
            return false;
        }
        count++;
    }
    wdb_store_set_committed(raft->store, raft->committed);
    if (raft->executed_from != UINT64_MAX) {
        raft->applied = raft->committed;
    }
    if (wdb_raft_is_leader(raft)) {
        wdb_pace_committed(&raft->pace, raft->committed, wdb_raft_now_ns(raft),
                           raft->sources > 0);
        atomic_store_explicit(&raft->uncommitted_size,
                              raft->bytes_submitted > raft->bytes_committed
                                  ? raft->bytes_submitted -
                                        raft->bytes_committed
                                  : 0,
                              memory_order_relaxed);
    }
    note_members_committed(raft);
    wdb_raft_checkpoint(raft, entry.term);
    wdb_raft_tell_gate(raft);
    return raft->committed < limit;
}

/* --- how much of the log is kept --------------------------------------------------- */

void wdb_raft_checkpoint(struct wdb_raft *raft, uint64_t term)
{
    const uint64_t parts = WDB_RAFT_CHECKPOINTS / 2;
    if (raft->checkpoint_count == WDB_RAFT_CHECKPOINTS ||
        (raft->bytes_committed - raft->bytes_checked <
             raft->options.retained_size / parts &&
         raft->committed - raft->index_checked <
             WDB_RAFT_RETAINED_MAX / parts)) {
        return;
    }
    raft->bytes_checked = raft->bytes_committed;
    raft->index_checked = raft->committed;
    raft->checkpoints[raft->checkpoint_count++] = (struct wdb_raft_checkpoint){
        .index = raft->committed,
        .term = term,
        .state_hash = raft->state_hash,
        .bytes = raft->bytes_committed,
    };
}

/* The core's own idea of a snapshot is the committed index; it keeps the terms
 * of the entries behind our base. */
static int tell_core(struct wdb_raft *raft)
{
    const struct wdb_raft_base at = {
        .index = raft->committed,
        .term = wdb_raft_term_at(raft, raft->committed),
        .members_index = raft->members_committed_index,
        .members = raft->members_committed,
    };
    if (raft->committed == raft->core_base) {
        return 0;
    }
    raft->core_base = raft->committed;
    return wdb_core_compacted(raft->core, wdb_raft_now_ms(raft), &at,
                              (uint32_t)(raft->committed - raft->base.index));
}

static int move_base(struct wdb_raft *raft,
                     const struct wdb_raft_checkpoint *to)
{
    struct wdb_buffer bytes;
    struct wdb_raft_base base = {
        .index = to->index,
        .term = to->term,
        .state_hash = to->state_hash,
        .members_index = raft->members_committed_index,
    };
    wdb_members_init(&base.members);
    wdb_buffer_init(&bytes);
    int code = wdb_members_copy(&raft->members_committed, &base.members);
    if (code == 0) {
        code = wdb_raft_base_encode(&base, &bytes);
    }
    if (code == 0) {
        code =
            wdb_log_set_base(raft->log, true, wdb_slice(bytes.data, bytes.size),
                             WDB_RAFT_MUTATED(raft,
                                              WDB_MUTATION_RETAINED_IGNORED)
                                 ? raft->committed + 1
                                 : base.index + 1);
    }
    wdb_buffer_release(&bytes);
    if (code != 0) {
        wdb_raft_base_release(&base);
        return code;
    }
    wdb_raft_base_release(&raft->base);
    raft->base = base;
    return tell_core(raft);
}

void wdb_raft_base_turn(struct wdb_raft *raft)
{
    /* The core is told of a new base with each new committed index, once: if it
     * were not, it would go on asking for entries that are given up. */
    if (raft->checkpoint_count == 0 || raft->committed == raft->core_base) {
        return;
    }
    const struct wdb_raft_checkpoint first = raft->checkpoints[0];
    /* On a full disk a merge needs what peers could do without. */
    const uint64_t retained =
        wdb_log_is_full(raft->log)
            ? raft->options.retained_size / (WDB_RAFT_CHECKPOINTS / 2)
            : raft->options.retained_size;
    if ((raft->bytes_committed - first.bytes < retained &&
         raft->committed - first.index < WDB_RAFT_RETAINED_MAX) ||
        (raft->pinned != 0 && first.index > raft->pinned) ||
        raft->members_committed_index > first.index ||
        first.index <= raft->base.index || raft->identity->cluster_id == 0) {
        if (raft->checkpoint_count == WDB_RAFT_CHECKPOINTS) {
            /* Full, and its oldest is not free: make room in the middle. */
            memmove(&raft->checkpoints[1], &raft->checkpoints[2],
                    (WDB_RAFT_CHECKPOINTS - 2) * sizeof(first));
            raft->checkpoint_count--;
        } else if (first.index <= raft->base.index ||
                   raft->members_committed_index > first.index) {
            raft->checkpoint_count--;
            memmove(&raft->checkpoints[0], &raft->checkpoints[1],
                    raft->checkpoint_count * sizeof(first));
        }
        return;
    }
    raft->checkpoint_count--;
    memmove(&raft->checkpoints[0], &raft->checkpoints[1],
            raft->checkpoint_count * sizeof(first));
    const int code = move_base(raft, &first);
    if (code == WALKERDB_ENOSPACE || code == WALKERDB_ENOMEM) {
        return; /* later */
    }
    wdb_raft_check(raft, code, "giving up old entries");
}
