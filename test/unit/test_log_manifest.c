/* test_log_manifest.c - encoding, invariants and the file of the manifest. */
#include <stdlib.h>

#include "base/crc32c.h"
#include "lib/fault_alloc.h"
#include "lib/test.h"
#include "log/manifest.h"
#include "sim/sim_env.h"

#define HEADER_SIZE  120
#define COUNT_AT     112
#define RAFT_SIZE_AT 116
#define SEGMENT_SIZE 80
#define RAFT_AT      (HEADER_SIZE + 3 * SEGMENT_SIZE)

/* Three segments, the last one open, and opaque bytes. */
static struct wdb_manifest make_manifest(void)
{
    struct wdb_manifest m;
    wdb_manifest_init(&m, UINT64_C(0x123456789abcdef0));
    m.generation = 12;
    m.segment_id_next = 10;
    m.truncation_index = 90;
    m.truncation_count = 2;
    m.index_retained = 33;
    m.object_counter = 4096;
    m.term = 7;
    m.index_durable = 99;
    m.index_committed = 98;
    m.time_ms = UINT64_C(1700000000123);
    m.cluster = true;
    m.segment_count = 3;
    m.segments = calloc(m.segment_count, sizeof(*m.segments));
    if (m.segments == NULL) {
        abort();
    }
    m.segments[0] = (struct wdb_manifest_segment){
        .id = 9,
        .kind = WDB_SEGMENT_MERGED,
        .sealed = true,
        .size = 1 << 20,
        .size_used = 99992,
        .index_first = 1,
        .index_last = 50,
        .clean_index = 99,
        .record_count = 1234,
        .bytes_dead_hint = 777,
    };
    m.segments[1] = (struct wdb_manifest_segment){
        .id = 3,
        .kind = WDB_SEGMENT_LOG,
        .sealed = true,
        .size = 1 << 20,
        .size_used = 1 << 20,
        .index_first = 51,
        .index_last = 100,
        .first_previous_crc = 0x11111111,
        .last_crc = 0x22222222,
    };
    m.segments[2] = (struct wdb_manifest_segment){
        .id = 4,
        .kind = WDB_SEGMENT_LOG,
        .size = 1 << 20,
        .index_first = 101,
        .first_previous_crc = 0x22222222,
    };
    uint8_t *raft = malloc(5);
    if (raft == NULL) {
        abort();
    }
    memcpy(raft, "peers", 5);
    m.raft = wdb_slice(raft, 5);
    return m;
}

static void check_segment_equal(const struct wdb_manifest_segment *a,
                                const struct wdb_manifest_segment *b)
{
    CHECK_EQ(a->id, b->id);
    CHECK_EQ(a->kind, b->kind);
    CHECK_EQ(a->sealed, b->sealed);
    CHECK_EQ(a->size, b->size);
    CHECK_EQ(a->size_used, b->size_used);
    CHECK_EQ(a->index_first, b->index_first);
    CHECK_EQ(a->index_last, b->index_last);
    CHECK_EQ(a->first_previous_crc, b->first_previous_crc);
    CHECK_EQ(a->last_crc, b->last_crc);
    CHECK_EQ(a->clean_index, b->clean_index);
    CHECK_EQ(a->record_count, b->record_count);
    CHECK_EQ(a->bytes_dead_hint, b->bytes_dead_hint);
}

static void check_equal(const struct wdb_manifest *a,
                        const struct wdb_manifest *b)
{
    CHECK_EQ(a->generation, b->generation);
    CHECK_EQ(a->nonce, b->nonce);
    CHECK_EQ(a->segment_id_next, b->segment_id_next);
    CHECK_EQ(a->truncation_index, b->truncation_index);
    CHECK_EQ(a->truncation_count, b->truncation_count);
    CHECK_EQ(a->index_retained, b->index_retained);
    CHECK_EQ(a->object_counter, b->object_counter);
    CHECK_EQ(a->term, b->term);
    CHECK_EQ(a->index_durable, b->index_durable);
    CHECK_EQ(a->index_committed, b->index_committed);
    CHECK_EQ(a->time_ms, b->time_ms);
    CHECK_EQ(a->cluster, b->cluster);
    CHECK(wdb_slice_equal(a->raft, b->raft));
    REQUIRE_EQ(a->segment_count, b->segment_count);
    for (size_t i = 0; i < a->segment_count; i++) {
        check_segment_equal(&a->segments[i], &b->segments[i]);
    }
}

/* What is encoded is decoded to the same, and a copy is equal. */
TEST(round_trip)
{
    struct wdb_manifest m = make_manifest(), back, copy;
    void *data;
    size_t size;
    wdb_manifest_check(&m);
    REQUIRE_EQ(wdb_manifest_encode(&m, &data, &size), 0);
    CHECK_EQ(size, HEADER_SIZE + 3 * SEGMENT_SIZE + 8 + 8);
    REQUIRE_EQ(wdb_manifest_decode(data, size, &back), 0);
    check_equal(&m, &back);
    REQUIRE_EQ(wdb_manifest_copy(&back, &copy), 0);
    wdb_manifest_release(&back);
    check_equal(&m, &copy);
    wdb_manifest_release(&copy);
    wdb_manifest_release(&m);
    free(data);
}

/* An empty database has an empty manifest. */
TEST(round_trip_empty)
{
    struct wdb_manifest m, back;
    void *data;
    size_t size;
    wdb_manifest_init(&m, 5);
    wdb_manifest_check(&m);
    REQUIRE_EQ(wdb_manifest_encode(&m, &data, &size), 0);
    REQUIRE_EQ(wdb_manifest_decode(data, size, &back), 0);
    check_equal(&m, &back);
    CHECK_EQ(back.term, 1);
    wdb_manifest_release(&back);
    free(data);
}

/* Every flipped bit and every other size is refused. */
TEST(damage_is_found)
{
    struct wdb_manifest m = make_manifest(), back;
    void *encoded;
    size_t size;
    REQUIRE_EQ(wdb_manifest_encode(&m, &encoded, &size), 0);
    uint8_t *data = encoded;
    for (size_t bit = 0; bit < size * 8; bit++) {
        data[bit / 8] ^= (uint8_t)(1 << bit % 8);
        CHECK_EQ(wdb_manifest_decode(data, size, &back), WALKERDB_ECORRUPT);
        data[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    for (size_t n = 0; n < size; n++) {
        CHECK_EQ(wdb_manifest_decode(data, n, &back), WALKERDB_ECORRUPT);
    }
    free(encoded);
    wdb_manifest_release(&m);
}

/* Change a byte of an encoded manifest and give it a right checksum. */
static int decode_changed(const struct wdb_manifest *m, size_t at, uint8_t to)
{
    struct wdb_manifest back;
    void *encoded;
    size_t size;
    if (wdb_manifest_encode(m, &encoded, &size) != 0) {
        return WALKERDB_ENOMEM;
    }
    uint8_t *data = encoded;
    data[at] = to;
    wdb_store32(data + size - 4, wdb_crc32c(0, data, size - 4));
    int rc = wdb_manifest_decode(data, size, &back);
    if (rc == 0) {
        wdb_manifest_release(&back);
    }
    free(encoded);
    return rc;
}

/* A right checksum does not make wrong content right. */
TEST(strict_decode)
{
    struct wdb_manifest m = make_manifest();
    CHECK_EQ(decode_changed(&m, 8, 1), 0);
    CHECK_EQ(decode_changed(&m, 8, 2), WALKERDB_EVERSION);
    CHECK_EQ(decode_changed(&m, 8, 0), WALKERDB_ECORRUPT);
    CHECK_EQ(decode_changed(&m, 12, 3), WALKERDB_ECORRUPT);       /* flags */
    CHECK_EQ(decode_changed(&m, 16, 1), WALKERDB_ECORRUPT);       /* size */
    CHECK_EQ(decode_changed(&m, COUNT_AT, 2), WALKERDB_ECORRUPT); /* count */
    CHECK_EQ(decode_changed(&m, COUNT_AT + 3, 255), WALKERDB_ECORRUPT);
    CHECK_EQ(decode_changed(&m, RAFT_SIZE_AT, 9),
             WALKERDB_ECORRUPT); /* raft size */
    CHECK_EQ(decode_changed(&m, RAFT_SIZE_AT, 6), 0);
    CHECK_EQ(decode_changed(&m, HEADER_SIZE + 72, 3),
             WALKERDB_ECORRUPT); /* kind */
    CHECK_EQ(decode_changed(&m, HEADER_SIZE + 73, 2),
             WALKERDB_ECORRUPT); /* flags */
    CHECK_EQ(decode_changed(&m, HEADER_SIZE + 79, 1),
             WALKERDB_ECORRUPT); /* reserved */
    CHECK_EQ(decode_changed(&m, RAFT_AT + 5, 1), WALKERDB_ECORRUPT);
    CHECK_EQ(decode_changed(&m, RAFT_AT + 8, 1), WALKERDB_ECORRUPT);
    wdb_manifest_release(&m);
}

/* Each invariant of the header's comment, broken alone, is noticed. */
TEST(violations)
{
    struct wdb_manifest m = make_manifest();
    struct wdb_manifest_segment *s = m.segments;
    const struct wdb_manifest_segment good[3] = {s[0], s[1], s[2]};
    size_t place = 99;
#define BROKEN(change)                                                         \
    do {                                                                       \
        change;                                                                \
        CHECK(wdb_manifest_violation(&m, &place) != NULL);                     \
        memcpy(s, good, sizeof(good));                                         \
        CHECK(wdb_manifest_violation(&m, NULL) == NULL);                       \
    } while (0)
#define FINE(change)                                                           \
    do {                                                                       \
        change;                                                                \
        CHECK(wdb_manifest_violation(&m, NULL) == NULL);                       \
        memcpy(s, good, sizeof(good));                                         \
    } while (0)
    BROKEN(s[0].kind = 0);
    BROKEN(s[0].id = 10);
    BROKEN(s[0].id = 0);
    BROKEN(s[0].id = 3);
    BROKEN(s[0].size = 4095);
    BROKEN(s[0].size_used = 99991);
    BROKEN(s[0].size_used = (1 << 20) + 8);
    BROKEN(s[0].size_used = 8);
    BROKEN(s[0].index_first = 0);
    BROKEN(s[0].index_last = 51);
    BROKEN(s[1].index_first = 50);
    BROKEN(s[1].index_last = 49);
    BROKEN(s[0].sealed = false);
    BROKEN(s[1].sealed = false; s[2].sealed = true);
    BROKEN(s[1].sealed = false; s[2].id = 2);
    BROKEN(s[2].index_first = 100);
    BROKEN(s[2].kind = WDB_SEGMENT_MERGED);
    CHECK_EQ(place, 2);
    FINE(s[2].index_first = 0);
    FINE(s[1].sealed = false);
    FINE(s[1].kind = WDB_SEGMENT_MERGED; s[1].index_first = 50);
    FINE(s[1].index_last = 50); /* it has no entry */
    BROKEN(s[2].index_first = 102; s[1].index_last = 200);
#undef BROKEN
#undef FINE
    wdb_manifest_release(&m);
}

/* What recovery finds about an open segment anyway is not written. */
TEST(open_segment_is_written_bare)
{
    struct wdb_manifest m = make_manifest(), back;
    void *data;
    size_t size;
    m.segments[2].size_used = 5000;
    m.segments[2].index_last = 120;
    m.segments[2].last_crc = 1;
    REQUIRE_EQ(wdb_manifest_encode(&m, &data, &size), 0);
    REQUIRE_EQ(wdb_manifest_decode(data, size, &back), 0);
    CHECK_EQ(back.segments[2].size_used, 0);
    CHECK_EQ(back.segments[2].index_last, 0);
    CHECK_EQ(back.segments[2].last_crc, 0);
    wdb_manifest_release(&back);
    wdb_manifest_release(&m);
    free(data);
}

/* Whichever allocation fails: an error, and nothing leaks. */
TEST(no_memory)
{
    struct wdb_manifest m = make_manifest();
    for (uint64_t n = 1;; n++) {
        struct wdb_manifest copy, back;
        void *data = NULL;
        size_t size = 0;
        fault_alloc_arm(n);
        int rc = wdb_manifest_copy(&m, &copy);
        if (rc == 0) {
            rc = wdb_manifest_encode(&copy, &data, &size);
            wdb_manifest_release(&copy);
        }
        if (rc == 0) {
            rc = wdb_manifest_decode(data, size, &back);
            if (rc == 0) {
                wdb_manifest_release(&back);
            }
        }
        free(data);
        const bool failed = fault_alloc_disarm();
        if (!failed) {
            CHECK_EQ(rc, 0);
            break;
        }
        /* The search for twins does without memory. */
        CHECK(rc == WALKERDB_ENOMEM || rc == 0);
        REQUIRE(n < 100);
    }
    wdb_manifest_release(&m);
}

/* One store over an older manifest, cut off after `op_count` operations; the
 * generation that is found after a crash. */
static uint64_t store_and_crash(const struct wdb_manifest *old,
                                const struct wdb_manifest *fresh,
                                uint64_t op_count, enum sim_crash_policy policy,
                                int *rc_out)
{
    struct wdb_random random;
    struct wdb_manifest found;
    struct sim_disk *disk = sim_disk_new();
    struct sim_env *sim = sim_env_new(disk, op_count, NULL);
    struct wdb_env *env = sim_env_base(sim);
    uint64_t generation = 0;
    wdb_random_seed(&random, op_count);
    CHECK_EQ(env->ops->mkdir(env, "d"), 0);
    CHECK_EQ(env->ops->sync_dir(env, "."), 0);
    CHECK_EQ(wdb_manifest_store(env, "d", old), 0);
    sim_env_die_after(sim, sim_env_op_number(sim) + op_count);
    *rc_out = wdb_manifest_store(env, "d", fresh);
    sim_env_free(sim);
    sim_disk_crash(disk, policy, &random);
    sim = sim_env_new(disk, 1, NULL);
    const int rc = wdb_manifest_load(sim_env_base(sim), "d", &found);
    CHECK_EQ(rc, 0);
    if (rc == 0) {
        generation = found.generation;
        wdb_manifest_release(&found);
    }
    sim_env_free(sim);
    sim_disk_free(disk);
    return generation;
}

/* Power may fail at any point of a replacement: the old one or the new one is
 * there, and the new one if the call had returned. */
TEST(crash_while_replacing)
{
    struct wdb_manifest old = make_manifest(), fresh = make_manifest();
    fresh.generation = old.generation + 1;
    for (uint64_t n = 0; n < 12 && !test_has_failed(); n++) {
        for (int policy = 0; policy < SIM_CRASH_POLICY_COUNT; policy++) {
            int rc;
            const uint64_t generation =
                store_and_crash(&old, &fresh, n, (enum sim_crash_policy)policy,
                                &rc);
            CHECK(generation == fresh.generation ||
                  (generation == old.generation && rc != 0));
        }
    }
    wdb_manifest_release(&old);
    wdb_manifest_release(&fresh);
}

/* Stored, loaded, replaced; a missing or cut file has its own error. */
TEST(file)
{
    const char *dir = test_tmpdir();
    struct wdb_env *env;
    struct wdb_manifest m = make_manifest(), back;
    REQUIRE_EQ(wdb_env_posix_new(&env), 0);
    CHECK_EQ(wdb_manifest_load(env, dir, &back), WALKERDB_ENOTFOUND);
    REQUIRE_EQ(wdb_manifest_store(env, dir, &m), 0);
    REQUIRE_EQ(wdb_manifest_load(env, dir, &back), 0);
    check_equal(&m, &back);
    wdb_manifest_release(&back);
    m.generation++;
    REQUIRE_EQ(wdb_manifest_store(env, dir, &m), 0);
    REQUIRE_EQ(wdb_manifest_load(env, dir, &back), 0);
    CHECK_EQ(back.generation, 13);
    wdb_manifest_release(&back);

    struct wdb_file *file;
    REQUIRE_EQ(env->ops->open(env, test_path(dir, WDB_MANIFEST_NAME),
                              WDB_OPEN_WRITE, &file),
               0);
    CHECK_EQ(env->ops->truncate(file, 100), 0);
    env->ops->close(file);
    CHECK_EQ(wdb_manifest_load(env, dir, &back), WALKERDB_ECORRUPT);
    wdb_manifest_release(&m);
    wdb_env_posix_free(env);
}
