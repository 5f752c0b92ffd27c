/*
 * history.h - what clients did and saw, for the checkers.
 *
 * An operation has an interval of time, in which it took effect if it is `ok`.
 * One that is `fail` never took effect; one that is `unknown` did at any time
 * from its start on, or never. The README of this folder has the same as text,
 * one JSON object a line.
 *
 * Texts (keys, values) are kept once each, and named by numbers; 0 is "absent".
 */
#ifndef WDB_TEST_SIM_HISTORY_H
#define WDB_TEST_SIM_HISTORY_H

#include <stdbool.h>
#include <stdio.h>

#include "base/attributes.h"
#include "base/buffer.h"
#include "base/slice.h"

#define HISTORY_NEVER UINT64_MAX /* end of what has no known end */

enum history_kind {
    HISTORY_GET,
    HISTORY_SET,
    HISTORY_GETSET,
    HISTORY_SETNX,
    HISTORY_CAS,
    HISTORY_INCR,
    HISTORY_DEL,
    HISTORY_FLUSH,
    HISTORY_APPEND,
    HISTORY_TXN,
    HISTORY_KIND_COUNT,
};

enum history_status {
    HISTORY_OK,
    HISTORY_FAIL,
    HISTORY_UNKNOWN,
};

enum history_level {
    HISTORY_CONSISTENT,
    HISTORY_LEADER,
    HISTORY_STALE,
};

/* A step of a TXN: APPEND of `value`, or GET that saw `result`. */
struct history_part {
    enum history_kind kind;
    uint32_t key;
    uint32_t value;
    uint32_t result;
};

struct history_op {
    uint64_t client;
    uint64_t start, end;
    enum history_kind kind;
    enum history_status status;
    enum history_level level;
    bool may_expire; /* SET with a time to live */
    bool has_result; /* `flag` or `result` is what was answered */
    bool flag;       /* SETNX: was written. DEL: was there */
    uint32_t key;
    uint32_t value;                  /* what was written, or appended */
    uint32_t expect;                 /* CAS */
    uint32_t result;                 /* texts that were seen */
    int64_t by;                      /* INCR */
    uint32_t part_first, part_count; /* TXN */
};

struct history {
    struct history_op *ops;
    size_t count, capacity;
    struct history_part *parts;
    size_t part_count, part_capacity;
    struct wdb_buffer bytes;    /* of all texts */
    struct history_text *texts; /* by number - 1 */
    uint32_t text_count, text_capacity;
    uint32_t *table; /* numbers by hash, open addressing */
    uint32_t table_size;
};

struct history_text {
    size_t offset;
    uint32_t size;
    uint64_t hash;
};

void history_init(struct history *history);
void history_release(struct history *history);
/* The number of a text; data NULL: 0. */
uint32_t history_text(struct history *history, const void *data, size_t size);
uint32_t history_text_str(struct history *history, const char *text);
/* Valid until the next text is added. 0: NULL. */
struct wdb_slice history_slice(const struct history *history, uint32_t text);
/* One more, all zero; valid until the next is added. */
struct history_op *history_add(struct history *history);
/* One more step of the last operation, a TXN. */
struct history_part *history_add_part(struct history *history);
const char *history_kind_name(enum history_kind kind);
/* The operation as its line of JSON, without the line end. */
void history_print(const struct history *history, const struct history_op *op,
                   struct wdb_buffer *out);

/* Add the operation that a line of JSON (size bytes) tells of. EINVALID, with
 * what is wrong in error. */
WDB_MUST_CHECK int history_parse(struct history *history, const char *line,
                                 size_t size, const char **error_out);

/* What the checkers found. */
struct history_report {
    uint64_t passed, failed, undecided; /* keys */
    struct wdb_buffer text;             /* lines about what failed */
};
void history_report_release(struct history_report *report);
/* A line of the report. */
void history_complain(struct history_report *report, const char *format, ...)
    WDB_PRINTF(2, 3);
/* The operation behind two blanks, as a line of the report. */
void history_show(struct history_report *report, const struct history *history,
                  const struct history_op *op);

#endif
