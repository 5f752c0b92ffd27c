/*
 * process.c - memory and processor time of this process.
 *
 * jemalloc is linked by programs, not by the libraries, and not under the
 * sanitizers: its functions are weak references here, NULL where it is not
 * there.
 *
 * These are the only reads of files that do not go through env/: /proc and the
 * cgroup describe the process, not the database.
 */
#include "admin/process.h"

#include <fcntl.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/time.h"

/* MALLCTL_ARENAS_ALL of jemalloc 5. */
#define ALL_ARENAS "4096"

extern int mallctl(const char *name, void *old_value, size_t *old_size,
                   void *new_value, size_t new_size) __attribute__((weak));
extern void malloc_stats_print(void (*write_text)(void *, const char *),
                               void *context, const char *options)
    __attribute__((weak));

/* A small file of the system as text; false: not there. */
static bool read_text(const char *path, char *out, size_t capacity)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return false;
    }
    ssize_t size = read(fd, out, capacity - 1);
    close(fd);
    out[size > 0 ? size : 0] = '\0';
    return size > 0;
}

/* --- memory ------------------------------------------------------------------- */

static uint64_t allocator_figure(const char *name)
{
    size_t value = 0;
    size_t size = sizeof(value);
    return mallctl(name, &value, &size, NULL, 0) == 0 ? value : 0;
}

/* jemalloc's figures are those of the last time that the epoch was moved. */
static bool allocator_refresh(void)
{
    uint64_t epoch = 1;
    size_t size = sizeof(epoch);
    return mallctl != NULL &&
           mallctl("epoch", &epoch, &size, &epoch, size) == 0;
}

static void read_resident(uint64_t *anonymous_out, uint64_t *mapped_out)
{
    char text[128];
    unsigned long long resident = 0, shared = 0;
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    if (!read_text("/proc/self/statm", text, sizeof(text)) ||
        sscanf(text, "%*u %llu %llu", &resident, &shared) != 2) {
        resident = shared = 0;
    }
    *anonymous_out = resident > shared ? (resident - shared) * page : 0;
    *mapped_out = shared * page;
}

void wdb_memory_read(struct wdb_memory *out)
{
    struct wdb_memory memory = {0};
    read_resident(&memory.anonymous, &memory.mapped);
    memory.used = memory.anonymous;
    if (allocator_refresh()) {
        memory.has_allocator = true;
        memory.allocated = allocator_figure("stats.allocated");
        memory.active = allocator_figure("stats.active");
        memory.resident = allocator_figure("stats.resident");
        memory.used = memory.allocated;
        /* The kernel counts for each processor and adds up now and then. */
        if (memory.anonymous < memory.allocated) {
            memory.anonymous = memory.allocated;
        }
    }
    *out = memory;
}

uint64_t wdb_memory_used(void)
{
    if (allocator_refresh()) {
        return allocator_figure("stats.allocated");
    }
    uint64_t anonymous, mapped;
    read_resident(&anonymous, &mapped);
    return anonymous;
}

void wdb_memory_allocator(char *out, size_t capacity)
{
    const char *version = NULL;
    size_t size = sizeof(version);
    if (mallctl == NULL || mallctl("version", &version, &size, NULL, 0) != 0) {
        snprintf(out, capacity, "libc");
        return;
    }
    /* "5.3.0-0-g54eaed..." */
    int length = 0;
    while (version[length] != '\0' && version[length] != '-') {
        length++;
    }
    snprintf(out, capacity, "jemalloc-%.*s", length, version);
}

uint64_t wdb_memory_total(void)
{
    uint64_t total =
        (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
    static const char *const limits[] = {
        "/sys/fs/cgroup/memory.max",
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
    };
    for (size_t i = 0; i < WDB_COUNT(limits); i++) {
        char text[64];
        if (read_text(limits[i], text, sizeof(text))) {
            /* "max" is read as 0: no limit. */
            uint64_t limit = strtoull(text, NULL, 10);
            if (limit > 0 && limit < total) {
                total = limit;
            }
        }
    }
    return total;
}

void wdb_memory_purge(void)
{
    if (mallctl != NULL) {
        (void)mallctl("arena." ALL_ARENAS ".purge", NULL, NULL, NULL, 0);
        return;
    }
    (void)malloc_trim(0);
}

static void append_text(void *context, const char *text)
{
    if (wdb_buffer_append(context, text, strlen(text)) != 0) {
        return; /* without memory this piece is missing */
    }
}

bool wdb_memory_details(struct wdb_buffer *out)
{
    if (malloc_stats_print == NULL) {
        return false;
    }
    malloc_stats_print(append_text, out, NULL);
    return true;
}

/* --- time and names --------------------------------------------------------------- */

static uint64_t to_us(struct timeval time)
{
    return (uint64_t)time.tv_sec * (uint64_t)WDB_US_PER_S +
           (uint64_t)time.tv_usec;
}

void wdb_cpu_time(bool thread_only, struct wdb_cpu_time *out)
{
    struct rusage usage = {0};
    (void)getrusage(thread_only ? RUSAGE_THREAD : RUSAGE_SELF, &usage);
    *out = (struct wdb_cpu_time){to_us(usage.ru_utime), to_us(usage.ru_stime)};
}

uint64_t wdb_clock_us(void)
{
    struct timeval now;
    gettimeofday(&now, NULL);
    return to_us(now);
}

void wdb_machine_name(char *out, size_t capacity)
{
    struct utsname name;
    if (uname(&name) != 0) {
        snprintf(out, capacity, "unknown");
        return;
    }
    snprintf(out, capacity, "%s %s %s", name.sysname, name.release,
             name.machine);
}

void wdb_program_path(char *out, size_t capacity)
{
    ssize_t size = readlink("/proc/self/exe", out, capacity - 1);
    out[size > 0 ? size : 0] = '\0';
}
