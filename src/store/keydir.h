/*
 * keydir.h - the index in memory of one database id: key -> where its record
 * is. It is never written; recovery rebuilds it.
 *
 * It is split into stripes by the low bits of the hash; each stripe is a table
 * of its own under the store's lock of the same number, which the caller holds
 * for every function here unless it says otherwise (asserted in debug builds).
 *
 * A stripe's table is a linear hash table (Litwin, VLDB 1980; Larson, CACM
 * 1988): it grows by splitting one bucket at a time, so there is no pause at
 * any size. A bucket is one cache line:
 *
 *   0        20            60         64
 *   +--------+-------------+----------+
 *   | 10 tags| 10 refs     | overflow |
 *   | u16    | u32         | u32      |
 *   +--------+-------------+----------+
 *
 * A tag is 15 bits of the hash that the bucket number does not use; a ref is
 * the place of the entry in the stripe's arena, in units of 4 bytes, 0 = free.
 * What does not fit goes to a node as large as need be, in the same arena, and
 * the tags' sixteenth bits are a filter that tells when to look there
 * (keydir_bucket.h). A stripe has no memory until its first key; when keys are
 * deleted, buckets are merged and blocks moved together a few at a time, so
 * that memory follows the number of keys.
 */
#ifndef WDB_STORE_KEYDIR_H
#define WDB_STORE_KEYDIR_H

#include "base/epoch.h"
#include "base/random.h"
#include "base/siphash.h"
#include "base/slice.h"
#include "log/format.h"

struct wdb_keydir;

/* What the keydir knows of a key. */
#define WDB_ITEM_EXPIRY 0x01 /* has an expiry */
#define WDB_ITEM_EXPIRY_LOGGED                                                 \
    0x02                         /* the expiry (or its absence) comes from
                                       an EXPIRE record, not from the put */
#define WDB_ITEM_OBJECT     0x04 /* the put is an object's header */
#define WDB_ITEM_TYPE_SHIFT 4    /* 4 bits of the record's type follow */
struct wdb_item {
    wdb_position position;
    uint64_t record_size; /* bytes, a multiple of 8 */
    uint64_t expiry_ms;   /* 0 = none */
    uint8_t flags;        /* WDB_ITEM_... */
};

struct wdb_keydir_options {
    uint32_t stripe_count;                  /* power of two */
    const struct wdb_siphash_key *hash_key; /* to rehash keys at splits */
    uint64_t count_hint; /* expected keys in all, 0 = unknown */
    /* What the prefetch passes run inside; memory that they may see is retired
     * through it. NULL: none of them ever runs beside a writer of the same
     * stripe, and memory is freed at once. */
    struct wdb_epoch *epoch;
};

/* ENOMEM. */
WDB_MUST_CHECK int wdb_keydir_new(const struct wdb_keydir_options *options,
                                  struct wdb_keydir **out);
/* Nobody uses it any more, not even a prefetch pass. NULL is fine. */
void wdb_keydir_free(struct wdb_keydir *keydir);

/* True if there; *out is a copy. */
bool wdb_keydir_get(const struct wdb_keydir *keydir, uint64_t hash,
                    struct wdb_slice key, struct wdb_item *out);
/* Insert or replace; *old_out (may be NULL) is what was there and
 * *existed_out (may be NULL) whether something was. ENOMEM: unchanged. */
WDB_MUST_CHECK int wdb_keydir_put(struct wdb_keydir *keydir, uint64_t hash,
                                  struct wdb_slice key,
                                  const struct wdb_item *item,
                                  struct wdb_item *old_out, bool *existed_out);
/* Remove; false if it was not there. Never fails, never allocates. */
bool wdb_keydir_delete(struct wdb_keydir *keydir, uint64_t hash,
                       struct wdb_slice key, struct wdb_item *old_out);
/* Replace only the position if it still is `from`. False if not. */
bool wdb_keydir_move(struct wdb_keydir *keydir, uint64_t hash,
                     struct wdb_slice key, wdb_position from, wdb_position to);

/*
 * Prefetch passes over many keys, without the lock but all of them inside one
 * stay in options.epoch: ask for the bucket; then for the entry; then the
 * likely position (0 = none). A hint: it may be stale or, if the key is written
 * meanwhile, half of two positions.
 */
struct wdb_keydir_probe {
    const void *table;  /* NULL: there is nothing to ask for */
    const void *bucket; /* the same */
    const uint32_t *entry;
    uint16_t tag;
};
void wdb_keydir_probe_bucket(const struct wdb_keydir *keydir, uint64_t hash,
                             struct wdb_keydir_probe *probe);
void wdb_keydir_probe_entry(struct wdb_keydir_probe *probe);
wdb_position wdb_keydir_probe_position(const struct wdb_keydir_probe *probe);

/* Keys in all stripes, and in one; relaxed, no lock. */
uint64_t wdb_keydir_count(const struct wdb_keydir *keydir);
uint64_t wdb_keydir_expiry_count(const struct wdb_keydir *keydir);
uint64_t wdb_keydir_stripe_count(const struct wdb_keydir *keydir,
                                 uint32_t stripe);
/* Bytes of memory; no lock. */
uint64_t wdb_keydir_memory(const struct wdb_keydir *keydir);

/*
 * A key of the stripe, each with the same probability; false if there is none.
 * *key_out points into the keydir: valid until the stripe is changed or
 * unlocked. item_out may be NULL.
 */
bool wdb_keydir_random(const struct wdb_keydir *keydir, uint32_t stripe,
                       struct wdb_random *random, struct wdb_slice *key_out,
                       struct wdb_item *item_out);

/*
 * SCAN. A cursor is a point on the line of bit-reversed hashes, cut to 48
 * bits; 0 begins, and 0 comes back at the end. Stripes follow each other on
 * the line, in each stripe the buckets do. One step visits one bucket and
 * returns the cursor behind it. Whatever is there from the first to the last
 * step is visited exactly once, splits and merges of buckets notwithstanding;
 * the order of two keys is the same in every scan. The callback must not change
 * the stripe; its key is valid during the call.
 */
typedef void (*wdb_keydir_cb)(void *context, struct wdb_slice key,
                              uint64_t hash, const struct wdb_item *item);
/*
 * Visit the keys whose hash agrees with this one in the bits of `mask`, which
 * has at least the bits of WDB_KEYDIR_MASK_MIN: what an expiry heap knows of a
 * key. The callback must not change the stripe.
 */
#define WDB_KEYDIR_MASK_MIN UINT64_C(0xffff000fffffffff)
void wdb_keydir_find_hash(const struct wdb_keydir *keydir, uint64_t hash,
                          uint64_t mask, wdb_keydir_cb callback, void *context);
/* Number of the stripe that the cursor is in: lock it, then step. */
uint32_t wdb_keydir_scan_stripe(const struct wdb_keydir *keydir,
                                uint64_t cursor);
uint64_t wdb_keydir_scan(const struct wdb_keydir *keydir, uint64_t cursor,
                         wdb_keydir_cb callback, void *context);

#endif
