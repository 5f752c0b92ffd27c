/* list.h - an intrusive, circular, doubly linked list. */
#ifndef WDB_BASE_LIST_H
#define WDB_BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

#include "base/attributes.h"

struct wdb_list {
    struct wdb_list *next, *prev;
};

static inline void wdb_list_init(struct wdb_list *l)
{
    l->next = l->prev = l;
}
static inline bool wdb_list_empty(const struct wdb_list *l)
{
    return l->next == l;
}
static inline void wdb_list_insert_before(struct wdb_list *at,
                                          struct wdb_list *node)
{
    node->prev = at->prev;
    node->next = at;
    at->prev->next = node;
    at->prev = node;
}
/* Append at the end of the list whose head is l. */
static inline void wdb_list_append(struct wdb_list *l, struct wdb_list *node)
{
    wdb_list_insert_before(l, node);
}
/* Unlink; the node is a list of its own afterwards, so twice is harmless. */
static inline void wdb_list_remove(struct wdb_list *node)
{
    node->prev->next = node->next;
    node->next->prev = node->prev;
    wdb_list_init(node);
}
#define WDB_LIST_ENTRY(node, type, member) WDB_CONTAINER_OF(node, type, member)
#define WDB_LIST_FOREACH(node, head)                                           \
    for (struct wdb_list *node = (head)->next; node != (head);                 \
         node = node->next)

#endif
