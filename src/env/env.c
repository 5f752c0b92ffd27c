/* env.c - helpers over the table of an environment; the same for all. */
#include "env/env.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "walkerdb.h"

int wdb_env_pwrite(struct wdb_file *file, const void *data, size_t size,
                   uint64_t offset)
{
    struct iovec vector = {.iov_base = (void *)(uintptr_t)data,
                           .iov_len = size};

    return file->env->ops->pwritev(file, &vector, 1, offset);
}

int wdb_env_pread_all(struct wdb_file *file, void *data, size_t size,
                      uint64_t offset)
{
    size_t size_read = 0;
    int error = file->env->ops->pread(file, data, size, offset, &size_read);

    if (error != 0) {
        return error;
    }
    return size_read == size ? 0 : WALKERDB_ECORRUPT;
}

int wdb_env_read_file(struct wdb_env *env, const char *path, size_t size_max,
                      void **data_out, size_t *size_out)
{
    struct wdb_file *file = NULL;
    uint64_t size = 0;
    void *data = NULL;
    int error = env->ops->open(env, path, WDB_OPEN_READ, &file);

    if (error != 0) {
        return error;
    }
    error = env->ops->size(file, &size);
    if (error != 0) {
        goto out;
    }
    if (size > size_max) {
        error = WALKERDB_ETOOBIG;
        goto out;
    }
    data = malloc(size != 0 ? (size_t)size : 1);
    if (data == NULL) {
        error = WALKERDB_ENOMEM;
        goto out;
    }
    error = wdb_env_pread_all(file, data, (size_t)size, 0);
    if (error != 0) {
        free(data);
        goto out;
    }
    *data_out = data;
    *size_out = (size_t)size;
out:
    env->ops->close(file);
    return error;
}

/* Create path with this content and make the content durable. */
static int write_new_file(struct wdb_env *env, const char *path,
                          const void *data, size_t size)
{
    struct wdb_file *file = NULL;
    int error = env->ops->unlink(env, path);

    if (error != 0 && error != WALKERDB_ENOTFOUND) {
        return error;
    }
    error = env->ops->open(env, path, WDB_OPEN_CREATE, &file);
    if (error != 0) {
        return error;
    }
    error = wdb_env_pwrite(file, data, size, 0);
    if (error == 0) {
        error = env->ops->sync(file);
    }
    env->ops->close(file);
    return error;
}

int wdb_env_replace_file(struct wdb_env *env, const char *dir, const char *name,
                         const void *data, size_t size)
{
    char path[WDB_PATH_SIZE_MAX];
    char path_tmp[WDB_PATH_SIZE_MAX];
    char name_tmp[256];
    int length = snprintf(name_tmp, sizeof(name_tmp), "%s.tmp", name);
    int error;

    if (length < 0 || (size_t)length >= sizeof(name_tmp)) {
        return WALKERDB_ETOOBIG;
    }
    error = wdb_env_join(path, dir, name);
    if (error == 0) {
        error = wdb_env_join(path_tmp, dir, name_tmp);
    }
    if (error == 0) {
        error = write_new_file(env, path_tmp, data, size);
    }
    if (error == 0) {
        error = env->ops->rename(env, path_tmp, path);
    }
    if (error == 0 && env->ops->sync_dir(env, dir) != 0) {
        /* Whatever it says: the new content is there, but may vanish. */
        error = WALKERDB_EIO;
    }
    return error;
}

int wdb_env_join(char out[WDB_PATH_SIZE_MAX], const char *dir, const char *name)
{
    size_t dir_size = strlen(dir);
    size_t name_size = strlen(name);

    wdb_assert(dir_size != 0);
    if (dir_size + 1 + name_size + 1 > WDB_PATH_SIZE_MAX) {
        return WALKERDB_ETOOBIG;
    }
    memmove(out, dir, dir_size);
    out[dir_size] = '/';
    memcpy(out + dir_size + 1, name, name_size + 1);
    return 0;
}
