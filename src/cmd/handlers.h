/*
 * handlers.h - the handlers that the command table names: one for each command
 * and subcommand, wdb_cmd_<name> or wdb_cmd_<container>_<subcommand>. What a
 * handler may rely on is said in call.h.
 */
#ifndef WDB_CMD_HANDLERS_H
#define WDB_CMD_HANDLERS_H

#include "cmd/call.h"

/* Strings. */
void wdb_cmd_append(struct wdb_call *call);
void wdb_cmd_decr(struct wdb_call *call);
void wdb_cmd_decrby(struct wdb_call *call);
void wdb_cmd_get(struct wdb_call *call);
void wdb_cmd_getdel(struct wdb_call *call);
void wdb_cmd_getex(struct wdb_call *call);
void wdb_cmd_getrange(struct wdb_call *call);
void wdb_cmd_getset(struct wdb_call *call);
void wdb_cmd_incr(struct wdb_call *call);
void wdb_cmd_incrby(struct wdb_call *call);
void wdb_cmd_incrbyfloat(struct wdb_call *call);
void wdb_cmd_lcs(struct wdb_call *call);
void wdb_cmd_mget(struct wdb_call *call);
void wdb_cmd_mset(struct wdb_call *call);
void wdb_cmd_msetnx(struct wdb_call *call);
void wdb_cmd_psetex(struct wdb_call *call);
void wdb_cmd_set(struct wdb_call *call);
void wdb_cmd_setex(struct wdb_call *call);
void wdb_cmd_setnx(struct wdb_call *call);
void wdb_cmd_setrange(struct wdb_call *call);
void wdb_cmd_strlen(struct wdb_call *call);
void wdb_cmd_substr(struct wdb_call *call);

/* Bitmaps. */
void wdb_cmd_bitcount(struct wdb_call *call);
void wdb_cmd_bitfield(struct wdb_call *call);
void wdb_cmd_bitfield_ro(struct wdb_call *call);
void wdb_cmd_bitop(struct wdb_call *call);
void wdb_cmd_bitpos(struct wdb_call *call);
void wdb_cmd_getbit(struct wdb_call *call);
void wdb_cmd_setbit(struct wdb_call *call);

/* Keys of any type. */
void wdb_cmd_copy(struct wdb_call *call);
void wdb_cmd_del(struct wdb_call *call);
void wdb_cmd_exists(struct wdb_call *call);
void wdb_cmd_expire(struct wdb_call *call);
void wdb_cmd_expireat(struct wdb_call *call);
void wdb_cmd_expiretime(struct wdb_call *call);
void wdb_cmd_keys(struct wdb_call *call);
void wdb_cmd_levelget(struct wdb_call *call);
void wdb_cmd_move(struct wdb_call *call);
void wdb_cmd_object_encoding(struct wdb_call *call);
void wdb_cmd_object_freq(struct wdb_call *call);
void wdb_cmd_object_help(struct wdb_call *call);
void wdb_cmd_object_idletime(struct wdb_call *call);
void wdb_cmd_object_refcount(struct wdb_call *call);
void wdb_cmd_persist(struct wdb_call *call);
void wdb_cmd_pexpire(struct wdb_call *call);
void wdb_cmd_pexpireat(struct wdb_call *call);
void wdb_cmd_pexpiretime(struct wdb_call *call);
void wdb_cmd_pttl(struct wdb_call *call);
void wdb_cmd_randomkey(struct wdb_call *call);
void wdb_cmd_rename(struct wdb_call *call);
void wdb_cmd_renamenx(struct wdb_call *call);
void wdb_cmd_scan(struct wdb_call *call);
void wdb_cmd_touch(struct wdb_call *call);
void wdb_cmd_ttl(struct wdb_call *call);
void wdb_cmd_type(struct wdb_call *call);
void wdb_cmd_unlink(struct wdb_call *call);
void wdb_cmd_wait(struct wdb_call *call);

/* The connection. */
void wdb_cmd_auth(struct wdb_call *call);
void wdb_cmd_client_getname(struct wdb_call *call);
void wdb_cmd_client_help(struct wdb_call *call);
void wdb_cmd_client_id(struct wdb_call *call);
void wdb_cmd_client_info(struct wdb_call *call);
void wdb_cmd_client_kill(struct wdb_call *call);
void wdb_cmd_client_list(struct wdb_call *call);
void wdb_cmd_client_no_evict(struct wdb_call *call);
void wdb_cmd_client_no_touch(struct wdb_call *call);
void wdb_cmd_client_pause(struct wdb_call *call);
void wdb_cmd_client_read_consistency(struct wdb_call *call);
void wdb_cmd_client_reply(struct wdb_call *call);
void wdb_cmd_client_setinfo(struct wdb_call *call);
void wdb_cmd_client_setname(struct wdb_call *call);
void wdb_cmd_client_unblock(struct wdb_call *call);
void wdb_cmd_client_unpause(struct wdb_call *call);
void wdb_cmd_echo(struct wdb_call *call);
void wdb_cmd_hello(struct wdb_call *call);
void wdb_cmd_ping(struct wdb_call *call);
void wdb_cmd_quit(struct wdb_call *call);
void wdb_cmd_reset(struct wdb_call *call);
void wdb_cmd_select(struct wdb_call *call);

/* The cluster. */
void wdb_cmd_asking(struct wdb_call *call);
void wdb_cmd_cluster_countkeysinslot(struct wdb_call *call);
void wdb_cmd_cluster_help(struct wdb_call *call);
void wdb_cmd_cluster_info(struct wdb_call *call);
void wdb_cmd_cluster_keyslot(struct wdb_call *call);
void wdb_cmd_cluster_links(struct wdb_call *call);
void wdb_cmd_cluster_myid(struct wdb_call *call);
void wdb_cmd_cluster_nodes(struct wdb_call *call);
void wdb_cmd_cluster_replicas(struct wdb_call *call);
void wdb_cmd_cluster_shards(struct wdb_call *call);
void wdb_cmd_cluster_slots(struct wdb_call *call);
void wdb_cmd_failover(struct wdb_call *call);
void wdb_cmd_join(struct wdb_call *call);
void wdb_cmd_raft_address(struct wdb_call *call);
void wdb_cmd_raft_help(struct wdb_call *call);
void wdb_cmd_raft_nodes(struct wdb_call *call);
void wdb_cmd_raft_remove(struct wdb_call *call);
void wdb_cmd_raft_status(struct wdb_call *call);
void wdb_cmd_raft_transfer(struct wdb_call *call);
void wdb_cmd_readonly(struct wdb_call *call);
void wdb_cmd_readwrite(struct wdb_call *call);

/* The server. */
void wdb_cmd_bgrewriteaof(struct wdb_call *call);
void wdb_cmd_bgsave(struct wdb_call *call);
void wdb_cmd_command(struct wdb_call *call);
void wdb_cmd_command_count(struct wdb_call *call);
void wdb_cmd_command_docs(struct wdb_call *call);
void wdb_cmd_command_getkeys(struct wdb_call *call);
void wdb_cmd_command_getkeysandflags(struct wdb_call *call);
void wdb_cmd_command_help(struct wdb_call *call);
void wdb_cmd_command_info(struct wdb_call *call);
void wdb_cmd_command_list(struct wdb_call *call);
void wdb_cmd_config_get(struct wdb_call *call);
void wdb_cmd_config_help(struct wdb_call *call);
void wdb_cmd_config_resetstat(struct wdb_call *call);
void wdb_cmd_config_rewrite(struct wdb_call *call);
void wdb_cmd_config_set(struct wdb_call *call);
void wdb_cmd_dbsize(struct wdb_call *call);
void wdb_cmd_debug(struct wdb_call *call);
void wdb_cmd_flushall(struct wdb_call *call);
void wdb_cmd_flushdb(struct wdb_call *call);
void wdb_cmd_info(struct wdb_call *call);
void wdb_cmd_lastsave(struct wdb_call *call);
void wdb_cmd_latency_doctor(struct wdb_call *call);
void wdb_cmd_latency_graph(struct wdb_call *call);
void wdb_cmd_latency_help(struct wdb_call *call);
void wdb_cmd_latency_histogram(struct wdb_call *call);
void wdb_cmd_latency_history(struct wdb_call *call);
void wdb_cmd_latency_latest(struct wdb_call *call);
void wdb_cmd_latency_reset(struct wdb_call *call);
void wdb_cmd_lolwut(struct wdb_call *call);
void wdb_cmd_memory_doctor(struct wdb_call *call);
void wdb_cmd_memory_help(struct wdb_call *call);
void wdb_cmd_memory_malloc_stats(struct wdb_call *call);
void wdb_cmd_memory_purge(struct wdb_call *call);
void wdb_cmd_memory_stats(struct wdb_call *call);
void wdb_cmd_memory_usage(struct wdb_call *call);
void wdb_cmd_module_help(struct wdb_call *call);
void wdb_cmd_module_list(struct wdb_call *call);
void wdb_cmd_role(struct wdb_call *call);
void wdb_cmd_save(struct wdb_call *call);
void wdb_cmd_shutdown(struct wdb_call *call);
void wdb_cmd_slowlog_get(struct wdb_call *call);
void wdb_cmd_slowlog_help(struct wdb_call *call);
void wdb_cmd_slowlog_len(struct wdb_call *call);
void wdb_cmd_slowlog_reset(struct wdb_call *call);
void wdb_cmd_swapdb(struct wdb_call *call);
void wdb_cmd_time(struct wdb_call *call);

/* Functions. */
void wdb_cmd_function_flush(struct wdb_call *call);
void wdb_cmd_function_help(struct wdb_call *call);
void wdb_cmd_function_list(struct wdb_call *call);

#endif
