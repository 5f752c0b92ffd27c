/*
 * config_args.c - the command line: a file or a directory, and settings.
 *
 *     walkerdb [PATH] [-NAME VALUE...]...
 *
 * One dash or two, "-NAME VALUE" or "-NAME=VALUE". A setting takes one value;
 * a flag may leave it out and knows true and false as well; one of several
 * words takes all up to the next option. PATH is a configuration if it is a
 * regular file ("-": standard input), else the base directory. The order in
 * which they count: base directory, file, options.
 */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "admin/config_internal.h"
#include "walkerdb.h"

#define WHERE "command line"

struct option {
    const char *name; /* not terminated: name_size */
    size_t name_size;
    struct wdb_buffer value;
    uint32_t value_count;
};

struct args {
    int argc, next;
    char *const *argv;
    const char *path;   /* the positional argument */
    const char *config; /* of --config */
    struct option *options;
    size_t option_count;
    enum wdb_config_action action;
    char **message_out;
};

static bool is_option(const char *text)
{
    if (text[0] != '-') {
        return false;
    }
    return isalpha((unsigned char)text[text[1] == '-' ? 2 : 1]) != 0;
}

/* What ends a list of words without being an option. */
static bool is_path(const char *text)
{
    return text[0] == '/' || text[0] == '.';
}

static bool is_one_of(const struct option *option, const char *a, const char *b)
{
    size_t size = option->name_size;
    return (strlen(a) == size && memcmp(option->name, a, size) == 0) ||
           (b != NULL && strlen(b) == size &&
            memcmp(option->name, b, size) == 0);
}

static int add_value(struct option *option, const char *text)
{
    int code = 0;
    if (option->value_count++ > 0) {
        code = wdb_buffer_append(&option->value, " ", 1);
    }
    return code == 0 ? wdb_buffer_append(&option->value, text, strlen(text))
                     : code;
}

static bool is_flag_word(const char *text)
{
    static const char *const words[] = {"yes", "no", "true", "false"};
    for (size_t i = 0; i < WDB_COUNT(words); i++) {
        if (strcmp(text, words[i]) == 0) {
            return true;
        }
    }
    return false;
}

/* The value of a flag in the words of the table. */
static const char *flag_word(const char *text)
{
    if (strcmp(text, "true") == 0) {
        return "yes";
    }
    return strcmp(text, "false") == 0 ? "no" : text;
}

static int take_values(struct args *args, struct option *option, int id,
                       const char *inline_value)
{
    enum wdb_config_kind kind =
        id < 0 ? WDB_KIND_TEXT : wdb_config_rows[id].kind;
    bool words = id >= 0 && (wdb_config_rows[id].flags & WDB_CONFIG_WORDS) != 0;
    const char *next = args->next < args->argc ? args->argv[args->next] : NULL;
    if (inline_value != NULL) {
        return add_value(option, kind == WDB_KIND_FLAG ? flag_word(inline_value)
                                                       : inline_value);
    }
    if (kind == WDB_KIND_FLAG) {
        bool given = next != NULL && (is_flag_word(next) || !is_option(next)) &&
                     (is_flag_word(next) || args->next + 1 < args->argc);
        args->next += given;
        return add_value(option, given ? flag_word(next) : "yes");
    }
    if (next == NULL) {
        return wdb_config_message(args->message_out, WALKERDB_EINVALID,
                                  WHERE ": '%.*s' needs a value",
                                  (int)option->name_size, option->name);
    }
    int code = 0;
    do {
        code = add_value(option, args->argv[args->next++]);
    } while (code == 0 && words && args->next < args->argc &&
             !is_option(args->argv[args->next]) &&
             !is_path(args->argv[args->next]));
    return code;
}

/* Options that are no settings; true if it was one. */
static bool take_special(struct args *args, const struct option *option,
                         const char *value, int *code_out)
{
    if (is_one_of(option, "h", "help")) {
        args->action = WDB_CONFIG_SHOW_HELP;
    } else if (is_one_of(option, "v", "version")) {
        args->action = WDB_CONFIG_SHOW_VERSION;
    } else if (is_one_of(option, "check-config", NULL)) {
        args->action = WDB_CONFIG_CHECK_ONLY;
    } else if (is_one_of(option, "force-new-cluster", NULL)) {
        const bool next = value == NULL && args->next < args->argc &&
                          is_flag_word(args->argv[args->next]);
        value = next ? args->argv[args->next++] : value;
        args->action = value != NULL && strcmp(flag_word(value), "yes") == 0
                           ? WDB_CONFIG_FORCE
                           : WDB_CONFIG_FORCE_ASK;
    } else if (is_one_of(option, "config", NULL)) {
        if (value == NULL && args->next < args->argc) {
            value = args->argv[args->next++];
        }
        args->config = value;
        if (value == NULL) {
            *code_out = wdb_config_message(args->message_out, WALKERDB_EINVALID,
                                           WHERE ": 'config' needs a file");
        }
    } else {
        return false;
    }
    return true;
}

static int take_option(struct args *args)
{
    struct option option = {0};
    const char *text = args->argv[args->next++];
    text += text[1] == '-' ? 2 : 1;
    const char *equals = strchr(text, '=');
    const char *value = equals == NULL ? NULL : equals + 1;
    int code = 0;
    option.name = text;
    option.name_size = equals == NULL ? strlen(text) : (size_t)(equals - text);
    if (take_special(args, &option, value, &code)) {
        return code;
    }
    int id = wdb_config_find(wdb_slice(option.name, option.name_size));
    code = take_values(args, &option, id, value);
    struct option *options = NULL;
    if (code == 0) {
        options =
            realloc(args->options, (args->option_count + 1) * sizeof(*options));
        code = options == NULL ? WALKERDB_ENOMEM : 0;
    }
    if (code != 0) {
        wdb_buffer_release(&option.value);
        return code;
    }
    args->options = options;
    options[args->option_count++] = option;
    return 0;
}

static int take_path(struct args *args)
{
    const char *path = args->argv[args->next++];
    if (args->path != NULL) {
        return wdb_config_message(args->message_out, WALKERDB_EINVALID,
                                  WHERE ": '%s' and '%s': only one path, "
                                        "please",
                                  args->path, path);
    }
    args->path = path;
    return 0;
}

/* --- putting it to use ------------------------------------------------------------ */

static int load_stdin(struct wdb_config *config, char **message_out)
{
    struct wdb_buffer text = WDB_BUFFER_INIT;
    char piece[4096];
    size_t size;
    int code = 0;
    while (code == 0 && (size = fread(piece, 1, sizeof(piece), stdin)) > 0) {
        code = wdb_buffer_append(&text, piece, size);
    }
    if (code == 0) {
        code = wdb_config_load_text(config, "standard input",
                                    wdb_buffer_slice(&text), message_out);
    }
    wdb_buffer_release(&text);
    return code;
}

static int load_config(struct wdb_config *config, const char *path,
                       char **message_out)
{
    char *absolute;
    if (strcmp(path, "-") == 0) {
        return load_stdin(config, message_out);
    }
    int code = wdb_config_load_file(config, path, 0, message_out);
    if (code == 0) {
        code = wdb_config_absolute(path, &absolute);
    }
    if (code == 0) {
        free(config->p->file);
        config->p->file = absolute;
    }
    return code;
}

static int set_base(struct wdb_config *config, const char *path)
{
    char error[WDB_CONFIG_ERROR_MAX], raft_dir[WDB_PATH_SIZE_MAX];
    int code = wdb_config_store(config, WDB_CONFIG_DIR, wdb_slice_str(path),
                                true, error, sizeof(error));
    if (code == 0) {
        code = wdb_env_join(raft_dir, path, "raft");
    }
    if (code == 0) {
        code = wdb_config_store(config, WDB_CONFIG_RAFT_DIR,
                                wdb_slice_str(raft_dir), true, error,
                                sizeof(error));
    }
    if (code == 0) {
        code =
            wdb_config_store(config, WDB_CONFIG_SHARED_PATH,
                             wdb_slice_str(path), true, error, sizeof(error));
    }
    return code;
}

static bool is_regular_file(const char *path)
{
    struct stat status;
    return stat(path, &status) == 0 && S_ISREG(status.st_mode);
}

/* A name that ends so is a file, even if it is not there. */
static bool is_named_as_config(const char *path)
{
    size_t size = strlen(path);
    return size > 5 && strcmp(path + size - 5, ".conf") == 0;
}

static int apply(struct wdb_config *config, struct args *args)
{
    const char *file = args->config;
    const char *base = NULL;
    int code = 0;
    if (args->path != NULL) {
        struct stat status;
        bool is_file =
            strcmp(args->path, "-") == 0 || is_regular_file(args->path) ||
            (is_named_as_config(args->path) && stat(args->path, &status) != 0);
        if (is_file && file != NULL) {
            return wdb_config_message(args->message_out, WALKERDB_EINVALID,
                                      WHERE ": '%s' and '%s': only one "
                                            "configuration, please",
                                      file, args->path);
        }
        file = is_file ? args->path : file;
        base = is_file ? NULL : args->path;
    }
    if (base != NULL) {
        code = set_base(config, base);
    }
    if (code == 0 && file != NULL) {
        code = load_config(config, file, args->message_out);
    }
    for (size_t i = 0; i < args->option_count && code == 0; i++) {
        const struct option *option = &args->options[i];
        struct wdb_config_line line = {
            .name = wdb_slice(option->name, option->name_size),
            .value = wdb_buffer_slice(&option->value),
            .value_count = option->value_count,
        };
        code = wdb_config_directive(config, WHERE, 0, &line, args->message_out);
    }
    return code == 0 ? wdb_config_settle(config) : code;
}

int wdb_config_load(struct wdb_config *config, int argc, char *const *argv,
                    enum wdb_config_action *action_out, char **message_out)
{
    struct args args = {.argc = argc, .next = 1, .argv = argv};
    int code = 0;
    *message_out = NULL;
    args.message_out = message_out;
    while (args.next < argc && code == 0) {
        const char *text = argv[args.next];
        if (strcmp(text, "--") == 0) {
            args.next++;
        } else if (is_option(text)) {
            code = take_option(&args);
        } else {
            code = take_path(&args);
        }
    }
    bool wants_config = args.action != WDB_CONFIG_SHOW_HELP &&
                        args.action != WDB_CONFIG_SHOW_VERSION;
    if (code == 0 && wants_config) {
        code = apply(config, &args);
    }
    for (size_t i = 0; i < args.option_count; i++) {
        wdb_buffer_release(&args.options[i].value);
    }
    free(args.options);
    if (code != 0 && *message_out == NULL) {
        (void)wdb_config_message(message_out, code, WHERE ": %s",
                                 walkerdb_strerror(code));
    }
    *action_out = args.action;
    return code;
}
