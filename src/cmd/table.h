/* table.h - the numbers of the commands, for table.c and lookup.c. */
#ifndef WDB_CMD_TABLE_H
#define WDB_CMD_TABLE_H

#include "cmd/command.h"

enum wdb_command_id {
#define COMMAND(number, ...)               WDB_COMMAND_##number,
#define SUBCOMMAND(container, number, ...) /* below */
#include "cmd/table_rows.inc"
#undef COMMAND
#undef SUBCOMMAND
    WDB_COMMAND_COUNT,
    WDB_COMMAND_BEFORE_SUB = WDB_COMMAND_COUNT - 1,
#define COMMAND(number, ...)
#define SUBCOMMAND(container, number, ...) WDB_COMMAND_##number,
#include "cmd/table_rows.inc"
#undef COMMAND
#undef SUBCOMMAND
    WDB_COMMAND_ID_COUNT
};

extern const struct wdb_command wdb_commands[WDB_COMMAND_ID_COUNT];

#endif
