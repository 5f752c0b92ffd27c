"""test_bit_flips.py - damage in any file is found, and never served.

A database with every kind of file is made once. Then bits are flipped,
sectors zeroed and blocks exchanged at random places: in a stopped database
(walkerdb-check must find each, a start must refuse and say where, or do
without the file if it is a hint), and under a running server. Last, syncs and
writes that fail (strace makes them): the server stops and says why, and what
it had acknowledged is there afterwards. WDB_TEST_ROUNDS multiplies the
number of places, WDB_TEST_SEED moves them.
"""

import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from kill9 import Writer, check_writer  # noqa: E402
from wdbtest import (BIN, Client, ReplyError, Server, Skip, check, check_eq,  # noqa: E402
                     check_error, main, wait_for)

ROUNDS = int(os.environ.get("WDB_TEST_ROUNDS", "1"))
SEED = int(os.environ.get("WDB_TEST_SEED", "1"))
HEADER = 4096
KEYS = 1500
ARGS = ("--store-segment-size", "1mb", "--io-threads", "1")


class Template:
    """A stopped database with all kinds of files, and what it holds."""

    made = None

    def __init__(self):
        self.top = tempfile.mkdtemp(prefix="walkerdb-flips-")
        self.dir = os.path.join(self.top, "db")
        self.values = {}
        with Server(*ARGS, dir=self.dir) as server:
            self.fill(server.client(), server)
            check_eq(server.stop(), 0)
        self.open = self.without_hint(self.dir)[0]
        backups = os.path.join(self.dir, "backups")
        self.backup = os.path.join(self.top, "backup")
        os.rename(os.path.join(backups, os.listdir(backups)[0]), self.backup)
        os.rmdir(backups)

    def put(self, client, first, end, step=1):
        for i in range(first, end, step):
            value = b"%d:" % i + os.urandom(500 + i % 1000)
            self.values["key:%d" % i] = value
            check_eq(client.cmd("SET", "key:%d" % i, value), "OK")

    def fill(self, client, server):
        self.put(client, 0, KEYS)
        self.put(client, 0, KEYS, 2)
        for i in range(0, KEYS // 5):
            client.cmd("DEL", "key:%d" % i)
            del self.values["key:%d" % i]
        client.cmd("BGREWRITEAOF")
        self.wait(client, lambda i: i["store_merges"] != "0" and i["store_merge_running"] == "0")
        self.put(client, KEYS * 2 // 3, KEYS * 2)
        client.cmd("BGSAVE")
        self.wait(client, lambda i: i["rdb_bgsave_in_progress"] == "0")
        self.put(client, KEYS * 3 // 2, KEYS * 3 // 2 + 50)
        wait_for(lambda: len(self.without_hint(server.dir)) == 1,
                 what="hints of all sealed segments")

    @staticmethod
    def wait(client, condition):
        wait_for(lambda: condition(client.info("all")), 30, what="background work")

    @staticmethod
    def without_hint(directory):
        """Segments that have entries, but no hint: in the end, the open one."""
        names = os.listdir(directory)
        found = []
        for name in names:
            if name.endswith((".log", ".mrg")) and name[:16] + ".hint" not in names:
                with open(os.path.join(directory, name), "rb") as file:
                    file.seek(HEADER)
                    if file.read().rstrip(b"\0"):
                        found.append(name)
        return found

    @classmethod
    def get(cls):
        if cls.made is None:
            cls.made = Template()
        return cls.made


class Copy:
    """A copy of the template (or its backup) that may be damaged."""

    def __init__(self, rng, hints=True, backup=False):
        self.random = rng
        template = Template.get()
        self.values = template.values
        self.dir = tempfile.mkdtemp(prefix="walkerdb-flipped-")
        source = template.backup if backup else template.dir
        for name in os.listdir(source):
            if hints or not name.endswith(".hint"):
                shutil.copy(os.path.join(source, name), self.dir)

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        shutil.rmtree(self.dir)

    def names(self, ending):
        return sorted(n for n in os.listdir(self.dir) if n.endswith(ending))

    def used_segments(self):
        return sorted(Template.without_hint(self.dir) + [
            n for n in self.names((".log", ".mrg")) if n[:16] + ".hint" in self.names(".hint")])

    def damage(self, name, first=0, end=None):
        """Some damage to what is used of a file; what and where."""
        path = os.path.join(self.dir, name)
        with open(path, "rb") as file:
            old = file.read()
        used = len(old.rstrip(b"\0"))
        short, end = end is not None, end or used
        new = bytearray(old)
        while True:
            at = self.random.randrange(first, end)
            kind = "bit" if short else self.random.choice(
                ("bit", "bit", "sector", "blocks"))
            if kind == "bit":
                new[at] ^= 1 << self.random.randrange(8)
            elif kind == "sector" and at - at % 512 >= first:
                at -= at % 512
                new[at:min(at + 512, end)] = bytes(min(512, end - at))
            elif kind == "blocks" and used > 4 * 4096:
                at = self.random.randrange(-(-first // 4096), used // 4096)
                other = self.random.randrange(-(-first // 4096), used // 4096)
                a, b = slice(at * 4096, at * 4096 + 4096), slice(other * 4096, other * 4096 + 4096)
                new[a], new[b] = new[b], new[a]
                at = min(at, other) * 4096
            if new != old:
                break
        with open(path, "r+b") as file:
            for i in range(0, len(new), 4096):
                if new[i:i + 4096] != old[i:i + 4096]:
                    file.seek(i)
                    file.write(new[i:i + 4096])
        return "%s in %s at %d" % (kind, name, at)

    def check_finds(self, name, what):
        """walkerdb-check sees it, and names the file."""
        done = subprocess.run([os.path.join(BIN, "walkerdb-check"), self.dir], timeout=60,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        text = done.stdout.decode()
        check_eq(done.returncode, 1, "%s: walkerdb-check says\n%s" % (what, text))
        check("problem: " + name in text, "%s: walkerdb-check says\n%s" % (what, text))

    def refuses(self, what, *patterns):
        """A start ends with an error that says where; files stay as they are."""
        before = self.content()
        server = Server(*ARGS, dir=self.dir, start=False)
        server.start(wait=False)
        try:
            code = server.process.wait(60)
            text = server.log()
        finally:
            server.kill()
            os.unlink(server.log_path)
        check(code not in (0, None) and code > 0, "%s: it ended with %s:\n%s" % (what, code, text))
        for pattern in patterns:
            check(re.search(pattern, text), "%s: no %r in\n%s" % (what, pattern, text))
        check(self.content() == before, what + ": files were changed")

    def content(self):
        """What a start that fails must leave as it is; hints may be made."""
        content = {}
        for name in self.names((".log", ".mrg", "MANIFEST")):
            with open(os.path.join(self.dir, name), "rb") as file:
                content[name] = file.read().rstrip(b"\0")
        return content

    def serves(self, what, damage_allowed):
        """All values are right, or (if allowed) an error; how many errors."""
        with Server(*ARGS, dir=self.dir) as server:
            return self.compare(server.client(), what, damage_allowed)

    def compare(self, client, what, damage_allowed):
        errors = 0
        for key, value in self.values.items():
            found = client.cmd("GET", key)
            if isinstance(found, ReplyError) and damage_allowed:
                check_error(found, "IOERR")
                errors += 1
            elif found != value:
                raise AssertionError("%s: %s is %r..." % (what, key, str(found)[:80]))
        return errors


def places(count):
    """A generator of random numbers for each of so many places."""
    for i in range(count * ROUNDS):
        yield random.Random(SEED * 1000003 + i)


def test_manifest():
    """No start with a damaged manifest."""
    for rng in places(12):
        with Copy(rng) as copy:
            what = copy.damage("MANIFEST")
            copy.check_finds("MANIFEST", what)
            copy.refuses(what, "MANIFEST.*(damaged|newer version)")


def test_hints():
    """A damaged hint is not used; nothing is missing."""
    for rng in places(12):
        with Copy(rng) as copy:
            name = rng.choice(copy.names(".hint"))
            what = copy.damage(name)
            copy.check_finds(name, what)
            copy.serves(what, False)


def test_segment_headers():
    """No start with a damaged header."""
    for rng in places(8):
        with Copy(rng) as copy:
            name = rng.choice(copy.names((".log", ".mrg")))
            what = copy.damage(name, 0, 64)
            copy.check_finds(name, what)
            copy.refuses(what, name)


def test_segments_with_hints():
    """Sealed segments are not read at the start if they have hints; what is
    damaged in them is an error when it is read, and nothing else is."""
    errors = 0
    for rng in places(10):
        with Copy(rng) as copy:
            names = [n[:16] for n in copy.names(".hint")]
            name = rng.choice([n for n in copy.names((".log", ".mrg")) if n[:16] in names])
            what = copy.damage(name, HEADER)
            copy.check_finds(name, what)
            errors += copy.serves(what, True)
    check(errors > 0, "none of it was in a live value")


def test_segments_without_hints():
    """What is scanned at the start is checked at the start."""
    for rng in places(10):
        with Copy(rng, hints=False) as copy:
            name = rng.choice(copy.used_segments())
            what = copy.damage(name, HEADER)
            copy.check_finds(name, what)
            copy.refuses(what, name + ".*offset [0-9]+")


def test_open_segment():
    """After a clean end all entries were durable: none may be missing."""
    for rng in places(10):
        with Copy(rng) as copy:
            name = Template.get().open
            what = copy.damage(name, HEADER)
            copy.check_finds(name, what)
            copy.refuses(what, name + ".*offset [0-9]+")


def test_backups():
    """The files of a backup are checked like any other."""
    for rng in places(8):
        with Copy(rng, hints=False, backup=True) as copy:
            name = rng.choice(["MANIFEST"] + copy.used_segments())
            what = copy.damage(name)
            copy.check_finds(name, what)
            copy.refuses(what, name)


def test_running_server():
    """Damage under a running server: an error for that value, others are
    served, merges and backups leave the damaged segment alone."""
    rng = random.Random(SEED)
    with Copy(rng) as copy, Server(*ARGS, dir=copy.dir) as server:
        client = server.client()
        copy.compare(client, "before", False)
        names = copy.used_segments()
        while copy.compare(client, "damage while it runs", True) == 0:
            copy.damage(rng.choice(names), HEADER)
        errors = copy.compare(client, "again", True)
        client.cmd("BGREWRITEAOF")
        Template.wait(client, lambda i: i["aof_rewrite_in_progress"] == "0" and
                      i["store_merge_running"] == "0")
        check_eq(copy.compare(client, "after a merge", True), errors)
        check_eq(client.cmd("SET", "other", "value"), "OK")
        check_eq(client.cmd("GET", "other"), b"value")


def test_file_cut_under_a_running_server():
    """Reads behind the end of a mapped file are errors, not the death of the
    process (SIGBUS)."""
    rng = random.Random(SEED)
    with Copy(rng) as copy, Server(*ARGS, dir=copy.dir) as server:
        client = server.client()
        os.truncate(os.path.join(copy.dir, copy.names(".log")[0]), HEADER)
        check(copy.compare(client, "cut off", True) > 100)
        check_eq(client.cmd("SET", "other", "value"), "OK")
        check_eq(client.cmd("GET", "other"), b"value")


# --- failing system calls --------------------------------------------------------


def strace(*injections):
    program = shutil.which("strace")
    if program is None:
        raise Skip("no strace here")
    prefix = [program, "-f", "-qq", "-o", "/dev/null"]
    names = sorted({i.split(":")[0] for i in injections})
    prefix += ["-e", "trace=" + ",".join(names)]
    for injection in injections:
        prefix += ["-e", "inject=" + injection]
    probe = subprocess.run(prefix + ["true"], stdout=subprocess.PIPE,
                           stderr=subprocess.STDOUT, timeout=60, check=False)
    if probe.returncode != 0:
        raise Skip("strace can't trace here: %s" % probe.stdout.decode()[:200])
    return prefix


def run_until_it_stops(injection, policy, pattern):
    """Load until the injected fault stops the server; then what was
    acknowledged must be there."""
    with tempfile.TemporaryDirectory(prefix="walkerdb-faults-") as top:
        directory = os.path.join(top, "db")
        args = ["--appendfsync", policy, "--io-threads", "2", "--store-segment-size", "1mb",
                "--store-sync-interval", "50"]
        server = Server(*args, dir=directory, prefix=strace(injection), start=False)
        writers = []
        try:
            server.start(wait=False)
            try:
                wait_for(server.is_ready, 60, what="server ready")
                writers = [Writer(number, SEED).again(SEED + number, server.port)
                           for number in range(3)]
            except AssertionError:      # the fault came before it was ready
                pass
            for writer in writers:
                writer.until = time.monotonic() + 60
                writer.start()
            for writer in writers:
                writer.join()
                if writer.error and "IOERR" not in str(writer.error):
                    raise writer.error
            code = server.process.wait(60)
            text = server.log()
            check_eq(code, 1, "%s, %s:\n%s" % (injection, policy, text))
            check(re.search(pattern, text), "%s, %s: no %r in\n%s" % (
                injection, policy, pattern, text))
        finally:
            server.kill()
        server.prefix = []
        problems = []
        with server.start(), Client(server.port) as client:
            for writer in writers:
                check_writer(client, writer, problems)
        check(not problems, "%s, %s: %s" % (injection, policy, problems[:3]))
        return sum(w.acknowledged for w in writers)


def shut_down(server, client):
    """A signal would reach strace."""
    client.send("SHUTDOWN")
    check_eq(server.process.wait(30), 0)
    server.process = None


def test_failing_syncs():
    """A failed sync is fatal, whichever it is; nothing acknowledged is lost."""
    strace("fdatasync:error=EIO:when=1")
    total = 0
    for number, policy in ((4, "always"), (9, "everysec"), (20 * ROUNDS, "always")):
        total += run_until_it_stops("fdatasync:error=EIO:when=%d" % number, policy,
                                    "FATAL.*failed")
    check(total > 0, "nothing was acknowledged")


def test_failing_writes():
    """So is a failed write to the log."""
    strace("pwritev:error=EIO:when=1")
    for injection, policy in (("pwritev:error=EIO:when=5", "everysec"),
                              ("pwritev:error=ENOSPC:when=20", "always")):
        run_until_it_stops(injection, policy, "FATAL.*(write|creation|replacement).*failed")


def test_interrupted_calls():
    """EINTR is no failure."""
    prefix = strace("fdatasync:error=EINTR:when=2+2", "pwritev:error=EINTR:when=2+3",
                    "fallocate:error=EINTR:when=1+2", "ftruncate:error=EINTR:when=1+2")
    template = Template.get()
    with Server("--appendfsync", "always", *ARGS, prefix=prefix, start=False) as server:
        server.start()
        client = server.client()
        some = list(template.values.items())[:600]
        for key, value in some:
            check_eq(client.cmd("SET", key, value), "OK")
        for key, value in some:
            check_eq(client.cmd("GET", key), value)
        shut_down(server, client)


def test_no_space_for_segments():
    """ENOSPC where space is allocated is no failure either: writes are refused."""
    prefix = strace("fallocate:error=ENOSPC:when=3+")
    with Server("--store-segment-size", "1mb", prefix=prefix, start=False) as server:
        server.start()
        client = server.client()
        reply, count = "OK", 0
        while reply == "OK" and count < 10000:
            reply = client.cmd("SET", "key:%d" % count, b"v" * 1000)
            count += 1
        check_error(reply, "MISCONF")
        check_eq(client.cmd("GET", "key:0"), b"v" * 1000)
        check_eq(client.cmd("DEL", "key:0"), 1)
        shut_down(server, client)


def remove_template():
    if Template.made is not None:
        shutil.rmtree(Template.made.top, ignore_errors=True)


if __name__ == "__main__":
    try:
        main(globals())
    finally:
        remove_template()
