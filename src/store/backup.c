/*
 * backup.c - a consistent copy in another directory, made while work goes on.
 *
 * The open segment is rolled, so that everything up to now is in sealed files,
 * which never change again: they are linked, or copied where links do not
 * work. No merge may be switched in between the roll and the list: its outputs
 * would lack what was overwritten by entries that the backup does not have.
 *
 * With commits by hand, what is not committed does not belong to it: segments
 * behind that are left out, and of the one that the committed index is in, the
 * part before is copied, since nothing is cut off a file that others have, too.
 *
 * The copy ends with an empty log segment that says which index comes next. Its
 * manifest is written last, when everything else is durable; a directory
 * without one is no database. It keeps the nonce of the original (the segments'
 * headers carry it), and says nothing of nodes and clusters.
 */
#include <stdlib.h>

#include "base/time.h"
#include "store/background.h"
#include "store/merge.h"

#define COPY_SIZE       ((size_t)1 << 20)
#define COMMIT_WAIT_NS  ((uint64_t)100 * (uint64_t)WDB_NS_PER_MS)
#define COMMIT_PAUSE_NS ((uint64_t)WDB_NS_PER_MS)

struct backup {
    struct wdb_store *store;
    struct wdb_env *env;
    const char *from, *to;
    struct wdb_segment **segments;       /* all that it holds, referenced */
    struct wdb_manifest_segment *images; /* what its manifest says of them */
    size_t count;
    bool cuts; /* the last one is not copied to its end */
    uint64_t generation;
    uint64_t index_last;
    uint64_t done, total;
    wdb_progress_cb progress;
    void *context;
};

/* --- files -----------------------------------------------------------------
 */

static int copy_bytes(struct backup *b, struct wdb_file *from,
                      struct wdb_file *to, uint64_t size)
{
    uint8_t *buffer = malloc(COPY_SIZE);
    int rc = buffer == NULL ? WALKERDB_ENOMEM : 0;
    for (uint64_t at = 0; rc == 0 && at < size;) {
        const size_t part =
            size - at < COPY_SIZE ? (size_t)(size - at) : COPY_SIZE;
        rc = wdb_env_pread_all(from, buffer, part, at);
        if (rc == 0) {
            rc = wdb_env_pwrite(to, buffer, part, at);
        }
        at += part;
        if (rc == 0 && b->progress != NULL &&
            b->progress(b->context, b->done + at, b->total) != 0) {
            rc = WALKERDB_EABORTED;
        }
    }
    free(buffer);
    return rc;
}

static int copy_file(struct backup *b, const char *from, const char *to,
                     uint64_t size)
{
    const struct wdb_env_ops *ops = b->env->ops;
    struct wdb_file *source, *target;
    int rc = ops->open(b->env, from, WDB_OPEN_READ, &source);
    if (rc != 0) {
        return rc;
    }
    rc = ops->open(b->env, to, WDB_OPEN_CREATE, &target);
    if (rc == 0) {
        rc = copy_bytes(b, source, target, size);
        if (rc == 0) {
            rc = ops->sync(target);
        }
        ops->close(target);
    }
    ops->close(source);
    return rc;
}

static int paths(struct backup *b, const char *name,
                 char from[WDB_PATH_SIZE_MAX], char to[WDB_PATH_SIZE_MAX])
{
    const int rc = wdb_env_join(from, b->from, name);
    return rc != 0 ? rc : wdb_env_join(to, b->to, name);
}

static int take_segment(struct backup *b, size_t i)
{
    const struct wdb_segment *segment = b->segments[i];
    const bool cut = b->cuts && i + 1 == b->count;
    char name[WDB_NAME_SIZE_MAX];
    char from[WDB_PATH_SIZE_MAX], to[WDB_PATH_SIZE_MAX];
    wdb_name_segment(name, segment->id, segment->kind);
    int rc = paths(b, name, from, to);
    if (rc == 0 && (cut || b->env->ops->link(b->env, from, to) != 0)) {
        rc = copy_file(b, from, to, b->images[i].size_used);
    }
    if (rc != 0) {
        return rc;
    }
    wdb_name_hint(name, segment->id);
    if (!cut && atomic_load(&segment->hinted) &&
        paths(b, name, from, to) == 0) {
        /* A cache: without it the segment is scanned. */
        (void)!b->env->ops->link(b->env, from, to);
    }
    b->done += b->images[i].size_used;
    return b->progress != NULL &&
                   b->progress(b->context, b->done, b->total) != 0
               ? WALKERDB_EABORTED
               : 0;
}

/* The empty log segment at the end. */
static int make_end(struct backup *b, uint64_t id)
{
    const struct wdb_env_ops *ops = b->env->ops;
    char name[WDB_NAME_SIZE_MAX], path[WDB_PATH_SIZE_MAX];
    uint8_t bytes[WDB_SEGMENT_HEADER_SIZE];
    struct wdb_segment_header header = {
        .kind = WDB_SEGMENT_LOG,
        .id = id,
        .nonce = wdb_log_nonce(b->store->log),
        .size = WDB_SEGMENT_SIZE_MIN,
    };
    ops->random(b->env, &header.salt, sizeof(header.salt));
    wdb_segment_header_encode(&header, bytes);
    wdb_name_segment(name, id, WDB_SEGMENT_LOG);
    int rc = wdb_env_join(path, b->to, name);
    struct wdb_file *file;
    if (rc == 0) {
        rc = ops->open(b->env, path, WDB_OPEN_CREATE, &file);
    }
    if (rc != 0) {
        return rc;
    }
    rc = ops->allocate(file, WDB_SEGMENT_SIZE_MIN);
    if (rc == 0) {
        rc = wdb_env_pwrite(file, bytes, sizeof(bytes), 0);
    }
    if (rc == 0) {
        rc = ops->sync(file);
    }
    ops->close(file);
    return rc;
}

/* --- manifest --------------------------------------------------------------
 */

static void describe(const struct wdb_segment *segment,
                     struct wdb_manifest_segment *out)
{
    *out = (struct wdb_manifest_segment){
        .id = segment->id,
        .kind = (uint8_t)segment->kind,
        .sealed = true,
        .size = segment->size_used,
        .size_used = segment->size_used,
        .index_first = segment->index_first,
        .index_last = segment->index_last,
        .first_previous_crc = segment->first_previous_crc,
        .last_crc = segment->last_crc,
        .clean_index = segment->clean_index,
        .record_count = segment->record_count,
        .bytes_dead_hint = atomic_load(&segment->bytes_dead),
    };
}

static int write_manifest(struct backup *b, uint64_t end_id)
{
    struct wdb_manifest m, original;
    int rc = wdb_manifest_load(b->env, b->from, &original);
    if (rc != 0) {
        return rc;
    }
    wdb_manifest_init(&m, original.nonce);
    m.generation = 1;
    m.segment_id_next = end_id + 1;
    m.object_counter = wdb_log_object_counter(b->store->log);
    m.term = original.term;
    m.time_ms = original.time_ms;
    m.index_durable = b->index_last;
    m.index_committed = b->index_last;
    wdb_manifest_release(&original);
    m.segments = calloc(b->count + 1, sizeof(*m.segments));
    if (m.segments == NULL) {
        return WALKERDB_ENOMEM;
    }
    if (b->count > 0) {
        memcpy(m.segments, b->images, b->count * sizeof(*m.segments));
    }
    m.segments[b->count] = (struct wdb_manifest_segment){
        .id = end_id,
        .kind = WDB_SEGMENT_LOG,
        .size = WDB_SEGMENT_SIZE_MIN,
        .index_first = b->index_last + 1,
    };
    if (b->count > 0 && b->images[b->count - 1].kind == WDB_SEGMENT_LOG) {
        m.segments[b->count].first_previous_crc =
            b->images[b->count - 1].last_crc;
    }
    m.segment_count = b->count + 1;
    rc = wdb_manifest_store(b->env, b->to, &m);
    wdb_manifest_release(&m);
    return rc;
}

/* --- the whole -------------------------------------------------------------
 */

/* Give it some time to be committed, all that is listed. */
static uint64_t wait_committed(struct backup *b)
{
    struct wdb_store *store = b->store;
    const uint64_t begin = b->env->ops->monotonic_ns(b->env);
    while (wdb_log_committed(store->log) < b->index_last &&
           store->options.log.background_thread &&
           b->env->ops->monotonic_ns(b->env) - begin < COMMIT_WAIT_NS) {
        wdb_background_wait(store, COMMIT_PAUSE_NS);
    }
    return wdb_log_committed(store->log);
}

static void leave_out_from(struct backup *b, size_t first)
{
    for (size_t i = first; i < b->count; i++) {
        wdb_segment_drop(b->segments[i]);
    }
    b->count = first;
}

/* The last segment ends behind this entry, which it has. */
static int cut_last(struct backup *b, uint64_t index)
{
    const struct wdb_segment *last = b->segments[b->count - 1];
    struct wdb_manifest_segment *image = &b->images[b->count - 1];
    struct wdb_entry_header entry;
    struct wdb_frame frame;
    struct wdb_segment *segment;
    const uint8_t *payload;
    int rc = wdb_log_entry_unverified(b->store->log, index, &entry, &payload,
                                      &segment);
    if (rc != 0) {
        return rc == WALKERDB_ENOTFOUND ? WALKERDB_EABORTED : rc;
    }
    if (segment == last) {
        const uint64_t offset =
            (uint64_t)(payload - segment->map) - WDB_ENTRY_OVERHEAD;
        rc = wdb_entry_decode(segment->map + offset, segment->size - offset,
                              offset, segment->header.salt, &frame, &entry);
        image->size_used = offset + WDB_ENTRY_OVERHEAD + entry.payload_size;
        image->size = image->size_used;
        image->index_last = index;
        image->last_crc = rc == 0 ? frame.crc : 0;
        b->cuts = true;
    } else {
        rc = WALKERDB_EABORTED;
    }
    wdb_segment_drop(segment);
    return rc;
}

/* Nothing that is not committed belongs to it. */
static int end_at(struct backup *b, uint64_t committed)
{
    size_t end = b->count;
    while (end > 0 && b->images[end - 1].index_first > committed) {
        end--;
    }
    leave_out_from(b, end);
    b->index_last = committed;
    return end > 0 && b->images[end - 1].index_last > committed
               ? cut_last(b, committed)
               : 0;
}

static int describe_all(struct backup *b)
{
    b->images = calloc(b->count + 1, sizeof(*b->images));
    if (b->images == NULL) {
        return WALKERDB_ENOMEM;
    }
    for (size_t i = 0; i < b->count; i++) {
        describe(b->segments[i], &b->images[i]);
    }
    return 0;
}

/* All that is in the log now, and sealed. */
static int list_sealed(struct backup *b)
{
    struct wdb_store *store = b->store;
    struct wdb_merge *merge = store->merge;
    struct wdb_segment **all;
    size_t count = 0;
    pthread_mutex_lock(&merge->mutex);
    b->generation = wdb_log_generation(store->log);
    b->index_last = wdb_log_index_last(store->log);
    int rc = wdb_log_roll(store->log);
    if (rc == 0) {
        rc = wdb_log_segments(store->log, &all, &count);
    }
    if (rc == 0) {
        b->segments = all;
    }
    for (size_t i = 0; rc == 0 && i < count; i++) {
        if (b->count == i && atomic_load(&all[i]->sealed)) {
            b->count++;
            if (all[i]->index_last > b->index_last) {
                b->index_last = all[i]->index_last;
            }
        } else {
            wdb_segment_drop(all[i]);
        }
    }
    pthread_mutex_unlock(&merge->mutex);
    return rc == 0 ? describe_all(b) : rc;
}

/* All of it that is committed. */
static int list(struct backup *b)
{
    struct wdb_log *log = b->store->log;
    int rc = list_sealed(b);
    if (rc != 0) {
        return rc;
    }
    const uint64_t committed = wait_committed(b);
    if (wdb_log_generation(log) != b->generation) {
        return WALKERDB_EABORTED;
    }
    if (committed < b->index_last &&
        !WDB_STORE_MUTATED(b->store, WDB_MUTATION_BACKUP_UNCOMMITTED)) {
        rc = end_at(b, committed);
    }
    for (size_t i = 0; i < b->count; i++) {
        b->total += b->images[i].size_used;
    }
    return rc;
}

static uint64_t end_id(const struct backup *b)
{
    uint64_t id = 0;
    for (size_t i = 0; i < b->count; i++) {
        id = b->segments[i]->id > id ? b->segments[i]->id : id;
    }
    return id + 1;
}

/* The directory that holds the path; "." if it names none. */
static void parent_of(const char *path, char out[WDB_PATH_SIZE_MAX])
{
    size_t size = strlen(path);
    while (size > 1 && path[size - 1] == '/') {
        size--;
    }
    while (size > 0 && path[size - 1] != '/') {
        size--;
    }
    while (size > 1 && path[size - 1] == '/') {
        size--;
    }
    if (size == 0) {
        path = ".";
        size = 1;
    }
    memcpy(out, path, size);
    out[size] = '\0';
}

static int fill(struct backup *b)
{
    const struct wdb_env_ops *ops = b->env->ops;
    const uint64_t id = end_id(b);
    char parent[WDB_PATH_SIZE_MAX];
    int rc = 0;
    if (WDB_STORE_MUTATED(b->store, WDB_MUTATION_BACKUP_MANIFEST_FIRST)) {
        rc = write_manifest(b, id);
    }
    for (size_t i = 0; rc == 0 && i < b->count; i++) {
        rc = take_segment(b, i);
    }
    if (rc == 0) {
        rc = make_end(b, id);
    }
    if (rc == 0) {
        rc = ops->sync_dir(b->env, b->to);
    }
    if (rc == 0) {
        parent_of(b->to, parent);
        rc = ops->sync_dir(b->env, parent);
    }
    if (rc == 0 &&
        !WDB_STORE_MUTATED(b->store, WDB_MUTATION_BACKUP_MANIFEST_FIRST)) {
        rc = write_manifest(b, id);
    }
    return rc;
}

struct removal {
    struct wdb_env *env;
    const char *dir;
};

static int remove_name(void *context, const char *name)
{
    const struct removal *removal = context;
    char path[WDB_PATH_SIZE_MAX];
    if (wdb_env_join(path, removal->dir, name) == 0) {
        (void)removal->env->ops->unlink(removal->env, path);
    }
    return 0;
}

/* What was begun goes; the manifest first, so that it never looks whole. */
static void discard(struct backup *b)
{
    struct removal removal = {b->env, b->to};
    (void)remove_name(&removal, WDB_NAME_MANIFEST);
    (void)b->env->ops->list(b->env, b->to, remove_name, &removal);
    (void)b->env->ops->rmdir(b->env, b->to);
}

int wdb_store_backup(struct wdb_store *store, const char *dir,
                     wdb_progress_cb progress, void *context)
{
    return wdb_store_backup_to(store, dir, progress, context, NULL);
}

int wdb_store_backup_to(struct wdb_store *store, const char *dir,
                        wdb_progress_cb progress, void *context,
                        uint64_t *index_out)
{
    struct backup b = {
        .store = store,
        .env = store->env,
        .from = wdb_log_dir(store->log),
        .to = dir,
        .progress = progress,
        .context = context,
    };
    if (strlen(dir) >= WDB_PATH_SIZE_MAX) {
        return WALKERDB_ETOOBIG;
    }
    if (store->options.log.read_only) {
        return WALKERDB_EREADONLY;
    }
    int rc = b.env->ops->mkdir(b.env, dir);
    if (rc != 0) {
        return rc;
    }
    rc = list(&b);
    if (rc == 0) {
        rc = fill(&b);
    }
    leave_out_from(&b, 0);
    free(b.segments);
    free(b.images);
    if (rc != 0) {
        discard(&b);
    } else if (index_out != NULL) {
        *index_out = b.index_last;
    }
    return rc;
}
