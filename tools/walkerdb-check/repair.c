/*
 * repair.c - writes all verified records to a new database.
 *
 * Records are noted while the check runs, then sorted by sequence (they are
 * sorted already unless the manifest is lost), and appended through the log of
 * the library: the records of an entry stay one batch. A record that is there
 * twice, because a merge copied it, is written once. The new database has an
 * identity of its own and does not belong to a cluster.
 */
#include <inttypes.h>
#include <stdlib.h>

#include "log/log.h"
#include "walkerdb-check/check.h"

struct note {
    uint64_t index;
    uint32_t place;
    uint32_t segment; /* in check->segments */
    uint64_t offset;
    uint64_t size;
};

struct check_repair {
    struct check *check;
    const char *dest;
    struct note *notes;
    size_t count, capacity;
    struct wdb_log *log;
    struct wdb_buffer batch;
    uint32_t batch_records;
    uint64_t object_counter;
    uint64_t written;
};

static int on_dest_name(void *context, const char *name)
{
    (void)context;
    (void)name;
    return WALKERDB_EEXISTS;
}

int check_repair_new(struct check *check, const char *dest,
                     struct check_repair **out)
{
    int rc = check->env->ops->mkdir(check->env, dest);
    if (rc == WALKERDB_EEXISTS) {
        rc = check->env->ops->list(check->env, dest, on_dest_name, NULL);
    }
    if (rc != 0) {
        return rc;
    }
    struct check_repair *repair = calloc(1, sizeof(*repair));
    if (repair == NULL) {
        return WALKERDB_ENOMEM;
    }
    repair->check = check;
    repair->dest = dest;
    *out = repair;
    return 0;
}

void check_repair_free(struct check_repair *repair)
{
    if (repair != NULL) {
        wdb_buffer_release(&repair->batch);
        free(repair->notes);
        free(repair);
    }
}

int check_repair_add(struct check_repair *repair,
                     const struct wdb_record *record,
                     const struct check_place *place)
{
    if (repair->count == repair->capacity) {
        const size_t capacity = repair->capacity * 2 + 1024;
        struct note *notes = realloc(repair->notes, capacity * sizeof(*notes));
        if (notes == NULL) {
            return WALKERDB_ENOMEM;
        }
        repair->notes = notes;
        repair->capacity = capacity;
    }
    repair->notes[repair->count++] = (struct note){
        .index = record->index,
        .place = record->place,
        .segment = (uint32_t)(place->segment - repair->check->segments),
        .offset = place->offset,
        .size = place->size,
    };
    if (record->flags & WDB_RECORD_OBJECT &&
        record->object_id.counter > repair->object_counter) {
        repair->object_counter = record->object_id.counter;
    }
    return 0;
}

/* By sequence; of equals the one of the younger segment is first. */
static int compare_notes(const void *a, const void *b)
{
    const struct note *x = a, *y = b;
    if (x->index != y->index) {
        return x->index < y->index ? -1 : 1;
    }
    if (x->place != y->place) {
        return x->place < y->place ? -1 : 1;
    }
    if (x->segment != y->segment) {
        return x->segment > y->segment ? -1 : 1;
    }
    return x->offset < y->offset ? -1 : x->offset > y->offset;
}

static bool is_sorted(const struct check_repair *repair)
{
    for (size_t i = 1; i < repair->count; i++) {
        if (compare_notes(&repair->notes[i - 1], &repair->notes[i]) > 0) {
            return false;
        }
    }
    return true;
}

static int flush_batch(struct check_repair *repair)
{
    struct wdb_log_place place;
    if (repair->batch_records == 0) {
        return 0;
    }
    int rc = wdb_log_append(repair->log, repair->batch.data, repair->batch.size,
                            repair->batch_records, false, &place);
    repair->written += repair->batch_records;
    repair->batch_records = 0;
    wdb_buffer_clear(&repair->batch);
    return rc == 0 ? wdb_log_flush(repair->log) : rc;
}

/* Add a record to the batch, without the sequence that it may carry. */
static int add_to_batch(struct check_repair *repair, const struct note *note)
{
    const struct check_segment *segment =
        &repair->check->segments[note->segment];
    struct wdb_record record;
    uint64_t size;
    int rc = wdb_record_decode(segment->map + note->offset, note->size, true,
                               &record, &size);
    if (rc != 0) {
        return rc;
    }
    record.flags &= (uint8_t)~WDB_RECORD_SEQUENCE;
    size = wdb_record_size(&record);
    if (repair->batch_records != 0 &&
        repair->batch.size + size > WDB_BATCH_SIZE_MAX / 2) {
        rc = flush_batch(repair);
    }
    if (rc == 0) {
        rc = wdb_buffer_reserve(&repair->batch, size);
    }
    if (rc != 0) {
        return rc;
    }
    wdb_record_encode(&record, repair->batch.data + repair->batch.size);
    repair->batch.size += size;
    repair->batch_records++;
    return 0;
}

static int write_all(struct check_repair *repair)
{
    const struct note *before = NULL;
    int rc = 0;
    for (size_t i = 0; i < repair->count && rc == 0; i++) {
        const struct note *note = &repair->notes[i];
        if (before != NULL && before->index == note->index &&
            before->place == note->place) {
            continue;
        }
        if (before != NULL && before->index != note->index) {
            rc = flush_batch(repair);
        }
        if (rc == 0) {
            rc = add_to_batch(repair, note);
        }
        before = note;
        check_advance(repair->check, note->size);
    }
    if (rc == 0) {
        rc = flush_batch(repair);
    }
    return rc;
}

int check_repair_run(struct check_repair *repair)
{
    struct check *check = repair->check;
    struct wdb_log_options options;
    char *message = NULL;
    if (!is_sorted(repair)) {
        qsort(repair->notes, repair->count, sizeof(*repair->notes),
              compare_notes);
    }
    check->bytes_total += check->totals.bytes;
    wdb_log_options_init(&options);
    options.env = check->env;
    options.dir = repair->dest;
    options.create = true;
    int rc = wdb_log_open(&options, &repair->log, &message);
    if (rc != 0) {
        check_trouble("%s: %s", repair->dest,
                      message != NULL ? message : walkerdb_strerror(rc));
        free(message);
        return rc;
    }
    rc = write_all(repair);
    uint64_t counter = repair->object_counter;
    if (check->has_manifest && check->manifest.object_counter > counter) {
        counter = check->manifest.object_counter;
    }
    if (rc == 0 && counter != 0) {
        rc = wdb_log_reserve_objects(repair->log, counter);
    }
    if (rc == 0) {
        rc = wdb_log_sync(repair->log);
    }
    wdb_log_close(repair->log);
    if (rc == 0) {
        check_note(check, NULL, "%" PRIu64 " records were written to %s",
                   repair->written, repair->dest);
    }
    return rc;
}
