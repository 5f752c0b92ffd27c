/* directory.c - the manifest, the names in the directory, the segments. */
#include <inttypes.h>
#include <stdlib.h>

#include "net/peer_secret.h"
#include "walkerdb-check/check.h"

/* --- opening segments ------------------------------------------------------
 */

/* Map as much of the file as belongs to the segment. */
static int map_segment(struct check *check, struct check_segment *segment)
{
    char path[WDB_PATH_SIZE_MAX];
    struct wdb_file *file;
    const void *map = NULL;
    int rc = wdb_env_join(path, check->dir, segment->name);
    if (rc == 0) {
        rc = check->env->ops->open(check->env, path, WDB_OPEN_READ, &file);
    }
    if (rc == WALKERDB_ENOTFOUND) {
        check_problem(check, segment->name, UINT64_MAX,
                      "the manifest names this file, but it is not there");
        return 0;
    }
    if (rc != 0) {
        return rc;
    }
    rc = check->env->ops->size(file, &segment->file_size);
    segment->size = segment->file_size;
    if (check->has_manifest && segment->size > segment->m.size) {
        segment->size = segment->m.size;
    }
    if (rc == 0 && segment->size != 0) {
        rc = check->env->ops->map(file, segment->size, &map);
    } else if (rc == 0) {
        check_problem(check, segment->name, UINT64_MAX, "it is empty");
    }
    check->env->ops->close(file);
    segment->map = map;
    check->bytes_total += segment->size;
    return rc;
}

/* The salt is in every frame, too: for when the header is damaged. */
static bool find_salt(struct check_segment *segment)
{
    struct wdb_frame frame;
    struct wdb_entry_header entry;
    for (uint64_t at = WDB_SEGMENT_HEADER_SIZE;
         at + WDB_ENTRY_OVERHEAD <= segment->size; at += 8) {
        if (wdb_load32(segment->map + at) != WDB_FRAME_MAGIC) {
            continue;
        }
        const uint64_t salt =
            wdb_load64(segment->map + at + offsetof(struct wdb_frame, salt));
        if (wdb_entry_decode(segment->map + at, segment->size - at, at, salt,
                             &frame, &entry) == 0) {
            segment->salt = salt;
            return true;
        }
    }
    return false;
}

static void read_header(struct check *check, struct check_segment *segment)
{
    struct wdb_segment_header header;
    const char *what = NULL;
    int rc = WALKERDB_ECORRUPT;
    if (segment->size >= WDB_SEGMENT_HEADER_SIZE) {
        rc = wdb_segment_header_decode(segment->map, &header);
    }
    if (rc != 0) {
        what = rc == WALKERDB_EVERSION ? "it was written by a newer version"
                                       : "its header is damaged";
    } else if (header.id != segment->m.id || header.kind != segment->m.kind) {
        what = "its header is that of another segment";
    } else if (check->has_manifest && header.nonce != check->manifest.nonce) {
        what = "it belongs to another database";
    } else if (check->has_manifest && header.size < segment->m.size) {
        what = "its header names a smaller size than the manifest";
    }
    if (what == NULL) {
        segment->salt = header.salt;
        segment->header_sound = true;
        return;
    }
    check_problem(check, segment->name, 0, "%s", what);
    segment->problem_count++;
    if (!find_salt(segment)) {
        check->env->ops->unmap(check->env, segment->map, segment->size);
        segment->map = NULL;
    }
}

static int open_segment(struct check *check, struct check_segment *segment)
{
    const struct wdb_manifest_segment *m = &segment->m;
    wdb_name_segment(segment->name, m->id, m->kind);
    int rc = map_segment(check, segment);
    if (rc != 0) {
        return rc;
    }
    if (segment->map == NULL) {
        segment->problem_count++;
        return 0;
    }
    const uint64_t size_min = m->sealed ? m->size_used : m->size;
    if (check->has_manifest && segment->file_size < size_min) {
        check_problem(check, segment->name, segment->file_size,
                      "the file ends here, but should have %" PRIu64 " bytes",
                      size_min);
        segment->problem_count++;
    }
    read_header(check, segment);
    return 0;
}

/* --- names -----------------------------------------------------------------
 */

struct listing {
    struct check *check;
    size_t capacity;
    uint64_t files;
};

static bool is_live(const struct wdb_manifest *m, const struct wdb_name *name)
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

/* Without a manifest: every file that looks like a segment is one. */
static int adopt(struct listing *listing, const struct wdb_name *name)
{
    struct check *check = listing->check;
    if (check->segment_count == listing->capacity) {
        const size_t capacity = listing->capacity * 2 + 16;
        struct check_segment *segments =
            realloc(check->segments, capacity * sizeof(*segments));
        if (segments == NULL) {
            return WALKERDB_ENOMEM;
        }
        check->segments = segments;
        listing->capacity = capacity;
    }
    check->segments[check->segment_count++] = (struct check_segment){
        .m = {.id = name->id,
              .kind = name->kind == WDB_NAME_KIND_MERGED ? WDB_SEGMENT_MERGED
                                                         : WDB_SEGMENT_LOG},
    };
    return 0;
}

/* What a member of a cluster may have here besides. */
static bool is_of_cluster(struct check *check, const char *text)
{
    if (wdb_name_is_transfer(text)) {
        check_note(check, text,
                   "a snapshot under way to or from another node; deleted "
                   "when opened");
        return true;
    }
    return strcmp(text, "raft") == 0 || strcmp(text, WDB_IDENTITY_NAME) == 0 ||
           strcmp(text, WDB_PEER_SECRET_NAME) == 0;
}

static int on_name(void *context, const char *text)
{
    struct listing *listing = context;
    struct check *check = listing->check;
    struct wdb_name name;
    wdb_name_parse(text, &name);
    if (is_of_cluster(check, text)) {
        return 0;
    }
    if (name.kind == WDB_NAME_KIND_OTHER) {
        check_note(check, text, "not a file of the database");
        return 0;
    }
    listing->files++;
    if (name.temporary) {
        check_note(check, text, "left over by a crash; deleted when opened");
        return 0;
    }
    switch (name.kind) {
    case WDB_NAME_KIND_CUT:
        check_note(check, text,
                   "put aside by recovery: never synced, and cut "
                   "off the log");
        return 0;
    case WDB_NAME_KIND_LOG:
    case WDB_NAME_KIND_MERGED:
        if (!check->has_manifest) {
            return adopt(listing, &name);
        }
        break;
    case WDB_NAME_KIND_HINT:
        break;
    default:
        return 0;
    }
    if (check->has_manifest && !is_live(&check->manifest, &name)) {
        check_note(check, text, "not in the manifest; deleted when opened");
    }
    return 0;
}

static int compare_ids(const void *a, const void *b)
{
    const struct check_segment *x = a, *y = b;
    return x->m.id < y->m.id ? -1 : x->m.id > y->m.id;
}

/* --- the whole -------------------------------------------------------------
 */

static int read_manifest(struct check *check)
{
    int rc = wdb_manifest_load(check->env, check->dir, &check->manifest);
    switch (rc) {
    case 0:
        check->has_manifest = true;
        return 0;
    case WALKERDB_ENOTFOUND:
        check_problem(check, WDB_MANIFEST_NAME, UINT64_MAX, "it is missing");
        return 0;
    case WALKERDB_ECORRUPT:
        check_problem(check, WDB_MANIFEST_NAME, UINT64_MAX, "it is damaged");
        return 0;
    case WALKERDB_EVERSION:
        check_problem(check, WDB_MANIFEST_NAME, UINT64_MAX,
                      "it was written by a newer version of walkerDb");
        return rc;
    default:
        return rc;
    }
}

int check_open_directory(struct check *check)
{
    struct listing listing = {.check = check};
    int rc = read_manifest(check);
    if (rc == 0) {
        rc = check->env->ops->list(check->env, check->dir, on_name, &listing);
    }
    if (rc == 0 && listing.files == 0) {
        rc = WALKERDB_ENOTFOUND;
    }
    if (rc == 0) {
        rc = check_cluster_open(check);
    }
    if (rc != 0) {
        return rc;
    }
    if (check->has_manifest) {
        check->segment_count = check->manifest.segment_count;
        check->segments =
            calloc(check->segment_count + 1, sizeof(*check->segments));
        if (check->segments == NULL) {
            check->segment_count = 0;
            return WALKERDB_ENOMEM;
        }
        for (size_t i = 0; i < check->segment_count; i++) {
            check->segments[i].m = check->manifest.segments[i];
            check->segments[i].order_known = true;
        }
    } else if (check->segment_count != 0) {
        qsort(check->segments, check->segment_count, sizeof(*check->segments),
              compare_ids);
    }
    for (size_t i = 0; i < check->segment_count && rc == 0; i++) {
        rc = open_segment(check, &check->segments[i]);
    }
    return rc;
}

void check_close_directory(struct check *check)
{
    for (size_t i = 0; i < check->segment_count; i++) {
        struct check_segment *segment = &check->segments[i];
        if (segment->map != NULL) {
            check->env->ops->unmap(check->env, segment->map, segment->size);
        }
    }
    free(check->segments);
    check_cluster_close(check);
    wdb_manifest_release(&check->manifest);
}
