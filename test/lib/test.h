/*
 * test.h - the test runner: tests register themselves, checks count.
 *
 *     #include "lib/test.h"
 *
 *     // A key that was put is found again.
 *     TEST(put_then_get)
 *     {
 *         CHECK(put("a", "1") == 0);
 *         CHECK_EQ(count(), 1);
 *         CHECK_STR(get("a"), "1");
 *     }
 *
 * A failed CHECK is recorded and the test goes on; REQUIRE leaves the test's
 * function. The program prints "ok NAME" or "FAILED NAME" for each test and
 * ends with "N passed, N failed" and, if there are any, ", N skipped". Its
 * arguments are parts of names: only tests that contain one of them run.
 * Options: -l lists the tests, -v prints the time of each.
 *
 * Checks may be used by several threads of one test.
 */
#ifndef WDB_TEST_LIB_TEST_H
#define WDB_TEST_LIB_TEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* One registered test; made by TEST(), never by hand. */
struct test_case {
    const char *name;
    const char *file;
    void (*run)(void);
    struct test_case *next;
};

/* Add a test to the list that test_main() runs. Called before main(). */
void test_register(struct test_case *test);

/* Run the tests that the arguments select; returns the exit code. */
int test_main(int argc, char **argv);

/* Record a failure of the running test, with a message as of printf. */
void test_fail(const char *file, int line, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Compare and record; each returns whether the check held. */
bool test_check(bool holds, const char *file, int line, const char *text);
bool test_check_eq(int64_t left, int64_t right, const char *file, int line,
                   const char *text);
bool test_check_str(const char *left, const char *right, const char *file,
                    int line, const char *text);
bool test_check_mem(const void *left, size_t left_size, const void *right,
                    size_t right_size, const char *file, int line);

/*
 * Mark the running test as skipped, with the reason; the caller returns. On
 * a CI machine where everything is there, a skipped test counts as failed
 * (environment variable WDB_TEST_NO_SKIP, set by scripts/test).
 */
void test_skip(const char *reason);

/* True if the running test has failed a check already. */
bool test_has_failed(void);

/*
 * A new empty directory, removed with all it holds when the program ends
 * (kept if a test failed and WDB_TEST_KEEP is set). Below $TMPDIR or /tmp.
 * The string stays valid until the end of the program. Never NULL.
 */
const char *test_tmpdir(void);

/* Remove a directory with all it holds; missing is fine. */
void test_remove_tree(const char *path);

/* "DIR/NAME" in a string that stays valid until the end of the program. */
const char *test_path(const char *dir, const char *name);

/* The checkout's directory test/golden, from where the build was made. */
const char *test_golden_dir(void);

/*
 * A number from the environment variable NAME, else `normal`: for counts
 * that a longer run raises (WDB_TEST_SEED, WDB_TEST_ROUNDS, ...).
 */
uint64_t test_number(const char *name, uint64_t normal);

/* Monotonic clock in nanoseconds, for figures that a test prints. */
uint64_t test_now_ns(void);

/* A small random generator; the same seed gives the same numbers. */
struct test_random {
    uint64_t state;
};
uint64_t test_random_next(struct test_random *random);
/* A number below `bound`, which is not 0. */
uint64_t test_random_below(struct test_random *random, uint64_t bound);
void test_random_fill(struct test_random *random, void *bytes, size_t size);

#define TEST(id)                                                               \
    static void test_run_##id(void);                                           \
    static struct test_case test_case_##id = {#id, __FILE__, test_run_##id,    \
                                              NULL};                           \
    __attribute__((constructor)) static void test_add_##id(void)               \
    {                                                                          \
        test_register(&test_case_##id);                                        \
    }                                                                          \
    static void test_run_##id(void)

#define CHECK(condition)                                                       \
    ((void)test_check((condition), __FILE__, __LINE__, #condition))
/* Integers, signed 64-bit; the failure prints both values. */
#define CHECK_EQ(left, right)                                                  \
    ((void)test_check_eq((int64_t)(left), (int64_t)(right), __FILE__,          \
                         __LINE__, #left " == " #right))
/* Strings that end in 0. */
#define CHECK_STR(left, right)                                                 \
    ((void)test_check_str((left), (right), __FILE__, __LINE__,                 \
                          #left " == " #right))
/* Bytes with their sizes. */
#define CHECK_MEM(left, left_size, right, right_size)                          \
    ((void)test_check_mem((left), (left_size), (right), (right_size),          \
                          __FILE__, __LINE__))

/* The same, but a failure leaves the calling (void) function. */
#define REQUIRE(condition)                                                     \
    do {                                                                       \
        if (!test_check((condition), __FILE__, __LINE__, #condition)) {        \
            return;                                                            \
        }                                                                      \
    } while (0)
#define REQUIRE_EQ(left, right)                                                \
    do {                                                                       \
        if (!test_check_eq((int64_t)(left), (int64_t)(right), __FILE__,        \
                           __LINE__, #left " == " #right)) {                   \
            return;                                                            \
        }                                                                      \
    } while (0)

#endif
