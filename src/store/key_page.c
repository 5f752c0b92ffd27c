/* key_page.c - sorted keys in one block, their common beginning stored once. */
#include "store/key_page.h"

#include <stdlib.h>

#include "base/assert.h"
#include "base/bytes.h"
#include "walkerdb.h"

#define END_SIZE     4
#define CAPACITY_MIN 64

void wdb_key_page_release(struct wdb_key_page *page)
{
    free(page->memory);
    wdb_key_page_init(page);
}

/* Where the end of key `index` is stored. */
static uint8_t *end_at(const struct wdb_key_page *page, uint32_t index)
{
    return page->memory + page->capacity - END_SIZE * (index + UINT64_C(1));
}

/* Offset at which the rest of key `index` begins. */
static uint32_t begin_of(const struct wdb_key_page *page, uint32_t index)
{
    return index == 0 ? page->prefix_size : wdb_load32(end_at(page, index - 1));
}

struct wdb_slice wdb_key_page_rest(const struct wdb_key_page *page,
                                   uint32_t index)
{
    uint32_t begin = begin_of(page, index);
    return wdb_slice(page->memory + begin,
                     wdb_load32(end_at(page, index)) - begin);
}

int wdb_key_page_copy_key(const struct wdb_key_page *page, uint32_t index,
                          struct wdb_buffer *out)
{
    struct wdb_slice rest = wdb_key_page_rest(page, index);
    size_t size = page->prefix_size + rest.size;
    if (size > out->capacity) {
        int rc = wdb_buffer_reserve(out, size - out->size);
        if (rc != 0) {
            return rc;
        }
    }
    if (size > 0) {
        memcpy(out->data, page->memory, page->prefix_size);
        memcpy(out->data + page->prefix_size, rest.data, rest.size);
    }
    out->size = size;
    return 0;
}

static uint32_t common_size(struct wdb_slice a, struct wdb_slice b)
{
    size_t size = a.size < b.size ? a.size : b.size;
    uint32_t i = 0;
    while (i < size && a.data[i] == b.data[i]) {
        i++;
    }
    return i;
}

/* Order of the page's prefix and as much of the key. */
static int compare_prefix(const struct wdb_key_page *page, struct wdb_slice key)
{
    size_t size = key.size < page->prefix_size ? key.size : page->prefix_size;
    int order = size == 0 ? 0 : memcmp(page->memory, key.data, size);
    return order != 0 ? order : size < page->prefix_size;
}

static struct wdb_slice behind(struct wdb_slice key, uint32_t size)
{
    return size == 0 ? key : wdb_slice(key.data + size, key.size - size);
}

int wdb_key_page_compare(const struct wdb_key_page *page, uint32_t index,
                         struct wdb_slice key)
{
    int order = compare_prefix(page, key);
    return order != 0 ? order
                      : wdb_slice_compare(wdb_key_page_rest(page, index),
                                          behind(key, page->prefix_size));
}

uint32_t wdb_key_page_find(const struct wdb_key_page *page,
                           struct wdb_slice key, bool *is_equal_out)
{
    *is_equal_out = false;
    if (page->count == 0) {
        return 0;
    }
    int order = compare_prefix(page, key);
    if (order != 0) {
        return order > 0 ? 0 : page->count;
    }
    struct wdb_slice rest = behind(key, page->prefix_size);
    uint32_t low = 0, high = page->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        order = wdb_slice_compare(wdb_key_page_rest(page, middle), rest);
        if (order < 0) {
            low = middle + 1;
        } else {
            high = middle;
            *is_equal_out |= order == 0;
        }
    }
    return low;
}

/* ---- building ------------------------------------------------------------ */

/* Bytes of all keys of a range behind their first prefix_size. */
static uint64_t range_size(struct wdb_key_range range, uint32_t prefix_size)
{
    if (range.from == range.to) {
        return 0;
    }
    uint64_t count = range.to - range.from;
    uint64_t rests = wdb_load32(end_at(range.page, range.to - 1)) -
                     begin_of(range.page, range.from);
    return rests + count * range.page->prefix_size - count * prefix_size;
}

/* Append the keys; the page has memory for them and their prefix. */
static void append_range(struct wdb_key_page *page, struct wdb_key_range range)
{
    for (uint32_t i = range.from; i < range.to; i++) {
        struct wdb_slice rest = wdb_key_page_rest(range.page, i);
        uint32_t had = range.page->prefix_size;
        if (had > page->prefix_size) {
            memcpy(page->memory + page->size,
                   range.page->memory + page->prefix_size,
                   had - page->prefix_size);
            page->size += had - page->prefix_size;
        } else {
            rest = behind(rest, page->prefix_size - had);
        }
        if (rest.size > 0) {
            memcpy(page->memory + page->size, rest.data, rest.size);
        }
        page->size += (uint32_t)rest.size;
        wdb_store32(end_at(page, page->count), page->size);
        page->count++;
    }
}

/* How many bytes two keys of pages have in common. */
static uint32_t common_of_keys(const struct wdb_key_page *a, uint32_t a_index,
                               const struct wdb_key_page *b, uint32_t b_index)
{
    struct wdb_slice a_parts[2] = {wdb_key_page_prefix(a),
                                   wdb_key_page_rest(a, a_index)};
    struct wdb_slice b_parts[2] = {wdb_key_page_prefix(b),
                                   wdb_key_page_rest(b, b_index)};
    uint32_t size = 0;
    for (int i = 0, j = 0; i < 2 && j < 2;) {
        uint32_t more = common_size(a_parts[i], b_parts[j]);
        size += more;
        a_parts[i] = behind(a_parts[i], more);
        b_parts[j] = behind(b_parts[j], more);
        bool a_ends = a_parts[i].size == 0;
        bool b_ends = b_parts[j].size == 0;
        if (!a_ends && !b_ends) {
            break;
        }
        i += a_ends;
        j += b_ends;
    }
    return size;
}

/* As build, with that prefix and room for `extra` bytes more. */
static int build(struct wdb_key_page *out, struct wdb_key_range first,
                 struct wdb_key_range second, uint32_t prefix_size,
                 uint64_t extra)
{
    uint64_t count = first.to - first.from + (second.to - second.from);
    uint64_t size = prefix_size + range_size(first, prefix_size) +
                    range_size(second, prefix_size) + count * END_SIZE + extra;
    uint64_t capacity = (size + size / 8 + 15) & ~UINT64_C(15);
    if (capacity < CAPACITY_MIN) {
        capacity = CAPACITY_MIN;
    }
    if (capacity > UINT32_MAX) {
        return WALKERDB_ENOMEM;
    }
    uint8_t *memory = malloc(capacity);
    if (memory == NULL) {
        return WALKERDB_ENOMEM;
    }
    *out = (struct wdb_key_page){.memory = memory,
                                 .capacity = (uint32_t)capacity,
                                 .size = prefix_size,
                                 .prefix_size = prefix_size};
    const struct wdb_key_range *model =
        count == 0 || first.from < first.to ? &first : &second;
    if (prefix_size > 0) {
        uint32_t has = model->page->prefix_size;
        uint32_t part = prefix_size < has ? prefix_size : has;
        memcpy(memory, model->page->memory, part);
        memcpy(memory + part, wdb_key_page_rest(model->page, model->from).data,
               prefix_size - part);
    }
    append_range(out, first);
    append_range(out, second);
    return 0;
}

int wdb_key_page_build(struct wdb_key_page *out, struct wdb_key_range first,
                       struct wdb_key_range second)
{
    bool has_first = first.from < first.to;
    bool has_second = second.from < second.to;
    if (!has_first && !has_second) {
        wdb_key_page_init(out);
        return 0;
    }
    const struct wdb_key_range *least = has_first ? &first : &second;
    const struct wdb_key_range *greatest = has_second ? &second : &first;
    uint32_t prefix_size = common_of_keys(least->page, least->from,
                                          greatest->page, greatest->to - 1);
    return build(out, first, second, prefix_size, 0);
}

/* Have room for `extra` bytes more, with a prefix of that size at most. */
static int make_room(struct wdb_key_page *page, uint32_t prefix_size,
                     uint64_t extra)
{
    if (prefix_size == page->prefix_size &&
        wdb_key_page_used(page) + extra <= page->capacity) {
        return 0;
    }
    struct wdb_key_range all = {page, 0, page->count};
    struct wdb_key_range none = {page, 0, 0};
    struct wdb_key_page grown;
    int rc = build(&grown, all, none, prefix_size, extra);
    if (rc == 0) {
        free(page->memory);
        *page = grown;
    }
    return rc;
}

int wdb_key_page_insert(struct wdb_key_page *page, uint32_t index,
                        struct wdb_slice key)
{
    wdb_assert(key.size < UINT32_MAX);
    if (page->count == 0) {
        /* The first key is all prefix. */
        struct wdb_key_page fresh;
        struct wdb_key_range none = {page, 0, 0};
        int rc = build(&fresh, none, none, 0, key.size + END_SIZE);
        if (rc != 0) {
            return rc;
        }
        if (key.size > 0) {
            memcpy(fresh.memory, key.data, key.size);
        }
        fresh.prefix_size = fresh.size = (uint32_t)key.size;
        fresh.count = 1;
        wdb_store32(end_at(&fresh, 0), fresh.size);
        free(page->memory);
        *page = fresh;
        return 0;
    }
    uint32_t prefix_size = common_size(wdb_key_page_prefix(page), key);
    int rc = make_room(page, prefix_size, key.size - prefix_size + END_SIZE);
    if (rc != 0) {
        return rc;
    }
    struct wdb_slice rest = behind(key, prefix_size);
    uint32_t begin = begin_of(page, index);
    memmove(page->memory + begin + rest.size, page->memory + begin,
            page->size - begin);
    if (rest.size > 0) {
        memcpy(page->memory + begin, rest.data, rest.size);
    }
    page->size += (uint32_t)rest.size;
    for (uint32_t i = page->count; i > index; i--) {
        wdb_store32(end_at(page, i),
                    wdb_load32(end_at(page, i - 1)) + (uint32_t)rest.size);
    }
    wdb_store32(end_at(page, index), begin + (uint32_t)rest.size);
    page->count++;
    return 0;
}

void wdb_key_page_erase(struct wdb_key_page *page, uint32_t index)
{
    struct wdb_slice rest = wdb_key_page_rest(page, index);
    uint32_t begin = begin_of(page, index);
    memmove(page->memory + begin, page->memory + begin + rest.size,
            page->size - begin - rest.size);
    page->size -= (uint32_t)rest.size;
    for (uint32_t i = index; i + 1 < page->count; i++) {
        wdb_store32(end_at(page, i),
                    wdb_load32(end_at(page, i + 1)) - (uint32_t)rest.size);
    }
    page->count--;
    if (page->count == 0) {
        wdb_key_page_release(page);
    }
}
