/* batch.c - collects the encoded records of one command or transaction. */
#include "store/batch.h"

#include <stdlib.h>

#include "base/assert.h"
#include "store/undo.h"

#define BATCH_KEEP_SIZE_MAX ((size_t)1 << 20)
#define BATCH_KEEP_ITEM_MAX ((uint32_t)1 << 14)

void wdb_batch_init(struct wdb_batch *batch)
{
    *batch = (struct wdb_batch){.reserve = WDB_RESERVE_LAST};
}

void wdb_batch_release(struct wdb_batch *batch)
{
    wdb_assert(batch->applied == 0);
    wdb_buffer_release(&batch->records);
    free(batch->items);
    free(batch->undo);
    wdb_batch_init(batch);
}

void wdb_batch_clear(struct wdb_batch *batch)
{
    wdb_assert(batch->applied == 0);
    if (batch->records.capacity > BATCH_KEEP_SIZE_MAX) {
        wdb_buffer_release(&batch->records);
    }
    if (batch->capacity > BATCH_KEEP_ITEM_MAX) {
        free(batch->items);
        batch->items = NULL;
        batch->capacity = 0;
    }
    if (batch->undo != NULL && batch->undo->capacity > BATCH_KEEP_ITEM_MAX) {
        free(batch->undo);
        batch->undo = NULL;
    }
    wdb_buffer_clear(&batch->records);
    batch->count = 0;
    batch->reserve = WDB_RESERVE_LAST;
}

static int grow_items(struct wdb_batch *batch)
{
    if (batch->capacity > UINT32_MAX / 2) {
        return WALKERDB_ETOOBIG;
    }
    const uint32_t capacity = batch->capacity == 0 ? 4 : batch->capacity * 2;
    struct wdb_batch_item *items =
        realloc(batch->items, capacity * sizeof(*items));
    if (items == NULL) {
        return WALKERDB_ENOMEM;
    }
    batch->items = items;
    batch->capacity = capacity;
    return 0;
}

/* Kinds that give room back sooner or later may use the reserve. */
static enum wdb_log_reserve reserve_of(enum wdb_record_kind kind)
{
    if (kind == WDB_RECORD_DATABASES) {
        return WDB_RESERVE_LAST;
    }
    return kind == WDB_RECORD_DELETE || kind == WDB_RECORD_ELEMENT_DELETE
               ? WDB_RESERVE_DELETES
               : WDB_RESERVE_NONE;
}

int wdb_batch_add(struct wdb_batch *batch, const struct wdb_record *record,
                  uint64_t hash)
{
    wdb_assert((record->flags & WDB_RECORD_SEQUENCE) == 0);
    const uint64_t size = wdb_record_size(record);
    if (size == 0 || size > WDB_BATCH_SIZE_MAX - batch->records.size) {
        return WALKERDB_ETOOBIG;
    }
    if (batch->count == batch->capacity) {
        const int rc = grow_items(batch);
        if (rc != 0) {
            return rc;
        }
    }
    if (batch->records.capacity - batch->records.size < size) {
        const int rc = wdb_buffer_reserve(&batch->records, (size_t)size);
        if (rc != 0) {
            return rc;
        }
    }
    wdb_record_encode(record, batch->records.data + batch->records.size);
    batch->items[batch->count++] = (struct wdb_batch_item){
        .hash = hash,
        .offset = batch->records.size,
        .size = (uint32_t)(size / 8),
    };
    batch->records.size += (size_t)size;
    if (reserve_of(record->kind) < batch->reserve) {
        batch->reserve = reserve_of(record->kind);
    }
    return 0;
}
