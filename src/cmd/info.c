/* info.c - INFO: which sections, and the frame around them. */
#include "cmd/info.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "cmd/handlers.h"

#define LINE_SIZE_MAX (WDB_PATH_SIZE_MAX + 256)

static const struct section {
    const char *name, *headline;
    bool is_default;
    void (*write)(struct wdb_info *info);
} sections[] = {
    {"server", "Server", true, wdb_info_server},
    {"clients", "Clients", true, wdb_info_clients},
    {"memory", "Memory", true, wdb_info_memory},
    {"persistence", "Persistence", true, wdb_info_persistence},
    {"stats", "Stats", true, wdb_info_stats},
    {"replication", "Replication", true, wdb_info_replication},
    {"cpu", "CPU", true, wdb_info_cpu},
    {"modules", "Modules", true, wdb_info_modules},
    {"commandstats", "Commandstats", false, wdb_info_commandstats},
    {"errorstats", "Errorstats", true, wdb_info_errorstats},
    {"latencystats", "Latencystats", false, wdb_info_latencystats},
    {"cluster", "Cluster", true, wdb_info_cluster},
    {"keyspace", "Keyspace", true, wdb_info_keyspace},
    {"store", "Store", true, wdb_info_store},
    {"raft", "Raft", true, wdb_info_raft},
};
static_assert(WDB_COUNT(sections) <= 32, "a bit for each");

/* --- text ------------------------------------------------------------------------- */

void wdb_info_line(struct wdb_info *info, const char *format, ...)
{
    char line[LINE_SIZE_MAX];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line, sizeof(line), format, arguments);
    va_end(arguments);
    if (info->code == 0) {
        info->code = wdb_buffer_printf(&info->text, "%s\r\n", line);
    }
}

static void human_size(uint64_t size, char out[32])
{
    static const char units[] = "KMGTPE";
    if (size < 1024) {
        snprintf(out, 32, "%" PRIu64 "B", size);
        return;
    }
    double value = (double)size / 1024;
    size_t unit = 0;
    while (value >= 1024 && unit + 1 < strlen(units)) {
        value /= 1024;
        unit++;
    }
    snprintf(out, 32, "%.2f%c", value, units[unit]);
}

void wdb_info_size(struct wdb_info *info, const char *name, uint64_t size)
{
    char human[32];
    human_size(size, human);
    wdb_info_line(info, "%s:%" PRIu64, name, size);
    wdb_info_line(info, "%s_human:%s", name, human);
}

/* --- figures ---------------------------------------------------------------------- */

static uint64_t shown(const _Atomic uint64_t *value)
{
    return atomic_load_explicit(value, memory_order_relaxed);
}

static void sum_clients(struct wdb_context *context,
                        struct wdb_info_clients *out)
{
    struct wdb_info_clients sum = {0};
    pthread_mutex_lock(&context->registry_lock);
    WDB_LIST_FOREACH(node, &context->sessions)
    {
        const struct wdb_session *session =
            WDB_LIST_ENTRY(node, struct wdb_session, registry_node);
        const uint64_t input = shown(&session->input_size_shown);
        const uint64_t output = shown(&session->output_size_shown);
        const uint32_t flags =
            atomic_load_explicit(&session->flags_shown, memory_order_relaxed);
        sum.count++;
        sum.paused += (flags & WDB_SESSION_PAUSED) != 0;
        sum.input_max = input > sum.input_max ? input : sum.input_max;
        sum.output_max = output > sum.output_max ? output : sum.output_max;
        sum.memory += sizeof(*session) + input + output;
    }
    pthread_mutex_unlock(&context->registry_lock);
    *out = sum;
}

void wdb_info_init(struct wdb_info *info, const struct wdb_call *call)
{
    struct wdb_context *context = call->context;
    *info = (struct wdb_info){
        .context = context,
        .session = call->session,
        .in_exec = call->in_exec,
        .now_ms = context->env->ops->time_ms(context->env),
    };
    wdb_store_stats(wdb_db_store(context->db), &info->store);
    wdb_backup_stats(context, &info->backup);
    wdb_memory_read(&info->memory);
    wdb_stats_memory_note(context->stats, info->memory.used);
    sum_clients(context, &info->clients);
}

void wdb_info_release(struct wdb_info *info)
{
    wdb_buffer_release(&info->text);
}

uint64_t wdb_info_overhead(const struct wdb_info *info)
{
    const struct wdb_store_stats *store = &info->store;
    return info->context->memory_startup + store->keydir_memory +
           store->heap_memory + store->undo_memory +
           store->log.bytes_unwritten + info->clients.memory;
}

/* --- sections --------------------------------------------------------------------- */

/* Bits of the sections that the arguments name; unknown names are none. */
static uint32_t chosen(const struct wdb_call *call)
{
    uint32_t bits = 0, defaults = 0;
    for (size_t k = 0; k < WDB_COUNT(sections); k++) {
        defaults |= sections[k].is_default ? UINT32_C(1) << k : 0;
    }
    if (call->argc == 1) {
        return defaults;
    }
    for (uint32_t i = 1; i < call->argc; i++) {
        if (wdb_call_is(call, i, "default")) {
            bits |= defaults;
        } else if (wdb_call_is(call, i, "all") ||
                   wdb_call_is(call, i, "everything")) {
            bits = UINT32_MAX;
        }
        for (size_t k = 0; k < WDB_COUNT(sections); k++) {
            if (wdb_call_is(call, i, sections[k].name)) {
                bits |= UINT32_C(1) << k;
            }
        }
    }
    return bits;
}

void wdb_cmd_info(struct wdb_call *call)
{
    const uint32_t bits = chosen(call);
    struct wdb_info *info = malloc(sizeof(*info));
    if (info == NULL) {
        (void)wdb_call_failed(call, WALKERDB_ENOMEM);
        return;
    }
    wdb_info_init(info, call);
    for (size_t k = 0; k < WDB_COUNT(sections); k++) {
        const bool alone = info->context->cluster == NULL;
        if (alone && sections[k].write == wdb_info_raft) {
            continue;
        }
        if (bits >> k & 1) {
            wdb_info_line(info, "%s# %s", info->text.size > 0 ? "\r\n" : "",
                          sections[k].headline);
            sections[k].write(info);
        }
    }
    if (!wdb_call_failed(call, info->code)) {
        wdb_reply_verbatim(call->reply, "txt", wdb_buffer_slice(&info->text));
    }
    wdb_info_release(info);
    free(info);
}
