"""test_abuse.py - who means harm gets little, and others notice little.

What single limits do is in test_net.py; here are those who guess passwords,
send garbage or a million arguments, listen without reading, and all of them
together, while the latency of somebody decent is measured. WDB_TEST_ROUNDS
multiplies the time that they have.
"""

import os
import random
import socket
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from wdbtest import (Client, ReplyError, Server, check, check_eq, check_error,  # noqa: E402
                     encode, main, wait_for)

ROUNDS = int(os.environ.get("WDB_TEST_ROUNDS", "1"))
SEED = int(os.environ.get("WDB_TEST_SEED", "1"))
MIB = 1 << 20


def memory(server):
    with open("/proc/%d/status" % server.pid, encoding="ascii") as file:
        return [int(l.split()[1]) * 1024 for l in file if l.startswith("RssAnon")][0]


def cpu_s(server):
    """Processor time, which does not depend on what else the machine does."""
    with open("/proc/%d/stat" % server.pid, encoding="ascii") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def check_grown(server, before, most):
    if "san" not in server.program:   # a sanitizer's own memory
        grown = memory(server) - before
        check(grown < most, "memory grew by %.1f MiB" % (grown / MIB))


def push(sock, data):
    """Send as much as the other side takes."""
    sock.setblocking(False)
    sent = 0
    try:
        while sent < len(data):
            sent += sock.send(data[sent:])
    except (BlockingIOError, ConnectionError):
        pass
    return sent


class Decent(threading.Thread):
    """Somebody who works on, and how long each request took."""

    def __init__(self, server, password=None):
        super().__init__()
        self.client = Client(server.port)
        if password:
            check_eq(self.client.cmd("AUTH", password), "OK")
        self.latencies, self.error, self.stop = [], None, False
        self.start()

    def run(self):
        try:
            number = 0
            while not self.stop:
                number += 1
                start = time.monotonic()
                check_eq(self.client.cmd("SET", "decent", number), "OK")
                check_eq(self.client.cmd("GET", "decent"), b"%d" % number)
                self.latencies.append((time.monotonic() - start) / 2)
        except Exception as error:
            self.error = error

    def finish(self):
        """(median, the 99th percentile) in ms."""
        self.stop = True
        self.join()
        self.client.close()
        if self.error:
            raise self.error
        self.latencies.sort()
        count = len(self.latencies)
        return self.latencies[count // 2] * 1e3, self.latencies[count * 99 // 100] * 1e3


def test_password_guessing():
    """Each wrong password costs more time; the right one still works, and
    nobody else waits."""
    with Server("--requirepass", "secret", "--io-threads", "1") as server:
        decent = Decent(server, "secret")
        guesser = server.client()
        guesser.send_raw(b"".join(encode(("AUTH", "guess%d" % i)) for i in range(100)))
        start, replies = time.monotonic(), 0
        while time.monotonic() - start < 2.5:
            check_error(guesser.read(), "WRONGPASS")
            replies += 1
        check(replies < 10, "%d guesses in 2.5 s" % replies)
        other = server.client()
        check_error(other.cmd("AUTH", "wrong"), "WRONGPASS")
        check_eq(other.cmd("AUTH", "secret"), "OK")
        check_eq(other.cmd("HELLO", "3", "AUTH", "default", "secret")[b"proto"], 3)
        info = other.info("all")
        check(int(info.get("acl_access_denied_auth", replies)) >= replies, info)
        median, p99 = decent.finish()
        check(p99 < 100, "others' p99 is %.1f ms, median %.2f" % (p99, median))


def test_million_arguments():
    """They are executed in a time that is fair; the memory is given back."""
    with Server("--io-threads", "1") as server:
        client = server.client()
        check_eq(client.cmd("PING"), "PONG")
        before = memory(server)
        names = [b"key:%d" % i for i in range(500000)]
        check_eq(client.cmd("MSET", *[a for n in names for a in (n, b"v")]), "OK")
        start = cpu_s(server)
        check_eq(client.cmd("DEL", *names, *names), 500000)
        used = cpu_s(server) - start
        check(used < 4 or "san" in server.program, "DEL took %.1f s" % used)
        # Keys' memory stays with the database for the next ones.
        wait_for(lambda: memory(server) - before < 96 * MIB or "san" in server.program, 15,
                 what="memory given back")


def test_small_arguments_in_pieces():
    """A request far larger than what is read ahead, cut between arguments."""
    with Server("--io-threads", "1") as server:
        client = server.client()
        count = 100000
        data = encode([b"MSET"] + [b"%06d" % i for i in range(count)])
        at = 0
        while at < len(data):
            end = data.find(b"$6\r\n", at + 60000)
            end = len(data) if end < 0 else end
            client.send_raw(data[at:end])
            at = end
            time.sleep(0.005)
        check_eq(client.read(), "OK")
        check_eq(client.cmd("DBSIZE"), count // 2)


def test_garbage():
    """Random bytes, and requests broken at random places."""
    rng = random.Random(SEED)
    good = encode(("SET", "key", "value")) + b"GET key\r\n" + encode(("MGET", "a", "b"))
    with Server("--io-threads", "2") as server:
        decent = Decent(server)
        before = memory(server)
        for _ in range(400 * ROUNDS):
            with Client(server.port) as client:
                data = bytearray(good * rng.randrange(1, 20))
                for _ in range(rng.randrange(1, 10)):
                    data[rng.randrange(len(data))] = rng.randrange(256)
                if rng.random() < 0.3:
                    data = bytes(rng.randrange(256) for _ in range(rng.randrange(1, 3000)))
                elif rng.random() < 0.3:
                    data = data[:rng.randrange(len(data))]
                push(client.sock, bytes(data))
                client.sock.settimeout(0.02)
                try:
                    client.sock.recv(65536)
                except (socket.timeout, ConnectionError):
                    pass
        check_eq(server.cmd("PING"), "PONG")
        check_grown(server, before, 32 * MIB)
        decent.finish()


def test_deaf_monitor():
    """A MONITOR that reads nothing is closed at its limit."""
    with Server("--client-output-buffer-limit", "pubsub 4mb 1mb 60") as server:
        deaf, client = server.client(), server.client()
        check_eq(deaf.cmd("MONITOR"), "OK")
        before = memory(server)
        value = "v" * 50000
        for _ in range(3000):
            check_eq(client.cmd("SET", "key", value), "OK")
            if "client-output-buffer-limit" in server.log():
                break
        wait_for(lambda: "client-output-buffer-limit" in server.log(), 5)
        check_grown(server, before, 160 * MIB)
        check(deaf.is_closed())


def test_large_values_nobody_reads():
    """Values of many MiB asked for again and again: they are sent from where
    they lie, and do not pile up."""
    with Server("--io-threads", "1") as server:
        client = server.client()
        value = os.urandom(8 * MIB)
        check_eq(client.cmd("SET", "big", value), "OK")
        before = memory(server)
        stuck = [Client(server.port) for _ in range(20)]
        for one in stuck:
            push(one.sock, encode(("GET", "big")) * 1000)
        for _ in range(100):
            check_eq(client.cmd("PING"), "PONG")
        check_eq(client.cmd("SET", "big", value), "OK")
        check_eq(client.cmd("FLUSHALL"), "OK")
        check_grown(server, before, 64 * MIB)
        # Who reads after all gets what was there when it asked, or nothing.
        one = stuck[0]
        one.sock.settimeout(30)
        check(one.read() == value)
        for one in stuck:
            one.close()


def test_transaction_without_end():
    """What is queued counts against client-query-buffer-limit."""
    with Server("--client-query-buffer-limit", "32mb") as server:
        client = server.client()
        before = memory(server)
        check_eq(client.cmd("MULTI"), "OK")
        reply, sent = "QUEUED", 0
        value = b"v" * MIB
        while reply == "QUEUED" and sent < 100:
            reply = client.cmd("SET", "key", value)
            sent += 1
        check_error(reply, "ERR")
        check_grown(server, before, 64 * MIB)
        check_error(client.cmd("EXEC"), "EXECABORT")
        check_eq(client.cmd("EXISTS", "key"), 0)
        wait_for(lambda: memory(server) - before < 24 * MIB or "san" in server.program, 15,
                 what="memory given back")


class Abusers:
    """All of them at once, step by step."""

    def __init__(self, server):
        self.random = random.Random(SEED)
        self.port = server.port
        self.idle = [self.connect() for _ in range(300)]
        self.slow = [self.connect() for _ in range(50)]
        self.deaf = [self.connect() for _ in range(10)]
        self.claims = [self.connect() for _ in range(30)]
        self.guessers = [self.connect() for _ in range(10)]
        for client in self.deaf:
            client.sock.settimeout(10)
            check_eq(client.cmd("AUTH", "secret"), "OK")
            push(client.sock, encode(("GET", "large")) * 5000)
        for client in self.claims:
            push(client.sock, b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$16000\r\nabc")
        self.wire = encode(("PING", "x" * 1000))

    def connect(self):
        return Client(self.port)

    def again(self, clients, i, data):
        """Send; a new connection if this one was closed."""
        try:
            clients[i].sock.setblocking(False)
            clients[i].sock.send(data)
            clients[i].sock.recv(65536)
        except BlockingIOError:
            return
        except (ConnectionError, OSError):
            pass
        else:
            return
        clients[i].close()
        clients[i] = self.connect()

    def step(self, number):
        for i in range(len(self.slow)):
            at = number % len(self.wire)
            self.again(self.slow, i, self.wire[at:at + 1])
        for i in range(len(self.guessers)):
            self.again(self.guessers, i, encode(("AUTH", "guess%d" % number)))
        for i in range(3):
            with self.connect() as client:
                push(client.sock, self.random.choice((
                    b"POST / HTTP/1.1\r\nHost: x\r\n\r\n", b"\r\n" * 1000, b"*1000000\r\n",
                    b"$5\r\n", b"GET " + b"a" * 5000 + b"\r\n", os.urandom(300))))
        if number % 10 == 0:
            i = self.random.randrange(len(self.idle))
            self.idle[i].close()
            self.idle[i] = self.connect()

    def close(self):
        for client in self.idle + self.slow + self.deaf + self.claims + self.guessers:
            client.close()


def test_all_together():
    """Bounded memory, and somebody decent is served as before."""
    with Server("--io-threads", "1", "--requirepass", "secret", "--timeout", "300") as server:
        client = server.client()
        check_eq(client.cmd("AUTH", "secret"), "OK")
        check_eq(client.cmd("SET", "large", os.urandom(100000)), "OK")
        quiet = Decent(server, "secret")
        time.sleep(2)
        median_before, p99_before = quiet.finish()
        before = memory(server)
        abusers = Abusers(server)
        decent = Decent(server, "secret")
        end, number = time.monotonic() + 5 * ROUNDS, 0
        while time.monotonic() < end:
            abusers.step(number)
            number += 1
            time.sleep(0.01)
        median, p99 = decent.finish()
        print("  alone: median %.2f ms, p99 %.2f; with %d steps of abuse: %.2f, %.2f" % (
            median_before, p99_before, number, median, p99))
        check(p99 < p99_before + 50, "p99 went from %.2f to %.2f ms" % (p99_before, p99))
        check_grown(server, before, 64 * MIB)
        abusers.close()
        wait_for(lambda: int(client.info("clients")["connected_clients"]) == 1, 10,
                 what="all abusers are gone")
        check(not isinstance(client.cmd("GET", "large"), ReplyError))


if __name__ == "__main__":
    main(globals())
