/*
 * walkerdb.h - an embeddable key-value database: all keys in memory, values in
 * an append-only log on disk.
 *
 * Caveats, before the first declaration:
 *   - A directory is opened by one process at a time (a lock file says by
 *     whom). Within the process every function here may be called from any
 *     thread, on one handle, unless its comment says otherwise.
 *   - Do not fork() with an open handle and use it in the child.
 *   - Every function that can fail returns 0 or a negative WALKERDB_E... code.
 *     On failure outputs are untouched and the database keeps its state.
 *   - After WALKERDB_EIO from a write or a sync the handle is poisoned: all
 *     later writes fail with the same code. Close, and open again: recovery
 *     decides what is there. A failed sync is never retried.
 *   - Keys are 0 to WALKERDB_KEY_SIZE_MAX bytes, values 0 to
 *     WALKERDB_VALUE_SIZE_MAX bytes, both of any content.
 */
#ifndef WALKERDB_H
#define WALKERDB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define WALKERDB_VERSION_MAJOR 1
#define WALKERDB_VERSION_MINOR 0
#define WALKERDB_VERSION_PATCH 0
#define WALKERDB_VERSION       "1.0.0"

#if defined(__GNUC__)
#define WALKERDB_MUST_CHECK __attribute__((warn_unused_result))
#define WALKERDB_API        __attribute__((visibility("default")))
#else
#define WALKERDB_MUST_CHECK
#define WALKERDB_API
#endif

#define WALKERDB_KEY_SIZE_MAX   ((size_t)64 << 20)
#define WALKERDB_VALUE_SIZE_MAX ((size_t)512 << 20)

/* Every error: code, name, text. "Not found" is an error code, too. */
#define WALKERDB_ERRORS(X)                                                     \
    X(-1, NOTFOUND, "not found")                                               \
    X(-2, INVALID, "invalid argument")                                         \
    X(-3, NOMEM, "out of memory")                                              \
    X(-4, IO, "input/output error")                                            \
    X(-5, NOSPACE, "no space left on the device")                              \
    X(-6, CORRUPT, "damaged data")                                             \
    X(-7, LOCKED, "the directory is in use by another process")                \
    X(-8, VERSION, "the files were written by a newer version")                \
    X(-9, READONLY, "opened read-only")                                        \
    X(-10, TOOBIG, "larger than a limit")                                      \
    X(-11, EXISTS, "exists already")                                           \
    X(-12, MISMATCH, "the current value is not the expected one")              \
    X(-13, CLOSED, "closed or stopping")                                       \
    X(-14, AGAIN, "not in memory: fetch and try again")                        \
    X(-15, BUSY, "busy with another operation of the kind")                    \
    X(-16, UNSUPPORTED, "not supported by these options")                      \
    X(-17, TRUNCATED, "the write was undone before it was committed")          \
    X(-18, ABORTED, "interrupted")                                             \
    X(-19, ACCESS, "permission denied")                                        \
    X(-20, NOTLEADER, "not the leader: nothing was done")

enum walkerdb_error {
    WALKERDB_OK = 0,
#define WALKERDB_X(code, name, text) WALKERDB_E##name = (code),
    WALKERDB_ERRORS(WALKERDB_X)
#undef WALKERDB_X
};

/* The text of an error code, static; "unknown error" for another number. */
WALKERDB_API const char *walkerdb_strerror(int code);
/* The name of an error code as above ("ENOTFOUND"), static. */
WALKERDB_API const char *walkerdb_error_name(int code);
/* The version of the library that is linked, static. */
WALKERDB_API const char *walkerdb_version(void);

typedef struct walkerdb walkerdb;
typedef struct walkerdb_batch walkerdb_batch;
typedef struct walkerdb_iterator walkerdb_iterator;
typedef struct walkerdb_value walkerdb_value;

/* --- options -------------------------------------------------------------- */

enum walkerdb_sync {
    WALKERDB_SYNC_NEVER = 0,    /* the system writes when it likes */
    WALKERDB_SYNC_INTERVAL = 1, /* every sync_interval_ms, or sync_bytes */
    WALKERDB_SYNC_ALWAYS = 2    /* a write returns when it is durable */
};

enum walkerdb_index {
    WALKERDB_INDEX_HASH = 0,   /* the smallest; iteration in no order */
    WALKERDB_INDEX_ORDERED = 1 /* a B+ tree beside the hash: order, prefixes */
};

typedef struct walkerdb_options {
    size_t struct_size; /* set by walkerdb_options_init; for later versions */
    bool create;        /* make the directory and database if missing: true */
    bool read_only;     /* no lock, no change to any file: false */
    enum walkerdb_sync sync;   /* default INTERVAL */
    uint32_t sync_interval_ms; /* default 1,000 */
    uint64_t sync_bytes; /* INTERVAL: sync also after so many; 0 = no limit */
    enum walkerdb_index index; /* default HASH */
    uint64_t segment_size;     /* bytes of a file: 256 MiB; 64 KiB to 8 GiB */
    bool verify_on_read;       /* check the CRC32C of every record read: true */
    bool hints;          /* write and use hint files for a fast start: true */
    bool merge;          /* merge in the background: true */
    double merge_ratio;  /* garbage of a segment that starts a merge: 0.5 */
    uint64_t merge_rate; /* bytes a second read and written; 0 = no limit */
    uint64_t merge_free_space_min; /* below so much free disk, merge earlier */
    uint32_t load_threads;         /* of opening; 0 = the cores, at most 16 */
    /* One line for people at a time, from any thread; level 0 (debug) to 3
     * (warning). NULL: silent. */
    void (*log)(void *context, int level, const char *line);
    /* Opening: bytes read so far and in all. NULL: none. */
    void (*progress)(void *context, uint64_t done, uint64_t total);
    void *context; /* of both */
} walkerdb_options;

/* Fill in the defaults. */
WALKERDB_API void walkerdb_options_init(walkerdb_options *options);

/* --- open and close --------------------------------------------------------- */

/*
 * Open the database in `directory`, creating it if asked. options may be NULL
 * (the defaults). The time grows with the number of keys (about 0.2 us each
 * with hint files and two cores), the memory likewise.
 * *message_out (may be NULL) is a text for people on failure, or NULL; free it
 * with walkerdb_free.
 * ELOCKED (the message names the holder's process), ENOTFOUND, ECORRUPT (the
 * message names file and offset), EVERSION, EINVALID, EIO, ENOSPACE, ENOMEM,
 * EACCESS.
 */
WALKERDB_API int walkerdb_open(const char *directory,
                               const walkerdb_options *options, walkerdb **out,
                               char **message_out) WALKERDB_MUST_CHECK;
/*
 * Write what is gathered, sync it (unless the policy is NEVER or the handle is
 * poisoned), and free the handle. No other call may be under way; iterators,
 * batches and values must have been freed. NULL is allowed.
 */
WALKERDB_API void walkerdb_close(walkerdb *db);
/* free() of the library's allocator, for what it hands out as malloc'ed. */
WALKERDB_API void walkerdb_free(void *memory);

/* --- single keys -------------------------------------------------------------- */

/*
 * Write key = value, without expiry. With SYNC_ALWAYS it is durable on return;
 * otherwise it is gathered in memory, written to the file after at most 100 ms
 * or 256 KiB, and synced by the policy. walkerdb_sync makes sure.
 * ETOOBIG, ENOSPACE (not done, may be tried again), EIO, EREADONLY, ENOMEM.
 */
WALKERDB_API int walkerdb_put(walkerdb *db, const void *key, size_t key_size,
                              const void *value,
                              size_t value_size) WALKERDB_MUST_CHECK;
/* The same with an expiry in milliseconds since 1970; from then on the key is
 * not found. 0: none. */
WALKERDB_API int walkerdb_put_expiring(walkerdb *db, const void *key,
                                       size_t key_size, const void *value,
                                       size_t value_size,
                                       uint64_t expiry_ms) WALKERDB_MUST_CHECK;
/*
 * Copy the value to memory from malloc: *value_out, to be freed with
 * walkerdb_free (never NULL on success, also for an empty value).
 * ENOTFOUND, ECORRUPT, EIO, ENOMEM; EUNSUPPORTED (written by a server, and no
 * string).
 */
WALKERDB_API int walkerdb_get(walkerdb *db, const void *key, size_t key_size,
                              void **value_out,
                              size_t *value_size_out) WALKERDB_MUST_CHECK;
/*
 * Copy up to capacity bytes of the value into memory of the caller;
 * *value_size_out is its whole size, which may be more. As walkerdb_get.
 */
WALKERDB_API int walkerdb_get_into(walkerdb *db, const void *key,
                                   size_t key_size, void *buffer,
                                   size_t capacity,
                                   size_t *value_size_out) WALKERDB_MUST_CHECK;
/*
 * The value in place: *data_out points into the file's mapping (or a copy, if
 * it is not in the file yet) and stays valid, and unchanged by later writes,
 * until walkerdb_value_release. A value that is held delays the deletion of
 * its file after a merge, and nothing else. (A string that a server keeps in
 * chunks is copied.) As walkerdb_get.
 */
WALKERDB_API int walkerdb_value_acquire(walkerdb *db, const void *key,
                                        size_t key_size,
                                        walkerdb_value **value_out,
                                        const void **data_out,
                                        size_t *size_out) WALKERDB_MUST_CHECK;
WALKERDB_API void walkerdb_value_release(walkerdb_value *value);
/* 0 or ENOTFOUND; never reads the disk. */
WALKERDB_API int walkerdb_exists(walkerdb *db, const void *key,
                                 size_t key_size) WALKERDB_MUST_CHECK;
/* Expiry in ms since 1970, 0 if it has none. ENOTFOUND. */
WALKERDB_API int walkerdb_expiry(walkerdb *db, const void *key, size_t key_size,
                                 uint64_t *expiry_ms_out) WALKERDB_MUST_CHECK;
/* Delete. ENOTFOUND if it was not there (nothing is written then). Deletes go
 * on when the disk is full. */
WALKERDB_API int walkerdb_delete(walkerdb *db, const void *key,
                                 size_t key_size) WALKERDB_MUST_CHECK;
/*
 * Compare and set, atomically: if the current value equals expected (NULL:
 * the key must not be there), write value (NULL: delete the key).
 * EMISMATCH: it does not, nothing was written. An expiry of the key is kept.
 */
WALKERDB_API int walkerdb_compare_and_set(
    walkerdb *db, const void *key, size_t key_size, const void *expected,
    size_t expected_size, const void *value,
    size_t value_size) WALKERDB_MUST_CHECK;

/* --- batches --------------------------------------------------------------------
 *
 * A batch takes effect whole or not at all: for readers, and after a crash. It
 * is used by one thread at a time; several puts and deletes of one key act in
 * their order. At most 2 GiB.
 */
WALKERDB_API int walkerdb_batch_new(walkerdb *db,
                                    walkerdb_batch **out) WALKERDB_MUST_CHECK;
WALKERDB_API void walkerdb_batch_free(walkerdb_batch *batch);
/* Bytes are copied. ETOOBIG, ENOMEM. expiry_ms: 0 = none. */
WALKERDB_API int walkerdb_batch_put(walkerdb_batch *batch, const void *key,
                                    size_t key_size, const void *value,
                                    size_t value_size,
                                    uint64_t expiry_ms) WALKERDB_MUST_CHECK;
/* A key that is not there is no error. */
WALKERDB_API int walkerdb_batch_delete(walkerdb_batch *batch, const void *key,
                                       size_t key_size) WALKERDB_MUST_CHECK;
/* Write it; then it is empty and can be used again. `sync`: durable on return,
 * whatever the policy. On an error nothing of it happened, and it is as
 * before. */
WALKERDB_API int walkerdb_batch_commit(walkerdb_batch *batch,
                                       bool sync) WALKERDB_MUST_CHECK;
WALKERDB_API void walkerdb_batch_clear(walkerdb_batch *batch);
/* Operations in it. */
WALKERDB_API size_t walkerdb_batch_count(const walkerdb_batch *batch);

/* --- iteration ------------------------------------------------------------------
 *
 * An iterator (index ORDERED) walks the keys in the order of their bytes,
 * forwards or backwards, all or those with a prefix. Writes and merges go on
 * meanwhile and are not held up: a key that is there from the first to the last
 * step is returned exactly once; one that comes or goes meanwhile at most once.
 * A value is the one of the moment when it is read. One thread at a time.
 */
/* prefix may be NULL: all keys. Not positioned yet. EUNSUPPORTED with HASH. */
WALKERDB_API int walkerdb_iterator_new(
    walkerdb *db, const void *prefix, size_t prefix_size, bool backwards,
    walkerdb_iterator **out) WALKERDB_MUST_CHECK;
WALKERDB_API void walkerdb_iterator_free(walkerdb_iterator *iterator);
/* To the first key in its direction; ENOTFOUND if there is none. */
WALKERDB_API int walkerdb_iterator_first(walkerdb_iterator *iterator)
    WALKERDB_MUST_CHECK;
/* To the first key at or behind `key` in its direction. ENOTFOUND. */
WALKERDB_API int walkerdb_iterator_seek(walkerdb_iterator *iterator,
                                        const void *key,
                                        size_t key_size) WALKERDB_MUST_CHECK;
/* One further; ENOTFOUND at the end. */
WALKERDB_API int walkerdb_iterator_next(walkerdb_iterator *iterator)
    WALKERDB_MUST_CHECK;
/* The key that it stands on; valid until the iterator moves. */
WALKERDB_API void walkerdb_iterator_key(const walkerdb_iterator *iterator,
                                        const void **key_out,
                                        size_t *key_size_out);
/* The value of that key now; valid until the iterator moves or this is called
 * again. ENOTFOUND if it was deleted meanwhile; EIO, ECORRUPT. */
WALKERDB_API int walkerdb_iterator_value(
    walkerdb_iterator *iterator, const void **value_out,
    size_t *value_size_out) WALKERDB_MUST_CHECK;

/* Return non-zero to stop. The memory is valid during the call. No lock is held:
 * the callback may use the handle. */
typedef int (*walkerdb_fold_cb)(void *context, const void *key, size_t key_size,
                                const void *value, size_t value_size);
/*
 * Visit every key, in no order, with any index; with the same guarantee as an
 * iterator. with_values: false leaves the disk alone (value is NULL). What the
 * callback returned, if not 0; ENOMEM, EIO, ECORRUPT.
 */
WALKERDB_API int walkerdb_fold(walkerdb *db, bool with_values,
                               walkerdb_fold_cb callback,
                               void *context) WALKERDB_MUST_CHECK;

/* --- maintenance ------------------------------------------------------------------
 */
/* All that was written before is durable on return. EIO: poisoned. */
WALKERDB_API int walkerdb_sync(walkerdb *db) WALKERDB_MUST_CHECK;
/* Rewrite all segments that hold garbage, now, and wait for it. EBUSY if one
 * is under way, ENOSPACE (checked before), EABORTED. */
WALKERDB_API int walkerdb_merge(walkerdb *db) WALKERDB_MUST_CHECK;
/* Hold background merges, or let them go on. */
WALKERDB_API void walkerdb_merge_pause(walkerdb *db, bool paused);
/* Bytes done and in all; non-zero stops with EABORTED. */
typedef int (*walkerdb_progress_cb)(void *context, uint64_t done,
                                    uint64_t total);
/*
 * A consistent copy in `directory`, which must not exist; itself openable.
 * Hard links where the file system allows, so it costs nearly no space at
 * first. Writes go on meanwhile. progress may be NULL. EEXISTS, ENOSPACE, EIO.
 */
WALKERDB_API int walkerdb_backup(walkerdb *db, const char *directory,
                                 walkerdb_progress_cb progress,
                                 void *context) WALKERDB_MUST_CHECK;

typedef struct walkerdb_stats {
    size_t struct_size; /* set it to sizeof(walkerdb_stats) before the call */
    uint64_t key_count;
    uint64_t expiry_count;      /* of them with an expiry */
    uint64_t segment_count;     /* files */
    uint64_t disk_bytes;        /* allocated by them */
    uint64_t live_bytes;        /* records that are needed */
    uint64_t dead_bytes;        /* records that are not */
    uint64_t reclaimable_bytes; /* what a merge now would free, roughly */
    uint64_t keydir_bytes;      /* memory of the index */
    uint64_t ordered_bytes;     /* memory of the ordered index */
    uint64_t unwritten_bytes;   /* gathered, not in a file yet */
    uint64_t sync_count;
    uint64_t merge_count;
    uint64_t merge_last_ms; /* end of the last one; 0 = never */
    uint64_t merge_last_duration_ms;
    uint64_t merge_last_freed_bytes;
    bool merge_running;
    uint64_t load_ms; /* what opening took */
} walkerdb_stats;
/* EINVALID if struct_size is not one that this version knows. */
WALKERDB_API int walkerdb_get_stats(walkerdb *db,
                                    walkerdb_stats *out) WALKERDB_MUST_CHECK;

#ifdef __cplusplus
}
#endif
#endif /* WALKERDB_H */
