/* test_cmd_command.c - the command table, look-up, and COMMAND. */
#include "cmd/command.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

#include "cmd/table.h"
#include "lib/cmd_client.h"

/* Every command is found by its name in any case, and nothing else is. */
TEST(command_find)
{
    size_t count;
    const struct wdb_command *table = wdb_command_table(&count);
    CHECK(count > 80);
    for (size_t i = 0; i < count; i++) {
        char name[64];
        snprintf(name, sizeof(name), "%s", table[i].name);
        CHECK_EQ(table[i].id, i);
        CHECK(strchr(name, '|') == NULL);
        CHECK(wdb_command_find(wdb_slice_str(name)) == &table[i]);
        for (size_t c = 0; name[c] != '\0'; c++) {
            name[c] = (char)toupper((unsigned char)name[c]);
        }
        CHECK(wdb_command_find(wdb_slice_str(name)) == &table[i]);
        name[0] ^= 0x80;
        CHECK(wdb_command_find(wdb_slice_str(name)) == NULL);
        name[0] ^= 0x80;
        name[strlen(name) - 1]++;
        const struct wdb_command *other = wdb_command_find(wdb_slice_str(name));
        CHECK(other != &table[i]);
        CHECK(wdb_command_find(wdb_slice(table[i].name, strlen(table[i].name) -
                                                            1)) != &table[i]);
    }
    CHECK(wdb_command_find(wdb_slice("", 0)) == NULL);
    CHECK(wdb_command_find(wdb_slice("ge\0", 3)) == NULL);
    CHECK(wdb_command_find(wdb_slice_str("bitfield\x7fro")) == NULL);
    CHECK(wdb_command_find(
              wdb_slice_str("a name that is longer than any command")) == NULL);
}

/* The subcommands of a container stand side by side, under its name. */
TEST(command_subcommands)
{
    size_t count, sub_count = 0;
    const struct wdb_command *table = wdb_command_table(&count);
    for (size_t i = 0; i < count; i++) {
        const size_t size = strlen(table[i].name);
        for (uint16_t s = 0; s < table[i].subcommand_count; s++) {
            const struct wdb_command *sub = &table[i].subcommands[s];
            CHECK(strncmp(sub->name, table[i].name, size) == 0);
            CHECK_EQ(sub->name[size], '|');
            CHECK(wdb_command_find_sub(
                      &table[i], wdb_slice_str(sub->name + size + 1)) == sub);
            CHECK(wdb_command_by_id(sub->id) == sub);
        }
        sub_count += table[i].subcommand_count;
    }
    CHECK_EQ(count + sub_count, wdb_command_id_count());
    CHECK(wdb_command_by_id((uint16_t)wdb_command_id_count()) == NULL);
}

/* What every row must say. */
TEST(command_rows)
{
    for (uint16_t i = 0; i < wdb_command_id_count(); i++) {
        const struct wdb_command *command = wdb_command_by_id(i);
        CHECK(command->handler != NULL || command->subcommand_count > 0);
        CHECK(command->summary != NULL && command->group != NULL &&
              command->since != NULL && command->arity != 0);
        CHECK(command->key_spec_count <= WDB_KEY_SPEC_MAX);
        const bool fast = (command->flags & WDB_CMD_FAST) != 0;
        CHECK_EQ((command->acl & WDB_ACL_FAST) != 0, fast);
        CHECK_EQ((command->acl & WDB_ACL_SLOW) != 0, !fast);
        /* Keys are locked, or the handler sees to it itself. */
        CHECK(command->key_spec_count == 0 ||
              (command->flags & (WDB_CMD_NO_TXN | WDB_CMD_ALL_STRIPES)) == 0);
    }
}

static int keys_of(uint32_t argc, const char *const *words, uint32_t *out)
{
    struct wdb_slice argv[16];
    for (uint32_t i = 0; i < argc; i++) {
        argv[i] = wdb_slice_str(words[i]);
    }
    return wdb_command_keys(wdb_command_find(argv[0]), argc, argv, out, 16);
}

TEST(command_keys)
{
    uint32_t out[16];
    CHECK_EQ(keys_of(3, (const char *const[]){"set", "k", "v"}, out), 1);
    CHECK_EQ(out[0], 1);
    CHECK_EQ(keys_of(5, (const char *const[]){"mset", "a", "1", "b", "2"}, out),
             2);
    CHECK(out[0] == 1 && out[1] == 3);
    CHECK_EQ(keys_of(5, (const char *const[]){"bitop", "and", "d", "x", "y"},
                     out),
             3);
    CHECK(out[0] == 2 && out[1] == 3 && out[2] == 4);
    CHECK_EQ(keys_of(1, (const char *const[]){"get"}, out), -1);
    CHECK_EQ(keys_of(1, (const char *const[]){"ping"}, out), 0);
}

/* A table's reply is well-formed: it has as many parts as it says. */
static size_t part_size(const char *data, size_t size)
{
    const char *end = memchr(data, '\n', size);
    if (end == NULL) {
        return size + 1;
    }
    size_t at = (size_t)(end - data) + 1;
    const long number = strtol(data + 1, NULL, 10);
    long parts = 0;
    if (data[0] == '$') {
        return at + (number < 0 ? 0 : (size_t)number + 2);
    }
    if (data[0] == '*' || data[0] == '~') {
        parts = number;
    } else if (data[0] == '%') {
        parts = number * 2;
    }
    for (long i = 0; i < parts && at < size; i++) {
        at += part_size(data + at, size - at);
    }
    return at;
}

TEST(cmd_command)
{
    struct cmd_world *world = cmd_world_new(test_tmpdir(), NULL);
    struct cmd_client *client = cmd_client_new(world);
    for (int protocol = 2; protocol <= 3; protocol++) {
        cmd_client_session(client)->protocol = protocol;
        const char *const lines[] = {"COMMAND", "COMMAND DOCS", "COMMAND LIST",
                                     "COMMAND INFO", "COMMAND HELP"};
        for (size_t i = 0; i < WDB_COUNT(lines); i++) {
            (void)cmd_send(client, lines[i]);
            const struct wdb_slice reply = cmd_reply_bytes(client);
            CHECK_EQ(part_size((const char *)reply.data, reply.size),
                     reply.size);
        }
    }
    cmd_client_session(client)->protocol = 2;
    CHECK_REPLY(client, "COMMAND INFO get nosuch",
                "*2 *10 $3 get :2 *2 +readonly +fast :1 :1 :1 *3 +@read "
                "+@string +@fast *0 *1 *6 $5 flags *2 +RO +access $12 "
                "begin_search *4 $4 type $5 index $4 spec *2 $5 index :1 $9 "
                "find_keys *4 $4 type $5 range $4 spec *6 $7 lastkey :0 $7 "
                "keystep :1 $5 limit :0 *0 $-1");
    CHECK_REPLY(client, "COMMAND DOCS bitpos",
                "*2 $6 bitpos *10 $7 summary $40 Find the first bit that is "
                "set, or clear $5 since $5 2.8.7 $5 group $6 bitmap $10 "
                "complexity $27 O(N) in the bytes looked at $9 arguments *3 "
                "*6 $4 name $3 key $4 type $3 key $14 key_spec_index :0 *4 $4 "
                "name $3 bit $4 type $7 integer *8 $4 name $5 index $4 type $5 "
                "block $5 flags *1 +optional $9 arguments *2 *4 $4 name $5 "
                "start $4 type $7 integer *8 $4 name $9 end_index $4 type $5 "
                "block $5 flags *1 +optional $9 arguments *2 *4 $4 name $3 end "
                "$4 type $7 integer *10 $4 name $10 index_unit $4 type $5 "
                "oneof $5 since $5 7.0.0 $5 flags *1 +optional $9 arguments *2 "
                "*6 $4 name $4 byte $4 type $10 pure-token $5 token $4 BYTE *6 "
                "$4 name $3 bit $4 type $10 pure-token $5 token $3 BIT");
    CHECK_REPLY(client, "COMMAND DOCS nosuch", "*0");
    CHECK_REPLY(client, "COMMAND LIST FILTERBY PATTERN SETB*", "*1 $6 setbit");
    CHECK_REPLY(client, "COMMAND LIST FILTERBY ACLCAT nosuch", "*0");
    CHECK_REPLY(client, "COMMAND LIST FILTERBY MODULE x", "*0");
    CHECK_REPLY(client, "COMMAND LIST x", "-ERR syntax error");
    CHECK_REPLY(client, "COMMAND GETKEYS mset a 1 b 2", "*2 $1 a $1 b");
    CHECK_REPLY(client, "COMMAND GETKEYS object encoding x", "*1 $1 x");
    CHECK_REPLY(client, "COMMAND GETKEYS nosuch a",
                "-ERR Invalid command specified");
    CHECK_REPLY(client, "COMMAND GETKEYS ping a",
                "-ERR The command has no key arguments");
    CHECK_REPLY(client, "COMMAND GETKEYS get a b",
                "-ERR Invalid number of arguments specified for command");
    CHECK_REPLY(client, "COMMAND GETKEYSANDFLAGS set a b GET",
                "*1 *2 $1 a *3 +RW +access +update");
    CHECK_REPLY(client, "COMMAND GETKEYSANDFLAGS bitop and d a b",
                "*3 *2 $1 d *2 +OW +update *2 $1 a *2 +RO +access *2 $1 b *2 "
                "+RO +access");
    CHECK_REPLY(client, "COMMAND NOSUCH",
                "-ERR unknown subcommand 'NOSUCH'. Try COMMAND HELP.");
    cmd_client_free(client);
    cmd_world_free(world);
}

/* Print what a look-up costs. */
TEST(command_find_cost)
{
    const char *const names[] = {"GET",  "set",    "INCRBY",      "pexpireat",
                                 "MGET", "client", "bitfield_ro", "nosuch"};
    struct wdb_slice slices[WDB_COUNT(names)];
    for (size_t i = 0; i < WDB_COUNT(names); i++) {
        slices[i] = wdb_slice_str(names[i]);
    }
    enum {
        ROUNDS = 200000
    };
    size_t found = 0;
    const uint64_t start = test_now_ns();
    for (int i = 0; i < ROUNDS; i++) {
        found += wdb_command_find(slices[i % (int)WDB_COUNT(names)]) != NULL;
    }
    printf("look-up: %.1f ns\n", (double)(test_now_ns() - start) / ROUNDS);
    CHECK_EQ(found, ROUNDS / WDB_COUNT(names) * (WDB_COUNT(names) - 1));
}
