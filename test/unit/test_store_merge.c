/* test_store_merge.c - merges change nothing that anybody can see, and take
 * away what nobody can see. */
#include <stdlib.h>

#include "lib/test.h"
#include "sim/store_fixture.h"
#include "walkerdb.h"

/* Merging in the background and on demand, between random batches; all is as
 * the model says, before and after reopening, with and without hints. */
TEST(merges_change_nothing)
{
    const uint64_t seeds = test_number("WDB_TEST_ROUNDS", 20);
    for (uint64_t seed = 1; seed <= seeds && !test_has_failed(); seed++) {
        struct store_fixture f;
        store_fixture_init(&f, seed);
        f.options.merge_enabled = seed % 4 != 0;
        f.options.hints = seed % 3 != 0;
        REQUIRE(store_fixture_open(&f));
        for (int round = 0; round < 8 && !test_has_failed(); round++) {
            store_fixture_run(&f, 120);
            store_fixture_check(&f);
            if (round % 2 == 0) {
                CHECK_EQ(wdb_store_merge(f.store), 0);
                store_fixture_check(&f);
            }
            store_fixture_run(&f, 10);
            store_fixture_settle(&f);
            store_fixture_check(&f);
            if (round % 3 != 1) {
                REQUIRE(store_fixture_reopen(&f));
                store_fixture_check(&f);
            }
        }
        store_fixture_release(&f);
    }
}

static void put(struct store_fixture *f, const char *key, const char *value)
{
    uint64_t index;
    const struct wdb_record record = {
        .kind = value == NULL ? WDB_RECORD_DELETE : WDB_RECORD_PUT,
        .key = wdb_slice_str(key),
        .value = wdb_slice_str(value == NULL ? "" : value),
    };
    const uint64_t hash = wdb_store_hash(f->store, record.key);
    wdb_batch_clear(&f->batch);
    CHECK_EQ(wdb_batch_add(&f->batch, &record, hash), 0);
    wdb_store_lock_all(f->store);
    CHECK_EQ(wdb_store_commit(f->store, &f->batch, &index), 0);
    wdb_store_unlock_all(f->store);
}

static uint64_t count_records(struct store_fixture *f)
{
    struct wdb_segment **segments;
    size_t count;
    uint64_t records = 0;
    CHECK_EQ(wdb_log_segments(wdb_store_log(f->store), &segments, &count), 0);
    for (size_t i = 0; i < count; i++) {
        if (segments[i]->kind == WDB_SEGMENT_MERGED) {
            records += segments[i]->record_count;
        }
        wdb_segment_drop(segments[i]);
    }
    free(segments);
    return records;
}

/* What was put and deleted leaves nothing behind, not even tombstones. */
TEST(merge_on_demand_drops_everything)
{
    struct store_fixture f;
    store_fixture_init(&f, 1);
    REQUIRE(store_fixture_open(&f));
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 300; i++) {
            put(&f, i % 2 == 0 ? "a" : "b", "value");
        }
        put(&f, "a", NULL);
        CHECK_EQ(wdb_store_merge(f.store), 0);
        CHECK_EQ(count_records(&f), 1);
        put(&f, "b", NULL);
        CHECK_EQ(wdb_store_merge(f.store), 0);
        CHECK_EQ(count_records(&f), 0);
    }
    struct wdb_store_stats stats;
    wdb_store_stats(f.store, &stats);
    CHECK(stats.merge_count >= 6);
    CHECK_EQ(stats.bytes_dead, 0);
    store_fixture_release(&f);
}

struct garbage {
    uint64_t id, dead, tombstones;
};

static size_t list_garbage(struct store_fixture *f, struct garbage *out,
                           size_t max)
{
    struct wdb_segment **segments;
    size_t count, listed = 0;
    CHECK_EQ(wdb_log_segments(wdb_store_log(f->store), &segments, &count), 0);
    for (size_t i = 0; i < count; i++) {
        if (listed < max && atomic_load(&segments[i]->sealed)) {
            out[listed].id = segments[i]->id;
            out[listed].dead = atomic_load(&segments[i]->bytes_dead);
            out[listed++].tombstones =
                atomic_load(&segments[i]->bytes_tombstone);
        }
        wdb_segment_drop(segments[i]);
    }
    free(segments);
    return listed;
}

/* What counts as garbage while the store runs is what the load finds. */
TEST(garbage_is_counted_right)
{
    for (uint64_t seed = 1; seed <= 30 && !test_has_failed(); seed++) {
        static struct garbage before[64], after[64];
        struct store_fixture f;
        store_fixture_init(&f, seed);
        f.options.merge_enabled = seed % 2 == 0;
        f.model.has_objects = seed % 3 == 0;
        f.model.has_databases = seed % 4 == 0;
        REQUIRE(store_fixture_open(&f));
        store_fixture_run(&f, 400);
        store_fixture_settle(&f);
        CHECK_EQ(wdb_log_roll(wdb_store_log(f.store)), 0);
        store_fixture_settle(&f);
        const size_t count = list_garbage(&f, before, 64);
        f.options.merge_enabled = false;
        REQUIRE(store_fixture_reopen(&f));
        store_fixture_settle(&f);
        CHECK_EQ(list_garbage(&f, after, 64), count);
        for (size_t i = 0; i < count; i++) {
            CHECK_EQ(after[i].id, before[i].id);
            CHECK_EQ(after[i].dead, before[i].dead);
            CHECK_EQ(after[i].tombstones, before[i].tombstones);
        }
        store_fixture_release(&f);
    }
}
