/* api.h - the handle behind walkerdb.h, for the files that implement it. */
#ifndef WDB_DB_API_H
#define WDB_DB_API_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/logger.h"
#include "db/db.h"
#include "walkerdb.h"

/* Staging buffers that calls borrow, so that a put allocates nothing. */
#define WDB_API_BATCH_CACHE 64

struct walkerdb {
    struct wdb_db *db;
    struct wdb_store *store;
    struct wdb_log *log;
    struct wdb_env *env;
    walkerdb_options options;
    struct wdb_logger logger;
    _Atomic(struct wdb_batch *) batches[WDB_API_BATCH_CACHE];
    pthread_t housekeeper; /* writes what is gathered, expires */
    bool housekeeper_runs;
    pthread_mutex_t stop_lock;
    pthread_cond_t stop_changed;
    bool stopping;
};

/* Borrow an empty batch; give it back. ENOMEM. */
WDB_MUST_CHECK int wdb_api_batch_borrow(struct walkerdb *db,
                                        struct wdb_batch **out);
void wdb_api_batch_return(struct walkerdb *db, struct wdb_batch *batch);
/* Sizes of a key (and value) within the limits? 0, ETOOBIG, EINVALID. */
WDB_MUST_CHECK int wdb_api_check_key(const void *key, size_t key_size);
/* The key's item, if it is there and not expired; its stripe is held. */
bool wdb_api_find(struct walkerdb *db, const struct wdb_key *key,
                  struct wdb_item *out);
/*
 * Reading a value: begin, wdb_api_read_value with the stripe held and inside the
 * epoch, end when the value is not needed any more, which frees what it was put
 * together in. On EAGAIN fetch without the stripe, then begin again; `wait`
 * reads everything at once.
 */
struct wdb_api_read {
    struct wdb_store *store;
    bool wait;
    struct wdb_fetch *fetches;
    uint32_t fetch_count, fetch_capacity;
    uint8_t *memory; /* of a value that was in chunks */
};
void wdb_api_read_begin(struct wdb_api_read *read, struct walkerdb *db,
                        bool wait);
void wdb_api_read_end(struct wdb_api_read *read);
/* EAGAIN, ECORRUPT, EIO, ENOMEM; EUNSUPPORTED: the value is no string. */
WDB_MUST_CHECK int wdb_api_read_value(struct wdb_api_read *read,
                                      const struct wdb_item *item,
                                      struct wdb_value *out);
/* Fetch what an EAGAIN asks for. EIO. */
WDB_MUST_CHECK int wdb_api_read_fetch(struct wdb_api_read *read);
/* Commit, let go of the stripes, sync if the policy or `sync` says so. */
WDB_MUST_CHECK int wdb_api_sync_if(struct walkerdb *db, bool sync);

#endif
