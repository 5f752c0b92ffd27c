/* test_log_segments.c - what merge, backup and replication do with a log: roll,
 * replace, look up entries, append foreign ones, truncate. */
#include <stdlib.h>

#include "base/buffer.h"
#include "lib/log_place.h"

static struct wdb_log *open_log(struct log_place *place, bool manual_commit)
{
    struct wdb_log_options options;
    struct wdb_log *log = NULL;
    log_fixture_options(&options, place->env, place->dir);
    options.manual_commit = manual_commit;
    CHECK_EQ(wdb_log_open(&options, &log, NULL), 0);
    return log;
}

static void fill(struct wdb_log *log, uint64_t first, int count, size_t size)
{
    for (int i = 0; i < count; i++) {
        REQUIRE_EQ(log_fixture_append(log, first + (uint64_t)i, 1, size, NULL),
                   0);
        REQUIRE_EQ(wdb_log_flush(log), 0);
    }
}

static void drop_all(struct wdb_segment **segments, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        wdb_segment_drop(segments[i]);
    }
    free(segments);
}

static size_t segment_count(struct wdb_log *log)
{
    struct wdb_segment **segments;
    size_t count = 0;
    CHECK_EQ(wdb_log_segments(log, &segments, &count), 0);
    drop_all(segments, count);
    return count;
}

/* Rolling seals what is there, and does nothing where there is nothing. The
 * unused end of the segment is given back. */
TEST(log_roll)
{
    struct log_place place = log_place_sim();
    struct wdb_log *log = open_log(&place, false);
    struct wdb_segment **segments;
    size_t count;
    REQUIRE(log != NULL);
    REQUIRE_EQ(wdb_log_roll(log), 0);
    CHECK_EQ(segment_count(log), 1);
    for (uint64_t i = 0; i < 10; i++) {
        fill(log, i * 3 + 1, 3, 100);
        REQUIRE_EQ(wdb_log_roll(log), 0);
        REQUIRE_EQ(wdb_log_roll(log), 0);
    }
    REQUIRE_EQ(wdb_log_segments(log, &segments, &count), 0);
    CHECK_EQ(count, 11);
    for (size_t i = 0; i < 10; i++) {
        uint64_t size;
        CHECK(atomic_load(&segments[i]->sealed));
        CHECK_EQ(segments[i]->index_first, i * 3 + 1);
        CHECK_EQ(segments[i]->index_last, i * 3 + 3);
        CHECK_EQ(place.env->ops->size(segments[i]->file, &size), 0);
        CHECK_EQ(size, segments[i]->size_used);
    }
    CHECK(!atomic_load(&segments[10]->sealed));
    drop_all(segments, count);
    CHECK_EQ(wdb_log_durable(log), 30);
    wdb_log_close(log);
    log = open_log(&place, false);
    REQUIRE(log != NULL);
    struct log_fixture_found found = log_fixture_scan(log);
    CHECK_EQ(found.count, 30);
    CHECK(found.in_order);
    wdb_log_close(log);
    log_place_leave(&place);
}

/* --- lookup by index ------------------------------------------------------- */

static void expect_entry(struct wdb_log *log, uint64_t index)
{
    struct wdb_entry_header entry;
    struct wdb_segment *segment;
    const uint8_t *payload;
    struct wdb_record record;
    uint64_t size;
    REQUIRE_EQ(wdb_log_entry(log, index, &entry, &payload, &segment), 0);
    CHECK_EQ(entry.index, index);
    REQUIRE_EQ(wdb_record_decode(payload, entry.payload_size, true, &record,
                                 &size),
               0);
    CHECK(log_fixture_is(&record, index));
    wdb_segment_drop(segment);
}

/* Every entry is found by its index, in this process and in the next one, as
 * soon as it is written. */
TEST(log_entry_by_index)
{
    struct log_place place = log_place_sim();
    struct wdb_log *log = open_log(&place, false);
    struct wdb_entry_header entry;
    struct wdb_segment *segment;
    const uint8_t *payload;
    REQUIRE(log != NULL);
    CHECK_EQ(wdb_log_entry(log, 1, &entry, &payload, &segment),
             WALKERDB_ENOTFOUND);
    fill(log, 1, 400, 700);
    for (uint64_t i = 1; i <= 400; i++) {
        expect_entry(log, i);
    }
    REQUIRE_EQ(log_fixture_append(log, 401, 1, 10, NULL), 0);
    CHECK_EQ(wdb_log_entry(log, 401, &entry, &payload, &segment),
             WALKERDB_ENOTFOUND);
    CHECK_EQ(wdb_log_entry(log, 0, &entry, &payload, &segment),
             WALKERDB_ENOTFOUND);
    wdb_log_close(log);
    log = open_log(&place, false);
    REQUIRE(log != NULL);
    for (uint64_t i = 1; i <= 401; i += 4) {
        expect_entry(log, i);
    }
    wdb_log_close(log);
    log_place_leave(&place);
}

/* What a leader sends is the same entry on its followers. */
TEST(log_append_entry_copies_a_leader)
{
    struct log_place leader_place = log_place_sim();
    struct log_place place = log_place_sim();
    struct wdb_log *leader = open_log(&leader_place, false);
    struct wdb_log *log = open_log(&place, true);
    struct wdb_log_place out;
    REQUIRE(leader != NULL && log != NULL);
    wdb_log_set_term(leader, 3);
    const struct wdb_entry_header barrier = {.type = WDB_ENTRY_BARRIER};
    REQUIRE_EQ(wdb_log_append_entry(leader, &barrier, NULL, &out), 0);
    CHECK_EQ(out.index, 1);
    fill(leader, 2, 150, 1000);
    const uint8_t change[16] = "a configuration";
    const struct wdb_entry_header config = {.type = WDB_ENTRY_CHANGE,
                                            .payload_size = sizeof(change)};
    REQUIRE_EQ(wdb_log_append_entry(leader, &config, change, &out), 0);
    CHECK_EQ(out.index, 152);
    REQUIRE_EQ(wdb_log_flush(leader), 0);
    for (uint64_t i = 1; i <= 152; i++) {
        struct wdb_entry_header entry, copy;
        struct wdb_segment *segment, *own;
        const uint8_t *payload, *own_payload;
        REQUIRE_EQ(wdb_log_entry(leader, i, &entry, &payload, &segment), 0);
        CHECK_EQ(entry.term, 3);
        REQUIRE_EQ(wdb_log_append_entry(log, &entry, payload, &out), 0);
        CHECK_EQ(out.index, i);
        /* Not twice, and not out of order. */
        CHECK_EQ(wdb_log_append_entry(log, &entry, payload, &out),
                 WALKERDB_EINVALID);
        REQUIRE_EQ(wdb_log_flush(log), 0);
        REQUIRE_EQ(wdb_log_entry(log, i, &copy, &own_payload, &own), 0);
        CHECK_MEM(&entry, sizeof(entry), &copy, sizeof(copy));
        CHECK_MEM(payload, entry.payload_size, own_payload, copy.payload_size);
        wdb_segment_drop(segment);
        wdb_segment_drop(own);
    }
    wdb_log_set_committed(log, 100);
    CHECK_EQ(wdb_log_committed(log), 100);
    REQUIRE_EQ(wdb_log_sync(log), 0);
    struct log_fixture_found found = log_fixture_scan(log);
    CHECK_EQ(found.count, 150);
    CHECK(found.in_order);
    wdb_log_close(log);
    wdb_log_close(leader);
    log = open_log(&place, true);
    REQUIRE(log != NULL);
    CHECK_EQ(wdb_log_index_last(log), 152);
    CHECK(wdb_log_committed(log) <= 100); /* only what frames prove */
    wdb_log_close(log);
    log_place_leave(&leader_place);
    log_place_leave(&place);
}

/* --- truncation ------------------------------------------------------------ */

/* What was truncated never comes back; what replaces it does not mix with it;
 * every place to cut is tried. */
TEST(log_truncate_anywhere)
{
    for (uint64_t from = 1; from <= 41; from++) {
        struct log_place place = log_place_sim();
        struct wdb_log *log = open_log(&place, true);
        REQUIRE(log != NULL);
        fill(log, 1, 40, 5000);
        if (from % 2 == 0) {
            REQUIRE_EQ(wdb_log_sync(log), 0);
            while (wdb_log_step(log)) {
            }
        }
        const uint64_t generation = wdb_log_generation(log);
        REQUIRE_EQ(wdb_log_truncate(log, from), 0);
        CHECK_EQ(wdb_log_index_last(log), from - 1);
        CHECK_EQ(wdb_log_appended(log), from - 1);
        CHECK_EQ(wdb_log_durable(log), from - 1);
        CHECK_EQ(wdb_log_generation(log), generation + (from <= 40));
        struct log_fixture_found found = log_fixture_scan(log);
        CHECK_EQ(found.count, from - 1);
        CHECK(found.in_order);
        fill(log, from, 20, 4000);
        for (uint64_t i = 1; i < from + 20; i++) {
            expect_entry(log, i);
        }
        if (from % 3 == 0) {
            wdb_log_close(log);
        } else {
            REQUIRE_EQ(wdb_log_sync(log), 0);
            wdb_log_abandon(log);
            log_place_crash(&place, SIM_CRASH_REORDER_512, from);
        }
        log = open_log(&place, true);
        REQUIRE(log != NULL);
        found = log_fixture_scan(log);
        CHECK_EQ(found.count, from + 19);
        CHECK(found.in_order);
        CHECK_EQ(wdb_log_index_last(log), from + 19);
        wdb_log_close(log);
        log_place_leave(&place);
    }
}

/* What is committed cannot be truncated. */
TEST(log_truncate_refuses_committed)
{
    struct log_place place = log_place_sim();
    struct wdb_log *log = open_log(&place, true);
    REQUIRE(log != NULL);
    fill(log, 1, 10, 100);
    wdb_log_set_committed(log, 5);
    CHECK_EQ(wdb_log_truncate(log, 5), WALKERDB_EINVALID);
    CHECK_EQ(wdb_log_truncate(log, 0), WALKERDB_EINVALID);
    CHECK_EQ(wdb_log_truncate(log, 6), 0);
    CHECK_EQ(wdb_log_index_last(log), 5);
    wdb_log_close(log);
    log_place_leave(&place);
}

/* A leader of term 7 that lost office gets what one of term 6 had written. */
TEST(log_takes_entries_of_older_terms)
{
    struct log_place place = log_place_sim();
    struct wdb_log *log = open_log(&place, true);
    struct wdb_log_place at;
    REQUIRE(log != NULL);
    fill(log, 1, 10, 100);
    wdb_log_set_term(log, 7);
    fill(log, 11, 5, 100);
    REQUIRE_EQ(wdb_log_flush(log), 0);
    REQUIRE_EQ(wdb_log_truncate(log, 11), 0);
    const struct wdb_entry_header entry = {.index = 11,
                                           .term = 6,
                                           .type = WDB_ENTRY_BARRIER};
    CHECK_EQ(wdb_log_append_entry(log, &entry, NULL, &at), 0);
    CHECK_EQ(wdb_log_append_entry(log, &entry, NULL, &at), WALKERDB_EINVALID);
    wdb_log_close(log);
    log = open_log(&place, true);
    REQUIRE(log != NULL);
    CHECK_EQ(wdb_log_index_last(log), 11);
    const struct wdb_entry_header next = {.index = 12,
                                          .term = 6,
                                          .type = WDB_ENTRY_BARRIER};
    CHECK_EQ(wdb_log_append_entry(log, &next, NULL, &at), 0);
    wdb_log_close(log);
    log_place_leave(&place);
}

/* --- merge ----------------------------------------------------------------- */

/* Copy the records of a run of sealed segments into a merged one. */
struct copier {
    struct wdb_segment *to;
    struct wdb_buffer payload;
    uint32_t count;
    uint64_t index_last;
};

static int copy_record(void *context, const struct wdb_record *record,
                       wdb_position position, uint64_t size)
{
    struct copier *copier = context;
    struct wdb_record copy = *record;
    (void)position;
    (void)size;
    copy.flags |= WDB_RECORD_SEQUENCE;
    const uint64_t copy_size = wdb_record_size(&copy);
    if (wdb_buffer_reserve(&copier->payload, copy_size) != 0) {
        return WALKERDB_ENOMEM;
    }
    wdb_record_encode(&copy, copier->payload.data + copier->payload.size);
    copier->payload.size += copy_size;
    copier->count++;
    copier->index_last = record->index;
    return 0;
}

static void finish_merged(struct copier *copier)
{
    struct wdb_segment *to = copier->to;
    uint8_t headers[WDB_ENTRY_OVERHEAD];
    struct wdb_frame frame = {.offset = WDB_SEGMENT_HEADER_SIZE,
                              .salt = to->header.salt};
    const struct wdb_entry_header entry = {
        .index = copier->index_last,
        .term = 1,
        .payload_size = copier->payload.size,
        .record_count = copier->count,
        .payload_crc =
            wdb_payload_crc(0, copier->payload.data, copier->payload.size),
        .type = WDB_ENTRY_MERGED,
    };
    wdb_entry_encode(&frame, &entry, headers);
    CHECK_EQ(wdb_env_pwrite(to->file, headers, sizeof(headers),
                            WDB_SEGMENT_HEADER_SIZE),
             0);
    CHECK_EQ(wdb_env_pwrite(to->file, copier->payload.data,
                            copier->payload.size,
                            WDB_SEGMENT_HEADER_SIZE + sizeof(headers)),
             0);
    to->size_used =
        WDB_SEGMENT_HEADER_SIZE + sizeof(headers) + copier->payload.size;
    atomic_store(&to->written, to->size_used);
    CHECK_EQ(to->file->env->ops->sync(to->file), 0);
    to->record_count = copier->count;
    to->index_last = copier->index_last;
    to->last_crc = frame.crc;
}

/* A run of sealed segments is replaced; the old files go when the last
 * reference does, and positions into them stay good until then. */
TEST(log_replace_and_retire)
{
    struct log_place place = log_place_sim();
    struct wdb_log *log = open_log(&place, false);
    struct wdb_segment **segments;
    struct wdb_log_place old_place;
    size_t count;
    REQUIRE(log != NULL);
    REQUIRE_EQ(log_fixture_append(log, 1, 1, 300, &old_place), 0);
    fill(log, 2, 9, 300);
    REQUIRE_EQ(wdb_log_roll(log), 0);
    fill(log, 11, 10, 300);
    REQUIRE_EQ(wdb_log_roll(log), 0);
    fill(log, 21, 5, 300);
    REQUIRE_EQ(wdb_log_segments(log, &segments, &count), 0);
    REQUIRE_EQ(count, 3);
    struct copier copier = {0};
    REQUIRE_EQ(wdb_log_segment_create(log, 1 << 16, &copier.to), 0);
    for (int i = 0; i < 2; i++) {
        CHECK_EQ(wdb_log_scan(log, segments[i], copy_record, &copier, NULL), 0);
    }
    copier.to->index_first = 1;
    finish_merged(&copier);
    /* Not a run; not sealed. */
    CHECK_EQ(wdb_log_replace(log, segments + 1, 2, &copier.to, 1),
             WALKERDB_EINVALID);
    REQUIRE_EQ(wdb_log_replace(log, segments, 2, &copier.to, 1), 0);
    CHECK(log_fixture_resolves(log, old_place.position, 1, 300));
    CHECK_EQ(segment_count(log), 2);
    struct log_fixture_found found = log_fixture_scan(log);
    CHECK_EQ(found.count, 25);
    CHECK(found.in_order);
    wdb_log_segment_retire(log, segments[0]);
    wdb_log_segment_retire(log, segments[1]);
    wdb_log_step(log);
    wdb_segment_drop(copier.to);
    drop_all(segments, count);
    wdb_log_step(log);
    struct wdb_file *file;
    CHECK_EQ(place.env->ops->open(place.env, "/db/0000000000000001.log",
                                  WDB_OPEN_READ, &file),
             WALKERDB_ENOTFOUND);
    wdb_buffer_release(&copier.payload);
    wdb_log_close(log);
    log = open_log(&place, false);
    REQUIRE(log != NULL);
    found = log_fixture_scan(log);
    CHECK_EQ(found.count, 25);
    CHECK(found.in_order);
    fill(log, 26, 5, 300);
    /* One that is not used after all leaves nothing. */
    struct wdb_segment *unused;
    REQUIRE_EQ(wdb_log_segment_create(log, 1 << 16, &unused), 0);
    wdb_log_segment_discard(log, unused);
    wdb_log_step(log);
    wdb_log_close(log);
    log = open_log(&place, false);
    REQUIRE(log != NULL);
    found = log_fixture_scan(log);
    CHECK_EQ(found.count, 30);
    wdb_log_close(log);
    log_place_leave(&place);
}

/* The high-water mark of object ids survives. */
TEST(log_reserve_objects)
{
    struct log_place place = log_place_sim();
    struct wdb_log *log = open_log(&place, false);
    REQUIRE(log != NULL);
    CHECK_EQ(wdb_log_object_counter(log), 0);
    CHECK_EQ(wdb_log_reserve_objects(log, 1000), 0);
    CHECK_EQ(wdb_log_reserve_objects(log, 500), 0);
    CHECK_EQ(wdb_log_object_counter(log), 1000);
    wdb_log_abandon(log);
    log_place_crash(&place, SIM_CRASH_DROP, 1);
    log = open_log(&place, false);
    REQUIRE(log != NULL);
    CHECK_EQ(wdb_log_object_counter(log), 1000);
    wdb_log_close(log);
    log_place_leave(&place);
}
