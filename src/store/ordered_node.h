/*
 * ordered_node.h - nodes of the ordered index, shared by its two sources.
 *
 * An inner node with n keys has n + 1 children: child i has the keys that are
 * at least key i - 1 and less than key i. Its keys are the shortest that
 * separate two children, and need not exist. Leaves are linked.
 */
#ifndef WDB_STORE_ORDERED_NODE_H
#define WDB_STORE_ORDERED_NODE_H

#include <pthread.h>
#include <stdatomic.h>

#include "store/key_page.h"
#include "store/ordered.h"

#define WDB_ORDERED_LEAF_SIZE 2048 /* bytes; split above */
#define WDB_ORDERED_CHILDREN  64
#define WDB_ORDERED_DEPTH_MAX 32

struct wdb_ordered_node {
    struct wdb_key_page keys;
    bool is_leaf;
};
struct wdb_ordered_leaf {
    struct wdb_ordered_node node;
    struct wdb_ordered_leaf *previous, *next;
};
struct wdb_ordered_inner {
    struct wdb_ordered_node node;
    struct wdb_ordered_node *children[WDB_ORDERED_CHILDREN];
};

struct wdb_ordered {
    pthread_rwlock_t lock;
    struct wdb_ordered_node *root; /* never NULL */
    uint64_t version;              /* of the whole tree */
    _Atomic uint64_t count, memory;
};

static inline struct wdb_ordered_leaf *wdb_ordered_leaf_of(
    struct wdb_ordered_node *node)
{
    return (struct wdb_ordered_leaf *)node;
}
static inline struct wdb_ordered_inner *wdb_ordered_inner_of(
    struct wdb_ordered_node *node)
{
    return (struct wdb_ordered_inner *)node;
}

/* The child where the key belongs. */
static inline uint32_t wdb_ordered_child_index(
    const struct wdb_ordered_node *inner, struct wdb_slice key)
{
    bool is_equal;
    uint32_t index = wdb_key_page_find(&inner->keys, key, &is_equal);
    return index + is_equal;
}

/* The leaf where the key belongs. */
static inline struct wdb_ordered_leaf *wdb_ordered_find_leaf(
    const struct wdb_ordered *ordered, struct wdb_slice key)
{
    struct wdb_ordered_node *node = ordered->root;
    while (!node->is_leaf) {
        uint32_t index = wdb_ordered_child_index(node, key);
        node = wdb_ordered_inner_of(node)->children[index];
    }
    return wdb_ordered_leaf_of(node);
}

#endif
