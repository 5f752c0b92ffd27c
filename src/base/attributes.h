/* attributes.h - short names for the compiler attributes that we use. */
#ifndef WDB_BASE_ATTRIBUTES_H
#define WDB_BASE_ATTRIBUTES_H

#define WDB_MUST_CHECK __attribute__((warn_unused_result))
#define WDB_PRINTF(format_arg, first_arg)                                      \
    __attribute__((format(printf, format_arg, first_arg)))
#define WDB_LIKELY(x)         __builtin_expect(!!(x), 1)
#define WDB_UNLIKELY(x)       __builtin_expect(!!(x), 0)
#define WDB_NORETURN          __attribute__((noreturn))
#define WDB_CACHE_LINE        64
#define WDB_ALIGN_CACHE       __attribute__((aligned(WDB_CACHE_LINE)))
#define WDB_PREFETCH(address) __builtin_prefetch((address), 0, 3)
#define WDB_COUNT(array)      (sizeof(array) / sizeof((array)[0]))
#define WDB_CONTAINER_OF(pointer, type, member)                                \
    ((type *)((char *)(pointer)-offsetof(type, member)))

#endif
