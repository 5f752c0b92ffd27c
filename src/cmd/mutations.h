/*
 * mutations.h - rules of executing commands in a cluster that a test breaks on
 * purpose, one at a time, to see that the simulator notices. Compiled out unless
 * WDB_MUTATIONS is defined; then wdb_context has a field `mutations`.
 */
#ifndef WDB_CMD_MUTATIONS_H
#define WDB_CMD_MUTATIONS_H

#define WDB_CMD_MUTATIONS(X)                                                   \
    /* a lost reply says that nothing was done */                              \
    X(UNKNOWN_AS_FAILED, 0)                                                    \
    /* the gate waits for our own disk, not for a majority */                  \
    X(GATE_DURABLE, 1)                                                         \
    /* reads do not wait for what they saw */                                  \
    X(GATE_WRITES_ONLY, 2)                                                     \
    /* reads that found nothing do not wait */                                 \
    X(GATE_FOUND_ONLY, 3)                                                      \
    /* no read waits for a round */                                            \
    X(READ_UNCONFIRMED, 4)                                                     \
    /* a node that does not lead executes all the same */                      \
    X(EXECUTE_ANYWHERE, 5)

enum wdb_cmd_mutation {
#define WDB_MUTATION_X(name, bit) WDB_MUTATION_##name = 1 << (bit),
    WDB_CMD_MUTATIONS(WDB_MUTATION_X)
#undef WDB_MUTATION_X
};

#ifdef WDB_MUTATIONS
#define WDB_CMD_MUTATED(context, which)                                        \
    (((context)->mutations & (uint32_t)(which)) != 0)
#else
#define WDB_CMD_MUTATED(context, which) ((void)(context), 0)
#endif

#endif
