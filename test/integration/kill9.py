"""kill9.py - a server under load is killed again and again; a checker outside
of it knows what had been acknowledged.

    python3 test/integration/kill9.py [--seed FIRST] [--count N]

One cycle: start the server on the directory that the last cycle left, write
through several connections for 5 to 500 ms, SIGKILL, start again, read
everything back. Each key belongs to one connection, so its history is a list
of states in order; what is found must be the state after the last
acknowledged command or after a later one that was sent. That is: nothing that
was acknowledged is lost, nothing that was deleted returns. The keys of a
MULTI must all be in the state of the same transaction. (A process that dies
loses nothing that it gave to the kernel, so this holds for every appendfsync.)
A directory lives for some cycles, so that segments fill up and merges run.
"""

import argparse
import os
import random
import shlex
import shutil
import signal
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from wdbtest import BIN, Client, ReplyError, Server  # noqa: E402

CONNECTIONS = 4
KEYS_EACH = 150
PAIRS_EACH = 10
CYCLES_OF_A_DIRECTORY = 10


class Key:
    """What one key may hold: the known state, then the commands sent since."""

    def __init__(self, name):
        self.name = name
        self.known = None
        self.sent = []

    def last(self):
        return self.sent[-1] if self.sent else self.known

    def acknowledge(self, count):
        """The first `count` of the commands sent have been answered."""
        if count:
            self.known = self.sent[count - 1]
            del self.sent[:count]

    def possible(self):
        return [self.known] + self.sent


class Writer(threading.Thread):
    """One connection that writes to its own keys."""

    def __init__(self, number, seed):
        super().__init__()
        self.random = random.Random(seed)
        self.keys = [Key(b"k:%d:%d" % (number, i)) for i in range(KEYS_EACH)]
        # Each pair is written in one transaction; both hold the same state.
        self.pairs = [(Key(b"a:%d:%d" % (number, i)), Key(b"b:%d:%d" % (number, i)))
                      for i in range(PAIRS_EACH)]
        self.number = number
        self.count = 0
        self.acknowledged = 0
        self.error = None
        self.port = None
        self.until = None      # when to stop; None: when the server is gone

    def all_keys(self):
        return self.keys + [key for pair in self.pairs for key in pair]

    def value(self):
        self.count += 1
        size = self.random.choice((8, 20, 100, 100, 1000, 1000, 5000, 40000))
        head = b"%d:%d:" % (self.number, self.count)
        return head + b"v" * max(0, size - len(head))

    def one(self):
        """(commands, [(key, state after them)], which reply counts)"""
        kind = self.random.random()
        if kind < 0.15:
            pair = self.random.choice(self.pairs)
            value = self.value() if self.random.random() < 0.8 else None
            write = [(b"DEL", k.name) if value is None else (b"SET", k.name, value)
                     for k in pair]
            return [(b"MULTI",)] + write + [(b"EXEC",)], [(k, value) for k in pair]
        key = self.random.choice(self.keys)
        if kind < 0.30:
            return [(b"DEL", key.name)], [(key, None)]
        if kind < 0.40 and len(key.last() or b"") < 50000:
            more = b"+%d" % self.count
            return [(b"APPEND", key.name, more)], [(key, (key.last() or b"") + more)]
        value = self.value()
        if kind < 0.45:
            return [(b"SET", key.name, value, b"PX", b"3600000")], [(key, value)]
        return [(b"SET", key.name, value)], [(key, value)]

    def round(self, client):
        """A pipeline of some commands."""
        commands, effects = [], []
        for _ in range(self.random.choice((1, 1, 1, 4, 16))):
            these, changes = self.one()
            commands += these
            effects.append((len(these), changes))
            for key, state in changes:
                key.sent.append(state)
        data = [b"*%d\r\n%s" % (len(c), b"".join(
            b"$%d\r\n%s\r\n" % (len(a), a) for a in c)) for c in commands]
        client.send_raw(b"".join(data))
        for count, changes in effects:
            for _ in range(count):
                reply = client.read()
                if isinstance(reply, ReplyError):
                    raise AssertionError("error reply: %s" % reply)
            for key, _ in changes:
                key.acknowledge(1)
            self.acknowledged += 1

    def run(self):
        try:
            with Client(self.port) as client:
                while self.until is None or time.monotonic() < self.until:
                    self.round(client)
        except (OSError, ConnectionError):
            pass
        except Exception as error:  # the main thread reports it
            self.error = error


def read_all(client, names):
    out = []
    for first in range(0, len(names), 50):
        out += client.pipeline([(b"GET", name) for name in names[first:first + 50]])
    return out


def show(state):
    return "nothing" if state is None else "%r (%d bytes)" % (state[:24], len(state))


def check_writer(client, writer, problems):
    """Compare what is there with what may be; then that is the known state."""
    keys = writer.all_keys()
    found = dict(zip(keys, read_all(client, [k.name for k in keys])))
    for key in keys:
        if isinstance(found[key], ReplyError) or found[key] not in key.possible():
            problems.append("%s holds %s; acknowledged was %s, %d commands came after" % (
                key.name.decode(), show(found[key]) if not isinstance(
                    found[key], ReplyError) else found[key],
                show(key.known), len(key.sent)))
    for a, b in writer.pairs:
        if found[a] != found[b]:
            problems.append("a transaction was torn: %s holds %s, %s holds %s" % (
                a.name.decode(), show(found[a]), b.name.decode(), show(found[b])))
    for key in keys:
        key.known, key.sent = found[key], []


def cycle(server, writers, rng):
    """Load, kill, restart, check; the list of what is wrong."""
    problems = []
    threads = []
    for writer in writers:
        fresh = Writer(writer.number, rng.random())
        fresh.keys, fresh.pairs = writer.keys, writer.pairs
        fresh.count, fresh.port = writer.count, server.port
        threads.append(fresh)
    for thread in threads:
        thread.start()
    time.sleep(rng.uniform(0.005, 0.5))
    server.kill(signal.SIGKILL)
    for thread in threads:
        thread.join()
        if thread.error:
            problems.append(repr(thread.error))
    writers[:] = threads
    # Now and then the recovery itself is killed, too.
    for _ in range(rng.choice((0, 0, 1, 2))):
        server.start(wait=False)
        time.sleep(rng.uniform(0.0, 0.05))
        server.kill(signal.SIGKILL)
    server.start()
    with Client(server.port) as client:
        for writer in writers:
            check_writer(client, writer, problems)
        held = sum(k.known is not None for w in writers for k in w.all_keys())
        if client.cmd("DBSIZE") != held:
            problems.append("DBSIZE is %s, not %d" % (client.cmd("DBSIZE"), held))
    return problems


def check_files(directory):
    """walkerdb-check, where it is built, must find nothing either."""
    program = os.path.join(BIN, "walkerdb-check")
    if not os.path.exists(program):
        return []
    code = os.system("%s %s >%s.check 2>&1" % (program, directory, directory))
    if code == 0:
        os.unlink(directory + ".check")
        return []
    return ["walkerdb-check fails; see %s.check" % directory]


def run_directory(seed, cycles, options):
    """Some cycles on one directory; (passed, failed)."""
    rng = random.Random(seed)
    policy = rng.choice(("always", "everysec", "no"))
    arguments = [] if options.program else [
        "--appendfsync", policy, "--io-threads", str(rng.choice((1, 2)))]
    arguments += shlex.split(options.args)
    directory = tempfile.mkdtemp(prefix="walkerdb-kill9-")
    server = Server(*arguments, dir=directory, program=options.program)
    writers = [Writer(number, seed) for number in range(CONNECTIONS)]
    passed, failed, acknowledged = 0, 0, 0
    try:
        for number in range(cycles):
            problems = cycle(server, writers, rng)
            acknowledged += sum(w.acknowledged for w in writers)
            if number == cycles - 1:
                server.kill(signal.SIGKILL)
                problems += [] if options.program else check_files(directory)
            passed += not problems
            failed += bool(problems)
            if problems:
                print("FAILED seed %d cycle %d (%s), directory kept in %s:" % (
                    seed, number, " ".join(arguments), directory))
                print("\n".join("  " + p for p in problems[:10]))
                return passed, failed, acknowledged
    finally:
        server.kill(signal.SIGKILL)
        if failed:
            print("end of the server's log:\n%s" % server.log()[-1500:])
        else:
            shutil.rmtree(directory, ignore_errors=True)
        if os.path.exists(server.log_path):
            os.unlink(server.log_path)
    return passed, failed, acknowledged


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--program", help="another server, to try the checker")
    parser.add_argument("--args", default="", help="more arguments of the server")
    options = parser.parse_args()
    passed = failed = acknowledged = 0
    while passed + failed < options.count and not failed:
        cycles = min(CYCLES_OF_A_DIRECTORY, options.count - passed - failed)
        result = run_directory(options.seed + passed, cycles, options)
        passed += result[0]
        failed += result[1]
        acknowledged += result[2]
    print("%d commands were acknowledged" % acknowledged)
    print("%d passed, %d failed" % (passed, failed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
