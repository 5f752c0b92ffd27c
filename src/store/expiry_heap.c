/*
 * expiry_heap.c - a heap with four children to a node, which are one cache
 * line.
 *
 * An item in 16 bytes, ordered by the first word:
 *
 *   word 0                          word 1
 *   +---------------+-------------+-------------+----------+------------+
 *   | expiry ms 44  | database 20 | database 12 | hash 16  | hash 36    |
 *   |               | (high)      | (low)       | (high)   | (low)      |
 *   +---------------+-------------+-------------+----------+------------+
 */
#include "store/expiry_heap.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "base/assert.h"
#include "walkerdb.h"

#define CHILDREN        4
#define CAPACITY_MIN    16
#define CLEAN_ITEMS     6  /* looked at in one call */
#define CLEAN_SLACK     32 /* so many dead items are never worth a look */
#define HASH_LOW_BITS   36
#define HASH_HIGH_SHIFT 48
#define HASH_BITS       52
#define DATABASE_LOW    12
#define DATABASE_HIGH   20

struct packed {
    uint64_t words[2];
};

struct wdb_expiry_heap {
    struct packed *items;
    uint64_t count;
    _Atomic uint64_t capacity;
    uint64_t clean_at; /* items below this index are looked at next */
};

static struct packed pack(const struct wdb_expiry_item *item)
{
    uint64_t time = item->expiry_ms;
    if (time > WDB_EXPIRY_TIME_MAX) {
        time = WDB_EXPIRY_TIME_MAX;
    }
    uint64_t low = item->hash & ((UINT64_C(1) << HASH_LOW_BITS) - 1);
    uint64_t high = item->hash >> HASH_HIGH_SHIFT;
    uint64_t database = item->database;
    return (struct packed){{
        time << DATABASE_HIGH | database >> DATABASE_LOW,
        database << HASH_BITS | high << HASH_LOW_BITS | low,
    }};
}

static struct wdb_expiry_item unpack(const struct packed *packed)
{
    uint64_t low = packed->words[1] & ((UINT64_C(1) << HASH_LOW_BITS) - 1);
    uint64_t high = packed->words[1] >> HASH_LOW_BITS & 0xffff;
    uint64_t database_high =
        packed->words[0] & ((UINT64_C(1) << DATABASE_HIGH) - 1);
    return (struct wdb_expiry_item){
        .expiry_ms = packed->words[0] >> DATABASE_HIGH,
        .hash = high << HASH_HIGH_SHIFT | low,
        .database = (uint32_t)(database_high << DATABASE_LOW |
                               packed->words[1] >> HASH_BITS),
    };
}

int wdb_expiry_heap_new(struct wdb_expiry_heap **out)
{
    struct wdb_expiry_heap *heap = calloc(1, sizeof(*heap));
    if (heap == NULL) {
        return WALKERDB_ENOMEM;
    }
    *out = heap;
    return 0;
}

void wdb_expiry_heap_free(struct wdb_expiry_heap *heap)
{
    if (heap != NULL) {
        free(heap->items);
        free(heap);
    }
}

void wdb_expiry_heap_clear(struct wdb_expiry_heap *heap)
{
    free(heap->items);
    heap->items = NULL;
    heap->count = heap->clean_at = 0;
    atomic_store_explicit(&heap->capacity, 0, memory_order_relaxed);
}

static uint64_t capacity_of(const struct wdb_expiry_heap *heap)
{
    return atomic_load_explicit(&heap->capacity, memory_order_relaxed);
}

static int resize(struct wdb_expiry_heap *heap, uint64_t capacity)
{
    struct packed *items =
        realloc(heap->items, capacity * sizeof(struct packed));
    if (items == NULL) {
        return WALKERDB_ENOMEM;
    }
    heap->items = items;
    atomic_store_explicit(&heap->capacity, capacity, memory_order_relaxed);
    return 0;
}

/* Give memory back when most of it is unused; it does not matter if not. */
static void shrink(struct wdb_expiry_heap *heap)
{
    uint64_t capacity = capacity_of(heap);
    if (capacity > CAPACITY_MIN && heap->count < capacity / 4) {
        (void)!resize(heap, capacity / 2);
    }
}

/* Put the item where it belongs at or above the hole at `index`. */
static void sift_up(struct wdb_expiry_heap *heap, uint64_t index,
                    struct packed item)
{
    while (index > 0) {
        uint64_t parent = (index - 1) / CHILDREN;
        if (heap->items[parent].words[0] <= item.words[0]) {
            break;
        }
        heap->items[index] = heap->items[parent];
        index = parent;
    }
    heap->items[index] = item;
}

/* The same at or below it. */
static void sift_down(struct wdb_expiry_heap *heap, uint64_t index,
                      struct packed item)
{
    for (;;) {
        uint64_t first = index * CHILDREN + 1;
        if (first >= heap->count) {
            break;
        }
        uint64_t last = first + CHILDREN;
        if (last > heap->count) {
            last = heap->count;
        }
        uint64_t least = first;
        for (uint64_t i = first + 1; i < last; i++) {
            if (heap->items[i].words[0] < heap->items[least].words[0]) {
                least = i;
            }
        }
        if (item.words[0] <= heap->items[least].words[0]) {
            break;
        }
        heap->items[index] = heap->items[least];
        index = least;
    }
    heap->items[index] = item;
}

/* Fill the hole at `index` with the last item. */
static void remove_at(struct wdb_expiry_heap *heap, uint64_t index)
{
    struct packed last = heap->items[--heap->count];
    if (index == heap->count) {
        return;
    }
    uint64_t parent = index == 0 ? 0 : (index - 1) / CHILDREN;
    if (heap->items[parent].words[0] > last.words[0]) {
        sift_up(heap, index, last);
    } else {
        sift_down(heap, index, last);
    }
}

int wdb_expiry_heap_push(struct wdb_expiry_heap *heap,
                         const struct wdb_expiry_item *item)
{
    uint64_t capacity = capacity_of(heap);
    if (heap->count == capacity) {
        int rc = resize(heap,
                        capacity == 0 ? CAPACITY_MIN : capacity + capacity / 2);
        if (rc != 0) {
            return rc;
        }
    }
    heap->count++;
    sift_up(heap, heap->count - 1, pack(item));
    return 0;
}

bool wdb_expiry_heap_peek(const struct wdb_expiry_heap *heap,
                          struct wdb_expiry_item *out)
{
    if (heap->count == 0) {
        return false;
    }
    *out = unpack(&heap->items[0]);
    return true;
}

void wdb_expiry_heap_pop(struct wdb_expiry_heap *heap)
{
    wdb_assert(heap->count > 0);
    remove_at(heap, 0);
    shrink(heap);
}

void wdb_expiry_heap_replace(struct wdb_expiry_heap *heap,
                             const struct wdb_expiry_item *item)
{
    wdb_assert(heap->count > 0);
    sift_down(heap, 0, pack(item));
}

/*
 * Goes through the array from its end to its beginning, again and again. What
 * is moved into a hole comes from behind, where it was looked at, or is put
 * further up and will be.
 */
void wdb_expiry_heap_clean(struct wdb_expiry_heap *heap, uint64_t live_count,
                           wdb_expiry_is_live is_live, void *context)
{
    for (int i = 0; i < CLEAN_ITEMS; i++) {
        if (heap->count <= 2 * live_count + CLEAN_SLACK) {
            return;
        }
        if (heap->clean_at == 0 || heap->clean_at > heap->count) {
            heap->clean_at = heap->count;
        }
        heap->clean_at--;
        struct wdb_expiry_item item = unpack(&heap->items[heap->clean_at]);
        if (!is_live(context, &item)) {
            remove_at(heap, heap->clean_at);
            shrink(heap);
        }
    }
}

uint64_t wdb_expiry_heap_count(const struct wdb_expiry_heap *heap)
{
    return heap->count;
}

uint64_t wdb_expiry_heap_memory(const struct wdb_expiry_heap *heap)
{
    return sizeof(*heap) + capacity_of(heap) * sizeof(struct packed);
}
