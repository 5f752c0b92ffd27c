/* test_env_sim_crash.c - what the simulated disk keeps and loses when the
 * power fails. */
#include <stdio.h>
#include <stdlib.h>

#include "env/env.h"
#include "lib/test.h"
#include "sim/sim_env.h"
#include "sim/sim_explore.h"
#include "walkerdb.h"

#define ROUNDS 200

/* A machine: a disk, and the process that is on it now. */
struct machine {
    struct sim_disk *disk;
    struct sim_env *sim;
    struct wdb_env *env;
    struct wdb_random random;
};

static void machine_init(struct machine *m, uint64_t seed)
{
    m->disk = sim_disk_new();
    m->sim = sim_env_new(m->disk, seed, NULL);
    m->env = sim_env_base(m->sim);
    wdb_random_seed(&m->random, seed);
}

static void machine_release(struct machine *m)
{
    sim_env_free(m->sim);
    sim_disk_free(m->disk);
}

/* Power cut and reboot. */
static void machine_crash(struct machine *m, enum sim_crash_policy policy)
{
    sim_env_free(m->sim);
    sim_disk_crash(m->disk, policy, &m->random);
    CHECK_EQ(sim_disk_pending(m->disk), 0);
    m->sim = sim_env_new(m->disk, 1, NULL);
    m->env = sim_env_base(m->sim);
}

static struct wdb_file *open_file(struct machine *m, const char *path,
                                  enum wdb_open_mode mode)
{
    struct wdb_file *file = NULL;

    CHECK_EQ(m->env->ops->open(m->env, path, mode, &file), 0);
    return file;
}

static bool exists(struct machine *m, const char *path)
{
    struct wdb_file *file = NULL;
    int error = m->env->ops->open(m->env, path, WDB_OPEN_READ, &file);

    if (error == 0) {
        m->env->ops->close(file);
    }
    return error == 0;
}

static uint64_t size_of(struct machine *m, const char *path)
{
    struct wdb_file *file = open_file(m, path, WDB_OPEN_READ);
    uint64_t size = UINT64_MAX;

    if (file != NULL) {
        CHECK_EQ(m->env->ops->size(file, &size), 0);
        m->env->ops->close(file);
    }
    return size;
}

static char byte_at(struct machine *m, const char *path, uint64_t offset)
{
    struct wdb_file *file = open_file(m, path, WDB_OPEN_READ);
    char byte = '?';

    if (file != NULL) {
        CHECK_EQ(wdb_env_pread_all(file, &byte, 1, offset), 0);
        m->env->ops->close(file);
    }
    return byte;
}

/* A durable file of `size` letters. */
static void durable_file(struct machine *m, const char *name, char letter,
                         size_t size)
{
    char *data = malloc(size + 1);

    REQUIRE(data != NULL);
    memset(data, letter, size);
    CHECK_EQ(wdb_env_replace_file(m->env, "/", name, data, size), 0);
    free(data);
}

static void overwrite(struct wdb_file *file, char letter, size_t size,
                      uint64_t offset)
{
    char *data = malloc(size + 1);

    REQUIRE(data != NULL);
    memset(data, letter, size);
    CHECK_EQ(wdb_env_pwrite(file, data, size, offset), 0);
    free(data);
}

/* What was synced, with its name, is there after every kind of crash. */
TEST(synced_survives_always)
{
    for (int round = 0; round < ROUNDS; round++) {
        struct machine m;
        machine_init(&m, (uint64_t)round);
        durable_file(&m, "f", 'a', 10000);
        struct wdb_file *file = open_file(&m, "f", WDB_OPEN_WRITE);
        overwrite(file, 'b', 5000, 2500);
        CHECK_EQ(m.env->ops->sync(file), 0);
        CHECK_EQ(sim_disk_pending(m.disk), 0);
        m.env->ops->close(file);
        machine_crash(&m,
                      (enum sim_crash_policy)(round % SIM_CRASH_POLICY_COUNT));
        CHECK_EQ(size_of(&m, "f"), 10000);
        CHECK_EQ(byte_at(&m, "f", 2499), 'a');
        CHECK_EQ(byte_at(&m, "f", 2500), 'b');
        CHECK_EQ(byte_at(&m, "f", 7499), 'b');
        CHECK_EQ(byte_at(&m, "f", 7500), 'a');
        machine_release(&m);
    }
}

/* Drop and keep are certain. */
TEST(unsynced_is_dropped_or_kept)
{
    for (int keep = 0; keep < 2; keep++) {
        struct machine m;
        machine_init(&m, 1);
        durable_file(&m, "f", 'a', 100);
        struct wdb_file *file = open_file(&m, "f", WDB_OPEN_WRITE);
        overwrite(file, 'b', 200, 50);
        CHECK_EQ(sim_disk_pending(m.disk), 1);
        m.env->ops->close(file); /* which syncs nothing */
        CHECK_EQ(m.env->ops->rename(m.env, "f", "g"), 0);
        machine_crash(&m, keep != 0 ? SIM_CRASH_KEEP : SIM_CRASH_DROP);
        CHECK_EQ(exists(&m, "f"), keep == 0);
        CHECK_EQ(exists(&m, "g"), keep != 0);
        CHECK_EQ(size_of(&m, keep != 0 ? "g" : "f"), keep != 0 ? 250 : 100);
        machine_release(&m);
    }
}

/* Which of the two sectors of a write survived, as bits; over many crashes. */
static unsigned torn_outcomes(enum sim_crash_policy policy, size_t unit)
{
    unsigned outcomes = 0;

    for (int round = 0; round < ROUNDS; round++) {
        struct machine m;
        machine_init(&m, (uint64_t)round);
        durable_file(&m, "f", 'a', 2 * unit);
        struct wdb_file *file = open_file(&m, "f", WDB_OPEN_WRITE);
        overwrite(file, 'b', 2 * unit, 0);
        m.env->ops->close(file);
        machine_crash(&m, policy);
        CHECK_EQ(size_of(&m, "f"), 2 * unit);
        char first = byte_at(&m, "f", 0);
        char second = byte_at(&m, "f", unit);
        CHECK_EQ(byte_at(&m, "f", unit - 1), first);
        CHECK_EQ(byte_at(&m, "f", 2 * unit - 1), second);
        outcomes |= 1U << ((first == 'b') + 2 * (second == 'b'));
        machine_release(&m);
    }
    return outcomes;
}

/* A write of two sectors (or pages) ends in each of the four ways. */
TEST(writes_tear_at_sectors)
{
    CHECK_EQ(torn_outcomes(SIM_CRASH_TORN_512, 512), 15);
    CHECK_EQ(torn_outcomes(SIM_CRASH_TORN_4K, 4096), 15);
    CHECK_EQ(torn_outcomes(SIM_CRASH_REORDER_512, 512), 15);
    CHECK_EQ(torn_outcomes(SIM_CRASH_REORDER_4K, 4096), 15);
    CHECK_EQ(torn_outcomes(SIM_CRASH_MIXED, 512), 15);
    CHECK_EQ(torn_outcomes(SIM_CRASH_DROP, 512), 1);
    CHECK_EQ(torn_outcomes(SIM_CRASH_KEEP, 512), 8);
}

/* Torn: in order. Reordered: the second write may survive without the first.
 */
TEST(order_of_writes)
{
    bool second_alone[2] = {false, false};

    for (int round = 0; round < 2 * ROUNDS; round++) {
        int reorder = round % 2;
        struct machine m;
        machine_init(&m, (uint64_t)round);
        durable_file(&m, "f", 'a', 8192);
        struct wdb_file *file = open_file(&m, "f", WDB_OPEN_WRITE);
        overwrite(file, 'b', 512, 0);
        overwrite(file, 'c', 512, 4096);
        m.env->ops->close(file);
        machine_crash(&m, reorder != 0 ? SIM_CRASH_REORDER_512
                                       : SIM_CRASH_TORN_512);
        second_alone[reorder] |=
            byte_at(&m, "f", 0) == 'a' && byte_at(&m, "f", 4096) == 'c';
        machine_release(&m);
    }
    CHECK(!second_alone[0]);
    CHECK(second_alone[1]);
}

/* A sector never shows what the page cache never held: the second half of it
 * written, the first (written earlier) not. */
TEST(sector_is_a_moment_of_the_page_cache)
{
    unsigned seen = 0;

    for (int round = 0; round < ROUNDS; round++) {
        struct machine m;
        machine_init(&m, (uint64_t)round);
        durable_file(&m, "f", 'a', 512);
        struct wdb_file *file = open_file(&m, "f", WDB_OPEN_WRITE);
        overwrite(file, 'b', 256, 0);
        overwrite(file, 'c', 256, 256);
        m.env->ops->close(file);
        machine_crash(&m, SIM_CRASH_REORDER_512);
        seen |= 1U << ((byte_at(&m, "f", 0) == 'b') +
                       2 * (byte_at(&m, "f", 256) == 'c'));
        machine_release(&m);
    }
    CHECK_EQ(seen, 1U << 0 | 1U << 1 | 1U << 3);
}

/* The size may get there without the data (zeros), and the other way round.
 */
TEST(size_and_data_are_apart)
{
    bool size_only = false;
    bool all = false;
    bool none = false;

    for (int round = 0; round < ROUNDS; round++) {
        struct machine m;
        machine_init(&m, (uint64_t)round);
        durable_file(&m, "f", 'a', 512);
        struct wdb_file *file = open_file(&m, "f", WDB_OPEN_WRITE);
        overwrite(file, 'b', 512, 512);
        m.env->ops->close(file);
        machine_crash(&m, SIM_CRASH_REORDER_512);
        uint64_t size = size_of(&m, "f");
        CHECK(size == 512 || size == 1024);
        none |= size == 512;
        if (size == 1024) {
            char byte = byte_at(&m, "f", 512);
            CHECK(byte == 0 || byte == 'b');
            size_only |= byte == 0;
            all |= byte == 'b';
        }
        machine_release(&m);
    }
    CHECK(size_only && all && none);
}

/* After a cut that survived nothing older is seen, whatever size follows. */
TEST(cuts_are_in_order)
{
    for (int round = 0; round < 4 * ROUNDS; round++) {
        struct machine m;
        machine_init(&m, (uint64_t)round);
        durable_file(&m, "f", 'a', 8192);
        struct wdb_file *file = open_file(&m, "f", WDB_OPEN_WRITE);
        CHECK_EQ(m.env->ops->truncate(file, 1000), 0);
        CHECK_EQ(m.env->ops->truncate(file, 6000), 0);
        overwrite(file, 'b', 512, 4096);
        m.env->ops->close(file);
        machine_crash(&m, round % 2 == 0 ? SIM_CRASH_REORDER_512
                                         : SIM_CRASH_TORN_4K);
        uint64_t size = size_of(&m, "f");
        CHECK(size == 8192 || size == 1000 || size == 6000);
        CHECK_EQ(byte_at(&m, "f", 999), 'a');
        if (size == 8192) {
            CHECK_EQ(byte_at(&m, "f", 4096), 'a');
            CHECK_EQ(byte_at(&m, "f", 8191), 'a');
        }
        if (size == 6000) {
            char byte = byte_at(&m, "f", 4096);
            CHECK(byte == 0 || byte == 'b');
            CHECK_EQ(byte_at(&m, "f", 1000), 0);
            CHECK_EQ(byte_at(&m, "f", 5999), 0);
        }
        machine_release(&m);
    }
}

/* A name is not durable before the sync of its directory, and is after. */
TEST(names_need_sync_dir)
{
    for (int synced = 0; synced < 2; synced++) {
        struct machine m;
        machine_init(&m, 1);
        durable_file(&m, "old", 'o', 10);
        durable_file(&m, "gone", 'g', 10);
        struct wdb_file *file = open_file(&m, "new", WDB_OPEN_CREATE);
        overwrite(file, 'n', 10, 0);
        CHECK_EQ(m.env->ops->sync(file), 0);
        m.env->ops->close(file);
        CHECK_EQ(m.env->ops->rename(m.env, "new", "old"), 0);
        CHECK_EQ(m.env->ops->unlink(m.env, "gone"), 0);
        CHECK_EQ(m.env->ops->mkdir(m.env, "dir"), 0);
        if (synced != 0) {
            CHECK_EQ(m.env->ops->sync_dir(m.env, "/"), 0);
        }
        machine_crash(&m, SIM_CRASH_DROP);
        CHECK_EQ(byte_at(&m, "old", 0), synced != 0 ? 'n' : 'o');
        CHECK_EQ(exists(&m, "gone"), synced == 0);
        CHECK(!exists(&m, "new"));
        CHECK_EQ(m.env->ops->rmdir(m.env, "dir"),
                 synced != 0 ? 0 : WALKERDB_ENOTFOUND);
        machine_release(&m);
    }
}

/* A rename is whole: one name or the other leads to the file. But it may
 * outrun the file's data. */
TEST(renames_are_whole)
{
    bool empty = false;

    for (int round = 0; round < ROUNDS; round++) {
        struct machine m;
        machine_init(&m, (uint64_t)round);
        durable_file(&m, "m", 'o', 10);
        struct wdb_file *file = open_file(&m, "t", WDB_OPEN_CREATE);
        overwrite(file, 'n', 10, 0);
        m.env->ops->close(file); /* no sync: a bug of the program */
        CHECK_EQ(m.env->ops->rename(m.env, "t", "m"), 0);
        machine_crash(&m, SIM_CRASH_REORDER_512);
        uint64_t size = size_of(&m, "m");
        CHECK(size == 0 || size == 10);
        empty |= size == 0 || byte_at(&m, "m", 0) == 0;
        machine_release(&m);
    }
    CHECK(empty);
}

/* Moves between directories do not double or lose a durable file. */
TEST(moves_between_directories)
{
    for (int round = 0; round < ROUNDS; round++) {
        struct machine m;
        machine_init(&m, (uint64_t)round);
        CHECK_EQ(m.env->ops->mkdir(m.env, "a"), 0);
        CHECK_EQ(m.env->ops->mkdir(m.env, "b"), 0);
        CHECK_EQ(m.env->ops->sync_dir(m.env, "/"), 0);
        struct wdb_file *file = open_file(&m, "a/f", WDB_OPEN_CREATE);
        m.env->ops->close(file);
        CHECK_EQ(m.env->ops->rename(m.env, "a/f", "b/f"), 0);
        CHECK_EQ(m.env->ops->sync_dir(m.env, round % 2 == 0 ? "b" : "a"), 0);
        machine_crash(&m, SIM_CRASH_REORDER_512);
        CHECK(exists(&m, "b/f"));
        CHECK(!exists(&m, "a/f"));
        machine_release(&m);
    }
}

/* A failed sync: what is dirty is clean to the kernel, so the next sync says
 * 0, and yet nothing is safe. A write makes its page dirty again. */
TEST(failed_sync_is_never_made_good)
{
    bool lost = false;

    for (int round = 0; round < ROUNDS; round++) {
        struct machine m;
        machine_init(&m, (uint64_t)round);
        durable_file(&m, "f", 'a', 8192);
        struct wdb_file *file = open_file(&m, "f", WDB_OPEN_WRITE);
        overwrite(file, 'b', 8192, 0);
        sim_env_fail(m.sim, (struct sim_fault){.op = SIM_OP_SYNC,
                                               .nth = 1,
                                               .error = WALKERDB_EIO});
        CHECK_EQ(m.env->ops->sync(file), WALKERDB_EIO);
        CHECK_EQ(m.env->ops->sync(file), 0);
        overwrite(file, 'c', 1, 0);
        CHECK_EQ(m.env->ops->sync(file), 0);
        CHECK_EQ(byte_at(&m, "f", 4096), 'b'); /* as the process sees it */
        m.env->ops->close(file);
        machine_crash(&m, SIM_CRASH_KEEP);
        CHECK_EQ(byte_at(&m, "f", 0), 'c');
        CHECK_EQ(byte_at(&m, "f", 1), 'b');
        lost |= byte_at(&m, "f", 4096) == 'a';
        machine_release(&m);
    }
    CHECK(lost);
}

/* Handles are dead after the crash, mappings keep what they show, locks are
 * free. */
TEST(crash_under_a_running_process)
{
    struct machine m;
    machine_init(&m, 1);
    durable_file(&m, "f", 'a', 5000);
    struct wdb_file *file = open_file(&m, "f", WDB_OPEN_WRITE);
    struct wdb_file *lock = NULL;
    struct wdb_file *second = NULL;
    const void *data = NULL;
    uint64_t size;
    int64_t holder;

    REQUIRE_EQ(m.env->ops->map(file, 5000, &data), 0);
    REQUIRE_EQ(m.env->ops->lock(m.env, "LOCK", &lock, &holder), 0);
    sim_disk_crash(m.disk, SIM_CRASH_KEEP, &m.random);
    CHECK_EQ(m.env->ops->size(file, &size), WALKERDB_EIO);
    CHECK_EQ(wdb_env_pwrite(file, "x", 1, 0), WALKERDB_EIO);
    CHECK_EQ(m.env->ops->sync(file), WALKERDB_EIO);
    CHECK_EQ(((const char *)data)[4999], 'a');
    struct sim_env *other = sim_env_new(m.disk, 2, NULL);
    struct wdb_env *env = sim_env_base(other);
    REQUIRE_EQ(env->ops->lock(env, "LOCK", &second, &holder), 0);
    m.env->ops->unlock(lock);
    m.env->ops->close(file);
    CHECK_EQ(m.env->ops->lock(m.env, "LOCK", &lock, &holder), WALKERDB_ELOCKED);
    m.env->ops->unmap(m.env, data, 5000);
    env->ops->unlock(second);
    sim_env_free(other);
    machine_release(&m);
}

/* The death of a process alone loses nothing that it wrote. */
TEST(killed_process_loses_nothing)
{
    struct machine m;
    machine_init(&m, 1);
    struct wdb_file *file = open_file(&m, "f", WDB_OPEN_CREATE);
    overwrite(file, 'x', 10, 0);
    sim_env_free(m.sim); /* with the file open */
    m.sim = sim_env_new(m.disk, 2, NULL);
    m.env = sim_env_base(m.sim);
    CHECK_EQ(size_of(&m, "f"), 10);
    CHECK(sim_disk_pending(m.disk) > 0);
    machine_release(&m);
}

/* A clone is a disk of its own. */
TEST(clones_are_apart)
{
    struct machine m;
    machine_init(&m, 1);
    durable_file(&m, "f", 'a', 5000);
    struct wdb_file *file = open_file(&m, "f", WDB_OPEN_WRITE);
    overwrite(file, 'b', 10, 4090);
    struct machine copy = {.disk = sim_disk_clone(m.disk)};
    wdb_random_seed(&copy.random, 1);
    copy.sim = sim_env_new(copy.disk, 1, NULL);
    copy.env = sim_env_base(copy.sim);
    CHECK_EQ(sim_disk_pending(copy.disk), 1);
    CHECK_EQ(byte_at(&copy, "f", 4095), 'b');
    overwrite(file, 'c', 10, 4090);
    CHECK_EQ(byte_at(&copy, "f", 4095), 'b');
    machine_crash(&copy, SIM_CRASH_DROP);
    CHECK_EQ(byte_at(&copy, "f", 4095), 'a');
    CHECK_EQ(byte_at(&m, "f", 4095), 'c');
    m.env->ops->close(file);
    machine_release(&copy);
    machine_release(&m);
}

/* The machine dies after an operation: nothing later happens. */
TEST(die_after)
{
    struct machine m;
    machine_init(&m, 1);
    durable_file(&m, "f", 'a', 10);
    struct wdb_file *file = open_file(&m, "f", WDB_OPEN_WRITE);
    sim_env_die_after(m.sim, sim_env_op_number(m.sim) + 1);
    overwrite(file, 'b', 1, 0);
    CHECK(sim_env_is_dead(m.sim));
    CHECK_EQ(wdb_env_pwrite(file, "c", 1, 0), WALKERDB_EIO);
    CHECK_EQ(m.env->ops->sync(file), WALKERDB_EIO);
    CHECK_EQ(m.env->ops->unlink(m.env, "f"), WALKERDB_EIO);
    CHECK_EQ(m.env->ops->truncate(file, 0), WALKERDB_EIO);
    m.env->ops->close(file);
    machine_crash(&m, SIM_CRASH_KEEP);
    CHECK_EQ(byte_at(&m, "f", 0), 'b');
    CHECK_EQ(size_of(&m, "f"), 10);
    machine_release(&m);
}

/* --- random files against a model of what may survive --------------------- */

enum {
    MODEL_SECTORS = 24,
    MODEL_VERSIONS = 40
};

/* Each write fills whole sectors with its number; a sector must show a number
 * that it had since the last sync. */
static void model_round(uint64_t seed)
{
    struct machine m;
    uint8_t history[MODEL_SECTORS][MODEL_VERSIONS];
    size_t counts[MODEL_SECTORS];
    uint8_t data[MODEL_SECTORS * 512];

    machine_init(&m, seed);
    durable_file(&m, "f", 0, sizeof(data));
    struct wdb_file *file = open_file(&m, "f", WDB_OPEN_WRITE);
    for (size_t i = 0; i < MODEL_SECTORS; i++) {
        history[i][0] = 0;
        counts[i] = 1;
    }
    for (uint8_t number = 1; number < MODEL_VERSIONS; number++) {
        size_t from = (size_t)wdb_random_below(&m.random, MODEL_SECTORS);
        size_t count =
            1 + (size_t)wdb_random_below(&m.random, MODEL_SECTORS - from);
        memset(data, number, count * 512);
        CHECK_EQ(wdb_env_pwrite(file, data, count * 512, from * 512), 0);
        for (size_t i = from; i < from + count; i++) {
            history[i][counts[i]++] = number;
        }
        if (wdb_random_below(&m.random, 8) == 0) {
            CHECK_EQ(m.env->ops->sync(file), 0);
            for (size_t i = 0; i < MODEL_SECTORS; i++) {
                history[i][0] = history[i][counts[i] - 1];
                counts[i] = 1;
            }
        }
    }
    m.env->ops->close(file);
    machine_crash(&m, (enum sim_crash_policy)(seed % SIM_CRASH_POLICY_COUNT));
    file = open_file(&m, "f", WDB_OPEN_READ);
    CHECK_EQ(wdb_env_pread_all(file, data, sizeof(data), 0), 0);
    for (size_t i = 0; i < MODEL_SECTORS; i++) {
        const uint8_t *sector = data + i * 512;
        CHECK(memchr(history[i], sector[0], counts[i]) != NULL);
        CHECK(memcmp(sector, sector + 1, 511) == 0);
    }
    m.env->ops->close(file);
    machine_release(&m);
}

TEST(random_writes_show_only_what_they_had)
{
    for (uint64_t seed = 0; seed < 7 * ROUNDS; seed++) {
        model_round(seed);
    }
}

/* --- exploring ------------------------------------------------------------ */

/* A toy database: a counter in a file that is replaced for each step. */
struct toy {
    int acked;
    bool is_buggy; /* forgets to sync the directory */
    uint64_t checks;
};

static int toy_read(struct wdb_env *env)
{
    void *data = NULL;
    size_t size = 0;
    int value = -1;

    if (wdb_env_read_file(env, "/counter", 16, &data, &size) == 0) {
        value = size == 1 ? *(const char *)data : -2;
        free(data);
    }
    return value;
}

static int toy_write(struct toy *toy, struct wdb_env *env, char value)
{
    struct wdb_file *file = NULL;

    if (!toy->is_buggy) {
        return wdb_env_replace_file(env, "/", "counter", &value, 1);
    }
    (void)env->ops->unlink(env, "/counter.tmp");
    int error = env->ops->open(env, "/counter.tmp", WDB_OPEN_CREATE, &file);
    if (error == 0) {
        error = wdb_env_pwrite(file, &value, 1, 0);
        env->ops->close(file);
    }
    return error != 0 ? error
                      : env->ops->rename(env, "/counter.tmp", "/counter");
}

static void toy_workload(void *context, struct sim_env *sim)
{
    struct toy *toy = context;

    for (int i = 1; i <= 10; i++) {
        CHECK_EQ(toy_write(toy, sim_env_base(sim), (char)i), 0);
        toy->acked = i;
    }
}

static bool toy_check(void *context, struct sim_env *sim,
                      const struct sim_state *state)
{
    struct toy *toy = context;
    int value = toy_read(sim_env_base(sim));

    (void)state;
    toy->checks++;
    return value == toy->acked || value == toy->acked + 1 ||
           (toy->acked == 0 && value == -1);
}

/* Recovery writes the same again, so that a crash can come in between. */
static void toy_recover(void *context, struct sim_env *sim)
{
    struct toy *toy = context;
    int value = toy_read(sim_env_base(sim));

    if (value > 0) {
        (void)toy_write(toy, sim_env_base(sim), (char)value);
    }
}

/* The right way survives every state; the wrong one is caught, and the state
 * that caught it does so again alone. */
TEST(explore_finds_the_bug)
{
    for (int buggy = 0; buggy < 2; buggy++) {
        struct toy toy = {.is_buggy = buggy != 0};
        struct sim_disk *disk = sim_disk_new();
        struct sim_explore explore = {.disk = disk,
                                      .seed = 1,
                                      .states_per_policy = 4,
                                      .workload = toy_workload,
                                      .check = toy_check,
                                      .recover = toy_recover,
                                      .context = &toy};
        struct sim_explore_result result;
        char text[100];

        sim_explore(&explore, &result);
        CHECK_EQ(result.failure_count, buggy);
        CHECK_EQ(result.state_count, toy.checks);
        CHECK(buggy != 0 || result.state_count > 500);
        sim_disk_free(disk);
        if (buggy != 0) {
            struct sim_explore_result again;
            sim_state_print(&result.failure, text, sizeof(text));
            CHECK(strncmp(text, "op ", 3) == 0);
            toy = (struct toy){.is_buggy = true};
            explore.disk = sim_disk_new();
            explore.only = &result.failure;
            sim_explore(&explore, &again);
            CHECK_EQ(again.state_count, 1);
            CHECK_EQ(again.failure_count, 1);
            sim_disk_free(explore.disk);
        }
    }
}

/* The price of one state with four segments of 64 KiB, one of them dirty. */
TEST(states_are_cheap)
{
    struct machine m;
    char name[8];
    enum {
        STATES = 2000
    };

    machine_init(&m, 1);
    for (int i = 0; i < 4; i++) {
        snprintf(name, sizeof(name), "f%d", i);
        durable_file(&m, name, 'a', 65536);
    }
    struct wdb_file *file = open_file(&m, "f3", WDB_OPEN_WRITE);
    for (uint64_t i = 0; i < 20; i++) {
        overwrite(file, 'b', 1000, i * 1000);
    }
    uint64_t start = test_now_ns();
    for (int i = 0; i < STATES; i++) {
        struct sim_disk *clone = sim_disk_clone(m.disk);
        sim_disk_crash(clone, SIM_CRASH_REORDER_512, &m.random);
        struct sim_env *sim = sim_env_new(clone, 1, NULL);
        struct wdb_env *env = sim_env_base(sim);
        for (int k = 0; k < 4; k++) {
            struct wdb_file *opened = NULL;
            const void *data = NULL;
            snprintf(name, sizeof(name), "f%d", k);
            CHECK_EQ(env->ops->open(env, name, WDB_OPEN_WRITE, &opened), 0);
            CHECK_EQ(env->ops->map(opened, 65536, &data), 0);
        }
        sim_env_free(sim);
        sim_disk_free(clone);
    }
    printf("  %.1f us for each state\n",
           (double)(test_now_ns() - start) / STATES / 1000);
    m.env->ops->close(file);
    machine_release(&m);
}
