/*
 * ordered.h - the keys of a database in the order of their bytes: a B+ tree in
 * memory, beside the hash tables, for the library's option `ordered`.
 *
 * It holds keys only; what belongs to a key is asked of the keydir. Nodes have
 * about 2 KiB; what the keys of a node begin with is stored once (key_page.h),
 * so that a key costs less than its own size if keys are alike, and about 12
 * bytes more than its size if they are not.
 *
 * Threads: any; a reader-writer lock for the whole tree, held for one step. A
 * cursor belongs to one thread; it keeps a copy of its key, so it holds nothing
 * up and survives every change: after one, it looks for its key again. So a
 * walk from one end to the other returns each key that is there all the time
 * exactly once.
 */
#ifndef WDB_STORE_ORDERED_H
#define WDB_STORE_ORDERED_H

#include "base/attributes.h"
#include "base/buffer.h"
#include "base/slice.h"

struct wdb_ordered;
struct wdb_ordered_node;

/* Empty; ENOMEM. */
WDB_MUST_CHECK int wdb_ordered_new(struct wdb_ordered **out);
/* Nobody uses it any more, no cursor either. NULL is fine. */
void wdb_ordered_free(struct wdb_ordered *ordered);

/* Drop all keys; cursors stay sound. ENOMEM: unchanged. */
WDB_MUST_CHECK int wdb_ordered_clear(struct wdb_ordered *ordered);
/* Add a copy of the key; nothing happens if it is there. ENOMEM. */
WDB_MUST_CHECK int wdb_ordered_insert(struct wdb_ordered *ordered,
                                      struct wdb_slice key);
/* False if it was not there. Never fails; may allocate, but does without. */
bool wdb_ordered_delete(struct wdb_ordered *ordered, struct wdb_slice key);

/* Keys; bytes of memory. No lock. */
uint64_t wdb_ordered_count(const struct wdb_ordered *ordered);
uint64_t wdb_ordered_memory(const struct wdb_ordered *ordered);
/* Assert every invariant of the tree; for tests. */
void wdb_ordered_check(struct wdb_ordered *ordered);

/*
 * A place in the order. The members are the tree's own. Every move returns 0 or
 * ENOTFOUND or ENOMEM; then the cursor stays where it was, and a later move may
 * find what was added meanwhile.
 */
struct wdb_ordered_cursor {
    struct wdb_ordered *ordered;
    struct wdb_buffer key;
    bool has_key;
    /* Where the key is, if the tree has this version. */
    uint64_t version;
    struct wdb_ordered_node *leaf;
    uint32_t index;
};

void wdb_ordered_cursor_init(struct wdb_ordered_cursor *cursor,
                             struct wdb_ordered *ordered);
void wdb_ordered_cursor_release(struct wdb_ordered_cursor *cursor);
/* To the first key at or behind `key`; backwards: to the last at or before. */
WDB_MUST_CHECK int wdb_ordered_seek(struct wdb_ordered_cursor *cursor,
                                    struct wdb_slice key, bool backwards);
/* To the first (backwards: last) key that begins with the prefix, which may be
 * empty: all keys. */
WDB_MUST_CHECK int wdb_ordered_seek_prefix(struct wdb_ordered_cursor *cursor,
                                           struct wdb_slice prefix,
                                           bool backwards);
/* To the key after (before) the one that it stands on, which may be deleted by
 * now. It must stand on one. */
WDB_MUST_CHECK int wdb_ordered_next(struct wdb_ordered_cursor *cursor);
WDB_MUST_CHECK int wdb_ordered_previous(struct wdb_ordered_cursor *cursor);
/* The key that it stands on; valid until it moves. */
static inline struct wdb_slice wdb_ordered_key(
    const struct wdb_ordered_cursor *cursor)
{
    return wdb_buffer_slice(&cursor->key);
}

#endif
