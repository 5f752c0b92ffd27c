/* test_store_backup.c - backups are databases of their own. */
#include <stdlib.h>

#include "fault_alloc.h"
#include "lib/test.h"
#include "sim/store_fixture.h"
#include "walkerdb.h"

#define COPY "/copy"

/* Open the copy as a store on the same disk. */
static struct wdb_store *open_copy(struct store_fixture *f)
{
    struct wdb_store_options options = f->options;
    struct wdb_store *store = NULL;
    char *message = NULL;
    options.log.dir = COPY;
    options.log.create = false;
    const int rc = wdb_store_open(&options, &store, &message);
    CHECK_EQ(rc, 0);
    CHECK_STR(message == NULL ? "" : message, "");
    free(message);
    return rc == 0 ? store : NULL;
}

/* A backup holds what was there when it was made, whatever happens to the
 * original afterwards, and takes writes of its own. */
TEST(backup_opens)
{
    for (uint64_t seed = 1; seed <= 12 && !test_has_failed(); seed++) {
        struct store_fixture f;
        store_fixture_init(&f, seed);
        f.options.merge_enabled = seed % 2 == 0;
        REQUIRE(store_fixture_open(&f));
        store_fixture_run(&f, 100);
        if (seed % 3 == 0) {
            CHECK_EQ(wdb_store_merge(f.store), 0);
        }
        CHECK_EQ(wdb_store_backup(f.store, COPY, NULL, NULL), 0);
        const uint32_t state = f.model.state_count - 1;
        store_fixture_run(&f, 40);
        CHECK_EQ(wdb_store_merge(f.store), 0);
        store_fixture_check(&f);
        struct wdb_store *copy = open_copy(&f);
        REQUIRE(copy != NULL);
        CHECK(store_model_check(&f.model, copy, state));
        f.model.state_count = state + 1;
        store_model_forget(&f.model);
        struct wdb_store *original = f.store;
        f.store = copy;
        store_fixture_run(&f, 40);
        CHECK_EQ(wdb_store_merge(f.store), 0);
        store_fixture_check(&f);
        wdb_store_close(copy);
        f.store = open_copy(&f);
        REQUIRE(f.store != NULL);
        store_fixture_check(&f);
        wdb_store_close(f.store);
        f.store = original;
        store_fixture_release(&f);
    }
}

/* Where there are no links, files are copied. */
TEST(backup_copies)
{
    struct store_fixture f;
    store_fixture_init(&f, 3);
    REQUIRE(store_fixture_open(&f));
    store_fixture_run(&f, 100);
    sim_env_fail(f.env, (struct sim_fault){.op = SIM_OP_LINK,
                                           .nth = 1,
                                           .error = WALKERDB_EUNSUPPORTED,
                                           .is_sticky = true});
    CHECK_EQ(wdb_store_backup(f.store, COPY, NULL, NULL), 0);
    CHECK(sim_env_clear_faults(f.env) > 0);
    struct wdb_store *copy = open_copy(&f);
    REQUIRE(copy != NULL);
    CHECK(store_model_check(&f.model, copy, f.model.state_count - 1));
    wdb_store_close(copy);
    store_fixture_release(&f);
}

/* A directory that is there is left alone. */
TEST(backup_needs_a_new_directory)
{
    struct store_fixture f;
    store_fixture_init(&f, 4);
    REQUIRE(store_fixture_open(&f));
    store_fixture_run(&f, 20);
    CHECK_EQ(wdb_store_backup(f.store, COPY, NULL, NULL), 0);
    CHECK_EQ(wdb_store_backup(f.store, COPY, NULL, NULL), WALKERDB_EEXISTS);
    CHECK_EQ(wdb_store_backup(f.store, "/none/copy", NULL, NULL),
             WALKERDB_ENOTFOUND);
    struct wdb_store *copy = open_copy(&f);
    REQUIRE(copy != NULL);
    wdb_store_close(copy);
    store_fixture_release(&f);
}

static int stop_at_half(void *context, uint64_t done, uint64_t total)
{
    uint64_t *calls = context;
    ++*calls;
    CHECK(done <= total);
    return done * 2 > total;
}

/* Whoever watches the progress may stop it; nothing is left then. */
TEST(backup_stops)
{
    struct store_fixture f;
    uint64_t calls = 0;
    store_fixture_init(&f, 5);
    f.model.value_size_max = 3000;
    REQUIRE(store_fixture_open(&f));
    store_fixture_run(&f, 150);
    CHECK_EQ(wdb_store_backup(f.store, COPY, stop_at_half, &calls),
             WALKERDB_EABORTED);
    CHECK(calls > 0);
    CHECK_EQ(wdb_store_backup(f.store, COPY, NULL, NULL), 0);
    store_fixture_check(&f);
    store_fixture_release(&f);
}

/* While a merge is half done, before and after it is switched in. */
TEST(backup_beside_a_merge)
{
    for (int steps = 0; steps < 12 && !test_has_failed(); steps++) {
        struct store_fixture f;
        store_fixture_init(&f, 6);
        f.options.merge_enabled = true;
        f.options.merge_ratio = 0.1;
        f.model.value_size_max = 2000;
        REQUIRE(store_fixture_open(&f));
        for (int i = 0; i < 120; i++) {
            CHECK_EQ(store_model_step(&f.model, f.store, &f.batch, 5), 0);
            while (wdb_log_step(wdb_store_log(f.store))) {
            }
        }
        for (int i = 0; i < steps; i++) {
            (void)wdb_store_step(f.store);
        }
        CHECK_EQ(wdb_store_backup(f.store, COPY, NULL, NULL), 0);
        store_fixture_settle(&f);
        store_fixture_check(&f);
        struct wdb_store *copy = open_copy(&f);
        REQUIRE(copy != NULL);
        CHECK(store_model_check(&f.model, copy, f.model.state_count - 1));
        wdb_store_close(copy);
        store_fixture_release(&f);
    }
}

/* With commits by hand a backup holds what is committed, up to any entry, and
 * opens by itself; the original has all. */
TEST(backup_of_what_is_committed)
{
    for (uint64_t seed = 1; seed <= 40 && !test_has_failed(); seed++) {
        struct store_fixture f;
        uint64_t index = UINT64_MAX;
        store_fixture_init(&f, seed);
        f.options.log.manual_commit = true;
        f.options.merge_enabled = seed % 4 == 0;
        REQUIRE(store_fixture_open(&f));
        struct wdb_log *log = wdb_store_log(f.store);
        store_fixture_run(&f, 50);
        CHECK_EQ(wdb_log_sync(log), 0);
        const uint64_t last = wdb_log_index_last(log);
        uint64_t committed = wdb_random_below(&f.model.random, last + 1);
        committed = seed == 1 ? 0 : seed == 2 ? last : committed;
        wdb_store_set_committed(f.store, committed);
        wdb_log_set_retained(log, committed + 1);
        if (seed % 4 == 0) {
            store_fixture_run(&f, 10);
        }
        CHECK_EQ(wdb_store_backup_to(f.store, COPY, NULL, NULL, &index), 0);
        CHECK_EQ(index, committed);
        store_fixture_check(&f);
        f.options.log.manual_commit = false;
        struct wdb_store *copy = open_copy(&f);
        REQUIRE(copy != NULL);
        CHECK_EQ(wdb_log_index_last(wdb_store_log(copy)), committed);
        CHECK(store_model_check(&f.model, copy,
                                store_model_at(&f.model, committed)));
        CHECK_EQ(wdb_store_merge(copy), 0);
        wdb_store_close(copy);
        REQUIRE(store_fixture_reopen(&f)); /* its files are as they were */
        store_fixture_check(&f);
        store_fixture_release(&f);
    }
}

/* Of a member of a cluster: what tells the member is not in it. */
TEST(backup_is_no_member)
{
    struct store_fixture f;
    struct wdb_manifest manifest;
    store_fixture_init(&f, 7);
    f.options.log.manual_commit = true;
    REQUIRE(store_fixture_open(&f));
    struct wdb_log *log = wdb_store_log(f.store);
    store_fixture_run(&f, 30);
    CHECK_EQ(wdb_log_sync(log), 0);
    const uint64_t last = wdb_log_index_last(log);
    wdb_store_set_committed(f.store, last);
    REQUIRE_EQ(wdb_log_set_base(log, true, wdb_slice("who I am", 8), 5), 0);
    CHECK_EQ(wdb_store_backup(f.store, COPY, NULL, NULL), 0);
    REQUIRE_EQ(wdb_manifest_load(sim_env_base(f.env), COPY, &manifest), 0);
    CHECK(!manifest.cluster);
    CHECK_EQ(manifest.raft.size, 0);
    CHECK_EQ(manifest.index_retained, 0);
    CHECK_EQ(manifest.index_committed, last);
    wdb_manifest_release(&manifest);
    f.options.log.manual_commit = false;
    struct wdb_store *copy = open_copy(&f);
    REQUIRE(copy != NULL);
    CHECK(store_model_check(&f.model, copy, f.model.state_count - 1));
    wdb_store_close(copy);
    store_fixture_release(&f);
}

/* A backup that fails when the open segment is finished, but not sealed: the
 * next one has it all the same. */
TEST(backup_after_one_that_failed)
{
    for (uint64_t n = 1; n < 60 && !test_has_failed(); n++) {
        struct store_fixture f;
        store_fixture_init(&f, 8);
        REQUIRE(store_fixture_open(&f));
        store_fixture_run(&f, 30);
        fault_alloc_arm(n);
        const int rc = wdb_store_backup(f.store, COPY, NULL, NULL);
        (void)fault_alloc_disarm();
        if (rc != 0) {
            CHECK_EQ(wdb_store_backup(f.store, COPY, NULL, NULL), 0);
        }
        struct wdb_store *copy = open_copy(&f);
        REQUIRE(copy != NULL);
        CHECK(store_model_check(&f.model, copy, f.model.state_count - 1));
        wdb_store_close(copy);
        store_fixture_release(&f);
    }
}
