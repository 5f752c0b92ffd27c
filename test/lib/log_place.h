/*
 * log_place.h - an environment with a directory for a log under test: the real
 * one in a temporary directory, or a simulated machine.
 */
#ifndef WDB_TEST_LIB_LOG_PLACE_H
#define WDB_TEST_LIB_LOG_PLACE_H

#include "lib/log_fixture.h"
#include "lib/test.h"
#include "sim/sim_env.h"

struct log_place {
    struct wdb_env *env;
    const char *dir;
    struct sim_env *sim; /* NULL: the real one */
    struct sim_disk *disk;
};

static inline struct log_place log_place_posix(void)
{
    struct log_place place = {0};
    CHECK_EQ(wdb_env_posix_new(&place.env), 0);
    place.dir = test_path(test_tmpdir(), "db");
    return place;
}

static inline struct log_place log_place_sim(void)
{
    struct log_place place = {.dir = "/db"};
    place.disk = sim_disk_new();
    place.sim = sim_env_new(place.disk, 1, NULL);
    place.env = sim_env_base(place.sim);
    return place;
}

/* The process dies (without a power cut), and another one begins. */
static inline void log_place_restart(struct log_place *place)
{
    sim_env_free(place->sim);
    place->sim = sim_env_new(place->disk, 2, NULL);
    place->env = sim_env_base(place->sim);
}

/* The power fails, and another process begins. */
static inline void log_place_crash(struct log_place *place,
                                   enum sim_crash_policy policy, uint64_t seed)
{
    struct wdb_random random;
    wdb_random_seed(&random, seed);
    sim_env_free(place->sim);
    sim_disk_crash(place->disk, policy, &random);
    place->sim = sim_env_new(place->disk, seed, NULL);
    place->env = sim_env_base(place->sim);
}

/* Done with it; nothing was left open. */
static inline void log_place_leave(struct log_place *place)
{
    if (place->sim != NULL) {
        CHECK_EQ(sim_env_open_count(place->sim), 0);
        sim_env_free(place->sim);
        sim_disk_free(place->disk);
    } else {
        wdb_env_posix_free(place->env);
    }
}

#endif
