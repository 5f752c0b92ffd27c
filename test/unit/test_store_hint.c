/* test_store_hint.c - hints give back what was put in, and find any damage. */
#include <stdio.h>
#include <stdlib.h>

#include "lib/fault_alloc.h"
#include "lib/log_fixture.h"
#include "lib/test.h"
#include "log/names.h"
#include "sim/sim_env.h"
#include "store/hint.h"

static const struct wdb_hint_identity identity = {
    .id = 0x2a,
    .kind = WDB_SEGMENT_LOG,
    .salt = UINT64_C(0x1234567890abcdef),
    .nonce = 99,
    .size_used = UINT64_C(1) << 34,
    .index_first = 1,
    .index_last = 5000,
    .clean_index = 7,
    .last_crc = 0xabcdef01,
};

/* The nth of a list of records that has everything in it: kinds, optional
 * parts, gaps, changes of database and type, keys of all lengths. */
struct sample {
    struct wdb_record record;
    uint64_t offset, size;
    uint8_t key[70000];
};

static void make_sample(struct sample *s, uint64_t n, uint64_t offset)
{
    static const size_t lengths[] = {16, 16, 16, 0, 1, 255, 256, 300, 70000};
    const size_t length =
        n % 1000 == 17 ? lengths[n / 1000 % WDB_COUNT(lengths)] : 16;
    memset(s->key, 'k', length);
    if (length >= 8) {
        wdb_store64(s->key, n);
    }
    s->record = (struct wdb_record){
        .kind = (enum wdb_record_kind)(1 + (n % 40 < 34 ? 0 : n % 40 - 34)),
        .flags = (uint8_t)(n % 11 == 3   ? WDB_RECORD_EXPIRY
                           : n % 13 == 4 ? WDB_RECORD_OBJECT
                           : n % 17 == 5 ? WDB_RECORD_EXPIRY | WDB_RECORD_OBJECT
                                         : 0),
        .type = (uint8_t)(n / 100 % 3),
        .database = (uint32_t)(n / 64 % 5),
        .key = wdb_slice(s->key, length),
    };
    if (s->record.flags & WDB_RECORD_EXPIRY) {
        s->record.expiry_ms = n << 30 | 1;
    }
    if (s->record.flags & WDB_RECORD_OBJECT) {
        s->record.object_id = (struct wdb_object_id){n, ~n};
    }
    const uint64_t gap = n % 10 == 0 ? 96 : n % 3001 == 5 ? 1 << 20 : 0;
    s->offset = offset + gap;
    s->size = wdb_align8(wdb_record_head_size(s->record.flags) + length +
                         n % 100 * 10);
}

static void check_item(const struct sample *s, const struct wdb_hint_item *item)
{
    const struct wdb_record *r = &s->record;
    CHECK_EQ(item->kind, r->kind);
    CHECK_EQ(item->flags, r->flags);
    CHECK_EQ(item->type, r->type);
    CHECK_EQ(item->database, r->database);
    CHECK_EQ(item->offset, s->offset);
    CHECK_EQ(item->size, s->size);
    CHECK_EQ(item->expiry_ms, r->expiry_ms);
    CHECK_EQ(item->object_id.term, r->object_id.term);
    CHECK_EQ(item->object_id.counter, r->object_id.counter);
    CHECK(wdb_slice_equal(item->key, r->key));
}

#define SAMPLES_OFFSET (WDB_SEGMENT_HEADER_SIZE + WDB_ENTRY_OVERHEAD)

/* The bytes of a hint of the first n samples; free() them. */
static uint8_t *encode_samples(uint64_t n, size_t *size_out)
{
    struct wdb_hint_encoder encoder;
    struct sample *s = malloc(sizeof(*s));
    uint64_t offset = SAMPLES_OFFSET;
    wdb_hint_encoder_init(&encoder, identity.salt);
    if (s == NULL || wdb_buffer_reserve(&encoder.out, WDB_HINT_HEADER_SIZE)) {
        abort();
    }
    encoder.out.size = WDB_HINT_HEADER_SIZE;
    for (uint64_t i = 0; i < n; i++) {
        make_sample(s, i, offset);
        if (wdb_hint_encoder_add(&encoder, &s->record, s->offset, s->size)) {
            abort();
        }
        offset = s->offset + s->size;
    }
    uint8_t header[WDB_HINT_HEADER_SIZE];
    if (wdb_hint_encoder_finish(&encoder, &identity, header) != 0) {
        abort();
    }
    memcpy(encoder.out.data, header, sizeof(header));
    /* Exactly as large as it is: whoever reads behind it is caught. */
    uint8_t *data = malloc(encoder.out.size);
    if (data == NULL) {
        abort();
    }
    memcpy(data, encoder.out.data, encoder.out.size);
    *size_out = encoder.out.size;
    wdb_hint_encoder_release(&encoder);
    free(s);
    return data;
}

static void check_samples(const struct wdb_hint *hint, uint64_t n)
{
    struct wdb_hint_cursor cursor;
    struct wdb_hint_item item;
    struct sample *s = malloc(sizeof(*s));
    uint64_t offset = SAMPLES_OFFSET;
    REQUIRE(s != NULL);
    CHECK_EQ(hint->record_count, n);
    wdb_hint_begin(hint, &cursor);
    for (uint64_t i = 0; i < n && !test_has_failed(); i++) {
        make_sample(s, i, offset);
        CHECK_EQ(wdb_hint_next(&cursor, &item), 0);
        check_item(s, &item);
        offset = s->offset + s->size;
    }
    CHECK_EQ(wdb_hint_next(&cursor, &item), WALKERDB_ENOTFOUND);
    CHECK_EQ(wdb_hint_next(&cursor, &item), WALKERDB_ENOTFOUND);
    free(s);
}

/* What is encoded is walked again in the same order, over many blocks. */
TEST(round_trip)
{
    static const uint64_t counts[] = {0, 1, 2, 3000, 30000};
    for (size_t i = 0; i < WDB_COUNT(counts); i++) {
        size_t size;
        struct wdb_hint hint;
        uint8_t *data = encode_samples(counts[i], &size);
        REQUIRE_EQ(wdb_hint_view(data, size, &identity, &hint), 0);
        check_samples(&hint, counts[i]);
        wdb_hint_close(&hint);
        free(data);
    }
}

/* Records of merged segments carry sequences, so their hint says so. */
TEST(merged_flag)
{
    struct wdb_hint_identity merged = identity;
    merged.kind = WDB_SEGMENT_MERGED;
    struct wdb_hint_encoder encoder;
    struct wdb_record record = {.kind = WDB_RECORD_PUT,
                                .flags = WDB_RECORD_SEQUENCE,
                                .key = wdb_slice_str("k")};
    wdb_hint_encoder_init(&encoder, merged.salt);
    REQUIRE_EQ(wdb_buffer_reserve(&encoder.out, WDB_HINT_HEADER_SIZE), 0);
    encoder.out.size = WDB_HINT_HEADER_SIZE;
    REQUIRE_EQ(wdb_hint_encoder_add(&encoder, &record, 8192, 48), 0);
    uint8_t header[WDB_HINT_HEADER_SIZE];
    REQUIRE_EQ(wdb_hint_encoder_finish(&encoder, &merged, header), 0);
    memcpy(encoder.out.data, header, sizeof(header));
    struct wdb_hint hint;
    struct wdb_hint_cursor cursor;
    struct wdb_hint_item item;
    REQUIRE_EQ(
        wdb_hint_view(encoder.out.data, encoder.out.size, &merged, &hint), 0);
    wdb_hint_begin(&hint, &cursor);
    REQUIRE_EQ(wdb_hint_next(&cursor, &item), 0);
    CHECK_EQ(item.flags, WDB_RECORD_SEQUENCE);
    CHECK_EQ(item.offset, 8192);
    CHECK_EQ(item.size, 48);
    wdb_hint_encoder_release(&encoder);
}

/* Any flipped bit and any other length is found before a record is used. */
TEST(damage_is_found)
{
    size_t size;
    struct wdb_hint hint;
    uint8_t *data = encode_samples(60, &size);
    for (size_t bit = 0; bit < size * 8; bit++) {
        data[bit / 8] ^= (uint8_t)(1 << bit % 8);
        CHECK_EQ(wdb_hint_view(data, size, &identity, &hint),
                 WALKERDB_ECORRUPT);
        data[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    for (size_t n = 0; n < size; n++) {
        CHECK_EQ(wdb_hint_view(data, n, &identity, &hint), WALKERDB_ECORRUPT);
    }
    free(data);
}

/* Two blocks that changed places, or a block left out, are found. */
TEST(blocks_in_order)
{
    size_t size;
    struct wdb_hint hint;
    uint8_t *data = encode_samples(10000, &size);
    uint8_t *first = data + WDB_HINT_HEADER_SIZE;
    const size_t first_size = 24 + wdb_load32(first + 4);
    uint8_t *second = first + first_size;
    const size_t second_size = 24 + wdb_load32(second + 4);
    uint8_t *swapped = malloc(first_size + second_size);
    REQUIRE(swapped != NULL);
    REQUIRE_EQ(wdb_hint_view(data, size, &identity, &hint), 0);
    memcpy(swapped, second, second_size);
    memcpy(swapped + second_size, first, first_size);
    memcpy(first, swapped, first_size + second_size);
    CHECK_EQ(wdb_hint_view(data, size, &identity, &hint), WALKERDB_ECORRUPT);
    memmove(first, first + second_size,
            size - WDB_HINT_HEADER_SIZE - second_size);
    CHECK_EQ(wdb_hint_view(data, size - second_size, &identity, &hint),
             WALKERDB_ECORRUPT);
    free(swapped);
    free(data);
}

/* A hint of anything but exactly this segment in this state is refused. */
TEST(identity_must_match)
{
    size_t size;
    struct wdb_hint hint;
    struct wdb_hint_identity found;
    uint8_t *data = encode_samples(10, &size);
    REQUIRE_EQ(wdb_hint_read_identity(data, size, &found), 0);
    CHECK_EQ(wdb_hint_view(data, size, &found, &hint), 0);
#define OTHER(field)                                                           \
    do {                                                                       \
        struct wdb_hint_identity other = identity;                             \
        other.field ^= 1;                                                      \
        CHECK_EQ(wdb_hint_view(data, size, &other, &hint), WALKERDB_ECORRUPT); \
    } while (0)
    OTHER(id);
    OTHER(salt);
    OTHER(nonce);
    OTHER(size_used);
    OTHER(index_first);
    OTHER(index_last);
    OTHER(clean_index);
    OTHER(last_crc);
#undef OTHER
    struct wdb_hint_identity other = identity;
    other.kind = WDB_SEGMENT_MERGED;
    CHECK_EQ(wdb_hint_view(data, size, &other, &hint), WALKERDB_ECORRUPT);
    free(data);
}

/* What no segment can be is refused, though its checksums are right: offsets
 * beyond what a position spans could not be encoded again. */
TEST(size_beyond_positions)
{
    for (int beyond = 0; beyond < 2; beyond++) {
        struct wdb_hint_identity large = identity, found;
        struct wdb_hint_encoder encoder;
        uint8_t header[WDB_HINT_HEADER_SIZE] = {0};
        large.size_used = ((uint64_t)8 << 32) + (beyond ? 8 : 0);
        wdb_hint_encoder_init(&encoder, large.salt);
        REQUIRE_EQ(
            wdb_buffer_append(&encoder.out, header, WDB_HINT_HEADER_SIZE), 0);
        REQUIRE_EQ(wdb_hint_encoder_finish(&encoder, &large, header), 0);
        memcpy(encoder.out.data, header, sizeof(header));
        CHECK_EQ(wdb_hint_read_identity(encoder.out.data, encoder.out.size,
                                        &found),
                 beyond ? WALKERDB_ECORRUPT : 0);
        wdb_hint_encoder_release(&encoder);
    }
}

/* Writes n samples as a file; the code of whatever failed first. */
static int write_file(struct wdb_env *env, const char *dir, uint64_t n)
{
    struct wdb_hint_writer *writer;
    struct sample *s = malloc(sizeof(*s));
    if (s == NULL) {
        return WALKERDB_ENOMEM;
    }
    uint64_t offset = SAMPLES_OFFSET;
    int rc =
        wdb_hint_writer_open(env, dir, identity.id, identity.salt, &writer);
    if (rc != 0) {
        free(s);
        return rc;
    }
    for (uint64_t i = 0; i < n && rc == 0; i++) {
        make_sample(s, i, offset);
        rc =
            wdb_hint_writer_on_record(writer, &s->record,
                                      wdb_position_make(3, s->offset), s->size);
        offset = s->offset + s->size;
    }
    free(s);
    if (rc != 0) {
        wdb_hint_writer_abort(writer);
        return rc;
    }
    return wdb_hint_writer_finish(writer, &identity);
}

/* Written as a file, a hint is mapped and walked; there is no leftover. */
TEST(file)
{
    const char *dir = test_tmpdir();
    struct wdb_env *env;
    struct wdb_hint hint;
    char name[WDB_NAME_SIZE_MAX];
    wdb_name_hint(name, identity.id);
    REQUIRE_EQ(wdb_env_posix_new(&env), 0);
    CHECK_EQ(wdb_hint_open(env, dir, &identity, &hint), WALKERDB_ENOTFOUND);
    REQUIRE_EQ(write_file(env, dir, 50000), 0);
    REQUIRE_EQ(wdb_hint_open(env, dir, &identity, &hint), 0);
    check_samples(&hint, 50000);
    wdb_hint_close(&hint);
    REQUIRE_EQ(write_file(env, dir, 5), 0);
    REQUIRE_EQ(wdb_hint_open(env, dir, &identity, &hint), 0);
    check_samples(&hint, 5);
    wdb_hint_close(&hint);
    CHECK_EQ(env->ops->unlink(env, test_path(dir, name)), 0);
    CHECK_EQ(env->ops->rmdir(env, dir), 0);
    CHECK_EQ(env->ops->mkdir(env, dir), 0);

    struct wdb_file *file;
    REQUIRE_EQ(
        env->ops->open(env, test_path(dir, name), WDB_OPEN_CREATE, &file), 0);
    env->ops->close(file);
    CHECK_EQ(wdb_hint_open(env, dir, &identity, &hint), WALKERDB_ECORRUPT);
    wdb_env_posix_free(env);
}

/* Whichever allocation fails: an error, no leak, and no hint. */
TEST(no_memory)
{
    const char *dir = test_tmpdir();
    struct wdb_env *env;
    struct wdb_hint hint;
    REQUIRE_EQ(wdb_env_posix_new(&env), 0);
    for (uint64_t n = 1;; n++) {
        fault_alloc_arm(n);
        int rc = write_file(env, dir, 20000);
        if (rc == 0) {
            rc = wdb_hint_open(env, dir, &identity, &hint);
            if (rc == 0) {
                wdb_hint_close(&hint);
            }
        } else {
            CHECK_EQ(wdb_hint_open(env, dir, &identity, &hint),
                     WALKERDB_ENOTFOUND);
        }
        if (!fault_alloc_disarm()) {
            CHECK_EQ(rc, 0);
            break;
        }
        CHECK_EQ(rc, WALKERDB_ENOMEM);
        REQUIRE(n < 1000);
    }
    wdb_env_posix_free(env);
}

/* Whichever file operation fails: an error, nothing left open, and no hint or
 * a whole one. */
TEST(io_failures)
{
    for (uint64_t n = 1;; n++) {
        struct sim_disk *disk = sim_disk_new();
        struct sim_env *sim = sim_env_new(disk, n, NULL);
        struct wdb_env *env = sim_env_base(sim);
        struct wdb_hint hint;
        REQUIRE_EQ(env->ops->mkdir(env, "d"), 0);
        sim_env_fail(sim, (struct sim_fault){.op = SIM_OP_MUTATING,
                                             .nth = n,
                                             .error = WALKERDB_EIO,
                                             .is_partial = n % 2 == 0});
        const int rc = write_file(env, "d", 20000);
        const bool failed = sim_env_clear_faults(sim) != 0;
        CHECK_EQ(rc, failed ? WALKERDB_EIO : 0);
        CHECK_EQ(sim_env_open_count(sim), 0);
        const int open_rc = wdb_hint_open(env, "d", &identity, &hint);
        if (open_rc == 0) {
            check_samples(&hint, 20000);
            wdb_hint_close(&hint);
        } else {
            CHECK_EQ(open_rc, WALKERDB_ENOTFOUND);
        }
        sim_env_free(sim);
        sim_disk_free(disk);
        if (!failed) {
            CHECK_EQ(open_rc, 0);
            break;
        }
        REQUIRE(n < 100 && !test_has_failed());
    }
}

/* After a power cut at any point, however much of what was not synced is on
 * the disk, the hint is whole or it is refused; never is half of it used. */
TEST(crashes)
{
    struct wdb_random random;
    wdb_random_seed(&random, 7);
    for (uint64_t n = 0; n < 15 * SIM_CRASH_POLICY_COUNT; n++) {
        struct sim_disk *disk = sim_disk_new();
        struct sim_env *sim = sim_env_new(disk, n, NULL);
        struct wdb_env *env = sim_env_base(sim);
        struct wdb_hint hint;
        REQUIRE_EQ(env->ops->mkdir(env, "d"), 0);
        REQUIRE_EQ(env->ops->sync_dir(env, "."), 0);
        sim_env_die_after(sim,
                          sim_env_op_number(sim) + n / SIM_CRASH_POLICY_COUNT);
        const int rc = write_file(env, "d", 20000);
        sim_env_free(sim);
        sim_disk_crash(disk,
                       (enum sim_crash_policy)(n % SIM_CRASH_POLICY_COUNT),
                       &random);
        sim = sim_env_new(disk, n, NULL);
        env = sim_env_base(sim);
        const int open_rc = wdb_hint_open(env, "d", &identity, &hint);
        if (open_rc == 0) {
            check_samples(&hint, 20000);
            wdb_hint_close(&hint);
        } else {
            CHECK(rc != 0);
            CHECK(open_rc == WALKERDB_ENOTFOUND ||
                  open_rc == WALKERDB_ECORRUPT);
        }
        sim_env_free(sim);
        sim_disk_free(disk);
    }
}

struct compare {
    struct wdb_hint_cursor cursor;
    uint64_t count;
};

/* The hint's next item is this record of the segment. */
static int compare_record(void *context, const struct wdb_record *record,
                          wdb_position position, uint64_t size)
{
    struct compare *compare = context;
    struct wdb_hint_item item;
    CHECK_EQ(wdb_hint_next(&compare->cursor, &item), 0);
    CHECK_EQ(item.kind, record->kind);
    CHECK_EQ(item.flags, record->flags);
    CHECK_EQ(item.offset, wdb_position_offset(position));
    CHECK_EQ(item.size, size);
    CHECK(wdb_slice_equal(item.key, record->key));
    compare->count++;
    return test_has_failed() ? WALKERDB_EABORTED : 0;
}

/* Opens a log with one sealed segment of 2,000 records; NULL on failure. */
static struct wdb_log *make_log(struct wdb_env *env, const char *dir)
{
    struct wdb_log_options options;
    struct wdb_log *log = NULL;
    log_fixture_options(&options, env, dir);
    options.segment_size = 1 << 20;
    CHECK_EQ(wdb_log_open(&options, &log, NULL), 0);
    for (uint64_t n = 0; n < 2000 && !test_has_failed(); n += 4) {
        CHECK_EQ(log_fixture_append(log, n, 4, 50, NULL), 0);
        if (n % 100 == 0) {
            CHECK_EQ(wdb_log_flush(log), 0);
        }
    }
    CHECK_EQ(wdb_log_roll(log), 0);
    return log;
}

/* The hint of a real segment lists what a scan of it finds; whichever
 * allocation fails, there is none. */
TEST(build)
{
    const char *dir = test_tmpdir();
    struct wdb_env *env;
    struct wdb_segment **segments;
    struct wdb_hint_identity id;
    struct wdb_hint hint;
    size_t count;
    REQUIRE_EQ(wdb_env_posix_new(&env), 0);
    struct wdb_log *log = make_log(env, dir);
    REQUIRE(log != NULL && !test_has_failed());
    REQUIRE_EQ(wdb_log_segments(log, &segments, &count), 0);
    REQUIRE(count >= 1);
    wdb_hint_identify(segments[0], &id);
    for (uint64_t n = 1;; n++) {
        fault_alloc_arm_thread(n);
        const int rc = wdb_hint_build(log, segments[0]);
        if (!fault_alloc_disarm()) {
            CHECK_EQ(rc, 0);
            break;
        }
        CHECK_EQ(rc, WALKERDB_ENOMEM);
        CHECK_EQ(wdb_hint_open(env, dir, &id, &hint), WALKERDB_ENOTFOUND);
    }
    REQUIRE_EQ(wdb_hint_open(env, dir, &id, &hint), 0);
    struct compare compare = {.count = 0};
    wdb_hint_begin(&hint, &compare.cursor);
    CHECK_EQ(wdb_log_scan(log, segments[0], compare_record, &compare, NULL), 0);
    CHECK_EQ(compare.count, 2000);
    CHECK_EQ(hint.record_count, 2000);
    wdb_hint_close(&hint);
    for (size_t i = 0; i < count; i++) {
        wdb_segment_drop(segments[i]);
    }
    free(segments);
    wdb_log_close(log);
    wdb_env_posix_free(env);
}

/* How long validation and a walk take; a figure, not a check. */
TEST(speed)
{
    const uint64_t count = test_number("WDB_TEST_HINT_KEYS", 200000);
    struct wdb_hint_encoder encoder;
    uint8_t key[16] = "0123456789abcdef";
    struct wdb_record record = {.kind = WDB_RECORD_PUT,
                                .database = 1,
                                .key = wdb_slice(key, sizeof(key))};
    wdb_hint_encoder_init(&encoder, identity.salt);
    REQUIRE_EQ(wdb_buffer_reserve(&encoder.out, WDB_HINT_HEADER_SIZE), 0);
    encoder.out.size = WDB_HINT_HEADER_SIZE;
    const uint64_t begun_ns = test_now_ns();
    for (uint64_t i = 0, offset = SAMPLES_OFFSET; i < count; i++) {
        wdb_store64(key, i);
        REQUIRE_EQ(wdb_hint_encoder_add(&encoder, &record, offset, 56), 0);
        offset += 56 + (i % 32 == 0 ? WDB_ENTRY_OVERHEAD : 0);
    }
    uint8_t header[WDB_HINT_HEADER_SIZE];
    REQUIRE_EQ(wdb_hint_encoder_finish(&encoder, &identity, header), 0);
    memcpy(encoder.out.data, header, sizeof(header));
    const uint64_t encoded_ns = test_now_ns();
    struct wdb_hint hint;
    REQUIRE_EQ(
        wdb_hint_view(encoder.out.data, encoder.out.size, &identity, &hint), 0);
    const uint64_t checked_ns = test_now_ns();
    struct wdb_hint_cursor cursor;
    struct wdb_hint_item item;
    uint64_t seen = 0;
    wdb_hint_begin(&hint, &cursor);
    while (wdb_hint_next(&cursor, &item) == 0) {
        seen += item.key.size / 16;
    }
    CHECK_EQ(seen, count);
    const uint64_t walked_ns = test_now_ns();
    printf("  %.1f bytes, encode %.1f ns, check %.1f ns, walk %.1f ns a key\n",
           (double)hint.size / (double)count,
           (double)(encoded_ns - begun_ns) / (double)count,
           (double)(checked_ns - encoded_ns) / (double)count,
           (double)(walked_ns - checked_ns) / (double)count);
    wdb_hint_encoder_release(&encoder);
}
