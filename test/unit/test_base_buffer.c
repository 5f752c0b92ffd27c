/* test_base_buffer.c - buffers, slices, bytes and lists. */
#include <stdlib.h>

#include "base/buffer.h"
#include "base/bytes.h"
#include "base/list.h"
#include "lib/fault_alloc.h"
#include "lib/test.h"
#include "walkerdb.h"

/* What is appended stays, in order, through every growth. */
TEST(buffer_append)
{
    struct wdb_buffer b = WDB_BUFFER_INIT;
    for (int i = 0; i < 10000; i++) {
        uint8_t bytes[3] = {(uint8_t)i, (uint8_t)(i >> 8), 7};
        REQUIRE_EQ(wdb_buffer_append(&b, bytes, sizeof(bytes)), 0);
    }
    CHECK_EQ(b.size, 30000);
    CHECK(b.capacity >= b.size && b.capacity < 4 * b.size);
    for (size_t i = 0; i < 10000; i++) {
        CHECK_EQ(wdb_load16(b.data + 3 * i), i);
        CHECK_EQ(b.data[3 * i + 2], 7);
    }
    wdb_buffer_clear(&b);
    CHECK_EQ(b.size, 0);
    wdb_buffer_release(&b);
    CHECK(b.data == NULL && b.size == 0 && b.capacity == 0);
}

/* Nothing from nowhere may be appended. */
TEST(buffer_append_nothing)
{
    struct wdb_buffer b = WDB_BUFFER_INIT;
    CHECK_EQ(wdb_buffer_append(&b, NULL, 0), 0);
    CHECK_EQ(wdb_buffer_reserve(&b, 0), 0);
    CHECK(b.data == NULL);
    wdb_buffer_consume(&b, 0);
    wdb_buffer_release(&b);
}

/* The rest moves to the front. */
TEST(buffer_consume)
{
    struct wdb_buffer b = WDB_BUFFER_INIT;
    REQUIRE_EQ(wdb_buffer_append(&b, "hello world", 11), 0);
    wdb_buffer_consume(&b, 6);
    CHECK(wdb_slice_equal(wdb_buffer_slice(&b), wdb_slice_str("world")));
    wdb_buffer_consume(&b, 5);
    CHECK_EQ(b.size, 0);
    wdb_buffer_release(&b);
}

/* Text of every length around the size of the first attempt. */
TEST(buffer_printf)
{
    struct wdb_buffer b = WDB_BUFFER_INIT;
    size_t expected = 0;
    for (int width = 1; width < 600; width++) {
        REQUIRE_EQ(wdb_buffer_printf(&b, "%*d", width, 7), 0);
        expected += (size_t)width;
        CHECK_EQ(b.size, expected);
        CHECK_EQ(b.data[b.size - 1], '7');
        CHECK(width == 1 || b.data[b.size - 2] == ' ');
    }
    wdb_buffer_release(&b);
}

/* Sizes that no memory holds are refused, without wrapping around. */
TEST(buffer_too_big)
{
    struct wdb_buffer b = WDB_BUFFER_INIT;
    REQUIRE_EQ(wdb_buffer_append(&b, "x", 1), 0);
    CHECK_EQ(wdb_buffer_reserve(&b, SIZE_MAX), WALKERDB_ENOMEM);
    CHECK_EQ(wdb_buffer_reserve(&b, SIZE_MAX / 2 + 1), WALKERDB_ENOMEM);
    CHECK_EQ(b.size, 1);
    wdb_buffer_release(&b);
}

/* A failed allocation leaves the buffer as it was. */
TEST(buffer_no_memory)
{
    struct wdb_buffer b = WDB_BUFFER_INIT;
    fault_alloc_arm(1);
    CHECK_EQ(wdb_buffer_append(&b, "x", 1), WALKERDB_ENOMEM);
    CHECK(fault_alloc_disarm());
    CHECK(b.data == NULL && b.size == 0 && b.capacity == 0);

    REQUIRE_EQ(wdb_buffer_append(&b, "abc", 3), 0);
    char large[1000];
    memset(large, 'l', sizeof(large));
    fault_alloc_arm(1);
    CHECK_EQ(wdb_buffer_append(&b, large, sizeof(large)), WALKERDB_ENOMEM);
    CHECK(fault_alloc_disarm());
    fault_alloc_arm(1);
    CHECK_EQ(wdb_buffer_printf(&b, "%300d", 1), WALKERDB_ENOMEM);
    CHECK(fault_alloc_disarm());
    CHECK(wdb_slice_equal(wdb_buffer_slice(&b), wdb_slice_str("abc")));
    wdb_buffer_release(&b);
}

/* Slices are ordered by unsigned bytes, a prefix first. */
TEST(slice_order)
{
    static const char *const sorted[] = {"", "a", "aa", "ab", "b", "\xff"};
    for (int i = 0; i < 6; i++) {
        for (int k = 0; k < 6; k++) {
            int order = wdb_slice_compare(wdb_slice_str(sorted[i]),
                                          wdb_slice_str(sorted[k]));
            CHECK_EQ((order > 0) - (order < 0), (i > k) - (i < k));
            CHECK_EQ(wdb_slice_equal(wdb_slice_str(sorted[i]),
                                     wdb_slice_str(sorted[k])),
                     i == k);
        }
    }
    CHECK(wdb_slice_equal(wdb_slice(NULL, 0), wdb_slice("x", 0)));
    CHECK_EQ(wdb_slice_compare(wdb_slice(NULL, 0), wdb_slice(NULL, 0)), 0);
}

/* Loads and stores are little-endian and need no alignment. */
TEST(bytes_little_endian)
{
    uint8_t bytes[12] = {0};
    wdb_store64(bytes + 1, 0x0102030405060708);
    CHECK_EQ(bytes[1], 8);
    CHECK_EQ(bytes[8], 1);
    CHECK_EQ(wdb_load64(bytes + 1), 0x0102030405060708);
    wdb_store32(bytes + 3, 0xa1b2c3d4);
    CHECK_EQ(wdb_load32(bytes + 3), 0xa1b2c3d4);
    wdb_store16(bytes + 5, 0xbeef);
    CHECK_EQ(wdb_load16(bytes + 5), 0xbeef);
    CHECK_EQ(wdb_align8(0), 0);
    CHECK_EQ(wdb_align8(1), 8);
    CHECK_EQ(wdb_align8(8), 8);
    CHECK_EQ(wdb_align8(9), 16);
}

struct item {
    int number;
    struct wdb_list link;
};

/* Order of insertion is kept; removing twice does no harm. */
TEST(list_order)
{
    struct wdb_list head;
    struct item items[4];
    wdb_list_init(&head);
    CHECK(wdb_list_empty(&head));
    for (int i = 0; i < 4; i++) {
        items[i].number = i;
        wdb_list_append(&head, &items[i].link);
    }
    wdb_list_remove(&items[1].link);
    wdb_list_remove(&items[1].link);
    wdb_list_insert_before(&items[3].link, &items[1].link);
    static const int expected[] = {0, 2, 1, 3};
    int count = 0;
    WDB_LIST_FOREACH(node, &head)
    {
        CHECK_EQ(WDB_LIST_ENTRY(node, struct item, link)->number,
                 expected[count]);
        count++;
    }
    CHECK_EQ(count, 4);
    for (int i = 0; i < 4; i++) {
        wdb_list_remove(&items[i].link);
    }
    CHECK(wdb_list_empty(&head));
}
