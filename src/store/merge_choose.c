/* merge_choose.c - looks at the segments, picks a run, begins with it. */
#include <stdlib.h>

#include "store/merge.h"

/* Bytes of entries in a run, in segments of full size. */
#define RUN_SEGMENTS_MAX  8
#define SMALL_PART        8
#define SMALL_COUNT       8
#define ROOM_FOR_MANIFEST ((uint64_t)256 << 10)

/* The segments as they are now, each with a reference. */
struct view {
    struct wdb_segment **segments;
    struct wdb_merge_candidate *candidates;
    size_t count;
    uint64_t room; /* bytes of the disk that the outputs may take */
    bool full;     /* the log has no space for its next segment */
};

static void view_release(struct view *view)
{
    for (size_t i = 0; i < view->count; i++) {
        wdb_segment_drop(view->segments[i]);
    }
    free(view->segments);
    free(view->candidates);
}

/* Nothing in it can be undone, lost, or asked for by a peer; and all of it is
 * in the keydirs, which tell what is live: a follower may be behind with what is
 * committed. */
static bool is_eligible(const struct wdb_merge *merge,
                        const struct wdb_segment *segment, uint64_t applied)
{
    const struct wdb_store *store = merge->store;
    const bool cluster = store->options.log.manual_commit;
    return atomic_load(&segment->sealed) && !atomic_load(&segment->damaged) &&
           segment->index_last <= applied &&
           segment->index_last <= wdb_log_durable(store->log) &&
           (segment->index_last <= wdb_log_committed(store->log) ||
            WDB_STORE_MUTATED(store, WDB_MUTATION_MERGE_SKIP_COMMITTED)) &&
           (!cluster || segment->index_last < wdb_log_retained(store->log));
}

static int view_init(const struct wdb_merge *merge, struct view *view)
{
    struct wdb_store *store = merge->store;
    uint64_t generation;
    const uint64_t applied = wdb_store_clean_index(store, &generation);
    int rc = wdb_log_segments(store->log, &view->segments, &view->count);
    if (rc != 0) {
        return rc;
    }
    view->candidates = calloc(view->count + 1, sizeof(*view->candidates));
    if (view->candidates == NULL) {
        view_release(view);
        return WALKERDB_ENOMEM;
    }
    for (size_t i = 0; i < view->count; i++) {
        const struct wdb_segment *segment = view->segments[i];
        struct wdb_merge_candidate *c = &view->candidates[i];
        c->eligible = is_eligible(merge, segment, applied);
        c->size = wdb_segment_used(segment) - WDB_SEGMENT_HEADER_SIZE;
        c->dead = atomic_load(&segment->bytes_dead);
        c->tombstones = atomic_load(&segment->bytes_tombstone);
        c->dead = c->dead < c->size ? c->dead : c->size;
    }
    view->full = wdb_log_is_full(store->log);
    view->room = wdb_log_room(store->log);
    /* The manifest has to be replaced, too. */
    view->room -=
        view->room < ROOM_FOR_MANIFEST ? view->room : ROOM_FOR_MANIFEST;
    return 0;
}

static void limits_init(const struct wdb_store *store, const struct view *view,
                        struct wdb_merge_limits *limits)
{
    const uint64_t segment_size = wdb_log_segment_size(store->log);
    *limits = (struct wdb_merge_limits){
        .ratio = store->options.merge_ratio,
        .size_max = segment_size * RUN_SEGMENTS_MAX,
        .cost_max = view->room,
        .small_size = segment_size / SMALL_PART,
        .small_count = SMALL_COUNT,
    };
    if (view->full) {
        /* Writes wait for it: any garbage is worth it. */
        limits->ratio /= 128;
    } else if (view->room < store->options.merge_free_space_min) {
        limits->ratio /= 4;
    }
}

/* --- sweeps ----------------------------------------------------------------
 */

int wdb_merge_begin_sweep(struct wdb_merge *merge)
{
    struct wdb_segment **segments;
    size_t count;
    const int rc = wdb_log_segments(merge->store->log, &segments, &count);
    if (rc != 0) {
        return rc;
    }
    uint64_t *ids = malloc((count + 1) * sizeof(*ids));
    size_t sealed = 0;
    for (size_t i = 0; i < count; i++) {
        if (ids != NULL && atomic_load(&segments[i]->sealed)) {
            ids[sealed++] = segments[i]->id;
        }
        wdb_segment_drop(segments[i]);
    }
    free(segments);
    if (ids == NULL) {
        return WALKERDB_ENOMEM;
    }
    free(merge->sweep);
    merge->sweep = ids;
    merge->sweep_count = sealed;
    merge->sweep_at = 0;
    return 0;
}

static void end_sweep(struct wdb_merge *merge, const struct view *view)
{
    free(merge->sweep);
    merge->sweep = NULL;
    merge->sweep_count = merge->sweep_at = 0;
    merge->tombstones_known = 0;
    for (size_t i = 0; i < view->count; i++) {
        if (view->candidates[i].eligible) {
            merge->tombstones_known += view->candidates[i].tombstones;
        }
    }
}

static size_t find_id(const struct view *view, uint64_t id)
{
    size_t i = 0;
    while (i < view->count && view->segments[i]->id != id) {
        i++;
    }
    return i;
}

/* Garbage from segment i on, tombstones included, that a sweep could drop. */
static bool worth_sweeping(const struct view *view, size_t i)
{
    if (view->candidates[i].dead > 0) {
        return true;
    }
    for (; i < view->count; i++) {
        if (view->candidates[i].eligible &&
            view->candidates[i].tombstones > 0) {
            return true;
        }
    }
    return false;
}

/* The next run of the sweep that is going on; count 0: it is through. */
static struct wdb_merge_run next_of_sweep(struct wdb_merge *merge,
                                          const struct view *view,
                                          const struct wdb_merge_limits *limits)
{
    while (merge->sweep_at < merge->sweep_count) {
        const size_t first = find_id(view, merge->sweep[merge->sweep_at]);
        if (first == view->count || !view->candidates[first].eligible ||
            !worth_sweeping(view, first)) {
            merge->sweep_at++;
            continue;
        }
        struct wdb_merge_run run =
            wdb_merge_plan_sweep(view->candidates, view->count, first, limits);
        for (size_t i = 0; i < run.count; i++) {
            /* Only what was there when the sweep began. */
            if (merge->sweep_at + i == merge->sweep_count ||
                view->segments[run.first + i]->id !=
                    merge->sweep[merge->sweep_at + i]) {
                run.count = i;
            }
        }
        return run;
    }
    return (struct wdb_merge_run){0, 0};
}

/* --- choice ----------------------------------------------------------------
 */

static struct wdb_merge_run choose(struct wdb_merge *merge,
                                   const struct view *view)
{
    struct wdb_merge_limits limits;
    limits_init(merge->store, view, &limits);
    struct wdb_merge_run run = {0, 0};
    if (merge->sweep == NULL && !merge->on_demand) {
        run = wdb_merge_plan(view->candidates, view->count, &limits);
    }
    if (merge->sweep == NULL && run.count == 0 && !merge->on_demand &&
        wdb_merge_plan_wants_sweep(view->candidates, view->count,
                                   merge->tombstones_known,
                                   limits.small_size)) {
        if (wdb_merge_begin_sweep(merge) != 0) {
            return run;
        }
    }
    if (merge->sweep != NULL) {
        run = next_of_sweep(merge, view, &limits);
        if (run.count == 0) {
            end_sweep(merge, view);
        }
    }
    return run;
}

/* Bytes that the outputs will take, about. */
static uint64_t cost_of(const struct view *view, struct wdb_merge_run run)
{
    uint64_t cost = 0;
    for (size_t i = run.first; i < run.first + run.count; i++) {
        cost += wdb_merge_plan_cost(&view->candidates[i]);
    }
    return cost;
}

static uint64_t clean_before(const struct view *view, size_t first)
{
    uint64_t clean = UINT64_MAX;
    for (size_t i = 0; i < first; i++) {
        const struct wdb_segment *segment = view->segments[i];
        const uint64_t index =
            segment->kind == WDB_SEGMENT_MERGED ? segment->clean_index : 0;
        clean = index < clean ? index : clean;
    }
    return clean;
}

static int begin(struct wdb_merge *merge, const struct view *view,
                 struct wdb_merge_run run)
{
    struct wdb_store *store = merge->store;
    /* What is in the open entry may still grow: the clean index is that of a
     * closed one. */
    const int rc = wdb_log_flush(store->log);
    if (rc != 0) {
        return rc;
    }
    merge->run = malloc(run.count * sizeof(struct wdb_segment *));
    if (merge->run == NULL) {
        return WALKERDB_ENOMEM;
    }
    merge->run_count = run.count;
    merge->run_at = 0;
    uint64_t total = 0;
    for (size_t i = 0; i < run.count; i++) {
        merge->run[i] = view->segments[run.first + i];
        wdb_segment_acquire(merge->run[i]);
        total += view->candidates[run.first + i].size;
    }
    merge->older_clean = clean_before(view, run.first);
    merge->moved_before = false;
    merge->read_failed = false;
    merge->begin_ns = store->env->ops->monotonic_ns(store->env);
    uint64_t clean_index = wdb_store_clean_index(store, &merge->generation);
    if (WDB_STORE_MUTATED(store, WDB_MUTATION_CLEAN_INDEX_LATE)) {
        clean_index = UINT64_MAX >> 1;
    }
    wdb_merge_writer_init(&merge->writer, store, clean_index,
                          cost_of(view, run));
    merge->writer.room = view->room;
    wdb_merge_reader_init(&merge->reader, store->env, merge->run[0], true);
    atomic_store(&merge->done_bytes, 0);
    atomic_store(&merge->total_bytes, total);
    atomic_store(&merge->running, true);
    return 0;
}

int wdb_merge_choose(struct wdb_merge *merge)
{
    struct view view;
    int rc = view_init(merge, &view);
    if (rc != 0) {
        return rc;
    }
    const struct wdb_merge_run run = choose(merge, &view);
    if (run.count == 0) {
        rc = WALKERDB_ENOTFOUND;
    } else if (cost_of(&view, run) > view.room) {
        rc = WALKERDB_ENOSPACE; /* the next of a sweep: others may fit */
        if (!merge->on_demand) {
            end_sweep(merge, &view);
        }
    } else {
        rc = begin(merge, &view, run);
        if (rc == 0 && merge->sweep != NULL) {
            merge->sweep_at += run.count;
        }
    }
    view_release(&view);
    return rc;
}
