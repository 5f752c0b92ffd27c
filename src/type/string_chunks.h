/*
 * string_chunks.h - changes a string in the middle, or at its end.
 *
 *     struct wdb_string_edit edit;
 *     code = wdb_string_edit_begin(&edit, &io, &string, size_after);
 *     if (code == 0) code = wdb_string_edit_write(&edit, offset, bytes);
 *     if (code == 0) code = wdb_string_edit_commit(&edit, expiry_ms);
 *     wdb_string_edit_release(&edit);
 *
 * A result of up to WDB_STRING_WHOLE_MAX bytes is written as one record. A
 * larger one is kept in chunks from then on: the first change rewrites all of
 * it, later ones a chunk each, and the header if the size changed.
 */
#ifndef WDB_TYPE_STRING_CHUNKS_H
#define WDB_TYPE_STRING_CHUNKS_H

#include "type/string.h"

#define WDB_STRING_WHOLE_MAX  ((uint64_t)64 << 10)
#define WDB_STRING_CHUNK_SIZE ((uint32_t)8 << 10)

struct wdb_string_chunk {
    uint64_t number;
    uint8_t *data; /* chunk_size bytes */
};

struct wdb_string_edit {
    const struct wdb_value_io *io;
    struct wdb_string old;
    bool exists;         /* there was a string */
    uint64_t size;       /* of the result */
    uint32_t chunk_size; /* of the result; 0: it is in one piece */
    uint8_t *whole;      /* the result, or a copy of the old piece; or NULL */
    struct wdb_string_chunk *chunks; /* those that changed, by number */
    uint32_t count, capacity;
};

/* Begin with the old string (NULL: there is none) and its size after the
 * change, which is not less than before; what is new is zeros. io must last as
 * long as the edit. ENOMEM, and errors of io->read. */
WDB_MUST_CHECK int wdb_string_edit_begin(struct wdb_string_edit *edit,
                                         const struct wdb_value_io *io,
                                         const struct wdb_string *old,
                                         uint64_t size);
/* Overwrite [offset, offset + size), all inside the result. Errors as begin. */
WDB_MUST_CHECK int wdb_string_edit_write(struct wdb_string_edit *edit,
                                         uint64_t offset,
                                         struct wdb_slice bytes);
/* Read back, with what was written. What lies past the end reads as zeros. */
WDB_MUST_CHECK int wdb_string_edit_read(struct wdb_string_edit *edit,
                                        uint64_t offset, uint64_t size,
                                        uint8_t *out);
/* Emit what changed. expiry_ms: of the key, 0 = none. ENOMEM, ETOOBIG; EIO,
 * ENOSPACE of a new object. */
WDB_MUST_CHECK int wdb_string_edit_commit(struct wdb_string_edit *edit,
                                          uint64_t expiry_ms);
/* Free its memory; after begin in any case, also if that failed. */
void wdb_string_edit_release(struct wdb_string_edit *edit);

/* Emit a copy of a string that is in chunks, under the io's key, as a new
 * object. Errors as commit and io->read. */
WDB_MUST_CHECK int wdb_string_duplicate(const struct wdb_value_io *io,
                                        const struct wdb_string *string,
                                        uint64_t expiry_ms);

#endif
