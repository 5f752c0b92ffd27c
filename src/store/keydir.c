/*
 * keydir.c - stripes, items and scans over the tables of keydir_table.h.
 *
 * A stripe's table is made by its first put. While stripes are loaded by
 * several threads nothing is shared between them but the array of pointers.
 */
#include "store/keydir.h"

#include <stdlib.h>

#include "base/assert.h"
#include "store/keydir_table.h"
#include "walkerdb.h"

#define SCAN_BITS    48
#define STRIPE_MAX   1024 /* with BUCKET_COUNT_MAX, 36 bits of a hash */
#define RANDOM_SLOTS 32   /* keys that a bucket hardly ever exceeds */
#define RANDOM_TRIES 256  /* then the nearest key will do */

struct wdb_keydir {
    uint32_t stripe_count;
    uint32_t stripe_bits;
    struct wdb_siphash_key hash_key;
    struct wdb_epoch *epoch;
    uint64_t count_hint; /* for one stripe */
    _Atomic(struct wdb_table *) tables[];
};

/* ---- stripes ------------------------------------------------------------- */

int wdb_keydir_new(const struct wdb_keydir_options *options,
                   struct wdb_keydir **out)
{
    uint32_t count = options->stripe_count;
    wdb_assert(count > 0 && count <= STRIPE_MAX && (count & (count - 1)) == 0);
    struct wdb_keydir *keydir =
        malloc(sizeof(*keydir) + count * sizeof(keydir->tables[0]));
    if (keydir == NULL) {
        return WALKERDB_ENOMEM;
    }
    keydir->stripe_count = count;
    keydir->stripe_bits = (uint32_t)__builtin_ctz(count);
    keydir->hash_key = *options->hash_key;
    keydir->epoch = options->epoch;
    keydir->count_hint = options->count_hint / count;
    for (uint32_t i = 0; i < count; i++) {
        atomic_init(&keydir->tables[i], NULL);
    }
    *out = keydir;
    return 0;
}

void wdb_keydir_free(struct wdb_keydir *keydir)
{
    if (keydir == NULL) {
        return;
    }
    for (uint32_t i = 0; i < keydir->stripe_count; i++) {
        wdb_table_free(
            atomic_load_explicit(&keydir->tables[i], memory_order_acquire));
    }
    free(keydir);
}

/* NULL if nothing was ever put into the stripe. */
static struct wdb_table *table_at(const struct wdb_keydir *keydir,
                                  uint32_t stripe)
{
    return atomic_load_explicit(&keydir->tables[stripe], memory_order_acquire);
}

static struct wdb_table *table_for(const struct wdb_keydir *keydir,
                                   uint64_t hash)
{
    return table_at(keydir, (uint32_t)hash & (keydir->stripe_count - 1));
}

/* A little more room than the average, since stripes differ by about the root
 * of it; a database of a few keys has only what the table needs at least. */
static uint64_t hint_of_stripe(const struct wdb_keydir *keydir)
{
    uint64_t hint = keydir->count_hint;
    uint64_t root = 1;
    while (root * root < hint) {
        root *= 2;
    }
    return hint == 0 ? 0 : hint + 2 * root;
}

static int table_ensure(struct wdb_keydir *keydir, uint64_t hash,
                        struct wdb_table **out)
{
    *out = table_for(keydir, hash);
    if (WDB_LIKELY(*out != NULL)) {
        return 0;
    }
    int rc = wdb_table_new(keydir->stripe_bits, &keydir->hash_key,
                           keydir->epoch, hint_of_stripe(keydir), out);
    if (rc == 0) {
        atomic_store_explicit(
            &keydir->tables[hash & (keydir->stripe_count - 1)], *out,
            memory_order_release);
    }
    return rc;
}

/* Debug builds notice two writers at once: one of them has no lock. */
static void begin_change(struct wdb_table *table)
{
#ifdef WDB_DEBUG
    wdb_assert(!atomic_exchange_explicit(&table->is_changing, true,
                                         memory_order_relaxed));
#else
    (void)table;
#endif
}
static void end_change(struct wdb_table *table)
{
    wdb_table_count_memory(table);
#ifdef WDB_DEBUG
    atomic_store_explicit(&table->is_changing, false, memory_order_relaxed);
#endif
}

/* A counter that one writer at a time changes and anybody reads. */
static void counter_add(_Atomic uint64_t *counter, int64_t change)
{
    uint64_t value = atomic_load_explicit(counter, memory_order_relaxed);
    atomic_store_explicit(counter, value + (uint64_t)change,
                          memory_order_relaxed);
}

/* ---- one key ------------------------------------------------------------- */

static bool has_expiry(const struct wdb_item *item)
{
    return item->flags & WDB_ITEM_EXPIRY;
}

bool wdb_keydir_get(const struct wdb_keydir *keydir, uint64_t hash,
                    struct wdb_slice key, struct wdb_item *out)
{
    struct wdb_table *table = table_for(keydir, hash);
    struct wdb_found found;
    if (table == NULL || !wdb_table_find(table, hash, key, &found)) {
        return false;
    }
    wdb_item_decode(found.words, out);
    return true;
}

static int insert(struct wdb_table *table, uint64_t hash, struct wdb_slice key,
                  const struct wdb_item *item)
{
    uint32_t units = wdb_item_units(has_expiry(item), key.size);
    wdb_ref ref;
    int rc = wdb_arena_alloc(&table->arena, units, true, &ref);
    if (rc != 0) {
        return rc;
    }
    wdb_item_encode(wdb_arena_words(&table->arena, ref), item, key);
    rc = wdb_table_insert(table, hash, ref);
    if (rc != 0) {
        wdb_arena_free(&table->arena, ref, units);
        return rc;
    }
    counter_add(&table->count, 1);
    counter_add(&table->expiry_count, has_expiry(item));
    wdb_table_grow(table);
    return 0;
}

static int replace(struct wdb_table *table, const struct wdb_found *found,
                   struct wdb_slice key, const struct wdb_item *item)
{
    bool had_expiry = wdb_item_flags(found->words) & WDB_ITEM_EXPIRY;
    if (had_expiry == has_expiry(item)) {
        wdb_item_update(found->words, item);
        return 0;
    }
    uint32_t old_units = wdb_item_units(had_expiry, key.size);
    uint32_t units = wdb_item_units(has_expiry(item), key.size);
    wdb_ref old = wdb_table_ref(table, found);
    wdb_ref ref;
    int rc = wdb_arena_alloc(&table->arena, units, true, &ref);
    if (rc != 0) {
        return rc;
    }
    wdb_item_encode(wdb_arena_words(&table->arena, ref), item, key);
    wdb_table_set_ref(table, found, ref);
    wdb_arena_free(&table->arena, old, old_units);
    counter_add(&table->expiry_count, had_expiry ? -1 : 1);
    wdb_table_shrink(table, true);
    return 0;
}

int wdb_keydir_put(struct wdb_keydir *keydir, uint64_t hash,
                   struct wdb_slice key, const struct wdb_item *item,
                   struct wdb_item *old_out, bool *existed_out)
{
    wdb_debug_assert(hash == wdb_siphash13(&keydir->hash_key, key));
    wdb_assert(item->expiry_ms == 0 || has_expiry(item));
    struct wdb_table *table;
    int rc = table_ensure(keydir, hash, &table);
    if (rc != 0) {
        return rc;
    }
    begin_change(table);
    struct wdb_found found;
    struct wdb_item old = {0};
    bool existed = wdb_table_find(table, hash, key, &found);
    if (existed) {
        wdb_item_decode(found.words, &old);
        rc = replace(table, &found, key, item);
    } else {
        rc = insert(table, hash, key, item);
    }
    end_change(table);
    if (rc == 0 && old_out != NULL) {
        *old_out = old;
    }
    if (rc == 0 && existed_out != NULL) {
        *existed_out = existed;
    }
    return rc;
}

bool wdb_keydir_delete(struct wdb_keydir *keydir, uint64_t hash,
                       struct wdb_slice key, struct wdb_item *old_out)
{
    struct wdb_table *table = table_for(keydir, hash);
    struct wdb_found found;
    if (table == NULL || !wdb_table_find(table, hash, key, &found)) {
        return false;
    }
    begin_change(table);
    struct wdb_item old;
    wdb_item_decode(found.words, &old);
    wdb_ref ref = wdb_table_ref(table, &found);
    wdb_table_remove(table, &found);
    wdb_arena_free(&table->arena, ref,
                   wdb_item_units(has_expiry(&old), key.size));
    counter_add(&table->count, -1);
    counter_add(&table->expiry_count, -(int64_t)has_expiry(&old));
    wdb_table_shrink(table, false);
    end_change(table);
    if (old_out != NULL) {
        *old_out = old;
    }
    return true;
}

bool wdb_keydir_move(struct wdb_keydir *keydir, uint64_t hash,
                     struct wdb_slice key, wdb_position from, wdb_position to)
{
    struct wdb_table *table = table_for(keydir, hash);
    struct wdb_found found;
    if (table == NULL || !wdb_table_find(table, hash, key, &found) ||
        wdb_item_position(found.words) != from) {
        return false;
    }
    wdb_assert(to >> WDB_POSITION_BITS == 0);
    wdb_item_set_position(found.words, to);
    return true;
}

/* ---- prefetch passes ----------------------------------------------------- */

void wdb_keydir_probe_bucket(const struct wdb_keydir *keydir, uint64_t hash,
                             struct wdb_keydir_probe *probe)
{
    const struct wdb_table *table = table_for(keydir, hash);
    probe->table = table;
    probe->bucket = NULL;
    probe->entry = NULL;
    if (table != NULL) {
        probe->bucket = wdb_table_peek_bucket(table, hash, &probe->tag);
        WDB_PREFETCH(probe->bucket);
    }
}

void wdb_keydir_probe_entry(struct wdb_keydir_probe *probe)
{
    if (probe->bucket == NULL) {
        return;
    }
    probe->entry =
        wdb_table_peek_entry(probe->table, probe->bucket, probe->tag);
    if (probe->entry != NULL) {
        WDB_PREFETCH(probe->entry);
        WDB_PREFETCH(probe->entry + WDB_ITEM_HALF);
    }
}

wdb_position wdb_keydir_probe_position(const struct wdb_keydir_probe *probe)
{
    const uint32_t *words = probe->entry;
    if (words == NULL) {
        return 0;
    }
    uint32_t seen[2] = {wdb_word_load(&words[0]), wdb_word_load(&words[1])};
    return WDB_ARENA_KIND_OF(seen[0]) == WDB_KIND_ENTRY
               ? wdb_item_position(seen)
               : 0;
}

void wdb_keydir_find_hash(const struct wdb_keydir *keydir, uint64_t hash,
                          uint64_t mask, wdb_keydir_cb callback, void *context)
{
    wdb_assert((mask & WDB_KEYDIR_MASK_MIN) == WDB_KEYDIR_MASK_MIN);
    const struct wdb_table *table = table_for(keydir, hash);
    if (table == NULL) {
        return;
    }
    uint32_t cursor = 0;
    wdb_ref ref;
    while (wdb_table_next_tagged(table, hash, &cursor, &ref)) {
        const uint32_t *words = wdb_arena_words(&table->arena, ref);
        uint64_t key_hash = wdb_table_hash(table, words);
        if (((key_hash ^ hash) & mask) == 0) {
            struct wdb_item item;
            wdb_item_decode(words, &item);
            callback(context, wdb_item_key(words), key_hash, &item);
        }
    }
}

/* ---- statistics ---------------------------------------------------------- */

uint64_t wdb_keydir_count(const struct wdb_keydir *keydir)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < keydir->stripe_count; i++) {
        sum += wdb_keydir_stripe_count(keydir, i);
    }
    return sum;
}

uint64_t wdb_keydir_stripe_count(const struct wdb_keydir *keydir,
                                 uint32_t stripe)
{
    const struct wdb_table *table = table_at(keydir, stripe);
    return table == NULL
               ? 0
               : atomic_load_explicit(&table->count, memory_order_relaxed);
}

uint64_t wdb_keydir_expiry_count(const struct wdb_keydir *keydir)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < keydir->stripe_count; i++) {
        const struct wdb_table *table = table_at(keydir, i);
        if (table != NULL) {
            sum += atomic_load_explicit(&table->expiry_count,
                                        memory_order_relaxed);
        }
    }
    return sum;
}

uint64_t wdb_keydir_memory(const struct wdb_keydir *keydir)
{
    uint64_t sum =
        sizeof(*keydir) + keydir->stripe_count * sizeof(keydir->tables[0]);
    for (uint32_t i = 0; i < keydir->stripe_count; i++) {
        const struct wdb_table *table = table_at(keydir, i);
        if (table != NULL) {
            sum += atomic_load_explicit(&table->memory, memory_order_relaxed);
        }
    }
    return sum;
}

/* ---- random keys --------------------------------------------------------- */

/* Which key of the bucket has that number; false if it has fewer. */
static bool bucket_pick(const struct wdb_table *table, uint32_t index,
                        uint64_t number, wdb_ref *out)
{
    uint32_t cursor = 0;
    while (wdb_table_next(table, index, &cursor, out)) {
        if (number == 0) {
            return true;
        }
        number--;
    }
    return false;
}

/*
 * A bucket and one of RANDOM_SLOTS places in it are drawn until there is a key,
 * so each key has the same chance, however full its bucket is.
 */
bool wdb_keydir_random(const struct wdb_keydir *keydir, uint32_t stripe,
                       struct wdb_random *random, struct wdb_slice *key_out,
                       struct wdb_item *item_out)
{
    const struct wdb_table *table = table_at(keydir, stripe);
    if (table == NULL || wdb_keydir_stripe_count(keydir, stripe) == 0) {
        return false;
    }
    uint32_t buckets =
        atomic_load_explicit(&table->bucket_count, memory_order_relaxed);
    wdb_ref ref = 0;
    bool is_found = false;
    for (int i = 0; !is_found && i < RANDOM_TRIES; i++) {
        is_found =
            bucket_pick(table, (uint32_t)wdb_random_below(random, buckets),
                        wdb_random_below(random, RANDOM_SLOTS), &ref);
    }
    uint32_t index = (uint32_t)wdb_random_below(random, buckets);
    while (!is_found) {
        is_found = bucket_pick(table, index, 0, &ref);
        index = (index + 1) % buckets;
    }
    const uint32_t *words = wdb_arena_words(&table->arena, ref);
    *key_out = wdb_item_key(words);
    if (item_out != NULL) {
        wdb_item_decode(words, item_out);
    }
    return true;
}

/* ---- scan ---------------------------------------------------------------- */

static uint64_t reverse_bits(uint64_t x)
{
    x = (x >> 1 & 0x5555555555555555) | (x & 0x5555555555555555) << 1;
    x = (x >> 2 & 0x3333333333333333) | (x & 0x3333333333333333) << 2;
    x = (x >> 4 & 0x0f0f0f0f0f0f0f0f) | (x & 0x0f0f0f0f0f0f0f0f) << 4;
    return __builtin_bswap64(x);
}

/* The point of a hash on the line, and back (its low 48 bits). */
static uint64_t line_point(uint64_t hash)
{
    return reverse_bits(hash) >> (64 - SCAN_BITS);
}
static uint64_t line_hash(uint64_t point)
{
    return reverse_bits(point << (64 - SCAN_BITS));
}

uint32_t wdb_keydir_scan_stripe(const struct wdb_keydir *keydir,
                                uint64_t cursor)
{
    return (uint32_t)line_hash(cursor) & (keydir->stripe_count - 1);
}

uint64_t wdb_keydir_scan(const struct wdb_keydir *keydir, uint64_t cursor,
                         wdb_keydir_cb callback, void *context)
{
    cursor &= (UINT64_C(1) << SCAN_BITS) - 1;
    uint64_t hash = line_hash(cursor);
    const struct wdb_table *table = table_for(keydir, hash);
    uint32_t bits = keydir->stripe_bits; /* that this step's bucket shares */
    if (table != NULL) {
        uint32_t count =
            atomic_load_explicit(&table->bucket_count, memory_order_relaxed);
        uint32_t index =
            wdb_table_bucket_index(hash >> keydir->stripe_bits, count);
        bits += wdb_table_bucket_bits(index, count);
        uint32_t place = 0;
        wdb_ref ref;
        while (wdb_table_next(table, index, &place, &ref)) {
            const uint32_t *words = wdb_arena_words(&table->arena, ref);
            uint64_t key_hash = wdb_table_hash(table, words);
            if (line_point(key_hash) < cursor) {
                continue; /* visited before this bucket was merged */
            }
            struct wdb_item item;
            wdb_item_decode(words, &item);
            callback(context, wdb_item_key(words), key_hash, &item);
        }
    }
    uint32_t span = SCAN_BITS - bits;
    return ((cursor >> span) + 1) << span & ((UINT64_C(1) << SCAN_BITS) - 1);
}
