/*
 * keydir_table.h - the linear hash table of one stripe.
 *
 * Buckets are numbered by the low bits of `place`, the hash without the bits
 * that chose the stripe. With n buckets, 2^k <= n < 2^(k+1), those below
 * n - 2^k and from 2^k on are numbered by k+1 bits, the others by k. Growing
 * by one splits bucket n - 2^k into itself and n; shrinking merges them again.
 *
 * The directory of chunks of buckets: 4, 4, 8, 16, 32, then 64 each.
 *
 * Threads: the stripe's lock, except for the functions named peek.
 */
#ifndef WDB_STORE_KEYDIR_TABLE_H
#define WDB_STORE_KEYDIR_TABLE_H

#include "base/siphash.h"
#include "store/arena.h"
#include "store/keydir_bucket.h"

#define WDB_TABLE_BUCKETS_MIN   4
#define WDB_TABLE_CHUNK_BUCKETS 64
#define WDB_TABLE_LOAD_MAX      17 /* in halves of a key to a bucket */

/* A chunk of buckets waits here for the last peek at it. */
struct wdb_bucket_chunk {
    struct wdb_epoch_retired retired;
    struct wdb_bucket *buckets;
};
struct wdb_bucket_directory {
    struct wdb_bucket_directory *older;
    struct wdb_bucket_chunk **owners; /* behind the chunks, one for each */
    _Atomic(struct wdb_bucket *) chunks[];
};

struct wdb_table {
    /* What a search needs is in the first cache line. */
    WDB_ALIGN_CACHE _Atomic(struct wdb_bucket_directory *) directory;
    /* Slots of it. Stored after the directory, loaded before it. */
    _Atomic uint32_t directory_capacity;
    _Atomic uint32_t bucket_count;
    uint32_t stripe_bits;
    struct wdb_arena arena;

    struct wdb_siphash_key hash_key;
    struct wdb_epoch *epoch;
    uint64_t bucket_memory; /* bytes of chunks and directories */
    uint64_t directory_size;
    /* Read by anyone, relaxed. */
    _Atomic uint64_t count, expiry_count, memory;
#ifdef WDB_DEBUG
    atomic_bool is_changing; /* two writers at once: somebody has no lock */
#endif
};

/* Where a key was found. */
struct wdb_found {
    struct wdb_bucket *bucket;
    uint32_t slot;   /* in the bucket, or WDB_BUCKET_SLOTS + that in the node */
    uint32_t *words; /* its entry */
};

/* Table for about count_hint keys. ENOMEM. */
WDB_MUST_CHECK int wdb_table_new(uint32_t stripe_bits,
                                 const struct wdb_siphash_key *hash_key,
                                 struct wdb_epoch *epoch, uint64_t count_hint,
                                 struct wdb_table **out);
/* Nobody peeks any more. NULL is fine. */
void wdb_table_free(struct wdb_table *table);

bool wdb_table_find(const struct wdb_table *table, uint64_t hash,
                    struct wdb_slice key, struct wdb_found *out);
/* The ref of what was found. */
wdb_ref wdb_table_ref(const struct wdb_table *table,
                      const struct wdb_found *found);
/* Let the slot name another block. */
void wdb_table_set_ref(const struct wdb_table *table,
                       const struct wdb_found *found, wdb_ref ref);
/* Add an entry whose key is not there; its counts are the caller's. ENOMEM. */
WDB_MUST_CHECK int wdb_table_insert(struct wdb_table *table, uint64_t hash,
                                    wdb_ref ref);
/* Empty the slot; the entry's block is the caller's. Never allocates. */
void wdb_table_remove(struct wdb_table *table, const struct wdb_found *found);

/* After a key was added: split what should be. Does nothing if memory fails. */
void wdb_table_grow(struct wdb_table *table);
/* After something was removed: merge and compact a little. Allocates only if
 * may_grow. */
void wdb_table_shrink(struct wdb_table *table, bool may_grow);
/* Renew the figure of wdb_keydir_memory. */
void wdb_table_count_memory(struct wdb_table *table);

/* Number of the bucket for a hash among so many. */
static inline uint32_t wdb_table_bucket_index(uint64_t place,
                                              uint32_t bucket_count)
{
    uint32_t low = 1U << (31 - __builtin_clz(bucket_count));
    uint32_t index = (uint32_t)place & (2 * low - 1);
    return index < bucket_count ? index : index & (low - 1);
}
/* How many bits number that bucket. */
static inline uint32_t wdb_table_bucket_bits(uint32_t index,
                                             uint32_t bucket_count)
{
    uint32_t bits = 31 - (uint32_t)__builtin_clz(bucket_count);
    uint32_t low = 1U << bits;
    return index >= low || index + low < bucket_count ? bits + 1 : bits;
}

/* All refs of a bucket: call until false, *cursor starts at 0. */
bool wdb_table_next(const struct wdb_table *table, uint32_t index,
                    uint32_t *cursor, wdb_ref *out);
/* Those in the bucket of the hash that have its tag, in the same way. */
bool wdb_table_next_tagged(const struct wdb_table *table, uint64_t hash,
                           uint32_t *cursor, wdb_ref *out);
uint64_t wdb_table_hash(const struct wdb_table *table, const uint32_t *entry);

/* Without the lock, inside the epoch: the bucket (NULL if unknown), and the tag
 * that the key has there. */
const struct wdb_bucket *wdb_table_peek_bucket(const struct wdb_table *table,
                                               uint64_t hash,
                                               uint16_t *tag_out);
/* The entry in that bucket that is likely the one, or the overflow node where
 * it may be; NULL if there is neither. It may be anything by now; only words
 * may be read, with wdb_word_load, and no more than the first two. */
const uint32_t *wdb_table_peek_entry(const struct wdb_table *table,
                                     const struct wdb_bucket *bucket,
                                     uint16_t tag);

#endif
