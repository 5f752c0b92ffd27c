/*
 * sim_disk_names.c - directories of a simulated disk: what they hold now, what
 * they hold on the platter, and the changes between the two.
 */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "sim/sim_disk_internal.h"
#include "walkerdb.h"

/* --- names and sorted sets of them ---------------------------------------- */

static struct sim_string *string_new(const char *text)
{
    size_t size = strlen(text) + 1;
    struct sim_string *string = sim_alloc(sizeof(*string) + size);

    atomic_init(&string->references, 1);
    memcpy(string->text, text, size);
    return string;
}

struct sim_string *sim_string_acquire(struct sim_string *string)
{
    if (string != NULL) {
        atomic_fetch_add_explicit(&string->references, 1, memory_order_relaxed);
    }
    return string;
}

void sim_string_drop(struct sim_string *string)
{
    if (string != NULL &&
        atomic_fetch_sub_explicit(&string->references, 1,
                                  memory_order_acq_rel) == 1) {
        free(string);
    }
}

void sim_names_release(struct sim_names *names)
{
    for (size_t i = 0; i < names->count; i++) {
        sim_string_drop(names->items[i].name);
    }
    free(names->items);
    *names = (struct sim_names){0};
}

void sim_names_copy(const struct sim_names *from, struct sim_names *out)
{
    *out = (struct sim_names){0};
    if (from->count == 0) {
        return;
    }
    out->items = sim_alloc(from->count * sizeof(*out->items));
    out->count = out->capacity = from->count;
    for (size_t i = 0; i < from->count; i++) {
        out->items[i] = from->items[i];
        sim_string_acquire(out->items[i].name);
    }
}

/* Where the name is or would be. */
static size_t names_position(const struct sim_names *names, const char *name,
                             bool *found_out)
{
    size_t low = 0;
    size_t high = names->count;

    *found_out = false;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(names->items[middle].name->text, name);

        if (order == 0) {
            *found_out = true;
            return middle;
        }
        if (order < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

uint32_t sim_names_find(const struct sim_names *names, const char *name)
{
    bool found;
    size_t at = names_position(names, name, &found);

    return found ? names->items[at].inode : SIM_NO_INODE;
}

static void names_remove(struct sim_names *names, const char *name)
{
    bool found;
    size_t at = names_position(names, name, &found);

    if (!found) {
        return;
    }
    sim_string_drop(names->items[at].name);
    names->count--;
    memmove(names->items + at, names->items + at + 1,
            (names->count - at) * sizeof(*names->items));
}

static void names_set(struct sim_names *names, struct sim_string *name,
                      uint32_t inode)
{
    bool found;
    size_t at = names_position(names, name->text, &found);

    if (found) {
        names->items[at].inode = inode;
        return;
    }
    if (names->count == names->capacity) {
        names->capacity = names->capacity == 0 ? 8 : 2 * names->capacity;
        names->items =
            sim_realloc(names->items, names->capacity * sizeof(*names->items));
    }
    memmove(names->items + at + 1, names->items + at,
            (names->count - at) * sizeof(*names->items));
    names->items[at] = (struct sim_name){sim_string_acquire(name), inode};
    names->count++;
}

/* --- paths ---------------------------------------------------------------- */

/* Go from dir to what the first `size` bytes of `name` say. */
static uint32_t step(struct sim_disk *disk, uint32_t dir, const char *name,
                     size_t size)
{
    char text[256];
    struct sim_inode *inode = sim_disk_inode(disk, dir);

    wdb_assert(size < sizeof(text));
    memcpy(text, name, size);
    text[size] = '\0';
    if (strcmp(text, ".") == 0) {
        return dir;
    }
    wdb_assert(strcmp(text, "..") != 0); /* the simulator has none */
    return inode->is_dir ? sim_names_find(&inode->names, text) : SIM_NO_INODE;
}

/* Walk [path, end); slashes in a row are one. */
static uint32_t walk(struct sim_disk *disk, const char *path, const char *end)
{
    uint32_t at = 0;

    while (path < end && at != SIM_NO_INODE) {
        if (*path == '/') {
            path++;
            continue;
        }
        const char *slash = memchr(path, '/', (size_t)(end - path));
        const char *stop = slash != NULL ? slash : end;
        at = step(disk, at, path, (size_t)(stop - path));
        path = stop;
    }
    return at;
}

uint32_t sim_disk_find(struct sim_disk *disk, const char *path)
{
    return walk(disk, path, path + strlen(path));
}

int sim_disk_find_parent(struct sim_disk *disk, const char *path,
                         uint32_t *dir_out, const char **name_out)
{
    const char *slash = strrchr(path, '/');
    const char *name = slash != NULL ? slash + 1 : path;

    if (*name == '\0') {
        return WALKERDB_EINVALID;
    }
    if (strlen(name) > 255) {
        return WALKERDB_ETOOBIG;
    }
    uint32_t dir = walk(disk, path, name);
    if (dir == SIM_NO_INODE || !sim_disk_inode(disk, dir)->is_dir) {
        return WALKERDB_ENOTFOUND;
    }
    *dir_out = dir;
    *name_out = name;
    return 0;
}

/* --- changes -------------------------------------------------------------- */

static void link_count_add(struct sim_disk *disk, uint32_t inode, int delta)
{
    if (inode != SIM_NO_INODE) {
        sim_disk_inode(disk, inode)->link_count += (uint32_t)delta;
    }
}

void sim_disk_change_names(struct sim_disk *disk, uint32_t dir_from,
                           const char *from, uint32_t dir_to, const char *to,
                           uint32_t inode)
{
    struct sim_name_change change = {.sequence = ++disk->sequence,
                                     .dir_from = SIM_NO_INODE,
                                     .dir_to = SIM_NO_INODE,
                                     .inode = inode};

    if (from != NULL) {
        struct sim_names *names = &sim_disk_inode(disk, dir_from)->names;
        change.dir_from = dir_from;
        change.from = string_new(from);
        link_count_add(disk, sim_names_find(names, from), -1);
        names_remove(names, from);
    }
    if (to != NULL) {
        struct sim_names *names = &sim_disk_inode(disk, dir_to)->names;
        change.dir_to = dir_to;
        change.to = string_new(to);
        link_count_add(disk, sim_names_find(names, to), -1);
        names_set(names, change.to, inode);
        link_count_add(disk, inode, 1);
    }
    if (disk->name_change_count == disk->name_change_capacity) {
        disk->name_change_capacity = 2 * disk->name_change_capacity + 8;
        disk->name_changes =
            sim_realloc(disk->name_changes, disk->name_change_capacity *
                                                sizeof(*disk->name_changes));
    }
    disk->name_changes[disk->name_change_count++] = change;
}

void sim_name_change_apply(struct sim_disk *disk,
                           const struct sim_name_change *change)
{
    if (change->from != NULL) {
        names_remove(&sim_disk_inode(disk, change->dir_from)->names_durable,
                     change->from->text);
    }
    if (change->to != NULL) {
        names_set(&sim_disk_inode(disk, change->dir_to)->names_durable,
                  change->to, change->inode);
    }
}

static void name_change_release(struct sim_name_change *change)
{
    sim_string_drop(change->from);
    sim_string_drop(change->to);
}

/*
 * Which changes does the sync of `dir` cover? Those of dir; and if one of
 * them moves a name between directories, it is one change, so what happened
 * earlier in the other directory comes with it, else a name could appear
 * again that the move had taken away.
 */
static bool *covered_changes(const struct sim_disk *disk, uint32_t dir)
{
    size_t count = disk->name_change_count;
    bool *covered = sim_alloc_zeroed(count);
    /* For each directory: changes up to this sequence are covered. */
    uint64_t *limits = sim_alloc_zeroed(disk->inode_count * sizeof(*limits));
    bool again = true;

    limits[dir] = UINT64_MAX;
    while (again) {
        again = false;
        for (size_t i = 0; i < count; i++) {
            const struct sim_name_change *change = &disk->name_changes[i];
            uint32_t dirs[2] = {change->dir_from, change->dir_to};

            for (int k = 0; k < 2 && !covered[i]; k++) {
                covered[i] = dirs[k] != SIM_NO_INODE &&
                             change->sequence <= limits[dirs[k]];
            }
            for (int k = 0; k < 2 && covered[i]; k++) {
                if (dirs[k] != SIM_NO_INODE &&
                    limits[dirs[k]] < change->sequence) {
                    limits[dirs[k]] = change->sequence;
                    again = true;
                }
            }
        }
    }
    free(limits);
    return covered;
}

void sim_disk_commit_names(struct sim_disk *disk, uint32_t dir)
{
    size_t kept = 0;

    if (disk->name_change_count == 0) {
        return;
    }
    bool *covered = covered_changes(disk, dir);
    for (size_t i = 0; i < disk->name_change_count; i++) {
        struct sim_name_change *change = &disk->name_changes[i];

        if (covered[i]) {
            sim_name_change_apply(disk, change);
            name_change_release(change);
        } else {
            disk->name_changes[kept++] = *change;
        }
    }
    disk->name_change_count = kept;
    free(covered);
}

void sim_disk_forget_name_changes(struct sim_disk *disk)
{
    for (size_t i = 0; i < disk->name_change_count; i++) {
        name_change_release(&disk->name_changes[i]);
    }
    disk->name_change_count = 0;
}
