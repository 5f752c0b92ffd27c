"""histories.py - clients write histories while a cluster of real processes is
broken in many ways; a checker judges them.

    python3 test/integration/histories.py [--seed FIRST] [--rounds N] [--seconds S]
        [--nodes N] [--network namespaces|loopback] [--faults NAME,...]

One round: a new cluster, clients that write and read through any node (and some
that follow the leader), a nemesis drawn from the seed (kills, pauses,
partitions, losses, full disks, transfers, changed members), healing, a last
reading of every key. Then bin/check_history looks for an order that explains
everything, and the nodes must hold the same. At most 1 % of the operations that
began while nothing was broken may end "unknown". Histories of failed rounds are
kept. Last line: "N passed, N failed", one for each round.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import netspace  # noqa: E402
from cluster import Cluster, end_by_exit  # noqa: E402
from history import HistoryRun, quick_check  # noqa: E402
from nemesis import Nemesis, state_hashes  # noqa: E402
from wdbtest import BIN, Server, Skip, wait_for  # noqa: E402

UNKNOWN_SHARE_MAX = 0.01
CHECK_SECONDS = 20


def options_of(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rounds", "--count", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--nodes", type=int, default=0, help="0: 3 or 5, by the seed")
    parser.add_argument("--network", default="namespaces",
                        choices=("namespaces", "loopback"))
    parser.add_argument("--disk-mib", type=int, default=-1,
                        help="of each node; 0: no disks of their own; -1: by the seed")
    parser.add_argument("--faults", help="only these (see test/lib/nemesis.py)")
    parser.add_argument("--plain", type=int, default=5, help="clients")
    parser.add_argument("--aware", type=int, default=2, help="clients")
    parser.add_argument("--args", default="", help="more arguments of every node")
    parser.add_argument("--keep", help="directory for the histories")
    parser.add_argument("--standalone", action="store_true",
                        help="one server, killed again and again: to try the clients")
    return parser.parse_args(arguments)


def judge(path):
    """Problems that the checker finds in a history, and what it printed."""
    program = os.path.join(BIN, "check_history")
    if not os.path.exists(program):
        return ["no %s: not judged" % program], ""
    done = subprocess.run([program, "--seconds", str(CHECK_SECONDS), path],
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, check=False)
    text = done.stdout.decode("utf8", "replace").rstrip()
    return ([] if done.returncode == 0 else text.split("\n")[-30:]), text


def finish(cluster, run, nemesis, problems):
    """After healing: a leader, a last reading, equal nodes."""
    leader = cluster.wait_leader(30)
    run.stop()
    run.read_all((leader.host, leader.port))
    wait_for(lambda: len(cluster.running()) == len(cluster.nodes), 10)
    cluster.wait_equal(30)
    hashes = state_hashes(cluster)
    if any(len(values) > 1 for values in hashes.values()):
        problems.append("the nodes hold different states: %s" % hashes)
    problems += nemesis.problems
    for node in cluster.nodes:
        if "assert" in node.log().lower() or "BUG" in node.log():
            problems.append("log of %s:\n%s" % (node.name, node.log()[-1500:]))


def one_cluster(seed, options):
    """One round on a cluster; (run, windows of faults, problems, what happened)."""
    count = options.nodes or (5 if seed % 4 == 0 else 3)
    disk_mib = options.disk_mib if options.disk_mib >= 0 else (96 if seed % 3 == 0 else 0)
    network = "namespaces" if options.network == "namespaces" else None
    arguments = ["--store-segment-size", "1mb" if seed % 2 else "4mb"]
    problems = []
    with Cluster(count, args=arguments + options.args.split(), network=network,
                 disk_mib=disk_mib) as cluster:
        nemesis = Nemesis(cluster, seed, options.faults and options.faults.split(","))
        run = HistoryRun([(n.host, n.port) for n in cluster.nodes], seed,
                         options.plain, options.aware)
        run.start()
        try:
            nemesis.run(options.seconds)
            finish(cluster, run, nemesis, problems)
        except AssertionError as error:
            problems.append(str(error))
            problems += nemesis.problems
            cluster.heal()
        finally:
            run.stop()
        if problems:
            problems.append(cluster.logs())
            for node in cluster.nodes:
                node.kill()
    return run, nemesis.windows, problems, nemesis.counts


def one_standalone(seed, options):
    """The same clients against one server that is killed now and then."""
    windows = []
    with Server("--appendfsync", "always") as server:
        run = HistoryRun([("127.0.0.1", server.port)], seed, options.plain, 0,
                         is_cluster=False)
        run.start()
        end = time.monotonic() + options.seconds
        while time.monotonic() < end:
            time.sleep(2)
            first = time.monotonic_ns()
            server.kill()
            server.start()
            windows.append((first, time.monotonic_ns() + 500000000))
        run.stop()
        run.read_all(("127.0.0.1", server.port))
    return run, windows, [], {"kill": len(windows)}


def round_of(seed, options):
    """Returns problems; prints what happened."""
    began = time.monotonic()
    one = one_standalone if options.standalone else one_cluster
    run, windows, problems, counts = one(seed, options)
    keep = options.keep or tempfile.mkdtemp(prefix="walkerdb-history-")
    os.makedirs(keep, exist_ok=True)
    path = os.path.join(keep, "history-%d.jsonl" % seed)
    run.write(path)
    operations = run.operations()
    problems += ["surprise: " + s for s in run.surprises]
    problems += quick_check(operations)[:10]
    found, text = judge(path)
    problems += found
    calm, unknown = run.unknown_share(windows)
    share = unknown / calm if calm else 0.0
    if calm and share > UNKNOWN_SHARE_MAX:
        problems.append("%d of %d operations outside of faults are unknown" % (unknown, calm))
    by_status = {s: sum(op["status"] == s for op in operations)
                 for s in ("ok", "fail", "unknown")}
    print("seed %d: %d operations (%d ok, %d fail, %d unknown), %.2f %% unknown outside of "
          "%d fault windows, %.0f s; %s" % (
              seed, len(operations), by_status["ok"], by_status["fail"],
              by_status["unknown"], 100 * share, len(windows), time.monotonic() - began,
              " ".join("%s:%d" % item for item in sorted(counts.items()))))
    if text:
        print("  checker: %s" % "; ".join(text.split("\n")[-2:]))
    if problems:
        print("FAILED seed %d, history kept in %s" % (seed, path))
        print("\n".join("  " + p for p in problems))
    elif not options.keep:
        shutil.rmtree(keep, ignore_errors=True)
    sys.stdout.flush()
    return problems


def main():
    options = options_of()
    end_by_exit()
    if options.network == "namespaces" and not options.standalone:
        try:
            netspace.probe()
        except Skip as reason:
            print("skipped partitions: %s" % reason)
            options.network = "loopback"
    passed = failed = 0
    for seed in range(options.seed, options.seed + options.rounds):
        if round_of(seed, options):
            failed += 1
        else:
            passed += 1
    print("%d passed, %d failed" % (passed, failed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
