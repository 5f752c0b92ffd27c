/*
 * value_io.h - how the types read and write records: db/ supplies it, bound to
 * one key of one transaction.
 */
#ifndef WDB_TYPE_VALUE_IO_H
#define WDB_TYPE_VALUE_IO_H

#include "store/store.h"

struct wdb_value_io {
    struct wdb_store *store;
    /* The record behind an item: EAGAIN if it is not in memory (then it was
     * noted, the command ends and is called again), EIO, ECORRUPT. The slices
     * are valid until something is emitted. */
    int (*read)(void *context, const struct wdb_item *item,
                struct wdb_value *out);
    /* If it is not in memory, have it fetched together with what read found
     * missing. */
    void (*want)(void *context, const struct wdb_item *item);
    /* Stage a record; database and, for a PUT, the key are filled in. ENOMEM,
     * ETOOBIG. */
    int (*emit)(void *context, const struct wdb_record *record);
    void *context;
};

#endif
