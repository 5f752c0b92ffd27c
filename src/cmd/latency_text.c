/* latency_text.c - samples of latency as a drawing, and in words. */
#include "cmd/latency_text.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#define GRAPH_ROWS  4
#define GRAPH_STEPS 3 /* heights that can be told apart in a row */
#define GRAPH_WIDTH 80
#define LABEL_MAX   4

/* --- the drawing ------------------------------------------------------------------ */

/* How long ago: "5s", "12m", "3h", "9d". */
static void age_text(uint64_t seconds, char out[LABEL_MAX + 1])
{
    uint64_t number = seconds;
    char unit = 's';
    if (seconds >= 24 * 3600) {
        number = seconds / (24 * 3600);
        unit = 'd';
    } else if (seconds >= 3600) {
        number = seconds / 3600;
        unit = 'h';
    } else if (seconds >= 60) {
        number = seconds / 60;
        unit = 'm';
    }
    snprintf(out, LABEL_MAX + 1, "%u%c", (unsigned)(number % 1000), unit);
}

static void lowest_and_highest(const struct wdb_latency_event *event,
                               uint64_t *low_out, uint64_t *high_out)
{
    *low_out = *high_out = event->samples[0].latency_ms;
    for (uint32_t i = 1; i < event->count; i++) {
        const uint64_t ms = event->samples[i].latency_ms;
        *low_out = ms < *low_out ? ms : *low_out;
        *high_out = ms > *high_out ? ms : *high_out;
    }
}

/* The sign of a column in a row counted from below: a bar that ends at `step`
 * of GRAPH_ROWS * GRAPH_STEPS. */
static char sign_at(unsigned step, unsigned row)
{
    static const char ends[GRAPH_STEPS + 1] = "_o#";
    if (step / GRAPH_STEPS == row) {
        return ends[step % GRAPH_STEPS];
    }
    return step / GRAPH_STEPS > row ? '|' : ' ';
}

/* Some columns: the bars, and below them how long ago, from top to bottom. */
static int draw(const struct wdb_latency_event *event, uint32_t from,
                uint32_t to, uint64_t now_s, struct wdb_buffer *out)
{
    uint64_t low, high;
    lowest_and_highest(event, &low, &high);
    const uint64_t span = high > low ? high - low : 1;
    const unsigned steps = GRAPH_ROWS * GRAPH_STEPS;
    char line[GRAPH_WIDTH];
    int code = 0;
    for (unsigned row = 0; row < GRAPH_ROWS + LABEL_MAX && code == 0; row++) {
        size_t used = 0;
        for (uint32_t i = from; i < to; i++) {
            const struct wdb_latency_sample *sample = &event->samples[i];
            char sign = ' ';
            if (row < GRAPH_ROWS) {
                uint64_t step = (sample->latency_ms - low) * steps / span;
                sign = sign_at(step < steps ? (unsigned)step : steps - 1,
                               GRAPH_ROWS - 1 - row);
            } else {
                char label[LABEL_MAX + 1] = "";
                age_text(now_s > sample->time_s ? now_s - sample->time_s : 0,
                         label);
                if (strlen(label) > row - GRAPH_ROWS) {
                    sign = label[row - GRAPH_ROWS];
                }
            }
            line[i - from] = sign;
            used = sign == ' ' ? used : i - from + 1;
        }
        if (row < GRAPH_ROWS || used > 0) {
            code = wdb_buffer_printf(out, "%.*s\n", (int)used, line);
        }
    }
    return code;
}

int wdb_latency_graph(const struct wdb_latency_event *event, uint64_t now_s,
                      struct wdb_buffer *out)
{
    static const char rule[] = "----------------------------------------"
                               "----------------------------------------\n";
    uint64_t low, high;
    lowest_and_highest(event, &low, &high);
    int code = wdb_buffer_printf(out,
                                 "%s - high %" PRIu64 " ms, low %" PRIu64
                                 " ms (all time high %" PRIu64 " ms)\n%s",
                                 event->name, high, low, event->max_ms, rule);
    for (uint32_t from = 0; from < event->count && code == 0;
         from += GRAPH_WIDTH) {
        const uint32_t to = event->count - from > GRAPH_WIDTH
                                ? from + GRAPH_WIDTH
                                : event->count;
        code = draw(event, from, to, now_s, out);
    }
    return code;
}

/* --- in words ---------------------------------------------------------------------- */

struct figures {
    double average_ms, deviation_ms; /* mean absolute */
    double period_s;                 /* between two samples */
};

static void compute(const struct wdb_latency_event *event, uint64_t now_s,
                    struct figures *out)
{
    double sum = 0, deviation = 0;
    for (uint32_t i = 0; i < event->count; i++) {
        sum += (double)event->samples[i].latency_ms;
    }
    out->average_ms = sum / event->count;
    for (uint32_t i = 0; i < event->count; i++) {
        deviation +=
            fabs((double)event->samples[i].latency_ms - out->average_ms);
    }
    out->deviation_ms = deviation / event->count;
    const uint64_t first_s = event->samples[0].time_s;
    out->period_s =
        now_s > first_s ? (double)(now_s - first_s) / event->count : 0;
}

struct advice {
    const char *event;
    const char *text;
};

static const struct advice advices[] = {
    {"command", "Look at SLOWLOG GET: it shows which commands took long. "
                "Commands over many keys (KEYS, a large MGET or DEL) "
                "hold up the clients of their worker; SCAN does not."},
    {"fast-command", "Commands that should be fast were slow: the machine may "
                     "be short of processors or memory. Compare io-threads "
                     "with its cores, and look for swapping."},
    {"expire-cycle", "Many keys expire at the same time. Spread their expiry "
                     "times, or lower active-expire-effort."},
};

int wdb_latency_report(const struct wdb_latency *latency, uint64_t threshold_ms,
                       uint64_t now_s, struct wdb_buffer *out)
{
    if (threshold_ms == 0) {
        return wdb_buffer_printf(
            out, "Latency is not watched. CONFIG SET latency-monitor-threshold "
                 "<milliseconds> switches it on: then everything that takes at "
                 "least so long is noted.\n");
    }
    struct wdb_latency_event event;
    if (wdb_latency_count(latency) == 0) {
        return wdb_buffer_printf(out,
                                 "Nothing took %" PRIu64 " ms or longer since "
                                 "the latency is watched.\n",
                                 threshold_ms);
    }
    int code =
        wdb_buffer_printf(out, "Events that took %" PRIu64 " ms or longer:\n\n",
                          threshold_ms);
    for (uint32_t i = 0; code == 0 && wdb_latency_event(latency, i, &event);
         i++) {
        struct figures figures;
        compute(&event, now_s, &figures);
        code = wdb_buffer_printf(
            out,
            "%u. %s: %u latency spikes (average %.0f ms, mean deviation "
            "%.0f ms, period %.2f sec). Worst all time event %" PRIu64 " ms.\n",
            i + 1, event.name, event.count, figures.average_ms,
            figures.deviation_ms, figures.period_s, event.max_ms);
        for (size_t k = 0; k < WDB_COUNT(advices) && code == 0; k++) {
            if (strcmp(advices[k].event, event.name) == 0) {
                code = wdb_buffer_printf(out, "   - %s\n", advices[k].text);
            }
        }
    }
    return code;
}
