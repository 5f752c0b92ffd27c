/*
 * cut.c - makes the files what recovery found, in steps that a crash may end.
 *
 *   1  delete what the manifest does not name      (worth nothing)
 *   2  put aside what is cut off, durably           (adds files)
 *   3  replace the manifest: segments end where their entries do, those behind
 *      the end are gone                             (the decision)
 *   4  shorten the cut segment, unlink the others   (frees space)
 *   5  make a new segment, name it in the manifest
 *
 * After a crash before 3 recovery sees the same as this time. After 3 there is
 * nothing left to cut: recovery finds sealed segments only, goes on with 4 (a
 * file longer than the manifest says is shortened) and 5.
 */
#include <stdlib.h>

#include "base/buffer.h"
#include "log/install.h"
#include "log/names.h"
#include "log/recovery.h"

/* --- 1: leftovers ---------------------------------------------------------- */

struct leftovers {
    struct wdb_log *log;
    struct wdb_buffer names; /* terminated, one after the other */
};

static bool is_named(const struct wdb_manifest *m, const struct wdb_name *name)
{
    for (size_t i = 0; i < m->segment_count; i++) {
        const bool is_log = m->segments[i].kind == WDB_SEGMENT_LOG;
        if (m->segments[i].id == name->id &&
            (name->kind == WDB_NAME_KIND_HINT ||
             is_log == (name->kind == WDB_NAME_KIND_LOG))) {
            return true;
        }
    }
    return false;
}

static int note_name(void *context, const char *text)
{
    struct leftovers *l = context;
    struct wdb_manifest *m = &l->log->manifest;
    struct wdb_name name;
    wdb_name_parse(text, &name);
    switch (name.kind) {
    case WDB_NAME_KIND_OTHER:
        return 0;
    case WDB_NAME_KIND_LOCK:
    case WDB_NAME_KIND_MANIFEST:
        break;
    case WDB_NAME_KIND_LOG:
    case WDB_NAME_KIND_MERGED:
    case WDB_NAME_KIND_HINT:
    case WDB_NAME_KIND_CUT:
        /* A number that some file has is never given again. */
        if (name.id >= m->segment_id_next) {
            m->segment_id_next = name.id + 1;
        }
        break;
    }
    const bool stays = name.kind == WDB_NAME_KIND_LOCK ||
                       name.kind == WDB_NAME_KIND_MANIFEST ||
                       name.kind == WDB_NAME_KIND_CUT || is_named(m, &name);
    if (stays && !name.temporary) {
        return 0;
    }
    return wdb_buffer_append(&l->names, text, strlen(text) + 1);
}

static int delete_leftovers(struct wdb_recovery *r)
{
    struct wdb_log *log = r->log;
    struct leftovers l = {.log = log};
    wdb_install_sweep(log);
    int rc = log->env->ops->list(log->env, log->dir, note_name, &l);
    for (size_t at = 0; at < l.names.size && rc == 0;) {
        char path[WDB_PATH_SIZE_MAX];
        const char *name = (const char *)l.names.data + at;
        at += strlen(name) + 1;
        rc = wdb_env_join(path, log->dir, name);
        if (rc == 0) {
            rc = log->env->ops->unlink(log->env, path);
        }
        if (rc == 0) {
            wdb_logger_print(log->options.logger, WDB_LOG_VERBOSE,
                             "Deleted %s, which the manifest does not name",
                             path);
        }
    }
    wdb_buffer_release(&l.names);
    return rc;
}

/* --- 2: put aside ---------------------------------------------------------- */

static int keep_rest(struct wdb_recovery *r, const struct wdb_segment *segment,
                     const struct wdb_recovery_rest *rest)
{
    struct wdb_log *log = r->log;
    char name[WDB_NAME_SIZE_MAX];
    /* A segment is cut once: the same name again means that recovery was
     * interrupted, and the bytes are the same. */
    wdb_name_cut(name, segment->id, 0);
    int rc =
        wdb_env_replace_file(log->env, log->dir, name,
                             segment->map + rest->from, rest->to - rest->from);
    if (rc != 0) {
        wdb_recovery_say(r,
                         "%s/%s: %llu bytes of a torn end could not be put "
                         "aside: %s",
                         log->dir, name,
                         (unsigned long long)(rest->to - rest->from),
                         walkerdb_strerror(rc));
        return rc;
    }
    wdb_logger_print(
        log->options.logger, WDB_LOG_WARNING,
        "Segment %016llx has a torn end that was never synced: %llu bytes from "
        "offset %llu on were put aside as %s/%s",
        (unsigned long long)segment->id,
        (unsigned long long)(rest->to - rest->from),
        (unsigned long long)rest->from, log->dir, name);
    return 0;
}

static int keep_rests(struct wdb_recovery *r)
{
    int rc = 0;
    for (size_t i = r->end_segment; i < r->log->order_count && rc == 0; i++) {
        const struct wdb_recovery_rest *rest = &r->rests[i - r->first];
        if (rest->to != rest->from) {
            rc = keep_rest(r, r->log->order[i], rest);
        }
    }
    return rc;
}

/* --- 3 and 4: the decision ------------------------------------------------- */

enum fate {
    FATE_SEALED, /* ends where its entries do */
    FATE_OPEN,   /* takes the next entries */
    FATE_NEXT,   /* empty: the prepared one */
    FATE_GONE,   /* has no accepted entries */
};

static enum fate fate_of(const struct wdb_recovery *r, size_t i)
{
    const bool has_entries = r->ends[i - r->first] > WDB_SEGMENT_HEADER_SIZE;
    if (!r->must_cut && i == r->end_segment) {
        return FATE_OPEN;
    }
    if (!r->must_cut && i == r->end_segment + 1) {
        return FATE_NEXT;
    }
    return has_entries ? FATE_SEALED : FATE_GONE;
}

static int edit_manifest(struct wdb_recovery *r, struct wdb_manifest *changed,
                         bool *differs_out)
{
    size_t at = r->first;
    int rc = 0;
    *differs_out = false;
    for (size_t i = r->first; i < r->log->order_count && rc == 0; i++) {
        const enum fate fate = fate_of(r, i);
        if (fate == FATE_GONE) {
            rc = wdb_catalog_insert(changed, at, 1, NULL, 0);
            *differs_out = true;
            continue;
        }
        if (fate == FATE_SEALED) {
            wdb_catalog_seal_entry(&changed->segments[at], r->log->order[i]);
            if (i == r->end_segment) {
                changed->segments[at].size = changed->segments[at].size_used;
            }
            *differs_out = true;
        }
        at++;
    }
    return rc;
}

static int store_manifest(struct wdb_recovery *r)
{
    struct wdb_log *log = r->log;
    struct wdb_manifest changed;
    bool differs;
    for (size_t i = r->first; i < log->order_count; i++) {
        if (fate_of(r, i) == FATE_NEXT) {
            /* It may have had entries that are lost: forget where it began. */
            log->order[i]->index_first = 0;
            log->order[i]->first_previous_crc = 0;
        }
    }
    int rc = wdb_manifest_copy(&log->manifest, &changed);
    if (rc != 0) {
        return rc;
    }
    rc = edit_manifest(r, &changed, &differs);
    if (rc != 0 || !differs) {
        wdb_manifest_release(&changed);
        return rc;
    }
    rc = wdb_catalog_store(log, &changed);
    if (rc != 0) {
        wdb_recovery_say(r, "%s/%s: cannot be replaced: %s", log->dir,
                         WDB_NAME_MANIFEST, walkerdb_strerror(rc));
    }
    return rc;
}

static int shorten(struct wdb_recovery *r, struct wdb_segment *segment,
                   uint64_t size)
{
    struct wdb_log *log = r->log;
    struct wdb_file *file;
    char path[WDB_PATH_SIZE_MAX];
    int rc = wdb_segment_path(log, segment->id, segment->kind, path);
    if (rc == 0) {
        rc = log->env->ops->open(log->env, path, WDB_OPEN_WRITE, &file);
    }
    if (rc == 0) {
        rc = log->env->ops->truncate(file, size);
        log->env->ops->close(file);
    }
    if (rc != 0) {
        wdb_recovery_say(r, "%s: cannot be shortened: %s", path,
                         walkerdb_strerror(rc));
    }
    return rc;
}

/* Sealed segments are as long as the manifest says. */
static int shorten_sealed(struct wdb_recovery *r)
{
    struct wdb_log *log = r->log;
    int rc = 0;
    for (size_t i = 0; i < log->manifest.segment_count && rc == 0; i++) {
        uint64_t size;
        struct wdb_segment *segment = log->order[i];
        if (!log->manifest.segments[i].sealed) {
            break;
        }
        rc = log->env->ops->size(segment->file, &size);
        if (rc == 0 && size > log->manifest.segments[i].size) {
            rc = shorten(r, segment, log->manifest.segments[i].size);
        }
    }
    return rc;
}

/* Do to the segments in memory what the manifest says of them. */
static void take_over(struct wdb_recovery *r)
{
    struct wdb_log *log = r->log;
    size_t at = r->first;
    const size_t count = log->order_count;
    for (size_t i = r->first; i < count; i++) {
        struct wdb_segment *segment = log->order[at];
        switch (fate_of(r, i)) {
        case FATE_SEALED:
            atomic_store(&segment->finished, true);
            atomic_store(&segment->sealed, true);
            break;
        case FATE_OPEN:
            log->current = segment;
            log->head = r->end_offset;
            break;
        case FATE_NEXT:
            log->next = segment;
            break;
        case FATE_GONE:
            wdb_slots_splice(log, at, 1, NULL, 0);
            wdb_log_segment_retire(log, segment);
            continue;
        }
        at++;
    }
}

/* --- 5: where appends go --------------------------------------------------- */

/* A new open segment; a smaller one if there is no space for a whole one. */
static int make_current(struct wdb_recovery *r)
{
    struct wdb_log *log = r->log;
    struct wdb_manifest changed;
    struct wdb_segment *segment = NULL;
    uint64_t size = log->options.segment_size;
    int rc = wdb_manifest_copy(&log->manifest, &changed);
    if (rc != 0) {
        return rc;
    }
    rc = wdb_catalog_create(log, &changed, WDB_SEGMENT_LOG, size, &segment);
    while (rc == WALKERDB_ENOSPACE && size / 2 >= WDB_SEGMENT_SIZE_MIN) {
        size = size / 2 & ~(uint64_t)4095;
        rc = wdb_catalog_create(log, &changed, WDB_SEGMENT_LOG, size, &segment);
    }
    if (rc != 0) {
        wdb_recovery_say(r, "%s: cannot make a log segment: %s", log->dir,
                         walkerdb_strerror(rc));
        wdb_manifest_release(&changed);
        return rc;
    }
    segment->index_first = r->index_last + 1;
    segment->first_previous_crc = r->last_crc;
    const struct wdb_manifest_segment m = wdb_catalog_describe(segment);
    rc = wdb_catalog_insert(&changed, changed.segment_count, 0, &m, 1);
    if (rc != 0) {
        wdb_manifest_release(&changed);
    } else {
        rc = wdb_catalog_store(log, &changed);
    }
    if (rc != 0) {
        wdb_catalog_give_up(log, segment);
        return rc;
    }
    wdb_slots_splice(log, log->order_count, 0, &segment, 1);
    log->current = segment;
    log->head = WDB_SEGMENT_HEADER_SIZE;
    return 0;
}

#ifdef WDB_MUTATIONS
static int break_rules(struct wdb_recovery *r)
{
    struct wdb_log *log = r->log;
    if (r->must_cut && WDB_LOG_MUTATED(log, WDB_MUTATION_CUT_BEFORE_MANIFEST)) {
        return shorten(r, log->order[r->end_segment], r->end_offset);
    }
    return 0;
}
#endif

int wdb_cut_run(struct wdb_recovery *r)
{
    int rc = delete_leftovers(r);
#ifdef WDB_MUTATIONS
    if (rc == 0) {
        rc = break_rules(r);
    }
#endif
    if (rc == 0 && r->must_cut) {
        rc = keep_rests(r);
    }
    if (rc == 0) {
        rc = store_manifest(r);
    }
    if (rc != 0) {
        return rc;
    }
    take_over(r);
    rc = shorten_sealed(r);
    if (rc == 0 && r->log->current == NULL) {
        rc = make_current(r);
    }
    return rc;
}

int wdb_cut_in_memory(struct wdb_recovery *r)
{
    struct wdb_log *log = r->log;
    size_t at = r->first;
    const size_t count = log->order_count;
    for (size_t i = r->first; i < count; i++) {
        struct wdb_segment *segment = log->order[at];
        if (r->ends[i - r->first] > WDB_SEGMENT_HEADER_SIZE) {
            atomic_store(&segment->finished, true);
            at++;
        } else {
            wdb_slots_splice(log, at, 1, NULL, 0);
            wdb_slots_remove(log, segment);
        }
    }
    return 0;
}
