/*
 * type.h - what kinds of values there are: the type byte of a key's record.
 *
 * The numbers are on disk, and a keydir entry has four bits for them. Strings
 * have several: what they tell apart matters only to OBJECT ENCODING, which
 * answers as Redis would.
 */
#ifndef WDB_TYPE_TYPE_H
#define WDB_TYPE_TYPE_H

#include "store/keydir.h"

enum wdb_type {
    WDB_TYPE_STRING = 0,        /* as it was given: int, embstr or raw */
    WDB_TYPE_STRING_RAW = 1,    /* was changed in place: raw, even if short */
    WDB_TYPE_STRING_TEXT = 2,   /* looks like an integer, but is embstr */
    WDB_TYPE_STRING_CHUNKS = 3, /* the record is the header of chunks */
};

static inline enum wdb_type wdb_item_type(const struct wdb_item *item)
{
    return (enum wdb_type)(item->flags >> WDB_ITEM_TYPE_SHIFT);
}
static inline bool wdb_item_is_string(const struct wdb_item *item)
{
    return wdb_item_type(item) <= WDB_TYPE_STRING_CHUNKS;
}
/* As the TYPE command says it: "string". */
const char *wdb_type_name(enum wdb_type type);

#endif
