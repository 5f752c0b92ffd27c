/* version.h - the version of Redis whose behaviour this server has: clients
 * switch features on it. walkerDb's own is in walkerdb.h. */
#ifndef WDB_CMD_VERSION_H
#define WDB_CMD_VERSION_H

#define WDB_REDIS_VERSION "7.0.15"

#endif
