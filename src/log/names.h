/*
 * names.h - every file name of a database directory, made and taken apart in
 * one place.
 *
 *   LOCK                   held by the process that has the directory open
 *   MANIFEST               says which of the others are the database
 *   <id>.log               log segment           (id: 16 hex digits, lower)
 *   <id>.mrg               merged segment
 *   <id>.hint              hint of either
 *   <id>.cut-<n>           what recovery cut off segment <id>; n = 0, 1, ...
 *   <any of them>.tmp      being written; worthless after a crash
 *
 * And directories, with files of these names in them:
 *
 *   .transfer-<number>     a snapshot that is being sent (16 hex digits)
 *   incoming               one that is being fetched; both worthless, too
 */
#ifndef WDB_LOG_NAMES_H
#define WDB_LOG_NAMES_H

#include "log/format.h"

#define WDB_NAME_LOCK     "LOCK"
#define WDB_NAME_MANIFEST "MANIFEST"
#define WDB_NAME_INCOMING "incoming"
/* Room for any name made here, with its terminator. */
#define WDB_NAME_SIZE_MAX 48

enum wdb_name_kind {
    WDB_NAME_KIND_OTHER, /* not ours: never touched */
    WDB_NAME_KIND_LOCK,
    WDB_NAME_KIND_MANIFEST,
    WDB_NAME_KIND_LOG,
    WDB_NAME_KIND_MERGED,
    WDB_NAME_KIND_HINT,
    WDB_NAME_KIND_CUT,
};

struct wdb_name {
    enum wdb_name_kind kind;
    uint64_t id;     /* LOG, MERGED, HINT, CUT */
    uint32_t number; /* CUT */
    bool temporary;  /* the name, followed by ".tmp" */
};

/* Write the name of a segment file, terminated. */
void wdb_name_segment(char out[WDB_NAME_SIZE_MAX], uint64_t id,
                      enum wdb_segment_kind kind);
/* Write the name of a segment's hint, terminated. */
void wdb_name_hint(char out[WDB_NAME_SIZE_MAX], uint64_t id);
/* Write the name for the nth piece cut off a segment, terminated. */
void wdb_name_cut(char out[WDB_NAME_SIZE_MAX], uint64_t id, uint32_t number);
/* Write the name of the directory of a snapshot to be sent, terminated. */
void wdb_name_transfer(char out[WDB_NAME_SIZE_MAX], uint64_t number);
/* True for the names of the two kinds of directories. */
bool wdb_name_is_transfer(const char *name);
/* Take a name apart. Only names exactly as made here are recognised. */
void wdb_name_parse(const char *name, struct wdb_name *out);

#endif
