/*
 * members.c - who is in the cluster, and that as the payload of an entry.
 *
 *   0     4      8          16      20        24
 *   +-----+------+----------+-------+---------+----------+- - -+---------+- - -
 *   | 1   | 0    | cluster  | count | removed | member 0 |     | removed |
 *   | u32 | u32  | id u64   | u32   | count   |          |     | 0       |
 *   +-----+------+----------+-------+---------+----------+- - -+---------+- - -
 *
 *   a member:  id u64, role u8, size of name u8, of raft and of tcp address
 *              u16 each, 0 u16, the three texts, zeros to a multiple of 8
 *   a removed: id u64, size of name u8, 0 u8[7], name, zeros to 8
 */
#include "raft/members.h"

#include <assert.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/bytes.h"
#include "walkerdb.h"

#define LAYOUT_VERSION 1

struct head_image {
    uint32_t version;
    uint32_t reserved;
    uint64_t cluster_id;
    uint32_t count;
    uint32_t removed_count;
};
static_assert(sizeof(struct head_image) == 24, "on disk");

struct member_image {
    uint64_t id;
    uint8_t role;
    uint8_t name_size;
    uint16_t raft_size;
    uint16_t tcp_size;
    uint16_t reserved;
};
static_assert(sizeof(struct member_image) == 16, "on disk");

struct removed_image {
    uint64_t id;
    uint8_t name_size;
    uint8_t reserved[7];
};
static_assert(sizeof(struct removed_image) == 16, "on disk");

/* --- the list --------------------------------------------------------------
 */

void wdb_members_init(struct wdb_members *members)
{
    *members = (struct wdb_members){0};
}

void wdb_members_release(struct wdb_members *members)
{
    free(members->removed);
    wdb_members_init(members);
}

int wdb_members_copy(const struct wdb_members *from, struct wdb_members *out)
{
    struct wdb_removed *removed = NULL;
    if (from == out) {
        return 0;
    }
    if (from->removed_count != 0) {
        const size_t size = from->removed_count * sizeof(*removed);
        removed = malloc(size);
        if (removed == NULL) {
            return WALKERDB_ENOMEM;
        }
        memcpy(removed, from->removed, size);
    }
    free(out->removed);
    *out = *from;
    out->removed = removed;
    return 0;
}

const struct wdb_member *wdb_members_find(const struct wdb_members *members,
                                          wdb_node_id id)
{
    for (uint32_t i = 0; i < members->count; i++) {
        if (members->members[i].id == id) {
            return &members->members[i];
        }
    }
    return NULL;
}

const struct wdb_member *wdb_members_find_name(
    const struct wdb_members *members, const char *name)
{
    for (uint32_t i = 0; i < members->count; i++) {
        if (strcmp(members->members[i].name, name) == 0) {
            return &members->members[i];
        }
    }
    return NULL;
}

bool wdb_members_is_removed(const struct wdb_members *members, wdb_node_id id)
{
    for (uint32_t i = 0; i < members->removed_count; i++) {
        if (members->removed[i].id == id) {
            return true;
        }
    }
    return false;
}

bool wdb_members_is_removed_name(const struct wdb_members *members,
                                 const char *name)
{
    for (uint32_t i = 0; i < members->removed_count; i++) {
        if (strcmp(members->removed[i].name, name) == 0) {
            return true;
        }
    }
    return false;
}

uint32_t wdb_members_voters(const struct wdb_members *members)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < members->count; i++) {
        count += members->members[i].role == WDB_MEMBER_VOTER;
    }
    return count;
}

/* --- what is allowed -------------------------------------------------------
 */

/* Printable, no blanks, not empty, at most size_max bytes and a terminator. */
static bool text_is_sound(const char *text, size_t size_max)
{
    size_t size = 0;
    while (size <= size_max && text[size] != 0) {
        const unsigned char c = (unsigned char)text[size];
        if (c <= ' ' || c > '~') {
            return false;
        }
        size++;
    }
    return size != 0 && size <= size_max;
}

static bool member_is_sound(const struct wdb_member *member)
{
    return member->id != 0 &&
           (member->role == WDB_MEMBER_STANDBY ||
            member->role == WDB_MEMBER_VOTER) &&
           text_is_sound(member->name, WDB_MEMBER_NAME_MAX) &&
           text_is_sound(member->raft_address, WDB_MEMBER_ADDRESS_MAX) &&
           text_is_sound(member->tcp_address, WDB_MEMBER_ADDRESS_MAX);
}

/* One of the first `count` has its id, name or raft address. */
static bool is_taken(const struct wdb_members *members, uint32_t count,
                     const struct wdb_member *member)
{
    for (uint32_t i = 0; i < count; i++) {
        const struct wdb_member *other = &members->members[i];
        if (other->id == member->id || strcmp(other->name, member->name) == 0 ||
            strcmp(other->raft_address, member->raft_address) == 0) {
            return true;
        }
    }
    return false;
}

/* The removed do not repeat, and none of them is a member. */
static bool removed_are_sound(const struct wdb_members *members)
{
    for (uint32_t i = 0; i < members->removed_count; i++) {
        const struct wdb_removed *removed = &members->removed[i];
        if (removed->id == 0 ||
            !text_is_sound(removed->name, WDB_MEMBER_NAME_MAX) ||
            wdb_members_find(members, removed->id) != NULL ||
            wdb_members_find_name(members, removed->name) != NULL) {
            return false;
        }
        for (uint32_t j = 0; j < i; j++) {
            if (members->removed[j].id == removed->id ||
                strcmp(members->removed[j].name, removed->name) == 0) {
                return false;
            }
        }
    }
    return true;
}

static bool members_are_sound(const struct wdb_members *members)
{
    if (members->cluster_id == 0 || members->count > WDB_MEMBERS_MAX ||
        members->removed_count > WDB_REMOVED_MAX ||
        wdb_members_voters(members) == 0) {
        return false;
    }
    for (uint32_t i = 0; i < members->count; i++) {
        if (!member_is_sound(&members->members[i]) ||
            is_taken(members, i, &members->members[i])) {
            return false;
        }
    }
    return removed_are_sound(members);
}

/* --- changes ---------------------------------------------------------------
 */

int wdb_members_add(struct wdb_members *members,
                    const struct wdb_member *member)
{
    if (!member_is_sound(member)) {
        return WALKERDB_EINVALID;
    }
    if (is_taken(members, members->count, member) ||
        wdb_members_is_removed(members, member->id) ||
        wdb_members_is_removed_name(members, member->name)) {
        return WALKERDB_EEXISTS;
    }
    if (members->count == WDB_MEMBERS_MAX) {
        return WALKERDB_ETOOBIG;
    }
    members->members[members->count++] = *member;
    return 0;
}

int wdb_members_remove(struct wdb_members *members, wdb_node_id id)
{
    const struct wdb_member *member = wdb_members_find(members, id);
    if (member == NULL) {
        return WALKERDB_ENOTFOUND;
    }
    if (members->removed_count == WDB_REMOVED_MAX) {
        return WALKERDB_ETOOBIG;
    }
    struct wdb_removed *removed =
        realloc(members->removed,
                (members->removed_count + 1) * sizeof(*removed));
    if (removed == NULL) {
        return WALKERDB_ENOMEM;
    }
    members->removed = removed;
    removed[members->removed_count] = (struct wdb_removed){.id = id};
    memcpy(removed[members->removed_count++].name, member->name,
           sizeof(member->name));
    const size_t place = (size_t)(member - members->members);
    members->count--;
    memmove(&members->members[place], &members->members[place + 1],
            (members->count - place) * sizeof(*member));
    members->members[members->count] = (struct wdb_member){0};
    return 0;
}

/* --- encode ----------------------------------------------------------------
 */

static size_t member_size(const struct wdb_member *member)
{
    return wdb_align8(sizeof(struct member_image) + strlen(member->name) +
                      strlen(member->raft_address) +
                      strlen(member->tcp_address));
}

static size_t removed_size(const struct wdb_removed *removed)
{
    return wdb_align8(sizeof(struct removed_image) + strlen(removed->name));
}

static size_t members_size(const struct wdb_members *members)
{
    size_t size = sizeof(struct head_image);
    for (uint32_t i = 0; i < members->count; i++) {
        size += member_size(&members->members[i]);
    }
    for (uint32_t i = 0; i < members->removed_count; i++) {
        size += removed_size(&members->removed[i]);
    }
    return size;
}

/* Copy a text without its terminator; returns the place behind it. */
static uint8_t *put_text(uint8_t *out, const char *text)
{
    const size_t size = strlen(text);
    memcpy(out, text, size);
    return out + size;
}

/* `out` holds zeros. */
static void member_encode(const struct wdb_member *member, uint8_t *out)
{
    const struct member_image image = {
        .id = member->id,
        .role = (uint8_t)member->role,
        .name_size = (uint8_t)strlen(member->name),
        .raft_size = (uint16_t)strlen(member->raft_address),
        .tcp_size = (uint16_t)strlen(member->tcp_address),
    };
    memcpy(out, &image, sizeof(image));
    out = put_text(out + sizeof(image), member->name);
    out = put_text(out, member->raft_address);
    put_text(out, member->tcp_address);
}

static void removed_encode(const struct wdb_removed *removed, uint8_t *out)
{
    const struct removed_image image = {
        .id = removed->id,
        .name_size = (uint8_t)strlen(removed->name),
    };
    memcpy(out, &image, sizeof(image));
    put_text(out + sizeof(image), removed->name);
}

int wdb_members_encode(const struct wdb_members *members,
                       struct wdb_buffer *out)
{
    if (!members_are_sound(members)) {
        return WALKERDB_EINVALID;
    }
    const size_t size = members_size(members);
    int rc = wdb_buffer_reserve(out, size);
    if (rc != 0) {
        return rc;
    }
    const struct head_image head = {
        .version = LAYOUT_VERSION,
        .cluster_id = members->cluster_id,
        .count = members->count,
        .removed_count = members->removed_count,
    };
    uint8_t *p = out->data + out->size;
    memset(p, 0, size);
    memcpy(p, &head, sizeof(head));
    p += sizeof(head);
    for (uint32_t i = 0; i < members->count; i++) {
        member_encode(&members->members[i], p);
        p += member_size(&members->members[i]);
    }
    for (uint32_t i = 0; i < members->removed_count; i++) {
        removed_encode(&members->removed[i], p);
        p += removed_size(&members->removed[i]);
    }
    out->size += size;
    wdb_assert(p == out->data + out->size);
    return 0;
}

/* --- decode ----------------------------------------------------------------
 */

/* What is left to be read. */
struct reader {
    const uint8_t *data;
    size_t size;
};

static bool read_bytes(struct reader *reader, void *out, size_t size)
{
    if (size > reader->size) {
        return false;
    }
    memcpy(out, reader->data, size);
    reader->data += size;
    reader->size -= size;
    return true;
}

/* Read a text into out, which holds zeros and has room for size_max and a
 * terminator. What is in it is checked later; but a zero ends it here. */
static bool read_text(struct reader *reader, char *out, size_t size,
                      size_t size_max)
{
    return size <= size_max && read_bytes(reader, out, size) &&
           memchr(out, 0, size) == NULL;
}

/* The zeros behind what was `size` bytes long. */
static bool read_padding(struct reader *reader, size_t size)
{
    uint64_t padding = 0;
    return read_bytes(reader, &padding, wdb_align8(size) - size) &&
           padding == 0;
}

static bool member_decode(struct reader *reader, struct wdb_member *out)
{
    struct member_image image;
    *out = (struct wdb_member){0};
    if (!read_bytes(reader, &image, sizeof(image)) || image.reserved != 0 ||
        !read_text(reader, out->name, image.name_size, WDB_MEMBER_NAME_MAX) ||
        !read_text(reader, out->raft_address, image.raft_size,
                   WDB_MEMBER_ADDRESS_MAX) ||
        !read_text(reader, out->tcp_address, image.tcp_size,
                   WDB_MEMBER_ADDRESS_MAX) ||
        !read_padding(reader,
                      image.name_size + image.raft_size + image.tcp_size)) {
        return false;
    }
    out->id = image.id;
    out->role = (enum wdb_member_role)image.role;
    return true;
}

static bool removed_decode(struct reader *reader, struct wdb_removed *out)
{
    struct removed_image image;
    static const uint8_t zeros[sizeof(image.reserved)];
    *out = (struct wdb_removed){0};
    if (!read_bytes(reader, &image, sizeof(image)) ||
        memcmp(image.reserved, zeros, sizeof(zeros)) != 0 ||
        !read_text(reader, out->name, image.name_size, WDB_MEMBER_NAME_MAX) ||
        !read_padding(reader, image.name_size)) {
        return false;
    }
    out->id = image.id;
    return true;
}

/* Read all lists; *out is to be released in any case. */
static int lists_decode(struct reader *reader, const struct head_image *head,
                        struct wdb_members *out)
{
    out->cluster_id = head->cluster_id;
    for (uint32_t i = 0; i < head->count; i++) {
        if (!member_decode(reader, &out->members[i])) {
            return WALKERDB_ECORRUPT;
        }
        out->count++;
    }
    /* The size bounds the count before anything is allocated for it. */
    if (head->removed_count > reader->size / sizeof(struct removed_image)) {
        return WALKERDB_ECORRUPT;
    }
    if (head->removed_count != 0) {
        out->removed = malloc(head->removed_count * sizeof(*out->removed));
        if (out->removed == NULL) {
            return WALKERDB_ENOMEM;
        }
    }
    for (uint32_t i = 0; i < head->removed_count; i++) {
        if (!removed_decode(reader, &out->removed[i])) {
            return WALKERDB_ECORRUPT;
        }
        out->removed_count++;
    }
    return reader->size == 0 && members_are_sound(out) ? 0 : WALKERDB_ECORRUPT;
}

int wdb_members_decode(const uint8_t *data, size_t size,
                       struct wdb_members *out)
{
    struct reader reader = {.data = data, .size = size};
    struct head_image head;
    if (!read_bytes(&reader, &head, sizeof(head)) ||
        head.version != LAYOUT_VERSION || head.reserved != 0 ||
        head.count > WDB_MEMBERS_MAX || head.removed_count > WDB_REMOVED_MAX) {
        return WALKERDB_ECORRUPT;
    }
    struct wdb_members members;
    wdb_members_init(&members);
    const int rc = lists_decode(&reader, &head, &members);
    if (rc != 0) {
        wdb_members_release(&members);
        return rc;
    }
    *out = members;
    return 0;
}
