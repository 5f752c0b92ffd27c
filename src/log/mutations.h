/*
 * mutations.h - rules of the log that a test can break, one at a time, to show
 * that the crash tests would notice. Compiled out unless WDB_MUTATIONS is
 * defined; then wdb_log_options has a field `mutations`, a set of these.
 */
#ifndef WDB_LOG_MUTATIONS_H
#define WDB_LOG_MUTATIONS_H

enum wdb_log_mutation {
    /* sync: the durable mark moves, but the file was never synced */
    WDB_MUTATION_SKIP_SYNC = 1 << 0,
    /* sync: the durable mark moves before the sync, not after it */
    WDB_MUTATION_DURABLE_EARLY = 1 << 1,
    /* sync: only the open segment is synced, not those before it */
    WDB_MUTATION_SYNC_LAST_ONLY = 1 << 2,
    /* seal: the manifest says sealed though nothing was synced */
    WDB_MUTATION_SKIP_SYNC_BEFORE_SEAL = 1 << 3,
    /* new segments: header, size and name are not synced */
    WDB_MUTATION_SKIP_SEGMENT_SYNC = 1 << 4,
    /* new segments: used before the manifest names them */
    WDB_MUTATION_SKIP_MANIFEST = 1 << 5,
    /* recovery: durable marks are ignored, all damage is cut */
    WDB_MUTATION_IGNORE_MARKS = 1 << 6,
    /* recovery: the frame chain is not checked */
    WDB_MUTATION_IGNORE_CHAIN = 1 << 7,
    /* recovery: payloads are not verified */
    WDB_MUTATION_IGNORE_PAYLOAD = 1 << 8,
    /* recovery: the torn segment is cut before the manifest is durable */
    WDB_MUTATION_CUT_BEFORE_MANIFEST = 1 << 9,
    /* recovery: what was accepted is served without being synced */
    WDB_MUTATION_SKIP_RECOVERY_SYNC = 1 << 10,
    /* recovery: a bad entry is skipped, the next good one is accepted */
    WDB_MUTATION_SKIP_BAD_ENTRY = 1 << 11,
    /* failure: a failed sync is tried again as if nothing had happened */
    WDB_MUTATION_RETRY_SYNC = 1 << 12,
    /* truncation: not recorded in the manifest */
    WDB_MUTATION_SKIP_TRUNCATION = 1 << 13,
    /* write: the watermark moves although the tail was not written */
    WDB_MUTATION_SHORT_WRITE = 1 << 14,
    /* hold: batches are appended all the same */
    WDB_MUTATION_IGNORE_HOLD = 1 << 15,
    /* base: not recorded in the manifest */
    WDB_MUTATION_SKIP_BASE = 1 << 16,
    /* install: the changed headers are not synced */
    WDB_MUTATION_INSTALL_SKIP_SYNC = 1 << 17,
    /* install: not recorded in the manifest */
    WDB_MUTATION_INSTALL_SKIP_MANIFEST = 1 << 18,
    /* install: the old segments' files go before the manifest is replaced */
    WDB_MUTATION_INSTALL_UNLINK_EARLY = 1 << 19,
    /* install: the next entry follows the old log's last one */
    WDB_MUTATION_INSTALL_OLD_INDEX = 1 << 20,
    /* open: the directories of transfers stay */
    WDB_MUTATION_INSTALL_SKIP_SWEEP = 1 << 21,
};

#ifdef WDB_MUTATIONS
#define WDB_LOG_MUTATED(log, which) (((log)->options.mutations & (which)) != 0)
#else
#define WDB_LOG_MUTATED(log, which) ((void)(log), 0)
#endif

#endif
