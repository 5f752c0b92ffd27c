/*
 * base.c - what the log's manifest keeps for Raft, as bytes.
 *
 *   0       8         12             16      24     32     40        48
 *   +-------+---------+--------------+-------+------+------+---------+
 *   | magic | version | members_size | index | term | hash | members |
 *   | u64   | u32     | u32          |       |      |      | _index  |
 *   +-------+---------+--------------+-------+------+------+---------+
 *   +---------------------+-----------+
 *   | members (members.c) | 0u32, crc |
 *   +---------------------+-----------+
 *
 * The checksum covers all before it. A node that was taken in, but has not seen
 * a configuration yet, has no members: then members_size is 0.
 */
#include <assert.h>

#include "base/assert.h"
#include "base/bytes.h"
#include "base/crc32c.h"
#include "raft/members.h"
#include "walkerdb.h"

#define MAGIC          UINT64_C(0x315341426264576b) /* "kWdbBAS1" */
#define LAYOUT_VERSION 1
#define TRAILER_SIZE   8

struct base_image {
    uint64_t magic;
    uint32_t version;
    uint32_t members_size;
    uint64_t index;
    uint64_t term;
    uint64_t state_hash;
    uint64_t members_index;
};
static_assert(sizeof(struct base_image) == 48, "on disk");

void wdb_raft_base_release(struct wdb_raft_base *base)
{
    wdb_members_release(&base->members);
    *base = (struct wdb_raft_base){0};
}

static bool has_members(const struct wdb_members *members)
{
    return members->cluster_id != 0 || members->count != 0 ||
           members->removed_count != 0;
}

/* An entry has a term, and the members come from one that is covered. */
static bool numbers_are_sound(uint64_t index, uint64_t term,
                              uint64_t members_index)
{
    return (index == 0) == (term == 0) && members_index <= index;
}

int wdb_raft_base_encode(const struct wdb_raft_base *base,
                         struct wdb_buffer *out)
{
    if (!numbers_are_sound(base->index, base->term, base->members_index)) {
        return WALKERDB_EINVALID;
    }
    struct wdb_buffer members = WDB_BUFFER_INIT;
    int rc = 0;
    if (has_members(&base->members)) {
        rc = wdb_members_encode(&base->members, &members);
    }
    if (rc == 0) {
        rc = wdb_buffer_reserve(out, sizeof(struct base_image) + members.size +
                                         TRAILER_SIZE);
    }
    if (rc != 0) {
        goto done;
    }
    const struct base_image image = {
        .magic = MAGIC,
        .version = LAYOUT_VERSION,
        .members_size = (uint32_t)members.size,
        .index = base->index,
        .term = base->term,
        .state_hash = base->state_hash,
        .members_index = base->members_index,
    };
    uint8_t *const start = out->data + out->size;
    uint8_t *p = start;
    memcpy(p, &image, sizeof(image));
    p += sizeof(image);
    if (members.size != 0) {
        memcpy(p, members.data, members.size);
        p += members.size;
    }
    wdb_store32(p, 0);
    wdb_store32(p + 4, wdb_crc32c(0, start, (size_t)(p + 4 - start)));
    out->size += sizeof(image) + members.size + TRAILER_SIZE;
done:
    wdb_buffer_release(&members);
    return rc;
}

int wdb_raft_base_decode(const uint8_t *data, size_t size,
                         struct wdb_raft_base *out)
{
    struct base_image image;
    if (size < sizeof(image) + TRAILER_SIZE) {
        return WALKERDB_ECORRUPT;
    }
    memcpy(&image, data, sizeof(image));
    if (image.magic != MAGIC ||
        wdb_load32(data + size - 4) != wdb_crc32c(0, data, size - 4)) {
        return WALKERDB_ECORRUPT;
    }
    if (image.version > LAYOUT_VERSION) {
        return WALKERDB_EVERSION;
    }
    if (image.version != LAYOUT_VERSION ||
        image.members_size != size - sizeof(image) - TRAILER_SIZE ||
        wdb_load32(data + size - TRAILER_SIZE) != 0 ||
        !numbers_are_sound(image.index, image.term, image.members_index)) {
        return WALKERDB_ECORRUPT;
    }
    struct wdb_raft_base base = {
        .index = image.index,
        .term = image.term,
        .state_hash = image.state_hash,
        .members_index = image.members_index,
    };
    if (image.members_size != 0) {
        const int rc = wdb_members_decode(data + sizeof(image),
                                          image.members_size, &base.members);
        if (rc != 0) {
            return rc;
        }
    }
    *out = base;
    return 0;
}
