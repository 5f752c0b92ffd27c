/*
 * test_store_keydir.c - the keydir against a simple model.
 *
 * The model is an array of keys by number; a key's text and whether it is long
 * follow from its number.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/epoch.h"
#include "base/siphash.h"
#include "lib/fault_alloc.h"
#include "lib/test.h"
#include "store/keydir.h"

#define KEY_SIZE_MAX 20000

static const struct wdb_siphash_key hash_key = {1, 2};

static struct wdb_keydir *new_keydir(uint32_t stripe_count, uint64_t hint)
{
    struct wdb_keydir_options options = {.stripe_count = stripe_count,
                                         .hash_key = &hash_key,
                                         .count_hint = hint};
    struct wdb_keydir *keydir = NULL;
    CHECK_EQ(wdb_keydir_new(&options, &keydir), 0);
    return keydir;
}

/* The key of a number: 1 to 40 bytes mostly, now and then hundreds or more. */
static struct wdb_slice key_of(uint32_t number, uint8_t *memory)
{
    char text[16];
    int size = snprintf(text, sizeof(text), "%u:", number);
    size_t length = (size_t)size + number % 31;
    if (number % 97 == 1) {
        length = 200 + number % 400;
    } else if (number % 997 == 2) {
        length = 1000 + number % (KEY_SIZE_MAX - 1000);
    }
    memset(memory, 'a' + (int)(number % 26), length);
    memcpy(memory, text, (size_t)size);
    return wdb_slice(memory, length);
}

static struct wdb_item item_of(struct test_random *random)
{
    struct wdb_item item = {
        .position = test_random_next(random) >> (64 - WDB_POSITION_BITS),
        .record_size = (test_random_next(random) >> 32) << 3,
        .flags = (uint8_t)test_random_below(random, 256) & ~WDB_ITEM_EXPIRY,
    };
    if (test_random_below(random, 3) == 0) {
        item.flags |= WDB_ITEM_EXPIRY;
        item.expiry_ms = test_random_next(random);
    }
    return item;
}

static bool item_equal(const struct wdb_item *a, const struct wdb_item *b)
{
    return a->position == b->position && a->record_size == b->record_size &&
           a->expiry_ms == b->expiry_ms && a->flags == b->flags;
}

/* ---- the model ----------------------------------------------------------- */

struct model {
    struct wdb_keydir *keydir;
    uint32_t size;
    uint32_t count, expiry_count;
    bool *is_there;
    struct wdb_item *items;
    uint8_t key[KEY_SIZE_MAX];
};

static struct model *model_new(uint32_t size, uint32_t stripe_count)
{
    struct model *m = calloc(1, sizeof(*m));
    m->keydir = new_keydir(stripe_count, 0);
    m->size = size;
    m->is_there = calloc(size, sizeof(*m->is_there));
    m->items = calloc(size, sizeof(*m->items));
    return m;
}

static void model_free(struct model *m)
{
    wdb_keydir_free(m->keydir);
    free(m->is_there);
    free(m->items);
    free(m);
}

static void model_put(struct model *m, uint32_t i, const struct wdb_item *item)
{
    struct wdb_slice key = key_of(i, m->key);
    uint64_t hash = wdb_siphash13(&hash_key, key);
    struct wdb_item old;
    bool existed;
    REQUIRE_EQ(wdb_keydir_put(m->keydir, hash, key, item, &old, &existed), 0);
    CHECK_EQ(existed, m->is_there[i]);
    CHECK(!existed || item_equal(&old, &m->items[i]));
    m->count += !existed;
    m->expiry_count -= existed && (m->items[i].flags & WDB_ITEM_EXPIRY) ? 1 : 0;
    m->expiry_count += item->flags & WDB_ITEM_EXPIRY ? 1 : 0;
    m->is_there[i] = true;
    m->items[i] = *item;
}

static void model_delete(struct model *m, uint32_t i)
{
    struct wdb_slice key = key_of(i, m->key);
    uint64_t hash = wdb_siphash13(&hash_key, key);
    struct wdb_item old;
    uint64_t allocations = fault_alloc_count();
    bool existed = wdb_keydir_delete(m->keydir, hash, key, &old);
    CHECK_EQ(fault_alloc_count(), allocations);
    CHECK_EQ(existed, m->is_there[i]);
    CHECK(!existed || item_equal(&old, &m->items[i]));
    m->count -= existed;
    m->expiry_count -= existed && (m->items[i].flags & WDB_ITEM_EXPIRY) ? 1 : 0;
    m->is_there[i] = false;
}

static void model_move(struct model *m, uint32_t i, wdb_position from,
                       wdb_position to)
{
    struct wdb_slice key = key_of(i, m->key);
    uint64_t hash = wdb_siphash13(&hash_key, key);
    bool moved = wdb_keydir_move(m->keydir, hash, key, from, to);
    CHECK_EQ(moved, m->is_there[i] && m->items[i].position == from);
    if (moved) {
        m->items[i].position = to;
    }
}

static void model_get(struct model *m, uint32_t i)
{
    struct wdb_slice key = key_of(i, m->key);
    uint64_t hash = wdb_siphash13(&hash_key, key);
    struct wdb_item item;
    bool found = wdb_keydir_get(m->keydir, hash, key, &item);
    CHECK_EQ(found, m->is_there[i]);
    CHECK(!found || item_equal(&item, &m->items[i]));
}

static void model_check(struct model *m)
{
    for (uint32_t i = 0; i < m->size; i++) {
        model_get(m, i);
    }
    CHECK_EQ(wdb_keydir_count(m->keydir), m->count);
    CHECK_EQ(wdb_keydir_expiry_count(m->keydir), m->expiry_count);
}

/* One random operation; of ten, `deletes` are deletions. */
static void model_step(struct model *m, struct test_random *random,
                       uint32_t deletes)
{
    uint32_t i = (uint32_t)test_random_below(random, m->size);
    uint64_t what = test_random_below(random, 10);
    struct wdb_item item = item_of(random);
    if (what < deletes) {
        model_delete(m, i);
    } else if (what < 8) {
        model_put(m, i, &item);
    } else if (what == 8) {
        wdb_position from = m->items[i].position ^ (item.position & 1);
        model_move(m, i, from, item.position);
    } else {
        model_get(m, i);
    }
}

/* Random operations agree with the model while the table grows and shrinks
 * many times over, in one stripe and in many. */
TEST(keydir_model)
{
    struct test_random random = {test_number("WDB_TEST_SEED", 1)};
    for (uint32_t stripes = 1; stripes <= 64; stripes *= 8) {
        struct model *m = model_new(6000, stripes);
        for (int phase = 0; phase < 8; phase++) {
            uint32_t deletes = phase % 2 == 0 ? 1 : 7;
            for (int i = 0; i < 20000 && !test_has_failed(); i++) {
                model_step(m, &random, deletes);
            }
            model_check(m);
        }
        for (uint32_t i = 0; i < m->size; i++) {
            model_delete(m, i);
        }
        model_check(m);
        CHECK_EQ(m->count, 0);
        model_free(m);
    }
}

/* ---- allocation failures ------------------------------------------------- */

/* Whatever allocation of a put fails, the put says so and nothing changed, or it
 * is done without a split, which a later put makes up for. */
TEST(keydir_put_without_memory)
{
    struct test_random random = {2};
    struct model *m = model_new(3000, 2);
    uint64_t failed = 0;
    for (uint32_t i = 0; i < m->size && !test_has_failed(); i++) {
        struct wdb_slice key = key_of(i, m->key);
        uint64_t hash = wdb_siphash13(&hash_key, key);
        struct wdb_item item = item_of(&random);
        for (uint64_t n = i % 4 == 0 ? 1 : 100; n < 200; n++) {
            fault_alloc_arm(n);
            int rc = wdb_keydir_put(m->keydir, hash, key, &item, NULL, NULL);
            bool fired = fault_alloc_disarm();
            failed += fired;
            if (rc == 0) {
                break;
            }
            CHECK(fired);
            CHECK_EQ(rc, WALKERDB_ENOMEM);
            model_get(m, i);
            CHECK_EQ(wdb_keydir_count(m->keydir), m->count);
        }
        m->is_there[i] = true;
        m->items[i] = item;
        m->count++;
        m->expiry_count += item.flags & WDB_ITEM_EXPIRY ? 1 : 0;
    }
    CHECK(failed > 20);
    model_check(m);
    model_free(m);
}

/* The same when an entry changes its size because it gets an expiry. */
TEST(keydir_expiry_without_memory)
{
    struct model *m = model_new(3000, 1);
    struct wdb_item item = {.position = 5, .record_size = 8};
    for (uint32_t i = 0; i < m->size; i++) {
        model_put(m, i, &item);
    }
    struct wdb_item with_expiry = {.position = 6,
                                   .flags = WDB_ITEM_EXPIRY,
                                   .expiry_ms = 7};
    for (uint32_t i = 0; i < m->size; i++) {
        struct wdb_slice key = key_of(i, m->key);
        uint64_t hash = wdb_siphash13(&hash_key, key);
        fault_alloc_arm_from(1);
        int rc = wdb_keydir_put(m->keydir, hash, key, &with_expiry, NULL, NULL);
        (void)fault_alloc_disarm();
        if (rc == 0) {
            m->items[i] = with_expiry;
            m->expiry_count++;
        } else {
            CHECK_EQ(rc, WALKERDB_ENOMEM);
        }
    }
    CHECK(m->expiry_count < m->size);
    model_check(m);
    model_free(m);
}

/* Making a keydir without memory leaves nothing behind. */
TEST(keydir_new_without_memory)
{
    struct wdb_keydir_options options = {.stripe_count = 4,
                                         .hash_key = &hash_key};
    struct wdb_keydir *keydir = NULL;
    fault_alloc_arm(1);
    CHECK_EQ(wdb_keydir_new(&options, &keydir), WALKERDB_ENOMEM);
    CHECK(fault_alloc_disarm());
    CHECK(keydir == NULL);
}

/* ---- memory -------------------------------------------------------------- */

static void put_numbers(struct wdb_keydir *keydir, uint32_t first,
                        uint32_t last)
{
    struct wdb_item item = {.position = 1, .record_size = 64};
    for (uint32_t i = first; i < last; i++) {
        char text[32];
        int size = snprintf(text, sizeof(text), "key:%012u", i);
        struct wdb_slice key = wdb_slice(text, (size_t)size);
        REQUIRE_EQ(wdb_keydir_put(keydir, wdb_siphash13(&hash_key, key), key,
                                  &item, NULL, NULL),
                   0);
    }
}

static void delete_numbers(struct wdb_keydir *keydir, uint32_t first,
                           uint32_t last)
{
    for (uint32_t i = first; i < last; i++) {
        char text[32];
        int size = snprintf(text, sizeof(text), "key:%012u", i);
        struct wdb_slice key = wdb_slice(text, (size_t)size);
        CHECK(wdb_keydir_delete(keydir, wdb_siphash13(&hash_key, key), key,
                                NULL));
    }
}

/* A key of 16 bytes takes at most 43 bytes at any number of keys from 100,000
 * on; an empty keydir takes next to nothing. */
TEST(keydir_memory)
{
    struct wdb_keydir *keydir = new_keydir(1024, 0);
    CHECK(wdb_keydir_memory(keydir) < 10000);
    wdb_keydir_free(keydir);
    keydir = new_keydir(4, 0);
    put_numbers(keydir, 0, 100000);
    for (uint32_t count = 100000; count < 225000; count += 12500) {
        CHECK(wdb_keydir_memory(keydir) <= (uint64_t)count * 43);
        put_numbers(keydir, count, count + 12500);
    }
    wdb_keydir_free(keydir);
}

/* Memory follows deletions, down to next to nothing; and a keydir whose keys
 * come and go does not grow. */
TEST(keydir_memory_shrinks)
{
    struct wdb_keydir *keydir = new_keydir(4, 0);
    put_numbers(keydir, 0, 100000);
    delete_numbers(keydir, 0, 90000);
    CHECK(wdb_keydir_memory(keydir) < 10000 * 100);
    put_numbers(keydir, 0, 90000);
    CHECK(wdb_keydir_memory(keydir) < 100000 * 45);
    delete_numbers(keydir, 0, 100000);
    CHECK_EQ(wdb_keydir_count(keydir), 0);
    CHECK(wdb_keydir_memory(keydir) < 100000);
    for (uint32_t i = 0; i < 300000; i += 10000) {
        put_numbers(keydir, i, i + 10000);
        if (i >= 20000) {
            delete_numbers(keydir, i - 20000, i - 10000);
        }
    }
    CHECK(wdb_keydir_memory(keydir) < 30000 * 100);
    wdb_keydir_free(keydir);
}

/* With a hint no bucket is split while the expected keys are loaded: memory
 * for buckets is there with the first key of each stripe. */
TEST(keydir_count_hint)
{
    struct wdb_keydir *keydir = new_keydir(4, 100000);
    CHECK(wdb_keydir_memory(keydir) < 1000);
    put_numbers(keydir, 0, 100);
    uint64_t first = wdb_keydir_memory(keydir);
    CHECK(first > 100000 * 7 && first < 100000 * 9);
    put_numbers(keydir, 100, 100000);
    CHECK(wdb_keydir_memory(keydir) < 100000 * 44);
    wdb_keydir_free(keydir);
}

/* ---- scan ---------------------------------------------------------------- */

struct scan_context {
    uint32_t *visits; /* for each number */
    uint32_t size;
};

static void count_visit(void *context, struct wdb_slice key, uint64_t hash,
                        const struct wdb_item *item)
{
    struct scan_context *scan = context;
    CHECK_EQ(hash, wdb_siphash13(&hash_key, key));
    REQUIRE(item->position < scan->size);
    scan->visits[item->position]++;
}

static void change_one(struct model *m, struct test_random *random,
                       uint32_t stable, bool growing)
{
    uint32_t i = stable + (uint32_t)test_random_below(random, m->size - stable);
    if (test_random_below(random, 8) < (growing ? 7 : 1)) {
        struct wdb_item item = {.position = i};
        model_put(m, i, &item);
    } else {
        model_delete(m, i);
    }
}

/* What is there during the whole scan is visited exactly once, although keys
 * come and go between the steps and buckets are split and merged; in one
 * stripe and in many. */
TEST(keydir_scan)
{
    struct test_random random = {3};
    for (int round = 0; round < 24 && !test_has_failed(); round++) {
        const uint32_t stable = 1000;
        struct model *m = model_new(8000, round % 3 == 0 ? 1 : 16);
        struct scan_context scan = {calloc(m->size, sizeof(uint32_t)), m->size};
        for (uint32_t i = 0; i < stable; i++) {
            struct wdb_item item = {.position = i};
            model_put(m, i, &item);
        }
        bool growing = round % 2 == 0;
        for (int i = 0; i < 10000 && !growing; i++) {
            change_one(m, &random, stable, true);
        }
        uint64_t cursor = 0, steps = 0;
        do {
            uint64_t next =
                wdb_keydir_scan(m->keydir, cursor, count_visit, &scan);
            CHECK(next == 0 || next > cursor);
            CHECK(next >> 48 == 0);
            cursor = next;
            steps++;
            for (int i = 0; i < 60; i++) {
                change_one(m, &random, stable, growing);
            }
        } while (cursor != 0 && steps < 100000);
        for (uint32_t i = 0; i < stable; i++) {
            CHECK_EQ(scan.visits[i], 1);
        }
        free(scan.visits);
        model_free(m);
    }
}

/* A cursor tells the stripe that the next step looks into, in ascending order
 * of reversed numbers; an odd cursor of a client does no harm. */
TEST(keydir_scan_cursor)
{
    struct wdb_keydir *keydir = new_keydir(8, 0);
    put_numbers(keydir, 0, 1000);
    static const uint32_t order[8] = {0, 4, 2, 6, 1, 5, 3, 7};
    uint32_t at = 0;
    uint32_t visits[2] = {0};
    struct scan_context scan = {visits, 2};
    uint64_t cursor = 0;
    do {
        uint32_t stripe = wdb_keydir_scan_stripe(keydir, cursor);
        while (at < 8 && order[at] != stripe) {
            at++;
        }
        REQUIRE(at < 8);
        cursor = wdb_keydir_scan(keydir, cursor, count_visit, &scan);
    } while (cursor != 0);
    CHECK_EQ(visits[1], 1000);
    struct test_random random = {4};
    for (int i = 0; i < 1000; i++) {
        uint64_t odd = test_random_next(&random) >> i % 64;
        CHECK(wdb_keydir_scan_stripe(keydir, odd) < 8);
        (void)wdb_keydir_scan(keydir, odd, count_visit, &scan);
    }
    wdb_keydir_free(keydir);
}

static void note_position(void *context, struct wdb_slice key, uint64_t hash,
                          const struct wdb_item *item)
{
    uint64_t *noted = context;
    CHECK_EQ(hash, wdb_siphash13(&hash_key, key));
    *noted = item->position;
}

/* A key is found by the part of its hash that an expiry heap keeps, whatever
 * the other bits say. */
TEST(keydir_find_hash)
{
    struct model *m = model_new(20000, 2);
    uint64_t noted = 0;
    wdb_keydir_find_hash(m->keydir, 1, UINT64_MAX, note_position, &noted);
    CHECK_EQ(noted, 0);
    for (uint32_t i = 0; i < m->size; i++) {
        struct wdb_item item = {.position = i + 1};
        model_put(m, i, &item);
    }
    for (uint32_t i = 0; i < m->size; i++) {
        uint64_t hash = wdb_siphash13(&hash_key, key_of(i, m->key));
        noted = 0;
        wdb_keydir_find_hash(m->keydir, hash ^ ~WDB_KEYDIR_MASK_MIN,
                             WDB_KEYDIR_MASK_MIN, note_position, &noted);
        CHECK_EQ(noted, i + 1);
        noted = 0;
        wdb_keydir_find_hash(m->keydir, hash ^ 1ULL << 40, UINT64_MAX,
                             note_position, &noted);
        CHECK_EQ(noted, 0);
    }
    model_free(m);
}

/* ---- random keys --------------------------------------------------------- */

/* Each key of a stripe is drawn about as often as any other, even in a sparse
 * table; an empty one has none. */
TEST(keydir_random)
{
    struct wdb_random random;
    wdb_random_seed(&random, 5);
    struct wdb_keydir *keydir = new_keydir(1, 0);
    struct wdb_slice key;
    struct wdb_item item;
    CHECK(!wdb_keydir_random(keydir, 0, &random, &key, &item));
    struct model *m = model_new(200, 1);
    uint32_t draws[200] = {0};
    for (uint32_t i = 0; i < m->size; i++) {
        struct wdb_item stored = {.position = i};
        model_put(m, i, &stored);
    }
    for (int i = 0; i < 200000; i++) {
        REQUIRE(wdb_keydir_random(m->keydir, 0, &random, &key, &item));
        draws[item.position]++;
    }
    for (uint32_t i = 0; i < m->size; i++) {
        CHECK(draws[i] > 700 && draws[i] < 1300); /* nine deviations */
    }
    for (uint32_t i = 0; i + 1 < m->size; i++) {
        model_delete(m, i);
    }
    CHECK(wdb_keydir_random(m->keydir, 0, &random, &key, NULL));
    CHECK(wdb_slice_equal(key, key_of(m->size - 1, m->key)));
    model_free(m);
    wdb_keydir_free(keydir);
}

/* ---- prefetch passes beside writers -------------------------------------- */

struct beside {
    struct wdb_keydir *keydir;
    struct wdb_epoch *epoch;
    uint32_t size;
    atomic_bool is_done;
    atomic_uint seen;
};

static uint64_t short_hash(uint32_t number)
{
    uint8_t text[8] = {0};
    memcpy(text, &number, sizeof(number));
    return wdb_siphash13(&hash_key, wdb_slice(text, sizeof(text)));
}

static void *prefetch_thread(void *context)
{
    struct beside *b = context;
    struct test_random random = {(uint64_t)(uintptr_t)&random};
    while (!atomic_load(&b->is_done)) {
        int slot = wdb_epoch_enter(b->epoch);
        for (int i = 0; i < 64; i++) {
            uint64_t hash =
                short_hash((uint32_t)test_random_below(&random, b->size));
            struct wdb_keydir_probe probe;
            wdb_keydir_probe_bucket(b->keydir, hash, &probe);
            wdb_keydir_probe_entry(&probe);
            if (wdb_keydir_probe_position(&probe) != 0) {
                atomic_fetch_add(&b->seen, 1);
            }
        }
        CHECK(wdb_keydir_count(b->keydir) <= b->size);
        (void)wdb_keydir_memory(b->keydir);
        wdb_epoch_exit(b->epoch, slot);
    }
    return NULL;
}

/* Puts, deletes, changes of size and moves, in waves that grow and shrink. */
static void write_beside(struct beside *b, struct test_random *random,
                         uint32_t wave)
{
    for (uint32_t n = 0; n < 4 * b->size; n++) {
        uint32_t i = (uint32_t)test_random_below(random, b->size);
        uint8_t text[8] = {0};
        memcpy(text, &i, sizeof(i));
        struct wdb_slice key = wdb_slice(text, sizeof(text));
        struct wdb_item item = {.position = i + 1};
        if (test_random_below(random, 4) == 0) {
            item.flags = WDB_ITEM_EXPIRY;
            item.expiry_ms = 1;
        }
        if (test_random_below(random, 8) < (wave % 2 == 0 ? 7 : 1)) {
            CHECK_EQ(wdb_keydir_put(b->keydir, short_hash(i), key, &item, NULL,
                                    NULL),
                     0);
        } else {
            wdb_keydir_delete(b->keydir, short_hash(i), key, NULL);
        }
        wdb_keydir_move(b->keydir, short_hash(i), key, i + 1, i + 2);
    }
}

/* Prefetch passes run beside a writer that splits, merges, compacts and frees;
 * for the sanitizers. What they see is a position or nothing. */
TEST(keydir_prefetch_beside_writer)
{
    struct beside b = {.size = 8000};
    REQUIRE_EQ(wdb_epoch_new(&b.epoch), 0);
    struct wdb_keydir_options options = {.stripe_count = 2,
                                         .hash_key = &hash_key,
                                         .epoch = b.epoch};
    REQUIRE_EQ(wdb_keydir_new(&options, &b.keydir), 0);
    pthread_t threads[2];
    for (int i = 0; i < 2; i++) {
        REQUIRE_EQ(pthread_create(&threads[i], NULL, prefetch_thread, &b), 0);
    }
    struct test_random random = {6};
    for (uint32_t wave = 0; wave < 6; wave++) {
        write_beside(&b, &random, wave);
    }
    atomic_store(&b.is_done, true);
    for (int i = 0; i < 2; i++) {
        pthread_join(threads[i], NULL);
    }
    CHECK(atomic_load(&b.seen) > 0);
    wdb_keydir_free(b.keydir);
    wdb_epoch_free(b.epoch);
}

struct loader {
    struct wdb_keydir *keydir;
    uint32_t number; /* of two */
    uint32_t size;
};

static void *load_thread(void *context)
{
    struct loader *loader = context;
    for (uint32_t i = 0; i < loader->size; i++) {
        uint8_t text[8] = {0};
        memcpy(text, &i, sizeof(i));
        uint64_t hash = short_hash(i);
        if ((hash & 1) == loader->number) {
            struct wdb_item item = {.position = i + 1};
            CHECK_EQ(wdb_keydir_put(loader->keydir, hash,
                                    wdb_slice(text, sizeof(text)), &item, NULL,
                                    NULL),
                     0);
        }
    }
    return NULL;
}

/* Two threads load different stripes without any lock. */
TEST(keydir_parallel_load)
{
    struct wdb_keydir *keydir = new_keydir(16, 20000);
    struct loader loaders[2];
    pthread_t threads[2];
    for (uint32_t i = 0; i < 2; i++) {
        loaders[i] = (struct loader){keydir, i, 20000};
        REQUIRE_EQ(pthread_create(&threads[i], NULL, load_thread, &loaders[i]),
                   0);
    }
    for (int i = 0; i < 2; i++) {
        pthread_join(threads[i], NULL);
    }
    CHECK_EQ(wdb_keydir_count(keydir), 20000);
    wdb_keydir_free(keydir);
}
