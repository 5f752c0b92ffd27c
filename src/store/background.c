/* background.c - */
#include "store/background.h"
#include "store/store_internal.h"
int wdb_background_start(struct wdb_store *store)
{
    (void)store;
    return 0;
}
void wdb_background_stop(struct wdb_store *store)
{
    (void)store;
}
void wdb_store_wake(struct wdb_store *store)
{
    (void)store;
}
bool wdb_store_step(struct wdb_store *store)
{
    return wdb_databases_bury(store) || wdb_objects_bury(store);
}
