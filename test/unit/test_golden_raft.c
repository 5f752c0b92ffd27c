/*
 * test_golden_raft.c - what version 1 wrote for a cluster.
 *
 * test/golden/v1/cluster is the directory of a member: a log with two
 * configurations in it, the manifest with Raft's base, the identity. Beside it
 * are a base, the payload of a CHANGE and messages by themselves. They must be
 * readable for ever, and today's encoders must write the same bytes.
 */
#include <stdio.h>
#include <stdlib.h>

#include "lib/golden.h"
#include "lib/segment_image.h"
#include "lib/test.h"
#include "log/log.h"
#include "log/manifest.h"
#include "raft/identity.h"
#include "raft/message.h"

#define LOG      "v1/cluster/0000000000000001.log"
#define MANIFEST "v1/cluster/" WDB_MANIFEST_NAME
#define IDENTITY "v1/cluster/" WDB_IDENTITY_NAME
#define BASE     "v1/raft-base"
#define MEMBERS  "v1/raft-members"
#define MESSAGES "v1/raft-messages"

#define CLUSTER UINT64_C(0x5ca1ab1e5ca1ab1e)
#define ONE     UINT64_C(0x1111111111111111)
#define TWO     UINT64_C(0x2222222222222222)
#define THREE   UINT64_C(0x3333333333333333)

/* --- what the files hold ---------------------------------------------------
 */

static void add(struct wdb_members *members, wdb_node_id id, const char *name,
                unsigned host)
{
    struct wdb_member m = {.id = id, .role = WDB_MEMBER_VOTER};
    snprintf(m.name, sizeof(m.name), "%s", name);
    snprintf(m.raft_address, sizeof(m.raft_address), "192.0.2.%u:7379", host);
    snprintf(m.tcp_address, sizeof(m.tcp_address), "[2001:db8::%u]:6379", host);
    REQUIRE_EQ(wdb_members_add(members, &m), 0);
}

/* The founder alone. */
static void make_first(struct wdb_members *members)
{
    wdb_members_init(members);
    members->cluster_id = CLUSTER;
    add(members, ONE, "one", 1);
}

/* Two voters, one that waits, one that is gone. */
static void make_second(struct wdb_members *members)
{
    make_first(members);
    add(members, UINT64_C(0x4444444444444444), "four", 4);
    add(members, TWO, "two", 2);
    add(members, THREE, "three", 3);
    members->members[3].role = WDB_MEMBER_STANDBY;
    REQUIRE_EQ(wdb_members_remove(members, UINT64_C(0x4444444444444444)), 0);
}

static void encode_members(const struct wdb_members *members,
                           struct wdb_buffer *out)
{
    wdb_buffer_init(out);
    REQUIRE_EQ(wdb_members_encode(members, out), 0);
}

static void make_base(struct wdb_raft_base *base)
{
    *base = (struct wdb_raft_base){
        .index = 2,
        .term = 1,
        .state_hash = UINT64_C(0xfedcba9876543210),
        .members_index = 1,
    };
    make_first(&base->members);
}

static void add_change(struct segment_image *image,
                       void (*make)(struct wdb_members *))
{
    struct wdb_members members;
    struct wdb_buffer payload;
    make(&members);
    encode_members(&members, &payload);
    segment_image_add_entry(image, WDB_ENTRY_CHANGE,
                            wdb_buffer_slice(&payload));
    wdb_buffer_release(&payload);
    wdb_members_release(&members);
}

/* change, command; in the next term: barrier, change, command. */
static void make_log(struct segment_image *image)
{
    segment_image_init(image, WDB_SEGMENT_LOG, 1);
    add_change(image, make_first);
    image->durable = 1;
    image->committed = 1;
    struct wdb_record r = segment_image_put("greeting", "hello, cluster");
    segment_image_add(image, &r);
    segment_image_close_entry(image);
    image->term = 2;
    image->durable = 2;
    image->committed = 2;
    segment_image_add_entry(image, WDB_ENTRY_BARRIER, wdb_slice(NULL, 0));
    add_change(image, make_second);
    r = segment_image_put("farewell", "goodbye");
    segment_image_add(image, &r);
    segment_image_finish(image, 8192);
}

static void encode_base(struct wdb_buffer *out)
{
    struct wdb_raft_base base;
    make_base(&base);
    wdb_buffer_init(out);
    REQUIRE_EQ(wdb_raft_base_encode(&base, out), 0);
    wdb_raft_base_release(&base);
}

static void make_identity(struct wdb_identity *identity, uint64_t nonce)
{
    *identity = (struct wdb_identity){
        .number = 7,
        .id = ONE,
        .cluster_id = CLUSTER,
        .log_nonce = nonce,
        .term = 2,
        .voted_for = ONE,
        .name = "one",
    };
}

/* All that is in the log, from the configuration on, as one APPEND; then one
 * of every other kind. */
static void make_message(struct wdb_message *m, int kind,
                         const struct wdb_buffer *entries)
{
    static const uint8_t data[] = "piece";
    *m = (struct wdb_message){.kind = (enum wdb_message_kind)kind,
                              .to = TWO,
                              .term = 2};
    switch (m->kind) {
    case WDB_MESSAGE_VOTE:
        m->vote.last_index = 5;
        m->vote.last_term = 2;
        m->vote.pre_vote = true;
        return;
    case WDB_MESSAGE_VOTE_RESULT:
        m->vote_result.request_term = 2;
        m->vote_result.granted = true;
        return;
    case WDB_MESSAGE_APPEND:
        m->append.committed = 4;
        m->append.hash_index = 4;
        m->append.hash = UINT64_C(0x0123456789abcdef);
        m->append.entry_count = 5;
        m->append.entries = entries->data;
        m->append.entries_size = entries->size;
        return;
    case WDB_MESSAGE_APPEND_RESULT:
        m->append_result.request_term = 2;
        m->append_result.last_index = 5;
        return;
    case WDB_MESSAGE_TIMEOUT_NOW:
        m->timeout_now.last_index = 5;
        m->timeout_now.last_term = 2;
        return;
    case WDB_MESSAGE_ROUND:
    case WDB_MESSAGE_ROUND_RESULT:
        m->round.round = 1234;
        return;
    case WDB_MESSAGE_OFFER:
        m->offer.snapshot = 3;
        m->offer.index = 5;
        m->offer.index_term = 2;
        m->offer.size = 8192;
        return;
    case WDB_MESSAGE_FETCH:
    case WDB_MESSAGE_FETCH_FAILED:
        m->fetch.snapshot = 3;
        m->fetch.offset = 4096;
        m->fetch.file = 1;
        m->fetch.size = 512;
        return;
    case WDB_MESSAGE_PIECE:
        m->piece.snapshot = 3;
        m->piece.offset = 4096;
        m->piece.file = 1;
        m->piece.data = data;
        m->piece.size = 5;
        m->piece.crc = wdb_crc32c(0, data, 5);
        return;
    }
}

/* The entries of the log as they are sent: without frames. */
static void make_entries(struct wdb_buffer *out)
{
    struct segment_image image;
    make_log(&image);
    wdb_buffer_init(out);
    uint64_t at = WDB_SEGMENT_HEADER_SIZE;
    while (at < image.used) {
        struct wdb_frame frame;
        struct wdb_entry_header entry;
        const uint8_t *data = image.bytes.data + at;
        REQUIRE_EQ(wdb_entry_decode(data, image.used - at, at,
                                    image.header.salt, &frame, &entry),
                   0);
        const uint64_t size = sizeof(entry) + entry.payload_size;
        REQUIRE_EQ(wdb_buffer_append(out, data + sizeof(frame), size), 0);
        at += sizeof(frame) + size;
    }
    segment_image_release(&image);
}

/* --- today's encoders ------------------------------------------------------
 */

/* The log of the member. */
TEST(log)
{
    struct segment_image image;
    make_log(&image);
    golden_compare(LOG, NULL, image.bytes.data, image.bytes.size);
    segment_image_release(&image);
}

/* Base, configuration, manifest. */
TEST(metadata)
{
    struct segment_image image;
    struct wdb_members members;
    struct wdb_manifest m;
    struct wdb_buffer bytes;
    void *data;
    size_t size;
    make_second(&members);
    encode_members(&members, &bytes);
    wdb_members_release(&members);
    golden_compare(MEMBERS, GOLDEN_SEEDS "fuzz_members/golden", bytes.data,
                   bytes.size);
    wdb_buffer_release(&bytes);
    encode_base(&bytes);
    golden_compare(BASE, GOLDEN_SEEDS "fuzz_base/golden", bytes.data,
                   bytes.size);
    make_log(&image);
    wdb_manifest_init(&m, image.header.nonce);
    m.generation = 3;
    m.segment_id_next = 2;
    m.index_retained = 1;
    m.index_durable = 2;
    m.index_committed = 2;
    m.time_ms = image.time_ms;
    m.term = 2;
    m.cluster = true;
    m.raft = wdb_buffer_slice(&bytes);
    struct wdb_manifest_segment segment = {.id = 1,
                                           .kind = WDB_SEGMENT_LOG,
                                           .size = image.bytes.size,
                                           .index_first = 1};
    m.segments = &segment;
    m.segment_count = 1;
    REQUIRE_EQ(wdb_manifest_encode(&m, &data, &size), 0);
    golden_compare(MANIFEST, NULL, data, size);
    free(data);
    wdb_buffer_release(&bytes);
    segment_image_release(&image);
}

/* The identity of its owner. */
TEST(identity)
{
    struct segment_image image;
    struct wdb_identity identity;
    uint8_t file[WDB_IDENTITY_FILE_SIZE] = {0};
    segment_image_init(&image, WDB_SEGMENT_LOG, 1);
    make_identity(&identity, image.header.nonce);
    segment_image_release(&image);
    wdb_identity_encode(&identity, file);
    wdb_identity_encode(&identity, file + WDB_IDENTITY_SLOT_STEP);
    golden_compare(IDENTITY, NULL, file, sizeof(file));
    golden_seed(GOLDEN_SEEDS "fuzz_identity/slot", file, 160);
}

/* Messages of every kind, one behind the other. */
TEST(messages)
{
    struct wdb_buffer entries, all = WDB_BUFFER_INIT;
    make_entries(&entries);
    for (int kind = 1; kind <= WDB_MESSAGE_KIND_LAST; kind++) {
        uint8_t head[WDB_MESSAGE_HEAD_SIZE + WDB_MESSAGE_FIXED_MAX];
        char seed[64];
        struct wdb_message m;
        const size_t from = all.size;
        make_message(&m, kind, &entries);
        const struct wdb_slice payload = wdb_message_payload(&m);
        REQUIRE_EQ(wdb_buffer_append(&all, head, wdb_message_encode(&m, head)),
                   0);
        REQUIRE_EQ(wdb_buffer_append(&all, payload.data, payload.size), 0);
        snprintf(seed, sizeof(seed), GOLDEN_SEEDS "fuzz_message/kind-%d", kind);
        golden_seed(seed, all.data + from, all.size - from);
    }
    golden_compare(MESSAGES, NULL, all.data, all.size);
    wdb_buffer_release(&all);
    wdb_buffer_release(&entries);
}

/* --- reading ---------------------------------------------------------------
 */

/* Configuration and base are read. */
TEST(decode_metadata)
{
    struct wdb_members members;
    struct wdb_raft_base base;
    size_t size;
    uint8_t *data = golden_load(MEMBERS, &size);
    REQUIRE(data != NULL);
    REQUIRE_EQ(wdb_members_decode(data, size, &members), 0);
    CHECK(members.cluster_id == CLUSTER);
    CHECK_EQ(members.count, 3);
    CHECK_STR(members.members[1].name, "two");
    CHECK_STR(members.members[1].raft_address, "192.0.2.2:7379");
    CHECK_STR(members.members[1].tcp_address, "[2001:db8::2]:6379");
    CHECK_EQ(members.members[1].role, WDB_MEMBER_VOTER);
    CHECK_EQ(members.members[2].role, WDB_MEMBER_STANDBY);
    CHECK_EQ(members.removed_count, 1);
    CHECK_STR(members.removed[0].name, "four");
    wdb_members_release(&members);
    free(data);
    data = golden_load(BASE, &size);
    REQUIRE(data != NULL);
    REQUIRE_EQ(wdb_raft_base_decode(data, size, &base), 0);
    CHECK_EQ(base.index, 2);
    CHECK_EQ(base.term, 1);
    CHECK(base.state_hash == UINT64_C(0xfedcba9876543210));
    CHECK_EQ(base.members_index, 1);
    CHECK_EQ(base.members.count, 1);
    wdb_raft_base_release(&base);
    free(data);
}

/* The identity is read. */
TEST(decode_identity)
{
    struct wdb_identity identity;
    unsigned damaged, old;
    size_t size;
    uint8_t *data = golden_load(IDENTITY, &size);
    REQUIRE(data != NULL);
    REQUIRE_EQ(wdb_identity_choose(data, size, &identity, &damaged, &old), 0);
    CHECK_EQ(damaged, 0);
    CHECK_EQ(old, 0);
    CHECK(identity.id == ONE && identity.voted_for == ONE);
    CHECK(identity.cluster_id == CLUSTER);
    CHECK_EQ(identity.log_nonce, 0x1122334455667788);
    CHECK_EQ(identity.term, 2);
    CHECK_EQ(identity.number, 7);
    CHECK(!identity.removed);
    CHECK_STR(identity.name, "one");
    free(data);
}

/* All messages are read, whatever else is behind them. */
TEST(decode_messages)
{
    size_t size, at = 0;
    int kind = 0;
    uint8_t *data = golden_load(MESSAGES, &size);
    REQUIRE(data != NULL);
    while (at < size) {
        struct wdb_message m;
        uint64_t one;
        REQUIRE(size - at >= WDB_MESSAGE_HEAD_SIZE);
        REQUIRE_EQ(wdb_message_size(data + at, &one), 0);
        REQUIRE(one <= size - at);
        REQUIRE_EQ(wdb_message_decode(data + at, one, &m), 0);
        CHECK_EQ(m.kind, ++kind);
        CHECK(m.to == TWO);
        CHECK_EQ(m.term, 2);
        at += one;
    }
    CHECK_EQ(kind, WDB_MESSAGE_KIND_LAST);
    free(data);
}

static void copy_file(const char *name, const char *dir)
{
    size_t size;
    void *data = golden_load(name, &size);
    REQUIRE(data != NULL);
    golden_write(test_path(dir, strrchr(name, '/') + 1), data, size);
    free(data);
}

/* A copy of the directory opens as a log, and as an identity. */
TEST(directory_opens)
{
    const char *dir = test_tmpdir();
    struct wdb_env *env;
    struct wdb_log *log;
    struct wdb_log_options options;
    struct wdb_identity identity;
    char *message = NULL;
    copy_file(LOG, dir);
    copy_file(MANIFEST, dir);
    copy_file(IDENTITY, dir);
    REQUIRE_EQ(wdb_env_posix_new(&env), 0);
    wdb_log_options_init(&options);
    options.env = env;
    options.dir = dir;
    options.background_thread = false;
    options.manual_commit = true;
    options.segment_size = WDB_SEGMENT_SIZE_MIN;
    const int rc = wdb_log_open(&options, &log, &message);
    CHECK_EQ(rc, 0);
    if (rc == 0) {
        CHECK_EQ(wdb_log_index_last(log), 5);
        wdb_log_close(log);
    }
    free(message);
    REQUIRE_EQ(wdb_identity_open(env, dir, "one", &identity, &message), 0);
    CHECK(message == NULL);
    CHECK(identity.id == ONE);
    wdb_identity_close(&identity);
    wdb_env_posix_free(env);
}
