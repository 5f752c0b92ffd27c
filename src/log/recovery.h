/*
 * recovery.h - what recovery.c finds out and cut.c acts upon.
 */
#ifndef WDB_LOG_RECOVERY_H
#define WDB_LOG_RECOVERY_H

#include "log/log_internal.h"

/* What follows the accepted entries of a segment, up to the last byte that is
 * not zero; empty if from == to. */
struct wdb_recovery_rest {
    uint64_t from, to;
    uint64_t data_end; /* from here on nothing was ever written */
};

struct wdb_recovery {
    struct wdb_log *log;
    char **message_out;
    size_t first;   /* in log->order: the first that is not sealed */
    uint64_t *ends; /* of these: end of the accepted entries, 0 = skipped */
    struct wdb_recovery_rest *rests; /* of these */
    size_t end_segment;              /* in log->order: where the log ends */
    uint64_t end_offset;
    bool must_cut; /* something follows that is not zeros */

    uint64_t index_last; /* the last accepted entry, and its frame's crc */
    uint32_t last_crc;
    uint64_t entry_term;
    uint64_t time_ms;
    uint64_t committed; /* highest mark of an accepted frame */
    uint64_t mark;      /* highest durable mark of all */

    uint64_t bytes_total, bytes_done, bytes_told;
};

/* Set the message for people, unless there is one already. */
void wdb_recovery_say(struct wdb_recovery *r, const char *format, ...)
    WDB_PRINTF(2, 3);
/* The same, about a segment's file. */
void wdb_recovery_say_file(struct wdb_recovery *r,
                           const struct wdb_manifest_segment *m,
                           const char *what);

/* --- cut.c ----------------------------------------------------------------- */

/* Make the files what recovery found, and choose or make the open segment. */
WDB_MUST_CHECK int wdb_cut_run(struct wdb_recovery *r);
/* The same for a log that is only read: no file changes. */
WDB_MUST_CHECK int wdb_cut_in_memory(struct wdb_recovery *r);

#endif
