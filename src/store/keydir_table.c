/*
 * keydir_table.c - search, insertion, removal, split and merge of buckets.
 *
 * There are LOAD_MAX keys to a bucket when the table grows. Of ten slots that
 * is so many that an eighth of the keys lie in overflow nodes; but a slot in a
 * node costs 6 bytes, as it does in a bucket, so memory is what it should be
 * at every number of keys, and the filters keep searches for absent keys away
 * from the nodes.
 *
 * Whatever a peek may read is written with atomic stores; everything else reads
 * it under the stripe's lock, plainly. A new number of buckets is published
 * when the new bucket is filled and before the old one is cleared, so a peek
 * finds most keys even then; it may miss one, as it may at any time.
 */
#include "store/keydir_table.h"

#include <stdlib.h>

#include "base/assert.h"
#include "walkerdb.h"

/* Keys to a bucket, in halves: above the first the table grows, below the
 * second it shrinks. */
#define LOAD_MAX_HALVES  17
#define LOAD_MIN_HALVES  10
#define BUCKET_COUNT_MAX (UINT32_C(1) << 26) /* 500 M keys */
#define GATHER_MAX       (2 * (WDB_BUCKET_SLOTS + WDB_NODE_MAX))
#define COMPACT_BLOCKS   8 /* moved in one step */

/* ---- directory of buckets ------------------------------------------------ */

static struct wdb_bucket_directory *directory_of(const struct wdb_table *table)
{
    return atomic_load_explicit(&table->directory, memory_order_relaxed);
}

static uint32_t bucket_count_of(const struct wdb_table *table)
{
    return atomic_load_explicit(&table->bucket_count, memory_order_relaxed);
}

/* Which chunk the bucket is in, and which of its buckets it is. */
static inline uint32_t chunk_of(uint32_t index, uint32_t *offset_out)
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

static uint32_t chunk_bucket_count(uint32_t chunk)
{
    if (chunk == 0) {
        return WDB_TABLE_BUCKETS_MIN;
    }
    return chunk < 5 ? 2U << chunk : WDB_TABLE_CHUNK_BUCKETS;
}

static inline struct wdb_bucket *bucket_at(const struct wdb_table *table,
                                           uint32_t index)
{
    uint32_t offset;
    uint32_t chunk = chunk_of(index, &offset);
    return atomic_load_explicit(&directory_of(table)->chunks[chunk],
                                memory_order_relaxed) +
           offset;
}

static int directory_grow(struct wdb_table *table, uint32_t capacity_min)
{
    struct wdb_bucket_directory *old = directory_of(table);
    uint32_t capacity = old == NULL ? 4 : 2 * old->capacity;
    if (capacity < capacity_min) {
        capacity = capacity_min;
    }
    size_t size = sizeof(*old) +
                  capacity * (sizeof(old->chunks[0]) + sizeof(old->owners[0]));
    struct wdb_bucket_directory *new = malloc(size);
    if (new == NULL) {
        return WALKERDB_ENOMEM;
    }
    new->older = old;
    new->capacity = capacity;
    new->owners = (struct wdb_bucket_chunk **)(void *)&new->chunks[capacity];
    for (uint32_t i = 0; i < capacity; i++) {
        struct wdb_bucket_chunk *owner =
            old != NULL && i < old->capacity ? old->owners[i] : NULL;
        new->owners[i] = owner;
        atomic_init(&new->chunks[i], owner == NULL ? NULL : owner->buckets);
    }
    table->directory_size += size;
    atomic_store_explicit(&table->directory, new, memory_order_release);
    return 0;
}

/* Make sure that there is memory for that bucket. */
static int chunk_ensure(struct wdb_table *table, uint32_t index)
{
    uint32_t offset;
    uint32_t chunk = chunk_of(index, &offset);
    if (directory_of(table) == NULL || chunk >= directory_of(table)->capacity) {
        int rc = directory_grow(table, chunk + 1);
        if (rc != 0) {
            return rc;
        }
    }
    if (directory_of(table)->owners[chunk] != NULL) {
        return 0;
    }
    size_t size = chunk_bucket_count(chunk) * sizeof(struct wdb_bucket);
    struct wdb_bucket_chunk *owner = malloc(sizeof(*owner));
    void *buckets = NULL;
    if (owner == NULL || posix_memalign(&buckets, WDB_CACHE_LINE, size) != 0) {
        free(owner);
        return WALKERDB_ENOMEM;
    }
    memset(buckets, 0, size);
    owner->buckets = buckets;
    directory_of(table)->owners[chunk] = owner;
    table->bucket_memory += size + sizeof(*owner);
    atomic_store_explicit(&directory_of(table)->chunks[chunk], owner->buckets,
                          memory_order_release);
    return 0;
}

static void free_chunk(struct wdb_epoch_retired *node)
{
    struct wdb_bucket_chunk *chunk =
        WDB_CONTAINER_OF(node, struct wdb_bucket_chunk, retired);
    free(chunk->buckets);
    free(chunk);
}

static void chunk_retire(struct wdb_table *table, uint32_t chunk)
{
    struct wdb_bucket_directory *directory = directory_of(table);
    struct wdb_bucket_chunk *owner = directory->owners[chunk];
    atomic_store_explicit(&directory->chunks[chunk], NULL,
                          memory_order_release);
    directory->owners[chunk] = NULL;
    table->bucket_memory -=
        chunk_bucket_count(chunk) * sizeof(struct wdb_bucket) + sizeof(*owner);
    if (table->epoch != NULL) {
        wdb_epoch_retire(table->epoch, &owner->retired, free_chunk);
    } else {
        free_chunk(&owner->retired);
    }
}

/* ---- life ---------------------------------------------------------------- */

void wdb_table_count_memory(struct wdb_table *table)
{
    uint64_t memory = sizeof(*table) + table->bucket_memory +
                      table->directory_size + wdb_arena_memory(&table->arena);
    atomic_store_explicit(&table->memory, memory, memory_order_relaxed);
}

int wdb_table_new(uint32_t stripe_bits, const struct wdb_siphash_key *hash_key,
                  struct wdb_epoch *epoch, uint64_t count_hint,
                  struct wdb_table **out)
{
    uint64_t bucket_count = count_hint * 2 / LOAD_MAX_HALVES + 1;
    if (bucket_count < WDB_TABLE_BUCKETS_MIN) {
        bucket_count = WDB_TABLE_BUCKETS_MIN;
    }
    if (bucket_count > BUCKET_COUNT_MAX) {
        bucket_count = BUCKET_COUNT_MAX;
    }
    void *memory = NULL;
    if (posix_memalign(&memory, WDB_CACHE_LINE, sizeof(struct wdb_table)) !=
        0) {
        return WALKERDB_ENOMEM;
    }
    struct wdb_table *table = memory;
    memset(table, 0, sizeof(*table));
    table->stripe_bits = stripe_bits;
    table->hash_key = *hash_key;
    table->epoch = epoch;
    wdb_arena_init(&table->arena, epoch);
    uint32_t offset;
    int rc = directory_grow(table,
                            chunk_of((uint32_t)bucket_count - 1, &offset) + 1);
    for (uint32_t i = 0; rc == 0 && i < bucket_count;) {
        rc = chunk_ensure(table, i);
        i += chunk_bucket_count(chunk_of(i, &offset));
    }
    if (rc != 0) {
        wdb_table_free(table);
        return rc;
    }
    atomic_store_explicit(&table->bucket_count, (uint32_t)bucket_count,
                          memory_order_relaxed);
    wdb_table_count_memory(table);
    *out = table;
    return 0;
}

void wdb_table_free(struct wdb_table *table)
{
    if (table == NULL) {
        return;
    }
    wdb_arena_release(&table->arena);
    table->epoch = NULL;
    struct wdb_bucket_directory *directory = directory_of(table);
    for (uint32_t i = 0; directory != NULL && i < directory->capacity; i++) {
        if (directory->owners[i] != NULL) {
            chunk_retire(table, i);
        }
    }
    while (directory != NULL) {
        struct wdb_bucket_directory *older = directory->older;
        free(directory);
        directory = older;
    }
    free(table);
}

/* ---- slots --------------------------------------------------------------- */

uint64_t wdb_table_hash(const struct wdb_table *table, const uint32_t *entry)
{
    return wdb_siphash13(&table->hash_key, wdb_item_key(entry));
}

static struct wdb_bucket *bucket_for(const struct wdb_table *table,
                                     uint64_t hash)
{
    return bucket_at(table, wdb_table_bucket_index(hash >> table->stripe_bits,
                                                   bucket_count_of(table)));
}

static uint32_t *node_of(const struct wdb_table *table,
                         const struct wdb_bucket *bucket)
{
    return wdb_arena_words(&table->arena, bucket->overflow);
}

static bool find_in_node(const struct wdb_table *table,
                         struct wdb_bucket *bucket, uint16_t tag,
                         struct wdb_slice key, struct wdb_found *out)
{
    uint32_t *node = node_of(table, bucket);
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
    struct wdb_bucket *bucket = bucket_for(table, hash);
    uint16_t tag = wdb_tag_of(hash);
    for (uint32_t bits = wdb_bucket_match(bucket, tag); bits != 0;
         bits &= bits - 1) {
        uint32_t slot = (uint32_t)__builtin_ctz(bits);
        uint32_t *words = wdb_arena_words(&table->arena, bucket->refs[slot]);
        if (WDB_LIKELY(wdb_item_has_key(words, key))) {
            *out = (struct wdb_found){bucket, slot, words};
            return true;
        }
    }
    return wdb_bucket_may_overflow(bucket, tag) &&
           find_in_node(table, bucket, tag, key, out);
}

static uint32_t *ref_slot(const struct wdb_table *table,
                          const struct wdb_found *found)
{
    if (found->slot < WDB_BUCKET_SLOTS) {
        return &found->bucket->refs[found->slot];
    }
    return &wdb_node_refs(
        node_of(table, found->bucket))[found->slot - WDB_BUCKET_SLOTS];
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

static void set_primary(struct wdb_bucket *bucket, uint32_t slot, uint16_t tag,
                        wdb_ref ref)
{
    wdb_ref_store(&bucket->refs[slot], ref);
    wdb_tag_store(&bucket->tags[slot],
                  (bucket->tags[slot] & WDB_TAG_FILTER) | tag);
}

/* Compute the filter anew from what the node holds. */
static void renew_filter(const struct wdb_table *table,
                         struct wdb_bucket *bucket)
{
    uint32_t filter = 0;
    if (bucket->overflow != 0) {
        uint32_t *node = node_of(table, bucket);
        for (uint32_t i = 0; i < wdb_node_count(node); i++) {
            filter |= 1U << wdb_tag_filter(wdb_node_tags(node)[i]);
        }
    }
    for (uint32_t i = 0; i < WDB_BUCKET_SLOTS; i++) {
        uint16_t bit = filter >> i & 1 ? WDB_TAG_FILTER : 0;
        wdb_tag_store(&bucket->tags[i], (bucket->tags[i] & WDB_TAG_MASK) | bit);
    }
}

/* The capacities are 2, 6, 10 and so on. */
static uint32_t node_capacity_for(uint32_t count)
{
    uint32_t steps =
        (count + WDB_NODE_STEP - 1 - WDB_NODE_FIRST) / WDB_NODE_STEP;
    return count <= WDB_NODE_FIRST ? WDB_NODE_FIRST
                                   : WDB_NODE_FIRST + steps * WDB_NODE_STEP;
}

static int node_new(struct wdb_table *table, uint32_t capacity, bool may_grow,
                    wdb_ref *out)
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

static void node_free(struct wdb_table *table, wdb_ref ref)
{
    uint32_t *node = wdb_arena_words(&table->arena, ref);
    wdb_arena_free(&table->arena, ref, wdb_node_units(wdb_node_capacity(node)));
}

static void node_append(uint32_t *node, uint16_t tag, wdb_ref ref)
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
    uint32_t *old = old_ref == 0 ? NULL : node_of(table, bucket);
    uint32_t count = old == NULL ? 0 : wdb_node_count(old);
    if (old != NULL && count < wdb_node_capacity(old)) {
        return 0;
    }
    wdb_ref ref;
    int rc = node_new(table, node_capacity_for(count + 1), true, &ref);
    if (rc != 0) {
        return rc;
    }
    uint32_t *node = wdb_arena_words(&table->arena, ref);
    for (uint32_t i = 0; i < count; i++) {
        node_append(node, wdb_node_tags(old)[i], wdb_node_refs(old)[i]);
    }
    wdb_ref_store(&bucket->overflow, ref);
    if (old != NULL) {
        node_free(table, old_ref);
    }
    return 0;
}

int wdb_table_insert(struct wdb_table *table, uint64_t hash, wdb_ref ref)
{
    struct wdb_bucket *bucket = bucket_for(table, hash);
    uint16_t tag = wdb_tag_of(hash);
    uint32_t free_slots = wdb_bucket_match(bucket, 0);
    if (free_slots != 0) {
        set_primary(bucket, (uint32_t)__builtin_ctz(free_slots), tag, ref);
        return 0;
    }
    int rc = node_reserve(table, bucket);
    if (rc != 0) {
        return rc;
    }
    node_append(node_of(table, bucket), tag, ref);
    uint16_t *word = &bucket->tags[wdb_tag_filter(tag)];
    wdb_tag_store(word, *word | WDB_TAG_FILTER);
    return 0;
}

/* Take the last slot of the node away; frees the node if it was the only. */
static void node_pop(struct wdb_table *table, struct wdb_bucket *bucket)
{
    uint32_t *node = node_of(table, bucket);
    uint32_t count = wdb_node_count(node) - 1;
    wdb_node_set(node, wdb_node_capacity(node), count);
    if (count == 0) {
        wdb_ref ref = bucket->overflow;
        wdb_ref_store(&bucket->overflow, 0);
        node_free(table, ref);
    }
    renew_filter(table, bucket);
}

void wdb_table_remove(struct wdb_table *table, const struct wdb_found *found)
{
    struct wdb_bucket *bucket = found->bucket;
    if (bucket->overflow == 0) {
        set_primary(bucket, found->slot, 0, 0);
        return;
    }
    /* The last one of the node fills the gap. */
    uint32_t *node = node_of(table, bucket);
    uint32_t last = wdb_node_count(node) - 1;
    uint16_t tag = wdb_node_tags(node)[last];
    wdb_ref ref = wdb_node_refs(node)[last];
    if (found->slot < WDB_BUCKET_SLOTS) {
        set_primary(bucket, found->slot, tag, ref);
    } else {
        uint32_t slot = found->slot - WDB_BUCKET_SLOTS;
        wdb_ref_store(&wdb_node_refs(node)[slot], ref);
        wdb_tag_store(&wdb_node_tags(node)[slot], tag);
    }
    node_pop(table, bucket);
}

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
    uint32_t *node = node_of(table, bucket);
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
               : node_capacity_for(count - WDB_BUCKET_SLOTS);
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
            set_primary(bucket, used++, slots->tags[i], slots->refs[i]);
        } else {
            node_append(node, slots->tags[i], slots->refs[i]);
        }
    }
    while (used < WDB_BUCKET_SLOTS) {
        set_primary(bucket, used++, 0, 0);
    }
    wdb_ref_store(&bucket->overflow, node_ref);
    renew_filter(table, bucket);
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
    if (has != capacity && node_new(table, capacity, may_grow, out) == 0) {
        return 0;
    }
    *out = old;
    return has >= capacity ? 0 : WALKERDB_ENOMEM;
}

/* Split the bucket whose turn it is. ENOMEM: nothing changed. */
static int split(struct wdb_table *table)
{
    uint32_t count = bucket_count_of(table);
    uint32_t bit = 31 - (uint32_t)__builtin_clz(count);
    if (count == BUCKET_COUNT_MAX) {
        return WALKERDB_ENOMEM;
    }
    int rc = chunk_ensure(table, count);
    if (rc != 0) {
        return rc;
    }
    struct wdb_bucket *source = bucket_at(table, count - (1U << bit));
    struct wdb_bucket *target = bucket_at(table, count);
    struct gathered slots;
    slots.count = 0;
    gather(table, source, &slots);
    for (uint32_t i = 0; i < slots.count; i++) {
        WDB_PREFETCH(wdb_arena_words(&table->arena, slots.refs[i]));
    }
    bool stays[GATHER_MAX], goes[GATHER_MAX];
    uint32_t gone = 0;
    for (uint32_t i = 0; i < slots.count; i++) {
        uint64_t hash = wdb_table_hash(table, wdb_arena_words(&table->arena,
                                                              slots.refs[i]));
        goes[i] = hash >> table->stripe_bits >> bit & 1;
        stays[i] = !goes[i];
        gone += goes[i];
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
        node_free(table, old_node);
    }
    return 0;
}

/* Merge the last bucket into the one that it came from. ENOMEM: nothing
 * changed. */
static int merge(struct wdb_table *table, bool may_grow)
{
    uint32_t last = bucket_count_of(table) - 1;
    uint32_t bit = 31 - (uint32_t)__builtin_clz(last);
    struct wdb_bucket *source = bucket_at(table, last);
    struct wdb_bucket *target = bucket_at(table, last - (1U << bit));
    struct gathered slots;
    slots.count = 0;
    gather(table, target, &slots);
    gather(table, source, &slots);
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
        node_free(table, old);
    }
    if (source->overflow != 0) {
        node_free(table, source->overflow);
    }
    slots.count = 0;
    fill(table, source, &slots, all, 0);
    uint32_t offset;
    uint32_t chunk = chunk_of(last, &offset);
    if (offset == 0) {
        chunk_retire(table, chunk);
    }
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
                (uint64_t)bucket_count_of(table) * LOAD_MAX_HALVES ||
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
            bucket_for(table, wdb_table_hash(table, entry));
        wdb_assert(bucket->overflow == from);
        wdb_ref_store(&bucket->overflow, to);
        return;
    }
    struct wdb_bucket *bucket = bucket_for(table, wdb_table_hash(table, words));
    for (uint32_t i = 0; i < WDB_BUCKET_SLOTS; i++) {
        if (bucket->refs[i] == from) {
            wdb_ref_store(&bucket->refs[i], to);
            return;
        }
    }
    uint32_t *node = node_of(table, bucket);
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
    uint32_t buckets = bucket_count_of(table);
    if (buckets > WDB_TABLE_BUCKETS_MIN &&
        2 * count_of(table) < (uint64_t)buckets * LOAD_MIN_HALVES) {
        (void)!merge(table, may_grow);
    }
    if (count_of(table) == 0) {
        wdb_arena_reset(&table->arena);
        return;
    }
    struct wdb_arena_owner owner = {block_units, block_moved, table};
    wdb_arena_compact(&table->arena, &owner, COMPACT_BLOCKS, may_grow);
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
    uint32_t *node = node_of(table, bucket);
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
    return next_slot(table, bucket_at(table, index), cursor, &tag, out);
}

bool wdb_table_next_tagged(const struct wdb_table *table, uint64_t hash,
                           uint32_t *cursor, wdb_ref *out)
{
    const struct wdb_bucket *bucket = bucket_for(table, hash);
    uint16_t tag;
    while (next_slot(table, bucket, cursor, &tag, out)) {
        if (tag == wdb_tag_of(hash)) {
            return true;
        }
    }
    return false;
}

/* ---- without the lock ---------------------------------------------------- */

const struct wdb_bucket *wdb_table_peek_bucket(const struct wdb_table *table,
                                               uint64_t hash)
{
    uint32_t count =
        atomic_load_explicit(&table->bucket_count, memory_order_acquire);
    uint32_t offset;
    uint32_t chunk =
        chunk_of(wdb_table_bucket_index(hash >> table->stripe_bits, count),
                 &offset);
    struct wdb_bucket_directory *directory =
        atomic_load_explicit(&table->directory, memory_order_acquire);
    if (chunk >= directory->capacity) {
        return NULL;
    }
    struct wdb_bucket *buckets =
        atomic_load_explicit(&directory->chunks[chunk], memory_order_acquire);
    return buckets == NULL ? NULL : buckets + offset;
}

const uint32_t *wdb_table_peek_entry(const struct wdb_table *table,
                                     uint64_t hash)
{
    const struct wdb_bucket *bucket = wdb_table_peek_bucket(table, hash);
    if (bucket == NULL) {
        return NULL;
    }
    uint16_t tag = wdb_tag_of(hash);
    uint32_t bits = wdb_bucket_peek_match(bucket, tag);
    const uint32_t *slot = &bucket->overflow;
    if (bits != 0) {
        slot = &bucket->refs[__builtin_ctz(bits)];
    } else if (!wdb_bucket_may_overflow(bucket, tag)) {
        return NULL;
    }
    wdb_ref ref = __atomic_load_n(slot, __ATOMIC_ACQUIRE);
    return ref == 0 ? NULL : wdb_arena_peek(&table->arena, ref);
}
