/* test_raft_identity.c - the file of id, term and vote: power cuts, damage. */
#include <stdio.h>
#include <stdlib.h>

#include "base/bytes.h"
#include "base/crc32c.h"
#include "lib/fault_alloc.h"
#include "lib/test.h"
#include "raft/identity.h"
#include "sim/sim_explore.h"
#include "walkerdb.h"

#define DIR  "."
#define PATH "./" WDB_IDENTITY_NAME
#define SLOT WDB_IDENTITY_SLOT_SIZE
#define STEP WDB_IDENTITY_SLOT_STEP

/* --- a machine -------------------------------------------------------------
 */

struct machine {
    struct sim_disk *disk;
    struct sim_env *sim;
    struct wdb_env *env;
};

static void machine_init(struct machine *m)
{
    m->disk = sim_disk_new();
    m->sim = sim_env_new(m->disk, 7, NULL);
    m->env = sim_env_base(m->sim);
}

static void machine_release(struct machine *m)
{
    CHECK_EQ(sim_env_open_count(m->sim), 0);
    sim_env_free(m->sim);
    sim_disk_free(m->disk);
}

/* Open; the message, if any, is checked for a part of it and freed. */
static int open_as(struct wdb_env *env, const char *name,
                   struct wdb_identity *out, const char *part)
{
    char *message;
    const int rc = wdb_identity_open(env, DIR, name, out, &message);
    CHECK((message == NULL) == (part == NULL));
    if (message != NULL && part != NULL) {
        CHECK(strstr(message, part) != NULL);
    }
    free(message);
    return rc;
}

/* A file with two stores behind it: term 5, a vote for 99. */
static wdb_node_id make_file(struct machine *m)
{
    struct wdb_identity identity = {0};
    CHECK_EQ(open_as(m->env, "one", &identity, NULL), 0);
    identity.term = 4;
    CHECK_EQ(wdb_identity_store(&identity), 0);
    identity.term = 5;
    identity.voted_for = 99;
    identity.cluster_id = 11;
    identity.log_nonce = 12;
    CHECK_EQ(wdb_identity_store(&identity), 0);
    wdb_identity_close(&identity);
    return identity.id;
}

static uint8_t *read_file(struct machine *m, size_t *size_out)
{
    void *data = NULL;
    CHECK_EQ(wdb_env_read_file(m->env, PATH, 1 << 20, &data, size_out), 0);
    return data;
}

static void write_file(struct machine *m, const uint8_t *data, size_t size)
{
    CHECK_EQ(wdb_env_replace_file(m->env, DIR, WDB_IDENTITY_NAME, data, size),
             0);
}

/* --- tests -----------------------------------------------------------------
 */

/* The first start draws an id; the next ones find it, and what was stored. */
TEST(create_and_open)
{
    struct machine m;
    struct wdb_identity identity;
    machine_init(&m);
    REQUIRE_EQ(open_as(m.env, "one", &identity, NULL), 0);
    CHECK(identity.id != 0);
    CHECK_EQ(identity.term, 0);
    CHECK_EQ(identity.voted_for, 0);
    CHECK_EQ(identity.cluster_id, 0);
    CHECK_EQ(identity.log_nonce, 0);
    CHECK(!identity.removed);
    CHECK_STR(identity.name, "one");
    const wdb_node_id id = identity.id;
    identity.term = 3;
    identity.voted_for = 8;
    identity.cluster_id = 9;
    identity.log_nonce = 10;
    identity.removed = true;
    REQUIRE_EQ(wdb_identity_store(&identity), 0);
    wdb_identity_close(&identity);
    memset(&identity, 0, sizeof(identity));
    REQUIRE_EQ(open_as(m.env, "one", &identity, NULL), 0);
    CHECK(identity.id == id);
    CHECK_EQ(identity.term, 3);
    CHECK_EQ(identity.voted_for, 8);
    CHECK_EQ(identity.cluster_id, 9);
    CHECK_EQ(identity.log_nonce, 10);
    CHECK(identity.removed);
    CHECK_STR(identity.name, "one");
    wdb_identity_close(&identity);
    wdb_identity_close(&identity);
    size_t size;
    uint8_t *data = read_file(&m, &size);
    CHECK_EQ(size, WDB_IDENTITY_FILE_SIZE);
    CHECK_MEM(data, STEP, data + STEP, STEP);
    free(data);
    machine_release(&m);
}

/* A name that is no name, and a directory of another node. */
TEST(names)
{
    struct machine m;
    struct wdb_identity identity;
    char name[WDB_MEMBER_NAME_MAX + 2];
    machine_init(&m);
    CHECK_EQ(open_as(m.env, "", &identity, "printable"), WALKERDB_EINVALID);
    CHECK_EQ(open_as(m.env, "a b", &identity, "printable"), WALKERDB_EINVALID);
    memset(name, 'n', sizeof(name));
    name[WDB_MEMBER_NAME_MAX + 1] = 0;
    CHECK_EQ(open_as(m.env, name, &identity, "printable"), WALKERDB_EINVALID);
    name[WDB_MEMBER_NAME_MAX] = 0;
    CHECK_EQ(open_as(m.env, name, &identity, NULL), 0);
    CHECK_STR(identity.name, name);
    wdb_identity_close(&identity);
    name[WDB_MEMBER_NAME_MAX - 1] = 0;
    CHECK_EQ(open_as(m.env, name, &identity, "start with -id nnn"),
             WALKERDB_EEXISTS);
    machine_release(&m);
}

/* --- power cuts ------------------------------------------------------------
 */

struct notes {
    bool is_open;         /* the first open returned: the id is known */
    wdb_node_id id;       /* 0: not known yet */
    uint64_t term_stored; /* store() of it returned */
    uint64_t term_tried;  /* store() of it was called */
};

#define TERMS 4

static void workload(void *context, struct sim_env *env)
{
    struct notes *notes = context;
    struct wdb_identity identity = {0};
    for (int run = 0; run < 2; run++) {
        CHECK_EQ(open_as(sim_env_base(env), "one", &identity, NULL), 0);
        CHECK(notes->id == 0 || notes->id == identity.id);
        notes->id = identity.id;
        for (int i = 0; i < TERMS; i++) {
            identity.term++;
            identity.voted_for = identity.term * 10;
            notes->term_tried = identity.term;
            CHECK_EQ(wdb_identity_store(&identity), 0);
            notes->term_stored = identity.term;
        }
        wdb_identity_close(&identity);
    }
}

/* The identity is the old or the new one; and it stays so if one slot is
 * damaged after it was read. */
static bool check(void *context, struct sim_env *env,
                  const struct sim_state *state)
{
    const struct notes *notes = context;
    struct wdb_identity identity, again;
    char *message;
    (void)state;
    if (wdb_identity_open(sim_env_base(env), DIR, "one", &identity, &message) !=
        0) {
        free(message);
        return false;
    }
    free(message);
    const bool is_right = (notes->id == 0 || identity.id == notes->id) &&
                          identity.term >= notes->term_stored &&
                          identity.term <= notes->term_tried &&
                          identity.voted_for == identity.term * 10;
    wdb_identity_close(&identity);
    for (uint64_t slot = 0; slot < 2; slot++) {
        if (sim_disk_flip_bit(sim_env_disk(env), PATH, slot * STEP + 48, 0) !=
            0) {
            return false;
        }
        if (wdb_identity_open(sim_env_base(env), DIR, "one", &again,
                              &message) != 0) {
            free(message);
            return false;
        }
        free(message);
        const bool is_same = again.term == identity.term &&
                             again.id == identity.id &&
                             again.voted_for == identity.voted_for;
        wdb_identity_close(&again);
        if (!is_same) {
            return false;
        }
    }
    return is_right;
}

static void recover(void *context, struct sim_env *env)
{
    struct wdb_identity identity;
    char *message;
    (void)context;
    if (wdb_identity_open(sim_env_base(env), DIR, "one", &identity, &message) ==
        0) {
        wdb_identity_close(&identity);
    }
    free(message);
}

/* A power cut at any operation of creating and storing, and of the recovery
 * from it, leaves the old identity or the new one. */
TEST(power_cuts)
{
    struct notes notes = {0};
    struct sim_explore_result result;
    char text[128];
    struct sim_disk *disk = sim_disk_new();
    const struct sim_explore explore = {
        .disk = disk,
        .seed = test_number("WDB_TEST_SEED", 1),
        .states_per_policy = (uint32_t)test_number("WDB_TEST_ROUNDS", 20),
        .workload = workload,
        .check = check,
        .recover = recover,
        .context = &notes,
    };
    sim_explore(&explore, &result);
    if (result.failure_count != 0) {
        sim_state_print(&result.failure, text, sizeof(text));
        test_fail(__FILE__, __LINE__, "%s", text);
    }
    CHECK(result.op_count >= 5 + 16 * TERMS / 2);
    CHECK(result.state_count > 500);
    sim_disk_free(disk);
}

/* A process that is killed leaves in the page cache what is not on the disk:
 * who reads it there must not build on it before it is durable. */
TEST(kill_then_power_cut)
{
    for (uint64_t killed_at = 1; killed_at < 20; killed_at++) {
        struct machine m;
        struct wdb_identity identity, back;
        char *message;
        struct wdb_random random;
        machine_init(&m);
        sim_env_die_after(m.sim, killed_at);
        if (wdb_identity_open(m.env, DIR, "one", &identity, &message) == 0) {
            identity.term = 1;
            if (wdb_identity_store(&identity) == 0) {
                identity.term = 2;
                (void)!wdb_identity_store(&identity);
            }
        }
        free(message);
        sim_env_free(m.sim);
        m.sim = sim_env_new(m.disk, 8, NULL);
        m.env = sim_env_base(m.sim);
        REQUIRE_EQ(wdb_identity_open(m.env, DIR, "one", &identity, &message),
                   0);
        free(message);
        sim_env_free(m.sim);
        wdb_random_seed(&random, killed_at);
        sim_disk_crash(m.disk, SIM_CRASH_DROP, &random);
        m.sim = sim_env_new(m.disk, 9, NULL);
        m.env = sim_env_base(m.sim);
        REQUIRE_EQ(wdb_identity_open(m.env, DIR, "one", &back, &message), 0);
        CHECK(message == NULL);
        free(message);
        CHECK(back.id == identity.id);
        CHECK_EQ(back.term, identity.term);
        wdb_identity_close(&back);
        machine_release(&m);
    }
}

/* Never are both slots under way to the disk: what a killed process wrote into
 * one is synced before the other one is written. */
TEST(sync_before_repair)
{
    struct machine m;
    struct wdb_identity identity;
    machine_init(&m);
    make_file(&m);
    REQUIRE_EQ(open_as(m.env, "one", &identity, NULL), 0);
    sim_env_die_after(m.sim, sim_env_op_number(m.sim) + 1);
    identity.term = 6;
    CHECK_EQ(wdb_identity_store(&identity), WALKERDB_EIO);
    sim_env_free(m.sim);
    m.sim = sim_env_new(m.disk, 8, NULL);
    m.env = sim_env_base(m.sim);
    sim_env_fail(m.sim, (struct sim_fault){.op = SIM_OP_SYNC,
                                           .nth = 1,
                                           .error = WALKERDB_EIO});
    CHECK_EQ(open_as(m.env, "one", &identity, PATH), WALKERDB_EIO);
    CHECK_EQ(sim_env_count(m.sim, SIM_OP_WRITE), 0);
    machine_release(&m);
}

/* --- damage ----------------------------------------------------------------
 */

/* Any damaged bit of one slot is survived, and the slot is written anew. */
TEST(one_slot_damaged)
{
    struct machine m;
    machine_init(&m);
    const wdb_node_id id = make_file(&m);
    for (uint64_t at = 0; at < 2 * SLOT; at++) {
        struct wdb_identity identity;
        const uint64_t place = at < SLOT ? at : STEP + at - SLOT;
        REQUIRE_EQ(sim_disk_flip_bit(m.disk, PATH, place, (unsigned)(at % 8)),
                   0);
        REQUIRE_EQ(open_as(m.env, "one", &identity, NULL), 0);
        CHECK(identity.repaired);
        CHECK(identity.id == id);
        CHECK_EQ(identity.term, 5);
        CHECK_EQ(identity.voted_for, 99);
        wdb_identity_close(&identity);
        REQUIRE_EQ(open_as(m.env, "one", &identity, NULL), 0);
        CHECK(!identity.repaired);
        wdb_identity_close(&identity);
        if (test_has_failed()) {
            break;
        }
    }
    machine_release(&m);
}

/* With both damaged nobody knows the vote: the node does not start, and says
 * of which file that is and what to do. */
TEST(both_damaged)
{
    struct machine m;
    struct wdb_identity identity;
    machine_init(&m);
    make_file(&m);
    REQUIRE_EQ(sim_disk_flip_bit(m.disk, PATH, 48, 0), 0);
    REQUIRE_EQ(sim_disk_flip_bit(m.disk, PATH, STEP + 48, 0), 0);
    CHECK_EQ(open_as(m.env, "one", &identity, PATH), WALKERDB_ECORRUPT);
    CHECK_EQ(open_as(m.env, "one", &identity, "another -id"),
             WALKERDB_ECORRUPT);
    write_file(&m, (const uint8_t *)"", 0);
    CHECK_EQ(open_as(m.env, "one", &identity, PATH), WALKERDB_ECORRUPT);
    uint8_t *large = calloc(2, 1 << 20);
    REQUIRE(large != NULL);
    write_file(&m, large, 2 << 20);
    CHECK_EQ(open_as(m.env, "one", &identity, PATH), WALKERDB_ECORRUPT);
    free(large);
    machine_release(&m);
}

/* A file that was cut behind its first slot is good for once. */
TEST(cut_file)
{
    struct machine m;
    struct wdb_identity identity;
    size_t size;
    machine_init(&m);
    make_file(&m);
    uint8_t *data = read_file(&m, &size);
    write_file(&m, data, SLOT);
    REQUIRE_EQ(open_as(m.env, "one", &identity, NULL), 0);
    CHECK(identity.repaired);
    CHECK_EQ(identity.term, 5);
    wdb_identity_close(&identity);
    REQUIRE_EQ(open_as(m.env, "one", &identity, NULL), 0);
    wdb_identity_close(&identity);
    free(data);
    machine_release(&m);
}

/* Give the slot a right checksum. */
static void repair(uint8_t *slot)
{
    wdb_store32(slot + SLOT - 4, wdb_crc32c(0, slot, SLOT - 4));
}

/* The higher number counts, in whatever slot; equal numbers must agree. */
TEST(numbers)
{
    struct machine m;
    struct wdb_identity identity;
    unsigned damaged, old;
    size_t size;
    machine_init(&m);
    make_file(&m);
    uint8_t *data = read_file(&m, &size);
    for (size_t slot = 0; slot < 2; slot++) {
        uint8_t *other = data + (1 - slot) * STEP;
        const uint64_t number = wdb_load64(other + 16);
        wdb_store64(other + 16, number - 1);
        wdb_store64(other + 48, 4); /* term */
        repair(other);
        REQUIRE_EQ(wdb_identity_choose(data, size, &identity, &damaged, &old),
                   0);
        CHECK_EQ(identity.term, 5);
        CHECK_EQ(damaged, 0);
        CHECK_EQ(old, 1u << (1 - slot));
        write_file(&m, data, size);
        REQUIRE_EQ(open_as(m.env, "one", &identity, NULL), 0);
        CHECK_EQ(identity.term, 5);
        wdb_identity_close(&identity);
        wdb_store64(other + 16, number);
        repair(other);
        CHECK_EQ(wdb_identity_choose(data, size, &identity, &damaged, &old),
                 WALKERDB_ECORRUPT);
        wdb_store64(other + 48, 5);
        repair(other);
        REQUIRE_EQ(wdb_identity_choose(data, size, &identity, &damaged, &old),
                   0);
        CHECK_EQ(old, 0);
    }
    free(data);
    machine_release(&m);
}

/* Change a byte of both slots, with right checksums. */
static int choose_changed(size_t at, uint8_t to)
{
    struct machine m;
    struct wdb_identity identity;
    unsigned damaged, old;
    size_t size;
    machine_init(&m);
    make_file(&m);
    uint8_t *data = read_file(&m, &size);
    for (size_t slot = 0; slot < 2; slot++) {
        data[slot * STEP + at] = to;
        repair(data + slot * STEP);
    }
    const int rc = wdb_identity_choose(data, size, &identity, &damaged, &old);
    free(data);
    machine_release(&m);
    return rc;
}

/* A right checksum does not make wrong content right. */
TEST(strict_decode)
{
    CHECK_EQ(choose_changed(0, 'k'), 0);
    CHECK_EQ(choose_changed(0, 'x'), WALKERDB_ECORRUPT);
    CHECK_EQ(choose_changed(8, 2), WALKERDB_EVERSION);
    CHECK_EQ(choose_changed(8, 0), WALKERDB_ECORRUPT);
    CHECK_EQ(choose_changed(12, 1), 0);
    CHECK_EQ(choose_changed(12, 2), WALKERDB_ECORRUPT); /* flags */
    CHECK_EQ(choose_changed(16, 0), WALKERDB_ECORRUPT); /* number */
    CHECK_EQ(choose_changed(64, 0), WALKERDB_ECORRUPT); /* name */
    CHECK_EQ(choose_changed(65, ' '), WALKERDB_ECORRUPT);
    CHECK_EQ(choose_changed(68, 'x'), WALKERDB_ECORRUPT);
    CHECK_EQ(choose_changed(127, 'x'), WALKERDB_ECORRUPT);
    CHECK_EQ(choose_changed(128, 1), WALKERDB_ECORRUPT);
    CHECK_EQ(choose_changed(507, 1), WALKERDB_ECORRUPT);
}

/* A file of a newer version is not touched. */
TEST(newer_version)
{
    struct machine m;
    struct wdb_identity identity;
    size_t size, again_size;
    machine_init(&m);
    make_file(&m);
    uint8_t *data = read_file(&m, &size);
    data[8] = 2;
    repair(data);
    write_file(&m, data, size);
    CHECK_EQ(open_as(m.env, "one", &identity, "newer version"),
             WALKERDB_EVERSION);
    uint8_t *again = read_file(&m, &again_size);
    CHECK_MEM(data, size, again, again_size);
    free(again);
    free(data);
    machine_release(&m);
}

/* --- failures --------------------------------------------------------------
 */

/* After a write or sync that failed nothing is stored any more; what is there
 * is the old or the new state. */
TEST(store_fails)
{
    static const enum sim_op ops[] = {SIM_OP_WRITE, SIM_OP_SYNC};
    for (size_t i = 0; i < WDB_COUNT(ops); i++) {
        for (uint64_t nth = 1; nth <= 2; nth++) {
            struct machine m;
            struct wdb_identity identity;
            char *message;
            machine_init(&m);
            make_file(&m);
            REQUIRE_EQ(open_as(m.env, "one", &identity, NULL), 0);
            identity.term = 6;
            sim_env_fail(m.sim, (struct sim_fault){.op = ops[i],
                                                   .nth = nth,
                                                   .error = WALKERDB_EIO,
                                                   .is_partial = true});
            CHECK_EQ(wdb_identity_store(&identity), WALKERDB_EIO);
            CHECK_EQ(wdb_identity_store(&identity), WALKERDB_EIO);
            CHECK_EQ(sim_env_clear_faults(m.sim), 1);
            wdb_identity_close(&identity);
            REQUIRE_EQ(
                wdb_identity_open(m.env, DIR, "one", &identity, &message), 0);
            free(message);
            CHECK(identity.term == 5 || identity.term == 6);
            wdb_identity_close(&identity);
            machine_release(&m);
        }
    }
}

/* Every operation of opening may fail; then it says so, and leaves nothing
 * open, and the next attempt finds or makes an identity. */
TEST(open_fails)
{
    for (int has_file = 0; has_file < 2; has_file++) {
        for (uint64_t nth = 1;; nth++) {
            struct machine m;
            struct wdb_identity identity;
            char *message;
            machine_init(&m);
            const wdb_node_id id = has_file ? make_file(&m) : 0;
            sim_env_fail(m.sim, (struct sim_fault){.op = SIM_OP_ANY,
                                                   .nth = nth,
                                                   .error = WALKERDB_EIO});
            int rc = wdb_identity_open(m.env, DIR, "one", &identity, &message);
            const bool has_failed = sim_env_clear_faults(m.sim) != 0;
            CHECK_EQ(rc, has_failed ? WALKERDB_EIO : 0);
            CHECK((message != NULL) == has_failed);
            free(message);
            if (has_failed) {
                CHECK_EQ(sim_env_open_count(m.sim), 0);
                rc = open_as(m.env, "one", &identity, NULL);
                CHECK_EQ(rc, 0);
            }
            CHECK(id == 0 || identity.id == id);
            wdb_identity_close(&identity);
            machine_release(&m);
            if (!has_failed) {
                CHECK(nth > 4);
                break;
            }
        }
    }
}

/* Without space there is no new identity; and none is half there. */
TEST(no_space)
{
    struct machine m;
    struct wdb_identity identity;
    machine_init(&m);
    sim_env_fail(m.sim, (struct sim_fault){.op = SIM_OP_WRITE,
                                           .nth = 1,
                                           .error = WALKERDB_ENOSPACE,
                                           .is_partial = true});
    CHECK_EQ(open_as(m.env, "one", &identity, PATH), WALKERDB_ENOSPACE);
    sim_env_clear_faults(m.sim);
    CHECK_EQ(open_as(m.env, "one", &identity, NULL), 0);
    wdb_identity_close(&identity);
    machine_release(&m);
}

/* Whatever allocation fails, the error says so and nothing leaks. */
TEST(out_of_memory)
{
    struct machine m;
    machine_init(&m);
    for (int round = 0; round < 2; round++) {
        for (uint64_t n = 1;; n++) {
            struct wdb_identity identity;
            char *message;
            fault_alloc_arm(n);
            const int rc =
                wdb_identity_open(m.env, DIR, "one", &identity, &message);
            const bool has_failed = fault_alloc_disarm();
            free(message);
            if (rc == 0) {
                wdb_identity_close(&identity);
            }
            CHECK(rc == 0 || (has_failed && rc == WALKERDB_ENOMEM));
            if (!has_failed) {
                break;
            }
        }
    }
    machine_release(&m);
}
