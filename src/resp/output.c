/*
 * output.c - a queue of blocks and borrowed runs of bytes.
 *
 * An owned node and its bytes are one allocation: the node stands in front.
 * Blocks of the usual size come from the worker's cache and go back to it. A
 * node behind a borrowed run is small, because mostly it only takes the line
 * end and the head of the next large value.
 *
 * Invariants:
 *   1. Only owned nodes may be empty; sending steps over those.
 *   2. After a failed allocation the tail has no room, so that nothing is
 *      appended behind a gap.
 */
#include "resp/output.h"

#include <assert.h>
#include <stdlib.h>

#include "base/assert.h"

#define SMALL_BLOCK_SIZE ((size_t)512)
#define BLOCK_CAPACITY   (WDB_OUTPUT_BLOCK_SIZE - sizeof(struct wdb_output_node))

static_assert(BLOCK_CAPACITY >= WDB_OUTPUT_ROOM_MAX, "room fits into a block");

/* --- nodes ------------------------------------------------------------------- */

static void reset_owned(struct wdb_output_node *node, size_t memory)
{
    *node = (struct wdb_output_node){
        .data = (uint8_t *)(node + 1),
        .capacity = memory - sizeof(*node),
        .memory = memory,
    };
}

static struct wdb_output_node *new_owned(struct wdb_output *output,
                                         size_t memory)
{
    struct wdb_output_cache *cache = output->cache;
    struct wdb_output_node *node;
    if (memory == WDB_OUTPUT_BLOCK_SIZE && cache != NULL &&
        cache->free != NULL) {
        node = cache->free;
        cache->free = node->next;
        cache->count--;
    } else {
        node = malloc(memory);
    }
    if (node != NULL) {
        reset_owned(node, memory);
    }
    return node;
}

static void free_node(struct wdb_output *output, struct wdb_output_node *node)
{
    struct wdb_output_cache *cache = output->cache;
    if (node->release != NULL) {
        node->release(node->context);
    }
    if (node->memory == WDB_OUTPUT_BLOCK_SIZE && cache != NULL &&
        cache->count < cache->count_max) {
        node->next = cache->free;
        cache->free = node;
        cache->count++;
        return;
    }
    free(node);
}

static void link_node(struct wdb_output *output, struct wdb_output_node *node)
{
    if (output->tail == NULL) {
        output->head = node;
    } else {
        output->tail->next = node;
    }
    output->tail = node;
}

static void fail(struct wdb_output *output)
{
    output->failed = true;
    if (output->tail != NULL && output->tail->capacity > 0) {
        output->tail->capacity = output->tail->size;
    }
}

/* A new tail with room for at least `room` bytes; false if failed. */
static bool add_owned(struct wdb_output *output, size_t room)
{
    size_t memory = WDB_OUTPUT_BLOCK_SIZE;
    bool after_borrowed = output->tail != NULL && output->tail->capacity == 0;
    if (room > BLOCK_CAPACITY) {
        memory = room + sizeof(struct wdb_output_node);
    } else if (after_borrowed &&
               room <= SMALL_BLOCK_SIZE - sizeof(struct wdb_output_node)) {
        memory = SMALL_BLOCK_SIZE;
    }
    struct wdb_output_node *node = NULL;
    if (!output->failed && memory >= room) {
        node = new_owned(output, memory);
    }
    if (node == NULL) {
        fail(output);
        return false;
    }
    link_node(output, node);
    return true;
}

void wdb_output_cache_init(struct wdb_output_cache *cache, uint32_t count_max)
{
    *cache = (struct wdb_output_cache){.count_max = count_max};
}

void wdb_output_cache_release(struct wdb_output_cache *cache)
{
    while (cache->free != NULL) {
        struct wdb_output_node *node = cache->free;
        cache->free = node->next;
        free(node);
    }
    cache->count = 0;
}

/* --- the queue ---------------------------------------------------------------- */

void wdb_output_init(struct wdb_output *output)
{
    *output = (struct wdb_output){0};
}

void wdb_output_release(struct wdb_output *output)
{
    struct wdb_output_node *node = output->head;
    while (node != NULL) {
        struct wdb_output_node *next = node->next;
        free_node(output, node);
        node = next;
    }
    *output = (struct wdb_output){.cache = output->cache};
}

uint8_t *wdb_output_room_slow(struct wdb_output *output, size_t size)
{
    wdb_assert(size <= WDB_OUTPUT_ROOM_MAX);
    if (!add_owned(output, size)) {
        return NULL;
    }
    return output->tail->data;
}

void wdb_output_append(struct wdb_output *output, const void *data, size_t size)
{
    const uint8_t *from = data;
    struct wdb_output_node *tail = output->tail;
    if (size == 0 || output->failed) {
        return;
    }
    if (tail != NULL && tail->capacity > tail->size) {
        size_t room = tail->capacity - tail->size;
        size_t part = size < room ? size : room;
        memcpy(tail->data + tail->size, from, part);
        wdb_output_advance(output, part);
        from += part;
        size -= part;
    }
    if (size == 0 || !add_owned(output, size)) {
        return;
    }
    memcpy(output->tail->data, from, size);
    wdb_output_advance(output, size);
}

void wdb_output_borrow(struct wdb_output *output, struct wdb_slice data,
                       void (*release)(void *), void *context)
{
    struct wdb_output_node *node = NULL;
    if (!output->failed && data.size > 0) {
        node = malloc(sizeof(*node));
        if (node == NULL) {
            fail(output);
        }
    }
    if (node == NULL) {
        if (release != NULL) {
            release(context);
        }
        return;
    }
    *node = (struct wdb_output_node){
        .data = (uint8_t *)(uintptr_t)data.data, /* never written to */
        .size = data.size,
        .release = release,
        .context = context,
        .memory = sizeof(*node),
    };
    link_node(output, node);
    output->size += data.size;
}

struct wdb_output_mark wdb_output_mark(const struct wdb_output *output)
{
    return (struct wdb_output_mark){
        .tail = output->tail,
        .tail_size = output->tail == NULL ? 0 : output->tail->size,
        .size = output->size,
    };
}

void wdb_output_rollback(struct wdb_output *output, struct wdb_output_mark mark)
{
    struct wdb_output_node *node =
        mark.tail == NULL ? output->head : mark.tail->next;
    while (node != NULL) {
        struct wdb_output_node *next = node->next;
        free_node(output, node);
        node = next;
    }
    output->tail = mark.tail;
    if (mark.tail == NULL) {
        output->head = NULL;
    } else {
        mark.tail->next = NULL;
        mark.tail->size = mark.tail_size;
    }
    output->size = mark.size;
}

void wdb_output_truncate(struct wdb_output *output, size_t size)
{
    wdb_assert(size <= output->size);
    struct wdb_output_node *last = NULL;
    struct wdb_output_node *node = output->head;
    size_t left = size;
    while (node != NULL && left > 0) {
        if (node->size > left) {
            node->size = left;
        }
        left -= node->size;
        last = node;
        node = node->next;
    }
    while (node != NULL) {
        struct wdb_output_node *next = node->next;
        free_node(output, node);
        node = next;
    }
    output->tail = last;
    if (last == NULL) {
        output->head = NULL;
    } else {
        last->next = NULL;
    }
    output->size = size;
}

int wdb_output_peek(const struct wdb_output *output, struct iovec *vector,
                    int count, size_t limit)
{
    int used = 0;
    for (const struct wdb_output_node *node = output->head;
         node != NULL && used < count && limit > 0; node = node->next) {
        size_t size = node->size < limit ? node->size : limit;
        if (size == 0) {
            continue;
        }
        vector[used++] =
            (struct iovec){.iov_base = node->data, .iov_len = size};
        limit -= size;
    }
    return used;
}

void wdb_output_consume(struct wdb_output *output, size_t size)
{
    wdb_assert(size <= output->size);
    output->size -= size;
    while (output->head != NULL) {
        struct wdb_output_node *node = output->head;
        if (size < node->size) {
            node->data += size;
            node->size -= size;
            node->capacity -= node->capacity == 0 ? 0 : size;
            return;
        }
        size -= node->size;
        output->head = node->next;
        if (output->head == NULL) {
            output->tail = NULL;
        }
        free_node(output, node);
    }
}
