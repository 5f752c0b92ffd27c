#!/usr/bin/env python3
"""test_cluster_peers.py - how nodes reach and trust each other: names, IPv6, the
secret on other machines, and what --check-peers says."""

import json
import os
import shutil
import socket
import stat
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
from cluster import Cluster
from wdbtest import Skip, check, check_eq, main, wait_for


def ask(node, *words, path=None, as_json=True):
    """--check-peers from the node's machine; (exit code, what it printed)."""
    command = node.prefix + [node.program, "--check-peers"] + list(words)
    command += ["--json"] if as_json else []
    done = subprocess.run(command + [path or node.path], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, timeout=30)
    check_eq(done.stderr, b"")
    text = done.stdout.decode()
    return done.returncode, json.loads(text) if as_json else text


def both(node):
    return "%s,%s" % (node.raft, node.tcp)


def test_check_peers():
    """Two members are well; one that is not there, a port of another kind and a
    name that nobody knows are told apart."""
    with Cluster(2) as cluster:
        one, two = cluster.nodes
        code, told = ask(one, both(one), two.raft)
        check_eq(code, 0)
        check(told["ok"] and told["problems"] == [], told)
        check_eq([p["name"] for p in told["peers"]], [one.name, two.name])
        check_eq([p["tcp"]["address"] for p in told["peers"]], [one.tcp, two.tcp])
        check_eq(told["peers"][0]["cluster_id"], told["peers"][1]["cluster_id"])
        check(abs(told["peers"][1]["clock_difference_ms"]) < 500, told)
        two.stop()
        code, told = ask(one, one.raft, two.raft, one.tcp, "no-such-host.invalid:1")
        check_eq(code, 1)
        check_eq(len(told["problems"]), 3)
        check("can't connect" in told["problems"][0], told)
        check("another service" in told["problems"][1], told)
        check("can't resolve" in told["problems"][2], told)
        code, text = ask(one, one.raft, two.raft, as_json=False)
        check_eq(code, 1)
        check("raft address" in text and one.name in text, text)


def test_check_peers_of_two_clusters():
    """Nodes of different clusters, and ones with another secret."""
    with Cluster(1) as here, Cluster(1, start=False) as there:
        one, other = here.nodes[0], there.nodes[0]
        shutil.copy(os.path.join(one.path, "cluster-secret"), other.path)
        there.start()
        code, told = ask(one, one.raft, other.raft)
        check_eq(code, 1)
        ids = [p["cluster_id"] for p in told["peers"]]
        check(all(i in told["problems"][0] for i in ids), told)
        other.stop()
        os.unlink(os.path.join(other.path, "cluster-secret"))
        shutil.copy(os.path.join(one.path, "cluster-secret"),
                    os.path.join(other.path, "cluster-secret"))
        secret = os.path.join(other.path, "cluster-secret")
        with open(secret, "w") as file:
            file.write("ab" * 32 + "\n")
        other.start()
        code, told = ask(one, other.raft)
        check_eq(code, 1)
        check("another cluster secret" in told["problems"][0], told)
        other.stop()
        os.chmod(secret, 0o644)
        other.start(wait=False)
        code, log = other.ended()
        check_eq(code, 1)
        check("chmod 600" in log, log)


def has_ipv6():
    try:
        with socket.socket(socket.AF_INET6) as s:
            s.bind(("::1", 0))
        return True
    except OSError:
        return False


def test_names():
    """Raft addresses may be names."""
    with Cluster(3, start=False) as cluster:
        for node in cluster.nodes:
            node.shown_host = "localhost"
        for node in cluster.nodes[1:]:
            node.join = cluster.nodes[0].tcp
        cluster.start()
        check_eq(cluster.leader().cmd("SET", "a", "1"), "OK")
        cluster.wait_equal()


def test_ipv6():
    """Or IPv6 addresses."""
    if not has_ipv6():
        raise Skip("no IPv6 on loopback")
    with Cluster(2, start=False) as cluster:
        for node in cluster.nodes:
            node.host, node.shown_host = "::1", "[::1]"
        cluster.nodes[1].join = cluster.nodes[0].tcp
        cluster.start()
        check_eq(cluster.leader().cmd("SET", "a", "1"), "OK")
        cluster.wait_equal()
        code, told = ask(cluster.nodes[0], *[n.raft for n in cluster.nodes])
        check_eq((code, told["problems"]), (0, []))


def own_path(node):
    node.path = os.path.join(node.base, "path")
    return os.path.join(node.path, "cluster-secret")


def test_secret_by_hand():
    """On another machine a node without the secret is told what to copy where,
    and joins when that was done."""
    with Cluster(2, network="namespaces", start=False) as cluster:
        one, two = cluster.nodes
        secret = own_path(two)
        one.start()
        cluster.wait_leader()
        two.start()
        wait_for(lambda: "cluster-secret" in two.log(), 20)
        os.makedirs(two.path, mode=0o700, exist_ok=True)
        shutil.copy(os.path.join(one.path, "cluster-secret"), secret)
        os.chmod(secret, 0o600)
        two.stop()
        two.start()
        cluster.wait_members(2)


def test_secret_by_password():
    """With a password the answer to JOIN brings it."""
    with Cluster(1, network="namespaces", start=False,
                 args=["--requirepass", "word", "--masterauth", "word"]) as cluster:
        one = cluster.nodes[0]
        one.start(wait=False)
        wait_for(lambda: "serving as leader" in one.log(), 30)
        two = cluster.new_node()
        secret = own_path(two)
        two.start(wait=False)
        wait_for(lambda: os.path.exists(secret), 30)
        check_eq(stat.S_IMODE(os.stat(secret).st_mode), 0o600)
        with open(os.path.join(one.path, "cluster-secret")) as file:
            wanted = file.read()
        with open(secret) as file:
            check_eq(file.read(), wanted)
        wait_for(lambda: "becomes a voter" in one.log(), 30)


def start_with_password(cluster):
    """The founder, whose clients say the password."""
    first = cluster.nodes[0]
    own_path(first)
    first.start(wait=False)
    wait_for(lambda: "serving as leader" in first.log(), 30)
    return first


def knows(node):
    client = node.client()
    check_eq(client.cmd("AUTH", "word"), "OK")
    return client


def scan(client, cursor, count):
    """(cursor, keys) behind some steps, or at the end."""
    found = set()
    for _ in range(count):
        cursor, keys = client.cmd("SCAN", cursor, "COUNT", "100")
        found |= set(keys)
        if cursor == b"0":
            break
    return cursor, found


def test_secret_by_password_goes_on():
    """A node that got the secret by JOIN has it like any other: a cursor of SCAN goes
    on there, and when it leads it gives the secret to the next one."""
    with Cluster(1, start=False, args=["--requirepass", "word", "--masterauth", "word"]) as cluster:
        one = start_with_password(cluster)
        two = cluster.new_node()
        secret = own_path(two)
        two.start(wait=False)
        wait_for(lambda: "becomes a voter" in one.log(), 30)
        check("starting anew" in two.log(), two.log())
        client = knows(one)
        names = {b"key:%d" % i for i in range(3000)}
        check_eq(set(client.pipeline([("SET", name, "1") for name in names])), {"OK"})
        cursor, found = scan(client, "0", 10)
        check(0 < len(found) < len(names), len(found))
        check_eq(client.cmd("RAFT", "TRANSFER", two.name), "OK")
        other = knows(two)
        wait_for(lambda: other.cmd("ROLE")[0] == b"master", 20)
        found |= scan(other, cursor, 100)[1]
        check_eq(len(names - found), 0)
        three = cluster.new_node()
        third = own_path(three)
        three.start(wait=False)
        wait_for(lambda: os.path.exists(third), 30)
        wait_for(lambda: "becomes a voter" in two.log(), 30)
        with open(secret) as wanted, open(third) as file:
            check_eq(file.read(), wanted.read())


def test_secret_that_does_not_come():
    """Without a password the secret stays where it is, and the node says what to
    do about that."""
    with Cluster(2, start=False) as cluster:
        one, two = cluster.nodes
        secret = own_path(two)
        one.start()
        cluster.wait_leader()
        two.start()
        wait_for(lambda: "no secret of the cluster came" in two.log(), 20)
        check(two.path in two.log(), two.log())
        os.makedirs(two.path, mode=0o700, exist_ok=True)
        shutil.copy(os.path.join(one.path, "cluster-secret"), secret + ".tmp")
        os.chmod(secret + ".tmp", 0o600)
        os.rename(secret + ".tmp", secret)
        cluster.wait_members(2)  # it finds the file by itself


if __name__ == "__main__":
    main(globals())
