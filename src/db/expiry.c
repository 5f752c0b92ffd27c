/*
 * expiry.c - delete keys whose time has come, before anybody looks.
 *
 * Each stripe knows its earliest expiry, so a step looks only at stripes that
 * have something due, and takes out a bounded number of keys under one lock.
 */
#include <stdlib.h>

#include "base/list.h"
#include "db/db_internal.h"

#define EXPIRE_GROUP 64

struct due {
    struct wdb_batch *batch;
    uint32_t count;
};

static void stage_due(void *context, uint32_t database, uint64_t hash,
                      struct wdb_slice key)
{
    struct due *due = context;
    struct wdb_record record = {.kind = WDB_RECORD_DELETE,
                                .database = database,
                                .key = key};
    if (wdb_batch_add(due->batch, &record, hash) == 0) {
        due->count++;
    }
}

/* The logical number of a database id, -1 if it is not mapped. */
static int number_of(const struct wdb_db *db, uint32_t id)
{
    for (uint32_t i = 0; i < WDB_DATABASE_COUNT; i++) {
        if (wdb_store_database(db->store, i) == id) {
            return (int)i;
        }
    }
    return -1;
}

static void notify(struct wdb_db *db, const struct wdb_batch *batch)
{
    if (db->options.on_expired == NULL) {
        return;
    }
    for (uint32_t i = 0; i < batch->count; i++) {
        struct wdb_record record;
        uint64_t size;
        const struct wdb_batch_item *item = &batch->items[i];
        if (wdb_record_decode(batch->records.data + item->offset,
                              batch->records.size - item->offset, false,
                              &record, &size) == 0) {
            int number = number_of(db, record.database);
            if (number >= 0) {
                db->options.on_expired(db->options.context, (uint32_t)number,
                                       record.key);
            }
        }
    }
}

/* Up to EXPIRE_GROUP keys of one stripe; how many. */
static uint32_t expire_stripe(struct wdb_db *db, struct wdb_txn *txn,
                              uint32_t stripe)
{
    struct due due = {.batch = &txn->batch};
    wdb_txn_begin_one(txn, stripe); /* a hash whose low bits are the stripe */
    wdb_store_expired(db->store, stripe, txn->now_ms, EXPIRE_GROUP, stage_due,
                      &due);
    notify(db, &txn->batch);
    if (wdb_txn_commit(txn) != 0) {
        return 0; /* they stay hidden, and are tried again */
    }
    return due.count;
}

uint64_t wdb_db_expire_step(struct wdb_db *db, uint64_t budget_us)
{
    if (!atomic_load_explicit(&db->expire_enabled, memory_order_relaxed)) {
        return 0;
    }
    if (wdb_db_expire_held(db, wdb_log_time_ms(db->log))) {
        return 0;
    }
    struct wdb_env *env = wdb_store_env(db->store);
    uint64_t end_ns = env->ops->monotonic_ns(env) + budget_us * 1000;
    uint32_t count = wdb_store_stripe_count(db->store);
    uint32_t stripe =
        atomic_load_explicit(&db->expire_stripe, memory_order_relaxed);
    uint64_t expired = 0;
    struct wdb_txn txn;
    wdb_txn_init(&txn, db);
    for (uint32_t quiet = 0; quiet < count;) {
        uint64_t now_ms = wdb_log_time_ms(db->log);
        uint32_t done = 0;
        if (wdb_store_next_expiry(db->store, stripe) <= now_ms) {
            done = expire_stripe(db, &txn, stripe);
        }
        expired += done;
        quiet = done == 0 ? quiet + 1 : 0;
        stripe = (stripe + 1) % count;
        if (done > 0 && env->ops->monotonic_ns(env) >= end_ns) {
            break;
        }
    }
    wdb_txn_release(&txn);
    atomic_store_explicit(&db->expire_stripe, stripe, memory_order_relaxed);
    atomic_fetch_add_explicit(&db->expired_count, expired,
                              memory_order_relaxed);
    return expired;
}

void wdb_db_expire_enable(struct wdb_db *db, bool enabled)
{
    atomic_store_explicit(&db->expire_enabled, enabled, memory_order_relaxed);
}

void wdb_db_expire_hold(struct wdb_db *db, uint64_t until_ms)
{
    atomic_store_explicit(&db->expire_hold_ms, until_ms, memory_order_relaxed);
}

void wdb_db_expire_stop(struct wdb_db *db, bool stopped)
{
    atomic_store_explicit(&db->expire_stopped, stopped, memory_order_relaxed);
}

uint64_t wdb_db_expired_count(const struct wdb_db *db)
{
    return atomic_load_explicit(&db->expired_count, memory_order_relaxed);
}
