/*
 * env_posix_map.c - mappings, and the SIGBUS handler that keeps a bad sector
 * from killing the process.
 *
 * A page of a mapping that cannot be read (bad sector, file cut by somebody
 * else) raises SIGBUS in the thread that touches it. The handler finds the
 * mapping, marks it damaged, puts a page of zeros over the bad one and
 * returns; the reader then sees zeros, its checksum fails, and it reports an
 * error that names the file.
 *
 * This file has the only mutable globals of the library. A signal's action
 * belongs to the process, and a handler is told an address and nothing else,
 * so what it looks up must be reachable from a name: one table of the
 * process's mappings, shared by all environments. The handler takes no lock
 * and allocates nothing: it reads atomics in chunks that are never freed.
 * All changes of the table are made under one mutex.
 *
 * Whoever installs a SIGBUS handler of his own after the first mapping must
 * call the one that he replaces, as this one does.
 */
#include "env/env_posix_map.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/assert.h"
#include "walkerdb.h"

#define CHUNK_SLOTS     512
#define CHUNK_COUNT_MAX 256

struct slot {
    _Atomic uintptr_t start; /* 0: free; stored last, cleared first */
    _Atomic uintptr_t end;
    _Atomic bool damaged;
    const void *owner; /* under the mutex */
};

struct chunk {
    struct slot slots[CHUNK_SLOTS];
};

static struct {
    pthread_once_t once;
    pthread_mutex_t mutex;
    _Atomic(struct chunk *) chunks[CHUNK_COUNT_MAX];
    _Atomic size_t slot_count; /* slots that were ever used */
    size_t free_hint;          /* no free slot below; under the mutex */
    size_t page_size;
    struct sigaction previous;
} registry = {
    .once = PTHREAD_ONCE_INIT,
    .mutex = PTHREAD_MUTEX_INITIALIZER,
};

static struct slot *slot_at(size_t index)
{
    struct chunk *chunk =
        atomic_load_explicit(&registry.chunks[index / CHUNK_SLOTS],
                             memory_order_acquire);

    return &chunk->slots[index % CHUNK_SLOTS];
}

/* The slot of the mapping that has this address, NULL if it is not ours.
 * Lock-free and safe in a signal handler. */
static struct slot *slot_find(uintptr_t address)
{
    size_t count =
        atomic_load_explicit(&registry.slot_count, memory_order_acquire);

    for (size_t i = 0; i < count; i++) {
        struct slot *slot = slot_at(i);
        uintptr_t start =
            atomic_load_explicit(&slot->start, memory_order_acquire);

        if (start != 0 && address >= start &&
            address < atomic_load_explicit(&slot->end, memory_order_relaxed)) {
            return slot;
        }
    }
    return NULL;
}

/* --- the handler ---------------------------------------------------------- */

/* Put a page of zeros over the bad one. True if that worked. */
static bool cover_page(uintptr_t address)
{
    uintptr_t page = address & ~(uintptr_t)(registry.page_size - 1);
    /* The system call itself: sanitizers put wrappers around mmap() that are
     * not made for signal handlers. */
    long result = syscall(SYS_mmap, page, registry.page_size, PROT_READ,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);

    return result == (long)page;
}

/* Do what would have happened without us. */
static void chain(int signal_number, siginfo_t *info, void *context)
{
    const struct sigaction *previous = &registry.previous;

    if ((previous->sa_flags & SA_SIGINFO) != 0) {
        previous->sa_sigaction(signal_number, info, context);
        return;
    }
    if (previous->sa_handler == SIG_IGN && info->si_code <= 0) {
        return; /* sent by a process, not a fault */
    }
    if (previous->sa_handler != SIG_DFL && previous->sa_handler != SIG_IGN) {
        previous->sa_handler(signal_number);
        return;
    }
    /* The signal is blocked until we return; then it ends the process. */
    struct sigaction action = {.sa_handler = SIG_DFL};
    sigaction(signal_number, &action, NULL);
    raise(signal_number);
}

static void on_sigbus(int signal_number, siginfo_t *info, void *context)
{
    int saved_errno = errno;
    bool is_fault =
        info->si_code == BUS_ADRERR || info->si_code == BUS_MCEERR_AR;
    uintptr_t address = (uintptr_t)info->si_addr;
    struct slot *slot = is_fault ? slot_find(address) : NULL;

    if (slot != NULL && cover_page(address)) {
        atomic_store_explicit(&slot->damaged, true, memory_order_release);
    } else {
        chain(signal_number, info, context);
    }
    errno = saved_errno;
}

static void install(void)
{
    struct sigaction action = {.sa_sigaction = on_sigbus,
                               .sa_flags = SA_SIGINFO | SA_ONSTACK};
    long page_size = sysconf(_SC_PAGESIZE);

    wdb_assert(page_size > 0);
    registry.page_size = (size_t)page_size;
    sigemptyset(&action.sa_mask);
    /* `previous` is read by the handler, so it is filled in first. */
    int error = sigaction(SIGBUS, NULL, &registry.previous);
    wdb_assert(error == 0);
    error = sigaction(SIGBUS, &action, NULL);
    wdb_assert(error == 0);
}

/* --- the table ------------------------------------------------------------ */

static void lock(void)
{
    int error = pthread_mutex_lock(&registry.mutex);
    wdb_assert(error == 0);
}

static void unlock(void)
{
    int error = pthread_mutex_unlock(&registry.mutex);
    wdb_assert(error == 0);
}

/* A free slot; NULL if there is no memory or the table is full. Mutex held. */
static struct slot *slot_take(void)
{
    size_t count =
        atomic_load_explicit(&registry.slot_count, memory_order_relaxed);

    for (size_t i = registry.free_hint; i < count; i++) {
        struct slot *slot = slot_at(i);
        if (atomic_load_explicit(&slot->start, memory_order_relaxed) == 0) {
            registry.free_hint = i + 1;
            return slot;
        }
    }
    if (count == (size_t)CHUNK_SLOTS * CHUNK_COUNT_MAX) {
        return NULL;
    }
    if (count % CHUNK_SLOTS == 0) {
        /* Reached from the static table for ever, hence never a leak. */
        struct chunk *chunk = calloc(1, sizeof(*chunk));
        if (chunk == NULL) {
            return NULL;
        }
        atomic_store_explicit(&registry.chunks[count / CHUNK_SLOTS], chunk,
                              memory_order_release);
    }
    atomic_store_explicit(&registry.slot_count, count + 1,
                          memory_order_release);
    registry.free_hint = count + 1;
    return slot_at(count);
}

/* Enter the mapping. False if there is no room. */
static bool enter(uintptr_t start, uint64_t size, const void *owner)
{
    lock();
    struct slot *slot = slot_take();

    if (slot != NULL) {
        slot->owner = owner;
        atomic_store_explicit(&slot->damaged, false, memory_order_relaxed);
        atomic_store_explicit(&slot->end, start + (uintptr_t)size,
                              memory_order_relaxed);
        atomic_store_explicit(&slot->start, start, memory_order_release);
    }
    unlock();
    return slot != NULL;
}

/* Forget the mapping that starts there. */
static void leave(uintptr_t start)
{
    bool found = false;

    lock();
    size_t count =
        atomic_load_explicit(&registry.slot_count, memory_order_relaxed);
    for (size_t i = 0; i < count && !found; i++) {
        struct slot *slot = slot_at(i);

        if (atomic_load_explicit(&slot->start, memory_order_relaxed) == start) {
            atomic_store_explicit(&slot->start, 0, memory_order_release);
            slot->owner = NULL;
            if (i < registry.free_hint) {
                registry.free_hint = i;
            }
            found = true;
        }
    }
    unlock();
    wdb_assert(found);
}

int wdb_posix_map(int fd, uint64_t size, const void *owner, bool random,
                  const void **out)
{
    int error = pthread_once(&registry.once, install);

    wdb_assert(error == 0);
    if (size == 0 || size > SIZE_MAX / 2) {
        return WALKERDB_EINVALID;
    }
    void *data = mmap(NULL, (size_t)size, PROT_READ, MAP_SHARED, fd, 0);
    if (data == MAP_FAILED) {
        return errno == ENOMEM ? WALKERDB_ENOMEM : WALKERDB_EIO;
    }
    if (random) {
        (void)madvise(data, (size_t)size, MADV_RANDOM);
    }
    if (!enter((uintptr_t)data, size, owner)) {
        (void)munmap(data, (size_t)size);
        return WALKERDB_ENOMEM;
    }
    *out = data;
    return 0;
}

void wdb_posix_unmap(const void *data, uint64_t size)
{
    /* Left first: after munmap() the addresses may be somebody else's. */
    leave((uintptr_t)data);
    int error = munmap((void *)(uintptr_t)data, (size_t)size);
    wdb_assert(error == 0);
}

bool wdb_posix_map_damaged(const void *data)
{
    struct slot *slot = slot_find((uintptr_t)data);

    wdb_assert(slot != NULL);
    return atomic_load_explicit(&slot->damaged, memory_order_acquire);
}

/* madvise() the part of [start, end) that [offset, offset + size) covers. */
static void advise_range(uintptr_t start, uintptr_t end, uint64_t offset,
                         uint64_t size, int advice)
{
    uintptr_t length = end - start;
    uintptr_t from = offset < length ? (uintptr_t)offset : length;
    uintptr_t to = size < length - from ? from + (uintptr_t)size : length;
    uintptr_t mask = registry.page_size - 1;

    from = (from + mask) & ~mask; /* whole pages only */
    to = to == length ? to : to & ~mask;
    if (from < to) {
        (void)madvise((void *)(start + from), to - from, advice);
    }
}

void wdb_posix_map_advise(const void *owner, uint64_t offset, uint64_t size,
                          int advice)
{
    lock();
    size_t count =
        atomic_load_explicit(&registry.slot_count, memory_order_relaxed);
    for (size_t i = 0; i < count; i++) {
        struct slot *slot = slot_at(i);
        uintptr_t start =
            atomic_load_explicit(&slot->start, memory_order_relaxed);

        if (start != 0 && slot->owner == owner) {
            advise_range(start,
                         atomic_load_explicit(&slot->end, memory_order_relaxed),
                         offset, size, advice);
        }
    }
    unlock();
}

void wdb_posix_map_disown(const void *owner)
{
    lock();
    size_t count =
        atomic_load_explicit(&registry.slot_count, memory_order_relaxed);
    for (size_t i = 0; i < count; i++) {
        struct slot *slot = slot_at(i);
        if (slot->owner == owner) {
            slot->owner = NULL;
        }
    }
    unlock();
}
