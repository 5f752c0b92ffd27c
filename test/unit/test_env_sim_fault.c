/* test_env_sim_fault.c - failures on demand: errors, full disks, bad sectors,
 * cold pages, clocks that jump. */
#include <stdlib.h>

#include "env/env.h"
#include "lib/test.h"
#include "sim/sim_env.h"
#include "walkerdb.h"

struct machine {
    struct sim_disk *disk;
    struct sim_env *sim;
    struct wdb_env *env;
};

static void machine_init(struct machine *m)
{
    m->disk = sim_disk_new();
    m->sim = sim_env_new(m->disk, 1, NULL);
    m->env = sim_env_base(m->sim);
}

static void machine_release(struct machine *m)
{
    CHECK_EQ(sim_env_open_count(m->sim), 0);
    sim_env_free(m->sim);
    sim_disk_free(m->disk);
}

static struct wdb_file *create(struct machine *m, const char *path)
{
    struct wdb_file *file = NULL;

    CHECK_EQ(m->env->ops->open(m->env, path, WDB_OPEN_CREATE, &file), 0);
    return file;
}

/* The sequence that every database does; returns the first error. */
static int replace(struct machine *m)
{
    return wdb_env_replace_file(m->env, "/", "f", "new", 3);
}

/* Each operation of a sequence can be made to fail: the error comes through,
 * and the old content stands, as does every handle get closed. */
TEST(every_operation_can_fail)
{
    for (uint64_t nth = 1;; nth++) {
        struct machine m;
        machine_init(&m);
        CHECK_EQ(wdb_env_replace_file(m.env, "/", "f", "old", 3), 0);
        sim_env_fail(m.sim, (struct sim_fault){.op = SIM_OP_ANY,
                                               .nth = nth,
                                               .error = WALKERDB_EIO});
        int error = replace(&m);
        uint64_t fired = sim_env_clear_faults(m.sim);
        CHECK_EQ(error, fired != 0 ? WALKERDB_EIO : 0);
        void *data = NULL;
        size_t size = 0;
        CHECK_EQ(wdb_env_read_file(m.env, "f", 3, &data, &size), 0);
        /* The last operation (sync_dir) comes after the rename. */
        bool is_new = fired == 0 || nth == 6;
        CHECK_MEM(data, size, is_new ? "new" : "old", 3);
        free(data);
        machine_release(&m);
        if (fired == 0) {
            CHECK_EQ(nth, 7);
            break;
        }
    }
}

/* Kinds are told apart, and counted. */
TEST(faults_by_kind)
{
    static const enum sim_op kinds[] = {SIM_OP_CREATE, SIM_OP_WRITE,
                                        SIM_OP_SYNC, SIM_OP_RENAME,
                                        SIM_OP_SYNC_DIR};

    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        struct machine m;
        machine_init(&m);
        sim_env_fail(m.sim, (struct sim_fault){.op = kinds[i],
                                               .nth = 2,
                                               .error = WALKERDB_ENOSPACE});
        CHECK_EQ(replace(&m), 0);
        /* After the rename, either content may stand: that is always EIO. */
        CHECK_EQ(replace(&m), kinds[i] == SIM_OP_SYNC_DIR ? WALKERDB_EIO
                                                          : WALKERDB_ENOSPACE);
        CHECK_EQ(replace(&m), 0);
        CHECK_EQ(sim_env_count(m.sim, kinds[i]), 3);
        CHECK_EQ(sim_env_clear_faults(m.sim), 1);
        sim_env_fail(m.sim, (struct sim_fault){.op = kinds[i],
                                               .nth = 1,
                                               .error = WALKERDB_EIO,
                                               .is_sticky = true});
        CHECK_EQ(replace(&m), WALKERDB_EIO);
        CHECK_EQ(replace(&m), WALKERDB_EIO);
        CHECK_EQ(sim_env_clear_faults(m.sim), 2);
        machine_release(&m);
    }
}

/* A partial write leaves its beginning; a short read ends early. */
TEST(partial_transfers)
{
    struct machine m;
    machine_init(&m);
    struct wdb_file *file = create(&m, "f");
    char data[100];
    size_t size_read = 0;
    uint64_t size = 0;

    memset(data, 'x', sizeof(data));
    sim_env_fail(m.sim, (struct sim_fault){.op = SIM_OP_WRITE,
                                           .nth = 1,
                                           .error = WALKERDB_EIO,
                                           .is_partial = true});
    CHECK_EQ(wdb_env_pwrite(file, data, sizeof(data), 0), WALKERDB_EIO);
    CHECK_EQ(m.env->ops->size(file, &size), 0);
    CHECK(size < 100);
    CHECK_EQ(wdb_env_pwrite(file, data, sizeof(data), 0), 0);
    sim_env_fail(m.sim, (struct sim_fault){
                            .op = SIM_OP_READ, .nth = 1, .is_partial = true});
    CHECK_EQ(m.env->ops->pread(file, data, 100, 0, &size_read), 0);
    CHECK(size_read < 100);
    m.env->ops->close(file);
    machine_release(&m);
}

/* Random failures come at about their rate, and the same ones each time. */
TEST(fault_rates)
{
    int failures[2] = {0, 0};

    for (int run = 0; run < 2; run++) {
        struct machine m;
        machine_init(&m);
        struct wdb_file *file = create(&m, "f");
        sim_env_fail_rate(m.sim, SIM_OP_WRITE, 100000, WALKERDB_EIO);
        for (int i = 0; i < 1000; i++) {
            failures[run] += wdb_env_pwrite(file, "x", 1, 0) != 0;
        }
        m.env->ops->close(file);
        machine_release(&m);
    }
    CHECK(failures[0] > 50 && failures[0] < 200);
    CHECK_EQ(failures[0], failures[1]);
}

/* A full disk: allocate is all or nothing, what was allocated can be written,
 * deleting makes room when the last handle is closed. */
TEST(full_disk)
{
    struct machine m;
    machine_init(&m);
    struct wdb_file *file = create(&m, "f");
    struct wdb_file *second = create(&m, "g");
    char page[4096];
    uint64_t room = 0;
    uint64_t size = 99;
    struct wdb_file *third = NULL;

    memset(page, 'x', sizeof(page));
    sim_disk_set_capacity(m.disk, 10 * 4096);
    CHECK_EQ(m.env->ops->allocate(file, 8 * 4096), 0);
    CHECK_EQ(m.env->ops->free_space(m.env, "/", &room), 0);
    CHECK_EQ(room, 2 * 4096);
    CHECK_EQ(m.env->ops->allocate(second, 3 * 4096), WALKERDB_ENOSPACE);
    CHECK_EQ(m.env->ops->size(second, &size), 0);
    CHECK_EQ(size, 0);
    CHECK_EQ(wdb_env_pwrite(second, page, 4096, 0), 0);
    CHECK_EQ(wdb_env_pwrite(second, page, 4096, 4096), 0);
    CHECK_EQ(wdb_env_pwrite(second, page, 1, 8192), WALKERDB_ENOSPACE);
    CHECK_EQ(sim_disk_used(m.disk), 10 * 4096);
    CHECK_EQ(m.env->ops->open(m.env, "h", WDB_OPEN_CREATE, &third),
             WALKERDB_ENOSPACE);
    CHECK_EQ(wdb_env_pwrite(file, page, 4096, 7 * 4096), 0);
    CHECK_EQ(m.env->ops->unlink(m.env, "f"), 0);
    CHECK_EQ(m.env->ops->allocate(second, 3 * 4096), WALKERDB_ENOSPACE);
    m.env->ops->close(file);
    CHECK_EQ(m.env->ops->allocate(second, 3 * 4096), 0);
    CHECK_EQ(m.env->ops->truncate(second, 100), 0);
    CHECK_EQ(sim_disk_used(m.disk), 4096);
    m.env->ops->close(second);
    machine_release(&m);
}

/* A bad sector: an error from pread, zeros and a mark in mappings, old and
 * new; writing over it heals it. */
TEST(unreadable_sector)
{
    struct machine m;
    machine_init(&m);
    struct wdb_file *file = create(&m, "f");
    char data[1024];
    const void *before = NULL;
    const void *after = NULL;

    memset(data, 'x', sizeof(data));
    CHECK_EQ(m.env->ops->allocate(file, 3 * 4096), 0);
    CHECK_EQ(wdb_env_pwrite(file, data, 1024, 4096), 0);
    REQUIRE_EQ(m.env->ops->map(file, 3 * 4096, &before), 0);
    CHECK_EQ(sim_disk_set_unreadable(m.disk, "f", 4096 + 600, 1), 0);
    CHECK_EQ(sim_disk_set_unreadable(m.disk, "no", 0, 1), WALKERDB_ENOTFOUND);
    REQUIRE_EQ(m.env->ops->map(file, 3 * 4096, &after), 0);
    CHECK_EQ(((const char *)before)[4096], 0);
    CHECK_EQ(((const char *)after)[4096], 0);
    CHECK(m.env->ops->damaged(m.env, before));
    CHECK(m.env->ops->damaged(m.env, after));
    CHECK_EQ(wdb_env_pread_all(file, data, 512, 4096), 0);
    CHECK_EQ(wdb_env_pread_all(file, data, 513, 4096), WALKERDB_EIO);
    CHECK_EQ(wdb_env_pwrite(file, data, 10, 4096 + 600), WALKERDB_EIO);
    memset(data, 'y', sizeof(data));
    CHECK_EQ(wdb_env_pwrite(file, data, 512, 4096 + 512), 0);
    CHECK_EQ(wdb_env_pread_all(file, data, 1024, 4096), 0);
    CHECK_EQ(data[0], 'x');
    CHECK_EQ(data[512], 'y');
    CHECK_EQ(((const char *)after)[4096], 'x');
    m.env->ops->unmap(m.env, before, 3 * 4096);
    m.env->ops->unmap(m.env, after, 3 * 4096);
    m.env->ops->close(file);
    machine_release(&m);
}

/* Flipped bits are there for everybody, and for good. */
TEST(flipped_bit)
{
    struct machine m;
    machine_init(&m);
    CHECK_EQ(wdb_env_replace_file(m.env, "/", "f", "abc", 3), 0);
    CHECK_EQ(sim_disk_flip_bit(m.disk, "/f", 1, 0), 0);
    CHECK_EQ(sim_disk_flip_bit(m.disk, "/f", 3, 0), WALKERDB_EINVALID);
    CHECK_EQ(sim_disk_patch(m.disk, "/f", 2, "Z", 1), 0);
    struct wdb_random random;
    wdb_random_seed(&random, 1);
    sim_disk_crash(m.disk, SIM_CRASH_DROP, &random);
    void *data = NULL;
    size_t size = 0;
    CHECK_EQ(wdb_env_read_file(m.env, "f", 3, &data, &size), 0);
    CHECK_MEM(data, size, "acZ", 3);
    free(data);
    machine_release(&m);
}

/* Pages are resident unless a test, or the program, says otherwise. */
TEST(cold_pages)
{
    struct machine m;
    machine_init(&m);
    struct wdb_file *file = create(&m, "f");
    const void *data = NULL;
    unsigned char resident[4];
    char byte;

    CHECK_EQ(m.env->ops->allocate(file, 4 * 4096), 0);
    REQUIRE_EQ(m.env->ops->map(file, 4 * 4096, &data), 0);
    CHECK_EQ(m.env->ops->resident(m.env, data, 4 * 4096, resident), 0);
    CHECK_MEM(resident, 4, "\1\1\1\1", 4);
    CHECK_EQ(sim_disk_set_cold(m.disk, "f", 4096, 8192), 0);
    CHECK_EQ(m.env->ops->resident(m.env, data, 4 * 4096, resident), 0);
    CHECK_MEM(resident, 4, "\1\0\0\1", 4);
    CHECK_EQ(wdb_env_pread_all(file, &byte, 1, 8191), 0);
    CHECK_EQ(wdb_env_pwrite(file, "x", 1, 8192), 0);
    CHECK_EQ(m.env->ops->resident(m.env, data, 4 * 4096, resident), 0);
    CHECK_MEM(resident, 4, "\1\1\1\1", 4);
    CHECK_EQ(m.env->ops->sync(file), 0);
    m.env->ops->advise_dontneed(file, 4096, UINT64_MAX);
    CHECK_EQ(m.env->ops->resident(m.env, (const char *)data + 4096, 4096,
                                  resident),
             0);
    CHECK_EQ(resident[0], 0);
    m.env->ops->unmap(m.env, data, 4 * 4096);
    m.env->ops->close(file);
    machine_release(&m);
}

/* Time passes when the test says so; the wall clock may jump. */
TEST(virtual_time)
{
    struct sim_clock clock = {.start_ms = 5000};
    struct sim_disk *disk = sim_disk_new();
    struct sim_env *one = sim_env_new(disk, 1, &clock);
    struct sim_env *two = sim_env_new(disk, 2, &clock);
    struct wdb_env *env = sim_env_base(one);

    CHECK_EQ(env->ops->time_ms(env), 5000);
    uint64_t start = env->ops->monotonic_ns(env);
    sim_env_advance_ms(two, 250);
    CHECK_EQ(env->ops->time_ms(env), 5250);
    CHECK(env->ops->monotonic_ns(env) - start >= 250000000);
    sim_env_jump_ms(one, -1000);
    CHECK_EQ(env->ops->time_ms(env), 4250);
    CHECK_EQ(sim_env_base(two)->ops->time_ms(sim_env_base(two)), 5250);
    sim_env_free(one);
    sim_env_free(two);
    sim_disk_free(disk);
}

struct counter {
    uint64_t calls, last;
    size_t pending;
};

static void count_hook(void *context, struct sim_env *sim, enum sim_op op,
                       uint64_t number)
{
    struct counter *counter = context;

    (void)op;
    counter->calls++;
    counter->last = number;
    counter->pending = sim_disk_pending(sim_env_disk(sim));
}

/* The hook sees each operation that changes files, after it. */
TEST(hook_after_each_operation)
{
    struct machine m;
    struct counter counter = {0};

    machine_init(&m);
    sim_env_set_hook(m.sim, count_hook, &counter);
    CHECK_EQ(replace(&m), 0);
    CHECK_EQ(counter.calls, 6); /* unlink, create, write, sync, rename, dir */
    CHECK_EQ(counter.last, sim_env_op_number(m.sim));
    CHECK_EQ(counter.pending, 0);
    machine_release(&m);
}

/* The same seed, the same bytes; another seed, others. */
TEST(randomness_from_the_seed)
{
    uint8_t bytes[3][20];
    struct sim_disk *disk = sim_disk_new();

    for (int i = 0; i < 3; i++) {
        struct sim_env *sim = sim_env_new(disk, (uint64_t)(i / 2), NULL);
        struct wdb_env *env = sim_env_base(sim);
        env->ops->random(env, bytes[i], 20);
        sim_env_free(sim);
    }
    CHECK_MEM(bytes[0], 20, bytes[1], 20);
    CHECK(memcmp(bytes[0], bytes[2], 20) != 0);
    sim_disk_free(disk);
}
