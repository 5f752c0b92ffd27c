/* string.c - reads strings, whichever way they are kept. */
#include "type/string.h"

#include "base/bytes.h"
#include "walkerdb.h"

/* What was never written reads as these. */
static const uint8_t zeros[4096];

int wdb_string_open(const struct wdb_value *value, struct wdb_string *out)
{
    const struct wdb_record *record = &value->record;
    struct wdb_string string = {.size = record->value.size, .value = *value};
    if (WDB_UNLIKELY(record->flags & WDB_RECORD_OBJECT)) {
        if (record->type != WDB_TYPE_STRING_CHUNKS ||
            record->value.size != WDB_STRING_HEADER_SIZE) {
            return WALKERDB_ECORRUPT;
        }
        string.size = wdb_load64(record->value.data);
        string.chunk_size = wdb_load32(record->value.data + 8);
        string.object_id = record->object_id;
        if (string.chunk_size == 0) {
            return WALKERDB_ECORRUPT;
        }
    }
    *out = string;
    return 0;
}

struct wdb_chunk_name wdb_chunk_name(uint64_t number)
{
    struct wdb_chunk_name name;
    wdb_store64(name.bytes, number);
    return name;
}

static bool find_chunk(const struct wdb_value_io *io, struct wdb_object_id id,
                       uint64_t number, struct wdb_item *out)
{
    const struct wdb_chunk_name name = wdb_chunk_name(number);
    return wdb_store_find_element(io->store, id,
                                  wdb_slice(name.bytes, sizeof(name.bytes)),
                                  out);
}

int wdb_chunk_read(const struct wdb_value_io *io, struct wdb_object_id id,
                   uint64_t number, struct wdb_string_piece *out)
{
    struct wdb_item item;
    if (!find_chunk(io, id, number, &item)) {
        *out = (struct wdb_string_piece){.segment = NULL};
        return 0;
    }
    struct wdb_value value;
    const int rc = io->read(io->context, &item, &value);
    if (rc == 0) {
        *out = (struct wdb_string_piece){value.record.value, value.segment};
    }
    return rc;
}

/* The chunk at offset is not in memory: nor are, most likely, those behind it
 * that will be read next. */
static void want_range(const struct wdb_value_io *io,
                       const struct wdb_string *string, uint64_t offset,
                       uint64_t limit)
{
    const uint64_t left = string->size - offset;
    const uint64_t end = offset + (limit < left ? limit : left);
    for (uint64_t n = offset / string->chunk_size + 1;
         n * string->chunk_size < end; n++) {
        struct wdb_item item;
        if (find_chunk(io, string->object_id, n, &item)) {
            io->want(io->context, &item);
        }
    }
}

int wdb_string_piece(const struct wdb_value_io *io,
                     const struct wdb_string *string, uint64_t offset,
                     uint64_t limit, struct wdb_string_piece *out)
{
    uint64_t left = string->size - offset;
    left = limit < left ? limit : left;
    if (string->chunk_size == 0) {
        *out = (struct wdb_string_piece){
            wdb_slice(string->value.record.value.data + offset, left),
            string->value.segment};
        return 0;
    }
    struct wdb_string_piece chunk;
    const int rc = wdb_chunk_read(io, string->object_id,
                                  offset / string->chunk_size, &chunk);
    if (rc != 0) {
        if (rc == WALKERDB_EAGAIN) {
            want_range(io, string, offset, limit);
        }
        return rc;
    }
    const uint64_t at = offset % string->chunk_size;
    if (at < chunk.bytes.size) {
        const uint64_t stored = chunk.bytes.size - at;
        chunk.bytes =
            wdb_slice(chunk.bytes.data + at, stored < left ? stored : left);
        *out = chunk;
        return 0;
    }
    uint64_t size = string->chunk_size - at;
    size = size < left ? size : left;
    size = size < sizeof(zeros) ? size : sizeof(zeros);
    *out = (struct wdb_string_piece){wdb_slice(zeros, size), NULL};
    return 0;
}

int wdb_string_copy(const struct wdb_value_io *io,
                    const struct wdb_string *string, uint64_t offset,
                    uint64_t size, uint8_t *out)
{
    while (size > 0) {
        struct wdb_string_piece piece;
        const int rc = wdb_string_piece(io, string, offset, size, &piece);
        if (rc != 0) {
            return rc;
        }
        memcpy(out, piece.bytes.data, piece.bytes.size);
        out += piece.bytes.size;
        offset += piece.bytes.size;
        size -= piece.bytes.size;
    }
    return 0;
}
