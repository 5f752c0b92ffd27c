"""SIGTERM ends the server at once, whatever its connections do."""

import os
import shutil
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
from cluster import Cluster
from wdbtest import Server, Skip, check, check_eq, main, wait_for


def stop(server):
    start = time.monotonic()
    check_eq(server.kill(signal.SIGTERM, timeout_s=20.0), 0)
    check(time.monotonic() - start < 10.0, "it took too long")


def test_idle_connections():
    """Those that wait for nothing do not hold it up."""
    for count in (0, 1, 2, 20):
        with Server() as server:
            for _ in range(count):
                check_eq(server.client().cmd("PING"), "PONG")
            stop(server)


def test_closing_connections():
    """Nor do those that are just being closed."""
    for _ in range(5):
        with Server() as server:
            for _ in range(10):
                check_eq(server.client().cmd("PING"), "PONG")
            for client in server.clients:
                client.close()
            stop(server)


def test_paused_connections():
    """Nor those that CLIENT PAUSE holds, or that watch."""
    with Server() as server:
        client, other, monitor = (server.client() for _ in range(3))
        check_eq(monitor.cmd("MONITOR"), "OK")
        check_eq(other.cmd("WATCH", "a"), "OK")
        check_eq(client.cmd("CLIENT", "PAUSE", "100000"), "OK")
        client.send("SET", "a", "1")
        other.send("MULTI")
        time.sleep(0.1)
        stop(server)


def test_second_signal():
    """While a leader waits for somebody to take over, another signal ends it."""
    with Cluster(2) as cluster:
        leader, follower = cluster.leader(), cluster.followers()[0]
        follower.pause()
        leader.process.send_signal(signal.SIGTERM)
        wait_for(lambda: "requested shutdown" in leader.log(), 10)
        start = time.monotonic()
        check_eq(leader.kill(signal.SIGTERM), -signal.SIGTERM)
        check(time.monotonic() - start < 1.0, "it took too long")


def test_failure_while_it_stops():
    """A sync that fails when nobody hears requests any more is told by the exit code,
    and nothing is written behind it."""
    program = shutil.which("strace")
    if program is None or subprocess.call([program, "-qq", "true"], stderr=subprocess.DEVNULL):
        raise Skip("no strace here")
    prefix = [program, "-f", "-qq", "-o", "/dev/null", "-e", "trace=fdatasync",
              "-e", "inject=fdatasync:error=EIO:when=%d+"]
    ends = []
    for number in range(1, 12):
        with Server("--appendfsync", "no", start=False,
                    prefix=prefix[:-1] + [prefix[-1] % number]) as server:
            server.start(wait=False)
            try:
                wait_for(server.is_ready, 20)
                client = server.client()
                check_eq(client.cmd("SET", "a", "1"), "OK")
                client.send("SHUTDOWN", "NOSAVE")
            except (AssertionError, OSError):
                pass
            ends.append((server.process.wait(30), "FATAL" in server.log(),
                         "requested shutdown" in server.log()))
            server.process = None
    check(any(fatal and asked for _, fatal, asked in ends), ends)
    for code, fatal, _ in ends:
        check(not fatal or code == 1, ends)


if __name__ == "__main__":
    main(globals())
