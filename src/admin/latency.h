/*
 * latency.h - spikes of latency by event ("command", "expire-cycle", ...): the
 * last 160 samples of each, as LATENCY LATEST and HISTORY show them.
 *
 * Events that took at least latency-monitor-threshold milliseconds are added by
 * whoever notices. One mutex; names are bounded in number.
 */
#ifndef WDB_ADMIN_LATENCY_H
#define WDB_ADMIN_LATENCY_H

#include "base/attributes.h"
#include "base/slice.h"

#define WDB_LATENCY_SAMPLES    160
#define WDB_LATENCY_EVENTS_MAX 64
#define WDB_LATENCY_NAME_MAX   63

struct wdb_latency;

struct wdb_latency_sample {
    uint64_t time_s; /* since 1970 */
    uint64_t latency_ms;
};

/* A copy of what is known about one event. */
struct wdb_latency_event {
    char name[WDB_LATENCY_NAME_MAX + 1];
    uint64_t max_ms;      /* ever */
    uint64_t total_count; /* samples ever */
    uint32_t count;       /* of the samples below, oldest first */
    struct wdb_latency_sample samples[WDB_LATENCY_SAMPLES];
};

/* ENOMEM. */
WDB_MUST_CHECK int wdb_latency_new(struct wdb_latency **out);
void wdb_latency_free(struct wdb_latency *latency);
/* Add a sample; two of the same second become the higher one. Thread: any. */
void wdb_latency_add(struct wdb_latency *latency, const char *event,
                     uint64_t time_s, uint64_t latency_ms);
/* Events are numbered in the order in which they came up. False: no such. */
bool wdb_latency_event(const struct wdb_latency *latency, uint32_t number,
                       struct wdb_latency_event *out);
bool wdb_latency_find(const struct wdb_latency *latency, struct wdb_slice name,
                      struct wdb_latency_event *out);
uint32_t wdb_latency_count(const struct wdb_latency *latency);
/* Forget one event, or all (name.data == NULL); returns how many. */
uint32_t wdb_latency_reset(struct wdb_latency *latency, struct wdb_slice name);

#endif
