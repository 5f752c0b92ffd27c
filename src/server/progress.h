/* progress.h - how far opening the database is: a line that rewrites itself on
 * a terminal, now and then a line in the log. */
#ifndef WDB_SERVER_PROGRESS_H
#define WDB_SERVER_PROGRESS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/logger.h"
#include "env/env.h"

struct wdb_progress {
    struct wdb_env *env;
    const struct wdb_logger *logger;
    bool is_terminal;
    bool shown;
    uint64_t started_ns;
    _Atomic uint64_t shown_ns; /* when it was shown last */
};

void wdb_progress_begin(struct wdb_progress *progress, struct wdb_env *env,
                        const struct wdb_logger *logger);
/* Bytes done and in all; any thread. */
void wdb_progress_update(struct wdb_progress *progress, uint64_t done,
                         uint64_t total);
void wdb_progress_end(struct wdb_progress *progress);

#endif
