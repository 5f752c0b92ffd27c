/* sim_env_names.c - names and directories of a simulated environment. */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "sim/sim_env_internal.h"
#include "walkerdb.h"

/* A name in a directory, and what it leads to (SIM_NO_INODE: nothing). */
struct entry {
    uint32_t dir;
    const char *name;
    uint32_t inode;
};

static int entry_find(struct sim_disk *disk, const char *path,
                      struct entry *out)
{
    int error = sim_disk_find_parent(disk, path, &out->dir, &out->name);

    if (error == 0) {
        out->inode =
            sim_names_find(&sim_disk_inode(disk, out->dir)->names, out->name);
    }
    return error;
}

/* The same, and it must lead somewhere. */
static int entry_find_existing(struct sim_disk *disk, const char *path,
                               struct entry *out)
{
    int error = entry_find(disk, path, out);

    if (error == 0 && out->inode == SIM_NO_INODE) {
        error = WALKERDB_ENOTFOUND;
    }
    return error;
}

/* May `from` take the place of what `to` leads to? */
static int rename_check(struct sim_disk *disk, const struct entry *from,
                        const struct entry *to)
{
    if (to->inode == SIM_NO_INODE) {
        return 0;
    }
    const struct sim_inode *source = sim_disk_inode(disk, from->inode);
    const struct sim_inode *target = sim_disk_inode(disk, to->inode);
    if (source->is_dir != target->is_dir) {
        return source->is_dir ? WALKERDB_ENOTFOUND : WALKERDB_EIO;
    }
    return target->is_dir && target->names.count != 0 ? WALKERDB_EBUSY : 0;
}

int sim_rename(struct wdb_env *base, const char *from, const char *to)
{
    struct sim_env *env = sim_env_of(base);
    struct sim_op_state state;
    struct entry source, target;
    int error = sim_op_begin(env, NULL, SIM_OP_RENAME, &state);

    if (error == 0) {
        error = entry_find_existing(env->disk, from, &source);
    }
    if (error == 0) {
        error = entry_find(env->disk, to, &target);
    }
    if (error == 0) {
        error = rename_check(env->disk, &source, &target);
    }
    if (error == 0 && source.inode != target.inode) {
        sim_disk_change_names(env->disk, source.dir, source.name, target.dir,
                              target.name, source.inode);
        sim_disk_collect(env->disk);
    }
    return sim_op_end(env, &state, error);
}

int sim_link(struct wdb_env *base, const char *from, const char *to)
{
    struct sim_env *env = sim_env_of(base);
    struct sim_op_state state;
    struct entry source, target;
    int error = sim_op_begin(env, NULL, SIM_OP_LINK, &state);

    if (error == 0) {
        error = entry_find_existing(env->disk, from, &source);
    }
    if (error == 0) {
        error = entry_find(env->disk, to, &target);
    }
    if (error == 0 && target.inode != SIM_NO_INODE) {
        error = WALKERDB_EEXISTS;
    }
    if (error == 0 && sim_disk_inode(env->disk, source.inode)->is_dir) {
        error = WALKERDB_EUNSUPPORTED;
    }
    if (error == 0) {
        sim_disk_change_names(env->disk, SIM_NO_INODE, NULL, target.dir,
                              target.name, source.inode);
    }
    return sim_op_end(env, &state, error);
}

/* unlink and rmdir. */
static int remove_entry(struct wdb_env *base, const char *path, enum sim_op op)
{
    struct sim_env *env = sim_env_of(base);
    struct sim_op_state state;
    struct entry entry;
    int error = sim_op_begin(env, NULL, op, &state);

    if (error == 0) {
        error = entry_find_existing(env->disk, path, &entry);
    }
    if (error == 0) {
        const struct sim_inode *inode = sim_disk_inode(env->disk, entry.inode);

        if (inode->is_dir != (op == SIM_OP_RMDIR)) {
            error = inode->is_dir ? WALKERDB_EIO : WALKERDB_ENOTFOUND;
        } else if (inode->is_dir && inode->names.count != 0) {
            error = WALKERDB_EBUSY;
        }
    }
    if (error == 0) {
        sim_disk_change_names(env->disk, entry.dir, entry.name, SIM_NO_INODE,
                              NULL, SIM_NO_INODE);
        sim_disk_collect(env->disk);
    }
    return sim_op_end(env, &state, error);
}

int sim_unlink(struct wdb_env *base, const char *path)
{
    return remove_entry(base, path, SIM_OP_UNLINK);
}

int sim_rmdir(struct wdb_env *base, const char *path)
{
    return remove_entry(base, path, SIM_OP_RMDIR);
}

int sim_mkdir(struct wdb_env *base, const char *path)
{
    struct sim_env *env = sim_env_of(base);
    struct sim_op_state state;
    struct entry entry;
    int error = sim_op_begin(env, NULL, SIM_OP_MKDIR, &state);

    if (error == 0) {
        error = entry_find(env->disk, path, &entry);
    }
    if (error == 0 && entry.inode != SIM_NO_INODE) {
        error = WALKERDB_EEXISTS;
    }
    if (error == 0 && sim_disk_room(env->disk) < SIM_PAGE) {
        error = WALKERDB_ENOSPACE;
    }
    if (error == 0) {
        uint32_t inode = sim_disk_inode_new(env->disk, true);
        sim_disk_change_names(env->disk, SIM_NO_INODE, NULL, entry.dir,
                              entry.name, inode);
    }
    return sim_op_end(env, &state, error);
}

int sim_list(struct wdb_env *base, const char *path, wdb_env_name_cb callback,
             void *context)
{
    struct sim_env *env = sim_env_of(base);
    struct sim_op_state state;
    struct sim_names names = {0};
    int result = sim_op_begin(env, NULL, SIM_OP_LIST, &state);

    if (result == 0) {
        uint32_t dir = sim_disk_find(env->disk, path);
        if (dir == SIM_NO_INODE || !sim_disk_inode(env->disk, dir)->is_dir) {
            result = WALKERDB_ENOTFOUND;
        } else {
            sim_names_copy(&sim_disk_inode(env->disk, dir)->names, &names);
        }
    }
    (void)sim_op_end(env, &state, result);
    /* A copy, so that the callback may change the directory. */
    for (size_t i = 0; i < names.count && result == 0; i++) {
        result = callback(context, names.items[i].name->text);
    }
    sim_names_release(&names);
    return result;
}

int sim_sync_dir(struct wdb_env *base, const char *path)
{
    struct sim_env *env = sim_env_of(base);
    struct sim_op_state state;
    int error = sim_op_begin(env, NULL, SIM_OP_SYNC_DIR, &state);

    if (error == 0) {
        uint32_t dir = sim_disk_find(env->disk, path);
        if (dir == SIM_NO_INODE || !sim_disk_inode(env->disk, dir)->is_dir) {
            error = WALKERDB_ENOTFOUND;
        } else {
            sim_disk_commit_names(env->disk, dir);
            sim_disk_collect(env->disk);
        }
    }
    return sim_op_end(env, &state, error);
}
