/* format.c - encodes and decodes what is in a segment file. */
#include "log/format.h"

#include "base/assert.h"

#define FILE_SIZE_MAX ((uint64_t)8 << 32) /* what a position spans */

static bool all_zeros(const uint8_t *data, uint64_t size)
{
    /* Zeros iff the first is one and each byte equals the one before it. */
    return size == 0 || (data[0] == 0 && memcmp(data, data + 1, size - 1) == 0);
}

/* --- records ---------------------------------------------------------------
 */

uint64_t wdb_record_size(const struct wdb_record *record)
{
    if (record->key.size > WALKERDB_KEY_SIZE_MAX ||
        record->value.size > WALKERDB_VALUE_SIZE_MAX) {
        return 0;
    }
    return wdb_align8(wdb_record_head_size(record->flags) + record->key.size +
                      record->value.size);
}

void wdb_record_encode(const struct wdb_record *record, uint8_t *out)
{
    wdb_debug_assert(record->kind >= WDB_RECORD_PUT &&
                     record->kind <= WDB_RECORD_KIND_LAST);
    wdb_debug_assert((record->flags & ~WDB_RECORD_FLAGS_ALL) == 0);
    const uint64_t padded = wdb_record_size(record);
    wdb_assert(padded != 0);
    struct wdb_record_header header = {
        .key_size = (uint32_t)record->key.size,
        .value_size = (uint32_t)record->value.size,
        .database = record->database,
        .kind = (uint8_t)record->kind,
        .flags = record->flags,
        .type = record->type,
    };
    memset(out + padded - 8, 0, 8);
    memcpy(out, &header, sizeof(header));
    uint8_t *p = out + sizeof(header);
    if (record->flags & WDB_RECORD_SEQUENCE) {
        wdb_store64(p, record->index);
        wdb_store32(p + 8, record->place);
        wdb_store32(p + 12, 0);
        p += 16;
    }
    if (record->flags & WDB_RECORD_EXPIRY) {
        wdb_store64(p, record->expiry_ms);
        p += 8;
    }
    if (record->flags & WDB_RECORD_OBJECT) {
        wdb_store64(p, record->object_id.term);
        wdb_store64(p + 8, record->object_id.counter);
        p += 16;
    }
    if (record->key.size != 0) {
        memcpy(p, record->key.data, record->key.size);
        p += record->key.size;
    }
    if (record->value.size != 0) {
        memcpy(p, record->value.data, record->value.size);
        p += record->value.size;
    }
    wdb_store32(out, wdb_crc32c(0, out + sizeof(header.crc),
                                (size_t)(p - out) - sizeof(header.crc)));
}

/* --- segment header --------------------------------------------------------
 */

void wdb_segment_header_encode(const struct wdb_segment_header *header,
                               uint8_t out[WDB_SEGMENT_HEADER_SIZE])
{
    struct wdb_segment_header copy = *header;
    copy.magic = WDB_SEGMENT_MAGIC;
    copy.version = WDB_FORMAT_VERSION;
    copy.crc = wdb_crc32c(0, &copy, offsetof(struct wdb_segment_header, crc));
    memset(out, 0, WDB_SEGMENT_HEADER_SIZE);
    memcpy(out, &copy, sizeof(copy));
}

int wdb_segment_header_decode(const uint8_t data[WDB_SEGMENT_HEADER_SIZE],
                              struct wdb_segment_header *out)
{
    struct wdb_segment_header header;
    memcpy(&header, data, sizeof(header));
    /* Every version keeps magic, version and crc where they are, so that a
     * newer file is told apart from a damaged one. */
    if (header.magic != WDB_SEGMENT_MAGIC ||
        header.crc !=
            wdb_crc32c(0, &header, offsetof(struct wdb_segment_header, crc))) {
        return WALKERDB_ECORRUPT;
    }
    if (header.version > WDB_FORMAT_VERSION) {
        return WALKERDB_EVERSION;
    }
    if (header.version != WDB_FORMAT_VERSION ||
        (header.kind != WDB_SEGMENT_LOG && header.kind != WDB_SEGMENT_MERGED) ||
        header.size < WDB_SEGMENT_HEADER_SIZE || header.size > FILE_SIZE_MAX ||
        !all_zeros(data + sizeof(header),
                   WDB_SEGMENT_HEADER_SIZE - sizeof(header))) {
        return WALKERDB_ECORRUPT;
    }
    *out = header;
    return 0;
}

/* --- entries ---------------------------------------------------------------
 */

static uint32_t frame_crc(uint64_t salt, const uint8_t *headers)
{
    const size_t skip = offsetof(struct wdb_frame, previous_crc);
    return wdb_crc32c(wdb_salt_fold(salt), headers + skip,
                      WDB_ENTRY_OVERHEAD - skip);
}

static bool has_records(const struct wdb_entry_header *entry)
{
    return entry->type == WDB_ENTRY_COMMAND || entry->type == WDB_ENTRY_MERGED;
}

void wdb_entry_encode(struct wdb_frame *frame,
                      const struct wdb_entry_header *entry, uint8_t *out)
{
    wdb_assert(frame->offset % 8 == 0 && entry->payload_size % 8 == 0);
    frame->magic = WDB_FRAME_MAGIC;
    frame->reserved = 0;
    memcpy(out, frame, sizeof(*frame));
    memcpy(out + sizeof(*frame), entry, sizeof(*entry));
    frame->crc = frame_crc(frame->salt, out);
    wdb_store32(out + offsetof(struct wdb_frame, crc), frame->crc);
}

bool wdb_entry_is_sound(const struct wdb_entry_header *entry)
{
    if (entry->payload_size % 8 != 0 || entry->reserved[0] != 0 ||
        entry->reserved[1] != 0 || entry->reserved[2] != 0) {
        return false;
    }
    switch (entry->type) {
    case WDB_ENTRY_COMMAND:
    case WDB_ENTRY_MERGED:
        return (entry->record_count == 0) == (entry->payload_size == 0) &&
               entry->record_count <=
                   entry->payload_size / sizeof(struct wdb_record_header);
    case WDB_ENTRY_BARRIER:
        return entry->payload_size == 0 && entry->record_count == 0;
    case WDB_ENTRY_CHANGE:
        return entry->record_count == 0;
    default:
        return false;
    }
}

int wdb_entry_decode(const uint8_t *data, uint64_t size, uint64_t offset,
                     uint64_t salt, struct wdb_frame *frame_out,
                     struct wdb_entry_header *entry_out)
{
    struct wdb_frame frame;
    struct wdb_entry_header entry;
    if (size < WDB_ENTRY_OVERHEAD || wdb_load32(data) != WDB_FRAME_MAGIC) {
        const uint64_t seen =
            size < WDB_ENTRY_OVERHEAD ? size : WDB_ENTRY_OVERHEAD;
        return all_zeros(data, seen) ? WALKERDB_ENOTFOUND : WALKERDB_ECORRUPT;
    }
    memcpy(&frame, data, sizeof(frame));
    memcpy(&entry, data + sizeof(frame), sizeof(entry));
    if (frame.salt != salt || frame.offset != offset || frame.reserved != 0 ||
        frame.crc != frame_crc(salt, data) || !wdb_entry_is_sound(&entry) ||
        entry.payload_size > size - WDB_ENTRY_OVERHEAD) {
        return WALKERDB_ECORRUPT;
    }
    *frame_out = frame;
    *entry_out = entry;
    return 0;
}

/* --- payloads --------------------------------------------------------------
 */

static uint32_t payload_crc_step(uint32_t crc, const uint8_t *record,
                                 uint64_t record_size)
{
    uint8_t pair[8];
    memcpy(pair, record, 4);
    wdb_store32(pair + 4, (uint32_t)record_size);
    return wdb_crc32c(crc, pair, sizeof(pair));
}

uint32_t wdb_payload_crc(uint32_t crc, const uint8_t *records, uint64_t size)
{
    uint64_t at = 0;
    while (at < size) {
        struct wdb_record_header header;
        memcpy(&header, records + at, sizeof(header));
        const uint64_t record_size =
            wdb_align8(wdb_record_head_size(header.flags) + header.key_size +
                       header.value_size);
        crc = payload_crc_step(crc, records + at, record_size);
        at += record_size;
    }
    wdb_assert(at == size);
    return crc;
}

/* The sequence rules of one record after another in an entry. */
static bool sequence_is_sound(const struct wdb_entry_header *entry,
                              const struct wdb_record *record,
                              const struct wdb_record *before)
{
    const bool merged = entry->type == WDB_ENTRY_MERGED;
    if (((record->flags & WDB_RECORD_SEQUENCE) != 0) != merged) {
        return false;
    }
    return !merged || before == NULL || record->index > before->index ||
           (record->index == before->index && record->place > before->place);
}

int wdb_entry_verify_payload(const struct wdb_entry_header *entry,
                             const uint8_t *payload)
{
    if (!has_records(entry)) {
        const uint32_t crc = wdb_crc32c(0, payload, entry->payload_size);
        return crc == entry->payload_crc ? 0 : WALKERDB_ECORRUPT;
    }
    struct wdb_record records[2];
    const struct wdb_record *before = NULL;
    uint64_t at = 0;
    uint32_t crc = 0;
    for (uint32_t i = 0; i < entry->record_count; i++) {
        struct wdb_record *record = &records[i % 2];
        uint64_t size;
        int rc = wdb_record_decode(payload + at, entry->payload_size - at, true,
                                   record, &size);
        if (rc != 0 || !sequence_is_sound(entry, record, before)) {
            return WALKERDB_ECORRUPT;
        }
        crc = payload_crc_step(crc, payload + at, size);
        at += size;
        before = record;
    }
    if (at != entry->payload_size || crc != entry->payload_crc ||
        (before != NULL && entry->type == WDB_ENTRY_MERGED &&
         before->index != entry->index)) {
        return WALKERDB_ECORRUPT;
    }
    return 0;
}
