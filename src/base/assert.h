/*
 * assert.h - a broken invariant stops the process, in release builds too.
 *
 * wdb_assert is for what is cheap, wdb_debug_assert for what is not (it is
 * compiled out unless WDB_DEBUG is defined).
 */
#ifndef WDB_BASE_ASSERT_H
#define WDB_BASE_ASSERT_H

#include "base/attributes.h"

/* Print the condition and its place to standard error, then abort(). */
WDB_NORETURN void wdb_assert_fail(const char *condition, const char *file,
                                  int line, const char *function);

#define wdb_assert(condition)                                                  \
    (WDB_LIKELY(condition)                                                     \
         ? (void)0                                                             \
         : wdb_assert_fail(#condition, __FILE__, __LINE__, __func__))

#ifdef WDB_DEBUG
#define wdb_debug_assert(condition) wdb_assert(condition)
#else
#define wdb_debug_assert(condition) ((void)sizeof((condition) ? 1 : 0))
#endif

#endif
