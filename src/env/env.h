/*
 * env.h - the outside world of the library: files, clock, randomness, threads'
 * only shared resource below the log. The real one is env_posix.c, the
 * simulated one lives in test/sim. Nothing above env/ calls the system for
 * these directly.
 *
 * Paths are absolute or relative to the process's working directory; they name
 * things inside one directory tree, separated by '/'. Every function is
 * callable from any thread. Errors are WALKERDB_E... codes; errno stays inside.
 * Besides those that a function names, whatever takes a path can fail with
 * EACCESS, EREADONLY (file system), ETOOBIG (name) and ENOMEM.
 */
#ifndef WDB_ENV_ENV_H
#define WDB_ENV_ENV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/attributes.h"

#define WDB_PATH_SIZE_MAX 4096

struct wdb_env;
struct wdb_file; /* an open file; first member of the env's own struct */

enum wdb_open_mode {
    WDB_OPEN_READ,   /* existing file, reads only */
    WDB_OPEN_WRITE,  /* existing file, reads and writes */
    WDB_OPEN_CREATE, /* new file, reads and writes; EEXISTS if it is there */
};

/* Called for each name in a directory ("." and ".." left out); non-zero ends
 * the walk and is returned. */
typedef int (*wdb_env_name_cb)(void *context, const char *name);

struct wdb_env_ops {
    /* Open; *out is closed with close(). ENOTFOUND, EEXISTS, EIO, ENOSPACE. */
    int (*open)(struct wdb_env *, const char *path, enum wdb_open_mode mode,
                struct wdb_file **out);
    /* Close; data that was not synced may still be lost. Never fails. */
    void (*close)(struct wdb_file *);
    /* Read up to size bytes at offset; fewer only at the end of the file.
     * EIO. */
    int (*pread)(struct wdb_file *, void *data, size_t size, uint64_t offset,
                 size_t *size_read_out);
    /* Write all of the vector at offset, whatever short writes or EINTR say.
     * EIO, ENOSPACE: then any part may have been written. */
    int (*pwritev)(struct wdb_file *, const struct iovec *vector, int count,
                   uint64_t offset);
    /* Make the file's data (and its size) durable: fdatasync. EIO: the caller
     * must stop; a later success would prove nothing. */
    int (*sync)(struct wdb_file *);
    /* Reserve [0, size) and grow the file to size if it is smaller, reading as
     * zeros where it was not written; afterwards writes below size cannot fail
     * with ENOSPACE. ENOSPACE, EIO: then the size is the old one. */
    int (*allocate)(struct wdb_file *, uint64_t size);
    /* Cut or extend. EIO. */
    int (*truncate)(struct wdb_file *, uint64_t size);
    int (*size)(struct wdb_file *, uint64_t *size_out);
    /* Bytes from here to the end of the file are zeros, which is known without
     * reading them (allocated, but never written). What is in memory counts as
     * written. The file's size if nothing is known. */
    uint64_t (*data_end)(struct wdb_file *);
    /* Map [0, size) for reading; size <= file size; the pointer stays valid
     * until unmap, also after close. What is written later to the file shows
     * up in it. A page that cannot be read shows zeros, and damaged() says so;
     * never a signal. size 0 or beyond the file: EINVALID. ENOMEM, EIO. */
    int (*map)(struct wdb_file *, uint64_t size, const void **out);
    void (*unmap)(struct wdb_env *, const void *data, uint64_t size);
    /* True if some page of this mapping could not be read since it was made. */
    bool (*damaged)(struct wdb_env *, const void *data);
    /* For the pages of [data, data+size) (page-aligned, inside one mapping):
     * resident[i] & 1 says whether page i is in memory. */
    int (*resident)(struct wdb_env *, const void *data, size_t size,
                    unsigned char *resident);
    /* A hint about use: random access, no readahead; or it is read soon; or
     * drop from cache. */
    void (*advise_random)(struct wdb_file *);
    void (*advise_willneed)(struct wdb_file *, uint64_t offset, uint64_t size);
    void (*advise_dontneed)(struct wdb_file *, uint64_t offset, uint64_t size);
    /* Names. rename replaces; link makes a hard link (EUNSUPPORTED, EEXISTS,
     * EIO). All: ENOTFOUND. */
    int (*rename)(struct wdb_env *, const char *from, const char *to);
    int (*link)(struct wdb_env *, const char *from, const char *to);
    int (*unlink)(struct wdb_env *, const char *path);
    int (*mkdir)(struct wdb_env *, const char *path); /* EEXISTS */
    int (*rmdir)(struct wdb_env *, const char *path); /* EBUSY: not empty */
    int (*list)(struct wdb_env *, const char *path, wdb_env_name_cb, void *);
    /* Make the names in a directory durable. EIO as for sync. */
    int (*sync_dir)(struct wdb_env *, const char *path);
    /* Take the exclusive lock of a lock file (created if missing), which
     * holds the owner's pid as text. ELOCKED: *holder_out is that pid or 0. */
    int (*lock)(struct wdb_env *, const char *path, struct wdb_file **out,
                int64_t *holder_out);
    void (*unlock)(struct wdb_file *);
    /* Bytes that may still be written by us on the file system of path. */
    int (*free_space)(struct wdb_env *, const char *path, uint64_t *bytes_out);
    /* Milliseconds since 1970 (may jump), nanoseconds that only grow. */
    uint64_t (*time_ms)(struct wdb_env *);
    uint64_t (*monotonic_ns)(struct wdb_env *);
    /* Fill with unpredictable bytes (the simulator: from its seed). */
    void (*random)(struct wdb_env *, void *data, size_t size);
};

struct wdb_env {
    const struct wdb_env_ops *ops;
};

struct wdb_file {
    struct wdb_env *env;
};

/* The real environment; one instance serves a process, or several do.
 * Installs the SIGBUS handler with the first mapping. ENOMEM. */
WDB_MUST_CHECK int wdb_env_posix_new(struct wdb_env **out);
/* Make a directory and those above it that are missing; the names of new ones are
 * durable then. EIO, errno says why. */
WDB_MUST_CHECK int wdb_env_posix_make_dirs(const char *path);
void wdb_env_posix_free(struct wdb_env *env);

/* --- helpers over the table, same for every environment (env.c) ----------- */

/* Write all of data at offset; as pwritev. */
WDB_MUST_CHECK int wdb_env_pwrite(struct wdb_file *file, const void *data,
                                  size_t size, uint64_t offset);
/* Read exactly size bytes; ECORRUPT if the file is shorter. */
WDB_MUST_CHECK int wdb_env_pread_all(struct wdb_file *file, void *data,
                                     size_t size, uint64_t offset);
/* Whole file into malloc'ed memory (free() it); ETOOBIG beyond size_max. */
WDB_MUST_CHECK int wdb_env_read_file(struct wdb_env *env, const char *path,
                                     size_t size_max, void **data_out,
                                     size_t *size_out);
/* Replace dir/name atomically and durably: write dir/name.tmp, sync, rename,
 * sync the directory. EIO: the old content stands or the new one; any other
 * failure: the old one (a .tmp may stay). */
WDB_MUST_CHECK int wdb_env_replace_file(struct wdb_env *env, const char *dir,
                                        const char *name, const void *data,
                                        size_t size);
/* dir + '/' + name into out; ETOOBIG. */
WDB_MUST_CHECK int wdb_env_join(char out[WDB_PATH_SIZE_MAX], const char *dir,
                                const char *name);

#endif
