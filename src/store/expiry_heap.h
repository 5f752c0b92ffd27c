/*
 * expiry_heap.h - which keys of one stripe may expire next: a heap of 16 bytes
 * an item, cleaned lazily.
 *
 * The heap knows hashes, not keys, and is not told when a key goes or gets
 * another expiry. What its user keeps true is one thing only: for each key with
 * an expiry there is an item of its hash with a time at or before that expiry.
 * So
 *   - an expiry that is later than the one the key had needs no new item: when
 *     the old one comes up, wdb_expiry_heap_replace gives it the new time;
 *   - an item is dead if no key of its hash has an expiry at or after its time.
 * Dead items are dropped when they come up, or by wdb_expiry_heap_clean before.
 *
 * Threads: the stripe's lock.
 */
#ifndef WDB_STORE_EXPIRY_HEAP_H
#define WDB_STORE_EXPIRY_HEAP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/attributes.h"

struct wdb_expiry_heap;

/* The bits of a hash that an item keeps (see wdb_keydir_find_hash). */
#define WDB_EXPIRY_HASH_MASK UINT64_C(0xffff000fffffffff)
/* The latest time that an item keeps, in the year 2527; what is later comes up
 * then. */
#define WDB_EXPIRY_TIME_MAX ((UINT64_C(1) << 44) - 1)

struct wdb_expiry_item {
    uint64_t expiry_ms;
    uint64_t hash; /* what comes out has only the bits of the mask */
    uint32_t database;
};

/* Empty; ENOMEM. */
WDB_MUST_CHECK int wdb_expiry_heap_new(struct wdb_expiry_heap **out);
/* NULL is fine. */
void wdb_expiry_heap_free(struct wdb_expiry_heap *heap);

/* Drop all items, and their memory. */
void wdb_expiry_heap_clear(struct wdb_expiry_heap *heap);
/* ENOMEM: unchanged. */
WDB_MUST_CHECK int wdb_expiry_heap_push(struct wdb_expiry_heap *heap,
                                        const struct wdb_expiry_item *item);
/* The item with the earliest time; false if there is none. */
bool wdb_expiry_heap_peek(const struct wdb_expiry_heap *heap,
                          struct wdb_expiry_item *out);
/* Drop the earliest item, of which there must be one. */
void wdb_expiry_heap_pop(struct wdb_expiry_heap *heap);
/* Drop it and push another one. Never fails. */
void wdb_expiry_heap_replace(struct wdb_expiry_heap *heap,
                             const struct wdb_expiry_item *item);

/* True if some key of that hash has an expiry at or after the item's time. */
typedef bool (*wdb_expiry_is_live)(void *context,
                                   const struct wdb_expiry_item *item);
/*
 * To be called after each push: if there are more than twice as many items as
 * live_count (the keys with an expiry of this stripe), look at a few and drop
 * the dead. With this, more than half of the items are seldom dead. Never
 * fails.
 */
void wdb_expiry_heap_clean(struct wdb_expiry_heap *heap, uint64_t live_count,
                           wdb_expiry_is_live is_live, void *context);

uint64_t wdb_expiry_heap_count(const struct wdb_expiry_heap *heap);
/* Bytes of memory; no lock. */
uint64_t wdb_expiry_heap_memory(const struct wdb_expiry_heap *heap);

#endif
