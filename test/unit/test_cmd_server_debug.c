/* test_cmd_server_debug.c - DEBUG: who may, and what it answers. */
#include "lib/cmd_client.h"

#include <stdio.h>
#include <stdlib.h>

static struct cmd_world *world;
static struct cmd_client *client;

static void allow(const char *value)
{
    char error[256];
    CHECK_EQ(wdb_config_force(cmd_world_context(world)->config,
                              WDB_CONFIG_ENABLE_DEBUG_COMMAND, value, error,
                              sizeof(error)),
             0);
}

static void begin(void)
{
    world = cmd_world_new(test_tmpdir(), NULL);
    client = cmd_client_new(world);
    allow("yes");
}

static void end(void)
{
    cmd_client_free(client);
    cmd_world_free(world);
}

#define REFUSED                                                                \
    "-ERR DEBUG command not allowed. If the enable-debug-command option is "   \
    "set to \"local\", you can run it from a local connection, otherwise you " \
    "need to set this option in the configuration file, and then restart the " \
    "server."

TEST(debug_is_guarded)
{
    begin();
    CHECK_REPLY(client, "DEBUG SLEEP 0", "+OK");
    allow("no");
    CHECK_REPLY(client, "DEBUG SLEEP 0", REFUSED);
    CHECK_REPLY(client, "DEBUG NONE", REFUSED);
    allow("local");
    CHECK_REPLY(client, "DEBUG SLEEP 0", "+OK");
    struct wdb_session *session = cmd_client_session(client);
    snprintf(session->about.address, sizeof(session->about.address),
             "192.168.0.1:127");
    CHECK_REPLY(client, "DEBUG SLEEP 0", REFUSED);
    session->flags |= WDB_SESSION_UNIX_SOCKET;
    CHECK_REPLY(client, "DEBUG SLEEP 0", "+OK");
    end();
}

TEST(debug_errors)
{
    begin();
    CHECK_REPLY(client, "DEBUG",
                "-ERR wrong number of arguments for 'debug' command");
    static const char *const wrong[] = {
        "SLEEP", "NONE", "OBJECT", "PROTOCOL", "SET-ACTIVE-EXPIRE", "POPULATE"};
    for (size_t i = 0; i < WDB_COUNT(wrong); i++) {
        char line[64], reply[256];
        snprintf(line, sizeof(line), "DEBUG %s", wrong[i]);
        snprintf(reply, sizeof(reply),
                 "-ERR unknown subcommand or wrong number of arguments for "
                 "'%s'. Try DEBUG HELP.",
                 wrong[i]);
        CHECK_REPLY(client, line, reply);
    }
    CHECK_REPLY(client, "DEBUG ERROR 'CUSTOM text'", "-CUSTOM text");
    CHECK_REPLY(client, "DEBUG RELOAD NOSAVE x",
                "-ERR DEBUG RELOAD only supports the MERGE, NOFLUSH and NOSAVE "
                "options.");
    CHECK(strstr(cmd_send(client, "DEBUG HELP"), "DEBUG <subcommand>") != NULL);
    end();
}

TEST(debug_accepted)
{
    begin();
    static const char *const lines[] = {
        "DEBUG SET-ACTIVE-EXPIRE 0",
        "DEBUG SET-ACTIVE-EXPIRE 1",
        "DEBUG QUICKLIST-PACKED-THRESHOLD 10b",
        "DEBUG CHANGE-REPL-ID",
        "DEBUG LOG hello",
        "DEBUG PAUSE-CRON 1",
        "DEBUG REPLYBUFFER RESIZING 0",
        "DEBUG RELOAD",
        "DEBUG RELOAD MERGE NOFLUSH NOSAVE",
        "DEBUG LOADAOF",
        "DEBUG SLEEP x",
    };
    cmd_send(client, "SET a 1");
    for (size_t i = 0; i < WDB_COUNT(lines); i++) {
        CHECK_REPLY(client, lines[i], "+OK");
    }
    CHECK_REPLY(client,
                "DEBUG STRINGMATCH-LEN abc a* ; "
                "DEBUG STRINGMATCH-LEN abc b*",
                ":1 | :0");
    CHECK_REPLY(client, "GET a", "$1 1");
    end();
}

TEST(debug_sleep)
{
    begin();
    const uint64_t before = test_now_ns();
    CHECK_REPLY(client, "DEBUG SLEEP 0.02", "+OK");
    CHECK(test_now_ns() - before >= 20000000);
    end();
}

/* The digests are those of redis-server 7.0.15 for the same keys. */
TEST(debug_digest)
{
    begin();
    CHECK_REPLY(client, "DEBUG DIGEST",
                "+0000000000000000000000000000000000000000");
    CHECK_REPLY(client, "DEBUG DIGEST-VALUE", "*0");
    cmd_send(client, "SET k v");
    CHECK_REPLY(client, "DEBUG DIGEST",
                "+264ccf65edec66bccfa7cc659414ccca432057d2");
    CHECK_REPLY(client, "DEBUG DIGEST-VALUE k none",
                "*2 +d79ee9fe5d5ad902d7f6620efc3b07b75ddd742f "
                "+0000000000000000000000000000000000000000");
    /* The order of writing does not matter; value, key, database, expiry do. */
    char first[64], second[64];
    cmd_send(client, "SET a 1 ; SET b 2");
    snprintf(first, sizeof(first), "%s", cmd_send(client, "DEBUG DIGEST"));
    cmd_send(client, "FLUSHALL ; SET b 2 ; SET k v ; SET a 1");
    CHECK_REPLY(client, "DEBUG DIGEST", first);
    cmd_send(client, "EXPIRE a 100");
    snprintf(second, sizeof(second), "%s", cmd_send(client, "DEBUG DIGEST"));
    CHECK(strcmp(first, second) != 0);
    cmd_send(client, "PERSIST a ; MOVE a 1");
    snprintf(second, sizeof(second), "%s", cmd_send(client, "DEBUG DIGEST"));
    CHECK(strcmp(first, second) != 0);
    end();
}

/* A string in chunks has the digest of its bytes. */
TEST(debug_digest_of_chunks)
{
    begin();
    char whole[64];
    cmd_send(client, "SETRANGE big 99999 x ; SETRANGE big 10 y ; GET big");
    snprintf(whole, sizeof(whole), "%s",
             cmd_send(client, "DEBUG DIGEST-VALUE big"));
    cmd_send(client, "GET big");
    const struct wdb_slice reply = cmd_reply_bytes(client);
    uint8_t *copy = malloc(reply.size);
    REQUIRE(copy != NULL && reply.size == 9 + 100000 + 2);
    memcpy(copy, reply.data, reply.size);
    const struct wdb_slice words[] = {wdb_slice_str("SET"),
                                      wdb_slice_str("big"),
                                      wdb_slice(copy + 9, 100000)};
    cmd_send_slices(client, 3, words);
    CHECK_REPLY(client, "DEBUG DIGEST-VALUE big", whole);
    free(copy);
    end();
}

TEST(debug_object)
{
    begin();
    cmd_send(client, "SET a 12 ; SET b text");
    CHECK_REPLY(client, "DEBUG OBJECT none", "-ERR no such key");
    const char *shown = cmd_send(client, "DEBUG OBJECT a");
    CHECK(strncmp(shown, "+Value at:0x", 12) == 0);
    CHECK(strstr(shown, " encoding:int serializedlength:3 lru:") != NULL);
    CHECK(strstr(cmd_send(client, "DEBUG OBJECT b"),
                 " refcount:1 encoding:embstr serializedlength:5 ") != NULL);
    end();
}

TEST(debug_populate)
{
    begin();
    cmd_send(client, "SET key:1 mine");
    CHECK_REPLY(client, "DEBUG POPULATE 3 ; DBSIZE ; MGET key:0 key:1 key:2",
                "+OK | :3 | *3 $7 value:0 $4 mine $7 value:2");
    CHECK_REPLY(client,
                "DEBUG POPULATE 2 p 3 ; GET p:1 ; "
                "DEBUG POPULATE 1 q 9 ; GET q:0",
                "+OK | $3 val | +OK | $9 value:0\\x00\\x00");
    CHECK_REPLY(client, "DEBUG POPULATE x",
                "-ERR value is not an integer or out of range");
    CHECK_REPLY(client, "DEBUG POPULATE -1",
                "-ERR value is out of range, must be positive");
    cmd_client_free(client);
    cmd_world_reopen(world);
    client = cmd_client_new(world);
    end();
}

/* What takes locks by itself is refused inside of EXEC, which holds them. */
TEST(debug_in_exec)
{
    begin();
    CHECK_REPLY(client,
                "MULTI ; SET a 1 ; DEBUG OBJECT a ; DEBUG SLEEP 0 ; "
                "EXEC",
                "+OK | +QUEUED | +QUEUED | +QUEUED | *3 +OK -ERR this DEBUG "
                "subcommand is not possible inside of a transaction +OK");
    end();
}

TEST(debug_protocol)
{
    begin();
    CHECK_REPLY(client,
                "DEBUG PROTOCOL string ; DEBUG PROTOCOL integer ; "
                "DEBUG PROTOCOL double ; DEBUG PROTOCOL null ; "
                "DEBUG PROTOCOL array ; DEBUG PROTOCOL set ; "
                "DEBUG PROTOCOL map ; DEBUG PROTOCOL true ; "
                "DEBUG PROTOCOL false",
                "$11 Hello World | :12345 | $5 3.141 | $-1 | *3 :0 :1 :2 | "
                "*3 :0 :1 :2 | *6 :0 :0 :1 :1 :2 :0 | :1 | :0");
    CHECK_REPLY(client, "DEBUG PROTOCOL attrib ; DEBUG PROTOCOL push",
                "$39 Some real reply following the attribute | -ERR RESP2 is "
                "not supported by this command");
    CHECK(strncmp(cmd_send(client, "DEBUG PROTOCOL none"),
                  "-ERR Wrong protocol type name.", 30) == 0);
    cmd_send(client, "HELLO 3");
    CHECK_REPLY(client,
                "DEBUG PROTOCOL double ; DEBUG PROTOCOL null ; "
                "DEBUG PROTOCOL set ; DEBUG PROTOCOL map ; "
                "DEBUG PROTOCOL bignum ; DEBUG PROTOCOL true ; "
                "DEBUG PROTOCOL push",
                ",3.141 | _ | ~3 :0 :1 :2 | %3 :0 #f :1 #t :2 #f | "
                "(1234567999999999999999999999999999999 | #t | >2 $16 "
                "server-cpu-usage :42");
    end();
}
