#!/usr/bin/env python3
"""test_cluster_clients.py - client libraries find and follow the leader.

ioredis and node-redis (versions of test/clients/package-lock.json) and redis-py
(Debian's) run as they are, in their cluster modes against nodes that redirect,
and as plain clients through a node that forwards. Of go-redis, jedis and
lettuce the commands that they send are replayed, and the replies' shapes
checked."""

import atexit
import json
import os
import re
import subprocess
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
from cluster import Cluster
from wdbtest import (ROOT, ReplyError, Skip, check, check_eq, check_error, main,
                     wait_for)

DEBIAN_PYTHON = "/usr/bin/python3"
SLOT_OF_FOO = 12182
SHARED = []


def shared():
    """One cluster of three for all tests of this file, healthy."""
    if not SHARED:
        SHARED.append(Cluster(3))
        atexit.register(SHARED[0].close)
    cluster = SHARED[0]
    cluster.mend()
    for node in cluster.nodes:
        check_eq(node.cmd("CONFIG", "SET", "cluster-redirect", "no"), "OK")
    return cluster


def redirecting():
    cluster = shared()
    for node in cluster.nodes:
        check_eq(node.cmd("CONFIG", "SET", "cluster-redirect", "yes"), "OK")
    return cluster


class Driver:
    """A client library at work in a process of its own (test/clients)."""

    def __init__(self, library, mode, nodes):
        place = os.path.join(ROOT, "test", "clients")
        if library == "redis-py":
            probe = subprocess.run([DEBIAN_PYTHON, "-c", "import redis.cluster"], check=False,
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            if probe.returncode != 0:
                raise Skip("no python3-redis here")
            command = [DEBIAN_PYTHON, os.path.join(place, "driver.py")]
        else:
            done = subprocess.run([os.path.join(ROOT, "scripts", "clients")], check=False)
            if done.returncode != 0:
                raise Skip("no %s here (scripts/clients)" % library)
            command = ["node", os.path.join(place, "driver.js")]
        addresses = ",".join("%s:%d" % (n.host, n.port) for n in nodes)
        self.name = "%s %s" % (library, mode)
        self.process = subprocess.Popen(command + [library, mode, addresses],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        timer = threading.Timer(20, self.process.kill)
        timer.start()
        line = self.process.stdout.readline().decode().strip()
        timer.cancel()
        if line != "ready":
            self.process.kill()
            self.process.wait()
            raise AssertionError("%s does not work: %s" % (self.name, line))

    def result(self):
        out, _ = self.process.communicate(b"stop\n", timeout=30)
        result = json.loads(out.decode().strip().splitlines()[-1])
        print("   %s: %s" % (self.name, result))
        return result

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def check_alive(result):
    check_eq(result["wrong"], 0, "values that were not those written")
    check(result["since_last_ms"] < 1500, "it does not work at the end: %s" % result)


def transfer(cluster):
    """Hand leadership over; returns the new leader."""
    old = cluster.leader()
    reply = old.cmd("RAFT", "TRANSFER")
    check_eq(reply, "OK")
    wait_for(lambda: cluster.find_leader() not in (None, old), 10, what="another leader")
    return cluster.wait_leader()


def pause_s(seconds):
    threading.Event().wait(seconds)


def cluster_mode(library, finds_another=True):
    """Finds the leader from a follower, follows a transfer and a death. A library
    that asks no other node when one is gone gets it back after a while."""
    cluster = redirecting()
    with Driver(library, "cluster", cluster.followers()[:1]) as driver:
        pause_s(0.3)
        transfer(cluster)
        pause_s(1.5)
        result = driver.result()
    check_alive(result)
    check(result["ok"] > 100, "%s" % result)
    # What was under way may fail; then it goes on with the new leader.
    check(result["error_count"] <= 20, "%s" % result)
    with Driver(library, "cluster", cluster.followers()) as driver:
        pause_s(0.3)
        dead = cluster.leader()
        dead.kill()
        pause_s(3 if finds_another else 1)
        if not finds_another:
            dead.start()
            pause_s(2)
        result = driver.result()
    check_alive(result)


def plain_mode(library):
    """A plain client of a follower: no error while leadership moves."""
    cluster = shared()
    leader = cluster.leader()
    stays = next(n for n in cluster.nodes if n is not leader)
    target = next(n for n in cluster.nodes if n is not leader and n is not stays)
    with Driver(library, "plain", [stays]) as driver:
        pause_s(0.3)
        check_eq(leader.cmd("RAFT", "TRANSFER", target.name), "OK")
        pause_s(1.5)
        result = driver.result()
    check_alive(result)
    check_eq(result["errors"], {})
    check(result["longest_gap_ms"] < 2000, "%s" % result)


def test_ioredis_cluster():
    """ioredis Cluster follows the leader."""
    cluster_mode("ioredis")


def test_node_redis_cluster():
    """node-redis 5 createCluster follows the leader."""
    cluster_mode("redis", finds_another=False)


def test_node_redis_4_cluster():
    """node-redis 4 createCluster follows the leader."""
    cluster_mode("redis4", finds_another=False)


def test_redis_py_cluster():
    """redis-py RedisCluster follows the leader. (4.3.4 fails to ask another node when
    one is gone: it copies what cannot be copied.)"""
    cluster_mode("redis-py", finds_another=False)


def test_ioredis_plain():
    """ioredis at a follower that forwards."""
    plain_mode("ioredis")


def test_node_redis_plain():
    """node-redis at a follower that forwards."""
    plain_mode("redis")
    plain_mode("redis4")


def test_redis_py_plain():
    """redis-py at a follower that forwards."""
    plain_mode("redis-py")


def check_hello(reply, node, cluster):
    check(isinstance(reply, dict), "HELLO 3: %r" % (reply,))
    check_eq(reply[b"server"], b"redis")
    check_eq(reply[b"proto"], 3)
    check(re.fullmatch(rb"7\.\d+\.\d+", reply[b"version"]), reply[b"version"])
    check_eq(reply[b"mode"], b"cluster")
    check_eq(reply[b"modules"], [])
    want = b"master" if node is cluster.leader() else b"replica"
    check_eq(reply[b"role"], want)


def check_slots(reply, cluster):
    """One range, the leader first, then the followers."""
    check_eq(len(reply), 1)
    check_eq(reply[0][:2], [0, 16383])
    leader = cluster.leader()
    places = []
    for host, port, node_id, metadata in reply[0][2:]:
        places.append((host.decode(), port))
        check(re.fullmatch(rb"[0-9a-f]{40}", node_id), node_id)
        check(metadata in ([], {}) or isinstance(metadata, (list, dict)), metadata)
    check_eq(places[0], (leader.host, leader.port))
    check_eq(sorted(places), sorted((n.host, n.port) for n in cluster.nodes))
    return [n[2] for n in reply[0][2:]]


def check_nodes(text, node, cluster):
    """The lines of CLUSTER NODES as clients take them apart."""
    lines = text.decode().splitlines()
    check_eq(len(lines), len(cluster.nodes))
    masters = myself = 0
    for line in lines:
        fields = line.split(" ")
        check(len(fields) >= 8, line)
        check(re.fullmatch(r"[0-9a-f]{40}", fields[0]), line)
        check(re.fullmatch(r"[^ ]+:\d+@\d+(,[^ ]*)?", fields[1]), line)
        flags = fields[2].split(",")
        check(fields[7] in ("connected", "disconnected"), line)
        if "myself" in flags:
            myself += 1
            check(fields[1].split("@")[0].endswith(":%d" % node.port), line)
        if "master" in flags:
            masters += 1
            check_eq(fields[3], "-")
            check_eq(fields[8], "0-16383")
        else:
            check("slave" in flags, line)
            check(re.fullmatch(r"[0-9a-f]{40}", fields[3]), line)
            check_eq(len(fields), 8, line)
    check_eq((masters, myself), (1, 1), text.decode())


def setinfo(client, name):
    check_eq(client.cmd("CLIENT", "SETINFO", "LIB-NAME", name), "OK")
    check_eq(client.cmd("CLIENT", "SETINFO", "LIB-VER", "9.0.0"), "OK")


def test_go_redis_trace():
    """go-redis ClusterClient: HELLO 3, SETINFO, MAINT_NOTIFICATIONS (may fail),
    CLUSTER SLOTS, COMMAND; READONLY where it reads from replicas."""
    cluster = redirecting()
    for node in cluster.nodes:
        client = node.client()
        check_hello(client.cmd("HELLO", "3"), node, cluster)
        setinfo(client, "go-redis(,go1.22.0)")
        reply = client.cmd("CLIENT", "MAINT_NOTIFICATIONS", "ON")
        check(reply == "OK" or isinstance(reply, ReplyError), reply)
        check_slots(client.cmd("CLUSTER", "SLOTS"), cluster)
        commands = client.cmd("COMMAND")
        check(len(commands) > 50 and all(len(c) >= 6 for c in commands), len(commands))
        get = next(c for c in commands if c[0] == b"get")
        check_eq(get[1:2] + get[3:6], [2, 1, 1, 1])
        check_eq(client.cmd("READONLY"), "OK")
        check_eq(client.cmd("READWRITE"), "OK")
        check_eq(client.cmd("ASKING"), "OK")


def test_jedis_trace():
    """JedisCluster: (HELLO 3), SETINFO, CLUSTER SLOTS; commands by slot, MOVED."""
    cluster = redirecting()
    leader = cluster.leader()
    for protocol in (None, 2, 3):
        for node in cluster.nodes:
            client = node.client()
            if protocol:
                reply = client.cmd("HELLO", protocol)
                check(not isinstance(reply, ReplyError), reply)
            setinfo(client, "jedis")
            check_slots(client.cmd("CLUSTER", "SLOTS"), cluster)
            reply = client.cmd("SET", "foo", "bar")
            if node is leader:
                check_eq(reply, "OK")
            else:
                check_eq(reply, ReplyError("MOVED %d %s:%d" % (
                    SLOT_OF_FOO, leader.host, leader.port)))
                check_error(client.cmd("GET", "foo"), "MOVED %d " % SLOT_OF_FOO)


def test_lettuce_trace():
    """lettuce RedisClusterClient: HELLO 3, SETINFO, CLUSTER NODES and INFO of
    every node; CLUSTER MYID; READONLY for reads from replicas."""
    cluster = redirecting()
    ids = set()
    for node in cluster.nodes:
        client = node.client()
        check_hello(client.cmd("HELLO", "3"), node, cluster)
        setinfo(client, "Lettuce")
        check_nodes(client.cmd("CLUSTER", "NODES"), node, cluster)
        info = client.info()
        check_eq(info["redis_mode"], "cluster")
        check_eq(info["cluster_enabled"], "1")
        check("connected_clients" in info and "master_repl_offset" in info)
        own = client.cmd("CLUSTER", "MYID")
        check(re.fullmatch(rb"[0-9a-f]{40}", own), own)
        ids.add(own)
        check_eq(client.cmd("READONLY"), "OK")
        value = client.cmd("GET", "foo")
        check(value is None or isinstance(value, bytes), value)
    check_eq(len(ids), 3)
    check_eq(ids, set(check_slots(cluster.nodes[0].cmd("CLUSTER", "SLOTS"), cluster)))


def test_cluster_commands():
    """CLUSTER INFO, SHARDS, KEYSLOT, COUNTKEYSINSLOT, and errors."""
    cluster = shared()
    for node in cluster.nodes:
        client = node.client()
        info = dict(l.split(":") for l in client.cmd("CLUSTER", "INFO").decode().split())
        check_eq(info["cluster_state"], "ok")
        check_eq(info["cluster_slots_assigned"], "16384")
        check_eq(info["cluster_known_nodes"], "3")
        check_eq(client.cmd("CLUSTER", "KEYSLOT", "foo"), SLOT_OF_FOO)
        check_eq(client.cmd("CLUSTER", "KEYSLOT", "a{foo}b"), SLOT_OF_FOO)
        check_error(client.cmd("CLUSTER", "NOTHING"), "ERR")
        client.cmd("HELLO", "3")
        shards = client.cmd("CLUSTER", "SHARDS")
        check_eq(len(shards), 1)
        check_eq(shards[0][b"slots"], [0, 16383])
        roles = sorted(n[b"role"] for n in shards[0][b"nodes"])
        check_eq(roles, [b"master", b"replica", b"replica"])
        for shard_node in shards[0][b"nodes"]:
            check(re.fullmatch(rb"[0-9a-f]{40}", shard_node[b"id"]))
            check(b"port" in shard_node and b"endpoint" in shard_node)
            check(b"replication-offset" in shard_node and b"health" in shard_node)


def test_redis_cli_cluster():
    """redis-cli -c follows MOVED."""
    program = os.path.join(ROOT, "build", "peers", "bin", "redis-cli")
    if not os.path.exists(program):
        raise Skip("no redis-cli here (scripts/peers)")
    cluster = redirecting()
    node = cluster.followers()[0]
    done = subprocess.run([program, "-c", "-p", str(node.port), "set", "foo", "cli"],
                          stdout=subprocess.PIPE, check=False, timeout=20)
    check(b"OK" in done.stdout, done.stdout)
    check_eq(cluster.leader().cmd("GET", "foo"), b"cli")


if __name__ == "__main__":
    main(globals())
