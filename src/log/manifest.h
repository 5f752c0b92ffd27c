/*
 * manifest.h - the small file that says which files are the database.
 *
 * It is replaced atomically (MANIFEST.tmp, sync, rename, sync of the
 * directory), so after a crash either the old or the new one is there. Files
 * that it does not name are leftovers: recovery deletes them.
 *
 * Invariants, asserted by wdb_manifest_check() where it is written and read:
 *   1. Segments are sorted by sequence; their ranges of entry indexes are
 *      disjoint: index_first <= index_last < next.index_first. Merged segments
 *      that come out of one run may share a boundary index (an entry whose
 *      records went to two of them); then place order continues.
 *   2. Segments that are not sealed are log segments and stand last, in the
 *      order of their ids; their index_first may be 0: not known yet.
 *   3. A sealed segment was synced before the manifest said so; its size_used
 *      lies between its header's end and its size.
 *   4. Ids are below segment_id_next, and no two segments share one.
 */
#ifndef WDB_LOG_MANIFEST_H
#define WDB_LOG_MANIFEST_H

#include "env/env.h"
#include "log/format.h"
#include "log/names.h"

#define WDB_MANIFEST_NAME     WDB_NAME_MANIFEST
#define WDB_MANIFEST_SIZE_MAX ((size_t)256 << 20)

struct wdb_manifest_segment {
    uint64_t id;
    uint8_t kind;  /* enum wdb_segment_kind */
    bool sealed;   /* if not: size_used, index_last are found by recovery */
    uint64_t size; /* allocated bytes */
    uint64_t size_used; /* sealed: the first byte behind its last entry */
    uint64_t index_first;
    uint64_t index_last; /* sealed; index_first - 1 if it has no entry */
    uint32_t first_previous_crc; /* chain: crc before its first frame */
    uint32_t last_crc;           /* sealed log segment: crc of its last frame */
    uint64_t clean_index;  /* merged: what was dead at this index is absent */
    uint64_t record_count; /* merged */
    uint64_t bytes_dead_hint; /* garbage known when the manifest was written */
};

struct wdb_manifest {
    uint64_t generation; /* grows with each replacement */
    uint64_t nonce;      /* of the database, random */
    uint64_t segment_id_next;
    uint64_t truncation_index; /* last wdb_log_truncate: from, 0 = never */
    uint64_t truncation_count;
    uint64_t index_retained;  /* log entries from here on are kept for peers */
    uint64_t index_durable;   /* entries up to here were durable when this was
                                written: damage there is corruption */
    uint64_t index_committed; /* entries up to here were known committed then:
                                 merged segments rely on it */
    uint64_t time_ms;         /* highest logged time then */
    uint64_t object_counter;  /* high-water mark: ids below may be in use */
    uint64_t term;            /* standalone: 1 */
    bool cluster;             /* belongs to a cluster: no standalone start */
    struct wdb_slice raft;    /* opaque snapshot metadata and configuration;
                                memory belongs to the manifest */
    struct wdb_manifest_segment *segments; /* malloc'ed */
    size_t segment_count;
};

/* An empty manifest of a new database with this nonce. */
void wdb_manifest_init(struct wdb_manifest *m, uint64_t nonce);
void wdb_manifest_release(struct wdb_manifest *m);
/* Deep copy. ENOMEM. */
WDB_MUST_CHECK int wdb_manifest_copy(const struct wdb_manifest *from,
                                     struct wdb_manifest *out);
/* The invariant that does not hold, as a static text, or NULL. *place_out (may
 * be NULL) is then the place of the segment in the list. */
const char *wdb_manifest_violation(const struct wdb_manifest *m,
                                   size_t *place_out);
/* Assert the invariants. */
void wdb_manifest_check(const struct wdb_manifest *m);
/*
 * Encode into malloc'ed memory; decode into *out, to be released. What
 * recovery finds anyway about a segment that is not sealed (size_used,
 * index_last, last_crc) is written as 0. ENOMEM; encode: ETOOBIG; decode:
 * ECORRUPT (also if an invariant does not hold), EVERSION.
 */
WDB_MUST_CHECK int wdb_manifest_encode(const struct wdb_manifest *m,
                                       void **data_out, size_t *size_out);
WDB_MUST_CHECK int wdb_manifest_decode(const void *data, size_t size,
                                       struct wdb_manifest *out);
/* Read dir/MANIFEST. ENOTFOUND if there is none; ECORRUPT, EVERSION, EIO,
 * ENOMEM. */
WDB_MUST_CHECK int wdb_manifest_load(struct wdb_env *env, const char *dir,
                                     struct wdb_manifest *out);
/* Write it durably; m->generation was raised by the caller. EIO, ENOSPACE,
 * ENOMEM. */
WDB_MUST_CHECK int wdb_manifest_store(struct wdb_env *env, const char *dir,
                                      const struct wdb_manifest *m);

#endif
