#!/usr/bin/env python3
"""test_cluster_forward.py - clients of followers while leaders come and go."""

import os
import random
import signal
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
from cluster import Cluster
from wdbtest import Client, ReplyError, check, check_eq, main, wait_for

SECONDS = float(os.environ.get("WDB_TEST_SECONDS", "8"))
SEED = int(os.environ.get("WDB_TEST_SEED", "1"))


class Writer(threading.Thread):
    """Appends numbers to a key of its own, in pipelines and transactions, and
    notes what became of each."""

    def __init__(self, cluster, number):
        super().__init__(daemon=True)
        self.cluster, self.key = cluster, "f:%d" % number
        self.random = random.Random(SEED * 1000 + number)
        self.last, self.stop, self.wrong = 0, False, []
        self.done, self.unknown, self.refused = [], [], []

    def next_commands(self):
        """Commands, and for each the number that it appends, or None."""
        kind = self.random.random()
        if kind < 0.3:
            return [(("GET", self.key), None)]
        self.last += 1
        append = ("APPEND", self.key, "%d," % self.last)
        if kind < 0.8:
            return [(append, self.last)]
        watch = [(("WATCH", self.key), None)] if kind < 0.9 else []
        return watch + [(("MULTI",), None), (append, None), (("EXEC",), self.last)]

    def judge(self, command, number, reply):
        if number is not None:
            if reply is None:
                self.refused.append(number)  # an EXEC whose watches were lost
            elif not isinstance(reply, ReplyError):
                self.done.append(number)
            elif str(reply).startswith("UNKNOWN"):
                self.unknown.append(number)
            else:
                self.refused.append(number)
        elif command[0] == "GET" and not isinstance(reply, ReplyError):
            seen = numbers(reply)
            if not set(self.done) <= set(seen) or (seen and seen[-1] > self.last):
                self.wrong.append((self.done[-3:], seen[-3:]))

    def work(self):
        node = self.random.choice(self.cluster.nodes)
        with Client(node.port, node.host, timeout_s=15.0) as client:
            for _ in range(self.random.randrange(1, 100)):
                work = []
                for _ in range(self.random.choice((1, 1, 3, 12))):
                    work += self.next_commands()
                for command, _ in work:
                    client.send(*command)
                for at, (command, number) in enumerate(work):
                    try:
                        self.judge(command, number, client.read())
                    except (OSError, EOFError):
                        self.unknown += [n for _, n in work[at:] if n is not None]
                        raise
                if self.stop:
                    return

    def run(self):
        while not self.stop:
            try:
                self.work()
            except (OSError, EOFError):
                time.sleep(0.05)


def numbers(value):
    return [int(n) for n in (value or b"").split(b",")[:-1]]


def disturb(cluster, rng):
    leader = cluster.find_leader() or cluster.nodes[0]
    what = rng.choice(("transfer", "term", "kill", "pause"))
    if what == "transfer":
        try:
            leader.cmd("RAFT", "TRANSFER")
        except (OSError, EOFError, ReplyError):
            pass
    elif what == "pause":
        leader.pause()
        time.sleep(rng.uniform(0.1, 1.0))
        leader.resume()
    else:
        leader.kill(signal.SIGTERM if what == "term" else signal.SIGKILL)
        time.sleep(rng.uniform(0, 0.5))
        leader.start(wait=False)


def test_exactly_once():
    """What was acknowledged is there once and in order, what was refused is not
    there, whatever node was asked, and however the leaders changed."""
    rng = random.Random(SEED)
    with Cluster(3) as cluster:
        writers = [Writer(cluster, n) for n in range(6)]
        for writer in writers:
            writer.start()
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            time.sleep(rng.uniform(0.3, 1.2))
            disturb(cluster, rng)
        for writer in writers:
            writer.stop = True
        for writer in writers:
            writer.join(60)
            check(not writer.is_alive(), "a request was never answered")
        cluster.mend()
        client = cluster.wait_leader().client()
        for writer in writers:
            seen = numbers(client.cmd("GET", writer.key))
            check_eq(writer.wrong, [])
            check_eq(len(seen), len(set(seen)), "twice")
            check_eq(sorted(set(writer.done) - set(seen)), [], "lost")
            check_eq(sorted(set(writer.refused) & set(seen)), [], "refused, but done")
        check(sum(len(w.done) for w in writers) > 100)


def test_a_large_value_is_in_nobodys_way():
    """While a follower forwards a large value, other clients of it are served;
    who does not read its replies fills nobody's memory."""
    with Cluster(3, args=("--io-threads", "1")) as cluster:
        node, leader = cluster.followers()[0], cluster.leader()
        client, slow = node.client(), node.client()
        check_eq(client.cmd("SET", "large", b"x" * 8000000), "OK")
        before = leader.client().info("memory")["used_memory"]
        for _ in range(40):
            slow.send("GET", "large")  # 320 MB, which nobody reads
        for i in range(200):
            check_eq(client.cmd("SET", "small", i), "OK")
        time.sleep(0.5)
        after = leader.client().info("memory")["used_memory"]
        check(int(after) - int(before) < 64 << 20, "%s, then %s" % (before, after))
        start = time.monotonic()
        for _ in range(40):
            check_eq(len(slow.read()), 8000000)
        check(time.monotonic() - start < 30, "it takes long to read")


def test_clients_at_the_leader():
    """A follower's clients are known at the leader by their own addresses, and
    can be killed there."""
    with Cluster(3) as cluster:
        node, leader = cluster.followers()[0], cluster.leader()
        client = node.client()
        check_eq(client.cmd("CLIENT", "SETNAME", "guest"), "OK")
        check_eq(client.cmd("SET", "a", "1"), "OK")
        lines = leader.cmd("CLIENT", "LIST").decode().splitlines()
        line = [l for l in lines if "name=guest" in l]
        check_eq(len(line), 1)
        address = dict(w.split("=", 1) for w in line[0].split())["addr"]
        check_eq(leader.cmd("CLIENT", "KILL", "ADDR", address), 1)
        wait_for(client.is_closed, what="the end of the killed client")
        other = node.client()
        check_eq(other.cmd("GET", "a"), b"1")
        other.close()
        wait_for(lambda: "addr=%s " % address not in leader.cmd("CLIENT", "LIST").decode(),
                 what="the end of its channel")


def test_a_transaction_changes_the_session():
    """SELECT in a queue holds for what comes behind EXEC, at any node."""
    with Cluster(3) as cluster:
        for node in cluster.nodes:
            client = node.client()
            key = "k" + node.name
            queue = [["MULTI"], ["SELECT", "5"], ["SET", key, "1"], ["EXEC"]]
            check_eq(client.pipeline(queue + [["INCR", key], ["SELECT", "0"], ["GET", key]]),
                     ["OK", "QUEUED", "QUEUED", ["OK", "OK"], 2, "OK", None])
            queue = [["MULTI"], ["SET", key, "1"], ["CLIENT", "REPLY", "OFF"], ["EXEC"]]
            client.pipeline(queue[:-1])
            client.send("EXEC")
            client.send("SELECT", "3")
            client.send("CLIENT", "REPLY", "ON")
            client.send("GET", key)
            check_eq(client.file.readline(), b"*2\r\n")
            check_eq([client.read() for _ in range(3)], ["OK", "OK", None])


def test_wait_with_a_node_down():
    """WAIT does not count copies that nobody has, whatever it knows of the client."""
    with Cluster(3) as cluster:
        node, down = cluster.followers()
        client = node.client()
        down.kill()
        check_eq(client.cmd("WATCH", "k"), "OK")
        check_eq(client.cmd("SET", "x", "1"), "OK")
        check_eq(client.cmd("UNWATCH"), "OK")
        check_eq(client.cmd("WAIT", "2", "300"), 1)
        check_eq(cluster.leader().client().cmd("WAIT", "2", "300"), 1)
        down.start()
        check_eq(client.cmd("WAIT", "2", "9223372036854775807"), 2)


if __name__ == "__main__":
    main(globals())
