/*
 * keyspace.c - keys of the logical databases: find, read, write, expire.
 *
 * A key whose time has come is gone for everybody who looks: whoever meets it
 * stages its deletion, and the reply waits for that like for any write.
 */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/buffer.h"
#include "db/db_internal.h"
#include "walkerdb.h"

int wdb_db_open(const struct wdb_db_options *options, struct wdb_db **out,
                char **message_out)
{
    struct wdb_db *db = calloc(1, sizeof(*db));
    if (db == NULL) {
        return WALKERDB_ENOMEM;
    }
    db->options = *options;
    atomic_init(&db->expire_enabled, true);
    uint32_t stripes = options->store.stripe_count;
    int code =
        wdb_watch_table_new(stripes == 0 ? WDB_STRIPE_COUNT_DEFAULT : stripes,
                            &db->watches);
    if (code == 0) {
        struct wdb_store_options store = options->store;
        store.on_touch = wdb_watch_touch;
        store.touch_context = db;
        code = wdb_store_open(&store, &db->store, message_out);
    }
    if (code != 0) {
        wdb_watch_table_free(db->watches);
        free(db);
        return code;
    }
    db->log = wdb_store_log(db->store);
    db->started_s = (uint32_t)(wdb_log_time_ms(db->log) / 1000);
    *out = db;
    return 0;
}

void wdb_db_close(struct wdb_db *db)
{
    if (db == NULL) {
        return;
    }
    wdb_store_close(db->store);
    wdb_watch_table_free(db->watches);
    free(db);
}

struct wdb_store *wdb_db_store(struct wdb_db *db)
{
    return db->store;
}

struct wdb_log *wdb_db_log(struct wdb_db *db)
{
    return db->log;
}

static uint32_t database_id(const struct wdb_txn *txn)
{
    return wdb_store_database(txn->store, txn->database);
}

/* Stage the deletion of a key that is past its time. If there is no memory for
 * that it stays for the next who looks; it is hidden all the same. */
static void delete_expired(struct wdb_txn *txn, const struct wdb_key *key)
{
    if (wdb_db_expire_held(txn->db, txn->now_ms)) {
        return;
    }
    struct wdb_record record = {.kind = WDB_RECORD_DELETE,
                                .database = database_id(txn),
                                .key = key->name};
    if (wdb_batch_add(&txn->batch, &record, key->hash) == 0) {
        txn->expired++;
        atomic_fetch_add_explicit(&txn->db->expired_count, 1,
                                  memory_order_relaxed);
        if (txn->db->options.on_expired != NULL) {
            txn->db->options.on_expired(txn->db->options.context, txn->database,
                                        key->name);
        }
    }
}

/* The low bits of a hash are its stripe, the high ones its tag. */
static uint32_t used_slot(uint64_t hash)
{
    return (uint32_t)(hash >> 24) & (WDB_USED_COUNT - 1);
}

static void note_use(const struct wdb_txn *txn, uint64_t hash)
{
    _Atomic uint32_t *used = &txn->db->used_s[used_slot(hash)];
    const uint32_t now_s = (uint32_t)(txn->now_ms / 1000);
    /* Mostly it says so already: then the line stays shared. */
    if (atomic_load_explicit(used, memory_order_relaxed) != now_s) {
        atomic_store_explicit(used, now_s, memory_order_relaxed);
    }
}

uint64_t wdb_db_idle_s(const struct wdb_txn *txn, const struct wdb_key *key)
{
    uint32_t used = atomic_load_explicit(&txn->db->used_s[used_slot(key->hash)],
                                         memory_order_relaxed);
    used = used < txn->db->started_s ? txn->db->started_s : used;
    const uint64_t now_s = txn->now_ms / 1000;
    return now_s > used ? now_s - used : 0;
}

bool wdb_db_find(struct wdb_txn *txn, const struct wdb_key *key,
                 enum wdb_find_mode mode, struct wdb_item *out)
{
    struct wdb_item item;
    bool found = wdb_store_find(txn->store, database_id(txn), key->hash,
                                key->name, &item);
    if (found && WDB_UNLIKELY(item.expiry_ms != 0) &&
        item.expiry_ms <= txn->now_ms) {
        delete_expired(txn, key);
        found = false;
    }
    if (mode == WDB_FIND_READ || mode == WDB_FIND_COUNT) {
        txn->hits += found;
        txn->misses += !found;
    }
    if (found) {
        if ((mode == WDB_FIND_READ || mode == WDB_FIND_WRITE) &&
            WDB_LIKELY(!txn->no_touch)) {
            note_use(txn, key->hash);
        }
        *out = item;
    }
    return found;
}

int wdb_db_read(struct wdb_txn *txn, const struct wdb_item *item,
                struct wdb_value *value_out)
{
    int code = txn->wait ? wdb_store_read_wait(txn->store, item, value_out)
                         : wdb_store_read(txn->store, item, value_out);
    if (WDB_UNLIKELY(code == WALKERDB_EAGAIN)) {
        wdb_txn_note_cold(txn, item);
    }
    return code;
}

int wdb_db_get(struct wdb_txn *txn, const struct wdb_key *key,
               struct wdb_item *item_out, struct wdb_value *value_out)
{
    struct wdb_item item;
    if (!wdb_db_find(txn, key, WDB_FIND_READ, &item)) {
        return WALKERDB_ENOTFOUND;
    }
    const int code = wdb_db_read(txn, &item, value_out);
    if (code == 0) {
        *item_out = item;
    }
    return code;
}

static int io_read(void *context, const struct wdb_item *item,
                   struct wdb_value *out)
{
    const struct wdb_db_access *access = context;
    return wdb_db_read(access->txn, item, out);
}

static void io_want(void *context, const struct wdb_item *item)
{
    const struct wdb_db_access *access = context;
    wdb_txn_note_cold(access->txn, item);
}

static int io_emit(void *context, const struct wdb_record *record)
{
    const struct wdb_db_access *access = context;
    if (record->kind == WDB_RECORD_PUT) {
        struct wdb_record copy = *record;
        copy.key = access->key->name;
        return wdb_db_put_record(access->txn, access->key, &copy);
    }
    return wdb_db_put_record(access->txn, access->key, record);
}

void wdb_db_value_io(struct wdb_db_access *access, struct wdb_value_io *io_out)
{
    *io_out = (struct wdb_value_io){
        .store = access->txn->store,
        .read = io_read,
        .want = io_want,
        .emit = io_emit,
        .context = access,
    };
}

int wdb_db_put(struct wdb_txn *txn, const struct wdb_key *key,
               struct wdb_slice value, uint64_t expiry_ms)
{
    struct wdb_record record = {
        .kind = WDB_RECORD_PUT,
        .flags = expiry_ms != 0 ? WDB_RECORD_EXPIRY : 0,
        .database = database_id(txn),
        .expiry_ms = expiry_ms,
        .key = key->name,
        .value = value,
    };
    txn->dirty++;
    note_use(txn, key->hash);
    return wdb_batch_add(&txn->batch, &record, key->hash);
}

int wdb_db_put_record(struct wdb_txn *txn, const struct wdb_key *key,
                      const struct wdb_record *record)
{
    struct wdb_record copy = *record;
    copy.database = database_id(txn);
    txn->dirty++;
    note_use(txn, key->hash);
    return wdb_batch_add(&txn->batch, &copy, key->hash);
}

int wdb_db_delete(struct wdb_txn *txn, const struct wdb_key *key)
{
    struct wdb_record record = {.kind = WDB_RECORD_DELETE,
                                .database = database_id(txn),
                                .key = key->name};
    txn->dirty++;
    return wdb_batch_add(&txn->batch, &record, key->hash);
}

int wdb_db_expire(struct wdb_txn *txn, const struct wdb_key *key,
                  uint64_t expiry_ms)
{
    struct wdb_record record = {
        .kind = WDB_RECORD_EXPIRE,
        .flags = expiry_ms != 0 ? WDB_RECORD_EXPIRY : 0,
        .database = database_id(txn),
        .expiry_ms = expiry_ms,
        .key = key->name,
    };
    txn->dirty++;
    return wdb_batch_add(&txn->batch, &record, key->hash);
}

int wdb_db_flush(struct wdb_txn *txn, uint32_t bits)
{
    wdb_assert(txn->all);
    for (uint32_t i = 0; i < WDB_DATABASE_COUNT; i++) {
        if (bits & (UINT32_C(1) << i)) {
            txn->dirty += wdb_db_size(txn->db, i);
            wdb_watch_judge(txn->db, UINT32_C(1) << i, i, i);
        }
    }
    return wdb_store_stage_flush(txn->store, &txn->batch, bits);
}

int wdb_db_swap(struct wdb_txn *txn, uint32_t a, uint32_t b)
{
    wdb_assert(txn->all);
    txn->dirty++;
    wdb_watch_judge(txn->db, (UINT32_C(1) << a) | (UINT32_C(1) << b), a, b);
    return wdb_store_stage_swap(txn->store, &txn->batch, a, b);
}

static struct wdb_keydir *keydir_of(const struct wdb_db *db, uint32_t database)
{
    return wdb_store_keydir(db->store, wdb_store_database(db->store, database));
}

uint64_t wdb_db_size(const struct wdb_db *db, uint32_t database)
{
    int slot = wdb_epoch_enter(wdb_log_epoch(db->log));
    struct wdb_keydir *keydir = keydir_of(db, database);
    uint64_t count = keydir == NULL ? 0 : wdb_keydir_count(keydir);
    wdb_epoch_exit(wdb_log_epoch(db->log), slot);
    return count;
}

uint64_t wdb_db_expires(const struct wdb_db *db, uint32_t database)
{
    int slot = wdb_epoch_enter(wdb_log_epoch(db->log));
    struct wdb_keydir *keydir = keydir_of(db, database);
    uint64_t count = keydir == NULL ? 0 : wdb_keydir_expiry_count(keydir);
    wdb_epoch_exit(wdb_log_epoch(db->log), slot);
    return count;
}
