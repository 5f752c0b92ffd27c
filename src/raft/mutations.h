/*
 * mutations.h - rules that a test breaks on purpose, one at a time, to see that
 * the simulator notices (build option WDB_MUTATIONS).
 */
#ifndef WDB_RAFT_MUTATIONS_H
#define WDB_RAFT_MUTATIONS_H

#define WDB_RAFT_MUTATIONS(X)                                                  \
    /* core: messages are not split in front of a CHANGE */                    \
    X(CHANGE_NOT_FIRST, 0)                                                     \
    /* a leader executes before an entry of its own term is committed */       \
    X(SERVE_EARLY, 1)                                                          \
    /* entries are applied that are not durable here */                        \
    X(APPLY_UNPERSISTED, 2)                                                    \
    /* rounds: answered as if our term were that of who asks */                \
    X(ROUND_ANY_TERM, 3)                                                       \
    /* term and vote are not written before they are told */                   \
    X(VOTE_NOT_DURABLE, 4)                                                     \
    /* the vote is forgotten at a restart */                                   \
    X(VOTE_FORGOTTEN, 5)                                                       \
    /* what is appended counts as durable */                                   \
    X(PERSISTED_EARLY, 6)                                                      \
    /* a sync from before a truncation counts for what came instead */         \
    X(PERSISTED_STALE, 7)                                                      \
    /* office lost: effects of what is not committed stay */                   \
    X(REVERT_NOTHING, 8)                                                       \
    /* office lost: what the core never saw stays in the log */                \
    X(TAIL_KEPT, 9)                                                            \
    /* office lost: replies that wait go out with a later commit */            \
    X(ERA_KEPT, 10)                                                            \
    /* rounds: an answer to an older request counts */                         \
    X(ROUND_OLD, 11)                                                           \
    /* rounds: nobody is asked */                                              \
    X(ROUND_SKIPPED, 12)                                                       \
    /* rounds: a read belongs to the one that is under way */                  \
    X(ROUND_JOINED_LATE, 13)                                                   \
    /* core: the result of an append of an older term counts */                \
    X(RESULT_ANY_TERM, 14)                                                     \
    /* core: an append of an older term is taken */                            \
    X(APPEND_OLD_TERM, 15)                                                     \
    /* leadership is handed over while requests are under way */               \
    X(TRANSFER_UNDRAINED, 16)                                                  \
    /* merge takes entries that peers may still need */                        \
    X(RETAINED_IGNORED, 17)                                                    \
    /* snapshots: installed before their files are durable */                  \
    X(SNAPSHOT_UNSYNCED, 18)                                                   \
    /* snapshots: one that is older than what is here is installed, too */     \
    X(SNAPSHOT_STALE, 19)                                                      \
    /* truncation: the configuration of a lost entry stays in effect */        \
    X(MEMBERS_KEPT, 20)                                                        \
    /* followers apply whatever is durable here */                             \
    X(APPLY_UNCOMMITTED, 21)

enum wdb_raft_mutation {
#define WDB_MUTATION_X(name, bit) WDB_MUTATION_##name = 1 << (bit),
    WDB_RAFT_MUTATIONS(WDB_MUTATION_X)
#undef WDB_MUTATION_X
};

#ifdef WDB_MUTATIONS
#define WDB_RAFT_MUTATED(raft, which)                                          \
    (((raft)->options.mutations & (uint32_t)(which)) != 0)
#else
#define WDB_RAFT_MUTATED(raft, which) ((void)(raft), 0)
#endif
/* The core has options.mutations, too. */
#define WDB_CORE_MUTATED(core, which) WDB_RAFT_MUTATED(core, which)

#endif
