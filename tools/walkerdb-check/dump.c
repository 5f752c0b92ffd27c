/* dump.c - one line for each record. */
#include <inttypes.h>

#include "walkerdb-check/check.h"

static const char *kind_name(enum wdb_record_kind kind)
{
    switch (kind) {
    case WDB_RECORD_PUT:
        return "put";
    case WDB_RECORD_DELETE:
        return "delete";
    case WDB_RECORD_EXPIRE:
        return "expire";
    case WDB_RECORD_DATABASES:
        return "databases";
    case WDB_RECORD_ELEMENT_PUT:
        return "element-put";
    case WDB_RECORD_ELEMENT_DELETE:
        return "element-delete";
    }
    return "unknown";
}

static void dump_json(FILE *out, const struct wdb_record *record,
                      const struct check_place *place)
{
    fprintf(out,
            "{\"event\":\"record\",\"index\":%" PRIu64 ",\"place\":%" PRIu32
            ",\"kind\":\"%s\",\"database\":%" PRIu32 ",\"type\":%u",
            record->index, record->place, kind_name(record->kind),
            record->database, record->type);
    if (record->flags & WDB_RECORD_EXPIRY) {
        fprintf(out, ",\"expiry_ms\":%" PRIu64, record->expiry_ms);
    }
    if (record->flags & WDB_RECORD_OBJECT) {
        fprintf(out, ",\"object\":[%" PRIu64 ",%" PRIu64 "]",
                record->object_id.term, record->object_id.counter);
    }
    fputs(",\"key\":", out);
    check_print_json(out, record->key);
    fputs(",\"value\":", out);
    check_print_json(out, record->value);
    fprintf(out,
            ",\"file\":\"%s\",\"offset\":%" PRIu64 ",\"size\":%" PRIu64 "}\n",
            place->segment->name, place->offset, place->size);
}

static void dump_text(FILE *out, const struct wdb_record *record,
                      const struct check_place *place)
{
    fprintf(out, "%" PRIu64 ".%" PRIu32 " %s db=%" PRIu32, record->index,
            record->place, kind_name(record->kind), record->database);
    if (record->type != 0) {
        fprintf(out, " type=%u", record->type);
    }
    if (record->flags & WDB_RECORD_EXPIRY) {
        fprintf(out, " expiry=%" PRIu64, record->expiry_ms);
    }
    if (record->flags & WDB_RECORD_OBJECT) {
        fprintf(out, " object=%" PRIu64 ":%" PRIu64, record->object_id.term,
                record->object_id.counter);
    }
    fputs(" key=", out);
    check_print_text(out, record->key);
    if (record->value.size != 0) {
        fputs(" value=", out);
        check_print_text(out, record->value);
    }
    fprintf(out, " at %s:%" PRIu64 "+%" PRIu64 "\n", place->segment->name,
            place->offset, place->size);
}

void check_dump_record(struct check *check, const struct wdb_record *record,
                       const struct check_place *place)
{
    if (check->json) {
        dump_json(check->out, record, place);
    } else {
        dump_text(check->out, record, place);
    }
}
