/* test_cmd_faults.c - commands while memory runs out: done or not done, and the
 * reply says which. */
#include <stdio.h>
#include <stdlib.h>

#include "lib/cmd_client.h"

/* What is there before each command. */
static const char prepare[] = "FLUSHALL ; MSET a 1 b hello c 3 ; EXPIRE c 1000 "
                              "; SELECT 1 ; SET a other ; "
                              "SELECT 0";
/* Everything there is, as text. */
static const char look[] =
    "MGET a b c d e f ; TTL a ; TTL b ; TTL c ; TTL d ; TTL e ; OBJECT "
    "ENCODING "
    "a ; OBJECT ENCODING b ; DBSIZE ; SELECT 1 ; MGET a b c d e ; DBSIZE ; "
    "SELECT 0";

static const char *const commands[] = {
    "SET d x",
    "SET a x EX 100 GET",
    "MSET a x d y e z",
    "MSETNX d 1 e 2",
    "GETDEL a",
    "GETEX b EX 50",
    "APPEND b more",
    "SETRANGE b 10 tail",
    "INCRBY a 5",
    "INCRBYFLOAT a 0.5",
    "LCS a b IDX",
    "SETBIT b 100 1",
    "BITFIELD b SET u8 0 255 INCRBY i5 100 3",
    "BITOP OR d a b c",
    "DEL a b c",
    "RENAME c d",
    "COPY c e",
    "COPY c b DB 1",
    "MOVE b 1",
    "EXPIRE a 100",
    "PERSIST c",
    "SWAPDB 0 1",
    "FLUSHDB",
    "FLUSHALL",
    "KEYS *",
    "SCAN 0",
    "RANDOMKEY",
    "COMMAND GETKEYS mset a b c d",
};

static char *copy_of(const char *text)
{
    char *copy = strdup(text);
    if (copy == NULL) {
        abort();
    }
    return copy;
}

/* One command, with each of its allocations failing in turn. */
static void sweep(struct cmd_world *world, const char *command)
{
    struct cmd_client *client = cmd_client_new(world);
    (void)cmd_send(client, prepare);
    char *before = copy_of(cmd_send(client, look));
    (void)cmd_send(client, command);
    char *after = copy_of(cmd_send(client, look));
    bool failed = true;
    for (uint64_t n = 1; failed && n < 500; n++) {
        cmd_client_free(client);
        client = cmd_client_new(world);
        (void)cmd_send(client, prepare);
        cmd_world_fail_allocation(world, n);
        char reply[1000];
        snprintf(reply, sizeof(reply), "%s", cmd_send(client, command));
        failed = cmd_world_allocation_failed(world);
        /* Without memory to parse or to answer the client is closed. */
        const bool closed =
            reply[0] == '\0' || strstr(reply, "Protocol error") != NULL;
        const bool refused = strncmp(reply, "-OOM", 4) == 0;
        if (closed) {
            cmd_client_free(client);
            client = cmd_client_new(world);
        }
        const char *found = cmd_send(client, look);
        const bool is_before = strcmp(found, before) == 0;
        const bool is_after = strcmp(found, after) == 0;
        if (!(refused  ? is_before
              : closed ? is_before || is_after
                       : is_after)) {
            test_fail(__FILE__, __LINE__,
                      "%s, allocation %llu: \"%.100s\" leaves \"%s\"", command,
                      (unsigned long long)n, reply, found);
        }
    }
    CHECK(!failed);
    free(before);
    free(after);
    cmd_client_free(client);
}

TEST(commands_without_memory)
{
    struct cmd_world *world = cmd_world_new(test_tmpdir(), NULL);
    for (size_t i = 0; i < WDB_COUNT(commands); i++) {
        sweep(world, commands[i]);
    }
    cmd_world_free(world);
}

/* What fails inside EXEC is an error among its replies; if EXEC fails itself,
 * nothing of it happened. */
TEST(exec_without_memory)
{
    static const char queue[] =
        "MULTI ; APPEND b x ; RENAME b d ; INCR a ; DEL c ; MOVE a 1 ; SET e 1 "
        "EX 100";
    struct cmd_world *world = cmd_world_new(test_tmpdir(), NULL);
    struct cmd_client *client = cmd_client_new(world);
    (void)cmd_send(client, prepare);
    char *before = copy_of(cmd_send(client, look));
    (void)cmd_send(client, queue);
    (void)cmd_send(client, "EXEC");
    char *after = copy_of(cmd_send(client, look));
    bool failed = true;
    for (uint64_t n = 1; failed && n < 500; n++) {
        cmd_client_free(client);
        client = cmd_client_new(world);
        (void)cmd_send(client, prepare);
        (void)cmd_send(client, queue);
        cmd_world_fail_allocation(world, n);
        char reply[1000];
        snprintf(reply, sizeof(reply), "%s", cmd_send(client, "EXEC"));
        failed = cmd_world_allocation_failed(world);
        if (reply[0] == '\0') {
            cmd_client_free(client);
            client = cmd_client_new(world);
        }
        const char *found = cmd_send(client, look);
        const bool is_before = strcmp(found, before) == 0;
        const bool is_after = strcmp(found, after) == 0;
        CHECK(reply[0] == '-'                 ? is_before
              : reply[0] == '\0'              ? is_before || is_after
              : strstr(reply, "-OOM") == NULL ? is_after
                                              : true);
    }
    CHECK(!failed);
    free(before);
    free(after);
    cmd_client_free(client);
    cmd_world_free(world);
}
