/*
 * sim_disk.h - a disk in memory that can lose power.
 *
 * A disk is what a machine's files are made of, twice: as the process sees
 * them (the page cache), and as they are on the platter. What separates the
 * two is a list of changes that no sync has covered yet. sim_disk_crash()
 * turns a disk into one that a machine could find after a power cut; what is
 * found then is what both sides have.
 *
 * What a crash can do with what was not synced:
 *   data    Each sector (512 bytes) or page (4 KiB) shows any one of the
 *           contents that it had since the last sync. Never a mix that the
 *           page cache did not hold.
 *   sizes   Any of the sizes since then, whatever became of the data; a sector
 *           that was never written below the new size shows zeros. Cuts are
 *           in order: data written after a cut survives only with the cut.
 *   names   Any subset of creations, links, renames (each whole or not at all)
 *           and removals since the sync of their directory. That a file was
 *           synced does not save its name, and the other way round.
 *
 * Copies (sim_disk_clone) share pages and changes: cloning costs some
 * microseconds, whatever the files hold. A disk is driven by one or more
 * sim_envs (sim_env.h), which see the same page cache as processes of one
 * machine do.
 *
 * Threads: each disk has a lock; different disks may be used by different
 * threads even if they are clones of each other.
 */
#ifndef WDB_TEST_SIM_DISK_H
#define WDB_TEST_SIM_DISK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attributes.h"
#include "base/random.h"

struct sim_disk;

enum sim_crash_policy {
    SIM_CRASH_DROP,        /* nothing that was not synced is there */
    SIM_CRASH_KEEP,        /* all of it is */
    SIM_CRASH_TORN_512,    /* changes up to a random one, in order; of that */
    SIM_CRASH_TORN_4K,     /* one some sectors, or pages */
    SIM_CRASH_REORDER_512, /* each sector, size and name on its own */
    SIM_CRASH_REORDER_4K,  /* the same with pages */
    SIM_CRASH_MIXED,       /* any of the above, drawn for each file */
    SIM_CRASH_POLICY_COUNT,
};

/* The name of a policy, for messages; static. */
const char *sim_crash_policy_name(enum sim_crash_policy policy);

/* An empty disk without a limit: one durable root directory. Never NULL. */
struct sim_disk *sim_disk_new(void);
/* No env may use it any more. NULL is fine. */
void sim_disk_free(struct sim_disk *disk);
/* A copy of the disk and its page cache, without the open files, mappings and
 * locks. May be called from an env's hook. */
struct sim_disk *sim_disk_clone(struct sim_disk *disk);

/* The power fails. Open files are dead (every call says EIO), locks are free,
 * mappings keep what they show until they are unmapped. */
void sim_disk_crash(struct sim_disk *disk, enum sim_crash_policy policy,
                    struct wdb_random *random);
/* Changes (of data, sizes and names) that a crash now could lose. 0: every
 * crash now leads to the same disk. */
size_t sim_disk_pending(struct sim_disk *disk);

/* Limit the space, in bytes; 0: none. What is there already stays. */
void sim_disk_set_capacity(struct sim_disk *disk, uint64_t bytes);
/* Bytes that files occupy, counted in pages. */
uint64_t sim_disk_used(struct sim_disk *disk);

/* --- damage: all take a path, and fail with ENOTFOUND --------------------- */

/* Invert one bit (0 to 7) of the byte, on the platter and in the page cache.
 * EINVALID beyond the end. */
WDB_MUST_CHECK int sim_disk_flip_bit(struct sim_disk *disk, const char *path,
                                     uint64_t offset, unsigned bit);
/* Replace bytes, durably and behind the back of everybody. EINVALID beyond
 * the end. */
WDB_MUST_CHECK int sim_disk_patch(struct sim_disk *disk, const char *path,
                                  uint64_t offset, const void *data,
                                  size_t size);
/* The sectors under [offset, offset + size) cannot be read from now on: EIO
 * from pread; in a mapping their pages are zeros, and it is damaged. A write
 * over a whole sector heals it. */
WDB_MUST_CHECK int sim_disk_set_unreadable(struct sim_disk *disk,
                                           const char *path, uint64_t offset,
                                           uint64_t size);
/* The pages under [offset, offset + size) are not in memory, until a pread or
 * pwritev brings them there. (By default all of a file is resident.) */
WDB_MUST_CHECK int sim_disk_set_cold(struct sim_disk *disk, const char *path,
                                     uint64_t offset, uint64_t size);

#endif
