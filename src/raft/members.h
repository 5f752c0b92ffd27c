/*
 * members.h - who is in the cluster: the configuration that the log carries in
 * its CHANGE entries.
 */
#ifndef WDB_RAFT_MEMBERS_H
#define WDB_RAFT_MEMBERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attributes.h"
#include "base/buffer.h"

/* A node and its disk, drawn at random when the directory was made; never 0,
 * and never used again. The name (-id) is for people. */
typedef uint64_t wdb_node_id;

#define WDB_MEMBERS_MAX        16
#define WDB_MEMBER_NAME_MAX    63
#define WDB_MEMBER_ADDRESS_MAX 287 /* "[address or host]:port" */
#define WDB_REMOVED_MAX        1024

enum wdb_member_role {
    WDB_MEMBER_STANDBY = 0, /* gets the log, does not vote */
    WDB_MEMBER_VOTER = 1,
};

struct wdb_member {
    wdb_node_id id;
    enum wdb_member_role role;
    char name[WDB_MEMBER_NAME_MAX + 1];
    char raft_address[WDB_MEMBER_ADDRESS_MAX + 1];
    char tcp_address[WDB_MEMBER_ADDRESS_MAX + 1];
};

/* A name (and id) that was removed: it never comes back. */
struct wdb_removed {
    wdb_node_id id;
    char name[WDB_MEMBER_NAME_MAX + 1];
};

struct wdb_members {
    uint64_t cluster_id; /* never 0 */
    uint32_t count;
    struct wdb_member members[WDB_MEMBERS_MAX]; /* in the order of joining */
    uint32_t removed_count;
    struct wdb_removed *removed; /* malloc'ed, oldest first */
};

void wdb_members_init(struct wdb_members *members);
void wdb_members_release(struct wdb_members *members);
/* Deep copy over what *out holds. ENOMEM: *out is as before. */
WDB_MUST_CHECK int wdb_members_copy(const struct wdb_members *from,
                                    struct wdb_members *out);
const struct wdb_member *wdb_members_find(const struct wdb_members *members,
                                          wdb_node_id id);
const struct wdb_member *wdb_members_find_name(
    const struct wdb_members *members, const char *name);
bool wdb_members_is_removed(const struct wdb_members *members, wdb_node_id id);
bool wdb_members_is_removed_name(const struct wdb_members *members,
                                 const char *name);
uint32_t wdb_members_voters(const struct wdb_members *members);
/* EEXISTS (id, name or raft address is in use, or was removed), ETOOBIG,
 * EINVALID (no id, a name or address that is empty or has other than printable
 * characters without blanks). */
WDB_MUST_CHECK int wdb_members_add(struct wdb_members *members,
                                   const struct wdb_member *member);
/* To the list of the removed. ENOTFOUND, ETOOBIG, ENOMEM: nothing changed. */
WDB_MUST_CHECK int wdb_members_remove(struct wdb_members *members,
                                      wdb_node_id id);

/*
 * The payload of a CHANGE entry: padded with zeros to a multiple of 8.
 * Encode appends to out: ENOMEM; EINVALID for members that break a rule (as of
 * wdb_members_add; or there is no cluster id, or nobody votes), which may be
 * since their fields can be set. Decode: ECORRUPT for whatever could not have
 * been encoded here (all limits, names, duplicates and padding are checked);
 * ENOMEM; *out, to be released, is written only if it returns 0.
 */
WDB_MUST_CHECK int wdb_members_encode(const struct wdb_members *members,
                                      struct wdb_buffer *out);
WDB_MUST_CHECK int wdb_members_decode(const uint8_t *data, size_t size,
                                      struct wdb_members *out);

/*
 * What the log's manifest keeps for Raft: up to `index` everything is applied
 * and committed, and entries up to there may be given up to merge.
 */
struct wdb_raft_base {
    uint64_t index, term;   /* of the last entry that it stands for */
    uint64_t state_hash;    /* over all entries up to there */
    uint64_t members_index; /* the CHANGE entry that they come from */
    struct wdb_members members;
};
void wdb_raft_base_release(struct wdb_raft_base *base);
/* Appends to out; no members at all (as of init) are fine. ENOMEM; EINVALID: as
 * above, or members_index > index, or one of index and term is 0 alone. */
WDB_MUST_CHECK int wdb_raft_base_encode(const struct wdb_raft_base *base,
                                        struct wdb_buffer *out);
/* ECORRUPT, EVERSION, ENOMEM: then *out is as before. */
WDB_MUST_CHECK int wdb_raft_base_decode(const uint8_t *data, size_t size,
                                        struct wdb_raft_base *out);

#endif
