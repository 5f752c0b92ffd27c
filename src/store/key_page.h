/*
 * key_page.h - a sorted run of keys in one block of memory, as a node of the
 * ordered index has it. What all keys begin with is stored once.
 *
 *   0          prefix_size              size                      capacity
 *   +----------+--------+--------+- - -+- - - - - +- - -+-------+-------+
 *   | prefix   | rest 0 | rest 1 |     | unused   |     | end 1 | end 0 |
 *   +----------+--------+--------+- - -+- - - - - +- - -+-------+-------+
 *
 * end i (u32) is the offset behind the rest of key i. Memory grows with what is
 * in it, by an eighth at a time.
 *
 * Threads: the index's lock.
 */
#ifndef WDB_STORE_KEY_PAGE_H
#define WDB_STORE_KEY_PAGE_H

#include "base/attributes.h"
#include "base/buffer.h"
#include "base/slice.h"

struct wdb_key_page {
    uint8_t *memory; /* NULL while nothing is in it */
    uint32_t capacity;
    uint32_t size;
    uint32_t prefix_size;
    uint32_t count;
};

static inline void wdb_key_page_init(struct wdb_key_page *page)
{
    *page = (struct wdb_key_page){0};
}
/* Free the memory; the page is empty and usable. */
void wdb_key_page_release(struct wdb_key_page *page);

/* A key is its page's prefix and a rest of its own. */
static inline struct wdb_slice wdb_key_page_prefix(
    const struct wdb_key_page *page)
{
    return wdb_slice(page->memory, page->prefix_size);
}
struct wdb_slice wdb_key_page_rest(const struct wdb_key_page *page,
                                   uint32_t index);
/* Replace what is in the buffer by a copy of the key. ENOMEM: unchanged. */
WDB_MUST_CHECK int wdb_key_page_copy_key(const struct wdb_key_page *page,
                                         uint32_t index,
                                         struct wdb_buffer *out);
/* Order of that key and the other one. */
int wdb_key_page_compare(const struct wdb_key_page *page, uint32_t index,
                         struct wdb_slice key);

/* Index of the first key that is not less (count if there is none);
 * *is_equal_out tells whether it is the key. */
uint32_t wdb_key_page_find(const struct wdb_key_page *page,
                           struct wdb_slice key, bool *is_equal_out);
/* Insert before `index`, where it belongs. ENOMEM: unchanged. */
WDB_MUST_CHECK int wdb_key_page_insert(struct wdb_key_page *page,
                                       uint32_t index, struct wdb_slice key);
/* Remove the key. Never fails. */
void wdb_key_page_erase(struct wdb_key_page *page, uint32_t index);

/* A part of a page. */
struct wdb_key_range {
    const struct wdb_key_page *page;
    uint32_t from, to; /* `to` is behind the last */
};
/* Make *out (not yet initialised) of the keys of one range and then another
 * (which may be empty), all in ascending order. ENOMEM. */
WDB_MUST_CHECK int wdb_key_page_build(struct wdb_key_page *out,
                                      struct wdb_key_range first,
                                      struct wdb_key_range second);

/* Bytes that the keys take, without unused memory. */
static inline uint64_t wdb_key_page_used(const struct wdb_key_page *page)
{
    return page->size + page->count * UINT64_C(4);
}

#endif
