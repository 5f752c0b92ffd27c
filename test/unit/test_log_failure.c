/* test_log_failure.c - what happens when the disk or the allocator fails: the
 * log is poisoned or refuses, nothing that was promised is lost. */
#include <stdlib.h>

#include "fault_alloc.h"
#include "lib/log_place.h"
#include "log/mutations.h"

struct told {
    int failures;
    int error;
};

static void note_failure(void *context, int error, const char *message)
{
    struct told *told = context;
    told->failures++;
    told->error = error;
    CHECK(strstr(message, "/db") != NULL);
}

static int open_told(struct log_place *place, enum wdb_sync_policy policy,
                     struct told *told, struct wdb_log **out)
{
    struct wdb_log_options options;
    log_fixture_options(&options, place->env, place->dir);
    options.sync_policy = policy;
    options.unwritten_size_max = 32 << 10;
    options.on_failure = note_failure;
    options.context = told;
    return wdb_log_open(&options, out, NULL);
}

static void expect_poisoned(struct wdb_log *log, uint64_t durable)
{
    CHECK_EQ(log_fixture_append(log, 1000, 1, 10, NULL), WALKERDB_EIO);
    CHECK_EQ(wdb_log_flush(log), WALKERDB_EIO);
    CHECK_EQ(wdb_log_sync(log), WALKERDB_EIO);
    CHECK_EQ(wdb_log_roll(log), WALKERDB_EIO);
    CHECK_EQ(wdb_log_admit(log, 1), WALKERDB_EIO);
    CHECK_EQ(wdb_log_failure(log), WALKERDB_EIO);
    wdb_log_step(log);
    CHECK_EQ(wdb_log_durable(log), durable);
}

/* A sync that fails once poisons the log: no later one may claim that all is
 * well. It is told once. */
TEST(log_failure_failed_sync_poisons)
{
    struct log_place place = log_place_sim();
    struct told told = {0};
    struct wdb_log *log;
    REQUIRE_EQ(open_told(&place, WDB_SYNC_ALWAYS, &told, &log), 0);
    REQUIRE_EQ(log_fixture_append(log, 1, 1, 100, NULL), 0);
    REQUIRE_EQ(wdb_log_sync(log), 0);
    REQUIRE_EQ(log_fixture_append(log, 2, 1, 100, NULL), 0);
    sim_env_fail(place.sim, (struct sim_fault){.op = SIM_OP_SYNC,
                                               .nth = 1,
                                               .error = WALKERDB_EIO});
    CHECK_EQ(wdb_log_sync(log), WALKERDB_EIO);
    expect_poisoned(log, 1);
    CHECK_EQ(told.failures, 1);
    CHECK_EQ(told.error, WALKERDB_EIO);
    /* What was read before can be read now. */
    wdb_log_close(log);
    log_place_leave(&place);
}

/* So does a write that fails, even half-way. */
TEST(log_failure_failed_write_poisons)
{
    struct log_place place = log_place_sim();
    struct told told = {0};
    struct wdb_log_place where;
    struct wdb_log *log;
    REQUIRE_EQ(open_told(&place, WDB_SYNC_NEVER, &told, &log), 0);
    REQUIRE_EQ(log_fixture_append(log, 1, 1, 10000, &where), 0);
    sim_env_fail(place.sim, (struct sim_fault){.op = SIM_OP_WRITE,
                                               .nth = 1,
                                               .error = WALKERDB_ENOSPACE,
                                               .is_partial = true});
    CHECK_EQ(wdb_log_flush(log), WALKERDB_EIO);
    CHECK(log_fixture_resolves(log, where.position, 1, 10000));
    expect_poisoned(log, 0);
    CHECK_EQ(told.failures, 1);
    wdb_log_close(log);
    log_place_restart(&place);
    REQUIRE_EQ(open_told(&place, WDB_SYNC_NEVER, &told, &log), 0);
    CHECK_EQ(wdb_log_index_last(log), 0);
    wdb_log_close(log);
    log_place_leave(&place);
}

/* --- every operation fails once -------------------------------------------- */

struct progress {
    uint64_t number;   /* of the last record that was appended */
    uint64_t durable;  /* numbers up to it are durable */
    uint64_t appended; /* numbers up to it are written */
};

/* Some of everything; stops at the first failure. */
static int work(struct log_place *place, enum wdb_sync_policy policy,
                struct told *told, struct progress *p)
{
    struct wdb_log *log;
    struct wdb_log_place where;
    uint64_t numbers[200];
    int rc = open_told(place, policy, told, &log);
    if (rc != 0) {
        return rc;
    }
    for (int i = 0; i < 60 && rc == 0; i++) {
        rc = log_fixture_append(log, p->number + 1, 1,
                                i % 13 == 0 ? 90000 : 3000, &where);
        if (rc != 0) {
            break;
        }
        numbers[where.index] = ++p->number;
        if (i % 3 == 0) {
            rc = wdb_log_flush(log);
        }
        sim_env_advance_ms(place->sim, 400);
        wdb_log_step(log);
        if (wdb_log_durable(log) != 0) {
            p->durable = numbers[wdb_log_durable(log)];
        }
        if (wdb_log_appended(log) != 0) {
            p->appended = numbers[wdb_log_appended(log)];
        }
        if (i == 40) {
            rc = rc == 0 ? wdb_log_roll(log) : rc;
        }
    }
    wdb_log_close(log);
    return rc;
}

/* True if the fault was reached. */
static bool fail_once(uint64_t nth, int error, enum wdb_sync_policy policy,
                      bool crash)
{
    struct log_place place = log_place_sim();
    struct told told = {0};
    struct progress p = {0};
    struct wdb_log *log;
    sim_env_fail(place.sim, (struct sim_fault){.op = SIM_OP_MUTATING,
                                               .nth = nth,
                                               .error = error,
                                               .is_partial = nth % 2 == 0});
    const int rc = work(&place, policy, &told, &p);
    const bool reached = sim_env_clear_faults(place.sim) != 0;
    CHECK_EQ(sim_env_open_count(place.sim), 0);
    CHECK(told.failures <= 1);
    if (!reached) {
        CHECK_EQ(rc, 0);
    }
    if (crash) {
        log_place_crash(&place, SIM_CRASH_REORDER_512, nth);
    } else {
        log_place_restart(&place);
    }
    char *message = NULL;
    struct wdb_log_options options;
    log_fixture_options(&options, place.env, place.dir);
    const int again = wdb_log_open(&options, &log, &message);
    if (again != 0) {
        test_fail(__FILE__, __LINE__, "operation %d, error %d: %s", (int)nth,
                  error, message != NULL ? message : "");
        free(message);
        log_place_leave(&place);
        return reached;
    }
    struct log_fixture_found found = log_fixture_scan(log);
    CHECK_EQ(found.error, 0);
    CHECK(found.in_order);
    CHECK(found.count <= p.number);
    if (found.count < p.durable || (!crash && found.count < p.appended)) {
        test_fail(__FILE__, __LINE__,
                  "operation %d, error %d: %d records of %d, %d", (int)nth,
                  error, (int)found.count, (int)p.durable, (int)p.appended);
    }
    CHECK_EQ(log_fixture_append(log, found.last + 1, 1, 100, NULL), 0);
    CHECK_EQ(wdb_log_sync(log), 0);
    wdb_log_close(log);
    log_place_leave(&place);
    return reached;
}

static void sweep(int error, enum wdb_sync_policy policy)
{
    uint64_t nth = 1;
    while (fail_once(nth, error, policy, true) &&
           fail_once(nth, error, policy, false)) {
        nth++;
    }
    CHECK(nth > 100);
}

/* Each file operation fails once, with and without a power cut afterwards. */
TEST(log_failure_each_operation_eio_always)
{
    sweep(WALKERDB_EIO, WDB_SYNC_ALWAYS);
}
TEST(log_failure_each_operation_eio_interval)
{
    sweep(WALKERDB_EIO, WDB_SYNC_INTERVAL);
}
TEST(log_failure_each_operation_eio_never)
{
    sweep(WALKERDB_EIO, WDB_SYNC_NEVER);
}
TEST(log_failure_each_operation_enospace)
{
    sweep(WALKERDB_ENOSPACE, WDB_SYNC_INTERVAL);
}

/* Each allocation fails once: an error, no leak, nothing written is lost. */
TEST(log_failure_each_allocation)
{
    uint64_t nth = 1;
    bool failed = true;
    for (; failed && nth < 5000; nth++) {
        struct log_place place = log_place_sim();
        struct told told = {0};
        struct progress p = {0};
        struct wdb_log *log;
        fault_alloc_arm(nth);
        (void)work(&place, WDB_SYNC_INTERVAL, &told, &p);
        failed = fault_alloc_disarm();
        CHECK_EQ(sim_env_open_count(place.sim), 0);
        CHECK_EQ(told.failures, 0);
        REQUIRE_EQ(open_told(&place, WDB_SYNC_NEVER, &told, &log), 0);
        struct log_fixture_found found = log_fixture_scan(log);
        CHECK_EQ(found.error, 0);
        CHECK(found.in_order);
        CHECK(found.count >= p.appended);
        wdb_log_close(log);
        log_place_leave(&place);
    }
    CHECK(nth > 100);
}

/* --- the disk is full ------------------------------------------------------ */

/* No space for another segment: writes are refused as not done, deletes go on
 * in the reserve, and when there is space again, everything does. */
TEST(log_failure_disk_full_and_back)
{
    struct log_place place = log_place_sim();
    struct told told = {0};
    struct wdb_log *log;
    struct wdb_log_place where;
    struct wdb_log_stats stats;
    uint8_t record[64];
    const struct wdb_record delete = {.kind = WDB_RECORD_DELETE,
                                      .key = wdb_slice_str("k1")};
    wdb_record_encode(&delete, record);
    const size_t size = wdb_record_size(&delete);
    REQUIRE_EQ(open_told(&place, WDB_SYNC_INTERVAL, &told, &log), 0);
    sim_disk_set_capacity(place.disk, sim_disk_used(place.disk) + 50000);
    int rc = 0;
    uint64_t number = 0;
    while (rc == 0 && number < 1000) {
        rc = log_fixture_append(log, number + 1, 1, 500, NULL);
        number += rc == 0;
    }
    CHECK_EQ(rc, WALKERDB_ENOSPACE);
    CHECK(number > 90); /* most of 64 KiB */
    CHECK_EQ(wdb_log_admit(log, 600), WALKERDB_ENOSPACE);
    wdb_log_stats(log, &stats);
    CHECK(stats.full);
    CHECK_EQ(wdb_log_append(log, record, size, 1, WDB_RESERVE_DELETES, &where),
             0);
    CHECK_EQ(wdb_log_sync(log), 0);
    CHECK_EQ(wdb_log_durable(log), where.index);
    CHECK_EQ(log_fixture_append(log, number + 1, 1, 500, NULL),
             WALKERDB_ENOSPACE);
    sim_env_advance_ms(place.sim, 300);
    wdb_log_step(log);
    CHECK_EQ(wdb_log_admit(log, 600), WALKERDB_ENOSPACE);
    sim_disk_set_capacity(place.disk, 0);
    sim_env_advance_ms(place.sim, 300);
    CHECK(wdb_log_step(log));
    CHECK_EQ(wdb_log_admit(log, 600), 0);
    CHECK_EQ(log_fixture_append(log, number + 1, 1, 500, NULL), 0);
    CHECK_EQ(wdb_log_sync(log), 0);
    CHECK_EQ(told.failures, 0);
    wdb_log_stats(log, &stats);
    CHECK(!stats.full);
    wdb_log_close(log);
    log_place_leave(&place);
}

/* A batch that is too large for what is left does not stop smaller ones. */
TEST(log_failure_no_space_for_a_large_batch)
{
    struct log_place place = log_place_sim();
    struct told told = {0};
    struct wdb_log *log;
    REQUIRE_EQ(open_told(&place, WDB_SYNC_INTERVAL, &told, &log), 0);
    sim_disk_set_capacity(place.disk, sim_disk_used(place.disk) + 200000);
    CHECK_EQ(log_fixture_append(log, 1, 1, 1000000, NULL), WALKERDB_ENOSPACE);
    for (uint64_t i = 1; i < 30; i++) {
        CHECK_EQ(log_fixture_append(log, i, 1, 5000, NULL), 0);
    }
    CHECK_EQ(wdb_log_sync(log), 0);
    wdb_log_close(log);
    log_place_leave(&place);
}

#ifdef WDB_MUTATIONS
/* The rule that a failed sync is final is needed: without it, the log claims
 * that something is durable that a power cut takes away. */
TEST(log_failure_mutation_retry_sync)
{
    bool lost = false;
    for (uint64_t seed = 1; seed < 50 && !lost; seed++) {
        struct log_place place = log_place_sim();
        struct wdb_log_options options;
        struct wdb_log *log;
        log_fixture_options(&options, place.env, place.dir);
        options.mutations = WDB_MUTATION_RETRY_SYNC;
        REQUIRE_EQ(wdb_log_open(&options, &log, NULL), 0);
        REQUIRE_EQ(log_fixture_append(log, 1, 1, 20000, NULL), 0);
        sim_env_fail(place.sim, (struct sim_fault){.op = SIM_OP_SYNC,
                                                   .nth = 1,
                                                   .error = WALKERDB_EIO});
        CHECK_EQ(wdb_log_sync(log), 0);
        CHECK_EQ(wdb_log_durable(log), 1);
        wdb_log_abandon(log);
        log_place_crash(&place, SIM_CRASH_DROP, seed);
        options.env = place.env;
        REQUIRE_EQ(wdb_log_open(&options, &log, NULL), 0);
        lost = wdb_log_index_last(log) == 0;
        wdb_log_close(log);
        log_place_leave(&place);
    }
    CHECK(lost);
}
#endif
