/*
 * keydir_table_internal.h - what the sources of the table share: where buckets
 * and overflow nodes are.
 */
#ifndef WDB_STORE_KEYDIR_TABLE_INTERNAL_H
#define WDB_STORE_KEYDIR_TABLE_INTERNAL_H

#include "store/keydir_table.h"

/* Enough for 500 M keys. With 1,024 stripes, that is 36 bits of a hash: as many
 * as WDB_KEYDIR_MASK_MIN leaves. */
#define WDB_TABLE_BUCKETS_MAX (UINT32_C(1) << 26)

static inline struct wdb_bucket_directory *wdb_table_directory(
    const struct wdb_table *table)
{
    return atomic_load_explicit(&table->directory, memory_order_relaxed);
}

static inline uint32_t wdb_table_bucket_count(const struct wdb_table *table)
{
    return atomic_load_explicit(&table->bucket_count, memory_order_relaxed);
}

/* Which chunk the bucket is in, and which of its buckets it is. */
static inline uint32_t wdb_table_chunk_of(uint32_t index, uint32_t *offset_out)
{
    if (WDB_LIKELY(index >= WDB_TABLE_CHUNK_BUCKETS)) {
        *offset_out = index % WDB_TABLE_CHUNK_BUCKETS;
        return 4 + index / WDB_TABLE_CHUNK_BUCKETS;
    }
    if (index < WDB_TABLE_BUCKETS_MIN) {
        *offset_out = index;
        return 0;
    }
    uint32_t doubling = 31 - (uint32_t)__builtin_clz(index);
    *offset_out = index - (1U << doubling);
    return doubling - 1;
}

static inline struct wdb_bucket *wdb_table_bucket(const struct wdb_table *table,
                                                  uint32_t index)
{
    uint32_t offset;
    uint32_t chunk = wdb_table_chunk_of(index, &offset);
    return atomic_load_explicit(&wdb_table_directory(table)->chunks[chunk],
                                memory_order_relaxed) +
           offset;
}

/* Where the keys of a hash are, and their tag there. */
struct wdb_place {
    struct wdb_bucket *bucket;
    uint16_t tag;
};
static inline struct wdb_place wdb_table_place(const struct wdb_table *table,
                                               uint64_t hash)
{
    uint64_t place = hash >> table->stripe_bits;
    uint32_t count = wdb_table_bucket_count(table);
    uint32_t index = wdb_table_bucket_index(place, count);
    uint32_t bits = wdb_table_bucket_bits(index, count);
    return (struct wdb_place){wdb_table_bucket(table, index),
                              wdb_tag_of(hash, place, bits)};
}

/* The overflow node of a bucket that has one. */
static inline uint32_t *wdb_table_node(const struct wdb_table *table,
                                       const struct wdb_bucket *bucket)
{
    return wdb_arena_words(&table->arena, bucket->overflow);
}

/* --- keydir_buckets.c --- */
/* Make sure that there is memory for that bucket. ENOMEM. */
WDB_MUST_CHECK int wdb_table_chunk_ensure(struct wdb_table *table,
                                          uint32_t index);
/* Give back the chunk that begins with bucket `index`, if one does. */
void wdb_table_chunk_drop(struct wdb_table *table, uint32_t index);

/* --- keydir_table.c --- */
/* Write a slot of a bucket; the filter bit in its tag stays. */
void wdb_table_set_slot(struct wdb_bucket *bucket, uint32_t slot, uint16_t tag,
                        wdb_ref ref);
/* Compute the filter anew from what the node holds. */
void wdb_table_renew_filter(const struct wdb_table *table,
                            struct wdb_bucket *bucket);
/* An empty node. ENOMEM. */
WDB_MUST_CHECK int wdb_table_node_new(struct wdb_table *table,
                                      uint32_t capacity, bool may_grow,
                                      wdb_ref *out);
void wdb_table_node_free(struct wdb_table *table, wdb_ref ref);
/* Add a slot to a node that has room. */
void wdb_table_node_append(uint32_t *node, uint16_t tag, wdb_ref ref);
/* The capacities are 2, 6, 10 and so on. */
uint32_t wdb_table_node_capacity(uint32_t count);

#endif
