/*
 * ticks.h - the processor's own counter, for durations of single commands: a
 * third of the price of a clock_gettime. Not for dates, not across machines.
 */
#ifndef WDB_BASE_TICKS_H
#define WDB_BASE_TICKS_H

#include <stdint.h>
#include <time.h>
#if defined(__x86_64__)
#include <x86intrin.h>
#endif

static inline uint64_t wdb_ticks(void)
{
#if defined(__x86_64__)
    return __rdtsc();
#elif defined(__aarch64__)
    uint64_t value;
    __asm__ volatile("mrs %0, cntvct_el0" : "=r"(value));
    return value;
#else
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
#endif
}

/* A pair of readings from which the length of a tick follows. */
struct wdb_tick_scale {
    uint64_t ticks_first, ns_first;
    double ns_per_tick; /* 0 until wdb_tick_scale_update was called later */
};

static inline uint64_t wdb_tick_clock_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}
static inline void wdb_tick_scale_init(struct wdb_tick_scale *scale)
{
    scale->ticks_first = wdb_ticks();
    scale->ns_first = wdb_tick_clock_ns();
    scale->ns_per_tick = 0;
}
/* Refine; call now and then (the longer after init, the better). */
static inline void wdb_tick_scale_update(struct wdb_tick_scale *scale)
{
    uint64_t ticks = wdb_ticks() - scale->ticks_first;
    uint64_t ns = wdb_tick_clock_ns() - scale->ns_first;
    if (ticks > 0 && ns > 1000000) {
        scale->ns_per_tick = (double)ns / (double)ticks;
    }
}
static inline uint64_t wdb_ticks_to_ns(const struct wdb_tick_scale *scale,
                                       uint64_t ticks)
{
    return (uint64_t)((double)ticks * scale->ns_per_tick);
}

#endif
