/* bit_offset.h - offsets of bits in arguments. */
#ifndef WDB_CMD_BIT_OFFSET_H
#define WDB_CMD_BIT_OFFSET_H

#include "cmd/call.h"

/* Argument i as the offset of a bit; with a width > 0, "#n" is n times that.
 * False: answered. */
bool wdb_call_bit_offset(struct wdb_call *call, uint32_t i, unsigned width,
                         uint64_t *out);

#endif
