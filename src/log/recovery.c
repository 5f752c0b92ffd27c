/*
 * recovery.c - decides, at open, where the log ends.
 *
 * Sealed segments were synced before the manifest said so: they are opened and
 * left alone (whoever reads their records verifies them). The others are read
 * entry by entry, in order:
 *
 *     U1                          U2                     U3 (prepared)
 *   [ e1 e2 e3 . . . . . . . . ][ e4 e5 e6? e7 . . . . ][ . . . . . . . ]
 *                                       ^ the log ends here
 *
 * An entry is accepted if its frame, its place in the chain, its index and its
 * whole payload are right. At the first that is not, the log ends; but its
 * pages may just not have reached the disk, or they may be damaged. The frames
 * that follow, anywhere, tell: each holds the highest index that was known to
 * be durable when it was written. So does the manifest. If the missing entry
 * is at or below the highest such mark, it was durable once: that is damage,
 * and the log stays closed. Otherwise nothing that was promised is lost: what
 * follows is put aside and cut off.
 *
 * Nothing is changed before that is decided; and at each step of the changes
 * (cut.c) a crash leaves something that recovers to the same entries.
 */
#include "log/recovery.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "log/names.h"

#define PROGRESS_DISTANCE ((uint64_t)4 << 20)

void wdb_recovery_say(struct wdb_recovery *r, const char *format, ...)
{
    va_list args;
    char *text = NULL;
    if (r->message_out == NULL || *r->message_out != NULL) {
        return;
    }
    va_start(args, format);
    if (vasprintf(&text, format, args) >= 0) {
        *r->message_out = text;
    }
    va_end(args);
}

void wdb_recovery_say_file(struct wdb_recovery *r,
                           const struct wdb_manifest_segment *m,
                           const char *what)
{
    char name[WDB_NAME_SIZE_MAX];
    wdb_name_segment(name, m->id, m->kind);
    wdb_recovery_say(r, "%s/%s: %s; walkerdb-check %s tells more", r->log->dir,
                     name, what, r->log->dir);
}

/* --- opening --------------------------------------------------------------- */

static int open_segments(struct wdb_recovery *r)
{
    struct wdb_log *log = r->log;
    const struct wdb_manifest *m = &log->manifest;
    int rc = wdb_slots_reserve(log, m->segment_count + 2);
    for (size_t i = 0; i < m->segment_count && rc == 0; i++) {
        struct wdb_segment *segment;
        const char *text = NULL;
        rc = wdb_segment_open(log, &m->segments[i], &segment, &text);
        if (rc == WALKERDB_ENOTFOUND) {
            text = "the manifest names this file, but it is not there";
            rc = WALKERDB_ECORRUPT;
        }
        if (rc != 0) {
            wdb_recovery_say_file(r, &m->segments[i],
                                  text != NULL ? text : walkerdb_strerror(rc));
            return rc;
        }
        rc = wdb_slots_add(log, segment);
        if (rc != 0) {
            wdb_segment_close(segment);
            return rc;
        }
        wdb_slots_splice(log, log->order_count, 0, &segment, 1);
        if (!m->segments[i].sealed) {
            r->bytes_total += segment->size;
        }
    }
    return rc;
}

/*
 * Make sure that what is read now is what is on the disk. After a sync that
 * failed, the page cache may hold, as if clean, what never got there: so what
 * was not sealed is synced, dropped from memory, and read again.
 */
static int settle_segment(struct wdb_recovery *r, size_t i)
{
    struct wdb_log *log = r->log;
    struct wdb_file *file = log->order[i]->file;
    if (log->options.read_only ||
        WDB_LOG_MUTATED(log, WDB_MUTATION_SKIP_RECOVERY_SYNC)) {
        return 0;
    }
    int rc = log->env->ops->sync(file);
    if (rc != 0) {
        wdb_recovery_say_file(r, &log->manifest.segments[i],
                              "it cannot be synced");
        return rc;
    }
    log->env->ops->advise_dontneed(file, 0, log->order[i]->size);
    return 0;
}

static int settle_segments(struct wdb_recovery *r)
{
    struct wdb_log *log = r->log;
    for (size_t i = r->first; i < log->order_count; i++) {
        struct wdb_segment *segment = log->order[i];
        int rc = settle_segment(r, i);
        if (rc != 0) {
            return rc;
        }
        /* Asked before anything is read: most of an open segment was never
         * written, and need not be looked at. */
        const uint64_t end = log->env->ops->data_end(segment->file);
        r->rests[i - r->first].data_end =
            end < segment->size ? end : segment->size;
    }
    return 0;
}

/* --- reading --------------------------------------------------------------- */

static void progress(struct wdb_recovery *r, uint64_t done)
{
    const struct wdb_log_options *options = &r->log->options;
    if (options->on_progress != NULL &&
        done - r->bytes_told >= PROGRESS_DISTANCE) {
        r->bytes_told = done;
        options->on_progress(options->context, done, r->bytes_total);
    }
}

static bool is_acceptable(struct wdb_recovery *r,
                          const struct wdb_segment *segment,
                          const struct wdb_frame *frame,
                          const struct wdb_entry_header *entry)
{
    struct wdb_log *log = r->log;
    const uint8_t *payload = segment->map + frame->offset + WDB_ENTRY_OVERHEAD;
    if (!WDB_LOG_MUTATED(log, WDB_MUTATION_IGNORE_CHAIN) &&
        (frame->previous_crc != r->last_crc ||
         entry->index != r->index_last + 1)) {
        return false;
    }
    if (entry->term < r->entry_term || entry->type == WDB_ENTRY_MERGED) {
        return false;
    }
    return WDB_LOG_MUTATED(log, WDB_MUTATION_IGNORE_PAYLOAD) ||
           wdb_entry_verify_payload(entry, payload) == 0;
}

/* Read entries from `offset` on as long as they are right; returns the end. */
static uint64_t accept_entries(struct wdb_recovery *r,
                               struct wdb_segment *segment, uint64_t offset)
{
    const uint64_t size = segment->size;
    struct wdb_frame frame;
    struct wdb_entry_header entry;
    while (wdb_entry_decode(segment->map + offset, size - offset, offset,
                            segment->header.salt, &frame, &entry) == 0 &&
           is_acceptable(r, segment, &frame, &entry)) {
        wdb_segment_mark(segment, entry.index, offset);
        offset += WDB_ENTRY_OVERHEAD + entry.payload_size;
        r->index_last = entry.index;
        r->last_crc = frame.crc;
        r->entry_term = entry.term;
        r->time_ms = entry.time_ms > r->time_ms ? entry.time_ms : r->time_ms;
        if (frame.index_durable > r->mark) {
            r->mark = frame.index_durable;
        }
        if (frame.index_committed > r->committed) {
            r->committed = frame.index_committed;
        }
        progress(r, r->bytes_done + offset);
    }
    return offset;
}

static bool is_zero(const uint8_t *data, uint64_t size)
{
    uint64_t any = 0;
    wdb_assert(size % 8 == 0);
    for (uint64_t i = 0; i < size; i += 8) {
        any |= wdb_load64(data + i);
    }
    return any == 0;
}

/*
 * Look through what follows the accepted entries of a segment: for anything
 * that is not zero (*end_out is behind the last such byte, or `offset`), and
 * for the marks of frames that are right as such.
 */
static void look_behind(struct wdb_recovery *r, struct wdb_segment *segment,
                        uint64_t offset, uint64_t data_end, uint64_t *end_out)
{
    const uint64_t size = data_end & ~(uint64_t)7;
    uint64_t end = offset;
    uint64_t at = offset;
    while (at < size) {
        const uint64_t step = size - at < 4096 ? size - at : 4096;
        if (is_zero(segment->map + at, step)) {
            at += step;
            continue;
        }
        for (const uint64_t stop = at + step; at < stop; at += 8) {
            struct wdb_frame frame;
            struct wdb_entry_header entry;
            if (wdb_load64(segment->map + at) == 0) {
                continue;
            }
            end = at + 8;
            if (wdb_load32(segment->map + at) == WDB_FRAME_MAGIC &&
                wdb_entry_decode(segment->map + at, segment->size - at, at,
                                 segment->header.salt, &frame, &entry) == 0 &&
                frame.index_durable > r->mark) {
                r->mark = frame.index_durable;
            }
        }
    }
    *end_out = end;
}

#ifdef WDB_MUTATIONS
/* The broken rule: skip what is bad, accept the next that looks right. */
static uint64_t skip_bad_entry(struct wdb_recovery *r,
                               struct wdb_segment *segment, uint64_t offset)
{
    struct wdb_frame frame;
    struct wdb_entry_header entry;
    for (uint64_t at = offset + 8; at + WDB_ENTRY_OVERHEAD < segment->size;
         at += 8) {
        if (wdb_entry_decode(segment->map + at, segment->size - at, at,
                             segment->header.salt, &frame, &entry) == 0 &&
            entry.index > r->index_last) {
            r->index_last = entry.index - 1;
            r->last_crc = frame.previous_crc;
            return accept_entries(r, segment, at);
        }
    }
    return offset;
}
#endif

/* What the unsealed segments follow. */
static void begin_chain(struct wdb_recovery *r)
{
    struct wdb_log *log = r->log;
    const struct wdb_manifest *m = &log->manifest;
    r->mark = m->index_durable;
    r->committed = m->index_committed;
    r->time_ms = m->time_ms;
    for (size_t i = 0; i < r->first; i++) {
        r->index_last = m->segments[i].index_last;
        r->last_crc = m->segments[i].kind == WDB_SEGMENT_LOG
                          ? m->segments[i].last_crc
                          : 0;
    }
    if (r->first > 0 && m->segments[r->first - 1].kind == WDB_SEGMENT_MERGED &&
        r->index_last < m->index_durable) {
        /* Merge dropped the last entries: their indexes stay used. */
        r->index_last = m->index_durable;
    }
    if (r->first < log->order_count) {
        struct wdb_segment *segment = log->order[r->first];
        if (segment->index_first == 0) {
            segment->index_first = r->index_last + 1;
            segment->first_previous_crc = r->last_crc;
        }
        r->index_last = segment->index_first - 1;
        r->last_crc = segment->first_previous_crc;
    }
}

/* Find the end of the log: r->end_segment, r->end_offset. */
static void find_end(struct wdb_recovery *r)
{
    struct wdb_log *log = r->log;
    r->end_segment = r->first;
    r->end_offset = WDB_SEGMENT_HEADER_SIZE;
    for (size_t i = r->first; i < log->order_count; i++) {
        struct wdb_segment *segment = log->order[i];
        const uint64_t index = r->index_last + 1;
        const uint32_t crc = r->last_crc;
        uint64_t end = accept_entries(r, segment, WDB_SEGMENT_HEADER_SIZE);
#ifdef WDB_MUTATIONS
        if (WDB_LOG_MUTATED(log, WDB_MUTATION_SKIP_BAD_ENTRY)) {
            end = skip_bad_entry(r, segment, end);
        }
#endif
        r->bytes_done += segment->size;
        if (end == WDB_SEGMENT_HEADER_SIZE && i != r->first) {
            continue; /* empty, or it does not continue the chain */
        }
        segment->index_first = index;
        segment->first_previous_crc = crc;
        segment->index_last = r->index_last;
        segment->last_crc = r->last_crc;
        segment->size_used = end;
        r->end_segment = i;
        r->end_offset = end;
        r->ends[i - r->first] = end;
    }
}

/* Look at all that is not part of the log as found. */
static void find_rest(struct wdb_recovery *r)
{
    struct wdb_log *log = r->log;
    for (size_t i = r->first; i < log->order_count; i++) {
        struct wdb_recovery_rest *rest = &r->rests[i - r->first];
        rest->from = r->ends[i - r->first];
        if (rest->from == 0) {
            rest->from = WDB_SEGMENT_HEADER_SIZE;
        }
        look_behind(r, log->order[i], rest->from, rest->data_end, &rest->to);
        if (i >= r->end_segment && rest->to != rest->from) {
            r->must_cut = true;
        }
    }
}

static int judge(struct wdb_recovery *r)
{
    struct wdb_log *log = r->log;
    for (size_t i = r->first; i < log->order_count; i++) {
        if (log->env->ops->damaged(log->env, log->order[i]->map)) {
            wdb_recovery_say_file(r, &log->manifest.segments[i],
                                  "the disk cannot read a part of it");
            return WALKERDB_EIO;
        }
    }
    if (r->mark <= r->index_last ||
        WDB_LOG_MUTATED(log, WDB_MUTATION_IGNORE_MARKS)) {
        return 0;
    }
    if (r->first == log->order_count) {
        wdb_recovery_say(
            r, "%s/%s: entries up to %llu were durable, but it ends at %llu",
            log->dir, WDB_MANIFEST_NAME, (unsigned long long)r->mark,
            (unsigned long long)r->index_last);
        return WALKERDB_ECORRUPT;
    }
    char text[200];
    snprintf(text, sizeof(text),
             "damaged at offset %llu: entry %llu should be there, and entries "
             "up to %llu were durable",
             (unsigned long long)r->end_offset,
             (unsigned long long)r->index_last + 1,
             (unsigned long long)r->mark);
    wdb_recovery_say_file(r, &log->manifest.segments[r->end_segment], text);
    return WALKERDB_ECORRUPT;
}

/* --- the whole ------------------------------------------------------------- */

/* What the accepted entries mean for the segments that hold them. */
static void finish_segments(struct wdb_recovery *r)
{
    struct wdb_log *log = r->log;
    for (size_t i = r->first; i < log->order_count; i++) {
        struct wdb_segment *segment = log->order[i];
        const uint64_t end = r->rests[i - r->first].from;
        atomic_store(&segment->written, end);
        atomic_store(&segment->synced, end);
        segment->prefilled = end;
    }
}

static void take_over(struct wdb_recovery *r)
{
    struct wdb_log *log = r->log;
    log->index_closed = r->index_last;
    log->last_crc = r->last_crc;
    log->term =
        log->manifest.term > r->entry_term ? log->manifest.term : r->entry_term;
    atomic_store(&log->index_last, r->index_last);
    atomic_store(&log->index_foreign, r->index_last);
    atomic_store(&log->appended, r->index_last);
    atomic_store(&log->durable, r->index_last);
    atomic_store(&log->committed,
                 r->committed < r->index_last ? r->committed : r->index_last);
    atomic_store(&log->time_ms, r->time_ms);
    atomic_store(&log->object_counter, log->manifest.object_counter);
}

static int run(struct wdb_recovery *r)
{
    struct wdb_log *log = r->log;
    int rc = open_segments(r);
    if (rc != 0) {
        return rc;
    }
    while (r->first < log->order_count &&
           log->manifest.segments[r->first].sealed) {
        r->first++;
    }
    const size_t unsealed = log->order_count - r->first;
    r->ends = calloc(unsealed + 1, sizeof(*r->ends));
    r->rests = calloc(unsealed + 1, sizeof(*r->rests));
    if (r->ends == NULL || r->rests == NULL) {
        return WALKERDB_ENOMEM;
    }
    rc = settle_segments(r);
    if (rc != 0) {
        return rc;
    }
    begin_chain(r);
    find_end(r);
    find_rest(r);
    rc = judge(r);
    if (rc != 0) {
        return rc;
    }
    struct wdb_slice base;
    rc = wdb_base_copy(log->manifest.raft, &base);
    if (rc != 0) {
        return rc;
    }
    wdb_base_take_over(log, base);
    finish_segments(r);
    take_over(r);
    return log->options.read_only ? wdb_cut_in_memory(r) : wdb_cut_run(r);
}

int wdb_recovery_run(struct wdb_log *log, char **message_out)
{
    struct wdb_recovery r = {.log = log, .message_out = message_out};
    int rc = run(&r);
    free(r.ends);
    free(r.rests);
    return rc;
}
