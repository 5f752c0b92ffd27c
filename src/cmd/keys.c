/* keys.c - which arguments of a request are keys, by the key specifications. */
#include <strings.h>

#include "base/attributes.h"
#include "base/number.h"
#include "cmd/handlers.h"

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

static bool is_word(struct wdb_slice argument, const char *word)
{
    return argument.size == strlen(word) &&
           strncasecmp((const char *)argument.data, word, argument.size) == 0;
}

/* SET reads the old value if it is asked to. */
static uint32_t set_flags(uint32_t argc, const struct wdb_slice *argv)
{
    for (uint32_t i = 3; i < argc; i++) {
        if (is_word(argv[i], "GET")) {
            return WDB_KEY_RW | WDB_KEY_ACCESS | WDB_KEY_UPDATE;
        }
    }
    return WDB_KEY_OW | WDB_KEY_UPDATE;
}

/* BITFIELD writes unless all of it is GET. */
static uint32_t bitfield_flags(uint32_t argc, const struct wdb_slice *argv)
{
    for (uint32_t i = 2; i < argc; i++) {
        const uint32_t left = argc - i - 1;
        if (left >= 2 && is_word(argv[i], "GET")) {
            i += 2;
        } else if (left >= 1 && is_word(argv[i], "OVERFLOW")) {
            i++;
        } else {
            return WDB_KEY_RW | WDB_KEY_ACCESS | WDB_KEY_UPDATE;
        }
    }
    return WDB_KEY_RO | WDB_KEY_ACCESS;
}

uint32_t wdb_command_key_flags(const struct wdb_command *command, uint8_t spec,
                               uint32_t argc, const struct wdb_slice *argv)
{
    if (command->handler == wdb_cmd_set) {
        return set_flags(argc, argv);
    }
    if (command->handler == wdb_cmd_bitfield) {
        return bitfield_flags(argc, argv);
    }
    return command->keys[spec].flags;
}

uint8_t wdb_command_key_spec_of(const struct wdb_command *command,
                                uint32_t argc, const struct wdb_slice *argv,
                                uint32_t index)
{
    for (uint8_t i = 0; i < command->key_spec_count; i++) {
        const struct wdb_key_spec *spec = &command->keys[i];
        int64_t first = spec->first;
        int64_t last =
            spec->last < 0 ? (int64_t)argc + spec->last : first + spec->last;
        if (spec->keynum != 0) {
            int64_t key_count = 0;
            (void)wdb_parse_int64(argv[first], &key_count);
            first += spec->keynum;
            last = first + (key_count - 1) * spec->step;
        }
        if (index >= first && index <= last &&
            (index - first) % spec->step == 0) {
            return i;
        }
    }
    return 0;
}
