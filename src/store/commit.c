/*
 * commit.c - stages batches, appends them to the log, makes them final.
 *
 * First the records of a batch are applied at staged positions: whatever can
 * fail for want of memory fails here, and is undone. Then the batch is
 * appended, which may still fail and be undone. Then the staged positions are
 * replaced by those in the log, which cannot fail. A batch of one plain record
 * takes a shorter way.
 */
#include <sched.h>
#include <stdlib.h>

#include "store/store_internal.h"

static wdb_position staged_position(const struct wdb_batch *batch,
                                    const struct wdb_batch_item *item)
{
    return wdb_position_make(WDB_SLOT_STAGED + batch->context, item->offset);
}

/* The record of an item; it was encoded here, so it is sound. */
static void decode_item(const struct wdb_batch *batch,
                        const struct wdb_batch_item *item,
                        struct wdb_record *out)
{
    uint64_t size;
    const int rc =
        wdb_record_decode(batch->records.data + item->offset,
                          (uint64_t)item->size * 8, false, out, &size);
    wdb_assert(rc == 0);
}

/* Take back the items from `count` on. */
static void revert_to(struct wdb_store *store, struct wdb_batch *batch,
                      uint32_t count)
{
    while (batch->applied > count) {
        const uint32_t i = --batch->applied;
        struct wdb_record record;
        decode_item(batch, &batch->items[i], &record);
        wdb_undo_revert(store, &batch->undo->items[i], &record);
        batch->undo->count--;
    }
}

/* Apply what is not applied yet, at staged positions. On failure the batch is
 * as before. */
static int apply_new(struct wdb_store *store, struct wdb_batch *batch)
{
    const uint32_t before = batch->applied;
    while (batch->applied < batch->count) {
        const struct wdb_batch_item *item = &batch->items[batch->applied];
        struct wdb_record record;
        decode_item(batch, item, &record);
        int rc = wdb_undo_reserve(&batch->undo);
        if (rc == 0) {
            rc = wdb_store_apply(store, &record, staged_position(batch, item),
                                 (uint64_t)item->size * 8, item->hash,
                                 &batch->undo->items[batch->undo->count]);
        }
        if (rc != 0) {
            revert_to(store, batch, before);
            return rc;
        }
        batch->undo->count++;
        batch->applied++;
    }
    return 0;
}

/* --- contexts --------------------------------------------------------------
 */

/* Make the batch's buffer readable at staged positions. Waits for a free
 * number: whoever has one holds all his locks already and gives it back. */
static void take_context(struct wdb_store *store, struct wdb_batch *batch)
{
    for (;;) {
        for (uint32_t i = 1; i < WDB_CONTEXT_COUNT; i++) {
            struct wdb_batch *expected = NULL;
            if (atomic_load_explicit(&store->contexts[i],
                                     memory_order_relaxed) == NULL &&
                atomic_compare_exchange_strong(&store->contexts[i], &expected,
                                               batch)) {
                batch->context = i;
                return;
            }
        }
        sched_yield();
    }
}

static void drop_context(struct wdb_store *store, struct wdb_batch *batch)
{
    if (batch->context != 0) {
        atomic_store(&store->contexts[batch->context], NULL);
        batch->context = 0;
    }
}

int wdb_store_stage(struct wdb_store *store, struct wdb_batch *batch)
{
    if (batch->applied == batch->count) {
        return 0;
    }
    const bool first = batch->applied == 0;
    if (first) {
        take_context(store, batch);
    }
    const int rc = apply_new(store, batch);
    if (rc != 0 && first) {
        drop_context(store, batch);
    }
    return rc;
}

void wdb_store_rollback(struct wdb_store *store, struct wdb_batch *batch)
{
    revert_to(store, batch, 0);
    drop_context(store, batch);
}

/* --- the end ---------------------------------------------------------------
 */

/* The keydir says `position` instead of `staged`, unless a later record of the
 * batch took the key: then this one is garbage already. */
static void move_key(struct wdb_store *store, const struct wdb_record *record,
                     uint64_t hash, wdb_position staged,
                     const struct wdb_undo *undo)
{
    struct wdb_keydir *keydir = wdb_store_keydir(store, record->database);
    if (keydir == NULL ||
        !wdb_keydir_move(keydir, hash, record->key, staged, undo->position)) {
        wdb_store_account(store, undo->position,
                          (int64_t)wdb_record_size(record));
    }
}

static void move_element(struct wdb_store *store,
                         const struct wdb_record *record, wdb_position staged,
                         const struct wdb_undo *undo)
{
    const struct wdb_object *object =
        wdb_registry_find(store, record->object_id);
    if (!undo->applied || object == NULL || object->elements == NULL ||
        !wdb_keydir_move(object->elements, wdb_store_hash(store, record->key),
                         record->key, staged, undo->position)) {
        wdb_store_account(store, undo->position,
                          (int64_t)wdb_record_size(record));
    }
}

/* Record i of the batch lies at `position` now. */
static void finish_item(struct wdb_store *store, struct wdb_batch *batch,
                        uint32_t i, const struct wdb_log_place *place)
{
    const struct wdb_batch_item *item = &batch->items[i];
    struct wdb_undo *undo = &batch->undo->items[i];
    const wdb_position staged = undo->position;
    undo->position = place->position + item->offset / 8;
    struct wdb_record record;
    decode_item(batch, item, &record);
    wdb_store_account_kind(store, record.kind, undo->position,
                           (uint64_t)item->size * 8);
    switch (record.kind) {
    case WDB_RECORD_PUT:
        move_key(store, &record, item->hash, staged, undo);
        /* fallthrough */
    case WDB_RECORD_DELETE:
        if (undo->existed) {
            wdb_store_account(store, undo->old.position,
                              (int64_t)undo->old.record_size);
        }
        wdb_store_note_write(store, item->hash, place->index);
        break;
    case WDB_RECORD_EXPIRE:
        wdb_store_note_write(store, item->hash, place->index);
        break;
    case WDB_RECORD_DATABASES:
        if (wdb_databases_move(store, staged, undo->position,
                               (uint64_t)item->size * 8)) {
            atomic_store(&store->databases.index, place->index);
        }
        break;
    case WDB_RECORD_ELEMENT_PUT:
        move_element(store, &record, staged, undo);
        /* fallthrough */
    case WDB_RECORD_ELEMENT_DELETE:
        if (undo->applied) {
            if (undo->existed) {
                wdb_store_account(store, undo->old.position,
                                  (int64_t)undo->old.record_size);
            }
            wdb_store_note_write(store, undo->hash, place->index);
        }
        break;
    }
}

/* Whatever was replaced is gone for good, or waits for the commit. */
static void hand_over_undo(struct wdb_store *store, struct wdb_batch *batch,
                           const struct wdb_log_place *place)
{
    struct wdb_undo_block *block = batch->undo;
    if (store->options.log.manual_commit &&
        place->index > wdb_log_committed(store->log) &&
        !WDB_STORE_MUTATED(store, WDB_MUTATION_UNDO_DROP_EARLY)) {
        batch->undo = NULL;
        wdb_undo_keep(store, block, place->index, place->place);
        return;
    }
    for (uint32_t i = 0; i < block->count; i++) {
        wdb_undo_settle(store, &block->items[i]);
    }
    block->count = 0;
}

#ifdef WDB_MUTATIONS
/* The broken rule: half of the batch is written before the rest. */
static int append_split(struct wdb_store *store, struct wdb_batch *batch,
                        struct wdb_log_place *place)
{
    const uint32_t half = batch->count / 2;
    const uint64_t size = batch->items[half].offset;
    int rc = wdb_log_append(store->log, batch->records.data, size, half,
                            WDB_RESERVE_NONE, place);
    if (rc == 0) {
        rc = wdb_log_flush(store->log);
    }
    const wdb_position first = place->position;
    if (rc == 0) {
        rc = wdb_log_append(store->log, batch->records.data + size,
                            batch->records.size - size, batch->count - half,
                            WDB_RESERVE_NONE, place);
    }
    for (uint32_t i = half; rc == 0 && i < batch->count; i++) {
        finish_item(store, batch, i,
                    &(struct wdb_log_place){
                        .index = place->index,
                        .position = place->position - size / 8,
                    });
    }
    place->position = first;
    return rc;
}
#endif

static int append(struct wdb_store *store, struct wdb_batch *batch,
                  struct wdb_log_place *place)
{
#ifdef WDB_MUTATIONS
    if (WDB_STORE_MUTATED(store, WDB_MUTATION_BATCH_SPLIT) &&
        batch->count > 1) {
        return append_split(store, batch, place);
    }
#endif
    return wdb_log_append(store->log, batch->records.data, batch->records.size,
                          batch->count, batch->reserve, place);
}

/* --- one plain record ------------------------------------------------------
 */

/* Longer keys take the usual way: the reserve may be too small for them. */
#define PLAIN_KEY_SIZE_MAX 1024

/*
 * Most batches are one put or delete of a string. It needs no staged position
 * if its keydir entry can be made after the append: the only failure left is
 * want of memory, and for that there is the reserve. With commits by hand its
 * undo goes to the ring of its stripe, which has no place for objects.
 */
static bool is_plain(const struct wdb_store *store,
                     const struct wdb_batch *batch)
{
    if (batch->count != 1 || batch->applied != 0 || store->ordered != NULL ||
        __atomic_load_n(&store->reserve, __ATOMIC_RELAXED) == NULL) {
        return false;
    }
    struct wdb_record_header header;
    memcpy(&header, batch->records.data, sizeof(header));
    return (header.kind == WDB_RECORD_PUT ||
            header.kind == WDB_RECORD_DELETE) &&
           header.flags == 0 && header.key_size <= PLAIN_KEY_SIZE_MAX;
}

static struct wdb_stripe *stripe_of(struct wdb_store *store, uint64_t hash)
{
    return &store->stripes[wdb_stripe_of(hash, store->stripe_count)];
}

/* With commits by hand: the key heads an object now, which the record would
 * drop. */
static bool drops_object(struct wdb_store *store, const struct wdb_batch *batch)
{
    const uint64_t hash = batch->items[0].hash;
    if (!store->options.log.manual_commit ||
        stripe_of(store, hash)->headers.count == 0) {
        return false;
    }
    struct wdb_record record;
    decode_item(batch, &batch->items[0], &record);
    return wdb_object_of_key(store, record.database, hash, record.key) != NULL;
}

static void keep_plain(struct wdb_store *store, const struct wdb_undo *undo,
                       const struct wdb_log_place *place)
{
    if (WDB_STORE_MUTATED(store, WDB_MUTATION_UNDO_DROP_EARLY)) {
        return;
    }
    *wdb_undo_ring_add(&stripe_of(store, undo->hash)->undos) =
        (struct wdb_undo_plain){
            .index = place->index,
            .position = place->position,
            .hash = undo->hash,
            .old = undo->old,
            .place = place->place,
            .kind = undo->kind,
            .existed = undo->existed,
        };
}

/* The keydir's part of a plain record that is in the log. */
static void apply_plain(struct wdb_store *store, struct wdb_keydir *keydir,
                        const struct wdb_record *record,
                        const struct wdb_item *item, struct wdb_undo *undo)
{
    if (record->kind == WDB_RECORD_DELETE) {
        undo->existed =
            keydir != NULL &&
            wdb_keydir_delete(keydir, undo->hash, record->key, &undo->old);
    } else if (WDB_UNLIKELY(wdb_keydir_put(keydir, undo->hash, record->key,
                                           item, &undo->old,
                                           &undo->existed) != 0)) {
        undo->existed =
            wdb_keydir_get(keydir, undo->hash, record->key, &undo->old);
        wdb_undo_restore(store, keydir, undo->hash, record->key, item);
    }
    if (!undo->existed) {
        return;
    }
    wdb_store_account(store, undo->old.position,
                      (int64_t)undo->old.record_size);
    if (WDB_UNLIKELY((undo->old.flags & WDB_ITEM_OBJECT) != 0)) {
        struct wdb_object *object =
            wdb_object_of_key(store, record->database, undo->hash, record->key);
        if (object != NULL) {
            wdb_object_drop(store, object, undo);
            wdb_object_settle(store, undo);
        }
    }
}

static int commit_plain(struct wdb_store *store, struct wdb_batch *batch,
                        uint64_t *index_out)
{
    struct wdb_record record;
    struct wdb_log_place place;
    struct wdb_keydir *keydir;
    decode_item(batch, &batch->items[0], &record);
    const bool manual = store->options.log.manual_commit;
    struct wdb_undo undo = {
        .hash = batch->items[0].hash,
        .kind = (uint8_t)record.kind,
    };
    wdb_stripe_check_held(store, undo.hash);
    int rc = 0;
    if (manual) {
        rc = wdb_undo_ring_reserve(&stripe_of(store, undo.hash)->undos,
                                   wdb_log_committed(store->log));
        if (rc != 0) {
            return rc;
        }
    }
    if (record.kind == WDB_RECORD_PUT) {
        rc = wdb_databases_make(store, record.database, &keydir);
    } else {
        keydir = wdb_store_keydir(store, record.database);
    }
    if (rc == 0) {
        rc = append(store, batch, &place);
    }
    if (rc != 0) {
        return rc;
    }
    const struct wdb_item item = {
        .position = place.position,
        .record_size = (uint64_t)batch->items[0].size * 8,
        .flags = (uint8_t)((record.type & 0xf) << WDB_ITEM_TYPE_SHIFT),
    };
    apply_plain(store, keydir, &record, &item, &undo);
    if (manual) {
        keep_plain(store, &undo, &place);
    }
    if (record.kind == WDB_RECORD_DELETE) {
        wdb_store_account_kind(store, record.kind, place.position,
                               item.record_size);
    }
    wdb_store_touch(store, WDB_TOUCH_KEY, record.database, undo.hash,
                    record.key);
    wdb_store_note_write(store, undo.hash, place.index);
    *index_out = place.index;
    return 0;
}

int wdb_store_commit(struct wdb_store *store, struct wdb_batch *batch,
                     uint64_t *index_out)
{
    wdb_assert(batch->count > 0);
    if (is_plain(store, batch) && !drops_object(store, batch)) {
        return commit_plain(store, batch, index_out);
    }
    struct wdb_log_place place;
    int rc = apply_new(store, batch);
    if (rc == 0) {
        rc = append(store, batch, &place);
    }
    if (rc != 0) {
        wdb_store_rollback(store, batch);
        return rc;
    }
    uint32_t count = batch->count;
#ifdef WDB_MUTATIONS
    if (WDB_STORE_MUTATED(store, WDB_MUTATION_BATCH_SPLIT) && count > 1) {
        count /= 2;
    }
#endif
    for (uint32_t i = 0; i < count; i++) {
        finish_item(store, batch, i, &place);
    }
    hand_over_undo(store, batch, &place);
    batch->applied = 0;
    drop_context(store, batch);
    *index_out = place.index;
    return 0;
}
