/* test_cmd_generic.c - the commands on keys and databases. */
#include "lib/cmd_client.h"

#include <stdio.h>
#include <stdlib.h>

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

/* A key that is named twice is deleted once, and counted as often as named. */
TEST(cmd_del_exists)
{
    begin();
    CHECK_REPLY(client, "MSET a 1 b 2 c 3", "+OK");
    CHECK_REPLY(client, "EXISTS a b none a ; TOUCH a none", ":3 | :1");
    CHECK_REPLY(client, "DEL a a b none a ; UNLINK c c ; DBSIZE",
                ":2 | :1 | :0");
    char line[4096] = "DEL";
    for (int i = 0; i < 200; i++) {
        char set[64];
        snprintf(set, sizeof(set), "SET key%d 1", i % 100);
        CHECK_REPLY(client, set, "+OK");
        snprintf(line + strlen(line), sizeof(line) - strlen(line), " key%d",
                 i % 100);
    }
    CHECK_REPLY(client, line, ":100");
    CHECK_REPLY(client, "SET a 1 ; TYPE a ; TYPE none",
                "+OK | +string | +none");
    end();
}

TEST(cmd_rename_copy_move)
{
    begin();
    CHECK_REPLY(client, "SET a 1 EX 100 ; RENAME a b ; MGET a b ; TTL b",
                "+OK | +OK | *2 $-1 $1 1 | :100");
    CHECK_REPLY(client, "RENAME none x", "-ERR no such key");
    CHECK_REPLY(client, "RENAME b b ; RENAMENX b b ; SET c 2 ; RENAMENX b c",
                "+OK | :0 | +OK | :0");
    CHECK_REPLY(client, "RENAMENX b d ; EXISTS b d", ":1 | :1");
    CHECK_REPLY(client,
                "COPY d e ; GET e ; TTL e ; COPY d e ; COPY c e REPLACE",
                ":1 | $1 1 | :100 | :0 | :1");
    CHECK_REPLY(client, "GET e ; TTL e ; COPY none x ; COPY c c",
                "$1 2 | :-1 | :0 | -ERR source and destination objects are the "
                "same");
    CHECK_REPLY(client, "COPY c c DB 4 ; SELECT 4 ; GET c ; SELECT 0",
                ":1 | +OK | $1 2 | +OK");
    CHECK_REPLY(client, "MOVE c 4 ; MOVE d 4 ; EXISTS d ; MOVE none 4",
                ":0 | :1 | :0 | :0");
    CHECK_REPLY(client, "SELECT 4 ; GET d ; TTL d", "+OK | $1 1 | :100");
    CHECK_REPLY(client, "MOVE d 4 ; MOVE d 16 ; MOVE d x",
                "-ERR source and destination objects are the same | -ERR DB "
                "index is out of range | -ERR value is not an integer or out "
                "of range");
    /* What APPEND made raw stays raw. */
    CHECK_REPLY(client, "SET r 1 ; APPEND r 2 ; COPY r s ; RENAME r t",
                "+OK | :2 | :1 | +OK");
    CHECK_REPLY(client, "OBJECT ENCODING s ; OBJECT ENCODING t",
                "$3 raw | $3 raw");
    end();
}

TEST(cmd_expire)
{
    begin();
    CHECK_REPLY(client, "SET a 1 ; EXPIRE a 100 ; TTL a ; PERSIST a ; TTL a",
                "+OK | :1 | :100 | :1 | :-1");
    CHECK_REPLY(client, "PERSIST a ; EXPIRE none 1 ; TTL none ; PTTL none",
                ":0 | :0 | :-2 | :-2");
    CHECK_REPLY(client, "EXPIRE a 100 XX ; EXPIRE a 100 GT ; EXPIRE a 100 NX",
                ":0 | :0 | :1");
    CHECK_REPLY(client, "EXPIRE a 200 NX ; EXPIRE a 50 GT ; EXPIRE a 50 LT",
                ":0 | :0 | :1");
    CHECK_REPLY(client, "EXPIRE a 1 NX XX ; EXPIRE a 1 GT LT ; EXPIRE a 1 FOO",
                "-ERR NX and XX, GT or LT options at the same time are not "
                "compatible | -ERR GT and LT options at the same time are not "
                "compatible | -ERR Unsupported option FOO");
    CHECK_REPLY(client, "EXPIREAT a 33177117420 ; EXPIRETIME a ; PEXPIRETIME a",
                ":1 | :33177117420 | :33177117420000");
    CHECK_REPLY(client, "PEXPIREAT a 33177117420001 ; PEXPIRETIME a",
                ":1 | :33177117420001");
    CHECK_REPLY(client, "EXPIRE a 9223372036854775807",
                "-ERR invalid expire time in 'expire' command");
    CHECK_REPLY(client, "EXPIRE a -1 ; EXISTS a", ":1 | :0");
    CHECK_REPLY(client, "SET a 1 PX 1000 ; SET b 1 ; DBSIZE", "+OK | +OK | :2");
    cmd_world_advance_ms(world, 1001);
    CHECK_REPLY(client, "GET a ; EXISTS a ; DBSIZE ; KEYS *",
                "$-1 | :0 | :1 | *1 $1 b");
    CHECK_REPLY(client, "SET a 1 PX 1000", "+OK");
    cmd_world_advance_ms(world, 1001);
    CHECK_REPLY(client, "SETNX a 2 ; GET a ; TTL a", ":1 | $1 2 | :-1");
    end();
}

TEST(cmd_object)
{
    begin();
    CHECK_REPLY(client, "SET i 123 ; OBJECT ENCODING i ; OBJECT REFCOUNT i",
                "+OK | $3 int | :2147483647");
    CHECK_REPLY(client, "SET i 12345 ; OBJECT REFCOUNT i", "+OK | :1");
    CHECK_REPLY(client,
                "SET s 12345678901234567890123456789012345678901234 ; OBJECT "
                "ENCODING s",
                "+OK | $6 embstr");
    CHECK_REPLY(client,
                "SET s 123456789012345678901234567890123456789012345 ; OBJECT "
                "ENCODING s",
                "+OK | $3 raw");
    CHECK_REPLY(client, "OBJECT ENCODING none ; OBJECT IDLETIME none",
                "$-1 | $-1");
    CHECK_REPLY(client, "OBJECT IDLETIME s", ":0");
    cmd_world_advance_ms(world, 3000);
    CHECK_REPLY(client, "TTL s ; TYPE s ; EXISTS s ; OBJECT IDLETIME s",
                ":-1 | +string | :1 | :3");
    CHECK_REPLY(client, "TOUCH s ; OBJECT IDLETIME s", ":1 | :0");
    CHECK_REPLY(client, "OBJECT FREQ none", "$-1");
    CHECK(strncmp(cmd_send(client, "OBJECT FREQ s"), "-ERR An LFU", 11) == 0);
    CHECK_REPLY(client, "OBJECT FOO s",
                "-ERR unknown subcommand 'FOO'. Try OBJECT HELP.");
    end();
}

/* SCAN returns every key exactly once, whatever COUNT; KEYS all at once. */
TEST(cmd_scan)
{
    begin();
    enum {
        COUNT = 500
    };
    for (int i = 0; i < COUNT; i++) {
        char line[64];
        snprintf(line, sizeof(line), "SET key:%03d %d", i, i);
        CHECK_REPLY(client, line, "+OK");
    }
    int seen[COUNT] = {0};
    char line[64] = "SCAN 0 COUNT 7";
    for (int round = 0; round < COUNT; round++) {
        const char *reply = cmd_send(client, line);
        CHECK(strncmp(reply, "*2 $", 4) == 0);
        const char *cursor = strchr(reply + 4, ' ') + 1;
        for (const char *at = cursor; (at = strstr(at, "key:")) != NULL; at++) {
            seen[strtol(at + 4, NULL, 10)]++;
        }
        if (*cursor == '0') {
            break;
        }
        snprintf(line, sizeof(line), "SCAN %.*s COUNT 7",
                 (int)strcspn(cursor, " "), cursor);
    }
    for (int i = 0; i < COUNT; i++) {
        CHECK_EQ(seen[i], 1);
    }
    CHECK_REPLY(client, "KEYS key:12[34]x ; KEYS key:123",
                "*0 | *1 $7 key:123");
    CHECK_REPLY(client, "SCAN 0 MATCH key:123 COUNT 10000",
                "*2 $1 0 *1 $7 key:123");
    CHECK_REPLY(client, "SCAN 0 TYPE hash COUNT 10000", "*2 $1 0 *0");
    CHECK_REPLY(client, "SCAN x ; SCAN 0 COUNT 0 ; SCAN 0 COUNT x",
                "-ERR invalid cursor | -ERR syntax error | -ERR value is not "
                "an integer or out of range");
    CHECK(strstr(cmd_send(client, "RANDOMKEY"), "key:") != NULL);
    CHECK_REPLY(client, "SELECT 1 ; RANDOMKEY ; KEYS * ; SCAN 0",
                "+OK | $-1 | *0 | *2 $1 0 *0");
    end();
}

TEST(cmd_databases)
{
    begin();
    CHECK_REPLY(client, "SET a 0 ; SELECT 1 ; SET a 1 ; SELECT 2 ; DBSIZE",
                "+OK | +OK | +OK | +OK | :0");
    CHECK_REPLY(client, "SWAPDB 0 1 ; SELECT 0 ; GET a ; SELECT 1 ; GET a",
                "+OK | +OK | $1 1 | +OK | $1 0");
    CHECK_REPLY(client, "FLUSHDB ; DBSIZE ; SELECT 0 ; DBSIZE",
                "+OK | :0 | +OK | :1");
    CHECK_REPLY(client, "FLUSHALL ASYNC ; DBSIZE ; SET a 2 ; FLUSHALL FOO",
                "+OK | :0 | +OK | -ERR syntax error");
    CHECK_REPLY(client, "SELECT 16 ; SELECT -1 ; SELECT x",
                "-ERR DB index is out of range | -ERR DB index is out of range "
                "| -ERR value is not an integer or out of range");
    CHECK_REPLY(client, "SWAPDB x 1 ; SWAPDB 0 x ; SWAPDB 0 16",
                "-ERR invalid first DB index | -ERR invalid second DB index | "
                "-ERR DB index is out of range");
    CHECK_REPLY(client, "WAIT 1 1 ; WAIT x 1 ; WAIT 1 -1",
                ":0 | -ERR value is not an integer or out of range | -ERR "
                "timeout is negative");
    cmd_client_free(client);
    cmd_world_reopen(world);
    client = cmd_client_new(world);
    CHECK_REPLY(client, "GET a ; SELECT 1 ; DBSIZE", "$1 2 | +OK | :0");
    end();
}

/* Inside EXEC every command sees what the ones before it wrote. */
TEST(cmd_generic_in_exec)
{
    begin();
    CHECK_REPLY(
        client,
        "MULTI ; SET a 1 ; RENAME a b ; COPY b c ; APPEND c 2 ; DEL b ; "
        "MGET a b c ; KEYS * ; DBSIZE ; EXEC",
        "+OK | +QUEUED | +QUEUED | +QUEUED | +QUEUED | +QUEUED | "
        "+QUEUED | +QUEUED | +QUEUED | *8 +OK +OK :1 :2 :1 *3 $-1 $-1 "
        "$2 12 *1 $1 c :1");
    CHECK_REPLY(client, "MULTI ; SELECT 1 ; SET x 1 ; MOVE x 0 ; EXEC ; DBSIZE",
                "+OK | +QUEUED | +QUEUED | +QUEUED | *3 +OK +OK :1 | :0");
    CHECK_REPLY(
        client, "SELECT 0 ; MULTI ; INCR c ; LPUSH ; EXEC ; GET c",
        "+OK | +OK | +QUEUED | -ERR unknown command 'LPUSH', with args "
        "beginning with:  | -EXECABORT Transaction discarded because of "
        "previous errors. | $2 12");
    CHECK_REPLY(client,
                "MULTI ; SET d x ; INCR d ; GET d ; FLUSHDB ; GET d ; "
                "EXEC",
                "+OK | +QUEUED | +QUEUED | +QUEUED | +QUEUED | +QUEUED | *5 "
                "+OK -ERR value is not an integer or out of range $1 x +OK "
                "$-1");
    end();
}

/* A refused EXEC ends the transaction; one without MULTI changes nothing. */
TEST(cmd_exec_refused)
{
    begin();
    CHECK_REPLY(client, "MULTI ; SET a 1 ; EXEC now ; GET a ; EXEC",
                "+OK | +QUEUED | -EXECABORT Transaction discarded because of: "
                "wrong number of arguments for 'exec' command | $-1 | -ERR "
                "EXEC without MULTI");
    CHECK_REPLY(client, "WATCH a ; EXEC ; SET a 2 ; MULTI ; GET a ; EXEC",
                "+OK | -ERR EXEC without MULTI | +OK | +OK | +QUEUED | *-1");
    CHECK_REPLY(client, "MULTI ; INCR a", "+OK | +QUEUED");
    cmd_world_set(world, "min-replicas-to-write", "1");
    CHECK_REPLY(client, "EXEC ; INCR a ; GET a",
                "-EXECABORT Transaction discarded because of: NOREPLICAS Not "
                "enough good replicas to write. | -NOREPLICAS Not enough good "
                "replicas to write. | $1 2");
    cmd_world_set(world, "min-replicas-to-write", "0");
    CHECK_REPLY(client, "INCR a", ":3");
    end();
}
