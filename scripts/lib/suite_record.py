"""suite_record.py - which commands does each test of the Redis suite send?

The suite runs against a real redis-server, in external mode, through a
proxy. In that mode every test begins with a DEBUG LOG command that carries its
name. Where it ends, the proxy learns as the suite's "test server", to which
the suite's worker reports (tests/test_helper.tcl: send_data_packet). One
thread serves both: the worker has sent its report before it sends the next
command, so reports are read first, and every command falls into its place.

Result per file: a list of steps in the order of the run,
    {"test": NAME or null, "section": n, "commands": {COMMAND: count}}
null stands for code outside of tests; a section begins where the suite opens
a "start_server" block (FLUSHALL, then FUNCTION FLUSH, outside of a test).
COMMAND is in lower case; with a subcommand as in "config|get" where the
reference server calls the command a container. A command that a test asks
about counts, too: those named to COMMAND GETKEYS, GETKEYSANDFLAGS, INFO and
DOCS, and those that the reference server answers to COMMAND LIST FILTERBY.
"""

import collections
import os
import select
import signal
import socket
import subprocess
import time

from wdbtest import Client, ReplyError

READ_SIZE = 1 << 18
ARGUMENTS_MAX = 8  # of a request that are looked at
VERSION = 3        # of the recordings
MARKER = b"### Starting test "


def tcl_list(text):
    """The elements of a Tcl list."""
    out, i, n = [], 0, len(text)
    while True:
        while i < n and text[i].isspace():
            i += 1
        if i >= n:
            return out
        if text[i] == "{":
            depth, start = 1, i + 1
            i += 1
            while i < n and depth:
                if text[i] == "\\":
                    i += 1
                elif text[i] == "{":
                    depth += 1
                elif text[i] == "}":
                    depth -= 1
                i += 1
            out.append(text[start:i - 1])
            continue
        quoted = text[i] == '"'
        i += quoted
        word = []
        while i < n and not (text[i] == '"' if quoted else text[i].isspace()):
            if text[i] == "\\" and i + 1 < n:
                i += 1
                word.append({"n": "\n", "t": "\t", "r": "\r"}.get(text[i], text[i]))
            else:
                word.append(text[i])
            i += 1
        i += quoted
        out.append("".join(word))


class Parser:
    """Finds the names of commands in a stream of requests."""

    def __init__(self, on_command):
        self.data = bytearray()
        self.on_command = on_command
        self.args = None       # names seen of the multibulk in progress
        self.left = 0          # its arguments still to come
        self.skip = 0          # bytes of an argument that is not looked at
        self.broken = False

    def feed(self, data):
        if self.broken:
            return
        self.data += data
        try:
            while self.step():
                pass
        except ValueError:
            # A test of protocol errors; the server hangs up after this.
            self.broken = True

    def step(self):
        if self.skip:
            cut = min(self.skip, len(self.data))
            del self.data[:cut]
            self.skip -= cut
            if self.skip:
                return False
        if self.args is not None and self.left == 0:
            self.on_command(self.args)
            self.args = None
        end = self.data.find(b"\n")
        if end < 0:
            return False
        line = bytes(self.data[:end]).rstrip(b"\r")
        if self.args is None:
            del self.data[:end + 1]
            if line[:1] == b"*":
                count = int(line[1:])
                self.left = max(count, 0)
                self.args = [] if count > 0 else None
            elif line:
                self.on_command(line.split()[:ARGUMENTS_MAX])
            return True
        if line[:1] != b"$":
            raise ValueError
        size = int(line[1:])
        if len(self.args) < ARGUMENTS_MAX and size <= 1024:
            if len(self.data) < end + 1 + size + 2:
                return False
            self.args.append(bytes(self.data[end + 1:end + 1 + size]))
            del self.data[:end + 1 + size + 2]
        else:
            self.args.append(b"")
            del self.data[:end + 1]
            self.skip = size + 2
        self.left -= 1
        return True


class Pipe:
    """One direction of a proxied connection, with what is not sent yet."""

    def __init__(self, source, target, parser):
        self.source, self.target, self.parser = source, target, parser
        self.pending = bytearray()
        self.ended = False


class Recorder:
    """The proxy and the test server for one file of the suite."""

    def __init__(self, server_port, containers):
        self.server_port = server_port
        self.containers = containers
        self.poll = select.epoll()
        self.handlers = {}
        self.pipes = {}
        self.steps = []
        self.reports = []
        self.section = 0
        self.started = 0       # tests, as seen on the wire
        self.ended = 0         # tests, as reported
        self.worker = None
        self.worker_data = b""
        self.done = False
        self.begin(None)
        self.proxy = self.listen(self.accept_client)
        self.reporter = self.listen(self.accept_worker)
        self.port = self.proxy.getsockname()[1]
        self.report_port = self.reporter.getsockname()[1]

    # -- what is recorded --

    def begin(self, test):
        self.steps.append({"test": test, "section": self.section,
                           "commands": collections.Counter()})

    def on_command(self, args):
        name = args[0].decode("latin1").lower()
        if name == "debug" and len(args) > 2 and args[2].startswith(MARKER):
            test = args[2][len(MARKER):].decode("latin1")
            self.begin(test.rsplit(" in tests/", 1)[0])
            self.started += 1
            return
        name = self.name_of(args)
        if name == "function|flush" and self.steps[-1]["test"] is None:
            self.section += 1
            # SELECT and FLUSHALL of the same opening came just before.
            self.begin(None)
        self.steps[-1]["commands"][name] += 1
        for asked in self.asked_about(name, args):
            self.steps[-1]["commands"][asked] += 1

    def name_of(self, args):
        """"get", or "config|get" of a container."""
        words = [arg.decode("latin1").lower() for arg in args[:2]]
        return "|".join(words[:2 if words[0] in self.containers else 1])

    def asked_about(self, name, args):
        """The commands whose description this request asks for."""
        if name in ("command|getkeys", "command|getkeysandflags") and len(args) > 2:
            return [self.name_of(args[2:])]
        if name in ("command|info", "command|docs"):
            return [arg.decode("latin1").lower() for arg in args[2:]]
        if name == "command|list" and len(args) == 5:
            reply = self.ask(args)
            return [x.decode("latin1").lower() for x in reply] if reply else []
        return []

    def ask(self, args):
        """The server's reply to a request of our own; None if it is an error."""
        with Client(self.server_port) as client:
            reply = client.cmd(*args)
            return None if isinstance(reply, ReplyError) else reply

    def on_report(self, status, data):
        if status == "ready":
            self.send_worker("run", self.file)
        elif status == "ok" or (status == "err" and " in tests/" in data):
            self.reports.append((status, data))
            self.ended += 1
            if self.ended == self.started:
                self.begin(None)
        elif status in ("done", "exception"):
            self.reports.append((status, data))
            self.done = True

    # -- sockets --

    def listen(self, handler):
        sock = socket.socket()
        sock.bind(("127.0.0.1", 0))
        sock.listen(512)
        self.watch(sock, handler)
        return sock

    def watch(self, sock, handler, events=select.EPOLLIN):
        sock.setblocking(False)
        self.handlers[sock.fileno()] = handler
        self.poll.register(sock.fileno(), events)

    def forget(self, sock):
        if sock.fileno() in self.handlers:
            del self.handlers[sock.fileno()]
            self.poll.unregister(sock.fileno())
        self.pipes.pop(sock, None)
        sock.close()

    def accept_worker(self, _):
        self.worker, _address = self.reporter.accept()
        self.watch(self.worker, lambda _: None)

    def send_worker(self, status, data):
        payload = ("%s {%s}" % (status, data)).encode()
        self.worker.setblocking(True)
        self.worker.sendall(b"%d\n" % len(payload) + payload)
        self.worker.setblocking(False)

    def read_reports(self):
        if not self.worker:
            return
        try:
            while True:
                # Or the worker's next report waits for our delayed ACK.
                self.worker.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
                data = self.worker.recv(READ_SIZE)
                if not data:
                    self.done = True
                    break
                self.worker_data += data
        except BlockingIOError:
            pass
        except OSError:
            self.done = True
        while b"\n" in self.worker_data:
            size, rest = self.worker_data.split(b"\n", 1)
            if len(rest) < int(size):
                break
            fields = tcl_list(rest[:int(size)].decode("latin1"))
            self.worker_data = rest[int(size):]
            self.on_report(fields[0], fields[1])

    def accept_client(self, _):
        client, _address = self.proxy.accept()
        server = socket.create_connection(("127.0.0.1", self.server_port))
        for sock in (client, server):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        requests = Pipe(client, server, Parser(self.on_command))
        replies = Pipe(server, client, None)
        self.pipes[client] = (requests, replies)
        self.pipes[server] = (replies, requests)
        for sock in (client, server):
            self.watch(sock, lambda events, s=sock: self.on_socket(s, events))

    def on_socket(self, sock, events):
        if sock not in self.pipes:
            return
        outgoing, incoming = self.pipes[sock]
        try:
            if events & select.EPOLLOUT:
                self.flush(incoming)
            if events & (select.EPOLLIN | select.EPOLLHUP | select.EPOLLERR):
                self.pump(outgoing)
        except OSError:
            self.close_pair(outgoing)

    def pump(self, pipe):
        # A reader that lags holds its sender back.
        if len(pipe.pending) > 64 << 20:
            self.update(pipe.source)
            return
        try:
            data = pipe.source.recv(READ_SIZE)
        except BlockingIOError:
            # The event was for an earlier socket with the same number.
            return
        if not data:
            self.close_pair(pipe)
            return
        if pipe.parser:
            self.read_reports()
            pipe.parser.feed(data)
        pipe.pending += data
        self.flush(pipe)

    def flush(self, pipe):
        try:
            while pipe.pending:
                sent = pipe.target.send(memoryview(pipe.pending)[:READ_SIZE])
                del pipe.pending[:sent]
        except BlockingIOError:
            pass
        self.update(pipe.source)
        self.update(pipe.target)

    def update(self, sock):
        if sock not in self.pipes:
            return
        outgoing, incoming = self.pipes[sock]
        events = select.EPOLLIN if len(outgoing.pending) < 64 << 20 else 0
        if incoming.pending:
            events |= select.EPOLLOUT
        self.poll.modify(sock.fileno(), events)

    def close_pair(self, pipe):
        """One side hung up: what it sent still goes out, then both close."""
        try:
            pipe.target.setblocking(True)
            pipe.target.settimeout(2.0)
            pipe.target.sendall(pipe.pending)
        except OSError:
            pass
        self.forget(pipe.source)
        self.forget(pipe.target)

    # -- the run --

    def run(self, source, file, arguments, timeout_s):
        """Run one file of the suite; true if it came to its end."""
        self.file = file
        command = ["tclsh", "tests/test_helper.tcl", "--host", "127.0.0.1",
                   "--port", str(self.port), "--single", file,
                   "--client", str(self.report_port)] + arguments
        with open(os.devnull, "wb") as null:
            process = subprocess.Popen(command, cwd=source, stdin=null,
                                       stdout=null, stderr=null,
                                       start_new_session=True)
        end = time.monotonic() + timeout_s
        try:
            while not self.done and time.monotonic() < end:
                for fd, events in self.poll.poll(0.5, 64):
                    if fd in self.handlers:
                        self.handlers[fd](events)
                self.read_reports()
                if process.poll() is not None:
                    self.done = True
        finally:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except OSError:
                pass
            process.wait()
            for sock in list(self.pipes) + [self.proxy, self.reporter]:
                self.forget(sock)
            if self.worker:
                self.forget(self.worker)
            self.poll.close()
        return bool(self.reports) and self.reports[-1][0] == "done"

    def passed(self):
        """The names of the tests that passed."""
        return sorted({data for status, data in self.reports if status == "ok"})

    def result(self):
        steps = [s for s in self.steps if s["test"] or s["commands"]]
        for step in steps:
            step["commands"] = dict(step["commands"])
        return steps
