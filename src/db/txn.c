/* txn.c - the frame that a command's reads and writes stand in. */
#include <stdlib.h>

#include "base/assert.h"
#include "db/db_internal.h"
#include "walkerdb.h"

void wdb_txn_init(struct wdb_txn *txn, struct wdb_db *db)
{
    *txn = (struct wdb_txn){
        .db = db, .store = db->store, .epoch_slot = -1, .stripe_one = -1};
    wdb_batch_init(&txn->batch);
}

static void drop_fetches(struct wdb_txn *txn)
{
    for (uint32_t i = 0; i < txn->fetch_count; i++) {
        wdb_segment_drop(txn->fetches[i].segment);
    }
    txn->fetch_count = 0;
}

void wdb_txn_release(struct wdb_txn *txn)
{
    wdb_assert(!txn->active);
    drop_fetches(txn);
    free(txn->fetches);
    wdb_batch_release(&txn->batch);
}

static void begin(struct wdb_txn *txn)
{
    wdb_assert(!txn->active);
    txn->active = true;
    txn->staged = false;
    txn->cold = false;
    txn->all = false;
    txn->hits = txn->misses = txn->expired = txn->dirty = 0;
    txn->now_ms = txn->turn_ms != 0
                      ? txn->turn_ms
                      : wdb_log_time_ms(wdb_store_log(txn->store));
}

void wdb_txn_begin_one(struct wdb_txn *txn, uint64_t hash)
{
    begin(txn);
    uint32_t stripe = wdb_stripe_of(hash, wdb_store_stripe_count(txn->store));
    wdb_store_lock_one(txn->store, stripe);
    txn->stripe_one = (int32_t)stripe;
    uint64_t mapping = wdb_store_last_mapping(txn->store);
    txn->depends = wdb_store_last_write(txn->store, stripe);
    if (mapping > txn->depends) {
        txn->depends = mapping;
    }
}

void wdb_txn_begin(struct wdb_txn *txn, const struct wdb_stripe_set *set)
{
    begin(txn);
    txn->stripe_one = -1;
    txn->stripes = *set;
    wdb_store_lock(txn->store, set);
    txn->depends = wdb_store_last_mapping(txn->store);
    uint32_t words = (wdb_store_stripe_count(txn->store) + 63) / 64;
    for (uint32_t w = 0; w < words; w++) {
        for (uint64_t bits = set->bits[w]; bits != 0; bits &= bits - 1) {
            uint32_t stripe = w * 64 + (uint32_t)__builtin_ctzll(bits);
            uint64_t index = wdb_store_last_write(txn->store, stripe);
            if (index > txn->depends) {
                txn->depends = index;
            }
        }
    }
}

void wdb_txn_begin_all(struct wdb_txn *txn)
{
    struct wdb_stripe_set set = {{0}};
    uint32_t count = wdb_store_stripe_count(txn->store);
    for (uint32_t i = 0; i < count; i++) {
        set.bits[i / 64] |= UINT64_C(1) << (i % 64);
    }
    wdb_txn_begin(txn, &set);
    txn->all = true;
}

static void end(struct wdb_txn *txn)
{
    if (txn->all) {
        wdb_watch_judged_end(txn->db);
    }
    if (txn->stripe_one >= 0) {
        wdb_store_unlock_one(txn->store, (uint32_t)txn->stripe_one);
    } else {
        wdb_store_unlock(txn->store, &txn->stripes);
    }
    txn->active = false;
    wdb_batch_clear(&txn->batch);
}

int wdb_txn_commit(struct wdb_txn *txn)
{
    wdb_assert(txn->active && !txn->cold);
    int code = 0;
    if (txn->batch.count > 0) {
        uint64_t index = 0;
        code = wdb_store_commit(txn->store, &txn->batch, &index);
        if (code == 0 && index > txn->depends) {
            txn->depends = index;
        }
    }
    end(txn);
    return code;
}

void wdb_txn_abort(struct wdb_txn *txn)
{
    wdb_assert(txn->active);
    if (txn->staged) {
        wdb_store_rollback(txn->store, &txn->batch);
    }
    end(txn);
}

int wdb_txn_stage(struct wdb_txn *txn)
{
    if (txn->batch.applied == txn->batch.count) {
        return 0;
    }
    txn->staged = true;
    return wdb_store_stage(txn->store, &txn->batch);
}

/* Note one value to fetch; without memory for it the retry reads and waits. */
static void add_fetch(struct wdb_txn *txn, const struct wdb_item *item)
{
    if (txn->fetch_count >= WDB_FETCH_COUNT_MAX) {
        return;
    }
    if (txn->fetch_count == txn->fetch_capacity) {
        uint32_t capacity =
            txn->fetch_capacity == 0 ? 16 : txn->fetch_capacity * 2;
        struct wdb_fetch *grown =
            realloc(txn->fetches, capacity * sizeof(*grown));
        if (grown == NULL) {
            return;
        }
        txn->fetches = grown;
        txn->fetch_capacity = capacity;
    }
    if (wdb_store_fetch_begin(txn->store, item,
                              &txn->fetches[txn->fetch_count])) {
        txn->fetch_count++;
    }
}

void wdb_txn_note_cold(struct wdb_txn *txn, const struct wdb_item *item)
{
    txn->cold = true;
    add_fetch(txn, item);
}

void wdb_txn_want(struct wdb_txn *txn, const struct wdb_key *key)
{
    struct wdb_item item;
    uint32_t database = wdb_store_database(txn->store, txn->database);
    if (wdb_store_find(txn->store, database, key->hash, key->name, &item)) {
        add_fetch(txn, &item);
    }
}

void wdb_txn_take_fetches(struct wdb_txn *txn, struct wdb_fetch **out,
                          uint32_t *count_out)
{
    *out = txn->fetches;
    *count_out = txn->fetch_count;
    txn->fetches = NULL;
    txn->fetch_count = txn->fetch_capacity = 0;
    txn->cold = false;
}

int wdb_txn_fetch(struct wdb_txn *txn)
{
    int result = 0;
    for (uint32_t i = 0; i < txn->fetch_count; i++) {
        int code = wdb_store_fetch(txn->store, &txn->fetches[i]);
        if (code != 0) {
            result = code;
        }
    }
    txn->fetch_count = 0;
    txn->cold = false;
    return result;
}
