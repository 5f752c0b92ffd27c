/*
 * merge_reader.h - the records of a sealed segment, one after the other, each
 * with its sequence; verified on the way.
 */
#ifndef WDB_STORE_MERGE_READER_H
#define WDB_STORE_MERGE_READER_H

#include "log/log.h"

struct wdb_merge_reader {
    struct wdb_env *env;
    const struct wdb_segment *segment; /* the caller's reference */
    bool verify;
    bool in_entry;
    uint64_t offset; /* of the frame of the entry that is read */
    uint64_t at;     /* in its payload */
    uint64_t asked;  /* of the segment, to be read ahead */
    uint32_t place;
    struct wdb_entry_header entry;
};

void wdb_merge_reader_init(struct wdb_merge_reader *reader, struct wdb_env *env,
                           const struct wdb_segment *segment, bool verify);
/* The next record; its slices point into the segment's mapping. ENOTFOUND at
 * the end; ECORRUPT, EIO (reader->offset is the bad entry). */
int wdb_merge_reader_next(struct wdb_merge_reader *reader,
                          struct wdb_record *record_out,
                          wdb_position *position_out, uint64_t *size_out);

#endif
