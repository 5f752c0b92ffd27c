"""history.py - clients that write down what they did and saw.

Each client is a thread with one connection. It draws operations on registers,
counters and lists of appends, whose keys are replaced every few seconds (the
checkers like short histories), and records each as a JSON object in the form
that test/sim/README.md describes. An operation is "fail" only if the server
said so with an error that means "not done", or if it was never sent.
"""

import json
import random
import socket
import threading
import time

from wdbtest import Client, ReplyError, encode

# Errors that mean: this was not done, and will not be.
NOT_DONE = ("CLUSTERDOWN", "NOLEADER", "MOVED", "LOADING", "TRYAGAIN", "MISCONF", "BUSY",
            "EXECABORT", "OOM", "READONLY", "MASTERDOWN")
GENERATION_S = 2.0
REGISTERS, COUNTERS, LISTS = 3, 2, 3


def is_definite(reply):
    return isinstance(reply, ReplyError) and str(reply).startswith(NOT_DONE)


class Lost(Exception):
    """The connection broke or the time was over; sent: was anything sent?"""

    def __init__(self, sent):
        super().__init__("lost")
        self.sent = sent


class Link:
    """A connection to some node, made anew where another may be better.

    A "plain" link goes to the next node when one fails. An "aware" one asks
    CLUSTER SLOTS for the leader and follows MOVED, as cluster clients do."""

    def __init__(self, addresses, rng, kind="plain", timeout_s=3.0):
        self.addresses = list(addresses)
        self.rng = rng
        self.kind = kind
        self.timeout_s = timeout_s
        self.client = None
        self.at = rng.randrange(len(self.addresses))
        self.moved_to = None
        self.stop = threading.Event()

    def close(self):
        if self.client:
            try:
                self.client.close()
            except OSError:
                pass
        self.client = None

    def next(self):
        self.close()
        self.at = (self.at + 1) % len(self.addresses)

    def connect(self):
        if self.client:
            return
        target = self.addresses[self.at]
        if self.kind == "aware":
            target = self.moved_to or self.ask_leader() or target
            self.moved_to = None
        self.client = self.open(target)

    def open(self, target):
        try:
            client = Client(target[1], target[0], timeout_s=1.0)
            client.sock.settimeout(self.timeout_s)
            return client
        except OSError as error:
            self.at = (self.at + 1) % len(self.addresses)
            raise Lost(sent=False) from error

    def ask_leader(self):
        client = self.open(self.addresses[self.at])
        try:
            slots = client.cmd("CLUSTER", "SLOTS")
            if isinstance(slots, list) and slots:
                return slots[0][2][0].decode(), slots[0][2][1]
        except (OSError, ConnectionError, ValueError, IndexError):
            pass
        finally:
            client.close()
        return None

    def run(self, commands):
        """Send the commands at once; all replies. Raises Lost."""
        self.connect()
        data = b"".join(encode(c) for c in commands)
        try:
            self.client.send_raw(data)
            replies = [self.client.read() for _ in commands]
        except (OSError, ConnectionError, ValueError, socket.timeout) as error:
            self.next()
            raise Lost(sent=True) from error
        last = replies[-1]
        if isinstance(last, ReplyError):
            self.react(str(last))
        return replies

    def react(self, text):
        """Where to go after an error."""
        if text.startswith("MOVED"):
            host, _, port = text.split()[2].rpartition(":")
            self.moved_to = (host.strip("[]"), int(port))
            self.close()
            if self.kind == "plain":
                self.at = (self.at + 1) % len(self.addresses)
        elif text.startswith(("CLUSTERDOWN", "NOLEADER", "UNKNOWN", "LOADING")):
            self.stop.wait(0.02)
            if self.rng.random() < 0.3:
                self.next()


class HistoryClient(threading.Thread):
    """Draws, does and records operations until stopped."""

    numbers_lock = threading.Lock()

    def __init__(self, run, index, kind, seed):
        super().__init__(daemon=True)
        self.run_of = run
        self.index = index
        self.rng = random.Random("%s client %d" % (seed, index))
        self.link = Link(run.addresses, self.rng, kind, run.timeout_s)
        self.kind = kind
        self.number = run.next_number()
        self.count = 0
        self.done = []
        self.error = None
        self.stopping = threading.Event()
        self.link.stop = self.stopping

    # -- recording

    def record(self, op, start, status, **more):
        entry = {"client": self.number, "op": op, "start": start, "status": status}
        if status != "unknown":
            entry["end"] = time.monotonic_ns()
        entry.update(more)
        self.done.append(entry)
        if status == "unknown":
            self.number = self.run_of.next_number()

    def attempt(self, op, commands, convert, **more):
        """One operation whose outcome the last reply tells."""
        start = time.monotonic_ns()
        try:
            reply = self.link.run(commands)[-1]
        except Lost as lost:
            self.record(op, start, "unknown" if lost.sent else "fail", **more)
            if not lost.sent:
                self.stopping.wait(0.05)
            return None
        if isinstance(reply, ReplyError):
            definite = is_definite(reply) or str(reply).startswith("ERR EXEC without MULTI")
            if not definite and not str(reply).startswith("UNKNOWN"):
                self.run_of.surprise("%s: %s" % (commands[-1], reply))
            self.record(op, start, "fail" if definite else "unknown", **more)
            return None
        outcome = convert(reply)
        if outcome is None:
            self.record(op, start, "fail", **more)
        else:
            more.update(outcome)
            self.record(op, start, "ok", **more)
        return reply

    def value(self):
        self.count += 1
        return "%d-%d" % (self.index, self.count)

    def key(self, letter, count):
        generation = int((time.monotonic() - self.run_of.began) / GENERATION_S)
        return "%s%d.%d" % (letter, generation, self.rng.randrange(count))

    # -- operations

    def get(self, key=None):
        key = key or self.key(*self.rng.choice(
            (("r", REGISTERS), ("c", COUNTERS), ("l", LISTS))))
        level = self.rng.choice(("plain",) * 5 + ("stale", "consistent", "leader"))
        command = ("GET", key) if level == "plain" or not self.run_of.is_cluster else (
            "LEVELGET", key, {"leader": 0, "stale": 1, "consistent": 2}[level])
        more = {"key": key}
        if level in ("stale", "leader"):
            more["level"] = level
        self.attempt("get", [command], lambda r: {"result": as_text(r)}, **more)

    def set(self):
        value = self.value()
        key = self.key("r", REGISTERS)
        if self.rng.random() < 0.3:
            self.attempt("getset", [("GETSET", key, value)],
                         lambda r: {"result": as_text(r)}, key=key, value=value)
        elif self.rng.random() < 0.3:
            self.attempt("setnx", [("SETNX", key, value)],
                         lambda r: {"result": r == 1}, key=key, value=value)
        else:
            self.attempt("set", [("SET", key, value)], lambda r: {}, key=key, value=value)

    def delete(self):
        key = self.key("r", REGISTERS)
        self.attempt("del", [("DEL", key)], lambda r: {"result": r == 1}, key=key)

    def incr(self):
        key = self.key("c", COUNTERS)
        by = self.rng.choice((1, 1, 1, 5))
        self.attempt("incr", [("INCRBY", key, by)], lambda r: {"result": r}, key=key, by=by)

    def cas(self):
        key, value = self.key("r", REGISTERS), self.value()
        start = time.monotonic_ns()
        try:
            watched, found = self.link.run([("WATCH", key), ("GET", key)])
        except Lost as lost:
            status = "unknown" if lost.sent else "fail"
            self.record("get", start, status, key=key)
            return
        if watched != "OK" or isinstance(found, ReplyError):
            self.link.close()  # whatever it watches
            return
        expect = as_text(found)
        self.record("get", start, "ok", key=key, result=expect)
        self.attempt("cas", [("MULTI",), ("SET", key, value), ("EXEC",)],
                     lambda r: None if r is None else {"result": True},
                     key=key, expect=expect, value=value)

    def append(self):
        key, value = self.key("l", LISTS), self.value()
        self.attempt("append", [("APPEND", key, value + ",")], lambda r: {},
                     key=key, value=value)

    def transaction(self):
        """One MULTI across lists: appends and reads."""
        ops, commands = [], [("MULTI",)]
        for _ in range(self.rng.randint(2, 4)):
            key = self.key("l", LISTS)
            if self.rng.random() < 0.5:
                value = self.value()
                ops.append({"op": "append", "key": key, "value": value})
                commands.append(("APPEND", key, value + ","))
            else:
                ops.append({"op": "get", "key": key})
                commands.append(("GET", key))
        commands.append(("EXEC",))

        def convert(reply):
            if reply is None or len(reply) != len(ops):
                return None
            for op, result in zip(ops, reply):
                if isinstance(result, ReplyError):
                    self.run_of.surprise("in EXEC: %s" % result)
                if op["op"] == "get":
                    op["result"] = as_text(result)
            return {}
        self.attempt("txn", commands, convert, ops=ops)

    def run(self):
        actions = [self.get] * 6 + [self.set] * 4 + [self.incr] * 3 + [
            self.cas, self.cas, self.delete, self.append] + [self.transaction] * 3
        try:
            while not self.stopping.is_set():
                self.rng.choice(actions)()
                self.stopping.wait(self.rng.uniform(0, 2 * self.run_of.pause_s))
        except Exception as error:  # shown by the run
            self.error = error
            raise
        finally:
            self.link.close()


def as_text(reply):
    if isinstance(reply, bytes):
        return reply.decode("utf8", "replace")
    return reply


class HistoryRun:
    """Some clients against some addresses; collects their histories."""

    def __init__(self, addresses, seed, plain=5, aware=2, pause_s=0.006, timeout_s=3.0,
                 is_cluster=True):
        self.addresses = addresses
        self.is_cluster = is_cluster
        self.pause_s = pause_s
        self.timeout_s = timeout_s
        self.began = time.monotonic()
        self.surprises = []
        self.numbers = 0
        self.lock = threading.Lock()
        kinds = ["plain"] * plain + ["aware"] * aware
        self.clients = [HistoryClient(self, i, kind, seed) for i, kind in enumerate(kinds)]

    def next_number(self):
        with self.lock:
            self.numbers += 1
            return self.numbers

    def surprise(self, text):
        """A reply that nobody should get."""
        with self.lock:
            if len(self.surprises) < 20:
                self.surprises.append(text)

    def start(self):
        for client in self.clients:
            client.start()

    def stop(self):
        for client in self.clients:
            client.stopping.set()
        for client in self.clients:
            client.join(30)
            if client.error:
                self.surprise("client %d: %r" % (client.index, client.error))

    def read_all(self, address, timeout_s=10.0):
        """At the end: a consistent read of every key, as one more client."""
        keys = {op["key"] for op in self.operations() if "key" in op}
        keys |= {o["key"] for op in self.operations() for o in op.get("ops", ())}
        number, done = self.next_number(), []
        with Client(address[1], address[0], timeout_s) as client:
            for key in sorted(keys):
                start = time.monotonic_ns()
                reply = client.cmd("GET", key)
                if isinstance(reply, ReplyError):
                    self.surprise("final GET %s: %s" % (key, reply))
                    continue
                done.append({"client": number, "op": "get", "key": key, "start": start,
                             "end": time.monotonic_ns(), "status": "ok",
                             "result": as_text(reply)})
        self.final = done
        return done

    def operations(self):
        out = [op for client in self.clients for op in client.done]
        return out + getattr(self, "final", [])

    def write(self, path):
        with open(path, "w", encoding="utf8") as file:
            for op in self.operations():
                file.write(json.dumps(op, separators=(",", ":")) + "\n")

    def unknown_share(self, windows):
        """(operations, unknown ones) that began outside of the fault windows,
        which are pairs of monotonic nanoseconds."""
        calm = unknown = 0
        for op in self.operations():
            if not any(first <= op["start"] <= last for first, last in windows):
                calm += 1
                unknown += op["status"] == "unknown"
        return calm, unknown


def quick_check(operations):
    """What can be told without a search: every acknowledged append is in the
    last reading of its list exactly once, none that was refused is; no number
    of a counter was given twice. Returns what is wrong."""
    problems, last, appends, numbers = [], {}, {}, {}
    for op in operations:
        parts = op["ops"] if op["op"] == "txn" else [op]
        for part in parts:
            if part["op"] == "append":
                appends.setdefault(part["key"], []).append((part["value"], op["status"]))
        if op["op"] == "get" and op["status"] == "ok":
            if op["key"] not in last or op["start"] > last[op["key"]]["start"]:
                last[op["key"]] = op
        if op["op"] == "incr" and op["status"] == "ok":
            numbers.setdefault(op["key"], []).append(op["result"])
    for key, given in numbers.items():
        if len(set(given)) != len(given):
            problems.append("%s: the same number was given twice" % key)
    for key, written in appends.items():
        found = ((last.get(key) or {}).get("result") or "").split(",")
        for value, status in written:
            times = found.count(value)
            if times > 1 or (status == "ok" and times == 0) or (
                    status == "fail" and times):
                problems.append("%s: append %s was %s and is there %d times" % (
                    key, value, status, times))
    return problems
