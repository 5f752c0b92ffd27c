/*
 * fields.h - named values as a RESP map, or as JSON: for replies that programs
 * and people read.
 */
#ifndef WDB_CMD_FIELDS_H
#define WDB_CMD_FIELDS_H

#include "base/buffer.h"
#include "resp/reply.h"

struct wdb_fields {
    struct wdb_reply *reply; /* NULL: JSON into text */
    struct wdb_buffer text;
    bool follows; /* JSON: a comma is due */
    int code;     /* ENOMEM */
};

/* name is NULL in arrays and for what is outermost. */
void wdb_fields_map(struct wdb_fields *f, const char *name, size_t pairs);
void wdb_fields_map_end(struct wdb_fields *f);
void wdb_fields_array(struct wdb_fields *f, const char *name, size_t count);
void wdb_fields_array_end(struct wdb_fields *f);
void wdb_fields_integer(struct wdb_fields *f, const char *name, int64_t value);
void wdb_fields_text(struct wdb_fields *f, const char *name, const char *value);
/* 1 or 0; in JSON true or false. */
void wdb_fields_flag(struct wdb_fields *f, const char *name, bool value);
/* A node's or cluster's id: 16 hex digits, "" for 0. */
void wdb_fields_id(struct wdb_fields *f, const char *name, uint64_t id);

#endif
