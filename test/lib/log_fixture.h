/*
 * log_fixture.h - a log under test: opens it on some environment, appends
 * numbered records, and reads back which are there.
 *
 * Record number n has the key "k<n>" and a value whose bytes follow from n, so
 * that whatever is read back can be judged by itself.
 */
#ifndef WDB_TEST_LIB_LOG_FIXTURE_H
#define WDB_TEST_LIB_LOG_FIXTURE_H

#include "log/log.h"

/* Options for tests: small segments, no thread, `create`. */
void log_fixture_options(struct wdb_log_options *options, struct wdb_env *env,
                         const char *dir);

/* Append one batch of `count` records, numbered from `number` on, with values
 * of value_size bytes. As wdb_log_append. *out may be NULL. */
int log_fixture_append(struct wdb_log *log, uint64_t number, uint32_t count,
                       size_t value_size, struct wdb_log_place *out);

/* True if this is record number n, with a value as it should be. */
bool log_fixture_is(const struct wdb_record *record, uint64_t number);

/* What a scan of the whole log found. */
struct log_fixture_found {
    uint64_t count;       /* records */
    uint64_t first, last; /* their numbers */
    uint64_t index_last;  /* of the last entry with records */
    bool in_order;        /* numbers grow by one, values are right */
    int error;            /* of the scan */
};
/* Read all records. */
struct log_fixture_found log_fixture_scan(struct wdb_log *log);

/* True if the record at this position is number n with such a value. The
 * caller need not be in the epoch. */
bool log_fixture_resolves(struct wdb_log *log, wdb_position position,
                          uint64_t number, size_t value_size);

#endif
