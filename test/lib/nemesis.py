"""nemesis.py - breaks a cluster in many ways, one after the other, and heals it.

Each fault is a method that begins it and returns what ends it. All runs in the
caller's thread. `windows` are the times (monotonic nanoseconds) in which
something was broken, with the time that recovery may take.
"""

import random
import signal
import time

GRACE_S = 2.0  # after the end of a fault: elections, reconnects


class Nemesis:
    def __init__(self, cluster, seed, wanted=None):
        self.cluster = cluster
        self.rng = random.Random("%s nemesis" % seed)
        self.windows = []
        self.counts = {}
        self.problems = []
        self.perhaps_removed = []  # (node, its name then)
        every = ["kill_leader", "kill_follower", "kill_two", "kill_all", "pause_leader",
                 "pause_follower", "term_leader", "transfer", "merge", "double_kill"]
        if cluster.network:
            every += ["isolate_leader", "isolate_follower", "split", "one_way", "deaf_leader",
                      "mute_leader", "bridge", "lose", "lose_all"]
        if cluster.disk_mib:
            every += ["fill_leader", "fill_follower"]
        every += ["replace_member"]
        self.faults = wanted or every
        if not wanted:
            # A part of them, drawn for each seed, makes odd mixes likelier.
            self.faults = self.rng.sample(every, max(4, len(every) * 2 // 3))

    # -- who

    def leader(self):
        return self.cluster.find_leader() or self.rng.choice(self.cluster.nodes)

    def follower(self):
        leader = self.leader()
        return self.rng.choice([n for n in self.cluster.nodes if n is not leader])

    def number(self, node):
        return self.cluster.network.places.index(node.place)

    def others(self, node):
        return [self.number(n) for n in self.cluster.nodes if n is not node]

    # -- processes

    def kill(self, nodes, number=signal.SIGKILL):
        for node in nodes:
            if node.is_running():
                node.resume()
                node.process.send_signal(number)
        for node in nodes:
            if node.process:
                node.process.wait(60)
                node.process = None
        return lambda: [n.start(wait=False) for n in nodes if n.process is None]

    def kill_leader(self):
        return self.kill([self.leader()])

    def kill_follower(self):
        return self.kill([self.follower()])

    def kill_two(self):
        return self.kill(self.rng.sample(self.cluster.nodes, 2))

    def kill_all(self):
        return self.kill(list(self.cluster.nodes))

    def double_kill(self):
        """A node that has just come back is killed again."""
        node = self.leader()
        self.kill([node])()
        time.sleep(self.rng.uniform(0.05, 0.6))
        return self.kill([node])

    def term_leader(self):
        return self.kill([self.leader()], signal.SIGTERM)

    def pause(self, node):
        if node.is_running():
            node.pause()
        return node.resume

    def pause_leader(self):
        return self.pause(self.leader())

    def pause_follower(self):
        return self.pause(self.follower())

    # -- network

    def isolate(self, node):
        for other in self.others(node):
            self.cluster.network.cut(self.number(node), other)
        return self.cluster.network.heal

    def isolate_leader(self):
        return self.isolate(self.leader())

    def isolate_follower(self):
        return self.isolate(self.follower())

    def split(self):
        numbers = [self.number(n) for n in self.cluster.nodes]
        self.rng.shuffle(numbers)
        half = self.rng.randint(1, len(numbers) - 1)
        self.cluster.network.split(numbers[:half], numbers[half:])
        return self.cluster.network.heal

    def one_way(self):
        one, other = self.rng.sample(self.cluster.nodes, 2)
        self.cluster.network.cut_one_way(self.number(one), self.number(other))
        return self.cluster.network.heal

    def deaf_leader(self):
        """It is heard, and hears nobody."""
        leader = self.leader()
        for other in self.others(leader):
            self.cluster.network.cut_one_way(other, self.number(leader))
        return self.cluster.network.heal

    def mute_leader(self):
        leader = self.leader()
        for other in self.others(leader):
            self.cluster.network.cut_one_way(self.number(leader), other)
        return self.cluster.network.heal

    def bridge(self):
        """Two groups that only one node joins."""
        nodes = list(self.cluster.nodes)
        self.rng.shuffle(nodes)
        rest = [self.number(n) for n in nodes[1:]]
        half = max(1, len(rest) // 2)
        self.cluster.network.split(rest[:half], rest[half:])
        return self.cluster.network.heal

    def lose(self):
        self.cluster.network.lose(self.number(self.rng.choice(self.cluster.nodes)),
                                  self.rng.choice((10, 30, 60)))
        return self.cluster.network.heal

    def lose_all(self):
        percent = self.rng.choice((5, 15, 30))
        for node in self.cluster.nodes:
            self.cluster.network.lose(self.number(node), percent)
        return self.cluster.network.heal

    # -- disks

    def fill(self, node):
        node.disk.fill(self.rng.choice((0, 0, 1 << 20)))
        return node.disk.free

    def fill_leader(self):
        return self.fill(self.leader())

    def fill_follower(self):
        return self.fill(self.follower())

    # -- administration

    def ask(self, *args):
        try:
            return self.leader().cmd(*args, timeout_s=10.0)
        except (OSError, ConnectionError):
            return None

    def transfer(self):
        self.ask("RAFT", "TRANSFER")
        return lambda: None

    def merge(self):
        for node in self.cluster.running():
            try:
                node.cmd("BGREWRITEAOF", timeout_s=2.0)
            except (OSError, ConnectionError):
                pass
        return lambda: None

    def replace_member(self):
        """A follower is removed and wiped, a new node takes its place."""
        old = self.follower()
        reply = self.ask("RAFT", "REMOVE", old.name)
        if reply is None or str(reply).startswith("UNKNOWN"):
            self.perhaps_removed.append((old, old.name))
            return lambda: None
        if reply != "OK":
            return lambda: None
        return self.make_anew(old)

    def make_anew(self, old):
        """On an empty disk, under a new name."""
        if old.process:
            old.kill()
        old.wipe()
        old.name = "node%02d" % next(self.cluster.numbers)
        for node in self.cluster.nodes:
            if node is not old:
                old.join = node.tcp
        return lambda: old.start(wait=False)

    # -- the schedule

    def run(self, seconds):
        """Calm and faults in turn; everything is healed at the end."""
        end = time.monotonic() + seconds
        while True:
            time.sleep(self.rng.uniform(1.0, 3.0))
            name = self.rng.choice(self.faults)
            length = self.rng.uniform(0.3, 4.0)
            if time.monotonic() + length + GRACE_S > end:
                break
            self.one(name, length)
        self.cluster.heal()
        self.look_for_removed()
        time.sleep(max(0.0, end - time.monotonic()))

    def look_for_removed(self):
        """What was asked for without an answer may have been done."""
        for node, name in self.perhaps_removed:
            self.cluster.wait_leader(30)
            names = [member["id"] for member in self.cluster.members()]
            if node.name == name and name not in names:
                self.make_anew(node)()

    def one(self, name, length):
        self.counts[name] = self.counts.get(name, 0) + 1
        first = time.monotonic_ns()
        undo = getattr(self, name)()
        # Now and then a second one on top.
        more = None
        if self.rng.random() < 0.25:
            time.sleep(length / 2)
            second = self.rng.choice(self.faults)
            self.counts[second] = self.counts.get(second, 0) + 1
            more = getattr(self, second)()
        time.sleep(length)
        undo()
        if more:
            more()
        self.revive()
        self.windows.append((first, time.monotonic_ns() + int(GRACE_S * 1e9)))

    def revive(self):
        """Start what has ended by itself. Only a full disk may do that."""
        for node in self.cluster.nodes:
            if node.process and node.process.poll() is not None:
                code = node.process.returncode
                if not (node.disk and self.counts.keys() & {"fill_leader", "fill_follower"}):
                    self.problems.append("%s ended with %s:\n%s" % (
                        node.name, code, node.log()[-1500:]))
                node.process = None
                node.start(wait=False)


def state_hashes(cluster):
    """{committed index: set of hashes} of all nodes."""
    found = {}
    for node in cluster.running():
        committed, _, state_hash = node.marks()
        found.setdefault(committed, set()).add(state_hash)
    return found
