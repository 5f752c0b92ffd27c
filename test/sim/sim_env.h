/*
 * sim_env.h - a simulated environment: files on a sim_disk, virtual time,
 * randomness from a seed, and every failure on demand.
 *
 * One env is one process on the machine that has the disk. Two envs on one
 * disk are two processes: they see the same files, and lock each other out.
 *
 *     struct sim_disk *disk = sim_disk_new();
 *     struct sim_env *env = sim_env_new(disk, seed, NULL);
 *     ... run production code with sim_env_base(env) ...
 *     sim_env_free(env);           // the process died; the disk goes on
 *     sim_disk_crash(disk, SIM_CRASH_REORDER_512, &random);  // power cut
 *     env = sim_env_new(disk, seed, NULL);
 *     ... recover, look what is there ...
 *
 * To look at the crash after every operation of a workload: sim_explore.h.
 *
 * Operations that change files are numbered from 1 as they come: CREATE,
 * WRITE, SYNC, ALLOCATE, TRUNCATE, RENAME, LINK, UNLINK, MKDIR, RMDIR,
 * SYNC_DIR, LOCK. Refused ones (by a fault) have a number, too; those after
 * the death of the machine have none.
 *
 * Threads: any; one lock per disk. Runs are reproducible only with one thread.
 */
#ifndef WDB_TEST_SIM_ENV_H
#define WDB_TEST_SIM_ENV_H

#include "env/env.h"
#include "sim/sim_disk.h"

struct sim_env;

enum sim_op {
    SIM_OP_OPEN,   /* of an existing file */
    SIM_OP_CREATE, /* open with WDB_OPEN_CREATE */
    SIM_OP_READ,
    SIM_OP_WRITE,
    SIM_OP_SYNC,
    SIM_OP_ALLOCATE,
    SIM_OP_TRUNCATE,
    SIM_OP_SIZE,
    SIM_OP_MAP,
    SIM_OP_RESIDENT,
    SIM_OP_RENAME,
    SIM_OP_LINK,
    SIM_OP_UNLINK,
    SIM_OP_MKDIR,
    SIM_OP_RMDIR,
    SIM_OP_LIST,
    SIM_OP_SYNC_DIR,
    SIM_OP_LOCK,
    SIM_OP_FREE_SPACE,
    SIM_OP_COUNT,
    SIM_OP_ANY,      /* faults only: any of the above */
    SIM_OP_MUTATING, /* faults only: any that changes files */
};

const char *sim_op_name(enum sim_op op);

/* Virtual time; several envs (the nodes of a cluster) may share one. */
struct sim_clock {
    uint64_t monotonic_ns;
    uint64_t start_ms; /* wall clock when monotonic_ns was 0 */
};

/*
 * A process on this disk (borrowed; it must outlive the env). `clock` is
 * borrowed too; NULL: one of its own, that starts at 2026-01-01. Never NULL.
 */
struct sim_env *sim_env_new(struct sim_disk *disk, uint64_t seed,
                            struct sim_clock *clock);
/* The process is gone: its open files are closed, its locks free, mappings
 * unmapped. What it left open must not be touched afterwards, not even to
 * close it. What it wrote stays in the page cache of the disk. */
void sim_env_free(struct sim_env *env);
/* What production code wants. */
struct wdb_env *sim_env_base(struct sim_env *env);
struct sim_disk *sim_env_disk(struct sim_env *env);
/* Open files and mappings: 0 when all was closed. */
size_t sim_env_open_count(struct sim_env *env);

/* --- time ----------------------------------------------------------------- */

void sim_env_advance_ms(struct sim_env *env, uint64_t ms);
/* Move the wall clock of this env alone, forward or back. */
void sim_env_jump_ms(struct sim_env *env, int64_t ms);

/* --- counters ------------------------------------------------------------- */

/* Calls of one kind so far, failed ones included. */
uint64_t sim_env_count(struct sim_env *env, enum sim_op op);
/* The number of the last operation that changed files; 0: none yet. */
uint64_t sim_env_op_number(struct sim_env *env);

/* --- crashes -------------------------------------------------------------- */

/* Called after each numbered operation, with the disk's lock held: it may
 * clone the disk and read counters, but not call the env. */
typedef void (*sim_env_hook)(void *context, struct sim_env *env, enum sim_op op,
                             uint64_t number);
void sim_env_set_hook(struct sim_env *env, sim_env_hook hook, void *context);
/* The machine dies right after operation `number` (0: now; UINT64_MAX: never
 * again): from then on every operation says EIO and changes nothing. Follow
 * with sim_env_free() and sim_disk_crash(). */
void sim_env_die_after(struct sim_env *env, uint64_t number);
bool sim_env_is_dead(struct sim_env *env);

/* --- faults --------------------------------------------------------------- */

struct sim_fault {
    enum sim_op op;
    uint64_t nth;   /* of these operations from now on; 1 is the next one */
    int error;      /* what it returns; 0 only for a short read */
    bool is_sticky; /* all later ones fail, too */
    /* WRITE: some of the bytes are written first. READ: fewer bytes come, as
     * at the end of the file (with error 0). */
    bool is_partial;
};

#define SIM_FAULTS_MAX 16

/* Arm one more fault; at most SIM_FAULTS_MAX. A failed SYNC (EIO) leaves
 * some pages written, and the others clean in the eyes of the kernel: a later
 * sync says 0 and does nothing for them. */
void sim_env_fail(struct sim_env *env, struct sim_fault fault);
/* Each operation of this kind fails with this chance, in a million. One such
 * rule at a time for each kind; 0 ends it. */
void sim_env_fail_rate(struct sim_env *env, enum sim_op op,
                       uint32_t per_million, int error);
/* Disarm all faults; returns how many operations were made to fail. */
uint64_t sim_env_clear_faults(struct sim_env *env);

#endif
