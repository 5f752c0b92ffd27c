/*
 * info.h - the sections of INFO.
 *
 *   info.c         which sections, the frame around them, figures they share
 *   info_server.c  server, clients, memory, persistence
 *   info_stats.c   stats, CPU, commands, errors, latencies
 *   info_cluster.c replication, Raft, cluster
 *   info_store.c   store, keyspace
 *
 * Names and order are those of Redis 7.0, because tools parse them; what Redis
 * does not have comes behind, or in the sections "Raft" and "Store". What cannot happen
 * here is shown as it is in a Redis where it has not happened.
 */
#ifndef WDB_CMD_INFO_H
#define WDB_CMD_INFO_H

#include "admin/process.h"
#include "base/buffer.h"
#include "cmd/backup.h"
#include "cmd/call.h"

/* Sums over all sessions. */
struct wdb_info_clients {
    uint64_t count, paused;
    uint64_t input_max, output_max; /* bytes */
    uint64_t memory;                /* of all buffers and sessions */
};

struct wdb_info {
    struct wdb_context *context;
    const struct wdb_session *session; /* that asks */
    bool in_exec;                      /* stripes are held: take none */
    uint64_t now_ms;
    struct wdb_store_stats store;
    struct wdb_backup_stats backup;
    struct wdb_memory memory;
    struct wdb_info_clients clients;
    struct wdb_buffer text;
    int code; /* ENOMEM: the text is not complete */
};

/* Gather the figures; release it in any case. */
void wdb_info_init(struct wdb_info *info, const struct wdb_call *call);
void wdb_info_release(struct wdb_info *info);
/* Append a line; its end is added. */
void wdb_info_line(struct wdb_info *info, const char *format, ...)
    WDB_PRINTF(2, 3);
/* A size, and again for people: "name:1536", "name_human:1.50K". */
void wdb_info_size(struct wdb_info *info, const char *name, uint64_t size);

/* What the server holds for itself, whatever the data. */
uint64_t wdb_info_overhead(const struct wdb_info *info);

/* One section each, without its headline. */
void wdb_info_server(struct wdb_info *info);
void wdb_info_clients(struct wdb_info *info);
void wdb_info_memory(struct wdb_info *info);
void wdb_info_persistence(struct wdb_info *info);
void wdb_info_stats(struct wdb_info *info);
void wdb_info_replication(struct wdb_info *info);
void wdb_info_raft(struct wdb_info *info);
void wdb_info_cpu(struct wdb_info *info);
void wdb_info_modules(struct wdb_info *info);
void wdb_info_commandstats(struct wdb_info *info);
void wdb_info_errorstats(struct wdb_info *info);
void wdb_info_latencystats(struct wdb_info *info);
void wdb_info_cluster(struct wdb_info *info);
void wdb_info_keyspace(struct wdb_info *info);
void wdb_info_store(struct wdb_info *info);

#endif
