/* transfer.c - what both ends of a snapshot transfer share. */
#include "raft/transfer.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/buffer.h"
#include "base/crc32c.h"
#include "base/time.h"
#include "log/manifest.h"
#include "walkerdb.h"

#define LIST_MAGIC   UINT32_C(0x4c535457) /* "WTSL" */
#define LIST_VERSION 1
#define FILE_SIZE    24
#define RATE_OLD_NS  (5 * (uint64_t)WDB_NS_PER_S)

/* --- the rate --------------------------------------------------------------- */

void wdb_transfer_meter_add(struct wdb_transfer_meter *meter, uint64_t now_ns,
                            uint64_t bytes)
{
    if (meter->begin_ns == 0) {
        meter->begin_ns = now_ns == 0 ? 1 : now_ns;
    }
    meter->bytes += bytes;
    const uint64_t ns = now_ns - meter->begin_ns;
    if (ns >= (uint64_t)WDB_NS_PER_S) {
        meter->rate = (uint64_t)((double)meter->bytes * (double)WDB_NS_PER_S /
                                 (double)ns);
        meter->begin_ns = now_ns;
        meter->bytes = 0;
    }
}

uint64_t wdb_transfer_meter_rate(const struct wdb_transfer_meter *meter,
                                 uint64_t now_ns)
{
    return now_ns - meter->begin_ns > RATE_OLD_NS ? 0 : meter->rate;
}

/* --- directories ------------------------------------------------------------ */

static int note_name(void *context, const char *text)
{
    struct wdb_buffer *names = context;
    struct wdb_name name;
    wdb_name_parse(text, &name);
    return name.kind == WDB_NAME_KIND_OTHER
               ? 0
               : wdb_buffer_append(names, text, strlen(text) + 1);
}

int wdb_transfer_remove(struct wdb_env *env, const char *dir)
{
    struct wdb_buffer names;
    wdb_buffer_init(&names);
    int rc = env->ops->list(env, dir, note_name, &names);
    for (size_t at = 0; at < names.size && rc == 0;) {
        char path[WDB_PATH_SIZE_MAX];
        const char *name = (const char *)names.data + at;
        at += strlen(name) + 1;
        rc = wdb_env_join(path, dir, name);
        if (rc == 0) {
            rc = env->ops->unlink(env, path);
        }
    }
    wdb_buffer_release(&names);
    if (rc == 0) {
        rc = env->ops->rmdir(env, dir);
    }
    return rc == WALKERDB_ENOTFOUND || rc == WALKERDB_EBUSY ? 0 : rc;
}

void wdb_transfer_file_name(const struct wdb_transfer_file *file,
                            char out[WDB_NAME_SIZE_MAX])
{
    switch (file->kind) {
    case WDB_TRANSFER_MANIFEST:
        snprintf(out, WDB_NAME_SIZE_MAX, "%s", WDB_MANIFEST_NAME);
        break;
    case WDB_TRANSFER_LOG:
        wdb_name_segment(out, file->id, WDB_SEGMENT_LOG);
        break;
    case WDB_TRANSFER_MERGED:
        wdb_name_segment(out, file->id, WDB_SEGMENT_MERGED);
        break;
    }
}

/* --- the list --------------------------------------------------------------- */

void wdb_transfer_list_release(struct wdb_transfer_list *list)
{
    free(list->files);
    free(list->base);
    *list = (struct wdb_transfer_list){0};
}

uint64_t wdb_transfer_list_total(const struct wdb_transfer_list *list)
{
    uint64_t total = 0;
    for (uint32_t i = 0; i < list->count; i++) {
        total += list->files[i].size;
    }
    return total;
}

static size_t list_size(uint32_t count, uint32_t base_size)
{
    return WDB_TRANSFER_LIST_HEAD + (size_t)count * FILE_SIZE + base_size + 4;
}

int wdb_transfer_list_size(const uint8_t *head, size_t *size_out)
{
    const uint32_t count = wdb_load32(head + 8);
    const uint32_t base_size = wdb_load32(head + 12);
    if (wdb_load32(head) != LIST_MAGIC ||
        wdb_load32(head + 4) != LIST_VERSION || count == 0 ||
        count > WDB_TRANSFER_FILES_MAX || base_size > WDB_TRANSFER_BASE_MAX) {
        return WALKERDB_ECORRUPT;
    }
    *size_out = list_size(count, base_size);
    return 0;
}

int wdb_transfer_list_encode(const struct wdb_transfer_list *list,
                             uint8_t **data_out, size_t *size_out)
{
    if (list->count > WDB_TRANSFER_FILES_MAX ||
        list->base_size > WDB_TRANSFER_BASE_MAX) {
        return WALKERDB_ETOOBIG;
    }
    const size_t size = list_size(list->count, (uint32_t)list->base_size);
    uint8_t *data = calloc(1, size);
    if (data == NULL) {
        return WALKERDB_ENOMEM;
    }
    wdb_store32(data, LIST_MAGIC);
    wdb_store32(data + 4, LIST_VERSION);
    wdb_store32(data + 8, list->count);
    wdb_store32(data + 12, (uint32_t)list->base_size);
    wdb_store64(data + 16, list->snapshot);
    uint8_t *at = data + WDB_TRANSFER_LIST_HEAD;
    for (uint32_t i = 0; i < list->count; i++, at += FILE_SIZE) {
        wdb_store64(at, list->files[i].size);
        wdb_store64(at + 8, list->files[i].id);
        at[16] = (uint8_t)list->files[i].kind;
    }
    if (list->base_size != 0) {
        memcpy(at, list->base, list->base_size);
    }
    wdb_store32(data + size - 4, wdb_crc32c(0, data, size - 4));
    *data_out = data;
    *size_out = size;
    return 0;
}

static bool is_possible(const struct wdb_transfer_file *file, bool is_last)
{
    switch (file->kind) {
    case WDB_TRANSFER_MANIFEST:
        return is_last && file->id == 0 && file->size != 0 &&
               file->size <= WDB_MANIFEST_SIZE_MAX;
    case WDB_TRANSFER_LOG:
    case WDB_TRANSFER_MERGED:
        /* Offsets in a segment are 32 bits, in units of 8. */
        return !is_last && file->size >= WDB_SEGMENT_HEADER_SIZE &&
               file->size <= (uint64_t)8 << 32;
    }
    return false;
}

static int compare_u64(const void *a, const void *b)
{
    uint64_t x, y;
    memcpy(&x, a, sizeof(x));
    memcpy(&y, b, sizeof(y));
    return x < y ? -1 : x > y;
}

/* No two segments have the same id. ECORRUPT, ENOMEM. */
static int check_ids(const struct wdb_transfer_list *list)
{
    uint64_t *ids = malloc(list->count * sizeof(*ids));
    int rc = 0;
    if (ids == NULL) {
        return WALKERDB_ENOMEM;
    }
    for (uint32_t i = 0; i + 1 < list->count; i++) {
        ids[i] = list->files[i].id;
    }
    qsort(ids, list->count - 1, sizeof(*ids), compare_u64);
    for (uint32_t i = 1; i + 1 < list->count; i++) {
        rc = ids[i] == ids[i - 1] ? WALKERDB_ECORRUPT : rc;
    }
    free(ids);
    return rc;
}

static int decode_files(const uint8_t *at, struct wdb_transfer_list *list)
{
    static const uint8_t zeros[7];
    list->files = calloc(list->count, sizeof(*list->files));
    if (list->files == NULL) {
        return WALKERDB_ENOMEM;
    }
    for (uint32_t i = 0; i < list->count; i++, at += FILE_SIZE) {
        struct wdb_transfer_file *file = &list->files[i];
        *file = (struct wdb_transfer_file){
            .size = wdb_load64(at),
            .id = wdb_load64(at + 8),
            .kind = (enum wdb_transfer_kind)at[16],
        };
        if (memcmp(at + 17, zeros, sizeof(zeros)) != 0 ||
            !is_possible(file, i + 1 == list->count)) {
            return WALKERDB_ECORRUPT;
        }
    }
    return check_ids(list);
}

int wdb_transfer_list_decode(const uint8_t *data, size_t size,
                             struct wdb_transfer_list *out)
{
    size_t expected;
    if (size < WDB_TRANSFER_LIST_HEAD ||
        wdb_transfer_list_size(data, &expected) != 0 || size != expected ||
        wdb_load32(data + size - 4) != wdb_crc32c(0, data, size - 4)) {
        return WALKERDB_ECORRUPT;
    }
    struct wdb_transfer_list list = {
        .snapshot = wdb_load64(data + 16),
        .count = wdb_load32(data + 8),
        .base_size = wdb_load32(data + 12),
    };
    int rc = decode_files(data + WDB_TRANSFER_LIST_HEAD, &list);
    if (rc == 0 && list.base_size != 0) {
        list.base = malloc(list.base_size);
        rc = list.base == NULL ? WALKERDB_ENOMEM : 0;
    }
    if (rc != 0) {
        wdb_transfer_list_release(&list);
        return rc;
    }
    if (list.base_size != 0) {
        memcpy(list.base, data + size - 4 - list.base_size, list.base_size);
    }
    *out = list;
    return 0;
}
