"""test_check.py - walkerdb-check: every damage is found, what is right is saved."""

import json
import os
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import wdbformat  # noqa: E402
from wdbtest import BIN, ROOT, check, check_eq, main  # noqa: E402

GOLDEN = os.path.join(ROOT, "test", "golden", "v1", "database")
TOOL = os.path.join(BIN, "walkerdb-check")
MERGED = "0000000000000002.mrg"
SEALED = "0000000000000003.log"
OPEN = "0000000000000004.log"
HEADER = 4096


class Copy:
    """A copy of the golden database that may be damaged."""

    def __enter__(self):
        self.top = tempfile.mkdtemp(prefix="wdb-check-")
        self.dir = os.path.join(self.top, "db")
        shutil.copytree(GOLDEN, self.dir)
        return self

    def __exit__(self, *unused):
        shutil.rmtree(self.top)

    def path(self, name):
        return os.path.join(self.dir, name)

    def size(self, name):
        return os.path.getsize(self.path(name))

    def flip(self, name, offset, bit=0):
        with open(self.path(name), "r+b") as file:
            file.seek(offset)
            byte = file.read(1)[0]
            file.seek(offset)
            file.write(bytes([byte ^ 1 << bit]))

    def snapshot(self):
        content = {}
        for name in sorted(os.listdir(self.dir)):
            with open(self.path(name), "rb") as file:
                content[name] = file.read()
        return content


def run(*arguments):
    done = subprocess.run([TOOL] + list(arguments), stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, timeout=60, check=False)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def run_json(*arguments):
    code, out, err = run("--json", *arguments)
    check(code in (0, 1), err)
    return code, [json.loads(line) for line in out.splitlines()]


def events(lines, kind):
    return [line for line in lines if line["event"] == kind]


def keys_of(directory):
    """The live keys of database id 1, by a replay of the dump."""
    _, lines = run_json("--dump", directory)
    keys = {}
    for record in events(lines, "record"):
        if record["database"] != 1:
            continue
        if record["kind"] == "put":
            keys[record["key"]] = record["value"]
        elif record["kind"] == "delete":
            keys.pop(record["key"], None)
    return keys


ALL = {"session": "0123456789abcdef", "object": "header", "last": "three",
       "two": "a value", "three": "a value", "four": "a value", "five": "a value"}


def test_clean():
    """The golden database is clean, and its figures are right."""
    code, lines = run_json(GOLDEN)
    check_eq(code, 0)
    check_eq(len(lines), 1)
    summary = lines[0]
    check_eq([summary[key] for key in ("segments", "hints", "entries", "records", "keys",
                                       "keys_with_expiry", "tombstones")],
             [3, 2, 9, 13, 7, 1, 2])
    check_eq(summary["databases"], {"0": 7})
    check_eq(keys_of(GOLDEN), ALL)
    code, out, err = run("--dump", GOLDEN)
    check_eq((code, err), (0, ""))
    check('8.1 put db=1 key="last" value="two" at ' + SEALED in out)
    check("clean" in out)


def test_nothing_changes():
    """The checked directory stays as it is, whatever is asked for."""
    with Copy() as copy:
        before = copy.snapshot()
        run(copy.dir)
        run("--dump", "--repair", os.path.join(copy.top, "new"), copy.dir)
        check_eq(copy.snapshot(), before)


def test_every_flip_is_found():
    """One flipped bit anywhere in what is used, and the status is 1; in an
    entry that was never durable it is a torn end, which is no damage."""
    with Copy() as copy:
        whole = [("MANIFEST", 0, copy.size("MANIFEST")),
                 (MERGED, 0, copy.size(MERGED)),
                 ("0000000000000002.hint", 0, copy.size("0000000000000002.hint")),
                 ("0000000000000003.hint", 0, copy.size("0000000000000003.hint")),
                 (SEALED, 0, 4800), (OPEN, 0, 4360)]
        for name, first, end in whole:
            # Inside of a header's zeros a few are enough.
            places = [n for n in range(first, end)
                      if not (64 < n < HEADER and name != "MANIFEST") or n % 509 == 0]
            for n in places[::3]:
                copy.flip(name, n, n % 8)
                code, out, err = run(copy.dir)
                check_eq(code, 1, "%s:%d\n%s%s" % (name, n, out, err))
                check("problem: " + name in out, out)
                copy.flip(name, n, n % 8)
        for n in range(4360, 4496, 5):
            copy.flip(OPEN, n)
            code, out, _ = run(copy.dir)
            check_eq(code, 0, str(n))
            check("torn at 4360" in out, out)
            copy.flip(OPEN, n)
        check_eq(run(copy.dir)[0], 0)


def test_missing_and_short_files():
    """Files that are gone, empty, cut off or exchanged are found."""
    for name in (MERGED, SEALED, OPEN, "MANIFEST"):
        with Copy() as copy:
            os.unlink(copy.path(name))
            check_eq(run(copy.dir)[0], 1, name)
        for size in (0, 10, 4096, 4200):
            with Copy() as copy:
                os.truncate(copy.path(name), size)
                check_eq(run(copy.dir)[0], 1, "%s cut to %d" % (name, size))
    with Copy() as copy:
        shutil.copy(copy.path(SEALED), copy.path(OPEN))
        check_eq(run(copy.dir)[0], 1)


def test_leftovers_are_no_damage():
    """What recovery deletes or leaves alone is a note."""
    with Copy() as copy:
        names = ["00000000000000ff.log", "00000000000000ff.hint", "MANIFEST.tmp",
                 "0000000000000003.cut-0", "somebody.else"]
        for name in names:
            with open(copy.path(name), "wb") as file:
                file.write(b"whatever")
        code, lines = run_json(copy.dir)
        check_eq(code, 0)
        check_eq(sorted(n["file"] for n in events(lines, "note")), sorted(names))


def test_stale_hint():
    """A sound hint of another state is a note; one that lies is damage."""
    with Copy() as copy:
        shutil.copy(copy.path("0000000000000002.hint"), copy.path("0000000000000003.hint"))
        code, lines = run_json(copy.dir)
        check_eq(code, 0)
        check_eq(events(lines, "note")[0]["file"], "0000000000000003.hint")


def repaired(copy, expected_code=1):
    dest = os.path.join(copy.top, "new")
    code, out, err = run("--repair", dest, copy.dir)
    check_eq(code, expected_code, out + err)
    check_eq(run(dest)[0], 0)
    return keys_of(dest)


def test_repair_of_a_clean_database():
    """All records come over."""
    with Copy() as copy:
        check_eq(repaired(copy, 0), ALL)


def test_repair_saves_the_rest():
    """One damaged record is lost, and nothing else."""
    with Copy() as copy:
        copy.flip(SEALED, 4552 + 30)  # "two"
        left = dict(ALL)
        del left["two"]
        check_eq(repaired(copy), left)
    with Copy() as copy:
        copy.flip(SEALED, 4456)  # the frame of entry 8: its records are found
        check_eq(repaired(copy), ALL)
    with Copy() as copy:
        copy.flip(OPEN, 4100)  # entries behind a durable one that is damaged
        check_eq(repaired(copy), ALL)


def test_repair_without_manifest():
    """The segments tell their order themselves."""
    for name in ("MANIFEST", None):
        with Copy() as copy:
            os.unlink(copy.path("MANIFEST"))
            if name:
                copy.flip(SEALED, 50)  # the salt is found in the frames
            check_eq(repaired(copy), ALL)


def test_value_that_looks_like_a_record():
    """What is inside of a damaged value is not taken for a record."""
    with Copy() as copy:
        with open(copy.path(OPEN), "rb") as file:
            data = file.read()
        header = wdbformat.read_header(data)
        crc = int.from_bytes(data[HEADER + 8:HEADER + 12], "little")
        evil = wdbformat.make_record(1, 1, b"evil", b"should stay a value")
        content, at = b"", HEADER
        for index, records in ((10, [(b"outerkey", b"12345678" + evil), (b"tail", b"1")]),
                               (11, [(b"four", b"a value")]), (12, [(b"five", b"a value")])):
            entry = wdbformat.make_entry(
                header["salt"], at, crc, index, time_ms=1 << 41, term=2, durable=index - 1,
                records=[wdbformat.make_record(1, 1, key, value) for key, value in records])
            crc = int.from_bytes(entry[4:8], "little")
            content += entry
            at += len(entry)
        with open(copy.path(OPEN), "r+b") as file:
            file.seek(HEADER)
            file.write(content)
        check_eq(run(copy.dir)[0], 0)
        copy.flip(OPEN, HEADER + 96 + 24 + 8 + 3)
        found = repaired(copy)
        check("outerkey" not in found and "evil" not in found, found)
        check_eq([found["tail"], found["four"], found["five"]], ["1", "a value", "a value"])


def test_usage():
    """Wrong usage and trouble give status 2."""
    check_eq(run()[0], 2)
    check_eq(run("--frobnicate", GOLDEN)[0], 2)
    check_eq(run("/nonexistent")[0], 2)
    check_eq(run("--help")[0], 0)
    check_eq(run("--version")[0], 0)
    with tempfile.TemporaryDirectory() as empty:
        check_eq(run(empty)[0], 2)
    with Copy() as copy:
        check_eq(run("--repair", copy.dir, copy.dir)[0], 2)
        check_eq(run("--repair", os.path.join(copy.dir, "inside"), copy.dir)[0], 2)
        check_eq(os.path.exists(os.path.join(copy.dir, "inside")), False)


if __name__ == "__main__":
    main(globals())
