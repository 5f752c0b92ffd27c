/* verify.c - walks all segments, and holds their hints against them. */
#include <inttypes.h>
#include <stdlib.h>

#include "walkerdb-check/check.h"

struct visit {
    struct check *check;
    struct wdb_hint hint; /* data NULL: there is none to compare with */
    struct wdb_hint_cursor cursor;
    const char *hint_difference; /* the first one, a static text */
    uint64_t hint_offset;
    /* the last record of the segment before */
    uint64_t before_index;
    uint32_t before_place;
    bool has_before;
    bool at_start;
    uint64_t last_index;
    uint32_t last_place;
};

/* --- hints -----------------------------------------------------------------
 */

/* What makes a hint that does not have the right identity: it is of another
 * segment or another state of it, or damaged. */
static void explain_hint(struct check *check, const char *name)
{
    char path[WDB_PATH_SIZE_MAX];
    struct wdb_hint_identity identity;
    struct wdb_hint hint;
    void *data;
    size_t size;
    if (wdb_env_join(path, check->dir, name) != 0 ||
        wdb_env_read_file(check->env, path, SIZE_MAX, &data, &size) != 0) {
        check_problem(check, name, UINT64_MAX, "it cannot be read");
        return;
    }
    if (wdb_hint_read_identity(data, size, &identity) == 0 &&
        wdb_hint_view(data, size, &identity, &hint) == 0) {
        check_note(check, name,
                   "it is not of this state of its segment; it is not used");
    } else {
        check_problem(check, name, UINT64_MAX,
                      "it is damaged; the segment is read instead, so it may "
                      "be deleted");
    }
    free(data);
}

static int begin_hint(struct visit *visit, const struct check_segment *segment)
{
    struct check *check = visit->check;
    const struct wdb_manifest_segment *m = &segment->m;
    const struct wdb_hint_identity identity = {
        .id = m->id,
        .kind = (enum wdb_segment_kind)m->kind,
        .salt = segment->salt,
        .nonce = check->manifest.nonce,
        .size_used = m->size_used,
        .index_first = m->index_first,
        .index_last = m->index_last,
        .clean_index = m->clean_index,
        .last_crc = m->kind == WDB_SEGMENT_MERGED ? 0 : m->last_crc,
    };
    char name[WDB_NAME_SIZE_MAX];
    visit->hint.data = NULL;
    visit->hint_difference = NULL;
    if (!check->has_manifest || !m->sealed) {
        return 0;
    }
    wdb_name_hint(name, m->id);
    int rc = wdb_hint_open(check->env, check->dir, &identity, &visit->hint);
    switch (rc) {
    case 0:
        wdb_hint_begin(&visit->hint, &visit->cursor);
        check->totals.hints++;
        return 0;
    case WALKERDB_ENOTFOUND:
        return 0;
    case WALKERDB_ECORRUPT:
        check->totals.hints++;
        explain_hint(check, name);
        return 0;
    default:
        return rc;
    }
}

static void compare_hint(struct visit *visit, const struct wdb_record *record,
                         const struct check_place *place)
{
    struct wdb_hint_item item;
    const char *difference = NULL;
    if (visit->hint.data == NULL || visit->hint_difference != NULL) {
        return;
    }
    if (wdb_hint_next(&visit->cursor, &item) != 0) {
        difference = "it lacks a record";
    } else if (item.offset != place->offset || item.size != place->size) {
        difference = "a record lies elsewhere";
    } else if (item.kind != record->kind || item.flags != record->flags ||
               item.type != record->type || item.database != record->database ||
               item.expiry_ms != record->expiry_ms ||
               item.object_id.term != record->object_id.term ||
               item.object_id.counter != record->object_id.counter ||
               !wdb_slice_equal(item.key, record->key)) {
        difference = "a record is another";
    }
    visit->hint_difference = difference;
    visit->hint_offset = place->offset;
}

static void end_hint(struct visit *visit, const struct check_segment *segment)
{
    char name[WDB_NAME_SIZE_MAX];
    struct wdb_hint_item item;
    if (visit->hint.data == NULL) {
        return;
    }
    wdb_name_hint(name, segment->m.id);
    if (segment->problem_count != 0) {
        check_note(visit->check, name,
                   "not compared with its segment, which is damaged");
    } else if (visit->hint_difference != NULL) {
        check_problem(visit->check, name, UINT64_MAX,
                      "%s (offset %" PRIu64 " of the segment)",
                      visit->hint_difference, visit->hint_offset);
    } else if (wdb_hint_next(&visit->cursor, &item) != WALKERDB_ENOTFOUND) {
        check_problem(visit->check, name, UINT64_MAX,
                      "it has records that the segment lacks");
    }
    wdb_hint_close(&visit->hint);
}

/* --- records ---------------------------------------------------------------
 */

static int on_record(void *context, const struct wdb_record *record,
                     const struct check_place *place)
{
    struct visit *visit = context;
    struct check *check = visit->check;
    if (visit->at_start && visit->has_before && check->has_manifest &&
        (record->index < visit->before_index ||
         (record->index == visit->before_index &&
          record->place <= visit->before_place))) {
        check_problem(check, place->segment->name, place->offset,
                      "record %" PRIu64 ".%" PRIu32
                      " is not behind the segment before (%" PRIu64 ".%" PRIu32
                      ")",
                      record->index, record->place, visit->before_index,
                      visit->before_place);
    }
    visit->at_start = false;
    visit->last_index = record->index;
    visit->last_place = record->place;
    check->totals.records++;
    check->totals.bytes += place->size;
    check->totals.records_of_kind[record->kind]++;
    compare_hint(visit, record, place);
    if (check->dump) {
        check_dump_record(check, record, place);
    }
    int rc = check_keys_add(check->keys, record, place->size);
    if (rc == 0 && check->repair != NULL) {
        rc = check_repair_add(check->repair, record, place);
    }
    return rc;
}

/* Neighbouring log segments continue each other's chain. */
static void check_seam(struct check *check, const struct check_segment *before,
                       const struct check_segment *segment)
{
    const struct wdb_manifest_segment *a = &before->m, *b = &segment->m;
    if (check->has_manifest && a->sealed && a->kind == WDB_SEGMENT_LOG &&
        b->kind == WDB_SEGMENT_LOG && b->index_first == a->index_last + 1 &&
        b->first_previous_crc != a->last_crc) {
        check_problem(check, segment->name, UINT64_MAX,
                      "it does not continue the chain of %s", before->name);
    }
}

int check_verify(struct check *check)
{
    struct visit visit = {.check = check};
    int rc = 0;
    for (size_t i = 0; i < check->segment_count && rc == 0; i++) {
        struct check_segment *segment = &check->segments[i];
        if (i > 0) {
            check_seam(check, &check->segments[i - 1], segment);
        }
        if (segment->map == NULL) {
            continue;
        }
        rc = begin_hint(&visit, segment);
        if (rc != 0) {
            break;
        }
        visit.at_start = true;
        rc = check_walk(check, segment, on_record, &visit);
        end_hint(&visit, segment);
        check->totals.segments++;
        check->totals.entries += segment->entry_count;
        if (!visit.at_start) {
            visit.has_before = true;
            visit.before_index = visit.last_index;
            visit.before_place = visit.last_place;
        }
    }
    return rc;
}
