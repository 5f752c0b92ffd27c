/*
 * scan.c - reads entries: all of a segment, or one by its index.
 */
#include <stdlib.h>

#include "log/log_internal.h"

#define FETCH_CHUNK ((size_t)64 << 10)
#define AHEAD_SIZE  ((uint64_t)1 << 20)

/* End of what can be read of a segment now. */
static uint64_t end_of(const struct wdb_segment *segment)
{
    if (atomic_load_explicit(&segment->finished, memory_order_acquire)) {
        const uint64_t written =
            atomic_load_explicit(&segment->written, memory_order_acquire);
        return written < segment->size_used ? written : segment->size_used;
    }
    return atomic_load_explicit(&segment->written, memory_order_acquire);
}

void wdb_log_loaded(struct wdb_log *log)
{
    pthread_mutex_lock(&log->catalog);
    for (size_t i = 0; i < log->order_count; i++) {
        log->env->ops->advise_random(log->order[i]->file);
    }
    pthread_mutex_unlock(&log->catalog);
}

void wdb_segment_read_ahead(const struct wdb_segment *segment, uint64_t offset,
                            uint64_t *asked)
{
    if (offset + AHEAD_SIZE / 2 >= *asked && *asked < segment->size) {
        const uint64_t from = *asked > offset ? *asked : offset;
        segment->file->env->ops->advise_willneed(segment->file, from,
                                                 AHEAD_SIZE);
        *asked = from + AHEAD_SIZE;
    }
}

/* An entry that is being read. */
struct cursor {
    struct wdb_segment *segment;
    uint64_t offset; /* of the frame */
    uint64_t end;
    uint64_t asked; /* to be read ahead */
    uint32_t previous_crc;
    struct wdb_frame frame;
    struct wdb_entry_header entry;
};

static const uint8_t *payload_of(const struct cursor *c)
{
    return c->segment->map + c->offset + WDB_ENTRY_OVERHEAD;
}

/* A page that could not be read looks like zeros: tell that apart. */
static int damage(const struct cursor *c)
{
    struct wdb_env *env = c->segment->log->env;
    return env->ops->damaged(env, c->segment->map) ? WALKERDB_EIO
                                                   : WALKERDB_ECORRUPT;
}

/* Read the headers at the offset, which is before the end. */
static int cursor_read(struct cursor *c)
{
    wdb_segment_read_ahead(c->segment, c->offset, &c->asked);
    int rc = wdb_entry_decode(c->segment->map + c->offset, c->end - c->offset,
                              c->offset, c->segment->header.salt, &c->frame,
                              &c->entry);
    if (rc != 0 || (c->segment->kind == WDB_SEGMENT_LOG &&
                    c->frame.previous_crc != c->previous_crc)) {
        return damage(c);
    }
    return 0;
}

static void cursor_next(struct cursor *c)
{
    c->offset += WDB_ENTRY_OVERHEAD + c->entry.payload_size;
    c->previous_crc = c->frame.crc;
}

/* Hand the records of the entry to the callback. */
static int visit(const struct cursor *c, wdb_log_record_cb callback,
                 void *context)
{
    const uint8_t *payload = payload_of(c);
    uint64_t at = 0;
    for (uint32_t i = 0; i < c->entry.record_count; i++) {
        struct wdb_record record;
        uint64_t size;
        int rc = wdb_record_decode(payload + at, c->entry.payload_size - at,
                                   false, &record, &size);
        wdb_assert(rc == 0); /* verified */
        if ((record.flags & WDB_RECORD_SEQUENCE) == 0) {
            record.index = c->entry.index;
            record.place = i;
        }
        const uint64_t offset = c->offset + WDB_ENTRY_OVERHEAD + at;
        rc = callback(context, &record,
                      wdb_position_make(c->segment->slot, offset), size);
        if (rc != 0) {
            return rc;
        }
        at += size;
    }
    return 0;
}

int wdb_log_scan(struct wdb_log *log, struct wdb_segment *segment,
                 wdb_log_record_cb callback, void *context,
                 uint64_t *offset_out)
{
    struct cursor c = {
        .segment = segment,
        .offset = WDB_SEGMENT_HEADER_SIZE,
        .end = end_of(segment),
        .previous_crc = segment->first_previous_crc,
    };
    (void)log;
    while (c.offset < c.end) {
        int rc = cursor_read(&c);
        if (rc == 0 &&
            wdb_entry_verify_payload(&c.entry, payload_of(&c)) != 0) {
            rc = damage(&c);
        }
        if (rc != 0) {
            if (offset_out != NULL) {
                *offset_out = c.offset;
            }
            return rc;
        }
        rc = c.entry.type == WDB_ENTRY_COMMAND ||
                     c.entry.type == WDB_ENTRY_MERGED
                 ? visit(&c, callback, context)
                 : 0;
        if (rc != 0) {
            return rc;
        }
        cursor_next(&c);
    }
    return 0;
}

/* --- by index -------------------------------------------------------------- */

/* Marks of a segment that was sealed before this process began. */
static int build_marks(struct wdb_segment *segment)
{
    struct cursor c = {
        .segment = segment,
        .offset = WDB_SEGMENT_HEADER_SIZE,
        .end = segment->size_used,
        .previous_crc = segment->first_previous_crc,
    };
    segment->mark_capacity =
        (uint32_t)(segment->size_used / WDB_SEGMENT_MARK_DISTANCE) + 2;
    segment->marks = malloc(segment->mark_capacity * sizeof(*segment->marks));
    if (segment->marks == NULL) {
        return WALKERDB_ENOMEM;
    }
    while (c.offset < c.end) {
        int rc = cursor_read(&c);
        if (rc != 0) {
            free(segment->marks);
            segment->marks = NULL;
            atomic_store(&segment->mark_count, 0);
            return rc;
        }
        wdb_segment_mark(segment, c.entry.index, c.offset);
        cursor_next(&c);
    }
    return 0;
}

/* The mark at or before the index. Under lookup. */
static int nearest_mark(struct wdb_segment *segment, uint64_t index,
                        struct wdb_segment_mark *out)
{
    if (segment->marks == NULL) {
        int rc = build_marks(segment);
        if (rc != 0) {
            return rc;
        }
    }
    uint32_t from = 0;
    uint32_t to =
        atomic_load_explicit(&segment->mark_count, memory_order_acquire);
    while (from < to) {
        const uint32_t middle = from + (to - from) / 2;
        if (segment->marks[middle].index <= index) {
            from = middle + 1;
        } else {
            to = middle;
        }
    }
    if (from == 0) {
        return WALKERDB_ENOTFOUND;
    }
    *out = segment->marks[from - 1];
    for (uint32_t i = 0; i < WDB_SEGMENT_RECENT_COUNT; i++) {
        const struct wdb_segment_mark *recent = &segment->recent[i];
        if (recent->index <= index && recent->index > out->index) {
            *out = *recent;
        }
    }
    return 0;
}

/* Who asked for the entry at the cursor will ask for the one behind it. */
static void note_next(struct wdb_log *log, const struct cursor *c,
                      const struct wdb_segment_mark *from)
{
    struct wdb_segment *segment = c->segment;
    const struct wdb_segment_mark next = {c->entry.index + 1,
                                          c->offset + WDB_ENTRY_OVERHEAD +
                                              c->entry.payload_size};
    pthread_mutex_lock(&log->lookup);
    uint32_t at = 0;
    while (at < WDB_SEGMENT_RECENT_COUNT &&
           segment->recent[at].index != from->index) {
        at++;
    }
    if (at == WDB_SEGMENT_RECENT_COUNT) {
        at = segment->recent_next++ % WDB_SEGMENT_RECENT_COUNT;
    }
    segment->recent[at] = next;
    pthread_mutex_unlock(&log->lookup);
}

/* Put the cursor on the entry with this index. */
static int find(struct wdb_log *log, struct wdb_segment *segment,
                uint64_t index, struct cursor *c)
{
    struct wdb_segment_mark mark;
    pthread_mutex_lock(&log->lookup);
    int rc = nearest_mark(segment, index, &mark);
    pthread_mutex_unlock(&log->lookup);
    if (rc != 0) {
        return rc;
    }
    *c = (struct cursor){.segment = segment,
                         .offset = mark.offset,
                         .end = end_of(segment)};
    while (c->offset < c->end) {
        /* The chain is known from the second on. */
        if (c->offset == mark.offset) {
            rc = wdb_entry_decode(segment->map + c->offset, c->end - c->offset,
                                  c->offset, segment->header.salt, &c->frame,
                                  &c->entry);
            rc = rc == 0 ? 0 : damage(c);
            c->previous_crc = c->frame.previous_crc;
        } else {
            rc = cursor_read(c);
        }
        if (rc != 0) {
            return rc;
        }
        if (c->entry.index == index) {
            note_next(log, c, &mark);
            return 0;
        }
        cursor_next(c);
    }
    return WALKERDB_ENOTFOUND;
}

int wdb_scan_find(struct wdb_log *log, struct wdb_segment *segment,
                  uint64_t index, uint64_t *offset_out,
                  uint32_t *previous_crc_out)
{
    struct cursor c;
    int rc = find(log, segment, index, &c);
    if (rc == 0) {
        *offset_out = c.offset;
        *previous_crc_out = c.previous_crc;
    }
    return rc;
}

/* The log segment that has this index, with a reference, or NULL. */
static struct wdb_segment *segment_of(struct wdb_log *log, uint64_t index)
{
    struct wdb_segment *found = NULL;
    pthread_mutex_lock(&log->sequencer);
    pthread_mutex_lock(&log->table);
    size_t from = 0;
    size_t to = log->order_count;
    if (to > 0 && log->order[to - 1] == log->next) {
        to--; /* prepared: no index yet */
    }
    while (from < to) {
        const size_t middle = from + (to - from) / 2;
        if (log->order[middle]->index_first <= index) {
            from = middle + 1;
        } else {
            to = middle;
        }
    }
    if (from > 0) {
        found = log->order[from - 1];
    }
    if (found != NULL && found->kind == WDB_SEGMENT_LOG) {
        wdb_segment_acquire(found);
    } else {
        found = NULL;
    }
    pthread_mutex_unlock(&log->table);
    pthread_mutex_unlock(&log->sequencer);
    return found;
}

/* Put the cursor on the entry; its segment has a reference to drop. */
static int find_entry(struct wdb_log *log, uint64_t index, struct cursor *c)
{
    if (index == 0 || index > wdb_log_appended(log)) {
        return WALKERDB_ENOTFOUND;
    }
    struct wdb_segment *segment = segment_of(log, index);
    if (segment == NULL) {
        return WALKERDB_ENOTFOUND;
    }
    const int rc = find(log, segment, index, c);
    if (rc != 0) {
        wdb_segment_drop(segment);
    }
    return rc;
}

int wdb_log_entry_unverified(struct wdb_log *log, uint64_t index,
                             struct wdb_entry_header *entry_out,
                             const uint8_t **payload_out,
                             struct wdb_segment **segment_out)
{
    struct cursor c;
    const int rc = find_entry(log, index, &c);
    if (rc == 0) {
        *entry_out = c.entry;
        *payload_out = payload_of(&c);
        *segment_out = c.segment;
    }
    return rc;
}

int wdb_log_entry(struct wdb_log *log, uint64_t index,
                  struct wdb_entry_header *entry_out,
                  const uint8_t **payload_out, struct wdb_segment **segment_out)
{
    struct cursor c;
    int rc = find_entry(log, index, &c);
    if (rc != 0) {
        return rc;
    }
    if (wdb_entry_verify_payload(&c.entry, payload_of(&c)) != 0) {
        rc = damage(&c);
        wdb_segment_drop(c.segment);
        return rc;
    }
    *entry_out = c.entry;
    *payload_out = payload_of(&c);
    *segment_out = c.segment;
    return 0;
}

int wdb_log_entry_header(struct wdb_log *log, uint64_t index,
                         struct wdb_entry_header *entry_out)
{
    struct cursor c;
    const int rc = find_entry(log, index, &c);
    if (rc == 0) {
        *entry_out = c.entry;
        wdb_segment_drop(c.segment);
    }
    return rc;
}

uint64_t wdb_log_index_first(struct wdb_log *log)
{
    pthread_mutex_lock(&log->sequencer);
    uint64_t first = log->index_closed + 1;
    pthread_mutex_lock(&log->table);
    size_t at = log->order_count;
    if (at > 0 && log->order[at - 1] == log->next) {
        at--; /* prepared: no index yet */
    }
    /* A run that merge took leaves merged segments, or a gap. */
    for (; at > 0; at--) {
        const struct wdb_segment *segment = log->order[at - 1];
        const uint64_t last =
            segment == log->current ? log->index_closed : segment->index_last;
        if (segment->kind != WDB_SEGMENT_LOG || last + 1 != first) {
            break;
        }
        first = segment->index_first;
    }
    pthread_mutex_unlock(&log->table);
    pthread_mutex_unlock(&log->sequencer);
    return first;
}

/* --- residency ------------------------------------------------------------- */

bool wdb_log_is_resident(struct wdb_log *log, wdb_position position,
                         size_t size)
{
    struct wdb_segment *segment =
        wdb_log_segment(log, wdb_position_slot(position));
    const uint64_t offset = wdb_position_offset(position);
    if (segment == NULL ||
        offset >=
            atomic_load_explicit(&segment->written, memory_order_acquire)) {
        return true;
    }
    return wdb_residency_check(segment->residency, log->env, segment->map,
                               offset, size);
}

int wdb_log_fetch(struct wdb_log *log, struct wdb_segment *segment,
                  uint64_t offset, size_t size)
{
    uint8_t *chunk = malloc(FETCH_CHUNK);
    int rc = chunk == NULL ? WALKERDB_ENOMEM : 0;
    for (uint64_t at = offset; at < offset + size && rc == 0;) {
        const uint64_t left = offset + size - at;
        const size_t want = left < FETCH_CHUNK ? (size_t)left : FETCH_CHUNK;
        size_t got = 0;
        rc = log->env->ops->pread(segment->file, chunk, want, at, &got);
        at += want;
    }
    free(chunk);
    if (rc == 0) {
        wdb_residency_mark(segment->residency, offset, size);
    }
    return rc;
}
