/* command_lookup.h - what COMMAND's parts share. */
#ifndef WDB_CMD_COMMAND_LOOKUP_H
#define WDB_CMD_COMMAND_LOOKUP_H

#include "cmd/command.h"

/* By full name: "get", "client|list"; NULL. */
const struct wdb_command *wdb_command_by_name(struct wdb_slice name);

#endif
