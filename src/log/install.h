/*
 * install.h - puts a snapshot from elsewhere in the place of the whole log.
 *
 *   dir/        MANIFEST  <id>.log  <id>.mrg ...       as a backup left them
 *                  │         │ header rewritten, renamed
 *                  ▼         ▼
 *   the log's   (ids, ends)  <new id>.log  <new id>.mrg   not named yet
 *                            │ read from end to end
 *                            ▼
 *               MANIFEST: these and a new open segment, nothing else
 *
 * Frames depend on a segment's salt, not on its id, so only headers change. The
 * files are changed in place: they must be copies that belong to nobody else.
 * Before the last step a crash, or a failure, leaves files that the manifest
 * does not name; recovery deletes them.
 *
 * Steps, in this order, by one thread: begin, verify each, finish; or abort.
 */
#ifndef WDB_LOG_INSTALL_H
#define WDB_LOG_INSTALL_H

#include "log/log.h"

struct wdb_log_install {
    struct wdb_log *log;
    uint64_t index, term;
    struct wdb_manifest manifest; /* of the snapshot; its segments are sealed
                                     and have our ids */
    uint32_t end_crc;             /* of the last frame */
    struct wdb_segment **segments;
    size_t count; /* of the manifest's segments, and of the array when opened */
    size_t taken; /* files that have our names by now */
    size_t opened;
    uint64_t size; /* bytes in all */
};

/*
 * Take the files of `dir` in. Nothing of the log changes, which may go on until
 * finish. On failure everything that was taken is deleted. EINVALID; ECORRUPT
 * (the manifest, a size or a header is wrong, it does not end at index),
 * EVERSION, ENOSPACE, EIO, ENOMEM, EBUSY.
 */
WDB_MUST_CHECK int wdb_log_install_begin(struct wdb_log *log, const char *dir,
                                         uint64_t index, uint64_t term,
                                         struct wdb_log_install *out);
/* Frames of one segment: their chain from end to end, indexes and terms. Their
 * payloads are verified by a wdb_log_scan, which is the caller's. ECORRUPT,
 * EIO; *offset_out is the bad place. */
WDB_MUST_CHECK int wdb_log_install_verify(struct wdb_log_install *install,
                                          size_t number, uint64_t *offset_out);
/*
 * Switch; the log is held and flushed, and index is at least what is committed.
 * Afterwards the log ends at index, and everything up to there is durable and
 * committed; its term is that of the last entry. The old segments are retired.
 * The base, a copy of which becomes the log's, and `cluster`
 * stay with the manifest; `retained` is raised to index + 1. Any other
 * failure than EIO, which poisons, leaves everything as it was. The install is
 * released in any case. EINVALID (more is committed by now), ENOSPACE, ENOMEM,
 * EBUSY, EIO.
 */
WDB_MUST_CHECK int wdb_log_install_finish(struct wdb_log_install *install,
                                          struct wdb_slice base);
/* Delete what was taken, and release. */
void wdb_log_install_abort(struct wdb_log_install *install);
/* The new log cannot be used by this process, since its owner failed to load
 * it: poison it. Returns `error`. */
int wdb_log_install_lost(struct wdb_log *log, int error);

/* Delete the directories of transfers below the database's, with those of their
 * files that have names of ours. What cannot be deleted stays. */
void wdb_install_sweep(struct wdb_log *log);

#endif
