/*
 * api_fold.c - walkerdb.h: visit every key once, in no order.
 *
 * The walk follows the line of bit-reversed hashes (keydir.h). Each key has one
 * place on it, for ever; the cursor only moves on, so a key that is there from
 * start to end is met exactly once, if those behind the cursor are left out: a
 * bucket that shrinks meanwhile may show them again.
 *
 * The keys of a bucket are copied under its stripe; values are read, and the
 * callback runs, without any lock.
 */
#include <stdlib.h>

#include "base/buffer.h"
#include "db/api.h"

#define CURSOR_SHIFT 16 /* a cursor is 48 bits of the reversed hash */

struct bucket_copy {
    struct wdb_buffer keys;  /* size (8 bytes), then bytes, for each */
    uint64_t position_first; /* places before it were visited */
    uint64_t now_ms;
    bool failed;
};

static uint64_t reversed(uint64_t hash)
{
    uint64_t r = __builtin_bswap64(hash);
    r = ((r >> 4) & UINT64_C(0x0f0f0f0f0f0f0f0f)) |
        ((r & UINT64_C(0x0f0f0f0f0f0f0f0f)) << 4);
    r = ((r >> 2) & UINT64_C(0x3333333333333333)) |
        ((r & UINT64_C(0x3333333333333333)) << 2);
    return ((r >> 1) & UINT64_C(0x5555555555555555)) |
           ((r & UINT64_C(0x5555555555555555)) << 1);
}

static void copy_key(void *context, struct wdb_slice key, uint64_t hash,
                     const struct wdb_item *item)
{
    struct bucket_copy *copy = context;
    if (reversed(hash) >> CURSOR_SHIFT < copy->position_first ||
        (item->expiry_ms != 0 && item->expiry_ms <= copy->now_ms)) {
        return;
    }
    uint64_t size = key.size;
    copy->failed |= wdb_buffer_append(&copy->keys, &size, sizeof(size)) != 0 ||
                    wdb_buffer_append(&copy->keys, key.data, key.size) != 0;
}

/* Run the callback over the copied keys. */
static int visit_keys(struct walkerdb *db, const struct bucket_copy *copy,
                      bool with_values, walkerdb_fold_cb callback,
                      void *context)
{
    const uint8_t *at = copy->keys.data;
    const uint8_t *end = at + copy->keys.size;
    while (at < end) {
        uint64_t key_size = wdb_load64(at);
        const uint8_t *key = at + sizeof(key_size);
        at = key + key_size;
        const void *data = NULL;
        size_t size = 0;
        walkerdb_value *value = NULL;
        int code = with_values ? walkerdb_value_acquire(db, key, key_size,
                                                        &value, &data, &size)
                               : 0;
        if (code == WALKERDB_ENOTFOUND) {
            continue; /* deleted meanwhile */
        }
        if (code == 0) {
            code = callback(context, key, key_size, data, size);
        }
        walkerdb_value_release(value);
        if (code != 0) {
            return code;
        }
    }
    return 0;
}

int walkerdb_fold(walkerdb *db, bool with_values, walkerdb_fold_cb callback,
                  void *context)
{
    struct wdb_epoch *epoch = wdb_log_epoch(db->log);
    struct bucket_copy copy = {.keys = WDB_BUFFER_INIT};
    uint64_t cursor = 0;
    int code = 0;
    do {
        wdb_buffer_clear(&copy.keys);
        copy.position_first = cursor;
        copy.now_ms = wdb_log_time_ms(db->log);
        int slot = wdb_epoch_enter(epoch);
        struct wdb_keydir *keydir =
            wdb_store_keydir(db->store, wdb_store_database(db->store, 0));
        if (keydir == NULL) {
            cursor = 0;
        } else {
            uint32_t stripe = wdb_keydir_scan_stripe(keydir, cursor);
            wdb_store_lock_one(db->store, stripe);
            cursor = wdb_keydir_scan(keydir, cursor, copy_key, &copy);
            wdb_store_unlock_one(db->store, stripe);
        }
        wdb_epoch_exit(epoch, slot);
        code = copy.failed
                   ? WALKERDB_ENOMEM
                   : visit_keys(db, &copy, with_values, callback, context);
    } while (code == 0 && cursor != 0);
    wdb_buffer_release(&copy.keys);
    return code;
}
