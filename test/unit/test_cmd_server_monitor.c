/* test_cmd_server_monitor.c - MONITOR: which commands are shown, and how. */
#include "lib/cmd_client.h"

#include <stdio.h>
#include <stdlib.h>

static struct cmd_world *world;
static struct cmd_client *client, *monitor;

static void begin(void)
{
    world = cmd_world_new(test_tmpdir(), NULL);
    client = cmd_client_new(world);
    monitor = cmd_client_new(world);
    CHECK_REPLY(monitor, "MONITOR", "+OK");
}

static void end(void)
{
    cmd_client_free(client);
    cmd_client_free(monitor);
    cmd_world_free(world);
}

/* What the monitor has got, without the times: "[0 address] ... | ...". Ends
 * with the reply of the monitor's own ECHO, and its line. */
static const char *seen(void)
{
    static char text[64 << 10];
    char *to = text;
    const char *from = cmd_send(monitor, "ECHO end");
    while (*from != '\0' && to < text + sizeof(text) - 1) {
        if (from[0] == '+' && from[1] >= '0' && from[1] <= '9') {
            from = strchr(from, '[');
        }
        *to++ = *from++;
    }
    *to = '\0';
    return text;
}

#define LAST "$3 end | [0 127.0.0.1:1] \"ECHO\" \"end\""

TEST(monitor_lines)
{
    begin();
    cmd_send(client, "SET a 'b c' ; GET \"\\x01\\n\\r\\t\\\"\\\\\xc3\\xa9~\"");
    CHECK_STR(seen(), "[0 127.0.0.1:1] \"SET\" \"a\" \"b c\" | "
                      "[0 127.0.0.1:1] \"GET\" "
                      "\"\\x01\\n\\r\\t\\\"\\\\\\xc3\\xa9~\" | " LAST);
    /* The database is that after the command. */
    cmd_send(client, "SELECT 3 ; GET x");
    CHECK_STR(seen(), "[3 127.0.0.1:1] \"SELECT\" \"3\" | "
                      "[3 127.0.0.1:1] \"GET\" \"x\" | " LAST);
    end();
}

/* Not shown: what is refused, and what administers. */
TEST(monitor_leaves_out)
{
    begin();
    cmd_send(client, "NOSUCH ; GET ; CONFIG GET x ; DEBUG SLEEP 0 ; SAVE ; "
                     "SLOWLOG LEN ; LATENCY LATEST ; CLIENT LIST ; CLIENT ID");
    CHECK_STR(seen(), "[0 127.0.0.1:1] \"CLIENT\" \"ID\" | " LAST);
    end();
}

TEST(monitor_hides_passwords)
{
    begin();
    cmd_send(client, "AUTH secret ; AUTH default secret ; "
                     "HELLO 3 AUTH default secret SETNAME n");
    CHECK_STR(seen(),
              "[0 127.0.0.1:1] \"AUTH\" \"(redacted)\" | "
              "[0 127.0.0.1:1] \"AUTH\" \"(redacted)\" \"(redacted)\" | "
              "[0 127.0.0.1:1] \"HELLO\" \"3\" \"AUTH\" \"(redacted)\" "
              "\"(redacted)\" \"SETNAME\" \"n\" | " LAST);
    end();
}

/* What was queued is shown when EXEC has run it, before EXEC. */
TEST(monitor_transactions)
{
    begin();
    cmd_send(client, "MULTI ; SET a 1 ; GET a");
    CHECK_STR(seen(), "[0 127.0.0.1:1] \"MULTI\" | " LAST);
    cmd_send(client, "EXEC");
    CHECK_STR(seen(), "[0 127.0.0.1:1] \"SET\" \"a\" \"1\" | "
                      "[0 127.0.0.1:1] \"GET\" \"a\" | "
                      "[0 127.0.0.1:1] \"EXEC\" | " LAST);
    cmd_send(client, "MULTI ; SET a 2 ; NOSUCH ; EXEC");
    CHECK_STR(seen(), "[0 127.0.0.1:1] \"MULTI\" | "
                      "[0 127.0.0.1:1] \"EXEC\" | " LAST);
    cmd_send(client, "MULTI ; SET a 2 ; DISCARD");
    CHECK_STR(seen(), "[0 127.0.0.1:1] \"MULTI\" | "
                      "[0 127.0.0.1:1] \"DISCARD\" | " LAST);
    end();
}

/* A monitor is one until RESET; inside of EXEC nobody becomes one. */
TEST(monitor_begins_and_ends)
{
    begin();
    CHECK_EQ(cmd_world_context(world)->monitor_count, 1);
    cmd_send(monitor, "MONITOR");
    CHECK_EQ(cmd_world_context(world)->monitor_count, 1);
    cmd_send(monitor, "RESET");
    CHECK_EQ(cmd_world_context(world)->monitor_count, 0);
    cmd_send(client, "SET a 1");
    CHECK_REPLY(monitor, "ECHO end", "$3 end");
    CHECK_REPLY(client, "MULTI ; MONITOR ; EXEC",
                "+OK | +QUEUED | *1 -ERR MONITOR isn't allowed for DENY "
                "BLOCKING client");
    end();
}

/* A line does not go out before what it tells is in the log. */
TEST(monitor_waits_at_the_gate)
{
    begin();
    struct wdb_log *log = wdb_db_log(cmd_world_context(world)->db);
    cmd_send(client, "CONFIG SET appendfsync always");
    while (wdb_log_step(log)) {
    }
    cmd_send(client, "SET a 1");
    CHECK_REPLY(monitor, "ECHO end", "");
    while (wdb_log_step(log)) {
    }
    CHECK(strstr(cmd_send(monitor, "ECHO end"), "\"SET\" \"a\" \"1\"") != NULL);
    end();
}

/* An argument of a megabyte is cut. */
TEST(monitor_long_argument)
{
    begin();
    const size_t size = (size_t)2 << 20;
    uint8_t *bytes = malloc(size);
    REQUIRE(bytes != NULL);
    memset(bytes, 'x', size);
    const struct wdb_slice words[] = {wdb_slice_str("SET"), wdb_slice_str("k"),
                                      wdb_slice(bytes, size),
                                      wdb_slice_str("KEEPTTL")};
    cmd_send_slices(client, 4, words);
    const char *shown = cmd_send(monitor, "PING");
    const char *rest = strstr(shown, "x\"... (");
    REQUIRE(rest != NULL);
    CHECK(rest - shown < 1100000);
    CHECK(strstr(rest, " more bytes) \"\"... (7 more bytes)") != NULL);
    free(bytes);
    end();
}
