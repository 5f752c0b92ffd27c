/*
 * test_env_conformance.c - what env.h promises, held against the real and the
 * simulated environment alike. Each scenario becomes two tests.
 */
#include <stdio.h>
#include <stdlib.h>

#include "env/env.h"
#include "lib/fault_alloc.h"
#include "lib/test.h"
#include "sim/sim_env.h"
#include "walkerdb.h"

#define SCENARIO(name)                                                         \
    static void name(struct wdb_env *env, const char *dir);                    \
    TEST(posix_##name)                                                         \
    {                                                                          \
        with_posix(name);                                                      \
    }                                                                          \
    TEST(sim_##name)                                                           \
    {                                                                          \
        with_sim(name);                                                        \
    }                                                                          \
    static void name(struct wdb_env *env, const char *dir)

typedef void (*scenario)(struct wdb_env *env, const char *dir);

static void with_posix(scenario run)
{
    struct wdb_env *env = NULL;

    REQUIRE_EQ(wdb_env_posix_new(&env), 0);
    run(env, test_tmpdir());
    wdb_env_posix_free(env);
}

static void with_sim(scenario run)
{
    struct sim_disk *disk = sim_disk_new();
    struct sim_env *sim = sim_env_new(disk, 1, NULL);
    struct wdb_env *env = sim_env_base(sim);

    CHECK_EQ(env->ops->mkdir(env, "/d"), 0);
    run(env, "/d");
    CHECK_EQ(sim_env_open_count(sim), 0);
    sim_env_free(sim);
    sim_disk_free(disk);
}

static struct wdb_file *open_file(struct wdb_env *env, const char *path,
                                  enum wdb_open_mode mode)
{
    struct wdb_file *file = NULL;

    CHECK_EQ(env->ops->open(env, path, mode, &file), 0);
    return file;
}

/* What the first bytes of a file are, as a string. */
static const char *content_of(struct wdb_env *env, const char *path)
{
    static char text[256];
    void *data = NULL;
    size_t size = 0;

    text[0] = '\0';
    if (wdb_env_read_file(env, path, sizeof(text) - 1, &data, &size) == 0) {
        memcpy(text, data, size);
        text[size] = '\0';
        free(data);
    }
    return text;
}

/* The three modes: what must be there, what must not. */
SCENARIO(open_modes)
{
    const char *path = test_path(dir, "file");
    struct wdb_file *file = NULL;

    CHECK_EQ(env->ops->open(env, path, WDB_OPEN_READ, &file),
             WALKERDB_ENOTFOUND);
    CHECK_EQ(env->ops->open(env, path, WDB_OPEN_WRITE, &file),
             WALKERDB_ENOTFOUND);
    CHECK(file == NULL);
    file = open_file(env, path, WDB_OPEN_CREATE);
    REQUIRE(file != NULL);
    CHECK(file->env == env);
    env->ops->close(file);
    file = NULL;
    CHECK_EQ(env->ops->open(env, path, WDB_OPEN_CREATE, &file),
             WALKERDB_EEXISTS);
    CHECK(file == NULL);
    file = open_file(env, path, WDB_OPEN_READ);
    REQUIRE(file != NULL);
    CHECK(wdb_env_pwrite(file, "x", 1, 0) != 0);
    env->ops->close(file);
    CHECK_EQ(env->ops->open(env, test_path(dir, "no/file"), WDB_OPEN_CREATE,
                            &file),
             WALKERDB_ENOTFOUND);
}

/* Behind the end of data there are only zeros. */
SCENARIO(data_end)
{
    struct wdb_file *file =
        open_file(env, test_path(dir, "file"), WDB_OPEN_CREATE);

    REQUIRE(file != NULL);
    CHECK_EQ(env->ops->data_end(file), 0);
    CHECK_EQ(env->ops->allocate(file, 1 << 20), 0);
    CHECK(env->ops->data_end(file) <= 1 << 20);
    CHECK_EQ(wdb_env_pwrite(file, "hello", 5, 300000), 0);
    CHECK(env->ops->data_end(file) >= 300005);
    CHECK_EQ(wdb_env_pwrite(file, "hello", 5, 500000), 0);
    CHECK_EQ(env->ops->sync(file), 0);
    CHECK(env->ops->data_end(file) >= 500005);
    CHECK(env->ops->data_end(file) <= 1 << 20);
    CHECK_EQ(env->ops->truncate(file, 400000), 0);
    CHECK(env->ops->data_end(file) >= 300005);
    CHECK(env->ops->data_end(file) <= 400000);
    env->ops->close(file);
}

/* Bytes come back; reads end at the end of the file. */
SCENARIO(read_and_write)
{
    struct wdb_file *file =
        open_file(env, test_path(dir, "file"), WDB_OPEN_CREATE);
    char text[16] = "";
    size_t size_read = 99;
    uint64_t size = 99;

    REQUIRE(file != NULL);
    CHECK_EQ(env->ops->size(file, &size), 0);
    CHECK_EQ(size, 0);
    CHECK_EQ(env->ops->pread(file, text, sizeof(text), 0, &size_read), 0);
    CHECK_EQ(size_read, 0);
    CHECK_EQ(wdb_env_pwrite(file, "hello", 5, 5000), 0);
    CHECK_EQ(env->ops->size(file, &size), 0);
    CHECK_EQ(size, 5005);
    CHECK_EQ(env->ops->pread(file, text, sizeof(text), 4998, &size_read), 0);
    CHECK_EQ(size_read, 7);
    CHECK_MEM(text, 7, "\0\0hello", 7);
    CHECK_EQ(env->ops->pread(file, text, 3, 9000, &size_read), 0);
    CHECK_EQ(size_read, 0);
    CHECK_EQ(wdb_env_pread_all(file, text, 5, 5000), 0);
    CHECK_EQ(wdb_env_pread_all(file, text, 6, 5000), WALKERDB_ECORRUPT);
    CHECK_EQ(wdb_env_pwrite(file, "J", 1, 5000), 0);
    CHECK_EQ(wdb_env_pread_all(file, text, 5, 5000), 0);
    CHECK_MEM(text, 5, "Jello", 5);
    CHECK_EQ(env->ops->sync(file), 0);
    env->ops->close(file);
}

/* A vector of thousands of pieces, empty ones among them, is one write. */
SCENARIO(long_vectors)
{
    enum {
        PIECES = 5000
    };
    struct wdb_file *file =
        open_file(env, test_path(dir, "file"), WDB_OPEN_CREATE);
    struct iovec *vector = calloc(PIECES, sizeof(*vector));
    char *back = calloc(1, 3 * PIECES);
    size_t total = 0;
    bool same = true;

    REQUIRE(file != NULL && vector != NULL && back != NULL);
    for (size_t i = 0; i < PIECES; i++) {
        vector[i].iov_base = (void *)(uintptr_t) "abc";
        vector[i].iov_len = i % 4;
        total += i % 4;
    }
    CHECK_EQ(env->ops->pwritev(file, vector, PIECES, 10), 0);
    CHECK_EQ(wdb_env_pread_all(file, back, total, 10), 0);
    for (size_t i = 0, at = 0; i < PIECES; at += i % 4, i++) {
        same = same && memcmp(back + at, "abc", i % 4) == 0;
    }
    CHECK(same);
    CHECK_EQ(env->ops->pwritev(file, vector, 1, 0), 0);
    CHECK_EQ(env->ops->pwritev(file, vector, 0, 0), 0);
    env->ops->close(file);
    free(vector);
    free(back);
}

/* allocate grows and keeps; truncate cuts, and what comes back is zeros. */
SCENARIO(allocate_and_truncate)
{
    struct wdb_file *file =
        open_file(env, test_path(dir, "file"), WDB_OPEN_CREATE);
    char text[8] = "";
    uint64_t size = 0;

    REQUIRE(file != NULL);
    CHECK_EQ(wdb_env_pwrite(file, "hello", 5, 0), 0);
    CHECK_EQ(env->ops->allocate(file, 10000), 0);
    CHECK_EQ(env->ops->size(file, &size), 0);
    CHECK_EQ(size, 10000);
    CHECK_EQ(wdb_env_pread_all(file, text, 8, 0), 0);
    CHECK_MEM(text, 8, "hello\0\0\0", 8);
    CHECK_EQ(env->ops->allocate(file, 100), 0);
    CHECK_EQ(env->ops->size(file, &size), 0);
    CHECK_EQ(size, 10000);
    CHECK_EQ(env->ops->truncate(file, 2), 0);
    CHECK_EQ(env->ops->size(file, &size), 0);
    CHECK_EQ(size, 2);
    CHECK_EQ(env->ops->truncate(file, 8), 0);
    CHECK_EQ(wdb_env_pread_all(file, text, 8, 0), 0);
    CHECK_MEM(text, 8, "he\0\0\0\0\0\0", 8);
    env->ops->close(file);
}

/* A mapping shows later writes, outlives the handle, and is page-aligned. */
SCENARIO(mappings)
{
    const char *path = test_path(dir, "file");
    struct wdb_file *file = open_file(env, path, WDB_OPEN_CREATE);
    const void *data = NULL;
    unsigned char resident[3] = {0};

    REQUIRE(file != NULL);
    CHECK_EQ(env->ops->map(file, 1, &data), WALKERDB_EINVALID);
    CHECK_EQ(env->ops->allocate(file, 3 * 4096), 0);
    CHECK_EQ(env->ops->map(file, 0, &data), WALKERDB_EINVALID);
    CHECK_EQ(env->ops->map(file, 3 * 4096 + 1, &data), WALKERDB_EINVALID);
    CHECK_EQ(wdb_env_pwrite(file, "early", 5, 4090), 0);
    REQUIRE_EQ(env->ops->map(file, 3 * 4096, &data), 0);
    const char *bytes = data;
    CHECK_EQ((uintptr_t)bytes % 4096, 0);
    CHECK_MEM(bytes + 4090, 5, "early", 5);
    CHECK_EQ(wdb_env_pwrite(file, "later", 5, 8190), 0);
    CHECK_MEM(bytes + 8190, 5, "later", 5);
    CHECK_EQ(env->ops->resident(env, bytes, 3 * 4096, resident), 0);
    CHECK_EQ(resident[1] & 1, 1);
    env->ops->advise_random(file);
    env->ops->advise_willneed(file, 0, 3 * 4096);
    env->ops->advise_dontneed(file, 0, 3 * 4096);
    env->ops->close(file);
    CHECK_EQ(env->ops->unlink(env, path), 0);
    CHECK_MEM(bytes + 8190, 5, "later", 5);
    CHECK(!env->ops->damaged(env, data));
    env->ops->unmap(env, data, 3 * 4096);
}

/* What is mapped and then cut away shows zeros, and is damaged. */
SCENARIO(mapping_of_a_file_that_was_cut)
{
    struct wdb_file *file =
        open_file(env, test_path(dir, "file"), WDB_OPEN_CREATE);
    const void *data = NULL;
    const void *other = NULL;

    REQUIRE(file != NULL);
    CHECK_EQ(env->ops->allocate(file, 16 * 4096), 0);
    CHECK_EQ(wdb_env_pwrite(file, "first", 5, 0), 0);
    CHECK_EQ(wdb_env_pwrite(file, "last", 4, 9 * 4096), 0);
    REQUIRE_EQ(env->ops->map(file, 16 * 4096, &data), 0);
    REQUIRE_EQ(env->ops->map(file, 4096, &other), 0);
    const volatile char *bytes = data;
    CHECK_EQ(bytes[9 * 4096], 'l');
    CHECK(!env->ops->damaged(env, data));
    CHECK_EQ(env->ops->truncate(file, 4096), 0);
    CHECK_EQ(bytes[0], 'f');
    CHECK_EQ(bytes[9 * 4096], 0);
    CHECK_EQ(bytes[9 * 4096 + 1], 0);
    CHECK_EQ(bytes[15 * 4096], 0);
    CHECK(env->ops->damaged(env, data));
    CHECK(!env->ops->damaged(env, other));
    env->ops->unmap(env, data, 16 * 4096);
    env->ops->unmap(env, other, 4096);
    env->ops->close(file);
}

/* rename replaces, link makes a second name, unlink leaves open files be. */
SCENARIO(names)
{
    const char *a = test_path(dir, "a");
    const char *b = test_path(dir, "b");
    const char *c = test_path(dir, "c");
    struct wdb_file *file = NULL;

    CHECK_EQ(wdb_env_replace_file(env, dir, "a", "one", 3), 0);
    CHECK_EQ(wdb_env_replace_file(env, dir, "b", "two", 3), 0);
    CHECK_EQ(env->ops->rename(env, c, b), WALKERDB_ENOTFOUND);
    CHECK_EQ(env->ops->rename(env, a, b), 0);
    CHECK_STR(content_of(env, b), "one");
    CHECK_EQ(env->ops->unlink(env, a), WALKERDB_ENOTFOUND);
    CHECK_EQ(env->ops->link(env, a, c), WALKERDB_ENOTFOUND);
    CHECK_EQ(env->ops->link(env, b, c), 0);
    CHECK_EQ(env->ops->link(env, b, c), WALKERDB_EEXISTS);
    CHECK_EQ(env->ops->rename(env, b, c), 0); /* of one file: nothing */
    CHECK_EQ(env->ops->unlink(env, b), 0);
    CHECK_STR(content_of(env, c), "one");
    file = open_file(env, c, WDB_OPEN_WRITE);
    REQUIRE(file != NULL);
    CHECK_EQ(env->ops->unlink(env, c), 0);
    CHECK_EQ(wdb_env_pwrite(file, "1", 1, 0), 0);
    char text[3];
    CHECK_EQ(wdb_env_pread_all(file, text, 3, 0), 0);
    CHECK_MEM(text, 3, "1ne", 3);
    env->ops->close(file);
    CHECK_EQ(env->ops->sync_dir(env, dir), 0);
    CHECK_EQ(env->ops->sync_dir(env, test_path(dir, "no")), WALKERDB_ENOTFOUND);
}

static int collect_name(void *context, const char *name)
{
    char *all = context;

    if (strcmp(name, "stop") == 0) {
        return 7;
    }
    memcpy(all + strlen(all), name, strlen(name) + 1);
    return 0;
}

/* Directories: made once, listed without dots, removed when empty. */
SCENARIO(directories)
{
    const char *sub = test_path(dir, "sub");
    const char *moved = test_path(dir, "moved");
    char all[64] = "";

    CHECK_EQ(env->ops->list(env, sub, collect_name, all), WALKERDB_ENOTFOUND);
    CHECK_EQ(env->ops->mkdir(env, sub), 0);
    CHECK_EQ(env->ops->mkdir(env, sub), WALKERDB_EEXISTS);
    CHECK_EQ(env->ops->list(env, sub, collect_name, all), 0);
    CHECK_STR(all, "");
    CHECK_EQ(wdb_env_replace_file(env, sub, "x", "1", 1), 0);
    CHECK_EQ(env->ops->list(env, sub, collect_name, all), 0);
    CHECK_STR(all, "x");
    CHECK_EQ(env->ops->rmdir(env, sub), WALKERDB_EBUSY);
    CHECK(env->ops->unlink(env, sub) != 0);
    CHECK_EQ(env->ops->rename(env, sub, moved), 0);
    CHECK_STR(content_of(env, test_path(moved, "x")), "1");
    CHECK_EQ(wdb_env_replace_file(env, moved, "stop", "1", 1), 0);
    CHECK_EQ(env->ops->list(env, moved, collect_name, all), 7);
    CHECK_EQ(env->ops->unlink(env, test_path(moved, "stop")), 0);
    CHECK_EQ(env->ops->unlink(env, test_path(moved, "x")), 0);
    CHECK_EQ(env->ops->rmdir(env, moved), 0);
    CHECK_EQ(env->ops->rmdir(env, moved), WALKERDB_ENOTFOUND);
}

/* One holder at a time, even within one process; the other learns who. */
SCENARIO(locks)
{
    const char *path = test_path(dir, "LOCK");
    struct wdb_file *lock = NULL;
    struct wdb_file *second = NULL;
    int64_t holder = -1;

    REQUIRE_EQ(env->ops->lock(env, path, &lock, &holder), 0);
    CHECK_EQ(env->ops->lock(env, path, &second, &holder), WALKERDB_ELOCKED);
    CHECK(second == NULL);
    CHECK(holder > 0);
    env->ops->unlock(lock);
    REQUIRE_EQ(env->ops->lock(env, path, &lock, &holder), 0);
    env->ops->unlock(lock);
}

/* The helper replaces whole files, also over a leftover of an earlier try. */
SCENARIO(replace_file)
{
    char path[WDB_PATH_SIZE_MAX];
    char name[WDB_PATH_SIZE_MAX];
    void *data = NULL;
    size_t size = 0;

    CHECK_EQ(wdb_env_join(path, dir, "conf"), 0);
    CHECK_EQ(wdb_env_read_file(env, path, 10, &data, &size),
             WALKERDB_ENOTFOUND);
    CHECK_EQ(wdb_env_replace_file(env, dir, "conf", "", 0), 0);
    CHECK_EQ(wdb_env_read_file(env, path, 0, &data, &size), 0);
    CHECK(data != NULL && size == 0);
    free(data);
    CHECK_EQ(wdb_env_replace_file(env, dir, "conf.tmp", "left over", 9), 0);
    CHECK_EQ(wdb_env_replace_file(env, dir, "conf", "new", 3), 0);
    CHECK_STR(content_of(env, path), "new");
    CHECK_STR(content_of(env, test_path(dir, "conf.tmp")), "");
    CHECK_EQ(wdb_env_read_file(env, path, 2, &data, &size), WALKERDB_ETOOBIG);
    memset(name, 'n', sizeof(name));
    name[sizeof(name) - strlen(dir) - 1] = '\0';
    CHECK_EQ(wdb_env_join(path, dir, name), WALKERDB_ETOOBIG);
    name[sizeof(name) - strlen(dir) - 2] = '\0';
    CHECK_EQ(wdb_env_join(path, dir, name), 0);
}

/* Clocks run, randomness differs, there is room. */
SCENARIO(clock_random_space)
{
    uint64_t start = env->ops->monotonic_ns(env);
    uint64_t space = 0;
    uint8_t one[37] = {0};
    uint8_t two[37] = {0};

    CHECK(env->ops->monotonic_ns(env) >= start);
    CHECK(env->ops->time_ms(env) > UINT64_C(1700000000000));
    env->ops->random(env, one, sizeof(one));
    env->ops->random(env, two, sizeof(two));
    CHECK(memcmp(one, two, sizeof(one)) != 0);
    CHECK_EQ(env->ops->free_space(env, dir, &space), 0);
    CHECK(space > 0);
    CHECK_EQ(env->ops->free_space(env, test_path(dir, "no"), &space),
             WALKERDB_ENOTFOUND);
}

/* Every allocation that open, map, lock and read_file make may fail. */
SCENARIO(out_of_memory)
{
    const char *path = test_path(dir, "file");
    const char *path_new = test_path(dir, "new");
    const char *path_lock = test_path(dir, "LOCK");
    struct wdb_file *file = NULL;
    const void *data = NULL;
    void *copy = NULL;
    size_t size = 0;
    int64_t holder = 0;

    CHECK_EQ(wdb_env_replace_file(env, dir, "file", "abc", 3), 0);
    fault_alloc_arm(1);
    int error = env->ops->open(env, path, WDB_OPEN_READ, &file);
    CHECK(fault_alloc_disarm());
    CHECK_EQ(error, WALKERDB_ENOMEM);
    fault_alloc_arm(1);
    error = env->ops->open(env, path_new, WDB_OPEN_CREATE, &file);
    CHECK(fault_alloc_disarm());
    CHECK_EQ(error, WALKERDB_ENOMEM);
    CHECK_EQ(env->ops->unlink(env, path_new), WALKERDB_ENOTFOUND);
    fault_alloc_arm(1);
    error = env->ops->lock(env, path_lock, &file, &holder);
    CHECK(fault_alloc_disarm());
    CHECK_EQ(error, WALKERDB_ENOMEM);
    for (uint64_t n = 1;; n++) {
        fault_alloc_arm(n);
        error = wdb_env_read_file(env, path, 10, &copy, &size);
        if (!fault_alloc_disarm()) {
            break;
        }
        CHECK_EQ(error, WALKERDB_ENOMEM);
    }
    CHECK_EQ(error, 0);
    free(copy);
    file = open_file(env, path, WDB_OPEN_READ);
    REQUIRE(file != NULL);
    fault_alloc_arm(1);
    error = env->ops->map(file, 3, &data);
    /* The real one needs memory only now and then, for its table. */
    CHECK_EQ(error, fault_alloc_disarm() ? WALKERDB_ENOMEM : 0);
    if (error == 0) {
        env->ops->unmap(env, data, 3);
    }
    env->ops->close(file);
}
