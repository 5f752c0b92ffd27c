#!/usr/bin/env python3
"""cluster_as_server.py - three nodes that look like one server to a test suite.

    cluster_as_server.py --role leader|follower --port PORT --dir DIR [OPTION...]

The node at PORT is the leader, or a follower that forwards; the other options go
to every node. It ends on SIGTERM, with all nodes; the nodes end when it is killed.
"""

import ctypes
import os
import signal
import subprocess
import sys
import time

ROOT = os.path.abspath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
sys.path.insert(0, os.path.join(ROOT, "test", "lib"))
from wdbtest import BIN, Client, free_port, wait_for  # noqa: E402

PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None)


def end_with_parent():
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def take(arguments, name):
    """The value of an option, which is taken out."""
    at = arguments.index(name)
    value = arguments[at + 1]
    del arguments[at:at + 2]
    return value


def start(number, port, base, join, options):
    place = os.path.join(base, "node%d" % number)
    os.makedirs(place, exist_ok=True)
    command = [os.path.join(BIN, "walkerdb"), "-id", "node%d" % number,
               "-raft", "127.0.0.1:%d" % free_port(), "-tcp", "127.0.0.1:%d" % port,
               "-raftdir", os.path.join(place, "raft"), "-dir", os.path.join(place, "data"),
               "-bootstrap", "true"]
    if join:
        command += ["-join", "127.0.0.1:%d" % join]
    return subprocess.Popen(command + options + [os.path.join(base, "shared")],
                            stdin=subprocess.DEVNULL, preexec_fn=end_with_parent)


def reply_of(port, *command):
    try:
        with Client(port, timeout_s=5.0) as client:
            return client.cmd(*command)
    except (OSError, ConnectionError):
        return None


def main():
    arguments = sys.argv[1:]
    role, port, base = (take(arguments, n) for n in ("--role", "--port", "--dir"))
    # A start after a death begins anew: the suite does not look back.
    base = os.path.join(base, str(os.getpid()))
    ports = [int(port), free_port(), free_port()]
    # The founder leads. What comes before a follower is taken in is held there.
    order = [0, 1, 2] if role == "leader" else [1, 2, 0]
    nodes = []
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        for number in order:
            join = ports[order[0]] if nodes else None
            nodes.append(start(number, ports[number], base, join, arguments))
            if not join:
                wait_for(lambda: reply_of(ports[order[0]], "PING") == "PONG", 30)
        while all(node.poll() is None for node in nodes):
            time.sleep(0.2)
    finally:
        for node in nodes:
            node.terminate()
        for node in nodes:
            node.wait()
    return 1


if __name__ == "__main__":
    sys.exit(main())
