/*
 * role.c - taking office and losing it.
 *
 *   role: leader ─► barrier appended ─► committed and applied ─► serves
 *   lost: hold ─► era odd ─► give up what the core never saw ─► undo ─► era even
 *
 * Nothing of another leader is looked at before the last step: the core tells
 * the loss of office before it hands anything else over.
 */
#include "raft/raft_internal.h"

int wdb_raft_store_vote(void *context, uint64_t term, wdb_node_id voted_for)
{
    struct wdb_raft *raft = context;
    struct wdb_identity *identity = raft->identity;
    if (voted_for == raft->self && identity->term != term) {
        raft->elections++;
    }
    identity->term = term;
    identity->voted_for = voted_for;
    raft->publish = true;
    if (WDB_RAFT_MUTATED(raft, WDB_MUTATION_VOTE_NOT_DURABLE)) {
        return 0;
    }
    const int code = wdb_identity_store(identity);
    if (code != 0) {
        wdb_raft_fail(raft, code,
                      "term and vote could not be written to -raftdir (%s): "
                      "the node stops. Check that disk",
                      walkerdb_strerror(code));
    }
    return code;
}

static void take_office(struct wdb_raft *raft)
{
    wdb_assert(wdb_log_is_held(raft->log));
    raft->terms_led++;
    raft->own_first = 0;
    raft->submitted = wdb_core_index_last(raft->core);
    raft->pace = (struct wdb_pace){0};
    for (size_t i = 0; i < WDB_COUNT(raft->peers); i++) {
        raft->peers[i].next = 1;
        raft->peers[i].until = 0;
        raft->peers[i].round_answered = 0;
        raft->peers[i].pinned = false;
    }
    wdb_log_set_term(raft->log, wdb_core_term(raft->core));
    wdb_raft_say(raft, WDB_LOG_NOTICE, "leader of term %llu",
                 (unsigned long long)wdb_core_term(raft->core));
}

/* What was executed and is not committed: as if it had never been. */
static void take_back(struct wdb_raft *raft)
{
    int code = 0;
    if (raft->executed_from == UINT64_MAX) {
        return;
    }
    if (wdb_log_index_last(raft->log) > raft->submitted &&
        !WDB_RAFT_MUTATED(raft, WDB_MUTATION_TAIL_KEPT)) {
        raft->truncations++;
        code = wdb_store_truncate(raft->store, raft->submitted + 1);
    }
    if (code == 0 && !WDB_RAFT_MUTATED(raft, WDB_MUTATION_REVERT_NOTHING)) {
        code = wdb_store_revert(raft->store, raft->committed + 1);
    }
    if (code != 0) {
        wdb_raft_fail(raft, code,
                      "what was not committed could not be undone: "
                      "%s",
                      walkerdb_strerror(code));
    }
    raft->applied = raft->committed;
    raft->executed_from = UINT64_MAX;
}

static void lose_office(struct wdb_raft *raft)
{
    wdb_log_hold(raft->log, true);
    wdb_db_expire_stop(raft->db, true);
    const bool era_kept = WDB_RAFT_MUTATED(raft, WDB_MUTATION_ERA_KEPT);
    wdb_raft_gate_lose(&raft->gate);
    if (!era_kept) {
        wdb_raft_tell_gate(raft);
    }
    take_back(raft);
    wdb_raft_gate_undone(&raft->gate);
    if (era_kept) {
        atomic_fetch_sub(&raft->gate.era, 2);
    }
    wdb_raft_round_end(raft);
    wdb_raft_change_lost(raft);
    wdb_raft_catch_up_lost(raft);
    raft->change_index = 0;
    raft->own_first = 0;
    raft->bytes_submitted = raft->bytes_committed;
    atomic_store(&raft->uncommitted_size, 0);
    wdb_raft_tell_gate(raft);
    wdb_raft_say(raft, WDB_LOG_NOTICE,
                 "not the leader any more; what was not committed is undone");
}

void wdb_raft_role_changed(void *context, enum wdb_core_role from,
                           enum wdb_core_role to)
{
    struct wdb_raft *raft = context;
    raft->publish = true;
    if (from == WDB_CORE_LEADER) {
        lose_office(raft);
    } else if (to == WDB_CORE_LEADER) {
        take_office(raft);
    }
}

/* An entry of our own, without a payload. */
static int append_barrier(struct wdb_raft *raft, uint64_t *index_out)
{
    const struct wdb_entry_header header = {.type = WDB_ENTRY_BARRIER};
    struct wdb_log_place place;
    int code = wdb_log_append_entry(raft->log, &header, NULL, &place);
    code = code == 0 ? wdb_log_flush(raft->log) : code;
    if (code != 0) {
        return wdb_raft_fail(raft, code,
                             "the first entry of the term could "
                             "not be written: %s",
                             walkerdb_strerror(code));
    }
    *index_out = place.index;
    return 0;
}

int wdb_raft_append_barrier(void *context, uint64_t index)
{
    struct wdb_raft *raft = context;
    uint64_t found = 0;
    const int code = append_barrier(raft, &found);
    if (code == 0) {
        wdb_assert(found == index);
        raft->own_first = raft->submitted = index;
    }
    return code;
}

/* The core began the term without an entry: make one. */
static void begin_term(struct wdb_raft *raft)
{
    uint64_t index = 0;
    const struct wdb_core_entry entry = {.term = wdb_core_term(raft->core),
                                         .type = WDB_ENTRY_BARRIER};
    if (append_barrier(raft, &index) != 0) {
        return;
    }
    wdb_assert(index == wdb_core_index_last(raft->core) + 1);
    raft->own_first = raft->submitted = index;
    wdb_raft_check(
        raft, wdb_core_submit(raft->core, wdb_raft_now_ms(raft), 1, &entry),
        "the first entry of the term");
}

void wdb_raft_hold(struct wdb_raft *raft, bool hold)
{
    if (hold) {
        atomic_store(&raft->gate.serves, false);
        wdb_log_hold(raft->log, true);
        wdb_db_expire_stop(raft->db, true);
    } else {
        wdb_log_hold(raft->log, false);
        wdb_db_expire_stop(raft->db, false);
        atomic_store(&raft->gate.serves, true);
    }
    raft->publish = true;
    atomic_fetch_add(&raft->gate.leader_version, 1);
    wdb_raft_tell_gate(raft);
}

void wdb_raft_office_turn(struct wdb_raft *raft)
{
    if (!wdb_raft_is_leader(raft) || raft->failed) {
        return;
    }
    if (raft->own_first == 0) {
        begin_term(raft);
    }
    if (raft->failed || raft->executed_from != UINT64_MAX ||
        (!WDB_RAFT_MUTATED(raft, WDB_MUTATION_SERVE_EARLY) &&
         (raft->committed < raft->own_first ||
          raft->applied < raft->own_first))) {
        return;
    }
    wdb_assert(wdb_log_index_last(raft->log) == raft->own_first);
    raft->executed_from = raft->own_first + 1;
    raft->bytes_submitted = raft->bytes_committed;
    wdb_raft_hold(raft, false);
    wdb_raft_say(raft, WDB_LOG_NOTICE, "serving as leader of term %llu",
                 (unsigned long long)wdb_core_term(raft->core));
}

/* --- who leads ------------------------------------------------------------------ */

void wdb_raft_show_leader(struct wdb_raft *raft)
{
    wdb_node_id leader =
        wdb_raft_is_leader(raft) ? raft->self : wdb_core_leader(raft->core);
    const uint64_t term = wdb_core_term(raft->core);
    if (leader != 0 && wdb_members_find(&raft->members, leader) == NULL &&
        leader != raft->self) {
        leader = 0; /* its address is not known yet */
    }
    if (leader == raft->leader_shown && term == raft->leader_term_shown) {
        return;
    }
    if (leader != raft->leader_shown) {
        raft->leader_changes += leader != 0;
        atomic_store(&raft->gate.leader_seen_ns,
                     leader != 0 ? 0 : wdb_raft_now_ns(raft));
        if (leader != 0 && leader != raft->self) {
            wdb_raft_say(raft, WDB_LOG_NOTICE, "following %s in term %llu",
                         wdb_members_find(&raft->members, leader)->name,
                         (unsigned long long)term);
        }
    }
    raft->leader_shown = leader;
    raft->leader_term_shown = term;
    atomic_store(&raft->gate.leader, leader);
    wdb_raft_publish(raft);
    atomic_fetch_add(&raft->gate.leader_version, 1);
    wdb_raft_tell_gate(raft);
}
