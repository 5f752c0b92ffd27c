/* links.c - linear hashing over embedded nodes. */
#include "store/links.h"

#include <stdlib.h>

#include "base/assert.h"

void wdb_links_init(struct wdb_links *links)
{
    *links = (struct wdb_links){.bucket_count = WDB_LINKS_FIRST};
}

void wdb_links_release(struct wdb_links *links)
{
    for (size_t i = 0; i < links->piece_count; i++) {
        free(links->pieces[i]);
    }
    free(links->pieces);
    wdb_links_init(links);
}

static struct wdb_link **bucket_at(const struct wdb_links *links,
                                   uint64_t number)
{
    if (number < WDB_LINKS_FIRST) {
        return (struct wdb_link **)&links->first[number];
    }
    number -= WDB_LINKS_FIRST;
    return &links->pieces[number / WDB_LINKS_PIECE][number % WDB_LINKS_PIECE];
}

/* Smallest power of two that is not below the number of buckets. */
static uint64_t line_size(const struct wdb_links *links)
{
    uint64_t size = UINT64_C(1) << (63 - __builtin_clzll(links->bucket_count));
    return size < links->bucket_count ? size * 2 : size;
}

static struct wdb_link **bucket_of(const struct wdb_links *links, uint64_t hash)
{
    const uint64_t size = line_size(links);
    uint64_t number = hash & (size - 1);
    if (number >= links->bucket_count) {
        number &= size / 2 - 1;
    }
    return bucket_at(links, number);
}

struct wdb_link *wdb_links_find_next(const struct wdb_link *link)
{
    const uint64_t hash = link->hash;
    do {
        link = link->next;
    } while (link != NULL && link->hash != hash);
    return (struct wdb_link *)link;
}

struct wdb_link *wdb_links_find(const struct wdb_links *links, uint64_t hash)
{
    struct wdb_link *link = *bucket_of(links, hash);
    while (link != NULL && link->hash != hash) {
        link = link->next;
    }
    return link;
}

/* Room for one more bucket; false without memory. */
static bool extend(struct wdb_links *links)
{
    if (links->bucket_count - WDB_LINKS_FIRST <
        links->piece_count * WDB_LINKS_PIECE) {
        return true;
    }
    if (links->piece_count == links->piece_capacity) {
        const size_t capacity =
            links->piece_capacity == 0 ? 4 : links->piece_capacity * 2;
        struct wdb_link ***pieces =
            realloc(links->pieces, capacity * sizeof(*pieces));
        if (pieces == NULL) {
            return false;
        }
        links->pieces = pieces;
        links->piece_capacity = capacity;
    }
    struct wdb_link **piece = calloc(WDB_LINKS_PIECE, sizeof(*piece));
    if (piece == NULL) {
        return false;
    }
    links->pieces[links->piece_count++] = piece;
    return true;
}

static void split(struct wdb_links *links)
{
    if (!extend(links)) {
        return;
    }
    const uint64_t number = links->bucket_count++;
    const uint64_t size = line_size(links);
    struct wdb_link **from = bucket_at(links, number & (size / 2 - 1));
    struct wdb_link **to = bucket_at(links, number);
    while (*from != NULL) {
        struct wdb_link *link = *from;
        if ((link->hash & (size - 1)) == number) {
            *from = link->next;
            link->next = *to;
            *to = link;
        } else {
            from = &link->next;
        }
    }
}

void wdb_links_insert(struct wdb_links *links, struct wdb_link *link,
                      uint64_t hash)
{
    if (links->count >= links->bucket_count) {
        split(links);
    }
    struct wdb_link **bucket = bucket_of(links, hash);
    link->hash = hash;
    link->next = *bucket;
    *bucket = link;
    links->count++;
}

void wdb_links_remove(struct wdb_links *links, struct wdb_link *link)
{
    struct wdb_link **at = bucket_of(links, link->hash);
    while (*at != link) {
        wdb_assert(*at != NULL);
        at = &(*at)->next;
    }
    *at = link->next;
    link->next = NULL;
    links->count--;
}

struct wdb_link *wdb_links_take_all(struct wdb_links *links)
{
    struct wdb_link *all = NULL;
    for (uint64_t i = 0; i < links->bucket_count; i++) {
        struct wdb_link **bucket = bucket_at(links, i);
        while (*bucket != NULL) {
            struct wdb_link *link = *bucket;
            *bucket = link->next;
            link->next = all;
            all = link;
        }
    }
    links->count = 0;
    return all;
}
