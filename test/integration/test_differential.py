"""test_differential.py - random commands to walkerdb and to Redis 7.0.15: the
replies must be the same.

WDB_TEST_SEED chooses the sequence (a failure prints it), WDB_TEST_SECONDS how
long each test goes on. Commands go in pipelines; now and then the whole
content of both is compared. What depends on time is compared with tolerance,
what depends on order is sorted.
"""

import os
import random
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from wdbtest import Client, ReplyError, Server, Simple, main, peer  # noqa: E402

SEED = int(os.environ.get("WDB_TEST_SEED", "1"))
SECONDS = float(os.environ.get("WDB_TEST_SECONDS", "5"))
DATABASES = 3
KEYS = [b"a", b"b", b"key:1", b"key:2", b"key:3", b"", b"bin\x00\xff\r\n", b"big"]
WORDS = ["NX", "XX", "GT", "LT", "GET", "EX", "PX", "EXAT", "PXAT", "KEEPTTL",
         "PERSIST", "IDX", "LEN", "WITHMATCHLEN", "MINMATCHLEN", "BIT", "BYTE",
         "AND", "OR", "XOR", "NOT", "SET", "INCRBY", "OVERFLOW", "WRAP", "SAT",
         "FAIL", "REPLACE", "DB", "MATCH", "COUNT", "TYPE", "ASYNC", "SYNC",
         "ENCODING", "REFCOUNT", "FREQ", "nonsense", "*", "#1", "i8", "u4"]


def integer(r, low=-(1 << 63), high=(1 << 63) - 1):
    kind = r.random()
    if kind < 0.5:
        value = r.choice([0, 1, -1, 2, 3, 5, 7, 8, 10, 20, 100, 1000, 10000])
    elif kind < 0.8:
        value = r.randint(-200, 200)
    elif kind < 0.95:
        value = r.randint(low, high)
    else:
        value = r.choice([low, high, (1 << 31) - 1, -(1 << 31), 1 << 32])
    return max(low, min(high, value))


def number_text(r):
    if r.random() < 0.9:
        return str(integer(r))
    return r.choice(["", " 1", "1 ", "+1", "-0", "01", "1.5", "abc", "1e3",
                     "99999999999999999999", "0x10", "nan", "inf", "-inf"])


def real_text(r):
    return r.choice([
        "%g" % r.uniform(-100, 100), "%.17g" % r.uniform(-1e9, 1e9), "3",
        "-2.50", "1e10", "5.0e-3", "0.1", "1e-5", "123456789012345678", "x", "",
        "nan", "inf", "1e400", "3.0000000000000000001", " 1", "0x1p3"])


def value(r):
    kind = r.random()
    if kind < 0.35:
        return str(integer(r))
    if kind < 0.45:
        return real_text(r)
    if kind < 0.85:
        return bytes(r.choice(b"abc\x00\xff ") for _ in range(r.randint(0, 50)))
    if kind < 0.97:
        return r.choice([b"\x00", b"\xff", b"foobar"]) * r.randint(0, 300)
    return r.choice([b"x", b"\xff"]) * r.choice([16384, 65530, 65536, 70000, 100000])


def short(r):
    return bytes(r.choice(b"abcd") for _ in range(r.randint(0, 30)))


def far_s(r):
    return r.randint(1000, 100000)


class Generator:
    """Makes commands; each has the name of how its reply is compared."""

    def __init__(self, seed):
        self.r = random.Random(seed)
        self.makers = [name for name in dir(self) if name.startswith("make_")]
        self.weights = [getattr(getattr(self, n), "weight", 4) for n in self.makers]

    def key(self):
        return self.r.choice(KEYS)

    def command(self):
        r = self.r
        name = r.choices(self.makers, self.weights)[0]
        made = getattr(self, name)()
        how = "equal"
        if isinstance(made, tuple):
            made, how = made
        if r.random() < 0.02:
            made = made[:r.randint(1, len(made))]
        if r.random() < 0.02:
            made.append(r.choice(WORDS))
        if r.random() < 0.1:
            made[0] = "".join(r.choice([c.upper(), c]) for c in made[0])
        return made, how

    def offset(self):
        r = self.r
        return r.choice([0, 1, 7, 8, 100, r.randint(0, 2000), r.randint(0, 800000)])

    # --- strings ---
    def make_set(self):
        r = self.r
        out = ["set", self.key(), value(r)]
        if r.random() < 0.5:
            return out
        for _ in range(r.randint(1, 3)):
            option = r.choice(["NX", "XX", "GET", "KEEPTTL", "EX", "PX", "EXAT", "PXAT"])
            out.append(option)
            if option == "EX":
                out.append(far_s(r) if r.random() < 0.8 else number_text(r).lstrip("0123456789") or 0)
            elif option == "PX":
                out.append(far_s(r) * 1000)
            elif option == "EXAT":
                out.append(int(time.time()) + far_s(r) if r.random() < 0.9 else r.choice([0, -1]))
            elif option == "PXAT":
                out.append((int(time.time()) + far_s(r)) * 1000)
        return out
    make_set.weight = 12

    def make_set_old(self):
        r = self.r
        name = r.choice(["setnx", "setex", "psetex", "getset"])
        if name in ("setnx", "getset"):
            return [name, self.key(), value(r)]
        return [name, self.key(), r.choice([far_s(r) * 1000, 0, -5, "x"]), value(r)]

    def make_read(self):
        return [self.r.choice(["get", "get", "strlen", "getdel", "type"]), self.key()]
    make_read.weight = 10

    def make_getex(self):
        r = self.r
        out = ["getex", self.key()]
        option = r.choice(["", "PERSIST", "EX", "PX", "EXAT", "PXAT", "KEEPTTL"])
        if option:
            out.append(option)
        if option in ("EX", "PX"):
            out.append(far_s(r) * 1000)
        elif option in ("EXAT", "PXAT"):
            unit = 1000 if option == "PXAT" else 1
            out.append(r.choice([1, 0, (int(time.time()) + far_s(r)) * unit]))
        return out

    def make_mget(self):
        return ["mget"] + [self.key() for _ in range(self.r.randint(1, 5))]

    def make_mset(self):
        out = [self.r.choice(["mset", "msetnx"])]
        for _ in range(self.r.randint(1, 4)):
            out += [self.key(), value(self.r)]
        return out

    def make_range(self):
        r = self.r
        return [r.choice(["getrange", "substr"]), self.key(), number_text(r), number_text(r)]

    def make_setrange(self):
        r = self.r
        return ["setrange", self.key(), r.choice([self.offset(), self.offset(), -1, 1 << 29, "x"]),
                r.choice([b"", b"x", short(r), b"y" * 20000])]

    def make_append(self):
        return ["append", self.key(), value(self.r)]

    def make_count(self):
        r = self.r
        name = r.choice(["incr", "decr", "incrby", "decrby"])
        return [name, self.key()] + ([number_text(r)] if name.endswith("by") else [])
    make_count.weight = 6

    def make_float(self):
        return ["incrbyfloat", self.key(), real_text(self.r)]

    def make_lcs(self):
        r = self.r
        out = ["lcs", b"lcs:1", b"lcs:2"]
        for option in ("IDX", "LEN", "WITHMATCHLEN"):
            if r.random() < 0.4:
                out.append(option)
        if r.random() < 0.4:
            out += ["MINMATCHLEN", r.choice([0, 1, 2, 5, -1, "x"])]
        return out

    def make_lcs_values(self):
        return ["mset", b"lcs:1", short(self.r), b"lcs:2", short(self.r)]

    # --- bits ---
    def make_setbit(self):
        r = self.r
        return ["setbit", self.key(), r.choice([self.offset(), self.offset(), -1, 1 << 32, "x"]),
                r.choice([0, 1, 1, 2, "x"])]
    make_setbit.weight = 6

    def make_getbit(self):
        return ["getbit", self.key(), self.r.choice([self.offset(), "x", -1])]

    def make_bitcount(self):
        r = self.r
        out = ["bitcount", self.key()]
        if r.random() < 0.8:
            out += [number_text(r), number_text(r)]
            if r.random() < 0.5:
                out.append(r.choice(["BIT", "BYTE", "bit", "x"]))
        return out

    def make_bitpos(self):
        r = self.r
        out = ["bitpos", self.key(), r.choice([0, 1, 1, 0, 2, "x"])]
        for _ in range(r.randint(0, 2)):
            out.append(number_text(r))
        if len(out) == 5 and r.random() < 0.5:
            out.append(r.choice(["BIT", "BYTE", "x"]))
        return out

    def make_bitop(self):
        r = self.r
        name = r.choice(["AND", "OR", "XOR", "NOT", "and", "x"])
        count = 1 if name == "NOT" and r.random() < 0.9 else r.randint(1, 4)
        return ["bitop", name, self.key()] + [self.key() for _ in range(count)]

    def make_bitfield(self):
        r = self.r
        readonly = r.random() < 0.3
        out = [r.choice(["bitfield_ro", "bitfield"]) if readonly else "bitfield", self.key()]
        for _ in range(r.randint(0, 4)):
            kind = "GET" if readonly else r.choice(["GET", "SET", "INCRBY", "OVERFLOW"])
            if kind == "OVERFLOW":
                # Not FAIL: when it only makes the string longer, Redis writes
                # without telling those who watch the key.
                out += [kind, r.choice(["WRAP", "SAT", "sat"])]
                continue
            signed = r.random() < 0.5
            bits = r.choice([1, 2, 5, 8, 16, 31, 32, 63] + ([64] if signed else []))
            out += [kind, "%s%d" % ("i" if signed else "u", bits),
                    r.choice(["#%d" % r.randint(0, 20), self.offset()])]
            if kind != "GET":
                out.append(integer(r, -(1 << 61), 1 << 61))
        return out
    make_bitfield.weight = 8

    # --- keys ---
    def make_many(self):
        r = self.r
        return [r.choice(["del", "unlink", "exists", "exists", "touch"])] + [
            self.key() for _ in range(r.randint(1, 4))]

    def make_expire(self):
        r = self.r
        name = r.choice(["expire", "pexpire", "expireat", "pexpireat"])
        when = r.choice([far_s(r), far_s(r), -1, 0, "x", (1 << 63) - 1])
        if isinstance(when, int) and 0 < when < 1 << 60:
            if name.endswith("at"):
                when += int(time.time())
            if name.startswith("p"):
                when *= 1000
        out = [name, self.key(), when]
        for _ in range(r.choice([0, 0, 1, 1, 2])):
            out.append(r.choice(["NX", "XX", "GT", "LT", "gt"]))
        return out
    make_expire.weight = 6

    def make_ttl(self):
        name = self.r.choice(["ttl", "pttl", "expiretime", "pexpiretime"])
        return [name, self.key()], "time:" + name

    def make_persist(self):
        return ["persist", self.key()]

    def make_rename(self):
        return [self.r.choice(["rename", "renamenx"]), self.key(), self.key()]

    def make_copy(self):
        r = self.r
        out = ["copy", self.key(), self.key()]
        if r.random() < 0.4:
            out += ["DB", r.choice([0, 1, 2, 16, -1, "x", 1 << 40])]
        if r.random() < 0.4:
            out.append("REPLACE")
        return out

    def make_move(self):
        return ["move", self.key(), self.r.choice([0, 1, 2, 16, -1, "x"])]

    def make_object(self):
        return ["object", self.r.choice(["encoding", "encoding", "refcount", "freq", "foo"]),
                self.key()], "encoding"

    def make_keys(self):
        return ["keys", self.r.choice(["*", "key:*", "?", "key:[12]", "[^ab]*", "nothing", "\\*"])], "sorted"

    def make_scan(self):
        return ["scan", 0, "COUNT", 10000, "MATCH", self.r.choice(["*", "key:*", "b*"])], "scan"

    def make_scan_error(self):
        r = self.r
        return ["scan", r.choice(["0", "x", "-", " 0"]), "COUNT", r.choice(["x", 0, -1, 100000])], "scan"
    make_scan_error.weight = 1

    def make_dbsize(self):
        return ["dbsize"]

    def make_select(self):
        return ["select", self.r.choice([0, 0, 1, 2, 16, -1, "x", 1 << 40])]

    def make_swapdb(self):
        return ["swapdb", self.r.choice([0, 1, 2, 16, "x"]), self.r.choice([0, 1, 2, 16, "x"])]
    make_swapdb.weight = 1

    def make_flush(self):
        return [self.r.choice(["flushdb", "flushdb", "flushall"])] + self.r.choice(
            [[], ["ASYNC"], ["SYNC"], ["x"]])
    make_flush.weight = 1

    def make_garbage(self):
        r = self.r
        name = r.choice(["get", "set", "append", "bitfield", "bitop", "lcs", "expire", "copy", "mset",
                         "getex", "bitpos", "bitcount", "object", "setrange", "nosuch", "rename"])
        # No times of a few seconds: when such keys go is not the same moment.
        timed = name in ("set", "getex", "expire")
        number = r.choice(["1000000", "-1", "0", "x"]) if timed else number_text(r)
        return [name] + [r.choice([self.key(), r.choice(WORDS), number])
                         for _ in range(r.randint(0, 6))]

    # --- transactions ---
    def make_transaction(self):
        return [self.r.choice(["multi", "exec", "exec", "discard", "unwatch"])]
    make_transaction.weight = 8

    def make_watch(self):
        return ["watch"] + [self.key() for _ in range(self.r.randint(1, 3))]


def normal(reply, how):
    """A form in which replies of both servers can be compared."""
    if how == "sorted" and isinstance(reply, list):
        return sorted(reply, key=repr)
    if how == "scan" and isinstance(reply, list):
        return sorted(reply[1], key=repr) if reply[0] == b"0" else "part"
    if isinstance(reply, Simple):
        return ("simple", str(reply))
    if isinstance(reply, list):
        return [normal(part, "equal") for part in reply]
    return reply


def same(left, right, how):
    if how.startswith("time:") and isinstance(left, int) and isinstance(right, int):
        tolerance = 2000 if how.startswith("time:p") else 2
        return abs(left - right) <= (tolerance if left > 0 and right > 0 else 0)
    if how == "encoding":
        # A SETBIT that changes nothing turns the value to raw in Redis; here
        # it writes nothing. And inside EXEC Redis counts the queued argument.
        return (left == right or (left, right) == (1, 2)
                or right in (b"raw", 1) and left in (b"int", b"embstr", (1 << 31) - 1))
    if how == "scan" and isinstance(left, list) and isinstance(right, list):
        left, right = normal(left, how), normal(right, how)
        return left == right or "part" in (left, right)
    return normal(left, how) == normal(right, how)


class Pair:
    """A connection to each server."""

    def __init__(self, ours, theirs):
        self.clients = [Client(ours.port), Client(theirs.port)]
        self.queued = []  # how the replies inside EXEC are compared

    def both(self, commands):
        return list(zip(*[client.pipeline(commands) for client in self.clients]))

    def same(self, command, how, left, right):
        if str(left) == "QUEUED":
            self.queued.append(how)
        name = command[0].lower()
        if name in ("exec", "discard") and not isinstance(left, ReplyError):
            hows, self.queued = self.queued, []
            if isinstance(left, list) and isinstance(right, list):
                return len(left) == len(right) == len(hows) and all(map(same, left, right, hows))
        elif name in ("exec", "multi", "discard", "reset"):
            self.queued = [] if "nested" not in str(left) else self.queued
        return same(left, right, how)

    def check(self, commands, hows):
        for command, how, (left, right) in zip(commands, hows, self.both(commands)):
            if not self.same(command, how, left, right):
                raise AssertionError("%r%s" % (command, show(left, right)))

    def close(self):
        for client in self.clients:
            client.close()


def show(left, right):
    """Both replies, or of lists the parts that differ."""
    if isinstance(left, list) and isinstance(right, list) and len(left) == len(right):
        left, right = zip(*[(a, b) for a, b in zip(left, right) if a != b])
    return "\n  ours:   %.1000r\n  theirs: %.1000r" % (left, right)


def compare_content(pair):
    """All keys of all databases: values, expiry, encoding."""
    pair.both([["discard"], ["unwatch"]])
    pair.queued = []
    for database in range(DATABASES):
        pair.check([["select", database]], ["equal"])
        pair.check([["keys", "*"]], ["sorted"])
        keys = pair.clients[0].cmd("KEYS", "*")
        for key in keys:
            pair.check([["get", key], ["pttl", key], ["object", "encoding", key], ["bitcount", key]],
                       ["equal", "time:pttl", "encoding", "equal"])


def run(ours, theirs, seed, protocol, seconds):
    generator = Generator(seed)
    r = generator.r
    pairs = [Pair(ours, theirs) for _ in range(2)]
    for pair in pairs:
        if protocol == 3:
            pair.both([["HELLO", "3"]])
        pair.check([["flushall"]], ["equal"])
    done = 0
    history = []
    end = time.monotonic() + seconds
    try:
        while time.monotonic() < end:
            pair = pairs[0] if r.random() < 0.85 else pairs[1]
            made = [generator.command() for _ in range(r.randint(1, 30))]
            commands = [c for c, _ in made]
            history = (history + [[pairs.index(pair)] + c for c in commands])[-60:]
            pair.check(commands, [how for _, how in made])
            done += len(made)
            if r.random() < 0.01:
                expire_soon(generator, pairs[0])
            if r.random() < 0.01:
                compare_content(pairs[0])
                compare_content(pairs[1])
    except AssertionError as error:
        for command in history:
            print("  %r" % [shorten(a) for a in command])
        raise AssertionError("seed %d, RESP%d: %s" % (seed, protocol, error))
    finally:
        for pair in pairs:
            pair.close()
    return done


def shorten(argument):
    return argument[:60] if isinstance(argument, (bytes, str)) else argument


def expire_soon(generator, pair):
    """A key whose time comes: gone for both."""
    key = generator.key()
    pair.both([["discard"], ["pexpire", key, 1]])
    pair.queued = []
    time.sleep(0.02)
    pair.check([["exists", key], ["get", key], ["ttl", key], ["setnx", key, "after"], ["ttl", key]],
               ["equal"] * 5)


def differential(protocol):
    redis = peer("redis-server")
    with Server("--save", "", program=redis) as theirs, Server() as ours:
        done = run(ours, theirs, SEED * 1000 + protocol, protocol, SECONDS)
        print("RESP%d: %d commands" % (protocol, done))


def test_random_commands_resp2():
    """Random commands in RESP2 are answered as Redis answers them."""
    differential(2)


def test_random_commands_resp3():
    """The same in RESP3."""
    differential(3)


def test_command_table():
    """COMMAND INFO says about every command what Redis says."""
    redis = peer("redis-server")
    newer = {"levelget", "client|setinfo", "client|no-touch", "client|read-consistency", "join",
             "raft", "raft|address", "raft|help", "raft|nodes", "raft|remove", "raft|status",
             "raft|transfer"}
    with Server("--save", "", program=redis) as theirs, Server() as ours:
        left, right = ours.client(), theirs.client()
        names = sorted(n.decode() for n in left.cmd("COMMAND", "LIST"))
        missing = set(names) - {n.decode() for n in right.cmd("COMMAND", "LIST")} - newer
        if missing:
            raise AssertionError("Redis has no %s" % missing)
        for name in names:
            if name in newer:
                continue
            a = left.cmd("COMMAND", "INFO", name)[0]
            b = right.cmd("COMMAND", "INFO", name)[0]
            for part, (x, y) in enumerate(zip(a[:9], b[:9])):
                if part == 8:
                    y = [without_notes(spec) for spec in y]
                if sort_deep(x) != sort_deep(y):
                    raise AssertionError("%s, part %d: %r is not %r" % (name, part, x, y))
            compare_docs(name, left.cmd("COMMAND", "DOCS", name), right.cmd("COMMAND", "DOCS", name))


def without_notes(spec):
    """A key specification without its sentence."""
    return spec[2:] if spec[0] == b"notes" else spec


def sort_deep(value):
    if isinstance(value, list):
        return sorted((sort_deep(v) for v in value), key=repr)
    return value


def compare_docs(name, left, right):
    """All facts; the sentences are our own."""
    a, b = docs_map(left[1]), docs_map(right[1])
    for field in ("since", "group", "deprecated_since", "arguments"):
        if a.get(field) != b.get(field):
            raise AssertionError("%s %s: %r is not %r" % (name, field, a.get(field), b.get(field)))


def docs_map(flat):
    return {flat[i].decode(): flat[i + 1] for i in range(0, len(flat), 2)}


if __name__ == "__main__":
    main(globals())
