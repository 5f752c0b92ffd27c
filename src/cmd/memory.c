/* memory.c - MEMORY: what memory is used for. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "cmd/client.h"
#include "cmd/collect.h"
#include "cmd/handlers.h"
#include "cmd/info.h"
#include "cmd/value.h"

/* About what the keydir needs for a key beside its bytes: the entry, and its
 * share of a bucket. */
#define KEY_OVERHEAD     24
#define EXPIRY_OVERHEAD  24 /* in the entry, and in the heap */
#define ELEMENT_OVERHEAD 32

/* --- USAGE ------------------------------------------------------------------------- */

static bool read_samples(struct wdb_call *call)
{
    int64_t samples;
    for (uint32_t i = 3; i < call->argc; i += 2) {
        if (!wdb_call_is(call, i, "SAMPLES") || i + 1 == call->argc) {
            wdb_call_syntax_error(call);
            return false;
        }
        if (!wdb_call_int64(call, i + 1, &samples)) {
            return false;
        }
        if (samples < 0) {
            wdb_call_syntax_error(call);
            return false;
        }
    }
    return true;
}

/* The key's place in the index, which is memory, and its record, which is in a
 * file: together, because who asks looks for big keys. */
void wdb_cmd_memory_usage(struct wdb_call *call)
{
    struct wdb_item item;
    if (!read_samples(call)) {
        return;
    }
    if (!wdb_db_find(call->txn, &call->keys[0], WDB_FIND_PEEK, &item)) {
        wdb_reply_null(call->reply);
        return;
    }
    uint64_t size = KEY_OVERHEAD + call->keys[0].name.size + item.record_size;
    if (item.expiry_ms != 0) {
        size += EXPIRY_OVERHEAD;
    }
    if ((item.flags & WDB_ITEM_OBJECT) && wdb_item_is_string(&item)) {
        struct wdb_call_string string;
        if (!wdb_call_string(call, 0, WDB_FIND_PEEK, &string)) {
            return;
        }
        size +=
            string.string.size +
            ELEMENT_OVERHEAD * wdb_store_element_count(call->txn->store,
                                                       string.string.object_id);
    }
    wdb_reply_integer(call->reply, (int64_t)size);
}

/* --- STATS ------------------------------------------------------------------------- */

static void add_number(struct wdb_collect *map, const char *name,
                       uint64_t number)
{
    wdb_reply_bulk_str(&map->reply, name);
    wdb_reply_integer(&map->reply, (int64_t)number);
    map->count++;
}

static void add_ratio(struct wdb_collect *map, const char *name, double a,
                      double b)
{
    wdb_reply_bulk_str(&map->reply, name);
    wdb_reply_double(&map->reply, b == 0 ? 0 : a / b);
    map->count++;
}

static void add_allocator(struct wdb_collect *map, const struct wdb_memory *m)
{
    const uint64_t allocated = m->has_allocator ? m->allocated : m->used;
    const uint64_t active = m->has_allocator ? m->active : m->used;
    const uint64_t resident = m->has_allocator ? m->resident : m->used;
    add_number(map, "allocator.allocated", allocated);
    add_number(map, "allocator.active", active);
    add_number(map, "allocator.resident", resident);
    add_ratio(map, "allocator-fragmentation.ratio", (double)active,
              (double)allocated);
    add_number(map, "allocator-fragmentation.bytes", active - allocated);
    add_ratio(map, "allocator-rss.ratio", (double)resident, (double)active);
    add_number(map, "allocator-rss.bytes", resident - active);
    add_ratio(map, "rss-overhead.ratio", (double)m->anonymous,
              (double)resident);
    add_number(map, "rss-overhead.bytes", m->anonymous - resident);
    add_ratio(map, "fragmentation", (double)m->anonymous, (double)m->used);
    add_number(map, "fragmentation.bytes", m->anonymous - m->used);
}

static void add_databases(struct wdb_collect *map, const struct wdb_info *info)
{
    const struct wdb_db *db = info->context->db;
    for (uint32_t n = 0; n < WDB_DATABASE_COUNT; n++) {
        const uint64_t keys = wdb_db_size(db, n);
        if (keys == 0) {
            continue;
        }
        char name[16];
        snprintf(name, sizeof(name), "db.%u", n);
        wdb_reply_bulk_str(&map->reply, name);
        wdb_reply_map(&map->reply, 3);
        wdb_reply_bulk_str(&map->reply, "overhead.hashtable.main");
        wdb_reply_integer(&map->reply, (int64_t)(keys * KEY_OVERHEAD));
        wdb_reply_bulk_str(&map->reply, "overhead.hashtable.expires");
        wdb_reply_integer(&map->reply,
                          (int64_t)(wdb_db_expires(db, n) * EXPIRY_OVERHEAD));
        wdb_reply_bulk_str(&map->reply, "overhead.hashtable.slot-to-keys");
        wdb_reply_integer(&map->reply, 0);
        map->count++;
    }
}

static void add_all(struct wdb_collect *map, const struct wdb_info *info)
{
    const uint64_t used = info->memory.used;
    const uint64_t startup = info->context->memory_startup;
    const uint64_t peak = wdb_stats_memory_peak(info->context->stats);
    const uint64_t keys = info->store.key_count;
    uint64_t overhead = wdb_info_overhead(info);
    overhead = overhead < used ? overhead : used;
    add_number(map, "peak.allocated", peak);
    add_number(map, "total.allocated", used);
    add_number(map, "startup.allocated", startup);
    add_number(map, "replication.backlog", 0);
    add_number(map, "clients.slaves", 0);
    add_number(map, "clients.normal", info->clients.memory);
    add_number(map, "cluster.links", 0);
    add_number(map, "aof.buffer", info->store.log.bytes_unwritten);
    add_number(map, "lua.caches", 0);
    add_number(map, "functions.caches", 0);
    add_databases(map, info);
    add_number(map, "overhead.total", overhead);
    add_number(map, "keys.count", keys);
    add_number(map, "keys.bytes-per-key",
               keys == 0 || used < startup ? 0 : (used - startup) / keys);
    add_number(map, "dataset.bytes", used - overhead);
    add_ratio(map, "dataset.percentage", 100 * (double)(used - overhead),
              used > startup ? (double)(used - startup) : 0);
    add_ratio(map, "peak.percentage", 100 * (double)used, (double)peak);
    add_allocator(map, &info->memory);
    add_number(map, "keydir.bytes", info->store.keydir_memory);
    add_number(map, "expires.bytes", info->store.heap_memory);
    add_number(map, "undo.bytes", info->store.undo_memory);
    add_number(map, "mapped.bytes", info->memory.mapped);
}

void wdb_cmd_memory_stats(struct wdb_call *call)
{
    struct wdb_info *info = malloc(sizeof(*info));
    if (info == NULL) {
        (void)wdb_call_failed(call, WALKERDB_ENOMEM);
        return;
    }
    struct wdb_collect map;
    wdb_collect_begin(&map, call);
    wdb_info_init(info, call);
    add_all(&map, info);
    wdb_info_release(info);
    free(info);
    wdb_collect_map(&map, call);
}

/* --- DOCTOR ------------------------------------------------------------------------ */

#define DOCTOR_USED_MIN     ((uint64_t)5 << 20)
#define DOCTOR_CLIENT_BYTES ((uint64_t)200 << 10)

static int diagnose(const struct wdb_info *info, struct wdb_buffer *out)
{
    const struct wdb_memory *m = &info->memory;
    const uint64_t peak = wdb_stats_memory_peak(info->context->stats);
    const uint64_t limit =
        wdb_config_u64(info->context->config, WDB_CONFIG_MAXMEMORY);
    size_t before = out->size;
    int code = 0;
    if (m->used < DOCTOR_USED_MIN) {
        return wdb_buffer_printf(out, "There is too little in memory to say "
                                      "anything about it.\n");
    }
    if (limit > 0 && m->used > limit / 10 * 9) {
        code = wdb_buffer_printf(
            out,
            "- Used memory (%" PRIu64 " bytes) is near maxmemory (%" PRIu64
            "): at the limit writes are refused with -OOM. The keydir "
            "takes %" PRIu64 " bytes of it.\n",
            m->used, limit, info->store.keydir_memory);
    }
    if (code == 0 && peak > m->used + m->used / 2) {
        code = wdb_buffer_printf(
            out,
            "- The peak was %" PRIu64 " bytes, more than 1.5 times what is "
            "used now. The allocator may keep some of it: MEMORY PURGE "
            "gives it back.\n",
            peak);
    }
    if (code == 0 && m->anonymous > m->used / 5 * 7 &&
        m->anonymous - m->used > (uint64_t)10 << 20) {
        code = wdb_buffer_printf(out,
                                 "- Resident memory (%" PRIu64
                                 " bytes without files) is much "
                                 "more than what is used (%" PRIu64
                                 "): fragmentation. MEMORY "
                                 "PURGE may help.\n",
                                 m->anonymous, m->used);
    }
    if (code == 0 && info->clients.count > 0 &&
        info->clients.memory / info->clients.count > DOCTOR_CLIENT_BYTES) {
        code = wdb_buffer_printf(
            out,
            "- The buffers of the clients take %" PRIu64 " bytes: some "
            "read their replies slowly. See CLIENT LIST (omem, qbuf).\n",
            info->clients.memory);
    }
    if (code == 0 && out->size == before) {
        code = wdb_buffer_printf(out, "No problem with memory was found.\n");
    }
    return code;
}

void wdb_cmd_memory_doctor(struct wdb_call *call)
{
    struct wdb_info *info = malloc(sizeof(*info));
    if (info == NULL) {
        (void)wdb_call_failed(call, WALKERDB_ENOMEM);
        return;
    }
    wdb_info_init(info, call);
    if (!wdb_call_failed(call, diagnose(info, &info->text))) {
        wdb_reply_verbatim(call->reply, "txt", wdb_buffer_slice(&info->text));
    }
    wdb_info_release(info);
    free(info);
}

/* --- PURGE, MALLOC-STATS: off the loop, both may take a while -------------------------- */

static void purge_work(void *arg)
{
    (void)arg;
    wdb_memory_purge();
}

static void purge_done(struct wdb_session *session, struct wdb_reply *reply,
                       void *arg)
{
    (void)session;
    (void)arg;
    wdb_reply_ok(reply);
}

void wdb_cmd_memory_purge(struct wdb_call *call)
{
    wdb_call_park(call, purge_work, purge_done, NULL);
}

struct details {
    struct wdb_buffer text;
    bool known;
};

static void details_work(void *arg)
{
    struct details *details = arg;
    details->known = wdb_memory_details(&details->text);
}

static void details_done(struct wdb_session *session, struct wdb_reply *reply,
                         void *arg)
{
    struct details *details = arg;
    (void)session;
    if (details->known) {
        wdb_reply_verbatim(reply, "txt", wdb_buffer_slice(&details->text));
    } else {
        wdb_reply_bulk_str(reply,
                           "Stats not supported for the current allocator");
    }
    wdb_buffer_release(&details->text);
    free(details);
}

void wdb_cmd_memory_malloc_stats(struct wdb_call *call)
{
    struct details *details = calloc(1, sizeof(*details));
    if (details == NULL) {
        (void)wdb_call_failed(call, WALKERDB_ENOMEM);
        return;
    }
    wdb_call_park(call, details_work, details_done, details);
}

void wdb_cmd_memory_help(struct wdb_call *call)
{
    static const char *const lines[] = {
        "DOCTOR",
        "    Describe problems with memory in words.",
        "MALLOC-STATS",
        "    What the allocator tells about itself.",
        "PURGE",
        "    Give unused memory back to the system.",
        "STATS",
        "    What memory is used for.",
        "USAGE <key> [SAMPLES <count>]",
        "    Bytes that the key takes, in memory and in its file.",
        NULL};
    wdb_call_help(call, "MEMORY", lines);
}
