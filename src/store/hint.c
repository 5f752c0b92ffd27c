/* hint.c - encodes hints and walks them. */
#include "store/hint.h"

#include "base/assert.h"

#define MAGIC        UINT64_C(0x31544e486264576b) /* "kWdbHNT1" */
#define FOOTER_MAGIC UINT64_C(0x31444e456264576b) /* "kWdbEND1" */
#define BLOCK_SIZE   ((size_t)64 << 10)
#define OFFSET_MIN   (WDB_SEGMENT_HEADER_SIZE + WDB_ENTRY_OVERHEAD)

#define TAG_KIND             0x07
#define TAG_EXPIRY           0x08
#define TAG_OBJECT           0x10
#define TAG_CONTEXT          0x20
#define TAG_GAP              0x40
#define TAG_LONG_KEY         0x80
#define VARINT_SIZE_MAX      5 /* 35 bits: offsets of a segment / 8 have 32 */
#define SIZE_USED_MAX        ((uint64_t)8 << 32) /* what a position spans */
#define RECORD_HEAD_SIZE_MAX (1 + 2 * VARINT_SIZE_MAX + 5 + 4 + 8 + 16)

struct header {
    uint64_t magic;
    uint32_t version;
    uint32_t kind;
    uint64_t id;
    uint64_t salt;
    uint64_t nonce;
    uint64_t size_used;
    uint64_t index_first;
    uint64_t index_last;
    uint64_t clean_index;
    uint32_t last_crc;
    uint32_t reserved[4];
    uint32_t crc; /* of all before */
};
static_assert(sizeof(struct header) == WDB_HINT_HEADER_SIZE, "on disk");

struct block_header {
    uint32_t crc;  /* of the rest and of the block's records */
    uint32_t size; /* of its records */
    uint32_t record_count;
    uint32_t number;
    uint64_t offset_first;
};
static_assert(sizeof(struct block_header) == 24, "on disk");

struct footer {
    uint64_t magic;
    uint64_t size; /* of the file */
    uint64_t record_count;
    uint32_t block_count;
    uint32_t reserved[8];
    uint32_t crc; /* of all before */
};
static_assert(sizeof(struct footer) == WDB_HINT_FOOTER_SIZE, "on disk");
static_assert(RECORD_HEAD_SIZE_MAX <= WDB_HINT_FOOTER_SIZE,
              "the head of a record may be read before it is checked");

void wdb_hint_identify(const struct wdb_segment *segment,
                       struct wdb_hint_identity *out)
{
    const bool merged = segment->kind == WDB_SEGMENT_MERGED;
    *out = (struct wdb_hint_identity){
        .id = segment->id,
        .kind = segment->kind,
        .salt = segment->header.salt,
        .nonce = segment->header.nonce,
        .size_used = segment->size_used,
        .index_first = segment->index_first,
        .index_last = segment->index_last,
        .clean_index = segment->clean_index,
        .last_crc = merged ? 0 : segment->last_crc,
    };
}

/* --- encoding --------------------------------------------------------------
 */

void wdb_hint_encoder_init(struct wdb_hint_encoder *encoder, uint64_t salt)
{
    *encoder = (struct wdb_hint_encoder){.crc_seed = wdb_salt_fold(salt)};
}

void wdb_hint_encoder_release(struct wdb_hint_encoder *encoder)
{
    wdb_buffer_release(&encoder->out);
    wdb_buffer_release(&encoder->block);
}

static uint8_t *put_varint(uint8_t *p, uint64_t value)
{
    while (value >= 0x80) {
        *p++ = (uint8_t)(value | 0x80);
        value >>= 7;
    }
    *p++ = (uint8_t)value;
    return p;
}

static int finish_block(struct wdb_hint_encoder *encoder)
{
    struct block_header header = {
        .size = (uint32_t)encoder->block.size,
        .record_count = encoder->block_records,
        .number = encoder->block_count,
        .offset_first = encoder->block_offset_first,
    };
    const size_t size = sizeof(header) + encoder->block.size;
    if (wdb_buffer_reserve(&encoder->out, size) != 0) {
        return WALKERDB_ENOMEM;
    }
    uint8_t *at = encoder->out.data + encoder->out.size;
    memcpy(at, &header, sizeof(header));
    memcpy(at + sizeof(header), encoder->block.data, encoder->block.size);
    wdb_store32(at, wdb_crc32c(encoder->crc_seed, at + sizeof(header.crc),
                               size - sizeof(header.crc)));
    encoder->out.size += size;
    encoder->size += size;
    encoder->block_count++;
    encoder->block_records = 0;
    wdb_buffer_clear(&encoder->block);
    return 0;
}

int wdb_hint_encoder_add(struct wdb_hint_encoder *encoder,
                         const struct wdb_record *record, uint64_t offset,
                         uint64_t size)
{
    wdb_assert(offset % 8 == 0 && size % 8 == 0);
    wdb_assert(offset >= encoder->offset_next && offset >= OFFSET_MIN);
    struct wdb_buffer *block = &encoder->block;
    if (wdb_buffer_reserve(block, RECORD_HEAD_SIZE_MAX + record->key.size) !=
        0) {
        return WALKERDB_ENOMEM;
    }
    if (encoder->block_records == 0) {
        encoder->block_offset_first = offset;
        encoder->offset_next = offset;
        encoder->database = 0;
        encoder->type = 0;
    }
    uint8_t *tag = block->data + block->size, *p = tag + 1;
    *tag = (uint8_t)record->kind;
    if (offset != encoder->offset_next) {
        *tag |= TAG_GAP;
        p = put_varint(p, (offset - encoder->offset_next) / 8);
    }
    if (record->type != encoder->type ||
        record->database != encoder->database) {
        *tag |= TAG_CONTEXT;
        *p++ = record->type;
        wdb_store32(p, record->database);
        p += 4;
        encoder->type = record->type;
        encoder->database = record->database;
    }
    p = put_varint(p, size / 8);
    if (record->key.size > UINT8_MAX) {
        *tag |= TAG_LONG_KEY;
        wdb_store32(p, (uint32_t)record->key.size);
        p += 4;
    } else {
        *p++ = (uint8_t)record->key.size;
    }
    if (record->flags & WDB_RECORD_EXPIRY) {
        *tag |= TAG_EXPIRY;
        wdb_store64(p, record->expiry_ms);
        p += 8;
    }
    if (record->flags & WDB_RECORD_OBJECT) {
        *tag |= TAG_OBJECT;
        wdb_store64(p, record->object_id.term);
        wdb_store64(p + 8, record->object_id.counter);
        p += 16;
    }
    if (record->key.size != 0) {
        memcpy(p, record->key.data, record->key.size);
        p += record->key.size;
    }
    block->size = (size_t)(p - block->data);
    encoder->offset_next = offset + size;
    encoder->block_records++;
    encoder->record_count++;
    return block->size >= BLOCK_SIZE ? finish_block(encoder) : 0;
}

int wdb_hint_encoder_finish(struct wdb_hint_encoder *encoder,
                            const struct wdb_hint_identity *identity,
                            uint8_t header_out[WDB_HINT_HEADER_SIZE])
{
    if (encoder->block_records != 0) {
        int rc = finish_block(encoder);
        if (rc != 0) {
            return rc;
        }
    }
    struct footer footer = {
        .magic = FOOTER_MAGIC,
        .size = sizeof(struct header) + encoder->size + sizeof(footer),
        .record_count = encoder->record_count,
        .block_count = encoder->block_count,
    };
    footer.crc =
        wdb_crc32c(encoder->crc_seed, &footer, offsetof(struct footer, crc));
    if (wdb_buffer_append(&encoder->out, &footer, sizeof(footer)) != 0) {
        return WALKERDB_ENOMEM;
    }
    struct header header = {
        .magic = MAGIC,
        .version = WDB_FORMAT_VERSION,
        .kind = identity->kind,
        .id = identity->id,
        .salt = identity->salt,
        .nonce = identity->nonce,
        .size_used = identity->size_used,
        .index_first = identity->index_first,
        .index_last = identity->index_last,
        .clean_index = identity->clean_index,
        .last_crc = identity->last_crc,
    };
    header.crc =
        wdb_crc32c(encoder->crc_seed, &header, offsetof(struct header, crc));
    memcpy(header_out, &header, sizeof(header));
    return 0;
}

/* --- decoding --------------------------------------------------------------
 */

int wdb_hint_read_identity(const void *data, uint64_t size,
                           struct wdb_hint_identity *out)
{
    static const uint32_t zeros[4];
    struct header header;
    if (size < sizeof(header) + sizeof(struct footer)) {
        return WALKERDB_ECORRUPT;
    }
    memcpy(&header, data, sizeof(header));
    if (header.magic != MAGIC || header.version != WDB_FORMAT_VERSION ||
        (header.kind != WDB_SEGMENT_LOG && header.kind != WDB_SEGMENT_MERGED) ||
        header.size_used > SIZE_USED_MAX ||
        memcmp(header.reserved, zeros, sizeof(zeros)) != 0 ||
        header.crc != wdb_crc32c(wdb_salt_fold(header.salt), &header,
                                 offsetof(struct header, crc))) {
        return WALKERDB_ECORRUPT;
    }
    *out = (struct wdb_hint_identity){
        .id = header.id,
        .kind = (enum wdb_segment_kind)header.kind,
        .salt = header.salt,
        .nonce = header.nonce,
        .size_used = header.size_used,
        .index_first = header.index_first,
        .index_last = header.index_last,
        .clean_index = header.clean_index,
        .last_crc = header.last_crc,
    };
    return 0;
}

static bool identity_equal(const struct wdb_hint_identity *a,
                           const struct wdb_hint_identity *b)
{
    return a->id == b->id && a->kind == b->kind && a->salt == b->salt &&
           a->nonce == b->nonce && a->size_used == b->size_used &&
           a->index_first == b->index_first && a->index_last == b->index_last &&
           a->clean_index == b->clean_index && a->last_crc == b->last_crc;
}

static int read_footer(const uint8_t *data, uint64_t size, uint64_t salt,
                       struct footer *out)
{
    static const uint32_t zeros[8];
    struct footer footer;
    memcpy(&footer, data + size - sizeof(footer), sizeof(footer));
    if (footer.magic != FOOTER_MAGIC || footer.size != size ||
        memcmp(footer.reserved, zeros, sizeof(zeros)) != 0 ||
        footer.crc != wdb_crc32c(wdb_salt_fold(salt), &footer,
                                 offsetof(struct footer, crc))) {
        return WALKERDB_ECORRUPT;
    }
    *out = footer;
    return 0;
}

static const uint8_t *blocks_end(const struct wdb_hint *hint)
{
    return hint->data + hint->size - sizeof(struct footer);
}

/* Go into the block at the cursor. ENOTFOUND behind the last one. */
static int enter_block(struct wdb_hint_cursor *cursor,
                       struct block_header *header)
{
    const uint64_t left = (uint64_t)(blocks_end(cursor->hint) - cursor->at);
    if (left == 0) {
        return WALKERDB_ENOTFOUND;
    }
    if (left <= sizeof(*header)) {
        return WALKERDB_ECORRUPT;
    }
    memcpy(header, cursor->at, sizeof(*header));
    if (header->size == 0 || header->size > left - sizeof(*header) ||
        header->offset_first % 8 != 0 || header->offset_first < OFFSET_MIN ||
        header->offset_first < cursor->offset_next) {
        return WALKERDB_ECORRUPT;
    }
    cursor->at += sizeof(*header);
    cursor->block_end = cursor->at + header->size;
    cursor->offset_next = header->offset_first;
    cursor->database = 0;
    cursor->type = 0;
    return 0;
}

/* Canonical varints only; what is not one gives a value that no check lets
 * pass. At most VARINT_SIZE_MAX bytes are read. */
static inline uint64_t get_varint(const uint8_t **at)
{
    const uint8_t *p = *at;
    uint64_t value = *p++;
    if (WDB_UNLIKELY(value >= 0x80)) {
        value &= 0x7f;
        for (unsigned i = 1;; i++) {
            const uint8_t byte = *p++;
            value |= (uint64_t)(byte & 0x7f) << (7 * i);
            if (byte < 0x80) {
                value = byte == 0 ? UINT64_MAX : value;
                break;
            }
            if (i == VARINT_SIZE_MAX - 1) {
                value = UINT64_MAX;
                break;
            }
        }
    }
    *at = p;
    return value;
}

int wdb_hint_next(struct wdb_hint_cursor *cursor, struct wdb_hint_item *out)
{
    const uint8_t *p = cursor->at;
    if (WDB_UNLIKELY(p == cursor->block_end)) {
        struct block_header header;
        int rc = enter_block(cursor, &header);
        if (rc != 0) {
            return rc;
        }
        p = cursor->at;
    }
    /* The head is read before it is known to be inside the block: the footer
     * makes that safe. */
    const uint64_t size_used = cursor->hint->size_used;
    const uint8_t tag = *p++;
    uint64_t offset = cursor->offset_next;
    bool sound = (uint32_t)(tag & TAG_KIND) - 1 < WDB_RECORD_KIND_LAST;
    if (tag & TAG_GAP) {
        const uint64_t gap = get_varint(&p);
        sound = sound && gap - 1 < size_used / 8;
        offset += gap * 8;
    }
    if (WDB_UNLIKELY(tag & TAG_CONTEXT)) {
        const uint32_t database = wdb_load32(p + 1);
        sound = sound && (*p != cursor->type || database != cursor->database);
        cursor->type = *p;
        cursor->database = database;
        p += 5;
    }
    const uint64_t units = get_varint(&p);
    uint64_t key_size = *p++;
    if (WDB_UNLIKELY(tag & TAG_LONG_KEY)) {
        key_size = wdb_load32(p - 1);
        p += 3;
        sound = sound && key_size > UINT8_MAX;
    }
    uint8_t flags =
        cursor->hint->kind == WDB_SEGMENT_MERGED ? WDB_RECORD_SEQUENCE : 0;
    out->expiry_ms = 0;
    out->object_id = (struct wdb_object_id){0};
    if (WDB_UNLIKELY(tag & TAG_EXPIRY)) {
        flags |= WDB_RECORD_EXPIRY;
        out->expiry_ms = wdb_load64(p);
        p += 8;
    }
    if (WDB_UNLIKELY(tag & TAG_OBJECT)) {
        flags |= WDB_RECORD_OBJECT;
        out->object_id.term = wdb_load64(p);
        out->object_id.counter = wdb_load64(p + 8);
        p += 16;
    }
    const uint64_t size_min =
        wdb_align8(wdb_record_head_size(flags) + key_size);
    if (WDB_UNLIKELY(!sound || p > cursor->block_end ||
                     key_size > (uint64_t)(cursor->block_end - p) ||
                     offset > size_used || units > (size_used - offset) / 8 ||
                     units * 8 < size_min ||
                     units * 8 - size_min > WALKERDB_VALUE_SIZE_MAX)) {
        return WALKERDB_ECORRUPT;
    }
    out->kind = (enum wdb_record_kind)(tag & TAG_KIND);
    out->flags = flags;
    out->type = cursor->type;
    out->database = cursor->database;
    out->offset = offset;
    out->size = units * 8;
    out->key = wdb_slice(p, key_size);
    cursor->at = p + key_size;
    cursor->offset_next = offset + units * 8;
    return 0;
}

void wdb_hint_begin(const struct wdb_hint *hint, struct wdb_hint_cursor *cursor)
{
    *cursor = (struct wdb_hint_cursor){
        .hint = hint,
        .at = hint->data + sizeof(struct header),
        .block_end = hint->data + sizeof(struct header),
    };
}

/* Verify the checksum and all records of the block that begins at the cursor,
 * and move behind it. ENOTFOUND behind the last. */
static int check_block(struct wdb_hint_cursor *cursor, uint32_t crc_seed,
                       uint32_t number, uint64_t *record_count)
{
    const uint8_t *start = cursor->at;
    struct block_header header;
    struct wdb_hint_item item;
    int rc = enter_block(cursor, &header);
    if (rc != 0) {
        return rc;
    }
    if (header.number != number ||
        header.crc != wdb_crc32c(crc_seed, start + sizeof(header.crc),
                                 (size_t)(cursor->block_end - start) -
                                     sizeof(header.crc))) {
        return WALKERDB_ECORRUPT;
    }
    for (uint32_t i = 0; i < header.record_count; i++) {
        if (cursor->at == cursor->block_end ||
            wdb_hint_next(cursor, &item) != 0) {
            return WALKERDB_ECORRUPT;
        }
    }
    *record_count += header.record_count;
    return cursor->at == cursor->block_end ? 0 : WALKERDB_ECORRUPT;
}

int wdb_hint_view(const void *data, uint64_t size,
                  const struct wdb_hint_identity *identity,
                  struct wdb_hint *out)
{
    struct wdb_hint_identity found;
    struct footer footer;
    if (wdb_hint_read_identity(data, size, &found) != 0 ||
        !identity_equal(&found, identity) ||
        read_footer(data, size, identity->salt, &footer) != 0) {
        return WALKERDB_ECORRUPT;
    }
    struct wdb_hint hint = {
        .data = data,
        .size = size,
        .kind = identity->kind,
        .size_used = identity->size_used,
        .record_count = footer.record_count,
    };
    struct wdb_hint_cursor cursor;
    uint64_t record_count = 0;
    uint32_t number = 0;
    int rc;
    wdb_hint_begin(&hint, &cursor);
    while ((rc = check_block(&cursor, wdb_salt_fold(identity->salt), number,
                             &record_count)) == 0) {
        number++;
    }
    if (rc != WALKERDB_ENOTFOUND || number != footer.block_count ||
        record_count != footer.record_count) {
        return WALKERDB_ECORRUPT;
    }
    *out = hint;
    return 0;
}
