/*
 * sim_disk_internal.h - the parts of a simulated disk, for sim_disk*.c and
 * sim_env*.c. Every function here wants the disk's lock held.
 */
#ifndef WDB_TEST_SIM_DISK_INTERNAL_H
#define WDB_TEST_SIM_DISK_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/list.h"
#include "env/env.h"
#include "sim/sim_disk.h"
#include "sim/sim_disk_content.h"

#define SIM_NO_INODE UINT32_MAX
/* Unsynced changes of one file; the older half is written back beyond it, as
 * a kernel would have done by then. */
#define SIM_CHANGES_MAX ((size_t)4096)

/* A change of a file's data or size; immutable, shared by clones. */
struct sim_change {
    _Atomic uint32_t references;
    bool is_resize;       /* else a write of `size` bytes at `offset` */
    uint64_t sequence;    /* over all changes of the disk */
    uint64_t offset;      /* a resize: the new size */
    uint64_t size_before; /* of the file */
    uint64_t size_after;
    size_t size;
    uint8_t data[];
};

/* A change of names: first `from` goes (if set), then `to` is set to inode. */
struct sim_name_change {
    uint64_t sequence;
    uint32_t dir_from, dir_to; /* SIM_NO_INODE: no such part */
    struct sim_string *from, *to;
    uint32_t inode;
};

/* A name, shared by clones. */
struct sim_string {
    _Atomic uint32_t references;
    char text[];
};

struct sim_name {
    struct sim_string *name;
    uint32_t inode;
};

/* What a directory holds, sorted by name. */
struct sim_names {
    struct sim_name *items;
    size_t count, capacity;
};

struct sim_range {
    uint64_t from, to;
};

struct sim_inode {
    bool is_dir;
    /* Names that lead here now, and open files; at 0 its space is free. */
    uint32_t link_count;
    uint32_t open_count;
    /* a directory: */
    struct sim_names names, names_durable;
    /* a file: */
    struct sim_content content, durable;
    struct sim_change **changes;
    size_t change_count, change_capacity;
    size_t pages_allocated; /* pages below cannot run into ENOSPACE */
    struct sim_range *unreadable;
    size_t unreadable_count;
    uint8_t *cold; /* a flag for each page, NULL: none is */
    size_t cold_count;
    struct wdb_list mappings; /* struct sim_mapping.on_inode */
    const void *lock_owner;   /* the struct sim_file that has the lock */
    int64_t lock_pid;
};

struct sim_disk {
    pthread_mutex_t mutex;     /* recursive: a hook may clone */
    struct sim_inode **inodes; /* by number, NULL: free; 0 is the root */
    uint32_t inode_count;
    struct sim_name_change *name_changes; /* by sequence */
    size_t name_change_count, name_change_capacity;
    uint64_t sequence;
    uint64_t capacity;
    uint64_t crash_count; /* files opened before the last one are dead */
    int64_t next_pid;
};

/* A mapping, made by an env; it may outlive the file and the crash. */
struct sim_mapping {
    struct wdb_list on_inode; /* alone after a crash */
    struct wdb_list on_env;
    struct sim_inode *inode; /* valid while on_inode is not alone */
    uint8_t *data;
    uint64_t size;
    bool is_mmap;
    bool damaged;
};

void sim_disk_lock(struct sim_disk *disk);
void sim_disk_unlock(struct sim_disk *disk);

/* --- inodes --------------------------------------------------------------- */

struct sim_inode *sim_disk_inode(struct sim_disk *disk, uint32_t number);
/* A new inode that nothing leads to yet. */
uint32_t sim_disk_inode_new(struct sim_disk *disk, bool is_dir);
/* Free the inodes that nothing leads to, not even after a crash. */
void sim_disk_collect(struct sim_disk *disk);
/* Bytes that may still be allocated. */
uint64_t sim_disk_room(struct sim_disk *disk);

/* Write the first `size` (> 0) bytes of the vector, and remember the change.
 * Mappings do not show it yet. */
void sim_inode_write(struct sim_disk *disk, struct sim_inode *inode,
                     const struct iovec *vector, size_t size, uint64_t offset);
/* Set the size, in mappings too, and remember the change. */
void sim_inode_resize(struct sim_disk *disk, struct sim_inode *inode,
                      uint64_t size);
/* Leave the mappings to their env. */
void sim_inode_detach_mappings(struct sim_inode *inode);
/* Make everything durable. */
void sim_inode_commit(struct sim_inode *inode);
/* A sync that failed: some pages got there; the others are no longer known to
 * be dirty, so a later sync will not bring them there either. */
void sim_inode_commit_failed(struct sim_inode *inode,
                             struct wdb_random *random);
/* Let go of the changes; the content is not touched. */
void sim_inode_forget_changes(struct sim_inode *inode, size_t count);
/* Apply one change to some content. */
void sim_change_apply(const struct sim_change *change, struct sim_content *to);

/* True if [offset, offset + size) has a sector that cannot be read. */
bool sim_inode_is_unreadable(const struct sim_inode *inode, uint64_t offset,
                             uint64_t size);
/* Sectors that lie wholly in [offset, offset + size) can be read again. */
void sim_inode_heal(struct sim_inode *inode, uint64_t offset, uint64_t size);
void sim_inode_set_cold(struct sim_inode *inode, uint64_t offset, uint64_t size,
                        bool cold);
bool sim_inode_is_cold(const struct sim_inode *inode, size_t page);
/* Show [offset, offset + size) as it is now in all mappings. */
void sim_inode_show(struct sim_inode *inode, uint64_t offset, uint64_t size);

/* --- names ---------------------------------------------------------------- */

void sim_names_release(struct sim_names *names);
void sim_names_copy(const struct sim_names *from, struct sim_names *out);
void sim_string_drop(struct sim_string *string);
struct sim_string *sim_string_acquire(struct sim_string *string);

/* The inode at path; SIM_NO_INODE if there is none. */
uint32_t sim_disk_find(struct sim_disk *disk, const char *path);
/* The directory that path's last part is in, and that part (in path).
 * ENOTFOUND, EINVALID (the root). */
int sim_disk_find_parent(struct sim_disk *disk, const char *path,
                         uint32_t *dir_out, const char **name_out);
uint32_t sim_names_find(const struct sim_names *names, const char *name);
/* Change the names, now and as something for a later sync_dir. `from` or `to`
 * may be NULL. */
void sim_disk_change_names(struct sim_disk *disk, uint32_t dir_from,
                           const char *from, uint32_t dir_to, const char *to,
                           uint32_t inode);
/* Make the changes of a directory durable (and what they rest on). */
void sim_disk_commit_names(struct sim_disk *disk, uint32_t dir);
/* Apply to what is durable. */
void sim_name_change_apply(struct sim_disk *disk,
                           const struct sim_name_change *change);
/* Drop all pending name changes. */
void sim_disk_forget_name_changes(struct sim_disk *disk);

#endif
