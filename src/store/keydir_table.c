/*
 * keydir_table.c - search, insertion and removal.
 *
 * Whatever a peek may read is written with atomic stores; everything else reads
 * it under the stripe's lock, plainly. A peek may miss a key, as it may at any
 * time.
 */
#include "base/assert.h"
#include "store/keydir_table_internal.h"
#include "walkerdb.h"

/* ---- slots --------------------------------------------------------------- */

uint64_t wdb_table_hash(const struct wdb_table *table, const uint32_t *entry)
{
    return wdb_siphash13(&table->hash_key, wdb_item_key(entry));
}

static bool find_in_node(const struct wdb_table *table,
                         struct wdb_bucket *bucket, uint16_t tag,
                         struct wdb_slice key, struct wdb_found *out)
{
    uint32_t *node = wdb_table_node(table, bucket);
    uint32_t count = wdb_node_count(node);
    for (uint32_t i = 0; i < count; i++) {
        if (wdb_node_tags(node)[i] != tag) {
            continue;
        }
        uint32_t *words =
            wdb_arena_words(&table->arena, wdb_node_refs(node)[i]);
        if (wdb_item_has_key(words, key)) {
            *out = (struct wdb_found){bucket, WDB_BUCKET_SLOTS + i, words};
            return true;
        }
    }
    return false;
}

bool wdb_table_find(const struct wdb_table *table, uint64_t hash,
                    struct wdb_slice key, struct wdb_found *out)
{
    struct wdb_place place = wdb_table_place(table, hash);
    struct wdb_bucket *bucket = place.bucket;
    for (uint32_t bits = wdb_bucket_match(bucket, place.tag); bits != 0;
         bits &= bits - 1) {
        uint32_t slot = (uint32_t)__builtin_ctz(bits);
        uint32_t *words = wdb_arena_words(&table->arena, bucket->refs[slot]);
        WDB_PREFETCH(words + WDB_ITEM_HALF); /* most of them end there */
        if (WDB_LIKELY(wdb_item_has_key(words, key))) {
            *out = (struct wdb_found){bucket, slot, words};
            return true;
        }
    }
    return wdb_bucket_may_overflow(bucket, place.tag) &&
           find_in_node(table, bucket, place.tag, key, out);
}

static uint32_t *ref_slot(const struct wdb_table *table,
                          const struct wdb_found *found)
{
    if (found->slot < WDB_BUCKET_SLOTS) {
        return &found->bucket->refs[found->slot];
    }
    return &wdb_node_refs(
        wdb_table_node(table, found->bucket))[found->slot - WDB_BUCKET_SLOTS];
}

wdb_ref wdb_table_ref(const struct wdb_table *table,
                      const struct wdb_found *found)
{
    return *ref_slot(table, found);
}

void wdb_table_set_ref(const struct wdb_table *table,
                       const struct wdb_found *found, wdb_ref ref)
{
    wdb_ref_store(ref_slot(table, found), ref);
}

void wdb_table_set_slot(struct wdb_bucket *bucket, uint32_t slot, uint16_t tag,
                        wdb_ref ref)
{
    wdb_ref_store(&bucket->refs[slot], ref);
    wdb_tag_store(&bucket->tags[slot],
                  (bucket->tags[slot] & WDB_TAG_FILTER) | tag);
}

void wdb_table_renew_filter(const struct wdb_table *table,
                            struct wdb_bucket *bucket)
{
    uint32_t filter = 0;
    if (bucket->overflow != 0) {
        uint32_t *node = wdb_table_node(table, bucket);
        for (uint32_t i = 0; i < wdb_node_count(node); i++) {
            filter |= 1U << wdb_tag_filter(wdb_node_tags(node)[i]);
        }
    }
    for (uint32_t i = 0; i < WDB_BUCKET_SLOTS; i++) {
        uint16_t bit = filter >> i & 1 ? WDB_TAG_FILTER : 0;
        wdb_tag_store(&bucket->tags[i], (bucket->tags[i] & WDB_TAG_MASK) | bit);
    }
}

uint32_t wdb_table_node_capacity(uint32_t count)
{
    uint32_t steps =
        (count + WDB_NODE_STEP - 1 - WDB_NODE_FIRST) / WDB_NODE_STEP;
    return count <= WDB_NODE_FIRST ? WDB_NODE_FIRST
                                   : WDB_NODE_FIRST + steps * WDB_NODE_STEP;
}

int wdb_table_node_new(struct wdb_table *table, uint32_t capacity,
                       bool may_grow, wdb_ref *out)
{
    if (capacity > WDB_NODE_MAX) {
        return WALKERDB_ENOMEM;
    }
    int rc =
        wdb_arena_alloc(&table->arena, wdb_node_units(capacity), may_grow, out);
    if (rc == 0) {
        wdb_node_set(wdb_arena_words(&table->arena, *out), capacity, 0);
    }
    return rc;
}

void wdb_table_node_free(struct wdb_table *table, wdb_ref ref)
{
    uint32_t *node = wdb_arena_words(&table->arena, ref);
    wdb_arena_free(&table->arena, ref, wdb_node_units(wdb_node_capacity(node)));
}

void wdb_table_node_append(uint32_t *node, uint16_t tag, wdb_ref ref)
{
    uint32_t count = wdb_node_count(node);
    wdb_debug_assert(count < wdb_node_capacity(node));
    wdb_ref_store(&wdb_node_refs(node)[count], ref);
    wdb_tag_store(&wdb_node_tags(node)[count], tag);
    wdb_node_set(node, wdb_node_capacity(node), count + 1);
}

/* Have room for one more in the bucket's node. */
static int node_reserve(struct wdb_table *table, struct wdb_bucket *bucket)
{
    wdb_ref old_ref = bucket->overflow;
    uint32_t *old = old_ref == 0 ? NULL : wdb_table_node(table, bucket);
    uint32_t count = old == NULL ? 0 : wdb_node_count(old);
    if (old != NULL && count < wdb_node_capacity(old)) {
        return 0;
    }
    wdb_ref ref;
    int rc = wdb_table_node_new(table, wdb_table_node_capacity(count + 1), true,
                                &ref);
    if (rc != 0) {
        return rc;
    }
    uint32_t *node = wdb_arena_words(&table->arena, ref);
    for (uint32_t i = 0; i < count; i++) {
        wdb_table_node_append(node, wdb_node_tags(old)[i],
                              wdb_node_refs(old)[i]);
    }
    wdb_ref_store(&bucket->overflow, ref);
    if (old != NULL) {
        wdb_table_node_free(table, old_ref);
    }
    return 0;
}

int wdb_table_insert(struct wdb_table *table, uint64_t hash, wdb_ref ref)
{
    struct wdb_place place = wdb_table_place(table, hash);
    struct wdb_bucket *bucket = place.bucket;
    uint16_t tag = place.tag;
    uint32_t free_slots = wdb_bucket_match(bucket, 0);
    if (free_slots != 0) {
        wdb_table_set_slot(bucket, (uint32_t)__builtin_ctz(free_slots), tag,
                           ref);
        return 0;
    }
    int rc = node_reserve(table, bucket);
    if (rc != 0) {
        return rc;
    }
    wdb_table_node_append(wdb_table_node(table, bucket), tag, ref);
    uint16_t *word = &bucket->tags[wdb_tag_filter(tag)];
    wdb_tag_store(word, *word | WDB_TAG_FILTER);
    return 0;
}

/* Take the last slot of the node away; frees the node if it was the only. */
static void node_pop(struct wdb_table *table, struct wdb_bucket *bucket)
{
    uint32_t *node = wdb_table_node(table, bucket);
    uint32_t count = wdb_node_count(node) - 1;
    wdb_node_set(node, wdb_node_capacity(node), count);
    if (count == 0) {
        wdb_ref ref = bucket->overflow;
        wdb_ref_store(&bucket->overflow, 0);
        wdb_table_node_free(table, ref);
    }
    wdb_table_renew_filter(table, bucket);
}

void wdb_table_remove(struct wdb_table *table, const struct wdb_found *found)
{
    struct wdb_bucket *bucket = found->bucket;
    if (bucket->overflow == 0) {
        wdb_table_set_slot(bucket, found->slot, 0, 0);
        return;
    }
    /* The last one of the node fills the gap. */
    uint32_t *node = wdb_table_node(table, bucket);
    uint32_t last = wdb_node_count(node) - 1;
    uint16_t tag = wdb_node_tags(node)[last];
    wdb_ref ref = wdb_node_refs(node)[last];
    if (found->slot < WDB_BUCKET_SLOTS) {
        wdb_table_set_slot(bucket, found->slot, tag, ref);
    } else {
        uint32_t slot = found->slot - WDB_BUCKET_SLOTS;
        wdb_ref_store(&wdb_node_refs(node)[slot], ref);
        wdb_tag_store(&wdb_node_tags(node)[slot], tag);
    }
    node_pop(table, bucket);
}

/* The slot at the cursor or the next one that is not free. */
static bool next_slot(const struct wdb_table *table,
                      const struct wdb_bucket *bucket, uint32_t *cursor,
                      uint16_t *tag_out, wdb_ref *out)
{
    while (*cursor < WDB_BUCKET_SLOTS) {
        uint32_t slot = (*cursor)++;
        if (bucket->refs[slot] != 0) {
            *tag_out = bucket->tags[slot] & WDB_TAG_MASK;
            *out = bucket->refs[slot];
            return true;
        }
    }
    if (bucket->overflow == 0) {
        return false;
    }
    uint32_t *node = wdb_table_node(table, bucket);
    uint32_t slot = (*cursor)++ - WDB_BUCKET_SLOTS;
    if (slot >= wdb_node_count(node)) {
        return false;
    }
    *tag_out = wdb_node_tags(node)[slot];
    *out = wdb_node_refs(node)[slot];
    return true;
}

bool wdb_table_next(const struct wdb_table *table, uint32_t index,
                    uint32_t *cursor, wdb_ref *out)
{
    uint16_t tag;
    return next_slot(table, wdb_table_bucket(table, index), cursor, &tag, out);
}

bool wdb_table_next_tagged(const struct wdb_table *table, uint64_t hash,
                           uint32_t *cursor, wdb_ref *out)
{
    struct wdb_place place = wdb_table_place(table, hash);
    uint16_t tag;
    while (next_slot(table, place.bucket, cursor, &tag, out)) {
        if (tag == place.tag) {
            return true;
        }
    }
    return false;
}

/* ---- without the lock ---------------------------------------------------- */

const struct wdb_bucket *wdb_table_peek_bucket(const struct wdb_table *table,
                                               uint64_t hash, uint16_t *tag_out)
{
    const uint64_t place = hash >> table->stripe_bits;
    const uint32_t count =
        atomic_load_explicit(&table->bucket_count, memory_order_acquire);
    const uint32_t index = wdb_table_bucket_index(place, count);
    const uint32_t bits = wdb_table_bucket_bits(index, count);
    *tag_out = wdb_tag_of(hash, place, bits);
    uint32_t offset;
    const uint32_t chunk = wdb_table_chunk_of(index, &offset);
    if (chunk >= atomic_load_explicit(&table->directory_capacity,
                                      memory_order_acquire)) {
        return NULL;
    }
    struct wdb_bucket_directory *directory =
        atomic_load_explicit(&table->directory, memory_order_acquire);
    const struct wdb_bucket *buckets =
        atomic_load_explicit(&directory->chunks[chunk], memory_order_acquire);
    return buckets == NULL ? NULL : buckets + offset;
}

const uint32_t *wdb_table_peek_entry(const struct wdb_table *table,
                                     const struct wdb_bucket *bucket,
                                     uint16_t tag)
{
    const uint32_t bits = wdb_bucket_peek_match(bucket, tag);
    const uint32_t *slot = &bucket->overflow;
    if (bits != 0) {
        slot = &bucket->refs[__builtin_ctz(bits)];
    } else if (!wdb_bucket_may_overflow(bucket, tag)) {
        return NULL;
    }
    const wdb_ref ref = __atomic_load_n(slot, __ATOMIC_ACQUIRE);
    return ref == 0 ? NULL : wdb_arena_peek(&table->arena, ref);
}
