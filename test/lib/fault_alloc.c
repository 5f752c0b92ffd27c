/*
 * fault_alloc.c - the wrapped allocator; a counter decides who fails.
 *
 * `countdown` holds how many allocations are left until the failing one; 0
 * means not armed.
 */
#include "lib/fault_alloc.h"

#include <errno.h>
#include <stdatomic.h>
#include <stddef.h>

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *memory, size_t size);
int __real_posix_memalign(void **memory, size_t alignment, size_t size);
void *__real_aligned_alloc(size_t alignment, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *memory, size_t size);
int __wrap_posix_memalign(void **memory, size_t alignment, size_t size);
void *__wrap_aligned_alloc(size_t alignment, size_t size);

static _Atomic uint64_t countdown;
static _Atomic uint64_t allocations;
static atomic_bool fired;
static atomic_bool sticky;
static atomic_bool one_thread_only;
static _Thread_local bool is_armed_thread;

static void arm(uint64_t nth, bool every_later, bool this_thread)
{
    is_armed_thread = this_thread;
    atomic_store(&one_thread_only, this_thread);
    atomic_store(&sticky, every_later);
    atomic_store(&fired, false);
    atomic_store(&countdown, nth);
}

void fault_alloc_arm(uint64_t nth)
{
    arm(nth, false, false);
}

void fault_alloc_arm_thread(uint64_t nth)
{
    arm(nth, false, true);
}

void fault_alloc_arm_from(uint64_t nth)
{
    arm(nth, true, false);
}

bool fault_alloc_disarm(void)
{
    atomic_store(&countdown, 0);
    atomic_store(&one_thread_only, false);
    is_armed_thread = false;
    return atomic_exchange(&fired, false);
}

uint64_t fault_alloc_count(void)
{
    return atomic_load(&allocations);
}

/* Count one allocation; true if it must fail. */
static bool must_fail(void)
{
    atomic_fetch_add_explicit(&allocations, 1, memory_order_relaxed);
    if (atomic_load_explicit(&countdown, memory_order_relaxed) == 0) {
        return false;
    }
    if (atomic_load(&one_thread_only) && !is_armed_thread) {
        return false;
    }
    uint64_t left = atomic_load(&countdown);
    while (left > 1) {
        if (atomic_compare_exchange_weak(&countdown, &left, left - 1)) {
            return false;
        }
    }
    if (left == 0) {
        return false;
    }
    if (!atomic_load(&sticky) &&
        !atomic_compare_exchange_strong(&countdown, &left, 0)) {
        return false;
    }
    atomic_store(&fired, true);
    errno = ENOMEM;
    return true;
}

void *__wrap_malloc(size_t size)
{
    return must_fail() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
    return must_fail() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *memory, size_t size)
{
    return must_fail() ? NULL : __real_realloc(memory, size);
}

int __wrap_posix_memalign(void **memory, size_t alignment, size_t size)
{
    return must_fail() ? ENOMEM
                       : __real_posix_memalign(memory, alignment, size);
}

void *__wrap_aligned_alloc(size_t alignment, size_t size)
{
    return must_fail() ? NULL : __real_aligned_alloc(alignment, size);
}
