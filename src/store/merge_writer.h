/*
 * merge_writer.h - the outputs of a merge: merged segments and their hints,
 * and where each record came from.
 *
 * Records are given in the order of their sequences. They gather in entries of
 * about 256 KiB. The origins are kept as differences, a byte or two for each
 * record, because keys can be pointed at the copies only after the manifest
 * names them.
 */
#ifndef WDB_STORE_MERGE_WRITER_H
#define WDB_STORE_MERGE_WRITER_H

#include "store/hint.h"
#include "store/store_internal.h"

struct wdb_merge_writer {
    struct wdb_store *store;
    struct wdb_segment **segments; /* all but the last are finished */
    size_t segment_count, segment_capacity;
    uint64_t clean_index;
    uint64_t size_left; /* bytes that are still to come, at most */
    uint64_t room;      /* bytes of the disk that may still be taken */

    /* the last segment, while it is open */
    bool is_open;
    struct wdb_hint_writer *hint; /* NULL: none is written */
    uint64_t offset;              /* of the next entry */
    uint32_t previous_crc;
    struct wdb_buffer entry; /* headers and payload of the next entry */
    uint32_t record_count;
    uint64_t index_last, time_ms;

    struct wdb_buffer origins; /* zigzag varints of differences */
    wdb_position origin_last;
    uint64_t bytes_written;
};

/* size_left: what the outputs hold in the end, at most. */
void wdb_merge_writer_init(struct wdb_merge_writer *writer,
                           struct wdb_store *store, uint64_t clean_index,
                           uint64_t size_left);
/* Add a record (with its sequence) that lies at `origin`. ENOSPACE, EIO,
 * ENOMEM: then the merge is to be given up. */
WDB_MUST_CHECK int wdb_merge_writer_add(struct wdb_merge_writer *writer,
                                        const struct wdb_record *record,
                                        uint64_t time_ms, wdb_position origin);
/* Write, sync and close everything. Errors as add. */
WDB_MUST_CHECK int wdb_merge_writer_finish(struct wdb_merge_writer *writer);
/* Give up all outputs; the files go, too (unless the log has failed). */
void wdb_merge_writer_discard(struct wdb_merge_writer *writer);
/* Drop the references; the outputs are the log's now. */
void wdb_merge_writer_release(struct wdb_merge_writer *writer);

/* Walk the origins in the order of add. */
struct wdb_merge_origins {
    const struct wdb_merge_writer *writer;
    size_t at;
    wdb_position last;
};
wdb_position wdb_merge_origins_next(struct wdb_merge_origins *origins);

#endif
