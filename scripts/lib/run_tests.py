"""run_tests.py - the parts of scripts/test.

A part is a function that returns (passed, failed, skipped); it prints what
it finds. The output of test programs goes to build/test-logs/ and is shown
when something failed.
"""

import glob
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
LOGS = os.path.join(ROOT, "build", "test-logs")
COUNTS = re.compile(r"^(?:\w+: ?)?(\d+) passed, (\d+) failed(?:, (\d+) skipped)?$", re.M)
TAIL_LINES = 60
FUZZ_SECONDS = 5
SUITE_FILES = ["unit/" + name for name in (
    "type/string", "type/incr", "keyspace", "expire", "multi", "bitops",
    "bitfield", "scan", "protocol")]

# Of these, against the leader of three and against a follower.
SUITE_SMOKE_FILES = ["unit/" + name for name in ("type/incr", "expire", "multi", "keyspace")]

PARTS = []


def part(name, budget_s):
    def add(function):
        PARTS.append((name, budget_s, function))
        return function
    return add


def is_ci():
    """Is this a machine where every test can run, and so has to? Debian 13
    lacks the reference version of Redis, and clang-format 14."""
    with open("/etc/os-release", encoding="utf8") as file:
        has_all = "VERSION_CODENAME=bookworm" in file.read()
    return os.environ.get("CI") == "true" and os.geteuid() == 0 and has_all


def environment(**more):
    env = dict(os.environ)
    env["WDB_BIN"] = os.path.join(ROOT, "build", "release", "bin")
    env["ASAN_OPTIONS"] = "detect_leaks=1:abort_on_error=0:allocator_may_return_null=1"
    env["UBSAN_OPTIONS"] = "print_stacktrace=1"
    env["TSAN_OPTIONS"] = "halt_on_error=1:second_deadlock_stack=1"
    if is_ci():
        env["WDB_TEST_NO_SKIP"] = "1"
    env.update(more)
    return env


def run(name, command, timeout_s, env=None, quiet=True):
    """Run a program in a process group of its own; (exit code, output)."""
    os.makedirs(LOGS, exist_ok=True)
    path = os.path.join(LOGS, name.replace("/", "_") + ".log")
    with open(path, "wb") as log:
        process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log,
            stderr=subprocess.STDOUT, env=env or environment(),
            start_new_session=True)
        try:
            code = process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            code = "none: killed after %d s" % timeout_s
    with open(path, "rb") as log:
        output = log.read().decode("utf8", "replace")
    if code != 0 or not quiet:
        lines = output.rstrip().split("\n")
        shown = [l for l in lines if l.startswith(("FAILED", "skipped"))]
        print("-- %s: exit code %s; end of %s" % (
            name, code, os.path.relpath(path, ROOT)))
        print("\n".join(shown + ["..."] + lines[-TAIL_LINES:]))
    return code, output


def count(code, output):
    """(passed, failed, skipped) of a test program's run."""
    found = COUNTS.findall(output)
    if not found:
        return (1, 0, 0) if code == 0 else (0, 1, 0)
    passed, failed, skipped = (int(x or 0) for x in found[-1])
    if code != 0 and failed == 0:
        failed = 1
    return passed, failed, skipped


def add(*results):
    return tuple(map(sum, zip((0, 0, 0), *results)))


def build(preset, targets=("all",), timeout_s=900):
    """Configure and build a preset; True if it worked."""
    directory = os.path.join(ROOT, "build", preset)
    if not os.path.exists(os.path.join(directory, "build.ninja")):
        code, _ = run("configure-" + preset, ["cmake", "--preset", preset], 120)
        if code != 0:
            return False
    code, _ = run("build-" + preset, [
        "cmake", "--build", directory, "--target"] + list(targets), timeout_s)
    return code == 0


def programs(preset, pattern):
    found = glob.glob(os.path.join(ROOT, "build", preset, "bin", pattern))
    return sorted(p for p in found if os.access(p, os.X_OK) and source_of(p))


def source_of(program):
    """The source of a test program; None for one that is left from before."""
    name = os.path.basename(program)
    for path in ("unit/%s.c" % name, "fuzz/%s.c" % name,
                 "sim/%s.c" % re.sub("^sim_", "main_", name)):
        path = os.path.join(ROOT, "test", path)
        if os.path.exists(path):
            return path
    return None


def run_all(preset, pattern, timeout_s, only=None, **env):
    result = (0, 0, 0)
    for program in programs(preset, pattern):
        if only and not only(source_of(program)):
            continue
        name = "%s-%s" % (preset, os.path.basename(program))
        result = add(result, count(*run(name, [program], timeout_s, environment(**env))))
    return result


@part("style", 20)
def style():
    """Layers, banned functions, sizes, format (scripts/style-check)."""
    result = count(*run("style", ["scripts/style-check"], 120))
    # The generated table of command names is up to date.
    code, _ = run("command-index", ["scripts/command-index", "--check"], 60)
    return add(result, (1, 0, 0) if code == 0 else (0, 1, 0))


@part("release", 240)
def release():
    """The release builds."""
    code, _ = run("build-release", ["scripts/build", "--tests"], 900)
    return (1, 0, 0) if code == 0 else (0, 1, 0)


@part("exports", 10)
def exports():
    """The shared library exports walkerdb_* only, and lacks nothing."""
    library = os.path.join(ROOT, "build", "release", "lib", "libwalkerdb.so")
    code, output = run("exports", ["nm", "-D", "--defined-only", library], 60)
    names = [line.split()[-1] for line in output.splitlines() if line.split()]
    wrong = [n for n in names if not n.startswith("walkerdb_")]
    for name in wrong:
        print("   exported: %s" % name)
    code2, output = run("undefined", ["nm", "-D", "--undefined-only", library], 60)
    missing = [line.split()[-1] for line in output.splitlines()
               if re.search(r"\s(wdb|walkerdb|uv|raft)_", line)]
    for name in missing:
        print("   undefined: %s" % name)
    bad = code != 0 or code2 != 0 or wrong or missing or not names
    if not names:
        print("   the library exports nothing")
    return (0, 1, 0) if bad else (1, 0, 0)


@part("header", 10)
def header():
    """The public header stands alone, in C and in C++, without warnings."""
    result = (0, 0, 0)
    for language, standard in (("c", "c99"), ("c", "c17"), ("c++", "c++11")):
        if language == "c++" and not shutil.which("clang++"):
            result = add(result, (0, 0, 1))
            continue
        compiler = "clang++" if language == "c++" else "clang"
        code, _ = run("header-" + standard, [
            compiler, "-x", language, "-std=" + standard, "-Wall", "-Wextra",
            "-Wpedantic", "-Werror", "-fsyntax-only", "include/walkerdb.h"], 60)
        result = add(result, (1, 0, 0) if code == 0 else (0, 1, 0))
    return result


@part("install", 20)
def install():
    """Installed files alone are enough to build and run a user's program."""
    place = tempfile.mkdtemp(prefix="walkerdb-install-")
    try:
        return install_into(place)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def install_into(place):
    code, _ = run("install", ["cmake", "--install", "build/release",
                              "--prefix", place], 120)
    lib = glob.glob(os.path.join(place, "lib", "**", "pkgconfig"), recursive=True)
    if code != 0 or not lib:
        return (0, 1, 0)
    env = environment(PKG_CONFIG_PATH=lib[0], LD_LIBRARY_PATH=os.path.dirname(lib[0]))
    result = (1, 0, 0)
    for name, compiler, flags in (
            ("shared", "gcc -std=c99 -Wpedantic", ""),
            ("static", "gcc -std=c17", "-static"),
            ("cxx", "clang++ -x c++ -std=c++11", "")):
        program = os.path.join(place, name)
        build_it = "%s -Wall -Wextra -Werror test/install/tour.c %s -o %s $(pkg-config %s)" % (
            compiler, flags, program, "--static --cflags --libs walkerdb" if flags
            else "--cflags --libs walkerdb")
        code, _ = run("install-" + name, [
            "sh", "-ec", "%s; %s %s.db" % (build_it, program, program)], 120, env)
        result = add(result, (1, 0, 0) if code == 0 else (0, 1, 0))
    server = os.path.join(place, "bin", "walkerDb")
    code, _ = run("install-server", [server, "--version"], 60)
    return add(result, (1, 0, 0) if code == 0 else (0, 1, 0))


@part("unit", 180)
def unit():
    """test/unit in the release build."""
    return run_all("release", "test_*", 300)


@part("sim", 180)
def sim():
    """test/sim: crash points and schedules, a small number of each."""
    return run_all("release", "sim_*", 600)


@part("mutations", 150)
def mutations():
    """Rules of the engine broken one at a time: the crash tests notice."""
    names = []
    for source in sorted(glob.glob(os.path.join(ROOT, "test/sim/main_*.c"))):
        with open(source, encoding="utf8") as file:
            if "WDB_MUTATIONS" in file.read():
                names.append(re.sub("^main_", "sim_", os.path.basename(source)[:-2]))
    if not names:
        return (0, 0, 0)
    if not build("mutations", names):
        return (0, 1, 0)
    result = (0, 0, 0)
    for name in names:
        program = os.path.join(ROOT, "build", "mutations", "bin", name)
        result = add(result, count(*run("mutations-" + name, [program, "-m"], 900)))
    return result


@part("integration", 240)
def integration():
    """test/integration against the release server."""
    # The reference servers; tests that need them are skipped without.
    run("peers", ["scripts/peers"], 300)
    result = (0, 0, 0)
    for script in sorted(glob.glob(os.path.join(ROOT, "test/integration/test_*.py"))):
        name = os.path.basename(script)[:-3]
        if not name.startswith("test_cluster_"):
            result = add(result, count(*run(name, ["python3", script], 300)))
    return result


@part("cluster", 240)
def cluster():
    """Nodes as processes: commands, starts, clients, a history, a failover."""
    run("peers", ["scripts/peers"], 300)
    run("clients", ["scripts/clients"], 300)
    result = (0, 0, 0)
    for script in sorted(glob.glob(os.path.join(ROOT, "test/integration/test_cluster_*.py"))):
        name = os.path.basename(script)[:-3]
        result = add(result, count(*run(name, ["python3", script], 300)))
    for name, arguments in (
            ("histories", ["--seconds", "30", "--seed", str(os.getpid())]),
            ("failover", ["--rounds", "3", "--transfers", "2", "--restarts", "1"])):
        script = "test/integration/%s.py" % name
        result = add(result, count(*run(name, ["python3", script] + arguments, 300)))
    return result


@part("redis-suite", 160)
def redis_suite():
    """A part of Redis's own suite (scripts/redis-suite runs all of it)."""
    code, output = run("redis-suite", ["scripts/redis-suite"] + SUITE_FILES, 600)
    if code == 3:
        print("   the suite could not be fetched")
        return (0, 0, 1)
    result = count(code, output)
    for role in ("leader", "follower"):
        result = add(result, count(*run("redis-suite-" + role, [
            "scripts/redis-suite", "--cluster", role] + SUITE_SMOKE_FILES, 300)))
    return result


@part("kill9", 60)
def kill9():
    """A server under load is killed 50 times (test/integration/kill9.py)."""
    return count(*run("kill9", ["python3", "test/integration/kill9.py",
                                "--seed", str(os.getpid()), "--count", "50"], 600))


@part("asan", 420)
def asan():
    """test/unit and the fuzz seeds under clang's ASan and UBSan."""
    if not build("asan"):
        return (0, 1, 0)
    result = run_all("asan", "test_*", 300)
    for program in programs("asan", "fuzz_*"):
        name = os.path.basename(program)
        seeds = sorted(glob.glob(os.path.join(ROOT, "test/fuzz/corpus", name, "*")))
        if seeds:
            result = add(result, count(*run("replay-" + name, [program] + seeds, 120)))
    return result


@part("fuzz", 180)
def fuzz():
    """Every fuzz target for a few seconds, from its seeds."""
    if not glob.glob(os.path.join(ROOT, "test/fuzz/fuzz_*.c")):
        return (0, 0, 0)
    if not build("fuzz"):
        return (0, 1, 0)
    result = (0, 0, 0)
    for program in programs("fuzz", "fuzz_*"):
        name = os.path.basename(program)
        corpus = os.path.join(ROOT, "build/fuzz/corpus", name)
        os.makedirs(corpus, exist_ok=True)
        command = [program, "-max_total_time=%d" % FUZZ_SECONDS, "-timeout=5",
                   "-rss_limit_mb=2048", "-artifact_prefix=%s/" % LOGS, corpus]
        seeds = os.path.join(ROOT, "test/fuzz/corpus", name)
        if os.path.isdir(seeds):
            command.append(seeds)
        code, output = run(name, command, FUZZ_SECONDS + 60)
        done = re.findall(r"Done (\d+) runs", output)
        print("   %s: %s runs" % (name, done[-1] if done else "no"))
        result = add(result, (1, 0, 0) if code == 0 else (0, 1, 0))
    return result


def has_threads(source):
    with open(source, encoding="utf8") as file:
        return re.search(r"\b(pthread_|thrd_|threads)", file.read()) is not None


@part("tsan", 300)
def tsan():
    """The tests that have threads, under clang's TSan."""
    sources = glob.glob(os.path.join(ROOT, "test/unit/test_*.c"))
    targets = [os.path.basename(s)[:-2] for s in sorted(sources) if has_threads(s)]
    if not targets:
        return (0, 0, 0)
    if not build("tsan", targets):
        return (0, 1, 0)
    return run_all("tsan", "test_*", 300, only=has_threads)


def main():
    if "--list" in sys.argv:
        for name, budget_s, function in PARTS:
            print("%-12s %4d s  %s" % (name, budget_s, function.__doc__.split("\n")[0]))
        return 0
    wanted = sys.argv[1:]
    unknown = set(wanted) - {name for name, _, _ in PARTS}
    if unknown:
        print("no such part: %s (see --list)" % ", ".join(sorted(unknown)))
        return 2
    total = (0, 0, 0)
    lines = []
    start_all = time.monotonic()
    for name, budget_s, function in PARTS:
        if wanted and name not in wanted:
            continue
        print("== %s (budget %d s)" % (name, budget_s), flush=True)
        start = time.monotonic()
        result = function()
        elapsed = time.monotonic() - start
        lines.append("%-12s %5d passed %3d failed %3d skipped %6.1f s of %d s%s" % (
            (name,) + result + (elapsed, budget_s,
                                "" if elapsed <= budget_s else "  OVER BUDGET")))
        print(lines[-1], flush=True)
        total = add(total, result)
    passed, failed, skipped = total
    if is_ci() and skipped:
        print("skipped tests count as failed here")
        failed, skipped = failed + skipped, 0
    print("\n== all parts, %.0f s" % (time.monotonic() - start_all))
    print("\n".join(lines))
    print("%d passed, %d failed%s" % (
        passed, failed, ", %d skipped" % skipped if skipped else ""))
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
