/*
 * fuzz_message.c - messages between peers from any bytes.
 *
 * Tried as they are, then with the right size and checksum, then with right
 * checksums of entries, records and pieces as well. What is decoded encodes to
 * the same bytes, and its entries can be walked.
 */
#include <stdlib.h>

#include "base/assert.h"
#include "raft/message.h"

#define HEAD WDB_MESSAGE_HEAD_SIZE

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void walk(const struct wdb_message *m)
{
    struct wdb_entry_header entry;
    const uint8_t *payload;
    uint64_t index = m->append.previous_index;
    uint32_t count = 0;
    size_t at = 0;
    while (wdb_message_next_entry(m, &at, &entry, &payload)) {
        wdb_assert(entry.index == ++index && entry.term <= m->term);
        wdb_assert(wdb_entry_verify_payload(&entry, payload) == 0);
        count++;
    }
    wdb_assert(count == m->append.entry_count);
    wdb_assert(at == m->append.entries_size);
}

static void try_message(const uint8_t *data, size_t size)
{
    struct wdb_message m;
    uint8_t head[HEAD + WDB_MESSAGE_FIXED_MAX];
    uint64_t told = 0;
    const int rc =
        size < HEAD ? WALKERDB_ECORRUPT : wdb_message_size(data, &told);
    if (wdb_message_decode(data, size, &m) != 0) {
        return;
    }
    wdb_assert(rc == 0 && told == size);
    const struct wdb_slice payload = wdb_message_payload(&m);
    wdb_assert(payload.size == 0 || payload.data + payload.size == data + size);
    if (m.kind == WDB_MESSAGE_APPEND) {
        walk(&m);
    }
    const size_t head_size = wdb_message_encode(&m, head);
    const size_t fixed = wdb_load32(data + 12);
    wdb_assert(head_size <= HEAD + fixed &&
               size == HEAD + fixed + payload.size);
    if (head_size == HEAD + fixed) {
        wdb_assert(memcmp(head, data, head_size) == 0);
    } else {
        wdb_assert(memcmp(head + HEAD, data + HEAD, head_size - HEAD) == 0);
    }
}

/* Make the head right: size, kind, fixed fields and checksum. */
static void repair_head(uint8_t *data, size_t size)
{
    static const uint8_t fixed[] = {0,  40, 32, 64, 40, 32,
                                    24, 24, 48, 40, 40, 40};
    const uint32_t kind = 1 + (data[4] + 10u) % WDB_MESSAGE_KIND_LAST;
    wdb_store32(data, (uint32_t)size);
    wdb_store32(data + 4, kind);
    if (wdb_load32(data + 12) != fixed[kind] + 8u) {
        wdb_store32(data + 12, fixed[kind]);
    }
    const size_t fixed_size = wdb_load32(data + 12);
    if (HEAD + fixed_size > size) {
        return;
    }
    if (kind == WDB_MESSAGE_PIECE) {
        wdb_store32(data + HEAD + 36, wdb_crc32c(0, data + HEAD + fixed_size,
                                                 size - HEAD - fixed_size));
    }
    uint32_t crc = wdb_crc32c(0, data, 8);
    crc = wdb_crc32c(crc, data + 12, 4 + fixed_size);
    wdb_store32(data + 8, crc);
}

/* Right checksums and clean padding for what can be walked as records. */
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

/* Make entries right as far as they can be walked, with their count, indexes
 * and checksums. */
static void repair_entries(uint8_t *fixed, uint8_t *entries, size_t size)
{
    uint64_t index = wdb_load64(fixed + 16);
    uint32_t count = 0, crc = 0;
    size_t at = 0;
    while (size - at >= sizeof(struct wdb_entry_header)) {
        struct wdb_entry_header entry;
        memcpy(&entry, entries + at, sizeof(entry));
        uint8_t *payload = entries + at + sizeof(entry);
        if (entry.payload_size > size - at - sizeof(entry)) {
            break;
        }
        entry.index = ++index;
        if (entry.type == WDB_ENTRY_COMMAND) {
            entry.record_count =
                repair_records(payload, entry.payload_size, &entry.payload_crc);
        } else {
            entry.payload_crc = wdb_crc32c(0, payload, entry.payload_size);
        }
        memcpy(entries + at, &entry, sizeof(entry));
        crc = wdb_crc32c(crc, &entry, sizeof(entry));
        at += sizeof(entry) + entry.payload_size;
        count++;
    }
    wdb_store32(fixed + 56, count);
    wdb_store32(fixed + 60, crc);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    try_message(data, size);
    if (size < HEAD + 24) {
        return 0;
    }
    uint8_t *copy = malloc(size);
    if (copy == NULL) {
        return 0;
    }
    memcpy(copy, data, size);
    repair_head(copy, size);
    try_message(copy, size);
    const size_t fixed_size = wdb_load32(copy + 12);
    if (copy[4] == WDB_MESSAGE_APPEND && HEAD + fixed_size <= size) {
        repair_entries(copy + HEAD, copy + HEAD + fixed_size,
                       size - HEAD - fixed_size);
        repair_head(copy, size);
        try_message(copy, size);
    }
    free(copy);
    return 0;
}
