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
