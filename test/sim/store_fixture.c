/* store_fixture.c - opens and drives a store on a simulated disk. */
#include "sim/store_fixture.h"

#include <stdio.h>
#include <stdlib.h>

#include "lib/test.h"

void store_fixture_init(struct store_fixture *f, uint64_t seed)
{
    *f = (struct store_fixture){.disk = sim_disk_new()};
    f->env = sim_env_new(f->disk, seed, NULL);
    wdb_store_options_init(&f->options);
    f->options.log.env = sim_env_base(f->env);
    f->options.log.dir = "/db";
    f->options.log.create = true;
    f->options.log.background_thread = false;
    f->options.log.segment_size = WDB_SEGMENT_SIZE_MIN;
    f->options.load_threads = 1;
    f->options.stripe_count = 4;
    f->options.merge_enabled = false;
    f->options.merge_rate = 0;
    wdb_batch_init(&f->batch);
    store_model_init(&f->model, seed);
}

bool store_fixture_open(struct store_fixture *f)
{
    char *message = NULL;
    const int rc = wdb_store_open(&f->options, &f->store, &message);
    if (rc != 0) {
        fprintf(stderr, "open: %d %s\n", rc, message == NULL ? "" : message);
        free(message);
        f->store = NULL;
    }
    CHECK_EQ(rc, 0);
    return rc == 0;
}

void store_fixture_release(struct store_fixture *f)
{
    wdb_store_close(f->store);
    wdb_batch_release(&f->batch);
    store_model_release(&f->model);
    CHECK_EQ(sim_env_open_count(f->env), 0);
    sim_env_free(f->env);
    sim_disk_free(f->disk);
}

bool store_fixture_reopen(struct store_fixture *f)
{
    wdb_store_close(f->store);
    f->store = NULL;
    CHECK_EQ(sim_env_open_count(f->env), 0);
    return store_fixture_open(f);
}

void store_fixture_settle(struct store_fixture *f)
{
    bool busy = true;
    for (int i = 0; busy && i < 100000; i++) {
        busy = wdb_log_step(wdb_store_log(f->store));
        busy |= wdb_store_step(f->store);
    }
    CHECK(!busy);
}

void store_fixture_run(struct store_fixture *f, int count)
{
    for (int i = 0; i < count && !test_has_failed(); i++) {
        CHECK_EQ(store_model_step(&f->model, f->store, &f->batch,
                                  1 + (uint32_t)i % 5),
                 0);
        if (i % 3 == 0) {
            CHECK_EQ(wdb_log_flush(wdb_store_log(f->store)), 0);
        }
        (void)wdb_log_step(wdb_store_log(f->store));
        (void)wdb_store_step(f->store);
    }
}

void store_fixture_check(struct store_fixture *f)
{
    CHECK(store_model_check(&f->model, f->store, f->model.state_count - 1));
}
