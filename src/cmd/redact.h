/* redact.h - arguments that must not be shown: passwords. */
#ifndef WDB_CMD_REDACT_H
#define WDB_CMD_REDACT_H

#include "cmd/command.h"

#define WDB_REDACTED "(redacted)"

/* True if argument i of this request must not appear in MONITOR, in the slow
 * log or in the log. command may be NULL. */
bool wdb_argument_is_secret(const struct wdb_command *command, uint32_t argc,
                            const struct wdb_slice *argv, uint32_t i);

#endif
