/* test_base_epoch.c - epochs: nothing is freed under a reader. */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/epoch.h"
#include "lib/fault_alloc.h"
#include "lib/test.h"
#include "walkerdb.h"

/* Something that a reader may use; the first member makes casts simple. */
struct thing {
    struct wdb_epoch_retired retired;
    atomic_int *freed_count;
    uint64_t a;
    uint64_t b; /* always ~a while alive */
};

static struct thing *new_thing(atomic_int *freed_count, uint64_t a)
{
    struct thing *thing = malloc(sizeof(*thing));
    if (thing != NULL) {
        *thing = (struct thing){.freed_count = freed_count, .a = a, .b = ~a};
    }
    return thing;
}

static void free_thing(struct wdb_epoch_retired *self)
{
    struct thing *thing = (struct thing *)self;
    atomic_fetch_add(thing->freed_count, 1);
    thing->b = thing->a; /* what a late reader would notice */
    free(thing);
}

static void retire_new(struct wdb_epoch *epoch, atomic_int *freed_count)
{
    struct thing *thing = new_thing(freed_count, 1);
    REQUIRE(thing != NULL);
    wdb_epoch_retire(epoch, &thing->retired, free_thing);
}

/* A failed allocation is reported. */
TEST(epoch_no_memory)
{
    struct wdb_epoch *epoch = NULL;
    fault_alloc_arm(1);
    CHECK_EQ(wdb_epoch_new(&epoch), WALKERDB_ENOMEM);
    CHECK(fault_alloc_disarm());
    CHECK(epoch == NULL);
    wdb_epoch_free(NULL);
}

/* Without readers all is freed at once; with one only what came before. */
TEST(epoch_reader_delays)
{
    struct wdb_epoch *epoch;
    atomic_int freed_count = 0;
    REQUIRE_EQ(wdb_epoch_new(&epoch), 0);
    CHECK_EQ(wdb_epoch_reclaim(epoch), 0);
    retire_new(epoch, &freed_count);
    CHECK_EQ(wdb_epoch_reclaim(epoch), 0);
    CHECK_EQ(freed_count, 1);

    int before = wdb_epoch_enter(epoch);
    retire_new(epoch, &freed_count);
    CHECK_EQ(wdb_epoch_reclaim(epoch), 1);
    int after = wdb_epoch_enter(epoch);
    CHECK(after != before);
    retire_new(epoch, &freed_count);
    CHECK_EQ(wdb_epoch_reclaim(epoch), 2);
    CHECK_EQ(freed_count, 1);
    wdb_epoch_exit(epoch, before);
    CHECK_EQ(wdb_epoch_reclaim(epoch), 1); /* the second reader saw this one */
    CHECK_EQ(freed_count, 2);
    wdb_epoch_exit(epoch, after);
    CHECK_EQ(wdb_epoch_reclaim(epoch), 0);
    CHECK_EQ(freed_count, 3);
    wdb_epoch_free(epoch);
}

/* Retiring frees by itself, so that little waits if nobody calls reclaim. */
TEST(epoch_retire_frees)
{
    struct wdb_epoch *epoch;
    atomic_int freed_count = 0;
    REQUIRE_EQ(wdb_epoch_new(&epoch), 0);
    for (int i = 0; i < 1000; i++) {
        retire_new(epoch, &freed_count);
    }
    CHECK(freed_count > 900);
    wdb_epoch_free(epoch);
    CHECK_EQ(freed_count, 1000);
}

/* A thing whose freeing retires another one. */
struct parent {
    struct thing thing;
    struct wdb_epoch *epoch;
    struct thing *child;
};

static void free_parent(struct wdb_epoch_retired *self)
{
    struct parent *parent = (struct parent *)self;
    atomic_fetch_add(parent->thing.freed_count, 1);
    wdb_epoch_retire(parent->epoch, &parent->child->retired, free_thing);
    free(parent);
}

/* Freed while the instance goes, children included. */
TEST(epoch_free_may_retire)
{
    struct wdb_epoch *epoch;
    atomic_int freed_count = 0;
    REQUIRE_EQ(wdb_epoch_new(&epoch), 0);
    struct parent *parent = malloc(sizeof(*parent));
    REQUIRE(parent != NULL);
    parent->thing.freed_count = &freed_count;
    parent->epoch = epoch;
    parent->child = new_thing(&freed_count, 1);
    REQUIRE(parent->child != NULL);
    wdb_epoch_retire(epoch, &parent->thing.retired, free_parent);
    wdb_epoch_free(epoch);
    CHECK_EQ(freed_count, 2);
}

struct waiter {
    struct wdb_epoch *epoch;
    atomic_bool has_entered;
};

static void *enter_once(void *argument)
{
    struct waiter *waiter = argument;
    int slot = wdb_epoch_enter(waiter->epoch);
    atomic_store(&waiter->has_entered, true);
    wdb_epoch_exit(waiter->epoch, slot);
    return NULL;
}

/* All slots can be taken, each once; one reader more waits for an exit. */
TEST(epoch_all_slots)
{
    struct wdb_epoch *epoch;
    REQUIRE_EQ(wdb_epoch_new(&epoch), 0);
    bool taken[WDB_EPOCH_SLOTS] = {false};
    for (int i = 0; i < WDB_EPOCH_SLOTS; i++) {
        int slot = wdb_epoch_enter(epoch);
        REQUIRE(slot >= 0 && slot < WDB_EPOCH_SLOTS);
        CHECK(!taken[slot]);
        taken[slot] = true;
    }
    struct waiter waiter = {.epoch = epoch};
    pthread_t thread;
    REQUIRE_EQ(pthread_create(&thread, NULL, enter_once, &waiter), 0);
    for (int i = 0; i < 100; i++) {
        sched_yield();
    }
    CHECK(!atomic_load(&waiter.has_entered));
    wdb_epoch_exit(epoch, 77);
    pthread_join(thread, NULL);
    CHECK(atomic_load(&waiter.has_entered));
    for (int i = 0; i < WDB_EPOCH_SLOTS; i++) {
        if (i != 77) {
            wdb_epoch_exit(epoch, i);
        }
    }
    wdb_epoch_free(epoch);
}

#define SHARED_COUNT 4

/* What the threads of the stress test share. */
struct stress {
    struct wdb_epoch *epoch;
    _Atomic(struct thing *) shared[SHARED_COUNT];
    atomic_int freed_count;
    atomic_int made_count;
    atomic_int writers_left;
    atomic_int broken_count;
    uint64_t writes;
};

static void *stress_reader(void *argument)
{
    struct stress *stress = argument;
    struct test_random random = {(uint64_t)(uintptr_t)&random};
    while (atomic_load_explicit(&stress->writers_left, memory_order_relaxed) >
           0) {
        int slot = wdb_epoch_enter(stress->epoch);
        int inner = -1;
        struct thing *thing = atomic_load_explicit(
            &stress->shared[test_random_below(&random, SHARED_COUNT)],
            memory_order_acquire);
        if (test_random_below(&random, 8) == 0) {
            inner = wdb_epoch_enter(stress->epoch);
            sched_yield();
        }
        if (thing->a != ~thing->b) {
            atomic_fetch_add(&stress->broken_count, 1);
        }
        if (inner >= 0) {
            wdb_epoch_exit(stress->epoch, inner);
        }
        wdb_epoch_exit(stress->epoch, slot);
    }
    return NULL;
}

static void *stress_writer(void *argument)
{
    struct stress *stress = argument;
    struct test_random random = {(uint64_t)(uintptr_t)&random};
    for (uint64_t i = 0; i < stress->writes; i++) {
        struct thing *thing = new_thing(&stress->freed_count, i);
        if (thing == NULL) {
            break;
        }
        atomic_fetch_add(&stress->made_count, 1);
        struct thing *old = atomic_exchange_explicit(
            &stress->shared[test_random_below(&random, SHARED_COUNT)], thing,
            memory_order_acq_rel);
        wdb_epoch_retire(stress->epoch, &old->retired, free_thing);
        if (test_random_below(&random, 16) == 0) {
            wdb_epoch_reclaim(stress->epoch);
        }
    }
    atomic_fetch_sub(&stress->writers_left, 1);
    return NULL;
}

/* Readers and writers at full speed: no reader sees a freed thing (memory
 * and thread sanitizer watch, too), and each thing is freed once. */
TEST(epoch_stress)
{
    enum {
        READERS = 3,
        WRITERS = 2
    };
    struct stress stress = {.writers_left = WRITERS,
                            .writes = test_number("WDB_TEST_ROUNDS", 30000)};
    REQUIRE_EQ(wdb_epoch_new(&stress.epoch), 0);
    for (int i = 0; i < SHARED_COUNT; i++) {
        struct thing *thing = new_thing(&stress.freed_count, 0);
        REQUIRE(thing != NULL);
        atomic_store(&stress.shared[i], thing);
        atomic_fetch_add(&stress.made_count, 1);
    }
    pthread_t threads[READERS + WRITERS];
    for (int i = 0; i < READERS + WRITERS; i++) {
        REQUIRE_EQ(pthread_create(&threads[i], NULL,
                                  i < READERS ? stress_reader : stress_writer,
                                  &stress),
                   0);
    }
    for (int i = 0; i < READERS + WRITERS; i++) {
        pthread_join(threads[i], NULL);
    }
    CHECK_EQ(stress.broken_count, 0);
    CHECK_EQ(wdb_epoch_reclaim(stress.epoch), 0);
    CHECK_EQ(stress.made_count - SHARED_COUNT, stress.freed_count);
    for (int i = 0; i < SHARED_COUNT; i++) {
        free_thing(&atomic_load(&stress.shared[i])->retired);
    }
    wdb_epoch_free(stress.epoch);
}
