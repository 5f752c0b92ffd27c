/*
 * core_receive.c - what peers say to the consensus core: whatever it could not
 * bear is answered, cut or dropped here. The guards (G...) are listed in core.c.
 */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "raft/core_internal.h"
#include "raft/message.h"
#include "raft/mutations.h"
#include "walkerdb.h"

#define RESULT_VERSION 2
#define FEATURES_NONE  0
#define TERM_MAX       (UINT64_MAX >> 2)

/* An answer without help of the core: our term is higher (G1). */
static void answer_old_term(struct wdb_core *core, wdb_node_id to,
                            const struct wdb_message *message)
{
    struct wdb_message answer = {
        .kind = WDB_MESSAGE_APPEND_RESULT,
        .term = core->raft.current_term,
    };
    answer.append_result.request_term = message->term;
    answer.append_result.rejected =
        message->append.previous_index > 0 ? message->append.previous_index : 1;
    wdb_core_send(core, to, &answer);
}

/* Step entries [skip, skip + count) of the message. */
static int receive_entries(struct wdb_core *core, struct raft_message *m,
                           const struct wdb_message *message, uint32_t skip,
                           uint32_t count)
{
    struct raft_append_entries *args = &m->append_entries;
    struct raft_event event = {.type = RAFT_RECEIVE};
    size_t at = 0;
    struct wdb_entry_header header;
    const uint8_t *payload;
    struct wdb_members members;
    wdb_members_init(&members);
    args->prev_log_index = message->append.previous_index + skip;
    args->prev_log_term = message->append.previous_term;
    for (uint32_t i = 0; i < skip; i++) {
        const bool found =
            wdb_message_next_entry(message, &at, &header, &payload);
        wdb_assert(found);
        args->prev_log_term = header.term;
    }
    args->n_entries = count;
    args->leader_commit = /* G13 */
        args->prev_log_index + count > core->raft.commit_index
            ? message->append.committed
            : 0;
    args->entries = raft_calloc(count + 1, sizeof(*args->entries));
    void *batch = raft_malloc(8);
    int code = args->entries == NULL || batch == NULL ? WALKERDB_ENOMEM : 0;
    for (uint32_t i = 0; code == 0 && i < count; i++) {
        const bool found =
            wdb_message_next_entry(message, &at, &header, &payload);
        wdb_assert(found);
        args->entries[i].term = header.term;
        args->entries[i].type =
            wdb_core_entry_type((enum wdb_entry_type)header.type);
        args->entries[i].batch = batch;
        if (header.type == WDB_ENTRY_CHANGE) {
            code = wdb_members_decode(payload, header.payload_size, &members);
            if (code == 0) {
                code = wdb_core_encode_configuration(&members,
                                                     &args->entries[i].buf);
            }
        }
    }
    struct raft_entry *entries = args->entries;
    if (code != 0) {
        wdb_core_free_entries(entries, count, batch);
        wdb_members_release(&members);
        return wdb_core_fail(core, code);
    }
    if (count == 0) {
        raft_free(batch);
    }
    event.receive.message = m;
    code = wdb_core_must_step(core, &event, message->term);
    /* G4: the batch was freed, by the core or by follow_up. */
    wdb_core_free_entries(entries, count, NULL);
    wdb_members_release(&members);
    return code;
}

/* G14: the first entry of all is a configuration, and stays what it is. */
static bool has_other_first_entry(const struct wdb_core *core,
                                  const struct wdb_message *message)
{
    const struct raft_trail *trail = &core->raft.trail;
    struct wdb_entry_header header;
    const uint8_t *payload;
    size_t at = 0;
    if (message->append.previous_index != 0 || trail->offset != 0 ||
        !wdb_message_next_entry(message, &at, &header, &payload)) {
        return false;
    }
    return wdb_core_index_last(core) == 0
               ? header.type != WDB_ENTRY_CHANGE
               : header.term != trail->records[trail->front].term;
}

/* Of an entry that the core has, or that its snapshot ends with; else 0. */
static uint64_t term_of(const struct raft_trail *trail, uint64_t index)
{
    if (index == trail->snapshot.index) {
        return trail->snapshot.term;
    }
    for (unsigned i = trail->front; index > trail->offset && i != trail->back;
         i = (i + 1) % trail->size) {
        if (index <= trail->records[i].index) {
            return trail->records[i].term;
        }
    }
    return 0;
}

/*
 * G20: A leader appends a CHANGE when the one before it is committed. So if our
 * log is the leader's up to the entry in front of a CHANGE (previous, of this
 * term), the configuration that we have is committed.
 */
static bool is_proven(const struct wdb_core *core, uint64_t previous,
                      uint64_t term)
{
    const uint64_t index = core->raft.configuration_uncommitted_index;
    return index != 0 && index <= previous &&
           term_of(&core->raft.trail, previous) == term;
}

/* G2: step entries from `first` on, split in front of each CHANGE. */
static int receive_split(struct wdb_core *core, struct raft_message *m,
                         const struct wdb_message *message, uint32_t first)
{
    size_t at = 0;
    uint32_t i = 0;
    uint64_t term = message->append.previous_term; /* of the entry before */
    struct wdb_entry_header header;
    const uint8_t *payload;
    while (wdb_message_next_entry(message, &at, &header, &payload)) {
        const bool splits =
            header.type == WDB_ENTRY_CHANGE && i > first &&
            !WDB_CORE_MUTATED(core, WDB_MUTATION_CHANGE_NOT_FIRST);
        const bool proves = header.type == WDB_ENTRY_CHANGE && i >= first &&
                            is_proven(core, header.index - 1, term);
        int code = 0;
        if (splits || proves) { /* without entries: it follows the sender */
            code = receive_entries(core, m, message, first, i - first);
            if (code != 0 || core->raft.current_term != message->term) {
                return code;
            }
            first = i;
        }
        if (proves && is_proven(core, header.index - 1, term)) {
            code = wdb_core_settle(core);
        }
        if (code != 0) {
            return code;
        }
        term = header.term;
        i++;
    }
    return receive_entries(core, m, message, first, i - first);
}

/* G16: a message from before what the core still has. Up to its snapshot it has
 * what every leader has. */
static int receive_known(struct wdb_core *core, struct raft_message *m,
                         const struct wdb_message *message)
{
    const struct raft_trail *trail = &core->raft.trail;
    const uint64_t known =
        trail->snapshot.index - message->append.previous_index;
    if (known <= message->append.entry_count) {
        return receive_split(core, m, message, (uint32_t)known);
    }
    struct wdb_message empty = *message;
    empty.append.previous_index = trail->snapshot.index;
    empty.append.previous_term = trail->snapshot.term;
    empty.append.entry_count = 0;
    empty.append.entries_size = 0;
    return receive_split(core, m, &empty, 0);
}

/* Of the entry in front of the first that it has, the core knows the term only if
 * that is where its snapshot ends. */
static bool starts_before(const struct raft_trail *trail,
                          const struct wdb_message *message)
{
    const uint64_t previous = message->append.previous_index;
    return previous < trail->offset ||
           (previous != 0 && previous == trail->offset &&
            previous < trail->snapshot.index);
}

static int receive_append(struct wdb_core *core, struct raft_message *m,
                          const struct wdb_message *message,
                          const char **why_out)
{
    if (message->term < core->raft.current_term &&
        !WDB_CORE_MUTATED(core, WDB_MUTATION_APPEND_OLD_TERM)) {
        answer_old_term(core, m->server_id, message);
        return 0;
    }
    if (message->term == core->raft.current_term &&
        core->raft.state == RAFT_LEADER) {
        *why_out = "entries of our own term while we lead it";
        return 0;
    }
    core->heard_ms = core->now_ms;
    if (has_other_first_entry(core, message)) {
        *why_out = "another first entry";
        return 0;
    }
    m->type = RAFT_APPEND_ENTRIES;
    m->append_entries = (struct raft_append_entries){.term = message->term};
    return starts_before(&core->raft.trail, message)
               ? receive_known(core, m, message)
               : receive_split(core, m, message, 0);
}

static int receive_append_result(struct wdb_core *core, struct raft_message *m,
                                 const struct wdb_message *message,
                                 const char **why_out)
{
    struct raft_event event = {.type = RAFT_RECEIVE, .receive.message = m};
    if (core->raft.state != RAFT_LEADER) {
        return 0;
    }
    if (message->term == core->raft.current_term &&
        message->append_result.request_term != core->raft.current_term &&
        !WDB_CORE_MUTATED(core, WDB_MUTATION_RESULT_ANY_TERM)) {
        *why_out = "the result of a message of another term"; /* G1 */
        return 0;
    }
    if (message->append_result.rejected == 0 &&
        message->term == core->raft.current_term &&
        message->append_result.last_index > wdb_core_index_last(core)) {
        *why_out = "a result beyond the end of the log";
        return 0;
    }
    const uint64_t match = wdb_core_match(core, m->server_id);
    if (message->append_result.rejected != 0 &&
        message->append_result.rejected <= match &&
        message->term == core->raft.current_term) {
        *why_out = "a rejection of what it has acknowledged"; /* G18 */
        return 0;
    }
    m->type = RAFT_APPEND_ENTRIES_RESULT;
    m->append_entries_result = (struct raft_append_entries_result){
        .version = 1,
        .term = message->term,
        .rejected = message->append_result.rejected,
        .last_log_index = message->append_result.last_index,
        .features = FEATURES_NONE,
    };
    if (m->append_entries_result.rejected > 0 &&
        m->append_entries_result.last_log_index >=
            m->append_entries_result.rejected) {
        m->append_entries_result.last_log_index =
            m->append_entries_result.rejected - 1;
    }
    if (m->append_entries_result.rejected > match &&
        m->append_entries_result.last_log_index < match) {
        m->append_entries_result.last_log_index = match; /* G18 */
    }
    return wdb_core_must_step(core, &event, 0);
}

/* G12: with a configuration in which this node alone votes, for this step. */
static int step_with_vote(struct wdb_core *core, struct raft_event *event,
                          uint64_t term)
{
    struct raft_configuration ours;
    const struct raft_configuration real = core->raft.configuration;
    char address[WDB_CORE_ADDRESS_SIZE];
    wdb_core_make_address(core->options.self, address);
    raft_configuration_init(&ours);
    if (raft_configuration_add(&ours, core->options.self, address,
                               RAFT_VOTER) != 0) {
        return wdb_core_fail(core, WALKERDB_ENOMEM);
    }
    core->raft.configuration = ours;
    const int code = wdb_core_must_step(core, event, term);
    wdb_assert(core->raft.configuration.servers == ours.servers);
    core->raft.configuration = real;
    raft_configuration_close(&ours);
    return code;
}

static int receive_vote(struct wdb_core *core, struct raft_message *m,
                        const struct wdb_message *message, const char **why_out)
{
    struct raft_event event = {.type = RAFT_RECEIVE, .receive.message = m};
    if ((message->vote.last_index == 0) != (message->vote.last_term == 0) ||
        message->vote.last_term > message->term) {
        *why_out = "a vote for an impossible log";
        return 0;
    }
    m->type = RAFT_REQUEST_VOTE;
    m->request_vote = (struct raft_request_vote){
        .version = 2,
        .term = message->term,
        .candidate_id = m->server_id,
        .last_log_index = message->vote.last_index,
        .last_log_term = message->vote.last_term,
        .disrupt_leader = message->vote.disrupt_leader,
        .pre_vote = message->vote.pre_vote,
    };
    if (core->raft.state == RAFT_FOLLOWER && core->raft.configuration.n != 0 &&
        !wdb_core_is_voter(core)) {
        m->request_vote.disrupt_leader |=
            core->now_ms >= core->heard_ms + core->options.election_timeout_ms;
        return step_with_vote(core, &event, message->term);
    }
    return wdb_core_must_step(core, &event, message->term);
}

static int receive_vote_result(struct wdb_core *core, struct raft_message *m,
                               const struct wdb_message *message,
                               const char **why_out)
{
    struct raft_event event = {.type = RAFT_RECEIVE, .receive.message = m};
    if (core->raft.state != RAFT_CANDIDATE) {
        return 0;
    }
    const bool pre_vote = core->raft.candidate_state.in_pre_vote;
    const uint64_t asked = core->raft.current_term + (pre_vote ? 1 : 0);
    if (message->vote_result.pre_vote != pre_vote ||
        message->vote_result.request_term != asked) {
        return 0; /* of an earlier election */
    }
    if (message->vote_result.granted && message->term != asked) {
        *why_out = "a vote that was granted in another term"; /* G5 */
        return 0;
    }
    m->type = RAFT_REQUEST_VOTE_RESULT;
    m->request_vote_result = (struct raft_request_vote_result){
        .version = RESULT_VERSION,
        .term = message->term,
        .vote_granted = message->vote_result.granted,
        .pre_vote = message->vote_result.pre_vote,
        .features = FEATURES_NONE,
    };
    return wdb_core_must_step(core, &event, 0);
}

static int receive_timeout_now(struct wdb_core *core, struct raft_message *m,
                               const struct wdb_message *message,
                               const char **why_out)
{
    struct raft_event event = {.type = RAFT_RECEIVE, .receive.message = m};
    if (message->term != core->raft.current_term) {
        return 0;
    }
    if (wdb_core_is_only_voter(core)) {
        *why_out = "nobody else votes: nothing to take over"; /* G17 */
        return 0;
    }
    m->type = RAFT_TIMEOUT_NOW;
    m->timeout_now = (struct raft_timeout_now){
        .version = 1,
        .term = message->term,
        .last_log_index = message->timeout_now.last_index,
        .last_log_term = message->timeout_now.last_term,
    };
    return wdb_core_must_step(core, &event, message->term);
}

int wdb_core_receive(struct wdb_core *core, uint64_t now_ms, wdb_node_id from,
                     const struct wdb_message *message, const char **why_out)
{
    char address[WDB_CORE_ADDRESS_SIZE];
    struct raft_message m;
    wdb_core_set_now(core, now_ms);
    *why_out = NULL;
    wdb_core_make_address(from, address);
    memset(&m, 0, sizeof(m));
    m.server_id = from;
    m.server_address = address;
    if (message->term == 0 || from == 0 || from == core->options.self) {
        *why_out = "no term, or no sender";
        return 0;
    }
    if (message->term > TERM_MAX) {
        *why_out = "a term that no election leads to"; /* G15 */
        return 0;
    }
    switch (message->kind) {
    case WDB_MESSAGE_VOTE:
        return receive_vote(core, &m, message, why_out);
    case WDB_MESSAGE_VOTE_RESULT:
        return receive_vote_result(core, &m, message, why_out);
    case WDB_MESSAGE_APPEND:
        return receive_append(core, &m, message, why_out);
    case WDB_MESSAGE_APPEND_RESULT:
        return receive_append_result(core, &m, message, why_out);
    case WDB_MESSAGE_TIMEOUT_NOW:
        return receive_timeout_now(core, &m, message, why_out);
    default:
        *why_out = "not a message for the core";
        return 0;
    }
}
