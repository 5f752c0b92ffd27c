"""test_disk_full.py - a full disk refuses writes, serves the rest, and heals.

The disk is a tmpfs of 64 MiB (that needs root). Whatever fills it, our own
data or another file, writes answer an error and are not done, reads go on,
deletes have a reserve; when there is space again, by deletes and the merge
that follows them or because the other file is gone, writes go on by
themselves. Nothing that was acknowledged is lost, also after a restart.
"""

import os
import random
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from wdbtest import (ReplyError, Server, Skip, check, check_eq, check_error,  # noqa: E402
                     main, wait_for)

SIZE = 64 << 20
VALUE = 10000
RESUME_S = 20          # a loaded machine; it is about half a second


class Disk:
    """A small file system with a server on it, and the values that it has
    acknowledged: a dictionary that every test keeps up to date."""

    def __init__(self, *args):
        if os.geteuid() != 0:
            raise Skip("a tmpfs can be mounted by root only")
        self.top = tempfile.mkdtemp(prefix="walkerdb-full-")
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=%d" % SIZE,
                               "tmpfs", self.top], check=False,
                              stderr=subprocess.PIPE)
        if done.returncode != 0:
            os.rmdir(self.top)
            raise Skip("no tmpfs: %s" % done.stderr.decode().strip())
        self.server = Server(*args, dir=os.path.join(self.top, "db"), start=False)
        self.values = {}
        self.random = random.Random(1)

    def __enter__(self):
        self.server.start()
        return self

    def __exit__(self, *error):
        try:
            self.server.__exit__(*error)
        finally:
            subprocess.run(["umount", "-l", self.top], check=True)
            os.rmdir(self.top)

    def free(self):
        stat = os.statvfs(self.top)
        return stat.f_bavail * stat.f_frsize

    def blow_up(self, left=0):
        """A file that takes all but `left` bytes."""
        path = os.path.join(self.top, "balloon")
        with open(path, "ab") as file:
            with_room = self.free() - left - (64 << 10)
            if with_room > 0:
                os.posix_fallocate(file.fileno(), file.tell(), with_room)
        return path

    def set(self, client, key, size=VALUE):
        """The reply of a SET; if it is OK, the value is expected from now on."""
        value = b"%d:" % self.random.getrandbits(60)
        value += b"v" * (size - len(value))
        reply = client.cmd("SET", key, value)
        if reply == "OK":
            self.values[key] = value
        else:
            check_error(reply, "MISCONF")
        return reply

    def fill(self, client):
        """Write until it is refused; how many keys there are then."""
        number = 0
        while self.set(client, "key:%d" % number) == "OK":
            number += 1
            check(number * VALUE < SIZE, "more was taken than there is space for")
        return number

    def delete(self, client, key):
        """Delete, again if the reserve was used up for a moment."""
        def once():
            reply = client.cmd("DEL", key)
            if isinstance(reply, ReplyError):
                check_error(reply, "MISCONF")
                return False
            check_eq(reply, 1 if key in self.values else 0)
            return True
        wait_for(once, RESUME_S, what="DEL is possible")
        self.values.pop(key, None)

    def wait_for_writes(self, client):
        wait_for(lambda: self.set(client, "again") == "OK", RESUME_S,
                 what="writes go on")

    def check_all(self, client):
        """What is there is what was acknowledged."""
        keys = sorted(self.values)
        for first in range(0, len(keys), 100):
            some = keys[first:first + 100]
            check_eq(client.cmd("MGET", *some), [self.values[key] for key in some])
        check_eq(client.cmd("DBSIZE"), len(keys))

    def check_after_restart(self, number=signal.SIGKILL):
        self.server.restart(number)
        self.check_all(self.server.client())


def test_reads_and_deletes_go_on():
    """A write is refused and not done; everything else works."""
    with Disk() as disk:
        client = disk.server.client()
        number = disk.fill(client)
        check(number * VALUE > SIZE * 3 // 4, "%d keys is not much" % number)
        check_eq(client.info("all")["store_full"], "1")
        check_error(client.cmd("SET", "large", b"v" * 1000000), "MISCONF")
        check_error(client.cmd("APPEND", "key:1", b"v" * VALUE), "MISCONF")
        check_eq(client.pipeline([("MULTI",), ("SET", "key:1", b"v" * VALUE), ("EXEC",)])[0], "OK")
        check_eq(client.cmd("EXISTS", "large", "key:%d" % number), 0)
        disk.check_all(client)
        for i in range(50):
            check_eq(client.cmd("DEL", "key:%d" % i), 1)
            del disk.values["key:%d" % i]
        disk.check_all(client)
        check_eq(client.cmd("PING"), "PONG")
        disk.check_after_restart()
        disk.check_after_restart(signal.SIGTERM)


def test_deletes_make_space():
    """Deleting every other key is enough, although no segment is all garbage."""
    with Disk("--appendfsync", "always") as disk:
        client = disk.server.client()
        number = disk.fill(client)
        for i in range(0, number, 2):
            disk.delete(client, "key:%d" % i)
        disk.wait_for_writes(client)
        for i in range(0, number // 4):
            wait_for(lambda key="new:%d" % i: disk.set(client, key) == "OK", RESUME_S)
        disk.check_all(client)
        disk.check_after_restart()


def test_flushall_makes_space():
    """FLUSHALL is possible when even the reserve of deletes is used up."""
    with Disk("--store-merge", "no") as disk:
        client = disk.server.client()
        number = disk.fill(client)
        replies = [client.cmd("DEL", "key:%d" % i) for i in range(number)]
        refused = [r for r in replies if isinstance(r, ReplyError)]
        check(refused, "the reserve is larger than the test")
        check_error(refused[0], "MISCONF")
        check_eq(client.cmd("FLUSHALL"), "OK")
        disk.values.clear()
        check_eq(client.cmd("DBSIZE"), 0)
        check_error(client.cmd("SET", "key", b"v" * VALUE), "MISCONF")
        client.cmd("CONFIG", "SET", "store-merge", "yes")
        disk.wait_for_writes(client)
        wait_for(lambda: disk.free() > SIZE // 2, RESUME_S, what="space is given back")
        check(disk.fill(client) > number * 3 // 4)
        disk.check_all(client)
        disk.check_after_restart()


def test_balloon():
    """Another file takes everything, to the last byte, and goes again."""
    with Disk() as disk:
        client = disk.server.client()
        for i in range(1000):
            check_eq(disk.set(client, "key:%d" % i), "OK")
        balloon = disk.blow_up()
        count = 0
        while disk.set(client, "more:%d" % count) == "OK":
            count += 1
        check(count * VALUE < SIZE // 8, "%d were taken without any space" % count)
        disk.check_all(client)
        disk.delete(client, "key:0")
        time.sleep(1)
        check_error(client.cmd("SET", "key:1", b"v" * VALUE), "MISCONF")
        os.unlink(balloon)
        disk.wait_for_writes(client)
        disk.check_all(client)
        disk.check_after_restart()


def test_killed_while_full():
    """A server that was killed on a full disk starts on it again."""
    with Disk("--appendfsync", "always") as disk:
        client = disk.server.client()
        disk.fill(client)
        balloon = disk.blow_up()
        for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGKILL):
            disk.check_after_restart(number)
            client = disk.server.client()
            check_error(client.cmd("SET", "large", b"v" * 2000000), "MISCONF")
            disk.delete(client, next(iter(disk.values)))
        os.unlink(balloon)
        for key in list(disk.values)[::2]:
            disk.delete(client, key)
        disk.wait_for_writes(client)
        disk.check_after_restart()


def test_churn():
    """Overwriting on a disk that is two thirds full of what is live: merges
    take turns with the log, and neither takes what the other needs."""
    with Disk("--store-merge-rate", "0") as disk:
        client = disk.server.client()
        number = 2 * SIZE // 3 // VALUE
        written, refused = 0, 0
        end = time.monotonic() + 6
        while written < number or time.monotonic() < end:
            key = "key:%d" % (written if written < number else disk.random.randrange(number))
            if disk.set(client, key) == "OK":
                written += 1
            else:
                refused += 1
                time.sleep(0.005)
                check(refused < 20000, "it does not go on")
        check(written > 2 * number, "only %d were written" % written)
        disk.wait_for_writes(client)
        disk.check_all(client)
        disk.check_after_restart()


if __name__ == "__main__":
    main(globals())
