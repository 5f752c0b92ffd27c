/*
 * fuzz_transfer.c - lists of a snapshot's files from any bytes.
 *
 * The last four bytes are made to be the checksum, so that the rest is looked
 * at. What is decoded encodes to the same bytes, and has names and sizes that
 * the log could have made.
 */
#include <stdlib.h>

#include "base/assert.h"
#include "base/crc32c.h"
#include "log/manifest.h"
#include "raft/transfer.h"
#include "walkerdb.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_file(const struct wdb_transfer_file *file, bool is_last)
{
    char text[WDB_NAME_SIZE_MAX];
    struct wdb_name name;
    wdb_transfer_file_name(file, text);
    wdb_name_parse(text, &name);
    wdb_assert(!name.temporary && name.id == file->id);
    wdb_assert(is_last ? name.kind == WDB_NAME_KIND_MANIFEST
                       : name.kind == WDB_NAME_KIND_LOG ||
                             name.kind == WDB_NAME_KIND_MERGED);
    wdb_assert(file->size != 0 && file->size <= (uint64_t)8 << 32);
}

static void check_list(const struct wdb_transfer_list *list,
                       const uint8_t *data, size_t size)
{
    uint8_t *again;
    size_t again_size;
    for (uint32_t i = 0; i < list->count; i++) {
        check_file(&list->files[i], i + 1 == list->count);
    }
    if (wdb_transfer_list_encode(list, &again, &again_size) == 0) {
        wdb_assert(again_size == size && memcmp(again, data, size) == 0);
        free(again);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct wdb_transfer_list list;
    uint8_t *bytes = malloc(size + 4);
    if (bytes == NULL) {
        return 0;
    }
    memcpy(bytes, data, size);
    wdb_store32(bytes + size, wdb_crc32c(0, bytes, size));
    if (wdb_transfer_list_decode(bytes, size + 4, &list) == 0) {
        check_list(&list, bytes, size + 4);
        wdb_transfer_list_release(&list);
    }
    free(bytes);
    return 0;
}
