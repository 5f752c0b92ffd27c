"""redis_suite.py - the parts of scripts/redis-suite after the downloads.

A test of the suite is excluded if it, or code outside of tests earlier in
its section of the file, sends a command that the reference server has and
walkerdb's COMMAND does not list, or asks COMMAND about one. (The suite gives a section up at the first
error outside of a test, so the tests after it can't be reached.) So is a test
that needs what an excluded one leaves behind: real Redis fails it too when
the excluded tests are left out, which is tried. Every other test that real
Redis passes (the baseline) must pass.
"""

import argparse
import hashlib
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import time

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
sys.path.insert(0, os.path.join(ROOT, "test", "lib"))
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from suite_record import VERSION, Recorder  # noqa: E402
from wdbtest import Server  # noqa: E402

SOURCE = os.path.join(ROOT, "build", "redis-source", "redis-7.0.15")
WORK = os.path.join(ROOT, "build", "redis-suite")
SHARED = os.environ.get("WDB_SHARED", os.path.join(ROOT, "..", "shared"))
REDIS = os.path.join(ROOT, "build", "peers", "bin", "redis-server")
PROFILE = ["--durable", "--verbose", "--tags", "-slow -needs:debug"]
RECORD_TIMEOUT_S = 900


def listed_commands(server):
    """(all names, the containers among them) as COMMAND tells them."""
    names, containers = set(), set()
    with server.client() as client:
        for entry in client.cmd("COMMAND"):
            name = entry[0].decode().lower()
            names.add(name)
            for sub in entry[9] if len(entry) > 9 else []:
                names.add(sub[0].decode().lower())
                containers.add(name)
    server.clients.clear()
    return names, containers


def redis_server():
    return Server("--save", "", "--loglevel", "warning", program=REDIS)


def record(files):
    """commands.json: {"version": n, "names": [...], "files": {FILE: [step...]}}"""
    path = os.path.join(WORK, "commands.json")
    known = {}
    if os.path.exists(path):
        with open(path, encoding="utf8") as file:
            known = json.load(file)
    if known.get("version") != VERSION:
        known = {"version": VERSION, "names": [], "files": {}}
    todo = [f for f in files if f not in known["files"]]
    if todo:
        print("recording the commands of %d files with redis-server" % len(todo))
    for name in todo:
        start = time.monotonic()
        with redis_server() as server:
            names, containers = listed_commands(server)
            recorder = Recorder(server.port, containers)
            complete = recorder.run(SOURCE, name, PROFILE, RECORD_TIMEOUT_S)
        steps = recorder.result()
        if not complete:
            print("  %s did not end properly: %s" % (name, recorder.reports[-1:]))
            continue
        known["names"] = sorted(names)
        known["files"][name] = steps
        print("  %-30s %4d tests %6.1f s" % (
            name, sum(1 for s in steps if s["test"]), time.monotonic() - start), flush=True)
        with open(path + ".tmp", "w", encoding="utf8") as file:
            json.dump(known, file, indent=1, sort_keys=True)
        os.replace(path + ".tmp", path)
    return known


def excluded_tests(steps, reference, listed):
    """{test: missing commands}, and the tests that must run."""
    excluded, wanted = {}, set()
    section, outside = None, set()
    for step in steps:
        if step["section"] != section:
            section, outside = step["section"], set()
        missing = {c for c in step["commands"]
                   if c in reference and c not in listed}
        if step["test"] is None:
            outside |= missing
        elif missing or outside:
            excluded[step["test"]] = sorted(missing or outside)
        else:
            wanted.add(step["test"])
    # A name that occurs twice is wanted if one of its tests is.
    for name in wanted:
        excluded.pop(name, None)
    return excluded, wanted


def run_file(name, excluded, baseline_path, program, extra):
    """Run one file with the shared runner; the set of tests that passed."""
    log_dir = os.path.join(WORK, "logs")
    os.makedirs(log_dir, exist_ok=True)
    skip_path = os.path.join(log_dir, name.replace("/", "_") + ".skip")
    save_path = os.path.join(log_dir, name.replace("/", "_") + ".passed.json")
    out_path = os.path.join(log_dir, name.replace("/", "_") + ".out")
    with open(skip_path, "w", encoding="latin1") as file:
        file.write("\n".join(sorted(excluded)))
    if os.path.exists(save_path):
        os.unlink(save_path)
    server = Server(*extra, program=program)
    # How the runner brings the server back when a test has killed it.
    restart = os.path.join(log_dir, "restart.sh")
    with open(restart, "w", encoding="utf8") as file:
        file.write("#!/bin/sh\n%s </dev/null >>%s 2>&1 &\necho $! >>%s\n" % (
            shlex.join(server.command()), server.log_path, restart + ".pids"))
    os.chmod(restart, 0o755)
    env = dict(os.environ, PROFILE="nodebug", BASELINE=baseline_path,
               SAVE=save_path, LOGDIR=log_dir, RESTART=restart, STALL="150",
               EXTRA="--skipfile " + skip_path)
    try:
        with open(out_path, "wb") as out:
            subprocess.run(
                [os.path.join(SHARED, "tools", "run_redis_suite.sh"),
                 "127.0.0.1", str(server.port), SOURCE, name],
                stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=env, check=False)
    finally:
        stop(server, restart + ".pids")
    if not os.path.exists(save_path):
        return set(), out_path
    with open(save_path, encoding="utf8") as file:
        return set(json.load(file).get(name, [])), out_path


def dependents(name, excluded, wanted, baseline_path):
    """The wanted tests that real Redis fails when the excluded are left out;
    twice, so that nothing is left out because of an accident."""
    path = os.path.join(WORK, "dependents.json")
    known = {}
    if os.path.exists(path):
        with open(path, encoding="utf8") as file:
            known = json.load(file)
    key = name + " " + hashlib.sha1("\n".join(sorted(excluded)).encode()).hexdigest()
    if key not in known:
        left = wanted
        for _ in range(2):
            if left:
                passed, _out = run_file(name, excluded, baseline_path, REDIS,
                                        ["--save", "", "--loglevel", "warning"])
                left = left - passed
        known[key] = sorted(left)
        with open(path, "w", encoding="utf8") as file:
            json.dump(known, file, indent=1, sort_keys=True)
    return set(known[key])


def stop(server, pids_path):
    """Stop the server, and those that the runner started in its place."""
    crashed = server.process.poll() is not None
    if not crashed:
        server.kill(signal.SIGKILL)
    if os.path.exists(pids_path):
        with open(pids_path, encoding="utf8") as file:
            for pid in file.read().split():
                try:
                    os.kill(int(pid), signal.SIGKILL)
                except OSError:
                    pass
        os.unlink(pids_path)
    if crashed:
        print("    the server ended by itself; log: %s" % server.log_path)
        return
    server.process = None
    server.__exit__(None)


def explain(out_path, failed):
    with open(out_path, encoding="utf8", errors="replace") as file:
        text = file.read()
    for name in sorted(failed):
        kind = "not reached"
        if "    FAIL %s\n" % name in text:
            kind = "failed"
        elif "    HUNG %s\n" % name in text:
            kind = "hung"
        print("    %s: %s" % (kind, name))
    for line in re.findall(r"^    EXC .*|^    FAIL outside.*", text, re.M):
        print(line[:300])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("files", nargs="*")
    parser.add_argument("--record", action="store_true",
                        help="only record the commands of the tests")
    parser.add_argument("--program", default=None, help="the server to test")
    parser.add_argument("--server-args", default="", help="its arguments")
    parser.add_argument("--show-excluded", action="store_true")
    options = parser.parse_args()
    os.makedirs(WORK, exist_ok=True)
    baseline_path = os.path.join(SHARED, "compat", "redis7015_nodebug.json")
    with open(baseline_path, encoding="utf8") as file:
        baseline = json.load(file)
    files = options.files or [f for f in baseline if baseline[f]]
    known = record(files)
    if options.record:
        return 0
    extra = shlex.split(options.server_args)
    with Server(*extra, program=options.program) as server:
        listed, _ = listed_commands(server)
    reference = set(known["names"])
    print("%-32s %6s %6s %8s %6s" % ("file", "passed", "failed", "excluded", "sec"))
    totals = [0, 0, 0]
    for name in files:
        if name not in known["files"]:
            continue
        start = time.monotonic()
        excluded, _ = excluded_tests(known["files"][name], reference, listed)
        names = set(baseline.get(name, []))
        wanted = names - set(excluded)
        dependent = set()
        if excluded and wanted:
            dependent = dependents(name, excluded, wanted, baseline_path)
            wanted -= dependent
        passed, out_path = set(), None
        if wanted:
            # The dependent tests run, too, as they did on real Redis.
            passed, out_path = run_file(name, excluded, baseline_path,
                                        options.program, extra)
        for test in dependent:
            excluded[test] = ["what an excluded test leaves behind"]
        failed = wanted - passed
        row = [len(wanted) - len(failed), len(failed), len(names - wanted)]
        totals = [a + b for a, b in zip(totals, row)]
        print("%-32s %6d %6d %8d %6.1f" % (
            (name,) + tuple(row) + (time.monotonic() - start,)), flush=True)
        if failed:
            explain(out_path, failed)
        if options.show_excluded:
            for test, missing in sorted(excluded.items()):
                print("    excluded: %s (%s)" % (test, ", ".join(missing)))
    print("%-32s %6d %6d %8d" % (("all",) + tuple(totals)))
    print("%d passed, %d failed" % (totals[0], totals[1]))
    return 1 if totals[1] else 0


if __name__ == "__main__":
    sys.exit(main())
