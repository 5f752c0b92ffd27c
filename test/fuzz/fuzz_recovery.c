/*
 * fuzz_recovery.c - a segment that was changed in any way, and then opened.
 *
 * The input is a list of changes, eight bytes each, to a good segment with
 * some durable entries: bytes, copies of other parts, zeroed sectors, headers
 * whose checksum is made right again. Open may refuse; but if it does not, all
 * that it accepted can be read, more can be appended, and the next open finds
 * exactly that.
 */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "lib/log_fixture.h"
#include "sim/sim_env.h"

#define ENTRIES      12
#define CHANGES_MAX  32
#define DIR_NAME     "/db"
#define SEGMENT_NAME "/db/0000000000000001.log"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The good segment, made once. */
struct base {
    struct sim_disk *disk;
    uint8_t *bytes; /* from the first entry on */
    size_t size;
    uint64_t salt;
    uint64_t offsets[ENTRIES]; /* of the entries, in the segment */
};

static void make_base(struct base *base)
{
    struct wdb_log_options options;
    struct wdb_log *log;
    struct wdb_log_place place;
    struct wdb_segment_header header;
    void *file;
    size_t file_size;
    base->disk = sim_disk_new();
    struct sim_env *env = sim_env_new(base->disk, 1, NULL);
    log_fixture_options(&options, sim_env_base(env), DIR_NAME);
    wdb_assert(wdb_log_open(&options, &log, NULL) == 0);
    for (uint64_t i = 0; i < ENTRIES; i++) {
        wdb_assert(log_fixture_append(log, i + 1, 1 + (uint32_t)i % 3,
                                      40 + (size_t)i * 17, &place) == 0);
        wdb_assert(wdb_log_flush(log) == 0);
        if (i == ENTRIES / 2) {
            wdb_assert(wdb_log_sync(log) == 0);
        }
        base->offsets[i] =
            wdb_position_offset(place.position) - WDB_ENTRY_OVERHEAD;
    }
    wdb_log_abandon(log);
    wdb_assert(wdb_env_read_file(sim_env_base(env), SEGMENT_NAME, 1 << 20,
                                 &file, &file_size) == 0);
    sim_env_free(env);
    wdb_assert(wdb_segment_header_decode(file, &header) == 0);
    base->salt = header.salt;
    base->size = 8192;
    base->bytes = malloc(base->size);
    wdb_assert(base->bytes != NULL);
    memcpy(base->bytes, (uint8_t *)file + WDB_SEGMENT_HEADER_SIZE, base->size);
    free(file);
}

/* Make the checksum of an entry's headers right, whatever they say. */
static void fix_headers(const struct base *base, uint8_t *bytes, size_t which)
{
    uint8_t *at = bytes + base->offsets[which] - WDB_SEGMENT_HEADER_SIZE;
    struct wdb_frame frame;
    struct wdb_entry_header entry;
    memcpy(&frame, at, sizeof(frame));
    memcpy(&entry, at + sizeof(frame), sizeof(entry));
    frame.offset = base->offsets[which];
    frame.salt = base->salt;
    entry.payload_size &= ~UINT64_C(7);
    wdb_entry_encode(&frame, &entry, at);
}

static void change(const struct base *base, uint8_t *bytes, const uint8_t *what)
{
    const size_t at = wdb_load16(what) % base->size;
    const size_t from = wdb_load16(what + 2) % base->size;
    const size_t left = base->size - (at > from ? at : from);
    const size_t count = what[5] < left ? what[5] : left;
    switch (what[4] % 4) {
    case 0:
        bytes[at] ^= what[6];
        break;
    case 1:
        memmove(bytes + at, bytes + from, count);
        break;
    case 2:
        memset(bytes + at / 512 * 512, 0, 512);
        break;
    default:
        fix_headers(base, bytes, what[5] % ENTRIES);
        break;
    }
}

/* Open; returns the number of records, or -1. */
static int64_t open_and_count(struct sim_env *env, struct wdb_log **out)
{
    struct wdb_log_options options;
    log_fixture_options(&options, sim_env_base(env), DIR_NAME);
    if (wdb_log_open(&options, out, NULL) != 0) {
        return -1;
    }
    const struct log_fixture_found found = log_fixture_scan(*out);
    wdb_assert(found.error == 0);
    return (int64_t)found.count;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct base base;
    struct wdb_log *log;
    if (base.disk == NULL) {
        make_base(&base);
    }
    uint8_t *bytes = malloc(base.size);
    if (bytes == NULL) {
        return 0;
    }
    memcpy(bytes, base.bytes, base.size);
    for (size_t i = 0; i + 8 <= size && i < CHANGES_MAX * 8; i += 8) {
        change(&base, bytes, data + i);
    }
    struct sim_disk *disk = sim_disk_clone(base.disk);
    wdb_assert(sim_disk_patch(disk, SEGMENT_NAME, WDB_SEGMENT_HEADER_SIZE,
                              bytes, base.size) == 0);
    free(bytes);
    struct sim_env *env = sim_env_new(disk, 2, NULL);
    const int64_t count = open_and_count(env, &log);
    if (count >= 0) {
        const uint64_t last = wdb_log_index_last(log);
        wdb_assert(log_fixture_append(log, 1000, 1, 50, NULL) == 0);
        wdb_assert(wdb_log_sync(log) == 0);
        wdb_log_abandon(log);
        wdb_assert(open_and_count(env, &log) == count + 1);
        wdb_assert(wdb_log_index_last(log) == last + 1);
        wdb_log_close(log);
    }
    wdb_assert(sim_env_open_count(env) == 0);
    sim_env_free(env);
    sim_disk_free(disk);
    return 0;
}
