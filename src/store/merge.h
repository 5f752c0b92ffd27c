#ifndef WDB_STORE_MERGE_H
#define WDB_STORE_MERGE_H

#include "store/store.h"

WDB_MUST_CHECK int wdb_merge_new(struct wdb_store *store);
void wdb_merge_free(struct wdb_store *store);
void wdb_merge_stats(struct wdb_store *store, struct wdb_store_stats *out);

#endif
