/* glob.h - Redis's glob patterns, matched without recursion. */
#ifndef WDB_BASE_GLOB_H
#define WDB_BASE_GLOB_H

#include "base/slice.h"

/* True iff text matches pattern: ? * [a-z] [^x] and \ escapes, as in Redis.
 * Backtracks only to the last star, so cost is at most pattern x text. */
bool wdb_glob_match(struct wdb_slice pattern, struct wdb_slice text,
                    bool ignore_case);

#endif
