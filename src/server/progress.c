/* progress.c - how far opening the database is. */
#include "server/progress.h"

#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#define TERMINAL_INTERVAL_NS UINT64_C(200000000)
#define LOG_INTERVAL_NS      UINT64_C(5000000000)

void wdb_progress_begin(struct wdb_progress *progress, struct wdb_env *env,
                        const struct wdb_logger *logger)
{
    progress->env = env;
    progress->logger = logger;
    progress->is_terminal = isatty(2) != 0;
    progress->shown = false;
    progress->started_ns = env->ops->monotonic_ns(env);
    atomic_store(&progress->shown_ns, progress->started_ns);
}

void wdb_progress_update(struct wdb_progress *progress, uint64_t done,
                         uint64_t total)
{
    if (total == 0) {
        return;
    }
    uint64_t now = progress->env->ops->monotonic_ns(progress->env);
    uint64_t interval =
        progress->is_terminal ? TERMINAL_INTERVAL_NS : LOG_INTERVAL_NS;
    uint64_t last = atomic_load(&progress->shown_ns);
    if (now - last < interval ||
        !atomic_compare_exchange_strong(&progress->shown_ns, &last, now)) {
        return;
    }
    double seconds = (double)(now - progress->started_ns) / 1e9;
    double rate = (double)done / 1e6 / seconds;
    double left =
        done == 0 ? 0 : seconds * (double)(total - done) / (double)done;
    if (progress->is_terminal) {
        progress->shown = true;
        fprintf(stderr, "\rloading: %5.1f %%, %.0f MB/s, %.0f s left   ",
                100.0 * (double)done / (double)total, rate, left);
    } else {
        wdb_logger_print(progress->logger, WDB_LOG_NOTICE,
                         "loading: %.1f %%, %.0f MB/s, %.0f s left",
                         100.0 * (double)done / (double)total, rate, left);
    }
}

void wdb_progress_end(struct wdb_progress *progress)
{
    if (progress->shown) {
        fprintf(stderr, "\r%50s\r", "");
    }
}
