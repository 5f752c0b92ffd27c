/*
 * status.c - what other threads may look at: atomics, and a copy that the raft
 * thread makes now and then.
 */
#include <string.h>

#include "raft/raft_internal.h"

static enum wdb_raft_role role_of(const struct wdb_raft *raft)
{
    if (raft->removed) {
        return WDB_RAFT_REMOVED;
    }
    switch (wdb_core_role(raft->core)) {
    case WDB_CORE_LEADER:
        return WDB_RAFT_LEADER;
    case WDB_CORE_CANDIDATE:
        return WDB_RAFT_CANDIDATE;
    default:
        return raft->members.count == 0 ? WDB_RAFT_UNJOINED : WDB_RAFT_FOLLOWER;
    }
}

static void fill_leader(const struct wdb_raft *raft,
                        struct wdb_raft_leader *out)
{
    const struct wdb_member *leader =
        wdb_members_find(&raft->members, raft->leader_shown);
    memset(out, 0, sizeof(*out));
    out->term = wdb_core_term(raft->core);
    if (leader != NULL) {
        out->id = leader->id;
        out->is_self = leader->id == raft->self;
        memcpy(out->name, leader->name, sizeof(out->name));
        memcpy(out->raft_address, leader->raft_address,
               sizeof(out->raft_address));
        memcpy(out->tcp_address, leader->tcp_address, sizeof(out->tcp_address));
    }
}

static void fill_peer(struct wdb_raft *raft, const struct wdb_member *member,
                      struct wdb_raft_peer_status *out)
{
    const struct wdb_raft_peer *peer = wdb_raft_peer_of(raft, member->id);
    struct wdb_transfer_progress progress = {0};
    memset(out, 0, sizeof(*out));
    out->member = *member;
    out->is_self = member->id == raft->self;
    out->last_contact_ms = -1;
    out->match_index = wdb_core_match(raft->core, member->id);
    if (out->match_index != 0) {
        out->lag = wdb_log_index_last(raft->log) - out->match_index;
    }
    if (out->is_self) {
        out->is_connected = true;
        out->last_contact_ms = 0;
        const enum wdb_transfer_sink_state state =
            wdb_transfer_sink_state(raft->sink);
        out->transfer_running =
            state != WDB_SINK_IDLE && state != WDB_SINK_FAILED;
        wdb_transfer_sink_progress(raft->sink, &progress);
    } else if (peer != NULL) {
        out->is_connected = peer->is_connected;
        if (peer->heard_ns != 0) {
            out->last_contact_ms =
                (int64_t)((wdb_raft_now_ns(raft) - peer->heard_ns) /
                          (uint64_t)WDB_NS_PER_MS);
        }
        if (peer->source != NULL) {
            out->transfer_running = true;
            wdb_transfer_source_progress(peer->source, &progress);
        }
    }
    out->transfer_done = progress.done;
    out->transfer_total = progress.total;
    out->transfer_rate = progress.rate;
}

static void fill(struct wdb_raft *raft, struct wdb_raft_status *s)
{
    s->role = role_of(raft);
    s->serves = wdb_raft_gate_serves(&raft->gate);
    s->is_loading = atomic_load(&raft->gate.is_loading);
    s->is_transferring = raft->transfer != NULL;
    s->term = wdb_core_term(raft->core);
    s->era = wdb_raft_gate_era(&raft->gate);
    s->self = raft->self;
    s->voted_for = wdb_core_voted_for(raft->core);
    s->cluster_id = raft->identity->cluster_id;
    s->index_committed = raft->committed;
    s->index_applied = raft->applied;
    s->index_retained = raft->base.index + 1;
    s->snapshot_index = raft->base.index;
    s->state_hash = raft->state_hash;
    s->elections = raft->elections;
    s->terms_led = raft->terms_led;
    s->rounds = raft->round_count;
    s->leader_changes = raft->leader_changes;
    s->truncations = raft->truncations;
    s->snapshots_sent = raft->snapshots_sent;
    s->snapshots_installed = raft->snapshots_installed;
    s->configuration_index = raft->members_index;
    s->configuration_pending = raft->members_index > raft->committed;
    s->election_timeout_ms = raft->options.election_timeout_ms;
    s->heartbeat_ms = raft->options.heartbeat_ms;
    fill_leader(raft, &s->leader);
    s->peer_count = raft->members.count;
    for (uint32_t i = 0; i < raft->members.count; i++) {
        fill_peer(raft, &raft->members.members[i], &s->peers[i]);
    }
}

void wdb_raft_publish(struct wdb_raft *raft)
{
    raft->publish = false;
    raft->published_ns = wdb_raft_now_ns(raft);
    pthread_mutex_lock(&raft->status_lock);
    fill(raft, &raft->status);
    /* Without memory the others see the members of before. */
    (void)!wdb_members_copy(&raft->members, &raft->members_shown);
    pthread_mutex_unlock(&raft->status_lock);
}

/* --- for other threads --------------------------------------------------------- */

static pthread_mutex_t *lock_of(const struct wdb_raft *raft)
{
    return (pthread_mutex_t *)(uintptr_t)&raft->status_lock;
}

void wdb_raft_status(struct wdb_raft *raft, struct wdb_raft_status *out)
{
    pthread_mutex_lock(&raft->status_lock);
    *out = raft->status;
    pthread_mutex_unlock(&raft->status_lock);
    out->index_last = wdb_log_index_last(raft->log);
    out->index_durable = wdb_log_durable(raft->log);
    out->serves = wdb_raft_gate_serves(&raft->gate);
    out->uncommitted_size = atomic_load(&raft->uncommitted_size);
}

void wdb_raft_members(struct wdb_raft *raft, struct wdb_members *out)
{
    pthread_mutex_lock(&raft->status_lock);
    (void)!wdb_members_copy(&raft->members_shown, out);
    pthread_mutex_unlock(&raft->status_lock);
}

void wdb_raft_leader(const struct wdb_raft *raft, struct wdb_raft_leader *out)
{
    pthread_mutex_lock(lock_of(raft));
    *out = raft->status.leader;
    pthread_mutex_unlock(lock_of(raft));
}

uint64_t wdb_raft_leader_version(const struct wdb_raft *raft)
{
    return atomic_load(&raft->gate.leader_version);
}

uint32_t wdb_raft_count_match(struct wdb_raft *raft, uint64_t index)
{
    uint32_t count = 0;
    if (!wdb_raft_gate_serves(&raft->gate)) {
        return 0;
    }
    pthread_mutex_lock(&raft->status_lock);
    for (uint32_t i = 0; i < raft->status.peer_count; i++) {
        const struct wdb_raft_peer_status *peer = &raft->status.peers[i];
        const uint64_t match =
            peer->is_self ? wdb_log_durable(raft->log) : peer->match_index;
        count += peer->member.role == WDB_MEMBER_VOTER && match >= index;
    }
    pthread_mutex_unlock(&raft->status_lock);
    return count;
}

struct wdb_raft_gate *wdb_raft_gate(struct wdb_raft *raft)
{
    return &raft->gate;
}

bool wdb_raft_serves(const struct wdb_raft *raft)
{
    return wdb_raft_gate_serves(&raft->gate);
}

uint64_t wdb_raft_era(const struct wdb_raft *raft)
{
    return wdb_raft_gate_era(&raft->gate);
}

int wdb_raft_admit(const struct wdb_raft *raft, size_t size)
{
    const uint64_t waiting =
        atomic_load_explicit(&raft->uncommitted_size, memory_order_relaxed);
    /* One write alone may be larger than the limit. */
    return waiting != 0 && waiting + size > raft->options.uncommitted_size_max
               ? WALKERDB_EBUSY
               : 0;
}

bool wdb_raft_is_loading(const struct wdb_raft *raft)
{
    return atomic_load(&raft->gate.is_loading);
}

uint64_t wdb_raft_leader_seen_ns(const struct wdb_raft *raft)
{
    const uint64_t seen = atomic_load(&raft->gate.leader_seen_ns);
    return seen != 0 ? seen : wdb_raft_now_ns(raft);
}
