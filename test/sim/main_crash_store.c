/*
 * main_crash_store.c - power cuts after each file operation of the engine.
 *
 *   sim_crash_store [--states N] [--seed S] [--json] [-v]
 *   sim_crash_store --mutation NAME | --mutations [--states N]
 *
 * A workload is drawn from each seed, S, S + 1, ... until N states were looked
 * at: random batches (store_model.h) under one sync policy, with flushes,
 * background steps, merges, backups, rollbacks, reopening after clean and
 * unclean ends, and (with commits by hand) truncations, and what a node does
 * that loses office: batches are held, what is not committed is taken back,
 * applied again one by one, given up, or appended again as a leader sends it.
 * After its file operations the disk is cloned and crashes in every way that sim_disk.h
 * knows; in half of the cases there is a second power cut before the recovery
 * is through. What must hold when the store is opened then:
 *
 *   - it holds exactly what it held after some batch: whole batches, nothing
 *     deleted comes back, expiries, databases and elements included;
 *   - nothing that was durable is missing;
 *   - with commits by hand, nothing is served that is not known to be
 *     committed, and the rest can be applied;
 *   - Raft's base is the last one that was set, or the one that was being set,
 *     and all entries from the bound on that it came with can be read;
 *   - a merge of everything, and another reopening, change nothing;
 *   - a backup that was reported done opens and holds what it held; one that
 *     was not is no database, or holds the state of some batch.
 *
 * --mutation breaks one rule of the engine (store/mutations.h, in a build with
 * WDB_MUTATIONS) and exits with 0 if that is noticed.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/assert.h"
#include "lib/test.h"
#include "sim/crash_store.h"
#include "store/mutations.h"
#include "walkerdb.h"

#define DIR_NAME         "/db"
#define STATES_OF_A_SEED 10000

/* --- the workload ----------------------------------------------------------
 */

static void draw_options(struct notes *n)
{
    static const enum wdb_sync_policy policies[] = {WDB_SYNC_ALWAYS,
                                                    WDB_SYNC_INTERVAL,
                                                    WDB_SYNC_NEVER};
    static const uint32_t sizes[] = {60, 400, 2500};
    wdb_store_options_init(&n->options);
    struct wdb_log_options *log = &n->options.log;
    log->dir = DIR_NAME;
    log->create = true;
    log->background_thread = false;
    log->segment_size = WDB_SEGMENT_SIZE_MIN;
    log->sync_policy = policies[crash_store_below(n, 3)];
    log->prefill = crash_store_below(n, 4) == 0;
    log->unwritten_size_max = 64 << 10;
    n->truncates = crash_store_below(n, 3) == 0;
    log->manual_commit = n->truncates;
    n->options.stripe_count = 1 + 3 * (uint32_t)crash_store_below(n, 2);
    n->options.load_threads = 1;
    n->options.hints = crash_store_below(n, 4) != 0;
    n->options.merge_enabled = crash_store_below(n, 4) != 0;
    n->options.merge_rate = 0;
    n->options.merge_ratio = crash_store_below(n, 2) == 0 ? 0.1 : 0.4;
#ifdef WDB_MUTATIONS
    n->options.mutations = n->mutations;
#endif
    n->model.value_size_max = sizes[crash_store_below(n, 3)];
    n->model.has_databases = crash_store_below(n, 2) == 0;
    n->model.has_objects = crash_store_below(n, 2) == 0;
    n->model.has_expiry = crash_store_below(n, 3) != 0;
    n->model.has_strings =
        !n->model.has_objects || crash_store_below(n, 3) != 0;
    n->has_ballast = crash_store_below(n, 2) == 0;
    n->turns = 30 + (int)crash_store_below(n, 60);
}

static void learn(struct work *w)
{
    w->notes->durable = wdb_log_durable(wdb_store_log(w->store));
}

static bool open_store(struct work *w)
{
    struct notes *n = w->notes;
    struct wdb_store_options options = n->options;
    options.log.env = sim_env_base(w->env);
    if (wdb_store_open(&options, &w->store, NULL) != 0) {
        return false;
    }
    n->live = w->store;
    learn(w);
    return true;
}

/* A record that stays live, in a database that the model does not use: what is
 * old is worth no merge then, so merges begin in the middle. */
static void add_ballast(struct work *w)
{
    static const uint8_t value[6000];
    struct notes *n = w->notes;
    char name[32];
    const struct wdb_record record = {
        .kind = WDB_RECORD_PUT,
        .database = wdb_store_database(w->store, 5),
        .key = wdb_slice(name, (size_t)snprintf(name, sizeof(name),
                                                "ballast-%u", n->ballast)),
        .value = wdb_slice(value, sizeof(value)),
    };
    n->ballast++;
    const int rc =
        wdb_batch_add(&w->batch, &record, wdb_store_hash(w->store, record.key));
    wdb_assert(rc == 0);
}

static bool commit_some(struct work *w)
{
    struct notes *n = w->notes;
    uint64_t index;
    wdb_batch_clear(&w->batch);
    wdb_store_lock_all(w->store);
    store_model_fill(&n->model, w->store, &w->batch,
                     1 + (uint32_t)crash_store_below(n, 6));
    if (n->has_ballast && n->turn < n->turns / 2) {
        add_ballast(w);
    }
    int rc = 0;
    while (rc == 0 && crash_store_below(n, 3) == 0) { /* a transaction */
        rc = wdb_store_stage(w->store, &w->batch);
        store_model_fill(&n->model, w->store, &w->batch,
                         1 + (uint32_t)crash_store_below(n, 4));
    }
    if (rc == 0 && w->batch.count > 0 && crash_store_below(n, 12) == 0) {
        wdb_store_rollback(w->store, &w->batch);
        store_model_forget(&n->model);
    } else if (rc == 0 && w->batch.count > 0) {
        n->pending = true;
        rc = wdb_store_commit(w->store, &w->batch, &index);
        n->pending = false;
        if (rc == 0) {
            store_model_commit(&n->model, index);
        }
    }
    wdb_store_unlock_all(w->store);
    return rc == 0;
}

static bool truncate_some(struct work *w)
{
    struct notes *n = w->notes;
    struct wdb_log *log = wdb_store_log(w->store);
    const uint64_t committed = wdb_log_committed(log);
    const uint64_t last = wdb_log_index_last(log);
    if (last <= committed) {
        return true;
    }
    const uint64_t from =
        committed + 1 + crash_store_below(n, last - committed);
    n->durable = from - 1 < n->durable ? from - 1 : n->durable;
    n->live = NULL; /* its watermark is not a promise now */
    if (wdb_store_truncate(w->store, from) != 0) {
        return false;
    }
    store_model_truncate(&n->model, from);
    n->live = w->store;
    if (!store_model_check(&n->model, w->store, n->model.state_count - 1)) {
        crash_store_complain(n, "after a truncation from", from, last);
        return false;
    }
    return true;
}

static bool make_backup(struct work *w)
{
    struct notes *n = w->notes;
    if (n->backup_count == BACKUPS_MAX) {
        return true;
    }
    char name[32];
    struct backup *backup = &n->backups[n->backup_count];
    snprintf(name, sizeof(name), "/backup-%u", n->backup_count++);
    backup->begun = true;
    backup->index = wdb_log_committed(wdb_store_log(w->store));
    if (!n->truncates) {
        backup->index = wdb_log_index_last(wdb_store_log(w->store));
    }
    const int rc = wdb_store_backup(w->store, name, NULL, NULL);
    backup->done = rc == 0;
    return rc == 0 || rc == WALKERDB_EABORTED;
}

/* End and begin again: cleanly, or as a killed process. */
static bool reopen(struct work *w)
{
    struct notes *n = w->notes;
    const uint64_t appended = wdb_log_appended(wdb_store_log(w->store));
    n->live = NULL;
    if (w->saved != NULL) {
        crash_store_forget_saved(w);
        store_model_truncate(&n->model, appended + 1);
    }
    w->deposed = false;
    if (crash_store_below(n, 2) == 0) {
        wdb_store_close(w->store);
    } else {
        wdb_store_abandon(w->store);
        store_model_truncate(&n->model, appended + 1);
    }
    w->store = NULL;
    if (!open_store(w)) {
        crash_store_complain(n, "reopening failed at index", appended,
                             appended);
        return false;
    }
    struct wdb_log *log = wdb_store_log(w->store);
    const uint64_t last = wdb_log_index_last(log);
    for (uint64_t i = wdb_log_committed(log) + 1; n->truncates && i <= last;
         i++) {
        if (wdb_store_apply_entry(w->store, i) != 0) {
            return false;
        }
    }
    if (last < appended) {
        crash_store_complain(n, "last index after the end of the process", last,
                             appended);
        return false;
    }
    return store_model_check(&n->model, w->store, n->model.state_count - 1);
}

static bool one_turn(struct work *w)
{
    struct notes *n = w->notes;
    struct wdb_log *log = wdb_store_log(w->store);
    bool good = true;
    for (uint64_t i = crash_store_below(n, 4); good && !w->deposed && i > 0;
         i--) {
        good = commit_some(w);
    }
    learn(w);
    if (good && crash_store_below(n, 3) != 0) {
        good = wdb_log_flush(log) == 0;
    }
    sim_env_advance_ms(w->env, crash_store_below(n, 700));
    for (uint64_t i = crash_store_below(n, 4); i > 0 && wdb_log_step(log);
         i--) {
    }
    for (uint64_t i = crash_store_below(n, 6);
         i > 0 && wdb_store_step(w->store); i--) {
    }
    learn(w);
    if (n->truncates && good) {
        if (crash_store_below(n, 2) == 0) {
            crash_store_set_committed(w);
        }
        if (w->deposed) {
            good = crash_store_follow(w);
        } else if (crash_store_below(n, 10) == 0) {
            good = truncate_some(w);
        } else if (crash_store_below(n, 6) == 0) {
            good = crash_store_lose_office(w);
        }
        if (good && crash_store_below(n, 12) == 0) {
            good = crash_store_set_base(w);
        }
    }
    if (good && crash_store_below(n, 8) == 0) {
        good = wdb_log_roll(log) == 0;
    }
    if (good && crash_store_below(n, 24) == 0) {
        good = crash_store_merge_some(w);
    }
    if (good && crash_store_below(n, 30) == 0) {
        good = make_backup(w);
    }
    if (good && crash_store_below(n, 14) == 0) {
        good = reopen(w);
    }
    return good;
}

static void workload(void *context, struct sim_env *env)
{
    struct notes *n = context;
    struct work w = {.notes = n, .env = env};
    wdb_batch_init(&w.batch);
    bool good = open_store(&w);
    for (n->turn = 0; good && n->turn < n->turns; n->turn++) {
        good = one_turn(&w);
    }
    const uint32_t shown = w.deposed ? store_model_at(&n->model, w.applied)
                                     : n->model.state_count - 1;
    if (good && !store_model_check(&n->model, w.store, shown)) {
        crash_store_complain(n, "at the end of the workload, batches", 0,
                             n->model.state_count);
        good = false;
    }
    n->live = NULL;
    if (w.store != NULL) {
        wdb_store_close(w.store);
    }
    if (w.batch.applied == 0) {
        wdb_batch_release(&w.batch);
    }
    crash_store_forget_saved(&w);
    n->broken = !good;
}

/* --- the check -------------------------------------------------------------
 */

/* The store shows what it held when its log ended at `index`. */
static bool holds_state(struct notes *n, struct wdb_store *store,
                        uint64_t index)
{
    const uint32_t last = n->model.state_count - 1;
    const uint32_t number = store_model_at(&n->model, index);
    if (n->pending && number == last && index >= n->model.states[last].index) {
        wdb_store_lock_all(store);
        const bool ok = store_model_check_next(&n->model, store, true);
        wdb_store_unlock_all(store);
        if (ok) {
            return true;
        }
    }
    if (!store_model_check(&n->model, store, number)) {
        crash_store_complain(n, "not the state of batch", number, last);
        return false;
    }
    return true;
}

static struct wdb_store *open_again(struct notes *n, struct sim_env *env,
                                    const char *dir, int *rc_out)
{
    struct wdb_store_options options = n->options;
    struct wdb_store *store = NULL;
    char *message = NULL;
    options.log.env = sim_env_base(env);
    options.log.dir = dir;
    options.log.create = strcmp(dir, DIR_NAME) == 0;
    options.log.manual_commit = n->truncates && options.log.create;
    *rc_out = wdb_store_open(&options, &store, &message);
    if (*rc_out != 0 && message != NULL && n->complaint[0] == '\0') {
        snprintf(n->complaint, sizeof(n->complaint), "%s", message);
    }
    free(message);
    return *rc_out == 0 ? store : NULL;
}

/* With commits by hand: what is committed, then all the rest. */
static bool check_committed(struct notes *n, struct wdb_store *store,
                            uint64_t last)
{
    const uint64_t committed = wdb_log_committed(wdb_store_log(store));
    if (committed > n->committed) {
        crash_store_complain(n, "committed after recovery", committed,
                             n->committed);
        return false;
    }
    if (!holds_state(n, store, committed)) {
        return false;
    }
    for (uint64_t i = committed + 1; i <= last; i++) {
        const int rc = wdb_store_apply_entry(store, i);
        if (rc != 0) {
            crash_store_complain(n, "applying entry", i, (uint64_t)-rc);
            return false;
        }
    }
    return true;
}

/* Merge all, look, open again, look. */
static bool goes_on(struct notes *n, struct sim_env *env,
                    struct wdb_store *store, uint64_t last)
{
    if (n->truncates) {
        wdb_store_set_committed(store, last);
        wdb_log_set_retained(wdb_store_log(store), last + 1);
    }
    int rc = wdb_store_merge(store);
    if (rc != 0) {
        crash_store_complain(n, "error of merge", (uint64_t)-rc, 0);
        return false;
    }
    bool good = holds_state(n, store, last);
    if (wdb_log_sync(wdb_store_log(store)) != 0) {
        good = false;
    }
    wdb_store_abandon(store);
    store = open_again(n, env, DIR_NAME, &rc);
    if (store == NULL) {
        crash_store_complain(n, "second opening", (uint64_t)-rc, 0);
        return false;
    }
    if (good && n->truncates) {
        for (uint64_t i = wdb_log_committed(wdb_store_log(store)) + 1;
             i <= last && rc == 0; i++) {
            rc = wdb_store_apply_entry(store, i);
        }
    }
    good = good && rc == 0 && holds_state(n, store, last);
    wdb_store_abandon(store);
    return good;
}

static bool check_backup(struct notes *n, struct sim_env *env, uint32_t number)
{
    const struct backup *backup = &n->backups[number];
    char name[32];
    int rc;
    snprintf(name, sizeof(name), "/backup-%u", number);
    struct wdb_store *store = open_again(n, env, name, &rc);
    if (store == NULL) {
        struct wdb_manifest manifest;
        if (!backup->done &&
            wdb_manifest_load(sim_env_base(env), name, &manifest) ==
                WALKERDB_ENOTFOUND) {
            n->complaint[0] = '\0';
            return true; /* no database */
        }
        crash_store_complain(n, "a backup does not open", (uint64_t)-rc,
                             number);
        return false;
    }
    const uint64_t last = wdb_log_index_last(wdb_store_log(store));
    if (last < backup->index) {
        crash_store_complain(n, "a backup ends at", last, backup->index);
        wdb_store_abandon(store);
        return false;
    }
    const bool good = holds_state(n, store, last);
    wdb_store_abandon(store);
    return good;
}

static bool check(void *context, struct sim_env *env,
                  const struct sim_state *state)
{
    struct notes *n = context;
    int rc;
    if (n->live != NULL) {
        n->durable = wdb_log_durable(wdb_store_log(n->live));
    }
    n->complaint[0] = '\0';
    struct wdb_store *store = open_again(n, env, DIR_NAME, &rc);
    if (store == NULL) {
        crash_store_complain(n, "it does not open", (uint64_t)-rc, 0);
        return false;
    }
    const uint64_t last = wdb_log_index_last(wdb_store_log(store));
    bool good = true;
    if (last < n->durable) {
        crash_store_complain(n, "it ends at entry", last, n->durable);
        good = false;
    }
    if (good && n->truncates) {
        good = crash_store_check_base(n, wdb_store_log(store)) &&
               check_committed(n, store, last);
    }
    good = good && holds_state(n, store, last);
    if (good && state->seed % 4 == 0) {
        good = goes_on(n, env, store, last);
    } else {
        wdb_store_abandon(store);
    }
    for (uint32_t i = 0; good && i < n->backup_count; i++) {
        /* Old ones seldom: nothing happens to them. */
        if (i + 1 == n->backup_count || state->seed % 64 == 1) {
            good = check_backup(n, env, i);
        }
    }
    return good;
}

static void recover(void *context, struct sim_env *env)
{
    struct notes *n = context;
    int rc;
    struct wdb_store *store = open_again(n, env, DIR_NAME, &rc);
    if (store != NULL) {
        (void)wdb_store_step(store);
        wdb_store_close(store);
    }
}

/* --- running ---------------------------------------------------------------
 */

struct tally {
    uint64_t seed, states, operations, failures;
    uint64_t state_max;
    uint32_t mutations;
    bool verbose;
    struct sim_state failure;
    bool has_state;
    char complaint[400];
};

/* All states of one seed; false if something is wrong. */
static bool run_seed(struct tally *t)
{
    struct notes *n = calloc(1, sizeof(*n));
    wdb_assert(n != NULL);
    wdb_random_seed(&n->random, t->seed);
    store_model_init(&n->model, t->seed + 1);
    n->mutations = t->mutations;
    draw_options(n);
    struct sim_disk *disk = sim_disk_new();
    const uint64_t left = t->state_max - t->states;
    const struct sim_explore explore = {
        .disk = disk,
        .seed = t->seed,
        .states_per_policy = 1 + (uint32_t)crash_store_below(n, 2),
        .op_first = 1 + crash_store_below(n, 16),
        .op_stride = 3 + crash_store_below(n, 16),
        .state_count_max = left < STATES_OF_A_SEED ? left : STATES_OF_A_SEED,
        .workload = workload,
        .check = check,
        .recover = recover,
        .context = n,
    };
    struct sim_explore_result result;
    sim_explore(&explore, &result);
    t->states += result.state_count;
    t->operations += result.op_count;
    t->failures += result.failure_count + n->broken;
    t->has_state = result.failure_count > 0;
    t->failure = result.failure;
    snprintf(t->complaint, sizeof(t->complaint), "%s",
             n->complaint[0] != '\0' ? n->complaint
                                     : "the workload itself failed");
    if (t->verbose) {
        printf("seed %" PRIu64 ": %" PRIu64 " operations, %" PRIu64 " states\n",
               t->seed, result.op_count, result.state_count);
    }
    const bool good = result.failure_count == 0 && !n->broken;
    sim_disk_free(disk);
    store_model_release(&n->model);
    free(n);
    return good;
}

static void print_failure(const struct tally *t)
{
    char state[200] = "no crash";
    if (t->has_state) {
        sim_state_print(&t->failure, state, sizeof(state));
    }
    printf("FAILED crash_store: seed %" PRIu64 ", %s: %s\n", t->seed, state,
           t->complaint);
}

static bool run(struct tally *t)
{
    while (t->states < t->state_max) {
        if (!run_seed(t)) {
            return false;
        }
        t->seed++;
    }
    return true;
}

#ifdef WDB_MUTATIONS
static const struct {
    const char *name;
    uint32_t mutation;
} mutations[] = {
#define MUTATION(name, bit) {#name, WDB_MUTATION_##name},
    WDB_STORE_MUTATIONS(MUTATION)
#undef MUTATION
};

/* In a process of its own: a broken rule may well end in an assertion. */
static bool is_caught(const char *name, uint32_t mutation,
                      const struct tally *start)
{
    fflush(stdout);
    const pid_t pid = fork();
    if (pid == 0) {
        struct tally t = *start;
        t.mutations = mutation;
        if (!t.verbose && freopen("/dev/null", "w", stderr) == NULL) {
            _exit(2);
        }
        const bool good = run(&t);
        char state[200] = "in the workload";
        if (t.has_state) {
            sim_state_print(&t.failure, state, sizeof(state));
        }
        if (!good) {
            printf("ok mutation_%s: state %" PRIu64 ", seed %" PRIu64
                   ", %s: %s\n",
                   name, t.states, t.seed, state, t.complaint);
        }
        fflush(stdout);
        _exit(good ? 0 : 1);
    }
    int status = 0;
    wdb_assert(waitpid(pid, &status, 0) == pid);
    if (WIFSIGNALED(status)) {
        printf("ok mutation_%s: an assertion failed\n", name);
        return true;
    }
    if (WEXITSTATUS(status) == 0) {
        printf("FAILED mutation_%s: nobody noticed in %" PRIu64 " states\n",
               name, start->state_max);
    }
    return WEXITSTATUS(status) != 0;
}

static int run_mutations(const char *only, const struct tally *start)
{
    int passed = 0, failed = 0;
    for (size_t i = 0; i < WDB_COUNT(mutations); i++) {
        if (only == NULL || strcmp(only, mutations[i].name) == 0) {
            const bool caught =
                is_caught(mutations[i].name, mutations[i].mutation, start);
            passed += caught;
            failed += !caught;
        }
    }
    printf("%d passed, %d failed\n", passed, failed);
    return failed == 0 && passed > 0 ? 0 : 1;
}
#else
static int run_mutations(const char *only, const struct tally *start)
{
    (void)only;
    (void)start;
    printf("no mutations in this build (WDB_MUTATIONS)\n");
    return 0;
}
#endif

int main(int argc, char **argv)
{
    /* WDB_TEST_SEED counts slices of a long run: far apart. */
    struct tally t = {.seed =
                          1 + (test_number("WDB_TEST_SEED", 1) - 1) * 100000,
                      .state_max = 20000 * test_number("WDB_TEST_ROUNDS", 1)};
    bool json = false, mutate = false, given = false;
    const char *only = NULL;
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (int i = 1; i < argc; i++) {
        const bool more = i + 1 < argc;
        if (strcmp(argv[i], "--states") == 0 && more) {
            t.state_max = strtoull(argv[++i], NULL, 0);
            given = true;
        } else if (strcmp(argv[i], "--seed") == 0 && more) {
            t.seed = strtoull(argv[++i], NULL, 0);
        } else if (strcmp(argv[i], "--json") == 0) {
            json = true;
        } else if (strcmp(argv[i], "-v") == 0) {
            t.verbose = true;
        } else if (strcmp(argv[i], "--mutation") == 0 && more) {
            mutate = true;
            only = argv[++i];
        } else if (strcmp(argv[i], "--mutations") == 0 ||
                   strcmp(argv[i], "-m") == 0) {
            mutate = true;
        } else {
            fprintf(stderr, "usage: sim_crash_store [--states N] [--seed S] "
                            "[--json] [-v] [--mutation NAME | --mutations]\n");
            return 2;
        }
    }
    if (mutate) {
        t.state_max = given ? t.state_max : 200000;
        return run_mutations(only, &t);
    }
    const uint64_t first = t.seed;
    const uint64_t begin = test_now_ns();
    const bool good = run(&t);
    const double seconds = (double)(test_now_ns() - begin) / 1e9;
    if (!good) {
        print_failure(&t);
    }
    if (json) {
        printf("{\"states\": %" PRIu64 ", \"operations\": %" PRIu64
               ", \"failures\": %" PRIu64 ", \"seed\": %" PRIu64
               ", \"next_seed\": %" PRIu64 ", \"seconds\": %.1f}\n",
               t.states, t.operations, t.failures, first, t.seed, seconds);
    } else {
        if (good) {
            printf("ok crash_store (%" PRIu64 " operations, %" PRIu64
                   " states, %.0f a second, next seed %" PRIu64 ")\n",
                   t.operations, t.states, (double)t.states / seconds, t.seed);
        }
        printf("%d passed, %d failed\n", good, !good);
    }
    return good ? 0 : 1;
}
