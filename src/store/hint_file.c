/* hint_file.c - writes hint files and maps them. */
#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "log/names.h"
#include "store/hint.h"

#define WRITE_SIZE ((size_t)512 << 10)

struct wdb_hint_writer {
    struct wdb_env *env;
    struct wdb_file *file;
    struct wdb_hint_encoder encoder;
    uint64_t written; /* bytes of the file, the header counted */
    uint64_t id;
    char path[WDB_PATH_SIZE_MAX];
    char path_tmp[WDB_PATH_SIZE_MAX];
    char dir[WDB_PATH_SIZE_MAX];
};

static int make_paths(struct wdb_hint_writer *writer, const char *dir,
                      uint64_t id)
{
    char name[WDB_NAME_SIZE_MAX];
    char name_tmp[WDB_NAME_SIZE_MAX + 4];
    wdb_name_hint(name, id);
    snprintf(name_tmp, sizeof(name_tmp), "%s.tmp", name);
    const int length = snprintf(writer->dir, sizeof(writer->dir), "%s", dir);
    if (length < 0 || (size_t)length >= sizeof(writer->dir)) {
        return WALKERDB_ETOOBIG;
    }
    int rc = wdb_env_join(writer->path, dir, name);
    return rc != 0 ? rc : wdb_env_join(writer->path_tmp, dir, name_tmp);
}

int wdb_hint_writer_open(struct wdb_env *env, const char *dir, uint64_t id,
                         uint64_t salt, struct wdb_hint_writer **out)
{
    struct wdb_hint_writer *writer = calloc(1, sizeof(*writer));
    if (writer == NULL) {
        return WALKERDB_ENOMEM;
    }
    writer->env = env;
    writer->id = id;
    writer->written = WDB_HINT_HEADER_SIZE;
    wdb_hint_encoder_init(&writer->encoder, salt);
    int rc = make_paths(writer, dir, id);
    if (rc == 0) {
        rc = env->ops->unlink(env, writer->path_tmp);
        rc = rc == WALKERDB_ENOTFOUND ? 0 : rc;
    }
    if (rc == 0) {
        rc = env->ops->open(env, writer->path_tmp, WDB_OPEN_CREATE,
                            &writer->file);
    }
    if (rc != 0) {
        free(writer);
        return rc;
    }
    *out = writer;
    return 0;
}

static int write_out(struct wdb_hint_writer *writer)
{
    struct wdb_buffer *ready = &writer->encoder.out;
    if (ready->size == 0) {
        return 0;
    }
    int rc =
        wdb_env_pwrite(writer->file, ready->data, ready->size, writer->written);
    if (rc == 0) {
        writer->written += ready->size;
        wdb_buffer_clear(ready);
    }
    return rc;
}

int wdb_hint_writer_add(struct wdb_hint_writer *writer,
                        const struct wdb_record *record, uint64_t offset,
                        uint64_t size)
{
    int rc = wdb_hint_encoder_add(&writer->encoder, record, offset, size);
    if (rc == 0 && writer->encoder.out.size >= WRITE_SIZE) {
        rc = write_out(writer);
    }
    return rc;
}

int wdb_hint_writer_on_record(void *writer, const struct wdb_record *record,
                              wdb_position position, uint64_t size)
{
    return wdb_hint_writer_add(writer, record, wdb_position_offset(position),
                               size);
}

/* Everything but the rename. */
static int write_rest(struct wdb_hint_writer *writer,
                      const struct wdb_hint_identity *identity)
{
    uint8_t header[WDB_HINT_HEADER_SIZE];
    int rc = wdb_hint_encoder_finish(&writer->encoder, identity, header);
    if (rc == 0) {
        rc = write_out(writer);
    }
    if (rc == 0) {
        rc = wdb_env_pwrite(writer->file, header, sizeof(header), 0);
    }
    if (rc == 0) {
        rc = writer->env->ops->sync(writer->file);
    }
    return rc;
}

static void free_writer(struct wdb_hint_writer *writer)
{
    wdb_hint_encoder_release(&writer->encoder);
    free(writer);
}

int wdb_hint_writer_finish(struct wdb_hint_writer *writer,
                           const struct wdb_hint_identity *identity)
{
    struct wdb_env *env = writer->env;
    wdb_assert(identity->id == writer->id);
    int rc = write_rest(writer, identity);
    if (rc != 0) {
        wdb_hint_writer_abort(writer);
        return rc;
    }
    env->ops->close(writer->file);
    rc = env->ops->rename(env, writer->path_tmp, writer->path);
    if (rc == 0) {
        rc = env->ops->sync_dir(env, writer->dir);
    }
    free_writer(writer);
    return rc;
}

void wdb_hint_writer_abort(struct wdb_hint_writer *writer)
{
    writer->env->ops->close(writer->file);
    /* What stays behind is a .tmp file: recovery deletes it. */
    (void)writer->env->ops->unlink(writer->env, writer->path_tmp);
    free_writer(writer);
}

int wdb_hint_build(struct wdb_log *log, struct wdb_segment *segment)
{
    struct wdb_hint_identity identity;
    struct wdb_hint_writer *writer;
    wdb_hint_identify(segment, &identity);
    int rc = wdb_hint_writer_open(segment->file->env, wdb_log_dir(log),
                                  identity.id, identity.salt, &writer);
    if (rc != 0) {
        return rc;
    }
    rc = wdb_log_scan(log, segment, wdb_hint_writer_on_record, writer, NULL);
    if (rc != 0) {
        wdb_hint_writer_abort(writer);
        return rc;
    }
    return wdb_hint_writer_finish(writer, &identity);
}

/* --- reading ---------------------------------------------------------------
 */

int wdb_hint_open(struct wdb_env *env, const char *dir,
                  const struct wdb_hint_identity *identity,
                  struct wdb_hint *out)
{
    char name[WDB_NAME_SIZE_MAX];
    char path[WDB_PATH_SIZE_MAX];
    struct wdb_file *file;
    const void *map = NULL;
    uint64_t size = 0;
    wdb_name_hint(name, identity->id);
    int rc = wdb_env_join(path, dir, name);
    if (rc == 0) {
        rc = env->ops->open(env, path, WDB_OPEN_READ, &file);
    }
    if (rc != 0) {
        return rc;
    }
    rc = env->ops->size(file, &size);
    if (rc == 0 && size < WDB_HINT_HEADER_SIZE + WDB_HINT_FOOTER_SIZE) {
        rc = WALKERDB_ECORRUPT;
    }
    if (rc == 0) {
        rc = env->ops->map(file, size, &map);
    }
    env->ops->close(file);
    if (rc != 0) {
        return rc;
    }
    struct wdb_hint hint;
    rc = wdb_hint_view(map, size, identity, &hint);
    if (rc != 0) {
        env->ops->unmap(env, map, size);
        return rc;
    }
    hint.env = env;
    *out = hint;
    return 0;
}

void wdb_hint_close(struct wdb_hint *hint)
{
    if (hint->env != NULL) {
        hint->env->ops->unmap(hint->env, hint->data, hint->size);
    }
    *hint = (struct wdb_hint){0};
}
