/* backup_dir.h - where backups lie, how they are called, which ones go. */
#ifndef WDB_CMD_BACKUP_DIR_H
#define WDB_CMD_BACKUP_DIR_H

#include "cmd/context.h"

#define WDB_BACKUP_NAME_MAX 96

struct wdb_backup_place {
    char dir[WDB_PATH_SIZE_MAX]; /* of all backups */
    char prefix[32];             /* of the names of this database's */
    char name[WDB_BACKUP_NAME_MAX];
    char partial[WDB_PATH_SIZE_MAX]; /* path while it is made */
    char path[WDB_PATH_SIZE_MAX];    /* path when it is whole */
};

/* Choose the place of a new backup, make the directory of all, and remove what
 * a crash left there. Errors of env, ETOOBIG. May wait for the disk. */
WDB_MUST_CHECK int wdb_backup_place(struct wdb_context *context,
                                    struct wdb_backup_place *out);
/* The new backup is whole: give it its name, durably. */
WDB_MUST_CHECK int wdb_backup_finish(struct wdb_context *context,
                                     const struct wdb_backup_place *place);
/* Remove the oldest so that at most `keep` remain, the new one among them.
 * Errors are logged; what cannot be removed stays. */
void wdb_backup_prune(struct wdb_context *context,
                      const struct wdb_backup_place *place, uint64_t keep);

#endif
