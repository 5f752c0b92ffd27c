/* split.h - a line into arguments, with quotes, as redis-cli and redis.conf
 * know it (the rules of Redis's sdssplitargs). */
#ifndef WDB_BASE_SPLIT_H
#define WDB_BASE_SPLIT_H

#include "base/attributes.h"
#include "base/slice.h"

enum wdb_split_result {
    WDB_SPLIT_ARGUMENT,
    WDB_SPLIT_END,
    WDB_SPLIT_UNBALANCED, /* a quote is not closed, or text follows it */
};

/*
 * The next argument of `line` from *position on: its bytes, with quotes and
 * escapes resolved, to out, which has room for what is left of the line;
 * *position moves behind it. A zero byte ends the line. Blanks separate;
 * "..." knows \n \r \t \b \a \xHH and \ before any other byte; '...' knows \'.
 */
enum wdb_split_result wdb_split_next(struct wdb_slice line, size_t *position,
                                     uint8_t *out, size_t *size_out);

#endif
