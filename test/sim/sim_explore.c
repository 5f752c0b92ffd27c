/* sim_explore.c - crash states of a workload, one after the other. */
#include "sim/sim_explore.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/assert.h"

/* A power cut during recovery comes within so many operations. */
#define NESTED_OPS_MAX 48

struct run {
    const struct sim_explore *options;
    struct sim_explore_result *result;
};

static uint64_t mix(uint64_t a, uint64_t b)
{
    struct wdb_random random;

    wdb_random_seed(&random, a ^ (b * UINT64_C(0x9e3779b97f4a7c15)));
    return wdb_random_next(&random);
}

/* A recovery that does not get to its end. */
static void crash_recovery(const struct sim_explore *options,
                           struct sim_disk *disk, uint64_t seed,
                           struct wdb_random *random)
{
    struct sim_env *env = sim_env_new(disk, seed + 1, NULL);

    sim_env_die_after(env, wdb_random_below(random, NESTED_OPS_MAX));
    options->recover(options->context, env);
    sim_env_free(env);
    sim_disk_crash(
        disk,
        (enum sim_crash_policy)wdb_random_below(random, SIM_CRASH_POLICY_COUNT),
        random);
}

static void look(struct run *run, struct sim_env *env,
                 const struct sim_state *state)
{
    const struct sim_explore *options = run->options;
    struct sim_disk *disk = sim_disk_clone(sim_env_disk(env));
    struct wdb_random random;

    wdb_random_seed(&random, state->seed);
    sim_disk_crash(disk, state->policy, &random);
    if (state->is_nested) {
        crash_recovery(options, disk, state->seed, &random);
    }
    struct sim_env *crashed = sim_env_new(disk, state->seed, NULL);
    run->result->state_count++;
    if (!options->check(options->context, crashed, state)) {
        if (run->result->failure_count++ == 0) {
            run->result->failure = *state;
        }
    }
    sim_env_free(crashed);
    sim_disk_free(disk);
}

static bool is_finished(const struct run *run)
{
    const struct sim_explore *options = run->options;
    uint64_t failures_max =
        options->failure_count_max != 0 ? options->failure_count_max : 1;

    return run->result->failure_count >= failures_max ||
           (options->state_count_max != 0 &&
            run->result->state_count >= options->state_count_max);
}

/* All states of one policy at this moment. */
static void look_policy(struct run *run, struct sim_env *env, enum sim_op op,
                        uint64_t number, enum sim_crash_policy policy)
{
    const struct sim_explore *options = run->options;
    bool is_certain = policy == SIM_CRASH_DROP || policy == SIM_CRASH_KEEP;
    uint32_t count =
        options->states_per_policy != 0 ? options->states_per_policy : 1;
    uint64_t seed = mix(mix(options->seed, number), (uint64_t)policy);

    if (is_certain) {
        count = options->recover != NULL ? 2 : 1;
    }
    for (uint32_t i = 0; i < count && !is_finished(run); i++) {
        struct sim_state state = {.op_number = number,
                                  .op = op,
                                  .policy = policy,
                                  .seed = mix(seed, i),
                                  .is_nested =
                                      options->recover != NULL && i % 2 == 1};
        look(run, env, &state);
    }
}

static void on_operation(void *context, struct sim_env *env, enum sim_op op,
                         uint64_t number)
{
    struct run *run = context;
    const struct sim_explore *options = run->options;
    uint64_t first = options->op_first != 0 ? options->op_first : 1;
    uint64_t stride = options->op_stride != 0 ? options->op_stride : 1;

    run->result->op_count = number;
    if (options->only != NULL) {
        if (number == options->only->op_number) {
            look(run, env, options->only);
        }
        return;
    }
    if (number < first || (number - first) % stride != 0) {
        return;
    }
    if (sim_disk_pending(sim_env_disk(env)) == 0) {
        /* Nothing can be lost: all policies come to the same. */
        look_policy(run, env, op, number, SIM_CRASH_KEEP);
        return;
    }
    for (enum sim_crash_policy p = 0; p < SIM_CRASH_POLICY_COUNT; p++) {
        if (options->policies == 0 ||
            (options->policies & (1U << (unsigned)p)) != 0) {
            look_policy(run, env, op, number, p);
        }
    }
}

void sim_explore(const struct sim_explore *explore,
                 struct sim_explore_result *result_out)
{
    struct run run = {.options = explore, .result = result_out};

    *result_out = (struct sim_explore_result){0};
    struct sim_env *env = sim_env_new(explore->disk, explore->seed, NULL);
    sim_env_set_hook(env, on_operation, &run);
    explore->workload(explore->context, env);
    sim_env_free(env);
}

void sim_state_print(const struct sim_state *state, char *out, size_t size)
{
    int length =
        snprintf(out, size, "op %" PRIu64 " (%s), %s, seed 0x%" PRIx64 "%s",
                 state->op_number, sim_op_name(state->op),
                 sim_crash_policy_name(state->policy), state->seed,
                 state->is_nested ? ", nested" : "");

    wdb_assert(length >= 0);
}
