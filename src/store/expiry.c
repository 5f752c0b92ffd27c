/* expiry.c - */
#include "store/expiry.h"
#include "store/store_internal.h"
int wdb_expiry_add(struct wdb_store *store, uint64_t hash, uint32_t database,
                   uint64_t expiry_ms)
{
    (void)store;
    (void)hash;
    (void)database;
    (void)expiry_ms;
    return 0;
}
void wdb_expiry_release(struct wdb_stripe *stripe)
{
    (void)stripe;
}
uint64_t wdb_expiry_memory(const struct wdb_stripe *stripe)
{
    (void)stripe;
    return 0;
}
