/*
 * walkerdb-bench.c - what one operation of the engine costs, in this process,
 * beside a bare write() a record and a bare pread(), without any index.
 *
 * A round makes a new database in --dir, runs every phase over it, and removes
 * it. Floors and phases alternate within a round, so that they see the same
 * machine; what is printed are medians over the rounds, in ns per operation.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/random.h"
#include "walkerdb.h"

#define KEY_FORMAT         "bitcask-go-key-%09d"
#define KEY_SIZE           24
#define FLOOR_RECORD_EXTRA 44 /* header, key and padding around a value */
#define ROUNDS_MAX         101
#define THREADS_MAX        64

#define PHASES(X)                                                              \
    X(floor_write, "one write() a record, no index")                           \
    X(put, "put, new sequential keys, values prepared")                        \
    X(put_overwrite, "put, existing random keys")                              \
    X(floor_pread, "one pread() of a record at random")                        \
    X(get_hit, "get, existing random keys, copied")                            \
    X(get_in_place, "get, existing random keys, in place")                     \
    X(get_miss, "get, absent keys")                                            \
    X(mixed, "half get, half put, existing random keys")                       \
    X(original_put, "put as the original measures: value made in the loop")    \
    X(original_get, "get as the original measures: nearly always absent")      \
    X(original_delete, "delete as the original measures: nearly always "       \
                       "absent")                                               \
    X(delete_hit, "delete, existing keys in random order")

enum phase {
#define X(name, text) PHASE_##name,
    PHASES(X)
#undef X
    PHASE_COUNT
};

static const char *const phase_names[] = {
#define X(name, text) #name,
    PHASES(X)
#undef X
};
static const char *const phase_texts[] = {
#define X(name, text) text,
    PHASES(X)
#undef X
};

struct settings {
    const char *dir;
    int keys;
    int value_size;
    int rounds;
    int threads;
    bool json;
    bool ordered;
    bool verify;
    enum walkerdb_sync sync;
};

struct bench {
    struct settings settings;
    walkerdb *db;
    char db_dir[4096];
    char floor_path[4096];
    int floor_fd;
    uint8_t *value;
    uint8_t *record; /* for the floors */
    double ns[PHASE_COUNT][ROUNDS_MAX];
    double threads_ns[THREADS_MAX + 1][ROUNDS_MAX]; /* get_hit by 1..N */
    int round;
    uint64_t keydir_bytes;
};

static void fail(const char *what, int code)
{
    fprintf(stderr, "walkerdb-bench: %s: %s\n", what,
            code < 0 ? walkerdb_strerror(code) : strerror(code));
    exit(1);
}

static double now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static void make_key(char out[KEY_SIZE + 1], int number)
{
    /* As snprintf(out, KEY_FORMAT), without its price in the timed loop. */
    static const char prefix[] = "bitcask-go-key-";
    memcpy(out, prefix, sizeof(prefix) - 1);
    for (int i = KEY_SIZE - 1; i >= (int)sizeof(prefix) - 1; i--) {
        out[i] = (char)('0' + number % 10);
        number /= 10;
    }
    out[KEY_SIZE] = '\0';
}

/* --- phases: each runs n operations ----------------------------------------- */

static void run_floor_write(struct bench *b, struct wdb_random *random)
{
    (void)random;
    size_t size = (size_t)b->settings.value_size + FLOOR_RECORD_EXTRA;
    for (int i = 0; i < b->settings.keys; i++) {
        if (write(b->floor_fd, b->record, size) != (ssize_t)size) {
            fail("write", errno);
        }
    }
}

static void run_floor_pread(struct bench *b, struct wdb_random *random)
{
    size_t size = (size_t)b->settings.value_size + FLOOR_RECORD_EXTRA;
    for (int i = 0; i < b->settings.keys; i++) {
        uint64_t n = wdb_random_below(random, (uint64_t)b->settings.keys);
        if (pread(b->floor_fd, b->record, size, (off_t)(n * size)) !=
            (ssize_t)size) {
            fail("pread", errno);
        }
    }
}

static void put_one(struct bench *b, int number)
{
    char key[KEY_SIZE + 1];
    make_key(key, number);
    int code = walkerdb_put(b->db, key, KEY_SIZE, b->value,
                            (size_t)b->settings.value_size);
    if (code != 0) {
        fail("put", code);
    }
}

static void get_one(struct bench *b, uint8_t *buffer, int number, int expected)
{
    char key[KEY_SIZE + 1];
    size_t size;
    make_key(key, number);
    int code = walkerdb_get_into(b->db, key, KEY_SIZE, buffer,
                                 (size_t)b->settings.value_size, &size);
    if (code != expected && expected <= 0) {
        fail("get", code == 0 ? EEXIST : code);
    }
}

static int random_key(const struct bench *b, struct wdb_random *random)
{
    return (int)wdb_random_below(random, (uint64_t)b->settings.keys);
}

static void run_put(struct bench *b, struct wdb_random *random)
{
    (void)random;
    for (int i = 0; i < b->settings.keys; i++) {
        put_one(b, i);
    }
}

static void run_put_overwrite(struct bench *b, struct wdb_random *random)
{
    for (int i = 0; i < b->settings.keys; i++) {
        put_one(b, random_key(b, random));
    }
}

static void run_get_hit(struct bench *b, struct wdb_random *random)
{
    for (int i = 0; i < b->settings.keys; i++) {
        get_one(b, b->record, random_key(b, random), 0);
    }
}

static void run_get_in_place(struct bench *b, struct wdb_random *random)
{
    char key[KEY_SIZE + 1];
    for (int i = 0; i < b->settings.keys; i++) {
        walkerdb_value *value;
        const void *data;
        size_t size;
        make_key(key, random_key(b, random));
        int code =
            walkerdb_value_acquire(b->db, key, KEY_SIZE, &value, &data, &size);
        if (code != 0) {
            fail("acquire", code);
        }
        walkerdb_value_release(value);
    }
}

static void run_get_miss(struct bench *b, struct wdb_random *random)
{
    for (int i = 0; i < b->settings.keys; i++) {
        get_one(b, b->record, b->settings.keys + random_key(b, random),
                WALKERDB_ENOTFOUND);
    }
}

static void run_mixed(struct bench *b, struct wdb_random *random)
{
    for (int i = 0; i < b->settings.keys; i++) {
        int number = random_key(b, random);
        if (i % 2 == 0) {
            get_one(b, b->record, number, 0);
        } else {
            put_one(b, number);
        }
    }
}

/* The original makes a random value of letters for each put. */
static void run_original_put(struct bench *b, struct wdb_random *random)
{
    for (int i = 0; i < b->settings.keys; i++) {
        for (int j = 0; j < b->settings.value_size; j++) {
            b->value[j] = (uint8_t)('a' + wdb_random_next(random) % 26);
        }
        put_one(b, i);
    }
}

static void run_original_get(struct bench *b, struct wdb_random *random)
{
    for (int i = 0; i < b->settings.keys; i++) {
        get_one(b, b->record, (int)(wdb_random_next(random) % 1000000000), 1);
    }
}

static void run_original_delete(struct bench *b, struct wdb_random *random)
{
    char key[KEY_SIZE + 1];
    for (int i = 0; i < b->settings.keys; i++) {
        make_key(key, (int)(wdb_random_next(random) % 1000000000));
        int code = walkerdb_delete(b->db, key, KEY_SIZE);
        if (code != 0 && code != WALKERDB_ENOTFOUND) {
            fail("delete", code);
        }
    }
}

/* What the original's deletes happened to hit is put back, untimed. */
static void restore_keys(struct bench *b)
{
    for (int i = 0; i < b->settings.keys; i++) {
        char key[KEY_SIZE + 1];
        make_key(key, i);
        if (walkerdb_exists(b->db, key, KEY_SIZE) != 0) {
            put_one(b, i);
        }
    }
}

static void run_delete_hit(struct bench *b, struct wdb_random *random)
{
    /* i * step mod keys, step coprime to keys, meets each key once. */
    (void)random;
    uint64_t keys = (uint64_t)b->settings.keys;
    uint64_t step = 2654435761u % keys | 1;
    while (step > 1) {
        uint64_t x = keys, y = step;
        while (y != 0) {
            uint64_t rest = x % y;
            x = y;
            y = rest;
        }
        if (x == 1) {
            break;
        }
        step -= 2;
    }
    char key[KEY_SIZE + 1];
    for (uint64_t i = 0; i < keys; i++) {
        make_key(key, (int)(i * step % keys));
        int code = walkerdb_delete(b->db, key, KEY_SIZE);
        if (code != 0) {
            fail("delete", code);
        }
    }
}

static void (*const phase_runs[])(struct bench *, struct wdb_random *) = {
#define X(name, text) run_##name,
    PHASES(X)
#undef X
};

/* --- get_hit by several threads ------------------------------------------------ */

struct reader {
    struct bench *bench;
    pthread_t thread;
    pthread_barrier_t *barrier;
    uint64_t seed;
};

static void *read_keys(void *context)
{
    struct reader *reader = context;
    struct bench *b = reader->bench;
    struct wdb_random random;
    wdb_random_seed(&random, reader->seed);
    uint8_t *buffer = malloc((size_t)b->settings.value_size + 1);
    if (buffer == NULL) {
        fail("memory", ENOMEM);
    }
    pthread_barrier_wait(reader->barrier);
    for (int i = 0; i < b->settings.keys; i++) {
        get_one(b, buffer, random_key(b, &random), 0);
    }
    pthread_barrier_wait(reader->barrier);
    free(buffer);
    return NULL;
}

/* Time per operation over all: duration / (threads * operations). */
static double read_by_threads(struct bench *b, int threads)
{
    struct reader readers[THREADS_MAX];
    pthread_barrier_t barrier;
    pthread_barrier_init(&barrier, NULL, (unsigned)threads + 1);
    for (int i = 0; i < threads; i++) {
        readers[i] = (struct reader){.bench = b,
                                     .barrier = &barrier,
                                     .seed = (uint64_t)(b->round * 100 + i)};
        int code =
            pthread_create(&readers[i].thread, NULL, read_keys, &readers[i]);
        if (code != 0) {
            fail("thread", code);
        }
    }
    pthread_barrier_wait(&barrier);
    double start = now_ns();
    pthread_barrier_wait(&barrier);
    double end = now_ns();
    for (int i = 0; i < threads; i++) {
        pthread_join(readers[i].thread, NULL);
    }
    pthread_barrier_destroy(&barrier);
    return (end - start) / ((double)threads * b->settings.keys);
}

/* --- rounds ------------------------------------------------------------------------ */

static void open_database(struct bench *b)
{
    walkerdb_options options;
    walkerdb_options_init(&options);
    options.sync = b->settings.sync;
    options.verify_on_read = b->settings.verify;
    options.index =
        b->settings.ordered ? WALKERDB_INDEX_ORDERED : WALKERDB_INDEX_HASH;
    options.merge = false;
    char *message = NULL;
    int code = walkerdb_open(b->db_dir, &options, &b->db, &message);
    if (code != 0) {
        fail(message != NULL ? message : b->db_dir, code);
    }
}

static void remove_database(struct bench *b)
{
    char command[8300];
    snprintf(command, sizeof(command), "rm -rf -- '%s' '%s'", b->db_dir,
             b->floor_path);
    if (system(command) != 0) {
        fail("cannot remove the round's files", EIO);
    }
}

static void run_round(struct bench *b)
{
    struct wdb_random random;
    wdb_random_seed(&random, (uint64_t)b->round + 1);
    remove_database(b);
    b->floor_fd = open(b->floor_path, O_CREAT | O_RDWR | O_TRUNC, 0600);
    if (b->floor_fd < 0) {
        fail(b->floor_path, errno);
    }
    open_database(b);
    for (int phase = 0; phase < PHASE_COUNT; phase++) {
        if (phase == PHASE_delete_hit) {
            restore_keys(b);
        }
        double start = now_ns();
        phase_runs[phase](b, &random);
        b->ns[phase][b->round] = (now_ns() - start) / b->settings.keys;
        if (phase == PHASE_get_hit) {
            for (int t = 1; t <= b->settings.threads; t++) {
                b->threads_ns[t][b->round] = read_by_threads(b, t);
            }
            walkerdb_stats stats = {.struct_size = sizeof(stats)};
            if (walkerdb_get_stats(b->db, &stats) == 0) {
                b->keydir_bytes = stats.keydir_bytes;
            }
        }
    }
    walkerdb_close(b->db);
    close(b->floor_fd);
    remove_database(b);
}

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static double median(double *values, int count)
{
    qsort(values, (size_t)count, sizeof(*values), compare_doubles);
    return count % 2 == 1 ? values[count / 2]
                          : (values[count / 2 - 1] + values[count / 2]) / 2;
}

static void print_json(struct bench *b)
{
    printf("{\"keys\": %d, \"value_size\": %d, \"rounds\": %d, "
           "\"verify_on_read\": %s, \"index\": \"%s\", "
           "\"keydir_bytes_per_key\": %.2f",
           b->settings.keys, b->settings.value_size, b->settings.rounds,
           b->settings.verify ? "true" : "false",
           b->settings.ordered ? "ordered" : "hash",
           (double)b->keydir_bytes / b->settings.keys);
    for (int phase = 0; phase < PHASE_COUNT; phase++) {
        printf(", \"%s\": %.1f", phase_names[phase],
               median(b->ns[phase], b->settings.rounds));
    }
    printf(", \"get_hit_threads\": {");
    for (int t = 1; t <= b->settings.threads; t++) {
        printf("%s\"%d\": %.1f", t == 1 ? "" : ", ", t,
               median(b->threads_ns[t], b->settings.rounds));
    }
    printf("}}\n");
}

static void print_table(struct bench *b)
{
    printf("walkerdb-bench %s: %d keys, %d-byte values, %d rounds, medians\n\n",
           walkerdb_version(), b->settings.keys, b->settings.value_size,
           b->settings.rounds);
    for (int phase = 0; phase < PHASE_COUNT; phase++) {
        printf("  %-16s %9.1f ns   %s\n", phase_names[phase],
               median(b->ns[phase], b->settings.rounds), phase_texts[phase]);
    }
    double one = 0;
    for (int t = 1; t <= b->settings.threads; t++) {
        double ns = median(b->threads_ns[t], b->settings.rounds);
        one = t == 1 ? ns : one;
        printf("  get_hit, %2d thread%s %6.1f ns, %.2f times one\n", t,
               t == 1 ? " " : "s", ns, one / ns);
    }
    printf("\n  keydir: %.1f bytes a key\n",
           (double)b->keydir_bytes / b->settings.keys);
}

static void print_help(FILE *out)
{
    fprintf(out,
            "usage: walkerdb-bench [options]\n"
            "  --dir DIR         where the databases of the rounds are made "
            "(default .)\n"
            "  --keys N          keys, and operations of each phase "
            "(default 500000)\n"
            "  --value-size N    bytes (default 1041)\n"
            "  --rounds N        default 5\n"
            "  --threads N       get_hit by 1..N threads, too (default 2)\n"
            "  --index hash|ordered\n"
            "  --sync never|interval|always   default never\n"
            "  --no-verify       reads do not check checksums\n"
            "  --json            one object instead of a table\n");
}

static int to_number(const char *text, int min, int max, const char *name)
{
    char *end;
    errno = 0;
    long value = strtol(text, &end, 10);
    if (errno != 0 || *end != '\0' || value < min || value > max) {
        fprintf(stderr, "walkerdb-bench: %s must be a number from %d to %d\n",
                name, min, max);
        exit(2);
    }
    return (int)value;
}

static void parse_options(int argc, char **argv, struct settings *s)
{
    static const struct option options[] = {
        {"dir", required_argument, NULL, 'd'},
        {"keys", required_argument, NULL, 'k'},
        {"value-size", required_argument, NULL, 'v'},
        {"rounds", required_argument, NULL, 'r'},
        {"threads", required_argument, NULL, 't'},
        {"index", required_argument, NULL, 'i'},
        {"sync", required_argument, NULL, 's'},
        {"no-verify", no_argument, NULL, 'n'},
        {"json", no_argument, NULL, 'j'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0}};
    int c;
    while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (c) {
        case 'd':
            s->dir = optarg;
            break;
        case 'k':
            s->keys = to_number(optarg, 1000, 400000000, "--keys");
            break;
        case 'v':
            s->value_size = to_number(optarg, 0, 1 << 20, "--value-size");
            break;
        case 'r':
            s->rounds = to_number(optarg, 1, ROUNDS_MAX, "--rounds");
            break;
        case 't':
            s->threads = to_number(optarg, 1, THREADS_MAX, "--threads");
            break;
        case 'i':
            s->ordered = strcmp(optarg, "ordered") == 0;
            break;
        case 's':
            s->sync = strcmp(optarg, "always") == 0     ? WALKERDB_SYNC_ALWAYS
                      : strcmp(optarg, "interval") == 0 ? WALKERDB_SYNC_INTERVAL
                                                        : WALKERDB_SYNC_NEVER;
            break;
        case 'n':
            s->verify = false;
            break;
        case 'j':
            s->json = true;
            break;
        case 'h':
            print_help(stdout);
            exit(0);
        default:
            print_help(stderr);
            exit(2);
        }
    }
}

int main(int argc, char **argv)
{
    static struct bench b;
    b.settings = (struct settings){.dir = ".",
                                   .keys = 500000,
                                   .value_size = 1041,
                                   .rounds = 5,
                                   .threads = 2,
                                   .verify = true,
                                   .sync = WALKERDB_SYNC_NEVER};
    parse_options(argc, argv, &b.settings);
    if (mkdir(b.settings.dir, 0700) != 0 && errno != EEXIST) {
        fail(b.settings.dir, errno);
    }
    snprintf(b.db_dir, sizeof(b.db_dir), "%s/bench-%d.db", b.settings.dir,
             (int)getpid());
    snprintf(b.floor_path, sizeof(b.floor_path), "%s/bench-%d.floor",
             b.settings.dir, (int)getpid());
    size_t size = (size_t)b.settings.value_size + FLOOR_RECORD_EXTRA;
    b.value = malloc(size);
    b.record = malloc(size);
    if (b.value == NULL || b.record == NULL) {
        fail("memory", ENOMEM);
    }
    for (size_t i = 0; i < size; i++) {
        b.value[i] = b.record[i] = (uint8_t)('a' + i % 26);
    }
    for (b.round = 0; b.round < b.settings.rounds; b.round++) {
        if (!b.settings.json && isatty(2)) {
            fprintf(stderr, "round %d of %d\r", b.round + 1, b.settings.rounds);
        }
        run_round(&b);
    }
    if (b.settings.json) {
        print_json(&b);
    } else {
        print_table(&b);
    }
    free(b.value);
    free(b.record);
    return 0;
}
