/*
 * snapshot_image.h - a directory of files in memory: a backup that is taken from
 * one machine to another.
 */
#ifndef WDB_TEST_SIM_SNAPSHOT_IMAGE_H
#define WDB_TEST_SIM_SNAPSHOT_IMAGE_H

#include "store/store.h"

struct snapshot_file {
    char name[64];
    uint8_t *data;
    size_t size;
};

struct snapshot_image {
    struct snapshot_file *files;
    size_t count;
    uint64_t index, term; /* of the last entry in it */
};

/* Back the store up, read the copy, remove it again. What is in the log is
 * committed first. The store's error. */
WDB_MUST_CHECK int snapshot_image_take(struct snapshot_image *image,
                                       struct wdb_store *store);
void snapshot_image_release(struct snapshot_image *image);
/* Write it, durably, into a new directory. The env's error. */
WDB_MUST_CHECK int snapshot_image_write(const struct snapshot_image *image,
                                        struct wdb_env *env, const char *dir);
/* Remove a directory with its files. */
void snapshot_image_remove(struct wdb_env *env, const char *dir);
/* The names in a directory that it would not have without transfers: how many.
 */
size_t snapshot_image_leftovers(struct wdb_env *env, const char *dir);

#endif
