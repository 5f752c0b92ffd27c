/* test_cmd_server_backup.c - SAVE, BGSAVE, LASTSAVE, BGREWRITEAOF. */
#include "lib/cmd_client.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cmd/backup.h"
#include "sim/sim_env.h"
#include "walkerdb.h"

static struct cmd_world *world;
static struct cmd_client *client;
static const char *dir;

static void begin(void)
{
    dir = test_tmpdir();
    world = cmd_world_new(dir, NULL);
    client = cmd_client_new(world);
}

static void end(void)
{
    cmd_client_free(client);
    cmd_world_free(world);
}

/* Names in a directory, hidden ones left out; the last one in order too. */
static int count_names(const char *path, char *last_out, size_t capacity)
{
    int count = 0;
    DIR *stream = opendir(path);
    if (last_out != NULL) {
        last_out[0] = '\0';
    }
    if (stream == NULL) {
        return -1;
    }
    for (struct dirent *entry; (entry = readdir(stream)) != NULL;) {
        if (entry->d_name[0] != '.') {
            count++;
            if (last_out != NULL && strcmp(entry->d_name, last_out) > 0) {
                snprintf(last_out, capacity, "%s", entry->d_name);
            }
        }
    }
    closedir(stream);
    return count;
}

static void set_dir(const char *path)
{
    char error[256];
    CHECK_EQ(wdb_config_force(cmd_world_context(world)->config,
                              WDB_CONFIG_STORE_BACKUP_DIR, path, error,
                              sizeof(error)),
             0);
}

static struct wdb_backup_stats stats_now(void)
{
    struct wdb_backup_stats stats;
    wdb_backup_stats(cmd_world_context(world), &stats);
    return stats;
}

/* A backup is a database of its own with what was there. */
TEST(save_makes_a_database)
{
    begin();
    char name[256];
    cmd_send(client, "SET a 1 ; SET b 2 ; DEL b");
    CHECK_EQ(stats_now().changes, 3);
    CHECK_REPLY(client, "SAVE", "+OK");
    cmd_send(client, "SET a 2");
    struct wdb_backup_stats stats = stats_now();
    CHECK(stats.last_ok && !stats.running);
    CHECK_EQ(stats.count, 1);
    CHECK_EQ(stats.changes, 1);
    const char *all = test_path(dir, "backups");
    REQUIRE_EQ(count_names(all, name, sizeof(name)), 1);
    CHECK(strncmp(name, "backup-", 7) == 0 && strstr(name, "partial") == NULL);
    struct cmd_world *copy = cmd_world_new(test_path(all, name), NULL);
    struct cmd_client *reader = cmd_client_new(copy);
    CHECK_REPLY(reader, "MGET a b ; DBSIZE", "*2 $1 1 $-1 | :1");
    cmd_client_free(reader);
    cmd_world_free(copy);
    end();
}

TEST(bgsave_answers)
{
    begin();
    CHECK_REPLY(client, "BGSAVE x", "-ERR syntax error");
    CHECK_REPLY(client, "BGSAVE SCHEDULE x", "-ERR syntax error");
    CHECK(stats_now().last_duration_s == -1);
    /* The job of the first runs behind the turn. */
    CHECK_REPLY(client, "BGSAVE ; BGSAVE SCHEDULE ; SAVE",
                "+Background saving started | -ERR Background save already in "
                "progress | -ERR Background save already in progress");
    CHECK_EQ(stats_now().count, 1);
    CHECK_EQ(count_names(test_path(dir, "backups"), NULL, 0), 1);
    CHECK_REPLY(client, "MULTI ; BGSAVE ; EXEC",
                "+OK | +QUEUED | *1 +Background saving started");
    CHECK_EQ(stats_now().count, 2);
    char expected[64];
    snprintf(expected, sizeof(expected), ":%llu",
             (unsigned long long)stats_now().last_s);
    CHECK_REPLY(client, "LASTSAVE", expected);
    end();
}

/* The newest ones stay; what is not ours, and what was opened, stays, too. */
TEST(save_keeps_some)
{
    begin();
    const char *all = test_path(dir, "elsewhere");
    set_dir("elsewhere");
    cmd_world_set(world, "store-backup-keep", "2");
    CHECK_REPLY(client, "SAVE", "+OK");
    char first[256];
    REQUIRE_EQ(count_names(all, first, sizeof(first)), 1);
    CHECK_EQ(mkdir(test_path(all, "backup-1"), 0700), 0);
    CHECK_EQ(mkdir(test_path(all, "other"), 0700), 0);
    FILE *lock = fopen(test_path(test_path(all, first), "LOCK"), "w");
    REQUIRE(lock != NULL);
    fclose(lock);
    for (int i = 0; i < 4; i++) {
        usleep(2000); /* names have milliseconds */
        CHECK_REPLY(client, "SAVE", "+OK");
    }
    /* The two newest, the opened one, and the two that are not ours. */
    CHECK_EQ(count_names(all, NULL, 0), 5);
    CHECK(access(test_path(all, first), F_OK) == 0);
    CHECK(access(test_path(all, "other"), F_OK) == 0);
    end();
}

/* What a crash left half made goes with the next one. */
TEST(save_removes_partial)
{
    begin();
    char name[256], partial[300];
    const char *all = test_path(dir, "backups");
    CHECK_REPLY(client, "SAVE", "+OK");
    REQUIRE_EQ(count_names(all, name, sizeof(name)), 1);
    snprintf(partial, sizeof(partial), "%s.partial", name);
    CHECK_EQ(rename(test_path(all, name), test_path(all, partial)), 0);
    usleep(2000);
    CHECK_REPLY(client, "SAVE", "+OK");
    CHECK_EQ(count_names(all, name, sizeof(name)), 1);
    CHECK(strstr(name, "partial") == NULL);
    end();
}

TEST(save_fails)
{
    begin();
    set_dir("/none/at/all");
    const char *shown = cmd_send(client, "SAVE");
    CHECK(strncmp(shown, "-ERR backup in /none/at/all failed: ", 36) == 0);
    CHECK(!stats_now().last_ok && !stats_now().running);
    CHECK_REPLY(client, "BGSAVE", "+Background saving started");
    CHECK(!stats_now().last_ok);
    set_dir("");
    CHECK_REPLY(client, "SAVE", "+OK");
    CHECK(stats_now().last_ok);
    end();
}

/* The server stops: no backup begins any more but the last one. */
TEST(save_when_stopping)
{
    begin();
    char error[256] = "";
    cmd_send(client, "SET a 1");
    wdb_backup_stop(cmd_world_context(world));
    CHECK(strncmp(cmd_send(client, "SAVE"), "-ERR ", 5) == 0);
    CHECK_EQ(wdb_backup_run(cmd_world_context(world), error, sizeof(error)), 0);
    CHECK_STR(error, "");
    CHECK_EQ(stats_now().count, 1);
    end();
}

TEST(bgrewriteaof)
{
    begin();
    for (int i = 0; i < 100; i++) {
        cmd_send(client, "SET a 1");
    }
    CHECK_REPLY(client, "BGREWRITEAOF ; BGREWRITEAOF",
                "+Background append only file rewriting started | -ERR "
                "Background append only file rewriting already in progress");
    CHECK(!stats_now().merge_running);
    CHECK(stats_now().merge_last_ok);
    CHECK_EQ(stats_now().merge_count, 1);
    CHECK_REPLY(client, "GET a", "$1 1");
    CHECK_REPLY(client, "CONFIG SET store-merge no ; BGREWRITEAOF",
                "+OK | -ERR merges are held by store-merge no");
    end();
}

/* --- each file operation fails once ------------------------------------------------ */

/* Names of backups in the simulated directory that are whole. */
struct found {
    int whole, partial;
    char last[256];
};

static int note_backup(void *context, const char *name)
{
    struct found *found = context;
    if (strstr(name, ".partial") != NULL) {
        found->partial++;
        return 0;
    }
    found->whole++;
    if (strcmp(name, found->last) > 0) {
        snprintf(found->last, sizeof(found->last), "%s", name);
    }
    return 0;
}

static struct found find_backups(struct wdb_env *env)
{
    struct found found = {0};
    CHECK_EQ(env->ops->list(env, "db/backups", note_backup, &found), 0);
    return found;
}

/* SAVE with the nth operation failing. False: there was no nth. */
static bool save_with_fault(uint64_t n)
{
    struct sim_disk *disk = sim_disk_new();
    struct sim_env *sim = sim_env_new(disk, n, NULL);
    struct wdb_env *env = sim_env_base(sim);
    const struct cmd_world_options options = {.env = env};
    world = cmd_world_new("db", &options);
    client = cmd_client_new(world);
    cmd_world_set(world, "store-backup-keep", "2");
    CHECK_REPLY(client, "SET a 1", "+OK");
    for (int i = 0; i < 2; i++) {
        sim_env_advance_ms(sim, 5);
        CHECK_REPLY(client, "SAVE", "+OK");
    }
    CHECK_REPLY(client, "SET a 2", "+OK");
    sim_env_advance_ms(sim, 5);
    sim_env_fail(sim, (struct sim_fault){
                          .op = SIM_OP_ANY, .nth = n, .error = WALKERDB_EIO});
    const bool ok = strcmp(cmd_send(client, "SAVE"), "+OK") == 0;
    const bool failed = sim_env_clear_faults(sim) > 0;
    const struct found found = find_backups(env);
    CHECK(found.whole >= 2 && found.whole <= 3 && found.partial <= 1);
    CHECK_EQ(stats_now().last_ok, ok);
    end();
    char path[300];
    snprintf(path, sizeof(path), "db/backups/%s", found.last);
    struct cmd_world *copy = cmd_world_new(path, &options);
    struct cmd_client *reader = cmd_client_new(copy);
    const char *value = cmd_send(reader, "GET a");
    CHECK(strcmp(value, "$1 2") == 0 || (!ok && strcmp(value, "$1 1") == 0));
    cmd_client_free(reader);
    cmd_world_free(copy);
    sim_env_free(sim);
    sim_disk_free(disk);
    return failed;
}

/* Whatever fails: the backups before stay, and what counts as one opens. */
TEST(save_with_faults)
{
    uint64_t n = 1;
    while (save_with_fault(n) && !test_has_failed()) {
        n++;
        REQUIRE(n < 1000);
    }
    CHECK(n > 20);
}
