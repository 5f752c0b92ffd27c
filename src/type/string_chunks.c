/*
 * string_chunks.c - changes strings in place.
 *
 * Changed chunks are collected in memory, sorted by number, and emitted at the
 * end: nothing is emitted while something may still be read, because what
 * records of the same transaction hold moves when a record is added.
 */
#include "type/string_chunks.h"

#include <stdlib.h>

#include "base/assert.h"
#include "base/bytes.h"
#include "base/least.h"
#include "walkerdb.h"

/* The old string as one piece of our own memory, with room for `size`. */
static int take_whole(struct wdb_string_edit *edit, uint64_t size)
{
    edit->whole = calloc(1, size > 0 ? size : 1);
    if (edit->whole == NULL) {
        return WALKERDB_ENOMEM;
    }
    return wdb_string_copy(edit->io, &edit->old, 0, edit->old.size,
                           edit->whole);
}

int wdb_string_edit_begin(struct wdb_string_edit *edit,
                          const struct wdb_value_io *io,
                          const struct wdb_string *old, uint64_t size)
{
    *edit = (struct wdb_string_edit){.io = io, .size = size};
    if (old != NULL) {
        wdb_assert(size >= old->size);
        edit->old = *old;
        edit->exists = true;
    }
    if (edit->old.chunk_size != 0) {
        edit->chunk_size = edit->old.chunk_size;
        return 0;
    }
    if (size <= WDB_STRING_WHOLE_MAX) {
        return take_whole(edit, size);
    }
    edit->chunk_size = WDB_STRING_CHUNK_SIZE;
    if (edit->old.size > 0 && edit->old.value.segment == NULL) {
        /* It is staged in this transaction: moves when chunks are emitted. */
        const int rc = take_whole(edit, edit->old.size);
        edit->old.value.record.value = wdb_slice(edit->whole, edit->old.size);
        return rc;
    }
    return 0;
}

void wdb_string_edit_release(struct wdb_string_edit *edit)
{
    for (uint32_t i = 0; i < edit->count; i++) {
        free(edit->chunks[i].data);
    }
    free(edit->chunks);
    free(edit->whole);
}

/* Place of the first changed chunk that is not below the number. */
static uint32_t chunk_place(const struct wdb_string_edit *edit, uint64_t number)
{
    uint32_t low = 0, high = edit->count;
    while (low < high) {
        const uint32_t middle = low + (high - low) / 2;
        if (edit->chunks[middle].number < number) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static int grow_chunks(struct wdb_string_edit *edit)
{
    const uint32_t capacity = edit->capacity == 0 ? 4 : edit->capacity * 2;
    struct wdb_string_chunk *chunks =
        realloc(edit->chunks, capacity * sizeof(*chunks));
    if (chunks == NULL) {
        return WALKERDB_ENOMEM;
    }
    edit->chunks = chunks;
    edit->capacity = capacity;
    return 0;
}

/* The old bytes of a chunk, into memory that is all zeros. */
static int fill_chunk(const struct wdb_string_edit *edit, uint64_t number,
                      uint8_t *out)
{
    if (edit->old.chunk_size != 0) {
        struct wdb_string_piece chunk;
        const int rc =
            wdb_chunk_read(edit->io, edit->old.object_id, number, &chunk);
        if (rc == 0 && chunk.bytes.size > 0) {
            memcpy(out, chunk.bytes.data,
                   wdb_least(chunk.bytes.size, edit->chunk_size));
        }
        return rc;
    }
    const uint64_t begin = number * edit->chunk_size;
    if (begin < edit->old.size) {
        memcpy(out, edit->old.value.record.value.data + begin,
               wdb_least(edit->old.size - begin, edit->chunk_size));
    }
    return 0;
}

/* The chunk in memory to be changed; with `fill`, what it held before. */
static int change_chunk(struct wdb_string_edit *edit, uint64_t number,
                        bool fill, uint8_t **out)
{
    const uint32_t place = chunk_place(edit, number);
    if (place < edit->count && edit->chunks[place].number == number) {
        *out = edit->chunks[place].data;
        return 0;
    }
    if (edit->count == edit->capacity) {
        const int rc = grow_chunks(edit);
        if (rc != 0) {
            return rc;
        }
    }
    uint8_t *data = calloc(1, edit->chunk_size);
    if (data == NULL) {
        return WALKERDB_ENOMEM;
    }
    const int rc = fill ? fill_chunk(edit, number, data) : 0;
    if (rc != 0) {
        free(data);
        return rc;
    }
    memmove(&edit->chunks[place + 1], &edit->chunks[place],
            (edit->count - place) * sizeof(*edit->chunks));
    edit->chunks[place] = (struct wdb_string_chunk){number, data};
    edit->count++;
    *out = data;
    return 0;
}

int wdb_string_edit_write(struct wdb_string_edit *edit, uint64_t offset,
                          struct wdb_slice bytes)
{
    wdb_assert(offset <= edit->size && bytes.size <= edit->size - offset);
    if (edit->chunk_size == 0) {
        if (bytes.size > 0) {
            memcpy(edit->whole + offset, bytes.data, bytes.size);
        }
        return 0;
    }
    while (bytes.size > 0) {
        const uint64_t at = offset % edit->chunk_size;
        const uint64_t size = wdb_least(edit->chunk_size - at, bytes.size);
        uint8_t *chunk;
        const int rc = change_chunk(edit, offset / edit->chunk_size,
                                    size < edit->chunk_size, &chunk);
        if (rc != 0) {
            return rc;
        }
        memcpy(chunk + at, bytes.data, size);
        bytes = wdb_slice(bytes.data + size, bytes.size - size);
        offset += size;
    }
    return 0;
}

/* Read inside one chunk; out is all zeros. */
static int read_chunk(struct wdb_string_edit *edit, uint64_t offset,
                      uint64_t size, uint8_t *out)
{
    const uint64_t number = offset / edit->chunk_size;
    const uint64_t at = offset % edit->chunk_size;
    const uint32_t place = chunk_place(edit, number);
    if (place < edit->count && edit->chunks[place].number == number) {
        memcpy(out, edit->chunks[place].data + at, size);
        return 0;
    }
    if (offset >= edit->old.size) {
        return 0;
    }
    return wdb_string_copy(edit->io, &edit->old, offset,
                           wdb_least(size, edit->old.size - offset), out);
}

int wdb_string_edit_read(struct wdb_string_edit *edit, uint64_t offset,
                         uint64_t size, uint8_t *out)
{
    memset(out, 0, size);
    if (offset >= edit->size) {
        return 0;
    }
    size = wdb_least(size, edit->size - offset);
    if (edit->chunk_size == 0) {
        memcpy(out, edit->whole + offset, size);
        return 0;
    }
    while (size > 0) {
        const uint64_t part =
            wdb_least(size, edit->chunk_size - offset % edit->chunk_size);
        const int rc = read_chunk(edit, offset, part, out);
        if (rc != 0) {
            return rc;
        }
        out += part;
        offset += part;
        size -= part;
    }
    return 0;
}

static int emit_header(const struct wdb_value_io *io, struct wdb_object_id id,
                       uint64_t size, uint32_t chunk_size, uint64_t expiry_ms)
{
    uint8_t header[WDB_STRING_HEADER_SIZE] = {0};
    wdb_store64(header, size);
    wdb_store32(header + 8, chunk_size);
    const struct wdb_record record = {
        .kind = WDB_RECORD_PUT,
        .flags = WDB_RECORD_OBJECT | (expiry_ms != 0 ? WDB_RECORD_EXPIRY : 0),
        .type = WDB_TYPE_STRING_CHUNKS,
        .expiry_ms = expiry_ms,
        .object_id = id,
        .value = wdb_slice(header, sizeof(header)),
    };
    return io->emit(io->context, &record);
}

static int emit_chunk(const struct wdb_value_io *io, struct wdb_object_id id,
                      uint64_t number, struct wdb_slice bytes)
{
    const struct wdb_chunk_name name = wdb_chunk_name(number);
    const struct wdb_record record = {
        .kind = WDB_RECORD_ELEMENT_PUT,
        .flags = WDB_RECORD_OBJECT,
        .object_id = id,
        .key = wdb_slice(name.bytes, sizeof(name.bytes)),
        .value = bytes,
    };
    return io->emit(io->context, &record);
}

static int emit_changed(const struct wdb_string_edit *edit,
                        struct wdb_object_id id, uint32_t i)
{
    const struct wdb_string_chunk *chunk = &edit->chunks[i];
    const uint64_t begin = chunk->number * edit->chunk_size;
    return emit_chunk(edit->io, id, chunk->number,
                      wdb_slice(chunk->data, wdb_least(edit->chunk_size,
                                                       edit->size - begin)));
}

/* The old string was in one piece: all of it becomes chunks. */
static int emit_all(const struct wdb_string_edit *edit, struct wdb_object_id id)
{
    const uint8_t *old = edit->old.value.record.value.data;
    uint32_t next = 0;
    for (uint64_t n = 0; n * edit->chunk_size < edit->old.size; n++) {
        int rc;
        if (next < edit->count && edit->chunks[next].number == n) {
            rc = emit_changed(edit, id, next++);
        } else {
            const uint64_t begin = n * edit->chunk_size;
            const uint64_t left = edit->old.size - begin;
            rc = emit_chunk(edit->io, id, n,
                            wdb_slice(old + begin,
                                      wdb_least(edit->chunk_size, left)));
        }
        if (rc != 0) {
            return rc;
        }
    }
    for (; next < edit->count; next++) {
        const int rc = emit_changed(edit, id, next);
        if (rc != 0) {
            return rc;
        }
    }
    return 0;
}

static int commit_whole(const struct wdb_string_edit *edit, uint64_t expiry_ms)
{
    const struct wdb_record record = {
        .kind = WDB_RECORD_PUT,
        .flags = expiry_ms != 0 ? WDB_RECORD_EXPIRY : 0,
        .type = WDB_TYPE_STRING_RAW,
        .expiry_ms = expiry_ms,
        .value = wdb_slice(edit->whole, edit->size),
    };
    return edit->io->emit(edit->io->context, &record);
}

int wdb_string_edit_commit(struct wdb_string_edit *edit, uint64_t expiry_ms)
{
    if (edit->chunk_size == 0) {
        return commit_whole(edit, expiry_ms);
    }
    struct wdb_object_id id = edit->old.object_id;
    int rc = 0;
    if (edit->old.chunk_size == 0) {
        rc = wdb_store_new_object(edit->io->store, &id);
    }
    if (rc == 0 &&
        (edit->old.chunk_size == 0 || edit->size != edit->old.size)) {
        rc = emit_header(edit->io, id, edit->size, edit->chunk_size, expiry_ms);
    }
    if (rc == 0 && edit->old.chunk_size == 0) {
        return emit_all(edit, id);
    }
    for (uint32_t i = 0; rc == 0 && i < edit->count; i++) {
        rc = emit_changed(edit, id, i);
    }
    return rc;
}

int wdb_string_duplicate(const struct wdb_value_io *io,
                         const struct wdb_string *string, uint64_t expiry_ms)
{
    uint8_t *copy = malloc(string->chunk_size);
    if (copy == NULL) {
        return WALKERDB_ENOMEM;
    }
    struct wdb_object_id id;
    int rc = wdb_store_new_object(io->store, &id);
    if (rc == 0) {
        rc = emit_header(io, id, string->size, string->chunk_size, expiry_ms);
    }
    for (uint64_t n = 0; rc == 0 && n * string->chunk_size < string->size;
         n++) {
        struct wdb_string_piece chunk;
        rc = wdb_chunk_read(io, string->object_id, n, &chunk);
        if (rc == 0 && chunk.bytes.size > 0) {
            /* It may be staged, and move when it is emitted. */
            const uint64_t size =
                wdb_least(chunk.bytes.size, string->chunk_size);
            memcpy(copy, chunk.bytes.data, size);
            rc = emit_chunk(io, id, n, wdb_slice(copy, size));
        }
    }
    free(copy);
    return rc;
}
