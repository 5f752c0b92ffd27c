/* sim_env_fault.c - counts operations, and decides which fail. */
#include "base/assert.h"
#include "sim/sim_env_internal.h"
#include "walkerdb.h"

static const struct {
    const char *name;
    bool is_mutating;
} ops[SIM_OP_COUNT] = {
    [SIM_OP_OPEN] = {"open", false},
    [SIM_OP_CREATE] = {"create", true},
    [SIM_OP_READ] = {"read", false},
    [SIM_OP_WRITE] = {"write", true},
    [SIM_OP_SYNC] = {"sync", true},
    [SIM_OP_ALLOCATE] = {"allocate", true},
    [SIM_OP_TRUNCATE] = {"truncate", true},
    [SIM_OP_SIZE] = {"size", false},
    [SIM_OP_MAP] = {"map", false},
    [SIM_OP_RESIDENT] = {"resident", false},
    [SIM_OP_RENAME] = {"rename", true},
    [SIM_OP_LINK] = {"link", true},
    [SIM_OP_UNLINK] = {"unlink", true},
    [SIM_OP_MKDIR] = {"mkdir", true},
    [SIM_OP_RMDIR] = {"rmdir", true},
    [SIM_OP_LIST] = {"list", false},
    [SIM_OP_SYNC_DIR] = {"sync_dir", true},
    [SIM_OP_LOCK] = {"lock", true},
    [SIM_OP_FREE_SPACE] = {"free_space", false},
};

const char *sim_op_name(enum sim_op op)
{
    return op < SIM_OP_COUNT ? ops[op].name : "any";
}

bool sim_op_is_mutating(enum sim_op op)
{
    return ops[op].is_mutating;
}

static bool matches(const struct sim_fault *fault, enum sim_op op)
{
    return fault->op == op || fault->op == SIM_OP_ANY ||
           (fault->op == SIM_OP_MUTATING && sim_op_is_mutating(op));
}

/* Count the operation for every fault; take the first that is due. */
static void check_faults(struct sim_env *env, enum sim_op op,
                         struct sim_op_state *state)
{
    const struct sim_fault *due = NULL;

    for (size_t i = 0; i < env->fault_count; i++) {
        struct sim_fault *fault = &env->faults[i];

        if (!matches(fault, op)) {
            continue;
        }
        if (fault->nth > 1) {
            fault->nth--;
        } else if (fault->nth == 1) {
            fault->nth = fault->is_sticky ? 1 : 0;
            due = due == NULL ? fault : due;
        }
    }
    if (due != NULL) {
        state->error = due->error;
        state->is_partial =
            due->is_partial && (op == SIM_OP_WRITE || op == SIM_OP_READ);
        wdb_assert(state->error != 0 || state->is_partial);
        env->faults_fired++;
        return;
    }
    if (env->rates[op].per_million != 0 &&
        wdb_random_below(&env->random_fault, 1000000) <
            env->rates[op].per_million) {
        state->error = env->rates[op].error;
        env->faults_fired++;
    }
}

int sim_op_begin(struct sim_env *env, struct sim_file *file, enum sim_op op,
                 struct sim_op_state *state)
{
    sim_disk_lock(env->disk);
    *state = (struct sim_op_state){.op = op};
    env->counts[op]++;
    if (env->is_dead ||
        (file != NULL && file->crash_count != env->disk->crash_count)) {
        state->error = WALKERDB_EIO;
        return state->error;
    }
    if (sim_op_is_mutating(op)) {
        state->number = ++env->op_number;
    }
    check_faults(env, op, state);
    return state->error;
}

int sim_op_end(struct sim_env *env, const struct sim_op_state *state, int error)
{
    if (state->number != 0) {
        if (env->hook != NULL) {
            env->hook(env->hook_context, env, state->op, state->number);
        }
        if (env->die_after <= state->number) {
            env->is_dead = true;
        }
    }
    sim_disk_unlock(env->disk);
    return error;
}

void sim_env_fail(struct sim_env *env, struct sim_fault fault)
{
    sim_disk_lock(env->disk);
    wdb_assert(env->fault_count < SIM_FAULTS_MAX && fault.nth > 0);
    env->faults[env->fault_count++] = fault;
    sim_disk_unlock(env->disk);
}

void sim_env_fail_rate(struct sim_env *env, enum sim_op op,
                       uint32_t per_million, int error)
{
    sim_disk_lock(env->disk);
    for (enum sim_op i = 0; i < SIM_OP_COUNT; i++) {
        if (op == i || op == SIM_OP_ANY ||
            (op == SIM_OP_MUTATING && sim_op_is_mutating(i))) {
            env->rates[i].per_million = per_million;
            env->rates[i].error = error;
        }
    }
    sim_disk_unlock(env->disk);
}

uint64_t sim_env_clear_faults(struct sim_env *env)
{
    sim_disk_lock(env->disk);
    uint64_t fired = env->faults_fired;
    env->faults_fired = 0;
    env->fault_count = 0;
    for (int i = 0; i < SIM_OP_COUNT; i++) {
        env->rates[i].per_million = 0;
    }
    sim_disk_unlock(env->disk);
    return fired;
}

void sim_env_set_hook(struct sim_env *env, sim_env_hook hook, void *context)
{
    sim_disk_lock(env->disk);
    env->hook = hook;
    env->hook_context = context;
    sim_disk_unlock(env->disk);
}

void sim_env_die_after(struct sim_env *env, uint64_t number)
{
    sim_disk_lock(env->disk);
    env->die_after = number;
    env->is_dead = env->op_number >= number;
    sim_disk_unlock(env->disk);
}

bool sim_env_is_dead(struct sim_env *env)
{
    sim_disk_lock(env->disk);
    bool is_dead = env->is_dead;
    sim_disk_unlock(env->disk);
    return is_dead;
}

uint64_t sim_env_count(struct sim_env *env, enum sim_op op)
{
    wdb_assert(op < SIM_OP_COUNT);
    sim_disk_lock(env->disk);
    uint64_t count = env->counts[op];
    sim_disk_unlock(env->disk);
    return count;
}

uint64_t sim_env_op_number(struct sim_env *env)
{
    sim_disk_lock(env->disk);
    uint64_t number = env->op_number;
    sim_disk_unlock(env->disk);
    return number;
}
