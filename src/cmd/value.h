/*
 * value.h - the string behind a key, for the handlers of strings and bitmaps.
 *
 *     struct wdb_call_string s;
 *     if (!wdb_call_string(call, 0, WDB_FIND_READ, &s)) {
 *         return; // answered, or the value is not in memory
 *     }
 *     if (!s.found) ...
 *
 * What was read is valid until something is staged, and looking up a key may
 * stage the deletion of an expired one: who needs several at a time finds all
 * of them first, then opens them.
 */
#ifndef WDB_CMD_VALUE_H
#define WDB_CMD_VALUE_H

#include "cmd/call.h"
#include "type/string.h"
#include "type/string_chunks.h"

/* How Redis would keep this string: OBJECT ENCODING and REFCOUNT. */
struct wdb_representation {
    const char *encoding;
    int64_t references;
};
struct wdb_representation wdb_represent(const struct wdb_item *item,
                                        struct wdb_slice value);

struct wdb_call_string {
    bool found;
    struct wdb_item item;     /* if found */
    struct wdb_string string; /* if opened; its size is 0 if there is none */
    struct wdb_db_access access;
    struct wdb_value_io io; /* points to access: do not copy this struct */
};

/* Look up key i. False: it holds something else, which was answered. */
bool wdb_call_find_string(struct wdb_call *call, uint32_t i,
                          enum wdb_find_mode mode, struct wdb_call_string *out);
/* Read the record of what was found; nothing to do if nothing was. False:
 * answered, or not in memory. */
bool wdb_call_open_string(struct wdb_call *call, struct wdb_call_string *s);
/* Both. */
bool wdb_call_string(struct wdb_call *call, uint32_t i, enum wdb_find_mode mode,
                     struct wdb_call_string *out);
/* Reply [offset, offset + size) as a bulk. Large pieces are borrowed. */
void wdb_call_reply_range(struct wdb_call *call, struct wdb_call_string *s,
                          uint64_t offset, uint64_t size);
/* All of it in one piece: where it lies, or (in chunks) copied to malloc'ed
 * memory, which *memory_out is then to be freed. False: answered. */
bool wdb_call_whole_string(struct wdb_call *call, struct wdb_call_string *s,
                           struct wdb_slice *out, uint8_t **memory_out);
/* False, and an error, if a string of size bytes may not grow by `more`. */
bool wdb_call_check_size(struct wdb_call *call, uint64_t size, uint64_t more);
/* Stage a change of a string that was opened: bytes to offset, the rest stays;
 * the key keeps its expiry. False: answered. */
bool wdb_call_write_string(struct wdb_call *call, struct wdb_call_string *s,
                           uint64_t offset, struct wdb_slice bytes);

#endif
