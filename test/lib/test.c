/*
 * test.c - the list of tests, the checks and the runner.
 *
 * The list is linked before main() by constructors, so it is a static of
 * this file; counts are atomic because a test's threads may check too.
 */
#include "lib/test.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define FAILURES_PRINTED_MAX 20

static struct test_case *first;
static struct test_case **last = &first;
static atomic_int failures;
static const char *skipped;

void test_register(struct test_case *test)
{
    *last = test;
    last = &test->next;
}

void test_fail(const char *file, int line, const char *format, ...)
{
    int count = atomic_fetch_add(&failures, 1);
    if (count >= FAILURES_PRINTED_MAX) {
        return;
    }
    char message[1024];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(message, sizeof(message), format, arguments);
    va_end(arguments);
    printf("  %s:%d: %s\n", file, line, message);
    fflush(stdout);
}

bool test_check(bool holds, const char *file, int line, const char *text)
{
    if (!holds) {
        test_fail(file, line, "%s", text);
    }
    return holds;
}

bool test_check_eq(int64_t left, int64_t right, const char *file, int line,
                   const char *text)
{
    if (left != right) {
        test_fail(file, line, "%s: %" PRId64 " is not %" PRId64, text, left,
                  right);
    }
    return left == right;
}

bool test_check_str(const char *left, const char *right, const char *file,
                    int line, const char *text)
{
    bool equal = left != NULL && right != NULL && strcmp(left, right) == 0;
    if (!equal) {
        test_fail(file, line, "%s: \"%s\" is not \"%s\"", text,
                  left != NULL ? left : "(null)",
                  right != NULL ? right : "(null)");
    }
    return equal;
}

bool test_check_mem(const void *left, size_t left_size, const void *right,
                    size_t right_size, const char *file, int line)
{
    if (left_size != right_size) {
        test_fail(file, line, "sizes %zu and %zu differ", left_size,
                  right_size);
        return false;
    }
    for (size_t i = 0; i < left_size; i++) {
        int a = ((const uint8_t *)left)[i];
        int b = ((const uint8_t *)right)[i];
        if (a != b) {
            test_fail(file, line, "byte %zu of %zu: 0x%02x is not 0x%02x", i,
                      left_size, (unsigned)a, (unsigned)b);
            return false;
        }
    }
    return true;
}

void test_skip(const char *reason)
{
    skipped = reason;
}

bool test_has_failed(void)
{
    return atomic_load(&failures) != 0;
}

static bool selected(const char *name, int count, char **parts)
{
    for (int i = 0; i < count; i++) {
        if (strstr(name, parts[i]) != NULL) {
            return true;
        }
    }
    return count == 0;
}

/* Run one test; 0 passed, 1 failed, 2 skipped. */
static int run_one(const struct test_case *test, bool verbose)
{
    atomic_store(&failures, 0);
    skipped = NULL;
    uint64_t start_ns = test_now_ns();
    test->run();
    double elapsed_ms = (double)(test_now_ns() - start_ns) / 1e6;
    if (skipped != NULL && getenv("WDB_TEST_NO_SKIP") != NULL) {
        test_fail(test->file, 0, "skipped, but must run here: %s", skipped);
    }
    int failed = atomic_load(&failures);
    if (failed > FAILURES_PRINTED_MAX) {
        printf("  ... %d failed checks in all\n", failed);
    }
    if (failed == 0 && skipped != NULL) {
        printf("skipped %s: %s\n", test->name, skipped);
        return 2;
    }
    printf("%s %s", failed == 0 ? "ok" : "FAILED", test->name);
    if (verbose) {
        printf(" (%.1f ms)", elapsed_ms);
    }
    printf("\n");
    return failed != 0;
}

int test_main(int argc, char **argv)
{
    bool list = false;
    bool verbose = false;
    int counts[3] = {0, 0, 0};

    setvbuf(stdout, NULL, _IOLBF, 0);
    for (argc--, argv++; argc > 0 && argv[0][0] == '-'; argc--, argv++) {
        list = list || strcmp(argv[0], "-l") == 0;
        verbose = verbose || strcmp(argv[0], "-v") == 0;
    }
    for (struct test_case *test = first; test != NULL; test = test->next) {
        if (!selected(test->name, argc, argv)) {
            continue;
        }
        if (list) {
            printf("%s\n", test->name);
            continue;
        }
        counts[run_one(test, verbose)]++;
    }
    if (list) {
        return 0;
    }
    printf("%d passed, %d failed", counts[0], counts[1]);
    if (counts[2] > 0) {
        printf(", %d skipped", counts[2]);
    }
    printf("\n");
    /* Nothing ran: a misspelt filter must not look like success. */
    return counts[1] > 0 || counts[0] + counts[1] + counts[2] == 0;
}
