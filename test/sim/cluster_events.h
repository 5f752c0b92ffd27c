/*
 * cluster_events.h - what will happen when: a heap by virtual time. Events of
 * the same time happen in the order in which they were made, so a run depends
 * on its seed alone.
 */
#ifndef WDB_TEST_SIM_CLUSTER_EVENTS_H
#define WDB_TEST_SIM_CLUSTER_EVENTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/time.h"

/* `happens` is false if the queue is being thrown away: then only free arg. */
typedef void (*cluster_event_fn)(void *context, void *arg, bool happens);

struct cluster_event {
    uint64_t time_ns, number;
    cluster_event_fn fn;
    void *context, *arg;
};

struct cluster_events {
    struct cluster_event *heap;
    size_t count, capacity;
    uint64_t made;
};

void cluster_events_init(struct cluster_events *events);
/* Throw all away. */
void cluster_events_release(struct cluster_events *events);
void cluster_events_add(struct cluster_events *events, uint64_t time_ns,
                        cluster_event_fn fn, void *context, void *arg);
/* Take the next one out; false if there is none. */
bool cluster_events_next(struct cluster_events *events,
                         struct cluster_event *out);
/* When it is due; UINT64_MAX: none. */
uint64_t cluster_events_due(const struct cluster_events *events);

#endif
