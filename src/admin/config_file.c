/*
 * config_file.c - configuration files in the form of redis.conf.
 *
 * A line is a name and its arguments, with quotes as in redis-cli; a line that
 * is blank or begins with # says nothing. "include PATH" reads other files at
 * this place (the last part of PATH may have wildcards), "tcp HOST:PORT" is
 * bind and port in one. What comes later wins.
 */
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <unistd.h>

#include "admin/config_internal.h"
#include "base/glob.h"
#include "base/number.h"
#include "base/split.h"
#include "walkerdb.h"

#define FILE_SIZE_MAX     ((size_t)16 << 20)
#define INCLUDE_DEPTH_MAX 16

int wdb_config_message(char **message_out, int code, const char *format, ...)
{
    char *message = NULL;
    va_list args;
    va_start(args, format);
    if (vasprintf(&message, format, args) < 0) {
        message = NULL;
    }
    va_end(args);
    free(*message_out);
    *message_out = message;
    return code;
}

static bool is_comment(struct wdb_slice text)
{
    size_t at = 0;
    while (at < text.size && (text.data[at] == ' ' || text.data[at] == '\t')) {
        at++;
    }
    return at < text.size && text.data[at] == '#';
}

int wdb_config_line_parse(struct wdb_slice text, struct wdb_config_line *out)
{
    struct wdb_config_line line = {0};
    uint8_t *memory = malloc(2 * text.size + 2);
    size_t position = 0, used = 0, name_size = 0, size = 0;
    enum wdb_split_result split = WDB_SPLIT_END;
    if (memory == NULL) {
        return WALKERDB_ENOMEM;
    }
    bool named = false;
    while (!is_comment(text)) {
        split = wdb_split_next(text, &position, memory + used, &size);
        if (split != WDB_SPLIT_ARGUMENT) {
            break;
        }
        used += size;
        if (!named) {
            named = true;
            name_size = size;
        } else {
            line.value_count++;
            memory[used++] = ' ';
        }
    }
    if (split == WDB_SPLIT_UNBALANCED) {
        free(memory);
        return WALKERDB_EINVALID;
    }
    size_t value_size = used - name_size;
    line.memory = memory;
    line.name = wdb_slice(memory, name_size);
    line.value =
        wdb_slice(memory + name_size, value_size > 0 ? value_size - 1 : 0);
    *out = line;
    return 0;
}

/* --- directives ------------------------------------------------------------------- */

static bool is_word(struct wdb_slice text, const char *word)
{
    return text.size == strlen(word) &&
           strncasecmp((const char *)text.data, word, text.size) == 0;
}

struct include {
    struct wdb_slice pattern;
    char **names;
    size_t count;
};

static int collect_name(void *context, const char *name)
{
    struct include *include = context;
    if (!wdb_glob_match(include->pattern, wdb_slice_str(name), false) ||
        name[0] == '.') {
        return 0;
    }
    char **names =
        realloc(include->names, (include->count + 1) * sizeof(*names));
    if (names == NULL) {
        return WALKERDB_ENOMEM;
    }
    include->names = names;
    names[include->count] = strdup(name);
    return names[include->count++] == NULL ? WALKERDB_ENOMEM : 0;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* All files that match, by name; none is fine, as with a glob in Redis. */
static int load_matching(struct wdb_config *config, const char *path,
                         unsigned depth, char **message_out)
{
    char dir[WDB_PATH_SIZE_MAX] = ".", file[WDB_PATH_SIZE_MAX];
    const char *slash = strrchr(path, '/');
    struct include include = {
        .pattern = wdb_slice_str(slash == NULL ? path : slash + 1)};
    if (slash != NULL) {
        snprintf(dir, sizeof(dir), "%.*s",
                 slash == path ? 1 : (int)(slash - path), path);
    }
    int code =
        config->p->env->ops->list(config->p->env, dir, collect_name, &include);
    if (code == WALKERDB_ENOTFOUND) {
        code = 0;
    }
    if (code != 0) {
        code = wdb_config_message(message_out, code, "can't list %s: %s", dir,
                                  walkerdb_strerror(code));
    } else if (include.count > 0) {
        qsort(include.names, include.count, sizeof(char *), compare_names);
    }
    for (size_t i = 0; i < include.count && code == 0; i++) {
        code = wdb_env_join(file, dir, include.names[i]);
        if (code == 0) {
            code = wdb_config_load_file(config, file, depth + 1, message_out);
        }
    }
    for (size_t i = 0; i < include.count; i++) {
        free(include.names[i]);
    }
    free(include.names);
    return code;
}

static int load_include(struct wdb_config *config, const char *where,
                        unsigned depth, struct wdb_slice value,
                        char **message_out)
{
    char path[WDB_PATH_SIZE_MAX];
    if (value.size == 0 || value.size >= sizeof(path)) {
        return wdb_config_message(message_out, WALKERDB_EINVALID,
                                  "%s: include needs a path", where);
    }
    if (depth >= INCLUDE_DEPTH_MAX) {
        return wdb_config_message(message_out, WALKERDB_EINVALID,
                                  "%s: includes are nested too deeply", where);
    }
    snprintf(path, sizeof(path), "%.*s", (int)value.size,
             (const char *)value.data);
    if (strpbrk(path, "*?[") != NULL) {
        return load_matching(config, path, depth, message_out);
    }
    return wdb_config_load_file(config, path, depth + 1, message_out);
}

/* "tcp HOST:PORT", HOST may be [IPv6] or empty for all addresses. */
static int set_tcp(struct wdb_config *config, const char *where,
                   struct wdb_slice value, char **message_out)
{
    size_t colon = value.size;
    char error[WDB_CONFIG_ERROR_MAX] = "it is not HOST:PORT";
    while (colon > 0 && value.data[colon - 1] != ':') {
        colon--;
    }
    int code = WALKERDB_EINVALID;
    if (colon > 0) {
        struct wdb_slice host = wdb_slice(value.data, colon - 1);
        struct wdb_slice port =
            wdb_slice(value.data + colon, value.size - colon);
        if (host.size >= 2 && host.data[0] == '[' &&
            host.data[host.size - 1] == ']') {
            host = wdb_slice(host.data + 1, host.size - 2);
        } else if (host.size == 0) {
            host = wdb_slice_str("*");
        }
        code = wdb_config_store(config, WDB_CONFIG_PORT, port, true, error,
                                sizeof(error));
        if (code == 0) {
            code = wdb_config_store(config, WDB_CONFIG_BIND, host, true, error,
                                    sizeof(error));
        }
    }
    if (code == 0) {
        return 0;
    }
    return wdb_config_message(message_out, code, "%s: tcp '%.*s': %s", where,
                              (int)value.size, (const char *)value.data, error);
}

static int refuse_unknown(const char *where, struct wdb_slice name,
                          char **message_out)
{
    static const char *const unsupported[] = {"user", "rename-command",
                                              "loadmodule"};
    int size = (int)(name.size > 128 ? 128 : name.size);
    const char *text = (const char *)name.data;
    for (size_t i = 0; i < WDB_COUNT(unsupported); i++) {
        if (is_word(name, unsupported[i])) {
            return wdb_config_message(message_out, WALKERDB_EINVALID,
                                      "%s: '%.*s' is not supported", where,
                                      size, text);
        }
    }
    const char *nearest = wdb_config_nearest(name);
    if (nearest == NULL) {
        return wdb_config_message(message_out, WALKERDB_EINVALID,
                                  "%s: unknown setting '%.*s'", where, size,
                                  text);
    }
    return wdb_config_message(message_out, WALKERDB_EINVALID,
                              "%s: unknown setting '%.*s'; is it '%s'?", where,
                              size, text, nearest);
}

int wdb_config_directive(struct wdb_config *config, const char *where,
                         unsigned depth, const struct wdb_config_line *line,
                         char **message_out)
{
    static const char *const forgotten[] = {"list-max-ziplist-entries",
                                            "list-max-ziplist-value",
                                            "lua-replicate-commands"};
    char error[WDB_CONFIG_ERROR_MAX];
    int id = wdb_config_find(line->name);
    if (is_word(line->name, "include")) {
        return load_include(config, where, depth, line->value, message_out);
    }
    if (is_word(line->name, "tcp")) {
        return set_tcp(config, where, line->value, message_out);
    }
    for (size_t i = 0; i < WDB_COUNT(forgotten) && id < 0; i++) {
        if (is_word(line->name, forgotten[i])) {
            return 0;
        }
    }
    if (id < 0) {
        return refuse_unknown(where, line->name, message_out);
    }
    bool words = (wdb_config_rows[id].flags & WDB_CONFIG_WORDS) != 0;
    if (line->value_count == 0 || (line->value_count > 1 && !words)) {
        return wdb_config_message(message_out, WALKERDB_EINVALID,
                                  "%s: '%s' needs %s", where,
                                  wdb_config_name(id),
                                  words ? "a value" : "one value");
    }
    int code =
        wdb_config_store(config, id, line->value, true, error, sizeof(error));
    if (code == 0) {
        config->p->given[id] = true;
        return 0;
    }
    if (wdb_config_is_secret(id)) {
        return wdb_config_message(message_out, code, "%s: '%s': %s", where,
                                  wdb_config_name(id), error);
    }
    return wdb_config_message(message_out, code, "%s: '%s' = '%.*s': %s", where,
                              wdb_config_name(id), (int)line->value.size,
                              (const char *)line->value.data, error);
}

/* --- files -------------------------------------------------------------------------- */

static int load_text(struct wdb_config *config, const char *name,
                     unsigned depth, struct wdb_slice text, char **message_out)
{
    char where[WDB_PATH_SIZE_MAX + 32];
    unsigned number = 0;
    int code = 0;
    for (size_t at = 0; at < text.size && code == 0;) {
        const uint8_t *start = text.data + at;
        const uint8_t *end = memchr(start, '\n', text.size - at);
        size_t size = end == NULL ? text.size - at : (size_t)(end - start);
        struct wdb_config_line line;
        snprintf(where, sizeof(where), "%s:%u", name, ++number);
        at += size + 1;
        code = wdb_config_line_parse(wdb_slice(start, size), &line);
        if (code != 0) {
            return wdb_config_message(message_out, code, "%s: %s", where,
                                      code == WALKERDB_EINVALID
                                          ? "unbalanced quotes"
                                          : walkerdb_strerror(code));
        }
        if (line.name.size > 0) {
            code =
                wdb_config_directive(config, where, depth, &line, message_out);
        }
        free(line.memory);
    }
    return code;
}

int wdb_config_load_text(struct wdb_config *config, const char *name,
                         struct wdb_slice text, char **message_out)
{
    char *ignored = NULL;
    int code = load_text(config, name, 0, text,
                         message_out == NULL ? &ignored : message_out);
    free(ignored);
    return code;
}

int wdb_config_load_file(struct wdb_config *config, const char *path,
                         unsigned depth, char **message_out)
{
    void *data = NULL;
    size_t size = 0;
    int code =
        wdb_env_read_file(config->p->env, path, FILE_SIZE_MAX, &data, &size);
    if (code != 0) {
        return wdb_config_message(message_out, code, "can't read %s: %s", path,
                                  walkerdb_strerror(code));
    }
    code = load_text(config, path, depth, wdb_slice(data, size), message_out);
    free(data);
    return code;
}

int wdb_config_absolute(const char *path, char **out)
{
    char directory[WDB_PATH_SIZE_MAX];
    char *absolute = NULL;
    while (path[0] == '.' && path[1] == '/') {
        path += 2;
    }
    if (path[0] == '/') {
        absolute = strdup(path);
    } else if (getcwd(directory, sizeof(directory)) == NULL) {
        return WALKERDB_EIO;
    } else if (strcmp(path, ".") == 0 || path[0] == 0) {
        absolute = strdup(directory);
    } else if (asprintf(&absolute, "%s/%s", directory, path) < 0) {
        absolute = NULL;
    }
    if (absolute == NULL) {
        return WALKERDB_ENOMEM;
    }
    for (size_t size = strlen(absolute); size > 1 && absolute[size - 1] == '/';
         size--) {
        absolute[size - 1] = 0;
    }
    *out = absolute;
    return 0;
}

/* A member of a cluster leaves a core to the raft thread; what fewer workers do
 * at once shares more syncs and messages, too. */
static void settle_threads(struct wdb_config *config)
{
    const int id = WDB_CONFIG_IO_THREADS;
    if (wdb_config_bool(config, WDB_CONFIG_RAFT_ADDRESS) &&
        !config->p->given[id] && config->p->defaults[id] > 1) {
        config->p->defaults[id]--;
        config->numbers[id] = config->p->defaults[id];
    }
}

int wdb_config_settle(struct wdb_config *config)
{
    static const enum wdb_config_id paths[] = {WDB_CONFIG_DIR,
                                               WDB_CONFIG_RAFT_DIR,
                                               WDB_CONFIG_SHARED_PATH};
    char path[WDB_PATH_SIZE_MAX], error[WDB_CONFIG_ERROR_MAX];
    char *absolute;
    int code = 0;
    settle_threads(config);
    for (size_t i = 0; i < WDB_COUNT(paths) && code == 0; i++) {
        wdb_config_text(config, paths[i], path, sizeof(path));
        if (path[0] == '\0') {
            continue;
        }
        code = wdb_config_absolute(path, &absolute);
        if (code == 0) {
            code = wdb_config_store(config, paths[i], wdb_slice_str(absolute),
                                    false, error, sizeof(error));
            free(absolute);
        }
    }
    return code;
}
