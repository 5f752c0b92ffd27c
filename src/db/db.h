/*
 * db.h - the keyspace: logical databases, expiry, watches, on top of store/.
 *
 * A transaction (wdb_txn) is what one command, or one EXEC, works in: it has
 * the stripes of its keys locked, a frozen time, a batch of what it wrote, and
 * the log index that its reply depends on. Handlers are plain sequential code
 * over it. One thread at a time a transaction.
 */
#ifndef WDB_DB_DB_H
#define WDB_DB_DB_H

#include "store/store.h"
#include "type/value_io.h"

struct wdb_db;
struct wdb_watcher;

struct wdb_db_options {
    struct wdb_store_options store;
    /* Called with the key's stripe held, when a command's effect on a key is
     * staged or an expiry deletes it: for keyspace notifications. May be NULL
     */
    void (*on_expired)(void *context, uint32_t database_number,
                       struct wdb_slice key);
    void *context;
};
WDB_MUST_CHECK int wdb_db_open(const struct wdb_db_options *options,
                               struct wdb_db **out, char **message_out);
void wdb_db_close(struct wdb_db *db);
struct wdb_store *wdb_db_store(struct wdb_db *db);
struct wdb_log *wdb_db_log(struct wdb_db *db);

/* --- transactions -------------------------------------------------------------- */

struct wdb_txn {
    struct wdb_db *db;
    struct wdb_store *store;
    struct wdb_batch batch;
    uint64_t now_ms;   /* leader time, frozen */
    uint64_t turn_ms;  /* if not 0: leader time of the turn, taken instead of
                         asking the clock */
    uint64_t depends;  /* highest index that a reply depends on */
    uint32_t database; /* logical number of the selected database */
    bool staged;       /* inside EXEC: earlier commands are staged */
    bool wait;         /* reads may wait for the disk (retry, library) */
    bool active;
    bool all;      /* every stripe is held */
    bool no_touch; /* CLIENT NO-TOUCH: reads are no use of a key */
    bool cold;     /* a read found its value cold: undo, fetch, retry */
    struct wdb_fetch *fetches; /* what to fetch; malloc'ed */
    uint32_t fetch_count, fetch_capacity;
    uint64_t hits, misses, expired; /* of this transaction */
    uint64_t dirty;     /* changes, as Redis counts rdb_changes_since... */
    int epoch_slot;     /* -1 if the caller is in the epoch itself */
    int32_t stripe_one; /* the only stripe, or -1 */
    struct wdb_stripe_set stripes;
};

void wdb_txn_init(struct wdb_txn *txn, struct wdb_db *db);
void wdb_txn_release(struct wdb_txn *txn);
/* Lock and freeze the time. begin_one: a single key; begin: a set; begin_all:
 * every stripe. Then `depends` is the last write of what was locked. */
void wdb_txn_begin_one(struct wdb_txn *txn, uint64_t hash);
void wdb_txn_begin(struct wdb_txn *txn, const struct wdb_stripe_set *set);
void wdb_txn_begin_all(struct wdb_txn *txn);
/* Commit what was written (nothing: free of charge) and unlock. On an error
 * nothing of it happened, and it is unlocked, too. Errors as
 * wdb_store_commit. */
WDB_MUST_CHECK int wdb_txn_commit(struct wdb_txn *txn);
/* Undo everything and unlock. */
void wdb_txn_abort(struct wdb_txn *txn);
/* EXEC: make what the last command wrote visible to the next one. */
WDB_MUST_CHECK int wdb_txn_stage(struct wdb_txn *txn);
struct wdb_key;
/* If this key's value is not in memory, add it to what wdb_txn_fetch reads (the
 * key's stripe is held). For the other keys of a command that found one cold;
 * the one that was found is there already. Bounded by
 * WDB_FETCH_COUNT_MAX; more are left for the next time. */
#define WDB_FETCH_COUNT_MAX 65536
void wdb_txn_want(struct wdb_txn *txn, const struct wdb_key *key);
/* Take what is to be fetched out of an aborted transaction: a malloc'ed array,
 * whose references wdb_store_fetch drops. txn->cold is false afterwards. */
void wdb_txn_take_fetches(struct wdb_txn *txn, struct wdb_fetch **out,
                          uint32_t *count_out);
/* After an abort with txn->cold: read what it asks for; may wait. */
WDB_MUST_CHECK int wdb_txn_fetch(struct wdb_txn *txn);

/* --- keys: all need the key's stripe in the transaction --------------------- */

struct wdb_key { /* a key and its hash */
    struct wdb_slice name;
    uint64_t hash;
};
static inline struct wdb_key wdb_key(const struct wdb_store *store,
                                     struct wdb_slice name)
{
    return (struct wdb_key){.name = name, .hash = wdb_store_hash(store, name)};
}

/* What a look at a key leaves behind. */
enum wdb_find_mode {
    WDB_FIND_READ,  /* counts as hit or miss, and as use of the key */
    WDB_FIND_PEEK,  /* nothing */
    WDB_FIND_COUNT, /* hit or miss: TTL, TYPE, EXISTS */
    WDB_FIND_WRITE, /* use: commands that write */
};
/* True if there and not past its time. An expired key is deleted on the way
 * (staged, `depends` follows), unless expiry is held. */
bool wdb_db_find(struct wdb_txn *txn, const struct wdb_key *key,
                 enum wdb_find_mode mode, struct wdb_item *out);
/* The record of an item that was found (or of an element of its object), as
 * wdb_db_get gives it. Its slices are valid until something is staged. */
WDB_MUST_CHECK int wdb_db_read(struct wdb_txn *txn, const struct wdb_item *item,
                               struct wdb_value *value_out);
/* How the types read and write under a key: io is filled in, and like `access`
 * valid as long as txn and key are. */
struct wdb_db_access {
    struct wdb_txn *txn;
    const struct wdb_key *key;
};
void wdb_db_value_io(struct wdb_db_access *access, struct wdb_value_io *io_out);
/*
 * Seconds since the key was used. An estimate from below: keys share counters,
 * so a busy server answers small numbers; after a restart all keys were used at
 * the start.
 */
uint64_t wdb_db_idle_s(const struct wdb_txn *txn, const struct wdb_key *key);
/* find (READ) + the record. ENOTFOUND; EAGAIN (txn->cold is set: the dispatcher aborts
 * the transaction, fetches and calls the handler again); EIO, ECORRUPT. */
WDB_MUST_CHECK int wdb_db_get(struct wdb_txn *txn, const struct wdb_key *key,
                              struct wdb_item *item_out,
                              struct wdb_value *value_out);
/* Write the whole value; expiry_ms 0 = none. EIO etc. come with commit; ENOMEM,
 * ETOOBIG here. type: of type/ (0 = plain string). */
WDB_MUST_CHECK int wdb_db_put(struct wdb_txn *txn, const struct wdb_key *key,
                              struct wdb_slice value, uint64_t expiry_ms);
/* The general form: record's kind, type, object, flags as given; key's database
 * and hash are filled in. */
WDB_MUST_CHECK int wdb_db_put_record(struct wdb_txn *txn,
                                     const struct wdb_key *key,
                                     const struct wdb_record *record);
/* Stage a tombstone; the caller knows that the key is there. */
WDB_MUST_CHECK int wdb_db_delete(struct wdb_txn *txn,
                                 const struct wdb_key *key);
/* Stage a new expiry (0: persist) for a key that is there. */
WDB_MUST_CHECK int wdb_db_expire(struct wdb_txn *txn, const struct wdb_key *key,
                                 uint64_t expiry_ms);
/* Empty logical databases (bit mask); needs begin_all. */
WDB_MUST_CHECK int wdb_db_flush(struct wdb_txn *txn, uint32_t bits);
WDB_MUST_CHECK int wdb_db_swap(struct wdb_txn *txn, uint32_t a, uint32_t b);

/* Keys in a logical database (expired ones not yet deleted count, as in
 * Redis), and those with an expiry. No lock. */
uint64_t wdb_db_size(const struct wdb_db *db, uint32_t database);
uint64_t wdb_db_expires(const struct wdb_db *db, uint32_t database);
/* Average TTL in ms of keys with expiry, sampled as Redis does; 0 if none. */
uint64_t wdb_db_average_ttl(const struct wdb_db *db, uint32_t database);

/* --- scan ------------------------------------------------------------------------ */
/* Called per key, stripe held; slices are valid during the call only. */
typedef void (*wdb_db_scan_cb)(void *context, struct wdb_slice key,
                               const struct wdb_item *item);
/* Visit at least `count` keys from the cursor on (locking one stripe at a
 * time itself; must not be called with stripes held unless txn->all); returns
 * the next cursor, 0 at the end. Expired keys are left out. *depends_out: the
 * index that the reply depends on. Keydir steps are bounded by 10 x count. */
uint64_t wdb_db_scan(struct wdb_txn *txn, uint64_t cursor, uint64_t count,
                     wdb_db_scan_cb callback, void *context,
                     uint64_t *depends_out);
/* A random live key copied to *out (release it); false if the database is
 * empty. Locks by itself like scan. */
struct wdb_buffer;
bool wdb_db_random(struct wdb_txn *txn, uint64_t random,
                   struct wdb_buffer *out);

/* --- watch ------------------------------------------------------------------------
 */
/* A session's set of watched keys; a write to any of them (or a flush, swap,
 * expiry, undo) sets its flag. */
WDB_MUST_CHECK int wdb_watcher_new(struct wdb_db *db, struct wdb_watcher **out);
void wdb_watcher_free(struct wdb_watcher *watcher); /* unwatches all */
/* Watch key of the transaction's database (its stripe is held). ENOMEM,
 * ETOOBIG (WDB_WATCH_COUNT_MAX). */
WDB_MUST_CHECK int wdb_watcher_add(struct wdb_watcher *watcher,
                                   struct wdb_txn *txn,
                                   const struct wdb_key *key);
void wdb_watcher_clear(struct wdb_watcher *watcher); /* takes locks itself */
bool wdb_watcher_touched(const struct wdb_watcher *watcher);
/* A watched key is past its time by now and was not when it was watched (all
 * their stripes held): to EXEC that counts as touched. */
bool wdb_watcher_expired(const struct wdb_watcher *watcher,
                         const struct wdb_txn *txn);
size_t wdb_watcher_count(const struct wdb_watcher *watcher);
/* Stripes of the watched keys, to be locked by EXEC. */
void wdb_watcher_stripes(const struct wdb_watcher *watcher,
                         struct wdb_stripe_set *set);

/* --- active expiry ------------------------------------------------------------------
 */
/* Delete keys whose time has come, a few stripes at a time, within about
 * budget_us; returns how many. For the owner's timer. */
uint64_t wdb_db_expire_step(struct wdb_db *db, uint64_t budget_us);
/* Until then nothing expires: keys that are past their time are hidden, but
 * stay (CLIENT PAUSE: no writes). 0: go on. Any thread. */
void wdb_db_expire_hold(struct wdb_db *db, uint64_t until_ms);
/* The same until it is said otherwise: a node that does not lead. Any thread. */
void wdb_db_expire_stop(struct wdb_db *db, bool stopped);
/* DEBUG SET-ACTIVE-EXPIRE. */
void wdb_db_expire_enable(struct wdb_db *db, bool enabled);
/* Keys that expired, lazily or actively, since the start. */
uint64_t wdb_db_expired_count(const struct wdb_db *db);

#endif
