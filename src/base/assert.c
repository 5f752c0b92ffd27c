/* assert.c - the end of a process whose invariants no longer hold. */
#include "base/assert.h"

#include <stdio.h>
#include <stdlib.h>

WDB_NORETURN void wdb_assert_fail(const char *condition, const char *file,
                                  int line, const char *function)
{
    /* One call, so that lines of several threads do not mix. */
    fprintf(stderr, "walkerDb: assertion failed: %s (%s:%d, %s)\n", condition,
            file, line, function);
    fflush(stderr);
    abort();
}
