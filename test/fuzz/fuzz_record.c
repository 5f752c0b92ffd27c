/*
 * fuzz_record.c - records and segment headers from any bytes.
 *
 * What is decoded is encoded again and must give the same bytes, checksum and
 * padding included. Since no input guesses a checksum, the record is tried as
 * it is, unverified, and verified after it was given a right one.
 */
#include <stdlib.h>

#include "base/assert.h"
#include "log/format.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try_record(const uint8_t *data, size_t size)
{
    struct wdb_record record, again;
    uint64_t record_size, again_size;
    const int verified =
        wdb_record_decode(data, size, true, &record, &record_size);
    if (wdb_record_decode(data, size, false, &record, &record_size) != 0) {
        wdb_assert(verified != 0);
        return;
    }
    wdb_assert(record_size <= size && record_size % 8 == 0);
    wdb_assert(record_size == wdb_record_size(&record));
    wdb_assert(record.key.data >= data);
    wdb_assert(record.value.data + record.value.size <= data + size);
    uint8_t *copy = malloc(record_size);
    if (copy == NULL) {
        return;
    }
    wdb_record_encode(&record, copy);
    const size_t exact = (size_t)(record.value.data + record.value.size - data);
    wdb_assert(memcmp(copy + 4, data + 4, exact - 4) == 0);
    wdb_assert((memcmp(copy, data, record_size) == 0) == (verified == 0));
    wdb_assert(
        wdb_record_decode(copy, record_size, true, &again, &again_size) == 0);
    wdb_assert(again_size == record_size && again.kind == record.kind &&
               again.flags == record.flags && again.index == record.index &&
               again.place == record.place &&
               again.expiry_ms == record.expiry_ms &&
               wdb_slice_equal(again.key, record.key) &&
               wdb_slice_equal(again.value, record.value));
    wdb_assert(wdb_record_decode(copy, record_size - 1, true, &again,
                                 &again_size) != 0);
    free(copy);
}

static void try_segment_header(const uint8_t *data, size_t size)
{
    static const size_t crc_at = offsetof(struct wdb_segment_header, crc);
    uint8_t page[WDB_SEGMENT_HEADER_SIZE] = {0};
    uint8_t again[WDB_SEGMENT_HEADER_SIZE];
    struct wdb_segment_header header;
    memcpy(page, data, size < sizeof(page) ? size : sizeof(page));
    const int raw = wdb_segment_header_decode(page, &header);
    wdb_store64(page, WDB_SEGMENT_MAGIC);
    wdb_store32(page + crc_at, wdb_crc32c(0, page, crc_at));
    const int repaired = wdb_segment_header_decode(page, &header);
    wdb_assert(raw != 0 || repaired == 0);
    if (repaired == 0) {
        wdb_segment_header_encode(&header, again);
        wdb_assert(memcmp(page, again, sizeof(page)) == 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    try_record(data, size);
    try_segment_header(data, size);
    return 0;
}
