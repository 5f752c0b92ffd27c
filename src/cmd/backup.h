/*
 * backup.h - SAVE, BGSAVE and BGREWRITEAOF: backups and merges that somebody
 * asked for.
 *
 * A backup is a directory of its own in store-backup-dir (by default "backups"
 * in the directory of the database), named after the database and the time in
 * UTC; it carries ".partial" at the end of its name until it is whole. The
 * newest store-backup-keep of them stay. Nothing here runs on a loop.
 */
#ifndef WDB_CMD_BACKUP_H
#define WDB_CMD_BACKUP_H

#include "base/attributes.h"
#include "cmd/context.h"

struct wdb_background_save; /* context->save */

/* For context->save, before the first session. ENOMEM. */
WDB_MUST_CHECK int wdb_backup_new(struct wdb_background_save **out);
/* Nothing of it runs any more. */
void wdb_backup_free(struct wdb_background_save *save);

/*
 * Make a backup now and wait for it; one that BGSAVE started is given up first.
 * For SHUTDOWN SAVE, and for signals that are set to save. Thread: any that may
 * wait. On failure the text for people is in error.
 */
WDB_MUST_CHECK int wdb_backup_run(struct wdb_context *context, char *error,
                                  size_t error_size);
/* The server stops: what runs off the loops here shall end soon. A backup that
 * wdb_backup_run makes goes on. */
void wdb_backup_stop(struct wdb_context *context);

/* What INFO tells. Times in seconds since 1970, durations -1 if never. */
struct wdb_backup_stats {
    bool running, last_ok;
    uint64_t last_s;         /* last that succeeded; the start if none */
    uint64_t changes;        /* of keys since then */
    int64_t last_duration_s; /* of the last, whatever came of it */
    int64_t duration_s;      /* of the one that runs */
    uint64_t done, total;    /* bytes of the one that runs */
    uint64_t count;          /* that succeeded */
    bool merge_running, merge_last_ok; /* those of BGREWRITEAOF */
    int64_t merge_last_duration_s, merge_duration_s;
    uint64_t merge_count;
};
void wdb_backup_stats(struct wdb_context *context,
                      struct wdb_backup_stats *out);

#endif
