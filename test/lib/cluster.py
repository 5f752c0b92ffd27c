"""cluster.py - walkerdb processes that form a cluster, as a user starts them.

    with Cluster(3) as cluster:
        client = cluster.node(1).client()
        check_eq(client.cmd("SET", "a", "1"), "OK")
        cluster.leader().kill()
        cluster.wait_leader()

Nodes are on loopback ports, or with network="namespaces" each in a network
namespace of its own (netspace.py), where they can be cut off from each other.
disk_mib gives each node a small file system of its own. The nodes share PATH,
which holds the cluster's secret; WDB_CLUSTER_ARGS adds options to every node.
"""

import atexit
import itertools
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile

from netspace import Disk, Network
from wdbtest import (BIN, Client, ReplyError, Server, check, free_port, wait_for)

LEADER_TIMEOUT_S = 20.0
# Fields of RAFT STATUS.
COMMITTED, APPLIED = "index-committed", "index-applied"
HASH, TERM = "state-hash", "term"
OPEN = []


@atexit.register
def close_all():
    """Whatever ends the test, its processes and namespaces end with it."""
    for cluster in list(OPEN):
        cluster.close(must_end_well=False)


def end_by_exit():
    """Let SIGTERM end the program so that close_all runs."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))


def text_of(value):
    return value.decode("utf8", "replace") if isinstance(value, bytes) else value


def fields(reply):
    """A reply of names and values as a dictionary: a map, a flat list, or
    lines of name:value. Values: int, text, or lists of such dictionaries."""
    if isinstance(reply, dict):
        return {text_of(k): value_of(v) for k, v in reply.items()}
    if isinstance(reply, list):
        return {text_of(k): value_of(v) for k, v in zip(reply[::2], reply[1::2])}
    lines = text_of(reply).splitlines()
    return {l.split(":", 1)[0]: value_of(l.split(":", 1)[1])
            for l in lines if ":" in l and not l.startswith("#")}


def value_of(value):
    if isinstance(value, list):
        if value and isinstance(value[0], (list, dict)):
            return [fields(item) for item in value]
        return [text_of(item) for item in value]
    value = text_of(value)
    if isinstance(value, str) and re.fullmatch(r"-?\d{1,18}", value):
        return int(value)
    return value


class Node(Server):
    """One process of a cluster."""

    def __init__(self, cluster, name, place=None):
        base = os.path.join(cluster.base, name)
        self.disk = None
        if cluster.disk_mib:
            self.disk = Disk(cluster.disk_mib, cluster.disk_kind)
            base = self.disk.path
        super().__init__(dir=os.path.join(base, "data"), port=1, start=False,
                         env=cluster.env, program=cluster.program)
        self.cluster = cluster
        self.name = name
        self.base = base
        self.place = place
        self.host = place.address if place else "127.0.0.1"
        self.shown_host = self.host  # how others are told of it
        self.prefix = list(place.prefix) if place else []
        self.port = 8011 if place else free_port()
        self.raft_port = 8001 if place else free_port()
        self.raft_dir = os.path.join(base, "raft")
        self.path = cluster.shared
        self.bootstrap = "true"
        self.join = None
        self.is_paused = False
        self.log_start = 0
        self.log_path = os.path.join(cluster.base, name + ".log")

    @property
    def tcp(self):
        return "%s:%d" % (self.shown_host, self.port)

    @property
    def raft(self):
        return "%s:%d" % (self.shown_host, self.raft_port)

    def command(self):
        """The command line of the manual: single dashes, PATH at the end."""
        command = self.prefix + [self.program, "-id", self.name, "-raft", self.raft,
                                 "-tcp", self.tcp, "-raftdir", self.raft_dir,
                                 "-dir", self.dir]
        if self.join:
            command += ["-join", self.join]
        if self.bootstrap:
            command += ["-bootstrap", self.bootstrap]
        return command + self.cluster.args + self.args + [self.path]

    def start(self, timeout_s=60.0, wait=True):
        os.makedirs(os.path.dirname(self.dir), exist_ok=True)
        self.is_paused = False
        if os.path.exists(self.log_path):
            self.log_start = os.path.getsize(self.log_path)
        return super().start(timeout_s, wait)

    def log_of_start(self):
        """What it has logged since it was started."""
        with open(self.log_path, "rb") as file:
            file.seek(self.log_start)
            return file.read().decode("utf8", "replace")

    def is_running(self):
        return self.process is not None and self.process.poll() is None

    def is_ready(self):
        if self.process.poll() is not None:
            raise AssertionError("%s ended with %s; log:\n%s" % (
                self.name, self.process.returncode, self.log()))
        try:
            with Client(self.port, self.host, timeout_s=5.0) as client:
                return client.cmd("PING") == "PONG"
        except (OSError, ConnectionError):
            return False

    def connect(self, timeout_s=30.0):
        """A client that its user closes."""
        return Client(self.port, self.host, timeout_s)

    def client(self, timeout_s=30.0):
        client = self.connect(timeout_s)
        self.clients.append(client)
        return client

    def cmd(self, *args, timeout_s=30.0):
        with self.connect(timeout_s) as client:
            return client.cmd(*args)

    def info(self, section="replication", timeout_s=5.0):
        with self.connect(timeout_s) as client:
            return client.info(section)

    def status(self, timeout_s=5.0):
        """RAFT STATUS as a dictionary."""
        reply = self.cmd("RAFT", "STATUS", timeout_s=timeout_s)
        if isinstance(reply, ReplyError):
            raise AssertionError("RAFT STATUS: %s" % reply)
        return fields(reply)

    def role(self):
        return str(self.status().get("role", "")).lower()

    def marks(self):
        """(committed index, applied index, state hash)"""
        status = self.status(2.0)
        return status[COMMITTED], status[APPLIED], status.get(HASH)

    def says_leader(self):
        """Does it serve as leader, as far as it knows?"""
        if not self.is_running() or self.is_paused:
            return False
        try:
            role = self.cmd("ROLE", timeout_s=1.0)
            return isinstance(role, list) and role[0] == b"master"
        except (OSError, ConnectionError, ValueError):
            return False

    def pause(self):
        os.kill(self.pid, signal.SIGSTOP)
        self.is_paused = True

    def resume(self):
        if self.is_paused and self.is_running():
            os.kill(self.pid, signal.SIGCONT)
        self.is_paused = False

    def kill(self, number=signal.SIGKILL, timeout_s=60.0):
        self.resume()
        return super().kill(number, timeout_s)

    def wipe(self):
        """Lose the disk: log, identity, term and vote."""
        for path in (self.dir, self.raft_dir):
            shutil.rmtree(path, ignore_errors=True)

    def ended(self, timeout_s=20.0):
        """Wait until the process ends by itself; (exit code, end of its log)."""
        code = self.process.wait(timeout_s)
        self.process = None
        return code, self.log()


class Cluster:
    def __init__(self, count=3, args=(), network=None, disk_mib=0, disk_kind="tmpfs",
                 start=True, program=None, env=None, dir=None):
        self.program = program or os.path.join(BIN, "walkerdb")
        self.args = [str(a) for a in args] + shlex.split(
            os.environ.get("WDB_CLUSTER_ARGS", ""))
        self.env = env
        self.disk_mib, self.disk_kind = disk_mib, disk_kind
        self.base = tempfile.mkdtemp(prefix="walkerdb-cluster-", dir=dir)
        self.shared = os.path.join(self.base, "shared")
        os.makedirs(self.shared, mode=0o700)
        self.nodes = []
        self.numbers = itertools.count(1)
        self.network = None
        self.keep = False
        OPEN.append(self)
        try:
            if network == "namespaces":
                self.network = Network(count)
                # The test connects from outside of the nodes' loopback.
                self.args += ["--protected-mode", "no"]
            for number in range(count):
                self.new_node(place=self.network.places[number] if self.network else None)
            if start:
                self.start()
        except BaseException:
            self.close(must_end_well=False)
            raise

    def new_node(self, name=None, place=None):
        """A node that joins through the first one, not started."""
        if self.network and place is None:
            place = self.network.add()
        node = Node(self, name or "node%02d" % next(self.numbers), place)
        if self.nodes:
            node.join = self.nodes[0].tcp
        self.nodes.append(node)
        return node

    def start(self):
        """Found the cluster, let the others join, wait until all vote."""
        self.nodes[0].start()
        self.wait_leader()
        for node in self.nodes[1:]:
            node.start()
        self.wait_members(len(self.nodes))

    def node(self, number):
        return self.nodes[number]

    def named(self, name):
        return next(n for n in self.nodes if n.name == name)

    def running(self):
        return [n for n in self.nodes if n.is_running() and not n.is_paused]

    def find_leader(self):
        """The leader of the newest term that says so, or None."""
        found = []
        for node in self.running():
            if node.says_leader():
                try:
                    found.append((int(node.status(1.0).get(TERM, 0)), node.name))
                except (OSError, ConnectionError, AssertionError, ValueError):
                    found.append((0, node.name))
        return self.named(max(found)[1]) if found else None

    def wait_leader(self, timeout_s=LEADER_TIMEOUT_S, among=None):
        """Wait for a leader that does a write; returns it."""
        def serving():
            for node in among or self.running():
                if node.says_leader():
                    try:
                        reply = node.cmd("SET", "cluster:probe", "1", "PX", "1000",
                                         timeout_s=2.0)
                        if reply == "OK":
                            return node
                    except (OSError, ConnectionError):
                        pass
            return None
        try:
            return wait_for(serving, timeout_s, 0.02, "a leader that serves")
        except AssertionError as error:
            raise AssertionError("%s\n%s" % (error, self.logs())) from None

    def leader(self):
        return self.find_leader() or self.wait_leader()

    def followers(self):
        leader = self.leader()
        return [n for n in self.running() if n is not leader]

    def members(self):
        """RAFT NODES of the leader: a list of dictionaries."""
        reply = self.leader().cmd("RAFT", "NODES")
        if isinstance(reply, ReplyError):
            raise AssertionError("RAFT NODES: %s" % reply)
        return [fields(item) for item in reply]

    def wait_members(self, voters, timeout_s=30.0):
        """Wait until so many members vote."""
        def enough():
            try:
                roles = [m.get("role") for m in self.members()]
            except (OSError, ConnectionError, AssertionError):
                return False
            return sum(role in ("voter", "leader", "follower") for role in roles) == voters
        try:
            wait_for(enough, timeout_s, 0.05, "%d voters" % voters)
        except AssertionError as error:
            raise AssertionError("%s; members: %s\n%s" % (
                error, self.members(), self.logs())) from None

    def wait_equal(self, timeout_s=30.0, nodes=None):
        """Wait until the running nodes have applied the same, and stay so for a
        while: what they tell of themselves is a little old."""
        found = []

        def equal():
            try:
                states = {node.marks()[:2] for node in nodes or self.running()}
            except (OSError, ConnectionError):
                states = set()
            found.append(states)
            return len(states) == 1 and found[-4:] == [states] * 4
        wait_for(equal, timeout_s, 0.1, "nodes that are equal")

    def logs(self):
        return "\n".join("--- log of %s (tail)\n%s" % (n.name, n.log()[-2500:])
                         for n in self.nodes)

    def heal(self):
        """Take all faults back: network, pauses, full disks, dead nodes."""
        if self.network:
            self.network.heal()
        for node in self.nodes:
            if node.disk:
                node.disk.free()
            if node.is_paused:
                node.resume()
            if not node.is_running():
                if node.process is not None:
                    node.process.wait()
                    node.process = None
                node.start(wait=False)

    def mend(self):
        """Heal, and wait until all nodes are up and somebody leads."""
        self.heal()
        for node in self.nodes:
            wait_for(node.is_ready, 30, what="node ready")
        return self.wait_leader()

    def stop(self, number=signal.SIGTERM, timeout_s=60):
        """Ask all to end, once, then wait; returns the exit codes by name."""
        codes = {}
        for node in self.nodes:
            if node.is_running():
                node.resume()
                node.process.send_signal(number)
        for node in self.nodes:
            if node.process:
                try:
                    codes[node.name] = node.process.wait(timeout_s)
                except subprocess.TimeoutExpired:
                    node.process.kill()
                    node.process.wait()
                    codes[node.name] = "none: it did not end on signal %d" % number
                node.process = None
        return codes

    def close(self, must_end_well=True):
        if self in OPEN:
            OPEN.remove(self)
        codes = {}
        try:
            for node in self.nodes:
                for client in node.clients:
                    client.close()
            codes = self.stop(signal.SIGTERM if must_end_well else signal.SIGKILL)
        finally:
            for node in self.nodes:
                if node.disk:
                    node.disk.close()
            if self.network:
                self.network.close()
            if not self.keep:
                shutil.rmtree(self.base, ignore_errors=True)
        if must_end_well:
            check(all(code == 0 for code in codes.values()), "exit codes %s" % codes)

    def __enter__(self):
        return self

    def __exit__(self, kind, *unused):
        if kind is not None:
            sys.stdout.write(self.logs() + "\n")
            self.keep = bool(os.environ.get("WDB_TEST_KEEP"))
            if self.keep:
                sys.stdout.write("kept: %s\n" % self.base)
        self.close(must_end_well=kind is None)
