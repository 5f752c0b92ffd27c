/* read.c - finds keys, and the records behind them. */
#include "store/store_internal.h"

bool wdb_store_find(const struct wdb_store *store, uint32_t database,
                    uint64_t hash, struct wdb_slice key, struct wdb_item *out)
{
    wdb_stripe_check_held(store, hash);
    const struct wdb_keydir *keydir = wdb_store_keydir(store, database);
    return keydir != NULL && wdb_keydir_get(keydir, hash, key, out);
}

/* A record of a batch that is not in the log yet. */
static int read_staged(struct wdb_store *store, const struct wdb_item *item,
                       struct wdb_value *out)
{
    const uint32_t context =
        wdb_position_slot(item->position) - WDB_SLOT_STAGED;
    const struct wdb_batch *batch = atomic_load(&store->contexts[context]);
    wdb_assert(batch != NULL);
    const uint64_t offset = wdb_position_offset(item->position);
    uint64_t size;
    struct wdb_value value = {.segment = NULL};
    const int rc = wdb_record_decode(batch->records.data + offset,
                                     batch->records.size - offset, false,
                                     &value.record, &size);
    if (rc == 0) {
        *out = value;
    }
    return rc;
}

/* The bytes at the position are not what they should be: say where. */
static int report(struct wdb_store *store, const struct wdb_item *item)
{
    const struct wdb_segment *segment =
        wdb_log_segment(store->log, wdb_position_slot(item->position));
    const char *suffix =
        segment != NULL && segment->kind == WDB_SEGMENT_MERGED ? "mrg" : "log";
    const bool unreadable =
        segment != NULL && store->env->ops->damaged(store->env, segment->map);
    wdb_logger_print(
        store->options.log.logger, WDB_LOG_WARNING,
        "%s: record at offset %llu of %s/%016llx.%s; run walkerdb-check on a "
        "copy of the directory",
        unreadable ? "cannot read" : "damaged data",
        (unsigned long long)wdb_position_offset(item->position),
        wdb_log_dir(store->log),
        (unsigned long long)(segment == NULL ? 0 : segment->id), suffix);
    return unreadable ? WALKERDB_EIO : WALKERDB_ECORRUPT;
}

/* Ask for all lines of a record at once: read one after another, the checksum
 * would wait for each of them. Longer ones the processor foresees by itself. */
#define PREFETCH_SIZE_MAX 2048
static void prefetch_record(const uint8_t *data, uint64_t size)
{
    if (size <= PREFETCH_SIZE_MAX) {
        for (uint64_t at = 0; at < size; at += WDB_CACHE_LINE) {
            WDB_PREFETCH(data + at);
        }
    }
}

static int read_resident(struct wdb_store *store, const struct wdb_item *item,
                         struct wdb_value *out)
{
    struct wdb_value value = {.segment = NULL};
    const uint8_t *data =
        wdb_log_resolve(store->log, item->position, &value.segment);
    wdb_assert(data != NULL);
    prefetch_record(data, item->record_size);
    uint64_t size;
    if (WDB_UNLIKELY(wdb_record_decode(data, item->record_size,
                                       store->options.verify_on_read,
                                       &value.record, &size) != 0 ||
                     size != item->record_size)) {
        return report(store, item);
    }
    *out = value;
    return 0;
}

int wdb_store_read(struct wdb_store *store, const struct wdb_item *item,
                   struct wdb_value *out)
{
    if (WDB_UNLIKELY(wdb_position_is_staged(item->position))) {
        return read_staged(store, item, out);
    }
    if (WDB_UNLIKELY(!wdb_log_is_resident(store->log, item->position,
                                          (size_t)item->record_size))) {
        return WALKERDB_EAGAIN;
    }
    return read_resident(store, item, out);
}

bool wdb_store_fetch_begin(struct wdb_store *store, const struct wdb_item *item,
                           struct wdb_fetch *out)
{
    if (wdb_position_is_staged(item->position) ||
        wdb_log_is_resident(store->log, item->position,
                            (size_t)item->record_size)) {
        return false;
    }
    struct wdb_segment *segment =
        wdb_log_segment(store->log, wdb_position_slot(item->position));
    wdb_assert(segment != NULL);
    wdb_segment_acquire(segment);
    *out = (struct wdb_fetch){
        .segment = segment,
        .offset = wdb_position_offset(item->position),
        .size = (size_t)item->record_size,
    };
    return true;
}

int wdb_store_fetch(struct wdb_store *store, struct wdb_fetch *fetch)
{
    const uint64_t begin = store->env->ops->monotonic_ns(store->env);
    const int rc =
        wdb_log_fetch(store->log, fetch->segment, fetch->offset, fetch->size);
    wdb_segment_drop(fetch->segment);
    fetch->segment = NULL;
    atomic_fetch_add_explicit(&store->cold_read_count, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&store->cold_read_ns,
                              store->env->ops->monotonic_ns(store->env) - begin,
                              memory_order_relaxed);
    return rc;
}

int wdb_store_read_wait(struct wdb_store *store, const struct wdb_item *item,
                        struct wdb_value *out)
{
    if (wdb_position_is_staged(item->position)) {
        return read_staged(store, item, out);
    }
    struct wdb_fetch fetch;
    if (wdb_store_fetch_begin(store, item, &fetch)) {
        const int rc = wdb_store_fetch(store, &fetch);
        if (rc != 0) {
            return rc;
        }
    }
    return read_resident(store, item, out);
}
