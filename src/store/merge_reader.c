/* merge_reader.c - walks the records of a sealed segment. */
#include "store/merge_reader.h"

#include "base/assert.h"

void wdb_merge_reader_init(struct wdb_merge_reader *reader, struct wdb_env *env,
                           const struct wdb_segment *segment, bool verify)
{
    *reader = (struct wdb_merge_reader){
        .env = env,
        .segment = segment,
        .verify = verify,
        .offset = WDB_SEGMENT_HEADER_SIZE,
    };
}

/* A page that could not be read looks like zeros: tell that apart. */
static int damage(const struct wdb_merge_reader *reader)
{
    return reader->env->ops->damaged(reader->env, reader->segment->map)
               ? WALKERDB_EIO
               : WALKERDB_ECORRUPT;
}

static int begin_entry(struct wdb_merge_reader *reader)
{
    const struct wdb_segment *segment = reader->segment;
    struct wdb_frame frame;
    wdb_segment_read_ahead(segment, reader->offset, &reader->asked);
    int rc =
        wdb_entry_decode(segment->map + reader->offset,
                         segment->size_used - reader->offset, reader->offset,
                         segment->header.salt, &frame, &reader->entry);
    if (rc == 0 && reader->verify) {
        rc = wdb_entry_verify_payload(
            &reader->entry, segment->map + reader->offset + WDB_ENTRY_OVERHEAD);
    }
    if (rc != 0) {
        return damage(reader);
    }
    reader->in_entry = true;
    reader->at = 0;
    reader->place = 0;
    return 0;
}

static bool has_records(const struct wdb_entry_header *entry)
{
    return entry->type == WDB_ENTRY_COMMAND || entry->type == WDB_ENTRY_MERGED;
}

int wdb_merge_reader_next(struct wdb_merge_reader *reader,
                          struct wdb_record *record_out,
                          wdb_position *position_out, uint64_t *size_out)
{
    const struct wdb_segment *segment = reader->segment;
    for (;;) {
        if (!reader->in_entry) {
            if (reader->offset >= segment->size_used) {
                return WALKERDB_ENOTFOUND;
            }
            const int rc = begin_entry(reader);
            if (rc != 0) {
                return rc;
            }
        }
        if (has_records(&reader->entry) &&
            reader->at < reader->entry.payload_size) {
            break;
        }
        reader->in_entry = false;
        reader->offset += WDB_ENTRY_OVERHEAD + reader->entry.payload_size;
    }
    const uint64_t offset = reader->offset + WDB_ENTRY_OVERHEAD + reader->at;
    if (wdb_record_decode(segment->map + offset,
                          reader->entry.payload_size - reader->at, false,
                          record_out, size_out) != 0) {
        return damage(reader);
    }
    if ((record_out->flags & WDB_RECORD_SEQUENCE) == 0) {
        record_out->index = reader->entry.index;
        record_out->place = reader->place;
    }
    reader->place++;
    reader->at += *size_out;
    *position_out = wdb_position_make(segment->slot, offset);
    return 0;
}
