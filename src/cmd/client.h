/* client.h - what CLIENT and HELLO share about a session's names. */
#ifndef WDB_CMD_CLIENT_H
#define WDB_CMD_CLIENT_H

#include "cmd/call.h"

/* Only printable characters without blanks, and short enough. */
bool wdb_client_name_valid(struct wdb_slice name);
/* Set (or with an empty one remove) the session's name. */
void wdb_client_set_name(struct wdb_session *session, struct wdb_slice name);
/* Answer that the subcommand is unknown or has not these arguments. */
void wdb_call_subcommand_error(struct wdb_call *call);
/* Lines of a HELP subcommand, NULL at the end, with the usual frame around. */
void wdb_call_help(struct wdb_call *call, const char *command,
                   const char *const *lines);

#endif
