/* type.c - names of the types. */
#include "type/type.h"

const char *wdb_type_name(enum wdb_type type)
{
    switch (type) {
    case WDB_TYPE_STRING:
    case WDB_TYPE_STRING_RAW:
    case WDB_TYPE_STRING_TEXT:
    case WDB_TYPE_STRING_CHUNKS:
        return "string";
    }
    return "unknown";
}
