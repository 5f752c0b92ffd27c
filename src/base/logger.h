/*
 * logger.h - log lines of the process, in a form that Redis users know.
 *
 * No global: the logger hangs off the handle that it serves; the library's
 * callers hand in a sink, the server's writes to a file or standard output.
 */
#ifndef WDB_BASE_LOGGER_H
#define WDB_BASE_LOGGER_H

#include <stdatomic.h>

#include "base/attributes.h"

enum wdb_log_level {
    WDB_LOG_DEBUG,
    WDB_LOG_VERBOSE,
    WDB_LOG_NOTICE,
    WDB_LOG_WARNING,
};

struct wdb_logger {
    /* Called with one line without newline, from any thread. May be NULL. */
    void (*sink)(void *context, enum wdb_log_level level, const char *line);
    void *context;
    /* May be changed at any time. */
    _Atomic(enum wdb_log_level) level_min;
};

/* Format and hand on a line (at most 1,023 bytes, cut with "..."). logger may
 * be NULL: then nothing happens. Control characters become blanks, so that a
 * line stays one. Thread: any, as the sink allows. */
void wdb_logger_print(const struct wdb_logger *logger, enum wdb_log_level level,
                      const char *format, ...) WDB_PRINTF(3, 4);

#endif
