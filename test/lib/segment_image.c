/* segment_image.c - builds the bytes of a segment file in memory. */
#include "lib/segment_image.h"

#include <stdlib.h>

#include "base/assert.h"

static uint8_t *extend(struct segment_image *image, uint64_t size)
{
    if (wdb_buffer_reserve(&image->bytes, size) != 0) {
        abort();
    }
    uint8_t *at = image->bytes.data + image->bytes.size;
    memset(at, 0, size);
    image->bytes.size += size;
    return at;
}

void segment_image_init(struct segment_image *image, enum wdb_segment_kind kind,
                        uint64_t id)
{
    *image = (struct segment_image){
        .header = {.kind = kind,
                   .id = id,
                   .salt = UINT64_C(0x9e3779b97f4a7c15) * (id + 1),
                   .nonce = UINT64_C(0x1122334455667788)},
        .index = 1,
        .term = 1,
        .time_ms = UINT64_C(1700000000000),
    };
    extend(image, WDB_SEGMENT_HEADER_SIZE);
    image->used = WDB_SEGMENT_HEADER_SIZE;
}

void segment_image_release(struct segment_image *image)
{
    wdb_buffer_release(&image->bytes);
}

uint64_t segment_image_add(struct segment_image *image,
                           const struct wdb_record *record)
{
    if (image->entry_at == 0) {
        image->entry_at = image->bytes.size;
        image->entry_records = 0;
        extend(image, WDB_ENTRY_OVERHEAD);
    }
    const uint64_t offset = image->bytes.size;
    wdb_record_encode(record, extend(image, wdb_record_size(record)));
    image->entry_records++;
    image->entry_last_index = record->index;
    image->record_count++;
    return offset;
}

static void write_headers(struct segment_image *image,
                          struct wdb_entry_header *entry)
{
    struct wdb_frame frame = {
        .previous_crc = image->last_crc,
        .offset = image->entry_at,
        .index_durable = image->durable,
        .index_committed = image->committed,
        .salt = image->header.salt,
    };
    if (image->header.kind == WDB_SEGMENT_LOG) {
        entry->index = image->index++;
    }
    entry->term = image->term;
    entry->time_ms = image->time_ms;
    entry->payload_size =
        image->bytes.size - image->entry_at - WDB_ENTRY_OVERHEAD;
    wdb_entry_encode(&frame, entry, image->bytes.data + image->entry_at);
    image->last_crc = frame.crc;
    image->used = image->bytes.size;
    image->entry_at = 0;
}

void segment_image_close_entry(struct segment_image *image)
{
    if (image->entry_at == 0) {
        return;
    }
    const uint8_t *payload =
        image->bytes.data + image->entry_at + WDB_ENTRY_OVERHEAD;
    const bool merged = image->header.kind == WDB_SEGMENT_MERGED;
    struct wdb_entry_header entry = {
        .index = merged ? image->entry_last_index : 0,
        .type = merged ? WDB_ENTRY_MERGED : WDB_ENTRY_COMMAND,
        .record_count = image->entry_records,
        .payload_crc = wdb_payload_crc(0, payload,
                                       image->bytes.size - image->entry_at -
                                           WDB_ENTRY_OVERHEAD),
    };
    write_headers(image, &entry);
}

void segment_image_add_entry(struct segment_image *image,
                             enum wdb_entry_type type, struct wdb_slice payload)
{
    segment_image_close_entry(image);
    const size_t padded = wdb_align8(payload.size);
    image->entry_at = image->bytes.size;
    uint8_t *at = extend(image, WDB_ENTRY_OVERHEAD + padded);
    if (payload.size != 0) {
        memcpy(at + WDB_ENTRY_OVERHEAD, payload.data, payload.size);
    }
    struct wdb_entry_header entry = {
        .type = (uint16_t)type,
        .payload_crc = wdb_crc32c(0, at + WDB_ENTRY_OVERHEAD, padded),
    };
    write_headers(image, &entry);
}

void segment_image_finish(struct segment_image *image, uint64_t size)
{
    segment_image_close_entry(image);
    if (size > image->bytes.size) {
        extend(image, size - image->bytes.size);
    }
    image->header.size = image->bytes.size;
    wdb_segment_header_encode(&image->header, image->bytes.data);
}

struct wdb_record segment_image_put(const char *key, const char *value)
{
    return (struct wdb_record){
        .kind = WDB_RECORD_PUT,
        .database = 1,
        .key = wdb_slice_str(key),
        .value = wdb_slice_str(value),
    };
}
