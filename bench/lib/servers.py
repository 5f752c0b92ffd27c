"""servers.py - the servers that the comparisons start, load and measure."""

import os
import shutil
import subprocess
import sys
import tempfile
import time

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
sys.path.insert(0, os.path.join(ROOT, "test", "lib"))
from wdbtest import BIN, Client, Server, check_eq  # noqa: E402

PEERS = os.path.join(ROOT, "build", "peers", "bin")
PROGRAMS = {
    "walkerdb": os.path.join(BIN, "walkerdb"),
    "redis": os.path.join(PEERS, "redis-server"),
    "valkey": os.path.join(PEERS, "valkey-server"),
}
SERVER_CORE = "0"
CLIENT_CORE = "1"
TICKS = os.sysconf("SC_CLK_TCK")
DURABILITY = ("none", "everysec", "always")


def arguments(name, durability, extra=()):
    """The command line of a server for one way of keeping data."""
    if name == "walkerdb":
        policy = "no" if durability == "none" else durability
        return ["--appendfsync", policy, "--io-threads", "1"] + list(extra)
    # No rewrite of the AOF in the middle of a measurement.
    common = ["--save", "", "--loglevel", "warning", "--protected-mode", "no",
              "--auto-aof-rewrite-percentage", "0"]
    if durability == "none":
        return common + ["--appendonly", "no"]
    return common + ["--appendonly", "yes", "--appendfsync", durability]


def start(name, durability, base_dir, extra=(), dir=None, wait=True):
    """A server on the server core, with a directory below base_dir."""
    dir = dir or tempfile.mkdtemp(prefix=name + "-", dir=base_dir)
    server = Server(*arguments(name, durability, extra), dir=dir,
                    program=PROGRAMS[name], start=False,
                    prefix=["taskset", "-c", SERVER_CORE])
    server.start(timeout_s=300, wait=wait)
    return server


def stop(server, remove=True):
    if server.process:
        server.stop()
    if os.path.exists(server.log_path):
        os.unlink(server.log_path)
    if remove:
        shutil.rmtree(server.dir, ignore_errors=True)


def cpu_s(pid):
    """CPU time of a process so far: user and system, all its threads."""
    with open("/proc/%d/stat" % pid, encoding="utf8") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def rss_anon(pid):
    """Anonymous memory in bytes; the page cache does not count."""
    with open("/proc/%d/status" % pid, encoding="utf8") as file:
        for line in file:
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) * 1024
    raise RuntimeError("no RssAnon in /proc/%d/status" % pid)


def load(server, keys, value_size, batch=2000):
    """SET key:%012d for every number below `keys`."""
    os.sched_setaffinity(0, {int(CLIENT_CORE)})
    value = b"x" * value_size
    tail = b"\r\n$%d\r\n%s\r\n" % (value_size, value)
    head = b"*3\r\n$3\r\nSET\r\n$16\r\nkey:"
    with Client(server.port, timeout_s=300) as client:
        for first in range(0, keys, batch):
            last = min(first + batch, keys)
            client.send_raw(b"".join(
                [b"%s%012d%s" % (head, i, tail) for i in range(first, last)]))
            want = b"+OK\r\n" * (last - first)
            got = client.file.read(len(want))
            check_eq(got, want, "replies of the load")
        check_eq(client.cmd("DBSIZE"), keys, "keys after the load")


def benchmark(server, command, value_size, pipeline, requests, clients, keys):
    """One run of redis-benchmark; its figures and the server's CPU time."""
    before_s = cpu_s(server.pid)
    start_s = time.monotonic()
    done = subprocess.run(
        ["taskset", "-c", CLIENT_CORE, os.path.join(PEERS, "redis-benchmark"),
         "-h", "127.0.0.1", "-p", str(server.port), "-c", str(clients),
         "-n", str(requests), "-P", str(pipeline), "-r", str(keys),
         "-d", str(value_size), "-t", command, "--csv"],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, check=False)
    elapsed_s = time.monotonic() - start_s
    used_s = cpu_s(server.pid) - before_s
    rows = [line.replace('"', "").split(",")
            for line in done.stdout.decode().splitlines()]
    row = next((r for r in rows if r[0].lower() == command), None)
    if done.returncode != 0 or row is None:
        raise RuntimeError("redis-benchmark: %s %s" % (
            done.stdout.decode(), done.stderr.decode()))
    return {"rps": float(row[1]), "p50_ms": float(row[4]), "p99_ms": float(row[6]),
            "cpu_us": used_s * 1e6 / requests, "elapsed_s": elapsed_s}


def settle(server, timeout_s=60):
    """Wait for the merge (AOF rewrite) that a run left behind: it is no part of
    the next run. The peers' rewrites are switched off."""
    end = time.monotonic() + timeout_s
    quiet = 0
    while quiet < 3 and time.monotonic() < end:
        info = server.cmd("INFO", "persistence")
        text = info.decode() if isinstance(info, bytes) else str(info)
        quiet = quiet + 1 if "aof_rewrite_in_progress:0" in text else 0
        time.sleep(0.1)


def machine():
    """What a result must say about where it was taken."""
    def read(path):
        with open(path, encoding="utf8") as file:
            return file.read()
    model = [l.split(":")[1].strip() for l in read("/proc/cpuinfo").split("\n")
             if l.startswith("model name")]
    memory = [l.split()[1] for l in read("/proc/meminfo").split("\n")
              if l.startswith("MemTotal")]
    system = [l.split("=")[1].strip('"') for l in read("/etc/os-release").split("\n")
              if l.startswith("PRETTY_NAME")]
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT,
                            stdout=subprocess.PIPE, check=False).stdout.decode().strip()
    versions = os.path.join(ROOT, "build", "peers", "complete")
    return {"cpu": "%d x %s" % (os.cpu_count(), model[0] if model else "unknown"),
            "memory_gib": round(int(memory[0]) / (1 << 20), 1),
            "system": system[0], "kernel": os.uname().release,
            "commit": commit,
            "peers": [" ".join(l.split()[:3]) for l in read(versions).splitlines()]
                     if os.path.exists(versions) else []}
