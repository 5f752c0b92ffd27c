/* test_raft_message.c - messages between peers as bytes. */
#include <stdio.h>
#include <stdlib.h>

#include "base/buffer.h"
#include "lib/fault_alloc.h"
#include "lib/test.h"
#include "raft/message.h"

#define BAD WALKERDB_ECORRUPT

/* --- entries and messages --------------------------------------------------
 */

static void append_entry(struct wdb_buffer *out, struct wdb_entry_header entry,
                         struct wdb_slice payload)
{
    entry.payload_size = payload.size;
    entry.payload_crc = entry.type == WDB_ENTRY_COMMAND
                            ? wdb_payload_crc(0, payload.data, payload.size)
                            : wdb_crc32c(0, payload.data, payload.size);
    CHECK_EQ(wdb_buffer_append(out, &entry, sizeof(entry)), 0);
    if (payload.size != 0) {
        CHECK_EQ(wdb_buffer_append(out, payload.data, payload.size), 0);
    }
}

/* A COMMAND with two records. */
static void append_command(struct wdb_buffer *out, uint64_t index,
                           uint64_t term)
{
    uint8_t payload[128];
    struct wdb_record r = {.kind = WDB_RECORD_PUT,
                           .key = wdb_slice_str("key"),
                           .value = wdb_slice_str("value")};
    const uint64_t first = wdb_record_size(&r);
    wdb_record_encode(&r, payload);
    r.kind = WDB_RECORD_DELETE;
    r.value.size = 0;
    wdb_record_encode(&r, payload + first);
    append_entry(out,
                 (struct wdb_entry_header){.index = index,
                                           .term = term,
                                           .time_ms = 1000 + index,
                                           .record_count = 2,
                                           .type = WDB_ENTRY_COMMAND},
                 wdb_slice(payload, first + wdb_record_size(&r)));
}

static void append_change(struct wdb_buffer *out, uint64_t index, uint64_t term)
{
    struct wdb_members members = {.cluster_id = 9};
    struct wdb_buffer payload = WDB_BUFFER_INIT;
    const struct wdb_member m = {.id = 1,
                                 .role = WDB_MEMBER_VOTER,
                                 .name = "one",
                                 .raft_address = "a:1",
                                 .tcp_address = "a:2"};
    CHECK_EQ(wdb_members_add(&members, &m), 0);
    CHECK_EQ(wdb_members_encode(&members, &payload), 0);
    append_entry(out,
                 (struct wdb_entry_header){
                     .index = index, .term = term, .type = WDB_ENTRY_CHANGE},
                 wdb_buffer_slice(&payload));
    wdb_buffer_release(&payload);
    wdb_members_release(&members);
}

static void append_barrier(struct wdb_buffer *out, uint64_t index,
                           uint64_t term)
{
    append_entry(out,
                 (struct wdb_entry_header){
                     .index = index, .term = term, .type = WDB_ENTRY_BARRIER},
                 wdb_slice(NULL, 0));
}

/* Term 5, previous (10, 3), entries: barrier (11, 4), command (12, 4), change
 * (13, 5), command (14, 5). */
static struct wdb_message make_append(struct wdb_buffer *entries)
{
    wdb_buffer_init(entries);
    append_barrier(entries, 11, 4);
    append_command(entries, 12, 4);
    append_change(entries, 13, 5);
    append_command(entries, 14, 5);
    return (struct wdb_message){
        .kind = WDB_MESSAGE_APPEND,
        .to = 2,
        .term = 5,
        .append = {.previous_index = 10,
                   .previous_term = 3,
                   .committed = 9,
                   .hash_index = 8,
                   .hash = 0x1234,
                   .entry_count = 4,
                   .entries = entries->data,
                   .entries_size = entries->size},
    };
}

/* One of every kind; the APPEND is a heartbeat. */
static struct wdb_message make_message(enum wdb_message_kind kind)
{
    struct wdb_message m = {.kind = kind, .to = 77, .term = 6};
    switch (kind) {
    case WDB_MESSAGE_VOTE:
        m.vote.last_index = 10;
        m.vote.last_term = 5;
        m.vote.pre_vote = true;
        break;
    case WDB_MESSAGE_VOTE_RESULT:
        m.vote_result.request_term = 7;
        m.vote_result.granted = true;
        break;
    case WDB_MESSAGE_APPEND:
        m.append.previous_index = 20;
        m.append.previous_term = 6;
        m.append.committed = 18;
        break;
    case WDB_MESSAGE_APPEND_RESULT:
        m.append_result.request_term = 6;
        m.append_result.rejected = 3;
        m.append_result.last_index = 2;
        break;
    case WDB_MESSAGE_TIMEOUT_NOW:
        m.timeout_now.last_index = 4;
        m.timeout_now.last_term = 4;
        break;
    case WDB_MESSAGE_ROUND:
    case WDB_MESSAGE_ROUND_RESULT:
        m.round.round = 12345;
        break;
    case WDB_MESSAGE_OFFER:
        m.offer.snapshot = 3;
        m.offer.index = 100;
        m.offer.index_term = 6;
        m.offer.size = 1 << 20;
        break;
    case WDB_MESSAGE_FETCH:
    case WDB_MESSAGE_FETCH_FAILED:
        m.fetch.snapshot = 3;
        m.fetch.offset = 4096;
        m.fetch.file = 2;
        m.fetch.size = 512;
        break;
    case WDB_MESSAGE_PIECE:
        m.piece.snapshot = 3;
        m.piece.offset = 4096;
        m.piece.file = 2;
        m.piece.data = (const uint8_t *)"some bytes";
        m.piece.size = 10;
        m.piece.crc = wdb_crc32c(0, m.piece.data, m.piece.size);
        break;
    }
    return m;
}

/* Head, fixed fields and payload in one piece; malloc'ed, exactly as large, so
 * that a sanitizer sees what reads beyond it. */
static uint8_t *encode(const struct wdb_message *m, size_t *size_out)
{
    uint8_t head[WDB_MESSAGE_HEAD_SIZE + WDB_MESSAGE_FIXED_MAX];
    const size_t head_size = wdb_message_encode(m, head);
    const struct wdb_slice payload = wdb_message_payload(m);
    uint8_t *data = malloc(head_size + payload.size);
    if (data == NULL) {
        abort();
    }
    memcpy(data, head, head_size);
    if (payload.size != 0) {
        memcpy(data + head_size, payload.data, payload.size);
    }
    *size_out = head_size + payload.size;
    return data;
}

static int decode(const uint8_t *data, size_t size)
{
    struct wdb_message m;
    return wdb_message_decode(data, size, &m);
}

/* Make the checksum of the head right again. */
static void repair(uint8_t *data)
{
    uint32_t crc = wdb_crc32c(0, data, 8);
    crc = wdb_crc32c(crc, data + 12, 4 + wdb_load32(data + 12));
    wdb_store32(data + 8, crc);
}

/* --- tests -----------------------------------------------------------------
 */

/* Every kind comes back as it was: its encoding is the same again. */
TEST(round_trip)
{
    for (int kind = 1; kind <= WDB_MESSAGE_KIND_LAST; kind++) {
        const struct wdb_message m = make_message((enum wdb_message_kind)kind);
        struct wdb_message back;
        size_t size, again_size;
        uint64_t told;
        uint8_t *data = encode(&m, &size);
        CHECK_EQ((size - wdb_message_payload(&m).size) % 8, 0);
        REQUIRE_EQ(wdb_message_size(data, &told), 0);
        CHECK_EQ(told, size);
        REQUIRE_EQ(wdb_message_decode(data, size, &back), 0);
        CHECK_EQ(back.kind, kind);
        CHECK_EQ(back.to, 77);
        CHECK_EQ(back.term, 6);
        uint8_t *again = encode(&back, &again_size);
        CHECK_MEM(data, size, again, again_size);
        free(again);
        free(data);
    }
}

/* The fields stand where they were put. */
TEST(fields)
{
    struct wdb_message m;
    size_t size;
    uint8_t *data;
#define BACK(kind_)                                                            \
    m = make_message(kind_);                                                   \
    data = encode(&m, &size);                                                  \
    m = (struct wdb_message){0};                                               \
    REQUIRE_EQ(wdb_message_decode(data, size, &m), 0)
    BACK(WDB_MESSAGE_VOTE);
    CHECK_EQ(m.vote.last_index, 10);
    CHECK_EQ(m.vote.last_term, 5);
    CHECK(m.vote.pre_vote && !m.vote.disrupt_leader);
    free(data);
    BACK(WDB_MESSAGE_VOTE_RESULT);
    CHECK_EQ(m.vote_result.request_term, 7);
    CHECK(m.vote_result.granted && !m.vote_result.pre_vote);
    free(data);
    BACK(WDB_MESSAGE_APPEND_RESULT);
    CHECK_EQ(m.append_result.request_term, 6);
    CHECK_EQ(m.append_result.rejected, 3);
    CHECK_EQ(m.append_result.last_index, 2);
    free(data);
    BACK(WDB_MESSAGE_TIMEOUT_NOW);
    CHECK_EQ(m.timeout_now.last_index, 4);
    CHECK_EQ(m.timeout_now.last_term, 4);
    free(data);
    BACK(WDB_MESSAGE_ROUND_RESULT);
    CHECK_EQ(m.round.round, 12345);
    free(data);
    BACK(WDB_MESSAGE_OFFER);
    CHECK_EQ(m.offer.snapshot, 3);
    CHECK_EQ(m.offer.index, 100);
    CHECK_EQ(m.offer.index_term, 6);
    CHECK_EQ(m.offer.size, 1 << 20);
    free(data);
    BACK(WDB_MESSAGE_FETCH);
    CHECK_EQ(m.fetch.snapshot, 3);
    CHECK_EQ(m.fetch.offset, 4096);
    CHECK_EQ(m.fetch.file, 2);
    CHECK_EQ(m.fetch.size, 512);
    free(data);
    BACK(WDB_MESSAGE_PIECE);
    CHECK_EQ(m.piece.snapshot, 3);
    CHECK_EQ(m.piece.offset, 4096);
    CHECK_EQ(m.piece.file, 2);
    CHECK_MEM(m.piece.data, m.piece.size, "some bytes", 10);
    CHECK(m.piece.data == data + size - 10);
    free(data);
}

/* Entries are not copied; the receiver walks them in place, aligned. */
TEST(append)
{
    static const uint16_t types[] = {WDB_ENTRY_BARRIER, WDB_ENTRY_COMMAND,
                                     WDB_ENTRY_CHANGE, WDB_ENTRY_COMMAND};
    struct wdb_buffer entries;
    const struct wdb_message m = make_append(&entries);
    struct wdb_message back;
    struct wdb_entry_header entry;
    const uint8_t *payload;
    size_t size, at = 0, n = 0;
    CHECK(wdb_message_payload(&m).data == entries.data);
    CHECK_EQ(wdb_message_payload(&m).size, entries.size);
    uint8_t *data = encode(&m, &size);
    REQUIRE_EQ(wdb_message_decode(data, size, &back), 0);
    CHECK_EQ(back.append.previous_index, 10);
    CHECK_EQ(back.append.previous_term, 3);
    CHECK_EQ(back.append.committed, 9);
    CHECK_EQ(back.append.hash_index, 8);
    CHECK_EQ(back.append.hash, 0x1234);
    CHECK_EQ(back.append.entry_count, 4);
    CHECK_MEM(back.append.entries, back.append.entries_size, entries.data,
              entries.size);
    CHECK_EQ((uintptr_t)back.append.entries % 8, 0);
    while (wdb_message_next_entry(&back, &at, &entry, &payload)) {
        REQUIRE(n < WDB_COUNT(types));
        CHECK_EQ(entry.index, 11 + n);
        CHECK_EQ(entry.type, types[n]);
        CHECK_EQ(wdb_entry_verify_payload(&entry, payload), 0);
        n++;
    }
    CHECK_EQ(n, 4);
    CHECK_EQ(at, entries.size);
    free(data);
    wdb_buffer_release(&entries);
}

/* A heartbeat has nothing to walk. */
TEST(heartbeat)
{
    struct wdb_message m = make_message(WDB_MESSAGE_APPEND);
    struct wdb_entry_header entry;
    const uint8_t *payload;
    size_t size, at = 0;
    uint8_t *data = encode(&m, &size);
    CHECK_EQ(size, WDB_MESSAGE_HEAD_SIZE + 64);
    REQUIRE_EQ(wdb_message_decode(data, size, &m), 0);
    CHECK(!wdb_message_next_entry(&m, &at, &entry, &payload));
    free(data);
}

/* Every flipped bit of head, fields and payload is noticed, but in bytes that
 * pad nothing; and every other size. */
TEST(damage_is_found)
{
    struct wdb_buffer entries;
    const struct wdb_message messages[] = {make_append(&entries),
                                           make_message(WDB_MESSAGE_VOTE),
                                           make_message(WDB_MESSAGE_PIECE)};
    for (size_t i = 0; i < WDB_COUNT(messages); i++) {
        size_t size;
        uint8_t *data = encode(&messages[i], &size);
        for (size_t bit = 0; bit < size * 8; bit++) {
            data[bit / 8] ^= (uint8_t)(1 << bit % 8);
            CHECK_EQ(decode(data, size), BAD);
            data[bit / 8] ^= (uint8_t)(1 << bit % 8);
        }
        for (size_t less = 0; less < size; less++) {
            uint8_t *copy = malloc(less + 1);
            REQUIRE(copy != NULL);
            memcpy(copy, data, less);
            CHECK_EQ(decode(copy, less), BAD);
            free(copy);
        }
        free(data);
    }
    wdb_buffer_release(&entries);
}

/* Decode a message of this kind with one field of 8 bytes changed. */
static int decode_field(enum wdb_message_kind kind, size_t at, uint64_t value)
{
    const struct wdb_message m = make_message(kind);
    size_t size;
    uint8_t *data = encode(&m, &size);
    wdb_store64(data + at, value);
    repair(data);
    const int rc = decode(data, size);
    free(data);
    return rc;
}

/* A right checksum does not make wrong fields right. */
TEST(strict_fields)
{
    for (int kind = 1; kind <= WDB_MESSAGE_KIND_LAST; kind++) {
        const bool may_be_new = kind == WDB_MESSAGE_VOTE_RESULT ||
                                kind == WDB_MESSAGE_ROUND_RESULT ||
                                kind == WDB_MESSAGE_FETCH ||
                                kind == WDB_MESSAGE_FETCH_FAILED;
        CHECK_EQ(decode_field((enum wdb_message_kind)kind, 16, 0), BAD);
        CHECK_EQ(decode_field((enum wdb_message_kind)kind, 24, 0),
                 may_be_new ? 0 : BAD);
        CHECK_EQ(decode_field((enum wdb_message_kind)kind, 24, 6), 0);
    }
    CHECK_EQ(decode_field(WDB_MESSAGE_VOTE, 32, 0), BAD);
    CHECK_EQ(decode_field(WDB_MESSAGE_VOTE, 40, 0), BAD);
    CHECK_EQ(decode_field(WDB_MESSAGE_VOTE, 40, 7), BAD);
    CHECK_EQ(decode_field(WDB_MESSAGE_VOTE, 48, 0x0101), 0);
    CHECK_EQ(decode_field(WDB_MESSAGE_VOTE, 48, 0x0002), BAD);
    CHECK_EQ(decode_field(WDB_MESSAGE_VOTE, 48, 0x0200), BAD);
    CHECK_EQ(decode_field(WDB_MESSAGE_VOTE, 48, 0x10000), BAD);
    CHECK_EQ(decode_field(WDB_MESSAGE_VOTE_RESULT, 32, 0), BAD);
    CHECK_EQ(decode_field(WDB_MESSAGE_VOTE_RESULT, 40, 0x0200), BAD);
    CHECK_EQ(decode_field(WDB_MESSAGE_APPEND, 32, 0), BAD);
    CHECK_EQ(decode_field(WDB_MESSAGE_APPEND, 40, 0), BAD);
    CHECK_EQ(decode_field(WDB_MESSAGE_APPEND, 40, 7), BAD);
    CHECK_EQ(decode_field(WDB_MESSAGE_APPEND, 64, 1), BAD);
    CHECK_EQ(decode_field(WDB_MESSAGE_APPEND, 72, 1), BAD);
    CHECK_EQ(decode_field(WDB_MESSAGE_APPEND_RESULT, 32, 0), BAD);
    CHECK_EQ(decode_field(WDB_MESSAGE_TIMEOUT_NOW, 40, 0), BAD);
    CHECK_EQ(decode_field(WDB_MESSAGE_TIMEOUT_NOW, 40, 9), BAD);
    CHECK_EQ(decode_field(WDB_MESSAGE_OFFER, 40, 0), BAD);
    CHECK_EQ(decode_field(WDB_MESSAGE_OFFER, 48, 0), BAD);
    CHECK_EQ(decode_field(WDB_MESSAGE_OFFER, 48, 7), BAD);
    CHECK_EQ(decode_field(WDB_MESSAGE_PIECE, 48, 0), BAD);
}

/* Decode an APPEND after its entries were changed by hand. */
static int decode_entries(struct wdb_message m, struct wdb_buffer *entries)
{
    size_t size;
    m.append.entries = entries->data;
    m.append.entries_size = entries->size;
    uint8_t *data = encode(&m, &size);
    const int rc = decode(data, size);
    free(data);
    wdb_buffer_release(entries);
    return rc;
}

/* Entries must follow the previous one without a gap, in terms that do not
 * fall and are not to come, and be of the kinds that are sent. */
TEST(strict_entries)
{
    struct wdb_buffer e;
    struct wdb_message m;
    struct wdb_entry_header *first;
#define ENTRIES(expected, change)                                              \
    do {                                                                       \
        m = make_append(&e);                                                   \
        first = (struct wdb_entry_header *)e.data;                             \
        change;                                                                \
        CHECK_EQ(decode_entries(m, &e), expected);                             \
    } while (0)
    ENTRIES(0, first->time_ms = 5);
    ENTRIES(0, first->term = 3);
    ENTRIES(BAD, first->index = 12);
    ENTRIES(BAD, first->index = 10);
    ENTRIES(BAD, first->term = 2);
    ENTRIES(BAD, first->term = 0);
    ENTRIES(BAD, first->term = 5); /* the second one's is lower */
    ENTRIES(BAD, first->payload_crc = 1);
    ENTRIES(BAD, first->record_count = 1);
    ENTRIES(BAD, first->reserved[2] = 1);
    ENTRIES(BAD, first->type = 0);
    ENTRIES(BAD, first->type = 9);
    ENTRIES(BAD, first->type = WDB_ENTRY_CHANGE);
    ENTRIES(BAD, first->type = WDB_ENTRY_MERGED);
    ENTRIES(0, first->type = WDB_ENTRY_COMMAND); /* without records */
    ENTRIES(BAD, m.append.previous_index = 9);
    ENTRIES(BAD, m.append.previous_term = 5);
    ENTRIES(BAD, m.term = 4);
    m = make_message(WDB_MESSAGE_APPEND);
    m.append.previous_index = UINT64_MAX;
    m.append.entry_count = 1;
    wdb_buffer_init(&e);
    append_barrier(&e, 0, 6);
    CHECK_EQ(decode_entries(m, &e), BAD);
    /* A configuration that does not decode. */
    m.append.previous_index = 20;
    wdb_buffer_init(&e);
    append_entry(&e,
                 (struct wdb_entry_header){
                     .index = 21, .term = 6, .type = WDB_ENTRY_CHANGE},
                 wdb_slice("opaque!!", 8));
    CHECK_EQ(decode_entries(m, &e), BAD);
}

/* The count and the size of the entries must agree. */
TEST(strict_count)
{
    struct wdb_buffer e;
    const struct wdb_message m = make_append(&e);
    size_t size;
    uint8_t *data = encode(&m, &size);
    for (uint32_t count = 0; count < 8; count++) {
        wdb_store32(data + 72, count);
        repair(data);
        CHECK_EQ(decode(data, size), count == 4 ? 0 : BAD);
    }
    wdb_store32(data + 72, UINT32_MAX);
    repair(data);
    CHECK_EQ(decode(data, size), BAD);
    free(data);
    wdb_buffer_release(&e);
}

/* Fields that a newer version adds are skipped. */
TEST(newer_fields)
{
    const struct wdb_message m = make_message(WDB_MESSAGE_PIECE);
    struct wdb_message back;
    size_t size;
    uint8_t *data = encode(&m, &size);
    const size_t head = size - m.piece.size;
    uint8_t newer[512];
    memcpy(newer, data, head);
    memset(newer + head, 0xab, 16);
    memcpy(newer + head + 16, m.piece.data, m.piece.size);
    wdb_store32(newer, (uint32_t)size + 16);
    wdb_store32(newer + 12, (uint32_t)(head + 16 - WDB_MESSAGE_HEAD_SIZE));
    repair(newer);
    REQUIRE_EQ(wdb_message_decode(newer, size + 16, &back), 0);
    CHECK_MEM(back.piece.data, back.piece.size, "some bytes", 10);
    free(data);
}

static int size_of(uint32_t size, uint32_t kind, uint32_t fixed)
{
    uint8_t head[WDB_MESSAGE_HEAD_SIZE] = {0};
    uint64_t told = 0;
    wdb_store32(head, size);
    wdb_store32(head + 4, kind);
    wdb_store32(head + 12, fixed);
    const int rc = wdb_message_size(head, &told);
    CHECK(rc != 0 || told == size);
    return rc;
}

/* A head tells a possible size before anything is allocated for it. */
TEST(size)
{
    CHECK_EQ(size_of(16 + 40, WDB_MESSAGE_VOTE, 40), 0);
    CHECK_EQ(size_of(16 + 48, WDB_MESSAGE_VOTE, 48), 0);
    CHECK_EQ(size_of(16 + 256, WDB_MESSAGE_VOTE, 256), 0);
    CHECK_EQ(size_of(16 + 264, WDB_MESSAGE_VOTE, 264), BAD);
    CHECK_EQ(size_of(16 + 32, WDB_MESSAGE_VOTE, 32), BAD);
    CHECK_EQ(size_of(16 + 44, WDB_MESSAGE_VOTE, 44), BAD);
    CHECK_EQ(size_of(16 + 39, WDB_MESSAGE_VOTE, 40), BAD);
    CHECK_EQ(size_of(0, WDB_MESSAGE_VOTE, 40), BAD);
    CHECK_EQ(size_of(16 + 41, WDB_MESSAGE_VOTE, 40), WALKERDB_ETOOBIG);
    CHECK_EQ(size_of(16 + 40, 0, 40), BAD);
    CHECK_EQ(size_of(16 + 40, WDB_MESSAGE_KIND_LAST + 1, 40), BAD);
    CHECK_EQ(size_of(16 + 40, WDB_MESSAGE_VOTE | 0x100, 40), BAD);
    CHECK_EQ(size_of(16 + 40, WDB_MESSAGE_VOTE, UINT32_MAX - 7), BAD);
    CHECK_EQ(size_of((uint32_t)WDB_MESSAGE_SIZE_MAX, WDB_MESSAGE_APPEND, 64),
             0);
    CHECK_EQ(size_of((uint32_t)WDB_MESSAGE_SIZE_MAX + 1, WDB_MESSAGE_APPEND,
                     64),
             WALKERDB_ETOOBIG);
    CHECK_EQ(size_of(UINT32_MAX, WDB_MESSAGE_APPEND, 64), WALKERDB_ETOOBIG);
    CHECK_EQ(size_of(56 + (4 << 20), WDB_MESSAGE_PIECE, 40), 0);
    CHECK_EQ(size_of(57 + (4 << 20), WDB_MESSAGE_PIECE, 40), WALKERDB_ETOOBIG);
}

/* Without memory for the removed of a CHANGE the message is not called bad. */
TEST(out_of_memory)
{
    struct wdb_members members = {.cluster_id = 9};
    struct wdb_buffer payload = WDB_BUFFER_INIT, entries = WDB_BUFFER_INIT;
    for (unsigned i = 1; i <= 2; i++) {
        struct wdb_member m = {.id = i, .role = WDB_MEMBER_VOTER};
        snprintf(m.name, sizeof(m.name), "n%u", i);
        snprintf(m.raft_address, sizeof(m.raft_address), "a:%u", i);
        snprintf(m.tcp_address, sizeof(m.tcp_address), "a:%u", 100 + i);
        REQUIRE_EQ(wdb_members_add(&members, &m), 0);
    }
    REQUIRE_EQ(wdb_members_remove(&members, 2), 0);
    REQUIRE_EQ(wdb_members_encode(&members, &payload), 0);
    append_entry(&entries,
                 (struct wdb_entry_header){
                     .index = 21, .term = 6, .type = WDB_ENTRY_CHANGE},
                 wdb_buffer_slice(&payload));
    struct wdb_message m = make_message(WDB_MESSAGE_APPEND);
    m.append.entry_count = 1;
    m.append.entries = entries.data;
    m.append.entries_size = entries.size;
    size_t size;
    uint8_t *data = encode(&m, &size);
    CHECK_EQ(decode(data, size), 0);
    fault_alloc_arm(1);
    CHECK_EQ(decode(data, size), WALKERDB_ENOMEM);
    CHECK(fault_alloc_disarm());
    free(data);
    wdb_members_release(&members);
    wdb_buffer_release(&payload);
    wdb_buffer_release(&entries);
}
