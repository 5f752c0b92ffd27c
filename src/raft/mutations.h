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
    X(ROUND_ANY_TERM, 3)

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
