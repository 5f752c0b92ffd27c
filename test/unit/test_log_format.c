/* test_log_format.c - records, entries, segment headers, file names. */
#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "lib/segment_image.h"
#include "lib/test.h"
#include "log/format.h"
#include "log/names.h"

static void check_record_equal(const struct wdb_record *a,
                               const struct wdb_record *b)
{
    CHECK_EQ(a->kind, b->kind);
    CHECK_EQ(a->flags, b->flags);
    CHECK_EQ(a->type, b->type);
    CHECK_EQ(a->database, b->database);
    CHECK_EQ(a->index, b->index);
    CHECK_EQ(a->place, b->place);
    CHECK_EQ(a->expiry_ms, b->expiry_ms);
    CHECK_EQ(a->object_id.term, b->object_id.term);
    CHECK_EQ(a->object_id.counter, b->object_id.counter);
    CHECK(wdb_slice_equal(a->key, b->key));
    CHECK(wdb_slice_equal(a->value, b->value));
}

/* A record with every optional part that its flags ask for. */
static struct wdb_record make_record(enum wdb_record_kind kind, uint8_t flags,
                                     struct wdb_slice key,
                                     struct wdb_slice value)
{
    struct wdb_record record = {
        .kind = kind,
        .flags = flags,
        .type = (uint8_t)(kind * 31),
        .database = 0xdeadbeef,
        .key = key,
        .value = value,
    };
    if (flags & WDB_RECORD_SEQUENCE) {
        record.index = UINT64_MAX - 5;
        record.place = 0x80000001;
    }
    if (flags & WDB_RECORD_EXPIRY) {
        record.expiry_ms = UINT64_C(1) << 63;
    }
    if (flags & WDB_RECORD_OBJECT) {
        record.object_id = (struct wdb_object_id){3, UINT64_MAX};
    }
    return record;
}

/* Whatever is encoded is decoded to the same, for all kinds, flags and sizes
 * around the alignment. */
TEST(record_round_trip)
{
    static const uint8_t bytes[64] = "a key and a value of many sizes";
    uint8_t out[256];
    for (int kind = 1; kind <= WDB_RECORD_KIND_LAST; kind++) {
        for (uint8_t flags = 0; flags <= WDB_RECORD_FLAGS_ALL; flags++) {
            for (size_t n = 0; n < 18 * 18; n++) {
                struct wdb_record record =
                    make_record(kind, flags, wdb_slice(bytes, n / 18),
                                wdb_slice(bytes + 20, n % 18));
                const uint64_t size = wdb_record_size(&record);
                REQUIRE(size != 0 && size % 8 == 0 && size <= sizeof(out));
                memset(out, 0xaa, sizeof(out));
                wdb_record_encode(&record, out);
                CHECK_EQ(out[size], 0xaa);
                struct wdb_record back;
                uint64_t size_back = 0;
                REQUIRE_EQ(
                    wdb_record_decode(out, size, true, &back, &size_back), 0);
                CHECK_EQ(size_back, size);
                check_record_equal(&record, &back);
                CHECK_EQ(wdb_record_decode(out, size - 1, true, &back,
                                           &size_back),
                         WALKERDB_ECORRUPT);
            }
        }
    }
}

/* Flipping any single bit of a record, padding included, is noticed. */
TEST(record_bit_flips_are_found)
{
    uint8_t out[128];
    for (uint8_t flags = 0; flags <= WDB_RECORD_FLAGS_ALL; flags++) {
        struct wdb_record record =
            make_record(WDB_RECORD_PUT, flags, wdb_slice_str("key"),
                        wdb_slice_str("some value"));
        const uint64_t size = wdb_record_size(&record);
        wdb_record_encode(&record, out);
        for (uint64_t bit = 0; bit < size * 8; bit++) {
            struct wdb_record back;
            uint64_t size_back;
            out[bit / 8] ^= (uint8_t)(1 << bit % 8);
            CHECK_EQ(wdb_record_decode(out, sizeof(out), true, &back,
                                       &size_back),
                     WALKERDB_ECORRUPT);
            out[bit / 8] ^= (uint8_t)(1 << bit % 8);
        }
    }
}

/* No truncated record is accepted, and nothing behind its end is read (the
 * memory is exactly as large as what is promised; ASan watches). */
TEST(record_truncated)
{
    uint8_t out[128];
    struct wdb_record record =
        make_record(WDB_RECORD_PUT, WDB_RECORD_FLAGS_ALL, wdb_slice_str("key"),
                    wdb_slice_str("value"));
    const uint64_t size = wdb_record_size(&record);
    wdb_record_encode(&record, out);
    for (uint64_t n = 0; n < size; n++) {
        uint8_t *exact = malloc(n + 1);
        REQUIRE(exact != NULL);
        memcpy(exact + 1, out, n);
        struct wdb_record back;
        uint64_t size_back;
        CHECK_EQ(wdb_record_decode(exact + 1, n, true, &back, &size_back),
                 WALKERDB_ECORRUPT);
        CHECK_EQ(wdb_record_decode(exact + 1, n, false, &back, &size_back),
                 WALKERDB_ECORRUPT);
        free(exact);
    }
}

/* Keys and values beyond the limits have no size. */
TEST(record_limits)
{
    struct wdb_record record = {.kind = WDB_RECORD_PUT};
    record.key.size = WALKERDB_KEY_SIZE_MAX;
    record.value.size = WALKERDB_VALUE_SIZE_MAX;
    CHECK_EQ(wdb_record_size(&record),
             24 + WALKERDB_KEY_SIZE_MAX + WALKERDB_VALUE_SIZE_MAX);
    record.key.size++;
    CHECK_EQ(wdb_record_size(&record), 0);
    record.key.size = SIZE_MAX;
    CHECK_EQ(wdb_record_size(&record), 0);
    record.key.size = 0;
    record.value.size++;
    CHECK_EQ(wdb_record_size(&record), 0);
}

static struct wdb_segment_header make_segment_header(void)
{
    return (struct wdb_segment_header){
        .kind = WDB_SEGMENT_LOG,
        .id = 77,
        .salt = UINT64_C(0x0123456789abcdef),
        .nonce = UINT64_C(0xfedcba9876543210),
        .index_first = 1000,
        .size = 1 << 20,
        .previous_crc = 0xcafebabe,
    };
}

/* A segment header comes back; any flipped bit of its 4,096 bytes is found. */
TEST(segment_header)
{
    static uint8_t out[WDB_SEGMENT_HEADER_SIZE];
    struct wdb_segment_header header = make_segment_header();
    struct wdb_segment_header back;
    wdb_segment_header_encode(&header, out);
    REQUIRE_EQ(wdb_segment_header_decode(out, &back), 0);
    CHECK_EQ(back.kind, header.kind);
    CHECK_EQ(back.id, header.id);
    CHECK_EQ(back.salt, header.salt);
    CHECK_EQ(back.nonce, header.nonce);
    CHECK_EQ(back.index_first, header.index_first);
    CHECK_EQ(back.size, header.size);
    CHECK_EQ(back.previous_crc, header.previous_crc);
    CHECK_EQ(back.version, WDB_FORMAT_VERSION);
    for (size_t bit = 0; bit < sizeof(out) * 8; bit++) {
        out[bit / 8] ^= (uint8_t)(1 << bit % 8);
        CHECK_EQ(wdb_segment_header_decode(out, &back), WALKERDB_ECORRUPT);
        out[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
}

/* A newer version is told apart from damage; version 0 never existed. */
TEST(segment_header_version)
{
    static uint8_t out[WDB_SEGMENT_HEADER_SIZE];
    struct wdb_segment_header header = make_segment_header();
    struct wdb_segment_header back;
    wdb_segment_header_encode(&header, out);
    const size_t version_at = offsetof(struct wdb_segment_header, version);
    const size_t crc_at = offsetof(struct wdb_segment_header, crc);
    wdb_store32(out + version_at, WDB_FORMAT_VERSION + 1);
    CHECK_EQ(wdb_segment_header_decode(out, &back), WALKERDB_ECORRUPT);
    wdb_store32(out + crc_at, wdb_crc32c(0, out, crc_at));
    CHECK_EQ(wdb_segment_header_decode(out, &back), WALKERDB_EVERSION);
    wdb_store32(out + version_at, 0);
    wdb_store32(out + crc_at, wdb_crc32c(0, out, crc_at));
    CHECK_EQ(wdb_segment_header_decode(out, &back), WALKERDB_ECORRUPT);
}

/* Walks the entries of an image as a reader does; counts the records. */
static uint64_t walk(const struct segment_image *image)
{
    const uint8_t *data = image->bytes.data;
    uint64_t at = WDB_SEGMENT_HEADER_SIZE, records = 0;
    uint32_t previous_crc = image->header.previous_crc;
    for (;;) {
        struct wdb_frame frame;
        struct wdb_entry_header entry;
        int rc = wdb_entry_decode(data + at, image->bytes.size - at, at,
                                  image->header.salt, &frame, &entry);
        if (rc == WALKERDB_ENOTFOUND) {
            CHECK_EQ(at, image->used);
            return records;
        }
        if (rc != 0 || frame.previous_crc != previous_crc ||
            wdb_entry_verify_payload(&entry, data + at + WDB_ENTRY_OVERHEAD) !=
                0) {
            return UINT64_MAX;
        }
        previous_crc = frame.crc;
        records += entry.record_count;
        at += WDB_ENTRY_OVERHEAD + entry.payload_size;
    }
}

static void fill_image(struct segment_image *image)
{
    const struct wdb_record a = segment_image_put("a", "1");
    const struct wdb_record b = segment_image_put("bb", "22");
    segment_image_init(image, WDB_SEGMENT_LOG, 3);
    segment_image_add(image, &a);
    segment_image_add(image, &b);
    segment_image_close_entry(image);
    segment_image_add_entry(image, WDB_ENTRY_BARRIER, wdb_slice(NULL, 0));
    segment_image_add_entry(image, WDB_ENTRY_CHANGE,
                            wdb_slice_str("a configuration"));
    segment_image_add(image, &a);
    segment_image_finish(image, 8192);
}

/* A segment is read to its end; every flipped bit of its entries is found by
 * frame, chain or payload. */
TEST(entries_bit_flips_are_found)
{
    struct segment_image image;
    fill_image(&image);
    CHECK_EQ(walk(&image), 3);
    uint8_t *data = image.bytes.data;
    for (uint64_t bit = WDB_SEGMENT_HEADER_SIZE * 8; bit < image.used * 8;
         bit++) {
        data[bit / 8] ^= (uint8_t)(1 << bit % 8);
        CHECK(walk(&image) != 3);
        data[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    CHECK_EQ(walk(&image), 3);
    segment_image_release(&image);
}

/* An entry is refused at another offset, under another salt, and if its
 * payload does not fit into what is there. */
TEST(entry_identity)
{
    struct segment_image image;
    fill_image(&image);
    const uint64_t at = WDB_SEGMENT_HEADER_SIZE;
    const uint8_t *data = image.bytes.data + at;
    const uint64_t left = image.bytes.size - at;
    const uint64_t salt = image.header.salt;
    struct wdb_frame frame;
    struct wdb_entry_header entry;
    REQUIRE_EQ(wdb_entry_decode(data, left, at, salt, &frame, &entry), 0);
    const uint64_t size = WDB_ENTRY_OVERHEAD + entry.payload_size;
    CHECK_EQ(wdb_entry_decode(data, size, at, salt, &frame, &entry), 0);
    CHECK_EQ(wdb_entry_decode(data, size - 1, at, salt, &frame, &entry),
             WALKERDB_ECORRUPT);
    CHECK_EQ(wdb_entry_decode(data, left, at + 8, salt, &frame, &entry),
             WALKERDB_ECORRUPT);
    CHECK_EQ(wdb_entry_decode(data, left, at, salt ^ 1, &frame, &entry),
             WALKERDB_ECORRUPT);
    CHECK_EQ(wdb_entry_decode(data, 95, at, salt, &frame, &entry),
             WALKERDB_ECORRUPT);
    segment_image_release(&image);
}

/* Zeros are the end of the log, not an entry, however few there are. */
TEST(entry_zeros)
{
    static const uint8_t zeros[256];
    struct wdb_frame frame;
    struct wdb_entry_header entry;
    for (uint64_t size = 0; size < sizeof(zeros); size++) {
        CHECK_EQ(wdb_entry_decode(zeros, size, 4096, 5, &frame, &entry),
                 WALKERDB_ENOTFOUND);
    }
    uint8_t nearly[WDB_ENTRY_OVERHEAD] = {0};
    nearly[WDB_ENTRY_OVERHEAD - 1] = 1;
    CHECK_EQ(wdb_entry_decode(nearly, sizeof(nearly), 4096, 5, &frame, &entry),
             WALKERDB_ECORRUPT);
}

/* Encodes an entry of two records with these sequences; verifies it. */
static int verify_merged(uint64_t index_a, uint32_t place_a, uint64_t index_b,
                         uint32_t place_b, uint64_t entry_index)
{
    uint8_t payload[256];
    struct wdb_record record = segment_image_put("k", "v");
    record.flags = WDB_RECORD_SEQUENCE;
    record.index = index_a;
    record.place = place_a;
    const uint64_t size = wdb_record_size(&record);
    wdb_record_encode(&record, payload);
    record.index = index_b;
    record.place = place_b;
    wdb_record_encode(&record, payload + size);
    struct wdb_entry_header entry = {
        .index = entry_index,
        .payload_size = 2 * size,
        .record_count = 2,
        .type = WDB_ENTRY_MERGED,
        .payload_crc = wdb_payload_crc(0, payload, 2 * size),
    };
    return wdb_entry_verify_payload(&entry, payload);
}

/* In merged entries sequences ascend and end at the entry's index. */
TEST(merged_sequences)
{
    CHECK_EQ(verify_merged(5, 0, 5, 1, 5), 0);
    CHECK_EQ(verify_merged(5, 7, 6, 0, 6), 0);
    CHECK_EQ(verify_merged(5, 1, 5, 1, 5), WALKERDB_ECORRUPT);
    CHECK_EQ(verify_merged(5, 1, 5, 0, 5), WALKERDB_ECORRUPT);
    CHECK_EQ(verify_merged(6, 0, 5, 0, 5), WALKERDB_ECORRUPT);
    CHECK_EQ(verify_merged(5, 0, 6, 0, 7), WALKERDB_ECORRUPT);
}

/* A sequence in a log entry, a missing one in a merged entry, a wrong count,
 * and two records that changed places are refused. */
TEST(payload_rules)
{
    uint8_t payload[256];
    struct wdb_record record = segment_image_put("k", "v");
    const uint64_t size = wdb_record_size(&record);
    wdb_record_encode(&record, payload);
    record.value = wdb_slice_str("w");
    wdb_record_encode(&record, payload + size);
    struct wdb_entry_header entry = {
        .payload_size = 2 * size,
        .record_count = 2,
        .type = WDB_ENTRY_COMMAND,
        .payload_crc = wdb_payload_crc(0, payload, 2 * size),
    };
    CHECK_EQ(wdb_entry_verify_payload(&entry, payload), 0);
    entry.type = WDB_ENTRY_MERGED;
    CHECK_EQ(wdb_entry_verify_payload(&entry, payload), WALKERDB_ECORRUPT);
    entry.type = WDB_ENTRY_COMMAND;
    entry.record_count = 1;
    CHECK_EQ(wdb_entry_verify_payload(&entry, payload), WALKERDB_ECORRUPT);
    entry.record_count = 3;
    CHECK_EQ(wdb_entry_verify_payload(&entry, payload), WALKERDB_ECORRUPT);
    entry.record_count = 2;
    wdb_record_encode(&record, payload);
    record.value = wdb_slice_str("v");
    wdb_record_encode(&record, payload + size);
    CHECK_EQ(wdb_entry_verify_payload(&entry, payload), WALKERDB_ECORRUPT);
    record.flags = WDB_RECORD_SEQUENCE;
    wdb_record_encode(&record, payload);
    entry.payload_size = wdb_record_size(&record);
    entry.record_count = 1;
    entry.payload_crc = wdb_payload_crc(0, payload, entry.payload_size);
    CHECK_EQ(wdb_entry_verify_payload(&entry, payload), WALKERDB_ECORRUPT);
}

/* The checksum of a payload may be computed in pieces, batch by batch. */
TEST(payload_crc_in_pieces)
{
    uint8_t payload[256];
    const struct wdb_record a = segment_image_put("k", "v");
    const struct wdb_record b = segment_image_put("key", "a longer value");
    const uint64_t size_a = wdb_record_size(&a), size_b = wdb_record_size(&b);
    wdb_record_encode(&a, payload);
    wdb_record_encode(&b, payload + size_a);
    const uint32_t whole = wdb_payload_crc(0, payload, size_a + size_b);
    const uint32_t first = wdb_payload_crc(0, payload, size_a);
    CHECK_EQ(wdb_payload_crc(first, payload + size_a, size_b), whole);
}

/* Positions keep slot and offset up to their limits. */
TEST(positions)
{
    const uint32_t slots[] = {0, 1, WDB_SLOT_STAGED - 1, WDB_SLOT_STAGED};
    const uint64_t offsets[] = {8, 4096, UINT64_C(0xffffffff) << 3};
    for (size_t i = 0; i < WDB_COUNT(slots); i++) {
        for (size_t j = 0; j < WDB_COUNT(offsets); j++) {
            wdb_position p = wdb_position_make(slots[i], offsets[j]);
            CHECK(p >> WDB_POSITION_BITS == 0);
            CHECK_EQ(wdb_position_slot(p), slots[i]);
            CHECK_EQ(wdb_position_offset(p), offsets[j]);
        }
    }
}

static void check_name(const char *text, enum wdb_name_kind kind, uint64_t id,
                       uint32_t number)
{
    char temporary[64];
    struct wdb_name name;
    wdb_name_parse(text, &name);
    CHECK_EQ(name.kind, kind);
    CHECK_EQ(name.id, id);
    CHECK_EQ(name.number, number);
    CHECK(!name.temporary);
    snprintf(temporary, sizeof(temporary), "%s.tmp", text);
    wdb_name_parse(temporary, &name);
    CHECK_EQ(name.kind, kind);
    CHECK_EQ(name.temporary, kind != WDB_NAME_KIND_OTHER);
}

/* Names that are made are parsed back; all others are somebody else's. */
TEST(names)
{
    char name[WDB_NAME_SIZE_MAX];
    wdb_name_segment(name, 0x1f, WDB_SEGMENT_LOG);
    CHECK_STR(name, "000000000000001f.log");
    check_name(name, WDB_NAME_KIND_LOG, 0x1f, 0);
    wdb_name_segment(name, UINT64_MAX, WDB_SEGMENT_MERGED);
    CHECK_STR(name, "ffffffffffffffff.mrg");
    check_name(name, WDB_NAME_KIND_MERGED, UINT64_MAX, 0);
    wdb_name_hint(name, 16);
    CHECK_STR(name, "0000000000000010.hint");
    check_name(name, WDB_NAME_KIND_HINT, 16, 0);
    wdb_name_cut(name, UINT64_MAX, UINT32_MAX);
    CHECK_STR(name, "ffffffffffffffff.cut-4294967295");
    check_name(name, WDB_NAME_KIND_CUT, UINT64_MAX, UINT32_MAX);
    check_name("LOCK", WDB_NAME_KIND_LOCK, 0, 0);
    check_name("MANIFEST", WDB_NAME_KIND_MANIFEST, 0, 0);

    static const char *const others[] = {
        "",
        "LOCKS",
        "manifest",
        "walkerdb.conf",
        "000000000000001f",
        "000000000000001F.log",
        "00000000000001f.log",
        "000000000000001f.logs",
        "000000000000001f.cut-",
        "000000000000001f.cut-01",
        "000000000000001f.cut--1",
        "000000000000001f.cut-4294967296",
        ".tmp",
        "000000000000001f.log.tmp.tmp",
    };
    for (size_t i = 0; i < WDB_COUNT(others); i++) {
        check_name(others[i], WDB_NAME_KIND_OTHER, 0, 0);
    }
}
