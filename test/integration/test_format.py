"""test_format.py - doc/format.md tells what is in the files, to the byte."""

import glob
import json
import os
import re
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import wdbformat  # noqa: E402
from wdbtest import BIN, ROOT, check, check_eq, main  # noqa: E402

GOLDEN = os.path.join(ROOT, "test", "golden", "v1", "database")
PAGE = os.path.join(ROOT, "doc", "format.md")


def load(name):
    with open(os.path.join(GOLDEN, name), "rb") as file:
        return file.read()


def segment_name(segment):
    return "%016x.%s" % (segment["id"], {1: "log", 2: "mrg"}[segment["kind"]])


def test_second_reader_agrees():
    """A reader made from the page finds the records that walkerdb-check dumps."""
    out = subprocess.run([os.path.join(BIN, "walkerdb-check"), "--json", "--dump", GOLDEN],
                         stdout=subprocess.PIPE, check=True).stdout.decode()
    dumped = [json.loads(line) for line in out.splitlines()]
    dumped = [line for line in dumped if line.pop("event") == "record"]
    found = []
    manifest = wdbformat.read_manifest(load("MANIFEST"))
    for segment in manifest["segments"]:
        name = segment_name(segment)
        header, entries = wdbformat.read_segment(load(name), segment)
        check_eq((header["id"], header["kind"], header["nonce"]),
                 (segment["id"], segment["kind"], manifest["nonce"]))
        for entry in entries:
            for record in entry["records"]:
                found.append(dict(record, file=name))
    check_eq(found, dumped)
    check_eq(manifest["raft"], b"opaque")


def test_hints_agree():
    """The same for hints: they list the records of their segments."""
    manifest = wdbformat.read_manifest(load("MANIFEST"))
    for segment in manifest["segments"]:
        if not segment["sealed"]:
            continue
        header, items = wdbformat.read_hint(load("%016x.hint" % segment["id"]))
        _, entries = wdbformat.read_segment(load(segment_name(segment)), segment)
        check_eq(header["size_used"], segment["size_used"])
        expected = []
        for entry in entries:
            for record in entry["records"]:
                expected.append({key: record[key] for key in record
                                 if key not in ("value", "index", "place")})
        check_eq(items, expected)


def test_cluster_agrees():
    """The reader made from the page sees in a member's directory, and in the
    messages, what walkerdb-check and the C code do."""
    directory = os.path.join(os.path.dirname(GOLDEN), "cluster")
    out = subprocess.run([os.path.join(BIN, "walkerdb-check"), "--json", "--dump", directory],
                         stdout=subprocess.PIPE, check=True).stdout.decode()
    lines = [json.loads(line) for line in out.splitlines()]
    cluster = [line for line in lines if line["event"] == "cluster"][0]
    changes = [line for line in lines if line["event"] == "change"]
    manifest = wdbformat.read_manifest(load("../cluster/MANIFEST"))
    base = wdbformat.read_base(manifest["raft"])
    base.pop("members")
    check_eq(cluster["base"], base)
    identity = wdbformat.read_identity(load("../cluster/raft-identity"))
    check_eq(cluster["identity"], dict(identity, file="raft-identity"))
    log = load("../cluster/0000000000000001.log")
    for change in changes:
        payload = log[change["offset"] + wdbformat.OVERHEAD:change["offset"] + change["size"]]
        found = wdbformat.read_configuration(payload)
        check_eq({key: change[key] for key in found}, found)
    check_eq(len(changes), 2)
    check_eq({key: cluster["configuration"][key] for key in found}, found)
    messages = load("../raft-messages")
    at, kinds = 0, []
    while at < len(messages):
        message, size = wdbformat.read_message(messages, at)
        kinds.append(message[0])
        at += size
    check_eq(kinds, list(range(1, 12)))


def test_worked_example():
    """Every line of a hex dump on the page is in the golden files."""
    with open(PAGE, encoding="utf-8") as file:
        page = file.read()
    lines = 0
    name = None
    for line in page.split("\n"):
        match = re.match(r"^\$ xxd .*?([0-9A-Za-z.]+)$", line)
        if match:
            name = match.group(1)
        match = re.match(r"^([0-9a-f]{8}): ((?:[0-9a-f]{2,4} ?)+) ", line)
        if match:
            check(name is not None, "a dump without a file")
            offset = int(match.group(1), 16)
            expected = bytes.fromhex(match.group(2).replace(" ", ""))
            check_eq(load(name)[offset:offset + len(expected)], expected,
                     "%s:%x" % (name, offset))
            lines += 1
    check(lines > 10, "%d lines" % lines)


def test_sizes():
    """Sizes that the code asserts are the ones that the reader uses."""
    sizes = {}
    for path in glob.glob(os.path.join(ROOT, "src", "*", "*.[ch]")):
        with open(path, encoding="utf-8") as file:
            for match in re.finditer(r'static_assert\(sizeof\(struct (\w+)\) == (\d+), "on disk"\)',
                                     file.read()):
                sizes[match.group(1)] = int(match.group(2))
    check_eq(sizes["wdb_segment_header"], 64)
    check_eq(sizes["wdb_frame"] + sizes["wdb_entry_header"], wdbformat.OVERHEAD)
    check_eq(sizes["wdb_record_header"], 24)
    check_eq(sizes["segment_image"], 80)
    check_eq(sizes["block_header"], 24)


if __name__ == "__main__":
    main(globals())
