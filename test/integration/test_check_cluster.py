"""test_check_cluster.py - walkerdb-check on the directory of a cluster's member."""

import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import wdbformat  # noqa: E402
from wdbtest import BIN, ROOT, check, check_eq, main  # noqa: E402

GOLDEN = os.path.join(ROOT, "test", "golden", "v1", "cluster")
TOOL = os.path.join(BIN, "walkerdb-check")
IDENTITY = "raft-identity"
LOG = "0000000000000001.log"


class Copy:
    """A copy of the golden directory that may be changed."""

    def __enter__(self):
        self.top = tempfile.mkdtemp(prefix="wdb-check-")
        self.dir = os.path.join(self.top, "db")
        shutil.copytree(GOLDEN, self.dir)
        return self

    def __exit__(self, *unused):
        shutil.rmtree(self.top)

    def path(self, name):
        return os.path.join(self.dir, name)

    def load(self, name):
        with open(self.path(name), "rb") as file:
            return file.read()

    def store(self, name, data):
        with open(self.path(name), "wb") as file:
            file.write(data)

    def flip(self, name, offset):
        data = bytearray(self.load(name))
        data[offset] ^= 1
        self.store(name, data)

    def change_identity(self, **changes):
        slot = wdbformat.make_identity_slot(self.load(IDENTITY)[:512], **changes)
        self.store(IDENTITY, (slot + bytes(4096 - 512)) * 2)

    def change_base(self, **changes):
        """The manifest with fields of its base set anew, and right checksums."""
        places = {"index": 16, "term": 24, "members_index": 40}
        data = bytearray(self.load("MANIFEST"))
        at = 120 + 80
        size, = struct.unpack_from("<I", data, 116)
        for name, value in changes.items():
            struct.pack_into("<Q", data, at + places[name], value)
        struct.pack_into("<I", data, at + size - 4,
                         wdbformat.crc32c(bytes(data[at:at + size - 4])))
        self.seal_manifest(data)

    def seal_manifest(self, data):
        struct.pack_into("<I", data, len(data) - 4, wdbformat.crc32c(bytes(data[:-4])))
        self.store("MANIFEST", data)


def run(*arguments):
    done = subprocess.run([TOOL] + list(arguments), stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, timeout=60, check=False)
    return done.returncode, done.stdout.decode() + done.stderr.decode()


def expect(copy, code, *parts, arguments=()):
    found, out = run(*arguments, copy.dir)
    check_eq(found, code, out)
    for part in parts:
        check(part in out, "%r is not in:\n%s" % (part, out))


def test_clean():
    """The golden member is clean; who is in its cluster is told."""
    code, out = run("--json", "--dump", GOLDEN)
    check_eq(code, 0)
    lines = [json.loads(line) for line in out.splitlines()]
    check_eq([line["event"] for line in lines],
             ["change", "record", "change", "record", "cluster", "summary"])
    cluster = lines[4]
    check_eq([(m["name"], m["role"]) for m in cluster["configuration"]["members"]],
             [("one", "voter"), ("two", "voter"), ("three", "standby")])
    check_eq([m["name"] for m in cluster["configuration"]["removed"]], ["four"])
    check_eq(cluster["configuration"]["index"], 4)
    check_eq(cluster["configuration"]["committed"], False)
    check_eq(cluster["base"]["index"], 2)
    check_eq(cluster["identity"]["name"], "one")
    check_eq(cluster["identity"]["term"], 2)
    check_eq(lines[5]["cluster"], True)
    with Copy() as copy:
        expect(copy, 0, 'standby "three" id=3333333333333333', 'removed "four"',
               'identity   "one" id=1111111111111111, term 2', "clean")
        expect(copy, 0, '4 change cluster=5ca1ab1e5ca1ab1e: voter "one"',
               arguments=["--dump"])


def test_identity_damage():
    """One bad copy of the identity is found; two are told apart from it."""
    with Copy() as copy:
        for offset in list(range(0, 512, 7)) + list(range(4096, 4608, 7)):
            copy.flip(IDENTITY, offset)
            expect(copy, 1, "problem: raft-identity: offset %d: this copy is damaged"
                   % (offset // 4096 * 4096))
            copy.flip(IDENTITY, offset)
        copy.flip(IDENTITY, 48)
        copy.flip(IDENTITY, 4096 + 48)
        expect(copy, 1, "problem: raft-identity: both of its copies are damaged")
        copy.store(IDENTITY, b"")
        expect(copy, 1, "problem: raft-identity: both of its copies are damaged")
        os.unlink(copy.path(IDENTITY))
        expect(copy, 0)
    with Copy() as copy:
        data = copy.load(IDENTITY)
        old = wdbformat.make_identity_slot(data[:512], number=6, term=1)
        copy.store(IDENTITY, data[:4096] + old + data[4608:])
        expect(copy, 0, "note: raft-identity: a crash came", "term 2")


def test_identity_of_another():
    """Identity and database must belong together, and be of one age."""
    with Copy() as copy:
        copy.change_identity(nonce=5)
        expect(copy, 1, "it belongs to another database")
        copy.change_identity(nonce=0x1122334455667788, cluster_id=5)
        expect(copy, 1, "it is of another cluster")
        copy.change_identity(cluster_id=0x5ca1ab1e5ca1ab1e, term=1)
        expect(copy, 1, "its term is 1, but the log has entries of term 2")
        copy.change_identity(term=3)
        expect(copy, 0)


def test_raftdir():
    """The identity is found in DIR/raft, or where it is said to be."""
    with Copy() as copy:
        os.mkdir(copy.path("raft"))
        os.rename(copy.path(IDENTITY), copy.path("raft/" + IDENTITY))
        expect(copy, 0, 'identity   "one"')
        copy.flip("raft/" + IDENTITY, 3)
        expect(copy, 1, "problem: raft/raft-identity: offset 0")
        other = os.path.join(copy.top, "other")
        os.rename(copy.path("raft"), other)
        code, out = run(copy.dir)
        check_eq((code, "identity" in out), (0, False))
        expect(copy, 1, "problem: %s/raft-identity: offset 0" % other,
               arguments=["--raftdir", other])


def test_base_damage():
    """A base that is damaged under a right manifest, or contradicts the log."""
    with Copy() as copy:
        data = bytearray(copy.load("MANIFEST"))
        data[120 + 80 + 20] ^= 1
        copy.seal_manifest(data)
        expect(copy, 1, "problem: MANIFEST: its part for the cluster is damaged")
    with Copy() as copy:
        copy.change_base(index=3)
        expect(copy, 1, "the base stands for entry 3, but only 2")
        copy.change_base(index=2, term=2)
        expect(copy, 1, "entry 2 is of term 1, the base says 2")


def test_no_first_configuration():
    """Without a base the log must begin with a configuration."""
    with Copy() as copy:
        data = bytearray(copy.load(LOG))
        data[4096 + 88] = 2  # a barrier, without payload
        struct.pack_into("<QII", data, 4096 + 72, 0, 0, 0)
        salt, = struct.unpack_from("<Q", data, 4096 + 40)
        struct.pack_into("<I", data, 4096 + 4,
                         wdbformat.crc32c(bytes(data[4096 + 8:4096 + 96]),
                                          wdbformat.fold(salt)))
        copy.store(LOG, data)
        text = "does not begin with a configuration"
        check(text not in run(copy.dir)[1])
        copy.change_base(index=0, term=0, members_index=0)
        expect(copy, 1, text)


def test_configuration_damage():
    """A configuration that is an entry with right checksums, but none."""
    with Copy() as copy:
        data = bytearray(copy.load(LOG))
        at = 4096 + wdbformat.OVERHEAD
        size, = struct.unpack_from("<Q", data, 4096 + 72)
        data[at] = 2
        struct.pack_into("<I", data, 4096 + 84,
                         wdbformat.crc32c(bytes(data[at:at + size])))
        salt, = struct.unpack_from("<Q", data, 4096 + 40)
        struct.pack_into("<I", data, 4096 + 4,
                         wdbformat.crc32c(bytes(data[4096 + 8:4096 + 96]),
                                          wdbformat.fold(salt)))
        copy.store(LOG, data)
        expect(copy, 1, "the configuration of entry 1 cannot be read")


def test_another_cluster_begins():
    """A cluster that was made anew out of one node is no damage."""
    with Copy() as copy:
        data = bytearray(copy.load(LOG))
        at = 4512  # the frame of entry 4; the one behind it follows its chain
        size, = struct.unpack_from("<Q", data, at + 72)
        payload = bytearray(data[at + 96:at + 96 + size])
        struct.pack_into("<Q", payload, 8, 7)
        salt, = struct.unpack_from("<Q", data, at + 40)
        struct.pack_into("<I", data, at + 84, wdbformat.crc32c(bytes(payload)))
        data[at + 96:at + 96 + size] = payload
        crc = wdbformat.crc32c(bytes(data[at + 8:at + 96]), wdbformat.fold(salt))
        struct.pack_into("<I", data, at + 4, crc)
        data[at + 96 + size:] = bytes(len(data) - at - 96 - size)
        copy.store(LOG, data)
        copy.change_identity(cluster_id=7)
        expect(copy, 0, "with entry 4 begins another cluster: 0000000000000007", "clean")


def test_files_of_a_member():
    """What a member has besides is no surprise; snapshots under way are told."""
    with Copy() as copy:
        copy.store("cluster-secret", b"secret")
        expect(copy, 0, "clean")
        check("note" not in run(copy.dir)[1])
        os.mkdir(copy.path("incoming"))
        os.mkdir(copy.path(".transfer-0000000000000001"))
        expect(copy, 0, "note: incoming: a snapshot under way",
               "note: .transfer-0000000000000001: a snapshot under way")


def test_repair():
    """The repaired copy is a standalone database with all records."""
    with Copy() as copy:
        dest = os.path.join(copy.top, "new")
        code, out = run("--repair", dest, copy.dir)
        check_eq(code, 0, out)
        code, out = run("--json", "--dump", dest)
        lines = [json.loads(line) for line in out.splitlines()]
        check_eq(code, 0, out)
        check_eq(lines[-1]["cluster"], False)
        check_eq([line["key"] for line in lines if line.get("kind") == "put"],
                 ["greeting", "farewell"])
        check_eq([line for line in lines if line["event"] == "cluster"], [])


if __name__ == "__main__":
    main(globals())
