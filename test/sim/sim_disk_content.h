/*
 * sim_disk_content.h - the bytes of a simulated file: pages that copies share
 * until one of them writes.
 *
 * A missing page reads as zeros. Invariant: all bytes at or beyond `size` are
 * zero, so growing a file needs no work.
 *
 * The simulator's own memory comes from sim_alloc(): it does not pass
 * lib/fault_alloc.h, since the memory that it stands for is a disk.
 */
#ifndef WDB_TEST_SIM_DISK_CONTENT_H
#define WDB_TEST_SIM_DISK_CONTENT_H

#include <stddef.h>
#include <stdint.h>

#define SIM_PAGE   ((uint64_t)4096)
#define SIM_SECTOR ((uint64_t)512)

struct sim_page; /* reference-counted, by atomics: threads may share it */

struct sim_content {
    struct sim_page **pages; /* NULL: zeros */
    size_t page_count;       /* of the array; what lies beyond is zeros */
    uint64_t size;
};

/* Memory that allocation faults do not reach; never NULL. Release with free().
 */
void *sim_alloc(size_t size);
void *sim_alloc_zeroed(size_t size);
void *sim_realloc(void *memory, size_t size);

void sim_content_release(struct sim_content *c);
/* *out becomes a copy that shares all pages; out was empty ({0}). */
void sim_content_copy(const struct sim_content *c, struct sim_content *out);
/* Copy [offset, offset + size) out, zeros beyond what is there. */
void sim_content_read(const struct sim_content *c, void *data, uint64_t offset,
                      size_t size);
/* Bytes in; grows size if they end beyond it. */
void sim_content_write(struct sim_content *c, uint64_t offset, const void *data,
                       size_t size);
/* Set the size; bytes beyond become zeros. */
void sim_content_resize(struct sim_content *c, uint64_t size);
/* Let page `index` be the one that `from` has. Sizes stay. */
void sim_content_take_page(struct sim_content *c,
                           const struct sim_content *from, size_t index);
/* The page's bytes, NULL if it is all zeros for want of a page. */
const uint8_t *sim_content_page(const struct sim_content *c, size_t index);

/* Number of the page behind the one that holds the last of `size` bytes. */
static inline size_t sim_pages_of(uint64_t size)
{
    return (size_t)((size + SIM_PAGE - 1) / SIM_PAGE);
}

#endif
