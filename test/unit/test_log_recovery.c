/* test_log_recovery.c - what open does with files that are torn, damaged,
 * missing, left over, or in use. */
#include <stdio.h>
#include <stdlib.h>

#include "lib/log_place.h"
#include "log/mutations.h"
#include "log/names.h"

#define FIRST_SEGMENT "/db/0000000000000001.log"

static struct wdb_log *open_log(struct log_place *place)
{
    struct wdb_log_options options;
    struct wdb_log *log = NULL;
    char *message = NULL;
    log_fixture_options(&options, place->env, place->dir);
    const int rc = wdb_log_open(&options, &log, &message);
    if (rc != 0) {
        test_fail(__FILE__, __LINE__, "open: %s: %s", walkerdb_strerror(rc),
                  message != NULL ? message : "");
    }
    free(message);
    return log;
}

/* Open must fail like this; the message must have these words. */
static void refuse(struct log_place *place, int error, const char *words)
{
    struct wdb_log_options options;
    struct wdb_log *log = NULL;
    char *message = NULL;
    log_fixture_options(&options, place->env, place->dir);
    CHECK_EQ(wdb_log_open(&options, &log, &message), error);
    CHECK(message != NULL && strstr(message, words) != NULL);
    if (message != NULL && strstr(message, words) == NULL) {
        test_fail(__FILE__, __LINE__, "message: %s", message);
    }
    free(message);
    if (log != NULL) {
        wdb_log_abandon(log);
    }
}

/* Append `count` batches, an entry each, numbered from `first` on. */
static void fill(struct wdb_log *log, uint64_t first, int count,
                 struct wdb_log_place *places)
{
    for (int i = 0; i < count; i++) {
        struct wdb_log_place place;
        REQUIRE_EQ(log_fixture_append(log, first + (uint64_t)i, 1, 200, &place),
                   0);
        REQUIRE_EQ(wdb_log_flush(log), 0);
        if (places != NULL) {
            places[i] = place;
        }
    }
}

static void expect_records(struct wdb_log *log, uint64_t count)
{
    struct log_fixture_found found = log_fixture_scan(log);
    CHECK_EQ(found.error, 0);
    CHECK_EQ(found.count, count);
    CHECK(found.in_order);
}

struct names {
    int logs, cuts, others;
    char cut[WDB_NAME_SIZE_MAX];
};

static int count_name(void *context, const char *text)
{
    struct names *names = context;
    struct wdb_name name;
    wdb_name_parse(text, &name);
    if (name.kind == WDB_NAME_KIND_CUT) {
        names->cuts++;
        snprintf(names->cut, sizeof(names->cut), "%s", text);
    } else if (name.kind == WDB_NAME_KIND_LOG) {
        names->logs++;
    } else {
        names->others++;
    }
    return 0;
}

static struct names count_names(struct log_place *place)
{
    struct names names = {0};
    CHECK_EQ(place->env->ops->list(place->env, place->dir, count_name, &names),
             0);
    return names;
}

/* A process that dies leaves nothing behind: the next one goes on in the same
 * segment, however often that happens. */
TEST(log_recovery_restarts_need_no_new_file)
{
    struct log_place place = log_place_sim();
    for (uint64_t i = 0; i < 20; i++) {
        struct wdb_log *log = open_log(&place);
        REQUIRE(log != NULL);
        expect_records(log, i * 2);
        fill(log, 1 + i * 2, 2, NULL);
        wdb_log_abandon(log);
        log_place_restart(&place);
    }
    CHECK_EQ(count_names(&place).logs, 1);
    log_place_leave(&place);
}

/* A torn entry above the durable mark is cut: the bytes are put aside, the
 * entries before it are there, later ones never come back. */
TEST(log_recovery_cuts_a_torn_tail)
{
    struct log_place place = log_place_sim();
    struct wdb_log_place places[6];
    struct wdb_log *log = open_log(&place);
    REQUIRE(log != NULL);
    fill(log, 1, 6, places);
    wdb_log_abandon(log);
    log_place_restart(&place);
    /* The fourth entry is damaged, nothing was ever synced. */
    REQUIRE_EQ(sim_disk_flip_bit(place.disk, FIRST_SEGMENT,
                                 wdb_position_offset(places[3].position) + 60,
                                 3),
               0);
    log = open_log(&place);
    REQUIRE(log != NULL);
    CHECK_EQ(wdb_log_index_last(log), 3);
    expect_records(log, 3);
    struct names names = count_names(&place);
    CHECK_EQ(names.cuts, 1);
    /* The cut bytes are those of the three entries behind. */
    void *cut;
    size_t size;
    REQUIRE_EQ(wdb_env_read_file(place.env, test_path("/db", names.cut),
                                 1 << 20, &cut, &size),
               0);
    const uint64_t from =
        wdb_position_offset(places[3].position) - WDB_ENTRY_OVERHEAD;
    CHECK(size > 0);
    CHECK(size <= wdb_position_offset(places[5].position) - from + 256);
    CHECK_EQ(wdb_load32(cut), WDB_FRAME_MAGIC);
    free(cut);
    fill(log, 4, 10, NULL);
    wdb_log_close(log);
    log = open_log(&place);
    REQUIRE(log != NULL);
    expect_records(log, 13);
    CHECK_EQ(count_names(&place).cuts, 1);
    wdb_log_close(log);
    log_place_leave(&place);
}

/* The same damage below a durable mark is corruption: the log stays closed,
 * and says where. */
TEST(log_recovery_refuses_durable_damage)
{
    struct log_place place = log_place_sim();
    struct wdb_log_place places[6];
    struct wdb_log *log = open_log(&place);
    char words[64];
    REQUIRE(log != NULL);
    fill(log, 1, 4, places);
    REQUIRE_EQ(wdb_log_sync(log), 0);
    fill(log, 5, 2, places + 4); /* carries the mark */
    wdb_log_abandon(log);
    log_place_restart(&place);
    const uint64_t at = wdb_position_offset(places[2].position);
    REQUIRE_EQ(sim_disk_flip_bit(place.disk, FIRST_SEGMENT, at + 60, 3), 0);
    snprintf(words, sizeof(words), "0000000000000001.log: damaged at offset %d",
             (int)(at - WDB_ENTRY_OVERHEAD));
    refuse(&place, WALKERDB_ECORRUPT, words);
    refuse(&place, WALKERDB_ECORRUPT, "walkerdb-check");
    CHECK_EQ(count_names(&place).cuts, 0);
    /* Made good again, everything is there. */
    REQUIRE_EQ(sim_disk_flip_bit(place.disk, FIRST_SEGMENT, at + 60, 3), 0);
    log = open_log(&place);
    REQUIRE(log != NULL);
    expect_records(log, 6);
    wdb_log_close(log);
    log_place_leave(&place);
}

/* Every single flipped bit of durable entries is found out, at open. */
TEST(log_recovery_finds_each_flipped_bit)
{
    struct log_place place = log_place_sim();
    struct wdb_log_place last;
    struct wdb_log *log = open_log(&place);
    struct test_random random = {7};
    REQUIRE(log != NULL);
    fill(log, 1, 8, NULL);
    REQUIRE_EQ(log_fixture_append(log, 9, 1, 200, &last), 0);
    wdb_log_close(log); /* notes the durable index */
    const uint64_t end = wdb_position_offset(last.position) + 200;
    for (int i = 0; i < 300; i++) {
        const uint64_t at = i < 64
                                ? (uint64_t)i
                                : 4096 + test_random_below(&random, end - 4096);
        const unsigned bit = (unsigned)test_random_below(&random, 8);
        struct sim_disk *disk = sim_disk_clone(place.disk);
        struct log_place copy = {.dir = "/db", .disk = disk};
        copy.sim = sim_env_new(disk, 3, NULL);
        copy.env = sim_env_base(copy.sim);
        REQUIRE_EQ(sim_disk_flip_bit(disk, FIRST_SEGMENT, at, bit), 0);
        struct wdb_log_options options;
        log_fixture_options(&options, copy.env, copy.dir);
        const int rc = wdb_log_open(&options, &log, NULL);
        if (rc == 0) {
            test_fail(__FILE__, __LINE__, "bit %u of byte %d went unnoticed",
                      bit, (int)at);
            wdb_log_abandon(log);
        }
        log_place_leave(&copy);
    }
    log_place_leave(&place);
}

/* A page that the disk cannot read is an error that names the file, not the
 * end of the log. */
TEST(log_recovery_unreadable_sector)
{
    struct log_place place = log_place_sim();
    struct wdb_log_place places[30];
    struct wdb_log *log = open_log(&place);
    REQUIRE(log != NULL);
    fill(log, 1, 30, places);
    wdb_log_close(log);
    REQUIRE_EQ(sim_disk_set_unreadable(place.disk, FIRST_SEGMENT,
                                       wdb_position_offset(places[20].position),
                                       1),
               0);
    refuse(&place, WALKERDB_EIO, "0000000000000001.log");
    log_place_leave(&place);
}

/* Files that no manifest names are deleted; what is not ours stays; numbers of
 * files are not used again. */
TEST(log_recovery_deletes_leftovers)
{
    struct log_place place = log_place_sim();
    struct wdb_file *file;
    static const char *const names[] = {
        "/db/00000000000000aa.log",      "/db/00000000000000ab.mrg",
        "/db/00000000000000ac.hint",     "/db/MANIFEST.tmp",
        "/db/0000000000000001.hint.tmp", "/db/readme.txt"};
    struct wdb_log *log = open_log(&place);
    REQUIRE(log != NULL);
    fill(log, 1, 3, NULL);
    wdb_log_close(log);
    for (size_t i = 0; i < WDB_COUNT(names); i++) {
        REQUIRE_EQ(place.env->ops->open(place.env, names[i], WDB_OPEN_CREATE,
                                        &file),
                   0);
        place.env->ops->close(file);
    }
    log = open_log(&place);
    REQUIRE(log != NULL);
    expect_records(log, 3);
    CHECK_EQ(count_names(&place).logs, 1);
    CHECK_EQ(count_names(&place).others, 3); /* LOCK, MANIFEST, readme.txt */
    fill(log, 4, 1, NULL);
    REQUIRE_EQ(wdb_log_roll(log), 0);
    fill(log, 5, 1, NULL);
    struct wdb_segment **segments;
    size_t count;
    REQUIRE_EQ(wdb_log_segments(log, &segments, &count), 0);
    CHECK_EQ(count, 2);
    CHECK(segments[count - 1]->id > 0xac);
    for (size_t i = 0; i < count; i++) {
        wdb_segment_drop(segments[i]);
    }
    free(segments);
    wdb_log_close(log);
    log_place_leave(&place);
}

/* Segments without a manifest are not taken for an empty directory. */
TEST(log_recovery_refuses_a_missing_manifest)
{
    struct log_place place = log_place_sim();
    struct wdb_log *log = open_log(&place);
    REQUIRE(log != NULL);
    wdb_log_close(log);
    CHECK_EQ(place.env->ops->unlink(place.env, "/db/MANIFEST"), 0);
    refuse(&place, WALKERDB_ECORRUPT, "MANIFEST");
    log_place_leave(&place);
}

/* A segment that the manifest names must be there, and as long as it says. */
TEST(log_recovery_refuses_missing_and_short_segments)
{
    struct log_place place = log_place_sim();
    struct wdb_file *file;
    struct wdb_log *log = open_log(&place);
    REQUIRE(log != NULL);
    fill(log, 1, 3, NULL);
    wdb_log_close(log);
    REQUIRE_EQ(place.env->ops->open(place.env, FIRST_SEGMENT, WDB_OPEN_WRITE,
                                    &file),
               0);
    CHECK_EQ(place.env->ops->truncate(file, 5000), 0);
    place.env->ops->close(file);
    refuse(&place, WALKERDB_ECORRUPT, "shorter");
    CHECK_EQ(place.env->ops->unlink(place.env, FIRST_SEGMENT), 0);
    refuse(&place, WALKERDB_ECORRUPT, "not there");
    log_place_leave(&place);
}

/* A segment of another database does not pass. */
TEST(log_recovery_refuses_a_foreign_segment)
{
    struct log_place place = log_place_sim();
    struct log_place other = log_place_sim();
    struct wdb_log *log = open_log(&place);
    void *data;
    size_t size;
    REQUIRE(log != NULL);
    wdb_log_close(log);
    log_place_restart(&other); /* other random numbers */
    log = open_log(&other);
    REQUIRE(log != NULL);
    wdb_log_close(log);
    REQUIRE_EQ(
        wdb_env_read_file(other.env, FIRST_SEGMENT, 1 << 20, &data, &size), 0);
    REQUIRE_EQ(wdb_env_replace_file(place.env, "/db", "0000000000000001.log",
                                    data, size),
               0);
    free(data);
    refuse(&place, WALKERDB_ECORRUPT, "another database");
    log_place_leave(&place);
    log_place_leave(&other);
}

/* One process at a time. */
TEST(log_recovery_refuses_a_second_process)
{
    struct log_place place = log_place_sim();
    struct wdb_log *log = open_log(&place);
    REQUIRE(log != NULL);
    struct log_place second = place;
    second.sim = sim_env_new(place.disk, 9, NULL);
    second.env = sim_env_base(second.sim);
    refuse(&second, WALKERDB_ELOCKED, "in use by process");
    sim_env_free(second.sim);
    wdb_log_close(log);
    log_place_leave(&place);
}

/* Read-only: nothing is made, changed or accepted, not even when the end is
 * torn; records are there. */
TEST(log_recovery_read_only)
{
    struct log_place place = log_place_sim();
    struct wdb_log_options options;
    struct wdb_log_place places[6];
    struct wdb_log_place out;
    struct wdb_log *log = open_log(&place);
    REQUIRE(log != NULL);
    fill(log, 1, 6, places);
    wdb_log_abandon(log);
    log_place_restart(&place);
    REQUIRE_EQ(sim_disk_flip_bit(place.disk, FIRST_SEGMENT,
                                 wdb_position_offset(places[4].position) + 60,
                                 3),
               0);
    log_fixture_options(&options, place.env, place.dir);
    options.read_only = true;
    for (int i = 0; i < 2; i++) {
        REQUIRE_EQ(wdb_log_open(&options, &log, NULL), 0);
        expect_records(log, 4);
        CHECK(log_fixture_resolves(log, places[1].position, 2, 200));
        uint8_t record[64] = {0};
        CHECK_EQ(wdb_log_append(log, record, 64, 1, WDB_RESERVE_NONE, &out),
                 WALKERDB_EREADONLY);
        CHECK_EQ(wdb_log_admit(log, 10), WALKERDB_EREADONLY);
        CHECK_EQ(wdb_log_roll(log), WALKERDB_EREADONLY);
        CHECK_EQ(wdb_log_truncate(log, 3), WALKERDB_EREADONLY);
        CHECK_EQ(wdb_log_flush(log), 0);
        CHECK_EQ(wdb_log_sync(log), 0);
        CHECK(!wdb_log_step(log));
        wdb_log_close(log);
    }
    CHECK_EQ(sim_env_count(place.sim, SIM_OP_WRITE), 0);
    CHECK_EQ(sim_env_count(place.sim, SIM_OP_TRUNCATE), 0);
    CHECK_EQ(count_names(&place).cuts, 0);
    options.dir = "/nothing";
    CHECK(wdb_log_open(&options, &log, NULL) != 0);
    log_place_leave(&place);
}

/* Time does not go back with the clock, not even over a restart. */
TEST(log_recovery_time_does_not_go_back)
{
    struct log_place place = log_place_sim();
    struct wdb_log *log = open_log(&place);
    REQUIRE(log != NULL);
    const uint64_t before = wdb_log_time_ms(log);
    sim_env_jump_ms(place.sim, 5000);
    fill(log, 1, 1, NULL);
    CHECK_EQ(wdb_log_time_ms(log), before + 5000);
    sim_env_jump_ms(place.sim, -60000);
    CHECK_EQ(wdb_log_time_ms(log), before + 5000);
    wdb_log_close(log);
    log = open_log(&place);
    REQUIRE(log != NULL);
    CHECK_EQ(wdb_log_time_ms(log), before + 5000);
    REQUIRE_EQ(wdb_log_roll(log), 0);
    wdb_log_close(log);
    log = open_log(&place);
    REQUIRE(log != NULL);
    CHECK_EQ(wdb_log_time_ms(log), before + 5000);
    wdb_log_close(log);
    log_place_leave(&place);
}

/* A disk that is full to the last byte can still be opened after a crash. */
TEST(log_recovery_on_a_full_disk)
{
    for (uint64_t seed = 1; seed < 40; seed++) {
        struct log_place place = log_place_sim();
        struct wdb_log *log = open_log(&place);
        REQUIRE(log != NULL);
        fill(log, 1, 40, NULL);
        REQUIRE_EQ(wdb_log_sync(log), 0);
        fill(log, 41, 100, NULL);
        sim_disk_set_capacity(place.disk, sim_disk_used(place.disk) + 70000);
        wdb_log_abandon(log);
        log_place_crash(&place, SIM_CRASH_REORDER_512, seed);
        log = open_log(&place);
        REQUIRE(log != NULL);
        struct log_fixture_found found = log_fixture_scan(log);
        CHECK(found.in_order);
        CHECK(found.count >= 40);
        CHECK_EQ(log_fixture_append(log, found.last + 1, 1, 100, NULL), 0);
        wdb_log_close(log);
        log_place_leave(&place);
    }
}

#ifdef WDB_MUTATIONS
/* The test above notices if marks are ignored. */
TEST(log_recovery_mutation_ignore_marks)
{
    struct log_place place = log_place_sim();
    struct wdb_log_options options;
    struct wdb_log_place places[6];
    struct wdb_log *log = open_log(&place);
    REQUIRE(log != NULL);
    fill(log, 1, 6, places);
    wdb_log_close(log);
    REQUIRE_EQ(sim_disk_flip_bit(place.disk, FIRST_SEGMENT,
                                 wdb_position_offset(places[2].position) + 60,
                                 3),
               0);
    log_fixture_options(&options, place.env, place.dir);
    options.mutations = WDB_MUTATION_IGNORE_MARKS;
    REQUIRE_EQ(wdb_log_open(&options, &log, NULL), 0);
    expect_records(log, 2); /* silently lost: what must not happen */
    wdb_log_close(log);
    log_place_leave(&place);
}
#endif
