/*
 * background.h - the thread that does what nobody waits for: the graveyard,
 * object ids in stock, missing hints, merges.
 */
#ifndef WDB_STORE_BACKGROUND_H
#define WDB_STORE_BACKGROUND_H

#include <pthread.h>

#include "store/store.h"

struct wdb_background {
    pthread_mutex_t mutex;
    pthread_cond_t wake;
    bool woken, stopping, running;
    pthread_t thread;
    uint64_t hint_retry_ns; /* after a hint could not be written: not before */
};

/* Make it; the thread runs if options.log.background_thread. ENOMEM. */
WDB_MUST_CHECK int wdb_background_start(struct wdb_store *store);
/* Stop and free. */
void wdb_background_stop(struct wdb_store *store);
/* Wait until woken, at most that long. */
void wdb_background_wait(struct wdb_store *store, uint64_t wait_ns);

#endif
