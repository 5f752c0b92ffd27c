/*
 * main_crash_install.c - power cuts while snapshots are installed.
 *
 *   sim_crash_install [--states N] [--seed S] [-v] [-m]
 *
 * A workload is drawn from each seed, S, S + 1, ... until N states were looked
 * at. A follower writes, commits, merges; a snapshot of another store, which is
 * ahead of it, comes into its directory and is installed; it writes on; and so
 * forth. After its file operations the disk crashes in every way that sim_disk.h
 * knows, in half of the cases again during recovery. What must hold then:
 *
 *   - the store opens, and shows the old state or the new one, as a whole: the
 *     new one if the installation was reported done;
 *   - nothing durable is missing, nothing is committed that was not, and what is
 *     not committed can be applied;
 *   - nothing of the transfer is left in the directory;
 *   - a merge of everything and another reopening change nothing.
 *
 * -m, in a build with WDB_MUTATIONS: break one rule of the log after the other
 * (log/mutations.h), and show that it is noticed.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/assert.h"
#include "lib/test.h"
#include "log/mutations.h"
#include "log/names.h"
#include "sim/sim_explore.h"
#include "sim/snapshot_image.h"
#include "sim/store_model.h"
#include "walkerdb.h"

#define DIR_NAME         "/db"
#define INCOMING         DIR_NAME "/" WDB_NAME_INCOMING
#define HISTORIES_MAX    5
#define STATES_OF_A_SEED 8000

/* What the follower holds between two installations: a history of its own. */
struct history {
    struct store_model model;
    struct snapshot_image image; /* that it began with; the first: none */
};

struct notes {
    struct wdb_store_options options;
    struct wdb_random random;
    uint32_t mutations;
    struct history histories[HISTORIES_MAX];
    uint32_t history;       /* the one that is going on */
    bool installing;        /* the next one may be there already */
    struct wdb_store *live; /* what it promises now */
    uint64_t durable;       /* must be there */
    uint64_t committed;     /* more must not be served */
    bool pending;           /* the model's next batch may be in the log */
    char complaint[400];
    bool broken; /* the workload itself failed */
};

static uint64_t below(struct notes *n, uint64_t bound)
{
    return wdb_random_below(&n->random, bound);
}

static void complain(struct notes *n, const char *what, uint64_t found,
                     uint64_t expected)
{
    if (n->complaint[0] == '\0') {
        snprintf(n->complaint, sizeof(n->complaint),
                 "%s: %" PRIu64 ", expected %" PRIu64, what, found, expected);
    }
}

static struct history *current(struct notes *n)
{
    return &n->histories[n->history];
}

static void draw_model(struct notes *n, struct store_model *model)
{
    static const uint32_t sizes[] = {60, 400, 2500};
    model->value_size_max = sizes[below(n, 3)];
    model->has_databases = !n->options.ordered && below(n, 2) == 0;
    model->has_objects = below(n, 2) == 0;
    model->has_expiry = below(n, 3) != 0;
    model->has_strings = !model->has_objects || below(n, 3) != 0;
}

static void draw_options(struct notes *n)
{
    wdb_store_options_init(&n->options);
    struct wdb_log_options *log = &n->options.log;
    log->dir = DIR_NAME;
    log->create = true;
    log->background_thread = false;
    log->segment_size = WDB_SEGMENT_SIZE_MIN;
    log->sync_policy = WDB_SYNC_ALWAYS;
    log->manual_commit = true;
    n->options.stripe_count = 1 + 3 * (uint32_t)below(n, 2);
    n->options.load_threads = 1;
    n->options.hints = below(n, 4) != 0;
    n->options.ordered = below(n, 4) == 0;
    n->options.merge_enabled = below(n, 3) != 0;
    n->options.merge_rate = 0;
    n->options.merge_ratio = 0.1;
#ifdef WDB_MUTATIONS
    log->mutations = n->mutations;
#endif
}

/* --- the workload ----------------------------------------------------------
 */

struct work {
    struct notes *notes;
    struct sim_env *env;
    struct wdb_store *store;
    struct wdb_batch batch;
};

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

static bool commit_some(struct work *w)
{
    struct notes *n = w->notes;
    n->pending = true;
    const int rc = store_model_step(&current(n)->model, w->store, &w->batch,
                                    1 + (uint32_t)below(n, 6));
    n->pending = false;
    return rc == 0;
}

static void set_committed(struct work *w, bool all)
{
    struct notes *n = w->notes;
    struct wdb_log *log = wdb_store_log(w->store);
    const uint64_t committed = wdb_log_committed(log);
    const uint64_t durable = wdb_log_durable(log);
    if (durable > committed) {
        n->committed =
            all ? durable : committed + 1 + below(n, durable - committed);
        wdb_store_set_committed(w->store, n->committed);
        wdb_log_set_retained(log, n->committed);
    }
}

static bool write_some(struct work *w)
{
    struct notes *n = w->notes;
    struct wdb_log *log = wdb_store_log(w->store);
    bool good = true;
    for (uint64_t i = below(n, 4); good && i > 0; i--) {
        good = commit_some(w);
    }
    learn(w);
    if (good && below(n, 3) != 0) {
        good = wdb_log_flush(log) == 0;
    }
    sim_env_advance_ms(w->env, below(n, 700));
    for (uint64_t i = below(n, 4); i > 0 && wdb_log_step(log); i--) {
    }
    for (uint64_t i = below(n, 6); i > 0 && wdb_store_step(w->store); i--) {
    }
    learn(w);
    if (below(n, 2) == 0) {
        set_committed(w, false);
    }
    if (good && below(n, 10) == 0) {
        good = wdb_log_roll(log) == 0;
    }
    return good;
}

/* Somewhere else: a store that is ahead of this index, and its snapshot. */
static bool make_leader(struct notes *n, struct history *history,
                        uint64_t index)
{
    struct sim_disk *disk = sim_disk_new();
    struct sim_env *env = sim_env_new(disk, below(n, UINT32_MAX), NULL);
    struct wdb_store_options options = n->options;
    struct wdb_store *store;
    struct wdb_batch batch;
    options.log.env = sim_env_base(env);
#ifdef WDB_MUTATIONS
    options.log.mutations = 0;
#endif
    int rc = wdb_store_open(&options, &store, NULL);
    wdb_assert(rc == 0);
    wdb_batch_init(&batch);
    store_model_init(&history->model, below(n, UINT32_MAX));
    draw_model(n, &history->model);
    struct wdb_log *log = wdb_store_log(store);
    const uint64_t end = index + 1 + below(n, 10);
    while (rc == 0 && wdb_log_index_last(log) < end) {
        rc = store_model_step(&history->model, store, &batch,
                              1 + (uint32_t)below(n, 6));
        if (rc == 0) {
            rc = wdb_log_sync(log);
        }
        wdb_store_set_committed(store, wdb_log_durable(log));
        wdb_log_set_retained(log, wdb_log_durable(log));
        (void)wdb_log_step(log);
        (void)wdb_store_step(store);
    }
    if (rc == 0 && below(n, 3) == 0) {
        wdb_log_set_retained(log, wdb_log_durable(log) + 1);
        rc = wdb_store_merge(store);
    }
    if (rc == 0) {
        rc = snapshot_image_take(&history->image, store);
    }
    wdb_store_close(store);
    wdb_batch_release(&batch);
    sim_env_free(env);
    sim_disk_free(disk);
    return rc == 0;
}

static bool install(struct work *w)
{
    struct notes *n = w->notes;
    struct wdb_log *log = wdb_store_log(w->store);
    if (n->history + 1 == HISTORIES_MAX) {
        return true;
    }
    wdb_log_hold(log, true);
    if (wdb_log_sync(log) != 0) {
        return false;
    }
    set_committed(w, true);
    learn(w);
    struct history *next = &n->histories[n->history + 1];
    if (!make_leader(n, next, wdb_log_index_last(log))) {
        return false;
    }
    snapshot_image_remove(sim_env_base(w->env), INCOMING);
    if (snapshot_image_write(&next->image, sim_env_base(w->env), INCOMING) !=
        0) {
        return false;
    }
    n->live = NULL;
    n->installing = true;
    const int rc =
        wdb_store_install(w->store, INCOMING, next->image.index,
                          next->image.term, wdb_slice("base", 4), NULL, NULL);
    n->installing = false;
    if (rc != 0) {
        complain(n, "error of the installation", (uint64_t)-rc, 0);
        return false;
    }
    n->history++;
    n->committed = next->image.index;
    n->live = w->store;
    learn(w);
    if (below(n, 2) == 0) {
        snapshot_image_remove(sim_env_base(w->env), INCOMING);
    }
    wdb_log_hold(log, false);
    return store_model_check(&next->model, w->store,
                             next->model.state_count - 1);
}

/* Apply what is not committed. */
static bool apply_rest(struct wdb_store *store)
{
    struct wdb_log *log = wdb_store_log(store);
    const uint64_t last = wdb_log_index_last(log);
    int rc = 0;
    for (uint64_t i = wdb_log_committed(log) + 1; rc == 0 && i <= last; i++) {
        rc = wdb_store_apply_entry(store, i);
    }
    return rc == 0;
}

static bool reopen(struct work *w)
{
    struct notes *n = w->notes;
    const uint64_t appended = wdb_log_appended(wdb_store_log(w->store));
    n->live = NULL;
    if (below(n, 2) == 0) {
        wdb_store_close(w->store);
    } else {
        wdb_store_abandon(w->store);
        store_model_truncate(&current(n)->model, appended + 1);
    }
    w->store = NULL;
    if (!open_store(w) || !apply_rest(w->store)) {
        complain(n, "reopening failed at index", appended, appended);
        return false;
    }
    return store_model_check(&current(n)->model, w->store,
                             current(n)->model.state_count - 1);
}

static void workload(void *context, struct sim_env *env)
{
    struct notes *n = context;
    struct work w = {.notes = n, .env = env};
    wdb_batch_init(&w.batch);
    bool good = open_store(&w);
    for (int turn = 0; good && turn < 40; turn++) {
        good = write_some(&w);
        if (good && below(n, 10) == 0) {
            good = install(&w);
        }
        if (good && below(n, 14) == 0) {
            good = reopen(&w);
        }
    }
    n->live = NULL;
    if (w.store != NULL) {
        wdb_store_close(w.store);
    }
    wdb_batch_release(&w.batch);
    n->broken = !good;
}

/* --- the check -------------------------------------------------------------
 */

static struct wdb_store *open_again(struct notes *n, struct sim_env *env,
                                    int *rc_out)
{
    struct wdb_store_options options = n->options;
    struct wdb_store *store = NULL;
    char *message = NULL;
    options.log.env = sim_env_base(env);
    *rc_out = wdb_store_open(&options, &store, &message);
    if (*rc_out != 0 && message != NULL && n->complaint[0] == '\0') {
        snprintf(n->complaint, sizeof(n->complaint), "%s", message);
    }
    free(message);
    return *rc_out == 0 ? store : NULL;
}

/* The store shows what it held when its log ended at `index`. */
static bool holds_state(struct notes *n, const struct history *history,
                        struct wdb_store *store, uint64_t index)
{
    const struct store_model *model = &history->model;
    const uint32_t last = model->state_count - 1;
    const uint32_t number = store_model_at(model, index);
    if (n->pending && history == current(n) && number == last &&
        index >= model->states[last].index) {
        wdb_store_lock_all(store);
        const bool ok = store_model_check_next(model, store, true);
        wdb_store_unlock_all(store);
        if (ok) {
            return true;
        }
    }
    if (!store_model_check(model, store, number)) {
        complain(n, "not the state of batch", number, last);
        return false;
    }
    return true;
}

/* Which history a log with this last index belongs to; NULL: to none that it
 * may belong to. */
static struct history *history_of(struct notes *n, uint64_t last)
{
    struct history *next = n->installing ? current(n) + 1 : NULL;
    if (next != NULL && last >= next->image.index) {
        return last == next->image.index ? next : NULL;
    }
    return n->history == 0 || last >= current(n)->image.index ? current(n)
                                                              : NULL;
}

static bool goes_on(struct notes *n, const struct history *history,
                    struct sim_env *env, struct wdb_store *store)
{
    struct wdb_log *log = wdb_store_log(store);
    const uint64_t last = wdb_log_index_last(log);
    int rc = wdb_log_sync(log);
    wdb_store_set_committed(store, last);
    wdb_log_set_retained(log, last + 1);
    if (rc == 0) {
        rc = wdb_store_merge(store);
    }
    if (rc != 0) {
        complain(n, "error of merge", (uint64_t)-rc, 0);
        wdb_store_abandon(store);
        return false;
    }
    bool good = holds_state(n, history, store, last);
    wdb_store_abandon(store);
    store = open_again(n, env, &rc);
    if (store == NULL) {
        complain(n, "second opening", (uint64_t)-rc, 0);
        return false;
    }
    good = good && apply_rest(store) && holds_state(n, history, store, last);
    wdb_store_abandon(store);
    return good;
}

static bool check_store(struct notes *n, struct history *history,
                        struct wdb_store *store, struct sim_env *env)
{
    struct wdb_log *log = wdb_store_log(store);
    const uint64_t last = wdb_log_index_last(log);
    const uint64_t committed = wdb_log_committed(log);
    const uint64_t allowed =
        history == current(n) ? n->committed : history->image.index;
    if (committed > allowed ||
        (history != n->histories && committed < history->image.index)) {
        complain(n, "committed after recovery", committed, allowed);
        return false;
    }
    if (snapshot_image_leftovers(sim_env_base(env), DIR_NAME) != 0) {
        complain(n, "directories that are left", 1, 0);
        return false;
    }
    if (wdb_log_base(log).size != (history == n->histories ? 0 : 4)) {
        complain(n, "size of the base", wdb_log_base(log).size, 4);
        return false;
    }
    return holds_state(n, history, store, committed) && apply_rest(store) &&
           holds_state(n, history, store, last);
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
    struct wdb_store *store = open_again(n, env, &rc);
    if (store == NULL) {
        complain(n, "it does not open", (uint64_t)-rc, 0);
        return false;
    }
    const uint64_t last = wdb_log_index_last(wdb_store_log(store));
    struct history *history = history_of(n, last);
    bool good = history != NULL && last >= n->durable;
    if (!good) {
        complain(n, "it ends at entry", last, n->durable);
    }
    good = good && check_store(n, history, store, env);
    if (good && state->seed % 4 == 0) {
        return goes_on(n, history, env, store);
    }
    wdb_store_abandon(store);
    return good;
}

static void recover(void *context, struct sim_env *env)
{
    struct notes *n = context;
    int rc;
    struct wdb_store *store = open_again(n, env, &rc);
    if (store != NULL) {
        (void)wdb_store_step(store);
        wdb_store_close(store);
    }
}

/* --- running ---------------------------------------------------------------
 */

struct tally {
    uint64_t seed, states, operations, installs;
    uint64_t state_max;
    uint32_t mutations;
    bool verbose;
};

static void print_failure(const struct tally *t, const struct notes *n,
                          const struct sim_explore_result *result)
{
    char state[200] = "no crash";
    if (result->failure_count > 0) {
        sim_state_print(&result->failure, state, sizeof(state));
    }
    printf("FAILED crash_install: seed %" PRIu64 ", %s: %s\n", t->seed, state,
           n->complaint[0] != '\0' ? n->complaint
                                   : "the workload itself failed");
}

/* All states of one seed; false if something is wrong. */
static bool run_seed(struct tally *t)
{
    struct notes *n = calloc(1, sizeof(*n));
    wdb_assert(n != NULL);
    wdb_random_seed(&n->random, t->seed);
    n->mutations = t->mutations;
    draw_options(n);
    store_model_init(&n->histories[0].model, t->seed + 1);
    draw_model(n, &n->histories[0].model);
    struct sim_disk *disk = sim_disk_new();
    const uint64_t left = t->state_max - t->states;
    const struct sim_explore explore = {
        .disk = disk,
        .seed = t->seed,
        .states_per_policy = 1,
        .op_first = 1 + below(n, 8),
        .op_stride = 1 + below(n, 8),
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
    t->installs += n->history;
    if (t->verbose) {
        printf("seed %" PRIu64 ": %" PRIu64 " operations, %" PRIu64
               " states, %" PRIu32 " installations\n",
               t->seed, result.op_count, result.state_count, n->history);
    }
    const bool good = result.failure_count == 0 && !n->broken;
    if (!good) {
        print_failure(t, n, &result);
    }
    sim_disk_free(disk);
    for (uint32_t i = 0; i < HISTORIES_MAX; i++) {
        store_model_release(&n->histories[i].model);
        snapshot_image_release(&n->histories[i].image);
    }
    free(n);
    return good;
}

static bool run(struct tally *t)
{
    bool good = true;
    while (good && t->states < t->state_max) {
        good = run_seed(t);
        t->seed += good;
    }
    return good;
}

#ifdef WDB_MUTATIONS
static const struct {
    const char *name;
    uint32_t mutation;
} mutations[] = {
    {"INSTALL_SKIP_SYNC", WDB_MUTATION_INSTALL_SKIP_SYNC},
    {"INSTALL_SKIP_MANIFEST", WDB_MUTATION_INSTALL_SKIP_MANIFEST},
    {"INSTALL_UNLINK_EARLY", WDB_MUTATION_INSTALL_UNLINK_EARLY},
    {"INSTALL_OLD_INDEX", WDB_MUTATION_INSTALL_OLD_INDEX},
    {"INSTALL_SKIP_SWEEP", WDB_MUTATION_INSTALL_SKIP_SWEEP},
};

/* In a process of its own: a broken rule may well end in an assertion. */
static bool is_caught(size_t number, const struct tally *start)
{
    fflush(stdout);
    const pid_t pid = fork();
    if (pid == 0) {
        struct tally t = *start;
        t.mutations = mutations[number].mutation;
        if (!t.verbose && (freopen("/dev/null", "w", stderr) == NULL ||
                           freopen("/dev/null", "w", stdout) == NULL)) {
            _exit(2);
        }
        const bool good = run(&t);
        fflush(stdout);
        _exit(good ? 0 : 1);
    }
    int status = 0;
    wdb_assert(waitpid(pid, &status, 0) == pid);
    const bool caught = WIFSIGNALED(status) || WEXITSTATUS(status) == 1;
    printf("%s mutation_%s\n", caught ? "ok" : "FAILED",
           mutations[number].name);
    return caught;
}

static int run_mutations(const struct tally *start)
{
    int passed = 0, failed = 0;
    for (size_t i = 0; i < WDB_COUNT(mutations); i++) {
        const bool caught = is_caught(i, start);
        passed += caught;
        failed += !caught;
    }
    printf("%d passed, %d failed\n", passed, failed);
    return failed == 0 ? 0 : 1;
}
#else
static int run_mutations(const struct tally *start)
{
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
    bool mutate = false;
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "-m") == 0) {
            mutate = true;
        } else if (strcmp(argv[i], "--states") == 0 && i + 1 < argc) {
            t.state_max = strtoull(argv[++i], NULL, 0);
        } else if (strcmp(argv[i], "--seed") == 0 && i + 1 < argc) {
            t.seed = strtoull(argv[++i], NULL, 0);
        } else if (strcmp(argv[i], "-v") == 0) {
            t.verbose = true;
        } else {
            fprintf(
                stderr,
                "usage: sim_crash_install [--states N] [--seed S] [-v] [-m]\n");
            return 2;
        }
    }
    if (mutate) {
        return run_mutations(&t);
    }
    const uint64_t begin = test_now_ns();
    const bool good = run(&t);
    const double seconds = (double)(test_now_ns() - begin) / 1e9;
    if (good) {
        printf("ok crash_install (%" PRIu64 " operations, %" PRIu64
               " installations, %" PRIu64
               " states, %.0f a second, next seed %" PRIu64 ")\n",
               t.operations, t.installs, t.states, (double)t.states / seconds,
               t.seed);
    }
    printf("%d passed, %d failed\n", good, !good);
    return good ? 0 : 1;
}
