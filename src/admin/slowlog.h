/*
 * slowlog.h - the last commands that took long: a bounded list, newest first.
 *
 * Whoever executed a slow command adds it; a mutex guards the list. Arguments
 * are copied and cut as in Redis: at most 32 of them, of 128 bytes each.
 */
#ifndef WDB_ADMIN_SLOWLOG_H
#define WDB_ADMIN_SLOWLOG_H

#include "base/attributes.h"
#include "base/slice.h"

#define WDB_SLOWLOG_ARGUMENTS_MAX     32
#define WDB_SLOWLOG_ARGUMENT_SIZE_MAX 128

struct wdb_slowlog;

struct wdb_slowlog_entry {
    uint64_t id;
    uint64_t time_s; /* since 1970, when it was added */
    uint64_t duration_us;
    uint32_t argument_count;
    const struct wdb_slice *arguments;
    const char *address, *name; /* of the client */
};

/* ENOMEM. */
WDB_MUST_CHECK int wdb_slowlog_new(struct wdb_slowlog **out);
void wdb_slowlog_free(struct wdb_slowlog *slowlog);
/*
 * Add an entry (its id is ignored; everything is copied) and keep at most
 * length_max of them. Without memory nothing is added.
 */
void wdb_slowlog_add(struct wdb_slowlog *slowlog,
                     const struct wdb_slowlog_entry *entry,
                     uint64_t length_max);
uint64_t wdb_slowlog_length(const struct wdb_slowlog *slowlog);
/* Visit up to `count` entries, newest first, under the mutex: the callback
 * must not call back in here. begin (may be NULL) is called first with the
 * number of entries that will follow. */
void wdb_slowlog_visit(struct wdb_slowlog *slowlog, uint64_t count,
                       void (*begin)(void *context, uint64_t count),
                       void (*visit)(void *context,
                                     const struct wdb_slowlog_entry *entry),
                       void *context);
/* Forget all entries; ids go on. */
void wdb_slowlog_reset(struct wdb_slowlog *slowlog);

#endif
