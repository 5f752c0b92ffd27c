/* test_cmd_cluster_gate.c - which replies go out, and which are lost. */
#include <stdlib.h>

#include "cmd/slot.h"
#include "lib/cmd_cluster.h"

#define UNKNOWN                                                                \
    "-UNKNOWN leadership was lost before the outcome was known: the command "  \
    "may or may not have been done"

static struct cmd_world *world;
static struct cmd_cluster *cluster;
static struct cmd_client *client, *other;

static void begin(void)
{
    const struct cmd_world_options options = {.manual_commit = true};
    world = cmd_world_new(test_tmpdir(), &options);
    cluster = cmd_cluster_new(world);
    client = cmd_client_new(world);
    other = cmd_client_new(world);
    cmd_world_set(world, "read-consistency", "leader");
}

static void end(void)
{
    cmd_client_free(other);
    cmd_client_free(client);
    cmd_cluster_free(cluster);
    cmd_world_free(world);
}

/* A write is answered when it is committed, whatever appendfsync says; so is a
 * read of what it wrote, by anybody. What comes before is not held. */
TEST(gate_waits_for_commit)
{
    begin();
    cmd_world_set(world, "appendfsync", "no");
    CHECK_REPLY(client, "PING", "+PONG");
    CHECK_REPLY(client, "SET a 1 ; PING", "");
    CHECK_REPLY(other, "GET a", "");
    CHECK_REPLY(other, "", "");
    cmd_cluster_commit(cluster);
    CHECK_REPLY(client, "", "+OK | +PONG");
    CHECK_REPLY(other, "", "$1 1");
    end();
}

/* A consistent read waits for a round that began behind it; one round is asked
 * for a run of commands, and a write needs none. */
TEST(gate_waits_for_round)
{
    begin();
    cmd_world_set(world, "read-consistency", "consistent");
    CHECK_REPLY(client, "SET a 1 ; SET b 2", "");
    cmd_cluster_commit(cluster);
    CHECK_REPLY(client, "", "+OK | +OK");
    CHECK_EQ(cluster->asked, 0);
    CHECK_REPLY(client, "GET a ; GET b ; MGET a b", "");
    CHECK_EQ(cluster->asked, 1);
    CHECK_REPLY(other, "GET a", "");
    CHECK_EQ(cluster->asked, 2);
    cmd_cluster_confirm(cluster);
    CHECK_REPLY(client, "", "$1 1 | $1 2 | *2 $1 1 $1 2");
    CHECK_REPLY(other, "", "$1 1");
    /* A write that writes nothing is a read. */
    CHECK_REPLY(client, "SET a 2 NX", "");
    CHECK_REPLY(client, "DEL none", "");
    CHECK_EQ(cluster->asked, 4);
    cmd_cluster_confirm(cluster);
    CHECK_REPLY(client, "", "$-1 | :0");
    /* One that does is confirmed by its commit. */
    CHECK_REPLY(client, "MULTI ; GET a ; SET a 3", "+OK | +QUEUED | +QUEUED");
    CHECK_REPLY(client, "EXEC", "");
    cmd_cluster_commit(cluster);
    CHECK_REPLY(client, "", "*2 $1 1 +OK");
    CHECK_EQ(cluster->asked, 4);
    CHECK_REPLY(client, "MULTI ; GET a", "+OK | +QUEUED");
    CHECK_REPLY(client, "EXEC", "");
    cmd_cluster_confirm(cluster);
    CHECK_REPLY(client, "", "*1 $1 3");
    end();
}

/* Levels of a connection, and of a single read. */
TEST(gate_levels)
{
    begin();
    CHECK_REPLY(client, "SET a 1", "");
    cmd_cluster_commit(cluster);
    CHECK_REPLY(client, "GET a", "+OK | $1 1");
    CHECK_REPLY(client, "LEVELGET a 0 ; LEVELGET a 1", "$1 1 | $1 1");
    CHECK_EQ(cluster->asked, 0);
    CHECK_REPLY(client, "LEVELGET a 2", "");
    CHECK_EQ(cluster->asked, 1);
    cmd_cluster_confirm(cluster);
    CHECK_REPLY(client, "", "$1 1");
    CHECK_REPLY(client, "LEVELGET a 3",
                "-ERR level must be 0 (leader), 1 (stale) or 2 (consistent)");
    CHECK_REPLY(client, "MULTI ; LEVELGET a 2", "+OK | +QUEUED");
    CHECK_REPLY(client, "EXEC", "");
    cmd_cluster_confirm(cluster);
    CHECK_REPLY(client, "", "*1 $1 1");
    /* Speculation is invisible to stale reads, too. */
    CHECK_REPLY(other, "SET a 2", "");
    CHECK_REPLY(client, "LEVELGET a 1", "");
    cmd_cluster_commit(cluster);
    CHECK_REPLY(client, "", "$1 2");
    end();
}

/* Office is lost: each reply that was not out is answered by one error, and the
 * effects are gone. */
TEST(gate_loses)
{
    begin();
    CHECK_REPLY(client, "SET a 1", "");
    cmd_cluster_commit(cluster);
    CHECK_REPLY(client, "", "+OK");
    CHECK_REPLY(client, "PING", "+PONG");
    CHECK_REPLY(client, "SET a 2 ; GET a ; PING", "");
    cmd_client_session(other)->protocol = 3;
    CHECK_REPLY(other, "GET a ; MGET a b", "");
    cmd_cluster_lose(cluster);
    CHECK_REPLY(client, "", UNKNOWN " | " UNKNOWN " | " UNKNOWN);
    CHECK_REPLY(other, "", UNKNOWN " | " UNKNOWN);
    cmd_cluster_serve(cluster);
    CHECK_REPLY(client, "GET a", "$1 1");
    CHECK_REPLY(other, "GET a", "$1 1");
    CHECK_EQ(wdb_stats_sum(cmd_world_context(world)->stats, WDB_STATS_LOST), 5);
    end();
}

/* What had passed the gate before is still sent, although it lies in the output
 * when office is lost. */
TEST(gate_keeps_what_passed)
{
    begin();
    CHECK_REPLY(other, "SET a 1", "");
    cmd_cluster_commit(cluster);
    (void)wdb_executor_gate(cmd_client_session(client)->executor);
    struct wdb_session *session = cmd_client_session(other);
    CHECK_EQ(session->mark_count, 1);
    cmd_cluster_lose(cluster);
    CHECK_REPLY(other, "", "+OK");
    end();
}

/* An entry of another leader with the number of a lost one frees nothing. */
TEST(gate_number_again)
{
    begin();
    CHECK_REPLY(client, "SET a 1", "");
    cmd_cluster_lose(cluster);
    cmd_cluster_commit(cluster); /* of what is in the log by then */
    CHECK_REPLY(client, "", UNKNOWN);
    end();
}

/* Replies that are not wanted are not lost; lines of MONITOR are, without a
 * word. */
TEST(gate_counts_replies)
{
    begin();
    CHECK_REPLY(client, "CLIENT REPLY OFF ; SET a 1 ; SET b 1", "");
    CHECK_REPLY(other, "SET c 1 ; CLIENT REPLY SKIP ; SET d 1 ; SET e 1", "");
    cmd_cluster_lose(cluster);
    CHECK_REPLY(client, "", "");
    CHECK_REPLY(other, "", UNKNOWN " | " UNKNOWN);
    cmd_cluster_serve(cluster);
    CHECK_REPLY(client, "CLIENT REPLY ON ; GET a", "+OK | $-1");
    CHECK_REPLY(client, "MONITOR", "+OK");
    CHECK_REPLY(other, "SET a 1", "");
    cmd_cluster_lose(cluster);
    CHECK_REPLY(other, "", UNKNOWN);
    CHECK_REPLY(client, "", "");
    end();
}

/* A large value that is sent from the mapping is dropped, too. */
TEST(gate_drops_borrowed)
{
    begin();
    char *value = malloc(100001);
    REQUIRE(value != NULL);
    memset(value, 'v', 100000);
    const struct wdb_slice set[] = {wdb_slice_str("SET"), wdb_slice_str("big"),
                                    wdb_slice(value, 100000)};
    CHECK_STR(cmd_send_slices(client, 3, set), "");
    cmd_cluster_commit(cluster);
    CHECK_REPLY(client, "", "+OK");
    cmd_world_set(world, "read-consistency", "consistent");
    CHECK_REPLY(client, "GET big ; GET big ; STRLEN big", "");
    cmd_cluster_lose(cluster);
    CHECK_REPLY(client, "", UNKNOWN " | " UNKNOWN " | " UNKNOWN);
    cmd_cluster_serve(cluster);
    CHECK_REPLY(client, "STRLEN big", "");
    cmd_cluster_confirm(cluster);
    CHECK_REPLY(client, "", ":100000");
    free(value);
    end();
}

/* Watches of what was taken back are touched. */
TEST(gate_touches_watches)
{
    begin();
    CHECK_REPLY(other, "SET a 1", "");
    CHECK_REPLY(client, "WATCH a", "");
    cmd_cluster_lose(cluster);
    cmd_cluster_serve(cluster);
    CHECK_REPLY(client, "MULTI ; PING ; EXEC",
                UNKNOWN " | +OK | +QUEUED | *-1");
    end();
}

/* As the cluster specification and Redis compute them. */
TEST(slots)
{
    CHECK_EQ(wdb_key_slot(wdb_slice_str("123456789")), 0x31c3);
    CHECK_EQ(wdb_key_slot(wdb_slice_str("foo")), 12182);
    CHECK_EQ(wdb_key_slot(wdb_slice_str("{foo}.bar")), 12182);
    CHECK_EQ(wdb_key_slot(wdb_slice_str("x{foo}{bar}")), 12182);
    CHECK_EQ(wdb_key_slot(wdb_slice_str("foo{}{bar}")), 8363);
    CHECK_EQ(wdb_key_slot(wdb_slice_str("foo{{bar}}zap")),
             wdb_key_slot(wdb_slice_str("{bar")));
    CHECK_EQ(wdb_key_slot(wdb_slice_str("")), 0);
    CHECK_EQ(wdb_key_slot(wdb_slice_str("{")), 4092);
}
