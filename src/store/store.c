/* store.c - opens and closes the engine; options and statistics. */
#include "store/store.h"

#include <stdlib.h>
#include <string.h>

#include "store/background.h"
#include "store/merge.h"
#include "store/store_internal.h"

void wdb_store_options_init(struct wdb_store_options *options)
{
    *options = (struct wdb_store_options){
        .stripe_count = WDB_STRIPE_COUNT_DEFAULT,
        .verify_on_read = true,
        .merge_enabled = true,
        .merge_ratio = 0.5,
        .merge_rate = (uint64_t)64 << 20,
        .merge_free_space_min = (uint64_t)1 << 30,
        .hints = true,
    };
    wdb_log_options_init(&options->log);
}

/* --- open ------------------------------------------------------------------
 */

static void init_mutex(pthread_mutex_t *mutex)
{
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_ADAPTIVE_NP);
    pthread_mutex_init(mutex, &attributes);
    pthread_mutexattr_destroy(&attributes);
}

static int make_stripes(struct wdb_store *store)
{
    const size_t size = store->stripe_count * sizeof(*store->stripes);
    void *memory;
    if (posix_memalign(&memory, WDB_CACHE_LINE, size) != 0) {
        return WALKERDB_ENOMEM;
    }
    memset(memory, 0, size);
    store->stripes = memory;
    for (uint32_t i = 0; i < store->stripe_count; i++) {
        struct wdb_stripe *stripe = &store->stripes[i];
        init_mutex(&stripe->mutex);
        wdb_links_init(&stripe->headers);
    }
    return 0;
}

static void free_stripes(struct wdb_store *store)
{
    for (uint32_t i = 0; i < store->stripe_count; i++) {
        wdb_expiry_release(&store->stripes[i]);
        pthread_mutex_destroy(&store->stripes[i].mutex);
    }
    free(store->stripes);
}

static bool options_are_sound(const struct wdb_store_options *options)
{
    const uint32_t stripes = options->stripe_count;
    return stripes <= WDB_STRIPE_COUNT_MAX && (stripes & (stripes - 1)) == 0 &&
           options->merge_ratio > 0;
}

/* Everything that needs no log. */
static int make(const struct wdb_store_options *options, struct wdb_store **out)
{
    if (!options_are_sound(options)) {
        return WALKERDB_EINVALID;
    }
    struct wdb_store *store = calloc(1, sizeof(*store));
    if (store == NULL) {
        return WALKERDB_ENOMEM;
    }
    store->options = *options;
    store->env = options->log.env;
    store->stripe_count = options->stripe_count == 0 ? WDB_STRIPE_COUNT_DEFAULT
                                                     : options->stripe_count;
    store->reserve = malloc(WDB_UNDO_RESERVE_SIZE);
    int rc = store->reserve == NULL ? WALKERDB_ENOMEM : make_stripes(store);
    if (rc != 0) {
        free(store->reserve);
        free(store);
        return rc;
    }
    pthread_mutex_init(&store->undo_mutex, NULL);
    pthread_mutex_init(&store->reserve_mutex, NULL);
    wdb_databases_init(store);
    wdb_registry_init(store);
    *out = store;
    return 0;
}

/* Free what make() made, and all that was put into it. Nobody is inside. */
static void unmake(struct wdb_store *store)
{
    wdb_undo_release(store);
    wdb_ordered_free(store->ordered);
    wdb_registry_release(store);
    wdb_databases_release(store);
    free_stripes(store);
    pthread_mutex_destroy(&store->undo_mutex);
    pthread_mutex_destroy(&store->reserve_mutex);
    free(store->reserve);
    free(atomic_load(&store->follow_block));
    free(store);
}

int wdb_store_open(const struct wdb_store_options *options,
                   struct wdb_store **out, char **message_out)
{
    struct wdb_store *store;
    int rc = make(options, &store);
    if (rc != 0) {
        return rc;
    }
    static_assert(sizeof(store->hash_key) == sizeof(options->hash_key),
                  "a key of SipHash");
    if (options->has_hash_key) {
        memcpy(&store->hash_key, options->hash_key, sizeof(store->hash_key));
    } else {
        store->env->ops->random(store->env, &store->hash_key,
                                sizeof(store->hash_key));
    }
    rc = wdb_log_open(&options->log, &store->log, message_out);
    if (rc != 0) {
        unmake(store);
        return rc;
    }
    if (options->log.read_only && wdb_log_is_cluster(store->log)) {
        store->options.log.manual_commit = true; /* as the log does */
    }
    rc = options->ordered ? wdb_ordered_new(&store->ordered) : 0;
    if (rc == 0) {
        rc = wdb_store_load(store, message_out);
    }
    if (rc == 0) {
        rc = wdb_merge_new(store);
    }
    if (rc == 0) {
        rc = wdb_background_start(store);
    }
    if (rc != 0) {
        wdb_store_abandon(store);
        return rc;
    }
    *out = store;
    return 0;
}

/* --- close -----------------------------------------------------------------
 */

void wdb_store_close(struct wdb_store *store)
{
    if (store == NULL) {
        return;
    }
    wdb_background_stop(store);
    wdb_merge_free(store);
    struct wdb_log *log = store->log;
    unmake(store);
    wdb_log_close(log);
}

void wdb_store_abandon(struct wdb_store *store)
{
    wdb_background_stop(store);
    wdb_merge_free(store);
    struct wdb_log *log = store->log;
    unmake(store);
    wdb_log_abandon(log);
}

struct wdb_log *wdb_store_log(struct wdb_store *store)
{
    return store->log;
}

struct wdb_env *wdb_store_env(struct wdb_store *store)
{
    return store->env;
}

struct wdb_ordered *wdb_store_ordered(const struct wdb_store *store)
{
    return store->ordered;
}

void wdb_store_account(struct wdb_store *store, wdb_position position,
                       int64_t size)
{
    if (position == 0 || wdb_position_is_staged(position)) {
        return;
    }
    struct wdb_segment *segment =
        wdb_log_segment(store->log, wdb_position_slot(position));
    if (WDB_LIKELY(segment != NULL)) {
        atomic_fetch_add_explicit(&segment->bytes_dead, (uint64_t)size,
                                  memory_order_relaxed);
    }
}

void wdb_store_account_kind(struct wdb_store *store, enum wdb_record_kind kind,
                            wdb_position position, uint64_t size)
{
    struct wdb_segment *segment =
        wdb_log_segment(store->log, wdb_position_slot(position));
    wdb_assert(segment != NULL);
    if (kind == WDB_RECORD_DELETE || kind == WDB_RECORD_ELEMENT_DELETE) {
        atomic_fetch_add_explicit(&segment->bytes_tombstone, size,
                                  memory_order_relaxed);
    } else if (kind == WDB_RECORD_EXPIRE) {
        atomic_fetch_add_explicit(&segment->bytes_dead, size,
                                  memory_order_relaxed);
    }
}

/* --- statistics ------------------------------------------------------------
 */

static void count_keydirs(struct wdb_store *store,
                          struct wdb_store_stats *stats)
{
    const int slot = wdb_epoch_enter(wdb_log_epoch(store->log));
    for (uint32_t n = 0; n < WDB_DATABASE_COUNT; n++) {
        const struct wdb_keydir *keydir =
            atomic_load(&store->databases.keydirs[n]);
        if (keydir != NULL) {
            stats->key_count += wdb_keydir_count(keydir);
            stats->expiry_count += wdb_keydir_expiry_count(keydir);
            stats->keydir_memory += wdb_keydir_memory(keydir);
        }
    }
    for (uint32_t i = 0; i < store->stripe_count; i++) {
        stats->heap_memory += wdb_expiry_memory(&store->stripes[i]);
    }
    wdb_epoch_exit(wdb_log_epoch(store->log), slot);
    if (store->ordered != NULL) {
        stats->ordered_memory = wdb_ordered_memory(store->ordered);
    }
}

static int count_segments(struct wdb_store *store,
                          struct wdb_store_stats *stats)
{
    struct wdb_segment **segments;
    size_t count;
    const int rc = wdb_log_segments(store->log, &segments, &count);
    if (rc != 0) {
        return rc;
    }
    for (size_t i = 0; i < count; i++) {
        const uint64_t used = wdb_segment_used(segments[i]);
        uint64_t dead = atomic_load(&segments[i]->bytes_dead);
        dead = dead < used ? dead : used;
        stats->bytes_dead += dead;
        stats->bytes_live += used - dead;
        if (atomic_load(&segments[i]->sealed)) {
            stats->bytes_reclaimable += dead;
        }
        wdb_segment_drop(segments[i]);
    }
    free(segments);
    return 0;
}

void wdb_store_stats(struct wdb_store *store, struct wdb_store_stats *out)
{
    *out = (struct wdb_store_stats){
        .undo_memory =
            atomic_load(&store->undo_memory) + wdb_undo_ring_memory(store),
        .load_duration_ms = store->load_duration_ms,
        .load_hint_count = store->load_hint_count,
        .load_scan_count = store->load_scan_count,
        .cold_read_count = atomic_load(&store->cold_read_count),
        .cold_read_ns = atomic_load(&store->cold_read_ns),
    };
    wdb_log_stats(store->log, &out->log);
    count_keydirs(store, out);
    wdb_merge_stats(store, out);
    if (count_segments(store, out) != 0) {
        return;
    }
    out->log.bytes_dead = out->bytes_dead;
}
