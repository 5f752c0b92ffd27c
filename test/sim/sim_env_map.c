/*
 * sim_env_map.c - mappings of simulated files: copies that writes update.
 *
 * Small ones come from the heap, where the address sanitizer watches who
 * reads them after unmap; big ones from mmap(), where pages that nobody
 * touches cost nothing.
 */
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/assert.h"
#include "sim/sim_env_internal.h"
#include "walkerdb.h"

#define HEAP_SIZE_MAX ((uint64_t)1 << 20)

static uint64_t size_in_pages(uint64_t size)
{
    return (uint64_t)sim_pages_of(size) * SIM_PAGE;
}

/* Memory of zeros on a page boundary. */
static void memory_make(struct sim_mapping *mapping)
{
    size_t size = (size_t)size_in_pages(mapping->size);

    mapping->is_mmap = mapping->size > HEAP_SIZE_MAX;
    if (mapping->is_mmap) {
        void *data = mmap(NULL, size, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        wdb_assert(data != MAP_FAILED);
        mapping->data = data;
        return;
    }
    /* Not aligned_alloc(): see sim_alloc(). */
    mapping->data = memalign(SIM_PAGE, size);
    wdb_assert(mapping->data != NULL);
    memset(mapping->data, 0, size);
}

/* Copy in what is not zeros; damage shows. */
static void memory_fill(struct sim_mapping *mapping, struct sim_inode *inode)
{
    size_t page_count = sim_pages_of(mapping->size);

    for (size_t i = 0; i < page_count; i++) {
        uint64_t at = (uint64_t)i * SIM_PAGE;
        const uint8_t *page = sim_content_page(&inode->content, i);

        if (inode->unreadable_count != 0 &&
            sim_inode_is_unreadable(inode, at, SIM_PAGE)) {
            mapping->damaged = true;
        } else if (page != NULL) {
            memcpy(mapping->data + at, page, SIM_PAGE);
        }
    }
}

int sim_map(struct wdb_file *file, uint64_t size, const void **out)
{
    struct sim_file *f = sim_file_of(file);
    struct sim_env *env = sim_env_of(file->env);
    struct sim_op_state state;
    int error = sim_op_begin(env, f, SIM_OP_MAP, &state);
    struct sim_mapping *mapping = NULL;

    if (error == 0 && (size == 0 || size > f->inode->content.size)) {
        error = WALKERDB_EINVALID;
    }
    if (error == 0) {
        mapping = calloc(1, sizeof(*mapping));
        error = mapping == NULL ? WALKERDB_ENOMEM : 0;
    }
    if (error == 0) {
        mapping->size = size;
        mapping->inode = f->inode;
        wdb_list_init(&mapping->on_env);
        wdb_list_init(&mapping->on_inode);
        wdb_list_append(&env->mappings, &mapping->on_env);
        wdb_list_append(&f->inode->mappings, &mapping->on_inode);
        memory_make(mapping);
        memory_fill(mapping, f->inode);
        *out = mapping->data;
    }
    return sim_op_end(env, &state, error);
}

/* The mapping that has this byte. */
static struct sim_mapping *mapping_find(struct sim_env *env, const void *data)
{
    uintptr_t address = (uintptr_t)data;

    WDB_LIST_FOREACH(node, &env->mappings)
    {
        struct sim_mapping *mapping =
            WDB_LIST_ENTRY(node, struct sim_mapping, on_env);
        uintptr_t start = (uintptr_t)mapping->data;

        if (address >= start && address - start < mapping->size) {
            return mapping;
        }
    }
    return NULL;
}

void sim_mapping_free(struct sim_mapping *mapping)
{
    wdb_list_remove(&mapping->on_inode);
    wdb_list_remove(&mapping->on_env);
    if (mapping->is_mmap) {
        int error = munmap(mapping->data, (size_t)size_in_pages(mapping->size));
        wdb_assert(error == 0);
    } else {
        free(mapping->data);
    }
    free(mapping);
}

void sim_unmap(struct wdb_env *base, const void *data, uint64_t size)
{
    struct sim_env *env = sim_env_of(base);

    sim_disk_lock(env->disk);
    struct sim_mapping *mapping = mapping_find(env, data);
    wdb_assert(mapping != NULL && mapping->data == data &&
               mapping->size == size);
    bool is_attached = !wdb_list_empty(&mapping->on_inode);
    bool is_orphan = is_attached && mapping->inode->link_count == 0;
    sim_mapping_free(mapping);
    if (is_orphan) {
        sim_disk_collect(env->disk);
    }
    sim_disk_unlock(env->disk);
}

bool sim_damaged(struct wdb_env *base, const void *data)
{
    struct sim_env *env = sim_env_of(base);

    sim_disk_lock(env->disk);
    struct sim_mapping *mapping = mapping_find(env, data);
    wdb_assert(mapping != NULL);
    bool damaged = mapping->damaged;
    sim_disk_unlock(env->disk);
    return damaged;
}

int sim_resident(struct wdb_env *base, const void *data, size_t size,
                 unsigned char *resident)
{
    struct sim_env *env = sim_env_of(base);
    struct sim_op_state state;
    int error = sim_op_begin(env, NULL, SIM_OP_RESIDENT, &state);

    if (error == 0) {
        struct sim_mapping *mapping = mapping_find(env, data);
        wdb_assert(mapping != NULL);
        uint64_t offset = (uint64_t)((const uint8_t *)data - mapping->data);
        wdb_assert(offset % SIM_PAGE == 0);
        wdb_assert(size <= size_in_pages(mapping->size) - offset);
        bool is_attached = !wdb_list_empty(&mapping->on_inode);
        for (size_t i = 0; i < sim_pages_of(size); i++) {
            resident[i] = !is_attached ||
                          !sim_inode_is_cold(mapping->inode,
                                             (size_t)(offset / SIM_PAGE) + i);
        }
    }
    return sim_op_end(env, &state, error);
}
