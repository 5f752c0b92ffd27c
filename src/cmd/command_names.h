/* command_names.h - what COMMAND calls the bits of the command table. */
#ifndef WDB_CMD_COMMAND_NAMES_H
#define WDB_CMD_COMMAND_NAMES_H

#include "cmd/command.h"

struct wdb_bit_name {
    uint32_t bit;
    const char *name;
};
/* Each ends with bit 0. */
extern const struct wdb_bit_name wdb_command_flag_names[];
extern const struct wdb_bit_name wdb_acl_category_names[]; /* without "@" */
extern const struct wdb_bit_name wdb_key_flag_names[];

#endif
