/* test_admin_config.c - settings: values, files, command line, SET, REWRITE. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "admin/config.h"
#include "lib/fault_alloc.h"
#include "lib/test.h"
#include "walkerdb.h"

static struct wdb_env *env;

static struct wdb_config *new_config(void)
{
    struct wdb_config *config = NULL;
    if (env == NULL && wdb_env_posix_new(&env) != 0) {
        abort();
    }
    if (wdb_config_new(env, &config) != 0) {
        abort();
    }
    return config;
}

/* The value as text, in one of a few static places. */
static const char *value_of(const struct wdb_config *config, const char *name)
{
    static char texts[4][1024];
    static int next;
    char *text = texts[next++ % 4];
    int id = wdb_config_find(wdb_slice_str(name));
    if (id < 0) {
        return "no such setting";
    }
    wdb_config_text(config, id, text, sizeof(texts[0]));
    return text;
}

/* Load text as of a file "f"; "" or the message. */
static const char *load(struct wdb_config *config, const char *text)
{
    static char said[512];
    char *message = NULL;
    int code = wdb_config_load_text(config, "f", wdb_slice_str(text), &message);
    snprintf(said, sizeof(said), "%s",
             code == 0 ? "" : (message == NULL ? "no message" : message));
    free(message);
    return said;
}

static const char *set_many(struct wdb_config *config, size_t count,
                            const char *const *words)
{
    static char error[512];
    struct wdb_slice pairs[32];
    for (size_t i = 0; i < 2 * count; i++) {
        pairs[i] = wdb_slice_str(words[i]);
    }
    int code =
        wdb_config_set(config, pairs, count, false, error, sizeof(error));
    return code == 0 ? "" : error;
}

static const char *set(struct wdb_config *config, const char *name,
                       const char *value)
{
    return set_many(config, 1, (const char *const[]){name, value});
}

#define FAILED(name, reason)                                                   \
    "CONFIG SET failed (possibly related to argument '" name "') - " reason

/* Defaults are Redis's, and every default is a value that SET takes. */
TEST(defaults)
{
    struct wdb_config *config = new_config();
    CHECK_STR(value_of(config, "port"), "6379");
    CHECK_STR(value_of(config, "bind"), "127.0.0.1");
    CHECK_STR(value_of(config, "appendfsync"), "everysec");
    CHECK_STR(value_of(config, "maxmemory-policy"), "noeviction");
    CHECK_STR(value_of(config, "proto-max-bulk-len"), "536870912");
    CHECK_STR(value_of(config, "hash-max-ziplist-entries"), "512");
    CHECK_STR(value_of(config, "lua-time-limit"), "5000");
    CHECK_STR(value_of(config, "unixsocketperm"), "0");
    int64_t threads = wdb_config_i64(config, WDB_CONFIG_IO_THREADS);
    CHECK(threads >= 1 && threads <= 8);
    for (int id = 0; id < WDB_CONFIG_COUNT; id++) {
        char text[1024], again[1024], error[256];
        wdb_config_text(config, id, text, sizeof(text));
        int code = wdb_config_force(config, id, text, error, sizeof(error));
        CHECK_EQ(code, 0);
        wdb_config_text(config, id, again, sizeof(again));
        CHECK_STR(again, text);
        CHECK_EQ(wdb_config_find(wdb_slice_str(wdb_config_name(id))), id);
    }
    wdb_config_free(config);
}

/* Each kind of value: what it takes, what it refuses, how it is shown. */
TEST(kinds)
{
    struct wdb_config *config = new_config();
    CHECK_STR(set(config, "latency-tracking", "No"), "");
    CHECK_STR(value_of(config, "latency-tracking"), "no");
    CHECK_STR(set(config, "latency-tracking", "1"),
              FAILED("latency-tracking", "argument must be 'yes' or 'no'"));
    CHECK_STR(set(config, "timeout", "10"), "");
    CHECK_STR(set(config, "timeout", "1x"),
              FAILED("timeout", "argument couldn't be parsed into an integer"));
    CHECK_STR(set(config, "timeout", "-1"),
              FAILED("timeout",
                     "argument must be between 0 and 2147483647 inclusive"));
    CHECK_EQ(wdb_config_i64(config, WDB_CONFIG_TIMEOUT), 10);
    CHECK_STR(set(config, "maxmemory", "10mb"), "");
    CHECK_STR(value_of(config, "maxmemory"), "10485760");
    CHECK_STR(set(config, "maxmemory", "10foo"),
              FAILED("maxmemory", "argument must be a memory value"));
    CHECK_STR(set(config, "maxmemory-clients", "5%"), "");
    CHECK_STR(value_of(config, "maxmemory-clients"), "5%");
    CHECK_STR(set(config, "maxmemory-clients", "101%"),
              FAILED("maxmemory-clients",
                     "percentage argument must be less or equal to 100"));
    CHECK_STR(set(config, "loglevel", "loud"),
              FAILED("loglevel",
                     "argument(s) must be one of the following: debug, "
                     "verbose, notice, warning"));
    CHECK_STR(set(config, "LogLevel", "WARNING"), "");
    CHECK_STR(value_of(config, "loglevel"), "warning");
    CHECK_STR(set(config, "maxmemory-policy", "allkeys-lru"),
              FAILED("maxmemory-policy",
                     "only noeviction is supported: keys are never evicted"));
    CHECK_STR(set(config, "maxmemory-policy", "noeviction"), "");
    CHECK_STR(load(config, "unixsocketperm 770"), "");
    CHECK_STR(value_of(config, "unixsocketperm"), "770");
    CHECK_EQ(wdb_config_i64(config, WDB_CONFIG_UNIXSOCKETPERM), 0770);
    CHECK(strstr(load(config, "unixsocketperm 780"), "octal") != NULL);
    CHECK(strstr(load(config, "unixsocketperm 1000"), "0 and 777") != NULL);
    wdb_config_free(config);
}

/* Texts with a form of their own. */
TEST(shapes)
{
    struct wdb_config *config = new_config();
    CHECK_STR(set(config, "save", "60  1 \t100 2"), "");
    CHECK_STR(value_of(config, "save"), "60 1 100 2");
    CHECK_STR(set(config, "save", "60"),
              FAILED("save", "Invalid save parameters"));
    CHECK_STR(set(config, "save", ""), "");
    CHECK_STR(value_of(config, "save"), "");
    CHECK_STR(load(config, "save 60 1\nsave 30 2"), "");
    CHECK_STR(value_of(config, "save"), "60 1 30 2");
    CHECK_STR(set(config, "client-output-buffer-limit", "normal 1mb 512kb 9"),
              "");
    CHECK_STR(value_of(config, "client-output-buffer-limit"),
              "normal 1048576 524288 9 slave 268435456 67108864 60 pubsub "
              "33554432 8388608 60");
    CHECK_EQ(wdb_config_i64(config, WDB_CONFIG_OUTPUT_HARD_NORMAL), 1048576);
    CHECK_EQ(wdb_config_i64(config, WDB_CONFIG_OUTPUT_SECONDS_NORMAL), 9);
    CHECK_STR(set(config, "client-output-buffer-limit",
                  "replica 1 2 3 pubsub 4 5 6"),
              "");
    CHECK_EQ(wdb_config_i64(config, WDB_CONFIG_OUTPUT_SECONDS_PUBSUB), 6);
    CHECK_STR(set(config, "client-output-buffer-limit", "normal 1 2"),
              FAILED("client-output-buffer-limit",
                     "Wrong number of arguments in buffer limit "
                     "configuration."));
    CHECK_STR(set(config, "client-output-buffer-limit", "wrong 1 2 3"),
              FAILED("client-output-buffer-limit",
                     "Invalid client class specified in buffer limit "
                     "configuration."));
    CHECK_STR(set(config, "notify-keyspace-events", "KEgx"), "");
    CHECK_STR(value_of(config, "notify-keyspace-events"), "gxKE");
    CHECK_STR(set(config, "notify-keyspace-events", "KEA"), "");
    CHECK_STR(value_of(config, "notify-keyspace-events"), "AKE");
    CHECK_STR(set(config, "notify-keyspace-events", "Kg$lszhxetd"), "");
    CHECK_STR(value_of(config, "notify-keyspace-events"), "AK");
    CHECK(set(config, "notify-keyspace-events", "q")[0] != 0);
    CHECK_STR(set(config, "latency-tracking-info-percentiles",
                  "50.0 99.99 0 100"),
              "");
    CHECK_STR(value_of(config, "latency-tracking-info-percentiles"),
              "50 99.99 0 100");
    double percentiles[8];
    CHECK_EQ(wdb_config_percentiles(config, percentiles, 8), 4);
    CHECK(percentiles[1] > 99.98 && percentiles[1] < 100);
    CHECK_STR(set(config, "latency-tracking-info-percentiles", ""), "");
    CHECK_EQ(wdb_config_percentiles(config, percentiles, 8), 0);
    CHECK(set(config, "latency-tracking-info-percentiles", "101")[0] != 0);
    CHECK_STR(set(config, "shutdown-on-sigterm", "nosave force"), "");
    CHECK(set(config, "shutdown-on-sigterm", "nosave save")[0] != 0);
    CHECK_STR(set(config, "oom-score-adj-values", "1 2 3"), "");
    CHECK(set(config, "oom-score-adj-values", "1 2")[0] != 0);
    wdb_config_free(config);
}

static struct wdb_config *applied_config;
static int applied_count;

/* Refuses timeouts above 100 and remembers that it was called. */
static int apply(void *context, enum wdb_config_id id, char *error,
                 size_t error_size)
{
    CHECK(context == &applied_count);
    applied_count++;
    if (id == WDB_CONFIG_TIMEOUT && wdb_config_i64(applied_config, id) > 100) {
        snprintf(error, error_size, "too long");
        return WALKERDB_EINVALID;
    }
    return 0;
}

/* SET takes all pairs or none, also when the hook refuses. */
TEST(set_is_atomic)
{
    struct wdb_config *config = applied_config = new_config();
    wdb_config_on_apply(config, apply, &applied_count);
    CHECK_STR(set_many(config, 2,
                       (const char *const[]){"timeout", "5", "loglevel",
                                             "nonsense"}),
              FAILED("loglevel", "argument(s) must be one of the following: "
                                 "debug, verbose, notice, warning"));
    CHECK_STR(value_of(config, "timeout"), "0");
    CHECK_EQ(applied_count, 0);
    CHECK_STR(set_many(config, 3,
                       (const char *const[]){"requirepass", "secret", "timeout",
                                             "101", "loglevel", "debug"}),
              FAILED("timeout", "too long"));
    CHECK_STR(value_of(config, "timeout"), "0");
    CHECK_STR(value_of(config, "requirepass"), "");
    CHECK_STR(value_of(config, "loglevel"), "notice");
    CHECK_EQ(applied_count, 4); /* two forth, two back */
    applied_count = 0;
    CHECK_STR(set(config, "timeout", "0"), "");
    CHECK_EQ(applied_count, 0); /* nothing changed */
    CHECK_STR(set(config, "databases", "1"),
              FAILED("databases", "can't set immutable config"));
    CHECK_STR(set(config, "dbfilename", "x"),
              FAILED("dbfilename", "can't set protected config"));
    CHECK_STR(set(config, "nonsense", "x"),
              "Unknown option or number of arguments for CONFIG SET - "
              "'nonsense'");
    CHECK_STR(set_many(config, 2,
                       (const char *const[]){"hash-max-listpack-entries", "5",
                                             "hash-max-ziplist-entries", "6"}),
              FAILED("hash-max-ziplist-entries", "duplicate parameter"));
    CHECK_STR(load(config, "enable-protected-configs yes"), "");
    CHECK_STR(set(config, "dbfilename", "x"), "");
    CHECK(set(config, "dbfilename", "a/b")[0] != 0);
    wdb_config_free(config);
}

static void set_again(void *context, const char *name, struct wdb_slice value)
{
    const struct wdb_slice pair[2] = {wdb_slice_str(name), value};
    char error[512] = "";
    CHECK_EQ(wdb_config_set(context, pair, 1, false, error, sizeof(error)), 0);
    CHECK_STR(error, "");
}

/* What GET shows can be set again, whatever may be changed. */
TEST(set_what_it_is)
{
    struct wdb_config *config = applied_config = new_config();
    CHECK_STR(load(config, "bind 127.0.0.1 -::1\nunixsocketperm 700\n"
                           "save 10 20 30 40\nraft-join a:1"),
              "");
    const struct wdb_slice all = wdb_slice_str("*");
    CHECK_EQ(wdb_config_get(config, &all, 1, set_again, config), 0);
    CHECK_STR(value_of(config, "bind"), "127.0.0.1 -::1");
    CHECK_STR(set(config, "bind", "127.0.0.1"),
              FAILED("bind", "can't set immutable config"));
    CHECK_STR(set(config, "store-backup-dir", "x"),
              FAILED("store-backup-dir", "can't set protected config"));
    wdb_config_free(config);
}

static void collect(void *context, const char *name, struct wdb_slice value)
{
    char *text = context;
    size_t size = strlen(text);
    snprintf(text + size, 4096 - size, "%s=%.*s;", name, (int)value.size,
             (const char *)value.data);
}

static const char *get(const struct wdb_config *config, size_t count,
                       const char *const *patterns)
{
    static char text[4096];
    struct wdb_slice slices[8];
    for (size_t i = 0; i < count; i++) {
        slices[i] = wdb_slice_str(patterns[i]);
    }
    text[0] = 0;
    CHECK_EQ(wdb_config_get(config, slices, count, collect, text), 0);
    return text;
}

/* GET by names, aliases and patterns; everything once. */
TEST(get_patterns)
{
    struct wdb_config *config = new_config();
    CHECK_STR(get(config, 1, (const char *const[]){"maxmemory"}),
              "maxmemory=0;");
    CHECK_STR(get(config, 1, (const char *const[]){"MaxMemory"}),
              "MaxMemory=0;");
    CHECK_STR(get(config, 1, (const char *const[]){"nothing"}), "");
    CHECK_STR(get(config, 1, (const char *const[]){"hash-max-*-entries"}),
              "hash-max-listpack-entries=512;hash-max-ziplist-entries=512;");
    CHECK_STR(get(config, 3, (const char *const[]){"hz", "HZ", "h[z]"}),
              "hz=10;");
    CHECK_STR(get(config, 1, (const char *const[]){"rdb-key-save-d*"}), "");
    CHECK_STR(get(config, 1, (const char *const[]){"rdb-key-save-delay"}),
              "rdb-key-save-delay=0;");
    wdb_config_free(config);
}

/* Files: comments, quotes, aliases, and messages that name the line. */
TEST(file_syntax)
{
    struct wdb_config *config = new_config();
    CHECK_STR(load(config, "# don't mind\n\n  #x\n\tPORT 7000\r\n"
                           "requirepass \"a b\\x21\"\n"
                           "hash-max-ziplist-entries 7\n"
                           "bind 127.0.0.1 ::1\n"
                           "unixsocket ''\n"
                           "list-max-ziplist-value 64"),
              "");
    CHECK_STR(value_of(config, "port"), "7000");
    CHECK_STR(value_of(config, "requirepass"), "a b!");
    CHECK_STR(value_of(config, "hash-max-listpack-entries"), "7");
    CHECK_STR(value_of(config, "bind"), "127.0.0.1 ::1");
    CHECK_STR(load(config, "port 1\nprot 7000\n"),
              "f:2: unknown setting 'prot'; is it 'port'?");
    CHECK_STR(load(config, "completely-different-thing 1"),
              "f:1: unknown setting 'completely-different-thing'");
    CHECK_STR(load(config, "\nport 1 2"), "f:2: 'port' needs one value");
    CHECK_STR(load(config, "port"), "f:1: 'port' needs one value");
    CHECK_STR(load(config, "port \"1"), "f:1: unbalanced quotes");
    CHECK_STR(load(config, "port x"),
              "f:1: 'port' = 'x': argument couldn't be parsed into an integer");
    CHECK_STR(load(config, "rename-command A B"),
              "f:1: 'rename-command' is not supported");
    CHECK_STR(load(config, "cluster-enabled yes"),
              "f:1: 'cluster-enabled' = 'yes': Redis Cluster is not "
              "supported");
    CHECK_STR(load(config, "tls-port 1"),
              "f:1: 'tls-port' = '1': argument must be between 0 and 0 "
              "inclusive");
    CHECK_STR(load(config, "tcp [::1]:7001"), "");
    CHECK_STR(value_of(config, "port"), "7001");
    CHECK_STR(value_of(config, "bind"), "::1");
    CHECK_STR(load(config, "tcp 7001"), "f:1: tcp '7001': it is not HOST:PORT");
    CHECK(wdb_config_matches(config, WDB_CONFIG_REQUIREPASS,
                             wdb_slice_str("a b!")));
    CHECK(!wdb_config_matches(config, WDB_CONFIG_REQUIREPASS,
                              wdb_slice_str("a b")));
    CHECK(!wdb_config_matches(config, WDB_CONFIG_REQUIREPASS,
                              wdb_slice_str("a b!!")));
    CHECK(
        !wdb_config_matches(config, WDB_CONFIG_REQUIREPASS, wdb_slice_str("")));
    wdb_config_free(config);
}

static const char *write_file(const char *dir, const char *name,
                              const char *text)
{
    const char *path = test_path(dir, name);
    FILE *file = fopen(path, "w");
    fputs(text, file);
    fclose(file);
    return path;
}

static const char *read_whole(const char *path)
{
    static char text[8192];
    FILE *file = fopen(path, "r");
    size_t size = file == NULL ? 0 : fread(text, 1, sizeof(text) - 1, file);
    text[size] = 0;
    if (file != NULL) {
        fclose(file);
    }
    return text;
}

/* Includes, with and without wildcards, and one that includes itself. */
TEST(includes)
{
    struct wdb_config *config = new_config();
    const char *dir = test_tmpdir();
    char text[1024];
    write_file(dir, "a.inc", "timeout 1\nport 1111\n");
    write_file(dir, "b.inc", "timeout 2\n");
    write_file(dir, ".hidden.inc", "timeout 3\n");
    snprintf(text, sizeof(text), "port 1\ninclude %s/*.inc\n", dir);
    CHECK_STR(load(config, text), "");
    CHECK_STR(value_of(config, "port"), "1111");
    CHECK_STR(value_of(config, "timeout"), "2");
    snprintf(text, sizeof(text), "include %s/a.inc", dir);
    CHECK_STR(load(config, text), "");
    CHECK_STR(value_of(config, "timeout"), "1");
    snprintf(text, sizeof(text), "include %s/none*", dir);
    CHECK_STR(load(config, text), "");
    snprintf(text, sizeof(text), "include %s/none", dir);
    CHECK(strstr(load(config, text), "can't read") != NULL);
    snprintf(text, sizeof(text), "include %s/self\n", dir);
    write_file(dir, "self", text);
    CHECK(strstr(load(config, text), "nested too deeply") != NULL);
    wdb_config_free(config);
}

/* Run the command line; "" or the message. */
static const char *run(struct wdb_config *config, const char *const *words,
                       enum wdb_config_action *action)
{
    static char said[512];
    char *argv[32] = {(char *)(uintptr_t) "walkerdb"}, *message;
    int argc = 1;
    while (words[argc - 1] != NULL) {
        argv[argc] = (char *)(uintptr_t)words[argc - 1];
        argc++;
    }
    int code = wdb_config_load(config, argc, argv, action, &message);
    snprintf(said, sizeof(said), "%s",
             code == 0 ? "" : (message == NULL ? "no message" : message));
    free(message);
    return said;
}

#define RUN(...)                                                               \
    (wdb_config_free(config), config = new_config(),                           \
     run(config, (const char *const[]){__VA_ARGS__, NULL}, &action))

/* The command line in all its forms. */
TEST(command_line)
{
    struct wdb_config *config = new_config();
    enum wdb_config_action action;
    const char *dir = test_tmpdir();
    const char *file = write_file(dir, "w.conf", "port 7777\ntimeout 7\n");
    CHECK_STR(RUN("-tcp", "0.0.0.0:7001", "-dir", dir, "-bootstrap", "false"),
              "");
    CHECK_STR(value_of(config, "bind"), "0.0.0.0");
    CHECK_STR(value_of(config, "port"), "7001");
    CHECK_STR(value_of(config, "dir"), dir);
    CHECK_STR(value_of(config, "bootstrap"), "no");
    CHECK(action == WDB_CONFIG_RUN);
    CHECK_STR(RUN("-bootstrap", "false", dir), "");
    CHECK_STR(value_of(config, "dir"), dir);
    CHECK_STR(value_of(config, "raftdir"), test_path(dir, "raft"));
    CHECK_STR(RUN(dir, "--dir", "/elsewhere/"), "");
    CHECK_STR(value_of(config, "dir"), "/elsewhere");
    CHECK_STR(RUN(file, "--port", "7002"), "");
    CHECK_STR(value_of(config, "port"), "7002");
    CHECK_STR(value_of(config, "timeout"), "7");
    CHECK_STR(wdb_config_file(config), file);
    CHECK_STR(RUN("--port=7002", "--config", file), "");
    CHECK_STR(value_of(config, "port"), "7002");
    CHECK_STR(RUN("--config", file, dir), "");
    CHECK_STR(value_of(config, "dir"), dir);
    CHECK_STR(value_of(config, "port"), "7777");
    CHECK_STR(RUN("--save", "60", "1", "--save", "", "--daemonize", "--bind",
                  "127.0.0.1", "::1", dir),
              "");
    CHECK_STR(value_of(config, "save"), "");
    CHECK_STR(value_of(config, "daemonize"), "yes");
    CHECK_STR(value_of(config, "bind"), "127.0.0.1 ::1");
    CHECK_STR(value_of(config, "dir"), dir);
    CHECK_STR(RUN("--slowlog-log-slower-than", "-1", "--daemonize", "yes"), "");
    CHECK_STR(value_of(config, "slowlog-log-slower-than"), "-1");
    CHECK_STR(value_of(config, "daemonize"), "yes");
    CHECK_STR(RUN("-bootstrap", dir), "");
    CHECK_STR(value_of(config, "bootstrap"), "yes");
    CHECK_STR(RUN("--portt", "1"),
              "command line: unknown setting 'portt'; is it 'port'?");
    CHECK_STR(RUN("--port"), "command line: 'port' needs a value");
    CHECK_STR(RUN("--daemonize", "maybe", "--port", "1"),
              "command line: 'daemonize' = 'maybe': argument must be 'yes' or "
              "'no'");
    CHECK_STR(RUN("a", "b"),
              "command line: 'a' and 'b': only one path, please");
    CHECK(strstr(RUN(file, "--config", file), "only one configuration"));
    CHECK(strstr(RUN("/nowhere/w.conf"), "can't read /nowhere/w.conf"));
    CHECK(strstr(RUN("--config"), "'config' needs a file"));
    CHECK_STR(RUN("-h"), "");
    CHECK(action == WDB_CONFIG_SHOW_HELP);
    CHECK_STR(RUN("--version"), "");
    CHECK(action == WDB_CONFIG_SHOW_VERSION);
    CHECK_STR(RUN("--check-config", "--port", "1"), "");
    CHECK(action == WDB_CONFIG_CHECK_ONLY);
    wdb_config_free(config);
}

/* REWRITE keeps what is true, changes what is not, adds what is missing. */
TEST(rewrite)
{
    struct wdb_config *config = new_config();
    enum wdb_config_action action;
    const char *dir = test_tmpdir();
    char text[2048], expected[2048], error[256];
    const char *inc = write_file(dir, "more.inc", "hz 20\nsave 60 1\n");
    snprintf(text, sizeof(text),
             "# My server\n\nport   7000   \n"
             "maxmemory 1gb\n"
             "timeout 5\n"
             "# loglevel is here\nloglevel notice\ntimeout 6\n"
             "hash-max-ziplist-entries 100\n"
             "include %s\n"
             "latency-tracking yes",
             inc);
    const char *file = write_file(dir, "r.conf", text);
    chmod(file, 0640);
    CHECK_STR(RUN(file, "--dir", dir), "");
    CHECK_STR(value_of(config, "timeout"), "6");
    CHECK_STR(set_many(config, 6,
                       (const char *const[]){
                           "loglevel", "debug", "hash-max-listpack-entries",
                           "50", "hz", "30", "requirepass", "with \"blank\"",
                           "store-backup-keep", "9", "maxclients", "77"}),
              "");
    CHECK_EQ(wdb_config_rewrite(config, error, sizeof(error)), 0);
    snprintf(expected, sizeof(expected),
             "# My server\n\nport   7000   \n"
             "maxmemory 1gb\n"
             "timeout 6\n"
             "# loglevel is here\nloglevel debug\n"
             "hash-max-ziplist-entries 50\n"
             "include %s\n"
             "latency-tracking yes\n"
             "\n# Written by CONFIG REWRITE\n"
             "maxclients 77\n"
             "requirepass \"with \\\"blank\\\"\"\n"
             "dir %s\n"
             "store-backup-keep 9\n"
             "hz 30\n",
             inc, dir);
    CHECK_STR(read_whole(file), expected);
    struct stat status;
    CHECK(stat(file, &status) == 0 && (status.st_mode & 0777) == 0640);
    /* Twice is the same, and what it gives is what was there. */
    CHECK_EQ(wdb_config_rewrite(config, error, sizeof(error)), 0);
    CHECK_STR(read_whole(file), expected);
    CHECK_STR(set(config, "save", ""), "");
    CHECK_EQ(wdb_config_rewrite(config, error, sizeof(error)), 0);
    CHECK_STR(RUN(file), "");
    CHECK_STR(value_of(config, "save"), "");
    CHECK_STR(value_of(config, "requirepass"), "with \"blank\"");
    CHECK_STR(value_of(config, "hz"), "30");
    CHECK_STR(value_of(config, "maxclients"), "77");
    wdb_config_free(config);
}

/* Without a file there is nothing to rewrite. */
TEST(rewrite_without_file)
{
    struct wdb_config *config = new_config();
    char error[256];
    CHECK_EQ(wdb_config_rewrite(config, error, sizeof(error)),
             WALKERDB_EINVALID);
    CHECK_STR(error, "The server is running without a config file");
    wdb_config_free(config);
}

/* Random values of all settings survive REWRITE and a new start. */
TEST(rewrite_random)
{
    struct test_random random = {.state = test_number("WDB_TEST_SEED", 7)};
    const char *dir = test_tmpdir();
    int stored = 0;
    for (int round = 0; round < 30; round++) {
        struct wdb_config *config = new_config();
        enum wdb_config_action action;
        char error[512], text[256];
        const char *file = write_file(dir, "x.conf", "# x\nsave 60 1\n");
        CHECK_STR(RUN(file, "--dir", dir), "");
        for (int i = 0; i < 100; i++) {
            static const char *const values[] = {
                "yes",          "no",     "1",       "0",      "5mb",
                "300",          "",       "a b",     "always", "debug",
                "99 1",         "KEA",    "-2",      "7%",     "\x01\"",
                "normal 1 2 3", "nosave", "50 99.5",
            };
            int id = (int)test_random_below(&random, WDB_CONFIG_COUNT);
            snprintf(text, sizeof(text), "%s",
                     values[test_random_below(&random, WDB_COUNT(values))]);
            /* Directories are made absolute, the address of a member changes
             * a default: both when a configuration is loaded. */
            if (id != WDB_CONFIG_DIR && id != WDB_CONFIG_RAFT_DIR &&
                id != WDB_CONFIG_SHARED_PATH && id != WDB_CONFIG_RAFT_ADDRESS &&
                wdb_config_force(config, id, text, error, sizeof(error)) == 0) {
                stored++;
            }
        }
        int code = wdb_config_rewrite(config, error, sizeof(error));
        CHECK_EQ(code, 0);
        struct wdb_config *again = new_config();
        CHECK_STR(run(again, (const char *const[]){file, NULL}, &action), "");
        for (int id = 0; id < WDB_CONFIG_COUNT; id++) {
            char now[1024], then[1024];
            wdb_config_text(config, id, now, sizeof(now));
            wdb_config_text(again, id, then, sizeof(then));
            CHECK_STR(then, now);
        }
        wdb_config_free(again);
        wdb_config_free(config);
    }
    CHECK(stored > 100);
}

/* Every allocation may fail: nothing changes then, nothing leaks. */
TEST(out_of_memory)
{
    struct wdb_config *config = NULL;
    wdb_config_free(new_config()); /* makes env */
    for (uint64_t n = 1;; n++) {
        fault_alloc_arm(n);
        int code = wdb_config_new(env, &config);
        if (!fault_alloc_disarm()) {
            CHECK_EQ(code, 0);
            break;
        }
        CHECK_EQ(code, WALKERDB_ENOMEM);
    }
    for (uint64_t n = 1;; n++) {
        struct wdb_slice pairs[4] = {wdb_slice_str("requirepass"),
                                     wdb_slice_str("abc"),
                                     wdb_slice_str("save"),
                                     wdb_slice_str("60 1")};
        char error[256];
        fault_alloc_arm(n);
        int code =
            wdb_config_set(config, pairs, 2, false, error, sizeof(error));
        if (!fault_alloc_disarm()) {
            CHECK_EQ(code, 0);
            break;
        }
        CHECK_EQ(code, WALKERDB_ENOMEM);
        CHECK_STR(value_of(config, "save"), "");
    }
    wdb_config_free(config);
}

struct racer {
    struct wdb_config *config;
    _Atomic bool stop;
};

static void *read_values(void *argument)
{
    struct racer *racer = argument;
    while (!racer->stop) {
        char text[64];
        wdb_config_text(racer->config, WDB_CONFIG_REQUIREPASS, text,
                        sizeof(text));
        CHECK(strcmp(text, "") == 0 || strcmp(text, "one") == 0 ||
              strcmp(text, "two") == 0);
        int64_t value = wdb_config_i64(racer->config, WDB_CONFIG_TIMEOUT);
        CHECK(value == 0 || value == 1 || value == 2);
    }
    return NULL;
}

/* Readers see whole values while others set them. */
TEST(threads)
{
    struct racer racer = {.config = new_config()};
    pthread_t thread;
    pthread_create(&thread, NULL, read_values, &racer);
    for (int i = 0; i < 2000; i++) {
        CHECK_STR(set_many(racer.config, 2,
                           i % 2 ? (const char *const[]){"requirepass", "one",
                                                         "timeout", "1"}
                                 : (const char *const[]){"requirepass", "two",
                                                         "timeout", "2"}),
                  "");
    }
    racer.stop = true;
    pthread_join(thread, NULL);
    wdb_config_free(racer.config);
}

/* Settings that are only kept are named for the log. */
TEST(idle_names)
{
    struct wdb_config *config = new_config();
    struct wdb_buffer names = WDB_BUFFER_INIT;
    CHECK_EQ(wdb_config_idle_names(config, &names), 0);
    CHECK_EQ(names.size, 0);
    CHECK_STR(load(config, "repl-timeout 5\nport 5\nrdbcompression no"), "");
    CHECK_EQ(wdb_config_idle_names(config, &names), 0);
    CHECK_MEM(names.data, names.size, "rdbcompression, repl-timeout", 28);
    wdb_buffer_release(&names);
    wdb_config_free(config);
}
