/* env_posix_names.c - names, directories and the lock file of the real
 * environment. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "env/env_posix_internal.h"
#include "walkerdb.h"

#define DIR_MODE 0700

int wdb_posix_rename(struct wdb_env *env, const char *from, const char *to)
{
    (void)env;
    return rename(from, to) == 0 ? 0 : wdb_posix_error(errno);
}

int wdb_posix_link(struct wdb_env *env, const char *from, const char *to)
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
        return wdb_posix_error(errno);
    }
}

int wdb_posix_unlink(struct wdb_env *env, const char *path)
{
    (void)env;
    return unlink(path) == 0 ? 0 : wdb_posix_error(errno);
}

int wdb_posix_mkdir(struct wdb_env *env, const char *path)
{
    (void)env;
    return mkdir(path, DIR_MODE) == 0 ? 0 : wdb_posix_error(errno);
}

/* The directory that holds this name is on the disk; errno says why not. */
static int sync_parent(char *path)
{
    char *slash = strrchr(path, '/');
    const char *parent = slash == NULL ? "." : slash == path ? "/" : path;
    if (slash != NULL && slash != path) {
        *slash = '\0';
    }
    const int fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        return -1;
    }
    const int rc = fsync(fd);
    const int error = errno;
    close(fd);
    errno = error;
    return rc;
}

int wdb_env_posix_make_dirs(const char *path)
{
    char part[WDB_PATH_SIZE_MAX];
    const size_t size = strlen(path);
    if (size >= sizeof(part)) {
        errno = ENAMETOOLONG;
        return WALKERDB_EIO;
    }
    for (size_t i = 1; i <= size; i++) {
        if ((path[i] != '/' && path[i] != '\0') || path[i - 1] == '/') {
            continue;
        }
        memcpy(part, path, i);
        part[i] = '\0';
        if (mkdir(part, 0750) == 0 ? sync_parent(part) != 0 : errno != EEXIST) {
            return WALKERDB_EIO;
        }
    }
    return 0;
}

int wdb_posix_rmdir(struct wdb_env *env, const char *path)
{
    (void)env;
    return rmdir(path) == 0 ? 0 : wdb_posix_error(errno);
}

int wdb_posix_list(struct wdb_env *env, const char *path,
                   wdb_env_name_cb callback, void *context)
{
    DIR *dir = opendir(path);
    int result = 0;

    (void)env;
    if (dir == NULL) {
        return wdb_posix_error(errno);
    }
    while (result == 0) {
        errno = 0;
        struct dirent *entry = readdir(dir);
        if (entry == NULL) {
            result = errno == 0 ? 0 : wdb_posix_error(errno);
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

int wdb_posix_sync_dir(struct wdb_env *env, const char *path)
{
    int fd = -1;
    int result;
    int error = wdb_posix_open_fd(path, O_RDONLY | O_DIRECTORY, &fd);

    (void)env;
    if (error != 0) {
        return error;
    }
    do {
        result = fsync(fd);
    } while (result != 0 && errno == EINTR);
    /* EINVAL: a file system that cannot, and need not, sync directories. */
    error = result == 0 || errno == EINVAL ? 0 : wdb_posix_error(errno);
    close(fd);
    return error;
}

/* --- the lock file -------------------------------------------------------- */

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

    int result;
    do {
        result = ftruncate(fd, 0);
    } while (result != 0 && errno == EINTR);
    ssize_t n = -1;
    if (result == 0) {
        do {
            n = pwrite(fd, text, (size_t)length, 0);
        } while (n < 0 && errno == EINTR);
    }
    if (n < 0 && errno != ENOSPC) { /* it is only told to people */
        return wdb_posix_error(errno);
    }
    return 0;
}

int wdb_posix_lock(struct wdb_env *env, const char *path, struct wdb_file **out,
                   int64_t *holder_out)
{
    /* A lock of the open file description: unlike the older kind it also
     * holds against this process, and is not lost when another descriptor of
     * the file is closed. The file stays for ever: to unlink it would let two
     * processes lock two files of one name. */
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    int fd = -1;
    int error = wdb_posix_open_fd(path, O_RDWR | O_CREAT, &fd);

    if (error != 0) {
        return error;
    }
    if (fcntl(fd, F_OFD_SETLK, &whole) != 0) {
        if (errno == EAGAIN || errno == EACCES) {
            *holder_out = lock_holder(fd);
            error = WALKERDB_ELOCKED;
        } else {
            error = wdb_posix_error(errno);
        }
    }
    if (error == 0) {
        error = lock_write_pid(fd);
    }
    if (error == 0) {
        error = wdb_posix_file_new(env, fd, out);
    }
    if (error != 0) {
        close(fd);
    }
    return error;
}

void wdb_posix_unlock(struct wdb_file *file)
{
    (void)!ftruncate(wdb_posix_file(file)->fd, 0); /* nobody holds it */
    wdb_posix_close(file);
}

/* --- space ---------------------------------------------------------------- */

int wdb_posix_free_space(struct wdb_env *env, const char *path,
                         uint64_t *bytes_out)
{
    struct statvfs status;

    (void)env;
    if (statvfs(path, &status) != 0) {
        return wdb_posix_error(errno);
    }
    *bytes_out = (uint64_t)status.f_bavail * (uint64_t)status.f_frsize;
    return 0;
}
