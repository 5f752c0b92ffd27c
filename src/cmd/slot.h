/* slot.h - the hash slots of Redis Cluster, as clients compute them. */
#ifndef WDB_CMD_SLOT_H
#define WDB_CMD_SLOT_H

#include "base/slice.h"

#define WDB_SLOT_COUNT 16384

/* CRC16 (XMODEM) of the key, or of what stands between the first "{" and the
 * next "}" in it if that is not empty, modulo WDB_SLOT_COUNT. */
uint32_t wdb_key_slot(struct wdb_slice key);

#endif
