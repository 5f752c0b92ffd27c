/*
 * segment_image.h - builds the bytes of a segment file in memory, with the
 * encoder of log/format.h only: for tests of whoever reads segments.
 *
 *     struct segment_image image;
 *     segment_image_init(&image, WDB_SEGMENT_LOG, 7);
 *     segment_image_add(&image, &record);
 *     segment_image_close_entry(&image);
 *     segment_image_finish(&image, 65536);
 *     ... image.bytes.data, image.used ...
 *     segment_image_release(&image);
 *
 * Without memory it aborts.
 */
#ifndef WDB_TEST_LIB_SEGMENT_IMAGE_H
#define WDB_TEST_LIB_SEGMENT_IMAGE_H

#include "base/buffer.h"
#include "log/format.h"

struct segment_image {
    struct wdb_segment_header header; /* fields may be set after init */
    struct wdb_buffer bytes;
    uint64_t used;               /* end of the last entry */
    uint64_t index;              /* of the next entry; may be set */
    uint64_t term, time_ms;      /* of the next entries */
    uint64_t durable, committed; /* marks of the next frames */
    uint32_t last_crc;
    uint64_t record_count; /* in all */
    /* the open entry */
    uint64_t entry_at; /* 0 = none is open */
    uint32_t entry_records;
    uint64_t entry_last_index; /* merged: of its last record */
};

/* Salt and nonce are made from the id; the first index is 1. */
void segment_image_init(struct segment_image *image, enum wdb_segment_kind kind,
                        uint64_t id);
void segment_image_release(struct segment_image *image);
/* Append a record to the open entry; opens one if need be. Returns the offset
 * of the record. */
uint64_t segment_image_add(struct segment_image *image,
                           const struct wdb_record *record);
/* Write the headers of the open entry; its index is the next one (merged: of
 * its last record). */
void segment_image_close_entry(struct segment_image *image);
/* An entry without records. */
void segment_image_add_entry(struct segment_image *image,
                             enum wdb_entry_type type,
                             struct wdb_slice payload);
/* Close, fill up with zeros to `size` (0: nothing), write the header. */
void segment_image_finish(struct segment_image *image, uint64_t size);

/* A put of database 1, without flags; the strings stay the caller's. */
struct wdb_record segment_image_put(const char *key, const char *value);

#endif
