/*
 * api_value.c - the value behind an item, for the library: a string that a
 * server keeps in chunks is put together.
 */
#include <stdlib.h>

#include "db/api.h"
#include "type/string.h"

void wdb_api_read_begin(struct wdb_api_read *read, struct walkerdb *db,
                        bool wait)
{
    *read = (struct wdb_api_read){.store = db->store, .wait = wait};
}

void wdb_api_read_end(struct wdb_api_read *read)
{
    if (WDB_LIKELY(read->fetches == NULL && read->memory == NULL)) {
        return;
    }
    for (uint32_t i = 0; i < read->fetch_count; i++) {
        wdb_segment_drop(read->fetches[i].segment);
    }
    free(read->fetches);
    free(read->memory);
    read->fetches = NULL;
    read->memory = NULL;
    read->fetch_count = read->fetch_capacity = 0;
}

/* Without memory to note it the next attempt finds it missing again, and the
 * last one waits for it. */
static void want(void *context, const struct wdb_item *item)
{
    struct wdb_api_read *read = context;
    if (read->fetch_count == read->fetch_capacity) {
        const uint32_t capacity =
            read->fetch_capacity == 0 ? 4 : read->fetch_capacity * 2;
        struct wdb_fetch *grown =
            realloc(read->fetches, capacity * sizeof(*grown));
        if (grown == NULL) {
            return;
        }
        read->fetches = grown;
        read->fetch_capacity = capacity;
    }
    if (wdb_store_fetch_begin(read->store, item,
                              &read->fetches[read->fetch_count])) {
        read->fetch_count++;
    }
}

static int read_item(void *context, const struct wdb_item *item,
                     struct wdb_value *out)
{
    struct wdb_api_read *read = context;
    if (read->wait) {
        return wdb_store_read_wait(read->store, item, out);
    }
    const int code = wdb_store_read(read->store, item, out);
    if (code == WALKERDB_EAGAIN) {
        want(read, item);
    }
    return code;
}

/* All chunks in memory of the read's. */
static int assemble(struct wdb_api_read *read, struct wdb_value *value)
{
    if (value->record.type != WDB_TYPE_STRING_CHUNKS) {
        return WALKERDB_EUNSUPPORTED;
    }
    struct wdb_string string;
    int code = wdb_string_open(value, &string);
    if (code != 0) {
        return code;
    }
    const struct wdb_value_io io = {
        .store = read->store, .read = read_item, .want = want, .context = read};
    read->memory = malloc(string.size > 0 ? string.size : 1);
    if (read->memory == NULL) {
        return WALKERDB_ENOMEM;
    }
    code = wdb_string_copy(&io, &string, 0, string.size, read->memory);
    value->record.value = wdb_slice(read->memory, string.size);
    value->segment = NULL;
    return code;
}

int wdb_api_read_value(struct wdb_api_read *read, const struct wdb_item *item,
                       struct wdb_value *out)
{
    const int code = read_item(read, item, out);
    if (code == 0 && WDB_UNLIKELY(out->record.flags & WDB_RECORD_OBJECT)) {
        return assemble(read, out);
    }
    return code;
}

int wdb_api_read_fetch(struct wdb_api_read *read)
{
    int result = 0;
    for (uint32_t i = 0; i < read->fetch_count; i++) {
        const int code = wdb_store_fetch(read->store, &read->fetches[i]);
        result = code != 0 ? code : result;
    }
    read->fetch_count = 0;
    return result;
}
