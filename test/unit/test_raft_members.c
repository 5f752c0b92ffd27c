/* test_raft_members.c - the list of members, its rules and its bytes. */
#include <stdio.h>
#include <stdlib.h>

#include "base/bytes.h"
#include "lib/fault_alloc.h"
#include "lib/test.h"
#include "raft/members.h"
#include "walkerdb.h"

#define HEAD_SIZE 24

/* Copy a short text. */
static void set(char *to, const char *text)
{
    memcpy(to, text, strlen(text) + 1);
}

static struct wdb_member make_member(wdb_node_id id, const char *name)
{
    struct wdb_member m = {.id = id, .role = WDB_MEMBER_VOTER};
    snprintf(m.name, sizeof(m.name), "%s", name);
    snprintf(m.raft_address, sizeof(m.raft_address), "10.0.0.%u:7001",
             (unsigned)id);
    snprintf(m.tcp_address, sizeof(m.tcp_address), "10.0.0.%u:6379",
             (unsigned)id);
    return m;
}

/* Three members, of which the last does not vote, and one that was removed. */
static void make_members(struct wdb_members *members)
{
    wdb_members_init(members);
    members->cluster_id = UINT64_C(0xc0ffee);
    struct wdb_member m = make_member(1, "one");
    REQUIRE_EQ(wdb_members_add(members, &m), 0);
    m = make_member(2, "gone");
    REQUIRE_EQ(wdb_members_add(members, &m), 0);
    m = make_member(3, "three");
    REQUIRE_EQ(wdb_members_add(members, &m), 0);
    m = make_member(4, "four");
    m.role = WDB_MEMBER_STANDBY;
    REQUIRE_EQ(wdb_members_add(members, &m), 0);
    REQUIRE_EQ(wdb_members_remove(members, 2), 0);
}

static void check_equal(const struct wdb_members *a,
                        const struct wdb_members *b)
{
    CHECK_EQ(a->cluster_id, b->cluster_id);
    REQUIRE_EQ(a->count, b->count);
    for (uint32_t i = 0; i < a->count; i++) {
        CHECK_EQ(a->members[i].id, b->members[i].id);
        CHECK_EQ(a->members[i].role, b->members[i].role);
        CHECK_STR(a->members[i].name, b->members[i].name);
        CHECK_STR(a->members[i].raft_address, b->members[i].raft_address);
        CHECK_STR(a->members[i].tcp_address, b->members[i].tcp_address);
    }
    REQUIRE_EQ(a->removed_count, b->removed_count);
    for (uint32_t i = 0; i < a->removed_count; i++) {
        CHECK_EQ(a->removed[i].id, b->removed[i].id);
        CHECK_STR(a->removed[i].name, b->removed[i].name);
    }
}

/* Members are found by id and by name, in the order of joining. */
TEST(find)
{
    struct wdb_members members;
    make_members(&members);
    CHECK_EQ(members.count, 3);
    CHECK_EQ(wdb_members_voters(&members), 2);
    CHECK(wdb_members_find(&members, 1) == &members.members[0]);
    CHECK(wdb_members_find(&members, 3) == &members.members[1]);
    CHECK(wdb_members_find_name(&members, "four") == &members.members[2]);
    CHECK(wdb_members_find(&members, 2) == NULL);
    CHECK(wdb_members_find_name(&members, "gone") == NULL);
    CHECK(wdb_members_is_removed(&members, 2));
    CHECK(!wdb_members_is_removed(&members, 1));
    CHECK(wdb_members_is_removed_name(&members, "gone"));
    CHECK(!wdb_members_is_removed_name(&members, "one"));
    wdb_members_release(&members);
    CHECK_EQ(members.count, 0);
    CHECK_EQ(wdb_members_voters(&members), 0);
}

/* Nobody comes twice, and who was removed never comes back. */
TEST(add_refuses)
{
    struct wdb_members members;
    make_members(&members);
    struct wdb_member m = make_member(5, "three");
    CHECK_EQ(wdb_members_add(&members, &m), WALKERDB_EEXISTS);
    m = make_member(3, "five");
    CHECK_EQ(wdb_members_add(&members, &m), WALKERDB_EEXISTS);
    m = make_member(5, "gone");
    CHECK_EQ(wdb_members_add(&members, &m), WALKERDB_EEXISTS);
    m = make_member(2, "five");
    CHECK_EQ(wdb_members_add(&members, &m), WALKERDB_EEXISTS);
    m = make_member(5, "five");
    set(m.raft_address, "10.0.0.1:7001");
    CHECK_EQ(wdb_members_add(&members, &m), WALKERDB_EEXISTS);
    static const char *const bad[] = {"", "a b", "a\t", "a\n", "\x7f", "\xc3"};
    for (size_t i = 0; i < WDB_COUNT(bad); i++) {
        m = make_member(5, bad[i]);
        CHECK_EQ(wdb_members_add(&members, &m), WALKERDB_EINVALID);
        m = make_member(5, "five");
        set(m.raft_address, bad[i]);
        CHECK_EQ(wdb_members_add(&members, &m), WALKERDB_EINVALID);
        m = make_member(5, "five");
        set(m.tcp_address, bad[i]);
        CHECK_EQ(wdb_members_add(&members, &m), WALKERDB_EINVALID);
    }
    m = make_member(0, "five");
    CHECK_EQ(wdb_members_add(&members, &m), WALKERDB_EINVALID);
    m = make_member(5, "five");
    m.role = (enum wdb_member_role)2;
    CHECK_EQ(wdb_members_add(&members, &m), WALKERDB_EINVALID);
    m = make_member(5, "five");
    memset(m.name, 'n', sizeof(m.name)); /* no terminator */
    CHECK_EQ(wdb_members_add(&members, &m), WALKERDB_EINVALID);
    CHECK_EQ(members.count, 3);
    CHECK_EQ(wdb_members_remove(&members, 5), WALKERDB_ENOTFOUND);
    CHECK_EQ(wdb_members_remove(&members, 2), WALKERDB_ENOTFOUND);
    wdb_members_release(&members);
}

/* The list of members is bounded, and so is that of the removed. */
TEST(limits)
{
    struct wdb_members members, back;
    struct wdb_buffer out = WDB_BUFFER_INIT;
    char name[16];
    wdb_members_init(&members);
    members.cluster_id = 1;
    for (uint32_t i = 1; i <= WDB_REMOVED_MAX + WDB_MEMBERS_MAX; i++) {
        snprintf(name, sizeof(name), "n%u", (unsigned)i);
        const struct wdb_member m = make_member(i, name);
        REQUIRE_EQ(wdb_members_add(&members, &m), 0);
        if (i <= WDB_REMOVED_MAX) {
            REQUIRE_EQ(wdb_members_remove(&members, i), 0);
        }
    }
    const struct wdb_member m = make_member(9999, "more");
    CHECK_EQ(wdb_members_add(&members, &m), WALKERDB_ETOOBIG);
    CHECK_EQ(wdb_members_remove(&members, WDB_REMOVED_MAX + 1),
             WALKERDB_ETOOBIG);
    CHECK_EQ(members.count, WDB_MEMBERS_MAX);
    REQUIRE_EQ(wdb_members_encode(&members, &out), 0);
    REQUIRE_EQ(wdb_members_decode(out.data, out.size, &back), 0);
    check_equal(&members, &back);
    wdb_members_release(&back);
    wdb_members_release(&members);
    wdb_buffer_release(&out);
}

/* A copy is deep, and replaces what was there. */
TEST(copy)
{
    struct wdb_members members, other;
    make_members(&members);
    make_members(&other);
    REQUIRE_EQ(wdb_members_remove(&other, 3), 0);
    REQUIRE_EQ(wdb_members_copy(&members, &other), 0);
    check_equal(&members, &other);
    CHECK(members.removed != other.removed);
    REQUIRE_EQ(wdb_members_copy(&other, &other), 0);
    check_equal(&members, &other);
    wdb_members_release(&members);
    CHECK_EQ(other.removed[0].id, 2);
    struct wdb_members empty;
    wdb_members_init(&empty);
    REQUIRE_EQ(wdb_members_copy(&empty, &other), 0);
    CHECK_EQ(other.count, 0);
    CHECK(other.removed == NULL);
}

/* What is encoded is decoded to the same; encoding appends. */
TEST(round_trip)
{
    struct wdb_members members, back;
    struct wdb_buffer out = WDB_BUFFER_INIT;
    make_members(&members);
    memset(members.members[0].name, 'n', WDB_MEMBER_NAME_MAX);
    memset(members.members[0].raft_address, 'r', WDB_MEMBER_ADDRESS_MAX);
    memset(members.members[0].tcp_address, 't', WDB_MEMBER_ADDRESS_MAX);
    REQUIRE_EQ(wdb_buffer_append(&out, "12345678", 8), 0);
    REQUIRE_EQ(wdb_members_encode(&members, &out), 0);
    CHECK_EQ(out.size % 8, 0);
    CHECK_MEM(out.data, 8, "12345678", 8);
    REQUIRE_EQ(wdb_members_decode(out.data + 8, out.size - 8, &back), 0);
    check_equal(&members, &back);
    wdb_members_release(&back);
    wdb_members_release(&members);
    wdb_buffer_release(&out);
}

/* Fields that were set past the rules are not encoded. */
TEST(encode_refuses)
{
    struct wdb_members members;
    struct wdb_buffer out = WDB_BUFFER_INIT;
#define REFUSED(change)                                                        \
    do {                                                                       \
        make_members(&members);                                                \
        change;                                                                \
        CHECK_EQ(wdb_members_encode(&members, &out), WALKERDB_EINVALID);       \
        CHECK_EQ(out.size, 0);                                                 \
        wdb_members_release(&members);                                         \
    } while (0)
    REFUSED(members.cluster_id = 0);
    REFUSED(members.members[0].id = 3);
    REFUSED(members.members[0].id = 0);
    REFUSED(set(members.members[0].name, "three"));
    REFUSED(set(members.members[0].name, "gone"));
    REFUSED(set(members.members[0].name, ""));
    REFUSED(set(members.members[0].raft_address, "10.0.0.3:7001"));
    REFUSED(set(members.members[0].tcp_address, "a b"));
    REFUSED(members.members[0].role = (enum wdb_member_role)7);
    REFUSED(members.members[0].role = members.members[1].role =
                WDB_MEMBER_STANDBY);
    REFUSED(members.removed[0].id = 1);
    REFUSED(members.removed[0].id = 0);
    REFUSED(set(members.removed[0].name, "one"));
    wdb_buffer_release(&out);
}

static int decode(const uint8_t *data, size_t size)
{
    struct wdb_members back;
    const int rc = wdb_members_decode(data, size, &back);
    if (rc == 0) {
        wdb_members_release(&back);
    }
    return rc;
}

/* Every prefix, every longer text, and every flipped bit is refused, or is the
 * encoding of something else. */
TEST(strict_decode)
{
    struct wdb_members members, back;
    struct wdb_buffer out = WDB_BUFFER_INIT, again = WDB_BUFFER_INIT;
    make_members(&members);
    REQUIRE_EQ(wdb_members_encode(&members, &out), 0);
    for (size_t size = 0; size < out.size; size++) {
        CHECK_EQ(decode(out.data, size), WALKERDB_ECORRUPT);
    }
    for (size_t bit = 0; bit < out.size * 8; bit++) {
        out.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
        if (wdb_members_decode(out.data, out.size, &back) == 0) {
            wdb_buffer_clear(&again);
            CHECK_EQ(wdb_members_encode(&back, &again), 0);
            CHECK_MEM(again.data, again.size, out.data, out.size);
            wdb_members_release(&back);
        }
        out.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    const size_t size = out.size;
    REQUIRE_EQ(wdb_buffer_append(&out, "\0\0\0\0\0\0\0\0", 8), 0);
    CHECK_EQ(decode(out.data, out.size), WALKERDB_ECORRUPT);
    CHECK_EQ(decode(out.data, size), 0);
    /* Version, reserved bytes, counts, reserved bytes of a member. */
    static const uint8_t places[] = {0, 4, 16, 20, HEAD_SIZE + 14};
    for (size_t i = 0; i < WDB_COUNT(places); i++) {
        out.data[places[i]] ^= 2;
        CHECK_EQ(decode(out.data, size), WALKERDB_ECORRUPT);
        out.data[places[i]] ^= 2;
    }
    memset(out.data + 8, 0, 8); /* cluster id */
    CHECK_EQ(decode(out.data, size), WALKERDB_ECORRUPT);
    wdb_members_release(&members);
    wdb_buffer_release(&out);
    wdb_buffer_release(&again);
}

/* A count that the bytes cannot hold allocates nothing. */
TEST(decode_counts)
{
    uint8_t head[HEAD_SIZE] = {1, [8] = 1};
    wdb_store32(head + 20, WDB_REMOVED_MAX);
    const uint64_t before = fault_alloc_count();
    CHECK_EQ(decode(head, sizeof(head)), WALKERDB_ECORRUPT);
    CHECK_EQ(fault_alloc_count() - before, 0);
    wdb_store32(head + 20, UINT32_MAX);
    CHECK_EQ(decode(head, sizeof(head)), WALKERDB_ECORRUPT);
    wdb_store32(head + 20, 0);
    wdb_store32(head + 16, UINT32_MAX);
    CHECK_EQ(decode(head, sizeof(head)), WALKERDB_ECORRUPT);
}

static int all_operations(void)
{
    struct wdb_members members, back, copy;
    struct wdb_buffer out = WDB_BUFFER_INIT;
    const struct wdb_member one = make_member(1, "one");
    const struct wdb_member two = make_member(2, "two");
    wdb_members_init(&members);
    wdb_members_init(&back);
    wdb_members_init(&copy);
    members.cluster_id = 7;
    int rc = wdb_members_add(&members, &one);
    if (rc == 0) {
        rc = wdb_members_add(&members, &two);
    }
    if (rc == 0) {
        rc = wdb_members_remove(&members, 2);
        CHECK_EQ(members.count, rc == 0 ? 1 : 2);
    }
    if (rc == 0) {
        rc = wdb_members_encode(&members, &out);
    }
    if (rc == 0) {
        rc = wdb_members_decode(out.data, out.size, &back);
    }
    if (rc == 0) {
        rc = wdb_members_copy(&back, &copy);
        CHECK_EQ(copy.count, rc == 0 ? 1 : 0);
    }
    wdb_members_release(&members);
    wdb_members_release(&back);
    wdb_members_release(&copy);
    wdb_buffer_release(&out);
    return rc;
}

/* Whatever allocation fails, the error says so and nothing leaks. */
TEST(out_of_memory)
{
    for (uint64_t n = 1;; n++) {
        fault_alloc_arm(n);
        const int rc = all_operations();
        if (!fault_alloc_disarm()) {
            CHECK_EQ(rc, 0);
            CHECK(n > 4);
            break;
        }
        CHECK_EQ(rc, WALKERDB_ENOMEM);
    }
}

/* --- against a model -------------------------------------------------------
 */

#define MODEL_NODES 24

/* Node n has id n + 1, name "m<n>", and the address that is given to it. */
struct model {
    enum {
        FREE,
        MEMBER,
        REMOVED
    } state[MODEL_NODES];
    enum wdb_member_role role[MODEL_NODES];
    unsigned address[MODEL_NODES];
    unsigned order[MODEL_NODES]; /* when it became what it is */
    unsigned now, count;
};

static int model_add(struct model *model, unsigned node, unsigned address,
                     enum wdb_member_role role)
{
    for (unsigned i = 0; i < MODEL_NODES; i++) {
        if (model->state[i] == MEMBER && model->address[i] == address) {
            return WALKERDB_EEXISTS;
        }
    }
    if (model->state[node] != FREE) {
        return WALKERDB_EEXISTS;
    }
    if (model->count == WDB_MEMBERS_MAX) {
        return WALKERDB_ETOOBIG;
    }
    model->state[node] = MEMBER;
    model->role[node] = role;
    model->address[node] = address;
    model->order[node] = model->now++;
    model->count++;
    return 0;
}

static int model_remove(struct model *model, unsigned node)
{
    if (model->state[node] != MEMBER) {
        return WALKERDB_ENOTFOUND;
    }
    model->state[node] = REMOVED;
    model->order[node] = model->now++;
    model->count--;
    return 0;
}

/* The real list says the same as the model about every node. */
static void compare(const struct model *model,
                    const struct wdb_members *members)
{
    uint32_t removed = 0, voters = 0;
    CHECK_EQ(members->count, model->count);
    for (unsigned i = 0; i < MODEL_NODES; i++) {
        const struct wdb_member *m = wdb_members_find(members, i + 1);
        CHECK((m != NULL) == (model->state[i] == MEMBER));
        CHECK(wdb_members_is_removed(members, i + 1) ==
              (model->state[i] == REMOVED));
        if (m != NULL) {
            CHECK_EQ(m->role, model->role[i]);
            CHECK(wdb_members_find_name(members, m->name) == m);
            voters += m->role == WDB_MEMBER_VOTER;
        }
        removed += model->state[i] == REMOVED;
    }
    CHECK_EQ(members->removed_count, removed);
    CHECK_EQ(wdb_members_voters(members), voters);
    for (uint32_t i = 1; i < members->count; i++) {
        CHECK(model->order[members->members[i - 1].id - 1] <
              model->order[members->members[i].id - 1]);
    }
    for (uint32_t i = 1; i < members->removed_count; i++) {
        CHECK(model->order[members->removed[i - 1].id - 1] <
              model->order[members->removed[i].id - 1]);
    }
}

/* Encode and decode, as a restart or a follower does; then go on with that. */
static void pass_on(struct wdb_members *members)
{
    struct wdb_buffer out = WDB_BUFFER_INIT;
    const int rc = wdb_members_encode(members, &out);
    if (wdb_members_voters(members) == 0) {
        CHECK_EQ(rc, WALKERDB_EINVALID);
    } else {
        struct wdb_members back;
        REQUIRE_EQ(rc, 0);
        REQUIRE_EQ(wdb_members_decode(out.data, out.size, &back), 0);
        check_equal(members, &back);
        wdb_members_release(members);
        *members = back;
    }
    wdb_buffer_release(&out);
}

static void random_step(struct test_random *random, struct model *model,
                        struct wdb_members *members)
{
    const unsigned node = (unsigned)test_random_below(random, MODEL_NODES);
    const unsigned address = (unsigned)test_random_below(random, 40);
    struct wdb_member *known =
        (struct wdb_member *)wdb_members_find(members, node + 1);
    switch (test_random_below(random, 8)) {
    case 0:
        CHECK_EQ(wdb_members_remove(members, node + 1),
                 model_remove(model, node));
        return;
    case 1:
        if (known != NULL) {
            known->role = WDB_MEMBER_VOTER;
            model->role[node] = WDB_MEMBER_VOTER;
        }
        return;
    case 2:
        pass_on(members);
        return;
    default: {
        char name[8];
        snprintf(name, sizeof(name), "m%u", node);
        struct wdb_member m = make_member(node + 1, name);
        m.role = (enum wdb_member_role)test_random_below(random, 2);
        snprintf(m.raft_address, sizeof(m.raft_address), "h:%u", address);
        CHECK_EQ(wdb_members_add(members, &m),
                 model_add(model, node, address, m.role));
    }
    }
}

/* Random changes do to the list what they do to the model. */
TEST(model)
{
    const uint64_t rounds = test_number("WDB_TEST_ROUNDS", 200);
    for (uint64_t seed = 1; seed <= rounds && !test_has_failed(); seed++) {
        struct test_random random = {test_number("WDB_TEST_SEED", 0) + seed};
        struct model model = {0};
        struct wdb_members members;
        wdb_members_init(&members);
        members.cluster_id = seed;
        for (int i = 0; i < 120 && !test_has_failed(); i++) {
            random_step(&random, &model, &members);
            compare(&model, &members);
        }
        wdb_members_release(&members);
    }
}
