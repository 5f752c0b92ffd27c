/*
 * keydir_buckets.c - the memory of a table: chunks of buckets and their
 * directory.
 */
#include <stdlib.h>

#include "base/assert.h"
#include "store/keydir_table_internal.h"
#include "walkerdb.h"

static uint32_t chunk_bucket_count(uint32_t chunk)
{
    if (chunk == 0) {
        return WDB_TABLE_BUCKETS_MIN;
    }
    return chunk < 5 ? 2U << chunk : WDB_TABLE_CHUNK_BUCKETS;
}

static uint32_t directory_capacity(const struct wdb_table *table)
{
    return atomic_load_explicit(&table->directory_capacity,
                                memory_order_relaxed);
}

static int directory_grow(struct wdb_table *table, uint32_t capacity_min)
{
    struct wdb_bucket_directory *old = wdb_table_directory(table);
    const uint32_t old_capacity = directory_capacity(table);
    uint32_t capacity = old == NULL ? 4 : 2 * old_capacity;
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
    new->owners = (struct wdb_bucket_chunk **)(void *)&new->chunks[capacity];
    for (uint32_t i = 0; i < capacity; i++) {
        struct wdb_bucket_chunk *owner =
            i < old_capacity ? old->owners[i] : NULL;
        new->owners[i] = owner;
        atomic_init(&new->chunks[i], owner == NULL ? NULL : owner->buckets);
    }
    table->directory_size += size;
    atomic_store_explicit(&table->directory, new, memory_order_release);
    atomic_store_explicit(&table->directory_capacity, capacity,
                          memory_order_release);
    return 0;
}

int wdb_table_chunk_ensure(struct wdb_table *table, uint32_t index)
{
    uint32_t offset;
    uint32_t chunk = wdb_table_chunk_of(index, &offset);
    if (chunk >= directory_capacity(table)) {
        int rc = directory_grow(table, chunk + 1);
        if (rc != 0) {
            return rc;
        }
    }
    if (wdb_table_directory(table)->owners[chunk] != NULL) {
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
    wdb_table_directory(table)->owners[chunk] = owner;
    table->bucket_memory += size + sizeof(*owner);
    atomic_store_explicit(&wdb_table_directory(table)->chunks[chunk],
                          owner->buckets, memory_order_release);
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
    struct wdb_bucket_directory *directory = wdb_table_directory(table);
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

void wdb_table_chunk_drop(struct wdb_table *table, uint32_t index)
{
    uint32_t offset;
    uint32_t chunk = wdb_table_chunk_of(index, &offset);
    if (offset == 0) {
        chunk_retire(table, chunk);
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
    uint64_t bucket_count = count_hint * 2 / WDB_TABLE_LOAD_MAX + 1;
    if (bucket_count < WDB_TABLE_BUCKETS_MIN) {
        bucket_count = WDB_TABLE_BUCKETS_MIN;
    }
    if (bucket_count > WDB_TABLE_BUCKETS_MAX) {
        bucket_count = WDB_TABLE_BUCKETS_MAX;
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
    int rc = directory_grow(
        table, wdb_table_chunk_of((uint32_t)bucket_count - 1, &offset) + 1);
    for (uint32_t i = 0; rc == 0 && i < bucket_count;) {
        rc = wdb_table_chunk_ensure(table, i);
        i += chunk_bucket_count(wdb_table_chunk_of(i, &offset));
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
    struct wdb_bucket_directory *directory = wdb_table_directory(table);
    for (uint32_t i = 0; i < directory_capacity(table); i++) {
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
