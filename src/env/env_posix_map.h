/*
 * env_posix_map.h - read-only mappings whose bad pages read as zeros.
 *
 * Used by env_posix.c only. Every function is callable from any thread.
 */
#ifndef WDB_ENV_ENV_POSIX_MAP_H
#define WDB_ENV_ENV_POSIX_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attributes.h"

/* Map [0, size) of the file; size > 0. `owner` is a token for the two
 * functions below, never followed. random: no readahead. ENOMEM, EIO. */
WDB_MUST_CHECK int wdb_posix_map(int fd, uint64_t size, const void *owner,
                                 bool random, const void **out);
void wdb_posix_unmap(const void *data, uint64_t size);
/* True if a page of the mapping at data could not be read. */
bool wdb_posix_map_damaged(const void *data);
/* madvise() [offset, offset + size) of all mappings of this owner. */
void wdb_posix_map_advise(const void *owner, uint64_t offset, uint64_t size,
                          int advice);
/* The owner is going; its mappings stay. */
void wdb_posix_map_disown(const void *owner);

#endif
