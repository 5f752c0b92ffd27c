#!/usr/bin/env python3
"""test_cluster_basic.py - three nodes as a user sees them."""

import atexit
import ctypes
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
import netspace
from cluster import Cluster, fields
from wdbtest import (BIN, Client, ReplyError, check, check_eq, check_error, main,
                     wait_for)

SHARED = []
UNKNOWN = "UNKNOWN"
NOT_DONE = ("CLUSTERDOWN", "NOLEADER", "BUSY")


def shared():
    """One cluster of three for the tests that leave it as it was."""
    if not SHARED:
        SHARED.append(Cluster(3))
        atexit.register(SHARED[0].close)
    SHARED[0].mend()
    return SHARED[0]


def is_refusal(reply):
    return isinstance(reply, ReplyError) and str(reply).startswith(NOT_DONE + (UNKNOWN,))


class Inside:
    """Connections made within this block are made in a network namespace."""

    def __init__(self, path):
        self.path = path
        self.libc = ctypes.CDLL(None, use_errno=True)

    def enter(self, file):
        if self.libc.setns(file.fileno(), 0x40000000) != 0:
            raise OSError(ctypes.get_errno(), "setns")

    def __enter__(self):
        self.outside = open("/proc/thread-self/ns/net", "rb")
        with open(self.path, "rb") as file:
            self.enter(file)

    def __exit__(self, *unused):
        self.enter(self.outside)
        self.outside.close()


# The command lines that everybody starts with, as they are.
MANUAL = """
walkerdb -id node01 -raft raft-cluster-host-01:8001 -tcp raft-cluster-host-01:8011 -raftdir ./tmp1/raft -dir ./tmp1/bitcask-go -bootstrap true ~/.walkerDb
walkerdb -id node02 -raft 127.0.0.1:8002 -tcp 127.0.0.1:8022 -raftdir ./tmp2/raft -dir ./tmp2/bitcask-go -join 127.0.0.1:8011 -bootstrap true ~/.walkerDb
walkerdb -id node03 -raft 127.0.0.1:8003 -tcp 127.0.0.1:8033 -raftdir ./tmp3/raft -dir ./tmp3/bitcask-go -join 127.0.0.1:8011 -bootstrap true ~/.walkerDb
""".strip().splitlines()


def manual_commands(cluster, home, hosts):
    """Start the lines in a network of their own, where the ports are free."""
    place = netspace.Network(1)
    etc = os.path.join("/etc/netns", place.places[0].name)
    os.makedirs(etc)
    with open(os.path.join(etc, "hosts"), "w", encoding="utf8") as file:
        file.write(hosts)
    env = dict(os.environ, HOME=home, PATH=BIN + ":" + os.environ["PATH"])
    for node, line, port in zip(cluster.nodes, MANUAL, (8011, 8022, 8033)):
        node.env = env
        node.port = port
        command = ["ip", "netns", "exec", place.places[0].name, "sh", "-c",
                   "cd '%s' && exec %s" % (home, line)]
        node.command = lambda command=command: command
    return place, etc


def test_commands_of_the_manual():
    """The three lines, with a name from the hosts file; IPv4 and IPv6."""
    netspace.probe()
    for hosts in ("127.0.0.1 localhost raft-cluster-host-01\n",
                  "127.0.0.1 localhost\n::1 localhost raft-cluster-host-01\n"
                  "127.0.0.1 raft-cluster-host-01\n"):
        with tempfile.TemporaryDirectory() as home, Cluster(3, start=False) as cluster:
            place, etc = manual_commands(cluster, home, hosts)
            inside = Inside(place.places[0].path)
            try:
                for node in cluster.nodes:
                    node.start(wait=False)
                with inside:
                    clients = [wait_for(lambda p=n.port: connected(p), 20)
                               for n in cluster.nodes]
                wait_for(lambda: clients[0].cmd("SET", "a", "1") == "OK", 20)
                for client in clients:
                    wait_for(lambda c=client: c.cmd("GET", "a") == b"1", 20)
                wait_for(lambda: len(clients[2].cmd("RAFT", "NODES")) == 3, 20)
                check(os.path.exists(os.path.join(home, ".walkerDb", "cluster-secret")))
                for client in clients:
                    client.close()
                check_eq(set(cluster.stop().values()), {0})
            finally:
                cluster.stop(signal.SIGKILL)
                os.unlink(os.path.join(etc, "hosts"))
                os.rmdir(etc)
                place.close()


def connected(port):
    try:
        client = Client(port)
        return client if client.cmd("PING") == "PONG" else None
    except (OSError, ConnectionError):
        return None


def test_any_node():
    """What is written at any node is read at any node, at once."""
    cluster = shared()
    for number, node in enumerate(cluster.nodes):
        check_eq(node.client().cmd("SET", "any:%d" % number, number), "OK")
        for reader in cluster.nodes:
            check_eq(reader.client().cmd("GET", "any:%d" % number), b"%d" % number)


def test_state_at_a_follower():
    """Databases, transactions, WATCH, RESP3 and pipelines through a follower."""
    cluster = shared()
    node = cluster.followers()[0]
    client, other = node.client(), cluster.leader().client()
    client.cmd("DEL", "s:a", "s:b", "s:n")
    check_eq(client.cmd("SELECT", "3"), "OK")
    check_eq(client.cmd("SET", "s:a", "three"), "OK")
    check_eq(client.cmd("SELECT", "0"), "OK")
    check_eq(client.cmd("GET", "s:a"), None)
    check_eq(client.pipeline([("MULTI",), ("SET", "s:a", "1"), ("INCR", "s:a"), ("EXEC",)]),
             ["OK", "QUEUED", "QUEUED", ["OK", 2]])
    check_eq(client.cmd("WATCH", "s:a"), "OK")
    check_eq(other.cmd("SET", "s:a", "9"), "OK")
    check_eq(client.pipeline([("MULTI",), ("SET", "s:a", "7"), ("EXEC",)])[2], None)
    check_eq(client.cmd("GET", "s:a"), b"9")
    commands = [("INCR", "s:n") if i % 3 else ("PING",) for i in range(300)]
    replies = client.pipeline(commands)
    check_eq([r for r in replies if r != "PONG"], list(range(1, 201)))
    check_eq([r == "PONG" for r in replies], [i % 3 == 0 for i in range(300)])
    check_eq(client.cmd("HELLO", "3")[b"proto"], 3)
    check_eq(client.cmd("SET", "s:b", b"x" * 3000000), "OK")
    check_eq(client.cmd("STRLEN", "s:b"), 3000000)
    check_eq(client.cmd("GET", "s:b"), b"x" * 3000000)
    check_eq(client.cmd("DISCARD"), ReplyError("ERR DISCARD without MULTI"))


def test_many_clients_at_followers():
    """No reply goes to the wrong client, whatever they do at the same time."""
    cluster = shared()
    wrong = []

    def work(number):
        with cluster.nodes[number % 3].connect() as client:
            for step in range(150):
                value = b"%d:%d" % (number, step)
                replies = client.pipeline([("SET", "m:%d" % number, value), ("ECHO", value),
                                           ("GET", "m:%d" % number)])
                if replies != ["OK", value, value]:
                    wrong.append((number, step, replies))
    threads = [threading.Thread(target=work, args=(n,)) for n in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    check_eq(wrong, [])


def test_expiry():
    """A key expires everywhere at once; TTL is the same at every node."""
    cluster = shared()
    check_eq(cluster.nodes[0].cmd("SET", "short", "1", "PX", "300"), "OK")
    for node in cluster.nodes:
        check(0 < node.cmd("PTTL", "short") <= 300)
    time.sleep(0.35)
    for node in cluster.nodes:
        check_eq(node.cmd("GET", "short"), None)
        check_eq(node.cmd("LEVELGET", "short", "1"), None)


def test_read_levels():
    """LEVELGET 0, 1, 2; READONLY; the level of a connection and of all."""
    cluster = shared()
    check_eq(cluster.leader().cmd("SET", "level", "v"), "OK")
    cluster.wait_equal()
    for node in cluster.nodes:
        client = node.client()
        for level in (0, 1, 2):
            check_eq(client.cmd("LEVELGET", "level", level), b"v")
        check_error(client.cmd("LEVELGET", "level", "3"), "ERR")
        for level in ("leader", "stale", "consistent", "default"):
            check_eq(client.cmd("CLIENT", "READ-CONSISTENCY", level), "OK")
            check_eq(client.cmd("GET", "level"), b"v")
        check_eq(client.cmd("READONLY"), "OK")
        check_eq(client.cmd("GET", "level"), b"v")
        check_eq(client.cmd("SET", "level", "v"), "OK")
        check_eq(client.cmd("READWRITE"), "OK")
        check_eq(client.cmd("CONFIG", "SET", "read-consistency", "stale"), "OK")
        check_eq(client.cmd("GET", "level"), b"v")
        check_eq(client.cmd("CONFIG", "SET", "read-consistency", "consistent"), "OK")


def test_redirect():
    """cluster-redirect yes: MOVED with the true slot and the leader's address."""
    cluster = shared()
    leader, node = cluster.leader(), cluster.followers()[0]
    check_eq(node.cmd("CONFIG", "SET", "cluster-redirect", "yes"), "OK")
    try:
        want = "MOVED 12182 %s:%d" % (leader.host, leader.port)
        check_eq(node.cmd("SET", "foo", "1"), ReplyError(want))
        check_eq(node.cmd("GET", "foo"), ReplyError(want))
        check_eq(node.cmd("PING"), "PONG")
    finally:
        check_eq(node.cmd("CONFIG", "SET", "cluster-redirect", "no"), "OK")
    check_eq(node.cmd("SET", "foo", "1"), "OK")


def test_status():
    """RAFT STATUS, RAFT NODES, ROLE and INFO tell the same."""
    cluster = shared()
    leader = cluster.leader()
    cluster.wait_equal()
    for node in cluster.nodes:
        status = node.status()
        check_eq(node.role(), "leader" if node is leader else "follower")
        check_eq(status["leader"], leader.name)
        role = node.cmd("ROLE")
        info = node.info()
        members = [fields(m) for m in node.cmd("RAFT", "NODES")]
        check_eq(sorted(m["id"] for m in members), sorted(n.name for n in cluster.nodes))
        if node is leader:
            check_eq(role[0], b"master")
            check_eq(len(role[2]), 2)
            check_eq((info["role"], info["connected_slaves"]), ("master", "2"))
            check("state=online" in info["slave0"], info["slave0"])
        else:
            check_eq(role[:4], [b"slave", leader.host.encode(), leader.port, b"connected"])
            check_eq((info["role"], info["master_host"], info["master_port"],
                      info["master_link_status"]),
                     ("slave", leader.host, str(leader.port), "up"))


def test_wait():
    """WAIT counts the others that hold all that this connection wrote."""
    cluster = shared()
    for node in cluster.nodes:
        client = node.client()
        check_eq(client.cmd("SET", "waited", "1"), "OK")
        check_eq(client.cmd("WAIT", "2", "5000"), 2)
        check_eq(client.cmd("WAIT", "0", "0") >= 1, True)
        start = time.monotonic()
        check(client.cmd("WAIT", "5", "200") <= 2)
        check(time.monotonic() - start < 3)


def test_transfer_and_failover():
    """RAFT TRANSFER to a name, to anybody, and FAILOVER."""
    cluster = shared()
    for command in (("RAFT", "TRANSFER"), ("FAILOVER",), ("RAFT", "TRANSFER", None)):
        old = cluster.leader()
        target = next(n for n in cluster.nodes if n is not old)
        words = [target.name if word is None else word for word in command]
        check_eq(old.cmd(*words), "OK")
        wait_for(lambda: cluster.find_leader() not in (None, old), 10, what="another leader")
        if None in command:
            check(cluster.find_leader() is target)
        check_eq(old.cmd("SET", "t", "1"), "OK")
    check(isinstance(cluster.leader().cmd("RAFT", "TRANSFER", "nobody"), ReplyError))


def test_death_of_the_leader():
    """kill -9: another leads soon, nothing is lost, the dead one comes back."""
    cluster = shared()
    leader = cluster.leader()
    client = leader.client()
    for i in range(200):
        check_eq(client.cmd("SET", "d:%d" % i, i), "OK")
    start = time.monotonic()
    leader.kill()
    after = cluster.wait_leader()
    check(time.monotonic() - start < 5, "%.1f s" % (time.monotonic() - start))
    check(after is not leader)
    replies = after.client().pipeline([("GET", "d:%d" % i) for i in range(200)])
    check_eq(replies, [b"%d" % i for i in range(200)])
    check_eq(after.cmd("SET", "d:after", "1"), "OK")
    leader.start()
    cluster.wait_equal()
    check_eq(leader.cmd("LEVELGET", "d:after", "1"), b"1")


def test_death_of_all():
    """All killed at once and started again: everything acknowledged is there."""
    cluster = shared()
    client = cluster.nodes[1].client()
    for i in range(100):
        check_eq(client.cmd("INCR", "all"), i + 1)
    for node in cluster.nodes:
        node.process.send_signal(signal.SIGKILL)
    for node in cluster.nodes:
        node.kill()
    for node in cluster.nodes:
        node.start(wait=False)
    cluster.wait_leader()
    check_eq(cluster.nodes[2].cmd("GET", "all"), b"100")
    check_eq(cluster.nodes[0].cmd("DEL", "all"), 1)


def test_term_hands_over():
    """SIGTERM on the leader: another leads before it ends."""
    cluster = shared()
    leader = cluster.leader()
    stays = cluster.followers()[0]
    client = stays.client()
    slowest = 0.0
    stopped = False
    for i in range(400):
        start = time.monotonic()
        check_eq(client.cmd("SET", "term", i), "OK")
        slowest = max(slowest, time.monotonic() - start)
        if i == 100:
            leader.process.send_signal(signal.SIGTERM)
            stopped = True
    check(stopped)
    check_eq(leader.kill(signal.SIGTERM), 0)
    check(slowest < 1.0, "a write took %.2f s" % slowest)
    leader.start()
    cluster.wait_equal()


def test_no_majority():
    """With one of three, writes and consistent reads are refused within a bounded
    time, stale reads go on, and memory is bounded."""
    with Cluster(3) as cluster:
        leader = cluster.leader()
        check_eq(leader.cmd("SET", "kept", "1"), "OK")
        cluster.wait_equal()
        for node in cluster.followers():
            node.kill()
        client = leader.client(60)
        for command in (("SET", "kept", "2"), ("GET", "kept")):
            start = time.monotonic()
            reply = client.cmd(*command)
            check(is_refusal(reply), "%s: %r" % (command, reply))
            check(time.monotonic() - start < 10, "%.1f s" % (time.monotonic() - start))
        check_eq(client.cmd("LEVELGET", "kept", "1"), b"1")
        check(isinstance(client.cmd("LEVELGET", "kept", "2"), ReplyError))
        check_eq(client.cmd("PING"), "PONG")
        before = rss(leader.pid)
        flood(leader, 60)
        grown = rss(leader.pid) - before
        check(grown < 400 << 20, "%d MiB more" % (grown >> 20))
        for node in cluster.nodes:
            if not node.is_running():
                node.start()
        cluster.wait_leader()
        wait_for(lambda: client.cmd("GET", "kept") in (b"1", b"2"), what="the value")


def flood(node, clients):
    """Values of 1 MiB from many clients, without waiting for replies."""
    value = b"v" * (1 << 20)
    found = []
    for _ in range(clients):
        client = node.connect(0.5)
        found.append(client)
        try:
            for i in range(20):
                client.send("SET", "flood:%d" % i, value)
        except OSError:
            pass
    time.sleep(3)
    for client in found:
        client.close()


def rss(pid):
    with open("/proc/%d/status" % pid, encoding="utf8") as file:
        return next(int(l.split()[1]) * 1024 for l in file if l.startswith("RssAnon:"))


def test_two_nodes_warn():
    """Two nodes: somebody is told that the death of either stops writes."""
    with Cluster(2) as cluster:
        check_eq(cluster.nodes[1].cmd("SET", "a", "1"), "OK")
        wait_for(lambda: any("either" in n.log() for n in cluster.nodes), 10,
                 what="a warning about two nodes")


def test_join_is_idempotent():
    """Restarts with -join, one by one and all, change nothing; JOIN of a member
    answers OK."""
    cluster = shared()
    before = sorted(m["id"] for m in cluster.members())
    for node in cluster.nodes:
        check_eq(node.restart().cmd("SET", "j", "1"), "OK")
    for node in cluster.nodes[1:]:
        check_eq(cluster.leader().cmd("JOIN", node.name, node.raft, node.tcp), "OK")
    check_eq(sorted(m["id"] for m in cluster.members()), before)


def test_stop_while_a_join_probes():
    """A node that stops while it asks who is at an address answers that, and ends
    well."""
    with socket.socket() as silent, Cluster(1) as cluster:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        node = cluster.nodes[0]
        client = node.client()
        client.send("JOIN", "node09", "127.0.0.1:%d" % silent.getsockname()[1], "127.0.0.1:1")
        time.sleep(0.3)
        check_eq(node.stop(), 0, node.log())


def test_join_through_a_follower():
    """JOIN is sent to any node; a fourth node gets everything, then votes."""
    with Cluster(3) as cluster:
        client = cluster.nodes[0].client()
        for i in range(500):
            client.cmd("SET", "k:%d" % i, i)
        node = cluster.new_node()
        node.join = cluster.followers()[0].tcp
        node.start()
        cluster.wait_members(4)
        cluster.wait_equal()
        check_eq(node.cmd("LEVELGET", "k:499", "1"), b"499")


class Filler(threading.Thread):
    """Writes much, until it is stopped."""

    def __init__(self, node):
        super().__init__()
        self.client = node.client()
        self.over = threading.Event()

    def run(self):
        value = b"v" * 4096
        for number in range(1 << 40):
            if self.over.is_set():
                return
            self.client.pipeline([("SET", "fill:%d" % ((number * 16 + i) % 5000), value)
                                  for i in range(16)])
            self.over.wait(0.005)  # some 10 MB/s: more than a snapshot's least rate

    def stop(self):
        self.over.set()
        self.join(30)


def test_join_while_much_is_written():
    """More is written than is retained while the snapshot comes: it is kept for the
    node that joins, which needs no second snapshot."""
    with Cluster(1, args=["--raft-retained-size", "1mb"]) as cluster:
        leader = cluster.nodes[0]
        filler = Filler(leader)
        filler.start()
        try:
            wait_for(lambda: leader.cmd("DBSIZE") == 5000, 30, what="5000 keys")
            cluster.new_node().start()
            cluster.wait_members(2, 60)
        finally:
            filler.stop()
        cluster.wait_equal()
        sent = int(cluster.leader().info("raft")["raft_snapshots_sent"])
        check(1 <= sent <= 2, "%d snapshots" % sent)


def test_full_disks():
    """All disks are full at once: nodes refuse writes and live on; what is deleted
    makes room again."""
    value = b"v" * 65536
    with Cluster(3, args=["--store-segment-size", "2mb"], disk_mib=64) as cluster:
        count = 0
        with cluster.leader().connect(5) as client:
            try:
                while count < 2000 and client.cmd("SET", "full:%d" % count, value) == "OK":
                    count += 1
            except OSError:
                pass  # it waits for a majority that has no room
        check(100 < count < 2000, count)
        time.sleep(1.0)
        check_eq(len(cluster.running()), 3)
        wait_for(lambda: cluster.leader(), 10, what="a leader")

        def delete():
            with cluster.leader().connect(5) as other:
                return all(not isinstance(reply, ReplyError) for reply in other.pipeline(
                    [("DEL", "full:%d" % i) for i in range(count)]))
        wait_for(delete, 30, 0.5, "deletes")
        wait_for(lambda: cluster.leader().cmd("SET", "after", value) == "OK", 30,
                 what="room again")
        cluster.wait_equal()
        check_eq(len(cluster.running()), 3)


def test_full_disk_of_a_follower():
    """A follower without room takes nothing more, lives on, and follows when there is
    room again."""
    value = b"v" * 65536
    with Cluster(3, args=["--store-segment-size", "2mb"], disk_mib=96) as cluster:
        leader, follower = cluster.leader(), cluster.followers()[0]
        check_eq(leader.cmd("SET", "first", value), "OK")
        follower.disk.fill(0)
        pid = follower.pid
        for i in range(300):
            check_eq(leader.cmd("SET", "k:%d" % (i % 100), value), "OK")
        time.sleep(0.5)
        check_eq(len(cluster.running()), 3)
        follower.disk.free()
        cluster.wait_equal()
        check_eq(follower.pid, pid)
        check_eq(follower.cmd("LEVELGET", "k:99", "1"), value)


def test_death_while_a_second_joins():
    """The only node is killed at any moment of a join: when it is back, there is a
    leader, and then the second votes."""
    rng = random.Random(7)
    for _ in range(6):
        with Cluster(2, start=False) as cluster:
            first, second = cluster.nodes
            first.start()
            cluster.wait_leader()
            check_eq(first.cmd("SET", "a", b"x" * 1000000), "OK")
            second.start(wait=False)
            time.sleep(rng.uniform(0.0, 0.5))
            first.kill()
            time.sleep(rng.uniform(0.0, 0.5))
            first.start()
            cluster.wait_leader()
            cluster.wait_members(2)
            check_eq(second.cmd("STRLEN", "a"), 1000000)


def test_remove_and_replace():
    """RAFT REMOVE of a dead node, and a new one in its place."""
    with Cluster(3) as cluster:
        dead = cluster.followers()[0]
        dead.kill()
        check_eq(cluster.leader().cmd("RAFT", "REMOVE", dead.name), "OK")
        cluster.wait_members(2)
        cluster.nodes.remove(dead)
        node = cluster.new_node("node09")
        node.start()
        cluster.wait_members(3)
        check_eq(node.cmd("SET", "a", "1"), "OK")
        # And the leader itself.
        leader = cluster.leader()
        reply = leader.cmd("RAFT", "REMOVE", leader.name)
        check(reply == "OK" or str(reply).startswith(UNKNOWN), reply)
        leader.kill()
        cluster.nodes.remove(leader)
        cluster.wait_leader()
        cluster.wait_members(2)
        check_eq(cluster.leader().cmd("GET", "a"), b"1")


def test_moved_node():
    """RAFT ADDRESS: a node that comes back under other addresses."""
    with Cluster(3) as cluster:
        node = cluster.followers()[0]
        node.kill()
        node.port, node.raft_port = node.port + 1000, node.raft_port + 1000
        reply = cluster.leader().cmd("RAFT", "ADDRESS", node.name, node.raft, node.tcp)
        check_eq(reply, "OK")
        node.start()
        check_eq(node.cmd("SET", "a", "1"), "OK")
        cluster.wait_equal()


def test_restore_into_a_new_cluster():
    """A backup is the first node of another cluster, of another identity."""
    with Cluster(3) as cluster:
        client = cluster.leader().client()
        for i in range(100):
            check_eq(client.cmd("SET", "b:%d" % i, i), "OK")
        node = cluster.followers()[0]
        reply = node.cmd("SAVE")
        check_eq(reply, "OK")
        top = os.path.join(node.dir, "backups")
        backup = os.path.join(top, sorted(os.listdir(top))[-1])
        check_eq(client.cmd("SET", "b:100", "later"), "OK")
        with Cluster(3, start=False) as other:
            os.makedirs(other.nodes[0].base)
            os.rename(backup, other.nodes[0].dir)
            other.start()
            check_eq(other.nodes[2].cmd("GET", "b:99"), b"99")
            check_eq(other.nodes[2].cmd("GET", "b:100"), None)
            check_eq(other.nodes[1].cmd("SET", "b:101", "1"), "OK")
        check_eq(client.cmd("GET", "b:100"), b"later")


def offline(node, *more):
    """Run the program of a node with more options, to its end."""
    done = subprocess.run(node.command()[:-1] + list(more) + node.command()[-1:],
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, timeout=30, check=False)
    return done.returncode, done.stdout.decode()


def test_loss_of_the_majority():
    """Two of three are lost for good: --force-new-cluster tells what it may lose,
    and with yes makes a cluster of what is left; the others stay out."""
    with Cluster(3) as cluster:
        check_eq(cluster.leader().cmd("SET", "a", "1"), "OK")
        cluster.wait_equal()
        last = cluster.followers()[0]
        others = [n for n in cluster.nodes if n is not last]
        code, text = offline(last, "--force-new-cluster")
        check(code != 0, text)
        for node in cluster.nodes:
            node.kill()
        last.join = None
        code, text = offline(last, "--force-new-cluster")
        check(code == 1 and "lost" in text, text)
        code, text = offline(last, "--force-new-cluster", "yes")
        check_eq(code, 0, text)
        last.start()
        check(cluster.wait_leader(among=[last]) is last)
        check_eq(last.cmd("GET", "a"), b"1")
        check_eq(last.cmd("SET", "b", "2"), "OK")
        check_eq(len(cluster.members()), 1)
        others[0].start(wait=False)  # of the old cluster: it finds no majority
        time.sleep(2)
        check(not others[0].says_leader())
        check_eq(len(last.cmd("RAFT", "NODES")), 1)
        for node in others:
            node.kill()
            cluster.nodes.remove(node)
        for name in ("node11", "node12"):
            node = cluster.new_node(name)
            node.join = last.tcp
            node.start()
        cluster.wait_members(3)
        check_eq(cluster.nodes[2].cmd("GET", "b"), b"2")


def test_secret():
    """A node of another machine needs the secret; the error names what helps."""
    netspace.probe()
    with Cluster(2, network="namespaces", start=False) as cluster:
        first, second = cluster.nodes
        first.start()
        cluster.wait_leader()
        second.path = os.path.join(second.base, "own")
        second.start(wait=False)
        wait_for(lambda: "cluster-secret" in second.log() + first.log(), 20,
                 what="an error that names the file")
        check("voter" not in [fields(m)["role"] for m in first.cmd("RAFT", "NODES")])
        second.kill()
        os.makedirs(second.path, exist_ok=True)
        for name in ("cluster-secret",):
            with open(os.path.join(cluster.shared, name), "rb") as file:
                data = file.read()
            target = os.path.join(second.path, name)
            with open(target, "wb") as file:
                file.write(data)
            os.chmod(target, 0o600)
        second.start()
        cluster.wait_members(2)


if __name__ == "__main__":
    main(globals())
