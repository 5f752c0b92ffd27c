/*
 * fuzz_entry.c - entries from any bytes: frame, header and payload.
 *
 * The bytes are tried as they are; then their frame is given the right magic,
 * salt, offset and checksum, and their payload right record checksums as far
 * as it can be walked. What is decoded then must encode to the same bytes.
 */
#include <stdlib.h>

#include "base/assert.h"
#include "log/format.h"

#define SALT   UINT64_C(0x0123456789abcdef)
#define OFFSET UINT64_C(4096)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Give every record that can be walked a right checksum and clean padding;
 * returns how many there are and the checksum of the payload. */
static uint32_t repair_records(uint8_t *payload, uint64_t size,
                               uint32_t *crc_out)
{
    uint64_t at = 0, record_size;
    uint32_t count = 0;
    struct wdb_record record;
    while (wdb_record_decode(payload + at, size - at, false, &record,
                             &record_size) == 0) {
        uint8_t *start = payload + at;
        uint8_t *end = (uint8_t *)record.value.data + record.value.size;
        memset(end, 0, (size_t)(start + record_size - end));
        wdb_store32(start, wdb_crc32c(0, start + 4, (size_t)(end - start) - 4));
        at += record_size;
        count++;
    }
    *crc_out = wdb_payload_crc(0, payload, at);
    return count;
}

static void verify(const struct wdb_entry_header *entry, uint8_t *payload)
{
    struct wdb_entry_header repaired = *entry;
    const int raw = wdb_entry_verify_payload(entry, payload);
    const uint32_t count =
        repair_records(payload, entry->payload_size, &repaired.payload_crc);
    if (entry->type == WDB_ENTRY_CHANGE || entry->type == WDB_ENTRY_BARRIER) {
        repaired.payload_crc = wdb_crc32c(0, payload, entry->payload_size);
        wdb_assert(wdb_entry_verify_payload(&repaired, payload) == 0);
        return;
    }
    const int after = wdb_entry_verify_payload(&repaired, payload);
    wdb_assert(raw != 0 || after == 0);
    if (after == 0) {
        wdb_assert(count == entry->record_count);
        repaired.payload_crc ^= 1;
        wdb_assert(wdb_entry_verify_payload(&repaired, payload) != 0);
    }
}

static void try_entry(uint8_t *data, size_t size)
{
    struct wdb_frame frame;
    struct wdb_entry_header entry;
    uint8_t again[WDB_ENTRY_OVERHEAD];
    if (wdb_entry_decode(data, size, OFFSET, SALT, &frame, &entry) != 0) {
        return;
    }
    wdb_assert(WDB_ENTRY_OVERHEAD + entry.payload_size <= size);
    const uint32_t crc = frame.crc;
    wdb_entry_encode(&frame, &entry, again);
    wdb_assert(frame.crc == crc);
    wdb_assert(memcmp(again, data, sizeof(again)) == 0);
    wdb_assert(wdb_entry_decode(data, size, OFFSET + 8, SALT, &frame, &entry) ==
               WALKERDB_ECORRUPT);
    verify(&entry, data + WDB_ENTRY_OVERHEAD);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *copy = malloc(size + 1);
    if (copy == NULL) {
        return 0;
    }
    /* One byte off, so that nothing relies on alignment. */
    uint8_t *entry = copy + 1;
    memcpy(entry, data, size);
    try_entry(entry, size);
    if (size >= WDB_ENTRY_OVERHEAD) {
        const size_t skip = offsetof(struct wdb_frame, previous_crc);
        wdb_store32(entry, WDB_FRAME_MAGIC);
        wdb_store32(entry + offsetof(struct wdb_frame, reserved), 0);
        wdb_store64(entry + offsetof(struct wdb_frame, offset), OFFSET);
        wdb_store64(entry + offsetof(struct wdb_frame, salt), SALT);
        wdb_store32(entry + offsetof(struct wdb_frame, crc),
                    wdb_crc32c(wdb_salt_fold(SALT), entry + skip,
                               WDB_ENTRY_OVERHEAD - skip));
        try_entry(entry, size);
    }
    free(copy);
    return 0;
}
