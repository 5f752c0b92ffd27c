/* sim_disk_content.c - pages with reference counts, copied when written. */
#include "sim/sim_disk_content.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"

struct sim_page {
    _Atomic uint32_t references;
    uint8_t data[SIM_PAGE];
};

/* --- memory --------------------------------------------------------------- */

void *sim_realloc(void *memory, size_t size)
{
    /* reallocarray() is libc's own call, which --wrap does not see. */
    void *result = reallocarray(memory, 1, size != 0 ? size : 1);

    wdb_assert(result != NULL);
    return result;
}

void *sim_alloc(size_t size)
{
    return sim_realloc(NULL, size);
}

void *sim_alloc_zeroed(size_t size)
{
    return memset(sim_alloc(size), 0, size);
}

/* --- pages ---------------------------------------------------------------- */

static struct sim_page *page_acquire(struct sim_page *page)
{
    if (page != NULL) {
        atomic_fetch_add_explicit(&page->references, 1, memory_order_relaxed);
    }
    return page;
}

static void page_drop(struct sim_page *page)
{
    if (page != NULL && atomic_fetch_sub_explicit(&page->references, 1,
                                                  memory_order_acq_rel) == 1) {
        free(page);
    }
}

static struct sim_page *page_new(const struct sim_page *from)
{
    struct sim_page *page = sim_alloc(sizeof(*page));

    atomic_init(&page->references, 1);
    if (from != NULL) {
        memcpy(page->data, from->data, SIM_PAGE);
    } else {
        memset(page->data, 0, SIM_PAGE);
    }
    return page;
}

static void array_grow(struct sim_content *c, size_t page_count)
{
    if (page_count <= c->page_count) {
        return;
    }
    c->pages = sim_realloc(c->pages, page_count * sizeof(*c->pages));
    memset(c->pages + c->page_count, 0,
           (page_count - c->page_count) * sizeof(*c->pages));
    c->page_count = page_count;
}

/* The page for writing, ours alone. */
static uint8_t *page_own(struct sim_content *c, size_t index)
{
    array_grow(c, index + 1);
    struct sim_page *page = c->pages[index];

    if (page == NULL ||
        atomic_load_explicit(&page->references, memory_order_acquire) > 1) {
        c->pages[index] = page_new(page);
        page_drop(page);
    }
    return c->pages[index]->data;
}

/* --- contents ------------------------------------------------------------- */

static bool is_zero(const uint8_t *data, size_t size)
{
    return data[0] == 0 && memcmp(data, data + 1, size - 1) == 0;
}

void sim_content_release(struct sim_content *c)
{
    for (size_t i = 0; i < c->page_count; i++) {
        page_drop(c->pages[i]);
    }
    free(c->pages);
    *c = (struct sim_content){0};
}

void sim_content_copy(const struct sim_content *c, struct sim_content *out)
{
    out->size = c->size;
    out->page_count = c->page_count;
    out->pages = NULL;
    if (c->page_count == 0) {
        return;
    }
    out->pages = sim_alloc(c->page_count * sizeof(*out->pages));
    for (size_t i = 0; i < c->page_count; i++) {
        out->pages[i] = page_acquire(c->pages[i]);
    }
}

const uint8_t *sim_content_page(const struct sim_content *c, size_t index)
{
    if (index >= c->page_count || c->pages[index] == NULL) {
        return NULL;
    }
    return c->pages[index]->data;
}

void sim_content_read(const struct sim_content *c, void *data, uint64_t offset,
                      size_t size)
{
    uint8_t *out = data;

    while (size != 0) {
        size_t within = (size_t)(offset % SIM_PAGE);
        size_t part = size < SIM_PAGE - within ? size : SIM_PAGE - within;
        const uint8_t *page = sim_content_page(c, (size_t)(offset / SIM_PAGE));

        if (page != NULL) {
            memcpy(out, page + within, part);
        } else {
            memset(out, 0, part);
        }
        out += part;
        offset += part;
        size -= part;
    }
}

void sim_content_write(struct sim_content *c, uint64_t offset, const void *data,
                       size_t size)
{
    const uint8_t *in = data;

    while (size != 0) {
        size_t within = (size_t)(offset % SIM_PAGE);
        size_t part = size < SIM_PAGE - within ? size : SIM_PAGE - within;

        size_t index = (size_t)(offset / SIM_PAGE);
        if (sim_content_page(c, index) != NULL || !is_zero(in, part)) {
            memcpy(page_own(c, index) + within, in, part);
        }
        in += part;
        offset += part;
        size -= part;
    }
    if (offset > c->size) {
        c->size = offset;
    }
}

void sim_content_resize(struct sim_content *c, uint64_t size)
{
    size_t keep = sim_pages_of(size);
    size_t within = (size_t)(size % SIM_PAGE);

    for (size_t i = keep; i < c->page_count; i++) {
        page_drop(c->pages[i]);
        c->pages[i] = NULL;
    }
    if (within != 0 && sim_content_page(c, keep - 1) != NULL) {
        memset(page_own(c, keep - 1) + within, 0, SIM_PAGE - within);
    }
    c->size = size;
}

void sim_content_take_page(struct sim_content *c,
                           const struct sim_content *from, size_t index)
{
    struct sim_page *page =
        index < from->page_count ? from->pages[index] : NULL;

    if (page == NULL && index >= c->page_count) {
        return;
    }
    array_grow(c, index + 1);
    struct sim_page *old = c->pages[index];
    c->pages[index] = page_acquire(page);
    page_drop(old);
}
