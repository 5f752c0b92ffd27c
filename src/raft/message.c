/*
 * message.c - messages between peers as bytes.
 *
 * The fields of each kind are listed once, in message_fields(), which reads or
 * writes them; so what is written is what is read.
 */
#include "raft/message.h"

#include <assert.h>

#include "base/assert.h"

#define CRC_AT   8
#define FIXED_AT 12

/* What is known of a kind before its fields are looked at. */
struct kind {
    uint16_t fixed_size;
    uint64_t payload_max;
    bool needs_term; /* false: its sender may be in no term yet */
};

static const struct kind kinds[] = {
    [WDB_MESSAGE_VOTE] = {40, 0, true},
    [WDB_MESSAGE_VOTE_RESULT] = {32, 0, false},
    [WDB_MESSAGE_APPEND] = {64, UINT64_MAX, true},
    [WDB_MESSAGE_APPEND_RESULT] = {40, 0, true},
    [WDB_MESSAGE_TIMEOUT_NOW] = {32, 0, true},
    [WDB_MESSAGE_ROUND] = {24, 0, true},
    [WDB_MESSAGE_ROUND_RESULT] = {24, 0, false},
    [WDB_MESSAGE_OFFER] = {48, 0, true},
    [WDB_MESSAGE_FETCH] = {40, 0, false},
    [WDB_MESSAGE_PIECE] = {40, WDB_MESSAGE_PIECE_MAX, true},
    [WDB_MESSAGE_FETCH_FAILED] = {40, 0, false},
};
static_assert(WDB_COUNT(kinds) == WDB_MESSAGE_KIND_LAST + 1, "all kinds");

/* --- fields ----------------------------------------------------------------
 */

/* Reads fields from `in`, or writes them to `out`. */
struct codec {
    const uint8_t *in; /* NULL: writes */
    uint8_t *out;
    size_t at;
    uint32_t headers_crc; /* of the entries of an APPEND */
    bool is_bad;          /* a flag that is neither 0 nor 1 */
};

static void field64(struct codec *codec, uint64_t *value)
{
    if (codec->in != NULL) {
        *value = wdb_load64(codec->in + codec->at);
    } else {
        wdb_store64(codec->out + codec->at, *value);
    }
    codec->at += 8;
}

static void field32(struct codec *codec, uint32_t *value)
{
    if (codec->in != NULL) {
        *value = wdb_load32(codec->in + codec->at);
    } else {
        wdb_store32(codec->out + codec->at, *value);
    }
    codec->at += 4;
}

/* Two flags in 8 bytes. */
static void field_flags(struct codec *codec, bool *first, bool *second)
{
    uint64_t flags = 0;
    if (codec->in == NULL) {
        flags = (uint64_t)*first | (uint64_t)*second << 8;
    }
    field64(codec, &flags);
    codec->is_bad |= (flags & ~UINT64_C(0x0101)) != 0;
    *first = (flags & 0x01) != 0;
    *second = (flags & 0x0100) != 0;
}

static void append_fields(struct codec *codec, struct wdb_message *m)
{
    field64(codec, &m->append.previous_index);
    field64(codec, &m->append.previous_term);
    field64(codec, &m->append.committed);
    field64(codec, &m->append.hash_index);
    field64(codec, &m->append.hash);
    field32(codec, &m->append.entry_count);
    field32(codec, &codec->headers_crc);
}

static void offer_fields(struct codec *codec, struct wdb_message *m)
{
    field64(codec, &m->offer.snapshot);
    field64(codec, &m->offer.index);
    field64(codec, &m->offer.index_term);
    field64(codec, &m->offer.size);
}

/* All fixed fields of a message of this kind. */
static void message_fields(struct codec *codec, struct wdb_message *m)
{
    field64(codec, &m->to);
    field64(codec, &m->term);
    switch (m->kind) {
    case WDB_MESSAGE_VOTE:
        field64(codec, &m->vote.last_index);
        field64(codec, &m->vote.last_term);
        field_flags(codec, &m->vote.disrupt_leader, &m->vote.pre_vote);
        break;
    case WDB_MESSAGE_VOTE_RESULT:
        field64(codec, &m->vote_result.request_term);
        field_flags(codec, &m->vote_result.granted, &m->vote_result.pre_vote);
        break;
    case WDB_MESSAGE_APPEND:
        append_fields(codec, m);
        break;
    case WDB_MESSAGE_APPEND_RESULT:
        field64(codec, &m->append_result.request_term);
        field64(codec, &m->append_result.rejected);
        field64(codec, &m->append_result.last_index);
        break;
    case WDB_MESSAGE_TIMEOUT_NOW:
        field64(codec, &m->timeout_now.last_index);
        field64(codec, &m->timeout_now.last_term);
        break;
    case WDB_MESSAGE_ROUND:
    case WDB_MESSAGE_ROUND_RESULT:
        field64(codec, &m->round.round);
        break;
    case WDB_MESSAGE_OFFER:
        offer_fields(codec, m);
        break;
    case WDB_MESSAGE_FETCH:
    case WDB_MESSAGE_FETCH_FAILED:
        field64(codec, &m->fetch.snapshot);
        field64(codec, &m->fetch.offset);
        field32(codec, &m->fetch.file);
        field32(codec, &m->fetch.size);
        break;
    case WDB_MESSAGE_PIECE:
        field64(codec, &m->piece.snapshot);
        field64(codec, &m->piece.offset);
        field32(codec, &m->piece.file);
        field32(codec, &m->piece.crc);
        break;
    }
}

/* --- encode ----------------------------------------------------------------
 */

struct wdb_slice wdb_message_payload(const struct wdb_message *message)
{
    if (message->kind == WDB_MESSAGE_APPEND) {
        return wdb_slice(message->append.entries, message->append.entries_size);
    }
    if (message->kind == WDB_MESSAGE_PIECE) {
        return wdb_slice(message->piece.data, message->piece.size);
    }
    return wdb_slice(NULL, 0);
}

/* The checksum of head and fixed fields, without its own place. */
static uint32_t message_crc(const uint8_t *data, size_t fixed_size)
{
    const uint32_t crc = wdb_crc32c(0, data, CRC_AT);
    return wdb_crc32c(crc, data + FIXED_AT,
                      WDB_MESSAGE_HEAD_SIZE - FIXED_AT + fixed_size);
}

/* The checksum of all entry headers, which payload_crc does not cover. */
static uint32_t headers_crc(const struct wdb_message *message)
{
    struct wdb_entry_header entry;
    const uint8_t *payload;
    uint32_t crc = 0, count = 0;
    size_t at = 0;
    while (wdb_message_next_entry(message, &at, &entry, &payload)) {
        crc = wdb_crc32c(crc, payload - sizeof(entry), sizeof(entry));
        count++;
    }
    wdb_assert(count == message->append.entry_count);
    return crc;
}

size_t wdb_message_encode(
    const struct wdb_message *message,
    uint8_t out[WDB_MESSAGE_HEAD_SIZE + WDB_MESSAGE_FIXED_MAX])
{
    wdb_assert(message->kind >= WDB_MESSAGE_VOTE &&
               message->kind <= WDB_MESSAGE_KIND_LAST);
    const struct kind *kind = &kinds[message->kind];
    const size_t payload = wdb_message_payload(message).size;
    const size_t head = WDB_MESSAGE_HEAD_SIZE + kind->fixed_size;
    wdb_assert(payload <= kind->payload_max &&
               payload <= WDB_MESSAGE_SIZE_MAX - head);
    wdb_store32(out, (uint32_t)(head + payload));
    wdb_store32(out + 4, (uint32_t)message->kind);
    wdb_store32(out + FIXED_AT, kind->fixed_size);
    struct wdb_message copy = *message;
    struct codec codec = {.out = out + WDB_MESSAGE_HEAD_SIZE};
    if (message->kind == WDB_MESSAGE_APPEND) {
        codec.headers_crc = headers_crc(message);
    }
    message_fields(&codec, &copy);
    wdb_assert(codec.at == kind->fixed_size);
    wdb_store32(out + CRC_AT, message_crc(out, kind->fixed_size));
    return head;
}

/* --- decode ----------------------------------------------------------------
 */

/* Kind and size of the fixed fields, if the head is one. */
static int head_decode(const uint8_t *head, uint32_t *kind_out,
                       uint32_t *fixed_out)
{
    const uint64_t size = wdb_load32(head);
    const uint32_t kind = wdb_load32(head + 4);
    const uint32_t fixed = wdb_load32(head + FIXED_AT);
    if (kind < WDB_MESSAGE_VOTE || kind > WDB_MESSAGE_KIND_LAST ||
        fixed < kinds[kind].fixed_size || fixed > WDB_MESSAGE_FIXED_MAX ||
        fixed % 8 != 0 || size < WDB_MESSAGE_HEAD_SIZE + fixed) {
        return WALKERDB_ECORRUPT;
    }
    const uint64_t payload = size - WDB_MESSAGE_HEAD_SIZE - fixed;
    if (size > WDB_MESSAGE_SIZE_MAX || payload > kinds[kind].payload_max) {
        return WALKERDB_ETOOBIG;
    }
    *kind_out = kind;
    *fixed_out = fixed;
    return 0;
}

int wdb_message_size(const uint8_t *head, uint64_t *size_out)
{
    uint32_t kind, fixed;
    const int rc = head_decode(head, &kind, &fixed);
    if (rc == 0) {
        *size_out = wdb_load32(head);
    }
    return rc;
}

/* An index without a term, or the other way round, or a term to come. */
static bool is_place(uint64_t index, uint64_t entry_term, uint64_t term)
{
    return (index == 0) == (entry_term == 0) && entry_term <= term;
}

static bool fields_are_sound(const struct wdb_message *m)
{
    if (m->to == 0 || (m->term == 0 && kinds[m->kind].needs_term)) {
        return false;
    }
    switch (m->kind) {
    case WDB_MESSAGE_VOTE:
        return is_place(m->vote.last_index, m->vote.last_term, m->term);
    case WDB_MESSAGE_VOTE_RESULT:
        return m->vote_result.request_term != 0;
    case WDB_MESSAGE_APPEND:
        return is_place(m->append.previous_index, m->append.previous_term,
                        m->term) &&
               (m->append.hash_index != 0 || m->append.hash == 0);
    case WDB_MESSAGE_APPEND_RESULT:
        return m->append_result.request_term != 0;
    case WDB_MESSAGE_TIMEOUT_NOW:
        return is_place(m->timeout_now.last_index, m->timeout_now.last_term,
                        m->term);
    case WDB_MESSAGE_OFFER:
        return m->offer.index != 0 &&
               is_place(m->offer.index, m->offer.index_term, m->term);
    case WDB_MESSAGE_PIECE:
        return m->piece.crc == wdb_crc32c(0, m->piece.data, m->piece.size);
    case WDB_MESSAGE_ROUND:
    case WDB_MESSAGE_ROUND_RESULT:
    case WDB_MESSAGE_FETCH:
    case WDB_MESSAGE_FETCH_FAILED:
        return true;
    }
    return false;
}

/* What an entry says of itself. */
static int payload_verify(const struct wdb_entry_header *entry,
                          const uint8_t *payload)
{
    int rc = wdb_entry_verify_payload(entry, payload);
    if (rc == 0 && entry->type == WDB_ENTRY_CHANGE) {
        struct wdb_members members;
        rc = wdb_members_decode(payload, entry->payload_size, &members);
        if (rc == 0) {
            wdb_members_release(&members);
        }
    }
    return rc;
}

static int entries_verify(const struct wdb_message *m, uint32_t expected_crc)
{
    const uint8_t *p = m->append.entries;
    size_t left = m->append.entries_size;
    uint64_t index = m->append.previous_index;
    uint64_t term = m->append.previous_term;
    uint32_t crc = 0;
    for (uint32_t i = 0; i < m->append.entry_count; i++) {
        struct wdb_entry_header entry;
        if (left < sizeof(entry)) {
            return WALKERDB_ECORRUPT;
        }
        memcpy(&entry, p, sizeof(entry));
        crc = wdb_crc32c(crc, p, sizeof(entry));
        p += sizeof(entry);
        left -= sizeof(entry);
        if (index == UINT64_MAX || entry.index != index + 1 ||
            entry.term == 0 || entry.term < term || entry.term > m->term ||
            entry.type == WDB_ENTRY_MERGED || !wdb_entry_is_sound(&entry) ||
            entry.payload_size > left) {
            return WALKERDB_ECORRUPT;
        }
        const int rc = payload_verify(&entry, p);
        if (rc != 0) {
            return rc;
        }
        p += entry.payload_size;
        left -= entry.payload_size;
        index = entry.index;
        term = entry.term;
    }
    return left == 0 && crc == expected_crc ? 0 : WALKERDB_ECORRUPT;
}

int wdb_message_decode(const uint8_t *data, size_t size,
                       struct wdb_message *out)
{
    uint32_t kind, fixed;
    if (size < WDB_MESSAGE_HEAD_SIZE || head_decode(data, &kind, &fixed) != 0 ||
        wdb_load32(data) != size ||
        wdb_load32(data + CRC_AT) != message_crc(data, fixed)) {
        return WALKERDB_ECORRUPT;
    }
    struct wdb_message m = {.kind = (enum wdb_message_kind)kind};
    struct codec codec = {.in = data + WDB_MESSAGE_HEAD_SIZE};
    message_fields(&codec, &m);
    const uint8_t *payload = data + WDB_MESSAGE_HEAD_SIZE + fixed;
    const size_t payload_size = size - WDB_MESSAGE_HEAD_SIZE - fixed;
    if (m.kind == WDB_MESSAGE_APPEND) {
        m.append.entries = payload;
        m.append.entries_size = payload_size;
    } else if (m.kind == WDB_MESSAGE_PIECE) {
        m.piece.data = payload;
        m.piece.size = payload_size;
    }
    if (codec.is_bad || !fields_are_sound(&m)) {
        return WALKERDB_ECORRUPT;
    }
    if (m.kind == WDB_MESSAGE_APPEND) {
        const int rc = entries_verify(&m, codec.headers_crc);
        if (rc != 0) {
            return rc;
        }
    }
    *out = m;
    return 0;
}

bool wdb_message_next_entry(const struct wdb_message *message, size_t *at,
                            struct wdb_entry_header *entry_out,
                            const uint8_t **payload_out)
{
    wdb_assert(message->kind == WDB_MESSAGE_APPEND);
    wdb_assert(*at <= message->append.entries_size);
    const size_t left = message->append.entries_size - *at;
    if (left == 0) {
        return false;
    }
    wdb_assert(left >= sizeof(*entry_out));
    memcpy(entry_out, message->append.entries + *at, sizeof(*entry_out));
    wdb_assert(entry_out->payload_size <= left - sizeof(*entry_out));
    *payload_out = message->append.entries + *at + sizeof(*entry_out);
    *at += sizeof(*entry_out) + entry_out->payload_size;
    return true;
}
