/*
 * identity.h - what a node must never forget: who it is, the term that it is
 * in and whom it voted for. A file of its own in -raftdir, so that nothing else
 * ever rewrites it: two slots with the same content, each with its checksum and
 * a number; the valid one with the higher number counts.
 *
 *   0        512          4096     4608        8192
 *   +--------+- - - - - - +--------+- - - - - -+
 *   | slot 0 | zeros      | slot 1 | zeros     |   magic, version, number, node
 *   +--------+- - - - - - +--------+- - - - - -+   id, cluster id, nonce of the
 *                                                  log, term, vote, name,
 *   (so that one unreadable block takes one slot)  removed, CRC
 *
 * A store writes slot 0, syncs, writes slot 1, syncs. So if one slot is damaged
 * the other has the same content, or (a crash in the middle of a store) one that
 * nobody was told of was being written. Opening makes both the same again,
 * before anybody acts on what was read. If both are damaged the node refuses to
 * start: it does not know whom it voted for.
 *
 * Thread: one at a time (the raft thread).
 */
#ifndef WDB_RAFT_IDENTITY_H
#define WDB_RAFT_IDENTITY_H

#include "env/env.h"
#include "raft/members.h"

#define WDB_IDENTITY_NAME      "raft-identity"
#define WDB_IDENTITY_SLOTS     2
#define WDB_IDENTITY_SLOT_SIZE 512
#define WDB_IDENTITY_SLOT_STEP 4096 /* from one slot to the next */
#define WDB_IDENTITY_FILE_SIZE (WDB_IDENTITY_SLOTS * WDB_IDENTITY_SLOT_STEP)

struct wdb_identity {
    struct wdb_env *env;
    struct wdb_file *file; /* NULL after a store that failed */
    uint64_t number;       /* of the slot that counts */
    wdb_node_id id;
    uint64_t cluster_id; /* 0: none yet */
    uint64_t log_nonce;  /* of the database that belongs to it; 0: none yet */
    uint64_t term;
    wdb_node_id voted_for; /* in term; 0: nobody */
    bool removed;          /* the cluster has removed this node */
    bool repaired; /* open found a slot damaged, and has written it anew: worth
                      a line in the log; not stored */
    char name[WDB_MEMBER_NAME_MAX + 1];
    /* private: what is stored, which must never be taken back */
    uint64_t term_stored;
    wdb_node_id vote_stored;
};

/*
 * Open dir/raft-identity; if there is none, make one with a random id and this
 * name. EEXISTS: it is of another name (message_out says which). ECORRUPT,
 * EVERSION, EINVALID (name), EIO, ENOSPACE, ENOMEM. *message_out is malloc'ed
 * (what went wrong and what to do), or NULL, as always with 0.
 */
WDB_MUST_CHECK int wdb_identity_open(struct wdb_env *env, const char *dir,
                                     const char *name, struct wdb_identity *out,
                                     char **message_out);
void wdb_identity_close(struct wdb_identity *identity);
/* Put a new one with a random id in the place of this one in dir, as if there had
 * been none: for a node that was never in a cluster. Errors as of open; then
 * *identity is closed, and the file has the old or the new one. */
WDB_MUST_CHECK int wdb_identity_renew(struct wdb_identity *identity,
                                      const char *dir, char **message_out);
/* Write all fields durably. Asserts that the term does not fall, and that a
 * vote does not change in its term. EIO: the node must stop; what is in the file
 * is the old or the new state, and every later store says EIO, too. */
WDB_MUST_CHECK int wdb_identity_store(struct wdb_identity *identity);

/* --- bytes: for tools and tests too ---------------------------------------- */

/* One slot. */
void wdb_identity_encode(const struct wdb_identity *identity,
                         uint8_t out[WDB_IDENTITY_SLOT_SIZE]);
/* ECORRUPT (also for whatever store could not have written), EVERSION. */
WDB_MUST_CHECK int wdb_identity_decode(
    const uint8_t data[WDB_IDENTITY_SLOT_SIZE], struct wdb_identity *out);
/* What counts in a whole file, of any size. Bit n of *damaged_out: slot n is
 * damaged (both only with ECORRUPT); bit n of *old_out: it is sound, but not
 * the one that counts, and different. ECORRUPT, EVERSION. */
WDB_MUST_CHECK int wdb_identity_choose(const uint8_t *data, size_t size,
                                       struct wdb_identity *out,
                                       unsigned *damaged_out,
                                       unsigned *old_out);

#endif
