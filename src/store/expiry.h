/*
 * expiry.h - which keys of a stripe expire next: a heap of times and hashes
 * beside the keydirs, cleaned lazily.
 */
#ifndef WDB_STORE_EXPIRY_H
#define WDB_STORE_EXPIRY_H

#include "store/keydir.h"

struct wdb_store;

/* This key (stripe held) expires at that time, or did not after all: an item of
 * the heap that the keydir does not confirm is ignored. ENOMEM. */
WDB_MUST_CHECK int wdb_expiry_add(struct wdb_store *store, uint64_t hash,
                                  uint32_t database, uint64_t expiry_ms);

struct wdb_stripe;
void wdb_expiry_release(struct wdb_stripe *stripe);
/* Forget all items (stripe held); others may be asking for the memory. */
void wdb_expiry_clear(struct wdb_stripe *stripe);
uint64_t wdb_expiry_memory(const struct wdb_stripe *stripe);

#endif
