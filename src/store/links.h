/*
 * links.h - a hash table of nodes that belong to somebody else.
 *
 * Linear hashing (Litwin, VLDB 1980): it grows by one bucket at a time, in
 * pieces of WDB_LINKS_PIECE buckets, so no insertion takes long. The nodes are
 * embedded in what they stand for, so an insertion cannot fail; without memory
 * for a new piece the chains get longer instead.
 *
 * Threads: the caller's lock.
 */
#ifndef WDB_STORE_LINKS_H
#define WDB_STORE_LINKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WDB_LINKS_PIECE 256
#define WDB_LINKS_FIRST 4 /* buckets before anything is allocated */

struct wdb_link {
    struct wdb_link *next;
    uint64_t hash;
};

struct wdb_links {
    struct wdb_link *first[WDB_LINKS_FIRST];
    struct wdb_link ***pieces; /* buckets from WDB_LINKS_FIRST on */
    size_t piece_count, piece_capacity;
    uint64_t bucket_count;
    uint64_t count;
};

/* Empty; allocates nothing. */
void wdb_links_init(struct wdb_links *links);
/* Free the buckets; the nodes are their owners'. */
void wdb_links_release(struct wdb_links *links);
/* First node with this hash, and the next one behind it; NULL: none. */
struct wdb_link *wdb_links_find(const struct wdb_links *links, uint64_t hash);
struct wdb_link *wdb_links_find_next(const struct wdb_link *link);
/* Add; link->hash is set by this. It is in no table. */
void wdb_links_insert(struct wdb_links *links, struct wdb_link *link,
                      uint64_t hash);
/* Take it out; it must be in. */
void wdb_links_remove(struct wdb_links *links, struct wdb_link *link);
/* Take all out: they come back as a chain. */
struct wdb_link *wdb_links_take_all(struct wdb_links *links);

#endif
