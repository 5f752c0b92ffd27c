/*
 * sim_explore.h - run a workload once, and look at the machine after a power
 * cut at each of its file operations.
 *
 * The workload runs on a simulated disk. After each numbered operation it is
 * paused; for each policy and some seeds the disk is cloned, the clone
 * crashes, and check() opens it as a new process would. The workload's own
 * notes (what was acknowledged) are as they were at that moment, so check()
 * just compares: what is there must cover them.
 *
 *     static bool check(void *context, struct sim_env *env,
 *                       const struct sim_state *state)
 *     {
 *         struct notes *notes = context;
 *         ... open the database with sim_env_base(env), compare, close ...
 *     }
 *
 *     struct sim_explore explore = {.disk = disk, .seed = 1,
 *                                   .states_per_policy = 4,
 *                                   .workload = workload, .check = check,
 *                                   .recover = recover, .context = &notes};
 *     struct sim_explore_result result;
 *     sim_explore(&explore, &result);
 *     CHECK_EQ(result.failure_count, 0);
 *
 * A state that failed is run again alone with .only = &result.failure.
 */
#ifndef WDB_TEST_SIM_EXPLORE_H
#define WDB_TEST_SIM_EXPLORE_H

#include "sim/sim_env.h"

/* One power cut: when, how, and the seed of what was left to chance. */
struct sim_state {
    uint64_t op_number;
    enum sim_op op;
    enum sim_crash_policy policy;
    uint64_t seed;
    bool is_nested; /* a second power cut came during recovery */
};

struct sim_explore {
    struct sim_disk *disk; /* the caller's; the workload's env is made on it */
    uint64_t seed;
    /* For each operation and policy that leaves something to chance. 0: 1. */
    uint32_t states_per_policy;
    /* Bits (1 << policy); 0: all. */
    uint32_t policies;
    /* Look after operations first, first + stride, ... 0: 1. */
    uint64_t op_first, op_stride;
    uint64_t state_count_max;   /* 0: no limit */
    uint64_t failure_count_max; /* stop looking then; 0: 1 */
    const struct sim_state *only;

    /* What the application does. The env is freed afterwards. */
    void (*workload)(void *context, struct sim_env *env);
    /* Look at what a crash left. False: that is a failure. */
    bool (*check)(void *context, struct sim_env *env,
                  const struct sim_state *state);
    /* May be NULL. Open and close, whatever comes of it: half of the states
     * get a second power cut in here, before check(). */
    void (*recover)(void *context, struct sim_env *env);
    void *context;
};

struct sim_explore_result {
    uint64_t op_count;
    uint64_t state_count;
    uint64_t failure_count;
    struct sim_state failure; /* the first */
};

/* Thread: check() and recover() run on the caller's, inside the workload's
 * operations; they must not use the workload's env. */
void sim_explore(const struct sim_explore *explore,
                 struct sim_explore_result *result_out);

/* "op 17 (sync), reorder-512, seed 0x1234, nested" into out. */
void sim_state_print(const struct sim_state *state, char *out, size_t size);

#endif
