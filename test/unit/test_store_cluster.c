/*
 * test_store_cluster.c - what a node of a cluster asks of its store: to take
 * back what is not committed and to apply it again, in any order, whatever
 * merge does meanwhile.
 */
#include <stdio.h>
#include <stdlib.h>

#include "lib/test.h"
#include "sim/store_fixture.h"
#include "walkerdb.h"

/* A store with commits by hand; even seeds merge in the background. */
static bool open_fixture(struct store_fixture *f, uint64_t seed)
{
    store_fixture_init(f, seed);
    f->options.log.manual_commit = true;
    f->options.merge_enabled = seed % 2 == 0;
    f->options.merge_ratio = 0.1;
    return store_fixture_open(f);
}

static uint64_t below(struct store_fixture *f, uint64_t bound)
{
    return wdb_random_below(&f->model.random, bound);
}

static void check_at(struct store_fixture *f, uint64_t index)
{
    CHECK(store_model_check(&f->model, f->store,
                            store_model_at(&f->model, index)));
}

static void commit_up_to(struct store_fixture *f, uint64_t index)
{
    wdb_store_set_committed(f->store, index);
    wdb_log_set_retained(wdb_store_log(f->store), index + 1);
}

static void step_some(struct store_fixture *f)
{
    for (uint64_t i = below(f, 6); i > 0; i--) {
        (void)wdb_log_step(wdb_store_log(f->store));
        (void)wdb_store_step(f->store);
    }
}

static uint64_t commit_some(struct store_fixture *f)
{
    struct wdb_log *log = wdb_store_log(f->store);
    CHECK_EQ(wdb_log_sync(log), 0);
    const uint64_t committed = wdb_log_committed(log);
    const uint64_t last = wdb_log_index_last(log);
    const uint64_t index = committed + below(f, last - committed + 1);
    commit_up_to(f, index);
    return index;
}

/* --- revert ------------------------------------------------------------------
 */

/* Apply the entries from..to, sometimes committed before, sometimes after. */
static void apply(struct store_fixture *f, uint64_t from, uint64_t to)
{
    for (uint64_t i = from; i <= to && !test_has_failed(); i++) {
        const bool first = below(f, 2) == 0;
        if (first) {
            commit_up_to(f, i);
        }
        REQUIRE_EQ(wdb_store_apply_entry(f->store, i), 0);
        check_at(f, i);
        if (!first && below(f, 2) == 0) {
            commit_up_to(f, i);
        }
        if (below(f, 3) == 0) {
            step_some(f);
            check_at(f, i);
        }
    }
}

/* What a deposed leader does: all that is not committed is taken back, the
 * entries stay; then some of them are committed after all, and the others are
 * given up. */
static void lose_office(struct store_fixture *f)
{
    struct wdb_log *log = wdb_store_log(f->store);
    const uint64_t committed = commit_some(f);
    const uint64_t last = wdb_log_index_last(log);
    uint64_t index;
    wdb_log_hold(log, true);
    REQUIRE_EQ(wdb_store_revert(f->store, committed + 1), 0);
    CHECK_EQ(wdb_log_index_last(log), last);
    CHECK_EQ(wdb_log_committed(log), committed);
    check_at(f, committed);
    for (uint32_t i = 0; i < wdb_store_stripe_count(f->store); i++) {
        CHECK(wdb_store_last_write(f->store, i) <= committed);
    }
    CHECK(wdb_store_last_mapping(f->store) <= committed);
    step_some(f);
    check_at(f, committed);
    const uint64_t kept = committed + below(f, last - committed + 1);
    if (below(f, 2) == 0) {
        /* Given up only later. */
        apply(f, committed + 1, kept);
        if (test_has_failed()) {
            return;
        }
        commit_up_to(f, kept);
        step_some(f);
        REQUIRE_EQ(wdb_store_truncate(f->store, kept + 1), 0);
    } else {
        REQUIRE_EQ(wdb_store_truncate(f->store, kept + 1), 0);
        check_at(f, committed);
        step_some(f);
        apply(f, committed + 1, kept);
    }
    if (test_has_failed()) {
        return;
    }
    store_model_truncate(&f->model, kept + 1);
    CHECK_EQ(wdb_log_index_last(log), kept);
    check_at(f, kept);
    /* Nothing is written while it is held, and nothing changes. */
    wdb_batch_clear(&f->batch);
    wdb_store_lock_all(f->store);
    store_model_fill(&f->model, f->store, &f->batch, 3);
    if (f->batch.count > 0) {
        CHECK_EQ(wdb_store_commit(f->store, &f->batch, &index),
                 WALKERDB_ENOTLEADER);
    }
    store_model_forget(&f->model);
    wdb_store_unlock_all(f->store);
    check_at(f, kept);
    wdb_log_hold(log, false);
}

TEST(store_revert_and_apply_again)
{
    const uint64_t seeds = test_number("WDB_TEST_ROUNDS", 60);
    for (uint64_t seed = 1; seed <= seeds && !test_has_failed(); seed++) {
        struct store_fixture f;
        REQUIRE(open_fixture(&f, seed));
        for (int i = 0; i < 25 && !test_has_failed(); i++) {
            store_fixture_run(&f, 6);
            lose_office(&f);
            if (i % 8 == 7 && !test_has_failed()) {
                CHECK_EQ(wdb_log_sync(wdb_store_log(f.store)), 0);
                commit_up_to(&f, wdb_log_index_last(wdb_store_log(f.store)));
                const int rc = wdb_store_merge(f.store);
                /* One that had begun before may have been truncated. */
                CHECK(rc == 0 || rc == WALKERDB_EABORTED);
                store_fixture_check(&f);
            }
        }
        if (test_has_failed()) {
            fprintf(stderr, "seed %llu\n", (unsigned long long)seed);
        }
        store_fixture_release(&f);
    }
}

/* Only what is not committed can be reverted; to revert nothing is nothing. */
TEST(store_revert_refuses_committed)
{
    struct store_fixture f;
    REQUIRE(open_fixture(&f, 1));
    struct wdb_log *log = wdb_store_log(f.store);
    store_fixture_run(&f, 20);
    CHECK_EQ(wdb_log_sync(log), 0);
    const uint64_t last = wdb_log_index_last(log);
    commit_up_to(&f, last - 1);
    CHECK_EQ(wdb_store_revert(f.store, last - 1), WALKERDB_EINVALID);
    CHECK_EQ(wdb_store_revert(f.store, 0), WALKERDB_EINVALID);
    store_fixture_check(&f);
    commit_up_to(&f, last);
    CHECK_EQ(wdb_store_revert(f.store, last + 1), 0);
    CHECK_EQ(wdb_store_revert(f.store, last + 100), 0);
    store_fixture_check(&f);
    CHECK_EQ(wdb_log_index_last(log), last);
    store_fixture_release(&f);
}

static uint64_t bytes_dead(struct store_fixture *f)
{
    struct wdb_store_stats stats;
    wdb_store_stats(f->store, &stats);
    return stats.bytes_dead;
}

/* Taken back and applied again, it makes as much garbage as before, neither
 * more nor less. */
TEST(store_revert_garbage)
{
    for (uint64_t seed = 1; seed <= 20 && !test_has_failed(); seed++) {
        struct store_fixture f;
        REQUIRE(open_fixture(&f, seed * 2 - 1));
        f.model.has_objects = false; /* theirs is counted when they are freed */
        f.model.has_databases = false;
        struct wdb_log *log = wdb_store_log(f.store);
        store_fixture_run(&f, 30);
        CHECK_EQ(wdb_log_sync(log), 0);
        const uint64_t base = wdb_log_index_last(log);
        commit_up_to(&f, base);
        store_fixture_settle(&f);
        const uint64_t before = bytes_dead(&f);
        store_fixture_run(&f, 30);
        CHECK_EQ(wdb_log_flush(log), 0);
        const uint64_t after = bytes_dead(&f);
        CHECK(after > before);
        for (int i = 0; i < 3 && !test_has_failed(); i++) {
            REQUIRE_EQ(wdb_store_revert(f.store, base + 1), 0);
            CHECK_EQ(bytes_dead(&f), before);
            for (uint64_t k = base + 1; k <= wdb_log_index_last(log); k++) {
                REQUIRE_EQ(wdb_store_apply_entry(f.store, k), 0);
            }
            CHECK_EQ(bytes_dead(&f), after);
        }
        store_fixture_check(&f);
        store_fixture_release(&f);
    }
}

/* --- opening -------------------------------------------------------------------
 */

/* A member's directory does not open as if it stood alone, and says why; whoever
 * only reads sees what is committed. */
TEST(cluster_directory_does_not_stand_alone)
{
    struct store_fixture f;
    char *message = NULL;
    struct wdb_store *store = NULL;
    REQUIRE(open_fixture(&f, 3));
    struct wdb_log *log = wdb_store_log(f.store);
    store_fixture_run(&f, 40);
    CHECK_EQ(wdb_log_sync(log), 0);
    const uint64_t committed = wdb_log_index_last(log) / 2;
    commit_up_to(&f, committed);
    REQUIRE_EQ(wdb_log_set_base(log, true, wdb_slice("base", 4), 0), 0);
    wdb_store_close(f.store);
    f.store = NULL;
    const uint64_t renames = sim_env_count(f.env, SIM_OP_RENAME);
    const uint64_t writes = sim_env_count(f.env, SIM_OP_WRITE);
    f.options.log.manual_commit = false;
    CHECK_EQ(wdb_store_open(&f.options, &store, &message), WALKERDB_EMISMATCH);
    REQUIRE(message != NULL);
    CHECK(strstr(message, "cluster") != NULL);
    CHECK(strstr(message, "-join") != NULL);
    free(message);
    CHECK_EQ(sim_env_count(f.env, SIM_OP_RENAME), renames);
    CHECK_EQ(sim_env_count(f.env, SIM_OP_WRITE), writes);
    f.options.log.read_only = true;
    REQUIRE(store_fixture_open(&f));
    CHECK_EQ(wdb_log_committed(wdb_store_log(f.store)), committed);
    check_at(&f, committed);
    f.options.log.read_only = false;
    f.options.log.manual_commit = true;
    REQUIRE(store_fixture_reopen(&f));
    check_at(&f, committed);
    CHECK(wdb_log_is_cluster(wdb_store_log(f.store)));
    store_fixture_release(&f);
}

/* The highest commit index that anything in the log's file says. */
static uint64_t proven(struct store_fixture *f)
{
    struct wdb_log *log = wdb_store_log(f->store);
    uint64_t highest = 0;
    for (uint64_t i = wdb_log_index_first(log); i <= wdb_log_appended(log);
         i++) {
        struct wdb_entry_header entry;
        struct wdb_segment *segment;
        const uint8_t *payload;
        if (wdb_log_entry(log, i, &entry, &payload, &segment) != 0) {
            CHECK(false);
            break;
        }
        struct wdb_frame frame;
        memcpy(&frame, payload - WDB_ENTRY_OVERHEAD, sizeof(frame));
        highest =
            frame.index_committed > highest ? frame.index_committed : highest;
        wdb_segment_drop(segment);
    }
    struct wdb_manifest manifest = {0};
    CHECK_EQ(wdb_manifest_load(sim_env_base(f->env), "/db", &manifest), 0);
    if (manifest.index_committed > highest) {
        highest = manifest.index_committed;
    }
    wdb_manifest_release(&manifest);
    return highest;
}

/* What is not known to be committed is not applied at open, and can be
 * afterwards, whatever it is: objects, databases, expiries. */
TEST(open_applies_what_is_proven)
{
    uint64_t unproven = 0;
    const uint64_t seeds = test_number("WDB_TEST_ROUNDS", 60);
    for (uint64_t seed = 1; seed <= seeds && !test_has_failed(); seed++) {
        struct store_fixture f;
        REQUIRE(open_fixture(&f, seed));
        f.model.has_objects = seed % 3 != 0;
        f.model.has_databases = seed % 4 != 0;
        for (int i = 0; i < 6 && !test_has_failed(); i++) {
            struct wdb_log *log = wdb_store_log(f.store);
            store_fixture_run(&f, 15);
            const uint64_t committed = commit_some(&f);
            store_fixture_run(&f, 3);
            CHECK_EQ(wdb_log_sync(log), 0);
            const uint64_t last = wdb_log_index_last(log);
            if (below(&f, 2) == 0) {
                REQUIRE(store_fixture_reopen(&f));
                CHECK_EQ(wdb_log_committed(wdb_store_log(f.store)), committed);
            } else {
                const uint64_t expected = proven(&f);
                CHECK(expected <= committed);
                wdb_store_abandon(f.store);
                f.store = NULL;
                REQUIRE(store_fixture_open(&f));
                CHECK_EQ(wdb_log_committed(wdb_store_log(f.store)), expected);
            }
            log = wdb_store_log(f.store);
            const uint64_t known = wdb_log_committed(log);
            CHECK_EQ(wdb_log_index_last(log), last);
            check_at(&f, known);
            step_some(&f);
            check_at(&f, known);
            unproven += last - known;
            apply(&f, known + 1, last);
        }
        store_fixture_release(&f);
    }
    CHECK(unproven > 0);
}
