/*
 * fuzz_members.c - configurations from any bytes.
 *
 * What is decoded encodes to the same bytes, and so does a copy of it; and what
 * is left after a member was removed is decodable, too.
 */
#include "base/assert.h"
#include "raft/members.h"
#include "walkerdb.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_bytes(const struct wdb_members *members, const uint8_t *data,
                        size_t size)
{
    struct wdb_buffer out = WDB_BUFFER_INIT;
    if (wdb_members_encode(members, &out) != WALKERDB_ENOMEM) {
        wdb_assert(out.size == size && size % 8 == 0 &&
                   memcmp(out.data, data, size) == 0);
    }
    wdb_buffer_release(&out);
}

/* Remove the first voter; unless nobody is left to vote, that decodes. */
static void remove_one(struct wdb_members *members)
{
    struct wdb_buffer out = WDB_BUFFER_INIT;
    struct wdb_members back;
    const wdb_node_id id = members->members[0].id;
    int rc = wdb_members_remove(members, id);
    wdb_assert(rc == 0 || rc == WALKERDB_ETOOBIG || rc == WALKERDB_ENOMEM);
    if (rc == 0) {
        wdb_assert(wdb_members_is_removed(members, id));
        rc = wdb_members_encode(members, &out);
        wdb_assert(rc != WALKERDB_EINVALID || wdb_members_voters(members) == 0);
        if (rc == 0) {
            wdb_assert(wdb_members_decode(out.data, out.size, &back) == 0);
            wdb_members_release(&back);
        }
    }
    wdb_buffer_release(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct wdb_members members, copy;
    if (wdb_members_decode(data, size, &members) != 0) {
        return 0;
    }
    wdb_members_init(&copy);
    wdb_assert(wdb_members_voters(&members) != 0);
    if (wdb_members_copy(&members, &copy) == 0) {
        check_bytes(&copy, data, size);
    }
    wdb_members_release(&copy);
    check_bytes(&members, data, size);
    remove_one(&members);
    wdb_members_release(&members);
    return 0;
}
