/*
 * test_store_faults.c - each allocation and each file operation fails once:
 * an operation is done or not done, never half, and nothing leaks.
 */
#include <stdio.h>
#include <stdlib.h>

#include "fault_alloc.h"
#include "lib/test.h"
#include "sim/store_fixture.h"
#include "walkerdb.h"

/* --- memory ----------------------------------------------------------------
 */

/* The log says ENOSPACE when it cannot make a segment, whatever the reason. */
static bool is_shortage(int rc)
{
    return rc == WALKERDB_ENOMEM || rc == WALKERDB_ENOSPACE;
}

/* The log tries again after some time. */
static void wait_a_while(struct store_fixture *f)
{
    sim_env_advance_ms(f->env, 20000);
    while (wdb_log_step(wdb_store_log(f->store))) {
    }
}

/* A batch fails whole: then the store is as before, and the batch goes through
 * when there is memory again. */
TEST(commit_without_memory)
{
    for (uint64_t seed = 1; seed <= 6 && !test_has_failed(); seed++) {
        struct store_fixture f;
        store_fixture_init(&f, seed);
        f.options.log.manual_commit = seed % 2 == 0;
        REQUIRE(store_fixture_open(&f));
        store_fixture_run(&f, 20);
        for (int i = 0; i < 120 && !test_has_failed(); i++) {
            wdb_batch_clear(&f.batch);
            wdb_store_lock_all(f.store);
            store_model_fill(&f.model, f.store, &f.batch, 5);
            uint64_t index = 0;
            int rc = f.batch.count == 0 ? 0 : WALKERDB_ENOMEM;
            for (uint64_t n = 1; is_shortage(rc); n++) {
                wdb_store_unlock_all(f.store);
                store_fixture_check(&f);
                wait_a_while(&f);
                wdb_store_lock_all(f.store);
                fault_alloc_arm(n);
                rc = wdb_store_commit(f.store, &f.batch, &index);
                (void)fault_alloc_disarm();
                CHECK(rc == 0 || is_shortage(rc));
            }
            if (f.batch.count > 0) {
                CHECK_EQ(rc, 0);
                store_model_commit(&f.model, index);
            }
            wdb_store_unlock_all(f.store);
            store_fixture_check(&f);
        }
        store_fixture_release(&f);
    }
}

/* The same for the stages of a transaction. */
TEST(stage_without_memory)
{
    struct store_fixture f;
    store_fixture_init(&f, 3);
    REQUIRE(store_fixture_open(&f));
    store_fixture_run(&f, 20);
    for (int i = 0; i < 150 && !test_has_failed(); i++) {
        uint64_t index;
        wdb_batch_clear(&f.batch);
        wdb_store_lock_all(f.store);
        for (int stage = 0; stage < 3; stage++) {
            store_model_fill(&f.model, f.store, &f.batch, 2);
            int rc = WALKERDB_ENOMEM;
            for (uint64_t n = 1; is_shortage(rc); n++) {
                fault_alloc_arm(n);
                rc = wdb_store_stage(f.store, &f.batch);
                (void)fault_alloc_disarm();
            }
            CHECK_EQ(rc, 0);
            CHECK(store_model_check_next(&f.model, f.store, false));
        }
        if (i % 2 == 0) {
            wdb_store_rollback(f.store, &f.batch);
            store_model_forget(&f.model);
        } else if (f.batch.count > 0) {
            CHECK_EQ(wdb_store_commit(f.store, &f.batch, &index), 0);
            store_model_commit(&f.model, index);
        }
        wdb_store_unlock_all(f.store);
        store_fixture_check(&f);
    }
    store_fixture_release(&f);
}

/* Opening fails with ENOMEM, leaves nothing open, and works afterwards. */
TEST(open_without_memory)
{
    for (uint64_t seed = 1; seed <= 4 && !test_has_failed(); seed++) {
        struct store_fixture f;
        store_fixture_init(&f, seed);
        f.options.hints = seed % 2 == 0;
        f.options.ordered = seed == 4;
        f.model.has_databases = seed != 4;
        REQUIRE(store_fixture_open(&f));
        store_fixture_run(&f, 60);
        CHECK_EQ(wdb_store_merge(f.store), 0);
        store_fixture_run(&f, 20);
        wdb_store_close(f.store);
        f.store = NULL;
        int rc = WALKERDB_ENOMEM;
        uint64_t n = 1;
        for (; rc == WALKERDB_ENOMEM && !test_has_failed(); n++) {
            fault_alloc_arm(n);
            rc = wdb_store_open(&f.options, &f.store, NULL);
            const bool failed = fault_alloc_disarm();
            CHECK(rc == 0 || (failed && is_shortage(rc)));
            if (rc != 0) {
                CHECK_EQ(sim_env_open_count(f.env), 0);
                f.store = NULL;
            } else if (failed) {
                /* Something that it can do without: try the next. */
                store_fixture_check(&f);
                wdb_store_close(f.store);
                f.store = NULL;
                rc = WALKERDB_ENOMEM;
            }
        }
        CHECK_EQ(rc, 0);
        CHECK(n > 20);
        if (f.store != NULL) {
            store_fixture_check(&f);
        }
        store_fixture_release(&f);
    }
}

/* A merge or a backup that fails changes nothing, and works afterwards. */
TEST(merge_without_memory)
{
    struct store_fixture f;
    store_fixture_init(&f, 5);
    REQUIRE(store_fixture_open(&f));
    for (uint64_t n = 1; n < 400 && !test_has_failed(); n++) {
        wait_a_while(&f);
        store_fixture_run(&f, 3);
        fault_alloc_arm(n % 100 + 1);
        const int rc = wdb_store_merge(f.store);
        const bool failed = fault_alloc_disarm();
        CHECK(rc == 0 || (failed && is_shortage(rc)));
        store_fixture_check(&f);
    }
    CHECK_EQ(wdb_store_merge(f.store), 0);
    REQUIRE(store_fixture_reopen(&f));
    store_fixture_check(&f);
    store_fixture_release(&f);
}

TEST(backup_without_memory)
{
    struct store_fixture f;
    store_fixture_init(&f, 6);
    REQUIRE(store_fixture_open(&f));
    store_fixture_run(&f, 50);
    int rc = WALKERDB_ENOMEM;
    for (uint64_t n = 1; is_shortage(rc) && !test_has_failed(); n++) {
        wait_a_while(&f);
        fault_alloc_arm(n);
        rc = wdb_store_backup(f.store, "/copy", NULL, NULL);
        (void)fault_alloc_disarm();
        CHECK(rc == 0 || is_shortage(rc));
    }
    CHECK_EQ(rc, 0);
    store_fixture_release(&f);
}

/* --- files -----------------------------------------------------------------
 */

typedef int (*operation)(struct store_fixture *f);

static int do_merge(struct store_fixture *f)
{
    return wdb_store_merge(f->store);
}

static int do_backup(struct store_fixture *f)
{
    char name[32];
    static int number;
    snprintf(name, sizeof(name), "/copy-%d", number++);
    return wdb_store_backup(f->store, name, NULL, NULL);
}

static int do_work(struct store_fixture *f)
{
    int rc = 0;
    for (int i = 0; i < 8 && rc == 0; i++) {
        rc = store_model_step(&f->model, f->store, &f->batch, 4);
        if (rc == 0) {
            rc = wdb_log_sync(wdb_store_log(f->store));
        }
        (void)wdb_log_step(wdb_store_log(f->store));
        (void)wdb_store_step(f->store);
    }
    return rc;
}

/*
 * The nth file operation during `run` fails with `error`. Whatever comes of it:
 * reads go on, the store opens again, and holds all that was durable.
 */
static bool fail_nth(operation run, uint64_t n, int error)
{
    struct store_fixture f;
    store_fixture_init(&f, n % 5 + 1);
    f.options.merge_enabled = true;
    if (!store_fixture_open(&f)) {
        return false;
    }
    store_fixture_run(&f, 60);
    store_fixture_check(&f);
    sim_env_fail(
        f.env, (struct sim_fault){.op = SIM_OP_ANY, .nth = n, .error = error});
    const int rc = run(&f);
    const bool failed = sim_env_clear_faults(f.env) > 0;
    CHECK(rc == 0 || failed);
    store_fixture_check(&f);
    if (wdb_log_failure(wdb_store_log(f.store)) != 0) {
        const uint64_t durable = wdb_log_durable(wdb_store_log(f.store));
        wdb_store_abandon(f.store);
        f.store = NULL;
        if (store_fixture_open(&f)) {
            const uint64_t last = wdb_log_index_last(wdb_store_log(f.store));
            CHECK(last >= durable);
            CHECK(store_model_check(&f.model, f.store,
                                    store_model_at(&f.model, last)));
        }
    } else {
        wait_a_while(&f);
        const int again = run(&f);
        CHECK_EQ(again, 0);
        if (again != 0) {
            printf("  operation %llu, %d: then %d, now %d\n",
                   (unsigned long long)n, error, rc, again);
        }
        store_fixture_settle(&f);
        store_fixture_check(&f);
        CHECK(store_fixture_reopen(&f));
        store_fixture_check(&f);
    }
    store_fixture_release(&f);
    return failed;
}

static void sweep(operation run)
{
    static const int errors[] = {WALKERDB_EIO, WALKERDB_ENOSPACE};
    for (size_t e = 0; e < 2; e++) {
        uint64_t n = 1;
        while (fail_nth(run, n, errors[e]) && !test_has_failed()) {
            n++;
        }
        CHECK(n > 10);
    }
}

TEST(merge_with_failing_files)
{
    sweep(do_merge);
}

TEST(backup_with_failing_files)
{
    sweep(do_backup);
}

TEST(work_with_failing_files)
{
    sweep(do_work);
}

/* Opening with a failing file operation: an error, or all is there. */
TEST(open_with_failing_files)
{
    for (uint64_t n = 1; !test_has_failed(); n++) {
        struct store_fixture f;
        store_fixture_init(&f, 2);
        REQUIRE(store_fixture_open(&f));
        store_fixture_run(&f, 60);
        wdb_store_close(f.store);
        f.store = NULL;
        sim_env_fail(f.env, (struct sim_fault){.op = SIM_OP_ANY,
                                               .nth = n,
                                               .error = WALKERDB_EIO});
        const int rc = wdb_store_open(&f.options, &f.store, NULL);
        const bool failed = sim_env_clear_faults(f.env) > 0;
        CHECK(rc == 0 || failed);
        if (rc != 0) {
            f.store = NULL;
            CHECK_EQ(sim_env_open_count(f.env), 0);
            REQUIRE(store_fixture_open(&f));
        }
        store_fixture_check(&f);
        store_fixture_release(&f);
        if (!failed) {
            CHECK(n > 10);
            return;
        }
    }
}
