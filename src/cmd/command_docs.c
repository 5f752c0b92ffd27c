/*
 * command_docs.c - COMMAND DOCS: the documentation of commands.
 *
 * The arguments of a command are written in its row as a compact text:
 *
 *     argument = name ":" type ["@" key spec] ["=" token] ["?"] ["*"] ["+"]
 *                ["~" since] ["!" deprecated since] ["{" arguments "}"]
 *
 * with blanks between arguments. "?" is optional, "*" multiple, "+" repeats the
 * token each time; names and tokens with other characters than letters, digits,
 * "_" and "-" stand in single quotes; types are their first letters (t:
 * pure-token, u: unix-time). The text is part of the program, so it is trusted.
 */
#include <ctype.h>

#include "base/assert.h"
#include "cmd/command_lookup.h"
#include "cmd/handlers.h"
#include "cmd/table.h"

struct argument {
    struct wdb_slice name, token, since, deprecated_since, inner;
    char type;
    int key_spec; /* -1: none */
    bool optional, multiple, multiple_token;
};

/* --- reading the text -------------------------------------------------------------- */

static bool is_plain(char c)
{
    return isalnum((unsigned char)c) || c == '_' || c == '-' || c == '.';
}

/* A word, or whatever is quoted. */
static struct wdb_slice take_word(const char **at)
{
    const char *begin = *at;
    if (*begin == '\'') {
        begin++;
        const char *end = strchr(begin, '\'');
        wdb_assert(end != NULL);
        *at = end + 1;
        return wdb_slice(begin, (size_t)(end - begin));
    }
    while (is_plain(**at)) {
        ++*at;
    }
    return wdb_slice(begin, (size_t)(*at - begin));
}

/* From behind "{" to before the "}" that belongs to it. */
static struct wdb_slice take_inner(const char **at)
{
    const char *begin = *at;
    unsigned depth = 1;
    for (;; ++*at) {
        wdb_assert(**at != '\0');
        if (**at == '\'') {
            *at = strchr(*at + 1, '\'');
            wdb_assert(*at != NULL);
        }
        depth += **at == '{';
        depth -= **at == '}';
        if (depth == 0) {
            break;
        }
    }
    ++*at;
    return wdb_slice(begin, (size_t)(*at - 1 - begin));
}

static struct argument take_argument(const char **at)
{
    struct argument argument = {.key_spec = -1};
    argument.name = take_word(at);
    wdb_assert(**at == ':');
    argument.type = (*at)[1];
    *at += 2;
    for (;;) {
        switch (**at) {
        case '@':
            argument.key_spec = (*at)[1] - '0';
            *at += 2;
            break;
        case '=':
            ++*at;
            argument.token = take_word(at);
            break;
        case '?':
            argument.optional = true;
            ++*at;
            break;
        case '*':
            argument.multiple = true;
            ++*at;
            break;
        case '+':
            argument.multiple_token = true;
            ++*at;
            break;
        case '~':
            ++*at;
            argument.since = take_word(at);
            break;
        case '!':
            ++*at;
            argument.deprecated_since = take_word(at);
            break;
        case '{':
            ++*at;
            argument.inner = take_inner(at);
            break;
        default:
            wdb_assert(**at == ' ' || **at == '}' || **at == '\0');
            return argument;
        }
    }
}

static const char *type_name(char type)
{
    switch (type) {
    case 'k':
        return "key";
    case 's':
        return "string";
    case 'i':
        return "integer";
    case 'd':
        return "double";
    case 'u':
        return "unix-time";
    case 't':
        return "pure-token";
    case 'p':
        return "pattern";
    case 'o':
        return "oneof";
    default:
        wdb_assert(type == 'b');
        return "block";
    }
}

/* --- replies ----------------------------------------------------------------------- */

static void reply_text(struct wdb_reply *reply, const char *name,
                       struct wdb_slice text)
{
    if (text.data != NULL) {
        wdb_reply_bulk_str(reply, name);
        wdb_reply_bulk(reply, text);
    }
}

static void reply_argument_flags(struct wdb_reply *reply,
                                 const struct argument *argument)
{
    const size_t count = (size_t)argument->optional + argument->multiple +
                         argument->multiple_token;
    if (count == 0) {
        return;
    }
    wdb_reply_bulk_str(reply, "flags");
    wdb_reply_set(reply, count);
    if (argument->optional) {
        wdb_reply_simple(reply, "optional");
    }
    if (argument->multiple) {
        wdb_reply_simple(reply, "multiple");
    }
    if (argument->multiple_token) {
        wdb_reply_simple(reply, "multiple_token");
    }
}

/* Without what is inside. */
static void reply_argument(struct wdb_reply *reply,
                           const struct argument *argument)
{
    const bool flags =
        argument->optional || argument->multiple || argument->multiple_token;
    wdb_reply_map(reply, (size_t)2 + (argument->key_spec >= 0) +
                             (argument->token.data != NULL) +
                             (argument->since.data != NULL) +
                             (argument->deprecated_since.data != NULL) + flags +
                             (argument->inner.data != NULL));
    reply_text(reply, "name", argument->name);
    wdb_reply_bulk_str(reply, "type");
    wdb_reply_bulk_str(reply, type_name(argument->type));
    if (argument->key_spec >= 0) {
        wdb_reply_bulk_str(reply, "key_spec_index");
        wdb_reply_integer(reply, argument->key_spec);
    }
    reply_text(reply, "token", argument->token);
    reply_text(reply, "since", argument->since);
    reply_text(reply, "deprecated_since", argument->deprecated_since);
    reply_argument_flags(reply, argument);
}

/* The arguments between at and end; recursion as deep as the text nests. */
static void reply_arguments(struct wdb_reply *reply, const char *begin,
                            const char *end)
{
    size_t count = 0;
    for (const char *at = begin; at < end; count++) {
        (void)take_argument(&at);
        at += at < end && *at == ' ';
    }
    wdb_reply_bulk_str(reply, "arguments");
    wdb_reply_array(reply, count);
    for (const char *at = begin; at < end;) {
        const struct argument argument = take_argument(&at);
        at += at < end && *at == ' ';
        reply_argument(reply, &argument);
        if (argument.inner.data != NULL) {
            const char *inner = (const char *)argument.inner.data;
            reply_arguments(reply, inner, inner + argument.inner.size);
        }
    }
}

static void reply_string(struct wdb_reply *reply, const char *name,
                         const char *text)
{
    if (text != NULL) {
        reply_text(reply, name, wdb_slice_str(text));
    }
}

static void reply_docs(struct wdb_reply *reply,
                       const struct wdb_command *command)
{
    const size_t subcommands = command->subcommand_count;
    const bool deprecated = command->deprecated_since != NULL;
    wdb_reply_map(reply, (size_t)3 + (command->complexity != NULL) +
                             (deprecated ? 3 : 0) +
                             (command->arguments != NULL) + (subcommands > 0));
    reply_string(reply, "summary", command->summary);
    reply_string(reply, "since", command->since);
    reply_string(reply, "group", command->group);
    reply_string(reply, "complexity", command->complexity);
    if (deprecated) {
        wdb_reply_bulk_str(reply, "doc_flags");
        wdb_reply_set(reply, 1);
        wdb_reply_simple(reply, "deprecated");
        reply_string(reply, "deprecated_since", command->deprecated_since);
        reply_string(reply, "replaced_by", command->replaced_by);
    }
    if (command->arguments != NULL) {
        reply_arguments(reply, command->arguments,
                        command->arguments + strlen(command->arguments));
    }
    if (subcommands == 0) {
        return;
    }
    wdb_reply_bulk_str(reply, "subcommands");
    wdb_reply_map(reply, subcommands);
    for (uint16_t i = 0; i < command->subcommand_count; i++) {
        wdb_reply_bulk_str(reply, command->subcommands[i].name);
        reply_docs(reply, &command->subcommands[i]);
    }
}

void wdb_cmd_command_docs(struct wdb_call *call)
{
    struct wdb_reply *reply = call->reply;
    if (call->argc == 2) {
        wdb_reply_map(reply, WDB_COMMAND_COUNT);
        for (size_t i = 0; i < WDB_COMMAND_COUNT; i++) {
            wdb_reply_bulk_str(reply, wdb_commands[i].name);
            reply_docs(reply, &wdb_commands[i]);
        }
        return;
    }
    size_t found = 0;
    for (uint32_t i = 2; i < call->argc; i++) {
        found += wdb_command_by_name(call->argv[i]) != NULL;
    }
    wdb_reply_map(reply, found);
    for (uint32_t i = 2; i < call->argc; i++) {
        const struct wdb_command *command = wdb_command_by_name(call->argv[i]);
        if (command != NULL) {
            wdb_reply_bulk_str(reply, command->name);
            reply_docs(reply, command);
        }
    }
}
