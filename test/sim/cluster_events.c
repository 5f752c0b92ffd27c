/* cluster_events.c - a binary heap of events. */
#include "sim/cluster_events.h"

#include <stdlib.h>

#include "base/assert.h"

void cluster_events_init(struct cluster_events *events)
{
    *events = (struct cluster_events){0};
}

void cluster_events_release(struct cluster_events *events)
{
    for (size_t i = 0; i < events->count; i++) {
        events->heap[i].fn(events->heap[i].context, events->heap[i].arg, false);
    }
    free(events->heap);
    cluster_events_init(events);
}

static bool is_before(const struct cluster_event *a,
                      const struct cluster_event *b)
{
    return a->time_ns != b->time_ns ? a->time_ns < b->time_ns
                                    : a->number < b->number;
}

void cluster_events_add(struct cluster_events *events, uint64_t time_ns,
                        cluster_event_fn fn, void *context, void *arg)
{
    if (events->count == events->capacity) {
        events->capacity = events->capacity == 0 ? 256 : events->capacity * 2;
        events->heap =
            realloc(events->heap, events->capacity * sizeof(*events->heap));
        wdb_assert(events->heap != NULL);
    }
    const struct cluster_event event = {time_ns, events->made++, fn, context,
                                        arg};
    size_t at = events->count++;
    while (at > 0 && is_before(&event, &events->heap[(at - 1) / 2])) {
        events->heap[at] = events->heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    events->heap[at] = event;
}

bool cluster_events_next(struct cluster_events *events,
                         struct cluster_event *out)
{
    if (events->count == 0) {
        return false;
    }
    *out = events->heap[0];
    const struct cluster_event last = events->heap[--events->count];
    size_t at = 0;
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= events->count) {
            break;
        }
        if (child + 1 < events->count &&
            is_before(&events->heap[child + 1], &events->heap[child])) {
            child++;
        }
        if (!is_before(&events->heap[child], &last)) {
            break;
        }
        events->heap[at] = events->heap[child];
        at = child;
    }
    if (events->count > 0) {
        events->heap[at] = last;
    }
    return true;
}

uint64_t cluster_events_due(const struct cluster_events *events)
{
    return events->count == 0 ? UINT64_MAX : events->heap[0].time_ns;
}
