/* test_cmd_chunks.c - strings that are changed in the middle, against a model
 * in memory. */
#include <stdio.h>
#include <stdlib.h>

#include "lib/cmd_client.h"
#include "type/bitmap.h"
#include "type/string_chunks.h"
#include "walkerdb.h"

#define MODEL_SIZE_MAX ((size_t)400 << 10)

struct model {
    struct cmd_world *world;
    struct cmd_client *client;
    struct test_random random;
    uint8_t *bytes;
    size_t size;
};

static struct model model;

static void begin(uint64_t seed, bool cold)
{
    const struct cmd_world_options options = {.cold = cold};
    model = (struct model){.random = {seed}};
    model.world = cmd_world_new(test_tmpdir(), &options);
    model.client = cmd_client_new(model.world);
    model.bytes = calloc(1, MODEL_SIZE_MAX);
}

static void end(void)
{
    cmd_client_free(model.client);
    cmd_world_free(model.world);
    free(model.bytes);
}

static size_t below(size_t bound)
{
    return (size_t)test_random_below(&model.random, bound);
}

static struct wdb_slice number(char *text, uint64_t value)
{
    return wdb_slice(text, (size_t)snprintf(text, 24, "%llu",
                                            (unsigned long long)value));
}

static const char *send4(const char *name, struct wdb_slice b,
                         struct wdb_slice c)
{
    const struct wdb_slice arguments[] = {wdb_slice_str(name),
                                          wdb_slice_str("key"), b, c};
    const size_t count = c.data != NULL ? 4 : b.data != NULL ? 3 : 2;
    return cmd_send_slices(model.client, count, arguments);
}

#define NONE wdb_slice(NULL, 0)

/* --- changes, to both ---------------------------------------------------------- */

static struct wdb_slice random_bytes(size_t size_max)
{
    static uint8_t bytes[100 << 10];
    const size_t size = below(below(8) == 0 ? size_max : 40) + 1;
    test_random_fill(&model.random, bytes, size);
    return wdb_slice(bytes, size);
}

static void write_model(size_t offset, struct wdb_slice bytes)
{
    memcpy(model.bytes + offset, bytes.data, bytes.size);
    if (offset + bytes.size > model.size) {
        model.size = offset + bytes.size;
    }
}

static void change_append(void)
{
    const struct wdb_slice bytes = random_bytes(100 << 10);
    if (model.size + bytes.size > MODEL_SIZE_MAX) {
        return;
    }
    write_model(model.size, bytes);
    (void)send4("APPEND", bytes, NONE);
}

static void change_range(void)
{
    char text[24];
    const struct wdb_slice bytes = random_bytes(100 << 10);
    const size_t offset = below(MODEL_SIZE_MAX - bytes.size);
    write_model(offset, bytes);
    (void)send4("SETRANGE", number(text, offset), bytes);
}

static void change_bit(void)
{
    char text[24];
    const size_t bit = below(
        below(2) == 0 || model.size == 0 ? MODEL_SIZE_MAX * 8 : model.size * 8);
    const bool on = below(2) == 1;
    uint8_t byte = model.bytes[bit / 8];
    const uint8_t mask = (uint8_t)(0x80u >> bit % 8);
    byte = on ? byte | mask : byte & (uint8_t)~mask;
    write_model(bit / 8, wdb_slice(&byte, 1));
    (void)send4("SETBIT", number(text, bit), wdb_slice_str(on ? "1" : "0"));
}

/* Two fields of one BITFIELD, that may be in different chunks. */
static void change_fields(void)
{
    char offset_text[2][24], value_text[24];
    struct wdb_slice arguments[10] = {wdb_slice_str("BITFIELD"),
                                      wdb_slice_str("key")};
    const uint64_t value = test_random_next(&model.random) >> 1;
    for (size_t i = 0; i < 2; i++) {
        const size_t bit = below((MODEL_SIZE_MAX - 16) * 8);
        uint8_t window[WDB_BITS_WINDOW];
        memcpy(window, model.bytes + bit / 8, sizeof(window));
        wdb_bits_set_field(window, bit % 8, 63, value);
        write_model(bit / 8, wdb_slice(window, (bit % 8 + 62) / 8 + 1));
        arguments[2 + 4 * i] = wdb_slice_str("SET");
        arguments[3 + 4 * i] = wdb_slice_str("u63");
        arguments[4 + 4 * i] = number(offset_text[i], bit);
        arguments[5 + 4 * i] = number(value_text, value);
    }
    (void)cmd_send_slices(model.client, 10, arguments);
}

static void set_whole(void)
{
    memset(model.bytes, 0, MODEL_SIZE_MAX);
    model.size = 0;
    const struct wdb_slice bytes = random_bytes(100 << 10);
    write_model(0, bytes);
    (void)send4("SET", bytes, NONE);
}

/* The value goes through other keys and databases and comes back. */
static void move_around(void)
{
    if (model.size == 0) {
        return;
    }
    switch (below(5)) {
    case 0:
        CHECK_REPLY(model.client, "RENAME key other ; RENAME other key",
                    "+OK | +OK");
        break;
    case 1:
        CHECK_REPLY(model.client,
                    "COPY key other ; DEL key ; COPY other key ; DEL other",
                    ":1 | :1 | :1 | :1");
        break;
    case 2:
        CHECK_REPLY(model.client,
                    "MOVE key 3 ; SELECT 3 ; MOVE key 0 ; SELECT 0",
                    ":1 | +OK | :1 | +OK");
        break;
    case 3:
        CHECK_REPLY(model.client,
                    "MULTI ; RENAME key other ; COPY other key ; DEL other ; "
                    "SETBIT key 0 0 ; SETBIT key 0 1 ; EXEC",
                    model.bytes[0] & 0x80
                        ? "+OK | +QUEUED | +QUEUED | +QUEUED | +QUEUED | "
                          "+QUEUED | *5 +OK :1 :1 :1 :0"
                        : "+OK | +QUEUED | +QUEUED | +QUEUED | +QUEUED | "
                          "+QUEUED | *5 +OK :1 :1 :0 :0");
        model.bytes[0] |= 0x80;
        break;
    default:
        CHECK(strncmp(cmd_send(model.client, "COPY key other ; SETRANGE other "
                                             "1 x ; DEL other"),
                      ":1 | :", 6) == 0);
        break;
    }
}

/* --- comparisons --------------------------------------------------------------- */

static bool reply_is_bulk(const uint8_t *bytes, size_t size)
{
    const struct wdb_slice reply = cmd_reply_bytes(model.client);
    char head[32];
    const size_t head_size =
        (size_t)snprintf(head, sizeof(head), "$%zu\r\n", size);
    return reply.size == head_size + size + 2 &&
           memcmp(reply.data, head, head_size) == 0 &&
           memcmp(reply.data + head_size, bytes, size) == 0;
}

static void check_all(void)
{
    char expected[32];
    snprintf(expected, sizeof(expected), ":%zu", model.size);
    CHECK_STR(send4("STRLEN", NONE, NONE), expected);
    (void)send4("GET", NONE, NONE);
    CHECK(model.size == 0 || reply_is_bulk(model.bytes, model.size));
    snprintf(expected, sizeof(expected), ":%llu",
             (unsigned long long)wdb_bits_count(
                 wdb_slice(model.bytes, model.size)));
    CHECK_STR(send4("BITCOUNT", NONE, NONE), expected);
}

static void check_part(void)
{
    if (model.size == 0) {
        return;
    }
    char first_text[24], last_text[24], expected[32];
    const size_t first = below(model.size);
    const size_t last = first + below(model.size - first);
    (void)send4("GETRANGE", number(first_text, first), number(last_text, last));
    CHECK(reply_is_bulk(model.bytes + first, last - first + 1));
    const uint8_t *part = model.bytes + first;
    const int64_t found =
        wdb_bits_find(wdb_slice(part, last - first + 1), true);
    snprintf(expected, sizeof(expected), ":%lld",
             found < 0 ? -1LL : (long long)(first * 8) + (long long)found);
    const struct wdb_slice arguments[] = {
        wdb_slice_str("BITPOS"), wdb_slice_str("key"), wdb_slice_str("1"),
        number(first_text, first), number(last_text, last)};
    CHECK_STR(cmd_send_slices(model.client, 5, arguments), expected);
}

static void compare_with_model(bool cold)
{
    const uint64_t seed = test_number("WDB_TEST_SEED", 1);
    const uint64_t rounds = test_number("WDB_TEST_ROUNDS", 400);
    begin(seed, cold);
    for (uint64_t round = 0; round < rounds && !test_has_failed(); round++) {
        switch (below(12)) {
        case 0:
        case 1:
        case 2:
            change_append();
            break;
        case 3:
        case 4:
            change_range();
            break;
        case 5:
        case 6:
            change_bit();
            break;
        case 7:
            change_fields();
            break;
        case 8:
            if (below(4) == 0) {
                set_whole();
            }
            break;
        case 9:
            move_around();
            break;
        case 10:
            check_part();
            break;
        default:
            if (below(4) == 0) {
                cmd_client_free(model.client);
                cmd_world_reopen(model.world);
                model.client = cmd_client_new(model.world);
            }
            break;
        }
        if (round % 8 == 0) {
            check_all();
        }
    }
    check_all();
    end();
}

/* Any sequence of changes gives what it gives in plain memory, also after a
 * restart. */
TEST(chunks_model)
{
    compare_with_model(false);
}

/* The same while what is read must be fetched first. */
TEST(chunks_model_cold)
{
    compare_with_model(true);
}

/* A bit at the far end of nothing costs a chunk, not half a gigabyte; and a
 * small change of a large string does not rewrite it. */
TEST(chunks_write_little)
{
    begin(1, false);
    struct wdb_log_stats before, after;
    struct wdb_log *log = wdb_db_log(cmd_world_context(model.world)->db);
    wdb_log_stats(log, &before);
    CHECK_REPLY(model.client,
                "SETBIT key 4294967295 1 ; STRLEN key ; "
                "BITCOUNT key ; BITPOS key 1",
                ":0 | :536870912 | :1 | :4294967295");
    CHECK_REPLY(model.client, "GETRANGE key 536870910 536870911",
                "$2 \\x00\\x01");
    for (int i = 0; i < 100; i++) {
        CHECK_REPLY(model.client,
                    "SETRANGE key 1000000 x ; SETBIT key 77777 1 "
                    "; SETBIT key 77777 0",
                    i == 0 ? ":536870912 | :0 | :1" : ":536870912 | :0 | :1");
    }
    wdb_log_stats(log, &after);
    CHECK(after.bytes_appended - before.bytes_appended < 4u << 20);
    CHECK_REPLY(model.client, "EXPIRE key 100 ; APPEND key x",
                ":1 | -ERR string exceeds maximum allowed size "
                "(proto-max-bulk-len)");
    CHECK_REPLY(model.client,
                "SETRANGE key 5 y ; TTL key ; OBJECT ENCODING key "
                "; TYPE key",
                ":536870912 | :100 | $3 raw | +string");
    CHECK_REPLY(model.client, "GETDEL key x",
                "-ERR wrong number of arguments for 'getdel' command");
    CHECK_REPLY(model.client, "INCR key",
                "-ERR value is not an integer or out of range");
    CHECK_REPLY(model.client, "SET key small ; GET key", "+OK | $5 small");
    end();
}

/* Whatever allocation fails, the string is as before or as after. */
TEST(chunks_without_memory)
{
    begin(1, false);
    const struct wdb_slice arguments[] = {wdb_slice_str("SETRANGE"),
                                          wdb_slice_str("key"),
                                          wdb_slice_str("120000"),
                                          wdb_slice_str("tail")};
    bool failed = true;
    for (uint64_t n = 1; failed && n < 200; n++) {
        CHECK_REPLY(model.client, "SET key '' ; SETRANGE key 99999 a",
                    "+OK | :100000");
        cmd_world_fail_allocation(model.world, n);
        const char *reply = cmd_send_slices(model.client, 4, arguments);
        failed = cmd_world_allocation_failed(model.world);
        const bool lost = reply[0] == '\0';
        const bool done = strcmp(reply, ":120004") == 0;
        CHECK(lost || done ||
              strcmp(reply, "-OOM out of memory, the command was not done") ==
                  0);
        if (lost) { /* no memory to answer: the client is closed */
            cmd_client_free(model.client);
            model.client = cmd_client_new(model.world);
        }
        const char *state =
            cmd_send(model.client, "STRLEN key ; GETRANGE key -5 -1");
        const bool is_before =
            strcmp(state, ":100000 | $5 \\x00\\x00\\x00\\x00a") == 0;
        const bool is_after = strcmp(state, ":120004 | $5 \\x00tail") == 0;
        CHECK(done ? is_after : lost ? is_before || is_after : is_before);
    }
    CHECK(!failed);
    end();
}

/* The library reads what a server left in chunks. */
TEST(chunks_by_library)
{
    const char *dir = test_tmpdir();
    struct cmd_world *world = cmd_world_new(dir, NULL);
    struct cmd_client *client = cmd_client_new(world);
    CHECK_REPLY(client, "SETRANGE key 99999 a ; SETRANGE key 50000 b",
                ":100000 | :100000");
    cmd_client_free(client);
    cmd_world_free(world);
    walkerdb *db = NULL;
    REQUIRE(walkerdb_open(dir, NULL, &db, NULL) == 0);
    void *data = NULL;
    size_t size = 0;
    CHECK_EQ(walkerdb_get(db, "key", 3, &data, &size), 0);
    CHECK_EQ(size, 100000);
    const uint8_t *bytes = data;
    CHECK(bytes[99999] == 'a' && bytes[50000] == 'b' && bytes[7] == 0);
    CHECK_EQ(walkerdb_compare_and_set(db, "key", 3, data, size, "x", 1), 0);
    walkerdb_free(data);
    CHECK_EQ(walkerdb_get(db, "key", 3, &data, &size), 0);
    CHECK_EQ(size, 1);
    walkerdb_free(data);
    walkerdb_close(db);
}
