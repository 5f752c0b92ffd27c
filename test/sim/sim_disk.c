/* sim_disk.c - files of a simulated disk: content, unsynced changes, damage. */
#include "sim/sim_disk.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "sim/sim_disk_internal.h"
#include "walkerdb.h"

void sim_disk_lock(struct sim_disk *disk)
{
    int error = pthread_mutex_lock(&disk->mutex);
    wdb_assert(error == 0);
}

void sim_disk_unlock(struct sim_disk *disk)
{
    int error = pthread_mutex_unlock(&disk->mutex);
    wdb_assert(error == 0);
}

static struct sim_disk *disk_new_empty(void)
{
    struct sim_disk *disk = sim_alloc_zeroed(sizeof(*disk));
    pthread_mutexattr_t attributes;
    int error = pthread_mutexattr_init(&attributes);

    wdb_assert(error == 0);
    error = pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_RECURSIVE);
    wdb_assert(error == 0);
    error = pthread_mutex_init(&disk->mutex, &attributes);
    wdb_assert(error == 0);
    pthread_mutexattr_destroy(&attributes);
    disk->next_pid = 1000;
    return disk;
}

struct sim_disk *sim_disk_new(void)
{
    struct sim_disk *disk = disk_new_empty();
    uint32_t root = sim_disk_inode_new(disk, true);

    wdb_assert(root == 0);
    sim_disk_inode(disk, root)->link_count = 1;
    return disk;
}

/* --- inodes --------------------------------------------------------------- */

struct sim_inode *sim_disk_inode(struct sim_disk *disk, uint32_t number)
{
    wdb_assert(number < disk->inode_count && disk->inodes[number] != NULL);
    return disk->inodes[number];
}

uint32_t sim_disk_inode_new(struct sim_disk *disk, bool is_dir)
{
    uint32_t number = 0;

    while (number < disk->inode_count && disk->inodes[number] != NULL) {
        number++;
    }
    if (number == disk->inode_count) {
        disk->inode_count++;
        disk->inodes = sim_realloc(disk->inodes,
                                   disk->inode_count * sizeof(*disk->inodes));
    }
    struct sim_inode *inode = sim_alloc_zeroed(sizeof(*inode));
    inode->is_dir = is_dir;
    wdb_list_init(&inode->mappings);
    disk->inodes[number] = inode;
    return number;
}

static void change_drop(struct sim_change *change)
{
    if (atomic_fetch_sub_explicit(&change->references, 1,
                                  memory_order_acq_rel) == 1) {
        free(change);
    }
}

void sim_inode_detach_mappings(struct sim_inode *inode)
{
    while (!wdb_list_empty(&inode->mappings)) {
        wdb_list_remove(inode->mappings.next);
    }
}

static void inode_free(struct sim_inode *inode)
{
    sim_inode_detach_mappings(inode);
    sim_inode_forget_changes(inode, inode->change_count);
    free(inode->changes);
    sim_content_release(&inode->content);
    sim_content_release(&inode->durable);
    sim_names_release(&inode->names);
    sim_names_release(&inode->names_durable);
    free(inode->unreadable);
    free(inode->cold);
    free(inode);
}

void sim_disk_free(struct sim_disk *disk)
{
    if (disk == NULL) {
        return;
    }
    sim_disk_forget_name_changes(disk);
    for (uint32_t i = 0; i < disk->inode_count; i++) {
        if (disk->inodes[i] != NULL) {
            inode_free(disk->inodes[i]);
        }
    }
    free(disk->inodes);
    free(disk->name_changes);
    pthread_mutex_destroy(&disk->mutex);
    free(disk);
}

static void mark(struct sim_disk *disk, bool *reached, uint32_t number)
{
    if (number == SIM_NO_INODE || reached[number]) {
        return;
    }
    struct sim_inode *inode = sim_disk_inode(disk, number);
    const struct sim_names *sets[2] = {&inode->names, &inode->names_durable};

    reached[number] = true;
    for (int k = 0; k < 2; k++) {
        for (size_t i = 0; i < sets[k]->count; i++) {
            mark(disk, reached, sets[k]->items[i].inode);
        }
    }
}

void sim_disk_collect(struct sim_disk *disk)
{
    bool *reached = sim_alloc_zeroed(disk->inode_count);

    mark(disk, reached, 0);
    for (size_t i = 0; i < disk->name_change_count; i++) {
        mark(disk, reached, disk->name_changes[i].inode);
        mark(disk, reached, disk->name_changes[i].dir_from);
        mark(disk, reached, disk->name_changes[i].dir_to);
    }
    for (uint32_t i = 0; i < disk->inode_count; i++) {
        struct sim_inode *inode = disk->inodes[i];

        if (inode != NULL && !reached[i] && inode->open_count == 0 &&
            wdb_list_empty(&inode->mappings)) {
            inode_free(inode);
            disk->inodes[i] = NULL;
        }
    }
    free(reached);
}

/* --- clones --------------------------------------------------------------- */

static void *copy_of(const void *data, size_t size)
{
    return size == 0 ? NULL : memcpy(sim_alloc(size), data, size);
}

static struct sim_inode *inode_clone(const struct sim_inode *from)
{
    struct sim_inode *inode = sim_alloc_zeroed(sizeof(*inode));

    inode->is_dir = from->is_dir;
    inode->link_count = from->link_count;
    wdb_list_init(&inode->mappings);
    sim_names_copy(&from->names, &inode->names);
    sim_names_copy(&from->names_durable, &inode->names_durable);
    sim_content_copy(&from->content, &inode->content);
    sim_content_copy(&from->durable, &inode->durable);
    inode->change_count = inode->change_capacity = from->change_count;
    inode->changes =
        copy_of(from->changes, from->change_count * sizeof(*from->changes));
    for (size_t i = 0; i < from->change_count; i++) {
        atomic_fetch_add_explicit(&from->changes[i]->references, 1,
                                  memory_order_relaxed);
    }
    inode->pages_allocated = from->pages_allocated;
    inode->unreadable_count = from->unreadable_count;
    inode->unreadable =
        copy_of(from->unreadable,
                from->unreadable_count * sizeof(*from->unreadable));
    inode->cold_count = from->cold_count;
    inode->cold = copy_of(from->cold, from->cold_count);
    return inode;
}

struct sim_disk *sim_disk_clone(struct sim_disk *from)
{
    struct sim_disk *disk = disk_new_empty();

    sim_disk_lock(from);
    disk->sequence = from->sequence;
    disk->capacity = from->capacity;
    disk->inode_count = from->inode_count;
    disk->inodes = sim_alloc(from->inode_count * sizeof(*disk->inodes));
    for (uint32_t i = 0; i < from->inode_count; i++) {
        disk->inodes[i] =
            from->inodes[i] == NULL ? NULL : inode_clone(from->inodes[i]);
    }
    disk->name_change_count = from->name_change_count;
    disk->name_change_capacity = from->name_change_count;
    disk->name_changes =
        copy_of(from->name_changes,
                from->name_change_count * sizeof(*from->name_changes));
    for (size_t i = 0; i < disk->name_change_count; i++) {
        sim_string_acquire(disk->name_changes[i].from);
        sim_string_acquire(disk->name_changes[i].to);
    }
    sim_disk_unlock(from);
    return disk;
}

/* --- unsynced changes ----------------------------------------------------- */

static void changes_append(struct sim_inode *inode, struct sim_change *change)
{
    if (inode->change_count >= SIM_CHANGES_MAX) {
        /* The kernel has long written the older half back. */
        size_t half = inode->change_count / 2;
        for (size_t i = 0; i < half; i++) {
            sim_change_apply(inode->changes[i], &inode->durable);
        }
        sim_inode_forget_changes(inode, half);
    }
    if (inode->change_count == inode->change_capacity) {
        inode->change_capacity = 2 * inode->change_capacity + 8;
        inode->changes =
            sim_realloc(inode->changes,
                        inode->change_capacity * sizeof(*inode->changes));
    }
    inode->changes[inode->change_count++] = change;
}

void sim_inode_write(struct sim_disk *disk, struct sim_inode *inode,
                     const struct iovec *vector, size_t size, uint64_t offset)
{
    struct sim_change *change = sim_alloc(sizeof(*change) + size);
    size_t done = 0;

    for (; done < size; vector++) {
        size_t part = vector->iov_len;
        part = part < size - done ? part : size - done;
        if (part != 0) {
            memcpy(change->data + done, vector->iov_base, part);
        }
        done += part;
    }
    *change = (struct sim_change){.sequence = ++disk->sequence,
                                  .offset = offset,
                                  .size_before = inode->content.size,
                                  .size = size};
    atomic_init(&change->references, 1);
    sim_content_write(&inode->content, offset, change->data, size);
    change->size_after = inode->content.size;
    changes_append(inode, change);
    size_t pages = sim_pages_of(offset + size);
    if (pages > inode->pages_allocated) {
        inode->pages_allocated = pages;
    }
}

void sim_inode_resize(struct sim_disk *disk, struct sim_inode *inode,
                      uint64_t size)
{
    struct sim_change *change = sim_alloc(sizeof(*change));
    uint64_t size_before = inode->content.size;

    *change = (struct sim_change){.is_resize = true,
                                  .sequence = ++disk->sequence,
                                  .offset = size,
                                  .size_before = size_before,
                                  .size_after = size};
    atomic_init(&change->references, 1);
    sim_content_resize(&inode->content, size);
    changes_append(inode, change);
    if (size < size_before) {
        size_t pages = sim_pages_of(size);
        if (inode->pages_allocated > pages) {
            inode->pages_allocated = pages;
        }
        sim_inode_show(inode, size, size_before - size);
    }
}

void sim_change_apply(const struct sim_change *change, struct sim_content *to)
{
    if (change->is_resize) {
        sim_content_resize(to, change->offset);
    } else {
        sim_content_write(to, change->offset, change->data, change->size);
    }
}

void sim_inode_forget_changes(struct sim_inode *inode, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        change_drop(inode->changes[i]);
    }
    inode->change_count -= count;
    if (inode->change_count != 0) {
        memmove(inode->changes, inode->changes + count,
                inode->change_count * sizeof(struct sim_change *));
    }
}

/* Take the pages under one change from the page cache to the platter; all of
 * them, or if random is given, each with an even chance. */
static void commit_pages(struct sim_inode *inode,
                         const struct sim_change *change,
                         struct wdb_random *random)
{
    uint64_t from = change->offset;
    uint64_t to = change->offset + change->size;

    if (change->is_resize) {
        /* Pages that a cut took away (and what came there later). */
        from = change->size_after < change->size_before ? change->size_after
                                                        : change->size_before;
        to = (uint64_t)inode->durable.page_count * SIM_PAGE;
    }
    for (uint64_t i = from / SIM_PAGE; i * SIM_PAGE < to; i++) {
        if (random == NULL || wdb_random_below(random, 2) == 0) {
            sim_content_take_page(&inode->durable, &inode->content, (size_t)i);
        }
    }
}

void sim_inode_commit(struct sim_inode *inode)
{
    for (size_t i = 0; i < inode->change_count; i++) {
        commit_pages(inode, inode->changes[i], NULL);
    }
    if (inode->change_count != 0) {
        inode->durable.size = inode->content.size;
    }
    sim_inode_forget_changes(inode, inode->change_count);
}

void sim_inode_commit_failed(struct sim_inode *inode, struct wdb_random *random)
{
    for (size_t i = 0; i < inode->change_count; i++) {
        commit_pages(inode, inode->changes[i], random);
    }
    if (inode->change_count != 0 && wdb_random_below(random, 2) == 0) {
        sim_content_resize(&inode->durable, inode->content.size);
    }
    sim_inode_forget_changes(inode, inode->change_count);
}

size_t sim_disk_pending(struct sim_disk *disk)
{
    sim_disk_lock(disk);
    size_t count = disk->name_change_count;
    for (uint32_t i = 0; i < disk->inode_count; i++) {
        count += disk->inodes[i] != NULL ? disk->inodes[i]->change_count : 0;
    }
    sim_disk_unlock(disk);
    return count;
}

/* --- space ---------------------------------------------------------------- */

void sim_disk_set_capacity(struct sim_disk *disk, uint64_t bytes)
{
    sim_disk_lock(disk);
    disk->capacity = bytes;
    sim_disk_unlock(disk);
}

uint64_t sim_disk_used(struct sim_disk *disk)
{
    uint64_t pages = 0;

    sim_disk_lock(disk);
    for (uint32_t i = 0; i < disk->inode_count; i++) {
        const struct sim_inode *inode = disk->inodes[i];

        if (inode != NULL &&
            (inode->link_count != 0 || inode->open_count != 0)) {
            pages += inode->pages_allocated;
        }
    }
    sim_disk_unlock(disk);
    return pages * SIM_PAGE;
}

uint64_t sim_disk_room(struct sim_disk *disk)
{
    if (disk->capacity == 0) {
        return (uint64_t)1 << 60;
    }
    uint64_t used = sim_disk_used(disk);
    return used < disk->capacity ? disk->capacity - used : 0;
}

/* --- damage and residency ------------------------------------------------- */

bool sim_inode_is_unreadable(const struct sim_inode *inode, uint64_t offset,
                             uint64_t size)
{
    for (size_t i = 0; i < inode->unreadable_count; i++) {
        if (inode->unreadable[i].from < offset + size &&
            offset < inode->unreadable[i].to) {
            return true;
        }
    }
    return false;
}

static void unreadable_add(struct sim_inode *inode, uint64_t from, uint64_t to)
{
    if (from >= to) {
        return;
    }
    inode->unreadable =
        sim_realloc(inode->unreadable,
                    (inode->unreadable_count + 1) * sizeof(struct sim_range));
    inode->unreadable[inode->unreadable_count++] = (struct sim_range){from, to};
}

void sim_inode_heal(struct sim_inode *inode, uint64_t offset, uint64_t size)
{
    if (inode->unreadable_count == 0) {
        return;
    }
    uint64_t from = (offset + SIM_SECTOR - 1) / SIM_SECTOR * SIM_SECTOR;
    uint64_t to = (offset + size) / SIM_SECTOR * SIM_SECTOR;
    struct sim_range *old = inode->unreadable;
    size_t count = inode->unreadable_count;

    inode->unreadable = NULL;
    inode->unreadable_count = 0;
    for (size_t i = 0; i < count; i++) {
        if (from >= to || old[i].to <= from || to <= old[i].from) {
            unreadable_add(inode, old[i].from, old[i].to);
        } else {
            unreadable_add(inode, old[i].from, from);
            unreadable_add(inode, to, old[i].to);
        }
    }
    free(old);
}

void sim_inode_set_cold(struct sim_inode *inode, uint64_t offset, uint64_t size,
                        bool cold)
{
    size_t from = (size_t)(offset / SIM_PAGE);
    size_t to = sim_pages_of(offset + size);

    if (cold && to > inode->cold_count) {
        inode->cold = sim_realloc(inode->cold, to);
        memset(inode->cold + inode->cold_count, 0, to - inode->cold_count);
        inode->cold_count = to;
    }
    for (size_t i = from; i < to && i < inode->cold_count; i++) {
        inode->cold[i] = cold;
    }
}

bool sim_inode_is_cold(const struct sim_inode *inode, size_t page)
{
    return page < inode->cold_count && inode->cold[page] != 0;
}

/* Show one page in one mapping, zeros where it cannot be read. */
static void show_page(const struct sim_inode *inode,
                      struct sim_mapping *mapping, uint64_t from, uint64_t to)
{
    uint64_t page = from / SIM_PAGE * SIM_PAGE;

    if (page >= inode->content.size ||
        sim_inode_is_unreadable(inode, page, SIM_PAGE)) {
        memset(mapping->data + from, 0, (size_t)(to - from));
        mapping->damaged = true;
    } else {
        sim_content_read(&inode->content, mapping->data + from, from,
                         (size_t)(to - from));
    }
}

void sim_inode_show(struct sim_inode *inode, uint64_t offset, uint64_t size)
{
    WDB_LIST_FOREACH(node, &inode->mappings)
    {
        struct sim_mapping *mapping =
            WDB_LIST_ENTRY(node, struct sim_mapping, on_inode);
        uint64_t end = size < UINT64_MAX - offset ? offset + size : UINT64_MAX;
        uint64_t stop = end < mapping->size ? end : mapping->size;
        uint64_t at = offset;

        while (at < stop) {
            uint64_t next = (at / SIM_PAGE + 1) * SIM_PAGE;
            next = next < stop ? next : stop;
            show_page(inode, mapping, at, next);
            at = next;
        }
    }
}

/* The file at path, NULL if there is none. */
static struct sim_inode *find_file(struct sim_disk *disk, const char *path)
{
    uint32_t number = sim_disk_find(disk, path);

    if (number == SIM_NO_INODE || sim_disk_inode(disk, number)->is_dir) {
        return NULL;
    }
    return sim_disk_inode(disk, number);
}

/* Write into content, and keep its size. */
static void patch_content(struct sim_content *content, uint64_t offset,
                          const void *data, size_t size)
{
    uint64_t keep = content->size;

    if (offset + size <= keep) {
        sim_content_write(content, offset, data, size);
    }
}

int sim_disk_patch(struct sim_disk *disk, const char *path, uint64_t offset,
                   const void *data, size_t size)
{
    int error = 0;

    sim_disk_lock(disk);
    struct sim_inode *inode = find_file(disk, path);
    if (inode == NULL) {
        error = WALKERDB_ENOTFOUND;
    } else if (offset > inode->content.size ||
               size > inode->content.size - offset) {
        error = WALKERDB_EINVALID;
    } else {
        patch_content(&inode->content, offset, data, size);
        patch_content(&inode->durable, offset, data, size);
        sim_inode_show(inode, offset, size);
    }
    sim_disk_unlock(disk);
    return error;
}

int sim_disk_flip_bit(struct sim_disk *disk, const char *path, uint64_t offset,
                      unsigned bit)
{
    uint8_t byte = 0;
    int error = WALKERDB_EINVALID;

    wdb_assert(bit < 8);
    sim_disk_lock(disk);
    struct sim_inode *inode = find_file(disk, path);
    if (inode == NULL) {
        error = WALKERDB_ENOTFOUND;
    } else if (offset < inode->content.size) {
        sim_content_read(&inode->content, &byte, offset, 1);
        byte ^= (uint8_t)(1U << bit);
        error = sim_disk_patch(disk, path, offset, &byte, 1);
    }
    sim_disk_unlock(disk);
    return error;
}

int sim_disk_set_unreadable(struct sim_disk *disk, const char *path,
                            uint64_t offset, uint64_t size)
{
    sim_disk_lock(disk);
    struct sim_inode *inode = find_file(disk, path);
    if (inode != NULL && size != 0) {
        uint64_t from = offset / SIM_SECTOR * SIM_SECTOR;
        uint64_t to = (offset + size + SIM_SECTOR - 1) / SIM_SECTOR;

        unreadable_add(inode, from, to * SIM_SECTOR);
        uint64_t page = from / SIM_PAGE * SIM_PAGE;
        sim_inode_show(inode, page,
                       sim_pages_of(to * SIM_SECTOR) * SIM_PAGE - page);
    }
    sim_disk_unlock(disk);
    return inode != NULL ? 0 : WALKERDB_ENOTFOUND;
}

int sim_disk_set_cold(struct sim_disk *disk, const char *path, uint64_t offset,
                      uint64_t size)
{
    sim_disk_lock(disk);
    struct sim_inode *inode = find_file(disk, path);
    if (inode != NULL) {
        sim_inode_set_cold(inode, offset, size, true);
    }
    sim_disk_unlock(disk);
    return inode != NULL ? 0 : WALKERDB_ENOTFOUND;
}
