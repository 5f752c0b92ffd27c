/*
 * arena.c - blocks in chunks: size classes, free lists, compaction.
 *
 * A free block in a list:
 *
 *   word 0             word 1   word 2
 *   +----+------+------+--------+----------+
 *   | 0  | 1    | size | next   | previous |
 *   +----+------+------+--------+----------+
 *    kind linked
 *
 * `previous` of the first one is not kept, so that taking it touches no other.
 * Free but not linked are the 1 to 3 units that no block fits into, and what is
 * free in the victim, the chunk that is being emptied.
 *
 * Invariants:
 *   1. A chunk other than the current one can be walked from its first unit to
 *      its last; the current one up to `bump`.
 *   2. No block of the victim is given out.
 *   3. The victim is neither the current chunk nor the spare.
 */
#include "store/arena.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "walkerdb.h"

#define CHUNK_SHARE        32                  /* of the whole, at most */
#define SLOT_COUNT_MAX     (UINT32_C(1) << 21) /* what a ref can name */
#define HUGE_UNITS_MAX     (UINT32_C(1) << 31) /* 8 GiB */
#define DIRECTORY_FIRST    8                   /* slots */
#define LINKED             (UINT32_C(1) << 29)
#define SIZE_MASK          (LINKED - 1)
#define COMPACT_CHUNKS_MIN 4 /* below, it is not worth while */
#define COMPACT_SAMPLE     4 /* chunks looked at for a victim */

#define NEXT     1
#define PREVIOUS 2

static_assert(sizeof(struct wdb_arena_chunk) % WDB_ARENA_UNIT == 0, "units");
static_assert(WDB_ARENA_CHUNK_HEADER == 8, "told in arena.h");
static_assert(WDB_ARENA_CHUNK_UNITS_MIN << (WDB_ARENA_CHUNK_ALONE - 1) ==
                  WDB_ARENA_CHUNK_UNITS,
              "all sizes of shared chunks have a number");

/* ---- directory and chunks ------------------------------------------------ */

static struct wdb_arena_directory *directory_of(const struct wdb_arena *arena)
{
    return atomic_load_explicit(&arena->directory, memory_order_relaxed);
}

static wdb_arena_chunk_word word_at(const struct wdb_arena *arena,
                                    uint32_t slot)
{
    return atomic_load_explicit(&directory_of(arena)->chunks[slot],
                                memory_order_relaxed);
}

static struct wdb_arena_chunk *chunk_of(wdb_arena_chunk_word word)
{
    return (struct wdb_arena_chunk *)(word & ~WDB_ARENA_CHUNK_SIZE_MASK);
}

static struct wdb_arena_chunk *chunk_at(const struct wdb_arena *arena,
                                        uint32_t slot)
{
    return chunk_of(word_at(arena, slot));
}

static struct wdb_arena_use *use_at(const struct wdb_arena *arena,
                                    uint32_t slot)
{
    return &directory_of(arena)->uses[slot];
}

static uint32_t unit_count_at(const struct wdb_arena *arena, uint32_t slot)
{
    return use_at(arena, slot)->unit_count;
}

static uint32_t slot_of(wdb_ref ref)
{
    return ref >> WDB_ARENA_CHUNK_BITS;
}

static wdb_ref ref_of(uint32_t slot, uint32_t unit)
{
    return slot << WDB_ARENA_CHUNK_BITS | unit;
}

static int directory_grow(struct wdb_arena *arena)
{
    struct wdb_arena_directory *old = directory_of(arena);
    const uint32_t old_capacity =
        atomic_load_explicit(&arena->directory_capacity, memory_order_relaxed);
    const uint32_t capacity = old == NULL ? DIRECTORY_FIRST : 2 * old_capacity;
    size_t size = sizeof(*old) +
                  capacity * (sizeof(old->chunks[0]) + sizeof(old->uses[0]));
    struct wdb_arena_directory *new = malloc(size);
    if (new == NULL) {
        return WALKERDB_ENOMEM;
    }
    new->older = old;
    new->uses = (struct wdb_arena_use *)(void *)&new->chunks[capacity];
    for (uint32_t i = 0; i < capacity; i++) {
        const bool is_old = i < arena->slot_count;
        atomic_init(&new->chunks[i], is_old ? word_at(arena, i) : 0);
        new->uses[i] = is_old ? *use_at(arena, i) : (struct wdb_arena_use){0};
    }
    arena->directory_size += size;
    atomic_store_explicit(&arena->directory, new, memory_order_release);
    atomic_store_explicit(&arena->directory_capacity, capacity,
                          memory_order_release);
    return 0;
}

/* A slot without a chunk; there is room in the directory for it. */
static int find_slot(struct wdb_arena *arena, uint32_t *slot_out)
{
    uint32_t slot = arena->slot_free;
    while (slot < arena->slot_count && chunk_at(arena, slot) != NULL) {
        slot++;
    }
    arena->slot_free = slot;
    if (slot == SLOT_COUNT_MAX) {
        return WALKERDB_ENOMEM;
    }
    if (slot == atomic_load_explicit(&arena->directory_capacity,
                                     memory_order_relaxed)) {
        int rc = directory_grow(arena);
        if (rc != 0) {
            return rc;
        }
    }
    *slot_out = slot;
    return 0;
}

/* The number that stands for a chunk's size in its word. */
static uint32_t size_number(uint32_t unit_count)
{
    uint32_t number = 0;
    while (number < WDB_ARENA_CHUNK_ALONE &&
           WDB_ARENA_CHUNK_UNITS_MIN << number != unit_count) {
        number++;
    }
    return number;
}

static int chunk_add(struct wdb_arena *arena, uint32_t unit_count,
                     uint32_t *slot_out)
{
    uint32_t slot;
    int rc = find_slot(arena, &slot);
    if (rc != 0) {
        return rc;
    }
    void *chunk;
    if (posix_memalign(&chunk, WDB_CACHE_LINE,
                       (size_t)unit_count * WDB_ARENA_UNIT) != 0) {
        return WALKERDB_ENOMEM;
    }
    *use_at(arena, slot) = (struct wdb_arena_use){.unit_count = unit_count};
    atomic_store_explicit(&directory_of(arena)->chunks[slot],
                          (uintptr_t)chunk | size_number(unit_count),
                          memory_order_release);
    if (slot == arena->slot_count) {
        arena->slot_count++;
    }
    arena->chunk_count++;
    arena->unit_count += unit_count;
    *slot_out = slot;
    return 0;
}

static void free_chunk(struct wdb_epoch_retired *node)
{
    free(WDB_CONTAINER_OF(node, struct wdb_arena_chunk, retired));
}

static void chunk_retire(struct wdb_arena *arena, uint32_t slot)
{
    struct wdb_arena_chunk *chunk = chunk_at(arena, slot);
    atomic_store_explicit(&directory_of(arena)->chunks[slot], 0,
                          memory_order_release);
    arena->chunk_count--;
    arena->unit_count -= unit_count_at(arena, slot);
    if (slot < arena->slot_free) {
        arena->slot_free = slot;
    }
    if (arena->epoch != NULL) {
        wdb_epoch_retire(arena->epoch, &chunk->retired, free_chunk);
    } else {
        free(chunk);
    }
}

static void forget_blocks(struct wdb_arena *arena)
{
    arena->slot_count = 0;
    arena->slot_free = 0;
    arena->current = WDB_ARENA_CHUNK_NONE;
    arena->bump = 0;
    arena->victim = WDB_ARENA_CHUNK_NONE;
    arena->victim_unit = 0;
    arena->spare = WDB_ARENA_CHUNK_NONE;
    arena->live_count = 0;
    memset(arena->lists_used, 0, sizeof(arena->lists_used));
    memset(arena->lists, 0, sizeof(arena->lists));
}

void wdb_arena_init(struct wdb_arena *arena, struct wdb_epoch *epoch)
{
    atomic_init(&arena->directory, NULL);
    atomic_init(&arena->directory_capacity, 0);
    arena->epoch = epoch;
    arena->chunk_count = 0;
    arena->unit_count = 0;
    arena->directory_size = 0;
    forget_blocks(arena);
}

void wdb_arena_reset(struct wdb_arena *arena)
{
    for (uint32_t i = 0; i < arena->slot_count; i++) {
        if (chunk_at(arena, i) != NULL) {
            chunk_retire(arena, i);
        }
    }
    wdb_assert(arena->chunk_count == 0 && arena->unit_count == 0);
    forget_blocks(arena);
}

void wdb_arena_release(struct wdb_arena *arena)
{
    arena->epoch = NULL;
    wdb_arena_reset(arena);
    struct wdb_arena_directory *directory = directory_of(arena);
    while (directory != NULL) {
        struct wdb_arena_directory *older = directory->older;
        free(directory);
        directory = older;
    }
    wdb_arena_init(arena, NULL);
}

const uint32_t *wdb_arena_peek(const struct wdb_arena *arena, wdb_ref ref)
{
    const uint32_t capacity =
        atomic_load_explicit(&arena->directory_capacity, memory_order_acquire);
    const uint32_t slot = slot_of(ref);
    const uint32_t unit = ref & (WDB_ARENA_CHUNK_UNITS - 1);
    if (slot >= capacity) {
        return NULL;
    }
    struct wdb_arena_directory *directory =
        atomic_load_explicit(&arena->directory, memory_order_acquire);
    const wdb_arena_chunk_word word =
        atomic_load_explicit(&directory->chunks[slot], memory_order_acquire);
    const uint32_t size = word & WDB_ARENA_CHUNK_SIZE_MASK;
    const uint32_t unit_count =
        size == WDB_ARENA_CHUNK_ALONE
            ? WDB_ARENA_CHUNK_HEADER + WDB_ARENA_BLOCK_MIN
            : WDB_ARENA_CHUNK_UNITS_MIN << size;
    if (word == 0 || unit < WDB_ARENA_CHUNK_HEADER ||
        unit + WDB_ARENA_BLOCK_MIN > unit_count) {
        return NULL;
    }
    return (const uint32_t *)chunk_of(word) + unit;
}

/* ---- size classes and free lists ----------------------------------------- */

/* The least class whose blocks have at least that many units; above the exact
 * ones there are four to each doubling. */
static uint32_t class_of(uint32_t units)
{
    if (units <= WDB_ARENA_CLASS_EXACT) {
        return units - WDB_ARENA_BLOCK_MIN;
    }
    uint32_t doubling = 31 - (uint32_t)__builtin_clz(units - 1); /* 6, 7, 8 */
    uint32_t quarter = (units - 1) >> (doubling - 2) & 3;
    return WDB_ARENA_CLASS_EXACT - WDB_ARENA_BLOCK_MIN + 1 +
           (doubling - 6) * 4 + quarter;
}

static uint32_t class_units(uint32_t class)
{
    uint32_t exact = WDB_ARENA_CLASS_EXACT - WDB_ARENA_BLOCK_MIN;
    if (class <= exact) {
        return class + WDB_ARENA_BLOCK_MIN;
    }
    uint32_t above = class - exact - 1;
    return (5 + above % 4) << (above / 4 + 4);
}

uint32_t wdb_arena_units(uint64_t size)
{
    uint64_t units = (size + WDB_ARENA_UNIT - 1) / WDB_ARENA_UNIT;
    if (units > WDB_ARENA_BLOCK_MAX) {
        wdb_assert(units <= HUGE_UNITS_MAX);
        return (uint32_t)units;
    }
    if (units < WDB_ARENA_BLOCK_MIN) {
        units = WDB_ARENA_BLOCK_MIN;
    }
    return class_units(class_of((uint32_t)units));
}

static void list_set(struct wdb_arena *arena, uint32_t class, wdb_ref first)
{
    uint64_t bit = UINT64_C(1) << class % 64;
    arena->lists[class] = first;
    if (first == 0) {
        arena->lists_used[class / 64] &= ~bit;
    } else {
        arena->lists_used[class / 64] |= bit;
    }
}

static void list_push(struct wdb_arena *arena, wdb_ref ref, uint32_t units)
{
    uint32_t class = class_of(units);
    wdb_ref next = arena->lists[class];
    uint32_t *words = wdb_arena_words(arena, ref);
    wdb_word_store(&words[0], LINKED | units);
    wdb_word_store(&words[NEXT], next);
    if (next != 0) {
        wdb_word_store(&wdb_arena_words(arena, next)[PREVIOUS], ref);
    }
    list_set(arena, class, ref);
}

static void list_remove(struct wdb_arena *arena, wdb_ref ref, uint32_t units)
{
    uint32_t class = class_of(units);
    uint32_t *words = wdb_arena_words(arena, ref);
    wdb_debug_assert(words[0] == (LINKED | units));
    wdb_ref next = words[NEXT];
    if (arena->lists[class] == ref) {
        list_set(arena, class, next);
        return;
    }
    wdb_ref previous = words[PREVIOUS];
    wdb_word_store(&wdb_arena_words(arena, previous)[NEXT], next);
    if (next != 0) {
        wdb_word_store(&wdb_arena_words(arena, next)[PREVIOUS], previous);
    }
}

/* Make a run of units free blocks of the greatest classes that fit. */
static void free_run(struct wdb_arena *arena, wdb_ref ref, uint32_t units)
{
    while (units >= WDB_ARENA_BLOCK_MIN) {
        uint32_t class = class_of(units);
        if (class_units(class) > units) {
            class --;
        }
        list_push(arena, ref, class_units(class));
        ref += class_units(class);
        units -= class_units(class);
    }
    if (units > 0) {
        wdb_word_store(wdb_arena_words(arena, ref), units);
    }
}

/* Take a block out of a list; 0 if the list is empty. Blocks of the victim
 * that come to light are dropped from it. */
static wdb_ref list_pop(struct wdb_arena *arena, uint32_t class)
{
    for (;;) {
        wdb_ref ref = arena->lists[class];
        if (ref == 0) {
            return 0;
        }
        list_remove(arena, ref, class_units(class));
        if (slot_of(ref) != arena->victim) {
            return ref;
        }
        wdb_word_store(wdb_arena_words(arena, ref), class_units(class));
    }
}

/* Cut a block off the smallest larger one; 0 if there is none. */
static wdb_ref list_split(struct wdb_arena *arena, uint32_t units)
{
    uint32_t class = class_of(units + WDB_ARENA_BLOCK_MIN);
    while (class < WDB_ARENA_CLASS_COUNT) {
        uint64_t used = arena->lists_used[class / 64] >> class % 64;
        if (used == 0) {
            class = (class / 64 + 1) * 64;
            continue;
        }
        class += (uint32_t)__builtin_ctzll(used);
        wdb_ref ref = list_pop(arena, class);
        if (ref != 0) {
            free_run(arena, ref + units, class_units(class) - units);
            return ref;
        }
    }
    return 0;
}

/* ---- allocation ---------------------------------------------------------- */

static uint32_t bump_room(const struct wdb_arena *arena)
{
    return arena->current == WDB_ARENA_CHUNK_NONE
               ? 0
               : unit_count_at(arena, arena->current) - arena->bump;
}

static uint32_t chunk_units_for(const struct wdb_arena *arena, uint32_t units)
{
    uint64_t wanted = arena->unit_count / CHUNK_SHARE;
    uint32_t size = WDB_ARENA_CHUNK_UNITS_MIN;
    while (size < WDB_ARENA_CHUNK_UNITS &&
           (size < wanted || size < units + WDB_ARENA_CHUNK_HEADER)) {
        size *= 2;
    }
    return size;
}

/* Go on in a chunk with room for a block of that many units. */
static int next_chunk(struct wdb_arena *arena, uint32_t units, bool may_grow)
{
    uint32_t slot = arena->spare;
    if (slot != WDB_ARENA_CHUNK_NONE &&
        unit_count_at(arena, slot) >= units + WDB_ARENA_CHUNK_HEADER) {
        arena->spare = WDB_ARENA_CHUNK_NONE;
    } else {
        int rc = may_grow
                     ? chunk_add(arena, chunk_units_for(arena, units), &slot)
                     : WALKERDB_ENOMEM;
        if (rc != 0) {
            return rc;
        }
    }
    if (arena->current != WDB_ARENA_CHUNK_NONE) {
        free_run(arena, ref_of(arena->current, arena->bump), bump_room(arena));
    }
    arena->current = slot;
    arena->bump = WDB_ARENA_CHUNK_HEADER;
    return 0;
}

static void count_live(struct wdb_arena *arena, wdb_ref ref, uint32_t units)
{
    use_at(arena, slot_of(ref))->live_count += units;
    arena->live_count += units;
}

static int alloc_huge(struct wdb_arena *arena, uint32_t units, bool may_grow,
                      wdb_ref *out)
{
    uint32_t slot;
    int rc = may_grow ? chunk_add(arena, units + WDB_ARENA_CHUNK_HEADER, &slot)
                      : WALKERDB_ENOMEM;
    if (rc != 0) {
        return rc;
    }
    *out = ref_of(slot, WDB_ARENA_CHUNK_HEADER);
    count_live(arena, *out, units);
    return 0;
}

int wdb_arena_alloc(struct wdb_arena *arena, uint32_t units, bool may_grow,
                    wdb_ref *out)
{
    if (units > WDB_ARENA_BLOCK_MAX) {
        return alloc_huge(arena, units, may_grow, out);
    }
    wdb_debug_assert(class_units(class_of(units)) == units);
    wdb_ref ref = list_pop(arena, class_of(units));
    if (ref == 0 && bump_room(arena) < units) {
        ref = list_split(arena, units);
        if (ref == 0) {
            int rc = next_chunk(arena, units, may_grow);
            if (rc != 0) {
                return rc;
            }
        }
    }
    if (ref == 0) {
        ref = ref_of(arena->current, arena->bump);
        arena->bump += units;
    }
    count_live(arena, ref, units);
    *out = ref;
    return 0;
}

void wdb_arena_free(struct wdb_arena *arena, wdb_ref ref, uint32_t units)
{
    struct wdb_arena_use *use = use_at(arena, slot_of(ref));
    wdb_assert(use->live_count >= units);
    use->live_count -= units;
    arena->live_count -= units;
    if (units > WDB_ARENA_BLOCK_MAX) {
        chunk_retire(arena, slot_of(ref));
    } else if (slot_of(ref) == arena->victim) {
        wdb_word_store(wdb_arena_words(arena, ref), units);
    } else {
        list_push(arena, ref, units);
    }
}

/* ---- compaction ---------------------------------------------------------- */

/* Units of the chunk that no block uses. */
static uint32_t chunk_free_units(const struct wdb_arena *arena, uint32_t slot)
{
    return unit_count_at(arena, slot) - (uint32_t)WDB_ARENA_CHUNK_HEADER -
           use_at(arena, slot)->live_count;
}

static bool is_sparse(const struct wdb_arena *arena)
{
    uint64_t idle = bump_room(arena);
    if (arena->spare != WDB_ARENA_CHUNK_NONE) {
        idle += unit_count_at(arena, arena->spare);
    }
    uint64_t unused = arena->unit_count - arena->live_count - idle;
    return arena->chunk_count >= COMPACT_CHUNKS_MIN &&
           unused > arena->unit_count / 8 * 3;
}

/* Choose the emptiest of the next few chunks, if one is sparse enough. */
static void choose_victim(struct wdb_arena *arena)
{
    uint32_t best_free = 0;
    for (int i = 0; i < COMPACT_SAMPLE; i++) {
        arena->victim_unit = (arena->victim_unit + 1) % arena->slot_count;
        uint32_t slot = arena->victim_unit;
        if (chunk_at(arena, slot) == NULL || slot == arena->current ||
            slot == arena->spare) {
            continue;
        }
        uint32_t unused = chunk_free_units(arena, slot);
        if (unused > best_free && unused > unit_count_at(arena, slot) / 8 * 3) {
            best_free = unused;
            arena->victim = slot;
        }
    }
    if (best_free > 0) {
        arena->victim_unit = WDB_ARENA_CHUNK_HEADER;
    }
}

/* The victim is empty: keep it as the spare one, or give it back. */
static void finish_victim(struct wdb_arena *arena)
{
    uint32_t slot = arena->victim;
    wdb_assert(use_at(arena, slot)->live_count == 0);
    arena->victim = WDB_ARENA_CHUNK_NONE;
    arena->victim_unit = slot; /* where the next search goes on */
    if (arena->spare == WDB_ARENA_CHUNK_NONE &&
        unit_count_at(arena, slot) == WDB_ARENA_CHUNK_UNITS) {
        arena->spare = slot;
    } else {
        chunk_retire(arena, slot);
    }
}

/* Empty the block at the victim's cursor; false if there is no room for what
 * is in it. */
static bool compact_block(struct wdb_arena *arena,
                          const struct wdb_arena_owner *owner, bool may_grow)
{
    wdb_ref from = ref_of(arena->victim, arena->victim_unit);
    uint32_t *words = wdb_arena_words(arena, from);
    if (WDB_ARENA_KIND_OF(words[0]) == 0) {
        uint32_t units = words[0] & SIZE_MASK;
        wdb_assert(units > 0);
        if (words[0] & LINKED) {
            list_remove(arena, from, units);
        }
        arena->victim_unit += units;
        return true;
    }
    uint32_t units = owner->units(words);
    wdb_ref to;
    if (wdb_arena_alloc(arena, units, may_grow, &to) != 0) {
        return false;
    }
    uint32_t *target = wdb_arena_words(arena, to);
    for (uint32_t i = 0; i < units; i++) {
        wdb_word_store(&target[i], words[i]);
    }
    owner->moved(owner->context, from, to);
    use_at(arena, arena->victim)->live_count -= units;
    arena->live_count -= units;
    arena->victim_unit += units;
    return true;
}

void wdb_arena_compact(struct wdb_arena *arena,
                       const struct wdb_arena_owner *owner, uint32_t limit,
                       bool may_grow)
{
    if (arena->victim == WDB_ARENA_CHUNK_NONE) {
        if (!is_sparse(arena)) {
            return;
        }
        choose_victim(arena);
    }
    while (arena->victim != WDB_ARENA_CHUNK_NONE && limit > 0) {
        if (!compact_block(arena, owner, may_grow)) {
            return;
        }
        if (arena->victim_unit == unit_count_at(arena, arena->victim)) {
            finish_victim(arena);
        }
        limit--;
    }
}

uint64_t wdb_arena_memory(const struct wdb_arena *arena)
{
    return arena->unit_count * WDB_ARENA_UNIT + arena->directory_size;
}
