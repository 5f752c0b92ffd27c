/*
 * fault_alloc.h - makes one chosen allocation fail.
 *
 * Test programs are linked with --wrap, so malloc, calloc, realloc,
 * posix_memalign and aligned_alloc of the code under test come through here
 * (what libc allocates for itself does not). The usual sweep:
 *
 *     for (uint64_t n = 1;; n++) {
 *         fault_alloc_arm(n);
 *         int rc = operation();
 *         if (!fault_alloc_disarm()) {
 *             break;              // fewer than n allocations: all tried
 *         }
 *         CHECK_EQ(rc, WALKERDB_ENOMEM);
 *     }
 */
#ifndef WDB_TEST_LIB_FAULT_ALLOC_H
#define WDB_TEST_LIB_FAULT_ALLOC_H

#include <stdbool.h>
#include <stdint.h>

/*
 * Let the nth allocation from now on fail (1 is the next one), once. Counts
 * the allocations of all threads.
 */
void fault_alloc_arm(uint64_t nth);

/* As above, but only allocations of the calling thread count. */
void fault_alloc_arm_thread(uint64_t nth);

/* Let the nth allocation and every later one fail, until disarmed. */
void fault_alloc_arm_from(uint64_t nth);

/* Back to normal; returns whether an allocation was made to fail. */
bool fault_alloc_disarm(void);

/* Allocations seen since the program started. */
uint64_t fault_alloc_count(void);

#endif
