/* test_cmd_cluster_route.c - where requests of a cluster's clients go. */
#include "lib/cmd_cluster.h"

#define DOWN "-CLUSTERDOWN no leader is known: nothing was done, try again"

static struct cmd_world *world;
static struct cmd_cluster *cluster;
static struct cmd_client *client;

/* Three election timeouts. */
static uint64_t hold_ms(void)
{
    return 3 * wdb_config_u64(cmd_world_context(world)->config,
                              WDB_CONFIG_RAFT_ELECTION_TIMEOUT);
}

static void begin(void)
{
    const struct cmd_world_options options = {.manual_commit = true};
    world = cmd_world_new(test_tmpdir(), &options);
    cluster = cmd_cluster_new(world);
    client = cmd_client_new(world);
    cmd_world_set(world, "read-consistency", "leader");
    CHECK_REPLY(client, "SET foo 1", "");
    cmd_cluster_commit(cluster);
    CHECK_REPLY(client, "", "+OK");
}

static void end(void)
{
    cmd_client_free(client);
    cmd_cluster_free(cluster);
    cmd_world_free(world);
}

static uint64_t stat(enum wdb_stats_counter counter)
{
    return wdb_stats_sum(cmd_world_context(world)->stats, counter);
}

/* Without a leader a request is held, and goes on when there is one. */
TEST(route_holds)
{
    begin();
    cmd_cluster_lose(cluster);
    CHECK_REPLY(client, "PING ; GET foo ; PING", "+PONG");
    CHECK_REPLY(client, "", "");
    cmd_cluster_serve(cluster);
    CHECK_REPLY(client, "", "$1 1 | +PONG");
    CHECK_EQ(stat(WDB_STATS_HELD), 1);
    /* Known to lead, but not ready. */
    cmd_cluster_follow(cluster, 1);
    CHECK_REPLY(client, "GET foo", "");
    cmd_cluster_serve(cluster);
    CHECK_REPLY(client, "", "$1 1");
    end();
}

/* For so long; then it is an error that says that nothing was done. */
TEST(route_holds_for_a_time)
{
    begin();
    cmd_world_set(world, "raft-hold-timeout", "700");
    cmd_cluster_lose(cluster);
    CHECK_REPLY(client, "SET a 1 ; PING", "");
    cmd_world_advance_ms(world, 600);
    CHECK_REPLY(client, "", "");
    cmd_world_advance_ms(world, 200);
    CHECK_REPLY(client, "", DOWN " | +PONG");
    /* Where nobody has led for so long already, at once. */
    struct wdb_env *env = cmd_world_context(world)->env;
    atomic_store(&cluster->gate.leader_seen_ns,
                 env->ops->monotonic_ns(env) - UINT64_C(800000000));
    CHECK_REPLY(client, "SET a 1", DOWN);
    atomic_store(&cluster->gate.leader_seen_ns, 0);
    /* By itself it is a matter of the election timeout. */
    cmd_world_set(world, "raft-hold-timeout", "0");
    CHECK_REPLY(client, "CLIENT REPLY SKIP ; SET a 1 ; SET b 1", "");
    cmd_world_advance_ms(world, hold_ms() - 100);
    CHECK_REPLY(client, "", "");
    cmd_world_advance_ms(world, 200);
    CHECK_REPLY(client, "", ""); /* the first one's is not wanted */
    cmd_world_advance_ms(world, hold_ms());
    CHECK_REPLY(client, "", DOWN);
    end();
}

/* Transactions: only EXEC looks at the cluster. */
TEST(route_transactions)
{
    begin();
    cmd_cluster_lose(cluster);
    CHECK_REPLY(client, "MULTI ; SET foo 2 ; GET foo ; DISCARD",
                "+OK | +QUEUED | +QUEUED | +OK");
    CHECK_REPLY(client, "MULTI ; PING ; EXEC", "+OK | +QUEUED | *1 +PONG");
    CHECK_REPLY(client, "MULTI ; SET foo 2 ; EXEC", "+OK | +QUEUED");
    cmd_cluster_serve(cluster);
    CHECK_REPLY(client, "", "");
    cmd_cluster_commit(cluster);
    CHECK_REPLY(client, "", "*1 +OK");
    CHECK_REPLY(client, "WATCH foo", "+OK");
    cmd_cluster_lose(cluster);
    CHECK_REPLY(client, "MULTI ; GET foo ; EXEC", "+OK | +QUEUED | *-1");
    CHECK_REPLY(client, "MULTI ; GET foo ; EXEC", "+OK | +QUEUED");
    cmd_world_advance_ms(world, hold_ms());
    CHECK_REPLY(client, "", DOWN);
    CHECK_REPLY(client, "EXEC ; MULTI ; NONE ; EXEC",
                "-ERR EXEC without MULTI | +OK | -ERR unknown command 'NONE', "
                "with args beginning with:  | -EXECABORT Transaction discarded "
                "because of previous errors.");
    end();
}

/* The log refuses what serves let pass: nothing was done, it is tried again. */
TEST(route_not_leader)
{
    begin();
    struct wdb_log *log = wdb_db_log(cmd_world_context(world)->db);
    wdb_log_hold(log, true);
    CHECK_REPLY(client, "GET foo ; SET foo 2 ; GET foo", "$1 1");
    CHECK_REPLY(client, "", "");
    wdb_log_hold(log, false);
    CHECK_REPLY(client, "", "");
    cmd_cluster_commit(cluster);
    CHECK_REPLY(client, "", "+OK | $1 2");
    wdb_log_hold(log, true);
    CHECK_REPLY(client, "MULTI ; GET foo ; SET foo 3 ; INCR foo ; EXEC ; PING",
                "+OK | +QUEUED | +QUEUED | +QUEUED");
    wdb_log_hold(log, false);
    CHECK_REPLY(client, "", "");
    cmd_cluster_commit(cluster);
    CHECK_REPLY(client, "", "*3 $1 2 +OK :4 | +PONG");
    /* The database, too, is as before. */
    wdb_log_hold(log, true);
    CHECK_REPLY(client, "MULTI ; SET foo 5 ; SELECT 3 ; EXEC",
                "+OK | +QUEUED | +QUEUED");
    wdb_log_hold(log, false);
    CHECK_REPLY(client, "", "");
    cmd_cluster_commit(cluster);
    CHECK_REPLY(client, "GET foo ; SELECT 0 ; GET foo",
                "*2 +OK +OK | $-1 | +OK | $1 5");
    /* For so long. */
    wdb_log_hold(log, true);
    CHECK_REPLY(client, "MULTI ; SET foo 4 ; EXEC ; PING", "+OK | +QUEUED");
    cmd_cluster_follow(cluster, 0);
    cmd_world_advance_ms(world, hold_ms());
    CHECK_REPLY(client, "", DOWN " | +PONG");
    end();
}

/* Too much is uncommitted: writes wait, then they are refused. */
TEST(route_admits)
{
    begin();
    cluster->full = true;
    CHECK_REPLY(client, "GET foo ; SET foo 2", "$1 1");
    cluster->full = false;
    CHECK_REPLY(client, "", "");
    cmd_cluster_commit(cluster);
    CHECK_REPLY(client, "", "+OK");
    cluster->full = true;
    CHECK_REPLY(client, "MULTI ; SET foo 2 ; EXEC", "+OK | +QUEUED");
    cmd_world_advance_ms(world, hold_ms());
    CHECK_REPLY(client, "EXEC",
                "-TRYAGAIN too much waits to be committed: nothing was done, "
                "try again | -ERR EXEC without MULTI");
    end();
}

/* cluster-redirect: the client is told where the leader is. */
TEST(route_redirects)
{
    begin();
    cmd_cluster_forward(cluster);
    cmd_world_set(world, "cluster-redirect", "yes");
    cmd_cluster_follow(cluster, 2);
    CHECK_REPLY(client, "GET foo", "-MOVED 12182 host2:7002");
    CHECK_REPLY(client, "SET {foo}bar 1 ; DBSIZE",
                "-MOVED 12182 host2:7002 | -MOVED 0 host2:7002");
    CHECK_REPLY(client, "MULTI ; PING ; GET foo ; EXEC ; MULTI ; DISCARD",
                "+OK | +QUEUED | +QUEUED | -MOVED 12182 host2:7002 | +OK | "
                "+OK");
    CHECK_REPLY(client, "READONLY ; GET foo ; SET foo 1 ; READWRITE ; GET foo",
                "+OK | $1 1 | -MOVED 12182 host2:7002 | +OK | -MOVED 12182 "
                "host2:7002");
    CHECK_STR(cmd_cluster_forwarded(cluster), "");
    memcpy(cluster->leader.tcp_address, "[::1]:7002", 11);
    CHECK_REPLY(client, "GET foo", "-MOVED 12182 ::1:7002");
    end();
}

/* Else it is forwarded: several at once, what is for here behind them. */
TEST(route_forwards)
{
    begin();
    cmd_cluster_forward(cluster);
    cmd_cluster_follow(cluster, 2);
    CHECK_REPLY(client, "PING ; GET foo ; SET foo 2 ; PING ; NONE", "+PONG");
    CHECK_STR(cmd_cluster_forwarded(cluster), "GET foo|SET foo 2|");
    cmd_cluster_answer(cluster, "$1\r\n1\r\n");
    CHECK_REPLY(client, "", "$1 1");
    CHECK_REPLY(client, "GET foo", "");
    cmd_cluster_answer(cluster, "+OK\r\n");
    CHECK_REPLY(client, "",
                "+OK | +PONG | -ERR unknown command 'NONE', with "
                "args beginning with: ");
    CHECK_STR(cmd_cluster_forwarded(cluster), "GET foo|");
    cmd_cluster_answer(cluster, "$1\r\n2\r\n");
    CHECK_REPLY(client, "", "$1 2");
    CHECK_EQ(stat(WDB_STATS_FORWARDED), 3);
    /* No memory, behind one that is not answered. */
    CHECK_REPLY(client, "GET foo", "");
    cluster->forward_code = WALKERDB_ENOMEM;
    CHECK_REPLY(client, "GET foo", "");
    CHECK_STR(cmd_cluster_forwarded(cluster), "GET foo|");
    cmd_cluster_answer(cluster, "$1\r\n2\r\n");
    CHECK_REPLY(client, "",
                "$1 2 | -OOM out of memory, the command was not done");
    /* No connection: it is held. */
    cluster->forward_code = WALKERDB_EBUSY;
    CHECK_REPLY(client, "GET foo", "");
    cluster->forward_code = 0;
    CHECK_REPLY(client, "", "");
    CHECK_STR(cmd_cluster_forwarded(cluster), "GET foo|");
    cmd_cluster_answer(cluster, "$1\r\n2\r\n");
    CHECK_REPLY(client, "", "$1 2");
    end();
}

/* A transaction is forwarded as one; watches are the leader's. */
TEST(route_forwards_transactions)
{
    begin();
    cmd_cluster_forward(cluster);
    cmd_cluster_follow(cluster, 2);
    CHECK_REPLY(client, "WATCH foo ; MULTI ; GET foo ; EXEC", "");
    CHECK_STR(cmd_cluster_forwarded(cluster), "WATCH foo|");
    cmd_cluster_answer(cluster, "+OK\r\n");
    CHECK_REPLY(client, "", "+OK | +OK | +QUEUED");
    CHECK_STR(cmd_cluster_forwarded(cluster), "GET foo|EXEC|");
    cmd_cluster_answer(cluster, "*1\r\n$1\r\n1\r\n");
    CHECK_REPLY(client, "", "*1 $1 1");
    CHECK_EQ(cluster->unwatched, 0);
    CHECK_REPLY(client, "WATCH foo ; MULTI", "");
    cmd_cluster_answer(cluster, "+OK\r\n");
    CHECK_REPLY(client, "DISCARD", "+OK | +OK | +OK");
    CHECK_EQ(cluster->unwatched, 1);
    /* Watched there, and now we lead. */
    CHECK_REPLY(client, "WATCH foo", "");
    cmd_cluster_answer(cluster, "+OK\r\n");
    CHECK_REPLY(client, "MULTI ; GET foo", "+OK | +OK | +QUEUED");
    cmd_cluster_serve(cluster);
    CHECK_REPLY(client, "EXEC", "*-1");
    CHECK_EQ(cluster->unwatched, 2);
    CHECK_REPLY(client, "MULTI ; GET foo ; EXEC", "+OK | +QUEUED | *1 $1 1");
    end();
}

/* Stale reads are executed at any node, if it is in order. */
TEST(route_stale)
{
    begin();
    cmd_cluster_lose(cluster);
    cmd_world_set(world, "read-consistency", "stale");
    CHECK_REPLY(client, "GET foo ; MULTI ; GET foo ; EXEC",
                "$1 1 | +OK | +QUEUED | *1 $1 1");
    cmd_world_set(world, "read-consistency", "consistent");
    CHECK_REPLY(client, "LEVELGET foo 1", "$1 1");
    CHECK_REPLY(client, "CLIENT READ-CONSISTENCY stale ; GET foo",
                "+OK | $1 1");
    CHECK_REPLY(client, "CLIENT READ-CONSISTENCY", "$5 stale");
    /* A snapshot is being switched in. */
    atomic_store(&cluster->gate.is_loading, true);
    CHECK_REPLY(client, "PING ; GET foo ; MULTI ; GET foo ; EXEC",
                "+PONG | -LOADING walkerDb is loading a snapshot | +OK | "
                "+QUEUED | -LOADING walkerDb is loading a snapshot");
    atomic_store(&cluster->gate.is_loading, false);
    /* Effects are being taken back. */
    atomic_fetch_add(&cluster->gate.era, 1);
    CHECK_REPLY(client, "GET foo", "");
    atomic_fetch_add(&cluster->gate.era, 1);
    CHECK_REPLY(client, "", "$1 1");
    CHECK_REPLY(client, "CLIENT READ-CONSISTENCY default", "+OK");
    CHECK_REPLY(client, "CLIENT READ-CONSISTENCY x",
                "-ERR the level is leader, stale, consistent or default");
    CHECK_REPLY(client, "GET foo", "");
    cmd_world_advance_ms(world, hold_ms());
    CHECK_REPLY(client, "", DOWN);
    end();
}

/* A channel's request is neither held nor forwarded, but given back. */
TEST(route_channel)
{
    begin();
    cmd_cluster_forward(cluster);
    cmd_client_session(client)->flags |= WDB_SESSION_CHANNEL;
    CHECK_REPLY(client, "GET foo ; PING", "$1 1 | +PONG");
    CHECK_EQ(cluster->executed, 2);
    CHECK_REPLY(client, "SET foo 2", "");
    cmd_cluster_lose(cluster);
    CHECK_REPLY(client, "GET foo ; MULTI ; GET foo ; EXEC", "+OK | +QUEUED");
    CHECK(cluster->lost_end > 0);
    CHECK_EQ(cluster->refused, 2);
    CHECK_EQ(cluster->executed, 5);
    cmd_cluster_follow(cluster, 2);
    CHECK_REPLY(client, "GET foo", "");
    CHECK_STR(cmd_cluster_forwarded(cluster), "");
    end();
}
