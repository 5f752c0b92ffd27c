#!/usr/bin/env python3
"""test_server.py - the program: command line, files, signals, the service."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
from wdbtest import (BIN, ROOT, Client, Server, check, check_eq, free_port,
                     main, wait_for)

PROGRAM = os.path.join(BIN, "walkerdb")


def run(*args, stdin=""):
    """Run to the end; returns (exit code, output)."""
    done = subprocess.run([PROGRAM] + [str(a) for a in args], timeout=20,
                          input=stdin.encode(), stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, check=False)
    return done.returncode, done.stdout.decode()


class Directory:
    def __enter__(self):
        self.path = tempfile.mkdtemp(prefix="walkerdb-it-")
        return self.path

    def __exit__(self, *unused):
        shutil.rmtree(self.path, ignore_errors=True)


def test_help_and_version():
    """--help, --version and --check-config end with 0."""
    for option in ("-h", "--help", "-help"):
        code, text = run(option)
        check_eq(code, 0)
        check("usage: walkerdb" in text)
    code, text = run("--version")
    check_eq(code, 0)
    check(text.startswith("walkerdb "))
    code, text = run("--check-config", "-", stdin="port 7000\n")
    check_eq(code, 0)
    code, text = run("--check-config", "-", stdin="port 7000\nprot 1\n")
    check_eq(code, 1)
    check("standard input:2: unknown setting 'prot'; is it 'port'?" in text)


def test_refusals():
    """What can't be is refused with a sentence, before anything is done."""
    cases = [
        (["--prot", "1"], "is it 'port'?"),
        (["--port", "70000"], "between 0 and 65535"),
        (["--port"], "'port' needs a value"),
        (["-raft", "127.0.0.1:1", "-bootstrap", "true"], "cluster"),
        (["-join", "127.0.0.1:1"], "cluster"),
        (["--cluster-enabled", "yes"], "not supported"),
        (["--maxmemory-policy", "allkeys-lru"], "noeviction"),
        (["/nowhere/at/all.conf"], "can't read /nowhere/at/all.conf"),
        (["--dir", "/proc/nothing/here"], "/proc/nothing"),
        (["--port", "0"], "nothing to listen on"),
        (["--bind", "192.0.2.1"], "192.0.2.1"),
    ]
    with Directory() as path:
        for args, text in cases:
            if "--dir" not in args:
                args = ["--dir", path] + args
            if "--port" not in args:
                args = ["--port", str(free_port())] + args
            code, output = run(*args)
            check_eq(code, 1, output)
            check(text in output, output)


def test_original_command_line():
    """-tcp, -dir, -bootstrap false PATH, with single dashes."""
    with Directory() as path:
        port = free_port()
        process = subprocess.Popen(
            [PROGRAM, "-tcp", "127.0.0.1:%d" % port, "-bootstrap", "false",
             os.path.join(path, "base")], stdout=subprocess.DEVNULL)
        try:
            def ready():
                try:
                    with Client(port) as client:
                        return client.cmd("PING") == "PONG"
                except OSError:
                    return False
            wait_for(ready)
            check(os.path.exists(os.path.join(path, "base", "MANIFEST")))
        finally:
            process.terminate()
            check_eq(process.wait(20), 0)


def test_locked():
    """A second server on the same directory is told who has it."""
    with Server() as server:
        code, text = run("--dir", server.dir, "--port", free_port())
        check_eq(code, 1)
        check(str(server.pid) in text, text)


def test_port_in_use():
    """A port that is taken is named."""
    with Server() as server, Directory() as path:
        code, text = run("--dir", path, "--port", server.port)
        check_eq(code, 1)
        check(str(server.port) in text and "use" in text, text)


def test_signals():
    """SIGTERM and SIGINT end in order, with 0, and nothing is lost."""
    for number in (signal.SIGTERM, signal.SIGINT):
        with Server("--appendfsync", "no") as server:
            client = server.client()
            for i in range(100):
                client.cmd("SET", "k%d" % i, i)
            check_eq(server.kill(number), 0)
            check("Received SIG" in server.log())
            server.start()
            check_eq(server.cmd("DBSIZE"), 100)


def test_stop_under_load():
    """What was answered before the end is there after it."""
    with Server("--appendfsync", "always", "--io-threads", "2") as server:
        clients = [server.client() for _ in range(8)]
        answered = [0] * len(clients)
        for round_number in range(50):
            for i, client in enumerate(clients):
                client.send("SET", "c%d" % i, round_number)
            for i, client in enumerate(clients):
                check_eq(client.read(), "OK")
                answered[i] = round_number
        for i, client in enumerate(clients):
            client.send("SET", "c%d" % i, 1000)
        check_eq(server.stop(), 0)
        for i, client in enumerate(clients):
            try:
                if client.read() == "OK":
                    answered[i] = 1000
            except ConnectionError:
                pass
        server.start()
        for i, value in enumerate(answered):
            check(int(server.cmd("GET", "c%d" % i)) >= value)


def test_log_file_reopens():
    """SIGHUP makes a new log file after the old one was renamed."""
    with Server() as probe:
        log = os.path.join(probe.dir, "w.log")
        with Server("--logfile", log) as server:
            check("Ready to accept connections" in open(log).read())
            os.rename(log, log + ".1")
            server.process.send_signal(signal.SIGHUP)
            wait_for(lambda: os.path.exists(log))
            check_eq(server.cmd("PING"), "PONG")
            check_eq(server.stop(), 0)
            check("bye bye" in open(log).read())


def test_daemonize():
    """In the background, with a pidfile that goes at the end."""
    with Directory() as path:
        port, pidfile = free_port(), os.path.join(path, "w.pid")
        code, _ = run("--daemonize", "yes", "--pidfile", pidfile, "--port",
                      port, "--dir", os.path.join(path, "db"), "--logfile",
                      os.path.join(path, "log"))
        check_eq(code, 0)
        wait_for(lambda: os.path.exists(pidfile) and open(pidfile).read())
        pid = int(open(pidfile).read())
        def ready():
            try:
                with Client(port) as client:
                    return client.cmd("PING") == "PONG"
            except OSError:
                return False
        wait_for(ready)
        os.kill(pid, signal.SIGTERM)
        wait_for(lambda: not os.path.exists(pidfile))


def test_systemd():
    """READY=1 and STOPPING=1 are told to NOTIFY_SOCKET, and the watchdog is
    patted."""
    with Directory() as path:
        name = os.path.join(path, "notify")
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        sock.bind(name)
        sock.settimeout(10)
        env = dict(os.environ, NOTIFY_SOCKET=name, WATCHDOG_USEC="400000")
        env.pop("WATCHDOG_PID", None)
        with Server("--supervised", "systemd", env=env) as server:
            told = []
            while not any("WATCHDOG=1" in t for t in told):
                told.append(sock.recv(1000).decode())
            check(any("READY=1" in t for t in told))
            check_eq(server.stop(), 0)
            while "STOPPING=1" not in told[-1]:
                told.append(sock.recv(1000).decode())
        sock.close()


def test_config_file():
    """A file, options that win over it, REWRITE, and a start from the result."""
    with Directory() as path:
        file = os.path.join(path, "w.conf")
        with open(file, "w") as out:
            out.write("# mine\ntimeout 7\nloglevel verbose\n")
        with Server("--timeout", "9", "--config", file) as server:
            client = server.client()
            check_eq(client.cmd("CONFIG", "GET", "timeout"), [b"timeout", b"9"])
            check_eq(client.cmd("CONFIG", "SET", "maxmemory", "2gb"), "OK")
            check_eq(client.cmd("CONFIG", "REWRITE"), "OK")
            text = open(file).read()
            check(text.startswith("# mine\ntimeout 9\nloglevel verbose\n"), text)
            check("maxmemory 2gb" in text)
            check_eq(server.stop(), 0)
            server.args = ["--config", file]
            server.start()
            check_eq(server.cmd("CONFIG", "GET", "maxmemory"),
                     [b"maxmemory", b"2147483648"])


def test_maxclients_lowered():
    """If the limit of open files does not allow maxclients, it is lowered."""
    prefix = ["bash", "-c", "ulimit -Sn 5000 -Hn 5000; exec setpriv --bounding-set=-sys_resource --inh-caps=-sys_resource \"$@\"", "-"]
    if not shutil.which("setpriv"):
        return
    with Server("--maxclients", "100000", prefix=prefix) as server:
        value = int(server.cmd("CONFIG", "GET", "maxclients")[1])
        if value != 100000:
            check(value < 5000)
            check("maxclients" in server.log())


def test_man_page_is_complete():
    """walkerdb.conf(5) tells of every setting, with its default."""
    page = os.path.join(ROOT, "doc", "man", "walkerdb.conf.5")
    text = open(page, encoding="utf8").read().replace("\\-", "-")
    with Server() as server:
        reply = server.cmd("CONFIG", "GET", "*")
        for name, value in zip(reply[::2], reply[1::2]):
            name, value = name.decode(), value.decode()
            check(re.search(r"[\s\"]%s[\s\"]" % re.escape(name), text), name)
            told = re.search(r'^\.BI "%s [^\n]*\n[^\n]*\nDefault:\n\.BR "([^"]*)"'
                             % re.escape(name), text, re.M)
            if told and name not in ("port", "dir"):
                check_eq(size(told.group(1)), size(value), name)


def size(text):
    match = re.fullmatch(r"(\d+)([mg])b", text)
    if not match:
        return text
    return str(int(match.group(1)) << (20 if match.group(2) == "m" else 30))


def test_crash_report():
    """A fatal signal leaves a report with a backtrace in the log."""
    with Server() as server:
        server.process.send_signal(signal.SIGSEGV)
        code = server.process.wait(20)
        server.process = None
        check(code != 0)
        if "SANITIZE" not in os.environ.get("WDB_BUILD", ""):
            check("SIGSEGV" in server.log(), server.log())


def test_second_signal():
    """A pause or a slow client does not keep the server from ending."""
    with Server() as server:
        client = server.client()
        client.cmd("CLIENT", "PAUSE", 1000000)
        client.send("SET", "a", 1)
        start = time.monotonic()
        check_eq(server.stop(), 0)
        check(time.monotonic() - start < 5)


if __name__ == "__main__":
    main(globals())
