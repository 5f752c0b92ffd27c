/* test_base_sha1.c - SHA-1 against the examples of its standard. */
#include <stdio.h>
#include <stdlib.h>

#include "base/sha1.h"
#include "lib/test.h"

static void check_hash(const void *data, size_t size, const char *expected)
{
    uint8_t hash[WDB_SHA1_SIZE];
    char text[2 * WDB_SHA1_SIZE + 1];
    wdb_sha1(data, size, hash);
    for (size_t i = 0; i < sizeof(hash); i++) {
        snprintf(text + 2 * i, 3, "%02x", hash[i]);
    }
    CHECK_STR(text, expected);
}

/* FIPS 180: nothing, one block, two blocks. */
TEST(examples)
{
    check_hash("", 0, "da39a3ee5e6b4b0d3255bfef95601890afd80709");
    check_hash("abc", 3, "a9993e364706816aba3e25717850c26c9cd0d89d");
    const char *two =
        "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
    check_hash(two, strlen(two), "84983e441c3bd26ebaae4aa1f95129e5e54670f1");
}

/* A million times "a". */
TEST(million)
{
    char *text = malloc(1000000);
    REQUIRE(text != NULL);
    memset(text, 'a', 1000000);
    check_hash(text, 1000000, "34aa973cd4c4daa4f61eeb2bdbad27316534016f");
    free(text);
}

/* Every length around the end of a block differs from its neighbours. */
TEST(lengths)
{
    uint8_t zeros[130] = {0};
    uint8_t before[WDB_SHA1_SIZE] = {0};
    for (size_t size = 50; size < sizeof(zeros); size++) {
        uint8_t hash[WDB_SHA1_SIZE];
        wdb_sha1(zeros, size, hash);
        CHECK(memcmp(hash, before, sizeof(hash)) != 0);
        memcpy(before, hash, sizeof(hash));
    }
}
