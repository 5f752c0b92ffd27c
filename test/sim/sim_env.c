/* sim_env.c - a process on a simulated machine: files, locks, time, chance. */
#include "sim/sim_env.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "sim/sim_env_internal.h"
#include "walkerdb.h"

#define START_MS UINT64_C(1767225600000) /* 2026-01-01 */

struct sim_env *sim_env_of(struct wdb_env *env)
{
    return WDB_CONTAINER_OF(env, struct sim_env, env);
}

struct sim_file *sim_file_of(struct wdb_file *file)
{
    return WDB_CONTAINER_OF(file, struct sim_file, file);
}

/* --- open and close ------------------------------------------------------- */

/* A handle on the inode; ENOMEM. */
static int file_new(struct sim_env *env, uint32_t number, bool is_writable,
                    struct wdb_file **out)
{
    struct sim_file *f = calloc(1, sizeof(*f));

    if (f == NULL) {
        return WALKERDB_ENOMEM;
    }
    f->file.env = &env->env;
    f->inode = sim_disk_inode(env->disk, number);
    f->inode->open_count++;
    f->crash_count = env->disk->crash_count;
    f->is_writable = is_writable;
    wdb_list_init(&f->on_env);
    wdb_list_append(&env->files, &f->on_env);
    *out = &f->file;
    return 0;
}

/* Open what is there, or create it. */
static int open_existing(struct sim_env *env, const char *path,
                         bool is_writable, struct wdb_file **out)
{
    uint32_t number = sim_disk_find(env->disk, path);

    if (number == SIM_NO_INODE) {
        return WALKERDB_ENOTFOUND;
    }
    if (sim_disk_inode(env->disk, number)->is_dir) {
        return WALKERDB_EIO;
    }
    return file_new(env, number, is_writable, out);
}

static int create(struct sim_env *env, const char *path, struct wdb_file **out)
{
    uint32_t dir = SIM_NO_INODE;
    const char *name = NULL;
    int error = sim_disk_find_parent(env->disk, path, &dir, &name);

    if (error != 0) {
        return error;
    }
    if (sim_disk_find(env->disk, path) != SIM_NO_INODE) {
        return WALKERDB_EEXISTS;
    }
    if (sim_disk_room(env->disk) < SIM_PAGE) {
        return WALKERDB_ENOSPACE;
    }
    uint32_t number = sim_disk_inode_new(env->disk, false);
    error = file_new(env, number, true, out);
    if (error != 0) {
        sim_disk_collect(env->disk);
        return error;
    }
    sim_disk_change_names(env->disk, SIM_NO_INODE, NULL, dir, name, number);
    return 0;
}

static int sim_open(struct wdb_env *base, const char *path,
                    enum wdb_open_mode mode, struct wdb_file **out)
{
    struct sim_env *env = sim_env_of(base);
    struct sim_op_state state;
    enum sim_op op = mode == WDB_OPEN_CREATE ? SIM_OP_CREATE : SIM_OP_OPEN;
    int error = sim_op_begin(env, NULL, op, &state);

    if (error == 0) {
        error = mode == WDB_OPEN_CREATE
                    ? create(env, path, out)
                    : open_existing(env, path, mode == WDB_OPEN_WRITE, out);
    }
    return sim_op_end(env, &state, error);
}

/* With the lock held. */
static void file_free(struct sim_env *env, struct sim_file *f)
{
    if (f->crash_count == env->disk->crash_count) {
        if (f->inode->lock_owner == f) {
            f->inode->lock_owner = NULL;
        }
        f->inode->open_count--;
        if (f->inode->link_count == 0) {
            sim_disk_collect(env->disk);
        }
    }
    wdb_list_remove(&f->on_env);
    free(f);
}

static void sim_close(struct wdb_file *file)
{
    struct sim_env *env = sim_env_of(file->env);

    sim_disk_lock(env->disk);
    file_free(env, sim_file_of(file));
    sim_disk_unlock(env->disk);
}

/* --- data ----------------------------------------------------------------- */

/* Bytes of [offset, offset + size) that the file has. */
static size_t readable_size(const struct sim_inode *inode, uint64_t offset,
                            size_t size)
{
    if (offset >= inode->content.size) {
        return 0;
    }
    uint64_t left = inode->content.size - offset;
    return size < left ? size : (size_t)left;
}

static int sim_pread(struct wdb_file *file, void *data, size_t size,
                     uint64_t offset, size_t *size_read_out)
{
    struct sim_file *f = sim_file_of(file);
    struct sim_env *env = sim_env_of(file->env);
    struct sim_op_state state;
    int error = sim_op_begin(env, f, SIM_OP_READ, &state);

    if (error == 0) {
        size_t count = readable_size(f->inode, offset, size);
        if (state.is_partial && count != 0) {
            count = (size_t)wdb_random_below(&env->random_fault, count);
        }
        if (count != 0 && sim_inode_is_unreadable(f->inode, offset, count)) {
            error = WALKERDB_EIO;
        } else {
            sim_content_read(&f->inode->content, data, offset, count);
            sim_inode_set_cold(f->inode, offset, count, false);
            *size_read_out = count;
        }
    }
    return sim_op_end(env, &state, error);
}

/* Does a sector at the edge have to be read first, and cannot be? */
static bool edge_is_unreadable(const struct sim_inode *inode, uint64_t offset,
                               size_t size)
{
    uint64_t end = offset + size;

    return (offset % SIM_SECTOR != 0 &&
            sim_inode_is_unreadable(inode, offset, 1)) ||
           (end % SIM_SECTOR != 0 &&
            sim_inode_is_unreadable(inode, end - 1, 1));
}

/* Write as much as there is room for. */
static int write_vector(struct sim_env *env, struct sim_inode *inode,
                        const struct iovec *vector, size_t size,
                        uint64_t offset)
{
    size_t pages = sim_pages_of(offset + size);
    int error = 0;

    if (pages > inode->pages_allocated) {
        uint64_t room = sim_disk_room(env->disk) / SIM_PAGE;
        if (pages - inode->pages_allocated > room) {
            uint64_t end = (inode->pages_allocated + room) * SIM_PAGE;
            size = end > offset ? (size_t)(end - offset) : 0;
            error = WALKERDB_ENOSPACE;
        }
    }
    if (size == 0) {
        return error;
    }
    if (edge_is_unreadable(inode, offset, size)) {
        return WALKERDB_EIO;
    }
    sim_inode_write(env->disk, inode, vector, size, offset);
    sim_inode_set_cold(inode, offset, size, false);
    if (inode->unreadable_count != 0) {
        sim_inode_heal(inode, offset, size);
        uint64_t page = offset / SIM_PAGE * SIM_PAGE;
        sim_inode_show(inode, page, offset + size - page + SIM_PAGE);
    } else {
        sim_inode_show(inode, offset, size);
    }
    return error;
}

static int sim_pwritev(struct wdb_file *file, const struct iovec *vector,
                       int count, uint64_t offset)
{
    struct sim_file *f = sim_file_of(file);
    struct sim_env *env = sim_env_of(file->env);
    struct sim_op_state state;
    int error = sim_op_begin(env, f, SIM_OP_WRITE, &state);
    size_t size = 0;

    for (int i = 0; i < count; i++) {
        size += vector[i].iov_len;
    }
    if (error == 0 && !f->is_writable) {
        error = WALKERDB_EIO;
    }
    if (state.is_partial && size != 0) {
        size = (size_t)wdb_random_below(&env->random_fault, size);
        (void)write_vector(env, f->inode, vector, size, offset);
    } else if (error == 0 && size != 0) {
        error = write_vector(env, f->inode, vector, size, offset);
    }
    return sim_op_end(env, &state, error);
}

static int sim_sync(struct wdb_file *file)
{
    struct sim_file *f = sim_file_of(file);
    struct sim_env *env = sim_env_of(file->env);
    struct sim_op_state state;
    int error = sim_op_begin(env, f, SIM_OP_SYNC, &state);

    if (error == 0) {
        sim_inode_commit(f->inode);
    } else if (state.number != 0) {
        sim_inode_commit_failed(f->inode, &env->random_fault);
    }
    return sim_op_end(env, &state, error);
}

static int sim_allocate(struct wdb_file *file, uint64_t size)
{
    struct sim_file *f = sim_file_of(file);
    struct sim_env *env = sim_env_of(file->env);
    struct sim_op_state state;
    size_t pages = sim_pages_of(size);
    int error = sim_op_begin(env, f, SIM_OP_ALLOCATE, &state);

    if (error == 0 && !f->is_writable) {
        error = WALKERDB_EIO;
    }
    if (error == 0 && pages > f->inode->pages_allocated) {
        uint64_t room = sim_disk_room(env->disk) / SIM_PAGE;
        if (pages - f->inode->pages_allocated > room) {
            error = WALKERDB_ENOSPACE;
        } else {
            f->inode->pages_allocated = pages;
        }
    }
    if (error == 0 && size > f->inode->content.size) {
        sim_inode_resize(env->disk, f->inode, size);
    }
    return sim_op_end(env, &state, error);
}

static int sim_truncate(struct wdb_file *file, uint64_t size)
{
    struct sim_file *f = sim_file_of(file);
    struct sim_env *env = sim_env_of(file->env);
    struct sim_op_state state;
    int error = sim_op_begin(env, f, SIM_OP_TRUNCATE, &state);

    if (error == 0 && !f->is_writable) {
        error = WALKERDB_EIO;
    }
    if (error == 0 && size != f->inode->content.size) {
        sim_inode_resize(env->disk, f->inode, size);
    }
    return sim_op_end(env, &state, error);
}

static int sim_size(struct wdb_file *file, uint64_t *size_out)
{
    struct sim_file *f = sim_file_of(file);
    struct sim_env *env = sim_env_of(file->env);
    struct sim_op_state state;
    int error = sim_op_begin(env, f, SIM_OP_SIZE, &state);

    if (error == 0) {
        *size_out = f->inode->content.size;
    }
    return sim_op_end(env, &state, error);
}

static uint64_t sim_data_end(struct wdb_file *file)
{
    struct sim_file *f = sim_file_of(file);
    struct sim_env *env = sim_env_of(file->env);

    sim_disk_lock(env->disk);
    const struct sim_content *content = &f->inode->content;
    size_t page = sim_pages_of(content->size);
    while (page > 0 && sim_content_page(content, page - 1) == NULL) {
        page--;
    }
    uint64_t end = page * SIM_PAGE;
    end = end < content->size ? end : content->size;
    sim_disk_unlock(env->disk);
    return end;
}

static void sim_advise_random(struct wdb_file *file)
{
    (void)file;
}

static void sim_advise_willneed(struct wdb_file *file, uint64_t offset,
                                uint64_t size)
{
    (void)file;
    (void)offset;
    (void)size;
}

static void sim_advise_dontneed(struct wdb_file *file, uint64_t offset,
                                uint64_t size)
{
    struct sim_file *f = sim_file_of(file);
    struct sim_env *env = sim_env_of(file->env);

    sim_disk_lock(env->disk);
    /* Dirty pages stay, as they do in the kernel. */
    if (f->crash_count == env->disk->crash_count &&
        f->inode->change_count == 0 && offset < f->inode->content.size) {
        uint64_t left = f->inode->content.size - offset;
        sim_inode_set_cold(f->inode, offset, size < left ? size : left, true);
    }
    sim_disk_unlock(env->disk);
}

/* --- the lock file -------------------------------------------------------- */

static int sim_lock(struct wdb_env *base, const char *path,
                    struct wdb_file **out, int64_t *holder_out)
{
    struct sim_env *env = sim_env_of(base);
    struct sim_op_state state;
    struct wdb_file *file = NULL;
    int error = sim_op_begin(env, NULL, SIM_OP_LOCK, &state);

    if (error == 0) {
        error = open_existing(env, path, true, &file);
        if (error == WALKERDB_ENOTFOUND) {
            error = create(env, path, &file);
        }
    }
    if (error == 0) {
        struct sim_file *f = sim_file_of(file);
        if (f->inode->lock_owner != NULL) {
            *holder_out = f->inode->lock_pid;
            file_free(env, f);
            error = WALKERDB_ELOCKED;
        } else {
            f->inode->lock_owner = f;
            f->inode->lock_pid = env->pid;
            *out = file;
        }
    }
    return sim_op_end(env, &state, error);
}

/* --- space, clock, randomness --------------------------------------------- */

static int sim_free_space(struct wdb_env *base, const char *path,
                          uint64_t *bytes_out)
{
    struct sim_env *env = sim_env_of(base);
    struct sim_op_state state;
    int error = sim_op_begin(env, NULL, SIM_OP_FREE_SPACE, &state);

    if (error == 0 && sim_disk_find(env->disk, path) == SIM_NO_INODE) {
        error = WALKERDB_ENOTFOUND;
    }
    if (error == 0) {
        *bytes_out = sim_disk_room(env->disk);
    }
    return sim_op_end(env, &state, error);
}

static uint64_t sim_time_ms(struct wdb_env *base)
{
    struct sim_env *env = sim_env_of(base);

    sim_disk_lock(env->disk);
    uint64_t now = env->clock->start_ms + env->clock->monotonic_ns / 1000000 +
                   (uint64_t)env->skew_ms;
    sim_disk_unlock(env->disk);
    return now;
}

static uint64_t sim_monotonic_ns(struct wdb_env *base)
{
    struct sim_env *env = sim_env_of(base);

    sim_disk_lock(env->disk);
    /* A nanosecond a call: who waits for time to pass will see it pass. */
    uint64_t now = ++env->clock->monotonic_ns;
    sim_disk_unlock(env->disk);
    return now;
}

static void sim_random(struct wdb_env *base, void *data, size_t size)
{
    struct sim_env *env = sim_env_of(base);
    uint8_t *out = data;

    sim_disk_lock(env->disk);
    while (size != 0) {
        uint64_t value = wdb_random_next(&env->random);
        size_t part = size < sizeof(value) ? size : sizeof(value);

        memcpy(out, &value, part);
        out += part;
        size -= part;
    }
    sim_disk_unlock(env->disk);
}

void sim_env_advance_ms(struct sim_env *env, uint64_t ms)
{
    sim_disk_lock(env->disk);
    env->clock->monotonic_ns += ms * 1000000;
    sim_disk_unlock(env->disk);
}

void sim_env_jump_ms(struct sim_env *env, int64_t ms)
{
    sim_disk_lock(env->disk);
    env->skew_ms += ms;
    sim_disk_unlock(env->disk);
}

/* --- the env -------------------------------------------------------------- */

static const struct wdb_env_ops sim_ops = {
    .open = sim_open,
    .close = sim_close,
    .pread = sim_pread,
    .pwritev = sim_pwritev,
    .sync = sim_sync,
    .allocate = sim_allocate,
    .truncate = sim_truncate,
    .size = sim_size,
    .data_end = sim_data_end,
    .map = sim_map,
    .unmap = sim_unmap,
    .damaged = sim_damaged,
    .resident = sim_resident,
    .advise_random = sim_advise_random,
    .advise_willneed = sim_advise_willneed,
    .advise_dontneed = sim_advise_dontneed,
    .rename = sim_rename,
    .link = sim_link,
    .unlink = sim_unlink,
    .mkdir = sim_mkdir,
    .rmdir = sim_rmdir,
    .list = sim_list,
    .sync_dir = sim_sync_dir,
    .lock = sim_lock,
    .unlock = sim_close,
    .free_space = sim_free_space,
    .time_ms = sim_time_ms,
    .monotonic_ns = sim_monotonic_ns,
    .random = sim_random,
};

struct sim_env *sim_env_new(struct sim_disk *disk, uint64_t seed,
                            struct sim_clock *clock)
{
    struct sim_env *env = sim_alloc_zeroed(sizeof(*env));

    env->env.ops = &sim_ops;
    env->disk = disk;
    env->clock_own.start_ms = START_MS;
    env->clock = clock != NULL ? clock : &env->clock_own;
    env->die_after = UINT64_MAX;
    wdb_random_seed(&env->random, seed);
    wdb_random_seed(&env->random_fault, seed ^ UINT64_C(0x5deece66d));
    wdb_list_init(&env->files);
    wdb_list_init(&env->mappings);
    sim_disk_lock(disk);
    env->pid = disk->next_pid++;
    sim_disk_unlock(disk);
    return env;
}

void sim_env_free(struct sim_env *env)
{
    if (env == NULL) {
        return;
    }
    struct sim_disk *disk = env->disk;
    sim_disk_lock(disk);
    while (!wdb_list_empty(&env->files)) {
        file_free(env,
                  WDB_LIST_ENTRY(env->files.next, struct sim_file, on_env));
    }
    while (!wdb_list_empty(&env->mappings)) {
        sim_mapping_free(
            WDB_LIST_ENTRY(env->mappings.next, struct sim_mapping, on_env));
    }
    sim_disk_collect(disk);
    sim_disk_unlock(disk);
    free(env);
}

struct wdb_env *sim_env_base(struct sim_env *env)
{
    return &env->env;
}

struct sim_disk *sim_env_disk(struct sim_env *env)
{
    return env->disk;
}

size_t sim_env_open_count(struct sim_env *env)
{
    size_t count = 0;

    sim_disk_lock(env->disk);
    WDB_LIST_FOREACH(file, &env->files)
    {
        count++;
    }
    WDB_LIST_FOREACH(mapping, &env->mappings)
    {
        count++;
    }
    sim_disk_unlock(env->disk);
    return count;
}
