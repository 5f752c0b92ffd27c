/* options.c - the library's options out of the settings. */
#include "server/options.h"

#include <string.h>

static enum wdb_sync_policy sync_policy(const struct wdb_config *config)
{
    switch (wdb_config_i64(config, WDB_CONFIG_APPENDFSYNC)) {
    case WDB_FSYNC_ALWAYS:
        return WDB_SYNC_ALWAYS;
    case WDB_FSYNC_NO:
        return WDB_SYNC_NEVER;
    default:
        return WDB_SYNC_INTERVAL;
    }
}

static void log_options(const struct wdb_config *config,
                        struct wdb_log_options *log)
{
    log->create = true;
    log->background_thread = true;
    log->segment_size = wdb_config_u64(config, WDB_CONFIG_STORE_SEGMENT_SIZE);
    log->batch_size_max =
        wdb_config_u64(config, WDB_CONFIG_STORE_BATCH_SIZE_MAX);
    log->reserve_size = wdb_config_u64(config, WDB_CONFIG_STORE_RESERVE_SIZE);
    log->leave_room = true;
    log->sync_policy = sync_policy(config);
    log->sync_interval_ms =
        (uint32_t)wdb_config_u64(config, WDB_CONFIG_STORE_SYNC_INTERVAL);
    log->sync_bytes = wdb_config_u64(config, WDB_CONFIG_STORE_SYNC_BYTES);
}

/* A power of two; enough that workers seldom meet at one. */
static uint32_t stripe_count(const struct wdb_config *config)
{
    uint64_t wanted = wdb_config_u64(config, WDB_CONFIG_STORE_STRIPES);
    uint32_t count = WDB_STRIPE_COUNT_DEFAULT;
    if (wanted == 0) {
        wanted = 16 * wdb_config_u64(config, WDB_CONFIG_IO_THREADS);
    }
    while (count < wanted && count < WDB_STRIPE_COUNT_MAX) {
        count *= 2;
    }
    return count;
}

void wdb_server_options(const struct wdb_config *config, struct wdb_env *env,
                        char *dir, struct wdb_db_options *out)
{
    memset(out, 0, sizeof(*out));
    struct wdb_store_options *store = &out->store;
    wdb_store_options_init(store);
    wdb_config_text(config, WDB_CONFIG_DIR, dir, WDB_PATH_SIZE_MAX);
    store->log.env = env;
    store->log.dir = dir;
    log_options(config, &store->log);
    store->stripe_count = stripe_count(config);
    store->load_threads =
        (uint32_t)wdb_config_u64(config, WDB_CONFIG_STORE_LOAD_THREADS);
    store->verify_on_read =
        wdb_config_bool(config, WDB_CONFIG_STORE_VERIFY_ON_READ);
    store->hints = wdb_config_bool(config, WDB_CONFIG_STORE_HINTS);
    store->merge_enabled = true; /* paused later if store-merge is no */
    store->merge_ratio =
        (double)wdb_config_i64(config, WDB_CONFIG_STORE_MERGE_PERCENTAGE) / 100;
    store->merge_rate = wdb_config_u64(config, WDB_CONFIG_STORE_MERGE_RATE);
    store->merge_free_space_min =
        wdb_config_u64(config, WDB_CONFIG_STORE_MERGE_FREE_SPACE_MIN);
}
