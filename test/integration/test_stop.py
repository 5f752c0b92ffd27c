"""SIGTERM ends the server at once, whatever its connections do."""

import os
import signal
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
from wdbtest import Server, check, check_eq, main


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


if __name__ == "__main__":
    main(globals())
