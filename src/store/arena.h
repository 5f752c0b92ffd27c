/*
 * arena.h - the memory of one stripe's entries: blocks of 16 bytes and more,
 * named by 32-bit refs in units of 4 bytes.
 *
 * A ref is (slot of a chunk in the directory) << 11 | unit in the chunk. Chunks
 * have 512 bytes to 8 KiB (jemalloc serves these without waste), in proportion
 * to what the arena holds; a block above 2 KiB gets a chunk of its own. Blocks
 * do not move by themselves; freed ones are kept in lists by size class, and
 * when much of the arena is free, wdb_arena_compact empties one chunk after the
 * other, with the owner's help.
 *
 * The first word of a block says what it is, so that a chunk can be walked:
 *
 *   31..30  kind: 0 free, else the owner's
 *   29..0   free: linked << 29 | size in units; else the owner's
 *
 * Threads: the owner's lock, except for wdb_arena_peek. Words that a peek may
 * read are written with wdb_word_store only. Chunks are retired through the
 * epoch that peeks run inside; directories live as long as the arena (they
 * double, so that is at most as much again).
 */
#ifndef WDB_STORE_ARENA_H
#define WDB_STORE_ARENA_H

#include <stdatomic.h>
#include <stdbool.h>

#include "base/attributes.h"
#include "base/epoch.h"

#define WDB_ARENA_UNIT          4
#define WDB_ARENA_BLOCK_MIN     4   /* units */
#define WDB_ARENA_BLOCK_MAX     512 /* units, of blocks that share a chunk */
#define WDB_ARENA_CHUNK_BITS    11  /* of a ref: the unit in its chunk */
#define WDB_ARENA_CHUNK_UNITS   (1U << WDB_ARENA_CHUNK_BITS)
#define WDB_ARENA_CLASS_EXACT   64 /* units; up to here a class for each size */
#define WDB_ARENA_CLASS_COUNT   73
#define WDB_ARENA_CHUNK_NONE    UINT32_MAX
#define WDB_ARENA_KIND_SHIFT    30
#define WDB_ARENA_KIND_OF(word) ((word) >> WDB_ARENA_KIND_SHIFT)

/* Place of a block; 0 is none. */
typedef uint32_t wdb_ref;

/* The units 0 to 7 of a chunk's numbering are this header: seldom touched, and
 * of half a cache line, so that no block of 32 bytes lies in two lines. */
struct wdb_arena_chunk {
    struct wdb_epoch_retired retired;
    uint64_t reserved;
} __attribute__((aligned(32)));
#define WDB_ARENA_CHUNK_HEADER (sizeof(struct wdb_arena_chunk) / WDB_ARENA_UNIT)

struct wdb_arena_use {
    uint32_t unit_count; /* header included */
    uint32_t live_count; /* units in blocks that are in use */
};

/* Chunks begin at cache lines; the low bits of their addresses say how large
 * they are, so a peek needs this one word: 128 << size units, or one block. */
typedef uintptr_t wdb_arena_chunk_word;
#define WDB_ARENA_CHUNK_UNITS_MIN 128U
#define WDB_ARENA_CHUNK_ALONE     5 /* size of those that hold one large block */
#define WDB_ARENA_CHUNK_SIZE_MASK ((uintptr_t)WDB_CACHE_LINE - 1)

struct wdb_arena_directory {
    struct wdb_arena_directory *older;
    struct wdb_arena_use *uses;            /* behind the chunks, one for each */
    _Atomic wdb_arena_chunk_word chunks[]; /* 0: none */
};

struct wdb_arena {
    _Atomic(struct wdb_arena_directory *) directory; /* NULL at first */
    /* Slots of it. Stored after the directory, loaded before it. */
    _Atomic uint32_t directory_capacity;
    struct wdb_epoch *epoch; /* may be NULL */
    uint32_t slot_count;     /* slots of the directory ever used */
    uint32_t slot_free;      /* none below is free */
    uint32_t chunk_count;
    uint32_t current;     /* slot of the chunk that is filled, or NONE */
    uint32_t bump;        /* first unit of it that was never used */
    uint32_t victim;      /* slot of the chunk that is being emptied, or NONE */
    uint32_t victim_unit; /* what lies before is empty */
    uint32_t spare;       /* slot of an empty chunk, or NONE */
    uint64_t unit_count;  /* of all chunks */
    uint64_t live_count;  /* units in use */
    uint64_t directory_size; /* bytes of all directories */
    uint64_t lists_used[2];  /* a bit for each list that is not empty */
    wdb_ref lists[WDB_ARENA_CLASS_COUNT];
};

static inline void wdb_word_store(uint32_t *word, uint32_t value)
{
    __atomic_store_n(word, value, __ATOMIC_RELAXED);
}
static inline uint32_t wdb_word_load(const uint32_t *word)
{
    return __atomic_load_n(word, __ATOMIC_RELAXED);
}

/* Empty; allocates nothing. With epoch NULL, chunks are freed at once: nobody
 * may peek beside the owner then. */
void wdb_arena_init(struct wdb_arena *arena, struct wdb_epoch *epoch);
/* Free everything at once: nobody peeks any more. */
void wdb_arena_release(struct wdb_arena *arena);
/* Forget all blocks; the chunks are retired. Never allocates. */
void wdb_arena_reset(struct wdb_arena *arena);

/* Units that a block for that many bytes takes. */
uint32_t wdb_arena_units(uint64_t size);
/*
 * A block of `units` (as wdb_arena_units gave it); its content is undefined and
 * its first word must get a kind other than 0 at once. ENOMEM; without
 * may_grow also if new memory would be needed.
 */
WDB_MUST_CHECK int wdb_arena_alloc(struct wdb_arena *arena, uint32_t units,
                                   bool may_grow, wdb_ref *out);
/* Give a block of that many units back. Never allocates. */
void wdb_arena_free(struct wdb_arena *arena, wdb_ref ref, uint32_t units);

/* The words of a block. */
static inline uint32_t *wdb_arena_words(const struct wdb_arena *arena,
                                        wdb_ref ref)
{
    struct wdb_arena_directory *directory =
        atomic_load_explicit(&arena->directory, memory_order_relaxed);
    const wdb_arena_chunk_word word =
        atomic_load_explicit(&directory->chunks[ref >> WDB_ARENA_CHUNK_BITS],
                             memory_order_relaxed);
    return (uint32_t *)(word & ~WDB_ARENA_CHUNK_SIZE_MASK) +
           (ref & (WDB_ARENA_CHUNK_UNITS - 1));
}

/* The same without the lock, inside the epoch: NULL if the ref cannot be right,
 * else at least WDB_ARENA_BLOCK_MIN words of whatever is there by now. */
const uint32_t *wdb_arena_peek(const struct wdb_arena *arena, wdb_ref ref);

/* The owner's part in emptying a chunk. */
struct wdb_arena_owner {
    /* Units of the block whose first word has a kind of the owner. */
    uint32_t (*units)(const uint32_t *words);
    /* Whatever names `from` shall name `to`; the words are copied already. */
    void (*moved)(void *context, wdb_ref from, wdb_ref to);
    void *context;
};
/*
 * If more than 3/8 of the arena is free, move up to `limit` blocks out of a
 * chunk that is to be emptied. Allocates only if may_grow.
 */
void wdb_arena_compact(struct wdb_arena *arena,
                       const struct wdb_arena_owner *owner, uint32_t limit,
                       bool may_grow);

/* Bytes of memory. */
uint64_t wdb_arena_memory(const struct wdb_arena *arena);

#endif
