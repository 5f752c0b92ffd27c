/* test_runner.c - the test runner and its helpers hold what they promise. */
#include <stdlib.h>
#include <sys/stat.h>

#include "lib/fault_alloc.h"
#include "lib/test.h"

/* A temporary directory exists, is new each time and can be removed. */
TEST(runner_tmpdir)
{
    struct stat info;
    const char *one = test_tmpdir();
    const char *two = test_tmpdir();
    CHECK(strcmp(one, two) != 0);
    CHECK_EQ(stat(one, &info), 0);
    CHECK(S_ISDIR(info.st_mode));
    const char *below = test_path(one, "below");
    CHECK_EQ(mkdir(below, 0700), 0);
    test_remove_tree(one);
    CHECK(stat(one, &info) != 0);
}

/* The same seed gives the same numbers, and none reaches the bound. */
TEST(runner_random)
{
    struct test_random a = {7};
    struct test_random b = {7};
    for (int i = 0; i < 1000; i++) {
        uint64_t number = test_random_below(&a, 10);
        CHECK(number < 10);
        CHECK_EQ(number, test_random_below(&b, 10));
    }
}

/* Exactly the chosen allocation fails. */
TEST(runner_fault_alloc)
{
    fault_alloc_arm(2);
    void *volatile one = malloc(10);
    void *volatile two = malloc(10);
    void *volatile three = calloc(1, 10);
    CHECK(fault_alloc_disarm());
    CHECK(one != NULL);
    CHECK(two == NULL);
    CHECK(three != NULL);
    free(one);
    free(two);
    free(three);
    fault_alloc_arm(1000);
    CHECK(!fault_alloc_disarm());
}

/* From the chosen allocation on, all fail. */
TEST(runner_fault_alloc_from)
{
    fault_alloc_arm_from(2);
    void *volatile one = malloc(10);
    void *volatile two = malloc(10);
    void *volatile three = realloc(NULL, 10);
    CHECK(fault_alloc_disarm());
    CHECK(one != NULL && two == NULL && three == NULL);
    free(one);
}
