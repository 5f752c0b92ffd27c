/*
 * test_util.c - temporary directories, numbers, clock and random bytes.
 */
#include <errno.h>
#include <ftw.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "lib/test.h"

/* Strings handed out, kept until the end of the program. */
struct kept {
    struct kept *next;
    bool is_dir;
    char text[];
};

static pthread_mutex_t kept_lock = PTHREAD_MUTEX_INITIALIZER;
static struct kept *kept_first;
static pid_t kept_owner;

static int remove_one(const char *path, const struct stat *info, int type,
                      struct FTW *walk)
{
    (void)info;
    (void)type;
    (void)walk;
    (void)remove(path);
    return 0;
}

void test_remove_tree(const char *path)
{
    (void)nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void drop_kept(void)
{
    /* A child that exits must not remove its parent's directories. */
    if (getpid() != kept_owner) {
        return;
    }
    bool keep = getenv("WDB_TEST_KEEP") != NULL && test_has_failed();
    while (kept_first != NULL) {
        struct kept *one = kept_first;
        kept_first = one->next;
        if (one->is_dir && keep) {
            printf("kept %s\n", one->text);
        } else if (one->is_dir) {
            test_remove_tree(one->text);
        }
        free(one);
    }
}

static char *keep_string(const char *head, const char *tail, bool is_dir)
{
    size_t size = strlen(head) + 1 + strlen(tail) + 1;
    struct kept *one = malloc(sizeof(*one) + size);
    if (one == NULL) {
        fprintf(stderr, "test: out of memory\n");
        abort();
    }
    (void)snprintf(one->text, size, "%s/%s", head, tail);
    one->is_dir = is_dir;
    pthread_mutex_lock(&kept_lock);
    if (kept_owner == 0) {
        kept_owner = getpid();
        (void)atexit(drop_kept);
    }
    one->next = kept_first;
    kept_first = one;
    pthread_mutex_unlock(&kept_lock);
    return one->text;
}

const char *test_tmpdir(void)
{
    const char *base = getenv("TMPDIR");
    char *path = keep_string(base != NULL && *base != 0 ? base : "/tmp",
                             "walkerdb-test-XXXXXX", true);
    if (mkdtemp(path) == NULL) {
        fprintf(stderr, "test: mkdtemp %s: %s\n", path, strerror(errno));
        abort();
    }
    return path;
}

const char *test_path(const char *dir, const char *name)
{
    return keep_string(dir, name, false);
}

const char *test_golden_dir(void)
{
    return WDB_TEST_SOURCE_DIR "/golden";
}

uint64_t test_number(const char *name, uint64_t normal)
{
    const char *text = getenv(name);
    return text != NULL && *text != 0 ? strtoull(text, NULL, 0) : normal;
}

uint64_t test_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* splitmix64: every seed is good, 0 too. */
uint64_t test_random_next(struct test_random *random)
{
    uint64_t z = random->state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

uint64_t test_random_below(struct test_random *random, uint64_t bound)
{
    return (uint64_t)(((__uint128_t)test_random_next(random) * bound) >> 64);
}

void test_random_fill(struct test_random *random, void *bytes, size_t size)
{
    uint8_t *at = bytes;
    while (size > 0) {
        uint64_t word = test_random_next(random);
        size_t step = size < sizeof(word) ? size : sizeof(word);
        memcpy(at, &word, step);
        at += step;
        size -= step;
    }
}
