/* log_fixture.c - see log_fixture.h. */
#include "log_fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/buffer.h"

void log_fixture_options(struct wdb_log_options *options, struct wdb_env *env,
                         const char *dir)
{
    wdb_log_options_init(options);
    options->env = env;
    options->dir = dir;
    options->create = true;
    options->background_thread = false;
    options->segment_size = WDB_SEGMENT_SIZE_MIN;
    options->reserve_size = 4096;
}

static void fill_value(uint8_t *value, size_t size, uint64_t number)
{
    for (size_t i = 0; i < size; i++) {
        value[i] = (uint8_t)(number * 31 + i * 7 + (i >> 8));
    }
}

static struct wdb_record make_record(uint64_t number, char *key, uint8_t *value,
                                     size_t value_size)
{
    const int size = snprintf(key, 32, "k%llu", (unsigned long long)number);
    fill_value(value, value_size, number);
    return (struct wdb_record){
        .kind = WDB_RECORD_PUT,
        .key = wdb_slice(key, (size_t)size),
        .value = wdb_slice(value, value_size),
    };
}

int log_fixture_append(struct wdb_log *log, uint64_t number, uint32_t count,
                       size_t value_size, struct wdb_log_place *out)
{
    struct wdb_log_place place;
    char key[32];
    uint8_t *value = malloc(value_size + 1);
    uint8_t *batch = NULL;
    size_t size = 0;
    int rc = value == NULL ? WALKERDB_ENOMEM : 0;
    if (rc == 0) {
        /* The largest key is 21 bytes. */
        batch = malloc((64 + value_size) * count);
        rc = batch == NULL ? WALKERDB_ENOMEM : 0;
    }
    for (uint32_t i = 0; i < count && rc == 0; i++) {
        const struct wdb_record record =
            make_record(number + i, key, value, value_size);
        wdb_record_encode(&record, batch + size);
        size += wdb_record_size(&record);
    }
    if (rc == 0) {
        rc = wdb_log_append(log, batch, size, count, WDB_RESERVE_NONE, &place);
    }
    if (rc == 0 && out != NULL) {
        *out = place;
    }
    free(batch);
    free(value);
    return rc;
}

bool log_fixture_is(const struct wdb_record *record, uint64_t number)
{
    char key[32];
    const int size =
        snprintf(key, sizeof(key), "k%llu", (unsigned long long)number);
    if (!wdb_slice_equal(record->key, wdb_slice(key, (size_t)size))) {
        return false;
    }
    for (size_t i = 0; i < record->value.size; i++) {
        if (record->value.data[i] !=
            (uint8_t)(number * 31 + i * 7 + (i >> 8))) {
            return false;
        }
    }
    return true;
}

static int note_record(void *context, const struct wdb_record *record,
                       wdb_position position, uint64_t size)
{
    struct log_fixture_found *found = context;
    char key[32] = {0};
    (void)position;
    (void)size;
    memcpy(key, record->key.data,
           record->key.size < 31 ? record->key.size : 31);
    const uint64_t number = strtoull(key + 1, NULL, 10);
    if (found->count == 0) {
        found->first = number;
    } else if (number != found->last + 1) {
        found->in_order = false;
    }
    if (!log_fixture_is(record, number) || record->index < found->index_last) {
        found->in_order = false;
    }
    found->last = number;
    found->index_last = record->index;
    found->count++;
    return 0;
}

struct log_fixture_found log_fixture_scan(struct wdb_log *log)
{
    struct log_fixture_found found = {.in_order = true};
    struct wdb_segment **segments;
    size_t count;
    found.error = wdb_log_segments(log, &segments, &count);
    if (found.error != 0) {
        return found;
    }
    for (size_t i = 0; i < count; i++) {
        if (found.error == 0) {
            found.error =
                wdb_log_scan(log, segments[i], note_record, &found, NULL);
        }
        wdb_segment_drop(segments[i]);
    }
    free(segments);
    return found;
}

bool log_fixture_resolves(struct wdb_log *log, wdb_position position,
                          uint64_t number, size_t value_size)
{
    struct wdb_record record;
    uint64_t size;
    const int slot = wdb_epoch_enter(wdb_log_epoch(log));
    const uint8_t *data = wdb_log_resolve(log, position, NULL);
    const bool is =
        wdb_record_decode(data, value_size + 256, true, &record, &size) == 0 &&
        record.value.size == value_size && log_fixture_is(&record, number);
    wdb_epoch_exit(wdb_log_epoch(log), slot);
    return is;
}
