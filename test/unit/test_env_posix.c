/* test_env_posix.c - what only the real environment can show: signals, other
 * processes, limits of the system. */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "env/env.h"
#include "lib/test.h"
#include "walkerdb.h"

static struct wdb_env *env_new(void)
{
    struct wdb_env *env = NULL;

    CHECK_EQ(wdb_env_posix_new(&env), 0);
    return env;
}

/* A new file of so many pages, each filled with the letter 'a' + its index. */
static struct wdb_file *file_of_pages(struct wdb_env *env, const char *path,
                                      int pages)
{
    struct wdb_file *file = NULL;
    char page[4096];

    CHECK_EQ(env->ops->open(env, path, WDB_OPEN_CREATE, &file), 0);
    for (int i = 0; file != NULL && i < pages; i++) {
        memset(page, 'a' + i % 26, sizeof(page));
        CHECK_EQ(wdb_env_pwrite(file, page, sizeof(page), (uint64_t)i * 4096),
                 0);
    }
    return file;
}

/* A file that is cut to nothing under its mapping reads as zeros; what was
 * never touched stays harmless, and other mappings are whole. */
TEST(sigbus_becomes_zeros)
{
    struct wdb_env *env = env_new();
    const char *path = test_path(test_tmpdir(), "f");
    const char *other_path = test_path(test_tmpdir(), "g");
    struct wdb_file *file = file_of_pages(env, path, 8);
    struct wdb_file *other = file_of_pages(env, other_path, 8);
    const void *data = NULL;
    const void *other_data = NULL;

    REQUIRE(file != NULL && other != NULL);
    REQUIRE_EQ(env->ops->map(file, 8 * 4096, &data), 0);
    REQUIRE_EQ(env->ops->map(other, 8 * 4096, &other_data), 0);
    const volatile unsigned char *bytes = data;
    CHECK_EQ(bytes[0], 'a');
    REQUIRE_EQ(truncate(path, 0), 0);
    CHECK_EQ(bytes[0], 0);
    CHECK_EQ(bytes[4095], 0);
    CHECK_EQ(bytes[7 * 4096 + 17], 0);
    CHECK(env->ops->damaged(env, data));
    CHECK(!env->ops->damaged(env, other_data));
    CHECK_EQ(((const char *)other_data)[0], 'a');
    env->ops->unmap(env, data, 8 * 4096);
    /* The slot is used again, without the old mark. */
    REQUIRE_EQ(env->ops->map(other, 4096, &data), 0);
    CHECK(!env->ops->damaged(env, data));
    env->ops->unmap(env, data, 4096);
    env->ops->unmap(env, other_data, 8 * 4096);
    env->ops->close(file);
    env->ops->close(other);
    wdb_env_posix_free(env);
}

/* Hundreds of mappings at once: the table grows, and finds each. */
TEST(many_mappings)
{
    enum {
        MAPPINGS = 1200
    };
    struct wdb_env *env = env_new();
    const char *path = test_path(test_tmpdir(), "f");
    struct wdb_file *file = file_of_pages(env, path, 2);
    const void **data = calloc(MAPPINGS, sizeof(*data));
    int damaged = 0;

    REQUIRE(file != NULL && data != NULL);
    for (int i = 0; i < MAPPINGS; i++) {
        REQUIRE_EQ(env->ops->map(file, 4096 + (uint64_t)(i % 2), &data[i]), 0);
    }
    REQUIRE_EQ(truncate(path, 4096), 0);
    for (int i = 1; i < MAPPINGS; i += 2) {
        CHECK_EQ(((const volatile char *)data[i])[4096], 0);
    }
    for (int i = 0; i < MAPPINGS; i++) {
        damaged += env->ops->damaged(env, data[i]) ? 1 : 0;
        env->ops->unmap(env, data[i], 4096 + (uint64_t)(i % 2));
    }
    CHECK_EQ(damaged, MAPPINGS / 2);
    env->ops->close(file);
    wdb_env_posix_free(env);
    free(data);
}

struct reader {
    struct wdb_env *env;
    struct wdb_file *file;
    atomic_bool stop;
    atomic_int bad;
};

/* Map, read, ask, unmap, as fast as it goes. */
static void *reader_run(void *context)
{
    struct reader *reader = context;
    struct wdb_env *env = reader->env;

    while (!atomic_load(&reader->stop)) {
        const void *data = NULL;
        if (env->ops->map(reader->file, 16 * 4096, &data) != 0) {
            continue; /* it was cut just now */
        }
        const volatile char *bytes = data;
        for (int i = 0; i < 16; i++) {
            char byte = bytes[i * 4096];
            bool ok = byte == 'a' + i || byte == 0;
            atomic_fetch_add(&reader->bad, ok ? 0 : 1);
        }
        (void)env->ops->damaged(env, data);
        env->ops->unmap(env, data, 16 * 4096);
    }
    return NULL;
}

/* Threads fault in mappings that come and go while the file is cut. */
TEST(sigbus_with_threads)
{
    struct wdb_env *env = env_new();
    const char *path = test_path(test_tmpdir(), "f");
    struct reader reader = {.env = env, .file = file_of_pages(env, path, 16)};
    pthread_t threads[3];

    REQUIRE(reader.file != NULL);
    for (int i = 0; i < 3; i++) {
        REQUIRE_EQ(pthread_create(&threads[i], NULL, reader_run, &reader), 0);
    }
    for (int round = 0; round < 300; round++) {
        CHECK_EQ(truncate(path, 4096 * (round % 16)), 0);
        for (int i = 0; i < 16; i++) {
            char page[4096];
            memset(page, 'a' + i, sizeof(page));
            CHECK_EQ(wdb_env_pwrite(reader.file, page, sizeof(page),
                                    (uint64_t)i * 4096),
                     0);
        }
        env->ops->advise_random(reader.file);
        env->ops->advise_dontneed(reader.file, 4096, 8192);
    }
    atomic_store(&reader.stop, true);
    for (int i = 0; i < 3; i++) {
        pthread_join(threads[i], NULL);
    }
    CHECK_EQ(atomic_load(&reader.bad), 0);
    env->ops->close(reader.file);
    wdb_env_posix_free(env);
}

#if !defined(WDB_SANITIZE_ADDRESS) && !defined(WDB_SANITIZE_THREAD)
/* In a child: a bus error outside our mappings still ends the process. */
TEST(foreign_sigbus_is_fatal)
{
    const char *path = test_path(test_tmpdir(), "f");
    pid_t child = fork();

    if (child == 0) {
        struct rlimit none = {0, 0};
        (void)setrlimit(RLIMIT_CORE, &none);
        struct wdb_env *env = env_new();
        struct wdb_file *file = file_of_pages(env, path, 1);
        const void *data = NULL;
        if (env->ops->map(file, 4096, &data) != 0) {
            _exit(1);
        }
        char *foreign =
            mmap(NULL, 4096, PROT_READ, MAP_SHARED, fileno(tmpfile()), 0);
        _exit(((volatile char *)foreign)[0] + 2);
    }
    int status = 0;
    REQUIRE(child > 0);
    REQUIRE_EQ(waitpid(child, &status, 0), child);
    CHECK(WIFSIGNALED(status));
    CHECK_EQ(WTERMSIG(status), SIGBUS);
}
#endif

/* Another process has the lock: we learn its pid; its death frees it. */
TEST(lock_of_another_process)
{
    struct wdb_env *env = env_new();
    const char *path = test_path(test_tmpdir(), "LOCK");
    struct wdb_file *lock = NULL;
    int64_t holder = -1;
    int ready[2], done[2];

    REQUIRE(pipe(ready) == 0 && pipe(done) == 0);
    pid_t child = fork();
    if (child == 0) {
        char byte = 0;
        int error = env->ops->lock(env, path, &lock, &holder);
        (void)!write(ready[1], error == 0 ? "y" : "n", 1);
        close(done[1]);
        (void)!read(done[0], &byte, 1);
        _exit(0);
    }
    REQUIRE(child > 0);
    char answer = 0;
    CHECK_EQ(read(ready[0], &answer, 1), 1);
    CHECK_EQ(answer, 'y');
    CHECK_EQ(env->ops->lock(env, path, &lock, &holder), WALKERDB_ELOCKED);
    CHECK_EQ(holder, child);
    close(done[0]);
    close(done[1]);
    CHECK_EQ(waitpid(child, NULL, 0), child);
    REQUIRE_EQ(env->ops->lock(env, path, &lock, &holder), 0);
    env->ops->unlock(lock);
    close(ready[0]);
    close(ready[1]);
    wdb_env_posix_free(env);
}

/* The system writes only a part: the rest is tried, and its error told. */
TEST(short_write_then_error)
{
    struct wdb_env *env = env_new();
    struct wdb_file *file = NULL;
    struct rlimit old, limit;
    char block[3000];
    char back[6000];
    struct iovec vector[2] = {{block, sizeof(block)}, {block, sizeof(block)}};
    uint64_t size = 0;

    memset(block, 'b', sizeof(block));
    REQUIRE_EQ(env->ops->open(env, test_path(test_tmpdir(), "f"),
                              WDB_OPEN_CREATE, &file),
               0);
    REQUIRE_EQ(getrlimit(RLIMIT_FSIZE, &old), 0);
    signal(SIGXFSZ, SIG_IGN);
    limit = old;
    limit.rlim_cur = 4000;
    REQUIRE_EQ(setrlimit(RLIMIT_FSIZE, &limit), 0);
    int error = env->ops->pwritev(file, vector, 2, 0);
    REQUIRE_EQ(setrlimit(RLIMIT_FSIZE, &old), 0);
    CHECK_EQ(error, WALKERDB_ETOOBIG);
    CHECK_EQ(env->ops->size(file, &size), 0);
    CHECK_EQ(size, 4000);
    CHECK_EQ(env->ops->pwritev(file, vector, 2, 0), 0);
    CHECK_EQ(wdb_env_pread_all(file, back, sizeof(back), 0), 0);
    CHECK(memchr(back, 0, sizeof(back)) == NULL);
    env->ops->close(file);
    wdb_env_posix_free(env);
}

/* A full device is told apart from a broken one. */
TEST(full_device)
{
    struct wdb_env *env = env_new();
    struct wdb_file *file = NULL;

    if (env->ops->open(env, "/dev/full", WDB_OPEN_WRITE, &file) != 0) {
        test_skip("/dev/full cannot be opened");
        wdb_env_posix_free(env);
        return;
    }
    CHECK_EQ(wdb_env_pwrite(file, "x", 1, 0), WALKERDB_ENOSPACE);
    env->ops->close(file);
    wdb_env_posix_free(env);
}

/* Directories that are missing are made, from an absolute or a relative path; a
 * file in the way is told by errno. */
TEST(make_dirs)
{
    char path[512], before[512];
    struct stat status;
    snprintf(path, sizeof(path), "%s/a/b//c/", test_tmpdir());
    for (int i = 0; i < 2; i++) {
        CHECK_EQ(wdb_env_posix_make_dirs(path), 0);
        CHECK(stat(path, &status) == 0 && S_ISDIR(status.st_mode));
        CHECK_EQ(status.st_mode & 07, 0);
    }
    REQUIRE(getcwd(before, sizeof(before)) != NULL);
    REQUIRE_EQ(chdir(path), 0);
    CHECK_EQ(wdb_env_posix_make_dirs("d/e"), 0);
    CHECK_EQ(wdb_env_posix_make_dirs("./f"), 0);
    CHECK(stat("d/e", &status) == 0 && stat("f", &status) == 0);
    FILE *file = fopen("g", "w");
    REQUIRE(file != NULL);
    fclose(file);
    CHECK_EQ(wdb_env_posix_make_dirs("g/h"), WALKERDB_EIO);
    CHECK_EQ(errno, ENOTDIR);
    REQUIRE_EQ(chdir(before), 0);
}

/* Files and directories are for their owner alone. */
TEST(files_are_private)
{
    struct wdb_env *env = env_new();
    const char *dir = test_path(test_tmpdir(), "d");
    const char *path = test_path(dir, "f");
    struct stat status;

    CHECK_EQ(env->ops->mkdir(env, dir), 0);
    CHECK_EQ(wdb_env_replace_file(env, dir, "f", "x", 1), 0);
    REQUIRE_EQ(stat(path, &status), 0);
    CHECK_EQ(status.st_mode & 077, 0);
    REQUIRE_EQ(stat(dir, &status), 0);
    CHECK_EQ(status.st_mode & 077, 0);
    wdb_env_posix_free(env);
}

/* --- in a child process, where the system can be made to refuse ----------- */

#define CHILD_SKIP 77

/* Run in a child; its exit code, 0 if all was as it should be, else the line
 * that was not. */
static int in_child(int (*run)(struct wdb_env *env, const char *path),
                    const char *path)
{
    struct wdb_env *env = env_new();
    int status = -1;
    pid_t child = fork();

    if (child == 0) {
        _exit(run(env, path));
    }
    CHECK_EQ(waitpid(child, &status, 0), child);
    wdb_env_posix_free(env);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* From now on the system call fails with this errno. False: not possible. */
static bool refuse(long call, int error)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)call, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned)error),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = 4, .filter = filter};

    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

/* Leave the child's function with a number that tells the line. */
#define EXPECT(condition)                                                      \
    do {                                                                       \
        if (!(condition)) {                                                    \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);    \
            return 1;                                                          \
        }                                                                      \
    } while (0)

/* A file system without fallocate: zeros are written, the content stays. */
static int allocate_without_fallocate(struct wdb_env *env, const char *path)
{
    struct wdb_file *file = NULL;
    uint64_t size = 0;
    struct stat status;
    char text[6];

    if (!refuse(SYS_fallocate, EOPNOTSUPP)) {
        return CHILD_SKIP;
    }
    EXPECT(env->ops->open(env, path, WDB_OPEN_CREATE, &file) == 0);
    EXPECT(wdb_env_pwrite(file, "hello", 5, 1500000) == 0);
    EXPECT(env->ops->allocate(file, 4000001) == 0);
    EXPECT(env->ops->size(file, &size) == 0 && size == 4000001);
    EXPECT(wdb_env_pread_all(file, text, 6, 1500000) == 0);
    EXPECT(memcmp(text, "hello", 6) == 0);
    EXPECT(wdb_env_pread_all(file, text, 6, 3999995) == 0);
    EXPECT(memcmp(text, "\0\0\0\0\0", 6) == 0);
    EXPECT(env->ops->sync(file) == 0);
    EXPECT(stat(path, &status) == 0 && status.st_blocks * 512 >= 4000001);
    env->ops->close(file);
    return 0;
}

/* What the system says reaches the caller in our terms. */
static int errors_are_translated(struct wdb_env *env, const char *path)
{
    struct wdb_file *file = NULL;

    EXPECT(env->ops->open(env, path, WDB_OPEN_CREATE, &file) == 0);
    if (!refuse(SYS_fdatasync, EIO) || !refuse(SYS_pwritev, EDQUOT) ||
        !refuse(SYS_pread64, EIO) || !refuse(SYS_fsync, EIO)) {
        return CHILD_SKIP;
    }
    char byte = 0;
    EXPECT(env->ops->sync(file) == WALKERDB_EIO);
    EXPECT(wdb_env_pwrite(file, "x", 1, 0) == WALKERDB_ENOSPACE);
    EXPECT(wdb_env_pread_all(file, &byte, 1, 0) == WALKERDB_EIO);
    EXPECT(env->ops->sync_dir(env, "/tmp") == WALKERDB_EIO);
    EXPECT(refuse(SYS_link, EPERM) && refuse(SYS_linkat, EPERM));
    EXPECT(env->ops->link(env, path, "/tmp/x") == WALKERDB_EUNSUPPORTED);
    EXPECT(refuse(SYS_mkdir, EACCES) && refuse(SYS_mkdirat, EACCES));
    EXPECT(env->ops->mkdir(env, "/tmp/x") == WALKERDB_EACCESS);
    EXPECT(refuse(SYS_rename, EROFS) && refuse(SYS_renameat, EROFS));
    EXPECT(env->ops->rename(env, path, path) == WALKERDB_EREADONLY);
    env->ops->close(file);
    return 0;
}

/* A file system that is full: allocate gives back what it took. */
static int allocate_on_a_full_disk(struct wdb_env *env, const char *path)
{
    char name[WDB_PATH_SIZE_MAX];
    struct wdb_file *file = NULL;
    uint64_t before = 0, after = 0, size = 0;

    if (unshare(CLONE_NEWNS) != 0 &&
        unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0) {
        return CHILD_SKIP;
    }
    if (mkdir(path, 0700) != 0 ||
        mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("none", path, "tmpfs", 0, "size=256k") != 0) {
        return CHILD_SKIP;
    }
    EXPECT(wdb_env_join(name, path, "f") == 0);
    EXPECT(env->ops->open(env, name, WDB_OPEN_CREATE, &file) == 0);
    EXPECT(wdb_env_pwrite(file, "x", 1, 0) == 0);
    EXPECT(env->ops->free_space(env, path, &before) == 0);
    EXPECT(env->ops->allocate(file, 1 << 20) == WALKERDB_ENOSPACE);
    EXPECT(env->ops->size(file, &size) == 0 && size == 1);
    EXPECT(env->ops->free_space(env, path, &after) == 0 && after == before);
    EXPECT(env->ops->allocate(file, 128 << 10) == 0);
    env->ops->close(file);
    return 0;
}

static void child_test(int (*run)(struct wdb_env *env, const char *path))
{
    int code = in_child(run, test_path(test_tmpdir(), "f"));

    if (code == CHILD_SKIP) {
        test_skip("the system does not allow what this test needs");
        return;
    }
    CHECK_EQ(code, 0);
}

TEST(allocate_without_fallocate)
{
    child_test(allocate_without_fallocate);
}

TEST(errors_are_translated)
{
    child_test(errors_are_translated);
}

TEST(allocate_on_a_full_disk)
{
    child_test(allocate_on_a_full_disk);
}
