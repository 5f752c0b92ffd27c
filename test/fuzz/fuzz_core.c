/*
 * fuzz_core.c - the consensus core, and peers that know the secret and lie.
 *
 * The input is a program: the first byte says what the node was before, then
 * come events: messages with any fields (most of them near the node's own
 * terms and indexes, or nothing would get far), time, syncs, and what the owner
 * of a core does. A message goes through encode and decode first: what does not
 * decode never reaches a core.
 *
 * Whatever comes, the core does not reach an assertion (libraft's too, if it was
 * built with them), and its owner is not asked for what it could not do: a lower
 * term, another vote in a term, to drop what is committed. EABORTED is an end:
 * the node then stops, and starts again from what it has stored.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/crc32c.h"
#include "raft/core.h"
#include "raft/message.h"
#include "walkerdb.h"

#define LOG_MAX    200
#define PEER_MAX   4 /* ids 1 (the node) to 4 */
#define EVENTS_MAX 400

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct program {
    const uint8_t *data;
    size_t size, at;
};

/* A base (snapshot) and the log behind it; roles: two bits for each id. */
struct node {
    struct wdb_core *core;
    uint64_t now;
    uint64_t term;
    wdb_node_id voted_for;
    uint64_t base_index, base_term, base_members_index;
    uint8_t base_roles;
    uint64_t core_base;
    uint64_t last, committed, durable;
    uint64_t terms[LOG_MAX + 1];
    uint8_t roles[LOG_MAX + 1]; /* of a CHANGE, else 0 */
    bool barrier[LOG_MAX + 1];
    enum wdb_core_role role;
    const struct wdb_message *receiving;
};

/* --- the program ------------------------------------------------------------ */

static uint8_t next8(struct program *p)
{
    return p->at < p->size ? p->data[p->at++] : 0;
}

/* Near `around`, or anything. */
static uint64_t next_near(struct program *p, uint64_t around)
{
    const uint8_t byte = next8(p);
    uint64_t value = 0;
    if (byte < 0xf0) {
        return around + (uint64_t)(int64_t)(byte % 16) - 4;
    }
    if (byte < 0xf8) {
        return byte - 0xf0;
    }
    for (int i = 0; i < 8; i++) {
        value = value << 8 | next8(p);
    }
    return value;
}

/* One of the indexes that mean something to the node, or near it. */
static uint64_t next_index(struct program *p, const struct node *n)
{
    const uint64_t places[] = {0,          1,       n->base_index, n->core_base,
                               n->durable, n->last, n->committed,  n->last};
    const uint8_t byte = next8(p);
    const uint64_t place = places[byte % 8];
    return byte < 0xa0 ? place : next_near(p, place);
}

static uint64_t term_at(const struct node *n, uint64_t index)
{
    return index == n->base_index                      ? n->base_term
           : index > n->base_index && index <= n->last ? n->terms[index]
                                                       : 0;
}

/* --- members ---------------------------------------------------------------- */

static void make_members(uint8_t roles, struct wdb_members *out)
{
    wdb_members_init(out);
    out->cluster_id = 77;
    for (unsigned i = 0; i < PEER_MAX; i++) {
        const unsigned role = roles >> (2 * i) & 3;
        struct wdb_member member = {
            .id = i + 1,
            .role = role == 1 ? WDB_MEMBER_STANDBY : WDB_MEMBER_VOTER,
        };
        snprintf(member.name, sizeof(member.name), "n%u", i + 1);
        snprintf(member.raft_address, sizeof(member.raft_address), "h:%u",
                 i + 1);
        snprintf(member.tcp_address, sizeof(member.tcp_address), "h:9%u",
                 i + 1);
        if (role != 0) {
            const int rc = wdb_members_add(out, &member);
            wdb_assert(rc == 0);
        }
    }
}

static bool has_voter(uint8_t roles)
{
    return (roles & 0xaa) != 0;
}

/* --- the owner -------------------------------------------------------------- */

static int on_vote(void *context, uint64_t term, wdb_node_id voted_for)
{
    struct node *n = context;
    wdb_assert(term >= n->term); /* as wdb_identity_store asserts */
    wdb_assert(term > n->term || n->voted_for == 0 ||
               n->voted_for == voted_for);
    n->term = term;
    n->voted_for = voted_for;
    return 0;
}

static void on_role(void *context, enum wdb_core_role from,
                    enum wdb_core_role to)
{
    struct node *n = context;
    wdb_assert(n->role == from && from != to);
    n->role = to;
}

static int on_append(void *context, uint64_t index, uint32_t count)
{
    struct node *n = context;
    struct wdb_entry_header header;
    const uint8_t *payload;
    size_t at = 0;
    uint32_t taken = 0;
    wdb_assert(n->receiving != NULL && count > 0);
    wdb_assert(index > n->committed && index > n->base_index);
    wdb_assert(index <= n->last + 1);
    if (index > LOG_MAX || count > LOG_MAX - index) {
        return WALKERDB_ENOSPACE; /* the node stops */
    }
    n->last = index - 1;
    n->durable = n->durable < n->last ? n->durable : n->last;
    while (taken < count &&
           wdb_message_next_entry(n->receiving, &at, &header, &payload)) {
        if (header.index < index) {
            continue;
        }
        wdb_assert(header.index == n->last + 1);
        wdb_assert(header.term >= term_at(n, n->last));
        n->last = header.index;
        n->terms[n->last] = header.term;
        n->barrier[n->last] = header.type == WDB_ENTRY_BARRIER;
        n->roles[n->last] = 0;
        if (header.type == WDB_ENTRY_CHANGE) {
            struct wdb_members members;
            int rc = wdb_members_decode(payload, header.payload_size, &members);
            wdb_assert(rc == 0);
            for (uint32_t i = 0; i < members.count; i++) {
                const unsigned role =
                    members.members[i].role == WDB_MEMBER_VOTER ? 2 : 1;
                n->roles[n->last] |=
                    (uint8_t)(role << (2 * (members.members[i].id - 1)));
            }
            wdb_members_release(&members);
        }
        taken++;
    }
    wdb_assert(taken == count);
    return 0;
}

static int on_barrier(void *context, uint64_t index)
{
    struct node *n = context;
    wdb_assert(index == n->last + 1);
    if (index > LOG_MAX) {
        return WALKERDB_ENOSPACE;
    }
    n->last = index;
    n->terms[index] = n->term;
    n->roles[index] = 0;
    n->barrier[index] = true;
    return 0;
}

/* What it says is what its peers take. */
static void on_send(void *context, wdb_node_id to,
                    const struct wdb_message *message)
{
    struct node *n = context;
    struct wdb_message copy = *message;
    uint8_t bytes[WDB_MESSAGE_HEAD_SIZE + WDB_MESSAGE_FIXED_MAX];
    wdb_assert(to != 0 && to != 1 && message->to == to);
    if (message->kind == WDB_MESSAGE_OFFER) {
        return;
    }
    if (message->kind == WDB_MESSAGE_APPEND) {
        wdb_assert(message->append.previous_index <= n->last &&
                   message->append.entry_count <=
                       n->last - message->append.previous_index);
        copy.append.entry_count = 0; /* read by the owner */
    }
    const size_t size = wdb_message_encode(&copy, bytes);
    const int rc = wdb_message_decode(bytes, size, &copy);
    wdb_assert(rc == 0);
}

static void on_committed(void *context, uint64_t index)
{
    struct node *n = context;
    wdb_assert(index >= n->committed && index <= n->last);
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

/* --- life ------------------------------------------------------------------- */

static void take_base(struct node *n, uint64_t index, uint64_t term,
                      uint64_t members_index, uint8_t roles)
{
    n->base_index = n->core_base = index;
    n->base_term = term;
    n->base_members_index = members_index;
    n->base_roles = roles;
}

/* The last configuration up to index, and where it is. */
static uint8_t roles_at(const struct node *n, uint64_t index,
                        uint64_t *members_index)
{
    for (uint64_t i = index; i > n->base_index; i--) {
        if (n->roles[i] != 0) {
            *members_index = i;
            return n->roles[i];
        }
    }
    *members_index = n->base_members_index;
    return n->base_roles;
}

/* As start.c does, from what is stored. */
static void start(struct node *n)
{
    struct wdb_core_entry entries[LOG_MAX];
    static struct wdb_members of_entry[LOG_MAX];
    struct wdb_members members;
    uint64_t members_index = 0;
    const struct wdb_core_options options = {
        .self = 1,
        .election_timeout_ms = 100,
        .heartbeat_ms = 25,
        .seed = 7,
        .now_ms = n->now,
        .callbacks = &callbacks,
        .context = n,
    };
    wdb_core_free(n->core);
    n->role = WDB_CORE_FOLLOWER;
    n->receiving = NULL;
    if (n->last > n->durable) {
        n->last = n->durable; /* as after a crash */
    }
    if (n->committed > n->last) {
        n->committed = n->last;
    }
    int code = wdb_core_new(&options, &n->core);
    wdb_assert(code == 0);
    const uint8_t roles = roles_at(n, n->committed, &members_index);
    make_members(roles, &members);
    uint32_t count = 0;
    for (uint64_t i = n->base_index + 1; i <= n->last; i++, count++) {
        make_members(n->roles[i], &of_entry[count]);
        entries[count] = (struct wdb_core_entry){
            .term = n->terms[i],
            .type = n->roles[i] != 0 ? WDB_ENTRY_CHANGE
                    : n->barrier[i]  ? WDB_ENTRY_BARRIER
                                     : WDB_ENTRY_COMMAND,
            .members = &of_entry[count],
        };
    }
    n->core_base = n->committed;
    const struct wdb_core_start start = {
        .term = n->term,
        .voted_for = n->voted_for,
        .base_index = n->committed,
        .base_term = term_at(n, n->committed),
        .members_index = members_index,
        .members = &members,
        .first_index = n->base_index + 1,
        .entry_count = count,
        .entries = entries,
    };
    code = wdb_core_start(n->core, &start);
    wdb_assert(code == 0 || code == WALKERDB_ENOSPACE);
    if (code != 0) {
        wdb_core_free(n->core);
        n->core = NULL;
    }
}

static void init(struct node *n, uint8_t kind)
{
    static const uint8_t roles[] = {0x2a, 0x02, 0x0a, 0x29, 0xaa, 0x2a, 0x02};
    *n = (struct node){.now = 1000};
    switch (kind % 8) {
    case 0: /* was never in a cluster */
        break;
    case 1: /* founded one */
        n->term = n->terms[1] = 1;
        n->roles[1] = roles[1];
        n->last = n->durable = n->committed = 1;
        break;
    default: /* has a base, and entries behind it */
        take_base(n, 10, 2, 5, roles[kind % 8 - 1]);
        n->term = 3;
        for (uint64_t i = 11; i <= 14; i++) {
            n->terms[i] = i < 13 ? 2 : 3;
        }
        n->last = n->durable = 14;
        n->committed = 10 + kind % 3;
    }
    start(n);
}

/* --- messages --------------------------------------------------------------- */

/* Entries behind the previous one, as bytes. */
static void add_entries(struct program *p, const struct node *n,
                        struct wdb_message *m, struct wdb_buffer *out)
{
    const uint32_t count = next8(p) % 8;
    uint64_t term = m->append.previous_term;
    for (uint32_t i = 0; i < count; i++) {
        const uint8_t byte = next8(p);
        const uint64_t index = m->append.previous_index + i + 1;
        const uint64_t ours = term_at(n, index);
        struct wdb_entry_header header = {.index = index, .time_ms = 1};
        struct wdb_buffer payload;
        wdb_buffer_init(&payload);
        header.type = byte % 4 == 0   ? WDB_ENTRY_BARRIER
                      : byte % 4 == 1 ? WDB_ENTRY_CHANGE
                                      : WDB_ENTRY_COMMAND;
        if (header.type == WDB_ENTRY_CHANGE) {
            const uint8_t roles = next8(p);
            struct wdb_members members;
            make_members(has_voter(roles) ? roles : 0x2a, &members);
            const int rc = wdb_members_encode(&members, &payload);
            wdb_assert(rc == 0);
            wdb_members_release(&members);
        }
        switch (byte >> 4) {
        case 0: /* the node's own, if it has one */
        case 1:
        case 2:
        case 3:
            term = ours != 0 ? ours : term == 0 ? m->term : term;
            break;
        case 4:
            term++;
            break;
        case 5:
            term = next_near(p, n->term);
            break;
        case 6:
            term = m->term;
            break;
        default:
            term = term == 0 ? m->term : term;
        }
        header.term = term;
        header.payload_size = payload.size;
        header.payload_crc = wdb_crc32c(0, payload.data, payload.size);
        const int rc = wdb_buffer_append(out, &header, sizeof(header)) |
                       wdb_buffer_append(out, payload.data, payload.size);
        wdb_assert(rc == 0);
        wdb_buffer_release(&payload);
    }
    m->append.entry_count = count;
    m->append.entries = out->data;
    m->append.entries_size = out->size;
}

static void fill_append(struct program *p, const struct node *n,
                        struct wdb_message *m, struct wdb_buffer *out)
{
    const uint8_t byte = next8(p);
    m->append.previous_index = next_index(p, n);
    const uint64_t ours = term_at(n, m->append.previous_index);
    m->append.previous_term = byte % 4 == 0 ? next_near(p, n->term)
                              : ours != 0   ? ours
                                            : m->term;
    if (m->append.previous_index == 0) {
        m->append.previous_term = 0;
    }
    m->append.committed = next_index(p, n);
    add_entries(p, n, m, out);
}

static void fill(struct program *p, const struct node *n, struct wdb_message *m,
                 struct wdb_buffer *out)
{
    const uint8_t flags = next8(p);
    switch (m->kind) {
    case WDB_MESSAGE_VOTE:
        m->vote.last_index = next_index(p, n);
        m->vote.last_term =
            m->vote.last_index == 0 ? 0 : next_near(p, n->term - 1);
        m->vote.pre_vote = flags & 1;
        m->vote.disrupt_leader = flags & 2;
        break;
    case WDB_MESSAGE_VOTE_RESULT:
        m->vote_result.request_term =
            flags & 4 ? next_near(p, n->term) : m->term;
        m->vote_result.granted = flags & 1;
        m->vote_result.pre_vote = flags & 2;
        break;
    case WDB_MESSAGE_APPEND:
        fill_append(p, n, m, out);
        break;
    case WDB_MESSAGE_APPEND_RESULT:
        m->append_result.request_term =
            flags & 4 ? next_near(p, n->term) : m->term;
        m->append_result.rejected = flags & 1 ? next_index(p, n) : 0;
        m->append_result.last_index = next_index(p, n);
        break;
    case WDB_MESSAGE_TIMEOUT_NOW:
        m->timeout_now.last_index = flags & 4 ? next_index(p, n) : n->last;
        m->timeout_now.last_term =
            flags & 8 ? next_near(p, n->term) : term_at(n, n->last);
        break;
    default:
        break;
    }
}

static int receive(struct program *p, struct node *n)
{
    static const uint8_t kinds[] = {
        WDB_MESSAGE_VOTE,   WDB_MESSAGE_VOTE_RESULT,   WDB_MESSAGE_APPEND,
        WDB_MESSAGE_APPEND, WDB_MESSAGE_APPEND_RESULT, WDB_MESSAGE_TIMEOUT_NOW,
        WDB_MESSAGE_APPEND, WDB_MESSAGE_APPEND_RESULT,
    };
    const uint8_t byte = next8(p);
    const uint8_t far = next8(p);
    struct wdb_message m = {
        .kind = (enum wdb_message_kind)kinds[byte % 8],
        .to = 1,
        .term = far < 0x60   ? n->term
                : far < 0x90 ? n->term + 1
                             : next_near(p, n->term),
    };
    const wdb_node_id from = byte >= 0xf8 ? byte : 2 + byte / 8 % 3;
    struct wdb_buffer entries, bytes;
    const char *why;
    int code = 0;
    wdb_buffer_init(&entries);
    wdb_buffer_init(&bytes);
    fill(p, n, &m, &entries);
    uint8_t head[WDB_MESSAGE_HEAD_SIZE + WDB_MESSAGE_FIXED_MAX];
    const size_t head_size = wdb_message_encode(&m, head);
    const int rc = wdb_buffer_append(&bytes, head, head_size) |
                   wdb_buffer_append(&bytes, entries.data, entries.size);
    wdb_assert(rc == 0);
    if (wdb_message_decode(bytes.data, bytes.size, &m) == 0) {
        n->receiving = &m;
        code = wdb_core_receive(n->core, n->now, from, &m, &why);
        n->receiving = NULL;
    }
    wdb_buffer_release(&entries);
    wdb_buffer_release(&bytes);
    return code;
}

/* --- what the owner does ---------------------------------------------------- */

static int submit(struct program *p, struct node *n)
{
    const uint8_t byte = next8(p);
    struct wdb_members members;
    uint32_t count = 1 + byte % 4;
    if (n->role != WDB_CORE_LEADER || wdb_core_is_transferring(n->core) ||
        n->last + count > LOG_MAX) {
        return 0;
    }
    struct wdb_core_entry entry = {.term = n->term, .type = WDB_ENTRY_COMMAND};
    wdb_members_init(&members);
    uint8_t roles = 0;
    if (byte & 0x80 && wdb_core_can_change(n->core)) {
        uint64_t index;
        /* One member at a time, as change.c does. */
        roles = roles_at(n, n->last, &index);
        const unsigned shift = 2 * (byte >> 4 & 3);
        roles = (uint8_t)((roles & ~(3u << shift)) | (unsigned)(byte >> 2 & 3)
                                                         << shift);
        roles = has_voter(roles) ? roles : 0;
    }
    if (roles != 0) {
        make_members(roles, &members);
        entry.type = WDB_ENTRY_CHANGE;
        entry.members = &members;
        count = 1;
    }
    for (uint32_t i = 0; i < count; i++) {
        n->last++;
        n->terms[n->last] = n->term;
        n->roles[n->last] = roles;
        n->barrier[n->last] = false;
    }
    const int code = wdb_core_submit(n->core, n->now, count, &entry);
    wdb_members_release(&members);
    return code;
}

static int persist(struct program *p, struct node *n)
{
    const uint64_t index = n->durable + 1 + next8(p) % 4;
    n->durable = index < n->last ? index : n->last;
    return wdb_core_persisted(n->core, n->now, n->durable);
}

static uint64_t settled(const struct node *n)
{
    return n->committed < n->durable ? n->committed : n->durable;
}

static int compact(struct program *p, struct node *n)
{
    const uint64_t room = settled(n) - n->core_base;
    struct wdb_raft_base base = {0};
    if (settled(n) <= n->core_base) {
        return 0;
    }
    base.index = n->core_base + 1 + next8(p) % room;
    base.term = term_at(n, base.index);
    const uint8_t roles = roles_at(n, base.index, &base.members_index);
    const uint32_t trailing = next8(p) % 8;
    if (roles == 0) {
        return 0;
    }
    make_members(roles, &base.members);
    const int code = wdb_core_compacted(n->core, n->now, &base, trailing);
    n->core_base = base.index;
    if (base.index - trailing > n->base_index && trailing < base.index) {
        take_base(n, base.index, base.term, base.members_index, roles);
    }
    return code;
}

static int install(struct program *p, struct node *n)
{
    struct wdb_raft_base base = {
        .index = next_index(p, n),
        .term = next_near(p, n->term),
        .members_index = 1,
    };
    const wdb_node_id leader = wdb_core_leader(n->core);
    if (base.index == 0 || base.index > LOG_MAX || base.term == 0 ||
        base.term > n->term || base.index <= n->committed ||
        term_at(n, base.index) == base.term || n->role != WDB_CORE_FOLLOWER ||
        leader == 0) {
        return 0; /* as catch_up.c */
    }
    const uint8_t roles = next8(p);
    take_base(n, base.index, base.term, 1, has_voter(roles) ? roles : 0x2a);
    make_members(n->base_roles, &base.members);
    n->last = n->durable = n->committed = base.index;
    return wdb_core_installed(n->core, n->now, leader, &base);
}

static int transfer(struct program *p, struct node *n)
{
    const int code = wdb_core_transfer(n->core, n->now, next8(p) % 6);
    return code == WALKERDB_EBUSY || code == WALKERDB_ENOTLEADER ||
                   code == WALKERDB_ENOTFOUND
               ? 0
               : code;
}

static int happen(struct program *p, struct node *n)
{
    const uint8_t byte = next8(p);
    switch (byte % 16) {
    case 0:
        n->now = wdb_core_deadline_ms(n->core);
        return wdb_core_tick(n->core, n->now);
    case 1:
        n->now += byte;
        return wdb_core_tick(n->core, n->now);
    case 2:
    case 3:
        return persist(p, n);
    case 4:
        return submit(p, n);
    case 5:
        return transfer(p, n);
    case 6:
        return compact(p, n);
    case 7:
        return install(p, n);
    case 8:
        if (byte >= 0xc0) {
            start(n);
        }
        return 0;
    default:
        return receive(p, n);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct program p = {.data = data, .size = size};
    struct node n;
    init(&n, next8(&p));
    for (int i = 0; i < EVENTS_MAX && p.at < p.size && n.core != NULL; i++) {
        const int code = happen(&p, &n);
        if (n.core == NULL) {
            break;
        }
        wdb_assert(code == 0 || code == WALKERDB_EABORTED ||
                   code == WALKERDB_ENOSPACE);
        if (code != 0) {
            start(&n);
            continue;
        }
        wdb_assert(wdb_core_index_last(n.core) == n.last);
        wdb_assert(wdb_core_term(n.core) == n.term);
        wdb_assert(wdb_core_role(n.core) == n.role);
    }
    wdb_core_free(n.core);
    return 0;
}
