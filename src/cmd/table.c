/*
 * table.c - the command table, constant from the first instruction on.
 *
 * The rows are in table_<group>.inc, one file for each group, and are included
 * three times: for the numbers of the commands, of the subcommands, and for the
 * rows themselves. Commands come first, in the order of the files; the
 * subcommands follow, those of one container side by side. A row's place is its
 * id.
 *
 * To add a command: its row here, its handler in handlers.h, and then
 * scripts/command-index, which writes the index that lookup.c searches.
 */
#include "cmd/table.h"

#include "cmd/handlers.h"
#include "cmd/monitor.h"
#include "cmd/transaction.h"

#define TIPS(...)                                                              \
    (const char *const[])                                                      \
    {                                                                          \
        __VA_ARGS__, NULL                                                      \
    }
#define KEYS(first_index, last_index, key_step, key_flags)                     \
    {                                                                          \
        .flags = (key_flags), .first = (first_index), .last = (last_index),    \
        .step = (key_step)                                                     \
    }
#define SUBCOMMANDS(id) &wdb_commands[WDB_COMMAND_##id]

const struct wdb_command wdb_commands[WDB_COMMAND_ID_COUNT] = {
#define COMMAND(number, ...)                                                   \
    [WDB_COMMAND_##number] = {.id = WDB_COMMAND_##number, __VA_ARGS__},
#define SUBCOMMAND(container, number, ...) COMMAND(number, __VA_ARGS__)
#include "cmd/table_rows.inc"
#undef COMMAND
#undef SUBCOMMAND
};

const struct wdb_command *wdb_command_table(size_t *count_out)
{
    *count_out = WDB_COMMAND_COUNT;
    return wdb_commands;
}

size_t wdb_command_id_count(void)
{
    return WDB_COMMAND_ID_COUNT;
}

const struct wdb_command *wdb_command_by_id(uint16_t id)
{
    return id < WDB_COMMAND_ID_COUNT ? &wdb_commands[id] : NULL;
}
