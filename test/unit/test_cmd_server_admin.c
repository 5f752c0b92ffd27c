/* test_cmd_server_admin.c - CONFIG, SLOWLOG, LATENCY, MEMORY, SHUTDOWN and the
 * small commands of the server. */
#include "lib/cmd_client.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static struct cmd_world *world;
static struct cmd_client *client;

static void begin(void)
{
    world = cmd_world_new(test_tmpdir(), NULL);
    client = cmd_client_new(world);
}

static void end(void)
{
    cmd_client_free(client);
    cmd_world_free(world);
}

static bool contains(const char *line, const char *part)
{
    const char *shown = cmd_send(client, line);
    if (strstr(shown, part) == NULL) {
        test_fail(__FILE__, __LINE__, "%s: no '%s' in %s", line, part, shown);
        return false;
    }
    return true;
}

/* --- CONFIG ----------------------------------------------------------------------- */

TEST(config_get)
{
    begin();
    CHECK_REPLY(client, "CONFIG GET maxmemory", "*2 $9 maxmemory $1 0");
    CHECK_REPLY(client, "CONFIG GET none", "*0");
    CHECK_REPLY(client, "CONFIG GET maxmemory none port",
                "*4 $9 maxmemory $1 0 $4 port $4 6379");
    CHECK_REPLY(client, "CONFIG GET",
                "-ERR wrong number of arguments for 'config|get' command");
    contains("CONFIG GET *", "appendfsync $8 everysec");
    cmd_send(client, "HELLO 3");
    CHECK_REPLY(client, "CONFIG GET maxmemory", "%1 $9 maxmemory $1 0");
    end();
}

TEST(config_set)
{
    begin();
    CHECK_REPLY(client, "CONFIG SET a",
                "-ERR wrong number of arguments for 'config|set' command");
    CHECK_REPLY(client, "CONFIG SET maxmemory 1 a", "-ERR syntax error");
    contains("CONFIG SET none 1", "-ERR Unknown option or number of arguments "
                                  "for CONFIG SET - 'none'");
    CHECK_REPLY(client, "CONFIG SET maxmemory abc",
                "-ERR CONFIG SET failed (possibly related to argument "
                "'maxmemory') - argument must be a memory value");
    CHECK_REPLY(client,
                "CONFIG SET slowlog-max-len 5 maxmemory abc ; "
                "CONFIG GET slowlog-max-len",
                "-ERR CONFIG SET failed (possibly related to argument "
                "'maxmemory') - argument must be a memory value | *2 $15 "
                "slowlog-max-len $3 128");
    CHECK_REPLY(client, "CONFIG REWRITE",
                "-ERR The server is running without a config file");
    contains("CONFIG HELP", "CONFIG <subcommand>");
    end();
}

/* A limit of memory holds at once, and ends at once. */
TEST(config_set_maxmemory)
{
    begin();
    CHECK_REPLY(client, "CONFIG SET maxmemory 1 ; SET a 1",
                "+OK | -OOM command not allowed when used memory > "
                "'maxmemory'.");
    CHECK_REPLY(client, "CONFIG SET maxmemory 0 ; SET a 1", "+OK | +OK");
    end();
}

/* With appendfsync always a reply waits until the log is synced. */
TEST(config_set_appendfsync)
{
    begin();
    struct wdb_log *log = wdb_db_log(cmd_world_context(world)->db);
    CHECK_REPLY(client, "SET a 1", "+OK");
    /* Its own reply, too: it stands behind that of the SET. */
    CHECK_REPLY(client, "CONFIG SET appendfsync always ; SET a 2", "");
    while (wdb_log_step(log)) {
    }
    CHECK_REPLY(client, "PING", "+OK | +OK | +PONG");
    CHECK_REPLY(client, "CONFIG SET appendfsync no ; SET a 3", "+OK | +OK");
    end();
}

/* store-merge no holds merges. */
TEST(config_set_merge)
{
    begin();
    struct wdb_store *store = wdb_db_store(cmd_world_context(world)->db);
    struct wdb_store_stats stats;
    CHECK_REPLY(client, "CONFIG SET store-merge no", "+OK");
    wdb_store_stats(store, &stats);
    CHECK(stats.merge_paused);
    CHECK_REPLY(client, "CONFIG SET store-merge yes", "+OK");
    wdb_store_stats(store, &stats);
    CHECK(!stats.merge_paused);
    end();
}

/* --- SLOWLOG ------------------------------------------------------------------------ */

TEST(slowlog_get)
{
    begin();
    CHECK_REPLY(client, "SLOWLOG LEN ; SLOWLOG GET", ":0 | *0");
    CHECK_REPLY(client, "SLOWLOG GET -2",
                "-ERR count should be greater than or equal to -1");
    CHECK_REPLY(client, "SLOWLOG GET x",
                "-ERR count should be greater than or equal to -1");
    CHECK_REPLY(client, "SLOWLOG GET 1 2",
                "-ERR unknown subcommand or wrong number of arguments for "
                "'GET'. Try SLOWLOG HELP.");
    cmd_send(client, "CLIENT SETNAME me ; CONFIG SET slowlog-log-slower-than 0 "
                     "; SET a 1 ; SET b 2 ; CONFIG SET slowlog-log-slower-than "
                     "-1");
    /* The command that sets it counts, the one that ends it does not. */
    CHECK_REPLY(client, "SLOWLOG LEN", ":3");
    contains("SLOWLOG GET 1", "*3 $3 SET $1 b $1 2 $11 127.0.0.1:1 $2 me");
    CHECK_REPLY(client, "SLOWLOG GET 0", "*0");
    CHECK(strncmp(cmd_send(client, "SLOWLOG GET -1"), "*3 *6 :2 ", 9) == 0);
    CHECK_REPLY(client, "SLOWLOG RESET ; SLOWLOG LEN", "+OK | :0");
    contains("SLOWLOG HELP", "SLOWLOG <subcommand>");
    end();
}

/* Passwords do not get there; EXEC does not, what it ran does. */
TEST(slowlog_leaves_out)
{
    begin();
    cmd_send(client, "CONFIG SET slowlog-log-slower-than 0 ; SLOWLOG RESET");
    cmd_send(client,
             "CONFIG SET masterauth secret maxmemory 0 ; "
             "AUTH default secret ; HELLO 2 AUTH default secret SETNAME x ; "
             "MULTI ; GET a ; EXEC");
    const char *shown = cmd_send(client, "SLOWLOG GET -1");
    CHECK(strstr(shown, "secret") == NULL);
    CHECK(strstr(shown, "EXEC") == NULL);
    CHECK(strstr(shown, "$3 GET $1 a") != NULL);
    CHECK(strstr(shown, "$10 masterauth $10 (redacted) $9 maxmemory $1 0") !=
          NULL);
    CHECK(strstr(shown, "$4 AUTH $10 (redacted) $10 (redacted)") != NULL);
    CHECK(strstr(shown, "$5 HELLO $1 2 $4 AUTH $10 (redacted) $10 (redacted) "
                        "$7 SETNAME $1 x") != NULL);
    end();
}

/* --- LATENCY ------------------------------------------------------------------------ */

TEST(latency_events)
{
    begin();
    struct wdb_latency *latency = cmd_world_context(world)->latency;
    CHECK_REPLY(client, "LATENCY LATEST ; LATENCY HISTORY command", "*0 | *0");
    CHECK_REPLY(client, "LATENCY RESET ; LATENCY RESET a b", ":0 | :0");
    CHECK_REPLY(client, "LATENCY GRAPH command",
                "-ERR No samples available for event 'command'");
    contains("LATENCY DOCTOR", "latency-monitor-threshold");
    wdb_latency_add(latency, "command", 100, 50);
    wdb_latency_add(latency, "command", 101, 30);
    wdb_latency_add(latency, "command", 102, 90);
    wdb_latency_add(latency, "expire-cycle", 102, 7);
    CHECK_REPLY(client, "LATENCY LATEST",
                "*2 *4 $7 command :102 :90 :90 *4 $12 expire-cycle :102 :7 :7");
    CHECK_REPLY(client, "LATENCY HISTORY command",
                "*3 *2 :100 :50 *2 :101 :30 *2 :102 :90");
    contains("LATENCY GRAPH command",
             "command - high 90 ms, low 30 ms (all time high 90 ms)\\x0a");
    cmd_send(client, "CONFIG SET latency-monitor-threshold 5");
    contains(
        "LATENCY DOCTOR",
        "1. command: 3 latency spikes (average 57 ms, mean deviation 22 ms");
    CHECK_REPLY(client, "LATENCY RESET expire-cycle none ; LATENCY RESET",
                ":1 | :1");
    contains("LATENCY DOCTOR", "Nothing took 5 ms");
    contains("LATENCY HELP", "LATENCY <subcommand>");
    end();
}

/* Bars of the drawing, and how long ago. */
TEST(latency_graph)
{
    begin();
    struct wdb_latency *latency = cmd_world_context(world)->latency;
    const uint64_t now_s = cmd_world_context(world)->env->ops->time_ms(
                               cmd_world_context(world)->env) /
                           1000;
    wdb_latency_add(latency, "e", now_s - 7200, 0);
    wdb_latency_add(latency, "e", now_s - 120, 11);
    wdb_latency_add(latency, "e", now_s - 60, 12);
    const char *shown = cmd_send(client, "LATENCY GRAPH e");
    CHECK(
        strstr(shown, "---\\x0a #\\x0a ||") != NULL ||
        strstr(shown, "---\\x0a ##\\x0a ||\\x0a ||\\x0a_||\\x0a221\\x0ahmm") !=
            NULL);
    end();
}

TEST(latency_histogram)
{
    begin();
    cmd_send(client, "CONFIG RESETSTAT");
    contains("LATENCY HISTOGRAM",
             "*2 $16 config|resetstat *4 $5 calls :1 $14 histogram_usec *2");
    cmd_send(client, "CONFIG RESETSTAT ; SET a 1 ; SET b 1 ; CLIENT ID ; "
                     "CLIENT LIST");
    contains("LATENCY HISTOGRAM set none", "*2 $3 set *4 $5 calls :2 ");
    CHECK(strncmp(cmd_send(client, "LATENCY HISTOGRAM client"), "*4 ", 3) == 0);
    contains("LATENCY HISTOGRAM CLIENT|ID", "*2 $9 client|id *4 $5 calls :1");
    CHECK_REPLY(client, "LATENCY HISTOGRAM none", "*0");
    cmd_send(client, "HELLO 3");
    contains("LATENCY HISTOGRAM set",
             "%1 $3 set %2 $5 calls :2 $14 histogram_usec %");
    end();
}

/* --- MEMORY -------------------------------------------------------------------------- */

TEST(memory_usage)
{
    begin();
    cmd_send(client, "SET a 1 ; SET b 1 EX 100");
    CHECK_REPLY(client, "MEMORY USAGE none", "$-1");
    const long long a = atoll(cmd_send(client, "MEMORY USAGE a") + 1);
    const long long b = atoll(cmd_send(client, "MEMORY USAGE b SAMPLES 0") + 1);
    CHECK(a > 24 && b > a);
    CHECK_REPLY(client, "MEMORY USAGE a SAMPLES", "-ERR syntax error");
    CHECK_REPLY(client, "MEMORY USAGE a SAMPLES -1", "-ERR syntax error");
    CHECK_REPLY(client, "MEMORY USAGE a SAMPLES x",
                "-ERR value is not an integer or out of range");
    CHECK_REPLY(client, "MEMORY USAGE a X 1", "-ERR syntax error");
    /* A string in chunks counts with all of them. */
    cmd_send(client, "SETRANGE big 200000 x ; SETRANGE big 5 y");
    CHECK(atoll(cmd_send(client, "MEMORY USAGE big") + 1) > 200000);
    end();
}

TEST(memory_others)
{
    begin();
    contains("MEMORY STATS", "$14 peak.allocated :");
    contains("MEMORY STATS", "$12 keydir.bytes :");
    contains("MEMORY DOCTOR", "$");
    CHECK_REPLY(client, "MEMORY PURGE", "+OK");
    CHECK(strncmp(cmd_send(client, "MEMORY MALLOC-STATS"), "$", 1) == 0);
    contains("MEMORY HELP", "MEMORY <subcommand>");
    cmd_send(client, "HELLO 3 ; SET a 1");
    contains("MEMORY STATS", "$4 db.0 %3 $23 overhead.hashtable.main :");
    contains("MEMORY DOCTOR", "txt:");
    end();
}

/* --- SHUTDOWN -------------------------------------------------------------------------- */

TEST(shutdown_options)
{
    begin();
    static const char *const wrong[] = {
        "SHUTDOWN NONE",       "SHUTDOWN SAVE NOSAVE", "SHUTDOWN ABORT NOW",
        "SHUTDOWN SAVE ABORT", "SHUTDOWN NOSAVE x",
    };
    for (size_t i = 0; i < WDB_COUNT(wrong); i++) {
        CHECK_REPLY(client, wrong[i], "-ERR syntax error");
    }
    CHECK_REPLY(client, "SHUTDOWN ABORT", "-ERR No shutdown in progress.");
    CHECK_REPLY(client, "MULTI ; SHUTDOWN ; EXEC",
                "+OK | -ERR Command not allowed inside a transaction | "
                "-EXECABORT Transaction discarded because of previous errors.");
    CHECK_EQ(cmd_world_shutdowns(world), 0);
    end();
}

/* There is no reply, and nothing behind it is executed. */
TEST(shutdown_answers_nothing)
{
    begin();
    CHECK_REPLY(client, "SET a 1 ; SHUTDOWN NOSAVE NOW FORCE ; SET a 2", "+OK");
    CHECK_EQ(cmd_world_shutdowns(world), 1);
    struct cmd_client *other = cmd_client_new(world);
    CHECK_REPLY(other, "GET a", "$1 1");
    cmd_client_free(other);
    end();
}

/* SAVE first; if that fails, the server goes on, unless forced. */
TEST(shutdown_save_fails)
{
    begin();
    cmd_world_set(world, "store-backup-keep", "1");
    char error[256];
    CHECK_EQ(wdb_config_force(cmd_world_context(world)->config,
                              WDB_CONFIG_STORE_BACKUP_DIR, "/none/at/all",
                              error, sizeof(error)),
             0);
    CHECK_REPLY(client, "SHUTDOWN SAVE",
                "-ERR Errors trying to SHUTDOWN. Check logs.");
    CHECK_EQ(cmd_world_shutdowns(world), 0);
    CHECK_REPLY(client, "SHUTDOWN SAVE FORCE", "");
    CHECK_EQ(cmd_world_shutdowns(world), 1);
    end();
}

/* --- the others -------------------------------------------------------------------------- */

TEST(small_commands)
{
    begin();
    CHECK_REPLY(client, "ROLE", "*3 $6 master :0 *0");
    CHECK(strncmp(cmd_send(client, "TIME"), "*2 $10 ", 7) == 0);
    contains("LOLWUT", "Redis ver. 7.0.15");
    contains("LOLWUT VERSION 5 1 2 3", "Redis ver. 7.0.15");
    CHECK_REPLY(client, "LOLWUT VERSION x",
                "-ERR value is not an integer or out of range");
    CHECK_REPLY(client, "MODULE LIST", "*0");
    contains("MODULE HELP", "MODULE <subcommand>");
    CHECK_REPLY(client, "FUNCTION LIST ; FUNCTION LIST WITHCODE LIBRARYNAME a",
                "*0 | *0");
    CHECK_REPLY(client, "FUNCTION LIST x", "-ERR Unknown argument x");
    CHECK_REPLY(client, "FUNCTION LIST LIBRARYNAME",
                "-ERR library name argument was not given");
    CHECK_REPLY(client, "FUNCTION FLUSH ; FUNCTION FLUSH SYNC", "+OK | +OK");
    CHECK_REPLY(client, "FUNCTION FLUSH x",
                "-ERR FUNCTION FLUSH only supports SYNC|ASYNC option");
    CHECK_REPLY(client, "FUNCTION FLUSH SYNC SYNC",
                "-ERR unknown subcommand or wrong number of arguments for "
                "'FLUSH'. Try FUNCTION HELP.");
    contains("FUNCTION HELP", "FUNCTION <subcommand>");
    end();
}
