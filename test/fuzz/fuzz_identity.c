/*
 * fuzz_identity.c - the file of id, term and vote from any bytes.
 *
 * Tried as they are, then with right magics and checksums. What counts encodes
 * to the bytes of a slot; opening a file with these bytes finds the same, and
 * leaves two sound slots behind.
 */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/bytes.h"
#include "base/crc32c.h"
#include "raft/identity.h"
#include "sim/sim_env.h"

#define SLOT WDB_IDENTITY_SLOT_SIZE
#define STEP WDB_IDENTITY_SLOT_STEP

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool is_slot(const uint8_t *slot, const uint8_t *data, size_t size,
                    unsigned n)
{
    return size >= n * STEP + SLOT && memcmp(data + n * STEP, slot, SLOT) == 0;
}

/* Open a file of these bytes, and look at what is there afterwards. */
static void try_file(const uint8_t *data, size_t size, const char *name,
                     const uint8_t *expected)
{
    struct sim_disk *disk = sim_disk_new();
    struct sim_env *sim = sim_env_new(disk, 1, NULL);
    struct wdb_env *env = sim_env_base(sim);
    struct wdb_identity identity;
    char *message;
    void *after;
    size_t after_size;
    wdb_assert(wdb_env_replace_file(env, ".", WDB_IDENTITY_NAME, data, size) ==
               0);
    const int rc = wdb_identity_open(env, ".", name, &identity, &message);
    free(message);
    wdb_assert((rc == 0) == (expected != NULL));
    if (rc == 0) {
        wdb_identity_close(&identity);
        wdb_assert(wdb_env_read_file(env, "./" WDB_IDENTITY_NAME, 1 << 20,
                                     &after, &after_size) == 0);
        wdb_assert(is_slot(expected, after, after_size, 0));
        wdb_assert(is_slot(expected, after, after_size, 1));
        free(after);
    }
    sim_env_free(sim);
    sim_disk_free(disk);
}

static void try_bytes(const uint8_t *data, size_t size)
{
    struct wdb_identity identity;
    uint8_t slot[SLOT];
    unsigned damaged = 0, old = 0;
    if (wdb_identity_choose(data, size, &identity, &damaged, &old) != 0) {
        try_file(data, size, "any", NULL);
        return;
    }
    wdb_assert(damaged < 3 && old < 3 && (damaged & old) == 0);
    wdb_identity_encode(&identity, slot);
    for (unsigned n = 0; n < 2; n++) {
        const bool is_same = is_slot(slot, data, size, n);
        wdb_assert(is_same == (((damaged | old) & 1u << n) == 0));
    }
    try_file(data, size, identity.name, slot);
}

/* The second slot's bytes follow the first one's, so that inputs are small. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t file[WDB_IDENTITY_FILE_SIZE] = {0};
    try_bytes(data, size < sizeof(file) ? size : sizeof(file));
    for (size_t n = 0; n < 2; n++) {
        const size_t from = n * 160;
        uint8_t *slot = file + n * STEP;
        if (size > from) {
            memcpy(slot, data + from, size - from < 160 ? size - from : 160);
        }
        if (slot[0] != 0) {
            memcpy(slot, "kWdbIDN1", 8);
            wdb_store32(slot + SLOT - 4, wdb_crc32c(0, slot, SLOT - 4));
        }
    }
    try_bytes(file, sizeof(file));
    return 0;
}
