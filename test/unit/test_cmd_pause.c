/* test_cmd_pause.c - CLIENT PAUSE: what it holds, and what goes on. */
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

static uint64_t expired_count(void)
{
    return wdb_db_expired_count(cmd_world_context(world)->db);
}

static void expire_step(void)
{
    struct wdb_db *db = cmd_world_context(world)->db;
    uint64_t count = wdb_db_expire_step(db, 1000000);
    (void)count;
}

/* While writes are paused nothing expires, neither by itself nor because
 * somebody looks; but what is past its time is not shown. */
TEST(pause_holds_expiry)
{
    begin();
    CHECK_REPLY(client, "SET a 1 PX 10 ; SET b 1 PX 10 ; SET c 1",
                "+OK | +OK | +OK");
    CHECK_REPLY(client, "CLIENT PAUSE 1000000 WRITE", "+OK");
    cmd_world_advance_ms(world, 1000);
    expire_step();
    CHECK_REPLY(client, "GET a ; EXISTS b ; KEYS * ; DBSIZE",
                "$-1 | :0 | *1 $1 c | :3");
    CHECK_EQ(expired_count(), 0);
    CHECK_REPLY(client, "CLIENT UNPAUSE ; GET a", "+OK | $-1");
    CHECK_EQ(expired_count(), 1);
    expire_step();
    CHECK_EQ(expired_count(), 2);
    CHECK_REPLY(client, "DBSIZE", ":1");
    end();
}

/* A pause that nobody ends ends by itself, and with it that of the expiry. */
TEST(pause_ends)
{
    begin();
    CHECK_REPLY(client, "SET a 1 PX 10 ; CLIENT PAUSE 5000 WRITE", "+OK | +OK");
    cmd_world_advance_ms(world, 1000);
    expire_step();
    CHECK_EQ(expired_count(), 0);
    cmd_world_advance_ms(world, 5000);
    expire_step();
    CHECK_EQ(expired_count(), 1);
    end();
}
