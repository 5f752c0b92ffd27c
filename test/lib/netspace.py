"""netspace.py - one network namespace for each node, on a bridge of its own.

    with Network(3) as network:
        network.places[0].address        198.18.n.11
        network.places[0].prefix         put in front of a command line
        network.cut(0, 1)                neither hears the other
        network.cut_one_way(0, 1)        1 hears nothing of 0
        network.lose(0, 30)              0 loses 30 % of what peers send it
        network.heal()

The test itself is at network.gateway and is never cut off. What is dropped is
decided by nftables in the namespace that receives. Names begin with "wdb", the
pid of the test and a number; those of tests that are gone are removed.
"""

import itertools
import os
import re
import shutil
import subprocess
import tempfile

from wdbtest import Skip

NUMBERS = itertools.count()
MISSING = []


def run(*command, stdin=None, must_work=True):
    done = subprocess.run(list(command), input=stdin, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, check=False)
    if must_work and done.returncode != 0:
        raise RuntimeError("%s: %s" % (" ".join(command), done.stdout.decode()))
    return done.stdout.decode()


def is_alive(pid):
    return os.path.exists("/proc/%d" % pid)


def remove_stale():
    """Namespaces, bridges and mounts of tests that were killed."""
    for line in run("ip", "netns", "list", must_work=False).splitlines():
        match = re.match(r"wdb(\d+)x\w+", line)
        if match and not is_alive(int(match.group(1))):
            run("ip", "netns", "del", match.group(0), must_work=False)
    links = run("ip", "-o", "link", "show", "type", "bridge", must_work=False)
    for match in re.finditer(r"^\d+: (wdb(\d+)x\w+):", links, re.M):
        if not is_alive(int(match.group(2))):
            run("ip", "link", "del", match.group(1), must_work=False)
    with open("/proc/mounts", encoding="utf8") as file:
        mounts = [line.split()[1] for line in file]
    for path in mounts:
        match = re.search(r"/walkerdb-disk-(\d+)-", path)
        if match and not is_alive(int(match.group(1))):
            run("umount", "-l", path, must_work=False)
            remove_file(path + ".img")


def remove_file(path):
    if os.path.exists(path):
        os.unlink(path)


def probe():
    """Raise Skip, with the reason, if there can be no namespaces here."""
    if not MISSING:
        MISSING.append(what_is_missing())
    if MISSING[0]:
        raise Skip(MISSING[0])


def what_is_missing():
    if os.geteuid() != 0:
        return "network namespaces need root"
    for program in ("ip", "nft", "nsenter"):
        if not shutil.which(program):
            return "no program %s (iproute2, nftables, util-linux)" % program
    name = "wdb%dxp" % os.getpid()
    try:
        run("ip", "netns", "add", name)
        run("ip", "link", "add", name, "type", "bridge")
        run("ip", "link", "add", name + "v", "type", "veth", "peer", "name", name + "w")
        run("nsenter", "--net=/run/netns/" + name, "nft", "-f", "-",
            stdin=rules([], 10, ["192.0.2.1"]))
    except (RuntimeError, OSError) as error:
        return "no network namespaces with nftables here: %s" % error
    finally:
        run("ip", "link", "del", name + "v", must_work=False)
        run("ip", "link", "del", name, must_work=False)
        run("ip", "netns", "del", name, must_work=False)
    return None


def rules(blocked, loss_percent, peers):
    """The whole table of one namespace; loading it replaces what was."""
    lines = ["table ip wdb {}", "flush table ip wdb", "table ip wdb {",
             "chain input { type filter hook input priority 0; policy accept;"]
    if blocked:
        lines.append("ip saddr { %s } drop" % ", ".join(sorted(blocked)))
    if loss_percent and peers:
        lines.append("ip saddr { %s } numgen random mod 100 < %d drop" % (
            ", ".join(sorted(peers)), loss_percent))
    return ("\n".join(lines) + "\n}\n}\n").encode()


class Place:
    """A namespace: where one node lives."""

    def __init__(self, name, address):
        self.name = name
        self.address = address
        self.path = "/run/netns/" + name
        self.prefix = ["nsenter", "--net=" + self.path]
        self.blocked = set()
        self.loss_percent = 0


class Network:
    def __init__(self, count):
        probe()
        remove_stale()
        self.name = "wdb%dx%d" % (os.getpid(), next(NUMBERS))
        self.places = []
        self.subnet = self.free_subnet()
        self.gateway = self.subnet + ".1"
        try:
            run("ip", "link", "add", self.name, "type", "bridge")
            run("ip", "addr", "add", self.gateway + "/24", "dev", self.name)
            run("ip", "link", "set", self.name, "up")
            for _ in range(count):
                self.add()
        except BaseException:
            self.close()
            raise

    @staticmethod
    def free_subnet():
        taken = run("ip", "-o", "-4", "addr")
        for step in range(250):
            subnet = "198.18.%d" % ((os.getpid() + step) % 250)
            if " %s." % subnet not in taken:
                return subnet
        raise Skip("no free network 198.18.n.0/24")

    def add(self):
        """One more namespace on the bridge."""
        number = len(self.places)
        place = Place("%sn%d" % (self.name, number), "%s.%d" % (self.subnet, 11 + number))
        self.places.append(place)
        run("ip", "netns", "add", place.name)
        outer = "%sv%d" % (self.name, number)
        run("ip", "link", "add", outer, "type", "veth", "peer", "name", "eth0",
            "netns", place.name)
        run("ip", "link", "set", outer, "master", self.name, "up")
        inside = place.prefix + ["ip"]  # "ip -n" would mount, which may not be allowed
        run(*inside, "addr", "add", place.address + "/24", "dev", "eth0")
        run(*inside, "link", "set", "eth0", "up")
        run(*inside, "link", "set", "lo", "up")
        self.load(place)
        return place

    def load(self, place):
        peers = [p.address for p in self.places if p is not place]
        run(*place.prefix, "nft", "-f", "-",
            stdin=rules(place.blocked, place.loss_percent, peers))

    def cut_one_way(self, sender, receiver):
        """What the one sends does not reach the other."""
        place = self.places[receiver]
        place.blocked.add(self.places[sender].address)
        self.load(place)

    def cut(self, one, other):
        self.cut_one_way(one, other)
        self.cut_one_way(other, one)

    def split(self, *groups):
        """Nodes of different groups do not reach each other."""
        for one, other in itertools.combinations(groups, 2):
            for a, b in itertools.product(one, other):
                self.cut(a, b)

    def isolate(self, number):
        self.split([number], [n for n in range(len(self.places)) if n != number])

    def lose(self, number, percent):
        self.places[number].loss_percent = percent
        self.load(self.places[number])

    def heal(self):
        for place in self.places:
            if place.blocked or place.loss_percent:
                place.blocked.clear()
                place.loss_percent = 0
                self.load(place)

    def close(self):
        for place in self.places:
            run("ip", "netns", "del", place.name, must_work=False)
        run("ip", "link", "del", self.name, must_work=False)

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.close()


class Disk:
    """A small file system that can be filled: tmpfs, or ext4 in a file (where
    a sync means something)."""

    def __init__(self, size_mib, kind="tmpfs"):
        if os.geteuid() != 0:
            raise Skip("mounting needs root")
        self.path = tempfile.mkdtemp(prefix="walkerdb-disk-%d-" % os.getpid())
        self.image = None
        try:
            if kind == "tmpfs":
                run("mount", "-t", "tmpfs", "-o", "size=%dm" % size_mib, "none", self.path)
            else:
                self.image = self.path + ".img"
                with open(self.image, "wb") as file:
                    file.truncate(size_mib << 20)
                run("mkfs.ext4", "-q", "-m", "0", self.image)
                run("mount", "-o", "loop", self.image, self.path)
        except (RuntimeError, OSError) as error:
            self.close()
            raise Skip("no mounts here: %s" % error) from error

    def fill(self, leave_bytes=0):
        """Take what is free, but for so much."""
        free = shutil.disk_usage(self.path).free - leave_bytes
        with open(os.path.join(self.path, "balloon"), "ab") as file:
            while free > 0:
                try:
                    end = file.seek(0, os.SEEK_END)
                    os.posix_fallocate(file.fileno(), end, free)
                    break
                except OSError:
                    free //= 2

    def free(self):
        remove_file(os.path.join(self.path, "balloon"))

    def close(self):
        run("umount", "-l", self.path, must_work=False)
        shutil.rmtree(self.path, ignore_errors=True)
        if self.image:
            remove_file(self.image)
