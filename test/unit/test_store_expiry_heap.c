/* test_store_expiry_heap.c - the heap of expiries against a sorted model. */
#include <stdlib.h>

#include "lib/fault_alloc.h"
#include "lib/test.h"
#include "store/expiry_heap.h"
#include "walkerdb.h"

static struct wdb_expiry_heap *new_heap(void)
{
    struct wdb_expiry_heap *heap = NULL;
    CHECK_EQ(wdb_expiry_heap_new(&heap), 0);
    return heap;
}

/* What is pushed comes out unchanged, up to the bits that an item keeps. */
TEST(expiry_heap_item)
{
    struct wdb_expiry_heap *heap = new_heap();
    struct test_random random = {1};
    struct wdb_expiry_item out;
    CHECK(!wdb_expiry_heap_peek(heap, &out));
    for (int i = 0; i < 10000; i++) {
        struct wdb_expiry_item in = {
            .expiry_ms = test_random_next(&random) >> (10 + i % 50),
            .hash = test_random_next(&random),
            .database = (uint32_t)test_random_next(&random),
        };
        REQUIRE_EQ(wdb_expiry_heap_push(heap, &in), 0);
        REQUIRE(wdb_expiry_heap_peek(heap, &out));
        CHECK_EQ(out.expiry_ms, in.expiry_ms > WDB_EXPIRY_TIME_MAX
                                    ? WDB_EXPIRY_TIME_MAX
                                    : in.expiry_ms);
        CHECK_EQ(out.hash, in.hash & WDB_EXPIRY_HASH_MASK);
        CHECK_EQ(out.database, in.database);
        wdb_expiry_heap_pop(heap);
    }
    wdb_expiry_heap_free(heap);
    wdb_expiry_heap_free(NULL);
}

/* Push, pop and replace in random order give the earliest time each time. The
 * model counts the items of each of 1,000 times. */
TEST(expiry_heap_model)
{
    struct wdb_expiry_heap *heap = new_heap();
    struct test_random random = {test_number("WDB_TEST_SEED", 2)};
    static uint32_t model[1000];
    uint64_t count = 0;
    memset(model, 0, sizeof(model));
    for (int i = 0; i < 200000 && !test_has_failed(); i++) {
        struct wdb_expiry_item item = {.expiry_ms =
                                           test_random_below(&random, 1000)};
        uint32_t least = 0;
        while (least < 999 && model[least] == 0) {
            least++;
        }
        struct wdb_expiry_item top;
        CHECK_EQ(wdb_expiry_heap_peek(heap, &top), count > 0);
        CHECK(count == 0 || top.expiry_ms == least);
        bool growing = i / 20000 % 2 == 0;
        uint64_t what = test_random_below(&random, 10);
        if (count == 0 || what < (growing ? 7 : 2)) {
            REQUIRE_EQ(wdb_expiry_heap_push(heap, &item), 0);
            model[item.expiry_ms]++;
            count++;
        } else if (what == 9) {
            wdb_expiry_heap_replace(heap, &item);
            model[least]--;
            model[item.expiry_ms]++;
        } else {
            wdb_expiry_heap_pop(heap);
            model[least]--;
            count--;
        }
        CHECK_EQ(wdb_expiry_heap_count(heap), count);
    }
    wdb_expiry_heap_free(heap);
}

/* A push that finds no memory changes nothing. */
TEST(expiry_heap_without_memory)
{
    struct wdb_expiry_heap *heap = NULL;
    fault_alloc_arm(1);
    CHECK_EQ(wdb_expiry_heap_new(&heap), WALKERDB_ENOMEM);
    CHECK(fault_alloc_disarm());
    heap = new_heap();
    uint64_t failed = 0;
    for (uint32_t i = 0; i < 1000; i++) {
        struct wdb_expiry_item item = {.expiry_ms = 1000 - i};
        fault_alloc_arm(1);
        int rc = wdb_expiry_heap_push(heap, &item);
        if (fault_alloc_disarm()) {
            CHECK_EQ(rc, WALKERDB_ENOMEM);
            CHECK_EQ(wdb_expiry_heap_count(heap), i);
            failed++;
            rc = wdb_expiry_heap_push(heap, &item);
        }
        REQUIRE_EQ(rc, 0);
    }
    CHECK(failed > 5);
    for (uint32_t i = 1; i <= 1000; i++) {
        struct wdb_expiry_item item;
        REQUIRE(wdb_expiry_heap_peek(heap, &item));
        CHECK_EQ(item.expiry_ms, i);
        fault_alloc_arm(1); /* shrinking may fail unnoticed */
        wdb_expiry_heap_pop(heap);
        (void)fault_alloc_disarm();
    }
    wdb_expiry_heap_free(heap);
}

/* The expiry of each of some keys now; an item is live if it is not later. */
struct keys {
    uint64_t expiry_ms[1000];
    uint64_t looked_at;
};

static bool is_live(void *context, const struct wdb_expiry_item *item)
{
    struct keys *keys = context;
    keys->looked_at++;
    return keys->expiry_ms[item->hash] >= item->expiry_ms;
}

/* Keys that get earlier expiries again and again leave dead items behind; the
 * heap stays within three times the live ones, at a few looks for each push,
 * and loses none of the live ones. */
TEST(expiry_heap_clean)
{
    struct wdb_expiry_heap *heap = new_heap();
    struct test_random random = {3};
    static struct keys keys;
    const uint64_t pushes = 300000;
    for (uint64_t i = 0; i < pushes; i++) {
        struct wdb_expiry_item item = {
            .hash = test_random_below(&random, 1000),
            .expiry_ms = 2 * pushes - i,
        };
        keys.expiry_ms[item.hash] = item.expiry_ms;
        REQUIRE_EQ(wdb_expiry_heap_push(heap, &item), 0);
        wdb_expiry_heap_clean(heap, 1000, is_live, &keys);
        CHECK(wdb_expiry_heap_count(heap) < 3100);
    }
    CHECK(keys.looked_at < 4 * pushes);
    CHECK(wdb_expiry_heap_memory(heap) < UINT64_C(16) * 3100 * 2);
    bool seen[1000] = {0};
    struct wdb_expiry_item item;
    for (; wdb_expiry_heap_peek(heap, &item); wdb_expiry_heap_pop(heap)) {
        seen[item.hash] |= item.expiry_ms == keys.expiry_ms[item.hash];
    }
    for (int i = 0; i < 1000; i++) {
        CHECK(seen[i]);
    }
    CHECK(wdb_expiry_heap_memory(heap) < 1000);
    wdb_expiry_heap_free(heap);
}
