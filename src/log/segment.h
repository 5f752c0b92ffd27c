/*
 * segment.h - one file of entries, open and mapped.
 *
 * A segment is shared: the log's table holds one reference, a reply that
 * points into its mapping another, merge a third. When the last one is
 * dropped, the mapping goes, the file is closed and, if it was doomed,
 * unlinked. The struct itself is freed through the log's epoch, because
 * workers look at it without a lock.
 */
#ifndef WDB_LOG_SEGMENT_H
#define WDB_LOG_SEGMENT_H

#include <stdatomic.h>

#include "base/epoch.h"
#include "env/env.h"
#include "log/format.h"

struct wdb_residency; /* log/residency.h */
struct wdb_log;

/* Where some of a log segment's entries begin, sorted: so that an entry is
 * found by its index without reading all before it. */
struct wdb_segment_mark {
    uint64_t index;
    uint64_t offset;
};
#define WDB_SEGMENT_MARK_DISTANCE ((uint64_t)64 << 10)
#define WDB_SEGMENT_RECENT_COUNT  8

struct wdb_segment {
    uint64_t id;
    uint32_t slot;
    enum wdb_segment_kind kind;
    struct wdb_segment_header header;
    struct wdb_file *file;
    const uint8_t *map; /* [0, size) */
    uint64_t size;      /* mapped; allocated, unless the unused end was cut */
    _Atomic uint64_t written; /* bytes below are in the file (page cache) */
    _Atomic uint64_t synced;  /* bytes below are durable */
    _Atomic bool sealed;      /* takes no more entries, and is durable */
    /* Once no entry can follow: end of the last one, its index, and the crc of
     * its frame. A truncation may cut a sealed segment while others look. */
    _Atomic uint64_t size_used, index_last;
    _Atomic uint32_t last_crc;
    uint64_t index_first;
    uint32_t first_previous_crc; /* log: chain, before the first frame */
    uint64_t clean_index;
    uint64_t record_count;
    _Atomic uint64_t bytes_dead; /* of records that nobody needs any more */
    _Atomic uint64_t bytes_tombstone; /* of records needed only as long as
                                         something older may be there */
    _Atomic bool hinted;  /* store/: a hint of it is known to be there */
    _Atomic bool damaged; /* store/: unreadable or corrupt: not merged */
    _Atomic uint32_t references;
    _Atomic bool doomed; /* unlink when the last reference goes */
    struct wdb_residency *residency;
    struct wdb_epoch_retired retired;

    /* The log's own. */
    struct wdb_log *log;
    _Atomic bool finished; /* size_used, index_last and last_crc are set */
    uint64_t prefilled;    /* bytes below have been written to */
    struct wdb_segment_mark *marks; /* room for mark_capacity, or NULL */
    _Atomic uint32_t mark_count;
    uint32_t mark_capacity;
    /* Where the entry behind one that was looked up is: the next one that is
     * asked for, by some who read in order. Under the log's `lookup`. */
    struct wdb_segment_mark recent[WDB_SEGMENT_RECENT_COUNT];
    uint32_t recent_next;
    struct wdb_segment *disposed_next;
};

/* For who reads it from end to end: ask the system for what comes behind
 * `offset`. *asked: what was asked for, 0 at first. */
void wdb_segment_read_ahead(const struct wdb_segment *segment, uint64_t offset,
                            uint64_t *asked);
/* One more reference; the caller has one, holds a stripe lock that keeps a
 * position into it alive, or is inside the epoch with it in the table. */
void wdb_segment_acquire(struct wdb_segment *segment);
/* Give it back; the last one closes and, if doomed, unlinks. Thread: any. */
void wdb_segment_drop(struct wdb_segment *segment);

#endif
