"""What the integration tests share: a server, a RESP client and a runner.

    import os, sys
    sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
    from wdbtest import Server, check_eq, main

    def test_set_get():
        \"\"\"What was set is read back.\"\"\"
        with Server() as server:
            client = server.client()
            check_eq(client.cmd("SET", "a", "1"), "OK")
            check_eq(client.cmd("GET", "a"), b"1")

    if __name__ == "__main__":
        main(globals())

Every function whose name starts with test_ is a test; the arguments of the
program are parts of names. Servers listen on a free loopback port, keep
their data in a temporary directory, and are stopped by their own pid.
WDB_BIN names the directory of the programs (default: build/release/bin).
"""

import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
BIN = os.environ.get("WDB_BIN", os.path.join(ROOT, "build", "release", "bin"))


class Skip(Exception):
    """Raised by a test that can't run here, with the reason."""


class ReplyError(Exception):
    """An error reply; equal to any other with the same text."""

    def __eq__(self, other):
        return isinstance(other, ReplyError) and str(self) == str(other)

    def __hash__(self):
        return hash(str(self))


class Push(list):
    """A RESP3 push message."""


class Simple(str):
    """A simple string reply ("+OK"); bulk strings are bytes."""


def peer(name):
    """The path of a reference program (redis-server, ...), or Skip."""
    path = os.path.join(ROOT, "build", "peers", "bin", name)
    if not os.path.exists(path):
        raise Skip("no %s here (scripts/peers)" % name)
    return path


PORTS = random.SystemRandom()


def check(condition, message="check failed"):
    if not condition:
        raise AssertionError(message)


def check_eq(left, right, message=""):
    if left != right:
        raise AssertionError("%s%r is not %r" % (
            message + ": " if message else "", shorten(left), shorten(right)))


def check_error(reply, prefix):
    """The reply is an error whose text starts with the prefix."""
    check(isinstance(reply, ReplyError) and str(reply).startswith(prefix),
          "%r is not an error %r" % (shorten(reply), prefix))


def shorten(value):
    if isinstance(value, (bytes, str)) and len(value) > 200:
        return value[:200]
    return value


def wait_for(condition, timeout_s=10.0, step_s=0.01, what="condition"):
    """Wait until the function returns something true, and return that."""
    end = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError("%s not reached in %g s" % (what, timeout_s))
        time.sleep(step_s)


def free_port():
    """Below those that the system gives to connections: nobody takes it by chance
    before the server under test does."""
    with open("/proc/sys/net/ipv4/ip_local_port_range", encoding="ascii") as file:
        end = int(file.read().split()[0])
    for _ in range(1000):
        port = PORTS.randrange(end // 2, end)
        with socket.socket() as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                s.bind(("127.0.0.1", port))
                return port
            except OSError:
                pass
    raise AssertionError("no port is free")


def encode(args):
    """A command as a RESP array of bulk strings."""
    out = [b"*%d\r\n" % len(args)]
    for arg in args:
        if not isinstance(arg, (bytes, bytearray, memoryview)):
            arg = str(arg).encode()
        out.append(b"$%d\r\n" % len(arg))
        out.append(bytes(arg))
        out.append(b"\r\n")
    return b"".join(out)


class Client:
    """A connection that understands RESP2 and RESP3.

    Replies: bytes for bulk strings, Simple for simple strings, int, float,
    bool, None, list, dict for maps, set-like lists for sets, ReplyError
    (returned, not raised) for errors, Push for pushes.
    """

    def __init__(self, port, host="127.0.0.1", timeout_s=30.0):
        self.sock = socket.create_connection((host, port), timeout_s)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.file = self.sock.makefile("rb", 1 << 16)

    def close(self):
        self.file.close()
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.close()

    def send_raw(self, data):
        self.sock.sendall(data)

    def send(self, *args):
        """Send one command without reading the reply."""
        self.sock.sendall(encode(args))

    def cmd(self, *args):
        """Send one command, return its reply; pushes before it are dropped."""
        self.send(*args)
        while True:
            reply = self.read()
            if not isinstance(reply, Push):
                return reply

    def pipeline(self, commands):
        """Send all the commands at once, return all the replies."""
        self.sock.sendall(b"".join(encode(c) for c in commands))
        return [self.read() for _ in commands]

    def line(self):
        line = self.file.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionError("connection closed by the server")
        return line[:-2]

    def exactly(self, size):
        data = self.file.read(size + 2)
        if len(data) != size + 2:
            raise ConnectionError("connection closed by the server")
        return data[:-2]

    def read(self):
        line = self.line()
        kind, rest = line[:1], line[1:]
        if kind == b"+":
            return Simple(rest.decode("utf8", "replace"))
        if kind == b"-":
            return ReplyError(rest.decode("utf8", "replace"))
        if kind in b":(":
            return int(rest)
        if kind == b"$":
            return None if rest == b"-1" else self.exactly(int(rest))
        if kind in b"*~>":
            if rest == b"-1":
                return None
            items = [self.read() for _ in range(int(rest))]
            return Push(items) if kind == b">" else items
        if kind == b"%":
            return {self.key(): self.read() for _ in range(int(rest))}
        if kind == b"_":
            return None
        if kind == b"#":
            return rest == b"t"
        if kind == b",":
            return float(rest)
        if kind == b"=":
            return self.exactly(int(rest))[4:]
        if kind == b"!":
            return ReplyError(self.exactly(int(rest)).decode("utf8", "replace"))
        if kind == b"|":
            for _ in range(2 * int(rest)):
                self.read()
            return self.read()
        raise ValueError("not RESP: %r" % line)

    def key(self):
        key = self.read()
        return tuple(key) if isinstance(key, list) else key

    def is_closed(self, timeout_s=5.0):
        """True if the server closes the connection within the time."""
        self.sock.settimeout(timeout_s)
        try:
            while self.sock.recv(65536):
                pass
            return True
        except ConnectionError:
            return True
        except socket.timeout:
            return False

    def info(self, section=None):
        """INFO as a dictionary of strings."""
        reply = self.cmd("INFO", section) if section else self.cmd("INFO")
        lines = reply.decode().splitlines()
        return dict(l.split(":", 1) for l in lines if ":" in l and l[0] != "#")


class Server:
    """walkerdb (or another program) with its own port and directory."""

    def __init__(self, *args, dir=None, port=None, program=None, start=True,
                 env=None, prefix=()):
        self.args = [str(a) for a in args]
        self.owns_dir = dir is None
        self.dir = dir or tempfile.mkdtemp(prefix="walkerdb-it-")
        self.port = port or free_port()
        self.program = program or os.path.join(BIN, "walkerdb")
        self.env = env
        self.prefix = list(prefix)
        self.process = None
        self.clients = []
        self.log_path = os.path.join(
            tempfile.gettempdir(), "walkerdb-it-%d-%d.log" % (os.getpid(), self.port))
        if start:
            self.start()

    def command(self):
        return self.prefix + [self.program, "--port", str(self.port),
                              "--dir", self.dir] + self.args

    def start(self, timeout_s=60.0, wait=True):
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                self.command(), stdin=subprocess.DEVNULL, stdout=log,
                stderr=log, env=self.env)
        if wait:
            wait_for(self.is_ready, timeout_s, what="server ready")
        return self

    def is_ready(self):
        if self.process.poll() is not None:
            raise AssertionError("server ended with %s; log:\n%s" % (
                self.process.returncode, self.log()))
        try:
            with Client(self.port, timeout_s=5.0) as client:
                reply = client.cmd("PING")
                return not (isinstance(reply, ReplyError)
                            and str(reply).startswith("LOADING"))
        except (OSError, ConnectionError):
            return False

    def client(self):
        client = Client(self.port)
        self.clients.append(client)
        return client

    def cmd(self, *args):
        with Client(self.port) as client:
            return client.cmd(*args)

    def log(self):
        try:
            with open(self.log_path, "rb") as file:
                return file.read()[-8000:].decode("utf8", "replace")
        except OSError:
            return ""

    @property
    def pid(self):
        return self.process.pid

    def kill(self, number=signal.SIGKILL, timeout_s=60.0):
        """Send a signal and wait for the end; returns the exit code."""
        if self.process is None:
            return None
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            code = self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError("server did not end on signal %d" % number)
        self.process = None
        return code

    def stop(self):
        """A clean shutdown; returns the exit code."""
        return self.kill(signal.SIGTERM)

    def restart(self, number=signal.SIGTERM):
        self.kill(number)
        return self.start()

    def __enter__(self):
        return self

    def __exit__(self, kind, *unused):
        for client in self.clients:
            client.close()
        try:
            code = self.stop() if self.process else 0
            if kind is None and code not in (0, None):
                raise AssertionError("server ended with %s; log:\n%s" % (
                    code, self.log()))
        finally:
            if kind is not None:
                sys.stdout.write("server log (tail):\n%s\n" % self.log())
            if self.owns_dir:
                shutil.rmtree(self.dir, ignore_errors=True)
            if os.path.exists(self.log_path):
                os.unlink(self.log_path)


def run_one(name, function):
    """Returns 0 for passed, 1 for failed, 2 for skipped."""
    start = time.monotonic()
    try:
        function()
    except Skip as reason:
        if os.environ.get("WDB_TEST_NO_SKIP"):
            print("FAILED %s: skipped, but must run here: %s" % (name, reason))
            return 1
        print("skipped %s: %s" % (name, reason))
        return 2
    except Exception:
        traceback.print_exc(file=sys.stdout)
        print("FAILED %s" % name)
        return 1
    print("ok %s (%.1f s)" % (name, time.monotonic() - start))
    return 0


def main(names):
    """Run the test_* functions of a module's globals(); exits."""
    parts = sys.argv[1:]
    counts = [0, 0, 0]
    for name, function in list(names.items()):
        if not name.startswith("test_") or not callable(function):
            continue
        if parts and not any(part in name for part in parts):
            continue
        counts[run_one(name, function)] += 1
        sys.stdout.flush()
    tail = ", %d skipped" % counts[2] if counts[2] else ""
    print("%d passed, %d failed%s" % (counts[0], counts[1], tail))
    sys.exit(1 if counts[1] or not sum(counts) else 0)
