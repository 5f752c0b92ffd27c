/* follow.c - applies entries that are in the log already: what a follower does
 * when they are committed. */
#include <stdlib.h>

#include "store/store_internal.h"

struct entry_apply {
    struct wdb_store *store;
    struct wdb_undo_block *block;
    uint64_t index;
};

static int apply_logged(struct entry_apply *apply,
                        const struct wdb_record *record, wdb_position position,
                        uint64_t size)
{
    struct wdb_store *store = apply->store;
    const uint64_t hash = wdb_store_hash(store, record->key);
    int rc = wdb_undo_reserve(&apply->block);
    if (rc != 0) {
        return rc;
    }
    struct wdb_undo *undo = &apply->block->items[apply->block->count];
    rc = wdb_store_apply(store, record, position, size, hash, undo);
    if (rc != 0) {
        return rc;
    }
    apply->block->count++;
    wdb_store_account_kind(store, record->kind, position, size);
    const bool is_element = record->kind == WDB_RECORD_ELEMENT_PUT ||
                            record->kind == WDB_RECORD_ELEMENT_DELETE;
    if (undo->existed && record->kind != WDB_RECORD_EXPIRE) {
        wdb_store_account(store, undo->old.position,
                          (int64_t)undo->old.record_size);
    }
    if (record->kind == WDB_RECORD_DATABASES) {
        atomic_store(&store->databases.index, apply->index);
    } else if (!is_element || undo->applied) {
        wdb_store_note_write(store, undo->hash, apply->index);
    }
    return 0;
}

static void revert_applied(struct entry_apply *apply)
{
    while (apply->block != NULL && apply->block->count > 0) {
        struct wdb_undo *undo = &apply->block->items[--apply->block->count];
        wdb_undo_revert_logged(apply->store, undo);
    }
}

int wdb_store_apply_entry(struct wdb_store *store, uint64_t index)
{
    struct wdb_entry_header entry;
    const uint8_t *payload;
    struct wdb_segment *segment;
    int rc = wdb_log_entry(store->log, index, &entry, &payload, &segment);
    if (rc != 0) {
        return rc;
    }
    struct entry_apply apply = {.store = store, .index = index};
    wdb_store_lock_all(store);
    uint64_t offset = 0;
    while (rc == 0 && entry.type == WDB_ENTRY_COMMAND &&
           offset < entry.payload_size) {
        struct wdb_record record;
        uint64_t size;
        rc = wdb_record_decode(payload + offset, entry.payload_size - offset,
                               true, &record, &size);
        if (rc == 0) {
            const wdb_position position =
                wdb_position_make(segment->slot,
                                  (uint64_t)(payload - segment->map) + offset);
            rc = apply_logged(&apply, &record, position, size);
            offset += size;
        }
    }
    if (rc != 0) {
        revert_applied(&apply);
        free(apply.block);
    } else if (apply.block != NULL) {
        wdb_undo_keep(store, apply.block, index);
    }
    if (rc == 0) {
        atomic_store(&store->applied, index);
    }
    wdb_store_unlock_all(store);
    wdb_segment_drop(segment);
    if (rc == 0 && index <= wdb_log_committed(store->log)) {
        wdb_store_set_committed(store, wdb_log_committed(store->log));
    }
    return rc;
}
