/*
 * fuzz_hint.c - hints from any bytes.
 *
 * Tried as they are, then with right checksums for header, footer and each
 * block that can be found. What passes is walked twice, once over an encoder:
 * the new hint must give the same items.
 */
#include <stdlib.h>

#include "base/assert.h"
#include "store/hint.h"

#define BLOCK_HEADER_SIZE 24

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool items_equal(const struct wdb_hint_item *a,
                        const struct wdb_hint_item *b)
{
    return a->kind == b->kind && a->flags == b->flags && a->type == b->type &&
           a->database == b->database && a->offset == b->offset &&
           a->size == b->size && a->expiry_ms == b->expiry_ms &&
           a->object_id.term == b->object_id.term &&
           a->object_id.counter == b->object_id.counter &&
           wdb_slice_equal(a->key, b->key);
}

static void compare(const struct wdb_hint *a, const struct wdb_hint *b)
{
    struct wdb_hint_cursor cursor_a, cursor_b;
    struct wdb_hint_item item_a, item_b;
    uint64_t count = 0;
    wdb_hint_begin(a, &cursor_a);
    wdb_hint_begin(b, &cursor_b);
    while (wdb_hint_next(&cursor_a, &item_a) == 0) {
        wdb_assert(wdb_hint_next(&cursor_b, &item_b) == 0);
        wdb_assert(items_equal(&item_a, &item_b));
        count++;
    }
    wdb_assert(wdb_hint_next(&cursor_b, &item_b) == WALKERDB_ENOTFOUND);
    wdb_assert(count == a->record_count && count == b->record_count);
}

static int encode(const struct wdb_hint *hint, struct wdb_hint_encoder *encoder)
{
    struct wdb_hint_cursor cursor;
    struct wdb_hint_item item;
    wdb_hint_begin(hint, &cursor);
    while (wdb_hint_next(&cursor, &item) == 0) {
        const struct wdb_record record = {
            .kind = item.kind,
            .flags = item.flags,
            .type = item.type,
            .database = item.database,
            .expiry_ms = item.expiry_ms,
            .object_id = item.object_id,
            .key = item.key,
        };
        int rc = wdb_hint_encoder_add(encoder, &record, item.offset, item.size);
        if (rc != 0) {
            return rc;
        }
    }
    return 0;
}

static void try_hint(const uint8_t *data, size_t size)
{
    struct wdb_hint_identity identity;
    struct wdb_hint hint, again;
    struct wdb_hint_encoder encoder;
    uint8_t header[WDB_HINT_HEADER_SIZE];
    if (wdb_hint_read_identity(data, size, &identity) != 0 ||
        wdb_hint_view(data, size, &identity, &hint) != 0) {
        return;
    }
    wdb_hint_encoder_init(&encoder, identity.salt);
    if (wdb_buffer_append(&encoder.out, data, WDB_HINT_HEADER_SIZE) == 0 &&
        encode(&hint, &encoder) == 0 &&
        wdb_hint_encoder_finish(&encoder, &identity, header) == 0) {
        wdb_assert(memcmp(header, data, sizeof(header)) == 0);
        wdb_assert(wdb_hint_view(encoder.out.data, encoder.out.size, &identity,
                                 &again) == 0);
        compare(&hint, &again);
    }
    wdb_hint_encoder_release(&encoder);
}

/* Right magics, sizes, numbers and checksums, with the salt that is there. */
static void repair(uint8_t *data, size_t size)
{
    const uint32_t seed = wdb_salt_fold(wdb_load64(data + 24));
    uint8_t *footer = data + size - WDB_HINT_FOOTER_SIZE;
    uint8_t *at = data + WDB_HINT_HEADER_SIZE;
    uint32_t number = 0;
    uint64_t records = 0;
    memcpy(data, "kWdbHNT1", 8);
    wdb_store32(data + WDB_HINT_HEADER_SIZE - 4,
                wdb_crc32c(seed, data, WDB_HINT_HEADER_SIZE - 4));
    while (footer - at > BLOCK_HEADER_SIZE) {
        const uint64_t left = (uint64_t)(footer - at) - BLOCK_HEADER_SIZE;
        const uint64_t block_size = wdb_load32(at + 4);
        if (block_size > left) {
            break;
        }
        wdb_store32(at + 12, number++);
        records += wdb_load32(at + 8);
        wdb_store32(at, wdb_crc32c(seed, at + 4,
                                   BLOCK_HEADER_SIZE - 4 + block_size));
        at += BLOCK_HEADER_SIZE + block_size;
    }
    memcpy(footer, "kWdbEND1", 8);
    wdb_store64(footer + 8, size);
    wdb_store64(footer + 16, records);
    wdb_store32(footer + 24, number);
    wdb_store32(footer + WDB_HINT_FOOTER_SIZE - 4,
                wdb_crc32c(seed, footer, WDB_HINT_FOOTER_SIZE - 4));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    try_hint(data, size);
    if (size < WDB_HINT_HEADER_SIZE + WDB_HINT_FOOTER_SIZE) {
        return 0;
    }
    uint8_t *copy = malloc(size);
    if (copy == NULL) {
        return 0;
    }
    memcpy(copy, data, size);
    repair(copy, size);
    try_hint(copy, size);
    free(copy);
    return 0;
}
