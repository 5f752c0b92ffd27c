/*
 * process.h - what the system and the allocator say about this process: memory,
 * processor time, the machine. For INFO, MEMORY and the limit of maxmemory.
 *
 * Nothing here has state; every function may be called by any thread and costs
 * between 1 and 100 us: not for every command.
 */
#ifndef WDB_ADMIN_PROCESS_H
#define WDB_ADMIN_PROCESS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/attributes.h"
#include "base/buffer.h"

/*
 * Memory in bytes. `used` is what maxmemory is compared with: what the program
 * got from its allocator; where that does not tell (jemalloc does), the
 * anonymous memory. Pages of the database's files that happen to be in memory
 * are `mapped`; the system takes them back as it likes, so they count nowhere
 * else.
 */
struct wdb_memory {
    uint64_t used;
    uint64_t anonymous; /* resident, without files: used_memory_rss */
    uint64_t mapped;    /* resident pages of files */
    bool has_allocator; /* the rest is known */
    uint64_t allocated; /* bytes in allocations */
    uint64_t active;    /* bytes in pages that have allocations */
    uint64_t resident;  /* bytes that the allocator holds from the system */
};
void wdb_memory_read(struct wdb_memory *out);
/* Only `used`: for the timer that watches maxmemory. */
uint64_t wdb_memory_used(void);
/* "jemalloc-5.3.0" or "libc"; out has `capacity` bytes. */
void wdb_memory_allocator(char *out, size_t capacity);
/* Memory of the machine, or of our cgroup if that is less. */
uint64_t wdb_memory_total(void);
/* Give unused pages back to the system. */
void wdb_memory_purge(void);
/* What the allocator tells about itself, as text. False: nothing. ENOMEM cuts
 * the text. */
bool wdb_memory_details(struct wdb_buffer *out);

/* Processor time in us, of the process or of the calling thread. */
struct wdb_cpu_time {
    uint64_t user_us, system_us;
};
void wdb_cpu_time(bool thread_only, struct wdb_cpu_time *out);

/* Time of the machine in us since 1970, for what only people look at: whatever
 * the database decides by comes from env/. */
uint64_t wdb_clock_us(void);

/* "Linux 6.1.0 x86_64" */
void wdb_machine_name(char *out, size_t capacity);
/* Path of the program that runs, "" if unknown. */
void wdb_program_path(char *out, size_t capacity);

#endif
