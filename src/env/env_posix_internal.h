/* env_posix_internal.h - what the files of the real environment share. */
#ifndef WDB_ENV_ENV_POSIX_INTERNAL_H
#define WDB_ENV_ENV_POSIX_INTERNAL_H

#include <stdatomic.h>

#include "env/env.h"

struct wdb_posix_file {
    struct wdb_file file;
    int fd;
    _Atomic bool random; /* advise_random was called */
};

static inline struct wdb_posix_file *wdb_posix_file(struct wdb_file *file)
{
    return WDB_CONTAINER_OF(file, struct wdb_posix_file, file);
}

/* An errno in our terms; what is not expected is an input/output error. */
int wdb_posix_error(int error);
/* open() with the flags, closed on exec. Errors as the table's open. */
WDB_MUST_CHECK int wdb_posix_open_fd(const char *path, int flags, int *fd_out);
/* A handle that owns fd. ENOMEM: then fd is still the caller's. */
WDB_MUST_CHECK int wdb_posix_file_new(struct wdb_env *env, int fd,
                                      struct wdb_file **out);
void wdb_posix_close(struct wdb_file *file);

/* The part of the table that takes paths: see env.h. */
int wdb_posix_rename(struct wdb_env *env, const char *from, const char *to);
int wdb_posix_link(struct wdb_env *env, const char *from, const char *to);
int wdb_posix_unlink(struct wdb_env *env, const char *path);
int wdb_posix_mkdir(struct wdb_env *env, const char *path);
int wdb_posix_rmdir(struct wdb_env *env, const char *path);
int wdb_posix_list(struct wdb_env *env, const char *path,
                   wdb_env_name_cb callback, void *context);
int wdb_posix_sync_dir(struct wdb_env *env, const char *path);
int wdb_posix_lock(struct wdb_env *env, const char *path, struct wdb_file **out,
                   int64_t *holder_out);
void wdb_posix_unlock(struct wdb_file *file);
int wdb_posix_free_space(struct wdb_env *env, const char *path,
                         uint64_t *bytes_out);

#endif
