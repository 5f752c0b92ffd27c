/*
 * fuzz_config.c - configuration files: any text is read or refused with a
 * message, and what was read is printed as something that reads the same.
 */
#include <stdlib.h>
#include <strings.h>

#include "admin/config.h"
#include "base/assert.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Other files are none of our business here. */
static bool has_include(const uint8_t *data, size_t size)
{
    for (size_t i = 0; i + 7 <= size; i++) {
        if (strncasecmp((const char *)data + i, "include", 7) == 0 ||
            (data[i] == '\\' && data[i + 1] == 'x')) {
            return true;
        }
    }
    return false;
}

static void check_reads_back(const struct wdb_config *config,
                             struct wdb_config *again)
{
    for (int id = 0; id < WDB_CONFIG_COUNT; id++) {
        char text[4096], error[512], other[4096];
        if (wdb_config_text(config, id, text, sizeof(text)) >= sizeof(text)) {
            continue;
        }
        int code = wdb_config_force(again, id, text, error, sizeof(error));
        wdb_assert(code == 0);
        wdb_config_text(again, id, other, sizeof(other));
        wdb_assert(strcmp(text, other) == 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct wdb_env *env;
    static struct wdb_config *again;
    struct wdb_config *config;
    char *message = NULL;
    if (env == NULL &&
        (wdb_env_posix_new(&env) != 0 || wdb_config_new(env, &again) != 0)) {
        return 0;
    }
    if (has_include(data, size) || wdb_config_new(env, &config) != 0) {
        return 0;
    }
    int code =
        wdb_config_load_text(config, "input", wdb_slice(data, size), &message);
    wdb_assert((code == 0) == (message == NULL));
    /* That costs far more than the rest: some inputs will do. */
    if (code == 0 && size % 16 == 0) {
        check_reads_back(config, again);
    }
    free(message);
    wdb_config_free(config);
    return 0;
}
