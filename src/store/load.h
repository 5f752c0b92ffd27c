/*
 * load.h - rebuilds keydirs and objects from the log, in parallel.
 *
 *   1. sources   for each segment, in any order, by several threads: its hint,
 *                or (no sound hint) its records, scanned and verified, in the
 *                form of a hint in memory. Notes the last DATABASES record.
 *   2. mapping   the last DATABASES record of all decides which ids count.
 *   3. keys      each thread walks all sources in the order of sequences and
 *                takes what belongs to its stripes, and to its shards of the
 *                registry of objects. The last one wins.
 *   4. headers   those that are live attach their objects, the others' go.
 */
#ifndef WDB_STORE_LOAD_H
#define WDB_STORE_LOAD_H

#include "store/hint.h"
#include "store/store_internal.h"

#define WDB_LOAD_THREADS_MAX 16
#define WDB_LOAD_IDS_MAX     8

/* A segment, and what stands for its records. */
struct wdb_load_source {
    struct wdb_segment *segment; /* referenced */
    struct wdb_hint hint;
    struct wdb_buffer memory; /* of a hint that was made here */
    bool is_open;             /* hint is there */
    bool scanned;
    uint64_t databases_offset; /* of the last DATABASES record; 0: none */
    uint64_t databases_size;
    struct {
        uint32_t id;
        uint64_t count;
    } puts[WDB_LOAD_IDS_MAX]; /* by database, as far as there is room */
    uint32_t id_count;
    double live_part; /* of its bytes, as far as was known last time */
};

struct wdb_load_header { /* a header that was put: live in the end? */
    struct wdb_record record;
    wdb_position position;
    uint64_t hash;
};

struct wdb_load {
    struct wdb_store *store;
    struct wdb_load_source *sources; /* in the order of sequences */
    size_t source_count;
    uint64_t index_max; /* nothing above is loaded */
    uint32_t thread_count;
    _Atomic size_t next; /* source to be opened */
    _Atomic int error;
    pthread_mutex_t progress_mutex;
    uint64_t bytes_done, bytes_total;
    char *message; /* malloc'ed; under progress_mutex */
    struct wdb_load_worker {
        struct wdb_load *load;
        uint32_t number;
        struct wdb_load_header *headers; /* malloc'ed */
        size_t header_count, header_capacity;
    } workers[WDB_LOAD_THREADS_MAX];
};

/* Reading failed at this offset: say so, unless something was said before. */
void wdb_load_say(struct wdb_load *load, const struct wdb_segment *segment,
                  uint64_t offset, int error);

/* Step 1 for one source. ECORRUPT, EIO, ENOMEM. */
WDB_MUST_CHECK int wdb_load_source_open(struct wdb_load *load,
                                        struct wdb_load_source *source);
void wdb_load_source_close(struct wdb_load_source *source);
/* Step 3 for one worker. */
WDB_MUST_CHECK int wdb_load_keys(struct wdb_load_worker *worker);

#endif
