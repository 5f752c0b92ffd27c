/*
 * hint.h - the hint of a segment: its records without their values, so that
 * the keydir is rebuilt without reading the segment.
 *
 *   0        96                                           size-64      size
 *   +--------+---------+---------+-----------+---------+----------+
 *   | header | block 0 | block 1 |    ...    | block n | footer   |
 *   +--------+---------+---------+-----------+---------+----------+
 *
 *   block:   crc u32, size u32, record_count u32, number u32,
 *            offset_first u64, then `size` bytes of packed records
 *
 *   record:  tag u8           kind in bits 0..2, and what follows:
 *            [gap varint]     0x40: bytes / 8 between the record before and
 *                             this one; else it follows at once
 *            [type u8, database u32]  0x20: other than of the one before
 *            size varint      of the record in the segment, / 8
 *            key size         u8, or 0x80: u32
 *            [expiry u64]     0x08
 *            [object 16]      0x10
 *            key
 *
 * Records stand in the order of their offsets, which is that of their
 * sequence. A block ends with the first record that brings it to 64 KiB; it
 * begins with database 0, type 0 and the offset in its header, so each can be
 * decoded alone. Checksums begin with the folded salt of the segment.
 *
 * A hint is a cache. It says which segment it belongs to and what of it it
 * covers; whatever is in doubt, it is ECORRUPT, and the caller reads the
 * segment. It is written beside the segment after that is sealed and all of it
 * is committed (the caller sees to that), synced, and renamed into place.
 */
#ifndef WDB_STORE_HINT_H
#define WDB_STORE_HINT_H

#include "base/buffer.h"
#include "log/log.h"

/* Which segment, and how much of it. */
struct wdb_hint_identity {
    uint64_t id;
    enum wdb_segment_kind kind;
    uint64_t salt;
    uint64_t nonce;     /* of the database */
    uint64_t size_used; /* end of the last entry that the hint covers */
    uint64_t index_first;
    uint64_t index_last;
    uint64_t clean_index;
    uint32_t last_crc; /* log: of the last frame; merged: 0 */
};

/* The identity of a sealed segment as it is now. */
void wdb_hint_identify(const struct wdb_segment *segment,
                       struct wdb_hint_identity *out);

/* --- writing ----------------------------------------------------------------
 */

/* Makes the bytes of a hint, into memory that the caller may take away as it
 * grows. One thread at a time. */
struct wdb_hint_encoder {
    struct wdb_buffer out; /* finished blocks; the caller may consume them */
    struct wdb_buffer block;
    uint32_t crc_seed;
    uint64_t size; /* of all finished blocks */
    uint64_t record_count;
    uint32_t block_count;
    uint32_t block_records;
    uint64_t block_offset_first;
    uint64_t offset_next;
    uint32_t database;
    uint8_t type;
};

#define WDB_HINT_HEADER_SIZE 96
#define WDB_HINT_FOOTER_SIZE 64

void wdb_hint_encoder_init(struct wdb_hint_encoder *encoder, uint64_t salt);
void wdb_hint_encoder_release(struct wdb_hint_encoder *encoder);
/* Add the record at this offset, behind all those before. ENOMEM; after a
 * failure only release is allowed. */
WDB_MUST_CHECK int wdb_hint_encoder_add(struct wdb_hint_encoder *encoder,
                                        const struct wdb_record *record,
                                        uint64_t offset, uint64_t size);
/* Append the last block and the footer to `out`, and write the header, which
 * belongs before everything. ENOMEM. */
WDB_MUST_CHECK int wdb_hint_encoder_finish(
    struct wdb_hint_encoder *encoder, const struct wdb_hint_identity *identity,
    uint8_t header_out[WDB_HINT_HEADER_SIZE]);

struct wdb_hint_writer;

/* Begin the hint of segment `id` in dir, as a temporary file. EIO, ENOSPACE,
 * ENOMEM. */
WDB_MUST_CHECK int wdb_hint_writer_open(struct wdb_env *env, const char *dir,
                                        uint64_t id, uint64_t salt,
                                        struct wdb_hint_writer **out);
/* Add a record; as the encoder. After a failure only abort is allowed. EIO,
 * ENOSPACE, ENOMEM. */
WDB_MUST_CHECK int wdb_hint_writer_add(struct wdb_hint_writer *writer,
                                       const struct wdb_record *record,
                                       uint64_t offset, uint64_t size);
/* The same, as a callback of wdb_log_scan with the writer as its context. */
int wdb_hint_writer_on_record(void *writer, const struct wdb_record *record,
                              wdb_position position, uint64_t size);
/* Write the rest, sync, rename into place, sync the directory; the writer is
 * gone in any case, and on failure so is the file. EIO, ENOSPACE, ENOMEM. */
WDB_MUST_CHECK int wdb_hint_writer_finish(
    struct wdb_hint_writer *writer, const struct wdb_hint_identity *identity);
/* Remove the temporary file and free the writer. */
void wdb_hint_writer_abort(struct wdb_hint_writer *writer);

/* Scan a sealed segment and write its hint. The caller has a reference on the
 * segment. ECORRUPT (the segment), EIO, ENOSPACE, ENOMEM. */
WDB_MUST_CHECK int wdb_hint_build(struct wdb_log *log,
                                  struct wdb_segment *segment);

/* --- reading ----------------------------------------------------------------
 */

/* A hint that was found to be sound. Any number of threads may walk it, each
 * with a cursor of its own. */
struct wdb_hint {
    const uint8_t *data;
    uint64_t size;
    enum wdb_segment_kind kind;
    uint64_t size_used;
    uint64_t record_count;
    struct wdb_env *env; /* of the mapping, or NULL */
};

/* What the keydir needs of a record. */
struct wdb_hint_item {
    enum wdb_record_kind kind;
    uint8_t flags; /* of the record: WDB_RECORD_... */
    uint8_t type;
    uint32_t database;
    uint64_t offset; /* in the segment */
    uint64_t size;   /* of the record, padding included */
    uint64_t expiry_ms;
    struct wdb_object_id object_id;
    struct wdb_slice key; /* points into the hint */
};

struct wdb_hint_cursor {
    const struct wdb_hint *hint;
    const uint8_t *at;
    const uint8_t *block_end;
    uint64_t offset_next;
    uint32_t database;
    uint8_t type;
};

/* Map and validate the hint of a segment: identity, every checksum, every
 * record. ENOTFOUND, ECORRUPT (the caller scans the segment), EIO, ENOMEM. */
WDB_MUST_CHECK int wdb_hint_open(struct wdb_env *env, const char *dir,
                                 const struct wdb_hint_identity *identity,
                                 struct wdb_hint *out);
/* Nobody may walk it any more. */
void wdb_hint_close(struct wdb_hint *hint);
/* Validate a hint in memory, which stays the caller's. ECORRUPT. */
WDB_MUST_CHECK int wdb_hint_view(const void *data, uint64_t size,
                                 const struct wdb_hint_identity *identity,
                                 struct wdb_hint *out);
/* The identity that a hint says it has, checksum verified. ECORRUPT. */
WDB_MUST_CHECK int wdb_hint_read_identity(const void *data, uint64_t size,
                                          struct wdb_hint_identity *out);

void wdb_hint_begin(const struct wdb_hint *hint,
                    struct wdb_hint_cursor *cursor);
/* The next record. ENOTFOUND at the end; ECORRUPT if the memory is not any
 * more what was validated (a page of the mapping could not be read). */
int wdb_hint_next(struct wdb_hint_cursor *cursor, struct wdb_hint_item *out);

#endif
