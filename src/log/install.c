/*
 * install.c - takes a snapshot's files in, and switches to them.
 */
#include "log/install.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/buffer.h"
#include "log/log_internal.h"
#include "log/names.h"

static int refuse(const struct wdb_log_install *install, const char *dir,
                  const char *name, const char *what)
{
    wdb_logger_print(install->log->options.logger, WDB_LOG_WARNING,
                     "The snapshot in %s is refused: %s%s%s", dir, name,
                     name[0] == '\0' ? "" : ": ", what);
    return WALKERDB_ECORRUPT;
}

static int file_path(const char *dir, const struct wdb_manifest_segment *m,
                     char out[WDB_PATH_SIZE_MAX])
{
    char name[WDB_NAME_SIZE_MAX];
    wdb_name_segment(name, m->id, (enum wdb_segment_kind)m->kind);
    return wdb_env_join(out, dir, name);
}

/* --- the manifest ---------------------------------------------------------- */

/* What a backup's manifest says beyond what holds for every manifest: all is
 * sealed but an empty segment at the end, which begins behind the index. */
static const char *find_fault(const struct wdb_log_install *install)
{
    const struct wdb_manifest *m = &install->manifest;
    if (m->segment_count == 0) {
        return "it has no open segment";
    }
    const size_t last = m->segment_count - 1;
    const struct wdb_manifest_segment *end = &m->segments[last];
    if (end->sealed || (last > 0 && !m->segments[last - 1].sealed)) {
        return "it is no backup: not all of it is sealed";
    }
    if (m->index_committed != install->index ||
        m->index_durable != install->index ||
        end->index_first != install->index + 1) {
        return "it ends at another index than was said";
    }
    for (size_t i = 0; i < last; i++) {
        const struct wdb_manifest_segment *s = &m->segments[i];
        const struct wdb_manifest_segment *next = s + 1;
        if (s->index_last > install->index) {
            return "it has entries behind its end";
        }
        /* Two log segments side by side share the chain. */
        if (s->kind == WDB_SEGMENT_LOG && next->kind == WDB_SEGMENT_LOG &&
            next->index_first == s->index_last + 1 &&
            next->first_previous_crc != s->last_crc) {
            return "the chain of entries is broken";
        }
    }
    return NULL;
}

static int load_manifest(struct wdb_log_install *install, const char *dir)
{
    struct wdb_log *log = install->log;
    int rc = wdb_manifest_load(log->env, dir, &install->manifest);
    if (rc == WALKERDB_ENOTFOUND || rc == WALKERDB_ECORRUPT) {
        return refuse(install, dir, WDB_NAME_MANIFEST,
                      "it is damaged or missing");
    }
    if (rc != 0) {
        return rc;
    }
    const char *fault = find_fault(install);
    if (fault != NULL) {
        wdb_manifest_release(&install->manifest);
        return refuse(install, dir, WDB_NAME_MANIFEST, fault);
    }
    install->count = install->manifest.segment_count - 1;
    install->end_crc =
        install->manifest.segments[install->count].first_previous_crc;
    for (size_t i = 0; i < install->count; i++) {
        struct wdb_manifest_segment *s = &install->manifest.segments[i];
        s->size = s->size_used;
        install->size += s->size_used;
    }
    return 0;
}

/* --- files ----------------------------------------------------------------- */

/* Check the header, and let it say what ours do. */
static int adopt_header(struct wdb_log_install *install, struct wdb_file *file,
                        const struct wdb_manifest_segment *m, uint64_t id,
                        const char **fault)
{
    struct wdb_segment_header header;
    uint8_t bytes[WDB_SEGMENT_HEADER_SIZE];
    int rc = wdb_env_pread_all(file, bytes, sizeof(bytes), 0);
    if (rc == 0) {
        rc = wdb_segment_header_decode(bytes, &header);
    }
    if (rc != 0) {
        *fault = rc == WALKERDB_ECORRUPT ? "its header is damaged" : NULL;
        return rc;
    }
    if (header.id != m->id || header.kind != m->kind ||
        header.nonce != install->manifest.nonce) {
        *fault = "it belongs to another database or has another name";
        return WALKERDB_ECORRUPT;
    }
    header.id = id;
    header.nonce = install->log->nonce;
    wdb_segment_header_encode(&header, bytes);
    return wdb_env_pwrite(file, bytes, sizeof(bytes), 0);
}

static int adopt_file(struct wdb_log_install *install, struct wdb_file *file,
                      const struct wdb_manifest_segment *m, uint64_t id,
                      const char **fault)
{
    const struct wdb_env_ops *ops = install->log->env->ops;
    uint64_t size;
    int rc = ops->size(file, &size);
    if (rc == 0 && size < m->size_used) {
        *fault = "it is shorter than it should be";
        return WALKERDB_ECORRUPT;
    }
    if (rc == 0) {
        rc = adopt_header(install, file, m, id, fault);
    }
    if (rc == 0 && size > m->size_used) {
        rc = ops->truncate(file, m->size_used);
    }
    if (WDB_LOG_MUTATED(install->log, WDB_MUTATION_INSTALL_SKIP_SYNC)) {
        return rc;
    }
    return rc == 0 ? ops->sync(file) : rc;
}

/* Give file number `i` the id, and a name in our directory. */
static int take_file(struct wdb_log_install *install, const char *dir, size_t i,
                     uint64_t id)
{
    struct wdb_log *log = install->log;
    struct wdb_manifest_segment *m = &install->manifest.segments[i];
    char from[WDB_PATH_SIZE_MAX], to[WDB_PATH_SIZE_MAX];
    const char *fault = NULL;
    struct wdb_file *file;
    int rc = file_path(dir, m, from);
    if (rc == 0) {
        rc = log->env->ops->open(log->env, from, WDB_OPEN_WRITE, &file);
    }
    if (rc == WALKERDB_ENOTFOUND) {
        return refuse(install, from, "", "a file is missing");
    }
    if (rc != 0) {
        return rc;
    }
    rc = adopt_file(install, file, m, id, &fault);
    log->env->ops->close(file);
    if (fault != NULL) {
        return refuse(install, from, "", fault);
    }
    if (rc != 0) {
        return rc;
    }
    m->id = id;
    rc = file_path(log->dir, m, to);
    if (rc == 0) {
        install->taken = i + 1;
        rc = log->env->ops->rename(log->env, from, to);
    }
    return rc;
}

/* Ids that nobody else gets, in a row; the first one. */
static uint64_t reserve_ids(struct wdb_log *log, size_t count)
{
    pthread_mutex_lock(&log->catalog);
    const uint64_t id = log->manifest.segment_id_next;
    log->manifest.segment_id_next += count;
    pthread_mutex_unlock(&log->catalog);
    return id;
}

static int take_files(struct wdb_log_install *install, const char *dir)
{
    struct wdb_log *log = install->log;
    const uint64_t id = reserve_ids(log, install->count);
    int rc = 0;
    for (size_t i = 0; i < install->count && rc == 0; i++) {
        rc = take_file(install, dir, i, id + i);
    }
    return rc == 0 ? log->env->ops->sync_dir(log->env, log->dir) : rc;
}

static int open_files(struct wdb_log_install *install)
{
    struct wdb_log *log = install->log;
    install->segments =
        calloc(install->count + 1, sizeof(struct wdb_segment *));
    int rc = install->segments == NULL ? WALKERDB_ENOMEM : 0;
    for (size_t i = 0; i < install->count && rc == 0; i++) {
        struct wdb_segment *segment;
        const char *text = NULL;
        rc = wdb_segment_open(log, &install->manifest.segments[i], &segment,
                              &text);
        if (rc == 0) {
            rc = wdb_slots_add(log, segment);
            if (rc != 0) {
                wdb_segment_close(segment);
            }
        }
        if (rc == 0) {
            install->segments[i] = segment;
            install->opened = i + 1;
        }
    }
    return rc;
}

int wdb_log_install_begin(struct wdb_log *log, const char *dir, uint64_t index,
                          uint64_t term, struct wdb_log_install *out)
{
    *out = (struct wdb_log_install){.log = log, .index = index, .term = term};
    if (log->options.read_only) {
        return WALKERDB_EREADONLY;
    }
    if (term == 0 && index != 0) {
        return WALKERDB_EINVALID;
    }
    int rc = wdb_log_failure(log);
    if (rc == 0) {
        rc = load_manifest(out, dir);
    }
    if (rc != 0) {
        return rc;
    }
    rc = take_files(out, dir);
    if (rc == 0) {
        rc = open_files(out);
    }
    if (rc != 0) {
        wdb_log_install_abort(out);
    }
    return rc;
}

static void release(struct wdb_log_install *install)
{
    wdb_manifest_release(&install->manifest);
    free(install->segments);
    install->segments = NULL;
    install->count = install->taken = install->opened = 0;
}

void wdb_log_install_abort(struct wdb_log_install *install)
{
    struct wdb_log *log = install->log;
    for (size_t i = 0; i < install->opened; i++) {
        wdb_catalog_give_up(log, install->segments[i]);
    }
    for (size_t i = install->opened; i < install->taken; i++) {
        char path[WDB_PATH_SIZE_MAX];
        if (file_path(log->dir, &install->manifest.segments[i], path) == 0) {
            (void)log->env->ops->unlink(log->env, path);
        }
    }
    release(install);
}

/* --- verification ---------------------------------------------------------- */

/* One entry's place in its segment. */
static bool is_in_place(const struct wdb_segment *segment,
                        const struct wdb_frame *frame,
                        const struct wdb_entry_header *entry,
                        const struct wdb_entry_header *before,
                        uint32_t previous_crc)
{
    if ((entry->type == WDB_ENTRY_MERGED) !=
            (segment->kind == WDB_SEGMENT_MERGED) ||
        entry->index > segment->index_last || entry->index < before->index) {
        return false;
    }
    return segment->kind == WDB_SEGMENT_MERGED ||
           (frame->previous_crc == previous_crc &&
            entry->index == before->index + 1 && entry->term >= before->term);
}

int wdb_log_install_verify(struct wdb_log_install *install, size_t number,
                           uint64_t *offset_out)
{
    struct wdb_env *env = install->log->env;
    const struct wdb_segment *segment = install->segments[number];
    const bool is_log = segment->kind == WDB_SEGMENT_LOG;
    uint64_t at = WDB_SEGMENT_HEADER_SIZE;
    uint32_t crc = segment->first_previous_crc;
    struct wdb_entry_header before = {.index = segment->index_first - is_log};
    bool good = true;
    while (good && at < segment->size_used) {
        struct wdb_frame frame;
        struct wdb_entry_header entry;
        good = wdb_entry_decode(segment->map + at, segment->size_used - at, at,
                                segment->header.salt, &frame, &entry) == 0 &&
               is_in_place(segment, &frame, &entry, &before, crc);
        if (good) {
            at += WDB_ENTRY_OVERHEAD + entry.payload_size;
            crc = frame.crc;
            before = entry;
        }
    }
    const bool is_last = number + 1 == install->count;
    if (good && is_log) {
        good = before.index == segment->index_last &&
               crc == segment->last_crc &&
               (!is_last || before.index < install->index ||
                (before.term == install->term && crc == install->end_crc));
    }
    if (good) {
        return 0;
    }
    *offset_out = at;
    return env->ops->damaged(env, segment->map) ? WALKERDB_EIO
                                                : WALKERDB_ECORRUPT;
}

/* --- the switch ------------------------------------------------------------ */

/* What the new state consists of, made before anything changes. */
struct change {
    struct wdb_manifest manifest;
    struct wdb_slice base; /* the log's copy */
    struct wdb_segment *open;
};

/* A new open segment; a smaller one if there is no space for a whole one. */
static int make_open(struct wdb_log_install *install, struct change *change)
{
    struct wdb_log *log = install->log;
    uint64_t size = log->options.segment_size;
    int rc = wdb_catalog_create(log, &change->manifest, WDB_SEGMENT_LOG, size,
                                &change->open);
    while (rc == WALKERDB_ENOSPACE && size / 2 >= WDB_SEGMENT_SIZE_MIN) {
        size = size / 2 & ~(uint64_t)4095;
        rc = wdb_catalog_create(log, &change->manifest, WDB_SEGMENT_LOG, size,
                                &change->open);
    }
    if (rc == 0) {
        change->open->index_first =
            (WDB_LOG_MUTATED(log, WDB_MUTATION_INSTALL_OLD_INDEX)
                 ? wdb_log_index_last(log)
                 : install->index) +
            1;
        change->open->first_previous_crc = install->end_crc;
    }
    return rc;
}

static uint64_t larger(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* Let the copy of the manifest name what is new, and nothing else. */
static int edit(struct wdb_log_install *install, struct change *change,
                struct wdb_slice base)
{
    struct wdb_log *log = install->log;
    struct wdb_manifest *m = &change->manifest;
    const uint64_t behind = install->index + 1;
    struct wdb_manifest_segment *list = install->manifest.segments;
    /* The place of the snapshot's open segment. */
    list[install->count] = wdb_catalog_describe(change->open);
    int rc =
        wdb_catalog_insert(m, 0, m->segment_count, list, install->count + 1);
    if (rc == 0) {
        rc = wdb_base_edit(m, m->cluster, base, behind);
    }
    if (rc != 0) {
        return rc;
    }
    m->generation++;
    m->truncation_index = behind;
    m->truncation_count++;
    m->index_retained = larger(behind, atomic_load(&log->retained));
    m->index_durable = install->index;
    m->index_committed = install->index;
    m->time_ms = larger(atomic_load(&log->time_ms), install->manifest.time_ms);
    m->object_counter =
        larger(m->object_counter, install->manifest.object_counter);
    /* Of the last entry: what the log had may have been newer, but is gone, and
     * the leader's next entry may be older than that was. */
    m->term = larger(install->term, 1);
    return 0;
}

/* The broken rule. */
static void unlink_old(struct wdb_log *log)
{
    for (size_t i = 0; i < log->manifest.segment_count; i++) {
        char path[WDB_PATH_SIZE_MAX];
        if (file_path(log->dir, &log->manifest.segments[i], path) == 0) {
            (void)log->env->ops->unlink(log->env, path);
        }
    }
}

/* Under catalog. */
static int prepare(struct wdb_log_install *install, struct change *change,
                   struct wdb_slice base)
{
    struct wdb_log *log = install->log;
    int rc = wdb_log_failure(log);
    if (rc == 0 && install->index < wdb_log_committed(log)) {
        rc = WALKERDB_EINVALID;
    }
    if (rc == 0) {
        rc = wdb_slots_reserve(log, install->count + 1);
    }
    if (rc == 0) {
        rc = wdb_manifest_copy(&log->manifest, &change->manifest);
    }
    if (rc != 0) {
        return rc;
    }
    rc = wdb_base_copy(base, &change->base);
    if (rc == 0) {
        rc = make_open(install, change);
    }
    if (rc == 0) {
        rc = edit(install, change, base);
    }
    if (rc == 0 && WDB_LOG_MUTATED(log, WDB_MUTATION_INSTALL_UNLINK_EARLY)) {
        unlink_old(log);
    }
    if (rc == 0 && !WDB_LOG_MUTATED(log, WDB_MUTATION_INSTALL_SKIP_MANIFEST)) {
        rc = wdb_manifest_store(log->env, log->dir, &change->manifest);
        if (rc == WALKERDB_EIO) {
            /* The old one may stand, or the new one. */
            rc = wdb_log_fail(log, rc, "replacement of the manifest", NULL);
        }
    }
    if (rc != 0) {
        if (change->open != NULL) {
            wdb_catalog_give_up(log, change->open);
        }
        free((void *)(uintptr_t)change->base.data);
        wdb_manifest_release(&change->manifest);
    }
    return rc;
}

static void set_watermarks(struct wdb_log *log,
                           const struct wdb_log_install *install)
{
    const uint64_t index = install->index;
    atomic_store(&log->index_last, index);
    atomic_store(&log->index_foreign, index);
    atomic_store(&log->appended, index);
    atomic_store(&log->durable, index);
    atomic_store(&log->committed, index);
    atomic_store(&log->time_ms, log->manifest.time_ms);
    atomic_store(&log->object_counter, log->manifest.object_counter);
}

/* The manifest is durable: do the same in memory. */
static void take_over(struct wdb_log_install *install, struct change *change)
{
    struct wdb_log *log = install->log;
    wdb_manifest_release(&log->manifest);
    log->manifest = change->manifest;
    wdb_base_take_over(log, change->base);
    pthread_mutex_lock(&log->sequencer);
    wdb_assert(!log->entry.is_open);
    log->current = change->open;
    log->next = NULL;
    log->head = WDB_SEGMENT_HEADER_SIZE;
    log->index_closed = install->index;
    log->last_crc = install->end_crc;
    log->term = log->manifest.term;
    set_watermarks(log, install);
    atomic_fetch_add(&log->generation, 1);
    pthread_mutex_unlock(&log->sequencer);
    atomic_store(&log->unsealed_count, 0);
    /* Inside the epoch none of them loses its last reference while it is still
     * in the order, where others find it. */
    const int slot = wdb_epoch_enter(log->epoch);
    for (size_t i = 0; i < log->order_count; i++) {
        /* Somebody may wait until it is sealed. */
        atomic_store(&log->order[i]->sealed,
                     atomic_load(&log->order[i]->finished));
        wdb_log_segment_retire(log, log->order[i]);
    }
    install->segments[install->count] = change->open;
    wdb_slots_splice(log, 0, log->order_count, install->segments,
                     install->count + 1);
    wdb_epoch_exit(log->epoch, slot);
}

int wdb_log_install_finish(struct wdb_log_install *install,
                           struct wdb_slice base)
{
    struct wdb_log *log = install->log;
    struct change change = {.open = NULL};
    wdb_assert(wdb_log_is_held(log) && !wdb_log_dirty(log));
    /* Nothing is synced or sealed meanwhile; finished ones go as they are. */
    pthread_mutex_lock(&log->syncing);
    pthread_mutex_lock(&log->catalog);
    const int rc = prepare(install, &change, base);
    if (rc == 0) {
        take_over(install, &change);
        release(install);
    } else {
        wdb_log_install_abort(install);
    }
    pthread_mutex_unlock(&log->catalog);
    pthread_mutex_unlock(&log->syncing);
    wdb_sync_wake(log); /* a next segment; the old ones' files */
    return wdb_log_tell_failure(log, rc);
}

int wdb_log_install_lost(struct wdb_log *log, int error)
{
    (void)wdb_log_fail(log, error, "loading of an installed snapshot", NULL);
    (void)wdb_log_tell_failure(log, WALKERDB_EIO);
    return error;
}

/* --- leftovers ------------------------------------------------------------- */

struct sweep {
    struct wdb_log *log;
    const char *dir;
    struct wdb_buffer names; /* terminated, one after the other */
    bool directories;        /* wanted; else files */
};

static int note_name(void *context, const char *text)
{
    struct sweep *sweep = context;
    struct wdb_name name;
    wdb_name_parse(text, &name);
    const bool wanted = sweep->directories ? wdb_name_is_transfer(text)
                                           : name.kind != WDB_NAME_KIND_OTHER;
    return wanted ? wdb_buffer_append(&sweep->names, text, strlen(text) + 1)
                  : 0;
}

/* The names of this kind, or none if there is no memory or no directory. */
static void collect(struct sweep *sweep)
{
    const struct wdb_env_ops *ops = sweep->log->env->ops;
    if (ops->list(sweep->log->env, sweep->dir, note_name, sweep) != 0) {
        wdb_buffer_clear(&sweep->names);
    }
}

static void sweep_directory(struct wdb_log *log, const char *dir)
{
    struct sweep files = {.log = log, .dir = dir};
    char path[WDB_PATH_SIZE_MAX];
    collect(&files);
    for (size_t at = 0; at < files.names.size;) {
        const char *name = (const char *)files.names.data + at;
        at += strlen(name) + 1;
        if (wdb_env_join(path, dir, name) == 0) {
            (void)log->env->ops->unlink(log->env, path);
        }
    }
    wdb_buffer_release(&files.names);
    const int rc = log->env->ops->rmdir(log->env, dir);
    wdb_logger_print(log->options.logger,
                     rc == 0 ? WDB_LOG_VERBOSE : WDB_LOG_NOTICE,
                     rc == 0 ? "Deleted %s, the rest of a transfer"
                             : "%s, the rest of a transfer, was not deleted",
                     dir);
}

void wdb_install_sweep(struct wdb_log *log)
{
    struct sweep sweep = {.log = log, .dir = log->dir, .directories = true};
    char path[WDB_PATH_SIZE_MAX];
    if (WDB_LOG_MUTATED(log, WDB_MUTATION_INSTALL_SKIP_SWEEP)) {
        return;
    }
    collect(&sweep);
    for (size_t at = 0; at < sweep.names.size;) {
        const char *name = (const char *)sweep.names.data + at;
        at += strlen(name) + 1;
        if (wdb_env_join(path, log->dir, name) == 0) {
            sweep_directory(log, path);
        }
    }
    wdb_buffer_release(&sweep.names);
}
