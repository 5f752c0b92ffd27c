/*
 * keydir_split.c - the table grows and shrinks with the number of keys.
 *
 * There are LOAD_MAX keys to a bucket when the table grows. Of ten slots that
 * is so many that an eighth of the keys lie in overflow nodes; but a slot in a
 * node costs 6 bytes, as it does in a bucket, so memory is what it should be
 * at every number of keys, and the filters keep searches for absent keys away
 * from the nodes.
 *
 * A new number of buckets is published when the new bucket is filled and before
 * the old one is cleared, so a peek finds most keys even then.
 */
#include "base/assert.h"
#include "store/keydir_table_internal.h"
#include "walkerdb.h"

/* In halves of a key to a bucket; below it the table shrinks. */
#define LOAD_MIN       10
#define GATHER_MAX     (2 * (WDB_BUCKET_SLOTS + WDB_NODE_MAX))
#define COMPACT_BLOCKS 8 /* moved in one step */

/* ---- split and merge ----------------------------------------------------- */

/* The slots of a bucket (or two) taken out. */
struct gathered {
    uint32_t count;
    wdb_ref refs[GATHER_MAX];
    uint16_t tags[GATHER_MAX];
};

static void gather(const struct wdb_table *table,
                   const struct wdb_bucket *bucket, struct gathered *out)
{
    for (uint32_t i = 0; i < WDB_BUCKET_SLOTS; i++) {
        if (bucket->refs[i] != 0) {
            out->refs[out->count] = bucket->refs[i];
            out->tags[out->count++] = bucket->tags[i] & WDB_TAG_MASK;
        }
    }
    if (bucket->overflow == 0) {
        return;
    }
    uint32_t *node = wdb_table_node(table, bucket);
    for (uint32_t i = 0; i < wdb_node_count(node); i++) {
        out->refs[out->count] = wdb_node_refs(node)[i];
        out->tags[out->count++] = wdb_node_tags(node)[i];
    }
}

/* Capacity of the node that so many keys in one bucket need, 0 = none. */
static uint32_t node_need(uint32_t count)
{
    return count <= WDB_BUCKET_SLOTS
               ? 0
               : wdb_table_node_capacity(count - WDB_BUCKET_SLOTS);
}

/* Write those of the slots whose bit in `chosen` is `value` into the bucket,
 * the rest of them into the node (0 if none is needed). */
static void fill(struct wdb_table *table, struct wdb_bucket *bucket,
                 const struct gathered *slots, const bool *chosen,
                 wdb_ref node_ref)
{
    uint32_t used = 0;
    uint32_t *node = NULL;
    if (node_ref != 0) {
        node = wdb_arena_words(&table->arena, node_ref);
        wdb_node_set(node, wdb_node_capacity(node), 0);
    }
    for (uint32_t i = 0; i < slots->count; i++) {
        if (!chosen[i]) {
            continue;
        }
        if (used < WDB_BUCKET_SLOTS) {
            wdb_table_set_slot(bucket, used++, slots->tags[i], slots->refs[i]);
        } else {
            wdb_table_node_append(node, slots->tags[i], slots->refs[i]);
        }
    }
    while (used < WDB_BUCKET_SLOTS) {
        wdb_table_set_slot(bucket, used++, 0, 0);
    }
    wdb_ref_store(&bucket->overflow, node_ref);
    wdb_table_renew_filter(table, bucket);
}

/*
 * A node for that capacity in place of the one that the bucket has. A new one,
 * if that can be had; else the old one if it is large enough. 0 if none is
 * needed. ENOMEM. The old one is the caller's to free if it is not the result.
 */
static int node_replace(struct wdb_table *table, wdb_ref old, uint32_t capacity,
                        bool may_grow, wdb_ref *out)
{
    *out = 0;
    if (capacity == 0) {
        return 0;
    }
    uint32_t has =
        old == 0 ? 0 : wdb_node_capacity(wdb_arena_words(&table->arena, old));
    if (has != capacity &&
        wdb_table_node_new(table, capacity, may_grow, out) == 0) {
        return 0;
    }
    *out = old;
    return has >= capacity ? 0 : WALKERDB_ENOMEM;
}

/*
 * The buckets are to be numbered by the next three bits: compute tags that have
 * them, from the keys themselves.
 */
static void renew_tags(const struct wdb_table *table, struct gathered *slots,
                       uint32_t bucket_bits)
{
    for (uint32_t i = 0; i < slots->count; i++) {
        WDB_PREFETCH(wdb_arena_words(&table->arena, slots->refs[i]));
    }
    for (uint32_t i = 0; i < slots->count; i++) {
        uint64_t hash = wdb_table_hash(table, wdb_arena_words(&table->arena,
                                                              slots->refs[i]));
        slots->tags[i] =
            wdb_tag_of(hash, hash >> table->stripe_bits, bucket_bits);
    }
}

/* Split the bucket whose turn it is. ENOMEM: nothing changed. */
static int split(struct wdb_table *table)
{
    uint32_t count = wdb_table_bucket_count(table);
    uint32_t bit = 31 - (uint32_t)__builtin_clz(count);
    if (count == WDB_TABLE_BUCKETS_MAX) {
        return WALKERDB_ENOMEM;
    }
    int rc = wdb_table_chunk_ensure(table, count);
    if (rc != 0) {
        return rc;
    }
    struct wdb_bucket *source = wdb_table_bucket(table, count - (1U << bit));
    struct wdb_bucket *target = wdb_table_bucket(table, count);
    struct gathered slots;
    slots.count = 0;
    gather(table, source, &slots);
    bool stays[GATHER_MAX], goes[GATHER_MAX];
    uint32_t gone = 0;
    for (uint32_t i = 0; i < slots.count; i++) {
        goes[i] = slots.tags[i] >> (bit - wdb_tag_group(bit)) & 1;
        stays[i] = !goes[i];
        gone += goes[i];
    }
    if (wdb_tag_group(bit + 1) != wdb_tag_group(bit)) {
        renew_tags(table, &slots, bit + 1);
    }
    wdb_ref target_node, source_node, old_node = source->overflow;
    rc = node_replace(table, 0, node_need(gone), true, &target_node);
    if (rc != 0) {
        return rc;
    }
    rc = node_replace(table, old_node, node_need(slots.count - gone), true,
                      &source_node);
    wdb_assert(rc == 0); /* it does not need more than it has */
    fill(table, target, &slots, goes, target_node);
    atomic_store_explicit(&table->bucket_count, count + 1,
                          memory_order_release);
    fill(table, source, &slots, stays, source_node);
    if (old_node != 0 && old_node != source_node) {
        wdb_table_node_free(table, old_node);
    }
    return 0;
}

/* Merge the last bucket into the one that it came from. ENOMEM: nothing
 * changed. */
static int merge(struct wdb_table *table, bool may_grow)
{
    uint32_t last = wdb_table_bucket_count(table) - 1;
    uint32_t bit = 31 - (uint32_t)__builtin_clz(last);
    struct wdb_bucket *source = wdb_table_bucket(table, last);
    struct wdb_bucket *target = wdb_table_bucket(table, last - (1U << bit));
    struct gathered slots;
    slots.count = 0;
    gather(table, target, &slots);
    uint32_t target_count = slots.count;
    gather(table, source, &slots);
    if (wdb_tag_group(bit + 1) != wdb_tag_group(bit)) {
        /* The numbers of the buckets say what the bits were. */
        for (uint32_t i = 0; i < slots.count; i++) {
            uint32_t index = i < target_count ? last - (1U << bit) : last;
            slots.tags[i] =
                (uint16_t)((slots.tags[i] & ~WDB_TAG_GROUP_MASK) |
                           (index >> wdb_tag_group(bit) & WDB_TAG_GROUP_MASK));
        }
    }
    bool all[GATHER_MAX];
    memset(all, true, slots.count);
    wdb_ref old = target->overflow;
    wdb_ref node;
    int rc = node_replace(table, old, node_need(slots.count), may_grow, &node);
    if (rc != 0) {
        return rc;
    }
    fill(table, target, &slots, all, node);
    atomic_store_explicit(&table->bucket_count, last, memory_order_release);
    if (old != 0 && old != node) {
        wdb_table_node_free(table, old);
    }
    if (source->overflow != 0) {
        wdb_table_node_free(table, source->overflow);
    }
    slots.count = 0;
    fill(table, source, &slots, all, 0);
    wdb_table_chunk_drop(table, last);
    return 0;
}

/* ---- memory follows the number of keys ----------------------------------- */

static uint64_t count_of(const struct wdb_table *table)
{
    return atomic_load_explicit(&table->count, memory_order_relaxed);
}

void wdb_table_grow(struct wdb_table *table)
{
    /* Two at most, so that it catches up after memory was short. */
    for (int i = 0; i < 2; i++) {
        if (2 * count_of(table) <=
                (uint64_t)wdb_table_bucket_count(table) * WDB_TABLE_LOAD_MAX ||
            split(table) != 0) {
            return;
        }
    }
}

static uint32_t block_units(const uint32_t *words)
{
    if (WDB_ARENA_KIND_OF(words[0]) == WDB_KIND_NODE) {
        return wdb_node_units(wdb_node_capacity(words));
    }
    return wdb_item_units(wdb_item_flags(words) & WDB_ITEM_EXPIRY,
                          wdb_item_key(words).size);
}

/* Compaction moved a block: find what names it. */
static void block_moved(void *context, wdb_ref from, wdb_ref to)
{
    struct wdb_table *table = context;
    uint32_t *words = wdb_arena_words(&table->arena, to);
    if (WDB_ARENA_KIND_OF(words[0]) == WDB_KIND_NODE) {
        uint32_t *entry =
            wdb_arena_words(&table->arena, wdb_node_refs(words)[0]);
        struct wdb_bucket *bucket =
            wdb_table_place(table, wdb_table_hash(table, entry)).bucket;
        wdb_assert(bucket->overflow == from);
        wdb_ref_store(&bucket->overflow, to);
        return;
    }
    struct wdb_bucket *bucket =
        wdb_table_place(table, wdb_table_hash(table, words)).bucket;
    for (uint32_t i = 0; i < WDB_BUCKET_SLOTS; i++) {
        if (bucket->refs[i] == from) {
            wdb_ref_store(&bucket->refs[i], to);
            return;
        }
    }
    uint32_t *node = wdb_table_node(table, bucket);
    uint32_t count = wdb_node_count(node);
    for (uint32_t i = 0; i < count; i++) {
        if (wdb_node_refs(node)[i] == from) {
            wdb_ref_store(&wdb_node_refs(node)[i], to);
            return;
        }
    }
    wdb_assert(false); /* every entry is in its bucket */
}

void wdb_table_shrink(struct wdb_table *table, bool may_grow)
{
    uint32_t buckets = wdb_table_bucket_count(table);
    if (buckets > WDB_TABLE_BUCKETS_MIN &&
        2 * count_of(table) < (uint64_t)buckets * LOAD_MIN) {
        (void)!merge(table, may_grow);
    }
    if (count_of(table) == 0) {
        wdb_arena_reset(&table->arena);
        return;
    }
    struct wdb_arena_owner owner = {block_units, block_moved, table};
    wdb_arena_compact(&table->arena, &owner, COMPACT_BLOCKS, may_grow);
}
