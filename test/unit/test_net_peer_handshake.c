/* test_net_peer_handshake.c - the handshake of two nodes over memory. */
#include <stdio.h>
#include <stdlib.h>

#include "base/bytes.h"
#include "lib/test.h"
#include "net/peer_handshake.h"

#define CLUSTER 0xc1u
#define A       0xaau
#define B       0xbbu

/* Two ends, what each has sent in all, and how it is cut on its way. */
struct pair {
    struct wdb_handshake_options a, b; /* initiator, acceptor */
    struct wdb_handshake initiator, acceptor;
    uint8_t sent[2][4096]; /* by initiator, acceptor */
    size_t sent_size[2];
};

static void name_party(struct wdb_handshake_party *party, wdb_node_id id,
                       const char *name)
{
    party->id = id;
    party->cluster_id = CLUSTER;
    snprintf(party->name, sizeof(party->name), "%s", name);
    snprintf(party->raft_address, sizeof(party->raft_address), "%s:8001", name);
    snprintf(party->tcp_address, sizeof(party->tcp_address), "%s:8011", name);
}

static void init_pair(struct pair *pair)
{
    memset(pair, 0, sizeof(*pair));
    name_party(&pair->a.self, A, "alpha");
    name_party(&pair->b.self, B, "beta");
    pair->a.secret.is_set = pair->b.secret.is_set = true;
    memset(pair->a.secret.key, 7, sizeof(pair->a.secret.key));
    memset(pair->b.secret.key, 7, sizeof(pair->b.secret.key));
    memset(pair->a.nonce, 1, sizeof(pair->a.nonce));
    memset(pair->b.nonce, 2, sizeof(pair->b.nonce));
    pair->a.secret_dir = "/home/alpha";
    pair->b.secret_dir = "/home/beta";
    pair->a.purpose = WDB_PURPOSE_ENTRIES;
    pair->a.to = B;
}

/* Bring what one side has to send to the other, in pieces of that size; returns
 * whether there was something. */
static bool carry(struct pair *pair, bool from_initiator, size_t piece)
{
    struct wdb_handshake *from =
        from_initiator ? &pair->initiator : &pair->acceptor;
    struct wdb_handshake *to =
        from_initiator ? &pair->acceptor : &pair->initiator;
    uint8_t *sent = pair->sent[!from_initiator];
    size_t *sent_size = &pair->sent_size[!from_initiator];
    uint8_t bytes[WDB_HANDSHAKE_SIZE_MAX];
    size_t size = from->output_size;
    memcpy(bytes, from->output, size);
    from->output_size = 0;
    memcpy(sent + *sent_size, bytes, size);
    *sent_size += size;
    for (size_t at = 0; at < size;) {
        size_t used, part = size - at < piece ? size - at : piece;
        enum wdb_handshake_state state =
            wdb_handshake_feed(to, bytes + at, part, &used);
        CHECK(used <= part);
        if (state == WDB_HANDSHAKE_FAILED) {
            break;
        }
        CHECK_EQ(used, part);
        at += part;
    }
    return size > 0;
}

static void run_pair(struct pair *pair, size_t piece)
{
    wdb_handshake_init_initiator(&pair->initiator, &pair->a);
    wdb_handshake_init_acceptor(&pair->acceptor, &pair->b);
    pair->acceptor.clock_ms = 123456;
    while (carry(pair, true, piece) || carry(pair, false, piece)) {
    }
}

/* Both know the secret: both know who the other is, however the bytes are cut. */
TEST(success_in_pieces)
{
    for (size_t piece = 1; piece < 900; piece += piece < 40 ? 1 : 61) {
        struct pair pair;
        init_pair(&pair);
        run_pair(&pair, piece);
        REQUIRE_EQ(pair.initiator.state, WDB_HANDSHAKE_DONE);
        REQUIRE_EQ(pair.acceptor.state, WDB_HANDSHAKE_DONE);
        CHECK_EQ(pair.acceptor.peer.id, A);
        CHECK_EQ(pair.acceptor.peer.cluster_id, CLUSTER);
        CHECK_EQ(pair.acceptor.purpose, WDB_PURPOSE_ENTRIES);
        CHECK_STR(pair.acceptor.peer.name, "alpha");
        CHECK_STR(pair.acceptor.peer.raft_address, "alpha:8001");
        CHECK_STR(pair.acceptor.peer.tcp_address, "alpha:8011");
        CHECK_EQ(pair.initiator.peer.id, B);
        CHECK_STR(pair.initiator.peer.name, "beta");
        CHECK_STR(pair.initiator.peer.tcp_address, "beta:8011");
        CHECK_EQ(pair.initiator.peer_clock_ms, 123456);
    }
}

/* The longest names and addresses fit. */
TEST(longest_texts)
{
    struct pair pair;
    init_pair(&pair);
    memset(pair.a.self.name, 'n', WDB_MEMBER_NAME_MAX);
    memset(pair.a.self.raft_address, 'r', WDB_MEMBER_ADDRESS_MAX);
    memset(pair.a.self.tcp_address, 't', WDB_MEMBER_ADDRESS_MAX);
    pair.b.self = pair.a.self;
    pair.b.self.id = B;
    run_pair(&pair, 1000);
    CHECK_EQ(pair.initiator.state, WDB_HANDSHAKE_DONE);
    CHECK_EQ(pair.acceptor.state, WDB_HANDSHAKE_DONE);
    CHECK_STR(pair.initiator.peer.tcp_address, pair.a.self.tcp_address);
}

static void expect_failure(struct pair *pair, enum wdb_handshake_reason reason,
                           const char *says)
{
    run_pair(pair, 4096);
    CHECK_EQ(pair->initiator.state, WDB_HANDSHAKE_FAILED);
    CHECK_EQ(pair->initiator.reason, reason);
    if (!test_check(strstr(pair->initiator.message, says) != NULL, __FILE__,
                    __LINE__, pair->initiator.message)) {
        return;
    }
    CHECK(pair->acceptor.state != WDB_HANDSHAKE_DONE);
}

/* Another secret: the initiator finds out, says which file, and sends nothing
 * that would help who has none. */
TEST(other_secret)
{
    struct pair pair;
    init_pair(&pair);
    pair.b.secret.key[31] ^= 1;
    expect_failure(&pair, WDB_REASON_SECRET, "/home/alpha/cluster-secret");
    CHECK_EQ(pair.acceptor.state, WDB_HANDSHAKE_PROOF);
    CHECK(!pair.initiator.by_peer);
}

/* One that answers the challenge without the secret is refused. */
TEST(wrong_proof)
{
    struct pair pair;
    init_pair(&pair);
    wdb_handshake_init_initiator(&pair.initiator, &pair.a);
    wdb_handshake_init_acceptor(&pair.acceptor, &pair.b);
    carry(&pair, true, 4096);
    carry(&pair, false, 4096);
    REQUIRE_EQ(pair.initiator.output_size, 40);
    for (size_t i = 0; i < 32 * 8; i++) {
        struct wdb_handshake acceptor = pair.acceptor;
        uint8_t proof[40];
        size_t used;
        memcpy(proof, pair.initiator.output, sizeof(proof));
        proof[8 + i / 8] ^= (uint8_t)(1 << i % 8);
        CHECK_EQ(wdb_handshake_feed(&acceptor, proof, sizeof(proof), &used),
                 WDB_HANDSHAKE_FAILED);
        CHECK_EQ(acceptor.reason, WDB_REASON_SECRET);
    }
}

/* What proved something once proves nothing to an acceptor with another nonce,
 * and no end's proof serves as the other's. */
TEST(replay_and_reflection)
{
    struct pair first, second;
    size_t used, hello;
    init_pair(&first);
    run_pair(&first, 4096);
    REQUIRE_EQ(first.acceptor.state, WDB_HANDSHAKE_DONE);
    init_pair(&second);
    memset(second.b.nonce, 3, sizeof(second.b.nonce));
    wdb_handshake_init_acceptor(&second.acceptor, &second.b);
    hello = wdb_load32(first.sent[0]);
    CHECK_EQ(wdb_handshake_feed(&second.acceptor, first.sent[0], hello, &used),
             WDB_HANDSHAKE_PROOF);
    uint8_t challenge[WDB_HANDSHAKE_SIZE_MAX];
    memcpy(challenge, second.acceptor.output, second.acceptor.output_size);
    second.acceptor.output_size = 0;
    struct wdb_handshake acceptor = second.acceptor;
    CHECK_EQ(wdb_handshake_feed(&acceptor, first.sent[0] + hello,
                                first.sent_size[0] - hello, &used),
             WDB_HANDSHAKE_FAILED);
    CHECK_EQ(acceptor.reason, WDB_REASON_SECRET);
    /* The acceptor's own MAC as the proof. */
    uint8_t proof[40] = {40, 0, 0, 0, 3};
    memcpy(proof + 8, challenge + 72, 32);
    acceptor = second.acceptor;
    CHECK_EQ(wdb_handshake_feed(&acceptor, proof, sizeof(proof), &used),
             WDB_HANDSHAKE_FAILED);
    /* The answers of before, to an initiator with another nonce. */
    memset(second.a.nonce, 4, sizeof(second.a.nonce));
    wdb_handshake_init_initiator(&second.initiator, &second.a);
    second.initiator.output_size = 0;
    CHECK_EQ(wdb_handshake_feed(&second.initiator, first.sent[1], 104, &used),
             WDB_HANDSHAKE_FAILED);
    CHECK_EQ(second.initiator.reason, WDB_REASON_SECRET);
}

/* No byte of what is sent may change on its way: one end fails at least, and
 * never both come through with different opinions. */
TEST(every_byte_counts)
{
    struct pair good;
    init_pair(&good);
    run_pair(&good, 4096);
    for (int side = 0; side < 2; side++) {
        for (size_t at = 0; at < good.sent_size[side]; at++) {
            struct pair pair;
            size_t seen = 0;
            init_pair(&pair);
            wdb_handshake_init_initiator(&pair.initiator, &pair.a);
            wdb_handshake_init_acceptor(&pair.acceptor, &pair.b);
            pair.acceptor.clock_ms = 123456;
            for (int i = 0; i < 4; i++) {
                struct wdb_handshake *from =
                    i % 2 == 0 ? &pair.initiator : &pair.acceptor;
                if (i % 2 == side) {
                    if (at >= seen && at < seen + from->output_size) {
                        from->output[at - seen] ^= 0x40;
                    }
                    seen += from->output_size;
                }
                carry(&pair, i % 2 == 0, 4096);
            }
            CHECK(pair.initiator.state != WDB_HANDSHAKE_DONE);
            /* Only what the acceptor says last can't be missed by it. */
            CHECK(pair.acceptor.state != WDB_HANDSHAKE_DONE ||
                  (side == 1 && at >= 104));
        }
    }
}

/* Another cluster: the text names both, and both ends know that who says so has
 * the secret. */
TEST(other_cluster)
{
    struct pair pair;
    init_pair(&pair);
    pair.b.self.cluster_id = 0xdd;
    pair.a.to = 0xcc; /* who was there before */
    expect_failure(&pair, WDB_REASON_CLUSTER, "00000000000000c1");
    CHECK(strstr(pair.initiator.message, "00000000000000dd") != NULL);
    CHECK(pair.initiator.by_peer && pair.initiator.by_proved_peer);
    CHECK_STR(pair.acceptor.message, pair.initiator.message);
    CHECK(pair.acceptor.peer_proved);
    CHECK_EQ(pair.acceptor.wanted, 0xcc);
}

/* Who has another secret, or none, proves nothing by a HELLO of another cluster. */
TEST(other_cluster_without_proof)
{
    struct pair pair;
    init_pair(&pair);
    pair.b.self.cluster_id = 0xdd;
    pair.b.secret.key[0] ^= 1;
    expect_failure(&pair, WDB_REASON_SECRET, "00000000000000dd");
    CHECK(!pair.acceptor.peer_proved);
    init_pair(&pair);
    pair.b.self.cluster_id = 0xdd;
    pair.a.secret = pair.b.secret = (struct wdb_peer_secret){.is_set = false};
    pair.a.is_loopback = pair.b.is_loopback = true;
    expect_failure(&pair, WDB_REASON_CLUSTER, "00000000000000dd");
    CHECK(!pair.acceptor.peer_proved && !pair.initiator.by_proved_peer);
}

/* An initiator does not count on the acceptor to see that. */
TEST(acceptor_that_does_not_look)
{
    for (int i = 0; i < 2; i++) {
        struct pair pair;
        init_pair(&pair);
        wdb_handshake_init_initiator(&pair.initiator, &pair.a);
        wdb_handshake_init_acceptor(&pair.acceptor, &pair.b);
        carry(&pair, true, 4096);
        carry(&pair, false, 4096);
        carry(&pair, true, 4096);
        REQUIRE_EQ(pair.acceptor.state, WDB_HANDSHAKE_DONE);
        if (i == 0) {
            pair.initiator.options.to = 0xcc;
        } else {
            pair.initiator.options.self.cluster_id = 0xdd;
        }
        carry(&pair, false, 4096);
        CHECK_EQ(pair.initiator.state, WDB_HANDSHAKE_FAILED);
        CHECK_EQ(pair.initiator.reason,
                 i == 0 ? WDB_REASON_IDENTITY : WDB_REASON_CLUSTER);
    }
}

/* A node that is in no cluster yet is taken, and takes; so is any probe. */
TEST(no_cluster)
{
    for (int i = 0; i < 3; i++) {
        struct pair pair;
        init_pair(&pair);
        if (i == 0) {
            pair.a.self.cluster_id = 0;
        } else if (i == 1) {
            pair.b.self.cluster_id = 0;
        } else {
            pair.b.self.cluster_id = 0xdd;
            pair.a.purpose = WDB_PURPOSE_PROBE;
            pair.a.to = 0;
        }
        run_pair(&pair, 4096);
        CHECK_EQ(pair.initiator.state, WDB_HANDSHAKE_DONE);
        CHECK_EQ(pair.acceptor.state, WDB_HANDSHAKE_DONE);
        CHECK_EQ(pair.initiator.peer.cluster_id, pair.b.self.cluster_id);
    }
}

/* Somebody else is at the address. */
TEST(other_node)
{
    struct pair pair;
    init_pair(&pair);
    pair.a.to = 0xcc;
    expect_failure(&pair, WDB_REASON_IDENTITY, "00000000000000cc");
    CHECK(strstr(pair.initiator.message, "00000000000000bb") != NULL);
}

/* Another major version is refused by a text; a newer minor one with fields that
 * we do not know is fine. */
TEST(versions)
{
    struct pair pair;
    init_pair(&pair);
    wdb_handshake_init_initiator(&pair.initiator, &pair.a);
    wdb_handshake_init_acceptor(&pair.acceptor, &pair.b);
    wdb_store16(pair.initiator.output + 16, 2);
    carry(&pair, true, 4096);
    CHECK_EQ(pair.acceptor.reason, WDB_REASON_VERSION);
    carry(&pair, false, 4096);
    CHECK_EQ(pair.initiator.state, WDB_HANDSHAKE_FAILED);
    CHECK(strstr(pair.initiator.message, "version 2") != NULL);

    init_pair(&pair);
    wdb_handshake_init_initiator(&pair.initiator, &pair.a);
    wdb_handshake_init_acceptor(&pair.acceptor, &pair.b);
    size_t size = pair.initiator.output_size;
    wdb_store16(pair.initiator.output + 18, 9);
    memset(pair.initiator.output + size, 0xee, 16);
    wdb_store32(pair.initiator.output, (uint32_t)size + 16);
    pair.initiator.output_size += 16;
    carry(&pair, true, 4096);
    CHECK_EQ(pair.acceptor.state, WDB_HANDSHAKE_PROOF);
}

static bool is_removed(void *context, wdb_node_id id)
{
    return id == *(wdb_node_id *)context;
}

/* Who was removed is told so by one that proved to be of the cluster; but it may
 * ask who is there. */
TEST(removed)
{
    struct pair pair;
    wdb_node_id removed = A;
    init_pair(&pair);
    pair.b.is_removed = is_removed;
    pair.b.context = &removed;
    expect_failure(&pair, WDB_REASON_REMOVED, "was removed");
    CHECK(pair.initiator.by_peer && pair.initiator.by_proved_peer);
    pair.a.purpose = WDB_PURPOSE_PROBE;
    run_pair(&pair, 4096);
    CHECK_EQ(pair.initiator.state, WDB_HANDSHAKE_DONE);
}

/* Nobody can say "removed" who does not know the secret. */
TEST(forged_removal)
{
    struct pair pair;
    init_pair(&pair);
    wdb_handshake_init_initiator(&pair.initiator, &pair.a);
    wdb_handshake_init_acceptor(&pair.acceptor, &pair.b);
    carry(&pair, true, 4096);
    carry(&pair, false, 4096);
    REQUIRE_EQ(pair.initiator.state, WDB_HANDSHAKE_WELCOME);
    uint8_t refused[50] = {50, 0, 0, 0, 5, 0, 0, 0, WDB_REASON_REMOVED, 1, 6};
    memcpy(refused + 44, "go\naway", 6);
    size_t used;
    pair.initiator.output_size = 0;
    CHECK_EQ(wdb_handshake_feed(&pair.initiator, refused, sizeof(refused),
                                &used),
             WDB_HANDSHAKE_FAILED);
    CHECK_EQ(pair.initiator.reason, WDB_REASON_REMOVED);
    CHECK(pair.initiator.by_peer && !pair.initiator.by_proved_peer);
    CHECK_STR(pair.initiator.message, "go?awa");
}

/* Without a secret at both ends: on one machine only. With one at one end: the
 * text says what to copy. */
TEST(no_secret)
{
    struct pair pair;
    init_pair(&pair);
    pair.a.secret = pair.b.secret = (struct wdb_peer_secret){.is_set = false};
    expect_failure(&pair, WDB_REASON_SECRET, "/home/beta");
    CHECK(strstr(pair.initiator.message, "protected mode") != NULL);
    pair.a.is_loopback = pair.b.is_loopback = true;
    run_pair(&pair, 4096);
    CHECK_EQ(pair.initiator.state, WDB_HANDSHAKE_DONE);
    CHECK_EQ(pair.acceptor.state, WDB_HANDSHAKE_DONE);
    pair.a.is_loopback = false; /* an acceptor that pretends */
    run_pair(&pair, 4096);
    CHECK_EQ(pair.initiator.state, WDB_HANDSHAKE_FAILED);
    CHECK(strstr(pair.initiator.message, "/home/alpha") != NULL);
    init_pair(&pair);
    pair.a.secret.is_set = false;
    pair.a.is_loopback = pair.b.is_loopback = true;
    expect_failure(&pair, WDB_REASON_SECRET, "the dialed node has");
    init_pair(&pair);
    pair.b.secret.is_set = false;
    pair.a.is_loopback = pair.b.is_loopback = true;
    expect_failure(&pair, WDB_REASON_SECRET, "the dialing node has");
}

/* Other services and rubbish: no answer that could be of use to somebody. */
TEST(rubbish)
{
    static const char *const texts[] = {
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n", "*1\r\n$4\r\nPING\r\n",
        "\x16\x03\x01\x02\x01\x01\x01\x01\xfc\x03\x03", "\x08", "\x09\x00\x00"};
    for (size_t i = 0; i < 5; i++) {
        struct pair pair;
        size_t used;
        init_pair(&pair);
        wdb_handshake_init_acceptor(&pair.acceptor, &pair.b);
        wdb_handshake_feed(&pair.acceptor, (const uint8_t *)texts[i],
                           strlen(texts[i]), &used);
        CHECK_EQ(pair.acceptor.state,
                 i < 3 ? WDB_HANDSHAKE_FAILED : WDB_HANDSHAKE_HELLO);
        CHECK_EQ(pair.acceptor.output_size, 0);
    }
    /* Any damage to the first message, in any byte: an end without an answer of
     * substance, or a challenge that the initiator does not accept. */
    struct test_random random = {test_number("WDB_TEST_SEED", 1)};
    for (int i = 0; i < 2000; i++) {
        struct pair pair;
        size_t used;
        init_pair(&pair);
        wdb_handshake_init_initiator(&pair.initiator, &pair.a);
        wdb_handshake_init_acceptor(&pair.acceptor, &pair.b);
        for (int j = 0; j < 3; j++) {
            pair.initiator.output[test_random_below(
                &random, pair.initiator.output_size)] =
                (uint8_t)test_random_next(&random);
        }
        wdb_handshake_feed(&pair.acceptor, pair.initiator.output,
                           pair.initiator.output_size, &used);
        CHECK(pair.acceptor.state != WDB_HANDSHAKE_DONE);
        CHECK(used <= pair.initiator.output_size);
    }
}

/* More than was asked for, before the answer could have been read. */
TEST(too_eager)
{
    struct pair pair;
    uint8_t bytes[2048];
    size_t used;
    init_pair(&pair);
    wdb_handshake_init_initiator(&pair.initiator, &pair.a);
    wdb_handshake_init_acceptor(&pair.acceptor, &pair.b);
    size_t size = pair.initiator.output_size;
    memcpy(bytes, pair.initiator.output, size);
    memcpy(bytes + size, pair.initiator.output, size);
    CHECK_EQ(wdb_handshake_feed(&pair.acceptor, bytes, 2 * size, &used),
             WDB_HANDSHAKE_FAILED);
    CHECK_EQ(used, size);
}
