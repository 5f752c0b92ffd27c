/* command.c - COMMAND: what the server tells about its commands. */
#include <stdlib.h>
#include <strings.h>

#include "base/glob.h"
#include "cmd/client.h"
#include "cmd/command_lookup.h"
#include "cmd/command_names.h"
#include "cmd/handlers.h"
#include "cmd/table.h"
#include "walkerdb.h"

/* --- the parts of a description ------------------------------------------------ */

/* The names of the bits that are set, as a set of simple strings. */
static void reply_names(struct wdb_reply *reply, uint32_t bits,
                        const struct wdb_bit_name *names, const char *prefix)
{
    size_t count = 0;
    for (size_t i = 0; names[i].bit != 0; i++) {
        count += (bits & names[i].bit) != 0;
    }
    wdb_reply_set(reply, count);
    for (size_t i = 0; names[i].bit != 0; i++) {
        if ((bits & names[i].bit) != 0) {
            char text[40];
            size_t size = strlen(prefix);
            memcpy(text, prefix, size);
            memcpy(text + size, names[i].name, strlen(names[i].name) + 1);
            wdb_reply_simple(reply, text);
        }
    }
}

static void reply_tips(struct wdb_reply *reply, const char *const *tips)
{
    size_t count = 0;
    while (tips != NULL && tips[count] != NULL) {
        count++;
    }
    wdb_reply_set(reply, count);
    for (size_t i = 0; i < count; i++) {
        wdb_reply_bulk_str(reply, tips[i]);
    }
}

static void reply_pair(struct wdb_reply *reply, const char *name, int64_t value)
{
    wdb_reply_bulk_str(reply, name);
    wdb_reply_integer(reply, value);
}

static void reply_key_spec(struct wdb_reply *reply,
                           const struct wdb_key_spec *spec)
{
    wdb_reply_map(reply, 3);
    wdb_reply_bulk_str(reply, "flags");
    reply_names(reply, spec->flags, wdb_key_flag_names, "");
    wdb_reply_bulk_str(reply, "begin_search");
    wdb_reply_map(reply, 2);
    wdb_reply_bulk_str(reply, "type");
    wdb_reply_bulk_str(reply, "index");
    wdb_reply_bulk_str(reply, "spec");
    wdb_reply_map(reply, 1);
    reply_pair(reply, "index", spec->first);
    wdb_reply_bulk_str(reply, "find_keys");
    wdb_reply_map(reply, 2);
    wdb_reply_bulk_str(reply, "type");
    wdb_reply_bulk_str(reply, spec->keynum != 0 ? "keynum" : "range");
    wdb_reply_bulk_str(reply, "spec");
    wdb_reply_map(reply, 3);
    if (spec->keynum != 0) {
        reply_pair(reply, "keynumidx", 0);
        reply_pair(reply, "firstkey", spec->keynum);
        reply_pair(reply, "keystep", spec->step);
    } else {
        reply_pair(reply, "lastkey", spec->last);
        reply_pair(reply, "keystep", spec->step);
        reply_pair(reply, "limit", 0);
    }
}

/* First, last and step as before there were specifications: the ranges that
 * follow each other, as one. */
static void reply_legacy_range(struct wdb_reply *reply,
                               const struct wdb_command *command)
{
    int64_t first = 0, last = 0, step = 0;
    for (uint8_t i = 0; i < command->key_spec_count; i++) {
        const struct wdb_key_spec *spec = &command->keys[i];
        if (spec->keynum != 0 || (i > 0 && spec->first != last + 1)) {
            continue;
        }
        if (first == 0) {
            first = spec->first;
        }
        step = spec->step;
        last = spec->last < 0 ? spec->last : spec->first + spec->last;
        if (last < 0) {
            break;
        }
    }
    wdb_reply_integer(reply, first);
    wdb_reply_integer(reply, last);
    wdb_reply_integer(reply, step);
}

/* All but the last of the ten parts. */
static void reply_own_info(struct wdb_reply *reply,
                           const struct wdb_command *command)
{
    wdb_reply_array(reply, 10);
    wdb_reply_bulk_str(reply, command->name);
    wdb_reply_integer(reply, command->arity);
    reply_names(reply, command->flags, wdb_command_flag_names, "");
    reply_legacy_range(reply, command);
    reply_names(reply, command->acl, wdb_acl_category_names, "@");
    reply_tips(reply, command->tips);
    wdb_reply_set(reply, command->key_spec_count);
    for (uint8_t i = 0; i < command->key_spec_count; i++) {
        reply_key_spec(reply, &command->keys[i]);
    }
}

static void reply_info(struct wdb_reply *reply,
                       const struct wdb_command *command)
{
    reply_own_info(reply, command);
    if (command->subcommand_count == 0) {
        wdb_reply_set(reply, 0);
        return;
    }
    wdb_reply_array(reply, command->subcommand_count);
    for (uint16_t i = 0; i < command->subcommand_count; i++) {
        reply_own_info(reply, &command->subcommands[i]);
        wdb_reply_set(reply, 0);
    }
}

/* --- COMMAND, INFO, COUNT, LIST ------------------------------------------------ */

const struct wdb_command *wdb_command_by_name(struct wdb_slice name)
{
    const uint8_t *bar =
        name.size == 0 ? NULL : memchr(name.data, '|', name.size);
    if (bar == NULL) {
        return wdb_command_find(name);
    }
    const size_t size = (size_t)(bar - name.data);
    const struct wdb_command *container =
        wdb_command_find(wdb_slice(name.data, size));
    return container == NULL
               ? NULL
               : wdb_command_find_sub(container,
                                      wdb_slice(bar + 1, name.size - size - 1));
}

static void reply_all(struct wdb_reply *reply)
{
    wdb_reply_array(reply, WDB_COMMAND_COUNT);
    for (size_t i = 0; i < WDB_COMMAND_COUNT; i++) {
        reply_info(reply, &wdb_commands[i]);
    }
}

void wdb_cmd_command(struct wdb_call *call)
{
    reply_all(call->reply);
}

void wdb_cmd_command_info(struct wdb_call *call)
{
    if (call->argc == 2) {
        reply_all(call->reply);
        return;
    }
    wdb_reply_array(call->reply, call->argc - 2);
    for (uint32_t i = 2; i < call->argc; i++) {
        const struct wdb_command *command = wdb_command_by_name(call->argv[i]);
        if (command == NULL) {
            wdb_reply_null(call->reply);
        } else {
            reply_info(call->reply, command);
        }
    }
}

void wdb_cmd_command_count(struct wdb_call *call)
{
    wdb_reply_integer(call->reply, WDB_COMMAND_COUNT);
}

struct list_filter {
    bool none; /* nothing can match: a module, an unknown category */
    wdb_acl_categories categories; /* 0: any */
    struct wdb_slice pattern;      /* data NULL: any */
};

static bool parse_list(struct wdb_call *call, struct list_filter *out)
{
    *out = (struct list_filter){.none = false};
    if (call->argc == 2) {
        return true;
    }
    if (call->argc != 5 || !wdb_call_is(call, 2, "FILTERBY")) {
        wdb_call_syntax_error(call);
        return false;
    }
    if (wdb_call_is(call, 3, "MODULE")) {
        out->none = true;
    } else if (wdb_call_is(call, 3, "PATTERN")) {
        out->pattern = call->argv[4];
    } else if (wdb_call_is(call, 3, "ACLCAT")) {
        for (size_t i = 0; wdb_acl_category_names[i].bit != 0; i++) {
            if (wdb_call_is(call, 4, wdb_acl_category_names[i].name)) {
                out->categories = wdb_acl_category_names[i].bit;
            }
        }
        out->none = out->categories == 0;
    } else {
        wdb_call_syntax_error(call);
        return false;
    }
    return true;
}

static bool listed(const struct wdb_command *command,
                   const struct list_filter *filter)
{
    return !filter->none &&
           (filter->categories == 0 ||
            (command->acl & filter->categories) != 0) &&
           (filter->pattern.data == NULL ||
            wdb_glob_match(filter->pattern, wdb_slice_str(command->name),
                           true));
}

void wdb_cmd_command_list(struct wdb_call *call)
{
    struct list_filter filter;
    if (!parse_list(call, &filter)) {
        return;
    }
    size_t count = 0;
    for (size_t i = 0; i < WDB_COMMAND_ID_COUNT; i++) {
        count += listed(&wdb_commands[i], &filter);
    }
    wdb_reply_array(call->reply, count);
    for (size_t i = 0; i < WDB_COMMAND_ID_COUNT; i++) {
        if (listed(&wdb_commands[i], &filter)) {
            wdb_reply_bulk_str(call->reply, wdb_commands[i].name);
        }
    }
}

/* --- GETKEYS --------------------------------------------------------------------- */

/* The command that the arguments from 2 on call, if it has keys and may be
 * called with so many. NULL: answered. */
static const struct wdb_command *called_command(struct wdb_call *call)
{
    const uint32_t argc = call->argc - 2;
    const struct wdb_command *command = wdb_command_find(call->argv[2]);
    if (command != NULL && command->subcommands != NULL && argc > 1) {
        command = wdb_command_find_sub(command, call->argv[3]);
    }
    if (command == NULL) {
        wdb_call_error(call, "ERR Invalid command specified");
        return NULL;
    }
    if (command->key_spec_count == 0) {
        wdb_call_error(call, "ERR The command has no key arguments");
        return NULL;
    }
    if ((command->arity > 0 && argc != (uint32_t)command->arity) ||
        (command->arity < 0 && argc < (uint32_t)-command->arity)) {
        wdb_call_error(call,
                       "ERR Invalid number of arguments specified for command");
        return NULL;
    }
    return command;
}

static void reply_keys(struct wdb_call *call, bool with_flags)
{
    const struct wdb_command *command = called_command(call);
    if (command == NULL) {
        return;
    }
    const uint32_t argc = call->argc - 2;
    const struct wdb_slice *argv = call->argv + 2;
    uint32_t *indexes = malloc(argc * sizeof(*indexes));
    if (wdb_call_failed(call, indexes == NULL ? WALKERDB_ENOMEM : 0)) {
        return;
    }
    const int count = wdb_command_keys(command, argc, argv, indexes, argc);
    if (count <= 0 && (command->flags & WDB_CMD_NO_MANDATORY_KEYS) == 0) {
        wdb_call_error(call, "ERR Invalid arguments specified for command");
    } else {
        wdb_reply_array(call->reply, count < 0 ? 0 : (size_t)count);
    }
    for (int i = 0; !call->failed && i < count; i++) {
        if (!with_flags) {
            wdb_reply_bulk(call->reply, argv[indexes[i]]);
            continue;
        }
        const uint8_t spec =
            wdb_command_key_spec_of(command, argc, argv, indexes[i]);
        wdb_reply_array(call->reply, 2);
        wdb_reply_bulk(call->reply, argv[indexes[i]]);
        reply_names(call->reply,
                    wdb_command_key_flags(command, spec, argc, argv),
                    wdb_key_flag_names, "");
    }
    free(indexes);
}

void wdb_cmd_command_getkeys(struct wdb_call *call)
{
    reply_keys(call, false);
}

void wdb_cmd_command_getkeysandflags(struct wdb_call *call)
{
    reply_keys(call, true);
}

void wdb_cmd_command_help(struct wdb_call *call)
{
    static const char *const lines[] = {
        "(no subcommand)",
        "    Describe all commands.",
        "COUNT",
        "    Count the commands.",
        "LIST [FILTERBY MODULE <name>|ACLCAT <category>|PATTERN <pattern>]",
        "    Names of all commands, or of some.",
        "INFO [<command-name> ...]",
        "    Describe these commands, or all.",
        "DOCS [<command-name> ...]",
        "    Document these commands, or all.",
        "GETKEYS <full-command>",
        "    The keys among the arguments of a command.",
        "GETKEYSANDFLAGS <full-command>",
        "    The same, and how the command uses each.",
        NULL,
    };
    wdb_call_help(call, "COMMAND", lines);
}
