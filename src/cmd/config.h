/* config.h - CONFIG, and what a changed setting sets off. */
#ifndef WDB_CMD_CONFIG_H
#define WDB_CMD_CONFIG_H

#include "cmd/call.h"

/*
 * For wdb_config_on_apply, with the wdb_context: lets what CONFIG SET changed
 * take effect (sync policy, merge, the limit of memory) and tells the loops
 * through hooks->config_changed. Never refuses.
 */
int wdb_context_apply(void *context, enum wdb_config_id id, char *error,
                      size_t error_size);
/* The client is on this machine: "local" of the settings that guard things. */
bool wdb_session_is_local(const struct wdb_session *session);

#endif
