/* merge.c - */
#include "store/merge.h"
#include "store/store_internal.h"
int wdb_merge_new(struct wdb_store *store)
{
    (void)store;
    return 0;
}
void wdb_merge_free(struct wdb_store *store)
{
    (void)store;
}
void wdb_merge_stats(struct wdb_store *store, struct wdb_store_stats *out)
{
    (void)store;
    (void)out;
}
