/* sim_env_internal.h - the inside of a simulated environment. */
#ifndef WDB_TEST_SIM_ENV_INTERNAL_H
#define WDB_TEST_SIM_ENV_INTERNAL_H

#include "sim/sim_disk_internal.h"
#include "sim/sim_env.h"

struct sim_env {
    struct wdb_env env;
    struct sim_disk *disk;
    int64_t pid;
    struct sim_clock *clock;
    struct sim_clock clock_own;
    int64_t skew_ms;
    struct wdb_random random;       /* what the program sees */
    struct wdb_random random_fault; /* what the world does */
    struct wdb_list files;          /* struct sim_file.on_env */
    struct wdb_list mappings;       /* struct sim_mapping.on_env */
    uint64_t counts[SIM_OP_COUNT];
    uint64_t op_number;
    uint64_t die_after;
    bool is_dead;
    sim_env_hook hook;
    void *hook_context;
    struct sim_fault faults[SIM_FAULTS_MAX];
    size_t fault_count;
    struct {
        uint32_t per_million;
        int error;
    } rates[SIM_OP_COUNT];
    uint64_t faults_fired;
};

struct sim_file {
    struct wdb_file file;
    struct wdb_list on_env;
    struct sim_inode *inode; /* valid while crash_count is the disk's */
    uint64_t crash_count;
    bool is_writable;
};

/* An operation under way: between sim_op_begin and sim_op_end. */
struct sim_op_state {
    enum sim_op op;
    uint64_t number; /* 0: does not change files */
    bool is_partial; /* see struct sim_fault; error says the rest */
    int error;       /* do nothing (unless is_partial), and return it */
};

bool sim_op_is_mutating(enum sim_op op);
/* Lock the disk, count, and decide whether the operation fails. file may be
 * NULL. Returns the error. */
int sim_op_begin(struct sim_env *env, struct sim_file *file, enum sim_op op,
                 struct sim_op_state *state);
/* Call the hook, die if it is time, unlock. Returns `error`. */
int sim_op_end(struct sim_env *env, const struct sim_op_state *state,
               int error);

struct sim_env *sim_env_of(struct wdb_env *env);
struct sim_file *sim_file_of(struct wdb_file *file);

/* sim_env_map.c: the part of the table that has to do with mappings. */
int sim_map(struct wdb_file *file, uint64_t size, const void **out);
void sim_unmap(struct wdb_env *env, const void *data, uint64_t size);
bool sim_damaged(struct wdb_env *env, const void *data);
int sim_resident(struct wdb_env *env, const void *data, size_t size,
                 unsigned char *resident);
/* Unmap one, with the lock held. */
void sim_mapping_free(struct sim_mapping *mapping);

/* sim_env_names.c: the part that has to do with names. */
int sim_rename(struct wdb_env *env, const char *from, const char *to);
int sim_link(struct wdb_env *env, const char *from, const char *to);
int sim_unlink(struct wdb_env *env, const char *path);
int sim_mkdir(struct wdb_env *env, const char *path);
int sim_rmdir(struct wdb_env *env, const char *path);
int sim_list(struct wdb_env *env, const char *path, wdb_env_name_cb callback,
             void *context);
int sim_sync_dir(struct wdb_env *env, const char *path);

#endif
