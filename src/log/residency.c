/* residency.c - remembers which pages the system said are in memory. */
#include "log/residency.h"

#include <assert.h>
#include <stdlib.h>
#include <unistd.h>

#include "walkerdb.h"

#define NS_PER_S         UINT64_C(1000000000)
#define INTERVAL_NS_MIN  (NS_PER_S / 16)
#define INTERVAL_NS_COLD NS_PER_S
#define INTERVAL_NS_MAX  (16 * NS_PER_S)
/* So many remembered answers are enough to judge by; a question costs about so
 * much, and all together no more than this part of the time. */
#define JUDGED_MIN     256
#define QUESTION_NS    UINT64_C(2000)
#define QUESTIONS_PART 4

/* A window is what one question covers: a word of bits, a bit per page. */
#define PAGE_SHIFT   12
#define WINDOW_SHIFT 18
#define WINDOW_SIZE  (UINT64_C(1) << WINDOW_SHIFT)
#define WINDOW_PAGES (WINDOW_SIZE >> PAGE_SHIFT)
static_assert(WINDOW_PAGES == 64, "a window's pages are the bits of a word");
#define PIECE_WINDOWS 256
#define PIECE_SHIFT   (WINDOW_SHIFT + 8)
static_assert(UINT64_C(1) << PIECE_SHIFT == PIECE_WINDOWS * WINDOW_SIZE,
              "a piece is a run of windows");

/* The bits of 64 MiB; generation g is in bits[g % 2]. */
struct piece {
    _Atomic uint64_t bits[2][PIECE_WINDOWS];
    _Atomic bool used[2]; /* some bit may be set */
};

struct wdb_residency {
    struct wdb_residency_clock *clock;
    uint64_t size;
    _Atomic uint64_t generation; /* of the clock, when we last followed */
    size_t piece_count;
    _Atomic(struct piece *) pieces[];
};

#define LOAD(x) atomic_load_explicit(&(x), memory_order_relaxed)
#define STORE(x, value)                                                        \
    atomic_store_explicit(&(x), (value), memory_order_relaxed)

/* --- the clock -------------------------------------------------------------
 */

void wdb_residency_clock_init(struct wdb_residency_clock *clock,
                              uint64_t now_ns)
{
    atomic_init(&clock->generation, 2);
    atomic_init(&clock->begun_ns, now_ns);
    atomic_init(&clock->interval_ns, INTERVAL_NS_COLD);
    atomic_init(&clock->cold, false);
    atomic_init(&clock->asked, 0);
    atomic_init(&clock->kept, 0);
    atomic_init(&clock->gone, 0);
}

static uint64_t take(_Atomic uint64_t *count)
{
    return atomic_exchange_explicit(count, 0, memory_order_relaxed);
}

/* The interval behind one of this length. */
static uint64_t next_interval(struct wdb_residency_clock *clock, bool cold,
                              uint64_t interval_ns)
{
    const uint64_t gone = take(&clock->gone);
    const uint64_t judged = gone + take(&clock->kept);
    const uint64_t asked_ns = take(&clock->asked) * QUESTION_NS;
    if (!cold) {
        return interval_ns < INTERVAL_NS_MAX / 2 ? 2 * interval_ns
                                                 : INTERVAL_NS_MAX;
    }
    if (judged < JUDGED_MIN) {
        return interval_ns;
    }
    if (gone > judged / 32 && asked_ns < interval_ns / QUESTIONS_PART) {
        return interval_ns / 2 > INTERVAL_NS_MIN ? interval_ns / 2
                                                 : INTERVAL_NS_MIN;
    }
    if (gone < judged / 128 || asked_ns > interval_ns / QUESTIONS_PART) {
        return interval_ns < INTERVAL_NS_COLD / 2 ? 2 * interval_ns
                                                  : INTERVAL_NS_COLD;
    }
    return interval_ns;
}

bool wdb_residency_clock_tick(struct wdb_residency_clock *clock,
                              uint64_t now_ns)
{
    uint64_t begun_ns = LOAD(clock->begun_ns);
    const bool cold = LOAD(clock->cold);
    uint64_t interval_ns = LOAD(clock->interval_ns);
    if (cold && interval_ns > INTERVAL_NS_COLD) {
        interval_ns = INTERVAL_NS_COLD;
    }

    if (now_ns < begun_ns || now_ns - begun_ns < interval_ns ||
        !atomic_compare_exchange_strong_explicit(&clock->begun_ns, &begun_ns,
                                                 now_ns, memory_order_relaxed,
                                                 memory_order_relaxed)) {
        return false;
    }
    STORE(clock->interval_ns, next_interval(clock, cold, interval_ns));
    STORE(clock->cold, false);
    atomic_fetch_add_explicit(&clock->generation, 1, memory_order_relaxed);
    return true;
}

/* --- one segment -----------------------------------------------------------
 */

int wdb_residency_new(struct wdb_residency_clock *clock, uint64_t size,
                      struct wdb_residency **out)
{
    const size_t count =
        (size_t)((size + (UINT64_C(1) << PIECE_SHIFT) - 1) >> PIECE_SHIFT);
    struct wdb_residency *residency =
        calloc(1, sizeof(*residency) + count * sizeof(residency->pieces[0]));
    if (residency == NULL) {
        return WALKERDB_ENOMEM;
    }
    residency->clock = clock;
    residency->size = size;
    residency->piece_count = count;
    STORE(residency->generation, LOAD(clock->generation));
    *out = residency;
    return 0;
}

void wdb_residency_free(struct wdb_residency *residency)
{
    if (residency == NULL) {
        return;
    }
    for (size_t i = 0; i < residency->piece_count; i++) {
        free(LOAD(residency->pieces[i]));
    }
    free(residency);
}

static void forget(struct wdb_residency *residency, unsigned which)
{
    for (size_t i = 0; i < residency->piece_count; i++) {
        struct piece *piece =
            atomic_load_explicit(&residency->pieces[i], memory_order_acquire);
        if (piece == NULL || !LOAD(piece->used[which])) {
            continue;
        }
        STORE(piece->used[which], false);
        for (size_t w = 0; w < PIECE_WINDOWS; w++) {
            STORE(piece->bits[which][w], 0);
        }
    }
}

/*
 * Forget what is two or more generations old; returns which bits are the new
 * ones. Others may look at old bits, or set some, while they are being
 * cleared: an answer that is a moment too old.
 */
static unsigned follow(struct wdb_residency *residency)
{
    const uint64_t now = LOAD(residency->clock->generation);
    uint64_t mine = LOAD(residency->generation);
    if (WDB_UNLIKELY(mine != now) &&
        atomic_compare_exchange_strong_explicit(&residency->generation, &mine,
                                                now, memory_order_relaxed,
                                                memory_order_relaxed)) {
        forget(residency, now % 2);
        if (now - mine > 1) {
            forget(residency, (now - 1) % 2);
        }
    }
    return now % 2;
}

/* The piece of a window, made if need be; NULL without memory. */
static struct piece *get_piece(struct wdb_residency *residency, uint64_t window)
{
    _Atomic(struct piece *) *slot = &residency->pieces[window / PIECE_WINDOWS];
    struct piece *piece = atomic_load_explicit(slot, memory_order_acquire);
    if (WDB_LIKELY(piece != NULL)) {
        return piece;
    }
    struct piece *made = calloc(1, sizeof(*made));
    if (made == NULL) {
        return NULL;
    }
    if (!atomic_compare_exchange_strong_explicit(
            slot, &piece, made, memory_order_acq_rel, memory_order_acquire)) {
        free(made);
        return piece;
    }
    return made;
}

static void set_bits(struct piece *piece, unsigned which, uint64_t window,
                     uint64_t bits)
{
    _Atomic uint64_t *word = &piece->bits[which][window % PIECE_WINDOWS];
    if ((LOAD(*word) & bits) == bits) {
        return;
    }
    if (!LOAD(piece->used[which])) {
        STORE(piece->used[which], true);
    }
    atomic_fetch_or_explicit(word, bits, memory_order_relaxed);
}

/* The bits of the pages that [offset, end) touches in a window. */
static uint64_t window_mask(uint64_t window, uint64_t offset, uint64_t end)
{
    const uint64_t start = window << WINDOW_SHIFT;
    const uint64_t from = offset > start ? offset - start : 0;
    const uint64_t to = end - start < WINDOW_SIZE ? end - start : WINDOW_SIZE;
    const uint64_t first = from >> PAGE_SHIFT;
    const uint64_t last = (to - 1) >> PAGE_SHIFT;
    return (UINT64_MAX << first) & (UINT64_MAX >> (WINDOW_PAGES - 1 - last));
}

/* Ask the system about a window; all bits if it does not say. */
static uint64_t probe(const struct wdb_residency *residency,
                      struct wdb_env *env, const void *map, uint64_t window)
{
    unsigned char resident[WINDOW_PAGES];
    const uint64_t start = window << WINDOW_SHIFT;
    const uint64_t left = residency->size - start;
    const uint64_t size = left < WINDOW_SIZE ? left : WINDOW_SIZE;
    const uint64_t page_size = (uint64_t)sysconf(_SC_PAGESIZE);
    const uint64_t bits_per_page = page_size >> PAGE_SHIFT;
    if (bits_per_page == 0 || page_size > WINDOW_SIZE ||
        env->ops->resident(env, (const uint8_t *)map + start, size, resident) !=
            0) {
        return UINT64_MAX;
    }
    uint64_t bits = 0;
    for (uint64_t i = 0; i * page_size < size; i++) {
        if (resident[i] & 1) {
            bits |= (UINT64_MAX >> (WINDOW_PAGES - bits_per_page))
                    << (i * bits_per_page);
        }
    }
    return bits;
}

/* What was remembered of a window, beside what is there now. */
static void judge(struct wdb_residency_clock *clock, uint64_t known,
                  uint64_t bits)
{
    atomic_fetch_add_explicit(&clock->asked, 1, memory_order_relaxed);
    if (known != 0) {
        atomic_fetch_add_explicit(&clock->kept,
                                  (uint64_t)__builtin_popcountll(known & bits),
                                  memory_order_relaxed);
        atomic_fetch_add_explicit(&clock->gone,
                                  (uint64_t)__builtin_popcountll(known & ~bits),
                                  memory_order_relaxed);
    }
}

bool wdb_residency_check(struct wdb_residency *residency, struct wdb_env *env,
                         const void *map, uint64_t offset, uint64_t size)
{
    if (size == 0 || offset >= residency->size) {
        return true;
    }
    const uint64_t left = residency->size - offset;
    const uint64_t end = offset + (size < left ? size : left);
    const unsigned fresh = follow(residency);

    for (uint64_t w = offset >> WINDOW_SHIFT; w <= (end - 1) >> WINDOW_SHIFT;
         w++) {
        struct piece *piece = get_piece(residency, w);
        if (piece == NULL) {
            continue;
        }
        const uint64_t mask = window_mask(w, offset, end);
        const uint64_t known = LOAD(piece->bits[0][w % PIECE_WINDOWS]) |
                               LOAD(piece->bits[1][w % PIECE_WINDOWS]);
        if (WDB_LIKELY((known & mask) == mask)) {
            continue;
        }
        const uint64_t bits = probe(residency, env, map, w);
        judge(residency->clock, known, bits);
        set_bits(piece, fresh, w, bits);
        if ((bits & mask) != mask) {
            STORE(residency->clock->cold, true);
            wdb_residency_clock_tick(residency->clock,
                                     env->ops->monotonic_ns(env));
            return false;
        }
    }
    return true;
}

void wdb_residency_mark(struct wdb_residency *residency, uint64_t offset,
                        uint64_t size)
{
    if (size == 0 || offset >= residency->size) {
        return;
    }
    const uint64_t left = residency->size - offset;
    const uint64_t end = offset + (size < left ? size : left);
    const unsigned fresh = follow(residency);

    for (uint64_t w = offset >> WINDOW_SHIFT; w <= (end - 1) >> WINDOW_SHIFT;
         w++) {
        struct piece *piece = get_piece(residency, w);
        if (piece != NULL) {
            set_bits(piece, fresh, w, window_mask(w, offset, end));
        }
    }
}
