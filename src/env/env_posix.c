/*
 * env_posix.c - the real environment: files, clock and randomness of Linux.
 *
 * Thin on purpose: it loops over short transfers and EINTR, translates errno,
 * and decides nothing. Files are private to the user (0600, directories 0700).
 * Names are in env_posix_names.c, mappings and SIGBUS in env_posix_map.c.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/assert.h"
#include "env/env_posix_internal.h"
#include "env/env_posix_map.h"
#include "walkerdb.h"

#define FILE_MODE        0600
#define WRITE_VECTOR_MAX 128   /* pieces per system call; IOV_MAX is 1,024 */
#define DATA_RANGES_MAX  10000 /* looked at to find the end of data */
#define ZERO_CHUNK       ((size_t)1 << 20)

int wdb_posix_error(int error)
{
    switch (error) {
    case ENOENT:
    case ENOTDIR:
        return WALKERDB_ENOTFOUND;
    case EEXIST:
        return WALKERDB_EEXISTS;
    case ENOMEM:
        return WALKERDB_ENOMEM;
    case ENOSPC:
    case EDQUOT:
        return WALKERDB_ENOSPACE;
    case EFBIG:
    case ENAMETOOLONG:
        return WALKERDB_ETOOBIG;
    case EACCES:
    case EPERM:
        return WALKERDB_EACCESS;
    case EROFS:
        return WALKERDB_EREADONLY;
    case ENOTEMPTY:
    case EBUSY:
        return WALKERDB_EBUSY;
    default:
        return WALKERDB_EIO;
    }
}

/* --- open, close, read, write --------------------------------------------- */

int wdb_posix_file_new(struct wdb_env *env, int fd, struct wdb_file **out)
{
    struct wdb_posix_file *f = calloc(1, sizeof(*f));

    if (f == NULL) {
        return WALKERDB_ENOMEM;
    }
    f->file.env = env;
    f->fd = fd;
    *out = &f->file;
    return 0;
}

int wdb_posix_open_fd(const char *path, int flags, int *fd_out)
{
    int fd;

    do {
        fd = open(path, flags | O_CLOEXEC, FILE_MODE);
    } while (fd < 0 && errno == EINTR);
    if (fd < 0) {
        return wdb_posix_error(errno);
    }
    *fd_out = fd;
    return 0;
}

static int posix_open(struct wdb_env *env, const char *path,
                      enum wdb_open_mode mode, struct wdb_file **out)
{
    int flags = mode == WDB_OPEN_READ    ? O_RDONLY
                : mode == WDB_OPEN_WRITE ? O_RDWR
                                         : O_RDWR | O_CREAT | O_EXCL;
    int fd = -1;
    int error = wdb_posix_open_fd(path, flags, &fd);

    if (error != 0) {
        return error;
    }
    error = wdb_posix_file_new(env, fd, out);
    if (error != 0) {
        close(fd);
        if (mode == WDB_OPEN_CREATE) {
            (void)unlink(path);
        }
    }
    return error;
}

void wdb_posix_close(struct wdb_file *file)
{
    struct wdb_posix_file *f = wdb_posix_file(file);

    wdb_posix_map_disown(f);
    /* Not repeated after EINTR: the descriptor is gone all the same. */
    (void)close(f->fd);
    free(f);
}

static int posix_pread(struct wdb_file *file, void *data, size_t size,
                       uint64_t offset, size_t *size_read_out)
{
    struct wdb_posix_file *f = wdb_posix_file(file);
    size_t done = 0;

    while (done < size) {
        ssize_t n = pread(f->fd, (char *)data + done, size - done,
                          (off_t)(offset + done));
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return wdb_posix_error(errno);
        }
        if (n == 0) {
            break;
        }
        done += (size_t)n;
    }
    *size_read_out = done;
    return 0;
}

/* What of the vector from byte `skip` of vector[0] on fits into one call. */
static int window_fill(struct iovec *window, const struct iovec *vector,
                       int count, size_t skip)
{
    int filled = count < WRITE_VECTOR_MAX ? count : WRITE_VECTOR_MAX;

    memcpy(window, vector, (size_t)filled * sizeof(*window));
    window[0].iov_base = (char *)window[0].iov_base + skip;
    window[0].iov_len -= skip;
    return filled;
}

static int posix_pwritev(struct wdb_file *file, const struct iovec *vector,
                         int count, uint64_t offset)
{
    struct wdb_posix_file *f = wdb_posix_file(file);
    struct iovec window[WRITE_VECTOR_MAX];
    size_t skip = 0; /* bytes of vector[0] that are written */

    for (;;) {
        while (count > 0 && skip >= vector->iov_len) {
            skip -= vector->iov_len;
            vector++;
            count--;
        }
        if (count <= 0) {
            return 0;
        }
        int filled = window_fill(window, vector, count, skip);
        ssize_t n = pwritev(f->fd, window, filled, (off_t)offset);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return wdb_posix_error(errno);
        }
        if (n == 0) {
            return WALKERDB_EIO; /* something is left, nothing moves */
        }
        skip += (size_t)n;
        offset += (uint64_t)n;
    }
}

static int posix_sync(struct wdb_file *file)
{
    int result;

    /* EINTR is not a failure of the sync: it did not take place. */
    do {
        result = fdatasync(wdb_posix_file(file)->fd);
    } while (result != 0 && errno == EINTR);
    return result == 0 ? 0 : wdb_posix_error(errno);
}

/* --- size ----------------------------------------------------------------- */

static int posix_size(struct wdb_file *file, uint64_t *size_out)
{
    struct stat status;

    if (fstat(wdb_posix_file(file)->fd, &status) != 0) {
        return wdb_posix_error(errno);
    }
    *size_out = (uint64_t)status.st_size;
    return 0;
}

static uint64_t posix_data_end(struct wdb_file *file)
{
    const int fd = wdb_posix_file(file)->fd;
    uint64_t size = UINT64_MAX;
    off_t end = 0;

    if (posix_size(file, &size) != 0) {
        return size;
    }
    for (int i = 0; i < DATA_RANGES_MAX; i++) {
        const off_t data = lseek(fd, end, SEEK_DATA);
        if (data < 0) {
            return errno == ENXIO ? (uint64_t)end : size;
        }
        end = lseek(fd, data, SEEK_HOLE);
        if (end < 0) {
            return size;
        }
    }
    return size;
}

static int posix_truncate(struct wdb_file *file, uint64_t size)
{
    int result;

    do {
        result = ftruncate(wdb_posix_file(file)->fd, (off_t)size);
    } while (result != 0 && errno == EINTR);
    return result == 0 ? 0 : wdb_posix_error(errno);
}

/* fallocate for file systems that have none: write every byte of [0, size),
 * the old content where there is some. */
static int allocate_by_writing(struct wdb_file *file, uint64_t size_old,
                               uint64_t size)
{
    char *chunk = calloc(1, ZERO_CHUNK);
    int error = 0;

    if (chunk == NULL) {
        return WALKERDB_ENOMEM;
    }
    for (uint64_t at = 0; at < size && error == 0; at += ZERO_CHUNK) {
        size_t part = size - at < ZERO_CHUNK ? (size_t)(size - at) : ZERO_CHUNK;
        size_t size_read = 0;

        if (at < size_old) {
            memset(chunk, 0, ZERO_CHUNK);
            error = posix_pread(file, chunk, part, at, &size_read);
        } else if (at - size_old < ZERO_CHUNK) {
            memset(chunk, 0, ZERO_CHUNK);
        }
        if (error == 0) {
            error = wdb_env_pwrite(file, chunk, part, at);
        }
    }
    free(chunk);
    return error;
}

static int posix_allocate(struct wdb_file *file, uint64_t size)
{
    uint64_t size_old = 0;
    int result;
    int error = posix_size(file, &size_old);

    if (error != 0 || size == 0) {
        return error;
    }
    do {
        result = fallocate(wdb_posix_file(file)->fd, 0, 0, (off_t)size);
    } while (result != 0 && errno == EINTR);
    if (result == 0) {
        return 0;
    }
    error = errno == EOPNOTSUPP || errno == ENOSYS
                ? allocate_by_writing(file, size_old, size)
                : wdb_posix_error(errno);
    if (error != 0 && size > size_old) {
        /* What was reserved before it failed goes back. */
        (void)posix_truncate(file, size_old);
    }
    return error;
}

/* --- mappings and hints --------------------------------------------------- */

static int posix_map(struct wdb_file *file, uint64_t size, const void **out)
{
    struct wdb_posix_file *f = wdb_posix_file(file);
    uint64_t size_file = 0;
    int error = posix_size(file, &size_file);

    if (error != 0) {
        return error;
    }
    if (size > size_file) {
        return WALKERDB_EINVALID;
    }
    return wdb_posix_map(f->fd, size, f, atomic_load(&f->random), out);
}

static void posix_unmap(struct wdb_env *env, const void *data, uint64_t size)
{
    (void)env;
    wdb_posix_unmap(data, size);
}

static bool posix_damaged(struct wdb_env *env, const void *data)
{
    (void)env;
    return wdb_posix_map_damaged(data);
}

static int posix_resident(struct wdb_env *env, const void *data, size_t size,
                          unsigned char *resident)
{
    (void)env;
    if (mincore((void *)(uintptr_t)data, size, resident) != 0) {
        return wdb_posix_error(errno);
    }
    return 0;
}

static void posix_advise_random(struct wdb_file *file)
{
    struct wdb_posix_file *f = wdb_posix_file(file);

    atomic_store(&f->random, true);
    (void)posix_fadvise(f->fd, 0, 0, POSIX_FADV_RANDOM);
    wdb_posix_map_advise(f, 0, UINT64_MAX, MADV_RANDOM);
}

static void posix_advise_willneed(struct wdb_file *file, uint64_t offset,
                                  uint64_t size)
{
    (void)posix_fadvise(wdb_posix_file(file)->fd, (off_t)offset, (off_t)size,
                        POSIX_FADV_WILLNEED);
}

static void posix_advise_dontneed(struct wdb_file *file, uint64_t offset,
                                  uint64_t size)
{
    struct wdb_posix_file *f = wdb_posix_file(file);

    /* Pages in use by a mapping are not dropped, so they leave it first. */
    wdb_posix_map_advise(f, offset, size, MADV_DONTNEED);
    (void)posix_fadvise(f->fd, (off_t)offset, (off_t)size, POSIX_FADV_DONTNEED);
}

/* --- clock, randomness --------------------------------------------------- */

static uint64_t posix_time_ms(struct wdb_env *env)
{
    struct timespec now;

    (void)env;
    int error = clock_gettime(CLOCK_REALTIME, &now);
    wdb_assert(error == 0);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static uint64_t posix_monotonic_ns(struct wdb_env *env)
{
    struct timespec now;

    (void)env;
    int error = clock_gettime(CLOCK_MONOTONIC, &now);
    wdb_assert(error == 0);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static void posix_random(struct wdb_env *env, void *data, size_t size)
{
    size_t done = 0;

    (void)env;
    while (done < size) {
        ssize_t n = getrandom((char *)data + done, size - done, 0);
        wdb_assert(n > 0 || errno == EINTR);
        if (n > 0) {
            done += (size_t)n;
        }
    }
}

static const struct wdb_env_ops posix_ops = {
    .open = posix_open,
    .close = wdb_posix_close,
    .pread = posix_pread,
    .pwritev = posix_pwritev,
    .sync = posix_sync,
    .allocate = posix_allocate,
    .truncate = posix_truncate,
    .size = posix_size,
    .data_end = posix_data_end,
    .map = posix_map,
    .unmap = posix_unmap,
    .damaged = posix_damaged,
    .resident = posix_resident,
    .advise_random = posix_advise_random,
    .advise_willneed = posix_advise_willneed,
    .advise_dontneed = posix_advise_dontneed,
    .rename = wdb_posix_rename,
    .link = wdb_posix_link,
    .unlink = wdb_posix_unlink,
    .mkdir = wdb_posix_mkdir,
    .rmdir = wdb_posix_rmdir,
    .list = wdb_posix_list,
    .sync_dir = wdb_posix_sync_dir,
    .lock = wdb_posix_lock,
    .unlock = wdb_posix_unlock,
    .free_space = wdb_posix_free_space,
    .time_ms = posix_time_ms,
    .monotonic_ns = posix_monotonic_ns,
    .random = posix_random,
};

int wdb_env_posix_new(struct wdb_env **out)
{
    struct wdb_env *env = calloc(1, sizeof(*env));

    if (env == NULL) {
        return WALKERDB_ENOMEM;
    }
    env->ops = &posix_ops;
    *out = env;
    return 0;
}

void wdb_env_posix_free(struct wdb_env *env)
{
    free(env);
}
