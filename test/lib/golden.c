/* golden.c - compares bytes with the golden files, or writes these. */
#include "lib/golden.h"

#include <stdio.h>
#include <stdlib.h>

#include "env/env.h"
#include "lib/test.h"

bool golden_is_writing(void)
{
    return getenv("WDB_TEST_GOLDEN_WRITE") != NULL;
}

void golden_write(const char *path, const void *data, size_t size)
{
    FILE *file = fopen(path, "wb");
    REQUIRE(file != NULL);
    CHECK_EQ(fwrite(data, 1, size, file), size);
    CHECK_EQ(fclose(file), 0);
}

void golden_seed(const char *seed, const void *data, size_t size)
{
    if (golden_is_writing()) {
        golden_write(test_path(test_golden_dir(), seed), data, size);
    }
}

void golden_compare(const char *name, const char *seed, const void *data,
                    size_t size)
{
    if (golden_is_writing()) {
        golden_write(test_path(test_golden_dir(), name), data, size);
    }
    if (seed != NULL) {
        golden_seed(seed, data, size);
    }
    size_t golden_size;
    void *golden = golden_load(name, &golden_size);
    REQUIRE(golden != NULL);
    CHECK_MEM(data, size, golden, golden_size);
    free(golden);
}

void *golden_load(const char *name, size_t *size_out)
{
    struct wdb_env *env;
    void *data = NULL;
    CHECK_EQ(wdb_env_posix_new(&env), 0);
    CHECK_EQ(wdb_env_read_file(env, test_path(test_golden_dir(), name), 1 << 20,
                               &data, size_out),
             0);
    wdb_env_posix_free(env);
    return data;
}
