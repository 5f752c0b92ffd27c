/*
 * test_store_undo.c - staging, rollback, truncation: what is taken back leaves
 * no trace, and whoever watches is told.
 */
#include <stdio.h>
#include <stdlib.h>

#include "lib/test.h"
#include "sim/store_fixture.h"
#include "walkerdb.h"

/* --- touches ---------------------------------------------------------------
 */

#define TOUCHES_MAX 4096

struct touches {
    struct {
        uint32_t database;
        uint64_t hash;
    } keys[TOUCHES_MAX];
    size_t count;
    bool all; /* the mapping of databases was touched */
};

static void on_touch(void *context, enum wdb_touch_kind kind, uint32_t database,
                     uint64_t hash, struct wdb_slice key)
{
    struct touches *touches = context;
    (void)key;
    if (kind == WDB_TOUCH_DATABASES) {
        touches->all = true;
    } else if (touches->count < TOUCHES_MAX) {
        touches->keys[touches->count].database = database;
        touches->keys[touches->count++].hash = hash;
    }
}

static bool is_touched(const struct touches *touches, uint32_t database,
                       uint64_t hash)
{
    bool found = touches->all || touches->count == TOUCHES_MAX;
    for (size_t i = 0; i < touches->count && !found; i++) {
        found = touches->keys[i].database == database &&
                touches->keys[i].hash == hash;
    }
    return found;
}

/* Every key that differs between the states was touched. */
static void check_touches(struct store_fixture *f,
                          const struct touches *touches,
                          const struct model_state *before,
                          const struct model_state *after)
{
    for (uint32_t d = 0; d < MODEL_DATABASES; d++) {
        for (uint32_t k = 0; k < MODEL_KEYS; k++) {
            if (memcmp(&before->keys[d][k], &after->keys[d][k],
                       sizeof(struct model_key)) == 0) {
                continue;
            }
            struct model_text text;
            const struct wdb_slice name = store_model_key(k, &text);
            CHECK(is_touched(touches, wdb_store_database(f->store, d),
                             wdb_store_hash(f->store, name)));
        }
    }
}

/* --- tests -----------------------------------------------------------------
 */

/* A transaction of several stages is seen by itself, and rolled back or
 * committed as a whole. */
TEST(staged_batches_roll_back)
{
    for (uint64_t seed = 1; seed <= 20 && !test_has_failed(); seed++) {
        struct store_fixture f;
        store_fixture_init(&f, seed);
        REQUIRE(store_fixture_open(&f));
        store_fixture_run(&f, 30);
        for (int i = 0; i < 100 && !test_has_failed(); i++) {
            uint64_t index;
            wdb_batch_clear(&f.batch);
            wdb_store_lock_all(f.store);
            for (int stage = 0; stage <= i % 4; stage++) {
                store_model_fill(&f.model, f.store, &f.batch, 3);
                CHECK_EQ(wdb_store_stage(f.store, &f.batch), 0);
                CHECK(store_model_check_next(&f.model, f.store, false));
            }
            if (i % 3 != 0) {
                wdb_store_rollback(f.store, &f.batch);
                store_model_forget(&f.model);
            } else if (f.batch.count > 0) {
                CHECK_EQ(wdb_store_commit(f.store, &f.batch, &index), 0);
                store_model_commit(&f.model, index);
            }
            wdb_store_unlock_all(f.store);
            store_fixture_check(&f);
        }
        REQUIRE(store_fixture_reopen(&f));
        store_fixture_check(&f);
        store_fixture_release(&f);
    }
}

static void truncate_somewhere(struct store_fixture *f, struct touches *touches)
{
    struct wdb_log *log = wdb_store_log(f->store);
    const uint64_t committed = wdb_log_committed(log);
    const uint64_t last = wdb_log_index_last(log);
    if (last == committed) {
        return;
    }
    const uint64_t from =
        committed + 1 + wdb_random_below(&f->model.random, last - committed);
    const struct model_state before = f->model.states[f->model.state_count - 1];
    touches->count = 0;
    touches->all = false;
    CHECK_EQ(wdb_store_truncate(f->store, from), 0);
    store_model_truncate(&f->model, from);
    store_fixture_check(f);
    check_touches(f, touches, &before,
                  &f->model.states[f->model.state_count - 1]);
    CHECK_EQ(wdb_log_index_last(log), from - 1);
}

/* Truncation gives back the exact earlier state: values, expiries, databases,
 * elements; watches are touched; merges in between change nothing. */
TEST(truncation_takes_back)
{
    static struct touches touches;
    const uint64_t seeds = test_number("WDB_TEST_ROUNDS", 30);
    for (uint64_t seed = 1; seed <= seeds && !test_has_failed(); seed++) {
        struct store_fixture f;
        store_fixture_init(&f, seed);
        f.options.log.manual_commit = true;
        f.options.on_touch = on_touch;
        f.options.touch_context = &touches;
        f.options.merge_enabled = seed % 2 == 0;
        REQUIRE(store_fixture_open(&f));
        struct wdb_log *log = wdb_store_log(f.store);
        for (int i = 0; i < 80 && !test_has_failed(); i++) {
            store_fixture_run(&f, 4);
            if (i % 5 == 4) {
                truncate_somewhere(&f, &touches);
            }
            if (i % 3 == 0) {
                const uint64_t appended = wdb_log_appended(log);
                const uint64_t committed = wdb_log_committed(log);
                wdb_store_set_committed(f.store,
                                        committed + (appended - committed) / 2);
                wdb_log_set_retained(log, wdb_log_committed(log));
            }
            store_fixture_check(&f);
        }
        wdb_store_set_committed(f.store, wdb_log_index_last(log));
        struct wdb_store_stats stats;
        wdb_store_stats(f.store, &stats);
        CHECK_EQ(stats.undo_memory, 0);
        store_fixture_check(&f);
        store_fixture_release(&f);
    }
}

/* What is committed cannot be truncated. */
TEST(committed_entries_stay)
{
    struct store_fixture f;
    store_fixture_init(&f, 1);
    f.options.log.manual_commit = true;
    REQUIRE(store_fixture_open(&f));
    store_fixture_run(&f, 20);
    const uint64_t last = wdb_log_index_last(wdb_store_log(f.store));
    wdb_store_set_committed(f.store, last);
    CHECK_EQ(wdb_store_truncate(f.store, last), WALKERDB_EINVALID);
    store_fixture_check(&f);
    store_fixture_release(&f);
}

/* A store that was opened shows only what it knows to be committed; the rest
 * is applied entry by entry. */
TEST(uncommitted_entries_wait)
{
    for (uint64_t seed = 1; seed <= 20 && !test_has_failed(); seed++) {
        struct store_fixture f;
        store_fixture_init(&f, seed);
        f.options.log.manual_commit = true;
        REQUIRE(store_fixture_open(&f));
        for (int i = 0; i < 10; i++) {
            store_fixture_run(&f, 5);
            const uint64_t appended = wdb_log_appended(wdb_store_log(f.store));
            wdb_store_set_committed(f.store, appended * 2 / 3);
        }
        const uint64_t committed = wdb_log_committed(wdb_store_log(f.store));
        REQUIRE(store_fixture_reopen(&f));
        struct wdb_log *log = wdb_store_log(f.store);
        CHECK(wdb_log_committed(log) <= committed);
        const uint64_t last = wdb_log_index_last(log);
        for (uint64_t i = wdb_log_committed(log); i < last; i++) {
            CHECK(store_model_check(&f.model, f.store,
                                    store_model_at(&f.model, i)));
            CHECK_EQ(wdb_store_apply_entry(f.store, i + 1), 0);
        }
        store_fixture_check(&f);
        CHECK_EQ(wdb_store_truncate(f.store, committed + 1), 0);
        store_model_truncate(&f.model, committed + 1);
        store_fixture_check(&f);
        store_fixture_release(&f);
    }
}
