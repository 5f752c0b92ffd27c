/*
 * background.h - the thread that does what nobody waits for: the graveyard,
 * missing hints, merges.
 */
#ifndef WDB_STORE_BACKGROUND_H
#define WDB_STORE_BACKGROUND_H

#include "store/store.h"

struct wdb_background;

/* Make it; the thread runs if options.log.background_thread. ENOMEM. */
WDB_MUST_CHECK int wdb_background_start(struct wdb_store *store);
/* Stop and free; a running merge is given up. */
void wdb_background_stop(struct wdb_store *store);

#endif
