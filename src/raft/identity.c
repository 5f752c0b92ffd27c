/* identity.c - the file that holds a node's id, term and vote. */
#include "raft/identity.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/bytes.h"
#include "base/crc32c.h"
#include "walkerdb.h"

#define MAGIC          UINT64_C(0x314e44496264576b) /* "kWdbIDN1" */
#define LAYOUT_VERSION 1
#define FLAG_REMOVED   0x01
/* More than this is not read: somebody else's file. */
#define FILE_SIZE_MAX ((size_t)1 << 20)

struct slot_image {
    uint64_t magic;
    uint32_t version;
    uint32_t flags;
    uint64_t number;
    uint64_t id;
    uint64_t cluster_id;
    uint64_t log_nonce;
    uint64_t term;
    uint64_t voted_for;
    char name[WDB_MEMBER_NAME_MAX + 1]; /* zeros behind it */
    uint8_t reserved[380];
    uint32_t crc; /* CRC32C of all before it */
};
static_assert(sizeof(struct slot_image) == WDB_IDENTITY_SLOT_SIZE, "on disk");

/* --- bytes -----------------------------------------------------------------
 */

/* Printable without blanks, not empty, and zeros behind it. */
static bool name_is_sound(const char name[WDB_MEMBER_NAME_MAX + 1])
{
    size_t size = 0;
    while (size < WDB_MEMBER_NAME_MAX && name[size] > ' ' &&
           name[size] <= '~') {
        size++;
    }
    if (size == 0) {
        return false;
    }
    for (size_t i = size; i <= WDB_MEMBER_NAME_MAX; i++) {
        if (name[i] != 0) {
            return false;
        }
    }
    return true;
}

void wdb_identity_encode(const struct wdb_identity *identity,
                         uint8_t out[WDB_IDENTITY_SLOT_SIZE])
{
    struct slot_image image = {
        .magic = MAGIC,
        .version = LAYOUT_VERSION,
        .flags = identity->removed ? FLAG_REMOVED : 0,
        .number = identity->number,
        .id = identity->id,
        .cluster_id = identity->cluster_id,
        .log_nonce = identity->log_nonce,
        .term = identity->term,
        .voted_for = identity->voted_for,
    };
    wdb_assert(identity->id != 0 && identity->number != 0);
    const size_t size = strnlen(identity->name, WDB_MEMBER_NAME_MAX);
    memcpy(image.name, identity->name, size);
    wdb_assert(name_is_sound(image.name));
    image.crc = wdb_crc32c(0, &image, offsetof(struct slot_image, crc));
    memcpy(out, &image, sizeof(image));
}

int wdb_identity_decode(const uint8_t data[WDB_IDENTITY_SLOT_SIZE],
                        struct wdb_identity *out)
{
    struct slot_image image;
    static const uint8_t zeros[sizeof(image.reserved)];
    memcpy(&image, data, sizeof(image));
    if (image.magic != MAGIC ||
        image.crc != wdb_crc32c(0, &image, offsetof(struct slot_image, crc))) {
        return WALKERDB_ECORRUPT;
    }
    if (image.version > LAYOUT_VERSION) {
        return WALKERDB_EVERSION;
    }
    if (image.version != LAYOUT_VERSION ||
        (image.flags & ~(uint32_t)FLAG_REMOVED) != 0 || image.number == 0 ||
        image.id == 0 || !name_is_sound(image.name) ||
        memcmp(image.reserved, zeros, sizeof(zeros)) != 0) {
        return WALKERDB_ECORRUPT;
    }
    *out = (struct wdb_identity){
        .number = image.number,
        .id = image.id,
        .cluster_id = image.cluster_id,
        .log_nonce = image.log_nonce,
        .term = image.term,
        .voted_for = image.voted_for,
        .removed = (image.flags & FLAG_REMOVED) != 0,
    };
    memcpy(out->name, image.name, sizeof(image.name));
    return 0;
}

int wdb_identity_choose(const uint8_t *data, size_t size,
                        struct wdb_identity *out, unsigned *damaged_out,
                        unsigned *old_out)
{
    struct wdb_identity slots[WDB_IDENTITY_SLOTS];
    unsigned damaged = 0;
    for (unsigned i = 0; i < WDB_IDENTITY_SLOTS; i++) {
        const size_t at = (size_t)i * WDB_IDENTITY_SLOT_STEP;
        int rc = WALKERDB_ECORRUPT;
        if (size >= at + WDB_IDENTITY_SLOT_SIZE) {
            rc = wdb_identity_decode(data + at, &slots[i]);
        }
        if (rc == WALKERDB_EVERSION) {
            return rc;
        }
        damaged |= rc == 0 ? 0u : 1u << i;
    }
    *damaged_out = damaged;
    *old_out = 0;
    if (damaged == 3) {
        return WALKERDB_ECORRUPT;
    }
    unsigned best = damaged == 1 ? 1 : 0;
    if (damaged == 0) {
        best = slots[1].number > slots[0].number ? 1 : 0;
        if (memcmp(data, data + WDB_IDENTITY_SLOT_STEP,
                   WDB_IDENTITY_SLOT_SIZE) != 0) {
            if (slots[0].number == slots[1].number) {
                *damaged_out = 3; /* nothing says which one counts */
                return WALKERDB_ECORRUPT;
            }
            *old_out = 1u << (1 - best);
        }
    }
    *out = slots[best];
    return 0;
}

/* --- the file --------------------------------------------------------------
 */

/* A malloc'ed text, or NULL without memory. */
static char *message_new(const char *format, ...) WDB_PRINTF(1, 2);

static char *message_new(const char *format, ...)
{
    char *text = malloc(WDB_PATH_SIZE_MAX + 1024);
    if (text != NULL) {
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(text, WDB_PATH_SIZE_MAX + 1024, format, arguments);
        va_end(arguments);
    }
    return text;
}

/* What to tell people about a file that cannot be used. */
static char *describe(const char *path, int error)
{
    switch (error) {
    case WALKERDB_ECORRUPT:
        return message_new(
            "%s is damaged, both copies of it: this node no longer knows whom "
            "it voted for, and could vote twice. Remove the node from its "
            "cluster and let it join again, with another -id and an empty "
            "directory. Never put an older copy of the file in its place, and "
            "do not delete it to start with the same directory",
            path);
    case WALKERDB_EVERSION:
        return message_new("%s was written by a newer version of walkerDb: "
                           "start that one",
                           path);
    default:
        return message_new("%s: %s", path, walkerdb_strerror(error));
    }
}

/* Write one slot and wait until it is on the disk. */
static int slot_write(struct wdb_file *file, unsigned slot,
                      const struct wdb_identity *identity)
{
    uint8_t block[WDB_IDENTITY_SLOT_STEP] = {0};
    wdb_identity_encode(identity, block);
    const int rc = wdb_env_pwrite(file, block, sizeof(block),
                                  (uint64_t)slot * WDB_IDENTITY_SLOT_STEP);
    return rc == 0 ? file->env->ops->sync(file) : rc;
}

/* The first file of a node: both slots, there as a whole or not at all. */
static int create(struct wdb_env *env, const char *dir, const char *name)
{
    struct wdb_identity identity = {.number = 1};
    uint8_t *data = calloc(1, WDB_IDENTITY_FILE_SIZE);
    if (data == NULL) {
        return WALKERDB_ENOMEM;
    }
    while (identity.id == 0) {
        env->ops->random(env, &identity.id, sizeof(identity.id));
    }
    memcpy(identity.name, name, strlen(name));
    for (unsigned i = 0; i < WDB_IDENTITY_SLOTS; i++) {
        wdb_identity_encode(&identity, data + i * WDB_IDENTITY_SLOT_STEP);
    }
    const int rc = wdb_env_replace_file(env, dir, WDB_IDENTITY_NAME, data,
                                        WDB_IDENTITY_FILE_SIZE);
    free(data);
    return rc;
}

/* Open the file at path, making it if there is none. A killed process may have
 * made it without making its name durable. */
static int open_or_create(struct wdb_env *env, const char *dir,
                          const char *path, const char *name,
                          struct wdb_file **out)
{
    struct wdb_file *file = NULL;
    int rc = env->ops->open(env, path, WDB_OPEN_WRITE, &file);
    if (rc == 0) {
        rc = env->ops->sync_dir(env, dir);
    } else if (rc == WALKERDB_ENOTFOUND) {
        rc = create(env, dir, name);
        if (rc == 0) {
            rc = env->ops->open(env, path, WDB_OPEN_WRITE, &file);
        }
    }
    if (rc != 0 && file != NULL) {
        env->ops->close(file);
        return rc;
    }
    *out = file;
    return rc;
}

/* Read the open file; then make durable what was read, and both slots alike:
 * what a killed process wrote may be in the page cache alone. */
static int load(struct wdb_file *file, struct wdb_identity *out,
                unsigned *damaged_out)
{
    uint64_t size;
    unsigned old;
    int rc = file->env->ops->size(file, &size);
    if (rc != 0 || size > FILE_SIZE_MAX) {
        return rc != 0 ? rc : WALKERDB_ECORRUPT;
    }
    uint8_t *data = malloc(size + 1);
    if (data == NULL) {
        return WALKERDB_ENOMEM;
    }
    rc = wdb_env_pread_all(file, data, size, 0);
    if (rc == 0) {
        rc = wdb_identity_choose(data, size, out, damaged_out, &old);
    }
    free(data);
    if (rc == 0) {
        rc = file->env->ops->sync(file);
    }
    const unsigned repair = rc == 0 ? *damaged_out | old : 0;
    for (unsigned i = 0; i < WDB_IDENTITY_SLOTS && rc == 0; i++) {
        if ((repair & 1u << i) != 0) {
            rc = slot_write(file, i, out);
        }
    }
    return rc;
}

/* As wdb_identity_open, of a sound name; the file stays open if it is of this
 * name. */
static int open_path(struct wdb_env *env, const char *dir, const char *path,
                     const char *name, struct wdb_identity *out,
                     char **message_out)
{
    struct wdb_identity identity;
    struct wdb_file *file;
    unsigned damaged = 0;
    int rc = open_or_create(env, dir, path, name, &file);
    if (rc != 0) {
        *message_out = describe(path, rc);
        return rc;
    }
    rc = load(file, &identity, &damaged);
    if (rc == 0 && strcmp(identity.name, name) != 0) {
        *message_out =
            message_new("%s is of the node \"%s\", not \"%s\": start with -id "
                        "%s, or with another directory",
                        path, identity.name, name, identity.name);
        rc = WALKERDB_EEXISTS;
    } else if (rc != 0) {
        *message_out = describe(path, rc);
    }
    if (rc != 0) {
        env->ops->close(file);
        return rc;
    }
    *out = identity;
    out->repaired = damaged != 0;
    out->term_stored = identity.term;
    out->vote_stored = identity.voted_for;
    out->env = env;
    out->file = file;
    return 0;
}

int wdb_identity_open(struct wdb_env *env, const char *dir, const char *name,
                      struct wdb_identity *out, char **message_out)
{
    char path[WDB_PATH_SIZE_MAX];
    char padded[WDB_MEMBER_NAME_MAX + 1] = {0};
    *message_out = NULL;
    const size_t name_size = strnlen(name, sizeof(padded));
    if (name_size < sizeof(padded)) {
        memcpy(padded, name, name_size);
    }
    if (!name_is_sound(padded)) {
        *message_out = message_new("the name of a node is 1 to %d printable "
                                   "characters without blanks",
                                   WDB_MEMBER_NAME_MAX);
        return WALKERDB_EINVALID;
    }
    const int rc = wdb_env_join(path, dir, WDB_IDENTITY_NAME);
    if (rc != 0) {
        return rc;
    }
    return open_path(env, dir, path, name, out, message_out);
}

void wdb_identity_close(struct wdb_identity *identity)
{
    if (identity->file != NULL) {
        identity->env->ops->close(identity->file);
        identity->file = NULL;
    }
}

int wdb_identity_renew(struct wdb_identity *identity, const char *dir,
                       char **message_out)
{
    struct wdb_env *env = identity->env;
    char name[WDB_MEMBER_NAME_MAX + 1];
    memcpy(name, identity->name, sizeof(name));
    *message_out = NULL;
    wdb_identity_close(identity);
    const int rc = create(env, dir, name);
    return rc == 0 ? wdb_identity_open(env, dir, name, identity, message_out)
                   : rc;
}

int wdb_identity_store(struct wdb_identity *identity)
{
    if (identity->file == NULL) {
        return WALKERDB_EIO;
    }
    wdb_assert(identity->term >= identity->term_stored);
    wdb_assert(identity->term > identity->term_stored ||
               identity->vote_stored == 0 ||
               identity->voted_for == identity->vote_stored);
    identity->number++;
    for (unsigned i = 0; i < WDB_IDENTITY_SLOTS; i++) {
        if (slot_write(identity->file, i, identity) != 0) {
            /* A later sync that succeeds would prove nothing. */
            wdb_identity_close(identity);
            return WALKERDB_EIO;
        }
    }
    identity->term_stored = identity->term;
    identity->vote_stored = identity->voted_for;
    return 0;
}
