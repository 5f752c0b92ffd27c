/*
 * identity.h - what a node must never forget: who it is, the term that it is
 * in and whom it voted for. A file of its own in -raftdir, so that nothing else
 * ever rewrites it: two slots of 512 bytes with the same content, each with its
 * checksum and a number; the valid one with the higher number counts.
 *
 *   0          512        1024
 *   +----------+----------+
 *   | slot 0   | slot 1   |   magic, version, number, node id, cluster id,
 *   +----------+----------+   nonce of the log, term, vote, name, removed, CRC
 *
 * A store writes slot 0, syncs, writes slot 1, syncs. So if one slot is damaged
 * the other has the same content, or (a crash in the middle of a store) one that
 * nobody was told of was being written. If both are damaged the node refuses to
 * start: it does not know whom it voted for.
 *
 * Thread: one at a time (the raft thread).
 */
#ifndef WDB_RAFT_IDENTITY_H
#define WDB_RAFT_IDENTITY_H

#include "env/env.h"
#include "raft/members.h"

#define WDB_IDENTITY_NAME "raft-identity"

struct wdb_identity {
    struct wdb_env *env;
    struct wdb_file *file;
    uint64_t number; /* of the slot that counts */
    wdb_node_id id;
    uint64_t cluster_id; /* 0: none yet */
    uint64_t log_nonce;  /* of the database that belongs to it; 0: none yet */
    uint64_t term;
    wdb_node_id voted_for; /* in term; 0: nobody */
    bool removed;          /* the cluster has removed this node */
    char name[WDB_MEMBER_NAME_MAX + 1];
};

/*
 * Open dir/raft-identity; if there is none, make one with a random id and this
 * name. EEXISTS: it is of another name (message_out says which). ECORRUPT,
 * EVERSION, EIO, ENOSPACE. *message_out is malloc'ed, or NULL.
 */
WDB_MUST_CHECK int wdb_identity_open(struct wdb_env *env, const char *dir,
                                     const char *name,
                                     struct wdb_identity *out,
                                     char **message_out);
void wdb_identity_close(struct wdb_identity *identity);
/* Write all fields durably. EIO: the node must stop. */
WDB_MUST_CHECK int wdb_identity_store(struct wdb_identity *identity);

#endif
