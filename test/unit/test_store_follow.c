/*
 * test_store_follow.c - a follower: entries of a leader are appended as they
 * are and applied when they are committed, while others read.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/fault_alloc.h"
#include "lib/test.h"
#include "sim/store_fixture.h"
#include "walkerdb.h"

static bool open_node(struct store_fixture *f, uint64_t seed)
{
    store_fixture_init(f, seed);
    f->options.log.manual_commit = true;
    f->options.stripe_count = 16;
    if (!store_fixture_open(f)) {
        return false;
    }
    return true;
}

/* Bring the entries from..to over. */
static void copy_entries(struct store_fixture *leader,
                         struct store_fixture *follower, uint64_t from,
                         uint64_t to)
{
    struct wdb_log *log = wdb_store_log(follower->store);
    for (uint64_t i = from; i <= to; i++) {
        struct wdb_entry_header entry;
        struct wdb_segment *segment;
        struct wdb_log_place place;
        const uint8_t *payload;
        REQUIRE_EQ(wdb_log_entry(wdb_store_log(leader->store), i, &entry,
                                 &payload, &segment),
                   0);
        CHECK_EQ(wdb_log_append_entry(log, &entry, payload, &place), 0);
        wdb_segment_drop(segment);
    }
    CHECK_EQ(wdb_log_sync(log), 0);
}

static void barrier(struct store_fixture *f)
{
    struct wdb_log_place place;
    const struct wdb_entry_header entry = {.type = WDB_ENTRY_BARRIER};
    CHECK_EQ(
        wdb_log_append_entry(wdb_store_log(f->store), &entry, NULL, &place), 0);
}

/* Entry after entry, in both orders of commit and application, the follower
 * holds what the leader held; it keeps no undo of what is committed. */
TEST(follower_holds_what_the_leader_held)
{
    const uint64_t seeds = test_number("WDB_TEST_ROUNDS", 30);
    for (uint64_t seed = 1; seed <= seeds && !test_has_failed(); seed++) {
        struct store_fixture leader, follower;
        REQUIRE(open_node(&leader, seed));
        REQUIRE(open_node(&follower, seed));
        struct wdb_log *log = wdb_store_log(leader.store);
        wdb_log_hold(wdb_store_log(follower.store), true);
        uint64_t done = 0;
        for (int i = 0; i < 20 && !test_has_failed(); i++) {
            struct wdb_store_stats stats;
            barrier(&leader);
            store_fixture_run(&leader, 8);
            CHECK_EQ(wdb_log_flush(log), 0);
            const uint64_t last = wdb_log_index_last(log);
            copy_entries(&leader, &follower, done + 1, last);
            while (done < last && !test_has_failed()) {
                done++;
                if (seed % 2 == 0) {
                    wdb_store_set_committed(follower.store, done);
                }
                REQUIRE_EQ(wdb_store_apply_entry(follower.store, done), 0);
                wdb_store_stats(follower.store, &stats);
                if (seed % 2 == 0) {
                    CHECK_EQ(stats.undo_memory, 0);
                }
                CHECK(store_model_check(&leader.model, follower.store,
                                        store_model_at(&leader.model, done)));
            }
            wdb_store_set_committed(follower.store, done);
            wdb_store_stats(follower.store, &stats);
            CHECK_EQ(stats.undo_memory, 0);
        }
        store_fixture_release(&leader);
        store_fixture_release(&follower);
    }
}

/* What cannot be applied is not applied in part: neither without memory nor
 * with damage at its end. */
TEST(entry_is_applied_as_a_whole)
{
    for (uint64_t seed = 1; seed <= 12 && !test_has_failed(); seed++) {
        struct store_fixture f;
        REQUIRE(open_node(&f, seed));
        struct wdb_log *log = wdb_store_log(f.store);
        wdb_log_hold(log, false);
        store_fixture_run(&f, 10);
        CHECK_EQ(wdb_log_sync(log), 0);
        const uint64_t base = wdb_log_index_last(log);
        wdb_store_set_committed(f.store, base);
        /* One entry of many batches. */
        for (int i = 0; i < 40; i++) {
            CHECK_EQ(store_model_step(&f.model, f.store, &f.batch, 4), 0);
        }
        CHECK_EQ(wdb_log_sync(log), 0);
        CHECK_EQ(wdb_log_index_last(log), base + 1);
        wdb_log_hold(log, true);
        REQUIRE_EQ(wdb_store_revert(f.store, base + 1), 0);
        if (seed % 2 == 0) {
            wdb_store_set_committed(f.store, base + 1);
        }
        const uint32_t before = store_model_at(&f.model, base);
        uint64_t nth = 1;
        for (bool failed = true; failed && !test_has_failed(); nth++) {
            fault_alloc_arm(nth);
            const int rc = wdb_store_apply_entry(f.store, base + 1);
            failed = fault_alloc_disarm();
            CHECK(rc == 0 || (failed && rc == WALKERDB_ENOMEM));
            if (rc == 0) {
                break;
            }
            CHECK(store_model_check(&f.model, f.store, before));
        }
        store_fixture_check(&f);
        store_fixture_release(&f);
    }
}

static void damage_last_record(struct store_fixture *f, uint64_t index)
{
    struct wdb_entry_header entry;
    struct wdb_segment *segment;
    const uint8_t *payload;
    char path[64];
    REQUIRE_EQ(wdb_log_entry(wdb_store_log(f->store), index, &entry, &payload,
                             &segment),
               0);
    const uint64_t end =
        (uint64_t)(payload - segment->map) + entry.payload_size;
    snprintf(path, sizeof(path), "/db/%016llx.log",
             (unsigned long long)segment->id);
    wdb_segment_drop(segment);
    CHECK_EQ(sim_disk_flip_bit(f->disk, path, end - 1, 3), 0);
}

TEST(damaged_entry_is_not_applied)
{
    struct store_fixture f;
    REQUIRE(open_node(&f, 5));
    struct wdb_log *log = wdb_store_log(f.store);
    store_fixture_run(&f, 10);
    CHECK_EQ(wdb_log_sync(log), 0);
    const uint64_t base = wdb_log_index_last(log);
    for (int i = 0; i < 20; i++) {
        CHECK_EQ(store_model_step(&f.model, f.store, &f.batch, 4), 0);
    }
    CHECK_EQ(wdb_log_sync(log), 0);
    wdb_store_set_committed(f.store, base);
    REQUIRE_EQ(wdb_store_revert(f.store, base + 1), 0);
    damage_last_record(&f, base + 1);
    CHECK_EQ(wdb_store_apply_entry(f.store, base + 1), WALKERDB_ECORRUPT);
    CHECK(store_model_check(&f.model, f.store, store_model_at(&f.model, base)));
    CHECK_EQ(wdb_store_apply_entry(f.store, base + 2), WALKERDB_ENOTFOUND);
    store_fixture_release(&f);
}

/* --- readers -------------------------------------------------------------------
 */

#define PAIRS 8

struct reader {
    struct wdb_store *store;
    pthread_t thread;
    atomic_bool *stop;
    uint64_t reads, torn;
};

static struct wdb_slice name_of(uint32_t pair, uint32_t half, char out[32])
{
    return wdb_slice(out, (size_t)snprintf(out, 32, "pair-%u-%u", pair, half));
}

/* Read the number under a key; its stripe is held. */
static uint64_t read_number(struct wdb_store *store, struct wdb_slice key)
{
    struct wdb_item item;
    struct wdb_value value;
    if (!wdb_store_find(store, wdb_store_database(store, 0),
                        wdb_store_hash(store, key), key, &item)) {
        return 0;
    }
    return wdb_store_read_wait(store, &item, &value) == 0 &&
                   value.record.value.size == 8
               ? wdb_load64(value.record.value.data)
               : UINT64_MAX;
}

/* Both halves of a pair are written by one batch: always the same. */
static void *read_pairs(void *context)
{
    struct reader *reader = context;
    struct wdb_store *store = reader->store;
    struct wdb_epoch *epoch = wdb_log_epoch(wdb_store_log(store));
    const uint32_t stripes = wdb_store_stripe_count(store);
    for (uint32_t i = 0; !atomic_load(reader->stop); i++) {
        char a[32], b[32];
        const struct wdb_slice first = name_of(i % PAIRS, 0, a);
        const struct wdb_slice second = name_of(i % PAIRS, 1, b);
        struct wdb_stripe_set set = {0};
        const uint32_t s = wdb_stripe_of(wdb_store_hash(store, first), stripes);
        const uint32_t t =
            wdb_stripe_of(wdb_store_hash(store, second), stripes);
        set.bits[s / 64] |= UINT64_C(1) << s % 64;
        set.bits[t / 64] |= UINT64_C(1) << t % 64;
        const int slot = wdb_epoch_enter(epoch);
        wdb_store_lock(store, &set);
        const uint64_t x = read_number(store, first);
        reader->torn += x != read_number(store, second) || x == UINT64_MAX;
        reader->reads++;
        wdb_store_unlock(store, &set);
        wdb_epoch_exit(epoch, slot);
    }
    return NULL;
}

static void write_pair(struct store_fixture *f, uint32_t pair, uint64_t number)
{
    uint8_t value[8];
    uint64_t index;
    wdb_store64(value, number);
    wdb_batch_clear(&f->batch);
    wdb_store_lock_all(f->store);
    for (uint32_t half = 0; half < 2; half++) {
        char name[32];
        const struct wdb_record record = {
            .kind = WDB_RECORD_PUT,
            .database = wdb_store_database(f->store, 0),
            .key = name_of(pair, half, name),
            .value = wdb_slice(value, sizeof(value)),
        };
        CHECK_EQ(wdb_batch_add(&f->batch, &record,
                               wdb_store_hash(f->store, record.key)),
                 0);
    }
    CHECK_EQ(wdb_store_commit(f->store, &f->batch, &index), 0);
    wdb_store_unlock_all(f->store);
}

/* Who reads while entries are applied never sees half of a batch. */
TEST(readers_see_whole_batches)
{
    struct store_fixture leader, follower;
    struct reader readers[3];
    atomic_bool stop = false;
    REQUIRE(open_node(&leader, 1));
    REQUIRE(open_node(&follower, 2));
    struct wdb_log *log = wdb_store_log(follower.store);
    wdb_log_hold(log, true);
    for (size_t i = 0; i < WDB_COUNT(readers); i++) {
        readers[i] = (struct reader){.store = follower.store, .stop = &stop};
        REQUIRE_EQ(pthread_create(&readers[i].thread, NULL, read_pairs,
                                  &readers[i]),
                   0);
    }
    uint64_t done = 0;
    for (uint64_t number = 1; number <= 1500; number++) {
        write_pair(&leader, (uint32_t)(number * 7 % PAIRS), number);
        if (number % 3 != 0) {
            continue;
        }
        CHECK_EQ(wdb_log_flush(wdb_store_log(leader.store)), 0);
        const uint64_t last = wdb_log_index_last(wdb_store_log(leader.store));
        copy_entries(&leader, &follower, done + 1, last);
        while (done < last) {
            done++;
            if (number % 2 == 0) {
                wdb_store_set_committed(follower.store, done);
            }
            CHECK_EQ(wdb_store_apply_entry(follower.store, done), 0);
        }
        if (number % 60 == 0) {
            wdb_store_set_committed(follower.store, done);
        } else if (number % 45 == 0) {
            const uint64_t from = wdb_log_committed(log) + 1;
            CHECK_EQ(wdb_store_revert(follower.store, from), 0);
            done = from - 1;
            while (done < last) {
                CHECK_EQ(wdb_store_apply_entry(follower.store, ++done), 0);
            }
        }
    }
    atomic_store(&stop, true);
    for (size_t i = 0; i < WDB_COUNT(readers); i++) {
        CHECK_EQ(pthread_join(readers[i].thread, NULL), 0);
        CHECK_EQ(readers[i].torn, 0);
    }
    store_fixture_release(&leader);
    store_fixture_release(&follower);
}
