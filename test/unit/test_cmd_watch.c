/* test_cmd_watch.c - WATCH and keys that expire, are flushed or swapped. */
#include "lib/cmd_client.h"

#define EXECUTED "+OK | +QUEUED | *1 +PONG"
#define REFUSED  "+OK | +QUEUED | *-1"

static struct cmd_world *world;
static struct cmd_client *client, *other;

static void begin(void)
{
    world = cmd_world_new(test_tmpdir(), NULL);
    client = cmd_client_new(world);
    other = cmd_client_new(world);
}

static void end(void)
{
    cmd_client_free(other);
    cmd_client_free(client);
    cmd_world_free(world);
}

static const char *execute(void)
{
    return cmd_send(client, "MULTI ; PING ; EXEC");
}

/* A key that was past its time when it was watched is not touched by its
 * deletion, whoever does that, but by a write. */
TEST(watch_stale)
{
    begin();
    CHECK_REPLY(other, "SET x 1 PX 10", "+OK");
    cmd_world_advance_ms(world, 100);
    CHECK_REPLY(client, "WATCH x", "+OK");
    CHECK_STR(execute(), EXECUTED);
    CHECK_REPLY(client, "WATCH x", "+OK");
    CHECK_REPLY(other, "EXISTS x", ":0"); /* deletes it */
    CHECK_STR(execute(), EXECUTED);
    CHECK_REPLY(other, "SET x 1 PX 10", "+OK");
    cmd_world_advance_ms(world, 100);
    CHECK_REPLY(client, "WATCH x", "+OK");
    CHECK_REPLY(other, "SET x 2", "+OK");
    CHECK_STR(execute(), REFUSED);
    end();
}

/* One that expires afterwards is, deleted or not. */
TEST(watch_expires)
{
    begin();
    CHECK_REPLY(other, "SET x 1 PX 10", "+OK");
    CHECK_REPLY(client, "WATCH x", "+OK");
    cmd_world_advance_ms(world, 100);
    CHECK_STR(execute(), REFUSED);
    CHECK_REPLY(other, "SET x 1 PX 10", "+OK");
    CHECK_REPLY(client, "WATCH x", "+OK");
    cmd_world_advance_ms(world, 100);
    CHECK_REPLY(other, "EXISTS x", ":0");
    CHECK_STR(execute(), REFUSED);
    end();
}

/* The same while CLIENT PAUSE holds the deletion. */
TEST(watch_stale_paused)
{
    begin();
    CHECK_REPLY(other, "SET x 1 PX 10 ; CLIENT PAUSE 100000 WRITE",
                "+OK | +OK");
    cmd_world_advance_ms(world, 100);
    CHECK_REPLY(client, "WATCH x", "+OK");
    CHECK_STR(execute(), EXECUTED);
    CHECK_REPLY(client, "WATCH x", "+OK");
    CHECK_REPLY(other, "CLIENT UNPAUSE ; SET x 2", "+OK | +OK");
    CHECK_STR(execute(), REFUSED);
    end();
}

/* A flush and a swap touch what appears or vanishes; stale keys do neither. */
TEST(watch_databases)
{
    begin();
    CHECK_REPLY(client, "WATCH x", "+OK");
    CHECK_REPLY(other, "FLUSHALL", "+OK");
    CHECK_STR(execute(), EXECUTED);
    CHECK_REPLY(other, "SET x 1", "+OK");
    CHECK_REPLY(client, "WATCH x", "+OK");
    CHECK_REPLY(other, "FLUSHALL", "+OK");
    CHECK_STR(execute(), REFUSED);
    /* Nothing is replaced by something. */
    CHECK_REPLY(other, "SELECT 1 ; SET x 1", "+OK | +OK");
    CHECK_REPLY(client, "WATCH x", "+OK");
    CHECK_REPLY(other, "SWAPDB 0 1", "+OK");
    CHECK_STR(execute(), REFUSED);
    /* Something by nothing. */
    CHECK_REPLY(client, "WATCH x", "+OK");
    CHECK_REPLY(other, "SWAPDB 0 1", "+OK");
    CHECK_STR(execute(), REFUSED);
    /* Stale by nothing, and nothing by stale. */
    CHECK_REPLY(other, "FLUSHALL ; SET x 1 PX 10", "+OK | +OK");
    cmd_world_advance_ms(world, 100);
    CHECK_REPLY(client, "WATCH x", "+OK");
    CHECK_REPLY(other, "SWAPDB 0 1", "+OK");
    CHECK_STR(execute(), EXECUTED);
    CHECK_REPLY(client, "SELECT 1 ; WATCH x", "+OK | +OK");
    CHECK_REPLY(other, "SWAPDB 0 1", "+OK");
    CHECK_STR(execute(), EXECUTED);
    /* Stale by stale, and what comes then. */
    CHECK_REPLY(other, "FLUSHALL ; SET x 1 PX 10 ; SELECT 0 ; SET x 2 PX 10",
                "+OK | +OK | +OK | +OK");
    cmd_world_advance_ms(world, 100);
    CHECK_REPLY(client, "WATCH x", "+OK");
    CHECK_REPLY(other, "SWAPDB 0 1", "+OK");
    CHECK_STR(execute(), EXECUTED);
    CHECK_REPLY(client, "WATCH x", "+OK");
    CHECK_REPLY(other, "SWAPDB 0 1 ; SELECT 1 ; SET x 3", "+OK | +OK | +OK");
    CHECK_STR(execute(), REFUSED);
    end();
}
