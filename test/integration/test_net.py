#!/usr/bin/env python3
"""test_net.py - connections: pipelines in any pieces, limits, abuse."""

import os
import re
import resource
import socket
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
from wdbtest import (Client, ReplyError, Server, check, check_eq, check_error,
                     encode, main, wait_for)


def memory_kib(pid):
    """Anonymous memory of the process: mapped segments do not count."""
    with open("/proc/%d/status" % pid, encoding="ascii") as file:
        for line in file:
            if line.startswith("RssAnon"):
                return int(line.split()[1])
    raise AssertionError("no RssAnon")


def test_any_pieces():
    """Requests are understood however they are cut into packets."""
    with Server() as server:
        client = server.client()
        wire = b"".join([
            encode(["SET", "key", "v" * 300]), b"GET key\r\n", b"\r\n",
            encode(["ECHO", b"a\r\nb"]), b"ECHO \"q \\x41\"\n",
            encode(["GET", "none"])])
        expected = (b"+OK\r\n$300\r\n" + b"v" * 300 + b"\r\n$4\r\na\r\nb\r\n"
                    b"$3\r\nq A\r\n$-1\r\n")
        for size in (1, 2, 3, 7, 100, 1000):
            for at in range(0, len(wire), size):
                client.send_raw(wire[at:at + size])
                if size < 7:
                    time.sleep(0.0005)
            check_eq(client.file.read(len(expected)), expected)


def test_long_pipeline():
    """A pipeline far larger than any buffer, from a client that reads late."""
    with Server() as server:
        client = server.client()
        count = 200000
        wire = b"".join(encode(["SET", "k%d" % (i % 1000), "v%d" % i])
                        for i in range(count))
        sender = threading.Thread(target=client.send_raw, args=(wire,))
        sender.start()
        time.sleep(0.5)
        check_eq(client.file.read(5 * count), b"+OK\r\n" * count)
        sender.join()
        check_eq(client.cmd("GET", "k999"), b"v%d" % (count - 1))


def test_big_values():
    """Values of many sizes come back whole, also pipelined."""
    with Server() as server:
        client = server.client()
        sizes = [0, 1, 100, 16383, 16384, 16385, 65536, 1000000, 20000000]
        for size in sizes:
            value = os.urandom(size)
            check_eq(client.cmd("SET", "big%d" % size, value), "OK")
            check(client.cmd("GET", "big%d" % size) == value, size)
        replies = client.pipeline([["STRLEN", "big%d" % s] for s in sizes])
        check_eq(replies, sizes)
        replies = client.pipeline([["GET", "big1000000"]] * 50)
        check(all(len(r) == 1000000 for r in replies))


def test_half_closed():
    """Who closes its side after sending still gets all answers."""
    with Server("--appendfsync", "always") as server:
        for count in (1, 100, 5000):
            with Client(server.port) as client:
                client.send_raw(b"".join(encode(["SET", "a%d" % i, "x"])
                                         for i in range(count)))
                client.sock.shutdown(socket.SHUT_WR)
                check_eq(client.file.read(), b"+OK\r\n" * count)
        check_eq(server.cmd("EXISTS", "a4999"), 1)


def test_half_closed_with_large_replies():
    """So does who asks for more than is executed at once, however the system takes it."""
    reply = b"$100000\r\n" + b"x" * 100000 + b"\r\n"
    with Server() as server:
        check_eq(server.cmd("SET", "large", b"x" * 100000), "OK")
        for count, tail in ((40, b""), (16, b""), (40, b"*2\r\n$3\r\nGET\r\n$5\r\nla")):
            for _ in range(5):
                with Client(server.port) as client:
                    client.send_raw(encode(["GET", "large"]) * count + tail)
                    client.sock.shutdown(socket.SHUT_WR)
                    check(client.file.read() == reply * count, "replies are missing")


def test_protocol_errors():
    """A protocol error is answered, then the connection is closed."""
    cases = [
        (b"*1\r\n:3\r\nfoo\r\n", b"expected '$', got ':'"),
        (b"*2\r\n$-5\r\n", b"invalid bulk length"),
        (b"*99999999999\r\n", b"invalid multibulk length"),
        (b"*a\r\n", b"invalid multibulk length"),
        (b"GET \"abc\r\n", b"unbalanced quotes in request"),
        (b"x" * 70000, b"too big inline request"),
        (b"*1\r\n$" + b"1" * 70000, b"too big bulk count string"),
    ]
    with Server() as server:
        for wire, text in cases:
            with Client(server.port) as client:
                try:
                    client.send_raw(encode(["PING"]) + wire)
                    reply = client.file.read()
                except ConnectionError:
                    continue  # closed with unread input: the answer may be lost
                check_eq(reply, b"+PONG\r\n-ERR Protocol error: " + text + b"\r\n")
        check_eq(server.cmd("PING"), "PONG")


def test_cross_protocol():
    """HTTP requests are not executed, and the connection is closed."""
    with Server() as server:
        for wire in (b"POST / HTTP/1.1\r\nSET a 1\r\n",
                     b"GET / HTTP/1.1\r\nHost: localhost\r\nSET a 1\r\n"):
            with Client(server.port) as client:
                client.send_raw(wire)
                check(client.is_closed())
        check_eq(server.cmd("EXISTS", "a"), 0)
        check("cross-protocol" in server.log())


def test_before_auth():
    """A stranger may send and receive little."""
    with Server("--requirepass", "secret") as server:
        with Client(server.port) as client:
            check_error(client.cmd("GET", "a"), "NOAUTH")
            client.send_raw(b"*11\r\n")
            check_error(client.read(), "ERR Protocol error: unauthenticated "
                                       "multibulk length")
            check(client.is_closed())
        with Client(server.port) as client:
            client.send_raw(b"*2\r\n$4\r\nAUTH\r\n$16385\r\n")
            check_error(client.read(), "ERR Protocol error: unauthenticated "
                                       "bulk length")
            check(client.is_closed())
        with Client(server.port) as client:
            # Errors that nobody reads: the connection goes before they pile up.
            try:
                for _ in range(2000):
                    client.send_raw(encode(["GET", "a"]) * 1000)
                check(False, "still connected")
            except ConnectionError:
                pass
        with Client(server.port) as client:
            check_error(client.cmd("AUTH", "wrong"), "WRONGPASS")
            check_eq(client.cmd("AUTH", "secret"), "OK")
            check_eq(client.cmd("SET", "a", "x" * 100000), "OK")


def test_maxclients():
    """One client too many is told so; there is room again when one goes."""
    with Server("--maxclients", "10") as server:
        clients = [Client(server.port) for _ in range(10)]
        for client in clients:
            check_eq(client.cmd("PING"), "PONG")
        with Client(server.port) as client:
            check_error(client.read(), "ERR max number of clients reached")
            check(client.is_closed())
        clients[0].close()
        def served():
            try:
                return server.cmd("PING") == "PONG"
            except (ConnectionError, AssertionError):
                return False
        wait_for(served)
        for client in clients[1:]:
            client.close()


def test_no_file_left():
    """Out of file descriptors: those who are connected are served, the others
    wait, and come in when there is room."""
    with Server() as server:
        client = server.client()
        open_files = len(os.listdir("/proc/%d/fd" % server.pid))
        hard = resource.prlimit(server.pid, resource.RLIMIT_NOFILE)[1]
        resource.prlimit(server.pid, resource.RLIMIT_NOFILE,
                         (open_files + 5, hard))
        others = [Client(server.port) for _ in range(20)]
        for other in others:
            other.send("PING")
        for _ in range(50):
            check_eq(client.cmd("SET", "a", 1), "OK")
        wait_for(lambda: "open files" in server.log())
        resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (hard, hard))
        for other in others:
            check_eq(other.read(), "PONG")
            other.close()


def test_timeout():
    """Idle clients are closed after `timeout` seconds; busy ones stay."""
    with Server("--timeout", "1") as server:
        idle, busy = server.client(), server.client()
        idle.cmd("PING")
        for _ in range(30):
            busy.cmd("PING")
            time.sleep(0.1)
        check(idle.is_closed(1.0))
        check_eq(busy.cmd("PING"), "PONG")


def test_never_reading():
    """A client that does not read its replies costs bounded memory, and others
    are served as before."""
    with Server("--io-threads", "1") as server:
        other = server.client()
        other.cmd("SET", "v", "x" * 100000)
        before = memory_kib(server.pid)
        stuck = []
        for _ in range(10):
            client = Client(server.port)
            client.sock.setblocking(False)
            wire = encode(["GET", "v"]) * 10000
            try:
                while True:
                    client.sock.send(wire)
            except BlockingIOError:
                pass
            stuck.append(client)
        slowest = 0.0
        for _ in range(500):
            start = time.monotonic()
            other.cmd("PING")
            slowest = max(slowest, time.monotonic() - start)
        grown = memory_kib(server.pid) - before
        check(grown < 10 * 16 * 1024, "grew by %d KiB" % grown)
        check(slowest < 2.0, "PING took %.3f s" % slowest)
        for client in stuck:
            client.close()
        check_eq(other.cmd("PING"), "PONG")


def test_output_limit():
    """client-output-buffer-limit closes those who are over it."""
    with Server("--client-output-buffer-limit", "normal 200kb 0 0") as server:
        other = server.client()
        other.cmd("SET", "v", "x" * 100000)
        client = server.client()
        client.sock.setblocking(False)
        wire = encode(["GET", "v"]) * 1000
        try:
            while True:
                client.sock.send(wire)
        except BlockingIOError:
            pass
        wait_for(lambda: "client-output-buffer-limit" in server.log())
        check_eq(other.cmd("PING"), "PONG")


def test_query_buffer_limit():
    """A request beyond client-query-buffer-limit ends the connection."""
    with Server("--client-query-buffer-limit", "1mb") as server:
        client = server.client()
        try:
            client.send_raw(b"*2\r\n$4\r\nECHO\r\n$100000000\r\n")
            for _ in range(100):
                client.send_raw(b"x" * 100000)
            check(client.is_closed())
        except ConnectionError:
            pass
        check_eq(server.cmd("PING"), "PONG")


def test_huge_claims():
    """Headers that promise much cost nothing before it comes."""
    with Server() as server:
        before = memory_kib(server.pid)
        clients = []
        for _ in range(50):
            client = server.client()
            client.send_raw(b"*1000000\r\n$3\r\nSET\r\n$500000000\r\nabc")
            clients.append(client)
        time.sleep(0.5)
        check_eq(server.cmd("PING"), "PONG")
        grown = memory_kib(server.pid) - before
        check(grown < 64 * 1024, "grew by %d KiB" % grown)


def test_many_idle():
    """Thousands of idle connections are cheap, and others are served."""
    with Server("--maxclients", "6000") as server:
        before = memory_kib(server.pid)
        with open(server.program, "rb") as file:
            sanitized = re.search(b"__[at]san_init", file.read()) is not None
        clients = [Client(server.port) for _ in range(3000)]
        for client in clients:
            client.send("PING")
        for client in clients:
            check_eq(client.read(), "PONG")
        busy = server.client()
        def is_small():
            busy.cmd("PING")
            grown = memory_kib(server.pid) - before
            # A sanitizer's own memory would drown what is measured.
            return grown < 3000 * 8 or sanitized
        wait_for(is_small, 20.0, 0.2, "memory given back")
        for client in clients:
            client.close()


def test_slow_sender():
    """Requests that come a byte at a time hold nobody up."""
    with Server("--io-threads", "1") as server:
        slow = [server.client() for _ in range(20)]
        busy = server.client()
        wire = encode(["SET", "slow", "x" * 20])
        for i in range(len(wire)):
            for client in slow:
                client.send_raw(wire[i:i + 1])
            check_eq(busy.cmd("PING"), "PONG")
        for client in slow:
            check_eq(client.read(), "OK")


def test_unix_socket():
    """A socket in the file system, with the mode that was asked for."""
    with Server() as probe:
        path = os.path.join(probe.dir, "sock")
        with Server("--unixsocket", path, "--unixsocketperm", "700") as server:
            check_eq(os.stat(path).st_mode & 0o777, 0o700)
            sock = socket.socket(socket.AF_UNIX)
            sock.connect(path)
            sock.sendall(b"PING\r\n")
            check_eq(sock.recv(100), b"+PONG\r\n")
            sock.close()
            check_eq(server.stop(), 0)
            check(not os.path.exists(path))


def local_address():
    """An address of this machine that is no loopback, or None."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.connect(("192.0.2.1", 9))
            address = sock.getsockname()[0]
        except OSError:
            return None
    return None if address.startswith("127.") else address


def test_protected_mode():
    """Without a password only this machine's loopback is served."""
    address = local_address()
    if address is None:
        return
    with Server("--bind", "*") as server:
        with Client(server.port, host=address) as client:
            check_error(client.read(), "DENIED")
            check(client.is_closed())
        check_eq(server.cmd("CONFIG", "SET", "protected-mode", "no"), "OK")
        with Client(server.port, host=address) as client:
            check_eq(client.cmd("PING"), "PONG")


def test_several_addresses():
    """bind takes several addresses; one that is not there may be optional."""
    with Server("--bind", "127.0.0.1", "127.0.0.2", "-192.0.2.77") as server:
        with Client(server.port, host="127.0.0.2") as client:
            check_eq(client.cmd("PING"), "PONG")
        check_eq(server.cmd("PING"), "PONG")


def test_kill_while_busy():
    """Clients that vanish or are killed in the middle of things leave nothing
    behind."""
    with Server() as server:
        admin = server.client()
        for round_number in range(30):
            clients = [Client(server.port) for _ in range(20)]
            for client in clients:
                client.send_raw(encode(["SET", "x", "y" * 1000]) * 50 + b"*2\r\n$4")
            if round_number % 2:
                admin.cmd("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            for client in clients:
                client.close()
        def alone():
            return len(admin.cmd("CLIENT", "LIST").splitlines()) == 1
        wait_for(alone, what="all clients gone")
        check_eq(admin.cmd("GET", "x"), b"y" * 1000)


def test_pause_keeps_pipeline():
    """Requests behind one that CLIENT PAUSE holds are executed once, in order,
    also if the last of them came in two pieces."""
    with Server() as server:
        admin, client = server.client(), server.client()
        check_eq(client.cmd("SET", "n", 0), "OK")
        check_eq(admin.cmd("CLIENT", "PAUSE", 100000, "WRITE"), "OK")
        wire = encode(["INCR", "n"]) * 10 + encode(["ECHO", "x" * 50])
        client.send_raw(wire[:-20])
        time.sleep(0.2)
        client.send_raw(wire[-20:])
        time.sleep(0.1)
        check_eq(admin.cmd("CLIENT", "UNPAUSE"), "OK")
        check_eq([client.read() for _ in range(10)], list(range(1, 11)))
        check_eq(client.read(), b"x" * 50)


def test_monitor():
    """MONITOR shows the commands of all workers' clients."""
    with Server("--io-threads", "2") as server:
        monitor = server.client()
        check_eq(monitor.cmd("MONITOR"), "OK")
        clients = [server.client() for _ in range(4)]
        for i, client in enumerate(clients):
            client.cmd("SET", "mon%d" % i, "x")
        lines = b"".join(monitor.line() for _ in range(4))
        for i in range(4):
            check(b'"SET" "mon%d" "x"' % i in lines)


def test_always_syncs():
    """With appendfsync always, replies of many clients share syncs, and a read
    of what waits for one waits, too."""
    with Server("--appendfsync", "always") as server:
        clients = [server.client() for _ in range(30)]
        for round_number in range(20):
            for i, client in enumerate(clients):
                client.send("SET", "k%d" % i, round_number)
                client.send("GET", "k%d" % ((i + 1) % len(clients)))
            for client in clients:
                check_eq(client.read(), "OK")
                check(not isinstance(client.read(), ReplyError))
        check_eq(server.cmd("GET", "k7"), b"19")


if __name__ == "__main__":
    main(globals())
