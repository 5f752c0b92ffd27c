/* database.c - the mapping of logical databases, and the keydirs behind it. */
#include "store/database.h"

#include <stdlib.h>

#include "store/store_internal.h"

void wdb_databases_init(struct wdb_store *store)
{
    struct wdb_databases *databases = &store->databases;
    for (uint32_t n = 0; n < WDB_DATABASE_COUNT; n++) {
        atomic_init(&databases->ids[n], n);
        atomic_init(&databases->keydirs[n], NULL);
    }
    databases->id_next = WDB_DATABASE_COUNT;
    atomic_init(&databases->position, 0);
    atomic_init(&databases->index, 0);
    atomic_init(&databases->grave_count, 0);
    pthread_mutex_init(&databases->mutex, NULL);
    pthread_mutex_init(&databases->bury_mutex, NULL);
    pthread_mutex_init(&databases->grave_mutex, NULL);
}

void wdb_databases_release(struct wdb_store *store)
{
    struct wdb_databases *databases = &store->databases;
    while (databases->grave != NULL) {
        struct wdb_mapping *mapping = databases->grave;
        databases->grave = mapping->next;
        wdb_mapping_free(mapping, mapping->dropped);
    }
    for (uint32_t n = 0; n < WDB_DATABASE_COUNT; n++) {
        wdb_keydir_free(atomic_load(&databases->keydirs[n]));
    }
    pthread_mutex_destroy(&databases->grave_mutex);
    pthread_mutex_destroy(&databases->bury_mutex);
    pthread_mutex_destroy(&databases->mutex);
}

/* --- look-up ---------------------------------------------------------------
 */

/* Logical number of an id, WDB_DATABASE_COUNT if it has none. */
static uint32_t number_of(const struct wdb_databases *databases, uint32_t id)
{
    uint32_t n = 0;
    while (n < WDB_DATABASE_COUNT &&
           atomic_load_explicit(&databases->ids[n], memory_order_relaxed) !=
               id) {
        n++;
    }
    return n;
}

uint32_t wdb_store_database(const struct wdb_store *store, uint32_t number)
{
    wdb_assert(number < WDB_DATABASE_COUNT);
    return atomic_load_explicit(&store->databases.ids[number],
                                memory_order_relaxed);
}

bool wdb_databases_mapped(const struct wdb_store *store, uint32_t id)
{
    return number_of(&store->databases, id) < WDB_DATABASE_COUNT;
}

struct wdb_keydir *wdb_store_keydir(const struct wdb_store *store, uint32_t id)
{
    const uint32_t n = number_of(&store->databases, id);
    return n == WDB_DATABASE_COUNT
               ? NULL
               : atomic_load_explicit(&store->databases.keydirs[n],
                                      memory_order_acquire);
}

int wdb_databases_make(struct wdb_store *store, uint32_t id,
                       struct wdb_keydir **out)
{
    struct wdb_databases *databases = &store->databases;
    const uint32_t n = number_of(databases, id);
    wdb_assert(n < WDB_DATABASE_COUNT);
    struct wdb_keydir *keydir =
        atomic_load_explicit(&databases->keydirs[n], memory_order_acquire);
    if (WDB_LIKELY(keydir != NULL)) {
        *out = keydir;
        return 0;
    }
    int rc = 0;
    pthread_mutex_lock(&databases->mutex);
    keydir = atomic_load(&databases->keydirs[n]);
    if (keydir == NULL) {
        const struct wdb_keydir_options options = {
            .stripe_count = store->stripe_count,
            .hash_key = &store->hash_key,
            .count_hint = store->loading ? databases->count_hints[n] : 0,
            .epoch = wdb_log_epoch(store->log),
        };
        rc = wdb_keydir_new(&options, &keydir);
        if (rc == 0) {
            atomic_store_explicit(&databases->keydirs[n], keydir,
                                  memory_order_release);
        }
    }
    pthread_mutex_unlock(&databases->mutex);
    if (rc == 0) {
        *out = keydir;
    }
    return rc;
}

uint64_t wdb_store_last_mapping(const struct wdb_store *store)
{
    return atomic_load_explicit(&store->databases.index, memory_order_relaxed);
}

/* --- changes ---------------------------------------------------------------
 */

static bool holds_id(const uint32_t ids[WDB_DATABASE_COUNT], uint32_t id)
{
    for (uint32_t n = 0; n < WDB_DATABASE_COUNT; n++) {
        if (ids[n] == id) {
            return true;
        }
    }
    return false;
}

static int decode(const struct wdb_record *record,
                  uint32_t ids[WDB_DATABASE_COUNT], uint32_t *id_next)
{
    if (record->value.size != WDB_DATABASES_VALUE_SIZE) {
        return WALKERDB_ECORRUPT;
    }
    *id_next = wdb_load32(record->value.data + 4 * WDB_DATABASE_COUNT);
    for (uint32_t n = 0; n < WDB_DATABASE_COUNT; n++) {
        ids[n] = wdb_load32(record->value.data + 4 * n);
        if (ids[n] >= *id_next) {
            return WALKERDB_ECORRUPT;
        }
    }
    return 0;
}

/* Let the mapping be `ids`. Keydirs follow their ids; those of ids that were
 * not mapped come from `extra` (may be NULL). */
static void install(struct wdb_databases *databases,
                    const uint32_t ids[WDB_DATABASE_COUNT],
                    const struct wdb_mapping *extra)
{
    struct wdb_keydir *keydirs[WDB_DATABASE_COUNT];
    for (uint32_t n = 0; n < WDB_DATABASE_COUNT; n++) {
        const uint32_t before = number_of(databases, ids[n]);
        if (before < WDB_DATABASE_COUNT) {
            keydirs[n] = atomic_load(&databases->keydirs[before]);
        } else {
            keydirs[n] = extra == NULL ? NULL : extra->keydirs[n];
        }
    }
    for (uint32_t n = 0; n < WDB_DATABASE_COUNT; n++) {
        atomic_store(&databases->ids[n], ids[n]);
        atomic_store(&databases->keydirs[n], keydirs[n]);
    }
}

static struct wdb_mapping *snapshot(const struct wdb_databases *databases)
{
    struct wdb_mapping *mapping = calloc(1, sizeof(*mapping));
    if (mapping == NULL) {
        return NULL;
    }
    for (uint32_t n = 0; n < WDB_DATABASE_COUNT; n++) {
        mapping->ids[n] = atomic_load(&databases->ids[n]);
        mapping->keydirs[n] = atomic_load(&databases->keydirs[n]);
    }
    mapping->position = atomic_load(&databases->position);
    mapping->record_size = databases->record_size;
    mapping->index = atomic_load(&databases->index);
    return mapping;
}

int wdb_databases_apply(struct wdb_store *store,
                        const struct wdb_record *record, wdb_position position,
                        uint64_t size, struct wdb_mapping **old_out)
{
    struct wdb_databases *databases = &store->databases;
    uint32_t ids[WDB_DATABASE_COUNT], id_next;
    const int rc = decode(record, ids, &id_next);
    if (rc != 0) {
        return rc;
    }
    struct wdb_mapping *old = snapshot(databases);
    if (old == NULL) {
        return WALKERDB_ENOMEM;
    }
    for (uint32_t n = 0; n < WDB_DATABASE_COUNT; n++) {
        if (!holds_id(ids, old->ids[n])) {
            old->dropped |= UINT32_C(1) << n;
        }
    }
    install(databases, ids, NULL);
    if (databases->id_next < id_next) {
        databases->id_next = id_next;
    }
    databases->record_size = size;
    atomic_store(&databases->position, position);
    *old_out = old;
    return 0;
}

int wdb_databases_load(struct wdb_store *store, const struct wdb_record *record,
                       wdb_position position, uint64_t size)
{
    struct wdb_databases *databases = &store->databases;
    uint32_t ids[WDB_DATABASE_COUNT], id_next;
    const int rc = decode(record, ids, &id_next);
    if (rc != 0) {
        return rc;
    }
    install(databases, ids, NULL);
    databases->id_next = id_next;
    databases->record_size = size;
    atomic_store(&databases->position, position);
    atomic_store(&databases->index, record->index);
    return 0;
}

void wdb_databases_clear(struct wdb_store *store, struct wdb_mapping *memory)
{
    struct wdb_databases *databases = &store->databases;
    pthread_mutex_lock(&databases->grave_mutex);
    for (struct wdb_mapping *m = databases->grave; m != NULL; m = m->next) {
        m->counting = WDB_DATABASE_COUNT;
    }
    pthread_mutex_unlock(&databases->grave_mutex);
    memory->counting = WDB_DATABASE_COUNT;
    for (uint32_t n = 0; n < WDB_DATABASE_COUNT; n++) {
        memory->keydirs[n] = atomic_exchange(&databases->keydirs[n], NULL);
        if (memory->keydirs[n] != NULL) {
            memory->dropped |= UINT32_C(1) << n;
        }
        atomic_store(&databases->ids[n], n);
    }
    databases->id_next = WDB_DATABASE_COUNT;
    databases->record_size = 0;
    atomic_store(&databases->position, 0);
    atomic_store(&databases->index, 0);
    wdb_mapping_bury(databases, memory);
}

void wdb_databases_revert(struct wdb_store *store, struct wdb_mapping *old)
{
    struct wdb_databases *databases = &store->databases;
    struct wdb_mapping now = {0};
    uint32_t ids[WDB_DATABASE_COUNT];
    for (uint32_t n = 0; n < WDB_DATABASE_COUNT; n++) {
        ids[n] = old->ids[n];
        const uint32_t id = atomic_load(&databases->ids[n]);
        if (!holds_id(old->ids, id)) {
            now.keydirs[n] = atomic_load(&databases->keydirs[n]);
        }
    }
    install(databases, ids, old);
    databases->record_size = old->record_size;
    atomic_store(&databases->position, old->position);
    atomic_store(&databases->index, old->index);
    /* The snapshot's memory carries what has to go: keydirs of ids that the
     * reverted record made. They are empty by now. */
    old->dropped = 0;
    for (uint32_t n = 0; n < WDB_DATABASE_COUNT; n++) {
        old->keydirs[n] = now.keydirs[n];
        if (now.keydirs[n] != NULL) {
            old->dropped |= UINT32_C(1) << n;
        }
    }
    wdb_mapping_bury(databases, old);
}

void wdb_databases_settle(struct wdb_store *store, struct wdb_mapping *old)
{
    wdb_store_account(store, old->position, (int64_t)old->record_size);
    for (uint32_t n = 0; n < WDB_DATABASE_COUNT; n++) {
        if (old->keydirs[n] == NULL) {
            old->dropped &= ~(UINT32_C(1) << n);
        }
    }
    wdb_mapping_bury(&store->databases, old);
}

bool wdb_databases_move(struct wdb_store *store, wdb_position from,
                        wdb_position to, uint64_t size)
{
    struct wdb_databases *databases = &store->databases;
    if (!atomic_compare_exchange_strong(&databases->position, &from, to)) {
        return false;
    }
    databases->record_size = size;
    return true;
}

/* --- staging ---------------------------------------------------------------
 */

static int stage(struct wdb_batch *batch,
                 const uint32_t ids[WDB_DATABASE_COUNT], uint32_t id_next)
{
    uint8_t value[WDB_DATABASES_VALUE_SIZE];
    for (uint32_t n = 0; n < WDB_DATABASE_COUNT; n++) {
        wdb_store32(value + 4 * n, ids[n]);
    }
    wdb_store32(value + 4 * WDB_DATABASE_COUNT, id_next);
    const struct wdb_record record = {
        .kind = WDB_RECORD_DATABASES,
        .value = wdb_slice(value, sizeof(value)),
    };
    return wdb_batch_add(batch, &record, 0);
}

int wdb_store_stage_flush(struct wdb_store *store, struct wdb_batch *batch,
                          uint32_t flush_bits)
{
    uint32_t ids[WDB_DATABASE_COUNT];
    uint32_t id_next = store->databases.id_next;
    if (id_next > UINT32_MAX - WDB_DATABASE_COUNT) {
        return WALKERDB_ETOOBIG;
    }
    for (uint32_t n = 0; n < WDB_DATABASE_COUNT; n++) {
        ids[n] = (flush_bits >> n & 1) != 0 ? id_next++
                                            : wdb_store_database(store, n);
    }
    return stage(batch, ids, id_next);
}

int wdb_store_stage_swap(struct wdb_store *store, struct wdb_batch *batch,
                         uint32_t a, uint32_t b)
{
    wdb_assert(a < WDB_DATABASE_COUNT && b < WDB_DATABASE_COUNT);
    uint32_t ids[WDB_DATABASE_COUNT];
    for (uint32_t n = 0; n < WDB_DATABASE_COUNT; n++) {
        ids[n] = wdb_store_database(store, n == a ? b : n == b ? a : n);
    }
    return stage(batch, ids, store->databases.id_next);
}
