/*
 * follow.c - applies entries that are in the log already: what a follower does
 * when they are committed.
 *
 * Each record is looked at twice: first all are verified and their hashes taken,
 * which tells the stripes to be locked; then they are applied, some together,
 * so that their buckets are on their way into the cache. Where batches end in
 * an entry is not known, so it takes effect as a whole: its stripes are held
 * until all of it is applied.
 */
#include <stdlib.h>

#include "store/store_internal.h"

/* Records that are noted without an allocation; and whose buckets are fetched
 * together. */
#define NOTES_FIXED 32
#define GROUP_SIZE  16
/* A block for entries that are settled at once is kept up to this size. */
#define KEEP_COUNT_MAX ((uint32_t)1 << 14)

/* A record of the entry. */
struct note {
    uint64_t hash;
    uint64_t offset; /* in the payload */
};

struct entry_apply {
    struct wdb_store *store;
    struct wdb_entry_header entry;
    struct wdb_segment *segment;
    const uint8_t *payload;
    struct note *notes;
    struct note fixed[NOTES_FIXED];
    struct wdb_stripe_set stripes;
    bool all;          /* stripes */
    bool has_elements; /* stripes depend on where their objects are */
    struct wdb_undo_block *block;
};

/* --- what it needs -----------------------------------------------------------
 */

static void add_stripe(struct entry_apply *apply, uint64_t hash)
{
    const uint32_t stripe = wdb_stripe_of(hash, apply->store->stripe_count);
    apply->stripes.bits[stripe / 64] |= UINT64_C(1) << stripe % 64;
}

static bool has_stripe(const struct entry_apply *apply, uint64_t hash)
{
    const uint32_t stripe = wdb_stripe_of(hash, apply->store->stripe_count);
    return (apply->stripes.bits[stripe / 64] >> stripe % 64 & 1) != 0;
}

/* A record sound by itself, of an entry that is. */
static void decode(const struct entry_apply *apply, uint32_t i,
                   struct wdb_record *out, uint64_t *size_out)
{
    const uint64_t offset = apply->notes[i].offset;
    const int rc = wdb_record_decode(apply->payload + offset,
                                     apply->entry.payload_size - offset, false,
                                     out, size_out);
    wdb_assert(rc == 0);
}

/* The stripe of an object that is there already. One that is made by this
 * entry has its header in it. */
static void add_object(struct entry_apply *apply, struct wdb_object_id id)
{
    uint64_t hash;
    apply->has_elements = true;
    if (wdb_registry_locate(apply->store, id, &hash)) {
        add_stripe(apply, hash);
    }
}

static void add_record(struct entry_apply *apply, uint32_t i,
                       const struct wdb_record *record, uint64_t offset)
{
    struct note *note = &apply->notes[i];
    note->offset = offset;
    note->hash = 0;
    switch (record->kind) {
    case WDB_RECORD_PUT:
    case WDB_RECORD_DELETE:
    case WDB_RECORD_EXPIRE:
        note->hash = wdb_store_hash(apply->store, record->key);
        add_stripe(apply, note->hash);
        break;
    case WDB_RECORD_DATABASES:
        apply->all = true;
        break;
    case WDB_RECORD_ELEMENT_PUT:
    case WDB_RECORD_ELEMENT_DELETE:
        break;
    }
    if ((record->flags & WDB_RECORD_OBJECT) != 0) {
        add_object(apply, record->object_id);
    }
}

static int damage(const struct entry_apply *apply)
{
    struct wdb_env *env = apply->store->env;
    return env->ops->damaged(env, apply->segment->map) ? WALKERDB_EIO
                                                       : WALKERDB_ECORRUPT;
}

/* Verify all records, and note what they need. */
static int survey(struct entry_apply *apply)
{
    const struct wdb_entry_header *entry = &apply->entry;
    uint64_t offset = 0;
    apply->notes = apply->fixed;
    if (entry->record_count > NOTES_FIXED) {
        apply->notes = malloc(entry->record_count * sizeof(*apply->notes));
        if (apply->notes == NULL) {
            return WALKERDB_ENOMEM;
        }
    }
    for (uint32_t i = 0; i < entry->record_count; i++) {
        struct wdb_record record;
        uint64_t size;
        if (wdb_record_decode(apply->payload + offset,
                              entry->payload_size - offset, true, &record,
                              &size) != 0 ||
            (record.flags & WDB_RECORD_SEQUENCE) != 0) {
            return damage(apply);
        }
        add_record(apply, i, &record, offset);
        offset += size;
    }
    if (offset != entry->payload_size) {
        return damage(apply);
    }
    /* Only where nobody else writes do objects stay where they are. */
    apply->all |= apply->has_elements && !wdb_log_is_held(apply->store->log);
    return 0;
}

/* --- locks -------------------------------------------------------------------
 */

/* With the stripes held: are all objects where they were? A transaction that is
 * rolled back may have moved one for a moment. */
static bool objects_are_covered(const struct entry_apply *apply)
{
    for (uint32_t i = 0; i < apply->entry.record_count; i++) {
        struct wdb_record record;
        uint64_t size, hash;
        decode(apply, i, &record, &size);
        if ((record.flags & WDB_RECORD_OBJECT) != 0 &&
            wdb_registry_locate(apply->store, record.object_id, &hash) &&
            !has_stripe(apply, hash)) {
            return false;
        }
    }
    return true;
}

static void lock(struct entry_apply *apply)
{
    if (!apply->all) {
        wdb_store_lock(apply->store, &apply->stripes);
        if (!apply->has_elements || objects_are_covered(apply)) {
            return;
        }
        wdb_store_unlock(apply->store, &apply->stripes);
        apply->all = true;
    }
    wdb_store_lock_all(apply->store);
}

static void unlock(struct entry_apply *apply)
{
    if (apply->all) {
        wdb_store_unlock_all(apply->store);
    } else {
        wdb_store_unlock(apply->store, &apply->stripes);
    }
}

/* --- applying ----------------------------------------------------------------
 */

static int apply_record(struct entry_apply *apply, uint32_t i)
{
    struct wdb_store *store = apply->store;
    const uint64_t index = apply->entry.index;
    struct wdb_record record;
    uint64_t size;
    decode(apply, i, &record, &size);
    const wdb_position position =
        wdb_position_make(apply->segment->slot,
                          (uint64_t)(apply->payload - apply->segment->map) +
                              apply->notes[i].offset);
    struct wdb_undo *undo = &apply->block->items[apply->block->count];
    const int rc = wdb_store_apply(store, &record, position, size,
                                   apply->notes[i].hash, undo);
    if (rc != 0) {
        return rc;
    }
    apply->block->count++;
    wdb_store_account_kind(store, record.kind, position, size);
    const bool is_element = record.kind == WDB_RECORD_ELEMENT_PUT ||
                            record.kind == WDB_RECORD_ELEMENT_DELETE;
    if (undo->existed && record.kind != WDB_RECORD_EXPIRE) {
        wdb_store_account(store, undo->old.position,
                          (int64_t)undo->old.record_size);
    }
    if (record.kind == WDB_RECORD_DATABASES) {
        atomic_store(&store->databases.index, index);
    } else if (!is_element || undo->applied) {
        wdb_store_note_write(store, undo->hash, index);
    }
    return 0;
}

/* Ask for the buckets of some records. */
static void fetch_group(const struct entry_apply *apply, uint32_t from,
                        uint32_t to)
{
    struct wdb_keydir_probe probes[GROUP_SIZE];
    for (uint32_t i = from; i < to; i++) {
        const uint8_t *data = apply->payload + apply->notes[i].offset;
        const struct wdb_keydir *keydir =
            apply->notes[i].hash == 0
                ? NULL
                : wdb_store_keydir(apply->store, wdb_load32(data + 12));
        probes[i - from].bucket = NULL;
        if (keydir != NULL) {
            wdb_keydir_probe_bucket(keydir, apply->notes[i].hash,
                                    &probes[i - from]);
        }
    }
    for (uint32_t i = from; i < to; i++) {
        wdb_keydir_probe_entry(&probes[i - from]);
    }
}

static int apply_all(struct entry_apply *apply)
{
    const uint32_t count = apply->entry.record_count;
    int rc = 0;
    for (uint32_t from = 0; from < count && rc == 0; from += GROUP_SIZE) {
        const uint32_t to =
            count - from < GROUP_SIZE ? count : from + GROUP_SIZE;
        if (count > 1) {
            fetch_group(apply, from, to);
        }
        for (uint32_t i = from; i < to && rc == 0; i++) {
            rc = apply_record(apply, i);
        }
    }
    return rc;
}

static void revert_applied(struct entry_apply *apply)
{
    while (apply->block->count > 0) {
        wdb_undo_revert_logged(apply->store,
                               &apply->block->items[--apply->block->count]);
    }
}

/* --- the undo ----------------------------------------------------------------
 */

/* Room for all records: the block that is kept for this, or a new one. */
static int take_block(struct entry_apply *apply, bool settled)
{
    struct wdb_store *store = apply->store;
    const uint32_t count = apply->entry.record_count;
    struct wdb_undo_block *block =
        settled ? atomic_exchange(&store->follow_block, NULL) : NULL;
    if (block == NULL || block->capacity < count) {
        free(block);
        block = wdb_undo_block_new(count);
    }
    apply->block = block;
    return block == NULL ? WALKERDB_ENOMEM : 0;
}

/* Nothing of it will be undone any more. The stripes are held, those of all
 * objects, too. */
static void settle(struct entry_apply *apply)
{
    for (uint32_t i = 0; i < apply->block->count; i++) {
        wdb_undo_settle(apply->store, &apply->block->items[i]);
    }
    apply->block->count = 0;
}

static void give_block(struct entry_apply *apply)
{
    if (apply->block->capacity <= KEEP_COUNT_MAX) {
        apply->block =
            atomic_exchange(&apply->store->follow_block, apply->block);
    }
    free(apply->block);
}

/* --- the whole ---------------------------------------------------------------
 */

static int apply_entry(struct entry_apply *apply)
{
    struct wdb_store *store = apply->store;
    const uint64_t index = apply->entry.index;
    const bool settled = index <= wdb_log_committed(store->log);
    int rc = survey(apply);
    if (rc == 0) {
        rc = take_block(apply, settled);
    }
    if (rc != 0) {
        return rc;
    }
    lock(apply);
    rc = apply_all(apply);
    if (rc != 0) {
        revert_applied(apply);
    } else {
        atomic_store(&store->applied, index);
        if (settled) {
            settle(apply);
        } else {
            wdb_undo_keep(store, apply->block, index, 0);
        }
    }
    unlock(apply);
    if (rc != 0 || settled) {
        give_block(apply);
    } else if (index <= wdb_log_committed(store->log)) {
        wdb_store_set_committed(store, index); /* meanwhile */
    }
    return rc;
}

int wdb_store_apply_entry(struct wdb_store *store, uint64_t index)
{
    struct entry_apply apply = {.store = store};
    int rc = wdb_log_entry_unverified(store->log, index, &apply.entry,
                                      &apply.payload, &apply.segment);
    if (rc != 0) {
        return rc;
    }
    if (apply.entry.type == WDB_ENTRY_COMMAND) {
        rc = apply_entry(&apply);
    } else {
        atomic_store(&store->applied, index);
    }
    if (apply.notes != apply.fixed) {
        free(apply.notes);
    }
    wdb_segment_drop(apply.segment);
    return rc;
}
