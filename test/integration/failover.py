"""failover.py - what clients notice when the leader dies, hands over or when all
nodes are restarted one by one.

    python3 test/integration/failover.py [--rounds N] [--transfers N] [--restarts N]
        [--json FILE] [--args ARGS]

kill: SIGKILL of the leader under load. Every writer sets one new key after the
other, gives an attempt 100 ms, and goes to the next node when one fails. The gap
of a writer is the longest time between two successes around the kill; no key
that was acknowledged may be lost. (Keys are never used twice: what a writer gave
up waiting for may still be done later.)
transfer: RAFT TRANSFER under load, the gap of writers on a node that stays.
restart: SIGTERM and start of every node in turn; writers and readers on nodes
that stay must not see an error or lose their connection.

Prints a table and, with --json, the figures. Last line: "N passed, N failed",
one for each round.
"""

import argparse
import json
import os
import shlex
import signal
import statistics
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from cluster import Cluster, end_by_exit  # noqa: E402
from wdbtest import Client, wait_for  # noqa: E402

WRITERS = 8
ATTEMPT_S = 0.1
KILL_GAP_MEDIAN_MS, KILL_GAP_P99_MS = 1000, 2000
TRANSFER_GAP_MS = 100


class Writer(threading.Thread):
    """Sets new keys; remembers which and when each was acknowledged."""

    def __init__(self, number, nodes, attempt_s=ATTEMPT_S, moves=True, reads=False):
        super().__init__(daemon=True)
        self.name = "writer:%d:%d" % (number, time.monotonic_ns() % 1000000007)
        self.addresses = [(n.host, n.port) for n in nodes]
        self.at = number % len(nodes)
        self.attempt_s = attempt_s
        self.moves = moves  # to the next node after a failure
        self.reads = reads
        self.times = []     # of successes
        self.acknowledged = []  # and not looked at yet
        self.sent = 0
        self.errors = []
        self.stopping = threading.Event()
        self.client = None

    def attempt(self):
        if self.client is None:
            host, port = self.addresses[self.at]
            self.client = Client(port, host, timeout_s=self.attempt_s)
        self.sent += 1
        key = "%s:%d" % (self.name, self.sent)
        reply = self.client.cmd("SET", key, self.sent)
        if reply != "OK":
            raise ValueError("SET: %s" % reply)
        self.acknowledged.append(key)
        self.times.append(time.monotonic())
        if self.reads:
            found = self.client.cmd("GET", key)
            if found != b"%d" % self.sent:
                raise ValueError("GET: %r, not %d" % (found, self.sent))

    def run(self):
        while not self.stopping.is_set():
            try:
                self.attempt()
                self.stopping.wait(0.001)
            except (OSError, ConnectionError, ValueError) as error:
                if len(self.errors) < 100:
                    self.errors.append("%s at %s: %r" % (
                        self.name, self.addresses[self.at], error))
                self.again()
        if self.client:
            self.client.close()

    def again(self):
        """To the next node, or the same one where the writer stays."""
        if self.client:
            self.client.close()
            self.client = None
        if self.moves:
            self.at = (self.at + 1) % len(self.addresses)
        self.stopping.wait(0.005)

    def stop(self):
        self.stopping.set()
        self.join(30)


def longest_gap_s(times, first, last):
    """Between successes, from the last before `first` on."""
    before = [t for t in times if t <= first][-1:] or [first]
    after = [t for t in times if first < t <= last]
    moments = before + after + ([] if after else [last])
    return max(b - a for a, b in zip(moments, moments[1:]))


def start_all(writers):
    for writer in writers:
        writer.start()
    wait_for(lambda: all(len(w.times) > 20 for w in writers), 30, what="writers at work")


def check_nothing_lost(cluster, writers, problems):
    """Every key that was acknowledged since the last look is there."""
    leader = cluster.wait_leader()
    with leader.connect() as client:
        for writer in writers:
            keys, writer.acknowledged = writer.acknowledged, []
            for at in range(0, len(keys), 500):
                part = keys[at:at + 500]
                replies = client.pipeline([("EXISTS", key) for key in part])
                problems += ["%s was acknowledged and is lost (%r)" % (key, reply)
                             for key, reply in zip(part, replies) if reply != 1]


def kill_round(cluster, writers):
    """(gap of each writer, gap of all together), in seconds, and problems."""
    problems = []
    leader = cluster.leader()
    time.sleep(0.3)
    first = time.monotonic()
    leader.kill()
    down_s = 0.0
    try:
        wait_for(lambda: all(w.times and w.times[-1] > first + 0.01 for w in writers)
                 and cluster.find_leader() not in (None, leader), 20,
                 what="all writers going on")
        down_s = time.monotonic() - first
        time.sleep(0.3)
    except AssertionError as error:
        problems.append("%s\n%s" % (error, cluster.logs()))
    last = time.monotonic()
    gaps = [longest_gap_s(w.times, first, last) for w in writers]
    together = sorted(t for w in writers for t in w.times[-20000:] if t > first - 1)
    all_gap = longest_gap_s(together, first, last)
    leader.start()
    check_nothing_lost(cluster, writers, problems)
    caught_up(cluster)
    for writer in writers:
        del writer.times[:-100]
    return gaps, all_gap, down_s, problems


def caught_up(cluster):
    """Every node follows closely, so that the next round is like the first."""
    def close():
        try:
            commits = [n.marks()[0] for n in cluster.running()]
        except (OSError, ConnectionError, AssertionError):
            return False
        return len(commits) == len(cluster.nodes) and min(commits) > 0 and (
            max(commits) - min(commits) < 1000)
    wait_for(close, 30, 0.05, "all nodes caught up")


def transfer_round(cluster, number):
    """Writers on a node that is leader neither before nor after."""
    problems = []
    leader = cluster.leader()
    target, stays = [n for n in cluster.nodes if n is not leader][::(-1) ** number][:2]
    writers = [Writer(100 + i, [stays], 10.0, False) for i in range(4)]
    start_all(writers)
    first = time.monotonic()
    for _ in range(3):  # a target that is too slow is a definite "not done"
        reply = leader.cmd("RAFT", "TRANSFER", target.name)
        if not str(reply).startswith("TRYAGAIN"):
            break
    if reply != "OK":
        problems.append("RAFT TRANSFER: %s" % reply)
    time.sleep(0.7)
    last = time.monotonic()
    for writer in writers:
        writer.stop()
        problems += writer.errors
    if not target.says_leader():
        problems.append("%s is not the leader" % target.name)
    return max(longest_gap_s(w.times, first, last) for w in writers), problems


def restart_round(cluster):
    """All nodes one after the other; (longest gap, operations, problems)."""
    problems, gap_s, operations = [], 0.0, 0
    for node in list(cluster.nodes):
        stay = [n for n in cluster.nodes if n is not node]
        writers = [Writer(200 + i, [stay[i % len(stay)]], 15.0, False, reads=True)
                   for i in range(6)]
        start_all(writers)
        first = time.monotonic()
        code = node.kill(signal.SIGTERM)
        if code != 0:
            problems.append("%s ended with %s" % (node.name, code))
        time.sleep(0.5)
        node.start()
        caught_up(cluster)
        time.sleep(0.5)
        last = time.monotonic()
        for writer in writers:
            writer.stop()
            problems += ["restart of %s: %s" % (node.name, e) for e in writer.errors[:3]]
            operations += writer.sent
            gap_s = max(gap_s, longest_gap_s(writer.times, first, last))
        check_nothing_lost(cluster, writers, problems)
    return gap_s, operations, problems


def percentiles(values_s):
    values = sorted(values_s)
    if not values:
        return {}
    def at(part):
        return round(1000 * values[min(len(values) - 1, int(part * len(values)))], 1)
    return {"rounds": len(values), "median_ms": round(1000 * statistics.median(values), 1),
            "p99_ms": at(.99), "max_ms": at(1), "min_ms": round(1000 * values[0], 1)}


class Result:
    def __init__(self):
        self.figures = {}
        self.passed = self.failed = 0

    def count(self, name, problems):
        self.passed += not problems
        self.failed += bool(problems)
        if problems:
            print("FAILED %s" % name)
            print("\n".join("  " + p for p in problems[:10]), flush=True)


def kills(cluster, rounds, result):
    writers = [Writer(i, cluster.nodes) for i in range(WRITERS)]
    start_all(writers)
    gaps, together, worst = [], [], []
    for number in range(rounds):
        mine, all_gap, _, problems = kill_round(cluster, writers)
        gaps += mine
        worst.append(max(mine))
        together.append(all_gap)
        result.count("kill %d" % number, problems)
        if problems:
            break
    for writer in writers:
        writer.stop()
    result.figures["kill: gap of each client"] = percentiles(gaps)
    result.figures["kill: gap of the slowest client"] = percentiles(worst)
    result.figures["kill: no client writes"] = percentiles(together)
    figures = result.figures["kill: gap of each client"]
    if rounds >= 20:
        result.count("gap after kill -9", [] if figures["median_ms"] <= KILL_GAP_MEDIAN_MS
                     and figures["p99_ms"] <= KILL_GAP_P99_MS else ["%s" % figures])


def transfers(cluster, rounds, result):
    gaps = []
    for number in range(rounds):
        gap_s, problems = transfer_round(cluster, number)
        gaps.append(gap_s)
        result.count("transfer %d" % number, problems)
    figures = percentiles(gaps)
    result.figures["transfer: gap"] = figures
    if rounds >= 10:
        result.count("gap of a transfer", [] if figures["median_ms"] <= TRANSFER_GAP_MS
                     else ["%s" % figures])


def restarts(cluster, rounds, result):
    gaps, operations = [], 0
    for number in range(rounds):
        gap_s, count, problems = restart_round(cluster)
        gaps.append(gap_s)
        operations += count
        result.count("rolling restart %d" % number, problems)
    result.figures["rolling restart: gap"] = dict(percentiles(gaps), operations=operations)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", "--count", type=int, default=100, help="kills")
    parser.add_argument("--transfers", type=int, default=20)
    parser.add_argument("--restarts", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0, help="not used")
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--json", help="write the figures here")
    parser.add_argument("--args", default="", help="more arguments of every node")
    options = parser.parse_args()
    end_by_exit()
    result = Result()
    with Cluster(options.nodes, args=shlex.split(options.args)) as cluster:
        for run, rounds in ((kills, options.rounds), (transfers, options.transfers),
                            (restarts, options.restarts)):
            if rounds and not result.failed:
                run(cluster, rounds, result)
    print("%-34s %7s %10s %10s %10s" % ("", "rounds", "median ms", "p99 ms", "max ms"))
    for name, figures in result.figures.items():
        print("%-34s %7d %10.1f %10.1f %10.1f" % (
            name, figures["rounds"], figures["median_ms"], figures["p99_ms"],
            figures["max_ms"]))
    if options.json:
        with open(options.json, "w", encoding="utf8") as file:
            json.dump(result.figures, file, indent=1)
            file.write("\n")
    print("%d passed, %d failed" % (result.passed, result.failed))
    return 1 if result.failed or not result.passed else 0


if __name__ == "__main__":
    sys.exit(main())
