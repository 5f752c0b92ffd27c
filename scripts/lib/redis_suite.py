"""redis_suite.py - the parts of scripts/redis-suite after the downloads.

A test of the suite is excluded if it, or code outside of tests earlier in
its section of the file, sends a command that the reference server has and
walkerdb's COMMAND does not list, or asks COMMAND about one. (The suite gives a
section up at the first error outside of a test, so the tests after it can't be
reached.) So is a test that needs what an excluded one leaves behind: real
Redis fails it too when the excluded tests are left out, which is tried. Every
other test that real Redis passes (the baseline) must pass.

Profiles are those of the shared runner: nodebug leaves out what needs DEBUG,
strict is everything that an external server can be asked.
"""

import argparse
import fcntl
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
RUNNERS = [os.path.join(SHARED, "tools", "run_redis_suite.sh"),
           os.path.join(ROOT, "scripts", "lib", "run_redis_suite.sh")]
REDIS = os.environ.get("WDB_REDIS", os.path.join(ROOT, "build", "peers", "bin", "redis-server"))
TAGS = {"nodebug": "-slow -needs:debug", "strict": "-slow"}
SERVER_ARGS = {"nodebug": [], "strict": [
    "--enable-debug-command", "yes", "--enable-protected-configs", "yes",
    "--enable-module-command", "yes"]}
REDIS_ARGS = ["--save", "", "--loglevel", "warning"]
RECORD_TIMEOUT_S = 900
# What a test expects of a server without replicas, or of the one that it talks to.
NOT_IN_A_CLUSTER = {
    "leader": {
        "exec with write commands and state change": "there are two replicas"},
    "follower": {
        "exec with write commands and state change": "there are two replicas",
        "EXEC with at least one use-memory command should fail":
            "maxmemory is that of the node that executes",
        "SETBIT/BITFIELD only increase dirty when the value changed":
            "INFO is that of the node that is asked"},
}


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


def load(path):
    if not os.path.exists(path):
        return {}
    with open(path, encoding="utf8") as file:
        return json.load(file)


def store(path, value):
    part = "%s.%d.tmp" % (path, os.getpid())
    with open(part, "w", encoding="utf8") as file:
        json.dump(value, file, indent=1, sort_keys=True)
    os.replace(part, path)


def take_log_dir():
    """build/redis-suite/logs, or logs.1 and so on while other runs have those;
    and the lock, which is held until it is closed."""
    number = 0
    while True:
        place = os.path.join(WORK, "logs" + (".%d" % number if number else ""))
        os.makedirs(place, exist_ok=True)
        lock = open(os.path.join(place, "lock"), "w", encoding="utf8")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return place, lock
        except BlockingIOError:
            lock.close()
            number += 1


class Suite:
    """The suite in one profile: what is known about it from real Redis."""

    def __init__(self, profile):
        self.profile = profile
        self.args = SERVER_ARGS[profile]
        self.log_dir, self.lock = take_log_dir()
        self.commands_path = os.path.join(WORK, "commands-%s.json" % profile)
        self.dependents_path = os.path.join(WORK, "dependents-%s.json" % profile)
        self.baseline_path = os.path.join(
            SHARED, "compat", "redis7015_%s.json" % profile)
        # {"version": n, "names": [...], "files": {FILE: {"steps", "passed"}}}
        self.known = load(self.commands_path)
        if self.known.get("version") != VERSION:
            self.known = {"version": VERSION, "names": [], "files": {}}

    def baseline(self, files):
        """{FILE: the tests that real Redis passes}. Where the figures that all
        projects share are not there, those of the recording serve."""
        if not os.path.exists(self.baseline_path):
            self.record(files or list_files())
            self.baseline_path = os.path.join(WORK, "baseline-%s.json" % self.profile)
            store(self.baseline_path, {
                name: data["passed"] for name, data in self.known["files"].items()})
        return load(self.baseline_path)

    def record(self, files):
        """Find out which commands the tests of these files send."""
        todo = [f for f in files if f not in self.known["files"]]
        if todo:
            print("recording the commands of %d files with redis-server" % len(todo))
        for name in todo:
            start = time.monotonic()
            with Server(*REDIS_ARGS, *self.args, program=REDIS) as server:
                names, containers = listed_commands(server)
                recorder = Recorder(server.port, containers)
                complete = recorder.run(SOURCE, name, [
                    "--durable", "--verbose", "--tags", TAGS[self.profile]],
                    RECORD_TIMEOUT_S)
            if not complete:
                print("  %s did not end properly: %s" % (name, recorder.reports[-1:]))
                continue
            self.known["names"] = sorted(names)
            self.known["files"][name] = {"steps": recorder.result(),
                                         "passed": recorder.passed()}
            print("  %-30s %4d tests %6.1f s" % (
                name, recorder.started, time.monotonic() - start), flush=True)
            store(self.commands_path, self.known)

    def excluded(self, name, listed):
        """{test: missing commands}"""
        reference = set(self.known["names"])
        excluded, wanted = {}, set()
        section, outside = None, set()
        for step in self.known["files"][name]["steps"]:
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
        for test in wanted:
            excluded.pop(test, None)
        return excluded

    def run_file(self, name, excluded, program, args):
        """Run one file with the runner; (tests that passed, its output)."""
        place = os.path.join(self.log_dir, name.replace("/", "_"))
        skip_path, save_path, out_path = (place + x for x in (
            ".skip", ".passed.json", ".out"))
        with open(skip_path, "w", encoding="latin1") as file:
            file.write("\n".join(sorted(excluded)))
        if os.path.exists(save_path):
            os.unlink(save_path)
        server = Server(*args, *self.args, program=program)
        # How the runner brings the server back when a test has killed it.
        restart = os.path.join(self.log_dir, "restart.sh")
        with open(restart, "w", encoding="utf8") as file:
            file.write("#!/bin/sh\n%s </dev/null >>%s 2>&1 &\necho $! >>%s\n" % (
                shlex.join(server.command()), server.log_path, restart + ".pids"))
        os.chmod(restart, 0o755)
        env = dict(os.environ, PROFILE=self.profile, BASELINE=self.baseline_path,
                   SAVE=save_path, LOGDIR=self.log_dir, RESTART=restart, STALL="150",
                   EXTRA="--skipfile " + skip_path)
        runner = next(r for r in RUNNERS if os.path.exists(r))
        try:
            with open(out_path, "wb") as out:
                subprocess.run([runner, "127.0.0.1", str(server.port), SOURCE, name],
                               stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                               env=env, check=False)
        finally:
            stop(server, restart + ".pids")
        return set(load(save_path).get(name, [])), out_path

    def dependents(self, name, excluded, wanted):
        """The wanted tests that real Redis fails when the excluded are left
        out; twice, so that nothing is left out because of an accident."""
        known = load(self.dependents_path)
        key = name + " " + hashlib.sha1("\n".join(sorted(excluded)).encode()).hexdigest()
        if key not in known:
            left = wanted
            for _ in range(2):
                if left:
                    passed, _out = self.run_file(name, excluded, REDIS, REDIS_ARGS)
                    left = left - passed
            known[key] = sorted(left)
            store(self.dependents_path, known)
        return set(known[key])


def list_files():
    """All files that the suite runs by itself."""
    with open(os.path.join(SOURCE, "tests", "test_helper.tcl"), encoding="utf8") as file:
        names = re.search(r"set ::all_tests \{(.*?)\}", file.read(), re.S).group(1)
    return [name for name in names.split() if name.startswith("unit/")
            or name == "integration/redis-cli"]


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


def score(suite, name, wanted, listed, options):
    """Run one file; (passed, failed, excluded)."""
    start = time.monotonic()
    names = set(wanted)
    excluded = suite.excluded(name, listed)
    for test, reason in NOT_IN_A_CLUSTER.get(options.cluster, {}).items():
        if test in names:
            excluded[test] = [reason]
    wanted = names - set(excluded)
    dependent = set()
    if excluded and wanted:
        dependent = suite.dependents(name, excluded, wanted)
        wanted -= dependent
    passed, out_path = set(), None
    if wanted:
        # The dependent tests run, too, as they did on real Redis.
        passed, out_path = suite.run_file(name, excluded, options.program,
                                          shlex.split(options.server_args))
    failed = wanted - passed
    row = (len(wanted) - len(failed), len(failed), len(names - wanted))
    print("%-32s %6d %6d %8d %6.1f" % ((name,) + row + (time.monotonic() - start,)),
          flush=True)
    if failed:
        explain(out_path, failed)
    for test in dependent:
        excluded[test] = ["what an excluded test leaves behind"]
    if options.show_excluded:
        for test, missing in sorted(excluded.items()):
            print("    excluded: %s (%s)" % (test, ", ".join(missing)))
    return row


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("files", nargs="*")
    parser.add_argument("--profile", choices=sorted(TAGS), default="nodebug")
    parser.add_argument("--record", action="store_true",
                        help="only record the commands of the tests")
    parser.add_argument("--program", default=None, help="the server to test")
    parser.add_argument("--server-args", default="", help="its arguments")
    parser.add_argument("--cluster", choices=("leader", "follower"),
                        help="three nodes; the tests talk to this one")
    parser.add_argument("--show-excluded", action="store_true")
    options = parser.parse_args()
    # So that the servers are stopped.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    os.makedirs(WORK, exist_ok=True)
    suite = Suite(options.profile)
    baseline = suite.baseline(options.files)
    files = options.files or [f for f in baseline if baseline[f]]
    suite.record(files)
    if options.record:
        return 0
    if options.cluster:
        options.program = os.path.join(ROOT, "scripts", "lib", "cluster_as_server.py")
        options.server_args += " --role " + options.cluster
    args = shlex.split(options.server_args) + suite.args
    with Server(*args, program=options.program) as server:
        listed, _ = listed_commands(server)
    print("%-32s %6s %6s %8s %6s" % ("file", "passed", "failed", "excluded", "sec"))
    totals = (0, 0, 0)
    for name in files:
        if name in suite.known["files"]:
            row = score(suite, name, baseline.get(name, []), listed, options)
            totals = tuple(map(sum, zip(totals, row)))
        elif baseline.get(name):
            print("%-32s could not be recorded" % name)
            totals = (totals[0], totals[1] + 1, totals[2])
    print("%-32s %6d %6d %8d" % (("all",) + totals))
    print("%d passed, %d failed" % totals[:2])
    return 1 if totals[1] else 0


if __name__ == "__main__":
    sys.exit(main())
