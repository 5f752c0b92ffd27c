/*
 * string.h - strings as commands read them: in one piece, or in chunks.
 *
 * A string that is changed in the middle once it is large is kept in chunks
 * (string_chunks.h): the key's record is a header, each chunk is an element of
 * the object, so that a change rewrites one chunk.
 *
 *   header's value      0        8            12         16
 *                       +--------+------------+----------+
 *                       | size   | chunk size | zero     |
 *                       +--------+------------+----------+
 *
 *   chunk n             member: n as 8 bytes; value: the bytes from
 *                       n * chunk size on, without zeros that nobody wrote
 *
 * A chunk that is missing, and what a chunk lacks at its end, are zeros.
 */
#ifndef WDB_TYPE_STRING_H
#define WDB_TYPE_STRING_H

#include "type/type.h"
#include "type/value_io.h"

#define WDB_STRING_HEADER_SIZE 16

struct wdb_string {
    uint64_t size;
    struct wdb_value value;         /* the key's record */
    uint32_t chunk_size;            /* 0: the record's value is all of it */
    struct wdb_object_id object_id; /* with chunks */
};

/* From the record of a key that is a string. ECORRUPT. */
WDB_MUST_CHECK int wdb_string_open(const struct wdb_value *value,
                                   struct wdb_string *out);
struct wdb_string_piece {
    struct wdb_slice bytes;
    struct wdb_segment *segment; /* to keep them longer: take a reference, or,
                                    if this is NULL, copy */
};
/*
 * The longest run of bytes from offset (< size) on that lies in one place, but
 * at most `limit`; at least one byte. If it is not in memory, what belongs to
 * the same range is wanted, too. Errors as io->read.
 */
WDB_MUST_CHECK int wdb_string_piece(const struct wdb_value_io *io,
                                    const struct wdb_string *string,
                                    uint64_t offset, uint64_t limit,
                                    struct wdb_string_piece *out);
/* Copy [offset, offset + size), all inside the string. */
WDB_MUST_CHECK int wdb_string_copy(const struct wdb_value_io *io,
                                   const struct wdb_string *string,
                                   uint64_t offset, uint64_t size,
                                   uint8_t *out);

/* Chunk n of an object as an element's name. */
struct wdb_chunk_name {
    uint8_t bytes[8];
};
struct wdb_chunk_name wdb_chunk_name(uint64_t number);
/* The bytes that are stored of chunk n; empty if there is none. */
WDB_MUST_CHECK int wdb_chunk_read(const struct wdb_value_io *io,
                                  struct wdb_object_id id, uint64_t number,
                                  struct wdb_string_piece *out);

#endif
