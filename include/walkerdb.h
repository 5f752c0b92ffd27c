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
#define WALKERDB_VERSION "1.0.0"

#if defined(__GNUC__)
#define WALKERDB_MUST_CHECK __attribute__((warn_unused_result))
#define WALKERDB_API __attribute__((visibility("default")))
#else
#define WALKERDB_MUST_CHECK
#define WALKERDB_API
#endif

#define WALKERDB_KEY_SIZE_MAX ((size_t)64 << 20)
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
    X(-19, ACCESS, "permission denied")

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

/* The rest of the contract is declared below by the library's API layer. */

#ifdef __cplusplus
}
#endif
#endif /* WALKERDB_H */
