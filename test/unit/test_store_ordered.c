/*
 * test_store_ordered.c - the ordered index against a sorted array.
 *
 * A universe is a sorted array of different keys; the model says which of them
 * are in the tree.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/fault_alloc.h"
#include "lib/test.h"
#include "store/ordered.h"
#include "walkerdb.h"

enum shape {
    SHAPE_NUMBERS,
    SHAPE_BYTES,
    SHAPE_LONG,
    SHAPE_COUNT
};

struct model {
    struct wdb_ordered *ordered;
    uint32_t size;
    uint32_t count;
    struct wdb_slice *keys;
    bool *is_there;
};

/* A key of that shape; the memory is the caller's to free. */
static struct wdb_slice make_key(enum shape shape, struct test_random *random)
{
    uint8_t *data = malloc(5000);
    size_t size = 0;
    if (shape == SHAPE_NUMBERS) {
        size = (size_t)snprintf((char *)data, 64, "key:%012u",
                                (unsigned)test_random_below(random, 1 << 20));
    } else if (shape == SHAPE_BYTES) {
        /* Few different bytes, so that many begin alike. */
        static const uint8_t bytes[4] = {0, 'a', 0xfe, 0xff};
        size = test_random_below(random, 20);
        for (size_t i = 0; i < size; i++) {
            data[i] = bytes[test_random_below(random, 4)];
        }
    } else {
        size = test_random_below(random, 10) == 0
                   ? test_random_below(random, 5000)
                   : test_random_below(random, 300);
        memset(data, 'x', size);
        for (int i = 0; i < 3 && size > 0; i++) {
            data[test_random_below(random, size)] =
                (uint8_t)test_random_next(random);
        }
    }
    return wdb_slice(data, size);
}

static int compare_keys(const void *a, const void *b)
{
    return wdb_slice_compare(*(const struct wdb_slice *)a,
                             *(const struct wdb_slice *)b);
}

static struct model *model_new(enum shape shape, uint32_t size, uint64_t seed)
{
    struct test_random random = {seed};
    struct model *m = calloc(1, sizeof(*m));
    CHECK_EQ(wdb_ordered_new(&m->ordered), 0);
    m->keys = calloc(size, sizeof(*m->keys));
    m->is_there = calloc(size, sizeof(*m->is_there));
    for (uint32_t i = 0; i < size; i++) {
        m->keys[i] = make_key(shape, &random);
    }
    qsort(m->keys, size, sizeof(*m->keys), compare_keys);
    for (uint32_t i = 0; i < size; i++) {
        if (m->size > 0 && wdb_slice_equal(m->keys[i], m->keys[m->size - 1])) {
            free((void *)(uintptr_t)m->keys[i].data);
        } else {
            m->keys[m->size++] = m->keys[i];
        }
    }
    return m;
}

static void model_free(struct model *m)
{
    wdb_ordered_free(m->ordered);
    for (uint32_t i = 0; i < m->size; i++) {
        free((void *)(uintptr_t)m->keys[i].data);
    }
    free(m->keys);
    free(m->is_there);
    free(m);
}

static void model_insert(struct model *m, uint32_t i)
{
    REQUIRE_EQ(wdb_ordered_insert(m->ordered, m->keys[i]), 0);
    m->count += !m->is_there[i];
    m->is_there[i] = true;
}

static void model_delete(struct model *m, uint32_t i)
{
    CHECK_EQ(wdb_ordered_delete(m->ordered, m->keys[i]), m->is_there[i]);
    m->count -= m->is_there[i];
    m->is_there[i] = false;
}

/* Index of the first key from i on in that direction that is there; size if
 * there is none. */
static uint32_t model_from(const struct model *m, int64_t i, bool backwards)
{
    while (i >= 0 && i < m->size && !m->is_there[i]) {
        i += backwards ? -1 : 1;
    }
    return i < 0 ? m->size : (uint32_t)i;
}

static void check_cursor(const struct model *m,
                         const struct wdb_ordered_cursor *cursor, int rc,
                         uint32_t expected)
{
    CHECK_EQ(rc, expected < m->size ? 0 : WALKERDB_ENOTFOUND);
    if (rc == 0 && expected < m->size) {
        CHECK(wdb_slice_equal(wdb_ordered_key(cursor), m->keys[expected]));
    }
}

static bool begins_with(struct wdb_slice key, struct wdb_slice prefix)
{
    return key.size >= prefix.size &&
           (prefix.size == 0 ||
            memcmp(key.data, prefix.data, prefix.size) == 0);
}

static uint32_t model_prefix(const struct model *m, struct wdb_slice prefix,
                             bool backwards)
{
    uint32_t found = m->size;
    for (uint32_t i = 0; i < m->size; i++) {
        if (m->is_there[i] && begins_with(m->keys[i], prefix)) {
            found = i;
            if (!backwards) {
                break;
            }
        }
    }
    return found;
}

/* Seek to a key of the universe, there or not, and go some steps both ways. */
static void check_seek(struct model *m, struct test_random *random)
{
    struct wdb_ordered_cursor cursor;
    wdb_ordered_cursor_init(&cursor, m->ordered);
    uint32_t i = (uint32_t)test_random_below(random, m->size);
    bool backwards = test_random_below(random, 2);
    uint32_t at = model_from(m, i, backwards);
    check_cursor(m, &cursor, wdb_ordered_seek(&cursor, m->keys[i], backwards),
                 at);
    for (int step = 0; step < 20 && at < m->size; step++) {
        bool back = test_random_below(random, 3) == 0;
        uint32_t to = model_from(m, back ? (int64_t)at - 1 : at + 1, back);
        check_cursor(m, &cursor,
                     back ? wdb_ordered_previous(&cursor)
                          : wdb_ordered_next(&cursor),
                     to);
        at = to < m->size ? to : at;
    }
    wdb_ordered_cursor_release(&cursor);
}

static void check_prefix(struct model *m, struct test_random *random)
{
    struct wdb_ordered_cursor cursor;
    wdb_ordered_cursor_init(&cursor, m->ordered);
    struct wdb_slice prefix = m->keys[test_random_below(random, m->size)];
    prefix.size = test_random_below(random, prefix.size + 1);
    for (int backwards = 0; backwards < 2; backwards++) {
        check_cursor(m, &cursor,
                     wdb_ordered_seek_prefix(&cursor, prefix, backwards),
                     model_prefix(m, prefix, backwards));
    }
    wdb_ordered_cursor_release(&cursor);
}

/* Random insertions, deletions, seeks and steps agree with the model for keys
 * of all shapes, while the tree grows and shrinks. */
TEST(ordered_model)
{
    for (enum shape shape = 0; shape < SHAPE_COUNT; shape++) {
        struct test_random random = {test_number("WDB_TEST_SEED", 1)};
        struct model *m = model_new(shape, 3000, 1);
        for (int phase = 0; phase < 6 && !test_has_failed(); phase++) {
            bool growing = phase % 2 == 0;
            for (int n = 0; n < 8000; n++) {
                uint32_t i = (uint32_t)test_random_below(&random, m->size);
                if (test_random_below(&random, 10) < (growing ? 9 : 1)) {
                    model_insert(m, i);
                } else {
                    model_delete(m, i);
                }
                if (n % 16 == 0) {
                    check_seek(m, &random);
                }
                if (n % 200 == 0) {
                    check_prefix(m, &random);
                    wdb_ordered_check(m->ordered);
                }
            }
            CHECK_EQ(wdb_ordered_count(m->ordered), m->count);
        }
        for (uint32_t i = 0; i < m->size; i++) {
            model_delete(m, i);
        }
        wdb_ordered_check(m->ordered);
        CHECK(wdb_ordered_memory(m->ordered) < 1000);
        model_free(m);
    }
}

/* An empty tree, and one with the empty key. */
TEST(ordered_empty)
{
    struct wdb_ordered *ordered;
    REQUIRE_EQ(wdb_ordered_new(&ordered), 0);
    struct wdb_ordered_cursor cursor;
    wdb_ordered_cursor_init(&cursor, ordered);
    struct wdb_slice empty = wdb_slice(NULL, 0);
    for (int backwards = 0; backwards < 2; backwards++) {
        CHECK_EQ(wdb_ordered_seek(&cursor, empty, backwards),
                 WALKERDB_ENOTFOUND);
        CHECK_EQ(wdb_ordered_seek_prefix(&cursor, empty, backwards),
                 WALKERDB_ENOTFOUND);
    }
    CHECK(!wdb_ordered_delete(ordered, empty));
    CHECK_EQ(wdb_ordered_insert(ordered, empty), 0);
    CHECK_EQ(wdb_ordered_insert(ordered, empty), 0);
    CHECK_EQ(wdb_ordered_count(ordered), 1);
    CHECK_EQ(wdb_ordered_seek_prefix(&cursor, empty, true), 0);
    CHECK_EQ(wdb_ordered_key(&cursor).size, 0);
    CHECK_EQ(wdb_ordered_next(&cursor), WALKERDB_ENOTFOUND);
    CHECK_EQ(wdb_ordered_previous(&cursor), WALKERDB_ENOTFOUND);
    CHECK(wdb_ordered_delete(ordered, empty));
    wdb_ordered_check(ordered);
    wdb_ordered_cursor_release(&cursor);
    wdb_ordered_free(ordered);
    wdb_ordered_free(NULL);
}

/* A cursor walks on over whatever happens between its steps: each key that
 * stays is returned once, in order; at the end it waits for what is added. */
TEST(ordered_walk_over_changes)
{
    struct test_random random = {2};
    for (int round = 0; round < 8 && !test_has_failed(); round++) {
        bool backwards = round % 2 == 1;
        bool growing = round / 2 % 2 == 0;
        struct model *m = model_new(SHAPE_NUMBERS, 6000, 3);
        for (uint32_t i = 0; i < m->size; i++) {
            if (i % 5 == 0 || !growing) {
                model_insert(m, i);
            }
        }
        struct wdb_ordered_cursor cursor;
        wdb_ordered_cursor_init(&cursor, m->ordered);
        uint32_t stable_seen = 0;
        int64_t last = backwards ? (int64_t)m->size : -1;
        int rc =
            wdb_ordered_seek_prefix(&cursor, wdb_slice(NULL, 0), backwards);
        while (rc == 0) {
            struct wdb_slice key = wdb_ordered_key(&cursor);
            struct wdb_slice *at =
                bsearch(&key, m->keys, m->size, sizeof(*m->keys), compare_keys);
            REQUIRE(at != NULL);
            CHECK(backwards ? at - m->keys < last : at - m->keys > last);
            last = at - m->keys;
            stable_seen += last % 5 == 0;
            for (int n = 0; n < 3; n++) {
                uint32_t i = (uint32_t)test_random_below(&random, m->size);
                if (i % 5 == 0) {
                    continue;
                }
                if (test_random_below(&random, 8) < (growing ? 7 : 1)) {
                    model_insert(m, i);
                } else {
                    model_delete(m, i);
                }
            }
            rc = backwards ? wdb_ordered_previous(&cursor)
                           : wdb_ordered_next(&cursor);
        }
        CHECK_EQ(rc, WALKERDB_ENOTFOUND);
        CHECK_EQ(stable_seen, (m->size + 4) / 5);
        wdb_ordered_check(m->ordered);
        if (!backwards) {
            struct wdb_slice more = wdb_slice_str("key:9");
            CHECK_EQ(wdb_ordered_insert(m->ordered, more), 0);
            CHECK_EQ(wdb_ordered_next(&cursor), 0);
            CHECK(wdb_slice_equal(wdb_ordered_key(&cursor), more));
        }
        wdb_ordered_cursor_release(&cursor);
        model_free(m);
    }
}

/* Whatever allocation fails, the tree is whole, has the keys that it had, and
 * deletions need none. */
TEST(ordered_without_memory)
{
    struct wdb_ordered *none;
    for (uint64_t n = 1; n <= 2; n++) {
        fault_alloc_arm(n);
        CHECK_EQ(wdb_ordered_new(&none), WALKERDB_ENOMEM);
        CHECK(fault_alloc_disarm());
    }
    uint64_t failed = 0;
    struct model *m = model_new(SHAPE_LONG, 2000, 4);
    for (uint32_t k = 0; k < m->size && !test_has_failed(); k++) {
        uint32_t i = (uint32_t)(k * UINT64_C(7919) % m->size);
        for (uint64_t n = 1;; n++) {
            fault_alloc_arm(n);
            int rc = wdb_ordered_insert(m->ordered, m->keys[i]);
            bool fired = fault_alloc_disarm();
            if (!fired) {
                CHECK_EQ(rc, 0);
                m->count += !m->is_there[i];
                m->is_there[i] = true;
                break;
            }
            failed++;
            CHECK_EQ(rc, WALKERDB_ENOMEM);
            CHECK_EQ(wdb_ordered_count(m->ordered), m->count);
        }
        if (k % 50 == 0) {
            wdb_ordered_check(m->ordered);
        }
    }
    CHECK(failed > 1000);
    struct wdb_ordered_cursor cursor;
    wdb_ordered_cursor_init(&cursor, m->ordered);
    fault_alloc_arm(1);
    CHECK_EQ(wdb_ordered_seek(&cursor, m->keys[5], true), WALKERDB_ENOMEM);
    CHECK(fault_alloc_disarm());
    wdb_ordered_cursor_release(&cursor);
    fault_alloc_arm_from(1);
    for (uint32_t i = 0; i < m->size; i++) {
        model_delete(m, i);
    }
    (void)fault_alloc_disarm();
    wdb_ordered_check(m->ordered);
    model_free(m);
}

/* Keys that are alike cost less than their size; others at most 32 bytes more,
 * whatever order they come in. */
TEST(ordered_memory)
{
    const uint32_t count = 30000;
    for (int order = 0; order < 4; order++) {
        struct wdb_ordered *ordered;
        struct test_random random = {5};
        REQUIRE_EQ(wdb_ordered_new(&ordered), 0);
        for (uint32_t i = 0; i < count; i++) {
            uint8_t key[64];
            size_t size = 16;
            uint32_t number =
                order == 1 ? count - i : (uint32_t)(i * UINT64_C(7919) % count);
            snprintf((char *)key, sizeof(key), "key:%012u",
                     order == 0 ? i : number);
            if (order == 3) {
                size = 40;
                test_random_fill(&random, key, size);
            }
            REQUIRE_EQ(wdb_ordered_insert(ordered, wdb_slice(key, size)), 0);
        }
        CHECK_EQ(wdb_ordered_count(ordered), count);
        uint64_t each = wdb_ordered_memory(ordered) / count;
        CHECK(each < (order == 3 ? 40 + 32 : 16));
        wdb_ordered_check(ordered);
        wdb_ordered_free(ordered);
    }
}

/* ---- threads ------------------------------------------------------------- */

struct shared {
    struct model *model;
    atomic_bool is_done;
    atomic_uint next_writer;
};

/* Changes keys whose index is its number modulo 3; those of 0 stay. */
static void *writer_thread(void *context)
{
    struct shared *shared = context;
    struct model *m = shared->model;
    uint32_t number = 1 + atomic_fetch_add(&shared->next_writer, 1);
    struct test_random random = {number};
    for (int n = 0; n < 20000; n++) {
        uint32_t i = (uint32_t)test_random_below(&random, m->size);
        if (i % 3 != number) {
            continue;
        }
        if (test_random_below(&random, 8) < (n / 4000 % 2 == 0 ? 7 : 1)) {
            CHECK_EQ(wdb_ordered_insert(m->ordered, m->keys[i]), 0);
        } else {
            (void)wdb_ordered_delete(m->ordered, m->keys[i]);
        }
    }
    return NULL;
}

static void *reader_thread(void *context)
{
    struct shared *shared = context;
    struct model *m = shared->model;
    do {
        struct wdb_ordered_cursor cursor;
        wdb_ordered_cursor_init(&cursor, m->ordered);
        uint32_t stable = 0;
        int rc = wdb_ordered_seek_prefix(&cursor, wdb_slice_str("key"), false);
        for (; rc == 0; rc = wdb_ordered_next(&cursor)) {
            if (stable < m->size &&
                wdb_slice_equal(m->keys[stable], wdb_ordered_key(&cursor))) {
                stable += 3;
            }
        }
        CHECK(stable >= m->size); /* each in its turn, none left out */
        wdb_ordered_cursor_release(&cursor);
        (void)wdb_ordered_memory(m->ordered);
    } while (!atomic_load(&shared->is_done));
    return NULL;
}

/* Two threads write while another one walks; for the sanitizers. */
TEST(ordered_threads)
{
    struct shared shared = {.model = model_new(SHAPE_NUMBERS, 3000, 6)};
    struct model *m = shared.model;
    for (uint32_t i = 0; i < m->size; i += 3) {
        REQUIRE_EQ(wdb_ordered_insert(m->ordered, m->keys[i]), 0);
    }
    pthread_t writers[2], reader;
    REQUIRE_EQ(pthread_create(&reader, NULL, reader_thread, &shared), 0);
    for (int i = 0; i < 2; i++) {
        REQUIRE_EQ(pthread_create(&writers[i], NULL, writer_thread, &shared),
                   0);
    }
    for (int i = 0; i < 2; i++) {
        pthread_join(writers[i], NULL);
    }
    atomic_store(&shared.is_done, true);
    pthread_join(reader, NULL);
    wdb_ordered_check(m->ordered);
    model_free(m);
}
