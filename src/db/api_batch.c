/* api_batch.c - walkerdb.h: batches. */
#include <stdlib.h>

#include "db/api.h"

struct walkerdb_batch {
    struct walkerdb *db;
    struct wdb_batch records;
};

int walkerdb_batch_new(walkerdb *db, walkerdb_batch **out)
{
    walkerdb_batch *batch = malloc(sizeof(*batch));
    if (batch == NULL) {
        return WALKERDB_ENOMEM;
    }
    batch->db = db;
    wdb_batch_init(&batch->records);
    *out = batch;
    return 0;
}

void walkerdb_batch_free(walkerdb_batch *batch)
{
    if (batch != NULL) {
        wdb_batch_release(&batch->records);
        free(batch);
    }
}

void walkerdb_batch_clear(walkerdb_batch *batch)
{
    wdb_batch_clear(&batch->records);
}

size_t walkerdb_batch_count(const walkerdb_batch *batch)
{
    return batch->records.count;
}

static int add(walkerdb_batch *batch, struct wdb_record *record)
{
    struct walkerdb *db = batch->db;
    record->database = wdb_store_database(db->store, 0);
    return wdb_batch_add(&batch->records, record,
                         wdb_store_hash(db->store, record->key));
}

int walkerdb_batch_put(walkerdb_batch *batch, const void *key, size_t key_size,
                       const void *value, size_t value_size, uint64_t expiry_ms)
{
    int code = wdb_api_check_key(key, key_size);
    if (code != 0) {
        return code;
    }
    if (value_size > WALKERDB_VALUE_SIZE_MAX) {
        return WALKERDB_ETOOBIG;
    }
    struct wdb_record record = {
        .kind = WDB_RECORD_PUT,
        .flags = expiry_ms != 0 ? WDB_RECORD_EXPIRY : 0,
        .expiry_ms = expiry_ms,
        .key = wdb_slice(key, key_size),
        .value = wdb_slice(value, value_size),
    };
    return add(batch, &record);
}

int walkerdb_batch_delete(walkerdb_batch *batch, const void *key,
                          size_t key_size)
{
    int code = wdb_api_check_key(key, key_size);
    if (code != 0) {
        return code;
    }
    struct wdb_record record = {.kind = WDB_RECORD_DELETE,
                                .key = wdb_slice(key, key_size)};
    return add(batch, &record);
}

int walkerdb_batch_commit(walkerdb_batch *batch, bool sync)
{
    struct walkerdb *db = batch->db;
    if (db->options.read_only) {
        return WALKERDB_EREADONLY;
    }
    if (batch->records.count > 0) {
        struct wdb_stripe_set set = {{0}};
        uint32_t stripes = wdb_store_stripe_count(db->store);
        for (uint32_t i = 0; i < batch->records.count; i++) {
            uint32_t s = wdb_stripe_of(batch->records.items[i].hash, stripes);
            set.bits[s / 64] |= UINT64_C(1) << (s % 64);
        }
        uint64_t index;
        wdb_store_lock(db->store, &set);
        int code = wdb_store_commit(db->store, &batch->records, &index);
        wdb_store_unlock(db->store, &set);
        if (code != 0) {
            return code;
        }
        wdb_batch_clear(&batch->records);
    }
    return wdb_api_sync_if(db, sync);
}
