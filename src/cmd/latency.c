/*
 * latency.c - LATENCY: what was slow, event by event, and how long commands
 * take.
 *
 * Other workers add samples meanwhile, so every event is copied out at once and
 * lists are collected before their length is told.
 */
#include <stdlib.h>

#include "cmd/client.h"
#include "cmd/collect.h"
#include "cmd/handlers.h"
#include "cmd/latency_text.h"

/* --- LATEST, HISTORY, RESET ----------------------------------------------------- */

void wdb_cmd_latency_latest(struct wdb_call *call)
{
    struct wdb_collect list;
    struct wdb_latency_event event;
    wdb_collect_begin(&list, call);
    for (uint32_t i = 0; wdb_latency_event(call->context->latency, i, &event);
         i++) {
        const struct wdb_latency_sample *last = &event.samples[event.count - 1];
        wdb_reply_array(&list.reply, 4);
        wdb_reply_bulk_str(&list.reply, event.name);
        wdb_reply_integer(&list.reply, (int64_t)last->time_s);
        wdb_reply_integer(&list.reply, (int64_t)last->latency_ms);
        wdb_reply_integer(&list.reply, (int64_t)event.max_ms);
        list.count++;
    }
    wdb_collect_array(&list, call);
}

void wdb_cmd_latency_history(struct wdb_call *call)
{
    struct wdb_latency_event event;
    if (!wdb_latency_find(call->context->latency, call->argv[2], &event)) {
        wdb_reply_array(call->reply, 0);
        return;
    }
    wdb_reply_array(call->reply, event.count);
    for (uint32_t i = 0; i < event.count; i++) {
        wdb_reply_array(call->reply, 2);
        wdb_reply_integer(call->reply, (int64_t)event.samples[i].time_s);
        wdb_reply_integer(call->reply, (int64_t)event.samples[i].latency_ms);
    }
}

void wdb_cmd_latency_reset(struct wdb_call *call)
{
    struct wdb_latency *latency = call->context->latency;
    uint32_t count = 0;
    if (call->argc == 2) {
        count = wdb_latency_reset(latency, wdb_slice(NULL, 0));
    }
    for (uint32_t i = 2; i < call->argc; i++) {
        count += wdb_latency_reset(latency, call->argv[i]);
    }
    wdb_reply_integer(call->reply, count);
}

/* --- GRAPH, DOCTOR ----------------------------------------------------------------- */

static void reply_text(struct wdb_call *call, int code, struct wdb_buffer *text)
{
    if (!wdb_call_failed(call, code)) {
        wdb_reply_verbatim(call->reply, "txt", wdb_buffer_slice(text));
    }
    wdb_buffer_release(text);
}

static uint64_t now_s(const struct wdb_call *call)
{
    return call->context->env->ops->time_ms(call->context->env) / 1000;
}

void wdb_cmd_latency_graph(struct wdb_call *call)
{
    struct wdb_latency_event event;
    struct wdb_buffer text = WDB_BUFFER_INIT;
    const struct wdb_slice name = call->argv[2];
    if (!wdb_latency_find(call->context->latency, name, &event)) {
        wdb_call_error(call, "ERR No samples available for event '%.*s'",
                       (int)(name.size < 128 ? name.size : 128),
                       (const char *)name.data);
        return;
    }
    reply_text(call, wdb_latency_graph(&event, now_s(call), &text), &text);
}

void wdb_cmd_latency_doctor(struct wdb_call *call)
{
    const struct wdb_context *context = call->context;
    struct wdb_buffer text = WDB_BUFFER_INIT;
    uint64_t threshold_ms =
        wdb_config_u64(context->config, WDB_CONFIG_LATENCY_MONITOR_THRESHOLD);
    reply_text(call,
               wdb_latency_report(context->latency, threshold_ms, now_s(call),
                                  &text),
               &text);
}

/* --- HISTOGRAM --------------------------------------------------------------------- */

/* Durations up to 1, 2, 4, ... us and how many calls took at most so long;
 * only where that number changes. */
static void show_histogram(struct wdb_collect *list,
                           const struct wdb_command *command,
                           const struct wdb_histogram_sum *sum)
{
    uint64_t limits[64], counts[64];
    size_t count = 0;
    uint64_t before = 0;
    for (unsigned shift = 0; shift < 40 && before < sum->total; shift++) {
        const uint64_t limit_us = UINT64_C(1) << shift;
        const uint64_t below =
            shift == 39 ? sum->total
                        : wdb_histogram_count_below(sum, limit_us * 1000);
        if (below > before) {
            limits[count] = limit_us;
            counts[count++] = below;
            before = below;
        }
    }
    wdb_reply_bulk_str(&list->reply, command->name);
    wdb_reply_map(&list->reply, 2);
    wdb_reply_bulk_str(&list->reply, "calls");
    wdb_reply_integer(&list->reply, (int64_t)sum->total);
    wdb_reply_bulk_str(&list->reply, "histogram_usec");
    wdb_reply_map(&list->reply, count);
    for (size_t i = 0; i < count; i++) {
        wdb_reply_integer(&list->reply, (int64_t)limits[i]);
        wdb_reply_integer(&list->reply, (int64_t)counts[i]);
    }
    list->count++;
}

/* The histogram of a command, and those of its subcommands. */
static void add_histograms(struct wdb_collect *list,
                           const struct wdb_call *call,
                           const struct wdb_command *command,
                           struct wdb_histogram_sum *room)
{
    if (wdb_stats_histogram(call->context->stats, command->id, room)) {
        show_histogram(list, command, room);
    }
    for (uint16_t i = 0; i < command->subcommand_count; i++) {
        add_histograms(list, call, &command->subcommands[i], room);
    }
}

/* "get", "client", or "client|id" */
static const struct wdb_command *find_named(struct wdb_slice name)
{
    const uint8_t *bar =
        name.size == 0 ? NULL : memchr(name.data, '|', name.size);
    if (bar == NULL) {
        return wdb_command_find(name);
    }
    const size_t size = (size_t)(bar - name.data);
    const struct wdb_command *parent =
        wdb_command_find(wdb_slice(name.data, size));
    return parent == NULL
               ? NULL
               : wdb_command_find_sub(parent,
                                      wdb_slice(bar + 1, name.size - size - 1));
}

void wdb_cmd_latency_histogram(struct wdb_call *call)
{
    struct wdb_histogram_sum *room = malloc(sizeof(*room));
    if (room == NULL) {
        (void)wdb_call_failed(call, WALKERDB_ENOMEM);
        return;
    }
    struct wdb_collect list;
    wdb_collect_begin(&list, call);
    size_t count;
    const struct wdb_command *table = wdb_command_table(&count);
    for (size_t i = 0; i < count && call->argc == 2; i++) {
        add_histograms(&list, call, &table[i], room);
    }
    for (uint32_t i = 2; i < call->argc; i++) {
        const struct wdb_command *command = find_named(call->argv[i]);
        if (command != NULL) {
            add_histograms(&list, call, command, room);
        }
    }
    wdb_collect_map(&list, call);
    free(room);
}

void wdb_cmd_latency_help(struct wdb_call *call)
{
    static const char *const lines[] = {
        "DOCTOR",
        "    Describe the slow events in words, with advice.",
        "GRAPH <event>",
        "    Draw the samples of an event.",
        "HISTOGRAM [<command> ...]",
        "    How many calls of the commands (of all) took at most so many us.",
        "HISTORY <event>",
        "    Time and latency of the samples of an event.",
        "LATEST",
        "    The last sample of every event, and its highest.",
        "RESET [<event> ...]",
        "    Forget the samples of some events, or of all.",
        NULL};
    wdb_call_help(call, "LATENCY", lines);
}
