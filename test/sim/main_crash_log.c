/*
 * main_crash_log.c - power cuts after each file operation of the log.
 *
 *   sim_crash_log [-v] [-m] [SCENARIO...]
 *
 * Each scenario is a workload under one sync policy. After each of its file
 * operations the disk is cloned and crashes in every way that sim_disk.h
 * knows; the log is opened, with a second power cut in half of the cases
 * before that is done. What must hold then:
 *
 *   - the records are a prefix of what was appended, in order, unchanged;
 *   - it ends where a batch ended;
 *   - nothing that was durable is missing; if no byte was lost, nothing that
 *     was written is missing either;
 *   - what was kept for Raft is the last that was set, or was being set;
 *   - what was found survives another power cut at once, and new records
 *     behind it do, too.
 *
 * WDB_TEST_ROUNDS (1) multiplies the states, WDB_TEST_SEED (1) moves them. A
 * failure prints the state, and the command that repeats it alone.
 *
 * -m, in a build with WDB_MUTATIONS: break one rule after the other, and show
 * that each is noticed.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/log_fixture.h"
#include "lib/test.h"
#include "log/mutations.h"
#include "sim/sim_explore.h"

#define DIR_NAME    "/db"
#define BATCHES_MAX 4096

struct scenario {
    const char *name;
    enum wdb_sync_policy policy;
    bool prefill;
    bool truncates; /* and commits by hand */
    bool reopens;
    bool rolls;
    size_t value_size_max;
    int batch_count;
    int unflushed_max; /* batches between flushes */
};

static const struct scenario scenarios[] = {
    {.name = "interval",
     .policy = WDB_SYNC_INTERVAL,
     .value_size_max = 6000,
     .batch_count = 80,
     .unflushed_max = 4},
    {.name = "always",
     .policy = WDB_SYNC_ALWAYS,
     .value_size_max = 5000,
     .batch_count = 60,
     .unflushed_max = 2},
    {.name = "never",
     .policy = WDB_SYNC_NEVER,
     .value_size_max = 9000,
     .batch_count = 80,
     .unflushed_max = 3},
    {.name = "prefill",
     .policy = WDB_SYNC_ALWAYS,
     .prefill = true,
     .value_size_max = 9000,
     .batch_count = 40,
     .unflushed_max = 2},
    {.name = "large",
     .policy = WDB_SYNC_INTERVAL,
     .value_size_max = 100000,
     .batch_count = 12,
     .unflushed_max = 2},
    {.name = "roll",
     .policy = WDB_SYNC_INTERVAL,
     .rolls = true,
     .value_size_max = 3000,
     .batch_count = 60,
     .unflushed_max = 3},
    {.name = "truncate",
     .policy = WDB_SYNC_ALWAYS,
     .truncates = true,
     .value_size_max = 8000,
     .batch_count = 70,
     .unflushed_max = 3},
    {.name = "reopen",
     .policy = WDB_SYNC_INTERVAL,
     .reopens = true,
     .value_size_max = 6000,
     .batch_count = 60,
     .unflushed_max = 3},
};

struct batch {
    uint64_t number; /* of its first record */
    uint32_t count;
    uint64_t index; /* of its entry; UINT64_MAX until it is known */
};

/* What the application knows at any moment. */
struct notes {
    const struct scenario *scenario;
    uint32_t mutations;
    struct batch batches[BATCHES_MAX];
    size_t count;
    uint64_t number_next;
    const struct wdb_log *live; /* what it promises now */
    uint64_t durable, appended;
    uint64_t truncating;      /* from this index on: may be gone or not */
    uint64_t base, base_next; /* kept for Raft: set; being set, or the same */
    const char *complaint;
    bool broken; /* the workload itself failed */
};

static void options_of(const struct notes *notes, struct wdb_env *env,
                       struct wdb_log_options *options)
{
    log_fixture_options(options, env, DIR_NAME);
    options->sync_policy = notes->scenario->policy;
    options->prefill = notes->scenario->prefill;
    options->manual_commit = notes->scenario->truncates;
    options->unwritten_size_max = 64 << 10;
#ifdef WDB_MUTATIONS
    options->mutations = notes->mutations;
#endif
}

/* --- the workload ---------------------------------------------------------- */

struct work {
    struct notes *notes;
    struct sim_env *env;
    struct wdb_log *log;
    struct test_random random;
};

static void learn(struct work *w)
{
    w->notes->durable = wdb_log_durable(w->log);
    w->notes->appended = wdb_log_appended(w->log);
}

static bool append_one(struct work *w)
{
    struct notes *notes = w->notes;
    struct wdb_log_place place;
    const size_t max = notes->scenario->value_size_max;
    struct batch *batch = &notes->batches[notes->count++];
    size_t size = test_random_below(&w->random, max);
    if (test_random_below(&w->random, 3) == 0) {
        size %= 200;
    }
    *batch = (struct batch){
        .number = notes->number_next,
        .count = 1 + (uint32_t)test_random_below(&w->random, 3),
        .index = UINT64_MAX,
    };
    notes->number_next += batch->count;
    const int rc = log_fixture_append(w->log, batch->number, batch->count,
                                      size / batch->count, &place);
    if (rc != 0) {
        return false;
    }
    batch->index = place.index;
    learn(w);
    return true;
}

/* Give up some of what is not committed, as a deposed leader does. */
static bool truncate_some(struct work *w)
{
    struct notes *notes = w->notes;
    const uint64_t committed = wdb_log_committed(w->log);
    const uint64_t last = wdb_log_index_last(w->log);
    if (last <= committed) {
        return true;
    }
    const uint64_t from =
        committed + 1 + test_random_below(&w->random, last - committed);
    notes->truncating = from;
    const int rc = wdb_log_truncate(w->log, from);
    if (rc != 0) {
        return false;
    }
    while (notes->count > 0 && notes->batches[notes->count - 1].index >= from) {
        notes->count--;
    }
    /* Numbers are not used twice: what was given up is known if it returns. */
    notes->number_next += 1000;
    notes->truncating = 0;
    learn(w);
    return true;
}

/* What is not the leader takes no batch. */
static bool hold_once(struct work *w)
{
    const uint64_t last = wdb_log_index_last(w->log);
    wdb_log_hold(w->log, true);
    const int rc =
        log_fixture_append(w->log, w->notes->number_next, 1, 10, NULL);
    const bool good =
        rc == WALKERDB_ENOTLEADER && wdb_log_index_last(w->log) == last;
    wdb_log_hold(w->log, false);
    return good;
}

static bool set_base(struct work *w)
{
    struct notes *notes = w->notes;
    uint8_t bytes[100] = {0};
    notes->base_next = notes->base + 1;
    wdb_store64(bytes, notes->base_next);
    const struct wdb_slice base =
        wdb_slice(bytes,
                  8 + (size_t)test_random_below(&w->random, sizeof(bytes) - 8));
    if (wdb_log_set_base(w->log, true, base, notes->base_next) != 0) {
        return false;
    }
    notes->base = notes->base_next;
    return true;
}

static bool reopen(struct work *w, bool crash)
{
    struct wdb_log_options options;
    if (crash) {
        wdb_log_abandon(w->log);
        w->notes->live = NULL;
        /* What was not flushed is gone with the process. */
        struct notes *notes = w->notes;
        while (notes->count > 0 &&
               notes->batches[notes->count - 1].index > notes->appended) {
            notes->count--;
            notes->number_next = notes->batches[notes->count].number;
        }
    } else {
        wdb_log_close(w->log);
        w->notes->live = NULL;
    }
    w->log = NULL;
    options_of(w->notes, sim_env_base(w->env), &options);
    if (wdb_log_open(&options, &w->log, NULL) != 0) {
        return false;
    }
    w->notes->live = w->log;
    return true;
}

static bool one_turn(struct work *w)
{
    const struct scenario *s = w->notes->scenario;
    const int count =
        1 + (int)test_random_below(&w->random, (uint64_t)s->unflushed_max);
    bool good = true;
    for (int i = 0; i < count && good; i++) {
        good = append_one(w);
    }
    if (good) {
        good = wdb_log_flush(w->log) == 0;
        learn(w);
    }
    sim_env_advance_ms(w->env, 300);
    const int steps = (int)test_random_below(&w->random, 4);
    for (int i = 0; i < steps && wdb_log_step(w->log); i++) {
        learn(w);
    }
    learn(w);
    if (s->truncates && good) {
        if (test_random_below(&w->random, 3) == 0) {
            wdb_log_set_committed(w->log, wdb_log_committed(w->log) +
                                              (wdb_log_durable(w->log) -
                                               wdb_log_committed(w->log)) /
                                                  2);
        }
        if (test_random_below(&w->random, 4) == 0) {
            good = truncate_some(w);
        }
        if (good && test_random_below(&w->random, 5) == 0) {
            good = hold_once(w);
        }
        if (good && test_random_below(&w->random, 5) == 0) {
            good = set_base(w);
        }
    }
    if (s->rolls && good && test_random_below(&w->random, 3) == 0) {
        good = wdb_log_roll(w->log) == 0;
        learn(w);
    }
    if (s->reopens && good && test_random_below(&w->random, 3) == 0) {
        good = reopen(w, test_random_below(&w->random, 2) == 0);
    }
    return good;
}

static void workload(void *context, struct sim_env *env)
{
    struct notes *notes = context;
    struct wdb_log_options options;
    struct work w = {.notes = notes,
                     .env = env,
                     .random = {test_number("WDB_TEST_SEED", 1)}};
    options_of(notes, sim_env_base(env), &options);
    if (wdb_log_open(&options, &w.log, NULL) != 0) {
        notes->broken = true;
        return;
    }
    notes->live = w.log;
    bool good = true;
    while (good && notes->count < (size_t)notes->scenario->batch_count) {
        good = one_turn(&w);
    }
    wdb_log_close(w.log);
    notes->live = NULL;
    notes->broken = !good;
}

/* --- the check ------------------------------------------------------------- */

/* Compares the records of a scan with the batches that were appended. */
struct reader {
    const struct notes *notes;
    size_t batch;   /* the next record is in this one */
    uint32_t place; /* and is this one of it */
    uint64_t count; /* records so far */
    bool wrong;
};

static int compare_record(void *context, const struct wdb_record *record,
                          wdb_position position, uint64_t size)
{
    struct reader *reader = context;
    const struct notes *notes = reader->notes;
    (void)position;
    (void)size;
    if (reader->batch >= notes->count) {
        reader->wrong = true;
        return 1;
    }
    const struct batch *batch = &notes->batches[reader->batch];
    if (!log_fixture_is(record, batch->number + reader->place)) {
        reader->wrong = true;
        return 1;
    }
    reader->count++;
    if (++reader->place == batch->count) {
        reader->place = 0;
        reader->batch++;
    }
    return 0;
}

/* Read all; false with a complaint if it is not a prefix of whole batches. */
static bool read_all(struct notes *notes, struct wdb_log *log,
                     size_t *batches_out)
{
    struct reader reader = {.notes = notes};
    struct wdb_segment **segments;
    size_t count;
    int rc = wdb_log_segments(log, &segments, &count);
    if (rc != 0) {
        notes->complaint = "no memory";
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        if (rc == 0) {
            rc = wdb_log_scan(log, segments[i], compare_record, &reader, NULL);
        }
        wdb_segment_drop(segments[i]);
    }
    free(segments);
    if (reader.wrong) {
        notes->complaint = "a record is there that should not be";
    } else if (rc != 0) {
        notes->complaint = "the scan fails";
    } else if (reader.place != 0) {
        notes->complaint = "half a batch is there";
    } else {
        *batches_out = reader.batch;
        return true;
    }
    return false;
}

/* Batches that must be there. */
static size_t promised(const struct notes *notes, uint64_t index)
{
    size_t count = 0;
    if (notes->truncating != 0 && index >= notes->truncating) {
        index = notes->truncating - 1;
    }
    while (count < notes->count && notes->batches[count].index <= index) {
        count++;
    }
    return count;
}

/* Open, and see that at least `least` batches are there. */
static struct wdb_log *open_and_read(struct notes *notes, struct wdb_env *env,
                                     size_t least, size_t *batches_out)
{
    struct wdb_log_options options;
    struct wdb_log *log;
    static char text[400];
    char *message = NULL;
    options_of(notes, env, &options);
    const int rc = wdb_log_open(&options, &log, &message);
    if (rc != 0) {
        snprintf(text, sizeof(text), "it does not open: %s",
                 message != NULL ? message : walkerdb_strerror(rc));
        notes->complaint = text;
        free(message);
        return NULL;
    }
    if (!read_all(notes, log, batches_out)) {
        wdb_log_abandon(log);
        return NULL;
    }
    if (*batches_out < least) {
        snprintf(text, sizeof(text), "%zu batches are there, %zu were promised",
                 *batches_out, least);
        notes->complaint = text;
        wdb_log_abandon(log);
        return NULL;
    }
    return log;
}

/* Another power cut on a copy of the disk as it is now. */
static bool survives_another(struct notes *notes, struct sim_env *env,
                             uint64_t seed, size_t least)
{
    struct wdb_random random;
    size_t batches;
    wdb_random_seed(&random, seed);
    struct sim_disk *disk = sim_disk_clone(sim_env_disk(env));
    sim_disk_crash(disk,
                   (enum sim_crash_policy)wdb_random_below(
                       &random, SIM_CRASH_POLICY_COUNT),
                   &random);
    struct sim_env *again = sim_env_new(disk, seed, NULL);
    struct wdb_log *log =
        open_and_read(notes, sim_env_base(again), least, &batches);
    if (log != NULL) {
        wdb_log_close(log);
    }
    sim_env_free(again);
    sim_disk_free(disk);
    return log != NULL;
}

/* Append behind what was found; it must survive like everything else. */
static bool goes_on(struct notes *notes, struct sim_env *env,
                    struct wdb_log *log, size_t batches, uint64_t seed)
{
    struct notes *more = malloc(sizeof(*more));
    if (more == NULL) {
        abort();
    }
    *more = *notes;
    more->count = batches;
    more->truncating = 0;
    more->live = NULL;
    more->number_next += 100000;
    struct work w = {.notes = more, .env = env, .log = log, .random = {seed}};
    bool good = true;
    for (int i = 0; i < 3 && good; i++) {
        good = append_one(&w) && wdb_log_flush(log) == 0;
        if (good && i == 1) {
            good = wdb_log_sync(log) == 0;
            batches = more->count;
        }
    }
    if (!good) {
        more->complaint = "it takes no more records";
    }
    good = good && survives_another(more, env, seed, batches);
    notes->complaint = more->complaint;
    free(more);
    return good;
}

static bool base_is_right(struct notes *notes, const struct wdb_log *log)
{
    const struct wdb_slice bytes = wdb_log_base(log);
    const uint64_t base = bytes.size < 8 ? 0 : wdb_load64(bytes.data);
    if ((base == notes->base || base == notes->base_next) &&
        wdb_log_is_cluster(log) == (base > 0) &&
        wdb_log_retained(log) >= base) {
        return true;
    }
    notes->complaint = "what was kept for Raft is lost";
    return false;
}

static bool check(void *context, struct sim_env *env,
                  const struct sim_state *state)
{
    struct notes *notes = context;
    size_t batches;
    const bool lossless = state->policy == SIM_CRASH_KEEP && !state->is_nested;
    if (notes->live != NULL && notes->truncating == 0) {
        notes->durable = wdb_log_durable(notes->live);
        notes->appended = wdb_log_appended(notes->live);
    }
    const size_t least =
        promised(notes, lossless ? notes->appended : notes->durable);
    notes->complaint = NULL;
    struct wdb_log *log =
        open_and_read(notes, sim_env_base(env), least, &batches);
    if (log == NULL) {
        return false;
    }
    /* What is served now must not vanish any more. */
    bool good = base_is_right(notes, log) &&
                survives_another(notes, env, state->seed, batches);
    if (good && state->seed % 2 == 0) {
        good = goes_on(notes, env, log, batches, state->seed);
    }
    wdb_log_abandon(log);
    return good;
}

static void recover(void *context, struct sim_env *env)
{
    struct wdb_log_options options;
    struct wdb_log *log;
    options_of(context, sim_env_base(env), &options);
    if (wdb_log_open(&options, &log, NULL) == 0) {
        wdb_log_close(log);
    }
}

/* --- running --------------------------------------------------------------- */

/* True if nothing was found wrong. */
static bool explore(const struct scenario *scenario, uint32_t mutations,
                    struct sim_explore_result *result, const char **complaint)
{
    struct notes *notes = calloc(1, sizeof(*notes));
    if (notes == NULL) {
        abort();
    }
    notes->scenario = scenario;
    notes->mutations = mutations;
    notes->number_next = 1;
    struct sim_disk *disk = sim_disk_new();
    const struct sim_explore explore = {
        .disk = disk,
        .seed = test_number("WDB_TEST_SEED", 1),
        .states_per_policy = (uint32_t)test_number("WDB_TEST_ROUNDS", 1) * 2,
        .op_stride = test_number("WDB_TEST_STRIDE", 1),
        .workload = workload,
        .check = check,
        .recover = recover,
        .context = notes,
    };
    sim_explore(&explore, result);
    *complaint = notes->complaint;
    const bool good = result->failure_count == 0 && !notes->broken;
    if (notes->broken && result->failure_count == 0) {
        *complaint = "the workload itself failed";
    }
    sim_disk_free(disk);
    free(notes);
    return good;
}

static bool is_selected(const char *name, int argc, char **argv)
{
    bool any = false;
    for (int i = 1; i < argc; i++) {
        if (argv[i][0] != '-') {
            any = true;
            if (strcmp(argv[i], name) == 0) {
                return true;
            }
        }
    }
    return !any;
}

static int run_scenarios(int argc, char **argv)
{
    int failed = 0, passed = 0;
    for (size_t i = 0; i < WDB_COUNT(scenarios); i++) {
        struct sim_explore_result result;
        const char *complaint = NULL;
        char state[200];
        if (!is_selected(scenarios[i].name, argc, argv)) {
            continue;
        }
        const uint64_t begin = test_now_ns();
        if (explore(&scenarios[i], 0, &result, &complaint)) {
            printf("ok crash_log_%s (%" PRIu64 " operations, %" PRIu64
                   " states, %.1f s)\n",
                   scenarios[i].name, result.op_count, result.state_count,
                   (double)(test_now_ns() - begin) / 1e9);
            passed++;
            continue;
        }
        sim_state_print(&result.failure, state, sizeof(state));
        printf("FAILED crash_log_%s: %s: %s\n", scenarios[i].name, state,
               complaint);
        failed++;
    }
    printf("%d passed, %d failed\n", passed, failed);
    return failed == 0 ? 0 : 1;
}

#ifdef WDB_MUTATIONS
static const struct {
    const char *name;
    uint32_t mutation;
} mutations[] = {
#define MUTATION(name)                                                         \
    {                                                                          \
#name, WDB_MUTATION_##name                                             \
    }
    MUTATION(SKIP_SYNC),           MUTATION(DURABLE_EARLY),
    MUTATION(SYNC_LAST_ONLY),      MUTATION(SKIP_SYNC_BEFORE_SEAL),
    MUTATION(SKIP_SEGMENT_SYNC),   MUTATION(SKIP_MANIFEST),
    MUTATION(IGNORE_CHAIN),        MUTATION(IGNORE_PAYLOAD),
    MUTATION(CUT_BEFORE_MANIFEST), MUTATION(SKIP_RECOVERY_SYNC),
    MUTATION(SKIP_BAD_ENTRY),      MUTATION(SKIP_TRUNCATION),
    MUTATION(SHORT_WRITE),         MUTATION(IGNORE_HOLD),
    MUTATION(SKIP_BASE),
};

static int run_mutations(int argc, char **argv)
{
    int failed = 0, passed = 0;
    for (size_t m = 0; m < WDB_COUNT(mutations); m++) {
        bool caught = false;
        for (size_t i = 0; i < WDB_COUNT(scenarios) && !caught; i++) {
            struct sim_explore_result result;
            const char *complaint = NULL;
            char state[200];
            if (!is_selected(scenarios[i].name, argc, argv)) {
                continue;
            }
            caught = !explore(&scenarios[i], mutations[m].mutation, &result,
                              &complaint);
            if (caught) {
                sim_state_print(&result.failure, state, sizeof(state));
                printf("ok mutation_%s: %s, state %" PRIu64 ", %s: %s\n",
                       mutations[m].name, scenarios[i].name, result.state_count,
                       state, complaint);
            }
        }
        if (!caught) {
            printf("FAILED mutation_%s: nobody noticed\n", mutations[m].name);
        }
        passed += caught;
        failed += !caught;
    }
    printf("%d passed, %d failed\n", passed, failed);
    return failed == 0 ? 0 : 1;
}
#endif

int main(int argc, char **argv)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "-m") == 0) {
#ifdef WDB_MUTATIONS
            return run_mutations(argc, argv);
#else
            printf("no mutations in this build (WDB_MUTATIONS)\n");
            return 0;
#endif
        }
    }
    return run_scenarios(argc, argv);
}
