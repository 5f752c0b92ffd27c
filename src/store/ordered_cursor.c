/*
 * ordered_cursor.c - places in the ordered index that survive its changes.
 *
 * A cursor remembers leaf and index with the version of the tree; while that is
 * the same, a step is a step in the leaf. Otherwise it looks for its key.
 */
#include "base/assert.h"
#include "store/ordered_node.h"
#include "walkerdb.h"

void wdb_ordered_cursor_init(struct wdb_ordered_cursor *cursor,
                             struct wdb_ordered *ordered)
{
    *cursor = (struct wdb_ordered_cursor){.ordered = ordered};
}

void wdb_ordered_cursor_release(struct wdb_ordered_cursor *cursor)
{
    wdb_buffer_release(&cursor->key);
    cursor->has_key = false;
}

/* A key in a leaf; no leaf: none. */
struct place {
    struct wdb_ordered_leaf *leaf;
    uint32_t index;
};

static struct place step_back(struct place place)
{
    if (place.index > 0) {
        return (struct place){place.leaf, place.index - 1};
    }
    struct wdb_ordered_leaf *leaf = place.leaf->previous;
    if (leaf == NULL) {
        return (struct place){NULL, 0};
    }
    return (struct place){leaf, leaf->node.keys.count - 1};
}

/* The place itself, or the first of the next leaf if it is behind the last. */
static struct place normal(struct place place)
{
    if (place.leaf != NULL && place.index == place.leaf->node.keys.count) {
        place = (struct place){place.leaf->next, 0};
    }
    return place;
}

/* Stand on the key at the place. ENOTFOUND, ENOMEM: the cursor stays. */
static int stand_on(struct wdb_ordered_cursor *cursor, struct place place)
{
    if (place.leaf == NULL) {
        return WALKERDB_ENOTFOUND;
    }
    int rc = wdb_key_page_copy_key(&place.leaf->node.keys, place.index,
                                   &cursor->key);
    if (rc == 0) {
        cursor->leaf = &place.leaf->node;
        cursor->index = place.index;
        cursor->version = cursor->ordered->version;
        cursor->has_key = true;
    }
    return rc;
}

/* The first place at or behind the key, which may be behind a leaf's last. */
static struct place find(const struct wdb_ordered *ordered,
                         struct wdb_slice key, bool *is_equal_out)
{
    struct wdb_ordered_leaf *leaf = wdb_ordered_find_leaf(ordered, key);
    uint32_t index = wdb_key_page_find(&leaf->node.keys, key, is_equal_out);
    return (struct place){leaf, index};
}

static void lock(const struct wdb_ordered_cursor *cursor)
{
    int rc = pthread_rwlock_rdlock(&cursor->ordered->lock);
    wdb_assert(rc == 0);
}
static void unlock(const struct wdb_ordered_cursor *cursor)
{
    pthread_rwlock_unlock(&cursor->ordered->lock);
}

int wdb_ordered_seek(struct wdb_ordered_cursor *cursor, struct wdb_slice key,
                     bool backwards)
{
    lock(cursor);
    bool is_equal;
    struct place place = find(cursor->ordered, key, &is_equal);
    if (backwards && !is_equal) {
        place = step_back(place);
    } else {
        place = normal(place);
    }
    int rc = stand_on(cursor, place);
    unlock(cursor);
    return rc;
}

static struct place last_place(const struct wdb_ordered *ordered)
{
    struct wdb_ordered_node *node = ordered->root;
    while (!node->is_leaf) {
        node = wdb_ordered_inner_of(node)->children[node->keys.count];
    }
    return step_back(
        (struct place){wdb_ordered_leaf_of(node), node->keys.count});
}

/*
 * The last place whose key is less than the least key behind all with that
 * prefix: the prefix without its trailing 0xff, its last byte one more.
 */
static int place_before_successor(const struct wdb_ordered *ordered,
                                  struct wdb_slice prefix, struct place *out)
{
    while (prefix.size > 0 && prefix.data[prefix.size - 1] == 0xff) {
        prefix.size--;
    }
    if (prefix.size == 0) {
        *out = last_place(ordered);
        return 0;
    }
    struct wdb_buffer successor = WDB_BUFFER_INIT;
    int rc = wdb_buffer_append(&successor, prefix.data, prefix.size);
    if (rc == 0) {
        successor.data[successor.size - 1]++;
        bool is_equal;
        *out =
            step_back(find(ordered, wdb_buffer_slice(&successor), &is_equal));
    }
    wdb_buffer_release(&successor);
    return rc;
}

static bool has_prefix(struct place place, struct wdb_slice prefix)
{
    struct wdb_slice page = wdb_key_page_prefix(&place.leaf->node.keys);
    struct wdb_slice rest =
        wdb_key_page_rest(&place.leaf->node.keys, place.index);
    if (prefix.size <= page.size) {
        page.size = prefix.size;
        return wdb_slice_equal(page, prefix);
    }
    struct wdb_slice head = wdb_slice(prefix.data, page.size);
    struct wdb_slice tail =
        wdb_slice(prefix.data + page.size, prefix.size - page.size);
    if (rest.size < tail.size || !wdb_slice_equal(page, head)) {
        return false;
    }
    rest.size = tail.size;
    return wdb_slice_equal(rest, tail);
}

int wdb_ordered_seek_prefix(struct wdb_ordered_cursor *cursor,
                            struct wdb_slice prefix, bool backwards)
{
    lock(cursor);
    struct place place = {NULL, 0};
    int rc = 0;
    if (backwards) {
        rc = place_before_successor(cursor->ordered, prefix, &place);
    } else {
        bool is_equal;
        place = normal(find(cursor->ordered, prefix, &is_equal));
    }
    if (rc == 0 && place.leaf != NULL && !has_prefix(place, prefix)) {
        place.leaf = NULL;
    }
    if (rc == 0) {
        rc = stand_on(cursor, place);
    }
    unlock(cursor);
    return rc;
}

/* The cursor's own place if its key is still there, else that of the key which
 * follows it; *is_there_out tells which. */
static struct place current(const struct wdb_ordered_cursor *cursor,
                            bool *is_there_out)
{
    wdb_assert(cursor->has_key);
    if (cursor->version == cursor->ordered->version) {
        *is_there_out = true;
        return (struct place){wdb_ordered_leaf_of(cursor->leaf), cursor->index};
    }
    return find(cursor->ordered, wdb_ordered_key(cursor), is_there_out);
}

int wdb_ordered_next(struct wdb_ordered_cursor *cursor)
{
    lock(cursor);
    bool is_there;
    struct place place = current(cursor, &is_there);
    place.index += is_there;
    int rc = stand_on(cursor, normal(place));
    unlock(cursor);
    return rc;
}

int wdb_ordered_previous(struct wdb_ordered_cursor *cursor)
{
    lock(cursor);
    bool is_there;
    int rc = stand_on(cursor, step_back(current(cursor, &is_there)));
    unlock(cursor);
    return rc;
}
