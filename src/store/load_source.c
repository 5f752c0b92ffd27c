/* load_source.c - what stands for the records of a segment: hint or scan. */
#include <stdlib.h>

#include "store/load.h"

struct scan {
    struct wdb_hint_encoder encoder;
    const struct wdb_segment *segment;
    uint64_t index_max;
    uint64_t end; /* behind the last record that was taken */
    uint64_t index_last;
};

#define SCAN_ENOUGH 1 /* not an error: index_max was reached */

static int on_record(void *context, const struct wdb_record *record,
                     wdb_position position, uint64_t size)
{
    struct scan *scan = context;
    if (record->index > scan->index_max) {
        return SCAN_ENOUGH;
    }
    scan->end = wdb_position_offset(position) + size;
    scan->index_last = record->index;
    return wdb_hint_encoder_add(&scan->encoder, record,
                                wdb_position_offset(position), size);
}

static int finish_scan(struct scan *scan, struct wdb_load_source *source)
{
    const struct wdb_segment *segment = source->segment;
    struct wdb_hint_identity identity = {
        .id = segment->id,
        .kind = segment->kind,
        .salt = segment->header.salt,
        .nonce = segment->header.nonce,
        .size_used = scan->end,
        .index_first = segment->index_first,
        .index_last = scan->index_last,
        .clean_index = segment->clean_index,
    };
    uint8_t header[WDB_HINT_HEADER_SIZE];
    int rc = wdb_hint_encoder_finish(&scan->encoder, &identity, header);
    if (rc == 0) {
        rc = wdb_buffer_append(&source->memory, header, sizeof(header));
    }
    if (rc == 0) {
        rc = wdb_buffer_append(&source->memory, scan->encoder.out.data,
                               scan->encoder.out.size);
    }
    if (rc == 0) {
        rc = wdb_hint_view(source->memory.data, source->memory.size, &identity,
                           &source->hint);
    }
    return rc;
}

/* Read the segment itself; every checksum is verified on the way. */
static int scan_segment(struct wdb_load *load, struct wdb_load_source *source)
{
    struct wdb_store *store = load->store;
    struct scan scan = {
        .segment = source->segment,
        .index_max = load->index_max,
        .end = WDB_SEGMENT_HEADER_SIZE,
        .index_last = source->segment->index_first - 1,
    };
    wdb_hint_encoder_init(&scan.encoder, source->segment->header.salt);
    uint64_t offset = 0;
    int rc =
        wdb_log_scan(store->log, source->segment, on_record, &scan, &offset);
    if (rc == SCAN_ENOUGH) {
        rc = 0;
    }
    if (rc == 0) {
        rc = finish_scan(&scan, source);
    }
    wdb_hint_encoder_release(&scan.encoder);
    if (rc == WALKERDB_ECORRUPT || rc == WALKERDB_EIO) {
        wdb_load_say(load, source->segment, offset, rc);
    }
    source->scanned = true;
    return rc;
}

/* A hint covers whole segments, so nothing of it may be above the limit. */
static bool hint_allowed(const struct wdb_load *load,
                         const struct wdb_segment *segment)
{
    return load->store->options.hints && atomic_load(&segment->sealed) &&
           segment->index_last <= load->index_max;
}

static int open_hint(struct wdb_load *load, struct wdb_load_source *source)
{
    struct wdb_store *store = load->store;
    struct wdb_hint_identity identity;
    wdb_hint_identify(source->segment, &identity);
    int rc = wdb_hint_open(store->env, wdb_log_dir(store->log), &identity,
                           &source->hint);
    if ((rc == WALKERDB_ENOTFOUND || rc == WALKERDB_ECORRUPT) &&
        !store->options.log.read_only) {
        /* Through a file rather than memory: there may be many. */
        source->scanned = true;
        rc = wdb_hint_build(store->log, source->segment);
        if (rc == 0) {
            rc = wdb_hint_open(store->env, wdb_log_dir(store->log), &identity,
                               &source->hint);
        }
    }
    return rc;
}

static void count_put(struct wdb_load_source *source, uint32_t database)
{
    for (uint32_t i = 0; i < source->id_count; i++) {
        if (source->puts[i].id == database) {
            source->puts[i].count++;
            return;
        }
    }
    if (source->id_count < WDB_LOAD_IDS_MAX) {
        source->puts[source->id_count].id = database;
        source->puts[source->id_count++].count = 1;
    }
}

/* What is to be known before keys are loaded; garbage that is so by itself. */
static int survey(struct wdb_load_source *source)
{
    struct wdb_segment *segment = source->segment;
    struct wdb_hint_cursor cursor;
    struct wdb_hint_item item;
    uint64_t dead = atomic_load(&segment->bytes_dead), tombstones = 0;
    const uint64_t used = wdb_segment_used(segment);
    int rc;
    source->live_part = dead < used ? 1.0 - (double)dead / (double)used : 0.0;
    dead = 0;
    wdb_hint_begin(&source->hint, &cursor);
    while ((rc = wdb_hint_next(&cursor, &item)) == 0) {
        switch (item.kind) {
        case WDB_RECORD_PUT:
            count_put(source, item.database);
            break;
        case WDB_RECORD_DELETE:
        case WDB_RECORD_ELEMENT_DELETE:
            tombstones += item.size;
            break;
        case WDB_RECORD_EXPIRE:
            *(segment->kind == WDB_SEGMENT_LOG ? &dead : &tombstones) +=
                item.size;
            break;
        case WDB_RECORD_DATABASES:
            dead += source->databases_size;
            source->databases_offset = item.offset;
            source->databases_size = item.size;
            break;
        case WDB_RECORD_ELEMENT_PUT:
            break;
        }
    }
    atomic_store(&segment->bytes_dead, dead);
    atomic_store(&segment->bytes_tombstone, tombstones);
    return rc == WALKERDB_ENOTFOUND ? 0 : rc;
}

int wdb_load_source_open(struct wdb_load *load, struct wdb_load_source *source)
{
    int rc = WALKERDB_ENOTFOUND;
    if (hint_allowed(load, source->segment)) {
        rc = open_hint(load, source);
    }
    if (rc != 0) {
        rc = scan_segment(load, source);
    }
    if (rc != 0) {
        return rc;
    }
    source->is_open = true;
    if (source->memory.data == NULL) {
        atomic_store(&source->segment->hinted, true);
    }
    return survey(source);
}

void wdb_load_source_close(struct wdb_load_source *source)
{
    if (source->is_open && source->memory.data == NULL) {
        wdb_hint_close(&source->hint);
    }
    wdb_buffer_release(&source->memory);
    wdb_segment_drop(source->segment);
}
