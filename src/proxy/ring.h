/* ring.h - a queue of small items in one array that grows. */
#ifndef WDB_PROXY_RING_H
#define WDB_PROXY_RING_H

#include <stdlib.h>
#include <string.h>

#include "base/attributes.h"
#include "walkerdb.h"

/* A ring of this type; capacity is a power of two, or 0. */
#define WDB_RING(type)                                                         \
    struct {                                                                   \
        type *items;                                                           \
        uint32_t first, count, capacity;                                       \
    }

/* The item at place i, from the oldest on. */
#define WDB_RING_AT(ring, i)                                                   \
    ((ring)->items[((ring)->first + (i)) & ((ring)->capacity - 1)])

/* Room for one more at the end. ENOMEM. */
#define WDB_RING_RESERVE(ring)                                                 \
    wdb_ring_reserve((void **)(void *)&(ring)->items, &(ring)->first,          \
                     &(ring)->capacity, (ring)->count, sizeof(*(ring)->items))

static inline int wdb_ring_reserve(void **items, uint32_t *first,
                                   uint32_t *capacity, uint32_t count,
                                   size_t size)
{
    if (WDB_LIKELY(count < *capacity)) {
        return 0;
    }
    const uint32_t grown = *capacity == 0 ? 4 : *capacity * 2;
    uint8_t *to = grown == 0 ? NULL : malloc(grown * size);
    if (to == NULL) {
        return WALKERDB_ENOMEM;
    }
    const uint8_t *from = *items;
    for (uint32_t i = 0; i < count; i++) {
        memcpy(to + i * size, from + ((*first + i) & (*capacity - 1)) * size,
               size);
    }
    free(*items);
    *items = to;
    *first = 0;
    *capacity = grown;
    return 0;
}

/* Forget the oldest one. */
#define WDB_RING_POP(ring)                                                     \
    ((ring)->first = ((ring)->first + 1) & ((ring)->capacity - 1),             \
     (ring)->count--)

#endif
