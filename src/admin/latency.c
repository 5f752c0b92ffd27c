/* latency.c - spikes of latency by event, in rings of samples. */
#include "admin/latency.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "walkerdb.h"

struct event {
    char name[WDB_LATENCY_NAME_MAX + 1];
    uint64_t max_ms, total_count;
    uint32_t first, count;
    struct wdb_latency_sample samples[WDB_LATENCY_SAMPLES];
};

struct wdb_latency {
    pthread_mutex_t lock;
    struct event *events[WDB_LATENCY_EVENTS_MAX];
    uint32_t count;
};

int wdb_latency_new(struct wdb_latency **out)
{
    struct wdb_latency *latency = calloc(1, sizeof(*latency));
    if (latency == NULL) {
        return WALKERDB_ENOMEM;
    }
    pthread_mutex_init(&latency->lock, NULL);
    *out = latency;
    return 0;
}

void wdb_latency_free(struct wdb_latency *latency)
{
    if (latency == NULL) {
        return;
    }
    wdb_latency_reset(latency, wdb_slice(NULL, 0));
    pthread_mutex_destroy(&latency->lock);
    free(latency);
}

static bool is_named(const struct event *event, struct wdb_slice name)
{
    return wdb_slice_equal(wdb_slice_str(event->name), name);
}

static struct event *find(const struct wdb_latency *latency,
                          struct wdb_slice name)
{
    for (uint32_t i = 0; i < latency->count; i++) {
        if (is_named(latency->events[i], name)) {
            return latency->events[i];
        }
    }
    return NULL;
}

/* NULL: too many events, or no memory. */
static struct event *find_or_add(struct wdb_latency *latency, const char *name)
{
    struct event *event = find(latency, wdb_slice_str(name));
    if (event != NULL || latency->count == WDB_LATENCY_EVENTS_MAX) {
        return event;
    }
    event = calloc(1, sizeof(*event));
    if (event != NULL) {
        snprintf(event->name, sizeof(event->name), "%s", name);
        latency->events[latency->count++] = event;
    }
    return event;
}

static void add_sample(struct event *event, uint64_t time_s, uint64_t ms)
{
    if (ms > event->max_ms) {
        event->max_ms = ms;
    }
    event->total_count++;
    if (event->count > 0) {
        uint32_t last = (event->first + event->count - 1) % WDB_LATENCY_SAMPLES;
        if (event->samples[last].time_s == time_s) {
            if (ms > event->samples[last].latency_ms) {
                event->samples[last].latency_ms = ms;
            }
            return;
        }
    }
    uint32_t at = (event->first + event->count) % WDB_LATENCY_SAMPLES;
    event->samples[at] =
        (struct wdb_latency_sample){.time_s = time_s, .latency_ms = ms};
    if (event->count < WDB_LATENCY_SAMPLES) {
        event->count++;
    } else {
        event->first = (event->first + 1) % WDB_LATENCY_SAMPLES;
    }
}

void wdb_latency_add(struct wdb_latency *latency, const char *name,
                     uint64_t time_s, uint64_t latency_ms)
{
    pthread_mutex_lock(&latency->lock);
    struct event *event = find_or_add(latency, name);
    if (event != NULL) {
        add_sample(event, time_s, latency_ms);
    }
    pthread_mutex_unlock(&latency->lock);
}

static void copy_out(const struct event *event, struct wdb_latency_event *out)
{
    memcpy(out->name, event->name, sizeof(out->name));
    out->max_ms = event->max_ms;
    out->total_count = event->total_count;
    out->count = event->count;
    for (uint32_t i = 0; i < event->count; i++) {
        out->samples[i] =
            event->samples[(event->first + i) % WDB_LATENCY_SAMPLES];
    }
}

/* The mutex is no part of what a reader may not change. */
static void lock_latency(const struct wdb_latency *latency)
{
    pthread_mutex_lock((pthread_mutex_t *)(uintptr_t)&latency->lock);
}

static void unlock_latency(const struct wdb_latency *latency)
{
    pthread_mutex_unlock((pthread_mutex_t *)(uintptr_t)&latency->lock);
}

bool wdb_latency_event(const struct wdb_latency *latency, uint32_t number,
                       struct wdb_latency_event *out)
{
    lock_latency(latency);
    bool found = number < latency->count;
    if (found) {
        copy_out(latency->events[number], out);
    }
    unlock_latency(latency);
    return found;
}

bool wdb_latency_find(const struct wdb_latency *latency, struct wdb_slice name,
                      struct wdb_latency_event *out)
{
    lock_latency(latency);
    const struct event *event = find(latency, name);
    if (event != NULL) {
        copy_out(event, out);
    }
    unlock_latency(latency);
    return event != NULL;
}

uint32_t wdb_latency_count(const struct wdb_latency *latency)
{
    lock_latency(latency);
    uint32_t count = latency->count;
    unlock_latency(latency);
    return count;
}

uint32_t wdb_latency_reset(struct wdb_latency *latency, struct wdb_slice name)
{
    uint32_t kept = 0, forgotten = 0;
    pthread_mutex_lock(&latency->lock);
    for (uint32_t i = 0; i < latency->count; i++) {
        struct event *event = latency->events[i];
        if (name.data == NULL || is_named(event, name)) {
            free(event);
            forgotten++;
        } else {
            latency->events[kept++] = event;
        }
    }
    latency->count = kept;
    pthread_mutex_unlock(&latency->lock);
    return forgotten;
}
