/*
 * core.c - libraft (0.22) through raft_step alone, and what must be kept from it
 * (messages: core_receive.c). Guards of both files, each with a test in test/unit/test_raft_core.c:
 *
 *   G1  A reply to a message of an older term has uninitialised fields and can
 *       read as success: such messages never reach the core, they are answered
 *       here; and results are dropped that answer a message of another term.
 *   G2  A CHANGE that is not the first entry of a message is recorded at the
 *       wrong index: messages are split in front of each.
 *   G3  A refused submit leaves entries behind: a CHANGE is submitted alone,
 *       after what could refuse it was looked at; any refusal is fatal.
 *   G4  Who owns which memory differs between versions: it is decided in
 *       these files only, for the version that they were built with.
 *   G5  Asserts that a peer's message could reach: an APPEND or OFFER of our
 *       own term while we lead; results of votes that were not asked for, or
 *       with impossible terms; positions without terms.
 *   G6  A sole voter becomes leader in the term that it has. A leader of that
 *       term (it itself before a crash, or another one that was removed) may
 *       have sent entries that were lost: it gets a new term first.
 *   G7  Completions of syncs are clipped to what the core has, and only grow.
 *   G8  The core formats its trace messages into a static buffer even if nobody
 *       wants them: there is no tracer.
 *   G9  Pre-vote is off by default, and 32 entries in flight are too few.
 *   G10 The RAFT_UPDATE_ macros lack parentheses: they are wrapped.
 *   G11 A committed configuration is told at once: see settle_configuration.
 *   G12 A server without a vote in the configuration that it knows grants none,
 *       and never gives up its leader: a standby that is made a voter, and was
 *       not sent that in time, could keep a cluster without leader for ever. For
 *       a request of a vote it has one, and has a leader only while it hears it.
 *   G13 The core's committed index falls when a message that ends below it names
 *       a higher one; then it would let what is committed be replaced.
 *   G14 It cannot go back from the first configuration of all: that one counts
 *       as committed as soon as it is here, begins the log, and stays.
 *   G15 It adds one to terms without looking: there is a greatest one.
 *   G16 Entries from before those that it still has are taken for new ones: what
 *       it has is cut off the front of a message.
 *   G17 Told to, a sole voter leads the term that it has (as in G6).
 *   G18 A peer that rejects what it has acknowledged (late, or after it lost it)
 *       would be sent nothing any more.
 *   G19 Asked for a pre-vote in a term that is over, it says no without saying
 *       its own term. Two halves, one with the later term, the other with the
 *       longer log, would refuse each other for ever.
 *   G20 A CHANGE that is the first to tell that the one before it is committed is
 *       recorded before the core learns that, which then goes back two if it is
 *       replaced: see is_proven.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "raft/core_internal.h"
#include "raft/mutations.h"
#include "raft/raft.h"
#include "walkerdb.h"

enum {
    UPDATE_VOTE = (RAFT_UPDATE_CURRENT_TERM) | (RAFT_UPDATE_VOTED_FOR),
    UPDATE_ENTRIES = (RAFT_UPDATE_ENTRIES),
    UPDATE_SNAPSHOT = (RAFT_UPDATE_SNAPSHOT),
    UPDATE_MESSAGES = (RAFT_UPDATE_MESSAGES),
    UPDATE_STATE = (RAFT_UPDATE_STATE),
    UPDATE_COMMITTED = (RAFT_UPDATE_COMMIT_INDEX),
};

#define ADDRESS_FORMAT "%016llx"
/* While a snapshot is on its way to a peer the core takes a rejection for stale
 * unless it names that snapshot, which it does not when the core's own has moved
 * on: so it has to look again by itself. What is under way is not begun anew by
 * that. */
#define SNAPSHOT_TIME_MS 1000

/* --- conversions ----------------------------------------------------------- */

void wdb_core_make_address(wdb_node_id id, char out[WDB_CORE_ADDRESS_SIZE])
{
    snprintf(out, WDB_CORE_ADDRESS_SIZE, ADDRESS_FORMAT,
             (unsigned long long)id);
}

/* *out is to be closed, or handed over. */
static int make_configuration(const struct wdb_members *members,
                              struct raft_configuration *out)
{
    raft_configuration_init(out);
    for (uint32_t i = 0; i < members->count; i++) {
        const struct wdb_member *member = &members->members[i];
        char address[WDB_CORE_ADDRESS_SIZE];
        wdb_core_make_address(member->id, address);
        const int rv = raft_configuration_add(out, member->id, address,
                                              member->role == WDB_MEMBER_VOTER
                                                  ? RAFT_VOTER
                                                  : RAFT_STANDBY);
        if (rv != 0) {
            raft_configuration_close(out);
            wdb_assert(rv == RAFT_NOMEM);
            return WALKERDB_ENOMEM;
        }
    }
    return 0;
}

/* The bytes in which the core wants a configuration; raft_free() them. */
int wdb_core_encode_configuration(const struct wdb_members *members,
                                  struct raft_buffer *out)
{
    struct raft_configuration configuration;
    int code = make_configuration(members, &configuration);
    if (code == 0) {
        code = raft_configuration_encode(&configuration, out) == 0
                   ? 0
                   : WALKERDB_ENOMEM;
        raft_configuration_close(&configuration);
    }
    return code;
}

static int make_metadata(const struct wdb_raft_base *base,
                         struct raft_snapshot_metadata *out)
{
    *out = (struct raft_snapshot_metadata){
        .index = base->index,
        .term = base->term,
        .configuration_index = base->members_index,
    };
    return make_configuration(&base->members, &out->configuration);
}

enum raft_entry_type wdb_core_entry_type(enum wdb_entry_type type)
{
    return type == WDB_ENTRY_CHANGE    ? RAFT_CHANGE
           : type == WDB_ENTRY_BARRIER ? RAFT_BARRIER
                                       : RAFT_COMMAND;
}

/* --- one step -------------------------------------------------------------- */

static enum wdb_core_role role_of(int state)
{
    return state == RAFT_LEADER      ? WDB_CORE_LEADER
           : state == RAFT_CANDIDATE ? WDB_CORE_CANDIDATE
                                     : WDB_CORE_FOLLOWER;
}

void wdb_core_send(struct wdb_core *core, wdb_node_id to,
                   struct wdb_message *message)
{
    message->to = to;
    core->options.callbacks->send(core->options.context, to, message);
}

static void send_message(struct wdb_core *core, const struct raft_message *m,
                         uint64_t request_term)
{
    struct wdb_message out = {.term = core->raft.current_term};
    switch (m->type) {
    case RAFT_REQUEST_VOTE:
        out.kind = WDB_MESSAGE_VOTE;
        out.term = m->request_vote.term;
        out.vote.last_index = m->request_vote.last_log_index;
        out.vote.last_term = m->request_vote.last_log_term;
        out.vote.disrupt_leader = m->request_vote.disrupt_leader;
        out.vote.pre_vote = m->request_vote.pre_vote;
        break;
    case RAFT_REQUEST_VOTE_RESULT:
        out.kind = WDB_MESSAGE_VOTE_RESULT;
        out.term = m->request_vote_result.term;
        if (m->request_vote_result.pre_vote &&
            !m->request_vote_result.vote_granted) {
            out.term = core->raft.current_term; /* G19 */
        }
        out.vote_result.request_term = request_term;
        out.vote_result.granted = m->request_vote_result.vote_granted;
        out.vote_result.pre_vote = m->request_vote_result.pre_vote;
        break;
    case RAFT_APPEND_ENTRIES:
        out.kind = WDB_MESSAGE_APPEND;
        out.term = m->append_entries.term;
        out.append.previous_index = m->append_entries.prev_log_index;
        out.append.previous_term = m->append_entries.prev_log_term;
        out.append.committed = m->append_entries.leader_commit;
        out.append.entry_count = m->append_entries.n_entries;
        break;
    case RAFT_APPEND_ENTRIES_RESULT:
        out.kind = WDB_MESSAGE_APPEND_RESULT;
        out.term = m->append_entries_result.term;
        /* A completed sync answers the leader of the current term. */
        out.append_result.request_term = out.term;
        out.append_result.rejected = m->append_entries_result.rejected;
        out.append_result.last_index = m->append_entries_result.last_log_index;
        break;
    case RAFT_TIMEOUT_NOW:
        out.kind = WDB_MESSAGE_TIMEOUT_NOW;
        out.term = m->timeout_now.term;
        out.timeout_now.last_index = m->timeout_now.last_log_index;
        out.timeout_now.last_term = m->timeout_now.last_log_term;
        break;
    case RAFT_INSTALL_SNAPSHOT:
        /* What is offered is the owner's: a snapshot of now, pinned. */
        out.kind = WDB_MESSAGE_OFFER;
        out.term = m->install_snapshot.term;
        break;
    default:
        return;
    }
    wdb_core_send(core, m->server_id, &out);
}

int wdb_core_fail(struct wdb_core *core, int code)
{
    core->failed = true;
    return code;
}

static int code_of(int rv)
{
    return rv == 0                ? 0
           : rv == RAFT_NOMEM     ? WALKERDB_ENOMEM
           : rv == RAFT_NOTLEADER ? WALKERDB_ENOTLEADER
           : rv == RAFT_NOTFOUND  ? WALKERDB_ENOTFOUND
           : rv == RAFT_BADID     ? WALKERDB_ENOTFOUND
                                  : WALKERDB_EABORTED;
}

static int store_vote(struct wdb_core *core)
{
    return core->options.callbacks->store_vote(core->options.context,
                                               core->raft.current_term,
                                               core->raft.voted_for);
}

/* Do what the core asked for, in the order that core.h names. */
static int follow_up(struct wdb_core *core, enum wdb_core_role before,
                     struct raft_update *update, uint64_t request_term)
{
    const struct wdb_core_callbacks *callbacks = core->options.callbacks;
    void *context = core->options.context;
    int code = 0;
    if (update->flags & UPDATE_VOTE) {
        code = store_vote(core);
    }
    const enum wdb_core_role role = role_of(core->raft.state);
    if (code == 0 && role != before) {
        callbacks->role_changed(context, before, role);
    }
    if (code == 0 && (update->flags & UPDATE_ENTRIES)) {
        struct raft_entry *entries = update->entries.batch;
        if (role == WDB_CORE_FOLLOWER) {
            code = callbacks->append(context, update->entries.index,
                                     update->entries.n);
        } else if (entries == &core->raft.barrier) {
            code = callbacks->append_barrier(context, update->entries.index);
        }
        raft_free(entries[0].batch); /* G4: the core keeps only terms */
        entries[0].batch = NULL;
    }
    if (code == 0 && (update->flags & UPDATE_MESSAGES)) {
        for (unsigned i = 0; i < update->messages.n; i++) {
            send_message(core, &update->messages.batch[i], request_term);
        }
    }
    if (code == 0 && (update->flags & UPDATE_COMMITTED)) {
        callbacks->committed(context, core->raft.commit_index);
    }
    return code == 0 ? 0 : wdb_core_fail(core, code);
}

static int step(struct wdb_core *core, struct raft_event *event,
                uint64_t request_term, int *rv_out)
{
    struct raft_update update;
    memset(&update, 0, sizeof(update));
    wdb_assert(!core->failed);
    event->time = core->now_ms;
    const enum wdb_core_role before = role_of(core->raft.state);
    const int rv = raft_step(&core->raft, event, &update);
    *rv_out = rv;
    if (rv != 0) {
        return 0;
    }
    return follow_up(core, before, &update, request_term);
}

/*
 * G11: A CHANGE that is committed becomes the core's committed configuration at
 * once. Told later, the core would forget it if the next one comes before that,
 * and have nothing to go back to.
 */
static int settle_configuration(struct wdb_core *core)
{
    const struct raft *raft = &core->raft;
    const uint64_t index = raft->configuration_uncommitted_index;
    const bool is_first = raft->configuration_committed_index == 0; /* G14 */
    return index != 0 && (index <= raft->commit_index || is_first)
               ? wdb_core_settle(core)
               : 0;
}

int wdb_core_settle(struct wdb_core *core)
{
    struct raft *raft = &core->raft;
    struct raft_event event = {.type = RAFT_CONFIGURATION};
    struct raft_buffer bytes;
    int rv = 0;
    if (raft_configuration_encode(&raft->configuration, &bytes) != 0) {
        return wdb_core_fail(core, WALKERDB_ENOMEM);
    }
    rv = raft_configuration_decode(&bytes, &event.configuration.conf);
    raft_free(bytes.base);
    if (rv != 0) {
        return wdb_core_fail(core, WALKERDB_ENOMEM);
    }
    event.configuration.index = raft->configuration_uncommitted_index;
    const int code = step(core, &event, raft->current_term, &rv);
    return code != 0 ? code : rv == 0 ? 0 : wdb_core_fail(core, code_of(rv));
}

/* A step that must succeed. */
int wdb_core_must_step(struct wdb_core *core, struct raft_event *event,
                       uint64_t request_term)
{
    int rv;
    const int code = step(core, event, request_term, &rv);
    if (code != 0 || rv != 0) {
        return code != 0 ? code : wdb_core_fail(core, code_of(rv));
    }
    return settle_configuration(core);
}

void wdb_core_set_now(struct wdb_core *core, uint64_t now_ms)
{
    if (now_ms > core->now_ms) {
        core->now_ms = now_ms; /* never back: the core asserts it */
    }
}

/* --- life ------------------------------------------------------------------ */

int wdb_core_new(const struct wdb_core_options *options, struct wdb_core **out)
{
    struct wdb_core *core = calloc(1, sizeof(*core));
    char address[WDB_CORE_ADDRESS_SIZE];
    if (core == NULL) {
        return WALKERDB_ENOMEM;
    }
    wdb_core_make_address(options->self, address);
    core->options = *options;
    core->now_ms = options->now_ms;
    if (raft_init(&core->raft, NULL, NULL, options->self, address) != 0) {
        free(core);
        return WALKERDB_ENOMEM;
    }
    core->raft.tracer = NULL;
    core->raft.now = core->now_ms;
    raft_seed(&core->raft, options->seed);
    raft_set_election_timeout(&core->raft, options->election_timeout_ms);
    raft_set_heartbeat_timeout(&core->raft, options->heartbeat_ms);
    raft_set_install_snapshot_timeout(&core->raft, SNAPSHOT_TIME_MS);
    raft_set_pre_vote(&core->raft, true);
    raft_set_max_inflight_entries(&core->raft, WDB_RAFT_INFLIGHT_ENTRIES);
    *out = core;
    return 0;
}

void wdb_core_free(struct wdb_core *core)
{
    if (core != NULL) {
        raft_close(&core->raft, NULL);
        free(core);
    }
}

static bool is_sole_voter(const struct wdb_members *members, wdb_node_id id)
{
    const struct wdb_member *self = wdb_members_find(members, id);
    return self != NULL && self->role == WDB_MEMBER_VOTER &&
           wdb_members_voters(members) == 1;
}

/* The configuration that holds at the end of the log. */
static const struct wdb_members *last_members(const struct wdb_core_start *s)
{
    const struct wdb_members *members = s->members;
    for (uint32_t i = 0; i < s->entry_count; i++) {
        if (s->entries[i].type == WDB_ENTRY_CHANGE &&
            s->first_index + i > s->members_index) {
            members = s->entries[i].members;
        }
    }
    return members;
}

static int make_entries(const struct wdb_core_start *start,
                        struct raft_entry **out, void **batch_out)
{
    struct raft_entry *entries =
        raft_calloc(start->entry_count + 1, sizeof(*entries));
    void *batch = raft_malloc(8);
    int code = entries == NULL || batch == NULL ? WALKERDB_ENOMEM : 0;
    for (uint32_t i = 0; code == 0 && i < start->entry_count; i++) {
        entries[i].term = start->entries[i].term;
        entries[i].type = wdb_core_entry_type(start->entries[i].type);
        entries[i].batch = batch;
        if (entries[i].type == RAFT_CHANGE) {
            code = wdb_core_encode_configuration(start->entries[i].members,
                                                 &entries[i].buf);
        }
    }
    *out = entries;
    *batch_out = batch;
    return code;
}

void wdb_core_free_entries(struct raft_entry *entries, uint32_t count,
                           void *batch)
{
    for (uint32_t i = 0; entries != NULL && i < count; i++) {
        raft_free(entries[i].buf.base);
    }
    raft_free(entries);
    raft_free(batch);
}

int wdb_core_start(struct wdb_core *core, const struct wdb_core_start *start)
{
    struct raft_snapshot_metadata metadata;
    struct raft_entry *entries = NULL;
    void *batch = NULL;
    struct raft_event event = {.type = RAFT_START};
    event.start.term = start->term;
    event.start.voted_for = start->voted_for;
    event.start.start_index = 1;
    if (start->base_index == 0 && start->entry_count == 0) {
        /* Perhaps with a term: it heard of one before it got a log. */
        return wdb_core_must_step(core, &event, 0);
    }
    if (is_sole_voter(last_members(start), core->options.self)) {
        event.start.term++; /* G6 */
        event.start.voted_for = core->options.self;
        const int code = core->options.callbacks->store_vote(
            core->options.context, event.start.term, core->options.self);
        if (code != 0) {
            return wdb_core_fail(core, code);
        }
    }
    int code = make_entries(start, &entries, &batch);
    if (code == 0 && start->base_index != 0) {
        const struct wdb_raft_base base = {
            .index = start->base_index,
            .term = start->base_term,
            .members_index = start->members_index,
            .members = *start->members,
        };
        code = make_metadata(&base, &metadata);
        event.start.metadata = &metadata;
    }
    if (code != 0) {
        wdb_core_free_entries(entries, start->entry_count, batch);
        return wdb_core_fail(core, code);
    }
    event.start.start_index = start->first_index;
    event.start.entries = entries;
    event.start.n_entries = start->entry_count;
    code = wdb_core_must_step(core, &event, 0);
    wdb_core_free_entries(entries, start->entry_count, batch);
    return code;
}

/* --- time ------------------------------------------------------------------ */

uint64_t wdb_core_deadline_ms(const struct wdb_core *core)
{
    return raft_timeout(&core->raft);
}

static uint32_t voter_count(const struct raft_configuration *configuration)
{
    uint32_t count = 0;
    for (unsigned i = 0; i < configuration->n; i++) {
        count += configuration->servers[i].role == RAFT_VOTER;
    }
    return count;
}

bool wdb_core_is_voter(const struct wdb_core *core)
{
    const struct raft_configuration *configuration = &core->raft.configuration;
    for (unsigned i = 0; i < configuration->n; i++) {
        if (configuration->servers[i].id == core->options.self) {
            return configuration->servers[i].role == RAFT_VOTER;
        }
    }
    return false;
}

bool wdb_core_is_only_voter(const struct wdb_core *core)
{
    return wdb_core_is_voter(core) &&
           voter_count(&core->raft.configuration) == 1;
}

int wdb_core_tick(struct wdb_core *core, uint64_t now_ms)
{
    struct raft_event event = {.type = RAFT_TIMEOUT};
    wdb_core_set_now(core, now_ms);
    if (core->now_ms < wdb_core_deadline_ms(core)) {
        return 0;
    }
    if (core->raft.state == RAFT_FOLLOWER && wdb_core_is_only_voter(core) &&
        core->raft.last_stored == wdb_core_index_last(core)) {
        core->raft.current_term++; /* G6 */
        core->raft.voted_for = core->options.self;
        core->raft.follower_state.match = 0;
        const int code = store_vote(core);
        if (code != 0) {
            return wdb_core_fail(core, code);
        }
    }
    return wdb_core_must_step(core, &event, 0);
}

/* --- what the owner did ---------------------------------------------------- */

int wdb_core_persisted(struct wdb_core *core, uint64_t now_ms, uint64_t index)
{
    struct raft_event event = {.type = RAFT_PERSISTED_ENTRIES};
    const uint64_t last = wdb_core_index_last(core);
    wdb_core_set_now(core, now_ms);
    if (index > last) {
        index = last;
    }
    if (index <= core->raft.last_stored) {
        return 0;
    }
    event.persisted_entries.index = index;
    return wdb_core_must_step(core, &event, core->raft.current_term);
}

int wdb_core_submit(struct wdb_core *core, uint64_t now_ms, uint32_t count,
                    const struct wdb_core_entry *entry)
{
    struct raft_event event = {.type = RAFT_SUBMIT};
    struct raft_entry *entries = raft_calloc(count, sizeof(*entries));
    void *batch = raft_malloc(8);
    int code = entries == NULL || batch == NULL ? WALKERDB_ENOMEM : 0;
    wdb_core_set_now(core, now_ms);
    wdb_assert(count == 1 || entry->type == WDB_ENTRY_COMMAND); /* G3 */
    if (code == 0 && entry->type == WDB_ENTRY_CHANGE) {
        code = wdb_core_encode_configuration(entry->members, &entries[0].buf);
    }
    if (code != 0) {
        raft_free(entries);
        raft_free(batch);
        return wdb_core_fail(core, code);
    }
    for (uint32_t i = 0; i < count; i++) {
        entries[i].term = core->raft.current_term;
        entries[i].type = wdb_core_entry_type(entry->type);
        entries[i].batch = batch;
    }
    event.submit.entries = entries;
    event.submit.n = count;
    void *configuration = entries[0].buf.base;
    code = wdb_core_must_step(core, &event, 0);
    raft_free(configuration);
    raft_free(entries);
    return code;
}

int wdb_core_compacted(struct wdb_core *core, uint64_t now_ms,
                       const struct wdb_raft_base *base, uint32_t trailing)
{
    struct raft_event event = {.type = RAFT_SNAPSHOT};
    wdb_core_set_now(core, now_ms);
    const int code = make_metadata(base, &event.snapshot.metadata);
    if (code != 0) {
        return wdb_core_fail(core, code);
    }
    event.snapshot.trailing = trailing;
    return wdb_core_must_step(core, &event, 0);
}

int wdb_core_installed(struct wdb_core *core, uint64_t now_ms,
                       wdb_node_id leader, const struct wdb_raft_base *base)
{
    char address[WDB_CORE_ADDRESS_SIZE];
    struct raft_message m;
    struct raft_snapshot_metadata metadata;
    struct raft_event event = {.type = RAFT_RECEIVE, .receive.message = &m};
    struct raft_update update;
    wdb_core_set_now(core, now_ms);
    wdb_core_make_address(leader, address);
    memset(&m, 0, sizeof(m));
    memset(&update, 0, sizeof(update));
    int code = make_metadata(base, &metadata);
    if (code != 0) {
        return wdb_core_fail(core, code);
    }
    m.type = RAFT_INSTALL_SNAPSHOT;
    m.server_id = leader;
    m.server_address = address;
    m.install_snapshot = (struct raft_install_snapshot){
        .version = 1,
        .term = core->raft.current_term,
        .last_index = base->index,
        .last_term = base->term,
        .conf = metadata.configuration,
        .conf_index = base->members_index,
    };
    /* Two steps as one: the snapshot is there already. What the first says is
     * only its half of the second. */
    event.time = core->now_ms;
    wdb_assert(core->raft.state == RAFT_FOLLOWER);
    if (raft_step(&core->raft, &event, &update) != 0 ||
        !(update.flags & UPDATE_SNAPSHOT)) {
        return wdb_core_fail(core, WALKERDB_EABORTED);
    }
    struct raft_event done = {.type = RAFT_PERSISTED_SNAPSHOT};
    done.persisted_snapshot.metadata = update.snapshot.metadata;
    done.persisted_snapshot.last = true;
    return wdb_core_must_step(core, &done, core->raft.current_term);
}

int wdb_core_transfer(struct wdb_core *core, uint64_t now_ms, wdb_node_id to)
{
    struct raft_event event = {.type = RAFT_TRANSFER};
    int rv;
    wdb_core_set_now(core, now_ms);
    if (wdb_core_is_transferring(core)) {
        return WALKERDB_EBUSY;
    }
    event.transfer.server_id = to;
    const int code = step(core, &event, 0, &rv);
    return code != 0 ? code : code_of(rv);
}

/* --- looking --------------------------------------------------------------- */

static struct raft *raft_of(const struct wdb_core *core)
{
    return (struct raft *)(uintptr_t)&core->raft;
}

enum wdb_core_role wdb_core_role(const struct wdb_core *core)
{
    return role_of(core->raft.state);
}

uint64_t wdb_core_term(const struct wdb_core *core)
{
    return core->raft.current_term;
}

wdb_node_id wdb_core_voted_for(const struct wdb_core *core)
{
    return core->raft.voted_for;
}

wdb_node_id wdb_core_leader(const struct wdb_core *core)
{
    raft_id id = 0;
    const char *address;
    raft_leader(raft_of(core), &id, &address);
    return id;
}

uint64_t wdb_core_index_last(const struct wdb_core *core)
{
    return raft_last_index(raft_of(core));
}

uint64_t wdb_core_index_committed(const struct wdb_core *core)
{
    return core->raft.commit_index;
}

uint64_t wdb_core_index_stored(const struct wdb_core *core)
{
    return core->raft.last_stored;
}

uint64_t wdb_core_index_members(const struct wdb_core *core)
{
    const struct raft *raft = &core->raft;
    return raft->configuration_uncommitted_index != 0
               ? raft->configuration_uncommitted_index
               : raft->configuration_committed_index;
}

uint64_t wdb_core_match(const struct wdb_core *core, wdb_node_id id)
{
    raft_index index = 0;
    return raft_match_index(&core->raft, id, &index) == 0 ? index : 0;
}

bool wdb_core_can_change(const struct wdb_core *core)
{
    return core->raft.state == RAFT_LEADER &&
           core->raft.configuration_uncommitted_index == 0 &&
           core->raft.leader_state.promotee_id == 0 &&
           core->raft.leader_state.transferee == 0;
}

bool wdb_core_is_transferring(const struct wdb_core *core)
{
    return raft_transferee(&core->raft) != 0;
}
