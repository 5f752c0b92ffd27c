/*
 * batch.h - the records of one command, transaction or script, staged.
 *
 * A batch collects encoded records in memory of its own; the checksums are
 * computed here, outside of every lock. It takes effect whole or not at all
 * when it is committed to the store. One thread at a time.
 */
#ifndef WDB_STORE_BATCH_H
#define WDB_STORE_BATCH_H

#include "base/buffer.h"
#include "log/log.h"

/* Per record: where it is in the staging buffer, and its key's hash. */
struct wdb_batch_item {
    uint64_t hash;
    uint64_t offset;
    uint32_t size; /* / 8 */
};

struct wdb_undo_block; /* store/undo.h */

struct wdb_batch {
    struct wdb_buffer records; /* encoded, 8-aligned */
    struct wdb_batch_item *items;
    uint32_t count, capacity;
    uint32_t applied; /* items below are in the keydir, at staged positions */
    enum wdb_log_reserve reserve; /* what all of its records may use */
    /* The store's: what the applied items replaced, and the number under which
     * staged positions find this batch. It must not move while staged. */
    uint32_t context;
    struct wdb_undo_block *undo;
};

void wdb_batch_init(struct wdb_batch *batch);
/* Free its memory. Nothing of it may be staged any more (committed or rolled
 * back): the same for clear. */
void wdb_batch_release(struct wdb_batch *batch);
/* Empty it; keeps up to 1 MiB of memory for the next use. */
void wdb_batch_clear(struct wdb_batch *batch);
/* Forget all records from number `count` on; they were not applied yet. */
static inline void wdb_batch_truncate(struct wdb_batch *batch, uint32_t count)
{
    if (count < batch->count) {
        batch->records.size = batch->items[count].offset;
        batch->count = count;
    }
}
/*
 * Append one record; bytes are copied. hash is that of (database, key) as
 * wdb_store_hash gives it (0 for records without a key).
 * ENOMEM, ETOOBIG; then the batch is as before.
 */
WDB_MUST_CHECK int wdb_batch_add(struct wdb_batch *batch,
                                 const struct wdb_record *record,
                                 uint64_t hash);

#endif
