/*
 * request.h - commands that ask Raft to change something, and answer when it is
 * done.
 */
#ifndef WDB_CMD_REQUEST_H
#define WDB_CMD_REQUEST_H

#include "cmd/call.h"
#include "cmd/cluster.h"

/* Ask, and answer +OK or the error, at once or later. `with_secret`: instead of
 * OK an array of it and the cluster's secret (nil: none for this connection). */
void wdb_call_request(struct wdb_call *call,
                      const struct wdb_raft_request *request, bool with_secret);
/* Which member has that name; false: that was answered. */
bool wdb_call_member(struct wdb_call *call, uint32_t i, struct wdb_member *out);
/* Copy an argument to a field of a member; false: it does not fit, which was
 * answered. */
bool wdb_call_text(struct wdb_call *call, uint32_t i, char *out, size_t size);

#endif
