/*
 * reply.h - write RESP2 or RESP3 values to an output. No function fails: the
 * output remembers a failed allocation.
 */
#ifndef WDB_RESP_REPLY_H
#define WDB_RESP_REPLY_H

#include "resp/output.h"

struct wdb_reply {
    struct wdb_output *output;
    int protocol;          /* 2 or 3 */
    uint64_t error_count;  /* errors written since it was set to 0 */
    uint64_t error_noted;  /* those of them that were counted elsewhere */
    char error_prefix[32]; /* first word of the last one, for statistics */
};

void wdb_reply_ok(struct wdb_reply *r);
void wdb_reply_simple(struct wdb_reply *r, const char *text);
/* "-" text; text begins with the prefix word ("ERR ..."); CR and LF in it are
 * replaced by blanks. */
void wdb_reply_error(struct wdb_reply *r, const char *format, ...)
    WDB_PRINTF(2, 3);
void wdb_reply_integer(struct wdb_reply *r, int64_t value);
void wdb_reply_bulk(struct wdb_reply *r, struct wdb_slice value);
void wdb_reply_bulk_str(struct wdb_reply *r, const char *text);
void wdb_reply_bulk_integer(struct wdb_reply *r, int64_t value);
/* A bulk whose bytes are borrowed until release(context). */
void wdb_reply_bulk_borrowed(struct wdb_reply *r, struct wdb_slice value,
                             void (*release)(void *), void *context);
/* A bulk that is put together: between the two, `size` bytes are appended to
 * the output, or borrowed. */
void wdb_reply_bulk_begin(struct wdb_reply *r, uint64_t size);
void wdb_reply_bulk_end(struct wdb_reply *r);
void wdb_reply_null(struct wdb_reply *r);       /* $-1 or _ */
void wdb_reply_null_array(struct wdb_reply *r); /* *-1 or _ */
void wdb_reply_array(struct wdb_reply *r, size_t count);
void wdb_reply_map(struct wdb_reply *r, size_t pair_count);
void wdb_reply_set(struct wdb_reply *r, size_t count);
void wdb_reply_push(struct wdb_reply *r, size_t count);
void wdb_reply_double(struct wdb_reply *r, double value);
void wdb_reply_bool(struct wdb_reply *r, bool value);
/* Text with a three-letter format ("txt"): verbatim in RESP3, bulk in 2. */
void wdb_reply_verbatim(struct wdb_reply *r, const char format[4],
                        struct wdb_slice text);
void wdb_reply_big_number(struct wdb_reply *r, const char *digits);

#endif
