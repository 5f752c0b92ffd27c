/* test_base_hash.c - CRC32C, SipHash and the random generator. */
#include <stdlib.h>

#include "base/crc32c.h"
#include "base/random.h"
#include "base/siphash.h"
#include "lib/test.h"

/* ---- CRC32C ---- */

/* One bit at a time, straight from the definition. */
static uint32_t crc32c_by_bits(uint32_t crc, const uint8_t *data, size_t size)
{
    uint32_t sum = ~crc;
    for (size_t i = 0; i < size; i++) {
        sum ^= data[i];
        for (int bit = 0; bit < 8; bit++) {
            sum = sum >> 1 ^ ((sum & 1) != 0 ? 0x82f63b78 : 0);
        }
    }
    return ~sum;
}

static void check_crc(const void *data, size_t size, uint32_t expected)
{
    CHECK_EQ(wdb_crc32c(0, data, size), expected);
    CHECK_EQ(wdb_crc32c_portable(0, data, size), expected);
    CHECK_EQ(crc32c_by_bits(0, data, size), expected);
}

/* The examples of RFC 3720, B.4, and the check value of the polynomial. */
TEST(crc32c_rfc_3720)
{
    static const uint8_t read_command[48] = {
        0x01, 0xc0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,    0, 0, 0, 0,
        0x14, 0,    0, 0, 0, 0, 4, 0, 0, 0, 0, 0x14, 0, 0, 0, 0x18,
        0x28, 0,    0, 0, 0, 0, 0, 0, 2, 0, 0, 0,    0, 0, 0, 0,
    };
    uint8_t bytes[32];
    memset(bytes, 0, sizeof(bytes));
    check_crc(bytes, sizeof(bytes), 0x8a9136aa);
    memset(bytes, 0xff, sizeof(bytes));
    check_crc(bytes, sizeof(bytes), 0x62a8ab43);
    for (size_t i = 0; i < sizeof(bytes); i++) {
        bytes[i] = (uint8_t)i;
    }
    check_crc(bytes, sizeof(bytes), 0x46dd794e);
    for (size_t i = 0; i < sizeof(bytes); i++) {
        bytes[i] = (uint8_t)(31 - i);
    }
    check_crc(bytes, sizeof(bytes), 0x113fdb5c);
    check_crc(read_command, sizeof(read_command), 0xd9963a56);
    check_crc("123456789", 9, 0xe3069283);
    check_crc("", 0, 0);
    check_crc(NULL, 0, 0);
}

/* All versions agree on every size, alignment and start up to 8 KiB. */
TEST(crc32c_versions_agree)
{
    static uint8_t bytes[8192 + 8];
    struct test_random random = {1};
    test_random_fill(&random, bytes, sizeof(bytes));
    for (size_t size = 0; size <= 8192; size += size < 1100 ? 1 : 61) {
        size_t offset = size % 8;
        uint32_t start = (uint32_t)test_random_next(&random);
        uint32_t expected = crc32c_by_bits(start, bytes + offset, size);
        CHECK_EQ(wdb_crc32c(start, bytes + offset, size), expected);
        CHECK_EQ(wdb_crc32c_portable(start, bytes + offset, size), expected);
    }
}

/* A sum continues from the sum of the bytes before. */
TEST(crc32c_continues)
{
    static uint8_t bytes[5000];
    struct test_random random = {2};
    test_random_fill(&random, bytes, sizeof(bytes));
    uint32_t whole = wdb_crc32c(0, bytes, sizeof(bytes));
    for (int i = 0; i < 500; i++) {
        size_t cut = test_random_below(&random, sizeof(bytes) + 1);
        uint32_t first = wdb_crc32c(0, bytes, cut);
        CHECK_EQ(wdb_crc32c(first, bytes + cut, sizeof(bytes) - cut), whole);
        CHECK_EQ(wdb_crc32c_portable(first, bytes + cut, sizeof(bytes) - cut),
                 whole);
    }
}

/* ---- SipHash-1-3 ---- */

static uint64_t rotl(uint64_t x, int bits)
{
    return x << bits | x >> (64 - bits);
}

struct sip {
    uint64_t a, b, c, d;
};

static void sip_rounds(struct sip *s, int count)
{
    for (int i = 0; i < count; i++) {
        s->a += s->b;
        s->b = rotl(s->b, 13);
        s->b ^= s->a;
        s->a = rotl(s->a, 32);
        s->c += s->d;
        s->d = rotl(s->d, 16);
        s->d ^= s->c;
        s->a += s->d;
        s->d = rotl(s->d, 21);
        s->d ^= s->a;
        s->c += s->b;
        s->b = rotl(s->b, 17);
        s->b ^= s->c;
        s->c = rotl(s->c, 32);
    }
}

/* SipHash-c-d from the paper, byte by byte, with any numbers of rounds. */
static uint64_t siphash_simple(int c, int d, const struct wdb_siphash_key *key,
                               const uint8_t *data, size_t size)
{
    struct sip s = {
        0x736f6d6570736575 ^ key->k0,
        0x646f72616e646f6d ^ key->k1,
        0x6c7967656e657261 ^ key->k0,
        0x7465646279746573 ^ key->k1,
    };
    for (size_t block = 0; block <= size / 8; block++) {
        uint64_t m = block == size / 8 ? (uint64_t)size << 56 : 0;
        for (size_t i = 0; i < 8 && block * 8 + i < size; i++) {
            m |= (uint64_t)data[block * 8 + i] << (8 * i);
        }
        s.d ^= m;
        sip_rounds(&s, c);
        s.a ^= m;
    }
    s.c ^= 0xff;
    sip_rounds(&s, d);
    return s.a ^ s.b ^ s.c ^ s.d;
}

/* The simple version is right: it gives the paper's SipHash-2-4 example. */
TEST(siphash_paper_example)
{
    struct wdb_siphash_key key = {0x0706050403020100, 0x0f0e0d0c0b0a0908};
    uint8_t data[15];
    for (size_t i = 0; i < sizeof(data); i++) {
        data[i] = (uint8_t)i;
    }
    CHECK_EQ(siphash_simple(2, 4, &key, data, sizeof(data)),
             0xa129ca6149be45e5);
}

/* The fast version equals it for all sizes and alignments. The bytes have a
 * heap block of their own each, so that a sanitizer sees a read too far. */
TEST(siphash_equals_simple)
{
    struct test_random random = {3};
    for (size_t size = 0; size < 200; size++) {
        for (size_t offset = 0; offset < 8; offset++) {
            struct wdb_siphash_key key = {test_random_next(&random),
                                          test_random_next(&random)};
            uint8_t *block = malloc(offset + size + 1);
            REQUIRE(block != NULL);
            uint8_t *end =
                realloc(block, offset + size > 0 ? offset + size : 1);
            REQUIRE(end != NULL);
            test_random_fill(&random, end, offset + size);
            CHECK_EQ(wdb_siphash13(&key, wdb_slice(end + offset, size)),
                     siphash_simple(1, 3, &key, end + offset, size));
            free(end);
        }
    }
    struct wdb_siphash_key key = {1, 2};
    CHECK_EQ(wdb_siphash13(&key, wdb_slice(NULL, 0)),
             siphash_simple(1, 3, &key, NULL, 0));
}

/* ---- random ---- */

/* The first numbers of xoshiro256** from the state 1, 2, 3, 4. */
TEST(random_known_sequence)
{
    struct wdb_random r = {{1, 2, 3, 4}};
    static const uint64_t expected[] = {
        11520,
        0,
        1509978240,
        1215971899390074240,
    };
    for (int i = 0; i < 4; i++) {
        CHECK_EQ(wdb_random_next(&r), expected[i]);
    }
}

/* The same seed gives the same numbers; seed 0 is as good as any. */
TEST(random_seed)
{
    struct wdb_random a;
    struct wdb_random b;
    wdb_random_seed(&a, 0);
    wdb_random_seed(&b, 0);
    CHECK((a.s[0] | a.s[1] | a.s[2] | a.s[3]) != 0);
    for (int i = 0; i < 100; i++) {
        CHECK_EQ(wdb_random_next(&a), wdb_random_next(&b));
    }
    wdb_random_seed(&b, 1);
    CHECK(wdb_random_next(&a) != wdb_random_next(&b));
}

/* Numbers stay below the bound and reach every one about equally often. */
TEST(random_below)
{
    struct wdb_random r;
    wdb_random_seed(&r, 42);
    int counts[7] = {0};
    for (int i = 0; i < 70000; i++) {
        uint64_t number = wdb_random_below(&r, 7);
        REQUIRE(number < 7);
        counts[number]++;
    }
    for (int i = 0; i < 7; i++) {
        CHECK(counts[i] > 9500 && counts[i] < 10500);
    }
    for (int i = 0; i < 100; i++) {
        CHECK_EQ(wdb_random_below(&r, 1), 0);
        CHECK(wdb_random_below(&r, UINT64_MAX) < UINT64_MAX);
        CHECK(wdb_random_below(&r, (uint64_t)3 << 62) < (uint64_t)3 << 62);
    }
}
