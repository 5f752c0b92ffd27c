/*
 * test_store_office.c - threads write and read while the node loses office and
 * takes it again: batches are held, what is not committed is taken back, given
 * up or applied again; merges and backups go on.
 */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/test.h"
#include "store/store.h"
#include "walkerdb.h"

#define THREADS 3
#define KEYS    60 /* of each thread */

struct worker {
    struct wdb_store *store;
    uint32_t number;
    atomic_bool *stop;
    pthread_t thread;
    uint64_t written, refused, errors;
};

static struct wdb_slice key_of(uint32_t thread, uint32_t key, char out[32])
{
    return wdb_slice(out, (size_t)snprintf(out, 32, "thread-%u-key-%u", thread,
                                           key));
}

/* Values tell which version they are. */
static size_t value_of(uint64_t version, uint8_t out[512])
{
    const size_t size = 8 + version % 500;
    memset(out, (int)(version & 0xff), size);
    memcpy(out, &version, 8);
    return size;
}

/* The version under this key, 0 if there is none, UINT64_MAX: it is no value
 * that anybody wrote. Its stripe is held. */
static uint64_t version_of(struct wdb_store *store, struct wdb_slice key,
                           uint64_t hash)
{
    struct wdb_item item;
    struct wdb_value found;
    uint8_t expected[512];
    if (!wdb_store_find(store, wdb_store_database(store, 0), hash, key,
                        &item)) {
        return 0;
    }
    if (wdb_store_read_wait(store, &item, &found) != 0 ||
        found.record.value.size < 8) {
        return UINT64_MAX;
    }
    const uint64_t version = wdb_load64(found.record.value.data);
    const size_t size = value_of(version, expected);
    return wdb_slice_equal(found.record.value, wdb_slice(expected, size))
               ? version
               : UINT64_MAX;
}

static uint64_t read_version(struct wdb_store *store, struct wdb_slice key)
{
    const uint64_t hash = wdb_store_hash(store, key);
    const uint32_t stripe = wdb_stripe_of(hash, wdb_store_stripe_count(store));
    struct wdb_epoch *epoch = wdb_log_epoch(wdb_store_log(store));
    const int slot = wdb_epoch_enter(epoch);
    wdb_store_lock_one(store, stripe);
    const uint64_t version = version_of(store, key, hash);
    wdb_store_unlock_one(store, stripe);
    wdb_epoch_exit(epoch, slot);
    return version;
}

static int add(struct wdb_store *store, struct wdb_batch *batch,
               struct wdb_slice key, uint64_t version)
{
    uint8_t value[512];
    struct wdb_record record = {
        .kind = version == 0 ? WDB_RECORD_DELETE : WDB_RECORD_PUT,
        .database = wdb_store_database(store, 0),
        .key = key,
    };
    if (version != 0) {
        record.value = wdb_slice(value, value_of(version, value));
    }
    return wdb_batch_add(batch, &record, wdb_store_hash(store, key));
}

/* One key, or two in a transaction. */
static int write_some(struct worker *w, struct wdb_batch *batch,
                      struct test_random *random, uint64_t version)
{
    struct wdb_store *store = w->store;
    struct wdb_stripe_set set = {0};
    uint64_t index;
    int rc = 0;
    const uint32_t count = 1 + (uint32_t)test_random_below(random, 2);
    wdb_batch_clear(batch);
    for (uint32_t i = 0; i < count; i++) {
        char name[32];
        const struct wdb_slice key =
            key_of(w->number, (uint32_t)test_random_below(random, KEYS), name);
        const bool gone = test_random_below(random, 5) == 0;
        const uint32_t stripe = wdb_stripe_of(wdb_store_hash(store, key),
                                              wdb_store_stripe_count(store));
        set.bits[stripe / 64] |= UINT64_C(1) << stripe % 64;
        rc = rc == 0 ? add(store, batch, key, gone ? 0 : version) : rc;
    }
    wdb_store_lock(store, &set);
    if (rc == 0 && count > 1) {
        rc = wdb_store_stage(store, batch);
    }
    if (rc == 0) {
        rc = wdb_store_commit(store, batch, &index);
    }
    wdb_store_unlock(store, &set);
    return rc;
}

static void *work(void *argument)
{
    struct worker *w = argument;
    struct wdb_batch batch;
    struct test_random random = {w->number + 1};
    wdb_batch_init(&batch);
    for (uint64_t i = 1; !atomic_load(w->stop); i++) {
        char name[32];
        const int rc = write_some(w, &batch, &random, i);
        w->written += rc == 0;
        w->refused += rc == WALKERDB_ENOTLEADER;
        w->errors += rc != 0 && rc != WALKERDB_ENOTLEADER;
        const struct wdb_slice key =
            key_of((uint32_t)test_random_below(&random, THREADS),
                   (uint32_t)test_random_below(&random, KEYS), name);
        w->errors += read_version(w->store, key) == UINT64_MAX;
        if (i % 8 == 0) {
            w->errors += wdb_log_flush(wdb_store_log(w->store)) != 0;
        }
        if (i % 32 == 0) {
            sched_yield();
        }
    }
    wdb_batch_release(&batch);
    return NULL;
}

/* --- the node ------------------------------------------------------------------
 */

static void commit_up_to(struct wdb_store *store, uint64_t index)
{
    wdb_store_set_committed(store, index);
    wdb_log_set_retained(wdb_store_log(store), index + 1);
}

/* Lose office and take it again; what was not committed is partly given up. */
static void change_office(struct wdb_store *store, struct test_random *random)
{
    struct wdb_log *log = wdb_store_log(store);
    wdb_log_hold(log, true);
    CHECK_EQ(wdb_log_sync(log), 0);
    const uint64_t committed = wdb_log_committed(log);
    const uint64_t last = wdb_log_index_last(log);
    REQUIRE_EQ(wdb_store_revert(store, committed + 1), 0);
    const uint64_t kept =
        committed + test_random_below(random, last - committed + 1);
    const bool early = test_random_below(random, 2) == 0;
    if (early) {
        REQUIRE_EQ(wdb_store_truncate(store, kept + 1), 0);
    }
    for (uint64_t i = committed + 1; i <= kept; i++) {
        const bool first = test_random_below(random, 2) == 0;
        if (first) {
            commit_up_to(store, i);
        }
        REQUIRE_EQ(wdb_store_apply_entry(store, i), 0);
    }
    if (!early) {
        REQUIRE_EQ(wdb_store_truncate(store, kept + 1), 0);
    }
    CHECK_EQ(wdb_log_index_last(log), kept);
    wdb_log_hold(log, false);
}

static void lead(struct wdb_store *store, uint64_t rounds)
{
    struct test_random random = {7};
    struct wdb_log *log = wdb_store_log(store);
    for (uint64_t i = 0; i < rounds && !test_has_failed(); i++) {
        const uint64_t wanted = wdb_log_index_last(log) + 20;
        for (int k = 0; k < 10000 && wdb_log_index_last(log) < wanted; k++) {
            sched_yield();
        }
        CHECK_EQ(wdb_log_sync(log), 0);
        const uint64_t committed = wdb_log_committed(log);
        const uint64_t durable = wdb_log_durable(log);
        if (durable > committed) {
            commit_up_to(store, committed +
                                    test_random_below(&random,
                                                      durable - committed + 1));
        }
        if (i % 4 == 3) {
            change_office(store, &random);
        }
    }
}

struct side {
    struct wdb_store *store;
    const char *dir;
    atomic_bool *stop;
    pthread_t thread;
    uint64_t merges, backups, errors;
};

static void *merge_and_copy(void *argument)
{
    struct side *side = argument;
    for (uint64_t i = 0; !atomic_load(side->stop); i++) {
        char name[16];
        int rc = wdb_store_merge(side->store);
        side->merges += rc == 0;
        side->errors += rc != 0 && rc != WALKERDB_EABORTED;
        if (side->backups < 3) {
            snprintf(name, sizeof(name), "copy-%u", (unsigned)side->backups);
            rc = wdb_store_backup(side->store, test_path(side->dir, name), NULL,
                                  NULL);
            side->backups += rc == 0;
            side->errors += rc != 0 && rc != WALKERDB_EABORTED;
        }
    }
    return NULL;
}

static void note_all(struct wdb_store *store, uint64_t out[THREADS][KEYS])
{
    for (uint32_t t = 0; t < THREADS; t++) {
        for (uint32_t k = 0; k < KEYS; k++) {
            char name[32];
            out[t][k] = read_version(store, key_of(t, k, name));
            CHECK(out[t][k] != UINT64_MAX);
        }
    }
}

/* What is in memory at the end is what the log's entries say. */
TEST(threads_beside_changes_of_office)
{
    static struct worker workers[THREADS];
    static uint64_t before[THREADS][KEYS], after[THREADS][KEYS];
    atomic_bool stop = false;
    struct wdb_env *env;
    struct wdb_store_options options;
    struct wdb_store *store;
    const char *base = test_tmpdir();
    REQUIRE_EQ(wdb_env_posix_new(&env), 0);
    wdb_store_options_init(&options);
    options.log.env = env;
    options.log.dir = test_path(base, "db");
    options.log.create = true;
    options.log.manual_commit = true;
    options.log.segment_size = 128 << 10;
    options.log.sync_policy = WDB_SYNC_ALWAYS;
    options.merge_rate = 0;
    options.merge_ratio = 0.2;
    options.load_threads = 2;
    options.stripe_count = 8;
    REQUIRE_EQ(wdb_store_open(&options, &store, NULL), 0);
    struct side side = {.store = store, .dir = base, .stop = &stop};
    REQUIRE_EQ(pthread_create(&side.thread, NULL, merge_and_copy, &side), 0);
    for (uint32_t t = 0; t < THREADS; t++) {
        workers[t] =
            (struct worker){.store = store, .number = t, .stop = &stop};
        REQUIRE_EQ(pthread_create(&workers[t].thread, NULL, work, &workers[t]),
                   0);
    }
    lead(store, 160 * test_number("WDB_TEST_ROUNDS", 1));
    atomic_store(&stop, true);
    for (uint32_t t = 0; t < THREADS; t++) {
        pthread_join(workers[t].thread, NULL);
        CHECK_EQ(workers[t].errors, 0);
        CHECK(workers[t].written > 0);
    }
    /* A merge that waits for a commit would wait for ever. */
    CHECK_EQ(wdb_log_sync(wdb_store_log(store)), 0);
    commit_up_to(store, wdb_log_index_last(wdb_store_log(store)));
    pthread_join(side.thread, NULL);
    CHECK_EQ(side.errors, 0);
    note_all(store, before);
    CHECK_EQ(wdb_store_merge(store), 0);
    note_all(store, after);
    CHECK_MEM(before, sizeof(before), after, sizeof(after));
    wdb_store_close(store);
    REQUIRE_EQ(wdb_store_open(&options, &store, NULL), 0);
    note_all(store, after);
    CHECK_MEM(before, sizeof(before), after, sizeof(after));
    wdb_store_close(store);
    options.log.manual_commit = false;
    for (uint64_t i = 0; i < side.backups; i++) {
        char name[16];
        snprintf(name, sizeof(name), "copy-%u", (unsigned)i);
        options.log.dir = test_path(base, name);
        REQUIRE_EQ(wdb_store_open(&options, &store, NULL), 0);
        note_all(store, after);
        wdb_store_close(store);
    }
    wdb_env_posix_free(env);
}
