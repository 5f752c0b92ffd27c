/* test_store_policy.c - when merges run: garbage, tombstones, rate, pause,
 * damage. */
#include <stdio.h>
#include <stdlib.h>

#include "lib/test.h"
#include "sim/store_fixture.h"
#include "walkerdb.h"

static void write_key(struct store_fixture *f, uint32_t key, size_t size)
{
    static const uint8_t value[4096];
    char name[32];
    uint64_t index;
    const struct wdb_record record = {
        .kind = size == 0 ? WDB_RECORD_DELETE : WDB_RECORD_PUT,
        .key = wdb_slice(name,
                         (size_t)snprintf(name, sizeof(name), "key-%u", key)),
        .value = wdb_slice(value, size),
    };
    const uint64_t hash = wdb_store_hash(f->store, record.key);
    wdb_batch_clear(&f->batch);
    CHECK_EQ(wdb_batch_add(&f->batch, &record, hash), 0);
    wdb_store_lock_all(f->store);
    CHECK_EQ(wdb_store_commit(f->store, &f->batch, &index), 0);
    wdb_store_unlock_all(f->store);
    (void)wdb_log_step(wdb_store_log(f->store));
}

static struct wdb_store_stats stats_of(struct store_fixture *f)
{
    struct wdb_store_stats stats;
    wdb_store_stats(f->store, &stats);
    return stats;
}

static bool open_with(struct store_fixture *f, uint64_t seed)
{
    store_fixture_init(f, seed);
    f->options.merge_enabled = true;
    return store_fixture_open(f);
}

/* Overwritten keys start merges by themselves: the disk holds a small multiple
 * of what is live. */
TEST(garbage_starts_merges)
{
    struct store_fixture f;
    REQUIRE(open_with(&f, 1));
    for (uint32_t i = 0; i < 3000; i++) {
        write_key(&f, i % 50, 1000);
        (void)wdb_store_step(f.store);
    }
    store_fixture_settle(&f);
    const struct wdb_store_stats stats = stats_of(&f);
    CHECK(stats.merge_count > 5);
    CHECK(stats.log.bytes_used < 50 * 1100 * 2 + 4 * WDB_SEGMENT_SIZE_MIN);
    store_fixture_release(&f);
}

/* Keys that come and go leave tombstones, which a sweep takes away. */
TEST(tombstones_start_sweeps)
{
    struct store_fixture f;
    REQUIRE(open_with(&f, 2));
    for (uint32_t i = 0; i < 200; i++) {
        write_key(&f, 100000 + i, 1000); /* stays */
    }
    for (uint32_t i = 0; i < 20000; i++) {
        write_key(&f, i, 10);
        write_key(&f, i, 0);
        (void)wdb_store_step(f.store);
    }
    store_fixture_settle(&f);
    /* 20,000 tombstones would be a megabyte. */
    CHECK(stats_of(&f).log.bytes_used < 600000);
    CHECK_EQ(stats_of(&f).key_count, 200);
    store_fixture_release(&f);
}

/* The rate is kept: in virtual time nothing moves by itself. */
TEST(rate_is_limited)
{
    struct store_fixture f;
    store_fixture_init(&f, 3);
    f.options.merge_enabled = true;
    f.options.merge_rate = 100000; /* bytes a second */
    REQUIRE(store_fixture_open(&f));
    for (uint32_t i = 0; i < 600; i++) {
        write_key(&f, i % 50, 1000);
    }
    while (wdb_log_step(wdb_store_log(f.store))) {
    }
    uint64_t ms = 0;
    while (stats_of(&f).merge_count < 1 && ms < 100000) {
        while (wdb_store_step(f.store)) {
        }
        sim_env_advance_ms(f.env, 50);
        ms += 50;
    }
    const uint64_t bytes = stats_of(&f).merge_total_bytes;
    CHECK(bytes > 100000);
    CHECK(ms * 100 > bytes / 2); /* 100 bytes a ms, reads and writes */
    CHECK(ms < 60000);
    store_fixture_release(&f);
}

/* A pause holds merges, also one that is running; a demand is refused. */
TEST(pause)
{
    struct store_fixture f;
    REQUIRE(open_with(&f, 4));
    wdb_store_merge_pause(f.store, true);
    for (uint32_t i = 0; i < 600; i++) {
        write_key(&f, i % 50, 1000);
        (void)wdb_store_step(f.store);
    }
    CHECK_EQ(stats_of(&f).merge_count, 0);
    CHECK(stats_of(&f).merge_paused);
    CHECK_EQ(wdb_store_merge(f.store), WALKERDB_EABORTED);
    wdb_store_merge_pause(f.store, false);
    store_fixture_settle(&f);
    CHECK(stats_of(&f).merge_count > 0);
    CHECK_EQ(wdb_store_merge(f.store), 0);
    store_fixture_release(&f);
}

/* A segment with a flipped bit is left alone: the merge says so once, and goes
 * on with the others. */
TEST(damaged_segment_is_left_alone)
{
    struct store_fixture f;
    REQUIRE(open_with(&f, 5));
    for (uint32_t i = 0; i < 100; i++) {
        write_key(&f, i, 1000);
    }
    CHECK_EQ(wdb_log_roll(wdb_store_log(f.store)), 0);
    struct wdb_segment **segments;
    size_t count;
    char path[64];
    REQUIRE_EQ(wdb_log_segments(wdb_store_log(f.store), &segments, &count), 0);
    snprintf(path, sizeof(path), "/db/%016llx.log",
             (unsigned long long)segments[0]->id);
    for (size_t i = 0; i < count; i++) {
        wdb_segment_drop(segments[i]);
    }
    free(segments);
    CHECK_EQ(sim_disk_flip_bit(f.disk, path, 30000, 3), 0);
    for (uint32_t i = 0; i < 1000; i++) {
        write_key(&f, i % 90, 1000); /* ten keys of the first one stay */
        (void)wdb_store_step(f.store);
    }
    store_fixture_settle(&f);
    const struct wdb_store_stats stats = stats_of(&f);
    CHECK(stats.merge_count > 0);
    CHECK_EQ(stats.key_count, 100);
    store_fixture_release(&f);
}

/* Nothing that a peer may ask for is merged. */
TEST(retained_entries_stay)
{
    struct store_fixture f;
    store_fixture_init(&f, 6);
    f.options.merge_enabled = true;
    f.options.log.manual_commit = true;
    REQUIRE(store_fixture_open(&f));
    struct wdb_log *log = wdb_store_log(f.store);
    for (uint32_t i = 0; i < 600; i++) {
        write_key(&f, i % 50, 1000);
    }
    CHECK_EQ(wdb_log_sync(log), 0);
    wdb_store_set_committed(f.store, wdb_log_index_last(log));
    store_fixture_settle(&f);
    CHECK_EQ(stats_of(&f).merge_count, 0);
    wdb_log_set_retained(log, wdb_log_index_last(log));
    store_fixture_settle(&f);
    CHECK(stats_of(&f).merge_count > 0);
    store_fixture_release(&f);
}

struct expired {
    uint32_t count;
    uint64_t hashes[64];
};

static void on_expired(void *context, uint32_t database, uint64_t hash,
                       struct wdb_slice key)
{
    struct expired *expired = context;
    CHECK_EQ(database, 0);
    CHECK(key.size > 0);
    expired->hashes[expired->count++ % 64] = hash;
}

static uint32_t count_expired(struct store_fixture *f, uint64_t now_ms)
{
    struct expired expired = {0};
    for (uint32_t s = 0; s < wdb_store_stripe_count(f->store); s++) {
        wdb_store_lock_one(f->store, s);
        wdb_store_expired(f->store, s, now_ms, 1000, on_expired, &expired);
        wdb_store_unlock_one(f->store, s);
    }
    return expired.count;
}

/* Keys past their time come up, after reopening and merging, too; those that
 * were persisted or got more time do not. */
TEST(expired_keys_come_up)
{
    struct store_fixture f;
    store_fixture_init(&f, 7);
    REQUIRE(store_fixture_open(&f));
    for (uint32_t i = 0; i < 40; i++) {
        char name[32];
        uint64_t index;
        struct wdb_record record = {
            .kind = WDB_RECORD_PUT,
            .flags = WDB_RECORD_EXPIRY,
            .expiry_ms = 1000 + i,
            .key =
                wdb_slice(name, (size_t)snprintf(name, sizeof(name), "k%u", i)),
        };
        const uint64_t hash = wdb_store_hash(f.store, record.key);
        wdb_batch_clear(&f.batch);
        CHECK_EQ(wdb_batch_add(&f.batch, &record, hash), 0);
        if (i % 4 == 1) { /* more time */
            record.kind = WDB_RECORD_EXPIRE;
            record.expiry_ms = 5000;
            CHECK_EQ(wdb_batch_add(&f.batch, &record, hash), 0);
        } else if (i % 4 == 2) { /* for ever */
            record.kind = WDB_RECORD_EXPIRE;
            record.flags = 0;
            record.expiry_ms = 0;
            CHECK_EQ(wdb_batch_add(&f.batch, &record, hash), 0);
        }
        wdb_store_lock_all(f.store);
        CHECK_EQ(wdb_store_commit(f.store, &f.batch, &index), 0);
        wdb_store_unlock_all(f.store);
    }
    CHECK_EQ(count_expired(&f, 999), 0);
    CHECK_EQ(count_expired(&f, 1019), 10);
    REQUIRE(store_fixture_reopen(&f));
    CHECK_EQ(count_expired(&f, 2000), 20);
    CHECK_EQ(wdb_store_merge(f.store), 0);
    REQUIRE(store_fixture_reopen(&f));
    CHECK_EQ(count_expired(&f, 2000), 20);
    CHECK_EQ(count_expired(&f, 6000), 30);
    store_fixture_release(&f);
}
