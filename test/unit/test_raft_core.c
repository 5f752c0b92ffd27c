/*
 * test_raft_core.c - the consensus core: elections, replication, and each guard
 * of src/raft/core.c (G1 to G18).
 *
 * A node here is a core with a log of terms. What it sends is kept, so that a
 * test delivers, drops, delays or forges messages as it likes.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/test.h"
#include "raft/core.h"
#include "raft/message.h"
#include "walkerdb.h"

#define LOG_MAX  64
#define SENT_MAX 64

struct sent {
    wdb_node_id to;
    struct wdb_message message;
};

struct node {
    struct wdb_core *core;
    wdb_node_id id;
    uint64_t now;
    uint64_t term; /* as stored */
    wdb_node_id voted_for;
    uint64_t last;
    uint64_t terms[LOG_MAX];
    uint64_t committed;
    enum wdb_core_role role;
    struct sent sent[SENT_MAX];
    uint32_t sent_count;
    const struct wdb_message *receiving;
    int fail_vote;
};

static int on_vote(void *context, uint64_t term, wdb_node_id voted_for)
{
    struct node *n = context;
    CHECK_EQ(n->sent_count, 0); /* nothing leaves before it */
    n->term = term;
    n->voted_for = voted_for;
    return n->fail_vote;
}

static void on_role(void *context, enum wdb_core_role from,
                    enum wdb_core_role to)
{
    struct node *n = context;
    CHECK_EQ(n->role, from);
    n->role = to;
}

static int on_append(void *context, uint64_t index, uint32_t count)
{
    struct node *n = context;
    struct wdb_entry_header header;
    const uint8_t *payload;
    size_t at = 0;
    uint32_t taken = 0;
    n->last = index - 1;
    while (wdb_message_next_entry(n->receiving, &at, &header, &payload)) {
        if (header.index >= index && taken < count) {
            n->terms[header.index] = header.term;
            n->last = header.index;
            taken++;
        }
    }
    CHECK_EQ(taken, count);
    return 0;
}

static int on_barrier(void *context, uint64_t index)
{
    struct node *n = context;
    CHECK_EQ(index, n->last + 1);
    n->last = index;
    n->terms[index] = n->term;
    return 0;
}

static void on_send(void *context, wdb_node_id to,
                    const struct wdb_message *message)
{
    struct node *n = context;
    if (n->sent_count < SENT_MAX) {
        n->sent[n->sent_count++] = (struct sent){to, *message};
    }
}

static void on_committed(void *context, uint64_t index)
{
    struct node *n = context;
    n->committed = index;
}

static const struct wdb_core_callbacks callbacks = {
    .store_vote = on_vote,
    .role_changed = on_role,
    .append = on_append,
    .append_barrier = on_barrier,
    .send = on_send,
    .committed = on_committed,
};

static struct wdb_members members_of(const char *roles)
{
    struct wdb_members members;
    wdb_members_init(&members);
    members.cluster_id = 77;
    for (size_t i = 0; roles[i] != '\0'; i++) {
        struct wdb_member member = {.id = i + 1,
                                    .role = roles[i] == 'v'
                                                ? WDB_MEMBER_VOTER
                                                : WDB_MEMBER_STANDBY};
        snprintf(member.name, sizeof(member.name), "node%zu", i + 1);
        snprintf(member.raft_address, sizeof(member.raft_address), "h%zu:1",
                 i + 1);
        snprintf(member.tcp_address, sizeof(member.tcp_address), "h%zu:2",
                 i + 1);
        if (roles[i] != '-') {
            CHECK_EQ(wdb_members_add(&members, &member), 0);
        }
    }
    return members;
}

/* A node whose log has one entry: the configuration, of term 1. */
static struct node *node_new(wdb_node_id id, const char *roles)
{
    struct node *n = calloc(1, sizeof(*n));
    n->id = id;
    n->now = 1000;
    const struct wdb_core_options options = {
        .self = id,
        .election_timeout_ms = 100,
        .heartbeat_ms = 25,
        .seed = (uint32_t)id,
        .now_ms = n->now,
        .callbacks = &callbacks,
        .context = n,
    };
    CHECK_EQ(wdb_core_new(&options, &n->core), 0);
    struct wdb_core_start start = {.term = 1};
    struct wdb_members members = members_of(roles);
    if (roles[0] != '\0') {
        start.base_index = start.members_index = start.base_term = 1;
        start.members = &members;
        start.first_index = 2;
        n->last = 1;
        n->terms[1] = 1;
        n->term = 1;
    } else {
        start.term = 0;
    }
    CHECK_EQ(wdb_core_start(n->core, &start), 0);
    wdb_members_release(&members);
    return n;
}

static void node_free(struct node *n)
{
    wdb_core_free(n->core);
    free(n);
}

static int receive(struct node *n, wdb_node_id from,
                   const struct wdb_message *message, const char **why)
{
    n->receiving = message;
    n->sent_count = 0;
    const int code = wdb_core_receive(n->core, n->now, from, message, why);
    n->receiving = NULL;
    return code;
}

/* Time passes until its timer fires. */
static void timeout(struct node *n)
{
    n->now = wdb_core_deadline_ms(n->core);
    n->sent_count = 0;
    CHECK_EQ(wdb_core_tick(n->core, n->now), 0);
}

static void grant(struct node *n, wdb_node_id from, bool pre_vote)
{
    const char *why;
    const uint64_t term = wdb_core_term(n->core) + (pre_vote ? 1 : 0);
    struct wdb_message m = {.kind = WDB_MESSAGE_VOTE_RESULT, .term = term};
    m.vote_result.request_term = term;
    m.vote_result.granted = true;
    m.vote_result.pre_vote = pre_vote;
    CHECK_EQ(receive(n, from, &m, &why), 0);
}

/* Node 1 of three becomes leader by the votes of node 2. */
static struct node *make_leader(const char *roles)
{
    struct node *n = node_new(1, roles);
    timeout(n);
    grant(n, 2, true);
    grant(n, 2, false);
    CHECK_EQ(n->role, WDB_CORE_LEADER);
    return n;
}

/* Entries for an APPEND: a digit is the term, then a letter the type: c
 * command, b barrier, and V a configuration that is `roles`. */
struct entries {
    uint8_t *data;
    size_t size;
    uint32_t count;
};

static struct entries entries_of(uint64_t first, const char *text,
                                 const char *roles)
{
    struct entries e = {.data = calloc(1, 65536)};
    for (; *text != '\0'; text += 2) {
        struct wdb_entry_header header = {
            .index = first + e.count,
            .term = (uint64_t)(text[0] - '0'),
            .time_ms = 1,
            .type = text[1] == 'b' ? WDB_ENTRY_BARRIER : WDB_ENTRY_COMMAND,
        };
        struct wdb_buffer payload;
        wdb_buffer_init(&payload);
        if (text[1] == 'V') {
            struct wdb_members members = members_of(roles);
            CHECK_EQ(wdb_members_encode(&members, &payload), 0);
            wdb_members_release(&members);
            header.type = WDB_ENTRY_CHANGE;
            header.payload_size = payload.size;
        }
        memcpy(e.data + e.size, &header, sizeof(header));
        e.size += sizeof(header);
        if (payload.size > 0) {
            memcpy(e.data + e.size, payload.data, payload.size);
            e.size += payload.size;
        }
        e.count++;
        wdb_buffer_release(&payload);
    }
    return e;
}

static struct wdb_message append_of(uint64_t term, uint64_t previous,
                                    uint64_t previous_term, uint64_t committed,
                                    const struct entries *e)
{
    struct wdb_message m = {.kind = WDB_MESSAGE_APPEND, .term = term};
    m.append.previous_index = previous;
    m.append.previous_term = previous_term;
    m.append.committed = committed;
    if (e != NULL) {
        m.append.entries = e->data;
        m.append.entries_size = e->size;
        m.append.entry_count = e->count;
    }
    return m;
}

/* The last message of a kind that it sent, NULL if there is none. */
static const struct wdb_message *find(const struct node *n,
                                      enum wdb_message_kind kind)
{
    for (uint32_t i = n->sent_count; i-- > 0;) {
        if (n->sent[i].message.kind == kind) {
            return &n->sent[i].message;
        }
    }
    return NULL;
}

/* An election: first pre-votes, which change nothing (G9), then votes in a term
 * that was stored before anything was sent. */
TEST(raft_core_election)
{
    struct node *n = node_new(1, "vvv");
    timeout(n);
    const struct wdb_message *vote = find(n, WDB_MESSAGE_VOTE);
    CHECK(vote != NULL && vote->vote.pre_vote);
    CHECK_EQ(vote->term, 2);
    CHECK_EQ(n->term, 1);
    grant(n, 2, true);
    vote = find(n, WDB_MESSAGE_VOTE);
    CHECK(vote != NULL && !vote->vote.pre_vote);
    CHECK_EQ(n->term, 2);
    CHECK_EQ(n->voted_for, 1);
    CHECK_EQ(n->role, WDB_CORE_CANDIDATE);
    grant(n, 3, false);
    CHECK_EQ(n->role, WDB_CORE_LEADER);
    node_free(n);
}

/* Entries of a leader commit when a majority has them durably, its own disk
 * included only once it says so. */
TEST(raft_core_commit)
{
    struct node *n = make_leader("vvv");
    const char *why;
    const struct wdb_core_entry entry = {.term = 2, .type = WDB_ENTRY_COMMAND};
    n->last++;
    CHECK_EQ(wdb_core_submit(n->core, n->now, 1, &entry), 0);
    const uint64_t last = wdb_core_index_last(n->core);
    struct wdb_message m = {.kind = WDB_MESSAGE_APPEND_RESULT, .term = 2};
    m.append_result.request_term = 2;
    m.append_result.last_index = last;
    CHECK_EQ(receive(n, 2, &m, &why), 0);
    CHECK(n->committed < last);
    CHECK_EQ(wdb_core_persisted(n->core, n->now, last), 0);
    CHECK_EQ(n->committed, last);
    node_free(n);
}

/* G1: entries of an older term never reach the core; the answer says so in
 * fields that are all defined. */
TEST(raft_core_old_term_is_answered_here)
{
    struct node *n = node_new(2, "vvv");
    const char *why;
    struct wdb_message m = append_of(5, 1, 1, 0, NULL);
    CHECK_EQ(receive(n, 1, &m, &why), 0);
    CHECK_EQ(n->term, 5);
    m = append_of(3, 0, 0, 0, NULL);
    CHECK_EQ(receive(n, 3, &m, &why), 0);
    const struct wdb_message *answer = find(n, WDB_MESSAGE_APPEND_RESULT);
    CHECK(answer != NULL);
    CHECK_EQ(answer->term, 5);
    CHECK_EQ(answer->append_result.request_term, 3);
    CHECK_EQ(answer->append_result.rejected, 1);
    CHECK_EQ(answer->append_result.last_index, 0);
    CHECK_EQ(wdb_core_leader(n->core), 1);
    node_free(n);
}

/* G1: a result that answers a message of another term proves nothing. */
TEST(raft_core_result_of_another_term)
{
    struct node *n = make_leader("vvv");
    const char *why = NULL;
    const struct wdb_core_entry entry = {.term = 2, .type = WDB_ENTRY_COMMAND};
    CHECK_EQ(wdb_core_submit(n->core, n->now, 1, &entry), 0);
    const uint64_t last = wdb_core_index_last(n->core);
    CHECK_EQ(wdb_core_persisted(n->core, n->now, last), 0);
    struct wdb_message m = {.kind = WDB_MESSAGE_APPEND_RESULT, .term = 2};
    m.append_result.request_term = 1;
    m.append_result.last_index = last;
    CHECK_EQ(receive(n, 2, &m, &why), 0);
    CHECK(why != NULL);
    CHECK_EQ(wdb_core_match(n->core, 2), 0);
    CHECK(n->committed < last);
    m.append_result.request_term = 2;
    m.append_result.last_index = last + 7; /* nobody can have that */
    CHECK_EQ(receive(n, 2, &m, &why), 0);
    CHECK(why != NULL);
    CHECK_EQ(wdb_core_match(n->core, 2), 0);
    node_free(n);
}

/* G2: a configuration in the middle of a message counts at its own index: when
 * only what follows the first entry is replaced, it is taken back. */
TEST(raft_core_change_in_the_middle)
{
    struct node *n = node_new(2, "vvv");
    const char *why;
    struct entries e = entries_of(2, "2c2V2c", "v-v");
    struct wdb_message m = append_of(2, 1, 1, 1, &e);
    CHECK_EQ(receive(n, 1, &m, &why), 0);
    CHECK_EQ(n->last, 4);
    CHECK(!wdb_core_is_voter(n->core));
    CHECK_EQ(wdb_core_persisted(n->core, n->now, 4), 0);
    struct entries other = entries_of(3, "3c", "");
    m = append_of(3, 2, 2, 1, &other);
    CHECK_EQ(receive(n, 3, &m, &why), 0);
    CHECK_EQ(n->last, 3);
    CHECK_EQ(n->terms[3], 3);
    CHECK(wdb_core_is_voter(n->core));
    free(e.data);
    free(other.data);
    node_free(n);
}

/* G3: while a configuration is not committed no other may be submitted. */
TEST(raft_core_one_change_at_a_time)
{
    struct node *n = make_leader("vvv");
    const char *why;
    CHECK(wdb_core_can_change(n->core));
    struct wdb_members wanted = members_of("vvvs");
    const struct wdb_core_entry entry = {.term = 2,
                                         .type = WDB_ENTRY_CHANGE,
                                         .members = &wanted};
    CHECK_EQ(wdb_core_submit(n->core, n->now, 1, &entry), 0);
    CHECK(!wdb_core_can_change(n->core));
    const uint64_t last = wdb_core_index_last(n->core);
    CHECK_EQ(wdb_core_persisted(n->core, n->now, last), 0);
    struct wdb_message m = {.kind = WDB_MESSAGE_APPEND_RESULT, .term = 2};
    m.append_result.request_term = 2;
    m.append_result.last_index = last;
    CHECK_EQ(receive(n, 2, &m, &why), 0);
    CHECK(wdb_core_can_change(n->core));
    wdb_members_release(&wanted);
    node_free(n);
}

/* G5: what would hit an assert of the core is dropped, with a reason. */
TEST(raft_core_impossible_messages)
{
    struct node *n = make_leader("vvv");
    const char *why = NULL;
    struct wdb_message m = append_of(2, 1, 1, 0, NULL);
    CHECK_EQ(receive(n, 3, &m, &why), 0);
    CHECK(why != NULL);
    CHECK_EQ(n->role, WDB_CORE_LEADER);
    m = (struct wdb_message){.kind = WDB_MESSAGE_VOTE, .term = 9};
    m.vote.last_index = 5;
    CHECK_EQ(receive(n, 3, &m, &why), 0);
    CHECK(why != NULL);
    m = (struct wdb_message){.kind = WDB_MESSAGE_ROUND, .term = 2};
    CHECK_EQ(receive(n, 3, &m, &why), 0);
    CHECK(why != NULL);
    m = append_of(0, 0, 0, 0, NULL);
    CHECK_EQ(receive(n, 3, &m, &why), 0);
    CHECK(why != NULL);
    node_free(n);

    n = node_new(1, "vvv");
    timeout(n);
    m = (struct wdb_message){.kind = WDB_MESSAGE_VOTE_RESULT, .term = 9};
    m.vote_result.request_term = 2;
    m.vote_result.granted = m.vote_result.pre_vote = true;
    CHECK_EQ(receive(n, 2, &m, &why), 0);
    CHECK(why != NULL);
    CHECK_EQ(n->role, WDB_CORE_CANDIDATE);
    node_free(n);
}

/* G6: a sole voter leads a term that nobody led before it, at the start and
 * when the others are removed. */
TEST(raft_core_sole_voter_takes_a_new_term)
{
    struct node *n = node_new(1, "v");
    CHECK_EQ(n->role, WDB_CORE_LEADER);
    CHECK_EQ(wdb_core_term(n->core), 2);
    CHECK_EQ(n->term, 2);
    CHECK_EQ(n->voted_for, 1);
    node_free(n);

    n = node_new(2, "vv");
    const char *why;
    struct entries e = entries_of(2, "4V", "-v");
    struct wdb_message m = append_of(4, 1, 1, 2, &e);
    CHECK_EQ(receive(n, 1, &m, &why), 0);
    CHECK_EQ(wdb_core_persisted(n->core, n->now, 2), 0);
    timeout(n);
    CHECK_EQ(n->role, WDB_CORE_LEADER);
    CHECK_EQ(n->term, 5);
    CHECK_EQ(n->voted_for, 2);
    free(e.data);
    node_free(n);
}

/* G7: a sync that is told late, twice, or for more than the core has. */
TEST(raft_core_late_syncs)
{
    struct node *n = node_new(2, "vvv");
    const char *why;
    struct entries e = entries_of(2, "2c2c", "");
    struct wdb_message m = append_of(2, 1, 1, 1, &e);
    CHECK_EQ(receive(n, 1, &m, &why), 0);
    n->sent_count = 0;
    CHECK_EQ(wdb_core_persisted(n->core, n->now, 90), 0);
    CHECK_EQ(wdb_core_index_stored(n->core), 3);
    CHECK(find(n, WDB_MESSAGE_APPEND_RESULT) != NULL);
    CHECK_EQ(wdb_core_persisted(n->core, n->now, 2), 0);
    CHECK_EQ(wdb_core_persisted(n->core, n->now, 3), 0);
    CHECK_EQ(wdb_core_index_stored(n->core), 3);
    free(e.data);
    node_free(n);
}

/* G11: a joining node gets two configurations in one message; when the second
 * is replaced, the first holds. */
TEST(raft_core_two_changes_at_once)
{
    struct node *n = node_new(2, "");
    const char *why;
    struct entries e = entries_of(1, "2V2c2V", "vv");
    struct wdb_message m = append_of(2, 0, 0, 1, &e);
    CHECK_EQ(receive(n, 1, &m, &why), 0);
    CHECK_EQ(n->last, 3);
    CHECK_EQ(wdb_core_persisted(n->core, n->now, 3), 0);
    struct entries other = entries_of(3, "3c", "");
    m = append_of(3, 2, 2, 1, &other);
    CHECK_EQ(receive(n, 1, &m, &why), 0);
    CHECK_EQ(n->last, 3);
    CHECK(wdb_core_is_voter(n->core));
    free(e.data);
    free(other.data);
    node_free(n);
}

/* G20: the message that brings the next configuration is the first to tell that
 * the one before is committed; when the next is replaced, that one holds. */
TEST(raft_core_change_tells_of_change)
{
    struct node *n = node_new(2, "vs");
    const char *why;
    struct entries e = entries_of(2, "1V", "vv");
    struct wdb_message m = append_of(1, 1, 1, 1, &e);
    CHECK_EQ(receive(n, 1, &m, &why), 0);
    struct entries next = entries_of(3, "1V", "vvs");
    m = append_of(1, 2, 1, 2, &next);
    CHECK_EQ(receive(n, 1, &m, &why), 0);
    CHECK_EQ(n->last, 3);
    CHECK_EQ(wdb_core_persisted(n->core, n->now, 3), 0);
    struct entries other = entries_of(3, "3c", "");
    m = append_of(3, 2, 1, 1, &other);
    CHECK_EQ(receive(n, 1, &m, &why), 0);
    CHECK_EQ(n->last, 3);
    CHECK(wdb_core_is_voter(n->core));
    free(e.data);
    free(next.data);
    free(other.data);
    node_free(n);
}

/* G20: a configuration that is replaced by the next is not settled by it. */
TEST(raft_core_change_replaces_change)
{
    struct node *n = node_new(2, "vs");
    const char *why;
    struct entries e = entries_of(2, "1V", "vv");
    struct wdb_message m = append_of(1, 1, 1, 1, &e);
    CHECK_EQ(receive(n, 1, &m, &why), 0);
    CHECK_EQ(wdb_core_persisted(n->core, n->now, 2), 0);
    struct entries next = entries_of(2, "2V", "vss");
    m = append_of(2, 1, 1, 1, &next);
    CHECK_EQ(receive(n, 1, &m, &why), 0);
    CHECK_EQ(wdb_core_persisted(n->core, n->now, 2), 0);
    struct entries other = entries_of(2, "3c", "");
    m = append_of(3, 1, 1, 1, &other);
    CHECK_EQ(receive(n, 1, &m, &why), 0);
    CHECK(!wdb_core_is_voter(n->core));
    free(e.data);
    free(next.data);
    free(other.data);
    node_free(n);
}

/* A peer that would have us undo what is committed stops us. */
TEST(raft_core_contradiction)
{
    struct node *n = node_new(2, "vvv");
    const char *why;
    struct entries e = entries_of(2, "2c", "");
    struct wdb_message m = append_of(2, 1, 1, 2, &e);
    CHECK_EQ(receive(n, 1, &m, &why), 0);
    CHECK_EQ(wdb_core_persisted(n->core, n->now, 2), 0);
    CHECK_EQ(n->committed, 2);
    struct entries other = entries_of(2, "3c", "");
    m = append_of(3, 1, 1, 1, &other);
    CHECK_EQ(receive(n, 3, &m, &why), WALKERDB_EABORTED);
    free(e.data);
    free(other.data);
    node_free(n);
}

/* Without a stored vote nothing goes out. */
TEST(raft_core_vote_not_stored)
{
    struct node *n = node_new(1, "vvv");
    timeout(n);
    n->fail_vote = WALKERDB_EIO;
    const char *why;
    struct wdb_message m = {.kind = WDB_MESSAGE_VOTE_RESULT, .term = 2};
    m.vote_result.request_term = 2;
    m.vote_result.granted = m.vote_result.pre_vote = true;
    CHECK_EQ(receive(n, 2, &m, &why), WALKERDB_EIO);
    CHECK_EQ(n->sent_count, 0);
    node_free(n);
}

/* A snapshot: the log begins behind it, and the leader hears of it. */
TEST(raft_core_installed)
{
    struct node *n = node_new(2, "vvv");
    const char *why;
    struct wdb_message m = append_of(4, 50, 4, 60, NULL);
    CHECK_EQ(receive(n, 1, &m, &why), 0);
    struct wdb_raft_base base = {.index = 50, .term = 4, .members_index = 30};
    base.members = members_of("vvv");
    n->sent_count = 0;
    CHECK_EQ(wdb_core_installed(n->core, n->now, 1, &base), 0);
    CHECK_EQ(wdb_core_index_last(n->core), 50);
    CHECK_EQ(wdb_core_index_committed(n->core), 50);
    const struct wdb_message *answer = find(n, WDB_MESSAGE_APPEND_RESULT);
    CHECK(answer != NULL);
    CHECK_EQ(answer->append_result.last_index, 50);
    CHECK_EQ(answer->append_result.rejected, 0);
    struct entries e = entries_of(51, "4c", "");
    m = append_of(4, 50, 4, 60, &e);
    CHECK_EQ(receive(n, 1, &m, &why), 0);
    CHECK_EQ(n->last, 51);
    wdb_members_release(&base.members);
    free(e.data);
    node_free(n);
}

/* Leadership is handed over: the other one is told when it has everything. */
TEST(raft_core_transfer)
{
    struct node *n = make_leader("vvv");
    const char *why;
    const uint64_t last = wdb_core_index_last(n->core);
    CHECK_EQ(wdb_core_persisted(n->core, n->now, last), 0);
    CHECK_EQ(wdb_core_transfer(n->core, n->now, 3), 0);
    CHECK(wdb_core_is_transferring(n->core));
    CHECK_EQ(wdb_core_transfer(n->core, n->now, 2), WALKERDB_EBUSY);
    struct wdb_message m = {.kind = WDB_MESSAGE_APPEND_RESULT, .term = 2};
    m.append_result.request_term = 2;
    m.append_result.last_index = last;
    if (last > 1) {
        CHECK_EQ(receive(n, 3, &m, &why), 0);
        CHECK(find(n, WDB_MESSAGE_TIMEOUT_NOW) != NULL);
    }
    node_free(n);
}

/* What it answers to a candidate with its log, in term 2. */
static bool asks_for_vote(struct node *n, wdb_node_id from, bool pre_vote)
{
    const char *why;
    struct wdb_message m = {.kind = WDB_MESSAGE_VOTE, .term = 2};
    m.vote.last_index = 1;
    m.vote.last_term = 1;
    m.vote.pre_vote = pre_vote;
    CHECK_EQ(receive(n, from, &m, &why), 0);
    const struct wdb_message *result = find(n, WDB_MESSAGE_VOTE_RESULT);
    CHECK(result != NULL);
    return result != NULL && result->vote_result.granted;
}

/* A node that has no vote in the configuration that it knows may have one in the
 * candidate's, which it was not sent in time: it votes, durably and once for each
 * term, but not while it hears the leader (G12). */
TEST(raft_core_standby_votes)
{
    const char *const roles[] = {"vs", "v-"};
    for (size_t i = 0; i < 2; i++) {
        const char *why;
        struct node *n = node_new(2, roles[i]);
        const struct wdb_message heartbeat = append_of(1, 1, 1, 1, NULL);
        CHECK_EQ(receive(n, 1, &heartbeat, &why), 0);
        n->now += 99;
        CHECK(!asks_for_vote(n, 1, true));
        n->now += 1;
        CHECK(asks_for_vote(n, 1, true));
        CHECK_EQ(n->term, 1);
        CHECK(asks_for_vote(n, 1, false));
        CHECK_EQ(n->term, 2);
        CHECK_EQ(n->voted_for, 1);
        n->now += 1000;
        CHECK(!asks_for_vote(n, 3, false));
        CHECK_EQ(n->voted_for, 1);
        n->now += 1000;
        CHECK_EQ(wdb_core_tick(n->core, n->now), 0);
        CHECK_EQ(n->role, WDB_CORE_FOLLOWER);
        node_free(n);
    }
}

/* G13: a heartbeat anchored below what is committed, naming a later commit, takes
 * nothing back. */
TEST(raft_core_committed_never_falls)
{
    struct node *n = node_new(2, "vvv");
    const char *why;
    struct entries e = entries_of(2, "2c2c2c", "");
    struct wdb_message m = append_of(2, 1, 1, 4, &e);
    CHECK_EQ(receive(n, 1, &m, &why), 0);
    CHECK_EQ(wdb_core_persisted(n->core, n->now, 4), 0);
    CHECK_EQ(wdb_core_index_committed(n->core), 4);
    m = append_of(2, 2, 2, 9, NULL);
    CHECK_EQ(receive(n, 1, &m, &why), 0);
    CHECK_EQ(wdb_core_index_committed(n->core), 4);
    struct entries other = entries_of(3, "3c", "");
    m = append_of(3, 2, 2, 2, &other);
    CHECK_EQ(receive(n, 3, &m, &why), WALKERDB_EABORTED);
    CHECK_EQ(n->last, 4);
    free(e.data);
    free(other.data);
    node_free(n);
}

/* G14: a node without a log takes no other first entry than a configuration,
 * keeps that one, and goes back to it when later ones are replaced. */
TEST(raft_core_first_configuration)
{
    struct node *n = node_new(2, "");
    const char *why = NULL;
    struct entries command = entries_of(1, "2c", "");
    struct wdb_message m = append_of(2, 0, 0, 0, &command);
    CHECK_EQ(receive(n, 1, &m, &why), 0);
    CHECK(why != NULL);
    CHECK_EQ(n->last, 0);
    struct entries e = entries_of(1, "2V2c", "vv");
    m = append_of(2, 0, 0, 0, &e);
    CHECK_EQ(receive(n, 1, &m, &why), 0);
    CHECK_EQ(n->last, 2);
    CHECK_EQ(wdb_core_index_committed(n->core), 0);
    struct entries second = entries_of(3, "2V", "v-");
    m = append_of(2, 2, 2, 0, &second);
    CHECK_EQ(receive(n, 1, &m, &why), 0);
    CHECK(!wdb_core_is_voter(n->core));
    struct entries instead = entries_of(3, "3c", "");
    m = append_of(3, 2, 2, 0, &instead);
    CHECK_EQ(receive(n, 1, &m, &why), 0);
    CHECK_EQ(n->last, 3);
    CHECK(wdb_core_is_voter(n->core));
    struct entries first = entries_of(1, "4V", "-v");
    m = append_of(4, 0, 0, 0, &first);
    CHECK_EQ(receive(n, 1, &m, &why), 0);
    CHECK(why != NULL);
    CHECK_EQ(n->terms[1], 2);
    CHECK_EQ(n->last, 3);
    free(command.data);
    free(e.data);
    free(second.data);
    free(instead.data);
    free(first.data);
    node_free(n);
}

/* G15: after the greatest term there would come the lowest. */
TEST(raft_core_greatest_term)
{
    struct node *n = node_new(1, "vvv");
    const char *why = NULL;
    struct wdb_message m = append_of(UINT64_MAX, 1, 1, 0, NULL);
    CHECK_EQ(receive(n, 2, &m, &why), 0);
    CHECK(why != NULL);
    m = (struct wdb_message){.kind = WDB_MESSAGE_VOTE, .term = UINT64_MAX - 1};
    m.vote.last_index = 9;
    m.vote.last_term = 9;
    why = NULL;
    CHECK_EQ(receive(n, 2, &m, &why), 0);
    CHECK(why != NULL);
    CHECK_EQ(n->term, 1);
    node_free(n);
}

/* G16: entries from before the core's log (late ones, or all of them anew) are
 * not taken for new ones; of those that it has, only what follows is taken. */
TEST(raft_core_entries_from_before_its_log)
{
    struct node *n = node_new(2, "vvv");
    const char *why;
    struct wdb_message m = append_of(4, 50, 4, 60, NULL);
    CHECK_EQ(receive(n, 1, &m, &why), 0);
    struct wdb_raft_base base = {.index = 5, .term = 4, .members_index = 3};
    base.members = members_of("vvv");
    CHECK_EQ(wdb_core_installed(n->core, n->now, 1, &base), 0);
    n->last = 5;
    struct entries early = entries_of(1, "2c2c", "");
    m = append_of(4, 0, 0, 9, &early);
    CHECK_EQ(receive(n, 1, &m, &why), 0);
    CHECK_EQ(wdb_core_index_last(n->core), 5);
    const struct wdb_message *answer = find(n, WDB_MESSAGE_APPEND_RESULT);
    CHECK(answer != NULL);
    CHECK_EQ(answer->append_result.rejected, 0);
    CHECK_EQ(answer->append_result.last_index, 5);
    struct entries over = entries_of(1, "2V2c2c4c4c4c", "vvv");
    m = append_of(4, 0, 0, 9, &over);
    CHECK_EQ(receive(n, 1, &m, &why), 0);
    CHECK_EQ(wdb_core_index_last(n->core), 6);
    CHECK_EQ(n->last, 6);
    CHECK_EQ(n->terms[6], 4);
    struct entries other = entries_of(1, "2V2c2c3c3c4c", "vvv");
    m = append_of(4, 0, 0, 9, &other);
    CHECK_EQ(receive(n, 1, &m, &why), WALKERDB_EABORTED);
    free(early.data);
    free(over.data);
    free(other.data);
    wdb_members_release(&base.members);
    node_free(n);
}

/* G17: a leader that has removed itself tells the last voter to take over: it
 * must not lead the same term, in which that one may still lead. */
TEST(raft_core_sole_voter_is_told_to_lead)
{
    struct node *n = node_new(2, "vv");
    const char *why = NULL;
    struct entries e = entries_of(2, "4V", "-v");
    struct wdb_message m = append_of(4, 1, 1, 1, &e);
    CHECK_EQ(receive(n, 1, &m, &why), 0);
    CHECK_EQ(wdb_core_persisted(n->core, n->now, 2), 0);
    m = (struct wdb_message){.kind = WDB_MESSAGE_TIMEOUT_NOW, .term = 4};
    m.timeout_now.last_index = 2;
    m.timeout_now.last_term = 4;
    CHECK_EQ(receive(n, 1, &m, &why), 0);
    CHECK(why != NULL);
    CHECK_EQ(n->role, WDB_CORE_FOLLOWER);
    timeout(n);
    CHECK_EQ(n->role, WDB_CORE_LEADER);
    CHECK_EQ(n->term, 5);
    free(e.data);
    node_free(n);
}

/* G18: a late rejection of what a peer has acknowledged since changes nothing: it
 * goes on to be sent what follows. */
TEST(raft_core_rejection_of_what_was_acknowledged)
{
    struct node *n = make_leader("vvv");
    const char *why;
    const struct wdb_core_entry entry = {.term = 2, .type = WDB_ENTRY_COMMAND};
    CHECK_EQ(wdb_core_submit(n->core, n->now, 1, &entry), 0);
    const uint64_t last = wdb_core_index_last(n->core);
    CHECK_EQ(wdb_core_persisted(n->core, n->now, last), 0);
    struct wdb_message m = {.kind = WDB_MESSAGE_APPEND_RESULT, .term = 2};
    m.append_result.request_term = 2;
    m.append_result.last_index = last;
    CHECK_EQ(receive(n, 2, &m, &why), 0);
    CHECK_EQ(wdb_core_match(n->core, 2), last);
    for (int i = 0; i < 8; i++) { /* it is not heard: back to probing */
        timeout(n);
        if (n->role == WDB_CORE_LEADER) {
            m.append_result.rejected = 0;
            m.append_result.last_index = 0;
            CHECK_EQ(receive(n, 3, &m, &why), 0);
        }
    }
    CHECK_EQ(n->role, WDB_CORE_LEADER);
    m.append_result.rejected = last;
    m.append_result.last_index = 0;
    CHECK_EQ(receive(n, 2, &m, &why), 0);
    CHECK(why != NULL);
    m.append_result.rejected = last + 1; /* of the last heartbeat */
    CHECK_EQ(wdb_core_submit(n->core, n->now, 1, &entry), 0);
    CHECK_EQ(receive(n, 2, &m, &why), 0);
    CHECK_EQ(wdb_core_submit(n->core, n->now, 1, &entry), 0);
    timeout(n);
    bool sent = false;
    for (uint32_t i = 0; i < n->sent_count; i++) {
        sent |= n->sent[i].to == 2 &&
                n->sent[i].message.append.previous_index == last;
    }
    CHECK(sent);
    node_free(n);
}
