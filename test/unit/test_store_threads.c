/*
 * test_store_threads.c - threads write and read while merges, hints, backups
 * and the log's thread do their work.
 */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/test.h"
#include "sim/store_model.h"
#include "walkerdb.h"

#define THREADS 4
#define KEYS    200 /* of each thread */

struct worker {
    struct wdb_store *store;
    uint32_t number;
    int rounds;
    pthread_t thread;
    uint64_t versions[KEYS]; /* 0: absent */
    uint64_t errors;
};

struct name {
    char bytes[32];
};

static struct wdb_slice key_of(uint32_t thread, uint32_t key, struct name *name)
{
    const int size = snprintf(name->bytes, sizeof(name->bytes),
                              "thread-%u-key-%u", thread, key);
    return wdb_slice(name->bytes, (size_t)size);
}

/* Values tell which version they are. */
static void value_of(uint64_t version, uint8_t out[512], size_t *size_out)
{
    *size_out = 8 + version % 500;
    memset(out, (int)(version & 0xff), *size_out);
    memcpy(out, &version, 8);
}

static int write_key(struct wdb_store *store, struct wdb_batch *batch,
                     struct wdb_slice key, uint64_t version)
{
    uint8_t value[512];
    size_t size;
    uint64_t index;
    struct wdb_record record = {
        .kind = version == 0 ? WDB_RECORD_DELETE : WDB_RECORD_PUT,
        .key = key,
    };
    if (version != 0) {
        value_of(version, value, &size);
        record.value = wdb_slice(value, size);
    }
    const uint64_t hash = wdb_store_hash(store, key);
    const uint32_t stripe = wdb_stripe_of(hash, wdb_store_stripe_count(store));
    wdb_batch_clear(batch);
    int rc = wdb_batch_add(batch, &record, hash);
    if (rc == 0) {
        wdb_store_lock_one(store, stripe);
        rc = wdb_store_commit(store, batch, &index);
        wdb_store_unlock_one(store, stripe);
    }
    return rc;
}

/* True if the key has this version (0: is absent). */
static bool has_version(struct wdb_store *store, struct wdb_slice key,
                        uint64_t version)
{
    uint8_t value[512];
    size_t size = 0;
    struct wdb_item item;
    struct wdb_value found;
    const uint64_t hash = wdb_store_hash(store, key);
    const uint32_t stripe = wdb_stripe_of(hash, wdb_store_stripe_count(store));
    struct wdb_epoch *epoch = wdb_log_epoch(wdb_store_log(store));
    const int slot = wdb_epoch_enter(epoch);
    wdb_store_lock_one(store, stripe);
    bool ok = wdb_store_find(store, wdb_store_database(store, 0), hash, key,
                             &item) == (version != 0);
    if (ok && version != 0) {
        value_of(version, value, &size);
        ok = wdb_store_read_wait(store, &item, &found) == 0 &&
             wdb_slice_equal(found.record.value, wdb_slice(value, size));
    }
    wdb_store_unlock_one(store, stripe);
    wdb_epoch_exit(epoch, slot);
    return ok;
}

static void *work(void *argument)
{
    struct worker *w = argument;
    struct wdb_batch batch;
    struct test_random random = {w->number + 1};
    wdb_batch_init(&batch);
    for (int i = 0; i < w->rounds; i++) {
        struct name name;
        const uint32_t k = (uint32_t)test_random_below(&random, KEYS);
        const struct wdb_slice key = key_of(w->number, k, &name);
        w->errors += !has_version(w->store, key, w->versions[k]);
        if (test_random_below(&random, 3) != 0) {
            const bool gone =
                w->versions[k] != 0 && test_random_below(&random, 4) == 0;
            const uint64_t version = gone ? 0 : (uint64_t)i + 1;
            if (write_key(w->store, &batch, key, version) == 0) {
                w->versions[k] = version;
            } else {
                w->errors++;
            }
        }
        if (i % 8 == 0) {
            w->errors += wdb_log_flush(wdb_store_log(w->store)) != 0;
        }
    }
    wdb_batch_release(&batch);
    return NULL;
}

static void check_all(const struct worker workers[THREADS],
                      struct wdb_store *store)
{
    for (uint32_t t = 0; t < THREADS; t++) {
        for (uint32_t k = 0; k < KEYS; k++) {
            struct name name;
            CHECK(has_version(store, key_of(t, k, &name),
                              workers[t].versions[k]));
        }
    }
}

static void init_options(struct wdb_store_options *options, struct wdb_env *env,
                         const char *dir)
{
    wdb_store_options_init(options);
    options->log.env = env;
    options->log.dir = dir;
    options->log.create = true;
    options->log.segment_size = 256 << 10;
    options->log.sync_interval_ms = 20;
    options->merge_rate = 0;
    options->merge_ratio = 0.3;
    options->load_threads = 3;
    options->stripe_count = 8;
}

/* Each thread has keys of its own and finds them as it left them, whatever goes
 * on around it, and so they are after reopening. */
TEST(threads_beside_merges)
{
    static struct worker workers[THREADS];
    struct wdb_env *env;
    struct wdb_store_options options;
    struct wdb_store *store;
    const char *base = test_tmpdir();
    REQUIRE_EQ(wdb_env_posix_new(&env), 0);
    init_options(&options, env, test_path(base, "db"));
    REQUIRE_EQ(wdb_store_open(&options, &store, NULL), 0);
    for (uint32_t t = 0; t < THREADS; t++) {
        workers[t].store = store;
        workers[t].number = t;
        workers[t].rounds = (int)test_number("WDB_TEST_ROUNDS", 1) * 15000;
        REQUIRE_EQ(pthread_create(&workers[t].thread, NULL, work, &workers[t]),
                   0);
    }
    for (int i = 0; i < 3; i++) {
        char name[16];
        struct wdb_store_stats stats;
        wdb_store_stats(store, &stats);
        const int rc = wdb_store_merge(store);
        CHECK_EQ(rc, 0);
        snprintf(name, sizeof(name), "copy-%d", i);
        CHECK_EQ(wdb_store_backup(store, test_path(base, name), NULL, NULL), 0);
    }
    for (uint32_t t = 0; t < THREADS; t++) {
        pthread_join(workers[t].thread, NULL);
        CHECK_EQ(workers[t].errors, 0);
    }
    check_all(workers, store);
    CHECK_EQ(wdb_store_merge(store), 0);
    check_all(workers, store);
    wdb_store_close(store);
    REQUIRE_EQ(wdb_store_open(&options, &store, NULL), 0);
    check_all(workers, store);
    wdb_store_close(store);
    /* A backup is a database of its own. */
    options.log.dir = test_path(base, "copy-2");
    REQUIRE_EQ(wdb_store_open(&options, &store, NULL), 0);
    wdb_store_close(store);
    wdb_env_posix_free(env);
}

struct committer {
    struct wdb_store *store;
    atomic_bool stopping;
    pthread_t thread;
};

static void *commit_all(void *argument)
{
    struct committer *committer = argument;
    struct wdb_log *log = wdb_store_log(committer->store);
    while (!atomic_load(&committer->stopping)) {
        const uint64_t appended = wdb_log_appended(log);
        wdb_store_set_committed(committer->store, appended);
        wdb_log_set_retained(log, appended);
        sched_yield();
    }
    return NULL;
}

/* The same while commits follow behind, and undo is kept until then. */
TEST(threads_beside_commits)
{
    static struct worker workers[THREADS];
    struct committer committer = {.stopping = false};
    struct wdb_env *env;
    struct wdb_store_options options;
    REQUIRE_EQ(wdb_env_posix_new(&env), 0);
    init_options(&options, env, test_path(test_tmpdir(), "db"));
    options.log.manual_commit = true;
    REQUIRE_EQ(wdb_store_open(&options, &committer.store, NULL), 0);
    struct wdb_store *store = committer.store;
    REQUIRE_EQ(pthread_create(&committer.thread, NULL, commit_all, &committer),
               0);
    for (uint32_t t = 0; t < THREADS; t++) {
        memset(&workers[t], 0, sizeof(workers[t]));
        workers[t].store = store;
        workers[t].number = t;
        workers[t].rounds = (int)test_number("WDB_TEST_ROUNDS", 1) * 8000;
        REQUIRE_EQ(pthread_create(&workers[t].thread, NULL, work, &workers[t]),
                   0);
    }
    CHECK_EQ(wdb_store_merge(store), 0);
    for (uint32_t t = 0; t < THREADS; t++) {
        pthread_join(workers[t].thread, NULL);
        CHECK_EQ(workers[t].errors, 0);
    }
    check_all(workers, store);
    CHECK_EQ(wdb_log_flush(wdb_store_log(store)), 0);
    CHECK_EQ(wdb_store_merge(store), 0);
    atomic_store(&committer.stopping, true);
    pthread_join(committer.thread, NULL);
    wdb_store_set_committed(store, wdb_log_index_last(wdb_store_log(store)));
    check_all(workers, store);
    struct wdb_store_stats stats;
    wdb_store_stats(store, &stats);
    CHECK_EQ(stats.undo_memory, 0);
    wdb_store_close(store);
    REQUIRE_EQ(wdb_store_open(&options, &store, NULL), 0);
    check_all(workers, store);
    wdb_store_close(store);
    wdb_env_posix_free(env);
}
