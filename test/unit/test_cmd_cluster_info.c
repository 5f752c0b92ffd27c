/* test_cmd_cluster_info.c - what INFO and HELLO tell of a cluster. */
#include <stdio.h>

#include "lib/cmd_cluster.h"

static struct cmd_world *world;
static struct cmd_cluster *cluster;
static struct cmd_client *client;

static void begin(void)
{
    const struct cmd_world_options options = {.manual_commit = true};
    world = cmd_world_new(test_tmpdir(), &options);
    cluster = cmd_cluster_new(world);
    client = cmd_client_new(world);
}

static void end(void)
{
    cmd_client_free(client);
    cmd_cluster_free(cluster);
    cmd_world_free(world);
}

/* The reply to the command has this line (the ends of lines are shown as
 * blanks). */
static bool tells(const char *command, const char *line)
{
    char with_ends[256];
    snprintf(with_ends, sizeof(with_ends), " %s ", line);
    return strstr(cmd_send(client, command), with_ends) != NULL;
}

TEST(info_leader)
{
    begin();
    cluster->status.index_last = 12;
    cluster->status.peers[2].last_contact_ms = 2100;
    CHECK(tells("INFO replication", "role:master"));
    CHECK(tells("INFO replication", "connected_slaves:2"));
    CHECK(tells("INFO replication",
                "slave0:ip=host2,port=7002,state=online,offset=7,lag=0"));
    CHECK(tells("INFO replication",
                "slave1:ip=host3,port=7003,state=online,offset=7,lag=2"));
    CHECK(tells("INFO replication", "master_repl_offset:12"));
    cluster->status.peers[1].is_connected = false;
    CHECK(tells("INFO replication",
                "slave0:ip=host3,port=7003,state=online,offset=7,lag=2"));
    CHECK(tells("INFO replication",
                "master_replid:0000000000000000000000000000002a00000000"));
    end();
}

TEST(info_follower)
{
    begin();
    cluster->status.index_applied = 8;
    cmd_cluster_follow(cluster, 2);
    CHECK(tells("INFO", "role:slave"));
    CHECK(tells("INFO", "master_host:host2"));
    CHECK(tells("INFO", "master_port:7002"));
    CHECK(tells("INFO", "master_link_status:up"));
    CHECK(tells("INFO", "master_last_io_seconds_ago:0"));
    CHECK(tells("INFO", "slave_repl_offset:8"));
    CHECK(tells("INFO", "loading:0"));
    struct wdb_env *env = cmd_world_context(world)->env;
    atomic_store(&cluster->gate.leader_seen_ns, env->ops->monotonic_ns(env));
    atomic_store(&cluster->gate.is_loading, true);
    cmd_cluster_follow(cluster, 0);
    cmd_world_advance_ms(world, 3100);
    CHECK(tells("INFO replication", "master_link_status:down"));
    CHECK(tells("INFO replication", "master_link_down_since_seconds:3"));
    CHECK(tells("INFO", "loading:1"));
    end();
}

TEST(info_raft)
{
    begin();
    CHECK(tells("INFO", "raft_role:leader"));
    CHECK(tells("INFO raft", "raft_leader:node01"));
    CHECK(tells("INFO raft", "raft_nodes:3"));
    CHECK(tells("INFO raft",
                "raft_node1:id=node02,role=voter,raft=127.0.0.1:8002,"
                "tcp=host2:7002,connected=1,match=7,lag=0,last_contact_ms=40,"
                "transfer=0,transfer_done=0,transfer_total=0,transfer_rate=0"));
    end();
    world = cmd_world_new(test_tmpdir(), NULL);
    client = cmd_client_new(world);
    CHECK(strstr(cmd_send(client, "INFO all"), "# Raft") == NULL);
    CHECK_REPLY(client, "INFO raft", "$0 ");
    cmd_client_free(client);
    cmd_world_free(world);
}

/* It is a cluster for clients only if they are to follow its leader. */
TEST(info_mode)
{
    begin();
    CHECK(tells("INFO", "redis_mode:standalone"));
    CHECK(tells("INFO cluster", "cluster_enabled:0"));
    CHECK(tells("HELLO", "standalone"));
    cmd_world_set(world, "cluster-redirect", "yes");
    CHECK(tells("INFO", "redis_mode:cluster"));
    CHECK(tells("INFO", "cluster_enabled:1"));
    CHECK(tells("HELLO", "cluster"));
    cmd_cluster_follow(cluster, 2);
    CHECK(tells("HELLO", "replica"));
    end();
}

/* min-replicas-to-write is of voters that are connected. */
TEST(info_min_replicas)
{
    begin();
    cmd_world_set(world, "min-replicas-to-write", "2");
    CHECK_REPLY(client, "SET a 1", "");
    cmd_cluster_commit(cluster);
    CHECK_REPLY(client, "", "+OK");
    cluster->status.peers[1].is_connected = false;
    CHECK_REPLY(client, "SET a 2",
                "-NOREPLICAS Not enough good replicas to write.");
    CHECK_REPLY(client, "MULTI ; SET a 2 ; EXEC",
                "+OK | +QUEUED | -EXECABORT Transaction discarded because of: "
                "NOREPLICAS Not enough good replicas to write.");
    cmd_world_set(world, "min-replicas-to-write", "1");
    CHECK_REPLY(client, "MULTI ; SET a 2 ; EXEC", "");
    cmd_cluster_commit(cluster);
    CHECK_REPLY(client, "", "+OK | +QUEUED | *1 +OK");
    end();
}
