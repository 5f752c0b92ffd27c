/* test_raft_base.c - what the manifest keeps for Raft. */
#include <stdio.h>

#include "base/bytes.h"
#include "base/crc32c.h"
#include "lib/fault_alloc.h"
#include "lib/test.h"
#include "raft/members.h"
#include "walkerdb.h"

static void make_base(struct wdb_raft_base *base)
{
    *base = (struct wdb_raft_base){
        .index = 100,
        .term = 7,
        .state_hash = UINT64_C(0x0123456789abcdef),
        .members_index = 42,
        .members.cluster_id = 5,
    };
    for (unsigned i = 1; i <= 3; i++) {
        struct wdb_member m = {.id = i, .role = WDB_MEMBER_VOTER};
        snprintf(m.name, sizeof(m.name), "n%u", i);
        snprintf(m.raft_address, sizeof(m.raft_address), "h:%u", i);
        snprintf(m.tcp_address, sizeof(m.tcp_address), "h:%u", 10 + i);
        REQUIRE_EQ(wdb_members_add(&base->members, &m), 0);
    }
    REQUIRE_EQ(wdb_members_remove(&base->members, 2), 0);
}

/* What is encoded is decoded to the same. */
TEST(round_trip)
{
    struct wdb_raft_base base, back;
    struct wdb_buffer out = WDB_BUFFER_INIT, again = WDB_BUFFER_INIT;
    make_base(&base);
    REQUIRE_EQ(wdb_raft_base_encode(&base, &out), 0);
    REQUIRE_EQ(wdb_raft_base_decode(out.data, out.size, &back), 0);
    CHECK_EQ(back.index, 100);
    CHECK_EQ(back.term, 7);
    CHECK_EQ(back.state_hash, base.state_hash);
    CHECK_EQ(back.members_index, 42);
    CHECK_EQ(back.members.cluster_id, 5);
    CHECK_EQ(back.members.count, 2);
    CHECK_EQ(back.members.removed_count, 1);
    REQUIRE_EQ(wdb_raft_base_encode(&back, &again), 0);
    CHECK_MEM(out.data, out.size, again.data, again.size);
    wdb_raft_base_release(&base);
    CHECK_EQ(base.index, 0);
    wdb_raft_base_release(&back);
    wdb_buffer_release(&out);
    wdb_buffer_release(&again);
}

/* A node that knows no configuration yet has a base, too. */
TEST(round_trip_empty)
{
    struct wdb_raft_base base = {0}, back;
    struct wdb_buffer out = WDB_BUFFER_INIT;
    REQUIRE_EQ(wdb_raft_base_encode(&base, &out), 0);
    CHECK_EQ(out.size, 56);
    REQUIRE_EQ(wdb_raft_base_decode(out.data, out.size, &back), 0);
    CHECK_EQ(back.members.count, 0);
    CHECK_EQ(back.members.cluster_id, 0);
    wdb_raft_base_release(&back);
    wdb_buffer_release(&out);
}

/* Numbers that contradict each other are not encoded. */
TEST(encode_refuses)
{
    struct wdb_raft_base base;
    struct wdb_buffer out = WDB_BUFFER_INIT;
    make_base(&base);
    base.term = 0;
    CHECK_EQ(wdb_raft_base_encode(&base, &out), WALKERDB_EINVALID);
    base.term = 7;
    base.index = 41;
    CHECK_EQ(wdb_raft_base_encode(&base, &out), WALKERDB_EINVALID);
    base.index = 42;
    base.members.members[0].id = 0;
    CHECK_EQ(wdb_raft_base_encode(&base, &out), WALKERDB_EINVALID);
    CHECK_EQ(out.size, 0);
    wdb_raft_base_release(&base);
}

/* Every flipped bit and every other size is refused. */
TEST(damage_is_found)
{
    struct wdb_raft_base base, back;
    struct wdb_buffer out = WDB_BUFFER_INIT;
    make_base(&base);
    REQUIRE_EQ(wdb_raft_base_encode(&base, &out), 0);
    for (size_t bit = 0; bit < out.size * 8; bit++) {
        out.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
        CHECK_EQ(wdb_raft_base_decode(out.data, out.size, &back),
                 WALKERDB_ECORRUPT);
        out.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    for (size_t size = 0; size < out.size; size++) {
        CHECK_EQ(wdb_raft_base_decode(out.data, size, &back),
                 WALKERDB_ECORRUPT);
    }
    wdb_raft_base_release(&base);
    wdb_buffer_release(&out);
}

/* Set a byte of an encoded base, and make its checksum right. */
static int decode_changed(size_t at, uint8_t to)
{
    struct wdb_raft_base base, back;
    struct wdb_buffer out = WDB_BUFFER_INIT;
    make_base(&base);
    CHECK_EQ(wdb_raft_base_encode(&base, &out), 0);
    out.data[at] = to;
    wdb_store32(out.data + out.size - 4, wdb_crc32c(0, out.data, out.size - 4));
    const int rc = wdb_raft_base_decode(out.data, out.size, &back);
    if (rc == 0) {
        wdb_raft_base_release(&back);
    }
    wdb_raft_base_release(&base);
    wdb_buffer_release(&out);
    return rc;
}

/* A right checksum does not make wrong content right. */
TEST(strict_decode)
{
    CHECK_EQ(decode_changed(8, 1), 0);
    CHECK_EQ(decode_changed(8, 2), WALKERDB_EVERSION);
    CHECK_EQ(decode_changed(8, 0), WALKERDB_ECORRUPT);
    CHECK_EQ(decode_changed(0, 0), WALKERDB_ECORRUPT);  /* magic */
    CHECK_EQ(decode_changed(12, 0), WALKERDB_ECORRUPT); /* size of members */
    CHECK_EQ(decode_changed(15, 255), WALKERDB_ECORRUPT);
    CHECK_EQ(decode_changed(16, 41), WALKERDB_ECORRUPT); /* index */
    CHECK_EQ(decode_changed(16, 99), 0);
    CHECK_EQ(decode_changed(24, 0), WALKERDB_ECORRUPT);   /* term */
    CHECK_EQ(decode_changed(40, 101), WALKERDB_ECORRUPT); /* members_index */
    CHECK_EQ(decode_changed(48, 9), WALKERDB_ECORRUPT);   /* members */
}

/* Whatever allocation fails, the error says so and nothing leaks. */
TEST(out_of_memory)
{
    struct wdb_raft_base base;
    make_base(&base);
    for (uint64_t n = 1;; n++) {
        struct wdb_raft_base back;
        struct wdb_buffer out = WDB_BUFFER_INIT;
        fault_alloc_arm(n);
        int rc = wdb_raft_base_encode(&base, &out);
        if (rc == 0) {
            rc = wdb_raft_base_decode(out.data, out.size, &back);
        }
        const bool has_failed = fault_alloc_disarm();
        CHECK_EQ(rc, has_failed ? WALKERDB_ENOMEM : 0);
        wdb_buffer_release(&out);
        if (rc == 0) {
            wdb_raft_base_release(&back);
        }
        if (!has_failed) {
            CHECK(n > 3);
            break;
        }
    }
    wdb_raft_base_release(&base);
}
