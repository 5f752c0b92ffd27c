"""CONFIG SET port: the server moves to another port while it runs."""

import os
import socket
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
from wdbtest import Client, Server, check, check_eq, check_error, free_port, main, wait_for


def answers(port):
    try:
        with Client(port, timeout_s=5.0) as client:
            return client.cmd("PING") == "PONG"
    except OSError:
        return False


def test_move():
    """Connections stay, new ones come in at the new port only."""
    with Server() as server:
        client = server.client()
        port = free_port()
        check_eq(client.cmd("CONFIG", "SET", "port", port), "OK")
        wait_for(lambda: answers(port), what="new port")
        wait_for(lambda: not answers(server.port), what="old port closed")
        check_eq(client.cmd("PING"), "PONG")
        check_eq(client.info("server")["tcp_port"], str(port))
        check_eq(client.cmd("CONFIG", "SET", "port", server.port), "OK")
        wait_for(lambda: answers(server.port), what="first port")


def test_port_in_use():
    """A port that is taken is refused, with everything else in the request."""
    with Server() as server, socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen(1)
        client = server.client()
        reply = client.cmd("CONFIG", "SET", "maxmemory", "1gb", "port",
                           taken.getsockname()[1])
        check_error(reply, "ERR CONFIG SET failed (possibly related to argument "
                           "'port') - Unable to listen on this port")
        check_eq(client.cmd("CONFIG", "GET", "port"),
                 [b"port", str(server.port).encode()])
        check_eq(client.cmd("CONFIG", "GET", "maxmemory"), [b"maxmemory", b"0"])
        check(answers(server.port))


def test_taken_back():
    """If a later setting is refused, the old port serves on."""
    with Server() as server:
        client = server.client()
        for _ in range(20):
            port = free_port()
            # More clients than the system has files for.
            reply = client.cmd("CONFIG", "SET", "port", port, "maxclients",
                               4000000000)
            check_error(reply, "ERR CONFIG SET failed (possibly related to "
                               "argument 'maxclients')")
            check(answers(server.port))
            wait_for(lambda: not answers(port), what="new port closed")


if __name__ == "__main__":
    main(globals())
