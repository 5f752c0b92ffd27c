/* latency_text.h - samples of latency as a drawing, and in words. */
#ifndef WDB_CMD_LATENCY_TEXT_H
#define WDB_CMD_LATENCY_TEXT_H

#include "admin/latency.h"
#include "base/buffer.h"

/* LATENCY GRAPH. ENOMEM. */
WDB_MUST_CHECK int wdb_latency_graph(const struct wdb_latency_event *event,
                                     uint64_t now_s, struct wdb_buffer *out);
/* LATENCY DOCTOR. threshold_ms: the setting, 0 = nothing is watched. ENOMEM. */
WDB_MUST_CHECK int wdb_latency_report(const struct wdb_latency *latency,
                                      uint64_t threshold_ms, uint64_t now_s,
                                      struct wdb_buffer *out);

#endif
