/* sha1.h - SHA-1 (FIPS 180-4): not for security, but because the digests of
 * Redis (DEBUG DIGEST) are made of it. */
#ifndef WDB_BASE_SHA1_H
#define WDB_BASE_SHA1_H

#include <stddef.h>
#include <stdint.h>

#define WDB_SHA1_SIZE 20

/* The hash of size bytes. */
void wdb_sha1(const void *data, size_t size, uint8_t out[WDB_SHA1_SIZE]);

#endif
