/*
 * ordered.c - insertion and deletion in the B+ tree.
 *
 * Insertion splits every full node that it meets on its way down, so a split
 * concerns a node and its parent only, and one that fails for lack of memory
 * leaves a whole tree. Deletion frees a leaf when it is empty and joins it with
 * a neighbour when it is nearly so; inner nodes go when they are empty.
 */
#include "store/ordered.h"

#include <stdlib.h>

#include "base/assert.h"
#include "store/ordered_node.h"
#include "walkerdb.h"

#define JOIN_BELOW (WDB_ORDERED_LEAF_SIZE / 4)
#define JOIN_UP_TO (WDB_ORDERED_LEAF_SIZE / 4 * 3)

/* ---- nodes --------------------------------------------------------------- */

static uint64_t node_memory(const struct wdb_ordered_node *node)
{
    return (node->is_leaf ? sizeof(struct wdb_ordered_leaf)
                          : sizeof(struct wdb_ordered_inner)) +
           node->keys.capacity;
}

static void count_memory(struct wdb_ordered *ordered, uint64_t added,
                         uint64_t removed)
{
    uint64_t memory =
        atomic_load_explicit(&ordered->memory, memory_order_relaxed);
    atomic_store_explicit(&ordered->memory, memory + added - removed,
                          memory_order_relaxed);
}

static void count_key(struct wdb_ordered *ordered, uint64_t change)
{
    uint64_t count =
        atomic_load_explicit(&ordered->count, memory_order_relaxed);
    atomic_store_explicit(&ordered->count, count + change,
                          memory_order_relaxed);
}

static struct wdb_ordered_node *node_new(bool is_leaf)
{
    struct wdb_ordered_node *node =
        calloc(1, is_leaf ? sizeof(struct wdb_ordered_leaf)
                          : sizeof(struct wdb_ordered_inner));
    if (node != NULL) {
        node->is_leaf = is_leaf;
    }
    return node;
}

static void node_free(struct wdb_ordered_node *node)
{
    wdb_key_page_release(&node->keys);
    free(node);
}

static bool is_full(const struct wdb_ordered_node *node)
{
    return node->is_leaf
               ? node->keys.count >= 2 &&
                     wdb_key_page_used(&node->keys) >= WDB_ORDERED_LEAF_SIZE
               : node->keys.count + 1 == WDB_ORDERED_CHILDREN;
}

int wdb_ordered_new(struct wdb_ordered **out)
{
    struct wdb_ordered *ordered = calloc(1, sizeof(*ordered));
    struct wdb_ordered_node *root = node_new(true);
    pthread_rwlockattr_t attributes;
    if (ordered == NULL || root == NULL ||
        pthread_rwlockattr_init(&attributes) != 0) {
        free(root);
        free(ordered);
        return WALKERDB_ENOMEM;
    }
#ifdef __GLIBC__
    /* Cursors must not keep writers away. */
    pthread_rwlockattr_setkind_np(&attributes,
                                  PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
#endif
    int rc = pthread_rwlock_init(&ordered->lock, &attributes);
    pthread_rwlockattr_destroy(&attributes);
    if (rc != 0) {
        free(root);
        free(ordered);
        return WALKERDB_ENOMEM;
    }
    ordered->root = root;
    count_memory(ordered, sizeof(*ordered) + node_memory(root), 0);
    *out = ordered;
    return 0;
}

/* Free a node with all below it; as deep as the tree, which is little. */
static void free_tree(struct wdb_ordered_node *node)
{
    for (uint32_t i = 0; !node->is_leaf && i <= node->keys.count; i++) {
        free_tree(wdb_ordered_inner_of(node)->children[i]);
    }
    node_free(node);
}

int wdb_ordered_clear(struct wdb_ordered *ordered)
{
    struct wdb_ordered_node *root = node_new(true);
    if (root == NULL) {
        return WALKERDB_ENOMEM;
    }
    pthread_rwlock_wrlock(&ordered->lock);
    struct wdb_ordered_node *old = ordered->root;
    ordered->root = root;
    ordered->version++;
    atomic_store_explicit(&ordered->count, 0, memory_order_relaxed);
    atomic_store_explicit(&ordered->memory,
                          sizeof(*ordered) + node_memory(root),
                          memory_order_relaxed);
    pthread_rwlock_unlock(&ordered->lock);
    free_tree(old);
    return 0;
}

void wdb_ordered_free(struct wdb_ordered *ordered)
{
    if (ordered == NULL) {
        return;
    }
    free_tree(ordered->root);
    pthread_rwlock_destroy(&ordered->lock);
    free(ordered);
}

/* ---- split --------------------------------------------------------------- */

/* What a split makes before anything is changed. */
struct halves {
    struct wdb_key_page left;
    struct wdb_ordered_node *right;
    struct wdb_buffer separator;
};

/*
 * Where to split a leaf: in the middle of its bytes; but if the key goes behind
 * all others, at its end, so that keys that come in order fill their leaves.
 */
static uint32_t leaf_split_index(const struct wdb_ordered_node *leaf,
                                 struct wdb_slice key)
{
    const struct wdb_key_page *keys = &leaf->keys;
    uint32_t last = keys->count - 1;
    if (((const struct wdb_ordered_leaf *)leaf)->next == NULL &&
        wdb_key_page_compare(keys, last, key) < 0) {
        return last;
    }
    uint64_t half = wdb_key_page_used(keys) / 2;
    uint64_t used = 0;
    uint32_t index = 0;
    while (index < last && used < half) {
        used += wdb_key_page_rest(keys, index).size + 4;
        index++;
    }
    return index;
}

/* Shorten the first key of the right half to what tells it from the last of
 * the left half. */
static void shorten_separator(struct wdb_buffer *separator,
                              const struct wdb_key_page *keys, uint32_t index)
{
    struct wdb_slice shorter = wdb_buffer_slice(separator);
    uint32_t low = keys->prefix_size, high = (uint32_t)separator->size;
    /* The shortest part of it that is still greater. */
    while (low < high) {
        shorter.size = low + (high - low) / 2;
        if (wdb_key_page_compare(keys, index - 1, shorter) < 0) {
            high = (uint32_t)shorter.size;
        } else {
            low = (uint32_t)shorter.size + 1;
        }
    }
    separator->size = high;
}

static void halves_release(struct halves *halves)
{
    wdb_key_page_release(&halves->left);
    wdb_buffer_release(&halves->separator);
    if (halves->right != NULL) {
        node_free(halves->right);
    }
}

/* Make both halves of a node: the right one from key `index` on (an inner
 * node's key `index` itself becomes the separator). ENOMEM. */
static int halves_make(const struct wdb_ordered_node *node, uint32_t index,
                       struct halves *out)
{
    const struct wdb_key_page *keys = &node->keys;
    struct wdb_key_range none = {keys, 0, 0};
    struct wdb_key_range left = {keys, 0, index};
    struct wdb_key_range right = {keys, node->is_leaf ? index : index + 1,
                                  keys->count};
    *out = (struct halves){.right = node_new(node->is_leaf)};
    int rc = out->right == NULL ? WALKERDB_ENOMEM : 0;
    if (rc == 0) {
        rc = wdb_key_page_copy_key(keys, index, &out->separator);
    }
    if (rc == 0) {
        rc = wdb_key_page_build(&out->left, left, none);
    }
    if (rc == 0) {
        rc = wdb_key_page_build(&out->right->keys, right, none);
    }
    if (rc != 0) {
        halves_release(out);
        return rc;
    }
    if (node->is_leaf) {
        shorten_separator(&out->separator, keys, index);
    }
    return 0;
}

/* Link the right half in behind the node. */
static void link_right(struct wdb_ordered_node *node, uint32_t index,
                       struct wdb_ordered_node *right)
{
    if (!node->is_leaf) {
        memcpy(wdb_ordered_inner_of(right)->children,
               &wdb_ordered_inner_of(node)->children[index + 1],
               (right->keys.count + 1) * sizeof(struct wdb_ordered_node *));
        return;
    }
    struct wdb_ordered_leaf *leaf = wdb_ordered_leaf_of(node);
    struct wdb_ordered_leaf *added = wdb_ordered_leaf_of(right);
    added->previous = leaf;
    added->next = leaf->next;
    if (leaf->next != NULL) {
        leaf->next->previous = added;
    }
    leaf->next = added;
}

/* Split child `at` of an inner node that is not full. ENOMEM: unchanged. */
static int split_child(struct wdb_ordered *ordered,
                       struct wdb_ordered_node *parent, uint32_t at,
                       struct wdb_slice key)
{
    struct wdb_ordered_inner *inner = wdb_ordered_inner_of(parent);
    struct wdb_ordered_node *node = inner->children[at];
    uint32_t index =
        node->is_leaf ? leaf_split_index(node, key) : node->keys.count / 2;
    struct halves halves;
    int rc = halves_make(node, index, &halves);
    if (rc != 0) {
        return rc;
    }
    uint64_t before = node_memory(parent) + node_memory(node);
    rc = wdb_key_page_insert(&parent->keys, at,
                             wdb_buffer_slice(&halves.separator));
    if (rc != 0) {
        halves_release(&halves);
        return rc;
    }
    link_right(node, index, halves.right);
    wdb_key_page_release(&node->keys);
    node->keys = halves.left;
    memmove(&inner->children[at + 2], &inner->children[at + 1],
            (parent->keys.count - 1 - at) * sizeof(inner->children[0]));
    inner->children[at + 1] = halves.right;
    wdb_buffer_release(&halves.separator);
    count_memory(ordered,
                 node_memory(parent) + node_memory(node) +
                     node_memory(halves.right),
                 before);
    return 0;
}

/* Put a new root above the one that is full. ENOMEM: unchanged. */
static int split_root(struct wdb_ordered *ordered, struct wdb_slice key)
{
    struct wdb_ordered_node *root = node_new(false);
    if (root == NULL) {
        return WALKERDB_ENOMEM;
    }
    wdb_ordered_inner_of(root)->children[0] = ordered->root;
    uint64_t added = node_memory(root);
    int rc = split_child(ordered, root, 0, key);
    if (rc != 0) {
        node_free(root);
        return rc;
    }
    count_memory(ordered, added, 0);
    ordered->root = root;
    return 0;
}

/* ---- insertion ----------------------------------------------------------- */

static void lock_for_change(struct wdb_ordered *ordered)
{
    int rc = pthread_rwlock_wrlock(&ordered->lock);
    wdb_assert(rc == 0);
}

static int insert_locked(struct wdb_ordered *ordered, struct wdb_slice key)
{
    ordered->version++;
    if (is_full(ordered->root)) {
        int rc = split_root(ordered, key);
        if (rc != 0) {
            return rc;
        }
    }
    struct wdb_ordered_node *node = ordered->root;
    while (!node->is_leaf) {
        uint32_t at = wdb_ordered_child_index(node, key);
        struct wdb_ordered_node *child =
            wdb_ordered_inner_of(node)->children[at];
        if (is_full(child)) {
            int rc = split_child(ordered, node, at, key);
            if (rc != 0) {
                return rc;
            }
            at = wdb_ordered_child_index(node, key);
            child = wdb_ordered_inner_of(node)->children[at];
        }
        node = child;
    }
    bool is_there;
    uint32_t index = wdb_key_page_find(&node->keys, key, &is_there);
    if (is_there) {
        return 0;
    }
    uint64_t before = node_memory(node);
    int rc = wdb_key_page_insert(&node->keys, index, key);
    if (rc == 0) {
        count_memory(ordered, node_memory(node), before);
        count_key(ordered, 1);
    }
    return rc;
}

int wdb_ordered_insert(struct wdb_ordered *ordered, struct wdb_slice key)
{
    lock_for_change(ordered);
    int rc = insert_locked(ordered, key);
    pthread_rwlock_unlock(&ordered->lock);
    return rc;
}

/* ---- deletion ------------------------------------------------------------ */

/* The way from the root to a leaf. */
struct path {
    uint32_t depth;
    struct wdb_ordered_node *nodes[WDB_ORDERED_DEPTH_MAX];
    uint32_t at[WDB_ORDERED_DEPTH_MAX]; /* which child was taken */
};

static struct wdb_ordered_node *descend(const struct wdb_ordered *ordered,
                                        struct wdb_slice key, struct path *path)
{
    struct wdb_ordered_node *node = ordered->root;
    path->depth = 0;
    while (!node->is_leaf) {
        wdb_assert(path->depth < WDB_ORDERED_DEPTH_MAX);
        uint32_t at = wdb_ordered_child_index(node, key);
        path->nodes[path->depth] = node;
        path->at[path->depth++] = at;
        node = wdb_ordered_inner_of(node)->children[at];
    }
    return node;
}

/* Take child `at` out of its parent, which has more than one; the child itself
 * stays. The neighbour covers what it did. */
static void drop_child(struct wdb_ordered_node *parent, uint32_t at)
{
    struct wdb_ordered_inner *inner = wdb_ordered_inner_of(parent);
    memmove(&inner->children[at], &inner->children[at + 1],
            (parent->keys.count - at) * sizeof(inner->children[0]));
    wdb_key_page_erase(&parent->keys, at == 0 ? 0 : at - 1);
}

static void unlink_leaf(struct wdb_ordered_leaf *leaf)
{
    if (leaf->previous != NULL) {
        leaf->previous->next = leaf->next;
    }
    if (leaf->next != NULL) {
        leaf->next->previous = leaf->previous;
    }
}

/* Free an empty leaf that is not the root, and the inner nodes that had nothing
 * but it. */
static void remove_leaf(struct wdb_ordered *ordered, struct path *path,
                        struct wdb_ordered_node *leaf)
{
    unlink_leaf(wdb_ordered_leaf_of(leaf));
    struct wdb_ordered_node *node = leaf;
    for (;;) {
        count_memory(ordered, 0, node_memory(node));
        node_free(node);
        /* The root has two children or more. */
        wdb_assert(path->depth > 0);
        node = path->nodes[--path->depth];
        if (node->keys.count > 0) {
            uint64_t before = node_memory(node);
            drop_child(node, path->at[path->depth]);
            count_memory(ordered, node_memory(node), before);
            return;
        }
    }
}

/* Join a leaf with the one to its right if both are small; without memory they
 * stay as they are. */
static bool join(struct wdb_ordered *ordered, struct wdb_ordered_node *parent,
                 uint32_t at)
{
    struct wdb_ordered_inner *inner = wdb_ordered_inner_of(parent);
    struct wdb_ordered_node *left = inner->children[at];
    struct wdb_ordered_node *right = inner->children[at + 1];
    struct wdb_key_range first = {&left->keys, 0, left->keys.count};
    struct wdb_key_range second = {&right->keys, 0, right->keys.count};
    struct wdb_key_page keys;
    if (wdb_key_page_used(&left->keys) + wdb_key_page_used(&right->keys) >
            JOIN_UP_TO ||
        wdb_key_page_build(&keys, first, second) != 0) {
        return false;
    }
    uint64_t before =
        node_memory(parent) + node_memory(left) + node_memory(right);
    unlink_leaf(wdb_ordered_leaf_of(right));
    node_free(right);
    wdb_key_page_release(&left->keys);
    left->keys = keys;
    drop_child(parent, at + 1);
    count_memory(ordered, node_memory(parent) + node_memory(left), before);
    return true;
}

static void join_neighbours(struct wdb_ordered *ordered, struct path *path)
{
    struct wdb_ordered_node *parent = path->nodes[path->depth - 1];
    uint32_t at = path->at[path->depth - 1];
    if (at < parent->keys.count && join(ordered, parent, at)) {
        return;
    }
    if (at > 0) {
        (void)join(ordered, parent, at - 1);
    }
}

/* A root with one child is not needed. */
static void lower_root(struct wdb_ordered *ordered)
{
    while (!ordered->root->is_leaf && ordered->root->keys.count == 0) {
        struct wdb_ordered_node *root = ordered->root;
        ordered->root = wdb_ordered_inner_of(root)->children[0];
        count_memory(ordered, 0, node_memory(root));
        node_free(root);
    }
}

static bool delete_locked(struct wdb_ordered *ordered, struct wdb_slice key)
{
    struct path path;
    struct wdb_ordered_node *leaf = descend(ordered, key, &path);
    bool is_there;
    uint32_t index = wdb_key_page_find(&leaf->keys, key, &is_there);
    if (!is_there) {
        return false;
    }
    ordered->version++;
    count_key(ordered, (uint64_t)-1);
    uint64_t before = node_memory(leaf);
    wdb_key_page_erase(&leaf->keys, index);
    count_memory(ordered, node_memory(leaf), before);
    if (path.depth == 0) {
        return true;
    }
    if (leaf->keys.count == 0) {
        remove_leaf(ordered, &path, leaf);
    } else if (wdb_key_page_used(&leaf->keys) < JOIN_BELOW) {
        join_neighbours(ordered, &path);
    }
    lower_root(ordered);
    return true;
}

bool wdb_ordered_delete(struct wdb_ordered *ordered, struct wdb_slice key)
{
    lock_for_change(ordered);
    bool was_there = delete_locked(ordered, key);
    pthread_rwlock_unlock(&ordered->lock);
    return was_there;
}

/* ---- figures and checks -------------------------------------------------- */

uint64_t wdb_ordered_count(const struct wdb_ordered *ordered)
{
    return atomic_load_explicit(&ordered->count, memory_order_relaxed);
}

uint64_t wdb_ordered_memory(const struct wdb_ordered *ordered)
{
    return atomic_load_explicit(&ordered->memory, memory_order_relaxed);
}

/* What a walk over the tree finds. */
struct census {
    uint64_t count, memory;
    uint32_t leaf_depth; /* of all leaves, 0 = not known yet */
    struct wdb_ordered_leaf *last;
    struct wdb_buffer key; /* the greatest so far */
    bool has_key;
};

static void check_leaf(struct wdb_ordered_leaf *leaf, struct census *census)
{
    wdb_assert(leaf->previous == census->last);
    wdb_assert(census->last == NULL || census->last->next == leaf);
    census->last = leaf;
    for (uint32_t i = 0; i < leaf->node.keys.count; i++) {
        wdb_assert(!census->has_key ||
                   wdb_key_page_compare(&leaf->node.keys, i,
                                        wdb_buffer_slice(&census->key)) > 0);
        if (wdb_key_page_copy_key(&leaf->node.keys, i, &census->key) != 0) {
            return;
        }
        census->has_key = true;
        census->count++;
    }
}

static void check_node(struct wdb_ordered_node *node, uint32_t depth,
                       struct census *census)
{
    census->memory += node_memory(node);
    if (node->is_leaf) {
        wdb_assert(depth == 1 || node->keys.count > 0);
        wdb_assert(census->leaf_depth == 0 || census->leaf_depth == depth);
        census->leaf_depth = depth;
        check_leaf(wdb_ordered_leaf_of(node), census);
        return;
    }
    for (uint32_t i = 0; i <= node->keys.count; i++) {
        check_node(wdb_ordered_inner_of(node)->children[i], depth + 1, census);
        if (i < node->keys.count) {
            /* Less than the separator, and what follows is not. */
            wdb_assert(wdb_key_page_compare(
                           &node->keys, i, wdb_buffer_slice(&census->key)) > 0);
            struct wdb_ordered_leaf *next = census->last->next;
            struct wdb_buffer separator = WDB_BUFFER_INIT;
            if (wdb_key_page_copy_key(&node->keys, i, &separator) == 0) {
                wdb_assert(wdb_key_page_compare(&next->node.keys, 0,
                                                wdb_buffer_slice(&separator)) >=
                           0);
            }
            wdb_buffer_release(&separator);
        }
    }
}

void wdb_ordered_check(struct wdb_ordered *ordered)
{
    lock_for_change(ordered);
    struct census census = {.memory = sizeof(*ordered)};
    check_node(ordered->root, 1, &census);
    wdb_assert(census.last->next == NULL);
    wdb_assert(census.count == wdb_ordered_count(ordered));
    wdb_assert(census.memory == wdb_ordered_memory(ordered));
    wdb_buffer_release(&census.key);
    pthread_rwlock_unlock(&ordered->lock);
}
