/* database.h - numbers of logical databases in arguments. */
#ifndef WDB_CMD_DATABASE_H
#define WDB_CMD_DATABASE_H

#include "cmd/call.h"

/* Argument i as the number of a database. False: answered; `error` (NULL: the
 * usual words) is said if it is not a number at all. */
bool wdb_call_database(struct wdb_call *call, uint32_t i, const char *error,
                       uint32_t *out);

#endif
