/* test_cmd_bitmap.c - the commands on bits, over the real executor. */
#include "lib/cmd_client.h"
#include "type/bitmap.h"

static struct cmd_world *world;
static struct cmd_client *client;

static void begin(void)
{
    world = cmd_world_new(test_tmpdir(), NULL);
    client = cmd_client_new(world);
}

static void end(void)
{
    cmd_client_free(client);
    cmd_world_free(world);
}

static bool bit_at(const uint8_t *bytes, uint64_t i)
{
    return bytes[i / 8] >> (7 - i % 8) & 1;
}

/* Counting and finding agree with a walk over single bits, at every size and
 * alignment. */
TEST(bits_count_and_find)
{
    struct test_random random = {7};
    uint8_t bytes[100];
    for (int round = 0; round < 2000; round++) {
        const size_t from = test_random_below(&random, 8);
        const size_t size = test_random_below(&random, 90);
        memset(bytes, round % 3 == 0 ? 0xff : 0, sizeof(bytes));
        if (round % 3 == 2) {
            test_random_fill(&random, bytes, sizeof(bytes));
        } else if (size > 0) {
            bytes[from + test_random_below(&random, size)] ^=
                (uint8_t)(1u << test_random_below(&random, 8));
        }
        uint64_t count = 0;
        int64_t first[2] = {-1, -1};
        for (size_t i = size * 8; i-- > 0;) {
            const bool bit = bit_at(bytes + from, i);
            count += bit;
            first[bit] = (int64_t)i;
        }
        const struct wdb_slice slice = wdb_slice(bytes + from, size);
        CHECK_EQ(wdb_bits_count(slice), count);
        CHECK_EQ(wdb_bits_find(slice, false), first[0]);
        CHECK_EQ(wdb_bits_find(slice, true), first[1]);
    }
}

/* A field that is set is read back, and nothing around it changes. */
TEST(bits_fields)
{
    struct test_random random = {11};
    for (int round = 0; round < 20000; round++) {
        uint8_t window[WDB_BITS_WINDOW], before[WDB_BITS_WINDOW];
        test_random_fill(&random, window, sizeof(window));
        memcpy(before, window, sizeof(window));
        const unsigned first = (unsigned)test_random_below(&random, 8);
        const unsigned bits = 1 + (unsigned)test_random_below(&random, 64);
        const uint64_t mask =
            bits == 64 ? UINT64_MAX : (UINT64_C(1) << bits) - 1;
        const uint64_t value = test_random_next(&random) & mask;
        wdb_bits_set_field(window, first, bits, value);
        CHECK(wdb_bits_get_field(window, first, bits) == value);
        uint64_t read = 0;
        for (unsigned i = 0; i < 72; i++) {
            if (i < first || i >= first + bits) {
                CHECK_EQ(bit_at(window, i), bit_at(before, i));
            } else {
                read = read << 1 | bit_at(window, i);
            }
        }
        CHECK(read == value);
    }
}

TEST(cmd_bits)
{
    begin();
    CHECK_REPLY(client, "SETBIT b 7 1 ; SETBIT b 7 0 ; SETBIT b 7 1",
                ":0 | :1 | :0");
    CHECK_REPLY(client,
                "GETBIT b 7 ; GETBIT b 6 ; GETBIT b 100 ; GETBIT none 0",
                ":1 | :0 | :0 | :0");
    CHECK_REPLY(client, "GET b ; OBJECT ENCODING b", "$1 \\x01 | $3 raw");
    CHECK_REPLY(client, "SETBIT b 7 2",
                "-ERR bit is not an integer or out of range");
    CHECK_REPLY(client, "SETBIT b -1 1 ; SETBIT b 4294967296 1",
                "-ERR bit offset is not an integer or out of range | -ERR bit "
                "offset is not an integer or out of range");
    CHECK_REPLY(client, "SET b foobar EX 100", "+OK");
    CHECK_REPLY(client, "BITCOUNT b ; BITCOUNT b 0 0 ; BITCOUNT b 1 1",
                ":26 | :4 | :6");
    CHECK_REPLY(client, "BITCOUNT b 5 30 BIT ; BITCOUNT b -2 -1 BYTE",
                ":17 | :7");
    CHECK_REPLY(client, "BITCOUNT b 5 ; BITCOUNT b 1 2 x ; BITCOUNT none 1 x",
                "-ERR syntax error | -ERR syntax error | :0");
    CHECK_REPLY(client, "SETBIT b 0 1 ; TTL b", ":0 | :100");
    end();
}

TEST(cmd_bitpos)
{
    begin();
    CHECK_REPLY(client, "SET b \"\\xff\\xf0\\x00\"", "+OK");
    CHECK_REPLY(client, "BITPOS b 0 ; BITPOS b 1 ; BITPOS b 1 2",
                ":12 | :0 | :-1");
    CHECK_REPLY(client, "BITPOS b 0 0 0 ; BITPOS b 0 0 ; BITPOS b 1 1 -1",
                ":-1 | :12 | :8");
    CHECK_REPLY(client, "BITPOS b 0 3 11 BIT ; BITPOS b 1 9 -1 BIT",
                ":-1 | :9");
    CHECK_REPLY(client, "SET b \"\\xff\\xff\" ; BITPOS b 0 ; BITPOS b 0 0 -1",
                "+OK | :16 | :-1");
    CHECK_REPLY(client, "BITPOS none 0 ; BITPOS none 1 x ; BITPOS b 2",
                ":0 | :-1 | -ERR The bit argument must be 1 or 0.");
    CHECK_REPLY(client, "SET b '' ; BITPOS b 0 ; BITPOS b 1",
                "+OK | :-1 | :-1");
    end();
}

TEST(cmd_bitop)
{
    begin();
    CHECK_REPLY(client, "MSET a \"\\xff\\x0f\\x01\" b \"\\x0f\\xff\"", "+OK");
    CHECK_REPLY(client, "BITOP AND d a b ; GET d", ":3 | $3 \\x0f\\x0f\\x00");
    CHECK_REPLY(client, "BITOP OR d a b ; GET d", ":3 | $3 \\xff\\xff\\x01");
    CHECK_REPLY(client, "BITOP XOR d a b none ; GET d",
                ":3 | $3 \\xf0\\xf0\\x01");
    CHECK_REPLY(client, "BITOP NOT d a ; GET d", ":3 | $3 \\x00\\xf0\\xfe");
    CHECK_REPLY(client, "BITOP AND d none a ; GET d",
                ":3 | $3 \\x00\\x00\\x00");
    CHECK_REPLY(client, "BITOP NOT d none ; EXISTS d", ":0 | :0");
    CHECK_REPLY(client, "BITOP NOT d a b",
                "-ERR BITOP NOT must be called with a single source key.");
    CHECK_REPLY(client, "BITOP NOR d a b", "-ERR syntax error");
    end();
}

TEST(cmd_bitfield)
{
    begin();
    CHECK_REPLY(client, "BITFIELD f SET u8 0 255 GET u8 0 INCRBY u4 #1 3",
                "*3 :0 :255 :2");
    CHECK_REPLY(client,
                "BITFIELD f OVERFLOW SAT INCRBY u8 0 300 OVERFLOW FAIL "
                "INCRBY u8 0 1 OVERFLOW WRAP INCRBY u8 0 2",
                "*3 :255 $-1 :1");
    CHECK_REPLY(client,
                "BITFIELD f SET i8 0 -100 OVERFLOW SAT INCRBY i8 0 "
                "-100 SET i64 64 -1 GET i64 64 GET u63 65",
                "*5 :1 :-128 :0 :-1 :9223372036854775807");
    CHECK_REPLY(client, "STRLEN f ; BITFIELD_RO f GET i8 0 GET u16 1000",
                ":16 | *2 :-128 :0");
    CHECK_REPLY(client, "BITFIELD_RO f SET u8 0 1",
                "-ERR BITFIELD_RO only supports the GET subcommand");
    CHECK_REPLY(client, "BITFIELD f ; BITFIELD none GET u8 0 ; EXISTS none",
                "*0 | *1 :0 | :0");
    CHECK_REPLY(client, "BITFIELD f GET u64 0",
                "-ERR Invalid bitfield type. Use something like i16 u8. Note "
                "that u64 is not supported but i64 is.");
    CHECK_REPLY(client, "BITFIELD f OVERFLOW x",
                "-ERR Invalid OVERFLOW type "
                "specified");
    CHECK_REPLY(client, "BITFIELD f SET u8 0", "-ERR syntax error");
    /* What fails to change still makes the string longer. */
    CHECK_REPLY(client, "BITFIELD g OVERFLOW FAIL INCRBY u2 30 4 ; STRLEN g",
                "*1 $-1 | :4");
    end();
}
