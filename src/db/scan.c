/*
 * scan.c - walk the keys of a database in the order of their bit-reversed
 * hashes, one bucket at a time, holding one stripe at a time.
 */
#include <string.h>

#include "base/buffer.h"
#include "db/db_internal.h"

#define STEPS_PER_COUNT  10
#define RANDOM_STEPS_MAX 100000

struct scan {
    const struct wdb_txn *txn;
    wdb_db_scan_cb callback;
    void *context;
    uint64_t visited;
};

static bool is_live(const struct wdb_txn *txn, const struct wdb_item *item)
{
    return item->expiry_ms == 0 || item->expiry_ms > txn->now_ms;
}

static void visit(void *context, struct wdb_slice key, uint64_t hash,
                  const struct wdb_item *item)
{
    struct scan *scan = context;
    (void)hash;
    scan->visited++;
    if (is_live(scan->txn, item)) {
        scan->callback(scan->context, key, item);
    }
}

/* One bucket, with its stripe locked unless all are. */
static uint64_t step(struct wdb_txn *txn, struct wdb_keydir *keydir,
                     uint64_t cursor, wdb_keydir_cb callback, void *context,
                     uint64_t *depends)
{
    uint32_t stripe = wdb_keydir_scan_stripe(keydir, cursor);
    bool lock = !(txn->active && txn->all);
    if (lock) {
        wdb_store_lock_one(txn->store, stripe);
    }
    uint64_t index = wdb_store_last_write(txn->store, stripe);
    uint64_t mapping = wdb_store_last_mapping(txn->store);
    index = index > mapping ? index : mapping;
    *depends = index > *depends ? index : *depends;
    uint64_t next = wdb_keydir_scan(keydir, cursor, callback, context);
    if (lock) {
        wdb_store_unlock_one(txn->store, stripe);
    }
    return next;
}

/* The keydir of the transaction's database; NULL: it is empty, and the reply
 * depends on everything so far. Inside the epoch. */
static struct wdb_keydir *keydir_of(const struct wdb_txn *txn,
                                    uint64_t *depends)
{
    struct wdb_keydir *keydir =
        wdb_store_keydir(txn->store,
                         wdb_store_database(txn->store, txn->database));
    if (keydir == NULL) {
        uint64_t last = wdb_log_index_last(wdb_store_log(txn->store));
        *depends = last > *depends ? last : *depends;
    }
    return keydir;
}

uint64_t wdb_db_scan(struct wdb_txn *txn, uint64_t cursor, uint64_t count,
                     wdb_db_scan_cb callback, void *context,
                     uint64_t *depends_out)
{
    struct wdb_log *log = wdb_store_log(txn->store);
    if (!txn->active) {
        txn->now_ms = wdb_log_time_ms(log);
    }
    struct scan scan = {txn, callback, context, 0};
    uint64_t steps_max = count > UINT64_MAX / STEPS_PER_COUNT
                             ? UINT64_MAX
                             : count * STEPS_PER_COUNT;
    uint64_t depends = 0;
    int slot = wdb_epoch_enter(wdb_log_epoch(log));
    struct wdb_keydir *keydir = keydir_of(txn, &depends);
    if (keydir == NULL) {
        cursor = 0;
    } else {
        for (uint64_t steps = 0; steps < steps_max && scan.visited < count;
             steps++) {
            cursor = step(txn, keydir, cursor, visit, &scan, &depends);
            if (cursor == 0) {
                break;
            }
        }
    }
    wdb_epoch_exit(wdb_log_epoch(log), slot);
    *depends_out = depends;
    return cursor;
}

struct pick {
    const struct wdb_txn *txn;
    uint64_t random;
    uint64_t seen; /* live keys in this bucket */
    struct wdb_buffer *out;
    bool failed;
};

/* Reservoir of one, over the bucket's live keys. */
static void pick(void *context, struct wdb_slice key, uint64_t hash,
                 const struct wdb_item *item)
{
    struct pick *choice = context;
    (void)hash;
    if (!is_live(choice->txn, item)) {
        return;
    }
    choice->seen++;
    choice->random = choice->random * UINT64_C(6364136223846793005) + 1;
    if ((choice->random >> 33) % choice->seen == 0) {
        wdb_buffer_clear(choice->out);
        choice->failed =
            wdb_buffer_append(choice->out, key.data, key.size) != 0;
    }
}

bool wdb_db_random(struct wdb_txn *txn, uint64_t random, struct wdb_buffer *out)
{
    struct wdb_log *log = wdb_store_log(txn->store);
    if (!txn->active) {
        txn->now_ms = wdb_log_time_ms(log);
    }
    int slot = wdb_epoch_enter(wdb_log_epoch(log));
    uint64_t depends = txn->depends;
    struct wdb_keydir *keydir = keydir_of(txn, &depends);
    struct pick choice = {txn, random, 0, out, false};
    if (keydir != NULL) {
        uint64_t cursor = random >> 16; /* 48 bits */
        bool wrapped = false;
        for (int i = 0; i < RANDOM_STEPS_MAX && choice.seen == 0; i++) {
            cursor = step(txn, keydir, cursor, pick, &choice, &depends);
            if (cursor == 0) {
                if (wrapped) {
                    break;
                }
                wrapped = true;
            }
        }
    }
    wdb_epoch_exit(wdb_log_epoch(log), slot);
    txn->depends = depends;
    return choice.seen > 0 && !choice.failed;
}

#define TTL_SAMPLES 64

struct ttl_sample {
    uint64_t now_ms, sum_ms, count;
};

static void sample_ttl(void *context, struct wdb_slice key, uint64_t hash,
                       const struct wdb_item *item)
{
    struct ttl_sample *sample = context;
    (void)key;
    (void)hash;
    if (item->expiry_ms > sample->now_ms) {
        sample->sum_ms += item->expiry_ms - sample->now_ms;
        sample->count++;
    }
}

uint64_t wdb_db_average_ttl(const struct wdb_db *db, uint32_t database)
{
    if (wdb_db_expires(db, database) == 0) {
        return 0;
    }
    struct wdb_txn txn;
    wdb_txn_init(&txn, (struct wdb_db *)db);
    txn.database = database;
    struct ttl_sample sample = {.now_ms = wdb_log_time_ms(db->log)};
    uint64_t depends = 0, cursor = 0;
    int slot = wdb_epoch_enter(wdb_log_epoch(db->log));
    struct wdb_keydir *keydir = keydir_of(&txn, &depends);
    for (int i = 0; keydir != NULL && i < 10000 && sample.count < TTL_SAMPLES;
         i++) {
        cursor = step(&txn, keydir, cursor, sample_ttl, &sample, &depends);
        if (cursor == 0) {
            break;
        }
    }
    wdb_epoch_exit(wdb_log_epoch(db->log), slot);
    wdb_txn_release(&txn);
    return sample.count == 0 ? 0 : sample.sum_ms / sample.count;
}
