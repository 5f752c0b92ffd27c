/*
 * watch.c - WATCH: who wants to know that a key was touched.
 *
 * Each stripe has a list of watches, under the stripe's lock; a write walks the
 * list of its stripe, which is nearly always empty. A watch remembers the
 * database id behind its logical database, so that a flush or a swap, which
 * only changes the mapping, can be judged: it touches a watched key if the key
 * was there before or is there afterwards. A key past its time is as good as
 * not there, and its deletion no change, but one that expires while it is
 * watched is touched by that.
 */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/list.h"
#include "db/db_internal.h"
#include "walkerdb.h"

#define WATCH_COUNT_MAX 1000000

struct watch {
    struct wdb_list stripe_node;  /* under the stripe's lock */
    struct wdb_list watcher_node; /* the watcher's own thread */
    struct wdb_watcher *watcher;
    uint64_t hash;
    uint32_t database;    /* logical number */
    uint32_t database_id; /* behind it now */
    uint32_t stripe;
    bool stale; /* past its time already when it was watched */
    size_t key_size;
    uint8_t key[];
};

struct wdb_watcher {
    struct wdb_db *db;
    struct wdb_list watches;
    size_t count;
    _Atomic bool touched;
};

struct wdb_watch_table {
    uint32_t stripe_count;
    bool mapping_judged; /* all stripes held: see wdb_watch_judge */
    struct wdb_list stripes[];
};

int wdb_watch_table_new(uint32_t stripe_count, struct wdb_watch_table **out)
{
    struct wdb_watch_table *table =
        calloc(1, sizeof(*table) + stripe_count * sizeof(table->stripes[0]));
    if (table == NULL) {
        return WALKERDB_ENOMEM;
    }
    table->stripe_count = stripe_count;
    for (uint32_t i = 0; i < stripe_count; i++) {
        wdb_list_init(&table->stripes[i]);
    }
    *out = table;
    return 0;
}

void wdb_watch_table_free(struct wdb_watch_table *table)
{
    free(table);
}

static void flag(struct watch *watch)
{
    atomic_store_explicit(&watch->watcher->touched, true, memory_order_release);
}

static bool watches_key(const struct watch *watch, uint32_t database_id,
                        uint64_t hash, struct wdb_slice key)
{
    return watch->hash == hash && watch->database_id == database_id &&
           watch->key_size == key.size &&
           (key.size == 0 || memcmp(watch->key, key.data, key.size) == 0);
}

/* The mapping has changed, or everything has (all stripes held). */
static void touch_mapping(struct wdb_db *db, bool all)
{
    struct wdb_watch_table *table = db->watches;
    for (uint32_t s = 0; s < table->stripe_count; s++) {
        WDB_LIST_FOREACH(node, &table->stripes[s])
        {
            struct watch *watch =
                WDB_LIST_ENTRY(node, struct watch, stripe_node);
            uint32_t id = wdb_store_database(db->store, watch->database);
            if (all || (id != watch->database_id && !table->mapping_judged)) {
                flag(watch);
            }
            watch->database_id = id;
        }
    }
    table->mapping_judged = false;
}

enum state {
    ABSENT,
    STALE, /* past its time, but not deleted yet */
    LIVE,
};

static enum state state_of(const struct wdb_db *db, uint32_t id,
                           const struct watch *watch, uint64_t now_ms)
{
    struct wdb_item item;
    if (!wdb_store_find(db->store, id, watch->hash,
                        wdb_slice(watch->key, watch->key_size), &item)) {
        return ABSENT;
    }
    return item.expiry_ms != 0 && item.expiry_ms <= now_ms ? STALE : LIVE;
}

/* The key was stale, or not there, and is now like this. */
static void follow(struct watch *watch, enum state after)
{
    if (after == LIVE) {
        flag(watch);
    } else {
        watch->stale = after == STALE;
    }
}

void wdb_watch_touch(void *context, enum wdb_touch_kind kind, uint32_t database,
                     uint64_t hash, struct wdb_slice key)
{
    struct wdb_db *db = context;
    if (WDB_UNLIKELY(kind != WDB_TOUCH_KEY)) {
        touch_mapping(db, kind == WDB_TOUCH_ALL);
        return;
    }
    struct wdb_list *list =
        &db->watches->stripes[wdb_stripe_of(hash, db->watches->stripe_count)];
    if (WDB_LIKELY(wdb_list_empty(list))) {
        return;
    }
    WDB_LIST_FOREACH(node, list)
    {
        struct watch *watch = WDB_LIST_ENTRY(node, struct watch, stripe_node);
        if (!watches_key(watch, database, hash, key)) {
            continue;
        }
        if (watch->stale) {
            follow(watch,
                   state_of(db, database, watch, wdb_log_time_ms(db->log)));
        } else {
            flag(watch);
        }
    }
}

void wdb_watch_judge(struct wdb_db *db, uint32_t bits, uint32_t a, uint32_t b)
{
    struct wdb_watch_table *table = db->watches;
    const uint64_t now_ms = wdb_log_time_ms(db->log);
    for (uint32_t s = 0; s < table->stripe_count; s++) {
        WDB_LIST_FOREACH(node, &table->stripes[s])
        {
            struct watch *watch =
                WDB_LIST_ENTRY(node, struct watch, stripe_node);
            if ((bits & (UINT32_C(1) << watch->database)) == 0) {
                continue;
            }
            const uint32_t other = watch->database == a ? b : a;
            const enum state after =
                a == b ? ABSENT
                       : state_of(db, wdb_store_database(db->store, other),
                                  watch, now_ms);
            if (watch->stale ||
                state_of(db, watch->database_id, watch, now_ms) == ABSENT) {
                follow(watch, after);
            } else {
                flag(watch);
            }
        }
    }
    table->mapping_judged = true;
}

void wdb_watch_judged_end(struct wdb_db *db)
{
    db->watches->mapping_judged = false;
}

int wdb_watcher_new(struct wdb_db *db, struct wdb_watcher **out)
{
    struct wdb_watcher *watcher = calloc(1, sizeof(*watcher));
    if (watcher == NULL) {
        return WALKERDB_ENOMEM;
    }
    watcher->db = db;
    wdb_list_init(&watcher->watches);
    *out = watcher;
    return 0;
}

void wdb_watcher_free(struct wdb_watcher *watcher)
{
    if (watcher != NULL) {
        wdb_watcher_clear(watcher);
        free(watcher);
    }
}

static bool is_watched(const struct wdb_watcher *watcher, uint32_t database,
                       uint32_t id, const struct wdb_key *key)
{
    WDB_LIST_FOREACH(node, &watcher->watches)
    {
        const struct watch *watch =
            WDB_LIST_ENTRY(node, struct watch, watcher_node);
        if (watch->database == database &&
            watches_key(watch, id, key->hash, key->name)) {
            return true;
        }
    }
    return false;
}

int wdb_watcher_add(struct wdb_watcher *watcher, struct wdb_txn *txn,
                    const struct wdb_key *key)
{
    struct wdb_db *db = watcher->db;
    uint32_t id = wdb_store_database(db->store, txn->database);
    if (is_watched(watcher, txn->database, id, key)) {
        return 0;
    }
    if (watcher->count >= WATCH_COUNT_MAX) {
        return WALKERDB_ETOOBIG;
    }
    struct watch *watch = malloc(sizeof(*watch) + key->name.size);
    if (watch == NULL) {
        return WALKERDB_ENOMEM;
    }
    *watch = (struct watch){
        .watcher = watcher,
        .hash = key->hash,
        .database = txn->database,
        .database_id = id,
        .stripe = wdb_stripe_of(key->hash, db->watches->stripe_count),
        .key_size = key->name.size,
    };
    if (key->name.size > 0) {
        memcpy(watch->key, key->name.data, key->name.size);
    }
    watch->stale = state_of(db, id, watch, txn->now_ms) == STALE;
    wdb_list_append(&db->watches->stripes[watch->stripe], &watch->stripe_node);
    wdb_list_append(&watcher->watches, &watch->watcher_node);
    watcher->count++;
    return 0;
}

void wdb_watcher_clear(struct wdb_watcher *watcher)
{
    struct wdb_store *store = watcher->db->store;
    while (!wdb_list_empty(&watcher->watches)) {
        struct watch *watch =
            WDB_LIST_ENTRY(watcher->watches.next, struct watch, watcher_node);
        wdb_list_remove(&watch->watcher_node);
        wdb_store_lock_one(store, watch->stripe);
        wdb_list_remove(&watch->stripe_node);
        wdb_store_unlock_one(store, watch->stripe);
        free(watch);
    }
    watcher->count = 0;
    atomic_store_explicit(&watcher->touched, false, memory_order_relaxed);
}

bool wdb_watcher_touched(const struct wdb_watcher *watcher)
{
    return atomic_load_explicit(&watcher->touched, memory_order_acquire);
}

bool wdb_watcher_expired(const struct wdb_watcher *watcher,
                         const struct wdb_txn *txn)
{
    WDB_LIST_FOREACH(node, &watcher->watches)
    {
        const struct watch *watch =
            WDB_LIST_ENTRY(node, struct watch, watcher_node);
        if (!watch->stale && state_of(watcher->db, watch->database_id, watch,
                                      txn->now_ms) == STALE) {
            return true;
        }
    }
    return false;
}

size_t wdb_watcher_count(const struct wdb_watcher *watcher)
{
    return watcher->count;
}

void wdb_watcher_stripes(const struct wdb_watcher *watcher,
                         struct wdb_stripe_set *set)
{
    WDB_LIST_FOREACH(node, &watcher->watches)
    {
        const struct watch *watch =
            WDB_LIST_ENTRY(node, struct watch, watcher_node);
        set->bits[watch->stripe / 64] |= UINT64_C(1) << (watch->stripe % 64);
    }
}
