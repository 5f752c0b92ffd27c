/* test_cmd_cluster_commands.c - CLUSTER, RAFT, JOIN, FAILOVER, ROLE, WAIT. */
#include "lib/cmd_cluster.h"

#define DISABLED "-ERR This instance has cluster support disabled"
#define ALONE                                                                  \
    "-ERR this node is not in a cluster: start it with -raft and -bootstrap "  \
    "true, or -join"
#define ID(n) "000000000000000" #n "000000000000002a00000000"

static struct cmd_world *world;
static struct cmd_cluster *cluster;
static struct cmd_client *client;

static void begin(void)
{
    const struct cmd_world_options options = {.manual_commit = true};
    world = cmd_world_new(test_tmpdir(), &options);
    cluster = cmd_cluster_new(world);
    client = cmd_client_new(world);
    cmd_world_set(world, "read-consistency", "leader");
}

static void end(void)
{
    cmd_client_free(client);
    cmd_cluster_free(cluster);
    cmd_world_free(world);
}

static bool has(const char *text, const char *part)
{
    return strstr(text, part) != NULL;
}

/* A single node says so in Redis's words. */
TEST(commands_alone)
{
    world = cmd_world_new(test_tmpdir(), NULL);
    client = cmd_client_new(world);
    CHECK_REPLY(client, "CLUSTER SLOTS ; CLUSTER INFO ; CLUSTER KEYSLOT a",
                DISABLED " | " DISABLED " | " DISABLED);
    CHECK_REPLY(client, "READONLY ; READWRITE ; ASKING",
                DISABLED " | " DISABLED " | " DISABLED);
    CHECK_REPLY(client, "RAFT STATUS ; RAFT NODES ; JOIN a b:1 c:1 ; FAILOVER",
                ALONE " | " ALONE " | " ALONE " | " ALONE);
    CHECK_REPLY(client, "WAIT 1 0 ; ROLE", ":0 | *3 $6 master :0 *0");
    CHECK_REPLY(client, "CLUSTER NONE",
                "-ERR unknown subcommand 'NONE'. Try CLUSTER HELP.");
    cmd_client_free(client);
    cmd_world_free(world);
}

TEST(cluster_slots)
{
    begin();
    CHECK_REPLY(client, "CLUSTER SLOTS",
                "*1 *5 :0 :16383 *4 $5 host1 :7001 $40 " ID(
                    1) " *0 "
                       "*4 $5 host2 :7002 $40 " ID(
                           2) " *0 "
                              "*4 $5 host3 :7003 $40 " ID(3) " *0");
    cmd_cluster_follow(cluster, 3);
    CHECK_REPLY(client, "CLUSTER SLOTS",
                "*1 *5 :0 :16383 *4 $5 host3 :7003 $40 " ID(
                    3) " *0 "
                       "*4 $5 host1 :7001 $40 " ID(
                           1) " *0 "
                              "*4 $5 host2 :7002 $40 " ID(2) " *0");
    CHECK_REPLY(client, "CLUSTER MYID ; CLUSTER KEYSLOT foo ; CLUSTER LINKS",
                "$40 " ID(1) " | :12182 | *0");
    /* One that is joining is not shown; [host] has no brackets. */
    cluster->status.peers[1].member.role = WDB_MEMBER_STANDBY;
    memcpy(cluster->status.peers[2].member.tcp_address, "[::1]:7003", 11);
    CHECK_REPLY(client, "CLUSTER SLOTS",
                "*1 *4 :0 :16383 *4 $3 ::1 :7003 $40 " ID(
                    3) " *0 "
                       "*4 $5 host1 :7001 $40 " ID(1) " *0");
    end();
}

TEST(cluster_shards)
{
    begin();
    cluster->status.index_applied = 9;
    cluster->status.peer_count = 2;
    CHECK_REPLY(client, "CLUSTER SHARDS",
                "*1 *4 $5 slots *2 :0 :16383 $5 nodes *2 "
                "*14 $2 id $40 " ID(
                    1) " $4 port :7001 $2 ip $5 host1 "
                       "$8 endpoint $5 host1 $4 role $6 master "
                       "$18 replication-offset :9 $6 health $6 online "
                       "*14 $2 id $40 " ID(
                           2) " $4 port :7002 $2 ip $5 host2 "
                              "$8 endpoint $5 host2 $4 role $7 replica "
                              "$18 replication-offset :7 $6 health $6 online");
    end();
}

TEST(cluster_nodes)
{
    begin();
    const char *text = cmd_send(client, "CLUSTER NODES");
    CHECK(has(text, ID(1) " host1:7001@8001 myself,master - 0 0 1 connected "
                          "0-16383"));
    CHECK(has(text, ID(2) " host2:7002@8002 slave " ID(1) " 0 "));
    text = cmd_send(client, "CLUSTER REPLICAS " ID(1));
    CHECK(has(text, "*2 $"));
    CHECK_REPLY(client, "CLUSTER REPLICAS " ID(2),
                "-ERR The specified node is not a master");
    CHECK_REPLY(client, "CLUSTER REPLICAS x", "-ERR Unknown node x");
    text = cmd_send(client, "CLUSTER INFO");
    CHECK(has(text, "cluster_state:ok"));
    CHECK(has(text, "cluster_slots_assigned:16384"));
    CHECK(has(text, "cluster_known_nodes:3"));
    cmd_cluster_follow(cluster, 0);
    CHECK(has(cmd_send(client, "CLUSTER INFO"), "cluster_state:fail"));
    CHECK(has(cmd_send(client, "CLUSTER NODES"), "myself,slave - 0 0 2"));
    CHECK(has(cmd_send(client, "CLUSTER HELP"), "KEYSLOT"));
    end();
}

TEST(cluster_count_keys)
{
    begin();
    CHECK_REPLY(client, "MSET foo 1 {foo}2 1 bar 1", "");
    cmd_cluster_commit(cluster);
    CHECK_REPLY(client, "CLUSTER COUNTKEYSINSLOT 12182", "+OK | :2");
    CHECK_REPLY(client, "CLUSTER COUNTKEYSINSLOT 0", ":0");
    CHECK_REPLY(client, "CLUSTER COUNTKEYSINSLOT 16384", "-ERR Invalid slot");
    end();
}

/* What is asked of Raft, and how its answers are told. */
TEST(raft_requests)
{
    begin();
    CHECK_REPLY(client, "JOIN node04 h:8004 h:7004 00ff", "+OK");
    const struct wdb_raft_request *request = &cluster->request;
    CHECK_EQ(request->kind, WDB_RAFT_JOIN);
    CHECK_EQ(request->member.id, 255);
    CHECK_EQ(request->member.role, WDB_MEMBER_STANDBY);
    CHECK_STR(request->member.name, "node04");
    CHECK_STR(request->member.raft_address, "h:8004");
    CHECK_STR(request->member.tcp_address, "h:7004");
    CHECK_REPLY(client, "JOIN node04 h:8004 h:7004", "+OK");
    CHECK_EQ(request->member.id, 0);
    CHECK_REPLY(client, "JOIN node04 h:8004 h:7004 xyz",
                "-ERR the node id is not a number of up to 16 hex digits");
    CHECK_REPLY(client, "JOIN node04 h:8004 ''",
                "-ERR '' is empty or too long");
    CHECK_REPLY(client, "JOIN a b c 1 NONE", "-ERR syntax error");
    CHECK_REPLY(client, "RAFT REMOVE node02", "+OK");
    CHECK_EQ(request->kind, WDB_RAFT_REMOVE);
    CHECK_EQ(request->member.id, 2);
    CHECK_REPLY(client, "RAFT REMOVE node09",
                "-ERR no node has the id 'node09'; RAFT NODES shows them");
    CHECK_REPLY(client, "RAFT TRANSFER ; RAFT TRANSFER node03", "+OK | +OK");
    CHECK_EQ(request->kind, WDB_RAFT_TRANSFER);
    CHECK_STR(request->member.name, "node03");
    CHECK_REPLY(client, "RAFT ADDRESS node03 new:1 new:2", "+OK");
    CHECK_EQ(request->kind, WDB_RAFT_MOVE);
    CHECK_STR(request->member.tcp_address, "new:2");
    CHECK_REPLY(client, "FAILOVER ; FAILOVER TO host2 7002 FORCE TIMEOUT 70",
                "+OK | +OK");
    CHECK_STR(request->member.name, "node02");
    CHECK_EQ(request->timeout_ms, 70);
    CHECK_REPLY(client, "FAILOVER TO host2 7009 ; FAILOVER ABORT",
                "-ERR FAILOVER target HOST and PORT is not a replica. | -ERR "
                "No failover in progress.");
    CHECK_REPLY(client, "FAILOVER TO host2 ; FAILOVER TIMEOUT 0",
                "-ERR syntax error | -ERR FAILOVER timeout must be greater "
                "than 0");
    cluster->request_code = WALKERDB_EBUSY;
    CHECK_REPLY(client, "RAFT TRANSFER", "-TRYAGAIN it was not done");
    cluster->request_code = WALKERDB_ENOTLEADER;
    CHECK_REPLY(client, "RAFT TRANSFER", "-NOLEADER it was not done");
    cluster->request_code = WALKERDB_EABORTED;
    CHECK_REPLY(client, "RAFT TRANSFER", "-UNKNOWN it was not done");
    cluster->request_code = WALKERDB_EEXISTS;
    CHECK_REPLY(client, "MULTI ; RAFT TRANSFER",
                "+OK | -ERR Command not allowed inside a transaction");
    CHECK_REPLY(client, "DISCARD ; MULTI ; FAILOVER ; EXEC",
                "+OK | +OK | +QUEUED | *1 -ERR the nodes are not changed "
                "inside a transaction");
    CHECK_REPLY(client, "RAFT TRANSFER", "-ERR it was not done");
    end();
}

/* The secret is for those who have said a password. */
TEST(raft_secret)
{
    begin();
    cmd_cluster_forward(cluster);
    CHECK_REPLY(client, "JOIN node04 h:8004 h:7004 4 SECRET", "*2 +OK $-1");
    cmd_cluster_follow(cluster, 2);
    CHECK_REPLY(client, "JOIN node04 h:8004 h:7004 4 SECRET", "");
    CHECK_STR(cmd_cluster_forwarded(cluster), "JOIN node04 h:8004 h:7004 4|");
    cmd_cluster_answer(cluster, "+OK\r\n");
    CHECK_REPLY(client, "", "+OK");
    cmd_world_set(world, "requirepass", "pass");
    CHECK_REPLY(client, "AUTH pass ; JOIN node04 h:8004 h:7004 4 SECRET",
                "+OK");
    CHECK_STR(cmd_cluster_forwarded(cluster),
              "JOIN node04 h:8004 h:7004 4 SECRET|");
    cmd_cluster_answer(cluster, "+OK\r\n");
    cmd_cluster_serve(cluster);
    CHECK_REPLY(client, "JOIN node04 h:8004 h:7004 4 SECRET",
                "+OK | *2 +OK $6 5ec3e7");
    end();
}

/* A reply that comes later: what stands behind it waits. */
TEST(raft_waits)
{
    begin();
    cluster->is_slow = true;
    CHECK_REPLY(client, "RAFT TRANSFER ; PING", "");
    CHECK_REPLY(client, "PING", "");
    cmd_cluster_request_done(cluster);
    CHECK_REPLY(client, "", "+OK | +PONG | +PONG");
    /* The connection goes away meanwhile. */
    CHECK_REPLY(client, "RAFT TRANSFER", "");
    cmd_client_free(client);
    cmd_cluster_request_done(cluster);
    client = cmd_client_new(world);
    end();
}

TEST(raft_status)
{
    begin();
    const char *text = cmd_send(client, "RAFT STATUS");
    CHECK(has(text, "*68 $2 id $6 node01 $7 node-id $16 0000000000000001"));
    CHECK(has(text, "$4 role $6 leader"));
    CHECK(has(text, "$5 nodes *3 *26 $2 id $6 node01"));
    text = cmd_send(client, "RAFT STATUS JSON");
    CHECK(has(text, "{\"id\":\"node01\",\"node-id\":\"0000000000000001\","));
    CHECK(has(text, "\"serves\":true,\"loading\":false,"));
    CHECK(has(text, "\"nodes\":[{\"id\":\"node01\","));
    CHECK(has(text, "\"transfer-rate\":0}]}"));
    text = cmd_send(client, "RAFT NODES");
    CHECK(has(text, "*3 *26 $2 id $6 node01"));
    CHECK(has(text, "$4 role $5 voter $12 raft-address $14 127.0.0.1:8002"));
    CHECK_REPLY(client, "RAFT STATUS x", "-ERR syntax error");
    CHECK(has(cmd_send(client, "RAFT HELP"), "TRANSFER [<id>]"));
    CHECK(has(cmd_send(client, "HELLO 3 ; RAFT STATUS"), "%34 $2 id"));
    end();
}

TEST(role)
{
    begin();
    cluster->status.index_last = 11;
    CHECK_REPLY(client, "ROLE",
                "*3 $6 master :11 *2 *3 $5 host2 $4 7002 $1 7 *3 $5 host3 $4 "
                "7003 $1 7");
    cluster->status.index_applied = 5;
    cmd_cluster_follow(cluster, 2);
    CHECK_REPLY(client, "ROLE", "*5 $5 slave $5 host2 :7002 $9 connected :5");
    cmd_cluster_follow(cluster, 0);
    CHECK_REPLY(client, "ROLE", "*5 $5 slave $0  :0 $7 connect :5");
    end();
}

/* WAIT ends when enough others have it, or when the time is over. */
TEST(wait)
{
    begin();
    cluster->match = 2;
    CHECK_REPLY(client, "SET a 1 ; WAIT 1 0 ; PING", "");
    CHECK_REPLY(client, "", "");
    CHECK(wdb_log_sync(wdb_db_log(cmd_world_context(world)->db)) == 0);
    cmd_cluster_commit(cluster);
    CHECK_REPLY(client, "", "+OK | :1 | +PONG");
    CHECK_REPLY(client, "WAIT 2 500 ; PING", "");
    cmd_world_advance_ms(world, 600);
    CHECK_REPLY(client, "", ":1 | +PONG");
    CHECK_REPLY(client, "MULTI ; WAIT 2 0 ; EXEC", "+OK | +QUEUED | *1 :1");
    CHECK_REPLY(client, "WAIT 2 0 ; PING", "");
    cluster->match = 3;
    CHECK_REPLY(client, "", ":2 | +PONG");
    /* Whose last write is not known waits for all. */
    struct cmd_client *other = cmd_client_new(world);
    CHECK_REPLY(client, "SET a 2", "");
    CHECK_REPLY(other, "WAIT 2 9223372036854775807", "");
    CHECK_REPLY(other, "", "");
    CHECK(wdb_log_sync(wdb_db_log(cmd_world_context(world)->db)) == 0);
    cmd_cluster_commit(cluster);
    CHECK_REPLY(client, "", "+OK");
    CHECK_REPLY(other, "", ":2");
    cmd_client_free(other);
    CHECK_REPLY(client, "WAIT 3 0 ; PING", "");
    cmd_cluster_lose(cluster);
    CHECK_REPLY(client, "",
                "-UNBLOCKED leadership was lost while waiting: it is not known "
                "which nodes have the write | +PONG");
    end();
}
