#!/usr/bin/env python3
"""test_cluster_start.py - the table in doc/cluster.md: what a start does for every
combination of -raft, -join, -bootstrap and what is in the directories."""

import os
import re
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
import wdbformat
from cluster import Cluster
from wdbtest import ROOT, Server, check, check_eq, free_port, main, wait_for


def value_of(node, key):
    return node.cmd("GET", key)


class Made:
    """Directories in some state, and the cluster that they come from."""

    def __init__(self, kind, count=1):
        self.cluster = Cluster(count, start=False)
        self.kind = kind
        self.node = self.cluster.node(0)
        try:
            self.make()
        except BaseException:
            self.cluster.close(must_end_well=False)
            raise

    def make(self):
        if self.kind == "standalone":
            with Server(dir=self.node.dir, start=False) as server:
                os.makedirs(self.node.base, exist_ok=True)
                server.start()
                check_eq(server.cmd("SET", "here", "before"), "OK")
        elif self.kind == "member":
            self.node.start()
            self.cluster.wait_leader()
            check_eq(self.node.cmd("SET", "here", "before"), "OK")
            check_eq(self.node.stop(), 0)

    def start(self, join, bootstrap, **changes):
        node = self.node
        node.join = join
        node.bootstrap = bootstrap
        for name, value in changes.items():
            setattr(node, name, value)
        return node.start(wait=False)

    def __enter__(self):
        return self

    def __exit__(self, kind, *unused):
        self.cluster.__exit__(kind)


def refused(node, *texts):
    """The process ends with an error that tells what to do."""
    code, log = node.ended()
    check_eq(code, 1, log)
    for text in texts:
        check(re.search(text, log, re.I), "no %r in: %s" % (text, log))


def serves(made, value):
    """It is (or becomes) the leader, and has what was there."""
    node = made.node
    wait_for(node.is_ready, 20, what="node ready")
    made.cluster.wait_leader()
    check_eq(value_of(node, "here"), value)
    check_eq(node.cmd("SET", "more", "1"), "OK")


def standalone_args(node, *more):
    return [node.program, "-tcp", node.tcp, "-dir", node.dir] + list(more) + [node.path]


class Plain:
    """A start without -raft in the directories of a node."""

    def __init__(self, node, *more):
        self.node = node
        self.node.command = lambda: standalone_args(node, *more)


def test_row_1_to_3():
    """Without -raft: standalone, unless the directory is a cluster's."""
    for kind in ("empty", "standalone", "member"):
        with Made(kind) as made:
            Plain(made.node)
            made.node.start(wait=False)
            if kind == "member":
                refused(made.node, "cluster")
                continue
            wait_for(made.node.is_ready, 20)
            check_eq(value_of(made.node, "here"), None if kind == "empty" else b"before")
            check_eq(made.node.info()["role"], "master")


def test_row_4_and_5():
    """-join and -bootstrap true without -raft are refused."""
    for kind in ("empty", "standalone", "member"):
        for more in (("-join", "127.0.0.1:1"), ("-bootstrap", "true"),
                     ("-join", "127.0.0.1:1", "-bootstrap", "true")):
            with Made(kind) as made:
                Plain(made.node, *more)
                made.node.start(wait=False)
                refused(made.node, "raft")


def test_row_6_to_8():
    """-raft -bootstrap true without -join: found, or go on."""
    for kind in ("empty", "standalone", "member"):
        with Made(kind) as made:
            made.start(None, "true")
            serves(made, None if kind == "empty" else b"before")
            check_eq(made.node.stop(), 0)
            made.start(None, "true")
            serves(made, None if kind == "empty" else b"before")


def interrupt_founding(node, **changes):
    """The identity as founding stores it, before it makes the log a cluster's."""
    with open(os.path.join(node.dir, "MANIFEST"), "rb") as file:
        nonce = wdbformat.read_manifest(file.read())["nonce"]
    if isinstance(nonce, str):
        nonce = int(nonce, 16)
    path = os.path.join(node.raft_dir, "raft-identity")
    with open(path, "rb") as file:
        data = bytearray(file.read())
    values = {"cluster_id": 99, "nonce": nonce, "term": 1, "voted_for": 0}
    values.update(changes)
    for at in (0, 4096):
        data[at:at + 512] = wdbformat.make_identity_slot(bytes(data[at:at + 512]), **values)
    with open(path, "wb") as file:
        file.write(data)


def test_row_7_after_a_crash():
    """A founding that was interrupted is begun again, under another node id; an
    identity that has voted, or is of another log, is refused."""
    for changes in ({}, {"voted_for": 5}, {"nonce": 5}):
        with Made("standalone") as made:
            made.start(None, None)
            refused(made.node, "bootstrap")  # leaves an identity
            interrupt_founding(made.node, **changes)
            made.start(None, "true")
            if changes:
                refused(made.node, "belongs to a member")
                continue
            serves(made, b"before")
            check_eq(made.node.stop(), 0)
            made.start(None, "true")
            serves(made, b"before")


def test_row_7_takes_others_in():
    """A standalone directory becomes the first node of three."""
    with Made("standalone", 3) as made:
        made.start(None, "true")
        serves(made, b"before")
        for node in made.cluster.nodes[1:]:
            node.start()
        made.cluster.wait_members(3)
        for node in made.cluster.nodes:
            check_eq(value_of(node, "here"), b"before")


def test_row_9():
    """-join of an empty directory is retried until the member is there, with or
    without -bootstrap true."""
    for bootstrap in ("true", None, "false"):
        with Cluster(2, start=False) as cluster:
            first, second = cluster.nodes
            second.bootstrap = bootstrap
            second.start(wait=False)
            wait_for(lambda: first.tcp in second.log(), 20,
                     what="a message that names the member")
            check(second.is_running(), second.log())
            first.start()
            cluster.wait_leader()
            cluster.wait_members(2)
            check_eq(first.cmd("SET", "a", "1"), "OK")
            check_eq(second.cmd("GET", "a"), b"1")


def test_row_10():
    """-join with a standalone directory is refused; the data stays."""
    for bootstrap in ("true", None):
        with Made("standalone") as made:
            made.start("127.0.0.1:1", bootstrap)
            refused(made.node, "join", "empty")
            made.start(None, "true")
            serves(made, b"before")


def test_row_11():
    """-join of a member goes on at once, whether anybody is there or not."""
    for bootstrap in ("true", None):
        with Made("member") as made:
            made.start("127.0.0.1:1", bootstrap)
            serves(made, b"before")


def test_row_12():
    """-raft alone with an empty directory waits for a JOIN."""
    with Cluster(2, start=False) as cluster:
        first, second = cluster.nodes
        first.start()
        cluster.wait_leader()
        second.join = second.bootstrap = None
        second.start()
        check_eq(second.role(), "unjoined")
        check_eq(first.cmd("JOIN", second.name, second.raft, second.tcp), "OK")
        cluster.wait_members(2)
        check_eq(second.cmd("SET", "a", "1"), "OK")
        check_eq(first.cmd("GET", "a"), b"1")


def test_row_13():
    """-raft alone with a standalone directory is refused."""
    with Made("standalone") as made:
        made.start(None, None)
        refused(made.node, "bootstrap")


def test_row_14():
    """-raft alone with a member's directories goes on."""
    for bootstrap in (None, "false"):
        with Made("member") as made:
            made.start(None, bootstrap)
            serves(made, b"before")


def test_row_15():
    """A node that was removed ends, and does not start again."""
    with Cluster(3) as cluster:
        node = cluster.followers()[0]
        check_eq(cluster.leader().cmd("RAFT", "REMOVE", node.name), "OK")
        cluster.wait_members(2)
        if node.is_running():
            # It may go on to tell clients that it was removed.
            wait_for(lambda: not node.is_running() or node.role() == "removed", 20,
                     what="a node that knows that it was removed")
        node.kill()
        for join, bootstrap in ((None, "true"), (None, None),
                                (cluster.leader().tcp, "true")):
            node.join, node.bootstrap = join, bootstrap
            node.start(wait=False)
            refused(node, "removed")
        cluster.nodes.remove(node)


def test_row_16():
    """Directories of a node with another -id are refused."""
    with Made("member") as made:
        made.start(None, "true", name="another")
        refused(made.node, "node01")


def test_row_17():
    """An emptied -dir beside a kept -raftdir is refused."""
    with Made("member") as made:
        shutil.rmtree(made.node.dir)
        made.start(None, "true")
        refused(made.node, "raft")


def test_row_18():
    """A kept -dir beside an emptied -raftdir is refused."""
    with Made("member") as made:
        shutil.rmtree(made.node.raft_dir)
        made.start(None, "true")
        refused(made.node, "raft")


def test_row_18_standalone_copy():
    """Directories of two nodes do not go together."""
    with Made("member") as one, Made("member") as other:
        shutil.rmtree(one.node.raft_dir)
        shutil.copytree(other.node.raft_dir, one.node.raft_dir)
        one.start(None, "true")
        refused(one.node, "belong")


def test_row_19():
    """A wiped node does not come back under its old name; a new name does."""
    with Cluster(3) as cluster:
        node = cluster.followers()[0]
        check_eq(cluster.leader().cmd("SET", "a", "1"), "OK")
        node.kill()
        node.wipe()
        node.join = cluster.leader().tcp
        node.start(wait=False)
        refused_or_waits(node)
        node.kill()
        check_eq(cluster.leader().cmd("RAFT", "REMOVE", node.name), "OK")
        node.wipe()
        node.start(wait=False)
        refused_or_waits(node)
        node.kill()
        node.wipe()
        node.name = "node04"
        node.start(wait=False)
        cluster.wait_members(3)
        check_eq(node.cmd("GET", "a"), b"1")


def test_row_6_founder_that_lost_its_disk():
    """The founder's line on empty directories founds another cluster; the members of
    the first one tell it what it is, and it ends for good. With -join it is refused
    because of its name."""
    with Cluster(3) as cluster:
        first = cluster.nodes[0]
        check_eq(cluster.leader().cmd("SET", "a", "1"), "OK")
        first.kill()
        cluster.wait_leader()
        first.wipe()
        first.start(wait=False)
        code, log = first.ended()
        check_eq(code, 1, log)
        check("address is that of a member of cluster" in log, log)
        first.start(wait=False)
        refused(first, "empty -dir and -raftdir")
        check_eq(cluster.leader().cmd("GET", "a"), b"1")
        first.wipe()
        first.join = cluster.nodes[1].tcp
        first.start(wait=False)
        refused_or_waits(first)
        first.kill()
        check_eq(cluster.leader().cmd("RAFT", "REMOVE", first.name), "OK")
        first.wipe()
        first.name = "node04"
        first.start(wait=False)
        cluster.wait_members(3)
        check_eq(first.cmd("GET", "a"), b"1")


def test_row_20():
    """Two processes do not share a -raftdir, whatever their -dir; once the first
    one has ended, or was killed, it is free."""
    with Made("member") as made:
        made.start(None, "true")
        serves(made, b"before")
        node = made.node
        for args in (["-bootstrap", "true"], [],
                     ["-join", node.tcp, "-bootstrap", "true"]):
            command = [node.program, "-id", node.name, "-raft", "127.0.0.1:%d" % free_port(),
                       "-tcp", "127.0.0.1:%d" % free_port(), "-raftdir", node.raft_dir,
                       "-dir", node.dir + "-other"] + args + [node.path]
            ended = subprocess.run(command, capture_output=True, timeout=60, check=False)
            text = (ended.stdout + ended.stderr).decode("utf8", "replace")
            check_eq(ended.returncode, 1, text)
            check("in use by process %d" % node.process.pid in text, text)
        node.kill()
        made.start(None, "true")
        serves(made, b"before")


def refused_or_waits(node):
    """Ends, or says again and again that its name cannot be used."""
    wait_for(lambda: re.search(r"Joining.*(another node|removed)", node.log_of_start()) or
             not node.is_running(), 20, what="a refusal")
    check(not node.is_running() or node.role() == "unjoined", node.log_of_start())
    if not node.is_running():
        node.process.wait()
        node.process = None


def test_table_is_complete():
    """Every row of the table in doc/cluster.md has a test here."""
    with open(os.path.join(ROOT, "doc", "cluster.md"), encoding="utf8") as file:
        rows = {int(n) for n in re.findall(r"^\| (\d+) \| (?:yes|no) \|", file.read(), re.M)}
    covered = set()
    for name in globals():
        match = re.match(r"test_row_(\d+)(?:_(?:to|and)_(\d+))?", name)
        if match:
            covered |= set(range(int(match.group(1)), int(match.group(2) or match.group(1)) + 1))
    check_eq(rows - covered, set())


def test_most_io_threads():
    """A member starts with as many threads as the setting allows."""
    with Cluster(1, args=["--io-threads", "128"]) as cluster:
        check_eq(cluster.leader().cmd("SET", "a", "1"), "OK")


def test_temporary_path():
    """~ and relative paths in the command line work as the shell leaves them."""
    place = tempfile.mkdtemp(prefix="walkerdb-it-")
    with Made("empty") as made:
        node = made.node
        command = node.command()
        command[command.index("-raftdir") + 1] = "./tmp1/raft"
        command[command.index("-dir") + 1] = "./tmp1/bitcask-go"
        command[-1] = os.path.join(place, ".walkerDb")
        node.command = lambda: ["sh", "-c", 'cd "$0" && exec "$@"', place] + command
        node.start()
        made.cluster.wait_leader()
        check(os.path.exists(os.path.join(place, "tmp1", "bitcask-go", "MANIFEST")))
        check(os.path.exists(os.path.join(place, "tmp1", "raft", "raft-identity")))
        secret = os.path.join(place, ".walkerDb", "cluster-secret")
        check_eq(os.stat(secret).st_mode & 0o777, 0o600)
    shutil.rmtree(place)


if __name__ == "__main__":
    main(globals())
