/*
 * keys.c - which record of each key is the last one.
 *
 * An open hash table of 128-bit fingerprints (two keyed hashes), without the
 * keys themselves: two different keys share a fingerprint with a probability
 * of about 2^-80 at a trillion keys. Records may come in any order: the
 * highest sequence wins, for value and expiry apart.
 */
#include <stdlib.h>

#include "walkerdb-check/check.h"

#define CAPACITY_MIN   1024
#define DATABASE_COUNT 16

struct entry {
    uint64_t print[2]; /* both 0: free */
    uint64_t object;   /* hash of the object id: of a header or an element */
    uint64_t index;    /* of the put or delete */
    uint64_t size;
    uint32_t place;
    uint32_t database;
    bool put;       /* else a tombstone, or only an expiry so far */
    bool has_value; /* put or delete was seen */
    bool is_element;
    bool has_expiry;
    bool expiry_logged; /* by a record of its own, with this sequence */
    uint32_t expiry_place;
    uint64_t expiry_index;
};

struct check_keys {
    struct wdb_siphash_key keys[2];
    struct entry *entries;
    size_t capacity, count;
    uint32_t ids[DATABASE_COUNT]; /* of the last DATABASES record */
    uint64_t ids_index;
    uint32_t ids_place;
};

int check_keys_new(struct wdb_env *env, struct check_keys **out)
{
    struct check_keys *keys = calloc(1, sizeof(*keys));
    if (keys == NULL) {
        return WALKERDB_ENOMEM;
    }
    keys->capacity = CAPACITY_MIN;
    keys->entries = calloc(keys->capacity, sizeof(*keys->entries));
    if (keys->entries == NULL) {
        free(keys);
        return WALKERDB_ENOMEM;
    }
    env->ops->random(env, keys->keys, sizeof(keys->keys));
    for (uint32_t i = 0; i < DATABASE_COUNT; i++) {
        keys->ids[i] = i; /* until a record says otherwise */
    }
    *out = keys;
    return 0;
}

void check_keys_free(struct check_keys *keys)
{
    if (keys != NULL) {
        free(keys->entries);
        free(keys);
    }
}

static struct entry *find(struct entry *entries, size_t capacity,
                          const uint64_t print[2])
{
    size_t i = print[0] & (capacity - 1);
    while (
        (entries[i].print[0] | entries[i].print[1]) != 0 &&
        (entries[i].print[0] != print[0] || entries[i].print[1] != print[1])) {
        i = (i + 1) & (capacity - 1);
    }
    return &entries[i];
}

static int grow(struct check_keys *keys)
{
    const size_t capacity = keys->capacity * 2;
    struct entry *entries = calloc(capacity, sizeof(*entries));
    if (entries == NULL) {
        return WALKERDB_ENOMEM;
    }
    for (size_t i = 0; i < keys->capacity; i++) {
        const struct entry *entry = &keys->entries[i];
        if ((entry->print[0] | entry->print[1]) != 0) {
            *find(entries, capacity, entry->print) = *entry;
        }
    }
    free(keys->entries);
    keys->entries = entries;
    keys->capacity = capacity;
    return 0;
}

/* Is (index, place) at or behind (other_index, other_place)? */
static bool wins(const struct wdb_record *record, uint64_t index,
                 uint32_t place)
{
    return record->index > index ||
           (record->index == index && record->place >= place);
}

static uint64_t hash_object(const struct check_keys *keys,
                            struct wdb_object_id id)
{
    const uint64_t numbers[2] = {id.term, id.counter};
    return wdb_siphash13(&keys->keys[0], wdb_slice(numbers, sizeof(numbers))) |
           1;
}

/* Fingerprint of (kind of key, database, object, key). */
static void make_print(const struct check_keys *keys,
                       const struct wdb_record *record, bool is_element,
                       uint64_t print[2])
{
    uint64_t head[4] = {record->database, is_element, 0, 0};
    if (is_element) {
        head[2] = record->object_id.term;
        head[3] = record->object_id.counter;
    }
    for (int i = 0; i < 2; i++) {
        const struct wdb_siphash_key *key = &keys->keys[i];
        struct wdb_siphash_key mixed = *key;
        mixed.k0 ^= wdb_siphash13(key, wdb_slice(head, sizeof(head)));
        print[i] = wdb_siphash13(&mixed, record->key);
    }
    if ((print[0] | print[1]) == 0) {
        print[0] = 1;
    }
}

static void apply_expire(struct entry *entry, const struct wdb_record *record)
{
    if (entry->expiry_logged &&
        !wins(record, entry->expiry_index, entry->expiry_place)) {
        return;
    }
    entry->expiry_logged = true;
    entry->expiry_index = record->index;
    entry->expiry_place = record->place;
    if (!entry->has_value || wins(record, entry->index, entry->place)) {
        entry->has_expiry = (record->flags & WDB_RECORD_EXPIRY) != 0;
    }
}

static void apply_value(const struct check_keys *keys, struct entry *entry,
                        const struct wdb_record *record, uint64_t size)
{
    if (entry->has_value && !wins(record, entry->index, entry->place)) {
        return;
    }
    entry->has_value = true;
    entry->index = record->index;
    entry->place = record->place;
    entry->size = size;
    entry->database = record->database;
    entry->put = record->kind == WDB_RECORD_PUT ||
                 record->kind == WDB_RECORD_ELEMENT_PUT;
    entry->object = record->flags & WDB_RECORD_OBJECT
                        ? hash_object(keys, record->object_id)
                        : 0;
    /* An expiry that was logged later stays. */
    if (!entry->expiry_logged ||
        wins(record, entry->expiry_index, entry->expiry_place)) {
        entry->has_expiry = (record->flags & WDB_RECORD_EXPIRY) != 0;
    }
}

static void apply_databases(struct check_keys *keys,
                            const struct wdb_record *record)
{
    if (record->value.size < sizeof(keys->ids) ||
        !wins(record, keys->ids_index, keys->ids_place)) {
        return;
    }
    keys->ids_index = record->index;
    keys->ids_place = record->place;
    for (size_t i = 0; i < DATABASE_COUNT; i++) {
        keys->ids[i] = wdb_load32(record->value.data + 4 * i);
    }
}

int check_keys_add(struct check_keys *keys, const struct wdb_record *record,
                   uint64_t size)
{
    if (record->kind == WDB_RECORD_DATABASES) {
        apply_databases(keys, record);
        return 0;
    }
    const bool is_element = record->kind == WDB_RECORD_ELEMENT_PUT ||
                            record->kind == WDB_RECORD_ELEMENT_DELETE;
    uint64_t print[2];
    make_print(keys, record, is_element, print);
    struct entry *entry = find(keys->entries, keys->capacity, print);
    if ((entry->print[0] | entry->print[1]) == 0) {
        if (keys->count + 1 > keys->capacity / 4 * 3) {
            int rc = grow(keys);
            if (rc != 0) {
                return rc;
            }
            entry = find(keys->entries, keys->capacity, print);
        }
        entry->print[0] = print[0];
        entry->print[1] = print[1];
        entry->is_element = is_element;
        keys->count++;
    }
    if (record->kind == WDB_RECORD_EXPIRE) {
        apply_expire(entry, record);
    } else {
        apply_value(keys, entry, record, size);
    }
    return 0;
}

/* --- counting --------------------------------------------------------------
 */

static int number_of(const struct check_keys *keys, uint32_t database)
{
    for (int i = 0; i < DATABASE_COUNT; i++) {
        if (keys->ids[i] == database) {
            return i;
        }
    }
    return -1;
}

static bool is_live_key(const struct check_keys *keys,
                        const struct entry *entry)
{
    return entry->put && !entry->is_element &&
           number_of(keys, entry->database) >= 0;
}

/* A set of the objects that live headers name; 0 = free. */
struct objects {
    uint64_t *hashes;
    size_t capacity;
};

static uint64_t *find_object(const struct objects *objects, uint64_t hash)
{
    size_t i = hash & (objects->capacity - 1);
    while (objects->hashes[i] != 0 && objects->hashes[i] != hash) {
        i = (i + 1) & (objects->capacity - 1);
    }
    return &objects->hashes[i];
}

static int collect_objects(const struct check_keys *keys, struct objects *out)
{
    size_t count = 0;
    for (size_t i = 0; i < keys->capacity; i++) {
        const struct entry *entry = &keys->entries[i];
        count += entry->object != 0 && is_live_key(keys, entry);
    }
    out->capacity = CAPACITY_MIN;
    while (out->capacity < count * 2) {
        out->capacity *= 2;
    }
    out->hashes = calloc(out->capacity, sizeof(*out->hashes));
    if (out->hashes == NULL) {
        return WALKERDB_ENOMEM;
    }
    for (size_t i = 0; i < keys->capacity; i++) {
        const struct entry *entry = &keys->entries[i];
        if (entry->object != 0 && is_live_key(keys, entry)) {
            *find_object(out, entry->object) = entry->object;
        }
    }
    return 0;
}

int check_keys_count(const struct check_keys *keys,
                     struct check_key_totals *out)
{
    struct check_key_totals totals = {0};
    struct objects objects;
    int rc = collect_objects(keys, &objects);
    if (rc != 0) {
        return rc;
    }
    for (size_t i = 0; i < keys->capacity; i++) {
        const struct entry *entry = &keys->entries[i];
        if (!entry->has_value) {
            continue;
        }
        if (is_live_key(keys, entry)) {
            totals.keys++;
            totals.keys_with_expiry += entry->has_expiry;
            totals.keys_of_database[number_of(keys, entry->database)]++;
            totals.bytes_live += entry->size;
        } else if (entry->put && entry->is_element &&
                   *find_object(&objects, entry->object) != 0) {
            totals.elements++;
            totals.bytes_live += entry->size;
        } else if (!entry->put) {
            totals.tombstones++;
        }
    }
    free(objects.hashes);
    *out = totals;
    return 0;
}
