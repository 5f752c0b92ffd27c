/*
 * rounds.c - who still believes that we lead: what a consistent read waits for
 * (Ongaro, Consensus: Bridging Theory and Practice, 2014, 6.4, with messages of
 * our own instead of heartbeats).
 *
 * A round is a number that is sent to all voters. Who answers in the same term
 * has not voted for another leader by then; with a majority no other leader can
 * have committed anything before the round began. A read belongs to the round
 * that begins after it was executed: gate.round is that number, and is raised
 * before the first message of the round leaves.
 */
#include "raft/raft_internal.h"

static uint64_t heartbeat_ns(const struct wdb_raft *raft)
{
    return (uint64_t)raft->options.heartbeat_ms * (uint64_t)WDB_NS_PER_MS;
}

static void send_round(struct wdb_raft *raft)
{
    struct wdb_message message = {
        .kind = WDB_MESSAGE_ROUND,
        .term = wdb_core_term(raft->core),
    };
    message.round.round = raft->round_active;
    raft->round_sent_ns = wdb_raft_now_ns(raft);
    for (uint32_t i = 0; i < raft->members.count; i++) {
        const struct wdb_member *member = &raft->members.members[i];
        const struct wdb_raft_peer *peer = wdb_raft_peer_of(raft, member->id);
        if (member->role == WDB_MEMBER_VOTER && peer != NULL &&
            peer->round_answered < raft->round_active) {
            (void)wdb_raft_send(raft, member->id, WDB_CHANNEL_CONTROL,
                                &message);
        }
    }
}

/* Have enough answered? */
static void count_round(struct wdb_raft *raft)
{
    uint32_t voters = 0, answers = 0;
    for (uint32_t i = 0; i < raft->members.count; i++) {
        const struct wdb_member *member = &raft->members.members[i];
        const struct wdb_raft_peer *peer = wdb_raft_peer_of(raft, member->id);
        if (member->role != WDB_MEMBER_VOTER) {
            continue;
        }
        voters++;
        answers += member->id == raft->self ||
                   (peer != NULL && peer->round_answered >= raft->round_active);
    }
    if (answers <= voters / 2 &&
        !WDB_RAFT_MUTATED(raft, WDB_MUTATION_ROUND_SKIPPED)) {
        return;
    }
    if (WDB_RAFT_MUTATED(raft, WDB_MUTATION_ROUND_JOINED_LATE)) {
        atomic_fetch_add(&raft->gate.round, 1);
    }
    raft->round_count++;
    atomic_store(&raft->gate.round_done, raft->round_active);
    raft->round_active = 0;
    wdb_raft_tell_gate(raft);
}

static void begin_round(struct wdb_raft *raft)
{
    raft->round_active = WDB_RAFT_MUTATED(raft, WDB_MUTATION_ROUND_JOINED_LATE)
                             ? atomic_load(&raft->gate.round)
                             : atomic_fetch_add(&raft->gate.round, 1);
    send_round(raft);
    count_round(raft); /* alone, we are a majority */
}

void wdb_raft_round_turn(struct wdb_raft *raft)
{
    if (!wdb_raft_is_leader(raft) || raft->executed_from == UINT64_MAX) {
        return;
    }
    if (raft->round_active != 0) {
        if (wdb_raft_now_ns(raft) - raft->round_sent_ns >= heartbeat_ns(raft)) {
            send_round(raft);
        }
        return;
    }
    if (atomic_exchange(&raft->round_asked, false)) {
        begin_round(raft);
    }
}

void wdb_raft_round_end(struct wdb_raft *raft)
{
    raft->round_active = 0;
    for (size_t i = 0; i < WDB_COUNT(raft->peers); i++) {
        raft->peers[i].round_answered = 0;
    }
}

/* Somebody is in a later term: as leader we have to go. */
static void hear_term(struct wdb_raft *raft, wdb_node_id from, uint64_t term)
{
    struct wdb_message message = {
        .kind = WDB_MESSAGE_APPEND_RESULT,
        .to = raft->self,
        .term = term,
    };
    const char *why;
    message.append_result.request_term = term;
    message.append_result.rejected = 1;
    wdb_raft_check(raft,
                   wdb_core_receive(raft->core, wdb_raft_now_ms(raft), from,
                                    &message, &why),
                   "a round");
}

void wdb_raft_round_receive(struct wdb_raft *raft, wdb_node_id from,
                            const struct wdb_message *message)
{
    const uint64_t term = wdb_core_term(raft->core);
    struct wdb_raft_peer *peer = wdb_raft_peer_of(raft, from);
    if (message->kind == WDB_MESSAGE_ROUND) {
        struct wdb_message answer = {
            .kind = WDB_MESSAGE_ROUND_RESULT,
            .term = term,
        };
        answer.round.round = message->round.round;
        if (WDB_RAFT_MUTATED(raft, WDB_MUTATION_ROUND_ANY_TERM)) {
            answer.term = message->term;
        }
        if (message->term <= term) {
            (void)wdb_raft_send(raft, from, WDB_CHANNEL_CONTROL, &answer);
        }
        return;
    }
    if (message->term > term) {
        if (wdb_raft_is_leader(raft)) {
            hear_term(raft, from, message->term);
        }
        return;
    }
    if (message->term != term || !wdb_raft_is_leader(raft) || peer == NULL ||
        raft->round_active == 0 ||
        (message->round.round != raft->round_active &&
         !WDB_RAFT_MUTATED(raft, WDB_MUTATION_ROUND_OLD))) {
        return;
    }
    peer->round_answered = raft->round_active;
    count_round(raft);
    wdb_raft_round_turn(raft);
}

/* --- for workers -------------------------------------------------------------------- */

uint64_t wdb_raft_round(const struct wdb_raft *raft)
{
    return atomic_load_explicit(&raft->gate.round, memory_order_acquire);
}

uint64_t wdb_raft_round_done(const struct wdb_raft *raft)
{
    return atomic_load_explicit(&raft->gate.round_done, memory_order_acquire);
}

void wdb_raft_ask_round(struct wdb_raft *raft)
{
    if (!atomic_exchange(&raft->round_asked, true)) {
        wdb_raft_want_turn(raft);
    }
}
