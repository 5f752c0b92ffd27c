/*
 * mutations.h - rules of the engine that a test can break, one at a time, to
 * show that the crash tests would notice. Compiled out unless WDB_MUTATIONS is
 * defined; then wdb_store_options has a field `mutations`, a set of these.
 */
#ifndef WDB_STORE_MUTATIONS_H
#define WDB_STORE_MUTATIONS_H

#define WDB_STORE_MUTATIONS(X)                                                   \
    /* merge: the originals go although what made their records garbage is     \
     * not durable */ \
    X(MERGE_SKIP_DURABLE, 0)                                                     \
    /* merge: the manifest names the outputs, which were not synced */           \
    X(MERGE_SKIP_SYNC, 1)                                                        \
    /* merge: the originals are unlinked before the manifest is replaced */      \
    X(MERGE_UNLINK_EARLY, 2)                                                     \
    /* merge: keys are not pointed at the copies */                              \
    X(MERGE_SKIP_MOVE, 3)                                                        \
    /* merge: a key that was written again is pointed at the copy */             \
    X(MERGE_MOVE_BLINDLY, 4)                                                     \
    /* merge: goes on after a truncation */                                      \
    X(MERGE_IGNORE_TRUNCATION, 5)                                                \
    /* merge: does not wait for the commit */                                    \
    X(MERGE_SKIP_COMMITTED, 6)                                                   \
    /* tombstones: dropped by every merge */                                     \
    X(TOMBSTONE_DROP_ALWAYS, 7)                                                  \
    /* tombstones: a merge claims that what it left is clean for good */         \
    X(CLEAN_INDEX_LATE, 8)                                                       \
    /* tombstones of elements: dropped by every merge */                         \
    X(ELEMENT_DROP_ALWAYS, 9)                                                    \
    /* expiry: an EXPIRE record is dropped though its put is elsewhere */        \
    X(EXPIRE_DROP_ALWAYS, 10)                                                    \
    /* expiry: a put is copied without the expiry that it has by now */          \
    X(EXPIRE_SKIP_FOLD, 11)                                                      \
    /* databases: the mapping's record is dropped by merge */                    \
    X(DATABASES_DROP, 12)                                                        \
    /* hints: leave out what is garbage when they are written */                 \
    X(HINT_LIVE_ONLY, 13)                                                        \
    /* batch: its records are appended and written one by one */                 \
    X(BATCH_SPLIT, 15)                                                           \
    /* undo: oldest first */                                                     \
    X(UNDO_FORWARD, 16)                                                          \
    /* undo: expiries stay */                                                    \
    X(UNDO_SKIP_EXPIRY, 17)                                                      \
    /* undo: the mapping of databases stays */                                   \
    X(UNDO_SKIP_DATABASES, 18)                                                   \
    /* undo: forgotten before the commit */                                      \
    X(UNDO_DROP_EARLY, 19)                                                       \
    /* backup: its manifest is there before its files are */                     \
    X(BACKUP_MANIFEST_FIRST, 20)                                                 \
    /* load: segments are applied in the order of their ids */                   \
    X(LOAD_BY_ID, 21)                                                            \
    /* load: entries that are not known to be committed are applied, too */      \
    X(LOAD_UNCOMMITTED, 22)                                                      \
    /* merge: what is in the log counts as dead before it is applied */          \
    X(CLEAN_UNAPPLIED, 23)                                                       \
    /* revert: merge is not told */                                              \
    X(REVERT_IN_SECRET, 24)                                                      \
    /* undo: plain records first, whatever came after them */                    \
    X(UNDO_PLAIN_FIRST, 25)                                                      \
    /* backup: what is not committed is in it, too */                            \
    X(BACKUP_UNCOMMITTED, 26)

enum wdb_store_mutation {
#define WDB_MUTATION_X(name, bit) WDB_MUTATION_##name = 1 << (bit),
    WDB_STORE_MUTATIONS(WDB_MUTATION_X)
#undef WDB_MUTATION_X
};

#ifdef WDB_MUTATIONS
#define WDB_STORE_MUTATED(store, which)                                        \
    (((store)->options.mutations & (which)) != 0)
#else
#define WDB_STORE_MUTATED(store, which) ((void)(store), 0)
#endif

#endif
