/*
 * test_golden.c - the files of format version 1, as they were written once.
 *
 * test/golden/v1 holds a segment with everything in it, its hint, and a whole
 * database: a merged segment, a sealed and an open log segment, hints, and the
 * manifest. They must be readable for ever; and today's encoder must write the
 * same bytes, or else the format has changed and needs a new version. To write
 * them (and the seeds of the fuzzers) anew: WDB_TEST_GOLDEN_WRITE=1.
 */
#include <stdlib.h>

#include "lib/golden.h"
#include "lib/segment_image.h"
#include "lib/test.h"
#include "log/manifest.h"
#include "store/hint.h"

#define SEGMENT     "v1/0000000000000001.log"
#define HINT        "v1/0000000000000001.hint"
#define MERGED      "v1/database/0000000000000002.mrg"
#define MERGED_HINT "v1/database/0000000000000002.hint"
#define SEALED      "v1/database/0000000000000003.log"
#define SEALED_HINT "v1/database/0000000000000003.hint"
#define OPEN        "v1/database/0000000000000004.log"
#define MANIFEST    "v1/database/MANIFEST"
#define SEEDS       GOLDEN_SEEDS

/* --- what the files hold ---------------------------------------------------
 */

/* Number n has id n + 1; the next id is 17. */
static struct wdb_slice mapping(void)
{
    static uint8_t value[17 * 4];
    for (uint32_t i = 0; i < 17; i++) {
        wdb_store32(value + 4 * i, i + 1);
    }
    return wdb_slice(value, sizeof(value));
}

static void make_segment(struct segment_image *image)
{
    segment_image_init(image, WDB_SEGMENT_LOG, 1);
    struct wdb_record r = {.kind = WDB_RECORD_DATABASES, .value = mapping()};
    segment_image_add(image, &r);
    r = segment_image_put("greeting", "hello, world");
    segment_image_add(image, &r);
    segment_image_close_entry(image);

    image->durable = 1;
    image->committed = 1;
    image->time_ms += 1500;
    r = segment_image_put("session", "0123456789abcdef");
    r.flags = WDB_RECORD_EXPIRY;
    r.expiry_ms = UINT64_C(1700000060000);
    segment_image_add(image, &r);
    r.kind = WDB_RECORD_EXPIRE;
    r.expiry_ms += 1000;
    r.value = wdb_slice(NULL, 0);
    segment_image_add(image, &r);
    r.flags = 0;
    r.expiry_ms = 0;
    segment_image_add(image, &r);
    r.kind = WDB_RECORD_DELETE;
    r.key = wdb_slice_str("greeting");
    segment_image_add(image, &r);
    segment_image_close_entry(image);

    segment_image_add_entry(image, WDB_ENTRY_BARRIER, wdb_slice(NULL, 0));
    segment_image_add_entry(image, WDB_ENTRY_CHANGE,
                            wdb_slice_str("configuration"));

    image->term = 2;
    image->committed = 4;
    r = segment_image_put("", "");
    segment_image_add(image, &r);
    r = segment_image_put("object", "header");
    r.flags = WDB_RECORD_OBJECT | WDB_RECORD_EXPIRY;
    r.type = 3;
    r.expiry_ms = 1;
    r.object_id = (struct wdb_object_id){2, 77};
    segment_image_add(image, &r);
    r = segment_image_put("member", "score");
    r.kind = WDB_RECORD_ELEMENT_PUT;
    r.flags = WDB_RECORD_OBJECT;
    r.type = 3;
    r.object_id = (struct wdb_object_id){2, 77};
    segment_image_add(image, &r);
    r.kind = WDB_RECORD_ELEMENT_DELETE;
    r.value = wdb_slice(NULL, 0);
    segment_image_add(image, &r);
    segment_image_finish(image, 8192);
}

static void make_merged(struct segment_image *image)
{
    segment_image_init(image, WDB_SEGMENT_MERGED, 2);
    struct wdb_record r = segment_image_put("session", "0123456789abcdef");
    r.flags = WDB_RECORD_SEQUENCE | WDB_RECORD_EXPIRY;
    r.index = 2;
    r.expiry_ms = UINT64_C(1700000061000);
    segment_image_add(image, &r);
    r.kind = WDB_RECORD_DELETE;
    r.flags = WDB_RECORD_SEQUENCE;
    r.index = 2;
    r.place = 3;
    r.key = wdb_slice_str("greeting");
    r.value = wdb_slice(NULL, 0);
    segment_image_add(image, &r);
    segment_image_close_entry(image);
    r = segment_image_put("object", "header");
    r.flags = WDB_RECORD_SEQUENCE | WDB_RECORD_OBJECT;
    r.type = 3;
    r.index = 5;
    r.place = 1;
    r.object_id = (struct wdb_object_id){2, 77};
    segment_image_add(image, &r);
    segment_image_finish(image, 0);
}

/* Entries 6 to 9 of the log. */
static void make_sealed(struct segment_image *image)
{
    struct segment_image before;
    make_segment(&before);
    segment_image_init(image, WDB_SEGMENT_LOG, 3);
    image->index = 6;
    image->term = 2;
    image->time_ms = before.time_ms + 1000;
    image->last_crc = before.last_crc;
    image->durable = 5;
    image->committed = 5;
    segment_image_release(&before);
    struct wdb_record r = {.kind = WDB_RECORD_DATABASES, .value = mapping()};
    segment_image_add(image, &r);
    segment_image_close_entry(image);
    static const char *const keys[] = {"one", "two", "three"};
    for (size_t i = 0; i < WDB_COUNT(keys); i++) {
        r = segment_image_put(keys[i], "a value");
        segment_image_add(image, &r);
        r.key = wdb_slice_str("last");
        r.value = wdb_slice_str(keys[i]);
        segment_image_add(image, &r);
        segment_image_close_entry(image);
    }
    segment_image_finish(image, 8192);
}

/* Entries 10 to 12; the last one was never known to be durable. */
static void make_open(struct segment_image *image)
{
    struct segment_image before;
    make_sealed(&before);
    segment_image_init(image, WDB_SEGMENT_LOG, 4);
    image->index = 10;
    image->term = 2;
    image->time_ms = before.time_ms;
    image->last_crc = before.last_crc;
    image->durable = 9;
    image->committed = 9;
    segment_image_release(&before);
    struct wdb_record r = segment_image_put("four", "a value");
    segment_image_add(image, &r);
    segment_image_close_entry(image);
    r = segment_image_put("one", "");
    r.kind = WDB_RECORD_DELETE;
    segment_image_add(image, &r);
    segment_image_close_entry(image);
    r = segment_image_put("five", "a value");
    segment_image_add(image, &r);
    segment_image_finish(image, 8192);
}

static struct wdb_hint_identity identify(const struct segment_image *image)
{
    const bool merged = image->header.kind == WDB_SEGMENT_MERGED;
    return (struct wdb_hint_identity){
        .id = image->header.id,
        .kind = image->header.kind,
        .salt = image->header.salt,
        .nonce = image->header.nonce,
        .size_used = image->used,
        .index_first = merged                  ? 2
                       : image->header.id == 3 ? 6
                                               : 1,
        .index_last = merged ? 5 : image->index - 1,
        .clean_index = merged ? 5 : 0,
        .last_crc = merged ? 0 : image->last_crc,
    };
}

/* Calls back for each record of an image, as wdb_log_scan would. */
static void scan(const struct segment_image *image,
                 struct wdb_hint_encoder *encoder)
{
    const uint8_t *data = image->bytes.data;
    uint64_t at = WDB_SEGMENT_HEADER_SIZE;
    struct wdb_frame frame;
    struct wdb_entry_header entry;
    while (at < image->used) {
        REQUIRE_EQ(wdb_entry_decode(data + at, image->used - at, at,
                                    image->header.salt, &frame, &entry),
                   0);
        uint64_t offset = at + WDB_ENTRY_OVERHEAD, size;
        at = offset + entry.payload_size;
        REQUIRE_EQ(wdb_entry_verify_payload(&entry, data + offset), 0);
        for (uint32_t i = 0; i < entry.record_count; i++) {
            struct wdb_record record;
            REQUIRE_EQ(wdb_record_decode(data + offset, at - offset, true,
                                         &record, &size),
                       0);
            REQUIRE_EQ(wdb_hint_encoder_add(encoder, &record, offset, size), 0);
            offset += size;
        }
    }
}

static void make_hint(const struct segment_image *image, struct wdb_buffer *out)
{
    const struct wdb_hint_identity identity = identify(image);
    static const uint8_t zeros[WDB_HINT_HEADER_SIZE];
    uint8_t header[WDB_HINT_HEADER_SIZE];
    struct wdb_hint_encoder encoder;
    wdb_hint_encoder_init(&encoder, identity.salt);
    REQUIRE_EQ(wdb_buffer_append(&encoder.out, zeros, sizeof(zeros)), 0);
    scan(image, &encoder);
    REQUIRE_EQ(wdb_hint_encoder_finish(&encoder, &identity, header), 0);
    memcpy(encoder.out.data, header, sizeof(header));
    *out = encoder.out;
    wdb_buffer_init(&encoder.out);
    wdb_hint_encoder_release(&encoder);
}

static void make_manifest(struct wdb_manifest *m)
{
    static struct wdb_manifest_segment segments[3];
    struct segment_image merged, sealed, open;
    make_merged(&merged);
    make_sealed(&sealed);
    make_open(&open);
    wdb_manifest_init(m, merged.header.nonce);
    m->generation = 9;
    m->segment_id_next = 5;
    m->truncation_index = 3;
    m->truncation_count = 1;
    m->index_retained = 4;
    m->index_durable = 11;
    m->index_committed = 10;
    m->time_ms = open.time_ms;
    m->object_counter = 1024;
    m->term = 2;
    m->raft = wdb_slice_str("opaque");
    segments[0] = (struct wdb_manifest_segment){
        .id = 2,
        .kind = WDB_SEGMENT_MERGED,
        .sealed = true,
        .size = merged.bytes.size,
        .size_used = merged.used,
        .index_first = 2,
        .index_last = 5,
        .clean_index = 5,
        .record_count = merged.record_count,
        .bytes_dead_hint = 48,
    };
    segments[1] = (struct wdb_manifest_segment){
        .id = 3,
        .kind = WDB_SEGMENT_LOG,
        .sealed = true,
        .size = sealed.bytes.size,
        .size_used = sealed.used,
        .index_first = 6,
        .index_last = 9,
        .last_crc = sealed.last_crc,
    };
    memcpy(&segments[1].first_previous_crc,
           sealed.bytes.data + WDB_SEGMENT_HEADER_SIZE +
               offsetof(struct wdb_frame, previous_crc),
           4);
    segments[2] = (struct wdb_manifest_segment){
        .id = 4,
        .kind = WDB_SEGMENT_LOG,
        .size = open.bytes.size,
        .index_first = 10,
        .first_previous_crc = sealed.last_crc,
    };
    m->segments = segments;
    m->segment_count = WDB_COUNT(segments);
    segment_image_release(&merged);
    segment_image_release(&sealed);
    segment_image_release(&open);
}

/* --- files -----------------------------------------------------------------
 */

/* A part of an image as the seed of a fuzzer. */
static void write_seed(const char *seed, const struct segment_image *image,
                       uint64_t from, uint64_t to)
{
    golden_seed(seed, image->bytes.data + from, to - from);
}

typedef void (*make_cb)(struct segment_image *image);

/* Today's encoder writes the segments of version 1, byte for byte. */
TEST(segments)
{
    static const make_cb makers[] = {make_segment, make_merged, make_sealed,
                                     make_open};
    static const char *const names[] = {SEGMENT, MERGED, SEALED, OPEN};
    struct segment_image image;
    for (size_t i = 0; i < WDB_COUNT(makers); i++) {
        makers[i](&image);
        golden_compare(names[i], NULL, image.bytes.data, image.bytes.size);
        segment_image_release(&image);
    }
    const uint64_t entries = WDB_SEGMENT_HEADER_SIZE;
    const uint64_t records = entries + WDB_ENTRY_OVERHEAD;
    make_segment(&image);
    write_seed(SEEDS "fuzz_entry/log", &image, entries, image.used);
    write_seed(SEEDS "fuzz_record/log", &image, records, records + 200);
    write_seed(SEEDS "fuzz_record/segment-header", &image, 0, 64);
    segment_image_release(&image);
    make_merged(&image);
    write_seed(SEEDS "fuzz_entry/merged", &image, entries, image.used);
    write_seed(SEEDS "fuzz_record/merged", &image, records, records + 100);
    segment_image_release(&image);
}

/* The same for hints. */
TEST(hints)
{
    static const make_cb makers[] = {make_segment, make_merged, make_sealed};
    static const char *const names[] = {HINT, MERGED_HINT, SEALED_HINT};
    static const char *const seeds[] = {SEEDS "fuzz_hint/log",
                                        SEEDS "fuzz_hint/merged", NULL};
    for (size_t i = 0; i < WDB_COUNT(makers); i++) {
        struct segment_image image;
        struct wdb_buffer hint;
        makers[i](&image);
        make_hint(&image, &hint);
        golden_compare(names[i], seeds[i], hint.data, hint.size);
        wdb_buffer_release(&hint);
        segment_image_release(&image);
    }
}

/* The same for the manifest. */
TEST(manifest)
{
    struct wdb_manifest m;
    void *data;
    size_t size;
    make_manifest(&m);
    wdb_manifest_check(&m);
    REQUIRE_EQ(wdb_manifest_encode(&m, &data, &size), 0);
    golden_compare(MANIFEST, SEEDS "fuzz_manifest/golden", data, size);
    free(data);
}

/* The golden segment is read: entries, chain, and its records one by one. */
TEST(decode_segment)
{
    size_t size;
    uint8_t *data = golden_load(SEGMENT, &size);
    REQUIRE(data != NULL);
    struct wdb_segment_header header;
    REQUIRE_EQ(wdb_segment_header_decode(data, &header), 0);
    CHECK_EQ(header.id, 1);
    CHECK_EQ(header.kind, WDB_SEGMENT_LOG);
    CHECK_EQ(header.nonce, 0x1122334455667788);
    CHECK_EQ(header.index_first, 0);
    CHECK_EQ(header.size, 8192);
    static const uint16_t types[] = {1, 1, 2, 3, 1};
    static const uint32_t counts[] = {2, 4, 0, 0, 4};
    static const char *const keys[] = {"",        "greeting", "session",
                                       "session", "session",  "greeting",
                                       "",        "object",   "member",
                                       "member"};
    static const enum wdb_record_kind expected[] = {
        WDB_RECORD_DATABASES,     WDB_RECORD_PUT,    WDB_RECORD_PUT,
        WDB_RECORD_EXPIRE,        WDB_RECORD_EXPIRE, WDB_RECORD_DELETE,
        WDB_RECORD_PUT,           WDB_RECORD_PUT,    WDB_RECORD_ELEMENT_PUT,
        WDB_RECORD_ELEMENT_DELETE};
    uint64_t at = WDB_SEGMENT_HEADER_SIZE;
    uint32_t crc = header.previous_crc, n = 0;
    for (size_t i = 0; i < WDB_COUNT(types); i++) {
        struct wdb_frame frame;
        struct wdb_entry_header entry;
        REQUIRE_EQ(wdb_entry_decode(data + at, size - at, at, header.salt,
                                    &frame, &entry),
                   0);
        CHECK_EQ(entry.index, i + 1);
        CHECK_EQ(entry.type, types[i]);
        CHECK_EQ(entry.record_count, counts[i]);
        CHECK_EQ(entry.term, i < 4 ? 1 : 2);
        CHECK_EQ(frame.previous_crc, crc);
        CHECK_EQ(frame.index_durable, i < 1 ? 0 : 1);
        crc = frame.crc;
        at += WDB_ENTRY_OVERHEAD;
        CHECK_EQ(wdb_entry_verify_payload(&entry, data + at), 0);
        uint64_t place = at, record_size;
        at += entry.payload_size;
        for (uint32_t j = 0; j < entry.record_count; j++, n++) {
            struct wdb_record record;
            REQUIRE_EQ(wdb_record_decode(data + place, at - place, true,
                                         &record, &record_size),
                       0);
            CHECK_EQ(record.kind, expected[n]);
            CHECK(wdb_slice_equal(record.key, wdb_slice_str(keys[n])));
            place += record_size;
        }
    }
    CHECK_EQ(n, WDB_COUNT(expected));
    free(data);
}

/* The golden hints and the manifest are read. */
TEST(decode_others)
{
    static const char *const hints[] = {HINT, MERGED_HINT, SEALED_HINT};
    static const uint64_t counts[] = {10, 3, 7};
    size_t size;
    for (size_t i = 0; i < WDB_COUNT(hints); i++) {
        struct wdb_hint_identity identity;
        struct wdb_hint hint;
        void *data = golden_load(hints[i], &size);
        REQUIRE(data != NULL);
        REQUIRE_EQ(wdb_hint_read_identity(data, size, &identity), 0);
        CHECK_EQ(identity.id, i + 1);
        REQUIRE_EQ(wdb_hint_view(data, size, &identity, &hint), 0);
        CHECK_EQ(hint.record_count, counts[i]);
        free(data);
    }
    struct wdb_manifest m;
    void *data = golden_load(MANIFEST, &size);
    REQUIRE(data != NULL);
    REQUIRE_EQ(wdb_manifest_decode(data, size, &m), 0);
    CHECK_EQ(m.generation, 9);
    CHECK_EQ(m.segment_count, 3);
    CHECK_EQ(m.segments[0].id, 2);
    CHECK_EQ(m.index_durable, 11);
    CHECK_EQ(m.index_committed, 10);
    CHECK(!m.segments[2].sealed);
    CHECK(wdb_slice_equal(m.raft, wdb_slice_str("opaque")));
    wdb_manifest_release(&m);
    free(data);
}

static int count_record(void *context, const struct wdb_record *record,
                        wdb_position position, uint64_t size)
{
    (void)record;
    (void)position;
    (void)size;
    ++*(uint64_t *)context;
    return 0;
}

static void copy_file(struct wdb_env *env, const char *name, const char *dir)
{
    void *data;
    size_t size;
    REQUIRE_EQ(wdb_env_read_file(env, test_path(test_golden_dir(), name),
                                 1 << 20, &data, &size),
               0);
    golden_write(test_path(dir, strrchr(name, '/') + 1), data, size);
    free(data);
}

/* A copy of the golden database opens, and all its records are there. */
TEST(database_opens)
{
    static const char *const names[] = {MANIFEST, MERGED,      MERGED_HINT,
                                        SEALED,   SEALED_HINT, OPEN};
    const char *dir = test_tmpdir();
    struct wdb_env *env;
    struct wdb_log *log;
    struct wdb_log_options options;
    struct wdb_segment **segments;
    char *message = NULL;
    uint64_t records = 0;
    size_t count;
    REQUIRE_EQ(wdb_env_posix_new(&env), 0);
    for (size_t i = 0; i < WDB_COUNT(names); i++) {
        copy_file(env, names[i], dir);
    }
    wdb_log_options_init(&options);
    options.env = env;
    options.dir = dir;
    options.background_thread = false;
    options.segment_size = WDB_SEGMENT_SIZE_MIN;
    REQUIRE_EQ(wdb_log_open(&options, &log, &message), 0);
    CHECK_EQ(wdb_log_index_last(log), 12);
    CHECK_EQ(wdb_log_object_counter(log), 1024);
    REQUIRE_EQ(wdb_log_segments(log, &segments, &count), 0);
    for (size_t i = 0; i < count; i++) {
        CHECK_EQ(wdb_log_scan(log, segments[i], count_record, &records, NULL),
                 0);
        wdb_segment_drop(segments[i]);
    }
    free(segments);
    CHECK_EQ(records, 3 + 7 + 3);
    wdb_log_close(log);
    wdb_env_posix_free(env);
}
