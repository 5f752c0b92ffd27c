/*
 * format.h - every byte of a segment file. doc/format.md tells it in prose.
 *
 * A segment:
 *
 *   0            4096                                             size
 *   +------------+---------+---------+- - -+---------+- - - - - - -+
 *   | header     | entry 0 | entry 1 |     | entry n | zeros       |
 *   +------------+---------+---------+- - -+---------+- - - - - - -+
 *
 * An entry (8-byte aligned; padded with zeros to 8 at its end):
 *
 *   +----------------+-----------------+----------+----------+- - -+
 *   | frame (local)  | entry header    | record 0 | record 1 |     |
 *   | 48 bytes       | (replicated) 48 |          |          |     |
 *   +----------------+-----------------+----------+----------+- - -+
 *
 * A record (8-byte aligned, padded with zeros to 8 at its end):
 *
 *   +-----------+------------+-----------+------------+-----+-------+
 *   | header 24 | [seq 16]   | [expiry 8]| [object 16]| key | value |
 *   +-----------+------------+-----------+------------+-----+-------+
 *
 * where the parts in brackets are there if the record's flags say so. All
 * numbers are little-endian. A merged segment (.mrg) holds entries, too; each
 * of their records carries its sequence, and their entry headers have type
 * WDB_ENTRY_MERGED and index = the highest entry index among their records.
 */
#ifndef WDB_LOG_FORMAT_H
#define WDB_LOG_FORMAT_H

#include <assert.h>
#include <stddef.h>

#include "base/attributes.h"
#include "base/bytes.h"
#include "base/crc32c.h"
#include "base/slice.h"
#include "walkerdb.h"

#define WDB_FORMAT_VERSION      1
#define WDB_SEGMENT_HEADER_SIZE 4096
#define WDB_SEGMENT_MAGIC       UINT64_C(0x314745536264576b) /* "kWdbSEG1" */
#define WDB_FRAME_MAGIC         UINT32_C(0x5246646b)         /* "kdFR" */

enum wdb_segment_kind {
    WDB_SEGMENT_LOG = 1,
    WDB_SEGMENT_MERGED = 2
};

/* The first bytes of a segment; the rest of the 4,096 are zeros. */
struct wdb_segment_header {
    uint64_t magic;
    uint32_t version;
    uint32_t kind;         /* enum wdb_segment_kind */
    uint64_t id;           /* also the file's name */
    uint64_t salt;         /* random; seeds the frames' checksums */
    uint64_t nonce;        /* of the database; as in the manifest */
    uint64_t index_first;  /* log: of its first entry; 0: made ahead, and */
    uint64_t size;         /* bytes of the file when it was made */
    uint32_t previous_crc; /* not known yet, as the crc of the frame before:
                              see the manifest */
    uint32_t crc;          /* CRC32C of the bytes before this field */
};
static_assert(sizeof(struct wdb_segment_header) == 64, "on disk");

/* What is local to this node, around an entry. */
struct wdb_frame {
    uint32_t magic;
    uint32_t crc; /* CRC32C, seeded with the folded salt, of the rest of the
                     frame and of the entry header */
    uint32_t previous_crc; /* crc of the frame before: the chain */
    uint32_t reserved;
    uint64_t offset;          /* of this frame in its segment */
    uint64_t index_durable;   /* highest index known durable when written */
    uint64_t index_committed; /* highest index known committed when written */
    uint64_t salt;            /* of the segment */
};
static_assert(sizeof(struct wdb_frame) == 48, "on disk");

enum wdb_entry_type {
    WDB_ENTRY_COMMAND = 1, /* records */
    WDB_ENTRY_BARRIER = 2, /* no payload: a new leader's first entry */
    WDB_ENTRY_CHANGE = 3,  /* payload: a cluster configuration, opaque here */
    WDB_ENTRY_MERGED = 4,  /* records with sequences, in a merged segment */
};

/* What is the same on every node. */
struct wdb_entry_header {
    uint64_t index;
    uint64_t term;
    uint64_t time_ms;      /* leader's time: max(clock, last logged time) */
    uint64_t payload_size; /* a multiple of 8 */
    uint32_t record_count;
    uint32_t payload_crc; /* COMMAND, MERGED: of (crc u32, padded size u32) of
                             each record, in order; else of the payload */
    uint16_t type;        /* enum wdb_entry_type */
    uint16_t reserved[3];
};
static_assert(sizeof(struct wdb_entry_header) == 48, "on disk");

#define WDB_ENTRY_OVERHEAD                                                     \
    (sizeof(struct wdb_frame) + sizeof(struct wdb_entry_header))
static_assert(WDB_ENTRY_OVERHEAD == 96, "on disk");

/* Limits. A batch is what one command, transaction or script writes. */
#define WDB_BATCH_SIZE_MAX   ((size_t)2 << 30)
#define WDB_SEGMENT_SIZE_MIN ((uint64_t)64 << 10)
#define WDB_SEGMENT_SIZE_MAX ((uint64_t)8 << 30)

enum wdb_record_kind {
    WDB_RECORD_PUT = 1,    /* key = value, whole; expiry or none */
    WDB_RECORD_DELETE = 2, /* tombstone */
    WDB_RECORD_EXPIRE = 3, /* key's expiry is now this (no expiry: persist) */
    WDB_RECORD_DATABASES = 4,      /* mapping of logical databases; empty key */
    WDB_RECORD_ELEMENT_PUT = 5,    /* member (= key) of an object */
    WDB_RECORD_ELEMENT_DELETE = 6, /* member of an object is gone */
};

#define WDB_RECORD_KIND_LAST WDB_RECORD_ELEMENT_DELETE

/* Record flags. */
#define WDB_RECORD_SEQUENCE 0x01 /* has index and place: merged segments */
#define WDB_RECORD_EXPIRY   0x02 /* has an absolute expiry in ms */
#define WDB_RECORD_OBJECT                                                      \
    0x04 /* PUT: the value is an object's header;
                                    both: has the object id */
#define WDB_RECORD_FLAGS_ALL 0x07

struct wdb_record_header {
    uint32_t crc; /* CRC32C of the rest of the record, without padding */
    uint32_t key_size;
    uint32_t value_size;
    uint32_t database; /* id, not the logical number */
    uint8_t kind;      /* enum wdb_record_kind */
    uint8_t flags;
    uint8_t type; /* of the value: enum in type/; 0 = plain string */
    uint8_t reserved[5];
};
static_assert(sizeof(struct wdb_record_header) == 24, "on disk");
#define WDB_RECORD_KIND_OFFSET 16
static_assert(offsetof(struct wdb_record_header, key_size) == 4 &&
                  offsetof(struct wdb_record_header, value_size) == 8 &&
                  offsetof(struct wdb_record_header, database) == 12 &&
                  offsetof(struct wdb_record_header, kind) ==
                      WDB_RECORD_KIND_OFFSET &&
                  offsetof(struct wdb_record_header, flags) == 17 &&
                  offsetof(struct wdb_record_header, type) == 18,
              "wdb_record_decode reads it field by field");

struct wdb_object_id {
    uint64_t term;
    uint64_t counter;
};

/* A record, taken apart; slices point into the record's memory. */
struct wdb_record {
    enum wdb_record_kind kind;
    uint8_t flags;
    uint8_t type;
    uint32_t database;
    uint64_t index; /* sequence: valid if flags has WDB_RECORD_SEQUENCE, or */
    uint32_t place; /* set by the reader of a log entry */
    uint64_t expiry_ms;             /* valid with WDB_RECORD_EXPIRY, else 0 */
    struct wdb_object_id object_id; /* valid with WDB_RECORD_OBJECT */
    struct wdb_slice key;
    struct wdb_slice value;
};

/* Bytes before the key of a record with these flags. */
static inline uint64_t wdb_record_head_size(uint8_t flags)
{
    static_assert(WDB_RECORD_SEQUENCE == 1 && WDB_RECORD_EXPIRY == 2 &&
                      WDB_RECORD_OBJECT == 4,
                  "the shifts below make 16, 8 and 16 of these bits");
    return sizeof(struct wdb_record_header) +
           (uint64_t)((flags & WDB_RECORD_SEQUENCE) << 4) +
           (uint64_t)((flags & (WDB_RECORD_EXPIRY | WDB_RECORD_OBJECT)) << 2);
}
/* Bytes that the record takes, padding included; 0 if it would overflow or
 * exceed the limits for keys and values. */
uint64_t wdb_record_size(const struct wdb_record *record);
/* Encode with checksum at out (wdb_record_size bytes, 8-aligned). */
void wdb_record_encode(const struct wdb_record *record, uint8_t *out);
/*
 * Take the record at data apart, reading no byte at or past data + size.
 * Checks sizes and, with verify, the checksum and that the padding is zeros.
 * *size_out is its size with padding. ECORRUPT. Slices in *out point into
 * data. index and place are 0 unless the record carries them. Inline: every
 * read passes here.
 */
WDB_MUST_CHECK static inline int wdb_record_decode(const uint8_t *data,
                                                   uint64_t size, bool verify,
                                                   struct wdb_record *out,
                                                   uint64_t *size_out)
{
    /* Field by field: a copy of the header, or a compound literal for *out,
     * costs more than all the rest. */
    if (WDB_UNLIKELY(size < sizeof(struct wdb_record_header))) {
        return WALKERDB_ECORRUPT;
    }
    const uint64_t key_size = wdb_load32(data + 4);
    const uint64_t value_size = wdb_load32(data + 8);
    const uint64_t tail = wdb_load64(data + WDB_RECORD_KIND_OFFSET);
    const uint8_t kind = (uint8_t)tail;
    const uint8_t flags = (uint8_t)(tail >> 8);
    const uint64_t head = wdb_record_head_size(flags);
    const uint64_t exact = head + key_size + value_size;
    const uint64_t padded = wdb_align8(exact);
    if (WDB_UNLIKELY((uint32_t)kind - 1 >= WDB_RECORD_KIND_LAST ||
                     (flags & ~WDB_RECORD_FLAGS_ALL) != 0 || tail >> 24 != 0 ||
                     padded > size || key_size > WALKERDB_KEY_SIZE_MAX ||
                     value_size > WALKERDB_VALUE_SIZE_MAX)) {
        return WALKERDB_ECORRUPT;
    }
    if (verify) {
        const uint32_t crc = wdb_crc32c(0, data + 4, exact - 4);
        const uint64_t last = wdb_load64(data + padded - 8);
        if (WDB_UNLIKELY(crc != wdb_load32(data) ||
                         (padded != exact && last >> (exact % 8 * 8) != 0))) {
            return WALKERDB_ECORRUPT;
        }
    }
    const uint8_t *extra = data + sizeof(struct wdb_record_header);
    if (WDB_UNLIKELY((flags & WDB_RECORD_SEQUENCE) != 0 &&
                     wdb_load32(extra + 12) != 0)) {
        return WALKERDB_ECORRUPT;
    }
    out->kind = (enum wdb_record_kind)kind;
    out->flags = flags;
    out->type = (uint8_t)(tail >> 16);
    out->database = wdb_load32(data + 12);
    out->index = 0;
    out->place = 0;
    out->expiry_ms = 0;
    out->object_id.term = 0;
    out->object_id.counter = 0;
    out->key.data = data + head;
    out->key.size = key_size;
    out->value.data = data + head + key_size;
    out->value.size = value_size;
    if (WDB_UNLIKELY(flags != 0)) {
        if (flags & WDB_RECORD_SEQUENCE) {
            out->index = wdb_load64(extra);
            out->place = wdb_load32(extra + 8);
            extra += 16;
        }
        if (flags & WDB_RECORD_EXPIRY) {
            out->expiry_ms = wdb_load64(extra);
            extra += 8;
        }
        if (flags & WDB_RECORD_OBJECT) {
            out->object_id.term = wdb_load64(extra);
            out->object_id.counter = wdb_load64(extra + 8);
        }
    }
    *size_out = padded;
    return 0;
}

void wdb_segment_header_encode(const struct wdb_segment_header *header,
                               uint8_t out[WDB_SEGMENT_HEADER_SIZE]);
/* ECORRUPT; EVERSION if it was written by a newer program. */
WDB_MUST_CHECK int wdb_segment_header_decode(
    const uint8_t data[WDB_SEGMENT_HEADER_SIZE],
    struct wdb_segment_header *out);

/* The checksum of frames and hints of a segment begins with this, not 0. */
static inline uint32_t wdb_salt_fold(uint64_t salt)
{
    return (uint32_t)(salt ^ (salt >> 32));
}
/* Continue the payload_crc of COMMAND and MERGED entries (0 to begin) over
 * `size` bytes of encoded records, which are trusted. */
uint32_t wdb_payload_crc(uint32_t crc, const uint8_t *records, uint64_t size);
/* Fill both headers in place at out (96 bytes); sets frame->crc. */
void wdb_entry_encode(struct wdb_frame *frame,
                      const struct wdb_entry_header *entry, uint8_t *out);
/* An entry header by itself: known type, sizes and count fit, no reserved bits.
 * Not: index, term, time, checksum. */
bool wdb_entry_is_sound(const struct wdb_entry_header *entry);
/*
 * Read the frame and header at data (size bytes are readable). Checks magic,
 * salt, offset, checksum and that the payload fits into size; not the chain,
 * not the payload. ENOTFOUND if there are only zeros where the headers should
 * be; ECORRUPT.
 */
WDB_MUST_CHECK int wdb_entry_decode(const uint8_t *data, uint64_t size,
                                    uint64_t offset, uint64_t salt,
                                    struct wdb_frame *frame_out,
                                    struct wdb_entry_header *entry_out);
/*
 * Verify the payload (payload_size bytes are readable): payload_crc, every
 * record, that records carry sequences iff the entry is MERGED, and then that
 * these ascend and end at the entry's index. ECORRUPT.
 */
WDB_MUST_CHECK int wdb_entry_verify_payload(
    const struct wdb_entry_header *entry, const uint8_t *payload);

/*
 * A position: where a record lies, in 52 bits.
 *   bits 0..31   offset / 8 in its segment
 *   bits 32..51  slot of the segment in the log's table (not its id)
 * Slots from WDB_SLOT_STAGED on mean staging buffers of batches that are not yet
 * in the log; 0 as a whole is "nowhere" (offset 0 is the segment's header).
 */
typedef uint64_t wdb_position;
#define WDB_POSITION_BITS  52
#define WDB_SLOT_COUNT_MAX ((uint32_t)1 << 20)
#define WDB_SLOT_STAGED    (WDB_SLOT_COUNT_MAX - 256) /* and those above */
static inline wdb_position wdb_position_make(uint32_t slot, uint64_t offset)
{
    return ((uint64_t)slot << 32) | (offset >> 3);
}
static inline uint32_t wdb_position_slot(wdb_position p)
{
    return (uint32_t)(p >> 32) & (WDB_SLOT_COUNT_MAX - 1);
}
static inline uint64_t wdb_position_offset(wdb_position p)
{
    return (p & UINT64_C(0xffffffff)) << 3;
}

#endif
