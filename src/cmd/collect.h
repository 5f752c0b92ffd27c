/*
 * collect.h - an array or a map in a reply whose size is known only at its end.
 *
 *     struct wdb_collect list;
 *     wdb_collect_begin(&list, call);
 *     ... wdb_reply_bulk(&list.reply, ...); list.count++; ...
 *     wdb_collect_array(&list, call);
 */
#ifndef WDB_CMD_COLLECT_H
#define WDB_CMD_COLLECT_H

#include "cmd/call.h"

struct wdb_collect {
    struct wdb_output output;
    struct wdb_reply reply; /* where the elements are written to */
    size_t count;           /* of elements, or of pairs */
};

/* It must not be moved afterwards. */
void wdb_collect_begin(struct wdb_collect *list, const struct wdb_call *call);
/* Reply what was collected; without memory for all of it, an error. */
void wdb_collect_array(struct wdb_collect *list, struct wdb_call *call);
void wdb_collect_map(struct wdb_collect *list, struct wdb_call *call);
/* Instead: forget it. */
void wdb_collect_drop(struct wdb_collect *list);

#endif
