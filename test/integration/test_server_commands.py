#!/usr/bin/env python3
"""test_server_commands.py - commands about the server, over the wire: INFO and
its readers, CONFIG, backups, MONITOR, DEBUG, SHUTDOWN."""

import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
from wdbtest import (Server, check, check_eq, check_error,
                     free_port, main, peer, wait_for)


def fields_of(client, *sections):
    """INFO as a dictionary."""
    text = client.cmd("INFO", *sections).decode()
    lines = [l for l in text.split("\r\n") if l and not l.startswith("#")]
    return dict(l.split(":", 1) for l in lines)


def test_info_has_the_fields_of_redis():
    """Every field of a redis-server's INFO is there, section by section."""
    with Server() as server, Server(
            "--save", "", program=peer("redis-server")) as redis:
        ours = server.cmd("INFO", "everything").decode().split("\r\n")
        theirs = redis.cmd("INFO", "everything").decode().split("\r\n")

    def by_section(lines):
        sections, section = {}, None
        for line in lines:
            if line.startswith("# "):
                section = sections.setdefault(line[2:], [])
            elif ":" in line:
                section.append(line.split(":", 1)[0])
        return sections

    mine = by_section(ours)
    for section, names in by_section(theirs).items():
        check(section in mine, "no section " + section)
        if section in ("Commandstats", "Latencystats", "Errorstats"):
            continue
        missing = [n for n in names if n not in mine[section]]
        check_eq(missing, [], section)


def test_info_follows():
    """Counters, rates and sizes change with what is done."""
    with Server() as server:
        client = server.client()
        before = fields_of(client, "everything")
        client.pipeline([("SET", "key:%d" % i, "x" * 100) for i in range(5000)])
        client.pipeline([("GET", "key:%d" % i) for i in range(100)])
        client.cmd("GET", "none")
        after = fields_of(client, "everything")

        def grown(name):
            return int(after[name]) - int(before[name])
        check(grown("total_commands_processed") >= 5101)
        check_eq(grown("keyspace_hits"), 100)
        check_eq(grown("keyspace_misses"), 1)
        check_eq(grown("rdb_changes_since_last_save"), 5000)
        check(grown("total_net_input_bytes") > 500000)
        check(grown("total_net_output_bytes") > 10000)
        check(grown("store_appended_bytes") > 500000)
        check(int(after["store_keydir_bytes"]) > 5000 * 20)
        check(after["db0"].startswith("keys=5000,expires=0"))
        check(int(after["used_memory"]) > 0)
        check(int(after["used_memory_peak"]) >= int(before["used_memory"]))
        wait_for(lambda: int(fields_of(client)["store_syncs"]) > 0,
                 what="a sync within a second or two")
        wait_for(lambda: int(fields_of(client)["instantaneous_ops_per_sec"]) > 0,
                 what="a rate")


def test_info_counts_clients():
    """Clients and connections are counted."""
    with Server() as server:
        client = server.client()
        others = [server.client() for _ in range(5)]
        for other in others:
            other.cmd("PING")
        info = fields_of(client, "clients", "stats")
        check_eq(int(info["connected_clients"]), 6)
        check(int(info["total_connections_received"]) >= 6)
        for other in others:
            other.close()
        server.clients = [client]
        wait_for(lambda: fields_of(client)["connected_clients"] == "1")


def test_exporter():
    """The exporter of Debian reads it: up, no scrape error, the metrics of
    the usual dashboards."""
    exporter = peer("prometheus-redis-exporter")
    with Server("--enable-debug-command", "yes") as server:
        client = server.client()
        client.cmd("CONFIG", "SET", "latency-monitor-threshold", "1")
        client.cmd("SET", "a", "1", "EX", "1000")
        client.cmd("GET", "a")
        client.cmd("GET", "none")
        client.cmd("DEBUG", "SLEEP", "0.02")
        client.cmd("NOSUCH")
        port = free_port()
        process = subprocess.Popen(
            [exporter, "-redis.addr", "redis://127.0.0.1:%d" % server.port,
             "-web.listen-address", "127.0.0.1:%d" % port,
             "-include-system-metrics", "-export-client-list"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            def scrape():
                try:
                    url = "http://127.0.0.1:%d/metrics" % port
                    with urllib.request.urlopen(url, timeout=10) as page:
                        return page.read().decode()
                except OSError:
                    return None
            text = wait_for(scrape, what="the exporter's page")
        finally:
            process.kill()
            process.wait()
    lines = [l for l in text.split("\n") if l and not l.startswith("#")]
    metrics = dict(l.rsplit(" ", 1) for l in lines)
    check_eq(metrics["redis_up"], "1")
    check_eq(metrics['redis_exporter_last_scrape_error{err=""}'], "0")
    for name in ("redis_uptime_in_seconds", "redis_connected_clients",
                 "redis_blocked_clients", "redis_memory_used_bytes",
                 "redis_memory_max_bytes", "redis_commands_processed_total",
                 "redis_keyspace_hits_total", "redis_keyspace_misses_total",
                 "redis_net_input_bytes_total", "redis_net_output_bytes_total",
                 "redis_expired_keys_total", "redis_evicted_keys_total",
                 "redis_memory_used_rss_bytes", "redis_mem_fragmentation_ratio",
                 "redis_connected_slaves", "redis_total_system_memory_bytes",
                 "redis_rdb_changes_since_last_save", "redis_aof_enabled",
                 "redis_rdb_last_bgsave_status", "redis_aof_last_write_status",
                 "redis_slowlog_length", "redis_rejected_connections_total",
                 'redis_db_keys{db="db0"}', 'redis_db_keys_expiring{db="db0"}',
                 'redis_commands_total{cmd="get"}',
                 'redis_commands_duration_seconds_total{cmd="set"}',
                 'redis_errors_total{err="ERR"}',
                 'redis_latency_spike_last{event_name="command"}'):
        check(name in metrics, "no metric " + name)
    check_eq(metrics['redis_db_keys{db="db0"}'], "1")
    check_eq(metrics['redis_keyspace_hits_total'], "1")


def test_config_rewrite():
    """CONFIG SET, then REWRITE: the next start has the value."""
    folder = tempfile.mkdtemp(prefix="walkerdb-it-")
    path = os.path.join(folder, "walkerdb.conf")
    with open(path, "w") as file:
        file.write("# kept\nslowlog-max-len 10\n")
    try:
        with Server("--config", path) as server:
            client = server.client()
            check_eq(client.cmd("CONFIG", "SET", "slowlog-max-len", "77"), "OK")
            check_eq(client.cmd("CONFIG", "REWRITE"), "OK")
            server.restart()
            check_eq(server.cmd("CONFIG", "GET", "slowlog-max-len"),
                     [b"slowlog-max-len", b"77"])
        with open(path) as file:
            check("# kept\n" in file.read())
    finally:
        shutil.rmtree(folder)


def test_config_set_appendfsync():
    """The policy changes while writes go on; what always answered is synced."""
    with Server() as server:
        client = server.client()
        for policy in ("always", "no", "everysec", "always"):
            check_eq(client.cmd("CONFIG", "SET", "appendfsync", policy), "OK")
            for i in range(20):
                check_eq(client.cmd("SET", "key", "%s %d" % (policy, i)), "OK")
            if policy == "always":
                info = fields_of(client, "store")
                check_eq(info["store_index_appended"],
                         info["store_index_durable"])
        check_eq(fields_of(client)["store_sync_policy"], "always")


def backups_in(folder):
    names = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
    return [os.path.join(folder, n) for n in names]


def test_save_and_restore():
    """SAVE under writes: the copy opens, and has what was there before."""
    with Server() as server:
        client = server.client()
        client.pipeline([("SET", "key:%d" % i, "old") for i in range(1000)])
        stop = threading.Event()

        def write():
            other = server.client()
            while not stop.is_set():
                other.pipeline([("SET", "new:%d" % i, "x") for i in range(100)])
        thread = threading.Thread(target=write)
        thread.start()
        try:
            check_eq(client.cmd("SAVE"), "OK")
        finally:
            stop.set()
            thread.join()
        client.pipeline([("SET", "key:%d" % i, "new") for i in range(1000)])
        found = backups_in(os.path.join(server.dir, "backups"))
        check_eq(len(found), 1)
        copy = tempfile.mkdtemp(prefix="walkerdb-it-")
        os.rmdir(copy)
        shutil.copytree(found[0], copy)
        try:
            with Server(dir=copy) as restored:
                values = restored.client().pipeline(
                    [("GET", "key:%d" % i) for i in range(1000)])
                check(all(v == b"old" for v in values))
        finally:
            shutil.rmtree(copy)


def test_bgsave_keeps_some():
    """BGSAVE answers at once; store-backup-keep of them stay."""
    with Server() as server:
        client = server.client()
        client.cmd("CONFIG", "SET", "store-backup-keep", "2")
        for count in range(1, 5):
            client.cmd("SET", "a", count)
            check_eq(client.cmd("BGSAVE"), "Background saving started")
            wait_for(lambda: fields_of(client)["rdb_bgsave_in_progress"] == "0")
            info = fields_of(client)
            check_eq(info["rdb_last_bgsave_status"], "ok")
            check_eq(info["rdb_changes_since_last_save"], "0")
            check_eq(int(info["rdb_saves"]), count)
            check_eq(len(backups_in(os.path.join(server.dir, "backups"))),
                     min(count, 2))
        check(abs(client.cmd("LASTSAVE") - time.time()) < 60)


def test_save_fails():
    """A backup that is not possible is an error, and INFO says so."""
    with Server("--store-backup-dir", "/proc/none") as server:
        client = server.client()
        check_error(client.cmd("SAVE"), "ERR backup in /proc/none failed")
        check_eq(fields_of(client)["rdb_last_bgsave_status"], "err")
        check_error(client.cmd("SHUTDOWN", "SAVE"),
                    "ERR Errors trying to SHUTDOWN")
        check_eq(client.cmd("PING"), "PONG")


def test_bgrewriteaof():
    """BGREWRITEAOF merges: what is dead leaves the disk."""
    with Server("--store-segment-size", "1mb", "--store-merge", "no") as server:
        client = server.client()
        check_eq(client.cmd("CONFIG", "SET", "store-merge", "yes"), "OK")
        for _ in range(20):
            client.pipeline([("SET", "key:%d" % i, "x" * 1000)
                             for i in range(200)])
        before = fields_of(client, "store")
        # One that began by itself is waited for; who waits can begin another.
        for _ in range(20):
            reply = client.cmd("BGREWRITEAOF")
            check(reply in ("Background append only file rewriting started",
                            "Background append only file rewriting scheduled"),
                  str(reply))
            wait_for(lambda: fields_of(client)["aof_rewrite_in_progress"] == "0")
        check(int(fields_of(client)["store_merges"]) > 0)
        wait_for(lambda: int(fields_of(client)["store_used_bytes"]) <
                 int(before["store_used_bytes"]) // 2)
        check_eq(client.cmd("GET", "key:7"), b"x" * 1000)
        check_eq(fields_of(client)["aof_last_bgrewrite_status"], "ok")


def test_monitor():
    """Lines of all workers' clients, as redis-server writes them."""
    with Server("--io-threads", "4") as server:
        monitor = server.client()
        check_eq(monitor.cmd("MONITOR"), "OK")
        clients = [server.client() for _ in range(8)]
        for number, client in enumerate(clients):
            client.cmd("SET", "key:%d" % number, "a \"b\"\n")
        seen = set()
        for _ in clients:
            line = monitor.line().decode()
            check(line.startswith("+1") and "] \"SET\" \"key:" in line, line)
            check(line.endswith(" \"a \\\"b\\\"\\n\""), line)
            seen.add(line.split("\"")[3])
        check_eq(len(seen), 8)
        monitor.send("RESET")
        check_eq(monitor.read(), "RESET")
        clients[0].cmd("SET", "a", "1")
        check_eq(monitor.cmd("ECHO", "x"), b"x")


def test_debug_is_off_by_default():
    """DEBUG needs a setting that can't be changed at run time."""
    with Server() as server:
        client = server.client()
        check_error(client.cmd("DEBUG", "SLEEP", "0"),
                    "ERR DEBUG command not allowed.")
        check_error(client.cmd("CONFIG", "SET", "enable-debug-command", "yes"),
                    "ERR CONFIG SET failed")
    with Server("--enable-debug-command", "local") as server:
        check_eq(server.cmd("DEBUG", "SLEEP", "0"), "OK")


def test_debug_digest_is_that_of_redis():
    """The same strings have the same digest on both servers."""
    with Server("--enable-debug-command", "yes") as server, Server(
            "--save", "", "--enable-debug-command", "yes",
            program=peer("redis-server")) as redis:
        commands = [("SET", "key:%d" % i, "v" * (i % 300)) for i in range(500)]
        commands += [("PEXPIREAT", "key:%d" % i, 4102444800000)
                     for i in range(0, 500, 7)]
        commands += [("SETRANGE", "big", 150000, "x"), ("SELECT", 3),
                     ("SET", "k", "v"), ("APPEND", "k", "w")]
        digests = []
        for one in (server, redis):
            client = one.client()
            client.pipeline(commands)
            digests.append(client.cmd("DEBUG", "DIGEST"))
            client.cmd("SELECT", 0)
            digests.append(client.cmd("DEBUG", "DIGEST-VALUE", "big", "key:7"))
        check_eq(digests[0], digests[2])
        check_eq(digests[1], digests[3])


def test_shutdown():
    """SHUTDOWN closes without a reply, the process ends in order, nothing is
    lost; with SAVE there is a backup."""
    with Server() as server:
        for options, count in (((), 0), (("NOSAVE",), 0), (("SAVE",), 1)):
            client = server.client()
            client.cmd("SET", "a", str(options))
            client.send("SHUTDOWN", *options)
            check(client.is_closed(20), "the connection was not closed")
            check_eq(server.process.wait(20), 0)
            check_eq(len(backups_in(os.path.join(server.dir, "backups"))),
                     count)
            server.start()
            check_eq(server.cmd("GET", "a"), str(options).encode())


def test_shutdown_while_saving():
    """A backup in the background does not hold up the end."""
    with Server() as server:
        client = server.client()
        client.pipeline([("SET", "key:%d" % i, "x" * 10000)
                         for i in range(2000)])
        client.cmd("BGSAVE")
        start = time.monotonic()
        client.send("SHUTDOWN")
        check_eq(server.process.wait(30), 0)
        check(time.monotonic() - start < 20)
        server.start()
        check_eq(server.cmd("DBSIZE"), 2000)


def test_redis_cli_modes():
    """redis-cli's own tools: --stat, --bigkeys, --memkeys, --latency."""
    cli = peer("redis-cli")
    with Server() as server:
        server.client().pipeline([("SET", "key:%d" % i, "x" * i)
                                  for i in range(100)])

        def run(*args):
            done = subprocess.run(
                [cli, "-p", str(server.port)] + list(args), timeout=30,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=True)
            return done.stdout.decode()
        check("key:99" in run("--bigkeys"))
        check("key:99" in run("--memkeys"))
        check("maxmemory" in run("config", "get", "maxmemory*"))
        # On a terminal it writes line by line.
        terminal, inner = os.openpty()
        process = subprocess.Popen(
            [cli, "-p", str(server.port), "--stat", "-i", "0.1"],
            stdin=subprocess.DEVNULL, stdout=inner)
        os.close(inner)
        time.sleep(0.5)
        process.kill()
        process.wait()
        text = os.read(terminal, 65536).decode()
        os.close(terminal)
        check("\n100 " in text, text)


if __name__ == "__main__":
    main(globals())
