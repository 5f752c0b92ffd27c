/* snapshot_image.c - reads and writes directories as a whole. */
#include "sim/snapshot_image.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "log/names.h"

#define COPY "/snapshot-copy"

struct walk {
    struct wdb_env *env;
    const char *dir;
    struct snapshot_image *image;
    char names[4096][64];
    size_t count;
    int rc;
};

static int note_name(void *context, const char *name)
{
    struct walk *walk = context;
    wdb_assert(walk->count < WDB_COUNT(walk->names));
    snprintf(walk->names[walk->count++], sizeof(walk->names[0]), "%s", name);
    return 0;
}

static int list(struct walk *walk)
{
    walk->count = 0;
    return walk->env->ops->list(walk->env, walk->dir, note_name, walk);
}

static int read_files(struct walk *walk)
{
    struct snapshot_image *image = walk->image;
    image->files = calloc(walk->count + 1, sizeof(*image->files));
    wdb_assert(image->files != NULL);
    int rc = 0;
    for (size_t i = 0; i < walk->count && rc == 0; i++) {
        struct snapshot_file *file = &image->files[i];
        char path[WDB_PATH_SIZE_MAX];
        void *data = NULL;
        memcpy(file->name, walk->names[i], sizeof(file->name));
        rc = wdb_env_join(path, walk->dir, file->name);
        if (rc == 0) {
            rc = wdb_env_read_file(walk->env, path, (size_t)1 << 30, &data,
                                   &file->size);
            file->data = data;
        }
        image->count = i + 1;
    }
    return rc;
}

void snapshot_image_remove(struct wdb_env *env, const char *dir)
{
    struct walk *walk = calloc(1, sizeof(*walk));
    wdb_assert(walk != NULL);
    walk->env = env;
    walk->dir = dir;
    if (list(walk) == 0) {
        for (size_t i = 0; i < walk->count; i++) {
            char path[WDB_PATH_SIZE_MAX];
            if (wdb_env_join(path, dir, walk->names[i]) == 0) {
                (void)env->ops->unlink(env, path);
            }
        }
        (void)env->ops->rmdir(env, dir);
    }
    free(walk);
}

int snapshot_image_take(struct snapshot_image *image, struct wdb_store *store)
{
    struct wdb_log *log = wdb_store_log(store);
    struct walk *walk = calloc(1, sizeof(*walk));
    wdb_assert(walk != NULL);
    walk->env = wdb_store_env(store);
    walk->dir = COPY;
    walk->image = image;
    *image = (struct snapshot_image){0};
    int rc = wdb_log_sync(log);
    if (rc == 0) {
        struct wdb_entry_header entry = {.term = 1};
        image->index = wdb_log_index_last(log);
        wdb_store_set_committed(store, image->index);
        (void)!wdb_log_entry_header(log, image->index, &entry);
        image->term = entry.term;
        rc = wdb_store_backup(store, COPY, NULL, NULL);
    }
    if (rc == 0) {
        rc = list(walk);
    }
    if (rc == 0) {
        rc = read_files(walk);
    }
    snapshot_image_remove(walk->env, COPY);
    free(walk);
    return rc;
}

void snapshot_image_release(struct snapshot_image *image)
{
    for (size_t i = 0; i < image->count; i++) {
        free(image->files[i].data);
    }
    free(image->files);
    *image = (struct snapshot_image){0};
}

static int write_file(const struct snapshot_file *file, struct wdb_env *env,
                      const char *dir)
{
    char path[WDB_PATH_SIZE_MAX];
    struct wdb_file *out;
    int rc = wdb_env_join(path, dir, file->name);
    if (rc == 0) {
        rc = env->ops->open(env, path, WDB_OPEN_CREATE, &out);
    }
    if (rc != 0) {
        return rc;
    }
    rc = wdb_env_pwrite(out, file->data, file->size, 0);
    if (rc == 0) {
        rc = env->ops->sync(out);
    }
    env->ops->close(out);
    return rc;
}

int snapshot_image_write(const struct snapshot_image *image,
                         struct wdb_env *env, const char *dir)
{
    int rc = env->ops->mkdir(env, dir);
    for (size_t i = 0; i < image->count && rc == 0; i++) {
        rc = write_file(&image->files[i], env, dir);
    }
    return rc == 0 ? env->ops->sync_dir(env, dir) : rc;
}

static int count_leftover(void *context, const char *name)
{
    size_t *count = context;
    *count += wdb_name_is_transfer(name);
    return 0;
}

size_t snapshot_image_leftovers(struct wdb_env *env, const char *dir)
{
    size_t count = 0;
    (void)env->ops->list(env, dir, count_leftover, &count);
    return count;
}
