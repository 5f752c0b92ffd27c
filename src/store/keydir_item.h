/*
 * keydir_item.h - what a keydir keeps of one key, in a block of the arena.
 *
 *   word 0                                  word 1         word 2
 *   +------+---+---------+------------------+--------------+-----------------+
 *   | kind | - | flags 8 | position 51..32  | position 31..0 | record size/8 |
 *   +------+---+---------+------------------+--------------+-----------------+
 *   31..30     27..20     19..0
 *
 *   bytes from 12 on:  key size u8 | [u32 if that is 255] | [expiry u64] | key
 *
 * 13 bytes and the key: 29 for one of 16 bytes, so 32. Written with relaxed
 * stores of words, because a peek may read the first two at any time.
 */
#ifndef WDB_STORE_KEYDIR_ITEM_H
#define WDB_STORE_KEYDIR_ITEM_H

#include "base/assert.h"
#include "base/bytes.h"
#include "store/arena.h"
#include "store/keydir.h"

/* Kinds of blocks in the arena of a keydir's stripe. */
enum wdb_block_kind {
    WDB_KIND_ENTRY = 1,
    WDB_KIND_NODE = 2
};

/* Of short keys an entry lies in the lines of its first word and of this. */
#define WDB_ITEM_HALF 8

#define WDB_ITEM_FIXED_SIZE  12
#define WDB_ITEM_KEY_LONG    255
#define WDB_ITEM_FLAGS_SHIFT 20
/* Fixed part, key size u8 and u32, expiry. */
#define WDB_ITEM_PREFIX_MAX (WDB_ITEM_FIXED_SIZE + 1 + 4 + 8)

static inline uint8_t wdb_item_flags(const uint32_t *words)
{
    return (uint8_t)(words[0] >> WDB_ITEM_FLAGS_SHIFT);
}

/* Bytes before the key. */
static inline uint32_t wdb_item_prefix_size(bool has_expiry, uint64_t key_size)
{
    return WDB_ITEM_FIXED_SIZE + 1 + (key_size >= WDB_ITEM_KEY_LONG ? 4 : 0) +
           (has_expiry ? 8 : 0);
}

/* Units of the block for such an entry. */
static inline uint32_t wdb_item_units(bool has_expiry, uint64_t key_size)
{
    return wdb_arena_units(wdb_item_prefix_size(has_expiry, key_size) +
                           key_size);
}

static inline struct wdb_slice wdb_item_key(const uint32_t *words)
{
    const uint8_t *bytes = (const uint8_t *)words;
    uint32_t size = bytes[WDB_ITEM_FIXED_SIZE];
    if (WDB_UNLIKELY(size == WDB_ITEM_KEY_LONG)) {
        size = wdb_load32(bytes + WDB_ITEM_FIXED_SIZE + 1);
    }
    bool has_expiry = wdb_item_flags(words) & WDB_ITEM_EXPIRY;
    return wdb_slice(bytes + wdb_item_prefix_size(has_expiry, size), size);
}

static inline bool wdb_item_has_key(const uint32_t *words, struct wdb_slice key)
{
    return wdb_slice_equal(wdb_item_key(words), key);
}

static inline wdb_position wdb_item_position(const uint32_t *words)
{
    return (uint64_t)(words[0] & ((1U << WDB_ITEM_FLAGS_SHIFT) - 1)) << 32 |
           words[1];
}

static inline void wdb_item_decode(const uint32_t *words, struct wdb_item *out)
{
    const uint8_t *bytes = (const uint8_t *)words;
    out->position = wdb_item_position(words);
    out->record_size = (uint64_t)words[2] << 3;
    out->flags = wdb_item_flags(words);
    out->expiry_ms = 0;
    if (out->flags & WDB_ITEM_EXPIRY) {
        bool is_long = bytes[WDB_ITEM_FIXED_SIZE] == WDB_ITEM_KEY_LONG;
        out->expiry_ms =
            wdb_load64(bytes + WDB_ITEM_FIXED_SIZE + 1 + (is_long ? 4 : 0));
    }
}

static inline void wdb_item_set_position(uint32_t *words, wdb_position position)
{
    uint32_t high = words[0] >> WDB_ITEM_FLAGS_SHIFT << WDB_ITEM_FLAGS_SHIFT;
    wdb_word_store(&words[0], high | (uint32_t)(position >> 32));
    wdb_word_store(&words[1], (uint32_t)position);
}

/* Write the whole entry; the block has wdb_item_units for it. */
static inline void wdb_item_encode(uint32_t *words, const struct wdb_item *item,
                                   struct wdb_slice key)
{
    wdb_assert(item->position >> WDB_POSITION_BITS == 0);
    wdb_assert(item->record_size % 8 == 0 && item->record_size >> 35 == 0);
    uint8_t head[WDB_ITEM_PREFIX_MAX + 3];
    wdb_store32(head, (uint32_t)WDB_KIND_ENTRY << WDB_ARENA_KIND_SHIFT |
                          (uint32_t)item->flags << WDB_ITEM_FLAGS_SHIFT |
                          (uint32_t)(item->position >> 32));
    wdb_store32(head + 4, (uint32_t)item->position);
    wdb_store32(head + 8, (uint32_t)(item->record_size >> 3));
    size_t size = WDB_ITEM_FIXED_SIZE + 1;
    if (key.size >= WDB_ITEM_KEY_LONG) {
        head[WDB_ITEM_FIXED_SIZE] = WDB_ITEM_KEY_LONG;
        wdb_store32(head + size, (uint32_t)key.size);
        size += 4;
    } else {
        head[WDB_ITEM_FIXED_SIZE] = (uint8_t)key.size;
    }
    if (item->flags & WDB_ITEM_EXPIRY) {
        wdb_store64(head + size, item->expiry_ms);
        size += 8;
    }
    /* The rest of the last word of the head comes from the key. */
    size_t used = 0;
    while (size % 4 != 0) {
        head[size++] = used < key.size ? key.data[used] : 0;
        used++;
    }
    for (size_t i = 0; i < size; i += 4) {
        wdb_word_store(words++, wdb_load32(head + i));
    }
    for (; used + 4 <= key.size; used += 4) {
        wdb_word_store(words++, wdb_load32(key.data + used));
    }
    if (used < key.size) {
        uint32_t last = 0;
        memcpy(&last, key.data + used, key.size - used);
        wdb_word_store(words, last);
    }
}

/* Write over the entry of the same key, which has an expiry iff the item has
 * one: the key stays. */
static inline void wdb_item_update(uint32_t *words, const struct wdb_item *item)
{
    wdb_assert(item->position >> WDB_POSITION_BITS == 0);
    wdb_assert(item->record_size % 8 == 0 && item->record_size >> 35 == 0);
    wdb_word_store(&words[0],
                   (uint32_t)WDB_KIND_ENTRY << WDB_ARENA_KIND_SHIFT |
                       (uint32_t)item->flags << WDB_ITEM_FLAGS_SHIFT |
                       (uint32_t)(item->position >> 32));
    wdb_word_store(&words[1], (uint32_t)item->position);
    wdb_word_store(&words[2], (uint32_t)(item->record_size >> 3));
    if (item->flags & WDB_ITEM_EXPIRY) {
        uint8_t *bytes = (uint8_t *)words;
        const bool is_long = bytes[WDB_ITEM_FIXED_SIZE] == WDB_ITEM_KEY_LONG;
        wdb_store64(bytes + WDB_ITEM_FIXED_SIZE + 1 + (is_long ? 4 : 0),
                    item->expiry_ms);
    }
}

#endif
