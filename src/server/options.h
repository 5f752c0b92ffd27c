/* options.h - the library's options out of the settings. */
#ifndef WDB_SERVER_OPTIONS_H
#define WDB_SERVER_OPTIONS_H

#include "admin/config.h"
#include "db/db.h"

/* Fill in all that settings say; `dir` (WDB_PATH_SIZE_MAX bytes) gets the
 * directory and must live as long as *out. Callbacks and logger are the
 * caller's to add. */
void wdb_server_options(const struct wdb_config *config, struct wdb_env *env,
                        char *dir, struct wdb_db_options *out);

#endif
