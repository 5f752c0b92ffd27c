/* collect.c - replies whose size is known only at their end. */
#include "cmd/collect.h"

void wdb_collect_begin(struct wdb_collect *list, const struct wdb_call *call)
{
    wdb_output_init(&list->output);
    list->reply = (struct wdb_reply){.output = &list->output,
                                     .protocol = call->reply->protocol};
    list->count = 0;
}

void wdb_collect_drop(struct wdb_collect *list)
{
    wdb_output_release(&list->output);
}

static void finish(struct wdb_collect *list, struct wdb_call *call,
                   void (*head)(struct wdb_reply *reply, size_t count))
{
    if (!wdb_call_failed(call, list->output.failed ? WALKERDB_ENOMEM : 0)) {
        struct iovec vector;
        head(call->reply, list->count);
        while (wdb_output_peek(&list->output, &vector, 1, list->output.size) >
               0) {
            wdb_output_append(call->reply->output, vector.iov_base,
                              vector.iov_len);
            wdb_output_consume(&list->output, vector.iov_len);
        }
    }
    wdb_collect_drop(list);
}

void wdb_collect_array(struct wdb_collect *list, struct wdb_call *call)
{
    finish(list, call, wdb_reply_array);
}

void wdb_collect_map(struct wdb_collect *list, struct wdb_call *call)
{
    finish(list, call, wdb_reply_map);
}
