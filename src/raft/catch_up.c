/*
 * catch_up.c - snapshots: for peers that the log cannot feed any more, and from
 * the leader if we are such a peer.
 *
 * At the leader one source for each peer: made by the store's backup, off the
 * raft thread, offered until the peer fetches, thrown away when its match has
 * passed it. The log behind it is kept as long as it is needed (pinned).
 * At the follower one sink. When it is done, workers are sent away (is_loading),
 * the store is replaced, and only then is the core told.
 */
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "base/least.h"
#include "raft/raft_internal.h"

#define OFFER_AGAIN_NS ((uint64_t)500 * (uint64_t)WDB_NS_PER_MS)
#define SILENCE_NS_MAX ((uint64_t)60 * (uint64_t)WDB_NS_PER_S)
/* It has all, and checks and loads it: many keys take long. */
#define LOADING_NS_MAX ((uint64_t)1800 * (uint64_t)WDB_NS_PER_S)
/* The log behind a snapshot is kept until it is as long as the snapshot, or so
 * many times what is retained anyway; and not if the disk is full. */
#define PIN_MAX_OF_RETAINED 8

/* --- what the two ends ask of us ------------------------------------------------ */

/* One for each end; the end knows nothing of peers and terms. */
struct end {
    struct wdb_raft *raft;
    wdb_node_id peer;
};

static bool end_send(void *context, struct wdb_message *message)
{
    const struct end *end = context;
    message->term = wdb_core_term(end->raft->core);
    return wdb_raft_send(end->raft, end->peer, WDB_CHANNEL_TRANSFER, message);
}

static void end_run_off_loop(void *context, void (*work)(void *),
                             void (*done)(void *), void *arg)
{
    const struct end *end = context;
    const struct wdb_peers *peers = end->raft->options.peers;
    peers->ops->run_off_loop(peers->context, work, done, arg);
}

static uint64_t end_now(void *context)
{
    const struct end *end = context;
    return wdb_raft_now_ns(end->raft);
}

static void end_on_work(void *context)
{
    const struct end *end = context;
    wdb_raft_want_turn(end->raft);
}

static void end_gone(void *context)
{
    struct end *end = context;
    end->raft->ends_open--;
    free(end);
}

static struct end *make_end(struct wdb_raft *raft, wdb_node_id peer,
                            struct wdb_transfer_owner *owner)
{
    struct end *end = malloc(sizeof(*end));
    if (end != NULL) {
        *end = (struct end){.raft = raft, .peer = peer};
        *owner = (struct wdb_transfer_owner){
            .send = end_send,
            .run_off_loop = end_run_off_loop,
            .now_ns = end_now,
            .on_work = end_on_work,
            .context = end,
        };
    }
    return end;
}

/* --- the leader's end ------------------------------------------------------------- */

void wdb_raft_offer(struct wdb_raft *raft, wdb_node_id to)
{
    struct wdb_raft_peer *peer = wdb_raft_peer_of(raft, to);
    struct wdb_transfer_source_options options = {
        .store = raft->store,
        .logger = raft->options.logger,
        .rate = raft->options.transfer_rate,
    };
    /* A leader that does not serve yet, too: it may need this peer to commit
     * its first entry. */
    if (peer == NULL || peer->source != NULL || !wdb_raft_is_leader(raft)) {
        return; /* the core asks again */
    }
    struct end *end = make_end(raft, to, &options.owner);
    if (end == NULL) {
        return;
    }
    options.number = wdb_random_next(&raft->random);
    if (wdb_transfer_source_new(&options, &peer->source) != 0) {
        peer->source = NULL;
        free(end);
        return;
    }
    /* Nothing behind what the snapshot will at least have is given up. */
    if (raft->pinned == 0) {
        raft->pinned = raft->committed;
    }
    peer->source_end = end;
    peer->pinned_bytes = raft->bytes_committed;
    raft->ends_open++;
    raft->publish = true;
    wdb_raft_say(raft, WDB_LOG_NOTICE,
                 "node %016llx is too far behind for the log: making a "
                 "snapshot for it",
                 (unsigned long long)to);
}

void wdb_raft_catch_up_stop_peer(struct wdb_raft *raft,
                                 struct wdb_raft_peer *peer)
{
    if (peer->source != NULL) {
        wdb_transfer_source_stop(peer->source, end_gone, peer->source_end);
        peer->source = NULL;
        peer->source_end = NULL;
        raft->publish = true;
    }
}

void wdb_raft_catch_up_lost(struct wdb_raft *raft)
{
    for (size_t i = 0; i < WDB_COUNT(raft->peers); i++) {
        wdb_raft_catch_up_stop_peer(raft, &raft->peers[i]);
    }
    raft->pinned = 0;
}

/* What of Raft belongs to the index that the snapshot ends with. */
static int describe(struct wdb_raft *raft, uint64_t index,
                    struct wdb_buffer *out)
{
    struct wdb_entry_header entry = {.term = raft->base.term};
    struct wdb_raft_base base = {
        .index = index,
        .members_index = raft->members_committed_index,
        .members = raft->members_committed,
    };
    if (index < raft->base.index || raft->members_committed_index > index) {
        return WALKERDB_EABORTED; /* a newer one is made */
    }
    int code = wdb_raft_hash_at(raft, index, &base.state_hash);
    if (code == 0 && index > raft->base.index) {
        code = wdb_log_entry_header(raft->log, index, &entry);
    }
    if (code != 0) {
        return code;
    }
    base.term = entry.term;
    return wdb_raft_base_encode(&base, out);
}

static bool set_base(struct wdb_raft *raft, struct wdb_raft_peer *peer)
{
    struct wdb_transfer_progress progress;
    struct wdb_buffer bytes;
    wdb_buffer_init(&bytes);
    int code = describe(raft, wdb_transfer_source_index(peer->source), &bytes);
    if (code == 0) {
        code = wdb_transfer_source_set_base(peer->source,
                                            wdb_slice(bytes.data, bytes.size));
    }
    wdb_buffer_release(&bytes);
    wdb_transfer_source_progress(peer->source, &progress);
    peer->snapshot_size = progress.total;
    return code == 0;
}

static void offer(struct wdb_raft *raft, struct wdb_raft_peer *peer)
{
    struct wdb_message message;
    const uint64_t now = wdb_raft_now_ns(raft);
    if (now - peer->offered_ns < OFFER_AGAIN_NS) {
        return;
    }
    peer->offered_ns = now;
    wdb_transfer_source_offer(peer->source, &message);
    message.term = wdb_core_term(raft->core);
    (void)wdb_raft_send(raft, peer->id, WDB_CHANNEL_TRANSFER, &message);
}

/* May the log behind the peer's snapshot be kept any longer? */
static bool may_pin(const struct wdb_raft *raft,
                    const struct wdb_raft_peer *peer)
{
    const uint64_t usual = PIN_MAX_OF_RETAINED * raft->options.retained_size;
    const uint64_t max =
        peer->snapshot_size > usual ? peer->snapshot_size : usual;
    return raft->bytes_committed - peer->pinned_bytes <= max &&
           !wdb_log_is_full(raft->log);
}

/* Has nothing been heard for so long that it must be given up? */
static bool is_silent(const struct wdb_raft_peer *peer, uint64_t now_ns)
{
    struct wdb_transfer_progress progress;
    wdb_transfer_source_progress(peer->source, &progress);
    return now_ns > wdb_transfer_source_heard_ns(peer->source) +
                        (progress.done < progress.total ? SILENCE_NS_MAX
                                                        : LOADING_NS_MAX);
}

/* A source's turn; returns when it wants the next. */
static uint64_t source_turn(struct wdb_raft *raft, struct wdb_raft_peer *peer)
{
    const uint64_t now = wdb_raft_now_ns(raft);
    enum wdb_transfer_source_state state =
        wdb_transfer_source_state(peer->source);
    if (state == WDB_SOURCE_MADE && !set_base(raft, peer)) {
        wdb_raft_catch_up_stop_peer(raft, peer);
        return now;
    }
    state = wdb_transfer_source_state(peer->source);
    if (state == WDB_SOURCE_FAILED) {
        wdb_raft_say(raft, WDB_LOG_WARNING,
                     "the snapshot for node %016llx failed: %s; it is tried "
                     "again",
                     (unsigned long long)peer->id,
                     walkerdb_strerror(
                         wdb_transfer_source_error(peer->source)));
        wdb_raft_catch_up_stop_peer(raft, peer);
        return UINT64_MAX;
    }
    if (state != WDB_SOURCE_READY) {
        return UINT64_MAX;
    }
    if (wdb_core_match(raft->core, peer->id) >=
        wdb_transfer_source_index(peer->source)) {
        raft->snapshots_sent++;
        wdb_pace_ended(&raft->pace, false);
        peer->pinned = true;
        peer->pinned_bytes = raft->bytes_committed;
        wdb_raft_say(raft, WDB_LOG_NOTICE,
                     "node %016llx has installed its snapshot",
                     (unsigned long long)peer->id);
        wdb_raft_catch_up_stop_peer(raft, peer);
        return UINT64_MAX;
    }
    const bool silent = is_silent(peer, now);
    if (silent || !may_pin(raft, peer)) {
        if (!silent) {
            wdb_pace_ended(&raft->pace, true);
        }
        wdb_raft_say(raft, WDB_LOG_WARNING,
                     "node %016llx does not fetch its snapshot, or too slowly: "
                     "the log behind it is not kept any longer",
                     (unsigned long long)peer->id);
        wdb_raft_catch_up_stop_peer(raft, peer);
        return UINT64_MAX;
    }
    if (raft->options.transfer_rate == 0) {
        const uint64_t rate = wdb_pace_rate(&raft->pace, now);
        const uint64_t share = raft->sources > 1 ? raft->sources : 1;
        wdb_transfer_source_set_rate(peer->source, rate / share);
    }
    offer(raft, peer);
    const uint64_t wanted = wdb_transfer_source_run(peer->source);
    const uint64_t again = peer->offered_ns + OFFER_AGAIN_NS;
    return wanted < again ? wanted : again;
}

/* --- the follower's end --------------------------------------------------------------- */

int wdb_raft_catch_up_init(struct wdb_raft *raft)
{
    struct wdb_transfer_sink_options options = {
        .env = raft->env,
        .dir = wdb_log_dir(raft->log),
        .store = raft->store,
        .logger = raft->options.logger,
#ifdef WDB_MUTATIONS
        .mutations = raft->options.mutations,
#endif
    };
    raft->sink_end = make_end(raft, 0, &options.owner);
    if (raft->sink_end == NULL) {
        return WALKERDB_ENOMEM;
    }
    const int code = wdb_transfer_sink_new(&options, &raft->sink);
    if (code != 0) {
        free(raft->sink_end);
        raft->sink_end = NULL;
        raft->sink = NULL;
    }
    return code;
}

void wdb_raft_catch_up_release(struct wdb_raft *raft)
{
    wdb_raft_catch_up_lost(raft);
    if (raft->sink != NULL) {
        raft->ends_open++;
        wdb_transfer_sink_stop(raft->sink, end_gone, raft->sink_end);
        raft->sink = NULL;
    }
}

/* Have all workers leave what they are doing: those that come later see the
 * flag. They are in the log's epoch while they touch keys. */
static void send_workers_away(struct wdb_raft *raft)
{
    atomic_store(&raft->gate.is_loading, true);
    wdb_epoch_wait(wdb_log_epoch(raft->log));
}

/* The base of a snapshot that is DONE; is it one that we want? */
static bool wants(struct wdb_raft *raft, const struct wdb_raft_base *base,
                  const struct wdb_transfer_snapshot *snapshot)
{
    return base->index == snapshot->index && base->term == snapshot->term &&
           (WDB_RAFT_MUTATED(raft, WDB_MUTATION_SNAPSHOT_STALE) ||
            (base->index > raft->committed &&
             wdb_raft_term_at(raft, base->index) != base->term)) &&
           wdb_core_role(raft->core) == WDB_CORE_FOLLOWER &&
           wdb_core_leader(raft->core) == snapshot->from &&
           (raft->identity->cluster_id == 0 ||
            raft->identity->cluster_id == base->members.cluster_id);
}

static int install(struct wdb_raft *raft, struct wdb_raft_base *base,
                   const struct wdb_transfer_snapshot *snapshot)
{
    int code = wdb_raft_adopt(raft, base->members.cluster_id);
    if (code == 0) {
        code = wdb_store_install_switch(wdb_transfer_sink_take(raft->sink),
                                        snapshot->base);
    }
    return code;
}

/* The store holds the snapshot: everything here follows. */
static int follow(struct wdb_raft *raft, struct wdb_raft_base *base,
                  wdb_node_id leader)
{
    memset(raft->hashes, 0, sizeof(raft->hashes));
    memset(raft->hashes_far, 0, sizeof(raft->hashes_far));
    raft->index_checked = base->index;
    raft->core_committed = raft->committed = raft->applied = base->index;
    raft->submitted = base->index;
    raft->state_hash = base->state_hash;
    raft->checkpoint_count = 0;
    raft->bytes_checked = raft->bytes_committed;
    raft->core_base = base->index;
    raft->snapshots_installed++;
    int code = wdb_members_copy(&base->members, &raft->members);
    if (code == 0) {
        code = wdb_members_copy(&base->members, &raft->members_committed);
    }
    raft->members_index = raft->members_committed_index = base->members_index;
    if (code == 0) {
        code =
            wdb_core_installed(raft->core, wdb_raft_now_ms(raft), leader, base);
    }
    wdb_raft_base_release(&raft->base);
    raft->base = *base;
    wdb_members_init(&base->members);
    wdb_raft_apply_members(raft);
    return code;
}

static void install_done(struct wdb_raft *raft)
{
    struct wdb_transfer_snapshot snapshot;
    struct wdb_raft_base base = {0};
    wdb_members_init(&base.members);
    wdb_transfer_sink_snapshot(raft->sink, &snapshot);
    int code =
        wdb_raft_base_decode(snapshot.base.data, snapshot.base.size, &base);
    if (code != 0 || !wants(raft, &base, &snapshot)) {
        wdb_raft_base_release(&base);
        wdb_transfer_sink_reset(raft->sink);
        return;
    }
    const wdb_node_id leader = snapshot.from;
    send_workers_away(raft);
    raft->publish = true;
    wdb_raft_publish(raft);
    code = install(raft, &base, &snapshot);
    if (code != 0 && wdb_log_failure(raft->log) != 0) {
        /* Switched, but not loaded: nobody may look at what is there. */
        wdb_raft_base_release(&base);
        wdb_raft_fail(raft, code, "a snapshot could not be loaded: %s",
                      walkerdb_strerror(code));
        return;
    }
    if (code == WALKERDB_ECORRUPT || code == WALKERDB_ENOSPACE ||
        code == WALKERDB_ENOMEM) {
        wdb_raft_say(raft, WDB_LOG_WARNING,
                     "a snapshot was not installed: %s; the leader will offer "
                     "another one",
                     walkerdb_strerror(code));
    } else if (code == 0) {
        code = follow(raft, &base, leader);
        wdb_raft_say(raft, WDB_LOG_NOTICE,
                     "a snapshot up to entry %llu is installed",
                     (unsigned long long)raft->base.index);
        wdb_raft_check(raft, code, "a snapshot");
    } else {
        wdb_raft_fail(raft, code, "a snapshot could not be installed: %s",
                      walkerdb_strerror(code));
    }
    wdb_raft_base_release(&base);
    atomic_store(&raft->gate.is_loading, false);
    wdb_transfer_sink_reset(raft->sink);
    wdb_raft_tell_gate(raft);
}

/* --- both ------------------------------------------------------------------------------- */

/* Is everything of it in our log, and durable? */
static bool has_all(struct wdb_raft *raft, const struct wdb_message *offer)
{
    return offer->offer.index <= raft->committed ||
           (offer->offer.index <= wdb_log_durable(raft->log) &&
            wdb_raft_term_at(raft, offer->offer.index) ==
                offer->offer.index_term);
}

/* Our leader offers what we have: the answer was lost. */
static void answer_again(struct wdb_raft *raft, wdb_node_id leader,
                         const struct wdb_message *offer)
{
    struct wdb_message answer = {
        .kind = WDB_MESSAGE_APPEND_RESULT,
        .term = wdb_core_term(raft->core),
    };
    answer.append_result.request_term = offer->term;
    answer.append_result.last_index = offer->offer.index;
    (void)wdb_raft_send(raft, leader, WDB_CHANNEL_CONTROL, &answer);
}

void wdb_raft_transfer_receive(struct wdb_raft *raft, wdb_node_id from,
                               const struct wdb_message *message)
{
    struct wdb_raft_peer *peer = wdb_raft_peer_of(raft, from);
    if (message->kind == WDB_MESSAGE_FETCH) {
        struct wdb_message answer;
        if (peer != NULL && peer->source != NULL) {
            wdb_transfer_source_receive(peer->source, message);
        } else {
            wdb_transfer_refuse(message, &answer);
            answer.term = wdb_core_term(raft->core);
            (void)wdb_raft_send(raft, from, WDB_CHANNEL_TRANSFER, &answer);
        }
    } else if (message->kind == WDB_MESSAGE_OFFER &&
               (message->term != wdb_core_term(raft->core) ||
                wdb_core_leader(raft->core) != from)) {
        return;
    } else if (message->kind == WDB_MESSAGE_OFFER && has_all(raft, message)) {
        answer_again(raft, from, message);
    } else {
        struct end *end = raft->sink_end;
        if (message->kind == WDB_MESSAGE_OFFER) {
            end->peer = from;
        }
        if (end->peer == from) {
            wdb_transfer_sink_receive(raft->sink, from, message);
        }
    }
    wdb_raft_want_turn(raft);
}

/* The entry behind which the log is kept for this peer; UINT64_MAX: none. */
static uint64_t pin_of(struct wdb_raft *raft, struct wdb_raft_peer *peer)
{
    if (peer->source != NULL) {
        return wdb_transfer_source_state(peer->source) == WDB_SOURCE_MAKING
                   ? raft->base.index + 1
                   : wdb_transfer_source_index(peer->source);
    }
    /* What came while it fetched and loaded its snapshot may be more than is
     * retained: without it the next snapshot would be due at once. */
    const uint64_t match = wdb_core_match(raft->core, peer->id);
    peer->pinned = peer->pinned &&
                   match + WDB_RAFT_PROMOTE_LAG < raft->committed &&
                   may_pin(raft, peer);
    return peer->pinned ? match : UINT64_MAX;
}

uint64_t wdb_raft_catch_up_turn(struct wdb_raft *raft)
{
    uint64_t wanted = UINT64_MAX, pinned = UINT64_MAX;
    uint32_t sources = 0;
    for (size_t i = 0; i < WDB_COUNT(raft->peers) && !raft->failed; i++) {
        struct wdb_raft_peer *peer = &raft->peers[i];
        if (peer->source != NULL) {
            wanted = wdb_least(wanted, source_turn(raft, peer));
        }
        if (peer->id != 0) {
            sources += peer->source != NULL;
            pinned = wdb_least(pinned, pin_of(raft, peer));
        }
    }
    raft->pinned = pinned == UINT64_MAX ? 0 : pinned;
    raft->sources = sources;
    if (wdb_transfer_sink_state(raft->sink) == WDB_SINK_DONE) {
        install_done(raft);
    }
    return raft->failed ? UINT64_MAX
                        : wdb_least(wanted, wdb_transfer_sink_run(raft->sink));
}
