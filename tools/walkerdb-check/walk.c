/*
 * walk.c - reads the entries of a segment, over damage.
 *
 *   [entry][entry][ damage . . . . . ][entry][entry with a bad record]
 *    every record  single records that   ...    the records that are right
 *    is right      are right
 *
 * Where no entry is, the next right frame is looked for; what lies between is
 * searched for single records. A record is taken only if its own checksum is
 * right.
 */
#include <inttypes.h>
#include <stdarg.h>

#include "walkerdb-check/check.h"

struct walk {
    struct check *check;
    struct check_segment *segment;
    check_record_cb callback;
    void *context;
    /* expectations for the next entry; unknown after a hole */
    bool chain_known;
    bool index_known;
    uint32_t last_crc;
    uint64_t index, term, time_ms;
    /* sequence of the record before, in this segment */
    uint64_t last_index;
    uint32_t last_place;
    bool any;
};

static void WDB_PRINTF(3, 4)
    problem(struct walk *walk, uint64_t offset, const char *format, ...)
{
    char text[256];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    walk->segment->problem_count++;
    check_problem(walk->check, walk->segment->name, offset, "%s", text);
}

/* Hand out one verified record. */
static int give(struct walk *walk, const struct wdb_record *record,
                uint64_t offset, uint64_t size)
{
    const struct check_place place = {walk->segment, offset, size};
    walk->last_index = record->index;
    walk->last_place = record->place;
    walk->any = true;
    walk->segment->record_count++;
    return walk->callback(walk->context, record, &place);
}

/* --- damage ----------------------------------------------------------------
 */

/* Give a record from damaged surroundings a sequence behind the one before. */
static void place_after(const struct walk *walk, struct wdb_record *record,
                        uint64_t index)
{
    if (record->flags & WDB_RECORD_SEQUENCE) {
        return;
    }
    record->index = index;
    record->place =
        walk->any && walk->last_index == index ? walk->last_place + 1 : 0;
}

/* Bytes to step over at a place where no right record is. If one seems to be
 * there, and another one (or the end) follows it, then only its content is
 * damaged: it is stepped over as a whole, so that a value that looks like a
 * record is not taken for one. */
static uint64_t step(const uint8_t *data, uint64_t left)
{
    struct wdb_record record;
    uint64_t size, next_size;
    if (wdb_record_decode(data, left, false, &record, &size) == 0 &&
        (size == left || wdb_record_decode(data + size, left - size, true,
                                           &record, &next_size) == 0)) {
        return size;
    }
    return 8;
}

/* Look for single records in [from, to); index: of the entry that they are
 * probably of. What is not a record is counted as lost. */
static int salvage(struct walk *walk, uint64_t from, uint64_t to,
                   uint64_t index)
{
    const uint8_t *map = walk->segment->map;
    uint64_t at = from, lost = 0;
    while (at < to) {
        struct wdb_record record;
        uint64_t size;
        if (wdb_load64(map + at) == 0 ||
            wdb_record_decode(map + at, to - at, true, &record, &size) != 0) {
            const uint64_t skip = step(map + at, to - at);
            at += skip;
            lost += skip;
            continue;
        }
        place_after(walk, &record, index);
        int rc = give(walk, &record, at, size);
        if (rc != 0) {
            return rc;
        }
        at += size;
    }
    walk->check->totals.bytes_lost += lost;
    return 0;
}

/* The next place from `at` on with a right frame, or `end`. */
static uint64_t next_frame(const struct walk *walk, uint64_t at, uint64_t end)
{
    const struct check_segment *segment = walk->segment;
    struct wdb_frame frame;
    struct wdb_entry_header entry;
    for (; at + WDB_ENTRY_OVERHEAD <= end; at += 8) {
        if (wdb_load32(segment->map + at) == WDB_FRAME_MAGIC &&
            wdb_entry_decode(segment->map + at, end - at, at, segment->salt,
                             &frame, &entry) == 0) {
            return at;
        }
    }
    return end;
}

/* --- entries ---------------------------------------------------------------
 */

/* Chain, index, term and time: what one entry owes to the one before. */
static void check_order(struct walk *walk, const struct wdb_frame *frame,
                        const struct wdb_entry_header *entry)
{
    const bool is_log = walk->segment->m.kind == WDB_SEGMENT_LOG;
    const uint64_t at = frame->offset;
    if (walk->chain_known && frame->previous_crc != walk->last_crc) {
        problem(walk, at, "the chain of frames is broken");
    }
    if ((entry->type == WDB_ENTRY_MERGED) == is_log) {
        problem(walk, at, "an entry of type %u in this kind of segment",
                entry->type);
    }
    if (is_log && walk->index_known && entry->index != walk->index) {
        problem(walk, at, "entry %" PRIu64 " where %" PRIu64 " should be",
                entry->index, walk->index);
    } else if (walk->any && entry->index < walk->last_index) {
        problem(walk, at,
                "entry %" PRIu64 " behind record %" PRIu64 ".%" PRIu32,
                entry->index, walk->last_index, walk->last_place);
    }
    if (is_log &&
        (entry->term < walk->term || entry->time_ms < walk->time_ms)) {
        problem(walk, at, "term or time go back");
    }
    if (is_log && frame->index_durable >= entry->index) {
        problem(walk, at, "it says of itself that it is durable");
    }
    walk->term = entry->term;
    walk->time_ms = entry->time_ms;
    walk->index = entry->index + 1;
    walk->index_known = true;
    walk->last_crc = frame->crc;
    walk->chain_known = true;
}

/* All records of an entry whose payload is right. */
static int give_all(struct walk *walk, uint64_t at,
                    const struct wdb_entry_header *entry)
{
    const struct check_segment *segment = walk->segment;
    const uint64_t end = at + entry->payload_size;
    for (uint32_t i = 0; i < entry->record_count; i++) {
        struct wdb_record record;
        uint64_t size;
        int rc = wdb_record_decode(segment->map + at, end - at, true, &record,
                                   &size);
        if (rc != 0) {
            problem(walk, at, "the disk does not give the same bytes twice");
            return salvage(walk, at, end, entry->index);
        }
        if ((record.flags & WDB_RECORD_SEQUENCE) == 0) {
            record.index = entry->index;
            record.place = i;
        } else if (walk->any && (record.index < walk->last_index ||
                                 (record.index == walk->last_index &&
                                  record.place <= walk->last_place))) {
            problem(walk, at,
                    "record %" PRIu64 ".%" PRIu32 " behind %" PRIu64
                    ".%" PRIu32,
                    record.index, record.place, walk->last_index,
                    walk->last_place);
        }
        rc = give(walk, &record, at, size);
        if (rc != 0) {
            return rc;
        }
        at += size;
    }
    return 0;
}

static int walk_entry(struct walk *walk, const struct wdb_frame *frame,
                      const struct wdb_entry_header *entry)
{
    struct check_segment *segment = walk->segment;
    const uint64_t payload = frame->offset + WDB_ENTRY_OVERHEAD;
    const bool has_records =
        entry->type == WDB_ENTRY_COMMAND || entry->type == WDB_ENTRY_MERGED;
    check_order(walk, frame, entry);
    if (segment->entry_count++ == 0) {
        segment->index_first = entry->index;
    }
    segment->index_last = entry->index;
    segment->last_crc = frame->crc;
    if (wdb_entry_verify_payload(entry, segment->map + payload) != 0) {
        problem(walk, frame->offset,
                "the payload of entry %" PRIu64 " (%" PRIu64 " bytes) is "
                "damaged",
                entry->index, entry->payload_size);
        walk->check->totals.regions_lost++;
        if (!has_records) {
            walk->check->totals.bytes_lost += entry->payload_size;
            return 0;
        }
        return salvage(walk, payload, payload + entry->payload_size,
                       entry->index);
    }
    const int rc = check_cluster_entry(walk->check, segment, frame, entry,
                                       segment->map + payload);
    return rc == 0 && has_records ? give_all(walk, payload, entry) : rc;
}

/* What the segment as a whole owes to the manifest. */
static void check_whole(struct walk *walk)
{
    const struct check_segment *segment = walk->segment;
    const struct wdb_manifest_segment *m = &segment->m;
    if (!m->sealed || segment->problem_count != 0) {
        return;
    }
    const bool is_log = m->kind == WDB_SEGMENT_LOG;
    if (is_log && walk->index != m->index_last + 1) {
        problem(walk, segment->end,
                "it ends with entry %" PRIu64 ", the manifest says %" PRIu64,
                walk->index - 1, m->index_last);
    }
    if (!is_log && segment->record_count != m->record_count) {
        problem(walk, segment->end,
                "it has %" PRIu64 " records, the manifest says %" PRIu64,
                segment->record_count, m->record_count);
    }
    if (!is_log && walk->any && walk->last_index > m->index_last) {
        problem(walk, segment->end,
                "it ends with record %" PRIu64 ".%" PRIu32
                ", the manifest says entry %" PRIu64,
                walk->last_index, walk->last_place, m->index_last);
    }
    if (is_log && segment->entry_count != 0 &&
        segment->last_crc != m->last_crc) {
        problem(walk, segment->end,
                "its last frame is not the one that the manifest knows");
    }
}

int check_walk(struct check *check, struct check_segment *segment,
               check_record_cb callback, void *context)
{
    struct walk walk = {
        .check = check,
        .segment = segment,
        .callback = callback,
        .context = context,
        .chain_known = segment->order_known,
        .index_known = segment->order_known,
        .last_crc = segment->m.first_previous_crc,
        .index = segment->m.index_first,
    };
    const uint64_t end = segment->end;
    uint64_t at = WDB_SEGMENT_HEADER_SIZE;
    while (at < end) {
        struct wdb_frame frame;
        struct wdb_entry_header entry;
        uint64_t next;
        int rc;
        if (wdb_entry_decode(segment->map + at, end - at, at, segment->salt,
                             &frame, &entry) == 0) {
            next = at + WDB_ENTRY_OVERHEAD + entry.payload_size;
            rc = walk_entry(&walk, &frame, &entry);
        } else {
            next = next_frame(&walk, at + 8, end);
            problem(&walk, at, "no entry for %" PRIu64 " bytes", next - at);
            walk.chain_known = false;
            walk.index_known = false;
            check->totals.regions_lost++;
            rc = salvage(&walk, at, next, walk.index);
        }
        if (rc != 0) {
            return rc;
        }
        check_advance(check, next - at);
        at = next;
    }
    if (check->env->ops->damaged(check->env, segment->map)) {
        problem(&walk, UINT64_MAX, "the disk cannot read a part of it");
    }
    check_whole(&walk);
    check_advance(check, segment->size > end ? segment->size - end : 0);
    return 0;
}
