"""kill9.py - a server under load is killed again and again; a checker outside
of it knows what had been acknowledged.

    python3 test/integration/kill9.py [--seed FIRST] [--count N]

One cycle: start the server on the directory that the last cycle left, write
through several connections for 5 to 500 ms, SIGKILL, start again, read
everything back. Each key belongs to one connection, so its history is a list
of states in order; what is found must be the state after the last
acknowledged command or after a later one that was sent. That is: nothing that
was acknowledged is lost, nothing that was deleted or has expired returns. The
keys of a MULTI must all be in the state of the same transaction. (A process
that dies loses nothing that it gave to the kernel, so this holds for every
appendfsync.) Segments are small, so that they roll, get hints and are merged
while all this goes on, and a directory lives for some cycles.
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
SCRATCH_EACH = 12          # in each of two databases of every connection
SHORT_EACH = 10            # keys that expire while all this goes on
CYCLES_OF_A_DIRECTORY = 10
BIG_SIZE = 200000          # of the key that is changed in the middle
FAR_MS = 10 ** 9           # until those expire that are not to
DATABASE_SHORT = 15


def now_ms():
    return time.time_ns() // 10 ** 6


class Key:
    """What one key may hold: the known state, then those sent since.

    A state is None (no key) or (value, when it expires in ms or -1).
    """

    def __init__(self, name, database=0):
        self.name = name
        self.database = database
        self.known = None
        self.sent = []

    def last(self):
        return self.sent[-1] if self.sent else self.known

    def acknowledge(self, count):
        """The first `count` of the commands sent have been answered."""
        if count:
            self.known = self.sent[count - 1]
            del self.sent[:count]

    def possible(self, before_ms, after_ms):
        """The states that it may be in, looked at between these times."""
        states = []
        for state in [self.known] + self.sent:
            expires = state[1] if state else -1
            if expires < 0 or expires > before_ms:
                states.append(state)
            if 0 <= expires <= after_ms:
                states.append(None)
        return states


class Writer(threading.Thread):
    """One connection that writes to its own keys."""

    def __init__(self, number, seed):
        super().__init__()
        self.random = random.Random(seed)
        self.keys = [Key(b"k:%d:%d" % (number, i)) for i in range(KEYS_EACH)]
        # Each pair is written in one transaction; both hold the same state.
        self.pairs = [(Key(b"a:%d:%d" % (number, i)), Key(b"b:%d:%d" % (number, i)))
                      for i in range(PAIRS_EACH)]
        self.big = Key(b"big:%d" % number)
        # Two databases that are flushed and swapped as a whole.
        self.scratch = [[Key(b"s:%d" % i, 1 + 2 * number + which)
                         for i in range(SCRATCH_EACH)] for which in (0, 1)]
        self.short = [Key(b"x:%d:%d" % (number, i), DATABASE_SHORT)
                      for i in range(SHORT_EACH)]
        self.number = number
        self.count = 0
        self.acknowledged = 0
        self.error = None
        self.port = None
        self.until = None      # when to stop; None: when the server is gone

    def again(self, seed, port):
        """A thread for the next cycle that knows what this one knows."""
        fresh = Writer(self.number, seed)
        for name in ("keys", "pairs", "big", "scratch", "short", "count"):
            setattr(fresh, name, getattr(self, name))
        fresh.port = port
        return fresh

    def all_keys(self):
        return (self.keys + [key for pair in self.pairs for key in pair] + [self.big]
                + self.scratch[0] + self.scratch[1] + self.short)

    def value(self):
        self.count += 1
        size = self.random.choice((8, 20, 100, 100, 1000, 1000, 5000, 40000))
        head = b"%d:%d:" % (self.number, self.count)
        return head + b"v" * max(0, size - len(head))

    def one(self):
        """(commands, [(key, state after them)])"""
        kind = self.random.random()
        if kind < 0.15:
            return self.one_pair()
        if kind < 0.20:
            return self.one_scratch()
        if kind < 0.24:
            return self.one_short()
        if kind < 0.26:
            return self.one_big()
        key = self.random.choice(self.keys)
        value, expires = key.last() or (b"", -1)
        if kind < 0.38:
            return [(b"DEL", key.name)], [(key, None)]
        if kind < 0.46 and len(value) < 50000:
            more = b"+%d" % self.count
            return [(b"APPEND", key.name, more)], [(key, (value + more, expires))]
        if kind < 0.50 and key.last():
            expires = now_ms() + FAR_MS + self.count
            return ([(b"PEXPIREAT", key.name, b"%d" % expires)], [(key, (value, expires))])
        if kind < 0.52 and key.last():
            return [(b"PERSIST", key.name)], [(key, (value, -1))]
        other = self.random.choice(self.keys)
        if kind < 0.55 and key.last() and other is not key:
            return ([(b"RENAME", key.name, other.name)],
                    [(other, key.last()), (key, None)])
        value = self.value()
        if kind < 0.60:
            expires = now_ms() + FAR_MS
            return ([(b"SET", key.name, value, b"PXAT", b"%d" % expires)],
                    [(key, (value, expires))])
        return [(b"SET", key.name, value)], [(key, (value, -1))]

    def one_pair(self):
        pair = self.random.choice(self.pairs)
        value = self.value() if self.random.random() < 0.8 else None
        write = [(b"DEL", k.name) if value is None else (b"SET", k.name, value)
                 for k in pair]
        state = None if value is None else (value, -1)
        return [(b"MULTI",)] + write + [(b"EXEC",)], [(k, state) for k in pair]

    def one_scratch(self):
        """In databases of our own, so that nothing else is hit."""
        first, second = self.scratch
        kind = self.random.random()
        database = b"%d" % first[0].database
        if kind < 0.1:
            return ([(b"SELECT", database), (b"FLUSHDB",), (b"SELECT", b"0")],
                    [(key, None) for key in first])
        if kind < 0.2:
            states = [key.last() for key in first]
            return ([(b"SWAPDB", database, b"%d" % second[0].database)],
                    [(a, b.last()) for a, b in zip(first, second)] +
                    list(zip(second, states)))
        key, value = self.random.choice(first), self.value()
        return ([(b"SELECT", database), (b"SET", key.name, value), (b"SELECT", b"0")],
                [(key, (value, -1))])

    def one_short(self):
        key, value = self.random.choice(self.short), self.value()
        expires = now_ms() + self.random.choice((20, 100, 500, 2000))
        return ([(b"SELECT", b"%d" % DATABASE_SHORT),
                 (b"SET", key.name, value, b"PXAT", b"%d" % expires),
                 (b"SELECT", b"0")], [(key, (value, expires))])

    def one_big(self):
        """Kept in chunks; a change in the middle is written alone."""
        old = (self.big.last() or (b"", -1))[0]
        value = self.value()
        at = self.random.randrange(BIG_SIZE - len(value))
        new = old[:at].ljust(at, b"\0") + value + old[at + len(value):]
        return [(b"SETRANGE", self.big.name, b"%d" % at, value)], [(self.big, (new, -1))]

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


def read_states(client, keys):
    """[(state, or an error reply)], in the order of the keys."""
    out = []
    for first in range(0, len(keys), 25):
        commands = []
        for key in keys[first:first + 25]:
            commands += [("SELECT", key.database), ("MULTI",), ("GET", key.name),
                         ("PEXPIRETIME", key.name), ("EXEC",)]
        for reply in client.pipeline(commands)[4::5]:
            errors = [reply] if isinstance(reply, ReplyError) else [
                r for r in reply if isinstance(r, ReplyError)]
            out.append(errors[0] if errors else
                       None if reply[0] is None else tuple(reply))
    client.cmd("SELECT", 0)
    return out


def show(state):
    if state is None or isinstance(state, ReplyError):
        return str(state or "nothing")
    return "%r (%d bytes, expires %d)" % (state[0][:24], len(state[0]), state[1])


def check_writer(client, writer, problems):
    """Compare what is there with what may be; then that is the known state."""
    keys = writer.all_keys()
    before_ms = now_ms()
    found = dict(zip(keys, read_states(client, keys)))
    after_ms = now_ms()
    for key in keys:
        # A clock may be read a moment apart here and there.
        if found[key] not in key.possible(before_ms - 1, after_ms + 1):
            problems.append(
                "%s in database %d holds %s; acknowledged was %s, %d commands came after" % (
                    key.name.decode(), key.database, show(found[key]), show(key.known),
                    len(key.sent)))
    for a, b in writer.pairs:
        if found[a] != found[b]:
            problems.append("a transaction was torn: %s holds %s, %s holds %s" % (
                a.name.decode(), show(found[a]), b.name.decode(), show(found[b])))
    for key in keys:
        key.known, key.sent = found[key], []


def check_sizes(client, writers, problems):
    """DBSIZE counts what is there, and nothing else is."""
    for database in range(DATABASE_SHORT):
        held = sum(k.known is not None for w in writers for k in w.all_keys()
                   if k.database == database)
        client.cmd("SELECT", database)
        size = client.cmd("DBSIZE")
        if size != held:
            problems.append("DBSIZE of %d is %s, not %d" % (database, size, held))


def cycle(server, writers, rng):
    """Load, kill, restart, check; the list of what is wrong."""
    problems = []
    threads = []
    for writer in writers:
        threads.append(writer.again(rng.random(), server.port))
    for thread in threads:
        thread.start()
    if rng.random() < 0.3:
        server.cmd("BGREWRITEAOF")   # a merge of everything
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
        check_sizes(client, writers, problems)
    return problems


def merged_segments(directory):
    return {name for name in os.listdir(directory) if name.endswith(".mrg")}


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
    """Some cycles on one directory; counts of what happened."""
    rng = random.Random(seed)
    arguments = [] if options.program else [
        "--appendfsync", rng.choice(("always", "everysec", "no")),
        "--io-threads", rng.choice("124"),
        "--store-segment-size", rng.choice(("1mb", "1mb", "4mb")),
        "--store-merge-rate", rng.choice(("64mb", "8mb", "0"))]
    arguments += shlex.split(options.args)
    directory = tempfile.mkdtemp(prefix="walkerdb-kill9-")
    server = Server(*arguments, dir=directory, program=options.program)
    writers = [Writer(number, seed) for number in range(CONNECTIONS)]
    passed, failed, acknowledged, merged = 0, 0, 0, set()
    try:
        for number in range(cycles):
            problems = cycle(server, writers, rng)
            acknowledged += sum(w.acknowledged for w in writers)
            merged |= merged_segments(directory)
            if number == cycles - 1:
                server.kill(signal.SIGKILL)
                problems += [] if options.program else check_files(directory)
            passed += not problems
            failed += bool(problems)
            if problems:
                print("FAILED seed %d cycle %d (%s), directory kept in %s:" % (
                    seed, number, " ".join(arguments), directory))
                print("\n".join("  " + p for p in problems[:10]))
                return passed, failed, acknowledged, len(merged)
    finally:
        server.kill(signal.SIGKILL)
        if failed:
            print("end of the server's log:\n%s" % server.log()[-1500:])
        else:
            shutil.rmtree(directory, ignore_errors=True)
        if os.path.exists(server.log_path):
            os.unlink(server.log_path)
    return passed, failed, acknowledged, len(merged)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--program", help="another server, to try the checker")
    parser.add_argument("--args", default="", help="more arguments of the server")
    options = parser.parse_args()
    passed = failed = acknowledged = merged = 0
    while passed + failed < options.count and not failed:
        cycles = min(CYCLES_OF_A_DIRECTORY, options.count - passed - failed)
        result = run_directory(options.seed + passed, cycles, options)
        passed += result[0]
        failed += result[1]
        acknowledged += result[2]
        merged += result[3]
    print("%d commands were acknowledged, %d merged segments were seen" % (
        acknowledged, merged))
    print("%d passed, %d failed" % (passed, failed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
