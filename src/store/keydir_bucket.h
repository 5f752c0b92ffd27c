/*
 * keydir_bucket.h - one cache line of ten slots, and how it is searched.
 *
 * What does not fit into the ten slots lies in an overflow node, a block of the
 * arena that is about as large as it must be:
 *
 *   word 0                            words 1..capacity   then
 *   +------+---------------+----------+------+- - -+------+------+- - -+
 *   | kind | capacity 12   | count 12 | ref  |     | ref  | tag  |     |
 *   +------+---------------+----------+------+- - -+------+------+- - -+
 *    31..30 23..12          11..0       u32                 u16
 *
 * A tag is 15 bits, never 0; a slot is free if its tag (and ref) is 0. Twelve of
 * them come from the top of the hash. The other three are bits from where
 * bucket numbers come from, so chosen that the one which decides the bucket's
 * next split is among them: two splits of three look at no key at all.
 *
 * The sixteenth bits of the ten tags together are a filter over the node: bit f
 * is set if a key whose tag selects f may be in there. So a search for a key
 * that is absent seldom touches more than the line.
 */
#ifndef WDB_STORE_KEYDIR_BUCKET_H
#define WDB_STORE_KEYDIR_BUCKET_H

#include <assert.h>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include "store/arena.h"
#include "store/keydir_item.h"

#define WDB_BUCKET_SLOTS   10
#define WDB_BUCKET_MASK    ((1U << WDB_BUCKET_SLOTS) - 1)
#define WDB_TAG_BITS       15
#define WDB_TAG_MASK       0x7fff
#define WDB_TAG_FILTER     0x8000
#define WDB_TAG_GROUP      3 /* bits that decide splits */
#define WDB_TAG_GROUP_MASK 7
#define WDB_NODE_FIRST     2   /* slots of the smallest node */
#define WDB_NODE_STEP      4   /* slots that the next larger one has more */
#define WDB_NODE_MAX       338 /* slots: the largest block of a shared chunk */

struct wdb_bucket {
    uint16_t tags[WDB_BUCKET_SLOTS];
    uint32_t refs[WDB_BUCKET_SLOTS];
    uint32_t overflow; /* ref of the node, 0 = none */
} WDB_ALIGN_CACHE;
static_assert(sizeof(struct wdb_bucket) == WDB_CACHE_LINE, "a line");

/* The first of the three bits that the tags of a bucket have which so many
 * bits number. */
static inline uint32_t wdb_tag_group(uint32_t bucket_bits)
{
    return bucket_bits / WDB_TAG_GROUP * WDB_TAG_GROUP;
}

/* `place` is the hash without the bits of the stripe. */
static inline uint16_t wdb_tag_of(uint64_t hash, uint64_t place,
                                  uint32_t bucket_bits)
{
    uint32_t top = (uint32_t)(hash >> 52);
    uint32_t group =
        (uint32_t)(place >> wdb_tag_group(bucket_bits)) & WDB_TAG_GROUP_MASK;
    return (uint16_t)((top == 0 ? 1 : top) << WDB_TAG_GROUP | group);
}

/* Which bit of the filter stands for the tag; the same in every bucket. */
static inline uint32_t wdb_tag_filter(uint16_t tag)
{
    uint32_t top = tag >> WDB_TAG_GROUP;
    return top * WDB_BUCKET_SLOTS >> (WDB_TAG_BITS - WDB_TAG_GROUP);
}

static inline void wdb_tag_store(uint16_t *tag, uint16_t value)
{
    __atomic_store_n(tag, value, __ATOMIC_RELAXED);
}

/* Published: a peek that sees the ref sees what it names. */
static inline void wdb_ref_store(uint32_t *slot, wdb_ref ref)
{
    __atomic_store_n(slot, ref, __ATOMIC_RELEASE);
}

/* A bit for each tag that is the wanted one. `tags` are the bucket's, four to a
 * word. */
static inline uint32_t wdb_tags_match(uint64_t first, uint64_t second,
                                      uint32_t third, uint16_t wanted)
{
#ifdef __SSE2__
    const __m128i mask = _mm_set1_epi16(WDB_TAG_MASK);
    const __m128i tag = _mm_set1_epi16((short)wanted);
    __m128i low = _mm_set_epi64x((long long)second, (long long)first);
    __m128i high = _mm_cvtsi32_si128((int)third);
    low = _mm_cmpeq_epi16(_mm_and_si128(low, mask), tag);
    high = _mm_cmpeq_epi16(_mm_and_si128(high, mask), tag);
    return (uint32_t)_mm_movemask_epi8(_mm_packs_epi16(low, high)) &
           WDB_BUCKET_MASK;
#else
    uint32_t bits = 0;
    for (uint32_t i = 0; i < WDB_BUCKET_SLOTS; i++) {
        const uint64_t word = i < 4 ? first : i < 8 ? second : third;
        bits |= (uint32_t)((word >> i % 4 * 16 & WDB_TAG_MASK) == wanted) << i;
    }
    return bits;
#endif
}

/* A bit for each of the slots with that tag; 0 asks for the free ones. */
static inline uint32_t wdb_bucket_match(const struct wdb_bucket *bucket,
                                        uint16_t tag)
{
    return wdb_tags_match(wdb_load64(&bucket->tags[0]),
                          wdb_load64(&bucket->tags[4]),
                          wdb_load32(&bucket->tags[8]), tag);
}

/* The same without the lock. */
static inline uint32_t wdb_bucket_peek_match(const struct wdb_bucket *bucket,
                                             uint16_t tag)
{
    const void *tags = bucket->tags;
    const uint64_t *words = tags;
    const uint32_t *last = (const uint32_t *)tags + 4;
    return wdb_tags_match(__atomic_load_n(&words[0], __ATOMIC_RELAXED),
                          __atomic_load_n(&words[1], __ATOMIC_RELAXED),
                          __atomic_load_n(last, __ATOMIC_RELAXED), tag);
}

/* False if no key with that tag is in the overflow node. */
static inline bool wdb_bucket_may_overflow(const struct wdb_bucket *bucket,
                                           uint16_t tag)
{
    const uint16_t *word = &bucket->tags[wdb_tag_filter(tag)];
    return __atomic_load_n(word, __ATOMIC_RELAXED) & WDB_TAG_FILTER;
}

/* ---- overflow nodes ------------------------------------------------------ */

static inline uint32_t wdb_node_count(const uint32_t *node)
{
    return node[0] & 0xfff;
}
static inline uint32_t wdb_node_capacity(const uint32_t *node)
{
    return node[0] >> 12 & 0xfff;
}
static inline void wdb_node_set(uint32_t *node, uint32_t capacity,
                                uint32_t count)
{
    wdb_word_store(&node[0], (uint32_t)WDB_KIND_NODE << WDB_ARENA_KIND_SHIFT |
                                 capacity << 12 | count);
}
static inline uint32_t *wdb_node_refs(uint32_t *node)
{
    return node + 1;
}
static inline uint16_t *wdb_node_tags(uint32_t *node)
{
    return (uint16_t *)(node + 1 + wdb_node_capacity(node));
}
static inline uint32_t wdb_node_units(uint32_t capacity)
{
    return wdb_arena_units(4 + capacity * UINT64_C(6));
}

#endif
