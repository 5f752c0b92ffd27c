/*
 * output.h - the bytes that wait to be sent on one connection.
 *
 * A queue of nodes: owned blocks that replies are written into, and borrowed
 * runs (a large value in a segment's mapping) that carry a reference. The
 * writer of replies appends at the tail; the connection sends from the head.
 * One thread.
 */
#ifndef WDB_RESP_OUTPUT_H
#define WDB_RESP_OUTPUT_H

#include <sys/uio.h>

#include "base/attributes.h"
#include "base/slice.h"

/* Memory of an owned node, its head included. */
#define WDB_OUTPUT_BLOCK_SIZE ((size_t)16 << 10)
/* The most that wdb_output_room gives. */
#define WDB_OUTPUT_ROOM_MAX ((size_t)4 << 10)

struct wdb_output_node {
    struct wdb_output_node *next;
    uint8_t *data;
    size_t size;     /* bytes to send, from data on */
    size_t capacity; /* owned: room at data, used or not; borrowed: 0 */
    void (*release)(void *context); /* borrowed: called when sent or dropped */
    void *context;
    size_t memory; /* of this allocation */
};

/*
 * Blocks of a worker that nobody uses at the moment: its connections share
 * them, so that an idle one holds no block and a busy one needs no malloc. One
 * thread.
 */
struct wdb_output_cache {
    struct wdb_output_node *free;
    uint32_t count, count_max;
};

struct wdb_output {
    struct wdb_output_node *head, *tail;
    size_t size; /* bytes in all nodes */
    bool failed; /* an allocation failed: close the connection */
    struct wdb_output_cache *cache; /* may be NULL; survives release */
};

/* A place to go back to. */
struct wdb_output_mark {
    struct wdb_output_node *tail;
    size_t tail_size, size;
};

void wdb_output_cache_init(struct wdb_output_cache *cache, uint32_t count_max);
/* Free the blocks; outputs that use the cache must be released before. */
void wdb_output_cache_release(struct wdb_output_cache *cache);

void wdb_output_init(struct wdb_output *output);
/* Drop all that is queued; usable again afterwards. */
void wdb_output_release(struct wdb_output *output);
/* Append a copy. On ENOMEM output->failed is set and nothing more is added. */
void wdb_output_append(struct wdb_output *output, const void *data,
                       size_t size);
uint8_t *wdb_output_room_slow(struct wdb_output *output, size_t size);
/* Room for `size` contiguous bytes at the tail (size <= 4 KiB), NULL if failed;
 * then advance by what was used. */
static inline uint8_t *wdb_output_room(struct wdb_output *output, size_t size)
{
    struct wdb_output_node *tail = output->tail;
    if (WDB_LIKELY(tail != NULL && tail->size + size <= tail->capacity)) {
        return tail->data + tail->size;
    }
    return wdb_output_room_slow(output, size);
}
static inline void wdb_output_advance(struct wdb_output *output, size_t size)
{
    output->tail->size += size;
    output->size += size;
}
/* Append bytes that stay somebody else's until release(context), which is
 * called in any case, at once if output->failed. */
void wdb_output_borrow(struct wdb_output *output, struct wdb_slice data,
                       void (*release)(void *), void *context);
/* Take back everything that was appended since the mark. */
struct wdb_output_mark wdb_output_mark(const struct wdb_output *output);
void wdb_output_rollback(struct wdb_output *output,
                         struct wdb_output_mark mark);
/* Up to count vectors over at most limit bytes of the head; returns how many.
 */
int wdb_output_peek(const struct wdb_output *output, struct iovec *vector,
                    int count, size_t limit);
/* Forget all but the first size bytes. */
void wdb_output_truncate(struct wdb_output *output, size_t size);
/* Forget the first size bytes: they are sent. */
void wdb_output_consume(struct wdb_output *output, size_t size);

#endif
