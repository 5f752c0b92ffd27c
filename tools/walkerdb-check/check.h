/*
 * check.h - the parts of walkerdb-check.
 *
 *   main (../walkerdb-check.c)   options; the order of the steps
 *   directory.c   manifest, files of the directory, opening of segments
 *   tail.c        where the log ends, by the rules of recovery
 *   walk.c        reads a segment, over damage, and hands out what is verified
 *   verify.c      what happens to each verified record; hints
 *   keys.c        which record of each key is the last one
 *   dump.c        records as text or JSON
 *   cluster.c     configurations, Raft's base, the node's identity
 *   repair.c      writes what was verified to a new directory
 *   report.c      problems, notes, progress, summary
 *
 * One thread. Nothing here writes to the checked directory, except that its
 * LOCK is held meanwhile if it has one.
 */
#ifndef WDB_TOOLS_CHECK_H
#define WDB_TOOLS_CHECK_H

#include <stdio.h>

#include "base/siphash.h"
#include "env/env.h"
#include "log/manifest.h"
#include "log/names.h"
#include "raft/identity.h"
#include "store/hint.h"

enum {
    EXIT_CLEAN = 0,
    EXIT_DAMAGE = 1,
    EXIT_TROUBLE = 2
};

/* A segment file, mapped, and what is known of it. */
struct check_segment {
    struct wdb_manifest_segment m; /* of the manifest, or made up */
    char name[WDB_NAME_SIZE_MAX];
    const uint8_t *map; /* NULL: could not be opened */
    uint64_t file_size;
    uint64_t size; /* of the mapping: no more than the manifest says */
    uint64_t salt;
    bool header_sound;
    uint64_t end; /* entries are looked for below this */
    bool is_torn; /* something follows the end that recovery would cut off */
    bool order_known; /* index and chain of its first entry are known */
    /* found by the walk */
    uint64_t entry_count, record_count;
    uint64_t index_first, index_last;
    uint32_t last_crc;
    uint64_t problem_count;
};

struct check_totals {
    uint64_t problems, notes;
    uint64_t segments, entries, records, bytes, hints;
    uint64_t records_of_kind[WDB_RECORD_KIND_LAST + 1];
    uint64_t regions_lost, bytes_lost; /* where nothing could be verified */
};

/* What is known of the cluster that the database belongs to. */
struct check_cluster {
    const char *dir; /* where the identity is; NULL: to be looked for */
    bool has_base, has_identity;
    struct wdb_raft_base base;
    struct wdb_members members; /* the last configuration; count 0: none */
    uint64_t members_index;     /* its entry */
    uint64_t term_last;         /* the highest of an entry */
    uint64_t index_committed;   /* the highest that a frame names */
    struct wdb_identity identity;
    char identity_name[WDB_PATH_SIZE_MAX];
};

struct check_keys;
struct check_repair;

struct check {
    struct wdb_env *env;
    const char *dir;
    bool json, dump, progress;
    FILE *out;
    struct wdb_manifest manifest;
    bool has_manifest;
    struct check_segment *segments; /* in sequence order, as far as known */
    size_t segment_count;
    struct check_cluster cluster;
    struct check_keys *keys;
    struct check_repair *repair; /* NULL: not wanted */
    struct check_totals totals;
    /* progress */
    uint64_t begun_ns, shown_ns, bytes_done, bytes_total;
    bool line_shown;
};

/* --- report.c -------------------------------------------------------------- */

/* Something is wrong with a file. offset: UINT64_MAX if there is none to name.
 * file may be NULL. */
void check_problem(struct check *check, const char *file, uint64_t offset,
                   const char *format, ...) WDB_PRINTF(4, 5);
/* Worth knowing, not wrong. */
void check_note(struct check *check, const char *file, const char *format, ...)
    WDB_PRINTF(3, 4);
/* Trouble of the tool itself: to standard error. Returns EXIT_TROUBLE. */
int check_trouble(const char *format, ...) WDB_PRINTF(1, 2);
/* So many more bytes are done. */
void check_advance(struct check *check, uint64_t bytes);
void check_progress_end(struct check *check);
void check_summary(struct check *check);
/* A string of any bytes in JSON: each byte is one code point, 0 to 255. */
void check_print_json(FILE *out, struct wdb_slice bytes);
/* The same for people: \xNN, \n, \", \\. */
void check_print_text(FILE *out, struct wdb_slice bytes);

/* --- directory.c ----------------------------------------------------------- */

/* Read the manifest, list the directory, map all segments. Damage is
 * reported; an error means that the tool cannot work at all (EIO, ENOMEM,
 * ENOTFOUND: no database there). */
WDB_MUST_CHECK int check_open_directory(struct check *check);
void check_close_directory(struct check *check);

/* --- tail.c ---------------------------------------------------------------- */

/* Decide for every segment where its entries end. */
void check_find_ends(struct check *check);

/* --- walk.c ---------------------------------------------------------------- */

/* Where a record was found. */
struct check_place {
    struct check_segment *segment;
    uint64_t offset; /* of the record */
    uint64_t size;   /* with padding */
};
/* Called for each verified record in the order of the file. Non-zero (an
 * error of the tool) ends the walk. */
typedef int (*check_record_cb)(void *context, const struct wdb_record *record,
                               const struct check_place *place);
/* Read all of a segment; damage is reported and stepped over. */
WDB_MUST_CHECK int check_walk(struct check *check,
                              struct check_segment *segment,
                              check_record_cb callback, void *context);

/* --- verify.c -------------------------------------------------------------- */

/* Walk all segments and hold hints against them. ENOMEM, EIO. */
WDB_MUST_CHECK int check_verify(struct check *check);

/* --- keys.c ---------------------------------------------------------------- */

struct check_key_totals {
    uint64_t keys, keys_with_expiry, elements, tombstones;
    uint64_t bytes_live; /* of records that are the last of their key */
    uint64_t keys_of_database[16];
};
/* ENOMEM. */
WDB_MUST_CHECK int check_keys_new(struct wdb_env *env, struct check_keys **out);
void check_keys_free(struct check_keys *keys);
/* Take note of a record; the highest sequence of a key wins. ENOMEM. */
WDB_MUST_CHECK int check_keys_add(struct check_keys *keys,
                                  const struct wdb_record *record,
                                  uint64_t size);
/* ENOMEM. */
WDB_MUST_CHECK int check_keys_count(const struct check_keys *keys,
                                    struct check_key_totals *out);

/* --- dump.c ---------------------------------------------------------------- */

void check_dump_record(struct check *check, const struct wdb_record *record,
                       const struct check_place *place);

/* --- cluster.c ------------------------------------------------------------- */

/* Read Raft's base out of the manifest. Damage is reported. ENOMEM. */
WDB_MUST_CHECK int check_cluster_open(struct check *check);
void check_cluster_close(struct check *check);
/* Take note of a verified entry of a log segment. ENOMEM. */
WDB_MUST_CHECK int check_cluster_entry(struct check *check,
                                       const struct check_segment *segment,
                                       const struct wdb_frame *frame,
                                       const struct wdb_entry_header *entry,
                                       const uint8_t *payload);
/* When all entries are known: read the identity, and compare. EIO, ENOMEM,
 * EACCESS. */
WDB_MUST_CHECK int check_cluster_finish(struct check *check);
/* A part of the summary; nothing if there is no cluster. */
void check_cluster_print(const struct check *check);

/* --- repair.c -------------------------------------------------------------- */

/* dest must not exist, or be empty. EEXISTS, EIO, ENOMEM. */
WDB_MUST_CHECK int check_repair_new(struct check *check, const char *dest,
                                    struct check_repair **out);
/* Note a record; written later. ENOMEM. */
WDB_MUST_CHECK int check_repair_add(struct check_repair *repair,
                                    const struct wdb_record *record,
                                    const struct check_place *place);
/* Write all that was noted, in the order of sequences. */
WDB_MUST_CHECK int check_repair_run(struct check_repair *repair);
void check_repair_free(struct check_repair *repair);

#endif
