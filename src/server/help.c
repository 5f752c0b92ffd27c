/* help.c - what --help and --version print. */
#include "server/help.h"

#include <stdio.h>

#include "walkerdb.h"

void wdb_help_print(void)
{
    fputs(
        "walkerdb - a durable key-value database with the Redis protocol\n"
        "\n"
        "usage: walkerdb [PATH] [--NAME VALUE...]...\n"
        "\n"
        "PATH is a configuration in the form of redis.conf if it is a regular\n"
        "file, standard input if it is -, else the directory of the database.\n"
        "Every setting of the configuration is an option, too (one dash or\n"
        "two, --NAME VALUE or --NAME=VALUE); options win over the file.\n"
        "\n"
        "  -tcp HOST:PORT        where to listen (127.0.0.1:6379)\n"
        "  --bind ADDRESS...     the same, in two parts; several addresses,\n"
        "  --port PORT           * for all\n"
        "  --unixsocket PATH     listen there, too\n"
        "  -dir DIR              the directory of the database (.)\n"
        "  --appendfsync WHEN    when a write is synced: always (before it is\n"
        "                        answered), everysec (the default), no\n"
        "  --io-threads N        threads that serve clients (cores, at most "
        "8)\n"
        "  --requirepass WORD    the password of AUTH\n"
        "  --maxmemory BYTES     the most that keys and buffers may take\n"
        "  --logfile FILE        where to log (standard output)\n"
        "  --daemonize yes       run in the background\n"
        "  --supervised systemd  tell systemd when it is ready\n"
        "\n"
        "A cluster (doc/cluster.md):\n"
        "  -id NAME              this node's name, never used twice\n"
        "  -raft HOST:PORT       where the other nodes reach it\n"
        "  -raftdir DIR          what it must never forget: name, term, vote\n"
        "  -bootstrap true       found a cluster, or go on with the one in "
        "-dir\n"
        "  -join HOST:PORT       the client port of any member: be taken in\n"
        "  --force-new-cluster   offline, when a majority is lost: tells what "
        "it does\n"
        "\n"
        "  --config FILE         read this configuration\n"
        "  --check-config        only say whether the settings are good\n"
        "  --check-peers HOST:RAFTPORT[,HOST:TCPPORT]...\n"
        "                        only say whether these nodes can be reached,\n"
        "                        and agree on cluster and clock; --json\n"
        "  --version, --help\n"
        "\n"
        "walkerdb(1) and walkerdb.conf(5) tell the rest.\n",
        stdout);
}

void wdb_version_print(void)
{
    printf("walkerdb %s\n", WALKERDB_VERSION);
}
