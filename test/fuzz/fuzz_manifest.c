/*
 * fuzz_manifest.c - manifests from any bytes.
 *
 * Tried as they are, then with the right magic, size and checksum. What is
 * decoded holds its invariants and encodes to the same bytes.
 */
#include <stdlib.h>

#include "base/assert.h"
#include "log/manifest.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try_manifest(const uint8_t *data, size_t size)
{
    struct wdb_manifest m;
    void *again;
    size_t again_size;
    if (wdb_manifest_decode(data, size, &m) != 0) {
        return;
    }
    wdb_manifest_check(&m);
    if (wdb_manifest_encode(&m, &again, &again_size) == 0) {
        wdb_assert(again_size == size && memcmp(again, data, size) == 0);
        free(again);
    }
    wdb_manifest_release(&m);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    try_manifest(data, size);
    if (size < 32) {
        return 0;
    }
    uint8_t *copy = malloc(size);
    if (copy == NULL) {
        return 0;
    }
    memcpy(copy, data, size);
    memcpy(copy, "kWdbMAN1", 8);
    wdb_store64(copy + 16, size);
    wdb_store32(copy + size - 4, wdb_crc32c(0, copy, size - 4));
    try_manifest(copy, size);
    free(copy);
    return 0;
}
