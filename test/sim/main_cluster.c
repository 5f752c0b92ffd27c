/*
 * main_cluster.c - clusters with clients, simulated from seeds.
 *
 *   sim_cluster [--seed S] [--count N] [--nodes N] [--no-faults] [-v|-vv] [--json]
 *   sim_cluster --mutation NAME | --mutations | -m | --list  [--seed S] [--count N]
 *
 * Each seed is one schedule: so many nodes, these clients, these faults at these
 * times (cluster.h). Without --seed the named regressions of seeds.txt come
 * first. A seed that fails is printed with the command that repeats it; -v then
 * shows what happened, line by line.
 *
 * --mutation breaks one rule of raft/, cmd/, log/ or store/ (in a build with
 * WDB_MUTATIONS), and exits with 0 if that is noticed within N seeds; -m does so
 * with three of them.
 */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/assert.h"
#include "cmd/mutations.h"
#include "lib/test.h"
#include "log/mutations.h"
#include "raft/mutations.h"
#include "sim/cluster.h"
#include "store/mutations.h"

#define COUNT_NORMAL   1500
#define COUNT_MUTATION 10000

struct settings {
    struct cluster_options options;
    uint64_t count;
    bool is_given, json, quiet;
    const char *mutation;
    bool mutations, list, some;
};

struct sums {
    uint64_t passed, failed;
    struct cluster_counters counters;
};

/* --- sums ------------------------------------------------------------------ */

static void add_numbers(uint64_t *to, const uint64_t *from, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        to[i] += from[i];
    }
}

static void add_counters(struct cluster_counters *to,
                         const struct cluster_counters *from)
{
    static_assert(sizeof(*to) % sizeof(uint64_t) == 0, "all of it is numbers");
    add_numbers((uint64_t *)to, (const uint64_t *)from,
                sizeof(*to) / sizeof(uint64_t));
}

static const char *const fault_names[] = {
#define CLUSTER_FAULT_X(name, text) text,
    CLUSTER_FAULTS(CLUSTER_FAULT_X)
#undef CLUSTER_FAULT_X
};

static const char *const sight_names[] = {
#define CLUSTER_SIGHT_X(name, text) text,
    CLUSTER_SIGHTS(CLUSTER_SIGHT_X)
#undef CLUSTER_SIGHT_X
};

static void take_net(struct cluster_counters *counters)
{
    uint64_t *faults = counters->faults;
    faults[CLUSTER_LOSS] = counters->net.lost;
    faults[CLUSTER_DUPLICATE] = counters->net.duplicated;
    faults[CLUSTER_DAMAGE] = counters->net.damaged;
    faults[CLUSTER_BREAK] = counters->net.breaks;
    faults[CLUSTER_GHOST] = counters->net.ghosts;
    faults[CLUSTER_MERGE] = counters->sights[CLUSTER_SAW_MERGED];
}

static void print_list(const char *title, const char *const *names,
                       const uint64_t *numbers, int count, bool json)
{
    printf(json ? "\"%s\":{" : "%s:", title);
    for (int i = 0; i < count; i++) {
        printf(json ? "%s\"%s\":%" PRIu64 : "%s%s %" PRIu64,
               i == 0 ? (json ? "" : " ") : (json ? "," : ", "), names[i],
               numbers[i]);
    }
    printf(json ? "}," : "\n");
}

static void print_sums(struct sums *sums, bool json)
{
    struct cluster_counters *counters = &sums->counters;
    take_net(counters);
    if (json) {
        printf("{");
    }
    print_list("faults", fault_names, counters->faults, CLUSTER_FAULT_COUNT,
               json);
    print_list("seen", sight_names, counters->sights, CLUSTER_SIGHT_COUNT,
               json);
    if (json) {
        printf("\"passed\":%" PRIu64 ",\"failed\":%" PRIu64
               ",\"events\":%" PRIu64 ",\"virtual_s\":%" PRIu64
               ",\"messages\":%" PRIu64 "}\n",
               sums->passed, sums->failed, counters->events,
               counters->virtual_ns / NS_PER_S, counters->net.delivered);
        return;
    }
    printf("%" PRIu64 " schedules, %" PRIu64 " s of virtual time, %" PRIu64
           " events, %" PRIu64 " messages\n",
           sums->passed + sums->failed, counters->virtual_ns / NS_PER_S,
           counters->events, counters->net.delivered);
    printf("%" PRIu64 " passed, %" PRIu64 " failed\n", sums->passed,
           sums->failed);
}

/* --- runs ------------------------------------------------------------------ */

static volatile uint64_t seed_now;

/* An assertion failed: say where. */
static void on_signal(int number)
{
    char text[100];
    const int size = snprintf(text, sizeof(text),
                              "\nFAILED cluster: seed %llu ended by signal "
                              "%d; repeat with sim_cluster --seed %llu -v\n",
                              (unsigned long long)seed_now, number,
                              (unsigned long long)seed_now);
    if (write(1, text, (size_t)size) < 0) {
        _exit(3);
    }
    signal(number, SIG_DFL);
    raise(number);
}

static bool run_seed(const struct settings *settings, uint64_t seed,
                     struct sums *sums)
{
    struct cluster *cluster = malloc(sizeof(*cluster));
    struct cluster_options options = settings->options;
    wdb_assert(cluster != NULL);
    options.seed = seed_now = seed;
    const bool good = cluster_run(cluster, &options);
    if (!good && !settings->quiet) {
        printf("FAILED cluster: seed %" PRIu64 ": %s\n%.*s", seed,
               cluster->failure, (int)cluster->details.size,
               cluster->details.size == 0
                   ? ""
                   : (const char *)cluster->details.data);
        printf("  repeat with: scripts/sim --seed %" PRIu64 "\n", seed);
    } else if (!good) {
        printf("seed %" PRIu64 ": %s\n", seed, cluster->failure);
    }
    add_counters(&sums->counters, &cluster->counters);
    sums->passed += good;
    sums->failed += !good;
    cluster_release(cluster);
    free(cluster);
    return good;
}

/* Seeds that failed once, a number at the beginning of each line. */
static void run_regressions(const struct settings *settings, struct sums *sums)
{
    char path[1000], line[400];
    snprintf(path, sizeof(path), "%s/../sim/seeds.txt", test_golden_dir());
    FILE *file = fopen(path, "r");
    if (file == NULL) {
        return;
    }
    while (fgets(line, sizeof(line), file) != NULL) {
        if (line[0] >= '0' && line[0] <= '9') {
            (void)run_seed(settings, strtoull(line, NULL, 10), sums);
        }
    }
    fclose(file);
}

static int run(const struct settings *settings)
{
    struct sums sums = {0};
    if (!settings->is_given) {
        run_regressions(settings, &sums);
    }
    for (uint64_t i = 0; i < settings->count; i++) {
        (void)run_seed(settings, settings->options.seed + i, &sums);
    }
    print_sums(&sums, settings->json);
    return sums.failed == 0 ? 0 : 1;
}

/* --- mutations --------------------------------------------------------------- */

#ifdef WDB_MUTATIONS
enum layer {
    LAYER_LOG,
    LAYER_STORE,
    LAYER_RAFT,
    LAYER_CMD
};

/* Those of log/ and store/ that a cluster can notice without looking at crashes
 * of each operation. */
static const struct {
    const char *name;
    enum layer layer;
    uint32_t bit;
} mutations[] = {
#define MUTATION(name, bit) {#name, LAYER_RAFT, (uint32_t)1 << (bit)},
    WDB_RAFT_MUTATIONS(MUTATION)
#undef MUTATION
#define MUTATION(name, bit) {#name, LAYER_CMD, (uint32_t)1 << (bit)},
        WDB_CMD_MUTATIONS(MUTATION)
#undef MUTATION
            {"LOG_SKIP_BASE", LAYER_LOG, WDB_MUTATION_SKIP_BASE},
    {"LOG_SKIP_SYNC", LAYER_LOG, WDB_MUTATION_SKIP_SYNC},
    {"LOG_SKIP_TRUNCATION", LAYER_LOG, WDB_MUTATION_SKIP_TRUNCATION},
    {"STORE_UNDO_FORWARD", LAYER_STORE, WDB_MUTATION_UNDO_FORWARD},
    {"STORE_UNDO_SKIP_EXPIRY", LAYER_STORE, WDB_MUTATION_UNDO_SKIP_EXPIRY},
    {"STORE_UNDO_SKIP_DATABASES", LAYER_STORE,
     WDB_MUTATION_UNDO_SKIP_DATABASES},
    {"STORE_UNDO_DROP_EARLY", LAYER_STORE, WDB_MUTATION_UNDO_DROP_EARLY},
    {"STORE_LOAD_UNCOMMITTED", LAYER_STORE, WDB_MUTATION_LOAD_UNCOMMITTED},
    {"STORE_MERGE_SKIP_COMMITTED", LAYER_STORE,
     WDB_MUTATION_MERGE_SKIP_COMMITTED},
    {"STORE_UNDO_PLAIN_FIRST", LAYER_STORE, WDB_MUTATION_UNDO_PLAIN_FIRST},
    {"STORE_DATABASES_DROP", LAYER_STORE, WDB_MUTATION_DATABASES_DROP},
    {"STORE_EXPIRE_SKIP_FOLD", LAYER_STORE, WDB_MUTATION_EXPIRE_SKIP_FOLD},
    {"STORE_LOAD_BY_ID", LAYER_STORE, WDB_MUTATION_LOAD_BY_ID},
};

/* Nobody noticed these in 5,000 seeds or more; why, as far as it is known. They are still
 * there to be run by name. */
static const struct {
    const char *name, *reason;
} unnoticed[] = {
    {"CHANGE_NOT_FIRST", "the core's mistake is repaired by G11, too"},
    {"RESULT_ANY_TERM", "results of older terms are rejections (G1)"},
    {"APPEND_OLD_TERM", "the core rejects it, and the result is dropped (G1)"},
    {"SNAPSHOT_UNSYNCED", "the installation syncs each file again"},
    {"ROUND_ANY_TERM", "answers to heartbeats tell of the term just before"},
};

static const char *why_unnoticed(const char *name)
{
    for (size_t i = 0; i < WDB_COUNT(unnoticed); i++) {
        if (strcmp(unnoticed[i].name, name) == 0) {
            return unnoticed[i].reason;
        }
    }
    return NULL;
}

/* In a process of its own: a broken rule may well end in an assertion. */
static bool is_caught(size_t number, const struct settings *settings)
{
    struct settings mutated = *settings;
    struct cluster_options *options = &mutated.options;
    uint32_t *sets[] = {&options->log_mutations, &options->store_mutations,
                        &options->raft_mutations, &options->cmd_mutations};
    *sets[mutations[number].layer] |= mutations[number].bit;
    mutated.quiet = !options->trace;
    fflush(stdout);
    const pid_t pid = fork();
    if (pid == 0) {
        struct sums sums = {0};
        if (mutated.quiet && freopen("/dev/null", "w", stderr) == NULL) {
            _exit(2);
        }
        printf("mutation %s: ", mutations[number].name);
        for (uint64_t i = 0; i < settings->count; i++) {
            if (!run_seed(&mutated, options->seed + i, &sums)) {
                fflush(stdout);
                _exit(1);
            }
        }
        _exit(0);
    }
    int status = 0;
    wdb_assert(waitpid(pid, &status, 0) == pid);
    const bool caught = WIFSIGNALED(status) || WEXITSTATUS(status) == 1;
    printf("%s mutation_%s%s\n", caught ? "ok" : "FAILED",
           mutations[number].name, caught ? "" : ": nobody noticed");
    return caught;
}

static int run_mutations(const struct settings *settings)
{
    int passed = 0, failed = 0;
    for (size_t i = 0; i < WDB_COUNT(mutations); i++) {
        if (settings->some &&
            strcmp(mutations[i].name, "REVERT_NOTHING") != 0 &&
            strcmp(mutations[i].name, "UNKNOWN_AS_FAILED") != 0 &&
            strcmp(mutations[i].name, "PERSISTED_EARLY") != 0) {
            continue;
        }
        const char *reason = why_unnoticed(mutations[i].name);
        if (settings->list) {
            printf("%s\n", mutations[i].name);
        } else if (settings->mutation == NULL && reason != NULL) {
            printf("not run: mutation_%s: %s\n", mutations[i].name, reason);
        } else if (settings->mutation == NULL ||
                   strcmp(settings->mutation, mutations[i].name) == 0) {
            const bool caught = is_caught(i, settings);
            passed += caught;
            failed += !caught;
        }
    }
    if (settings->list) {
        return 0;
    }
    printf("%d passed, %d failed\n", passed, failed);
    return failed == 0 && passed > 0 ? 0 : 1;
}
#else
static int run_mutations(const struct settings *settings)
{
    (void)settings;
    printf("no mutations in this build (WDB_MUTATIONS)\n");
    return 0;
}
#endif

/* --- arguments ----------------------------------------------------------------- */

static bool parse(int argc, char **argv, struct settings *settings)
{
    for (int i = 1; i < argc; i++) {
        const char *name = argv[i];
        const char *value = i + 1 < argc ? argv[i + 1] : NULL;
        if (strcmp(name, "--seed") == 0 && value != NULL) {
            settings->options.seed = strtoull(argv[++i], NULL, 0);
            settings->count = settings->is_given ? settings->count : 1;
            settings->is_given = true;
        } else if (strcmp(name, "--count") == 0 && value != NULL) {
            settings->count = strtoull(argv[++i], NULL, 0);
            settings->is_given = true;
        } else if (strcmp(name, "--nodes") == 0 && value != NULL) {
            settings->options.node_count =
                (uint32_t)strtoul(argv[++i], NULL, 0);
        } else if (strcmp(name, "--mutation") == 0 && value != NULL) {
            settings->mutation = argv[++i];
        } else if (strcmp(name, "--mutations") == 0) {
            settings->mutations = true;
        } else if (strcmp(name, "-m") == 0) {
            settings->mutations = settings->some = true;
        } else if (strcmp(name, "--list") == 0) {
            settings->list = true;
        } else if (strcmp(name, "--no-faults") == 0) {
            settings->options.no_faults = true;
        } else if (strcmp(name, "--json") == 0) {
            settings->json = true;
        } else if (strcmp(name, "-v") == 0) {
            settings->options.trace = true;
        } else if (strcmp(name, "-vv") == 0) {
            settings->options.trace = true;
            settings->options.trace_messages = true;
        } else {
            return false;
        }
    }
    return settings->options.node_count <= 7;
}

int main(int argc, char **argv)
{
    /* WDB_TEST_SEED counts slices of a long run: far apart. */
    struct settings settings = {
        .options.seed = 1 + (test_number("WDB_TEST_SEED", 1) - 1) * 10000000,
        .count = COUNT_NORMAL * test_number("WDB_TEST_ROUNDS", 1),
    };
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (!parse(argc, argv, &settings)) {
        fprintf(stderr,
                "usage: sim_cluster [--seed S] [--count N] [--nodes N] "
                "[--no-faults] [-v|-vv] [--json]\n"
                "       sim_cluster --mutation NAME | --mutations | --list\n");
        return 2;
    }
    signal(SIGABRT, on_signal);
    signal(SIGSEGV, on_signal);
    if (settings.mutation != NULL || settings.mutations || settings.list) {
        settings.count = settings.is_given ? settings.count : COUNT_MUTATION;
        return run_mutations(&settings);
    }
    return run(&settings);
}
