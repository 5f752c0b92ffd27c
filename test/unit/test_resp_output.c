/* test_resp_output.c - the queue of bytes that wait to be sent. */
#include <stdlib.h>

#include "lib/fault_alloc.h"
#include "lib/test.h"
#include "resp/output.h"

static void count_release(void *context)
{
    (*(int *)context)++;
}

/* All bytes of the output, gathered as a connection sends them. */
static size_t gather(const struct wdb_output *output, uint8_t *out,
                     size_t capacity)
{
    struct iovec vector[256];
    int count = wdb_output_peek(output, vector, 256, capacity);
    size_t size = 0;
    for (int i = 0; i < count; i++) {
        memcpy(out + size, vector[i].iov_base, vector[i].iov_len);
        size += vector[i].iov_len;
    }
    return size;
}

/* What is appended in any pieces is sent in order, whatever the sizes. */
TEST(append_peek_consume)
{
    struct wdb_output_cache cache;
    struct wdb_output output;
    struct test_random random = {.state = 1};
    uint8_t *expected = malloc(1 << 20), *got = malloc(1 << 20);
    wdb_output_cache_init(&cache, 4);
    wdb_output_init(&output);
    output.cache = &cache;
    for (int round = 0; round < 50; round++) {
        size_t size = 0;
        int released = 0, borrowed = 0;
        while (size < 200000) {
            size_t piece = test_random_below(&random, 8) == 0
                               ? test_random_below(&random, 40000)
                               : test_random_below(&random, 300);
            test_random_fill(&random, expected + size, piece);
            switch (test_random_below(&random, 3)) {
            case 0:
                wdb_output_append(&output, expected + size, piece);
                break;
            case 1:
                wdb_output_borrow(&output, wdb_slice(expected + size, piece),
                                  count_release, &released);
                borrowed++;
                break;
            default:
                piece = piece > 4096 ? 4096 : piece;
                memcpy(wdb_output_room(&output, piece), expected + size, piece);
                wdb_output_advance(&output, piece);
            }
            size += piece;
        }
        CHECK_EQ(output.size, size);
        size_t sent = 0;
        while (output.size > 0) {
            size_t limit = 1 + test_random_below(&random, 30000);
            size_t part = gather(&output, got, limit);
            REQUIRE(part > 0 && part <= limit);
            part = 1 + test_random_below(&random, part);
            CHECK_MEM(got, part, expected + sent, part);
            wdb_output_consume(&output, part);
            sent += part;
        }
        wdb_output_consume(&output, 0);
        CHECK_EQ(sent, size);
        CHECK_EQ(released, borrowed);
        CHECK(output.head == NULL && output.tail == NULL);
    }
    CHECK(cache.count <= 4);
    wdb_output_release(&output);
    wdb_output_cache_release(&cache);
    free(expected);
    free(got);
}

/* A mark brings everything back, also across blocks and borrowed runs. */
TEST(rollback)
{
    struct wdb_output output;
    uint8_t got[64];
    int released = 0;
    static uint8_t big[100000];
    wdb_output_init(&output);
    struct wdb_output_mark empty = wdb_output_mark(&output);
    wdb_output_append(&output, "abc", 3);
    struct wdb_output_mark mark = wdb_output_mark(&output);
    wdb_output_append(&output, "def", 3);
    wdb_output_borrow(&output, wdb_slice(big, sizeof(big)), count_release,
                      &released);
    wdb_output_append(&output, big, sizeof(big));
    wdb_output_rollback(&output, mark);
    CHECK_EQ(released, 1);
    wdb_output_append(&output, "xy", 2);
    size_t size = gather(&output, got, sizeof(got));
    CHECK_MEM(got, size, "abcxy", 5);
    wdb_output_rollback(&output, empty);
    CHECK_EQ(output.size, 0);
    CHECK(output.head == NULL && output.tail == NULL);
    wdb_output_append(&output, "z", 1);
    CHECK_EQ(output.size, 1);
    wdb_output_release(&output);
}

/* After a failed allocation nothing is added any more, and borrowed bytes are
 * given back. */
TEST(out_of_memory)
{
    for (uint64_t n = 1;; n++) {
        struct wdb_output output;
        int released = 0;
        static uint8_t big[50000];
        wdb_output_init(&output);
        fault_alloc_arm(n);
        wdb_output_append(&output, "abc", 3);
        wdb_output_borrow(&output, wdb_slice(big, sizeof(big)), count_release,
                          &released);
        wdb_output_append(&output, big, sizeof(big));
        bool failed = fault_alloc_disarm();
        CHECK_EQ(output.failed, failed);
        if (failed) {
            size_t size = output.size;
            wdb_output_append(&output, "more", 4);
            CHECK(wdb_output_room(&output, 1) == NULL);
            CHECK_EQ(output.size, size);
        }
        wdb_output_release(&output);
        CHECK_EQ(released, 1);
        if (!failed) {
            break;
        }
    }
}

/* Blocks of idle outputs are shared through the cache, up to its limit. */
TEST(cache_recycles)
{
    struct wdb_output_cache cache;
    struct wdb_output outputs[4];
    wdb_output_cache_init(&cache, 2);
    for (int i = 0; i < 4; i++) {
        wdb_output_init(&outputs[i]);
        outputs[i].cache = &cache;
        wdb_output_append(&outputs[i], "x", 1);
    }
    for (int i = 0; i < 4; i++) {
        wdb_output_consume(&outputs[i], 1);
    }
    CHECK_EQ(cache.count, 2);
    uint64_t before = fault_alloc_count();
    for (int i = 0; i < 100; i++) {
        wdb_output_append(&outputs[0], "x", 1);
        wdb_output_consume(&outputs[0], 1);
    }
    CHECK_EQ(fault_alloc_count() - before, 0);
    for (int i = 0; i < 4; i++) {
        wdb_output_release(&outputs[i]);
    }
    wdb_output_cache_release(&cache);
}
