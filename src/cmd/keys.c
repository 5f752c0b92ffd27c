/* keys.c - which arguments of a request are keys, by the key specifications. */
#include "base/attributes.h"
#include "base/number.h"
#include "cmd/command.h"

/* Keys of one specification from *count on; false if it is malformed. */
static bool add_keys(const struct wdb_key_spec *spec, uint32_t argc,
                     const struct wdb_slice *argv, uint32_t *out,
                     uint32_t out_count, uint32_t *count)
{
    int64_t first = spec->first;
    int64_t last;
    if (spec->keynum != 0) {
        int64_t key_count;
        if (first >= argc || !wdb_parse_int64(argv[first], &key_count) ||
            key_count < 0 || key_count > argc) {
            return false;
        }
        first += spec->keynum;
        last = first + (key_count - 1) * spec->step;
        if (last >= argc) {
            return false;
        }
    } else {
        last = spec->last < 0 ? (int64_t)argc + spec->last : first + spec->last;
    }
    for (int64_t i = first; i <= last; i += spec->step) {
        if (i >= argc) {
            return false;
        }
        if (*count < out_count) {
            out[*count] = (uint32_t)i;
        }
        ++*count;
    }
    return true;
}

int wdb_command_keys(const struct wdb_command *command, uint32_t argc,
                     const struct wdb_slice *argv, uint32_t *out,
                     uint32_t out_count)
{
    uint32_t count = 0;
    for (uint8_t i = 0; i < command->key_spec_count; i++) {
        const struct wdb_key_spec *spec = &command->keys[i];
        if (WDB_LIKELY(spec->last == 0 && spec->keynum == 0)) {
            if ((uint32_t)spec->first >= argc) {
                return -1;
            }
            if (count < out_count) {
                out[count] = (uint32_t)spec->first;
            }
            count++;
        } else if (!add_keys(spec, argc, argv, out, out_count, &count)) {
            return -1;
        }
    }
    return (int)count;
}
