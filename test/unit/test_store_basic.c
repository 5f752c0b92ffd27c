/* test_store_basic.c - batches, reads and reopening against the model. */
#include <stdio.h>
#include <stdlib.h>

#include "lib/test.h"
#include "sim/sim_env.h"
#include "sim/store_model.h"

#define SEGMENT_SIZE ((uint64_t)64 << 10)

struct fixture {
    struct sim_disk *disk;
    struct sim_env *env;
    struct wdb_store_options options;
    struct wdb_store *store;
    struct wdb_batch batch;
    struct store_model model;
};

static bool fixture_open(struct fixture *f)
{
    char *message = NULL;
    const int rc = wdb_store_open(&f->options, &f->store, &message);
    if (rc != 0) {
        fprintf(stderr, "open: %d %s\n", rc, message == NULL ? "" : message);
        free(message);
    }
    CHECK_EQ(rc, 0);
    return rc == 0;
}

static bool fixture_init(struct fixture *f, uint64_t seed)
{
    f->disk = sim_disk_new();
    f->env = sim_env_new(f->disk, seed, NULL);
    wdb_store_options_init(&f->options);
    f->options.log.env = sim_env_base(f->env);
    f->options.log.dir = "/db";
    f->options.log.create = true;
    f->options.log.background_thread = false;
    f->options.log.segment_size = SEGMENT_SIZE;
    f->options.load_threads = 1;
    f->options.stripe_count = 4;
    f->options.merge_enabled = false;
    wdb_batch_init(&f->batch);
    store_model_init(&f->model, seed);
    return fixture_open(f);
}

static void fixture_release(struct fixture *f)
{
    wdb_store_close(f->store);
    wdb_batch_release(&f->batch);
    store_model_release(&f->model);
    CHECK_EQ(sim_env_open_count(f->env), 0);
    sim_env_free(f->env);
    sim_disk_free(f->disk);
}

static void steps(struct fixture *f, int count)
{
    for (int i = 0; i < count && !test_has_failed(); i++) {
        CHECK_EQ(store_model_step(&f->model, f->store, &f->batch,
                                  1 + (uint32_t)i % 5),
                 0);
        if (i % 3 == 0) {
            CHECK_EQ(wdb_log_flush(wdb_store_log(f->store)), 0);
            while (wdb_log_step(wdb_store_log(f->store))) {
            }
        }
        while (wdb_store_step(f->store)) {
        }
    }
}

static void check(struct fixture *f)
{
    CHECK(store_model_check(&f->model, f->store, f->model.state_count - 1));
}

/* Random batches are there at once, and after every reopening. */
TEST(batches_survive_reopening)
{
    const uint64_t seeds = test_number("WDB_TEST_ROUNDS", 20);
    for (uint64_t seed = 1; seed <= seeds && !test_has_failed(); seed++) {
        struct fixture f;
        REQUIRE(fixture_init(&f, seed));
        for (int round = 0; round < 6 && !test_has_failed(); round++) {
            steps(&f, 60);
            check(&f);
            wdb_store_close(f.store);
            REQUIRE(fixture_open(&f));
            check(&f);
        }
        fixture_release(&f);
    }
}
