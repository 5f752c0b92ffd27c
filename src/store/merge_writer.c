/* merge_writer.c - writes merged segments, their hints and the origins. */
#include "store/merge_writer.h"

#include <stdlib.h>

#include "log/residency.h"

#define ENTRY_SIZE ((uint64_t)256 << 10)
/* The smallest output, as a part of a segment's size. */
#define OUTPUT_PART_MIN 16

void wdb_merge_writer_init(struct wdb_merge_writer *writer,
                           struct wdb_store *store, uint64_t clean_index,
                           uint64_t size_left)
{
    *writer = (struct wdb_merge_writer){
        .store = store,
        .clean_index = clean_index,
        .size_left = size_left,
        .room = UINT64_MAX,
    };
}

/* --- one output ------------------------------------------------------------
 */

static struct wdb_segment *last_of(const struct wdb_merge_writer *writer)
{
    return writer->segments[writer->segment_count - 1];
}

/*
 * Room for what is still to come, generously: small records grow by a half,
 * and what is not used goes back. Less if there is less on the disk: then
 * another output follows, perhaps.
 */
static uint64_t size_of_output(const struct wdb_merge_writer *writer,
                               uint64_t least)
{
    const uint64_t segment_size = wdb_log_segment_size(writer->store->log);
    uint64_t size = writer->size_left + writer->size_left / 2 + least;
    if (size < segment_size / OUTPUT_PART_MIN) {
        size = segment_size / OUTPUT_PART_MIN;
    }
    if (size > segment_size) {
        size = segment_size;
    }
    if (size < least) {
        size = least;
    }
    size = (size + 4095) / 4096 * 4096;
    return size > writer->room ? writer->room / 4096 * 4096 : size;
}

/* A new output with room for an entry with `needed` bytes of records. */
static int open_output(struct wdb_merge_writer *writer, uint64_t needed)
{
    struct wdb_store *store = writer->store;
    const uint64_t overhead = WDB_SEGMENT_HEADER_SIZE + WDB_ENTRY_OVERHEAD;
    const uint64_t size = size_of_output(writer, needed + overhead);
    if (size < needed + overhead) {
        return WALKERDB_ENOSPACE;
    }
    if (writer->segment_count == writer->segment_capacity) {
        const size_t capacity = writer->segment_capacity * 2 + 4;
        struct wdb_segment **segments =
            realloc(writer->segments, capacity * sizeof(*segments));
        if (segments == NULL) {
            return WALKERDB_ENOMEM;
        }
        writer->segments = segments;
        writer->segment_capacity = capacity;
    }
    struct wdb_segment *segment;
    int rc = wdb_log_segment_create(store->log, size, &segment);
    if (rc != 0) {
        return rc;
    }
    writer->room -= size;
    segment->clean_index = writer->clean_index;
    segment->size_used = WDB_SEGMENT_HEADER_SIZE;
    writer->segments[writer->segment_count++] = segment;
    writer->is_open = true;
    writer->offset = WDB_SEGMENT_HEADER_SIZE;
    writer->previous_crc = 0;
    writer->hint = NULL;
    if (store->options.hints &&
        wdb_hint_writer_open(store->env, wdb_log_dir(store->log), segment->id,
                             segment->header.salt, &writer->hint) != 0) {
        writer->hint = NULL; /* a cache: the segment is scanned instead */
    }
    return 0;
}

static void drop_hint(struct wdb_merge_writer *writer)
{
    if (writer->hint != NULL) {
        wdb_hint_writer_abort(writer->hint);
        writer->hint = NULL;
    }
}

/* Write the gathered entry to the open output. */
static int write_entry(struct wdb_merge_writer *writer)
{
    if (writer->record_count == 0) {
        return 0;
    }
    struct wdb_store *store = writer->store;
    struct wdb_segment *segment = last_of(writer);
    uint8_t *data = writer->entry.data;
    const uint64_t size = writer->entry.size;
    const struct wdb_entry_header entry = {
        .index = writer->index_last,
        .time_ms = writer->time_ms,
        .payload_size = size - WDB_ENTRY_OVERHEAD,
        .record_count = writer->record_count,
        .payload_crc = wdb_payload_crc(0, data + WDB_ENTRY_OVERHEAD,
                                       size - WDB_ENTRY_OVERHEAD),
        .type = WDB_ENTRY_MERGED,
    };
    struct wdb_frame frame = {
        .previous_crc = writer->previous_crc,
        .offset = writer->offset,
        .index_durable = wdb_log_durable(store->log),
        .index_committed = wdb_log_committed(store->log),
        .salt = segment->header.salt,
    };
    wdb_entry_encode(&frame, &entry, data);
    const int rc =
        wdb_env_pwrite(segment->file, data, (size_t)size, writer->offset);
    if (rc != 0) {
        return rc;
    }
    wdb_residency_mark(segment->residency, writer->offset, size);
    writer->previous_crc = frame.crc;
    writer->offset += size;
    writer->bytes_written += size;
    segment->size_used = writer->offset;
    segment->index_last = writer->index_last;
    segment->last_crc = frame.crc;
    segment->record_count += writer->record_count;
    atomic_store_explicit(&segment->written, writer->offset,
                          memory_order_release);
    wdb_buffer_clear(&writer->entry);
    writer->record_count = 0;
    return 0;
}

static int finish_output(struct wdb_merge_writer *writer)
{
    int rc = write_entry(writer);
    if (rc != 0) {
        return rc;
    }
    struct wdb_store *store = writer->store;
    struct wdb_segment *segment = last_of(writer);
    const struct wdb_env_ops *ops = store->env->ops;
    /* What was allocated and is not used goes back. */
    rc = ops->truncate(segment->file, segment->size_used);
    if (rc == 0 && !WDB_STORE_MUTATED(store, WDB_MUTATION_MERGE_SKIP_SYNC)) {
        rc = ops->sync(segment->file);
    }
    if (rc != 0) {
        return rc;
    }
    atomic_store(&segment->synced, segment->size_used);
    writer->room += segment->size - segment->size_used;
    writer->is_open = false;
    if (writer->hint != NULL) {
        struct wdb_hint_identity identity;
        wdb_hint_identify(segment, &identity);
        struct wdb_hint_writer *hint = writer->hint;
        writer->hint = NULL;
        if (wdb_hint_writer_finish(hint, &identity) == 0) {
            atomic_store(&segment->hinted, true);
        }
    }
    return 0;
}

/* --- records ---------------------------------------------------------------
 */

static int add_origin(struct wdb_merge_writer *writer, wdb_position origin)
{
    const int64_t difference = (int64_t)(origin - writer->origin_last);
    uint64_t rest = (uint64_t)difference << 1 ^ (uint64_t)(difference >> 63);
    uint8_t bytes[10];
    size_t count = 0;
    while (rest >= 0x80) {
        bytes[count++] = (uint8_t)(rest | 0x80);
        rest >>= 7;
    }
    bytes[count++] = (uint8_t)rest;
    writer->origin_last = origin;
    return wdb_buffer_append(&writer->origins, bytes, count);
}

wdb_position wdb_merge_origins_next(struct wdb_merge_origins *origins)
{
    const uint8_t *data = origins->writer->origins.data;
    uint64_t value = 0;
    for (unsigned shift = 0;; shift += 7) {
        wdb_assert(origins->at < origins->writer->origins.size);
        const uint8_t byte = data[origins->at++];
        value |= (uint64_t)(byte & 0x7f) << shift;
        if ((byte & 0x80) == 0) {
            break;
        }
    }
    origins->last += value >> 1 ^ (~(value & 1) + 1);
    return origins->last;
}

/* Room for `size` more bytes of records: in the entry, and in the output. */
static int make_room(struct wdb_merge_writer *writer, uint64_t size)
{
    int rc = 0;
    if (writer->record_count > 0 && writer->entry.size + size > ENTRY_SIZE) {
        rc = write_entry(writer);
    }
    const uint64_t pending =
        writer->record_count > 0 ? writer->entry.size : WDB_ENTRY_OVERHEAD;
    if (rc == 0 && writer->is_open &&
        writer->offset + pending + size > last_of(writer)->size) {
        rc = finish_output(writer);
    }
    if (rc == 0 && !writer->is_open) {
        rc = open_output(writer, size);
    }
    return rc;
}

int wdb_merge_writer_add(struct wdb_merge_writer *writer,
                         const struct wdb_record *record, uint64_t time_ms,
                         wdb_position origin)
{
    struct wdb_record copy = *record;
    copy.flags |= WDB_RECORD_SEQUENCE;
    const uint64_t size = wdb_record_size(&copy);
    wdb_assert(size != 0);
    int rc = make_room(writer, size);
    if (rc != 0) {
        return rc;
    }
    struct wdb_segment *segment = last_of(writer);
    if (writer->record_count == 0) {
        rc = wdb_buffer_reserve(&writer->entry, WDB_ENTRY_OVERHEAD);
        if (rc != 0) {
            return rc;
        }
        writer->entry.size = WDB_ENTRY_OVERHEAD;
        if (writer->offset == WDB_SEGMENT_HEADER_SIZE) {
            segment->index_first = copy.index;
        }
    }
    rc = wdb_buffer_reserve(&writer->entry, size);
    if (rc == 0) {
        rc = add_origin(writer, origin);
    }
    if (rc != 0) {
        return rc;
    }
    const uint64_t offset = writer->offset + writer->entry.size;
    wdb_record_encode(&copy, writer->entry.data + writer->entry.size);
    writer->entry.size += size;
    writer->record_count++;
    writer->index_last = copy.index;
    writer->time_ms = time_ms;
    writer->size_left -= size < writer->size_left ? size : writer->size_left;
    if (writer->hint != NULL &&
        wdb_hint_writer_add(writer->hint, &copy, offset, size) != 0) {
        drop_hint(writer);
    }
    return 0;
}

int wdb_merge_writer_finish(struct wdb_merge_writer *writer)
{
    return writer->is_open ? finish_output(writer) : 0;
}

void wdb_merge_writer_discard(struct wdb_merge_writer *writer)
{
    drop_hint(writer);
    for (size_t i = 0; i < writer->segment_count; i++) {
        wdb_log_segment_discard(writer->store->log, writer->segments[i]);
    }
    writer->segment_count = 0;
    wdb_merge_writer_release(writer);
}

void wdb_merge_writer_release(struct wdb_merge_writer *writer)
{
    drop_hint(writer);
    for (size_t i = 0; i < writer->segment_count; i++) {
        wdb_segment_drop(writer->segments[i]);
    }
    free(writer->segments);
    wdb_buffer_release(&writer->entry);
    wdb_buffer_release(&writer->origins);
    wdb_merge_writer_init(writer, writer->store, 0, 0);
}
