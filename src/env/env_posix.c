/*
 * env_posix.c - the real environment: files, clock and randomness of Linux.
 *
 * Thin on purpose: it loops over short transfers and EINTR, translates errno,
 * and decides nothing. Files are private to the user (0600, directories 0700).
 * Mappings and SIGBUS are in env_posix_map.c.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "base/assert.h"
#include "env/env.h"
#include "env/env_posix_map.h"
#include "walkerdb.h"

#define FILE_MODE        0600
#define DIR_MODE         0700
#define WRITE_VECTOR_MAX 128 /* pieces per system call; IOV_MAX is 1,024 */
#define ZERO_CHUNK       ((size_t)1 << 20)

struct posix_file {
    struct wdb_file file;
    int fd;
    _Atomic bool random; /* advise_random was called */
};

/* All errors that the system gives, in our terms. What is not expected is an
 * input/output error. */
static int translate(int error)
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

static struct posix_file *posix_file(struct wdb_file *file)
{
    return WDB_CONTAINER_OF(file, struct posix_file, file);
}

/* --- open, close, read, write ---------------------------------------------- */

static int file_new(struct wdb_env *env, int fd, struct wdb_file **out)
{
    struct posix_file *f = calloc(1, sizeof(*f));

    if (f == NULL) {
        return WALKERDB_ENOMEM;
    }
    f->file.env = env;
    f->fd = fd;
    *out = &f->file;
    return 0;
}

static int open_fd(const char *path, int flags, int *fd_out)
{
    int fd;

    do {
        fd = open(path, flags | O_CLOEXEC, FILE_MODE);
    } while (fd < 0 && errno == EINTR);
    if (fd < 0) {
        return translate(errno);
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
    int error = open_fd(path, flags, &fd);

    if (error != 0) {
        return error;
    }
    error = file_new(env, fd, out);
    if (error != 0) {
        close(fd);
        if (mode == WDB_OPEN_CREATE) {
            (void)unlink(path);
        }
    }
    return error;
}

static void posix_close(struct wdb_file *file)
{
    struct posix_file *f = posix_file(file);

    wdb_posix_map_disown(f);
    /* Not repeated after EINTR: the descriptor is gone all the same. */
    (void)close(f->fd);
    free(f);
}

static int posix_pread(struct wdb_file *file, void *data, size_t size,
                       uint64_t offset, size_t *size_read_out)
{
    struct posix_file *f = posix_file(file);
    size_t done = 0;

    while (done < size) {
        ssize_t n = pread(f->fd, (char *)data + done, size - done,
                          (off_t)(offset + done));
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return translate(errno);
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
    struct posix_file *f = posix_file(file);
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
            return translate(errno);
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
        result = fdatasync(posix_file(file)->fd);
    } while (result != 0 && errno == EINTR);
    return result == 0 ? 0 : translate(errno);
}

/* --- size ------------------------------------------------------------------ */

static int posix_size(struct wdb_file *file, uint64_t *size_out)
{
    struct stat status;

    if (fstat(posix_file(file)->fd, &status) != 0) {
        return translate(errno);
    }
    *size_out = (uint64_t)status.st_size;
    return 0;
}

static int posix_truncate(struct wdb_file *file, uint64_t size)
{
    int result;

    do {
        result = ftruncate(posix_file(file)->fd, (off_t)size);
    } while (result != 0 && errno == EINTR);
    return result == 0 ? 0 : translate(errno);
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
        result = fallocate(posix_file(file)->fd, 0, 0, (off_t)size);
    } while (result != 0 && errno == EINTR);
    if (result == 0) {
        return 0;
    }
    error = errno == EOPNOTSUPP || errno == ENOSYS
                ? allocate_by_writing(file, size_old, size)
                : translate(errno);
    if (error != 0 && size > size_old) {
        /* What was reserved before it failed goes back. */
        (void)posix_truncate(file, size_old);
    }
    return error;
}

/* --- mappings and hints ---------------------------------------------------- */

static int posix_map(struct wdb_file *file, uint64_t size, const void **out)
{
    struct posix_file *f = posix_file(file);
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
        return translate(errno);
    }
    return 0;
}

static void posix_advise_random(struct wdb_file *file)
{
    struct posix_file *f = posix_file(file);

    atomic_store(&f->random, true);
    (void)posix_fadvise(f->fd, 0, 0, POSIX_FADV_RANDOM);
    wdb_posix_map_advise(f, 0, UINT64_MAX, MADV_RANDOM);
}

static void posix_advise_dontneed(struct wdb_file *file, uint64_t offset,
                                  uint64_t size)
{
    struct posix_file *f = posix_file(file);

    /* Pages in use by a mapping are not dropped, so they leave it first. */
    wdb_posix_map_advise(f, offset, size, MADV_DONTNEED);
    (void)posix_fadvise(f->fd, (off_t)offset, (off_t)size, POSIX_FADV_DONTNEED);
}

/* --- names ----------------------------------------------------------------- */

static int posix_rename(struct wdb_env *env, const char *from, const char *to)
{
    (void)env;
    return rename(from, to) == 0 ? 0 : translate(errno);
}

static int posix_link(struct wdb_env *env, const char *from, const char *to)
{
    (void)env;
    if (link(from, to) == 0) {
        return 0;
    }
    switch (errno) {
    case EPERM: /* what file systems without links say, and protected_hardlinks
                   about the files of others */
    case EXDEV:
    case EMLINK:
    case EOPNOTSUPP:
    case ENOSYS:
        return WALKERDB_EUNSUPPORTED;
    default:
        return translate(errno);
    }
}

static int posix_unlink(struct wdb_env *env, const char *path)
{
    (void)env;
    return unlink(path) == 0 ? 0 : translate(errno);
}

static int posix_mkdir(struct wdb_env *env, const char *path)
{
    (void)env;
    return mkdir(path, DIR_MODE) == 0 ? 0 : translate(errno);
}

static int posix_rmdir(struct wdb_env *env, const char *path)
{
    (void)env;
    return rmdir(path) == 0 ? 0 : translate(errno);
}

static int posix_list(struct wdb_env *env, const char *path,
                      wdb_env_name_cb callback, void *context)
{
    DIR *dir = opendir(path);
    int result = 0;

    (void)env;
    if (dir == NULL) {
        return translate(errno);
    }
    while (result == 0) {
        errno = 0;
        struct dirent *entry = readdir(dir);
        if (entry == NULL) {
            result = errno == 0 ? 0 : translate(errno);
            break;
        }
        if (strcmp(entry->d_name, ".") != 0 &&
            strcmp(entry->d_name, "..") != 0) {
            result = callback(context, entry->d_name);
        }
    }
    closedir(dir);
    return result;
}

static int posix_sync_dir(struct wdb_env *env, const char *path)
{
    int fd = -1;
    int result;
    int error = open_fd(path, O_RDONLY | O_DIRECTORY, &fd);

    (void)env;
    if (error != 0) {
        return error;
    }
    do {
        result = fsync(fd);
    } while (result != 0 && errno == EINTR);
    /* EINVAL: a file system that cannot, and need not, sync directories. */
    error = result == 0 || errno == EINVAL ? 0 : translate(errno);
    close(fd);
    return error;
}

/* --- the lock file --------------------------------------------------------- */

/* The pid that the lock's owner wrote, 0 if it cannot be told. */
static int64_t lock_holder(int fd)
{
    char text[24];
    ssize_t n = pread(fd, text, sizeof(text) - 1, 0);

    if (n <= 0) {
        return 0;
    }
    text[n] = '\0';
    long long pid = strtoll(text, NULL, 10);
    return pid > 0 ? (int64_t)pid : 0;
}

static int lock_write_pid(int fd)
{
    char text[24];
    int length = snprintf(text, sizeof(text), "%lld\n", (long long)getpid());

    if (ftruncate(fd, 0) != 0) {
        return translate(errno);
    }
    ssize_t n = pwrite(fd, text, (size_t)length, 0);
    if (n < 0) {
        return translate(errno);
    }
    return n == length ? 0 : WALKERDB_EIO;
}

static int posix_lock(struct wdb_env *env, const char *path,
                      struct wdb_file **out, int64_t *holder_out)
{
    /* A lock of the open file description: unlike the older kind it also
     * holds against this process, and is not lost when another descriptor of
     * the file is closed. The file stays for ever: to unlink it would let two
     * processes lock two files of one name. */
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    int fd = -1;
    int error = open_fd(path, O_RDWR | O_CREAT, &fd);

    if (error != 0) {
        return error;
    }
    if (fcntl(fd, F_OFD_SETLK, &whole) != 0) {
        if (errno == EAGAIN || errno == EACCES) {
            *holder_out = lock_holder(fd);
            error = WALKERDB_ELOCKED;
        } else {
            error = translate(errno);
        }
    }
    if (error == 0) {
        error = lock_write_pid(fd);
    }
    if (error == 0) {
        error = file_new(env, fd, out);
    }
    if (error != 0) {
        close(fd);
    }
    return error;
}

static void posix_unlock(struct wdb_file *file)
{
    (void)!ftruncate(posix_file(file)->fd, 0); /* nobody holds it */
    posix_close(file);
}

/* --- space, clock, randomness ---------------------------------------------- */

static int posix_free_space(struct wdb_env *env, const char *path,
                            uint64_t *bytes_out)
{
    struct statvfs status;

    (void)env;
    if (statvfs(path, &status) != 0) {
        return translate(errno);
    }
    *bytes_out = (uint64_t)status.f_bavail * (uint64_t)status.f_frsize;
    return 0;
}

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
    .close = posix_close,
    .pread = posix_pread,
    .pwritev = posix_pwritev,
    .sync = posix_sync,
    .allocate = posix_allocate,
    .truncate = posix_truncate,
    .size = posix_size,
    .map = posix_map,
    .unmap = posix_unmap,
    .damaged = posix_damaged,
    .resident = posix_resident,
    .advise_random = posix_advise_random,
    .advise_dontneed = posix_advise_dontneed,
    .rename = posix_rename,
    .link = posix_link,
    .unlink = posix_unlink,
    .mkdir = posix_mkdir,
    .rmdir = posix_rmdir,
    .list = posix_list,
    .sync_dir = posix_sync_dir,
    .lock = posix_lock,
    .unlock = posix_unlock,
    .free_space = posix_free_space,
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
