/*
 * store_fixture.h - a store on a simulated disk, beside its model.
 */
#ifndef WDB_TEST_SIM_STORE_FIXTURE_H
#define WDB_TEST_SIM_STORE_FIXTURE_H

#include "sim/sim_env.h"
#include "sim/store_model.h"

struct store_fixture {
    struct sim_disk *disk;
    struct sim_env *env;
    struct wdb_store_options options;
    struct wdb_store *store; /* NULL while closed */
    struct wdb_batch batch;
    struct store_model model;
};

/* Small segments, one thread, no merge in the background; nothing is open yet,
 * so options may be changed. */
void store_fixture_init(struct store_fixture *f, uint64_t seed);
/* Open; a failure is a failed check. */
bool store_fixture_open(struct store_fixture *f);
/* Close, check that nothing was left open, free. */
void store_fixture_release(struct store_fixture *f);
/* Close and open again. */
bool store_fixture_reopen(struct store_fixture *f);
/* Random batches; log and background work are stepped in between. */
void store_fixture_run(struct store_fixture *f, int count);
/* Let all background work run that can. */
void store_fixture_settle(struct store_fixture *f);
/* The store holds what the model says. */
void store_fixture_check(struct store_fixture *f);

#endif
