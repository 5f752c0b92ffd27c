/*
 * api_iterator.c - walkerdb.h: iteration in key order.
 *
 * The ordered index knows the keys; whether one is alive (it may be past its
 * time) the keydir says. The cursor holds nothing up between two steps.
 */
#include <stdlib.h>
#include <string.h>

#include "db/api.h"

struct walkerdb_iterator {
    struct walkerdb *db;
    struct wdb_ordered_cursor cursor;
    struct wdb_buffer prefix;
    bool backwards;
    bool placed; /* it stands on a key */
    walkerdb_value *value;
};

int walkerdb_iterator_new(walkerdb *db, const void *prefix, size_t prefix_size,
                          bool backwards, walkerdb_iterator **out)
{
    struct wdb_ordered *ordered = wdb_store_ordered(db->store);
    if (ordered == NULL) {
        return WALKERDB_EUNSUPPORTED;
    }
    int code = wdb_api_check_key(prefix, prefix_size);
    if (code != 0) {
        return code;
    }
    walkerdb_iterator *iterator = calloc(1, sizeof(*iterator));
    if (iterator == NULL) {
        return WALKERDB_ENOMEM;
    }
    iterator->db = db;
    iterator->backwards = backwards;
    if (prefix_size > 0 &&
        wdb_buffer_append(&iterator->prefix, prefix, prefix_size) != 0) {
        free(iterator);
        return WALKERDB_ENOMEM;
    }
    wdb_ordered_cursor_init(&iterator->cursor, ordered);
    *out = iterator;
    return 0;
}

static void drop_value(walkerdb_iterator *iterator)
{
    walkerdb_value_release(iterator->value);
    iterator->value = NULL;
}

void walkerdb_iterator_free(walkerdb_iterator *iterator)
{
    if (iterator != NULL) {
        drop_value(iterator);
        wdb_ordered_cursor_release(&iterator->cursor);
        wdb_buffer_release(&iterator->prefix);
        free(iterator);
    }
}

static bool has_prefix(const walkerdb_iterator *iterator, struct wdb_slice key)
{
    const struct wdb_slice prefix = wdb_buffer_slice(&iterator->prefix);
    return key.size >= prefix.size &&
           (prefix.size == 0 ||
            memcmp(key.data, prefix.data, prefix.size) == 0);
}

static int step(walkerdb_iterator *iterator)
{
    return iterator->backwards ? wdb_ordered_previous(&iterator->cursor)
                               : wdb_ordered_next(&iterator->cursor);
}

static bool is_alive(walkerdb_iterator *iterator, struct wdb_slice name)
{
    struct walkerdb *db = iterator->db;
    const struct wdb_key key = wdb_key(db->store, name);
    const uint32_t stripe =
        wdb_stripe_of(key.hash, wdb_store_stripe_count(db->store));
    struct wdb_item item;
    wdb_store_lock_one(db->store, stripe);
    const bool alive = wdb_api_find(db, &key, &item);
    wdb_store_unlock_one(db->store, stripe);
    return alive;
}

/* From where the cursor is (`code` says how it got there) to a key that is
 * alive; ENOTFOUND behind the last with the prefix. */
static int settle(walkerdb_iterator *iterator, int code)
{
    while (code == 0) {
        const struct wdb_slice key = wdb_ordered_key(&iterator->cursor);
        if (!has_prefix(iterator, key)) {
            code = WALKERDB_ENOTFOUND;
        } else if (is_alive(iterator, key)) {
            break;
        } else {
            code = step(iterator);
        }
    }
    iterator->placed = code == 0;
    return code;
}

int walkerdb_iterator_first(walkerdb_iterator *iterator)
{
    drop_value(iterator);
    return settle(iterator,
                  wdb_ordered_seek_prefix(&iterator->cursor,
                                          wdb_buffer_slice(&iterator->prefix),
                                          iterator->backwards));
}

int walkerdb_iterator_seek(walkerdb_iterator *iterator, const void *key,
                           size_t key_size)
{
    int code = wdb_api_check_key(key, key_size);
    if (code != 0) {
        return code;
    }
    const struct wdb_slice wanted = wdb_slice(key, key_size);
    drop_value(iterator);
    if (!has_prefix(iterator, wanted)) {
        /* Before the first key with the prefix, or behind the last? */
        const int order =
            wdb_slice_compare(wanted, wdb_buffer_slice(&iterator->prefix));
        if ((order < 0) != iterator->backwards) {
            return walkerdb_iterator_first(iterator);
        }
        iterator->placed = false;
        return WALKERDB_ENOTFOUND;
    }
    return settle(iterator, wdb_ordered_seek(&iterator->cursor, wanted,
                                             iterator->backwards));
}

int walkerdb_iterator_next(walkerdb_iterator *iterator)
{
    drop_value(iterator);
    if (!iterator->placed) {
        return WALKERDB_ENOTFOUND;
    }
    return settle(iterator, step(iterator));
}

void walkerdb_iterator_key(const walkerdb_iterator *iterator,
                           const void **key_out, size_t *key_size_out)
{
    const struct wdb_slice key = wdb_ordered_key(&iterator->cursor);
    *key_out = key.data;
    *key_size_out = key.size;
}

int walkerdb_iterator_value(walkerdb_iterator *iterator, const void **value_out,
                            size_t *value_size_out)
{
    const struct wdb_slice key = wdb_ordered_key(&iterator->cursor);
    drop_value(iterator);
    if (!iterator->placed) {
        return WALKERDB_ENOTFOUND;
    }
    return walkerdb_value_acquire(iterator->db, key.data, key.size,
                                  &iterator->value, value_out, value_size_out);
}
