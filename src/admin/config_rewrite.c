/*
 * config_rewrite.c - CONFIG REWRITE: the values go back into the file.
 *
 * Lines that still say what is true stay as they are, byte for byte, and so do
 * comments, blanks and includes. A line whose value changed is replaced where
 * it stands; further lines of the same setting go. Then the result is read as
 * at a start: what comes out different (set in an included file, or not there
 * at all) is added at the end. So the file always gives the present values.
 */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "admin/config_internal.h"
#include "walkerdb.h"

#define FILE_SIZE_MAX ((size_t)16 << 20)
#define HEADING       "# Written by CONFIG REWRITE"

struct rewrite {
    struct wdb_config *config;
    struct wdb_buffer out;
    bool seen[WDB_CONFIG_COUNT];
    bool headed;
};

/* --- writing one setting -------------------------------------------------------------- */

static bool is_plain(struct wdb_slice text)
{
    for (size_t i = 0; i < text.size; i++) {
        uint8_t byte = text.data[i];
        if (byte <= ' ' || byte >= 127 || byte == '"' || byte == '\'' ||
            byte == '\\' || byte == '#') {
            return false;
        }
    }
    return text.size > 0;
}

static int put_quoted(struct wdb_buffer *out, struct wdb_slice text)
{
    int code = wdb_buffer_append(out, "\"", 1);
    for (size_t i = 0; i < text.size && code == 0; i++) {
        uint8_t byte = text.data[i];
        if (byte == '"' || byte == '\\') {
            code = wdb_buffer_printf(out, "\\%c", byte);
        } else if (byte < ' ' || byte == 127) {
            code = wdb_buffer_printf(out, "\\x%02x", byte);
        } else {
            code = wdb_buffer_append(out, &byte, 1);
        }
    }
    return code == 0 ? wdb_buffer_append(out, "\"", 1) : code;
}

static int put_bytes(struct wdb_buffer *out, int64_t number)
{
    static const struct {
        const char *unit;
        int shift;
    } units[] = {{"gb", 30}, {"mb", 20}, {"kb", 10}};
    for (size_t i = 0; i < WDB_COUNT(units); i++) {
        int64_t factor = (int64_t)1 << units[i].shift;
        if (number > 0 && number % factor == 0) {
            return wdb_buffer_printf(out, "%lld%s",
                                     (long long)(number / factor),
                                     units[i].unit);
        }
    }
    return wdb_buffer_printf(out, "%lld", (long long)number);
}

/* "name value\n" with the value that the setting has now. */
static int put_line(struct rewrite *r, int id, struct wdb_slice name)
{
    const struct wdb_config_row *row = &wdb_config_rows[id];
    struct wdb_buffer value = WDB_BUFFER_INIT;
    int64_t number = wdb_config_i64(r->config, id);
    int code = wdb_config_append(r->config, id, &value);
    struct wdb_slice text = wdb_buffer_slice(&value);
    if (code == 0) {
        code = wdb_buffer_printf(&r->out, "%.*s ", (int)name.size,
                                 (const char *)name.data);
    }
    if (code == 0 && row->kind == WDB_KIND_BYTES && number > 0) {
        code = put_bytes(&r->out, number);
    } else if (code == 0 &&
               ((row->flags & WDB_CONFIG_WORDS) != 0 ? text.size > 0
                                                     : is_plain(text))) {
        code = wdb_buffer_append(&r->out, text.data, text.size);
    } else if (code == 0) {
        code = put_quoted(&r->out, text);
    }
    wdb_buffer_release(&value);
    return code == 0 ? wdb_buffer_append(&r->out, "\n", 1) : code;
}

/* --- the lines that are there ------------------------------------------------------------ */

/* Whether this line alone gives the present value. */
static int says_the_truth(const struct rewrite *r, int id,
                          const struct wdb_config_line *line, bool *out)
{
    const struct wdb_config_row *row = &wdb_config_rows[id];
    struct wdb_config_value now, said;
    const char *reason;
    char room[WDB_CONFIG_ERROR_MAX];
    int code = wdb_config_copy(r->config, id, &now);
    if (code != 0) {
        return code;
    }
    code = wdb_config_value_parse(row, &now, line->value, false, &said, &reason,
                                  room);
    if (code == 0) {
        *out = said.number == now.number &&
               (now.text == NULL || strcmp(said.text, now.text) == 0);
        /* A part of the limits, or a relative path, is not the whole. */
        if (row->kind == WDB_KIND_TEXT &&
            row->shape == WDB_SHAPE_OUTPUT_LIMIT && line->value_count < 12) {
            *out = false;
        }
        free(said.text);
    } else if (code == WALKERDB_EINVALID) {
        *out = false;
        code = 0;
    }
    free(now.text);
    return code;
}

static int put_old_line(struct rewrite *r, struct wdb_slice text)
{
    struct wdb_config_line line;
    bool keep = true;
    int code = wdb_config_line_parse(text, &line);
    if (code == WALKERDB_EINVALID) {
        return wdb_buffer_printf(&r->out, "%.*s\n", (int)text.size,
                                 (const char *)text.data);
    }
    if (code != 0) {
        return code;
    }
    if (text.size == strlen(HEADING) &&
        memcmp(text.data, HEADING, text.size) == 0) {
        r->headed = true;
    }
    int id = line.name.size > 0 ? wdb_config_find(line.name) : -1;
    if (id >= 0) {
        code = says_the_truth(r, id, &line, &keep);
    }
    if (code == 0 && id >= 0 && r->seen[id]) {
        /* A further line of the same: the first one says it all. */
    } else if (code == 0 && keep) {
        code = wdb_buffer_append(&r->out, text.data, text.size);
        code = code == 0 ? wdb_buffer_append(&r->out, "\n", 1) : code;
    } else if (code == 0) {
        code = put_line(r, id, line.name);
    }
    if (id >= 0) {
        r->seen[id] = true;
    }
    free(line.memory);
    return code;
}

static int put_old_lines(struct rewrite *r, struct wdb_slice text)
{
    int code = 0;
    for (size_t at = 0; at < text.size && code == 0;) {
        const uint8_t *start = text.data + at;
        const uint8_t *end = memchr(start, '\n', text.size - at);
        size_t size = end == NULL ? text.size - at : (size_t)(end - start);
        code = put_old_line(r, wdb_slice(start, size));
        at += size + 1;
    }
    return code;
}

/* --- what a start would make of it ---------------------------------------------------------- */

static int put_missing_one(struct rewrite *r, int id)
{
    struct wdb_slice name = wdb_slice_str(wdb_config_rows[id].name);
    int code = 0;
    if (!r->headed) {
        code = wdb_buffer_printf(&r->out, "\n%s\n", HEADING);
        r->headed = true;
    }
    if (code == 0 && id == WDB_CONFIG_SAVE) {
        code = wdb_buffer_printf(&r->out, "save \"\"\n");
    }
    return code == 0 ? put_line(r, id, name) : code;
}

static int put_missing(struct rewrite *r, const struct wdb_config *fresh)
{
    struct wdb_buffer now = WDB_BUFFER_INIT, then = WDB_BUFFER_INIT;
    int code = 0;
    for (int id = 0; id < WDB_CONFIG_COUNT && code == 0; id++) {
        wdb_buffer_clear(&now);
        wdb_buffer_clear(&then);
        code = wdb_config_append(r->config, id, &now);
        code = code == 0 ? wdb_config_append(fresh, id, &then) : code;
        if (code == 0 &&
            !wdb_slice_equal(wdb_buffer_slice(&now), wdb_buffer_slice(&then))) {
            code = put_missing_one(r, id);
        }
    }
    wdb_buffer_release(&now);
    wdb_buffer_release(&then);
    return code;
}

static int complete(struct rewrite *r, char **message_out)
{
    struct wdb_config *fresh;
    int code = wdb_config_new(r->config->p->env, &fresh);
    if (code != 0) {
        return code;
    }
    code = wdb_config_load_text(fresh, r->config->p->file,
                                wdb_buffer_slice(&r->out), message_out);
    if (code == 0) {
        code = wdb_config_settle(fresh);
    }
    if (code == 0) {
        code = put_missing(r, fresh);
    }
    wdb_config_free(fresh);
    return code;
}

/* --- the file ----------------------------------------------------------------------------- */

/* Replace it, with the permissions that it had. */
static int save(const struct rewrite *r)
{
    const char *path = r->config->p->file;
    const char *slash = strrchr(path, '/');
    char dir[WDB_PATH_SIZE_MAX];
    struct stat status;
    bool had_mode = stat(path, &status) == 0;
    snprintf(dir, sizeof(dir), "%.*s", slash == path ? 1 : (int)(slash - path),
             path);
    int code = wdb_env_replace_file(r->config->p->env, dir, slash + 1,
                                    r->out.data, r->out.size);
    if (code == 0 && had_mode && chmod(path, status.st_mode & 07777) != 0) {
        return WALKERDB_EIO;
    }
    return code;
}

static int rewrite(struct rewrite *r, char **message_out)
{
    struct wdb_env *env = r->config->p->env;
    void *data = NULL;
    size_t size = 0;
    int code =
        wdb_env_read_file(env, r->config->p->file, FILE_SIZE_MAX, &data, &size);
    if (code == WALKERDB_ENOTFOUND) {
        code = 0; /* somebody removed it: it is written anew */
    }
    if (code == 0) {
        code = put_old_lines(r, wdb_slice(data, size));
        free(data);
    }
    if (code == 0) {
        code = complete(r, message_out);
    }
    return code == 0 ? save(r) : code;
}

int wdb_config_rewrite(struct wdb_config *config, char *error,
                       size_t error_size)
{
    struct rewrite r = {.config = config};
    char *message = NULL;
    if (config->p->file[0] == 0) {
        snprintf(error, error_size,
                 "The server is running without a config file");
        return WALKERDB_EINVALID;
    }
    pthread_mutex_lock(&config->p->set_lock);
    int code = rewrite(&r, &message);
    pthread_mutex_unlock(&config->p->set_lock);
    if (code != 0) {
        snprintf(error, error_size, "Rewriting config file: %s",
                 message == NULL ? walkerdb_strerror(code) : message);
    }
    free(message);
    wdb_buffer_release(&r.out);
    return code;
}
