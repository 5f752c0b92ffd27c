/*
 * tail.c - where the log ends, by the rules of recovery (log/recovery.c).
 *
 * Segments that are not sealed are read until the first entry that is not
 * right. If the marks of the frames, or the manifest, say that this entry was
 * durable, it is damage, and what follows is looked at, too. Otherwise it is
 * what a crash leaves: recovery cuts it off, so it is not part of the log.
 */
#include <inttypes.h>

#include "walkerdb-check/check.h"

struct tail {
    uint64_t index_last, term;
    uint64_t mark; /* entries up to here were durable */
    uint32_t last_crc;
};

/* The first byte behind the last one that is not zero, to a multiple of 8. */
static uint64_t last_byte(const struct check_segment *segment, uint64_t from)
{
    uint64_t at = segment->size;
    while (at > from && segment->map[at - 1] == 0) {
        at--;
    }
    return wdb_align8(at) <= segment->size ? wdb_align8(at) : segment->size;
}

/* Read entries as long as they are right; returns where that ends. */
static uint64_t accept(const struct check_segment *segment, struct tail *tail)
{
    const uint8_t *map = segment->map;
    uint64_t at = WDB_SEGMENT_HEADER_SIZE;
    struct wdb_frame frame;
    struct wdb_entry_header entry;
    while (at < segment->size &&
           wdb_entry_decode(map + at, segment->size - at, at, segment->salt,
                            &frame, &entry) == 0 &&
           frame.previous_crc == tail->last_crc &&
           entry.index == tail->index_last + 1 && entry.term >= tail->term &&
           entry.type != WDB_ENTRY_MERGED &&
           wdb_entry_verify_payload(&entry, map + at + WDB_ENTRY_OVERHEAD) ==
               0) {
        tail->index_last = entry.index;
        tail->term = entry.term;
        tail->last_crc = frame.crc;
        tail->mark =
            frame.index_durable > tail->mark ? frame.index_durable : tail->mark;
        at += WDB_ENTRY_OVERHEAD + entry.payload_size;
    }
    return at;
}

/* Marks of frames that are right as such, wherever they are. */
static void collect_marks(const struct check_segment *segment, uint64_t from,
                          uint64_t end, struct tail *tail)
{
    struct wdb_frame frame;
    struct wdb_entry_header entry;
    for (uint64_t at = from; at + WDB_ENTRY_OVERHEAD <= end; at += 8) {
        if (wdb_load32(segment->map + at) == WDB_FRAME_MAGIC &&
            wdb_entry_decode(segment->map + at, segment->size - at, at,
                             segment->salt, &frame, &entry) == 0 &&
            frame.index_durable > tail->mark) {
            tail->mark = frame.index_durable;
        }
    }
}

/* Sealed segments end where the manifest says; returns the first other. */
static size_t end_sealed(struct check *check, struct tail *tail)
{
    size_t i = 0;
    for (; i < check->segment_count && check->segments[i].m.sealed; i++) {
        struct check_segment *segment = &check->segments[i];
        const uint64_t used = segment->m.size_used;
        segment->end = used < segment->size ? used : segment->size;
        tail->index_last = segment->m.index_last;
        tail->last_crc = segment->m.last_crc;
        if (segment->map != NULL &&
            last_byte(segment, segment->end) > segment->end) {
            check_note(check, segment->name,
                       "bytes that are not zeros follow its end at %" PRIu64
                       "; nothing reads them",
                       segment->end);
        }
    }
    return i;
}

/* Fill in what the manifest did not know yet of an unsealed segment. */
static void begin_open(struct check_segment *segment, struct tail *tail,
                       bool is_first)
{
    if (segment->m.index_first == 0 || !is_first) {
        segment->m.index_first = tail->index_last + 1;
        segment->m.first_previous_crc = tail->last_crc;
    } else {
        tail->index_last = segment->m.index_first - 1;
        tail->last_crc = segment->m.first_previous_crc;
    }
}

static void end_open(struct check *check, size_t first, struct tail *tail)
{
    struct check_segment *last = NULL; /* where the log ends */
    for (size_t i = first; i < check->segment_count; i++) {
        struct check_segment *segment = &check->segments[i];
        if (segment->map == NULL) {
            continue;
        }
        begin_open(segment, tail, i == first);
        segment->end = accept(segment, tail);
        if (segment->end > WDB_SEGMENT_HEADER_SIZE || last == NULL) {
            last = segment;
        }
    }
    for (size_t i = first; i < check->segment_count; i++) {
        struct check_segment *segment = &check->segments[i];
        if (segment->map != NULL) {
            collect_marks(segment, segment->end,
                          last_byte(segment, segment->end), tail);
        }
    }
    const bool damaged = tail->mark > tail->index_last;
    if (damaged) {
        check_problem(check, last != NULL ? last->name : NULL,
                      last != NULL ? last->end : UINT64_MAX,
                      "entry %" PRIu64 " should be here: entries up to %" PRIu64
                      " were durable",
                      tail->index_last + 1, tail->mark);
        if (last != NULL) {
            last->problem_count++;
        }
    }
    for (size_t i = first; i < check->segment_count; i++) {
        struct check_segment *segment = &check->segments[i];
        if (segment->map == NULL) {
            continue;
        }
        const uint64_t rest = last_byte(segment, segment->end);
        if (rest == segment->end) {
            continue;
        }
        if (damaged) {
            segment->end = rest;
        } else {
            segment->is_torn = true;
            check_note(check, segment->name,
                       "torn at %" PRIu64 ": %" PRIu64 " bytes follow that "
                       "were never durable; cut off when opened",
                       segment->end, rest - segment->end);
        }
    }
}

void check_find_ends(struct check *check)
{
    struct tail tail = {0};
    if (!check->has_manifest) {
        for (size_t i = 0; i < check->segment_count; i++) {
            struct check_segment *segment = &check->segments[i];
            if (segment->map != NULL) {
                segment->end = last_byte(segment, WDB_SEGMENT_HEADER_SIZE);
            }
        }
        return;
    }
    tail.mark = check->manifest.index_durable;
    const size_t first = end_sealed(check, &tail);
    end_open(check, first, &tail);
}
