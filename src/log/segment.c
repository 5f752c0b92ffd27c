/*
 * segment.c - makes, opens, maps and closes one file of entries.
 *
 * A new file is complete and durable, name and all, before anybody refers to
 * it: so whatever a manifest names is there and has its header.
 */
#include "log/segment.h"

#include <stdlib.h>

#include "log/log_internal.h"
#include "log/names.h"

int wdb_segment_path(const struct wdb_log *log, uint64_t id,
                     enum wdb_segment_kind kind, char out[WDB_PATH_SIZE_MAX])
{
    char name[WDB_NAME_SIZE_MAX];
    wdb_name_segment(name, id, kind);
    return wdb_env_join(out, log->dir, name);
}

/* Memory for one, with a reference for the table. Marks for log segments that
 * still grow. */
static int segment_new(struct wdb_log *log, uint64_t id,
                       enum wdb_segment_kind kind, uint64_t size,
                       struct wdb_segment **out)
{
    struct wdb_segment *s = calloc(1, sizeof(*s));
    if (s == NULL) {
        return WALKERDB_ENOMEM;
    }
    s->id = id;
    s->kind = kind;
    s->size = size;
    s->log = log;
    s->slot = WDB_SLOT_STAGED;
    atomic_init(&s->references, 1);
    atomic_init(&s->written, WDB_SEGMENT_HEADER_SIZE);
    atomic_init(&s->synced, WDB_SEGMENT_HEADER_SIZE);
    int rc = wdb_residency_new(&log->residency_clock, size, &s->residency);
    if (rc != 0) {
        free(s);
        return rc;
    }
    atomic_fetch_add(&log->segments_open, 1);
    *out = s;
    return 0;
}

static int marks_new(struct wdb_segment *s)
{
    s->mark_capacity = (uint32_t)(s->size / WDB_SEGMENT_MARK_DISTANCE) + 2;
    s->marks = malloc(s->mark_capacity * sizeof(*s->marks));
    return s->marks == NULL ? WALKERDB_ENOMEM : 0;
}

void wdb_segment_mark(struct wdb_segment *segment, uint64_t index,
                      uint64_t offset)
{
    const uint32_t count =
        atomic_load_explicit(&segment->mark_count, memory_order_relaxed);
    if (segment->marks == NULL || count == segment->mark_capacity ||
        (count > 0 && offset - segment->marks[count - 1].offset <
                          WDB_SEGMENT_MARK_DISTANCE)) {
        return;
    }
    segment->marks[count] = (struct wdb_segment_mark){index, offset};
    atomic_store_explicit(&segment->mark_count, count + 1,
                          memory_order_release);
}

static int write_header(struct wdb_segment *s)
{
    uint8_t *bytes = malloc(WDB_SEGMENT_HEADER_SIZE);
    if (bytes == NULL) {
        return WALKERDB_ENOMEM;
    }
    wdb_segment_header_encode(&s->header, bytes);
    int rc = wdb_env_pwrite(s->file, bytes, WDB_SEGMENT_HEADER_SIZE, 0);
    free(bytes);
    return rc;
}

/* A file that cannot be made (too many are open, the system has become
 * read-only, ...) is as good as no space for it: to be tried again. */
static int open_new(struct wdb_log *log, const char *path,
                    struct wdb_file **out)
{
    int rc = log->env->ops->open(log->env, path, WDB_OPEN_CREATE, out);
    if (rc == 0 || rc == WALKERDB_ENOMEM || rc == WALKERDB_ENOSPACE) {
        return rc;
    }
    wdb_logger_print(log->options.logger, WDB_LOG_WARNING,
                     "Cannot create %s: %s", path, walkerdb_strerror(rc));
    return WALKERDB_ENOSPACE;
}

/* Allocate, write and sync: file, then name. */
static int make_durable(struct wdb_log *log, struct wdb_segment *s)
{
    const struct wdb_env_ops *ops = log->env->ops;
    int rc = ops->allocate(s->file, s->size);
    if (rc == 0) {
        rc = write_header(s);
    }
    if (WDB_LOG_MUTATED(log, WDB_MUTATION_SKIP_SEGMENT_SYNC)) {
        return rc;
    }
    if (rc == 0) {
        rc = ops->sync(s->file);
    }
    if (rc == 0) {
        rc = ops->sync_dir(log->env, log->dir);
    }
    return rc;
}

int wdb_segment_create(struct wdb_log *log, uint64_t id,
                       enum wdb_segment_kind kind, uint64_t size,
                       struct wdb_segment **out)
{
    char path[WDB_PATH_SIZE_MAX];
    struct wdb_segment *s;
    int rc = wdb_segment_path(log, id, kind, path);
    if (rc == 0) {
        rc = segment_new(log, id, kind, size, &s);
    }
    if (rc != 0) {
        return rc;
    }
    s->header = (struct wdb_segment_header){
        .kind = kind, .id = id, .nonce = log->nonce, .size = size};
    log->env->ops->random(log->env, &s->header.salt, sizeof(s->header.salt));
    rc = kind == WDB_SEGMENT_LOG ? marks_new(s) : 0;
    if (rc == 0) {
        rc = open_new(log, path, &s->file);
    }
    if (rc != 0) {
        wdb_segment_close(s);
        return rc;
    }
    rc = make_durable(log, s);
    if (rc == 0) {
        const void *map;
        rc = log->env->ops->map(s->file, size, &map);
        s->map = rc == 0 ? map : NULL;
        log->env->ops->advise_random(s->file);
    }
    if (rc != 0) {
        atomic_store(&s->doomed, true);
        wdb_segment_close(s);
        return rc;
    }
    *out = s;
    return 0;
}

/* Read the header and hold it against what the manifest says. */
static int check_header(struct wdb_log *log, struct wdb_segment *s,
                        const struct wdb_manifest_segment *m,
                        const char **text_out)
{
    uint8_t *bytes = malloc(WDB_SEGMENT_HEADER_SIZE);
    if (bytes == NULL) {
        return WALKERDB_ENOMEM;
    }
    int rc = wdb_env_pread_all(s->file, bytes, WDB_SEGMENT_HEADER_SIZE, 0);
    if (rc == 0) {
        rc = wdb_segment_header_decode(bytes, &s->header);
    }
    free(bytes);
    if (rc == WALKERDB_ECORRUPT) {
        *text_out = "its header is damaged";
    } else if (rc == 0 && (s->header.id != m->id || s->header.kind != m->kind ||
                           s->header.nonce != log->nonce)) {
        *text_out = "it belongs to another database or has another name";
        rc = WALKERDB_ECORRUPT;
    }
    return rc;
}

int wdb_segment_open(struct wdb_log *log, const struct wdb_manifest_segment *m,
                     struct wdb_segment **out, const char **text_out)
{
    char path[WDB_PATH_SIZE_MAX];
    struct wdb_segment *s;
    int rc = wdb_segment_path(log, m->id, m->kind, path);
    if (rc == 0) {
        rc = segment_new(log, m->id, m->kind, m->size, &s);
    }
    if (rc != 0) {
        return rc;
    }
    const enum wdb_open_mode mode =
        m->sealed || log->options.read_only ? WDB_OPEN_READ : WDB_OPEN_WRITE;
    uint64_t size = 0;
    rc = m->sealed || m->kind != WDB_SEGMENT_LOG ? 0 : marks_new(s);
    if (rc == 0) {
        rc = log->env->ops->open(log->env, path, mode, &s->file);
    }
    if (rc == 0) {
        rc = log->env->ops->size(s->file, &size);
    }
    if (rc == 0 && size < (m->sealed ? m->size_used : m->size)) {
        *text_out = "it is shorter than it should be";
        rc = WALKERDB_ECORRUPT;
    }
    if (rc == 0) {
        rc = check_header(log, s, m, text_out);
    }
    if (rc == 0) {
        const void *map;
        s->size = size < m->size ? size : m->size;
        rc = log->env->ops->map(s->file, s->size, &map);
        s->map = rc == 0 ? map : NULL;
    }
    if (rc == 0 && s->size != m->size) {
        /* Its unused end was cut: nothing there can be asked for. */
        wdb_residency_free(s->residency);
        s->residency = NULL;
        rc = wdb_residency_new(&log->residency_clock, s->size, &s->residency);
    }
    if (rc != 0) {
        wdb_segment_close(s);
        return rc;
    }
    s->index_first = m->index_first;
    s->first_previous_crc = m->first_previous_crc;
    s->clean_index = m->clean_index;
    s->record_count = m->record_count;
    atomic_init(&s->bytes_dead, m->bytes_dead_hint);
    if (m->sealed) {
        s->index_last = m->index_last;
        s->last_crc = m->last_crc;
        s->size_used = m->size_used;
        atomic_init(&s->written, m->size_used);
        atomic_init(&s->synced, m->size_used);
        atomic_init(&s->finished, true);
        atomic_init(&s->sealed, true);
    }
    *out = s;
    return 0;
}

static void unlink_files(struct wdb_segment *s)
{
    struct wdb_log *log = s->log;
    char path[WDB_PATH_SIZE_MAX];
    char name[WDB_NAME_SIZE_MAX];
    /* What cannot be unlinked now is a leftover for the next recovery. */
    wdb_name_hint(name, s->id);
    if (wdb_env_join(path, log->dir, name) == 0) {
        (void)log->env->ops->unlink(log->env, path);
    }
    if (wdb_segment_path(log, s->id, s->kind, path) == 0) {
        (void)log->env->ops->unlink(log->env, path);
    }
}

void wdb_segment_close(struct wdb_segment *segment)
{
    struct wdb_env *env = segment->log->env;
    if (segment->map != NULL) {
        env->ops->unmap(env, segment->map, segment->size);
    }
    if (segment->file != NULL) {
        env->ops->close(segment->file);
    }
    if (atomic_load(&segment->doomed)) {
        unlink_files(segment);
    }
    atomic_fetch_sub(&segment->log->segments_open, 1);
    wdb_residency_free(segment->residency);
    free(segment->marks);
    free(segment);
}

void wdb_segment_acquire(struct wdb_segment *segment)
{
    const uint32_t before = atomic_fetch_add_explicit(&segment->references, 1,
                                                      memory_order_relaxed);
    wdb_assert(before != 0);
}

void wdb_segment_drop(struct wdb_segment *segment)
{
    const uint32_t before = atomic_fetch_sub_explicit(&segment->references, 1,
                                                      memory_order_acq_rel);
    wdb_assert(before != 0);
    if (before != 1) {
        return;
    }
    /* To unmap and unlink takes long: not on the thread of a worker. */
    struct wdb_log *log = segment->log;
    pthread_mutex_lock(&log->disposal_lock);
    segment->disposed_next = log->disposed;
    log->disposed = segment;
    pthread_mutex_unlock(&log->disposal_lock);
}

bool wdb_log_dispose(struct wdb_log *log)
{
    pthread_mutex_lock(&log->disposal_lock);
    struct wdb_segment *segment = log->disposed;
    log->disposed = NULL;
    pthread_mutex_unlock(&log->disposal_lock);
    const bool any = segment != NULL;
    while (segment != NULL) {
        struct wdb_segment *next = segment->disposed_next;
        wdb_segment_close(segment);
        segment = next;
    }
    return any;
}
