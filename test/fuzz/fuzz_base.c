/*
 * fuzz_base.c - Raft's part of the manifest from any bytes.
 *
 * Tried as they are, then with the right magic, size and checksum. What is
 * decoded encodes to the same bytes.
 */
#include <stdlib.h>

#include "base/assert.h"
#include "base/bytes.h"
#include "base/crc32c.h"
#include "raft/members.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try_base(const uint8_t *data, size_t size)
{
    struct wdb_raft_base base;
    struct wdb_buffer out = WDB_BUFFER_INIT;
    if (wdb_raft_base_decode(data, size, &base) != 0) {
        return;
    }
    if (wdb_raft_base_encode(&base, &out) == 0) {
        wdb_assert(out.size == size && memcmp(out.data, data, size) == 0);
    }
    wdb_buffer_release(&out);
    wdb_raft_base_release(&base);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    try_base(data, size);
    if (size < 56) {
        return 0;
    }
    uint8_t *copy = malloc(size);
    if (copy == NULL) {
        return 0;
    }
    memcpy(copy, data, size);
    memcpy(copy, "kWdbBAS1", 8);
    wdb_store32(copy + 12, (uint32_t)size - 56);
    wdb_store32(copy + size - 4, wdb_crc32c(0, copy, size - 4));
    try_base(copy, size);
    free(copy);
    return 0;
}
