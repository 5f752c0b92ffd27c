/*
 * lookup.c - commands by name.
 *
 * Every request passes here, so a name is folded to lower case eight bytes at a
 * time and looked up in an open hash with linear probing, whose slots hold the
 * words of the name themselves. scripts/command-index writes it (table_index.inc)
 * and has the same hash function.
 */
#include <strings.h>

#include "base/attributes.h"
#include "base/bytes.h"
#include "cmd/table.h"
#include "cmd/table_index.inc"

struct slot {
    uint64_t low, high; /* first 8 bytes; last 8 of a name longer than that */
    uint16_t size;      /* 0: free */
    uint16_t id;
};

static const struct slot slots[1 << INDEX_BITS] = {
#define NAME(at, name, length, low_word, high_word)                            \
    [at] = {.low = UINT64_C(low_word),                                         \
            .high = UINT64_C(high_word),                                       \
            .size = (length),                                                  \
            .id = WDB_COMMAND_##name},
    INDEX_NAMES
#undef NAME
};

/* The ASCII letters among the eight bytes become lower case. */
static uint64_t fold(uint64_t word)
{
    const uint64_t ones = UINT64_C(0x0101010101010101);
    const uint64_t low_bits = word & (ones * 0x7f);
    const uint64_t from_a = low_bits + ones * (0x80 - 'A');
    const uint64_t past_z = low_bits + ones * (0x7f - 'Z');
    const uint64_t upper = (from_a ^ past_z) & ~word & (ones * 0x80);
    return word | upper >> 2;
}

/* Up to seven bytes as a little-endian number, without a loop. */
static uint64_t load_short(const uint8_t *data, size_t size)
{
    if (size >= 4) {
        return wdb_load32(data) | (uint64_t)wdb_load32(data + size - 4)
                                      << (8 * (size - 4));
    }
    if (size == 0) {
        return 0;
    }
    return data[0] | (uint64_t)data[size / 2] << (8 * (size / 2)) |
           (uint64_t)data[size - 1] << (8 * (size - 1));
}

const struct wdb_command *wdb_command_find(struct wdb_slice name)
{
    uint64_t low, high = 0;
    if (name.size < 8) {
        low = fold(load_short(name.data, name.size));
    } else {
        low = fold(wdb_load64(name.data));
        high = name.size == 8 ? 0 : fold(wdb_load64(name.data + name.size - 8));
    }
    uint64_t mixed = low ^ (high << 31 | high >> 33) ^ name.size;
    size_t at = (mixed * INDEX_MULTIPLIER) >> (64 - INDEX_BITS);
    for (;; at = (at + 1) & ((1 << INDEX_BITS) - 1)) {
        const struct slot *slot = &slots[at];
        if (slot->size == 0) {
            return NULL;
        }
        if (slot->low != low || slot->high != high || slot->size != name.size) {
            continue;
        }
        const struct wdb_command *command = &wdb_commands[slot->id];
        if (name.size > 16 &&
            strncasecmp(command->name, (const char *)name.data, name.size) !=
                0) {
            continue;
        }
        return command;
    }
}

const struct wdb_command *wdb_command_find_sub(const struct wdb_command *parent,
                                               struct wdb_slice name)
{
    size_t skip = strlen(parent->name) + 1;
    for (uint16_t i = 0; i < parent->subcommand_count; i++) {
        const struct wdb_command *sub = &parent->subcommands[i];
        if (strlen(sub->name + skip) == name.size &&
            strncasecmp(sub->name + skip, (const char *)name.data, name.size) ==
                0) {
            return sub;
        }
    }
    return NULL;
}
