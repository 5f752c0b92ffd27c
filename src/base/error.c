/* error.c - the names and texts of the error codes, and the version. */
#include "walkerdb.h"

const char *walkerdb_strerror(int code)
{
    switch (code) {
    case WALKERDB_OK:
        return "success";
#define TEXT_OF(value, name, text)                                             \
    case value:                                                                \
        return text;
        WALKERDB_ERRORS(TEXT_OF)
#undef TEXT_OF
    default:
        return "unknown error";
    }
}

const char *walkerdb_error_name(int code)
{
    switch (code) {
    case WALKERDB_OK:
        return "OK";
#define NAME_OF(value, name, text)                                             \
    case value:                                                                \
        return "E" #name;
        WALKERDB_ERRORS(NAME_OF)
#undef NAME_OF
    default:
        return "EUNKNOWN";
    }
}

const char *walkerdb_version(void)
{
    return WALKERDB_VERSION;
}
