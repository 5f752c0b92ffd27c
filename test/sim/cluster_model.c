/* cluster_model.c - committed entries, replayed. */
#include "sim/cluster_model.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/bytes.h"
#include "store/database.h"
#include "walkerdb.h"

struct cluster_model_item {
    uint64_t code; /* of database and key; 0: free */
    uint64_t value;
    uint64_t expiry_ms;
    uint32_t database;
    bool is_live;
};

static uint64_t mix(uint64_t a, uint64_t b)
{
    uint64_t x =
        (a ^ (b + UINT64_C(0x9e3779b97f4a7c15) + (a << 6) + (a >> 2))) *
        UINT64_C(0xff51afd7ed558ccd);
    x ^= x >> 33;
    x *= UINT64_C(0xc4ceb9fe1a85ec53);
    return x ^ x >> 29;
}

static uint64_t hash_of(struct wdb_slice slice)
{
    uint64_t hash = slice.size + 1;
    size_t at = 0;
    for (; at + 8 <= slice.size; at += 8) {
        hash = mix(hash, wdb_load64(slice.data + at));
    }
    for (; at < slice.size; at++) {
        hash = mix(hash, slice.data[at]);
    }
    return hash | 1;
}

static uint64_t content_of(uint64_t key, uint64_t value, uint64_t expiry_ms)
{
    return mix(mix(key, value), expiry_ms);
}

void cluster_model_init(struct cluster_model *model)
{
    *model = (struct cluster_model){0};
    model->capacity = 256;
    model->entries = calloc(model->capacity, sizeof(*model->entries));
    model->item_size = 128;
    model->items = calloc(model->item_size, sizeof(*model->items));
    model->sum_count = 64;
    model->sums = calloc(model->sum_count, sizeof(*model->sums));
    model->written_size = 1024;
    model->written = calloc(model->written_size, sizeof(*model->written));
    wdb_assert(model->entries != NULL && model->items != NULL &&
               model->sums != NULL && model->written != NULL);
    for (uint32_t i = 0; i < WDB_DATABASE_COUNT; i++) {
        model->mapping[i] = i;
    }
}

void cluster_model_release(struct cluster_model *model)
{
    free(model->entries);
    free(model->items);
    free(model->sums);
    free(model->written);
}

/* --- tables ---------------------------------------------------------------- */

static struct cluster_model_item *place_of(struct cluster_model_item *items,
                                           uint32_t size, uint64_t code)
{
    uint64_t at = code >> 7 & (size - 1);
    while (items[at].code != 0 && items[at].code != code) {
        at = (at + 1) & (size - 1);
    }
    return &items[at];
}

static struct cluster_model_item *item_of(struct cluster_model *model,
                                          uint32_t database, uint64_t key)
{
    const uint64_t code = mix(key, database) | 1;
    if (model->item_count * 2 >= model->item_size) {
        const uint32_t size = model->item_size * 2;
        struct cluster_model_item *items = calloc(size, sizeof(*items));
        wdb_assert(items != NULL);
        for (uint32_t i = 0; i < model->item_size; i++) {
            if (model->items[i].code != 0) {
                *place_of(items, size, model->items[i].code) = model->items[i];
            }
        }
        free(model->items);
        model->items = items;
        model->item_size = size;
    }
    struct cluster_model_item *item =
        place_of(model->items, model->item_size, code);
    if (item->code == 0) {
        model->item_count++;
        *item = (struct cluster_model_item){.code = code, .database = database};
    }
    return item;
}

static uint64_t *sum_of(struct cluster_model *model, uint32_t database)
{
    while (database >= model->sum_count) {
        model->sums =
            realloc(model->sums, 2 * model->sum_count * sizeof(*model->sums));
        wdb_assert(model->sums != NULL);
        memset(model->sums + model->sum_count, 0,
               model->sum_count * sizeof(*model->sums));
        model->sum_count *= 2;
    }
    return &model->sums[database];
}

static bool find_written(const uint64_t *written, uint32_t size, uint64_t code,
                         uint64_t *at_out)
{
    uint64_t at = code & (size - 1);
    while (written[at] != 0 && written[at] != code) {
        at = (at + 1) & (size - 1);
    }
    *at_out = at;
    return written[at] == code;
}

static void note_written(struct cluster_model *model, uint64_t code)
{
    uint64_t at;
    if (model->written_count * 2 >= model->written_size) {
        const uint32_t size = model->written_size * 2;
        uint64_t *written = calloc(size, sizeof(*written));
        wdb_assert(written != NULL);
        for (uint32_t i = 0; i < model->written_size; i++) {
            if (model->written[i] != 0) {
                (void)find_written(written, size, model->written[i], &at);
                written[at] = model->written[i];
            }
        }
        free(model->written);
        model->written = written;
        model->written_size = size;
    }
    if (!find_written(model->written, model->written_size, code, &at)) {
        model->written[at] = code;
        model->written_count++;
    }
}

bool cluster_model_was_written(const struct cluster_model *model,
                               struct wdb_slice key, struct wdb_slice value)
{
    uint64_t at;
    return find_written(model->written, model->written_size,
                        mix(hash_of(key), hash_of(value)) | 1, &at);
}

/* --- replay ---------------------------------------------------------------- */

static void replay(struct cluster_model *model, const struct wdb_record *record)
{
    if (record->kind == WDB_RECORD_DATABASES) {
        for (uint32_t i = 0; i < WDB_DATABASE_COUNT; i++) {
            model->mapping[i] = wdb_load32(record->value.data + 4 * i);
        }
        return;
    }
    const uint64_t key = hash_of(record->key);
    struct cluster_model_item *item = item_of(model, record->database, key);
    uint64_t *sum = sum_of(model, record->database);
    if (item->is_live) {
        *sum -= content_of(key, item->value, item->expiry_ms);
    }
    switch (record->kind) {
    case WDB_RECORD_PUT:
        item->is_live = true;
        item->value = hash_of(record->value);
        item->expiry_ms = record->expiry_ms;
        note_written(model, mix(key, item->value) | 1);
        break;
    case WDB_RECORD_EXPIRE:
        item->expiry_ms = record->expiry_ms;
        break;
    default:
        item->is_live = false;
        break;
    }
    if (item->is_live) {
        *sum += content_of(key, item->value, item->expiry_ms);
    }
}

int cluster_model_add(struct cluster_model *model,
                      const struct wdb_entry_header *header,
                      const uint8_t *payload)
{
    wdb_assert(header->index == model->head + 1);
    for (uint64_t at = 0;
         header->type == WDB_ENTRY_COMMAND && at < header->payload_size;) {
        struct wdb_record record;
        uint64_t size;
        const int rc =
            wdb_record_decode(payload + at, header->payload_size - at, true,
                              &record, &size);
        if (rc != 0) {
            return rc;
        }
        replay(model, &record);
        at += size;
    }
    if (header->index >= model->capacity) {
        model->capacity *= 2;
        model->entries =
            realloc(model->entries, model->capacity * sizeof(*model->entries));
        wdb_assert(model->entries != NULL);
    }
    uint64_t content = 0;
    for (uint32_t i = 0; i < WDB_DATABASE_COUNT; i++) {
        content += mix(*sum_of(model, model->mapping[i]), i);
    }
    model->head = header->index;
    model->entries[model->head] = (struct cluster_model_entry){
        .term = header->term,
        .payload_crc = header->payload_crc,
        .type = header->type,
        .content = content,
    };
    return 0;
}

/* --- what a store holds ---------------------------------------------------- */

struct scan {
    struct wdb_store *store;
    uint64_t sum;
    int rc;
};

static void scan_item(void *context, struct wdb_slice key, uint64_t hash,
                      const struct wdb_item *item)
{
    struct scan *scan = context;
    struct wdb_value value;
    (void)hash;
    const int rc = wdb_store_read_wait(scan->store, item, &value);
    if (rc != 0) {
        scan->rc = rc;
        return;
    }
    scan->sum +=
        content_of(hash_of(key), hash_of(value.record.value), item->expiry_ms);
}

int cluster_model_content(struct wdb_store *store, uint64_t *content_out)
{
    struct wdb_epoch *epoch = wdb_log_epoch(wdb_store_log(store));
    uint64_t content = 0;
    int rc = 0;
    const int slot = wdb_epoch_enter(epoch);
    wdb_store_lock_all(store);
    for (uint32_t i = 0; i < WDB_DATABASE_COUNT; i++) {
        struct scan scan = {.store = store};
        const struct wdb_keydir *keydir =
            wdb_store_keydir(store, wdb_store_database(store, i));
        uint64_t cursor = 0;
        do {
            if (keydir == NULL) {
                break;
            }
            cursor = wdb_keydir_scan(keydir, cursor, scan_item, &scan);
        } while (cursor != 0);
        rc = scan.rc != 0 ? scan.rc : rc;
        content += mix(scan.sum, i);
    }
    wdb_store_unlock_all(store);
    wdb_epoch_exit(epoch, slot);
    *content_out = content;
    return rc;
}
