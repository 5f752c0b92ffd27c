/* test_cmd_server_info.c - INFO: sections, the fields that tools read, and
 * what they say. */
#include "lib/cmd_client.h"

#include <stdio.h>
#include <stdlib.h>

#include "lib/fault_alloc.h"

static struct cmd_world *world;
static struct cmd_client *client;

static void begin(void)
{
    world = cmd_world_new(test_tmpdir(), NULL);
    client = cmd_client_new(world);
}

static void end(void)
{
    cmd_client_free(client);
    cmd_world_free(world);
}

/* The text of the last reply, a line end after every line. */
static const char *text_of(const char *line)
{
    static char text[256 << 10];
    cmd_send(client, line);
    const struct wdb_slice bytes = cmd_reply_bytes(client);
    const size_t size =
        bytes.size < sizeof(text) ? bytes.size : sizeof(text) - 1;
    memcpy(text, bytes.data, size);
    text[size] = '\0';
    return text;
}

static const char *find_field(const char *text, const char *name)
{
    char wanted[128];
    snprintf(wanted, sizeof(wanted), "\r\n%s:", name);
    const char *found = strstr(text, wanted);
    return found == NULL ? NULL : found + strlen(wanted);
}

static bool has_section(const char *text, const char *headline)
{
    char wanted[64];
    snprintf(wanted, sizeof(wanted), "# %s\r\n", headline);
    return strstr(text, wanted) != NULL;
}

/* The number behind a name, -1 if there is no such field. */
static long long field(const char *text, const char *name)
{
    const char *value = find_field(text, name);
    return value == NULL ? -1 : atoll(value);
}

static bool field_is(const char *text, const char *name, const char *expected)
{
    const char *value = find_field(text, name);
    const size_t size = strlen(expected);
    return value != NULL && strncmp(value, expected, size) == 0 &&
           value[size] == '\r';
}

/* Which sections come, by the arguments. */
TEST(info_sections)
{
    begin();
    const char *text = text_of("INFO");
    CHECK(has_section(text, "Server") && has_section(text, "Keyspace") &&
          has_section(text, "Store") && has_section(text, "Modules"));
    CHECK(!has_section(text, "Commandstats"));
    CHECK(!has_section(text, "Latencystats"));
    text = text_of("INFO default");
    CHECK(has_section(text, "CPU") && !has_section(text, "Commandstats"));
    text = text_of("INFO all");
    CHECK(has_section(text, "Commandstats") &&
          has_section(text, "Latencystats") && has_section(text, "CPU"));
    text = text_of("INFO EVERYTHING");
    CHECK(has_section(text, "Commandstats"));
    text = text_of("INFO cpu none memory");
    CHECK(has_section(text, "CPU") && has_section(text, "Memory"));
    CHECK(!has_section(text, "Server"));
    text = text_of("INFO cpu default");
    const char *cpu = strstr(text, "# CPU");
    CHECK(cpu != NULL && strstr(cpu + 1, "# CPU") == NULL);
    CHECK_STR(text_of("INFO none"), "$0\r\n\r\n");
    CHECK_REPLY(client, "HELLO 3 ; INFO none",
                "%7 $6 server $5 redis $7 version $6 7.0.15 $5 proto :3 $2 id "
                ":1 $4 mode $10 standalone $4 role $6 master $7 modules *0 | "
                "=4 txt:");
    end();
}

/* Every field that an exporter, an agent or the suite of Redis reads. */
TEST(info_fields_that_tools_read)
{
    static const char *const names[] = {"redis_version",
                                        "role",
                                        "uptime_in_seconds",
                                        "connected_clients",
                                        "blocked_clients",
                                        "maxclients",
                                        "used_memory",
                                        "used_memory_rss",
                                        "used_memory_peak",
                                        "maxmemory",
                                        "mem_fragmentation_ratio",
                                        "total_connections_received",
                                        "total_commands_processed",
                                        "instantaneous_ops_per_sec",
                                        "total_net_input_bytes",
                                        "total_net_output_bytes",
                                        "rejected_connections",
                                        "expired_keys",
                                        "evicted_keys",
                                        "keyspace_hits",
                                        "keyspace_misses",
                                        "used_cpu_sys",
                                        "used_cpu_user",
                                        "connected_slaves",
                                        "master_repl_offset",
                                        "loading",
                                        "rdb_changes_since_last_save",
                                        "rdb_last_bgsave_status",
                                        "aof_enabled",
                                        "aof_last_write_status",
                                        "total_system_memory",
                                        "mem_allocator",
                                        "total_error_replies",
                                        "total_forks",
                                        "lazyfree_pending_objects",
                                        "lazyfreed_objects",
                                        "tracking_total_keys",
                                        "used_memory_lua",
                                        "redis_mode",
                                        "cluster_enabled",
                                        "run_id",
                                        "tcp_port",
                                        "process_id",
                                        "rdb_bgsave_in_progress",
                                        "rdb_last_save_time",
                                        "aof_rewrite_in_progress",
                                        "store_segments",
                                        "store_live_bytes",
                                        "store_dead_bytes",
                                        "store_keydir_bytes",
                                        "store_syncs",
                                        "store_sync_usec_average",
                                        "store_cold_reads",
                                        "store_load_ms",
                                        "store_merge_running",
                                        "store_merge_progress_perc",
                                        "store_merge_bytes_per_sec",
                                        "store_merge_seconds_left"};
    begin();
    const char *text = text_of("INFO everything");
    for (size_t i = 0; i < WDB_COUNT(names); i++) {
        if (find_field(text, names[i]) == NULL) {
            test_fail(__FILE__, __LINE__, "no field %s", names[i]);
        }
    }
    CHECK(field_is(text, "redis_version", "7.0.15"));
    CHECK(field_is(text, "role", "master"));
    CHECK(field_is(text, "loading", "0"));
    CHECK(field(text, "used_memory") > 0);
    CHECK(field(text, "total_system_memory") > 0);
    end();
}

/* Counters follow what happened; RESETSTAT sets them to zero. */
TEST(info_counters)
{
    begin();
    cmd_send(client, "SET a 1 ; GET a ; GET none ; SET b 2 EX 1000");
    cmd_send(client, "NOSUCH ; GET ; INCR a b ; AUTH x");
    const char *text = text_of("INFO everything");
    CHECK_EQ(field(text, "keyspace_hits"), 1);
    CHECK_EQ(field(text, "keyspace_misses"), 1);
    CHECK_EQ(field(text, "total_error_replies"), 4);
    CHECK_EQ(field(text, "rdb_changes_since_last_save"), 2);
    CHECK(field_is(text, "errorstat_ERR", "count=4"));
    CHECK(strncmp(find_field(text, "cmdstat_set"), "calls=2,", 8) == 0);
    CHECK(strstr(find_field(text, "cmdstat_get"),
                 "rejected_calls=1,failed_calls=0\r\n") != NULL);
    CHECK(strncmp(find_field(text, "latency_percentiles_usec_set"),
                  "p50=", 4) == 0);
    CHECK(strncmp(find_field(text, "db0"), "keys=2,expires=1,avg_ttl=", 25) ==
          0);
    CHECK(find_field(text, "db1") == NULL);
    CHECK_EQ(field(text, "store_keys"), 2);
    CHECK_REPLY(client, "CONFIG RESETSTAT", "+OK");
    text = text_of("INFO everything");
    CHECK_EQ(field(text, "keyspace_hits"), 0);
    CHECK_EQ(field(text, "total_error_replies"), 0);
    CHECK(find_field(text, "errorstat_ERR") == NULL);
    CHECK(find_field(text, "cmdstat_set") == NULL);
    CHECK(find_field(text, "cmdstat_config|resetstat") != NULL);
    CHECK_EQ(field(text, "rdb_changes_since_last_save"), 2);
    end();
}

/* Keys that expired are counted, and from zero after RESETSTAT. */
TEST(info_expired_keys)
{
    begin();
    cmd_send(client, "SET a 1 PX 10 ; SET b 1 PX 10");
    cmd_world_advance_ms(world, 20);
    CHECK_REPLY(client, "GET a", "$-1");
    CHECK_EQ(field(text_of("INFO stats"), "expired_keys"), 1);
    cmd_send(client, "CONFIG RESETSTAT");
    CHECK_EQ(field(text_of("INFO stats"), "expired_keys"), 0);
    CHECK_REPLY(client, "GET b", "$-1");
    CHECK_EQ(field(text_of("INFO stats"), "expired_keys"), 1);
    end();
}

/* Each error inside of EXEC counts, and EXEC as a command of its own. */
TEST(info_errors_in_exec)
{
    begin();
    cmd_send(client, "SET a x ; MULTI ; INCR a ; SET b 1 ; INCR a ; EXEC");
    const char *text = text_of("INFO everything");
    CHECK_EQ(field(text, "total_error_replies"), 2);
    CHECK(strstr(find_field(text, "cmdstat_incr"), "calls=2,") ==
          find_field(text, "cmdstat_incr"));
    CHECK(strstr(find_field(text, "cmdstat_incr"), "failed_calls=2\r\n") !=
          NULL);
    const char *exec = find_field(text, "cmdstat_exec");
    REQUIRE(exec != NULL);
    CHECK(strncmp(exec, "calls=1,", 8) == 0);
    CHECK(strncmp(strstr(exec, "failed_calls="), "failed_calls=0", 14) == 0);
    end();
}

/* Inside of EXEC, stripes are held: INFO must not take any. */
TEST(info_in_exec)
{
    begin();
    cmd_send(client, "MULTI ; SET a 1 EX 100 ; INFO keyspace ; EXEC");
    const char *shown =
        cmd_send(client, "MULTI ; SET a 1 EX 100 ; INFO keyspace ; EXEC");
    CHECK(strstr(shown, "db0:keys=1,expires=1,avg_ttl=0") != NULL);
    end();
}

/* A client that CLIENT PAUSE holds is a blocked one. */
TEST(info_blocked_clients)
{
    begin();
    struct cmd_client *other = cmd_client_new(world);
    CHECK_REPLY(client, "CLIENT PAUSE 60000 WRITE", "+OK");
    CHECK_REPLY(other, "SET a 1", "");
    const char *text = text_of("INFO clients");
    CHECK_EQ(field(text, "blocked_clients"), 1);
    CHECK_EQ(field(text, "connected_clients"), 2);
    CHECK_REPLY(client, "CLIENT UNPAUSE", "+OK");
    cmd_client_free(other);
    end();
}

/* Percentiles as they are set, in the form of Redis. */
TEST(info_percentiles)
{
    begin();
    cmd_send(client, "CONFIG SET latency-tracking-info-percentiles "
                     "'0.0 50.0 100.0' ; SET a 1");
    const char *value = find_field(text_of("INFO latencystats"),
                                   "latency_percentiles_usec_set");
    REQUIRE(value != NULL);
    CHECK(strncmp(value, "p0=", 3) == 0);
    CHECK(strstr(value, ",p50=") != NULL && strstr(value, ",p100=") != NULL);
    cmd_send(client, "CONFIG SET latency-tracking no ; CONFIG RESETSTAT ; "
                     "SET a 1");
    CHECK(find_field(text_of("INFO latencystats"),
                     "latency_percentiles_usec_set") == NULL);
    end();
}

/* Put a request into the session and run it; nothing is collected. */
static void run_request(struct cmd_client *to, const char *request)
{
    struct wdb_session *session = cmd_client_session(to);
    const size_t size = strlen(request);
    size_t room = 0;
    uint8_t *input = wdb_session_input_room(session, &room);
    if (input != NULL && room >= size) {
        memcpy(input, request, size);
        wdb_session_input_add(session, size);
        wdb_executor_add(session->executor, session);
        wdb_executor_run(session->executor);
    }
}

/* Without memory at any point nothing breaks, and later it works again. */
TEST(info_without_memory)
{
    static const char *const requests[] = {
        "*2\r\n$4\r\nINFO\r\n$3\r\nall\r\n",
        "*3\r\n$6\r\nCONFIG\r\n$3\r\nGET\r\n$1\r\n*\r\n",
        "*2\r\n$6\r\nMEMORY\r\n$5\r\nSTATS\r\n",
        "*2\r\n$7\r\nLATENCY\r\n$9\r\nHISTOGRAM\r\n"};
    begin();
    cmd_send(client, "SET a 1 ; SET b 1 EX 100");
    for (size_t i = 0; i < WDB_COUNT(requests); i++) {
        bool failed = true;
        for (uint64_t n = 1; failed && n < 1000; n++) {
            struct cmd_client *other = cmd_client_new(world);
            fault_alloc_arm(n);
            run_request(other, requests[i]);
            failed = fault_alloc_disarm();
            cmd_client_free(other);
        }
        CHECK(!failed);
    }
    CHECK(strstr(cmd_send(client, "INFO"), "# Store") != NULL);
    end();
}
