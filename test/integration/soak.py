"""soak.py - hours of load: nothing may be lost, and nothing may grow.

    python3 test/integration/soak.py [--seed FIRST] [--count MINUTES]

The writers of kill9.py run for a minute at a time; after each minute every
key must hold exactly what was acknowledged last. Memory, open files and the
size of the directory may not grow from the third minute on beyond a margin,
because the keys stay the same few. Every fifth minute ends with a restart.
"""

import argparse
import os
import shlex
import shutil
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from kill9 import CONNECTIONS, Writer, check_writer  # noqa: E402
from wdbtest import Client, Server  # noqa: E402

MEMORY_MARGIN = 32 << 20
FILES_MARGIN = 16
SETTLED_MINUTE = 3
RESTART_EVERY = 5


def sizes(server):
    """Anonymous memory, open files, and allocated bytes on disk."""
    with open("/proc/%d/status" % server.pid, encoding="utf8") as file:
        memory = [int(l.split()[1]) * 1024 for l in file if l.startswith("RssAnon")][0]
    files = len(os.listdir("/proc/%d/fd" % server.pid))
    disk = 0
    for name in os.listdir(server.dir):
        try:
            disk += os.stat(os.path.join(server.dir, name)).st_blocks * 512
        except FileNotFoundError:
            pass          # a segment that a merge has just replaced
    return {"memory": memory, "files": files, "disk": disk}


def growth(first, now, disk_max):
    """What has grown too far; a list of sentences."""
    problems = []
    if now["memory"] > first["memory"] * 1.25 + MEMORY_MARGIN:
        problems.append("memory grew from %d to %d" % (first["memory"], now["memory"]))
    if now["files"] > first["files"] + FILES_MARGIN:
        problems.append("open files grew from %d to %d" % (first["files"], now["files"]))
    if now["disk"] > disk_max:
        problems.append("the directory has %d bytes, more than %d" % (now["disk"], disk_max))
    return problems


def minute(server, writers, seconds):
    """Load for a while, then compare; (new writers, problems)."""
    threads = []
    for writer in writers:
        threads.append(writer.again(time.time_ns(), server.port))
    for thread in threads:
        thread.until = time.monotonic() + seconds
        thread.start()
    problems = []
    for thread in threads:
        thread.join()
        if thread.error:
            problems.append(repr(thread.error))
    with Client(server.port) as client:
        for thread in threads:
            if any(key.sent for key in thread.all_keys()):
                problems.append("the server hung up on a writer")
            check_writer(client, thread, problems)
    return threads, problems


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=60, help="of a minute")
    parser.add_argument("--disk-max", type=int, default=3 << 30)
    parser.add_argument("--program", help="another server, to try the checker")
    parser.add_argument("--args", default="--appendfsync everysec --io-threads 2")
    options = parser.parse_args()
    directory = tempfile.mkdtemp(prefix="walkerdb-soak-")
    server = Server(*shlex.split(options.args), dir=directory, program=options.program)
    writers = [Writer(number, options.seed) for number in range(CONNECTIONS)]
    passed, problems, settled = 0, [], None
    try:
        while passed < options.count and not problems:
            writers, problems = minute(server, writers, options.seconds)
            now = sizes(server)
            if passed + 1 >= SETTLED_MINUTE:
                settled = settled or now
                problems += growth(settled, now, options.disk_max)
            print("minute %d: %d commands, %.1f MiB of memory, %d files, %.1f MiB on disk" % (
                passed + 1, sum(w.acknowledged for w in writers), now["memory"] / (1 << 20),
                now["files"], now["disk"] / (1 << 20)), flush=True)
            passed += not problems
            if passed % RESTART_EVERY == 0 and not problems:
                server.restart()
        for problem in problems[:20]:
            print("  " + problem)
        if problems:
            print(server.log()[-1500:])
    finally:
        server.kill()
        shutil.rmtree(directory, ignore_errors=True)
        if os.path.exists(server.log_path):
            os.unlink(server.log_path)
    print("%d passed, %d failed" % (passed, 1 if problems else 0))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
