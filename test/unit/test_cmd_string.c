/* test_cmd_string.c - the commands on strings, over the real executor. */
#include "lib/cmd_client.h"

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

/* What is written is read, in RESP2 and RESP3. */
TEST(cmd_get_set)
{
    begin();
    CHECK_REPLY(client, "GET key", "$-1");
    CHECK_REPLY(client, "SET key value", "+OK");
    CHECK_REPLY(client, "GET key ; get key ; GeT key",
                "$5 value | $5 value | $5 value");
    CHECK_REPLY(client, "SET key ''", "+OK");
    CHECK_REPLY(client, "GET key", "$0 ");
    CHECK_REPLY(client, "GET",
                "-ERR wrong number of arguments for 'get' "
                "command");
    cmd_client_session(client)->protocol = 3;
    CHECK_REPLY(client, "GET none", "_");
    end();
}

/* Options of SET: which go together, and what each does. */
TEST(cmd_set_options)
{
    begin();
    CHECK_REPLY(client, "SET k a XX", "$-1");
    CHECK_REPLY(client, "SET k a NX", "+OK");
    CHECK_REPLY(client, "SET k b NX", "$-1");
    CHECK_REPLY(client, "SET k b XX GET", "$1 a");
    CHECK_REPLY(client, "SET k c NX GET", "$1 b");
    CHECK_REPLY(client, "SET k d GET EX 100", "$1 b");
    CHECK_REPLY(client, "TTL k", ":100");
    CHECK_REPLY(client, "SET k e KEEPTTL", "+OK");
    CHECK_REPLY(client, "TTL k", ":100");
    CHECK_REPLY(client, "SET k e", "+OK");
    CHECK_REPLY(client, "TTL k", ":-1");
    CHECK_REPLY(client, "SET k e EX 10 PX 10", "-ERR syntax error");
    CHECK_REPLY(client, "SET k e EX 10 KEEPTTL", "-ERR syntax error");
    CHECK_REPLY(client, "SET k e NX XX", "-ERR syntax error");
    CHECK_REPLY(client, "SET k e EX", "-ERR syntax error");
    CHECK_REPLY(client, "SET k e PERSIST", "-ERR syntax error");
    CHECK_REPLY(client, "SET k e EX 0",
                "-ERR invalid expire time in 'set' command");
    CHECK_REPLY(client, "SET k e EX 9223372036854775807",
                "-ERR invalid expire time in 'set' command");
    CHECK_REPLY(client, "SET k e EX x",
                "-ERR value is not an integer or out of range");
    CHECK_REPLY(client, "SET k old PXAT 1", "+OK");
    CHECK_REPLY(client, "GET k", "$-1");
    end();
}

TEST(cmd_set_family)
{
    begin();
    CHECK_REPLY(client, "SETNX a 1 ; SETNX a 2 ; GET a", ":1 | :0 | $1 1");
    CHECK_REPLY(client, "SETEX a 10 x ; TTL a", "+OK | :10");
    CHECK_REPLY(client, "PSETEX a 20000 y ; TTL a", "+OK | :20");
    CHECK_REPLY(client, "SETEX a 0 x",
                "-ERR invalid expire time in 'setex' command");
    CHECK_REPLY(client, "GETSET a z ; TTL a", "$1 y | :-1");
    CHECK_REPLY(client, "GETSET none z", "$-1");
    CHECK_REPLY(client, "MSET a 1 b 2 a 3 ; MGET a b c a",
                "+OK | *4 $1 3 $1 2 $-1 $1 3");
    CHECK_REPLY(client, "MSET a 1 b",
                "-ERR wrong number of arguments for "
                "'mset' command");
    CHECK_REPLY(client, "MSETNX c 1 a 2 ; EXISTS c", ":0 | :0");
    CHECK_REPLY(client, "MSETNX c 1 d 2 ; MGET c d", ":1 | *2 $1 1 $1 2");
    CHECK_REPLY(client, "GETDEL a ; GETDEL a", "$1 3 | $-1");
    CHECK_REPLY(client, "GETEX b EX 5 ; TTL b ; GETEX b PERSIST ; TTL b",
                "$1 2 | :5 | $1 2 | :-1");
    CHECK_REPLY(client, "GETEX b ; GETEX b PXAT 1 ; GETEX b",
                "$1 2 | $1 2 | $-1");
    CHECK_REPLY(client, "GETEX b KEEPTTL", "-ERR syntax error");
    end();
}

TEST(cmd_string_ranges)
{
    begin();
    CHECK_REPLY(client, "APPEND k Hello ; APPEND k ' World' ; STRLEN k",
                ":5 | :11 | :11");
    CHECK_REPLY(client, "GETRANGE k 0 -1", "$11 Hello World");
    CHECK_REPLY(client, "GETRANGE k -5 -1 ; SUBSTR k 0 3",
                "$5 World | $4 Hell");
    CHECK_REPLY(client, "GETRANGE k 5 3 ; GETRANGE k -1 -5 ; GETRANGE k 20 30",
                "$0  | $0  | $0 ");
    CHECK_REPLY(client, "GETRANGE none 0 -1", "$0 ");
    CHECK_REPLY(client, "SETRANGE k 6 Redis ; GET k", ":11 | $11 Hello Redis");
    CHECK_REPLY(client, "SETRANGE n 3 x ; GET n", ":4 | $4 \\x00\\x00\\x00x");
    CHECK_REPLY(client, "SETRANGE none 3 '' ; EXISTS none", ":0 | :0");
    CHECK_REPLY(client, "SETRANGE k -1 x", "-ERR offset is out of range");
    CHECK_REPLY(client, "SETRANGE k 536870912 x",
                "-ERR string exceeds maximum allowed size "
                "(proto-max-bulk-len)");
    CHECK_REPLY(client, "OBJECT ENCODING k ; SET k 12 ; OBJECT ENCODING k",
                "$3 raw | +OK | $3 int");
    CHECK_REPLY(client, "APPEND k 3 ; GET k ; OBJECT ENCODING k",
                ":3 | $3 123 | $3 raw");
    end();
}

TEST(cmd_numbers)
{
    begin();
    CHECK_REPLY(client, "INCR n ; INCRBY n 10 ; DECR n ; DECRBY n 5",
                ":1 | :11 | :10 | :5");
    CHECK_REPLY(client, "SET n 9223372036854775807 ; INCR n",
                "+OK | -ERR increment or decrement would overflow");
    CHECK_REPLY(client, "DECRBY n -9223372036854775808",
                "-ERR decrement would overflow");
    CHECK_REPLY(client, "SET n ' 1' ; INCR n",
                "+OK | -ERR value is not an integer or out of range");
    CHECK_REPLY(client, "SET n 10.50 EX 100 ; INCRBYFLOAT n 0.1 ; TTL n",
                "+OK | $4 10.6 | :100");
    CHECK_REPLY(client, "SET n 5.0e3 ; INCRBYFLOAT n 2.0e2", "+OK | $4 5200");
    CHECK_REPLY(client, "OBJECT ENCODING n ; INCR n ; OBJECT ENCODING n",
                "$6 embstr | :5201 | $3 int");
    CHECK_REPLY(client, "INCRBYFLOAT n x", "-ERR value is not a valid float");
    CHECK_REPLY(client, "INCRBYFLOAT n inf",
                "-ERR increment would produce NaN or Infinity");
    end();
}

TEST(cmd_lcs)
{
    begin();
    CHECK_REPLY(client, "MSET a ohmytext b mynewtext", "+OK");
    CHECK_REPLY(client, "LCS a b ; LCS a b LEN", "$6 mytext | :6");
    CHECK_REPLY(client, "LCS a b IDX",
                "*4 $7 matches *2 *2 *2 :4 :7 *2 :5 :8 *2 *2 :2 :3 *2 :0 :1 "
                "$3 len :6");
    CHECK_REPLY(client, "LCS a b IDX MINMATCHLEN 4 WITHMATCHLEN",
                "*4 $7 matches *1 *3 *2 :4 :7 *2 :5 :8 :4 $3 len :6");
    CHECK_REPLY(client, "LCS a none ; LCS none none LEN", "$0  | :0");
    CHECK_REPLY(client, "LCS a b IDX LEN",
                "-ERR If you want both the length and indexes, please just use "
                "IDX.");
    end();
}

/* Nothing of an error's command happens, and it is one reply. */
TEST(cmd_levels)
{
    begin();
    CHECK_REPLY(client, "SET k v ; LEVELGET k 0 ; LEVELGET k 1 ; LEVELGET k 2",
                "+OK | $1 v | $1 v | $1 v");
    CHECK_REPLY(client, "LEVELGET k 3",
                "-ERR level must be 0 (leader), 1 (stale) or 2 (consistent)");
    end();
}

/* What was answered OK is there after a restart. */
TEST(cmd_strings_survive)
{
    begin();
    CHECK_REPLY(client,
                "MSET a 1 b 2 ; APPEND a 2 ; DEL b ; SELECT 3 ; SET c 3 "
                "EX 1000",
                "+OK | :2 | :1 | +OK | +OK");
    cmd_client_free(client);
    cmd_world_reopen(world);
    client = cmd_client_new(world);
    CHECK_REPLY(client, "MGET a b ; OBJECT ENCODING a",
                "*2 $2 12 $-1 | $3 raw");
    CHECK_REPLY(client, "SELECT 3 ; GET c ; TTL c ; DBSIZE",
                "+OK | $1 3 | :1000 | :1");
    end();
}
