/*
 * api.c - walkerdb.h: the handle, single keys, maintenance.
 *
 * Reads and writes of one key go straight to the store, under the key's stripe.
 * The library uses logical database 0. A thread of the handle writes what puts
 * have gathered (puts themselves only fill memory) and deletes what expired.
 */
#include "db/api.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/assert.h"

#define TICK_BUSY_MS     10
#define TICK_IDLE_MS     100
#define EXPIRE_BUDGET_US 5000
/* Tries to read a value without waiting for the disk under its stripe. */
#define READ_ATTEMPTS 3

/* --- options, open, close -------------------------------------------------- */

void walkerdb_options_init(walkerdb_options *options)
{
    *options = (walkerdb_options){
        .struct_size = sizeof(*options),
        .create = true,
        .sync = WALKERDB_SYNC_INTERVAL,
        .sync_interval_ms = 1000,
        .index = WALKERDB_INDEX_HASH,
        .segment_size = (uint64_t)256 << 20,
        .verify_on_read = true,
        .hints = true,
        .merge = true,
        .merge_ratio = 0.5,
    };
}

void walkerdb_free(void *memory)
{
    free(memory);
}

static void print_line(void *context, enum wdb_log_level level,
                       const char *line)
{
    const struct walkerdb *db = context;
    db->options.log(db->options.context, (int)level, line);
}

static void show_progress(void *context, uint64_t done, uint64_t total)
{
    const struct walkerdb *db = context;
    if (db->options.progress != NULL) {
        db->options.progress(db->options.context, done, total);
    }
}

static bool options_valid(const walkerdb_options *o)
{
    return o->struct_size == sizeof(*o) && o->sync >= WALKERDB_SYNC_NEVER &&
           o->sync <= WALKERDB_SYNC_ALWAYS &&
           (o->index == WALKERDB_INDEX_HASH ||
            o->index == WALKERDB_INDEX_ORDERED) &&
           o->segment_size >= WDB_SEGMENT_SIZE_MIN &&
           o->segment_size <= WDB_SEGMENT_SIZE_MAX && o->merge_ratio > 0 &&
           o->merge_ratio <= 1;
}

static void fill_options(struct walkerdb *db, const char *directory,
                         struct wdb_db_options *out)
{
    const walkerdb_options *o = &db->options;
    *out = (struct wdb_db_options){0};
    struct wdb_store_options *store = &out->store;
    wdb_store_options_init(store);
    store->log.env = db->env;
    store->log.dir = directory;
    store->log.logger = o->log != NULL ? &db->logger : NULL;
    store->log.create = o->create;
    store->log.read_only = o->read_only;
    store->log.segment_size = o->segment_size;
    store->log.leave_room = true;
    store->log.sync_policy = (enum wdb_sync_policy)o->sync;
    store->log.sync_interval_ms = o->sync_interval_ms;
    store->log.sync_bytes = o->sync_bytes;
    store->log.on_progress = show_progress;
    store->log.context = db;
    store->verify_on_read = o->verify_on_read;
    store->ordered = o->index == WALKERDB_INDEX_ORDERED;
    store->merge_enabled = o->merge && !o->read_only;
    store->merge_ratio = o->merge_ratio;
    store->merge_rate = o->merge_rate;
    store->merge_free_space_min = o->merge_free_space_min;
    store->hints = o->hints;
    store->load_threads = o->load_threads;
}

/* The handle's thread. */
static void *keep_house(void *context)
{
    struct walkerdb *db = context;
    uint64_t tick_ms = TICK_IDLE_MS;
    pthread_mutex_lock(&db->stop_lock);
    while (!db->stopping) {
        struct timespec until;
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_nsec += (long)(tick_ms * 1000000);
        until.tv_sec += until.tv_nsec / 1000000000;
        until.tv_nsec %= 1000000000;
        pthread_cond_timedwait(&db->stop_changed, &db->stop_lock, &until);
        if (db->stopping) {
            break;
        }
        pthread_mutex_unlock(&db->stop_lock);
        tick_ms = TICK_IDLE_MS;
        if (wdb_log_dirty(db->log)) {
            (void)!wdb_log_flush(db->log); /* a failure poisons, and is told to
                                             the next who writes */
            tick_ms = TICK_BUSY_MS;
        }
        wdb_db_expire_step(db->db, EXPIRE_BUDGET_US);
        pthread_mutex_lock(&db->stop_lock);
    }
    pthread_mutex_unlock(&db->stop_lock);
    return NULL;
}

static int start_housekeeper(struct walkerdb *db)
{
    pthread_condattr_t attributes;
    pthread_mutex_init(&db->stop_lock, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&db->stop_changed, &attributes);
    pthread_condattr_destroy(&attributes);
    if (db->options.read_only) {
        return 0;
    }
    if (pthread_create(&db->housekeeper, NULL, keep_house, db) != 0) {
        return WALKERDB_ENOMEM;
    }
    db->housekeeper_runs = true;
    return 0;
}

static void destroy(struct walkerdb *db)
{
    wdb_db_close(db->db);
    for (int i = 0; i < WDB_API_BATCH_CACHE; i++) {
        struct wdb_batch *batch = atomic_load(&db->batches[i]);
        if (batch != NULL) {
            wdb_batch_release(batch);
            free(batch);
        }
    }
    if (db->env != NULL) {
        wdb_env_posix_free(db->env);
    }
    free(db);
}

int walkerdb_open(const char *directory, const walkerdb_options *options,
                  walkerdb **out, char **message_out)
{
    walkerdb_options defaults;
    walkerdb_options_init(&defaults);
    if (options == NULL) {
        options = &defaults;
    }
    char *message = NULL;
    if (message_out != NULL) {
        *message_out = NULL;
    }
    if (directory == NULL || out == NULL || !options_valid(options)) {
        return WALKERDB_EINVALID;
    }
    struct walkerdb *db = calloc(1, sizeof(*db));
    if (db == NULL) {
        return WALKERDB_ENOMEM;
    }
    db->options = *options;
    db->logger = (struct wdb_logger){print_line, db, WDB_LOG_DEBUG};
    struct wdb_db_options db_options;
    int code = wdb_env_posix_new(&db->env);
    if (code == 0) {
        fill_options(db, directory, &db_options);
        code = wdb_db_open(&db_options, &db->db, &message);
    }
    if (code == 0) {
        db->store = wdb_db_store(db->db);
        db->log = wdb_db_log(db->db);
        code = start_housekeeper(db);
    }
    if (code != 0) {
        destroy(db);
        if (message_out != NULL) {
            *message_out = message;
        } else {
            free(message);
        }
        return code;
    }
    free(message);
    *out = db;
    return 0;
}

void walkerdb_close(walkerdb *db)
{
    if (db == NULL) {
        return;
    }
    if (db->housekeeper_runs) {
        pthread_mutex_lock(&db->stop_lock);
        db->stopping = true;
        pthread_cond_signal(&db->stop_changed);
        pthread_mutex_unlock(&db->stop_lock);
        pthread_join(db->housekeeper, NULL);
    }
    pthread_cond_destroy(&db->stop_changed);
    pthread_mutex_destroy(&db->stop_lock);
    destroy(db);
}

/* --- shared pieces ------------------------------------------------------------ */

/* Threads spread over the cache by the address of something on their stack. */
static uint32_t cache_slot(void)
{
    uintptr_t mark = (uintptr_t)__builtin_frame_address(0);
    return (uint32_t)((mark >> 16) * UINT64_C(0x9E3779B97F4A7C15) >> 58) %
           WDB_API_BATCH_CACHE;
}

int wdb_api_batch_borrow(struct walkerdb *db, struct wdb_batch **out)
{
    struct wdb_batch *batch =
        atomic_exchange_explicit(&db->batches[cache_slot()], NULL,
                                 memory_order_acq_rel);
    if (batch == NULL) {
        batch = malloc(sizeof(*batch));
        if (batch == NULL) {
            return WALKERDB_ENOMEM;
        }
        wdb_batch_init(batch);
    }
    *out = batch;
    return 0;
}

void wdb_api_batch_return(struct walkerdb *db, struct wdb_batch *batch)
{
    wdb_batch_clear(batch);
    batch = atomic_exchange_explicit(&db->batches[cache_slot()], batch,
                                     memory_order_acq_rel);
    if (batch != NULL) {
        wdb_batch_release(batch);
        free(batch);
    }
}

int wdb_api_check_key(const void *key, size_t key_size)
{
    if (key == NULL && key_size > 0) {
        return WALKERDB_EINVALID;
    }
    return key_size > WALKERDB_KEY_SIZE_MAX ? WALKERDB_ETOOBIG : 0;
}

static int check_value(const void *value, size_t value_size)
{
    if (value == NULL && value_size > 0) {
        return WALKERDB_EINVALID;
    }
    return value_size > WALKERDB_VALUE_SIZE_MAX ? WALKERDB_ETOOBIG : 0;
}

bool wdb_api_find(struct walkerdb *db, const struct wdb_key *key,
                  struct wdb_item *out)
{
    uint32_t database = wdb_store_database(db->store, 0);
    return wdb_store_find(db->store, database, key->hash, key->name, out) &&
           (WDB_LIKELY(out->expiry_ms == 0) ||
            out->expiry_ms > wdb_log_time_ms(db->log));
}

int wdb_api_sync_if(struct walkerdb *db, bool sync)
{
    if (sync || db->options.sync == WALKERDB_SYNC_ALWAYS) {
        return wdb_log_sync(db->log);
    }
    return 0;
}

/* --- reading --------------------------------------------------------------------- */

/* What to do with a value while it is in place. */
typedef int (*use_value)(void *context, const struct wdb_value *value);

/*
 * Find the key and hand its value to `use`, with the stripe held and inside the
 * epoch. A value that is not in memory is fetched without the stripe first.
 */
static int read_key(struct walkerdb *db, const struct wdb_key *key,
                    use_value use, void *context)
{
    uint32_t stripe =
        wdb_stripe_of(key->hash, wdb_store_stripe_count(db->store));
    struct wdb_epoch *epoch = wdb_log_epoch(db->log);
    for (int attempt = 0;; attempt++) {
        struct wdb_item item;
        struct wdb_value value;
        struct wdb_api_read read;
        wdb_store_lock_one(db->store, stripe);
        if (!wdb_api_find(db, key, &item)) {
            wdb_store_unlock_one(db->store, stripe);
            return WALKERDB_ENOTFOUND;
        }
        wdb_api_read_begin(&read, db, attempt >= READ_ATTEMPTS);
        int slot = wdb_epoch_enter(epoch);
        int code = wdb_api_read_value(&read, &item, &value);
        if (WDB_LIKELY(code == 0)) {
            code = use(context, &value);
        }
        wdb_epoch_exit(epoch, slot);
        wdb_store_unlock_one(db->store, stripe);
        const bool again = code == WALKERDB_EAGAIN;
        if (again) {
            code = wdb_api_read_fetch(&read);
        }
        wdb_api_read_end(&read);
        if (!again || code != 0) {
            return code;
        }
    }
}

struct copy_out {
    void *data;
    size_t size;
};

static int copy_to_new(void *context, const struct wdb_value *value)
{
    struct copy_out *out = context;
    size_t size = value->record.value.size;
    out->data = malloc(size == 0 ? 1 : size);
    if (out->data == NULL) {
        return WALKERDB_ENOMEM;
    }
    if (size > 0) {
        memcpy(out->data, value->record.value.data, size);
    }
    out->size = size;
    return 0;
}

int walkerdb_get(walkerdb *db, const void *key, size_t key_size,
                 void **value_out, size_t *value_size_out)
{
    int code = wdb_api_check_key(key, key_size);
    if (code != 0) {
        return code;
    }
    struct wdb_key k = wdb_key(db->store, wdb_slice(key, key_size));
    struct copy_out out = {0};
    code = read_key(db, &k, copy_to_new, &out);
    if (code == 0) {
        *value_out = out.data;
        *value_size_out = out.size;
    }
    return code;
}

struct copy_into {
    void *buffer;
    size_t capacity, size;
};

static int copy_to_buffer(void *context, const struct wdb_value *value)
{
    struct copy_into *out = context;
    out->size = value->record.value.size;
    size_t size = out->size < out->capacity ? out->size : out->capacity;
    if (size > 0) {
        memcpy(out->buffer, value->record.value.data, size);
    }
    return 0;
}

int walkerdb_get_into(walkerdb *db, const void *key, size_t key_size,
                      void *buffer, size_t capacity, size_t *value_size_out)
{
    int code = wdb_api_check_key(key, key_size);
    if (code != 0) {
        return code;
    }
    struct wdb_key k = wdb_key(db->store, wdb_slice(key, key_size));
    struct copy_into out = {buffer, capacity, 0};
    code = read_key(db, &k, copy_to_buffer, &out);
    if (code == 0) {
        *value_size_out = out.size;
    }
    return code;
}

/* A value handed out in place: a reference on its segment, or a copy. */
struct walkerdb_value {
    struct wdb_segment *segment;
    const void *data;
    size_t size;
    uint8_t copy[];
};

static int take_value(void *context, const struct wdb_value *value)
{
    struct walkerdb_value **out = context;
    size_t size = value->record.value.size;
    struct walkerdb_value *taken =
        malloc(sizeof(*taken) + (value->segment == NULL ? size : 0));
    if (taken == NULL) {
        return WALKERDB_ENOMEM;
    }
    taken->segment = value->segment;
    taken->size = size;
    if (value->segment != NULL) {
        wdb_segment_acquire(value->segment);
        taken->data = value->record.value.data;
    } else {
        if (size > 0) {
            memcpy(taken->copy, value->record.value.data, size);
        }
        taken->data = taken->copy;
    }
    *out = taken;
    return 0;
}

int walkerdb_value_acquire(walkerdb *db, const void *key, size_t key_size,
                           walkerdb_value **value_out, const void **data_out,
                           size_t *size_out)
{
    int code = wdb_api_check_key(key, key_size);
    if (code != 0) {
        return code;
    }
    struct wdb_key k = wdb_key(db->store, wdb_slice(key, key_size));
    struct walkerdb_value *value = NULL;
    code = read_key(db, &k, take_value, &value);
    if (code == 0) {
        *value_out = value;
        *data_out = value->data;
        *size_out = value->size;
    }
    return code;
}

void walkerdb_value_release(walkerdb_value *value)
{
    if (value != NULL) {
        if (value->segment != NULL) {
            wdb_segment_drop(value->segment);
        }
        free(value);
    }
}

int walkerdb_expiry(walkerdb *db, const void *key, size_t key_size,
                    uint64_t *expiry_ms_out)
{
    int code = wdb_api_check_key(key, key_size);
    if (code != 0) {
        return code;
    }
    struct wdb_key k = wdb_key(db->store, wdb_slice(key, key_size));
    uint32_t stripe = wdb_stripe_of(k.hash, wdb_store_stripe_count(db->store));
    struct wdb_item item;
    wdb_store_lock_one(db->store, stripe);
    bool found = wdb_api_find(db, &k, &item);
    wdb_store_unlock_one(db->store, stripe);
    if (!found) {
        return WALKERDB_ENOTFOUND;
    }
    *expiry_ms_out = item.expiry_ms;
    return 0;
}

int walkerdb_exists(walkerdb *db, const void *key, size_t key_size)
{
    uint64_t expiry_ms;
    return walkerdb_expiry(db, key, key_size, &expiry_ms);
}

/* --- writing ------------------------------------------------------------------------ */

/* Under the key's stripe: commit the one record, then let go. */
static int write_record(struct walkerdb *db, const struct wdb_key *key,
                        struct wdb_record *record, bool must_exist)
{
    struct wdb_batch *batch = NULL;
    int code = wdb_api_batch_borrow(db, &batch);
    if (code != 0) {
        return code;
    }
    record->key = key->name;
    record->database = wdb_store_database(db->store, 0);
    code = wdb_batch_add(batch, record, key->hash);
    if (code == 0) {
        uint32_t stripe =
            wdb_stripe_of(key->hash, wdb_store_stripe_count(db->store));
        struct wdb_item item;
        uint64_t index;
        wdb_store_lock_one(db->store, stripe);
        if (must_exist && !wdb_api_find(db, key, &item)) {
            code = WALKERDB_ENOTFOUND;
        } else {
            code = wdb_store_commit(db->store, batch, &index);
        }
        wdb_store_unlock_one(db->store, stripe);
    }
    wdb_api_batch_return(db, batch);
    return code == 0 ? wdb_api_sync_if(db, false) : code;
}

int walkerdb_put_expiring(walkerdb *db, const void *key, size_t key_size,
                          const void *value, size_t value_size,
                          uint64_t expiry_ms)
{
    int code = wdb_api_check_key(key, key_size);
    if (code == 0) {
        code = check_value(value, value_size);
    }
    if (code != 0) {
        return code;
    }
    if (db->options.read_only) {
        return WALKERDB_EREADONLY;
    }
    struct wdb_key k = wdb_key(db->store, wdb_slice(key, key_size));
    struct wdb_record record = {
        .kind = WDB_RECORD_PUT,
        .flags = expiry_ms != 0 ? WDB_RECORD_EXPIRY : 0,
        .expiry_ms = expiry_ms,
        .value = wdb_slice(value, value_size),
    };
    return write_record(db, &k, &record, false);
}

int walkerdb_put(walkerdb *db, const void *key, size_t key_size,
                 const void *value, size_t value_size)
{
    return walkerdb_put_expiring(db, key, key_size, value, value_size, 0);
}

int walkerdb_delete(walkerdb *db, const void *key, size_t key_size)
{
    int code = wdb_api_check_key(key, key_size);
    if (code != 0) {
        return code;
    }
    if (db->options.read_only) {
        return WALKERDB_EREADONLY;
    }
    struct wdb_key k = wdb_key(db->store, wdb_slice(key, key_size));
    struct wdb_record record = {.kind = WDB_RECORD_DELETE};
    return write_record(db, &k, &record, true);
}

/* The stripe is held: does the key's value equal `expected`? Reads may wait:
 * the caller has fetched it just before. */
static int compare(struct walkerdb *db, const struct wdb_key *key,
                   const void *expected, size_t expected_size,
                   struct wdb_item *item, bool *found_out)
{
    *found_out = wdb_api_find(db, key, item);
    if (expected == NULL) {
        return *found_out ? WALKERDB_EMISMATCH : 0;
    }
    if (!*found_out) {
        return WALKERDB_EMISMATCH;
    }
    struct wdb_value value;
    struct wdb_api_read read;
    wdb_api_read_begin(&read, db, true);
    int slot = wdb_epoch_enter(wdb_log_epoch(db->log));
    int code = wdb_api_read_value(&read, item, &value);
    if (code == 0 && !wdb_slice_equal(value.record.value,
                                      wdb_slice(expected, expected_size))) {
        code = WALKERDB_EMISMATCH;
    }
    wdb_epoch_exit(wdb_log_epoch(db->log), slot);
    wdb_api_read_end(&read);
    return code;
}

static int look(void *context, const struct wdb_value *value)
{
    (void)context;
    (void)value;
    return 0;
}

int walkerdb_compare_and_set(walkerdb *db, const void *key, size_t key_size,
                             const void *expected, size_t expected_size,
                             const void *value, size_t value_size)
{
    int code = wdb_api_check_key(key, key_size);
    if (code == 0) {
        code = check_value(value, value_size);
    }
    if (code != 0) {
        return code;
    }
    if (db->options.read_only) {
        return WALKERDB_EREADONLY;
    }
    struct wdb_key k = wdb_key(db->store, wdb_slice(key, key_size));
    code = read_key(db, &k, look, NULL); /* into memory, before the stripe */
    if (code != 0 && code != WALKERDB_ENOTFOUND) {
        return code;
    }
    struct wdb_batch *batch = NULL;
    code = wdb_api_batch_borrow(db, &batch);
    if (code != 0) {
        return code;
    }
    uint32_t stripe = wdb_stripe_of(k.hash, wdb_store_stripe_count(db->store));
    struct wdb_item item;
    bool found = false;
    uint64_t index;
    wdb_store_lock_one(db->store, stripe);
    code = compare(db, &k, expected, expected_size, &item, &found);
    if (code == 0 && (value != NULL || found)) {
        uint64_t expiry_ms = found && value != NULL ? item.expiry_ms : 0;
        struct wdb_record record = {
            .kind = value != NULL ? WDB_RECORD_PUT : WDB_RECORD_DELETE,
            .flags = expiry_ms != 0 ? WDB_RECORD_EXPIRY : 0,
            .database = wdb_store_database(db->store, 0),
            .expiry_ms = expiry_ms,
            .key = k.name,
            .value = wdb_slice(value, value_size),
        };
        code = wdb_batch_add(batch, &record, k.hash);
        if (code == 0) {
            code = wdb_store_commit(db->store, batch, &index);
        }
    }
    wdb_store_unlock_one(db->store, stripe);
    wdb_api_batch_return(db, batch);
    return code == 0 ? wdb_api_sync_if(db, false) : code;
}

/* --- maintenance ------------------------------------------------------------------------ */

int walkerdb_sync(walkerdb *db)
{
    return db->options.read_only ? 0 : wdb_log_sync(db->log);
}

int walkerdb_merge(walkerdb *db)
{
    return db->options.read_only ? WALKERDB_EREADONLY
                                 : wdb_store_merge(db->store);
}

void walkerdb_merge_pause(walkerdb *db, bool paused)
{
    wdb_store_merge_pause(db->store, paused);
}

int walkerdb_backup(walkerdb *db, const char *directory,
                    walkerdb_progress_cb progress, void *context)
{
    if (directory == NULL) {
        return WALKERDB_EINVALID;
    }
    return db->options.read_only
               ? WALKERDB_EREADONLY
               : wdb_store_backup(db->store, directory, progress, context);
}

int walkerdb_get_stats(walkerdb *db, walkerdb_stats *out)
{
    if (out->struct_size != sizeof(*out)) {
        return WALKERDB_EINVALID;
    }
    struct wdb_store_stats s;
    wdb_store_stats(db->store, &s);
    *out = (walkerdb_stats){
        .struct_size = sizeof(*out),
        .key_count = s.key_count,
        .expiry_count = s.expiry_count,
        .segment_count = s.log.segment_count,
        .disk_bytes = s.log.bytes_allocated,
        .live_bytes = s.bytes_live,
        .dead_bytes = s.bytes_dead,
        .reclaimable_bytes = s.bytes_reclaimable,
        .keydir_bytes = s.keydir_memory,
        .ordered_bytes = s.ordered_memory,
        .unwritten_bytes = s.log.bytes_unwritten,
        .sync_count = s.log.sync_count,
        .merge_count = s.merge_count,
        .merge_last_ms = s.merge_last_ms,
        .merge_last_duration_ms = s.merge_last_duration_ms,
        .merge_last_freed_bytes = s.merge_last_freed,
        .merge_running = s.merge_running,
        .load_ms = s.load_duration_ms,
    };
    return 0;
}
