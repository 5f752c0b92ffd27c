/* help.h - what --help and --version print. */
#ifndef WDB_SERVER_HELP_H
#define WDB_SERVER_HELP_H

void wdb_help_print(void);
void wdb_version_print(void);

#endif
