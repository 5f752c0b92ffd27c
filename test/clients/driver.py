"""driver.py - driver.js for redis-py (Debian's python3-redis, so it is run by
/usr/bin/python3): driver.py redis-py MODE HOST:PORT[,HOST:PORT...]"""

import json
import os
import select
import sys
import time

import redis
from redis.cluster import ClusterNode, RedisCluster


def open_client(mode, nodes):
    if mode == "cluster":
        return RedisCluster(startup_nodes=[ClusterNode(h, p) for h, p in nodes],
                            socket_timeout=5)
    return redis.Redis(host=nodes[0][0], port=nodes[0][1], socket_timeout=15)


def one(client, mode, key, number):
    """Write and read back; redis-py has no MULTI for clusters."""
    if mode == "plain" and number % 5 == 0:
        return client.pipeline(transaction=True).set(key, number).get(key).execute()[1]
    client.set(key, number)
    return client.get(key)


def main():
    mode = sys.argv[2]
    nodes = [(n.rpartition(":")[0], int(n.rpartition(":")[2])) for n in sys.argv[3].split(",")]
    result = {"ok": 0, "wrong": 0, "errors": {}, "error_count": 0, "longest_gap_ms": 0,
              "version": redis.__version__}
    client = open_client(mode, nodes)
    last = time.monotonic()
    number = 0
    while not select.select([sys.stdin], [], [], 0.002)[0]:
        number += 1
        key = "redis-py:%d:%d" % (os.getpid(), number % 100)
        try:
            found = one(client, mode, key, number)
            result["wrong"] += found != b"%d" % number
            result["ok"] += 1
            now = time.monotonic()
            result["longest_gap_ms"] = max(result["longest_gap_ms"], int(1000 * (now - last)))
            last = now
            if result["ok"] == 20:
                print("ready", flush=True)
        except Exception as error:
            text = ("%s: %s" % (type(error).__name__, error))[:120]
            result["errors"][text] = result["errors"].get(text, 0) + 1
            result["error_count"] += 1
    result["since_last_ms"] = int(1000 * (time.monotonic() - last))
    print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
